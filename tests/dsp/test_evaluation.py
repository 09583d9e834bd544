"""Labelled streams and the curve over them, held to the detector, to closed forms and to published tables."""

import json
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import click
import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from farfield.block import Frame
from farfield.cli import cli
from farfield.detector import Detector
from farfield.errors import InputError
from farfield.evaluation import curve, rooms, run, streams
from farfield.model import load_model
from reference.planted import Planted, random_model

RATE = 16_000
FRAME = 2_048
MOVED = random_model(0, threshold=0.6, refractory_ms=500)  # by all that is heard, words or not


def burst(hertz, seconds, level=0.3):
    """A word to find: 0.2 s of quiet, a tone, 0.2 s of quiet."""
    quiet = 1e-4 * np.random.default_rng(int(hertz)).standard_normal(RATE // 5)
    tone = level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)
    return np.concatenate([quiet, tone, quiet])


@pytest.fixture
def folders(tmp_path):
    """12 words of 0.6 s at 3 kHz, 30 other clips of 1 s below 1 kHz, two noises."""
    for kind, count in (("word", 12), ("speech", 30), ("noise", 2)):
        (tmp_path / kind).mkdir()
        for n in range(count):
            hertz, seconds = (3_000 + n, 0.6) if kind == "word" else (300 + 20 * n, 1.0)
            sound = 0.1 * np.random.default_rng(n).standard_normal(4 * RATE) if kind == "noise" else burst(hertz, seconds)
            soundfile.write(tmp_path / kind / f"{kind}{n}-0.wav", sound, RATE)
    return tmp_path


@pytest.fixture(scope="module")
def long_lived(tmp_path_factory):
    """7 words, 11 other clips and a noise, for tests that only ask how long they are."""
    folder = tmp_path_factory.mktemp("clips")
    for kind, count, seconds in (("word", 7, 0.5), ("speech", 11, 3.0), ("noise", 1, 1.0)):
        (folder / kind).mkdir()
        for n in range(count):
            soundfile.write(folder / kind / f"{n}.wav", burst(500 + n, seconds), RATE)
    return folder


def paths(folder):
    return sorted(folder.glob("*.wav"))


