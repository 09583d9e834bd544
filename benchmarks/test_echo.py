"""Echo canceller against Speex's (libspeexdsp through ctypes): one microphone, one reference, 192 ms of tail."""

import ctypes

import numpy as np
import pytest
from ratio import RATE, ratios, report, sound

from farfield import kernels
from farfield.evaluation.speex import library

SECONDS = 20
TAIL = 3072
SPEEX_ECHO_SET_SAMPLING_RATE = 24  # speex/speex_echo.h


@pytest.fixture(scope="module")
def speex():
    found = library()
    if found is None:
        pytest.skip("needs Speex's library: sudo apt-get install libspeexdsp1")
    return found


@pytest.fixture
def state(speex, request):
    made = speex.speex_echo_state_init_mc(request.param, TAIL, 1, 1)
    rate = ctypes.c_int(RATE)
    assert speex.speex_echo_ctl(made, SPEEX_ECHO_SET_SAMPLING_RATE, ctypes.byref(rate)) == 0
    yield made
    speex.speex_echo_state_destroy(made)


def echoed():
    """What the loudspeaker plays, and what a microphone hears of it: 100 ms of decaying echo path, and a talker in turn."""
    played = sound(SECONDS)
    rng = np.random.default_rng(2)
    path = 0.1 * rng.standard_normal(1600) * np.exp(-np.arange(1600) / 300)
    size = 1 << (len(played) + len(path)).bit_length()
    echo = np.fft.irfft(np.fft.rfft(played, size) * np.fft.rfft(path, size), size)[: len(played)]
    talker = 0.3 * sound(SECONDS, seed=3) * (np.arange(len(played)) // (2 * RATE) % 2)
    return played, (echo + talker).clip(-32_768, 32_767).astype(np.int16)


def attenuation_db(heard, left):
    """Of the echo in its last second without a talker: far below what either canceller reaches, it would not be working."""
    last = slice((SECONDS - 3) * RATE, (SECONDS - 2) * RATE)
    return 10 * np.log10(np.mean(np.square(heard[last], dtype=float)) / np.mean(np.square(left[last], dtype=float)))


@pytest.mark.parametrize(("state", "hop", "bar"), [(128, 128, 5), (256, 256, 5), (256, 128, 3)], indirect=["state"])
def test_echo_canceller_against_speex(benchmark, speex, state, hop, bar, request):
    """int16 in, frame by frame. At frame 256, ours at that hop and at the chain's."""
    frame = request.node.callspec.params["state"]
    played, heard = echoed()
    frames = [(played[at : at + frame], heard[at : at + frame]) for at in range(0, len(heard) - frame + 1, frame)]
    left = np.empty(frame, np.int16)
    pointers = [(heard.ctypes.data, played.ctypes.data, left.ctypes.data) for played, heard in frames]
    canceller = kernels.EchoCanceller(1, 1, hop=hop, tail_samples=TAIL)
    out = np.empty((frame, 1), np.float32)

    def ours():
        for far, near in frames:
            canceller.process(near[:, None], far[:, None], out)

    def theirs():
        for near, far, cancelled in pointers:
            speex.speex_echo_cancellation(state, near, far, cancelled)

    measured = ratios(ours, theirs)
    name = f"echo canceller, 1 x 1, 192 ms, frame {frame}, hop {hop}"
    report(benchmark, name, "libspeexdsp", measured, SECONDS, bar)
    benchmark.pedantic(ours, rounds=3)

    kept_ours = np.concatenate([
        canceller.process(near[:, None], far[:, None]) for far, near in frames
    ])[canceller.delay_samples :, 0]  # fmt: skip
    kept_theirs = np.empty(len(frames) * frame, np.int16)
    for number, (near, far, _) in enumerate(pointers):
        speex.speex_echo_cancellation(state, near, far, kept_theirs.ctypes.data + 2 * number * frame)
    ours_db, theirs_db = attenuation_db(heard, kept_ours * 32_768), attenuation_db(heard, kept_theirs)
    benchmark.extra_info["note"] = f"echo taken out at the end: ours {ours_db:.1f} dB, the peer {theirs_db:.1f} dB"
    assert measured.median >= bar
    assert min(ours_db, theirs_db) > 10, "one of the two does not cancel; their times say nothing"
