"""What reviewers get: a uniform sample, capped; names that link nothing; and not a field more."""

import base64
import json
import os
import random
from collections import Counter
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from farfield.errors import InputError
from farfield.store import Store, audit, names, read_package, sampling
from farfield.store.sampling import DAY, draw, taken_by
from reference.keeping import OWNER, POLICY, REVIEWERS, files, keep, make_store, marked

FIELDS = {"kind", "alias", "pseudonym", "hour", "why", "train", "wrap", "sealed", "signature"}


@pytest.fixture
def reviewed(tmp_path):
    """A store that gives everything to reviewers, with three clips of one hour, and a folder for packages."""
    store, clock = make_store(tmp_path / "store", consents=("store", "review"), sample_share=1.0)
    (tmp_path / "out").mkdir()
    for seed in range(3):
        keep(store, marked(seed))
        clock.go(minutes=7, seconds=11)
    return store, clock, tmp_path / "out"


def packages(folder):
    return {path.stem: json.loads(path.read_text()) for path in folder.iterdir()}


def test_nothing_leaves_before_its_day_is_over_and_nothing_twice(reviewed):
    store, clock, out = reviewed
    assert store.export_review(out) == []
    clock.go(hours=14)
    clock.now = clock.now.replace(hour=23, minute=59, second=59)
    assert clock.now.day == 25 and store.export_review(out) == []
    clock.go(seconds=1)
    aliases = store.export_review(out)
    assert len(set(aliases)) == 3 and set(packages(out)) == set(aliases)
    assert store.export_review(out) == []


def test_a_package_holds_the_sound_and_what_is_listed_and_nothing_else(reviewed):
    store, clock, out = reviewed
    kept = store.utterances()
    clock.go(days=1)
    store.export_review(out)
    told = packages(out)
    sounds = []
    for alias, stated in told.items():
        assert set(stated) == FIELDS
        assert (stated["alias"], stated["hour"], stated["why"], stated["train"]) == (
            alias,
            "2026-11-25T09:00:00Z",
            "sample",
            False,
        )
        clip = read_package(json.dumps(stated).encode(), REVIEWERS)
        assert (clip.word, clip.word_start, clip.word_end, clip.score) == ("alexa", 8_000, 16_000, 0.98)
        sounds.append(clip.samples)
        assert (out / f"{alias}.json").stat().st_mtime == 0
        with pytest.raises(InputError, match="does not open"):
            read_package(json.dumps(stated).encode(), OWNER)
    assert {sound.tobytes() for sound in sounds} == {marked(seed).tobytes() for seed in range(3)}
    secrets = [one.id for one in kept] + [one.signature.hex() for one in kept] + [str(one.at) for one in kept]
    secrets += [key.public_bytes_raw().hex() for key in (store.device.public, store.settings().owner)] + [
        store.device.naming.hex()
    ]
    for path in files(out):
        text = path.read_text()
        assert not [secret for secret in secrets if secret in text]
        raw = base64.b64decode(json.loads(text)["sealed"])
        assert not [secret for secret in secrets if secret.encode() in raw]
        assert not [secret for secret in secrets if len(secret) > 20 and bytes.fromhex(secret) in raw]


def test_what_was_changed_on_the_way_is_refused(reviewed):
    store, clock, out = reviewed
    clock.go(days=1)
    store.export_review(out)
    one, other, _ = packages(out).values()
    for change in ({"alias": other["alias"]}, {"hour": "2026"}, {"train": True}, {"wrap": other["wrap"]},
                   {"sealed": other["sealed"]}, {"serial": "1234"}, {"pseudonym": "00" * 32}, {"signature": "00"}):  # fmt: skip
        with pytest.raises(InputError, match="review package"):
            read_package(json.dumps(one | change).encode(), REVIEWERS)
    for data in (b"", b"[]", b"{}", b"\xff", b"5", json.dumps(one).encode()[:-2], b" " * 5_000_000):
        with pytest.raises(InputError, match="review package"):
            read_package(data, REVIEWERS)


