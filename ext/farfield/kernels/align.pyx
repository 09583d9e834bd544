"""Aligner: finds by how much the loudspeakers' echo is late, follows jumps and clock drift, and lines the references up.

Microphones leave `delay_samples` late, H = late + 64. A reference leaves as x(n - D), D real: read between its samples with a
sinc of 32 taps under a Kaiser window (beta 8, 256 phases, linear between them); where D is whole, bit for bit. D grows by
`rho` a sample; |rho| <= 0.002. D = H until an echo has been found; then so that the echo's strongest path lies 8 to 320
samples into the canceller's tail, and moved only when it does not: after a jump by as much as the echo jumped, so that what
the canceller has learnt fits again.

Every 512 samples, with the microphone held back by late + 1,056 and the references' mean resampled by the drift known so far:

    X[q]    = FFT(Hann x, the 1,024 samples that end q hops ago),  Y = FFT(0..0, Hann y), 512 samples
    P[q]    = Y X*[q] / ((|Y| + 0.3 Yrms) (|X[q]| + 0.3 Xrms))     Yrms, Xrms: per bin, over about a second
    S[q]   += (P[q] - S[q]) / 10                                   where neither X[q] nor Y is a pause
    echo at = argmax over q and t of |IFFT(S[q])[t]|, 512 q + t    two q a hop in turn

A maximum counts where it is 6 times the rms over all lags and two rounds in a row agree within 16 samples (a round of 600 ms
takes 0.35 s). Once an echo is known, one elsewhere must be 1.2 times as high as what is left where the known one was, and 9 times
the rms or twice as high as what is left: chords, whose correlation repeats, do not look like jumps then. Drift is how the phase
of P at the echo's q turns between neighbouring stretches of 4 hops (16 once it is small), both without a pause in half of them;
asked after 4, 8, 12 and 16 pairs (4), until the maximum is 9 times the rms:

    A      += G conj(G one stretch before),  G = sum of P          rho += (argmax IFFT(A)) / length of a stretch

where that is over 50 ppm by short stretches, 10 ppm by long ones, and 4 once a drift is known. An echo that drifts by more than
500 ppm smears over S: as long as none is found, every 1.3 s of sound another drift is tried, 0, 1,100 and -1,100 ppm in turn.

Sources: Knapp, Carter, "The generalized correlation method for estimation of time delay", IEEE Trans. ASSP 24 (1976);
Markovich-Golan, Gannot, Cohen, "Blind sampling rate offset estimation and compensation in wireless acoustic sensor networks",
IWAENC 2012.

Cost: 3 M flops a second of sound, and 100 a sample and reference while the clocks drift. float32; positions float64.
Input that is not finite counts as 0, and beyond +-8 as +-8.
"""

import math

import numpy as np

from farfield.kernels import _boundary

cimport numpy as cnp

from farfield.kernels.between cimport PHASES, TAPS, between
from farfield.kernels.boundary cimport ANY, apart, matrix, new_matrix, sound
from farfield.kernels.fft cimport Plan, plan_free, plan_new, real_forward, real_inverse
from farfield.kernels.phat cimport FLOOR, HOP, STRIDE, accumulate, correlate, normalise
from farfield.kernels.samples cimport Sound, skip, sound_of, take, zeros
from libc.math cimport fabs, fabsf, floor, sqrtf
from libc.stdint cimport int64_t
from libc.stdlib cimport free
from libc.string cimport memcpy, memmove, memset

cdef enum:
    RATE = 16000
    LEAD = 48                # samples that the canceller gets before the strongest path
    NEAREST = 8
    FARTHEST = 320
    MOST_KEPT = 256
    FAR_JUMP = 160           # from here on an echo that moves takes what is learnt with it
    AGREE = 16               # samples
    FAR_RING = 16384         # samples of references that are kept, a power of two
    NEAR_RING = 4096
    SLACK = 528              # samples that the estimator's own resampling starts with
    LEAST_SLACK = 24
    MOST_SLACK = 1032
    COARSE = 4               # hops in a stretch of the drift's
    FINE = 16
    PAIRS = 4                # of stretches, after which the drift's correlation is looked at
    MOST_PAIRS = 16
    PATIENCE = 40            # hops of sound without an echo, after which another drift is tried
    TURNS = 24               # samples that a stretch may move

