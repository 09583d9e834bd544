"""A capture device between an ALSA rig's own and its source, at which faults are made."""

import numpy as np

from farfield.alsa.pcm import OVERRUN, Device, DeviceError
from farfield.hil.faults import Faults


class Faulty:
    """A capture device of which frames are lost now and then, as an overrun loses them, and which goes away once."""

    def __init__(self, inner: Device, faults: Faults, random: np.random.Generator) -> None:
        self._inner, self._share, self._random = inner, faults.lost + faults.damaged, random
        self.name, self.rate, self.channels = inner.name, inner.rate, inner.channels
        self.period, self.buffer = inner.period, inner.buffer
        self.is_gone = False
        self._has_started = False
        self.start_losing = False

    def start(self) -> None:
        """The first time; after an overrun that was made up the device runs on."""
        if not self._has_started:
            self._inner.start()
            self._has_started = True

    def read(self) -> tuple[int, bytes]:
        """What the device gives, or an overrun in its place."""
        if self.is_gone:
            raise DeviceError(f"{self.name}: unplugged")
        count, data = self._inner.read()
        if count == OVERRUN:
            self._inner.start()
        elif count > 0 and self.start_losing and self._random.random() < self._share:
            return OVERRUN, b""
        return count, data

    def write(self, data: bytes) -> int:
        """Nothing is played on it."""
        raise DeviceError(f"{self.name}: captures")

    def stamp(self) -> tuple[int, int]:
        """The device's."""
        return self._inner.stamp()

    def descriptors(self) -> list[tuple[int, int]]:
        """The device's."""
        return self._inner.descriptors()

    def woken(self, events: list[tuple[int, int]]) -> None:
        """The device's, unless it is gone."""
        if self.is_gone:
            raise DeviceError(f"{self.name}: unplugged")
        self._inner.woken(events)

    def close(self) -> None:
        """The device's."""
        self._inner.close()
