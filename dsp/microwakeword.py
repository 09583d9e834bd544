"""Importer of published microWakeWord `.tflite` models, versions 1 and 2.

The file is a TFLite graph of one step: variables hold the past, `CONCATENATION` on the time axis joins past and present, a
`STRIDED_SLICE` of the join is assigned back. The importer follows the graph once with symbolic values, `View`: the newest
frames of some channels of a slot. A variable joined to a view turns into that slot's history, provided that exactly
that slot's newest frames are assigned back to it; a join of channels makes its parts write one slot; a split reads part of it.

Arithmetic as TFLite's integer kernels have it (found by experiment against TFLite 2.17 on x86-64, layer by layer, where no
delegate takes these graphs): rescaling by a Q31 multiplier rounded half up, then a shift whose ties go up in convolution and
dense layers, up in the depthwise kernel's vectors of 8 channels and away from zero in the channels left over, and away from
zero in product and sum; the sigmoid is a table. Anything else is refused by name.
"""

import json
import math
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farfield.flatbuffer import Buffer, Table
from farfield.modelfile import quantise_multiplier, sigmoid_table

FEATURE_UNIT = Fraction(10, 256)  # what one unit of a uint16 feature is worth at a published model's input
DEPTHWISE_VECTOR = 8  # channels that TFLite's depthwise kernel takes at a time
MOST = 1024  # tensors or operators of a graph

ADD, CONCATENATION, CONV_2D, DEPTHWISE_CONV_2D, FULLY_CONNECTED, LOGISTIC, MUL, RESHAPE = 0, 2, 3, 4, 9, 14, 18, 22
STRIDED_SLICE, SPLIT_V, QUANTIZE, CALL_ONCE, VAR_HANDLE, READ_VARIABLE, ASSIGN_VARIABLE = 45, 102, 114, 129, 142, 143, 144
NONE, RELU = 0, 1
UINT8, INT8, INT32 = 3, 9, 2
DTYPES: dict[int, np.dtype[Any]] = {UINT8: np.dtype(np.uint8), INT8: np.dtype(np.int8), INT32: np.dtype("<i4")}


def wanted(condition: Any, message: str) -> None:
    if not condition:
        raise ValueError(f"graph: {message}")


@dataclass(frozen=True)
class Tensor:
    shape: tuple[int, ...]
    type: int
    scales: NDArray[np.float32]
    zero: int
    data: NDArray[Any] | None

    @property
    def scale(self) -> float:
        wanted(len(self.scales) == 1, f"a tensor has {len(self.scales)} scales, wanted 1")
        return float(self.scales[0])


@dataclass(frozen=True)
class View:
    """The newest `frames` frames, less the newest `age`, of channels of a slot."""

    slot: int
    channel: int
    channels: int
    frames: int
    age: int = 0


@dataclass
class Past:
    """What a variable held before this step, less its oldest `dropped` frames."""

    name: bytes
    dropped: int = 0


@dataclass
class Variable:
    frames: int
    channels: int
    fill: int
    slot: int | None = None
    assigned: bool = False


@dataclass
class Operator:
    code: int
    inputs: list[int]
    outputs: list[int]
    options: Table | None

    def option(self, index: int, code: str, default: int = 0) -> int:
        return default if self.options is None else self.options.scalar(index, code, default)


def describe(stem: str, text: bytes | None) -> dict[str, Any]:
    """Word, detector settings and card out of the JSON that is published beside a model (None: there is none)."""
    try:
        about = json.loads(text) if text is not None else {}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON ({str(error)[:80]}), wanted a microWakeWord description") from None
    micro = about.get("micro", {}) if isinstance(about, dict) else None
    if not isinstance(micro, dict):
        raise ValueError("micro: wanted an object")
    card = {"imported_from": "microWakeWord", "licence": "as published", "word_ms and end_lag_ms": "not measured"}
    card |= {key: about[key] for key in ("author", "website", "trained_languages", "version") if key in about}
    if text is None:
        card["threshold"] = "no description came with the model; a guess"
    return {
        "word": about.get("wake_word", stem),
        "smoothing_steps": micro.get("sliding_window_size", 5),
        "threshold": micro.get("probability_cutoff", 0.9),
        "refractory_ms": 1000,
        "end_lag_ms": 0,
        "word_ms": 1000,
        "card": card,
    }


