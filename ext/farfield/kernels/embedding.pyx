# distutils: language = c
"""Int8 two-dimensional convolutional network over a stream of log energies: what was said, as a vector every `hop` frames.

It is made for the network of Lin, Kilgour, Roblek and Sharifi, "Training keyword spotters with limited and synthesized speech
data", ICASSP 2020 (Google's speech_embedding): 20 convolutions of 3x3, 1x3 and 3x1 values, pools of the largest between them.

Rows are frames, columns bins. The input quantiser, for a uint16 energy e, with Z its zero point (what 0 is in the real network):
    x = min(((e * M + 2^(S-1)) >> S) + offset, 127)                     M below 2^31, S 1 to 47
Each layer, the arithmetic the scorer's (Jacob et al., 2018), x the input and X its zero point:
    conv    a[i, j, o] = b[o] + sum over r, k, c of w[o, r, k, c] * (x[i + r, j + k - 1, c] - X)      k is 1 for one column
            h = (a * 2^left * m + 2^30) >> 31                           m Q31, 2^30 to 2^31 - 1
            r = (h + 2^(right-1)) >> right                              right 0: r = h
            r = r if r >= 0 else (r * leak + 512) >> 10                 leak Q10: 1024 is none
            y = min(max(max(r, floor) + Y, -128), 127)                  Y the output's zero point
    pool    y[i, j, c] = max of x[R i .. R i + R - 1, K j .. K j + K - 1, c]
A column before the first and after the last holds X, so that it adds nothing; time has no such margin, each output is made of
frames that came. One output needs `field` frames, 76 for that network: 42 million multiply-adds. Each further one, `hop` frames
later, needs 6 million: every layer keeps the rows that its next output needs too, rows - 1 of a convolution and those of a pool
that is not full, 28 KB at most.

Formats. Patches hold x - X as int16, within +-255, as (row, column with a margin on both sides, channel): one row of a kernel is
one piece of memory. Weights are widened to int16 and laid out so that 32 outputs lie side by side (`products.pxd`). The int32
accumulator: the constructor refuses an output where |b| + 255 * sum |w| could reach 2^31, or (that << left) + 2^(right-1) + 1
could; the product with m is int64, below 2^62. Before the leak r is held above -2^20, so that r * leak fits int32: what lies
lower comes out below every floor, or as 0 where the leak is 0, either way.
"""

from farfield.kernels import _boundary, _network, _patch_network

cimport numpy as cnp

from farfield.kernels.boundary cimport ANY, apart, matrix, new_matrix
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint16_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from farfield.kernels.products cimport spread

cnp.import_array()

cdef enum:
    CONV = 0
    POOL = 1
    SPREAD = 32             # of `_network`
    DEEPEST = -(1 << 20)

cdef struct Layer:
    int kind
    int rows                # of the kernel, or of the pool
    int columns
    int wide                # columns of the input
    int narrow              # columns of the output
    int channels
    int outputs
    int length              # values of one row of the kernel, even
    int held                # rows of the input that are kept from call to call
    int16_t *keeps
    int32_t leak
    int32_t low
    int32_t high
    const int16_t *weights  # of everything below, SPREAD at a time
    const int32_t *bias
    const int32_t *multiplier
    const int32_t *scale
    const int32_t *half
    const int32_t *right


cdef inline void requantise(const Layer *layer, int first, const int32_t *acc, int16_t *out) noexcept nogil:
    """SPREAD accumulators to outputs: the Q31 product and the shift, both rounded half up, the leak, the clamp."""
    cdef const int32_t *multiplier = layer.multiplier + first
    cdef const int32_t *scale = layer.scale + first
    cdef const int32_t *half = layer.half + first
    cdef const int32_t *right = layer.right + first
    cdef int32_t low = layer.low, high = layer.high, leak = layer.leak, h, r, below
    cdef int c
    for c in range(SPREAD):
        # Only the low 32 bits after the shift are kept, so that a logical shift does for an arithmetic one.
        h = <int32_t> (<uint64_t> (<int64_t> (acc[c] * scale[c]) * <int64_t> multiplier[c] + (1 << 30)) >> 31)
        r = (h + half[c]) >> right[c]
        below = r if r < 0 else 0
        below = ((below if below > DEEPEST else DEEPEST) * leak + 512) >> 10
        r = r if r >= 0 else below
        r = r if r > low else low
        out[c] = <int16_t> (r if r < high else high)


