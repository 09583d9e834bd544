"""Whether a store's audit log is whole, and whether what is kept is what the log says: `farfield audit verify`."""

import json
import sqlite3
from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from farfield.errors import InputError
from farfield.store import consent, log, merkle, utterance
from farfield.store.records import when
from farfield.store.store import Store
from farfield.store.utterance import sealed_path


def entries(store: Store) -> list[dict[str, Any]]:
    """The log's entries, oldest first, each with its position."""
    with store.look() as database:
        rows = _leaves(database)
    return [{"entry": position} | json.loads(leaf) | {"at": when(json.loads(leaf)["at"])} for position, leaf in rows]


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
    path = merkle.inclusion_proof(position, [merkle.leaf_hash(leaf) for _, leaf in leaves])
    return {"entry": position, "leaf": leaves[position][1].decode(), "path": [node.hex() for node in path], "checkpoint": note}


def verify(store: Store, witnesses: Sequence[str] = ()) -> tuple[int, list[str]]:
    """How many entries the log has, and all that is wrong with it or with what is kept, a line each.

    The log must give its signed head and grow out of the checkpoints in `witnesses`; consents, utterances, wraps and what is
    derived must be those that it tells of; each record signed by the device, and each sealed file the one that was recorded.
    A device's owner who has no checkpoint elsewhere cannot tell an old copy of the whole store from the store.
    """
    try:
        with store.look() as database:
            leaves = _leaves(database)
            wrong = log.check(leaves, _note(database), store.device.public, witnesses)
            return len(leaves), wrong + _against(store, database, leaves)
    except InputError as error:
        if not isinstance(error.__cause__, sqlite3.DatabaseError):
            raise
        return 0, [f"records: {error.__cause__}"]


def _leaves(database: sqlite3.Connection) -> list[tuple[int, bytes]]:
    return database.execute("SELECT position, leaf FROM log ORDER BY position").fetchall()


def _note(database: sqlite3.Connection) -> str:
    found = database.execute("SELECT checkpoint FROM head").fetchone()
    return str(found[0]) if found else ""


class _Told:
    """What the log's entries, one after the other, come to."""

    def __init__(self) -> None:
        self.consents: list[tuple[str, bool, str, str]] = []
        self.utterances: dict[str, str] = {}
        self.wraps: set[tuple[str, str]] = set()
        self.derived: dict[tuple[str, str], str] = {}

    def take(self, entry: dict[str, Any]) -> None:
        what, identity = entry["what"], entry.get("utterance", "")
        if what == "consent":
            self.consents.append((entry["purpose"], entry["given"], entry["policy"], entry["policy_hash"]))
        elif what == "store":
            self.utterances[identity] = entry["digest"]
        elif what == "wrap":
            self.wraps.add((identity, entry["purpose"]))
        elif what == "unwrap":
            self.wraps.discard((identity, entry["purpose"]))
        elif what == "derive":
            self.derived[identity, entry["kind"]] = entry["digest"]
        elif what == "delete":
            del self.utterances[identity]
            self.wraps = {wrap for wrap in self.wraps if wrap[0] != identity}
            self.derived = {key: digest for key, digest in self.derived.items() if key[0] != identity}


def _against(store: Store, database: sqlite3.Connection, leaves: Sequence[tuple[int, bytes]]) -> list[str]:
    told = _Told()
    for position, leaf in leaves:
        try:
            told.take(json.loads(leaf))
        except (AttributeError, KeyError, TypeError, ValueError):
            return [f"entry {position}: cannot be read, or does not fit those before it"]
    execute = database.execute
    kept = {one.id: one for one in utterance.every(execute)}
    wraps = {(identity, purpose) for identity, purpose in execute("SELECT utterance, purpose FROM wraps")}
    derived = {(identity, kind): sha256(data).hexdigest()
               for identity, kind, data in execute("SELECT utterance, kind, sealed FROM derived")}  # fmt: skip
    consents = [(entry.purpose, entry.given, *((entry.policy.version, entry.policy.text_hash) if entry.policy else ("", "")))
                for entry in consent.record(execute)]  # fmt: skip
    wrong = _differ("utterance", told.utterances, {identity: one.digest.hex() for identity, one in kept.items()})
    wrong += _differ("wrap", dict.fromkeys(told.wraps, ""), dict.fromkeys(wraps, ""))
    wrong += _differ("derived", told.derived, derived)
    if consents != told.consents:
        wrong.append("consents: their record is not what the log tells")
    for identity, one in kept.items():
        path = sealed_path(store.folder, identity)
        if not path.is_file() or sha256(path.read_bytes()).digest() != one.digest:
            wrong.append(f"utterance {identity}: its sealed sound is missing or was changed")
        if (identity, "owner") in wraps:
            try:
                utterance.verify(one, utterance.owner_wrap(execute, identity), store.device.public)
            except InputError as error:
                wrong.append(f"utterance {error}")
    return wrong


def _differ(what: str, told: dict[Any, str], kept: dict[Any, str]) -> list[str]:
    def name(key: Any) -> str:
        return f"{what} {' '.join(key) if isinstance(key, tuple) else key}"

    missing = [f"{name(key)}: the log tells of it, it is not there" for key in sorted(told.keys() - kept.keys())]
    extra = [f"{name(key)}: is there, the log does not tell of it" for key in sorted(kept.keys() - told.keys())]
    both = sorted(told.keys() & kept.keys())
    changed = [f"{name(key)}: is not the one that the log tells of" for key in both if told[key] != kept[key]]
    return missing + extra + changed
