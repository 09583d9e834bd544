"""Suppressor: what the linear stage left of the echo, and stationary noise, by one real gain for all microphones.

Frames of 512 samples, hop 96, an analysis window that falls within one hop, a synthesis window of two hops (their product is
a Hann window): 31 Hz of resolution at a delay of 192 samples, 12 ms. e: what the linear stage left of a microphone; d: its
estimate of the echo, the microphone less e. Everything per bin k, powers are means over the microphones:

    P   = |E|^2 + floor
    U1  = max(<|D|^2> + 0.003 mean over k of |D|^2, 0.76 U1)     echo that may have left something: it rings on by 60 dB in 0.3 s
    U3  = max(<|C|^2>, 0.76 U3)                                  C = FFT of d^3 / L: what a loudspeaker that distorts adds
    R   = A1 U1 + A3 U3                                          residual echo
    A1 *= 1 + x U1 / (U1 + 0.1 N) A1 U1 / R,  1e-4 to 2; A3 likewise;  x = 0.015 (P - R - N) / (P + R + N), times 1 - 0.8 v if > 0
    N  += 0.1 (1 - p) (P - N)                                    noise; p: how probably there is more than noise
    v   = max(min(2.5 sum max(P - 8 R - 2 N, 0) / sum P - 0.5, 1), 0.96 v)      near end, 0 to 1, over 300 Hz to 5 kHz
    B   = 2^(3 - 4 v) R + N (where noise is suppressed)          what is unwanted
    xi  = 0.9 G^2 P / B of the last hop + 0.1 max(P / B - 1, 0)
    G   = max(xi / (1 + xi), 0.1 3^v),   the gain <G>

< >: over neighbours, as 1 2 4 2 1 (powers) and 1 2 1 (gains). L: the mean square of d, falling by at most 0.1 % a hop; d of the
first microphone. A step of A depends on which is larger and hardly on by how much, so that it follows the median of P over what
is expected: a talker, who fills a few bins for a while, hardly teaches it. v is the near-end dominance: while somebody speaks half
the residual is counted and the gain stays above -10 dB; else eight times of it, and the gain falls to -20 dB.
p = 1 / (1 + 32.6 exp(-0.969 P / N)), exp(x) taken as (1 + min(x, 60) / 32)^32, and at most 1 - 0.1 (p' - 0.9) where its recent
mean p' exceeds 0.9. N starts as the mean of the first 10 hops that hold sound.

Comfort noise fills up to N what the gain takes of the background: independent noise of N (1 - <G>^2) into each microphone.

One gain for all microphones leaves what tells directions, their differences, as it is, so that beams and maps after it see the
room as before; after the beams it would have to be computed for each of them, and each would need the echo's estimate beamed.

Sources: Ephraim, Malah, "Speech enhancement using a minimum mean-square error short-time spectral amplitude estimator", IEEE
TASSP 32 (1984), decision-directed xi; Gerkmann, Hendriks, "Unbiased MMSE-based noise power estimation with low complexity and
low tracking delay", IEEE TASLP 20 (2012), p and N; Mauler, Martin, "A low delay, variable resolution, perfect reconstruction
spectral analysis-synthesis system for speech enhancement", EUSIPCO 2007, windows; Gustafsson, Martin, Jax, Vary, "A
psychoacoustic approach to combined acoustic echo cancellation and noise reduction", IEEE TSAP 10 (2002), one gain for both.

Cost a hop: 3 FFTs of 512 points a microphone and one more; about 60 operations a bin and 8 a bin and microphone.
Numbers: float32. Input that is not finite counts as 0, and beyond +-8 as +-8; floors of 1e-12 keep powers from 0.
"""

import math

import numpy as np

from farfield.kernels import _boundary

cimport numpy as cnp

