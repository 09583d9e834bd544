"""The echo canceller: against its equations in float64, on known echo paths, on poisoned input, on recordings."""

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import solve, toeplitz
from scipy.signal import fftconvolve, lfilter

from reference import echo as reference
from reference.levels import at_one_level
from reference.measure import in_chunks, power_db, si_sdr_db, snr_db

RATE = 16_000
LEAST_SNR_DB = 94.0  # of what is left, itself 34 dB below the echo that was rounded to 24 bits

seeds = st.integers(0, 2**32 - 1)
hops = st.sampled_from([64, 128, 256])


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


@pytest.mark.parametrize("play", [None, bursts], ids=["white", "bursts"])
@pytest.mark.parametrize("hop", [64, 128, 256])
@pytest.mark.parametrize(("microphones", "references"), [(1, 1), (3, 2), (2, 4)])
def test_against_float64(kernels, hop, microphones, references, play):
    mic, ref, _ = scene(hop, 2 * RATE + 77, microphones, references, play=play)
    got = kernels.EchoCanceller(microphones, references, hop=hop).process(mic, ref)
    wanted = reference.cancel(mic, ref, hop=hop)
    assert got.dtype == np.float32
    for m in range(microphones):
        assert snr_db(got[:, m], wanted[:, m]) >= LEAST_SNR_DB


@settings(max_examples=30)
@given(
    shape=st.tuples(st.integers(1, 3), st.integers(1, 4)),
    level_db=st.floats(-50, 10),
    near_db=st.floats(-60, 0),
    parameters=st.fixed_dictionaries({
        "hop": hops,
        "tail_samples": st.integers(1, 3000),
        "memory_s": st.floats(0.1, 1000),
        "noise_smoothing": st.floats(0, 0.99),
        "initial": st.floats(-3, 2).map(lambda exponent: 10.0**exponent),
        "repair": st.integers(1, 128),
    }),
    seed=seeds,
)  # fmt: skip
def test_any_parameters_against_float64(kernels, shape, level_db, near_db, parameters, seed):
    mic, ref, _ = scene(seed, 6000, *shape, near=0.1 * 10 ** (near_db / 20), play=bursts if seed % 2 else None)
    scale = np.float32(10 ** (level_db / 20))
    mic, ref = mic * scale, ref * scale
    got = kernels.EchoCanceller(*shape, **parameters).process(mic, ref)
    wanted = reference.cancel(mic, ref, **parameters)
    for m in range(shape[0]):
        assert snr_db(got[:, m], wanted[:, m]) >= LEAST_SNR_DB


@pytest.mark.parametrize(
    "changed", [{"noise_smoothing": 0.51}, {"memory_s": 3.1}, {"initial": 2.6}, {"repair": 2}, {"tail_samples": 1920}]
)
def test_the_bound_sees_each_parameter(changed):
    """Planted: the equations with one parameter a little off are not within the bound of the right ones."""
    mic, ref, _ = scene(1, RATE, 1, 1)
    parameters = {"noise_smoothing": 0.5, "memory_s": 3.0, "initial": 2.5, "repair": 1, "tail_samples": 2048}
    right = reference.cancel(mic, ref, **parameters)
    assert snr_db(reference.cancel(mic, ref, **(parameters | changed)), right) < LEAST_SNR_DB - 20


@settings(max_examples=25)
@given(
    hop=hops,
    shape=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    cuts=st.lists(st.integers(0, 3000), max_size=12),
    seed=seeds,
)
def test_any_chunking_gives_the_same_sound(kernels, hop, shape, cuts, seed):
    mic, ref, _ = scene(seed, 3000, *shape)
    canceller = kernels.EchoCanceller(*shape, hop=hop, tail_samples=1000)
    whole = canceller.process(mic, ref)
    canceller.reset()
    assert in_chunks(canceller.process, cuts, mic, ref).tobytes() == whole.tobytes()


def test_single_samples_give_the_same_sound(kernels):
    mic, ref, _ = scene(3, 1500, 2, 1)
    got = in_chunks(kernels.EchoCanceller(2, 1, hop=64).process, range(1500), mic, ref)
    assert got.tobytes() == kernels.EchoCanceller(2, 1, hop=64).process(mic, ref).tobytes()


