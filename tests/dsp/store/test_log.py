"""The audit log: signed as Go signs notes, and whatever is done to it afterwards is found."""

import base64
import json
import shutil

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from farfield.errors import InputError
from farfield.store import Store, audit, log, merkle
from farfield.store.log import Head, read_checkpoint, read_note, sign_checkpoint, sign_note
from reference.keeping import keep, make_store, marked

# The example in the documentation of golang.org/x/mod/sumdb/note.
GO_SEED = base64.b64decode("AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")[1:]
GO_TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
GO_NOTE = GO_TEXT + (
    "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
)
KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


def test_notes_are_signed_as_go_signs_them():
    key = Ed25519PrivateKey.from_private_bytes(GO_SEED)
    assert sign_note(GO_TEXT, "PeterNeumann", key) == GO_NOTE
    assert read_note(GO_NOTE, "PeterNeumann", key.public_key()) == GO_TEXT


def test_a_signature_is_written_in_one_way_alone():
    """Base64's last character has bits that no byte holds: with one of them set it decodes to the same signature."""
    note = sign_checkpoint(Head(0, bytes(32)), KEY)
    assert note.endswith("=\n")
    other = note[:-3] + chr(ord(note[-3]) + 1) + note[-2:]
    with pytest.raises(InputError, match="checkpoint"):
        read_checkpoint(other, KEY.public_key())


@given(st.integers(0, 2**40), st.binary(min_size=32, max_size=32), st.data())
def test_a_checkpoint_is_read_as_it_was_written_and_not_at_all_once_changed(size, root, data):
    note = sign_checkpoint(Head(size, root), KEY)
    assert read_checkpoint(note, KEY.public_key()) == Head(size, root)
    at = data.draw(st.integers(0, len(note) - 1))
    changed = note[:at] + chr(ord(note[at]) ^ 1) + note[at + 1 :]
    for wrong, key in ((changed, KEY), (note[:at], KEY), (note, Ed25519PrivateKey.generate()), (note + note, KEY)):
        with pytest.raises(InputError, match="checkpoint"):
            read_checkpoint(wrong, key.public_key())


def entries(count):
    return [(n, json.dumps({"what": "read", "at": n, "utterance": f"{n:032x}"}).encode()) for n in range(count)]


def note_of(leaves):
    return sign_checkpoint(Head(len(leaves), merkle.root_of([merkle.leaf_hash(leaf) for _, leaf in leaves])), KEY)


def check(leaves, note, witnesses=()):
    return log.check(leaves, note, KEY.public_key(), witnesses)


TAMPERING = ("flip", "remove", "truncate", "swap", "move", "add", "double")


