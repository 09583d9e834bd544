"""The store: what an owner allowed is kept sealed, is found, read and destroyed, and every step is in the audit log."""

import json
import time
from collections.abc import Callable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from farfield.capture.keeper import Opening
from farfield.errors import InputError
from farfield.store import consent, review, sampling, sealed, settings, utterance
from farfield.store.ageing import Moment
from farfield.store.consent import Consent, Policy
from farfield.store.log import Log
from farfield.store.opened import Opened
from farfield.store.receipt import Receipt
from farfield.store.records import Busy, Change, when
from farfield.store.sealing import FileSealing
from farfield.store.utterance import Utterance, sealed_path

_BEGIN_WAIT_S = 0.25  # for others who use the store, while the listening stands still


class Store(Opened):
    """A folder of sealed utterances: a `farfield.capture.Keeper`, and what its owner may do with it.

    folder: set up by `set_up`, else InputError. clock: the date, aware of its zone. uptime: see `ageing`. chance: decides what
    reviewers may get. wait_s: how long each method waits for others who use the store, at most, before that is an InputError too;
    `begin` waits a quarter of a second. writer: what does the disk's part of sealing, one thing after the other (None: a thread
    of the store's own).
    why_not: why the last utterance was not kept; None where it was, or nothing has gone wrong yet.
    Each method is one change of the store, whole or not at all; a disk that is full, read-only or failing is an InputError, but
    in `begin` and what it returns, which only say so in `why_not`. Can be used from several threads and processes at once.
    """

    def begin(self, opening: Opening) -> FileSealing | None:
        """What seals the utterance that begins; None, as `why_not` says, without consent or where the disk does not take it."""
        self.why_not = None
        try:
            moment, consented = self._consented()
            if "store" not in consented:
                self.why_not = "there is no consent to store"
                return None
            return FileSealing(self, opening, moment, consented)
        except (OSError, InputError) as error:
            self.failed(error)
            return None

    def _consented(self) -> tuple[Moment, dict[str, int]]:
        """When it is, and what is consented to; what is withdrawn meanwhile is seen when the utterance ends."""
        give_up = time.monotonic() + min(_BEGIN_WAIT_S, self._wait_s)
        while (known := self._known) is None:
            try:
                with self._records.glance(Log(self.device.signing)) as change:
                    if change is not None:
                        settings.read(change)
                        return change.moment, consent.all_given(change)
                with self.change() as change:
                    return change.moment, consent.all_given(change)
            except Busy:
                if time.monotonic() >= give_up:
                    raise Busy(self.folder, min(_BEGIN_WAIT_S, self._wait_s)) from None
                time.sleep(0.002)  # nothing tells when a lock is free
        return known

    def consents(self) -> list[Consent]:
        """Every consent and withdrawal, oldest first."""
        with self.change() as change:
            return consent.record(change.execute)

    def consented(self) -> set[str]:
        """The purposes that are consented to now."""
        with self.change() as change:
            return {purpose for purpose in consent.PURPOSES if consent.given(change, purpose) is not None}

    def give(self, purposes: Sequence[str], policy: Policy) -> None:
        """Consent to purposes, under a policy."""
        with self.change() as change:
            for purpose in purposes:
                consent.enter(change, purpose, policy)

    def withdraw(self, purposes: Sequence[str]) -> Receipt:
        """Withdraw consent, for what is stored already too, as the receipt says.

        store: every utterance is destroyed. review, false-wake: the wraps for reviewers are destroyed. train: no utterance may
        teach any more.
        """

        def chosen(change: Change) -> tuple[list[str], list[str]]:
            aliases = []
            for purpose in purposes:
                consent.enter(change, purpose, None)
                if purpose in ("review", "false-wake"):
                    aliases += utterance.drop_wraps(change, utterance.wrapped_for(change, purpose), purpose)
            if "train" in purposes:
                change.execute("UPDATE utterances SET train = 0")
            return (utterance.ids(change.execute) if "store" in purposes else []), aliases

        return self._erase(chosen, "consent")

    def utterances(self) -> list[Utterance]:
        """What is kept, oldest first."""
        with self.change() as change:
            return utterance.every(change.execute)

    def find(self, identity: str) -> Utterance:
        """The utterance of this id or of the only one that begins so; InputError where there is none."""
        with self.change() as change:
            return utterance.find(change.execute, identity)

    def read(self, identity: str, owner: X25519PrivateKey, what: str = "read") -> tuple[NDArray[np.int16], dict[str, Any]]:
        """The sound, int16 (samples,), and all that is known, with the owner's key; a leaf of the log says `what` was done.

        InputError where the key is another, or the record, the wrap or the sound is not what the device signed.
        """
        with self.change() as change:
            kept = utterance.find(change.execute, identity)
            wrap = utterance.owner_wrap(change.execute, kept.id)
            utterance.verify(kept, wrap, self.device.public)
            key, beside = sealed.key_and_beside(sealed.unwrap(wrap, owner, "owner", kept.digest))
            body = sealed_path(self.folder, kept.id).read_bytes()
            if sha256(body).digest() != kept.digest:
                raise InputError(f"{kept.id}: the sealed sound is not what the device signed; it is damaged or was changed")
            rows = change.execute("SELECT kind, sealed FROM derived WHERE utterance = ?", (kept.id,))
            derived = {kind: sealed.unwrap(bytes(data), owner, kind, kept.digest).decode() for kind, data in rows}
            change.log(what, utterance=kept.id)
        samples, told = sealed.opened(body, key)
        sealed.zero(key)
        known = {"id": kept.id, "at": when(kept.at), "reported": kept.reported, "train": kept.train}
        return samples, known | told | beside | derived

    def attach(self, identity: str, kind: str, text: str) -> None:
        """Keep something derived from an utterance, a transcript say, sealed to the owner; it goes when the utterance goes."""
        if not kind.isidentifier() or kind in ("owner", "review"):
            raise InputError(f"kind: got {kind!r}, wanted a plain name such as transcript")
        with self.change() as change:
            kept = utterance.find(change.execute, identity)
            data = sealed.wrap_to(self.settings(change).owner, kind, kept.digest, text.encode())
            change.execute("INSERT OR REPLACE INTO derived VALUES (?, ?, ?)", (kept.id, kind, data))
            change.log("derive", utterance=kept.id, kind=kind, digest=sha256(data).hexdigest())

    def report(self, identity: str) -> None:
        """The owner says that this was not for the device."""
        with self.change() as change:
            kept = utterance.find(change.execute, identity)
            change.execute("UPDATE utterances SET reported = 1 WHERE id = ?", (kept.id,))
            change.log("report", utterance=kept.id)

    def offer(self, identity: str, owner: X25519PrivateKey) -> None:
        """Offer a reported false wake to the reviewers. The owner's key wraps its key to them, for the device has dropped it."""
        with self.change() as change:
            kept, reviewers = utterance.find(change.execute, identity), self.settings(change).reviewers
            if consent.given(change, "false-wake") is None:
                raise InputError("offer: there is no consent to false-wake; give it with: farfield consent give false-wake")
            if not kept.reported or reviewers is None:
                wanted = "one that was reported first" if reviewers else "reviewers' key, which the store was not set up with"
                raise InputError(f"offer: {kept.id} cannot be offered; wanted {wanted}")
            if kept.at < change.moment.begun:
                raise InputError(f"offer: {kept.id} was kept before the clock was set; its hour would tell which device it was")
            if kept.id in utterance.wrapped_for(change, "false-wake"):
                return
            wrap = utterance.owner_wrap(change.execute, kept.id)
            utterance.verify(kept, wrap, self.device.public)
            key, _ = sealed.key_and_beside(sealed.unwrap(wrap, owner, "owner", kept.digest))
            utterance.add_wrap(change, kept.id, "false-wake", sealed.wrap_to(reviewers, "review", kept.digest, key))
            sealed.zero(key)

    def export_review(self, folder: Path) -> list[str]:
        """Write what reviewers may get and have not got, a file for each clip into a folder; their aliases.

        Samples leave when their day is over (UTC), and what is past its retention does not. An export that was cut short is
        taken up where it ended, under the same aliases.
        """
        self.expire()
        with self.change() as change:
            review.name_ready(change)
        with self.change() as change:
            waiting = review.unwritten(change)
        written = []
        for alias in waiting:
            with self.change() as change:
                if review.write(change, alias, self.folder, self.device, self.settings(change), folder):
                    written.append(alias)
        return written

    def delete(self, identities: Sequence[str]) -> Receipt:
        """Destroy utterances: wraps, sealed sound, and everything derived. InputError, and nothing done, if one is not kept."""

        def chosen(change: Change) -> tuple[list[str], list[str]]:
            return [utterance.find(change.execute, identity).id for identity in dict.fromkeys(identities)], []

        return self._erase(chosen, "owner")

    def expire(self) -> Receipt | None:
        """Destroy what is past its retention, and what a process that died left; None without any.

        A service calls it when it starts and at least hourly.
        """
        self._trouble += 1

        def chosen(change: Change) -> tuple[list[str], list[str]]:
            return utterance.ids(change.execute, change.age - self.settings(change).retention_days * sampling.DAY), []

        receipt = self._erase(chosen, "retention")
        return receipt if receipt.utterances else None

    def _erase(self, chosen: Callable[[Change], tuple[list[str], list[str]]], why: str) -> Receipt:
        """Destroy what is chosen: the records for good, then the files, so that whoever dies leaves only what `recover` destroys.

        chosen: gives ids, and the aliases that are recalled beside theirs.
        """
        with self.change() as change:
            first = change.entries
            identities, recalled = chosen(change)
            recalled += utterance.erase(change, identities, why)
            entries = first, change.entries
            receipt = Receipt(when(change.at), why, tuple(identities), tuple(recalled), entries, change.checkpoint)
        try:
            utterance.destroy(sealed_path(self.folder, identity) for identity in identities)
        except OSError as error:
            self._trouble += 1
            told = f"keys are destroyed, sealed sound is not yet ({error.strerror}); the next change tries again"
            raise InputError(f"{self.folder}: {told}") from error
        return receipt


def as_json(kept: Utterance) -> str:
    """An utterance's record as the command line prints it."""
    return json.dumps({"id": kept.id, "at": when(kept.at), "seconds": round(kept.samples / 16_000, 2), "word": kept.word,
                       "reported": kept.reported, "train": kept.train})  # fmt: skip
