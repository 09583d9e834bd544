"""The store's records: one SQLite file, one writer at a time, and nothing left of what was deleted.

A change holds the store's lock, is one transaction, and appends to the audit log in it. Pages of deleted records are overwritten
(`secure_delete`), and the write-ahead journal, which still has them, is written back and cut to nothing before the change returns
(`wal_checkpoint(TRUNCATE)`). Every change opens the database anew, so that a service and a command can use one store by turns.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from farfield.errors import InputError
from farfield.store import ageing
from farfield.store.ageing import Ageing, Moment, Uptime, since_boot
from farfield.store.log import Log

Clock = Callable[[], datetime]
Execute = Callable[..., sqlite3.Cursor]  # of a change, or of a database that is looked at
_VERSION = 1
_SCHEMA = f"""
PRAGMA user_version = {_VERSION};
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE consents (
    position INTEGER PRIMARY KEY, purpose TEXT NOT NULL, given INTEGER NOT NULL, at INTEGER NOT NULL,
    policy_version TEXT, policy_hash TEXT) STRICT;
CREATE TRIGGER consents_stay BEFORE DELETE ON consents BEGIN SELECT RAISE(ABORT, 'consents are only appended'); END;
CREATE TRIGGER consents_hold BEFORE UPDATE ON consents BEGIN SELECT RAISE(ABORT, 'consents are only appended'); END;
CREATE TABLE utterances (
    position INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, at INTEGER NOT NULL, age INTEGER NOT NULL,
    samples INTEGER NOT NULL, word TEXT NOT NULL, digest BLOB NOT NULL, signature BLOB NOT NULL,
    train INTEGER NOT NULL, reported INTEGER NOT NULL) STRICT;
CREATE TABLE wraps (
    utterance TEXT NOT NULL REFERENCES utterances (id) ON DELETE CASCADE, purpose TEXT NOT NULL, wrap BLOB NOT NULL,
    day INTEGER, slot INTEGER, alias TEXT, written INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (utterance, purpose)) STRICT;
CREATE UNIQUE INDEX places ON wraps (day, slot) WHERE slot IS NOT NULL;
CREATE TABLE derived (
    utterance TEXT NOT NULL REFERENCES utterances (id) ON DELETE CASCADE, kind TEXT NOT NULL, sealed BLOB NOT NULL,
    PRIMARY KEY (utterance, kind)) STRICT;
CREATE TABLE draws (
    day INTEGER PRIMARY KEY, selected INTEGER NOT NULL, places INTEGER NOT NULL, closed INTEGER NOT NULL) STRICT;
CREATE TABLE log (position INTEGER PRIMARY KEY, leaf BLOB NOT NULL) STRICT;
CREATE TABLE head (one INTEGER PRIMARY KEY CHECK (one = 1), checkpoint TEXT NOT NULL, frontier BLOB NOT NULL) STRICT;
{ageing.SCHEMA}
"""
_PRAGMAS = (
    "locking_mode = EXCLUSIVE",  # the lock file already keeps others away; the journal's index then needs no shared memory
    "journal_mode = WAL",
    "synchronous = FULL",
    "secure_delete = ON",
    "temp_store = MEMORY",
    "foreign_keys = ON",
    "trusted_schema = OFF",
)


class Busy(InputError):
    """Somebody else uses the store, and did not leave it in time."""

    def __init__(self, folder: Path, wait_s: float) -> None:
        super().__init__(f"{folder}: is in use by another command; waited {wait_s:g} s for it; try again when it is done")


class Change:
    """A change under way: `execute` runs SQL, `log` appends a leaf. at: seconds since 1970; age: the store's, in seconds."""

    def __init__(self, database: sqlite3.Connection, log: Log, ageing: Ageing) -> None:
        self.execute = database.execute
        self._log = log
        self.moment: Moment = ageing.moment
        self.at, self.age = self.moment.at, self.moment.age
        self.believe_clock = ageing.believe

    def log(self, what: str, **fields: str | int | bool) -> None:
        """Append to the audit log; fields may hold no sound and nothing of who it was."""
        self._log.append(what, self.at, fields)

    @property
    def entries(self) -> int:
        """How many entries the audit log has as of now."""
        return self._log.size

    @property
    def checkpoint(self) -> str:
        """The audit log's signed head as of now."""
        return self._log.checkpoint()


