"""A sealed utterance: read by libsodium as well as by us, and by nobody once a bit of it is another."""

import tracemalloc
from hashlib import sha256
from io import FileIO

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from farfield.errors import InputError
from farfield.store import sealed
from farfield.store.sealed import CHUNK_BYTES, HEADER, Sealer, opened, unwrap
from reference.keeping import OWNER, REVIEWERS, marked, traces


def seal(parts, details=None):
    """The file's bytes, its digest, and a copy of its key."""
    data = bytearray()
    sealer = Sealer(data.extend)
    for part in parts:
        sealer.sound(part)
    digest = sealer.finish(details or {})
    return bytes(data), digest, bytearray(sealer.key), sealer


@given(st.lists(st.integers(0, 40_000), max_size=4), st.integers(0, 2**32 - 1))
def test_whatever_the_chunks_what_went_in_comes_out(lengths, seed):
    parts = [np.random.default_rng(seed).integers(-32_768, 32_768, length).astype(np.int16) for length in lengths]
    data, digest, key, sealer = seal(parts, {"word": "alexa"})
    samples, details = opened(data, key)
    assert samples.dtype == np.int16 and np.array_equal(samples, np.concatenate([np.empty(0, np.int16), *parts]))
    assert details == {"word": "alexa"} and digest == sha256(data).digest() and sealer.samples == sum(lengths)


def test_libsodium_reads_it():
    """The format as this test knows it, and a peer's ChaCha20-Poly1305."""
    bindings = pytest.importorskip("nacl.bindings")
    sound = marked(3, 3.3)
    data, _, key, _ = seal([sound[:20_000], sound[20_000:]])
    at, counter, plain = len(HEADER), 0, []
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        nonce = counter.to_bytes(11, "big") + (b"\1" if at + 4 + size == len(data) else b"\0")
        plain.append(bindings.crypto_aead_chacha20poly1305_ietf_decrypt(data[at + 4 : at + 4 + size], HEADER, nonce, bytes(key)))
        at, counter = at + 4 + size, counter + 1
    assert plain[-1] == b"{}" and b"".join(plain[:-1]) == sound.astype("<i2").tobytes() and max(map(len, plain)) == CHUNK_BYTES


def test_slices_and_other_byte_orders_are_sealed_as_what_they_are():
    sound = marked(4)
    data, _, key, _ = seal([sound[::2], sound[1::2][::-1]])
    assert np.array_equal(opened(data, key)[0], np.concatenate([sound[::2], sound[1::2][::-1]]))


@pytest.mark.parametrize("wrong", [np.zeros(4, np.float32), np.zeros((4, 1), np.int16), np.zeros(4, np.int32)])
def test_what_is_no_int16_sound_is_refused(wrong):
    with pytest.raises(TypeError, match=r"got .*, wanted int16"):
        seal([wrong])


with pytest.MonkeyPatch.context() as patched:  # two small chunks of sound
    patched.setattr(sealed, "CHUNK_BYTES", 100)
    SMALL, _, SMALL_KEY, _ = seal([np.arange(57, dtype=np.int16)], {"word": "x"})


def refused(data, key=SMALL_KEY):
    with pytest.raises(InputError, match="sealed utterance"):
        opened(bytes(data), key)


@given(st.lists(st.integers(1, 9_000), min_size=1, max_size=6))
def test_chunks_tell_nothing_of_the_blocks_that_the_sound_came_in(lengths):
    """Nor does the file's size, beyond how long the sound is: it is what one block gives."""
    sound = marked(8, sum(lengths) / 16_000)
    blocks = np.split(sound, np.cumsum(lengths)[:-1])

    def sizes(data):
        at, found = len(HEADER), []
        while at < len(data):
            found.append(int.from_bytes(data[at : at + 4], "little"))
            at += 4 + found[-1]
        return found

    assert sizes(seal(blocks)[0]) == sizes(seal([sound])[0])


