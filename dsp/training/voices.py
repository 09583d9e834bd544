"""Synthetic voices: espeak-ng, flite and festival, as they are on Debian, each clip reproducible from its name."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farfield.errors import InputError
from farfield.training.clips import read

PACKAGES = "espeak-ng flite festival festvox-kallpc16k festvox-kdlpc16k festvox-us-slt-hts"
_ESPEAK = tuple(
    f"{language}+{variant}"
    for language in ("en-us", "en-gb", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-us-nyc")
    for variant in ("m1", "m3", "m5", "m7", "f1", "f2", "f3", "f4", "f5", "Annie", "michael", "Andrea")
)
_FLITE = ("kal16", "slt", "rms", "awb")
_FESTIVAL = ("kal_diphone", "ked_diphone", "cmu_us_slt_arctic_hts")


@dataclass(frozen=True)
class Voice:
    """One way of speaking: the program, its voice, and how fast (1 is normal) and high (1 is normal) it speaks."""

    program: str
    name: str
    speed: float
    pitch: float


def voices(count: int, random: np.random.Generator) -> list[Voice]:
    """`count` voices drawn over the programs; few are festival's, which take a second or two for each phrase."""
    drawn = []
    for _ in range(count):
        program = random.choice(["espeak-ng", "flite", "festival"], p=[0.5, 0.45, 0.05])
        name = random.choice({"espeak-ng": _ESPEAK, "flite": _FLITE, "festival": _FESTIVAL}[program])
        drawn.append(Voice(str(program), str(name), float(random.uniform(0.8, 1.3)), float(random.uniform(0.8, 1.25))))
    return drawn


def speak(text: str, voice: Voice) -> NDArray[np.float32]:
    """The text spoken, float32 at 16 kHz; InputError that names the packages where the program is missing."""
    if shutil.which(voice.program) is None:
        raise InputError(f"{voice.program}: not installed; install the voices with: apt-get install {PACKAGES}")
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "spoken.wav"
        if voice.program == "espeak-ng":
            pitch, rate = str(round(50 * voice.pitch)), str(round(165 * voice.speed))
            command, typed = ["espeak-ng", "-v", voice.name, "-p", pitch, "-s", rate, "-w", str(wav), "--", text], None
        elif voice.program == "flite":
            stretch = f"duration_stretch={1 / voice.speed:.3f}"
            pitch = f"int_f0_target_mean={(180 if voice.name == 'slt' else 105) * voice.pitch:.0f}"
            command = ["flite", "-voice", voice.name, "--setf", stretch, "--setf", pitch, "-t", text, "-o", str(wav)]
            typed = None
        else:
            command = ["festival", "--pipe"]
            quoted = text.replace("\\", "\\\\").replace('"', '\\"')
            typed = (
                f"(voice_{voice.name}) (Parameter.set 'Duration_Stretch {1 / voice.speed:.3f}) "
                f'(set! spoken (SynthText "{quoted}")) (utt.save.wave spoken "{wav}" \'riff)'
            )
        try:
            subprocess.run(command, input=typed, text=True, check=True, capture_output=True, timeout=60)
        except subprocess.SubprocessError as error:
            told = " ".join(str(getattr(error, "stderr", None) or error).split())[-200:]
            raise InputError(f"{voice.program}: could not speak {text!r} as {voice.name}: {told}") from error
        if not wav.is_file():
            raise InputError(f"{voice.program}: has no voice {voice.name}; install it with: apt-get install {PACKAGES}")
        return read(wav)
