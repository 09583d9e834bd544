"""The indicator: it follows the state, tells it before it takes effect, and what it cannot show is not captured."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield import Block, Chain, load_profile
from farfield.capture import indicator as module
from farfield.capture import memory
from farfield.capture.indicator import CommandHook, Indicator, State
from farfield.capture.listener import Listener
from reference.keeping import make_store
from reference.patience import PATIENCE_S
from reference.planted import known, random_model


@pytest.fixture(autouse=True, scope="module")
def no_sweeping():
    """What is left in freed memory is tested elsewhere, and takes its time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(memory, "sweep", lambda: None)
        yield


class Lamp:
    """A hook that remembers what it was told, and fails from then on where it is told to."""

    def __init__(self):
        self.shown, self.fails = [State.STOPPED], False

    def __call__(self, state):
        if self.fails:
            raise OSError(32, "Broken pipe")
        self.shown.append(state)


class Witness:
    """A consumer that looks at the lamp and at the state whenever it is given sound."""

    def __init__(self, lamp):
        self.lamp, self.seen, self.given = lamp, set(), 0

    def begin(self, opening):
        self.seen.add(self.lamp.shown[-1])

    def write(self, samples):
        self.seen.add(self.lamp.shown[-1])
        self.given += len(samples)

    def lost(self, samples):
        self.seen.add(self.lamp.shown[-1])

    def end(self, utterance):
        self.seen.add(self.lamp.shown[-1])


class Refusing:
    """A keeper without consent."""

    why_not = "there is no consent to store"

    def begin(self, opening):
        return None


class Aborted:
    """A keeper, and what it seals with, that counts."""

    why_not = None

    def __init__(self):
        self.begun = self.written = self.aborted = self.finished = 0

    def begin(self, opening):
        self.begun += 1
        return self

    def write(self, samples):
        self.written += len(samples)

    def lost(self, samples):
        pass

    def abort(self):
        self.aborted += 1

    def finish(self, end):
        self.finished += 1
        return known("kept")


MODEL = random_model(1, smoothing_steps=3, refractory_ms=700, word_ms=300, threshold=0.5)


def noise(seconds, seed=0):
    return np.random.default_rng(seed).normal(0, 900, (round(16_000 * seconds), 1)).astype(np.int16)


def heard(listener, samples, index=0, epoch=0):
    events = []
    for at in range(0, len(samples), 512):
        events += listener.process(Block(samples[at : at + 512].copy(), index + at, epoch))
    return events


@given(st.lists(st.sampled_from(["noise", "silence", "gap", "mute", "unmute", "stop"]), max_size=12), st.booleans())
def test_what_is_shown_is_what_is_done(asked, keeps):
    """After every step the lamp shows the state; sound leaves in CAPTURING alone; and each change is told once."""
    lamp = Lamp()
    witness, keeper = Witness(lamp), Aborted()
    chain = Chain(load_profile("single"), [MODEL])
    listener = Listener(chain, keeper if keeps else Refusing(), [witness], indicator=Indicator(lamp))
    index = 0
    for what in asked:
        if listener.state is State.STOPPED:
            break
        if what in ("noise", "silence"):
            samples = noise(2, index) if what == "noise" else np.zeros((48_000, 1), np.int16)
            if listener.state is State.MUTED:
                with pytest.raises(ValueError, match="while muted"):
                    heard(listener, samples, index)
            else:
                heard(listener, samples, index)
            index += len(samples)
        elif what == "gap":
            index += 20_000
        elif what == "mute":
            listener.mute()
        elif what == "unmute" and listener.state is State.MUTED:
            listener.unmute()
        elif what == "stop":
            listener.close()
        assert lamp.shown[-1] is listener.state
    listener.close()
    assert lamp.shown[-1] is listener.state is State.STOPPED
    assert all(one is not other for one, other in zip(lamp.shown, lamp.shown[1:], strict=False))
    assert witness.seen <= {State.CAPTURING}
    assert keeper.begun == keeper.finished + keeper.aborted
    for before, state in zip(lamp.shown, lamp.shown[1:], strict=False):
        assert state is not State.CAPTURING or before is State.HEARD


@pytest.mark.parametrize("fails", [False, True])
def test_what_cannot_be_shown_is_not_captured(fails):
    """A lamp that is gone: words are still found, nothing is given or kept, and it is said. With one that works it is."""
    lamp, notes = Lamp(), []
    witness, keeper = Witness(lamp), Aborted()
    chain = Chain(load_profile("single"), [MODEL])
    with Listener(chain, keeper, [witness], indicator=Indicator(lamp), note=notes.append) as listener:
        lamp.fails = fails
        assert heard(listener, noise(3))
        assert (listener.state is State.HEARD) == fails
    assert (witness.given > 0, keeper.written > 0, keeper.finished > 0) == (not fails,) * 3
    assert notes == (["indicator: Broken pipe; nothing is captured that it does not show"] if fails else [])
    assert keeper.aborted == (keeper.begun if fails else 0)


@pytest.mark.parametrize("breaks", [State.HEARD, State.CAPTURING])
def test_who_tells_of_what_a_lamp_shows_never_says_more(breaks):
    """A lamp that fails, before or when it is to show that sound is captured, and one after it that works."""
    lamp, teller = Lamp(), Lamp()

    def shown(state):
        lamp.fails = lamp.fails or state is breaks
        lamp(state)

    indicator = Indicator(shown, teller)
    assert indicator.enter(State.LISTENING) and indicator.enter(State.HEARD)
    assert not indicator.enter(State.CAPTURING) and indicator.enter(State.LISTENING)
    assert teller.shown == [State.STOPPED, State.LISTENING, State.HEARD, State.LISTENING]


