"""What synthetic voices are given to say: no wake word in it, near-misses in turn, the same for the same seed."""

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from farfield.training import pronunciation
from farfield.training.neighbours import holds
from farfield.training.sentences import Sentences

pytestmark = pytest.mark.skipif(
    not pronunciation.LEXICON.is_file() or shutil.which("flite") is None,
    reason="needs the CMU lexicon and flite: apt-get install festlex-cmu flite",
)
EVERYDAY = ("turn on the light", "alexa turn on the computer", "good morning everyone")


def sentences(seed, everyday=EVERYDAY, words=("alexa", "computer")):
    return Sentences(everyday, words, np.random.default_rng(seed))


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(0, 60))
def test_words_in_a_row_hold_no_wake_word(seed, count):
    """Although the everyday sentences, of whose words some are, hold both."""
    said = sentences(seed).some(count)
    assert len(said) == count and said == sentences(seed).some(count)
    rows = [text for text in said if text not in EVERYDAY]
    assert len(said) - len(rows) == round(0.3 * count)
    assert not [text for text in rows for word in ("alexa", "computer") if holds(text, word)]
    assert all(4 <= len(text.split()) <= 9 for text in rows)


def test_rows_are_of_common_words_and_of_any():
    common = {word for text in EVERYDAY for word in text.split()}
    rows = [text for text in sentences(1).some(200) if text not in EVERYDAY]
    words = [word for text in rows for word in text.split()]
    assert 0.35 < np.mean([word in common for word in words]) < 0.65
    assert len({word for word in words if word not in common}) > 0.9 * sum(word not in common for word in words)


@settings(max_examples=10)
@given(seed=st.integers(0, 2**32 - 1), near=st.lists(st.sampled_from(["a lexus", "come shoot", "commuter", "annex"]), min_size=1))
def test_near_misses_come_in_turn_some_between_words(seed, near):
    texts = sentences(seed).within(near, 40)
    assert len(texts) == 40 and texts == sentences(seed).within(near, 40)
    for number, text in enumerate(texts):
        phrase = near[number % len(near)]
        before, found, after = f" {text} ".partition(f" {phrase} ")
        assert found and len(before.split()) <= 2 and len(after.split()) <= 2
        assert not holds(text, "alexa") and not holds(text, "computer")
    assert 5 < sum(text in near for text in texts) < 40


def test_what_stands_around_a_near_miss_never_makes_it_the_word():
    """Every word around it would: it stays alone."""
    made = sentences(1, everyday=["lexa"], words=["a lexa"])
    made._any = ["lexa"]
    assert set(made.within(["say a"], 50)) <= {"say a", "lexa say a", "lexa lexa say a"}


def test_a_near_miss_that_holds_another_word_may_be_said_between_words():
    """A list may give it, as the shipped one gives "mirror" said twice: only what is added may not make a wake word."""
    texts = sentences(2, words=["alexa", "lexus"]).within(["a lexus"], 50)
    assert any(text != "a lexus" for text in texts)
    assert not [text for text in texts if holds(text, "alexa")]


def test_none_of_none():
    assert sentences(1).some(0) == [] and sentences(1).within([], 0) == []
