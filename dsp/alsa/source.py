"""An ALSA device as a source of blocks: what was lost on the way is a jump of the index, and counted."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType

import numpy as np

from farfield.alsa.mailbox import Bell, Mailbox
from farfield.alsa.pcm import Device, DeviceError, Pcm
from farfield.alsa.resampled import Resampled, TrackAt16k
from farfield.alsa.stream import Counts, Stream
from farfield.block import Block
from farfield.errors import InputError
from farfield.profile import RATE, Profile
from farfield.track import Track

PERIOD_MS, PERIODS = 10, 16  # with 4 periods a sound server's path loses frames
_KEPT_S = 2.0  # of sound that nobody has taken yet
_POLL_S = 0.05  # between two looks at whether to stop
_QUIET_S = 5.0  # without a frame for so long, a device is taken for gone; a sound server's first frame takes up to 2 s
_AGAIN_S = 0.5  # between two attempts to open a device that went away
Opener = Callable[[], Device]


class AlsaSource:
    """An ALSA capture device, as blocks at 16 kHz in a profile's order of channels.

    device: a PCM's name, as `farfield devices` lists them. profile: which of the device's channels are microphones and, with
    `loopback`, which are references; the device must have exactly as many channels, and its rate: one other than 16 kHz is
    resampled (`farfield.alsa.resampled`). period_ms, periods: how often it wakes us, and how many of these its memory holds.
    opener: opens something else than an ALSA PCM.
    `counts` says what went wrong so far; `track` which sample was captured when, in the present epoch. A context manager.
    InputError: no such device, one that is in use, or that cannot be had as asked.

    A thread of its own, the only one to touch the device, captures from the first call of `blocks` or `take` on, and keeps 2 s
    for whoever calls them; what is not taken in time is lost, counted, and a gap. A device that goes away is opened again, as
    often as it takes, and the stream goes on in a new epoch.
    """

    def __init__(
        self,
        device: str,
        profile: Profile,
        *,
        loopback: bool = True,
        period_ms: int = PERIOD_MS,
        periods: int = PERIODS,
        opener: Opener | None = None,
    ) -> None:
        self.name = device
        references = profile.references if loopback else ()
        self._columns = [*profile.microphones, *references]
        self._takes_all = self._columns == list(range(profile.channels))
        self.microphones, self.references = len(profile.microphones), len(references)
        rate, period = profile.rate, period_ms * profile.rate // 1000
        self._open = opener or (
            lambda: Pcm(device, capture=True, rate=rate, channels=profile.channels, period=period, periods=periods)
        )
        self.counts = Counts()
        self._resampled = Resampled(rate, len(self._columns)) if rate != RATE else None
        self._stream: Stream | None = Stream(self._open(), self.counts)
        self.track: Track = self._tracked(self._stream)
        self._box = Mailbox(int(_KEPT_S * RATE))
        self._bell = Bell()
        self._expected = (0, 0)  # epoch and index of the next block
        self._thread: threading.Thread | None = None

    @property
    def channels(self) -> int:
        """Columns of the blocks."""
        return len(self._columns)

    def __enter__(self) -> "AlsaSource":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let the device go, and forget what was not taken. Whoever waits in `blocks` comes to its end."""
        if self._bell.is_rung:
            return
        self._bell.ring()
        if self._thread is not None:
            self._thread.join()
        elif self._stream is not None:
            self._stream.device.close()
        self._box.shut()
        self._box.forget()  # a source that is muted is closed, and kept
        self._bell.close()

    def blocks(self, stop: Callable[[], bool] = lambda: False) -> Iterator[Block]:
        """What the device captures, until `stop`, which is asked all the time, or until it is closed."""
        while not stop():
            block = self.take(_POLL_S)
            if block is not None:
                yield block
            elif self._bell.is_rung:
                return

    def take(self, timeout_s: float = 0.0) -> Block | None:
        """The next block; None where none comes in time."""
        if self._thread is None and not self._bell.is_rung:
            self._thread = threading.Thread(target=self._run, name=f"capture {self.name}", daemon=True)
            self._thread.start()
        block = self._box.take(timeout_s)
        if block is not None:
            if block.epoch == self._expected[0]:
                self.counts.missing_samples += block.index - self._expected[1]
            self._expected = block.epoch, block.end
        return block

    def _run(self) -> None:
        try:
            while not self._bell.is_rung:
                self._capture()
                if not self._bell.is_rung:
                    self._reopen()
            self._box.shut()
        except BaseException as error:  # of the thread: it goes to whoever takes the blocks
            self._box.shut(error)

    def _capture(self) -> None:
        """Gives out what comes until the device goes away or we are told to leave."""
        stream = self._stream
        assert stream is not None
        heard_ns = time.monotonic_ns()
        try:
            with suppress(DeviceError):
                stream.device.start()
                handles = stream.device.descriptors()
                while not self._bell.is_rung and time.monotonic_ns() - heard_ns < _QUIET_S * 1e9:
                    stream.device.woken(self._bell.wait(_QUIET_S, handles))
                    blocks = stream.read()
                    if blocks:
                        heard_ns = time.monotonic_ns()
                        self._put(blocks)
            self._put(stream.finish())
            if self._resampled is not None:
                self._keep(self._resampled.finish(time.monotonic_ns()))
        finally:
            stream.device.close()

    def _reopen(self) -> None:
        """Opens the device again once it is there; waits on nothing but the call to leave."""
        self._stream = None
        while not self._bell.is_rung:
            with suppress(InputError):  # not there yet, or as something else
                device = self._open()
                self.counts.reopened += 1
                self.counts.epochs += 1
                self._stream = Stream(device, self.counts, epoch=self.counts.epochs)
                self.track = self._tracked(self._stream)
                return
            self._bell.wait(_AGAIN_S)

    def _put(self, blocks: list[Block]) -> None:
        for block in blocks:
            samples = block.samples if self._takes_all else np.ascontiguousarray(block.samples[:, self._columns])
            block = Block(samples, block.index, block.epoch, block.host_ns)
            self._keep([block] if self._resampled is None else self._resampled.take(block))

    def _keep(self, blocks: list[Block]) -> None:
        for block in blocks:
            if not self._box.put(block):
                self.counts.untaken_samples += len(block.samples)

    def _tracked(self, stream: Stream) -> Track:
        return stream.track if self._resampled is None else TrackAt16k(stream.track)
