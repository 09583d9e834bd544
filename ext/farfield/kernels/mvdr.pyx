"""Adaptive beam: minimum variance, distortionless, from noise learnt before the word began (frames of 512 samples, hop 256).

In every bin, with x the microphones' spectra, d a steering vector, P the inverse of the noise's covariance R, and Q what P was
`deferral_hops` ago, so that the filter that cancels is the one learnt before the talker began (a quarter and half of that at
first, growing with what was heard, for a beam that knows nothing yet gains by whatever it has learnt):

    w = Q d / (d^H Q d)            y = w^H x            rho = |d^H Q x|^2 / (d^H Q d  x^H Q x)

rho, 0 to 1, is how well x fits d once the noise is whitened (adaptive coherence estimator): it tells the target's bins from the
noise's whatever their level. The noise is learnt with a step a that rho closes (0.2: open, 0.35: shut), so that it is frozen
bin by bin while the target speaks; without that gate an adaptive beam cancels the target and does worse than a fixed one:

    R = (1 - a) R + a x x^H + a M load pi e_m e_m^H        a = (1 - forgetting) gate(rho)

kept as its inverse by two rank-one updates (Sherman and Morrison). The second is the diagonal loading: one sensor m a hop, in
turn, gets its share, in proportion to the noise's mean power pi. A hop much louder than all that is known first scales R as a
whole, which keeps P well conditioned in single precision. R starts as `coherence`, the beam as superdirective. The part of w
across d is shrunk where the white noise gain would be below -12 dB (Cox's scaled projection), which keeps w^H d = 1.

A postfilter takes down bins in which more noise is left than target. Whitened, the target lies along d alone and noise of now lies
everywhere alike, so that what lies across d tells its level (Gannot and Cohen's beam-to-reference ratio), and no level is
remembered that an interferer's syllables would make wrong. The gain is Wiener's:

    p = 0.6 p + 0.4 |d^H Q x|^2 / (d^H Q d)      n = 0.6 n + 0.4 (x^H Q x - |d^H Q x|^2 / (d^H Q d)) / (M - 1)
    y is multiplied by max(1 - n / p, floor)     p, n: summed over the bin and its two neighbours

One direction: it is the target's, and the gate is always at work. Several: the target is a newcomer, somewhere. For each of
them rho is averaged over every second bin from 312 to 6,282 Hz, bins weighted by how far |Q x|^2 exceeds its mean in known
noise, the trace of Q (at most 30 times): there a known source weighs little however loud it gets. A direction is judged by
how far its average exceeds what is usual there while nobody is: a single source makes rho larger where it is, known or not.
Where the best one exceeds the usual by 0.08, there is somebody (`present`), as long as by 0.02; he is looked at, and the gate
is at work. While nobody is, it looks where rho less twice the usual is largest: not at what makes the noise. The average is
over 60 / M hops while nobody is there (M = 6: 0.16 s), to find him soon, and grows to 1.6 s with him, to be sure where. After
4 s of presence from the same direction he is noise like any other, and usual, so that a device that was switched on is
learnt.

Sound below -90 dB of full scale a bin teaches nothing, and hops are counted from the first that is above it: a stream that
begins in digital silence begins with its first sound. Delay: two hops, 512 samples.
Cost a hop, M microphones, D directions: M + 1 FFTs; 257 (20 M^2 + 24 M) operations for P and Q, 96 (8 M + 5) D for the search,
257 8 M^2 for each change of w, and every `deferral_hops` / 4 hops 96 8 M^2 D / 2 more. M = 6, D = 24: 0.4 million in 16 ms, and
0.2 MB for each of the five kept Q (as M^2: 1.5 MB at 16).
Sources: Capon, Proc. IEEE 57 (1969); Cox, Zeskind, Owen, IEEE Trans. ASSP 35 (1987); Scharf, McWhorter, "Adaptive matched
subspace detectors and adaptive coherence estimators", Asilomar (1996); Gannot, Cohen, "Speech enhancement based on the general
transfer function GSC and postfiltering", IEEE Trans. SAP 12 (2004); Huang, Shabestary, Gruenstein, "Hotword Cleaner",
ICASSP (2019), for the deferral.
"""

