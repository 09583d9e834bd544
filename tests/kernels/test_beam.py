"""Beams: the kernel against float64, what a beam must do to plane waves, and the design of superdirective weights."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farfield import load_profile
from farfield.geometry import Array
from reference import beam as reference
from reference.measure import in_chunks, power_db, snr_db

LEAST_SNR_DB = 110.0
DELAY, BINS = 512, 257
KINECT = np.array([[-113.0, 0, 0], [36, 0, 0], [76, 0, 0], [113, 0, 0]])
ARRAYS = {name: load_profile(name).positions_mm for name in ("respeaker-2mic", "respeaker-4mic", "respeaker-6mic")}
ARRAYS["kinect"] = KINECT

seeds = st.integers(0, 2**32 - 1)
shapes = st.tuples(st.integers(1, 6), st.integers(1, 6))
each_array = pytest.mark.parametrize("positions_mm", ARRAYS.values(), ids=ARRAYS.keys())


def random_weights(rng, beams, microphones):
    shape = (beams, BINS, microphones)
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


def noise(rng, frames, channels):
    return (0.1 * rng.standard_normal((frames, channels))).astype(np.float32)


def unit_weights(choice, microphones):
    """Beam b is microphone choice[b] alone."""
    weights = np.zeros((len(choice), BINS, microphones), np.complex64)
    weights[np.arange(len(choice)), :, choice] = 1
    return weights


@given(shape=shapes, frames=st.integers(0, 4000), octaves=st.floats(-60, 3), seed=seeds)
def test_against_float64(kernels, shape, frames, octaves, seed):
    rng = np.random.default_rng(seed)
    beams, microphones = shape
    weights = random_weights(rng, beams, microphones)
    x = np.float32(noise(rng, frames, microphones) * 2**octaves)
    got = kernels.Beamformer(weights).process(x)
    wanted = reference.filter_and_sum(x, weights)
    assert got.dtype == np.float32
    assert got.shape == wanted.shape == (frames, beams)
    for b in range(beams):
        assert snr_db(got[:, b], wanted[:, b]) >= LEAST_SNR_DB


def test_the_bound_sees_one_wrong_weight():
    """Planted: a thousandth in one of 1,028 weights."""
    rng = np.random.default_rng(1)
    weights, x = random_weights(rng, 1, 4), noise(rng, 4000, 4)
    changed = weights.copy()
    changed[0, 100, 2] *= 1.001
    assert snr_db(reference.filter_and_sum(x, changed), reference.filter_and_sum(x, weights)) < LEAST_SNR_DB


@pytest.mark.parametrize("microphones", [1, 4, 16])
def test_unit_weights_give_the_microphones_back(kernels, microphones):
    """Perfect reconstruction, each beam one microphone, exactly delay_samples late."""
    choice = [(3 * b + 1) % microphones for b in range(microphones)]
    beamformer = kernels.Beamformer(unit_weights(choice, microphones))
    assert (beamformer.beams, beamformer.microphones) == (microphones, microphones)
    assert (beamformer.hop, beamformer.delay_samples) == (256, DELAY)
    x = noise(np.random.default_rng(microphones), 5000, microphones)
    got = beamformer.process(x)
    assert not got[:256].any()
    assert np.abs(got[:DELAY]).max() < 1e-7  # what rounding leaves of a frame whose first half is silence
    for b, m in enumerate(choice):
        assert snr_db(got[DELAY:, b], x[:-DELAY, m]) >= 120
        assert snr_db(got[DELAY + 1 :, b], x[: -DELAY - 1, m]) < 10, "planted: one sample off must be seen"


def test_a_phase_that_turns_by_a_sample_delays_by_a_sample(kernels):
    """Closed form, on a tone that lies on a bin; each frame is delayed in a circle, which the window hides."""
    k, gain, lag = 40, 0.5, 3
    weights = np.full((1, BINS, 1), gain, np.complex64)
    weights[0, :, 0] *= np.exp(-2j * np.pi * np.arange(BINS) * lag / 512)
    t = np.arange(4096)
    x = np.cos(2 * np.pi * k * t / 512).astype(np.float32)[:, None]
    got = kernels.Beamformer(weights).process(x)[DELAY + 512 :, 0]
    wanted = gain * np.cos(2 * np.pi * k * (t[512:-DELAY] - lag) / 512)
    assert snr_db(got, wanted) > 70


@given(array=st.sampled_from(sorted(ARRAYS)), azimuth=st.floats(0, 359.9), superdirective=st.booleans(), seed=seeds)
@settings(max_examples=20)
def test_a_plane_wave_from_the_look_direction_passes(kernels, array, azimuth, superdirective, seed):
    """White noise, fractional delays: what differs is the window's edge, which each frame delays in a circle."""
    positions_mm = ARRAYS[array]
    design = Array(positions_mm).superdirective if superdirective else Array(positions_mm).delay_and_sum
    signal = 0.1 * np.random.default_rng(seed).standard_normal(8192)
    x = reference.plane_wave(signal, positions_mm, azimuth).astype(np.float32)
    got = kernels.Beamformer(design([azimuth])).process(x)[DELAY:, 0]
    assert snr_db(got[512:], signal[512:-DELAY]) > 25


