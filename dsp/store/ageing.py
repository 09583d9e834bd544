"""A store's age: seconds that only ever pass, however its host's clock is set. Retention and the days of the sample go by it.

It starts as the date does, and goes on by whichever is more: how long the machine has been up since, asleep or not, or how much
later its clock says it is. So a clock that is set back keeps nothing longer, and one that runs ahead destroys too early rather
than too late. A clock that stands before the day on which the store was set up has not been set yet, as on a board without a
battery: what it says is not counted, and what passed while the machine was off is, as soon as the clock is set.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from sqlite3 import Connection

Uptime = Callable[[], tuple[str, int]]  # which start of the machine, and nanoseconds since then
SCHEMA = """
CREATE TABLE age (
    one INTEGER PRIMARY KEY CHECK (one = 1), begun INTEGER NOT NULL, age INTEGER NOT NULL, clock INTEGER NOT NULL,
    boot TEXT NOT NULL, up INTEGER NOT NULL) STRICT;
"""
_SECOND = 1_000_000_000
_OFTEN = 600 * _SECOND


@dataclass(frozen=True, slots=True)
class Moment:
    """at: whole seconds since 1970 by the host's clock. age: of the store's. begun: an earlier `at` is of a clock not yet set."""

    at: int
    age: int
    begun: int

    @property
    def clock_is_set(self) -> bool:
        """Whether `at` can be right."""
        return self.at >= self.begun


def since_boot() -> tuple[str, int]:
    """Which start of this machine, and nanoseconds since then, with those in which it slept."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip(), time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Ageing:
    """The age now. database: of a store, which `start` gives an age. TypeError: a clock whose time has no zone."""

    def __init__(self, database: Connection, clock: datetime, uptime: tuple[str, int]) -> None:
        self._database, self._uptime = database, uptime
        self._clock = _nanoseconds(clock)
        self._begun, self._saved, before, boot, up = database.execute("SELECT begun, age, clock, boot, up FROM age").fetchone()
        set_ = self._clock >= self._begun
        was_up = uptime[1] - (up if uptime[0] == boot else 0)
        self._age = self._saved + max(0, was_up, self._clock - before if set_ else 0)
        self._known = self._clock if set_ else before + max(0, was_up)  # the date, as far as it is known
        self._is_due = self._age - self._saved >= _OFTEN
        self.moment = Moment(self._clock // _SECOND, self._age // _SECOND, self._begun // _SECOND)

    @staticmethod
    def start(database: Connection, clock: datetime, uptime: tuple[str, int]) -> None:
        """A new store is as old as the date."""
        now = _nanoseconds(clock)
        database.execute("INSERT INTO age VALUES (1, ?, ?, ?, ?, ?)", (now, now, now, *uptime))

    def believe(self) -> None:
        """What the clock says now is right, even if the store was set up later."""
        self._begun, self._known = min(self._begun, self._clock), self._clock

    def write(self, anyway: bool) -> None:
        """Keep the age: `anyway`, or when it has not been kept for ten minutes.

        What passed since is lost where the machine restarts and its clock cannot tell.
        """
        if anyway or self._is_due:
            self._database.execute("UPDATE age SET begun = ?, age = ?, clock = ?, boot = ?, up = ?",
                                   (self._begun, self._age, self._known, *self._uptime))  # fmt: skip


def _nanoseconds(clock: datetime) -> int:
    if clock.tzinfo is None:
        raise TypeError("clock: gave a time without a zone, wanted an aware datetime")
    return int(clock.timestamp() * 1_000_000) * 1_000
