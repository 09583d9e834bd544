"""From a trained network to the scorer's integers."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor, nn

from farfield.model import Model
from farfield.modelfile import quantise_multiplier, sigmoid_table
from farfield.training import network as design
from farfield.training.network import Activation, Convolution, Network, weight_steps
from farfield.training.segments import FEATURE_UNIT, INPUT_UNIT

LOGIT_STEP = 0.1


def to_model(
    network: Network, *, word: str, detector: Mapping[str, Any], card: Mapping[str, Any], stricter: float = 0.0
) -> Model:
    """The int8 model of a trained network. `detector`: the fields that Model reads scores by.

    stricter: taken off every logit. Scores have 8 bits, so that all logits over 5.5 look alike: what is to be told apart must
    lie below.
    """
    multiplier, shift = quantise_multiplier(FEATURE_UNIT / INPUT_UNIT)
    slots = [_slot(design.FIRST_KERNEL, design.FEATURES, -128)]
    layers: list[dict[str, Any]] = []
    step = design.INPUT_SCALE
    source = 0

    def join(module: nn.Module, to: int, step_in: float, step_out: float, channel: int = 0, lower: float = 0.0) -> None:
        assert isinstance(module, Convolution)
        layers.append(
            {"source": source, "source_channel": channel, "target": to, "target_channel": channel}
            | _integers(module, step_in, step_out, lower)
        )

    frames = [max(kernels) for kernels in design.BLOCKS] + [design.LAST]
    slots.append(_slot(frames[0], design.FIRST, -128))
    step_out = _step(network.first_out)
    join(network.first, 1, step, step_out)
    source, step = 1, step_out
    for index in range(len(design.BLOCKS)):
        width = slots[source]["channels"]
        slots.append(_slot(1, width, 0))
        step_out = _step(network.depthwise_out[index])
        groups = network.depthwise[index]
        assert isinstance(groups, nn.ModuleList)
        for number, group in enumerate(groups):
            join(group, source + 1, step, step_out, number * (width // len(groups)))
        source, step = source + 1, step_out
        slots.append(_slot(frames[index + 1], design.CHANNELS, -128))
        step_out = _step(network.pointwise_out[index])
        join(network.pointwise[index], source + 1, step, step_out)
        source, step = source + 1, step_out
    slots.append(_slot(1, 1, 0))
    join(network.last, source + 1, step, LOGIT_STEP, lower=stricter)
    slots.append(_slot(1, 1, -128))
    layers.append(
        {"kind": "table", "source": source + 1, "source_channel": 0, "target": source + 2, "target_channel": 0}
        | {"table": sigmoid_table(LOGIT_STEP, 0)}
    )
    quantiser = {"multiplier": int(multiplier) * 2, "shift": 32 - int(shift)}
    while quantiser["multiplier"] >= 1 << 31:
        quantiser = {"multiplier": quantiser["multiplier"] >> 1, "shift": quantiser["shift"] - 1}
    built = {"stride": design.STRIDE, "quantiser": quantiser, "slots": slots, "layers": layers}
    return Model(word=word, network=built, card=card, **detector)


def _slot(frames: int, channels: int, zero: int) -> dict[str, int]:
    return {"frames": frames, "channels": channels, "zero": zero, "fill": zero}


def _step(activation: nn.Module) -> float:
    assert isinstance(activation, Activation)
    return float(activation.step())


def _array(tensor: Tensor) -> Any:
    return tensor.detach().double().numpy()


def _integers(module: Convolution, step_in: float, step_out: float, lower: float) -> dict[str, Any]:
    depthwise = module.conv.groups > 1
    weights, bias = module.folded()
    steps = _array(weight_steps(weights)).ravel()
    rounded = np.clip(np.rint(_array(weights) / steps[:, None, None]), -127, 127).astype(np.int8)
    multiplier, shift = quantise_multiplier(steps * step_in / step_out)
    return {
        "kind": "depthwise" if depthwise else "conv",
        "weights": np.ascontiguousarray(rounded[:, 0].T if depthwise else rounded.transpose(0, 2, 1)),
        "bias": np.rint((_array(bias) - lower) / (steps * step_in)).astype(np.int32),
        "multiplier": multiplier,
        "shift": shift,
        "away_from": len(rounded),
        "low": -128,
        "high": 127,
    }
