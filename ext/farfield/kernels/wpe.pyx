"""Dereverberation: recursive weighted prediction error, in frames of 512 samples, hop 256, of all microphones at once.

In every bin, x[t] the M microphones' spectra and u[t] the K frames before it but the last D - 1, (x[t - D] ... x[t - D - K + 1]):

    y = x - G^H u            power = mean over microphones of |y|^2          z = P u
    P = (P - z z^H / d) / forgetting         G = G + z y^H / d               d = forgetting power + u^H z

so that G predicts, by least squares weighted with 1 / power, what of a frame is the room's answer to frames D hops ago and
older; most of speech cannot be foretold that far. P is the inverse of the weighted covariance of u; it starts as I / (10 M K
load): as if 10 M K frames had been heard from which nothing can be foretold, for what is learnt from few takes more of the voice
than of the room. Every 4 hops one of its M K axes, in turn, gets its share of `load` (Sherman and Morrison), which keeps it well
conditioned in single precision. The power counts as 40 dB below that of u at least. Sound below what rounding to 16
bits leaves teaches nothing, and an output's filter keeps sum |G|^2 <= 4, so that what leaves is bounded whatever came.

What is predicted for frame t is known when the frame begins, since D is 2 or more: it is resynthesised by itself and taken off
the samples as they pass. Delay: none. The filter is of two hops before the frame's end, not of one, as is usual. The bin of
8 kHz is left as it is.

Cost a hop, n = M K: M FFTs of 512 points and back; 256 (13 n^2 + 24 M n) operations; memory 1,024 n (n + 1) bytes. 6 microphones
of 5 taps: 4 million in 16 ms, 1 MB.
Sources: Yoshioka, Nakatani, "Generalization of multi-channel linear prediction methods for blind MIMO impulse response
shortening", IEEE Trans. ASLP 20 (2012); Caroselli, Shafran, Narayanan, Rose, "Adaptive multichannel dereverberation for
automatic speech recognition", Interspeech 2017.
"""

from farfield.kernels import _boundary

cimport numpy as cnp

from farfield.kernels.boundary cimport ANY, apart, matrix, new_matrix, sound
from farfield.kernels.fft cimport Plan, plan_free, plan_new
from farfield.kernels.lanes cimport GROUPS, LANES, add_outer, downdate, filtered, norms, product, quadratic, take_column
from farfield.kernels.samples cimport Sound, skip, sound_of, take, zeros
from farfield.kernels.stft cimport HOP, SIZE, STRIDE, analyse, sine_window, synthesise
from libc.math cimport sqrtf
from libc.stdlib cimport free
from libc.string cimport memcpy, memmove, memset

cdef enum:
    MOST_TAPS = 32
    MOST_ORDER = 128
    LOADED = 4  # hops from one axis to the next

cdef float SILENT = 2e-8  # what rounding to 16 bits leaves in a bin
cdef float LEAST = 1e-4
cdef float START = 10
cdef float MOST_GAIN = 4


