"""Arrays and directions, held to closed forms: plane waves, diffuse fields, gains of known beamformers, planted peaks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield.direction import estimate, peaks
from farfield.geometry import FFT, RATE, SPEED_OF_SOUND, Array, turn
from farfield.profile import load_profile, shipped_profiles

BINS = FFT // 2 + 1
GRID = np.arange(0.0, 360.0, 5.0)
azimuths = st.floats(0, 359.999)
BOARDS = [name for name in shipped_profiles() if name != "single"]


def board(name):
    return Array(load_profile(name).positions_mm)


def line(angle_deg, *places_mm):
    angle = np.radians(angle_deg)
    return Array([[r * np.cos(angle), r * np.sin(angle), 0.0] for r in places_mm])


def apart_deg(one, other):
    return abs((one - other + 180.0) % 360.0 - 180.0)


def test_a_plane_wave_reaches_the_nearer_microphone_first():
    """Microphones 343 mm apart along x: from azimuth 0 a millisecond apart, from 90 together, from 60 half of it."""
    array = Array([[-171.5, 0, 0], [171.5, 0, 0]])
    assert array.frequencies_hz.tolist() == [k * RATE / FFT for k in range(BINS)]
    for azimuth, lead_s in ((0.0, 1e-3), (90.0, 0.0), (60.0, 0.5e-3), (180.0, -1e-3), (270.0, 0.0)):
        d = array.steering_vector(azimuth)
        wanted = np.exp(2j * np.pi * array.frequencies_hz * lead_s)
        assert d[:, 1] / d[:, 0] == pytest.approx(wanted, abs=1e-9)
        assert np.abs(d) == pytest.approx(1.0)


@pytest.mark.parametrize("name", shipped_profiles())
def test_a_diffuse_field_is_plane_waves_from_everywhere(name):
    """The coherence formula against a mean over 20,000 directions spread evenly over the sphere."""
    array = board(name)
    n = np.arange(20_000) + 0.5
    z, turn = 1 - n / 10_000, np.pi * (1 + 5**0.5) * n
    ring = np.sqrt(1 - z**2)
    to = np.stack([ring * np.cos(turn), ring * np.sin(turn), z], axis=1)
    lead_s = to @ array.positions_m.T / SPEED_OF_SOUND
    for k in (1, 32, 100, 256):
        d = np.exp(2j * np.pi * array.frequencies_hz[k] * lead_s)
        assert array.diffuse_coherence()[k] == pytest.approx((d.T @ np.conj(d)).real / len(n), abs=2e-3)


@pytest.mark.parametrize("name", shipped_profiles())
def test_delay_and_sum_gains_the_number_of_microphones(name):
    """10 log10 M against independent noise, in every bin; and every bin passes the beam's direction as it is."""
    array = board(name)
    weights = array.delay_and_sum([0.0, 77.0])
    assert weights.dtype == np.complex64 and weights.shape == (2, BINS, len(array.positions_m))
    assert array.white_noise_gain(weights) == pytest.approx(10 * np.log10(len(array.positions_m)), abs=1e-5)
    for azimuth, beam in zip([0.0, 77.0], weights, strict=True):
        assert np.sum(beam * array.steering_vector(azimuth), axis=1) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("name", shipped_profiles())
@pytest.mark.parametrize("floor_db", [-6.0, 0.0])
def test_superdirective_beams_keep_the_floor_and_the_talker(name, floor_db):
    array = board(name)
    azimuths = array.spread(6)
    weights = array.superdirective(azimuths, floor_db)
    most = 10 * np.log10(len(array.positions_m))
    assert array.white_noise_gain(weights).min() >= min(floor_db, most) - 1e-3
    for azimuth, beam, plain in zip(azimuths, weights, array.delay_and_sum(azimuths), strict=True):
        assert np.sum(beam * array.steering_vector(azimuth), axis=1) == pytest.approx(1.0, abs=2e-5)
        assert (array.directivity(beam) >= array.directivity(plain) - 1e-3).all()


def test_two_microphones_end_fire_reach_the_textbook_limit():
    """M squared as the frequency falls (Bitzer and Simmer, 2001): 6.02 dB for two, 9.54 dB for three."""
    for places, limit in (((-10, 10), 6.0206), ((-10, 0, 10), 9.5424)):
        array = line(30.0, *places)
        (beam,) = array.superdirective([30.0], white_noise_gain_db=-200.0)
        assert array.directivity(beam)[16] == pytest.approx(limit, abs=0.1)
        assert array.directivity(array.delay_and_sum([30.0])[0])[16] < 0.2


@given(seed=st.integers(0, 2**32 - 1))
def test_no_other_beam_of_the_same_gain_is_more_directive(seed):
    """The design is the optimum of its bound: any change that keeps the talker and the floor loses directivity."""
    random = np.random.default_rng(seed)
    array = board("respeaker-4mic")
    azimuth, floor_db = float(random.uniform(0, 360)), -3.0
    (beam,) = array.superdirective([azimuth], floor_db).astype(complex)
    d = array.steering_vector(azimuth)
    change = random.normal(size=beam.shape) + 1j * random.normal(size=beam.shape)
    change -= np.sum(change * d, axis=1, keepdims=True) * np.conj(d) / beam.shape[1]
    other = beam + 10.0 ** random.uniform(-3, 0) * change
    assert np.sum(other * d, axis=1) == pytest.approx(np.sum(beam * d, axis=1), abs=1e-9)
    allowed = array.white_noise_gain(other) >= array.white_noise_gain(beam)
    assert (array.directivity(other) <= array.directivity(beam) + 1e-4)[allowed].all()


