"""What must agree before an event leaves: a second network that looks again at the last 1.5 s, and the owner's voice.

Both run at candidates only, where the first network would have an event leave, so that they cost a stream nothing.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farfield.errors import ModelError
from farfield.model import FEATURES, Model
from farfield.owner import Owner

LOOK_FRAMES = 150  # 10 ms feature frames that a look sees


@dataclass(frozen=True, slots=True)
class Look:
    """What a look found. second_look, owner: their probabilities; None where there is no such verifier."""

    second_look: float | None
    owner: float | None
    passed: bool


class Afresh:
    """A network run from its reset state over a stretch of features, as long as a word and what surrounds it."""

    def __init__(self, model: Model) -> None:
        self._scorer = model.scorer()
        self._stride = model.stride
        self._steps = model.smoothing_steps

    def p(self, features: NDArray[np.uint16]) -> float:
        """The largest probability over the last `smoothing_steps` steps; 0 where there is not one step.

        features: uint16 (frames, 40). The oldest frames that make no whole step are left out, so that the newest is heard.
        """
        self._scorer.reset()
        scores = self._scorer.process(features[len(features) % self._stride :])
        return float(scores[-self._steps :].max(initial=0)) * self._scorer.output_scale

    def embedding(self, slot: int) -> NDArray[np.float64]:
        """The mean over the frames that the slot holds after `p`, float64 (channels,)."""
        return np.asarray(self._scorer.slot(slot).mean(axis=0, dtype=np.float64))


def embedding_slot(model: Model) -> int:
    """The slot whose content is the embedding: the last hidden one, from which the last convolution makes the logit.

    ModelError: a network without a convolution.
    """
    sources = [int(layer["source"]) for layer in model.network["layers"] if layer["kind"] == "conv"]
    if not sources:
        raise ModelError(f"{model.word}: has no convolution, wanted one to take an owner's embedding before")
    return sources[-1]


class Verifier:
    """A model's second look and its owner's voice; either may be None.

    Owner's embeddings come from the second look's network, or from the model's own, run afresh over the same stretch, where
    there is none. ModelError: an owner fitted to another network.
    """

    def __init__(self, model: Model, second_look: Model | None = None, owner: Owner | None = None) -> None:
        network = model if second_look is None else second_look
        self._afresh = Afresh(network)
        self._threshold = None if second_look is None else second_look.threshold
        self._owner = owner
        if owner is not None:
            owner.check(network)
            self._slot = embedding_slot(network)
            channels = network.network["slots"][self._slot]["channels"]
            if len(owner.weights) != channels:
                raise ModelError(f"owner: got {len(owner.weights)} weights, wanted {channels}, the channels of the embedding")

    def look(self, features: NDArray[np.uint16]) -> Look:
        """features: uint16 (up to LOOK_FRAMES, 40), the newest last."""
        p = self._afresh.p(features)
        agreed, voice = self._threshold is None or p > self._threshold, None
        if self._owner is not None:
            voice = self._owner.p(self._afresh.embedding(self._slot))
            agreed = agreed and voice > self._owner.threshold
        return Look(None if self._threshold is None else p, voice, agreed)


class History:
    """The last LOOK_FRAMES feature frames of a signal before a call's, and the call's own. Memory is constant.

    The frames lie in one piece of memory with as much room behind them; when it is used up, they move back to the front.
    """

    def __init__(self) -> None:
        self._kept: NDArray[np.uint16] = np.empty((2 * LOOK_FRAMES, FEATURES), np.uint16)
        self.reset()

    def reset(self) -> None:
        """Back to the state of a new object."""
        self._fresh: NDArray[np.uint16] = self._kept[:0]
        self._end = 0  # one past the newest frame that is kept
        self._first = 0  # frames of the stream before the fresh ones

    def take(self, features: NDArray[np.uint16]) -> None:
        """A call's features, uint16 (frames, 40)."""
        self._first += len(self._fresh)
        known = self._fresh[-LOOK_FRAMES:]
        if self._end + len(known) > 2 * LOOK_FRAMES:
            self._kept[:LOOK_FRAMES] = self._kept[self._end - LOOK_FRAMES : self._end]
            self._end = LOOK_FRAMES
        self._kept[self._end : self._end + len(known)] = known
        self._end += len(known)
        self._fresh = features

    def until(self, frame: int) -> NDArray[np.uint16]:
        """The newest LOOK_FRAMES of the stream's first `frame`, of which the call has the last; all where there are fewer."""
        known = self._kept[max(0, self._end - LOOK_FRAMES) : self._end]
        return np.concatenate([known, self._fresh[: frame - self._first]])[-LOOK_FRAMES:]
