"""What an array is for: wake words said across a room over noise from elsewhere, by candidates and by single microphones.

Every word is a stream of its own: noise for 6 s, in which nothing is told to anybody, the word over it, and a second more. A word
is missed where no decision falls between its start and 0.5 s after its end; every other decision is a false accept. Each single
microphone is scored by itself, and the one that missed least in a condition stands for them all.

The more signals are scored, the more often one of them may wake to what others say, and a signal that is heard better wakes more
often, too. Other speech across the same rooms tells how often at the model's threshold, and what is missed at the threshold at
which each wakes no more often than asked.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farfield.block import Block
from farfield.errors import InputError
from farfield.evaluation import curve, talkers
from farfield.evaluation.curve import Scored
from farfield.evaluation.held_out import HeldOut
from farfield.evaluation.run import scored
from farfield.evaluation.streams import Said, Stream
from farfield.frontend import Frontend
from farfield.profile import RATE, Profile
from farfield.training.clips import read, word_span
from farfield.training.measure import SPEECH_SHARE

DISTANCES_M = (1.0, 2.0, 3.0, 4.0)
RATIOS_DB = (5.0, 0.0)
RT60_S = (0.2, 0.4, 0.7)
_ALONE_S, _AFTER_S = 6.0, 1.0
_BLOCK = 512
_ROOMS, _ROOMS_FROM = 4, 1000  # seeds of rooms of each reverberation time and distance
_SILENT, _MOST_CLIPS = 1e-4, 256
_PEAK = 0.5  # of full scale, where a stream would exceed it
_SPEECH_S, _MOST_PAUSE_S = 60, 0.5  # of other speech in a stream, and between two of its clips
_SPEECH_RATIOS_DB = (0.0, 5.0, 20.0)  # of other speech: it is heard well, too

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Condition:
    """How many words were said at a distance and a ratio, and missed, by what is scored; false accepts beside them."""

    distance_m: float
    ratio_db: float
    words: int
    missed: dict[str, int]
    false_accepts: dict[str, int]

    @property
    def best_microphone(self) -> str:
        """The single microphone that missed least."""
        return min((name for name in self.missed if name.startswith("microphone")), key=lambda name: self.missed[name])


@dataclass(frozen=True)
class Heard:
    """What each thing that is scored heard: of the words, by (distance, ratio), and of other speech, a stream each.

    refractory_ms, threshold: the model's; the deciding one. hours: of streams in which there is so much other speech,
    SPEECH_SHARE of the time.
    """

    words: dict[tuple[float, float], dict[str, list[Scored]]]
    others: dict[str, list[Scored]]
    refractory_ms: int
    threshold: float

    @property
    def hours(self) -> float:
        spoken = sum(heard.samples - _ALONE_S * RATE for heard in next(iter(self.others.values())))
        return spoken / RATE / 3600 / SPEECH_SHARE

    def conditions(self, thresholds: dict[str, float] | None = None) -> list[Condition]:
        """What was missed, and false accepts beside the words, at the model's threshold or at each thing's own."""
        told = []
        for (distance, ratio), by_name in self.words.items():
            at = {
                name: curve.point(heard, thresholds[name] if thresholds else self.threshold, self.refractory_ms)
                for name, heard in by_name.items()
            }
            missed = {name: len(point.missed) for name, point in at.items()}
            false = {name: len(point.false_accepts) for name, point in at.items()}
            told.append(Condition(distance, ratio, len(next(iter(by_name.values()))), missed, false))
        return told

    def woken(self, name: str, threshold: float | None = None) -> int:
        """How often other speech woke one of those that are scored."""
        at = self.threshold if threshold is None else threshold
        return len(curve.point(self.others[name], at, self.refractory_ms).false_accepts)

    def thresholds(self, wakes_per_hour: float) -> dict[str, float]:
        """For each the lowest threshold at which it wakes no more often to other speech than asked."""
        found = {}
        for name, heard in self.others.items():
            rising = [curve.FLOOR, *curve.thresholds(heard)]
            low, high = 0, len(rising) - 1
            while low < high:
                middle = (low + high) // 2
                if self.woken(name, rising[middle]) > wakes_per_hour * self.hours:
                    low = middle + 1
                else:
                    high = middle
            found[name] = rising[low]
        return found


def measure(
    groups: Sequence[HeldOut], profile: Profile, words: int, seed: int, progress: Progress, speech_hours: float = 0.0
) -> Heard:
    """So many words in each condition, dealt over the groups' clips, rooms of three reverberation times, and noises.

    `candidates` are the profile's, `beams` its fixed beams alone. The same words, rooms and noises for all that is
    scored. speech_hours: of the groups' other speech, across the same rooms. InputError: a profile with one microphone, no noise,
    no other speech where some is wanted.
    """
    if len(profile.microphones) < 2:
        raise InputError(f"--profile: {profile.name!r} has one microphone; wanted one with several")
    if not all(group.noise for group in groups):
        raise InputError("--noise: got none for some part of the cross-validation; wanted recorded noise")
    if speech_hours and not all(group.others for group in groups):
        raise InputError("--negatives: got none for some part of the cross-validation; wanted clips of other speech")
    listening = _Scored(profile)
    heard: dict[tuple[float, float], dict[str, list[Scored]]] = {}
    for number, (distance, ratio) in enumerate((d, r) for r in RATIOS_DB for d in DISTANCES_M):
        by_name: dict[str, list[Scored]] = {}
        for turn in range(words):
            group = groups[turn % len(groups)]
            # the same words whatever the condition, but rooms and noises of its own
            clip = group.words[np.random.default_rng([seed, turn]).integers(len(group.words))]
            random = np.random.default_rng([seed, number, turn])
            samples, start, end = _stream(profile, clip, group.noise, distance, ratio, random)
            said = Said(str(clip), start, end, ratio, 0.0, None)
            for name, one in listening.heard(group, Stream(samples, (said,), (), ())):
                by_name.setdefault(name, []).append(one)
            progress("words", number * words + turn + 1, words * len(DISTANCES_M) * len(RATIOS_DB))
        heard[distance, ratio] = by_name
    others: dict[str, list[Scored]] = {name: [] for name in by_name}
    streams = round(speech_hours * 3600 / _SPEECH_S)
    for turn in range(streams):
        group = groups[turn % len(groups)]
        samples = _other_stream(profile, group, np.random.default_rng([seed, len(heard), turn]))
        for name, one in listening.heard(group, Stream(samples, (), (), ())):
            others[name].append(one)
        progress("other speech", turn + 1, streams)
    model = groups[0].model
    return Heard(heard, others, model.refractory_ms, model.deciding_threshold)


def _stream(
    profile: Profile, clip: Path, noises: Sequence[Path], distance_m: float, ratio_db: float, random: np.random.Generator
) -> tuple[NDArray[np.int16], int, int]:
    """Microphones, int16 (frames, microphones), and the word's first sample and the one after its last."""
    word = read(clip).astype(np.float64)
    start, end = word_span(read(clip))
    word = np.concatenate([word, np.zeros(round(_AFTER_S * RATE))])
    samples, first = _across(profile, word, noises, distance_m, ratio_db, random)
    return samples, first + start, first + end


