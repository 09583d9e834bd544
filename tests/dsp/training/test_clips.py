"""Folders of clips: what is read, what is left out, whose it is, where the word lies."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import example, given
from hypothesis import strategies as st

from farfield.errors import InputError
from farfield.training import clips
from reference.sounds import RATE, tone, voice


def test_unusable_clips_are_named_and_skipped(tmp_path):
    folder = tmp_path / "word"
    voice(folder, "ann", 1, 800)
    good = (folder / "ann-0.wav").read_bytes()
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(folder / "short.flac", tone(500, 0.04), RATE)
    soundfile.write(folder / "slow.wav", tone(500, 1.0), 4_000)
    soundfile.write(folder / "nan.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    (folder / "cut.wav").write_bytes(good[: len(good) // 2])
    (folder / "empty.opus").write_bytes(b"")
    (folder / "text.mp3").write_text("no sound")
    (folder / "notes.txt").write_text("not even looked at")
    (folder / "deep").mkdir()
    shutil.copy(folder / "ann-0.wav", folder / "deep" / "ann-0.WAV")
    skipped = []
    assert [clip.name for clip in clips.clips([folder], skipped)] == ["word/ann-0.wav", "word/deep/ann-0.WAV"]
    told = {line.split(": ")[0].split("/")[-1]: line for line in skipped}
    assert sorted(told) == ["cut.wav", "empty.opus", "nan.wav", "short.flac", "silent.wav", "slow.wav", "text.mp3"]
    assert len(skipped) == 7 and all(line.isprintable() for line in skipped)
    assert "holds only silence" in told["silent.wav"] and "holds 640 samples" in told["short.flac"]
    with pytest.raises(InputError, match="nowhere: no such folder"):
        list(clips.clips([tmp_path / "nowhere"], []))


def test_a_clip_is_read_at_16_khz_in_its_first_channel(tmp_path):
    left, right = tone(500, 1.0), tone(900, 1.0)
    soundfile.write(tmp_path / "two.wav", np.stack([left, right], axis=1), RATE)
    assert clips.read(tmp_path / "two.wav") == pytest.approx(left, abs=1 / 32_768)
    assert clips.read(tmp_path / "two.wav").dtype == np.float32
    soundfile.write(tmp_path / "fast.wav", tone(500, 3.0), 48_000)
    assert len(clips.read(tmp_path / "fast.wav")) == RATE


def test_whose_clip_it_is(tmp_path):
    (tmp_path / "alexa").mkdir()
    assert clips.contributors(tmp_path / "alexa") == {}
    (tmp_path / "contributors.json").write_text('{"alexa/7": "alexa-g1", "alexa/8": "alexa-g1"}')
    known = clips.contributors(tmp_path / "alexa")
    assert clips.speaker("alexa/7.flac", known) == clips.speaker("alexa/8.flac", known) == "alexa-g1"
    assert clips.speaker("clean/1743-142912-0000.flac", known) == clips.speaker("clean/1743-142913-0002.flac", known)
    assert clips.speaker("clean/1743-1.flac", known) != clips.speaker("clean/1744-1.flac", known)
    assert clips.speaker("a/1743-1.flac", known) != clips.speaker("b/1743-1.flac", known)
    (tmp_path / "contributors.json").write_text("[]")
    with pytest.raises(InputError, match=r"contributors\.json: got list"):
        clips.contributors(tmp_path / "alexa")
    (tmp_path / "contributors.json").write_text("{")
    with pytest.raises(InputError, match=r"contributors\.json: cannot be read"):
        clips.contributors(tmp_path / "alexa")


@pytest.mark.parametrize("here", [".", "../alexa", "sub/.."])
def test_a_folder_has_its_name_whatever_it_is_called(tmp_path, monkeypatch, here):
    """Its tables lie beside it, and its clips are called by it."""
    (tmp_path / "alexa" / "sub").mkdir(parents=True)
    (tmp_path / "contributors.json").write_text('{"alexa/7": "alexa-g1"}')
    (tmp_path / "alexa.tsv").write_text("7.wav\tALEXA\n")
    soundfile.write(tmp_path / "alexa" / "7.wav", 0.1 * np.ones(8_000), RATE)
    monkeypatch.chdir(tmp_path / "alexa")
    folder = Path(here)
    clips.transcripts.cache_clear()
    assert clips.contributors(folder) == {"alexa/7": "alexa-g1"} and clips.transcripts(folder) == {"alexa/7.wav": "ALEXA"}
    assert [clip.name for clip in clips.clips([folder], [])] == ["alexa/7.wav"]


def test_what_is_said_stands_in_a_table_beside_the_folder(tmp_path):
    (tmp_path / "read").mkdir()
    assert clips.transcripts(tmp_path / "read") == {}
    clips.transcripts.cache_clear()
    (tmp_path / "read.tsv").write_text("a.flac\tLOOK AT THE MIRROR\nb.flac\ttab\tinside\nbroken line\n")
    assert clips.transcripts(tmp_path / "read") == {"read/a.flac": "LOOK AT THE MIRROR", "read/b.flac": "tab\tinside"}


@example(before=1.0, parts=[0.5], pause=0.06, floor_db=-45.0, after=0.125)  # the clip's edge is near, and is no sound
@given(
    before=st.floats(0.1, 1.5),
    parts=st.lists(st.floats(0.08, 0.5), min_size=1, max_size=3),
    pause=st.floats(0.03, 0.1),
    floor_db=st.floats(-90, -45),
    after=st.floats(0.1, 1.0),
)
def test_the_span_of_a_planted_word(before, parts, pause, floor_db, after):
    """Bursts with short pauses between them in a noise floor: the span of all of them to 30 ms, a far knock left out."""
    random = np.random.default_rng(1)
    word = tone(700, parts[0])
    for part in parts[1:]:
        word = np.concatenate([word, np.zeros(int(pause * RATE), np.float32), tone(900, part)])
    knock = np.concatenate([0.5 * tone(300, 0.03), np.zeros(int(0.3 * RATE), np.float32)])
    track = np.concatenate([np.zeros(int(before * RATE)), knock, word, np.zeros(int(after * RATE))])
    noisy = (track + 0.3 * 10 ** (floor_db / 20) * random.normal(size=len(track))).astype(np.float32)
    start, end = clips.word_span(noisy)
    planted = int(before * RATE) + len(knock)
    assert abs(start - planted) <= 480 and abs(end - planted - len(word)) <= 480


@pytest.mark.parametrize("frames", [0, 1, 159, 160, 320, 479, 480, 1_000])
def test_the_span_of_next_to_nothing_is_all_of_it(frames):
    assert clips.word_span(np.full(frames, 0.1, np.float32)) == (0, frames)
