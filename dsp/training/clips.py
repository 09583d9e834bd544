"""Clips of sound from folders: any length, any rate, unusable ones named and skipped."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from farfield.errors import InputError
from farfield.source import SoundFile

RATE = 16_000
SUFFIXES = {".wav", ".flac", ".opus", ".ogg", ".mp3"}
SHORTEST = 800  # samples of a clip; less holds no speech sound
_FRAME = 160


@dataclass(frozen=True)
class Clip:
    """A clip's mono samples (float32, 16 kHz, full scale 1) and the file they came from, relative to its folder."""

    name: str
    samples: NDArray[np.float32]


def read(path: Path) -> NDArray[np.float32]:
    """The clip's first channel, float32 at 16 kHz; InputError where it cannot be used."""
    file = SoundFile(path)
    chunks = [chunk[:, 0] for chunk in file.chunks(1 << 16)]
    file.close()
    samples = np.asarray(np.concatenate(chunks) / 32_768, np.float32)
    if len(samples) < SHORTEST:
        raise InputError(f"{path}: holds {len(samples)} samples at {RATE} Hz, wanted {SHORTEST} or more")
    if np.abs(samples).max() < 1e-4:
        raise InputError(f"{path}: holds only silence; wanted sound")
    return samples


def name_of(path: Path, folder: Path) -> str:
    """What a clip is called, by its folder's name and its place below it; `.` and `..` have the names of what they are."""
    return f"{absolute(folder).name}/{path.relative_to(folder)}"


def absolute(folder: Path) -> Path:
    """The folder by a path that ends with its name. Links are not followed: tables lie beside the folder that was given."""
    return Path(os.path.abspath(folder))


def listed(folders: Iterable[Path]) -> Iterator[tuple[Path, Path]]:
    """Each folder and a sound file below it, sorted by name. InputError: a folder that is none."""
    for folder in folders:
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; wanted one with sound clips")
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                yield folder, path


def clips(folders: Iterable[Path], skipped: list[str]) -> Iterator[Clip]:
    """Every usable clip below the folders, sorted by name; what could not be used is appended to `skipped`."""
    for folder, path in listed(folders):
        try:
            yield Clip(name_of(path, folder), read(path))
        except InputError as error:
            skipped.append(str(error))


def contributors(folder: Path) -> dict[str, str]:
    """Clip -> contributor, from `contributors.json` beside the folder; empty where there is none. Keys as in Clip.name."""
    table = absolute(folder).parent / "contributors.json"
    if not table.is_file():
        return {}
    try:
        found = json.loads(table.read_text("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{table}: cannot be read ({error}); wanted a JSON object of clip: contributor") from None
    if not isinstance(found, dict):
        raise InputError(f"{table}: got {type(found).__name__}, wanted an object of clip: contributor")
    return {str(clip): str(person) for clip, person in found.items()}


@lru_cache(maxsize=64)
def transcripts(folder: Path) -> dict[str, str]:
    """Clip -> what is said in it, from FOLDER.tsv beside the folder (file name, tab, text); empty where there is none."""
    folder = absolute(folder)
    table = folder.parent / f"{folder.name}.tsv"
    if not table.is_file():
        return {}
    try:
        lines = [line.split("\t", 1) for line in table.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{table}: cannot be read as text ({error}); wanted lines of file name, tab, text") from None
    return {f"{folder.name}/{line[0]}": line[1] for line in lines if len(line) == 2}


def speaker(name: str, known: dict[str, str]) -> str:
    """Whose clip it is: as `known` says, else all that share a folder and a file name up to the first dash or underscore."""
    path = PurePosixPath(name).with_suffix("")
    first = re.split("[-_]", path.name.replace(" - ", " "), maxsplit=1)[0]
    return known.get(str(path)) or str(path.parent / first)


def word_span(samples: NDArray[np.float32]) -> tuple[int, int]:
    """Start and end of the word in a clip that holds one word and little else, in samples, to 10 ms.

    The loudest stretch of frames within 30 dB of the loudest frame and 8 dB above the clip's floor (its 10th percentile),
    bridged over pauses of up to 150 ms.
    """
    frames = samples[: len(samples) // _FRAME * _FRAME].reshape(-1, _FRAME)
    if len(frames) == 0:
        return 0, len(samples)
    level = 10 * np.log10(np.mean(frames.astype(np.float64) ** 2, axis=1) + 1e-10)
    level = np.convolve(np.pad(level, 1, mode="edge"), np.ones(3) / 3, mode="valid")
    loud = level > max(level.max() - 30, np.percentile(level, 10) + 8)
    if not loud.any():
        return 0, len(samples)
    peak = int(np.argmax(level))
    first = last = peak
    gap = 0
    for step in range(peak, -1, -1):
        first, gap = (step, 0) if loud[step] else (first, gap + 1)
        if gap > 15:
            break
    gap = 0
    for step in range(peak, len(loud)):
        last, gap = (step, 0) if loud[step] else (last, gap + 1)
        if gap > 15:
            break
    return first * _FRAME, min((last + 1) * _FRAME, len(samples))