cdef float FORGET = 1.0 / 10
cdef float SURE = 6
cdef float SURE_OF_JUMP = 9
cdef float HIGHER = 1.2           # than what is left where the echo was, for it to have jumped
cdef float MUCH_HIGHER = 2
cdef float SURE_OF_DRIFT = 9
cdef double MOST_DRIFT = 0.002
cdef double TRIED_DRIFT = 0.0011
cdef double FINE_DRIFT = 150e-6
cdef double LEAST_COARSE = 50e-6  # what is less by short stretches is left to long ones
cdef double LEAST_DRIFT = 10e-6   # what is less is none, so that clocks which do not drift leave the references bit for bit
cdef double LEAST_LEFT = 4e-6     # what is left of a drift that is known, from which on it is removed


cdef class Aligner:
    """Lines references up with the microphones that hear their echo. See the head of align.pyx for equations and sources.

    microphones: 1 to 16. references: 1 to 4. late_samples: by how much a reference may come later than its echo, 0 to 800;
    microphones are held back for it. longest_samples: by how much an echo may come later than its reference, 0 to 9,600.
    drift: whether the clocks' drift is estimated and removed. TypeError, ValueError: an argument out of its range.

    References are moved, and `moves` counts it, at the end of each `update_samples` alone: who gives it sound in such pieces can
    `EchoCanceller.recall` what was learnt before an echo jumped just before the first references that have been moved.
    """

    cdef readonly int microphones
    cdef readonly int references
    cdef readonly int late_samples
    cdef readonly int longest_samples
    cdef readonly int delay_samples
    cdef readonly int update_samples
    cdef readonly int moves       # how often the references were moved to where an echo was found
    cdef bint drift
    cdef int partitions, newest, scanned, filled
    cdef int hold                 # samples that the estimator's microphone is held back
    cdef int stretch, voiced      # hops in the stretch so far, and those of them that are no pause
    cdef int pairs                # of stretches in `turn`
    cdef bint fine, earlier       # whether the drift is small; whether there is a stretch before this one
    cdef bint found, guessed      # whether an echo was found; whether the last round found one
    cdef int at                   # partition of the echo
    cdef float still              # height of the correlation where the echo is known to be
    cdef double echo, guess       # delay of the echo in samples, as agreed on, and by the last round
    cdef double place             # how far into the canceller's tail the echo was put
    cdef double late, slack, rho  # D; the delay of the estimator's reference; growth of both a sample
    cdef double trial             # drift that is tried on the estimator's reference as long as no echo is found
    cdef int tried                # hops of sound that it has been tried for
    cdef int64_t now              # samples taken so far
    cdef Plan *plan
    cdef float *table             # [PHASES + 1][TAPS]
    cdef float *window            # 2 HOP of X, HOP of Y
    cdef float *far               # [reference, and their mean][2 FAR_RING]
    cdef float *near              # [microphone][2 NEAR_RING]
    cdef float *heard             # [2 HOP]: half silence, and the estimator's microphone
    cdef float *played            # [2 HOP]: its reference
    cdef float *x                 # [ring of partitions][re, im][STRIDE]
    cdef float *s                 # [partition][re, im][STRIDE]
    cdef int *loud                # [ring of partitions]: whether X is no pause
    cdef float *peak              # [partition][height, lag, energy]
    cdef float *power             # [X, Y][STRIDE]
    cdef float *turn              # [G, G before, A][re, im][STRIDE]
    cdef float *scratch           # [re, im][STRIDE]; 2 HOP samples; FFT work

    def __cinit__(self, microphones, references, *, late_samples=0, longest_samples=9600, drift=True):
        cdef Py_ssize_t k
        self.microphones = _boundary.count("microphones", microphones, 1, 16)
        self.references = _boundary.count("references", references, 1, 4)
        self.late_samples = _boundary.count("late_samples", late_samples, 0, 800)
        self.longest_samples = _boundary.count("longest_samples", longest_samples, 0, 9600)
        if not isinstance(drift, bool):
            raise TypeError(f"drift: got {type(drift).__name__}, wanted bool")
        self.drift = drift
        self.delay_samples = self.late_samples + LEAD + TAPS // 2
        self.update_samples = HOP
        self.hold = self.late_samples + MOST_SLACK + LEAST_SLACK
        self.partitions = (self.longest_samples + self.hold + HOP - 1) // HOP
        self.plan = plan_new(2 * HOP)
        self.table = zeros((PHASES + 1) * TAPS)
        self.window = zeros(3 * HOP)
        self.far = zeros((self.references + 1) * 2 * FAR_RING)
        self.near = zeros(self.microphones * 2 * NEAR_RING)
        self.heard = zeros(2 * HOP)
        self.played = zeros(2 * HOP)
        self.x = zeros(self.partitions * 2 * STRIDE)
        self.s = zeros(self.partitions * 2 * STRIDE)
        self.loud = <int *> zeros(self.partitions)
        self.peak = zeros(3 * self.partitions)
        self.power = zeros(2 * STRIDE)
        self.turn = zeros(6 * STRIDE)
        self.scratch = zeros(2 * STRIDE + 6 * HOP)
        if (self.plan == NULL or self.table == NULL or self.window == NULL or self.far == NULL or self.near == NULL
                or self.heard == NULL or self.played == NULL or self.x == NULL or self.s == NULL or self.loud == NULL
                or self.peak == NULL or self.power == NULL or self.turn == NULL or self.scratch == NULL):
            raise MemoryError("Aligner: no memory for its state")
        t = np.arange(TAPS)[None, :] - (TAPS // 2 - 1) - np.arange(PHASES + 1)[:, None] / PHASES
        taps = np.sinc(t) * np.i0(8 * np.sqrt(np.maximum(1 - (2 * t / TAPS) ** 2, 0)))
        for k, value in enumerate((taps / taps.sum(axis=1, keepdims=True)).ravel()):
            self.table[k] = value
        for k, value in enumerate(np.concatenate([np.hanning(n + 1)[:n] for n in (2 * HOP, HOP)])):
            self.window[k] = value
        self.reset()

    def __dealloc__(self):
        plan_free(self.plan)
        free(self.table)
        free(self.window)
        free(self.far)
        free(self.near)
        free(self.heard)
        free(self.played)
        free(self.x)
        free(self.s)
        free(self.loud)
        free(self.peak)
        free(self.power)
        free(self.turn)
        free(self.scratch)

    def reset(self):
        """Back to the state of a new object: nothing found, nothing held."""
        memset(self.far, 0, (self.references + 1) * 2 * FAR_RING * sizeof(float))
        memset(self.near, 0, self.microphones * 2 * NEAR_RING * sizeof(float))
        memset(self.heard, 0, 2 * HOP * sizeof(float))
        memset(self.power, 0, 2 * STRIDE * sizeof(float))
        memset(self.scratch, 0, (2 * STRIDE + 6 * HOP) * sizeof(float))
        self.late, self.rho = self.delay_samples, 0
        self.echo = self.guess = self.place = 0
        self.now = self.newest = self.filled = self.at = 0
        self.found = self.fine = False
        self.still = 0
        self.trial = 0
        self.moves = self.tried = 0
        self.begin()

    def forget(self):
        """Zero the microphones' sound that has left already, which the estimator then hears as silence; what was found stays.

        What has yet to leave does, bit for bit, as it would have.
        """
        cdef Py_ssize_t c, t, at
        for c in range(self.microphones):
            for t in range(self.delay_samples, NEAR_RING):
                at = c * 2 * NEAR_RING + ((self.now - 1 - t) & (NEAR_RING - 1))
                self.near[at] = self.near[at + NEAR_RING] = 0
        memset(self.heard, 0, 2 * HOP * sizeof(float))
        memset(self.scratch, 0, (2 * STRIDE + 6 * HOP) * sizeof(float))

    @property
    def echo_samples(self):
        """By how much the echo's strongest path comes later than its reference, lately; None until one was found."""
        return self.echo if self.found else None

    @property
    def drift_ppm(self):
        """By how much the echo falls behind its reference, in millionths: positive where the microphones' clock is faster."""
        return 1e6 * self.rho

    def process(self, mic, ref, mic_out=None, ref_out=None):
        """Microphones `delay_samples` late, and references in line with them: float32 (frames, microphones), (frames, references).

        mic: (frames, microphones). ref: (frames, references). Each float32, full scale 1, or int16. mic_out, ref_out: memory for
        the results, or None. Any number of frames a call; the results do not depend on it. TypeError, ValueError: another
        dtype, shape or memory layout, or an output sharing memory with an input or the other output.
        """
        cdef cnp.ndarray near = sound("mic", mic, ANY, self.microphones)
        cdef Py_ssize_t frames = cnp.PyArray_DIM(near, 0)
        cdef cnp.ndarray far = sound("ref", ref, frames, self.references)
        cdef cnp.ndarray near_out = new_matrix(cnp.NPY_FLOAT32, frames, self.microphones) if mic_out is None else matrix(
            "mic_out", mic_out, cnp.NPY_FLOAT32, frames, self.microphones, writable=True)
        cdef cnp.ndarray far_out = new_matrix(cnp.NPY_FLOAT32, frames, self.references) if ref_out is None else matrix(
            "ref_out", ref_out, cnp.NPY_FLOAT32, frames, self.references, writable=True)
        for name, out, other in (("mic_out", near_out, near), ("mic_out", near_out, far), ("ref_out", far_out, near),
                                 ("ref_out", far_out, far), ("ref_out", far_out, near_out)):
            apart(name, out, other)
        cdef Sound heard = sound_of(near)
        cdef Sound played = sound_of(far)
        cdef float *mics = <float *> cnp.PyArray_DATA(near_out)
        cdef float *refs = <float *> cnp.PyArray_DATA(far_out)
        with nogil:
            self.stream(&heard, &played, mics, refs, frames)
        return near_out, far_out

    cdef void stream(self, Sound *mic, Sound *ref, float *mics, float *refs, Py_ssize_t frames) noexcept nogil:
        cdef Py_ssize_t n, t, c
        while frames:
            n = min(frames, HOP - self.filled)
            for c in range(self.microphones):
                self.keep(mic, c, self.near + c * 2 * NEAR_RING, NEAR_RING, n)
            for c in range(self.references):
                self.keep(ref, c, self.far + c * 2 * FAR_RING, FAR_RING, n)
            for t in range(n):
                self.sample(mics + t * self.microphones, refs + t * self.references)
            skip(mic, n)
            skip(ref, n)
            mics += n * self.microphones
            refs += n * self.references
            frames -= n
            if self.filled == HOP:
                self.filled = 0
                self.estimate()

    cdef inline void keep(self, Sound *from_, Py_ssize_t channel, float *ring, int64_t size, Py_ssize_t n) noexcept nogil:
        """The next n samples of a channel, into a ring and its copy."""
        cdef float *new = self.scratch
        cdef Py_ssize_t t
        cdef int64_t at
        take(from_, channel, new, n)
        for t in range(n):
            at = (self.now + t) & (size - 1)
            ring[at] = ring[at + size] = new[t]

    cdef inline void sample(self, float *mics, float *refs) noexcept nogil:
        """One sample of each output, and of what the estimator works on."""
        cdef Py_ssize_t c
        cdef int64_t at = self.now & (FAR_RING - 1)
        cdef float *mean = self.far + self.references * 2 * FAR_RING
        cdef float sum_ = 0
        self.late = max(self.late + self.rho, <double> (TAPS // 2))
        self.slack += self.rho + self.trial
        for c in range(self.references):
            sum_ += self.far[c * 2 * FAR_RING + at]
            refs[c] = between(self.far + c * 2 * FAR_RING, FAR_RING, <double> self.now - self.late, self.table)
        mean[at] = mean[at + FAR_RING] = sum_ / self.references
        for c in range(self.microphones):
            mics[c] = self.near[c * 2 * NEAR_RING + ((self.now - self.delay_samples) & (NEAR_RING - 1))]
        self.heard[HOP + self.filled] = self.near[(self.now - self.hold) & (NEAR_RING - 1)]
        self.played[HOP + self.filled] = between(mean, FAR_RING, <double> self.now - self.slack, self.table)
        self.now += 1
        self.filled += 1

    cdef void begin(self) noexcept nogil:
        """The estimator starts anew; what was found stays."""
        memset(self.played, 0, 2 * HOP * sizeof(float))
        memset(self.x, 0, self.partitions * 2 * STRIDE * sizeof(float))
        memset(self.s, 0, self.partitions * 2 * STRIDE * sizeof(float))
        memset(self.loud, 0, self.partitions * sizeof(int))
        memset(self.peak, 0, 3 * self.partitions * sizeof(float))
        self.slack = SLACK
        self.scanned = 0
        self.guessed = False
        self.restart_drift()

    cdef void restart_drift(self) noexcept nogil:
        memset(self.turn, 0, 6 * STRIDE * sizeof(float))
        self.stretch = self.voiced = self.pairs = 0
        self.earlier = False

    cdef void estimate(self) noexcept nogil:
        """A hop of the estimator."""
        cdef float *yr = self.scratch
        cdef float *yi = yr + STRIDE
        cdef float *signal = yr + 2 * STRIDE
        cdef float *work = signal + 2 * HOP
        cdef float *x
        cdef Py_ssize_t q, slot, t
        cdef bint loud
        self.newest = (self.newest if self.newest else self.partitions) - 1
        x = self.x + self.newest * 2 * STRIDE
        for t in range(2 * HOP):
            signal[t] = self.played[t] * self.window[t]
        real_forward(self.plan, signal, x, x + STRIDE, work)
        self.loud[self.newest] = normalise(x, x + STRIDE, self.power, 0.05)
        memmove(self.played, self.played + HOP, HOP * sizeof(float))
        memset(signal, 0, HOP * sizeof(float))
        for t in range(HOP):
            signal[HOP + t] = self.heard[HOP + t] * self.window[2 * HOP + t]
        real_forward(self.plan, signal, yr, yi, work)
        loud = normalise(yr, yi, self.power + STRIDE, 0.01)
        for q in range(self.partitions if loud else 0):
            slot = (self.newest + q) % self.partitions
            x = self.x + slot * 2 * STRIDE
            if self.loud[slot]:
                correlate(yr, yi, x, x + STRIDE, self.s + 2 * q * STRIDE, self.s + (2 * q + 1) * STRIDE, FORGET)
        slot = (self.newest + self.at) % self.partitions
        if self.found and self.drift:
            if loud and self.loud[slot]:
                x = self.x + slot * 2 * STRIDE
                accumulate(yr, yi, x, x + STRIDE, self.turn, self.turn + STRIDE)
                self.voiced += 1
            self.follow_drift()
        self.scan()
        if self.scanned < self.partitions:
            self.scan()
        if self.scanned == self.partitions:
            self.scanned = 0
            self.decide()
        if self.drift and not self.found:
            if loud and self.loud[self.newest]:
                self.tried += 1
            if self.tried >= PATIENCE and not self.guessed:
                self.tried = 0
                self.trial = TRIED_DRIFT if self.trial == 0 else -TRIED_DRIFT if self.trial > 0 else 0
                self.begin()
        if not LEAST_SLACK < self.slack < MOST_SLACK:
            self.begin()

    cdef void scan(self) noexcept nogil:
        """The highest place of one partition's correlation."""
        cdef float *s = self.s + self.scanned * 2 * STRIDE
        cdef float *signal = self.scratch + 2 * STRIDE
        cdef float *peak = self.peak + 3 * self.scanned
        cdef Py_ssize_t t, known = <Py_ssize_t> floor(self.echo - self.slack + self.hold + 0.5) - self.scanned * HOP
        s[STRIDE] = s[STRIDE + HOP] = 0
        real_inverse(self.plan, s, s + STRIDE, signal, signal + 2 * HOP)
        peak[0] = peak[1] = peak[2] = 0
        for t in range(HOP):
            peak[2] += signal[t] * signal[t]
            if fabsf(signal[t]) > peak[0]:
                peak[0], peak[1] = fabsf(signal[t]), self.scanned * HOP + t
        if 0 <= known < HOP:
            self.still = 0
            for t in range(max(known - AGREE, 0), min(known + AGREE + 1, HOP)):
                self.still = max(self.still, fabsf(signal[t]))
        self.scanned += 1

    cdef void decide(self) noexcept nogil:
        """After a round: where the echo is, if two rounds agree, and whether the references must be moved."""
        cdef Py_ssize_t q, best = 0
        cdef float energy = 0, rms, least
        cdef double echo, place
        cdef bint agreed, elsewhere
        for q in range(self.partitions):
            energy += self.peak[3 * q + 2]
            if self.peak[3 * q] > self.peak[3 * best]:
                best = q
        rms = sqrtf(energy / (self.partitions * HOP) + FLOOR)
        echo = self.peak[3 * best + 1] - self.hold + self.slack
        elsewhere = self.found and fabs(echo - self.echo) > AGREE
        least = SURE * rms
        if elsewhere:
            least = max(max(least, HIGHER * self.still), min(SURE_OF_JUMP * rms, MUCH_HIGHER * self.still))
        if not self.peak[3 * best] > least:
            self.guessed = False
            return
        agreed = self.guessed and fabs(echo - self.guess) <= AGREE
        self.guess, self.guessed = echo, True
        if not agreed:
            return
        place = echo + self.delay_samples - self.late
        if not NEAREST <= place <= FARTHEST:
            if not self.found or fabs(echo - self.echo) <= FAR_JUMP:
                place = LEAD
            else:
                place = min(max(self.place, <double> LEAD), <double> MOST_KEPT)
            self.late = min(max(echo + self.delay_samples - place, <double> (TAPS // 2)), <double> (FAR_RING - TAPS))
            place = echo + self.delay_samples - self.late
            self.moves += 1
        if not self.found or best != self.at or fabs(echo - self.echo) > FAR_JUMP:
            self.restart_drift()
        self.rho += self.trial
        self.trial = 0
        self.found, self.at, self.echo, self.place = True, best, echo, place

    cdef void follow_drift(self) noexcept nogil:
        """At a stretch's end: how far the phase has turned since the one before, and what that says of the clocks."""
        cdef float *g = self.turn
        cdef float *before = g + 2 * STRIDE
        cdef float *a = g + 4 * STRIDE
        cdef float *signal = self.scratch + 2 * STRIDE
        cdef Py_ssize_t t, best = 0, hops = FINE if self.fine else COARSE
        cdef float energy = 0, left, top, right, bend
        cdef double turned
        cdef bint told, sure
        self.stretch += 1
        if self.stretch < hops:
            return
        told = self.earlier and 2 * self.voiced >= hops
        if told:
            accumulate(g, g + STRIDE, before, before + STRIDE, a, a + STRIDE)
            self.pairs += 1
        memcpy(before, g, 2 * STRIDE * sizeof(float))
        memset(g, 0, 2 * STRIDE * sizeof(float))
        self.earlier = 2 * self.voiced >= hops
        self.stretch = self.voiced = 0
        if not told or self.pairs % PAIRS:
            return
        a[STRIDE] = a[STRIDE + HOP] = 0
        real_inverse(self.plan, a, a + STRIDE, signal, signal + 2 * HOP)
        for t in range(2 * HOP):
            energy += signal[t] * signal[t]
        for t in range(-TURNS + 1, TURNS):
            if signal[t & (2 * HOP - 1)] > signal[best & (2 * HOP - 1)]:
                best = t
        left, top, right = signal[(best - 1) & (2 * HOP - 1)], signal[best & (2 * HOP - 1)], signal[(best + 1) & (2 * HOP - 1)]
        sure = top > SURE_OF_DRIFT * sqrtf(energy / (2 * HOP) + FLOOR)
        if not sure and not self.fine and self.pairs < MOST_PAIRS:
            return
        self.restart_drift()
        if not sure:
            self.fine = False
            return
        bend = left - 2 * top + right
        turned = (best + (0.5 * (left - right) / bend if bend < 0 else 0)) / (hops * HOP)
        if fabs(turned) > (LEAST_COARSE if not self.fine else LEAST_DRIFT if self.rho == 0 else LEAST_LEFT):
            self.rho = min(max(self.rho + (0.8 if self.fine else 1) * turned, -MOST_DRIFT), MOST_DRIFT)
        self.fine = fabs(turned) < FINE_DRIFT
