"""The audit log: every change of the store is a leaf of a Merkle tree, whose head the device signs.

A leaf is JSON: what was done, when, and to which utterance by its random name; no sound, no transcript, no identity. The head is
a checkpoint as C2SP's tlog-checkpoint and signed-note describe: origin, size, root, and an Ed25519 signature line.
"""

import base64
import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from farfield.errors import InputError
from farfield.store import merkle
from farfield.store.merkle import Frontier

ORIGIN = "farfield/audit"
_ED25519 = b"\1"


@dataclass(frozen=True, slots=True)
class Head:
    """What a checkpoint says: `size` leaves have the root `root`."""

    size: int
    root: bytes


def sign_note(text: str, name: str, key: Ed25519PrivateKey) -> str:
    """A text, ending with a newline, as a note signed under a name."""
    signed = _key_id(name, key.public_key()) + key.sign(text.encode())
    return f"{text}\n— {name} {base64.b64encode(signed).decode()}\n"


def read_note(note: str, name: str, key: Ed25519PublicKey) -> str:
    """The text of a note that has this signature alone; ValueError where it has not."""
    text, found, signature = note.rpartition(f"\n\n— {name} ")
    raw = base64.b64decode(signature.removesuffix("\n"), validate=True)
    written = f"{base64.b64encode(raw).decode()}\n"  # of the texts that decode to these bytes, the one that was written
    if not found or signature != written or raw[:4] != _key_id(name, key):
        raise ValueError("no signature of this name and key")
    try:
        key.verify(raw[4:], f"{text}\n".encode())
    except InvalidSignature:
        raise ValueError("the signature is not of this text") from None
    return f"{text}\n"


def sign_checkpoint(head: Head, key: Ed25519PrivateKey) -> str:
    """The head as a signed note."""
    return sign_note(f"{ORIGIN}\n{head.size}\n{base64.b64encode(head.root).decode()}\n", ORIGIN, key)


def read_checkpoint(note: str, key: Ed25519PublicKey) -> Head:
    """The head that a checkpoint states; InputError where it is none, or is not signed by this key."""
    try:
        origin, size, root, nothing = read_note(note, ORIGIN, key).split("\n")
        head = Head(int(size), base64.b64decode(root, validate=True))
        if (origin, nothing) != (ORIGIN, "") or len(head.root) != 32 or str(head.size) != size:
            raise ValueError
    except ValueError:
        raise InputError("checkpoint: is none, or not signed by this device's key") from None
    return head


def _key_id(name: str, key: Ed25519PublicKey) -> bytes:
    return sha256(f"{name}\n".encode() + _ED25519 + key.public_bytes_raw()).digest()[:4]


class Log:
    """Appends leaves within a change of the records; `read` begins, `write` ends. key: the device's."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def start(self, at: int) -> None:
        """A new log; its first leaf says so."""
        self._frontier = Frontier()
        self._fresh: list[tuple[int, bytes]] = []
        self.append("begin", at, {})

    def read(self, database: sqlite3.Connection) -> None:
        """Take up the log where it ended. InputError where its head does not fit its length: it was cut or is damaged."""
        (size,) = database.execute("SELECT coalesce(max(position) + 1, 0) FROM log").fetchone()
        found = database.execute("SELECT checkpoint, frontier FROM head").fetchone()
        try:
            self._frontier = Frontier(size, found[1] if found else b"")
            if read_checkpoint(found[0] if found else "", self._key.public_key()) != Head(size, self._frontier.root()):
                raise ValueError
        except ValueError:  # InputError is one
            raise InputError("audit log: does not fit its signed head; nothing is kept (see: farfield audit verify)") from None
        self._fresh = []

    def append(self, what: str, at: int, fields: Mapping[str, Any]) -> None:
        """Add a leaf."""
        leaf = json.dumps({"what": what, "at": at} | dict(fields), separators=(",", ":")).encode()
        self._fresh.append((self._frontier.size, leaf))
        self._frontier.append(merkle.leaf_hash(leaf))

    @property
    def size(self) -> int:
        """How many leaves there are, with what was appended."""
        return self._frontier.size

    def checkpoint(self) -> str:
        """The signed head, with what was appended."""
        return sign_checkpoint(Head(self._frontier.size, self._frontier.root()), self._key)

    def write(self, database: sqlite3.Connection) -> bool:
        """Put what was appended, and the new head, into the database; whether there was anything."""
        if self._fresh:
            database.executemany("INSERT INTO log (position, leaf) VALUES (?, ?)", self._fresh)
            database.execute("INSERT OR REPLACE INTO head VALUES (1, ?, ?)", (self.checkpoint(), bytes(self._frontier)))
        return bool(self._fresh)


def check(leaves: Sequence[tuple[int, bytes]], note: str, key: Ed25519PublicKey, witnesses: Sequence[str] = ()) -> list[str]:
    """What is wrong with a log: nothing, or a line each.

    leaves: positions and bytes, as they lie in the database. note: its checkpoint. witnesses: checkpoints that were saved
    earlier, elsewhere; the log must have grown out of them.
    """
    wrong = [f"entry {n}: is missing" for n in _missing([position for position, _ in leaves])]
    hashes = [merkle.leaf_hash(leaf) for _, leaf in leaves]
    try:
        head = read_checkpoint(note, key)
    except InputError as error:
        return [*wrong, f"head: {error}"]
    if head.size != len(hashes):
        wrong.append(f"log: has {len(hashes)} entries, its signed head says {head.size}: entries were removed or added")
    elif head.root != merkle.root_of(hashes):
        wrong.append("log: its entries do not give the root that was signed: an entry was changed or moved")
    for number, witness in enumerate(witnesses, 1):
        try:
            seen = read_checkpoint(witness, key)
        except InputError as error:
            wrong.append(f"saved checkpoint {number}: {error}")
            continue
        if seen.size > len(hashes):
            wrong.append(f"log: has {len(hashes)} entries, saved checkpoint {number} has {seen.size}: the log was cut back")
        elif seen.root != merkle.root_of(hashes[: seen.size]):
            wrong.append(f"log: its first {seen.size} entries are not those of saved checkpoint {number}: it was rewritten")
    return wrong


def _missing(positions: Sequence[int]) -> list[int]:
    return sorted(set(range(max(positions, default=-1) + 1)) - set(positions))
