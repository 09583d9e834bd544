"""Decisions over labelled streams and the curve over them, held to the detector, to closed forms and to published tables."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield.block import Frame
from farfield.detector import Detector
from farfield.evaluation import curve, run, streams
from farfield.model import load_model
from reference.labelled import RATE
from reference.planted import Planted


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
