"""The scorer against Python integers: random networks, chunks, reset, saturation, the boundary."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import scorer as reference
from reference.networks import networks, random_network


def features(network, frames, seed):
    rng = np.random.default_rng(seed)
    top = int(rng.choice([1, 700, 65536]))
    return rng.integers(0, top, (frames, network["slots"][0]["channels"])).astype(np.uint16)


@given(network=networks, frames=st.integers(0, 60), seed=st.integers(0, 99))
def test_random_networks_equal_the_integer_reference(kernels, network, frames, seed):
    x = features(network, frames, seed)
    got = kernels.Scorer(**network).process(x)
    assert got.dtype == np.uint8
    assert got.tolist() == reference.Scorer(**network).process(x)


def test_the_random_networks_do_move_the_score():
    """Else the test above would compare constants."""
    moved = 0
    for seed in range(30):
        network = random_network(seed)
        moved += len(set(reference.Scorer(**network).process(features(network, 40, seed)))) > 1
    assert moved >= 10


@given(network=networks, cuts=st.lists(st.integers(0, 50), max_size=8), seed=st.integers(0, 99))
def test_any_chunking_gives_the_same_scores(kernels, network, cuts, seed):
    x = features(network, 50, seed)
    scorer = kernels.Scorer(**network)
    whole = scorer.process(x)
    scorer.reset()
    edges = [0, *sorted(cuts), 50]
    parts = [scorer.process(x[a:b]) for a, b in pairwise(edges)]
    assert np.concatenate(parts).tobytes() == whole.tobytes()


@given(network=networks, frames=st.integers(0, 60), seed=st.integers(0, 99))
def test_every_slot_holds_what_the_integer_references_holds(kernels, network, frames, seed):
    """Before the first frame, in the middle of a step, and after the history has moved in its memory."""
    scorer, wanted = kernels.Scorer(**network), reference.Scorer(**network)
    for x in np.array_split(features(network, frames, seed), 3):
        scorer.process(x)
        wanted.process(x)
        for index, slot in enumerate(network["slots"]):
            held = scorer.slot(index)
            assert (held.dtype, held.shape) == (np.int8, (slot["frames"], slot["channels"]))
            assert held.tolist() == wanted.slot(index)


def test_a_slot_that_was_handed_out_is_a_copy(kernels):
    network = random_network(3)
    x = features(network, 40, 3)
    scorer = kernels.Scorer(**network)
    held = scorer.slot(0)
    before = held.copy()
    scores = scorer.process(x)
    assert np.array_equal(held, before) and not np.array_equal(scorer.slot(0), before)
    scorer.reset()
    held[:] = 77
    assert scorer.process(x).tobytes() == scores.tobytes()


@pytest.mark.parametrize(("index", "error"), [(-1, ValueError), (2, ValueError), (1 << 70, ValueError), (0.0, TypeError)])
def test_a_slot_that_is_none(kernels, index, error):
    with pytest.raises(error, match=r"index: got"):
        kernels.Scorer(**one_layer(weights=np.ones((1, 1, 4), np.int8))).slot(index)


def test_history_longer_than_the_spare_memory(kernels):
    network = random_network(7)
    x = features(network, 700, 7)
    assert kernels.Scorer(**network).process(x).tolist() == reference.Scorer(**network).process(x)


def one_layer(kind="conv", *, weights, bias=0, multiplier=1 << 30, shift=0, away_from=1, zero=0, low=-128):
    """Input of one unit a feature, one layer, its value + 128 out."""
    return {
        "stride": 1,
        "quantiser": {"multiplier": 1 << 30, "shift": 30},
        "slots": [{"frames": 1, "channels": weights.shape[-1], "zero": -128, "fill": -128},
                  {"frames": 1, "channels": 1, "zero": zero, "fill": zero}],
        "layers": [{"kind": kind, "source": 0, "source_channel": 0, "target": 1, "target_channel": 0, "weights": weights,
                    "bias": np.array([bias], np.int32), "multiplier": np.array([multiplier], np.int32),
                    "shift": np.array([shift], np.int8), "away_from": away_from, "low": low, "high": 127}],
    }  # fmt: skip


def test_ties_go_where_the_layer_says(kernels):
    """acc / 4 by a Q31 half and a shift of one: -2/4 is a tie of the shift, -1/2; known by hand."""
    zeros = np.zeros((1, 1, 1), np.int8)
    score = {}
    for away_from in (0, 1):
        for acc in (-10, -6, -2, 2, 6, 10):
            network = one_layer(weights=zeros, bias=acc, shift=-1, away_from=away_from)
            score[away_from, acc] = int(kernels.Scorer(**network).process(np.zeros((1, 1), np.uint16))[0]) - 128
    assert [score[0, a] for a in (-10, -6, -2, 2, 6, 10)] == [-3, -2, -1, 1, 2, 3]
    assert [score[1, a] for a in (-10, -6, -2, 2, 6, 10)] == [-2, -1, 0, 1, 2, 3]


def test_outputs_saturate_and_relu_cuts_at_the_zero_point(kernels):
    weights = np.array([[[127]]], np.int8)
    top = np.array([[255]], np.uint16)
    assert kernels.Scorer(**one_layer(weights=weights)).process(top)[0] == 255
    assert kernels.Scorer(**one_layer(weights=-weights)).process(top)[0] == 0
    assert kernels.Scorer(**one_layer(weights=-weights, zero=5, low=5)).process(top)[0] == 133


def test_features_saturate_at_the_top_of_int8(kernels):
    weights = np.array([[[1]]], np.int8)
    x = np.array([[0], [100], [254], [255], [256], [65535]], np.uint16)
    got = kernels.Scorer(**one_layer(weights=weights)).process(x)
    want = [128 + round(v / 2 + 0.01) for v in (0, 100, 254, 255, 255, 255)]
    assert got.tolist() == [min(w, 255) for w in want]


def test_reset_is_the_state_after_construction(kernels):
    network = random_network(3)
    x = features(network, 41, 3)
    scorer = kernels.Scorer(**network)
    first = scorer.process(x)
    scorer.process(x[:5])
    scorer.reset()
    assert scorer.process(x).tobytes() == first.tobytes()


def test_out_is_written_and_returned(kernels):
    network = random_network(5)
    x = features(network, network["stride"] * 4, 5)
    out = np.zeros(4, np.uint8)
    scorer = kernels.Scorer(**network)
    assert scorer.process(x, out=out) is out
    scorer.reset()
    assert scorer.process(x).tobytes() == out.tobytes()


@pytest.mark.parametrize(
    ("features", "out", "error", "match"),
    [
        ([[1]], None, TypeError, "features: got list"),
        (np.zeros((3, 4), np.int16), None, TypeError, "features: got dtype int16, wanted uint16"),
        (np.zeros((3, 5), np.uint16), None, ValueError, r"features: got shape \(3, 5\)"),
        (np.zeros((3, 8), np.uint16)[:, ::2], None, ValueError, "features: got a strided view"),
        (np.zeros((3, 4), np.uint16), np.zeros(2, np.uint8), ValueError, r"out: got shape \(2,\)"),
        (np.zeros((3, 4), np.uint16), np.zeros(3, np.int8), TypeError, "out: got dtype int8"),
    ],
)
def test_the_boundary_names_what_is_wrong(kernels, features, out, error, match):
    scorer = kernels.Scorer(**one_layer(weights=np.ones((1, 1, 4), np.int8)))
    with pytest.raises(error, match=match):
        scorer.process(features, out=out)


def changed(**changes):
    network = one_layer(weights=np.ones((1, 1, 4), np.int8))
    layer = network["layers"][0]
    for path, value in changes.items():
        place = {"slot": network["slots"][0], "last": network["slots"][1], "layer": layer, "top": network}[path.split("__")[0]]
        place[path.split("__")[1]] = value
    return network


@pytest.mark.parametrize(
    ("network", "match"),
    [
        (changed(top__stride=0), "stride: got 0"),
        (changed(top__slots=[]), "slots: got 0"),
        (changed(top__quantiser={"multiplier": 1}), "quantiser: got"),
        (changed(top__quantiser={"multiplier": 0, "shift": 3}), "quantiser.multiplier: got 0"),
        (changed(slot__channels=3), r"layers\[0\]: reads channels 0 to 3"),
        (changed(slot__frames=True), r"slots\[0\].frames"),
        (changed(slot__extra=1), r"slots\[0\]: got the unknown field 'extra'"),
        (changed(last__channels=2), "wanted 1, the score"),
        (changed(layer__kind="lstm"), r"layers\[0\].kind: got 'lstm'"),
        (changed(layer__source=1), r"layers\[0\].target: got 1, which is also its source"),
        (changed(layer__target=2), r"layers\[0\].target: got 2"),
        (changed(layer__bias=np.array([2**31 - 1], np.int32)), r"layers\[0\].weights: an accumulator could reach"),
        (changed(layer__bias=np.array([1 << 25], np.int32), layer__shift=np.array([6], np.int8)), "could leave 32 bits"),
        (changed(layer__bias=np.array([1 << 30], np.int32), layer__shift=np.array([-30], np.int8),
                 layer__weights=np.full((1, 1, 4), 127, np.int8)), None),
        (changed(layer__multiplier=np.array([5], np.int32)), r"layers\[0\].multiplier: got 5"),
        (changed(layer__multiplier=np.array([5.0])), r"layers\[0\].multiplier: got dtype float64"),
        (changed(layer__away_from=2), r"layers\[0\].away_from: got 2"),
        (changed(layer__low=128), r"layers\[0\].low: got 128"),
        (changed(layer__weights=np.ones((1, 2, 4), np.int8)), r"layers\[0\].weights: got shape"),
    ],
)  # fmt: skip
def test_the_constructor_names_what_is_wrong(kernels, network, match):
    if match is None:
        kernels.Scorer(**network)
        return
    with pytest.raises((TypeError, ValueError), match=match):
        kernels.Scorer(**network)


def test_the_widest_accumulators_do_not_overflow(kernels):
    """At the very bound that the constructor allows, every product at its largest."""
    weights = np.full((1, 1, 1024), -128, np.int8)
    most = (1 << 31) - 3 - 1024 * 128 * 255
    network = one_layer(weights=weights, bias=-most, shift=-1, away_from=0)
    x = np.full((2, 1024), 65535, np.uint16)
    assert kernels.Scorer(**network).process(x).tolist() == reference.Scorer(**network).process(x) == [0, 0]


def test_a_slot_must_be_written_once_and_before_it_is_read(kernels):
    network = one_layer(weights=np.ones((1, 1, 4), np.int8))
    network["layers"] *= 2
    with pytest.raises(ValueError, match="written twice"):
        kernels.Scorer(**network)
    network = random_network(1)
    network["layers"] = network["layers"][::-1]
    with pytest.raises(ValueError, match=r"is read before all its channels are written|wanted 1, the score"):
        kernels.Scorer(**network)
