"""SIGKILL while a store keeps, deletes and rotates: at every step of it, and at random times.

All steps: python tests/kill_steps.py. Thousands of random times: python tests/kill_store.py --kills 5000.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reference.patience import PATIENCE_S
from reference.tracing import run_until

TESTS = Path(__file__).parents[2]


def kill(tool, *arguments):
    ran = subprocess.run([sys.executable, str(TESTS / tool), *arguments], capture_output=True, text=True, timeout=PATIENCE_S)
    assert ran.stdout, ran.stderr
    return ran.returncode, json.loads(ran.stdout)


def can_trace():
    try:
        return run_until(lambda: None, 1) == (1, False)
    except (OSError, RuntimeError):
        return False


traced = pytest.mark.skipif(not can_trace(), reason="needs ptrace")


@traced
def test_whatever_its_last_step_was_what_is_there_fits():
    """Every 23rd system call of each operation, beginning at another one each."""
    status, figures = kill("kill_steps.py", "--stride", "1" if os.environ.get("FARFIELD_LONG") else "23")
    assert (status, figures["wrong"]) == (0, []) and figures["in all"] > 90 and min(figures["kills"].values()) > 2


PLANTED = {
    "plain": ("capture", "--stride", "20"),
    "late": ("capture", "--from", "120"),
    "orphan": ("delete", "--from", "60"),
    "journal": ("delete", "--from", "60"),
    "apart": ("delete", "--from", "60"),
    "early": ("delete",),
}


@traced
@pytest.mark.parametrize("plant", PLANTED)
def test_what_is_planted_is_found_at_some_step(plant):
    status, figures = kill("kill_steps.py", *PLANTED[plant], "--plant", plant)
    assert status == 1 and figures["wrong"]


@traced
def test_the_killer_stops_a_process_before_the_call_it_names(tmp_path):
    """The n-th file is made by the n-th call and by no earlier one."""

    def work():
        for n in range(5):
            os.close(os.open(tmp_path / str(n), os.O_CREAT | os.O_WRONLY))

    made = []
    for number in range(1, 60):
        for path in tmp_path.iterdir():
            path.unlink()
        _, ended = run_until(work, number)
        made.append(len(list(tmp_path.iterdir())))
        if ended:
            break
    assert made == sorted(made) and set(made) == set(range(6))


def test_whenever_it_is_killed_what_is_there_fits():
    status, figures = kill("kill_store.py", "--kills", "25")
    assert (status, figures["wrong"]) == (0, []) and figures["kept"] > 3


@pytest.mark.parametrize("plant", ["orphan", "plain"])
def test_what_is_planted_is_found_at_some_time(plant):
    status, figures = kill("kill_store.py", "--kills", "150", "--plant", plant)
    assert status == 1 and figures["wrong"]
