"""A set on a rig: verdicts against bounds counted by hand, invalid runs, what is written, what is compared."""

import json
import shutil
import xml.etree.ElementTree as ET
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from importlib import import_module

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.text import Text

from farfield import InputError
from farfield.cli import main
from farfield.hil import demo_room, load_set, shipped_sets
from farfield.hil.bounds import Bounds, Figures
from farfield.hil.compare import compare
from farfield.hil.faults import Faults
from farfield.hil.material import Material
from farfield.hil.report import write_report
from farfield.hil.report.junit import junit
from farfield.hil.report.page import Gallery
from farfield.hil.result import load_result
from farfield.hil.rigs import FileRig
from farfield.hil.roomset import Entry, RoomSet
from farfield.hil.run import is_passed, run
from reference.scenes import Spoilt, altered, noise, planted, word

SCENE = noise(4.0, words=[word(8_000, 16_000), word(24_000, 32_000), word(40_000, 48_000)])
COMMAND, PAGE = map(import_module, ("farfield.hil.cli.run", "farfield.hil.report.page"))  # their packages have such names too
AT = [16_000 // 160, 24_000 // 160, 56_000 // 160]  # decisions 320 later: two hits, and one false accept


class Fixed(Entry):
    """An entry of scenes that are there already."""

    def scenes(self, word, material):
        return iter([SCENE])


class Named:
    """A planted model with what a result says of a real one."""

    def __new__(cls, *steps):
        made = planted(SCENE, *steps)
        made.deciding_threshold, made.fingerprint = 0.5, "0" * 64
        return made


def rooms(bounds=None, goals=None):
    entry = Fixed("hall", None, None, bounds or Bounds(), goals or Bounds())
    return RoomSet("set", "about it", ("planted",), 0.5, (entry,))


def ran(*steps, bounds=None, goals=None, rig=None, decides=False, **arguments):
    return run(rooms(bounds, goals), rig or FileRig(), [Named(*(steps or AT))], Material(), goals=decides, **arguments)


@cache
def _one_run():
    return json.dumps(ran(100))


@pytest.fixture(autouse=True)
def quick_check(monkeypatch):
    monkeypatch.setattr("farfield.hil.rigs.check.SECONDS", 1)


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


@pytest.fixture
def reported(tmp_path):
    gallery = Gallery()
    found = ran(on_room=gallery.add, bounds=Bounds(missed_at_most=0))
    write_report(tmp_path / "report", found, gallery)
    return found, tmp_path / "report", gallery


def test_the_page_needs_nothing_beside_it(reported):
    found, folder, _ = reported
    text = (folder / "report.html").read_text()
    assert text.count("data:image/png;base64,") == 4, "histogram, timeline, a miss, a false accept"
    assert text.count("data:audio/flac;base64,") == 2
    assert "http" not in text.replace("data:", "") and "missed: planted" in text and "false accept: planted" in text
    assert "missed 1, wanted at most 0" in text
    assert load_result(folder) == json.loads(json.dumps(found))


def test_a_page_has_so_many_timelines_and_no_more(monkeypatch, tmp_path):
    monkeypatch.setattr(PAGE, "_MOST_TIMELINES", 2)
    gallery = Gallery()
    write_report(tmp_path, ran(100, 150, 250, repeat=5, on_room=gallery.add), gallery)
    text = (tmp_path / "report.html").read_text()
    assert text.count('alt="timeline') == 2 and "Of 3 more passes no timeline is shown." in text
    assert text.count("<h3>noise") == 5


def test_the_latencies_of_many_steps_are_thinned_evenly(monkeypatch):
    """Two passes of a hundred steps each, for thirty at most."""
    monkeypatch.setattr(PAGE, "_MOST_STEPS", 30)
    drawn = []
    monkeypatch.setattr("farfield.hil.report.plots.histogram", lambda values, *_: drawn.append(values) or b"")
    gallery, heard = Gallery(), []
    ran(repeat=2, on_room=lambda found, one: heard.append((found, one)))
    for number, (found, one) in enumerate(heard):
        gallery.add(found, replace(one, system_s=np.full(104, number / 1_000)))
    gallery.histograms()
    assert sorted(drawn[-1]) == [0.0] * 13 + [1.0] * 13


def test_junit_says_what_failed(reported):
    suite = ET.fromstring(junit(reported[0])).find("testsuite")
    assert (suite.attrib["tests"], suite.attrib["failures"], suite.attrib["errors"]) == ("1", "1", "0")
    assert suite.find("testcase/failure").attrib["message"] == "missed 1, wanted at most 0"


@given(st.text(st.characters(), max_size=20))
@example("bell \a, \x00, \ufffe and half of a pair \udc80")
def test_junit_of_any_name_can_be_read_back(name):
    found = json.loads(_one_run())
    found["set"] = found["entries"][0]["name"] = name
    case = ET.fromstring(junit(found).encode()).find(".//testcase")
    read = case.attrib["name"]
    assert len(read) == len(name)
    assert all(b in (a, "\ufffd") if ord(a) >= 32 else b in " \ufffd\t\n\r" for a, b in zip(name, read, strict=True))


def test_a_name_that_is_no_utf_8_is_written(reported):
    found, folder, gallery = reported
    write_report(folder, found | {"set": "r\udcff"}, gallery)
    assert "<h1>r? on file</h1>" in (folder / "report.html").read_text("utf-8")


def test_a_full_disk_leaves_the_earlier_report_whole(reported):
    found, folder, gallery = reported
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError, match=r"report\.html: cannot be written \(No space left on device\)"):
        write_report(folder, found, gallery, disk_full=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_disk_that_is_full_between_the_reports_two_files_leaves_both_as_they_were(reported, monkeypatch):
    found, folder, gallery = reported
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr("farfield.hil.report._FULL_BYTES", len(before["report.html"]) + 100)
    with pytest.raises(InputError, match=r"result\.json: cannot be written \(No space left on device\)"):
        write_report(folder, found | {"description": "another"}, gallery, disk_full=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_nothing_changed_between_a_run_and_itself():
    assert compare(ran(), ran()) == []


@pytest.mark.parametrize(
    ("steps", "worse", "told"),
    [
        ([100, 350], True, "was heard and is missed"),
        ([100, 150, 250, 350], False, "was missed and is heard"),
        ([100, 150, 350, 380], True, "false accepts per 24h: 2.16e+04 -> 4.32e+04"),
        ([103, 153, 350], True, "median latency +30.0 ms"),
        ([97, 150, 350], False, "median latency -15.0 ms"),
    ],
)
def test_what_changed_is_told_and_worse_is_worse(steps, worse, told):
    changes = compare(ran(), ran(*steps))
    assert any(told in change.text for change in changes), changes
    assert any(change.is_worse for change in changes) == worse


def test_a_verdict_a_room_and_losses_can_be_worse():
    good, bad = ran(bounds=Bounds(missed_at_most=1)), ran(100, 350, bounds=Bounds(missed_at_most=1))
    assert any("passed -> failed" in change.text and change.is_worse for change in compare(good, bad))
    assert any(change.is_worse for change in compare(good, good | {"entries": []}))
    assert any("lost samples" in c.text and c.is_worse for c in compare(good, ran(faults=Faults(stall_s=0.5))))


def judged(verdict, *reasons, hits=(), missed=(), **others):
    """A run of one room by its verdict. hits: (start, latency in ms, error of direction); missed: starts."""
    made = json.loads(_one_run())
    (entry,) = made["entries"]
    (room,) = entry["rooms"]
    room["hits"] = [
        {"text": "planted", "start": start, "latency_ms": late, "direction_error_deg": off} for start, late, off in hits
    ]
    room["missed"] = [{"text": "planted", "start": start} for start in missed]
    entry |= {"verdict": verdict, "reasons": list(reasons)}
    return made | others


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (judged("invalid", "gap"), judged("invalid", "gap"), [("still invalid: gap", True)]),
        (judged("failed", "slow"), judged("invalid", "gap"), [("failed -> invalid: gap", True)]),
        (judged("invalid", "gap"), judged("failed", "slow"), [("invalid -> failed: slow", False)]),
        (judged("failed", "missed 2, wanted at most 1"), judged("failed", "missed 3, wanted at most 1"), []),
        (
            judged("failed", "missed 2, wanted at most 1"),
            judged("failed", "missed 2, wanted at most 1", "direction deg 170, wanted at most 20"),
            [("still failed, and now for: direction deg 170, wanted at most 20", True)],
        ),
        (judged("passed"), judged("passed", decides="goals"), [("decides: bounds -> goals", False)]),
    ],
)
def test_what_a_verdict_was_and_is(before, after, told):
    assert [(change.text, change.is_worse) for change in compare(before, after)] == told


