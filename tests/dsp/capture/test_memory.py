"""The listener's memory after stop, mute and reject: no piece of the marked sound; what is planted there is found."""

import ctypes
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from farfield.capture import memory
from farfield.errors import InputError
from farfield.history import heard
from reference import marked
from reference.keeping import make_store

LONG = os.environ.get("FARFIELD_LONG") == "1"
long = pytest.mark.skipif(not LONG, reason="more of the same kind; set FARFIELD_LONG=1 to run it")

MOST_MS = 80
ARRAY = 2, 1  # microphones and references: every stage of the front end has something to hold
SUPPRESSED = "suppress_echo = true\nsuppress_noise = true\n"
EVERY = SUPPRESSED + "dereverberate = true\nadaptive = true\ndry_beam = true\nbest_microphone = true\n"
NEVER = "--model", "snowboy"  # a word that a buzz does not sound like


def after_mute_and_stop(run, shape):
    """The longest stretches: listening, muted, listening again, and stopped."""
    found = []
    run.until('"type": "listening"')
    run.heard_s(1.5)
    found.append(run.longest_ms(shape))
    run.send(signal.SIGUSR1)
    run.until('"muted"')
    found.append(run.longest_ms(shape))
    run.send(signal.SIGUSR2)
    run.until('"state": "listening"')
    run.heard_s(1.0)
    found.append(run.longest_ms(shape))
    run.send(signal.SIGTERM)
    run.until("over")
    found.append(run.longest_ms(shape))
    return found


@pytest.mark.parametrize(
    ("shape", "frames", "more"),
    [pytest.param((1, 0), 1024, "", marks=long), (ARRAY, 160, ""), pytest.param(ARRAY, 160, SUPPRESSED, marks=long)],
)
def test_after_mute_and_stop_nothing_is_left(listening, layout, shape, frames, more):
    """Not one mark of a millisecond; and the same search finds the sound while it is there. With the suppressor too."""
    with listening(shape, "--profile", layout(*shape, more), *NEVER, "--preroll-ms", 500, frames=frames) as run:
        before, muted, again, stopped = after_mute_and_stop(run, shape)
    assert before[0] > MOST_MS and again[0] > MOST_MS, (before, again)
    assert muted[0] == 0 and stopped[0] == 0, (muted, stopped)


@pytest.mark.parametrize(
    ("fault", "shape", "frames", "ms"),
    [
        ("ring-stays", (1, 0), 160, MOST_MS),
        ("chain-stays", ARRAY, 160, MOST_MS),
        pytest.param("keeps-blocks", ARRAY, 160, 5, marks=long),
        pytest.param("freed-stays", (1, 0), 1024, 5, marks=long),
    ],
)
def test_what_is_left_after_mute_is_found(listening, layout, fault, shape, frames, ms):
    """A ring that is not zeroed, an aligner that is not, blocks that somebody keeps, and an allocator that overwrites nothing."""
    with listening(shape, "--profile", layout(*shape), *NEVER, "--preroll-ms", 500, faults=fault, frames=frames) as run:
        run.until('"type": "listening"')
        run.heard_s(1.0)
        run.send(signal.SIGUSR1)
        run.until('"muted"')
        found = run.longest_ms(shape)
    assert found[0] > ms, found


def frames(run):
    """Of the marked sound, windowed, and their spectra, in its memory now."""
    with open(f"/proc/{run.pid}/mem", "rb") as memory, open(f"/proc/{run.pid}/maps") as maps:
        return marked.frames_in_memory(memory, maps.read())


@pytest.mark.parametrize(
    ("fault", "more"), [("none", ""), ("none", EVERY), pytest.param("chain-stays", "", marks=long), ("chain-stays", EVERY)]
)
def test_after_mute_and_stop_no_frames_are_left(listening, layout, fault, more):
    """Windowed, or their spectra: what the stages' transforms work on, whose levels and samples are not the sound's."""
    with listening(ARRAY, "--profile", layout(*ARRAY, more), *NEVER, "--preroll-ms", 500, faults=fault) as run:
        run.until('"type": "listening"')
        run.heard_s(1.5)
        run.longest_ms(ARRAY)  # skips where memory may not be looked into
        before = frames(run)
        run.send(signal.SIGUSR1)
        run.until('"muted"')
        muted = frames(run)
        run.send(signal.SIGTERM)
        run.until("over")
        stopped = frames(run)
    assert {kind for kind, _ in before} == {"windowed", "spectrum"}
    if fault == "none":
        assert not muted and not stopped, (muted, stopped)
    else:
        assert muted and stopped


@pytest.mark.parametrize("fault", ["none", "history-stays"])
def test_after_mute_and_stop_no_features_are_left(listening, layout, fault):
    """Nor what words might be guessed from: the marked sound's features and energies, which soon come again every 20 ms."""
    features, energies = heard(marked.sound(4)[:, 0].copy())
    assert (features[-4:-2] == features[-2:]).all() and (energies[-4:-2] == energies[-2:]).all()
    rows = {
        f"{name} {row}": made[row].tobytes()
        for name, made in (("features", features), ("energies", energies))
        for row in (-2, -1)
    }
    with listening((1, 0), "--profile", layout(1, 0), *NEVER, "--preroll-ms", 500, faults=fault) as run:
        run.until('"type": "listening"')
        run.heard_s(2.5)
        assert run.holding(rows) == set(rows)
        run.send(signal.SIGUSR1)
        run.until('"muted"')
        muted = run.holding(rows)
        run.send(signal.SIGTERM)
        run.until("over")
        stopped = run.holding(rows)
    if fault == "none":
        assert not muted and not stopped, (muted, stopped)
    else:
        assert muted == set(rows)


