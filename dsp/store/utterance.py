"""An utterance's record: what the device knows of it, what it signed, and how all of it is destroyed."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256
from io import FileIO
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from farfield.errors import InputError
from farfield.store.keys import sync_folder
from farfield.store.records import Change, Execute
from farfield.store.sealed import write_whole

_COLUMNS = "id, at, age, samples, word, digest, signature, train, reported"


@dataclass(frozen=True, slots=True)
class Utterance:
    """What is kept of an utterance beside its sealed sound.

    id: random. at: when its word was accepted, seconds since 1970. age: the store's then, which its retention is counted from.
    samples: at 16 kHz. digest: SHA-256 of the sealed file.
    signature: the device's. train: whether that was consented to, then and since. reported: the owner called it a false wake.
    """

    id: str
    at: int
    age: int
    samples: int
    word: str
    digest: bytes
    signature: bytes
    train: bool
    reported: bool

    def statement(self, owner_wrap: bytes) -> bytes:
        """What the device signs: this record, its sealed file (header and all), and the owner's wrap."""
        return json.dumps(
            {
                "kind": "farfield utterance 1",
                "id": self.id,
                "at": self.at,
                "age": self.age,
                "samples": self.samples,
                "word": self.word,
                "digest": self.digest.hex(),
                "wrap": sha256(owner_wrap).hexdigest(),
            },
            sort_keys=True,
        ).encode()


def signed(utterance: Utterance, owner_wrap: bytes, key: Ed25519PrivateKey) -> Utterance:
    """The same with the device's signature."""
    stated = utterance.statement(owner_wrap)
    return replace(utterance, signature=key.sign(stated))


def verify(utterance: Utterance, owner_wrap: bytes, key: Ed25519PublicKey) -> None:
    """InputError where the device did not sign this."""
    try:
        key.verify(utterance.signature, utterance.statement(owner_wrap))
    except InvalidSignature:
        raise InputError(f"{utterance.id}: its record or its wrap is not what the device signed; it is not trusted") from None


def add(change: Change, utterance: Utterance, owner_wrap: bytes) -> None:
    """Record an utterance and the owner's wrap."""
    change.execute(
        f"INSERT INTO utterances ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (utterance.id, utterance.at, utterance.age, utterance.samples, utterance.word, utterance.digest, utterance.signature,
         utterance.train, utterance.reported),
    )  # fmt: skip
    change.log("store", utterance=utterance.id, digest=utterance.digest.hex(), train=utterance.train)
    add_wrap(change, utterance.id, "owner", owner_wrap)


def add_wrap(change: Change, identity: str, purpose: str, wrap: bytes, day: int | None = None, slot: int | None = None) -> None:
    """Record a wrap. day, slot: its place in the day's sample."""
    change.execute("INSERT INTO wraps (utterance, purpose, wrap, day, slot) VALUES (?, ?, ?, ?, ?)",
                   (identity, purpose, wrap, day, slot))  # fmt: skip
    change.log("wrap", utterance=identity, purpose=purpose, digest=sha256(wrap).hexdigest())


def drop_wraps(change: Change, identities: Iterable[str], purpose: str) -> list[str]:
    """Destroy the wraps for a purpose; the aliases under which any of them left."""
    aliases = []
    for identity in list(identities):
        (alias,) = change.execute(
            "DELETE FROM wraps WHERE utterance = ? AND purpose = ? RETURNING alias", (identity, purpose)
        ).fetchone()
        change.log("unwrap", utterance=identity, purpose=purpose)
        aliases += [alias] if alias else []
    return aliases


def wrapped_for(change: Change, purpose: str) -> list[str]:
    """The utterances that have a wrap for a purpose."""
    return [identity for (identity,) in change.execute("SELECT utterance FROM wraps WHERE purpose = ?", (purpose,))]


def every(execute: Execute) -> list[Utterance]:
    """All utterances, in the order in which they were kept."""
    return [_of(row) for row in execute(f"SELECT {_COLUMNS} FROM utterances ORDER BY position")]


def ids(execute: Execute, youngest: int | None = None) -> list[str]:
    """The ids of all utterances, or of those that were kept at the age `youngest` of the store or before, in that order."""
    rows = execute("SELECT id FROM utterances WHERE ? IS NULL OR age <= ? ORDER BY position", (youngest, youngest))
    return [identity for (identity,) in rows]


def find(execute: Execute, identity: str) -> Utterance:
    """The utterance of this id, or of the only one that begins so; InputError where there is none."""
    rows = execute(f"SELECT {_COLUMNS} FROM utterances WHERE id >= ? AND id < ? LIMIT 2", (identity, f"{identity}~")).fetchall()
    if len(rows) != 1 or not identity:
        got = "several begin so" if rows else "none is kept"
        raise InputError(f"utterance {identity}: {got}; wanted an id of: farfield utterances list")
    return _of(rows[0])


def _of(row: tuple[Any, ...]) -> Utterance:
    identity, at, age, samples, word, digest, signature, train, reported = row
    return Utterance(identity, at, age, samples, word, bytes(digest), bytes(signature), bool(train), bool(reported))


def owner_wrap(execute: Execute, identity: str) -> bytes:
    """The key's wrap to the owner."""
    return bytes(execute("SELECT wrap FROM wraps WHERE utterance = ? AND purpose = 'owner'", (identity,)).fetchone()[0])


def erase(change: Change, identities: Iterable[str], why: str) -> list[str]:
    """Destroy the records, every wrap and everything derived; the aliases under which any of it left."""
    aliases = []
    for identity in identities:
        left = change.execute("SELECT alias FROM wraps WHERE utterance = ? AND alias IS NOT NULL", (identity,))
        aliases += [alias for (alias,) in left]
        change.execute("DELETE FROM utterances WHERE id = ?", (identity,))  # wraps and derived go with it
        change.log("delete", utterance=identity, why=why)
    return aliases


def sealed_path(folder: Path, identity: str) -> Path:
    """Where an utterance's sealed sound is."""
    return folder / "sealed" / f"{identity}.sealed"


def destroy(paths: Iterable[Path]) -> None:
    """Overwrite sealed files with zeros, and remove them; those that are gone already are left out."""
    folders = set()
    for path in paths:
        try:
            with FileIO(path, "r+b") as file:
                write_whole(file)(memoryview(bytes(os.fstat(file.fileno()).st_size)))
                os.fsync(file.fileno())
            path.unlink()
        except FileNotFoundError:
            continue
        folders.add(path.parent)
    for folder in folders:
        sync_folder(folder)
