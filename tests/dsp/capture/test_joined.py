"""`farfield listen --store` on the demo room: what is kept is what the chain made, sealed; without consent nothing is written."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import soundfile

from farfield import Chain, FileSource, load_model, load_profile
from farfield.errors import InputError
from farfield.hil import demo_room
from farfield.store import Store, audit
from farfield.store.retention import Retention
from reference.keeping import OWNER, REVIEWERS, Clock, files, keep, make_store, marked, mismatches, traces
from reference.patience import PATIENCE_S
from reference.unchanged import state

SECONDS = 4  # of the demo room: a word, a question, and the pause that ends it


@pytest.fixture
def room(tmp_path):
    """The demo room's beginning."""
    folder = tmp_path / "room"
    folder.mkdir()
    for name in ("mics.flac", "ref.flac"):
        samples, rate = soundfile.read(demo_room() / name, dtype="int16")
        soundfile.write(folder / name, samples[: SECONDS * rate], rate)
    (folder / "room.toml").write_text('profile = "respeaker-4mic"\n')
    return folder


def listened(room, store):
    """The objects that it printed by their type, and its stderr, of a run in which no sample was lost.

    The board's clock does not wait for a machine that is busy. store: makes a store, and gives its folder.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FARFIELD_")}
    for _ in range(4):
        command = [sys.executable, "-m", "farfield.cli", "listen", "--board-simulated", room, "--store", store(), "--json"]
        ran = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=PATIENCE_S)
        assert ran.returncode == 0, ran.stderr
        said = [json.loads(line) for line in ran.stdout.splitlines()]
        told = {kind: [one for one in said if one["type"] == kind] for kind in ("heard", "utterance", "state", "end")}
        if not told["end"][0]["missing_samples"]:
            return told, ran.stderr
    raise AssertionError(f"samples were lost four times: {told['end']}")


def wait_for(something):
    """Until what it gives is not empty."""
    until = time.monotonic() + PATIENCE_S
    while not list(something()):
        assert time.monotonic() < until, "it never came"
        time.sleep(0.01)


def beams_of(room):
    """What the chain makes of the room, in one piece: the whole of every beam, from sample 0, and where the beams look."""
    layout = load_profile("respeaker-4mic")
    source = FileSource(room / "mics.flac", layout, room / "ref.flac", frames=1_000)
    chain = Chain(layout, [load_model("alexa")], references=source.references)
    frames = []
    for block in source.blocks():
        chain.process(block)
        frames.append(chain.frame)
    assert frames[0].index == 0
    return np.concatenate([frame.beams for frame in frames]), np.array(chain.frontend.beam_azimuths_deg)


def test_with_consent_the_owners_key_opens_what_the_chain_made(room, tmp_path):
    """Sample by sample. Nobody else's key does, nothing plain is on the disk, and what was past its retention is gone."""
    old = []

    def made():
        store, _ = make_store(tmp_path / f"store{len(old)}", Clock(datetime(2020, 1, 1, tzinfo=UTC)))
        old.append(keep(store, marked(5)))
        return store.folder

    said, _ = listened(room, made)
    folder = tmp_path / f"store{len(old) - 1}"
    (told,), (heard,) = said["utterance"], said["heard"]
    assert [state["state"] for state in said["state"]] == ["listening", "heard", "capturing", "listening", "stopped"]
    again = Store(folder)
    assert [one.id for one in again.utterances()] == [told["kept"]] != old[-1:]
    samples, known = again.read(told["kept"], OWNER)
    beams, azimuths = beams_of(room)
    nearest = np.argmin(np.abs((azimuths - heard["direction_deg"] + 180) % 360 - 180))
    assert told["start"] <= told["word_start"] < told["word_end"] < told["kept_end"] <= told["end"]
    assert np.array_equal(samples, beams[told["start"] : told["kept_end"], nearest])
    wanted = {"word": "alexa", "start": told["start"], "end": told["kept_end"], "samples": told["kept_end"] - told["start"],
              "word_start": told["word_start"] - told["start"], "word_end": told["word_end"] - told["start"]}  # fmt: skip
    assert {name: known[name] for name in wanted} == wanted
    with pytest.raises(InputError, match="does not open"):
        again.read(told["kept"], REVIEWERS)
    assert traces(folder, samples) == [] and mismatches(again) == [] and audit.verify(again)[1] == []
    (folder / "planted.raw").write_bytes(samples.astype("<i2").tobytes())
    assert ("planted.raw", "<i2") in traces(folder, samples), "the search finds what is there"


def test_without_consent_nothing_is_written(room, tmp_path):
    """No file, and no record of the store, is another; what was heard is told."""
    make_store(tmp_path / "store", consents=())
    before, there = state(tmp_path / "store"), files(tmp_path)
    said, stderr = listened(room, lambda: tmp_path / "store")
    assert len(said["heard"]) == 1 and said["utterance"][0]["kept"] is None
    assert "there is no consent to store" in stderr
    assert "capturing" not in [state["state"] for state in said["state"]]
    assert (state(tmp_path / "store"), files(tmp_path)) == (before, there)