def peak(samples):
    usable = samples[: len(samples) // FRAME * FRAME].astype(float) / 32_768
    return np.mean(usable.reshape(-1, FRAME) ** 2, axis=1).max()


# --- decisions and counts


@given(
    scores=st.lists(st.sampled_from([0, 100, 128, 129, 255]), min_size=1, max_size=60),
    window=st.integers(1, 5),
    refractory_ms=st.sampled_from([0, 30, 200]),
    threshold=st.sampled_from([0.3, 0.5, 0.9]),
)
def test_decisions_are_the_detectors(scores, window, refractory_ms, threshold):
    frame = Frame(np.zeros((320 + 160 * len(scores), 1), np.int16), 0, 0, 0, 320 + 160 * len(scores))
    fields = {"smoothing_steps": window, "refractory_ms": refractory_ms, "stride": 1}
    detector = Detector(Planted(scores, **fields, threshold=threshold))
    events = detector.process(frame)
    found = curve.decisions(detector.steps.index, detector.steps.p, threshold, refractory_ms)
    assert found == [event.decision for event in events]


@given(
    st.lists(st.sampled_from([0.0, 0.01, 0.02, 0.03, 0.3, 0.5, 1.0]), max_size=80),
    st.sampled_from([0.02, 0.03, 0.4]),
    st.sampled_from([0, 30, 200]),
)
def test_decisions_above_the_floor_need_the_notable_steps_alone(values, threshold, refractory_ms):
    index, p = 160 * np.arange(1, len(values) + 1), np.array(values)
    kept = curve.notable(p, 0.02)
    assert curve.decisions(index[kept], p[kept], threshold, refractory_ms) == curve.decisions(index, p, threshold, refractory_ms)
    assert np.count_nonzero(kept) <= 2 * np.count_nonzero(p > 0.02)


def said(start, end, clip="w"):
    return streams.Said(clip, start, end, None, -12.0, None)


def scored(peaks, words, number=0, steps=400):
    """A step each 10 ms, 0 but for the peaks {step: p}."""
    p = np.zeros(steps)
    for step, value in peaks.items():
        p[step] = value
    return curve.Scored(number, 160 * np.arange(1, steps + 1), p, tuple(words), (), 160 * steps)


def test_hits_misses_and_false_accepts_are_counted_by_the_definition():
    """Word at 1.0 to 1.5 s. Decisions before it, in it, twice in it, at the last moment, one step later."""
    word = said(RATE, RATE * 3 // 2)
    last = 199  # ends at 2.0 s, which is 0.5 s after the word
    for peaks, hits, false in (
        ({120: 0.9}, 1, 0),
        ({120: 0.9, 140: 0.9}, 1, 1),
        ({last: 0.9}, 1, 0),
        ({last + 1: 0.9}, 0, 1),
        ({98: 0.9}, 0, 1),
        ({99: 0.9}, 1, 0),
        ({120: 0.5}, 0, 0),
    ):
        found = curve.point([scored(peaks, [word])], 0.5, 0)
        assert (len(found.hits), len(found.missed), len(found.false_accepts)) == (hits, 1 - hits, false), peaks
        assert found.late == ((160 * (max(peaks if hits == 1 and len(peaks) == 1 else {120: 0}) + 1) - word.end,) if hits else ())
    assert curve.point([scored({120: 0.9, 140: 0.9}, [word])], 0.5, 1_000).false_accepts == (), "the refractory time"


def test_the_threshold_for_a_rate_is_the_one_that_misses_least_of_those_that_keep_to_it():
    heard = [scored({10: 0.3, 50: 0.6, 90: 0.7}, []), scored({130: 0.65}, [said(19_200, 22_400)], 1)]
    points = curve.curve(heard, 0)
    hour = sum(stream.samples for stream in heard) / RATE / 3600
    assert curve.at_rate(points, 0.5 / hour).threshold == pytest.approx(0.7) and curve.at_rate(points, 0.5 / hour).miss == 1.0
    one = curve.at_rate(points, 1.5 / hour)
    assert one.threshold == pytest.approx(0.6) and one.miss == 0.0 and one.false_accepts == ((0, 160 * 91),)
    assert curve.at_rate(points[:1], 0.5 / hour) is None, "every one of these wakes more often"


@given(st.lists(st.tuples(st.integers(0, 99), st.sampled_from([0.1, 0.3, 0.6, 0.7, 0.9])), max_size=30))
def test_the_trade_off_is_what_is_found_for_each_rate(peaks):
    points = curve.curve([scored(dict(peaks), [said(3_200, 6_400)], steps=100)], 0)
    drawn = curve.trade_off(points)
    rates = [rate for rate, _ in drawn]
    assert all(few < many for few, many in pairwise(rates)) and bool(drawn) == bool(points)
    assert all(curve.at_rate(points, rate) is point for rate, point in drawn)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=3_000), st.integers(2, 50))
def test_thresholds_are_scores_in_rising_order(values, most):
    heard = [curve.Scored(0, np.arange(len(values)), np.array(values), (), (), 1)]
    found = curve.thresholds(heard, most)
    assert found == sorted(set(found)) and len(found) <= most and set(found) <= set(values)
    inside = sorted({value for value in values if 0.02 < value < 1})
    assert not inside or found[-1] == inside[-1]


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    [(0, 10, 0.0, 0.3085), (10, 10, 0.6915, 1.0), (5, 10, 0.1871, 0.8129), (1, 20, 0.0013, 0.2487), (0, 1, 0.0, 0.975)],
)
def test_miss_intervals_are_those_of_the_tables(count, total, low, high):
    """Clopper and Pearson (1934)."""
    assert curve.miss_interval(count, total) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("count", "low", "high"), [(0, 0.0, 3.689), (1, 0.0253, 5.572), (5, 1.623, 11.668), (10, 4.795, 18.390)])
