"""Semi-recorded rooms: truth to the sample, levels as asked, the same from the same recipe, and only from the clips given."""

import shutil
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from farfield import InputError
from farfield.cli import main
from farfield.hil import load_room, load_set, of_room
from farfield.hil.fields import Fields
from farfield.hil.maker import made
from farfield.hil.material import Material
from farfield.hil.recipe import Recipe
from farfield.hil.scene import save
from farfield.training import clips as training_clips

pytest.importorskip("pyroomacoustics")
RATE = 16_000
WORD = 4_800  # samples of the planted word


def recipe(text):
    return Recipe.read(Fields("set.toml", "room[0].make.", tomllib.loads(text)), Path())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Clips: a word that is a loud noise of 300 ms in silence, sentences that are tones, noise."""
    folder = tmp_path_factory.mktemp("clips")
    random = np.random.default_rng(2)
    for name in ("keywords/hey_house", "speech/read", "noise", "responses"):
        (folder / name).mkdir(parents=True)
    for number in range(3):
        clip = np.zeros(12_000)
        clip[4_000 : 4_000 + WORD] = random.normal(0, 0.1, WORD)
        soundfile.write(folder / f"keywords/hey_house/{number}.wav", clip, RATE)
        tone = 0.2 * np.sin(np.arange(16_000) * 0.01 * (number + 3))
        soundfile.write(folder / f"speech/read/{number}.wav", tone, RATE)
    (folder / "speech/read.tsv").write_text("0.wav\tthe house is green\n1.wav\tgood morning\n2.wav\tnothing\n")
    soundfile.write(folder / "noise/n.wav", random.normal(0, 0.05, 40_000), RATE)
    response = np.zeros((2_000, 2))
    response[500], response[700] = 1.0, 0.4
    soundfile.write(folder / "responses/hall.wav", response, RATE, "FLOAT")
    return folder


def test_a_dry_words_truth_is_where_its_sound_is(folder):
    scene = made(recipe('seconds = 12\nwords = 4\nresponses = "none"'), "dry", "hey house", 0, Material(folder))
    loud = np.abs(scene.samples[:, 0].astype(int)) > 60  # above the microphone's own noise
    assert len(scene.words) == 4 and {word.text for word in scene.words} == {"hey house"}
    outside = np.ones(scene.frames, bool)
    for word in scene.words:
        assert word.end - word.start == WORD
        assert loud[word.start : word.start + 4].any() and loud[word.end - 4 : word.end].any()
        outside[word.start : word.end] = False
    assert not loud[outside].any()


def test_in_a_room_the_truth_is_when_the_sound_arrives(folder):
    """Nothing comes before it but the ringing of the simulation's fractional delays, 40 samples."""
    text = 'profile = "respeaker-4mic"\nseconds = 8\nwords = 2\ndistance_m = [2.0]\nrt60_s = 0.2'
    scene = made(recipe(text), "room", "hey house", 0, Material(folder))
    for word in scene.words:
        before = np.abs(scene.samples[word.start - 400 : word.start - 44, :4].astype(int)).max()
        after = np.abs(scene.samples[word.start - 4 : word.start + 4, :4].astype(int)).max()
        assert after > 20 * before and 0 <= word.direction_deg < 360


def test_through_a_measured_response_it_is_that_of_its_peak(folder):
    dry, heard = (
        made(recipe(f'seconds = 6\nwords = 1\nseed = 4\nresponses = "{kind}"'), "m", "hey house", 0, Material(folder))
        for kind in ("none", "measured")
    )
    # The response's travel leaves that much less room to draw the place from.
    loud = np.abs(heard.samples[:, 0].astype(int)) > 60
    (word,), (near,) = heard.words, dry.words
    assert not loud[: word.start].any() and loud[word.start : word.start + 4].any()
    assert word.end - word.start == near.end - near.start == WORD


@pytest.mark.parametrize("snr_db", [0.0, 10.0])
def test_levels_are_as_asked(folder, snr_db):
    text = f'seconds = 20\nwords = 5\nresponses = "none"\nnoise = "white"\nsnr_db = {snr_db}\nlevel_dbfs = -30'
    scene = made(recipe(text), "x", "hey house", 0, Material(folder))
    sound = scene.samples[:, 0] / 32_768
    inside = np.concatenate([sound[word.start : word.end] for word in scene.words])
    quiet = np.delete(sound, np.concatenate([np.arange(word.start, word.end) for word in scene.words]))
    noise_db = 10 * np.log10(np.mean(quiet**2))
    word_db = 10 * np.log10(np.mean(inside**2) - np.mean(quiet**2))
    assert abs(noise_db - (-30 - snr_db)) < 0.5 and abs(word_db + 30) < 1.0


