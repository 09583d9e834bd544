"""Plays on an ALSA device and keeps on record what was played when: the reference that needs no loopback."""

import threading
import time
from collections import deque
from contextlib import suppress
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from farfield.alsa.mailbox import Bell, Mailbox
from farfield.alsa.pcm import OVERRUN, Device, DeviceError, Pcm
from farfield.alsa.source import PERIOD_MS, PERIODS, Opener
from farfield.block import Block
from farfield.errors import InputError
from farfield.profile import MOST_REFERENCES, RATE
from farfield.track import Track

_RECORD_S = 2.0
_AGAIN_S = 0.5
_QUIET_S = 5.0


class Player:
    """An ALSA playback device at 16 kHz that plays what it is given, and silence in between. A context manager.

    device: a PCM's name. channels: 1 to 4. period_ms, periods: how often it wakes us, and how many of these its memory holds:
    what is given is heard so much later. opener: opens something else than an ALSA PCM.
    `take` gives what was played, in blocks without a gap; `track` says which of their samples was played when, in the present
    epoch. `underruns` counts how often the device had run dry, or gone away: then a new epoch begins.
    InputError: no such device, one that is in use, or that cannot be had as asked.
    """

    def __init__(
        self,
        device: str,
        channels: int = 1,
        *,
        period_ms: int = PERIOD_MS,
        periods: int = PERIODS,
        opener: Opener | None = None,
    ) -> None:
        if not 1 <= channels <= MOST_REFERENCES:
            raise InputError(f"player: got {channels} channels, wanted 1 to {MOST_REFERENCES}")
        self.name, self.channels = device, channels
        self._open = opener or (
            lambda: Pcm(device, capture=False, rate=RATE, channels=channels, period=period_ms * RATE // 1000, periods=periods)
        )
        self._device = self._open()
        self.track = Track(RATE)
        self.underruns = self.epoch = 0
        self._written = 0  # frames in this epoch
        self._pending = np.zeros((0, channels), np.int16)  # what the device did not take yet
        self._asked: deque[NDArray[np.int16]] = deque()
        self._is_empty = threading.Condition()
        self._box = Mailbox(int(_RECORD_S * RATE))
        self._is_recorded = False
        self._bell = Bell()
        self._thread = threading.Thread(target=self._run, name=f"player {device}", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Player":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let the device go; what it has not played yet is not played."""
        if not self._bell.is_rung:
            self._bell.ring()
            self._thread.join()
            self._bell.close()

    def play(self, samples: NDArray[np.int16]) -> None:
        """Play int16 (frames, channels) after whatever was given before. InputError: samples of another kind."""
        if samples.dtype != np.int16 or samples.ndim != 2 or samples.shape[1] != self.channels:
            raise InputError(f"player: got {samples.dtype} {samples.shape}, wanted int16 (frames, {self.channels})")
        with self._is_empty:
            self._asked.append(samples.copy())

    def wait(self, timeout_s: float | None = None) -> bool:
        """Whether all that was given has been handed to the device, before time was up."""
        with self._is_empty:
            return self._is_empty.wait_for(lambda: not self._asked or self._bell.is_rung, timeout_s) and not self._asked

    def take(self, timeout_s: float = 0.0) -> Block | None:
        """The next stretch of what was handed to the device, its index counted in this epoch; kept from the first call on."""
        self._is_recorded = True
        return self._box.take(timeout_s)

    def _run(self) -> None:
        try:
            while not self._bell.is_rung:
                self._feed()
                if not self._bell.is_rung:
                    self._reopen()
            self._box.shut()
        except BaseException as error:  # of the thread: it goes to whoever takes the record
            self._box.shut(error)
        finally:
            with self._is_empty:
                self._is_empty.notify_all()

    def _feed(self) -> None:
        """Keeps the device full until it goes away or we are told to leave."""
        device, taken_ns = self._device, time.monotonic_ns()
        try:
            with suppress(DeviceError):
                while not self._bell.is_rung and time.monotonic_ns() - taken_ns < _QUIET_S * 1e9:
                    room, stamp_ns = device.stamp()
                    if self._written > device.buffer:  # at first the device is being filled
                        self.track.add(self._written - (device.buffer - room), stamp_ns)
                    if room >= device.period:
                        taken_ns = time.monotonic_ns()
                        self._write(device, room)
                    else:
                        device.woken(self._bell.wait(_QUIET_S, device.descriptors()))
        finally:
            device.close()

    def _write(self, device: Device, room: int) -> None:
        """Fills the device: it begins to play with the first write, and must not have one period alone by then."""
        self._fill(room)
        count = device.write(self._pending.tobytes())
        if count == OVERRUN:
            self._begin()
            self._fill(device.buffer)
            count = device.write(self._pending.tobytes())
        done = self._pending[: max(count, 0)]
        if len(done) and self._is_recorded:
            self._box.put(Block(done, self._written, self.epoch, time.monotonic_ns()))
        self._pending = self._pending[len(done) :]
        self._written += len(done)

    def _fill(self, frames: int) -> None:
        if frames > len(self._pending):
            self._pending = np.concatenate([self._pending, self._next(frames - len(self._pending))])

    def _next(self, frames: int) -> NDArray[np.int16]:
        """So many frames of what was asked for, then silence."""
        samples = np.zeros((frames, self.channels), np.int16)
        filled = 0
        with self._is_empty:
            while self._asked and filled < frames:
                part = self._asked[0][: frames - filled]
                samples[filled : filled + len(part)] = part
                filled += len(part)
                self._asked[0] = self._asked[0][len(part) :]
                if not len(self._asked[0]):
                    self._asked.popleft()
            if not self._asked:
                self._is_empty.notify_all()
        return samples

    def _begin(self) -> None:
        """A new epoch: what is played from now on is not where the old count would have it."""
        self.underruns += 1
        self.epoch += 1
        self.track = Track(RATE)
        self._written = 0

    def _reopen(self) -> None:
        while not self._bell.is_rung:
            with suppress(InputError):  # not there yet, or as something else
                self._device = self._open()
                self._begin()
                return
            self._bell.wait(_AGAIN_S)
