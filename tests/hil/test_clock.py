"""The capture clock under arrivals that are late by chance, against closed forms and a search through all lines."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield.hil.clock import RATE, Arrivals


def arrivals(pairs):
    made = Arrivals()
    for end, ns in pairs:
        made.add(end, ns)
    return made.line()


@pytest.mark.parametrize("ppm", [0.0, 100.0, -500.0, 500.0])
def test_without_delays_it_is_the_clock_itself(ppm):
    period_ns = 160 * 1e9 / RATE / (1 + ppm * 1e-6)
    line = arrivals([(160 * n, round(7e9 + n * period_ns)) for n in range(1, 400)])
    assert abs(line.drift_ppm - ppm) < 0.01
    assert abs(line.at_ns(80) - (7e9 + period_ns / 2)) < 10


@pytest.mark.parametrize("ppm", [0.0, 80.0, -300.0])
def test_delays_of_most_blocks_do_not_move_it(ppm):
    """Each block late by up to 8 ms, and one in a hundred by up to 100: over 4 s the rate is found to a few ppm."""
    random = np.random.default_rng(3)
    period_ns = 160 * 1e9 / RATE / (1 + ppm * 1e-6)
    late = random.exponential(1e6, 400) + np.where(random.random(400) < 0.01, 1e8 * random.random(400), 0)
    line = arrivals([(160 * n, round(n * period_ns + late[n])) for n in range(400)])
    assert abs(line.drift_ppm - ppm) < 20
    assert abs(line.at_ns(32_000) - 200 * period_ns) < 1e5


@given(st.lists(st.tuples(st.integers(1, 50), st.integers(0, 1_000)), min_size=2, max_size=9))
def test_no_line_below_all_arrivals_is_nearer_on_average(steps):
    """The best line below points goes through two of them: every pair is tried."""
    ends = np.cumsum([gap for gap, _ in steps])
    times = [int(end) * 62_500 + late * 1_000 for end, (_, late) in zip(ends, steps, strict=True)]
    line = arrivals(zip(ends.tolist(), times, strict=True))
    assert all(line.at_ns(end) <= at + 1e-3 for end, at in zip(ends.tolist(), times, strict=True))
    far = sum(at - line.at_ns(end) for end, at in zip(ends.tolist(), times, strict=True))
    for (x0, y0), (x1, y1) in combinations(list(zip(ends.tolist(), times, strict=True)), 2):
        below = [y0 + (end - x0) * (y1 - y0) / (x1 - x0) for end in ends.tolist()]
        if all(low <= at + 1e-3 for low, at in zip(below, times, strict=True)):
            assert far <= sum(at - low for low, at in zip(below, times, strict=True)) + 1e-2


def test_fewer_than_two_blocks_tell_nothing():
    assert Arrivals().line() is None and arrivals([(160, 5)]) is None
