"""Filter-and-sum beams and SRP-PHAT maps in float64 NumPy, and plane waves for them; nothing but the equations."""

import numpy as np

from reference.once import once

RATE, SIZE, HOP = 16_000, 512, 256
SPEED_OF_SOUND = 343.0
SILENT, DECAY = 1e-16, 0.85
WINDOW = np.sin(np.pi * (np.arange(SIZE) + 0.5) / SIZE)


def spectra(x):
    """Of frames that end with each whole hop, the first half silence before the stream: (hops, 257, channels)."""
    hops = len(x) // HOP
    padded = np.concatenate([np.zeros((HOP, x.shape[1])), x[: hops * HOP]])
    frames = [np.fft.rfft(WINDOW[:, None] * padded[t * HOP : t * HOP + SIZE], axis=0) for t in range(hops)]
    return np.stack(frames) if frames else np.zeros((0, HOP + 1, x.shape[1]), complex)


def filter_and_sum(x, weights):
    """What Beamformer gives for the whole stream: (frames, beams), two hops late."""
    frames = len(x)
    made = np.einsum("bkm,tkm->tbk", weights.astype(complex), spectra(x.astype(np.float64)))
    out = np.zeros((frames + 2 * SIZE, weights.shape[0]))
    for t, spectrum in enumerate(made):
        out[(t + 1) * HOP : (t + 1) * HOP + SIZE] += WINDOW[:, None] * np.fft.irfft(spectrum, SIZE).T
    out[(frames // HOP + 1) * HOP :] = 0  # the hop that is not finished yet
    return out[:frames]


@once
def maps(x, positions_mm, lowest_hz=300.0, highest_hz=7500.0, smoothing=0.8, directions=72, used=None):
    """What DirectionFinder gives for the whole stream: (updates, directions + 1)."""
    used = range(len(positions_mm)) if used is None else used
    bins = [k for k in range(SIZE // 2 + 1) if lowest_hz <= k * RATE / SIZE <= highest_hz]
    hz = np.array(bins) * RATE / SIZE
    angles = np.radians(np.arange(directions) * 360 / directions)
    toward = np.stack([np.cos(angles), np.sin(angles), 0 * angles])
    s = float(np.float32(smoothing))
    pairs = [(i, j) for i in used for j in used if i < j]
    count = len(positions_mm) * (len(positions_mm) - 1) // 2 * len(bins)
    steer = [
        np.exp(-2j * np.pi * hz[:, None] * ((positions_mm[i] - positions_mm[j]) @ toward) / 1000 / SPEED_OF_SOUND)
        for i, j in pairs
    ]
    cross, strength, late, made = np.zeros((len(pairs), len(bins)), complex), 0.0, np.zeros(len(bins)), []
    for t, X in enumerate(spectra(x.astype(np.float64))[:, bins]):
        power = np.mean(np.abs(X[:, used]) ** 2, axis=1) * 4 / SIZE**2
        weight = np.where(power >= SILENT, power**0.25 * np.maximum(1 - 2 * late / (power + SILENT), 1 / 256), 0)
        late = np.maximum(DECAY * late, power)
        phase = X / np.sqrt(np.abs(X) ** 2 + 1e-30)
        now = np.stack([phase[:, i] * np.conj(phase[:, j]) for i, j in pairs])
        cross = s * cross + (1 - s) * weight * now
        strength = s * strength + (1 - s) * np.sum(weight) * len(pairs) / count
        if t % 4 == 3:
            map_ = sum(np.real(cross[p] @ steer[p]) for p in range(len(pairs))) / count
            made.append(np.append(map_, strength) * (strength >= SILENT))
    return np.array(made).reshape(-1, directions + 1)


def plane_wave(signal, positions_mm, azimuth_deg):
    """What each microphone hears of a signal at the array's centre: exact fractional delays, the stream a circle."""
    positions = (positions_mm - np.mean(positions_mm, axis=0)) / 1000
    angle = np.radians(azimuth_deg)
    lead_s = positions @ [np.cos(angle), np.sin(angle), 0.0] / SPEED_OF_SOUND
    hz = np.fft.rfftfreq(len(signal), 1 / RATE)
    turned = np.fft.rfft(signal)[:, None] * np.exp(2j * np.pi * hz[:, None] * lead_s)
    return np.fft.irfft(turned, len(signal), axis=0)
