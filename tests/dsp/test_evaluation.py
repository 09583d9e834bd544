"""Labelled streams and the curve over them, held to the detector, to closed forms and to published tables."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

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
from farfield.evaluation import curve, run, streams
from farfield.model import load_model
from reference.planted import Planted, random_model

RATE = 16_000
FRAME = 2_048


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


def test_the_threshold_for_a_rate_is_the_lowest_that_keeps_to_it():
    heard = [scored({10: 0.3, 50: 0.6, 90: 0.7}, []), scored({130: 0.65}, [said(19_200, 22_400)], 1)]
    points = curve.curve(heard, 0)
    hour = sum(stream.samples for stream in heard) / RATE / 3600
    assert curve.at_rate(points, 0.5 / hour).threshold == pytest.approx(0.7) and curve.at_rate(points, 0.5 / hour).miss == 1.0
    one = curve.at_rate(points, 1.5 / hour)
    assert one.threshold == pytest.approx(0.6) and one.miss == 0.0 and one.false_accepts == ((0, 160 * 91),)
    assert curve.at_rate(points[:1], 0.5 / hour) is None, "every one of these wakes more often"


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


def test_levels_and_rooms_are_gone_through(folders, tmp_path):
    response = np.zeros(4_000)
    response[100], response[2_100] = 0.5, 0.25
    soundfile.write(tmp_path / "echoing.wav", response, RATE)
    conditions = streams.Conditions((None,), (-30.0, -10.0), 0.3, (str(tmp_path / "echoing.wav"),))
    (part,) = streams.parts(paths(folders / "word"), [], [], conditions, 1)
    made = streams.stream(part)
    assert {word.peak_dbfs for word in made.said} == {-30.0, -10.0} and {word.room for word in made.said} == {conditions.rooms[0]}
    for word in made.said:
        heard = made.samples[word.start : word.end]
        assert 10 * np.log10(peak(heard)) == pytest.approx(word.peak_dbfs, abs=2.0)  # the echo adds to it or takes from it
        late = made.samples[word.end + 200 : word.end + 1_800].astype(float)  # the echo, 125 ms after
        assert np.mean(late**2) > 0.02 * np.mean(heard.astype(float) ** 2)


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
        (["--clips", "/dev/null/clips"], "/dev/null/clips: cannot be written"),
        (["--plot", "nowhere/det.png"], "nowhere/det.png: cannot be written"),
    ],
)
def test_what_cannot_be_measured_is_one_line(folders, options, told):
    found = evaluated(folders, *options)
    assert isinstance(found.exception, InputError) and str(found.exception).startswith(told)
    assert "\n" not in str(found.exception)


@pytest.mark.parametrize("option", ["--snr-db=loud", "--speech-share=0", "--threshold=1", "--fa-per-hour=-1"])
def test_options_out_of_range_are_wrong_use(folders, option):
    assert isinstance(evaluated(folders, option).exception, click.UsageError)


def test_a_second_look_counts_unless_it_is_left_out(folders, tmp_path):
    """One that never agrees: every word is missed, and nothing wakes it, at each of the thresholds."""
    model = random_model(6)  # whose scores move with every sound
    model.save(tmp_path / "two.safetensors")
    replace(model, threshold=1.0).save(tmp_path / "two.look.safetensors")
    told = {}
    for how in ("--second-look", "--no-second-look"):
        command = ["eval", str(tmp_path / "two.safetensors"), "--positives", str(folders / "word"), "--threshold", "0.5"]
        found = CliRunner().invoke(cli, [*command, "--negatives", str(folders / "speech"), "--executor", "1", "--json", how])
        told[how] = json.loads(found.stdout)
    looked, plain = told["--second-look"], told["--no-second-look"]
    assert (looked["second_look"], plain["second_look"]) == (True, False)
    assert [at["threshold"] for at in looked["curve"]] == [at["threshold"] for at in plain["curve"]] and plain["curve"]
    assert all((at["missed"], at["false_accepts"]) == (12, 0) for at in looked["curve"])
    assert looked["own"]["missed"] == 12 and looked["own"]["false_accepts"] == 0
    assert plain["own"]["false_accepts"] >= 5


def test_an_executor_is_any(folders):
    """The interface of concurrent.futures alone is used."""
    work = streams.parts(paths(folders / "word"), paths(folders / "speech"), [], streams.Conditions((None,)), 1, 10)
    with ThreadPoolExecutor(2) as pool:
        found = run.evaluate(load_model("alexa"), work, [0.1], pool, lambda *_: None)
    assert found.words == 12 and found.hours > 0
