"""Echo canceller: partitioned-block frequency-domain Kalman filter, several references, several microphones.

With hop B, FFT size 2 B, P partitions of B taps, R references; everything per bin k (B + 1 of them), per microphone:

    X[p,r]  = FFT of reference r, the 2 B samples that end p hops ago                     shared by all microphones
    e       = y - last B of IFFT(sum_p,r X W)                                             overlap-save; E = FFT(0..0, e)
    T       = sum_m 2 |G[m]|^2 (sum_p,r |X|^2 C)[k - m]                                   variance of the echo that is left
    N       = s N + (1 - s) max(2 N / (T + 2 N), 1/10)  M(|E|^2) + floor                   observation noise
    D       = T + 2 N                                                                     innovation variance
    W      += C X* E / D                                                                  Kalman gain C X* / D
    C       = a^2 (C - C^2 |X|^2 / (2 D)) + (1 - a^2) V + floor                           state covariance, diagonal
    V       = |W|^2 / 2 + (mean over k of |W|^2) / 2 + 0.003 C0                           what the path may become
    a^2     = (1 - g) exp(-2 B / memory) + g exp(-2 B / 0.1 s),  g = max(rho - 0.05, 0) / 0.95
    rho     = <d d'> / <(|d|^2 + |d'|^2) / 2>                                             whether the path is changing
    out     = y - last B of IFFT(sum_p,r X W) with the new W: the hop's own sound has taught the filter that cleans it

and the last B taps of `repair` partitions, in turn, are set to zero each hop (the gradient constraint, round robin), which
is also when the mean over k of |W|^2 is taken. W and C are brought up to date, and `out` is made, one hop later, just before
they are used: each hop goes over them once.

d is by how much a partition's B taps have moved since it was last constrained, d' in the turn before that, <> the mean over about
1.25 rounds of all partitions. A filter on its way to another path goes the same way twice; one that a talker or noise pushes
does not: so it may forget slowly, and learn little from a talker, and still follow a path that changes.

G[m], 0.5 at m = 0 and 1 / (i pi m) at odd m, is the spectrum of the window (0..0, 1..1): E in one bin holds the echo of its
neighbours, and a gain that knows of its own bin alone is too large between a voice's harmonics and does not settle.
M is the mean over +-375 Hz. The noise is what the filter does not explain: near-end speech slows it down with no
double-talk detector; the factor in front of M(|E|^2) is the share of the error that was near end by the last hop's account.

C0[p] = g `initial` x a decay of 60 dB in 0.3 s (not below -12 dB), scaled to a sum of 1: a room before anything is learnt.
g is 1 where microphone and references are within 12 dB of each other over the first 0.5 s of sound that is played, else
what lacks to that, within +-30 dB; it rises by at most 1 dB a 64 samples. While nothing is learnt (sum over p, r of the mean of
|W|^2 below 0.01 g) it still rises after that, to 1 at most, as the last 0.5 s of such sound ask for: an amplifier may have been
muted. In V, C0 is that of g = 1 where g is more: a talker over a quiet beginning may have made it so. References that stayed below
-70 dBFS for the whole tail, and a microphone's hop with a flat top above 0.99, teach nothing.

W and C are kept every 2 s of played sound, the last two times; `recall` puts the older ones back, for references that were moved
by as much as their echo had jumped. Every X[p] is 0 then: references from before are not what the echo of now is made of.

Source: Enzner, Vary, "Frequency-domain adaptive Kalman filter for acoustic echo control", Signal Processing 86 (2006);
Kuech, Mabande, Enzner, "State-space architecture of the partitioned-block-based acoustic echo controller", ICASSP 2014.
Steps that go the same way twice ask for larger ones: Sutton, "Adapting bias by gradient descent: an incremental version of
delta-bar-delta", AAAI 1992.

Cost a hop and microphone: about 46 P R (B + 1) operations on 32 P R (B + 1) bytes, 3 FFTs of 2 B points, and 2 `repair` R more;
a hop and reference: one FFT. At 192 ms, hop 128: 142,000 operations, 99 KB, 6 FFTs.

Numbers: float32. Input that is not finite counts as 0, and beyond +-8 (18 dB over full scale) as +-8, so that every
value below stays finite; floors of 1e-12 keep denormals out of the recursions.
"""

