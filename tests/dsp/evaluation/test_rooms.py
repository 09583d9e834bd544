"""The rooms of an evaluation: simulated ones by physics, measured ones by what is beside them."""

import json

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from farfield.errors import InputError
from farfield.evaluation import rooms
from reference.labelled import RATE


def test_a_simulated_room_has_its_talkers_where_it_says():
    pytest.importorskip("pyroomacoustics")
    for number in range(20):
        plan = rooms.plan(7, number)
        away = np.linalg.norm(plan.talkers_m - plan.microphone_m, axis=1)
        assert away == pytest.approx(rooms.DISTANCES_M)
        assert (plan.talkers_m > 0.29).all() and (plan.talkers_m < plan.size_m - 0.29).all()


@pytest.fixture(scope="module")
def simulated():
    """Eight simulated rooms: the four responses of each, and the reverberation time that its name gives."""
    pytest.importorskip("pyroomacoustics")
    found = rooms.rooms(["sim:8"], 7)
    assert [room.distance_m for room in found] == 8 * [1.0, 2.0, 3.0, 4.0]
    return [([room.response().astype(float) for room in found[n : n + 4]], found[n].name) for n in range(0, 32, 4)]


def test_the_direct_sound_falls_by_the_law_of_distance(simulated):
    """pyroomacoustics' source is heard at 1 / d; half a millisecond on either side holds the direct sound."""
    for n, distance_m in enumerate(rooms.DISTANCES_M):
        heard = [np.sqrt(np.sum(responses[n][:17] ** 2)) for responses, _ in simulated]
        assert np.median(heard) * distance_m == pytest.approx(1, abs=0.1)


def test_a_simulated_room_rings_for_as_long_as_its_name_says(simulated):
    """By Schroeder's integration, from -5 to -25 dB."""
    for responses, name in simulated:
        told = float(name.removesuffix(" s").split(", ")[1])
        found = []
        for heard in responses:
            left = 10 * np.log10(np.cumsum(heard[::-1] ** 2)[::-1] / np.sum(heard**2) + 1e-12)
            found.append(3 * (np.argmax(left < -25) - np.argmax(left < -5)) / RATE)
        assert np.median(found) == pytest.approx(told, rel=0.25) and 0.05 < told < 1.5


def test_another_seed_is_another_room():
    pytest.importorskip("pyroomacoustics")
    one, again, other = (rooms.plan(seed, 0).size_m for seed in (1, 1, 2))
    assert np.array_equal(one, again) and not np.array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "distance_m"),
    [("hall_1.2m", 1.2), ("3m", 3.0), ("kitchen-2m-left", 2.0), ("line8_3cm_source1", None), ("hall_12mm", None), ("m", None)],
)
def test_a_measured_response_says_how_far_in_its_name(tmp_path, name, distance_m):
    soundfile.write(tmp_path / f"{name}.wav", np.eye(1, 4_000, 50)[0], RATE)
    (room,) = rooms.rooms([str(tmp_path / f"{name}.wav")], 1)
    assert room.distance_m == distance_m and room.name == name


@given(st.floats(0.01, 99))
def test_a_measured_response_says_how_far_beside_it(tmp_path_factory, distance_m):
    folder = tmp_path_factory.mktemp("responses")
    soundfile.write(folder / "hall_5m.wav", np.eye(1, 4_000, 50)[0], RATE)
    (folder / "hall_5m.json").write_text(json.dumps({"distance_m": distance_m}))
    (room,) = rooms.rooms([str(folder)], 1)
    assert room.distance_m == distance_m and len(room.response()) == 4_000 - 42


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"distance_m": 0}', '{"distance_m": "far"}', '{"distance_m": NaN}'])
def test_a_distance_that_is_none_is_one_line(tmp_path, text):
    soundfile.write(tmp_path / "hall.wav", np.eye(1, 4_000, 50)[0], RATE)
    (tmp_path / "hall.json").write_text(text)
    with pytest.raises(InputError, match=r"hall\.json: .*") as raised:
        rooms.rooms([str(tmp_path)], 1)
    assert "\n" not in str(raised.value)


def test_measured_responses_of_several_channels_are_heard_by_the_first(recordings):
    for room in rooms.rooms([str(recordings / "responses")], 1):
        first = soundfile.read(room.path)[0][:, 0]
        assert np.argmax(np.abs(room.response())) <= 8
        assert room.response() == pytest.approx(first[-len(room.response()) :], abs=1e-4)
