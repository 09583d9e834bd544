"""The real listener under strace, for minutes of a marked sound without the wake word: nothing that it hears leaves it."""

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

import numpy as np
import pytest

from farfield import Block, Chain, load_model, load_profile
from farfield.source import SoundFile
from reference import marked, trace
from reference.keeping import make_store
from reference.patience import PATIENCE_S
from reference.unchanged import state

RATE = 16_000
MISHAP = Path(__file__).parent / "mishap.opus"  # made by tests/make_mishap.py
SHAPE = 1, 0  # one microphone, which passes the front end bit for bit: the mark stays whole at every stage
NEVER = "--model", "snowboy"  # a word that a buzz does not sound like
MOST_BYTES_A_SECOND = 12  # 96 bit/s; Codec 2 needs 450 for speech that can be understood
BEGINS, ENDS = b'"state": "listening"', b'"state": "stopped"'
STDOUT = {("write", "1"), ("openat", "to read")}  # what is imported late is opened to be read
TOLD = {"clocks": {"type", "clock_ppm", "tick_clock_ppm"}, "lost": {"type", "epoch", "index", "samples"}}  # and nothing else
STOP_BYTES = 20  # by which the board is told to stop


long = pytest.mark.skipif(os.environ.get("FARFIELD_LONG") != "1", reason="more of the same; set FARFIELD_LONG=1 to run it")


@pytest.fixture(scope="module", autouse=True)
def can_trace(tmp_path_factory):
    """Skipped, and why, where nobody may be traced."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace: apt-get install strace")
    folder = tmp_path_factory.mktemp("trial")
    tried = subprocess.run([*trace.command(folder), "true"], capture_output=True, text=True)
    if tried.returncode or not list(folder.glob("trace.*")):
        pytest.skip(f"strace may not trace here: {tried.stderr.strip()[:200]}")


def listened(listening, layout, tmp_path, seconds, pace, *arguments, faults="none", frames=1024, sound=None):
    """What the listener gave away while it heard so many seconds of the marked sound, or another, and its last line."""
    folder = tmp_path / "traced"
    folder.mkdir()
    with listening(SHAPE, "--profile", layout(*SHAPE), *arguments, faults=faults, seconds=seconds, pace=pace,
                   frames=frames, sound=sound, before=trace.command(folder)) as run:  # fmt: skip
        run.until('"state": "listening"')
        shared = [line for line in run.maps() if line.split()[1][1::2] == "ws"]  # writable, and shared
        assert run.board.finished.wait(timeout=PATIENCE_S + seconds / pace)
        run.send(signal.SIGTERM)
        run.until('"state": "stopped"')
        end = json.loads(run.until('"type": "end"'))
        run.ended()
    given = trace.read(folder, BEGINS, ENDS)
    given.suspect += [f"shared from before: {line}" for line in shared]
    return given, end


def findings(given, seconds):
    """What is wrong with what was given away: nothing, or a line each."""
    wrong = []
    for (_, call, first), data in given.streams.items():
        wrong += [f"{call}({first}): {name}" for name in marked.found_in(bytes(data), SHAPE)]
    wrong += [f"unseen: {line[:120]}" for line in given.suspect]
    amount = given.amount(besides={("openat", "to read")})
    if amount > MOST_BYTES_A_SECOND * seconds:
        wrong.append(f"amount: {amount} bytes in {seconds} s")
    return wrong


@pytest.mark.parametrize(
    ("seconds", "pace", "frames"),
    [
        pytest.param(120, 10, 1024, id="two minutes, fast"),
        pytest.param(10, 1, 160, id="in real time", marks=long),
        pytest.param(600, 6, 1024, id="ten minutes, fast", marks=long),
    ],
)
def test_while_it_waits_for_the_word_nothing_leaves(listening, layout, tmp_path, seconds, pace, frames):
    """With a store and its owner's consent. Not a byte but the lines on stdout, which say what the clocks do, and STOP."""
    make_store(tmp_path / "store")
    before = state(tmp_path / "store")
    given, end = listened(listening, layout, tmp_path, seconds, pace, *NEVER, "--store", tmp_path / "store", frames=frames)
    assert end["seconds"] > seconds / 2, f"a busy machine loses some, not most: {end}"
    assert findings(given, seconds) == []
    assert given.amount(besides=STDOUT) <= STOP_BYTES, {key: bytes(data[:80]) for key, data in given.streams.items() if data}
    said = b"".join(bytes(data) for (_, call, first), data in given.streams.items() if (call, first) == ("write", "1"))
    lines = [json.loads(line) for line in said.splitlines() if line]
    assert all(set(line) == TOLD[line["type"]] for line in lines), lines
    assert state(tmp_path / "store") == before
    print(f"{end['seconds']} s heard: {len(said)} bytes on stdout, {given.amount(besides=STDOUT)} elsewhere")