@pytest.mark.parametrize("array", ["respeaker-4mic", "respeaker-6mic"])
def test_a_plane_wave_from_behind_is_lowered(kernels, array):
    positions_mm = ARRAYS[array]
    x = reference.plane_wave(0.1 * np.random.default_rng(2).standard_normal(16384), positions_mm, 40.0)
    look = Array(positions_mm).superdirective([40.0, 220.0])
    toward, away = kernels.Beamformer(look).process(x.astype(np.float32))[1024:].T
    assert power_db(toward) - power_db(away) > 4


def wave_at(positions_mm, directions):
    """Plane waves at each microphone, (..., 257, microphones), from unit vectors (..., 3); written out for itself."""
    centred = (positions_mm - positions_mm.mean(axis=0)) / 1000
    hz = np.arange(BINS) * 31.25
    return np.exp(2j * np.pi * hz[:, None] * (directions @ centred.T)[..., None, :] / 343.0)


def sphere(points=1500):
    """Directions that cover the sphere evenly (Fibonacci lattice)."""
    n = np.arange(points) + 0.5
    z, turn = 1 - 2 * n / points, np.pi * (1 + 5**0.5) * n
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(turn), radius * np.sin(turn), z], axis=1)


def toward(azimuth_deg):
    return np.array([np.cos(np.radians(azimuth_deg)), np.sin(np.radians(azimuth_deg)), 0.0])


def gain_db(weights, positions_mm, azimuth_deg):
    """(against independent noise, against a diffuse field) per bin, from their definitions."""
    look = np.abs(np.sum(weights * wave_at(positions_mm, toward(azimuth_deg)), axis=1)) ** 2
    power = sum(np.abs(np.sum(weights * wave_at(positions_mm, u), axis=1)) ** 2 for u in sphere()) / 1500
    return 10 * np.log10(look / np.sum(np.abs(weights) ** 2, axis=1)), 10 * np.log10(look / power)


@each_array
@pytest.mark.parametrize("azimuth", [0.0, 17.0, 90.0, 233.0])
def test_superdirective_beams_keep_the_floor_and_beat_delay_and_sum(positions_mm, azimuth):
    """At every bin, measured by definition: over 1,500 plane waves, not by the coherence that the design uses."""
    array = Array(positions_mm)
    best, plain = array.superdirective([azimuth])[0], array.delay_and_sum([azimuth])[0]
    white, directivity = gain_db(best, positions_mm, azimuth)
    plain_white, plain_directivity = gain_db(plain, positions_mm, azimuth)
    assert white.min() >= -6.001
    assert (directivity - plain_directivity).min() > -0.02
    assert np.allclose(plain_white, 10 * np.log10(len(positions_mm)))
    assert np.abs(array.directivity(best) - directivity).max() < 0.05
    assert np.abs(array.white_noise_gain(best) - white).max() < 1e-3


@each_array
def test_superdirective_beams_are_worth_having(positions_mm):
    """Else delay and sum would pass the test above: along the array's x axis they gain at low frequencies."""
    array = Array(positions_mm)
    low = slice(10, 50)  # 300 to 1,500 Hz
    gained = array.directivity(array.superdirective([0.0])[0]) - array.directivity(array.delay_and_sum([0.0])[0])
    assert gained[low].mean() > 2


@each_array
@pytest.mark.parametrize("floor_db", [-20.0, -6.0, 0.0])
def test_the_floor_is_what_is_asked_for(positions_mm, floor_db):
    """Reached where the best beam would go below it, never passed."""
    array = Array(positions_mm)
    white = array.white_noise_gain(array.superdirective([0.0], white_noise_gain_db=floor_db)[0])
    assert white.min() == pytest.approx(floor_db, abs=1e-3)


