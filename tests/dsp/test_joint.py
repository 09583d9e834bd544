"""A second look that asks heads on the embedding and its listener besides: by its definition, as a file, and what it refuses."""

import math
from dataclasses import replace
from functools import cache, partial
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farfield import kernels
from farfield.block import Frame
from farfield.detector import Detector
from farfield.embedding import load_embedding
from farfield.errors import ModelError
from farfield.evaluation import run
from farfield.history import FIELD, HEARD, HOP, History, heard
from farfield.joint import EMBEDDINGS, TENSORS, WIDTH, Joint, listener_logit
from farfield.look import Afresh, trunk
from farfield.model import Model, load_model
from farfield.modelfile import sigmoid_table
from farfield.profile import RATE
from farfield.training import measure
from reference import scorer as reference
from reference.planted import random_model

FIELDS = {"word": "random", "smoothing_steps": 2, "threshold": 0.5, "refractory_ms": 1000, "end_lag_ms": 0, "word_ms": 800}
WEIGHTS = {"of_features": 64, "of_head": 90, "of_listener": 70, "features_least": -90, "head_most": 120, "listener_least": -30}


def slot(frames, channels, zero=0):
    return {"frames": frames, "channels": channels, "zero": zero, "fill": zero}


def network(seed, stride=2, channels=40, window=3, shift=-7):
    """Two convolutions to a logit, kept for two steps, whose sigmoid is the score."""
    random = np.random.default_rng(seed)

    def conv(source, target, frames, channels, outputs):
        return {
            "kind": "conv", "source": source, "source_channel": 0, "target": target, "target_channel": 0,
            "low": -128, "high": 127,
            "weights": random.integers(-40, 41, (outputs, frames, channels)).astype(np.int8),
            "bias": random.integers(-999, 999, outputs).astype(np.int32), "shift": np.full(outputs, shift, np.int8),
            "multiplier": random.integers(1 << 30, (1 << 31) - 1, outputs).astype(np.int32), "away_from": outputs,
        }  # fmt: skip

    zero = 0 if channels == 40 else -128
    table = {"kind": "table", "source": 2, "source_channel": 0, "target": 3, "target_channel": 0, "table": sigmoid_table(0.1, 0)}
    return {
        "stride": stride,
        "quantiser": {"multiplier": 2, "shift": 1} if zero else {"multiplier": 1 << 24, "shift": 26},
        "slots": [
            slot(window, channels, 0 if channels == 40 else -128),
            slot(2, 6),
            slot(2, 1) | {"fill": -128},
            slot(1, 1, -128),
        ],
        "layers": [conv(0, 1, window, channels, 6), conv(1, 2, 2, 6, 1), table],
    }


def beside(one, other):
    """Both in one network: the second's slots after the first's, its logit in slot 5."""
    one["slots"] += other["slots"][1:3]
    one["layers"][-1:-1] = [other["layers"][0] | {"target": 4}, other["layers"][1] | {"source": 4, "target": 5}]
    return one


def head(seed):
    return network(seed, 1, WIDTH, shift=-9)


def joint(seed, **changes):
    """Heads of two networks, by its fields."""
    fields = {"logit_slots": [2, 5], "head_slots": [2, 5], **WEIGHTS, "head": beside(head(seed + 100), head(seed + 200))}
    return Joint(**fields | changes)


def model(seed, **changes):
    return Model(network=beside(network(seed), network(seed + 1000)), card={}, joint=joint(seed, **changes), **FIELDS)


def wandering(seed, frames):
    random = np.random.default_rng(seed)
    return random.integers(0, 700, (frames, 1)).astype(np.uint16) + random.integers(0, 200, (frames, 40)).astype(np.uint16)


def spread(seed):
    return np.random.default_rng(seed).integers(-128, 128, (EMBEDDINGS, WIDTH)).astype(np.int8)


def defined(model, features, embeddings, p):
    """The definition, by the reference's scorer."""
    features = features[len(features) % model.stride :]
    scorer, own = reference.Scorer(**model.network), reference.Scorer(**model.joint.head)
    if not len(scorer.process(features)):
        return 0.0
    own.process(embeddings.astype(int) + 128)
    joint = model.joint
    f = sum(max(row[0] for row in scorer.slot(slot)) for slot in joint.logit_slots)
    if f < joint.features_least:
        return 0.0
    h = min(sum(own.slot(slot)[-1][0] for slot in joint.head_slots), joint.head_most)
    bounded = min(max(p, 1 / 512), 511 / 512)
    logit = max(round(10 * math.log(bounded / (1 - bounded))), joint.listener_least)
    index = (joint.of_features * f + joint.of_head * h + joint.of_listener * logit) >> 8
    return (int(sigmoid_table(0.1, 0)[0, min(max(index, -128), 127) + 128]) + 128) / 256


