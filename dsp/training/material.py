"""What wake words are trained on: recordings from folders, synthetic voices, simulated rooms, shared out for cross-validation.

Everyone who speaks, and every noise, belongs to one of PARTS parts. A network that is to be measured on a part is trained on
the others; the one that ships is trained on all.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import numpy as np

from farfield.errors import InputError
from farfield.training import augment
from farfield.training.augment import Sound
from farfield.training.clips import absolute, clips, contributors, speaker, transcripts, word_span
from farfield.training.segments import Material, Said, Word
from farfield.training.voices import Voice, speak, voices

PARTS = 3
_ROOMS = 120
_TTS_WORDS, _TTS_NEAR, _TTS_SENTENCES = 350, 500, 700


@dataclass(frozen=True)
class Labelled:
    """A clip and whose it is: a person, a synthetic voice, or a kind of noise."""

    name: str
    person: str
    samples: Sound


@dataclass(frozen=True)
class Phrase:
    """A wake word, the folders of its clips, and phrases that sound like it."""

    word: str
    positives: tuple[Path, ...]
    near: tuple[str, ...]


@dataclass
class Collection:
    """Everything there is to train on: a list of clips a word, and what serves all. skipped: unusable files and why.

    measured: what there is to measure on; without recordings it is synthetic voices too.
    """

    positives: list[list[Labelled]]
    negatives: list[Labelled]
    noise: list[Labelled]
    spoken: list[list[Sound]]
    near: list[list[Sound]] = field(default_factory=list)
    sentences: list[Sound] = field(default_factory=list)
    rooms: list[Sound] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    part_of: dict[str, int] = field(default_factory=dict)

    def material(self, part: int) -> Material:
        """What segments of a part are mixed from: nobody in it is in another, but for synthetic voices beside recordings."""

        def own(clips_of: list[Labelled]) -> list[Sound]:
            return [clip.samples for clip in clips_of if self.part_of[clip.person] == part]

        return Material(
            words=[
                Word([Said(samples, *word_span(samples)) for samples in own(real)],
                     [Said(samples, *word_span(samples)) for samples in synthetic])
                for real, synthetic in zip(self.positives, self.spoken, strict=True)
            ],
            speech=own(self.negatives) + self.sentences,
            near=self.near or [[] for _ in self.positives],
            noise=own(self.noise),
            rooms=self.rooms,
        )  # fmt: skip

    def held_out(self, part: int, word: int) -> "HeldOut":
        """What a network that was trained on the other parts is measured on."""
        groups = (self.positives[word], self.negatives, self.noise)
        return HeldOut(*([clip for clip in group if self.part_of[clip.person] == part] for group in groups))


@dataclass(frozen=True)
class HeldOut:
    """Clips of people, and noises, that a network has not been trained on."""

    positives: list[Labelled]
    negatives: list[Labelled]
    noise: list[Labelled]


def collect(
    phrases: Sequence[Phrase],
    negatives: Sequence[Path],
    noise: Sequence[Path],
    tts: bool,
    seed: int,
    done: Callable[[str], None],
) -> Collection:
    """Read the folders, let synthetic voices speak the words, their near-misses and sentences, simulate the rooms.

    tts: whether synthetic voices speak. done: told what has been finished. InputError where nothing usable is left.
    """
    skipped: list[str] = []
    said = [_labelled(phrase.positives, skipped) for phrase in phrases]
    for phrase, found in zip(phrases, said, strict=True):
        if not found and (phrase.positives or not tts):
            raise InputError(f"positives of {phrase.word!r}: no usable clips; wanted some, or none and --tts")
    others = [clip for clip in _labelled(negatives, skipped) if not _spoken_of(clip.name, negatives, phrases, skipped)]
    noises = _labelled(noise, skipped)
    words = sum(map(len, said))
    done(f"{words} clips of the words, {len(others)} of other speech, {len(noises)} of noise; {len(skipped)} left out")
    if not others and (negatives or not tts):
        raise InputError(f"negatives: no usable clips in {', '.join(map(str, negatives))}; wanted speech without the word")
    random = np.random.default_rng(seed)
    spoken: list[list[Labelled]] = [[] for _ in phrases]
    near: list[list[Labelled]] = [[] for _ in phrases]
    sentences: list[Labelled] = []
    if tts:
        everyday = [line for line in _everyday() if not any(_says(line, phrase) for phrase in phrases)]
        for number, phrase in enumerate(phrases):
            spoken[number] = _spoken([f"{phrase.word}{mark}" for mark in ("", ".", "?", "!")], voices(_TTS_WORDS, random))
            near[number] = _spoken(list(phrase.near), voices(_TTS_NEAR if phrase.near else 0, random))
        sentences = _spoken(everyday, voices(_TTS_SENTENCES, random))
        done(f"{sum(map(len, spoken))} spoken words, {sum(map(len, near))} near-misses, {len(sentences)} sentences")
    made = augment.rooms(_ROOMS, seed)
    done(f"{len(made)} rooms")
    for number, found in enumerate(said):  # without recordings, synthetic voices take the people's place
        if not found:
            said[number], spoken[number] = spoken[number], []
    if not others:
        others, sentences = sentences, []
    synthetic, like = ([_samples(clips_of) for clips_of in each] for each in (spoken, near))
    parts = share_out([*said, others, noises], seed)
    return Collection(said, others, noises, synthetic, like, _samples(sentences), made, skipped, parts)


def share_out(groups: Sequence[Sequence[Labelled]], seed: int) -> dict[str, int]:
    """The part of each person, so that every group's clips are spread evenly.

    In an order drawn by a hash of the name, those with most first, each goes where their groups have least so far.
    """
    shares: dict[str, dict[int, float]] = defaultdict(lambda: defaultdict(float))
    for number, group in enumerate(groups):
        for clip in group:
            shares[clip.person][number] += 1 / len(group)

    def order(person: str) -> tuple[float, bytes]:
        return -round(max(shares[person].values()), 1), hashlib.sha256(f"{seed} {person}".encode()).digest()

    loads = [[0.0] * len(groups) for _ in range(PARTS)]
    parts: dict[str, int] = {}
    for person in sorted(shares, key=order):
        own = shares[person]
        parts[person] = min(range(PARTS), key=lambda part: sum(share * loads[part][number] for number, share in own.items()))
        for number, share in own.items():
            loads[parts[person]][number] += share
    return parts


def _labelled(folders: Sequence[Path], skipped: list[str]) -> list[Labelled]:
    return [
        Labelled(clip.name, speaker(clip.name, known), clip.samples)
        for folder in folders
        for known in [contributors(folder)]
        for clip in clips([folder], skipped)
    ]


def _spoken_of(name: str, folders: Sequence[Path], phrases: Sequence[Phrase], skipped: list[str]) -> bool:
    """Whether its transcript holds a word of a wake phrase; then it is no example of speech without it.

    Nor is a clip that is missing from a table of transcripts: nobody knows what is said in it.
    """
    for folder in folders:
        table, called = transcripts(folder), absolute(folder).name
        if table and name.startswith(f"{called}/") and name not in table:
            skipped.append(f"{name}: has no transcript in {called}.tsv, so that it may hold a wake word")
            return True
        text = table.get(name, "").casefold()
        for phrase in phrases:
            if _says(text, phrase):
                skipped.append(f"{name}: says {text!r}, and {phrase.word!r} is the wake word")
                return True
    return False


def _says(text: str, phrase: Phrase) -> bool:
    """Whether any word of the phrase is one of the text's."""
    words = text.casefold().split()
    return any(word in words for word in phrase.word.casefold().split())


def _everyday() -> list[str]:
    """Sentences that people say to devices and beside them."""
    return (resources.files("farfield.training") / "phrases" / "everyday.txt").read_text("utf-8").splitlines()


def _spoken(phrases: list[str], by: list[Voice]) -> list[Labelled]:
    said = [phrases[number % len(phrases)] for number in range(len(by))]
    with ProcessPoolExecutor() as pool:
        heard = list(pool.map(speak, said, by, chunksize=8))
    return [
        Labelled(f"synthetic/{text}", f"{voice.program} {voice.name}", samples)
        for text, voice, samples in zip(said, by, heard, strict=True)
    ]


def _samples(clips_of: list[Labelled]) -> list[Sound]:
    return [clip.samples for clip in clips_of]
