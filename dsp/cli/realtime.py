"""Real-time scheduling and locked memory, where the user may have them."""

import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_PRIORITY = 20  # above everything ordinary, below the kernel's own threads, which stand at 50
_CURRENT, _FUTURE, _ON_FAULT = 1, 2, 4  # of mlockall


def make_realtime() -> list[str]:
    """Run this thread, and those that it starts, before all others, and keep memory in RAM; tells what cannot be had, and why."""
    denied = []
    try:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(_PRIORITY))
    except OSError as error:
        denied.append(f"real-time scheduling ({error.strerror}; wants CAP_SYS_NICE or an rtprio limit of {_PRIORITY})")
    soft, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    libc = ctypes.CDLL(None, use_errno=True)
    # What is locked from now on must fit the limit too, or an allocation fails later.
    if soft != resource.RLIM_INFINITY and not _may_lock_anything():
        denied.append(f"locked memory (the limit is {soft // 1024} kB; wants CAP_IPC_LOCK or no memlock limit)")
    elif libc.mlockall(_CURRENT | _FUTURE | _ON_FAULT):
        denied.append(f"locked memory ({os.strerror(ctypes.get_errno())})")
    return denied


@contextmanager
def realtime() -> Iterator[list[str]]:
    """`make_realtime` for a while; threads and programs that were started meanwhile keep their priority."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield make_realtime()
    finally:
        os.sched_setscheduler(0, *before)
        ctypes.CDLL(None).munlockall()


def _may_lock_anything() -> bool:
    """Whether CAP_IPC_LOCK is among the process's capabilities."""
    if not sys.platform.startswith("linux"):
        return False
    with open("/proc/self/status", encoding="ascii") as status:
        held = next((line.split()[1] for line in status if line.startswith("CapEff:")), "0")
    return bool(int(held, 16) >> 14 & 1)
