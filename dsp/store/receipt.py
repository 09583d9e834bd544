"""What the owner gets for a deletion: what was destroyed, where the audit log says so, signed by the device."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from farfield.errors import InputError

_KIND = "farfield deletion receipt 1"


@dataclass(frozen=True, slots=True)
class Receipt:
    """Utterances that were destroyed.

    at: UTC. why: owner, consent or retention. utterances: their ids. recalled: the aliases under which any of them had left for
    review, for whoever got them to destroy. entries: of the audit log, first and after the last. checkpoint: the log's signed
    head after them.
    """

    at: str
    why: str
    utterances: tuple[str, ...]
    recalled: tuple[str, ...]
    entries: tuple[int, int]
    checkpoint: str

    def signed(self, key: Ed25519PrivateKey) -> bytes:
        """The receipt as JSON with the device's signature."""
        return (json.dumps(_stated(self) | {"signature": key.sign(_bytes(_stated(self))).hex()}, indent=2) + "\n").encode()


def read_receipt(data: bytes, key: Ed25519PublicKey) -> Receipt:
    """A receipt of the device with this key; InputError where it is none, or was changed."""
    try:
        stated: dict[str, Any] = json.loads(data)
        signature = bytes.fromhex(stated.pop("signature"))
        if stated.pop("kind") != _KIND:
            raise ValueError
        key.verify(signature, _bytes({"kind": _KIND} | stated))
        for name in ("utterances", "recalled", "entries"):
            stated[name] = tuple(stated[name])
        return Receipt(**stated)
    except (KeyError, TypeError, ValueError, AttributeError, InvalidSignature):
        raise InputError("receipt: is none, or was not signed by this device") from None


def read_witness(path: Path, key: Ed25519PublicKey) -> str:
    """The checkpoint in a file that holds one, or a receipt."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); wanted a saved checkpoint or a receipt") from None
    if data.lstrip().startswith(b"{"):
        return read_receipt(data, key).checkpoint
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InputError(f"{path}: is neither a checkpoint nor a receipt") from None


def _stated(receipt: Receipt) -> dict[str, Any]:
    return {"kind": _KIND} | asdict(receipt)


def _bytes(stated: dict[str, Any]) -> bytes:
    return json.dumps(stated, sort_keys=True).encode()
