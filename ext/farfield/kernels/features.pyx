"""Fixed-point features: the open micro front end that microWakeWord models expect, bit for bit.

Every 10 ms, from the last 30 ms of 16 kHz sound, 40 numbers:

    y[n] = x[n] w[n] >> 12                                480-sample Hann window, Q12
    Y    = FFT512(y << s), s = 15 - bits(max |y|)         block scaling; int16, each radix-4 stage divided by 4
    E[k] = Re Y[k]^2 + Im Y[k]^2                          uint32, at most 2 * 32767^2 < 2^31
    m[c] = round(sqrt(sum_k W[c,k] E[k])) >> s            40 triangular mel bands, 125 to 7500 Hz, Q12 weights; sums < 2^48
    N[c] = (a[c] (m[c] << 10) + (2^14 - a[c]) N[c]) >> 14 noise estimate, Q10; a = 0.025 (even c) or 0.06 (odd c), Q14
    u[c] = max(((m << 10) - min(N, m << 10)) >> 10, 0.05 m)
    v[c] = shrink(u[c] G(N[c]) >> 6), Q12                 per-channel gain (PCAN), G(N) = 2^21 (N / 2^7 + 80)^-0.95 by table
    f[c] = 64 ln(8 v[c]), rounded                         uint16; one unit is 1/64 neper, 0.0390625 of the float scale

Source: Lyon, Katz, "Trainable frontend" (Wang et al., ICASSP 2017) in the integer form published as TensorFlow's
microfrontend; held to the package pymicro-features 2.0.2, whose floats are these integers times 0.0390625.

The complex FFT of 256 points is decimated in time by four, four times. The first two stages run over the decimated index
(contiguous, 64 and 16 long), the data are then transposed once, and the last two run over the frequency index
(16 and 64 long), so that every loop is a contiguous vector loop while each butterfly rounds exactly as published.
"""

import numpy as np

from farfield.kernels import _boundary, _feature_tables

cimport numpy as cnp

from farfield.kernels.boundary cimport ANY, apart, matrix, new_matrix, vector
from farfield.kernels.fixedpoint cimport bit_length32, q15_mul, q15_round, rounded_sqrt
from libc.stdint cimport int16_t, int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove, memset

cdef enum:
    WINDOW = 480
    HOP = 160
    CHANNELS = 40
    BANDS = 41
    POINTS = 256
    HALF = 128
    MOST_BINS = 256
    QUARTER = 8191  # 32767 / 4 and 32767 / 2 as the published FFT divides them
    HALVED = 16383
    EVEN_SMOOTHING = 409  # 0.025, 0.06 and 0.05 in Q14
    ODD_SMOOTHING = 983
    LEAST_REMAINING = 819
    NOISE_BITS = 10
    LOG_COEFFICIENT = 45426  # ln 2 in Q16


cdef struct Tables:
    int16_t window[WINDOW]
    int16_t cosine[POINTS]
    int16_t sine[POINTS]
    int16_t stage_cosine[3][3][64]  # of stages 2 to 4, for the second to fourth leg, by frequency index
    int16_t stage_sine[3][3][64]
    int16_t split_cosine[HALF]
    int16_t split_sine[HALF]
    int32_t first_bin
    int32_t bins
    int32_t band_end[BANDS]  # counted from first_bin
    uint32_t falling[MOST_BINS]
    uint32_t rising[MOST_BINS]
    int16_t gain[128]
    int32_t log2_residue[130]


cdef struct State:
    int16_t held[WINDOW]  # samples that the next window still needs
    int32_t used
    uint32_t noise[CHANNELS]


cdef struct Work:
    int16_t re[2][POINTS]
    int16_t im[2][POINTS]
    int16_t bin_re[POINTS]
    int16_t bin_im[POINTS]
    uint64_t weighted_falling[MOST_BINS]
    uint64_t weighted_rising[MOST_BINS]
    uint32_t signal[CHANNELS]


