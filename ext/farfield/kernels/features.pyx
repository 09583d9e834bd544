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

Where it is asked for, from the same spectrum, the plain energies of 32 other bands, in which no noise is reduced:

    e[b] = 1024 (log2 sum_k V[b,k] E[k] - 2 s)            uint16; 32 triangular bands, 60 to 3800 Hz, of equal area, Q18 weights

Source: Lyon, Katz, "Trainable frontend" (Wang et al., ICASSP 2017) in the integer form published as TensorFlow's
microfrontend; held to the package pymicro-features 2.0.2, whose floats are these integers times 0.0390625.

The complex FFT of 256 points is decimated in time by four, four times, in the self-sorting order of Stockham: every stage
reads its four legs 64 apart, so that its loop runs over 64 contiguous butterflies and each still rounds exactly as published.
The first two stages leave their results interleaved by 1 and by 4, the others by 16 and by 64, which is contiguous again.
Rounding to 16 bits stays in 16-bit lanes wherever the published one allows it; roots, logarithms and gains have no branches.

About 8,900 instructions a frame with 256-bit vectors: over two fifths for the FFT, three tenths for the scalar band sums.
"""

import numpy as np

from farfield.kernels import _boundary, _feature_tables

cimport numpy as cnp

from farfield.kernels.boundary cimport ANY, apart, matrix, new_matrix, vector
from farfield.kernels.fixedpoint cimport bit_length32, float_bits, half_difference, half_sum, q15_mul, q15_round, rounded_sqrt
from libc.stdint cimport int16_t, int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove, memset

cdef enum:
    WINDOW = 480
    HOP = 160
    CHANNELS = 40
    BANDS = 41
    POINTS = 256
    HALF = 128
    LEG = 64
    EVEN_SMOOTHING = 409  # 0.025, 0.06 and 0.05 in Q14
    ODD_SMOOTHING = 983
    LEAST_REMAINING = 819
    NOISE_BITS = 10
    LOG_COEFFICIENT = 45426  # ln 2 in Q16
    ENERGIES = 32
    WIDEST = 16  # bins of an energy band


cdef struct Twiddles:
    int16_t cosine[3][LEG]  # of one stage, for the second to fourth leg
    int16_t sine[3][LEG]


cdef struct Tables:
    int16_t quarter  # 32767 / 4 and 32767 / 2 as the published FFT divides; as constants, gcc would not use pmulhrsw
    int16_t half
    int16_t window[WINDOW]  # Q16, less one in the middle half, where it is half and more and would not fit
    Twiddles twiddles[3]  # of stages 2 to 4
    int16_t split_cosine[HALF]
    int16_t split_sine[HALF]
    int32_t first_bin
    int32_t band_end[BANDS]
    uint32_t falling[POINTS]
    uint32_t smoothing[CHANNELS]
    int32_t gain[33]  # at the start of each octave, 0 and 1 being octaves of their own
    int32_t gain_slope[33]
    int32_t gain_curvature[33]
    int32_t log2_residue[128]
    int32_t log2_slope[128]
    int32_t energy_bin[ENERGIES]  # the first of the band
    uint16_t energy_weight[ENERGIES][WIDEST]


cdef struct State:
    int16_t held[WINDOW]  # samples that the next window still needs
    int32_t used
    uint32_t noise[CHANNELS]


cdef struct Points:
    int16_t re[POINTS]
    int16_t im[POINTS]


cdef inline void first_stage(const Points *x, int16_t quarter, Points *out) noexcept nogil:
    """The 64 butterflies whose twiddles are one: multiplying by 32,767 leaves a quarter unchanged. [leg][i] -> [i][leg]"""
    cdef Py_ssize_t i
    cdef int16_t ar, ai, br, bi, cr, ci, dr, di
    for i in range(LEG):
        ar = q15_mul(x.re[i], quarter)
        ai = q15_mul(x.im[i], quarter)
        br = q15_mul(x.re[LEG + i], quarter)
        bi = q15_mul(x.im[LEG + i], quarter)
        cr = q15_mul(x.re[2 * LEG + i], quarter)
        ci = q15_mul(x.im[2 * LEG + i], quarter)
        dr = q15_mul(x.re[3 * LEG + i], quarter)
        di = q15_mul(x.im[3 * LEG + i], quarter)
        out.re[4 * i] = <int16_t> (ar + cr + br + dr)
        out.re[4 * i + 1] = <int16_t> (ar - cr + bi - di)
        out.re[4 * i + 2] = <int16_t> (ar + cr - br - dr)
        out.re[4 * i + 3] = <int16_t> (ar - cr - bi + di)
        out.im[4 * i] = <int16_t> (ai + ci + bi + di)
        out.im[4 * i + 1] = <int16_t> (ai - ci - br + dr)
        out.im[4 * i + 2] = <int16_t> (ai + ci - bi - di)
        out.im[4 * i + 3] = <int16_t> (ai - ci + br - dr)


cdef inline void later_stage(
    const Points *x, int16_t quarter, const Twiddles *twiddles, Py_ssize_t block, Points *out
) noexcept nogil:
    """64 butterflies of stage 2, 3 or 4: legs 64 apart in, `block` apart out; each leg is divided by 4, then turned."""
    cdef Py_ssize_t j, q, i, o
    cdef int16_t ar, ai, br, bi, cr, ci, dr, di, ur, ui, vr, vi, wr, wi
    cdef int16_t sum_r, sum_i, dif_r, dif_i, odd_r, odd_i, turn_r, turn_i
    for j in range(LEG // block):
        for q in range(block):
            i = block * j + q
            o = 4 * block * j + q
            ar = q15_mul(x.re[i], quarter)
            ai = q15_mul(x.im[i], quarter)
            ur = q15_mul(x.re[LEG + i], quarter)
            ui = q15_mul(x.im[LEG + i], quarter)
            vr = q15_mul(x.re[2 * LEG + i], quarter)
            vi = q15_mul(x.im[2 * LEG + i], quarter)
            wr = q15_mul(x.re[3 * LEG + i], quarter)
            wi = q15_mul(x.im[3 * LEG + i], quarter)
            br = q15_round(<int32_t> ur * twiddles.cosine[0][i] - <int32_t> ui * twiddles.sine[0][i])
            bi = q15_round(<int32_t> ur * twiddles.sine[0][i] + <int32_t> ui * twiddles.cosine[0][i])
            cr = q15_round(<int32_t> vr * twiddles.cosine[1][i] - <int32_t> vi * twiddles.sine[1][i])
            ci = q15_round(<int32_t> vr * twiddles.sine[1][i] + <int32_t> vi * twiddles.cosine[1][i])
            dr = q15_round(<int32_t> wr * twiddles.cosine[2][i] - <int32_t> wi * twiddles.sine[2][i])
            di = q15_round(<int32_t> wr * twiddles.sine[2][i] + <int32_t> wi * twiddles.cosine[2][i])
            sum_r = <int16_t> (ar + cr)
            sum_i = <int16_t> (ai + ci)
            dif_r = <int16_t> (ar - cr)
            dif_i = <int16_t> (ai - ci)
            odd_r = <int16_t> (br + dr)
            odd_i = <int16_t> (bi + di)
            turn_r = <int16_t> (br - dr)
            turn_i = <int16_t> (bi - di)
            out.re[o] = <int16_t> (sum_r + odd_r)
            out.im[o] = <int16_t> (sum_i + odd_i)
            out.re[block + o] = <int16_t> (dif_r + turn_i)
            out.im[block + o] = <int16_t> (dif_i - turn_r)
            out.re[2 * block + o] = <int16_t> (sum_r - odd_r)
            out.im[2 * block + o] = <int16_t> (sum_i - odd_i)
            out.re[3 * block + o] = <int16_t> (dif_r - turn_i)
            out.im[3 * block + o] = <int16_t> (dif_i + turn_r)


cdef inline void interleave_quads(const int16_t *x, int16_t *out) noexcept nogil:
    """[leg][j][q] -> [j][leg][q] for 4 legs, 16 j and 4 q."""
    cdef Py_ssize_t j, leg
    for j in range(16):
        for leg in range(4):
            memcpy(out + 16 * j + 4 * leg, x + LEG * leg + 4 * j, 4 * sizeof(int16_t))


cdef inline void energies(const Tables *tables, Points *x, uint32_t *energy) noexcept nogil:
    """|FFT|^2 of 512 real points, bins 1 to 255, from the packed window in x, which is overwritten."""
    cdef Points y
    cdef uint32_t mirrored[HALF]
    cdef Py_ssize_t j
    cdef int16_t ar, ai, br, bi, f1r, f1i, f2r, f2i, tr, ti, re, im
    first_stage(x, tables.quarter, &y)
    later_stage(&y, tables.quarter, &tables.twiddles[0], LEG, x)
    interleave_quads(x.re, y.re)
    interleave_quads(x.im, y.im)
    later_stage(&y, tables.quarter, &tables.twiddles[1], 16, x)
    later_stage(x, tables.quarter, &tables.twiddles[2], LEG, &y)
    for j in range(HALF):
        ar = q15_mul(y.re[1 + j], tables.half)
        ai = q15_mul(y.im[1 + j], tables.half)
        br = q15_mul(y.re[POINTS - 1 - j], tables.half)
        bi = q15_mul(<int16_t> -y.im[POINTS - 1 - j], tables.half)
        f1r = <int16_t> (ar + br)
        f1i = <int16_t> (ai + bi)
        f2r = <int16_t> (ar - br)
        f2i = <int16_t> (ai - bi)
        tr = q15_round(<int32_t> f2r * tables.split_cosine[j] - <int32_t> f2i * tables.split_sine[j])
        ti = q15_round(<int32_t> f2r * tables.split_sine[j] + <int32_t> f2i * tables.split_cosine[j])
        re = half_sum(f1r, tr)
        im = half_sum(f1i, ti)
        energy[1 + j] = <uint32_t> (<int32_t> re * re) + <uint32_t> (<int32_t> im * im)
        re = half_difference(f1r, tr)
        im = half_difference(ti, f1i)
        mirrored[j] = <uint32_t> (<int32_t> re * re) + <uint32_t> (<int32_t> im * im)
    # Mirrored bins last: bin 128 is its own mirror, and the published order leaves the mirrored value.
    for j in range(HALF):
        energy[POINTS - 1 - j] = mirrored[j]


cdef inline int windowed(const Tables *tables, const int16_t *samples, Points *x) noexcept nogil:
    """The window applied, scaled up as far as it goes, packed as (even, odd) samples; returns the shift."""
    cdef int16_t y[WINDOW]
    cdef int16_t value, scale, largest = 0
    cdef Py_ssize_t i
    cdef int shift
    for i in range(WINDOW):
        y[i] = <int16_t> ((<int32_t> samples[i] * tables.window[i]) >> 16)
    for i in range(WINDOW // 4, WINDOW * 3 // 4):  # the one that the table leaves out
        y[i] = <int16_t> (y[i] + samples[i])
    for i in range(WINDOW):
        # -32768 has no int16 negative; the published front end wraps it and so never takes it for the largest
        value = <int16_t> -y[i]
        value = y[i] if y[i] > value else value
        largest = value if value > largest else largest
    shift = 15 - bit_length32(<uint32_t> largest)
    scale = <int16_t> (1 << shift)  # a product of 16 bits, because gcc shifts int16 in 32
    for i in range(WINDOW // 2):
        x.re[i] = <int16_t> (y[2 * i] * scale)
        x.im[i] = <int16_t> (y[2 * i + 1] * scale)
    memset(x.re + WINDOW // 2, 0, (POINTS - WINDOW // 2) * sizeof(int16_t))
    memset(x.im + WINDOW // 2, 0, (POINTS - WINDOW // 2) * sizeof(int16_t))
    return shift


cdef inline void mel_magnitudes(const Tables *tables, const uint32_t *energy, int shift, uint32_t *signal) noexcept nogil:
    """A bin gives its falling weight to the channel of its band and the rest of 4096 to the next channel."""
    cdef double power[BANDS]
    cdef Py_ssize_t k = tables.first_bin, band
    cdef uint64_t fallen, whole, risen = 0
    for band in range(BANDS):
        fallen = whole = 0
        while k < tables.band_end[band]:
            fallen += <uint64_t> energy[k] * tables.falling[k]
            whole += energy[k]
            k += 1
        power[band] = <double> <int64_t> (risen + fallen)
        risen = (whole << 12) - fallen
    for band in range(CHANNELS):  # nothing rises into the first band, which has no channel
        signal[band] = rounded_sqrt(power[band + 1]) >> shift


cdef inline void reduce_noise(const Tables *tables, uint32_t *noise, uint32_t *signal) noexcept nogil:
    cdef Py_ssize_t c
    cdef uint32_t scaled, estimate, least, remaining
    for c in range(CHANNELS):
        scaled = signal[c] << NOISE_BITS  # wraps for magnitudes from 2^22 on, as published
        estimate = <uint32_t> (
            (<uint64_t> scaled * tables.smoothing[c] + <uint64_t> noise[c] * (16384 - tables.smoothing[c])) >> 14
        )
        noise[c] = estimate
        estimate = scaled if estimate > scaled else estimate
        least = <uint32_t> ((<uint64_t> signal[c] * LEAST_REMAINING) >> 14)
        remaining = (scaled - estimate) >> NOISE_BITS
        signal[c] = remaining if remaining > least else least


cdef inline uint32_t pcan_gain(const Tables *tables, uint32_t noise) noexcept nogil:
    """The gain curve by a parabola an octave; wraps to int16 at the end, as published."""
    cdef uint32_t bits = float_bits(noise)
    cdef int32_t octave = <int32_t> (bits >> 23) - 126
    cdef int32_t part = <int32_t> (bits >> 13 & 0x3FF)
    cdef int32_t value
    octave = octave if octave > 0 else 0
    value = ((tables.gain_curvature[octave] * part) >> 5) + tables.gain_slope[octave] * 32
    value = (value * part + (1 << 14)) >> 15
    return <uint32_t> <int16_t> (value + tables.gain[octave])


cdef inline uint32_t shrink(uint32_t x) noexcept nogil:
    """x^2 / 4 below 2, x - 1 above: Q12 in, Q6 out; the square of 2^13 - 1 fits, and so does 8 times the result."""
    return (x * x) >> 20 if x < (2 << 12) else (x >> 6) - 64


cdef inline uint32_t log2_of(const Tables *tables, uint32_t x) noexcept nogil:
    """log2 x in Q16 by a chord of 128 segments an octave, for x from 1.

    The bits of a float are log2 already, but for the chord of one segment an octave; the table holds what is missing.
    """
    cdef uint32_t bits = float_bits(x)
    cdef uint32_t segment = bits >> 16 & 0x7F
    cdef int32_t slope = (tables.log2_slope[segment] * <int32_t> (bits >> 7 & 0x1FF)) >> 16
    return (bits >> 7) - (127 << 16) + <uint32_t> (tables.log2_residue[segment] + slope)


cdef inline uint16_t log_scaled(const Tables *tables, uint32_t x) noexcept nogil:
    """64 ln(8 x) for x below 2^29, rounded in Q16; 0 for 0."""
    cdef uint32_t log2 = log2_of(tables, x << 3)
    cdef uint32_t natural = <uint32_t> ((<uint64_t> LOG_COEFFICIENT * log2 + 32768) >> 16)
    return <uint16_t> (((natural << 6) + 32768) >> 16 if x else 0)


cdef inline void log_energies(const Tables *tables, const uint32_t *energy, int shift, uint16_t *out) noexcept nogil:
    """Of each band, as if the window had not been scaled up by `shift`; 0 for less than 1. Sums are below 2^31 * 2^13 * 16."""
    cdef Py_ssize_t b, k
    cdef uint64_t total
    cdef int32_t down, log2
    for b in range(ENERGIES):
        total = 0
        for k in range(WIDEST):
            total += <uint64_t> energy[tables.energy_bin[b] + k] * tables.energy_weight[b][k]
        down = 20 if total >> 29 else 0  # what is left below 2^29 of a sum below 2^49 keeps 9 bits and more
        log2 = <int32_t> log2_of(tables, <uint32_t> (total >> down)) + (down - 2 * shift) * 65536 if total else 0
        out[b] = <uint16_t> ((log2 if log2 > 0 else 0) >> 6)


cdef inline void features_of(
    const Tables *tables, uint32_t *noise, const int16_t *samples, uint16_t *out, uint16_t *energies_out
) noexcept nogil:
    """One window of 480 samples into 40 features; and 32 energies, unless they have no place to go."""
    cdef Points x
    cdef uint32_t energy[POINTS]
    cdef uint32_t signal[CHANNELS]
    cdef uint32_t snr
    cdef Py_ssize_t c
    cdef int shift = windowed(tables, samples, &x)
    energies(tables, &x, energy)
    if energies_out:
        log_energies(tables, energy, shift, energies_out)
    mel_magnitudes(tables, energy, shift, signal)
    reduce_noise(tables, noise, signal)
    for c in range(CHANNELS):
        snr = <uint32_t> ((<uint64_t> signal[c] * pcan_gain(tables, noise[c])) >> 6)
        out[c] = log_scaled(tables, shrink(snr))


cdef Py_ssize_t run(
    const Tables *tables, State *state, const int16_t *samples, Py_ssize_t frames, uint16_t *out, uint16_t *energies_out
) noexcept nogil:
    """All windows that `frames` more samples complete; returns their number."""
    cdef Py_ssize_t made = 0, taken
    while True:
        if state.used == 0 and frames >= WINDOW:  # straight from the caller's memory
            features_of(
                tables, state.noise, samples, out + made * CHANNELS, energies_out + made * ENERGIES if energies_out else NULL
            )
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
        features_of(
            tables, state.noise, state.held, out + made * CHANNELS, energies_out + made * ENERGIES if energies_out else NULL
        )
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

    def __cinit__(self):
        cdef Py_ssize_t stage, leg, i, k
        window = _feature_tables.window()
        twiddles = _feature_tables.twiddles()
        split = _feature_tables.split_twiddles()
        first, ends, falling, _ = _feature_tables.filterbank()
        gains = _feature_tables.pcan_gains()
        residue = _feature_tables.log2_residue()
        self.tables.quarter, self.tables.half = 32767 // 4, 32767 // 2
        for k in range(WINDOW):
            self.tables.window[k] = 16 * int(window[k]) - (65536 if WINDOW // 4 <= k < WINDOW * 3 // 4 else 0)
        for stage in range(3):
            for leg in range(3):
                for i in range(LEG):
                    k = (i % (4 << 2 * stage)) * (LEG >> 2 * (stage + 1)) * (leg + 1)
                    self.tables.twiddles[stage].cosine[leg][i] = twiddles[0, k]
                    self.tables.twiddles[stage].sine[leg][i] = twiddles[1, k]
        for k in range(HALF):
            self.tables.split_cosine[k], self.tables.split_sine[k] = split[0, k], split[1, k]
        self.tables.first_bin = first
        for k in range(BANDS):
            self.tables.band_end[k] = ends[k]
        for k in range(len(falling)):
            self.tables.falling[first + k] = falling[k]
        for k in range(CHANNELS):
            self.tables.smoothing[k] = ODD_SMOOTHING if k & 1 else EVEN_SMOOTHING
        for k in range(2):
            self.tables.gain[k] = gains[k]
        for k in range(2, 33):
            self.tables.gain[k] = gains[4 * k - 6]
            self.tables.gain_slope[k] = gains[4 * k - 5]
            self.tables.gain_curvature[k] = gains[4 * k - 4]
        for k in range(128):
            self.tables.log2_residue[k], self.tables.log2_slope[k] = residue[k], residue[k + 1] - residue[k]
        starts, weights = _feature_tables.energy_bands()
        for k in range(ENERGIES):
            self.tables.energy_bin[k] = starts[k]
            for i in range(WIDEST):
                self.tables.energy_weight[k][i] = weights[k, i]
        self.reset()

    def __init__(self):
        """Takes nothing: without it, arguments would be ignored in silence."""

    def reset(self):
        """Back to the state of a new object."""
        memset(&self.state, 0, sizeof(State))

    def max_frames(self, samples):
        """The most windows that `samples` more samples can complete, whatever is held already."""
        return _boundary.count("samples", samples, 0, 1 << 40) // HOP + 1

    def process(self, samples, out=None, energies=None):
        """Features of every window that these samples complete: uint16 (n, 40), one unit 1/64 neper.

        samples: int16 (frames,), contiguous, any number of frames. out: uint16 (at least n, 40), or None for a new array;
        the filled part of it is returned. energies: uint16 (at least n, 32), or None; the windows' log2 energies in 32 bands
        are written to its first n rows, one unit 1/1024 octave of energy. The first window ends at sample 480, each further
        one 160 later. The result does not depend on how the stream is cut. TypeError, ValueError: another dtype, shape or memory layout.
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
        cdef cnp.ndarray also
        cdef uint16_t *bands = NULL
        if energies is not None:
            also = matrix("energies", energies, cnp.NPY_UINT16, ANY, ENERGIES, writable=True)
            if cnp.PyArray_DIM(also, 0) < count:
                raise ValueError(f"energies: got {len(energies)} rows, wanted at least {count}; max_frames() tells how many")
            apart("energies", also, given)
            apart("energies", also, made)
            bands = <uint16_t *> cnp.PyArray_DATA(also)
        cdef const int16_t *source = <const int16_t *> cnp.PyArray_DATA(given)
        cdef uint16_t *to = <uint16_t *> cnp.PyArray_DATA(made)
        with nogil:
            run(&self.tables, &self.state, source, frames, to, bands)
        return made
