"""Recorded rooms: what is read, and that every mistake in one is a line that names file and field."""

import numpy as np
import pytest
import soundfile

from farfield import InputError, load_profile
from farfield.hil import demo_room, load_room, of_room

GOOD = """profile = "respeaker-2mic"
provenance = "noise"
[[word]]
text = "alexa"
start = 100
end = 900
talker = "A"
direction = 400
[[speech]]
text = "hello"
start = 950
end = 1000
"""


@pytest.fixture
def room(tmp_path):
    """A function that writes a room with this room.toml and loads it."""
    sound = np.random.default_rng(1).normal(0, 900, (1000, 2)).astype(np.int16)
    soundfile.write(tmp_path / "mics.flac", sound, 16000)
    soundfile.write(tmp_path / "ref.flac", sound[:500, 0], 16000)

    def load(text):
        (tmp_path / "room.toml").write_text(text)
        return load_room(tmp_path)

    return load


def test_what_is_written_is_read(room):
    made = room(GOOD)
    (word,), (speech,) = made.words, made.speech
    assert (word.text, word.start, word.end, word.talker, word.direction_deg) == ("alexa", 100, 900, "A", 40.0)
    assert (speech.text, speech.talker, speech.direction_deg) == ("hello", None, None)
    assert (made.profile, made.provenance, made.rate, made.frames) == (load_profile("respeaker-2mic"), "noise", 16000, 1000)


def test_a_short_reference_is_silent_after_its_end(room):
    blocks = list(room(GOOD).source(64).blocks())
    samples = np.concatenate([block.samples for block in blocks])
    assert samples.shape == (1000, 3)
    assert samples[:500, 2].any() and not samples[500:, 2].any()


def test_without_a_reference_there_is_none(room, tmp_path):
    (tmp_path / "ref.flac").unlink()
    made = room(GOOD)
    assert made.reference is None and made.source().references == 0


def test_a_rooms_own_profile_is_found_in_its_folder(room, tmp_path):
    own = 'name = "own"\nchannels = 2\n[[microphone]]\nchannel = 1\nposition_mm = [0, 0, 0]\n'
    (tmp_path / "own.toml").write_text(own)
    assert room(GOOD.replace("respeaker-2mic", "own.toml")).profile.microphones == (1,)


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ('profile = "respeaker-2mic"', "", "field profile: got nothing"),
        ("respeaker-2mic", "respeaker-9mic", "respeaker-9mic"),
        ('"noise"', "3", "field provenance: got 3, wanted a text"),
        ("[[word]]", "[[wrod]]", "field wrod is not known; did you mean word"),
        ("[[word]]", "[word]", r"field word: wanted \[\[word\]\] tables"),
        ("start = 100", "start = -1", r"field word\[0\].start: got -1, wanted a whole number from 0 to 999"),
        ("start = 100", "start = 10.5", r"field word\[0\].start: got 10.5"),
        ("start = 100", "start = true", r"field word\[0\].start: got True"),
        ("end = 900", "end = 100", r"field word\[0\].end: got 100, wanted a whole number from 101 to 1000"),
        ("end = 1000", "end = 1001", r"field speech\[0\].end: got 1001"),
        ("end = 900", "ends = 900", r"field word\[0\].ends is not known; did you mean end"),
        ("direction = 400", "direction = nan", r"field word\[0\].direction: got nan, wanted degrees"),
        ('talker = "A"', "talker = 1", r"field word\[0\].talker: got 1, wanted a text"),
        ("profile =", "profile", "cannot be read as TOML"),
        ("direction = 400", f"direction = 1{'0' * 400}", r"field word\[0\].direction: got 10+, wanted degrees"),
        ("direction = 400", "direction = inf", r"field word\[0\].direction: got inf, wanted degrees"),
        ("start = 100", f"start = {'9' * 5_000}", "cannot be read as TOML"),
        ("start = 100", f"start = 0x{'f' * 5_000}", r"field word\[0\].start: got a number of thousands of digits"),
        ("start = 100", f"start = {'[' * 5_000}", "cannot be read as TOML"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(room, old, new, match):
    assert old in GOOD
    with pytest.raises(InputError, match=match) as caught:
        room(GOOD.replace(old, new, 1))
    assert "\n" not in str(caught.value)


def test_a_room_is_called_as_its_folder_however_that_is_given(room, tmp_path, monkeypatch):
    room(GOOD)
    monkeypatch.chdir(tmp_path)
    assert load_room(".").name == load_room(tmp_path).name == of_room(load_room(".")).name == tmp_path.name


def test_no_room_and_no_sound_are_named(tmp_path):
    with pytest.raises(InputError, match=r"room.toml: no such file; wanted a folder"):
        load_room(tmp_path)
    (tmp_path / "room.toml").write_text(GOOD)
    with pytest.raises(InputError, match=r"mics.flac: no such file"):
        load_room(tmp_path)


def test_the_shipped_room_is_what_it_should_be():
    made = load_room(demo_room())
    assert sum(path.stat().st_size for path in demo_room().iterdir()) < 1_500_000
    assert len(made.profile.microphones) >= 4 and made.reference is not None
    assert {word.talker for word in made.words} == {"Ada", "Ben"} and len(made.speech) >= 4
    assert made.words[0].start < 16000  # a word within the first second
    played = np.concatenate([block.samples for block in made.source().blocks()])[:, -1]
    assert np.mean(played[-16000 * 15 :] != 0) > 0.8