def test_rate_intervals_are_those_of_the_tables(count, low, high):
    """Garwood (1936); half as long, twice the rate."""
    assert curve.rate_interval(count, 1.0) == pytest.approx((low, high), abs=6e-4)
    assert curve.rate_interval(count, 0.5) == pytest.approx((2 * low, 2 * high), abs=2e-3)


def test_a_clip_that_is_heard_again_is_no_other_clip():
    """10 clips, each heard 4 times, half of that missed: the interval of 5 of 10; 20 false accepts in 4 rounds: of 5 in one."""
    words = [said(0, 1, f"clip{n // 4}") for n in range(40)]
    point = curve.Point(0.5, tuple(words[:20]), tuple(words[20:]), (0,) * 20, tuple((0, n) for n in range(20)), 4.0)
    assert point.effective_words == pytest.approx(10)
    told = run.as_json(run.Evaluation(load_model("alexa"), 40, 4.0, 4.0, point, (point,), {}, (), ()))
    for at in (told["own"], told["curve"][0]):
        assert (at["missed"], at["words"], at["false_accepts"]) == (20, 40, 20) and told["word_clips"] == 10
        assert at["miss_rate_95"] == pytest.approx((0.1871, 0.8129), abs=5e-5)
        assert at["false_accepts_per_hour_95"] == pytest.approx((1.623, 11.668), abs=6e-4)


@given(st.lists(st.integers(1, 50), min_size=1, max_size=40))
def test_effective_clips_are_between_one_and_their_number(times):
    found = curve.effective({str(n): count for n, count in enumerate(times)})
    assert 1 - 1e-9 <= found <= len(times) + 1e-9
    if len(set(times)) == 1:
        assert found == pytest.approx(len(times))


# --- rooms


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


# --- streams


def test_every_clip_is_in_one_part_and_a_part_is_the_same_each_time(folders):
    sounds = [paths(folders / kind) for kind in ("word", "speech", "noise")]
    work = streams.parts(*sounds, streams.Conditions(), 3, 10)
    assert len(work) == 5
    assert sorted(clip for part in work for clip in part.words) == [str(path) for path in paths(folders / "word")]
    assert sorted(clip for part in work for clip in part.others) == [str(path) for path in paths(folders / "speech")]
    once, twice = streams.stream(work[1]), streams.stream(work[1])
    assert once.samples.tobytes() == twice.samples.tobytes() and once.said == twice.said
    other = streams.parts(paths(folders / "word"), paths(folders / "speech"), [], streams.Conditions(), 4, 10)
    assert streams.stream(other[1]).samples.tobytes() != once.samples.tobytes()


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_speech_takes_its_share_of_the_time_and_words_lie_where_it_says(folders, share):
    conditions = streams.Conditions((None,), (-12.0,), share)
    (part,) = streams.parts(paths(folders / "word"), paths(folders / "speech"), [], conditions, 1)
    made = streams.stream(part)
    clips = sum(soundfile.info(path).frames for path in (*part.words, *part.others))
    assert clips / len(made.samples) == pytest.approx(share, rel=0.15)
    assert len(made.said) == 12
    for word in made.said:
        heard = made.samples[word.start : word.end].astype(float)
        spectrum = np.abs(np.fft.rfft(heard))
        assert 2_990 < np.argmax(spectrum) * RATE / len(heard) < 3_020
        assert abs((word.end - word.start) / RATE - 0.6) < 0.03