@settings(max_examples=25)
@given(hop=hops, before=st.integers(0, 3000), repair=st.integers(1, 20), seed=seeds)
def test_reset_is_the_state_after_construction(kernels, hop, before, repair, seed):
    mic, ref, _ = scene(seed, 3000, 2, 2)
    arguments = {"hop": hop, "tail_samples": 1000, "repair": repair}
    used, fresh = kernels.EchoCanceller(2, 2, **arguments), kernels.EchoCanceller(2, 2, **arguments)
    used.process(mic[:before] * 3, ref[:before])
    used.reset()
    assert used.erle_db.tolist() == fresh.erle_db.tolist() == [0.0, 0.0]
    assert used.process(mic, ref).tobytes() == fresh.process(mic, ref).tobytes()
    assert used.erle_db.tolist() == fresh.erle_db.tolist()


def test_two_objects_share_no_state(kernels):
    (mic, ref, _), (mic2, ref2, _) = scene(1, 2000, 1, 1), scene(2, 2000, 1, 1)
    one, other = kernels.EchoCanceller(1, 1), kernels.EchoCanceller(1, 1)
    turns = [
        (one.process(mic[t : t + 100], ref[t : t + 100]), other.process(mic2[t : t + 100], ref2[t : t + 100]))
        for t in range(0, 2000, 100)
    ]
    alone = kernels.EchoCanceller(1, 1).process(mic, ref)
    assert np.concatenate([a for a, _ in turns]).tobytes() == alone.tobytes()


@pytest.mark.parametrize("hop", [64, 128, 256])
def test_with_a_silent_loudspeaker_the_microphones_come_out_delayed_bit_for_bit(kernels, hop):
    rng = np.random.default_rng(hop)
    mic = (rng.standard_normal((4000, 3)) * 10.0 ** rng.uniform(-30, 0.5, (4000, 1))).astype(np.float32)
    canceller = kernels.EchoCanceller(3, 2, hop=hop)
    assert canceller.hop == hop
    assert canceller.delay_samples == 2 * hop
    got = canceller.process(mic, np.zeros((4000, 2), np.float32))
    assert not got[: 2 * hop].any()
    assert got[2 * hop :].tobytes() == mic[: -2 * hop].tobytes()


def erle_db(echo, heard, canceller, since):
    """Echo power over what is left of it, from `since` on."""
    left = heard[canceller.delay_samples :]
    return power_db(echo[since : len(left)]) - power_db(left[since:])


@pytest.mark.parametrize("hop", [64, 128, 256])
def test_a_known_echo_path_is_learnt(kernels, hop):
    """White noise through a path that fits the tail; the floor is noise 50 dB below the echo."""
    mic, ref, echo = scene(5, 4 * RATE, 2, 1, near=0.05 * 10 ** (-50 / 20))
    canceller = kernels.EchoCanceller(2, 1, hop=hop)
    out = canceller.process(mic, ref)
    for m in range(2):
        assert erle_db(echo[:, m], out[:, m], canceller, 3 * RATE) > 25


@pytest.mark.parametrize("hop", [64, 128, 256])
def test_erle_is_the_power_taken_out_averaged_over_64_hops(kernels, hop):
    mic, ref, _ = scene(5, 100 * hop, 2, 1)
    canceller = kernels.EchoCanceller(2, 1, hop=hop)
    more = canceller.delay_samples
    out = canceller.process(np.concatenate([mic, mic[:more]]), np.concatenate([ref, ref[:more]]))[more : more + 100 * hop]
    canceller.reset()
    canceller.process(np.concatenate([mic, mic[:hop]]), np.concatenate([ref, ref[:hop]]))  # what has left, and no more
    weights = (63 / 64) ** np.arange(99, -1, -1)  # of each hop, the last one first
    before, after = (weights @ np.sum(x.astype(np.float64).reshape(100, hop, 2) ** 2, axis=1) for x in (mic, out))
    assert canceller.erle_db == pytest.approx(10 * np.log10(before / after), abs=1e-3)
    assert canceller.erle_db.min() > 6


def test_two_loudspeakers_with_different_sound_are_learnt(kernels):
    mic, ref, echo = scene(6, 6 * RATE, 2, 2, near=0.05 * 10 ** (-50 / 20))
    canceller = kernels.EchoCanceller(2, 2)
    out = canceller.process(mic, ref)
    for m in range(2):
        assert erle_db(echo[:, m], out[:, m], canceller, 5 * RATE) > 25


def stereo_music(rng, seconds):
    """Chords in two channels that share most of them, through loudspeakers that saturate: references and what they play."""
    t = np.arange(int(0.4 * RATE)) / RATE

    def notes():
        held = (110 * 2 ** (rng.integers(0, 25, 4) / 12) for _ in range(int(seconds / 0.4)))
        tones = [sum(np.sin(2 * np.pi * f * n * t) / n for f in chord for n in range(1, 9)) for chord in held]
        return np.concatenate([np.exp(-3 * t) * tone for tone in tones])

    middle, left, right = (notes() for _ in range(3))
    ref = 0.03 * np.stack([middle + 0.5 * left, middle + 0.5 * right], axis=1)
    return ref, 0.12 * np.tanh(ref / 0.12)


