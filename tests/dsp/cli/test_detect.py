"""`farfield detect` as its user meets it: what it prints, where, with which status."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile
import soxr

import farfield
from farfield.hil import load_room
from reference.demo import ARRAY, FIELDS, MICS, ROOM, events


def test_json_gives_one_object_a_line_with_the_promised_fields(run):
    status, out, err = run("detect", MICS, *ARRAY, "--json")
    found = events(out)
    assert (status, err) == (0, [])
    words = load_room(ROOM).words
    assert len(found) == len(words)
    for event, word in zip(found, words, strict=True):
        assert list(event)[: len(FIELDS)] == FIELDS
        assert (event["file"], event["word"], event["ambiguous"]) == (MICS, "alexa", None)
        assert word.start <= event["decision"] <= word.end + 8000
        assert 0 <= event["start"] < event["end"] <= event["decision"]
        assert 0 <= event["direction"] < 360
        assert 0 < event["score"] <= 1


def test_one_microphone_has_no_direction(run, alone):
    status, out, _ = run("detect", alone, "--json")
    assert status == 0
    assert [event["direction"] for event in events(out)] == [None]


@pytest.mark.parametrize("rate", [22050, 32000, 44100, 48000, 96000])
def test_positions_count_the_files_own_samples(run, alone, tmp_path, rate):
    (here,) = events(run("detect", alone, "--json")[1])
    samples, _ = soundfile.read(alone, dtype="float32")
    soundfile.write(tmp_path / "other.flac", soxr.resample(samples, 16000, rate), rate)
    (there,) = events(run("detect", tmp_path / "other.flac", "--json")[1])
    for name in ("start", "end", "decision"):  # resampling may move a decision by a step of the scorer, 30 ms
        assert there[name] / rate == pytest.approx(here[name] / 16000, abs=0.031)


def test_scores_are_those_the_detector_decides_by(run, alone, tmp_path):
    _, out, _ = run("detect", alone, "--json", "--no-second-look", "--scores", tmp_path / "s.npz")
    (event,) = events(out)
    with np.load(tmp_path / "s.npz") as held:
        t, p = held["t"], held["p"]
    model = farfield.load_model("alexa", second_look=False)
    assert t.shape == p.shape and np.allclose(np.diff(t), model.stride * 0.01)
    assert p.min() >= 0 and p.max() <= 1
    first = int(np.argmax(p > model.threshold))
    assert round(t[first] * 16000) == event["decision"]
    assert round(p[first], 4) == event["score"]


def test_a_threshold_above_every_score_finds_nothing_and_one_below_finds_more(run, alone, tmp_path):
    run("detect", alone, "--no-second-look", "--scores", tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as held:
        top = float(held["p"].max())
    assert run("detect", alone, "--json", "--no-second-look", "--threshold", top)[:2] == (0, [])
    assert len(run("detect", alone, "--json", "--no-second-look", "--threshold", top - 1e-6)[1]) == 1


def test_a_threshold_is_asked_for_in_false_accepts_an_hour(run, alone, tmp_path):
    model = farfield.load_model("alexa")
    quiet = replace(model, card={**model.card, "calibration": [[0.5, 9.0], [0.9999, 0.1]]})
    quiet.save(tmp_path / "quiet.safetensors")
    assert run("detect", alone, "--json", "--model", tmp_path / "quiet.safetensors", "--fa-per-hour", "0.1")[:2] == (0, [])
    assert len(run("detect", alone, "--json", "--model", tmp_path / "quiet.safetensors", "--fa-per-hour", "9")[1]) == 1
    for options, told in (
        (["--fa-per-hour", "0.01"], "alexa: got 0.01 false accepts an hour, wanted at least 0.1"),
        (["--fa-per-hour", "1", "--threshold", "0.5"], "--fa-per-hour: got --threshold too"),
    ):
        status, out, err = run("detect", alone, "--model", tmp_path / "quiet.safetensors", *options)
        assert (status, out) == (2, []) and told in err[0]


def with_second_look(folder, threshold):
    """The shipped model, and beside it its own network as a second look that says yes above `threshold`."""
    model = farfield.load_model("alexa", second_look=False)
    model.save(folder / "two.safetensors")
    replace(model, threshold=threshold, smoothing_steps=3).save(folder / "two.look.safetensors")
    return folder / "two.safetensors"


def test_a_second_look_must_agree_unless_it_is_left_out(run, alone, tmp_path):
    (plain,) = events(run("detect", alone, "--json", "--no-second-look")[1])
    model = with_second_look(tmp_path, 0.5)
    (event,) = events(run("detect", alone, "--json", "--model", model)[1])
    assert list(event) == [*FIELDS, "second_look"] and event["second_look"] > 0.5
    assert event["score"] == event["second_look"] and {name: event[name] for name in FIELDS} == plain | {"score": event["score"]}
    assert f"second look {event['second_look']}" in run("detect", alone, "--model", model)[1][0]
    assert "second_look" in json.loads(run("models", "show", model, "--json")[1][0])
    with_second_look(tmp_path, 1.0)  # which no probability exceeds
    assert run("detect", alone, "--json", "--model", model)[:2] == (0, [])
    assert events(run("detect", alone, "--json", "--model", model, "--no-second-look")[1]) == [plain]
    left = [json.loads(run("hil", "demo", "--model", model, "--json", "--picture", tmp_path / "p.png", *how)[1][0])
            for how in ((), ("--no-second-look",))]  # fmt: skip
    assert not left[0]["hits"] and left[1]["hits"]


def test_a_word_that_ends_with_the_file_is_found(run, tmp_path):
    word = load_room(ROOM).words[0]
    samples, rate = soundfile.read(MICS, dtype="int16")
    soundfile.write(tmp_path / "cut.wav", samples[: word.end + 800, 0], rate)
    _, out, _ = run("detect", tmp_path / "cut.wav", "--json")
    assert [event["decision"] <= word.end + 800 for event in events(out)] == [True]


@pytest.mark.parametrize("frames", [1, 479, 480, 5000])
def test_sound_too_short_for_a_word_is_quiet(run, tmp_path, frames):
    soundfile.write(tmp_path / "short.wav", np.full(frames, 900, np.int16), 16000)
    status, out, err = run("detect", tmp_path / "short.wav")
    assert (status, err) == (0, []) and "no wake word" in out[0]


def test_a_bad_file_among_good_ones_is_named_and_the_others_are_heard(run, alone, tmp_path):
    (tmp_path / "empty.wav").touch()
    status, out, err = run("detect", alone, tmp_path / "empty.wav", alone, "--json")
    assert (status, len(out), len(err)) == (2, 2, 1)
    assert "empty.wav" in err[0]
