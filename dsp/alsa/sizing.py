"""How long a gap was, from observations each of which is late by an unknown time, and early never.

An observation says how many frames have been delivered at a moment, and the clock how many should have been:

    behind = lost + lateness * rate,  lateness >= 0

so the least of several is an upper bound of what was lost, and the true figure as soon as one of them came in time. How many it
takes for that is told by the path itself: `Punctuality` keeps how long it can be late. Observations of one moment share its
lateness, and count once. What is missing before a stretch is missing before all that follow it, which bounds it too.
"""

from collections import deque
from dataclasses import dataclass, field
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

LATE_S = 0.001  # an observation within this of the line came in time
_MEMORY = 1_500  # moments of which it is remembered which were late; at periods of 10 ms a quarter of a minute
_AT_FIRST, _KNOWN = 5, 100  # moments late in a row that are reckoned with until so many have been seen


class Punctuality:
    """Which of a path's last observations were late by more than LATE_S: how many moments in a row it can be late.

    Runs are counted, and not the share of late ones: where a program or a server waits for the processor, so do all its moments.
    """

    def __init__(self) -> None:
        self._late: deque[bool] = deque(maxlen=_MEMORY)
        self._longest: int | None = _AT_FIRST

    def add(self, is_late: bool) -> None:
        """One more moment, of which it is known by now whether it was late."""
        self._late.append(is_late)
        self._longest = None

    def suffices(self, moments: int) -> bool:
        """Whether of so many moments one has come in time, as far as the past tells."""
        if self._longest is None:
            runs = (sum(run) for is_late, run in groupby(self._late) if is_late)
            self._longest = max(0 if len(self._late) >= _KNOWN else _AT_FIRST, *runs, 0)
        return moments > self._longest


@dataclass
class Stretch:
    """Frames before which some may be missing.

    is_gap: whether some are, as an overrun or the clock has told. apart_ns: observations closer than this are of one moment.
    frames: how many there are. behind: at each moment, in frames, the least. least: the least of all, which is the most that can
    be missing before it; infinite where nothing has been observed. unchanged: moments since it fell by a millisecond or more.
    """

    is_gap: bool
    rate: int
    apart_ns: int
    blocks: list[tuple[NDArray[np.int16], int]] = field(default_factory=list)
    frames: int = 0
    behind: list[float] = field(default_factory=list)
    least: float = np.inf
    unchanged: int = 0
    _counted_ns: int = 0
    _was: float = np.inf

    def add(self, samples: NDArray[np.int16], host_ns: int) -> None:
        """Frames that were read at `host_ns`, after those that are there."""
        self.blocks.append((samples, host_ns))
        self.frames += len(samples)

    def observe(self, behind: float, stamp_ns: int) -> None:
        """What an observation at `stamp_ns` says of this gap and those before it together."""
        if not self.behind or stamp_ns - self._counted_ns >= self.apart_ns:
            self._counted_ns = stamp_ns
            self.behind.append(behind)
            self.unchanged += 1
        self.behind[-1] = min(self.behind[-1], behind)
        self.least = min(self.least, behind)
        if behind < self._was - LATE_S * self.rate:
            self.unchanged, self._was = 0, behind

    def is_sure(self, punctuality: Punctuality) -> bool:
        """Whether `least` is what is missing: another moment says the same, and so many in a row are never late."""
        least = sorted(self.behind)[:2]
        return punctuality.suffices(len(self.behind)) and len(least) > 1 and least[1] - least[0] <= LATE_S * self.rate
