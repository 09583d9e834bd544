"""How often a word is missed, how often something else wakes, and how late it is decided, on people not trained on.

Every part of the people is heard by a network that was trained on the others; the counts of all parts are added up. Hours are
those in which so much is said where somebody speaks SPEECH_SHARE of the time, as in the streams of `farfield eval`.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farfield.evaluation.curve import LATEST_S, decisions, miss_interval, rate_interval
from farfield.evaluation.streams import gain_to
from farfield.history import heard
from farfield.look import Verifier
from farfield.model import Model
from farfield.profile import RATE
from farfield.training import augment
from farfield.training.augment import Sound
from farfield.training.clips import word_span
from farfield.training.material import HeldOut

CONDITIONS = ("clean", "noise at 10 dB", "room")
SPEECH_SHARE = 0.2
_LEAD, _TRAIL = RATE // 2, 3 * RATE // 4
_PEAK = 0.5  # of full scale, of what is heard over noise
_WINDOWS = (3, 4, 5, 6, 8)
LOOK_WINDOW = 3  # of a listener with a second look
_THRESHOLDS = np.round([*np.arange(0.02, 0.98, 0.01), *np.arange(0.98, 0.9975, 0.0025)], 4)
_OPENING = (0.2, 0.1, 0.05, 0.03, 0.02, 0.015, 0.01, 0.007, 0.005)  # a listener's thresholds with a second look, most first
_MOST_OPEN = 2_500  # steps an hour: looks at all steps cost more than all of the listening
_LOOK_THRESHOLDS = np.arange(3, 256) / 256  # all that eight bits can exceed
_MOST_TOLD = 5.0  # false accepts an hour: nobody asks for more
_PROMPT_S = 0.25  # after a word's end
_GIVEN_UP = 0.01  # of the clean words, for caution
Heard = tuple[NDArray[np.uint16], NDArray[np.uint16]]  # features and energies of a recording


@dataclass(frozen=True)
class Track:
    """The smoothed scores of one recording: capture index and probability of each step."""

    index: NDArray[np.int64]
    p: NDArray[np.float64]


@dataclass(frozen=True)
class Said:
    """What was heard of one recording of the word, and where in it the word starts and ends, in samples."""

    condition: str
    heard: Heard
    start: int
    end: int


@dataclass(frozen=True)
class Streams:
    """What is heard of one part's people: the word in every condition, and what is said in `hours` without it."""

    words: list[Said]
    others: list[Heard]
    hours: float


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

    @property
    def tardy(self) -> bool:
        """Whether more than one hit in twenty comes later than _PROMPT_S after the word."""
        return bool(self.late) and float(np.percentile(self.late, 95)) > _PROMPT_S * RATE


@dataclass(frozen=True)
class Setting:
    """How scores are read: steps in the moving average, threshold; with a second look its own."""

    smoothing_steps: int
    threshold: float
    look_threshold: float | None = None


Scores = NDArray[np.uint8]
Looks = NDArray[np.float64]


@dataclass(frozen=True)
class Scored:
    """The raw scores of one part's streams; and what a second look says at each step: its probability, 0 where none was taken."""

    on: Streams
    words: list[Scores]
    others: list[Scores]
    words_looked: list[Looks] | None = None
    others_looked: list[Looks] | None = None
    every: int = 1  # step that is looked at, and those after a step at which the word was near

    def of_words(self) -> Iterator[tuple[Said, Scores, Looks | None]]:
        """Recordings of the word."""
        return zip(self.on.words, self.words, self.words_looked or itertools.repeat(None), strict=False)

    def of_others(self) -> Iterator[tuple[Scores, Looks | None]]:
        """Recordings without it."""
        return zip(self.others, self.others_looked or itertools.repeat(None), strict=False)


def scored(model: Model, on: Streams) -> Scored:
    """What the model's network says to each recording from its start."""
    return Scored(on, [model.scorer().process(word.heard[0]) for word in on.words],
                  [model.scorer().process(features) for features, _ in on.others])  # fmt: skip


def openings(of: Sequence[Scored], model: Model) -> list[float]:
    """Thresholds of the listener, falling, from which it asks its second look: as low as that is not too often. of: all parts."""
    p = [track(scores, model.stride, LOOK_WINDOW).p for part in of for scores in part.others]
    most = _MOST_OPEN * sum(part.on.hours for part in of)
    return [low for n, low in enumerate(_OPENING) if n == 0 or sum(int((one > low).sum()) for one in p) <= most]


