"""From a trained network to the scorer's integers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from farfield.joint import LOGIT_STEP, WIDTH, Joint
from farfield.model import Model
from farfield.modelfile import quantise_multiplier, sigmoid_table
from farfield.training import heads
from farfield.training import network as design
from farfield.training.heads import Head
from farfield.training.network import Activation, Convolution, Depthwise, Network, weight_steps
from farfield.training.segments import FEATURE_UNIT, INPUT_UNIT

_OF_FEATURES = 0.8  # of a look's logit, against a head's
_OF_LISTENER = 1.0  # of its logit, against a head's
_LISTENER_LEAST = -1.0  # of its logit that counts: what it has not learnt, others may know
_FEATURES_LEAST = -4.0  # of a look's logit: below it no head is asked; words that were measured lay above
_HEAD_MOST = 5.5  # of a head's logit that counts: where more would be needed none is asked
# What their sum is divided by, and then lowered by, so that 8 bits hold all of it and resolve what lies around thresholds.
_SPREAD, _LOWER = 2.0, 2.0


def to_model(network: Network, *, word: str, detector: Mapping[str, Any], card: Mapping[str, Any], lower: float = 0.0) -> Model:
    """The int8 model of a trained network. `detector`: the fields that Model reads scores by.

    lower: taken off every logit. Scores have 8 bits, so that all logits below -5.5 look alike, and all above 5.5: what is to be
    told apart must lie between.
    """
    built = _Builder(network.shape.stride)
    logit = built.trunk(network, LOGIT_STEP, lower=lower)
    return Model(word=word, network=built.finished(logit), card=card, **detector)


def to_joint_model(
    looks: Sequence[Network], listening: Sequence[Head], *, word: str, detector: Mapping[str, Any], card: Mapping[str, Any]
) -> Model:
    """The int8 model of second looks at features and of heads, listening to embeddings, each of one word; and how they are read.

    detector: as of `to_model`; its smoothing_steps say of how many of each look's last logits the largest counts.
    """
    stride = looks[0].shape.stride
    if any(network.shape.stride != stride for network in looks):
        raise ValueError("looks: got several strides, wanted the same in all of them")
    built = _Builder(stride)
    logits = [built.trunk(network, LOGIT_STEP, frames=int(detector["smoothing_steps"])) for network in looks]
    network = built.finished(logits[0], lower=_LOWER)
    built = _Builder(1, WIDTH)
    head_logits = [built.head(head) for head in listening]
    one = 256 / _SPREAD
    joint = Joint(
        logit_slots=logits,
        head_slots=head_logits,
        of_features=round(one * _OF_FEATURES / len(looks)),
        of_head=round(one / len(listening)),
        of_listener=round(one * _OF_LISTENER),
        features_least=round(_FEATURES_LEAST * len(looks) / LOGIT_STEP),
        head_most=round(_HEAD_MOST * len(listening) / LOGIT_STEP),
        listener_least=round(_LISTENER_LEAST / LOGIT_STEP),
        head=built.finished(head_logits[0], unit=1.0),
    )
    return Model(word=word, network=network, card=card, joint=joint, **detector)


class _Builder:
    """A scorer's slots and layers, as networks are added that all see the same inputs."""

    def __init__(self, stride: int, inputs: int = design.FEATURES) -> None:
        self._stride = stride
        self._slots = [_slot(1, inputs, -128)]
        self._layers: list[dict[str, Any]] = []

    def trunk(self, network: Network, logit_step: float, *, lower: float = 0.0, frames: int = 1) -> int:
        """Adds a network; the slot of its logits, which keeps the last `frames` of them. lower: taken off every logit."""
        shape = network.shape
        self._slots[0]["frames"] = max(self._slots[0]["frames"], shape.first_kernel)
        looked_back = [max(kernels) for kernels in shape.blocks] + [shape.last]
        step_out = _step(network.first_out)
        source = self._joined(
            0, _slot(looked_back[0], shape.first, -128), _convolution(network.first, design.INPUT_SCALE, step_out)
        )
        step = step_out
        for index in range(len(shape.blocks)):
            step_out = _step(network.depthwise_out[index])
            self._slots.append(_slot(1, self._slots[source]["channels"], 0))
            for channel, integers in _depthwise(network.depthwise[index], step, step_out):
                self._join(source, len(self._slots) - 1, integers, channel)
            source, step = len(self._slots) - 1, step_out
            step_out = _step(network.pointwise_out[index])
            wider = _slot(looked_back[index + 1], shape.channels, -128)
            source, step = self._joined(source, wider, _convolution(network.pointwise[index], step, step_out)), step_out
        logits = _slot(frames, network.last.weight.shape[0], 0) | {"fill": -128 if frames > 1 else 0}
        return self._joined(source, logits, _convolution(network.last, step, logit_step, lower=lower))

    def head(self, head: Head) -> int:
        """Adds a head; the slot of its newest logit."""
        self._slots[0]["frames"] = max(self._slots[0]["frames"], head.first.weight.shape[2])
        first, second = _step(head.first_out), _step(head.second_out)
        # The scorer takes an embedding for how far it lies above -128; the head is made for how far it does above its own zero.
        hidden = self._joined(
            0,
            _slot(head.second.weight.shape[2], head.first.weight.shape[0], -128),
            _convolution(head.first, heads.INPUT_SCALE, first, above=head.zero + 128),
        )
        hidden = self._joined(hidden, _slot(1, head.second.weight.shape[0], -128), _convolution(head.second, first, second))
        return self._joined(hidden, _slot(1, 1, 0), _convolution(head.last, second, LOGIT_STEP))

    def finished(self, logit: int, unit: float = FEATURE_UNIT / INPUT_UNIT, lower: float = 0.0) -> dict[str, Any]:
        """The network whose score is the probability of that slot's logit, lowered by as much. unit: of what it is shown, against
        its inputs'."""
        table = sigmoid_table(LOGIT_STEP, round(lower / LOGIT_STEP))
        self._joined(logit, _slot(1, 1, -128), {"kind": "table", "table": table})
        multiplier, shift = quantise_multiplier(unit)
        quantiser = {"multiplier": int(multiplier) * 2, "shift": 32 - int(shift)}
        while quantiser["multiplier"] >= 1 << 31:
            quantiser = {"multiplier": quantiser["multiplier"] >> 1, "shift": quantiser["shift"] - 1}
        return {"stride": self._stride, "quantiser": quantiser, "slots": self._slots, "layers": self._layers}

    def _joined(self, source: int, target: dict[str, int], integers: dict[str, Any]) -> int:
        self._slots.append(target)
        self._join(source, len(self._slots) - 1, integers)
        return len(self._slots) - 1

    def _join(self, source: int, target: int, integers: dict[str, Any], channel: int = 0) -> None:
        self._layers.append({"source": source, "source_channel": channel, "target": target, "target_channel": channel} | integers)


