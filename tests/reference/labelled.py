"""Clips of tones for labelled streams: a word to find, and where it lies in what is heard."""

import numpy as np

RATE = 16_000
FRAME = 2_048


def burst(hertz, seconds, level=0.3):
    """A word to find: 0.2 s of quiet, a tone, 0.2 s of quiet."""
    quiet = 1e-4 * np.random.default_rng(int(hertz)).standard_normal(RATE // 5)
    tone = level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)
    return np.concatenate([quiet, tone, quiet])


def paths(folder):
    return sorted(folder.glob("*.wav"))


def peak(samples):
    usable = samples[: len(samples) // FRAME * FRAME].astype(float) / 32_768
    return np.mean(usable.reshape(-1, FRAME) ** 2, axis=1).max()
