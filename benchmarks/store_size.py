"""What a store of many utterances costs: python benchmarks/store_size.py --count 100000. CPU seconds, a line each, as JSON.

Utterances without their sound, which is not opened here, a wrap each; in memory, where there is /dev/shm.
"""

import argparse
import json
import os
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from farfield.capture import Opening
from farfield.store import Policy, Settings, Store, Utterance, audit, utterance
from farfield.store.utterance import sealed_path

BODY = b"sealed" * 20


def timed(what, work):
    """Do it, say how many CPU seconds it took, and give what it gave."""
    begun, wall = time.process_time(), time.perf_counter()
    made = work()
    spent = {"what": what, "cpu_s": round(time.process_time() - begun, 3), "wall_s": round(time.perf_counter() - wall, 3)}
    print(json.dumps(spent), flush=True)
    return made


def fill(store, count):
    """Records, wraps and files of so many utterances: their ids."""
    wrap, ids = os.urandom(200), []
    with store.change() as change:
        for _ in range(count):
            kept = Utterance(os.urandom(16).hex(), change.at, change.age, 16_000, "alexa", sha256(BODY).digest(), b"",
                             train=False, reported=False)  # fmt: skip
            utterance.add(change, utterance.signed(kept, wrap, store.device.signing), wrap)
            sealed_path(store.folder, kept.id).write_bytes(BODY)
            ids.append(kept.id)
    return ids


def keep(store):
    sealing = store.begin(Opening("alexa", 0.9, 0, 0, 8_000, 16_000, None))
    assert sealing is not None and sealing.finish(16_000).result(), store.why_not


def run(folder, count):
    made = Store.set_up(folder, Settings(X25519PrivateKey.generate().public_key()))
    made.give(["store"], Policy.of(b"text", "1"))
    ids = timed("fill", lambda: fill(made, count))
    store = Store(folder)
    timed("open, list", store.utterances)
    timed("list", store.utterances)
    timed("find one", lambda: store.find(ids[5][:12]))
    timed("keep one", lambda: keep(store))
    timed("expire, none", store.expire)
    timed("delete one", lambda: store.delete(ids[:1]))
    assert timed("verify", lambda: audit.verify(store))[1] == []
    timed("delete half", lambda: store.delete(ids[1 : count // 2]))
    timed("withdraw", lambda: store.withdraw(["store"]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path("/dev/shm") if Path("/dev/shm").is_dir() else None) as place:
        run(Path(place) / "store", asked.count)
