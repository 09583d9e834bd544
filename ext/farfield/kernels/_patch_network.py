"""The check of a network over a stream of energies, and its constants laid out for the inner loops.

Its layers run one after the other, over (rows, columns, channels): rows are time, columns bins. A convolution leaves as many
columns as it finds and `rows - 1` rows less; a pool divides both. So how many frames one output needs (the field), and how many
frames lie between two outputs (the hop), follow from the layers.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from farfield.kernels import _boundary
from farfield.kernels._network import (
    INT32_LIMIT,
    MAX_CHANNELS,
    MAX_LAYERS,
    MAX_WEIGHTS,
    SPREAD,
    padded,
    requantiser,
    side_by_side,
    unknown,
)

MAX_BINS = 1024
MAX_FRAMES = 4096
MAX_ROWS = 7  # of a kernel or a pool
MAX_PATCH = 4 << 20  # values between two layers
FARTHEST = 255  # a value from its zero point

CONV, POOL = 0, 1
QUANTISER = {"multiplier": (1, (1 << 31) - 1), "shift": (1, 47), "offset": (-128, 127), "zero": (-128, 127)}
CONSTANTS = ("kind", "weights", "bias", "multiplier", "shift", "zero", "floor", "leak")


class Checked(dict):
    """What `check` made of a network; it stands for the layers where another stream goes through the same ones."""


def quantiser(given: Any) -> dict[str, int]:
    if not isinstance(given, Mapping):
        raise TypeError(f"quantiser: got {type(given).__name__}, wanted a mapping")
    unknown("quantiser", given, QUANTISER)
    return {key: _boundary.count(f"quantiser.{key}", given.get(key), *limits) for key, limits in QUANTISER.items()}


def pool(name: str, given: Mapping, columns: int, channels: int, zero: int) -> dict[str, Any]:
    unknown(name, given, ("kind", "rows", "columns"))
    rows = _boundary.count(f"{name}.rows", given.get("rows"), 1, MAX_ROWS)
    across = _boundary.count(f"{name}.columns", given.get("columns"), 1, min(MAX_ROWS, columns))
    return {"kind": POOL, "rows": rows, "columns": across, "wide": columns, "channels": channels,
            "narrow": columns // across, "outputs": channels, "zero": zero}  # fmt: skip


def conv(name: str, given: Mapping, columns: int, channels: int, zero: int) -> dict[str, Any]:
    unknown(name, given, CONSTANTS)
    weights = _boundary.array(f"{name}.weights", given.get("weights"), np.int8, (None, None, None, channels))
    outputs, rows, across, _ = weights.shape
    if not (1 <= outputs <= MAX_CHANNELS and 1 <= rows <= MAX_ROWS and across in (1, 3)):
        raise ValueError(f"{name}.weights: got shape {weights.shape}, "
                         f"wanted 1 to {MAX_CHANNELS} outputs, 1 to {MAX_ROWS} rows and 1 or 3 columns")  # fmt: skip
    bias = _boundary.array(f"{name}.bias", given.get("bias"), np.int32, (outputs,))
    bound = np.abs(bias.astype(np.int64)) + FARTHEST * np.abs(weights.astype(np.int64)).sum(axis=(1, 2, 3))
    if (bound >= INT32_LIMIT).any():
        raise ValueError(f"{name}.weights: an accumulator could reach {bound.max()}, wanted less than 2^31")
    made = _boundary.count(f"{name}.zero", given.get("zero"), -128, 127)
    floor = _boundary.count(f"{name}.floor", given.get("floor"), -FARTHEST, 0)
    leak = _boundary.count(f"{name}.leak", given.get("leak"), 0, 1024)
    scaling = requantiser(name, {**given, "away_from": outputs}, outputs, bound)
    del scaling["tie"]
    return {
        "kind": CONV, "rows": rows, "columns": across, "wide": columns, "channels": channels,
        "narrow": columns, "outputs": outputs, "zero": made, "leak": leak,
        "low": max(floor, -128 - made), "high": 127 - made,
        "weights": side_by_side(weights.reshape(outputs, rows, across * channels)),
        "bias": padded(bias, SPREAD), **{key: padded(values, SPREAD) for key, values in scaling.items()},
    }  # fmt: skip


def spans(layers: list[dict[str, Any]]) -> tuple[int, int]:
    """The frames that one output needs, and those between two outputs."""
    field, hop = 1, 1
    for layer in reversed(layers):
        if layer["kind"] == POOL:
            field, hop = field * layer["rows"], hop * layer["rows"]
        else:
            field += layer["rows"] - 1
    return field, hop


def room(layers: list[dict[str, Any]], bins: int, frames: int) -> int:
    """Values of the largest patch, with its two margins: what any layer finds, behind the rows that it kept, or leaves.

    A layer never keeps as many rows as its kernel or pool has.
    """
    largest, rows, length = 0, frames, bins + 2
    for layer in layers:
        rows += layer["rows"] - 1
        largest = max(largest, rows * length)
        rows = rows // layer["rows"] if layer["kind"] == POOL else rows - layer["rows"] + 1
        length = (layer["narrow"] + 2) * layer["outputs"]
    return max(largest, rows * length)


def check(bins: Any, given: Any, layers: Any, most_frames: Any) -> Checked:
    """The whole network, checked; TypeError or ValueError that names the field, what came and what was wanted."""
    if isinstance(layers, Checked):
        return layers
    bins = _boundary.count("bins", bins, 1, MAX_BINS)
    scaling = quantiser(given)
    if not isinstance(layers, list | tuple):
        raise TypeError(f"layers: got {type(layers).__name__}, wanted a list")
    if not 1 <= len(layers) <= MAX_LAYERS:
        raise ValueError(f"layers: got {len(layers)}, wanted 1 to {MAX_LAYERS}")
    laid: list[dict[str, Any]] = []
    columns, channels, zero, weights = bins, 1, scaling["zero"], 0
    for index, layer in enumerate(layers):
        name = f"layers[{index}]"
        if not isinstance(layer, Mapping):
            raise TypeError(f"{name}: got {type(layer).__name__}, wanted a mapping")
        kind = layer.get("kind")
        if kind not in ("conv", "pool"):
            raise ValueError(f"{name}.kind: got {kind!r}, wanted conv or pool")
        made = (conv if kind == "conv" else pool)(name, layer, columns, channels, zero)
        columns, channels, zero = made["narrow"], made["outputs"], made["zero"]
        weights += made["weights"].size if kind == "conv" else 0
        if weights > MAX_WEIGHTS:
            raise ValueError(f"{name}: the weights so far are {weights}, wanted at most {MAX_WEIGHTS}")
        laid.append(made)
    if columns != 1:
        raise ValueError(f"layers: got {columns} columns after the last one, wanted 1; pool them")
    field, hop = spans(laid)
    if field > MAX_FRAMES:
        raise ValueError(f"layers: an output needs {field} frames, wanted at most {MAX_FRAMES}")
    most = _boundary.count("most_frames", most_frames, 1, MAX_FRAMES)
    size = room(laid, bins, most)
    if size > MAX_PATCH:
        raise ValueError(f"most_frames: {most} need {size} values between two layers, wanted at most {MAX_PATCH}")
    return Checked(bins=bins, quantiser=scaling, layers=laid, field=field, hop=hop, outputs=channels, most_frames=most, room=size)
