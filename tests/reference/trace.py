"""What a process gave away, by the system calls that strace saw: every string that any call was handed, and what it mapped.

All calls are traced but those that take data in or wait (TAKES): so that a way out which nobody thought of is seen too.
"""

import re
from collections import defaultdict
from dataclasses import dataclass, field

TAKES = (
    "read", "pread64", "readv", "preadv", "preadv2", "recvfrom", "recvmsg", "recvmmsg", "poll", "ppoll", "select", "pselect6",
    "epoll_wait", "epoll_pwait", "futex", "clock_gettime", "gettimeofday", "getrandom", "brk", "munmap", "madvise", "mprotect",
    "rt_sigaction", "rt_sigprocmask", "sched_yield", "clock_nanosleep", "newfstatat", "fstat", "lseek", "getdents64",
    "readlink", "readlinkat",
)  # fmt: skip
# Ways by which data leaves without any call being handed it.
UNSEEN = ("splice", "tee", "vmsplice", "sendfile", "copy_file_range", "process_vm_writev", "process_vm_readv", "io_uring_setup",
          "io_uring_enter", "memfd_create", "memfd_secret", "shmget", "shmat", "ptrace", "fork", "vfork", "execve", "execveat",
          "remap_file_pages", "userfaultfd", "io_submit")  # fmt: skip
_LINE = re.compile(r"^(?P<at>\d+\.\d+) (?P<call>\w+)\((?P<rest>.*)$")
_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


def command(folder):
    """The words before a command that has it traced, a file for each thread in the folder."""
    return ("strace", "-ff", "-qq", "--seccomp-bpf", "-ttt", "-xx", "-s", "4000000", "-e", "signal=none",
            "-e", f"trace=!{','.join(TAKES)}", "-o", str(folder / "trace"))  # fmt: skip


@dataclass
class Trace:
    """streams: bytes by (thread, call, first argument), in order. suspect: lines that gave away what strings cannot tell."""

    streams: dict = field(default_factory=lambda: defaultdict(bytearray))
    suspect: list = field(default_factory=list)

    def amount(self, besides=()):
        """Bytes handed over, but for those of these (call, first argument)."""
        return sum(len(data) for (_, call, first), data in self.streams.items() if (call, first) not in besides)


def read(folder, begins, ends):
    """What happened after the call that was handed `begins`, up to the one that was handed `ends`."""
    lines = []
    for path in folder.glob("trace.*"):
        with open(path) as file:
            lines += [(path.suffix, found) for line in file if (found := _LINE.match(line))]
    lines.sort(key=lambda one: float(one[1]["at"]))
    trace, inside = Trace(), False
    for thread, line in lines:
        handed = b"".join(bytes.fromhex(text.replace("\\x", "")) for text in _STRING.findall(line["rest"]))
        if inside and ends in handed:
            return trace
        if inside:
            first = re.split(r"[,)]", line["rest"], maxsplit=1)[0]
            if line["call"].startswith("open") and "O_RDONLY" in line["rest"]:
                first = "to read"
            trace.streams[thread, line["call"], first] += handed
            shared = line["call"] == "mmap" and "MAP_SHARED" in line["rest"] and "PROT_WRITE" in line["rest"]
            forked = line["call"] in ("clone", "clone3") and "CLONE_THREAD" not in line["rest"]
            if shared or forked or line["call"] in UNSEEN:
                trace.suspect.append(line[0])
        inside = inside or begins in handed
    raise AssertionError(f"no call was handed {ends if inside else begins!r}; {len(lines)} were traced")
