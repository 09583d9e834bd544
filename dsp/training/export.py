"""From a trained network to the scorer's integers."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from farfield.model import Model
from farfield.modelfile import quantise_multiplier, sigmoid_table
from farfield.training import network as design
from farfield.training.network import Activation, Convolution, Depthwise, Network, weight_steps
from farfield.training.segments import FEATURE_UNIT, INPUT_UNIT

LOGIT_STEP = 0.1


def to_model(
    network: Network, *, word: str, detector: Mapping[str, Any], card: Mapping[str, Any], stricter: float = 0.0
) -> Model:
    """The int8 model of a trained network. `detector`: the fields that Model reads scores by.

    stricter: taken off every logit. Scores have 8 bits, so that all logits over 5.5 look alike: what is to be told apart must
    lie below.
    """
    shape = network.shape
    multiplier, shift = quantise_multiplier(FEATURE_UNIT / INPUT_UNIT)
    slots = [_slot(shape.first_kernel, design.FEATURES, -128)]
    layers: list[dict[str, Any]] = []
    step = design.INPUT_SCALE
    source = 0

    def join(integers: dict[str, Any], to: int, channel: int = 0) -> None:
        layers.append({"source": source, "source_channel": channel, "target": to, "target_channel": channel} | integers)

    frames = [max(kernels) for kernels in shape.blocks] + [shape.last]
    slots.append(_slot(frames[0], shape.first, -128))
    step_out = _step(network.first_out)
    join(_convolution(network.first, step, step_out), 1)
    source, step = 1, step_out
    for index in range(len(shape.blocks)):
        width = slots[source]["channels"]
        slots.append(_slot(1, width, 0))
        step_out = _step(network.depthwise_out[index])
        for channel, integers in _depthwise(network.depthwise[index], step, step_out):
            join(integers, source + 1, channel)
        source, step = source + 1, step_out
        slots.append(_slot(frames[index + 1], shape.channels, -128))
        step_out = _step(network.pointwise_out[index])
        join(_convolution(network.pointwise[index], step, step_out), source + 1)
        source, step = source + 1, step_out
    slots.append(_slot(1, 1, 0))
    join(_convolution(network.last, step, LOGIT_STEP, lower=stricter), source + 1)
    slots.append(_slot(1, 1, -128))
    layers.append(
        {"kind": "table", "source": source + 1, "source_channel": 0, "target": source + 2, "target_channel": 0}
        | {"table": sigmoid_table(LOGIT_STEP, 0)}
    )
    quantiser = {"multiplier": int(multiplier) * 2, "shift": 32 - int(shift)}
    while quantiser["multiplier"] >= 1 << 31:
        quantiser = {"multiplier": quantiser["multiplier"] >> 1, "shift": quantiser["shift"] - 1}
    built = {"stride": shape.stride, "quantiser": quantiser, "slots": slots, "layers": layers}
    return Model(word=word, network=built, card=card, **detector)


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
