"""A capture device and the host's clock in software: what was captured when is known, and faults are on request.

Frame n of the device's own count, from its power-up on, holds n: its low 15 bits on channel 0, the rest on channel 1. So whatever
is read tells where on the device's clock it belongs.
"""

import errno
import os
import select
import threading
import time

import numpy as np

from farfield.alsa.pcm import DeviceError
from farfield.errors import InputError

RATE = 16_000
WAIT_S = 30.0  # for what is sure to come, however busy the machine is


class HostClock:
    """Time that goes by when it is told to, ns."""

    def __init__(self, now_ns=10**15):
        self.now_ns = now_ns

    def __call__(self):
        return self.now_ns


class FakeDevice:
    """Captures by a clock that is `ppm` fast; its memory holds `periods` and overruns once it is full.

    jitter_ns(): how late a stamp is. steps: whether frames appear a period at a time. silent_overruns: it goes on with what is
    new and says nothing of what it lost. loses_share: of the reads, in whose place there is an overrun. arrives(ns): what was
    captured before when has come by then, as from a sound server that is not always given time.
    """

    def __init__(
        self, clock, *, ppm=0.0, period=160, periods=16, channels=2, steps=True, jitter_ns=lambda: 0, silent_overruns=False,
        arrives=lambda ns: ns,
    ):  # fmt: skip
        self.name, self.rate, self.channels, self.period, self.buffer = "fake", RATE, channels, period, period * periods
        self._clock, self._born_ns, self._ppm, self._jitter = clock, clock(), ppm, jitter_ns
        self._steps, self._is_silent, self._arrives = steps, silent_overruns, arrives
        self.loses_share, self._random = 0.0, np.random.default_rng(0)
        self._read_to = None  # on its own count; None while it does not capture
        self.short_reads = None
        self.stamps_when_asked = False  # as a driver without timestamps of its own
        self.delayed_until_ns = 0  # what is captured before then arrives then
        self.is_gone = False
        self.closed = 0
        self.given = 0  # frames read, or lost in a read's place

    def count(self, now_ns):
        """Frames since power-up."""
        return int((now_ns - self._born_ns) * RATE * (1 + self._ppm * 1e-6) // 1e9)

    def _there(self):
        if self.is_gone:
            raise DeviceError("fake: No such device")

    def _captured(self):
        now = self._clock()
        if now < self.delayed_until_ns:
            return self._read_to
        there = self.count(self._arrives(now))
        return self._begun + (there - self._begun) // self.period * self.period if self._steps else there

    def wakes_at(self):
        """When a whole period will be waiting, and poll returns."""
        frames = self._begun + (self._read_to - self._begun) // self.period * self.period + self.period
        return self._born_ns + int(frames * 1e9 / (RATE * (1 + self._ppm * 1e-6))) + 1

    def start(self):
        self._there()
        if self._read_to is None:
            self._begun = self._read_to = self.count(self._clock())

    def read(self):
        self._there()
        self.start()
        waiting = self._captured() - self._read_to
        if waiting >= self.buffer:
            if not self._is_silent:
                self._read_to = None
                return -errno.EPIPE, b""
            self._read_to += waiting - self.period
            waiting = self.period
        count = min(waiting, self.period, self.short_reads or self.period)
        frames = np.arange(self._read_to, self._read_to + count)
        self._read_to += count
        self.given += count
        if count and self._random.random() < self.loses_share:
            return -errno.EPIPE, b""
        samples = np.zeros((count, self.channels), "<i2")
        samples[:, 0], samples[:, 1] = frames & 0x7FFF, frames >> 15 & 0x7FFF
        return count, samples.tobytes()

    def stamp(self):
        """Frames that wait, and when the last of them had come."""
        self._there()
        waiting = self._captured() - self._read_to
        done = self._read_to + waiting
        at = self._born_ns + done * 1e9 / (RATE * (1 + self._ppm * 1e-6))
        if self.stamps_when_asked or not self._steps or self._clock() < self.delayed_until_ns:
            at = self._clock()
        return min(waiting, self.buffer), int(min(at + self._jitter(), self._clock()))

    def descriptors(self):
        return []

    def woken(self, events):
        self._there()

    def close(self):
        self.closed += 1


class Shelf:
    """Opens one device after another; None: there is none just now."""

    def __init__(self, *devices):
        self.devices, self.opened = list(devices), 0

    def __call__(self):
        self.opened += 1
        device = self.devices.pop(0) if self.devices else None
        if device is None:
            raise InputError("plugged: not there")
        return device


class Plugged:
    """What a device with a descriptor has in common: it can be unplugged, and knows which threads touched it."""

    def __init__(self, channels, period=160, periods=16):
        self.name, self.rate, self.channels, self.period, self.buffer = "plugged", RATE, channels, period, period * periods
        self.changed = threading.Condition()
        self.touched = set()
        self.handle = os.eventfd(0, os.EFD_NONBLOCK)
        self.is_gone = self.is_closed = False
        self.calls = 0

    def __del__(self):
        os.close(self.handle)

    def wake(self):
        os.eventfd_write(self.handle, 1)

    def unplug(self):
        self.is_gone = True
        self.wake()

    def touch(self):
        self.touched.add(threading.get_ident())
        self.calls += 1
        assert not self.is_closed, "used after it was closed"
        if self.is_gone:
            raise DeviceError("plugged: No such device")

    def descriptors(self):
        return [(self.handle, select.POLLIN)]

    def woken(self, events):
        self.touch()
        if events:
            os.eventfd_read(self.handle)

    def close(self):
        self.touched.add(threading.get_ident())
        self.is_closed = True


class Microphone(Plugged):
    """Captures what `say` gives it. fails: an exception that its next read raises."""

    def __init__(self, channels=2):
        super().__init__(channels)
        self._waiting = []
        self._empty = threading.Event()
        self.started = 0
        self.fails = None

    def say(self, samples):
        self._waiting.append(samples)
        self.wake()

    def emptied(self, timeout_s):
        """Whether all that was said has been read, and more asked for, before time is up."""
        self._empty.clear()
        self.wake()
        return self._empty.wait(timeout_s)

    def start(self):
        self.touch()
        self.started += 1

    def woken(self, events):
        super().woken(events)
        if self._waiting:
            self.wake()  # a descriptor is ready for as long as there are frames

    def read(self):
        self.touch()
        if self.fails:
            raise self.fails
        if not self._waiting:
            self._empty.set()
            return 0, b""
        samples = self._waiting.pop(0)
        return len(samples), samples.astype("<i2").tobytes()

    def stamp(self):
        self.touch()
        return sum(len(samples) for samples in self._waiting), time.monotonic_ns()


class Speaker(Plugged):
    """Plays what is written, `play_out` of it at a time; `heard` is what it was given. runs_dry: until it is written to."""

    def __init__(self, channels=1):
        super().__init__(channels)
        self.heard = np.zeros((0, channels), np.int16)
        self.writes = []
        self.runs_dry = False
        self._room = self.buffer

    def play_out(self, frames):
        with self.changed:
            self._room += frames
        self.wake()

    def given(self, frames, timeout_s=WAIT_S):
        """Whether so many frames have been written, before time is up."""
        with self.changed:
            return self.changed.wait_for(lambda: len(self.heard) >= frames, timeout_s)

    def write(self, data):
        self.touch()
        if self.runs_dry:
            self.runs_dry, self._room = False, self.buffer
            return -errno.EPIPE
        with self.changed:
            samples = np.frombuffer(data, "<i2").reshape(-1, self.channels)[: self._room]
            self._room -= len(samples)
            self.heard = np.concatenate([self.heard, samples])
            self.writes.append(len(samples))
            self.changed.notify_all()
        return len(samples)

    def stamp(self):
        self.touch()
        with self.changed:
            return self.buffer if self.runs_dry else self._room, time.monotonic_ns()


def numbers(block):
    """The device's own count of each frame of a block."""
    return block.samples[:, 0].astype(np.int64) + (block.samples[:, 1].astype(np.int64) << 15)
