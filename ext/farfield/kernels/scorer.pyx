# distutils: language = c
"""Streaming int8 convolutional network over the micro front end's features.

Input quantiser (the one definition; exact on every machine), for a uint16 feature f:
    q = min((f * M + 2^(S-1)) >> S, 127 - z) + z            M below 2^31, S 1 to 47, z the input's zero point
with M / 2^S the ratio of the feature's unit (10 / 256) to the model's input scale, rounded half up.

Each layer, after Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only
inference" (2018), with x the int8 input, X its zero point, w the int8 weights (zero point 0, one scale an output channel):
    conv        a[o] = b[o] + sum over t, c of w[o, t, c] * (x[t, c] - X)      pointwise: one frame; dense: all frames
    depthwise   a[c] = b[c] + sum over t of w[t, c] * (x[t, c] - X)            mixed kernels: one such layer a group
    h = (a * 2^left * m + 2^30) >> 31                                          m Q31, 2^30 to 2^31 - 1
    r = (h + 2^(right-1) - [h < 0 and o >= away_from]) >> right                right 0: r = h
    y = min(max(r + Y, low), high)                                             ReLU: low = Y, the output's zero point
    table       y = table[c][x + 128]                                          sigmoid; product and sum with constants

Two roundings, because TFLite rounds twice. The second one's ties go up; in the last `outputs - away_from` outputs they go away
from zero, which is what TFLite's depthwise kernel does to the channels that its vectors leave over. A model says where.

Formats. Slots hold x - X as int16, within +-255, so that no zero point is left in the loops; weights are widened to int16
and laid out in the constructor, so that pairs multiply and add in one instruction (`products.pxd`) and each lane is an output
of its own; a convolution of few outputs takes one dot product each instead. The accumulator is int32: the constructor refuses
a channel where |b| + sum |w| * max |x - X| could reach 2^31, or (that << left) + 2^(right-1) + 1 could. The product with m
is int64, below 2^62.

Streaming: a step runs each `stride` frames. A slot keeps its history in one piece of memory with room behind it; when the
room is used up, the history moves back to the front, so that every window is contiguous.
"""

import numpy as np

from farfield.kernels import _boundary, _network

cimport cython
cimport numpy as cnp

from farfield.kernels.boundary cimport ANY, apart, matrix, new_matrix, new_vector, vector
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memmove

from farfield.kernels.products cimport columns, spread

cdef enum:
    CONV = 0
    DEPTHWISE = 1
    TABLE = 2
    SPREAD = 32         # of `_network`

cdef struct Slot:
    int16_t *memory     # room for `capacity` frames
    int frames          # how far back a layer looks
    int channels
    int capacity
    int end             # one past the newest frame
    int16_t fill        # what every value is after a reset

cdef struct Layer:
    int kind
    Slot *source
    Slot *target
    int source_channel
    int target_channel
    int frames          # of the window
    int channels        # read a frame
    int outputs
    int wide            # conv: outputs lie side by side in the weights, see `_network.side_by_side`
    int rows            # pieces of contiguous memory in the window
    int length          # values in each, padded
    int32_t low
    int32_t high
    const int16_t *weights
    const int32_t *bias
    const int32_t *multiplier
    const int32_t *scale
    const int32_t *half
    const int32_t *tie
    const int32_t *right


cdef inline int32_t dot(const int16_t *x, const int16_t *w, int n) noexcept nogil:
    """Sum of x * w. The caller has bounded it below 2^31; nothing rounds, nothing saturates."""
    cdef int32_t total = 0
    cdef int i
    for i in range(n):
        total += <int32_t> x[i] * <int32_t> w[i]
    return total


cdef inline int16_t *append(Slot *slot, int frames) noexcept nogil:
    """Where the next `frames` frames go; the history moves to the front first where there is no room behind it."""
    cdef int keep
    if slot.end + frames > slot.capacity:
        keep = slot.frames if slot.frames < slot.end else slot.end
        memmove(slot.memory, slot.memory + (slot.end - keep) * slot.channels, keep * slot.channels * sizeof(int16_t))
        slot.end = keep
    slot.end += frames
    return slot.memory + (slot.end - frames) * slot.channels


