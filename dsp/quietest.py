"""The microphone that is scored as it is, beside the beams: the one that has been most quiet lately."""

import numpy as np
from numpy.typing import NDArray

_HOP = 1_600  # samples over which a level is taken
_HOPS = 30  # of which the lowest level counts: a noise that comes and goes is not taken for a noisy microphone
_DEAD = 1e-9  # mean square below which a microphone hears nothing at all, full scale 1
_CLEARLY = 0.5  # by how much another one must be quieter: 3 dB


class Quietest:
    """One of the microphones, `delay_samples` late: the one whose floor over the last 3 s is the lowest of those that hear.

    A microphone whose own noise is high is left out, and a dead one. It is chosen at the end of each tenth of a second and stays
    until another one is 3 dB quieter. Any number of frames a call; the result does not depend on it.
    """

    def __init__(self, microphones: int, delay_samples: int) -> None:
        self._microphones, self._delay = microphones, delay_samples
        self.reset()

    def reset(self) -> None:
        """Back to the state of a new object."""
        self._held: NDArray[np.float32] = np.zeros((self._delay, self._microphones), np.float32)
        self._levels: NDArray[np.float64] = np.full((_HOPS, self._microphones), np.inf)
        self._sum: NDArray[np.float64] = np.zeros(self._microphones)
        self._taken = self._hops = 0
        self._used: NDArray[np.bool_] = np.ones(self._microphones, bool)
        self.chosen = 0

    def use(self, used: NDArray[np.bool_]) -> None:
        """Of these microphones alone, bool (microphones,), one or more, until the next call or reset."""
        self._used = used.copy()
        if not used[self.chosen]:
            self.chosen = int(np.argmax(used))

    def process(self, heard: NDArray[np.int16 | np.float32]) -> NDArray[np.float32]:
        """The chosen microphone, float32 (frames, 1), full scale 1, of int16 or float32 (frames, microphones)."""
        real = heard.astype(np.float32) / np.float32(32_768) if heard.dtype == np.int16 else heard.astype(np.float32, copy=False)
        joined = np.concatenate([self._held, real])
        made = np.empty((len(real), 1), np.float32)
        at = 0
        while at < len(real):
            stop = min(len(real), at + _HOP - self._taken)
            made[at:stop, 0] = joined[at:stop, self.chosen]
            energies = np.square(real[at:stop], dtype=np.float64)
            # Sample by sample in the same order whatever the cuts, so that they change no bit.
            self._sum = np.add.accumulate(np.concatenate([self._sum[None], energies]), axis=0)[-1]
            self._taken += stop - at
            at = stop
            if self._taken == _HOP:
                self._choose()
        self._held = joined[len(joined) - self._delay :].copy()
        return made

    def _choose(self) -> None:
        self._levels[self._hops % _HOPS] = self._sum / _HOP
        self._hops += 1
        self._taken = 0
        self._sum = np.zeros(self._microphones)
        floor = self._levels.min(axis=0)
        floor = np.where((floor > _DEAD) & self._used, floor, np.inf)
        best = int(np.argmin(floor))
        if floor[best] < _CLEARLY * floor[self.chosen] or (np.isinf(floor[self.chosen]) and np.isfinite(floor[best])):
            self.chosen = best
