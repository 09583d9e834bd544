"""The suppressor: against its equations in float64, on scenes whose echo, talker and noise are known, on poisoned input."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import fftconvolve, lfilter

from reference import suppress as reference
from reference.measure import in_chunks, power_db, si_sdr_db, snr_db

RATE = 16_000
DELAY = 192
LEAST_SNR_DB = 90.0

seeds = st.integers(0, 2**32 - 1)
SWITCHES = [{}, {"noise": True}, {"comfort_noise": True}, {"echo": False, "noise": True}]
switches = st.sampled_from(SWITCHES)


def bursts(rng, frames, every=1600):
    """Coloured noise with pauses, as speech has them; RMS about 0.1."""
    coloured = lfilter([1.0], [1.0, -0.9], rng.standard_normal(frames)) * np.sqrt(1 - 0.81)
    loud = np.repeat(rng.choice([0.0, 0.3, 1.0, 1.5], frames // every + 1), every)[:frames]
    return 0.1 * coloured * loud


def voice(rng, frames):
    """Harmonics of a pitch that wanders, in syllables; RMS about 0.1 while it sounds."""
    t = np.arange(frames) / RATE
    phase = 2 * np.pi * np.cumsum(140 + 30 * np.sin(2 * np.pi * 0.7 * t)) / RATE
    made = sum(np.cos(k * phase + rng.uniform(0, 6)) / k for k in range(1, 25))
    return 0.1 * made * np.clip(np.sin(2 * np.pi * 2.5 * t), 0, 1)


def scene(seed, frames, microphones=1, *, left_db=-20.0, near_db=0.0, noise_db=-50.0, talks=(0.5, 1.0)):
    """left, mic, near: an echo of which `left_db` is left, distorted by a room; a talker for a part of the time; noise."""
    rng = np.random.default_rng(seed)
    echo, near = bursts(rng, frames), voice(rng, frames) * 10 ** (near_db / 20)
    near *= (np.arange(frames) >= talks[0] * frames) & (np.arange(frames) < talks[1] * frames)
    room = rng.standard_normal(800) * 10.0 ** (-3 * np.arange(800) / 800)
    rest = fftconvolve(echo, room / np.sqrt(np.sum(room**2)))[:frames] * 10 ** (left_db / 20)
    noise = 10 ** (noise_db / 20) * rng.standard_normal((frames, microphones))
    gains = 1 + 0.3 * rng.standard_normal(microphones)
    left = (near + rest)[:, None] * gains + noise
    return (x.astype(np.float32) for x in (left, left + echo[:, None] * gains, near[:, None] * gains))


def suppressed(kernels, left, mic, **arguments):
    """In time with what went in."""
    microphones = left.shape[1]
    padded = [np.concatenate([x, np.zeros((DELAY, microphones), np.float32)]) for x in (left, mic)]
    made = kernels.Suppressor(microphones, **arguments)
    return made.process(padded[0], padded[1] if made.echo else None)[DELAY:]


@pytest.mark.parametrize("arguments", SWITCHES)
@pytest.mark.parametrize("microphones", [1, 3])
def test_against_float64(kernels, microphones, arguments):
    left, mic, _ = scene(microphones, 2 * RATE + 77, microphones)
    got = kernels.Suppressor(microphones, **arguments).process(left, mic if arguments.get("echo", True) else None)
    assert got.dtype == np.float32
    for m in range(microphones):
        assert snr_db(got[:, m], reference.suppress(left, mic, **arguments)[:, m]) >= LEAST_SNR_DB


@settings(max_examples=15)
@given(
    microphones=st.integers(1, 3), arguments=switches, late=st.integers(0, 900), level_db=st.floats(-50, 18),
    left_db=st.floats(-40, 0), near_db=st.floats(-30, 20), noise_db=st.floats(-70, -20), seed=seeds,
)  # fmt: skip
def test_any_sound_against_float64(kernels, microphones, arguments, late, level_db, left_db, near_db, noise_db, seed):
    left, mic, _ = scene(seed, 6000, microphones, left_db=left_db, near_db=near_db, noise_db=noise_db)
    left, mic = (np.clip(x * np.float32(10 ** (level_db / 20)), -8, 8) for x in (left, mic))
    got = kernels.Suppressor(microphones, late_samples=late, **arguments).process(left, mic if "echo" not in arguments else None)
    wanted = reference.suppress(left, mic, late_samples=late, **arguments)
    for m in range(microphones):
        assert snr_db(got[:, m], wanted[:, m]) >= LEAST_SNR_DB


@pytest.mark.parametrize(
    "changed",
    [{"step": 0.016}, {"release": 0.77}, {"decision": 0.91}, {"hold": 0.97}, {"beta": 8.2}, {"wary": 0.7}, {"least": 0.11}],
)
def test_the_bound_sees_each_constant(changed):
    """Planted: the equations with one constant a little off are not within the bound of the right ones."""
    left, mic, _ = scene(1, 2 * RATE)
    assert snr_db(reference.suppress(left, mic, **changed), reference.suppress(left, mic)) < LEAST_SNR_DB - 20


@settings(max_examples=20)
@given(microphones=st.integers(1, 3), arguments=switches, cuts=st.lists(st.integers(0, 3000), max_size=12), seed=seeds)
def test_any_chunking_gives_the_same_sound(kernels, microphones, arguments, cuts, seed):
    left, mic, _ = scene(seed, 3000, microphones)
    made = kernels.Suppressor(microphones, late_samples=256, **arguments)
    sounds = (left, mic) if made.echo else (left,)
    whole = made.process(*sounds)
    made.reset()
    assert in_chunks(made.process, cuts, *sounds).tobytes() == whole.tobytes()


def test_single_samples_give_the_same_sound(kernels):
    left, mic, _ = scene(3, 1500, 2)
    got = in_chunks(kernels.Suppressor(2).process, range(1500), left, mic)
    assert got.tobytes() == kernels.Suppressor(2).process(left, mic).tobytes()


@settings(max_examples=20)
@given(before=st.integers(0, 9000), arguments=switches, seed=seeds)
def test_reset_is_the_state_after_construction(kernels, before, arguments, seed):
    left, mic, _ = scene(seed, 9000, 2)
    used, fresh = (kernels.Suppressor(2, late_samples=100, **arguments) for _ in range(2))
    used.process(left[:before] * 3, mic[:before] if used.echo else None)
    used.reset()
    assert used.near_end_dominance == fresh.near_end_dominance == 0
    sounds = (left, mic) if used.echo else (left,)
    assert used.process(*sounds).tobytes() == fresh.process(*sounds).tobytes()
    assert used.near_end_dominance == fresh.near_end_dominance


@pytest.mark.parametrize("late", [0, 256])
def test_without_echo_or_noise_to_suppress_sound_comes_out_whole_and_late(kernels, late):
    """The delay is exact, and so is the reconstruction but for rounding."""
    rng = np.random.default_rng(late)
    sound = (rng.standard_normal((5000, 2)) * 10.0 ** rng.uniform(-3, -0.3, (5000, 1))).astype(np.float32)
    sound[:late] = 0  # the canceller's own delay; the microphone's sound of before the stream is not there
    mic = np.concatenate([sound[late:], np.zeros((late, 2), np.float32)])
    made = kernels.Suppressor(2, late_samples=late)
    assert (made.hop, made.delay_samples, made.late_samples) == (96, DELAY, late)
    frames = 5000 - late
    got = made.process(sound[:frames], np.ascontiguousarray(mic[:frames]))
    assert np.abs(got[:DELAY]).max() < 1e-7
    assert snr_db(got[DELAY:], sound[: frames - DELAY]) > 100


def test_what_is_left_of_the_echo_goes_and_the_talker_stays(kernels):
    """Over 10 dB less of what was left of the echo while nobody talks, and less of it under a talker who is not much louder."""
    left, mic, near = scene(5, 8 * RATE, left_db=-15, near_db=-4)
    out = suppressed(kernels, left, mic)
    alone, talking = slice(2 * RATE, 4 * RATE), slice(5 * RATE, None)
    assert power_db(left[alone]) - power_db(out[alone]) > 10
    before, after = (si_sdr_db(x[talking, 0], near[talking, 0]) for x in (left, out))
    assert 3 < before < after - 1


def test_a_talker_alone_is_not_touched(kernels):
    _, _, near = scene(6, 4 * RATE, left_db=-100, noise_db=-80, talks=(0.1, 1))
    out = suppressed(kernels, near, near)
    assert snr_db(out, near) > 40


def test_near_end_dominance_follows_the_talker(kernels):
    left, mic, _ = scene(7, 8 * RATE, left_db=-25, talks=(0.6, 0.8))
    made = kernels.Suppressor(1)
    told = []
    for at in range(0, 8 * RATE, 800):
        made.process(left[at : at + 800], mic[at : at + 800])
        told.append(made.near_end_dominance)
    told = np.array(told)
    assert told[60:90].mean() < 0.5, "echo alone"
    assert told[100:128].max() > 0.95, "a talker"
    assert told[-10:].mean() < 0.5, "echo alone again"


def test_distortion_is_learnt_too(kernels):
    """What is left is the cube of the echo, whose harmonics the echo itself does not have: planted as missed without it."""
    t = np.arange(6 * RATE) / RATE
    echo = 0.3 * np.sin(2 * np.pi * 500 * t) * (np.sin(2 * np.pi * 3 * t) > 0)
    rest = 0.02 * (echo / 0.3) ** 3 - 0.015 * echo / 0.3  # the third harmonic alone
    noise = 1e-4 * np.random.default_rng(2).standard_normal(len(t))
    left, mic = (x.astype(np.float32)[:, None] for x in (rest + noise, rest + noise + echo))
    out = suppressed(kernels, left, mic)
    late = slice(4 * RATE, None)
    assert power_db(left[late]) - power_db(out[late]) > 12


@pytest.mark.parametrize("colour", [0.0, -0.95])
def test_stationary_noise_goes_and_its_switch_is_its_own(kernels, colour):
    """Over 10 dB less noise after a second; without the switch nothing happens to it."""
    rng = np.random.default_rng(4)
    noise = 0.01 * lfilter([1.0], [1.0, colour], rng.standard_normal(4 * RATE)).astype(np.float32)[:, None]
    late = slice(RATE, None)
    with_ = suppressed(kernels, noise, noise, noise=True)
    assert power_db(noise[late]) - power_db(with_[late]) > 10
    assert abs(power_db(noise[late]) - power_db(suppressed(kernels, noise, noise)[late])) < 0.1
    t = np.arange(4 * RATE)
    talker = (0.3 * np.sin(2 * np.pi * 700 * t / RATE) * (t // 8000 % 2)).astype(np.float32)[:, None]
    both = suppressed(kernels, noise + talker, noise + talker, noise=True).astype(np.float64)
    on = talker[late, 0] != 0
    assert power_db(both[late, 0][on]) == pytest.approx(power_db(talker[late, 0][on]), abs=1)


def test_comfort_noise_keeps_the_background_where_the_echo_goes(kernels):
    """Planted: without it the background falls while the device plays; noise 20 dB below what is left of the echo."""
    rng = np.random.default_rng(5)
    frames = 8 * RATE
    noise = 0.003 * rng.standard_normal((frames, 2))
    echo = 3 * bursts(rng, frames)[:, None] * (np.arange(frames) // RATE % 2)[:, None]
    left = (noise + 0.05 * fftconvolve(echo, np.array([[0, 0.7, -0.7]]).T)[:frames]).astype(np.float32)
    mic = left + echo.astype(np.float32)
    playing = slice(7 * RATE + 4000, frames - 1000)
    level = {comfort: power_db(suppressed(kernels, left, mic, comfort_noise=comfort)[playing]) for comfort in (False, True)}
    assert level[True] == pytest.approx(power_db(noise[playing]), abs=2.5)
    assert level[False] < level[True] - 1
    filled = suppressed(kernels, left, mic, comfort_noise=True)[playing] - suppressed(kernels, left, mic)[playing]
    assert abs(np.corrcoef(filled.T)[0, 1]) < 0.1, "of each microphone's own"


def test_one_gain_for_all_microphones_keeps_directions(kernels):
    """A microphone that hears the same as another, three times as loud: so it comes out, in the midst of the echo."""
    left, mic, _ = scene(8, 2 * RATE)
    left, mic = (np.concatenate([x, -3 * x], axis=1) for x in (left, mic))
    out = suppressed(kernels, left, mic, noise=True)
    assert snr_db(out[:, 1], -3 * out[:, 0]) > 100
    assert np.abs(out).max() > 0


POISON = np.array([np.nan, -np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 1e20, 8.5, -1e6, 1e-45, 1e-38, 1e-20, -0.0], np.float32)


def cleaned(x):
    """What the head of the kernel says of input: 0 where it is not finite, else within 8."""
    return np.clip(np.where(np.isfinite(x), x, np.float32(0)), -8, 8)


@settings(max_examples=20)
@given(share=st.floats(0, 1), level=st.floats(-45, 38), arguments=switches, seed=seeds)
def test_poisoned_input_is_cleaned_and_never_leaves(kernels, share, level, arguments, seed):
    rng = np.random.default_rng(seed)
    left, mic = (np.float32(np.clip(rng.standard_normal((2500, 2)) * 10.0**level, -3e38, 3e38)) for _ in range(2))
    for x in (left, mic):
        bad = rng.random(x.shape) < share * rng.choice([0.001, 0.1, 1])
        x[bad] = rng.choice(POISON, int(bad.sum()))
    made = kernels.Suppressor(2, **arguments)
    got = made.process(left, mic if made.echo else None)
    assert np.isfinite(got).all()
    made.reset()
    assert got.tobytes() == made.process(cleaned(left), cleaned(mic) if made.echo else None).tobytes()


LOUD = {
    "square": lambda n: np.where(np.arange(n) // 40 % 2, 1.0, -1.0),
    "constant": np.ones,
    "alternating": lambda n: (-1.0) ** np.arange(n),
    "silence": np.zeros,
    "impulses": lambda n: (np.arange(n) % 997 == 0) * 1.0,
    "denormal": lambda n: np.full(n, 1e-40),
    "on and off": lambda n: (np.arange(n) // 4000 % 2) * np.sin(np.arange(n)),
}


@pytest.mark.parametrize("arguments", SWITCHES)
@pytest.mark.parametrize("heard", sorted(LOUD))
@pytest.mark.parametrize("kept", sorted(LOUD))
def test_extreme_sound_stays_finite_and_bounded(kernels, kept, heard, arguments):
    """A second of each against each, at full scale and far beyond it; a gain of at most 1 makes nothing loud."""
    n = RATE
    for level in (1.0, 3e38):
        with np.errstate(over="ignore"):
            left, mic = (np.float32(level * LOUD[name](n))[:, None] for name in (kept, heard))
        made = kernels.Suppressor(1, **arguments)
        out = made.process(left, mic if made.echo else None)
        assert np.isfinite(out).all()
        assert np.abs(out).max() <= 4 * max(np.abs(cleaned(left)).max(), 1e-6)


def test_it_hears_again_after_poison(kernels):
    left, mic, near = scene(12, 8 * RATE, left_db=-15)
    left[RATE : 2 * RATE], mic[RATE : 2 * RATE] = np.nan, np.inf
    out = suppressed(kernels, left, mic)
    assert power_db(left[3 * RATE : 4 * RATE]) - power_db(out[3 * RATE : 4 * RATE]) > 10
    assert snr_db(out[5 * RATE :], near[5 * RATE :]) > 3


def test_int16_is_the_same_sound_as_its_floats(kernels):
    left, mic, _ = scene(18, 3_000, 2)
    left, mic = (np.clip(x * 32_768, -32_768, 32_767).astype(np.int16) for x in (left, mic))
    whole = kernels.Suppressor(2).process(left, mic)
    real = [np.ascontiguousarray(x, np.float32) / np.float32(32_768) for x in (left, mic)]
    assert np.abs(whole).max() > 0
    assert whole.tobytes() == kernels.Suppressor(2).process(*real).tobytes()


def test_out_is_written_and_returned(kernels):
    left, mic, _ = scene(16, 1000, 2)
    wanted, out = kernels.Suppressor(2).process(left, mic), np.ones((1000, 2), np.float32)
    before = left.copy(), mic.copy()
    assert kernels.Suppressor(2).process(left, mic, out=out) is out
    assert out.tobytes() == wanted.tobytes()
    assert (left.tobytes(), mic.tobytes()) == (before[0].tobytes(), before[1].tobytes()), "an input was written"


@pytest.mark.parametrize(
    ("arguments", "error", "match"),
    [
        ({"microphones": 0}, ValueError, "microphones: got 0, wanted 1 to 16"),
        ({"microphones": 1.0}, TypeError, "microphones: got float"),
        ({"late_samples": -1}, ValueError, "late_samples: got -1, wanted 0 to 4096"),
        ({"late_samples": 4097}, ValueError, "late_samples: got 4097"),
        ({"echo": 1}, TypeError, "echo: got int 1, wanted True or False"),
        ({"noise": "yes"}, TypeError, "noise: got str 'yes'"),
        ({"comfort_noise": None}, TypeError, "comfort_noise: got NoneType"),
        ({"echo": False}, ValueError, "echo, noise: got False for both"),
        ({"noise": True, "comfort_noise": True}, ValueError, "comfort_noise: wanted with echo and without noise"),
    ],
)
def test_the_constructor_names_what_is_wrong(kernels, arguments, error, match):
    with pytest.raises(error, match=match):
        kernels.Suppressor(**({"microphones": 1} | arguments))


def floats(*shape):
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("left", "mic", "out", "error", "match"),
    [
        ([[0.0, 0.0]], floats(1, 2), None, TypeError, "left: got list"),
        (np.zeros((9, 2)), floats(9, 2), None, TypeError, "left: got dtype float64, wanted float32"),
        (floats(9, 3), floats(9, 2), None, ValueError, r"left: got shape \(9, 3\), wanted \(any, 2\)"),
        (floats(9, 4)[:, ::2], floats(9, 2), None, ValueError, "left: got a strided view"),
        (floats(9, 2), floats(8, 2), None, ValueError, r"mic: got shape \(8, 2\), wanted \(9, 2\)"),
        (floats(9, 2), None, None, TypeError, "mic: got NoneType"),
        (floats(9, 2), floats(9, 2), np.zeros((9, 2)), TypeError, "out: got dtype float64"),
        (floats(9, 2), floats(9, 2), floats(10, 2), ValueError, r"out: got shape \(10, 2\), wanted \(9, 2\)"),
    ],
)
def test_the_boundary_names_what_is_wrong_and_changes_nothing(kernels, left, mic, out, error, match):
    kept, heard, _ = scene(17, 600, 2)
    made = kernels.Suppressor(2)
    head = made.process(kept[:200], heard[:200])
    with pytest.raises(error, match=match):
        made.process(left, mic, out=out)
    rest = made.process(kept[200:], heard[200:])
    assert np.concatenate([head, rest]).tobytes() == kernels.Suppressor(2).process(kept, heard).tobytes()


def test_a_microphone_is_refused_where_no_echo_is_suppressed(kernels):
    with pytest.raises(ValueError, match="mic: got an array, wanted None"):
        kernels.Suppressor(1, echo=False, noise=True).process(floats(9, 1), floats(9, 1))


def test_out_must_not_be_an_input(kernels):
    left, mic = floats(9, 1), floats(9, 1)
    for shared in (left, mic):
        with pytest.raises(ValueError, match="out: shares memory with an input"):
            kernels.Suppressor(1).process(left, mic, out=shared)
