"""`farfield eval`: what it reports, and what cannot be measured."""

import json
from dataclasses import replace

import click
import pytest
from click.testing import CliRunner

from farfield.cli import cli
from farfield.errors import InputError
from reference.planted import random_model


def evaluated(folders, *options):
    command = ["eval", "alexa", "--positives", str(folders / "word"), "--negatives", str(folders / "speech"), "--executor", "1"]
    return CliRunner().invoke(cli, [*command, *options], standalone_mode=False)


def test_eval_reports_what_it_measured(folders, tmp_path):
    (folders / "word" / "broken-0.wav").write_bytes(b"no sound")
    found = evaluated(folders, "--noise", str(folders / "noise"), "--json", "--plot", str(tmp_path / "det.png"),
                      "--clips", str(tmp_path / "clips"), "--threshold", "0.95", "--fa-per-hour", "1")  # fmt: skip
    assert found.exception is None, found.output
    told = json.loads(found.stdout)
    assert "skipped: " in found.stderr and "broken-0.wav" in found.stderr
    assert told["words"] == 12 == told["own"]["words"] and told["own"]["threshold"] == 0.95
    assert told["hours"] > 0 and told["asked"][0]["asked_per_hour"] == 1.0
    assert len(told["missed"]) == told["own"]["missed"] and told["own"]["miss_rate"] == told["own"]["missed"] / 12
    assert (tmp_path / "det.png").read_bytes().startswith(b"\x89PNG")
    kept = list((tmp_path / "clips").glob("*.wav"))
    assert len(kept) == told["own"]["missed"] + told["own"]["false_accepts"] > 0
    rates = [at["false_accepts"] for at in told["curve"]]
    assert len(rates) == len({at["threshold"] for at in told["curve"]})


def test_as_many_processes_as_one_likes_find_the_same(folders):
    one, two = (json.loads(evaluated(folders, "--json", "--executor", n).stdout) for n in ("1", "2"))
    assert one == two


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--executor", "many"], "--executor: got 'many', wanted a number of processes"),
        (["--executor", "0"], "--executor: got '0'"),
        (["--noise", "nowhere"], "nowhere: no such folder"),
        (["--room", "nowhere.wav"], "nowhere.wav: no such file"),
        (["--room", "sim:none"], "--room: got 'sim:none', wanted sim: and a number of rooms"),
        (["--room", "sim:0"], "--room: got 'sim:0'"),
        (["--hours", "0.001"], "hours: got 0.001, wanted 0.02 or more"),
        (["--clips", "/dev/null/clips"], "/dev/null/clips: cannot be written"),
        (["--plot", "nowhere/det.png"], "nowhere/det.png: cannot be written"),
    ],
)
def test_what_cannot_be_measured_is_one_line(folders, options, told):
    found = evaluated(folders, *options)
    assert isinstance(found.exception, InputError) and str(found.exception).startswith(told)
    assert "\n" not in str(found.exception)


@pytest.mark.parametrize(
    "option",
    ["--snr-db=loud", "--speech-share=0", "--threshold=1", "--fa-per-hour=-1", "--hours=0", "--peak-dbfs=nan", "--hours=inf"],
)
def test_options_out_of_range_are_wrong_use(folders, option):
    assert isinstance(evaluated(folders, option).exception, click.UsageError)


def test_a_second_look_counts_unless_it_is_left_out(folders, tmp_path):
    """Its probability is what thresholds are for: at one that it never exceeds every word is missed, and nothing wakes it."""
    model = random_model(6)  # whose scores move with every sound
    model.save(tmp_path / "two.safetensors")
    replace(model, threshold=1.0).save(tmp_path / "two.look.safetensors")
    replace(model, threshold=0.3).save(tmp_path / "two.safetensors")
    told = {}
    for how in ("--second-look", "--no-second-look"):
        command = ["eval", str(tmp_path / "two.safetensors"), "--positives", str(folders / "word")]
        found = CliRunner().invoke(cli, [*command, "--negatives", str(folders / "speech"), "--executor", "1", "--json", how])
        told[how] = json.loads(found.stdout)
    looked, plain = told["--second-look"], told["--no-second-look"]
    assert (looked["second_look"], plain["second_look"]) == (True, False)
    assert (looked["own"]["threshold"], plain["own"]["threshold"]) == (1.0, 0.3)
    assert looked["own"]["missed"] == 12 and looked["own"]["false_accepts"] == 0
    assert plain["own"]["false_accepts"] >= 5
    thresholds, woken = zip(*((at["threshold"], at["false_accepts"]) for at in looked["curve"]), strict=True)
    assert all(256 * threshold == pytest.approx(round(256 * threshold), abs=0.01) for threshold in thresholds), "a look's scores"
    assert 0 < woken[0] <= plain["own"]["false_accepts"] and woken[-1] < woken[0]


def test_eval_of_hours_in_rooms(folders):
    pytest.importorskip("pyroomacoustics")
    options = ("--hours", "0.2", "--room", "sim:1", "--noise", str(folders / "noise"), "--json")
    told = json.loads(evaluated(folders, *options).stdout)
    assert told["hours"] == pytest.approx(0.2, rel=0.02) and told["word_clips"] == 12 < told["words"]
    assert told["conditions"]["rooms"] == ["sim:1"] and set(told["own"]["missed_by"]["distance_m"]) == {
        "1.0",
        "2.0",
        "3.0",
        "4.0",
    }
    plain = evaluated(folders, *options[:-1]).stdout
    assert f"{told['words']} words (12 clips) in 0.20 h" in plain and "intervals count each clip as one" in plain
    assert "missed by distance_m: 1.0: " in plain
