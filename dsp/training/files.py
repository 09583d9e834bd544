"""Segments in files: made once, a part's from that part's people alone, and read from there as they are asked for.

Each file depends on its number and the seed alone, so that making them can be cut short and taken up again.
"""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farfield.joint import WIDTH
from farfield.training.network import FEATURES
from farfield.training.segments import EMBEDDED, NO_WORD, WINDOWS, Hearing, Material, segment, sounding_like

Progress = Callable[[str, int, int], None]
Seen = NDArray[np.uint8]
Embedded = NDArray[np.int8]
Ends = NDArray[np.int32]
PER_FILE = 500

_materials: Sequence[Material] = ()
_hearing: Hearing


@dataclass(frozen=True)
class Counts:
    """Segments of all parts: without a word; with each word; with what only sounds like it."""

    others: int
    words: int
    near: int


def make_segments(materials: Sequence[Material], folder: Path, counts: Counts, seed: int, progress: Progress) -> None:
    """Fill `folder` with files of segments of each part's material. What is there already stays."""
    folder.mkdir(parents=True, exist_ok=True)
    words = range(len(materials[0].words))
    wanted = {Kind("other"): counts.others}
    wanted |= {Kind("word", n): counts.words for n in words} | {Kind("near", n): counts.near for n in words}
    files = {kind: -(-count // (PER_FILE * len(materials))) for kind, count in wanted.items()}
    jobs = [
        (folder, kind, part, number, seed)
        for number in range(max(files.values()))
        for kind in wanted
        for part in range(len(materials))
        if number < files[kind]
    ]
    todo = [job for job in jobs if not _file(*job[:4], what="ends").exists()]
    with ProcessPoolExecutor(initializer=_share, initargs=(materials,)) as pool:
        for done, _ in enumerate(pool.map(_make, todo), len(jobs) - len(todo) + 1):
            progress("segments", done, len(jobs))


def _share(materials: Sequence[Material]) -> None:
    global _hearing, _materials
    _hearing, _materials = Hearing(), materials
    os.nice(5)


@dataclass(frozen=True)
class Kind:
    """What is in a segment: `other` speech, the `word` of that number, or what is `near` it."""

    what: str
    number: int = 0

    @property
    def name(self) -> str:
        """In names of files."""
        return self.what if self.what == "other" else f"{self.what}{self.number}"

    @property
    def seed(self) -> int:
        """Another for every kind."""
        return {"other": 0, "word": 1 + self.number, "near": 1000 + self.number}[self.what]


def _file(folder: Path, kind: Kind, part: int, number: int, what: str) -> Path:
    return folder / f"{kind.name}-{part}-{number:04}-{what}.npy"


def _make(job: tuple[Path, Kind, int, int, int]) -> None:
    folder, kind, part, number, seed = job
    seen = np.empty((PER_FILE, WINDOWS, FEATURES), np.uint8)
    heard = np.empty((PER_FILE, EMBEDDED, WIDTH), np.int8)
    ends = np.full(PER_FILE, NO_WORD, np.int32)
    for n in range(PER_FILE):
        random = np.random.default_rng([seed, kind.seed, part, number * PER_FILE + n])
        if kind.what == "near":
            samples = sounding_like(_materials[part], kind.number, random)
        else:
            samples, ends[n] = segment(_materials[part], kind.number if kind.what == "word" else None, random)
        seen[n], heard[n] = _hearing.of(samples)
    for what, array in (("seen", seen), ("heard", heard), ("ends", ends)):  # the ends last: they say that the file is whole
        path = _file(folder, kind, part, number, what)
        part_written = path.with_suffix(".part.npy")
        np.save(part_written, array)
        part_written.replace(path)


class Pool:
    """The segments of one kind in some parts, read from their files as they are asked for."""

    def __init__(self, folder: Path, kind: Kind, parts: Sequence[int]) -> None:
        number = "[0-9]" * 4
        self._files = [path for part in parts for path in sorted(folder.glob(f"{kind.name}-{part}-{number}-ends.npy"))]
        self._seen = [np.load(self._beside(path, "seen"), mmap_mode="r") for path in self._files]
        self._ends = np.concatenate([np.load(path) for path in self._files])

    def __len__(self) -> int:
        return len(self._ends)

    def take(self, picks: NDArray[np.int64]) -> tuple[Seen, Ends]:
        """Features (picks, WINDOWS, 40) and the sample at which the word ends in each, or NO_WORD."""
        return np.stack([self._seen[pick // PER_FILE][pick % PER_FILE] for pick in picks.tolist()]), self._ends[picks]

    def embedded(self) -> tuple[Embedded, Ends]:
        """All at once: embeddings (segments, EMBEDDED, WIDTH), and the ends as of `take`."""
        return np.concatenate([np.load(self._beside(path, "heard")) for path in self._files]), self._ends

    @staticmethod
    def _beside(path: Path, what: str) -> Path:
        return path.with_name(path.name.replace("-ends", f"-{what}"))
