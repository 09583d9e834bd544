"""One capture device's frames, each at its place on the capture clock: what was lost is found and sized by time.

An overrun does not say how much was lost, and some paths (a sound server whose memory is full) lose without a word. So the frames
that were delivered are held against a line through earlier counts and times (`Track`):

    behind = track.index(time of the stamp) - frames read or waiting at the stamp

After an overrun, the least `behind` is what is missing, once enough have been seen (`farfield.alsa.sizing`). Otherwise it is what
comes late, and comes yet; if it gets no less through `PATIENCE_S` of frames, it was lost: of frames and not of time, for a path
that stands still has not had its say. Until that is known the frames that follow are held back, so that none leaves with an index
that turns out wrong. After `MOST_HELD_S` of moments they leave where the least late of them would be, and it is counted by how
much that may be wrong; what is missing in all is held against the same line, so that such errors do not add up.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farfield import counts
from farfield.alsa.pcm import OVERRUN, Device
from farfield.alsa.sizing import LATE_S, Punctuality, Stretch
from farfield.block import Block
from farfield.profile import RATE
from farfield.track import Track

BEHIND_S = 0.05  # so far behind, frames may have been lost without a word
PATIENCE_S = 0.25
SIZING = 3  # moments by which an overrun is sized, at least
MOST_HELD_S = 0.3


@dataclass
class Counts(counts.Counts):
    """What went wrong so far, on an ALSA device.

    unannounced: gaps that only the clock told of. untaken_samples: of the missing ones, what nobody took in time.
    doubtful_samples: by how many at most the sizes of gaps are wrong of which no observation came in time, all together.
    """

    unannounced: int = 0
    untaken_samples: int = 0
    doubtful_samples: int = 0


class Stream:
    """A device's frames as blocks. Used by one thread, the one that owns the device. Memory is bounded by the device's.

    epoch: that of the blocks. clock: the host's monotonic time in ns.
    """

    def __init__(self, device: Device, counts: Counts, epoch: int = 0, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.device, self.epoch = device, epoch
        self.track = Track(device.rate)
        self._counts, self._clock = counts, clock
        self._read = self._missing = 0  # frames; of those that are held back, what is missing before them is not known
        self._held: list[Stretch] = []  # while it is not known what was lost before them
        self._punctuality = Punctuality()
        self._apart_ns = device.period * 500_000_000 // device.rate  # half a period
        self._seen_ns: int | None = None
        self._ahead = self._doubt = 0.0  # frames: what has been seen of an error of the last gap's size, and what it can be

    def read(self) -> list[Block]:
        """Whatever has been captured since; nothing where it is not known yet where that belongs. DeviceError."""
        blocks: list[Block] = []
        left = self.device.buffer  # a device that always has more must not keep the thread
        while left > 0:
            count, data = self.device.read()
            now = self._clock()
            if count == OVERRUN:
                self._overrun()
                self.device.start()
                break
            if count == 0:
                break
            left -= count
            samples = np.frombuffer(data, "<i2").reshape(count, self.device.channels).astype(np.int16)
            waiting, stamp_ns = self.device.stamp()
            if waiting < self.device.buffer - self.device.period:  # a full memory does not tell how much there is
                held = sum(stretch.frames for stretch in self._held)
                self._observe(self._read + held + count + waiting, stamp_ns)
            if self._held:
                self._held[-1].add(samples, now)
                blocks += self._decided()
            else:
                blocks.append(self._placed(samples, now))
        return blocks

    def finish(self) -> list[Block]:
        """What was still held back, at the stream's end."""
        blocks: list[Block] = []
        while self._held:
            blocks += self._released(self._bound())
        return blocks

    def _overrun(self) -> None:
        self._counts.overruns += 1
        if self._held and not self._held[-1].blocks:
            self._held.pop()  # nothing has come since the last one: it is the same gap
        self._hold(is_gap=True)

    def _hold(self, *, is_gap: bool) -> None:
        self._held.append(Stretch(is_gap, self.device.rate, self._apart_ns))

    def _observe(self, count: int, stamp_ns: int) -> None:
        """`count` frames had been read, or waited, at `stamp_ns`."""
        if not self.track.is_known:
            self.track.add(count + self._missing, stamp_ns)
            return
        behind = self.track.index(stamp_ns) - count
        if not self._held and behind - self._missing > BEHIND_S * self.device.rate and self.track.is_steady:
            self._hold(is_gap=False)
        if self._held:
            self._held[-1].observe(behind, stamp_ns)
            return
        behind -= self._missing
        self._ahead = min(self._ahead, behind)
        if self._seen_ns is None or stamp_ns - self._seen_ns >= self._apart_ns:
            self._seen_ns = stamp_ns
            self._punctuality.add(behind - self._ahead > LATE_S * self.device.rate)
        # Sooner than ever: not the samples, but the way to us has changed.
        if behind < -BEHIND_S * self.device.rate - self._doubt:
            self.track.reset()
            self._ahead = 0.0
        self.track.add(count + self._missing, stamp_ns)

    def _decided(self) -> list[Block]:
        """The blocks that were held back and of which it is clear by now what is missing before them."""
        blocks: list[Block] = []
        while self._held:
            first, is_last, bound = self._held[0], len(self._held) == 1, self._bound()
            if not first.is_gap and is_last and bound > BEHIND_S * self.device.rate:
                if first.unchanged * self.device.period < PATIENCE_S * self.device.rate:
                    break
                first.is_gap = True
                self._counts.unannounced += 1
            if first.is_gap and not self._is_sure(first, bound, is_last):
                moments = sum(len(stretch.behind) for stretch in self._held)
                if moments * self.device.period < MOST_HELD_S * self.device.rate:
                    break
            blocks += self._released(bound)
        return blocks

    def _bound(self) -> float:
        """How many frames can be missing before the first that are held, at most, beyond what is known to be."""
        return max(min(stretch.least for stretch in self._held) - self._missing, 0.0)

    def _is_sure(self, first: Stretch, bound: float, is_last: bool) -> bool:
        if is_last and len(first.behind) < SIZING:
            return False
        return bound <= LATE_S * self.device.rate or first.is_sure(self._punctuality)

    def _released(self, bound: float) -> list[Block]:
        """The blocks of the first stretch that is held, after what is missing before them: at most `bound` frames."""
        first = self._held.pop(0)
        self._ahead = self._doubt = 0.0
        if first.is_gap:
            is_sure = self._is_sure(first, bound, is_last=False)
            if not is_sure:
                self._doubt = bound if bound < np.inf else first.frames
                self._counts.doubtful_samples += round(self._doubt * RATE / self.device.rate)
            self._missing += max(round(bound), 1) if bound < np.inf else 1  # an overrun is a jump of the index, always
            for behind in first.behind:
                self._punctuality.add(behind - self._missing > LATE_S * self.device.rate)
            self.track.split()
        return [self._placed(samples, host_ns) for samples, host_ns in first.blocks]

    def _placed(self, samples: NDArray[np.int16], host_ns: int) -> Block:
        block = Block(samples, self._read + self._missing, self.epoch, host_ns)
        self._read += len(samples)
        return block
