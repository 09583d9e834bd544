"""What a wake word is trained on: recordings from folders, synthetic voices, simulated rooms, and what is held out of them."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np

from farfield.errors import InputError
from farfield.training import augment
from farfield.training.augment import Sound
from farfield.training.clips import clips, contributors, speaker, word_span
from farfield.training.segments import Material, Word
from farfield.training.voices import Voice, speak, voices

HELD_OUT = 0.2  # of the contributors' clips
_ROOMS = 80
_TTS_WORDS, _TTS_NEAR, _TTS_SENTENCES = 500, 900, 600


@dataclass(frozen=True)
class Labelled:
    """A clip and the person it comes from."""

    name: str
    person: str
    samples: Sound


@dataclass
class Collection:
    """Everything there is to train one word on. skipped: files that could not be used, each with the reason."""

    positives: list[Labelled]
    negatives: list[Labelled]
    noise: list[Labelled]
    spoken: list[Sound] = field(default_factory=list)
    near: list[Sound] = field(default_factory=list)
    sentences: list[Sound] = field(default_factory=list)
    rooms: list[Sound] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)

    def split(self, held_out: bool, seed: int) -> tuple[Material, "HeldOut"]:
        """What to train on and what to measure on: nobody, or no noise, is in both. Without held_out, all trains."""
        keep, rest = [], []
        for clips_of in (self.positives, self.negatives, self.noise):
            away = _held(clips_of, seed) if held_out else set()
            keep.append([clip for clip in clips_of if clip.person not in away])
            rest.append([clip for clip in clips_of if clip.person in away])
        material = Material(
            real=[Word(clip.samples, *word_span(clip.samples)) for clip in keep[0]],
            synthetic=[Word(samples, *word_span(samples)) for samples in self.spoken],
            speech=[clip.samples for clip in keep[1]] + self.sentences,
            near=self.near,
            noise=[clip.samples for clip in keep[2]],
            rooms=self.rooms,
        )
        return material, HeldOut(*rest)


@dataclass(frozen=True)
class HeldOut:
    """Clips of people, and noises, that a network has not been trained on."""

    positives: list[Labelled]
    negatives: list[Labelled]
    noise: list[Labelled]


def collect(
    word: str,
    positives: Sequence[Path],
    negatives: Sequence[Path],
    noise: Sequence[Path],
    near: Sequence[str],
    seed: int,
    done: Callable[[str], None],
) -> Collection:
    """Read the folders, speak the word, its near-misses and everyday sentences, simulate the rooms.

    near: phrases that sound like the word. done: told what has been finished. InputError where nothing usable is left.
    """
    skipped: list[str] = []
    said_it, said_other, noises = (_labelled(folders, skipped) for folders in (positives, negatives, noise))
    done(f"{len(said_it)} clips of the word, {len(said_other)} of other speech, {len(noises)} of noise; {len(skipped)} unusable")
    if not said_other:
        raise InputError(f"negatives: no usable clips in {', '.join(map(str, negatives))}; wanted speech without the word")
    random = np.random.default_rng(seed)
    everyday = (resources.files("farfield.training") / "phrases" / "everyday.txt").read_text("utf-8").splitlines()
    said = [f"{word}{mark}" for mark in ("", ".", "?", "!")]
    spoken, close, sentences = (
        _spoken(phrases, voices(count, random))
        for phrases, count in ((said, _TTS_WORDS), (list(near), _TTS_NEAR if near else 0), (everyday, _TTS_SENTENCES))
    )
    done(f"{len(spoken)} spoken words, {len(close)} near-misses, {len(sentences)} sentences")
    made = augment.rooms(_ROOMS, seed)
    done(f"{len(made)} rooms")
    return Collection(said_it, said_other, noises, spoken, close, sentences, made, skipped)


def _labelled(folders: Sequence[Path], skipped: list[str]) -> list[Labelled]:
    return [
        Labelled(clip.name, speaker(clip.name, known), clip.samples)
        for folder in folders
        for known in [contributors(folder)]
        for clip in clips([folder], skipped)
    ]


def _spoken(phrases: list[str], by: list[Voice]) -> list[Sound]:
    said = [phrases[number % len(phrases)] for number in range(len(by))]
    with ProcessPoolExecutor() as pool:
        return list(pool.map(speak, said, by, chunksize=8))


def _held(clips_of: list[Labelled], seed: int) -> set[str]:
    """People drawn, by a hash of their name, until about a fifth of the clips is held out; nobody where there are too few.

    Who would bring it over a quarter is passed over, unless nobody else is left.
    """
    people = sorted({clip.person for clip in clips_of}, key=lambda name: hashlib.sha256(f"{seed} {name}".encode()).digest())
    counts = Counter(clip.person for clip in clips_of)
    away: set[str] = set()
    for most in (0.25, 1.0):
        for person in people:
            size = sum(counts[name] for name in away)
            enough = size >= 0.75 * HELD_OUT * len(clips_of) or len(away) == len(people) - 1
            if not enough and size + counts[person] <= most * len(clips_of):
                away.add(person)
    return away