def _slot(frames: int, channels: int, zero: int) -> dict[str, int]:
    return {"frames": frames, "channels": channels, "zero": zero, "fill": zero}


def _step(activation: nn.Module) -> float:
    assert isinstance(activation, Activation)
    return float(activation.step())


def _array(tensor: Tensor) -> Any:
    return tensor.detach().double().numpy()


def _convolution(module: nn.Module, step_in: float, step_out: float, lower: float = 0.0, above: int = 0) -> dict[str, Any]:
    """lower: taken off every output. above: how many steps more than the module's own inputs the scorer's are."""
    assert isinstance(module, Convolution)
    weights, bias = (_array(tensor) for tensor in module.folded())
    steps = _array(weight_steps(module.folded()[0])).ravel()
    rounded = _rounded(weights, steps).transpose(0, 2, 1)
    integers = _outputs(bias - lower, steps * step_in, step_out)
    integers["bias"] -= (above * rounded.sum((1, 2), dtype=np.int64)).astype(np.int32)
    return {"kind": "conv", "weights": np.ascontiguousarray(rounded)} | integers


def _depthwise(module: nn.Module, step_in: float, step_out: float) -> Iterator[tuple[int, dict[str, Any]]]:
    """A layer for each of the kernels that share the channels, and the channel it begins at."""
    assert isinstance(module, Depthwise)
    weights, bias = (_array(tensor) for tensor in module.folded())
    steps = _array(weight_steps(module.folded()[0])).ravel()
    rounded = _rounded(weights, steps)[:, 0]
    for run, kernel in zip(np.array_split(np.arange(len(rounded)), len(module.kernels)), module.kernels, strict=True):
        seen = np.ascontiguousarray(rounded[run, rounded.shape[1] - kernel :].T)
        yield int(run[0]), {"kind": "depthwise", "weights": seen} | _outputs(bias[run], steps[run] * step_in, step_out)


def _rounded(weights: NDArray[np.float64], steps: NDArray[np.float64]) -> NDArray[np.int8]:
    return np.clip(np.rint(weights / steps[:, None, None]), -127, 127).astype(np.int8)


def _outputs(bias: NDArray[np.float64], scale: NDArray[np.float64], step_out: float) -> dict[str, Any]:
    """scale: of the accumulators."""
    multiplier, shift = quantise_multiplier(scale / step_out)
    return {
        "bias": np.rint(bias / scale).astype(np.int32),
        "multiplier": multiplier,
        "shift": shift,
        "away_from": len(bias),
        "low": -128,
        "high": 127,
    }
