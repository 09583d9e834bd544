"""A board's sample count held against its own microsecond clock, the tick of each AUDIO frame.

A tick is read on the board when the last sample of a frame has been captured, so that it knows of no line and of no busy host. It
tells how fast the sample clock runs against the board's processor, and whether as many samples came as time has passed:

    off = (time by the tick) * rate - (samples by the index)

is 0 but for the moment by which the tick was read too late; it is never read too early. Frames whose tick is off by more than
OFF_S are held back. If one of them is in time again, it was the reading that was late, and all leave as they came. If none is for
HELD_S, samples were lost (off > 0) or made up (off < 0) of which the board's index does not tell. Of the first 4 s of an epoch,
in which the two clocks get to know each other, that cannot be said.
"""

from farfield.profile import RATE
from farfield.track import Track

OFF_S = 0.002
HELD_S, MOST_HELD_S = 0.1, 0.5
LEAST_HELD = 5  # frames, if they are long
_ALIKE_S = 0.00025  # within which the two least late ones must agree
_FASTEST_PPM = 9_000.0  # what is off by more is no clock: Track stops at 10,000
_SURE_PPM = 50.0  # the standard error of the drift from which on frames are judged: 0.05 ms for each second ahead
_WRAP = 2**32


class Ticks:
    """The ticks of one epoch. `track`: which sample was captured at which moment of the board's clock, in its ns."""

    def __init__(self) -> None:
        self.track = Track(RATE)
        self._last: int | None = None  # without its wraps

    @property
    def is_clock(self) -> bool:
        """Whether they run at about the samples' rate, as far as is known."""
        return abs(self.track.drift_ppm or 0.0) <= _FASTEST_PPM

    def ns(self, tick: int) -> int:
        """The moment of the frame that follows the last one, in ns of the board's clock, without its wraps."""
        # Forwards or backwards, whatever is nearer: half a turn is 36 minutes.
        ahead = 0 if self._last is None else (tick - self._last + _WRAP // 2) % _WRAP - _WRAP // 2
        self._last = tick if self._last is None else self._last + ahead
        return self._last * 1_000

    def off(self, end: int, ns: int) -> float:
        """How many samples fewer than the time tells had been captured up to index `end`; 0 before that can be judged."""
        error = self.track.error_ppm
        return 0.0 if error is None or error > _SURE_PPM else self.track.index(ns) - end


def untold(offs: list[float]) -> tuple[int, int] | None:
    """From which of the held frames on how many samples are missing (below 0: too many); None where the ticks contradict.

    Two that are alike and least of all that follow tell; a lesser one before them was of before the loss, and read late.
    """
    first = 0
    while len(offs) - first >= LEAST_HELD:
        least, next_to_it = sorted(offs[first:])[:2]
        if next_to_it - least > _ALIKE_S * RATE:
            first = offs.index(least, first) + 1
        elif least < 0:
            return next(number for number in range(first, len(offs)) if offs[number] < 0), round(least)
        else:
            return first, round(least)
    return None
