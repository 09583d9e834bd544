"""One utterance on its way out of the ring: to live consumers as it comes, to be kept up to where speech ended."""

from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from farfield.capture.endpoint import STEP, Endpointer
from farfield.capture.keeper import Opening, Sealing
from farfield.capture.ring import Ring
from farfield.profile import RATE

PAUSE = RATE * 8 // 10  # of no speech, that ends an utterance
LEAST_AFTER_WORD = 2 * RATE  # somebody may think after the word
AFTER_SPEECH = RATE * 2 // 10  # kept beyond the last speech, which may fade
LONGEST_GAP = PAUSE  # of lost samples, over which an utterance goes on: nobody knows what was said in it


@dataclass(frozen=True, slots=True)
class Utterance:
    """An utterance that has ended.

    opening: what was known at its beginning. speech_end: index after the last speech that was found. end: index after the last
    sample that consumers had. kept_end: index after the last that was kept; the opening's start where it was not.
    gaps: where samples are missing in what consumers had: the index of the first, and how many.
    reason: what ended it: `pause`, `longest`, `word` (another one), `gap`, `muted`, `stopped`. kept: its id, "" where it was not;
    None for as long as that is not known, for consumers do not wait for the disk.
    """

    opening: Opening
    speech_end: int
    end: int
    kept_end: int
    gaps: tuple[tuple[int, int], ...]
    reason: str
    kept: str | None


@dataclass(frozen=True, slots=True)
class Ending:
    """An utterance that has ended, and what is still to come of it: its sealing, and the id that this will give."""

    utterance: Utterance
    sealing: Sealing | None
    kept: Future[str] | None

    @property
    def is_known(self) -> bool:
        """Whether it is known what became of it."""
        return self.kept is None or self.kept.done()

    def settled(self) -> tuple[Utterance, str | None]:
        """The utterance with what became of it, and why it was not kept where it should have been; waits for that."""
        if self.kept is None or self.sealing is None:
            return self.utterance, None
        if kept := self.kept.result():
            return replace(self.utterance, kept=kept), None
        return replace(self.utterance, kept="", kept_end=self.utterance.opening.start), self.sealing.why_not


class Consumer(Protocol):
    """Takes utterances as they are spoken: a speech recogniser, say. Called by the listening thread."""

    def begin(self, opening: Opening) -> None:
        """A word has been accepted."""

    def write(self, samples: NDArray[np.int16]) -> None:
        """What follows, int16 (n,), from the opening's start on. Valid until this returns; then it is overwritten."""

    def lost(self, samples: int) -> None:
        """So many are missing here, and nothing stands for them."""

    def end(self, utterance: Utterance) -> None:
        """It is over."""


class Capturing:
    """An utterance being captured: one signal of the ring, from the opening's start on, until something ends it.

    longest: samples, pre-roll included. sealing: what keeps it, or None. Nothing is kept twice, and nothing beyond the end.
    """

    def __init__(
        self,
        opening: Opening,
        ring: Ring,
        signal: int,
        sealing: Sealing | None,
        consumers: Sequence[Consumer],
        longest: int,
    ) -> None:
        self.opening = opening
        self._ring, self._signal = ring, signal
        self._sealing, self._consumers = sealing, consumers
        self._limit = opening.start + longest
        self._endpointer = Endpointer()
        self._endpointer.reset(ring.start)  # what lies before the utterance tells how loud the room is
        self._judged_to = ring.start
        self._gaps: list[tuple[int, int]] = []  # from the ring's start on: from where to where
        self._handed_to = self._kept_to = opening.start

    def begin(self) -> None:
        """Tell the consumers."""
        for consumer in self._consumers:
            consumer.begin(self.opening)

    @property
    def next_look(self) -> int:
        """Up to where the ring may be filled before `advance` has to look."""
        return min(self._endpointer.judged + STEP, self._limit)

    def advance(self) -> str | None:
        """Hand on what the ring has more; `longest` or `pause` where that ends the utterance."""
        end = min(self._ring.end, self._limit)
        for start, stop, is_there in self._ring.stretches(self._judged_to, end):
            if is_there:
                for piece in self._ring.read(start, stop, self._signal):
                    self._endpointer.process(piece)
            else:
                self._endpointer.skip(stop - start)
                self._gaps.append((start, stop))
        self._judged_to = end
        for start, stop, is_there in self._ring.stretches(self._handed_to, end):
            self._hand_on(start, stop, is_there, self._consumers)
        self._handed_to = end
        # Held back until speech follows: what was said is kept up to its end, and as much more as the ring cannot hold longer.
        self._keep(max(min(self.speech_end + AFTER_SPEECH, end), end - self._ring.capacity + 2 * STEP))
        if end == self._limit:
            return "longest"
        judged = self._endpointer.judged
        quiet = judged - self.speech_end - self._lost_between(self.speech_end, judged)
        if quiet >= PAUSE and judged >= self.opening.word_end + LEAST_AFTER_WORD:
            return "pause"
        return None

    def make_room(self, samples: int) -> None:
        """Before so many missing ones come into the ring: keep what they will push out of it."""
        self._keep(min(self._ring.end, self._ring.end + samples - self._ring.capacity + 2 * STEP))

    def _lost_between(self, first: int, end: int) -> int:
        return sum(max(0, min(stop, end) - max(start, first)) for start, stop in self._gaps)

    @property
    def speech_end(self) -> int:
        """Index after the last speech so far; the word is speech."""
        return max(self._endpointer.speech_end, min(self.opening.word_end, self._handed_to))

    def _keep(self, end: int) -> None:
        if self._sealing is None or end <= self._kept_to:
            return
        for start, stop, is_there in self._ring.stretches(self._kept_to, end):
            self._hand_on(start, stop, is_there, (self._sealing,))
        self._kept_to = end

    def _hand_on(self, start: int, stop: int, is_there: bool, takers: Sequence[Consumer | Sealing]) -> None:
        if is_there:
            for piece in self._ring.read(start, stop, self._signal):
                for taker in takers:
                    taker.write(piece)
        else:
            for taker in takers:
                taker.lost(stop - start)

    def end(self, reason: str) -> Ending:
        """It is over. Muting destroys what was kept of it: whoever mutes does not want it said."""
        kept = None
        if self._sealing is not None:
            if reason == "muted":
                self._sealing.abort()
            else:
                kept = self._sealing.finish(self._kept_to)
        kept_end = self.opening.start if kept is None else self._kept_to
        gaps = tuple((max(start, self.opening.start), stop - max(start, self.opening.start))
                     for start, stop in self._gaps if stop > self.opening.start)  # fmt: skip
        known = "" if kept is None else None
        utterance = Utterance(self.opening, self.speech_end, self._handed_to, kept_end, gaps, reason, known)
        for consumer in self._consumers:
            consumer.end(utterance)
        self._endpointer.reset(0)
        return Ending(utterance, self._sealing, kept)
