"""From maps of steered response power to a direction."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farfield.geometry import Array, turn


@dataclass(frozen=True, slots=True)
class Direction:
    """Where sound comes from.

    azimuth_deg: 0 to 360, counter-clockwise from the array's x axis.
    confidence: the share of the map's peak that stands out over the map's mean, 0 (all directions alike) to 1.
    ambiguous_deg: the mirror direction that a line array cannot tell from azimuth_deg; None otherwise.
    """

    azimuth_deg: float
    confidence: float
    ambiguous_deg: float | None


def estimate(response: NDArray[np.floating], azimuths_deg: NDArray[np.floating], array: Array) -> Direction | None:
    """The direction of a map's peak, refined between grid points by a parabola; None where nothing was heard.

    response: (directions,), one map of a DirectionFinder or a sum of several. azimuths_deg: its even grid over the circle.
    """
    map_ = np.asarray(response, np.float64)
    if array.is_line:  # both halves show the same peak: keep the half plane that starts at the axis
        map_ = np.where((azimuths_deg - array.spread(2)[0]) % 360.0 <= 180.0, map_, -np.inf)
    best = int(np.argmax(map_))
    peak = float(response[best])
    if peak <= 0:
        return None
    before, after = float(response[best - 1]), float(response[(best + 1) % len(response)])
    curvature = before - 2 * peak + after
    shift = 0.5 * (before - after) / curvature if curvature < 0 else 0.0
    step = 360.0 / len(response)
    azimuth = turn(float(azimuths_deg[best]) + step * float(np.clip(shift, -0.5, 0.5)))
    confidence = float(np.clip((peak - float(np.mean(response))) / peak, 0.0, 1.0))
    return Direction(azimuth, confidence, array.mirror_deg(azimuth))
