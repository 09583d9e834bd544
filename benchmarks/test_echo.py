"""Echo canceller against Speex's (libspeexdsp through ctypes) and WebRTC's AEC3 (the livekit package), and its cost by tail and
microphones: one reference, 192 ms of tail unless said."""

import ctypes
import shutil
from pathlib import Path

import numpy as np
import pytest
from ratio import RATE, cpu_seconds, figures, instructions, ratios, report, sound

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


def test_echo_canceller_against_aec3(benchmark):
    """int16 in, 10 ms a call. AEC3 comes with its delay estimator and its suppressor, and cannot be had without."""
    rtc = pytest.importorskip("livekit.rtc", reason="needs WebRTC's AEC3: pip install livekit")
    played, heard = echoed()
    frames = [(played[at : at + 160], heard[at : at + 160]) for at in range(0, len(heard) - 159, 160)]
    aec3 = rtc.AudioProcessingModule(echo_cancellation=True)
    left = np.empty(len(frames) * 160, np.int16)
    aligner, canceller = kernels.Aligner(1, 1), kernels.EchoCanceller(1, 1, tail_samples=TAIL)
    out = np.empty((160, 1), np.float32)

    def ours():
        for far, near in frames:
            canceller.process(near[:, None], far[:, None], out)

    def theirs():
        for number, (far, near) in enumerate(frames):
            aec3.process_reverse_stream(rtc.AudioFrame(far.tobytes(), RATE, 1, 160))
            frame = rtc.AudioFrame(near.tobytes(), RATE, 1, 160)
            aec3.process_stream(frame)
            left[160 * number : 160 * number + 160] = np.frombuffer(frame.data, np.int16)

    def aligned():
        for far, near in frames:
            canceller.process(*aligner.process(near[:, None], far[:, None]), out)

    measured = ratios(ours, theirs)
    report(benchmark, "echo canceller, 1 x 1, 192 ms", "AEC3 (livekit)", measured, SECONDS, 5)
    with_aligner = min(cpu_seconds(aligned) for _ in range(3)) / SECONDS
    theirs_db = attenuation_db(heard, left)
    benchmark.extra_info["note"] = (
        f"echo taken out at the end by AEC3, suppressor included: {theirs_db:.1f} dB; "
        f"ours with the aligner: {1000 * with_aligner:.3f} ms/s"
    )
    benchmark.pedantic(ours, rounds=3)
    assert theirs_db > 10, "the peer does not cancel; its time says nothing"
    assert measured.median >= 5


def test_cost_by_tail_and_microphones(benchmark):
    """Linear in the tail, and each further microphone for less than the first."""
    played, heard = echoed()

    def cost(tail, microphones):
        canceller = kernels.EchoCanceller(microphones, 1, tail_samples=tail)
        near = np.ascontiguousarray(np.repeat(heard[:, None], microphones, axis=1))
        work = [(near[at : at + 128], played[at : at + 128, None]) for at in range(0, len(heard) - 127, 128)]

        def run():
            for mic, ref in work:
                canceller.process(mic, ref)

        run()
        return min(cpu_seconds(run) for _ in range(5)) / SECONDS * 1000

    tails = {tail: cost(tail, 1) for tail in (1024, 2048, 4096, 8192)}
    further = (cost(TAIL, 5) - cost(TAIL, 1)) / 4 / cost(TAIL, 1)
    told = ", ".join(f"{tail * 1000 // RATE} ms: {ms:.3f}" for tail, ms in tails.items())
    benchmark.extra_info["count"] = (
        f"echo canceller, ms a second of sound by tail: {told}; each further microphone {further:.2f} of the first"
    )
    benchmark.pedantic(lambda: None, rounds=1)
    growth = (tails[8192] - tails[2048]) / (tails[4096] - tails[1024])
    assert 1.4 < growth < 2.8, "twice the step in tail, about twice the step in cost"
    assert further < 1


def test_suppressor_and_linear_stage_against_aec3(benchmark):
    """int16 in, 10 ms a call, delay estimator and suppressor on both sides; what linear stage and suppressor take away, apart."""
    rtc = pytest.importorskip("livekit.rtc", reason="needs WebRTC's AEC3: pip install livekit")
    played, heard = echoed()
    frames = [(played[at : at + 160], heard[at : at + 160]) for at in range(0, len(heard) - 159, 160)]
    aec3 = rtc.AudioProcessingModule(echo_cancellation=True)
    aligner, canceller = kernels.Aligner(1, 1), kernels.EchoCanceller(1, 1, tail_samples=TAIL)
    suppressor = kernels.Suppressor(1, late_samples=canceller.delay_samples)
    out = np.empty((160, 1), np.float32)

    def ours():
        for far, near in frames:
            mic, ref = aligner.process(near[:, None], far[:, None])
            suppressor.process(canceller.process(mic, ref), mic, out)

    def theirs():
        for far, near in frames:
            aec3.process_reverse_stream(rtc.AudioFrame(far.tobytes(), RATE, 1, 160))
            aec3.process_stream(rtc.AudioFrame(near.tobytes(), RATE, 1, 160))

    measured = ratios(ours, theirs)
    report(benchmark, "aligner, echo canceller, suppressor, 1 x 1, 192 ms", "AEC3 (livekit)", measured, SECONDS)
    whole = np.array(heard)[:, None]
    for stage in (aligner, canceller, suppressor):
        stage.reset()
    mic, ref = aligner.process(whole, np.array(played)[:, None])
    linear = canceller.process(mic, ref)
    left = suppressor.process(linear, mic)
    late = aligner.delay_samples + canceller.delay_samples
    linear_db = attenuation_db(heard, np.append(linear[late:, 0], np.zeros(late)) * 32_768)
    late += suppressor.delay_samples
    both_db = attenuation_db(heard, np.append(left[late:, 0], np.zeros(late)) * 32_768)
    alone = min(cpu_seconds(lambda: suppressor.process(linear, mic)) for _ in range(3)) / SECONDS
    benchmark.extra_info["note"] = (
        f"echo taken out at the end: linear stage {linear_db:.1f} dB, with the suppressor {both_db:.1f} dB; "
        f"the suppressor alone costs {1000 * alone:.3f} ms/s"
    )
    benchmark.pedantic(ours, rounds=3)
    assert both_db > linear_db > 10


def test_instructions_of_a_second(benchmark, tmp_path):
    """Of the linear stage, one microphone, 192 ms, counted by callgrind at level v3, or the machine's lower one."""
    if shutil.which("valgrind") is None:
        pytest.skip("needs valgrind: sudo apt-get install valgrind")
    level = {"v4": "v3"}.get(kernels.cpu_level(), kernels.cpu_level())
    script = Path(__file__).with_name("echo_seconds.py")
    first, second = (instructions(seconds, level, tmp_path, script) for seconds in (1, 3))
    benchmark.extra_info["count"] = (
        f"echo canceller, 1 x 1, 192 ms, level {level}: {figures((second - first) / 2e6)} million instructions a second of sound"
    )
    benchmark.pedantic(lambda: None, rounds=1)
    assert second > first