@pytest.mark.parametrize(
    ("leak", "told"),
    [
        ("file", "int16 LITTLE"),
        pytest.param("datagram", "FLOAT LITTLE", marks=long),
        ("log", "base64"),
        ("shared", "unseen: "),
        pytest.param("flac", "fLaC", marks=long),
        ("trickle", "amount: "),
    ],
)
def test_what_leaks_is_found(listening, layout, tmp_path, monkeypatch, leak, told):
    """Each way out that is planted in a listener without its sandbox."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    given, _ = listened(listening, layout, tmp_path, 6, 6, *NEVER, "--preroll-ms", 500, faults=f"open,leak-{leak}")
    assert any(told in line for line in findings(given, 6)), findings(given, 6)


@pytest.mark.parametrize("leak", ["file", pytest.param("datagram", marks=long), pytest.param("flac", marks=long)])
def test_the_sandbox_refuses_what_would_leak(listening, layout, tmp_path, monkeypatch, leak):
    """The same leaks, with the sandbox in force: the call fails, and nothing is made."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with listening(SHAPE, "--profile", layout(*SHAPE), *NEVER, "--preroll-ms", 500, faults=f"leak-{leak}", seconds=6) as run:
        status, stderr = run.ended()
    if "sandbox:" in stderr:
        pytest.skip(f"not all of the sandbox can be had here: {stderr[:200]}")
    assert status and any(said in stderr for said in ("denied", "not permitted", "System error")), stderr
    assert not [path for path in os.listdir(tmp_path) if path.startswith("leak")]


@pytest.mark.parametrize("fault", ["none", "look-agrees"])
def test_the_mishap_of_2018(listening, layout, tmp_path, fault):
    """Background talk with what is nearly the word, then "send message", a name, "right": nothing leaves, nothing is kept.

    The first network opens candidates in it, which the second look rejects. With one that agrees to whatever it is asked, an
    utterance is kept, and the same search says so.
    """
    talk = np.concatenate(list(SoundFile(MISHAP).chunks(RATE)))
    chain = Chain(load_profile("single"), [load_model("alexa")])
    assert chain.process(Block(talk.copy(), 0)) == [] and chain.detectors[0].rejected, "what is nearly the word"
    store, _ = make_store(tmp_path / "store", consents=("store", "review", "train", "false-wake"), sample_share=1.0)
    before = state(tmp_path / "store")
    seconds = len(talk) / RATE
    for pace in (3, 2, 1):  # what a busy machine did not hear proves nothing: again, and slower
        (tmp_path / str(pace)).mkdir()
        given, end = listened(listening, layout, tmp_path / str(pace), seconds, pace, "--model", "alexa", "--store",
                              tmp_path / "store", faults=fault, sound=talk)  # fmt: skip
        if end["seconds"] > 0.95 * seconds:
            break
    assert end["seconds"] > 0.95 * seconds, end
    changed = state(tmp_path / "store") != before
    wrong, elsewhere = findings(given, seconds), given.amount(besides=STDOUT)
    if fault == "none":
        assert (wrong, changed, store.utterances()) == ([], False, []) and elsewhere <= STOP_BYTES
    else:
        assert wrong and changed and store.utterances() and elsewhere > STOP_BYTES