def _other_stream(profile: Profile, group: HeldOut, random: np.random.Generator) -> NDArray[np.int16]:
    """A minute of other speech, each clip as loud as the next, at one of the distances and ratios."""
    parts: list[NDArray[np.float64]] = []
    while sum(map(len, parts)) < _SPEECH_S * RATE:
        clip = read(group.others[int(random.integers(len(group.others)))]).astype(np.float64)
        pause = np.zeros(int(random.uniform(0, _MOST_PAUSE_S) * RATE))
        parts += [clip / max(np.sqrt(np.mean(clip**2)), _SILENT), pause]
    speech = np.concatenate(parts)[: _SPEECH_S * RATE]
    distance, ratio = (float(random.choice(values)) for values in (DISTANCES_M, _SPEECH_RATIOS_DB))
    return _across(profile, speech, group.noise, distance, ratio, random)[0]


def _across(
    profile: Profile,
    speech: NDArray[np.float64],
    noises: Sequence[Path],
    distance_m: float,
    ratio_db: float,
    random: np.random.Generator,
) -> tuple[NDArray[np.int16], int]:
    """Speech across a room, after noise alone: microphones, int16 (frames, microphones), and where its first sample arrives."""
    noise = _noise(noises, round(_ALONE_S * RATE) + len(speech), random)
    seed = _ROOMS_FROM + int(random.integers(_ROOMS))
    where = talkers.room(profile.positions, RT60_S[int(random.integers(len(RT60_S)))], seed, distance_m)
    heard = talkers.heard(where, speech, noise, ratio_db=ratio_db, alone_s=_ALONE_S, seed=int(random.integers(2**31)))
    scaled = heard.everything * min(1.0, _PEAK / np.abs(heard.everything).max())
    travel = int(np.argmax(np.abs(where.early)))
    return np.rint(scaled * 32_768).astype(np.int16), heard.alone + travel


def _noise(noises: Sequence[Path], frames: int, random: np.random.Generator) -> NDArray[np.float64]:
    """Clips one after the other, each as loud as the next, without what is silent in them. InputError: silent clips only."""
    parts: list[NDArray[np.float64]] = []
    for _ in range(_MOST_CLIPS):
        sound = read(noises[int(random.integers(len(noises)))]).astype(np.float64)
        sound = sound[np.abs(sound) > _SILENT]
        parts.append(sound / np.sqrt(np.mean(sound**2)) if len(sound) else sound)
        if sum(map(len, parts)) >= frames:
            return np.concatenate(parts)[:frames]
    raise InputError(f"--noise: {_MOST_CLIPS} clips had not {frames / RATE:.0f} s of sound between them; wanted recorded noise")


class _Scored:
    """A front end, and what is scored of it and of the microphones."""

    def __init__(self, profile: Profile) -> None:
        self._frontend = Frontend(profile, 0)
        self._microphones = len(profile.microphones)
        self._beams = len(self._frontend.beam_azimuths_deg)
        self._streams = 0

    def heard(self, group: HeldOut, made: Stream) -> Iterator[tuple[str, Scored]]:
        """What each hears of a stream, by the group's model. made: its samples are those of the microphones."""
        self._frontend.reset()
        self._streams += 1
        padded = np.concatenate([made.samples, np.zeros((self._frontend.delay_samples, self._microphones), np.int16)])
        frames = [self._frontend.process(Block(padded[at : at + _BLOCK], at)).beams for at in range(0, len(padded), _BLOCK)]
        signals = np.concatenate(frames)
        parts = {"candidates": signals, "beams": signals[:, : self._beams]}
        parts |= {f"microphone {m}": made.samples[:, m] for m in range(self._microphones)}
        for name, samples in parts.items():
            yield name, scored(self._streams, made, samples, group.model)
