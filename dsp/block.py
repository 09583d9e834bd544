"""What flows through the chain: blocks of samples in, frames of beams out, each knowing where it lies on the capture clock."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Block:
    """A stretch of the capture stream without a gap inside it.

    samples: int16 (frames, channels): the profile's microphones in its order, then its loudspeaker references.
    index: position of the first frame on the capture clock, in frames since the epoch began.
    epoch: counts the times the stream began anew. A gap is a jump of `index` or a new `epoch`, never made-up samples.
    host_ns: the host's monotonic time at which the block arrived, or 0 where there is no clock (files).
    """

    samples: NDArray[np.int16]
    index: int
    epoch: int = 0
    host_ns: int = 0

    @property
    def end(self) -> int:
        """Index of the frame that follows this block."""
        return self.index + len(self.samples)


@dataclass(frozen=True, slots=True)
class Frame:
    """What the front end made of a block, already shifted back to the capture clock.

    beams: int16 (frames, beams): every candidate signal that the detector scores.
    index: position of the first frame on the capture clock; the front end's delay is taken out.
    epoch, host_ns: those of the block that completed the frame.
    consumed: index after the last capture frame that had been heard when this frame left.
    maps: float32 (updates, directions + 1): the SRP-PHAT maps completed meanwhile, and at the end of each what a plane wave
    would have in its direction; no rows for a single microphone.
    map_ends: index after the last capture frame of each of those maps.
    """

    beams: NDArray[np.int16]
    index: int
    epoch: int
    host_ns: int
    consumed: int
    maps: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), np.float32))
    map_ends: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class WakeEvent:
    """The wake word was said: what, how surely, when, from where.

    word: the model's word. score: the probability that decided, 0 to 1: the second look's, or the smoothed one without it.
    start, end: where the word is estimated to lie, in samples of the capture clock.
    decision: index after the last capture sample that had been heard when the decision fell.
    direction_deg: azimuth, counter-clockwise from the profile's x axis, 0 to 360; None for a single microphone.
    direction_confidence: 0 (no direction stands out) to 1; None where there is no direction.
    ambiguous_deg: the mirror direction that a line array cannot tell from `direction_deg`; None otherwise.
    epoch, host_ns: of the block that completed the decision.
    second_look: the probability by which the second look agreed; None without one.
    owner: how probably it is the owner's voice; None where nobody asked.
    candidate: column of the frame's beams that decided, as `Frontend.candidates` names them; None where there is one.
    """

    word: str
    score: float
    start: int
    end: int
    decision: int
    epoch: int = 0
    host_ns: int = 0
    direction_deg: float | None = None
    direction_confidence: float | None = None
    ambiguous_deg: float | None = None
    second_look: float | None = None
    owner: float | None = None
    candidate: int | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A candidate of which no event came, for the second look or the owner's voice did not agree.

    word, score, decision, epoch: as of the WakeEvent that it would have been at the last look.
    second_look, owner: the probabilities of that look; None where there is no such verifier, or it was not asked.
    given_up: index after the last sample that had been heard when it was rejected; without the front end's delay, as `decision`.
    """

    word: str
    score: float
    decision: int
    epoch: int
    second_look: float | None
    owner: float | None
    given_up: int = 0
