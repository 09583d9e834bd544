"""A serial mic board as a source of blocks: what was lost on the way is a jump of the index, and counted."""

import os
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import TypeVar

import serial

from farfield.block import Block
from farfield.board import wire
from farfield.board.assembler import Assembler, Counts
from farfield.board.wire import Packet
from farfield.errors import InputError
from farfield.profile import RATE, Profile
from farfield.track import Track

_POLL_S = 0.05  # how long a read waits for the first byte
_LOOKS = 3  # so many in which nothing comes after the end: a pseudo-terminal of a busy machine delivers late
_ANSWER_S = 0.5  # how long an answer is waited for before a command is sent again
_TRIES = 4
_QUIET_S = 2.0  # without a frame for so long, a board that should be capturing is told to start again
_AGAIN_S = 0.5  # between two attempts to open a line that went away
_GONE = OSError, termios.error  # SerialException is an OSError; pyserial lets both others through where a line goes away
Answer = TypeVar("Answer")


class SerialSource:
    """A mic board on a serial port, opened exclusively, as blocks at 16 kHz in a profile's order of channels.

    port: a device's name, or what pyserial takes for one. profile: the board must have as many microphones, and as many
    references where the profile names any; `references` says how many there are.
    `counts` says what went wrong so far; `about` is what the board says of itself. A context manager: leaving it stops the board.
    InputError: no such port, one that is in use, no board that answers, one of another rate or layout. Used by one thread.
    """

    def __init__(self, port: str, profile: Profile) -> None:
        self._port = port
        self._wanted = len(profile.microphones), len(profile.references)
        self._assembler = Assembler(0, 0)
        self._sequence = 0
        self._decoder = wire.Decoder()
        self._line: serial.Serial | None = None
        self._is_starting = False  # told to, while it was listened to; what comes before the answer is of before
        try:
            self._open()
        except _GONE as error:
            self.close()
            raise InputError(f"{port}: cannot be opened ({_reason(error)}); wanted a serial port that nobody else uses") from None
        except InputError:
            self.close()
            raise

    def __enter__(self) -> "SerialSource":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def name(self) -> str:
        """What the board calls itself, else its port."""
        return self.about.name or self._port

    @property
    def counts(self) -> Counts:
        """What went wrong so far."""
        return self._assembler.counts

    @property
    def track(self) -> Track:
        """Which sample had arrived when, in the present epoch; the sample clock as the host sees it."""
        return self._assembler.track

    @property
    def tick_track(self) -> Track:
        """Which sample was captured when by the board's own microsecond clock, in the present epoch."""
        return self._assembler.tick_track

    def close(self) -> None:
        """Stop the board and let the port go."""
        if self._line is not None:
            with suppress(*_GONE):  # it may be gone already
                self._send(wire.STOP)
                self._line.flush()
            self._line.close()
            self._line = None
        self._decoder = wire.Decoder()  # the old one may hold a part of a frame

    def blocks(self, stop: Callable[[], bool] = lambda: False, ended: Callable[[], bool] = lambda: False) -> Iterator[Block]:
        """What the board captures. stop: asked all the time; ended: before each look, whether nothing is sent any more.

        A line that goes away is opened again, as often as it takes; a board that was switched on anew or is quiet for 2 s is told
        to start again. The stream goes on in a new epoch.
        """
        last_ns, quiet_looks = time.monotonic_ns(), 0
        while not stop():
            try:
                is_over = ended()  # asked first: what was sent before is on its way by now
                packets = self._read()
                now_ns = time.monotonic_ns()
                for packet in packets:
                    if packet.type == wire.ABOUT:  # nobody asked: the board was switched on
                        yield from self._restarted()
                    self._is_starting = self._is_starting and _started(packet) is None
                    if self._is_starting:
                        continue
                    last_ns = now_ns
                    yield from self._assembler.take(packet, now_ns)
                quiet_looks = quiet_looks + 1 if is_over and not packets else 0
                if quiet_looks == _LOOKS:
                    break
                if now_ns - last_ns > _QUIET_S * 1e9:
                    last_ns = now_ns
                    yield from self._restarted()
            except _GONE:
                yield from self._assembler.finish()
                if not self._again(stop):
                    break
                last_ns = time.monotonic_ns()
        yield from self._assembler.finish()

    def _open(self) -> None:
        self._decoder = wire.Decoder()
        self._damaged_before = self.counts.damaged
        self._line = serial.Serial(self._port, 115_200, timeout=_POLL_S, write_timeout=_ANSWER_S, exclusive=True)
        about = self._ask(wire.ASK, lambda packet: wire.parse_about(packet.payload) if packet.type == wire.ABOUT else None)
        if about is None:
            raise InputError(f"{self._port}: nothing answers as a mic board does; wanted one that speaks version {wire.VERSION}")
        microphones, references = self._wanted
        if (about.rate, about.microphones, about.references) != (RATE, microphones, references or about.references):
            raise InputError(
                f"{self._port}: {about.name or 'the board'}: got {about.rate} Hz, {about.microphones} microphones and "
                f"{about.references} references, wanted {RATE}, {microphones} and {references or 'any'} as in the profile"
            )
        self.about, self._wanted = about, (about.microphones, about.references)
        self.microphones, self.references = self._assembler.layout = self._wanted
        if self._ask(wire.START, _started) != wire.OK:
            raise InputError(f"{self._port}: {about.name or 'the board'} does not start; wanted a board that does")
        self._is_starting = False

    def _restarted(self) -> list[Block]:
        """What was held back, now that the board is told to start; it may count from 0 again, so that all of it begins anew."""
        self._send(wire.START)
        held = self._assembler.finish()
        if not self._is_starting:
            self._assembler.restarted()
        self._is_starting = True
        return held

    def _ask(self, command: int, answer: Callable[[Packet], Answer | None]) -> Answer | None:
        """Sends a command until it is answered; None where nothing answers. What comes before the answer is old."""
        for _ in range(_TRIES):
            self._send(command)
            until = time.monotonic_ns() + int(_ANSWER_S * 1e9)
            while time.monotonic_ns() < until:
                for packet in self._read():
                    found = answer(packet)
                    if found is not None:
                        return found
        return None

    def _again(self, stop: Callable[[], bool]) -> bool:
        """Opens the line again once it is there; False where it was told to stop before."""
        while not stop():
            if self._line is not None:
                self._line.close()
                self._line = None
            until = time.monotonic_ns() + int(_AGAIN_S * 1e9)
            try:
                self._open()
            except (*_GONE, InputError):
                while time.monotonic_ns() < until and not stop():
                    time.sleep(_POLL_S)  # between attempts: there is nothing that could be waited for
                continue
            self._assembler.reopened()
            return True
        return False

    def _read(self) -> list[Packet]:
        assert self._line is not None
        data = self._line.read(max(1, self._line.in_waiting))
        packets = list(self._decoder.feed(data))
        self.counts.damaged = self._damaged_before + self._decoder.damaged
        return packets

    def _send(self, command: int, payload: bytes = b"") -> None:
        assert self._line is not None
        self._line.write(wire.encode(Packet(command, 0, self._sequence, payload)))
        self._sequence = (self._sequence + 1) % 2**32


def _started(packet: Packet) -> int | None:
    """What the board says of having been told to start; None where this is no answer to that."""
    return packet.payload[1] if packet.type == wire.DONE and packet.payload[:1] == bytes([wire.START]) else None


def _reason(error: Exception) -> str:
    number = error.args[0] if error.args else None
    return os.strerror(number) if isinstance(number, int) else " ".join(str(error).split())[:120]
