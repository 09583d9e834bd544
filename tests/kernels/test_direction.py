"""Direction: the maps against float64, plane waves of known azimuth, silence, a recorded talker."""

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from farfield import load_profile
from farfield.direction import Direction, estimate, refined
from farfield.geometry import Array
from reference import beam as reference
from reference.measure import in_chunks, snr_db

LEAST_SNR_DB = 100.0
UPDATE = 1024
AZIMUTHS = np.arange(72) * 5.0
LINE, SQUARE, CIRCLE = (load_profile(f"respeaker-{n}mic").positions_mm for n in (2, 4, 6))
KINECT = np.array([[-113.0, 0, 0], [36, 0, 0], [76, 0, 0], [113, 0, 0]])
KINECT_TALKER_DEG = np.degrees(-1.306) % 360  # as the recording's authors give it

seeds = st.integers(0, 2**32 - 1)
azimuths = st.floats(0, 359.99)
geometries = st.sampled_from([LINE, SQUARE, CIRCLE, KINECT])


def apart(a, b):
    return abs((a - b + 180) % 360 - 180)


def heard(positions_mm, azimuth_deg, seed, frames=8 * UPDATE, noise_db=-30.0, level=0.1):
    """White noise as a plane wave, and noise of each microphone's own."""
    rng = np.random.default_rng(seed)
    wave = reference.plane_wave(rng.standard_normal(frames), positions_mm, azimuth_deg)
    own = 10 ** (noise_db / 20) * rng.standard_normal(wave.shape)
    return (level * (wave + own)).astype(np.float32)


def located(kernels, positions_mm, x):
    finder = kernels.DirectionFinder(positions_mm)
    return estimate(np.sum(finder.process(x), axis=0), finder.azimuths_deg, Array(positions_mm))