cdef inline void conv(const Layer *layer, const int16_t *x, int rows, int16_t *y) noexcept nogil:
    """`rows` rows of output. A block of outputs goes over the whole patch, so that its weights stay in the nearest cache."""
    cdef int32_t acc[SPREAD]
    cdef int16_t made[SPREAD]
    cdef int step = (layer.wide + 2) * layer.channels, length = layer.length, outputs = layer.outputs
    cdef int block, first, count, i, j, t
    cdef const int16_t *w = layer.weights
    cdef const int16_t *at
    for block in range((outputs + SPREAD - 1) // SPREAD):
        first = block * SPREAD
        count = outputs - first if outputs - first < SPREAD else SPREAD
        for i in range(rows):
            for j in range(layer.wide):
                # Three columns begin in the margin, or one column before; a single one does not.
                at = x + i * step + (j + (0 if layer.columns == 3 else 1)) * layer.channels
                memcpy(acc, layer.bias + first, SPREAD * sizeof(int32_t))
                for t in range(layer.rows):
                    spread(acc, at + t * step, w + t * SPREAD * length, length // 2)
                requantise(layer, first, acc, made)
                memcpy(y + (i * (layer.wide + 2) + j + 1) * outputs + first, made, count * sizeof(int16_t))
        w += SPREAD * length * layer.rows


cdef inline void pool(const Layer *layer, const int16_t *x, int rows, int16_t *y) noexcept nogil:
    cdef int channels = layer.channels, i, j, t, k, c
    cdef const int16_t *at
    cdef int16_t *out
    for i in range(rows):
        for j in range(layer.narrow):
            out = y + (i * (layer.narrow + 2) + j + 1) * channels
            at = x + (i * layer.rows * (layer.wide + 2) + j * layer.columns + 1) * channels
            memcpy(out, at, channels * sizeof(int16_t))
            for t in range(layer.rows):
                for k in range(layer.columns):
                    for c in range(channels):
                        out[c] = at[k * channels + c] if at[k * channels + c] > out[c] else out[c]
                at += (layer.wide + 2) * channels


cdef inline void margins(int16_t *x, int rows, int columns, int channels) noexcept nogil:
    cdef int i
    for i in range(rows):
        memset(x + i * (columns + 2) * channels, 0, channels * sizeof(int16_t))
        memset(x + ((i + 1) * (columns + 2) - 1) * channels, 0, channels * sizeof(int16_t))


cdef class Embedder:
    """Embeddings of a stream of log energies: uint16 in, int8 vectors out, the same on every machine.

    bins: energies a frame. quantiser: mapping of multiplier, shift, offset and zero. layers: list of mappings, of kind 'pool'
    with rows, columns; or of kind 'conv' with weights int8 (outputs, rows, columns, channels), 1 to 7 rows, 1 or 3 columns; bias,
    multiplier int32 (outputs,); shift int8 (outputs,); zero, of its output; floor, -255 to 0; leak, 0 to 1024. One column must be
    left after the last one. most_frames: how many frames a call may bring; the memory for so many is taken here. Output n is of
    frames n * hop to n * hop + field - 1, however calls cut the stream.
    Errors: TypeError and ValueError that name the field, what came and what was wanted.
    """

    cdef Layer *layers
    cdef int layer_count
    cdef int16_t *here          # two patches, which take turns
    cdef int16_t *there
    cdef Py_ssize_t room        # values that each of them holds
    cdef readonly int bins
    cdef readonly int field     # fewest frames
    cdef readonly int hop       # frames between two outputs
    cdef readonly int outputs
    cdef readonly int most_frames
    cdef uint64_t multiplier
    cdef int shift
    cdef int offset
    cdef int zero
    cdef int last_zero
    cdef int taken              # frames, less hop for each output that was made
    cdef object checked         # holds the arrays that the layers point into

    def __cinit__(self, bins, quantiser, layers, *, most_frames=150):
        made = self.checked = _patch_network.check(bins, quantiser, layers, most_frames)
        self.bins, self.field, self.hop = made["bins"], made["field"], made["hop"]
        self.outputs, self.most_frames = made["outputs"], made["most_frames"]
        scaling, laid = made["quantiser"], made["layers"]
        self.layer_count = len(laid)
        self.multiplier, self.shift = scaling["multiplier"], scaling["shift"]
        self.offset, self.zero, self.last_zero = scaling["offset"], scaling["zero"], laid[self.layer_count - 1]["zero"]
        self.layers = <Layer *> calloc(self.layer_count, sizeof(Layer))
        # An odd row of a kernel reads one value past the patch, against a weight that is 0.
        self.room = made["room"] + _network.BLOCK
        self.here = <int16_t *> calloc(self.room, sizeof(int16_t))
        self.there = <int16_t *> calloc(self.room, sizeof(int16_t))
        if not (self.layers and self.here and self.there):
            raise MemoryError("embedding: no memory for its network")
        for index, layer in enumerate(laid):
            self.lay(&self.layers[<int> index], layer)

    def __dealloc__(self):
        cdef int i
        if self.layers:
            for i in range(self.layer_count):
                free(self.layers[i].keeps)
        free(self.layers)
        free(self.here)
        free(self.there)

    cdef const int32_t *int32s(self, array) except? NULL:
        cdef const int32_t[::1] view = array
        return &view[0]

    cdef int lay(self, Layer *l, dict layer) except -1:
        cdef const int16_t[::1] weights
        l.kind, l.rows, l.columns = layer["kind"], layer["rows"], layer["columns"]
        l.wide, l.narrow, l.channels, l.outputs = layer["wide"], layer["narrow"], layer["channels"], layer["outputs"]
        l.keeps = <int16_t *> calloc(l.rows * (l.wide + 2) * l.channels, sizeof(int16_t))
        if not l.keeps:
            raise MemoryError("embedding: no memory for its network")
        if l.kind == POOL:
            return 0
        weights = layer["weights"].reshape(-1)
        l.weights, l.length = &weights[0], 2 * layer["weights"].shape[2]
        l.leak, l.low, l.high = layer["leak"], layer["low"], layer["high"]
        l.bias, l.multiplier, l.scale = (self.int32s(layer["bias"]), self.int32s(layer["multiplier"]),
                                         self.int32s(layer["scale"]))
        l.half, l.right = self.int32s(layer["half"]), self.int32s(layer["right"])
        return 0

    def another(self):
        """An Embedder for another stream, which shares this one's network and has heard nothing."""
        return Embedder(self.bins, None, self.checked)

    def reset(self):
        """Back to the state of a new object: the next frame is the first of a stream, and nothing of those before is in memory."""
        cdef int i
        cdef Layer *layer
        self.taken = 0
        memset(self.here, 0, self.room * sizeof(int16_t))
        memset(self.there, 0, self.room * sizeof(int16_t))
        for i in range(self.layer_count):
            layer = &self.layers[i]
            layer.held = 0
            memset(layer.keeps, 0, layer.rows * (layer.wide + 2) * layer.channels * sizeof(int16_t))

    def process(self, energies, out=None):
        """The embeddings that a stream's next frames complete: int8 (steps, outputs), oldest first.

        energies: uint16 (frames, bins), none to `most_frames` frames. out: None or int8 (steps, outputs), written and returned;
        steps is (before + frames - field) // hop + 1 less those that came before, where so much has come.
        TypeError, ValueError: anything else, named; nothing is taken then.
        """
        cdef cnp.ndarray given = matrix("energies", energies, cnp.NPY_UINT16, ANY, self.bins)
        cdef Py_ssize_t frames = cnp.PyArray_DIM(given, 0)
        if frames > self.most_frames:
            raise ValueError(f"energies: got {frames} frames, wanted at most {self.most_frames}")
        cdef int taken = self.taken + <int> frames
        cdef int steps = 1 + (taken - self.field) // self.hop if taken >= self.field else 0
        cdef cnp.ndarray made = new_matrix(cnp.NPY_INT8, steps, self.outputs) if out is None else matrix(
            "out", out, cnp.NPY_INT8, steps, self.outputs, writable=True)
        apart("out", made, given)
        cdef const uint16_t *source = <const uint16_t *> cnp.PyArray_DATA(given)
        cdef int8_t *vectors = <int8_t *> cnp.PyArray_DATA(made)
        self.taken = taken - steps * self.hop
        with nogil:
            self.run(source, <int> frames, vectors)
        return made

    cdef void take(self, const uint16_t *energies, int frames, int16_t *x) noexcept nogil:
        """The frames through the input quantiser to `x`, rows of the first layer's input."""
        cdef uint64_t multiplier = self.multiplier, half = <uint64_t> 1 << (self.shift - 1)
        cdef int64_t q, top = 127 - self.offset
        cdef int shift = self.shift, more = self.offset - self.zero, bins = self.bins, i, j
        margins(x, frames, bins, 1)
        for i in range(frames):
            x += 1
            for j in range(bins):
                q = <int64_t> ((energies[i * bins + j] * multiplier + half) >> shift)
                x[j] = <int16_t> ((q if q < top else top) + more)
            x += bins + 1

    cdef void run(self, const uint16_t *energies, int frames, int8_t *vectors) noexcept nogil:
        """The frames through all layers. Each finds its input in `here`, behind the rows that it kept."""
        cdef Layer *layer = &self.layers[0]
        cdef int rows = frames, made, index, i, c, length
        cdef int16_t *out
        self.take(energies, frames, self.here + layer.held * (self.bins + 2))
        for index in range(self.layer_count):
            layer = &self.layers[index]
            length = (layer.wide + 2) * layer.channels
            memcpy(self.here, layer.keeps, layer.held * length * sizeof(int16_t))
            rows += layer.held
            made = rows // layer.rows if layer.kind == POOL else max(0, rows - layer.rows + 1)
            out = self.there
            if index + 1 < self.layer_count:
                out += self.layers[index + 1].held * (layer.narrow + 2) * layer.outputs
            if layer.kind == POOL:
                pool(layer, self.here, made, out)
                layer.held = rows - made * layer.rows
            else:
                conv(layer, self.here, made, out)
                layer.held = rows - made
            memcpy(layer.keeps, self.here + (rows - layer.held) * length, layer.held * length * sizeof(int16_t))
            margins(out, made, layer.narrow, layer.outputs)
            rows = made
            self.here, self.there = self.there, self.here
        for i in range(rows):
            for c in range(self.outputs):  # the middle one of three columns
                vectors[i * self.outputs + c] = <int8_t> (self.here[(3 * i + 1) * self.outputs + c] + self.last_zero)
