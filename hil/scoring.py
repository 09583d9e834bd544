"""Detections held against the truth.

A detection can hit a word when its decision falls between the word's start and `within_s` after its end, both ends included. Each
word is hit at most once and each detection hits at most one word: in the order of time, each detection takes the word that could
not wait longest, so that no other choice hits more (Glover, "Maximum matching in a convex bipartite graph", Naval Research
Logistics Quarterly 14(3), 1967). A detection that hits none, a second one for the same word included, is a false accept.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from farfield import WakeEvent
from farfield.hil.room import Spoken

WITHIN_S = 0.5


@dataclass(frozen=True)
class Hit:
    """A word that was heard. Errors are heard minus true, in seconds or degrees.

    latency_s: decision minus the word's end. end_error_s: the end that the event gives minus the true one.
    direction_error_deg: -180 to 180, the nearer of an ambiguous pair; None where either is unknown.
    """

    word: Spoken
    event: WakeEvent
    latency_s: float
    end_error_s: float
    direction_error_deg: float | None


@dataclass(frozen=True)
class Score:
    """What a replay found: hits in the order of time, words that were missed, events that were no word."""

    hits: tuple[Hit, ...]
    missed: tuple[Spoken, ...]
    false_accepts: tuple[WakeEvent, ...]

    @property
    def is_clean(self) -> bool:
        """Every word was heard, and nothing else."""
        return not self.missed and not self.false_accepts


def match(events: Sequence[WakeEvent], words: Sequence[Spoken], rate: int, within_s: float = WITHIN_S) -> Score:
    """Events and words, both in samples of `rate` Hz. A word's text says which model's events can hit it."""
    left = sorted(words, key=lambda word: (word.end, word.start))
    hits, false_accepts = [], []
    for event in sorted(events, key=lambda event: event.decision):
        word = next((word for word in left if _can_hit(event, word, round(within_s * rate))), None)
        if word is None:
            false_accepts.append(event)
            continue
        left.remove(word)
        late, off = (event.decision - word.end) / rate, (event.end - word.end) / rate
        hits.append(Hit(word, event, late, off, _direction_error(event, word)))
    missed = sorted(left, key=lambda word: word.start)
    return Score(tuple(sorted(hits, key=lambda hit: hit.word.start)), tuple(missed), tuple(false_accepts))


def _can_hit(event: WakeEvent, word: Spoken, within: int) -> bool:
    return event.word.casefold() == word.text.casefold() and word.start <= event.decision <= word.end + within


def _direction_error(event: WakeEvent, word: Spoken) -> float | None:
    if event.direction_deg is None or word.direction_deg is None:
        return None
    found = [deg for deg in (event.direction_deg, event.ambiguous_deg) if deg is not None]
    errors = [(deg - word.direction_deg + 180.0) % 360.0 - 180.0 for deg in found]
    return min(errors, key=abs)
