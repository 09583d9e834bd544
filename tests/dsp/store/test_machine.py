"""Random consents, captures, deletions and expiries against a plain model; ten thousand steps with FARFIELD_LONG=1."""

import os

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from farfield.store import PURPOSES, audit
from reference.keeping import POLICY, keep, make_store, marked, mismatches

purposes = st.sampled_from(PURPOSES)


class Machine(RuleBasedStateMachine):
    """given: the purposes consented to. kept: id to when, and whether review was consented to then and ever since."""

    folder = None

    @initialize()
    def begin(self):
        Machine.count = getattr(Machine, "count", 0) + 1
        self.store, self.clock = make_store(
            Machine.folder / str(Machine.count), consents=(), sample_share=1.0, sample_a_day=3, retention_days=2
        )
        self.given, self.kept = set(), {}

    @rule(purpose=purposes)
    def give(self, purpose):
        self.store.give([purpose], POLICY)
        self.given.add(purpose)

    @rule(purpose=purposes)
    def withdraw(self, purpose):
        self.store.withdraw([purpose])
        self.given.discard(purpose)
        if purpose == "store":
            self.kept = {}
        if purpose == "review":
            self.kept = {one: (at, False) for one, (at, _) in self.kept.items()}

    @rule(seed=st.integers(0, 9))
    def capture(self, seed):
        identity = keep(self.store, marked(seed, 0.02))
        assert bool(identity) == ("store" in self.given)
        if identity:
            self.kept[identity] = self.clock(), "review" in self.given

    @rule(data=st.data())
    def delete(self, data):
        if self.kept:
            gone = data.draw(st.sampled_from(sorted(self.kept)))
            self.store.delete([gone])
            del self.kept[gone]

    @rule(hours=st.integers(1, 30))
    def expire(self, hours):
        self.clock.go(hours=hours)
        self.store.expire()
        self.kept = {one: known for one, known in self.kept.items() if (self.clock() - known[0]).total_seconds() < 2 * 86_400}

    @invariant()
    def holds(self):
        if not hasattr(self, "store"):
            return
        assert {one.id for one in self.store.utterances()} == set(self.kept) and self.store.consented() == self.given
        with self.store.look() as database:
            wrapped = {one for (one,) in database.execute("SELECT utterance FROM wraps WHERE purpose != 'owner'")}
        assert wrapped <= {one for one, (_, review) in self.kept.items() if review}
        assert mismatches(self.store) == []

    def teardown(self):
        if hasattr(self, "store"):
            assert audit.verify(self.store)[1] == []


def test_nothing_random_breaks_what_is_promised(tmp_path):
    Machine.folder = tmp_path
    examples, steps = (200, 50) if os.environ.get("FARFIELD_LONG") else (6, 25)
    run_state_machine_as_test(Machine, settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None))