@given(st.integers(2, 30), st.sampled_from(TAMPERING), st.data())
def test_any_entry_flipped_removed_reordered_or_cut_off_is_found(count, how, data):
    whole = entries(count)
    note = note_of(whole)
    assert check(whole, note) == []
    at, other = data.draw(st.lists(st.integers(0, count - 1), min_size=2, max_size=2, unique=True))
    leaves = [leaf for _, leaf in whole]
    if how == "flip":
        bit = data.draw(st.integers(0, 8 * len(leaves[at]) - 1))
        leaves[at] = bytes(byte ^ (1 << bit % 8 if n == bit // 8 else 0) for n, byte in enumerate(leaves[at]))
    elif how == "remove":
        del leaves[at]
    elif how == "truncate":
        del leaves[at:]
    elif how == "swap":
        leaves[at], leaves[other] = leaves[other], leaves[at]
    elif how == "move":
        leaves.insert(other, leaves.pop(at))
    elif how == "add":
        leaves.insert(at, b"{}")
    else:
        leaves.insert(at, leaves[at])
    assert check(list(enumerate(leaves)), note), "renumbered"
    if how in ("remove", "truncate"):
        gaps = [entry for n, entry in enumerate(whole) if n != at and (how == "remove" or n < at)]
        assert check(gaps, note), "with a gap where it was"


@given(st.integers(1, 30), st.data())
def test_who_rewrites_the_log_and_signs_it_again_is_found_by_what_was_saved_before(count, data):
    """The device's key in wrong hands: its own head fits, and a saved one does not."""
    whole = entries(count)
    seen = data.draw(st.integers(1, count))
    witness = note_of(whole[:seen])
    assert check(whole, note_of(whole), [witness]) == []
    cut = whole[: data.draw(st.integers(0, seen - 1))]
    assert check(cut, note_of(cut)) == [] and check(cut, note_of(cut), [witness])
    at = data.draw(st.integers(0, seen - 1))
    rewritten = [(n, b"{}" if n == at else leaf) for n, leaf in whole]
    assert check(rewritten, note_of(rewritten)) == [] and check(rewritten, note_of(rewritten), [witness])


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """A store with four utterances, one of them with a wrap for reviewers and a transcript, one deleted."""
    store, _ = make_store(tmp_path_factory.mktemp("log"), consents=("store", "review"), sample_share=1.0)
    for seed in range(4):
        keep(store, marked(seed))
    first, second = store.utterances()[:2]
    store.attach(first.id, "transcript", "send a message")
    store.delete([second.id])
    return store


CHANGES = {
    "an entry's bytes": "UPDATE log SET leaf = CAST(replace(leaf, 'consent', 'consint') AS BLOB) WHERE position = 3",
    "an entry": "DELETE FROM log WHERE position = 4",
    "the last entry": "DELETE FROM log WHERE position = (SELECT max(position) FROM log)",
    "the head": "UPDATE head SET checkpoint = replace(checkpoint, '1', '2')",
    "no head": "DELETE FROM head",
    "an utterance": "DELETE FROM utterances WHERE position = 1",
    "an utterance's time": "UPDATE utterances SET at = at + 1 WHERE position = 1",
    "an utterance's age": "UPDATE utterances SET age = age + 86400 WHERE position = 1",
    "who may teach": "UPDATE utterances SET train = 1 WHERE position = 1",
    "what was reported": "UPDATE utterances SET reported = 1 WHERE position = 1",
    "whom it seals to": "UPDATE settings SET value = replace(value, '0', '1') WHERE name = 'owner'",
    "how long it keeps": "UPDATE settings SET value = 3000 WHERE name = 'retention_days'",
    "that nothing is reviewed": "DELETE FROM settings WHERE name = 'reviewers'",
    "whom a wrap is for": "UPDATE wraps SET wrap = x'00' WHERE purpose = 'review'",
    "an utterance's word": "UPDATE utterances SET word = 'x' WHERE position = 1",
    "the owner's wrap": "UPDATE wraps SET wrap = x'00' WHERE purpose = 'owner'",
    "a wrap for reviewers": "DELETE FROM wraps WHERE purpose = 'review'",
    "a wrap that nobody made": "INSERT INTO wraps (utterance, purpose, wrap) SELECT id, 'else', x'00' FROM utterances LIMIT 1",
    "what is derived": "UPDATE derived SET sealed = x'00'",
    "a consent's time": "DROP TRIGGER consents_hold; UPDATE consents SET at = at - 1",
    "a consent": "INSERT INTO consents (purpose, given, at, policy_version, policy_hash) VALUES ('train', 1, 0, '', '')",
}


@pytest.mark.parametrize("sql", CHANGES.values(), ids=CHANGES)
def test_verify_finds_what_was_changed_in_the_database(kept, sql):
    assert audit.verify(kept)[1] == []
    before = kept._records.path.read_bytes()
    try:
        with kept._records._open() as database:
            *before_it, sql = sql.split("; ")
            for statement in before_it:
                database.execute(statement)
            assert database.execute(sql).rowcount > 0
        assert audit.verify(kept)[1] != []
    finally:
        kept._records.path.write_bytes(before)


def test_verify_finds_changed_and_missing_sound_and_a_damaged_database(kept):
    path = next((kept.folder / "sealed").iterdir())
    before = path.read_bytes()
    for data in (before[:-1], before[:-1] + bytes([before[-1] ^ 1])):
        path.write_bytes(data)
        assert any("sealed sound" in line for line in audit.verify(kept)[1])
    path.unlink()
    assert any("missing" in line for line in audit.verify(kept)[1])
    path.write_bytes(before)
    stray = path.with_name("0123.sealed")
    stray.write_bytes(before)
    assert audit.verify(kept)[1] == ["utterance 0123: is sealed sound without a record; a deletion was cut short, or it was put "
                                     "there. The next command that uses the store destroys it"]  # fmt: skip
    stray.unlink()
    assert audit.verify(kept)[1] == []
    whole = kept._records.path.read_bytes()
    try:
        kept._records.path.write_bytes(whole[:100] + b"\xff" * 4000 + whole[4100:])
        assert audit.verify(kept)[1] != []
    finally:
        kept._records.path.write_bytes(whole)


def test_others_use_the_store_while_its_files_are_verified(tmp_path, monkeypatch):
    """Hours of sealed sound take a while to read: nobody waits for that, and what is deleted meanwhile is not called missing."""
    store, _ = make_store(tmp_path)
    kept, real = [keep(store, marked(seed)) for seed in range(3)], audit._digest

    def digest(path):
        with monkeypatch.context() as patched:
            patched.setattr(audit, "_digest", real)
            if store.utterances():
                store.delete(kept)
        return real(path)

    monkeypatch.setattr(audit, "_digest", digest)
    assert audit.verify(store)[1] == [] and store.utterances() == []


def test_a_whole_store_that_is_put_back_is_found_by_a_checkpoint_kept_elsewhere(tmp_path):
    store, _ = make_store(tmp_path / "store")
    gone = keep(store, marked(1))
    shutil.copytree(tmp_path / "store", tmp_path / "copy")
    receipt = store.delete([gone])
    shutil.rmtree(tmp_path / "store")
    (tmp_path / "copy").rename(tmp_path / "store")
    back = Store(tmp_path / "store")
    assert [one.id for one in back.utterances()] == [gone], "what was deleted is there again"
    assert audit.verify(back)[1] == [], "and nothing in the store itself can tell"
    assert any("cut back" in line for line in audit.verify(back, [receipt.checkpoint])[1])
    keep(back, marked(2))
    keep(back, marked(3))
    assert any("rewritten" in line for line in audit.verify(back, [receipt.checkpoint])[1]), "also once it has grown beyond"


def test_a_damaged_entry_is_one_line(tmp_path):
    store, _ = make_store(tmp_path)
    for damage in (b"\xff", b"[]", b"{}", b'{"at": 1e400}', b'{"at": "x"}'):
        with store._records._open() as database:
            database.execute("UPDATE log SET leaf = ? WHERE position = 1", (damage,))
        for ask in (lambda: audit.entries(store), lambda: audit.proof(store, 1)):
            with pytest.raises(InputError, match="entry 1: is damaged"):
                ask()
        assert audit.verify(store)[1]


def test_nothing_more_is_kept_over_a_log_that_was_cut(kept):
    before = kept._records.path.read_bytes()
    with kept._records._open() as database:
        database.execute("DELETE FROM log WHERE position = (SELECT max(position) FROM log)")
    try:
        assert keep(kept, marked(9)) == "" and "does not fit its signed head" in kept.why_not
    finally:
        kept._records.path.write_bytes(before)


def test_an_entry_is_proven_to_somebody_who_has_the_device_key_and_nothing_else(kept):
    told = json.loads(json.dumps(audit.proof(kept, 3)))
    head = read_checkpoint(told["checkpoint"], kept.device.public)
    path = [bytes.fromhex(node) for node in told["path"]]
    assert merkle.includes(merkle.leaf_hash(told["leaf"].encode()), 3, head.size, path, head.root)
    assert not merkle.includes(merkle.leaf_hash(told["leaf"].encode()), 2, head.size, path, head.root)
    with pytest.raises(InputError, match="entry: got 999"):
        audit.proof(kept, 999)


def test_the_log_tells_no_word_no_time_of_day_beyond_its_own_and_no_key(kept):
    told = json.dumps(audit.entries(kept))
    owner = kept.settings().owner.public_bytes_raw()
    for secret in ("alexa", "send a message", owner.hex(), log.sha256(owner).hexdigest()[:16], "45.0", kept.device.naming.hex()):
        assert secret not in told
    assert {entry["what"] for entry in audit.entries(kept)} == {
        "begin",
        "settings",
        "consent",
        "store",
        "wrap",
        "derive",
        "delete",
    }