from farfield.kernels.boundary cimport ANY, apart, matrix, new_matrix, sound
from farfield.kernels.fft cimport Plan, Read, plan_free, plan_new, real_forward, real_inverse
from farfield.kernels.gains cimport add_power, excess, first_noise, learn, ring_on, smooth3, spread, track_noise, wiener
from farfield.kernels.kalman cimport mirror
from farfield.kernels.samples cimport Sound, energy, skip, sound_of, take, zeros
from libc.math cimport exp2f, sqrtf
from libc.stdint cimport uint32_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memmove, memset

cdef enum:
    SIZE = 512
    HOP = 96
    LONG = SIZE - HOP      # of the analysis window's rise
    BINS = 257
    STRIDE = 272           # BINS rounded up to whole vectors
    MARGIN = 16            # floats before and after a spectrum that is smoothed
    WIDE = STRIDE + 2 * MARGIN
    SPECTRA = 11           # of a length of WIDE
    FIRST = 9              # bin from which a talker is looked for, and
    LAST = 160             # the one before which that ends
    NOISE_HOPS = 10        # that the noise starts from

cdef float FLOOR = 1e-12, SPECK = 1e-15
cdef float SOUND = 1e-9              # mean of P from which a hop teaches what noise is
cdef float RELEASE = 0.76, LEVEL_RELEASE = 0.999, AROUND = 0.003
cdef float STEP = 0.015, LEAST_A = 1e-4, MOST_A = 2, FIRST_A1 = 0.3, FIRST_A3 = 0.03
cdef float NOISE_STEP = 0.1, DECISION = 0.9, HOLD = 0.96
cdef float MOST_BETA_LOG2 = 3, BETA_RANGE_LOG2 = 4, WARY = 0.8, LEAST_GAIN = 0.1, TALKER_LOG2 = 1.5849625  # of 3


