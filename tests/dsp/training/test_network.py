"""The network, its layers, and integers that say what it says."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyroomacoustics")

from farfield import kernels  # noqa: E402
from farfield.joint import EMBEDDINGS, LOGIT_STEP, WIDTH  # noqa: E402
from farfield.model import load_model  # noqa: E402
from farfield.training import export, segments  # noqa: E402
from farfield.training import network as design  # noqa: E402
from farfield.training.heads import Head  # noqa: E402

SETTINGS = {"smoothing_steps": 4, "threshold": 0.5, "refractory_ms": 1000, "end_lag_ms": 0, "word_ms": 600}


def batch(features):
    return torch.from_numpy(np.ascontiguousarray(features).astype(np.uint8))


@pytest.fixture(autouse=True)
def one_thread():
    """Sums of floats come in the same order every time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def wandering(random, frames):
    level = np.abs(np.cumsum(random.normal(0, 12, frames)))[:, None] % 600
    return (level * random.uniform(0.4, 1.1, (frames, 1)) * random.uniform(0.5, 1.2, (frames, 40))).astype(np.uint16)


def seen(raw):
    """Features as the scorer's first layer sees them, plus 128: the nearest, halves up, in whole numbers."""
    return np.minimum((raw.astype(np.int64) * 10 * 255 * 2 + 256 * 26) // (256 * 26 * 2), 255).astype(np.uint8)


def settled_network(seed, shape=design.LISTENER, outputs=1):
    """Random weights; ranges and normalisations as of 80 batches; logits of a few units around 0; quantised."""
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    net = design.Network(shape, outputs)
    with torch.no_grad():
        net.train()
        for _ in range(80):
            net(batch(seen(wandering(random, 800)).reshape(4, 200, 40)))
        net.eval()
        some = batch(seen(wandering(random, 800))[None])
        net.last.weight *= 2 / net(some).std()
        net.last.bias -= net(some).mean()
    net.quantise()
    return net, random


@pytest.mark.parametrize("shape", [design.LISTENER, design.SECOND_LOOK])
@pytest.mark.parametrize("seed", range(3))
def test_the_integers_say_what_the_quantised_network_says(tmp_path, seed, shape):
    """Probabilities within 0.12 at every step and 0.02 in the mean; heard a frame late, they are nowhere near."""
    net, random = settled_network(seed, shape)
    model = export.to_model(net, word="word", detector=SETTINGS, card={"draft": True})
    raw = wandering(random, 1_500)
    scores = model.scorer().process(raw).astype(float) / 256
    skipped = -(-net.shape.field // net.shape.stride) - 1
    first = (skipped + 1) * net.shape.stride - net.shape.field

    def difference(offset):
        with torch.no_grad():
            p = torch.sigmoid(net(batch(seen(raw)[None, offset:])))[0, 0].numpy()
        return np.abs(scores[skipped : skipped + len(p)] - p[: len(scores) - skipped])

    assert difference(first).max() < 0.12 and difference(first).mean() < 0.02
    assert difference(first + 1).mean() > 0.1
    model.save(tmp_path / "m.safetensors")
    again = load_model(tmp_path / "m.safetensors")
    assert again.scorer().process(raw).tobytes() == model.scorer().process(raw).tobytes()
    assert (again.word, dict(again.card)) == ("word", {"draft": True})


def test_a_model_gives_lower_logits_by_as_much_as_asked():
    net, random = settled_network(0)
    raw = wandering(random, 600)
    plain, strict = (
        export.to_model(net, word="word", detector=SETTINGS, card={}, lower=logits).scorer().process(raw) / 256
        for logits in (0.0, 2.0)
    )
    inside = (plain > 0.05) & (plain < 0.95)
    logit = np.log(plain[inside] / (1 - plain[inside]))
    assert inside.sum() > 20 and np.abs(strict[inside] - 1 / (1 + np.exp(2.0 - logit))).max() < 0.06


@pytest.mark.parametrize("seed", range(2))
def test_a_stream_begins_in_training_as_it_does_in_the_scorer(seed):
    """From the first step on, while the buffers still hold nothing; with zeros for features before it, it is not the same."""
    net, random = settled_network(seed)
    scorer = export.to_model(net, word="word", detector=SETTINGS, card={}).scorer()
    raw = wandering(random, 600)
    scores = scorer.process(raw).astype(float) / 256
    with torch.no_grad():
        p = torch.sigmoid(net(batch(seen(raw)[None]), True))[0, 0].numpy()
        zeros = batch(np.concatenate([np.zeros((net.shape.field - net.shape.stride, 40), np.uint8), seen(raw)])[None])
        padded = torch.sigmoid(net(zeros))[0, 0].numpy()
    assert len(p) == len(scores) == 200 and np.abs(scores - p).max() < 0.12 and np.abs(scores - p).mean() < 0.02
    assert np.abs(padded[:20] - scores[:20]).max() > 0.05


def test_features_are_quantised_for_training_as_the_scorer_quantises_them():
    """Every uint16 feature, against exact halves and against the exported constants."""
    net, _ = settled_network(0)
    constants = export.to_model(net, word="word", detector=SETTINGS, card={}).network["quantiser"]
    raw = np.arange(65_536)
    scorers = np.minimum((raw * constants["multiplier"] + (1 << constants["shift"] - 1)) >> constants["shift"], 255)
    assert np.array_equal(scorers, seen(raw))
    unit = np.float32(segments.FEATURE_UNIT / segments.INPUT_UNIT)
    assert np.array_equal(np.clip(np.rint(raw.astype(np.float32) * unit), 0, 255), seen(raw))


def test_what_a_logit_depends_on():
    """As many frames as said: the first and the last of them change it, those outside do not."""
    net, random = settled_network(1)
    net.eval()
    some = seen(wandering(random, net.shape.field + 2))
    with torch.no_grad():
        (logit,) = net(batch(some[None])).flatten()

        def moves(frame):
            other = some.copy()
            other[frame] = 255 - other[frame]
            return bool(net(batch(other[None])).flatten()[0] != logit)

        assert [moves(frame) for frame in (0, 1, net.shape.field - 1, net.shape.field, net.shape.field + 1)] == [
            True, True, True, False, False
        ]  # fmt: skip


@pytest.mark.parametrize(("kernels", "stride"), [((5,), 1), ((3, 7), 1), ((1,), 1), ((4,), 3)])
def test_products_are_those_of_torch_s_own_convolutions(kernels, stride):
    """In value and in gradient: a mixed depthwise layer, and a dense one with and without a stride."""
    torch.manual_seed(0)
    x = torch.randn(8, 3, 30, dtype=torch.float64, requires_grad=True)
    if stride == 1 and max(kernels) > 1:
        layer = design.Depthwise(8, kernels).double()
        weights = torch.cat([torch.nn.functional.pad(part[:, :, max(kernels) - k :], (max(kernels) - k, 0)) for part, k in
                             zip(layer.weight.chunk(len(kernels)), kernels, strict=True)])  # fmt: skip
        wanted = torch.nn.functional.conv1d(x.transpose(0, 1), weights, layer.bias, groups=8).transpose(0, 1)
        got = layer(x)
        assert design.weight_count(layer) == sum(8 // len(kernels) * k for k in kernels)
    else:
        layer = design.Convolution(8, 5, kernels[0], stride, norm=False).double()
        wanted = torch.nn.functional.conv1d(x.transpose(0, 1), layer.weight, layer.bias, stride).transpose(0, 1)
        got = layer(x)
    assert torch.allclose(got, wanted, atol=1e-12)
    one, other = (torch.autograd.grad((y**3).sum(), (x, layer.weight)) for y in (got, wanted))
    assert all(torch.allclose(a, b, atol=1e-9) for a, b in zip(one, other, strict=True))


def test_the_networks_are_as_small_as_they_should_be():
    """25,000 to 45,000 weights, and within 1.3 million multiply-adds a second, for what listens all the time."""
    listener = design.weight_count(design.Network(design.LISTENER))
    assert 25_000 <= listener <= 45_000 and listener * 100 / design.LISTENER.stride <= 1.3e6
    assert listener < design.weight_count(design.Network(design.SECOND_LOOK)) < 120_000


def test_a_word_of_several_becomes_a_network_of_its_own():
    torch.manual_seed(0)
    net = design.Network(words=3)
    some = batch(np.random.default_rng(0).integers(0, 256, (2, 250, 40)))
    with torch.no_grad():
        net.train()
        for _ in range(20):
            net(some)
        net.eval()
        net.quantise()
        assert torch.equal(net.of_word(2)(some)[0], net(some)[2]) and net(some).std() > 0


def settled_head(seed):
    """A head that has seen something, quantised, and int8 embeddings like those."""
    torch.manual_seed(seed)
    net, some = Head(1), torch.randint(-100, 60, (200, EMBEDDINGS, WIDTH), dtype=torch.int8)
    net.train()
    with torch.no_grad():
        for _ in range(60):
            net(some)
    net.eval()
    net.quantise()
    return net, some


def test_a_joint_look_says_what_each_of_its_networks_says_alone():
    """In one file: each look's logits to the bit, and each head's, rounded, within a step of what the network says."""
    (word, random), (other, _) = settled_network(0, design.SECOND_LOOK), settled_network(2, design.SECOND_LOOK)
    (head, some), (second, _) = settled_head(0), settled_head(1)
    own = SETTINGS | {"smoothing_steps": 2}
    both = export.to_joint_model([word, other], [head, second], word="word", detector=own, card={})
    raw = wandering(random, 150)
    scorer = both.scorer()
    scorer.process(raw)
    for slot, net in zip(both.joint.logit_slots, (word, other), strict=True):
        alone = export.to_model(net, word="word", detector=own, card={}).scorer()
        alone.process(raw)
        lately = scorer.slot(slot)
        assert lately.shape == (2, 1) and lately[-1] == alone.slot(2 + 2 * len(word.shape.blocks))
    listening = kernels.Scorer(**both.joint.head)
    wanted = np.stack([net(some)[0, :, 0].detach().numpy() for net in (head, second)], 1) / LOGIT_STEP
    got = []
    for one in some.numpy():
        both.joint.head_logit(listening, one)
        got.append([int(listening.slot(slot)[-1, 0]) for slot in both.joint.head_slots])
    assert np.abs(np.array(got) - wanted.clip(-128, 127)).max() < 1.5 and wanted.std(0).min() > 2
    joint = both.joint
    weights = joint.of_features * 2, joint.of_head * 2, joint.of_listener
    shares = 128 * export._OF_FEATURES, 128, 128 * export._OF_LISTENER
    assert weights == pytest.approx(shares, abs=1), "means, and the listener's share"
    assert joint.features_least == 2 * export._FEATURES_LEAST / LOGIT_STEP, "of the sum of both"
    assert joint.head_most == 2 * export._HEAD_MOST / LOGIT_STEP
