"""When each sample arrived, by the host's clock, and how fast the capture clock runs.

A block arrives late by whatever the line, the scheduler and the reader took, and never early. The line below all arrivals that is
nearest to them on average is the clock without those delays (Moon, Skelly, Towsley, "Estimation and removal of clock skew from
network delay measurements", INFOCOM 1999): the edge of their lower convex hull that spans their mean.
"""

from dataclasses import dataclass
from itertools import pairwise

RATE = 16_000


@dataclass(frozen=True)
class Line:
    """Sample `index` arrives at `at_ns(index)`. ns_a_sample: 62,500 where the clocks agree."""

    index: int
    ns: int
    ns_a_sample: float

    def at_ns(self, index: int) -> float:
        """Host's monotonic time at which the samples up to `index` could first be had."""
        return self.ns + (index - self.index) * self.ns_a_sample

    @property
    def drift_ppm(self) -> float:
        """How much faster the capture clock runs than the host's."""
        return (1e9 / RATE / self.ns_a_sample - 1) * 1e6


class Arrivals:
    """Blocks' ends and when they were had, in order; keeps the lower hull alone, so that a day's blocks take no memory."""

    def __init__(self) -> None:
        self._hull: list[tuple[int, int]] = []
        self._count = self._sum = 0

    def add(self, end: int, host_ns: int) -> None:
        """The samples up to index `end` were there at `host_ns`. `end` rises from call to call."""
        hull = self._hull
        while len(hull) > 1 and _turns_down(hull[-2], hull[-1], (end, host_ns)):
            hull.pop()
        hull.append((end, host_ns))
        self._count += 1
        self._sum += end

    def line(self) -> Line | None:
        """The clock; None for fewer than two blocks."""
        if len(self._hull) < 2:
            return None
        mean = self._sum / self._count
        edges = pairwise(self._hull)
        (x0, y0), (x1, y1) = next(edge for edge in edges if edge[1][0] >= mean)
        return Line(x0, y0, (y1 - y0) / (x1 - x0))


def _turns_down(a: tuple[int, int], b: tuple[int, int], c: tuple[int, int]) -> bool:
    """Whether b lies on or above the line from a to c; exact, in whole numbers."""
    return (b[1] - a[1]) * (c[0] - a[0]) >= (c[1] - a[1]) * (b[0] - a[0])
