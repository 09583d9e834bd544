"""Real-time scheduling and locked memory: had where the user may, and said where not."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import nullcontext

import pytest

from farfield import cli  # noqa: F401 - it loads the bench's commands
from farfield.hil import BoardRig, FileRig
from farfield.hil.cli.options import priority
from reference.patience import PATIENCE_S

TOLD = """
import os, json
from farfield.cli.realtime import make_realtime, realtime
def state():
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return os.sched_getscheduler(0), os.sched_getparam(0).sched_priority, int(status["VmLck"].split()[0])
before = state()
with realtime() as denied:
    inside = state()
print(json.dumps([before, denied, inside, state(), make_realtime()]))
"""


def told(*around):
    ran = subprocess.run([*around, sys.executable, "-c", TOLD], capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    return json.loads(ran.stdout)


def may():
    """Whether this user may have both, found out by the system's own tool."""
    if not shutil.which("chrt") or not shutil.which("prlimit"):
        return False
    tried = subprocess.run(["chrt", "--rr", "20", "true"], capture_output=True, check=False)
    return tried.returncode == 0 and os.geteuid() == 0


@pytest.mark.skipif(not may(), reason="needs a user who may have real-time scheduling and locked memory")
def test_it_is_had_and_given_back():
    before, denied, inside, after, _ = told()
    assert denied == [] and before[0] == os.SCHED_OTHER
    assert inside[:2] == [os.SCHED_RR, 20] and inside[2] > 1_000, "kB that are locked"
    assert after == before


@pytest.mark.skipif(not may() or not shutil.which("setpriv"), reason="needs a user who may give up a right, and setpriv")
def test_what_cannot_be_had_is_said_and_nothing_is_changed():
    limits = ["prlimit", "--rtprio=0", "--memlock=65536"]
    before, denied, inside, after, again = told(*limits, "setpriv", "--bounding-set=-sys_nice,-ipc_lock")
    assert denied == again == [
        "real-time scheduling (Operation not permitted; wants CAP_SYS_NICE or an rtprio limit of 20)",
        "locked memory (the limit is 64 kB; wants CAP_IPC_LOCK or no memlock limit)",
    ]  # fmt: skip
    assert before == inside == after


@pytest.mark.skipif(not may() or not shutil.which("setpriv"), reason="needs a user who may give up a right, and setpriv")
def test_limits_are_enough_without_any_right():
    limits = ["prlimit", "--rtprio=20", "--memlock=unlimited"]
    if subprocess.run([*limits, "true"], capture_output=True, check=False).returncode:
        pytest.skip("needs a user who may raise limits")
    _, denied, inside, _, _ = told(*limits, "setpriv", "--bounding-set=-sys_nice,-ipc_lock")
    assert denied == [] and inside[0] == os.SCHED_RR and inside[2] > 1_000


def test_listen_says_what_it_goes_without():
    """The command itself: it listens all the same."""
    if not may() or not shutil.which("setpriv"):
        pytest.skip("needs a user who may give up a right, and setpriv")
    around = ["prlimit", "--rtprio=0", "--memlock=65536", "setpriv", "--bounding-set=-sys_nice,-ipc_lock"]
    command = [sys.executable, "-m", "farfield.cli", "listen", "--serial", "no-such-port"]
    ran = subprocess.run([*around, *command], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert ran.returncode == 2
    note, error = ran.stderr.splitlines()
    assert "listening without real-time scheduling (Operation not permitted" in note and "and without locked memory" in note
    assert "no-such-port: cannot be opened" in error


def test_the_bench_runs_before_others_on_request_and_never_where_there_is_no_clock_to_keep():
    assert priority(FileRig(), True) is nullcontext and priority(BoardRig(), False) is nullcontext
    before = os.sched_getscheduler(0)
    with priority(BoardRig(), True)():
        assert os.sched_getscheduler(0) == (os.SCHED_RR if may() else before)
    assert os.sched_getscheduler(0) == before
