"""One utterance as a file that only the holder of its key can read, sealed chunk by chunk as it is captured.

A file is the header and then chunks, each its length (4 bytes, little-endian) and what ChaCha20-Poly1305 (RFC 8439) makes of it.
The nonce counts the chunks in 11 bytes, big-endian, and ends with 1 in the last one, else 0: the STREAM construction (Hoang,
Reyhanitabar, Rogaway, Vizár, "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", 2015), as age has it, so
that chunks cannot be exchanged, left out or cut off. The key is the file's own. Sound is int16, little-endian, mono, 16 kHz, in
chunks of a quarter of a second however it came, so that they tell nothing of the device's blocks; the last chunk is JSON: what
the sound cannot tell.

A wrap is the key, and maybe something beside it, to one reader: HPKE (RFC 9180) of X25519, HKDF-SHA256 and ChaCha20-Poly1305,
bound to its purpose and to the SHA-256 of the file. It authenticates nobody; the device's signature does (`Utterance.statement`).

What stays in the device's memory: the key is made in place and zeroed in place; sound waits for its chunk to be full in locked
memory, and is zeroed there when that is sealed; neither ever is a `bytes` object. Copies that OpenSSL makes it clears when it
frees them; Python can promise nothing of registers, stacks and pages that were swapped out before.
"""

import json
import os
from collections.abc import Callable
from hashlib import sha256
from io import FileIO
from typing import Any

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite
from numpy.typing import NDArray

from farfield.capture import memory
from farfield.errors import InputError

HEADER = b"farfield sealed utterance 1\n"
CHUNK_BYTES = 8_000  # of plain sound, at most
_TAG, _KEY = 16, 32
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_SOUND = np.dtype("<i2")


def _nonce(chunk: int, last: bool) -> bytes:
    return chunk.to_bytes(11, "big") + bytes([last])


class Sealer:
    """Seals sound into a file. put: writes a buffer to it, whole.

    OSError where that cannot be done, InputError where no memory may be locked.
    """

    def __init__(self, put: Callable[[memoryview], None]) -> None:
        self._put = put
        self._plain: NDArray[np.int16] = np.frombuffer(memory.locked(CHUNK_BYTES), _SOUND)
        self._filled = 0  # samples of it
        self._digest = sha256()
        self.key = bytearray(_KEY)
        with FileIO("/dev/urandom") as entropy:  # the way into a buffer that can be zeroed
            if entropy.readinto(self.key) != _KEY:
                raise OSError("/dev/urandom gave too little")
        self._cipher = ChaCha20Poly1305(self.key)
        self._sealed = memoryview(bytearray(4 + CHUNK_BYTES + _TAG))
        self._chunks = self.samples = 0
        self._write(memoryview(HEADER))

    def sound(self, samples: NDArray[np.int16]) -> None:
        """Seal int16 (samples,), each chunk when it is full; TypeError where it is something else."""
        if samples.dtype != np.int16 or samples.ndim != 1:
            raise TypeError(f"samples: got {samples.dtype} {samples.shape}, wanted int16 (samples,)")
        done = 0
        while done < len(samples):
            part = samples[done : done + len(self._plain) - self._filled]
            self._plain[self._filled : self._filled + len(part)] = part
            self._filled += len(part)
            done += len(part)
            if self._filled == len(self._plain):
                self._seal_sound()
        self.samples += len(samples)

    def finish(self, details: dict[str, Any]) -> bytes:
        """Seal what is left of the sound, and the last chunk; the file's SHA-256."""
        if self._filled:
            self._seal_sound()
        self._seal(memoryview(json.dumps(details).encode()), last=True)
        return self._digest.digest()

    def wrap(self, purpose: str, digest: bytes, reader: X25519PublicKey, beside: dict[str, Any] | None = None) -> bytes:
        """The key, and what is to be beside it, to a reader."""
        plain = self.key + (json.dumps(beside).encode() if beside else b"")
        try:
            return wrap_to(reader, purpose, digest, plain)
        finally:
            zero(plain)

    def destroy(self) -> None:
        """Zero the key, so that nobody who has no wrap can read the file any more, and what sound was waiting."""
        zero(self.key)
        self._plain.fill(0)
        self._plain = np.empty(0, _SOUND)
        del self._cipher

    def _seal_sound(self) -> None:
        self._seal(memoryview(self._plain[: self._filled].view(np.uint8).data), last=False)
        self._plain.fill(0)
        self._filled = 0

    def _seal(self, plain: memoryview, last: bool) -> None:
        size = len(plain) + _TAG
        self._sealed[:4] = size.to_bytes(4, "little")
        self._cipher.encrypt_into(_nonce(self._chunks, last), plain, HEADER, self._sealed[4 : 4 + size])
        self._chunks += 1
        self._write(self._sealed[: 4 + size])

    def _write(self, data: memoryview) -> None:
        self._digest.update(data)
        self._put(data)


def wrap_to(reader: X25519PublicKey, purpose: str, digest: bytes, plain: bytearray | bytes) -> bytes:
    """Anything to a reader's key, bound to a purpose and a digest."""
    return _SUITE.encrypt(plain, reader, info=_info(purpose, digest))


def unwrap(wrap: bytes, reader: X25519PrivateKey, purpose: str, digest: bytes) -> bytearray:
    """What was wrapped; InputError where it was to another key, for another purpose or of another file."""
    try:
        return bytearray(_SUITE.decrypt(wrap, reader, info=_info(purpose, digest)))
    except (InvalidTag, ValueError):
        raise InputError(f"key: does not open this utterance's {purpose} wrap; wanted the key that it was made to") from None


def key_and_beside(plain: bytearray) -> tuple[bytearray, dict[str, Any]]:
    """An utterance's key, and what was wrapped beside it."""
    return plain[:_KEY], json.loads(plain[_KEY:].decode()) if len(plain) > _KEY else {}


def opened(data: bytes, key: bytearray) -> tuple[NDArray[np.int16], dict[str, Any]]:
    """A sealed file's sound, int16 (samples,), and its details; InputError where it is not whole and unchanged."""
    if not data.startswith(HEADER):
        raise InputError("sealed utterance: got another header, wanted one that this version of farfield writes")
    cipher, at, chunk, sound = ChaCha20Poly1305(key), len(HEADER), 0, bytearray()
    while True:
        size = int.from_bytes(data[at : at + 4], "little")
        sealed = data[at + 4 : at + 4 + size]
        last = at + 4 + size == len(data)
        if not _TAG <= size <= CHUNK_BYTES + _TAG or len(sealed) < size:
            raise InputError(f"sealed utterance: cut off or damaged at byte {at}; it cannot be read")
        try:
            plain = cipher.decrypt(_nonce(chunk, last), sealed, HEADER)
        except InvalidTag:
            raise InputError(f"sealed utterance: changed at byte {at} or later; it cannot be read") from None
        if last:
            return np.frombuffer(sound, _SOUND).astype(np.int16), json.loads(plain)
        sound += plain
        at, chunk = at + 4 + size, chunk + 1


def zero(buffer: bytearray) -> None:
    """Overwrite in place."""
    buffer[:] = bytes(len(buffer))


def write_whole(file: FileIO) -> Callable[[memoryview], None]:
    """A function that writes a whole buffer to an unbuffered file, however little the kernel takes at once."""

    def put(data: memoryview) -> None:
        done = 0
        while done < len(data):
            done += os.write(file.fileno(), data[done:])

    return put


def _info(purpose: str, digest: bytes) -> bytes:
    return f"farfield {purpose} 1\n".encode() + digest
