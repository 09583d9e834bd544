"""A set on a rig: verdicts against bounds counted by hand, invalid runs, and sets as files."""

import xml.etree.ElementTree as ET
from dataclasses import replace

import numpy as np
import pytest

from farfield import InputError
from farfield.hil import load_set, shipped_sets
from farfield.hil.bounds import Bounds, Figures
from farfield.hil.faults import Faults
from farfield.hil.material import Material
from farfield.hil.report.junit import junit
from farfield.hil.rigs import FileRig
from farfield.hil.run import is_passed, run
from reference.runs import SCENE, ran, rooms
from reference.scenes import Spoilt, altered, planted

pytestmark = pytest.mark.usefixtures("quick_check")


def test_figures_counted_by_hand():
    found = ran()
    (entry,) = found["entries"]
    figures = entry["figures"]
    assert (figures["words"], figures["missed"], figures["false_accepts"], figures["detections"]) == (3, 1, 1, 3)
    (room,) = entry["rooms"]
    assert [hit["decision"] for hit in room["hits"]] == [16_320, 24_320]
    assert [hit["latency_ms"] for hit in room["hits"]] == [20.0, -480.0]
    assert figures["latency_ms"] == 20.0 and figures["missed_share"] == pytest.approx(1 / 3)
    assert figures["false_accepts_per_24h"] == 86_400 / 4
    assert room["false_accepts"][0]["decision"] == 56_320 and room["missed"][0]["start"] == 40_000
    assert entry["verdict"] == "passed" and is_passed(found)


@pytest.mark.parametrize(
    ("name", "kept", "broken"),
    [
        ("detections_at_least", 3, 4), ("detections_at_most", 3, 2), ("missed_at_most", 1, 0),
        ("missed_share_at_most", 0.34, 0.33),
        ("false_accepts_at_most", 1, 0), ("false_accepts_per_24h_at_most", 21_600, 21_599), ("latency_ms_at_most", 20, 19.9),
    ],
)  # fmt: skip
def test_each_bound_at_its_edge(name, kept, broken):
    assert ran(bounds=Bounds(**{name: kept}))["entries"][0]["verdict"] == "passed"
    failed = ran(bounds=Bounds(**{name: broken}))
    assert failed["entries"][0]["verdict"] == "failed" and len(failed["entries"][0]["reasons"]) == 1
    assert not is_passed(failed)


def test_bounds_of_direction_and_system_latency_hold_for_what_was_measured():
    figures = Figures(10, 1, 1, 0, 0, 5, 30.0, 12.0, 9.0)
    assert Bounds(direction_deg_at_most=12, system_p99_ms_at_most=9, lost_samples_at_most=5).broken(figures) == []
    assert len(Bounds(direction_deg_at_most=11, system_p99_ms_at_most=8, lost_samples_at_most=4).broken(figures)) == 3
    nothing = replace(figures, direction_deg=None, system_p99_ms=None)
    assert Bounds(direction_deg_at_most=0, system_p99_ms_at_most=0).broken(nothing) == []


def test_goals_are_told_and_decide_where_they_are_asked_to():
    bounds, goals = Bounds(missed_at_most=2), Bounds(missed_at_most=0)
    (entry,) = ran(bounds=bounds, goals=goals)["entries"]
    assert entry["verdict"] == "passed" and entry["goals_missed"] == ["missed 1, wanted at most 0"]
    (entry,) = ran(bounds=bounds, goals=goals, decides=True)["entries"]
    assert entry["verdict"] == "failed"


def test_a_gap_that_nobody_accounts_for_is_neither_passed_nor_failed():
    class Late(Spoilt):
        """Sound at its check, spoilt afterwards."""

        def play(self, scene, faults=None):
            return FileRig().play(scene) if scene.name == "check" else super().play(scene)

    found = ran(rig=Late(FileRig(), altered(20_000)), bounds=Bounds(missed_at_most=0))
    (entry,) = found["entries"]
    assert entry["verdict"] == "invalid" and "sample 20000" in entry["reasons"][0] and not is_passed(found)
    tree = ET.fromstring(junit(found))
    assert tree.find("testsuite").attrib["errors"] == "1"
    assert tree.find(".//error") is not None and tree.find(".//failure") is None