def test_packages_cut_short_are_written_again_under_the_same_names(reviewed, monkeypatch):
    store, clock, out = reviewed
    clock.go(days=1)
    real, done = os.rename, []

    def rename(source, target):
        if str(target).endswith(".json"):
            if done:
                raise OSError(28, "No space left on device")
            done.append(target)
        real(source, target)

    with monkeypatch.context() as patched:
        patched.setattr("os.rename", rename)
        with pytest.raises(InputError, match="No space left"):
            store.export_review(out)
    first = set(packages(out)) - {path.stem for path in out.iterdir() if path.name.startswith(".")}
    assert len(first) == 1
    second = set(store.export_review(out))
    assert len(second) == 2 and first | second == {path.stem for path in out.iterdir()}


def test_without_review_consent_there_is_no_wrap_and_nothing_leaves(tmp_path):
    store, clock = make_store(tmp_path, consents=("store", "train"), sample_share=1.0)
    keep(store, marked(1))
    store.give(["review"], POLICY)
    clock.go(days=1)
    assert store.export_review(tmp_path) == [], "consent is not for what was kept before"
    no_key, clock = make_store(tmp_path / "b", consents=("store", "review"), sample_share=1.0, reviewers=None)
    assert keep(no_key, marked(1))
    clock.go(days=1)
    assert no_key.export_review(tmp_path) == []


class Table:
    """The draws and wraps of a store in memory: what sampling works on, without the rest."""

    def __init__(self):
        import sqlite3

        self.execute = sqlite3.connect(":memory:", isolation_level=None).execute
        self.execute("CREATE TABLE draws (day INTEGER PRIMARY KEY, selected INTEGER, places INTEGER, closed INTEGER)")
        self.execute("CREATE TABLE wraps (utterance TEXT, purpose TEXT, day INTEGER, slot INTEGER)")

    def day(self, count, settings, chance, drawing=draw, at=0):
        """Which of a day's utterances are in the sample at its end."""
        for n in range(count):
            place = drawing(self, at, settings, chance)
            if place is not None:
                self.execute("DELETE FROM wraps WHERE utterance = ?", (taken_by(self, at, place),))
                self.execute("INSERT INTO wraps VALUES (?, 'review', ?, ?)", (str(n), at // DAY, place))
        return [int(n) for (n,) in self.execute("SELECT utterance FROM wraps WHERE day = ?", (at // DAY,))]


def settings(**wanted):
    from farfield.store import Settings

    return Settings(OWNER.public_key(), REVIEWERS.public_key(), **wanted)


def first_come(change, at, settings, chance):
    """A planted fault: the first of the day fill the cap."""
    if chance.random() >= settings.sample_share:
        return None
    (taken,) = change.execute("SELECT count(*) FROM wraps").fetchone()
    return taken if taken < settings.sample_a_day else None


def p_of_uniform(drawing, seed, share, days=1500, count=30):
    """p-value of chi-square: is each of a day's utterances in the sample equally often? Also the largest sample."""
    chance, often, most = random.Random(seed), Counter(), 0
    for _ in range(days):
        sample = Table().day(count, settings(sample_share=share), chance, drawing)
        most = max(most, len(sample))
        often.update(sample)
    return stats.chisquare([often[n] for n in range(count)]).pvalue, most, sum(often.values())


def test_sampling_is_uniform_below_the_cap_and_at_it():
    for share, expected in ((0.1, None), (0.5, None), (1.0, 1500 * 5)):
        p, most, total = p_of_uniform(draw, 11, share)
        assert p > 1e-3 and most <= 5 and expected in (None, total)


def test_a_sample_that_prefers_the_morning_is_caught():
    assert p_of_uniform(first_come, 11, 0.5)[0] < 1e-9


def test_the_share_is_the_one_that_was_set():
    chance, table = random.Random(5), Table()
    (selected,) = (sum(draw(table, n * DAY, settings(sample_on_device=10**6), chance) is not None for n in range(20_000)),)
    assert stats.binomtest(selected, 20_000, 0.01).pvalue > 1e-3


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(0, 3), st.integers(0, 6), st.integers())
def test_no_day_and_no_device_ever_exceeds_its_cap(days, a_day, on_device, seed):
    table, chance = Table(), random.Random(seed)
    for n, day in enumerate(days):
        wanted = settings(sample_share=1.0, sample_a_day=a_day, sample_on_device=on_device)
        place = draw(table, day * DAY, wanted, chance)
        if place is not None:
            table.execute("DELETE FROM wraps WHERE utterance = ?", (taken_by(table, day * DAY, place),))
            table.execute("INSERT INTO wraps VALUES (?, 'review', ?, ?)", (str(n), day, place))
        held = Counter(day for (day,) in table.execute("SELECT day FROM wraps"))
        assert max(held.values(), default=0) <= a_day and sum(held.values()) <= on_device


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 6)), max_size=60), st.integers())
def test_nor_do_they_where_the_settings_change_in_between(steps, seed):
    """Whatever a day and the device were allowed at most, that is the most they give."""
    table, chance, given, often = Table(), random.Random(seed), Counter(), []
    for day, a_day, on_device in steps:
        often.append((a_day, on_device))
        place = draw(table, day * DAY, settings(sample_share=1.0, sample_a_day=a_day, sample_on_device=on_device), chance)
        if place is not None:
            given[day] = max(given[day], place + 1)
            assert given[day] <= max(a_day for a_day, _ in often)
            assert place < a_day and sum(given.values()) <= max(on_device for _, on_device in often)