@pytest.mark.parametrize("snr_db", [0.0, 10.0, 20.0])
def test_utterances_lie_over_the_noise_as_asked(folders, snr_db):
    """By the energies of the loudest frames, as the stream's words and its pauses have them."""
    conditions = streams.Conditions((snr_db,), (-15.0,), 0.2)
    (part,) = streams.parts(paths(folders / "word"), paths(folders / "speech"), paths(folders / "noise"), conditions, 1)
    made = streams.stream(part)
    words = np.median([peak(made.samples[word.start - 500 : word.end + 500]) for word in made.said])
    noise = peak(made.samples[: RATE // 2])
    expected = 10 * np.log10(1 + 10 ** (snr_db / 10))  # a word's frame holds the noise too
    assert 10 * np.log10(words / noise) == pytest.approx(expected, abs=1.5)


def test_words_lie_over_the_noise_that_is_under_them(folders):
    """A steady noise is not made quieter by a click in another: each clip of noise is as loud as its loudest frame."""
    clicks = 1e-3 * np.random.default_rng(1).standard_normal(4 * RATE)
    clicks[RATE : RATE + 200] = 0.9
    soundfile.write(folders / "noise" / "noise1-0.wav", clicks, RATE)
    conditions = streams.Conditions((10.0,), (-15.0,), 0.2)
    (part,) = streams.parts(paths(folders / "word"), paths(folders / "speech"), paths(folders / "noise"), conditions, 1)
    made = streams.stream(part)
    steady = [word for word in made.said if "noise0" in word.noise]
    assert 0 < len(steady) < len(made.said)
    for word in steady:
        before = made.samples[word.start - RATE // 4 : word.start - RATE // 16].astype(float) / 32_768
        assert 10 * np.log10(np.mean(before**2)) == pytest.approx(-25.0, abs=1.0)


def test_levels_and_rooms_are_gone_through(folders, tmp_path):
    response = np.zeros(4_000)
    response[100], response[2_100] = 0.5, 0.25
    soundfile.write(tmp_path / "echoing.wav", response, RATE)
    (room,) = rooms.rooms([str(tmp_path / "echoing.wav")], 1)
    conditions = streams.Conditions((None,), (-30.0, -10.0), 0.3, (room,))
    for part, peak_dbfs in zip(streams.parts(paths(folders / "word"), [], [], conditions, 1), (-30.0, -10.0), strict=True):
        made = streams.stream(part)
        assert {(word.peak_dbfs, word.room) for word in made.said} == {(peak_dbfs, room)} and len(made.said) == 6
        for word in made.said:
            heard = made.samples[word.start : word.end]
            assert 10 * np.log10(peak(heard)) == pytest.approx(word.peak_dbfs, abs=2.0)  # the echo adds to it or takes from it
            late = made.samples[word.end + 200 : word.end + 1_800].astype(float)  # the echo, 125 ms after
            assert np.mean(late**2) > 0.02 * np.mean(heard.astype(float) ** 2)


def test_levels_are_those_over_noise_too(folders):
    conditions = streams.Conditions((20.0,), (-40.0, -10.0), 0.3)
    for part in streams.parts(paths(folders / "word"), [], paths(folders / "noise"), conditions, 1):
        made = streams.stream(part)
        found = [peak(made.samples[word.start - 500 : word.end + 500]) for word in made.said]
        assert 10 * np.log10(np.median(found)) == pytest.approx(part.peak_dbfs, abs=1.5)


def test_words_meet_every_room_as_often_at_every_ratio_and_level(folders):
    heard = (rooms.Measured("a", 1.0, "a.wav"), rooms.Measured("b", 2.0, "b.wav"), rooms.Measured("c", None, "c.wav"))
    conditions = streams.Conditions((0.0, 10.0), (-30.0, -10.0), 0.3, heard)
    sounds = [paths(folders / kind) for kind in ("word", "speech", "noise")]
    met = Counter()
    for part in streams.parts(*sounds, conditions, 1, hours=4.0):
        met.update((part.snr_db, part.peak_dbfs, heard[(part.turn + n) % 3].name) for n in range(len(part.words)))
    assert len(met) == 12 and max(met.values()) - min(met.values()) <= max(2, 0.35 * max(met.values())), met


@given(hours=st.floats(0.02, 6.0), share=st.sampled_from([0.1, 0.2, 0.5, 1.0]), seed=st.integers(0, 9))
def test_asked_hours_go_through_all_clips_evenly(long_lived, hours, share, seed):
    sounds = [paths(long_lived / kind) for kind in ("word", "speech", "noise")]
    work = streams.parts(*sounds, streams.Conditions(speech_share=share), seed, hours=hours)
    words, others = (Counter(clip for part in work for clip in clips(part)) for clips in (lambda p: p.words, lambda p: p.others))
    assert set(words) == {str(path) for path in sounds[0]}, "every word at least once"
    for times in (words, others):
        assert not times or max(times.values()) - min(times[str(path)] for path in sounds[times is others]) <= 1
    in_parts = [len(part.words) for part in work]
    assert max(in_parts) - min(in_parts) <= 1
    assert sum(part.least for part in work) / RATE / 3600 == pytest.approx(hours, abs=1e-6 * len(work) + 1e-4)
    assert all(part.least <= 1_200 * RATE for part in work), "a part's memory is bounded"


def test_a_stream_is_as_long_as_asked_and_speech_has_its_share(folders):
    sounds = [paths(folders / kind) for kind in ("word", "speech", "noise")]
    work = streams.parts(*sounds, streams.Conditions(), 2, hours=0.5)
    made = [streams.stream(part) for part in work]
    assert [len(stream.samples) for stream in made] == [part.least for part in work]
    assert sum(len(stream.samples) for stream in made) / RATE / 3600 == pytest.approx(0.5, rel=1e-4)
    spoken = sum(stop - start for stream in made for _, start, stop in stream.spoken)
    assert spoken / RATE / 3600 == pytest.approx(0.1, rel=0.05)
    assert max(Counter(word.clip for stream in made for word in stream.said).values()) > 1
    assert made[0].samples.tobytes() != made[1].samples.tobytes()


def test_too_few_hours_for_the_words_are_refused(folders):
    with pytest.raises(InputError, match=r"hours: got 0\.01, wanted 0\.02 or more"):
        streams.parts(paths(folders / "word"), paths(folders / "speech"), [], streams.Conditions(), 1, hours=0.01)


def test_a_share_that_is_none_is_refused():
    for share in (0.0, -1.0, 1.5, float("nan")):
        with pytest.raises(InputError, match="speech share: got"):
            streams.Conditions(speech_share=share)


# --- the command


def evaluated(folders, *options):
    command = ["eval", "alexa", "--positives", str(folders / "word"), "--negatives", str(folders / "speech"), "--executor", "1"]
    return CliRunner().invoke(cli, [*command, *options], standalone_mode=False)


def test_eval_reports_what_it_measured(folders, tmp_path):
    (folders / "word" / "broken-0.wav").write_bytes(b"no sound")
    found = evaluated(folders, "--noise", str(folders / "noise"), "--json", "--plot", str(tmp_path / "det.png"),
                      "--clips", str(tmp_path / "clips"), "--threshold", "0.95", "--fa-per-hour", "1")  # fmt: skip
    assert found.exception is None, found.output
    told = json.loads(found.stdout)
    assert "skipped: " in found.stderr and "broken-0.wav" in found.stderr
    assert told["words"] == 12 == told["own"]["words"] and told["own"]["threshold"] == 0.95
    assert told["hours"] > 0 and told["asked"][0]["asked_per_hour"] == 1.0
    assert len(told["missed"]) == told["own"]["missed"] and told["own"]["miss_rate"] == told["own"]["missed"] / 12
    assert (tmp_path / "det.png").read_bytes().startswith(b"\x89PNG")
    kept = list((tmp_path / "clips").glob("*.wav"))
    assert len(kept) == told["own"]["missed"] + told["own"]["false_accepts"] > 0
    rates = [at["false_accepts"] for at in told["curve"]]
    assert len(rates) == len({at["threshold"] for at in told["curve"]})


def test_as_many_processes_as_one_likes_find_the_same(folders):
    one, two = (json.loads(evaluated(folders, "--json", "--executor", n).stdout) for n in ("1", "2"))
    assert one == two


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--executor", "many"], "--executor: got 'many', wanted a number of processes"),
        (["--executor", "0"], "--executor: got '0'"),
        (["--noise", "nowhere"], "nowhere: no such folder"),
        (["--room", "nowhere.wav"], "nowhere.wav: no such file"),
        (["--room", "sim:none"], "--room: got 'sim:none', wanted sim: and a number of rooms"),
        (["--room", "sim:0"], "--room: got 'sim:0'"),
        (["--hours", "0.001"], "hours: got 0.001, wanted 0.02 or more"),
        (["--clips", "/dev/null/clips"], "/dev/null/clips: cannot be written"),
        (["--plot", "nowhere/det.png"], "nowhere/det.png: cannot be written"),
    ],
)
def test_what_cannot_be_measured_is_one_line(folders, options, told):
    found = evaluated(folders, *options)
    assert isinstance(found.exception, InputError) and str(found.exception).startswith(told)
    assert "\n" not in str(found.exception)


@pytest.mark.parametrize("option", ["--snr-db=loud", "--speech-share=0", "--threshold=1", "--fa-per-hour=-1", "--hours=0"])
def test_options_out_of_range_are_wrong_use(folders, option):
    assert isinstance(evaluated(folders, option).exception, click.UsageError)


def test_a_second_look_counts_unless_it_is_left_out(folders, tmp_path):
    """Its probability is what thresholds are for: at one that it never exceeds every word is missed, and nothing wakes it."""
    model = random_model(6)  # whose scores move with every sound
    model.save(tmp_path / "two.safetensors")
    replace(model, threshold=1.0).save(tmp_path / "two.look.safetensors")
    replace(model, threshold=0.3).save(tmp_path / "two.safetensors")
    told = {}
    for how in ("--second-look", "--no-second-look"):
        command = ["eval", str(tmp_path / "two.safetensors"), "--positives", str(folders / "word")]
        found = CliRunner().invoke(cli, [*command, "--negatives", str(folders / "speech"), "--executor", "1", "--json", how])
        told[how] = json.loads(found.stdout)
    looked, plain = told["--second-look"], told["--no-second-look"]
    assert (looked["second_look"], plain["second_look"]) == (True, False)
    assert (looked["own"]["threshold"], plain["own"]["threshold"]) == (1.0, 0.3)
    assert looked["own"]["missed"] == 12 and looked["own"]["false_accepts"] == 0
    assert plain["own"]["false_accepts"] >= 5
    thresholds, woken = zip(*((at["threshold"], at["false_accepts"]) for at in looked["curve"]), strict=True)
    assert all(256 * threshold == pytest.approx(round(256 * threshold), abs=0.01) for threshold in thresholds), "a look's scores"
    assert 0 < woken[0] <= plain["own"]["false_accepts"] and woken[-1] < woken[0]


@pytest.fixture
def heard(folders):
    """A function: an executor's evaluation of one small set of streams, as JSON."""
    pytest.importorskip("pyroomacoustics")
    conditions = streams.Conditions((0.0, 20.0), (-12.0,), 0.3, tuple(rooms.rooms(["sim:1"], 3)))
    work = streams.parts(*(paths(folders / kind) for kind in ("word", "speech", "noise")), conditions, 1, 10)

    def evaluated_by(pool):
        return run.as_json(run.evaluate(MOVED, work, [0.1], pool, lambda *_: None))

    return evaluated_by


@pytest.fixture
def by_one(heard):
    with ProcessPoolExecutor(1) as pool:
        return heard(pool)


def test_threads_find_what_processes_find(heard, by_one):
    with ThreadPoolExecutor(2) as pool:
        assert heard(pool) == by_one
    assert by_one["words"] == 12 and len(by_one["curve"]) > 3


def test_a_dask_cluster_that_is_not_there_is_one_line():
    pytest.importorskip("distributed")
    with pytest.raises(InputError, match=r"^--executor: no Dask scheduler answers at 'nowhere'"), run.executor("dask:nowhere"):
        pass


@pytest.mark.filterwarnings("default")  # distributed's own
def test_a_dask_cluster_finds_what_processes_find(heard, by_one):
    """Workers in processes of their own, reached by the address that --executor is given."""
    distributed = pytest.importorskip("distributed")
    cluster = distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None)
    with cluster, run.executor(f"dask:{cluster.scheduler_address}") as pool:
        assert heard(pool) == by_one