cdef class Suppressor:
    """Takes away what an echo canceller left of the echo, and noise. See the head of suppress.pyx for equations and sources.

    microphones: 1 to 16. echo, noise: what is suppressed; one at least. comfort_noise: whether background that goes with the echo
    is filled up again; not together with noise. late_samples: by how much the canceller's output is later than the microphones
    that `process` is given beside it, 0 to 4,096. TypeError, ValueError: an argument out of its range.
    """

    cdef readonly int microphones
    cdef readonly int hop
    cdef readonly int delay_samples
    cdef readonly int late_samples
    cdef readonly bint echo
    cdef readonly bint noise
    cdef readonly bint comfort_noise
    cdef int filled
    cdef int hops                 # that N has started from, up to NOISE_HOPS
    cdef uint32_t random
    cdef float near_end           # v
    cdef float level              # L
    cdef Plan *plan
    cdef float *windows           # analysis (SIZE), synthesis (2 HOP)
    cdef float *left              # [microphone][SIZE]: e, the hop that is filling at its end
    cdef float *heard             # [microphone][late_samples + SIZE]: the microphone
    cdef float *spectra           # [microphone][re, im][STRIDE] of E
    cdef float *tails             # [microphone][HOP]
    cdef float *ready             # [HOP][microphone]: the hop that leaves meanwhile
    cdef float *state             # P, P before, U1, U3, A1, A3, N, p', R, G, <G>: each WIDE, from MARGIN on
    cdef float *scratch           # a power and its smoothed, each WIDE; re, im; 4 SIZE for signals and transforms

    def __cinit__(self, microphones, *, echo=True, noise=False, comfort_noise=False, late_samples=0):
        cdef Py_ssize_t n
        self.microphones = _boundary.count("microphones", microphones, 1, 16)
        for name, value in (("echo", echo), ("noise", noise), ("comfort_noise", comfort_noise)):
            if not isinstance(value, bool):
                raise TypeError(f"{name}: got {type(value).__name__} {value!r}, wanted True or False")
        if not (echo or noise):
            raise ValueError("echo, noise: got False for both, wanted True for one at least")
        if comfort_noise and (noise or not echo):
            raise ValueError("comfort_noise: wanted with echo and without noise, whose background it would bring back")
        self.echo, self.noise, self.comfort_noise = echo, noise, comfort_noise
        self.late_samples = _boundary.count("late_samples", late_samples, 0, 4096)
        self.hop, self.delay_samples = HOP, 2 * HOP
        self.plan = plan_new(SIZE)
        self.windows = zeros(SIZE + 2 * HOP)
        self.left = zeros(self.microphones * SIZE)
        self.heard = zeros(self.microphones * (self.late_samples + SIZE))
        self.spectra = zeros(self.microphones * 2 * STRIDE)
        self.tails = zeros(self.microphones * HOP)
        self.ready = zeros(self.microphones * HOP)
        self.state = zeros(SPECTRA * WIDE)
        self.scratch = zeros(4 * WIDE + 4 * SIZE)
        if (self.plan == NULL or self.windows == NULL or self.left == NULL or self.heard == NULL or self.spectra == NULL
                or self.tails == NULL or self.ready == NULL or self.state == NULL or self.scratch == NULL):
            raise MemoryError("Suppressor: no memory for its state")
        for n in range(SIZE):
            self.windows[n] = math.sin(math.pi * (n + 0.5) / (2 * LONG)) if n < LONG else math.cos(
                math.pi * (n - LONG + 0.5) / (2 * HOP))
        for n in range(2 * HOP):
            self.windows[SIZE + n] = self.windows[LONG - HOP + n] if n >= HOP else math.sin(
                math.pi * (n + 0.5) / (2 * HOP)) ** 2 / math.sin(math.pi * (LONG - HOP + n + 0.5) / (2 * LONG))
        self.reset()

    def __dealloc__(self):
        plan_free(self.plan)
        free(self.windows)
        free(self.left)
        free(self.heard)
        free(self.spectra)
        free(self.tails)
        free(self.ready)
        free(self.state)
        free(self.scratch)

    def reset(self):
        """Back to the state of a new object."""
        cdef Py_ssize_t k
        memset(self.left, 0, self.microphones * SIZE * sizeof(float))
        memset(self.heard, 0, self.microphones * (self.late_samples + SIZE) * sizeof(float))
        memset(self.spectra, 0, self.microphones * 2 * STRIDE * sizeof(float))
        memset(self.tails, 0, self.microphones * HOP * sizeof(float))
        memset(self.ready, 0, self.microphones * HOP * sizeof(float))
        memset(self.state, 0, SPECTRA * WIDE * sizeof(float))
        memset(self.scratch, 0, (4 * WIDE + 4 * SIZE) * sizeof(float))
        for k in range(STRIDE):
            self.part(2)[k] = self.part(3)[k] = self.part(6)[k] = FLOOR
            self.part(4)[k], self.part(5)[k] = FIRST_A1, FIRST_A3
            self.part(9)[k] = 1
        self.filled = self.hops = 0
        self.near_end = self.level = 0
        self.random = 1

    @property
    def near_end_dominance(self):
        """v lately: 1 while somebody speaks, falling to 0 while nobody does, in about half a second."""
        return self.near_end

    def process(self, left, mic=None, out=None):
        """What is left of `left` without residual echo and noise: float32 (frames, microphones), `delay_samples` late.

        left: (frames, microphones), the canceller's output. mic: the same, what went into the canceller at the same call, by
        `late_samples` ahead of `left`; wanted where echo is suppressed, else None. Each float32, full scale 1, or int16. out:
        memory for the result, or None. Any number of frames a call; the result does not depend on it. TypeError, ValueError:
        another dtype, shape or memory layout, or out sharing memory with an input.
        """
        cdef cnp.ndarray given = sound("left", left, ANY, self.microphones)
        cdef Py_ssize_t frames = cnp.PyArray_DIM(given, 0)
        if not self.echo and mic is not None:
            raise ValueError("mic: got an array, wanted None where no echo is suppressed")
        cdef cnp.ndarray near = sound("mic", mic, frames, self.microphones) if self.echo else given
        cdef cnp.ndarray made = new_matrix(cnp.NPY_FLOAT32, frames, self.microphones) if out is None else matrix(
            "out", out, cnp.NPY_FLOAT32, frames, self.microphones, writable=True)
        apart("out", made, given)
        apart("out", made, near)
        cdef Sound source = sound_of(given)
        cdef Sound heard = sound_of(near)
        cdef float *to = <float *> cnp.PyArray_DATA(made)
        with nogil:
            self.stream(&source, &heard, to, frames)
        return made

    cdef void stream(self, Sound *left, Sound *mic, float *out, Py_ssize_t frames) noexcept nogil:
        cdef Py_ssize_t c, n, mics = self.microphones, length = self.late_samples + SIZE
        while frames:
            n = min(frames, HOP - self.filled)
            for c in range(mics):
                take(left, c, self.left + c * SIZE + LONG + self.filled, n)
                if self.echo:
                    take(mic, c, self.heard + (c + 1) * length - HOP + self.filled, n)
            memcpy(out, self.ready + self.filled * mics, n * mics * sizeof(float))
            skip(left, n)
            skip(mic, n)
            out += n * mics
            frames -= n
            self.filled += n
            if self.filled == HOP:
                self.filled = 0
                self.block()

    cdef inline float *part(self, Py_ssize_t number) noexcept nogil:
        return self.state + number * WIDE + MARGIN

    cdef void block(self) noexcept nogil:
        """One hop: the spectra, the gain, and each microphone with it."""
        cdef Py_ssize_t m, length = self.late_samples + SIZE
        cdef float *p = self.part(0)
        memcpy(self.part(1), p, STRIDE * sizeof(float))
        self.powers()
        if self.echo:
            self.far_end()
        self.background()
        self.gains()
        for m in range(self.microphones):
            self.leave(m)
            memmove(self.left + m * SIZE, self.left + m * SIZE + HOP, LONG * sizeof(float))
            if self.echo:
                memmove(self.heard + m * length, self.heard + m * length + HOP, (length - HOP) * sizeof(float))

    cdef void spectrum(self, Read signal, float *re, float *im) noexcept nogil:
        cdef float *windowed = self.scratch + 4 * WIDE
        cdef Py_ssize_t n
        for n in range(SIZE):
            windowed[n] = self.windows[n] * signal[n]
        real_forward(self.plan, windowed, re, im, windowed + SIZE)

    cdef void powers(self) noexcept nogil:
        """P."""
        cdef Py_ssize_t m, k
        cdef float *p = self.part(0)
        cdef float *e
        for k in range(STRIDE):
            p[k] = FLOOR
        for m in range(self.microphones):
            e = self.spectra + 2 * m * STRIDE
            self.spectrum(self.left + m * SIZE, e, e + STRIDE)
            add_power(e, e + STRIDE, p, 1 / <float> self.microphones, BINS)

    cdef void far_end(self) noexcept nogil:
        """U1 and U3, of the echo's estimate and of its cube."""
        cdef Py_ssize_t m, n, length = self.late_samples + SIZE
        cdef float *power = self.scratch + MARGIN
        cdef float *smooth = power + WIDE
        cdef float *re = self.scratch + 2 * WIDE
        cdef float *im = self.scratch + 3 * WIDE
        cdef float *d = self.scratch + 4 * WIDE + 3 * SIZE
        cdef float loud, total
        memset(power, 0, STRIDE * sizeof(float))
        for m in range(self.microphones - 1, -1, -1):  # the first one last: its d is cubed
            for n in range(SIZE):
                d[n] = self.heard[m * length + n] - self.left[m * SIZE + n]
            self.spectrum(d, re, im)
            add_power(re, im, power, 1 / <float> self.microphones, BINS)
        mirror(power, BINS, 2)
        total = spread(power, smooth, FLOOR, BINS)
        ring_on(smooth, self.part(2), AROUND * total / BINS, RELEASE, BINS)
        loud = energy(d, SIZE) / SIZE
        self.level = max(loud, LEVEL_RELEASE * self.level)
        loud = 1 / (self.level + FLOOR)
        for n in range(SIZE):
            d[n] *= d[n] * d[n] * loud
        self.spectrum(d, re, im)
        memset(power, 0, STRIDE * sizeof(float))
        add_power(re, im, power, 1, BINS)
        mirror(power, BINS, 2)
        spread(power, smooth, FLOOR, BINS)
        ring_on(smooth, self.part(3), 0, RELEASE, BINS)

    cdef void background(self) noexcept nogil:
        """N; a hop without any sound teaches nothing."""
        cdef Py_ssize_t k
        cdef float *p = self.part(0)
        cdef float total = 0
        for k in range(BINS):
            total += p[k]
        if total <= SOUND * BINS:
            return
        if self.hops < NOISE_HOPS:
            self.hops += 1
            first_noise(p, self.part(6), 1 / <float> self.hops, BINS)
        else:
            track_noise(p, self.part(6), self.part(7), NOISE_STEP, BINS)

    cdef void gains(self) noexcept nogil:
        """R, v, G and <G>."""
        cdef float *p = self.part(0)
        cdef float *noise = self.part(6)
        cdef float *residual = self.part(8)
        cdef float *gain = self.part(9)
        cdef float now
        if self.echo:
            learn(p, noise, self.part(2), self.part(3), self.part(4), self.part(5), residual,
                  STEP, STEP * (1 - WARY * self.near_end), LEAST_A, MOST_A, BINS)
        now = <float> 2.5 * excess(p, residual, noise, FIRST, LAST) - <float> 0.5
        self.near_end = max(min(now, 1), HOLD * self.near_end)
        wiener(p, self.part(1), residual, noise, gain, exp2f(MOST_BETA_LOG2 - BETA_RANGE_LOG2 * self.near_end), self.noise,
               LEAST_GAIN * exp2f(TALKER_LOG2 * self.near_end), DECISION, SPECK, BINS)
        gain[-1] = gain[0]
        gain[BINS] = gain[BINS - 1]
        smooth3(gain, self.part(10), BINS)

    cdef void leave(self, Py_ssize_t m) noexcept nogil:
        """A microphone's spectrum with the gain, back in time; what is finished goes to `ready`."""
        cdef Py_ssize_t k, n
        cdef float *gain = self.part(10)
        cdef float *noise = self.part(6)
        cdef float *re = self.spectra + 2 * m * STRIDE
        cdef float *im = re + STRIDE
        cdef float *signal = self.scratch + 4 * WIDE
        cdef float *synthesis = self.windows + SIZE
        cdef float *tail = self.tails + m * HOP
        cdef float more
        for k in range(BINS):
            re[k] *= gain[k]
            im[k] *= gain[k]
        if self.comfort_noise:
            for k in range(BINS):
                more = 1 - gain[k] * gain[k]
                more = sqrtf(<float> 1.5 * noise[k] * (more if more > 0 else 0))
                re[k] += more * self.uniform()
                im[k] += more * self.uniform()
        im[0] = im[BINS - 1] = 0
        real_inverse(self.plan, re, im, signal, signal + SIZE)
        for n in range(HOP):
            self.ready[n * self.microphones + m] = tail[n] + synthesis[n] * signal[LONG - HOP + n]
        for n in range(HOP):
            tail[n] = synthesis[HOP + n] * signal[LONG + n]

    cdef inline float uniform(self) noexcept nogil:
        """Within +-1; xorshift32 (Marsaglia, J. Stat. Software 8, 2003)."""
        self.random ^= self.random << 13
        self.random ^= self.random >> 17
        self.random ^= self.random << 5
        return <float> (<int> self.random) * <float> (1.0 / 2147483648.0)
