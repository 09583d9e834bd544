"""What the listener may no longer do once it listens: write, make or remove a file outside its store, or reach another machine.

Two doors that the kernel holds shut, for good and for whatever the process starts: Landlock (Linux 5.13; see landlock(7)) for
files and TCP, and a seccomp filter, made by libseccomp, for what Landlock does not see: sockets of any kind, other processes'
memory, memory files, io_uring, and starting programs.
"""

import ctypes
import errno
import os
import socket
from collections.abc import Iterable
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_NO_NEW_PRIVS = 38

# The same numbers on every architecture: these calls are newer than the table that all share.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION_FLAG, _PATH_BENEATH = 1, 1
_WRITE_FILE = 1 << 1
_REMOVE_AND_MAKE = 0x1FF0  # directories, files, devices, sockets, pipes and links: bits 4 to 12
_REFER, _TRUNCATE = 1 << 13, 1 << 14  # of versions 2 and 3
_TCP = 0b11  # bind and connect; version 4
_SCOPES = 0b11  # abstract Unix sockets and signals to processes outside; version 6


class _Ruleset(ctypes.Structure):
    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = (("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32))


def landlock(store: Path | None, devices: Iterable[Path] = ()) -> str | None:
    """Files are written, made and removed beneath `store` alone, those beneath `devices` may be written; no TCP.

    Holds for the calling thread and what it starts from then on: call it before any other thread is there. Reading is not
    restricted. Returns None, or why it is not in force: a kernel without it. OSError: a folder that is not there.
    """
    version = _libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)
    if version < 1:
        return f"the kernel has no Landlock ({os.strerror(ctypes.get_errno())})"
    files = _WRITE_FILE | _REMOVE_AND_MAKE | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    rules = _Ruleset(files, _TCP if version >= 4 else 0, _SCOPES if version >= 6 else 0)
    size = 8 if version < 4 else 16 if version < 6 else 24
    ruleset = _checked(_libc.syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.c_size_t(size), 0), "landlock_create_ruleset")
    try:
        if store is not None:
            _allow(ruleset, store, files)
        for folder in devices:
            _allow(ruleset, folder, files & (_WRITE_FILE | _TRUNCATE))
        _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(PR_SET_NO_NEW_PRIVS)")
        _checked(_libc.syscall(_RESTRICT_SELF, ruleset, 0), "landlock_restrict_self")
    finally:
        os.close(ruleset)
    return None


def _allow(ruleset: int, folder: Path, rights: int) -> None:
    opened = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = _PathBeneath(rights, opened)
        _checked(_libc.syscall(_ADD_RULE, ruleset, _PATH_BENEATH, ctypes.byref(rule), 0), f"landlock_add_rule: {folder}")
    finally:
        os.close(opened)


def _checked(result: int, what: str) -> int:
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


_ALLOW, _REFUSE, _SYNC_THREADS, _NOT_EQUAL = 0x7FFF0000, 0x00050000 | errno.EPERM, 4, 1
_REFUSED = (
    "memfd_create", "memfd_secret", "shmget", "mq_open", "io_uring_setup", "process_vm_writev", "ptrace",
    "userfaultfd", "execve", "execveat", "mount", "pidfd_getfd",
)  # fmt: skip


class _Compare(ctypes.Structure):
    _fields_ = (("argument", ctypes.c_uint), ("how", ctypes.c_int), ("to", ctypes.c_uint64), ("unused", ctypes.c_uint64))


def seccomp(unix_sockets: bool = False) -> str | None:
    """No sockets, no shared memory, no other process's memory, no programs: each such call fails with EPERM, in every thread.

    unix_sockets: those of this machine stay possible; ALSA's plug-ins need them. Returns None, or why it is not in force.
    """
    try:
        library = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return "libseccomp.so.2 is not installed (Debian: apt-get install libseccomp2)"
    library.seccomp_init.restype = ctypes.c_void_p
    filter_ = ctypes.c_void_p(library.seccomp_init(_ALLOW))
    if not filter_:
        return "libseccomp has no filter for this machine"
    try:
        for name in _REFUSED:
            _refuse(library, filter_, name)
        inet = (_Compare * 1)(_Compare(0, _NOT_EQUAL, socket.AF_UNIX, 0))
        _refuse(library, filter_, "socket", inet if unix_sockets else None)
        if library.seccomp_attr_set(filter_, _SYNC_THREADS, 1) or (failed := library.seccomp_load(filter_)):
            return f"the kernel takes no seccomp filter ({os.strerror(-failed)})"
    finally:
        library.seccomp_release(filter_)
    return None


def _refuse(library: ctypes.CDLL, filter_: ctypes.c_void_p, name: str, only: "ctypes.Array[_Compare] | None" = None) -> None:
    number = library.seccomp_syscall_resolve_name(name.encode())
    if number == -1:
        return  # not a call of this machine
    failed = library.seccomp_rule_add_array(filter_, _REFUSE, number, len(only) if only else 0, only)
    if failed:
        raise OSError(-failed, f"seccomp_rule_add: {name}: {os.strerror(-failed)}")
