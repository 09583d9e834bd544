"""Takes the power from a store at every step of what it does: python tests/power_loss.py. Needs strace.

Each operation of kill_steps.py is run once, its system calls recorded, and replayed: after each one what had not been flushed is
dropped, in parts and in any order (reference/powerless.py), and a store is opened on what is left. It must be what was kept
before or what would be after, and the latter where it had been told that it was done; the rest as in kill_steps.py. --tries: how
many random ways to fail after each call, and as many with a single thing lost or there. --plant: a flush that is left out.
"""

import argparse
import json
import os
import pickle
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path

from farfield.store import keys, records, sealing, utterance
from kill_steps import DAMAGED, OPERATIONS, Case, check, state
from reference import powerless

PLANTS = {
    "": lambda: None,
    "sound": lambda: setattr(sealing._Unfinished, "flush", lambda self: None),
    "names": lambda: [setattr(module, "sync_folder", lambda folder: None) for module in (keys, sealing, utterance, records)],
    "records": lambda: setattr(
        records, "_PRAGMAS", tuple("synchronous = OFF" if "synchronous" in one else one for one in records._PRAGMAS)
    ),
}


def child(name, place, plant):
    """The operation, on its own."""
    case = Case.__new__(Case)
    vars(case).update(pickle.loads((place / "case").read_bytes()))
    PLANTS[plant]()
    OPERATIONS[name](case, case.open() if name != "set up" else None)
    os.write(1, b"done\n")


def run(name, tries=6, plant="", seed=1):
    """How many states were looked at, and what was wrong in any."""
    with tempfile.TemporaryDirectory(dir=Path("/dev/shm") if Path("/dev/shm").is_dir() else None) as place:
        place = Path(place)
        case = Case(place)
        case.copy(DAMAGED.get(name))
        before = state(case) if name != "set up" else None
        start = vars(case.clock).copy()
        OPERATIONS[name](case, case.open() if before else None)
        after = state(case)
        vars(case.clock).update(start)
        case.copy(DAMAGED.get(name))
        if name == "set up":
            (case.folder / "sealed").mkdir(parents=True)
        (place / "case").write_bytes(pickle.dumps(vars(case)))
        disk = powerless.Disk.of(place)
        command = [sys.executable, __file__, "--child", name, "--place", place, "--plant", plant]
        calls = powerless.record(command, place.with_suffix(".trace"))
        place.with_suffix(".trace").unlink()
        looked, wrong = 0, []
        beside = {path for path in disk.sure if not path.startswith((f"{case.folder}/", f"{case.out}/"))}
        for number, done, there in powerless.failures(calls, disk, is_done, powerless.chance(seed), tries):
            for folder in (case.folder, case.out):
                shutil.rmtree(folder, ignore_errors=True)
            (case.folder / "sealed").mkdir(parents=True)
            case.out.mkdir()
            for path, data in there.items():
                if path not in beside:
                    Path(path).write_bytes(data)
            vars(case.clock).update(start)
            looked += 1
            try:
                found = check(case, name, before, after, done, "")
            except (TypeError, OSError, sqlite3.Error) as error:  # of records that are damaged
                found = [repr(error)]
            wrong += [f"{name}, call {number}: {line}" for line in found]
            if len(wrong) > (0 if plant else 10):
                break
        return looked, wrong


def is_done(call):
    name, texts, *_ = call
    return name == "write" and texts[0] == b"done\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("operations", nargs="*", default=list(OPERATIONS), help="capture, delete ... [default: all]")
    parser.add_argument("--tries", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plant", default="", choices=list(PLANTS))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--place", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child:
        child(asked.child, asked.place, asked.plant)
        sys.exit()
    looked, wrong = {}, []
    for name in asked.operations:
        looked[name], found = run(name, asked.tries, asked.plant, asked.seed)
        wrong += found
        print(f"{name}: {looked[name]} states, {len(found)} wrong", file=sys.stderr, flush=True)
    print(json.dumps({"states": looked, "in all": sum(looked.values()), "wrong": wrong[:20]}))
    sys.exit(1 if wrong else 0)
