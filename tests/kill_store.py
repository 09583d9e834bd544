"""Kills a process that keeps, deletes and rotates, at random times: python tests/kill_store.py --kills 1000.

A child opens the store, and keeps, deletes, expires and changes keys until SIGKILL comes, after 0 to 60 ms. Then a new
store is opened on what is there: no plain sound, no record without its file or file without its record, nothing that was reported
deleted, everything that was reported kept and not deleted, and an audit log that verifies and grew out of the last checkpoint.
--plant orphan: a store that does not recover; --plant plain: one that writes plain sound. Each must be found.
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

from farfield.store import Store, audit, store
from reference.keeping import OPENING, OWNER, REVIEWERS, Clock, make_store, marked, mismatches, traces

SOUND = marked(99, 0.2)


def work(folder, told, seed, plant):
    """The child: what it has done it tells, a line at a time, after it is done; "-" before a deletion, whose end is then open."""
    chance = random.Random(seed)
    opened = Store(folder, clock=Clock(), chance=chance)
    while True:
        what = chance.randrange(8)
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
                os.write(told, f"+{sealing.finish(20_000)}\n".encode())
        elif what < 6:
            gone = chance.choice(kept)
            os.write(told, f"?{gone}\n".encode())
            opened.delete([gone])
            os.write(told, f"-{gone}\n".encode())
        elif what == 6:
            owner = chance.choice([OWNER, REVIEWERS]).public_key()  # a rotation of the owner's key
            Store.set_up(folder, replace(opened.settings(), owner=owner), clock=Clock())
        else:
            opened.expire()


def run(kills, seed, plant=""):
    """Counts, and what was found wrong."""
    chance, wrong, counts = random.Random(seed), [], {"kills": 0, "kept": 0, "deleted": 0}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "store"
        make_store(folder, consents=("store", "review"), sample_share=0.5)
        expected, deleted, witness = set(), set(), ""
        if plant == "orphan":
            store.recover = lambda *_: None
        while counts["kills"] < kills and not wrong:
            reading, telling = os.pipe()
            child = os.fork()
            if child == 0:
                os.close(reading)
                work(folder, telling, chance.random(), plant)
            os.close(telling)
            time.sleep(chance.uniform(0, 0.06))  # when to kill: chance, not synchronisation
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            with os.fdopen(reading) as lines:
                said = [line.strip() for line in lines if line.endswith("\n")]
            done = {line[1:] for line in said if line[0] == "-"}
            begun = {line[1:] for line in said if line[0] == "?"} - done
            expected |= {line[1:] for line in said if line[0] == "+"}
            deleted |= done
            expected -= done
            counts["kills"] += 1
            plain = traces(folder, SOUND) if counts["kills"] % 10 == 1 or plant else []
            wrong += [f"plain sound: {where}" for where in plain]
            again = Store(folder, clock=Clock())
            now = {one.id for one in again.utterances()}
            wrong += mismatches(again)
            wrong += [f"{one}: came back" for one in now & deleted]
            wrong += [f"{one}: was kept, and is gone" for one in expected - now - begun]
            expected = now
            wrong += audit.verify(again, [witness] if witness else [])[1]
            witness = audit.checkpoint(again)
            if len(now) > 12:
                deleted |= set(again.delete(sorted(now)).utterances)
                expected = set()
        counts |= {"deleted": len(deleted), "kept": len(expected) + len(deleted)}
    return counts | {"wrong": wrong[:20]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plant", default="", choices=["", "orphan", "plain"])
    asked = parser.parse_args()
    figures = run(asked.kills, asked.seed, asked.plant)
    print(json.dumps(figures))
    sys.exit(1 if figures["wrong"] else 0)
