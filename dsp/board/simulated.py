"""A mic board in software: it speaks the protocol behind a pseudo-terminal, in real time, with faults on request."""

import os
import select
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from farfield.board import wire
from farfield.board.wire import About, Audio, Packet
from farfield.profile import RATE

_LONGEST_WAIT_S = 0.05
_ROOM_BYTES = 65_536  # of memory on the board for what the line has not taken yet: a quarter of a second of 8 channels
_FASTEST, _SLOWEST = 16, 1_024  # samples a frame
_UNTOLD = RATE // 100


@dataclass(frozen=True)
class Faults:
    """How often what goes wrong on the line, as a share of the AUDIO frames, each drawn by itself; and what the clocks do.

    lost: not sent. doubled: sent twice. swapped: sent after the next. truncated: without some of its last bytes. flipped: with a
    bit that is another. noise: followed by random bytes. untold: 10 ms of samples after it are in no frame and no index, as
    where firmware overlooks an overrun. clock_ppm: how much faster the sample clock runs than the host's; tick_ppm: how much
    faster the board's microsecond clock does. tick_late_s: how much too late that may be read. jitter_s: how much later than due
    a frame may be sent.
    """

    lost: float = 0.0
    doubled: float = 0.0
    swapped: float = 0.0
    truncated: float = 0.0
    flipped: float = 0.0
    noise: float = 0.0
    untold: float = 0.0
    clock_ppm: float = 0.0
    tick_ppm: float = 0.0
    tick_late_s: float = 0.0
    jitter_s: float = 0.0


class Line:
    """AUDIO frames' bytes as a bad line delivers them; the same from the same seed."""

    def __init__(self, faults: Faults, seed: int) -> None:
        self._faults = faults
        self._random = np.random.default_rng(seed)
        self._held = b""  # a frame that the next one overtakes

    def through(self, data: bytes) -> bytes:
        """What arrives when this frame is sent."""
        faults, random = self._faults, self._random
        happens = random.random(6) < (faults.lost, faults.doubled, faults.swapped, faults.truncated, faults.flipped, faults.noise)
        if happens[0]:
            return b""
        if happens[3]:
            data = data[: int(random.integers(1, len(data) - 1))] + b"\0"
        if happens[4]:
            at, bit = int(random.integers(len(data) - 1)), int(random.integers(8))
            data = data[:at] + bytes([data[at] ^ (1 << bit)]) + data[at + 1 :]
        if happens[1]:
            data += data
        if happens[5]:
            data += random.integers(0, 256, int(random.integers(1, 200)), np.uint8).tobytes()
        if happens[2] and not self._held:
            self._held = data
            return b""
        held, self._held = self._held, b""
        return data + held


Sound = Callable[[], Iterator[NDArray[np.int16]]]


