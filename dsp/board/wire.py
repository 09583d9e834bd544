"""Frames of the mic board protocol, to bytes and back. PROTOCOL.md says what they are.

The decoder takes bytes as they come, cut anywhere, and counts what was wrong; nothing that comes over a line stops it.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from cobs import cobs
from numpy.typing import NDArray

VERSION = 1
AUDIO, ABOUT, DONE = 0x01, 0x02, 0x03
ASK, START, STOP, SET = 0x10, 0x11, 0x12, 0x13
FRAMES_KEY = 1
OK, UNKNOWN, REFUSED = 0, 1, 2
MOST_PAYLOAD = 8_192
MOST_MICROPHONES, MOST_REFERENCES = 16, 4

_HEADER = struct.Struct("<BBHI")
_CHECK = struct.Struct("<I")
_AUDIO = struct.Struct("<QIIBBH")
_ABOUT = struct.Struct("<IBBHB")
_SET = struct.Struct("<BI")
_MOST_STUFFED = (_HEADER.size + MOST_PAYLOAD + _CHECK.size) * 255 // 254 + 2


@dataclass(frozen=True, slots=True)
class Packet:
    """A frame on the line. type: as above, or one that is not known. epoch: 16 bits. sequence: 32 bits."""

    type: int
    epoch: int
    sequence: int
    payload: bytes = b""


@dataclass(frozen=True, slots=True)
class Audio:
    """An AUDIO frame's payload. samples: int16 (frames, microphones + references). index, tick, overruns: see PROTOCOL.md."""

    index: int
    tick: int
    overruns: int
    microphones: int
    samples: NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class About:
    """An ABOUT frame's payload: what a board is."""

    rate: int
    microphones: int
    references: int
    frames: int
    running: bool
    name: str


def encode(packet: Packet) -> bytes:
    """The bytes on the line, the zero at the end included. ValueError: a payload that is too long."""
    if len(packet.payload) > MOST_PAYLOAD:
        raise ValueError(f"payload: got {len(packet.payload)} bytes, wanted at most {MOST_PAYLOAD}")
    plain = _HEADER.pack(VERSION, packet.type, packet.epoch, packet.sequence) + packet.payload
    return bytes(cobs.encode(plain + _CHECK.pack(zlib.crc32(plain)))) + b"\0"


def audio_payload(audio: Audio) -> bytes:
    """An AUDIO frame's payload."""
    frames, channels = audio.samples.shape
    head = _AUDIO.pack(audio.index, audio.tick, audio.overruns, audio.microphones, channels - audio.microphones, frames)
    return head + audio.samples.astype("<i2").tobytes()


def about_payload(about: About) -> bytes:
    """An ABOUT frame's payload."""
    head = _ABOUT.pack(about.rate, about.microphones, about.references, about.frames, about.running)
    return head + about.name.encode()


def set_payload(key: int, value: int) -> bytes:
    """A SET command's payload."""
    return _SET.pack(key, value)


def parse_audio(payload: bytes) -> Audio | None:
    """What an AUDIO frame holds; None where it contradicts itself."""
    if len(payload) < _AUDIO.size:
        return None
    index, tick, overruns, microphones, references, frames = _AUDIO.unpack_from(payload)
    channels = microphones + references
    fits = 1 <= microphones <= MOST_MICROPHONES and references <= MOST_REFERENCES and frames > 0 and index + frames < 2**64
    if not fits or len(payload) != _AUDIO.size + 2 * frames * channels:
        return None
    samples = np.frombuffer(payload, "<i2", offset=_AUDIO.size).reshape(frames, channels).astype(np.int16)
    return Audio(index, tick, overruns, microphones, samples)


def parse_about(payload: bytes) -> About | None:
    """What an ABOUT frame holds; None where it contradicts itself."""
    if not _ABOUT.size <= len(payload) <= _ABOUT.size + 64:
        return None
    rate, microphones, references, frames, running = _ABOUT.unpack_from(payload)
    try:
        name = payload[_ABOUT.size :].decode()
    except UnicodeDecodeError:
        return None
    if not (1 <= microphones <= MOST_MICROPHONES and references <= MOST_REFERENCES and frames and rate and running <= 1):
        return None
    return About(rate, microphones, references, frames, bool(running), name)


def parse_set(payload: bytes) -> tuple[int, int] | None:
    """Key and value of a SET command; None where it is none."""
    return _SET.unpack(payload) if len(payload) == _SET.size else None


class Decoder:
    """Bytes in, frames out. damaged: stretches between zero bytes that were no frame of this version.

    Memory is bounded: what grows longer than any frame can be without a zero byte is thrown away, and counts as damaged once.
    """

    def __init__(self) -> None:
        self.damaged = 0
        self._held = bytearray()
        self._is_overlong = False

    def feed(self, data: bytes) -> Iterator[Packet]:
        """The frames that these bytes complete, in order."""
        *whole, rest = data.split(b"\0")
        for piece in whole:
            self._hold(piece)
            stuffed, overlong = bytes(self._held), self._is_overlong
            self._held.clear()
            self._is_overlong = False
            packet = None if overlong else _packet(stuffed)
            if packet is not None:
                yield packet
            elif stuffed or overlong:
                self.damaged += 1
        self._hold(rest)

    def _hold(self, piece: bytes) -> None:
        if self._is_overlong or len(self._held) + len(piece) > _MOST_STUFFED:
            self._is_overlong = True
            self._held.clear()
        else:
            self._held += piece


def _packet(stuffed: bytes) -> Packet | None:
    try:
        plain = bytes(cobs.decode(stuffed))
    except cobs.DecodeError:
        return None
    if not _HEADER.size + _CHECK.size <= len(plain) <= _HEADER.size + MOST_PAYLOAD + _CHECK.size:
        return None
    body = plain[: -_CHECK.size]
    if _CHECK.unpack(plain[-_CHECK.size :])[0] != zlib.crc32(body):
        return None
    version, kind, epoch, sequence = _HEADER.unpack_from(body)
    return Packet(kind, epoch, sequence, body[_HEADER.size :]) if version == VERSION else None
