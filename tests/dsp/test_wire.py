"""The mic board protocol: its bytes held to a slow reference, its decoder to noise and to every cutting."""

import json
import zlib
from importlib import resources

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fuzz_wire
from farfield.board import wire
from farfield.board.wire import About, Audio, Decoder, Packet
from reference import board as slow

packets = st.builds(
    Packet, st.integers(0, 255), st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), st.binary(max_size=600)
)  # fmt: skip


def cut(data, cuts):
    at = 0
    for size in cuts:
        yield data[at : at + size]
        at += size
    yield data[at:]


def fed(decoder, data, cuts=()):
    return [packet for piece in cut(data, cuts) for packet in decoder.feed(piece)]


def test_the_page_and_its_vectors_ship_and_the_vectors_are_the_references():
    """Of the page's constants the slow reference knows nothing but what the page says."""
    folder = resources.files("farfield.board")
    vectors = json.loads((folder / "vectors.json").read_text("utf-8"))
    assert {name: bytes.fromhex(held["line"]) for name, held in vectors.items()} == slow.VECTORS
    for held in vectors.values():
        (packet,) = Decoder().feed(bytes.fromhex(held["line"]))
        fields = {"type": packet.type, "epoch": packet.epoch, "sequence": packet.sequence, "payload": packet.payload.hex()}
        assert fields == {name: held[name] for name in fields}
        assert wire.encode(packet) == bytes.fromhex(held["line"])
    assert "CRC-32" in (folder / "PROTOCOL.md").read_text("utf-8")


def test_the_reference_knows_published_values():
    """The check value of the CRC catalogue, and the examples of the COBS paper and of Wikipedia's table."""
    assert slow.crc32(b"123456789") == 0xCBF43926
    assert slow.stuffed(b"\x11\x22\x00\x33") == b"\x03\x11\x22\x02\x33"
    assert slow.stuffed(bytes(range(1, 255))) == b"\xff" + bytes(range(1, 255))
    assert slow.stuffed(b"\0" + bytes(range(1, 255))) == b"\x01\xff" + bytes(range(1, 255))
    assert slow.stuffed(bytes(range(1, 256))) == b"\xff" + bytes(range(1, 255)) + b"\x02\xff"
    assert slow.stuffed(bytes(range(2, 256)) + b"\0") == b"\xff" + bytes(range(2, 256)) + b"\x01\x01"


@given(packet=packets)
def test_bytes_are_the_references(packet):
    data = wire.encode(packet)
    assert data == slow.line(packet.type, packet.epoch, packet.sequence, packet.payload)
    assert data.count(0) == 1 and data[-1] == 0


@given(sent=st.lists(packets, max_size=6), cuts=st.lists(st.integers(0, 300), max_size=12), idle=st.integers(0, 3))
def test_what_is_sent_arrives_however_it_is_cut(sent, cuts, idle):
    decoder = Decoder()
    data = (b"\0" * idle).join([b"", *map(wire.encode, sent)])
    assert fed(decoder, data, cuts) == sent and decoder.damaged == 0


@given(noise=st.binary(max_size=2_000), after=packets, cuts=st.lists(st.integers(0, 300), max_size=12))
def test_after_any_noise_the_next_frame_arrives(noise, after, cuts):
    decoder = Decoder()
    found = fed(decoder, noise + b"\0" + wire.encode(after), cuts)
    assert found[-1] == after
    assert len(found) - 1 + decoder.damaged == sum(1 for piece in noise.split(b"\0") if piece)


@given(packet=packets, at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_flipped_bit_never_passes(packet, at, bit):
    data = wire.encode(packet)
    at %= len(data) - 1
    broken = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
    decoder = Decoder()
    assert fed(decoder, broken) == [] and decoder.damaged >= 1


def test_another_version_is_no_frame():
    decoder = Decoder()
    assert fed(decoder, slow.line(0x10, 0, 0, b"", version=2) + slow.line(0x10, 0, 1, b"")) == [Packet(0x10, 0, 1)]
    assert decoder.damaged == 1


def test_what_never_ends_is_thrown_away_and_memory_stays():
    decoder = Decoder()
    for _ in range(200):
        assert fed(decoder, b"\x01" * 1_000) == []
        assert len(decoder._held) <= wire._MOST_STUFFED
    assert fed(decoder, b"\0" + slow.VECTORS["ask"]) == [Packet(0x10, 0, 0)] and decoder.damaged == 1


def test_the_longest_payload_fits_and_a_longer_one_is_refused():
    longest = Packet(1, 2, 3, bytes(np.random.default_rng(0).integers(1, 256, wire.MOST_PAYLOAD, np.uint8)))
    assert fed(Decoder(), wire.encode(longest)) == [longest]
    with pytest.raises(ValueError, match="payload: got 8193 bytes, wanted at most 8192"):
        wire.encode(Packet(1, 2, 3, bytes(8193)))
    plain = bytes([1, 1]) + bytes(6) + bytes(wire.MOST_PAYLOAD + 1)
    assert fed(Decoder(), slow.stuffed(plain + zlib.crc32(plain).to_bytes(4, "little")) + b"\0") == []


@given(
    index=st.integers(0, 2**63), tick=st.integers(0, 2**32 - 1), overruns=st.integers(0, 2**32 - 1),
    microphones=st.integers(1, 16), references=st.integers(0, 4), frames=st.integers(1, 40), seed=st.integers(0, 99),
)  # fmt: skip
def test_audio_comes_back_as_it_was(index, tick, overruns, microphones, references, frames, seed):
    samples = np.random.default_rng(seed).integers(-32_768, 32_768, (frames, microphones + references)).astype(np.int16)
    payload = wire.audio_payload(Audio(index, tick, overruns, microphones, samples))
    assert payload == slow.audio(index, tick, overruns, microphones, references, samples.tolist())
    found = wire.parse_audio(payload)
    assert (found.index, found.tick, found.overruns, found.microphones) == (index, tick, overruns, microphones)
    assert found.samples.dtype == np.int16 and np.array_equal(found.samples, samples)
    for wrong in (payload[:-1], payload + b"\0", payload[:19]):
        assert wire.parse_audio(wrong) is None


@given(payload=st.binary(max_size=80))
def test_no_payload_is_taken_for_what_it_is_not(payload):
    audio, about, asked = wire.parse_audio(payload), wire.parse_about(payload), wire.parse_set(payload)
    assert audio is None or wire.audio_payload(audio) == payload
    assert about is None or wire.about_payload(about) == payload
    assert asked is None or wire.set_payload(*asked) == payload


def test_about_comes_back_as_it_was():
    about = About(16_000, 8, 2, 160, True, "böard")
    assert wire.parse_about(wire.about_payload(about)) == about
    for wrong in (
        About(0, 8, 2, 160, True, ""),
        About(1, 17, 2, 160, True, ""),
        About(1, 8, 2, 0, True, ""),
        About(1, 1, 0, 1, True, "x" * 65),
    ):
        assert wire.parse_about(wire.about_payload(wrong)) is None


def test_fuzzed_lines_lose_only_what_was_damaged():
    """The short form of `python tests/fuzz_wire.py --megabytes 100`."""
    figures = fuzz_wire.run(megabytes=1.0, seed=3)
    assert figures["failures"] == [] and figures["whole"] > 300 and figures["damaged"] > 100


def test_the_fuzzer_catches_a_planted_fault(monkeypatch):
    monkeypatch.setattr(wire.zlib, "crc32", lambda data: 0)  # every check passes
    assert fuzz_wire.run(megabytes=0.2, seed=3)["failures"]
