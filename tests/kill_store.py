"""Kills a process that keeps, deletes and rotates, at random times: python tests/kill_store.py --kills 1000.

A child opens the store, and keeps, deletes, expires, changes keys and consents until SIGKILL comes: within a tenth of a second
after it began, or after it has told of up to eight operations. Then a new store is opened on what is there: no plain sound, no
record without its file or file without its record, nothing that was reported deleted, everything that was reported kept and not
deleted, and an audit log that verifies and grew out of the last checkpoint. Every 250 kills begin a new store.
--plant orphan: a store that does not recover; plain: one that writes plain sound; early: one that says deleted before it has.
Each must be found. What is kept is in the kernel's hands when the process dies; tests of power that fails are none of these.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from farfield.store import Store, audit, opened
from reference.keeping import OPENING, OWNER, POLICY, REVIEWERS, AtOnce, Clock, keep, make_store, marked, mismatches, traces

SOUND = marked(99, 0.5)
KILLS_A_STORE = 250


def work(folder, told, seed, plant):
    """The child: what it has done it tells, a line at a time, after it is done; "?" before a deletion, whose end is then open."""
    chance, tell = random.Random(seed), lambda line: os.write(told, f"{line}\n".encode())
    opened = Store(folder, clock=Clock(), chance=chance)  # what it seals is written by a thread of its own
    opened.utterances()
    tell("!")
    while True:
        what = chance.randrange(10)
        kept = [one.id for one in opened.utterances()]
        if what < 4 or not kept:
            if plant == "plain":
                (folder / "plain.raw").write_bytes(SOUND.tobytes())
            sealing = opened.begin(OPENING)
            for at in range(0, len(SOUND), 512):
                sealing.write(SOUND[at : at + 512])
            if what == 3:
                sealing.abort()
            else:
                tell(f"+{sealing.finish(20_000).result()}")
        elif what < 6:
            gone = chance.choice(kept)
            tell(f"{'-' if plant == 'early' else '?'}{gone}")
            opened.delete([gone])
            tell(f"-{gone}")
        elif what == 6:  # other keys of the owner's and the reviewers'
            keys = {who: chance.choice([OWNER, REVIEWERS]).public_key() for who in ("owner", "reviewers")}
            Store.set_up(folder, replace(opened.settings(), **keys), clock=Clock())
        elif what == 7:
            opened.withdraw(["review"])
            opened.give(["review"], POLICY)
        elif what == 8:
            opened.attach(chance.choice(kept), "transcript", "what was said")
        else:
            opened.expire()


def kill(folder, chance, plant):
    """Lets a child work and kills it: what it told."""
    reading, telling = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            work(folder, telling, chance.random(), plant)
        finally:
            os._exit(1)
    os.close(telling)
    with os.fdopen(reading, "rb", buffering=0) as pipe:
        told, enough = b"", chance.choice([0, 1, 2, 4, 8])  # however busy the machine is, it gets somewhere
        while told.count(b"\n") < enough and (more := pipe.read(4_096)):
            told += more
        time.sleep(chance.uniform(0, 0.1))  # when to kill: chance, not synchronisation
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            raise RuntimeError("the child ended by itself")
        return [line.decode() for line in (told + pipe.read()).split(b"\n")[:-1]]


def kill_often(kills, chance, plant, counts):
    """Kills on one store, while nothing is wrong: what is."""
    wrong, expected, deleted, witness = [], set(), set(), ""
    with tempfile.TemporaryDirectory(dir=Path("/dev/shm") if Path("/dev/shm").is_dir() else None) as place:
        folder = Path(place) / "store"
        made, _ = make_store(folder, consents=("store", "review"), sample_share=0.5)
        made.writer = AtOnce()  # no thread may be there when a child is forked
        expected.add(keep(made, SOUND))
        while kills and not wrong:
            kills -= 1
            said = kill(folder, chance, plant)
            done = {line[1:] for line in said if line[0] == "-"}
            begun = {line[1:] for line in said if line[0] == "?"} - done
            kept = {line[1:] for line in said if line[0] == "+"}
            counts["kept"] += len(kept)
            counts["deleted"] += len(done)
            counts["operations"] += sum(line[0] in "+-" for line in said)
            deleted |= done
            expected = (expected | kept) - done
            if kills % 10 == 0 or plant:
                wrong += [f"plain sound: {where}" for where in traces(folder, SOUND)]
            again = Store(folder, clock=Clock())
            now = {one.id for one in again.utterances()}
            wrong += mismatches(again)
            wrong += [f"{one}: came back" for one in now & deleted]
            wrong += [f"{one}: was kept, and is gone" for one in expected - now - begun]
            expected = now
            wrong += audit.verify(again, [witness] if witness else [])[1]
            witness = audit.checkpoint(again)
            counts["kills"] += 1
            if len(now) > 12:
                deleted |= set(again.delete(sorted(now)).utterances)
                expected = set()
    return wrong


def run(kills, seed, plant=""):
    """Counts, and what was found wrong."""
    chance, counts, wrong = random.Random(seed), dict.fromkeys(("kills", "operations", "kept", "deleted"), 0), []
    if plant == "orphan":
        opened.recover = lambda *_: None
    while counts["kills"] < kills and not wrong:
        wrong = kill_often(min(kills - counts["kills"], KILLS_A_STORE), chance, plant, counts)
    return counts | {"wrong": wrong[:20]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plant", default="", choices=["", "orphan", "plain", "early"])
    asked = parser.parse_args()
    figures = run(asked.kills, asked.seed, asked.plant)
    print(json.dumps(figures))
    sys.exit(1 if figures["wrong"] else 0)
