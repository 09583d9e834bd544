"""The sandbox: what a process may no longer do once it listens. Each attempt succeeds where there is no sandbox."""

import json
import subprocess
import sys

import pytest

from reference.patience import PATIENCE_S

ATTEMPTS = """
import ctypes, errno, json, mmap, os, socket, subprocess, sys, threading
from pathlib import Path

from farfield.capture import sandbox

inside, outside, is_held = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3] == "held"
libc = ctypes.CDLL(None, use_errno=True)
server = socket.socket()
server.bind(("127.0.0.1", 0))
server.listen()
unix = socket.socket(socket.AF_UNIX)
unix.bind(str(outside / "socket"))
held = open(outside / "file", "r+b")


def call(name, *arguments):
    library = ctypes.CDLL("libseccomp.so.2")
    number = library.seccomp_syscall_resolve_name(name.encode())
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


def shared_memory():
    segment = libc.shmget(0, 4096, 0o1600)
    if segment < 0:
        raise OSError(ctypes.get_errno(), "shmget")
    libc.shmctl(segment, 0, None)


def in_a_thread(what):
    raised = []

    def run():
        try:
            what()
        except OSError as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


attempts = {
    "make a file": lambda: open(outside / "new", "w"),
    "make a file in a thread": lambda: in_a_thread(lambda: open(outside / "thread", "w")),
    "write a file that is there": lambda: open(outside / "file", "r+b"),
    "truncate a file": lambda: os.truncate(outside / "file", 1),
    "make a file in /tmp": lambda: os.close(os.open("/tmp", os.O_TMPFILE | os.O_RDWR)),
    "make a file in /dev/shm": lambda: os.close(os.open("/dev/shm", os.O_TMPFILE | os.O_RDWR)),
    "make a folder": lambda: os.mkdir(outside / "folder"),
    "make a pipe": lambda: os.mkfifo(outside / "pipe"),
    "link": lambda: os.link(inside / "mine", outside / "link"),
    "symbolic link": lambda: os.symlink("secret", outside / "symbolic"),
    "rename out of the store": lambda: os.rename(inside / "other", outside / "moved"),
    "remove a file": lambda: os.remove(outside / "doomed"),
    "an internet socket": lambda: socket.socket().connect(server.getsockname()),
    "a datagram": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("127.0.0.1", 9)),
    "a Unix socket": lambda: socket.socket(socket.AF_UNIX),
    "a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "a memory file": lambda: os.close(os.memfd_create("x")),
    "shared memory": shared_memory,
    "a program": lambda: subprocess.run(["/bin/true"], check=True),
    "a program in its place": lambda: os.execv(sys.executable, [sys.executable, "-c", "print('{}')"]) if is_held else None,
    "another process's memory": lambda: call("process_vm_writev", os.getpid(), None, 0, None, 0, 0),
    "io_uring": lambda: call("io_uring_setup", 1, ctypes.create_string_buffer(120)),
}
allowed = {
    "make a file in the store": lambda: open(inside / "new", "w"),
    "rename within the store": lambda: os.rename(inside / "mine", inside / "renamed"),
    "remove a file of the store": lambda: os.remove(inside / "doomed"),
    "read a file": lambda: open(outside / "file").read(),
    "write what was open before": lambda: held.write(b"x"),
    "a thread": lambda: in_a_thread(lambda: None),
    "anonymous memory": lambda: mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close(),
}
why_not = [sandbox.landlock(inside), sandbox.seccomp()] if is_held else []
told = {}
for name, attempt in (attempts | allowed).items():
    try:
        attempt()
        told[name] = "done"
    except OSError as error:
        told[name] = errno.errorcode[error.errno]
split = {kind: {name: told[name] for name in names} for kind, names in (("refused", attempts), ("allowed", allowed))}
print(json.dumps({"why_not": why_not} | split))
"""


@pytest.fixture
def attempted(tmp_path):
    """What came of each attempt, in a process with or without the sandbox."""

    def attempted_(held):
        for folder, names in (("inside", ("mine", "other", "doomed")), ("outside", ("file", "doomed"))):
            (tmp_path / folder).mkdir()
            for name in names:
                (tmp_path / folder / name).write_text("there")
        command = [sys.executable, "-W", "ignore", "-c", ATTEMPTS, tmp_path / "inside", tmp_path / "outside", held]
        ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=PATIENCE_S)
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout), {path.name for path in (tmp_path / "outside").iterdir()}

    return attempted_


def test_what_would_let_sound_out_is_refused(attempted):
    told, left = attempted("held")
    if any(told["why_not"]):
        pytest.skip(f"not all of the sandbox can be had here: {told['why_not']}")
    refused = {name: said for name, said in told["refused"].items() if said in ("EACCES", "EPERM", "EXDEV")}
    assert refused == told["refused"]
    assert set(told["allowed"].values()) == {"done"}, told["allowed"]
    assert left == {"file", "doomed", "socket"}


def test_without_the_sandbox_each_attempt_succeeds(attempted):
    """So that a refusal says something: but for what this kernel does not have, or does not let anybody do."""
    told, left = attempted("free")
    here = {name: said for name, said in told["refused"].items() if said != "done"}
    assert set(here) <= {"io_uring", "another process's memory", "a memory file", "shared memory"}, here
    assert {"new", "thread", "folder", "pipe", "link", "symbolic", "moved"} <= left and "doomed" not in left
