"""ALSA PCMs through pyalsaaudio, whose ways are made plain here: what was set up is held against what was asked.

A set-up that the device cannot have is changed without a word, so it is read back and refused. Timestamps are off, and of the
wall clock, until told otherwise; a driver may have none, and a call that fails leaves arbitrary numbers: what is not between the
device's own bounds is replaced by the count of frames and the host's monotonic clock, read side by side. Errors come as text.
"""

import ctypes
import errno
import select
import time
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any, Protocol

from farfield.errors import InputError

OVERRUN = -errno.EPIPE
_OLDEST_STAMP_NS = 10**9  # a timestamp that lies further back is none
_asound: Any = None
_handler: Any = None


class DeviceError(Exception):
    """A device that was there does not answer as it did: it was unplugged, or its driver failed."""


class Device(Protocol):
    """An opened PCM, as streams and players use it. Used by one thread."""

    name: str
    rate: int
    channels: int
    period: int
    buffer: int

    def start(self) -> None:
        """Begin to capture."""

    def read(self) -> tuple[int, bytes]:
        """Frames and their bytes; 0 where there is nothing yet, OVERRUN after which it captures again. DeviceError."""

    def write(self, data: bytes) -> int:
        """How many frames were taken; OVERRUN where it had run dry. DeviceError."""

    def stamp(self) -> tuple[int, int]:
        """How many frames can be read or written, and the host's monotonic time at which that was so. DeviceError.

        After an overrun that has not been told yet: none can be read, and all that the memory holds can be written.
        """

    def descriptors(self) -> list[tuple[int, int]]:
        """File descriptors and events to poll for."""

    def woken(self, events: list[tuple[int, int]]) -> None:
        """Tell the driver what poll said. DeviceError."""

    def close(self) -> None:
        """Let the device go."""


class Pcm:
    """One of pyalsaaudio's PCMs, non-blocking, int16, opened as asked or not at all; a Device.

    name: an ALSA PCM. capture: else playback. period: frames between two wakings. periods: in the device's memory.
    InputError: pyalsaaudio is not installed, there is no such PCM, it is in use, or it cannot be had so.
    """

    def __init__(
        self, name: str, *, capture: bool, rate: int, channels: int, period: int, periods: int,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:  # fmt: skip
        self._alsa = alsa = library()
        self.name, self._clock, self._is_capture = name, clock, capture
        direction = alsa.PCM_CAPTURE if capture else alsa.PCM_PLAYBACK
        try:
            self._pcm = alsa.PCM(
                direction, alsa.PCM_NONBLOCK, device=name, rate=rate, channels=channels,
                format=alsa.PCM_FORMAT_S16_LE, periodsize=period, periods=periods,
            )  # fmt: skip
        except alsa.ALSAAudioError as error:
            reason = str(error).removesuffix(f" [{name}]")
            what = "capture" if capture else "playback"
            raise InputError(
                f"{name}: cannot be opened ({reason}); wanted an ALSA {what} device that is free: see `farfield devices`"
            ) from None
        got = self._pcm.info()
        self.rate, self.channels, self.period, self.buffer = (
            got[field] for field in ("rate", "channels", "period_size", "buffer_size")
        )
        try:
            self._refuse(got, rate, channels, period, periods)
            # Some drivers have no timestamps; stamp() finds that out by looking at them.
            with suppress(RuntimeError):
                self._pcm.set_tstamp_type(alsa.PCM_TSTAMP_TYPE_MONOTONIC)
                self._pcm.set_tstamp_mode(alsa.PCM_TSTAMP_ENABLE)
            self._is_stamped = self._pcm.get_tstamp_type() == alsa.PCM_TSTAMP_TYPE_MONOTONIC
        except InputError:
            self.close()
            raise

    def _refuse(self, got: dict[str, Any], rate: int, channels: int, period: int, periods: int) -> None:
        wrong = changed(got, rate=rate, channels=channels, format_name="S16_LE", period_size=period)
        if got["buffer_size"] < period * periods:
            wrong.append(f"buffer {got['buffer_size']} for {period * periods}")
        if wrong:
            raise InputError(
                f"{self.name}: got {', '.join(wrong)}; wanted a device that can be had as asked, or one that converts: "
                f"plug:{self.name}"
            )

    def start(self) -> None:
        self.read()  # a capture PCM starts at the first read, which finds nothing

    def read(self) -> tuple[int, bytes]:
        try:
            count, data = self._pcm.read()
        except self._alsa.ALSAAudioError as error:
            raise DeviceError(str(error)) from None
        return count, data

    def write(self, data: bytes) -> int:
        try:
            return int(self._pcm.write(data))
        except self._alsa.ALSAAudioError as error:
            raise DeviceError(str(error)) from None

    def stamp(self) -> tuple[int, int]:
        now = self._clock()
        if self._is_stamped:
            seconds, ns, frames = self._pcm.htimestamp()
            stamped = seconds * 1_000_000_000 + ns
            if now - _OLDEST_STAMP_NS <= stamped <= self._clock() and 0 <= frames <= self.buffer:
                return frames, stamped
        frames = self._pcm.avail()
        if frames == OVERRUN:  # it runs again after a read or a write, which must come
            return 0 if self._is_capture else self.buffer, now
        if frames < 0:
            raise DeviceError(f"{self.name}: avail gives {frames}")
        return frames, now

    def descriptors(self) -> list[tuple[int, int]]:
        return list(self._pcm.polldescriptors())

    def woken(self, events: list[tuple[int, int]]) -> None:
        # The driver counts its descriptors: those that were quiet belong to the list too.
        said = dict(events)
        try:
            told = self._pcm.polldescriptors_revents([(handle, said.get(handle, 0)) for handle, _ in self._pcm.polldescriptors()])
        except self._alsa.ALSAAudioError as error:
            raise DeviceError(str(error)) from None
        if told & select.POLLNVAL or (told & select.POLLHUP and not told & (select.POLLIN | select.POLLOUT)):
            raise DeviceError(f"{self.name}: hung up")

    def close(self) -> None:
        with suppress(self._alsa.ALSAAudioError):  # it may be gone already
            self._pcm.close()


def changed(got: dict[str, Any], **asked: object) -> list[str]:
    """What a PCM has otherwise than asked, each in words. got: what its `info()` gives, under the same names."""
    return [f"{field.removesuffix('_name')} {got[field]} for {wanted}" for field, wanted in asked.items() if got[field] != wanted]


def library() -> ModuleType:
    """pyalsaaudio, with alsa-lib kept from writing to stderr on its own: whoever asked hears of the error anyway."""
    global _asound, _handler
    try:
        import alsaaudio
    except ImportError:
        raise InputError("pyalsaaudio: not installed; install it with: pip install 'farfield[alsa]'") from None
    if _asound is None:
        asound = ctypes.CDLL("libasound.so.2")  # pyalsaaudio has it loaded already
        handler = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p)
        _handler = handler(lambda file, line, function, error, text: None)
        asound.snd_lib_error_set_handler(_handler)
        _asound = asound
    module: ModuleType = alsaaudio
    return module