def least_squares(mic, ref, taps):
    """What the best fixed filter of so many taps leaves: the normal equations of the autocorrelation method, solved directly."""
    size = 2 * len(mic)
    x, y = np.fft.rfft(ref, size, axis=0).T, np.fft.rfft(mic[:, 0], size)
    across = [[np.fft.irfft(np.conj(a) * b, size) for b in x] for a in x]
    normal = np.block([[toeplitz(c[:taps], np.roll(c[::-1], 1)[:taps]) for c in row] for row in across])
    normal += 1e-9 * np.trace(normal) / len(normal) * np.eye(len(normal))
    w = solve(normal, np.ravel([np.fft.irfft(np.conj(a) * y, size)[:taps] for a in x])).reshape(len(x), taps)
    heard = sum(a * np.fft.rfft(taps_, size) for a, taps_ in zip(x, w, strict=True))
    return mic[:, 0] - np.fft.irfft(heard, size)[: len(mic)]


@at_one_level
def test_stereo_music_is_taken_out_as_far_as_a_fixed_filter_could(kernels):
    """And by over 19 dB, from 3 s on. Planted: with one of the two channels, the bound itself is far lower."""
    rng = np.random.default_rng(30)
    ref, played = stereo_music(rng, 8)
    echo = through(echo_path(rng, 500, 2, 1), played)
    mic = (echo + 1e-4 * rng.standard_normal(echo.shape)).astype(np.float32)
    canceller = kernels.EchoCanceller(1, 2, tail_samples=512)
    erle = erle_db(echo[:, 0], canceller.process(mic, ref.astype(np.float32))[:, 0], canceller, 3 * RATE)
    late = slice(3 * RATE, None)
    bound, single = (power_db(mic[late]) - power_db(least_squares(mic[late], x[late], 512)[512:]) for x in (ref, ref[:, :1]))
    assert erle > 19
    assert erle > bound
    assert single < bound - 5


def test_a_path_that_changes_is_learnt_again(kernels):
    rng = np.random.default_rng(8)
    ref = 0.1 * rng.standard_normal((8 * RATE, 1))
    paths = [echo_path(rng, 1500, 1, 1) for _ in range(2)]
    change = 4 * RATE
    echo = np.where(np.arange(8 * RATE)[:, None] < change, through(paths[0], ref), through(paths[1], ref))
    mic = (echo + 1e-4 * rng.standard_normal(echo.shape)).astype(np.float32)
    canceller = kernels.EchoCanceller(1, 1)
    out = canceller.process(mic, ref.astype(np.float32))[:, 0]
    left = out[canceller.delay_samples :]
    at_change = power_db(echo[change : change + 800]) - power_db(left[change : change + 800])
    assert at_change < 6, "planted: the change must be heard at first"
    assert erle_db(echo[:, 0], out, canceller, 7 * RATE) > 25


def pink(rng, frames):
    """Noise whose power falls by 3 dB an octave from 20 Hz up; RMS 0.1."""
    spectrum = np.fft.rfft(rng.standard_normal(frames))
    x = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), frames * 20 / RATE)), frames)
    return 0.1 * x / x.std()


