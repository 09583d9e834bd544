"""The one place where sound stays while no word has been accepted: a locked ring, overwritten as it turns."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from farfield.capture import memory

PIECE = 1_600  # samples of one signal that are handed out at once


class Ring:
    """The newest `capacity` samples of every signal, each at its place on the capture clock.

    capacity, signals: how many. Holds `start` to `end` of one stretch without a gap. Memory is allocated once, locked, and left
    out of core dumps; only `zero`, `forget` and the turning of the ring forget. InputError: memory that may not be locked.
    """

    def __init__(self, capacity: int, signals: int) -> None:
        self.capacity = capacity
        self._memory = memory.locked(2 * (capacity * signals + PIECE))
        all_of_it: NDArray[np.int16] = np.frombuffer(self._memory, np.int16)
        self._piece = all_of_it[:PIECE]
        self._samples = all_of_it[PIECE:].reshape(capacity, signals)
        self.start = self.end = 0

    def restart(self, index: int) -> None:
        """Forget all; the next sample is the one at `index`."""
        self._samples.fill(0)
        self.start = self.end = index

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
        self.start = max(self.start, self.end - self.capacity)

    def read(self, start: int, end: int, signal: int) -> Iterator[NDArray[np.int16]]:
        """Samples `start` to `end` of a signal, which it must hold, in order: int16 (n,), contiguous, up to PIECE each.

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
