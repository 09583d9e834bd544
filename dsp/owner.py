"""The owner's voice: logistic regression on a network's embedding of the word, fitted to a few clips of one person.

File: safetensors with float64 tensors mean, scale, weights (channels,) and, as the metadata `farfield`, a JSON object:
    format        "owner 1"
    word          the model's
    fingerprint   of the network whose embeddings they are, see Model.fingerprint; with another network it is refused
    bias          p = 1 / (1 + exp(-(bias + sum of weights * (embedding - mean) / scale)))
    threshold     the probability that p must exceed
    figures       what was measured when it was fitted
"""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farfield import modelfile
from farfield.errors import ModelError
from farfield.model import Model

FORMAT = "owner 1"
TENSORS = ("mean", "scale", "weights")
_FIELDS = ("format", "word", "fingerprint", "bias", "threshold", "figures")
_DTYPES: dict[str, np.dtype[Any]] = {"F64": np.dtype("<f8")}


@dataclass(frozen=True)
class Owner:
    """Who is asked for: weights on the standardised embedding of the word.

    mean, scale, weights: float64 (channels,), finite, scale above 0. threshold: 0 to 1. ModelError where they are not.
    """

    word: str
    fingerprint: str
    mean: NDArray[np.float64] = field(repr=False)
    scale: NDArray[np.float64] = field(repr=False)
    weights: NDArray[np.float64] = field(repr=False)
    bias: float
    threshold: float
    figures: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not (isinstance(self.word, str) and isinstance(self.fingerprint, str)):
            raise ModelError("word, fingerprint: wanted texts")
        for name in TENSORS:
            value = getattr(self, name)
            if value.ndim != 1 or not len(value) or value.shape != self.mean.shape or not np.isfinite(value).all():
                raise ModelError(f"{name}: got {value.dtype} {value.shape}, wanted finite numbers, one for each channel")
        if not (self.scale > 0).all():
            raise ModelError(f"scale: got {self.scale.min():g}, wanted more than 0")
        for name, low, high in (("bias", -math.inf, math.inf), ("threshold", 0.0, 1.0)):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number or not low <= value <= high:
                raise ModelError(f"{name}: got {str(value)[:80]}, wanted a number" + (" from 0 to 1" if low == 0 else ""))
        if not isinstance(self.figures, Mapping):
            raise ModelError(f"figures: got {type(self.figures).__name__}, wanted an object")

    def p(self, embedding: NDArray[np.float64]) -> float:
        """How probably it is the owner. embedding: float64 (channels,)."""
        logit = self.bias + float(np.sum(self.weights * ((embedding - self.mean) / self.scale)))
        return float(np.exp(-np.logaddexp(0.0, -logit)))

    def belongs_to(self, network: Model) -> bool:
        """Whether it was fitted to embeddings of this network."""
        return self.fingerprint == network.fingerprint

    def check(self, network: Model) -> None:
        """ModelError where it was fitted to embeddings of another network."""
        if not self.belongs_to(network):
            raise ModelError(
                f"owner: is fitted to the network {self.fingerprint[:12]} of {self.word!r}, wanted one fitted to "
                f"{network.fingerprint[:12]}, that of {network.word!r} (second look included); fit it again: farfield owner fit"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as a safetensors file, whole or not at all."""
        description = {"format": FORMAT} | {name: getattr(self, name) for name in _FIELDS[1:]}
        modelfile.write(path, description, {name: getattr(self, name) for name in TENSORS})


def load_owner(path: str | os.PathLike[str]) -> Owner:
    """The owner of a file that `Owner.save` wrote; ModelError, one line that names the file, what came and what was wanted."""
    data = modelfile.read_bytes(path)
    try:
        description, tensors = modelfile.parse(data, FORMAT, _DTYPES)
        if set(description) != set(_FIELDS):
            raise ValueError(f"metadata: got {', '.join(sorted(description))[:160]}, wanted {', '.join(_FIELDS)}")
        if set(tensors) != set(TENSORS):
            raise ValueError(f"tensors: got {', '.join(sorted(tensors))[:80] or 'none'}, wanted {', '.join(TENSORS)}")
        fields: dict[str, Any] = {name: description[name] for name in _FIELDS[1:]} | tensors
        return Owner(**fields)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{os.fspath(path)!s}: {str(error)[:300]}") from None
