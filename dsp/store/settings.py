"""What a store was set up with: whose keys it seals to, how long it keeps, how much it samples."""

import hmac
from dataclasses import dataclass, fields
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

from farfield.errors import InputError
from farfield.store.records import Change, Execute


@dataclass(frozen=True, slots=True)
class Settings:
    """A store's settings; InputError where one is out of range.

    owner: the public key that everything is sealed to. reviewers: theirs; None: nothing can be reviewed.
    retention_days: how long an utterance is kept, 1 to 3650. sample_share: of consenting utterances that reviewers may get.
    sample_a_day: the most of them of one day. sample_on_device: the most of them that this device ever gives.
    epoch_days: how long the device goes by one pseudonym.
    """

    owner: X25519PublicKey
    reviewers: X25519PublicKey | None = None
    retention_days: int = 30
    sample_share: float = 0.01
    sample_a_day: int = 5
    sample_on_device: int = 500
    epoch_days: int = 30

    def __post_init__(self) -> None:
        for name, least, most in (("retention_days", 1, 3650), ("sample_share", 0, 1), ("sample_a_day", 0, 1000),
                                  ("sample_on_device", 0, 1_000_000), ("epoch_days", 1, 366)):  # fmt: skip
            if not least <= getattr(self, name) <= most:
                raise InputError(f"{name.replace('_', '-')}: got {getattr(self, name)}, wanted {least} to {most}")


def read(change: Change) -> Settings:
    """The settings; InputError where they are damaged."""
    kept = dict(change.execute("SELECT name, value FROM settings"))
    try:
        reviewers = kept.pop("reviewers", None)
        numbers = {name: (float if name == "sample_share" else int)(value) for name, value in kept.items() if name != "owner"}
        return Settings(_key(kept["owner"]), _key(reviewers) if reviewers else None, **numbers)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"settings: are damaged ({error}); set the store up again with: farfield store setup") from None


def write(change: Change, settings: Settings, naming: bytes) -> None:
    """Keep the settings, and say in the log what they are. naming: the device's secret."""
    change.execute("DELETE FROM settings")
    for field in fields(settings):
        value = getattr(settings, field.name)
        kept = value.public_bytes_raw().hex() if isinstance(value, X25519PublicKey) else str(value)
        if value is not None:
            change.execute("INSERT INTO settings VALUES (?, ?)", (field.name, kept))
    change.log("settings", **told(change.execute, naming))


def told(execute: Execute, naming: bytes) -> dict[str, str]:
    """The settings as the log tells them: of the keys, which are identities, what only the device's secret makes of them."""
    kept: dict[str, str] = dict(execute("SELECT name, value FROM settings ORDER BY name").fetchall())
    for name in ("owner", "reviewers"):
        if name in kept:
            kept[name] = hmac.new(naming, b"farfield reader 1\n" + kept[name].encode(), sha256).hexdigest()
    return kept


def _key(text: str) -> X25519PublicKey:
    return X25519PublicKey.from_public_bytes(bytes.fromhex(text))
