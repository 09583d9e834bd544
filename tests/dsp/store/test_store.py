"""The store as its owner and its listener meet it: what is kept, for how long, who can read it, and what goes wrong."""

from dataclasses import replace

import numpy as np
import pytest

from farfield.capture import Keeper, Opening
from farfield.errors import InputError
from farfield.store import Policy, Settings, Store, audit, read_receipt, sampling, utterance
from farfield.store.utterance import sealed_path
from reference.keeping import (
    OPENING,
    OWNER,
    POLICY,
    REVIEWERS,
    Clock,
    files,
    keep,
    leaves,
    make_store,
    marked,
    mismatches,
    traces,
)


def test_nothing_is_kept_without_consent(tmp_path):
    store, _ = make_store(tmp_path, consents=())
    keeper: Keeper = store
    assert keeper.begin(OPENING) is None and "no consent" in keeper.why_not
    store.give(["review", "train", "false-wake"], POLICY)
    assert keep(store, marked(1)) == "" and list((tmp_path / "sealed").iterdir()) == []
    store.give(["store"], POLICY)
    assert keep(store, marked(1)) and store.why_not is None


def test_the_owner_reads_what_was_said_and_the_device_cannot(tmp_path):
    store, clock = make_store(tmp_path)
    sound = marked(2, 1.5)
    identity = keep(store, sound)
    samples, known = store.read(identity, OWNER)
    assert np.array_equal(samples, sound)
    assert known == {
        "id": identity, "at": "2026-11-25T09:30:00Z", "reported": False, "train": False, "word": "alexa", "score": 0.98,
        "samples": len(sound), "word_start": 8_000, "word_end": 16_000, "epoch": 3, "start": 16_000, "end": 16_000 + len(sound),
        "direction_deg": 45.0, "gaps": [],
    }  # fmt: skip
    assert leaves(store)[-1] == {"what": "read", "at": int(clock().timestamp()), "utterance": identity}
    with pytest.raises(InputError, match="does not open"):
        store.read(identity, REVIEWERS)
    held = b"".join(path.read_bytes() for path in files(tmp_path))
    assert OWNER.private_bytes_raw() not in held and traces(tmp_path, sound) == []


def test_each_secret_of_the_device_opens_nothing(tmp_path):
    """Every 32 bytes of the store's files but for the sealed ones, as the owner's key and as the utterance's."""
    store, _ = make_store(tmp_path)
    identity = keep(store, marked(3))
    body = sealed_path(tmp_path, identity).read_bytes()
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    from farfield.store.sealed import opened

    with store.look() as database:
        columns = database.execute("SELECT digest, signature, wrap FROM utterances JOIN wraps ON utterance = id").fetchone()
    secrets = [path.read_bytes() for path in files(tmp_path) if path.parent == tmp_path and path.name != "records.db"]
    tried = 0
    for held in [*secrets, *map(bytes, columns)]:
        for at in range(len(held) - 31):
            tried += 1
            with pytest.raises(InputError):
                store.read(identity, X25519PrivateKey.from_private_bytes(held[at : at + 32]))
            with pytest.raises(InputError):
                opened(body, bytearray(held[at : at + 32]))
    assert tried > 200


def test_consent_that_is_withdrawn_while_somebody_speaks_keeps_nothing(tmp_path):
    store, _ = make_store(tmp_path)
    sealing = store.begin(OPENING)
    sealing.write(marked(4))
    other = Store(tmp_path)  # the command, beside the service
    other.withdraw(["store"])
    other.give(["store"], POLICY)
    assert sealing.finish(20_000).result() == "" and "withdrawn" in store.why_not
    assert store.utterances() == [] and mismatches(store) == []


@pytest.mark.parametrize("purpose", ["review", "train"])
@pytest.mark.parametrize("how", ["given late", "withdrawn and given again", "given anew"])
def test_review_and_train_take_consent_that_held_from_the_word_to_the_end(tmp_path, purpose, how):
    first = ("store",) if how == "given late" else ("store", purpose)
    store, _ = make_store(tmp_path, consents=first, sample_share=1.0)
    sealing, other = store.begin(OPENING), Store(tmp_path)
    sealing.write(marked(4))
    if how == "withdrawn and given again":
        other.withdraw([purpose])
    other.give([purpose], Policy.of(b"another policy", "8"))
    assert sealing.finish(20_000).result()
    (kept,) = store.utterances()
    with store.look() as database:
        (wraps,) = database.execute("SELECT count(*) FROM wraps WHERE purpose = 'review'").fetchone()
    assert (kept.train, wraps) == {"review": (False, how == "given anew"), "train": (how == "given anew", 0)}[purpose]


def test_a_policy_agreed_to_anew_while_somebody_speaks_loses_nothing(tmp_path):
    store, _ = make_store(tmp_path)
    sealing = store.begin(OPENING)
    Store(tmp_path).give(["store"], Policy.of(b"another policy", "8"))
    assert sealing.finish(20_000).result()