import math

import numpy as np

from farfield.kernels import _boundary

cimport numpy as cnp

from farfield.kernels.boundary cimport ANY, apart, matrix, new_matrix, sound
from farfield.kernels.fft cimport Plan, plan_free, plan_new, real_forward, real_inverse
from farfield.kernels.kalman cimport LEAKS_TO, advance, clipped, explain, leak, mean_of_bins, mirror, moved, observe
from farfield.kernels.samples cimport Sound, energy, skip, sound_of, take, zeros
from libc.stdlib cimport free
from libc.string cimport memcpy, memmove, memset

cdef enum:
    RATE = 16000
    LEVEL_BLOCKS_LOG2 = 6  # microphone and error power are averaged over about 64 hops
    SPECTRA = 10           # of scratch memory
    SPARE = 6              # the first of them that what a filter gave before it was constrained goes into
    MARGIN = 16            # floats before and after a spectrum that is smoothed

cdef float FLOOR = 1e-12
cdef float QUIET = 1e-7           # mean square of references that teach nothing
cdef float FLAT = 0.99            # level from which two equal samples are a clipped microphone's
cdef float LEAST_NOISE = 0.1      # share of the error that is taken for noise at least
cdef float STRANGER = 0.003       # share of the path before anything is learnt that it may turn into
cdef float MATCHED = 16           # power ratio of microphone and references that needs no matching
cdef float MOST_MATCHED = 1000
cdef float UNLEARNT = 0.01        # of g: the square of a path that is none
cdef float EVIDENCE = 3e-6        # mean square, over the time of matching, that speaks for equal levels
cdef double KEEP_S = 2            # longer than a jump of the echo takes to be found
cdef double CHANGING_S = 0.1      # memory while the path is changing
cdef float CALM = 0.05            # rho that is no change yet
cdef float ROUNDS = 1.25          # that rho is averaged over
cdef double MATCH_S = 0.5, DECAY_S = 0.3, LEAST_DECAY_DB = 12, SMOOTH_HZ = 375