def test_who_was_late_once_may_be_in_time_again_and_who_failed_may_not():
    answers = iter([None, TimeoutError("late"), None, None, OSError("gone"), None])

    def hook(state):
        if (error := next(answers)) is not None:
            raise error

    indicator = Indicator(hook)
    assert indicator.enter(State.LISTENING) and not indicator.enter(State.CAPTURING) and indicator.why_not == "late"
    assert indicator.enter(State.CAPTURING) and indicator.enter(State.LISTENING)
    assert not indicator.enter(State.CAPTURING) and not indicator.enter(State.CAPTURING) and indicator.why_not == "gone"
    assert indicator.enter(State.HEARD)


@pytest.mark.parametrize("hangs", [False, True])
def test_what_a_command_does_not_show_is_not_captured(hangs, tmp_path, monkeypatch):
    """One that fails exactly at `capturing`, and one that hangs from `listening` on: not a sample is given or kept."""
    monkeypatch.setattr(module, "_MOST_S", PATIENCE_S)
    if not hangs:
        monkeypatch.setattr(module, "_SHOWN_S", PATIENCE_S)
    os.mkfifo(fifo := tmp_path / "fifo")
    held = os.open(fifo, os.O_RDWR)  # who reads it hangs until that is closed
    hook, notes = CommandHook(f"cat '{fifo}' #" if hangs else "test capturing !="), []
    lamp = Lamp()
    witness, keeper = Witness(lamp), Aborted()
    chain = Chain(load_profile("single"), [MODEL])
    with Listener(chain, keeper, [witness], indicator=Indicator(hook, lamp), note=notes.append) as listener:
        assert heard(listener, noise(3))
    why = "the command does not answer" if hangs else "the command failed"
    assert notes == [f"indicator: {why}; nothing is captured that it does not show"]
    assert (witness.given, keeper.written, keeper.aborted) == (0, 0, keeper.begun) and State.CAPTURING not in lamp.shown
    fifo.unlink()
    os.close(held)
    hook.close()


def test_a_command_that_hangs_does_not_keep_the_listener(monkeypatch):
    """It is killed, and not run with what was still to be shown."""
    monkeypatch.setattr(module, "_MOST_S", 0.2)
    hook = CommandHook("sleep 1000000 #")
    for state in (State.LISTENING, State.HEARD, State.LISTENING):
        hook(state)
    hook.close()
    assert hook._helper.wait(PATIENCE_S) == 1


def test_the_real_listener_says_no_more_than_its_command_shows(listening, layout, waking_model, tmp_path):
    """A lamp that fails when it is to show that sound is captured: the word is heard, and nothing is kept."""
    store, _ = make_store(tmp_path / "store")
    asked = "--store", tmp_path / "store", "--on-state", "test capturing !="
    with listening((1, 0), "--profile", layout(1, 0), "--model", waking_model, *asked) as run:
        run.until('"type": "heard"')
        told = json.loads(run.until('"type": "utterance"'))
        run.send(signal.SIGTERM)
        _, stderr = run.ended()
    states = [json.loads(line)["state"] for line in run.lines if '"type": "state"' in line]
    assert states[:3] == ["listening", "heard", "listening"] and "capturing" not in states
    assert told["kept"] is None and store.utterances() == [] and "nothing is captured that it does not show" in stderr


def test_a_command_is_run_with_each_state_and_with_stopped_at_the_end(tmp_path, monkeypatch):
    """One after the other, however long each takes; as a shell command, with its own arguments."""
    monkeypatch.setattr(module, "_SHOWN_S", PATIENCE_S)
    monkeypatch.setattr(module, "_MOST_S", PATIENCE_S)
    hook = CommandHook(f"echo \"it is\" >> '{tmp_path}/a file' && printf '%s\\n' >> '{tmp_path}/a file'")
    indicator = Indicator(hook)
    for state in (State.LISTENING, State.HEARD, State.CAPTURING, State.CAPTURING, State.MUTED, State.STOPPED):
        assert indicator.enter(state)
    hook.close()
    told = (tmp_path / "a file").read_text().splitlines()
    assert told[::2] == ["it is"] * 5 and told[1::2] == ["listening", "heard", "capturing", "muted", "stopped"]


def test_a_command_that_fails_breaks_the_indicator():
    hook = CommandHook("false")
    indicator = Indicator(hook)
    indicator.enter(State.LISTENING)
    hook._helper.wait(timeout=PATIENCE_S)
    assert not indicator.enter(State.HEARD) or indicator.why_not
    assert not indicator.enter(State.CAPTURING) and indicator.state is not State.CAPTURING
    hook.close()


KILLED = """
import sys, time
from farfield.capture.indicator import CommandHook, State
hook = CommandHook(sys.argv[1])
hook(State.LISTENING)
print("shown", flush=True)
sys.stdin.read()
"""


def test_a_listener_that_is_killed_is_shown_as_stopped(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", KILLED, f"tee -a {tmp_path}/shown </dev/null; echo >> {tmp_path}/shown"],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # fmt: skip
    assert process.stdout.readline() == b"shown\n"
    (helper,) = map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
    watched = os.pidfd_open(helper)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert select.select([watched], [], [], 30)[0], "the helper ends too"
    os.close(watched)
    assert (tmp_path / "shown").read_text().split() == ["listening", "stopped"]