cdef inline const int16_t *window(const Slot *slot, int frames, int channel) noexcept nogil:
    return slot.memory + (slot.end - frames) * slot.channels + channel


cdef inline void requantise(const Layer *layer, const int32_t *acc, int16_t *out) noexcept nogil:
    """Accumulators to outputs: the Q31 product rounded half up, the shift with its ties, then the clamp."""
    cdef const int32_t *multiplier = layer.multiplier
    cdef const int32_t *scale = layer.scale
    cdef const int32_t *half = layer.half
    cdef const int32_t *tie = layer.tie
    cdef const int32_t *right = layer.right
    cdef int32_t low = layer.low, high = layer.high, h, r
    cdef int c
    for c in range(layer.outputs):
        # Only the low 32 bits after the shift are kept, so that a logical shift does for an arithmetic one.
        h = <int32_t> (<uint64_t> (<int64_t> (acc[c] * scale[c]) * <int64_t> multiplier[c] + (1 << 30)) >> 31)
        r = (h + half[c] + ((h >> 31) & tie[c])) >> right[c]
        r = r if r > low else low
        out[c] = <int16_t> (r if r < high else high)


cdef inline void conv(const Layer *layer, int32_t *acc) noexcept nogil:
    cdef const int16_t *x = window(layer.source, layer.frames, layer.source_channel)
    cdef const int16_t *w = layer.weights
    cdef int step = layer.source.channels, rows = layer.rows, length = layer.length
    cdef int32_t total
    cdef int o, t
    for o in range(layer.outputs):
        total = layer.bias[o]
        for t in range(rows):
            total += dot(x + t * step, w, length)
            w += length
        acc[o] = total