@settings(max_examples=25)
@given(
    positions_mm=geometries,
    azimuth=azimuths,
    frames=st.integers(0, 5000),
    octaves=st.floats(-20, -3),
    noise_db=st.floats(-30, 10),
    parameters=st.fixed_dictionaries({}, optional={
        "lowest_hz": st.floats(50, 3000), "highest_hz": st.floats(3200, 8000), "smoothing": st.floats(0.3, 0.99),
    }),
    seed=seeds,
)  # fmt: skip
def test_maps_against_float64(kernels, positions_mm, azimuth, frames, octaves, noise_db, parameters, seed):
    x = heard(positions_mm, azimuth, seed, 5 * UPDATE, noise_db, 2**octaves)[:frames]
    finder = kernels.DirectionFinder(positions_mm, **parameters)
    directions = len(finder.azimuths_deg)
    got, wanted = finder.process(x), reference.maps(x, positions_mm, directions=directions, **parameters)
    assert got.dtype == np.float32
    assert got.shape == wanted.shape == (frames // UPDATE, directions + 1)
    assert snr_db(got, wanted) >= LEAST_SNR_DB


def test_the_bound_sees_a_slightly_wrong_geometry():
    """Planted: a tenth of a millimetre, and a band that is one bin wider."""
    x = heard(SQUARE, 33.0, 1)
    right, moved = reference.maps(x, SQUARE), SQUARE.copy()
    moved[0, 0] += 0.1
    assert snr_db(reference.maps(x, moved), right) < LEAST_SNR_DB - 20
    assert snr_db(reference.maps(x, SQUARE, highest_hz=7535), right) < LEAST_SNR_DB - 20


def test_what_it_says_of_itself(kernels):
    finder = kernels.DirectionFinder(CIRCLE)
    assert (finder.microphones, finder.update_samples) == (6, UPDATE)
    assert np.array_equal(finder.azimuths_deg, AZIMUTHS)
    with pytest.raises(ValueError, match="read-only"):
        finder.azimuths_deg[0] = 1


@pytest.mark.parametrize("positions_mm", [SQUARE, CIRCLE], ids=["4mic", "6mic"])
def test_a_clean_plane_wave_fills_the_map(kernels, positions_mm):
    """The mean of cosines is 1 in its direction: closed form."""
    x = heard(positions_mm, 90.0, 2, 64 * UPDATE, noise_db=-80)
    got = kernels.DirectionFinder(positions_mm).process(x)[8:]
    assert np.argmax(got[:, :-1], axis=1).tolist() == [18] * len(got)
    assert got[:, 18] == pytest.approx(got[:, -1], rel=0.01)


def test_noise_of_each_microphone_alone_has_hardly_any_confidence(kernels):
    x = 0.1 * np.random.default_rng(3).standard_normal((64 * UPDATE, 6)).astype(np.float32)
    assert located(kernels, CIRCLE, x).confidence < 0.05
    assert located(kernels, CIRCLE, heard(CIRCLE, 77.0, 3, noise_db=-20)).confidence > 0.8, "planted: a wave has much"


@pytest.mark.parametrize(("aperture_mm", "directions"), [(60, 72), (190, 72), (226, 120), (500, 180), (1000, 360), (4000, 360)])
def test_the_grid_holds_every_harmonic_of_the_map(kernels, aperture_mm, directions):
    """Nothing is lost between the grid's directions: steered there by the equation, the map is what its harmonics say."""
    positions_mm = np.array([[-aperture_mm / 2, 0, 0], [aperture_mm / 2, 0, 0]])
    finder = kernels.DirectionFinder(positions_mm)
    assert finder.azimuths_deg.tolist() == pytest.approx([360 / directions * n for n in range(directions)])
    x = heard(positions_mm, 41.0, 15)
    between = refined(finder.process(x)[-1, :-1].astype(np.float64))
    wanted = reference.maps(x, positions_mm, directions=360)[-1, :-1]
    assert snr_db(between, wanted) > 90
    assert aperture_mm != 190 or snr_db(refined(wanted[::10]), wanted) < 40, "planted: every tenth degree is too coarse"


@pytest.mark.parametrize("positions_mm", [SQUARE, CIRCLE], ids=["4mic", "6mic"])
@given(azimuth=azimuths, noise_db=st.floats(-40, -5), seed=seeds)
@settings(max_examples=40)
def test_plane_waves_are_found_within_a_degree(kernels, positions_mm, azimuth, noise_db, seed):
    found = located(kernels, positions_mm, heard(positions_mm, azimuth, seed, noise_db=noise_db))
    assert apart(found.azimuth_deg, azimuth) <= 1
    assert 0 <= found.azimuth_deg < 360
    assert found.ambiguous_deg is None
    assert found.confidence > 0.3


@pytest.mark.parametrize("positions_mm", [LINE, KINECT], ids=["2mic", "kinect"])
@given(azimuth=st.floats(30, 150), mirrored=st.booleans(), seed=seeds)
@settings(max_examples=30)
def test_a_line_tells_the_mirror_too(kernels, positions_mm, azimuth, mirrored, seed):
    """Both along x: what comes from azimuth looks like what comes from -azimuth, and one of them is given first."""
    true = (-azimuth) % 360 if mirrored else azimuth
    found = located(kernels, positions_mm, heard(positions_mm, true, seed))
    assert apart(found.azimuth_deg, -found.ambiguous_deg) < 1e-6
    assert min(apart(found.azimuth_deg, true), apart(found.ambiguous_deg, true)) <= 2


@given(turn=st.floats(0, 359), azimuth=st.floats(35, 145), seed=seeds)
@settings(max_examples=20)
def test_a_line_that_is_turned_and_moved(kernels, turn, azimuth, seed):
    angle = np.radians(turn)
    axis = np.array([np.cos(angle), np.sin(angle), 0.0])
    positions_mm = KINECT[:, :1] * axis + np.array([70.0, -20.0, 30.0])
    found = located(kernels, positions_mm, heard(positions_mm, azimuth + turn, seed))
    assert min(apart(found.azimuth_deg, azimuth + turn), apart(found.ambiguous_deg, azimuth + turn)) <= 2
    assert apart(found.azimuth_deg + found.ambiguous_deg, 2 * turn) < 1e-6


def test_the_louder_of_two_moments_decides(kernels):
    """Maps are summed: a loud half second from 60 degrees and a second from 200 that is 30 dB down."""
    loud = heard(CIRCLE, 60.0, 3, 8 * UPDATE)
    quiet = heard(CIRCLE, 200.0, 4, 16 * UPDATE, level=0.1 * 10 ** (-30 / 20))
    assert apart(located(kernels, CIRCLE, np.concatenate([quiet, loud])).azimuth_deg, 60) <= 2
    assert apart(located(kernels, CIRCLE, quiet).azimuth_deg, 200) <= 2, "planted: alone, the quiet one is found"


def test_a_talker_who_moves_is_followed(kernels):
    x = np.concatenate([heard(CIRCLE, 20.0, 5, 32 * UPDATE), heard(CIRCLE, 140.0, 6, 32 * UPDATE)])
    finder = kernels.DirectionFinder(CIRCLE)
    found = [estimate(m, finder.azimuths_deg, Array(CIRCLE)).azimuth_deg for m in finder.process(x)]
    assert max(apart(a, 20) for a in found[4:32]) <= 5
    assert max(apart(a, 140) for a in found[36:]) <= 5


@given(
    positions_mm=geometries,
    frames=st.integers(UPDATE, 40 * UPDATE),
    level=st.sampled_from([0.0, -0.0, 1e-45, 1e-30]),
)
@settings(max_examples=15)
def test_silence_has_no_direction(kernels, positions_mm, frames, level):
    x = np.full((frames, len(positions_mm)), level, np.float32)
    assert not kernels.DirectionFinder(positions_mm).process(x).any()
    assert located(kernels, positions_mm, x) is None


@pytest.mark.parametrize("smoothing", [0.0, 0.8, 0.999])
def test_silence_has_no_direction_at_any_smoothing(kernels, smoothing):
    x = np.zeros((16_000 * 60, 2), np.float32)
    assert not kernels.DirectionFinder(LINE, smoothing=smoothing).process(x).any()


def test_the_quietest_sound_of_16_bits_has_a_direction(kernels):
    """Planted against the test of silence: one unit in the last place, up and down at random."""
    rng = np.random.default_rng(7)
    one = rng.choice([-1, 0, 1], 16 * UPDATE) / 32768
    x = np.stack([np.roll(one, m) for m in (0, 1)], axis=1).astype(np.float32)  # the second one hears it a sample later
    found = located(kernels, np.array([[30.0, 0, 0], [-30.0, 0, 0]]), x)
    assert found.azimuth_deg == pytest.approx(np.degrees(np.arccos(343 / 16_000 / 0.06)), abs=2)


def test_direction_is_forgotten_in_silence(kernels):
    """After a talker stops, maps fade to nothing."""
    x = np.concatenate([heard(SQUARE, 45.0, 8), np.zeros((80 * UPDATE, 4), np.float32)])
    maps = kernels.DirectionFinder(SQUARE).process(x)
    peaks = maps[:, :-1].max(axis=1)
    assert peaks[7] > 0.001
    assert (np.diff(peaks[9:]) <= 0).all()
    assert not maps[-1].any()


@settings(max_examples=25)
@given(positions_mm=geometries, cuts=st.lists(st.integers(0, 4000), max_size=12), seed=seeds)
def test_any_chunking_gives_the_same_maps(kernels, positions_mm, cuts, seed):
    x = heard(positions_mm, 70.0, seed, 4000)
    finder = kernels.DirectionFinder(positions_mm)
    whole = finder.process(x)
    finder.reset()
    assert in_chunks(finder.process, cuts, x).tobytes() == whole.tobytes()


@pytest.mark.parametrize("size", [1, 255, 256, 257, 1023, 1024, 1025])
def test_chunks_of_one_size_give_the_same_maps(kernels, size):
    x = heard(SQUARE, 250.0, 9, 4000)
    got = in_chunks(kernels.DirectionFinder(SQUARE).process, range(0, 4000, size), x)
    assert got.tobytes() == kernels.DirectionFinder(SQUARE).process(x).tobytes()


@settings(max_examples=25)
@given(positions_mm=geometries, before=st.integers(0, 4000), seed=seeds)
def test_reset_is_the_state_after_construction(kernels, positions_mm, before, seed):
    x = heard(positions_mm, 10.0, seed, 4000)
    used = kernels.DirectionFinder(positions_mm)
    used.process(x[:before] * 7)
    used.reset()
    assert used.process(x).tobytes() == kernels.DirectionFinder(positions_mm).process(x).tobytes()


def test_two_objects_share_no_state(kernels):
    x, y = heard(SQUARE, 10.0, 10, 4096), heard(SQUARE, 190.0, 11, 4096)
    one, other = kernels.DirectionFinder(SQUARE), kernels.DirectionFinder(SQUARE)
    turns = [(one.process(x[t : t + 128]), other.process(y[t : t + 128])) for t in range(0, 4096, 128)]
    got = np.concatenate([a for a, _ in turns])
    assert got.tobytes() == kernels.DirectionFinder(SQUARE).process(x).tobytes()


POISON = np.array([np.nan, np.inf, -np.inf, 3.4e38, -3.4e38, 8.5, 1e-45, -1e-45, 1e-38, -0.0], np.float32)


def cleaned(x):
    """What the kernels say of input: 0 where it is not finite, else within 8."""
    return np.clip(np.where(np.isfinite(x), x, np.float32(0)), -8, 8)


@settings(max_examples=25)
@given(positions_mm=geometries, share=st.sampled_from([0.001, 0.1, 1.0]), level=st.floats(-45, 38), seed=seeds)
def test_poisoned_input_is_cleaned_and_never_leaves(kernels, positions_mm, share, level, seed):
    rng = np.random.default_rng(seed)
    x = np.float32(np.clip(rng.standard_normal((3000, len(positions_mm))) * 10.0**level, -3e38, 3e38))
    bad = rng.random(x.shape) < share
    x[bad] = rng.choice(POISON, int(bad.sum()))
    finder = kernels.DirectionFinder(positions_mm)
    got = finder.process(x)
    assert np.isfinite(got).all()
    finder.reset()
    assert got.tobytes() == finder.process(cleaned(x)).tobytes()


@pytest.mark.parametrize("value", [1.0, 8.0, 3e38])
def test_constant_and_alternating_full_scale(kernels, value):
    """DC and half the rate lie outside the band; maps stay finite and within what a wave would have."""
    for x in (np.full((8192, 4), value), value * np.tile([[1.0], [-1.0]], (4096, 4))):
        got = kernels.DirectionFinder(SQUARE).process(x.astype(np.float32))
        assert np.isfinite(got).all()
        assert (np.abs(got[:, :-1]) <= 1.001 * got[:, -1:]).all()


@given(seed=seeds, used=st.lists(st.booleans(), min_size=6, max_size=6), at=st.integers(0, 3000))
@settings(max_examples=8)
def test_microphones_left_out_change_nothing(kernels, seed, used, at):
    """Whatever they carry; the map is that of the others, and what they had brought before fades."""
    used = np.array(used)
    x = heard(CIRCLE, 120.0, seed, 5 * UPDATE)
    finder = kernels.DirectionFinder(CIRCLE)
    finder.use(used)
    got = finder.process(x)
    if used.sum() > 1:
        assert snr_db(got, reference.maps(x, CIRCLE, used=np.flatnonzero(used).tolist())) >= LEAST_SNR_DB
    else:
        assert len(got) == 5 and not got.any()
    x[:, ~used] = np.random.default_rng(seed).standard_normal(x[:, ~used].shape)
    finder.reset()
    finder.use(used)
    assert finder.process(x).tobytes() == got.tobytes()
    finder.reset()
    finder.process(x[:at])
    finder.use(used)
    late = finder.process(np.tile(x[at:], (8, 1)))
    if used.sum() > 1:
        assert np.abs(late[-1]).max() <= late[-1, -1] * 1.001
    else:
        assert np.abs(late[-1]).max() < 1e-6  # forgotten by a share at a time, it never is nothing


def test_left_out_microphones_come_back_by_reset(kernels):
    x, finder = heard(CIRCLE, 120.0, 12), kernels.DirectionFinder(CIRCLE)
    finder.use(np.array([True, False] * 3))
    assert finder.process(x).tobytes() != kernels.DirectionFinder(CIRCLE).process(x).tobytes()
    finder.reset()
    assert finder.process(x).tobytes() == kernels.DirectionFinder(CIRCLE).process(x).tobytes()


@pytest.mark.parametrize(
    ("used", "error", "match"),
    [
        ([True] * 6, TypeError, "microphones: got list"),
        (np.ones(6, np.uint8), TypeError, "microphones: got dtype uint8, wanted bool"),
        (np.ones(5, bool), ValueError, r"microphones: got shape \(5,\), wanted \(6\)"),
    ],
)
def test_which_microphones_must_be_said_properly(kernels, used, error, match):
    with pytest.raises(error, match=match):
        kernels.DirectionFinder(CIRCLE).use(used)


def test_a_dead_microphone_leaves_a_direction(kernels):
    x = heard(CIRCLE, 120.0, 12)
    x[:, 2] = 0
    assert apart(located(kernels, CIRCLE, x).azimuth_deg, 120) <= 5


def test_out_is_written_and_returned(kernels):
    x, out = heard(SQUARE, 300.0, 13, 2500), np.ones((2, 73), np.float32)
    assert kernels.DirectionFinder(SQUARE).process(x, out=out) is out
    assert out.tobytes() == kernels.DirectionFinder(SQUARE).process(x).tobytes()


def floats(*shape):
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("positions_mm", "arguments", "error", "match"),
    [
        ([[0.0, 0, 0], [1, 0, 0]], {}, TypeError, "positions_mm: got list"),
        (SQUARE.astype(np.float32), {}, TypeError, "positions_mm: got dtype float32, wanted float64"),
        (SQUARE[:, :2].copy(), {}, ValueError, r"positions_mm: got shape \(4, 2\), wanted \(any, 3\)"),
        (SQUARE[::2], {}, ValueError, "positions_mm: got a strided view"),
        (SQUARE[:1], {}, ValueError, "microphones in positions_mm: got 1, wanted 2 to 16"),
        (np.zeros((17, 3)), {}, ValueError, "microphones in positions_mm: got 17"),
        (SQUARE * np.nan, {}, ValueError, "positions_mm: got values that are not finite"),
        (SQUARE * 1000, {}, ValueError, "positions_mm: got values that are not finite or beyond 5,000 mm"),
        (SQUARE, {"lowest_hz": 49}, ValueError, "lowest_hz: got 49"),
        (SQUARE, {"lowest_hz": np.nan}, ValueError, "lowest_hz: got nan"),
        (SQUARE, {"highest_hz": 8001}, ValueError, "highest_hz: got 8001"),
        (SQUARE, {"lowest_hz": 500, "highest_hz": 599}, ValueError, "highest_hz: got 599, wanted 600"),
        (SQUARE, {"smoothing": 1.0}, ValueError, "smoothing: got 1.0"),
        (SQUARE, {"smoothing": None}, TypeError, "smoothing: got NoneType"),
    ],
)
def test_the_constructor_names_what_is_wrong(kernels, positions_mm, arguments, error, match):
    with pytest.raises(error, match=match):
        kernels.DirectionFinder(positions_mm, **arguments)


