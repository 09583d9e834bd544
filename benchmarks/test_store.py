"""What keeping costs while somebody speaks: sealing 15 s in blocks of 32 ms, against writing them to a file as they are."""

import os
from io import FileIO

import pytest
from ratio import against_real_time, ratios, report, sound

pytest.importorskip("cryptography")
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from farfield.capture import Opening
from farfield.store import Policy, Settings, Store
from farfield.store.sealed import Sealer, write_whole

SECONDS, BLOCK = 15, 512


def blocks():
    samples = sound(SECONDS)
    return [samples[at : at + BLOCK] for at in range(0, len(samples), BLOCK)]


def test_sealing_against_plain_writing(benchmark, tmp_path):
    heard = blocks()

    def ours():
        with FileIO(tmp_path / "sealed", "wb") as file:
            sealer = Sealer(write_whole(file))
            for block in heard:
                sealer.sound(block)
            sealer.finish({})
            sealer.destroy()

    def theirs():
        with FileIO(tmp_path / "plain", "wb") as file:
            for block in heard:
                os.write(file.fileno(), block)

    report(benchmark, "sealing a stream", "plain writing", ratios(ours, theirs), SECONDS)
    benchmark.pedantic(ours, rounds=1)


def test_a_whole_utterance_against_real_time(benchmark, tmp_path):
    """From `begin` to a record on the disk, with wraps to owner and reviewers, signature and log."""
    owner, reviewers = (X25519PrivateKey.generate().public_key() for _ in range(2))
    store = Store.set_up(tmp_path / "store", Settings(owner, reviewers, sample_share=1.0))
    store.give(["store", "review"], Policy.of(b"text", "1"))
    heard, opening = blocks(), Opening("alexa", 0.9, 0, 0, 8_000, 16_000, None)

    def ours():
        sealing = store.begin(opening)
        assert sealing is not None, store.why_not
        for block in heard:
            sealing.write(block)
        assert sealing.finish(SECONDS * 16_000).result(), store.why_not

    report(benchmark, "keeping an utterance of 15 s", "real time", against_real_time(ours, SECONDS), SECONDS)
    benchmark.pedantic(ours, rounds=1)