class SimulatedBoard:
    """A board on a thread of its own; `port` is what to open. A context manager: leaving it takes the board away.

    sound: makes the samples, int16 (n, microphones + references), from the start, each time that the board is told to START.
    frames: samples in an AUDIO frame, 16 to 1,024. `finished` is set once the line has taken all of the sound, or all that could
    be made: `failed` is then why there is no more.
    """

    def __init__(
        self,
        sound: Sound,
        microphones: int,
        references: int,
        *,
        frames: int = 160,
        faults: Faults | None = None,
        seed: int = 0,
        name: str = "simulated board",
    ) -> None:
        self._about = About(RATE, microphones, references, frames, False, name)
        self._sound = sound
        self._faults = faults or Faults()
        self._delays = np.random.default_rng([seed, 1])
        self._clock = np.random.default_rng([seed, 2])
        self._powered_s = time.monotonic()
        self._line = Line(self._faults, seed)
        self._master, self._slave = os.openpty()
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self.port = os.ttyname(self._slave)
        self.finished = threading.Event()
        self.failed: Exception | None = None
        self._leaving = threading.Event()
        self._reset_tells: bool | None = None  # set from outside
        self._decoder = wire.Decoder()
        self._epoch = self._sequence = self._overruns = 0
        self._pending = bytearray()
        self._is_all = False
        self._running: Iterator[NDArray[np.int16]] | None = None
        self._thread = threading.Thread(target=self._run, name="simulated board", daemon=True)
        self._thread.start()

    def __enter__(self) -> "SimulatedBoard":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Take the board away."""
        self._leaving.set()
        self._thread.join()
        os.close(self._master)
        os.close(self._slave)

    def reset(self, *, tells: bool = True) -> None:
        """Within 50 ms, what a brown-out does: it captures no more, and counts from 0. tells: whether its ABOUT arrives."""
        self._reset_tells = tells

    def _run(self) -> None:
        while not self._leaving.is_set():
            if self._reset_tells is not None:
                self._power_up(self._reset_tells)
                self._reset_tells = None
            now_s = time.monotonic()
            wait_s = _LONGEST_WAIT_S
            if self._running is not None:
                wait_s = min(max(0.0, self._due_s - now_s), _LONGEST_WAIT_S)
            readable, writable, _ = select.select([self._master], [self._master] if self._pending else [], [], wait_s)
            if readable:
                self._listen()
            if writable:
                self._write()
            while self._running is not None and time.monotonic() >= self._due_s:
                self._capture()
            if self._is_all and not self._pending:
                self.finished.set()

    def _power_up(self, tells: bool) -> None:
        self._powered_s = time.monotonic()
        self._running, self._decoder = None, wire.Decoder()
        self._epoch = self._sequence = 0
        self._pending.clear()
        if tells:
            self._send(wire.ABOUT, wire.about_payload(self._about))

    def _listen(self) -> None:
        try:
            data = os.read(self._master, 4_096)
        except BlockingIOError:
            return
        for packet in self._decoder.feed(data):
            self._obey(packet)

    def _obey(self, packet: Packet) -> None:
        if packet.type == wire.ASK:
            about = replace(self._about, running=self._running is not None)
            self._send(wire.ABOUT, wire.about_payload(about))
            return
        result = wire.OK
        if packet.type == wire.START:
            self._epoch, self._is_all = (self._epoch + 1) % 65_536, False
            self._index = self._overruns = self._untold = 0
            self._running, self._rest = self._sound(), np.zeros((0, self._about.microphones + self._about.references), np.int16)
            self._begun_s = time.monotonic()
            self._schedule()
        elif packet.type == wire.STOP:
            self._running = None
        elif packet.type == wire.SET:
            asked = wire.parse_set(packet.payload)
            if asked is not None and asked[0] == wire.FRAMES_KEY and _FASTEST <= asked[1] <= _SLOWEST:
                self._about = replace(self._about, frames=asked[1])
            else:
                result = wire.REFUSED
        else:
            result = wire.UNKNOWN
        self._send(wire.DONE, bytes([packet.type, result]))

    def _schedule(self) -> None:
        """When the next frame will have been captured, by a clock that is off, and may be sent, after a delay."""
        captured = self._index + self._untold + self._about.frames
        self._captured_s = self._begun_s + captured / RATE / (1 + self._faults.clock_ppm * 1e-6)
        self._due_s = self._captured_s + float(self._delays.uniform(0, self._faults.jitter_s or 1e-9))

    def _capture(self) -> None:
        """One frame's samples: sent, or lost where the board has no room for them."""
        assert self._running is not None
        frames = self._about.frames
        untold = _UNTOLD if self._clock.random() < self._faults.untold else 0
        while len(self._rest) < frames + untold:
            try:
                chunk = next(self._running, None)
            except Exception as error:  # goes to whoever listens: this thread has nobody to tell
                self.failed, chunk = error, None
            if chunk is None:
                self._running, self._is_all = None, True
                return
            self._rest = np.concatenate([self._rest, chunk])
        samples, self._rest = self._rest[:frames], self._rest[frames + untold :]
        late_s = float(self._clock.uniform(0, self._faults.tick_late_s or 1e-9))
        tick = int((self._captured_s + late_s - self._powered_s) * (1 + self._faults.tick_ppm * 1e-6) * 1e6) % 2**32
        audio = Audio(self._index, tick, self._overruns, self._about.microphones, samples)
        self._index += frames
        self._untold += untold
        data = self._line.through(self._framed(wire.AUDIO, wire.audio_payload(audio)))
        if len(self._pending) + len(data) > _ROOM_BYTES:
            self._overruns += 1
        else:
            self._pending += data
            self._write()
        self._schedule()

    def _framed(self, kind: int, payload: bytes) -> bytes:
        data = wire.encode(Packet(kind, self._epoch, self._sequence, payload))
        self._sequence = (self._sequence + 1) % 2**32
        return data

    def _send(self, kind: int, payload: bytes) -> None:
        self._pending += self._framed(kind, payload)
        self._write()

    def _write(self) -> None:
        with suppress(BlockingIOError):  # the line takes more when it has been read
            while self._pending:
                del self._pending[: os.write(self._master, self._pending)]
