"""A store that is opened: its folder, its device's keys, and its records, changed by one at a time."""

import random
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from farfield.errors import InputError
from farfield.store import consent, review, settings
from farfield.store.ageing import Moment, Uptime, since_boot
from farfield.store.keys import Device, pem, sync_folder, write_new
from farfield.store.log import Log
from farfield.store.records import Change, Clock, Records
from farfield.store.sealing import recover
from farfield.store.settings import Settings


def utc_now() -> datetime:
    """The host's date and time."""
    return datetime.now(UTC)


class Opened:
    """A store's folder. Parameters and errors: as of `store.Store`, which adds what can be done with what is in it."""

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock = utc_now,
        uptime: Uptime = since_boot,
        chance: random.Random | None = None,
        wait_s: float = 10.0,
        writer: Executor | None = None,
    ) -> None:
        self.folder = folder
        self.why_not: str | None = None
        self.chance = chance or random.SystemRandom()
        self.device = Device(folder)
        self._records = Records(folder, clock, uptime, wait_s)
        # A thread comes with its first work: within the sandbox, and at the listener's priority, or while others are busy it
        # would be stopped with the interpreter's lock in its hands, for which the listener would wait.
        self.writer = writer or ThreadPoolExecutor(1, "store")
        self._wait_s = wait_s
        self._mine = threading.Lock()
        self._trouble, self._recovered = 1, 0  # how often something was left to undo, and up to which time it was undone
        self._known: tuple[Moment, dict[str, int]] | None = None

    @classmethod
    def set_up(cls, folder: Path, wanted: Settings, *, clock: Clock = utc_now, uptime: Uptime = since_boot) -> Self:
        """Make a store in a folder, with the device's keys, or give one that is there other settings. The clock must be set.

        What was sealed to an earlier owner's key stays sealed to it. Another reviewers' key, or a smaller sample, destroys the
        wraps that are no longer allowed.
        """
        try:
            (folder / "sealed").mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.chmod(0o700)
            sync_folder(folder)
            records = Records(folder, clock, uptime)
            with records.lock():
                device = Device(folder, make=not records.path.is_file())
                if not (folder / "device.pub").exists():
                    write_new(folder / "device.pub", pem(device.public), mode=0o644)
            records.make(Log(device.signing))
        except (OSError, sqlite3.Error) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise InputError(f"{folder}: cannot be set up ({reason}); wanted a folder that can be written to") from None
        store = cls(folder, clock=clock, uptime=uptime)
        with store.change() as change:
            store._set(change, wanted)
        return store

    def _set(self, change: Change, wanted: Settings) -> None:
        before = change.execute("SELECT value FROM settings WHERE name = 'reviewers'").fetchone()
        change.believe_clock()
        settings.write(change, wanted, self.device.naming)
        others = before != ((wanted.reviewers.public_bytes_raw().hex(),) if wanted.reviewers else None)
        review.limit(change, wanted, self.chance, others)

    def settings(self, change: Change | None = None) -> Settings:
        """What the store was set up with."""
        if change is not None:
            return settings.read(change)
        with self.change() as fresh:
            return settings.read(fresh)

    @contextmanager
    def change(self) -> Iterator[Change]:
        """A change of the records; the first undoes what a process that died had begun."""
        with self._mine:
            trouble, recovered = self._trouble, self._recovered
            self._recovered = 0
            with self._records.change(Log(self.device.signing)) as change:
                if recovered != trouble:
                    recover(self.folder, change)
                yield change
            self._recovered = trouble

    @contextmanager
    def keeping(self) -> Iterator[Change]:
        """A change that leaves the consents as they are: whoever begins meanwhile need not wait for it."""
        try:
            with self.change() as change:
                self._known = change.moment, consent.all_given(change)
                yield change
        finally:
            self._known = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else is in the store. OSError, InputError: as `Records.lock`."""
        with self._records.lock():
            yield

    @contextmanager
    def look(self) -> Iterator[sqlite3.Connection]:
        """The records as they are, for reading, even where the audit log does not verify."""
        with self._mine, self._records.look() as database:
            yield database

    def failed(self, error: BaseException) -> None:
        """An utterance is not kept, for this reason; the next change looks for what was left."""
        self.why_not = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        self._trouble += 1