@pytest.mark.parametrize(
    ("sound", "level_db"),
    [
        ('noise = "clips"\nsnr_db = 10', -40.0),
        ('noise = "pink"\nsnr_db = -6', -24.0),
        ('music = "elsewhere"\nmusic_db = -10', -40.0),
        ('music = "own"\nmusic_db = 5', -25.0),
    ],
)
def test_noise_and_music_are_as_loud_in_a_room_as_the_recipe_says(folder, sound, level_db):
    """RMS at the first microphone, the room's own tail included, against speech at -30 dBFS."""
    scene = made(recipe(f"seconds = 20\nwords = 0\nlevel_dbfs = -30\n{sound}"), "x", "hey house", 0, Material(folder))
    heard = scene.samples[:, 0].astype(float) / 32_768
    assert 10 * np.log10(np.mean(heard**2)) == pytest.approx(level_db, abs=0.3)


def test_the_same_again_and_another_of_the_same_recipe(folder):
    asked = recipe('seconds = 8\nwords = 2\nnoise = "any"\nspeech_share = 0.5\ncount = 2')
    first, again, other = (made(asked, "x", "hey house", number, Material(folder)) for number in (0, 0, 1))
    assert np.array_equal(first.samples, again.samples) and first.words == again.words and first.speech == again.speech
    assert not np.array_equal(first.samples, other.samples)


def test_what_is_played_is_the_reference_and_its_echo_is_in_the_microphones(folder):
    scene = made(recipe('seconds = 6\nwords = 0\nmusic = "own"\nmusic_db = 0'), "x", "hey house", 0, Material(folder))
    assert scene.references == 1 and scene.samples[:, 1].any()
    assert abs(10 * np.log10(np.mean((scene.samples[:, 0] / 32_768) ** 2)) + 30) < 0.5
    elsewhere = made(recipe('seconds = 6\nwords = 0\nmusic = "elsewhere"'), "x", "hey house", 0, Material(folder))
    assert elsewhere.references == 0 and elsewhere.samples.any()


def test_other_speech_keeps_away_from_the_word_and_never_says_it(folder):
    text = 'seconds = 60\nwords = 6\nspeech_share = 1.0\nresponses = "none"'
    scene = made(recipe(text), "x", "hey house", 0, Material(folder))
    assert len(scene.speech) > 20 and {one.text for one in scene.speech} == {"1", "2"}, "the one with a house in it is left out"
    for word in scene.words:
        assert all(one.end <= word.start - 8_000 or one.start >= word.end + 8_000 for one in scene.speech)


def test_a_made_room_is_written_and_read_as_a_recorded_one(folder, tmp_path):
    text = 'profile = "respeaker-2mic"\nseconds = 5\nwords = 1\nmusic = "own"'
    scene = replace(made(recipe(text), "x", "hey house", 0, Material(folder)), provenance='"made"\n\\ here')
    save(scene, tmp_path / "x")
    back = of_room(load_room(tmp_path / "x"))
    assert np.array_equal(back.samples, scene.samples)
    assert (back.words, back.provenance, back.profile) == (scene.words, scene.provenance, scene.profile)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("words = 1", "field room[0].make.seconds: got nothing"),
        ("seconds = 5\nwords = 1\nnoize = 'white'", "noize is not known; did you mean noise"),
        ("seconds = 5\nwords = 1\nnoise = 'grey'", "wanted one of none, any, clips, pink, white"),
        ("seconds = 5\nwords = 1\ndistance_m = []", "a list of numbers from 0.3 to 4"),
        ("seconds = 5\nwords = 1\nsnr_db = nan", "field room[0].make.snr_db: got nan"),
        ("seconds = 5\nwords = 1\nresponses = 'none'\nmusic = 'own'", "simulated or measured"),
        ("seconds = 5\nwords = 1\nprofile = 'nine'", "nine"),
    ],
)
def test_a_mistake_in_a_recipe_is_one_line(text, told):
    with pytest.raises(InputError) as caught:
        recipe(text)
    assert told in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sound", "told"),
    [
        (np.zeros((4_000, 2)), "got silence at the first microphone"),
        (np.zeros((0, 2)), "got silence at the first microphone"),
        (np.full((4_000, 2), np.nan), "NaN"),
        (b"RIFFxxxxjunk" * 20, r"cannot be read as sound \(Format"),
    ],
    ids=["silent", "empty", "not a number", "broken"],
)
@pytest.mark.parametrize("rate", [RATE, 48_000])
def test_a_response_that_is_none_is_named(folder, tmp_path, sound, told, rate):
    shutil.copytree(folder, tmp_path / "clips")
    path = tmp_path / "clips/responses/a.wav"
    path.write_bytes(sound) if isinstance(sound, bytes) else soundfile.write(path, sound, rate, "FLOAT")
    with pytest.raises(InputError, match=rf"responses/a\.wav: .*{told}") as caught:
        made(recipe('seconds = 6\nwords = 1\nresponses = "measured"'), "m", "hey house", 0, Material(tmp_path / "clips"))
    assert "\n" not in str(caught.value)