def test_lost_samples_are_told_beside_the_sound_and_the_word_keeps_its_place_in_it(tmp_path):
    """A gap before the word, and one within it, of two losses; nothing stands for them in the sound."""
    store, _ = make_store(tmp_path)
    opening = Opening("alexa", 0.9, 0, 1_000, 2_000, 4_000, None)
    sealing, sound = store.begin(opening), marked(6, 0.3)
    sealing.write(sound[:500])
    sealing.lost(300)
    sealing.write(sound[500:1_500])
    sealing.lost(100)
    sealing.lost(150)
    sealing.write(sound[1_500:])
    samples, known = store.read(sealing.finish(1_000 + len(sound) + 550).result(), OWNER)
    assert np.array_equal(samples, sound) and known["gaps"] == [[500, 300], [1_500, 250]]
    assert (known["word_start"], known["word_end"]) == (700, 2_450), "by the clock 1,000 and 3,000 after the start"
    assert known["end"] - known["start"] == known["samples"] + 550


def test_an_abort_leaves_nothing_and_what_follows_does_nothing(tmp_path):
    store, _ = make_store(tmp_path)
    sealing = store.begin(OPENING)
    sealing.write(marked(5))
    sealing.abort()
    sealing.write(marked(5))
    assert sealing.finish(20_000).result() == "" and list((tmp_path / "sealed").iterdir()) == [] and store.utterances() == []
    sealing = store.begin(OPENING)
    assert sealing.finish(16_000).result() and sealing.finish(16_000).result() == ""
    sealing.abort()
    assert len(store.utterances()) == 1 and mismatches(store) == []


def test_retention_is_counted_to_the_second_and_deletes(tmp_path):
    store, clock = make_store(tmp_path, retention_days=2)
    first = keep(store, marked(6))
    clock.go(days=1)
    second = keep(store, marked(7))
    clock.go(days=1, seconds=-1)
    assert store.expire() is None
    clock.go(seconds=1)
    assert store.expire().utterances == (first,)
    assert [one.id for one in store.utterances()] == [second] and store.expire() is None
    assert mismatches(store) == [] and audit.verify(store)[1] == []


def test_withdrawing_takes_effect_on_what_is_stored(tmp_path):
    store, clock = make_store(tmp_path, consents=("store", "review", "train"), sample_share=1.0)
    for seed in range(3):
        keep(store, marked(seed))
    assert all(one.train for one in store.utterances())
    store.withdraw(["train"])
    store.give(["train"], POLICY)
    assert not any(one.train for one in store.utterances()), "what was withdrawn is not given back by what comes later"
    with store.look() as database:
        assert database.execute("SELECT count(*) FROM wraps WHERE purpose = 'review'").fetchone() == (3,)
    (tmp_path / "out").mkdir()
    clock.go(days=1)
    aliases = store.export_review(tmp_path / "out")
    receipt = store.withdraw(["review"])
    assert set(receipt.recalled) == set(aliases) and receipt.utterances == ()
    with store.look() as database:
        assert database.execute("SELECT count(*) FROM wraps WHERE purpose = 'review'").fetchone() == (0,)
    receipt = store.withdraw(["store"])
    assert len(receipt.utterances) == 3 and store.utterances() == [] and list((tmp_path / "sealed").iterdir()) == []
    assert store.consented() == {"train"} and audit.verify(store)[1] == []


def test_the_record_of_consents_only_grows(tmp_path):
    import sqlite3

    store, clock = make_store(tmp_path, consents=())
    store.give(["store", "train"], POLICY)
    clock.go(days=1)
    store.give(["store"], Policy.of(b"another text", "8"))
    store.withdraw(["store"])
    told = [(one.purpose, one.given, one.policy.version if one.policy else None) for one in store.consents()]
    assert told == [("store", True, "7"), ("train", True, "7"), ("store", True, "8"), ("store", False, None)]
    assert store.consents()[0].policy == POLICY and store.consented() == {"train"}
    for sql in ("DELETE FROM consents", "UPDATE consents SET given = 1"):
        with store._records._open() as database, pytest.raises(sqlite3.IntegrityError, match="only appended"):
            database.execute(sql)
    for purposes in (["nonsense"], ["store", "nonsense"]):
        with pytest.raises(InputError, match="wanted one of store, review, train, false-wake"):
            store.give(purposes, POLICY)
    assert store.consented() == {"train"}, "a purpose that does not exist gives none of them"


def test_a_deletion_is_proven_by_a_signed_receipt(tmp_path):
    store, _ = make_store(tmp_path)
    kept = [keep(store, marked(seed)) for seed in range(3)]
    receipt = store.delete(kept[:2])
    signed = receipt.signed(store.device.signing)
    assert read_receipt(signed, store.device.public) == receipt and receipt.utterances == tuple(kept[:2])
    first, end = receipt.entries
    assert [(leaf["what"], leaf["utterance"]) for leaf in leaves(store)[first:end]] == [("delete", one) for one in kept[:2]]
    assert audit.verify(store, [receipt.checkpoint])[1] == []
    for at in range(0, len(signed), 7):
        with pytest.raises(InputError, match="receipt"):
            read_receipt(signed[:at] + bytes([signed[at] ^ 1]) + signed[at + 1 :], store.device.public)
    with pytest.raises(InputError, match="none is kept"):
        store.delete([kept[2], kept[0]])
    assert [one.id for one in store.utterances()] == kept[2:], "one that is not kept deletes none of them"


