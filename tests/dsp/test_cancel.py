"""Aligner and canceller together: what was learnt survives a jump of the echo, however the stream is cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import fftconvolve

from farfield import kernels
from farfield.cancel import cancel
from reference.measure import power_db

RATE = 16_000
AT, JUMP = 8 * RATE, 1_280  # 80 ms


def scene(seed, seconds=12):
    """Noise in bursts of 0.1 s; its echo 60 ms later, and from AT on another 80 ms later. The microphone and the reference."""
    rng = np.random.default_rng(seed)
    frames = seconds * RATE
    ref = 0.1 * rng.standard_normal(frames) * np.repeat(rng.choice([0.3, 1.0, 1.5], frames // 1_600), 1_600)
    path = 0.3 * rng.standard_normal(1_200) * 10.0 ** (-3 * np.arange(1_200) / 1_200)
    path[0] = 1
    echo = 0.5 * fftconvolve(ref, path / np.sqrt(np.sum(path**2)))[:frames]
    echo = np.concatenate([np.roll(echo, 960)[:AT], np.roll(echo, 960 + JUMP)[AT:]])
    return (np.float32(x[:, None]) for x in (echo + 1e-4 * rng.standard_normal(frames), ref))


class Forgetful:
    """Planted: a canceller that recalls nothing."""

    def __init__(self, canceller):
        self.process, self.microphones = canceller.process, canceller.microphones

    def recall(self):
        pass


@pytest.mark.parametrize("seed", [1, 2])
def test_a_jump_of_80_ms_is_over_within_2_s(seed):
    """Within 3 dB of what was taken out before it; without recalling it is not."""
    mic, ref = scene(seed)
    short = {}
    for name, wrap in (("recalls", lambda canceller: canceller), ("forgetful", Forgetful)):
        aligner, canceller = kernels.Aligner(1, 1), kernels.EchoCanceller(1, 1)
        (left,), _, _ = cancel(aligner, [(wrap(canceller), slice(None))], mic, ref, 0)
        left = left[aligner.delay_samples + canceller.delay_samples :]
        erle = [power_db(mic[at : at + 4_000]) - power_db(left[at : at + 4_000]) for at in range(0, len(left) - 4_000, 4_000)]
        before, first = np.mean(erle[24:32]), erle[40]
        assert erle[33] < 6, "planted: the jump must be heard"
        assert before > 30
        assert aligner.moves == 2
        short[name] = before - first
    assert short["recalls"] < 3
    assert short["forgetful"] > short["recalls"] + 1


@settings(max_examples=5, deadline=None)
@given(cuts=st.lists(st.integers(1, 3_000), min_size=1, max_size=6))
def test_any_chunking_recalls_at_the_same_sample(cuts):
    mic, ref = (x[AT - 3 * RATE : AT + 2 * RATE] for x in scene(3))
    made = []
    for sizes in ([len(mic)], cuts):
        aligner, canceller = kernels.Aligner(1, 1), kernels.EchoCanceller(1, 1)
        at, parts = 0, []
        while at < len(mic):
            size = sizes[len(parts) % len(sizes)]
            parts.append(cancel(aligner, [(canceller, slice(None))], mic[at : at + size], ref[at : at + size], at)[0][0])
            at += size
        made.append(np.concatenate(parts))
        assert aligner.moves == 2
    assert made[0].tobytes() == made[1].tobytes()
