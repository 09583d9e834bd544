"""Whether a store's audit log is whole, and whether what is kept is what the log says: `farfield audit verify`."""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

from farfield.errors import InputError
from farfield.store import consent, log, merkle, settings, utterance
from farfield.store.records import when
from farfield.store.store import Store
from farfield.store.utterance import sealed_path


def entries(store: Store) -> list[dict[str, Any]]:
    """The log's entries, oldest first, each with its position."""
    with store.look() as database:
        rows = _leaves(database)
    return [{"entry": position} | _read(position, leaf) for position, leaf in rows]


def checkpoint(store: Store) -> str:
    """The log's signed head, to be kept elsewhere: whoever has it can tell later whether the log was cut back or rewritten."""
    with store.look() as database:
        return _note(database)


def proof(store: Store, position: int) -> dict[str, Any]:
    """That an entry is in the log: its bytes, its audit path (RFC 6962), and the checkpoint whose root the path leads to."""
    with store.look() as database:
        leaves, note = _leaves(database), _note(database)
    if not 0 <= position < len(leaves):
        raise InputError(f"entry: got {position}, wanted 0 to {len(leaves) - 1}")
    _read(*leaves[position])
    path = merkle.inclusion_proof(position, [merkle.leaf_hash(leaf) for _, leaf in leaves])
    return {"entry": position, "leaf": leaves[position][1].decode(), "path": [node.hex() for node in path], "checkpoint": note}


def verify(store: Store, witnesses: Sequence[str] = ()) -> tuple[int, list[str]]:
    """How many entries the log has, and all that is wrong with it or with what is kept, a line each.

    The log must give its signed head and grow out of the checkpoints in `witnesses`; settings, consents, utterances, wraps and
    what is derived must be those that it tells of; each record signed by the device, and each sealed file the one that was
    recorded. A device's owner who has no checkpoint elsewhere cannot tell an old copy of the whole store from the store.
    Others can use the store meanwhile: it is a copy of the records, in memory, that is looked at.
    """
    with closing(sqlite3.connect(":memory:")) as copy:
        try:
            with store.look() as database:
                database.backup(copy)
            leaves = _leaves(copy)
            wrong = log.check(leaves, _note(copy), store.device.public, witnesses)
            wrong += _against(store, copy, leaves)
            digests = dict(copy.execute("SELECT id, digest FROM utterances"))
        except (InputError, sqlite3.DatabaseError) as error:
            damage = error if isinstance(error, sqlite3.DatabaseError) else error.__cause__
            if not isinstance(damage, sqlite3.DatabaseError):
                raise
            return 0, [f"records: {damage}"]
    return len(leaves), wrong + _files(store, digests)


def _files(store: Store, digests: dict[str, bytes]) -> list[str]:
    """What is wrong with the sealed files; what changed while they were read was changed by the store's own use."""
    suspects = {identity for identity, digest in digests.items() if _digest(sealed_path(store.folder, identity)) != digest}
    extra = {path.stem for path in (store.folder / "sealed").glob("*.sealed")} - digests.keys()
    if not suspects and not extra:
        return []
    with store.look() as database:
        recorded = set(utterance.ids(database.execute))
        extra = {identity for identity in extra - recorded if sealed_path(store.folder, identity).exists()}
    wrong = [f"utterance {one}: its sealed sound is missing or was changed" for one in sorted(suspects & recorded)]
    return wrong + [f"utterance {one}: is sealed sound without a record; a deletion was cut short, or it was put there. The next "
                    "command that uses the store destroys it" for one in sorted(extra)]  # fmt: skip


def _digest(path: Path) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file_digest(file, "sha256").digest()
    except FileNotFoundError:
        return None


def _read(position: int, leaf: bytes) -> dict[str, Any]:
    """An entry, its time as people read it; InputError where it is damaged."""
    try:
        entry: dict[str, Any] = json.loads(leaf)
        return entry | {"at": when(entry["at"])}
    except (KeyError, OverflowError, TypeError, ValueError, OSError):
        raise InputError(f"entry {position}: is damaged and cannot be read (see: farfield audit verify)") from None


def _leaves(database: sqlite3.Connection) -> list[tuple[int, bytes]]:
    return database.execute("SELECT position, leaf FROM log ORDER BY position").fetchall()


