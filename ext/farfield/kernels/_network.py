"""The check of a scorer's network, and its constants laid out for the inner loops.

A network is `slots` and `layers`, run in order once a step. A slot holds the last `frames` int8 frames of `channels` values:
the ring buffer between two layers. Slot 0 takes the quantised features, `stride` frames a step; every other slot takes one
frame a step, each channel of it written by exactly one layer. A layer reads the newest frames of a range of channels of one
slot, which is how a split costs nothing, and writes a range of channels of another, which is how a concatenation costs nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from farfield.kernels import _boundary

MAX_SLOTS = 256
MAX_LAYERS = 128
MAX_CHANNELS = 1024
MAX_FRAMES = 1024
MAX_STATE = 1 << 20  # values of all slots together
MAX_WEIGHTS = 4 << 20  # of all layers together
SPARE_FRAMES = 16  # how often a slot moves its history back to the front of its memory
BLOCK = 16  # int16 values in one 256-bit vector: dot products are padded to it
SPREAD = 32  # outputs that a wide convolution computes side by side

CONV, DEPTHWISE, TABLE = 0, 1, 2
KINDS = {"conv": CONV, "depthwise": DEPTHWISE, "table": TABLE}
INT32_LIMIT = 1 << 31


def slot(index: int, given: Any) -> dict[str, int]:
    """Slot `index` as checked whole numbers: frames, channels, zero (point), fill (what it holds after a reset)."""
    name = f"slots[{index}]"
    if not isinstance(given, Mapping):
        raise TypeError(f"{name}: got {type(given).__name__}, wanted a mapping")
    limits = {"frames": (1, MAX_FRAMES), "channels": (1, MAX_CHANNELS), "zero": (-128, 127), "fill": (-128, 127)}
    unknown(name, given, limits)
    return {key: _boundary.count(f"{name}.{key}", given.get(key), *limit) for key, limit in limits.items()}


def unknown(name: str, given: Mapping, known: Any) -> None:
    extra = sorted(str(key) for key in given if key not in known)
    if extra:
        raise ValueError(f"{name}: got the unknown field {extra[0]!r}, wanted {', '.join(known)}")


def requantiser(name: str, given: Mapping, outputs: int, bound: np.ndarray) -> dict[str, np.ndarray]:
    """The constants that take an accumulator within +-`bound` to the output's scale.

    `multiplier` is Q31 in [2^30, 2^31) or 0, `shift` the power of two after it (negative: to the right). From output
    `away_from` on, the shift's ties go away from zero; before it, up.
    """
    multiplier = _boundary.array(f"{name}.multiplier", given.get("multiplier"), np.int32, (outputs,))
    shift = _boundary.array(f"{name}.shift", given.get("shift"), np.int8, (outputs,)).astype(np.int64)
    away_from = _boundary.count(f"{name}.away_from", given.get("away_from"), 0, outputs)
    if ((multiplier < 1 << 30) & (multiplier != 0)).any():
        raise ValueError(f"{name}.multiplier: got {multiplier.min()}, wanted 0 or 2^30 to 2^31 - 1")
    if (shift < -30).any() or (shift > 15).any():
        raise ValueError(f"{name}.shift: got {shift.min()} to {shift.max()}, wanted -30 to 15")
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    half = (np.int64(1) << right) >> 1
    # The widest sums: the accumulator moved left, and the rounded product with half a unit added.
    if ((bound << left) + half + 1 >= INT32_LIMIT).any():
        raise ValueError(f"{name}.shift: an accumulator of {bound.max()} could leave 32 bits; wanted smaller weights")
    return {
        "multiplier": np.ascontiguousarray(multiplier),
        "scale": (np.int64(1) << left).astype(np.int32),
        "half": half.astype(np.int32),
        "tie": np.where((right > 0) & (np.arange(outputs) >= away_from), -1, 0).astype(np.int32),
        "right": right.astype(np.int32),
    }


def padded(values: np.ndarray, *multiples: int) -> np.ndarray:
    """A contiguous copy with zeros after each axis, up to the multiples given."""
    wanted = [(0, -size % multiple) for size, multiple in zip(values.shape, multiples, strict=True)]
    return np.ascontiguousarray(np.pad(values, wanted))


def side_by_side(weights: np.ndarray) -> np.ndarray:
    """(outputs, rows, length) as int16 (outputs / SPREAD, rows, length / 2, SPREAD, 2): pairs to add, a lane an output."""
    whole = padded(weights.astype(np.int16), SPREAD, 1, 2)
    outputs, rows, length = whole.shape
    pairs = whole.reshape(outputs // SPREAD, SPREAD, rows, length // 2, 2)
    return np.ascontiguousarray(pairs.transpose(0, 2, 3, 1, 4))


def weighted(name: str, kind: int, given: Mapping, source: dict[str, int], target: dict[str, int]) -> dict[str, Any]:
    """A convolution or depthwise convolution: sizes, laid-out weights, bound of the accumulators."""
    weights = given.get("weights")
    shape = (None, None, None) if kind == CONV else (None, None)
    _boundary.array(f"{name}.weights", weights, np.int8, shape)
    frames, channels = weights.shape[-2:]
    outputs = weights.shape[0] if kind == CONV else channels
    if not (outputs and channels and 1 <= frames <= source["frames"]):
        raise ValueError(f"{name}.weights: got shape {weights.shape}, wanted 1 to {source['frames']} frames of the source")
    bias = _boundary.array(f"{name}.bias", given.get("bias"), np.int32, (outputs,))
    largest = max(127 - source["zero"], 128 + source["zero"])
    total = np.abs(weights.astype(np.int64)).sum(axis=(1, 2) if kind == CONV else 0)
    bound = np.abs(bias.astype(np.int64)) + total * largest
    if (bound >= INT32_LIMIT).any():
        raise ValueError(f"{name}.weights: an accumulator could reach {bound.max()}, wanted less than 2^31")
    low = _boundary.count(f"{name}.low", given.get("low"), -128, 127)
    high = _boundary.count(f"{name}.high", given.get("high"), low, 127)
    whole = channels == source["channels"]  # then the frames of the window follow each other in memory
    rows, length = (1, frames * channels) if whole else (frames, channels)
    wide = kind == CONV and outputs >= SPREAD // 2  # below, most of the outputs side by side would be padding
    if kind == DEPTHWISE:
        laid = padded(weights.astype(np.int16), 2, BLOCK)
    elif wide:
        laid = side_by_side(weights.reshape(outputs, rows, length))
    else:
        laid = padded(weights.reshape(outputs, rows, length).astype(np.int16), 1, 1, BLOCK)
    return {
        "frames": frames, "channels": channels, "outputs": outputs, "rows": rows, "wide": wide,
        "length": -(-length // 2) * 2 if wide else laid.shape[-1],
        "low": low - target["zero"], "high": high - target["zero"],
        "weights": laid, "bias": padded(bias, SPREAD),
        **requantiser(name, given, outputs, bound),
    }  # fmt: skip


def table(name: str, given: Mapping, target: dict[str, int]) -> dict[str, Any]:
    """A table of 256 outputs a channel (a sigmoid; a product and a sum with constants), less the target's zero point."""
    values = _boundary.array(f"{name}.table", given.get("table"), np.int8, (None, 256))
    channels = values.shape[0]
    if not channels:
        raise ValueError(f"{name}.table: got no channels, wanted at least one")
    laid = np.ascontiguousarray(values.astype(np.int16) - target["zero"], dtype=np.int16)
    return {"frames": 1, "channels": channels, "outputs": channels, "weights": laid}


