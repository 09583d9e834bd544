"""What the tests of the store share: a store with a clock of its own, marked sound, and a search for it on the disk."""

import base64
import json
import random
from collections import deque
from concurrent.futures import Executor, Future
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from farfield.capture import Opening
from farfield.store import Policy, Settings, Store

OWNER = X25519PrivateKey.from_private_bytes(bytes(range(32)))
REVIEWERS = X25519PrivateKey.from_private_bytes(bytes(range(1, 33)))
POLICY = Policy.of(b"a policy", "7")
OPENING = Opening("alexa", 0.98, 3, 16_000, 24_000, 32_000, 45.0)
RATE = 16_000


class AtOnce(Executor):
    """Does what it is given at once, on the caller's thread: a store's writer where each step is to be one of one thread."""

    def submit(self, work, *arguments, **named):
        done = Future()
        try:
            done.set_result(work(*arguments, **named))
        except BaseException as error:
            done.set_exception(error)
        return done


class Later(Executor):
    """Does what it is given when it is told to, or when somebody waits for the result: a writer that is behind."""

    def __init__(self):
        self._waiting = deque()

    def submit(self, work, *arguments, **named):
        done = _Due(self)
        self._waiting.append((done, partial(work, *arguments, **named)))
        return done

    def go(self, steps=1):
        for _ in range(min(steps, len(self._waiting))):
            done, work = self._waiting.popleft()
            try:
                done.set_result(work())
            except BaseException as error:
                done.set_exception(error)


class _Due(Future):
    def __init__(self, writer):
        super().__init__()
        self._writer = writer

    def result(self, timeout=None):
        while not self.done():
            self._writer.go()
        return super().result(timeout)


class Clock:
    """A date, and a machine's uptime, that tests move: time passes for both, or the clock alone is set, or the machine is off."""

    def __init__(self, start=datetime(2026, 11, 25, 9, 30, tzinfo=UTC)):
        self.now, self.true, self.starts, self.up = start, start, 1, 0

    def __call__(self):
        return self.now

    def uptime(self):
        return str(self.starts), self.up

    def go(self, **time):
        passed = timedelta(**time)
        self.now += passed
        self.true += passed
        self.up += passed // timedelta(microseconds=1) * 1_000

    def set(self, to=None, **time):
        self.now = (to or self.now) + timedelta(**time)

    def restart(self, boots_at=None, **time_off):
        self.go(**time_off)
        self.starts, self.up, self.now = self.starts + 1, 0, boots_at or self.now


def make_store(folder, clock=None, seed=1, consents=("store",), **wanted):
    """A store with the owner's and the reviewers' keys above, and its clock."""
    clock = clock or Clock()
    settings = Settings(OWNER.public_key(), **{"reviewers": REVIEWERS.public_key()} | wanted)
    made = Store.set_up(folder, settings, clock=clock, uptime=clock.uptime)
    made.chance = random.Random(seed)
    if consents:
        made.give(consents, POLICY)
    return made, clock


def marked(seed, seconds=0.2):
    """Sound that no other seed gives: full-band noise, int16."""
    return np.random.default_rng(seed).integers(-20_000, 20_000, round(seconds * RATE)).astype(np.int16)


def keep(store, samples, opening=OPENING, block=512):
    """Keep an utterance; its id, or "" where it is not kept."""
    sealing = store.begin(opening)
    if sealing is None:
        return ""
    for at in range(0, len(samples), block):
        sealing.write(samples[at : at + block])
    return sealing.finish(opening.start + len(samples)).result()


def encodings(samples, window=16, step=160):
    """Every `step` samples a stretch of `window`, in each encoding in which sound could lie on a disk: (encoding, bytes)."""
    forms = ("<i2", ">i2", "<f4", "<f8", "<i4")
    for at in range(0, len(samples) - window, step):
        part = samples[at : at + window]
        for form in forms:
            yield form, part.astype(form).tobytes()
        for form in ("<f4", "<f8"):
            yield f"{form} of 1", (part / 32_768).astype(form).tobytes()
        yield "hex", part.astype("<i2").tobytes().hex().encode()
        for skip in range(3):  # base64 of a stream that the part lies in at any place
            yield "base64", base64.b64encode(part.astype("<i2").tobytes()[skip:])[: (2 * window - skip) // 3 * 4]
        yield "JSON", ", ".join(map(str, part.tolist())).encode()


def files(folder):
    return [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]


def traces(folder, samples):
    """Where on the disk the sound lies plain: (file, encoding)."""
    held = [(path, path.read_bytes()) for path in files(folder)]
    return sorted({(path.name, form) for form, data in encodings(samples) for path, whole in held if data in whole})


def mismatches(store):
    """What of records, wraps and files does not fit, as somebody sees it who reads the folder and knows nothing of the store."""
    with store.look() as database:
        recorded = {identity for (identity,) in database.execute("SELECT id FROM utterances")}
        owned = {identity for (identity,) in database.execute("SELECT utterance FROM wraps WHERE purpose = 'owner'")}
    present = {path.name for path in (store.folder / "sealed").iterdir()}
    wrong = [f"{name}: a file without a record" for name in sorted(present - {f"{identity}.sealed" for identity in recorded})]
    wrong += [f"{identity}: a record without its file" for identity in sorted(recorded) if f"{identity}.sealed" not in present]
    return wrong + [f"{identity}: without the owner's wrap" for identity in sorted(recorded ^ owned)]


def leaves(store):
    """The log's entries."""
    with store.look() as database:
        return [json.loads(leaf) for (leaf,) in database.execute("SELECT leaf FROM log ORDER BY position")]
