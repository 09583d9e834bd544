"""The micro front end in whole numbers, as its equations say and in the order in which TensorFlow's microfrontend and
kissfft publish them: a recursive FFT, a whole-number square root, one channel at a time; tables in single precision.
"""

import math

import numpy as np

WINDOW, HOP, FFT, CHANNELS, RATE = 480, 160, 512, 40, 16_000
UINT32 = 0xFFFF_FFFF
F = np.float32


def window():
    """Hann, Q12."""
    step = F(F(math.pi) * F(2)) / F(WINDOW)
    cosines = [F(math.cos(step * F(i + 0.5))) for i in range(WINDOW)]
    return [math.floor(F(F(F(0.5) - F(0.5) * c) * F(4096)) + F(0.5)) for c in cosines]


def log1p(x):
    """The C library's log1pf as fdlibm has it (Sun, 1993), x of 0.42 and more: its last place decides two weights."""
    u = F(1) + x
    k = int(u.view(np.int32) >> 23) - 127
    c = (F(1) - (u - x)) / u
    mantissa = int(u.view(np.int32)) & 0x7FFFFF
    if mantissa < 0x3504F7:
        f = np.int32(mantissa | 0x3F800000).view(F) - F(1)
    else:
        k += 1
        f = np.int32(mantissa | 0x3F000000).view(F) - F(1)
    half_square = F(0.5) * f * f
    s = f / (F(2) + f)
    z = s * s
    series = F(0)
    for bits in (0x3E178897, 0x3E1CD04F, 0x3E3A3325, 0x3E638E29, 0x3E924925, 0x3ECCCCCD, 0x3F2AAAAB):
        series = z * (np.int32(bits).view(F) + series)
    low, high = F(k) * np.int32(0x3717F7D1).view(F) + c, F(k) * np.int32(0x3F317180).view(F)
    return high - ((half_square - (s * (half_square + series) + low)) - f)


def mel(hz):
    x = F(hz) / F(700)
    return F(1127) * (log1p(x) if x > F(0.42) else F(math.log1p(x)))


def bands():
    """For each of 41 bands its bins, each with its falling and its rising weight in Q12."""
    low, high = mel(F(125)), mel(F(7500))
    spacing = (high - low) / F(CHANNELS + 1)
    centers = [low + spacing * F(i + 1) for i in range(CHANNELS + 1)]
    per_bin = F(RATE / FFT)
    k = int(1.5 + 125 / per_bin)
    made = []
    for band, center in enumerate(centers):
        below = low if band == 0 else centers[band - 1]
        bins = []
        while mel(F(k) * per_bin) <= center:
            weight = (center - mel(F(k) * per_bin)) / (center - below)
            falling, rising = (math.floor(w * F(4096) + F(0.5)) for w in (weight, F(1) - weight))
            bins.append((k, falling, rising))
            k += 1
        made.append(bins)
    return made


def gain(noise):
    value = F(2**21) * F(math.pow(F(noise) / F(128) + F(80), F(-0.95)))
    return min(int(value + F(0.5)), 32_767)


def gain_table():
    """(value, slope, curvature, 0) of each octave of noise estimates, after those for 0 and 1."""
    table = [gain(0), gain(1)]
    for octave in range(2, 33):
        x0 = 1 << (octave - 1)
        x1 = x0 + (x0 >> 1)
        x2 = 2 * x0 - 1 if octave == 32 else 2 * x0
        y0, y1, y2 = gain(x0), gain(x1), gain(x2)
        first, second = y1 - y0, y2 - y0
        slope = 4 * first - second
        table += [y0, slope, second - slope, 0]
    return table


def log2_residues():
    return [math.floor(65_536 * (math.log2(1 + i / 128) - i / 128) + 0.5) for i in range(129)] + [0]


def wrap16(x):
    return ((x + 32_768) & 0xFFFF) - 32_768