def recorded(store, sql, *values):
    with store.look() as database:
        return database.execute(sql, values).fetchall()


def wraps(store):
    return len(recorded(store, "SELECT 1 FROM wraps WHERE purpose = 'review'"))


def test_less_that_reviewers_may_get_is_for_what_waits_too(tmp_path):
    store, clock = make_store(tmp_path, consents=("store", "review"), sample_share=1.0)
    for seed in range(12):
        if seed % 4 == 0:
            clock.go(days=1)
        keep(store, marked(seed, 0.02))
    assert wraps(store) == 12
    for wanted, left in (({"sample_on_device": 10}, 10), ({"sample_a_day": 2}, None), ({"sample_on_device": 0}, 0)):
        again = Store.set_up(tmp_path, replace(store.settings(), **wanted), clock=clock, uptime=clock.uptime)
        assert wraps(again) == left or (left is None and wraps(again) <= 6)
    assert audit.verify(store)[1] == []


def test_what_left_to_earlier_reviewers_is_still_recalled_and_does_not_leave_again(tmp_path):
    store, clock = make_store(tmp_path / "store", consents=("store", "review"), sample_share=1.0)
    (out := tmp_path / "out").mkdir()
    identity = keep(store, marked(1))
    clock.go(days=1)
    aliases = store.export_review(out)
    other = X25519PrivateKey.generate().public_key()
    again = Store.set_up(store.folder, replace(store.settings(), reviewers=other), clock=clock, uptime=clock.uptime)
    assert again.export_review(out) == []
    assert list(again.delete([identity]).recalled) == aliases


def test_who_withdraws_while_clips_are_written_stops_the_rest(reviewed, monkeypatch):
    from farfield.store import review

    store, clock, out = reviewed
    clock.go(days=1)
    real, written = review.write, []

    def write(change, alias, *others):
        if written and consent_given(change):
            return real(change, alias, *others)
        written.append(alias)
        return real(change, alias, *others)

    def consent_given(change):
        return change.execute("SELECT given FROM consents WHERE purpose = 'review' ORDER BY position DESC").fetchone()[0]

    waiting = iter([lambda: None, lambda: other.withdraw(["review"])])
    other, change = Store(store.folder, clock=clock, uptime=clock.uptime), store.change

    def changing():
        next(waiting, lambda: None)() if written else None
        return change()

    monkeypatch.setattr(review, "write", write)
    monkeypatch.setattr(store, "change", changing)
    aliases = store.export_review(out)
    assert 1 <= len(aliases) < 3 and {path.stem for path in out.iterdir()} == set(aliases)


def test_what_is_past_its_retention_does_not_leave(reviewed):
    store, clock, out = reviewed
    clock.go(days=31)
    assert store.export_review(out) == [] and store.utterances() == [] and list(out.iterdir()) == []


def test_a_closed_day_gives_no_more_whatever_was_deleted(tmp_path):
    table = Table()
    assert len(table.day(9, settings(sample_share=1.0), random.Random(1))) == 5
    sampling.close(table, DAY)
    table.execute("DELETE FROM wraps")
    assert table.day(9, settings(sample_share=1.0), random.Random(1)) == []


