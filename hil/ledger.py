"""The bench's own books: which of the scene's samples arrived, where, and whether the source's account of the rest is true."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from farfield import Block
from farfield.hil.rigs.base import Counted, Rig, Stream


@dataclass(frozen=True)
class Books:
    """What became of a scene's samples.

    lost: those of the scene that never arrived. counted: what the source says. beyond: how many of its missing ones lay before
    the scene or after it. missized: by how many samples at most the source was wrong about a gap, within what its rig allows or
    the source itself had said.
    unexplained: why its account is not to be believed; none where every lost sample is one that the source had counted, and
    every other is what was played.
    """

    lost: int
    counted: Counted
    beyond: int
    missized: int
    unexplained: tuple[str, ...]


class Ledger:
    """Puts a stream's blocks at their place in the scene, and keeps the books. rig: what it promises of them."""

    def __init__(self, stream: Stream, rig: Rig) -> None:
        self._stream = stream
        self._exact, self._sizing = rig.exact, rig.sizing_samples
        self._played = stream.scene.samples
        self._epoch = 0
        self._next: int | None = 0  # capture index that would follow without a gap
        self._origins: dict[int, int] = {}
        self._jumps = self._epochs = self._heard = self._reached = self._gaps = 0
        self._after_gap = False
        self._missized = self._beyond = 0
        self._wrong_by = self._excess = 0  # by sizes of gaps: in this epoch; in all, beyond what the rig promises
        self._wrong: list[str] = []

    @property
    def is_done(self) -> bool:
        """Whether a block has come that lies beyond the scene, so that every gap before it is known."""
        return self._reached >= len(self._played)

    def origin(self, epoch: int) -> int:
        """Place in the scene of index 0 of an epoch that has been placed."""
        return self._origins[epoch]

    def place(self, raw: Block) -> Block | None:
        """The part of the block that lies within the scene, counted from the scene's first sample; None where there is none."""
        if raw.epoch != self._epoch:
            self._epochs += raw.epoch - self._epoch
            self._epoch, self._next = raw.epoch, 0
        gap = raw.index - (self._next or 0)
        self._jumps += gap
        self._beyond += gap  # until it is known where it was
        self._gaps += gap > 0
        self._after_gap |= raw.index != self._next
        if raw.index < (self._next or 0):
            self._complain(f"index {raw.index} after {self._next}: samples came twice")
        self._next = raw.end
        if raw.epoch not in self._origins:
            found = self._stream.origin(raw)
            if found is None:
                return None
            self._origins[raw.epoch] = found
            self._after_gap, self._wrong_by = False, 0
        at = raw.index + self._origins[raw.epoch]
        if self._sizing and self._exact and (self._after_gap or self._follows_none(raw, at)):
            at = self._sized(raw, at)
        first, last = max(at, 0), min(at + len(raw.samples), len(self._played))
        self._beyond -= max(0, min(at, len(self._played)) - max(at - gap, 0))
        reached, self._reached = self._reached, max(self._reached, at + len(raw.samples))
        if first >= last:
            return None
        if first < reached:
            self._complain(f"sample {first} was heard before")
        samples = np.ascontiguousarray(raw.samples[first - at : last - at])
        self._heard += last - first
        if self._exact and not np.array_equal(samples, self._played[first:last]):
            wrong = int(np.argmax((samples != self._played[first:last]).any(axis=1)))
            got, played = samples[wrong].tolist(), self._played[first + wrong].tolist()
            self._complain(f"sample {first + wrong}: got {got}, played {played}")
        return replace(raw, samples=samples, index=first)

    def close(self) -> Books:
        """What is to be said of the whole stream."""
        counted = self._stream.counted
        self._wrong += self._stream.troubles
        if not self.is_done:
            self._complain(f"the stream ended at sample {self._reached} of {len(self._played)}")
        if counted.missing != self._jumps:
            self._complain(f"{self._jumps} samples are missing from the stream, its source counted {counted.missing}")
        if counted.epochs != self._epochs:
            self._complain(f"the stream began anew {self._epochs} times, its source counted {counted.epochs}")
        return Books(len(self._played) - self._heard, counted, self._beyond, self._missized, tuple(self._wrong))

    def _follows_none(self, raw: Block, at: int) -> bool:
        """Whether an overrun before the block has been sized as no gap at all: one is counted that was not seen, and it shows."""
        first, last = max(at, 0), min(at + len(raw.samples), len(self._played))
        is_elsewhere = first < last and not np.array_equal(raw.samples[first - at : last - at], self._played[first:last])
        return is_elsewhere and self._stream.counted.xruns > self._gaps

    def _sized(self, raw: Block, at: int) -> int:
        """Where the block truly lies, after a gap that was sized by a clock; `at` while its samples do not tell."""
        inside = max(at, 0), min(at + len(raw.samples), len(self._played))
        if inside[0] < inside[1] and np.array_equal(raw.samples[inside[0] - at : inside[1] - at], self._played[slice(*inside)]):
            self._after_gap = not np.any(raw.samples)  # silence lies anywhere
            return at
        found = self._stream.near(raw, at)
        if found is None:
            return self._matching(raw, at)
        off = found + raw.index - at
        self._wrong_by += off
        # A size that makes up for an earlier error is right.
        self._excess += max(0, min(abs(off), abs(self._wrong_by)) - self._sizing)
        if self._excess > self._stream.counted.doubtful:
            self._complain(f"sample {at + off}: the source gave it as {at}; its gap was sized wrong by {off} samples")
        self._missized = max(self._missized, abs(off))
        self._origins[raw.epoch] += off
        self._after_gap = False
        return at + off

    def _matching(self, raw: Block, at: int) -> int:
        """Where a block that is too short to be told apart may lie, within what a gap may be sized wrong by; else `at`."""
        for off in sorted(range(-self._sizing, self._sizing + 1), key=abs):
            first = at + off
            if first >= 0 and np.array_equal(raw.samples, self._played[first : first + len(raw.samples)]):
                return first
        return at

    def _complain(self, text: str) -> None:
        if len(self._wrong) < 8:  # one is enough to make a run invalid; a few help to find why
            self._wrong.append(text)


def stopped_by(ledger: Ledger, late: Callable[[], bool]) -> Callable[[], bool]:
    """For a source: stop where the scene is over, or should have been for long."""
    return lambda: ledger.is_done or late()