import numpy as np

from farfield.kernels import _boundary

cimport numpy as cnp

from farfield.kernels.ace cimport SEARCHED, add_few, add_quadratic, fit, total
from farfield.kernels.boundary cimport ANY, apart, matrix, new_matrix, sound
from farfield.kernels.fft cimport Plan, Read, Write, plan_free, plan_new
from farfield.kernels.hermitian cimport column, downdate, entries, entry, filtered, inner, product
from farfield.kernels.postfilter cimport attenuate
from farfield.kernels.samples cimport Sound, skip, sound_of, take, zeros
from farfield.kernels.stft cimport BINS, HOP, SIZE, STRIDE, analyse, sine_window, synthesise
from libc.math cimport sqrtf
from libc.stdlib cimport free
from libc.string cimport memcpy, memmove, memset

cdef enum:
    MOST_DIRECTIONS = 72
    FIRST = 10      # of the bins that are searched
    EVERY = 2
    START = 8       # hops over which the noise's level is taken before it is learnt
    WARM = 192      # hops before somebody can be new
    LINGER = 40     # hops for which a newcomer is thought to be there still
    PATIENCE = 250  # hops of presence after which he is noise

cdef float SOON = 60       # hops that an average is over while nobody is there, by microphones: two tell directions badly apart
cdef float SOONEST = 8
cdef float LONG = 100      # and at most, with somebody
cdef float USUAL = 0.015625  # step of what is usual, a hop
cdef float LOUDEST = 30
cdef float SURE = 0.05
cdef float COMES = 0.08
cdef float STAYS = 0.02
cdef float OPEN = 0.2
cdef float SHUT = 0.35
cdef float LEAST = 0.1      # of a gate that is open at all: rounding would outweigh smaller steps
cdef float NEAR = 0.5      # correlation of directions between which a talker may seem to move
cdef float MOST_NOISE = 15.848932  # -12 dB of white noise gain
cdef float SILENT = 1e-9
cdef float JUMP = 4
cdef float TINY = 1e-30


cdef inline void steps(Read re, Read im, Read dqd, Read xqx, Read energy, Write a, float step, bint gated) noexcept nogil:
    """The step of each bin: open, shut, or between; 0 where there is nothing to learn from."""
    cdef Py_ssize_t k
    cdef float rho, gate
    for k in range(STRIDE):
        rho = (re[k] * re[k] + im[k] * im[k]) / (dqd[k] * xqx[k])
        gate = (SHUT - rho) * (1 / (SHUT - OPEN))
        gate = gate if gate < 1 else 1
        gate = gate if gate > 0 else 0
        gate = gate if gated else 1
        a[k] = step * gate if energy[k] > SILENT and gate > LEAST else 0


cdef inline float loudest(Read energy) noexcept nogil:
    """The most of any bin."""
    cdef Py_ssize_t k
    cdef float most = 0
    for k in range(BINS):
        most = energy[k] if energy[k] > most else most
    return most


