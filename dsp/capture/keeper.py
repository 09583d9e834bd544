"""The seam between what listens and what keeps: an accepted word opens, samples are sealed as they come, an end finishes."""

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
    """One utterance being kept, sealed as it is captured.

    A disk that fails never raises into the listener: the sealing goes dead, leaves nothing behind, its keeper's `why_not` says
    why, and whatever follows does nothing.
    """

    def write(self, samples: NDArray[np.int16]) -> None:
        """Seal what follows, mono; it is encrypted at once, and nothing of it is kept plain."""

    def finish(self, end: int) -> str:
        """End before sample `end`: the utterance's id, and it is durable when this returns; "" where it was not kept."""

    def abort(self) -> None:
        """Destroy key and file: nothing stays."""


class Keeper(Protocol):
    """Decides whether an utterance is kept."""

    why_not: str | None  # why the last one was not; None where it was

    def begin(self, opening: Opening) -> Sealing | None:
        """What seals the utterance; None where it is not kept: no consent, a disk that is full or read-only."""