cdef inline void butterflies(
    const int16_t *re, const int16_t *im, Py_ssize_t leg, Py_ssize_t count,
    const int16_t *c, const int16_t *s, Py_ssize_t twiddle_leg, Py_ssize_t twiddle_step,
    int16_t *out_re, int16_t *out_im, Py_ssize_t out_leg,
) noexcept nogil:
    """`count` radix-4 butterflies side by side: legs `leg` apart in, `out_leg` apart out, each leg divided by 4 first.

    Leg l >= 1 is turned by twiddle (c, s)[(l - 1) * twiddle_leg + i * twiddle_step].
    """
    cdef Py_ssize_t i, t
    cdef int16_t ar, ai, br, bi, cr, ci, dr, di, ur, ui, vr, vi, wr, wi
    cdef int16_t sum_r, sum_i, dif_r, dif_i, odd_r, odd_i, turn_r, turn_i
    for i in range(count):
        t = i * twiddle_step
        ar = q15_mul(re[i], QUARTER)
        ai = q15_mul(im[i], QUARTER)
        ur = q15_mul(re[leg + i], QUARTER)
        ui = q15_mul(im[leg + i], QUARTER)
        vr = q15_mul(re[2 * leg + i], QUARTER)
        vi = q15_mul(im[2 * leg + i], QUARTER)
        wr = q15_mul(re[3 * leg + i], QUARTER)
        wi = q15_mul(im[3 * leg + i], QUARTER)
        br = q15_round(<int32_t> ur * c[t] - <int32_t> ui * s[t])
        bi = q15_round(<int32_t> ur * s[t] + <int32_t> ui * c[t])
        cr = q15_round(<int32_t> vr * c[twiddle_leg + t] - <int32_t> vi * s[twiddle_leg + t])
        ci = q15_round(<int32_t> vr * s[twiddle_leg + t] + <int32_t> vi * c[twiddle_leg + t])
        dr = q15_round(<int32_t> wr * c[2 * twiddle_leg + t] - <int32_t> wi * s[2 * twiddle_leg + t])
        di = q15_round(<int32_t> wr * s[2 * twiddle_leg + t] + <int32_t> wi * c[2 * twiddle_leg + t])
        sum_r = <int16_t> (ar + cr)
        sum_i = <int16_t> (ai + ci)
        dif_r = <int16_t> (ar - cr)
        dif_i = <int16_t> (ai - ci)
        odd_r = <int16_t> (br + dr)
        odd_i = <int16_t> (bi + di)
        turn_r = <int16_t> (br - dr)
        turn_i = <int16_t> (bi - di)
        out_re[i] = <int16_t> (sum_r + odd_r)
        out_im[i] = <int16_t> (sum_i + odd_i)
        out_re[out_leg + i] = <int16_t> (dif_r + turn_i)
        out_im[out_leg + i] = <int16_t> (dif_i - turn_r)
        out_re[2 * out_leg + i] = <int16_t> (sum_r - odd_r)
        out_im[2 * out_leg + i] = <int16_t> (sum_i - odd_i)
        out_re[3 * out_leg + i] = <int16_t> (dif_r - turn_i)
        out_im[3 * out_leg + i] = <int16_t> (dif_i + turn_r)


cdef inline void first_butterflies(const int16_t *re, const int16_t *im, int16_t *out_re, int16_t *out_im) noexcept nogil:
    """The 64 butterflies of the first stage, whose twiddles are one: multiplying by 32,767 leaves a quarter unchanged."""
    cdef Py_ssize_t i
    cdef int16_t ar, ai, br, bi, cr, ci, dr, di
    for i in range(64):
        ar = q15_mul(re[i], QUARTER)
        ai = q15_mul(im[i], QUARTER)
        br = q15_mul(re[64 + i], QUARTER)
        bi = q15_mul(im[64 + i], QUARTER)
        cr = q15_mul(re[128 + i], QUARTER)
        ci = q15_mul(im[128 + i], QUARTER)
        dr = q15_mul(re[192 + i], QUARTER)
        di = q15_mul(im[192 + i], QUARTER)
        out_re[i] = <int16_t> (ar + cr + br + dr)
        out_im[i] = <int16_t> (ai + ci + bi + di)
        out_re[64 + i] = <int16_t> (ar - cr + bi - di)
        out_im[64 + i] = <int16_t> (ai - ci - br + dr)
        out_re[128 + i] = <int16_t> (ar + cr - br - dr)
        out_im[128 + i] = <int16_t> (ai + ci - bi - di)
        out_re[192 + i] = <int16_t> (ar - cr - bi + di)
        out_im[192 + i] = <int16_t> (ai - ci + br - dr)