def test_latencies_and_directions_are_those_of_the_words_that_both_heard():
    """A word that is heard now, late and from elsewhere, was missed before: that is no growth."""
    before = judged("passed", hits=[(0, 100, 3.0), (9, 300, None)], missed=[20])
    after = judged("passed", hits=[(0, 101, -3.0), (9, 300, None), (20, 900, 170.0)])
    changes = compare(before, after)
    assert [change.is_worse for change in changes] == [False, False] and "median latency +0.5 ms" in changes[1].text
    (change,) = compare(before, judged("passed", hits=[(0, 100, -170.0), (9, 300, None)], missed=[20]))
    assert change.is_worse and change.text == "direction, farthest off: 3 -> 170°"


def test_where_other_words_are_said_all_latencies_and_directions_are_compared():
    before, after = judged("passed", hits=[(0, 100, 3.0)]), judged("passed", hits=[(5, 900, 170.0)])
    assert [change.text for change in compare(before, after) if change.is_worse] == [
        "median latency +800.0 ms", "direction, farthest off: 3 -> 170°"
    ]  # fmt: skip
    assert not any(change.is_worse for change in compare(after, before))


def test_entries_that_are_new_are_told_in_their_order_with_verdict_and_repeat():
    before, after = judged("passed"), judged("passed")
    (entry,) = after["entries"]
    others = [(name, repeat, verdict) for name in "qbzc" for repeat, verdict in enumerate(("failed", "invalid"))]
    after["entries"] += [entry | {"name": name, "repeat": repeat, "verdict": verdict} for name, repeat, verdict in others]
    changes = compare(before, after)
    assert [change.room for change in changes] == ["q", "q #2", "b", "b #2", "z", "z #2", "c", "c #2"]
    assert all(change.is_worse == ("invalid" in change.text) for change in changes)


