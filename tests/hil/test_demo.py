"""The shipped room through the whole chain, and the demo's report of it."""

import json

import numpy as np
import pytest

from farfield import InputError, load_model
from farfield.cli import main
from farfield.hil import demo_room, load_room, match, replay


@pytest.fixture(scope="module")
def model():
    return load_model("alexa")


@pytest.fixture(scope="module")
def run(model):
    return replay(load_room(demo_room()), [model])


@pytest.fixture
def demo(capsys, tmp_path):
    """Run the demo: (status, stdout, stderr, the picture's path)."""

    def demo_(*arguments):
        picture = tmp_path / "demo.png"
        with pytest.raises(SystemExit) as left:
            main(["hil", "demo", "--picture", str(picture), *map(str, arguments)])
        said = capsys.readouterr()
        return left.value.code, said.out, said.err, picture

    return demo_


def test_every_word_is_heard_in_time_and_nothing_else(run):
    score = match(run.events, run.room.words, run.room.rate)
    assert score.is_clean, (score.missed, score.false_accepts)
    assert len(score.hits) == len(run.room.words)


def test_the_first_talker_is_found_where_she_stands(run):
    first = match(run.events, run.room.words, run.room.rate).hits[0]
    assert abs(first.direction_error_deg) < 5


def test_the_echo_is_taken_out_and_the_words_are_left(run):
    assert run.echo_removed_db > 15
    quiet = slice(round(8.3 * 16000), round(8.9 * 16000))  # music alone
    word = slice(run.room.words[0].start, run.room.words[0].end)  # no music yet
    level = [10 * np.log10(np.mean(sound.astype(np.float64) ** 2)) for sound in (run.heard[quiet], run.enhanced[quiet])]
    kept = [10 * np.log10(np.mean(sound.astype(np.float64) ** 2)) for sound in (run.heard[word], run.enhanced[word])]
    assert level[0] - level[1] > 12
    assert abs(kept[0] - kept[1]) < 3


def test_the_cut_into_blocks_changes_nothing(run, model):
    again = replay(run.room, [model], frames=160)
    assert [(e.decision, e.score) for e in again.events] == [(e.decision, e.score) for e in run.events]
    assert np.array_equal(again.p[: len(run.p)], run.p) and np.array_equal(again.enhanced, run.enhanced)


def test_the_report_says_what_was_found(demo):
    status, out, err, picture = demo()
    assert (status, err) == (0, "")
    said = ("Ada", "Ben", "Echo removed", "Real-time factor", "dB", "°", "Heard 4 of 4 words, 0 false accepts", "farfield detect")
    for text in said:
        assert text in out
    assert "MISSED" not in out and "FALSE" not in out
    data = picture.read_bytes()
    assert data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) > 20_000


def test_json_says_the_same(demo):
    status, out, _, _ = demo("--json")
    found = json.loads(out)
    assert status == 0 and len(found["hits"]) == 4 and found["missed"] == found["false_accepts"] == []
    assert 0 < found["real_time_factor"] < 10 and found["echo_removed_db"] > 15


def test_a_planted_false_truth_is_reported_with_status_1(demo, tmp_path):
    """The word that is said at 6 s moved to 9 s: one is missed, one is a false accept."""
    for path in demo_room().iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    word = load_room(demo_room()).words[1]
    text = (tmp_path / "room.toml").read_text()
    text = text.replace(f"start = {word.start}\n", "start = 150000\n").replace(f"end = {word.end}\n", "end = 158000\n")
    (tmp_path / "room.toml").write_text(text)
    status, out, _, _ = demo("--room", tmp_path)
    assert status == 1
    assert "Heard 3 of 4 words, 1 false accepts" in out and "MISSED" in out and "FALSE ACCEPT" in out


def test_what_looks_like_markup_is_told_as_it_is(capsys, tmp_path):
    for path in demo_room().iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    text = (
        (tmp_path / "room.toml").read_text().replace("he drives a lexus", "[/off] :cat: turn it").replace('"Ada"', '"[red]Ada"')
    )
    (tmp_path / "room.toml").write_text(text)
    with pytest.raises(SystemExit) as left:
        main(["hil", "demo", "--room", str(tmp_path), "--picture", str(tmp_path / "[old].png")])
    out = capsys.readouterr().out
    assert left.value.code == 0 and "[/off] :cat: turn it" in out and "[red]Ada" in out and "[old].png" in out


def test_an_echo_that_nothing_measures_is_no_number(demo, tmp_path):
    """Somebody speaks all the time."""
    for path in demo_room().iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    frames = load_room(demo_room()).frames
    with (tmp_path / "room.toml").open("a") as file:
        file.write(f'[[speech]]\ntext = "on and on"\nstart = 0\nend = {frames}\n')
    assert "Echo removed: not measured" in demo("--room", tmp_path)[1]
    assert json.loads(demo("--room", tmp_path, "--json")[1])["echo_removed_db"] is None


def test_a_demo_room_is_not_made_where_a_file_is(capsys, tmp_path, monkeypatch):
    """It is told before the room is simulated."""
    monkeypatch.setattr("farfield.hil.make.scene", lambda: pytest.fail("a room was made"))
    (tmp_path / "afile").touch()
    with pytest.raises(SystemExit) as left:
        main(["hil", "make-demo-room", "-o", str(tmp_path / "afile")])
    said = capsys.readouterr()
    assert (left.value.code, said.out) == (2, "") and "afile: cannot be made" in said.err and said.err.count("\n") == 1


def test_a_picture_that_cannot_be_written_is_one_line(capsys, tmp_path):
    with pytest.raises(SystemExit) as left:
        main(["hil", "demo", "--picture", str(tmp_path / "no" / "demo.png")])
    said = capsys.readouterr()
    assert (left.value.code, said.out) == (2, "") and said.err.count("\n") == 1


def test_a_room_whose_channels_do_not_fit_is_refused(tmp_path):
    for path in demo_room().iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    text = (tmp_path / "room.toml").read_text().replace("respeaker-4mic", "respeaker-6mic")
    (tmp_path / "room.toml").write_text(text)
    with pytest.raises(InputError, match=r"mics.flac: channel 4"):
        load_room(tmp_path).source()
