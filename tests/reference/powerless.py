"""What may be on a disk after its power failed: a record of system calls, replayed with what was not flushed dropped in parts.

A write, a cut and a name (made, moved, removed) is sure to be there from the fsync(2) or fdatasync(2) of its file, or of its
folder, on; until then it may be there or not, whatever else is, and of a write only the first half may be. That is less than any
file system with a journal keeps. Folders themselves are taken to be there. Pillai et al., "All File Systems Are Not Created
Equal" (ALICE), OSDI 2014.
"""

import random
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from reference.patience import PATIENCE_S

CALLS = (
    "openat,open,creat,write,pwrite64,pwritev,writev,ftruncate,truncate,rename,renameat,renameat2,unlink,unlinkat,link,linkat,"
    "fsync,fdatasync,close,lseek,dup,dup2,fallocate,copy_file_range,sendfile"
)
_LINE = re.compile(r"^(?:\d+\s+)?(\w+)\((.*)\)\s+= (-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


def record(command, log):
    """Run a command; its calls as (name, texts, the rest of the arguments split at commas, result), in order."""
    strace = ["strace", "-f", "--seccomp-bpf", "-xx", "-s", "4000000", "-e", f"trace={CALLS}", "-e", "signal=none", "-o", log]
    subprocess.run([*map(str, strace), *map(str, command)], check=True, timeout=PATIENCE_S, stdout=subprocess.DEVNULL)
    found = []
    with open(log) as lines:
        for line in lines:
            if "resumed" in line or "unfinished" in line:
                raise ValueError(f"threads are not told apart: {line[:100]}")
            if match := _LINE.match(line):
                name, arguments, result = match.groups()
                texts = [bytes.fromhex(text.replace("\\x", "")) for text, _ in _TEXT.findall(arguments)]
                assert not any(cut for _, cut in _TEXT.findall(arguments))
                found.append((name, texts, [one.strip() for one in _TEXT.sub("", arguments).split(",")], int(result)))
    return found


@dataclass
class _File:
    """sure: its flushed bytes. pending: (at, bytes) written, or (size, None) cut since."""

    sure: bytes = b""
    pending: list = field(default_factory=list)


@dataclass
class Disk:
    """Files beneath one folder.

    sure: flushed names. pending: (folder, what, name, ...) since; now: names as a process sees them.
    """

    root: Path
    files: list = field(default_factory=list)
    sure: dict = field(default_factory=dict)
    now: dict = field(default_factory=dict)
    pending: list = field(default_factory=list)
    handles: dict = field(default_factory=dict)  # of files: [file, position]; of folders: path

    @classmethod
    def of(cls, root):
        """What is beneath a folder now is flushed."""
        disk = cls(root)
        for path in sorted(root.rglob("*")):
            if path.is_file():
                disk.files.append(_File(path.read_bytes()))
                disk.sure[str(path)] = len(disk.files) - 1
        disk.now = dict(disk.sure)
        return disk

    def inside(self, path):
        return path.startswith(f"{self.root}/") or path == str(self.root)

    def take(self, name, texts, rest, result):
        """One call; whether it changed anything."""
        if result < 0:
            return False
        if name == "openat":
            return self._open(texts[0].decode(), rest[2] if len(rest) > 2 else "", result)
        if name in ("rename", "unlink"):
            paths = [text.decode() for text in texts]
            if not any(map(self.inside, paths)):
                return False
            number = self.now.pop(paths[0])
            if name == "rename":
                self.now[paths[1]] = number
                assert Path(paths[0]).parent == Path(paths[1]).parent, "between folders a name may be in both"
            self.pending.append((str(Path(paths[0]).parent), name, *paths, number))
            return True
        handle = int(rest[0].split("<")[0]) if rest[0].lstrip("-").isdigit() else None
        if name == "close":
            self.handles.pop(handle, None)
            return False
        held = self.handles.get(handle)
        if held is None:
            return False
        if isinstance(held, str):
            if name in ("fsync", "fdatasync"):
                self._flush_folder(held)
            return False
        file = self.files[held[0]]
        if name == "lseek":
            held[1] = result
        elif name == "write":
            file.pending.append((held[1], texts[0][:result]))
            held[1] += result
        elif name == "pwrite64":
            file.pending.append((int(rest[-1]), texts[0][:result]))
        elif name == "ftruncate":
            file.pending.append((int(rest[-1]), None))
        elif name in ("fsync", "fdatasync"):
            file.sure, file.pending = _written(file.sure, file.pending), []
            return False
        else:
            raise ValueError(f"{name} on a file beneath {self.root}: not known here")
        return name != "lseek"

    def _open(self, path, flags, handle):
        if not self.inside(path):
            return False
        if "O_DIRECTORY" in flags or Path(path).is_dir() or path == str(self.root):
            self.handles[handle] = path
            return False
        made = path not in self.now
        if made:
            assert "O_CREAT" in flags, path
            self.files.append(_File())
            self.now[path] = len(self.files) - 1
            self.pending.append((str(Path(path).parent), "make", path, self.now[path]))
        elif "O_TRUNC" in flags:
            self.files[self.now[path]].pending.append((0, None))
        self.handles[handle] = [self.now[path], 0]
        return made or "O_TRUNC" in flags

    def _flush_folder(self, folder):
        mine = [one for one in self.pending if one[0] == folder]
        self.pending = [one for one in self.pending if one[0] != folder]
        self.sure = _named(self.sure, mine)

    def unsure(self):
        """How many things may be there or not."""
        return len(self.pending) + sum(len(file.pending) for file in self.files)

    def after(self, chosen):
        """Path to bytes after the power failed.

        chosen: of each unsure thing, in a fixed order: 0 lost, 1 there, 2 a half of it.
        """
        chosen = iter(chosen)
        names = _named(self.sure, [one for one in self.pending if next(chosen)])
        contents = []
        for file in self.files:
            kept = []
            for (at, data), how in [(one, next(chosen)) for one in file.pending]:
                if how:
                    kept.append((at, data if data is None or how == 1 else data[: len(data) // 2]))
            contents.append(_written(file.sure, kept))
        return {path: contents[number] for path, number in names.items()}

    def possible(self, chance, some):
        """What to try: all lost, all there, each alone lost or there, and `some` at random."""
        count = self.unsure()
        tries = [[0] * count, [1] * count]
        for n in range(count):
            tries += [[0] * n + [1] + [0] * (count - n - 1), [1] * n + [0] + [1] * (count - n - 1)]
        chance.shuffle(tries)
        tries = [*tries[:some], [0] * count, [1] * count]
        return tries + [[chance.choice((0, 1, 1, 2)) for _ in range(count)] for _ in range(some)]


def _written(data, writes):
    made = bytearray(data)
    for at, piece in writes:
        if piece is None:
            del made[at:]
            made.extend(bytes(at - len(made)))
        else:
            made.extend(bytes(max(0, at - len(made))))
            made[at : at + len(piece)] = piece
    return bytes(made)


def _named(names, operations):
    names = dict(names)
    for _, what, path, *more in operations:
        if what == "make":
            names[path] = more[-1]
        elif names.get(path) == more[-1] or what == "rename":
            names.pop(path, None)
            if what == "rename":
                names[more[0]] = more[-1]
    return names


def failures(calls, disk, is_done, chance, some):
    """After each call: (number of the call, whether it had been told that all was done, path to bytes), each state once."""
    seen, done = set(), False
    for number, call in enumerate(calls):
        changed = disk.take(*call)
        told = not done and is_done(call)
        done = done or told
        if not changed and not told and number + 1 < len(calls):
            continue
        for chosen in disk.possible(chance, some):
            state = disk.after(chosen)
            mark = (done, hash(tuple(sorted(state.items()))))
            if mark not in seen:
                seen.add(mark)
                yield number, done, state


def chance(seed):
    return random.Random(seed)
