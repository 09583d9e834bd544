"""Direction: steered response power with phase transform (SRP-PHAT) from smoothed cross-spectra.

Every hop of 256 samples, for every pair of microphones i < j and bin k of the band:

    R[ij,k] = s R[ij,k] + (1 - s) X[i,k] X*[j,k]                    A = s A + (1 - s) sum_k,i |X[i,k]|^2
and every 4 hops (64 ms), for every direction d of the grid:

    map[d] = sqrt(A) mean over ij, k of Re( R / |R| exp(-2 pi i f (p_i - p_j) . u_d / c) )

The mean lies within +-1 and is 1 for one plane wave from d. The factor, the amplitude of what was heard (RMS per
microphone within the band), is there so that maps can be summed over a stretch: loud moments count, silence does not.
Below -160 dB of full scale (A of 1e-16) it is 0, so that the floors, which look like sound from broadside, do not show.
Cost an update: 4 D pairs bins operations; 6 microphones, 72 directions, 209 bins: 0.9 million in 64 ms, tables of 1.8 MB.
Source: DiBiase, "A high-accuracy, low-latency technique for talker localization", thesis, Brown University (2000).
"""

import numpy as np

from farfield.kernels import _boundary

cimport numpy as cnp

from farfield.kernels.boundary cimport ANY, apart, matrix, new_matrix, sound
from farfield.kernels.fft cimport Plan, Read, Write, plan_free, plan_new
from farfield.kernels.samples cimport Sound, skip, sound_of, take, zeros
from farfield.kernels.stft cimport HOP, SIZE, STRIDE, analyse, sine_window
from libc.math cimport sqrtf
from libc.stdlib cimport free
from libc.string cimport memmove, memset

cdef enum:
    RATE = 16000
    HOPS = 4  # an update each
    DIRECTIONS = 72

cdef float SPEED_OF_SOUND = 343.0
cdef float FLOOR = 1e-20
cdef float SILENT = 1e-16  # above what FLOOR sums up to in the power at any smoothing


cdef inline void smooth(Read ar, Read ai, Read br, Read bi, Write re, Write im, float s, Py_ssize_t n) noexcept nogil:
    """R = s R + (1 - s) a b*."""
    cdef Py_ssize_t k
    for k in range(n):
        re[k] = s * re[k] + (1 - s) * (ar[k] * br[k] + ai[k] * bi[k]) + FLOOR
        im[k] = s * im[k] + (1 - s) * (ai[k] * br[k] - ar[k] * bi[k])


cdef inline void steer(float re, float im, Read cosine, Read sine, Write response) noexcept nogil:
    cdef Py_ssize_t d
    for d in range(DIRECTIONS):
        response[d] += re * cosine[d] + im * sine[d]