def test_a_rig_that_does_not_pass_its_check_runs_nothing():
    with pytest.raises(InputError, match=r"did not pass its check.*nothing was run"):
        ran(rig=Spoilt(FileRig(), altered(200)))


def test_samples_lost_without_having_been_asked_for_fail_a_room_and_those_asked_for_do_not():
    (entry,) = ran(faults=Faults(stall_s=0.5))["entries"]
    assert entry["verdict"] == "passed" and entry["figures"]["lost_samples"] == 4_000

    class Lossy(FileRig):
        def play(self, scene, faults=None):
            return super().play(scene, Faults() if scene.name == "check" else Faults(stall_s=0.5))

    (entry,) = ran(rig=Lossy())["entries"]
    assert entry["verdict"] == "failed" and entry["reasons"] == ["lost samples 4000, wanted at most 0"]


def test_each_repeat_has_a_verdict_and_one_that_hears_otherwise_fails():
    assert [entry["verdict"] for entry in ran(repeat=3)["entries"]] == ["passed"] * 3

    class Fickle:
        word, smoothing_steps, threshold, deciding_threshold, refractory_ms = "planted", 1, 0.5, 0.5, 0
        end_lag_ms, word_ms, stride, network, second_look, fingerprint = 0, 100, 1, {}, None, "0" * 64
        turn = 0

        def scorer(self):
            self.turn += 1
            return planted(SCENE, 100 if self.turn == 1 else 101).scorer()

    found = run(rooms(), FileRig(), [Fickle()], Material(), repeat=2)
    assert [entry["verdict"] for entry in found["entries"]] == ["passed", "failed"]
    assert "heard otherwise" in found["entries"][1]["reasons"][0]


def test_the_shipped_sets_hold_what_they_promise():
    assert {"demo", "streaming-noise", "voice-assistant"} <= set(shipped_sets())
    (stream,) = load_set("streaming-noise").entries
    assert (stream.recipe.seconds, stream.recipe.words) == (1_200, 50)
    assert (stream.bounds.missed_at_most, stream.goals.missed_at_most) == (8, 2)
    entries = {entry.name: entry for entry in load_set("voice-assistant").entries}
    shares = [entries[n].bounds.missed_share_at_most for n in ("silence", "noise", "music from elsewhere", "own playback")]
    assert shares == [0.10, 0.20, 0.20, 0.33]
    assert [entry.goals.missed_share_at_most for entry in entries.values() if entry.recipe.words] == [s / 10 for s in shares]
    day = entries["24 h of speech"]
    assert day.recipe.seconds * day.count == 86_400 and day.bounds.false_accepts_per_24h_at_most == 3
    assert all(entry.recipe.count == 1 or not entry.recipe.words for entry in entries.values())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('name = "s"', r"field room: got nothing, wanted \[\[room\]\] tables"),
        ('name = "s"\n[[room]]\nname = "r"', "either a recorded room's folder or"),
        ('name = "s"\n[[room]]\nname = "r"\nfolder = "x"\n[room.bounds]\nmised_at_most = 1', "did you mean missed_at_most"),
        ('name = "s"\n[[room]]\nname = "r"\nfolder = "x"\n[room.bounds]\nmissed_share_at_most = 2', "a number from 0 to 1"),
        ('name = "s"\n[[room]]\nname = "r"\nfolder = "x"\n[[room]]\nname = "r"\nfolder = "x"', "two rooms are called 'r'"),
        ("name = ", "cannot be read as TOML"),
        (
            f'name = "s"\nwithin_s = 1{"0" * 400}\n[[room]]\nname = "r"\nfolder = "x"',
            "field within_s: got 10+, wanted a number from",
        ),
    ],
)
def test_a_mistake_in_a_set_is_one_line(tmp_path, text, told):
    (tmp_path / "set.toml").write_text(text)
    with pytest.raises(InputError, match=told) as caught:
        load_set(tmp_path / "set.toml")
    assert "\n" not in str(caught.value)


def test_planted_scenes_are_what_they_say():
    assert np.abs(SCENE.samples).max() > 8_000 and [word.text for word in SCENE.words] == ["planted"] * 3