@given(
    positions=st.lists(st.tuples(*[st.integers(-100, 100)] * 3), min_size=2, max_size=8, unique=True),
    azimuth=st.floats(0, 360),
)
@settings(max_examples=25)
def test_superdirective_beams_of_any_geometry(positions, azimuth):
    array = Array(np.array(positions, float))
    best, plain = array.superdirective([azimuth])[0], array.delay_and_sum([azimuth])[0]
    d = wave_at(np.array(positions, float), toward(azimuth))
    assert np.abs(np.sum(best * d, axis=1) - 1).max() < 1e-5
    assert np.abs(np.sum(plain * d, axis=1) - 1).max() < 1e-5
    assert array.white_noise_gain(best).min() >= -6.001
    assert (array.directivity(best) - array.directivity(plain)).min() > -1e-3


@settings(max_examples=30)
@given(shape=shapes, cuts=st.lists(st.integers(0, 3000), max_size=12), seed=seeds)
def test_any_chunking_gives_the_same_sound(kernels, shape, cuts, seed):
    rng = np.random.default_rng(seed)
    x, beamformer = noise(rng, 3000, shape[1]), kernels.Beamformer(random_weights(rng, *shape))
    whole = beamformer.process(x)
    beamformer.reset()
    assert in_chunks(beamformer.process, cuts, x).tobytes() == whole.tobytes()


def test_single_samples_give_the_same_sound(kernels):
    rng = np.random.default_rng(4)
    x, weights = noise(rng, 1500, 2), random_weights(rng, 2, 2)
    got = in_chunks(kernels.Beamformer(weights).process, range(1500), x)
    assert got.tobytes() == kernels.Beamformer(weights).process(x).tobytes()


@settings(max_examples=30)
@given(shape=shapes, before=st.integers(0, 3000), seed=seeds)
def test_reset_is_the_state_after_construction(kernels, shape, before, seed):
    rng = np.random.default_rng(seed)
    weights, x = random_weights(rng, *shape), noise(rng, 3000, shape[1])
    used = kernels.Beamformer(weights)
    used.process(x[:before] * 5)
    used.reset()
    assert used.process(x).tobytes() == kernels.Beamformer(weights).process(x).tobytes()


def test_the_weights_are_copied(kernels):
    rng = np.random.default_rng(5)
    weights, x = random_weights(rng, 2, 3), noise(rng, 2000, 3)
    wanted = kernels.Beamformer(weights).process(x)
    beamformer = kernels.Beamformer(weights)
    weights[:] = 0
    assert beamformer.process(x).tobytes() == wanted.tobytes()


POISON = np.array([np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 8.5, 1e-45, -1e-45, 1e-38, -0.0], np.float32)


def cleaned(x):
    """What the kernels say of input: 0 where it is not finite, else within 8."""
    return np.clip(np.where(np.isfinite(x), x, np.float32(0)), -8, 8)


@settings(max_examples=30)
@given(shape=shapes, share=st.sampled_from([0.001, 0.1, 1.0]), level=st.floats(-45, 38), seed=seeds)
def test_poisoned_input_is_cleaned_and_never_leaves(kernels, shape, share, level, seed):
    rng = np.random.default_rng(seed)
    x = np.float32(np.clip(rng.standard_normal((2000, shape[1])) * 10.0**level, -3e38, 3e38))
    bad = rng.random(x.shape) < share
    x[bad] = rng.choice(POISON, int(bad.sum()))
    beamformer = kernels.Beamformer(random_weights(rng, *shape))
    got = beamformer.process(x)
    assert np.isfinite(got).all()
    beamformer.reset()
    assert got.tobytes() == beamformer.process(cleaned(x)).tobytes()


def test_poison_is_gone_after_two_frames(kernels):
    rng = np.random.default_rng(6)
    weights, x = random_weights(rng, 1, 2), noise(rng, 4000, 2)
    poisoned = x.copy()
    poisoned[:1000] = np.nan
    clean, other = kernels.Beamformer(weights).process(x), kernels.Beamformer(weights).process(poisoned)
    assert np.abs(clean[:2048] - other[:2048]).max() > 0
    assert clean[2048:].tobytes() == other[2048:].tobytes()