def serial_hash(serial, secret, epoch):
    """A planted fault: a pseudonym that anyone can make who knows the serial number."""
    return sha256(f"{serial}:{epoch}".encode()).hexdigest()


def keyed(serial, secret, epoch):
    return names.pseudonym(secret, epoch * 30 * DAY, 30)


def linked(naming, devices=120):
    """How many devices somebody links over two epochs who knows all serial numbers, the code, and both epochs' pseudonyms.

    They try each serial number, and each pseudonym they have seen, as what the names are made of, and after that take the most
    similar names to be one device's.
    """
    chance = random.Random(3)
    known = [(f"SN{n:06d}", chance.randbytes(32)) for n in range(devices)]
    before, after = ([naming(*device, epoch) for device in known] for epoch in (700, 701))
    shuffled = sorted(after)
    guesses = {}
    for name in before:
        tries = [(serial, serial.encode()) for serial, _ in known] + [(name, bytes.fromhex(name)), ("", bytes(32))]
        for serial, guessed in tries:
            made = naming(serial, guessed, 700), naming(serial, guessed, 701)
            if made[0] == name and made[1] in shuffled:
                guesses[name] = made[1]
    bits = {name: np.unpackbits(np.frombuffer(bytes.fromhex(name), np.uint8)).astype(int) for name in before + after}
    for name in set(before) - set(guesses):
        guesses[name] = min(shuffled, key=lambda other: int(np.abs(bits[name] - bits[other]).sum()))
    return sum(guesses[name] == other for name, other in zip(before, after, strict=True))


def test_pseudonyms_of_two_epochs_cannot_be_linked_and_those_of_a_serial_number_can():
    """By chance one of 120 is right on average; eight or more are, once in a hundred thousand times."""
    assert linked(keyed) < 8
    assert linked(serial_hash) == 120


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32), st.integers(0, 2**32), st.integers(1, 366))
def test_a_pseudonym_is_the_devices_for_an_epoch_and_no_other(secret, other, at, epoch_days):
    name, length = names.pseudonym(secret, at, epoch_days), epoch_days * DAY
    first = at // length * length
    assert name == names.pseudonym(secret, first, epoch_days) == names.pseudonym(secret, first + length - 1, epoch_days)
    others = [names.pseudonym(secret, first + length, epoch_days), names.pseudonym(secret, first - 1, epoch_days)]
    others += [names.pseudonym(other, at, epoch_days)] if other != secret else []
    assert name not in others and len(name) == 64
    assert names.hour(at) <= at < names.hour(at) + 3600 and names.hour(at) % 3600 == 0


def test_a_pseudonyms_bits_are_as_random():
    """Each of 256 bits is one half of the time set, and two epochs differ in half of them: z-scores over 2,000 names."""
    made = [names.pseudonym(bytes(31) + b"\7", epoch * DAY, 1) for epoch in range(2_000)]
    bits = np.array([np.unpackbits(np.frombuffer(bytes.fromhex(name), np.uint8)) for name in made])
    bits = bits[:, np.arange(256) != 255 - 7]  # the sign bit and the top of a curve point's y are not uniform to the last bit
    assert np.abs((bits.mean(axis=0) - 0.5) / (0.5 / np.sqrt(2_000))).max() < 5
    differing = (bits[1:] != bits[:-1]).mean()
    assert abs(differing - 0.5) / (0.5 / np.sqrt(bits[1:].size)) < 5
    counting = np.array([np.unpackbits(np.frombuffer(n.to_bytes(32, "big"), np.uint8)) for n in range(2_000)])  # planted
    assert np.abs((counting.mean(axis=0) - 0.5) / (0.5 / np.sqrt(2_000))).max() > 5


def test_the_signature_is_the_pseudonyms():
    signer = names.signer(bytes(32), 0, 30)
    assert isinstance(signer, Ed25519PrivateKey)
    assert signer.public_key().public_bytes_raw().hex() == names.pseudonym(bytes(32), 5, 30)
    assert len({names.fresh() for _ in range(1_000)}) == 1_000
