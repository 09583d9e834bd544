"""`farfield eval playback`: levels and times of what is laid out, what the front end makes of it, and the command."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from farfield import load_model
from farfield.cli import cli
from farfield.errors import InputError
from farfield.evaluation import playback, rooms
from farfield.evaluation.run import scored
from farfield.evaluation.streams import Conditions, gain_to, parts, stream
from farfield.hil import demo_room, load_room

RATE = 16_000


@pytest.fixture(scope="module")
def word(tmp_path_factory) -> Path:
    """One clip of the wake word, from the room that ships, before its music starts."""
    room = demo_room()
    samples, _ = soundfile.read(room / "mics.flac", dtype="int16")
    first = load_room(room).words[0]
    path = tmp_path_factory.mktemp("word") / "alexa-1.wav"
    soundfile.write(path, samples[max(0, first.start - 1_600) : first.end + 1_600, 0], RATE)
    return path


@pytest.fixture(scope="module")
def part(word):
    (made,) = parts([word], (), (), Conditions((20.0,), (-34.0,), 0.25, tuple(rooms.rooms(["sim:1"], 1)[:1])), 1)
    return replace(made, least=6 * RATE)


def loudest_db(x):
    return -20 * np.log10(gain_to(np.asarray(x, np.float32), 1.0))


@pytest.mark.parametrize("over_db", [0.0, 10.0, 20.0])
def test_the_echo_is_as_loud_as_asked(part, over_db):
    made = stream(part)
    captured = playback.microphone_and_reference(part, made, playback.Playback((), over_db, 0)) / 32_768
    assert captured.shape == (len(made.samples) + 5 * RATE, 2)
    echo = captured[:, 0] - np.concatenate([np.zeros(5 * RATE), made.samples / 32_768])
    assert loudest_db(echo) == pytest.approx(-34 + over_db, abs=0.5)
    assert np.abs(captured[:, 1]).max() < 1
    again = playback.microphone_and_reference(part, made, playback.Playback((), over_db, 0)) / 32_768
    assert np.array_equal(captured, again)


def test_what_is_played_and_its_echo_are_within_the_cancellers_reach(part):
    """The linear stage takes most of it away, the suppressor more; what comes out is in time with the stream."""
    made = stream(part)
    captured = playback.microphone_and_reference(part, made, playback.Playback((), 20.0, 0))
    alone = slice(2 * RATE, 5 * RATE)
    power = {chain: np.mean(playback.through(captured, chain)[alone].astype(float) ** 2) for chain in playback.CHAINS}
    heard = np.mean(captured[alone, 0].astype(float) ** 2)
    assert heard > 100 * power["linear"] > 200 * power["suppressor"]
    click = np.zeros((9_000, 2), np.int16)
    click[4_000, 0] = 20_000
    for chain in playback.CHAINS:
        out = playback.through(click, chain)
        assert len(out) == 9_000 and set(np.argmax(np.abs(out.astype(int)), axis=0)) == {4_000}


def test_the_device_says_the_word_itself(part, word):
    """Planted: to whom hears the microphone as it is, the device wakes itself; the front end takes the word away."""
    silent, pause_s = playback.own_words(part, [str(word)] * 3)
    made = stream(silent)
    assert not made.said and not made.spoken
    played = playback.Playback((str(word),), 20.0, 0, pause_s)
    captured = playback.microphone_and_reference(silent, made, played)[5 * RATE :]
    model = load_model("alexa")
    raw = scored(0, made, np.ascontiguousarray(captured[:, 0]), model)
    assert len(raw.decisions(model.deciding_threshold, model.refractory_ms)) >= 1
    found = playback.score(silent, model, played)
    for chain in ("suppressor", "linear, own words ignored", "linear, patient too, own words ignored"):
        assert not found[chain].decisions(model.deciding_threshold, model.refractory_ms), chain


def test_playback_that_clips_the_microphone_is_refused(part):
    with pytest.raises(InputError, match=r"--playback-db: got 23 over a talker at -34 dBFS, wanted no more than -12"):
        playback.score(part, load_model("alexa"), playback.Playback((), 23.0, 0))


def run(*arguments):
    return CliRunner().invoke(cli, ["eval", "playback", *map(str, arguments)], standalone_mode=False)


def test_the_command_tells_of_each_condition(word):
    found = run("alexa", "--positives", word.parent, "--playback", "music", "--playback-db", 10, "--rooms", 1, "--own-word",
                "--executor", 1, "--json")  # fmt: skip
    assert found.exception is None, found.exception
    told = json.loads(found.stdout.splitlines()[-1])
    kinds = [(at["playback"], at["over_db"], at["chain"]) for at in told["conditions"]]
    ignoring = [f"{chain}, own words ignored" for chain in ("linear", "linear, patient too", "suppressor")]
    chains = [*playback.CHAINS, *ignoring]
    music, own = ([(kind, 10.0, chain) for chain in chains] for kind in ("music", "the word"))
    assert kinds == [("nothing", None, ""), *music, *own]
    assert [at["words"] for at in told["conditions"]] == [1] * 8 + [0] * 7
    assert told["conditions"][0]["missed"] == 0
    assert told["threshold"] == load_model("alexa").deciding_threshold


def test_the_command_names_what_is_wrong(word, tmp_path):
    for playing, match in ((tmp_path / "none", "no such folder"), (tmp_path, "holds no sound clips")):
        error = run("alexa", "--positives", word.parent, "--playback", playing).exception
        assert isinstance(error, InputError) and match in str(error)
    assert "NAME_OR_PATH" in run("--help").stdout


def test_what_is_played_is_told_apart_by_its_name(word, tmp_path):
    """Two folders of one name would be measured as one, and one that is called as the chords are as these."""
    for names in (("a/x", "b/x"), ("music",)):
        played = []
        for name in names:
            (tmp_path / name).mkdir(parents=True)
            shutil.copy(word, tmp_path / name)
            played += ["--playback", tmp_path / name]
        error = run("alexa", "--positives", word.parent, *played).exception
        assert isinstance(error, InputError) and "wanted folders of different names, none called music" in str(error)
