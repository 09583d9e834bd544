"""The speech embedding, sound in, a vector every 80 ms out, against openWakeWord's own in TensorFlow Lite."""

import numpy as np
import pytest
from ratio import ratios, report, sound

from farfield import kernels
from farfield.embedding import load_embedding

pyopen_wakeword = pytest.importorskip("pyopen_wakeword")
SECONDS = 10
CHUNK = 1280


def test_sound_to_embeddings_against_openwakeword(benchmark):
    """80 ms at a time, a vector of the newest 76 frames each; the peer makes each of them anew."""
    samples = sound(SECONDS)
    chunks = [samples[at : at + CHUNK] for at in range(0, len(samples) - CHUNK + 1, CHUNK)]
    encoded = [chunk.tobytes() for chunk in chunks]
    features, network = kernels.Features(), load_embedding()
    fresh = np.zeros((9, network.bins), np.uint16)
    peer = pyopen_wakeword.OpenWakeWordFeatures.from_builtin()
    list(peer.process_streaming(encoded[0]))  # what it has of silence before its first sound

    def ours():
        for chunk in chunks:
            made = len(features.process(chunk, energies=fresh))
            network.process(fresh[:made])

    def theirs():
        for chunk in encoded:
            for _ in peer.process_streaming(chunk):
                pass

    measured = ratios(ours, theirs)
    report(benchmark, "features + speech embedding", "pyopen-wakeword", measured, SECONDS)
    benchmark.pedantic(ours, rounds=3)
