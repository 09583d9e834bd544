"""A second look that asks three: networks on the features, heads on the embedding of speech, and the listener itself.

They are mistaken in different places: features have the noise taken out of them, the embedding knows how people speak, and the
listener has heard what came before. All of it is whole numbers, but for one logarithm that is rounded to them, so that it comes
out the same on every machine.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farfield import kernels, modelfile

EMBEDDINGS, WIDTH = 8, 96  # that a head reads, the newest last, and values in each
LOGIT_STEP = 0.1  # what a step of every logit is worth
TENSORS = "head."  # what the names of a head's tensors begin with
_MOST_SLOTS = 16
_LEAST_P = 1 / 512  # of a listener, whose scores have eight bits
_LIMITS = {
    "of_features": (0, 1 << 16),
    "of_head": (0, 1 << 16),
    "of_listener": (0, 1 << 16),
    "features_least": (-(1 << 16), 1 << 16),
    "head_most": (-(1 << 16), 1 << 16),
    "listener_least": (-128, 127),
}
_FIELDS = ("logit_slots", "head_slots", *_LIMITS, "head")
_HEAD = ("stride", "quantiser", "slots", "layers")


def listener_logit(p: float) -> int:
    """A listener's smoothed probability as a logit in steps of LOGIT_STEP."""
    p = min(max(p, _LEAST_P), 1 - _LEAST_P)
    return round(math.log(p / (1 - p)) / LOGIT_STEP)


@dataclass(frozen=True)
class Joint:
    """How a second look's network on features is read together with its heads and its listener.

    logit_slots: slots of the network; each holds the word's logits of the newest steps, int8, of which the largest counts.
    head: a network of WIDTH inputs and stride 1, as the arguments of `kernels.Scorer`, that is shown EMBEDDINGS embeddings from
    its reset state, uint16, int8 plus 128. head_slots: its slots, each with one logit after the last embedding. With f and h the
    sums over both kinds of slots, h at most head_most, and l the listener's logit, but at least listener_least, all in steps of
    LOGIT_STEP, what is looked up in the table that is the features network's last layer is
    (of_features * f + of_head * h + of_listener * l) >> 8, held within int8. Where f is below features_least the probability
    is 0 and no head is asked, for embeddings cost far more than features; nor where head_most would not be enough.
    """

    logit_slots: Sequence[int]
    head_slots: Sequence[int]
    of_features: int
    of_head: int
    of_listener: int
    features_least: int
    head_most: int
    listener_least: int
    head: Mapping[str, Any] = field(repr=False)

    @classmethod
    def read(cls, given: Any, tensors: Mapping[str, NDArray[Any]], network: Mapping[str, Any]) -> "Joint":
        """From a model file's JSON values and its tensors whose names begin with TENSORS, less that; checked against its network.

        TypeError or ValueError that names the field.
        """
        if not isinstance(given, Mapping) or set(given) != set(_FIELDS):
            raise ValueError(f"joint: got {str(given)[:80]}, wanted an object of {', '.join(_FIELDS)}")
        for name, (low, high) in _LIMITS.items():
            value = given[name]
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"joint.{name}: got {str(value)[:80]}, wanted a whole number from {low} to {high}")
        head = given["head"]
        if not isinstance(head, Mapping) or set(head) != set(_HEAD):
            raise ValueError(f"joint.head: got {str(head)[:80]}, wanted an object of {', '.join(_HEAD)}")
        try:
            layers = modelfile.joined(head["layers"], tensors, modelfile.TENSORS)
        except ValueError as error:
            raise ValueError(f"joint.head: {error}") from None
        made = cls(**{**given, "head": {**head, "layers": layers}})
        made.check(network)
        return made

    def check(self, network: Mapping[str, Any]) -> None:
        """ValueError or TypeError where the networks have no such slots, of another shape, or no table to look in."""
        try:
            scorer = kernels.Scorer(**self.head)
        except (ValueError, TypeError) as error:
            raise type(error)(f"joint.head: {error}") from None
        if scorer.channels != WIDTH or scorer.stride != 1:
            raise ValueError(f"joint.head: got {scorer.channels} inputs and stride {scorer.stride}, wanted {WIDTH} and 1")
        for name, slots, of in (("logit_slots", self.logit_slots, network), ("head_slots", self.head_slots, self.head)):
            whole = isinstance(slots, Sequence) and all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in slots)
            if isinstance(slots, str) or not whole or not 1 <= len(slots) <= _MOST_SLOTS:
                raise ValueError(f"joint.{name}: got {str(slots)[:80]}, wanted 1 to {_MOST_SLOTS} whole numbers from 1")
            for slot in slots:
                if slot >= len(of["slots"]):
                    raise ValueError(f"joint.{name}: got {slot}, wanted less than {len(of['slots'])}, the slots")
                if of["slots"][slot]["channels"] != 1:
                    raise ValueError(f"joint.{name}: got one of {of['slots'][slot]['channels']} channels, wanted 1")
        last = network["layers"][-1]
        if last["kind"] != "table" or len(last["table"]) != 1:
            raise ValueError("joint: the network's last layer is no table, wanted one of a single channel")

    def index(self, features: int, head: int, listener: int) -> int:
        """Where in the table the probability stands, from -128. features, head: sums of logits; listener: its logit."""
        listener, head = max(listener, self.listener_least), min(head, self.head_most)
        together = self.of_features * features + self.of_head * head + self.of_listener * listener
        return max(-128, min(127, together >> 8))

    def features_logit(self, scorer: kernels.Scorer) -> int:
        """The sum of the features networks' largest logits, after what they were shown."""
        return sum(int(scorer.slot(slot).max()) for slot in self.logit_slots)

    def head_logit(self, scorer: kernels.Scorer, embeddings: NDArray[np.int8]) -> int:
        """The sum of the heads' logits. scorer: of `head`. embeddings: int8 (EMBEDDINGS, WIDTH)."""
        scorer.reset()
        scorer.process((embeddings.astype(np.int16) + 128).astype(np.uint16))
        return sum(int(scorer.slot(slot)[-1, 0]) for slot in self.head_slots)

    def as_parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """As a model file has it: what is JSON, and the tensors, their names beginning with TENSORS."""
        layers, tensors = modelfile.parted(self.head["layers"], TENSORS)
        head = {**{name: self.head[name] for name in _HEAD}, "layers": layers}
        numbers = {name: getattr(self, name) for name in _LIMITS}
        return {"logit_slots": list(self.logit_slots), "head_slots": list(self.head_slots), **numbers, "head": head}, tensors
