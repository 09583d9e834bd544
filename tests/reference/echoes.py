"""Echoes that are known: paths, what microphones hear through them, and how much of it a canceller takes out."""

import numpy as np
from scipy.signal import fftconvolve, lfilter

from reference.measure import power_db

RATE = 16_000


def echo_path(rng, taps, references, microphones, gain=0.5):
    """A diffuse tail that falls by 60 dB over its length."""
    h = rng.standard_normal((taps, references, microphones)) * 10.0 ** (-3 * np.arange(taps) / taps)[:, None, None]
    return gain * h / np.sqrt(np.sum(h**2, axis=0))


def through(path, ref):
    """What the microphones hear of the references: (frames, references) -> (frames, microphones)."""
    heard = fftconvolve(ref[:, :, None], path, axes=0)[: len(ref)]
    return heard.sum(axis=1)


def bursts(rng, frames, channels):
    """Coloured noise with pauses, as speech has them; RMS about 0.1."""
    coloured = lfilter([1.0], [1.0, -0.9], rng.standard_normal((frames, channels)), axis=0) * np.sqrt(1 - 0.81)
    loud = np.repeat(rng.choice([0.0, 0.3, 1.0, 1.5], (frames // 1600 + 1, channels)), 1600, axis=0)[:frames]
    return 0.1 * coloured * loud


def scene(seed, frames, microphones, references, *, taps=1500, near=0.001, play=None):
    """mic, ref, echo; white references unless `play` makes others."""
    rng = np.random.default_rng(seed)
    ref = 0.1 * rng.standard_normal((frames, references)) if play is None else play(rng, frames, references)
    echo = through(echo_path(rng, taps, references, microphones), ref)
    mic = echo + near * rng.standard_normal(echo.shape)
    return mic.astype(np.float32), ref.astype(np.float32), echo


def erle_db(echo, heard, canceller, since):
    """Echo power over what is left of it, from `since` on."""
    left = heard[canceller.delay_samples :]
    return power_db(echo[since : len(left)]) - power_db(left[since:])
