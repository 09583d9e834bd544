"""Who speaks from where: talkers told apart and followed by their directions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farfield.direction import Direction, peaks, separation_deg
from farfield.geometry import Array, turn
from farfield.profile import RATE

# In simulated rooms of RT60 0.2 to 0.7 s, one talker or two at once: of the maps whose peak has this confidence, 96 % or more
# point within 10 degrees at one who speaks; noise of the microphones' own has less than 0.1.
LEAST_CONFIDENCE = 0.4
_SECOND = 0.3  # enough for a map's lower peak where a talker is known already: reflections have 0.2
_WITHIN_DEG = 15.0  # of a talker's last direction is the same talker
_PROVEN = 4  # maps that agree before somebody is believed,
_PROVEN_WITHIN = RATE  # in so many samples
_FOLLOWS = 0.15  # share of a new direction in a talker's


@dataclass(slots=True)
class Talker:
    """Somebody who speaks, or has lately.

    number: 1, 2, ... in the order in which they were first believed. azimuth_deg, confidence, ambiguous_deg: as of a Direction,
    smoothed. start, end: capture indices between which they were heard, so far. updates: how many maps pointed at them.
    """

    number: int
    azimuth_deg: float
    confidence: float
    ambiguous_deg: float | None
    start: int
    end: int
    updates: int


class TalkerTracker:
    """Follows up to `most` talkers through the maps of one stream.

    azimuths_deg: the maps' grid. memory_s: how long a talker who is silent is remembered; one who speaks again from there within
    that time is the same. Talkers less than 20 degrees apart, or who cross, are not told apart: nothing but direction is used.
    """

    def __init__(self, array: Array, azimuths_deg: NDArray[np.floating], *, most: int = 4, memory_s: float = 10.0) -> None:
        self._array, self._azimuths_deg = array, azimuths_deg
        self._most, self._memory = most, round(memory_s * RATE)
        self.reset()

    def reset(self) -> None:
        """Nobody is known."""
        self.talkers: list[Talker] = []
        self._candidates: list[Talker] = []
        self._numbered = 0

    def process(self, maps: NDArray[np.float32], ends: tuple[int, ...]) -> list[Talker]:
        """Takes a frame's maps and their ends; those talkers who were first believed in meanwhile; `talkers` has all."""
        new = []
        for map_, end in zip(maps, ends, strict=True):
            self.talkers = [talker for talker in self.talkers if end - talker.end <= self._memory]
            self._candidates = [one for one in self._candidates if end - one.start <= _PROVEN_WITHIN]
            for rank, found in enumerate(peaks(map_, self._azimuths_deg, self._array, most=2, least=_SECOND)):
                if known := self._nearest(self.talkers, found):
                    self._follow(known, found, end)
                elif rank == 0 and found.confidence >= LEAST_CONFIDENCE and (believed := self._consider(found, end)):
                    new.append(believed)
        return new

    def _consider(self, found: Direction, end: int) -> Talker | None:
        """A direction in which nobody is known: somebody new once enough maps agree."""
        one = self._nearest(self._candidates, found)
        if one is None:
            one = Talker(0, found.azimuth_deg, found.confidence, found.ambiguous_deg, end, end, 1)
            self._candidates.append(one)
            return None
        self._follow(one, found, end)
        if one.updates < _PROVEN:
            return None
        self._candidates.remove(one)
        if len(self.talkers) == self._most:
            self.talkers.remove(min(self.talkers, key=lambda talker: talker.end))
        self._numbered += 1
        one.number = self._numbered
        self.talkers.append(one)
        return one

    def _follow(self, talker: Talker, found: Direction, end: int) -> None:
        share = max(_FOLLOWS, 1 / (talker.updates + 1))
        off = (found.azimuth_deg - talker.azimuth_deg + 180.0) % 360.0 - 180.0
        talker.azimuth_deg = turn(talker.azimuth_deg + share * off)
        talker.confidence += share * (found.confidence - talker.confidence)
        talker.ambiguous_deg = self._array.mirror_deg(talker.azimuth_deg)
        talker.end = end
        talker.updates += 1

    @staticmethod
    def _nearest(talkers: list[Talker], found: Direction) -> Talker | None:
        near = min(talkers, key=lambda one: separation_deg(one.azimuth_deg, found.azimuth_deg), default=None)
        return near if near and separation_deg(near.azimuth_deg, found.azimuth_deg) <= _WITHIN_DEG else None
