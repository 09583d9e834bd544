"""A capture device that mute closes, and that is opened again when it may listen."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from farfield.block import Block
from farfield.errors import InputError

_AGAIN_S = 0.5  # between two attempts to open a device that is not there
_POLL_S = 0.05  # how soon it is seen that all is to stop

Asked = Callable[[], bool]
Opened = Callable[[], AbstractContextManager[Any]]  # a source, with `blocks` and `counts`; leaving it closes the device


class Switched:
    """A source whose device is closed while it is muted. A context manager; entering it opens the device.

    opened: opens the device; InputError where it is not there, which is final the first time, and tried again after a mute.
    muted: called when the device has been closed, unmuted: when it is open again. `mute` and `unmute` may be called from signal
    handlers and other threads, and take effect within a tenth of a second. What else is asked of it, the source is asked; what
    goes wrong is counted over all times that the device was open, and each of them is an epoch of its own.
    """

    def __init__(self, opened: Opened, muted: Callable[[], None], unmuted: Callable[[], None]) -> None:
        self._opened, self._muted, self._unmuted = opened, muted, unmuted
        self._device: AbstractContextManager[Any] | None = None
        self._mute = threading.Event()
        self._must_close = threading.Event()  # who is unmuted before the device was closed has been muted all the same
        self._before: dict[str, int] = {}

    def __enter__(self) -> "Switched":
        self._open()
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def __getattr__(self, name: str) -> Any:
        if name == "_source":
            raise AttributeError("switched: was not entered")
        return getattr(self._source, name)

    def counts(self) -> dict[str, int]:
        """What went wrong so far, over all times that the device was open."""
        return {name: count + self._before.get(name, 0) for name, count in self._source.counts().items()}

    def mute(self) -> None:
        """Close the device and forget all that was heard."""
        self._mute.set()
        self._must_close.set()

    def unmute(self) -> None:
        """Listen again."""
        self._mute.clear()

    def blocks(self, stop: Asked = lambda: False) -> Iterator[Block]:
        """What the device captures while it is not muted, and then it is closed. A block is zeroed when the next is asked for."""

        def is_muted() -> bool:
            return self._must_close.is_set() or self._mute.is_set()

        epoch = 0
        while self._device is not None:
            last = 0
            for block in self._source.blocks(lambda: stop() or is_muted()):
                last = block.epoch
                yield replace(block, epoch=epoch + last)
                block.samples.fill(0)
            epoch += last + 1
            self._close()
            if is_muted() and not stop():
                self._muted()
                self._wait(stop)
                if self._device is not None:
                    self._unmuted()

    def _wait(self, stop: Asked) -> None:
        """Until it is unmuted and the device is open, or all is to stop."""
        pause = threading.Event()  # never set: nothing tells when a device is back
        before = self.counts()
        while self._device is None and not stop():
            if self._mute.is_set():
                pause.wait(_POLL_S)
                continue
            self._must_close.clear()
            try:
                self._open()
                self._before = before
            except InputError:
                pause.wait(_AGAIN_S)

    def _open(self) -> None:
        device = self._opened()
        self._source = device.__enter__()
        self._device = device

    def _close(self) -> None:
        if self._device is not None:
            device, self._device = self._device, None
            device.__exit__(None, None, None)
