"""Power that fails while a store keeps an utterance: whatever of what was not flushed is lost, what is there fits.

All operations, thousands of states: python tests/power_loss.py.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from reference import powerless
from reference.patience import PATIENCE_S

TOOL = Path(__file__).parents[2] / "power_loss.py"
traced = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")


def lose(*arguments):
    ran = subprocess.run([sys.executable, str(TOOL), *arguments], capture_output=True, text=True, timeout=PATIENCE_S)
    assert "states" in ran.stdout, ran.stderr
    return ran.returncode, json.loads(ran.stdout.splitlines()[-1])


@traced
def test_whatever_was_not_flushed_what_is_there_fits():
    status, figures = lose("capture", "--tries", "1")
    assert (status, figures["wrong"]) == (0, []) and min(figures["states"].values()) > 30


@traced
@pytest.mark.parametrize("plant", ["sound", "names", "records"])
def test_a_flush_that_is_left_out_is_found(plant):
    """The sealed sound's, the folder's, the database's."""
    status, figures = lose("capture", "--tries", "2", "--plant", plant)
    assert status == 1 and figures["wrong"]


def written(disk, *calls):
    for call in calls:
        disk.take(*call)
    return disk


def test_what_is_unsure_is_there_or_not_and_what_was_flushed_is(tmp_path):
    """By hand: a file made, written twice and flushed in between, and moved; its folder flushed at last."""
    (tmp_path / "old").write_bytes(b"old")
    disk, made = powerless.Disk.of(tmp_path), str(tmp_path / "new").encode()
    written(disk, ("openat", [made], ["AT_FDCWD", "", "O_WRONLY|O_CREAT", "0600"], 3), ("write", [b"abcd"], ["3", "", "4"], 4),
            ("fsync", [], ["3"], 0), ("write", [b"efgh"], ["3", "", "4"], 4))  # fmt: skip
    assert disk.unsure() == 2
    new, old = made.decode(), str(tmp_path / "old")
    assert disk.after([0, 1]) == {old: b"old"}, "a file without a name"
    assert disk.after([1, 0]) == {old: b"old", new: b"abcd"}
    assert disk.after([1, 2]) == {old: b"old", new: b"abcdef"} and disk.after([1, 1])[new] == b"abcdefgh"
    written(disk, ("rename", [made, old.encode()], ["", ""], 0))
    assert disk.after([0, 1, 0]) == {old: b"abcd"} and disk.after([1, 0, 0]) == {old: b"old", new: b"abcd"}
    written(disk, ("openat", [str(tmp_path).encode()], ["AT_FDCWD", "", "O_RDONLY|O_DIRECTORY"], 4), ("fsync", [], ["4"], 0))
    assert disk.unsure() == 1 and disk.after([0]) == {old: b"abcd"}
    written(disk, ("ftruncate", [], ["3", "1"], 0), ("unlink", [old.encode()], [""], 0))
    assert disk.after([0, 0, 1]) == {old: b"a"} and disk.after([1, 1, 1]) == {}
