"""What reviewers get: a uniform sample, capped; names that link nothing; and not a field more."""

import base64
import json
import os
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from farfield.errors import InputError
from farfield.store import Store, audit, read_package
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