cdef class EchoCanceller:
    """Takes the loudspeakers' sound out of microphones. See the head of echo.pyx for equations and sources.

    microphones: 1 to 16. references: 1 to 4. hop: 64, 128 or 256 samples; the delay is two hops.
    tail_samples: length of echo path that is learnt, up to 8,192 (512 ms), rounded up to whole hops.
    memory_s: time in which an echo path is expected to change, 0.1 to 1000, while it is not seen to. noise_smoothing: s above,
    for hop 128. initial: the square of the path's gain, over all partitions, that is thought likely before anything is known.
    repair: partitions constrained each hop. TypeError, ValueError: an argument out of its range.
    """

    cdef readonly int microphones
    cdef readonly int references
    cdef readonly int hop
    cdef readonly int tail_samples
    cdef readonly int delay_samples
    cdef int partitions, slots, repair, newest, turn, filled
    cdef int matching             # hops that the levels are matched in
    cdef int to_match             # of them, how many are still to come
    cdef int quiet                # hops since the references were last heard, up to slots
    cdef int keeping              # hops that are learnt from between filters that are kept
    cdef int to_keep              # of them, how many are still to come
    cdef int older                # which of the two kept is the older one
    cdef int kept_turn[2]
    cdef bint observed            # whether `gain` holds a hop's innovation that the filters have not learnt from yet
    cdef Py_ssize_t stride        # floats a spectrum part takes: hop + 1, rounded up to a vector
    cdef Py_ssize_t width         # bins to each side that the error's power is averaged over
    cdef float a2, smoothing, rise
    cdef float changing           # a^2 while the path is changing
    cdef float calming            # share of <> that stays after a hop
    cdef double played            # sum of squares of the references that levels are matched by
    cdef Plan *plan
    cdef float *prior             # [partition]: C0 at equal levels
    cdef float *x                 # [ring of partitions + 1][reference][re, im][stride]
    cdef float *w                 # [microphone][partition][reference][re, im, covariance][stride]
    cdef float *mean              # [microphone][partition][reference]: mean over bins of |W|^2 when last constrained
    cdef float *taps              # [microphone][partition][reference][when last constrained, d'][hop]
    cdef float *motion            # [microphone][<d d'>, <(|d|^2 + |d'|^2) / 2>]
    cdef float *kept              # [2][w, mean, g now]: as they were
    cdef float *gain              # [microphone][re, im of E / D, 1 / D][stride], of the last hop
    cdef float *noise             # [microphone][stride]
    cdef float *far               # [reference][2 hop]: the samples of the next reference spectrum
    cdef float *near              # [microphone][2 hop]: the last hop, and the one that is filling
    cdef float *ready             # [hop][microphone]: the hop that leaves meanwhile
    cdef float *scratch           # [er, ei, yr, yi, power, total, 4 spare][MARGIN, stride, MARGIN]; 2 hop samples; FFT work
    cdef float *level             # [microphone][before, after]
    cdef double *heard            # [microphone]: sum of squares that levels are matched by
    cdef float *match             # [microphone][g now, g before]

    def __cinit__(
        self, microphones, references, *, hop=128, tail_samples=2048, memory_s=3.0, noise_smoothing=0.5, initial=2.5, repair=1
    ):
        cdef Py_ssize_t p
        self.microphones = _boundary.count("microphones", microphones, 1, 16)
        self.references = _boundary.count("references", references, 1, 4)
        self.hop = _boundary.count("hop", hop, 64, 256)
        if self.hop not in (64, 128, 256):
            raise ValueError(f"hop: got {hop}, wanted 64, 128 or 256")
        self.delay_samples = 2 * self.hop
        tail = _boundary.count("tail_samples", tail_samples, 1, 8192)
        self.partitions = -(-tail // self.hop)
        self.slots = self.partitions + 1
        self.tail_samples = self.partitions * self.hop
        self.repair = min(_boundary.count("repair", repair, 1, 128), self.partitions)
        self.a2 = math.exp(-2 * self.hop / (RATE * _boundary.number("memory_s", memory_s, 0.1, 1000)))
        self.changing = min(self.a2, math.exp(-2 * self.hop / (RATE * CHANGING_S)))
        self.calming = 1 - min(self.repair / (ROUNDS * self.partitions), 1)
        self.smoothing = _boundary.number("noise_smoothing", noise_smoothing, 0, 0.999) ** (self.hop / 128.0)
        initial = _boundary.number("initial", initial, 1e-6, 1e6)
        self.matching = <int> (MATCH_S * RATE / self.hop)
        self.rise = 10 ** (0.1 * self.hop / 64.0)
        self.width = <Py_ssize_t> (SMOOTH_HZ * 2 * self.hop / RATE)
        self.stride = (self.hop + 1 + 7) // 8 * 8
        self.plan = plan_new(2 * self.hop)
        self.prior = zeros(self.partitions)
        self.x = zeros(self.slots * self.references * 2 * self.stride)
        self.w = zeros(self.microphones * self.partitions * self.references * 3 * self.stride)
        self.mean = zeros(self.microphones * self.partitions * self.references)
        self.taps = zeros(self.microphones * self.partitions * self.references * 2 * self.hop)
        self.motion = zeros(2 * self.microphones)
        self.keeping = <int> (KEEP_S * RATE / self.hop)
        self.kept = zeros(2 * self.state_floats())
        self.gain = zeros(self.microphones * 3 * self.stride)
        self.noise = zeros(self.microphones * self.stride)
        self.far = zeros(self.references * 2 * self.hop)
        self.near = zeros(self.microphones * 2 * self.hop)
        self.ready = zeros(self.microphones * self.hop)
        self.scratch = zeros(SPECTRA * (self.stride + 2 * MARGIN) + 6 * self.hop)
        self.level = zeros(2 * self.microphones)
        self.heard = <double *> zeros(2 * self.microphones)
        self.match = zeros(2 * self.microphones)
        if (self.plan == NULL or self.prior == NULL or self.x == NULL or self.w == NULL or self.mean == NULL or self.kept == NULL
                or self.taps == NULL or self.motion == NULL or self.gain == NULL or self.noise == NULL or self.far == NULL
                or self.near == NULL or self.ready == NULL or self.scratch == NULL
                or self.level == NULL or self.heard == NULL or self.match == NULL):
            raise MemoryError("EchoCanceller: no memory for its state")
        shape = np.maximum(10 ** (-6 * np.arange(self.partitions) * self.hop / (RATE * DECAY_S)), 10 ** (-LEAST_DECAY_DB / 10))
        for p in range(self.partitions):
            self.prior[p] = initial * shape[p] / shape.sum()
        self.reset()

    def __dealloc__(self):
        plan_free(self.plan)
        free(self.prior)
        free(self.x)
        free(self.w)
        free(self.mean)
        free(self.taps)
        free(self.motion)
        free(self.kept)
        free(self.gain)
        free(self.noise)
        free(self.far)
        free(self.near)
        free(self.ready)
        free(self.scratch)
        free(self.level)
        free(self.heard)
        free(self.match)

    def reset(self):
        """Back to the state of a new object: nothing learnt, nothing held."""
        cdef Py_ssize_t m, p, r, k, filters = self.microphones * self.partitions * self.references
        cdef float *c = self.w + 2 * self.stride
        memset(self.x, 0, self.slots * self.references * 2 * self.stride * sizeof(float))
        memset(self.w, 0, filters * 3 * self.stride * sizeof(float))
        for m in range(self.microphones):
            self.match[2 * m] = self.match[2 * m + 1] = 1
            for p in range(self.partitions):
                for r in range(self.references):
                    for k in range(self.stride):
                        c[k] = self.prior[p]
                    c += 3 * self.stride
        memset(self.mean, 0, filters * sizeof(float))
        memset(self.taps, 0, filters * 2 * self.hop * sizeof(float))
        memset(self.motion, 0, 2 * self.microphones * sizeof(float))
        memset(self.gain, 0, self.microphones * 3 * self.stride * sizeof(float))
        memset(self.noise, 0, self.microphones * self.stride * sizeof(float))
        memset(self.far, 0, self.references * 2 * self.hop * sizeof(float))
        memset(self.near, 0, self.microphones * 2 * self.hop * sizeof(float))
        memset(self.ready, 0, self.microphones * self.hop * sizeof(float))
        memset(self.scratch, 0, (SPECTRA * (self.stride + 2 * MARGIN) + 6 * self.hop) * sizeof(float))
        memset(self.level, 0, 2 * self.microphones * sizeof(float))
        memset(self.heard, 0, self.microphones * sizeof(double))
        self.played = 0
        self.newest = self.turn = self.filled = 0
        self.to_match, self.quiet = self.matching, self.slots
        self.observed = False
        self.older = 0
        self.to_keep = self.keeping
        for m in range(2):
            self.keep(m)

    def recall(self):
        """Puts the filters back to what they were 2 to 4 s of played sound ago, for references that were just moved after a jump.

        What was learnt before the jump fits references that are moved by as much as their echo jumped; what was learnt between
        the jump and its discovery does not.
        """
        with nogil:
            self.put_back()

    @property
    def erle_db(self):
        """Echo return loss enhancement lately (about 64 hops), per microphone: power in over power out, in dB."""
        return np.array([
            10 * math.log10((self.level[2 * m] + FLOOR) / (self.level[2 * m + 1] + FLOOR)) for m in range(self.microphones)
        ])

    def process(self, mic, ref, out=None):
        """Microphones without the echo of the references: float32 (frames, microphones), `delay_samples` late.

        mic: (frames, microphones). ref: (frames, references). Each float32, full scale 1, or int16. out: memory for the result, or
        None. Any number of frames a call; the result does not depend on it. TypeError, ValueError: another dtype, shape or
        memory layout, or out sharing memory with an input.
        """
        cdef cnp.ndarray near = sound("mic", mic, ANY, self.microphones)
        cdef Py_ssize_t frames = cnp.PyArray_DIM(near, 0)
        cdef cnp.ndarray far = sound("ref", ref, frames, self.references)
        cdef cnp.ndarray made = new_matrix(cnp.NPY_FLOAT32, frames, self.microphones) if out is None else matrix(
            "out", out, cnp.NPY_FLOAT32, frames, self.microphones, writable=True)
        apart("out", made, near)
        apart("out", made, far)
        cdef Sound heard = sound_of(near)
        cdef Sound played = sound_of(far)
        cdef float *left = <float *> cnp.PyArray_DATA(made)
        with nogil:
            self.stream(&heard, &played, left, frames)
        return made

    cdef void stream(self, Sound *mic, Sound *ref, float *out, Py_ssize_t frames) noexcept nogil:
        cdef Py_ssize_t c, n
        cdef Py_ssize_t hop = self.hop, mics = self.microphones, refs = self.references
        while frames:
            n = min(frames, hop - self.filled)
            for c in range(mics):
                take(mic, c, self.near + (2 * c + 1) * hop + self.filled, n)
            for c in range(refs):
                take(ref, c, self.far + (2 * c + 1) * hop + self.filled, n)
            memcpy(out, self.ready + self.filled * mics, n * mics * sizeof(float))
            skip(mic, n)
            skip(ref, n)
            out += n * mics
            frames -= n
            self.filled += n
            if self.filled == hop:
                self.filled = 0
                self.block()

    cdef void block(self) noexcept nogil:
        """One hop: the references' spectra, then each microphone's filters brought up to date and its error."""
        cdef Py_ssize_t hop = self.hop, stride = self.stride, m, r
        cdef float played = 0
        cdef float *x
        cdef float *work = self.scratch + SPECTRA * (stride + 2 * MARGIN) + 2 * hop
        self.newest = (self.newest if self.newest else self.slots) - 1
        for r in range(self.references):
            x = self.spectrum(0, r)
            real_forward(self.plan, self.far + 2 * r * hop, x, x + stride, work)
            played += energy(self.far + (2 * r + 1) * hop, hop)
            memmove(self.far + 2 * r * hop, self.far + (2 * r + 1) * hop, hop * sizeof(float))
        self.level_up(played)
        for m in range(self.microphones):
            self.advance_filters(m)
            self.leave(m)
            self.cancel(m)
        if self.observed:
            self.turn = (self.turn + self.repair) % self.partitions
        self.observed = self.quiet < self.slots
        if self.observed:
            self.to_keep -= 1
            if not self.to_keep:
                self.to_keep = self.keeping
                self.keep(self.older)
                self.older = 1 - self.older

    cdef inline Py_ssize_t state_floats(self) noexcept nogil:
        """Of all filters, their means, and the levels that they were matched to."""
        return self.microphones * (self.partitions * self.references * (3 * self.stride + 1) + 1)

    cdef void keep(self, int which) noexcept nogil:
        cdef Py_ssize_t m, filters = self.microphones * self.partitions * self.references
        cdef float *to = self.kept + which * self.state_floats()
        memcpy(to, self.w, filters * 3 * self.stride * sizeof(float))
        memcpy(to + filters * 3 * self.stride, self.mean, filters * sizeof(float))
        for m in range(self.microphones):
            to[filters * (3 * self.stride + 1) + m] = self.match[2 * m]
        self.kept_turn[which] = self.turn

    cdef void put_back(self) noexcept nogil:
        """The older filters, their covariance at the level that is matched to now; references from before the move are silence."""
        cdef Py_ssize_t m, p, k, each = self.partitions * self.references
        cdef Py_ssize_t filters = self.microphones * each
        cdef float *from_ = self.kept + self.older * self.state_floats()
        cdef float *c = self.w + 2 * self.stride
        cdef float *signal = self.scratch + SPECTRA * (self.stride + 2 * MARGIN)
        cdef float scale
        memcpy(self.w, from_, filters * 3 * self.stride * sizeof(float))
        memcpy(self.mean, from_ + filters * 3 * self.stride, filters * sizeof(float))
        for m in range(self.microphones):
            scale = self.match[2 * m] / from_[filters * (3 * self.stride + 1) + m]
            for p in range(each):
                for k in range(self.stride):
                    c[k] *= scale
                c += 3 * self.stride
        for p in range(filters):
            c = self.w + 3 * p * self.stride
            real_inverse(self.plan, c, c + self.stride, signal, signal + 2 * self.hop)
            memcpy(self.taps + 2 * p * self.hop, signal, self.hop * sizeof(float))
            memset(self.taps + (2 * p + 1) * self.hop, 0, self.hop * sizeof(float))
        memset(self.motion, 0, 2 * self.microphones * sizeof(float))
        self.turn = self.kept_turn[self.older]
        self.keep(1 - self.older)
        self.to_keep = self.keeping
        self.observed = False
        memset(self.x, 0, self.slots * self.references * 2 * self.stride * sizeof(float))
        for p in range(self.references):
            memset(self.far + 2 * p * self.hop, 0, self.hop * sizeof(float))

    cdef inline float *spectrum(self, Py_ssize_t ago, Py_ssize_t r) noexcept nogil:
        """Of reference r, `ago` hops ago: its real and imaginary part."""
        cdef Py_ssize_t slot = self.newest + ago
        if slot >= self.slots:
            slot -= self.slots
        return self.x + (slot * self.references + r) * 2 * self.stride

    cdef inline float *part(self, Py_ssize_t number) noexcept nogil:
        """A spectrum of the scratch memory, with its margins around it."""
        return self.scratch + number * (self.stride + 2 * MARGIN) + MARGIN

    cdef void level_up(self, float played) noexcept nogil:
        """Matches the filters' expectations to the levels: at first, and again where an echo comes that was not there yet."""
        cdef Py_ssize_t hop = self.hop, m
        cdef double unknown = EVIDENCE * <double> hop * self.matching, ratio, least = MOST_MATCHED, stays = 1
        cdef bint first = self.to_match > 0
        if self.quiet < self.slots:
            self.quiet += 1
        for m in range(self.microphones):
            self.match[2 * m + 1] = self.match[2 * m]
        if played <= QUIET * hop:
            return
        self.quiet = 0
        if first:
            self.to_match -= 1
        else:
            stays -= 1 / <double> self.matching
        self.played = stays * self.played + played
        for m in range(self.microphones):
            self.heard[m] = stays * self.heard[m] + energy(self.near + (2 * m + 1) * hop, hop)
            ratio = (self.heard[m] + unknown) / (self.played + unknown)
            ratio = max(ratio / MATCHED, 1) if ratio > 1 else min(ratio * MATCHED, 1)
            ratio = min(max(ratio, 1 / least), least if first else 1)
            if first or (ratio > self.match[2 * m] and self.learnt(m) < UNLEARNT * self.match[2 * m]):
                self.match[2 * m] = min(ratio, <double> self.rise * self.match[2 * m])

    cdef inline float learnt(self, Py_ssize_t m) noexcept nogil:
        """The square of the path's gain, as far as the filters know it."""
        cdef Py_ssize_t p, each = self.partitions * self.references
        cdef float total = 0
        for p in range(each):
            total += self.mean[m * each + p]
        return total

    cdef void advance_filters(self, Py_ssize_t m) noexcept nogil:
        """Each filter learns from the last hop, is constrained if it is its turn, and adds its share of both hops' echo."""
        cdef Py_ssize_t stride = self.stride, p, r, since
        cdef float *last
        cdef float *next_
        cdef float *w = self.w + m * self.partitions * self.references * 3 * stride
        cdef float *mean = self.mean + m * self.partitions * self.references
        cdef float *gain = self.gain + 3 * m * stride
        cdef float *total = self.part(5)
        cdef Py_ssize_t spare
        cdef bint constrained
        cdef float now = self.match[2 * m], before = self.match[2 * m + 1]
        cdef float *taps = self.taps + m * self.partitions * self.references * 2 * self.hop
        cdef float *motion = self.motion + 2 * m
        cdef float a2 = self.forgetting(motion) if self.observed else 1, settled
        for p in range(4):
            memset(self.part(p), 0, stride * sizeof(float))
        memset(total, 0, stride * sizeof(float))
        if self.observed:
            motion[0] *= self.calming
            motion[1] *= self.calming
        for p in range(self.partitions):
            since = p - self.turn if p >= self.turn else p - self.turn + self.partitions
            for r in range(self.references):
                last = self.spectrum(p + 1, r)
                next_ = self.spectrum(p, r)
                settled = (1 - a2) * (<float> 0.5 * mean[0] + STRANGER * min(before, 1) * self.prior[p]) + FLOOR
                constrained = self.observed and since < self.repair
                spare = SPARE if constrained else 0
                advance(last, last + stride, next_, next_ + stride, gain, gain + stride, gain + 2 * stride,
                        w, w + stride, w + 2 * stride, self.part(2 + spare), self.part(3 + spare), self.part(spare),
                        self.part(1 + spare), total, a2, <float> 0.5 * (1 - a2), settled, now / before, stride)
                if constrained:
                    mean[0] = self.constrain(w)
                    moved(self.scratch + SPECTRA * (stride + 2 * MARGIN), taps, taps + self.hop, motion, self.hop)
                    explain(last, last + stride, w, w + stride, self.part(2), self.part(3), stride)
                    explain(next_, next_ + stride, w, w + stride, self.part(0), self.part(1), stride)
                w += 3 * stride
                taps += 2 * self.hop
                mean += 1

    cdef inline float forgetting(self, const float *motion) noexcept nogil:
        """a^2, by whether the path is changing."""
        cdef float g = (motion[0] / (motion[1] + FLOOR) - CALM) / (1 - CALM)
        g = g if g > 0 else 0
        return self.a2 + g * (self.changing - self.a2)

    cdef void leave(self, Py_ssize_t m) noexcept nogil:
        """Takes the echo out of the last hop, with filters that have learnt from it."""
        cdef Py_ssize_t hop = self.hop, t
        cdef float *yr = self.part(2)
        cdef float *yi = self.part(3)
        cdef float *signal = self.scratch + SPECTRA * (self.stride + 2 * MARGIN)
        cdef float *near = self.near + 2 * m * hop
        yi[0] = yi[hop] = 0
        real_inverse(self.plan, yr, yi, signal, signal + 2 * hop)
        for t in range(hop):
            signal[t] = near[t] - signal[hop + t]
            self.ready[t * self.microphones + m] = signal[t]
        self.level[2 * m] += (energy(near, hop) - self.level[2 * m]) / (1 << LEVEL_BLOCKS_LOG2) + FLOOR
        self.level[2 * m + 1] += (energy(signal, hop) - self.level[2 * m + 1]) / (1 << LEVEL_BLOCKS_LOG2) + FLOOR

    cdef void cancel(self, Py_ssize_t m) noexcept nogil:
        """Takes the predicted echo out of the microphone's hop; what is left is the innovation to learn from."""
        cdef Py_ssize_t hop = self.hop, stride = self.stride, bins = hop + 1, t, k
        cdef float *gain = self.gain + 3 * m * stride
        cdef float *er = self.part(0)
        cdef float *ei = self.part(1)
        cdef float *smooth = self.part(2)
        cdef float *leaked = self.part(3)
        cdef float *power = self.part(4)
        cdef float *total = self.part(5)
        cdef float *signal = self.scratch + SPECTRA * (stride + 2 * MARGIN)
        cdef float *work = signal + 2 * hop
        cdef float *near = self.near + (2 * m + 1) * hop
        ei[0] = ei[hop] = 0
        real_inverse(self.plan, er, ei, signal, work)
        memset(signal, 0, hop * sizeof(float))
        for t in range(hop):
            signal[hop + t] = near[t] - signal[hop + t]
        real_forward(self.plan, signal, er, ei, work)
        for k in range(bins):
            power[k] = er[k] * er[k] + ei[k] * ei[k]
        mirror(power, bins, self.width)
        mirror(total, bins, LEAKS_TO)
        mean_of_bins(power, smooth, self.width, bins)
        leak(total, leaked, bins)
        observe(er, ei, self.noise + m * stride, smooth, leaked, gain, gain + stride, gain + 2 * stride,
                self.smoothing, LEAST_NOISE, FLOOR, bins)
        if self.quiet == self.slots or clipped(near, FLAT, hop):
            memset(gain, 0, 3 * stride * sizeof(float))
        memcpy(near - hop, near, hop * sizeof(float))

    cdef float constrain(self, float *w) noexcept nogil:
        """Takes out of a filter what circular convolution put into its second half; the mean over all bins of |W|^2 then.

        Its taps stay in scratch memory.
        """
        cdef Py_ssize_t hop = self.hop, stride = self.stride
        cdef float *signal = self.scratch + SPECTRA * (stride + 2 * MARGIN)
        w[stride] = w[stride + hop] = 0
        real_inverse(self.plan, w, w + stride, signal, signal + 2 * hop)
        memset(signal + hop, 0, hop * sizeof(float))
        real_forward(self.plan, signal, w, w + stride, signal + 2 * hop)
        return energy(signal, hop)
