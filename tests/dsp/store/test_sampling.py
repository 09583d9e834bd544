"""Which utterances reviewers may get: a uniform sample, within its caps."""

import random
import sqlite3
from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from farfield.store import Settings, sampling
from farfield.store.sampling import DAY, draw, taken_by
from reference.keeping import OWNER, REVIEWERS, keep, make_store, marked


class Table:
    """The draws and wraps of a store in memory: what sampling works on, without the rest."""

    def __init__(self):
        self.execute = sqlite3.connect(":memory:", isolation_level=None).execute
        self.execute("CREATE TABLE draws (day INTEGER PRIMARY KEY, selected INTEGER, places INTEGER, closed INTEGER)")
        self.execute("CREATE TABLE wraps (utterance TEXT, purpose TEXT, day INTEGER, slot INTEGER)")

    def day(self, count, settings, chance, drawing=draw, at=0):
        """Which of a day's utterances are in the sample at its end."""
        for n in range(count):
            place = drawing(self, at, settings, chance)
            if place is not None:
                self.execute("DELETE FROM wraps WHERE utterance = ?", (taken_by(self, at, place),))
                self.execute("INSERT INTO wraps VALUES (?, 'review', ?, ?)", (str(n), at // DAY, place))
        return [int(n) for (n,) in self.execute("SELECT utterance FROM wraps WHERE day = ?", (at // DAY,))]


def settings(**wanted):
    return Settings(OWNER.public_key(), REVIEWERS.public_key(), **wanted)


def first_come(change, at, settings, chance):
    """A planted fault: the first of the day fill the cap."""
    if chance.random() >= settings.sample_share:
        return None
    (taken,) = change.execute("SELECT count(*) FROM wraps").fetchone()
    return taken if taken < settings.sample_a_day else None


def p_of_uniform(drawing, seed, share, days=1500, count=30):
    """p-value of chi-square: is each of a day's utterances in the sample equally often? Also the largest sample."""
    chance, often, most = random.Random(seed), Counter(), 0
    for _ in range(days):
        sample = Table().day(count, settings(sample_share=share), chance, drawing)
        most = max(most, len(sample))
        often.update(sample)
    return stats.chisquare([often[n] for n in range(count)]).pvalue, most, sum(often.values())


def test_sampling_is_uniform_below_the_cap_and_at_it():
    for share, expected in ((0.1, None), (0.5, None), (1.0, 1500 * 5)):
        p, most, total = p_of_uniform(draw, 11, share)
        assert p > 1e-3 and most <= 5 and expected in (None, total)


def test_a_sample_that_prefers_the_morning_is_caught():
    assert p_of_uniform(first_come, 11, 0.5)[0] < 1e-9


def one_after_the_other(change, at, settings, chance):
    """A planted fault: five neighbours, wherever they begin; each utterance is in as often as any other."""
    if not hasattr(change, "n"):
        change.n, change.first = 0, chance.randrange(30)
    change.n += 1
    place = (change.n - 1 - change.first) % 30
    return place if place < settings.sample_a_day else None


def pairs_apart(samples, count=30):
    """How far from equally often each pair is in the samples together: the sum of squares of chi-square, over pairs."""
    ordered = np.sort(np.array(samples), axis=1)
    often = np.zeros((count, count))
    for first, second in combinations(range(ordered.shape[1]), 2):
        np.add.at(often, (ordered[:, first], ordered[:, second]), 1)
    often = often[np.triu_indices(count, 1)]
    return float(((often - often.mean()) ** 2).sum() / often.mean())


def samples_of(drawing, seed, days=1500, count=30):
    chance = random.Random(seed)
    return [Table().day(count, settings(sample_share=1.0), chance, drawing) for _ in range(days)]


def test_neither_are_neighbours_sampled_together_more_often_nor_less():
    """Against 300 times as many samples of five of thirty as numpy's generator draws."""
    generator = np.random.default_rng(4)
    apart = [pairs_apart(generator.random((1500, 30)).argsort(axis=1)[:, :5]) for _ in range(300)]
    assert min(apart) < pairs_apart(samples_of(draw, 12)) < max(apart)
    assert pairs_apart(samples_of(one_after_the_other, 12)) > 5 * max(apart)
    assert p_of_uniform(one_after_the_other, 12, 1.0)[0] > 1e-3, "which one alone would not tell"


@pytest.mark.parametrize("planted", [False, True])
def test_a_store_samples_its_days_uniformly(tmp_path, planted):
    """All of it, from the end of a capture to the wrap: 2 of the 6 of each day. Planted: who has a place keeps it."""
    store, clock = make_store(tmp_path, consents=("store", "review"), seed=6, sample_share=1.0, sample_a_day=2)
    if planted:
        store.chance.randrange = lambda bound: bound - 1
    often = Counter()
    for _ in range(30):
        kept = [keep(store, marked(n, 0.001)) for n in range(6)]
        with store.look() as database:
            wrapped = {one for (one,) in database.execute("SELECT utterance FROM wraps WHERE purpose = 'review'")}
        often.update(kept.index(one) for one in wrapped & set(kept))
        clock.go(days=1)
    p = stats.chisquare([often[n] for n in range(6)]).pvalue
    assert sum(often.values()) == 60 and (p < 1e-9 if planted else p > 1e-3)


def test_the_share_is_the_one_that_was_set():
    chance, table = random.Random(5), Table()
    (selected,) = (sum(draw(table, n * DAY, settings(sample_on_device=10**6), chance) is not None for n in range(20_000)),)
    assert stats.binomtest(selected, 20_000, 0.01).pvalue > 1e-3


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(0, 3), st.integers(0, 6), st.integers())
def test_no_day_and_no_device_ever_exceeds_its_cap(days, a_day, on_device, seed):
    table, chance = Table(), random.Random(seed)
    for n, day in enumerate(days):
        wanted = settings(sample_share=1.0, sample_a_day=a_day, sample_on_device=on_device)
        place = draw(table, day * DAY, wanted, chance)
        if place is not None:
            table.execute("DELETE FROM wraps WHERE utterance = ?", (taken_by(table, day * DAY, place),))
            table.execute("INSERT INTO wraps VALUES (?, 'review', ?, ?)", (str(n), day, place))
        held = Counter(day for (day,) in table.execute("SELECT day FROM wraps"))
        assert max(held.values(), default=0) <= a_day and sum(held.values()) <= on_device


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 6)), max_size=60), st.integers())
def test_nor_do_they_where_the_settings_change_in_between(steps, seed):
    """Whatever a day and the device were allowed at most, that is the most they give."""
    table, chance, given, often = Table(), random.Random(seed), Counter(), []
    for day, a_day, on_device in steps:
        often.append((a_day, on_device))
        place = draw(table, day * DAY, settings(sample_share=1.0, sample_a_day=a_day, sample_on_device=on_device), chance)
        if place is not None:
            given[day] = max(given[day], place + 1)
            assert given[day] <= max(a_day for a_day, _ in often)
            assert place < a_day and sum(given.values()) <= max(on_device for _, on_device in often)


def test_a_closed_day_gives_no_more_whatever_was_deleted(tmp_path):
    table = Table()
    assert len(table.day(9, settings(sample_share=1.0), random.Random(1))) == 5
    sampling.close(table, DAY)
    table.execute("DELETE FROM wraps")
    assert table.day(9, settings(sample_share=1.0), random.Random(1)) == []
