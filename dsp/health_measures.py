"""What one second of an array's sound says of each microphone: levels, coherence, flat tops, and how phases fit positions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farfield.geometry import SPEED_OF_SOUND, Array
from farfield.profile import RATE

Floats = NDArray[np.float64]
QUIET, LOUD = 0, 1  # the quietest quarter and the louder half of a second's frames
_SIZE = 512
_HZ = RATE / _SIZE
_SHARED = slice(8, 49)  # 250 to 1,500 Hz: what microphones a few centimetres apart hear alike
_HISS = slice(32, 193)  # 1 to 6 kHz: above most of the wind
_PHASES = slice(10, 161, 2)  # 300 to 5,000 Hz
_WINDOW = np.sin(np.pi * (np.arange(_SIZE) + 0.5) / _SIZE)
_DECAY = 0.72  # of earlier sound from frame to frame, as in direction.pyx
_LEAST = 1e-13  # power in a band: less than rounding to 16 bits leaves
_FLAT = 0.002  # of the peak: what lies that near to it is as high
_LOWEST_PEAK = 256  # of int16: lower ones are flat for want of steps


@dataclass(frozen=True)
class Second:
    """One second of an array's channels.

    level_db: (2, channels), from 250 to 1,500 Hz, of the quietest quarter and the louder half of the frames; full scale is 0.
    hiss_db: (channels,), from 1 to 6 kHz, of the quietest quarter. sway_db: (channels,), by how much the level goes up and down.
    coherence: (2, channels, channels), magnitude squared, mean over 250 to 1,500 Hz. peak: (channels,), 0 to 1. flat: share of
    samples in flat tops. swing: from the lowest sample to the highest, in steps of int16.
    phases: complex (channels, channels, bins), cross-spectra of onsets without their magnitude. strength: what they add up to.
    """

    level_db: Floats
    hiss_db: Floats
    sway_db: Floats
    coherence: Floats
    peak: Floats
    flat: Floats
    swing: Floats
    phases: NDArray[np.complex128]
    strength: float


def measured(samples: NDArray[np.int16]) -> Second:
    """The second's measures; samples: (channels, frames), contiguous."""
    frames = samples.shape[1] // _SIZE
    spectra = np.fft.rfft(samples[:, : frames * _SIZE].reshape(-1, frames, _SIZE) * (_WINDOW / 32_768), axis=2)
    power = np.abs(spectra) ** 2 * (4 / _SIZE**2)
    shared = power[:, :, _SHARED].sum(axis=2)
    order = np.argsort(np.median(shared, axis=0))
    parts = order[: frames // 4], order[frames - frames // 2 :]
    peak = np.abs(samples.astype(np.int32)).max(axis=1)
    phases, strength = _phases(spectra[:, :, _PHASES], power[:, :, _PHASES])
    return Second(
        np.stack([_db(shared[:, part].mean(axis=1)) for part in parts]),
        _db(power[:, parts[QUIET], _HISS].sum(axis=2).mean(axis=1)),
        _db(shared).std(axis=1),
        np.stack([_coherence(spectra[:, part, _SHARED]) for part in parts]),
        peak / 32_768,
        _flat(samples, peak),
        samples.max(axis=1) - samples.min(axis=1).astype(np.float64),
        phases,
        strength,
    )


def expected_coherence(array: Array) -> Floats:
    """Of a diffuse field, magnitude squared, mean over 250 to 1,500 Hz: (channels, channels)."""
    return np.asarray(np.mean(array.diffuse_coherence()[_SHARED] ** 2, axis=0))


class Fit:
    """How well cross-spectra fit plane waves on an array's positions, as they are and with two of them exchanged."""

    def __init__(self, array: Array, delays_us: Floats | None = None) -> None:
        angles = np.radians(np.arange(0, 360, 5))
        toward = np.stack([np.cos(angles), np.sin(angles), 0 * angles])
        lead_s = array.positions_m @ toward / SPEED_OF_SOUND
        if delays_us is not None:
            lead_s -= delays_us[:, None] / 1e6
        hertz = np.arange(_SIZE // 2 + 1)[_PHASES] * _HZ
        self._first, self._second = np.triu_indices(len(lead_s), 1)
        phase = 2 * np.pi * hertz[:, None] * (lead_s[self._first] - lead_s[self._second])[:, None, :]
        self._cosine, self._sine = (np.float32(of(phase)).reshape(-1, len(angles)) for of in (np.cos, np.sin))
        self._bins = len(hertz)

    def best(self, second: Second, used: NDArray[np.bool_], order: NDArray[np.int_]) -> tuple[float, NDArray[np.float64]]:
        """The share in phase in the best direction, 0 to 1, and each channel's own; `order` says which position each is at."""
        pairs = used[self._first] & used[self._second]
        phases = second.phases[order[self._first], order[self._second]]
        rows = np.where(pairs[:, None], phases, 0).astype(np.complex64).reshape(-1)
        # by einsum and in reals: BLAS would wake its threads for it, and wait for them
        heard = np.einsum("r,rd->d", rows.real, self._cosine) + np.einsum("r,rd->d", rows.imag, self._sine)
        best = int(np.argmax(heard))
        agreed = rows.real * self._cosine[:, best] + rows.imag * self._sine[:, best]
        each = agreed.reshape(-1, self._bins).sum(axis=1)
        own = np.bincount(self._first, each, len(used)) + np.bincount(self._second, each, len(used))
        count = max(int(used.sum()), 2)
        total = max(second.strength, 1e-30)
        return float(heard[best] / total / (count * (count - 1) / 2)), own / total / (count - 1)


def _phases(spectra: NDArray[np.complex128], power: Floats) -> tuple[NDArray[np.complex128], float]:
    """Weighted as in direction.pyx: what rises over what earlier sound may have left in the room."""
    heard = power.mean(axis=0)
    late = np.zeros_like(heard)
    for n in range(1, len(heard)):
        late[n] = np.maximum(_DECAY * late[n - 1], heard[n - 1])
    weight = heard**0.25 * np.maximum(1 - 2 * late / (heard + 1e-16), 0)
    unit = spectra / np.maximum(np.abs(spectra), 1e-15)
    return np.einsum("itk,jtk->ijk", weight * unit, unit.conj()), float(weight.sum())


def _coherence(spectra: NDArray[np.complex128]) -> Floats:
    cross = np.einsum("itk,jtk->ijk", spectra, spectra.conj())
    own = np.einsum("iik->ik", cross).real
    squared = np.abs(cross) ** 2 / np.maximum(own[:, None] * own[None], 1e-30)
    by_chance = 1 / spectra.shape[1]
    return np.asarray((squared.mean(axis=2) - by_chance) / (1 - by_chance))


def _flat(samples: NDArray[np.int16], peak: NDArray[np.int32]) -> Floats:
    high = np.ceil(np.maximum(peak, 1) * (1 - _FLAT)).astype(np.int16)[:, None]
    found = np.zeros(len(samples))
    for top in (samples >= high, samples <= -high):
        found += (top[:, 1:] & top[:, :-1]).mean(axis=1)
    return np.where(peak >= _LOWEST_PEAK, found, 0.0)


def _db(power: Floats) -> Floats:
    return np.asarray(10 * np.log10(np.maximum(power, _LEAST)))
