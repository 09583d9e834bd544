"""Best paths against a recursion over all of them, closed forms, and the boundary."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from reference import spelling as reference

OUTPUTS = 5
spellings = st.lists(st.lists(st.integers(0, OUTPUTS - 2), min_size=1, max_size=5), min_size=1, max_size=4)


def drawn(steps, seed, spread):
    return np.random.default_rng(seed).integers(-spread, spread, (steps, OUTPUTS)).astype(np.int8)


@given(spelled=spellings, steps=st.integers(0, 20), within=st.integers(1, 25), seed=st.integers(0, 999),
       spread=st.sampled_from([3, 20, 128]))  # fmt: skip
def test_it_is_the_best_of_all_paths(kernels, spelled, steps, within, seed, spread):
    logits = drawn(steps, seed, spread)
    got = kernels.Spelling(spelled, OUTPUTS, within).process(logits)
    assert got == reference.score(logits.tolist(), spelled, within)


def said(*outputs, sure=100):
    """Logits of which each step's likeliest output is the given one, by `sure`."""
    logits = np.zeros((len(outputs), OUTPUTS), np.int8)
    logits[np.arange(len(outputs)), outputs] = sure
    return logits


def test_closed_forms(kernels):
    blank = OUTPUTS - 1
    word = kernels.Spelling([[0, 1, 2]], OUTPUTS, 3)
    assert word.process(said(3, 3, 0, 0, blank, 1, blank, 2, blank)) == 0  # said, however slowly, after something else
    assert word.process(said(0, 1, 2)) == 0
    assert word.process(said(0, 1, 3)) == -100  # one phone of three is another
    assert word.process(said(0, 3, 1, 3, 2)) == -200  # two steps of something else in between
    assert word.process(said(2, 1, 0)) == -200  # only one of them stands where it should
    assert word.process(said(0, 1)) is None  # too short
    assert word.process(said(0, 1, 2, 3, 3)) == 0 and word.process(said(0, 1, 2, 3, 3, 3)) == -100  # and too long ago
    twice = kernels.Spelling([[0, 0]], OUTPUTS, 9)
    assert twice.process(said(0, blank, 0)) == 0 and twice.process(said(0, 0, 0)) == -100  # a phone twice needs a blank between
    assert kernels.Spelling([[3], [0, 1]], OUTPUTS, 1).process(said(0, 1)) == 0  # any of the spellings


def test_the_longest_stretch_of_the_worst_logits_stays_exact(kernels):
    logits = np.full((1024, OUTPUTS), -128, np.int8)
    logits[:, 3] = 127
    spelled = [0, 1, 2] * 21 + [0]
    assert kernels.Spelling([spelled], OUTPUTS, 1024).process(logits) == -255 * len(spelled)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (("ab", 5, 3), TypeError, "spellings: got str"),
        (([], 5, 3), ValueError, "spellings: got 0"),
        (([[0]] * 65, 5, 3), ValueError, "spellings: got 65"),
        (([[0], 3], 5, 3), TypeError, r"spellings\[1\]: got int"),
        (([[0], []], 5, 3), ValueError, r"spellings\[1\]: got 0 phones"),
        (([[0] * 65], 5, 3), ValueError, r"spellings\[0\]: got 65 phones"),
        (([[0, 4]], 5, 3), ValueError, r"spellings\[0\]\[1\]: got 4, wanted 0 to 3"),
        (([[0, -1]], 5, 3), ValueError, r"spellings\[0\]\[1\]: got -1"),
        (([[0, 1.0]], 5, 3), TypeError, r"spellings\[0\]\[1\]: got float"),
        (([[0]], 1, 3), ValueError, "outputs: got 1"),
        (([[0]], 5, 0), ValueError, "within: got 0"),
    ],
)
def test_what_is_no_spelling_is_refused(kernels, arguments, error, words):
    with pytest.raises(error, match=words):
        kernels.Spelling(*arguments)


@pytest.mark.parametrize(
    ("logits", "error", "words"),
    [
        ([[0] * 5], TypeError, "logits: got list"),
        (np.zeros((4, 5), np.int16), TypeError, "logits: got dtype int16"),
        (np.zeros((4, 6), np.int8), ValueError, "logits: got shape"),
        (np.zeros((4, 10), np.int8)[:, ::2], ValueError, "strided"),
        (np.zeros((1025, 5), np.int8), ValueError, "wanted 0 to 1024"),
    ],
)
def test_what_are_no_logits_is_refused(kernels, logits, error, words):
    with pytest.raises(error, match=words):
        kernels.Spelling([[0]], 5, 3).process(logits)