def layer(index: int, given: Any, slots: Sequence[dict[str, int]]) -> dict[str, Any]:
    """Layer `index` checked against the slots it joins."""
    name = f"layers[{index}]"
    if not isinstance(given, Mapping):
        raise TypeError(f"{name}: got {type(given).__name__}, wanted a mapping")
    kind = given.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{name}.kind: got {kind!r}, wanted one of {', '.join(KINDS)}")
    joins = ("kind", "source", "source_channel", "target", "target_channel")
    constants = ("table",) if kind == "table" else ("weights", "bias", "multiplier", "shift", "away_from", "low", "high")
    unknown(name, given, (*joins, *constants))
    source = _boundary.count(f"{name}.source", given.get("source"), 0, len(slots) - 1)
    target = _boundary.count(f"{name}.target", given.get("target"), 1, len(slots) - 1)
    if source == target:
        raise ValueError(f"{name}.target: got {target}, which is also its source")
    first = _boundary.count(f"{name}.source_channel", given.get("source_channel"), 0, MAX_CHANNELS)
    to = _boundary.count(f"{name}.target_channel", given.get("target_channel"), 0, MAX_CHANNELS)
    if kind == "table":
        made = table(name, given, slots[target])
    else:
        made = weighted(name, KINDS[kind], given, slots[source], slots[target])
    if first + made["channels"] > slots[source]["channels"]:
        raise ValueError(f"{name}: reads channels {first} to {first + made['channels'] - 1} of slot {source}, "
                         f"which has {slots[source]['channels']}")  # fmt: skip
    if to + made["outputs"] > slots[target]["channels"]:
        raise ValueError(f"{name}: writes channels {to} to {to + made['outputs'] - 1} of slot {target}, "
                         f"which has {slots[target]['channels']}")  # fmt: skip
    return {"kind": KINDS[kind], "source": source, "target": target, "source_channel": first, "target_channel": to, **made}


