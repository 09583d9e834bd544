"""The owner's voice: the regression held to its own optimum and to scipy's, the verifier to voices that are known apart."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield import kernels, load_model, load_owner
from farfield.block import Block, Frame
from farfield.chain import Chain
from farfield.detector import Detector
from farfield.errors import ModelError
from farfield.look import Afresh, trunk
from farfield.owner import Owner
from farfield.profile import load_profile
from farfield.training import owner as fitting
from reference.planted import Planted, layered, planted_owner, random_model

RATE = 16_000


# --- the regression


def embeddings(seed, owners, others, channels):
    """Two clouds of whole numbers, one of them moved, with channels that do not move at all."""
    random = np.random.default_rng(seed)
    x = random.normal(0, 30, (owners + others, channels))
    x[:owners] += random.normal(0, 20, channels)
    x[:, random.random(channels) < 0.2] = -128
    return np.rint(x), np.arange(owners + others) < owners


def cost(x, is_owner, scale, weights, bias):
    """The header's sum, term by term."""
    mean, total = x.mean(axis=0), 0.0
    for row, own in zip(x, is_owner, strict=True):
        logit = float(((row - mean) / scale) @ weights + bias) * (1 if own else -1)
        share = len(x) / 2 / (is_owner.sum() if own else (~is_owner).sum())
        total += share * float(np.logaddexp(0, -logit))
    return total + fitting.PENALTY / 2 * float(weights @ weights)


@given(
    seed=st.integers(0, 2**32 - 1),
    owners=st.integers(2, 12),
    others=st.integers(2, 40),
    channels=st.sampled_from([1, 5, 60, 300]),
)
def test_nothing_near_the_fit_is_better(seed, owners, others, channels):
    x, is_owner = embeddings(seed, owners, others, channels)
    mean, scale, weights, bias = fitting.regression(x, is_owner)
    assert np.allclose(mean, x.mean(axis=0)) and (scale > 0).all() and weights.shape == (channels,)
    best, random = cost(x, is_owner, scale, weights, bias), np.random.default_rng(seed)
    for size in (1e-3, 1e-1, 1.0):
        for _ in range(5):
            aside = weights + size * random.normal(0, 1, channels) / np.sqrt(channels)
            assert cost(x, is_owner, scale, aside, bias + size * random.normal()) >= best - 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_the_fit_is_scipys(seed):
    optimize = pytest.importorskip("scipy.optimize")
    x, is_owner = embeddings(seed, 6, 25, 40)
    _, scale, weights, bias = fitting.regression(x, is_owner)
    found = optimize.minimize(lambda b: cost(x, is_owner, scale, b[:-1], b[-1]), np.zeros(41), method="L-BFGS-B",
                              options={"maxiter": 5_000, "maxfun": 10**6, "ftol": 1e-14, "gtol": 1e-9})  # fmt: skip
    assert found.fun == pytest.approx(cost(x, is_owner, scale, weights, bias), rel=1e-6)
    assert np.allclose(found.x, [*weights, bias], atol=2e-4)


# --- the verifier


def noise(seconds, seed=0):
    random = np.random.default_rng(seed)
    level = np.repeat(10.0 ** random.uniform(1, 4.5, seconds * 16), 1_000)
    return np.clip(level * random.normal(0, 1, len(level)), -32_768, 32_767).astype(np.int16)


def hear(detector, samples, cuts=None):
    events, rejected, at, turn = [], [], 0, 0
    cuts = cuts or [len(samples)]
    while at < len(samples):
        part = samples[at : at + cuts[turn % len(cuts)], None]
        events += detector.process(Frame(part, at, 0, 0, at + len(part)))
        rejected += detector.rejected
        at, turn = at + len(part), turn + 1
    return events, rejected


