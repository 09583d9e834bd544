"""A loudspeaker and a real microphone array, by their ALSA names in a TOML file.

playback = "hw:1"          what plays the room; its first microphone's sound goes to every one of `channels`
channels = 1
capture = "hw:2"           what captures
profile = "my-array.toml"  the array's: a shipped profile's name, or a file beside this one; its references are loopback channels,
                           its rate is the device's
period_ms = 10             of the capture, and how many periods its memory holds
periods = 16
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from farfield import Profile, load_profile
from farfield.alsa.pcm import Device, Pcm
from farfield.hil.faults import Faults
from farfield.hil.fields import Fields, read_toml
from farfield.hil.rigs.alsa import AlsaRig, AlsaStream
from farfield.hil.rigs.base import NO_FAULTS
from farfield.hil.scene import RATE, Scene


@dataclass(frozen=True)
class DeviceFile:
    """What the TOML file says."""

    playback: str
    channels: int
    capture: str
    profile: Profile
    period_ms: int
    periods: int

    @staticmethod
    def read(path: Path) -> "DeviceFile":
        """InputError, one line that names the file and the field."""
        top = Fields(str(path), "", read_toml(path, "a device rig's file"))
        named = top.text("profile")
        made = DeviceFile(
            playback=top.text("playback"),
            channels=top.whole("channels", 1, 8, 1),
            capture=top.text("capture"),
            profile=load_profile(path.parent / named if named.endswith(".toml") else named),
            period_ms=top.whole("period_ms", 1, 100, 10),
            periods=top.whole("periods", 2, 256, 16),
        )
        top.done()
        return made


class DeviceRig(AlsaRig):
    """The room's first microphone through a loudspeaker, heard by an array in a real room.

    What comes out is not what went in: that a sample is missing only its source can tell. A word's place is that of the pilot
    heard by the first microphone, and so off by no more than the room's own delays. Where a word was said from when the room was
    recorded says nothing any more: all comes from the loudspeaker.
    """

    exact = False

    def __init__(self, path: Path, seed: int = 0) -> None:
        self.name, self.seed = path.stem, seed
        self._file = DeviceFile.read(path)
        self.playback, self.capture = self._file.playback, self._file.capture

    def play(self, scene: Scene, faults: Faults = NO_FAULTS) -> AlsaStream:
        """The scene, of whatever layout: what is captured has that of the device's profile."""
        profile = self._file.profile
        heard = np.repeat(scene.samples[:, :1], len(profile.microphones) + len(profile.references), axis=1)
        played = np.repeat(scene.samples[:, :1], self._file.channels, axis=1)
        words, speech = (tuple(replace(one, direction_deg=None) for one in said) for said in (scene.words, scene.speech))
        as_heard = replace(scene, profile=profile, samples=heard, words=words, speech=speech)
        return AlsaStream(self, as_heard, played, profile, faults)

    def layout(self, scene: Scene) -> tuple[Profile, int]:
        """The device's own."""
        return self._file.profile, len(self._file.profile.references)

    def open_playback(self, channels: int) -> Device:
        """The loudspeaker. InputError: it cannot be had."""
        return Pcm(self.playback, capture=False, rate=RATE, channels=channels, period=RATE // 100, periods=50)

    def open_capture(self, channels: int) -> Device:
        """The array. InputError: it cannot be had."""
        file = self._file
        rate, channels = file.profile.rate, file.profile.channels
        period = file.period_ms * rate // 1000
        return Pcm(self.capture, capture=True, rate=rate, channels=channels, period=period, periods=file.periods)
