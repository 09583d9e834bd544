"""Names under which anything leaves: a pseudonym that changes by epoch, an alias for each clip, the hour instead of the time.

The pseudonym is an Ed25519 public key whose seed is HMAC-SHA256(the device's naming secret, epoch): whoever does not have the
secret can neither tell which device it is nor which two pseudonyms are one device's, and what is signed by it comes from nobody
else. Nothing of a serial number or an account goes into it.
"""

import hmac
import secrets
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from farfield.store.sampling import DAY


def signer(naming: bytes, at: int, epoch_days: int) -> Ed25519PrivateKey:
    """What signs as the device's pseudonym of the epoch that the time `at`, in seconds since 1970, falls into."""
    epoch = (at // (epoch_days * DAY)).to_bytes(8, "big", signed=True)
    seed = hmac.new(naming, b"farfield pseudonym 1\n" + epoch_days.to_bytes(2, "big") + epoch, sha256).digest()
    return Ed25519PrivateKey.from_private_bytes(seed)


def pseudonym(naming: bytes, at: int, epoch_days: int) -> str:
    """The device's name in that epoch, 64 hex digits."""
    return signer(naming, at, epoch_days).public_key().public_bytes_raw().hex()


def fresh() -> str:
    """A name that was never given before and tells nothing: 128 random bits in hex."""
    return secrets.token_hex(16)


def hour(at: int) -> int:
    """The time rounded down to the hour."""
    return at - at % 3_600