def test_groups_say_how_many_of_how_many_were_missed(by_one):
    for name, values in (("snr_db", {"0.0", "20.0"}), ("noise", {"noise/noise0", "noise/noise1"}),
                         ("distance_m", {"1.0", "2.0", "3.0", "4.0"}), ("peak_dbfs", {"-12.0"})):  # fmt: skip
        groups = by_one["own"]["missed_by"][name]
        assert set(groups) == values
        assert sum(group["asked"] for group in groups.values()) == 12
        assert sum(group["missed"] for group in groups.values()) == by_one["own"]["missed"]


def test_a_process_that_dies_is_one_line():
    with pytest.raises(InputError, match="--executor: a process ended"), run.executor("1") as pool:
        pool.submit(os._exit, 1).result()


def test_what_woke_it_is_named(folders):
    """A threshold that noise exceeds: every false accept lies in, or just after, the clip that it names, or in a pause."""
    work = streams.parts(paths(folders / "word"), paths(folders / "speech"), [], streams.Conditions((None,)), 1)
    with ThreadPoolExecutor(1) as pool:
        found = run.evaluate(MOVED, work, [0.1], pool, lambda *_: None)
    spoken = {path: (start, stop) for path, start, stop in streams.stream(work[0]).spoken}
    assert len(found.woke) == len(found.own.false_accepts) > 0
    for woke in found.woke:
        within = [path for path, (start, stop) in spoken.items() if start <= woke.at <= stop + RATE // 2]
        assert woke.clip in (within or [None])
    assert any(woke.clip for woke in found.woke)


@pytest.mark.parametrize(("kind", "told"), [("word", "no clip of the word"), ("speech", "no clip of other speech")])
def test_clips_that_are_not_there_where_streams_are_made_measure_nothing(folders, kind, told):
    """As on a cluster whose machines do not see the folder."""
    work = streams.parts(paths(folders / "word"), paths(folders / "speech"), [], streams.Conditions(), 1)
    for path in paths(folders / kind):
        path.unlink()
    with ThreadPoolExecutor(1) as pool, pytest.raises(InputError, match=f"^{told} could be used, .*no such file"):
        run.evaluate(load_model("alexa"), work, [0.1], pool, lambda *_: None)


def test_eval_of_hours_in_rooms(folders):
    pytest.importorskip("pyroomacoustics")
    options = ("--hours", "0.2", "--room", "sim:1", "--noise", str(folders / "noise"), "--json")
    told = json.loads(evaluated(folders, *options).stdout)
    assert told["hours"] == pytest.approx(0.2, rel=0.02) and told["word_clips"] == 12 < told["words"]
    assert told["conditions"]["rooms"] == ["sim:1"] and set(told["own"]["missed_by"]["distance_m"]) == {
        "1.0",
        "2.0",
        "3.0",
        "4.0",
    }
    plain = evaluated(folders, *options[:-1]).stdout
    assert f"{told['words']} words (12 clips) in 0.20 h" in plain and "intervals count each clip as one" in plain
    assert "missed by distance_m: 1.0: " in plain
