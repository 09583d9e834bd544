"""What must agree before an event leaves: a second look at the last 1.5 s by more networks, and the owner's voice.

Both run at candidates only, where the first network would have an event leave, so that they cost a stream little.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farfield import kernels
from farfield.embedding import load_embedding
from farfield.errors import ModelError
from farfield.history import HEARD, History
from farfield.joint import listener_logit
from farfield.model import Model
from farfield.owner import Owner

Embeddings = Callable[[], NDArray[np.int8]]
LOOK_EVERY = 2  # steps of a stream, counted from its start, where nothing is near: a word looks like one for longer than a step
_NEAR = 0.5  # probability that heads might bring a look to


@dataclass(frozen=True, slots=True)
class Look:
    """What a look found. second_look, owner: their probabilities; None where there is no such verifier, or it was not asked.

    agreed: the second look did, so that nothing but the owner's voice can hold the event back. passed: nothing does. near: the
    word may well be there, so that the next step is looked at, too.
    """

    second_look: float | None
    owner: float | None
    agreed: bool
    passed: bool
    near: bool = False


class Afresh:
    """A look's networks run from their reset state over a stretch of features, as long as a word and what surrounds it."""

    def __init__(self, model: Model, slots: tuple[int, ...] = ()) -> None:
        self._scorer = model.scorer()
        self._joint = model.joint
        if self._joint is not None:
            self._head = kernels.Scorer(**self._joint.head)
            self._table = model.network["layers"][-1]["table"][0]
            self._of_head: tuple[NDArray[np.int8] | None, int] = None, 0  # what heads were shown last, and their logit
        self._stride = model.stride
        self._steps = model.smoothing_steps
        self._slots = slots
        self.near = False  # whether what `p` was shown last might be the word, so that the next step is looked at, too

    def hear(self, features: NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Shows it features, uint16 (frames, 40), and returns its scores, uint8 (steps,).

        The oldest frames that make no whole step are left out, so that the newest is heard.
        """
        self._scorer.reset()
        return self._scorer.process(features[len(features) % self._stride :])

    def p(
        self, features: NDArray[np.uint16], embeddings: Embeddings | None = None, listener: float = 0.0, above: float = 0.0
    ) -> float:
        """The probability that the word was said; 0 where there is not one step.

        Of the network alone it is the largest over the last `smoothing_steps` steps; of a joint one what all find together.
        features: uint16 (frames, 40). embeddings: makes those of the same stretch, int8 (EMBEDDINGS, WIDTH), and is called
        where heads are asked; listener: its smoothed probability; above: what matters, so that the probability is 0, too, where
        no head could bring it there; all three are for a joint one.
        """
        scores = self.hear(features)
        if self._joint is None:
            return float(scores[-self._steps :].max(initial=0)) * self._scorer.output_scale
        if not len(scores):
            return 0.0
        joint, of_listener = self._joint, listener_logit(listener)
        of_features = joint.features_logit(self._scorer)
        most = self._looked_up(joint.index(of_features, joint.head_most, of_listener))
        self.near = most > _NEAR
        if of_features < joint.features_least or most <= above:
            return 0.0
        assert embeddings is not None
        shown = embeddings()
        if shown is not self._of_head[0]:  # looks that follow each other closely are shown the same, from `History`
            self._of_head = shown, joint.head_logit(self._head, shown)
        return self._looked_up(joint.index(of_features, self._of_head[1], of_listener))

    def _looked_up(self, index: int) -> float:
        return (int(self._table[index + 128]) + 128) * self._scorer.output_scale

    def embedding(self) -> NDArray[np.float64]:
        """The mean over the frames that each of `slots` holds after `hear`, side by side: float64 (channels of all,)."""
        return np.concatenate([self._scorer.slot(slot).mean(axis=0, dtype=np.float64) for slot in self._slots])


def trunk(model: Model) -> tuple[int, ...]:
    """The hidden slots, whose content is the embedding: all from which the last convolution makes the word's logit (its first).

    The last of them alone has half forgotten who spoke: a network learns to. ModelError: a network that has none.
    """
    layers = model.network["layers"]
    logit = model.joint.logit_slots[0] if model.joint else None
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

    A network alone is asked at every step, a joint look, which costs far more, at every LOOK_EVERY-th: `every`, in steps.
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
        self._stride = model.stride
        self.every = LOOK_EVERY if network.joint else 1
        self._embedder = load_embedding(most_frames=HEARD) if network.joint else None

    def history(self) -> History:
        """What is to be kept of a signal that this verifier looks at."""
        return History(self._embedder and self._embedder.another())

    def looks(
        self, heard: tuple[NDArray[np.uint16], NDArray[np.uint16]], p: NDArray[np.float64], above: float
    ) -> NDArray[np.float64]:
        """The second look's probability at each step of a whole stream at which a detector might ask it, 0 at the others.

        heard: the stream's features and energies. p: float64 (steps,), the listener's smoothed probability, and above: from which
        it opens a candidate. Returns float64 (steps,).
        """
        history = self.history()
        history.take(*heard)
        found = np.zeros(len(p))
        near: int | None = None  # the step of the last look that was near
        for steps in (np.flatnonzero(p > above) + 1).tolist():
            if self.due(steps, near == steps - 1):  # counted from 1
                look = self.look(history, steps * self._stride, float(p[steps - 1]))
                found[steps - 1] = look.second_look
                near = steps if look.near else None
        return found

    def due(self, steps: int, near: bool) -> bool:
        """Whether a signal that opens a candidate is looked at. steps: of the stream. near: the look at the step before was."""
        return near or steps % self.every == 0

    def look(self, history: History, frame: int, listener: float) -> Look:
        """At the signal up to its first `frame` frames, of which the latest call has the last.

        listener: the smoothed probability that opened the candidate there.
        """
        p = self._afresh.p(history.until(frame), lambda: history.embeddings(frame), listener, self._threshold or 0.0)
        agreed = self._threshold is None or p > self._threshold
        seen = None if self._threshold is None else p
        if self._owner is None or not agreed:
            return Look(seen, None, agreed, agreed, self._afresh.near)
        voice = self._owner.p(self._afresh.embedding())
        return Look(seen, voice, agreed, voice > self._owner.threshold, self._afresh.near)