def test_out_is_written_and_returned(kernels):
    rng = np.random.default_rng(7)
    weights, x, out = random_weights(rng, 3, 2), noise(rng, 900, 2), np.ones((900, 3), np.float32)
    before = x.tobytes()
    assert kernels.Beamformer(weights).process(x, out=out) is out
    assert out.tobytes() == kernels.Beamformer(weights).process(x).tobytes()
    assert x.tobytes() == before, "the input was written"


def complexes(*shape, value=1.0):
    return np.full(shape, value, np.complex64)


@pytest.mark.parametrize(
    ("weights", "error", "match"),
    [
        ([1.0], TypeError, "weights: got list"),
        (complexes(1, 257, 2).astype(np.complex128), TypeError, "weights: got dtype complex128, wanted complex64"),
        (np.ones((1, 257, 2), np.float32), TypeError, "weights: got dtype float32"),
        (complexes(1, 256, 2), ValueError, r"weights: got shape \(1, 256, 2\), wanted \(any, 257, any\)"),
        (complexes(257, 2), ValueError, r"weights: got shape \(257, 2\)"),
        (complexes(1, 257, 4)[:, :, ::2], ValueError, "weights: got a strided view"),
        (complexes(0, 257, 2), ValueError, "beams in weights: got 0, wanted 1 to 16"),
        (complexes(17, 257, 2), ValueError, "beams in weights: got 17"),
        (complexes(1, 257, 0), ValueError, "microphones in weights: got 0, wanted 1 to 16"),
        (complexes(1, 257, 17), ValueError, "microphones in weights: got 17"),
        (complexes(1, 257, 2, value=np.nan), ValueError, "weights: got NaN or infinity"),
        (complexes(1, 257, 2, value=complex(0, np.inf)), ValueError, "weights: got NaN or infinity"),
    ],
)
def test_the_constructor_names_what_is_wrong(kernels, weights, error, match):
    with pytest.raises(error, match=match):
        kernels.Beamformer(weights)


def floats(*shape):
    return np.zeros(shape, np.float32)


def read_only(array):
    array.flags.writeable = False
    return array


@pytest.mark.parametrize(
    ("x", "out", "error", "match"),
    [
        ([[0.0, 0.0]], None, TypeError, "x: got list"),
        (np.zeros((9, 2)), None, TypeError, "x: got dtype float64, wanted float32"),
        (np.zeros((9, 2), np.int32), None, TypeError, "x: got dtype int32"),
        (floats(9, 3), None, ValueError, r"x: got shape \(9, 3\), wanted \(any, 2\)"),
        (floats(9), None, ValueError, r"x: got shape \(9,\)"),
        (floats(2, 9).T, None, ValueError, "x: got a strided view"),
        (floats(9, 2), np.zeros((9, 3)), TypeError, "out: got dtype float64"),
        (floats(9, 2), floats(9, 2), ValueError, r"out: got shape \(9, 2\), wanted \(9, 3\)"),
        (floats(9, 2), read_only(floats(9, 3)), ValueError, "out: got a read-only array"),
    ],
)
def test_the_boundary_names_what_is_wrong_and_changes_nothing(kernels, x, out, error, match):
    rng = np.random.default_rng(8)
    weights, stream = random_weights(rng, 3, 2), noise(rng, 1500, 2)
    beamformer = kernels.Beamformer(weights)
    head = beamformer.process(stream[:700])
    with pytest.raises(error, match=match):
        beamformer.process(x, out=out)
    rest = beamformer.process(stream[700:])
    assert np.concatenate([head, rest]).tobytes() == kernels.Beamformer(weights).process(stream).tobytes()


def test_out_must_not_be_the_input(kernels):
    x = floats(9, 2)
    with pytest.raises(ValueError, match="out: shares memory with an input"):
        kernels.Beamformer(complexes(2, 257, 2)).process(x, out=x)


def test_int16_is_the_same_sound_as_its_floats(kernels):
    rng = np.random.default_rng(19)
    weights = random_weights(rng, 2, 3)
    heard = rng.integers(-32_768, 32_768, (3_000, 3), dtype=np.int16)
    whole = kernels.Beamformer(weights).process(heard)
    assert np.abs(whole).max() > 0
    assert whole.tobytes() == kernels.Beamformer(weights).process(heard / np.float32(32_768)).tobytes()