def test_mute_destroys_the_utterance_that_is_being_kept(listening, layout, waking_model, tmp_path):
    """Whoever mutes does not want it kept; what was sealed so far is gone, and so is its key."""
    one = load_model(waking_model)
    replace(one, refractory_ms=60_000).save(waking_model)  # another word would end the utterance before the mute
    store, _ = make_store(tmp_path / "store")
    asked = "--profile", layout(1, 0), "--model", waking_model, "--store", tmp_path / "store"
    with listening((1, 0), *asked) as run:
        run.until('"state": "capturing"')
        wait_for((tmp_path / "store" / "sealed").iterdir)  # the store's writer makes the file, on a thread of its own
        run.send(signal.SIGUSR1)
        told = json.loads(run.until('"type": "utterance"'))
        run.until('"muted"')
        assert not list((tmp_path / "store" / "sealed").iterdir())
    assert (told["reason"], told["kept"], told["kept_end"]) == ("muted", None, None)
    assert store.utterances() == [] and audit.verify(store)[1] == []


def test_a_folder_that_is_no_store_is_refused_before_anything_is_heard(room, tmp_path):
    command = [sys.executable, "-m", "farfield.cli", "listen", "--board-simulated", str(room), "--store", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.splitlines()[-1] == f"farfield: {tmp_path}: is no store; set one up with: farfield store setup {tmp_path}"


SMALL_DISK = """
import subprocess, sys
from pathlib import Path
sys.path[:0] = {path!r}
from farfield import Chain, FileSource, load_model, load_profile
from farfield.capture.listener import Listener
from farfield.store import audit
from reference.keeping import make_store, mismatches
disk, room = Path(sys.argv[1]), Path(sys.argv[2])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", disk], check=True)
store, _ = make_store(disk / "store")
layout = load_profile("respeaker-4mic")
source = FileSource(room / "mics.flac", layout, room / "ref.flac")

def heard(what):
    notes, ended = [], []
    chain = Chain(layout, [load_model("alexa")], references=source.references)
    with Listener(chain, store, note=notes.append, ended=ended.append) as listener:
        events = [event for block in source.blocks() for event in listener.process(block)]
    print(what, len(events), len(ended), bool(ended[0].kept), "|".join(notes))

heard("room")
(disk / "filler").write_bytes(b"x" * (subprocess.os.statvfs(disk).f_bavail * 4096 - 24_000))
heard("full")
assert mismatches(store) == [] and len(store.utterances()) == 1
(disk / "filler").unlink()
subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
heard("read-only")
subprocess.run(["mount", "-o", "remount,rw", disk], check=True)
heard("again")
assert mismatches(store) == [] and len(store.utterances()) == 2 and audit.verify(store)[1] == []
"""


def test_on_a_disk_that_is_full_or_read_only_it_says_so_and_goes_on_detecting(room, tmp_path):
    """The listener on a real disk that fills in the middle of an utterance: in a mount namespace, where there may be one."""
    if subprocess.run(["unshare", "-Urm", "true"], capture_output=True).returncode:
        pytest.skip("needs user namespaces")
    (tmp_path / "disk").mkdir()
    script = SMALL_DISK.format(path=[path for path in sys.path if path])
    command = ["unshare", "-Urm", sys.executable, "-c", script, tmp_path / "disk", room]
    ran = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=PATIENCE_S)
    assert ran.returncode == 0, ran.stderr
    there, full, read_only, again = ran.stdout.splitlines()
    assert there == "room 1 1 True " and again == "again 1 1 True "
    assert full.startswith("full 1 1 False ") and ("No space left" in full or "disk is full" in full), full
    assert read_only.startswith("read-only 1 1 False ") and "Read-only" in read_only, read_only


class Watched:
    """A store whose expiry tells that it is over, and may be made to fail."""

    def __init__(self, store):
        self.store, self.fails = store, False
        self.done, self.failed = threading.Semaphore(0), threading.Semaphore(0)

    def expire(self):
        try:
            if self.fails:
                self.failed.release()
                raise InputError("disk: cannot be used")
            self.store.expire()
        finally:
            self.done.release()


def test_retention_is_kept_while_the_service_runs(tmp_path):
    """At once, and then again and again; a disk that fails is told once, and tried again."""
    store, clock = make_store(tmp_path, retention_days=1)
    keep(store, marked(1))
    clock.go(days=2)
    watched, notes = Watched(store), []
    with Retention(watched, notes.append, every_s=0.01):
        assert store.utterances() == []
        keep(store, marked(2))
        watched.fails = True
        for _ in range(4):
            assert watched.failed.acquire(timeout=PATIENCE_S)
        assert store.utterances() and notes == ["retention: disk: cannot be used"]
        clock.go(days=2)
        watched.fails = False
        while store.utterances():
            assert watched.done.acquire(timeout=PATIENCE_S)
    assert Path(tmp_path / "sealed").is_dir() and not list((tmp_path / "sealed").iterdir())
    assert not any(thread.name == "retention" for thread in threading.enumerate())
