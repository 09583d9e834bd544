"""Which sample a device captured or played at which moment of the host's clock, and how two such clocks drift apart."""

import math
from collections import deque
from typing import NamedTuple

import numpy as np

_WINDOW_S = 1.0  # of each, only the observation that came least late counts
_WINDOWS = 64  # how many windows the line is laid through: about a minute
_STEADY = 4  # windows before a slope is believed
_FASTEST = 0.01  # a clock that is off by more is none: a slope of one or two odd windows


class _Line(NamedTuple):
    """host_ns = ns + (index - index0) * ns_per_sample. Replaced as a whole, so that another thread may read it."""

    index0: float
    ns: float
    ns_per_sample: float


class Track:
    """A device's sample count against the host's monotonic clock, as a straight line. Written by one thread, read by any.

    rate: nominal, in Hz. An observation says that `index` samples were done at `host_ns`. Periods, transfers and scheduling make
    it late, hardly ever early: of each second the least late one is kept, and the line is Theil's and Sen's through the last
    minute's: the median of the slopes between all pairs, and of what remains. A quarter of the seconds may be arbitrarily wrong.
    Sources: Sen, "Estimates of the regression coefficient based on Kendall's tau", J. Am. Stat. Assoc. 63 (1968); the minimum
    over a window as in NTP's clock filter (RFC 5905, 10).
    """

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self.reset()

    def reset(self) -> None:
        """Forget all observations."""
        self._line: _Line | None = None
        self._points: deque[tuple[int, int, int]] = deque(maxlen=_WINDOWS)  # stretch, index, host_ns
        self._stretch = 0
        self._least: tuple[float, int, int] | None = None  # by how much late, index, host_ns; in the current window
        self._window_ends: float | None = None
        self._error_ppm: float | None = None

    @property
    def is_known(self) -> bool:
        """Whether anything has been observed."""
        return self._line is not None

    @property
    def is_steady(self) -> bool:
        """Whether the slope rests on at least four seconds."""
        return len(self._points) >= _STEADY

    @property
    def drift_ppm(self) -> float | None:
        """By how much the device's clock runs faster than the host's, in millionths; None before four seconds."""
        line = self._line
        return None if line is None or not self.is_steady else (1e9 / self.rate / line.ns_per_sample - 1) * 1e6

    @property
    def error_ppm(self) -> float | None:
        """Standard error of `drift_ppm`, from how the observations lie about the line; None before four seconds."""
        return self._error_ppm

    def add(self, index: int, host_ns: int) -> None:
        """An observation: at `host_ns`, `index` samples since the beginning had been captured or played."""
        if self._line is None:
            self._line = _Line(index, host_ns, 1e9 / self.rate)
        if self._points and index <= self._points[-1][1]:
            return  # nothing has been done since, or the count went back: no slope comes of it
        if self._window_ends is None:
            self._window_ends = index + _WINDOW_S * self.rate
        late = host_ns - self.host_ns(index)
        if self._least is None or late < self._least[0]:
            self._least = late, index, host_ns
        if not (self._points or self._stretch) and late < 0:  # until a window is whole the least late observation is the line
            self._line = _Line(index, host_ns, 1e9 / self.rate)
        if index >= self._window_ends:
            self._points.append((self._stretch, *self._least[1:]))
            self._line = self._fitted()
            self._least = None
            self._window_ends = index + _WINDOW_S * self.rate

    def split(self) -> None:
        """After a gap that this line has sized: what follows tells where the line lies, and how steep it is, by itself alone.

        Each gap is sized by the least late of few observations, and so a little too long; a line through both its ends would be
        too steep by that, size the next one longer yet, and so on.
        """
        self._stretch += 1
        self._least = self._window_ends = None

    def host_ns(self, index: float) -> float:
        """When sample `index` was done. ValueError: nothing has been observed."""
        line = self._known()
        return line.ns + (index - line.index0) * line.ns_per_sample

    def index(self, host_ns: float) -> float:
        """How many samples were done at a moment. ValueError: nothing has been observed."""
        line = self._known()
        return line.index0 + (host_ns - line.ns) / line.ns_per_sample

    def drift_from(self, other: "Track") -> float | None:
        """By how much this clock runs faster than another, in millionths; None where one is not known yet."""
        mine, theirs = self.drift_ppm, other.drift_ppm
        return None if mine is None or theirs is None else ((1 + mine * 1e-6) / (1 + theirs * 1e-6) - 1) * 1e6

    def _known(self) -> _Line:
        line = self._line
        if line is None:
            raise ValueError("track: got no observation yet, wanted at least one")
        return line

    def _fitted(self) -> _Line:
        stretches = np.array([stretch for stretch, _, _ in self._points])
        mine = stretches == self._stretch
        if self._stretch and np.count_nonzero(mine) < _STEADY:
            return self._known()
        _, index0, ns0 = self._points[-1]
        nominal = 1e9 / self.rate
        at = np.array([index - index0 for _, index, _ in self._points], np.float64)
        late = np.array([ns - ns0 for _, _, ns in self._points], np.float64) - at * nominal
        slope = 0.0
        if self.is_steady:
            first, second = np.triu_indices(len(at), 1)
            together = stretches[first] == stretches[second]
            first, second = first[together], second[together]
            slope = float(np.median((late[second] - late[first]) / (at[second] - at[first])))
            slope = min(max(slope, -_FASTEST * nominal), _FASTEST * nominal)
        at, late = at[mine], late[mine]
        remains = late - slope * at
        middle = float(np.median(remains))
        if self.is_steady:
            deviation = 1.4826 * float(np.median(np.abs(remains - middle)))  # of normal noise, from its median
            self._error_ppm = deviation / (float(np.std(at)) * math.sqrt(len(at)) * nominal) * 1e6
        return _Line(index0, ns0 + middle, nominal + slope)
