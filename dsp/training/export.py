"""From a trained network to the scorer's integers."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from farfield.look import LOOK_FRAMES
from farfield.model import Model
from farfield.modelfile import quantise_multiplier, sigmoid_table
from farfield.spelled import Spelled
from farfield.training import network as design
from farfield.training.network import Activation, Convolution, Depthwise, Network, weight_steps
from farfield.training.segments import FEATURE_UNIT, INPUT_UNIT

LOGIT_STEP = 0.1


PHONE_STEP = 0.15
_WITHIN = 10  # steps before the end of a stretch: in the last of them a phone is told apart some 0.1 s after it was said
_OF_PHONES = 0.15  # of the phones' log likelihood, against the word's logit
_SPREAD = 4.0  # by which both are divided, so that the table's 256 values resolve all of it


def to_model(
    network: Network, *, word: str, detector: Mapping[str, Any], card: Mapping[str, Any], stricter: float = 0.0
) -> Model:
    """The int8 model of a trained network. `detector`: the fields that Model reads scores by.

    stricter: taken off every logit. Scores have 8 bits, so that all logits over 5.5 look alike: what is to be told apart must
    lie below.
    """
    built = _Builder(network.shape.stride)
    logit = built.trunk(network, LOGIT_STEP, lower=stricter)
    return Model(word=word, network=built.finished(logit), card=card, **detector)


def to_spelled_model(
    networks: Sequence[Network],
    phones: Sequence[Network],
    spellings: Sequence[Sequence[int]],
    *,
    word: str,
    detector: Mapping[str, Any],
    card: Mapping[str, Any],
) -> Model:
    """The int8 model of second looks and of networks that tell phones apart, side by side; and how all are read.

    spellings: the word's phones as numbers of pronunciation.PHONES. detector: as of `to_model`; its smoothing_steps say of how
    many of each look's last logits the largest counts.
    """
    stride = networks[0].shape.stride
    if any(network.shape.stride != stride for network in (*networks, *phones)):
        raise ValueError("networks, phones: got several strides, wanted the same in all of them")
    built = _Builder(stride)
    logits = [built.trunk(network, LOGIT_STEP, frames=int(detector["smoothing_steps"])) for network in networks]
    told = [built.trunk(network, PHONE_STEP, frames=LOOK_FRAMES // stride) for network in phones]
    spelled = Spelled(
        logit_slots=logits,
        phone_slots=told,
        spellings=[list(spelling) for spelling in spellings],
        within=_WITHIN,
        of_logit=round(256 / _SPREAD / len(networks)),
        of_phones=round(256 / _SPREAD * _OF_PHONES * PHONE_STEP / LOGIT_STEP / len(phones)),
        offset=0,
    )
    return Model(word=word, network=built.finished(logits[0]), card=card, spelled=spelled, **detector)


class _Builder:
    """A scorer's slots and layers, as trunks are added that all see the same features."""

    def __init__(self, stride: int) -> None:
        self._stride = stride
        self._slots = [_slot(1, design.FEATURES, -128)]
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

    def finished(self, logit: int) -> dict[str, Any]:
        """The network whose score is the probability of that slot's logit."""
        self._joined(logit, _slot(1, 1, -128), {"kind": "table", "table": sigmoid_table(LOGIT_STEP, 0)})
        multiplier, shift = quantise_multiplier(FEATURE_UNIT / INPUT_UNIT)
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


def _convolution(module: nn.Module, step_in: float, step_out: float, lower: float = 0.0) -> dict[str, Any]:
    assert isinstance(module, Convolution)
    weights, bias = (_array(tensor) for tensor in module.folded())
    steps = _array(weight_steps(module.folded()[0])).ravel()
    rounded = _rounded(weights, steps).transpose(0, 2, 1)
    return {"kind": "conv", "weights": np.ascontiguousarray(rounded)} | _outputs(bias - lower, steps * step_in, step_out)


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
