"""Fixed beams: filter and sum in short-time spectra (frames of 512 samples, hop 256, sine window, overlap-add).

    Y[b, k] = sum over m of V[b, k, m] X[m, k]            V as designed: the conjugate of the textbook's w

The spectra of the microphones are computed once for all beams. Delay: two hops, 512 samples, 32 ms at 16 kHz.
Cost a hop: M + B real FFTs of 512 points and 8 B M 257 operations; 6 microphones, 6 beams: 74,000 and 12 FFTs in 16 ms.
Source: Allen, Rabiner, "A unified approach to short-time Fourier analysis and synthesis", Proc. IEEE 65 (1977).
"""

import numpy as np

from farfield.kernels import _boundary

cimport numpy as cnp

from farfield.kernels.boundary cimport ANY, apart, matrix, new_matrix, sound
from farfield.kernels.fft cimport Plan, Read, Write, plan_free, plan_new
from farfield.kernels.samples cimport Sound, skip, sound_of, take, zeros
from farfield.kernels.stft cimport BINS, HOP, SIZE, STRIDE, analyse, sine_window, synthesise
from libc.stdlib cimport free
from libc.string cimport memcpy, memmove, memset


cdef inline void add_product(Read vr, Read vi, Read xr, Read xi, Write yr, Write yi) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(STRIDE):
        yr[k] += vr[k] * xr[k] - vi[k] * xi[k]
        yi[k] += vr[k] * xi[k] + vi[k] * xr[k]


