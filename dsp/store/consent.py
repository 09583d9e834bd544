"""Consent: for each purpose given or withdrawn, off until it is given, and the record of it only ever grows."""

from dataclasses import dataclass
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from farfield.errors import InputError
from farfield.store.records import Change, Execute

PURPOSES = ("store", "review", "train", "false-wake")
SHIPPED_VERSION = "1"


@dataclass(frozen=True, slots=True)
class Policy:
    """What was consented to: a version, and the text by its SHA-256 in hex."""

    version: str
    text_hash: str

    @classmethod
    def of(cls, text: bytes, version: str) -> "Policy":
        """The policy of this text; InputError without a version or a text."""
        if not version or not text:
            raise InputError("policy: got no version or no text, wanted both")
        return cls(version, sha256(text).hexdigest())


@dataclass(frozen=True, slots=True)
class Consent:
    """One entry of the record. at: seconds since 1970. policy: None for a withdrawal."""

    position: int
    purpose: str
    given: bool
    at: int
    policy: Policy | None


def policy_text(path: Path | None = None) -> bytes:
    """A policy's text: of a file, or the one that ships."""
    if path is None:
        return (files("farfield.store") / "policy.txt").read_bytes()
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); wanted the policy's text") from None


def record(execute: Execute) -> list[Consent]:
    """Every entry, oldest first."""
    rows = execute("SELECT position, purpose, given, at, policy_version, policy_hash FROM consents ORDER BY position")
    return [Consent(n, purpose, bool(given), at, Policy(version, text) if given else None)
            for n, purpose, given, at, version, text in rows]  # fmt: skip


def given(change: Change, purpose: str) -> int | None:
    """The position of the entry by which the purpose is consented to now; None where it is not."""
    found = change.execute(
        "SELECT position, given FROM consents WHERE purpose = ? ORDER BY position DESC LIMIT 1", (purpose,)
    ).fetchone()
    return found[0] if found and found[1] else None


def all_given(change: Change) -> dict[str, int]:
    """What is consented to now: each purpose, and the position of the entry by which it is."""
    found = {purpose: given(change, purpose) for purpose in PURPOSES}
    return {purpose: position for purpose, position in found.items() if position is not None}


def held(change: Change, purpose: str, then: dict[str, int]) -> bool:
    """Whether a purpose was consented to `then` (`all_given`), and was never withdrawn since, not even for a moment."""
    return purpose in then and change.execute(
        "SELECT 1 FROM consents WHERE purpose = ? AND position > ? AND NOT given", (purpose, then[purpose])
    ).fetchone() is None  # fmt: skip


def enter(change: Change, purpose: str, policy: Policy | None) -> None:
    """Give consent under a policy, or withdraw it (None)."""
    check(purpose)
    version, text = (policy.version, policy.text_hash) if policy else (None, None)
    change.execute(
        "INSERT INTO consents (purpose, given, at, policy_version, policy_hash) VALUES (?, ?, ?, ?, ?)",
        (purpose, policy is not None, change.at, version, text),
    )
    change.log("consent", purpose=purpose, given=policy is not None, policy=version or "", policy_hash=text or "")


def check(purpose: str) -> None:
    """InputError where there is no such purpose."""
    if purpose not in PURPOSES:
        raise InputError(f"purpose: got {purpose!r}, wanted one of {', '.join(PURPOSES)}")
