"""Near-misses: what sounds like the phrase is found, and what holds the phrase is never among it."""

import shutil
import subprocess
from importlib import resources

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from farfield.errors import InputError
from farfield.training import pronunciation
from farfield.training.neighbours import holds, near_misses

WORDS = ("alexa", "computer", "jarvis", "smart mirror", "snowboy", "view glass")
here = pytest.mark.skipif(
    not pronunciation.LEXICON.is_file() or shutil.which("flite") is None,
    reason="needs the CMU lexicon and flite: apt-get install festlex-cmu flite",
)


def flite(text):
    """Phones as flite says them, vowels that can be weak as one."""
    said = subprocess.run(["flite", "-ps", "-t", text, "none"], capture_output=True, text=True, check=True).stdout
    return " ".join({"ah": "ax", "ih": "ax"}.get(phone, phone) for phone in said.split() if phone != "pau")


@here
@pytest.mark.parametrize("word", WORDS)
def test_no_near_miss_sounds_like_the_word(word):
    """Flite is the witness: it reads whole phrases, with its own lexicon and its own rules.

    What only goes on within the last syllable may be there ("a lexus"), so the word must not be followed by a word's end.
    """
    found = near_misses(word, 120, 0)
    assert len(set(found)) == 120
    wanted = flite(word)
    assert not [text for text in found if (flite(text) + " ").endswith(wanted + " ")]
    assert not [text for text in found if f" {word} " in f" {text} "]


@here
@settings(max_examples=4)
@given(st.sampled_from(WORDS), st.integers(0, 2**32 - 1), st.integers(1, 80))
def test_as_many_as_asked_for_and_the_same_for_the_same_seed(word, seed, count):
    found = near_misses(word, count, seed)
    assert len(set(found)) == count
    assert found == near_misses(word, count, seed)


@here
def test_another_seed_draws_others():
    assert set(near_misses("alexa", 40, 0)) != set(near_misses("alexa", 40, 1))


@here
@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("alexa", ["a lexus", "election", "alex", "alexander", "lex"]),
        ("computer", ["commuter", "compute", "computing", "pewter"]),
        ("jarvis", ["jars", "harvest", "jar"]),
        ("smart mirror", ["smart", "mirror", "mirror smart", "smart miller", "smart nearer"]),
        ("snowboy", ["snowball", "snow", "doughboy", "boy snow"]),
        ("view glass", ["view", "glass", "glass view", "view class"]),
    ],
)
def test_finds_the_near_misses_that_people_name(word, wanted):
    """Of the spellings of one sound any will do: those that hold each other."""
    found = near_misses(word, 300, 0)
    assert not [text for text in wanted if not any(holds(other, text) and holds(text, other) for other in found)]


@here
@pytest.mark.parametrize(
    ("text", "word", "held"),
    [
        ("alexa", "alexa", True),
        ("Alexa's", "alexa", True),
        ("ask alexa now", "alexa", True),
        ("computers", "computer", True),
        ("a computer", "computer", True),
        ("compute a", "computer", True),  # the same where r is not spoken
        ("jar vis", "jarvis", True),
        ("smart mirrors", "smart mirror", True),
        ("view glasses", "view glass", True),
        ("snow boys", "snowboy", True),
        ("a lexus", "alexa", False),
        ("alexander", "alexa", False),
        ("election", "alexa", False),
        ("mirror smart", "smart mirror", False),
        ("mirror", "smart mirror", False),
        ("view class", "view glass", False),
        ("commuter", "computer", False),
    ],
)
def test_what_holds_the_word(text, word, held):
    assert holds(text, word) is held


@here
@settings(max_examples=20)
@given(st.sampled_from(WORDS), st.sampled_from(["the", "hello", "please", ""]), st.sampled_from(["now", "stop", ""]))
@example("alexa", "", "")
def test_the_word_is_held_by_whatever_is_said_around_it(word, before, after):
    assert holds(f"{before} {word} {after}", word)


@here
@pytest.mark.parametrize("word", WORDS[1:])
def test_no_shipped_near_miss_holds_the_word(word):
    file = resources.files("farfield.training") / "phrases" / f"{word.replace(' ', '_')}.txt"
    lines = file.read_text("utf-8").splitlines()
    assert 30 <= len(lines) == len(set(lines))
    assert not [line for line in lines if holds(line, word)]


@here
@pytest.mark.parametrize("phrase", ["hey mycroft", "okay nabu", "zorblatt", "o", "hocus pocus", "x-ray"])
def test_any_phrase_will_do(phrase):
    found = near_misses(phrase, 50, 0)
    assert len(set(found)) == 50
    assert not [text for text in found if holds(text, phrase)]


def plain(text):
    """As it is read: any space is a space, and letters are small, the Kelvin sign's among them."""
    return " ".join(text.lower().split())


@here
@settings(max_examples=40)
@given(st.text(max_size=30).filter(lambda text: not plain(text).isascii() or not any(c.isalpha() for c in plain(text))))
@example("")
@example("été")
@example("911")
@example("alexa\0")
@example("'" * 5)
@example("a" * 100)
@example("one two three four five six seven")
def test_bad_phrases_are_one_line(phrase):
    with pytest.raises(InputError) as caught:
        near_misses(phrase, 5, 0)
    assert "\n" not in str(caught.value) and "wanted 1 to" in str(caught.value)


@here
@pytest.mark.parametrize("count", [0, -3])
def test_no_count_is_refused(count):
    with pytest.raises(InputError, match="wanted 1 or more"):
        near_misses("alexa", count, 0)


@here
def test_more_than_there_is_is_refused():
    with pytest.raises(InputError, match="ask for fewer"):
        near_misses("alexa", 10**6, 0)


def test_without_the_lexicon_one_line_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(pronunciation, "LEXICON", tmp_path / "cmudict.out")
    pronunciation.lexicon.cache_clear()
    with pytest.raises(InputError, match=r"apt-get install festlex-cmu$"):
        near_misses("alexa", 5, 0)


@here
def test_without_flite_an_unknown_word_says_how_to_get_it(monkeypatch):
    pronunciation.lexicon.cache_clear()
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(InputError, match=r"apt-get install flite$"):
        near_misses("grubblefosh", 5, 0)
