"""What goes wrong around a store: disks that are full, failing or read-only, processes that die, memory, formats, threads."""

import errno
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from farfield.errors import InputError
from farfield.store import Settings, Store, audit
from farfield.store.records import Records
from farfield.store.utterance import sealed_path
from reference.keeping import OPENING, OWNER, AtOnce, keep, leaves, make_store, marked, mismatches
from reference.patience import PATIENCE_S

FAULTS = {"write": ("os.write", 0), "middle of write": ("os.write", 2), "fsync": ("os.fsync", 0), "rename": ("os.rename", 0)}


@pytest.mark.parametrize(("name", "after"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_fails_keeps_nothing_says_so_and_goes_on(tmp_path, monkeypatch, name, after, number):
    store, _ = make_store(tmp_path)
    real, calls = getattr(os, name.removeprefix("os.")), []

    def failing(*arguments, **named):
        calls.append(name)
        if len(calls) > after:
            raise OSError(number, os.strerror(number))
        return real(*arguments, **named)

    with monkeypatch.context() as patched:
        patched.setattr(name, failing)
        assert keep(store, marked(14)) == ""
        assert os.strerror(number) in store.why_not and len(calls) > after
    assert mismatches(store) == [] and store.utterances() == [] and audit.verify(store)[1] == []
    assert keep(store, marked(15)) and store.why_not is None, "it goes on where the disk does"


SMALL_DISK = """
import sys
from pathlib import Path
sys.path[:0] = {path!r}
from reference.keeping import OPENING, keep, make_store, marked, mismatches
from farfield.store import audit
import os, subprocess
disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk], check=True)
store, clock = make_store(disk / "store")
kept = []
while store.why_not is None:
    kept.append(keep(store, marked(len(kept), 2.0)))
    assert len(kept) < 20
print("full:", len(kept) - 1, kept[-1] == "", store.why_not)
(disk / "filler").write_bytes(b"x" * 1)
assert mismatches(store) == [] and audit.verify(store)[1] == [], mismatches(store)
store.delete([kept[0]])
assert keep(store, marked(1, 0.5))
subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
print("read-only:", keep(store, marked(2)) == "", store.why_not)
sealing = None
subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
print("again:", bool(keep(store, marked(3, 0.1))), store.why_not)
"""


def test_a_real_disk_that_is_full_and_then_read_only(tmp_path):
    """In a mount namespace of its own, where the system allows one."""
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode:
        pytest.skip("needs user namespaces")
    script = SMALL_DISK.format(path=[p for p in sys.path if p])
    ran = subprocess.run(
        ["unshare", "-Urm", sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert ran.returncode == 0, ran.stderr
    full, read_only, again = ran.stdout.splitlines()
    assert full.startswith("full:") and "True" in full and ("No space left" in full or "full" in full.split("True")[1])
    assert read_only.startswith("read-only: True") and "Read-only" in read_only
    assert again == "again: True None"


def test_what_a_dead_process_left_is_destroyed_and_what_a_living_one_writes_is_not(tmp_path):
    store, _ = make_store(tmp_path)
    kept = keep(store, marked(16))
    living = store.begin(OPENING)
    living.write(marked(17))
    store.writer.submit(int).result()  # its file is there, which the store's thread makes
    (tmp_path / "sealed" / "dead.partial").write_bytes(b"begun")
    (tmp_path / "sealed" / "orphan.sealed").write_bytes(b"no record")
    assert len(mismatches(store)) == 3
    other = Store(tmp_path)
    assert [one.id for one in other.utterances()] == [kept]
    assert len(mismatches(store)) == 1, "the one that is being written"
    assert living.finish(20_000).result() and mismatches(store) == []
    sealed_path(tmp_path, kept).unlink()
    assert len(mismatches(store)) == 1
    store.expire()
    assert mismatches(store) == [] and leaves(store)[-1]["why"] == "lost" and audit.verify(store)[1] == []


HOLDER = """
import fcntl, os, sys
handle = os.open(sys.argv[1], os.O_RDWR)
fcntl.flock(handle, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


def test_a_command_that_stopped_in_the_store_does_not_hold_up_who_listens(tmp_path):
    """It is told in a line instead, and what was being said then is not kept."""
    make_store(tmp_path)
    listening = Store(tmp_path, wait_s=0.05)
    sealing = listening.begin(OPENING)
    command, pipe = [sys.executable, "-c", HOLDER, tmp_path / "lock"], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe) as other:
        assert other.stdout.readline() == b"held\n"
        begun = time.monotonic()
        assert sealing.finish(20_000).result() == "" and "in use by another command" in listening.why_not
        assert listening.begin(OPENING) is None and time.monotonic() - begun < 5
        other.stdin.close()
    assert keep(listening, marked(1)) and mismatches(listening) == []


def test_several_threads_keep_and_delete_at_once(tmp_path):
    store, _ = make_store(tmp_path)
    kept, deleted = [], []

    def run(seed):
        here = store if seed % 2 else Store(tmp_path)
        for n in range(5):
            kept.append(keep(here, marked(10 * seed + n, 0.05)))
            if n % 2:
                deleted.append(kept[-1])
                here.delete([deleted[-1]])

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert "" not in kept and {one.id for one in store.utterances()} == set(kept) - set(deleted)
    assert mismatches(store) == [] and audit.verify(store)[1] == []


def test_sealed_sound_goes_even_where_the_journal_could_not_be_cleared_first(tmp_path, monkeypatch):
    """The keys are gone by then; the next change destroys what is left."""
    store, _ = make_store(tmp_path)
    gone = keep(store, marked(18))

    def busy(*_):
        raise InputError("another program has it open")

    with monkeypatch.context() as patched:
        patched.setattr("farfield.store.records.Records._leave_nothing", busy)
        with pytest.raises(InputError, match="has it open"):
            store.delete([gone])
    assert sealed_path(tmp_path, gone).exists()
    assert store.utterances() == [] and not sealed_path(tmp_path, gone).exists() and mismatches(store) == []


def test_a_disk_that_fails_where_an_utterance_begins_leaves_neither_key_nor_file(tmp_path, monkeypatch):
    store, _ = make_store(tmp_path)
    ended = []

    def full(*_):
        raise OSError(errno.ENOSPC, "no room")

    with monkeypatch.context() as patched:
        patched.setattr("farfield.store.sealing._Unfinished.make", full)
        patched.setattr("farfield.store.sealed.Sealer.destroy", lambda self: ended.append(self))
        sealing = store.begin(OPENING)
        sealing.write(marked(1))
        assert sealing.finish(20_000).result() == "" and sealing.why_not == store.why_not == "no room"
    assert len(ended) == 1 and list((tmp_path / "sealed").iterdir()) == []


DISK = ((os, "write"), (os, "fsync"), (os, "rename"), (Path, "unlink"), (Records, "change"))


def told(real, callers):
    def noted(*arguments, **named):
        callers.add(threading.current_thread())
        return real(*arguments, **named)

    return noted


def who_touches_the_disk(store, monkeypatch):
    """The threads that call what may wait for the disk, while an utterance is kept and the next begins."""
    callers = set()
    with monkeypatch.context() as patched:
        for owner, name in DISK:
            patched.setattr(owner, name, told(getattr(owner, name), callers))
        assert keep(store, marked(1)) and keep(store, marked(2))
    return callers


def test_who_listens_waits_for_no_disk(tmp_path, monkeypatch):
    """All of it is done by one other thread; a store that does it at once is found."""
    store, _ = make_store(tmp_path / "store")
    callers = who_touches_the_disk(store, monkeypatch)
    assert len(callers) == 1 and threading.current_thread() not in callers
    at_once = Store(tmp_path / "store", writer=AtOnce())
    assert who_touches_the_disk(at_once, monkeypatch) == {threading.current_thread()}


def test_a_word_while_the_last_utterance_waits_for_the_disk_is_kept_too(tmp_path, monkeypatch):
    """It begins at once, however long the disk takes; what was consented to is known from whoever is in the store."""
    store, _ = make_store(tmp_path)
    goes_on, waits, real = threading.Event(), threading.Event(), os.rename

    def slow(*paths):
        waits.set()
        assert goes_on.wait(PATIENCE_S)
        real(*paths)

    with monkeypatch.context() as patched:
        patched.setattr(os, "rename", slow)
        first = store.begin(OPENING)
        first.write(marked(1))
        ending = first.finish(20_000)
        assert waits.wait(PATIENCE_S)
        second = store.begin(OPENING)
        second.write(marked(2))
        assert not ending.done() and second is not None
        goes_on.set()
        kept = [ending.result(), second.finish(20_000).result()]
    assert [one.id for one in store.utterances()] == kept and mismatches(store) == []


def test_a_withdrawal_beside_an_utterance_that_waits_is_for_the_next_too(tmp_path, monkeypatch):
    """The next began by what was consented to when the last one was recorded; it ends by what is."""
    store, _ = make_store(tmp_path)
    first = store.begin(OPENING)
    first.write(marked(1))
    with store.keeping():
        second = store.begin(OPENING)
    assert second is not None and first.finish(20_000).result()
    Store(tmp_path).withdraw(["store"])
    assert second.finish(20_000).result() == "" and "withdrawn" in second.why_not
    assert store.utterances() == [] and mismatches(store) == []


def test_memory_that_may_not_be_locked_keeps_nothing_and_says_so(tmp_path, monkeypatch):
    def denied(size):
        raise InputError(f"memory: {size} bytes for sound cannot be locked")

    store, _ = make_store(tmp_path)
    monkeypatch.setattr("farfield.capture.memory.locked", denied)
    assert keep(store, marked(1)) == "" and "cannot be locked" in store.why_not
    assert list((tmp_path / "sealed").iterdir()) == []


def test_a_store_that_lost_its_secrets_gets_no_others(tmp_path):
    store, _ = make_store(tmp_path)
    settings = store.settings()
    (tmp_path / "device.key").unlink()
    with pytest.raises(InputError, match="is missing; nothing"):
        Store.set_up(tmp_path, settings)
    assert not (tmp_path / "device.key").exists()


def test_a_store_of_another_format_is_left_alone(tmp_path):
    store, _ = make_store(tmp_path)
    with store._records._open() as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(InputError, match="format 99; wanted 1"):
        store.utterances()


def test_a_folder_that_is_no_store_and_a_clock_without_a_zone_are_refused(tmp_path):
    from datetime import datetime

    with pytest.raises(InputError, match="is no store; set one up with"):
        Store(tmp_path)
    make_store(tmp_path)
    with pytest.raises(TypeError, match="without a zone"):
        Store(tmp_path, clock=lambda: datetime(2026, 1, 1)).utterances()
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be set up"):
        Store.set_up(tmp_path / "file", Settings(OWNER.public_key()))
