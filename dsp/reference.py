"""A reference from another clock than the microphones': brought onto theirs, and laid beside them.

Both devices' samples are known by the host's time (`Track`), so sample i of the microphones belongs to sample

    r(i) = reference.index(microphones.host_ns(i)),    r(i) = offset + (1 + drift) i

of the reference, which is resampled there by soxr at a variable rate. An echo canceller minds a rate that wavers more than one
that is off by a few millionths, which the aligner removes: so the rate follows the drift in steps of no less than 3 ppm, nor than
what it is known by, and what is left of the place is made up for over half a minute. Drift is gone before the aligner sees it,
and no kernel needs to know of two clocks.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from farfield.block import Block
from farfield.errors import InputError
from farfield.profile import MOST_REFERENCES, RATE
from farfield.track import Track

PATIENCE_S = 0.1  # how much later than the microphones' samples a reference may arrive
_MOST_OFF = 0.0015  # by which the rate may be changed
_LEAST_STEP = 3e-6
_SURE = 2.0  # standard errors of the drift
_PULL_S = 30.0  # over which a wrong place is made up for
_FARTHEST_S = 0.005  # a place that is further off is not pulled, but taken anew
_FIRST_S = 0.00025  # the same as soon as the drift is known: what has been learnt until then is of a moving echo
_PAST_S = 0.5  # of the reference as it came, to take its place anew without a hole
_AGAIN = RATE  # samples between two looks at the rate


class Microphones(Protocol):
    """The source whose clock counts."""

    @property
    def microphones(self) -> int: ...
    @property
    def references(self) -> int: ...
    @property
    def track(self) -> Track: ...
    def blocks(self, stop: Callable[[], bool]) -> Iterator[Block]: ...


class Feed(Protocol):
    """What gives a reference, in blocks of its own clock: an AlsaSource, or a Player."""

    @property
    def channels(self) -> int: ...
    @property
    def track(self) -> Track: ...
    def take(self, timeout_s: float = ...) -> Block | None: ...


class Referenced:
    """A source's microphones with the reference of another device beside them, as blocks.

    `missing_samples` counts those whose reference was not there in time, by PATIENCE_S; they have silence for it. `restarts` is
    how often its place was taken anew, after a gap in either. InputError: a source that has references of its own, a feed of more
    than 4 channels. Used by one thread.
    clock: the host's monotonic time, ns. blocks: the source's, where they are not what `source.blocks` gives.
    """

    def __init__(
        self,
        source: Microphones,
        feed: Feed,
        clock: Callable[[], int] = time.monotonic_ns,
        blocks: Callable[[Callable[[], bool]], Iterator[Block]] | None = None,
    ) -> None:
        if not 1 <= feed.channels <= MOST_REFERENCES:
            raise InputError(f"reference: got {feed.channels} channels, wanted 1 to {MOST_REFERENCES}")
        if source.references:
            raise InputError(f"reference: got a source that has {source.references} of its own, wanted one that has none")
        self.microphones, self.references = source.microphones, feed.channels
        self.missing_samples = self.restarts = 0
        self._source, self._feed, self._clock = source, feed, clock
        self._blocks = blocks or source.blocks
        self._onto = _Onto(feed.channels)
        self._past: deque[Block] = deque()
        self._place: tuple[int, int] | None = None  # epoch and index of what the feed gives next
        self._epoch: int | None = None  # the microphones'
        self._is_placed = self._is_sure = False

    @property
    def drift_ppm(self) -> float | None:
        """By how much the reference's clock runs faster than the microphones'; None before it is known."""
        return self._feed.track.drift_from(self._source.track)

    @property
    def offset_samples(self) -> float | None:
        """Which sample of the reference belongs to the microphones' first, in their present epochs; None before it is known."""
        here, there = self._source.track, self._feed.track
        return there.index(here.host_ns(0)) if here.is_known and there.is_known else None

    def blocks(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Block]:
        """The source's blocks, each with its reference's columns behind the microphones'."""
        for block in self._blocks(stop):
            if block.epoch != self._epoch:
                self._epoch, self._is_placed, self._is_sure = block.epoch, False, False
            played = self._beside(block)
            yield Block(np.concatenate([block.samples, played], axis=1), block.index, block.epoch, block.host_ns)

    def _beside(self, block: Block) -> NDArray[np.int16]:
        """The reference of a block's samples; silence where it did not come in time."""
        until = block.host_ns + int(PATIENCE_S * 1e9)
        while not self._is_placed or self._onto.end < block.end:
            part = self._feed.take(max(until - self._clock(), 0) / 1e9)
            if part is None:
                break
            self._follow(part, block.index)
        played, missing = self._onto.take(block.index, len(block.samples))
        self.missing_samples += missing
        return played

    def _follow(self, part: Block, index: int) -> None:
        """Takes in what the feed gives; `index`: of the first microphone sample that still needs it."""
        if self._place != (part.epoch, part.index):
            self._is_placed = False
            self._is_sure = self._is_sure and self._place is not None and self._place[0] == part.epoch
            self._past.clear()
        self._place = part.epoch, part.end
        self._past.append(part)
        while self._place[1] - self._past[0].end > _PAST_S * RATE:
            self._past.popleft()
        if not self._is_placed:
            self._put(index)
            return
        here, there = self._source.track, self._feed.track
        drift = self.drift_ppm
        if drift is not None and self._onto.is_due:
            off = there.index(here.host_ns(self._onto.end)) - self._onto.position
            if abs(off) > (_FARTHEST_S if self._is_sure else _FIRST_S) * RATE:
                self._put(index)
            else:
                self._onto.feed(part.samples)
            self._is_sure = True
            sure = _SURE * 1e-6 * max(here.error_ppm or 0.0, there.error_ppm or 0.0)
            self._onto.set(1 + drift * 1e-6 + off / (_PULL_S * RATE), max(_LEAST_STEP, sure))
        else:
            self._onto.feed(part.samples)

    def _put(self, index: int) -> None:
        """Finds the place of the feed's last sound anew, so that microphone sample `index` gets what belongs to it."""
        here, there = self._source.track, self._feed.track
        if not (here.is_known and there.is_known):
            return
        oldest, end = self._past[0].index, self._past[-1].end
        begin = math.floor(there.index(here.host_ns(index)))
        if begin < oldest:
            index, begin = math.ceil(here.index(there.host_ns(oldest))), oldest
        if begin >= end:
            return
        self._onto.restart(index, begin)
        self._onto.feed(np.concatenate([part.samples for part in self._past])[begin - oldest :])
        self._is_placed = True
        self.restarts += 1


