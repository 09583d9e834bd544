"""What synthetic voices say besides the words: everyday sentences, any words of the lexicon in a row, near-misses within such.

Recordings hold few of the places where a language comes near a wake word, and a near-miss alone is not what it is between
other words, where each sound leans on its neighbours'. The lexicon holds them all, and voices say what they are given.
"""

from collections.abc import Sequence

import numpy as np

from farfield.training.neighbours import holds
from farfield.training.pronunciation import lexicon

_EVERYDAY = 0.3  # of the sentences; the others are words in a row
_COMMON = 0.5  # of those words: from the everyday sentences, so that they are as common as there
_FEWEST, _MOST = 4, 9  # words in a row
_LETTERS = 2, 12  # of a word from the lexicon: a lone letter is spelled out, and the longest are names that voices do not know
_ALONE = 0.5  # of the near-misses
_AROUND = 2  # words at most before a near-miss, and after it, so that a segment holds all of it
_TRIES = 20


class Sentences:
    """Texts without the wake words, by what `random` draws. everyday: sentences to begin with."""

    def __init__(self, everyday: Sequence[str], wake_words: Sequence[str], random: np.random.Generator) -> None:
        self._everyday, self._wake_words, self._random = list(everyday), list(wake_words), random
        self._common = " ".join(everyday).split()
        self._any = sorted({word for word in lexicon().words if word.isalpha() and _LETTERS[0] <= len(word) <= _LETTERS[1]})

    def some(self, count: int) -> list[str]:
        """`count` sentences: everyday ones in turn, and words in a row."""
        everyday = round(_EVERYDAY * count)
        said = [self._everyday[number % len(self._everyday)] for number in range(everyday)]
        while len(said) < count:
            row = self._row(int(self._random.integers(_FEWEST, _MOST + 1)))
            if not self._held(row):
                said.append(row)
        return said

    def within(self, near: Sequence[str], count: int) -> list[str]:
        """`count` texts that hold the near-misses in turn: some alone, some between other words, which add no wake word."""
        return [self._between(near[number % len(near)]) for number in range(count)]

    def _between(self, phrase: str) -> str:
        if self._random.random() < _ALONE:
            return phrase
        own = self._held(phrase)
        for _ in range(_TRIES):
            before, after = (self._row(int(count)) for count in self._random.integers(0, _AROUND + 1, 2))
            text = " ".join(part for part in (before, phrase, after) if part)
            if self._held(text) <= own:
                return text
        return phrase

    def _row(self, count: int) -> str:
        """Words, each common or any at all."""
        from_ = (self._common if self._random.random() < _COMMON else self._any for _ in range(count))
        return " ".join(words[int(self._random.integers(len(words)))] for words in from_)

    def _held(self, text: str) -> set[str]:
        return {wake_word for wake_word in self._wake_words if holds(text, wake_word)}
