"""farfield: the ear of a voice device.

chain = farfield.Chain(farfield.load_profile("single"), [farfield.load_model("alexa")])
for block in farfield.FileSource("recording.wav", chain.frontend.profile).blocks():
    for event in chain.process(block):
        print(event.word, event.decision, event.direction_deg)
"""

from farfield._version import __version__
from farfield.block import Block, Frame, Rejected, WakeEvent
from farfield.chain import Chain
from farfield.detector import Detector
from farfield.errors import InputError, ModelError
from farfield.frontend import Frontend
from farfield.model import Model, load_model, load_second_look, shipped_models
from farfield.owner import Owner, load_owner
from farfield.profile import Profile, load_profile, shipped_profiles
from farfield.source import FileSource, SoundFile

__all__ = [
    "Block",
    "Chain",
    "Detector",
    "FileSource",
    "Frame",
    "Frontend",
    "InputError",
    "Model",
    "ModelError",
    "Owner",
    "Profile",
    "Rejected",
    "SoundFile",
    "WakeEvent",
    "__version__",
    "load_model",
    "load_owner",
    "load_profile",
    "load_second_look",
    "shipped_models",
    "shipped_profiles",
]