class _Onto:
    """Resamples the reference, and keeps what the microphones have not asked for. `end`: index after the last that is there."""

    def __init__(self, channels: int) -> None:
        most = 1 + _MOST_OFF
        self._resampler = soxr.ResampleStream(most, 1.0, channels, dtype="float32", quality="HQ", vr=True)
        self._channels = channels
        self.restart(0, 0)

    def restart(self, index: int, position: int) -> None:
        """The next sample that is fed is the reference's `position`, and belongs to the microphones' `index`."""
        self._resampler.clear()
        self._ratio = 1.0
        self._resampler.set_io_ratio(1.0, 1.0)
        self._kept = np.zeros((0, self._channels), np.int16)
        self.end, self.position = index, float(position)
        self._looked = index

    @property
    def is_due(self) -> bool:
        """Whether it is time to look at the rate again."""
        return self.end - self._looked >= _AGAIN

    def set(self, ratio: float, step: float) -> None:
        """How many samples of the reference make one, from here on, unless that is what they make already, within a step."""
        self._looked = self.end
        ratio = min(max(ratio, 1 - _MOST_OFF), 1 + _MOST_OFF)
        if abs(ratio - self._ratio) >= step:
            self._ratio = ratio
            self._resampler.set_io_ratio(ratio, 1.0)

    def feed(self, samples: NDArray[np.int16]) -> None:
        """More of the reference."""
        made = self._resampler.resample_chunk(samples.astype(np.float32))
        self._kept = np.concatenate([self._kept, np.clip(np.rint(made), -32_768, 32_767).astype(np.int16)])
        self.end += len(made)
        self.position += self._ratio * len(made)

    def take(self, index: int, count: int) -> tuple[NDArray[np.int16], int]:
        """The reference of `count` samples from `index` on, and how many of them are not there, and silent."""
        taken = np.zeros((count, self._channels), np.int16)
        begin = self.end - len(self._kept)
        first, last = max(index, begin), min(index + count, self.end)
        if first < last:
            taken[first - index : last - index] = self._kept[first - begin : last - begin]
        self._kept = self._kept[max(min(index + count, self.end) - begin, 0) :]
        return taken, count - max(last - first, 0)