def quantiser(scale: float) -> dict[str, int]:
    """Multiplier below 2^31 and shift nearest to feature unit / input scale."""
    wanted(math.isfinite(scale) and 2.0**-12 < scale < 2.0**12, f"the input's scale is {scale}, wanted 2^-12 to 2^12")
    ratio = FEATURE_UNIT / Fraction(scale)
    shift = 47
    while ratio * 2**shift >= 2**31 - 1:
        shift -= 1
    return {"multiplier": math.floor(ratio * 2**shift + Fraction(1, 2)), "shift": shift}


def network(data: bytes) -> dict[str, Any]:
    """The scorer's arguments out of a `.tflite` file's bytes; ValueError that names what was wanted."""
    if data[4:8] != b"TFL3":
        raise ValueError("header: got no TFL3 mark, wanted a TensorFlow Lite model")
    return Graph(Buffer(data)).network()


@dataclass
class Graph:
    """One pass over the graph: slots, layers and variables as they come to light."""

    buffer: Buffer
    slots: list[dict[str, int]] = field(default_factory=list)
    layers: list[dict[str, Any]] = field(default_factory=list)
    variables: dict[bytes, Variable] = field(default_factory=dict)
    moved: dict[int, tuple[int, int]] = field(default_factory=dict)  # slot -> the slot it joined, first channel there

    def __post_init__(self) -> None:
        model = self.buffer.root()
        self.codes = [max(c.scalar(0, "b"), c.scalar(3, "i")) for c in model.tables(1, MOST)]
        self.buffers = model.tables(4, 4 * MOST)
        graphs = model.tables(2, 8)
        wanted(len(graphs) >= 1, "there is none")
        self.subgraphs = graphs

    def tensors(self, graph: Table) -> list[Tensor]:
        return [self.tensor(t) for t in graph.tables(0, MOST)]

    def tensor(self, table: Table) -> Tensor:
        shape = tuple(int(n) for n in table.vector(0, np.int32))
        wanted(len(shape) <= 5 and all(0 < n <= 1 << 16 for n in shape), f"a tensor has the shape {shape[:6]}")
        kind, quantisation = table.scalar(1, "b"), table.table(4)
        scales = quantisation.vector(2, np.float32) if quantisation else np.empty(0, np.float32)
        zeros = quantisation.vector(3, np.int64) if quantisation else np.empty(0, np.int64)
        wanted((np.isfinite(scales) & (scales > 0)).all(), "a tensor has a scale that is not positive")
        wanted(len(zeros) <= 1 or not zeros.any(), "a tensor has a zero point for each channel")
        zero = int(zeros[0]) if len(zeros) else 0
        index, values = table.scalar(2, "I"), None
        wanted(index < len(self.buffers), f"a tensor's data is buffer {index} of {len(self.buffers)}")
        raw = self.buffers[index].vector(0, np.uint8)
        if len(raw) and kind in DTYPES:
            dtype = DTYPES[kind]
            wanted(len(raw) == math.prod(shape) * dtype.itemsize, f"{len(raw)} bytes came for a tensor of shape {shape}")
            values = raw.view(dtype).reshape(shape)
        return Tensor(shape, kind, scales, zero, values)

    def operators(self, graph: Table, tensors: int) -> list[Operator]:
        made = []
        for table in graph.tables(3, MOST):
            code = table.scalar(0, "I")
            wanted(code < len(self.codes), f"an operator has the code {code} of {len(self.codes)}")
            inputs, outputs = ([int(i) for i in table.vector(k, np.int32)] for k in (1, 2))
            wanted(all(0 <= i < tensors for i in inputs + outputs), "an operator joins a tensor that is not there")
            made.append(Operator(self.codes[code], inputs, outputs, table.table(4)))
        return made

    # --- variables

    def initial(self, index: int) -> None:
        """The variables' first values, from the subgraph that runs once."""
        wanted(0 < index < len(self.subgraphs), f"the first values are in subgraph {index} of {len(self.subgraphs)}")
        tensors, handles = self.tensors(self.subgraphs[index]), {}
        for op in self.operators(self.subgraphs[index], len(tensors)):
            if op.code == VAR_HANDLE:
                handles[self.one(op.outputs)] = self.name(op)
                continue
            wanted(op.code == ASSIGN_VARIABLE and len(op.inputs) == 2, f"operator {op.code} sets a first value")
            name, value = handles.get(op.inputs[0]), tensors[op.inputs[1]]
            wanted(name is not None and name not in self.variables, "a variable is set twice, or has no name")
            wanted(value.data is not None and value.type == INT8, "a variable's first value is no int8 constant")
            wanted(len(value.shape) == 4 and value.shape[0] == value.shape[2] == 1, f"a variable has shape {value.shape}")
            assert name is not None and value.data is not None  # said above
            fill = int(value.data.flat[0])
            wanted((np.asarray(value.data) == fill).all(), "a variable's first values differ, wanted one value")
            self.variables[name] = Variable(value.shape[1], value.shape[3], fill)

    def one(self, items: list[int]) -> int:
        wanted(len(items) == 1, f"an operator has {len(items)} outputs, wanted 1")
        return items[0]

    def name(self, op: Operator) -> bytes:
        wanted(op.options is not None, "a variable has no name")
        assert op.options is not None
        return op.options.vector(1, np.uint8).tobytes()

    # --- slots

    def new_slot(self, channels: int, zero: int, frames: int = 1) -> View:
        self.slots.append({"frames": frames, "channels": channels, "zero": zero, "fill": zero})
        return View(len(self.slots) - 1, 0, channels, frames)

    def whole(self, view: View) -> bool:
        return view.age == 0 and view.slot not in self.moved and view.channels == self.slots[view.slot]["channels"]

    def resolve(self, view: View) -> View:
        while view.slot in self.moved:
            slot, channel = self.moved[view.slot]
            view = replace(view, slot=slot, channel=view.channel + channel)
        return view

    def fresh(self, slot: int) -> int:
        """Frames that a slot takes each step."""
        return self.stride if slot == 0 else 1

    def remember(self, past: Past, view: View) -> View:
        """The join in time of a variable's past and a view: the view's slot, looked at further back."""
        variable = self.variables[past.name]
        wanted(self.whole(view) and view.frames == self.fresh(view.slot), "a past is joined to something but the present")
        wanted(view.channels == variable.channels, "a past is joined to a present of other channels")
        wanted(variable.slot in (None, view.slot) and not variable.assigned, "a variable is joined twice")
        slot = self.slots[view.slot]
        held = [v.fill for v in self.variables.values() if v.slot == view.slot]
        wanted(all(fill == variable.fill for fill in held), "two pasts of one slot begin with different values")
        variable.slot, slot["fill"] = view.slot, variable.fill
        frames = variable.frames - past.dropped + view.frames
        slot["frames"] = max(slot["frames"], frames, variable.frames)
        return replace(view, frames=frames)

    def join(self, views: list[View], zero: int) -> View:
        """The join in channels of several slots' present: one slot that their layers write instead."""
        for view in views:
            wanted(self.whole(view) and view.slot != 0 and view.frames == 1, "a join of channels takes part of a slot")
            wanted(all(v.slot != view.slot for v in self.variables.values()), "a joined slot has a past of its own")
        wanted(len({view.slot for view in views}) == len(views), "a slot is joined with itself")
        made, at = self.new_slot(sum(view.channels for view in views), zero), 0
        for view in views:
            self.moved[view.slot] = (made.slot, at)
            at += view.channels
        return made

    # --- operators

    def view(self, index: int) -> View:
        value = self.values.get(index)
        wanted(isinstance(value, View), f"tensor {index} is used before it is made, or is not a layer's output")
        assert isinstance(value, View)
        return self.resolve(value)

    def constant(self, index: int, kind: int) -> NDArray[Any]:
        tensor = self.all[index]
        wanted(tensor.data is not None and tensor.type == kind, f"tensor {index} is no constant of the type wanted")
        assert tensor.data is not None
        return tensor.data

    def same_scale(self, *indices: int) -> None:
        first = self.all[indices[0]]
        for index in indices[1:]:
            other = self.all[index]
            wanted(other.scale == first.scale and other.zero == first.zero, "an operator moves values between scales")

    def add_layer(self, kind: str, view: View, out: int, outputs: int, **constants: Any) -> None:
        wanted(view.age == 0, "a layer reads frames that are not the newest")
        wanted(-128 <= self.all[out].zero <= 127 and self.all[out].type == INT8, f"tensor {out} is not int8")
        made = self.new_slot(outputs, self.all[out].zero)
        self.values[out] = made
        self.layers.append({"kind": kind, "source": view.slot, "source_channel": view.channel, "target": made.slot,
                            "target_channel": 0, **constants})  # fmt: skip

    def clamp(self, out: int, activation: int) -> dict[str, int]:
        wanted(activation in (NONE, RELU), f"the activation is {activation}, wanted none or ReLU")
        return {"low": self.all[out].zero if activation == RELU else -128, "high": 127}

    def weighted(self, op: Operator, kind: str, weights: NDArray[Any], activation: int, away_from: int) -> None:
        wanted(len(op.inputs) == 3, "a layer has no bias")
        out, view = self.one(op.outputs), self.view(op.inputs[0])
        outputs = weights.shape[0] if kind == "conv" else weights.shape[1]
        frames, channels = weights.shape[-2:]
        wanted((frames, channels) == (view.frames, view.channels),
               f"a layer of {frames} frames of {channels} channels reads {view.frames} of {view.channels}")  # fmt: skip
        bias = self.constant(op.inputs[2], INT32).reshape(-1)
        source, filters, target = (self.all[i] for i in (op.inputs[0], op.inputs[1], out))
        wanted(filters.zero == 0, f"the weights' zero point is {filters.zero}, wanted 0")
        wanted(len(bias) == outputs and len(filters.scales) in (1, outputs), "a layer's constants do not fit its outputs")
        wanted(math.prod(target.shape) == outputs, f"a layer of {outputs} outputs makes {target.shape}")
        if op.code == FULLY_CONNECTED:  # TFLite forms this product in float32, the others in double
            scales = np.float64(np.float32(source.scale) * filters.scales) / target.scale
        else:
            scales = np.float64(source.scale) * np.float64(filters.scales) / np.float64(target.scale)
        multiplier, shift = quantise_multiplier(np.broadcast_to(scales, outputs))
        self.add_layer(kind, view, out, outputs, weights=np.ascontiguousarray(weights), bias=np.ascontiguousarray(bias),
                       multiplier=multiplier, shift=shift, away_from=away_from, **self.clamp(out, activation))  # fmt: skip

    def conv_2d(self, op: Operator) -> None:
        weights = self.constant(op.inputs[1], INT8)
        wanted(weights.ndim == 4 and weights.shape[2] == 1, f"a convolution has weights of shape {weights.shape}")
        wanted(op.option(0, "b") == 1 or weights.shape[1] == 1, "a convolution is padded, wanted VALID")
        wanted(op.option(4, "i", 1) == op.option(5, "i", 1) == 1, "a convolution is dilated")
        self.weighted(op, "conv", weights[:, :, 0, :], op.option(3, "b"), weights.shape[0])

    def depthwise(self, op: Operator) -> None:
        weights = self.constant(op.inputs[1], INT8)
        wanted(weights.ndim == 4 and weights.shape[0] == weights.shape[2] == 1, f"a depthwise has weights {weights.shape}")
        wanted(op.option(0, "b") == 1 or weights.shape[1] == 1, "a depthwise convolution is padded, wanted VALID")
        wanted(op.option(3, "i") == op.option(5, "i", 1) == op.option(6, "i", 1) == 1, "a depthwise is dilated or multiplied")
        vectors = weights.shape[3] // DEPTHWISE_VECTOR * DEPTHWISE_VECTOR
        self.weighted(op, "depthwise", weights[0, :, 0, :], op.option(4, "b"), vectors)

    def fully_connected(self, op: Operator) -> None:
        weights, view = self.constant(op.inputs[1], INT8), self.view(op.inputs[0])
        wanted(op.option(1, "b") == 0, "a dense layer's weights are shuffled")
        wanted(weights.ndim == 2 and weights.shape[1] == view.frames * view.channels, f"a dense layer has {weights.shape}")
        shaped = weights.reshape(weights.shape[0], view.frames, view.channels)
        self.weighted(op, "conv", shaped, op.option(0, "b"), weights.shape[0])

    def logistic(self, op: Operator) -> None:
        view, out = self.view(op.inputs[0]), self.one(op.outputs)
        wanted(self.all[out].scale == 1 / 256 and self.all[out].zero == -128, "a sigmoid's output is not in 256ths")
        wanted(view.frames == 1, "a sigmoid takes several frames")
        table = sigmoid_table(self.all[op.inputs[0]].scale, self.all[op.inputs[0]].zero)
        self.add_layer("table", view, out, view.channels, table=np.ascontiguousarray(np.tile(table, (view.channels, 1))))

    def elementwise(self, op: Operator) -> None:
        """Product or sum with an int8 constant, as a table for each channel."""
        wanted(len(op.inputs) == 2, "a product or sum has not two inputs")
        view, out = self.view(op.inputs[0]), self.one(op.outputs)
        fixed = self.constant(op.inputs[1], INT8)
        source, other, target = (self.all[i] for i in (op.inputs[0], op.inputs[1], out))
        wanted(view.frames == 1 and math.prod(source.shape) == view.channels, "a product or sum takes several frames")
        each = np.broadcast_to(fixed, source.shape).reshape(-1).astype(np.int64) - other.zero
        x = np.arange(-128, 128, dtype=np.int64) - source.zero
        if op.code == MUL:
            y = rescale(x * each[:, None], np.float64(source.scale) * np.float64(other.scale) / target.scale)
        else:
            widest = 2 * max(source.scale, other.scale)
            total = rescale(x << 20, source.scale / widest) + rescale(each << 20, other.scale / widest)[:, None]
            y = rescale(total, widest / ((1 << 20) * target.scale))
        limits = self.clamp(out, op.option(0, "b"))
        table = np.clip(y + target.zero, limits["low"], limits["high"]).astype(np.int8)
        self.add_layer("table", view, out, view.channels, table=np.ascontiguousarray(table))

    def concatenation(self, op: Operator) -> None:
        out = self.one(op.outputs)
        wanted(len(op.inputs) >= 1 and op.option(1, "b") == NONE, "a join has an activation, or no inputs")
        self.same_scale(*op.inputs, out)
        axis = op.option(0, "i") % 4
        wanted(axis in (1, 3) and len(self.all[out].shape) == 4, f"a join on axis {axis}, wanted time or channels")
        first = self.values.get(op.inputs[0])
        if axis == 1 and isinstance(first, Past):
            wanted(len(op.inputs) == 2, "a past is joined to several things")
            self.values[out] = self.remember(first, self.view(op.inputs[1]))
        else:
            wanted(axis == 3, "a join in time without a past")
            self.values[out] = self.join([self.view(i) for i in op.inputs], self.all[out].zero)

    def strided_slice(self, op: Operator) -> None:
        wanted(len(op.inputs) == 4, "a slice has not four inputs")
        begin, end, strides = (self.constant(i, INT32).reshape(-1) for i in op.inputs[1:])
        masks = [op.option(k, "i") for k in range(5)]
        shape, value = self.all[op.inputs[0]].shape, self.values.get(op.inputs[0])
        wanted(len(shape) == len(begin) == len(end) == len(strides) == 4 and not any(masks[2:]), "a slice is not of 4 axes")
        wanted((strides == 1).all(), "a slice leaves gaps")
        first = [None if masks[0] >> k & 1 else int(begin[k]) for k in range(4)]
        beyond = [None if masks[1] >> k & 1 else int(end[k]) for k in range(4)]
        bounds = [slice(first[k], beyond[k]).indices(shape[k]) for k in range(4)]
        wanted(all(bounds[k][:2] == (0, shape[k]) for k in (0, 2, 3)), "a slice is not in time")
        start, stop, _ = bounds[1]
        wanted(start < stop, "a slice is empty")
        if isinstance(value, Past):
            wanted(stop == shape[1], "a past loses its newest frames")
            self.values[self.one(op.outputs)] = replace(value, dropped=value.dropped + start)
        else:
            view = self.view(op.inputs[0])
            wanted(view.frames == shape[1], f"a slice of {shape[1]} frames takes {view.frames}")
            self.values[self.one(op.outputs)] = replace(view, frames=stop - start, age=view.age + view.frames - stop)

    def split(self, op: Operator) -> None:
        wanted(len(op.inputs) == 3, "a split has not three inputs")
        view, sizes = self.view(op.inputs[0]), self.constant(op.inputs[1], INT32).reshape(-1)
        axis = self.constant(op.inputs[2], INT32).reshape(-1)
        wanted(len(axis) == 1 and int(axis[0]) in (3, -1), "a split is not of channels")
        wanted(len(sizes) == len(op.outputs) and (sizes > 0).all() and int(sizes.sum()) == view.channels,
               f"a split of {view.channels} channels does not add up")  # fmt: skip
        self.same_scale(op.inputs[0], *op.outputs)
        at = view.channel
        for size, out in zip(sizes, op.outputs, strict=True):
            self.values[out] = replace(view, channel=at, channels=int(size))
            at += int(size)

    def move(self, op: Operator) -> None:
        """Reshape: the same values. Quantise: int8 to uint8 of the same scale, which the scorer's output is."""
        out = self.one(op.outputs)
        wanted(op.inputs, "an operator has no input")
        source, target = self.all[op.inputs[0]], self.all[out]
        wanted(math.prod(source.shape) == math.prod(target.shape), f"{source.shape} is reshaped to {target.shape}")
        wanted(source.scale == target.scale, "an operator moves values between scales")
        if op.code == QUANTIZE:
            wanted(source.type == INT8 and target.type == UINT8 and target.zero == source.zero + 128, "an odd quantise")
        else:
            wanted(source.zero == target.zero and source.type == target.type, "an operator moves values between scales")
        self.values[out] = self.view(op.inputs[0])

    def assign(self, op: Operator) -> None:
        wanted(len(op.inputs) == 2, "an assignment has not two inputs")
        name, view = self.handles.get(op.inputs[0]), self.view(op.inputs[1])
        variable = self.variables.get(name) if name is not None else None
        wanted(variable is not None and not variable.assigned, "an assignment to no variable, or a second one")
        assert variable is not None
        wanted(self.whole(view) and (view.slot, view.frames) == (variable.slot, variable.frames),
               "a variable is given something but the newest frames of what it is joined to")  # fmt: skip
        variable.assigned = True

    def read(self, op: Operator) -> None:
        name = self.handles.get(op.inputs[0]) if op.inputs else None
        variable, out = self.variables.get(name) if name is not None else None, self.one(op.outputs)
        wanted(variable is not None and not variable.assigned, "a variable is read after its assignment, or was never set")
        assert name is not None and variable is not None
        wanted(self.all[out].shape == (1, variable.frames, 1, variable.channels), "a variable is read in another shape")
        self.values[out] = Past(name)

    def network(self) -> dict[str, Any]:
        """Follow the graph from its input to its output."""
        graph = self.subgraphs[0]
        self.all = self.tensors(graph)
        operators = self.operators(graph, len(self.all))
        ends = [[int(i) for i in graph.vector(k, np.int32)] for k in (1, 2)]
        wanted([len(e) for e in ends] == [1, 1] and all(0 <= e[0] < len(self.all) for e in ends), "not one input, one output")
        entry, exit_ = self.all[ends[0][0]], ends[1][0]
        wanted(entry.type == INT8 and len(entry.shape) == 3 and entry.shape[0] == 1, f"the input is {entry.shape}, not int8")
        wanted(-128 <= entry.zero <= 127, f"the input's zero point is {entry.zero}")
        self.stride = entry.shape[1]
        self.handles: dict[int, bytes] = {}
        self.values: dict[int, View | Past] = {}
        self.values[ends[0][0]] = self.new_slot(entry.shape[2], entry.zero, frames=self.stride)
        calls = {ADD: self.elementwise, MUL: self.elementwise, CONCATENATION: self.concatenation, CONV_2D: self.conv_2d,
                 DEPTHWISE_CONV_2D: self.depthwise, FULLY_CONNECTED: self.fully_connected, LOGISTIC: self.logistic,
                 RESHAPE: self.move, QUANTIZE: self.move, STRIDED_SLICE: self.strided_slice, SPLIT_V: self.split,
                 READ_VARIABLE: self.read, ASSIGN_VARIABLE: self.assign}  # fmt: skip
        for op in operators:
            if op.code == CALL_ONCE:
                self.initial(op.option(0, "i"))
            elif op.code == VAR_HANDLE:
                self.handles[self.one(op.outputs)] = self.name(op)
            else:
                wanted(op.code in calls, f"operator {op.code} is not one that these models use")
                wanted(op.inputs and (op.code != CONV_2D or len(op.inputs) == 3), "an operator has too few inputs")
                calls[op.code](op)
        wanted(all(v.assigned for v in self.variables.values()), "a variable is never assigned")
        last = self.view(exit_)
        score = self.all[exit_]
        wanted(score.scale == 1 / 256 and (score.type, score.zero) in ((UINT8, 0), (INT8, -128)), "the score is not in 256ths")
        wanted(self.layers and self.final(self.layers[-1]["target"])[0] == last.slot, "the output is not the last layer's")
        return {"stride": self.stride, "quantiser": quantiser(entry.scale), **self.numbered()}

    def final(self, slot: int) -> tuple[int, int]:
        view = self.resolve(View(slot, 0, 1, 1))
        return view.slot, view.channel

    def numbered(self) -> dict[str, Any]:
        """Slots and layers with the slots that were joined away left out, and the rest numbered anew."""
        kept = [i for i in range(len(self.slots)) if i not in self.moved]
        number = {slot: i for i, slot in enumerate(kept)}
        for layer in self.layers:
            for side in ("source", "target"):
                slot, channel = self.final(layer[side])
                layer[side] = number[slot]
                layer[f"{side}_channel"] += channel
        return {"slots": [self.slots[i] for i in kept], "layers": self.layers}


def rescale(x: NDArray[np.int64], scale: float) -> NDArray[np.int64]:
    """x * scale as TFLite's integer kernels round it: the Q31 product half up, then the shift, ties away from zero."""
    multiplier, exponent = (int(n[0]) for n in quantise_multiplier([scale]))
    left, right = max(exponent, 0), max(-exponent, 0)
    high = ((x << left) * multiplier + (1 << 30)) >> 31
    return high if right == 0 else (high + (1 << (right - 1)) - (high < 0)) >> right