def test_speech_that_says_the_word_in_every_clip_is_named(folder, tmp_path):
    (tmp_path / "speech").mkdir()
    shutil.copy(folder / "speech/read/0.wav", tmp_path / "speech")
    (tmp_path / "speech.tsv").write_text("0.wav\tthe house is green\n")
    with pytest.raises(InputError, match=r"speech: by their transcripts all 1 clips say a word of 'hey house'; wanted some"):
        made(recipe('seconds = 9\nwords = 0\nspeech_share = 1\nresponses = "none"'), "x", "hey house", 0, Material(tmp_path))


def test_clips_are_kept_as_far_as_memory_for_them_goes_and_those_used_last_longest(folder, monkeypatch):
    reads = []
    read = training_clips.read
    monkeypatch.setattr(training_clips, "read", lambda path: reads.append(path.stem) or read(path))
    monkeypatch.setattr("farfield.hil.material._KEPT_BYTES", 2 * 16_000 * 4)
    material, paths = Material(folder), [folder / f"speech/read/{name}.wav" for name in "010201"]
    heard = [material._clip(path) for path in paths]
    assert reads == ["0", "1", "2", "1"] and np.array_equal(heard[1], heard[5])


def test_a_profile_of_its_own_lies_beside_the_set(tmp_path):
    own = 'name = "own"\nchannels = 3\n[[microphone]]\nchannel = 2\nposition_mm = [0, 0, 0]\n'
    (tmp_path / "mine.toml").write_text(own)
    text = 'name = "s"\n[[room]]\nname = "r"\n[room.make]\nseconds = 3\nwords = 0\nprofile = "mine.toml"\n'
    (tmp_path / "set.toml").write_text(text)
    (entry,) = load_set(tmp_path / "set.toml").entries
    assert entry.recipe.profile.microphones == (2,)


class TestCommand:
    """`farfield hil make-rooms`, as it is typed."""

    @pytest.fixture
    def make_rooms(self, capsys, tmp_path):
        """A function of a set and more arguments: status, stdout, stderr, the rooms that are there then."""

        def make(*arguments):
            with pytest.raises(SystemExit) as left:
                main(["hil", "make-rooms", "-o", str(tmp_path / "a/b"), *map(str, arguments)])
            said = capsys.readouterr()
            return left.value.code, said.out, said.err, sorted(path.parent for path in tmp_path.rglob("room.toml"))

        return make

    def test_a_set_with_nothing_to_make_is_wrong_use(self, make_rooms):
        status, out, err, rooms = make_rooms("demo")
        assert (status, out, rooms) == (2, "", []) and "demo: has no rooms to make" in err and err.count("\n") == 1

    @pytest.mark.parametrize("name", ["../../esc", "..", ".", "/tmp/esc", "a/b", "\\u0000"])
    def test_a_room_whose_name_leads_out_of_the_folder_is_refused(self, make_rooms, tmp_path, name):
        make = "[room.make]\nseconds = 3\nwords = 0\n"
        text = f'name = "s"\n[[room]]\nname = "one room"\n{make}[[room]]\nname = "{name}"\n{make}'
        (tmp_path / "set.toml").write_text(text)
        status, out, err, rooms = make_rooms(tmp_path / "set.toml")
        assert (status, out, rooms) == (2, "", []) and "is no folder's name" in err and err.count("\n") == 1
        status, _, _, rooms = make_rooms(tmp_path / "set.toml", "--only", "one room")
        assert status == 0 and rooms == [tmp_path / "a/b/one-room"]


def test_what_cannot_be_had_is_named(folder, tmp_path):
    with pytest.raises(InputError, match="3 words do not fit; wanted 7 s or more"):
        made(recipe('seconds = 5\nwords = 3\nresponses = "none"'), "x", "hey house", 0, Material(folder))
    with pytest.raises(InputError, match=r"keywords.other: no such folder"):
        made(recipe('seconds = 5\nwords = 1\nresponses = "none"'), "x", "other", 0, Material(folder))
    with pytest.raises(InputError, match="--clips: not given"):
        made(recipe('seconds = 5\nwords = 1\nvoices = "clips"'), "x", "hey house", 0, Material())
    with pytest.raises(InputError, match="no such folder"):
        Material(tmp_path / "none")
