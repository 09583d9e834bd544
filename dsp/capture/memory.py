"""What the process's memory keeps of the sound: one locked piece that is meant to hold it, and nothing in what is freed.

Sound passes through many short-lived pieces of memory: reads of a device, frames of a protocol, blocks, what the chain makes of
them. Zeroing each by hand cannot be checked; having the allocator overwrite whatever is freed can. glibc does so with M_PERTURB,
but for pieces of up to 1,032 bytes that its thread cache holds back, and Python keeps pieces of up to 512 bytes to itself. Both
caches can be left out only when the process starts, by ENVIRONMENT, which `restart` brings about.
"""

import ctypes
import gc
import mmap
import os
import resource
import sys

import numpy as np

from farfield.errors import InputError

_FILL = 255  # what freed memory is overwritten with; 0 would mean that it is not
ENVIRONMENT = {
    "PYTHONMALLOC": "malloc",
    "GLIBC_TUNABLES": f"glibc.malloc.perturb={_FILL}:glibc.malloc.tcache_count=0",
    # Nothing here multiplies matrices while listening; a thread that was there before the sandbox would stay outside it.
    "OPENBLAS_NUM_THREADS": "1",
}
_MARKER = "FARFIELD_STARTED_AGAIN"
_M_PERTURB = -6
_PR_SET_DUMPABLE = 4
_MCL_CURRENT, _MCL_FUTURE, _MCL_ONFAULT = 1, 2, 4
_CACHED_BYTES, _CACHED_PIECES = 1_024, 8  # numpy keeps up to 7 freed pieces of each size below 1,024 bytes
_libc = ctypes.CDLL(None, use_errno=True)


def locked(size: int) -> mmap.mmap:
    """`size` bytes of zeros that are never swapped, written to a core dump, or handed to a child process.

    InputError: the process may not lock as much.
    """
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_DONTDUMP)
    memory.madvise(mmap.MADV_DONTFORK)
    # Its address needs a view of it, which has to be gone before it can be closed.
    view = ctypes.c_char.from_buffer(memory)
    failed = _libc.mlock(ctypes.c_void_p(ctypes.addressof(view)), ctypes.c_size_t(size))
    error = ctypes.get_errno()
    del view
    if failed:
        memory.close()
        raise InputError(
            f"memory: {size} bytes for sound cannot be locked ({os.strerror(error)}); wanted a limit of at least that: "
            "ulimit -l, or LimitMEMLOCK= of the service"
        )
    return memory


def restart() -> None:
    """Start this program anew, once, with ENVIRONMENT, where that is not in force: the process stays, its memory does not.

    To be called before any sound was heard. Settings of the caller's own for the allocator are kept beside these.
    """
    if os.environ.pop(_MARKER, None) or overwrites_what_it_frees():
        return
    environment = os.environ | ENVIRONMENT | {_MARKER: "1"}
    if own := os.environ.get("GLIBC_TUNABLES"):
        environment["GLIBC_TUNABLES"] = f"{own}:{ENVIRONMENT['GLIBC_TUNABLES']}"
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def overwrite_freed() -> None:
    """Have the C library overwrite what is freed from now on, as far as that can be had in a process that runs already."""
    if hasattr(_libc, "mallopt"):
        _libc.mallopt(_M_PERTURB, _FILL)


def overwrites_what_it_frees() -> bool:
    """Whether pieces of every size are overwritten when they are freed: tried with a mark, which is then looked for.

    Pieces of Python's and of the C library's, as long as a protocol's frame, a block, and half a second.
    """
    try:
        own = os.open("/proc/self/mem", os.O_RDONLY)
    except OSError:
        return False
    try:
        return not any(_survives(own, size) for size in (200, 400, 900, 4_000, 16_000))
    finally:
        os.close(own)


def _survives(own: int, size: int) -> bool:
    """Whether what `bytes` of this size held can still be read where it lay."""
    pieces = [bytearray(os.urandom(size)) for _ in range(3)]  # the outer two keep the allocator from merging the inner one
    address = ctypes.addressof(ctypes.c_char.from_buffer(pieces[1]))
    middle = slice(size // 2 - 16, size // 2 + 16)  # an allocator writes lists of its own into the ends
    mark = bytes(pieces[1][middle])
    pieces[1] = bytearray()
    try:
        return os.pread(own, 32, address + size // 2 - 16) == mark
    except OSError:
        return False  # the page is gone


def sweep() -> None:
    """Overwrite what the caches above the C library hold of freed memory, and give back what can be given back."""
    gc.collect()
    held = [np.empty(size, np.uint8) for size in range(1, _CACHED_BYTES) for _ in range(_CACHED_PIECES)]
    for piece in held:
        piece.fill(0)
    del held
    if hasattr(_libc, "malloc_trim"):
        _libc.malloc_trim(ctypes.c_size_t(0))


def hide() -> bool:
    """No core dump, no debugger of another process of the same user; whether all memory is now locked, not the ring alone.

    Locking all takes the right to lock without limit (CAP_IPC_LOCK, LimitMEMLOCK=infinity).
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_DUMPABLE)")
    unlimited = os.geteuid() == 0 or resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY
    return unlimited and _libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT) == 0
