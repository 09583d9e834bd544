"""How often a model misses its word, how often it wakes to something else, and how late it decides."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, chi2

from farfield.block import Frame
from farfield.detector import Detector
from farfield.model import Model
from farfield.profile import RATE

LATEST_S = 0.5  # after the end of the word: a decision up to here is a hit


@dataclass(frozen=True)
class Track:
    """The smoothed scores of one recording: capture index and probability of each step."""

    index: NDArray[np.int64]
    p: NDArray[np.float64]


def track(model: Model, samples: NDArray[np.int16]) -> Track:
    """The scores of int16 samples (frames,) at 16 kHz, heard as one stream from its start."""
    detector = Detector(model, threshold=0.999)
    detector.process(Frame(samples[:, None], 0, 0, 0, len(samples)))
    return Track(detector.steps.index, detector.steps.p)


def decisions(heard: Track, threshold: float, refractory_ms: int) -> list[int]:
    """Where a detector with this threshold decides: capture indices."""
    found: list[int] = []
    armed = True
    for index, p in zip(heard.index.tolist(), heard.p.tolist(), strict=True):
        if p <= threshold:
            armed = True
        elif armed and (not found or index >= found[-1] + refractory_ms * RATE // 1000):
            found.append(index)
            armed = False
    return found


def hit(found: Sequence[int], start: int, end: int) -> int | None:
    """The first decision between the word's start and LATEST_S after its end; None where there is none."""
    return next((at for at in found if start <= at <= end + LATEST_S * RATE), None)


def proportion_interval(count: int, total: int) -> tuple[float, float]:
    """Clopper-Pearson 95 % interval of a proportion."""
    low = 0.0 if count == 0 else float(beta.ppf(0.025, count, total - count + 1))
    high = 1.0 if count == total else float(beta.ppf(0.975, count + 1, total - count))
    return low, high


def rate_interval(count: int, hours: float) -> tuple[float, float]:
    """Exact Poisson 95 % interval of a rate an hour."""
    low = 0.0 if count == 0 else float(chi2.ppf(0.025, 2 * count)) / 2 / hours
    return low, float(chi2.ppf(0.975, 2 * count + 2)) / 2 / hours
