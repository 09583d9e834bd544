"""Sounds to plant: tones and near silence, alone or as clips in folders."""

import numpy as np
import soundfile

RATE = 16_000


def tone(hertz, seconds, level=0.3):
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def quiet(seconds, seed=0):
    return (1e-4 * np.random.default_rng(seed).normal(size=int(seconds * RATE))).astype(np.float32)


def voice(folder, person, count, hertz, seconds=0.9):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        sound = np.concatenate([quiet(0.2, number), tone(hertz + 9 * number, seconds - 0.4), quiet(0.2)])
        soundfile.write(folder / f"{person}-{number}.wav", sound, RATE)


def simple_material(**changes):
    """A tone of 3 kHz for the only word, lower ones for speech and noise, no room."""
    from farfield.training import segments

    word = np.concatenate([quiet(0.3), tone(3_000, 0.6), quiet(0.4)])
    given = {
        "words": [segments.Word([segments.Said(word, 4_800, 14_400)], [])],
        "speech": [tone(200, 2.0), tone(300, 1.0)],
        "noise": [tone(500, 1.5)],
        "rooms": [np.eye(1, 800, 8, dtype=np.float32)[0]],
    }
    given |= changes
    return segments.Material(**{"near": [[] for _ in given["words"]], **given})


def syllables(seconds, seed=0):
    """Something like speech, float64, mean power about 1: bursts of noise and of buzz, 80 to 250 ms long, with pauses between."""
    random = np.random.default_rng([seed, 9])
    frames = int(seconds * RATE)
    out = np.zeros(frames)
    at = 0
    while at < frames:
        length, pause = (int(random.uniform(*span) * RATE) for span in ((0.08, 0.25), (0.03, 0.15)))
        if random.random() < 0.6:
            pitch = random.uniform(90, 250) * (1 + 0.1 * np.linspace(0, random.uniform(-1, 1), length))
            source = 8 * np.diff(np.floor(np.cumsum(pitch) / RATE), prepend=0.0) + 0.1 * random.standard_normal(length)
        else:
            source = random.standard_normal(length)
        spectrum = np.fft.rfft(source)
        hertz = np.fft.rfftfreq(length, 1 / RATE)
        formants = sum(1 / (1 + ((hertz - f) / 150) ** 2) for f in random.uniform([300, 900, 2200], [900, 2200, 3500]))
        burst = np.fft.irfft(spectrum * (0.1 + formants), length) * np.hanning(length)
        burst *= random.uniform(0.5, 1.5) / np.sqrt(np.mean(burst**2))
        out[at : at + length] = burst[: frames - at]
        at += length + pause
    return out