cdef inline void spectrum(const Tables *tables, Work *work) noexcept nogil:
    """The 512-point real FFT of the packed window in work.re[0], work.im[0], into work.bin_re, work.bin_im."""
    cdef Py_ssize_t j, q
    cdef int16_t ar, ai, br, bi, f2r, f2i, tr, ti
    cdef int32_t f1r, f1i
    first_butterflies(work.re[0], work.im[0], work.re[1], work.im[1])
    for q in range(4):  # [q][j] -> [q + 4 leg][j], j = 0 .. 15
        butterflies(
            work.re[1] + 64 * q, work.im[1] + 64 * q, 16, 16,
            tables.stage_cosine[0][0] + q, tables.stage_sine[0][0] + q, 64, 0,
            work.re[0] + 16 * q, work.im[0] + 16 * q, 64,
        )
    for q in range(16):  # transposed: [q][j] -> [j][q]
        for j in range(16):
            work.re[1][16 * j + q] = work.re[0][16 * q + j]
            work.im[1][16 * j + q] = work.im[0][16 * q + j]
    for j in range(4):  # the legs j, j + 4, j + 8, j + 12 -> [j][q + 16 leg]
        butterflies(
            work.re[1] + 16 * j, work.im[1] + 16 * j, 64, 16,
            tables.stage_cosine[1][0], tables.stage_sine[1][0], 64, 1,
            work.re[0] + 64 * j, work.im[0] + 64 * j, 16,
        )
    butterflies(
        work.re[0], work.im[0], 64, 64,
        tables.stage_cosine[2][0], tables.stage_sine[2][0], 64, 1,
        work.re[1], work.im[1], 64,
    )
    for j in range(1, HALF + 1):
        ar = q15_mul(work.re[1][j], HALVED)
        ai = q15_mul(work.im[1][j], HALVED)
        br = q15_mul(work.re[1][POINTS - j], HALVED)
        bi = q15_mul(<int16_t> -work.im[1][POINTS - j], HALVED)
        f1r = <int16_t> (ar + br)
        f1i = <int16_t> (ai + bi)
        f2r = <int16_t> (ar - br)
        f2i = <int16_t> (ai - bi)
        tr = q15_round(<int32_t> f2r * tables.split_cosine[j - 1] - <int32_t> f2i * tables.split_sine[j - 1])
        ti = q15_round(<int32_t> f2r * tables.split_sine[j - 1] + <int32_t> f2i * tables.split_cosine[j - 1])
        # The mirrored bin first: for j = 128 both are the same bin, and the published order leaves the mirrored one.
        work.bin_re[j] = <int16_t> ((f1r + tr) >> 1)
        work.bin_im[j] = <int16_t> ((f1i + ti) >> 1)
        work.bin_re[POINTS - j] = <int16_t> ((f1r - tr) >> 1)
        work.bin_im[POINTS - j] = <int16_t> ((ti - f1i) >> 1)


