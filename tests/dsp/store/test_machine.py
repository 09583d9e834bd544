"""Random consents, captures, deletions, expiries and clocks against a plain model; ten thousand of them with FARFIELD_LONG=1."""

import os
import random
import sqlite3
import traceback
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from farfield.errors import InputError
from farfield.store import PURPOSES, Store, audit, consent, names, sampling, utterance
from reference.keeping import OPENING, OWNER, POLICY, Later, keep, leaves, make_store, marked, mismatches

purposes = st.sampled_from(PURPOSES)
RETENTION_DAYS = 2


class Machine(RuleBasedStateMachine):
    """given: the purposes consented to. kept: id to what must hold for it.

    Of each: when it began in true time, and whether review and train were consented to from then on without a break.
    speaking: captures that have not ended, and the purposes that were consented to ever since they began.
    Whatever the machine does could be done again, the same: its ids, its sample and its writer's turns hang on what is drawn.
    """

    folder, started, operations = None, 0, 0
    chance = random.Random()

    @initialize(chosen=st.sets(purposes))
    def begin(self, chosen):
        Machine.started += 1
        wanted = {"sample_share": 1.0, "sample_a_day": 3, "sample_on_device": 8, "retention_days": RETENTION_DAYS}
        Machine.chance.seed(1)
        self.store, self.clock = make_store(Machine.folder / str(Machine.started), consents=(), **wanted)
        self.store.chance, self.store.writer = Machine.chance, Later()
        (Machine.folder / f"{Machine.started} out").mkdir()
        self.given, self.kept, self.speaking, self.jumped = set(), {}, [], False
        self.give(sorted(set(PURPOSES) - chosen))

    def forget(self, purpose):
        """What a withdrawal takes from what is stored and from what is being said."""
        for _, _, held in self.speaking:
            held.discard(purpose)
        if purpose == "store":
            self.kept = {}
        for known in self.kept.values():
            known["held"].discard(purpose)

    @rule(chosen=st.lists(purposes, min_size=1, max_size=4))
    def give(self, chosen):
        self.store.give(chosen, POLICY)
        self.given |= set(chosen)

    @rule(chosen=st.lists(purposes, min_size=1, max_size=1))
    def withdraw(self, chosen):
        self.store.withdraw(chosen)
        self.given -= set(chosen)
        for purpose in chosen:
            self.forget(purpose)

    @rule(seeds=st.lists(st.integers(0, 9), min_size=1, max_size=4))
    def capture(self, seeds):
        for seed in seeds:
            identity = keep(self.store, marked(seed, 0.02))
            assert bool(identity) == ("store" in self.given)
            if identity:
                self.kept[identity] = {"at": self.clock.true, "held": set(self.given)}

    @rule(steps=st.integers(0, 3))
    def speak(self, steps):
        """steps: how far the writer gets with it before somebody waits for it."""
        sealing = self.store.begin(OPENING)
        if sealing:
            self.speaking.append((sealing, self.clock.true, set(self.given)))
            sealing.write(marked(7, 0.02))
            self.store.writer.go(steps)
        assert (sealing is not None) == ("store" in self.given)

    @precondition(lambda self: self.speaking)
    @rule(aborts=st.booleans())
    def fall_silent(self, aborts):
        sealing, at, held = self.speaking.pop(0)
        if aborts:
            sealing.abort()
        identity = sealing.finish(20_000).result()
        assert bool(identity) == (not aborts and "store" in held)
        if identity:
            self.kept[identity] = {"at": at, "held": held}

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def delete(self, data):
        gone = data.draw(st.lists(st.sampled_from(list(self.kept)), min_size=1, unique=True))
        assert set(self.store.delete(gone).utterances) == set(gone)
        for identity in gone:
            del self.kept[identity]

    @precondition(lambda self: self.kept)
    @rule(data=st.data())
    def call_it_a_false_wake(self, data):
        identity = data.draw(st.sampled_from(list(self.kept)))
        self.store.report(identity)
        try:
            self.store.offer(identity, OWNER)
        except InputError:
            assert "false-wake" not in self.given or self.jumped or self.store.settings().reviewers is None
        else:
            assert "false-wake" in self.given
            self.kept[identity]["held"].add("false-wake")

    @rule()
    def review(self):
        out = Machine.folder / f"{Machine.started} out"
        before = {path.stem for path in out.iterdir()}
        aliases = set(self.store.export_review(out))
        assert {path.stem for path in out.iterdir()} == before | aliases and not before & aliases
        assert not aliases or self.given & {"review", "false-wake"}
        self.expired()

    @rule(hours=st.sampled_from([1, 10, 23, 48]))
    def expire(self, hours):
        self.clock.go(hours=hours)
        self.store.expire()
        self.expired()

    def expired(self):
        young = {one for one, known in self.kept.items() if (self.clock.true - known["at"]).days < RETENTION_DAYS}
        if self.jumped:  # a clock that ran ahead may have destroyed some too early, and never too late
            young &= {one.id for one in self.store.utterances()}
        self.kept = {one: known for one, known in self.kept.items() if one in young}

    @rule(days=st.integers(-3, 3))
    def set_clock(self, days):
        self.clock.set(days=days)
        self.jumped = True

    @rule(unset=st.booleans())
    def restart(self, unset):
        """The machine's, at whose end nobody speaks any more."""
        self.store.expire()
        self.expired()
        for sealing, *_ in self.speaking:
            sealing.abort()
        self.speaking = []
        self.clock.restart(datetime(1970, 1, 1, tzinfo=UTC) if unset else None)
        self.jumped |= unset
        self.store = Store(self.store.folder, clock=self.clock, uptime=self.clock.uptime, writer=Later())

    @rule(which=st.sampled_from([{"sample_a_day": 1}, {"sample_a_day": 3}, {"reviewers": None},
                                 {"reviewers": OWNER.public_key()}]))  # fmt: skip
    def set_up_again(self, which):
        wanted = replace(self.store.settings(), **which)
        Store.set_up(self.store.folder, wanted, clock=self.clock, uptime=self.clock.uptime)

    @invariant()
    def holds(self):
        if not hasattr(self, "store"):
            return
        Machine.operations += 1
        kept = {one.id: one for one in self.store.utterances()}
        assert set(kept) == set(self.kept), "nothing is kept without consent, nothing past its retention, and the rest is"
        assert self.store.consented() == self.given
        assert {one for one in kept if kept[one].train} == {one for one in kept if "train" in self.kept[one]["held"]}
        with self.store.look() as database:
            wraps = database.execute("SELECT utterance, purpose, day FROM wraps WHERE purpose != 'owner'").fetchall()
        for identity, purpose, _ in wraps:
            assert purpose in self.kept[identity]["held"], "no wrap for reviewers without their consent"
        days = [day for _, purpose, day in wraps if purpose == "review"]
        assert len(days) <= 8 and all(days.count(day) <= 3 for day in days)
        speaking = {f"{sealing._id}.partial: a file without a record" for sealing, _, held in self.speaking}
        assert set(mismatches(self.store)) <= speaking

    def teardown(self):
        if hasattr(self, "store"):
            for sealing, *_ in self.speaking:
                sealing.abort()
            assert audit.verify(self.store)[1] == []


