"""Filter-and-sum beams and SRP-PHAT maps in float64 NumPy, and plane waves for them; nothing but the equations."""

import numpy as np

RATE, SIZE, HOP = 16_000, 512, 256
SPEED_OF_SOUND = 343.0
FLOOR, SILENT = 1e-20, 1e-16
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


def maps(x, positions_mm, lowest_hz=300.0, highest_hz=6800.0, smoothing=0.8):
    """What DirectionFinder gives for the whole stream: (updates, 72)."""
    bins = [k for k in range(SIZE // 2 + 1) if lowest_hz <= k * RATE / SIZE <= highest_hz]
    hz = np.array(bins) * RATE / SIZE
    angles = np.radians(np.arange(0, 360, 5))
    toward = np.stack([np.cos(angles), np.sin(angles), 0 * angles])
    s = float(np.float32(smoothing))
    pairs = [(i, j) for i in range(len(positions_mm)) for j in range(i + 1, len(positions_mm))]
    steer = [
        np.exp(-2j * np.pi * hz[:, None] * ((positions_mm[i] - positions_mm[j]) @ toward) / 1000 / SPEED_OF_SOUND)
        for i, j in pairs
    ]
    cross, power, made = np.zeros((len(pairs), len(bins)), complex), 0.0, []
    for t, X in enumerate(spectra(x.astype(np.float64))[:, bins]):
        now = np.stack([X[:, i] * np.conj(X[:, j]) for i, j in pairs])
        cross = s * cross + (1 - s) * now + FLOOR
        power = s * power + (1 - s) * 4 * np.sum(np.abs(X) ** 2) / (SIZE * SIZE * len(positions_mm)) + FLOOR
        if t % 4 == 3:
            phase = cross / np.sqrt(np.abs(cross) ** 2 + 1e-36)
            mean = sum(np.real(phase[p] @ steer[p]) for p in range(len(pairs))) / (len(pairs) * len(bins))
            made.append(np.sqrt(power) * mean * (power >= SILENT))
    return np.array(made).reshape(-1, 72)


def plane_wave(signal, positions_mm, azimuth_deg):
    """What each microphone hears of a signal at the array's centre: exact fractional delays, the stream a circle."""
    positions = (positions_mm - np.mean(positions_mm, axis=0)) / 1000
    angle = np.radians(azimuth_deg)
    lead_s = positions @ [np.cos(angle), np.sin(angle), 0.0] / SPEED_OF_SOUND
    hz = np.fft.rfftfreq(len(signal), 1 / RATE)
    turned = np.fft.rfft(signal)[:, None] * np.exp(2j * np.pi * hz[:, None] * lead_s)
    return np.fft.irfft(turned, len(signal), axis=0)
