"""Phrases that sound like a wake phrase and are not it, for synthetic voices to speak: from the CMU lexicon that festival has.

Sounds are compared by a weighted edit distance over phones (Wagner and Fischer 1974): a vowel for a near vowel, or a consonant
for one of its class, costs less than a sound more or less. What holds the phrase itself is no near-miss, under any accent that
a voice may have: "alexa's", "computers", and "compute a", which is "computer" where no r is spoken after vowels.
"""

import itertools
import re
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from farfield.errors import InputError
from farfield.training.pronunciation import CONSONANTS, PHONES, VOWELS, Phones, Sound, flat, lexicon, sounds

_ONE_MORE = 0.8  # cost of a sound more or less; of a weak vowel or a breath, half of it
_WEAK = 0.35  # cost of any vowel for the weak one, to which any can be reduced
_BEYOND = 0.1  # cost of each further sound of a word that only begins or ends like the phrase
_NEAREST = 12  # words taken for each half of a join
_SHAKEN = 0.25  # mean of what the seed adds to each distance, so that another seed draws others of the near
_MOST_WORDS, _MOST_LETTERS = 6, 20  # of a phrase: nobody calls a device by more

Ranked = list[tuple[float, str]]  # how far each text is from the phrase, the nearest first


def near_misses(phrase: str, count: int, seed: int) -> list[str]:
    """`count` different phrases that sound like `phrase` and do not hold it, the same for the same seed.

    They are taken in turn from: nearest words; words that begin or end like it; words written like it; joins of two words;
    parts of it; its syllables and words in another order; for several words, one of them swapped. No two sound the same.
    InputError: no English words in the phrase, a count below 1 or beyond what there is, no lexicon, no flite for other words.
    """
    if count < 1:
        raise InputError(f"near-misses: got a count of {count}, wanted 1 or more")
    words = _words(phrase)
    random = np.random.default_rng(seed)
    kinds = (
        _whole(words, count), _alike(words, count), _spelled(words, count),
        _joins(words), _parts(words), _orders(words), _swaps(words),
    )  # fmt: skip
    shaken = [[text for _, text in sorted((far + random.exponential(_SHAKEN), text) for far, text in kind)] for kind in kinds]
    taken: dict[Phones, str] = {}
    for text in itertools.chain.from_iterable(itertools.zip_longest(*shaken)):
        if text and not holds(text, phrase):
            taken.setdefault(tuple(phone for phone, _ in _blurred(sounds(text)[0])), text)
        if len(taken) == count:
            return list(taken.values())
    raise InputError(f"near-misses: got a count of {count}, and {phrase!r} has {len(taken)}; ask for fewer")


def holds(text: str, phrase: str) -> bool:
    """Whether the phrase can be heard in the text, under any pronunciation of the two: a wake word, not a near-miss.

    Stress, weak vowels and accents do not count. Another word that goes on within the phrase's last syllable ("a lexus" for
    alexa) does not hold it, unless it goes on as an English ending does ("alexa's"). InputError as for near_misses.
    """
    return any(_heard(_blurred(mine), _blurred(said)) for said in sounds(text) for mine in sounds(phrase))


# --- what can be asked for


def _words(phrase: str) -> tuple[str, ...]:
    words = tuple(re.sub(r"[\s-]+", " ", phrase.lower()).split())
    if not 1 <= len(words) <= _MOST_WORDS or not all(
        re.fullmatch(r"[a-z][a-z']*", word) and len(word) <= _MOST_LETTERS for word in words
    ):
        raise InputError(
            f"near-misses: got the phrase {phrase!r}, wanted 1 to {_MOST_WORDS} words of up to {_MOST_LETTERS} English letters"
        )
    return words


# --- what counts as the phrase itself

_BLURRED = {"ah": "ax", "ih": "ax", "er": "ax", "ao": "aa"}


