"""From maps of steered response power to directions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farfield.geometry import Array, turn

FINE = 360  # directions of a refined map: one a degree


@dataclass(frozen=True, slots=True)
class Direction:
    """Where sound comes from.

    azimuth_deg: 0 to 360, counter-clockwise from the array's x axis.
    confidence: the share of what was heard that is in phase in that direction, 0 (from nowhere in particular) to 1 (one plane
    wave). A talker 1.7 m away has about 0.8, 0.65 and 0.6 in rooms that ring for 0.2, 0.4 and 0.7 s.
    ambiguous_deg: the mirror direction that a line array cannot tell from azimuth_deg; None otherwise.
    """

    azimuth_deg: float
    confidence: float
    ambiguous_deg: float | None


def estimate(response: NDArray[np.floating], azimuths_deg: NDArray[np.floating], array: Array) -> Direction | None:
    """The direction of a map's peak, to a fraction of a degree; None where nothing was heard.

    response: (directions + 1,), one map of a DirectionFinder or a sum of several. azimuths_deg: its even grid over the circle.
    """
    found = peaks(response, azimuths_deg, array, most=1)
    return found[0] if found else None


def peaks(
    response: NDArray[np.floating],
    azimuths_deg: NDArray[np.floating],
    array: Array,
    *,
    most: int,
    apart_deg: float = 20.0,
    least: float = 0.0,
) -> list[Direction]:
    """Up to `most` peaks of a map, the highest first, `apart_deg` or more from each other and with `least` confidence or more.

    A line array's mirrored peaks are one, given in the half plane that starts at its axis.
    """
    strength = float(response[-1])
    if strength <= 0 or len(response) != len(azimuths_deg) + 1:
        return []
    fine = refined(np.asarray(response[:-1], np.float64))
    before, after = np.roll(fine, 1), np.roll(fine, -1)
    tops = (fine >= before) & (fine > after)
    if array.is_line:  # both halves show the same
        tops = (fine >= before) & (fine >= after) & ((np.arange(FINE) - array.spread(2)[0]) % 360.0 <= 180.0)
    found: list[Direction] = []
    for at in sorted(np.flatnonzero(tops), key=lambda at: -fine[at]):
        confidence = fine[at] / strength
        if confidence <= 0 or confidence < least or len(found) == most:
            break
        curvature = before[at] - 2 * fine[at] + after[at]
        shift = 0.5 * (before[at] - after[at]) / curvature if curvature < 0 else 0.0
        azimuth = turn(float(at + np.clip(shift, -0.5, 0.5)))
        if all(separation_deg(azimuth, other.azimuth_deg) >= apart_deg for other in found):
            found.append(Direction(azimuth, float(min(confidence, 1.0)), array.mirror_deg(azimuth)))
    return found


def refined(map_: NDArray[np.float64]) -> NDArray[np.float64]:
    """A map over the circle at every degree: float64 (360,), exact for its harmonics (see the head of direction.pyx)."""
    harmonics = np.fft.rfft(map_)
    if len(map_) < FINE and len(map_) % 2 == 0:
        harmonics[-1] /= 2  # half of it belongs to the negative frequency
    return np.asarray(np.fft.irfft(harmonics, FINE) * (FINE / len(map_)))


def separation_deg(a: float, b: float) -> float:
    """The angle between two azimuths, 0 to 180."""
    return abs((a - b + 180.0) % 360.0 - 180.0)
