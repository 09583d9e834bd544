"""What reviewers get: for each clip one file that holds the sound, sealed to them, and nothing that tells whose it is.

A package is JSON with exactly these fields: kind; alias, fresh for each clip; pseudonym, the device's for the epoch; hour, of the
capture, UTC; why, sample or false-wake; train, whether it may teach models; wrap and sealed, base64; signature, the pseudonym's
over the rest. It proves that the clips of one pseudonym come from one device, whole, and not from which.
"""

import base64
import json
import os
import random
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from farfield.errors import InputError
from farfield.store import consent, names, sampling, sealed, utterance
from farfield.store.keys import Device, sync_folder
from farfield.store.records import Change, when
from farfield.store.settings import Settings

_KIND = "farfield review package 1"
_FIELDS = {"kind", "alias", "pseudonym", "hour", "why", "train", "wrap", "sealed", "signature"}
_WHY = {"review": "sample", "false-wake": "false-wake"}
MOST_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class Clip:
    """A package as a reviewer reads it.

    samples: int16 (samples,), 16 kHz. word_start, word_end: where the word lies in them. score: by which it was accepted.
    gaps: where samples were lost: before which of these, and how many.
    """

    alias: str
    pseudonym: str
    hour: str
    why: str
    train: bool
    samples: NDArray[np.int16]
    word: str
    score: float
    word_start: int
    word_end: int
    gaps: tuple[tuple[int, int], ...]


def name_ready(change: Change) -> None:
    """Give an alias to every clip that may leave now: samples of days that are over, and offered false wakes."""
    sampling.close(change, change.age)
    rows = change.execute(
        "SELECT utterance, purpose FROM wraps WHERE alias IS NULL AND (purpose = 'false-wake' OR purpose = 'review' AND day < ?)",
        (change.age // sampling.DAY,),
    ).fetchall()
    for identity, purpose in rows:
        if consent.given(change, purpose) is None:
            continue
        change.execute("UPDATE wraps SET alias = ? WHERE utterance = ? AND purpose = ?", (names.fresh(), identity, purpose))
        change.log("export", utterance=identity, purpose=purpose)


def unwritten(change: Change) -> list[str]:
    """The aliases of clips whose packages have not been written, in an order that tells nothing."""
    rows = change.execute("SELECT alias FROM wraps WHERE alias IS NOT NULL AND NOT written ORDER BY alias")
    return [alias for (alias,) in rows]


def write(change: Change, alias: str, store: Path, device: Device, settings: Settings, folder: Path) -> bool:
    """Write a clip's package into a folder, within the change, so that nobody withdraws meanwhile; whether it still may leave."""
    found = change.execute("SELECT utterance, purpose, wrap FROM wraps WHERE alias = ? AND NOT written", (alias,)).fetchone()
    if found is None:
        return False
    package = _package(change, store, device, settings, alias, *found)
    try:
        put(folder, alias, package)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); wanted a folder that is there") from None
    change.execute("UPDATE wraps SET written = 1 WHERE alias = ?", (alias,))
    return True


def limit(change: Change, settings: Settings, chance: random.Random, others: bool) -> None:
    """Destroy the wraps that these settings do not allow; others: they are to other reviewers.

    What has left stays recorded, to be recalled when its utterance goes, but it does not leave again.
    """
    change.execute("UPDATE wraps SET written = 1 WHERE alias IS NOT NULL AND ?", (others,))
    waiting = change.execute("SELECT utterance, purpose, slot FROM wraps WHERE purpose != 'owner' AND alias IS NULL").fetchall()
    dropped = {(one, purpose) for one, purpose, slot in waiting if others or (slot is not None and slot >= settings.sample_a_day)}
    left = sorted(one for one, purpose, _ in waiting if purpose == "review" and (one, purpose) not in dropped)
    excess = max(0, sampling.places_had(change) - settings.sample_on_device)
    dropped |= {(one, "review") for one in chance.sample(left, min(excess, len(left)))}
    for one, purpose in sorted(dropped):
        utterance.drop_wraps(change, [one], purpose)


def _package(
    change: Change, folder: Path, device: Device, settings: Settings, alias: str, identity: str, purpose: str, wrap: bytes
) -> bytes:
    kept = utterance.find(change.execute, identity)
    signer = names.signer(device.naming, kept.at, settings.epoch_days)
    stated = {
        "kind": _KIND,
        "alias": alias,
        "pseudonym": signer.public_key().public_bytes_raw().hex(),
        "hour": when(names.hour(kept.at)),
        "why": _WHY[purpose],
        "train": kept.train,
        "wrap": base64.b64encode(wrap).decode(),
        "sealed": base64.b64encode(utterance.sealed_path(folder, identity).read_bytes()).decode(),
    }
    return json.dumps(stated | {"signature": signer.sign(_bytes(stated)).hex()}).encode() + b"\n"


def put(folder: Path, alias: str, package: bytes) -> None:
    """Write a package, whole or not at all; its times are 1970's, for a file's times tell too."""
    unfinished, path = folder / f".{alias}", folder / f"{alias}.json"
    with open(unfinished, "wb") as file:
        file.write(package)
        file.flush()
        os.fsync(file.fileno())
    os.utime(unfinished, (0, 0))
    os.rename(unfinished, path)
    sync_folder(folder)


def read_package(data: bytes, reviewers: X25519PrivateKey) -> Clip:
    """Open a package; InputError where it is none, was changed, is to others, or holds anything else."""
    try:
        stated: dict[str, Any] = json.loads(data) if len(data) <= MOST_BYTES else {}
        if set(stated) != _FIELDS or stated["kind"] != _KIND:
            raise ValueError
        signature = bytes.fromhex(stated.pop("signature"))
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(stated["pseudonym"])).verify(signature, _bytes(stated))
        body, wrap = (base64.b64decode(stated[name], validate=True) for name in ("sealed", "wrap"))
    except (TypeError, ValueError, AttributeError, InvalidSignature):
        raise InputError("review package: is none, or was changed; wanted one of: farfield utterances review") from None
    key, _ = sealed.key_and_beside(sealed.unwrap(wrap, reviewers, "review", sha256(body).digest()))
    samples, told = sealed.opened(body, key)
    return Clip(stated["alias"], stated["pseudonym"], stated["hour"], stated["why"], stated["train"], samples,
                told["word"], told["score"], told["word_start"], told["word_end"],
                tuple((at, missing) for at, missing in told["gaps"]))  # fmt: skip


def _bytes(stated: dict[str, Any]) -> bytes:
    return json.dumps(stated, sort_keys=True).encode()
