"""A second look that reads a spelling: against its definition in Python integers, as a file, and what it refuses."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield.errors import ModelError
from farfield.look import Afresh, trunk
from farfield.model import Model, load_model
from farfield.modelfile import sigmoid_table
from farfield.spelled import Spelled
from reference import scorer as reference
from reference import spelling

PHONES = 4  # and the blank
FIELDS = {"word": "random", "smoothing_steps": 2, "threshold": 0.5, "refractory_ms": 1000, "end_lag_ms": 0, "word_ms": 800}


def network(seed):
    """One hidden layer, of which one layer makes the word's logit and another the phones'; the logit's sigmoid is the score."""
    random = np.random.default_rng(seed)

    def conv(source, target, frames, channels, outputs, low=-128):
        return {
            "kind": "conv", "source": source, "source_channel": 0, "target": target, "target_channel": 0, "low": low, "high": 127,
            "weights": random.integers(-40, 41, (outputs, frames, channels)).astype(np.int8),
            "bias": random.integers(-999, 999, outputs).astype(np.int32), "shift": np.full(outputs, -7, np.int8),
            "multiplier": random.integers(1 << 30, (1 << 31) - 1, outputs).astype(np.int32), "away_from": outputs,
        }  # fmt: skip

    def slot(frames, channels, fill=0):
        return {"frames": frames, "channels": channels, "zero": 0, "fill": fill}

    return {
        "stride": 2,
        "quantiser": {"multiplier": 1 << 24, "shift": 26},
        "slots": [slot(3, 40), slot(2, 6), slot(2, 1, -128), slot(40, PHONES + 1, -128), slot(1, 1) | {"zero": -128}],
        "layers": [
            conv(0, 1, 3, 40, 6), conv(1, 2, 2, 6, 1), conv(1, 3, 2, 6, PHONES + 1),
            {"kind": "table", "source": 2, "source_channel": 0, "target": 4, "target_channel": 0, "table": sigmoid_table(0.1, 0)},
        ],
    }  # fmt: skip


def read(**changes):
    fields = {
        "logit_slots": [2], "phone_slots": [3], "spellings": [[0, 1], [2, 3, 2]], "within": 5, "of_logit": 64, "of_phones": 20,
        "offset": 3000,
    }  # fmt: skip
    return fields | changes


def model(seed, **changes):
    return Model(network=network(seed), card={}, spelled=Spelled(**read(**changes)), **FIELDS)


def of_two(seed):
    """The same with a second network beside the first, for its word and for the phones."""
    one, other = network(seed), network(seed + 1000)
    one["slots"] += other["slots"][1:4]
    added = zip(other["layers"][:3], ({"target": 5}, {"source": 5, "target": 6}, {"source": 5, "target": 7}), strict=True)
    one["layers"][-1:-1] = [layer | places for layer, places in added]
    fields = read(logit_slots=[2, 6], phone_slots=[3, 7], of_logit=32, of_phones=10)
    return Model(network=one, card={}, spelled=Spelled(**fields), **FIELDS)


def wandering(seed, frames):
    random = np.random.default_rng(seed)
    return random.integers(0, 700, (frames, 1)).astype(np.uint16) + random.integers(0, 200, (frames, 40)).astype(np.uint16)


def defined(model, features):
    """The definition, by the reference's scorer and path."""
    features = features[len(features) % model.stride :]
    scorer = reference.Scorer(**model.network)
    steps = len(scorer.process(features))
    spelled = model.spelled
    told = [scorer.slot(slot)[-min(steps, 40) :] if steps else [] for slot in spelled.phone_slots]
    paths = [spelling.score(logits, spelled.spellings, spelled.within) for logits in told]
    if None in paths:
        return 0.0
    largest = sum(max(row[0] for row in scorer.slot(slot)) for slot in spelled.logit_slots)
    index = (spelled.of_logit * largest + spelled.of_phones * sum(paths) + spelled.offset) >> 8
    return (int(sigmoid_table(0.1, 0)[0, min(max(index, -128), 127) + 128]) + 128) / 256


@given(seed=st.integers(0, 30), frames=st.integers(0, 90))
def test_both_together_are_one_probability_by_the_definition(seed, frames):
    one, features = model(seed), wandering(seed, frames)
    assert Afresh(one).p(features) == defined(one, features)


@given(seed=st.integers(0, 30), frames=st.integers(0, 90))
def test_several_looks_count_by_their_mean(seed, frames):
    features = wandering(seed, frames)
    assert Afresh(of_two(seed)).p(features) == defined(of_two(seed), features)