@pytest.mark.parametrize(
    ("fault", "shape", "more"),
    [
        pytest.param("none", (1, 0), "", marks=long),
        ("none", ARRAY, ""),
        pytest.param("none", ARRAY, SUPPRESSED, marks=long),
        pytest.param("ring-stays", (1, 0), "", marks=long),
        ("aligner-stays", ARRAY, ""),
    ],
)
def test_after_a_rejected_candidate_nothing_is_left(listening, layout, rejecting_model, fault, shape, more):
    """But for what is under way through the stages, which is shorter. Looked at right after each rejection."""
    with listening(shape, "--profile", layout(*shape, more), "--model", rejecting_model, "--preroll-ms", 500,
                   faults=f"pause-when-rejected,{fault}") as run:  # fmt: skip
        found = []
        for _ in range(10 if LONG else 3):
            run.until("rejected")
            found.append(run.longest_ms(shape))
            run.go_on()
    longest = max(found)
    print(f"{shape}, {fault}, {more!r}: longest after a rejection {longest[0]:.1f} ms, {longest[1]}")
    if fault == "none":
        assert longest[0] < MOST_MS, longest
    else:
        assert longest[0] > MOST_MS, longest


@pytest.mark.parametrize("fault", ["none", pytest.param("sealing-keeps", marks=long)])
def test_after_an_utterance_was_kept_nothing_is_left(listening, layout, waking_model, tmp_path, fault):
    """Stopped in the middle of an utterance that is sealed into a store: of what went through the cipher nothing stays either."""
    make_store(tmp_path / "store")
    asked = "--profile", layout(1, 0), "--model", waking_model, "--store", tmp_path / "store"
    with listening((1, 0), *asked, faults=fault) as run:
        run.until('"state": "capturing"')
        run.heard_s(2.0)
        run.send(signal.SIGTERM)
        kept = json.loads(run.until('"type": "utterance"'))
        run.until("over")
        found = run.longest_ms((1, 0))
    assert kept["kept"] and kept["kept_end"] - kept["start"] > 8_000
    assert (found[0] > MOST_MS) if fault != "none" else found[0] == 0, found


def test_the_ring_is_locked_and_left_out_of_core_dumps():
    """As the kernel says: locked, not dumped, not handed to children. An ordinary piece of memory is none of it."""
    held = memory.locked(100_000)
    address = ctypes.addressof(ctypes.c_char.from_buffer(held))
    flags = vm_flags(address)
    assert {"lo", "dd", "dc"} <= flags, flags
    assert not {"lo", "dd", "dc"} & vm_flags(np.zeros(1_000_000).ctypes.data)


def vm_flags(address):
    inside = False
    with open("/proc/self/smaps") as maps:
        for line in maps:
            first = line.split()[0]
            if "-" in first and not first.endswith(":"):
                start, end = (int(part, 16) for part in first.split("-"))
                inside = start <= address < end
            elif inside and line.startswith("VmFlags:"):
                return set(line.split()[1:])
    raise AssertionError(f"no mapping at {address:x}")


def test_memory_that_may_not_be_locked_is_refused_in_one_line(monkeypatch):
    class Refusing:
        def mlock(self, *_):
            ctypes.set_errno(12)
            return -1

    monkeypatch.setattr(memory, "_libc", Refusing())
    with pytest.raises(InputError, match=r"100000 bytes .* cannot be locked .*ulimit -l"):
        memory.locked(100_000)


FORGETTING = """
import sys
from dataclasses import replace
from farfield import Block, Frontend, load_profile
from reference import marked
frontend = Frontend(replace(load_profile("respeaker-2mic"), dry_beam=True), 0)
frontend.process(Block(marked.sound(1, 2), 0))
if sys.argv[1] == "forgets":
    frontend.forget()
print("ready", flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("does", ["forgets", "nothing"])
def test_what_dereverberation_predicts_from_is_forgotten(does):
    """Fifteen frames, in which the marked sound has five phases; what is under way, the newest frame, has one."""
    command = [sys.executable, "-c", FORGETTING, does]
    environment = os.environ | {"PYTHONPATH": str(Path(marked.__file__).parents[1])}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as run:
        assert run.stdout.readline() == b"ready\n"
        phases = {phase for kind, phase in frames(run) if kind == "spectrum"}
        run.communicate(b"\n")
    assert len(phases) == (1 if does == "forgets" else 5)


PROBE = """
import os, resource, sys
from farfield.capture import memory
print(memory.overwrites_what_it_frees(), file=sys.stderr)
memory.restart()
print(memory.overwrites_what_it_frees(), os.environ.get("GLIBC_TUNABLES"), sys.argv[1:])
memory.hide()
print(resource.getrlimit(resource.RLIMIT_CORE)[0])
"""


def test_started_anew_what_is_freed_is_overwritten():
    """The same arguments, the caller's own settings kept, and only once."""
    environment = {name: value for name, value in os.environ.items() if name not in memory.ENVIRONMENT}
    own = {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}
    ran = subprocess.run([sys.executable, "-c", PROBE, "one", "two"], env=environment | own, capture_output=True, text=True)
    assert ran.stderr.split() == ["False", "True"], "before, and in the program as it was started again"
    tunables = f"glibc.malloc.arena_max=2:{memory.ENVIRONMENT['GLIBC_TUNABLES']}"
    assert ran.stdout.splitlines() == [f"True {tunables} ['one', 'two']", "0"]
