"""How long keeping holds up the listening: PYTHONPATH=tests python benchmarks/held.py --folder DIR --seconds 60. Milliseconds, as
JSON.

A listener on one microphone hears noise in real time, blocks of 10 ms, and keeps an utterance every few seconds in a store in
DIR, which should lie on the disk that is meant. `block` is how long each block took, `changing` those with which an utterance
began or ended, and `without` the same sound without a store: what the chain itself takes.
"""

import argparse
import json
import random
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from farfield import Block, Chain, Model, load_profile
from farfield.capture.listener import Listener
from farfield.store import Policy, Settings, Store
from reference.networks import random_network

RATE, FRAMES = 16_000, 160


def model():
    """Finds its word in anything, every few seconds."""
    return Model(network=random_network(1, features=40), card={}, word="always", smoothing_steps=3, refractory_ms=3_000,
                 word_ms=300, end_lag_ms=0, threshold=0.4)  # fmt: skip


def sound(seconds):
    """A second of noise, and three that are almost silent."""
    rng = np.random.default_rng(1)
    level = np.where(np.arange(seconds * RATE) // RATE % 4 == 0, 3_000, 3)
    return (rng.normal(0, 1, seconds * RATE) * level).clip(-32_768, 32_767).astype(np.int16)


def held(samples, keeper):
    """Milliseconds by block, and whether an utterance ended with it; how many were kept; in real time."""
    ended, took, pace = [], [], threading.Event()  # never set
    chain = Chain(load_profile("single"), [model()])
    with Listener(chain, keeper, ended=ended.append) as listener:
        begun = time.monotonic()
        for at in range(0, len(samples), FRAMES):
            pace.wait(max(0.0, begun + (at + FRAMES) / RATE - time.monotonic()))
            before, was = time.perf_counter_ns(), listener.state
            listener.process(Block(samples[at : at + FRAMES, None].copy(), at))
            took.append(((time.perf_counter_ns() - before) / 1e6, was is not listener.state))
    return took, sum(bool(one.kept) for one in ended), [one.reason for one in ended]


def told(milliseconds):
    half, most, largest = np.quantile(milliseconds, [0.5, 0.99, 1.0]) if milliseconds else (0, 0, 0)
    return {"blocks": len(milliseconds), "median": round(half, 2), "p99": round(most, 2), "largest": round(largest, 2)}


def run(folder, seconds):
    samples = sound(seconds)
    without, *_ = held(samples[: 10 * RATE], None)
    with tempfile.TemporaryDirectory(dir=folder) as place:
        store = Store.set_up(Path(place) / "store", Settings(X25519PrivateKey.generate().public_key()))
        store.chance = random.Random(1)
        store.give(["store"], Policy.of(b"text", "1"))
        took, kept, reasons = held(samples, Store(store.folder))
    return {"kept": kept, "reasons": {one: reasons.count(one) for one in sorted(set(reasons))},
            "block": told([one for one, _ in took]), "changing": told([one for one, changed in took if changed]),
            "without": told([one for one, _ in without])}  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("."))
    parser.add_argument("--seconds", type=int, default=60)
    asked = parser.parse_args()
    print(json.dumps(run(asked.folder, asked.seconds)))
