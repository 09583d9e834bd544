"""Scorer, and features with scorer, against pymicro-features and pymicro-wakeword on the published alexa v2 model.

Both sides run in one process, in turn, on the same sound; what is asserted is the ratio of their CPU times.
"""

import statistics
import time
from pathlib import Path

import numpy as np
import pytest

from farfield import kernels
from farfield.model import load_model

pymicro_wakeword = pytest.importorskip("pymicro_wakeword")
pymicro_features = pytest.importorskip("pymicro_features")
MODELS = Path(pymicro_wakeword.__file__).parent / "models"
SECONDS = 20
ROUNDS = 9


def sound(seconds):
    """Noise in bursts, int16: the cost of neither side depends on what is said."""
    rng = np.random.default_rng(1)
    envelope = np.repeat(rng.uniform(0, 8000, seconds * 10), 1600)
    return (envelope * rng.standard_normal(seconds * 16000)).clip(-32768, 32767).astype(np.int16)


def ratios(ours, theirs):
    """CPU time of theirs over ours, once a round, in turn; both warmed up."""
    ours(), theirs()
    made = []
    for _ in range(ROUNDS):
        spent = []
        for work in (ours, theirs):
            begun = time.process_time_ns()
            work()
            spent.append(time.process_time_ns() - begun)
        made.append(spent[1] / spent[0])
    return made


def report(benchmark, made):
    benchmark.extra_info["ratio_median"] = round(statistics.median(made), 1)
    benchmark.extra_info["ratio_least"] = round(min(made), 1)
    benchmark.extra_info["ratio_most"] = round(max(made), 1)


@pytest.fixture
def peer():
    made = pymicro_wakeword.MicroWakeWord.from_config(MODELS / "alexa.json")
    yield made
    made.close()


def peer_features(samples):
    data, frontend, rows, at = samples.tobytes(), pymicro_features.MicroFrontend(), [], 0
    while at + 320 <= len(data):
        made = frontend.process_samples(data[at : at + 320])
        at += made.samples_read * 2
        if made.features:
            rows.append(np.array(made.features).reshape(1, 1, 40))
    return rows


def test_scorer_against_pymicro_wakeword(benchmark, peer):
    """From features on, frame by frame as a stream gives them."""
    rows = peer_features(sound(SECONDS))
    features = np.round(np.concatenate(rows).reshape(-1, 40) * 25.6).astype(np.uint16)
    scorer, out = load_model(MODELS / "alexa.tflite").scorer(), np.empty(1, np.uint8)

    def ours():
        for at in range(0, len(features) - 2, 3):
            scorer.process(features[at : at + 3], out)

    def theirs():
        for row in rows:
            peer.process_streaming_prob(row)

    made = ratios(ours, theirs)
    report(benchmark, made)
    benchmark.pedantic(ours, rounds=3)
    assert statistics.median(made) >= 8


def test_features_and_scorer_against_both_peers(benchmark, peer):
    """Sound in, scores out, 30 ms at a time."""
    samples = sound(SECONDS)
    features, scorer = kernels.Features(), load_model(MODELS / "alexa.tflite").scorer()
    blocks = [samples[at : at + 480] for at in range(0, len(samples), 480)]
    streams = pymicro_wakeword.MicroWakeWordFeatures()
    encoded = [block.tobytes() for block in blocks]

    def ours():
        for block in blocks:
            scorer.process(features.process(block))

    def theirs():
        for block in encoded:
            for row in streams.process_streaming(block):
                peer.process_streaming_prob(row)

    made = ratios(ours, theirs)
    report(benchmark, made)
    benchmark.pedantic(ours, rounds=3)
    assert statistics.median(made) >= 8
