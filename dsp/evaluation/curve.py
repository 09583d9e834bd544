"""Misses against false accepts over all thresholds, from the smoothed scores of labelled streams."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farfield.detector import LOOKING_SAMPLES
from farfield.evaluation.streams import Said
from farfield.profile import RATE

LATEST_S = 0.5  # after the word's end: a decision up to here is a hit
FLOOR = 0.02  # scores up to here count as none: no threshold is looked for below


@dataclass(frozen=True)
class Scored:
    """A stream's smoothed scores and what was said in it.

    index: int64, the sample after the last one that each step had heard. p: float64, 0 to 1. said: the words. spoken: every
    utterance's clip, first sample and the one after its last. looks: float64, the second look's probability wherever p exceeds
    `opens_above`, and 0 elsewhere; None without one.
    """

    number: int
    index: NDArray[np.int64]
    p: NDArray[np.float64]
    said: tuple[Said, ...]
    skipped: tuple[str, ...]
    samples: int
    spoken: tuple[tuple[str, int, int], ...] = ()
    looks: NDArray[np.float64] | None = None
    opens_above: float = 0.0

    def decisions(self, threshold: float, refractory_ms: int) -> list[int]:
        """Where a detector with this deciding threshold decides."""
        if self.looks is None:
            return decisions(self.index, self.p, threshold, refractory_ms)
        return decisions(self.index, self.p, self.opens_above, refractory_ms, self.looks > threshold)


@dataclass(frozen=True)
class Point:
    """A threshold's outcome. late: decision minus the word's end of each hit, in samples."""

    threshold: float
    hits: tuple[Said, ...]
    missed: tuple[Said, ...]
    late: tuple[int, ...]
    false_accepts: tuple[tuple[int, int], ...]  # stream's number, sample
    hours: float

    @property
    def miss(self) -> float:
        """Share of the words."""
        return len(self.missed) / max(1, len(self.hits) + len(self.missed))

    @property
    def false_accepts_per_hour(self) -> float:
        return len(self.false_accepts) / self.hours

    @property
    def effective_words(self) -> float:
        """How many words were said that tell anything new: a clip that is heard again is no other word."""
        return effective(Counter(word.clip for word in (*self.hits, *self.missed)))


def effective(times: Mapping[str, int]) -> float:
    """Kish's effective number of draws from clips heard so many times each: as many as there are clips, where all are alike.

    It takes the repetitions of a clip to be wholly dependent, so that intervals are rather too wide than too narrow (Kish,
    "Survey Sampling", 1965).
    """
    return sum(times.values()) ** 2 / max(1, sum(count**2 for count in times.values()))


def notable(p: NDArray[np.float64], floor: float) -> NDArray[np.bool_]:
    """The steps above the floor and the one after each run of them: all that decisions above it depend on."""
    above = p > floor
    above[1:] |= above[:-1].copy()
    return np.asarray(above)


def decisions(
    index: NDArray[np.int64],
    p: NDArray[np.float64],
    threshold: float,
    refractory_ms: int,
    agreed: NDArray[np.bool_] | None = None,
) -> list[int]:
    """Where a detector with this threshold decides, by the detector's own rule: above it, armed, and not too soon.

    agreed: at which steps the second look agrees, on the first of which within LOOKING_SAMPLES it decides.
    """
    above = np.concatenate([[False], p > threshold, [False]])
    edges = np.flatnonzero(above[1:] != above[:-1])
    found: list[int] = []
    quiet_until = -1
    for first, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
        step = first + int(np.searchsorted(index[first:stop], quiet_until))
        if step < stop and agreed is not None:
            looks = agreed[step : min(stop, int(np.searchsorted(index, index[step] + LOOKING_SAMPLES, "right")))]
            step = step + int(np.argmax(looks)) if looks.any() else stop
        if step < stop:
            found.append(int(index[step]))
            quiet_until = found[-1] + refractory_ms * RATE // 1000
    return found


def point(streams: Sequence[Scored], threshold: float, refractory_ms: int) -> Point:
    """One threshold over all streams. A word is hit by the first decision between its start and LATEST_S after its end."""
    hits, missed, late, false = [], [], [], []
    for heard in streams:
        left = heard.decisions(threshold, refractory_ms)
        for word in sorted(heard.said, key=lambda word: word.start):
            at = next((at for at in left if word.start <= at <= word.end + LATEST_S * RATE), None)
            if at is None:
                missed.append(word)
                continue
            left.remove(at)
            hits.append(word)
            late.append(at - word.end)
        false += [(heard.number, at) for at in left]
    hours = sum(heard.samples for heard in streams) / RATE / 3600
    return Point(threshold, tuple(hits), tuple(missed), tuple(late), tuple(false), hours)


def thresholds(streams: Sequence[Scored], most: int = 200) -> list[float]:
    """Up to `most` values between which the outcome changes, denser towards 1, where thresholds lie."""
    values = np.unique(np.concatenate([heard.p if heard.looks is None else heard.looks for heard in streams]))
    values = values[(values > FLOOR) & (values < 1.0)]
    if len(values) > most:
        wanted = 1 - np.geomspace(1 - FLOOR, 1 - values[-1], most)
        values = np.unique(values[np.searchsorted(values, wanted).clip(0, len(values) - 1)])
    return [float(value) for value in values]


def curve(streams: Sequence[Scored], refractory_ms: int) -> list[Point]:
    """The detection error trade-off, thresholds rising."""
    return [point(streams, threshold, refractory_ms) for threshold in thresholds(streams)]


def at_rate(points: Sequence[Point], false_accepts_per_hour: float) -> Point | None:
    """Of the thresholds that wake no more often than asked the one that misses least; None where every one wakes more often."""
    quiet = [at for at in points if at.false_accepts_per_hour <= false_accepts_per_hour]
    return min(quiet, key=lambda at: (len(at.missed), len(at.false_accepts), -at.threshold), default=None)


def trade_off(points: Sequence[Point]) -> list[tuple[float, Point]]:
    """False accepts an hour, rising, and for each the point that `at_rate` finds for it."""
    rates = sorted({at.false_accepts_per_hour for at in points})
    found = [(rate, at_rate(points, rate)) for rate in rates]
    return [(rate, at) for rate, at in found if at is not None]


def miss_interval(count: float, total: float) -> tuple[float, float]:
    """Clopper-Pearson 95 % interval of a proportion (Biometrika 26, 1934).

    Numbers need not be whole: of repeated clips the effective ones are given (Korn, Graubard, Survey Methodology 24, 1998).
    """
    from scipy.stats import beta

    low = 0.0 if count == 0 else float(beta.ppf(0.025, count, total - count + 1))
    return low, 1.0 if count == total else float(beta.ppf(0.975, count + 1, total - count))


def rate_interval(count: float, hours: float) -> tuple[float, float]:
    """Exact Poisson 95 % interval of a rate an hour (Garwood, Biometrika 28, 1936); counts as in `miss_interval`."""
    from scipy.stats import chi2

    low = 0.0 if count == 0 else float(chi2.ppf(0.025, 2 * count)) / 2 / hours
    return low, float(chi2.ppf(0.975, 2 * count + 2)) / 2 / hours
