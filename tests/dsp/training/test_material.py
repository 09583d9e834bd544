"""What is trained on: who is in which part, what is left out, what synthetic voices stand in for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("pyroomacoustics")

from farfield.errors import InputError
from farfield.training import material
from reference.sounds import quiet, tone, voice

SOUND = np.concatenate([quiet(0.05), tone(500, 0.1), quiet(0.05)])


def labelled(kind, people):
    return [material.Labelled(f"{kind}/{p}-{n}", f"p{p}", SOUND) for p, count in people.items() for n in range(count)]


people = st.dictionaries(st.integers(0, 40), st.integers(1, 9), min_size=1, max_size=14)


@given(words=st.lists(people, min_size=1, max_size=3), others=people, seed=st.integers(0, 99))
def test_nobody_is_in_two_parts(words, others, seed):
    """Each clip serves in the part that it is held out of, and in no other; groups are spread as evenly as people allow."""
    groups = [labelled(f"w{n}", of) for n, of in enumerate(words)]
    negatives = labelled("o", others)
    parts = material.share_out([*groups, negatives], seed)
    made = material.Collection(groups, negatives, [], [[] for _ in words], rooms=[], part_of=parts)
    for part in range(material.PARTS):
        mixed = made.material(part)
        assert len(mixed.speech) == len(made.held_out(part, 0).negatives)
        for number, word in enumerate(mixed.words):
            held = made.held_out(part, number).positives
            assert len(word.real) == len(held) and {parts[clip.person] for clip in held} <= {part}
    assert sum(len(made.held_out(part, 0).negatives) for part in range(material.PARTS)) == len(negatives)
    assert material.share_out([*groups, negatives], seed) == parts
    if len(words) == 1 and not set(words[0]) & set(others):
        sizes = [len(made.held_out(part, 0).positives) for part in range(material.PARTS)]
        assert max(sizes) - min(sizes) <= max(words[0].values())


def collected(phrases, folder, seed=1, **changes):
    given = {"negatives": [folder / "other"], "noise": [], "tts": False} | changes
    said = []
    return material.collect(phrases, given["negatives"], given["noise"], given["tts"], seed, said.append), said


@pytest.fixture
def spoken_folders(tmp_path):
    for n, person in enumerate(("ann", "bob", "cat")):
        voice(tmp_path / "word", person, 2, 900 + 100 * n)
        voice(tmp_path / "other", person, 2, 300 + 40 * n, 1.5)
    return tmp_path


def test_clips_that_say_the_word_are_no_negatives(tiny, spoken_folders):
    (spoken_folders / "other.tsv").write_text(
        "ann-0.wav\tLOOK IN THE MIRROR\nbob-1.wav\tMIRRORS ARE FINE\ncat-0.wav\tso smart\nann-1.wav\tgood day\ncat-1.wav\tno\n"
    )
    phrases = [material.Phrase("smart mirror", (spoken_folders / "word",), ())]
    made, _ = collected(phrases, spoken_folders)
    assert sorted(clip.name for clip in made.negatives) == [f"other/{n}.wav" for n in ("ann-1", "bob-1", "cat-1")]
    assert any("bob-0.wav: has no transcript in other.tsv" in line for line in made.skipped)
    assert len(made.skipped) == 3 and "'look in the mirror', and 'smart mirror' is the wake word" in made.skipped[0]
    assert made.spoken == [[]] and made.near == [[]] and not made.sentences, "no synthetic voice was asked for"


def test_synthetic_voices_stand_in_for_people_where_there_are_no_recordings(tiny, spoken_folders):
    """Then parts are shared out by voice, so that what is measured is a voice not trained on."""
    made, _ = collected([material.Phrase("hello", (), ("yellow",))], spoken_folders, negatives=[], tts=True)
    assert [clip.person for clip in made.positives[0]] == [f"voice {n}" for n in range(4)] and made.spoken == [[]]
    assert len(made.negatives) == 4 and not made.sentences and [len(near) for near in made.near] == [4]
    assert set(made.part_of) == {f"voice {n}" for n in range(4)} and len(set(made.part_of.values())) == 3
    beside, _ = collected([material.Phrase("hello", (spoken_folders / "word",), ("yellow",))], spoken_folders, tts=True)
    assert len(beside.positives[0]) == 6 and len(beside.spoken[0]) == 4 and len(beside.sentences) == 4
    for part in range(3):
        assert len(beside.material(part).words[0].synthetic) == 4 and len(beside.material(part).words[0].real) == 2


def test_sentences_that_say_the_word_are_not_spoken(tiny, spoken_folders, monkeypatch):
    """For a device called "lights" the lights are not turned on in what it learns not to wake to; for another they are."""
    spoken = material._spoken
    asked = []
    monkeypatch.setattr(material, "_spoken", lambda phrases, by: asked.append(list(phrases)) or spoken(phrases, by))
    everyday = material._everyday()
    lights = [line for line in everyday if "lights" in line.split()]
    assert lights and "turn on the lights in the kitchen" in lights
    for word, left_out in (("Lights", lights), ("snowboy", [])):
        asked.clear()
        collected([material.Phrase(word, (spoken_folders / "word",), ("yellow",))], spoken_folders, tts=True)
        assert asked[-1] == [line for line in everyday if line not in left_out]


def test_nothing_usable_is_said(tiny, spoken_folders, tmp_path):
    (tmp_path / "empty").mkdir()
    phrase = material.Phrase("hello", (tmp_path / "empty",), ())
    with pytest.raises(InputError, match="positives of 'hello': no usable clips"):
        collected([phrase], spoken_folders, tts=True)
    with pytest.raises(InputError, match="positives of 'hello': no usable clips; wanted some, or none and --tts"):
        collected([material.Phrase("hello", (), ())], spoken_folders)
    with pytest.raises(InputError, match=r"negatives: no usable clips in .*empty; wanted speech without the word"):
        collected([material.Phrase("hello", (spoken_folders / "word",), ())], spoken_folders, negatives=[tmp_path / "empty"])
