"""`farfield hil run`, `compare` and `soak`, as they are typed."""

import json
import shutil
import xml.etree.ElementTree as ET
from contextlib import nullcontext
from importlib import import_module

import pytest
from rich.text import Text

from farfield import InputError
from farfield.hil import demo_room, load_set, shipped_sets
from farfield.hil.compare import compare
from farfield.hil.result import load_result
from reference.runs import judged

pytestmark = pytest.mark.usefixtures("quick_check")
COMMAND = import_module("farfield.hil.cli.run")  # its package has such a name too


def test_the_demo_passes_and_is_compared_with_itself(farfield, tmp_path):
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


def test_a_recorded_rooms_folder_is_a_set_and_json_is_an_object(farfield):
    status, out, _ = farfield("run", demo_room(), "--json")
    found = json.loads(out)
    assert status == 0 and found["entries"][0]["figures"]["words"] == 4


def test_a_rooms_folder_by_another_name_and_its_words_in_other_letters(farfield, tmp_path, monkeypatch):
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


def test_a_failure_is_status_1_and_a_full_disk_status_2_after_the_table(farfield, tmp_path):
    (tmp_path / "set.toml").write_text(
        f'name = "s"\nmodels = ["alexa"]\n[[room]]\nname = "r"\nfolder = "{demo_room()}"\n[room.bounds]\ndetections_at_most = 3\n'
    )
    status, out, _ = farfield("run", tmp_path / "set.toml")
    assert status == 1 and "failed r: detections 4, wanted at most 3" in out
    status, out, err = farfield("run", tmp_path / "set.toml", "--report", tmp_path / "full", "--fault", "disk-full")
    assert status == 2 and "failed r" in out and err.count("\n") == 1 and "No space left on device" in err
    assert list((tmp_path / "full").iterdir()) == []


@pytest.fixture
def marked(tmp_path):
    """A set and a room whose names look like markup; the room is the demo's."""
    text = f'name = "kitchen [/night]"\nmodels = ["alexa"]\n[[room]]\nname = ":cat: [old]"\nfolder = "{demo_room()}"\n'
    (tmp_path / "set.toml").write_text(text)
    return tmp_path / "set.toml"


def test_names_that_look_like_markup_are_names(farfield, marked, monkeypatch):
    shown = set()
    bar = nullcontext(lambda what, done, of: shown.add(Text.from_markup(what, emoji=False).plain))
    monkeypatch.setattr(COMMAND, "progress_bar", lambda: bar)
    status, out, err = farfield("run", marked)
    assert (status, err) == (0, "") and "kitchen [/night] on file" in out and ":cat: [old]" in out
    assert shown == {":cat: [old]"}


def test_a_file_that_cannot_be_written_takes_no_other_with_it(farfield, marked, tmp_path, monkeypatch):
    def refused(found):
        raise InputError("a.xml: cannot be written")

    monkeypatch.setattr(COMMAND, "junit", refused)
    status, out, err = farfield("run", marked, "--junit", tmp_path / "a.xml", "--report", tmp_path / "a")
    assert status == 2 and "passed" in out and "a.xml: cannot be written" in err and err.count("\n") == 1
    assert load_result(tmp_path / "a")["set"] == "kitchen [/night]"


@pytest.mark.parametrize("option", [["--junit", "no/a.xml"], ["--junit", "."], ["--report", "set.toml/a"]])
def test_a_place_that_nothing_can_be_written_to_is_told_before_anything_is_heard(farfield, marked, option, monkeypatch):
    monkeypatch.chdir(marked.parent)
    monkeypatch.setattr("farfield.hil.run.listen", lambda *_, **__: pytest.fail("a room was heard"))
    status, out, err = farfield("run", marked, *option)
    assert (status, out) == (2, "") and err.count("\n") == 1 and option[1].split("/")[0] in err


def test_a_room_that_is_not_there_is_told_before_another_is_heard(farfield, marked, monkeypatch):
    shutil.copytree(demo_room(), marked.parent / "other")
    text = (marked.parent / "other/room.toml").read_text()
    (marked.parent / "other/room.toml").write_text(text.replace("respeaker-4mic", "respeaker-6mic"))
    monkeypatch.setattr("farfield.hil.run.listen", lambda *_, **__: pytest.fail("a room was heard"))
    first = marked.read_text()
    for folder, told in (("othr", "othr/room.toml: no such file"), ("other", "mics.flac: channel 4")):
        marked.write_text(f'{first}[[room]]\nname = "b"\nfolder = "{folder}"\n')
        status, out, err = farfield("run", marked)
        assert (status, out) == (2, "") and told in err


def test_help_names_every_set_that_ships(farfield):
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
def test_wrong_use_is_one_line(farfield, arguments, told):
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
def test_what_is_no_result_is_wrong_use_and_no_regression(farfield, tmp_path, text, told):
    (tmp_path / "a.json").write_text(text)
    status, out, err = farfield("compare", tmp_path / "a.json", tmp_path / "a.json")
    assert (status, out) == (2, "") and told in err and err.count("\n") == 1


def test_a_result_that_lacks_anything_that_is_read_is_none(tmp_path):
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
def test_a_limit_that_is_no_number_is_refused(farfield, arguments, number, monkeypatch):
    monkeypatch.setattr("farfield.hil.soak.soak", lambda *_: pytest.fail("it began"))
    status, out, err = farfield(*arguments, number)
    assert (status, out) == (2, "") and err.count("\n") == 1 and number in err


def test_a_soak_of_no_time_is_one_pass(farfield):
    status, out, _ = farfield("soak", "--hours", 0, "--json")
    sample = json.loads(out)
    assert status == 0 and (sample["passes"], sample["lost_samples"], sample["events"]) == (1, 0, 4)
