"""Echo canceller: partitioned-block frequency-domain Kalman filter, several references, several microphones.

With hop B, FFT size 2 B, P partitions of B taps, R references; everything per bin k (B + 1 of them), per microphone:

    X[p,r]  = FFT of reference r, the 2 B samples that end p hops ago                     shared by all microphones
    e       = y - last B of IFFT(sum_p,r X W)                                             overlap-save
    E       = FFT(0..0, e)
    N       = s N + (1 - s) |E|^2 + floor                                                 observation noise
    D       = sum_p,r |X|^2 C + 2 N                                                       innovation variance
    W      += C X* E / D                                                                  Kalman gain C X* / D
    C       = a^2 (C - C^2 |X|^2 / (2 D)) + (1 - a^2) |W|^2 + floor                       state covariance, diagonal

and the last B taps of `repair` partitions, in turn, are set to zero each hop (the gradient constraint, round robin).
W and C are brought up to date one hop later, just before they are used: each hop goes over them once, not twice.
The observation noise is what the filter does not explain, so near-end speech slows it down with no double-talk detector.
Source: Enzner, Vary, "Frequency-domain adaptive Kalman filter for acoustic echo control", Signal Processing 86 (2006);
Kuech, Mabande, Enzner, "State-space architecture of the partitioned-block-based acoustic echo controller", ICASSP 2014.

Cost a hop and microphone: about 35 P R (B + 1) operations on 32 P R (B + 1) bytes, 2 FFTs of 2 B points, and 2 `repair` R more;
a hop and reference: one FFT. At 192 ms, hop 128: 99,000 operations, 87 KB, 6 FFTs; the floor at 8 a cycle is 12,400 cycles in 8 ms.

Numbers: float32. Input that is not finite counts as 0, and beyond +-8 (18 dB over full scale) as +-8, so that every
value below stays finite; floors of 1e-12 keep denormals out of the recursions.
"""

import math

import numpy as np

from farfield.kernels import _boundary

cimport numpy as cnp

from farfield.kernels.boundary cimport ANY, apart, matrix, new_matrix, sound
from farfield.kernels.fft cimport Plan, Read, Write, plan_free, plan_new, real_forward, real_inverse
from farfield.kernels.samples cimport Sound, energy, skip, sound_of, take, zeros
from libc.stdlib cimport free
from libc.string cimport memcpy, memmove, memset

cdef enum:
    RATE = 16000
    LEVEL_BLOCKS_LOG2 = 6  # microphone and error power are averaged over about 64 hops

cdef float FLOOR = 1e-12

cdef inline void explain(
    Read xr, Read xi, Read wr, Read wi, Read c, Write er, Write ei, Write total, Py_ssize_t n
) noexcept nogil:
    """Adds one partition's share of the echo, and of the innovation variance."""
    cdef Py_ssize_t k
    for k in range(n):
        er[k] += xr[k] * wr[k] - xi[k] * wi[k]
        ei[k] += xr[k] * wi[k] + xi[k] * wr[k]
        total[k] += (xr[k] * xr[k] + xi[k] * xi[k]) * c[k]


cdef inline void observe(
    Read er, Read ei, Write noise, Read total, Write gr, Write gi, Write inverse, float s, Py_ssize_t n
) noexcept nogil:
    """Takes the error into the observation noise; leaves E / D in (gr, gi) and 1 / D in inverse."""
    cdef Py_ssize_t k
    cdef float q
    for k in range(n):
        noise[k] = s * noise[k] + (1 - s) * (er[k] * er[k] + ei[k] * ei[k]) + FLOOR
        q = 1 / (total[k] + 2 * noise[k])
        inverse[k] = q
        gr[k] = er[k] * q
        gi[k] = ei[k] * q


cdef inline void learn(
    Read xr, Read xi, Read gr, Read gi, Read inverse, Write wr, Write wi, Write c, float a2, Py_ssize_t n
) noexcept nogil:
    """One partition's Kalman step."""
    cdef Py_ssize_t k
    cdef float r, i, power
    for k in range(n):
        power = xr[k] * xr[k] + xi[k] * xi[k]
        r = wr[k] + c[k] * (xr[k] * gr[k] + xi[k] * gi[k])
        i = wi[k] + c[k] * (xr[k] * gi[k] - xi[k] * gr[k])
        c[k] = a2 * (c[k] - 0.5 * c[k] * c[k] * power * inverse[k]) + (1 - a2) * (r * r + i * i) + FLOOR
        wr[k] = r
        wi[k] = i