@pytest.mark.parametrize("with_look", [False, True])
def test_an_event_leaves_only_if_the_owner_is_probable(with_look):
    """And carries that; without a second look the first network makes the embedding, with one the second does."""
    (model,) = layered(3, threshold=0.3, smoothing_steps=1, refractory_ms=0)
    look = layered(50)[0] if with_look else None
    look = look and replace(look, threshold=0.0, smoothing_steps=50)
    network = look or model
    plain = hear(Detector(model, second_look=look), noise(4))[0]
    assert plain
    events, rejected = hear(Detector(model, second_look=look, owner=planted_owner(network, 0.6)), noise(4))
    assert [event.decision for event in events] == [event.decision for event in plain] and not rejected
    assert {round(event.owner, 9) for event in events} == {0.6}
    events, rejected = hear(Detector(model, second_look=look, owner=planted_owner(network, 0.4)), noise(4))
    assert events == [] and {round(one.owner, 9) for one in rejected} == {0.4}
    assert rejected[0].decision == plain[0].decision, "the voice is asked once, where the event would have left"


def test_the_embedding_is_the_mean_of_each_hidden_slot():
    """Of a scorer run afresh; the slots that the last convolution and what follows it write are left out."""
    for model in layered(0, 8):
        last = max(n for n, layer in enumerate(model.network["layers"]) if layer["kind"] == "conv")
        slots = trunk(model)
        assert slots == tuple(range(1, model.network["layers"][last]["target"]))
        features = kernels.Features().process(noise(2))[-151:]
        afresh, scorer = Afresh(model, slots), model.scorer()
        afresh.p(np.ascontiguousarray(features[::-1]))  # of which nothing may be left
        afresh.p(features)
        scorer.process(features[len(features) % model.stride :])
        wanted = [float(np.mean(scorer.slot(slot)[:, c])) for slot in slots for c in range(scorer.slot(slot).shape[1])]
        assert afresh.embedding() == pytest.approx(wanted, abs=1e-12)


@given(seed=st.integers(0, 30), cuts=st.lists(st.integers(1, 5_000), min_size=1, max_size=5))
def test_any_cutting_into_frames_gives_the_same(seed, cuts):
    """An owner whose probability moves with what is heard, on random networks."""
    (model,) = layered(seed, threshold=0.3, smoothing_steps=2, refractory_ms=50)
    owner = planted_owner(model, 0.5)
    owner = replace(owner, weights=np.random.default_rng(seed).normal(0, 0.02, len(owner.weights)))
    samples = noise(2, seed)
    assert hear(Detector(model, owner=owner), samples, cuts) == hear(Detector(model, owner=owner), samples)


def test_the_owners_probability_moves_and_decides():
    """Else the test above would compare nothing."""
    events, rejected = 0, 0
    for seed in range(20):
        (model,) = layered(seed, threshold=0.3, smoothing_steps=2, refractory_ms=50)
        owner = planted_owner(model, 0.5)
        owner = replace(owner, weights=np.random.default_rng(seed).normal(0, 0.02, len(owner.weights)))
        found = hear(Detector(model, owner=owner), noise(2, seed))
        events, rejected = events + bool(found[0]), rejected + bool(found[1])
    assert events >= 3 and rejected >= 3


def test_an_owner_of_another_network_is_refused():
    model, other = layered(0, 2)
    told = rf"owner: is fitted to the network {other.fingerprint[:12]} of 'random', wanted one fitted to {model.fingerprint[:12]}"
    with pytest.raises(ModelError, match=told):
        Detector(model, owner=planted_owner(other, 0.5))
    with pytest.raises(ModelError, match=told):
        Chain(load_profile("single"), [model], owner=planted_owner(other, 0.5))
    with pytest.raises(ModelError, match="is fitted to the network"):
        Detector(model, second_look=other, owner=planted_owner(model, 0.5))
    long = replace(planted_owner(model, 0.5), mean=np.zeros(999), scale=np.ones(999), weights=np.zeros(999))
    with pytest.raises(ModelError, match=r"owner: got 999 weights, wanted \d+, the channels of the embedding"):
        Detector(model, owner=long)


