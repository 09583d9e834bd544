"""A child process that is killed at its n-th system call, before the kernel carries it out: ptrace(2), Linux."""

import ctypes
import os
import signal
import traceback

_TRACEME, _SYSCALL, _SETOPTIONS = 0, 24, 0x4200
_SYSGOOD, _EXITKILL = 1, 1 << 20
_AT_CALL = signal.SIGTRAP | 0x80
_libc = ctypes.CDLL(None, use_errno=True)


def _ptrace(request, pid, data=0):
    if _libc.ptrace(ctypes.c_long(request), ctypes.c_long(pid), ctypes.c_void_p(0), ctypes.c_void_p(data)) == -1:
        raise OSError(ctypes.get_errno(), f"ptrace {request}")


def run_until(work, number):
    """Fork, run `work` in the child, and kill it where it enters its system call `number`, from 1 on.

    Returns how many it entered, and whether it came to its end (0 alone ends well: what it raises is on stderr).
    """
    child = os.fork()
    if child == 0:
        status = 1
        try:
            _ptrace(_TRACEME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
            work()
            status = 0
        except BaseException:
            os.write(2, traceback.format_exc().encode())
        finally:
            os._exit(status)
    os.waitpid(child, 0)
    _ptrace(_SETOPTIONS, child, _SYSGOOD | _EXITKILL)
    entered, entering, pass_on = 0, True, 0
    while True:
        _ptrace(_SYSCALL, child, pass_on)
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) or os.WIFSIGNALED(status):
            if status:
                raise RuntimeError(f"the child ended with {status} by itself")
            return entered, True
        stopped_by, pass_on = os.WSTOPSIG(status), 0
        if stopped_by != _AT_CALL:
            pass_on = stopped_by
            continue
        entered += entering
        if entering and entered == number:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return entered, False
        entering = not entering
