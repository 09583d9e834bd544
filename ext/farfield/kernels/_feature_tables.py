"""Integer tables of the micro front end, computed from their formulas so that every machine has the same ones.

The published front end computes them in single precision. Three entries land on the other side of a rounding boundary
there than their exact value does; they are listed as such, and everything else is the formula rounded half up.
"""

import math

import numpy as np
from numpy.typing import NDArray

WINDOW, HOP, FFT, CHANNELS, RATE = 480, 160, 512, 40, 16_000
WINDOW_BITS, WEIGHT_BITS = 12, 12
LOWEST_HZ, HIGHEST_HZ = 125.0, 7500.0
ENERGIES, WIDEST, ENERGY_BITS = 32, 16, 18
ENERGY_LOWEST_HZ, ENERGY_HIGHEST_HZ = 60.0, 3800.0
PCAN_STRENGTH, PCAN_OFFSET, PCAN_GAIN_BITS, PCAN_INPUT_BITS = 0.95, 80.0, 21, 7

_WINDOW_IN_SINGLE_PRECISION = {17: 54}
_WEIGHTS_IN_SINGLE_PRECISION = {149: (2471, 1625), 221: (1401, 2695)}


def _half_up(value: float) -> int:
    return math.floor(value + 0.5)


def window() -> NDArray[np.int16]:
    """Hann window centred between samples, Q12, int16 (480,)."""
    phase = [2 * math.pi * (i + 0.5) / WINDOW for i in range(WINDOW)]
    table = [_half_up((0.5 - 0.5 * math.cos(p)) * (1 << WINDOW_BITS)) for p in phase]
    for i, value in _WINDOW_IN_SINGLE_PRECISION.items():
        table[i] = value
    return np.array(table, np.int16)


def _mel(hz: float) -> float:
    return 1127.0 * math.log1p(hz / 700.0)


def filterbank() -> tuple[int, NDArray[np.int32], NDArray[np.uint16], NDArray[np.uint16]]:
    """The first bin; the bin after each of 41 bands; the falling and the rising weight of every bin, Q12.

    A bin lies in one band and gives its falling weight to the channel of that band, its rising weight to the next.
    """
    low, high = _mel(LOWEST_HZ), _mel(HIGHEST_HZ)
    centers = [low + (high - low) / (CHANNELS + 1) * (i + 1) for i in range(CHANNELS + 1)]
    hz_per_bin = RATE / FFT
    first = int(1.5 + LOWEST_HZ / hz_per_bin)
    ends, falling, rising = [], [], []
    k = first
    for band, center in enumerate(centers):
        below = low if band == 0 else centers[band - 1]
        while _mel(k * hz_per_bin) <= center + 1e-6:  # the last bin lies on its centre but for rounding
            weight = (center - _mel(k * hz_per_bin)) / (center - below)
            pair = (_half_up(weight * (1 << WEIGHT_BITS)), _half_up((1 - weight) * (1 << WEIGHT_BITS)))
            falling_weight, rising_weight = _WEIGHTS_IN_SINGLE_PRECISION.get(k, pair)
            falling.append(falling_weight)
            rising.append(rising_weight)
            k += 1
        ends.append(k)
    return first, np.array(ends, np.int32), np.array(falling, np.uint16), np.array(rising, np.uint16)


def _slaney(mel: float) -> float:
    """Hertz of Slaney's mel scale: linear to 1000 Hz, which is 15 mel, and logarithmic above."""
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def energy_bands() -> tuple[NDArray[np.int32], NDArray[np.uint16]]:
    """The first bin of each of 32 bands, int32 (32,), and the weights of 16 bins from there, Q18, uint16 (32, 16).

    Triangles of equal area, evenly over Slaney's mel scale: those that openWakeWord's spectrogram has.
    """
    top = 15 + 27 * math.log(ENERGY_HIGHEST_HZ / 1000) / math.log(6.4)
    low = ENERGY_LOWEST_HZ * 3 / 200
    corners = [_slaney(low + (top - low) * i / (ENERGIES + 1)) for i in range(ENERGIES + 2)]
    starts, weights = np.zeros(ENERGIES, np.int32), np.zeros((ENERGIES, WIDEST), np.uint16)
    for band, (left, middle, right) in enumerate(zip(corners, corners[1:], corners[2:], strict=False)):
        starts[band] = first = int(left * FFT / RATE) + 1
        for k in range(WIDEST):
            hz = (first + k) * RATE / FFT
            height = max(0.0, min((hz - left) / (middle - left), (right - hz) / (right - middle)))
            weights[band, k] = _half_up(2 * height / (right - left) * (1 << ENERGY_BITS))
    return starts, weights


def _pcan_gain(noise: int) -> int:
    gain = (1 << PCAN_GAIN_BITS) * (noise / (1 << PCAN_INPUT_BITS) + PCAN_OFFSET) ** -PCAN_STRENGTH
    return min(int(gain + 0.5), 32_767)


def pcan_gains() -> NDArray[np.int16]:
    """Gain by noise estimate: for 0 and 1, then (value, slope, curvature, 0) for each octave, int16 (128,)."""
    table = [_pcan_gain(0), _pcan_gain(1)]
    for octave in range(2, 33):
        x0 = 1 << (octave - 1)
        x1, x2 = x0 + (x0 >> 1), 2 * x0 - (octave == 32)
        y0 = _pcan_gain(x0)
        half, full = _pcan_gain(x1) - y0, _pcan_gain(x2) - y0
        slope = 4 * half - full
        table += [y0, slope, full - slope, 0]
    return np.array([*table, 0, 0], np.int16)


def log2_residue() -> NDArray[np.int32]:
    """log2(1 + x) - x in Q16 at x = 0, 1/128 ... 1, and once more at 1, int32 (130,)."""
    table = [_half_up(65_536 * (math.log2(1 + i / 128) - i / 128)) for i in range(129)]
    return np.array([*table, 0], np.int32)


def twiddles() -> NDArray[np.int16]:
    """exp(-2 pi i k / 256) in Q15 (one is 32,767), rounded half up: int16 (2, 256), real row then imaginary row."""
    phase = [-2 * math.pi * k / 256 for k in range(256)]
    return np.array([[_half_up(32_767 * f(p)) for p in phase] for f in (math.cos, math.sin)], np.int16)


def split_twiddles() -> NDArray[np.int16]:
    """exp(-i pi (k/256 + 1/2)) for k = 1 to 128, Q15, int16 (2, 128): they part two real spectra from a complex one."""
    phase = [-math.pi * (k / 256 + 0.5) for k in range(1, 129)]
    return np.array([[_half_up(32_767 * f(p)) for p in phase] for f in (math.cos, math.sin)], np.int16)
