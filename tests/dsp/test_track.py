"""Tracks of sample clocks: known clocks, known jitter, known outliers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield.track import Track

RATE = 16_000


def observed(ppm, seconds, late_ns, *, begun_ns=10**15, period=160, first=0):
    """A track of a clock that is off by `ppm`; late_ns: how much later than due each period was noticed."""
    track = Track(RATE)
    for n in range(1, int(seconds * RATE) // period + 1):
        index = first + n * period
        track.add(index, round(begun_ns + (index - first) * 1e9 / RATE / (1 + ppm * 1e-6) + late_ns(n)))
    return track


def jitter(seed, mean_ns=2e6):
    random = np.random.default_rng(seed)
    return lambda n: random.exponential(mean_ns)


@pytest.mark.parametrize("ppm", [-500.0, -37.0, 0.0, 200.0, 500.0])
@pytest.mark.parametrize(("seconds", "within_ppm", "within_us"), [(10, 30, 200), (60, 2, 100), (300, 2, 100)])
def test_a_clock_is_found_through_jitter(ppm, seconds, within_ppm, within_us):
    """Exponential jitter of 2 ms on every observation; the line's place is that of the least late ones."""
    track = observed(ppm, seconds, jitter(1))
    assert track.drift_ppm == pytest.approx(ppm, abs=within_ppm)
    due = 10**15 + seconds * 1e9 / (1 + ppm * 1e-6)
    assert abs(track.host_ns(seconds * RATE) - due) < within_us * 1e3


@given(st.floats(-500, 500), st.integers(0, 2**40), st.integers(0, 2**61))
def test_a_clock_without_jitter_is_found_to_the_last_part(ppm, first, begun_ns):
    track = observed(ppm, 5, lambda n: 0, begun_ns=begun_ns, first=first)
    # Times are whole nanoseconds of at most 2^61: what float64 keeps of a difference of them decides.
    assert track.drift_ppm == pytest.approx(ppm, abs=0.5)
    assert track.index(track.host_ns(first + 40_000)) == pytest.approx(first + 40_000, abs=0.05)


def test_a_quarter_of_the_seconds_may_be_wrong():
    """Whole seconds in which everything came up to 300 ms late, and one moment that came early, as a faulty stamp would."""
    random = np.random.default_rng(3)
    bad = {second: random.uniform(20e6, 300e6) for second in random.choice(60, 15, replace=False)}
    noise = jitter(4)
    track = observed(150.0, 60, lambda n: noise(n) + bad.get(n // 100, 0.0) - (50e6 if n == 2_345 else 0.0))
    assert track.drift_ppm == pytest.approx(150.0, abs=5)


def test_a_mean_line_would_not_have_found_it():
    """The planted case: least squares over the same observations is off by far more than what is asked of the track."""
    noise, bad = jitter(4), range(2_000, 3_500)
    late = [noise(n) + (200e6 if n in bad else 0.0) for n in range(6_000)]
    at = np.arange(6_000) * 0.01
    assert abs(np.polyfit(at, at + np.array(late) * 1e-9, 1)[0] - 1) > 100e-6
    assert observed(0.0, 60, lambda n: late[n - 1]).drift_ppm == pytest.approx(0.0, abs=5)


@pytest.mark.parametrize(("splits", "within_ppm"), [(True, 3.0), (False, np.inf)])
def test_gaps_that_were_sized_a_little_too_long_do_not_make_it_steeper(splits, within_ppm):
    """One every 6 s, by this very line and a millisecond too long. The planted case: not told of them, it runs away."""
    track, noise, lost = Track(RATE), jitter(5, 0.1e6), 0
    for n in range(1, 12_001):
        ns = n * 1e7 / (1 + 50e-6) + noise(n)
        if n > 1_000 and n % 600 == 0:
            lost = round(track.index(ns)) + 16 - n * 160
            if splits:
                track.split()
        track.add(n * 160 + lost, round(ns))
    off = abs(track.drift_ppm - 50.0)
    assert off < within_ppm and (splits or off > 20), off


def test_gaps_that_follow_each_other_at_once_do_not_move_it():
    """One every 0.4 s, so that no second is ever whole, each sized by this line and a sample too long."""
    track, lost = Track(RATE), 0
    for n in range(1, 4_001):
        ns = n * 10**7
        if n % 40 == 0:
            lost = round(track.index(ns)) + 1 - n * 160
            track.split()
        track.add(n * 160 + lost, ns)
    assert lost == 1


def test_it_knows_how_sure_it_is():
    """Over many clocks the error is about as large as it says: never an order smaller on the whole."""
    told, was = [], []
    for seed in range(40):
        track = observed(80.0, 20, jitter(seed, 20e6))
        told.append(track.error_ppm)
        was.append(abs(track.drift_ppm - 80.0))
    assert 0.3 < np.median(was) / np.median(told) < 3
    assert observed(80.0, 3, lambda n: 0).error_ppm is None and observed(80.0, 30, lambda n: 0).error_ppm < 0.01


def test_two_clocks_drift_by_the_ratio_of_their_rates():
    fast, slow = observed(400.0, 30, lambda n: 0), observed(-100.0, 30, lambda n: 0)
    assert fast.drift_from(slow) == pytest.approx(((1 + 400e-6) / (1 - 100e-6) - 1) * 1e6, abs=0.1)
    assert Track(RATE).drift_from(slow) is None


def test_a_clock_that_changes_is_followed():
    """A crystal that warms up by 20 ppm: a minute later the old slope is forgotten."""
    track = Track(RATE)
    ns = 0.0
    for n in range(1, 20_001):
        ns += 1e7 / (1 + (0.0 if n < 10_000 else 20e-6))
        track.add(n * 160, round(ns))
    assert track.drift_ppm == pytest.approx(20.0, abs=0.5)


def test_before_anything_is_known_nothing_is_said():
    track = Track(RATE)
    assert not track.is_known and track.drift_ppm is None
    with pytest.raises(ValueError, match="track: got no observation yet"):
        track.index(0)
    track.add(160, 10**9)
    assert track.is_known and track.drift_ppm is None and track.index(10**9 + 10**7) == pytest.approx(320)
    track.add(320, 10**9 + 5 * 10**6)  # earlier than the first made it: the first was late
    assert track.index(10**9 + 5 * 10**6) == pytest.approx(320)
    track.reset()
    assert not track.is_known
