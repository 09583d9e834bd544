"""SIGKILL at random times while a store keeps, deletes and rotates; thousands: python tests/kill_store.py --kills 5000."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "kill_store.py"


def kill(*arguments):
    ran = subprocess.run([sys.executable, str(TOOL), *arguments], capture_output=True, text=True, timeout=120)
    assert ran.stdout, ran.stderr
    return ran.returncode, json.loads(ran.stdout)


def test_whenever_it_is_killed_what_is_there_fits():
    status, figures = kill("--kills", "40")
    assert (status, figures["wrong"]) == (0, []) and figures["kept"] > 5


@pytest.mark.parametrize("plant", ["orphan", "plain"])
def test_what_is_planted_is_found(plant):
    status, figures = kill("--kills", "150", "--plant", plant)
    assert status == 1 and figures["wrong"]
