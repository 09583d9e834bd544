"""Gains and delays of an array's channels, from a recording of claps or bursts of noise from several directions.

Each burst n reaches channel i at t_n - p_i . u_n / c + delay_i, u_n being its direction in the array's plane. Its delays against
the mean of all channels are measured by GCC-PHAT (Knapp, Carter, IEEE Trans. ASSP 24, 1976); directions and channels' delays are
then what fits all of them best (Gauss-Newton), with the mean delay held at 0. What one burst says of a delay a turn of its
direction explains as well, so that several are needed, from around the array; how well they tell is the fit's standard error.
A gain is how much louder a channel is than the middle of the array, median over bursts.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from farfield.errors import InputError
from farfield.geometry import SPEED_OF_SOUND, Array
from farfield.profile import RATE

Floats = NDArray[np.float64]
_FRAME = 512  # 32 ms: the beginning of a burst, of which little is reflections yet
_STEP, _BEFORE = 64, 24  # samples, and how many steps there must be quiet before a burst
_WINDOW = np.concatenate([np.linspace(0, 1, 32), np.ones(160), np.cos(np.linspace(0, np.pi / 2, 320)) ** 2])
_FINER = 16  # of the correlation's lags between two samples
_LONGEST = 64  # samples that channels may be apart beyond what the positions make
_ABOVE_DB = 15.0  # of a burst over the recording's quiet moments
_FEWEST = 6  # bursts
_MOST = 200
_BAND_HZ = 300.0, 7000.0
_ROUNDS = 60
_WORST_FIT_US, _WORST_ERROR_US, _WORST_GAIN_DB = 25.0, 12.0, 1.0
_MEASURED_US = 1.0  # no burst is measured better
_FARTHEST_DB = 30.0  # from the middle of the array: what a profile takes


@dataclass(frozen=True)
class Calibration:
    """gains_db, delays_us: of each channel over the middle of the array. Standard errors; bursts that told it."""

    gains_db: Floats
    delays_us: Floats
    gain_error_db: float
    delay_error_us: float
    fit_us: float
    bursts: int
    azimuths_deg: Floats


def calibrate(sound: NDArray[np.floating], positions_mm: Floats) -> Calibration:
    """What a recording, float (frames, microphones) at 16 kHz, says of its channels.

    InputError: too few bursts, or all from about one direction, or they do not fit the positions; a channel farther off than a
    profile takes.
    """
    frames = _bursts(np.asarray(sound, np.float64))
    if len(frames) < _FEWEST:
        raise InputError(
            f"the recording holds {len(frames)} bursts that stand out by {_ABOVE_DB:.0f} dB; wanted {_FEWEST} or more: "
            "claps or bursts of noise, with pauses, from all around the device"
        )
    places = Array(positions_mm).positions_m[:, :2]
    arrivals_s = np.stack([_arrivals_s(frame, places) for frame in frames])
    kept = _consistent(arrivals_s, places)
    if kept.sum() < _FEWEST:
        raise InputError(f"only {kept.sum()} of {len(frames)} bursts fit the positions, wanted {_FEWEST} or more; "
                         "check position_mm and the channels' order, and clap at the device's height, 1 m away")  # fmt: skip
    delays_s, azimuths, error_s, fit_s = _fitted(arrivals_s[kept], places)
    if error_s * 1e6 > _WORST_ERROR_US:
        raise InputError(f"the bursts come from too few directions to tell the delays (to {error_s * 1e6:.0f} microseconds, "
                         f"wanted {_WORST_ERROR_US:.0f}); wanted some from all around the device")  # fmt: skip
    levels_db = np.stack([_levels_db(frame) for frame, use in zip(frames, kept, strict=True) if use])
    levels_db -= np.median(levels_db, axis=1, keepdims=True)
    gain_error_db = float(np.max(np.std(levels_db, axis=0)) / np.sqrt(len(levels_db)))
    if gain_error_db > _WORST_GAIN_DB:
        raise InputError(f"the channels' levels differ from burst to burst (gains to {gain_error_db:.1f} dB, "
                         f"wanted {_WORST_GAIN_DB:.1f}); wanted bursts from 1 m or more away")  # fmt: skip
    gains_db = np.median(levels_db, axis=0)
    worst = int(np.argmax(np.abs(gains_db)))
    if abs(gains_db[worst]) > _FARTHEST_DB:
        raise InputError(f"microphone {worst} is {gains_db[worst]:+.0f} dB off the middle of the array, wanted within "
                         f"{_FARTHEST_DB:.0f}; it is hardly connected")  # fmt: skip
    return Calibration(
        gains_db, delays_s * 1e6, gain_error_db, error_s * 1e6, fit_s * 1e6, int(kept.sum()), np.degrees(azimuths) % 360
    )


def _bursts(sound: Floats) -> list[Floats]:
    """Frames that begin shortly before the sound rises, of the loudest bursts where there are too many."""
    if len(sound) < _FRAME:
        return []
    steps = sound[: len(sound) // _STEP * _STEP].reshape(-1, _STEP, sound.shape[1])
    level_db = np.median(10 * np.log10(np.mean(steps**2, axis=1) + 1e-12), axis=1)
    floor_db = np.percentile(level_db, 10)
    starts, at = [], _BEFORE
    while at * _STEP + _FRAME <= len(sound):
        before_db = max(float(np.median(level_db[at - _BEFORE : at])), floor_db)
        if level_db[at] > before_db + _ABOVE_DB:
            starts.append(at)
            at += _BEFORE
        at += 1
    loudest = sorted(starts, key=lambda at: -level_db[at])[:_MOST]
    return [sound[(at - 1) * _STEP :][:_FRAME] for at in sorted(loudest)]


def _arrivals_s(frame: Floats, places: Floats) -> Floats:
    """When the burst reaches each channel, against the mean of all, from GCC-PHAT of all pairs: (channels,)."""
    count = frame.shape[1]
    spectra = np.fft.rfft(frame * _WINDOW[:, None], 2 * len(frame), axis=0)
    hertz = np.fft.rfftfreq(2 * len(frame), 1 / RATE)
    band = (hertz >= _BAND_HZ[0]) & (hertz <= _BAND_HZ[1])
    apart_s = np.linalg.norm(places[:, None] - places[None], axis=-1) / SPEED_OF_SOUND
    sums = np.zeros(count)
    for i in range(count):
        for j in range(i + 1, count):
            cross = spectra[:, i] * spectra[:, j].conj()
            cross = np.where(band, cross / np.maximum(np.abs(cross), 1e-20), 0)
            correlation = np.fft.irfft(cross, 2 * len(frame) * _FINER)
            reach = int((apart_s[i, j] * RATE + _LONGEST) * _FINER)
            near = np.concatenate([correlation[-reach:], correlation[: reach + 1]])
            late = (int(np.argmax(near)) - reach) / _FINER / RATE
            sums[i] += late
            sums[j] -= late
    return np.asarray(sums / count)  # the least-squares solution of all pairs


def _consistent(arrivals_s: Floats, places: Floats) -> NDArray[np.bool_]:
    """The bursts that fit the positions and a common delay, found by leaving out the worst ones three times."""
    kept = np.ones(len(arrivals_s), bool)
    for _ in range(3):
        if kept.sum() < _FEWEST:
            break
        delays_s, *_rest = _fitted(arrivals_s[kept], places)
        off_s = np.array([_nearest(burst - delays_s, places)[1] for burst in arrivals_s])
        kept = off_s * 1e6 <= _WORST_FIT_US
    return kept


def _nearest(lead_s: Floats, places: Floats) -> tuple[float, float]:
    """The azimuth, in radians, whose plane wave arrives most like this, and by how much it is off, rms."""
    angles = np.radians(np.arange(0, 360, 1.0))
    wanted_s = -(places @ np.stack([np.cos(angles), np.sin(angles)])) / SPEED_OF_SOUND
    off_s = np.sqrt(np.mean((lead_s[:, None] - wanted_s) ** 2, axis=0))
    best = int(np.argmin(off_s))
    return float(angles[best]), float(off_s[best])


def _fitted(arrivals_s: Floats, places: Floats) -> tuple[Floats, Floats, float, float]:
    """Channels' delays, bursts' azimuths (radians), the delays' largest standard error, and what remains (rms); seconds."""
    bursts, count = arrivals_s.shape
    around = np.median(arrivals_s, axis=0)  # from all around the array the positions' share of it is nothing
    tried = [_refined(arrivals_s, places, start) for start in (around - around.mean(), np.zeros(count))]
    (fit_s, delays_s, azimuths, jacobian), (other_s, others_s, *_rest) = sorted(tried, key=lambda one: one[0])
    noise_s = max(fit_s * np.sqrt(bursts * count / max(bursts * count - bursts - count, 1)), _MEASURED_US / 1e6)
    told = np.linalg.svd(jacobian, compute_uv=False)
    spread = np.linalg.pinv(jacobian.T @ jacobian, rcond=1e-12, hermitian=True)
    error_s = noise_s * float(np.sqrt(np.max(np.diag(spread)[:count]))) if told[-1] > 1e-6 * told[0] else np.inf
    if other_s < 1.5 * fit_s + _MEASURED_US / 1e6:  # other delays fit about as well
        error_s = max(error_s, float(np.abs(others_s - delays_s).max()))
    return delays_s, azimuths, error_s, fit_s