def looked(of: Scored, model: Model, opening: float) -> Scored:
    """With what the model's second look says wherever its listener exceeds `opening`."""
    verifier = Verifier(model, model.second_look, threshold=float(_LOOK_THRESHOLDS[0]))

    def looks(scores: Scores, heard: Heard) -> Looks:
        return verifier.looks(heard, track(scores, model.stride, LOOK_WINDOW).p, opening)

    words = [looks(scores, word.heard) for scores, word in zip(of.words, of.on.words, strict=True)]
    others = [looks(scores, heard) for scores, heard in zip(of.others, of.on.others, strict=True)]
    return replace(of, words_looked=words, others_looked=others, every=verifier.every)


def track(scores: Scores, stride: int, smoothing_steps: int) -> Track:
    """The detector's moving average of a recording's scores (0 while it fills), and when each was known."""
    sums = np.cumsum(np.concatenate([[0], scores.astype(np.int64)]))
    p = np.zeros(len(scores))
    p[smoothing_steps - 1 :] = (sums[smoothing_steps:] - sums[:-smoothing_steps]) / (256 * smoothing_steps)
    return Track(320 + 160 * stride * np.arange(1, len(scores) + 1, dtype=np.int64), p)


def hit(found: Sequence[int], start: int, end: int) -> int | None:
    """The first decision between the word's start and LATEST_S after its end; None where there is none."""
    return next((at for at in found if start <= at <= end + LATEST_S * RATE), None)


def streams(held: HeldOut, other_words: Sequence[Sound], rooms: list[Sound], seed: int) -> Streams:
    """The held-out clips as a device would hear them: clean, with held-out noise at 10 dB, and in a room at a low level.

    other_words: clips of other wake words by the same people, to which this one must stay silent.
    """
    random = np.random.default_rng([seed, 1])
    noises = [clip.samples for clip in held.noise] or [augment.colored(10 * RATE, 1.0, random)]

    def changed(clean: Sound, condition: str) -> NDArray[np.int16]:
        if condition == CONDITIONS[1]:
            noise = noises[random.integers(len(noises))]
            noise = np.resize(np.roll(noise, -int(random.integers(len(noise)))), len(clean))
            clean = gain_to(clean, 1.0) * clean + gain_to(noise, 10 ** (-10 / 10)) * noise
            clean = _PEAK * clean / (np.abs(clean).max() + 1e-9)
        elif condition == CONDITIONS[2]:
            clean = augment.in_room(clean, rooms[random.integers(len(rooms))])
            clean = 0.1 * clean / (np.abs(clean).max() + 1e-9)
        return augment.to_int16(clean)

    words = []
    for clip in held.positives:
        start, end = word_span(clip.samples)
        quiet = 1e-4 * random.standard_normal(_LEAD + _TRAIL).astype(np.float32)
        padded = np.concatenate([quiet[:_LEAD], clip.samples, quiet[_LEAD:]])
        words += [Said(kind, heard(changed(padded, kind)), start + _LEAD, end + _LEAD) for kind in CONDITIONS]
    spoken = [changed(clip.samples, kind) for kind in CONDITIONS for clip in held.negatives]
    spoken += [augment.to_int16(sound) for sound in other_words]
    stream = np.concatenate([*spoken, *(augment.to_int16(noise) for noise in noises)])
    return Streams(words, [heard(stream)], sum(map(len, spoken)) / RATE / 3600 / SPEECH_SHARE)


def figures(of: Sequence[Scored], model: Model, setting: Setting) -> Figures:
    """Misses, wakes and latency over all parts; model: for its stride and refractory time."""
    missed, asked, late = dict.fromkeys(CONDITIONS, 0), dict.fromkeys(CONDITIONS, 0), []
    for part in of:
        for word, scores, looks in part.of_words():
            at = hit(_decisions(scores, looks, model, setting, part.every), word.start, word.end)
            asked[word.condition] += 1
            if at is None:
                missed[word.condition] += 1
            else:
                late.append(at - word.end)
    return Figures(missed, asked, woken(of, model, setting), sum(part.on.hours for part in of), late)


def woken(of: Sequence[Scored], model: Model, setting: Setting) -> int:
    """How often something else woke it."""
    return sum(len(_decisions(scores, looks, model, setting, part.every)) for part in of for scores, looks in part.of_others())


def _decisions(scores: Scores, looks: Looks | None, model: Model, setting: Setting, every: int) -> list[int]:
    heard = track(scores, model.stride, setting.smoothing_steps)
    if looks is None or setting.look_threshold is None:
        agreed = None
    else:
        # Looks were taken from a lower threshold on: the first above this one is no step after another that was looked at.
        above = np.concatenate([[False], heard.p > setting.threshold])
        agreed = (looks > setting.look_threshold) & ((np.arange(1, len(looks) + 1) % every == 0) | above[:-1])
    return decisions(heard.index, heard.p, setting.threshold, model.refractory_ms, agreed)


def choose(of: Sequence[Scored], model: Model, wakes_per_hour: float) -> tuple[Setting, Figures]:
    """The setting that misses least at no more wakes an hour than asked for and decides in time, and the figures there.

    of: the scores of all parts. Where no threshold keeps to the rate, the one that wakes least is taken.
    """
    return _least(of, (Setting(window, 0.0) for window in _WINDOWS), model, wakes_per_hour)