cdef class MVDR:
    """One adaptive beam from 16 kHz microphones, steered to a direction or to whoever is new. See the head of mvdr.pyx.

    steering: complex64 (directions, 257, microphones), 1 to 72 and 2 to 16: a plane wave from there at each microphone.
    coherence: float64 (257, microphones, microphones), of the noise that is expected before any was heard. forgetting: of the
    noise, a hop. loading: diagonal, of the noise's power. deferral_hops: 0, or a multiple of 4 up to 256. gated: False where
    all that is heard is noise. postfilter_db: by how much at most it takes a bin down, 0 (not at all) to 40.
    TypeError, ValueError: another dtype, shape or memory layout, not finite, a coherence that is no covariance, out of range.
    """

    cdef readonly int directions
    cdef readonly int microphones
    cdef readonly int hop
    cdef readonly int delay_samples
    cdef readonly int look   # number of the direction that is looked at
    cdef bint gated
    cdef int somebody, linger, age, hops, filled, period, slots, newest
    cdef float step, load, lowest, density, soon, over
    cdef Plan *plan
    cdef float *memory    # of all that follow
    cdef float *steering  # [direction][microphone][re, im][STRIDE]
    cdef float *few       # [direction][microphone][re, im][SEARCHED]
    cdef float *inverse   # [direction][SEARCHED]: 1 / d^H Q d
    cdef float *near      # [direction][direction]: 1 where a talker may seem to move from one to the other
    cdef float *trace     # [SEARCHED]: of Q
    cdef float *mean      # [direction]: rho, averaged, times density
    cdef float *usual     # [direction]: rho, averaged, while nobody is there
    cdef float *start     # [entry][re, im][STRIDE], as the next two
    cdef float *p
    cdef float *kept      # [slot] of them, a ring
    cdef float *power     # [STRIDE], as the next eight
    cdef float *dqd
    cdef float *xqx
    cdef float *energy
    cdef float *a
    cdef float *f
    cdef float *scale
    cdef float *along     # of d, and across, averaged; and the postfilter's gain
    cdef float *across
    cdef float *gain
    cdef float *w         # [microphone][re, im][STRIDE], as the next three
    cdef float *x
    cdef float *z
    cdef float *c
    cdef float *held      # [microphone][SIZE]
    cdef float *tail      # [HOP]
    cdef float *ready     # [HOP]
    cdef float *scratch   # re, im STRIDE each; window SIZE; 3 SIZE for the transforms
    cdef float *search    # z [microphone][re, im], weight, fit, re, im: SEARCHED each; and Q [entry][re, im][SEARCHED]

    def __cinit__(self, steering, coherence, *, forgetting=0.99, loading=0.02, deferral_hops=64, gated=True, postfilter_db=6):
        cdef Py_ssize_t n
        given = _boundary.array("steering", steering, np.complex64, (None, BINS, None))
        self.directions = _boundary.count("directions in steering", given.shape[0], 1, MOST_DIRECTIONS)
        self.microphones = n = _boundary.count("microphones in steering", given.shape[2], 2, 16)
        field = _boundary.array("coherence", coherence, np.float64, (BINS, n, n))
        if not np.isfinite(given).all() or not np.abs(given).max() <= 2 or not np.abs(given).min() >= 0.5:
            raise ValueError("steering: got values that are no plane wave's, wanted magnitudes from 0.5 to 2")
        self.step = 1 - _boundary.number("forgetting", forgetting, 0.5, 0.9999)
        self.load = _boundary.number("loading", loading, 0.001, 1)
        self.lowest = 10 ** (-_boundary.number("postfilter_db", postfilter_db, 0, 40) / 20)
        deferral = _boundary.count("deferral_hops", deferral_hops, 0, 256)
        if deferral % 4:
            raise ValueError(f"deferral_hops: got {deferral}, wanted a multiple of 4")
        if not np.isfinite(field).all() or np.abs(field).max() > 2 or np.linalg.eigvalsh(field).min() < -1e-6:
            raise ValueError("coherence: got no covariance, wanted symmetric matrices without negative eigenvalues, up to 2")
        self.period, self.slots = (deferral // 4, 5) if deferral else (4, 1)
        self.gated = bool(gated)
        self.soon = max(SOON / n, SOONEST)
        self.hop, self.delay_samples = HOP, SIZE
        self.plan = plan_new(SIZE)
        self.memory = zeros(self.carve(NULL))
        if self.plan == NULL or self.memory == NULL:
            raise MemoryError("MVDR: no memory for its state")
        self.carve(self.memory)
        sine_window(self.scratch + 2 * STRIDE)
        self.lay_steering(given)
        self.lay_start(np.linalg.inv(field + self.load * np.eye(n)))
        self.reset()

    cdef Py_ssize_t carve(self, float *memory) noexcept:
        """Shares out one piece of memory; returns how many floats that takes. Every share is a multiple of 16, 64 bytes."""
        cdef Py_ssize_t g = self.directions, n = self.microphones, size = 2 * entries(n) * STRIDE
        cdef float *at = memory
        self.steering = at
        self.few = self.steering + g * 2 * n * STRIDE
        self.inverse = self.few + g * 2 * n * SEARCHED
        self.near = self.inverse + g * SEARCHED
        self.trace = self.near + (g * g + 15) // 16 * 16
        self.mean = self.trace + SEARCHED
        self.usual = self.mean + (g + 15) // 16 * 16
        self.start = self.usual + (g + 15) // 16 * 16
        self.p = self.start + size
        self.kept = self.p + size
        self.power = self.kept + self.slots * size
        self.dqd, self.xqx, self.energy = self.power + STRIDE, self.power + 2 * STRIDE, self.power + 3 * STRIDE
        self.a, self.f, self.scale = self.power + 4 * STRIDE, self.power + 5 * STRIDE, self.power + 6 * STRIDE
        self.along, self.across, self.gain = self.power + 7 * STRIDE, self.power + 8 * STRIDE, self.power + 9 * STRIDE
        self.w = self.power + 10 * STRIDE
        self.x, self.z, self.c = self.w + 2 * n * STRIDE, self.w + 4 * n * STRIDE, self.w + 6 * n * STRIDE
        self.held = self.w + 8 * n * STRIDE
        self.tail = self.held + n * SIZE
        self.ready = self.tail + HOP
        self.scratch = self.ready + HOP
        self.search = self.scratch + 2 * STRIDE + 4 * SIZE
        return self.search + (2 * n + 4 + 2 * entries(n)) * SEARCHED - memory

    cdef int lay_steering(self, given) except -1:
        cdef const float complex[:, :, ::1] d = given
        cdef Py_ssize_t g, m, k, s
        for g in range(self.directions):
            for m in range(self.microphones):
                for k in range(STRIDE):
                    s = (g * self.microphones + m) * 2 * STRIDE + k
                    self.steering[s] = d[g, k, m].real if k < BINS else 1  # bins of padding stay finite
                    self.steering[s + STRIDE] = d[g, k, m].imag if k < BINS else 0
                for k in range(SEARCHED):
                    s = (g * self.microphones + m) * 2 * SEARCHED + k
                    self.few[s] = d[g, FIRST + EVERY * k, m].real
                    self.few[s + SEARCHED] = d[g, FIRST + EVERY * k, m].imag
        searched = given[:, FIRST:FIRST + EVERY * SEARCHED:EVERY].astype(np.complex128)
        alike = np.abs(np.einsum("gkm,hkm->ghk", searched.conj(), searched)).mean(axis=2) / self.microphones
        cdef const double[:, ::1] correlation = np.ascontiguousarray(alike)
        for g in range(self.directions):
            for m in range(self.directions):
                self.near[g * self.directions + m] = correlation[g, m] > NEAR
        return 0

    cdef int lay_start(self, inverse) except -1:
        cdef const double[:, :, ::1] p = inverse
        cdef Py_ssize_t i, j, k
        for i in range(self.microphones):
            for j in range(i, self.microphones):
                for k in range(STRIDE):
                    self.start[2 * entry(self.microphones, i, j) * STRIDE + k] = p[k, i, j] if k < BINS else i == j
        return 0

    def __dealloc__(self):
        plan_free(self.plan)
        free(self.memory)

    @property
    def present(self):
        """Whether somebody is there who is not noise; always, where there is one direction."""
        return bool(self.somebody)

    def reset(self):
        """Back to the state of a new object."""
        cdef Py_ssize_t s, size = 2 * entries(self.microphones) * STRIDE
        # from power on all is made of sound, but for the transforms' window
        memset(self.power, 0, (self.scratch + 2 * STRIDE - self.power) * sizeof(float))
        memset(self.scratch + 2 * STRIDE + SIZE, 0, 3 * SIZE * sizeof(float))
        memset(self.search, 0, (2 * self.microphones + 4) * SEARCHED * sizeof(float))
        memset(self.mean, 0, self.directions * sizeof(float))
        memset(self.usual, 0, self.directions * sizeof(float))
        memcpy(self.p, self.start, size * sizeof(float))
        for s in range(self.slots):
            memcpy(self.kept + s * size, self.start, size * sizeof(float))
        for s in range(STRIDE):
            self.gain[s] = 1
        self.density = 0
        self.over = self.soon
        self.filled = self.hops = self.look = self.linger = self.age = self.newest = 0
        self.somebody = self.directions == 1
        self.refresh()
        self.aim()

    def process(self, x, out=None):
        """The beam, float32 (frames, 1), `delay_samples` late, of microphones x, (frames, microphones).

        x: float32, full scale 1, or int16. out: memory for the result, or None. Any number of frames a call; the result does not
        depend on it. Samples that are not finite count as 0. TypeError, ValueError: another dtype, shape or memory layout, or out
        sharing memory with x.
        """
        cdef cnp.ndarray given = sound("x", x, ANY, self.microphones)
        cdef Py_ssize_t frames = cnp.PyArray_DIM(given, 0)
        cdef cnp.ndarray made = new_matrix(cnp.NPY_FLOAT32, frames, 1) if out is None else matrix(
            "out", out, cnp.NPY_FLOAT32, frames, 1, writable=True)
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
            memcpy(out, self.ready + self.filled, n * sizeof(float))
            skip(x, n)
            out += n
            frames -= n
            self.filled += n
            if self.filled == HOP:
                self.filled = 0
                self.block()

    cdef inline const float *deferred(self) noexcept nogil:
        """Q: the oldest that is kept."""
        return self.kept + (self.newest + 1) % self.slots * 2 * entries(self.microphones) * STRIDE

    cdef inline int due(self) noexcept nogil:
        """Hops from one Q that is kept to the next: fewer while little was heard."""
        cdef int period = self.period
        cdef int halved
        for halved in range(2):
            period = period // 2 if 16 * period > self.hops and period > 1 else period
        return period

    cdef void block(self) noexcept nogil:
        cdef Py_ssize_t m, k
        cdef float *re = self.scratch
        cdef float *im = re + STRIDE
        cdef float *window = im + STRIDE
        cdef float *spectrum
        for m in range(self.microphones):
            spectrum = self.x + 2 * m * STRIDE
            analyse(self.plan, window, self.held + m * SIZE, spectrum, spectrum + STRIDE, window + SIZE)
            memmove(self.held + m * SIZE, self.held + m * SIZE + HOP, HOP * sizeof(float))
        inner(self.x, self.x, self.energy, self.microphones)
        if self.hops or loudest(self.energy) > SILENT:
            self.listen()
        filtered(self.w, self.x, re, im, self.microphones)
        for k in range(BINS):
            re[k] *= self.gain[k]
            im[k] *= self.gain[k]
        synthesise(self.plan, window, re, im, self.tail, self.ready, 1, window + SIZE)

    cdef void listen(self) noexcept nogil:
        """Finds who is there, and learns the noise."""
        cdef Py_ssize_t k, size = 2 * entries(self.microphones) * STRIDE
        cdef float *re = self.scratch
        cdef float *im = re + STRIDE
        cdef bint gated
        if self.hops >= START and (self.hops - START) % self.due() == 0:
            self.newest = (self.newest + 1) % self.slots
            memcpy(self.kept + self.newest * size, self.p, size * sizeof(float))
            self.refresh()
            self.aim()
        product(self.deferred(), self.x, self.z, self.microphones)
        inner(self.x, self.z, self.xqx, self.microphones)
        for k in range(STRIDE):
            self.xqx[k] = self.xqx[k] + TINY if self.xqx[k] > 0 else TINY
        if self.directions > 1:
            self.find()
        gated = self.gated and self.somebody and self.age <= PATIENCE
        filtered(self.steering + 2 * self.look * self.microphones * STRIDE, self.z, re, im, self.microphones)
        steps(re, im, self.dqd, self.xqx, self.energy, self.a, self.step, gated)
        if self.lowest < 1:
            attenuate(re, im, self.dqd, self.xqx, self.along, self.across, self.gain, self.microphones - 1, self.lowest)
        if self.hops < START:
            self.measure()
        else:
            self.learn()
        self.hops = self.hops + 1 if self.hops < 1 << 30 else START + WARM * self.period

    cdef void refresh(self) noexcept nogil:
        """1 / (d^H Q d) of every direction in the searched bins, and the trace of Q."""
        cdef Py_ssize_t g, i, j, k, e, n = self.microphones
        cdef float *q = self.search + (2 * n + 4) * SEARCHED
        cdef float *few
        cdef float *to
        cdef const float *kept = self.deferred()
        if self.directions == 1:
            return
        for e in range(2 * entries(n)):
            for k in range(SEARCHED):
                q[e * SEARCHED + k] = kept[e * STRIDE + FIRST + EVERY * k]
        memset(self.trace, 0, SEARCHED * sizeof(float))
        for i in range(n):
            for k in range(SEARCHED):
                self.trace[k] += q[2 * entry(n, i, i) * SEARCHED + k]
        for g in range(self.directions):
            few, to = self.few + 2 * g * n * SEARCHED, self.inverse + g * SEARCHED
            memset(to, 0, SEARCHED * sizeof(float))
            e = 0
            for i in range(n):
                for j in range(i, n):
                    add_quadratic(q + e, q + e + SEARCHED, few + 2 * i * SEARCHED, few + (2 * i + 1) * SEARCHED,
                                  few + 2 * j * SEARCHED, few + (2 * j + 1) * SEARCHED, to, 1 if i == j else 2)
                    e += 2 * SEARCHED
            for k in range(SEARCHED):
                to[k] = 1 / to[k]

    cdef void aim(self) noexcept nogil:
        """w of the direction that is looked at, and d^H Q d in every bin."""
        cdef Py_ssize_t m, k, n = self.microphones
        cdef const float *d = self.steering + 2 * self.look * n * STRIDE
        cdef float *noise = self.f
        product(self.deferred(), d, self.w, n)
        inner(d, self.w, self.dqd, n)
        inner(d, d, self.scale, n)
        memset(noise, 0, STRIDE * sizeof(float))
        for m in range(2 * n):
            for k in range(STRIDE):
                self.w[m * STRIDE + k] = self.w[m * STRIDE + k] / self.dqd[k] - d[m * STRIDE + k] / self.scale[k]
                noise[k] += self.w[m * STRIDE + k] * self.w[m * STRIDE + k]
        for k in range(STRIDE):
            noise[k] = (MOST_NOISE - 1 / self.scale[k]) / (noise[k] + TINY)
            noise[k] = sqrtf(noise[k]) if noise[k] < 1 else 1
        for m in range(2 * n):
            for k in range(STRIDE):
                self.w[m * STRIDE + k] = noise[k] * self.w[m * STRIDE + k] + d[m * STRIDE + k] / self.scale[k]

    cdef void find(self) noexcept nogil:
        """Which direction fits best, and whether somebody is there who is not noise."""
        cdef Py_ssize_t g, m, k, n = self.microphones
        cdef float *weight = self.search + 2 * n * SEARCHED
        cdef float *fitting = weight + SEARCHED
        cdef float *re = fitting + SEARCHED
        cdef float *im = re + SEARCHED
        cdef float *few
        cdef float heard, rho, step, most = -1, quiet = -2
        cdef int best = 0, elsewhere = 0, before = self.look
        cdef bint alone = not self.somebody or self.age > PATIENCE  # with noise
        for k in range(SEARCHED):
            fitting[k] = self.xqx[FIRST + EVERY * k]
        if total(fitting) < SEARCHED * SILENT:  # digital silence: nobody comes or goes
            return
        memset(fitting, 0, SEARCHED * sizeof(float))
        for m in range(2 * n):
            for k in range(SEARCHED):
                self.search[m * SEARCHED + k] = self.z[m * STRIDE + FIRST + EVERY * k]
                fitting[k] += self.search[m * SEARCHED + k] * self.search[m * SEARCHED + k]
        for k in range(SEARCHED):
            fitting[k] = fitting[k] / self.trace[k] - 1
            fitting[k] = fitting[k] if fitting[k] < LOUDEST else LOUDEST
            fitting[k] = fitting[k] if fitting[k] > 0 else 0
            weight[k] = fitting[k] / self.xqx[FIRST + EVERY * k]
        heard = total(fitting) / SEARCHED
        self.over = min(self.over + 1, LONG) if self.somebody else self.soon
        self.density += (heard - self.density) / self.over
        step = max(USUAL, 1 / <float> (self.hops + 1))
        for g in range(self.directions):
            few = self.few + 2 * g * n * SEARCHED
            memset(re, 0, 2 * SEARCHED * sizeof(float))
            for m in range(n):
                add_few(few + 2 * m * SEARCHED, few + (2 * m + 1) * SEARCHED, self.search + 2 * m * SEARCHED,
                        self.search + (2 * m + 1) * SEARCHED, re, im)
            fit(re, im, self.inverse + g * SEARCHED, weight, fitting)
            self.mean[g] += (total(fitting) / SEARCHED - self.mean[g]) / self.over
            rho = self.mean[g] / (self.density + SURE)
            if alone:
                self.usual[g] += step * (rho - self.usual[g])
            if rho - self.usual[g] > most:
                best, most = <int> g, rho - self.usual[g]
            if rho - 2 * self.usual[g] > quiet:
                elsewhere, quiet = <int> g, rho - 2 * self.usual[g]
        if self.hops >= WARM and most > (STAYS if self.somebody else COMES):
            self.linger, self.somebody = LINGER, 1
        elif self.linger:
            self.linger -= 1
            best = before
        else:
            self.somebody = 0
            best = elsewhere
        if self.somebody and self.near[best * self.directions + before]:
            self.age = min(self.age + 1, PATIENCE + 1)
        else:
            self.age = 0
        self.look = best
        if best != before:
            self.aim()

    cdef void measure(self) noexcept nogil:
        """The level of the first hops, in which P is to start."""
        cdef Py_ssize_t e, k, s, size = 2 * entries(self.microphones) * STRIDE
        for k in range(STRIDE):
            self.power[k] += self.energy[k] / (self.microphones * START)
        if self.hops < START - 1:
            return
        for k in range(STRIDE):
            self.power[k] += SILENT
        for e in range(2 * entries(self.microphones)):
            for k in range(STRIDE):
                self.p[e * STRIDE + k] = self.start[e * STRIDE + k] / self.power[k]
        for s in range(self.slots):
            memcpy(self.kept + s * size, self.p, size * sizeof(float))

    cdef void learn(self) noexcept nogil:
        """Two rank-one updates of P, of which the second loads one sensor."""
        cdef Py_ssize_t k, n = self.microphones, m = self.hops % n
        cdef float *a = self.a
        cdef float *c
        cdef float jump, v
        for k in range(STRIDE):
            jump = a[k] * self.energy[k] / (n * JUMP * self.power[k])
            jump = jump if jump > 1 else 1
            self.power[k] *= jump
            self.scale[k] = 1 / jump
        product(self.p, self.x, self.z, n)
        inner(self.x, self.z, self.f, n)
        for k in range(STRIDE):  # of P / jump; z is P x still
            self.f[k] = self.scale[k] * self.scale[k] * a[k] / ((1 - a[k]) * (1 - a[k] + a[k] * self.scale[k] * self.f[k]))
            self.scale[k] /= 1 - a[k]
            self.power[k] = (1 - a[k]) * self.power[k] + a[k] * self.energy[k] / n
        downdate(self.p, self.scale, self.f, self.z, n)
        column(self.p, self.c, n, m)
        c = self.c + 2 * m * STRIDE
        for k in range(STRIDE):
            v = a[k] * n * self.load * self.power[k]
            self.f[k] = v / (1 + v * c[k])
            self.scale[k] = 1
        downdate(self.p, self.scale, self.f, self.c, n)