@pytest.mark.parametrize("left_out", [{"logit_slots": [2]}, {"phone_slots": [3]}])
def test_each_of_several_looks_is_heard(left_out):
    """Planted: with a look, or what tells phones apart, left out the probability is another for most."""
    looks = [
        (
            Afresh(of_two(seed)),
            Afresh(replace(of_two(seed), spelled=replace(of_two(seed).spelled, **left_out))),
            wandering(seed, 90),
        )
        for seed in range(20)
    ]
    assert sum(both.p(features) != one.p(features) for both, one, features in looks) > 10


def test_the_random_networks_do_move_it_and_each_of_its_parts_does():
    """Else the test above would compare constants."""
    features = [wandering(seed, 90) for seed in range(40)]
    logits_alone, paths_alone = ({"of_phones": 0}, {"of_logit": 0})
    found = [
        {Afresh(model(seed, **changes)).p(features[seed]) for seed in range(40)} for changes in ({}, logits_alone, paths_alone)
    ]
    assert min(map(len, found)) >= 10


def test_it_starts_anew_each_time():
    """What an earlier, longer stretch left in the slots spells nothing."""
    look = Afresh(model(3))
    short, long = wandering(1, 8), wandering(2, 90)
    alone = look.p(short)
    look.p(long)
    assert look.p(short) == alone == defined(model(3), short)
    assert look.p(short[:2]) == 0.0  # one step spells no word


def test_its_embedding_is_the_word_s_and_not_the_phones():
    assert trunk(model(0)) == (1,)


def test_as_a_second_look_s_file_it_is_read_back(tmp_path):
    one = model(5)
    replace(one, spelled=None).save(tmp_path / "m.safetensors")
    one.save(tmp_path / "m.look.safetensors")
    again = load_model(tmp_path / "m.safetensors").second_look
    assert again.spelled == one.spelled and again.fingerprint == one.fingerprint
    assert again.fingerprint != replace(one, spelled=None).fingerprint
    features = wandering(1, 90)
    assert Afresh(again).p(features) == Afresh(one).p(features)


def test_a_listener_reads_no_spelling(tmp_path):
    model(0).save(tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match=r"m\.safetensors: spelling: only a second look reads one"):
        load_model(tmp_path / "m.safetensors")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"within": 0}, "spelling.within: got 0, wanted a whole number from 1"),
        ({"of_logit": 0.5}, "spelling.of_logit: got 0.5"),
        ({"offset": True}, "spelling.offset: got True"),
        ({"phone_slots": [5]}, "spelling.phone_slots: got 5, wanted less than 5"),
        ({"phone_slots": []}, r"spelling.phone_slots: got \[\], wanted 1 to 16 whole numbers from 1"),
        ({"phone_slots": [3, 2]}, r"spelling.phone_slots: got \[1, 5\] channels, wanted as many in each"),
        ({"logit_slots": [2, 3]}, "spelling.logit_slots: got one of 5 channels"),
        ({"logit_slots": [2, 9]}, "spelling.logit_slots: got 9, wanted less than 5"),
        ({"logit_slots": []}, r"spelling.logit_slots: got \[\], wanted 1 to 16 whole numbers from 1"),
        ({"logit_slots": [0]}, r"spelling.logit_slots: got \[0\], wanted 1 to 16"),
        ({"logit_slots": [True]}, r"spelling.logit_slots: got \[True\], wanted 1 to 16"),
        ({"logit_slots": "2"}, "spelling.logit_slots: got 2, wanted 1 to 16"),
        ({"logit_slots": 2}, "spelling.logit_slots: got 2, wanted 1 to 16"),
        ({"spellings": [[0, PHONES]]}, r"spellings\[0\]\[1\]: got 4, wanted 0 to 3"),
        ({"spellings": "ab"}, "spellings: got str"),
        ({"spellings": [[]]}, r"spellings\[0\]: got 0 phones"),
        ({"more": 1}, "spelling: got .*, wanted an object of logit_slots"),
    ],
)
def test_what_reads_no_spelling_is_refused(changes, words):
    with pytest.raises((TypeError, ValueError), match=words):
        Spelled.read(read(**changes), network(0))


@pytest.mark.parametrize("given_", [None, [], "x", {}])
def test_what_is_no_object_is_refused(given_):
    with pytest.raises(ValueError, match=r"spelling: got .* wanted an object"):
        Spelled.read(given_, network(0))


def test_a_network_without_a_table_at_its_end_is_refused():
    without = network(0)
    without["layers"] = without["layers"][:-1]
    with pytest.raises(ValueError, match="last layer is no table"):
        Spelled(**read()).check(without)
