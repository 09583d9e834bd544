"""What an array is for: wake words said across a room over noise from elsewhere, by candidates and by single microphones.

Every word is a stream of its own: noise for 6 s, in which nothing is told to anybody, the word over it, and a second more. A word
is missed where no decision falls between its start and 0.5 s after its end; every other decision is a false accept. Each single
microphone is scored by itself, and the one that missed least in a condition stands for them all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farfield.block import Block, Frame
from farfield.detector import Detector
from farfield.errors import InputError
from farfield.evaluation import talkers
from farfield.evaluation.curve import LATEST_S
from farfield.evaluation.held_out import HeldOut
from farfield.frontend import Frontend
from farfield.profile import RATE, Profile
from farfield.training.clips import read, word_span

DISTANCES_M = (1.0, 2.0, 3.0, 4.0)
RATIOS_DB = (5.0, 0.0)
RT60_S = (0.2, 0.4, 0.7)
_ALONE_S, _AFTER_S = 6.0, 1.0
_BLOCK = 512
_ROOMS, _ROOMS_FROM = 4, 1000  # seeds of rooms of each reverberation time and distance
_SILENT, _MOST_CLIPS = 1e-4, 256
_PEAK = 0.5  # of full scale, where a stream would exceed it


@dataclass
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


def measure(
    groups: Sequence[HeldOut], profile: Profile, words: int, seed: int, progress: Callable[[str, int, int], None]
) -> list[Condition]:
    """So many words in each condition, dealt over the groups' clips, rooms of three reverberation times, and noises.

    `candidates` are the profile's, `beams` its fixed beams alone. The same words, rooms and noises for all that is
    scored. InputError: a profile with one microphone, no noise.
    """
    if len(profile.microphones) < 2:
        raise InputError(f"--profile: {profile.name!r} has one microphone; wanted one with several")
    if not all(group.noise for group in groups):
        raise InputError("--noise: got none for some part of the cross-validation; wanted recorded noise")
    scored = [_Scored(profile, group) for group in groups]
    made = []
    for number, (distance, ratio) in enumerate((d, r) for r in RATIOS_DB for d in DISTANCES_M):
        names = ("candidates", "beams", *(f"microphone {m}" for m in range(len(profile.microphones))))
        condition = Condition(distance, ratio, words, dict.fromkeys(names, 0), dict.fromkeys(names, 0))
        for turn in range(words):
            group = groups[turn % len(groups)]
            # the same words whatever the condition, but rooms and noises of its own
            clip = group.words[np.random.default_rng([seed, turn]).integers(len(group.words))]
            random = np.random.default_rng([seed, number, turn])
            samples, start, end = _stream(profile, clip, group.noise, distance, ratio, random)
            for name, (missed, false) in scored[turn % len(groups)].heard(samples, start, end).items():
                condition.missed[name] += missed
                condition.false_accepts[name] += false
            progress("words", number * words + turn + 1, words * len(DISTANCES_M) * len(RATIOS_DB))
        made.append(condition)
    return made


def _stream(
    profile: Profile, clip: Path, noises: Sequence[Path], distance_m: float, ratio_db: float, random: np.random.Generator
) -> tuple[NDArray[np.int16], int, int]:
    """Microphones, int16 (frames, microphones), and the word's first sample and the one after its last."""
    word = read(clip).astype(np.float64)
    start, end = word_span(read(clip))
    word = np.concatenate([word, np.zeros(round(_AFTER_S * RATE))])
    noise = _noise(noises, round(_ALONE_S * RATE) + len(word), random)
    seed = _ROOMS_FROM + int(random.integers(_ROOMS))
    where = talkers.room(profile.positions, RT60_S[int(random.integers(len(RT60_S)))], seed, distance_m)
    heard = talkers.heard(where, word, noise, ratio_db=ratio_db, alone_s=_ALONE_S, seed=int(random.integers(2**31)))
    scaled = heard.everything * min(1.0, _PEAK / np.abs(heard.everything).max())
    travel = int(np.argmax(np.abs(where.early)))
    first = heard.alone + travel
    return np.rint(scaled * 32_768).astype(np.int16), first + start, first + end


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
    """A front end, and a detector for each thing that is scored, with one part's model."""

    def __init__(self, profile: Profile, group: HeldOut) -> None:
        self._frontend = Frontend(profile, 0)
        self._microphones = len(profile.microphones)
        self._columns = {"candidates": self._frontend.signals, "beams": len(self._frontend.beam_azimuths_deg)}
        self._arrays = {name: Detector(group.model, columns) for name, columns in self._columns.items()}
        self._single = Detector(group.model)

    def heard(self, samples: NDArray[np.int16], start: int, end: int) -> dict[str, tuple[bool, int]]:
        """Whether the word was missed, and how many false accepts there were, by what was scored."""
        self._frontend.reset()
        for detector in self._arrays.values():
            detector.reset()
        decided: dict[str, list[int]] = {name: [] for name in self._arrays}
        padded = np.concatenate([samples, np.zeros((self._frontend.delay_samples, self._microphones), np.int16)])
        for at in range(0, len(padded), _BLOCK):
            frame = self._frontend.process(Block(padded[at : at + _BLOCK], at))
            for name, detector in self._arrays.items():
                part = np.ascontiguousarray(frame.beams[:, : self._columns[name]])
                decided[name] += [event.decision for event in detector.process(replace(frame, beams=part))]
        for m in range(self._microphones):
            self._single.reset()
            events = self._single.process(Frame(np.ascontiguousarray(samples[:, m : m + 1]), 0, 0, 0, len(samples)))
            decided[f"microphone {m}"] = [event.decision for event in events]
        told = {}
        for name, decisions in decided.items():
            hits = [one for one in decisions if start <= one <= end + LATEST_S * RATE]
            told[name] = (not hits, len(decisions) - min(1, len(hits)))
        return told