def _refined(arrivals_s: Floats, places: Floats, delays_s: Floats) -> tuple[float, Floats, Floats, Floats]:
    """What remains (rms), delays, azimuths and the Jacobian where Gauss and Newton end from these delays."""
    count = len(delays_s)
    azimuths = np.array([_nearest(burst - delays_s, places)[0] for burst in arrivals_s])
    for _ in range(_ROUNDS):
        residual, jacobian = _model(arrivals_s, places, delays_s, azimuths)
        change = np.linalg.lstsq(jacobian, residual, rcond=1e-9)[0]
        delays_s = delays_s + change[:count]
        azimuths = azimuths + np.clip(change[count:], -0.3, 0.3)
    residual, jacobian = _model(arrivals_s, places, delays_s, azimuths)
    return float(np.sqrt(np.mean(residual**2))), delays_s, azimuths, jacobian


def _model(arrivals_s: Floats, places: Floats, delays_s: Floats, azimuths: Floats) -> tuple[Floats, Floats]:
    """What remains of the arrivals, and how they change with delays and azimuths; the last row holds the delays' mean at 0."""
    bursts, count = arrivals_s.shape
    toward, across = np.stack([np.cos(azimuths), np.sin(azimuths)]), np.stack([-np.sin(azimuths), np.cos(azimuths)])
    residual = arrivals_s - delays_s + (places @ toward).T / SPEED_OF_SOUND
    jacobian = np.zeros((bursts, count, count + bursts))
    jacobian[:, :, :count] = np.eye(count)
    for burst in range(bursts):
        jacobian[burst, :, count + burst] = -(places @ across[:, burst]) / SPEED_OF_SOUND
    mean = np.concatenate([np.ones(count), np.zeros(bursts)])
    return np.append(residual.reshape(-1), -delays_s.sum()), np.vstack([jacobian.reshape(-1, count + bursts), mean])


def _levels_db(frame: Floats) -> Floats:
    power = np.abs(np.fft.rfft(frame, axis=0)) ** 2
    hertz = np.fft.rfftfreq(len(frame), 1 / RATE)
    band = (hertz >= _BAND_HZ[0]) & (hertz <= _BAND_HZ[1])
    return np.asarray(10 * np.log10(np.maximum(power[band].sum(axis=0), 1e-20)))