class TestCommand:
    """`farfield hil run` and `compare`, as they are typed."""

    @pytest.fixture
    def farfield(self, capsys):
        def farfield_(*arguments):
            with pytest.raises(SystemExit) as left:
                main(["hil", *map(str, arguments)])
            said = capsys.readouterr()
            return left.value.code, said.out, said.err

        return farfield_

    def test_the_demo_passes_and_is_compared_with_itself(self, farfield, tmp_path):
        status, out, err = farfield("run", "demo", "--report", tmp_path / "a", "--junit", tmp_path / "a.xml")
        assert (status, err) == (0, "") and "passed" in out and "report.html" in out
        assert ET.parse(tmp_path / "a.xml").find("testsuite").attrib["failures"] == "0"
        assert farfield("compare", tmp_path / "a", tmp_path / "a/result.json")[:2] == (0, "Nothing changed.\n")
        worse = json.loads((tmp_path / "a/result.json").read_text())
        room = worse["entries"][0]["rooms"][0]
        room["missed"].append(room["hits"].pop())
        (tmp_path / "b.json").write_text(json.dumps(worse))
        status, out, _ = farfield("compare", tmp_path / "a", tmp_path / "b.json")
        assert status == 1 and "WORSE" in out and "was heard and is missed" in out

    def test_a_recorded_rooms_folder_is_a_set_and_json_is_an_object(self, farfield):
        status, out, _ = farfield("run", demo_room(), "--json")
        found = json.loads(out)
        assert status == 0 and found["entries"][0]["figures"]["words"] == 4

    def test_a_rooms_folder_by_another_name_and_its_words_in_other_letters(self, farfield, tmp_path, monkeypatch):
        """`.` is called as what it is, with a byte that is no UTF-8 too; `Alexa` finds the model alexa."""
        folder = tmp_path / "r\udcff"
        shutil.copytree(demo_room(), folder)
        (folder / "room.toml").write_text((folder / "room.toml").read_text().replace('"alexa"', '"Alexa"'))
        monkeypatch.chdir(folder)
        assert load_set(".").models == ("alexa",)
        status, out, err = farfield("run", ".", "--json", "--junit", "../a.xml", "--report", "../a")
        assert (status, err, json.loads(out)["set"]) == (0, "", "r\udcff")
        assert ET.parse(tmp_path / "a.xml").find(".//testcase").attrib["name"] == "r\ufffd"
        assert load_result(tmp_path / "a")["entries"][0]["name"] == "r\udcff"

    def test_a_failure_is_status_1_and_a_full_disk_status_2_after_the_table(self, farfield, tmp_path):
        (tmp_path / "set.toml").write_text(
            'name = "s"\nmodels = ["alexa"]\n[[room]]\nname = "r"\n'
            f'folder = "{demo_room()}"\n[room.bounds]\ndetections_at_most = 3\n'
        )
        status, out, _ = farfield("run", tmp_path / "set.toml")
        assert status == 1 and "failed r: detections 4, wanted at most 3" in out
        status, out, err = farfield("run", tmp_path / "set.toml", "--report", tmp_path / "full", "--fault", "disk-full")
        assert status == 2 and "failed r" in out and err.count("\n") == 1 and "No space left on device" in err
        assert list((tmp_path / "full").iterdir()) == []

    @pytest.fixture
    def marked(self, tmp_path):
        """A set and a room whose names look like markup; the room is the demo's."""
        text = f'name = "kitchen [/night]"\nmodels = ["alexa"]\n[[room]]\nname = ":cat: [old]"\nfolder = "{demo_room()}"\n'
        (tmp_path / "set.toml").write_text(text)
        return tmp_path / "set.toml"

    def test_names_that_look_like_markup_are_names(self, farfield, marked, monkeypatch):
        shown = set()
        bar = nullcontext(lambda what, done, of: shown.add(Text.from_markup(what, emoji=False).plain))
        monkeypatch.setattr(COMMAND, "progress_bar", lambda: bar)
        status, out, err = farfield("run", marked)
        assert (status, err) == (0, "") and "kitchen [/night] on file" in out and ":cat: [old]" in out
        assert shown == {":cat: [old]"}

    def test_a_file_that_cannot_be_written_takes_no_other_with_it(self, farfield, marked, tmp_path, monkeypatch):
        def refused(found):
            raise InputError("a.xml: cannot be written")

        monkeypatch.setattr(COMMAND, "junit", refused)
        status, out, err = farfield("run", marked, "--junit", tmp_path / "a.xml", "--report", tmp_path / "a")
        assert status == 2 and "passed" in out and "a.xml: cannot be written" in err and err.count("\n") == 1
        assert load_result(tmp_path / "a")["set"] == "kitchen [/night]"

    @pytest.mark.parametrize("option", [["--junit", "no/a.xml"], ["--junit", "."], ["--report", "set.toml/a"]])
    def test_a_place_that_nothing_can_be_written_to_is_told_before_anything_is_heard(self, farfield, marked, option, monkeypatch):
        monkeypatch.chdir(marked.parent)
        monkeypatch.setattr("farfield.hil.run.listen", lambda *_, **__: pytest.fail("a room was heard"))
        status, out, err = farfield("run", marked, *option)
        assert (status, out) == (2, "") and err.count("\n") == 1 and option[1].split("/")[0] in err

    def test_a_room_that_is_not_there_is_told_before_another_is_heard(self, farfield, marked, monkeypatch):
        shutil.copytree(demo_room(), marked.parent / "other")
        text = (marked.parent / "other/room.toml").read_text()
        (marked.parent / "other/room.toml").write_text(text.replace("respeaker-4mic", "respeaker-6mic"))
        monkeypatch.setattr("farfield.hil.run.listen", lambda *_, **__: pytest.fail("a room was heard"))
        first = marked.read_text()
        for folder, told in (("othr", "othr/room.toml: no such file"), ("other", "mics.flac: channel 4")):
            marked.write_text(f'{first}[[room]]\nname = "b"\nfolder = "{folder}"\n')
            status, out, err = farfield("run", marked)
            assert (status, out) == (2, "") and told in err

    def test_help_names_every_set_that_ships(self, farfield):
        told = "".join(farfield("run", "--help")[1].split())  # lines may end at a dash
        assert all(name in told for name in shipped_sets())

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            (["run", "nowhere"], "nowhere: no such file; wanted a room set"),
            (["run", "demo", "--rig", "cloud"], "--rig: got 'cloud'"),
            (["run", "demo", "--fault", "fire=1"], "--fault: got 'fire=1'"),
            (["run", "demo", "--only", "attic"], "--only: got 'attic', wanted one of demo"),
            (
                ["run", "demo", "--model", "alexa", "--model", "alexa"],
                "model: got 2 for the word 'alexa', wanted one for each word",
            ),
            (["compare", "nowhere", "nowhere"], "nowhere: no such file"),
            (["soak", "--hours", "0", "--fault", "disk-full"], "a soak writes no report"),
        ],
    )
    def test_wrong_use_is_one_line(self, farfield, arguments, told):
        status, out, err = farfield(*arguments)
        assert (status, out) == (2, "") and told in err and err.count("\n") == 1

    @pytest.mark.parametrize(
        ("text", "told"),
        [
            ('{"format": "farfield hil run 1"}', "field set: is missing or of another kind"),
            ("[" * 100_000, "cannot be read as JSON"),
            ("{}", "is no run's result"),
        ],
    )
    def test_what_is_no_result_is_wrong_use_and_no_regression(self, farfield, tmp_path, text, told):
        (tmp_path / "a.json").write_text(text)
        status, out, err = farfield("compare", tmp_path / "a.json", tmp_path / "a.json")
        assert (status, out) == (2, "") and told in err and err.count("\n") == 1

    def test_a_result_that_lacks_anything_that_is_read_is_none(self, tmp_path):
        """Each field that a run's result is read for, left out in turn."""
        whole = judged("passed", hits=[(0, 100, None)], missed=[20])
        (tmp_path / "a.json").write_text(json.dumps(whole))
        assert load_result(tmp_path / "a.json") == whole
        (entry,) = whole["entries"]
        (room,) = entry["rooms"]
        for table in (whole["models"][0], entry, entry["figures"], room, room["hits"][0], room["missed"][0]):
            for name in [*table]:
                kept = table.pop(name)
                (tmp_path / "a.json").write_text(json.dumps(whole))
                try:
                    compare(load_result(tmp_path / "a.json"), whole)
                except InputError as error:
                    assert f"{name}: is missing" in str(error)
                table[name] = kept

    @pytest.mark.parametrize("number", ["nan", "inf"])
    @pytest.mark.parametrize(
        "arguments",
        [
            ["compare", "a", "b", "--latency-ms"], ["compare", "a", "b", "--system-ms"], ["compare", "a", "b", "--direction-deg"],
            ["soak", "--hours"], ["soak", "--hours", "0", "--most-mb"], ["run", "demo", "--fa-per-hour"],
        ],
    )  # fmt: skip
    def test_a_limit_that_is_no_number_is_refused(self, farfield, arguments, number, monkeypatch):
        monkeypatch.setattr("farfield.hil.soak.soak", lambda *_: pytest.fail("it began"))
        status, out, err = farfield(*arguments, number)
        assert (status, out) == (2, "") and err.count("\n") == 1 and number in err

    def test_a_soak_of_no_time_is_one_pass(self, farfield):
        status, out, _ = farfield("soak", "--hours", 0, "--json")
        sample = json.loads(out)
        assert status == 0 and (sample["passes"], sample["lost_samples"], sample["events"]) == (1, 0, 4)


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
