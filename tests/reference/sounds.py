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


def silent(*_):
    """Told of progress, and says nothing."""