def test_a_filter_that_hardly_forgets_follows_a_path_that_changes(kernels, monkeypatch):
    """A talker 14 dB below the echo: learnt less from than with a short memory, and the change is no slower for it."""
    rng = np.random.default_rng(0)
    ref, change = pink(rng, 7 * RATE)[:, None], 5 * RATE
    paths = [echo_path(rng, 1500, 1, 1) for _ in range(2)]
    echo = np.concatenate([through(paths[0], ref)[:change], through(paths[1], ref)[change:]])
    talker = 0.1 * bursts(rng, 7 * RATE, 1)
    mic, ref = (echo + talker).astype(np.float32), ref.astype(np.float32)

    def known_db(out):
        left = (out[256:] - talker[:-256])[:, 0]
        windows = (slice(change - RATE // 2, change), slice(change + RATE, change + 3 * RATE // 2))
        return np.array([power_db(echo[window]) - power_db(left[window]) for window in windows])

    short, long = (known_db(kernels.EchoCanceller(1, 1, memory_s=memory_s).process(mic, ref)) for memory_s in (3.0, 1000.0))
    assert long[0] > short[0] + 10
    assert long[1] > short[1] - 2

    class Unmoved(reference.EchoReference):
        """The same filter, which does not look at where its taps go."""

        def __init__(self, *sizes, **parameters):
            super().__init__(*sizes, **parameters)
            self.changing = self.a2

    monkeypatch.setattr(reference, "EchoReference", Unmoved)
    assert known_db(reference.cancel(mic, ref, memory_s=1000.0))[1] < short[1] - 10, "planted: such a filter stays behind"


def test_pink_noise_through_measured_responses_is_learnt_and_learnt_again(kernels, recordings):
    """A hardware vendor's acceptance test: over 12 dB a second for 2 s, over 40 dB in the end, and so after a switch."""
    responses = [soundfile.read(recordings / "responses" / f"line8_3cm_source{n}.flac")[0][:, :1] for n in (1, 2)]
    rng = np.random.default_rng(20)
    ref, half = pink(rng, 12 * RATE)[:, None], 6 * RATE
    echoes = [through(h[:, :, None], ref) for h in responses]
    echo = np.concatenate([echoes[0][:half], echoes[1][half:]]) * (0.1 / echoes[0].std())
    mic = (echo + 1e-5 * rng.standard_normal(echo.shape)).astype(np.float32)
    canceller = kernels.EchoCanceller(1, 1, tail_samples=4800)
    out = canceller.process(mic, ref.astype(np.float32))
    for start in (0, half):
        left = out[start + canceller.delay_samples :]
        for at, least in ((1.0, 12), (2.0, 24), (5.0, 40)):
            window = slice(int((at - 0.25) * RATE), int((at + 0.25) * RATE))
            assert power_db(echo[start:][window]) - power_db(left[window]) > least


@pytest.mark.parametrize("level_db", [-30, -15, 15, 30])
def test_a_reference_far_off_in_level_is_matched(kernels, level_db):
    mic, ref, echo = scene(21, 6 * RATE, 2, 1, near=0.05 * 10 ** (-40 / 20), play=bursts)
    canceller = kernels.EchoCanceller(2, 1)
    out = canceller.process(mic, ref * np.float32(10 ** (level_db / 20)))
    for m in range(2):
        assert erle_db(echo[:, m], out[:, m], canceller, 4 * RATE) > 25


def test_a_reference_that_was_silent_for_a_minute_is_learnt_as_fast(kernels):
    """What was expected of the room is not forgotten while nothing plays."""
    mic, ref, echo = scene(22, 3 * RATE, 1, 1, near=1e-4)
    erle = []
    for silence in (0, 60 * RATE):
        canceller = kernels.EchoCanceller(1, 1)
        canceller.process(1e-3 * np.ones((silence, 1), np.float32), np.zeros((silence, 1), np.float32))
        erle.append(erle_db(echo[:, 0], canceller.process(mic, ref)[:, 0], canceller, RATE))
    assert min(erle) > 25
    assert erle[1] == pytest.approx(erle[0], abs=1)


def test_a_reference_that_goes_missing_costs_what_it_hides_and_no_more(kernels):
    mic, ref, echo = scene(23, 9 * RATE, 1, 1, near=1e-4)
    missing = slice(4 * RATE, 5 * RATE)
    ref[missing] = 0
    canceller = kernels.EchoCanceller(1, 1)
    left = canceller.process(mic, ref)[canceller.delay_samples :]
    hidden = power_db(echo[missing][4000:]) - power_db(left[missing][4000:])
    assert hidden < 1, "planted: while the reference is missing there is nothing to take echo out with"
    assert power_db(echo[8 * RATE : len(left)]) - power_db(left[8 * RATE :]) > 25


def test_a_clipped_reference_is_what_was_played(kernels):
    _, ref, _ = scene(24, 5 * RATE, 1, 1)
    clipped = np.clip(ref * 30, -1, 1)
    assert np.mean(np.abs(clipped) == 1) > 0.5
    echo = 0.1 * through(echo_path(np.random.default_rng(24), 1500, 1, 1), clipped.astype(np.float64))
    canceller = kernels.EchoCanceller(1, 1)
    out = canceller.process(echo.astype(np.float32), clipped)
    assert erle_db(echo[:, 0], out[:, 0], canceller, 4 * RATE) > 25


def test_a_microphone_that_clips_teaches_nothing(kernels):
    """A shout over full scale for 0.3 s, flat at the top; the same shout before the flat top is planted as the worse case."""
    mic, ref, echo = scene(25, 6 * RATE, 1, 1, near=1e-4)
    shout = slice(4 * RATE, 4 * RATE + 4800)
    after = slice(4 * RATE + 5000, 4 * RATE + 9000)
    erle = {}
    for flat in (1.0, 0.98):  # below 0.99 it is a loud talker like any other
        loud = mic.copy()
        loud[shout] = np.clip(mic[shout] + 20 * np.random.default_rng(3).standard_normal((4800, 1)), -flat, flat)
        canceller = kernels.EchoCanceller(1, 1)
        left = canceller.process(loud, ref)[canceller.delay_samples :]
        erle[flat] = power_db(echo[after]) - power_db(left[after])
    assert erle[1.0] > 25
    assert erle[1.0] > erle[0.98] + 3


def test_sound_that_is_no_echo_stays(kernels):
    """Planted: a reference that the microphone does not hear takes nothing away."""
    rng = np.random.default_rng(9)
    mic, ref = (0.1 * rng.standard_normal((4 * RATE, 1)).astype(np.float32) for _ in range(2))
    canceller = kernels.EchoCanceller(1, 1)
    out = canceller.process(mic, ref)
    assert abs(erle_db(mic[:, 0], out[:, 0], canceller, RATE)) < 1


@pytest.mark.parametrize("hop", [64, 128, 256])
def test_recall_against_float64(kernels, hop):
    """Levels are far apart: the covariance that is put back must be scaled. The last recall finds what the one before it did."""
    mic, ref, _ = scene(hop, 7 * RATE, 2, 1, taps=900, play=bursts)
    mic[3 * RATE :] = np.roll(mic[3 * RATE :], 900, axis=0)
    mic *= np.float32(8)
    recalls = [n * RATE // 256 * 256 // hop for n in (1, 5, 6)]
    canceller, got, at = kernels.EchoCanceller(2, 1, hop=hop, tail_samples=1000), [], 0
    for n in (*recalls, None):
        end = len(mic) if n is None else n * hop
        got.append(canceller.process(mic[at:end], ref[at:end]))
        if n is not None:
            canceller.recall()
        at = end
    wanted = reference.cancel(mic, ref, recalls, hop=hop, tail_samples=1000)
    forgotten = reference.cancel(mic, ref, recalls[:2], hop=hop, tail_samples=1000)
    for m in range(2):
        assert snr_db(np.concatenate(got)[:, m], wanted[:, m]) >= LEAST_SNR_DB
        assert snr_db(forgotten[:, m], wanted[:, m]) < LEAST_SNR_DB - 40, "planted: a recall left out is seen"


def test_recall_finds_what_was_known_before_a_jump(kernels):
    """The echo jumps by more than the tail, and the references after it 1.5 s later; `learnt anew` is the planted worse case."""
    mic, ref, echo = scene(26, 9 * RATE, 1, 1, near=1e-4)
    wrong = slice(6 * RATE, 6 * RATE + 24_000)
    ref[wrong] = np.roll(ref, -4_000, axis=0)[wrong]
    after = slice(wrong.stop + 2_400, wrong.stop + 4_800)  # from 150 ms on, when the tail is filled
    erle = {}
    for name in ("recalled", "learnt anew"):
        canceller = kernels.EchoCanceller(1, 1)
        head = canceller.process(mic[: wrong.stop], ref[: wrong.stop])
        if name == "recalled":
            canceller.recall()
        left = np.concatenate([head, canceller.process(mic[wrong.stop :], ref[wrong.stop :])])[canceller.delay_samples :]
        before = slice(5 * RATE, 6 * RATE)
        known = power_db(echo[before]) - power_db(left[before])
        erle[name] = power_db(echo[after]) - power_db(left[after])
    assert erle["recalled"] > known - 10
    assert erle["learnt anew"] < known - 40


def test_recall_before_anything_was_played_changes_nothing(kernels):
    mic, ref, _ = scene(27, 2 * RATE, 1, 1)
    recalled, fresh = kernels.EchoCanceller(1, 1), kernels.EchoCanceller(1, 1)
    recalled.recall()
    silence = np.zeros((4_096, 1), np.float32)
    for canceller in (recalled, fresh):
        canceller.process(silence, silence)
    assert recalled.process(mic, ref).tobytes() == fresh.process(mic, ref).tobytes()


def test_near_end_speech_survives_double_talk(kernels):
    """A talker as loud as the echo, from 2 s on."""
    rng = np.random.default_rng(10)
    ref = bursts(rng, 6 * RATE, 1)
    echo = through(echo_path(rng, 1500, 1, 1), ref)
    near = bursts(rng, 6 * RATE, 1)
    near[: 2 * RATE] = 0
    near *= 10 ** ((power_db(echo) - power_db(near[2 * RATE :])) / 20)
    mic = (near + echo).astype(np.float32)
    canceller = kernels.EchoCanceller(1, 1)
    out = canceller.process(mic, ref.astype(np.float32))[canceller.delay_samples :, 0]
    before, after = (si_sdr_db(x[2 * RATE : len(out)], near[2 * RATE : len(out), 0]) for x in (mic[:, 0], out))
    assert abs(before) < 2
    assert after > 12
    assert erle_db(echo[: 2 * RATE, 0], np.pad(out, (canceller.delay_samples, 0))[: 2 * RATE], canceller, RATE) > 20


POISON = np.array(
    [np.nan, -np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e20, 8.5, -1e6, 1e-45, -1e-45, 1e-38, 1e-20, -0.0, 8.0],
    np.float32,
)


def cleaned(x):
    """What the head of the kernel says of input: 0 where it is not finite, else within 8."""
    return np.clip(np.where(np.isfinite(x), x, np.float32(0)), -8, 8)


@settings(max_examples=25)
@given(hop=hops, share=st.floats(0, 1), level=st.floats(-45, 38), seed=seeds)
def test_poisoned_input_is_cleaned_and_never_leaves(kernels, hop, share, level, seed):
    rng = np.random.default_rng(seed)
    mic, ref = (np.float32(np.clip(rng.standard_normal((2500, 2)) * 10.0**level, -3e38, 3e38)) for _ in range(2))
    for x in (mic, ref):
        bad = rng.random(x.shape) < share * rng.choice([0.001, 0.1, 1])
        x[bad] = rng.choice(POISON, int(bad.sum()))
    canceller = kernels.EchoCanceller(2, 2, hop=hop, tail_samples=1000)
    got = canceller.process(mic, ref)
    assert np.isfinite(got).all()
    assert np.isfinite(canceller.erle_db).all()
    canceller.reset()
    assert got.tobytes() == canceller.process(cleaned(mic), cleaned(ref)).tobytes()


LOUD = {
    "square": lambda n: np.where(np.arange(n) // 40 % 2, 1.0, -1.0),
    "constant": np.ones,
    "alternating": lambda n: (-1.0) ** np.arange(n),
    "silence": np.zeros,
    "impulses": lambda n: (np.arange(n) % 997 == 0) * 1.0,
    "denormal": lambda n: np.full(n, 1e-40),
    "on and off": lambda n: (np.arange(n) // 4000 % 2) * np.sin(np.arange(n)),
}


@pytest.mark.parametrize("level", [1.0, 8.0, 3e38])
@pytest.mark.parametrize("played", sorted(LOUD))
@pytest.mark.parametrize("heard", sorted(LOUD))
def test_extreme_sound_stays_finite_and_bounded(kernels, heard, played, level):
    """Three seconds of each against each; what leaves stays within what a wrong filter could add."""
    n = 3 * RATE
    with np.errstate(over="ignore"):
        mic = np.float32(level * LOUD[heard](n))[:, None]
        ref = np.float32(level * LOUD[played](n))[:, None]
    out = kernels.EchoCanceller(1, 1, initial=10.0).process(mic, ref)
    assert np.isfinite(out).all()
    assert np.abs(out).max() <= 100 * 8


def test_it_hears_again_after_poison(kernels):
    """A second of what is not finite leaves no trace that lasts."""
    mic, ref, echo = scene(12, 6 * RATE, 1, 1, near=1e-4)
    mic[RATE : 2 * RATE], ref[RATE : 2 * RATE] = np.nan, np.inf
    canceller = kernels.EchoCanceller(1, 1)
    out = canceller.process(mic, ref)
    assert erle_db(echo[:, 0], out[:, 0], canceller, 5 * RATE) > 25


def test_a_tail_of_512_ms_is_learnt(kernels):
    """One reflection at 500 ms, which a shorter tail cannot reach."""
    rng = np.random.default_rng(13)
    ref = 0.1 * rng.standard_normal((8 * RATE, 1))
    echo = np.concatenate([np.zeros((8000, 1)), 0.5 * ref[:-8000]])
    mic = (echo + 1e-4 * rng.standard_normal(echo.shape)).astype(np.float32)
    erle = []
    for tail in (8192, 4096):
        canceller = kernels.EchoCanceller(1, 1, tail_samples=tail)
        assert canceller.tail_samples == tail
        out = canceller.process(mic, ref.astype(np.float32))
        erle.append(erle_db(echo[:, 0], out[:, 0], canceller, 7 * RATE))
    assert erle[0] > 15
    assert erle[1] < 1


@pytest.mark.parametrize(("tail", "hop", "rounded"), [(1, 64, 64), (129, 128, 256), (8192, 256, 8192), (8100, 64, 8128)])
def test_the_tail_is_rounded_up_to_whole_hops(kernels, tail, hop, rounded):
    assert kernels.EchoCanceller(1, 1, hop=hop, tail_samples=tail).tail_samples == rounded


def test_the_largest_canceller_runs(kernels):
    mic, ref, _ = scene(14, 700, 16, 4)
    got = kernels.EchoCanceller(16, 4, hop=64, tail_samples=8192, repair=128).process(mic, ref)
    wanted = reference.cancel(mic, ref, hop=64, tail_samples=8192, repair=128)
    assert snr_db(got, wanted) >= LEAST_SNR_DB


def test_each_microphone_is_cancelled_by_itself(kernels):
    mic, ref, _ = scene(15, 5000, 3, 2)
    together = kernels.EchoCanceller(3, 2).process(mic, ref)
    for m in range(3):
        alone = kernels.EchoCanceller(1, 2).process(np.ascontiguousarray(mic[:, m : m + 1]), ref)
        assert alone[:, 0].tobytes() == together[:, m].tobytes()


def test_out_is_written_and_returned(kernels):
    mic, ref, _ = scene(16, 1000, 2, 1)
    wanted, out = kernels.EchoCanceller(2, 1).process(mic, ref), np.ones((1000, 2), np.float32)
    before = mic.copy(), ref.copy()
    assert kernels.EchoCanceller(2, 1).process(mic, ref, out=out) is out
    assert out.tobytes() == wanted.tobytes()
    assert (mic.tobytes(), ref.tobytes()) == (before[0].tobytes(), before[1].tobytes()), "an input was written"


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"microphones": 0}, ValueError, "microphones: got 0, wanted 1 to 16"),
        ({"microphones": 17}, ValueError, "microphones: got 17"),
        ({"microphones": 1.0}, TypeError, "microphones: got float"),
        ({"references": 0}, ValueError, "references: got 0, wanted 1 to 4"),
        ({"references": 5}, ValueError, "references: got 5"),
        ({"hop": 100}, ValueError, "hop: got 100, wanted 64, 128 or 256"),
        ({"hop": 512}, ValueError, "hop: got 512"),
        ({"tail_samples": 0}, ValueError, "tail_samples: got 0, wanted 1 to 8192"),
        ({"tail_samples": 8193}, ValueError, "tail_samples: got 8193"),
        ({"memory_s": 0.0}, ValueError, "memory_s: got 0.0"),
        ({"memory_s": float("nan")}, ValueError, "memory_s: got nan"),
        ({"noise_smoothing": 1.0}, ValueError, "noise_smoothing: got 1.0"),
        ({"noise_smoothing": "0.5"}, TypeError, "noise_smoothing: got str"),
        ({"initial": 0}, ValueError, "initial: got 0"),
        ({"initial": float("inf")}, ValueError, "initial: got inf"),
        ({"repair": 0}, ValueError, "repair: got 0"),
        ({"repair": True}, TypeError, "repair: got bool"),
    ],
)
def test_the_constructor_names_what_is_wrong(kernels, arguments, error, match):
    with pytest.raises(error, match=match):
        kernels.EchoCanceller(**({"microphones": 1, "references": 1} | arguments))


def floats(*shape):
    return np.zeros(shape, np.float32)


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("mic", "ref", "out", "error", "match"),
    [
        ([[0.0, 0.0]], floats(1, 1), None, TypeError, "mic: got list"),
        (np.zeros((9, 2)), floats(9, 1), None, TypeError, "mic: got dtype float64, wanted float32"),
        (np.zeros((9, 2), np.int32), floats(9, 1), None, TypeError, "mic: got dtype int32"),
        (floats(9, 3), floats(9, 1), None, ValueError, r"mic: got shape \(9, 3\), wanted \(any, 2\)"),
        (floats(18), floats(9, 1), None, ValueError, r"mic: got shape \(18,\)"),
        (floats(9, 4)[:, ::2], floats(9, 1), None, ValueError, "mic: got a strided view"),
        (floats(9, 2), floats(8, 1), None, ValueError, r"ref: got shape \(8, 1\), wanted \(9, 1\)"),
        (floats(9, 2), floats(9), None, ValueError, r"ref: got shape \(9,\)"),
        (floats(9, 2), np.zeros((9, 1)), None, TypeError, "ref: got dtype float64"),
        (floats(9, 2), None, None, TypeError, "ref: got NoneType"),
        (floats(9, 2), floats(9, 1), np.zeros((9, 2)), TypeError, "out: got dtype float64"),
        (floats(9, 2), floats(9, 1), floats(10, 2), ValueError, r"out: got shape \(10, 2\), wanted \(9, 2\)"),
        (floats(9, 2), floats(9, 1), read_only(floats(9, 2)), ValueError, "out: got a read-only array"),
    ],
)
def test_the_boundary_names_what_is_wrong_and_changes_nothing(kernels, mic, ref, out, error, match):
    heard, played, _ = scene(17, 600, 2, 1)
    canceller = kernels.EchoCanceller(2, 1)
    head = canceller.process(heard[:200], played[:200])
    with pytest.raises(error, match=match):
        canceller.process(mic, ref, out=out)
    rest = canceller.process(heard[200:], played[200:])
    whole = kernels.EchoCanceller(2, 1).process(heard, played)
    assert np.concatenate([head, rest]).tobytes() == whole.tobytes()