cdef class EchoCanceller:
    """Takes the loudspeakers' sound out of microphones. See the head of echo.pyx for equations and sources.

    microphones: 1 to 16. references: 1 to 4. hop: 64, 128 or 256 samples, which is also the delay.
    tail_samples: length of echo path that is learnt, up to 8,192 (512 ms), rounded up to whole hops.
    memory_s: time in which an echo path is expected to change, 0.1 to 1000. noise_smoothing: s above, for hop 128.
    initial: first state covariance: the square of the path gain per partition that is thought likely.
    repair: partitions constrained each hop. TypeError, ValueError: an argument out of its range.
    """

    cdef readonly int microphones
    cdef readonly int references
    cdef readonly int hop
    cdef readonly int tail_samples
    cdef readonly int delay_samples
    cdef int partitions, slots, repair, newest, turn, filled
    cdef bint observed            # whether `gain` holds a hop's innovation that the filters have not learnt from yet
    cdef Py_ssize_t stride        # floats a spectrum part takes: hop + 1, rounded up to a vector
    cdef float a2, smoothing, initial
    cdef Plan *plan
    cdef float *x                 # [ring of partitions + 1][reference][re, im][stride]
    cdef float *w                 # [microphone][partition][reference][re, im, covariance][stride]
    cdef float *gain              # [microphone][re, im of E / D, 1 / D][stride], of the last hop
    cdef float *noise             # [microphone][stride]
    cdef float *far               # [reference][2 hop]: the samples of the next reference spectrum
    cdef float *near              # [microphone][hop]: the hop that is filling
    cdef float *ready             # [hop][microphone]: the hop that leaves meanwhile
    cdef float *scratch           # er, ei, total, each stride; 2 hop samples; FFT work
    cdef float *level             # [microphone][before, after]

    def __cinit__(
        self, microphones, references, *, hop=128, tail_samples=2048, memory_s=2.0, noise_smoothing=0.7, initial=0.3, repair=2
    ):
        self.microphones = _boundary.count("microphones", microphones, 1, 16)
        self.references = _boundary.count("references", references, 1, 4)
        self.hop = self.delay_samples = _boundary.count("hop", hop, 64, 256)
        if self.hop not in (64, 128, 256):
            raise ValueError(f"hop: got {hop}, wanted 64, 128 or 256")
        tail = _boundary.count("tail_samples", tail_samples, 1, 8192)
        self.partitions = -(-tail // self.hop)
        self.slots = self.partitions + 1
        self.tail_samples = self.partitions * self.hop
        self.repair = min(_boundary.count("repair", repair, 1, 128), self.partitions)
        self.a2 = math.exp(-2 * self.hop / (RATE * _boundary.number("memory_s", memory_s, 0.1, 1000)))
        self.smoothing = _boundary.number("noise_smoothing", noise_smoothing, 0, 0.999) ** (self.hop / 128.0)
        self.initial = _boundary.number("initial", initial, 1e-6, 1e6)
        self.stride = (self.hop + 1 + 7) // 8 * 8
        self.plan = plan_new(2 * self.hop)
        self.x = zeros(self.slots * self.references * 2 * self.stride)
        self.w = zeros(self.microphones * self.partitions * self.references * 3 * self.stride)
        self.gain = zeros(self.microphones * 3 * self.stride)
        self.noise = zeros(self.microphones * self.stride)
        self.far = zeros(self.references * 2 * self.hop)
        self.near = zeros(self.microphones * self.hop)
        self.ready = zeros(self.microphones * self.hop)
        self.scratch = zeros(3 * self.stride + 6 * self.hop)
        self.level = zeros(2 * self.microphones)
        if (self.plan == NULL or self.x == NULL or self.w == NULL or self.gain == NULL or self.noise == NULL
                or self.far == NULL or self.near == NULL or self.ready == NULL or self.scratch == NULL or self.level == NULL):
            raise MemoryError("EchoCanceller: no memory for its state")
        self.reset()

    def __dealloc__(self):
        plan_free(self.plan)
        free(self.x)
        free(self.w)
        free(self.gain)
        free(self.noise)
        free(self.far)
        free(self.near)
        free(self.ready)
        free(self.scratch)
        free(self.level)

    def reset(self):
        """Back to the state of a new object: nothing learnt, nothing held."""
        cdef Py_ssize_t i, k, filters = self.microphones * self.partitions * self.references
        memset(self.x, 0, self.slots * self.references * 2 * self.stride * sizeof(float))
        memset(self.w, 0, filters * 3 * self.stride * sizeof(float))
        for i in range(filters):
            for k in range(self.stride):
                self.w[(3 * i + 2) * self.stride + k] = self.initial
        memset(self.gain, 0, self.microphones * 3 * self.stride * sizeof(float))
        memset(self.noise, 0, self.microphones * self.stride * sizeof(float))
        memset(self.far, 0, self.references * 2 * self.hop * sizeof(float))
        memset(self.near, 0, self.microphones * self.hop * sizeof(float))
        memset(self.ready, 0, self.microphones * self.hop * sizeof(float))
        memset(self.scratch, 0, (3 * self.stride + 6 * self.hop) * sizeof(float))
        memset(self.level, 0, 2 * self.microphones * sizeof(float))
        self.newest = self.turn = self.filled = 0
        self.observed = False

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
                take(mic, c, self.near + c * hop + self.filled, n)
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
        cdef float *x
        cdef float *work = self.scratch + 3 * stride + 2 * hop
        self.newest = (self.newest if self.newest else self.slots) - 1
        for r in range(self.references):
            x = self.spectrum(0, r)
            real_forward(self.plan, self.far + 2 * r * hop, x, x + stride, work)
            memmove(self.far + 2 * r * hop, self.far + (2 * r + 1) * hop, hop * sizeof(float))
        for m in range(self.microphones):
            self.predict(m)
            self.cancel(m)
        if self.observed:
            self.turn = (self.turn + self.repair) % self.partitions
        self.observed = True

    cdef inline float *spectrum(self, Py_ssize_t ago, Py_ssize_t r) noexcept nogil:
        """Of reference r, `ago` hops ago: its real and imaginary part."""
        cdef Py_ssize_t slot = self.newest + ago
        if slot >= self.slots:
            slot -= self.slots
        return self.x + (slot * self.references + r) * 2 * self.stride

    cdef void predict(self, Py_ssize_t m) noexcept nogil:
        """Each filter learns from the last hop, is constrained if it is its turn, and adds its share of this hop's echo."""
        cdef Py_ssize_t stride = self.stride, p, r, since
        cdef float *x
        cdef float *w = self.w + m * self.partitions * self.references * 3 * stride
        cdef float *gain = self.gain + 3 * m * stride
        cdef float *er = self.scratch
        memset(er, 0, 3 * stride * sizeof(float))
        for p in range(self.partitions):
            since = p - self.turn if p >= self.turn else p - self.turn + self.partitions
            for r in range(self.references):
                if self.observed:
                    x = self.spectrum(p + 1, r)
                    learn(x, x + stride, gain, gain + stride, gain + 2 * stride,
                          w, w + stride, w + 2 * stride, self.a2, stride)
                    if since < self.repair:
                        self.constrain(w)
                x = self.spectrum(p, r)
                explain(x, x + stride, w, w + stride, w + 2 * stride, er, er + stride, er + 2 * stride, stride)
                w += 3 * stride

    cdef void cancel(self, Py_ssize_t m) noexcept nogil:
        """Takes the predicted echo out of the microphone's hop; what is left is the innovation to learn from."""
        cdef Py_ssize_t hop = self.hop, stride = self.stride, t
        cdef float *gain = self.gain + 3 * m * stride
        cdef float *er = self.scratch
        cdef float *ei = er + stride
        cdef float *signal = er + 3 * stride
        cdef float *work = signal + 2 * hop
        cdef float *near = self.near + m * hop
        ei[0] = ei[hop] = 0
        real_inverse(self.plan, er, ei, signal, work)
        memset(signal, 0, hop * sizeof(float))
        for t in range(hop):
            signal[hop + t] = near[t] - signal[hop + t]
            self.ready[t * self.microphones + m] = signal[hop + t]
        self.level[2 * m] += (energy(near, hop) - self.level[2 * m]) / (1 << LEVEL_BLOCKS_LOG2) + FLOOR
        self.level[2 * m + 1] += (energy(signal + hop, hop) - self.level[2 * m + 1]) / (1 << LEVEL_BLOCKS_LOG2) + FLOOR
        real_forward(self.plan, signal, er, ei, work)
        observe(er, ei, self.noise + m * stride, er + 2 * stride, gain, gain + stride, gain + 2 * stride, self.smoothing, stride)

    cdef void constrain(self, float *w) noexcept nogil:
        """Takes out of a filter what circular convolution put into its second half."""
        cdef Py_ssize_t hop = self.hop, stride = self.stride
        cdef float *signal = self.scratch + 3 * stride
        w[stride] = w[stride + hop] = 0
        real_inverse(self.plan, w, w + stride, signal, signal + 2 * hop)
        memset(signal + hop, 0, hop * sizeof(float))
        real_forward(self.plan, signal, w, w + stride, signal + 2 * hop)