cdef class DirectionFinder:
    """SRP-PHAT maps of 16 kHz microphones, 15.6 a second, over azimuths 0 to 355 degrees. See the head of direction.pyx.

    positions_mm: float64 (microphones, 3), 2 to 16 of them. lowest_hz, highest_hz: the band. smoothing: s above.
    TypeError, ValueError: another dtype or shape, positions that are not finite, an argument out of its range.
    """

    cdef readonly int microphones
    cdef readonly int update_samples
    cdef readonly object azimuths_deg
    cdef int filled, hops
    cdef Py_ssize_t first, bins, pairs
    cdef float smoothing, power
    cdef Plan *plan
    cdef float *held      # [microphone][SIZE]
    cdef float *spectra   # [microphone][re, im][STRIDE]
    cdef float *cross     # [pair][re, im][bins]
    cdef float *table     # [pair][bin][cosine, sine][DIRECTIONS]
    cdef float *scratch   # window SIZE, transforms 3 SIZE

    def __cinit__(self, positions_mm, *, lowest_hz=300.0, highest_hz=6800.0, smoothing=0.8):
        given = _boundary.array("positions_mm", positions_mm, np.float64, (None, 3))
        self.microphones = _boundary.count("microphones in positions_mm", len(given), 2, 16)
        if not np.isfinite(given).all() or np.abs(given).max() > 5000:
            raise ValueError("positions_mm: got values that are not finite or beyond 5,000 mm, wanted positions in mm")
        low = _boundary.number("lowest_hz", lowest_hz, 50, 7900)
        high = _boundary.number("highest_hz", highest_hz, low + 100, 8000)
        self.smoothing = _boundary.number("smoothing", smoothing, 0, 0.999)
        self.update_samples = HOPS * HOP
        self.azimuths_deg = np.arange(DIRECTIONS) * (360.0 / DIRECTIONS)
        self.azimuths_deg.flags.writeable = False
        self.first = int(np.ceil(low * SIZE / RATE))
        self.bins = int(high * SIZE / RATE) + 1 - self.first
        self.pairs = self.microphones * (self.microphones - 1) // 2
        self.plan = plan_new(SIZE)
        self.held = zeros(self.microphones * SIZE)
        self.spectra = zeros(self.microphones * 2 * STRIDE)
        self.cross = zeros(self.pairs * 2 * self.bins)
        self.table = zeros(self.pairs * self.bins * 2 * DIRECTIONS)
        self.scratch = zeros(4 * SIZE)
        if (self.plan == NULL or self.held == NULL or self.spectra == NULL or self.cross == NULL
                or self.table == NULL or self.scratch == NULL):
            raise MemoryError("DirectionFinder: no memory for its state")
        sine_window(self.scratch)
        self.fill_table(given)
        self.reset()

    def __dealloc__(self):
        plan_free(self.plan)
        free(self.held)
        free(self.spectra)
        free(self.cross)
        free(self.table)
        free(self.scratch)

    cdef fill_table(self, positions_mm):
        angle = np.radians(self.azimuths_deg)
        toward = np.stack([np.cos(angle), np.sin(angle), np.zeros(DIRECTIONS)], axis=1)
        hz = (self.first + np.arange(self.bins)) * (<double> RATE / SIZE)
        cdef float[:, :, :, ::1] table = <float[:self.pairs, :self.bins, :2, :DIRECTIONS]> self.table
        pair = 0
        for i in range(self.microphones):
            for j in range(i + 1, self.microphones):
                lead_s = (positions_mm[i] - positions_mm[j]) @ toward.T / 1000 / SPEED_OF_SOUND
                phase = 2 * np.pi * hz[:, None] * lead_s
                np.asarray(table)[pair] = np.stack([np.cos(phase), np.sin(phase)], axis=1)
                pair += 1

    def reset(self):
        """Back to the state of a new object."""
        memset(self.held, 0, self.microphones * SIZE * sizeof(float))
        memset(self.cross, 0, self.pairs * 2 * self.bins * sizeof(float))
        self.filled = self.hops = 0
        self.power = 0

    def process(self, x, out=None):
        """The maps that these frames complete: float32 (updates, 72), one each `update_samples` frames.

        x: microphones (frames, microphones), float32 of full scale 1, or int16. out: memory for the maps, exactly that shape, or None. Any number of
        frames a call; the maps do not depend on it. Samples that are not finite count as 0.
        TypeError, ValueError: another dtype, shape or memory layout, or out sharing memory with x.
        """
        cdef cnp.ndarray given = sound("x", x, ANY, self.microphones)
        cdef Py_ssize_t frames = cnp.PyArray_DIM(given, 0)
        cdef Py_ssize_t updates = (self.hops * HOP + self.filled + frames) // self.update_samples
        cdef cnp.ndarray made = new_matrix(cnp.NPY_FLOAT32, updates, DIRECTIONS) if out is None else matrix(
            "out", out, cnp.NPY_FLOAT32, updates, DIRECTIONS, writable=True)
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
            skip(x, n)
            frames -= n
            self.filled += n
            if self.filled == HOP:
                self.filled = 0
                self.block()
                self.hops += 1
                if self.hops == HOPS:
                    self.hops = 0
                    self.respond(out)
                    out += DIRECTIONS

    cdef void block(self) noexcept nogil:
        cdef Py_ssize_t i, j, k, pair = 0
        cdef float power = 0
        cdef float *a
        cdef float *b
        cdef float *r
        for i in range(self.microphones):
            a = self.spectra + 2 * i * STRIDE
            analyse(self.plan, self.scratch, self.held + i * SIZE, a, a + STRIDE, self.scratch + SIZE)
            memmove(self.held + i * SIZE, self.held + i * SIZE + HOP, HOP * sizeof(float))
            for k in range(self.first, self.first + self.bins):
                power += a[k] * a[k] + a[STRIDE + k] * a[STRIDE + k]
        # Parseval, both halves of the spectrum, and the window's mean square of one half
        power *= 4.0 / (<float> SIZE * SIZE * self.microphones)
        self.power = self.smoothing * self.power + (1 - self.smoothing) * power + FLOOR
        for i in range(self.microphones):
            a = self.spectra + 2 * i * STRIDE + self.first
            for j in range(i + 1, self.microphones):
                b = self.spectra + 2 * j * STRIDE + self.first
                r = self.cross + 2 * pair * self.bins
                smooth(a, a + STRIDE, b, b + STRIDE, r, r + self.bins, self.smoothing, self.bins)
                pair += 1

    cdef void respond(self, float *response) noexcept nogil:
        cdef Py_ssize_t d, pair, k
        cdef float *re
        cdef float *im
        cdef float *table = self.table
        cdef float size, scale = sqrtf(self.power) / (self.pairs * self.bins)
        memset(response, 0, DIRECTIONS * sizeof(float))
        if self.power < SILENT:
            return
        for pair in range(self.pairs):
            re = self.cross + 2 * pair * self.bins
            im = re + self.bins
            for k in range(self.bins):
                size = 1 / sqrtf(re[k] * re[k] + im[k] * im[k] + 1e-36)
                steer(re[k] * size, im[k] * size, table, table + DIRECTIONS, response)
                table += 2 * DIRECTIONS
        for d in range(DIRECTIONS):
            response[d] *= scale
