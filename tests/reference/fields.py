"""Sound fields on arrays: talkers far and near, noise from all around, wind, music; and microphones that fail."""

from functools import lru_cache

import numpy as np

from farfield.evaluation.array import syllables
from reference.beam import RATE, SPEED_OF_SOUND, plane_wave


def int16(x):
    return np.clip(np.rint(np.asarray(x) * 32_768), -32_768, 32_767).astype(np.int16)


def own_noise(shape, level=3e-4, seed=0):
    return level * np.random.default_rng([seed, 1]).standard_normal(shape)


@lru_cache(maxsize=64)
def _around(positions, seed):
    """Two seconds of it, which go round."""
    random = np.random.default_rng([seed, 2])
    frames = 2 * RATE
    hertz = np.fft.rfftfreq(frames, 1 / RATE)
    tilt = 1 / (1 + (hertz / 500) ** 2) ** 0.5
    places = np.array(positions) / 1000
    spectrum = 0
    for angle in np.radians(15.0 * np.arange(24)):
        wave = tilt * (random.standard_normal(len(hertz)) + 1j * random.standard_normal(len(hertz)))
        lead_s = places @ [np.cos(angle), np.sin(angle), 0] / SPEED_OF_SOUND
        spectrum = spectrum + wave[:, None] * np.exp(2j * np.pi * hertz[:, None] * lead_s)
    heard = np.fft.irfft(spectrum, frames, axis=0)
    return heard / heard.std()


def diffuse(positions_mm, seconds, seed=0, level=3e-3):
    """Noise from 24 directions around, as from a room."""
    frames = int(seconds * RATE)
    once = _around(tuple(map(tuple, positions_mm.tolist())), seed % 3)
    return level * np.tile(once, (frames // len(once) + 1, 1))[:frames]


def talker(positions_mm, seconds, azimuth_deg=70.0, seed=0, level=0.05):
    """Syllables from afar, with pauses, over the room's noise and the microphones' own."""
    speech = syllables(seconds, seed)
    speech *= np.arange(len(speech)) % (2 * RATE) < 1.4 * RATE
    heard = level * plane_wave(speech, positions_mm, azimuth_deg)
    return heard + diffuse(positions_mm, seconds, seed) + own_noise(heard.shape, seed=seed)


def talkers(positions_mm, seconds, seed=0):
    """Two in turn, of whom one at least is at an odd angle to any pair of microphones."""
    half = seconds / 2
    return np.concatenate([talker(positions_mm, half, 70.0, seed), talker(positions_mm, half, 190.0, seed + 1)])


def near_talker(positions_mm, seconds, distance_mm=100.0, seed=0, level=0.05):
    """A mouth a hand's width away: as near to one microphone as that is far from the next."""
    frames = int(seconds * RATE)
    speech = syllables(seconds, seed) * (np.arange(frames) % (2 * RATE) < 1.4 * RATE)
    away = np.linalg.norm(positions_mm - [distance_mm, 5.0, 0.0], axis=1)
    hertz = np.fft.rfftfreq(frames, 1 / RATE)
    spectrum = np.fft.rfft(speech)[:, None] * np.exp(-2j * np.pi * hertz[:, None] * away / 1000 / SPEED_OF_SOUND)
    heard = level * np.fft.irfft(spectrum, frames, axis=0) * distance_mm / away
    return heard + diffuse(positions_mm, seconds, seed) + own_noise(heard.shape, seed=seed)


def wind(positions_mm, seconds, seed=0, level=0.05):
    """Turbulence: low, in gusts, and at each microphone its own."""
    random = np.random.default_rng([seed, 3])
    frames, channels = int(seconds * RATE), len(positions_mm)
    fall = 1 / (1 + (np.fft.rfftfreq(frames, 1 / RATE) / 80) ** 1.5)
    noise = np.fft.irfft(np.fft.rfft(random.standard_normal((frames, channels)), axis=0) * fall[:, None], frames, axis=0)
    gusts = np.abs(np.fft.irfft(np.fft.rfft(random.standard_normal((frames, channels)), axis=0)
                                * (np.fft.rfftfreq(frames, 1 / RATE) < 0.7)[:, None], frames, axis=0))  # fmt: skip
    heard = level * noise / noise.std() * gusts / gusts.mean()
    return heard + diffuse(positions_mm, seconds, seed) + own_noise(heard.shape, seed=seed)


def music(positions_mm, seconds, seed=0, level=0.1):
    """Chords that change twice a second, from one side."""
    random = np.random.default_rng([seed, 4])
    frames = int(seconds * RATE)
    t = np.arange(frames) / RATE
    chords = np.repeat(random.choice([220, 247, 262, 294, 330, 392], (int(2 * seconds) + 1, 3)), RATE // 2, axis=0)[:frames]
    wave = sum(np.sin(2 * np.pi * np.cumsum(chords[:, n]) * k / RATE) / k for n in range(3) for k in range(1, 9))
    heard = level / 3 * plane_wave(wave * (0.6 + 0.4 * np.sin(9 * t)), positions_mm, 130.0)
    return heard + diffuse(positions_mm, seconds, seed) + own_noise(heard.shape, seed=seed)


def silence(positions_mm, seconds, seed=0):
    return np.zeros((int(seconds * RATE), len(positions_mm)))


def still_room(positions_mm, seconds, seed=0):
    """Nothing but the microphones' own noise."""
    return own_noise((int(seconds * RATE), len(positions_mm)), seed=seed)


def shouting(positions_mm, seconds, seed=0):
    """Every microphone overdriven alike."""
    return np.clip(talker(positions_mm, seconds, seed=seed, level=1.0), -1, 1)


HEALTHY = (talker, talkers, near_talker, wind, music, silence, still_room, shouting)


def failed(x, kind, microphone):
    """The array's sound with one microphone failing; `swapped` is with the next one."""
    x, channel = x.copy(), x[:, microphone]
    if kind == "dead":
        x[:, microphone] = 0
    elif kind == "deaf":
        x[:, microphone] = own_noise(len(x), seed=5)
    elif kind == "louder":
        x[:, microphone] = 2 * channel
    elif kind == "quieter":
        x[:, microphone] = channel / 2
    elif kind == "overdriven":
        x[:, microphone] = np.clip(30 * channel, -1, 1)
    elif kind == "clipped":
        x[:, microphone] = np.clip(channel, -0.05, 0.05)
    elif kind == "noisy":
        x[:, microphone] = channel + own_noise(len(x), 0.02, seed=6)
    elif kind == "swapped":
        other = (microphone + 1) % x.shape[1]
        x[:, [microphone, other]] = x[:, [other, microphone]]
    return x


KINDS = {"dead": "dead", "deaf": "dead", "louder": "gain", "quieter": "gain", "overdriven": "clipped", "clipped": "clipped",
         "noisy": "noisy", "swapped": "swapped"}  # fmt: skip