cdef class WPE:
    """Late reverberation taken off 16 kHz microphones, without delay. See the head of wpe.pyx.

    microphones: 1 to 16. taps: K, 1 to 32, microphones x taps at most 128. late_hops: D, 2 to 8. forgetting: a hop. load:
    diagonal, of the mean of |u|^2 / power. TypeError, ValueError: out of range.
    """

    cdef readonly int microphones
    cdef readonly int taps
    cdef readonly int hop
    cdef readonly int delay_samples
    cdef int late, order, filled, hops, axis
    cdef float forgetting, load
    cdef Plan *plan
    cdef float *memory    # of all that follow
    cdef float *p         # [group][entry][re, im][LANES]
    cdef float *g         # [group][output][tap][microphone][re, im][LANES]
    cdef float *frames    # [group][age][microphone][re, im][LANES]: K + D spectra, the newest first
    cdef float *heard     # [group][LANES]: mean |u|^2 over power, smoothed
    cdef float *z         # [n][re, im][LANES]
    cdef float *y         # [M][re, im][LANES]
    cdef float *held      # [microphone][SIZE]
    cdef float *tails     # [microphone][HOP]
    cdef float *ready     # [HOP][microphone]: what is predicted of the hop that comes
    cdef float *spectra   # [microphone][re, im][STRIDE]
    cdef float *scratch   # window SIZE; 3 SIZE for the transforms

    def __cinit__(self, microphones, *, taps=5, late_hops=2, forgetting=0.998, load=0.3):
        self.microphones = _boundary.count("microphones", microphones, 1, 16)
        self.taps = _boundary.count("taps", taps, 1, min(MOST_TAPS, MOST_ORDER // self.microphones))
        self.late = _boundary.count("late_hops", late_hops, 2, 8)
        self.forgetting = _boundary.number("forgetting", forgetting, 0.9, 0.9999)
        self.load = _boundary.number("load", load, 0.001, 10)
        self.order = self.microphones * self.taps
        self.hop, self.delay_samples = HOP, 0
        self.plan = plan_new(SIZE)
        self.memory = zeros(self.carve(NULL))
        if self.plan == NULL or self.memory == NULL:
            raise MemoryError("WPE: no memory for its state")
        self.carve(self.memory)
        sine_window(self.scratch)
        self.reset()

    cdef Py_ssize_t carve(self, float *memory) noexcept:
        """Shares out one piece of memory; returns how many floats that takes. Every share is a multiple of 16, 64 bytes."""
        cdef Py_ssize_t m = self.microphones, n = self.order
        cdef float *at = memory
        self.p = at
        self.g = self.p + GROUPS * n * (n + 1) * LANES
        self.frames = self.g + GROUPS * m * n * 2 * LANES
        self.heard = self.frames + GROUPS * (self.taps + self.late) * m * 2 * LANES
        self.z = self.heard + GROUPS * LANES
        self.y = self.z + 2 * n * LANES
        self.held = self.y + 2 * m * LANES
        self.tails = self.held + m * SIZE
        self.ready = self.tails + m * HOP
        self.spectra = self.ready + m * HOP
        self.scratch = self.spectra + m * 2 * STRIDE
        return self.scratch + 4 * SIZE - memory

    def __dealloc__(self):
        plan_free(self.plan)
        free(self.memory)

    def reset(self):
        """Back to the state of a new object."""
        cdef Py_ssize_t group, i, k, at = 0, n = self.order
        memset(self.memory, 0, (self.scratch - self.memory) * sizeof(float))
        memset(self.scratch + SIZE, 0, 3 * SIZE * sizeof(float))
        for group in range(GROUPS):
            for i in range(n):
                for k in range(LANES):
                    self.p[at + k] = 1 / (START * n * self.load)
                at += 2 * LANES * (n - i)
        self.filled = self.hops = self.axis = 0

    def forget(self):
        """Zero the frames before the newest, which then count as silence; what was learnt of the room stays.

        The newest frame stays, half of which is under way still, and so does what is predicted of this hop and the next from those
        before.
        """
        cdef Py_ssize_t group, ages = self.taps + self.late, frame = 2 * self.microphones * LANES
        for group in range(GROUPS):
            memset(self.frames + (group * ages + 1) * frame, 0, (ages - 1) * frame * sizeof(float))
        memset(self.z, 0, (self.held - self.z) * sizeof(float))
        memset(self.spectra, 0, self.microphones * 2 * STRIDE * sizeof(float))
        memset(self.scratch + SIZE, 0, 3 * SIZE * sizeof(float))

    def process(self, x, out=None):
        """The microphones x, (frames, microphones), less what is predicted of them: float32, of the same shape, no later.

        x: float32, full scale 1, or int16. out: memory for the result, or None. Any number of frames a call; the result does not
        depend on it. Samples that are not finite count as 0. TypeError, ValueError: another dtype, shape or memory layout, or out
        sharing memory with x.
        """
        cdef cnp.ndarray given = sound("x", x, ANY, self.microphones)
        cdef Py_ssize_t frames = cnp.PyArray_DIM(given, 0)
        cdef cnp.ndarray made = new_matrix(cnp.NPY_FLOAT32, frames, self.microphones) if out is None else matrix(
            "out", out, cnp.NPY_FLOAT32, frames, self.microphones, writable=True)
        apart("out", made, given)
        cdef Sound source = sound_of(given)
        cdef float *to = <float *> cnp.PyArray_DATA(made)
        with nogil:
            self.stream(&source, to, frames)
        return made

    cdef void stream(self, Sound *x, float *out, Py_ssize_t frames) noexcept nogil:
        cdef Py_ssize_t c, t, n, m = self.microphones
        cdef float *now
        while frames:
            n = min(frames, HOP - self.filled)
            for c in range(m):
                now = self.held + c * SIZE + HOP + self.filled
                take(x, c, now, n)
                for t in range(n):
                    out[t * m + c] = now[t] - self.ready[(self.filled + t) * m + c]
            skip(x, n)
            out += n * m
            frames -= n
            self.filled += n
            if self.filled == HOP:
                self.filled = 0
                self.block()

    cdef void block(self) noexcept nogil:
        cdef Py_ssize_t c, group, m = self.microphones
        cdef float *window = self.scratch
        cdef float *work = window + SIZE
        cdef float *at
        for c in range(m):
            at = self.spectra + 2 * c * STRIDE
            analyse(self.plan, window, self.held + c * SIZE, at, at + STRIDE, work)
            memmove(self.held + c * SIZE, self.held + c * SIZE + HOP, HOP * sizeof(float))
        for group in range(GROUPS):
            self.learn(group)
        self.hops = (self.hops + 1) % LOADED
        if self.hops == 0:
            self.axis = (self.axis + 1) % self.order
        for c in range(m):
            at = self.spectra + 2 * c * STRIDE
            at[HOP] = 0
            synthesise(self.plan, window, at, at + STRIDE, self.tails + c * HOP, self.ready + c, m, work)

    cdef void learn(self, Py_ssize_t group) noexcept nogil:
        """One group of bins: a frame is learnt from, and the spectra become what is predicted for two hops later."""
        cdef Py_ssize_t c, k, m = self.microphones, n = self.order, frame = 2 * m * LANES
        cdef float *frames = self.frames + group * (self.taps + self.late) * frame
        cdef float *p = self.p + group * n * (n + 1) * LANES
        cdef float *g = self.g + group * m * n * 2 * LANES
        cdef float *heard = self.heard + group * LANES
        cdef const float *u = frames + self.late * frame
        cdef float *spectrum
        cdef float[LANES] f, scale, left, past, now
        memmove(frames + frame, frames, (self.taps + self.late - 1) * frame * sizeof(float))
        for c in range(m):
            spectrum = self.spectra + 2 * c * STRIDE + group * LANES
            memcpy(frames + 2 * c * LANES, spectrum, LANES * sizeof(float))
            memcpy(frames + (2 * c + 1) * LANES, spectrum + STRIDE, LANES * sizeof(float))
        for c in range(m):
            filtered(g + c * n * 2 * LANES, u, self.y + 2 * c * LANES, n)
        for k in range(frame):
            self.y[k] = frames[k] - self.y[k]
        product(p, u, self.z, n)
        quadratic(u, self.z, f, n)
        norms(self.y, left, m)
        norms(frames, now, m)
        norms(u, past, n)
        for k in range(LANES):
            left[k] = max(left[k] / m, LEAST * past[k] / n) + SILENT
            if now[k] > SILENT * m and past[k] > SILENT * n:
                f[k] = 1 / (self.forgetting * left[k] + max(f[k], 0))
                scale[k] = 1 / self.forgetting
                heard[k] = self.forgetting * heard[k] + (1 - self.forgetting) * past[k] / (n * left[k])
            else:
                f[k] = 0
                scale[k] = 1
        add_outer(g, f, self.z, self.y, m, n)
        self.bound(g)
        for k in range(LANES):
            f[k] *= scale[k]
        downdate(p, scale, f, self.z, n)
        if self.hops == 0:
            self.lay_load(p, heard, scale)
        u = frames + (self.late - 2) * frame
        for c in range(m):
            filtered(g + c * n * 2 * LANES, u, self.y + 2 * c * LANES, n)
            spectrum = self.spectra + 2 * c * STRIDE + group * LANES
            memcpy(spectrum, self.y + 2 * c * LANES, LANES * sizeof(float))
            memcpy(spectrum + STRIDE, self.y + (2 * c + 1) * LANES, LANES * sizeof(float))

    cdef void lay_load(self, float *p, const float *heard, const float *scale) noexcept nogil:
        """One axis gets its share of the loading, where anything is learnt."""
        cdef Py_ssize_t k, n = self.order
        cdef float[LANES] f, one
        cdef float v
        take_column(p, self.z, n, self.axis)
        for k in range(LANES):
            v = LOADED * n * (1 - self.forgetting) * self.load * heard[k] * (scale[k] > 1)
            f[k] = v / (1 + v * self.z[2 * self.axis * LANES + k])
            one[k] = 1
        downdate(p, one, f, self.z, n)

    cdef void bound(self, float *g) noexcept nogil:
        cdef Py_ssize_t c, i, k, n = self.order
        cdef float[LANES] size
        cdef bint over
        for c in range(self.microphones):
            norms(g, size, n)
            over = False
            for k in range(LANES):
                over |= size[k] > MOST_GAIN
            if over:
                for k in range(LANES):
                    size[k] = sqrtf(MOST_GAIN / size[k]) if size[k] > MOST_GAIN else 1
                for i in range(2 * n):
                    for k in range(LANES):
                        g[i * LANES + k] *= size[k]
            g += 2 * n * LANES
