"""Kills a process at every system call of what a store does: python tests/kill_steps.py.

Each operation (set-up, capture, deletion, rotation of keys ...) is run on a copy of a store as often as it has system calls, and
killed each time at the next one, before the kernel carries it out: after every step that anybody else could see. Then the store
is opened anew: what is kept is what was kept before the operation or what would be after it, and the latter where it had said
that it was done; no plain sound, no record without its file or file without its record, no clip that has left and is not
recalled; an audit log that verifies and grew out of the one before. --stride 7 tries every seventh call. --plant: faults to be
found.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from farfield.store import Settings, Store, audit, log, read_package, records, sealing
from farfield.store import opened as storing
from farfield.store.utterance import sealed_path
from reference.keeping import OPENING, OWNER, POLICY, REVIEWERS, AtOnce, keep, make_store, marked, mismatches, traces
from reference.tracing import run_until

SOUND = marked(99, 0.6)
TRANSCRIPT = "what was said, word by word"


class Case:
    """A store of three utterances of two days, the first offered as a false wake, in a folder; each run works on a copy of it."""

    def __init__(self, place):
        self.before, self.folder, self.out = place / "before", place / "store", place / "out"
        store, self.clock = make_store(self.before, consents=("store", "review", "false-wake"), sample_share=1.0)
        store.writer = AtOnce()
        self.kept = []
        for seed in range(3):
            self.kept.append(keep(store, marked(seed, 0.1)))
            store.attach(self.kept[-1], "transcript", TRANSCRIPT)
            self.clock.go(days=seed == 1)
        store.report(self.kept[0])
        store.offer(self.kept[0], OWNER)
        self.witness = audit.checkpoint(store)

    def copy(self, damage=None):
        """The store as it was, in `folder`, and nothing in `out`."""
        for folder in (self.folder, self.out):
            shutil.rmtree(folder, ignore_errors=True)
        self.out.mkdir()
        shutil.copytree(self.before, self.folder)
        if damage:
            damage(self)

    def open(self):
        return Store(self.folder, clock=self.clock, uptime=self.clock.uptime, writer=AtOnce())


def capture(case, store):
    sealer = store.begin(OPENING)
    for at in range(0, len(SOUND), 1_600):
        sealer.write(SOUND[at : at + 1_600])
    assert sealer.finish(16_000 + len(SOUND)).result(), store.why_not


def abort(case, store):
    sealer = store.begin(OPENING)
    sealer.write(SOUND)
    sealer.abort()


def expire(case, store):
    case.clock.go(days=29, hours=12)
    store.expire()


def rotate(case, store):
    """Other readers, and a smaller sample, from now on."""
    wanted = replace(store.settings(), owner=REVIEWERS.public_key(), reviewers=OWNER.public_key(), sample_a_day=1)
    Store.set_up(case.folder, wanted, clock=case.clock, uptime=case.clock.uptime)


def review(case, store):
    case.clock.go(days=1)
    store.export_review(case.out)


def set_up(case, _=None):
    Store.set_up(case.folder, Settings(OWNER.public_key()), clock=case.clock, uptime=case.clock.uptime)


def nothing_there(case):
    shutil.rmtree(case.folder)


def left_by_the_dead(case):
    """A capture and a deletion that were cut short, and a file that is gone."""
    (case.folder / "sealed" / "dead.partial").write_bytes(b"begun" * 2_000)
    (case.folder / "sealed" / "orphan.sealed").write_bytes(b"no record" * 1_000)
    sealed_path(case.folder, case.kept[1]).unlink()


OPERATIONS = {
    "capture": capture,
    "abort": abort,
    "delete": lambda case, store: store.delete([case.kept[1]]),
    "delete all": lambda case, store: store.delete(case.kept),
    "expire": expire,
    "rotate": rotate,
    "withdraw store": lambda case, store: store.withdraw(["store"]),
    "withdraw review": lambda case, store: store.withdraw(["review", "false-wake"]),
    "give": lambda case, store: store.give(["train"], POLICY),
    "review": review,
    "transcript": lambda case, store: store.attach(case.kept[2], "transcript", "another"),
    "recover": lambda case, store: store.expire(),
    "set up": set_up,
}
DAMAGED = {"recover": left_by_the_dead, "set up": nothing_there}


def run(name, stride=1, plant="", first=1):
    """Kill one operation at each `stride`-th of its system calls from the `first` on: how often, and what was found wrong."""
    with tempfile.TemporaryDirectory(dir=Path("/dev/shm") if Path("/dev/shm").is_dir() else None) as place:
        case, number, kills, wrong, ended = Case(Path(place)), first, 0, [], False
        case.copy(DAMAGED.get(name))
        before = state(case) if name != "set up" else None
        start = vars(case.clock).copy()
        OPERATIONS[name](case, case.open() if before else None)
        after = state(case)
        while not ended and len(wrong) < 10:
            case.copy(DAMAGED.get(name))
            vars(case.clock).update(start)
            reading, telling = os.pipe()

            def work(telling=telling):
                PLANTS[plant](case)
                if plant == "early":
                    os.write(telling, b"done")
                OPERATIONS[name](case, case.open() if before else None)
                os.write(telling, b"done")

            _, ended = run_until(work, number)
            os.close(telling)
            with os.fdopen(reading, "rb") as pipe:
                done = pipe.read().startswith(b"done")
            kills += not ended
            wrong += [f"{name}, call {number}: {line}" for line in check(case, name, before, after, done, plant)]
            number += stride
    return kills, wrong


def state(case):
    """What is kept and what it may be used for, by names that do not change from run to run."""
    store = case.open()
    store.utterances()  # undoes what the dead had begun
    with store.look() as database:
        wraps = database.execute("SELECT utterance, purpose FROM wraps").fetchall()
    known = {identity: n for n, identity in enumerate(case.kept)}
    return (sorted(known.get(one.id, -1) for one in store.utterances()), sorted(store.consented()),
            sorted((known.get(identity, -1), purpose) for identity, purpose in wraps),
            store.settings().owner.public_bytes_raw())  # fmt: skip


def check(case, name, before, after, done, plant):
    if name == "set up" and not done:
        set_up(case)  # it can be done again, whatever is there already
        before = after
    wrong = [f"plain sound: {where}" for where in traces(case.folder, SOUND[:3_200])]
    for path in case.out.iterdir():
        if path.suffix == ".json":
            read_package(path.read_bytes(), REVIEWERS)
    try:
        store = case.open()
        storing.recover = {"orphan": lambda *_: None, "late": forget_files}.get(plant, sealing.recover)
        now, allowed = state(case), [after] if done else [before, after]
        wrong += [] if now in allowed else [f"is {now}, wanted one of {allowed}"]
        wrong += mismatches(store)
        wrong += audit.verify(store, [case.witness] if name != "set up" else [])[1]
        left = {path.stem for path in case.out.iterdir() if path.suffix == ".json"}
        recalled = store.delete(case.kept).recalled if left else ()
        wrong += [f"{alias}: has left and is not recalled" for alias in left - set(recalled)]
    except ValueError as error:
        wrong.append(str(error))
    finally:
        storing.recover = sealing.recover
    return wrong


def forget_files(folder, _):
    """Undoes only half of what the dead had begun."""
    for path in (folder / "sealed").glob("*.partial"):
        path.unlink()


def plain(case):
    real = sealing.FileSealing.write

    def write(self, samples):
        real(self, samples)
        with open(case.folder / "plain.raw", "ab") as file:
            file.write(samples.tobytes())

    sealing.FileSealing.write = write


def late(case):
    """The record comes first, and the file after it."""
    real, names = sealing.FileSealing.finish, []

    def finish(self, end):
        identity = real(self, end)
        os.rename(self._unfinished.path, names[0])
        return identity

    sealing._Unfinished.become = lambda self, path: names.append(path)
    sealing.FileSealing.finish = finish


def journal(case):
    """Nothing to fall back on where a change is cut short."""
    records._PRAGMAS = tuple("journal_mode = OFF" if "journal_mode" in one else one for one in records._PRAGMAS)


def apart(case):
    """The log is written in a transaction of its own."""
    real = log.Log.write

    def write(self, database):
        database.execute("COMMIT")
        database.execute("BEGIN IMMEDIATE")
        return real(self, database)

    log.Log.write = write


def nothing(case):
    """No fault in the child: early says that it is done before it is, orphan does not undo what the dead had begun."""


PLANTS = {"": nothing, "orphan": nothing, "early": nothing, "plain": plain, "late": late, "journal": journal, "apart": apart}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("operations", nargs="*", default=list(OPERATIONS), help="capture, delete ... [default: all]")
    parser.add_argument("--stride", type=int, default=1)
    parser.add_argument("--from", dest="first", type=int, default=1, help="The first call to kill at.")
    parser.add_argument("--plant", default="", choices=list(PLANTS))
    asked = parser.parse_args()
    kills, wrong = {}, []
    for name in asked.operations:
        kills[name], found = run(name, asked.stride, asked.plant, asked.first)
        wrong += found
        print(f"{name}: {kills[name]} kills, {len(found)} wrong", file=sys.stderr, flush=True)
    print(json.dumps({"kills": kills, "in all": sum(kills.values()), "wrong": wrong[:20]}))
    sys.exit(1 if wrong else 0)