def _note(database: sqlite3.Connection) -> str:
    found = database.execute("SELECT checkpoint FROM head").fetchone()
    return str(found[0]) if found else ""


class _Told:
    """What the log's entries, one after the other, come to."""

    def __init__(self) -> None:
        self.settings: dict[str, str] = {}
        self.consents: list[tuple[str, bool, int, str, str]] = []
        self.utterances: dict[str, str] = {}
        self.train: set[str] = set()
        self.reported: set[str] = set()
        self.wraps: dict[tuple[str, str], str] = {}
        self.derived: dict[tuple[str, str], str] = {}

    def take(self, entry: dict[str, Any]) -> None:
        what, identity = entry["what"], entry.get("utterance", "")
        if what == "settings":
            self.settings = {name: value for name, value in entry.items() if name not in ("what", "at")}
        elif what == "consent":
            self.consents.append((entry["purpose"], entry["given"], entry["at"], entry["policy"], entry["policy_hash"]))
            if entry["purpose"] == "train" and not entry["given"]:
                self.train = set()
        elif what == "store":
            self.utterances[identity] = entry["digest"]
            self.train |= {identity} if entry["train"] else set()
        elif what == "report":
            self.reported.add(identity)
        elif what == "wrap":
            self.wraps[identity, entry["purpose"]] = entry["digest"]
        elif what == "unwrap":
            del self.wraps[identity, entry["purpose"]]
        elif what == "derive":
            self.derived[identity, entry["kind"]] = entry["digest"]
        elif what == "delete":
            del self.utterances[identity]
            self.train.discard(identity)
            self.reported.discard(identity)
            for of_it in (self.wraps, self.derived):
                for key in [key for key in of_it if key[0] == identity]:
                    del of_it[key]


def _against(store: Store, database: sqlite3.Connection, leaves: Sequence[tuple[int, bytes]]) -> list[str]:
    told = _Told()
    for position, leaf in leaves:
        try:
            told.take(json.loads(leaf))
        except (AttributeError, KeyError, TypeError, ValueError):
            return [f"entry {position}: cannot be read, or does not fit those before it"]
    execute = database.execute
    kept = {one.id: one for one in utterance.every(execute)}
    wraps = _digests(execute("SELECT utterance, purpose, wrap FROM wraps"))
    derived = _digests(execute("SELECT utterance, kind, sealed FROM derived"))
    consents = [(one.purpose, one.given, one.at, *((one.policy.version, one.policy.text_hash) if one.policy else ("", "")))
                for one in consent.record(execute)]  # fmt: skip
    wrong = _differ("utterance", told.utterances, {identity: one.digest.hex() for identity, one in kept.items()})
    wrong += _differ("train", dict.fromkeys(told.train, ""), {one.id: "" for one in kept.values() if one.train})
    wrong += _differ("report", dict.fromkeys(told.reported, ""), {one.id: "" for one in kept.values() if one.reported})
    wrong += _differ("wrap", told.wraps, wraps)
    wrong += _differ("derived", told.derived, derived)
    wrong += _differ("setting", told.settings, settings.told(execute, store.device.naming))
    if consents != told.consents:
        wrong.append("consents: their record is not what the log tells")
    for identity, one in kept.items():
        if (identity, "owner") in wraps:
            try:
                utterance.verify(one, utterance.owner_wrap(execute, identity), store.device.public)
            except InputError as error:
                wrong.append(f"utterance {error}")
    return wrong


def _digests(rows: Iterable[tuple[str, str, bytes]]) -> dict[tuple[str, str], str]:
    return {(identity, name): sha256(data).hexdigest() for identity, name, data in rows}


def _differ(what: str, told: dict[Any, str], kept: dict[Any, str]) -> list[str]:
    def name(key: Any) -> str:
        return f"{what} {' '.join(key) if isinstance(key, tuple) else key}"

    missing = [f"{name(key)}: the log tells of it, it is not there" for key in sorted(told.keys() - kept.keys())]
    extra = [f"{name(key)}: is there, the log does not tell of it" for key in sorted(kept.keys() - told.keys())]
    both = sorted(told.keys() & kept.keys())
    changed = [f"{name(key)}: is not the one that the log tells of" for key in both if told[key] != kept[key]]
    return missing + extra + changed
