"""Clocks that jump, stand at 1970 or are set years ahead: nothing is kept longer, and reviewers get no more."""

import sqlite3
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield.errors import InputError
from farfield.store import Store, ageing, audit
from farfield.store.ageing import Ageing, Moment
from reference.keeping import OWNER, POLICY, Clock, keep, make_store, marked

UNSET = datetime(1970, 1, 1, 0, 0, 12, tzinfo=UTC)
FROZEN = datetime(2026, 6, 1, tzinfo=UTC)  # the day on which an image was built


class ByTheClock(Ageing):
    """A planted fault: the age is the date."""

    def __init__(self, database, clock, uptime):
        super().__init__(database, clock, uptime)
        self.moment = Moment(self.moment.at, self.moment.at, self.moment.begun)


@pytest.fixture(params=[False, True], ids=["", "planted"])
def planted(request, monkeypatch):
    if request.param:
        monkeypatch.setattr("farfield.store.records.Ageing", ByTheClock)
    return request.param


STORIES = {
    "set back": (lambda clock: clock.go(days=30), lambda clock: clock.set(days=-10)),
    "set back beyond the set-up": (lambda clock: None, lambda clock: clock.set(days=-365)),
    "was years ahead": (lambda clock: clock.set(days=4_000), lambda clock: clock.set(clock.true)),
    "was ahead, and restarted": (lambda clock: clock.set(days=4_000), lambda clock: clock.restart(clock.true)),
    "stands at 1970 from now on": (lambda clock: None, lambda clock: clock.restart(UNSET)),
    "stood at 1970": (lambda clock: clock.restart(UNSET), lambda clock: clock.restart(UNSET)),
    "starts at a fixed date": (lambda clock: None, lambda clock: clock.restart(FROZEN)),
}


@pytest.mark.parametrize("story", STORIES.values(), ids=STORIES)
def test_whatever_the_clock_does_an_utterance_goes_after_its_days(tmp_path, story, planted):
    store, clock = make_store(tmp_path, retention_days=2)
    before, after = story
    before(clock)
    identity = keep(store, marked(1))
    clock.go(hours=1)
    store.expire()  # as the service does
    after(clock)
    store.expire()
    clock.go(hours=46)
    store.expire()
    kept_for_46_hours = [one.id for one in store.utterances()] == [identity]
    clock.go(hours=1, minutes=30)
    store.expire()
    ok = kept_for_46_hours and store.utterances() == []
    assert ok != planted, "a store that goes by the clock is found"
    if not planted:
        assert audit.verify(store)[1] == []


def test_what_a_board_without_a_battery_keeps_counts_the_days_it_was_off(tmp_path):
    store, clock = make_store(tmp_path)
    identity = keep(store, marked(1))
    clock.restart(UNSET, days=20)
    store.expire()
    assert [one.id for one in store.utterances()] == [identity], "1970 is no reason to destroy anything"
    clock.go(minutes=1)
    clock.set(clock.true)
    clock.go(days=9, hours=23, minutes=58)
    store.expire()
    assert [one.id for one in store.utterances()] == [identity]
    clock.go(minutes=1)
    assert store.expire().utterances == (identity,)


def test_a_clock_that_is_set_back_begins_no_day_anew(tmp_path, planted):
    store, clock = make_store(tmp_path, consents=("store", "review"), sample_share=1.0, sample_a_day=2)
    clock.go(days=10)
    for _ in range(4):
        for seed in range(4):
            keep(store, marked(seed, 0.01))
        clock.set(days=-1)
    with store.look() as database:
        (wraps,) = database.execute("SELECT count(*) FROM wraps WHERE purpose = 'review'").fetchone()
    assert wraps == (8 if planted else 2)


def test_what_was_said_before_the_clock_was_set_is_not_for_reviewers(tmp_path):
    store, clock = make_store(tmp_path / "store", consents=("store", "review", "false-wake"), sample_share=1.0)
    clock.restart(UNSET)
    identity = keep(store, marked(1))
    clock.set(clock.true)
    with store.look() as database:
        assert database.execute("SELECT purpose FROM wraps").fetchall() == [("owner",)]
    store.report(identity)
    with pytest.raises(InputError, match="before the clock was set"):
        store.offer(identity, OWNER)
    later = keep(store, marked(2))
    store.report(later)
    store.offer(later, OWNER)


def test_a_store_that_was_set_up_years_ahead_is_set_right_by_setting_it_up_again(tmp_path):
    clock = Clock(datetime(2040, 1, 1, tzinfo=UTC))
    store, _ = make_store(tmp_path, clock, consents=("store", "review"), sample_share=1.0)
    clock.set(datetime(2026, 11, 25, tzinfo=UTC))
    keep(store, marked(1))
    again = Store.set_up(tmp_path, store.settings(), clock=clock, uptime=clock.uptime)
    keep(again, marked(2))
    with again.look() as database:
        assert database.execute("SELECT count(*) FROM wraps WHERE purpose = 'review'").fetchone() == (1,)
    clock.restart(days=30)
    assert len(again.expire().utterances) == 2


TIMES = st.integers(0, 40 * 24).map(lambda hours: timedelta(hours=hours))
EVENTS = st.lists(st.tuples(st.sampled_from(["go", "off", "set", "right", "unset"]), TIMES, st.booleans()), max_size=30)


@given(EVENTS)
def test_an_age_never_goes_back_and_never_less_than_time(events):
    """Against the plain truth: as much as the machine was up; and where the clock is right, as much as has passed at all."""
    database, clock = sqlite3.connect(":memory:", isolation_level=None), Clock()
    for statement in ageing.SCHEMA.split(";")[:-1]:
        database.execute(statement)
    Ageing.start(database, clock(), clock.uptime())
    first, up, last, right = clock.true, timedelta(), Ageing(database, clock(), clock.uptime()).moment.age, True
    begun = last
    for what, length, keeps in events:
        if what == "go":
            clock.go(seconds=length.total_seconds())
            up += length
        elif what == "off":
            clock.restart(hours=length.total_seconds() / 3600)
        elif what == "set":
            clock.set(hours=length.total_seconds() / 1800 - 20 * 24)
        elif what == "right":
            clock.set(clock.true)
        else:
            clock.restart(UNSET)
        age = Ageing(database, clock(), clock.uptime())
        age.write(anyway=keeps)
        if keeps:
            assert age.moment.age >= last
            last = age.moment.age
        assert age.moment.age - begun >= int(up.total_seconds())
        right = right and what in ("go", "off", "right", "unset")
        if right and clock.now == clock.true:
            assert age.moment.age - begun == int((clock.true - first).total_seconds())


def test_a_store_that_is_only_looked_at_is_not_written_to(tmp_path):
    store, clock = make_store(tmp_path)
    store.give(["train"], POLICY)
    before = (tmp_path / "records.db").read_bytes()
    clock.go(minutes=9)
    store.utterances()
    assert (tmp_path / "records.db").read_bytes() == before
    clock.go(minutes=2)
    store.utterances()
    assert (tmp_path / "records.db").read_bytes() != before, "but its age is kept now and then"


def test_a_clock_without_a_zone_is_refused():
    with pytest.raises(TypeError, match="without a zone"):
        Ageing.start(sqlite3.connect(":memory:"), datetime(2026, 1, 1), ("", 0))
