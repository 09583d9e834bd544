"""How often a model misses its word, how often it wakes to something else, and how late it decides, on clips held out."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farfield.block import Frame
from farfield.detector import Detector
from farfield.evaluation.curve import LATEST_S, decisions, miss_interval, rate_interval
from farfield.model import Model
from farfield.profile import RATE
from farfield.training import augment
from farfield.training.augment import Sound
from farfield.training.clips import word_span
from farfield.training.material import HeldOut

CONDITIONS = ("clean", "noise at 10 dB", "room")
_LEAD, _TRAIL = RATE // 2, 3 * RATE // 4
_WINDOWS = (3, 4, 5, 6, 8)
_THRESHOLDS = np.round([*np.arange(0.30, 0.98, 0.01), *np.arange(0.98, 0.9975, 0.0025)], 4)


@dataclass(frozen=True)
class Track:
    """The smoothed scores of one recording: capture index and probability of each step."""

    index: NDArray[np.int64]
    p: NDArray[np.float64]


@dataclass(frozen=True)
class Said:
    """One recording of the word, and where in it the word starts and ends, in samples."""

    condition: str
    samples: NDArray[np.int16]
    start: int
    end: int


@dataclass(frozen=True)
class Streams:
    """What a model is measured on: the word, each in every condition, and hours without it."""

    words: list[Said]
    others: list[NDArray[np.int16]]

    @property
    def hours(self) -> float:
        return sum(map(len, self.others)) / RATE / 3600


@dataclass(frozen=True)
class Figures:
    """A model's figures at one threshold. late: decision minus the word's end for each hit, in samples."""

    missed: dict[str, int]
    asked: dict[str, int]
    woken: int
    hours: float
    late: list[int]

    @property
    def miss(self) -> float:
        return sum(self.missed.values()) / max(1, sum(self.asked.values()))


def track(model: Model, samples: NDArray[np.int16]) -> Track:
    """The scores of int16 samples (frames,) at 16 kHz, heard as one stream from its start."""
    detector = Detector(model, threshold=0.999)
    detector.process(Frame(samples[:, None], 0, 0, 0, len(samples)))
    return Track(detector.steps.index, detector.steps.p)


def hit(found: Sequence[int], start: int, end: int) -> int | None:
    """The first decision between the word's start and LATEST_S after its end; None where there is none."""
    return next((at for at in found if start <= at <= end + LATEST_S * RATE), None)


def streams(held: HeldOut, rooms: list[Sound], seed: int) -> Streams:
    """The held-out clips as a device would hear them: clean, with held-out noise at 10 dB, and in a room at a low level."""
    random = np.random.default_rng([seed, 1])
    noises = [clip.samples for clip in held.noise] or [augment.colored(10 * RATE, 1.0, random)]

    def changed(clean: Sound, condition: str) -> NDArray[np.int16]:
        if condition == CONDITIONS[1]:
            noise = noises[random.integers(len(noises))]
            noise = np.resize(np.roll(noise, -int(random.integers(len(noise)))), len(clean))
            scale = augment.speech_level(clean) * 10 ** (-10 / 20) / (np.sqrt(np.mean(noise**2)) + 1e-9)
            clean = clean + scale * noise
        elif condition == CONDITIONS[2]:
            clean = augment.in_room(clean, rooms[random.integers(len(rooms))])
            clean = 0.1 * clean / (np.abs(clean).max() + 1e-9)
        return augment.to_int16(clean)

    words = []
    for clip in held.positives:
        start, end = word_span(clip.samples)
        quiet = 1e-4 * random.standard_normal(_LEAD + _TRAIL).astype(np.float32)
        padded = np.concatenate([quiet[:_LEAD], clip.samples, quiet[_LEAD:]])
        words += [Said(kind, changed(padded, kind), start + _LEAD, end + _LEAD) for kind in CONDITIONS]
    others = [changed(clip.samples, kind) for kind in CONDITIONS for clip in held.negatives]
    others += [augment.to_int16(noise) for noise in noises]
    return Streams(words, [np.concatenate(others)] if others else [])


def figures(
    said: Sequence[tuple[Said, Track]], others: Sequence[Track], hours: float, threshold: float, refractory_ms: int
) -> Figures:
    """Misses, wakes and latency at one threshold."""
    missed, asked, late = dict.fromkeys(CONDITIONS, 0), dict.fromkeys(CONDITIONS, 0), []
    for word, heard in said:
        at = hit(decisions(heard.index, heard.p, threshold, refractory_ms), word.start, word.end)
        asked[word.condition] += 1
        if at is None:
            missed[word.condition] += 1
        else:
            late.append(at - word.end)
    woken = sum(len(decisions(heard.index, heard.p, threshold, refractory_ms)) for heard in others)
    return Figures(missed, asked, woken, hours, late)


def choose(models: Sequence[Model], on: Streams, wakes_per_hour: float) -> tuple[int, Model, Figures]:
    """Which model, smoothing window and threshold miss least at no more wakes an hour than asked for, and the figures there.

    Where no threshold keeps to that, the one that wakes least is taken.
    """
    best: tuple[tuple[bool, float, float], int, Model, Figures] | None = None
    for (number, model), window in itertools.product(enumerate(models), _WINDOWS):
        tried = replace(model, smoothing_steps=window)
        said = [(word, track(tried, word.samples)) for word in on.words]
        others = [track(tried, samples) for samples in on.others]
        for threshold in _THRESHOLDS.tolist():
            found = figures(said, others, on.hours, threshold, tried.refractory_ms)
            over = found.woken > wakes_per_hour * on.hours
            rank = (over, found.woken if over else found.miss, -found.woken if over else -threshold)
            if best is None or rank < best[0]:
                best = (rank, number, replace(tried, threshold=threshold), found)
    assert best is not None
    return best[1:]


def calibration(model: Model, on: Streams) -> list[list[float]]:
    """Pairs (threshold, false accepts an hour), thresholds rising, rates falling; each where the rate changes."""
    others = [track(model, samples) for samples in on.others]
    pairs: list[list[float]] = []
    most = 0.0
    for threshold in reversed(_THRESHOLDS.tolist()):
        woken = sum(len(decisions(heard.index, heard.p, threshold, model.refractory_ms)) for heard in others)
        most = max(most, round(woken / on.hours, 3) if on.hours else 0.0)
        if pairs and pairs[-1][1] == most:
            pairs.pop()
        pairs.append([threshold, most])
    return pairs[::-1]


def as_card(found: Figures) -> dict[str, Any]:
    """The figures as a model's card gives them, with 95 % intervals."""
    late = np.array(found.late or [0]) * 1000 / RATE
    return {
        "missed": {kind: f"{found.missed[kind]} of {found.asked[kind]}" for kind in CONDITIONS},
        "miss_rate": round(found.miss, 4),
        "miss_rate_95": [round(x, 4) for x in miss_interval(sum(found.missed.values()), sum(found.asked.values()))],
        "false_accepts": found.woken,
        "hours": round(found.hours, 3),
        "false_accepts_per_hour_95": [round(x, 2) for x in rate_interval(found.woken, found.hours)],
        "latency_ms": {"median": round(float(np.median(late))), "p95": round(float(np.percentile(late, 95)))},
    }