def test_out_must_not_be_an_input(kernels):
    mic, ref = floats(9, 1), floats(9, 1)
    for shared in (mic, ref):
        with pytest.raises(ValueError, match="out: shares memory with an input"):
            kernels.EchoCanceller(1, 1).process(mic, ref, out=shared)


def recording(folder):
    return {f.stem: soundfile.read(f, dtype="float32", always_2d=True)[0] for f in sorted(folder.glob("*.flac"))}


def cancelled(kernels, parts):
    """The microphone without echo, aligned in time with it; both ends as long as the shorter recording."""
    frames = min(len(p) for p in parts.values())
    mic, ref = parts["mic"][:frames], parts["ref"][:frames]
    canceller = kernels.EchoCanceller(1, 1)
    padded = [np.concatenate([x, np.zeros((canceller.delay_samples, 1), np.float32)]) for x in (mic, ref)]
    return mic[:, 0], canceller.process(*padded)[canceller.delay_samples :, 0]


def test_a_recorded_loudspeaker_is_taken_out(kernels, recordings):
    mic, out = cancelled(kernels, recording(recordings / "echo" / "real_farend_singletalk_dtln"))
    assert power_db(mic) - power_db(out) > 8


def test_a_recorded_talker_stays(kernels, recordings):
    """Nobody but the talker: what the canceller takes away is small."""
    mic, out = cancelled(kernels, recording(recordings / "echo" / "real_nearend_singletalk_dtln"))
    assert si_sdr_db(out, mic) > 15


