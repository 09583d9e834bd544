"""How long a gap was, from observations each of which is late by an unknown time, and early never.

An observation says how many frames have been delivered at a moment, and the clock how many should have been:

    behind = lost + lateness * rate,  lateness >= 0

so the least of several is an upper bound of what was lost, and the true figure as soon as one of them came in time. How many it
takes for that is told by the path itself: `Punctuality` keeps what share of its observations is late. Observations of one moment
share its lateness, and count once. What is missing before a stretch is missing before all that follow it, which bounds it too.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LATE_S = 0.001  # an observation within this of the line came in time
_DOUBT = 1e-3  # chance that all observations of a stretch were late, at which its place is believed
_MEMORY = 256  # moments over which the share of late ones is averaged
_AT_FIRST, _LEAST, _MOST = 0.25, 1e-3, 0.75  # of that share


class Punctuality:
    """What share of a path's observations is late by more than LATE_S; slowly forgets."""

    def __init__(self) -> None:
        self._share = _AT_FIRST

    def add(self, is_late: bool) -> None:
        """One more, while it is known what was lost."""
        self._share += (is_late - self._share) / _MEMORY

    def suffices(self, moments: int) -> bool:
        """Whether of so many observations one has come in time, beyond doubt."""
        return bool(min(max(self._share, _LEAST), _MOST) ** moments <= _DOUBT)


@dataclass
class Stretch:
    """Frames before which some may be missing.

    is_gap: whether some are, as an overrun or the clock has told. apart_ns: observations closer than this are of one moment.
    behind: at each moment, in frames, the least. unchanged: moments since the least of all became less by a millisecond or more.
    """

    is_gap: bool
    rate: int
    apart_ns: int
    blocks: list[tuple[NDArray[np.int16], int]] = field(default_factory=list)
    behind: list[float] = field(default_factory=list)
    unchanged: int = 0
    _counted_ns: int = 0
    _was: float = np.inf

    @property
    def frames(self) -> int:
        """How many there are."""
        return sum(len(samples) for samples, _ in self.blocks)

    @property
    def least(self) -> float:
        """The most that can be missing before it; infinite where nothing has been observed."""
        return min(self.behind, default=np.inf)

    def observe(self, behind: float, stamp_ns: int) -> None:
        """What an observation at `stamp_ns` says of this gap and those before it together."""
        if not self.behind or stamp_ns - self._counted_ns >= self.apart_ns:
            self._counted_ns = stamp_ns
            self.behind.append(behind)
            self.unchanged += 1
        self.behind[-1] = min(self.behind[-1], behind)
        if behind < self._was - LATE_S * self.rate:
            self.unchanged, self._was = 0, behind

    def is_sure(self, punctuality: Punctuality) -> bool:
        """Whether `least` is what is missing: another moment says the same, and that all were late is beyond belief."""
        least = sorted(self.behind)[:2]
        return punctuality.suffices(len(self.behind)) and len(least) > 1 and least[1] - least[0] <= LATE_S * self.rate


def missing(stretches: list[Stretch], punctuality: Punctuality) -> list[int | None]:
    """How many frames are missing in all up to each stretch; None where that is not known to a millisecond."""
    bounds = []
    upper = np.inf
    for stretch in reversed(stretches):
        upper = min(upper, stretch.least)
        bounds.append(upper)
    found: list[int | None] = []
    known = 0
    for stretch, bound in zip(stretches, reversed(bounds), strict=True):
        is_pinched = bound - known <= LATE_S * stretch.rate  # nor can it be less than before
        if not stretch.is_gap:
            found.append(known)
        elif is_pinched or stretch.is_sure(punctuality):
            known = max(round(bound), known)
            found.append(known)
        else:
            found.append(None)
    return found