cdef inline int windowed(const Tables *tables, const int16_t *samples, Work *work) noexcept nogil:
    """The window applied, scaled up as far as it goes, packed as (even, odd) samples; returns the shift."""
    cdef int16_t y[WINDOW]
    cdef int32_t value, largest = 0
    cdef Py_ssize_t i
    cdef int shift
    for i in range(WINDOW):
        y[i] = <int16_t> ((<int32_t> samples[i] * tables.window[i]) >> 12)
    for i in range(WINDOW):
        value = y[i]
        # -32768 has no int16 negative; the published front end wraps it and so never takes it for the largest
        value = value if value >= 0 else <int16_t> -value
        largest = value if value > largest else largest
    shift = 15 - bit_length32(<uint32_t> largest)
    for i in range(WINDOW // 2):
        work.re[0][i] = <int16_t> (<uint16_t> y[2 * i] << shift)
        work.im[0][i] = <int16_t> (<uint16_t> y[2 * i + 1] << shift)
    memset(work.re[0] + WINDOW // 2, 0, (POINTS - WINDOW // 2) * sizeof(int16_t))
    memset(work.im[0] + WINDOW // 2, 0, (POINTS - WINDOW // 2) * sizeof(int16_t))
    return shift


cdef inline void mel_bands(const Tables *tables, int shift, Work *work) noexcept nogil:
    """Mel magnitudes of the spectrum into work.signal."""
    cdef Py_ssize_t k, band
    cdef int32_t re, im
    cdef uint32_t energy
    cdef uint64_t fall, rise = 0, rising_before
    for k in range(tables.bins):
        re = work.bin_re[tables.first_bin + k]
        im = work.bin_im[tables.first_bin + k]
        energy = <uint32_t> (re * re) + <uint32_t> (im * im)
        work.weighted_falling[k] = <uint64_t> energy * tables.falling[k]
        work.weighted_rising[k] = <uint64_t> energy * tables.rising[k]
    k = 0
    for band in range(BANDS):
        rising_before = rise
        fall = rise = 0
        while k < tables.band_end[band]:
            fall += work.weighted_falling[k]
            rise += work.weighted_rising[k]
            k += 1
        if band > 0:
            work.signal[band - 1] = <uint32_t> rounded_sqrt(rising_before + fall) >> shift


cdef inline void reduce_noise(State *state, uint32_t *signal) noexcept nogil:
    cdef Py_ssize_t c
    cdef uint32_t scaled, estimate, least, remaining, smoothing
    for c in range(CHANNELS):
        smoothing = ODD_SMOOTHING if c & 1 else EVEN_SMOOTHING
        scaled = signal[c] << NOISE_BITS  # wraps for magnitudes from 2^22 on, as published
        estimate = <uint32_t> (
            (<uint64_t> scaled * smoothing + <uint64_t> state.noise[c] * (16384 - smoothing)) >> 14
        )
        state.noise[c] = estimate
        estimate = scaled if estimate > scaled else estimate
        least = <uint32_t> ((<uint64_t> signal[c] * LEAST_REMAINING) >> 14)
        remaining = (scaled - estimate) >> NOISE_BITS
        signal[c] = remaining if remaining > least else least


cdef inline int32_t pcan_gain(const int16_t *table, uint32_t noise) noexcept nogil:
    """The gain curve by a parabola an octave; wraps to int16 at the end, as published."""
    cdef const int16_t *octave
    cdef int32_t part, value
    cdef int bits
    if noise < 2:
        return table[noise]
    bits = bit_length32(noise)
    octave = table + 4 * bits - 6
    part = <int32_t> ((noise << (11 - bits) if bits < 11 else noise >> (bits - 11)) & 0x3FF)
    value = (<int32_t> octave[2] * part) >> 5
    value += octave[1] * 32
    value = (value * part + (1 << 14)) >> 15
    return <int16_t> (value + octave[0])


cdef inline uint32_t shrink(uint32_t x) noexcept nogil:
    """x^2 / 4 below 2, x - 1 above: Q12 in, Q6 out; the square of 2^13 - 1 fits."""
    if x < (2 << 12):
        return (x * x) >> 20
    return (x >> 6) - 64


cdef inline uint16_t log_scaled(const int32_t *residue, uint32_t x) noexcept nogil:
    """64 ln(8 x), rounded in Q16 by a chord of 128 segments an octave; 0 for 0."""
    cdef uint32_t value = x << 3  # wraps from 2^29 on, as published
    cdef uint32_t log2, natural, scaled
    cdef int32_t part, segment, slope
    cdef int whole
    if value <= 1:
        return 0
    whole = bit_length32(value) - 1
    part = <int32_t> (value - (<uint32_t> 1 << whole))
    part = <int32_t> (<uint32_t> part << (16 - whole)) if whole < 16 else part >> (whole - 16)
    segment = part >> 9
    slope = ((residue[segment + 1] - residue[segment]) * (part - (segment << 9))) >> 16
    log2 = (<uint32_t> whole << 16) + <uint32_t> (part + residue[segment] + slope)
    natural = <uint32_t> ((<uint64_t> LOG_COEFFICIENT * log2 + 32768) >> 16)
    scaled = ((natural << 6) + 32768) >> 16
    return <uint16_t> (scaled if scaled < 65535 else 65535)


cdef inline void features_of(
    const Tables *tables, State *state, Work *work, const int16_t *samples, uint16_t *out
) noexcept nogil:
    """One window of 480 samples into 40 features."""
    cdef Py_ssize_t c
    cdef uint32_t snr
    cdef int shift = windowed(tables, samples, work)
    spectrum(tables, work)
    mel_bands(tables, shift, work)
    reduce_noise(state, work.signal)
    for c in range(CHANNELS):
        snr = <uint32_t> ((<uint64_t> work.signal[c] * <uint32_t> pcan_gain(tables.gain, state.noise[c])) >> 6)
        out[c] = log_scaled(tables.log2_residue, shrink(snr))


cdef Py_ssize_t run(
    const Tables *tables, State *state, Work *work, const int16_t *samples, Py_ssize_t frames, uint16_t *out
) noexcept nogil:
    """All windows that `frames` more samples complete; returns their number."""
    cdef Py_ssize_t made = 0, taken
    while True:
        if state.used == 0 and frames >= WINDOW:  # straight from the caller's memory
            features_of(tables, state, work, samples, out + made * CHANNELS)
            made += 1
            samples += HOP
            frames -= HOP
            continue
        taken = WINDOW - state.used
        if taken > frames:
            taken = frames
        memcpy(state.held + state.used, samples, taken * sizeof(int16_t))
        state.used += <int32_t> taken
        if state.used < WINDOW:
            return made
        features_of(tables, state, work, state.held, out + made * CHANNELS)
        made += 1
        samples += taken
        frames -= taken
        if taken >= WINDOW - HOP:  # what the next window needs is all in the caller's memory
            samples -= WINDOW - HOP
            frames += WINDOW - HOP
            state.used = 0
        else:
            memmove(state.held, state.held + HOP, (WINDOW - HOP) * sizeof(int16_t))
            state.used = WINDOW - HOP


cdef class Features:
    """Micro front-end features of a 16 kHz stream: 40 mel channels every 10 ms, bit-exact on every machine.

    Source: TensorFlow's microfrontend in the configuration of microWakeWord (see the head of this file).
    """

    cdef Tables tables
    cdef State state
    cdef Work work

    def __cinit__(self):
        cdef Py_ssize_t stage, leg, q, k, stride
        window = _feature_tables.window()
        twiddles = _feature_tables.twiddles()
        split = _feature_tables.split_twiddles()
        first, ends, falling, rising = _feature_tables.filterbank()
        gains = _feature_tables.pcan_gains()
        residue = _feature_tables.log2_residue()
        for k in range(WINDOW):
            self.tables.window[k] = window[k]
        for k in range(POINTS):
            self.tables.cosine[k], self.tables.sine[k] = twiddles[0, k], twiddles[1, k]
        for stage in range(3):
            stride = 64 >> (2 * (stage + 1))
            for leg in range(3):
                for q in range(4 << (2 * stage)):
                    self.tables.stage_cosine[stage][leg][q] = self.tables.cosine[q * stride * (leg + 1)]
                    self.tables.stage_sine[stage][leg][q] = self.tables.sine[q * stride * (leg + 1)]
        for k in range(HALF):
            self.tables.split_cosine[k], self.tables.split_sine[k] = split[0, k], split[1, k]
        self.tables.first_bin, self.tables.bins = first, len(falling)
        for k in range(BANDS):
            self.tables.band_end[k] = ends[k] - first
        for k in range(len(falling)):
            self.tables.falling[k], self.tables.rising[k] = falling[k], rising[k]
        for k in range(128):
            self.tables.gain[k] = gains[k]
        for k in range(130):
            self.tables.log2_residue[k] = residue[k]
        self.reset()

    def __init__(self):
        """Takes nothing: without it, arguments would be ignored in silence."""

    def reset(self):
        """Back to the state of a new object."""
        memset(&self.state, 0, sizeof(State))

    def max_frames(self, samples):
        """The most windows that `samples` more samples can complete, whatever is held already."""
        return _boundary.count("samples", samples, 0, 1 << 40) // HOP + 1

    def process(self, samples, out=None):
        """Features of every window that these samples complete: uint16 (n, 40), one unit 1/64 neper.

        samples: int16 (frames,), contiguous, any number of frames. out: uint16 (at least n, 40), or None for a new array;
        the filled part of it is returned. The first window ends at sample 480, each further one 160 later. The result
        does not depend on how the stream is cut. TypeError, ValueError: another dtype, shape or memory layout.
        """
        cdef cnp.ndarray given = vector("samples", samples, cnp.NPY_INT16, ANY)
        cdef Py_ssize_t frames = cnp.PyArray_DIM(given, 0)
        cdef Py_ssize_t total = self.state.used + frames
        cdef Py_ssize_t count = 0 if total < WINDOW else (total - WINDOW) // HOP + 1
        cdef cnp.ndarray made
        if out is None:
            made = new_matrix(cnp.NPY_UINT16, count, CHANNELS)
        else:
            made = matrix("out", out, cnp.NPY_UINT16, ANY, CHANNELS, writable=True)
            if cnp.PyArray_DIM(made, 0) < count:
                raise ValueError(f"out: got {len(out)} rows, wanted at least {count}; max_frames() tells how many")
            apart("out", made, given)
            made = out[:count]
        cdef const int16_t *source = <const int16_t *> cnp.PyArray_DATA(given)
        cdef uint16_t *to = <uint16_t *> cnp.PyArray_DATA(made)
        with nogil:
            run(&self.tables, &self.state, &self.work, source, frames, to)
        return made