STATIC = ("mixed_dt_test299", "mixed_dt_test99", "mixed_real_rir_test01")
CHANGING = ("mixed_dt_epc_test299", "mixed_dt_epc_test99")


def silent(near):
    """Where the talker pauses: 20 ms that are 30 dB below the talker's loudest."""
    power = np.mean(near[: len(near) // 320 * 320].reshape(-1, 320) ** 2, axis=1)
    return np.repeat(power < 1e-3 * power.max(), 320)


@pytest.mark.parametrize(("names", "least_si_sdr_db", "least_erle_db"), [(STATIC, 15.5, 19.0), (CHANGING, 9.5, 14.5)])
def test_mixed_double_talk_keeps_the_talker(kernels, recordings, names, least_si_sdr_db, least_erle_db):
    """Means over the recordings; Speex's are 6.4 and 11.0 dB on the first three, 1.4 and 6.3 where the path changes."""
    got = []
    for name in names:
        parts = recording(recordings / "echo" / name)
        mic, out = cancelled(kernels, parts)
        near = parts["near"][: len(mic), 0]
        pauses = silent(near)
        alone = (x[: len(pauses)][pauses] for x in (mic, out))
        before, after = (power_db(x) for x in alone)
        got.append((si_sdr_db(out, near), before - after))
        assert si_sdr_db(out, near) > si_sdr_db(mic, near) + 6, name
    si_sdr, erle = np.mean(got, axis=0)
    assert si_sdr >= least_si_sdr_db
    assert erle >= least_erle_db


@pytest.mark.parametrize(("microphones", "references"), [(1, 1), (3, 2)])
def test_int16_is_the_same_sound_as_its_floats(kernels, microphones, references):
    heard, played, _ = scene(18, 2_000, microphones, references)
    heard, played = (np.clip(x * 32_768, -32_768, 32_767).astype(np.int16) for x in (heard, played))
    whole = kernels.EchoCanceller(microphones, references).process(heard, played)
    real = [np.ascontiguousarray(x, np.float32) / np.float32(32_768) for x in (heard, played)]
    assert np.abs(whole).max() > 0
    assert whole.tobytes() == kernels.EchoCanceller(microphones, references).process(*real).tobytes()
    mixed = kernels.EchoCanceller(microphones, references).process(heard, real[1])
    assert mixed.tobytes() == whole.tobytes()