def test_more_floor_is_less_directivity():
    array = board("respeaker-6mic")
    gains = [array.directivity(array.superdirective([10.0], floor)[0]) for floor in (-20.0, -6.0, 0.0, 6.0)]
    assert (np.diff(gains, axis=0) <= 1e-4).all()
    assert gains[0][10] > gains[3][10] + 1


@given(
    axis=st.floats(0, 360),
    azimuth=st.floats(0, 360),
    places=st.lists(st.integers(-200, 200), min_size=2, max_size=6, unique=True),
)
def test_a_line_cannot_tell_a_direction_from_its_mirror(axis, azimuth, places):
    array = line(axis, *places)
    assert array.is_line
    mirror = array.mirror_deg(azimuth)
    assert 0.0 <= mirror < 360.0
    assert apart_deg(mirror, 2 * axis - azimuth) < 1e-6
    assert array.steering_vector(mirror) == pytest.approx(array.steering_vector(azimuth), abs=1e-6)


@given(axis=st.floats(0, 360), count=st.integers(2, 8))
def test_beams_of_a_line_cover_its_half_plane_ends_included(axis, count):
    looks = line(axis, -30, 30).spread(count)
    assert min(apart_deg(looks[0], axis), apart_deg(looks[0], axis + 180)) < 1e-6
    assert apart_deg(looks[-1], looks[0] + 180) < 1e-6
    assert np.diff(looks) % 360.0 == pytest.approx(180.0 / (count - 1))


def test_other_arrays_spread_over_the_circle():
    for name in ("respeaker-4mic", "respeaker-6mic"):
        array = board(name)
        assert not array.is_line and array.mirror_deg(10.0) is None
        assert array.spread(4) == [0.0, 90.0, 180.0, 270.0]
    assert board("respeaker-2mic").spread(1) == [90.0]
    assert not board("single").is_line


@pytest.mark.parametrize("positions", [[], [[0, 0]], [[[0, 0, 0]]], [[0, 0, np.nan]], [[0, np.inf, 0]]])
def test_positions_that_are_none(positions):
    with pytest.raises(ValueError, match="positions_mm: got"):
        Array(positions)


def bump(azimuth, width):
    away = np.radians(GRID - azimuth)
    return np.exp((np.cos(away) - 1) / np.radians(width) ** 2)


def map_of(response, strength=1.0):
    """As a DirectionFinder gives it, what a plane wave would have at its end."""
    return np.append(response, strength)


@given(azimuth=azimuths, width=st.floats(10, 90), level=st.floats(1e-6, 1e3), floor=st.floats(0, 0.9))
def test_a_peak_between_grid_points_is_found(azimuth, width, level, floor):
    """A smooth peak on a pedestal, at any azimuth: found to a hundredth of a degree, and as high as it is."""
    response = level * (floor + (1 - floor) * bump(azimuth, width))
    found = estimate(map_of(response, 2 * level), GRID, board("respeaker-4mic"))
    assert apart_deg(found.azimuth_deg, azimuth) < 0.01
    assert 0.0 <= found.azimuth_deg < 360.0 and found.ambiguous_deg is None
    assert found.confidence == pytest.approx(0.5, rel=2e-3)


@given(azimuth=azimuths, away=st.floats(70, 180), second=st.floats(0.3, 0.9))
def test_several_peaks_are_given_the_highest_first(azimuth, away, second):
    array = board("respeaker-6mic")
    response = map_of(bump(azimuth, 15) + second * bump(azimuth + away, 15), 2.0)
    found = peaks(response, GRID, array, most=3, least=0.05)
    for one, wanted in zip(found, (azimuth, azimuth + away), strict=True):
        assert apart_deg(one.azimuth_deg, wanted) < 1
    assert found[0].confidence == pytest.approx(0.5, abs=0.02) and found[1].confidence == pytest.approx(second / 2, abs=0.02)
    assert len(peaks(response, GRID, array, most=1)) == 1
    assert len(peaks(response, GRID, array, most=3, least=second / 2 + 0.03)) == 1
    assert len(peaks(response, GRID, array, most=3, least=0.05, apart_deg=away + 2)) == 1


def test_a_hair_below_nought_is_nought():
    assert [turn(a) for a in (-1e-20, 0.0, 360.0, -90.0, 725.0)] == [0.0, 0.0, 0.0, 270.0, 5.0]


@given(axis=st.sampled_from([0.0, 30.0, 90.0, 135.0]), away=st.floats(12, 168), above=st.booleans())
def test_a_line_gives_both_directions(axis, away, above):
    """Its map shows the same peak on both sides; one is given, and the other as what it may be as well."""
    array = line(axis, -29, 29)
    talker = axis + (away if above else -away)
    both = [np.exp((np.cos(np.radians(GRID - a)) - 1) / 0.01) for a in (talker, 2 * axis - talker)]
    found = estimate(map_of(sum(both)), GRID, array)
    both = [found.azimuth_deg, found.ambiguous_deg]
    for azimuth in (talker, 2 * axis - talker):
        assert min(apart_deg(azimuth, one) for one in both) < 1.0
    assert apart_deg(*both) > 10


def test_what_has_no_direction():
    array = board("respeaker-4mic")
    assert estimate(np.zeros(73), GRID, array) is None
    assert estimate(map_of(np.full(72, -1.0)), GRID, array) is None
    assert estimate(map_of(np.ones(72)), GRID, array) is None, "the same in all directions"
    lone = np.zeros(72)
    lone[7] = 1.0
    assert estimate(map_of(lone), GRID, array).confidence == pytest.approx(1.0)
    assert estimate(map_of(lone), GRID, array).azimuth_deg == pytest.approx(35.0)