cdef class Beamformer:
    """Beams with fixed weights from 16 kHz microphones. See the head of beam.pyx.

    weights: complex64 (beams, 257, microphones), 1 to 16 each: what a microphone's bin of 31.25 Hz is multiplied by.
    TypeError, ValueError: another dtype, shape or memory layout, or weights that are not finite.
    """

    cdef readonly int beams
    cdef readonly int microphones
    cdef readonly int hop
    cdef readonly int delay_samples
    cdef int filled
    cdef Plan *plan
    cdef float *weights   # [beam][microphone][re, im][STRIDE]
    cdef float *held      # [microphone][SIZE]: the last frame, the hop that is filling at its end
    cdef float *spectra   # [microphone][re, im][STRIDE]
    cdef float *tails     # [beam][HOP]
    cdef float *ready     # [HOP][beam]
    cdef float *scratch   # re, im of a beam, each STRIDE; window SIZE; 3 SIZE for the transforms

    def __cinit__(self, weights):
        given = _boundary.array("weights", weights, np.complex64, (None, BINS, None))
        self.beams = _boundary.count("beams in weights", given.shape[0], 1, 16)
        self.microphones = _boundary.count("microphones in weights", given.shape[2], 1, 16)
        if not np.isfinite(given).all():
            raise ValueError("weights: got NaN or infinity, wanted finite numbers")
        self.hop, self.delay_samples = HOP, SIZE
        self.plan = plan_new(SIZE)
        self.weights = zeros(self.beams * self.microphones * 2 * STRIDE)
        self.held = zeros(self.microphones * SIZE)
        self.spectra = zeros(self.microphones * 2 * STRIDE)
        self.tails = zeros(self.beams * HOP)
        self.ready = zeros(self.beams * HOP)
        self.scratch = zeros(2 * STRIDE + 4 * SIZE)
        if (self.plan == NULL or self.weights == NULL or self.held == NULL or self.spectra == NULL
                or self.tails == NULL or self.ready == NULL or self.scratch == NULL):
            raise MemoryError("Beamformer: no memory for its state")
        sine_window(self.scratch + 2 * STRIDE)
        self.fill(given)
        self.reset()

    def __dealloc__(self):
        plan_free(self.plan)
        free(self.weights)
        free(self.held)
        free(self.spectra)
        free(self.tails)
        free(self.ready)
        free(self.scratch)

    cdef fill(self, given):
        cdef Py_ssize_t b, m, k
        cdef const float complex[:, :, ::1] v = given
        for b in range(self.beams):
            for m in range(self.microphones):
                for k in range(BINS):
                    self.weights[(b * self.microphones + m) * 2 * STRIDE + k] = v[b, k, m].real
                    self.weights[((b * self.microphones + m) * 2 + 1) * STRIDE + k] = v[b, k, m].imag

    def load(self, weights):
        """Other weights from the next hop on, of the same shape; reset() keeps them.

        TypeError, ValueError: another dtype, shape or memory layout, or weights that are not finite.
        """
        given = _boundary.array("weights", weights, np.complex64, (self.beams, BINS, self.microphones))
        if not np.isfinite(given).all():
            raise ValueError("weights: got NaN or infinity, wanted finite numbers")
        self.fill(given)

    def reset(self):
        """Back to the state of a new object."""
        memset(self.held, 0, self.microphones * SIZE * sizeof(float))
        memset(self.spectra, 0, self.microphones * 2 * STRIDE * sizeof(float))
        memset(self.scratch, 0, 2 * STRIDE * sizeof(float))
        memset(self.scratch + 2 * STRIDE + SIZE, 0, 3 * SIZE * sizeof(float))
        memset(self.tails, 0, self.beams * HOP * sizeof(float))
        memset(self.ready, 0, self.beams * HOP * sizeof(float))
        self.filled = 0

    def process(self, x, out=None):
        """Beams, float32 (frames, beams), `delay_samples` late, of microphones x, (frames, microphones).

        x: float32, full scale 1, or int16. out: memory for the result, or None. Any number of frames a call; the result does not depend on it. Samples that are
        not finite count as 0. TypeError, ValueError: another dtype, shape or memory layout, or out sharing memory with x.
        """
        cdef cnp.ndarray given = sound("x", x, ANY, self.microphones)
        cdef Py_ssize_t frames = cnp.PyArray_DIM(given, 0)
        cdef cnp.ndarray made = new_matrix(cnp.NPY_FLOAT32, frames, self.beams) if out is None else matrix(
            "out", out, cnp.NPY_FLOAT32, frames, self.beams, writable=True)
        apart("out", made, given)
        cdef Sound source = sound_of(given)
        cdef float *to = <float *> cnp.PyArray_DATA(made)
        with nogil:
            self.stream(&source, to, frames)
        return made

    cdef void stream(self, Sound *x, float *out, Py_ssize_t frames) noexcept nogil:
        cdef Py_ssize_t c, n
        while frames:
            n = min(frames, HOP - self.filled)
            for c in range(self.microphones):
                take(x, c, self.held + c * SIZE + HOP + self.filled, n)
            memcpy(out, self.ready + self.filled * self.beams, n * self.beams * sizeof(float))
            skip(x, n)
            out += n * self.beams
            frames -= n
            self.filled += n
            if self.filled == HOP:
                self.filled = 0
                self.block()

    cdef void block(self) noexcept nogil:
        cdef Py_ssize_t b, m
        cdef float *re = self.scratch
        cdef float *im = re + STRIDE
        cdef float *window = im + STRIDE
        cdef float *work = window + SIZE
        cdef float *spectrum
        cdef float *weights
        for m in range(self.microphones):
            spectrum = self.spectra + 2 * m * STRIDE
            analyse(self.plan, window, self.held + m * SIZE, spectrum, spectrum + STRIDE, work)
            memmove(self.held + m * SIZE, self.held + m * SIZE + HOP, HOP * sizeof(float))
        for b in range(self.beams):
            memset(re, 0, 2 * STRIDE * sizeof(float))
            for m in range(self.microphones):
                spectrum = self.spectra + 2 * m * STRIDE
                weights = self.weights + 2 * (b * self.microphones + m) * STRIDE
                add_product(weights, weights + STRIDE, spectrum, spectrum + STRIDE, re, im)
            synthesise(self.plan, window, re, im, self.tails + b * HOP, self.ready + b, self.beams, work)
