"""The one place where sound stays while no word has been accepted: a locked ring, overwritten as it turns."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from farfield.capture import memory

PIECE = 1_600  # samples of one signal that are handed out at once


class Ring:
    """The newest `capacity` samples of every signal, each at its place on the capture clock.

    capacity, signals: how many. Holds `start` to `end` of one stretch, in which samples may be missing (`skip`): their places
    stay empty. Memory is allocated once, locked, and left out of core dumps; only `zero`, `forget` and the turning of the ring
    forget. InputError: memory that may not be locked.
    """

    def __init__(self, capacity: int, signals: int) -> None:
        self.capacity = capacity
        self._memory = memory.locked(2 * (capacity * signals + PIECE))
        all_of_it: NDArray[np.int16] = np.frombuffer(self._memory, np.int16)
        self._piece = all_of_it[:PIECE]
        self._samples = all_of_it[PIECE:].reshape(capacity, signals)
        self.start = self.end = 0
        self._gaps: list[tuple[int, int]] = []  # where nothing is, oldest first

    def restart(self, index: int) -> None:
        """Forget all; the next sample is the one at `index`."""
        self._samples.fill(0)
        self.start = self.end = index
        self._gaps.clear()

    def zero(self) -> None:
        """Forget all that is held; the stretch goes on."""
        self.restart(self.end)

    def forget(self, before: int) -> None:
        """Forget what lies before a sample; the rest stays, and the stretch goes on."""
        before = min(before, self.end)
        while self.start < before:
            at = self.start % self.capacity
            stop = min(at + before - self.start, self.capacity)
            self._samples[at:stop] = 0
            self.start += stop - at

    def write(self, samples: NDArray[np.int16]) -> None:
        """What follows, int16 (n, signals)."""
        self.end += len(samples)
        kept = samples[max(0, len(samples) - self.capacity) :]
        at = (self.end - len(kept)) % self.capacity
        first = min(len(kept), self.capacity - at)
        self._samples[at : at + first] = kept[:first]
        self._samples[: len(kept) - first] = kept[first:]
        self._turn()

    def skip(self, samples: int) -> None:
        """So many are missing: the next sample is the one after them."""
        start = self.end
        self.end += samples
        for at in range(max(start, self.end - self.capacity), self.end):
            self._samples[at % self.capacity] = 0
        if self._gaps and self._gaps[-1][1] == start:
            start = self._gaps.pop()[0]
        self._gaps.append((start, self.end))
        self._turn()

    def _turn(self) -> None:
        self.start = max(self.start, self.end - self.capacity)
        while self._gaps and self._gaps[0][1] <= self.start:
            del self._gaps[0]

    def first(self, index: int) -> int:
        """The first sample from `index` on that is there; `end` where none is yet."""
        for start, end in self._gaps:
            if start <= index < end:
                return end
        return index

    def stretches(self, start: int, end: int) -> Iterator[tuple[int, int, bool]]:
        """What lies between two indices, in order: from where to where, and whether it is there or missing."""
        for first, after in self._gaps:
            if first < end and start < after:
                if start < first:
                    yield start, first, True
                yield max(start, first), min(after, end), False
                start = min(after, end)
        if start < end:
            yield start, end, True

    def read(self, start: int, end: int, signal: int) -> Iterator[NDArray[np.int16]]:
        """Samples `start` to `end` of a signal, which it must hold, in order: int16 (n,), contiguous, up to PIECE each.

        Where samples are missing they are zeros: see `stretches`.

        Each is zeroed when the next one is asked for: copy nothing that need not be kept.
        """
        assert self.start <= start <= end <= self.end, f"{start} to {end} of {self.start} to {self.end}"
        while start < end:
            at = start % self.capacity
            piece = self._piece[: min(end - start, self.capacity - at, PIECE)]
            piece[:] = self._samples[at : at + len(piece), signal]
            yield piece
            piece.fill(0)
            start += len(piece)

    def loudest(self, start: int, end: int) -> int:
        """The signal that has the most power between `start` and `end`, as far as they are held."""
        start, end = max(start, self.start), max(self.start, min(end, self.end))
        powers = []
        for signal in range(self._samples.shape[1]):
            powers.append(0.0)
            for piece in self.read(start, end, signal):
                powers[-1] += float(np.einsum("i,i", piece, piece, dtype=np.float64))
        return int(np.argmax(powers))

    def close(self) -> None:
        """Forget all and give the memory back; nothing can be written or read any more."""
        self.zero()
        self._samples = self._piece = np.empty((0, 0), np.int16)
        self._memory.close()
