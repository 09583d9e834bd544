"""A device's blocks at its own rate, as blocks at 16 kHz whose indices are exact.

The rates' ratio is a fraction, down / up: sample up * n at 16 kHz is the device's sample down * n, both counted from the epoch's
start. So a resampler begins at such a sample, and after a gap another one begins at the next: what lies before it, 2 samples at
48 kHz and less than 10 ms at any common rate, is part of the gap. The resampler's delay is compensated, as it is for files; but
soxr gives its output out in batches, so that a sample leaves later than it could: by up to 37 ms at 48 kHz, 60 at 32 kHz.
"""

from math import gcd

import numpy as np
import soxr
from numpy.typing import NDArray

from farfield.block import Block
from farfield.profile import RATE
from farfield.track import Track


class Resampled:
    """Blocks of a device's rate in, blocks of 16 kHz out. rate: the device's, in Hz. Used by one thread."""

    def __init__(self, rate: int, channels: int) -> None:
        common = gcd(rate, RATE)
        self._down, self._up = rate // common, RATE // common
        self._channels = channels
        self._resampler = soxr.ResampleStream(rate, RATE, channels, dtype="float32", quality="HQ")
        self._epoch, self._next = -1, 0  # of the device: what would follow without a gap
        self._made = 0  # index of the next sample that comes out
        self._is_running = False

    def take(self, block: Block) -> list[Block]:
        """What a block completes: the last of what came before a gap, and what is there of its own."""
        made = []
        if self._is_running and (block.epoch, block.index) != (self._epoch, self._next):
            made += self.finish(block.host_ns)
        self._epoch, self._next = block.epoch, block.end
        samples = block.samples
        if not self._is_running:
            skipped = -block.index % self._down
            if skipped >= len(samples):
                return made
            samples = samples[skipped:]
            self._made = (block.index + skipped) // self._down * self._up
            self._is_running = True
        return made + self._given(samples, block.host_ns, last=False)

    def finish(self, host_ns: int) -> list[Block]:
        """The last of what came before a gap, or before the stream's end."""
        if not self._is_running:
            return []
        made = self._given(np.zeros((0, self._channels), np.int16), host_ns, last=True)
        self._resampler.clear()
        self._is_running = False
        return made

    def _given(self, samples: NDArray[np.int16], host_ns: int, *, last: bool) -> list[Block]:
        sound = self._resampler.resample_chunk(samples.astype(np.float32), last=last)
        if last:  # rounded up, it may have made one more than there was sound for
            sound = sound[: max(self._next * self._up // self._down - self._made, 0)]
        if not len(sound):
            return []
        made = Block(np.clip(np.rint(sound), -32_768, 32_767).astype(np.int16), self._made, self._epoch, host_ns)
        self._made = made.end
        return [made]


class TrackAt16k(Track):
    """A device's track, in samples at 16 kHz. track: of the device's own rate; it is read, never written."""

    def __init__(self, track: Track) -> None:
        super().__init__(RATE)
        self._own = track

    @property
    def is_known(self) -> bool:
        """The device's."""
        return self._own.is_known

    @property
    def is_steady(self) -> bool:
        """The device's."""
        return self._own.is_steady

    @property
    def drift_ppm(self) -> float | None:
        """The device's."""
        return self._own.drift_ppm

    @property
    def error_ppm(self) -> float | None:
        """The device's."""
        return self._own.error_ppm

    def host_ns(self, index: float) -> float:
        """When sample `index` was captured. ValueError: nothing has been observed."""
        return self._own.host_ns(index * self._own.rate / RATE)

    def index(self, host_ns: float) -> float:
        """How many samples had been captured at a moment. ValueError: nothing has been observed."""
        return self._own.index(host_ns) * RATE / self._own.rate
