"""What is written of a run: the page, JUnit XML, all or nothing."""

import json
import xml.etree.ElementTree as ET
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from farfield import InputError
from farfield.hil.bounds import Bounds
from farfield.hil.report import write_report
from farfield.hil.report.junit import junit
from farfield.hil.report.page import Gallery
from farfield.hil.result import load_result
from reference.runs import one_run, ran

pytestmark = pytest.mark.usefixtures("quick_check")
PAGE = import_module("farfield.hil.report.page")  # its package has such a name too


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
    found = json.loads(one_run())
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
