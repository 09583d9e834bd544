"""A room in memory, as a rig plays it: every channel at 16 kHz, and the truth in the same samples."""

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from farfield import InputError, Profile, shipped_profiles
from farfield.hil.room import Room, Spoken

RATE = 16_000


@dataclass(frozen=True)
class Scene:
    """What a rig plays.

    samples: int16 (frames, microphones + references) at 16 kHz, microphones in the profile's order. words, speech: what is said,
    in those samples. provenance: how it came about.
    """

    name: str
    profile: Profile
    samples: NDArray[np.int16]
    words: tuple[Spoken, ...] = ()
    speech: tuple[Spoken, ...] = ()
    provenance: str = ""

    @property
    def frames(self) -> int:
        """Samples of each channel."""
        return len(self.samples)

    @property
    def references(self) -> int:
        """How many of the channels are what the loudspeaker played."""
        return int(self.samples.shape[1]) - len(self.profile.microphones)


def of_room(room: Room, name: str = "") -> Scene:
    """A recorded room's sound and truth, brought to 16 kHz."""
    samples = np.concatenate([block.samples for block in room.source().blocks()])

    def at_rate(said: tuple[Spoken, ...]) -> tuple[Spoken, ...]:
        return tuple(
            replace(one, start=one.start * RATE // room.rate, end=min(one.end * RATE // room.rate, len(samples))) for one in said
        )

    words, speech = at_rate(room.words), at_rate(room.speech)
    return Scene(name or room.name, room.profile, samples, words, speech, room.provenance)


def drifted(scene: Scene, ppm: float) -> Scene:
    """The scene with references whose clock is slower by `ppm` than the microphones': two clocks, as of two devices."""
    if not ppm or not scene.references:
        return scene
    first = len(scene.profile.microphones)
    made = np.zeros_like(scene.samples)
    made[:, :first] = scene.samples[:, :first]
    played = soxr.resample(scene.samples[:, first:].astype(np.float32), RATE, RATE * (1 + ppm * 1e-6), quality="HQ")
    played = played[: scene.frames]
    made[: len(played), first:] = np.clip(np.rint(played), -32_768, 32_767)
    return replace(scene, samples=made)


def save(scene: Scene, folder: Path) -> None:
    """Write the scene as a recorded room's folder: room.toml, mics.flac and, where there are references, ref.flac.

    InputError: a profile that does not ship (room.toml names it), a folder that cannot be written.
    """
    if scene.profile.name not in shipped_profiles():
        raise InputError(f"{folder}: profile {scene.profile.name!r} does not ship; wanted one of {', '.join(shipped_profiles())}")
    microphones = scene.profile.microphones
    mics = np.zeros((scene.frames, max(microphones) + 1), np.int16)
    mics[:, list(microphones)] = scene.samples[:, : len(microphones)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / "mics.flac", mics, RATE, "PCM_16")
        if scene.references:
            soundfile.write(folder / "ref.flac", scene.samples[:, len(microphones) :], RATE, "PCM_16")
        text = folder / ".room.toml"  # last, and by its name only when it is whole: a folder without it is no room
        text.write_text(described(scene), "utf-8")
        os.replace(text, folder / "room.toml")
    except (OSError, soundfile.LibsndfileError) as error:
        raise InputError(f"{folder}: cannot be written ({error}); wanted a folder with room for it") from None


def described(scene: Scene) -> str:
    """The text of its room.toml."""
    lines = [f"profile = {_quoted(scene.profile.name)}", f"provenance = {_quoted(scene.provenance)}"]
    for kind, said in (("word", scene.words), ("speech", scene.speech)):
        for one in said:
            lines += ["", f"[[{kind}]]", f"text = {_quoted(one.text)}", f"start = {one.start}", f"end = {one.end}"]
            lines += [f"talker = {_quoted(one.talker)}"] if one.talker else []
            lines += [f"direction = {one.direction_deg}"] if one.direction_deg is not None else []
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in escaped) + '"'