def test_every_flipped_bit_is_found():
    for bit in range(8 * len(SMALL)):
        flipped = bytearray(SMALL)
        flipped[bit // 8] ^= 1 << bit % 8
        refused(flipped)


def test_cutting_off_exchanging_and_adding_is_found():
    for length in range(len(SMALL)):
        refused(SMALL[:length])
    first, second = len(HEADER), len(HEADER) + 4 + 100 + 16
    third = second + 4 + 14 + 16
    chunks = SMALL[first:second], SMALL[second:third], SMALL[third:]
    assert [int.from_bytes(chunk[:4], "little") for chunk in chunks] == [len(chunk) - 4 for chunk in chunks]
    for order in ((1, 0, 2), (0, 2), (0, 1), (0, 0, 1, 2), (0, 1, 2, 2), (2,)):
        refused(HEADER + b"".join(chunks[n] for n in order))
    refused(SMALL + b"\0")
    refused(SMALL, bytearray(32))


def test_a_wrap_opens_with_its_key_for_its_purpose_and_file_alone():
    _data, digest, key, sealer = seal([marked(5)])
    wrap = sealer.wrap("owner", digest, OWNER.public_key(), {"start": 5})
    assert sealed.key_and_beside(unwrap(wrap, OWNER, "owner", digest)) == (key, {"start": 5})
    assert (
        sealed.key_and_beside(unwrap(sealer.wrap("review", digest, REVIEWERS.public_key()), REVIEWERS, "review", digest))[0]
        == key
    )
    for reader, purpose, other in ((REVIEWERS, "owner", digest), (OWNER, "review", digest), (OWNER, "owner", sha256().digest()),
                                   (X25519PrivateKey.generate(), "owner", digest)):  # fmt: skip
        with pytest.raises(InputError, match="does not open"):
            unwrap(wrap, reader, purpose, other)
    with pytest.raises(InputError, match="does not open"):
        unwrap(wrap[:-1] + bytes([wrap[-1] ^ 1]), OWNER, "owner", digest)
    assert sealer.wrap("owner", digest, OWNER.public_key(), {"start": 5}) != wrap, "each is made with a key of its own"


def test_the_key_is_zeroed_and_each_file_has_another():
    _, _, key, sealer = seal([marked(6)])
    held = sealer.key
    sealer.destroy()
    assert held == bytearray(32) and key != bytearray(32)
    assert seal([marked(6)])[2] != key


@pytest.mark.parametrize("planted", [False, True])
def test_sealing_takes_no_more_memory_however_long_it_is(tmp_path, planted):
    """What Python and numpy allocate at most in 15 s, beyond what there was after the first; planted: blocks that are kept."""
    block, kept = marked(9, 0.032), []
    with FileIO(tmp_path / "sealed", "wb") as file:
        sealer = Sealer(sealed.write_whole(file))
        tracemalloc.start()
        try:
            for n in range(470):
                if n == 32:
                    before, _ = tracemalloc.get_traced_memory()
                    tracemalloc.reset_peak()
                sealer.sound(block)
                if planted:
                    kept.append(block.copy())
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        sealer.destroy()
    assert (most - before < 4_096) != planted


def test_the_search_for_plain_sound_finds_it_and_finds_none_in_a_sealed_file(tmp_path):
    sound = marked(7)
    (tmp_path / "sealed").write_bytes(seal([sound])[0])
    assert traces(tmp_path, sound) == []
    (tmp_path / "plain").write_bytes(b"RIFF" + sound[37:1000].tobytes())
    (tmp_path / "float").write_bytes((sound[:300] / 32_768).astype(np.float32).tobytes())
    (tmp_path / "text").write_text(f"x{''.join(__import__('base64').b64encode(b'y' + sound.tobytes()).decode())}")
    assert {name for name, _ in traces(tmp_path, sound)} == {"plain", "float", "text"}