@given(seed=st.integers(0, 30), frames=st.integers(0, 90), p=st.floats(0, 1))
def test_all_together_are_one_probability_by_the_definition(seed, frames, p):
    one, features, embeddings = model(seed), wandering(seed, frames), spread(seed)
    assert Afresh(one).p(features, lambda: embeddings, p) == defined(one, features, embeddings, p)


def test_heads_are_asked_only_where_features_do_not_deny():
    """From the least logit on, and not below: then the embeddings are not even made."""
    features, asked = wandering(4, 90), []

    def embeddings():
        asked.append(True)
        return spread(4)

    found = model(4)
    scorer = found.scorer()
    scorer.process(features)
    logit = found.joint.features_logit(scorer)
    assert Afresh(model(4, features_least=logit + 1)).p(features, embeddings, 0.9) == 0.0 and not asked
    assert Afresh(model(4, features_least=logit)).p(features, embeddings, 0.9) > 0.0 and asked


@given(
    seed=st.integers(0, 30), p=st.floats(0, 1), above=st.integers(0, 255).map(lambda step: step / 256), most=st.integers(-99, 250)
)
def test_heads_are_asked_only_where_they_could_bring_it_there(seed, p, above, most):
    """What exceeds `above` comes out as if nothing were left out; heads that are bounded below that are not asked."""
    one, features, asked = model(seed, head_most=most), wandering(seed, 90), []

    def embeddings():
        asked.append(True)
        return spread(seed)

    wanted = defined(one, features, spread(seed), p)
    found = Afresh(one).p(features, embeddings, p, above)
    assert found == (wanted if asked else 0.0) and (asked or wanted <= above)
    scorer = one.scorer()
    scorer.process(features)
    logit, joint = one.joint.features_logit(scorer), one.joint
    best = joint.of_features * logit + joint.of_head * most + joint.of_listener * max(listener_logit(p), joint.listener_least)
    could = int(sigmoid_table(0.1, 0)[0, min(max(best >> 8, -128), 127) + 128]) + 128 > 256 * above
    assert bool(asked) == (could and logit >= joint.features_least)


@pytest.mark.parametrize(
    "left_out",
    [
        {"logit_slots": [2]},
        {"head_slots": [2]},
        {"of_features": 0},
        {"of_head": 0},
        {"of_listener": 0},
        {"listener_least": 90},
        {"features_least": 255},
        {"head_most": -500},
    ],
)
def test_each_part_is_heard(left_out):
    """Planted: with a network, a head or the listener left out the probability is another for most."""
    moved = 0
    for seed in range(20):
        arguments = wandering(seed, 90), partial(spread, seed), 0.9
        moved += Afresh(model(seed)).p(*arguments) != Afresh(model(seed, **left_out)).p(*arguments)
    assert moved > 10


def test_it_starts_anew_each_time():
    look, short, long = Afresh(model(3)), wandering(1, 8), wandering(2, 90)
    alone = look.p(short, lambda: spread(1), 0.5)
    look.p(long, lambda: spread(2), 0.5)
    assert look.p(short, lambda: spread(1), 0.5) == alone and look.p(short[:1], lambda: spread(1), 0.5) == 0.0


def test_a_listeners_logit_is_that_of_its_probability():
    assert [listener_logit(p) for p in (0.0, 0.5, 0.9, 1.0)] == [-62, 0, 22, 62]


def test_the_voice_is_heard_where_the_words_logit_is_made():
    assert trunk(model(0)) == (1,)


# --- what a look is shown