def test_of_several_models_only_those_are_asked_that_the_owner_is_fitted_to():
    model, other = layered(0, 2, threshold=0.3, smoothing_steps=1)
    chain = Chain(load_profile("single"), [other, replace(model, word="asked")], owner=planted_owner(model, 0.001))
    events = chain.process(Block(noise(4)[:, None], 0))
    assert {event.word for event in events} == {"random"} and chain.detectors[1].rejected


def test_a_planted_network_without_a_trunk_is_refused():
    model = Planted([255])
    model.network = {"layers": [{"kind": "conv", "source": 0, "target": 1}]}
    with pytest.raises(ModelError, match="planted: has no layer before the one that makes the score"):
        trunk(model)


# --- files


def saved(folder):
    one = Owner("word", "f" * 64, np.array([1.0, 2.0]), np.array([0.5, 1e-9]), np.array([-3.0, 0.1]), 0.25, 0.5, {"a": "ä"})
    one.save(folder / "owner.safetensors")
    return one, (folder / "owner.safetensors").read_bytes()


def test_saved_and_loaded_it_is_the_same(tmp_path):
    one, _ = saved(tmp_path)
    again = load_owner(tmp_path / "owner.safetensors")
    x = np.array([1.25, 2.0])
    assert again.p(x) == one.p(x) == pytest.approx(1 / (1 + np.exp(1.25)), rel=1e-12)
    assert (again.word, again.fingerprint, again.threshold, again.figures) == ("word", "f" * 64, 0.5, {"a": "ä"})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": 1}, "format: got 1, wanted owner 1"),
        ({"bias": None}, "bias: got None, wanted a number"),
        ({"bias": True}, "bias: got True, wanted a number"),
        ({"threshold": 1.5}, "threshold: got 1.5, wanted a number from 0 to 1"),
        ({"word": 3}, "wanted texts"),
        ({"figures": []}, "figures: got list, wanted an object"),
        ({"more": 1}, "metadata: got bias, figures"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, change, told):
    from safetensors import deserialize
    from safetensors.numpy import save

    _, data = saved(tmp_path)
    tensors = {name: np.frombuffer(entry["data"], "<f8").reshape(entry["shape"]) for name, entry in deserialize(data)}
    length = int.from_bytes(data[:8], "little")
    description = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["farfield"])
    (tmp_path / "owner.safetensors").write_bytes(save(tensors, metadata={"farfield": json.dumps(description | change)}))
    with pytest.raises(ModelError, match=told) as caught:
        load_owner(tmp_path / "owner.safetensors")
    assert str(caught.value).startswith(f"{tmp_path / 'owner.safetensors'}: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("scale", np.array([1.0, 0.0]), "scale: got 0, wanted more than 0"),
        ("weights", np.array([1.0, np.nan]), "weights: got float64"),
        ("weights", np.zeros(3), r"weights: got float64 \(3,\)"),
        ("mean", np.zeros((1, 2)), r"mean: got float64 \(1, 2\)"),
        ("bias", np.inf, "bias: got inf"),
    ],
)
def test_numbers_that_cannot_be_are_refused(tmp_path, field, value, told):
    one, _ = saved(tmp_path)
    with pytest.raises(ModelError, match=told):
        replace(one, **{field: value})


def test_every_truncation_and_a_model_are_refused(tmp_path):
    _, data = saved(tmp_path)
    for end in range(0, len(data), 7):
        (tmp_path / "cut.safetensors").write_bytes(data[:end])
        with pytest.raises(ModelError, match=r"cut\.safetensors: "):
            load_owner(tmp_path / "cut.safetensors")
    random_model(1).save(tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="format: got 1, wanted owner 1"):
        load_owner(tmp_path / "model.safetensors")
    with pytest.raises(ModelError, match="format: got owner 1, wanted 1"):
        load_model(tmp_path / "owner.safetensors")
    with pytest.raises(ModelError, match="cannot be read"):
        load_owner(tmp_path / "nothing.safetensors")