@pytest.mark.parametrize(
    ("x", "out", "error", "match"),
    [
        ([[0.0] * 4], None, TypeError, "x: got list"),
        (np.zeros((9, 4)), None, TypeError, "x: got dtype float64, wanted float32"),
        (floats(9, 3), None, ValueError, r"x: got shape \(9, 3\), wanted \(any, 4\)"),
        (floats(4, 9).T, None, ValueError, "x: got a strided view"),
        (floats(9, 4), floats(1, 73), ValueError, r"out: got shape \(1, 73\), wanted \(0, 73\)"),
        (floats(1024, 4), floats(1, 72), ValueError, r"out: got shape \(1, 72\), wanted \(1, 73\)"),
        (floats(1024, 4), np.zeros((1, 73)), TypeError, "out: got dtype float64"),
    ],
)
def test_the_boundary_names_what_is_wrong_and_changes_nothing(kernels, x, out, error, match):
    stream = heard(SQUARE, 80.0, 14, 4096)
    finder = kernels.DirectionFinder(SQUARE)
    head = finder.process(stream[:1000])
    with pytest.raises(error, match=match):
        finder.process(x, out=out)
    rest = finder.process(stream[1000:])
    whole = kernels.DirectionFinder(SQUARE).process(stream)
    assert np.concatenate([head, rest]).tobytes() == whole.tobytes()


def test_out_must_not_be_the_input(kernels):
    memory = floats(1024, 4)
    with pytest.raises(ValueError, match="out: shares memory with an input"):
        kernels.DirectionFinder(SQUARE).process(memory, out=memory.reshape(-1)[:73].reshape(1, 73))


def test_a_recorded_talker_is_found(kernels, recordings):
    """Four microphones in a line, so the mirror of the azimuth that the authors give is as good."""
    x, rate = soundfile.read(recordings / "arrays" / "kinect4_speech.flac", dtype="float32", always_2d=True)
    assert rate == 16_000
    found = located(kernels, KINECT, x)
    assert isinstance(found, Direction)
    assert min(apart(found.azimuth_deg, KINECT_TALKER_DEG), apart(found.ambiguous_deg, KINECT_TALKER_DEG)) <= 2


def test_int16_is_the_same_sound_as_its_floats(kernels):
    x = (heard(SQUARE, 40.0, 19) * 32_768).clip(-32_768, 32_767).astype(np.int16)
    whole = kernels.DirectionFinder(SQUARE).process(x)
    assert len(whole) and whole.max() > 0
    assert whole.tobytes() == kernels.DirectionFinder(SQUARE).process(x / np.float32(32_768)).tobytes()