@settings(max_examples=20)
@given(seed=st.integers(0, 3), cuts=st.lists(st.integers(100, 9_000), min_size=1, max_size=5), every=st.integers(3, 40))
def test_embeddings_are_those_of_the_whole_stream(seed, cuts, every):
    """However the stream is cut and whenever it is asked: each HOP-th frame's from the start on, zeros before it."""
    samples, features, by_start = stream(seed)
    front, history = kernels.Features(), History(load_embedding(most_frames=HEARD))
    at = done = call = 0
    while at < len(samples):
        history.take(*heard(samples[at : at + cuts[call % len(cuts)]], front))
        at, call = at + cuts[call % len(cuts)], call + 1
        now = max(0, (min(at, len(samples)) - 480) // 160 + 1)
        for frame in range(done + 1, now + 1):
            if frame % every == 0:
                newest = (frame - FIELD) // HOP
                wanted = [by_start[newest - n] for n in reversed(range(EMBEDDINGS))]
                assert np.array_equal(history.embeddings(frame), wanted)
                assert np.array_equal(history.until(frame), features[max(0, frame - 150) : frame])
        done = now


@cache
def stream(seed):
    """Two seconds, their features, and the embedding of each HOP-th frame's FIELD by its first frame / HOP."""
    samples = np.random.default_rng(seed).integers(-9_000, 9_000, RATE * 2).astype(np.int16)
    features, energies = heard(samples)
    before = 3 * FIELD // HOP  # of the stream
    padded = np.concatenate([np.zeros((before * HOP, 32), np.uint16), energies])
    whole = load_embedding(most_frames=len(padded)).process(padded)
    return samples, features, dict(zip(range(-before, len(whole) - before), whole, strict=True))


def test_embeddings_go_on_from_those_before():
    """After a short pause the frames between are embedded, after one longer than a look hears a look's; the same comes."""
    _, energies = heard(np.random.default_rng(3).integers(-9_000, 9_000, RATE * 6).astype(np.int16))
    embedder = Counting(load_embedding(most_frames=HEARD))
    history = History(embedder)
    features, known = np.zeros((len(energies), 40), np.uint16), 0
    for at, counted in (
        (140, HEARD),
        (141, HEARD),
        (148, HEARD + 8),
        (260, HEARD + 120),
        (268, HEARD + 128),
        (408, 2 * HEARD + 128),
    ):
        history.take(features[known:at], energies[known:at])
        known = at
        found = history.embeddings(at)
        assert embedder.frames == counted, at
        alone = History(load_embedding(most_frames=HEARD))
        alone.take(features[:at], energies[:at])
        assert np.array_equal(found, alone.embeddings(at)), at
        assert history.embeddings(at) is found and not found.flags.writeable


class Counting:
    """An embedder that counts the frames that it is shown."""

    def __init__(self, embedder):
        self._embedder, self.frames = embedder, 0
        self.reset = embedder.reset

    def process(self, energies):
        self.frames += len(energies)
        return self._embedder.process(energies)


def test_a_reset_forgets_what_was_heard():
    random = np.random.default_rng(0)
    one, other = (heard(random.integers(-9_000, 9_000, RATE * 2).astype(np.int16)) for _ in range(2))
    used, fresh = History(load_embedding(most_frames=HEARD)), History(load_embedding(most_frames=HEARD))
    used.take(*one)
    shown = used.embeddings(198)
    assert shown.any()
    used.reset()
    assert not shown.any(), "nor is it left where it was shown"
    for history in (used, fresh):
        history.take(*other)
    assert np.array_equal(used.embeddings(100), fresh.embeddings(100))
    assert not np.array_equal(fresh.embeddings(100)[-1], fresh.embeddings(190)[-1])


def test_any_cutting_into_frames_gives_the_same():
    """Random listeners with joint looks on two signals: events and rejections, every field of them."""
    found = []
    for seed in range(12):
        listener = random_model(seed, smoothing_steps=2, refractory_ms=50, threshold=0.4)
        look = replace(model(seed), word=listener.word, threshold=(0.5, 0.8, 0.95)[seed % 3])
        random = np.random.default_rng(seed)
        loud = np.repeat(10.0 ** random.uniform(1, 4, 40), RATE // 20)[:, None]
        samples = (loud * random.standard_normal((len(loud), 2))).clip(-32768, 32767).astype(np.int16)
        whole, cut = Detector(listener, 2, second_look=look), Detector(listener, 2, second_look=look)
        events = whole.process(Frame(samples, 0, 0, 0, len(samples)))
        rejected = whole.rejected
        pieces, refused, at = [], [], 0
        while at < len(samples):
            size = int(random.integers(1, 5_000))
            pieces += cut.process(Frame(samples[at : at + size], at, 0, 0, at + size))
            refused += cut.rejected
            at += size
        assert [replace(event, host_ns=0) for event in pieces] == [replace(event, host_ns=0) for event in events]
        assert refused == rejected
        found.append((bool(events), bool(rejected)))
    assert sum(woke for woke, _ in found) >= 3 and sum(held for _, held in found) >= 3, found


@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), signals=st.integers(1, 3))
def test_an_evaluation_looks_where_a_detector_does(seed, signals):
    """Random listeners with joint looks: what is scored as a whole decides as what is streamed; so does the training's count."""
    listener = random_model(seed, smoothing_steps=4 - signals, refractory_ms=50, threshold=0.4)
    one = replace(listener, second_look=replace(model(seed), word=listener.word, threshold=0.8))
    random = np.random.default_rng(seed)
    loud = np.repeat(10.0 ** random.uniform(1, 4, 40), RATE // 20)[:, None]
    samples = (loud * random.standard_normal((len(loud), signals))).clip(-32768, 32767).astype(np.int16)
    detector = Detector(one, signals)
    events = [event.decision for at in range(0, len(samples), 1_600)
              for event in detector.process(Frame(samples[at : at + 1_600], at, 0, 0, at + 1_600))]  # fmt: skip
    told = run.scored(0, SimpleNamespace(said=(), skipped=(), spoken=()), samples, one)
    assert told.decisions(0.8, listener.refractory_ms) == events
    if signals == 1:
        on = measure.Streams([], [heard(samples[:, 0].copy())], 1.0)
        looked = measure.looked(measure.scored(one, on), one, 0.2)
        setting = measure.Setting(measure.LOOK_WINDOW, 0.4, 0.8)
        assert measure.woken([looked], one, setting) == len(events), "looks were taken from a lower threshold on"


# --- as a file


def test_as_a_second_look_s_file_it_is_read_back(tmp_path):
    one = model(5)
    replace(one, joint=None).save(tmp_path / "m.safetensors")
    one.save(tmp_path / "m.look.safetensors")
    again = load_model(tmp_path / "m.safetensors").second_look
    assert again.fingerprint == one.fingerprint != replace(one, joint=None).fingerprint
    assert one.fingerprint not in {model(5, **{name: value + 1}).fingerprint for name, value in WEIGHTS.items()}
    assert again.joint.as_parts()[0] == one.joint.as_parts()[0]
    arguments = wandering(1, 90), partial(spread, 1), 0.3
    assert Afresh(again).p(*arguments) == Afresh(one).p(*arguments)


def test_a_listener_has_none(tmp_path):
    model(0).save(tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match=r"m\.safetensors: joint: only a second look has one"):
        load_model(tmp_path / "m.safetensors")


def read(**changes):
    described, tensors = joint(0).as_parts()
    tensors = {name.removeprefix(TENSORS): tensor for name, tensor in tensors.items()}
    described["head"] |= {name: value for name, value in changes.items() if name in described["head"]}
    described |= {name: value for name, value in changes.items() if name not in network(0)}
    return Joint.read(described, tensors, beside(network(0), network(1)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"of_features": 0.5}, "joint.of_features: got 0.5, wanted a whole number from 0"),
        ({"of_head": -1}, "joint.of_head: got -1"),
        ({"features_least": 1 << 17}, "joint.features_least: got 131072, wanted a whole number from -65536 to 65536"),
        ({"head_most": 1.5}, "joint.head_most: got 1.5, wanted a whole number from -65536 to 65536"),
        ({"of_listener": True}, "joint.of_listener: got True"),
        ({"listener_least": -129}, "joint.listener_least: got -129, wanted a whole number from -128 to 127"),
        ({"of_head": 1 << 17}, "joint.of_head: got 131072, wanted a whole number from 0 to 65536"),
        ({"head_slots": [6]}, "joint.head_slots: got 6, wanted less than 6, the slots"),
        ({"head_slots": []}, r"joint.head_slots: got \[\], wanted 1 to 16 whole numbers from 1"),
        ({"head_slots": [1]}, "joint.head_slots: got one of 6 channels, wanted 1"),
        ({"logit_slots": [2, 9]}, "joint.logit_slots: got 9, wanted less than 6"),
        ({"logit_slots": [0]}, r"joint.logit_slots: got \[0\], wanted 1 to 16"),
        ({"logit_slots": [True]}, r"joint.logit_slots: got \[True\], wanted 1 to 16"),
        ({"logit_slots": "2"}, "joint.logit_slots: got 2, wanted 1 to 16"),
        ({"logit_slots": 2}, "joint.logit_slots: got 2, wanted 1 to 16"),
        ({"stride": 2}, "joint.head: got 96 inputs and stride 2, wanted 96 and 1"),
        ({"slots": []}, "joint.head: "),
        ({"layers": []}, "joint.head: "),
        ({"quantiser": {}}, "joint.head: "),
        ({"head": None}, "joint.head: got None, wanted an object of stride"),
        ({"more": 1}, "joint: got .*, wanted an object of logit_slots"),
    ],
)
def test_what_is_no_joint_look_is_refused(changes, words):
    with pytest.raises((TypeError, ValueError), match=words):
        read(**changes)


@pytest.mark.parametrize("given_", [None, [], "x", {}])
def test_what_is_no_object_is_refused(given_):
    with pytest.raises(ValueError, match=r"joint: got .* wanted an object"):
        Joint.read(given_, {}, network(0))


def test_tensors_of_a_head_without_its_description_are_refused(tmp_path):
    from farfield import modelfile
    from farfield.model import from_bytes

    model(0).save(tmp_path / "m.safetensors")
    description, tensors = modelfile.parse((tmp_path / "m.safetensors").read_bytes())
    del description["joint"]
    modelfile.write(tmp_path / "m.safetensors", description, tensors)
    with pytest.raises(ModelError, match="joint: got None"):
        from_bytes((tmp_path / "m.safetensors").read_bytes())


def test_a_network_without_a_table_at_its_end_is_refused():
    without = beside(network(0), network(1))
    without["layers"] = without["layers"][:-1]
    with pytest.raises(ValueError, match="last layer is no table"):
        joint(0).check(without)