cdef inline void wide_conv(const Layer *layer, int32_t *acc) noexcept nogil:
    """SPREAD outputs at a time; lanes past the last output have zero weights and no reader."""
    cdef const int16_t *x = window(layer.source, layer.frames, layer.source_channel)
    cdef const int16_t *w = layer.weights
    cdef int step = layer.source.channels, rows = layer.rows, length = layer.length
    cdef int o, t
    for o in range((layer.outputs + SPREAD - 1) // SPREAD):
        memcpy(acc, layer.bias + o * SPREAD, SPREAD * sizeof(int32_t))
        for t in range(rows):
            spread(acc, x + t * step, w, length // 2)
            w += SPREAD * length
        acc += SPREAD


cdef inline void depthwise(const Layer *layer, int32_t *acc) noexcept nogil:
    cdef const int16_t *x = window(layer.source, layer.frames, layer.source_channel)
    memcpy(acc, layer.bias, layer.length * sizeof(int32_t))
    columns(acc, x, layer.source.channels, layer.weights, layer.length, layer.frames)


cdef inline void lookup(const Layer *layer, int zero, int16_t *out) noexcept nogil:
    cdef const int16_t *x = window(layer.source, 1, layer.source_channel)
    cdef int c
    for c in range(layer.outputs):
        out[c] = layer.weights[256 * c + x[c] + zero + 128]


cdef class Scorer:
    """Wake-word scorer: uint16 features in, one uint8 score each `stride` frames out.

    stride: frames a step. quantiser: mapping of multiplier, shift. slots: list of mappings of frames, channels, zero, fill.
    layers: list of mappings of kind ('conv', 'depthwise', 'table'), source, source_channel, target, target_channel, and
    weights int8 (outputs, frames, channels) or, depthwise, (frames, channels); bias, multiplier int32 (outputs,);
    shift int8 (outputs,); away_from, the first output whose ties go away from zero; low, high; or, for a table, table int8 (channels, 256).
    The last layer's slot has one channel: the score, its int8 value + 128.
    Errors: TypeError and ValueError that name the field, what came and what was wanted.
    """

    cdef Slot *slots
    cdef Layer *layers
    cdef int32_t *acc
    cdef int slot_count
    cdef int layer_count
    cdef int pending            # frames of the next step that have come
    cdef readonly int stride
    cdef readonly int channels
    cdef readonly double output_scale
    cdef uint64_t multiplier
    cdef int shift
    cdef int zero
    cdef int *zero_points
    cdef list kept              # arrays that the layers point into

    def __cinit__(self, stride, quantiser, slots, layers):
        self.stride, made, laid = _network.check(stride, slots, layers)
        if set(quantiser) != {"multiplier", "shift"}:
            raise ValueError(f"quantiser: got {sorted(map(str, quantiser))}, wanted multiplier and shift")
        self.multiplier = _boundary.count("quantiser.multiplier", quantiser["multiplier"], 1, (1 << 31) - 1)
        self.shift = _boundary.count("quantiser.shift", quantiser["shift"], 1, 47)
        self.zero = made[0]["zero"]
        self.channels = made[0]["channels"]
        self.output_scale = 0.00390625  # 1 / 256
        self.slot_count, self.layer_count = len(made), len(laid)
        self.slots = <Slot *> calloc(self.slot_count, sizeof(Slot))
        self.layers = <Layer *> calloc(self.layer_count, sizeof(Layer))
        self.zero_points = <int *> calloc(self.slot_count, sizeof(int))
        self.acc = <int32_t *> calloc(_network.MAX_CHANNELS, sizeof(int32_t))
        if not (self.slots and self.layers and self.zero_points and self.acc):
            raise MemoryError("scorer: no memory for its network")
        for index, slot in enumerate(made):
            self.lay_slot(index, slot)
        self.kept = []
        for index, layer in enumerate(laid):
            self.lay_layer(index, layer)
        self.reset()

    def __dealloc__(self):
        cdef int i
        if self.slots:
            for i in range(self.slot_count):
                free(self.slots[i].memory)
        free(self.slots)
        free(self.layers)
        free(self.zero_points)
        free(self.acc)

    cdef int lay_slot(self, int index, dict slot) except -1:
        cdef Slot *s = &self.slots[index]
        s.frames, s.channels = slot["frames"], slot["channels"]
        s.capacity = s.frames + self.stride + _network.SPARE_FRAMES
        s.fill = slot["fill"] - slot["zero"]
        self.zero_points[index] = slot["zero"]
        # Padded sums read up to a block past the newest frame, against weights that are 0.
        s.memory = <int16_t *> calloc(s.capacity * s.channels + _network.BLOCK, sizeof(int16_t))
        if not s.memory:
            raise MemoryError("scorer: no memory for its slots")
        return 0

    cdef const int32_t *int32s(self, array) except? NULL:
        cdef const int32_t[::1] view = array
        self.kept.append(array)
        return &view[0]

    cdef int lay_layer(self, int index, dict layer) except -1:
        cdef Layer *l = &self.layers[index]
        cdef const int16_t[::1] weights = layer["weights"].reshape(-1)
        self.kept.append(layer["weights"])
        l.kind, l.frames, l.channels, l.outputs = layer["kind"], layer["frames"], layer["channels"], layer["outputs"]
        l.source, l.target = &self.slots[<int> layer["source"]], &self.slots[<int> layer["target"]]
        l.source_channel, l.target_channel = layer["source_channel"], layer["target_channel"]
        l.weights = &weights[0]
        if l.kind != TABLE:
            l.wide, l.rows, l.length = layer["wide"], layer["rows"], layer["length"]
            l.low, l.high = layer["low"], layer["high"]
            l.bias, l.multiplier = self.int32s(layer["bias"]), self.int32s(layer["multiplier"])
            l.scale, l.half = self.int32s(layer["scale"]), self.int32s(layer["half"])
            l.tie, l.right = self.int32s(layer["tie"]), self.int32s(layer["right"])
        return 0

    def reset(self):
        """Back to the state after construction: every slot full of its `fill`, no frame pending."""
        cdef Slot *s
        cdef int i, j
        for i in range(self.slot_count):
            s = &self.slots[i]
            for j in range(s.capacity * s.channels):
                s.memory[j] = s.fill
            s.end = s.frames
        self.pending = 0

    def slot(self, index):
        """What slot `index` holds now: int8 (frames, channels), oldest first, values with their zero point.

        A copy. After a reset it is full of the slot's `fill`. TypeError, ValueError: no slot of this network.
        """
        cdef const Slot *s = &self.slots[<int> _boundary.count("index", index, 0, self.slot_count - 1)]
        cdef cnp.ndarray made = new_matrix(cnp.NPY_INT8, s.frames, s.channels)
        cdef int8_t *out = <int8_t *> cnp.PyArray_DATA(made)
        cdef const int16_t *held = window(s, s.frames, 0)
        cdef int zero = self.zero_points[s - self.slots], i
        for i in range(s.frames * s.channels):
            out[i] = <int8_t> (held[i] + zero)
        return made

    def process(self, features, out=None):
        """Scores of the steps that these frames complete: uint8 (steps,), probability = score * output_scale.

        features: uint16 (frames, channels), any number of frames; what is left of a step is kept for the next call.
        out: None or uint8 (steps,), written and returned.
        """
        cdef cnp.ndarray given = matrix("features", features, cnp.NPY_UINT16, ANY, self.channels)
        cdef Py_ssize_t frames = cnp.PyArray_DIM(given, 0)
        cdef Py_ssize_t steps = (self.pending + frames) // self.stride
        cdef cnp.ndarray made = new_vector(cnp.NPY_UINT8, steps) if out is None else vector(
            "out", out, cnp.NPY_UINT8, steps, writable=True)
        apart("out", made, given)
        cdef const uint16_t *source = <const uint16_t *> cnp.PyArray_DATA(given)
        cdef uint8_t *scores = <uint8_t *> cnp.PyArray_DATA(made)
        with nogil:
            self.run(source, frames, scores)
        return made

    cdef void run(self, const uint16_t *features, Py_ssize_t frames, uint8_t *scores) noexcept nogil:
        cdef Py_ssize_t i
        for i in range(frames):
            self.take(features + i * self.channels)
            self.pending += 1
            if self.pending == self.stride:
                self.pending = 0
                scores[0] = self.step()
                scores += 1

    cdef inline void take(self, const uint16_t *features) noexcept nogil:
        """One frame through the input quantiser into slot 0."""
        cdef int16_t *out = append(&self.slots[0], 1)
        cdef uint64_t multiplier = self.multiplier, half = <uint64_t> 1 << (self.shift - 1), q
        cdef int shift = self.shift, top = 127 - self.zero, c
        for c in range(self.channels):
            q = (features[c] * multiplier + half) >> shift
            out[c] = <int16_t> (q if q < <uint64_t> top else top)

    cdef inline uint8_t step(self) noexcept nogil:
        cdef Layer *layer
        cdef Slot *last = self.layers[self.layer_count - 1].target
        cdef int16_t *out
        cdef int i
        for i in range(1, self.slot_count):
            append(&self.slots[i], 1)
        for i in range(self.layer_count):
            layer = &self.layers[i]
            out = layer.target.memory + (layer.target.end - 1) * layer.target.channels + layer.target_channel
            if layer.kind == TABLE:
                lookup(layer, self.zero_points[layer.source - self.slots], out)
                continue
            if layer.wide:
                wide_conv(layer, self.acc)
            elif layer.kind == CONV:
                conv(layer, self.acc)
            else:
                depthwise(layer, self.acc)
            requantise(layer, self.acc, out)
        i = <int> (last - self.slots)
        return <uint8_t> (last.memory[last.end - 1] + self.zero_points[i] + 128)