def divided(x, by):
    return wrap16((x * (32_767 // by) + (1 << 14)) >> 15)


def times(re, im, angle):
    """(re, im) turned by `angle`, an array of phases, Q15."""
    c = np.floor(0.5 + 32_767 * np.cos(angle)).astype(np.int64)
    s = np.floor(0.5 + 32_767 * np.sin(angle)).astype(np.int64)
    return wrap16((re * c - im * s + (1 << 14)) >> 15), wrap16((re * s + im * c + (1 << 14)) >> 15)


def complex_fft(re, im):
    """int64 (..., 4^n) each; every radix-4 stage divides by 4."""
    n = re.shape[-1]
    if n == 1:
        return re, im
    k = np.arange(n // 4)
    legs = []
    for leg in range(4):
        r, i = complex_fft(re[..., leg::4], im[..., leg::4])
        r, i = divided(r, 4), divided(i, 4)
        legs.append(times(r, i, -2 * np.pi * k * leg / n) if leg else (r, i))
    (ar, ai), (br, bi), (cr, ci), (dr, di) = legs
    out_re = [ar + cr + br + dr, ar - cr + (bi - di), ar + cr - br - dr, ar - cr - (bi - di)]
    out_im = [ai + ci + bi + di, ai - ci - (br - dr), ai + ci - bi - di, ai - ci + (br - dr)]
    return wrap16(np.concatenate(out_re, -1)), wrap16(np.concatenate(out_im, -1))


def energies(x):
    """|FFT|^2 of 512 real points, int64 (..., 512), at bins 1 to 255 (index 0 stays 0)."""
    half = FFT // 2
    zr, zi = complex_fft(x[..., ::2], x[..., 1::2])
    re, im = np.zeros_like(zr), np.zeros_like(zi)
    for k in range(1, half // 2 + 1):
        ar, ai = divided(zr[..., k], 2), divided(zi[..., k], 2)
        br, bi = divided(zr[..., half - k], 2), divided(wrap16(-zi[..., half - k]), 2)
        f1r, f1i = wrap16(ar + br), wrap16(ai + bi)
        tr, ti = times(wrap16(ar - br), wrap16(ai - bi), np.array(-np.pi * (k / half + 0.5)))
        re[..., k], im[..., k] = (f1r + tr) >> 1, (f1i + ti) >> 1
        re[..., half - k], im[..., half - k] = (f1r - tr) >> 1, (ti - f1i) >> 1
    re, im = wrap16(re), wrap16(im)
    return re * re + im * im


def square_root(x):
    """To nearest, from the whole root; within 16 bits for what fits 32."""
    root = math.isqrt(x)
    if x - root * root > root and (x >> 32 or root != 0xFFFF):
        root += 1
    return root


def shrink(x):
    return (x * x & UINT32) >> 20 if x < 8192 else (x >> 6) - 64


def log(x, residues):
    value = x << 3 & UINT32
    if value <= 1:
        return 0
    whole = value.bit_length() - 1
    part = value - (1 << whole)
    part = part << (16 - whole) if whole < 16 else part >> (whole - 16)
    segment = part >> 9
    part += residues[segment] + ((residues[segment + 1] - residues[segment]) * (part - (segment << 9)) >> 16)
    natural = (45_426 * ((whole << 16) + part) + 32_768) >> 16
    return min(((natural << 6) + 32_768) >> 16, 65_535)


def wide_gain(noise, table):
    if noise < 2:
        return table[noise]
    bits = noise.bit_length()
    value, slope, curvature, _ = table[4 * bits - 6 : 4 * bits - 2]
    part = (noise << (11 - bits) if bits < 11 else noise >> (bits - 11)) & 0x3FF
    grown = (curvature * part >> 5) + slope * 32
    return wrap16(value + ((grown * part + (1 << 14)) >> 15))


def energy_bands():
    """(32, 257) weights in Q18: triangles of equal area over 34 corners evenly spaced on Slaney's mel scale, 60 to 3800 Hz."""
    mels = np.array([60 * 3 / 200, 15 + 27 * np.log(3.8) / np.log(6.4)])
    spaced = np.linspace(mels[0], mels[1], 34)
    corners = np.where(spaced < 15, spaced * 200 / 3, 1000 * np.exp(np.log(6.4) / 27 * (spaced - 15)))[:, None]
    hz = np.arange(FFT // 2 + 1) * RATE / FFT
    rising, falling = ((hz - corners[:-2]) / np.diff(corners[:-1], axis=0), (corners[2:] - hz) / np.diff(corners[1:], axis=0))
    area = np.maximum(0, np.minimum(rising, falling)) * 2 / (corners[2:] - corners[:-2])
    return np.floor(area * 2**18 + 0.5).astype(np.int64)


def log2(x, residues):
    """In Q16 by a chord of 128 segments an octave, of x from 1; of less than 2^29, as the kernel keeps it."""
    down = 20 if x >> 29 else 0
    x >>= down
    whole = x.bit_length() - 1
    part = x - (1 << whole)
    part = part << (16 - whole) if whole < 16 else part >> (whole - 16)
    segment = part >> 9
    part += residues[segment] + ((residues[segment + 1] - residues[segment]) * (part - (segment << 9)) >> 16)
    return (down + whole << 16) + part


class Features:
    """Whole streams only: int16 (frames,) -> uint16 (n, 40), one row each 160 samples from sample 480 on."""

    def __init__(self):
        self.window, self.bands = np.array(window()), bands()
        self.gains, self.residues = gain_table(), log2_residues()

    def __call__(self, samples):
        spectra, shifts = self.spectra(samples)
        noise = [0] * CHANNELS
        rows = [self.frame(e, s, noise) for e, s in zip(spectra.tolist(), shifts, strict=True)]
        return np.array(rows, np.uint16).reshape(-1, CHANNELS)

    def log_energies(self, samples):
        """uint16 (n, 32): 1024 log2 of the energy in each band, of the samples as they came."""
        spectra, shifts = self.spectra(samples)
        sums = spectra[:, : FFT // 2] @ energy_bands()[:, : FFT // 2].T
        rows = [
            [max(0, log2(x, self.residues) - (2 * shift << 16)) >> 6 if x else 0 for x in row]
            for row, shift in zip(sums.tolist(), shifts, strict=True)
        ]
        return np.array(rows, np.uint16).reshape(-1, 32)

    def spectra(self, samples):
        """|FFT|^2 of each window, scaled up, and by how many bits it was: int64 (n, 512), a list."""
        starts = range(0, len(samples) - WINDOW + 1, HOP)
        if not starts:
            return np.zeros((0, FFT), np.int64), []
        y = np.stack([samples[s : s + WINDOW].astype(np.int64) for s in starts]) * self.window >> 12
        largest = np.max(np.where(y == -32_768, 0, np.abs(y)), axis=1)
        shifts = [15 - int(v).bit_length() for v in largest]
        x = np.zeros((len(y), FFT), np.int64)
        x[:, :WINDOW] = wrap16(y << np.array(shifts)[:, None])
        return energies(x), shifts

    def frame(self, energy, shift, noise):
        fallen, rising, row = 0, 0, []
        for band, bins in enumerate(self.bands):
            fallen, rising = rising + sum(energy[k] * f for k, f, _ in bins), sum(energy[k] * r for k, _, r in bins)
            if band:
                row.append(self.channel(band - 1, (square_root(fallen) & UINT32) >> shift, noise))
        return row

    def channel(self, c, magnitude, noise):
        smoothing = 983 if c % 2 else 409
        scaled = magnitude << 10 & UINT32
        noise[c] = (scaled * smoothing + noise[c] * (16_384 - smoothing)) >> 14
        left = (scaled - min(noise[c], scaled)) >> 10
        left = max(left, magnitude * 819 >> 14)
        snr = (left * wide_gain(noise[c], self.gains) >> 6) & UINT32
        return log(shrink(snr), self.residues)
