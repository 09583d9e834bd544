"""One capture device's frames, each at its place on the capture clock: what was lost is found and sized by time.

An overrun does not say how much was lost, and some paths (a sound server whose memory is full) lose without a word. So the frames
that were delivered are held against a line through earlier counts and times (`Track`):

    behind = track.index(time of the stamp) - frames delivered or waiting at the stamp

After an overrun, the least `behind` is the gap, once enough have been seen (`farfield.alsa.sizing`). Otherwise it is what comes
late, and comes yet; if it gets no less through `PATIENCE_S` of frames, it was lost: of frames and not of time, for a path that
stands still has not had its say. Until that is known the frames that follow are held back, so that none leaves with an index that
turns out wrong; those between two overruns whose place never becomes known are given up, and count as missing.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farfield import counts
from farfield.alsa.pcm import OVERRUN, Device
from farfield.alsa.sizing import LATE_S, Punctuality, Stretch, missing
from farfield.block import Block
from farfield.profile import RATE
from farfield.track import Track

BEHIND_S = 0.05  # so far behind, frames may have been lost without a word
PATIENCE_S = 0.25
SIZING = 3  # moments by which an overrun is sized, at least


@dataclass
class Counts(counts.Counts):
    """What went wrong so far, on an ALSA device.

    unannounced: gaps that only the clock told of. untaken_samples: of the missing ones, what nobody took in time.
    unplaced_samples: of them, what was captured between overruns so close to each other that nobody knows when.
    """

    unannounced: int = 0
    untaken_samples: int = 0
    unplaced_samples: int = 0


class Stream:
    """A device's frames as blocks. Used by one thread, the one that owns the device. Memory is bounded by the device's.

    epoch: that of the blocks. clock: the host's monotonic time in ns.
    """

    def __init__(self, device: Device, counts: Counts, epoch: int = 0, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.device, self.epoch = device, epoch
        self.track = Track(device.rate)
        self._counts, self._clock = counts, clock
        self._delivered = 0  # frames, and those that are known to be missing before them
        self._held: list[Stretch] = []  # while it is not known what was lost before them
        self._punctuality = Punctuality()
        self._apart_ns = device.period * 500_000_000 // device.rate  # half a period
        self._seen_ns: int | None = None

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
                self._observe(self._delivered + held + count + waiting, stamp_ns)
            if self._held:
                self._held[-1].blocks.append((samples, now))
                blocks += self._decided()
            else:
                blocks.append(self._placed(samples, now))
        return blocks

    def finish(self) -> list[Block]:
        """What was still held back, at the stream's end."""
        return self._settled()

    def _overrun(self) -> None:
        self._counts.overruns += 1
        if self._held and not self._held[-1].blocks:
            self._held.pop()  # nothing has come since the last one: it is the same gap
        self._hold(is_gap=True)

    def _hold(self, *, is_gap: bool) -> None:
        self._held.append(Stretch(is_gap, self.device.rate, self._apart_ns))

    def _observe(self, count: int, stamp_ns: int) -> None:
        if not self.track.is_known:
            self.track.add(count, stamp_ns)
            return
        behind = self.track.index(stamp_ns) - count
        most = BEHIND_S * self.device.rate
        if not self._held and behind > most and self.track.is_steady:
            self._hold(is_gap=False)
        if self._held:
            self._held[-1].observe(behind, stamp_ns)
            return
        if self._seen_ns is None or stamp_ns - self._seen_ns >= self._apart_ns:
            self._seen_ns = stamp_ns
            self._punctuality.add(behind > LATE_S * self.device.rate)
        if behind < -most:  # sooner than ever: not the samples, but the way to us has changed
            self.track.reset()
        self.track.add(count, stamp_ns)

    def _decided(self) -> list[Block]:
        """The blocks that were held back, once it is clear what is missing before them."""
        last = self._held[-1]
        if last.is_gap:
            is_clear = len(last.behind) >= SIZING and last.is_sure(self._punctuality)
        elif last.least <= BEHIND_S * self.device.rate:
            is_clear = True  # it was late, and has come
        elif is_clear := last.unchanged * self.device.period >= PATIENCE_S * self.device.rate:
            last.is_gap = True
            self._counts.unannounced += 1
        return self._settled() if is_clear else []

    def _settled(self) -> list[Block]:
        """The blocks that were held back, each after what is missing before it; without those whose place is not known."""
        held, self._held = self._held, []
        first, passed = self._delivered, 0
        blocks: list[Block] = []
        for stretch, lost in zip(held, missing(held, self._punctuality), strict=True):
            if lost is None:
                self._counts.unplaced_samples += stretch.frames * RATE // self.device.rate
            else:
                self._delivered = first + passed + lost
                blocks += [self._placed(samples, host_ns) for samples, host_ns in stretch.blocks]
            passed += stretch.frames
        return blocks

    def _placed(self, samples: NDArray[np.int16], host_ns: int) -> Block:
        block = Block(samples, self._delivered, self.epoch, host_ns)
        self._delivered = block.end
        return block