@pytest.fixture(autouse=True)
def replayable(monkeypatch):
    """One source for all that a store draws by chance."""
    monkeypatch.setattr(names, "fresh", lambda: Machine.chance.randbytes(16).hex())
    monkeypatch.setattr(random, "SystemRandom", lambda: Machine.chance)


def explore(folder, examples, steps, **wanted):
    Machine.folder, Machine.operations = folder, 0
    wanted = {"max_examples": examples, "stateful_step_count": steps, "deadline": None,
              "suppress_health_check": list(HealthCheck)} | wanted  # fmt: skip
    run_state_machine_as_test(Machine, settings=settings(**wanted))
    return Machine.operations


def test_nothing_random_breaks_what_is_promised(tmp_path):
    if os.environ.get("FARFIELD_LONG"):
        done = explore(tmp_path, 300, 60, phases=[Phase.generate])
        assert done >= 10_000
    else:
        done = explore(tmp_path, 8, 25)
    print(f"{done} operations")


REAL_IDS = utterance.ids


def uncapped(change, age, *_):
    return change.execute("SELECT count(*) FROM wraps WHERE day = ?", (age // sampling.DAY,)).fetchone()[0]


# What is planted, and the steps one of which must find it.
FAULTS = {
    "nobody asks for consent": (consent, "all_given", lambda change: dict.fromkeys(PURPOSES, 0), ("speak", "capture")),
    "a withdrawal while somebody speaks is not seen":
        (consent, "held", lambda change, purpose, then: purpose in then, ("fall_silent", "holds")),
    "nothing expires":
        (utterance, "ids", lambda execute, youngest=None: [] if youngest else REAL_IDS(execute), ("holds",)),
    "a withdrawn wrap stays": (utterance, "drop_wraps", lambda *_: [], ("holds", "add_wrap")),
    "a day has no cap": (sampling, "draw", uncapped, ("holds", "add_wrap")),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_planted_is_found(tmp_path, monkeypatch, fault):
    """By a failure that comes again when it is played again: anything else is no finding, and hypothesis' own error."""
    *planted, finders = FAULTS[fault]
    monkeypatch.setattr(*planted)
    try:
        done = explore(tmp_path, 600, 30, phases=[Phase.generate], derandomize=True, database=None)
    except (AssertionError, sqlite3.IntegrityError) as error:
        assert traceback.extract_tb(error.__traceback__)[-1].name in finders
    else:
        pytest.fail(f"not found: {fault}, by {done} operations on {Machine.started} stores")


KEYED = dict.fromkeys(("digest", "owner", "reviewers"))  # hang on keys, which hang on chance and decide nothing


def test_what_was_done_can_be_done_again(tmp_path, monkeypatch):
    """The same log, ids and sample and all: else hypothesis can neither replay nor shrink what it found."""
    told, real = [], Machine.teardown

    def noted(self):
        real(self)
        if hasattr(self, "store"):
            told[-1].append([leaf | KEYED for leaf in leaves(self.store)])

    monkeypatch.setattr(Machine, "teardown", noted)
    for turn in ("first", "again"):
        told.append([])
        (tmp_path / turn).mkdir()
        explore(tmp_path / turn, 4, 25, phases=[Phase.generate], derandomize=True, database=None)
    assert told[0] == told[1] and any(
        leaf.get("purpose") == "review" and leaf["what"] == "wrap" for log in told[0] for leaf in log
    )