def choose_look(of: Sequence[Scored], lows: Sequence[float], model: Model, wakes_per_hour: float) -> tuple[Setting, Figures]:
    """The same with a second look: its threshold, and which of `lows` opens a candidate. of: what `looked` made of all parts."""
    return _least(of, (Setting(LOOK_WINDOW, opening, 0.0) for opening in lows), model, wakes_per_hour)


def _deciding(setting: Setting) -> tuple[NDArray[np.float64], Callable[[float], Setting]]:
    """The thresholds that decide, rising, and what makes a setting of each: the look's, where there is one."""
    if setting.look_threshold is None:
        return _THRESHOLDS, lambda threshold: replace(setting, threshold=threshold)
    return _LOOK_THRESHOLDS, lambda threshold: replace(setting, look_threshold=threshold)


def _least(of: Sequence[Scored], settings: Iterable[Setting], model: Model, wakes_per_hour: float) -> tuple[Setting, Figures]:
    """Of the settings, each at the lowest threshold that keeps to the rate, the one that misses least; the first of several."""
    best: tuple[tuple[bool, bool, float, float], Setting, Figures] | None = None
    most = wakes_per_hour * sum(part.on.hours for part in of)
    for setting in settings:
        thresholds, at = _deciding(setting)
        low, high = 0, len(thresholds) - 1  # the lowest threshold that keeps to the rate; above it only misses grow
        while low < high:
            middle = (low + high) // 2
            if woken(of, model, at(float(thresholds[middle]))) > most:
                low = middle + 1
            else:
                high = middle
        chosen = at(float(thresholds[low]))
        found = figures(of, model, chosen)
        over = found.woken > most
        rank = (over, found.tardy, found.woken if over else found.miss, found.miss if over else 0.0)
        if best is None or rank < best[0]:
            best = (rank, chosen, found)
    assert best is not None
    return best[1:]


def cautious(of: Sequence[Scored], model: Model, setting: Setting) -> tuple[Setting, Figures]:
    """The setting with as high a threshold as misses no more than one clean word in a hundred more; never a lower one.

    For a word that nothing but synthetic voices have spoken: how often people's speech wakes it nobody knows, and by how much
    synthetic speech may flatter it; but what they say of the word itself is told from it by a margin, of which most can be given.
    """
    thresholds, at = _deciding(setting)
    clean = CONDITIONS[0]
    found = figures(of, model, setting)
    most = found.missed[clean] + _GIVEN_UP * found.asked[clean]
    own = setting.threshold if setting.look_threshold is None else setting.look_threshold
    for threshold in thresholds[thresholds > own].tolist():  # misses only grow with it
        higher = figures(of, model, at(threshold))
        if higher.missed[clean] > most:
            break
        setting, found = at(threshold), higher
    return setting, found


def calibration(of: Sequence[Scored], model: Model, setting: Setting, *, lowest: float = 0.0) -> list[list[float]]:
    """Pairs (deciding threshold, false accepts an hour), thresholds rising, rates falling; each where the rate changes.

    Up to _MOST_TOLD an hour, and the rate at the highest threshold; none of a threshold below `lowest`.
    """
    hours = sum(part.on.hours for part in of)
    pairs: list[list[float]] = []
    most = 0.0
    thresholds, at = _deciding(setting)
    for threshold in reversed(thresholds[thresholds >= lowest].tolist()):
        count = woken(of, model, at(threshold))
        most = max(most, round(count / hours, 4) if hours else 0.0)
        if pairs and most > _MOST_TOLD:
            break
        if pairs and pairs[-1][1] == most:
            pairs.pop()
        pairs.append([threshold, most])
    return pairs[::-1]


def as_card(found: Figures) -> dict[str, Any]:
    """The figures as a model's card gives them, with 95 % intervals: over clips, for one heard again tells nothing new."""
    late = np.array(found.late or [0]) * 1000 / RATE
    clips, hearings = max(found.asked.values()), len(CONDITIONS)  # each is heard in each condition
    return {
        "missed": {kind: f"{found.missed[kind]} of {found.asked[kind]}" for kind in CONDITIONS},
        "miss_rate": round(found.miss, 4),
        "miss_rate_95": [round(x, 4) for x in miss_interval(found.miss * clips, clips)],
        "false_accepts": found.woken,
        "hours": round(found.hours, 3),
        "speech_share": SPEECH_SHARE,
        "false_accepts_per_hour_95": [round(x, 2) for x in rate_interval(found.woken / hearings, found.hours / hearings)],
        "latency_ms": {"median": round(float(np.median(late))), "p95": round(float(np.percentile(late, 95)))},
    }
