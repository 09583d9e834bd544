"""The seam between what listens and what keeps: an accepted word opens, samples are sealed as they come, an end finishes."""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Opening:
    """What is known of an utterance when its word has been accepted.

    Positions are samples at 16 kHz on the capture clock of `epoch`. start: the first sample kept, pre-roll included.
    word_start, word_end: where the word is estimated to lie; that may be before `start`, where its sound was not there any more,
    after a gap say. direction_deg: None where it is not known.
    """

    word: str
    score: float
    epoch: int
    start: int
    word_start: int
    word_end: int
    direction_deg: float | None


class Sealing(Protocol):
    """One utterance being kept, sealed as it is captured by the listening thread, which `write` and `finish` keep from no block.

    A disk that fails never raises into the listener: the sealing goes dead, leaves nothing behind, `why_not` says why, and
    whatever follows does nothing.
    """

    why_not: str | None  # why it is not kept; None while nothing is in the way

    def write(self, samples: NDArray[np.int16]) -> None:
        """Seal what follows, mono; it is encrypted at once, and nothing of it is kept plain."""

    def lost(self, samples: int) -> None:
        """So many are missing here; nothing is made up in their place."""

    def finish(self, end: int) -> Future[str]:
        """End before sample `end`; nothing plain is left when this returns.

        The result is there as soon as the utterance is durable: its id, or "" where it was not kept.
        """

    def abort(self) -> None:
        """Destroy key and file: nothing stays when this returns."""


class Keeper(Protocol):
    """Decides whether an utterance is kept."""

    why_not: str | None  # why the last one was not, as far as that is known; None where it is

    def begin(self, opening: Opening) -> Sealing | None:
        """What seals the utterance; None where it is not kept: no consent, a disk that is full or read-only."""
