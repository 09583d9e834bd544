"""Blocks on their way from the thread that owns a device to whoever takes them: bounded, and it wakes both ends."""

import os
import select
import threading
from collections import deque
from contextlib import suppress

from farfield.block import Block


class Mailbox:
    """What one thread puts, another takes. Holds `most` samples; what does not fit is refused."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._blocks: deque[Block] = deque()
        self._samples = 0
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._is_shut = False

    def put(self, block: Block) -> bool:
        """Whether there was room for it."""
        with self._changed:
            if self._samples + len(block.samples) > self._most:
                return False
            self._blocks.append(block)
            self._samples += len(block.samples)
            self._changed.notify()
        return True

    def take(self, timeout_s: float) -> Block | None:
        """The oldest; None where none comes in time, or none will come any more. Raises what the other thread failed of."""
        with self._changed:
            self._changed.wait_for(lambda: self._blocks or self._failure or self._is_shut, timeout_s)
            if self._blocks:
                block = self._blocks.popleft()
                self._samples -= len(block.samples)
                return block
            if self._failure is not None:
                raise self._failure
            return None

    def forget(self) -> None:
        """Zero what nobody took."""
        with self._changed:
            for block in self._blocks:
                block.samples.fill(0)
            self._blocks.clear()
            self._samples = 0

    def shut(self, failure: BaseException | None = None) -> None:
        """Nothing more comes; whoever waits is woken."""
        with self._changed:
            self._failure, self._is_shut = failure, True
            self._changed.notify_all()


class Bell:
    """A descriptor that wakes a thread out of poll, and stays readable: it is rung once, to make it leave."""

    def __init__(self) -> None:
        self.handle = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.is_rung = False

    def ring(self) -> None:
        """Wake the thread, now and from here on."""
        self.is_rung = True
        with suppress(BlockingIOError):  # it has been rung before
            os.eventfd_write(self.handle, 1)

    def wait(self, timeout_s: float, others: list[tuple[int, int]] | None = None) -> list[tuple[int, int]]:
        """What poll says of other descriptors and their events, until one is ready, the bell is rung, or time is up."""
        poll = select.poll()
        for handle, events in [*(others or ()), (self.handle, select.POLLIN)]:
            poll.register(handle, events)
        return [event for event in poll.poll(timeout_s * 1e3) if event[0] != self.handle]

    def close(self) -> None:
        """Let the descriptor go, once the thread has left."""
        os.close(self.handle)