def test_what_is_derived_is_sealed_too_and_goes_with_its_utterance(tmp_path):
    store, _ = make_store(tmp_path)
    identity = keep(store, marked(8))
    store.attach(identity, "transcript", "send a message to nobody")
    assert store.read(identity, OWNER)[1]["transcript"] == "send a message to nobody"
    assert not any(b"message" in path.read_bytes() for path in files(tmp_path))
    for kind in ("owner", "review", "no name", ""):
        with pytest.raises(InputError, match="kind"):
            store.attach(identity, kind, "x")
    store.delete([identity])
    with pytest.raises(InputError, match="none is kept"):
        store.attach(identity, "transcript", "x")


def test_a_false_wake_is_offered_by_its_owner_alone_and_with_a_consent_of_its_own(tmp_path):
    store, _clock = make_store(tmp_path, consents=("store", "review"), sample_share=0.0)
    identity = keep(store, marked(9))
    for prepare, told in ((lambda: None, "no consent to false-wake"),
                          (lambda: store.give(["false-wake"], POLICY), "reported first"),
                          (lambda: store.report(identity), None)):  # fmt: skip
        prepare()
        if told:
            with pytest.raises(InputError, match=told):
                store.offer(identity, OWNER)
    with pytest.raises(InputError, match="does not open"):
        store.offer(identity, REVIEWERS)
    store.offer(identity, OWNER)
    store.offer(identity, OWNER)  # no second wrap
    (tmp_path / "out").mkdir()
    assert len(store.export_review(tmp_path / "out")) == 1
    assert store.export_review(tmp_path / "out") == []
    assert len(store.withdraw(["false-wake"]).recalled) == 1
    assert audit.verify(store)[1] == []


def test_another_owners_key_is_for_what_comes_and_other_reviewers_get_nothing_old(tmp_path):
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    store, _ = make_store(tmp_path, consents=("store", "review"), sample_share=1.0)
    before, new = keep(store, marked(10)), X25519PrivateKey.generate()
    settings = replace(store.settings(), owner=new.public_key(), reviewers=new.public_key())
    again = Store.set_up(tmp_path, settings, clock=Clock())
    assert again.settings() == settings and again.device.public == store.device.public
    after = keep(again, marked(11))
    assert again.read(before, OWNER) and again.read(after, new)
    with pytest.raises(InputError, match="does not open"):
        again.read(before, new)
    with again.look() as database:
        assert database.execute("SELECT utterance FROM wraps WHERE purpose = 'review'").fetchall() in ([], [(after,)])
    assert audit.verify(again)[1] == []


@pytest.mark.parametrize("name", ["retention_days", "sample_share", "sample_a_day", "sample_on_device", "epoch_days"])
def test_settings_out_of_range_are_refused(name):
    for value in (-1, 10**9):
        with pytest.raises(InputError, match=f"{name.replace('_', '-')}: got {value}, wanted"):
            Settings(OWNER.public_key(), **{name: value})


def test_one_is_found_among_many_without_looking_at_all(tmp_path):
    """What a capture, a deletion and a sample ask of the records goes by an index: no plan of SQLite's scans."""
    store, _ = make_store(tmp_path, consents=("store", "review"), sample_share=1.0)
    identity, asked = keep(store, marked(1)), []
    with store.change() as change:
        database = change.execute.__self__
        database.set_trace_callback(asked.append)
        utterance.find(change.execute, identity[:6])
        sampling.taken_by(change, change.age, 0)
        utterance.erase(change, [identity], "owner")
        database.set_trace_callback(None)
        asked = [sql for sql in asked if not sql.startswith("--")]
        plans = [row[3] for sql in asked for row in database.execute(f"EXPLAIN QUERY PLAN {sql}")]
        scan = database.execute("EXPLAIN QUERY PLAN SELECT * FROM utterances WHERE word = 'x'").fetchone()[3]
    assert len(asked) >= 4 and not [plan for plan in plans if "SCAN" in plan] and "SCAN" in scan


def test_what_was_changed_is_not_read(tmp_path):
    store, _ = make_store(tmp_path)
    one, other = keep(store, marked(12)), keep(store, marked(13))
    path = sealed_path(tmp_path, one)
    body = path.read_bytes()
    path.write_bytes(body[:-1] + bytes([body[-1] ^ 1]))
    with pytest.raises(InputError, match="damaged or was changed"):
        store.read(one, OWNER)
    path.write_bytes(sealed_path(tmp_path, other).read_bytes())
    with pytest.raises(InputError, match="damaged or was changed"):
        store.read(one, OWNER)
    path.write_bytes(body)
    with store._records._open() as database:  # somebody who has the owner's public key and writes to the disk, but cannot sign
        database.execute("UPDATE utterances SET at = at - 86400 WHERE id = ?", (one,))
    with pytest.raises(InputError, match="not what the device signed"):
        store.read(one, OWNER)
    assert len([leaf for leaf in leaves(store) if leaf["what"] == "read"]) == 0