def check(stride: Any, slots: Any, layers: Any) -> tuple[int, list[dict[str, int]], list[dict[str, Any]]]:
    """The whole network, checked; TypeError or ValueError that names the field, what came and what was wanted."""
    stride = _boundary.count("stride", stride, 1, MAX_FRAMES)
    for name, value, most in (("slots", slots, MAX_SLOTS), ("layers", layers, MAX_LAYERS)):
        if not isinstance(value, list | tuple):
            raise TypeError(f"{name}: got {type(value).__name__}, wanted a list")
        if not 1 <= len(value) <= most:
            raise ValueError(f"{name}: got {len(value)}, wanted 1 to {most}")
    made = [slot(i, s) for i, s in enumerate(slots)]
    if made[0]["frames"] < stride:
        raise ValueError(f"slots[0].frames: got {made[0]['frames']}, wanted at least the stride, {stride}")
    state = sum((s["frames"] + SPARE_FRAMES + stride) * s["channels"] for s in made)
    if state > MAX_STATE:
        raise ValueError(f"slots: got {state} values in all, wanted at most {MAX_STATE}")
    written = [np.zeros(s["channels"], bool) for s in made]
    written[0][:] = True
    laid, weights = [], 0
    for index, given in enumerate(layers):
        one = layer(index, given, made)
        weights += one["weights"].size
        if weights > MAX_WEIGHTS:
            raise ValueError(f"layers[{index}]: the weights so far are {weights}, wanted at most {MAX_WEIGHTS}")
        ready = written[one["source"]]
        if not ready.all():
            raise ValueError(f"layers[{index}].source: slot {one['source']} is read before all its channels are written")
        channels = written[one["target"]][one["target_channel"] : one["target_channel"] + one["outputs"]]
        if channels.any():
            raise ValueError(f"layers[{index}].target: slot {one['target']} would have a channel written twice")
        channels[:] = True
        laid.append(one)
    last = laid[-1]["target"]
    if made[last]["channels"] != 1:
        raise ValueError(f"layers[{len(laid) - 1}].target: got {made[last]['channels']} channels, wanted 1, the score")
    idle = [i for i, channels in enumerate(written) if not channels.all()]
    if idle:
        raise ValueError(f"slots[{idle[0]}]: no layer writes all its channels, wanted every slot in use")
    return stride, made, laid
