"""Talkers followed by their directions: plane waves of syllables from known places, at once and in turn; rooms; nobody."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farfield import kernels
from farfield.direction import separation_deg
from farfield.evaluation import talkers as rooms
from farfield.evaluation.array import syllables
from farfield.geometry import Array
from farfield.profile import RATE, load_profile
from farfield.talkers import TalkerTracker
from reference import beam as reference

CIRCLE = load_profile("respeaker-6mic")
LINE = load_profile("respeaker-2mic")


def from_azimuth(profile, azimuth_deg, sound):
    return 0.05 * reference.plane_wave(sound, profile.positions_mm, azimuth_deg)


def tracked(profile, x, **parameters):
    """The tracker after x and a little noise, and everybody who was ever believed in."""
    finder = kernels.DirectionFinder(profile.positions_mm)
    x = x + 1e-4 * np.random.default_rng(1).standard_normal(x.shape)
    maps = finder.process(x.astype(np.float32))
    tracker = TalkerTracker(Array(profile.positions_mm), finder.azimuths_deg, **parameters)
    return tracker, tracker.process(maps, tuple(range(1024, 1024 * len(maps) + 1, 1024)))


@given(first=st.floats(0, 359.9), apart=st.floats(60, 300), seed=st.integers(0, 999))
@settings(max_examples=15)
def test_two_who_talk_at_once_are_found(first, apart, seed):
    one, other = syllables(4, seed), syllables(4, seed + 1000)
    tracker, believed = tracked(CIRCLE, from_azimuth(CIRCLE, first, one) + from_azimuth(CIRCLE, first + apart, other))
    assert len(believed) == len(tracker.talkers) == 2
    assert sorted(talker.number for talker in tracker.talkers) == [1, 2]
    for azimuth in (first, first + apart):
        assert min(separation_deg(talker.azimuth_deg, azimuth) for talker in tracker.talkers) < 7


def test_who_speaks_again_from_there_is_the_same():
    """Turns of two seconds: 40, 200, then 40 degrees again; and, planted, with a memory that is too short for it."""
    turns = np.concatenate([from_azimuth(CIRCLE, azimuth, syllables(2, seed)) for seed, azimuth in enumerate((40, 200, 40))])
    tracker, believed = tracked(CIRCLE, turns)
    assert [(one.number, round(one.azimuth_deg, -1)) for one in believed] == [(1, 40), (2, 200)]
    first, second = tracker.talkers
    assert first.start < RATE and first.end > 5 * RATE and 2 * RATE < second.start < second.end < 4.3 * RATE
    assert first.updates > 30 and first.confidence > 0.7
    _, forgetful = tracked(CIRCLE, turns, memory_s=1.0)
    assert [round(one.azimuth_deg, -1) for one in forgetful] == [40, 200, 40]


def test_one_who_walks_stays_one():
    """Half a circle in twelve seconds."""
    steps = [from_azimuth(CIRCLE, azimuth, syllables(0.5, n)) for n, azimuth in enumerate(np.linspace(10, 190, 24))]
    tracker, believed = tracked(CIRCLE, np.concatenate(steps))
    assert len(believed) == 1
    assert separation_deg(tracker.talkers[0].azimuth_deg, 190) < 15


@pytest.mark.parametrize("sound", ["silence", "own noise"])
def test_nobody_is_there(sound):
    x = np.zeros((6 * RATE, 6)) if sound == "silence" else 0.1 * np.random.default_rng(2).standard_normal((6 * RATE, 6))
    assert tracked(CIRCLE, x)[1] == []


def test_a_line_says_where_each_may_be_as_well():
    tracker, _ = tracked(LINE, from_azimuth(LINE, 70, syllables(3, 5)))
    (talker,) = tracker.talkers
    both = [talker.azimuth_deg, talker.ambiguous_deg]
    assert min(separation_deg(a, 70) for a in both) < 4 and min(separation_deg(a, 290) for a in both) < 4


def test_the_least_recent_gives_way_and_reset_forgets():
    turns = np.concatenate([from_azimuth(CIRCLE, azimuth, syllables(1.5, azimuth)) for azimuth in (0, 90, 180, 270)])
    tracker, believed = tracked(CIRCLE, turns, most=2)
    assert [one.number for one in believed] == [1, 2, 3, 4]
    assert [round(one.azimuth_deg, -1) % 360 for one in tracker.talkers] == [180, 270]
    tracker.reset()
    assert tracker.talkers == []


@pytest.mark.parametrize("rt60_s", [0.2, 0.7])
def test_two_in_a_room(rt60_s):
    pytest.importorskip("pyroomacoustics")
    for seed in (7, 8, 9):
        room = rooms.room(CIRCLE.positions, rt60_s, seed)
        heard = rooms.heard(room, syllables(6, seed), syllables(6, seed + 50))
        _, believed = tracked(CIRCLE, heard.everything)
        assert len(believed) == 2
        for azimuth in (room.talker_deg, room.interferer_deg):
            assert min(separation_deg(one.azimuth_deg, azimuth) for one in believed) < 10