class Records:
    """The records of a store.

    folder: of the store. clock: gives the date, aware of its zone; uptime: what passes whether that is right or not. wait_s: how
    long to wait for others who use the store.
    """

    def __init__(self, folder: Path, clock: Clock, uptime: Uptime = since_boot, wait_s: float = 10.0) -> None:
        self.folder = folder
        self._clock, self._uptime, self._wait_s = clock, uptime, wait_s
        self.path = folder / "records.db"

    @contextmanager
    def lock(self, wait_s: float | None = None) -> Iterator[None]:
        """Alone in the store. OSError where the disk is read-only, Busy where somebody else does not leave it.

        wait_s: None: as long as any other use of these records.
        """
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._await(handle, self._wait_s if wait_s is None else wait_s)
            yield
        finally:
            os.close(handle)

    def _await(self, handle: int, wait_s: float) -> None:
        """The lock, which flock(2) cannot wait for with an end: a command that was stopped would make a listener deaf."""
        give_up = time.monotonic() + wait_s
        while True:
            try:
                return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= give_up:
                    raise Busy(self.folder, wait_s) from None
                time.sleep(0.002)

    @contextmanager
    def change(self, log: Log) -> Iterator[Change]:
        """A transaction, alone in the store: all of it is durable when this is left, or nothing where something is raised.

        InputError: no store, a disk that is full, read-only or failing, a damaged log, another program that has the file open.
        """
        with self._open() as database:
            with self._transaction(database):
                log.read(database)
                ageing = Ageing(database, self._clock(), self._uptime())
                yield Change(database, log, ageing)
                ageing.write(anyway=log.write(database))
            self._leave_nothing(database)

    @contextmanager
    def look(self) -> Iterator[sqlite3.Connection]:
        """The database, alone in the store, for reading; InputError as for a change."""
        with self._open() as database:
            database.execute("PRAGMA query_only = ON")
            yield database

    @contextmanager
    def glance(self, log: Log) -> Iterator[Change | None]:
        """What a change would find, for reading, where that needs no write; None where it does, after a process that died.

        What one who listens can wait for: no journal is made, nothing is flushed. Busy, at once: somebody else is in the store.
        InputError: as for a change.
        """
        with self._of_a_store(), self.lock(wait_s=0):
            if self.path.with_name(f"{self.path.name}-wal").exists():
                yield None
                return
            # Whole without its journal, and nobody changes it while it is locked: SQLite need look no further.
            uri = f"{self.path.absolute().as_uri()}?mode=ro&immutable=1"
            with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as database:
                self._check_format(database)
                log.read(database)
                yield Change(database, log, Ageing(database, self._clock(), self._uptime()))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with self._of_a_store(), self.lock(), closing(self._connect()) as database:
            self._check_format(database)
            yield database

    def _check_format(self, database: sqlite3.Connection) -> None:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        if version != _VERSION:
            raise InputError(f"{self.folder}: is a store of format {version}; wanted {_VERSION}, this farfield's")

    @contextmanager
    def _of_a_store(self) -> Iterator[None]:
        """What goes wrong with the disk or the database is an InputError."""
        try:
            if not self.path.is_file():
                raise InputError(f"{self.folder}: is no store; set one up with: farfield store setup {self.folder}")
            yield
        except (sqlite3.ProgrammingError, sqlite3.IntegrityError):  # ours, not the disk's
            raise
        except (OSError, sqlite3.Error) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            if "locked" in reason:
                raise InputError(f"{self.path}: another program has it open; close that, try again") from error
            raise InputError(f"{self.folder}: cannot be used ({reason}); wanted a disk that works and has room") from error

    def make(self, log: Log) -> bool:
        """Create the database, unless it is there; whether it was created. Whole, or not at all."""
        with self.lock():
            unfinished = self.path.with_suffix(".unfinished")
            if self.path.is_file():
                return False
            for name in (unfinished, Path(f"{unfinished}-wal")):
                name.unlink(missing_ok=True)
            with closing(self._connect(unfinished)) as database:
                with self._transaction(database):
                    for statement in _statements(_SCHEMA):
                        database.execute(statement)
                    Ageing.start(database, self._clock(), self._uptime())
                    log.start(Ageing(database, self._clock(), self._uptime()).moment.at)
                    log.write(database)
                self._leave_nothing(database)
            os.chmod(unfinished, 0o600)
            os.rename(unfinished, self.path)
            return True

    def _connect(self, path: Path | None = None) -> sqlite3.Connection:
        database = sqlite3.connect(path or self.path, isolation_level=None, timeout=1.0)  # others are kept away by the lock
        try:
            for pragma in _PRAGMAS:
                database.execute(f"PRAGMA {pragma}")
        except sqlite3.Error:
            database.close()
            raise
        return database

    @contextmanager
    def _transaction(self, database: sqlite3.Connection) -> Iterator[None]:
        database.execute("BEGIN IMMEDIATE")
        try:
            yield
            database.execute("COMMIT")
        except BaseException:
            if database.in_transaction:
                database.execute("ROLLBACK")
            raise

    def _leave_nothing(self, database: sqlite3.Connection) -> None:
        busy, _, _ = database.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise InputError(f"{self.path}: another program has it open, its journal cannot be cleared; close that, try again")


def when(seconds: int) -> str:
    """A time as it is written everywhere: UTC, ISO 8601."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _statements(script: str) -> Iterator[str]:
    """`executescript` would commit in between."""
    statement = ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
