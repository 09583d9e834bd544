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
    """What a look found. second_look, owner: their probabilities; None where there is no such verifier, or it was not asked.

    agreed: the second look did, so that nothing but the owner's voice can hold the event back. passed: nothing does.
    """

    second_look: float | None
    owner: float | None
    agreed: bool
    passed: bool


class Afresh:
    """A network run from its reset state over a stretch of features, as long as a word and what surrounds it."""

    def __init__(self, model: Model, slots: tuple[int, ...] = ()) -> None:
        self._scorer = model.scorer()
        self._spelled = model.spelled
        if self._spelled is not None:
            self._spelling = self._spelled.kernel(model.network)
            self._table = model.network["layers"][-1]["table"][0]
        self._stride = model.stride
        self._steps = model.smoothing_steps
        self._slots = slots

    def p(self, features: NDArray[np.uint16]) -> float:
        """The largest probability over the last `smoothing_steps` steps; 0 where there is not one step.

        Where the model reads a spelling, that of both together. features: uint16 (frames, 40). The oldest frames that make no
        whole step are left out, so that the newest is heard.
        """
        self._scorer.reset()
        scores = self._scorer.process(features[len(features) % self._stride :])
        if self._spelled is not None:
            return self._both(len(scores))
        return float(scores[-self._steps :].max(initial=0)) * self._scorer.output_scale

    def _both(self, steps: int) -> float:
        assert self._spelled is not None
        path = self._spelled.path(self._spelling, self._scorer, steps)
        if path is None:
            return 0.0
        index = self._spelled.index(self._spelled.logit(self._scorer), path)
        return (int(self._table[index + 128]) + 128) * self._scorer.output_scale

    def embedding(self) -> NDArray[np.float64]:
        """The mean over the frames that each of `slots` holds after `p`, side by side: float64 (channels of all,)."""
        return np.concatenate([self._scorer.slot(slot).mean(axis=0, dtype=np.float64) for slot in self._slots])


def trunk(model: Model) -> tuple[int, ...]:
    """The hidden slots, whose content is the embedding: all from which the last convolution makes the word's logit (its first).

    The last of them alone has half forgotten who spoke: a network learns to. ModelError: a network that has none.
    """
    layers = model.network["layers"]
    logit = model.spelled.logit_slots[0] if model.spelled else None
    read: set[int] = set()
    for layer in reversed(layers):
        makes_logit = not read and layer["kind"] == "conv" and logit in (None, layer["target"])
        if makes_logit or layer["target"] in read:
            read.add(int(layer["source"]))
    slots = tuple(sorted(read - {0}))
    if not slots:
        raise ModelError(f"{model.word}: has no layer before the one that makes the score, wanted one to take an embedding from")
    return slots


class Verifier:
    """A model's second look and its owner's voice; either may be None.

    Owner's embeddings come from the second look's network, or from the model's own, run afresh over the same stretch, where
    there is none. threshold: what the second look must exceed (None: its own). ModelError: an owner fitted to another network.
    """

    def __init__(
        self, model: Model, second_look: Model | None = None, owner: Owner | None = None, threshold: float | None = None
    ) -> None:
        network = model if second_look is None else second_look
        self._threshold = None if second_look is None else second_look.threshold if threshold is None else threshold
        self._owner = owner
        slots: tuple[int, ...] = ()
        if owner is not None:
            owner.check(network)
            slots = trunk(network)
            channels = sum(network.network["slots"][slot]["channels"] for slot in slots)
            if len(owner.weights) != channels:
                raise ModelError(f"owner: got {len(owner.weights)} weights, wanted {channels}, the channels of the embedding")
        self._afresh = Afresh(network, slots)

    def look(self, features: NDArray[np.uint16]) -> Look:
        """features: uint16 (up to LOOK_FRAMES, 40), the newest last."""
        p = self._afresh.p(features)
        agreed = self._threshold is None or p > self._threshold
        seen = None if self._threshold is None else p
        if self._owner is None or not agreed:
            return Look(seen, None, agreed, agreed)
        voice = self._owner.p(self._afresh.embedding())
        return Look(seen, voice, agreed, voice > self._owner.threshold)


class History:
    """The last LOOK_FRAMES feature frames of a signal before a call's, and the call's own. Memory is constant.

    The frames lie in one piece of memory with as much room behind them; when it is used up, they move back to the front.
    """

    def __init__(self) -> None:
        self._kept: NDArray[np.uint16] = np.zeros((2 * LOOK_FRAMES, FEATURES), np.uint16)
        self.reset()

    def reset(self) -> None:
        """Back to the state of a new object."""
        self._kept.fill(0)
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
