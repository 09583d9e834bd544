"""One capture device's frames, each at its place on the capture clock: what was lost is found and sized by time.

An overrun does not say how much was lost, and some paths (a sound server whose memory is full) lose without a word. So the frames
that were delivered are held against a line through earlier counts and times (`Track`):

    behind = track.index(time of the stamp) - frames delivered or waiting at the stamp

After an overrun, `behind` is the gap. Otherwise it is what comes late, and comes yet; if it stays for `PATIENCE_S`, it was lost.
Until that is known the frames that follow are held back, so that none leaves with an index that turns out wrong.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farfield.alsa.pcm import OVERRUN, Device
from farfield.block import Block
from farfield.track import Track

LATE_S = 0.05  # so far behind, frames may have been lost without a word
PATIENCE_S = 0.25
SIZING = 5  # observations by which an overrun is sized: the least late of them counts


@dataclass
class Counts:
    """What went wrong so far. Samples are per channel.

    overruns: as the device told them. unannounced: gaps that only the clock told of. missing_samples: in gaps within an epoch,
    for whatever reason. untaken_samples: of those, what nobody took in time. epochs: begun after the first. reopened: times that
    the device went away and came back.
    """

    overruns: int = 0
    unannounced: int = 0
    missing_samples: int = 0
    untaken_samples: int = 0
    epochs: int = 0
    reopened: int = 0


class Stream:
    """A device's frames as blocks. Used by one thread, the one that owns the device. Memory is bounded by the device's.

    epoch: that of the blocks. clock: the host's monotonic time in ns.
    """

    def __init__(self, device: Device, counts: Counts, epoch: int = 0, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.device, self.epoch = device, epoch
        self.track = Track(device.rate)
        self._counts, self._clock = counts, clock
        self._delivered = 0  # frames, and those that are known to be missing before them
        self._held: list[tuple[NDArray[np.int16], int]] | None = None  # while it is not known what was lost before them
        self._behind: list[float] = []
        self._is_announced = False
        self._held_since = 0

    def read(self) -> list[Block]:
        """Whatever has been captured since; nothing where it is not known yet where that belongs. DeviceError."""
        blocks: list[Block] = []
        left = self.device.buffer  # a device that always has more must not keep the thread
        while left > 0:
            count, data = self.device.read()
            now = self._clock()
            if count == OVERRUN:
                blocks += self._overrun()
                self.device.start()
                break
            if count == 0:
                break
            left -= count
            samples = np.frombuffer(data, "<i2").reshape(count, self.device.channels).astype(np.int16)
            waiting, stamp_ns = self.device.stamp()
            if waiting < self.device.buffer - self.device.period:  # a full memory does not tell how much there is
                self._observe(self._delivered + self._so_far() + count + waiting, stamp_ns)
            if self._held is None:
                blocks.append(self._placed(samples, now))
            else:
                self._held.append((samples, now))
                blocks += self._decided(now)
        return blocks

    def _so_far(self) -> int:
        return sum(len(samples) for samples, _ in self._held or ())

    def finish(self) -> list[Block]:
        """What was still held back, at the stream's end."""
        if self._held is None:
            return []
        return self._settled(max(round(min(self._behind, default=0.0)), 0) if self._is_announced else 0)

    def _overrun(self) -> list[Block]:
        self._counts.overruns += 1
        before = self.finish()  # one overrun after another: what came in between is placed by what is known
        self._hold(announced=True)
        return before

    def _hold(self, announced: bool) -> None:
        self._held, self._behind, self._is_announced, self._held_since = [], [], announced, self._clock()

    def _observe(self, count: int, stamp_ns: int) -> None:
        if not self.track.is_known:
            self.track.add(count, stamp_ns)
            return
        behind = self.track.index(stamp_ns) - count
        most = LATE_S * self.device.rate
        if self._held is None and behind > most and self.track.is_steady:
            self._hold(announced=False)
        if self._held is not None:
            self._behind.append(behind)
            return
        if behind < -most:  # sooner than ever: not the samples, but the way to us has changed
            self.track.reset()
        self.track.add(count, stamp_ns)

    def _decided(self, now: int) -> list[Block]:
        """The blocks that were held back, once it is clear what is missing before them."""
        assert self._held is not None
        least = min(self._behind, default=0.0)
        if self._is_announced:
            if len(self._behind) < SIZING:
                return []
            lost = max(round(least), 0)
        elif least <= LATE_S * self.device.rate:
            lost = 0  # it was late, and has come
        elif now - self._held_since < PATIENCE_S * 1e9:
            return []
        else:
            lost = round(least)
            self._counts.unannounced += 1
        return self._settled(lost)

    def _settled(self, lost: int) -> list[Block]:
        """The blocks that were held back, after a gap of so many samples."""
        assert self._held is not None
        self._delivered += lost
        held, self._held = self._held, None
        return [self._placed(samples, host_ns) for samples, host_ns in held]

    def _placed(self, samples: NDArray[np.int16], host_ns: int) -> Block:
        block = Block(samples, self._delivered, self.epoch, host_ns)
        self._delivered = block.end
        return block
