"""The pytest plugin, in a suite of its own: rooms and rigs as parameters, verdicts as that suite's asserts."""

import tomllib
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

SUITE = """
def test_the_room_is_heard(hil_pass):
    assert hil_pass.missed == () and hil_pass.false_accepts == ()
    assert all(hit.latency_s < 0.5 for hit in hil_pass.hits) and len(hil_pass.hits) == 4
"""


@pytest.fixture
def suite(pytester, monkeypatch):
    """Run a suite with the plugin alone, as an entry point would load it."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    def run(text, *arguments):
        pytester.makepyfile(text)
        return pytester.runpytest_subprocess("-p", "farfield.hil.plugin", "-p", "no:cacheprovider", *arguments)

    return run


def test_it_is_an_entry_point():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"farfield": "farfield.hil.plugin"}


def test_a_suite_of_a_device_maker(suite):
    result = suite(SUITE, "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*test_the_room_is_heard*file*demo*PASSED*"])


def test_a_word_that_is_missed_fails_it(suite):
    suite(SUITE, "--hil-model", "computer").assert_outcomes(failed=1)


def test_a_threshold_that_no_word_reaches_fails_it(suite):
    suite(SUITE, "--hil-threshold", "0.9999").assert_outcomes(failed=1)
    suite(SUITE, "--hil-fa-per-hour", "0.3").assert_outcomes(passed=1)


def test_each_rig_and_each_room_is_a_parameter(suite, pytester):
    from farfield.hil import demo_room

    pytester.makefile(
        ".toml",
        rooms='name = "s"\nmodels = ["alexa"]\n'
        + "".join(f'[[room]]\nname = "{name}"\nfolder = "{demo_room()}"\n' for name in ("hall", "attic"))
        + '[[room]]\nname = "made"\n[room.make]\nseconds = 3\nwords = 0\ncount = 2\nresponses = "none"\n',
    )
    result = suite(
        "def test_it(hil_scene, hil_rig): assert hil_scene.frames and hil_rig.name in ('file', 'board')\n",
        "--hil-set", "rooms.toml", "--hil-rig", "file", "--hil-rig", "board", "-v",
    )  # fmt: skip
    result.assert_outcomes(passed=8)
    result.stdout.fnmatch_lines(["*hall*", "*attic*", "*made 2*"])


def test_a_gap_that_nobody_accounts_for_is_an_error_and_no_failure(suite):
    """A rig that swallows a frame after its check: the fixture raises, so that the test neither passes nor fails."""
    result = suite(
        """
import pytest
from farfield.hil import FileRig

class Swallows(FileRig):
    def play(self, scene, faults=None):
        stream = super().play(scene)
        if scene.name == "demo":
            blocks = stream.blocks
            stream.blocks = lambda stop: (block for block in blocks(stop) if block.index != 32_000)
        return stream

@pytest.fixture(scope="session")
def hil_rig():
    return Swallows()

def test_room(hil_pass): assert False, "never reached"
"""
    )
    assert "InvalidPass" in result.stdout.str() and result.parseoutcomes().get("failed", 0) == 0
    assert result.parseoutcomes()["errors"] == 1


def test_a_set_that_is_none_is_one_line(suite):
    result = suite(SUITE, "--hil-set", "nowhere")
    assert result.ret != 0
    assert "nowhere: no such file; wanted a room set" in result.stdout.str() + result.stderr.str()


def test_what_is_heavy_is_not_imported_where_no_test_asks_for_it(suite):
    heavy = "{'matplotlib', 'pyroomacoustics', 'scipy', 'jinja2', 'torch', 'alsaaudio'}"
    suite(f"import sys\ndef test_it(): assert not {heavy} & set(sys.modules)\n").assert_outcomes(passed=1)