def _blurred(sound: Sound) -> list[tuple[str, int]]:
    """Phones, each with the number of its syllable, as the least precise speaker says them.

    Vowels that may be weak are one, stressed or not; so are those of cot and caught; an r is heard before vowels only.
    """
    phones = [(phone, number) for number, syllable in enumerate(sound) for phone in syllable]
    after = [phone for phone, _ in phones[1:]] + [""]
    return [
        (_BLURRED.get(phone, phone), number)
        for (phone, number), following in zip(phones, after, strict=True)
        if phone != "r" or following in VOWELS
    ]


def _heard(mine: list[tuple[str, int]], said: list[tuple[str, int]]) -> bool:
    wanted = [phone for phone, _ in mine]
    for end in range(len(wanted), len(said) + 1):
        if [phone for phone, _ in said[end - len(wanted) : end]] == wanted:
            rest = [phone for phone, number in said[end:] if number == said[end - 1][1]]
            if not rest or any(phone in VOWELS for phone in rest) or _is_ending(wanted[-1], rest):
                return True
    return False


def _is_ending(last: str, rest: list[str]) -> bool:
    """Whether the rest of a syllable is -s or -ed as it sounds after `last`: voiced after a voiced sound."""
    voiced = last in VOWELS or CONSONANTS[last][2] == 1
    return rest in ([["z"], ["d"]] if voiced else [["s"], ["t"]])


# --- how far sounds are apart


def _substitution(a: str, b: str) -> float:
    if a == b:
        return 0.0
    if a in VOWELS and b in VOWELS:
        if "ax" in (a, b):
            return _WEAK
        return min(0.2 + 0.07 * sum(abs(x - y) for x, y in zip(VOWELS[a], VOWELS[b], strict=True)), 0.8)
    if a in VOWELS or b in VOWELS:
        return 1.4
    (manner, place, voice), (other, elsewhere, breath) = CONSONANTS[a], CONSONANTS[b]
    return min(0.2 * (voice != breath) + 0.45 * (manner != other) + 0.15 * abs(place - elsewhere), 1.0)


_COSTS = np.array([[_substitution(a, b) for b in (*PHONES, PHONES[0])] for a in PHONES], np.float32)  # last: no phone
_MORE = np.array([_ONE_MORE / 2 if phone in ("ax", "hh") else _ONE_MORE for phone in (*PHONES, PHONES[0])], np.float32)


@cache
def _distances(phones: Phones) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """From every beginning of the phones to every word of the lexicon; and from all of them to each word's nearest beginning.

    Returns float32 (len(phones) + 1, words) and float32 (words,), where each phone that the word goes on for costs a little.
    """
    known = lexicon()
    return _edit_distances(phones, known.phones, known.lengths)


@cache
def _distances_from_the_end(phones: Phones) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """As `_distances`, of the ends of phones and words."""
    known = lexicon()
    at = known.lengths - 1 - np.arange(len(known.phones))[:, None]
    backwards = np.where(at >= 0, np.take_along_axis(known.phones, np.maximum(at, 0), axis=0), -1)
    return _edit_distances(phones[::-1], backwards, known.lengths)


