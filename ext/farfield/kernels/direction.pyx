"""Direction: steered response power with phase transform (SRP-PHAT), of onsets, where direct sound outweighs reflections.

Every hop of 256 samples, for every microphone i in use, pair i < j and bin k of the band:

    P[k] = mean over i of |X[i,k]|^2                      late[k] = max(0.85 late[k], the hop before's P[k])
    w[k] = P[k]^(1/4) max(1 - 2 late[k] / P[k], 1/256)    U[i,k] = X[i,k] / |X[i,k]|
    R[ij,k] = s R[ij,k] + (1 - s) w[k] U[i,k] U*[j,k]     S = s S + (1 - s) mean over k of w[k]
and every 4 hops (64 ms), for every direction d of the grid:

    map[d] = mean over ij, k of Re( R exp(-2 pi i f (p_i - p_j) . u_d / c) )          within +-S, and S for one plane wave from d

`late` is what a room that rings for 1.4 s (RT60) may still hold of earlier sound: what does not rise above it by 3 dB
counts for 1/256, so that a steady sound has a direction too where there is nothing else. Maps, and S, can be summed over a
stretch: loud moments count for more, silence (P below -160 dB of full scale) for nothing.
A map's angular harmonics end soon after the order 2 pi f_max D / c of the widest pair (D apart), so that its values between
the grid's directions follow from those on it; the grid is of 5 degrees, and finer where the array is wider than 0.2 m.
Opposite directions share the products with one table's row. Cost an update: 2 D pairs bins operations, and 4 hops of 30 a pair and
bin; 6 microphones, 72 directions, 231 bins: 0.9 million in 64 ms, tables of 1 MB.
Sources: DiBiase, "A high-accuracy, low-latency technique for talker localization", thesis, Brown University (2000); onsets over
decaying echoes: Huang, Ohnishi, Sugie, "Sound localization in reverberant environment based on the model of the precedence
effect", IEEE Trans. Instrumentation and Measurement 46 (1997).
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
    COARSEST = 72  # directions
    FINEST = 360
    BEYOND = 8  # harmonics past the widest pair's order, after which there is nothing

cdef float SPEED_OF_SOUND = 343.0
cdef float FLOOR = 1e-20
cdef float SILENT = 1e-16  # above what FLOOR sums up to at any smoothing; and the power of a bin that is heard
cdef float DECAY = 0.85
cdef float ABOVE = 2.0
cdef float STEADY = 1.0 / 256


cdef inline void weigh(Write power, Write late, Py_ssize_t n) noexcept nogil:
    """Of each bin the power becomes its weight, and `late` what of it may still be heard at the next hop."""
    cdef Py_ssize_t k
    cdef float p, onset
    for k in range(n):
        p = power[k]
        onset = 1 - ABOVE * late[k] / (p + SILENT)
        late[k] = max(DECAY * late[k] + FLOOR, p)
        power[k] = sqrtf(sqrtf(p)) * max(onset, STEADY) if p >= SILENT else 0


cdef inline void add_power(Read re, Read im, Write power, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(n):
        power[k] += re[k] * re[k] + im[k] * im[k]


cdef inline void fade(Write r, float s, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(n):
        r[k] = s * r[k] + FLOOR


cdef inline void to_phase(Write re, Write im, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t k
    cdef float size
    for k in range(n):
        size = 1 / sqrtf(re[k] * re[k] + im[k] * im[k] + 1e-30)
        re[k] *= size
        im[k] *= size


cdef inline void smooth(
    Read ar, Read ai, Read br, Read bi, Read weight, Write re, Write im, float s, Py_ssize_t n
) noexcept nogil:
    """R = s R + (1 - s) w a b*."""
    cdef Py_ssize_t k
    for k in range(n):
        re[k] = s * re[k] + (1 - s) * weight[k] * (ar[k] * br[k] + ai[k] * bi[k]) + FLOOR
        im[k] = s * im[k] + (1 - s) * weight[k] * (ai[k] * br[k] - ar[k] * bi[k]) + FLOOR


cdef inline void steer(float re, float im, Read cosine, Read sine, Write even, Write odd, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t d
    for d in range(n):
        even[d] += re * cosine[d]
        odd[d] += im * sine[d]


cdef directions_for(positions_mm, highest_hz):
    """The coarsest grid that holds every harmonic of the widest pair, as far as there is one."""
    apart_m = np.linalg.norm(positions_mm[:, None, :2] - positions_mm[None, :, :2], axis=-1).max() / 1000
    harmonics = 2 * np.pi * highest_hz * apart_m / SPEED_OF_SOUND + BEYOND
    return next((n for n in (COARSEST, 120, 180) if n > 2 * harmonics), FINEST)


cdef class DirectionFinder:
    """SRP-PHAT maps of 16 kHz microphones, 15.6 a second, over azimuths around the circle. See the head of direction.pyx.

    positions_mm: float64 (microphones, 3), 2 to 16 of them. lowest_hz, highest_hz: the band. smoothing: s above.
    delays_samples: float64 (microphones,), by how much each channel comes late, or None.
    TypeError, ValueError: another dtype or shape, positions that are not finite, an argument out of its range.
    """

    cdef readonly int microphones
    cdef readonly int update_samples
    cdef readonly object azimuths_deg
    cdef int filled, hops
    cdef Py_ssize_t first, bins, pairs, half
    cdef bint used[16]
    cdef float smoothing, strength
    cdef Plan *plan
    cdef float *held      # [microphone][SIZE]
    cdef float *spectra   # [microphone][re, im][STRIDE]
    cdef float *late      # [bin]
    cdef float *weight    # [bin]
    cdef float *cross     # [pair][re, im][bins]
    cdef float *table     # [pair][bin][cosine, sine][half]
    cdef float *response  # even, odd: [half] each
    cdef float *scratch   # window SIZE, transforms 3 SIZE

    def __cinit__(self, positions_mm, *, lowest_hz=300.0, highest_hz=7500.0, smoothing=0.8, delays_samples=None):
        given = _boundary.array("positions_mm", positions_mm, np.float64, (None, 3))
        self.microphones = _boundary.count("microphones in positions_mm", len(given), 2, 16)
        if not np.isfinite(given).all() or np.abs(given).max() > 5000:
            raise ValueError("positions_mm: got values that are not finite or beyond 5,000 mm, wanted positions in mm")
        late = np.zeros(self.microphones) if delays_samples is None else _boundary.array(
            "delays_samples", delays_samples, np.float64, (self.microphones,))
        if not np.isfinite(late).all() or np.abs(late).max() > HOP // 2:
            raise ValueError(f"delays_samples: got values that are not finite or beyond {HOP // 2}, wanted delays in samples")
        low = _boundary.number("lowest_hz", lowest_hz, 50, 7900)
        high = _boundary.number("highest_hz", highest_hz, low + 100, 8000)
        self.smoothing = _boundary.number("smoothing", smoothing, 0, 0.999)
        self.update_samples = HOPS * HOP
        self.first = int(np.ceil(low * SIZE / RATE))
        self.bins = int(high * SIZE / RATE) + 1 - self.first
        self.pairs = self.microphones * (self.microphones - 1) // 2
        self.half = directions_for(given, high) // 2
        self.azimuths_deg = np.arange(2 * self.half) * (180.0 / self.half)
        self.azimuths_deg.flags.writeable = False
        self.plan = plan_new(SIZE)
        self.held = zeros(self.microphones * SIZE)
        self.spectra = zeros(self.microphones * 2 * STRIDE)
        self.late = zeros(self.bins)
        self.weight = zeros(self.bins)
        self.cross = zeros(self.pairs * 2 * self.bins)
        self.table = zeros(self.pairs * self.bins * 2 * self.half)
        self.response = zeros(2 * self.half)
        self.scratch = zeros(4 * SIZE)
        if (self.plan == NULL or self.held == NULL or self.spectra == NULL or self.late == NULL or self.weight == NULL
                or self.cross == NULL or self.table == NULL or self.response == NULL or self.scratch == NULL):
            raise MemoryError("DirectionFinder: no memory for its state")
        sine_window(self.scratch)
        self.fill_table(given, late / RATE)
        self.reset()

    def __dealloc__(self):
        plan_free(self.plan)
        free(self.held)
        free(self.spectra)
        free(self.late)
        free(self.weight)
        free(self.cross)
        free(self.table)
        free(self.response)
        free(self.scratch)

    cdef fill_table(self, positions_mm, late_s):
        angle = np.radians(self.azimuths_deg[: self.half])
        toward = np.stack([np.cos(angle), np.sin(angle), np.zeros(self.half)], axis=1)
        hz = (self.first + np.arange(self.bins)) * (<double> RATE / SIZE)
        cdef float[:, :, :, ::1] table = <float[:self.pairs, :self.bins, :2, :self.half]> self.table
        pair = 0
        for i in range(self.microphones):
            for j in range(i + 1, self.microphones):
                lead_s = (positions_mm[i] - positions_mm[j]) @ toward.T / 1000 / SPEED_OF_SOUND - late_s[i] + late_s[j]
                phase = 2 * np.pi * hz[:, None] * lead_s
                np.asarray(table)[pair] = np.stack([np.cos(phase), np.sin(phase)], axis=1)
                pair += 1

    def reset(self):
        """Back to the state of a new object, every microphone in use."""
        memset(self.held, 0, self.microphones * SIZE * sizeof(float))
        memset(self.spectra, 0, self.microphones * 2 * STRIDE * sizeof(float))
        memset(self.scratch + SIZE, 0, 3 * SIZE * sizeof(float))
        memset(self.late, 0, self.bins * sizeof(float))
        memset(self.weight, 0, self.bins * sizeof(float))
        memset(self.response, 0, 2 * self.half * sizeof(float))
        memset(self.cross, 0, self.pairs * 2 * self.bins * sizeof(float))
        self.filled = self.hops = 0
        self.strength = 0
        for i in range(self.microphones):
            self.used[i] = True

    def use(self, microphones):
        """Only these count from the next hop on; what is remembered of the others fades. microphones: bool (microphones,).

        With fewer than two there is no map but 0. TypeError, ValueError: another dtype, shape or memory layout.
        """
        given = _boundary.array("microphones", microphones, np.bool_, (self.microphones,))
        for i in range(self.microphones):
            self.used[i] = given[i]

    def process(self, x, out=None):
        """The maps that these frames complete: float32 (updates, directions + 1), one each `update_samples` frames.

        The last column is S, what a plane wave alone would have in its direction. x: microphones (frames, microphones), float32
        of full scale 1, or int16. out: memory for the maps, exactly that shape, or None. Any number of frames a call; the maps
        do not depend on it. Samples that are not finite count as 0.
        TypeError, ValueError: another dtype, shape or memory layout, or out sharing memory with x.
        """
        cdef cnp.ndarray given = sound("x", x, ANY, self.microphones)
        cdef Py_ssize_t frames = cnp.PyArray_DIM(given, 0)
        cdef Py_ssize_t updates = (self.hops * HOP + self.filled + frames) // self.update_samples
        cdef cnp.ndarray made = new_matrix(cnp.NPY_FLOAT32, updates, 2 * self.half + 1) if out is None else matrix(
            "out", out, cnp.NPY_FLOAT32, updates, 2 * self.half + 1, writable=True)
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
                    out += 2 * self.half + 1

    cdef void block(self) noexcept nogil:
        cdef Py_ssize_t i, j, k, pair = 0, count = 0
        cdef float total = 0
        cdef float *a
        cdef float *b
        cdef float *r
        memset(self.weight, 0, self.bins * sizeof(float))
        for i in range(self.microphones):
            a = self.spectra + 2 * i * STRIDE
            analyse(self.plan, self.scratch, self.held + i * SIZE, a, a + STRIDE, self.scratch + SIZE)
            memmove(self.held + i * SIZE, self.held + i * SIZE + HOP, HOP * sizeof(float))
            if self.used[i]:
                count += 1
                add_power(a + self.first, a + STRIDE + self.first, self.weight, self.bins)
            to_phase(a + self.first, a + STRIDE + self.first, self.bins)
        # of a sine of full scale in the bin's middle this makes 4 / pi^2: the window's mean, squared
        for k in range(self.bins):
            self.weight[k] *= 4.0 / (<float> SIZE * SIZE * max(count, 1))
        weigh(self.weight, self.late, self.bins)
        for i in range(self.microphones):
            a = self.spectra + 2 * i * STRIDE + self.first
            for j in range(i + 1, self.microphones):
                b = self.spectra + 2 * j * STRIDE + self.first
                r = self.cross + 2 * pair * self.bins
                if self.used[i] and self.used[j]:
                    smooth(a, a + STRIDE, b, b + STRIDE, self.weight, r, r + self.bins, self.smoothing, self.bins)
                else:
                    fade(r, self.smoothing, 2 * self.bins)
                pair += 1
        for k in range(self.bins):
            total += self.weight[k]
        total *= <float> (count * (count - 1) // 2) / (self.pairs * self.bins)
        self.strength = self.smoothing * self.strength + (1 - self.smoothing) * total + FLOOR

    cdef void respond(self, float *out) noexcept nogil:
        cdef Py_ssize_t d, pair, k
        cdef float *re
        cdef float *im
        cdef float *table = self.table
        cdef float *even = self.response
        cdef float *odd = even + self.half
        cdef float scale = 1.0 / (self.pairs * self.bins)
        memset(out, 0, (2 * self.half + 1) * sizeof(float))
        if self.strength < SILENT:
            return
        memset(even, 0, 2 * self.half * sizeof(float))
        for pair in range(self.pairs):
            re = self.cross + 2 * pair * self.bins
            im = re + self.bins
            for k in range(self.bins):
                steer(re[k], im[k], table, table + self.half, even, odd, self.half)
                table += 2 * self.half
        for d in range(self.half):
            out[d] = scale * (even[d] + odd[d])
            out[self.half + d] = scale * (even[d] - odd[d])
        out[2 * self.half] = self.strength
