"""Keys: pairs of the owner and of the reviewers, made where they live; the device's own, which sign and name and read nothing.

A private key is a JSON file; with a passphrase it is encrypted by ChaCha20-Poly1305 under scrypt (RFC 7914, N = 2^17, r = 8,
p = 1). A public key is PEM (SubjectPublicKeyInfo).
"""

import base64
import json
import os
import secrets
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from farfield.errors import InputError

_KIND = "farfield X25519 private key 1"
_COST = {"n": 2**17, "r": 8, "p": 1}
_MOST_COST = 2**20  # a key file may not ask for more memory than that many blocks


def make_pair(path: Path, passphrase: str | None) -> Path:
    """Write a private key to `path`, readable by its owner alone, and its public key to `path` with .pub; the latter's path.

    Neither may exist (InputError): a key that is overwritten is whatever it sealed, lost.
    """
    if path.is_dir():
        raise InputError(f"{path}: is a folder; wanted a new file's name")
    private, public = X25519PrivateKey.generate(), path.with_suffix(".pub")
    if public == path:
        raise InputError(f"{path}: is a public key's name; wanted another suffix, .key say")
    if public.exists():
        raise InputError(f"{public}: is there already; wanted a new name, so that no key is lost")
    raw, kept = private.private_bytes_raw(), dict[str, Any](kind=_KIND)
    if passphrase:
        salt = secrets.token_bytes(16)
        raw = ChaCha20Poly1305(_stretched(passphrase, salt, _COST)).encrypt(bytes(12), raw, _KIND.encode())
        kept["scrypt"] = _COST | {"salt": _base64(salt)}
    kept["key"] = _base64(raw)
    write_new(path, json.dumps(kept).encode() + b"\n")
    write_new(public, pem(private.public_key()), mode=0o644)
    return public


def needs_passphrase(path: Path) -> bool:
    """Whether a private key's file asks for one."""
    return "scrypt" in _read_private(path)


def load_private(path: Path, passphrase: str | None = None) -> X25519PrivateKey:
    """A private key; InputError where the file is none, or the passphrase is not its own."""
    kept = _read_private(path)
    try:
        raw = base64.b64decode(kept["key"], validate=True)
        if stretching := kept.get("scrypt"):
            if not passphrase:
                raise InputError(f"{path}: is protected; wanted its passphrase")
            if not all(isinstance(stretching[name], int) for name in _COST) or (
                stretching["n"] * stretching["r"] * stretching["p"] > _MOST_COST
            ):
                raise ValueError
            stretched = _stretched(passphrase, base64.b64decode(stretching["salt"], validate=True), stretching)
            raw = ChaCha20Poly1305(stretched).decrypt(bytes(12), raw, _KIND.encode())
        return X25519PrivateKey.from_private_bytes(raw)
    except InvalidTag:
        raise InputError(f"{path}: the passphrase is wrong, or the file is damaged") from None
    except InputError:
        raise
    except (KeyError, TypeError, ValueError):
        raise InputError(f"{path}: is damaged; wanted a private key that farfield wrote") from None


def load_public(path: Path) -> X25519PublicKey:
    """A public key to seal to; InputError where the file is none."""
    try:
        key = serialization.load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); wanted a public key (.pub)") from None
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, X25519PublicKey):
        raise InputError(f"{path}: is no X25519 public key in PEM; wanted the .pub of: farfield store key")
    return key


def pem(key: X25519PublicKey | Ed25519PublicKey) -> bytes:
    """A public key as PEM."""
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def fingerprint(key: X25519PublicKey | Ed25519PublicKey) -> str:
    """16 hex digits of SHA-256 by which people compare public keys."""
    return sha256(key.public_bytes_raw()).hexdigest()[:16]


class Device:
    """A device's two secrets, kept in its store: one signs, one makes its names. Neither reads what it sealed.

    folder: of the store; `make` creates the secrets that are not there yet. InputError where they cannot be read.
    """

    def __init__(self, folder: Path, *, make: bool = False) -> None:
        for name in ("device.key", "names.key"):
            if make and not (folder / name).exists():
                write_new(folder / name, secrets.token_bytes(32))
        self.signing = Ed25519PrivateKey.from_private_bytes(_secret(folder / "device.key"))
        self.naming = _secret(folder / "names.key")

    @property
    def public(self) -> Ed25519PublicKey:
        """The key that the device's signatures verify with."""
        return self.signing.public_key()


def write_new(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file that is not there yet, durably: whole, or not at all; InputError where it is, or cannot be written."""
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        if path.exists():
            raise InputError(f"{path}: is there already; wanted a new name, so that no key is lost")
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.rename(unfinished, path)
        sync_folder(path.parent)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); wanted a file in a folder that is there") from None
    finally:
        with suppress(OSError):  # on a read-only disk there is none
            unfinished.unlink()


def sync_folder(folder: Path) -> None:
    """Make durable which files a folder has."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _secret(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        if (path.parent / "records.db").exists():
            raise InputError(f"{path}: is missing; nothing is kept or read without it; wanted it put back from a copy") from None
        raise InputError(f"{path.parent}: is no store; set one up with: farfield store setup {path.parent}") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); wanted the key of a store that was set up") from None
    if len(data) != 32:
        raise InputError(f"{path}: got {len(data)} bytes, wanted 32; it is damaged")
    return data


def _read_private(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); wanted a private key's file") from None
    except ValueError:
        kept = None
    if not isinstance(kept, dict) or kept.get("kind") != _KIND:
        raise InputError(f"{path}: is no private key that farfield wrote; wanted the .key of: farfield store key")
    return kept


def _stretched(passphrase: str, salt: bytes, cost: dict[str, Any]) -> bytes:
    return Scrypt(salt=salt, length=32, n=cost["n"], r=cost["r"], p=cost["p"]).derive(passphrase.encode())


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
