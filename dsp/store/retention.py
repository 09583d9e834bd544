"""Retention kept by a running service: what is past it is destroyed within the hour, whatever else the service does."""

import threading
from collections.abc import Callable

from farfield.errors import InputError
from farfield.store.store import Store

HOUR_S = 3_600.0


class Retention:
    """Calls `Store.expire` at once and then every hour, by the monotonic clock, on a thread of its own: muted or not.

    note: told in one line where the disk does not let it; it tries again the next time. A context manager; leaving it ends it.
    The thread begins when it is entered: after a sandbox is in force, which it then is held by too.
    """

    def __init__(self, store: Store, note: Callable[[str], None], every_s: float = HOUR_S) -> None:
        self._store, self._note, self._every_s = store, note, every_s
        self._over = threading.Event()
        self._told: str | None = None
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def __enter__(self) -> "Retention":
        self._expire()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            self._expire()

    def _expire(self) -> None:
        told = None
        try:
            self._store.expire()
        except InputError as error:
            told = f"retention: {error}"
        if told is not None and told != self._told:
            self._note(told)
        self._told = told
