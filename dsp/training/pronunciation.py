"""How English words sound: phones and syllables, from the CMU lexicon that festival has, and flite's rules for other words."""

import itertools
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from farfield.errors import InputError

LEXICON = Path("/usr/share/festival/dicts/cmu/cmudict-0.4.out")

# Vowels: height (0 open, 4 close) and backness (0 front, 4 back) where they begin, then where they end.
VOWELS = {
    "iy": (4, 0, 4, 0), "ih": (3, 1, 3, 1), "eh": (2, 0, 2, 0), "ae": (1, 0, 1, 0), "aa": (0, 3, 0, 3), "ao": (1, 4, 1, 4),
    "uh": (3, 3, 3, 3), "uw": (4, 4, 4, 4), "ah": (1, 2, 1, 2), "ax": (2, 2, 2, 2), "er": (2, 2, 3, 3),
    "ey": (2, 0, 4, 0), "ay": (0, 2, 4, 0), "oy": (1, 4, 4, 0), "aw": (0, 2, 4, 4), "ow": (2, 3, 4, 4),
}  # fmt: skip
# Consonants: manner, place (0 lips to 7 throat), voice.
CONSONANTS = {
    "p": ("stop", 0, 0), "b": ("stop", 0, 1), "t": ("stop", 3, 0), "d": ("stop", 3, 1), "k": ("stop", 6, 0), "g": ("stop", 6, 1),
    "m": ("nasal", 0, 1), "n": ("nasal", 3, 1), "ng": ("nasal", 6, 1), "f": ("hiss", 1, 0), "v": ("hiss", 1, 1),
    "th": ("hiss", 2, 0), "dh": ("hiss", 2, 1), "s": ("hiss", 3, 0), "z": ("hiss", 3, 1), "sh": ("hiss", 4, 0),
    "zh": ("hiss", 4, 1), "hh": ("hiss", 7, 0), "ch": ("burst", 4, 0), "jh": ("burst", 4, 1), "l": ("glide", 3, 1),
    "r": ("glide", 4, 1), "y": ("glide", 5, 1), "w": ("glide", 0, 1),
}  # fmt: skip
PHONES = (*VOWELS, *CONSONANTS)

Phones = tuple[str, ...]
Sound = tuple[Phones, ...]  # by syllables


@dataclass(frozen=True)
class Lexicon:
    """The words that a voice can read: spellings, and for those of moderate length their phones as numbers.

    sounds: every pronunciation of a word. words: spelling of each row. phones: int8 (longest, rows), -1 after the end.
    lengths: int64 (rows,), phones of each row. onsets: the consonants that can begin a syllable.
    """

    sounds: dict[str, list[Sound]]
    words: list[str]
    phones: NDArray[np.int8]
    lengths: NDArray[np.int64]
    onsets: frozenset[Phones]


@cache
def lexicon() -> Lexicon:
    """The CMU lexicon; InputError where it is not installed."""
    try:
        lines = LEXICON.read_text("latin-1").splitlines()
    except OSError as error:
        raise InputError(f"{LEXICON}: {error.strerror}; install the lexicon with: apt-get install festlex-cmu") from error
    sounds: dict[str, list[Sound]] = {}
    for line in lines:
        entry = re.fullmatch(r'\("([a-z][a-z\']*)" \S+ \((.+)\)\)', line)
        if entry:
            parts = re.findall(r"\(\(([a-z ]+)\) \d\)", entry[2])
            sounds.setdefault(entry[1], []).append(tuple(tuple(part.split()) for part in parts))
    if not sounds:
        raise InputError(f"{LEXICON}: no words in it; install the lexicon again with: apt-get install festlex-cmu")
    # A lone consonant, and a word without a vowel letter, are spelled out by voices.
    rows = [
        (word, tuple(PHONES.index(phone) for phone in flat(sound)))
        for word, all_of_it in sounds.items()
        for sound in all_of_it
        if (len(word) > 1 or word in "aio") and re.search("[aeiouy]", word)
    ]
    lengths = np.array([len(phones) for _, phones in rows], np.int64)
    phones = np.full((lengths.max(), len(rows)), -1, np.int8)
    for row, (_, numbers) in enumerate(rows):
        phones[: len(numbers), row] = numbers
    onsets = frozenset(
        tuple(itertools.takewhile(lambda phone: phone not in VOWELS, sound[0]))
        for all_of_it in sounds.values()
        for sound in all_of_it
    )
    return Lexicon(sounds, [word for word, _ in rows], phones, lengths, onsets)


def sounds(text: str) -> list[Sound]:
    """Every pronunciation of the words in their order."""
    each = [said(word) for word in text.lower().replace("-", " ").split()]
    return [tuple(itertools.chain.from_iterable(choice)) for choice in itertools.product(*each)]


def said(word: str) -> list[Sound]:
    """Every pronunciation of a word, or the one that rules give. InputError: no flite, no word."""
    return lexicon().sounds.get(word) or [_guessed(word)]


@cache
def _guessed(word: str) -> Sound:
    """The sound of a word that no lexicon has, by flite's letter-to-sound rules, which give the lexicon's phones."""
    if shutil.which("flite") is None:
        raise InputError(f"{word}: is not in the lexicon, and flite is not installed; install it with: apt-get install flite")
    done = subprocess.run(["flite", "-ps", "-t", word, "none"], capture_output=True, text=True, check=False, timeout=60)
    phones = tuple(phone for phone in done.stdout.split() if phone in PHONES)
    if not any(phone in VOWELS for phone in phones):
        raise InputError(f"{word}: flite does not say it as a word; spell it as it sounds")
    return _syllables(phones)


def _syllables(phones: Phones) -> Sound:
    """Phones in syllables, each taking all the consonants before its vowel that can begin an English word."""
    vowels = [at for at, phone in enumerate(phones) if phone in VOWELS]
    starts = [0]
    for before, vowel in itertools.pairwise(vowels):
        starts.append(next(at for at in range(before + 1, vowel + 1) if phones[at:vowel] in lexicon().onsets))
    return tuple(phones[a:b] for a, b in itertools.pairwise([*starts, len(phones)]))


def flat(sound: Sound) -> Phones:
    """Its phones, whatever the syllable."""
    return tuple(itertools.chain.from_iterable(sound))
