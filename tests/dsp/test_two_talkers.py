"""Rooms with two talkers: where they are, how loud, and what is wanted; the yardstick against its closed form."""

import numpy as np
import pytest

from farfield import InputError, load_profile
from farfield.evaluation import talkers

POSITIONS = tuple(map(tuple, load_profile("respeaker-6mic").positions_mm.tolist()))
RATE = 16_000


@pytest.fixture(scope="module")
def room():
    pytest.importorskip("pyroomacoustics")
    return talkers.room(POSITIONS, 0.2, 3)


def noise(frames, seed):
    return np.random.default_rng(seed).standard_normal(frames)


def test_the_talkers_are_where_they_are_said_to_be(room):
    """The direct sound's arrivals at six microphones, read from the responses, fit a wave from that azimuth to half a sample."""
    positions = np.array(POSITIONS) / 1000
    for responses, azimuth in ((room.talker, room.talker_deg), (room.interferer, room.interferer_deg)):
        arrivals = np.argmax(np.abs(responses), axis=1)
        source = talkers.DISTANCE_M * np.array([np.cos(np.radians(azimuth)), np.sin(np.radians(azimuth)), 0])
        wanted = np.linalg.norm(source - (positions - positions.mean(axis=0)), axis=1) / 343 * RATE
        assert np.abs(arrivals - wanted).max() <= 0.75
    apart = abs((room.talker_deg - room.interferer_deg + 180) % 360 - 180)
    assert 60 <= apart <= 180


def test_early_is_the_direct_sound_and_twenty_milliseconds(room):
    direct = int(np.argmax(np.abs(room.talker[0])))
    last = int(np.flatnonzero(room.early)[-1])
    assert last - direct == pytest.approx(0.02 * RATE, abs=2)
    assert np.array_equal(room.early[: last + 1], room.talker[0, : last + 1])


def test_levels_and_what_is_heard_alone(room):
    heard = talkers.heard(room, noise(RATE, 1), noise(2 * RATE, 2), ratio_db=5.0, alone_s=0.5)
    both = slice(heard.alone, None)
    power = {name: np.mean(getattr(heard, name)[both, 0] ** 2) for name in ("talker", "interferer", "noise")}
    assert 10 * np.log10(power["talker"] / power["interferer"]) == pytest.approx(5.0)
    assert 10 * np.log10(power["talker"] / power["noise"]) == pytest.approx(30.0, abs=0.3)
    assert np.abs(heard.talker[: heard.alone]).max() < 1e-12 < np.abs(heard.interferer[: heard.alone]).max()
    assert np.array_equal(heard.everything, heard.talker + heard.interferer + heard.noise)
    with pytest.raises(InputError, match="interferer: got 16000 samples, wanted 24000"):
        talkers.heard(room, noise(RATE, 1), noise(RATE, 2), alone_s=0.5)


def test_si_sdr_of_known_mixtures():
    """An orthogonal distortion a tenth as strong is 20 dB, whatever the scale; planted: one sample late is far off."""
    wanted = noise(RATE, 3)
    other = noise(RATE, 4)
    other -= wanted * (other @ wanted) / (wanted @ wanted)
    other *= np.linalg.norm(wanted) / np.linalg.norm(other)
    assert talkers.si_sdr_db(-3.0 * (wanted + 0.1 * other), wanted) == pytest.approx(20.0)
    assert talkers.si_sdr_db(np.roll(wanted, 1), wanted) < 0


def test_too_far_for_the_room():
    pytest.importorskip("pyroomacoustics")
    with pytest.raises(InputError, match="distance_m: got 9"):
        talkers.room(POSITIONS, 0.2, 1, 9.0)