def _edit_distances(
    phones: Phones, words: NDArray[np.int8], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    more = np.concatenate([np.zeros((1, words.shape[1]), np.float32), np.cumsum(_MORE[words], axis=0)])
    row, rows = more, [np.take_along_axis(more, lengths[None], axis=0)[0]]
    for phone in phones:
        number = PHONES.index(phone)
        above, row = row, np.empty_like(row)
        row[0] = above[0] + _MORE[number]
        for at in range(len(words)):
            row[at + 1] = np.minimum(above[at] + _COSTS[number][words[at]], above[at + 1] + _MORE[number])
            np.minimum(row[at + 1], row[at] + _MORE[words[at]], out=row[at + 1])
        rows.append(np.take_along_axis(row, lengths[None], axis=0)[0])
    left = lengths - np.arange(len(row))[:, None]
    alike = np.where(left >= 0, row + _BEYOND * left, np.inf).min(axis=0)
    return np.stack(rows), alike


def _nearest(far: NDArray[np.float32], count: int) -> Ranked:
    """The `count` nearest words, each once."""
    words = lexicon().words
    order = np.argsort(far, kind="stable")[: 3 * count]  # few words have more than two pronunciations
    ranked: dict[str, float] = {}
    for row in order.tolist():
        ranked.setdefault(words[row], float(far[row]))
    return [(far, word) for word, far in itertools.islice(ranked.items(), count)]


# --- the kinds of near-misses


def _whole(words: Sequence[str], count: int) -> Ranked:
    return _nearest(_distances(flat(sounds(" ".join(words))[0]))[0][-1], 3 * count + 50)


def _alike(words: Sequence[str], count: int) -> Ranked:
    """Words that begin like the phrase and go on, or end like it."""
    phones = flat(sounds(" ".join(words))[0])
    return _nearest(_distances(phones)[1], count + 50) + _nearest(_distances_from_the_end(phones)[1], count + 50)


def _spelled(words: Sequence[str], count: int) -> Ranked:
    """Words that are written like the beginning of the phrase: relatives of it, which may sound rather unlike."""
    letters = "".join(words)
    shared = {
        word: sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(word, letters, strict=False)))
        for word in lexicon().sounds
        if word[0] == letters[0]
    }
    least = max(3, len(letters) // 2)
    ranked = sorted((len(letters) - same + _BEYOND * len(word), word) for word, same in shared.items() if same >= least)
    return ranked[: count + 50]


def _joins(words: Sequence[str]) -> Ranked:
    """Two words, the first near the beginning of the phrase and the second beginning like the rest, wherever it is cut."""
    phones = flat(sounds(" ".join(words))[0])
    firsts = _distances(phones)[0]
    return [
        (far + further, f"{first} {second}")
        for cut in range(1, len(phones))
        if any(phone in VOWELS for phone in phones[:cut]) and any(phone in VOWELS for phone in phones[cut:])
        for far, first in _nearest(firsts[cut], _NEAREST)
        for further, second in _nearest(_distances(phones[cut:])[1], _NEAREST)
    ]


def _parts(words: Sequence[str]) -> Ranked:
    """Words near some of the syllables that follow each other; the longer the part, the nearer; and some of the words."""
    sound = sounds(" ".join(words))[0]
    runs = [run for run in itertools.combinations(range(len(sound) + 1), 2) if run != (0, len(sound))]
    parts = [
        (far + 0.5 * (len(sound) - (b - a)), text)
        for a, b in runs
        for far, text in _nearest(_distances(flat(sound[a:b]))[0][-1], _NEAREST)
    ]
    return parts + [(0.0, " ".join(words[a:b])) for a, b in itertools.combinations(range(len(words) + 1), 2)]


def _orders(words: Sequence[str]) -> Ranked:
    """The syllables in another order, each as one of the words nearest to it; and the words in another order."""
    sound = sounds(" ".join(words))[0]
    near = [_nearest(_distances(syllable)[0][-1], 3) for syllable in sound]
    ordered = []
    for order in _reordered(len(sound)):
        for other in range(-1, 2 * len(order)):  # all of them the nearest, then one of them the second or the third
            ranks = [1 + other % 2 if place == other // 2 and other >= 0 else 0 for place in range(len(order))]
            chosen = [near[number][rank] for number, rank in zip(order, ranks, strict=True)]
            ordered.append((sum(far for far, _ in chosen), " ".join(text for _, text in chosen)))
    return ordered + [(0.0, " ".join(words[number] for number in order)) for order in _reordered(len(words))]


def _reordered(count: int) -> set[tuple[int, ...]]:
    """Rotations, neighbours exchanged, and back to front: for up to three, every other order."""
    straight = tuple(range(count))
    rotated = {straight[by:] + straight[:by] for by in range(1, count)}
    exchanged = {(*straight[:at], at + 1, at, *straight[at + 2 :]) for at in range(count - 1)}
    return (rotated | exchanged | {straight[::-1]}) - {straight}


def _swaps(words: Sequence[str]) -> Ranked:
    """One word of several by a neighbour of it."""
    if len(words) == 1:
        return []
    return [
        (far, " ".join([*words[:at], other, *words[at + 1 :]]))
        for at, word in enumerate(words)
        for far, other in _nearest(_distances(flat(sounds(word)[0]))[0][-1], 3 * _NEAREST)
        if other != word
    ]
