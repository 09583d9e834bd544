"""What the device shows of what it does: a state that gates the sound, and whoever follows it."""

import enum
import os
import select
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress

from farfield.capture import memory


class State(enum.Enum):
    """What the listener does.

    LISTENING: for the word; sound turns over in the ring. HEARD: the word was accepted. CAPTURING: the utterance leaves the ring,
    to be kept or to a live consumer. MUTED: the capture device is closed. STOPPED: so it is, for good.
    """

    LISTENING = "listening"
    HEARD = "heard"
    CAPTURING = "capturing"
    MUTED = "muted"
    STOPPED = "stopped"


Hook = Callable[[State], None]


class Indicator:
    """The listener's state. Whoever follows is told of each change, in order, before it takes effect.

    hooks: called with the new state, one after the other. Where one of them raises OSError CAPTURING is not entered, for nobody
    would see it, and `why_not` says why; nor is it ever after (a lamp that is gone, a command that ended), but for TimeoutError:
    who was late may be in time the next time. No hook after the one that raised is told of CAPTURING either: who tells of what
    others show comes last.
    """

    def __init__(self, *hooks: Hook) -> None:
        self._hooks = hooks
        self.state = State.STOPPED
        self.why_not: str | None = None
        self._broken = False

    def enter(self, state: State) -> bool:
        """Change to a state, if it is another one; False where it cannot be shown, and so is not entered."""
        if state is self.state:
            return True
        if state is State.CAPTURING and self._broken:
            return False
        for hook in self._hooks:
            try:
                hook(state)
            except OSError as error:
                if not self._broken:
                    self.why_not = str(error.strerror or error)
                self._broken = self._broken or not isinstance(error, TimeoutError)
                if state is State.CAPTURING:
                    return False
        self.state = state
        return True


# For how long capturing waits until it is shown. It is the listening thread that waits, and what is captured meanwhile must have
# room: a mic board holds a quarter of a second of 8 channels, an ALSA device's thread two seconds.
_SHOWN_S = 0.2
_MOST_S = 5.0  # for one run of the command, and for all that it is behind with at the end

# Reads a state a line, runs the command with it as its last argument, and answers with a line; a command that fails or takes too
# long ends it. At the end of its input, which comes however the listener ends, it says so. It is here that a command that hangs
# is killed, for the sandbox keeps the listener from that. It answers in a subshell: a listener that was killed reads no more.
_FOLLOW = """
run() { timeout -s KILL "$2" sh -c "$1 \\"\\$@\\"" farfield "$3" </dev/null >&2; }
while read -r state; do run "$1" "$2" "$state" || exit 1; (echo); done
run "$1" "$2" stopped
"""


class CommandHook:
    """A shell command, run with each state as its last argument, one after the other, by a process of its own.

    That process is started at once: before there is any sound, and outside the listener's sandbox. It is sent the states' names
    and nothing else, and the command's output goes to stderr. Where the listener is killed, it still runs the command with
    `stopped`. A command that fails, or takes 5 s, is not run again. CAPTURING is told once the command has been run with all that
    it was sent, within 0.2 s.
    """

    def __init__(self, command: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in memory.ENVIRONMENT}
        self._helper = subprocess.Popen(
            ["/bin/sh", "-c", _FOLLOW, "farfield", command, f"{_MOST_S:g}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # an interrupt from the terminal is the listener's to handle
        )
        assert self._helper.stdin is not None and self._helper.stdout is not None
        self._states, self._answers = self._helper.stdin, self._helper.stdout
        self._behind = 0  # states without an answer
        os.set_blocking(self._states.fileno(), False)

    def __call__(self, state: State) -> None:
        """OSError: the command failed, or is so far behind that it cannot be told. TimeoutError: CAPTURING is not shown yet."""
        if state is State.STOPPED:  # told by the end of the input
            return
        with suppress(BrokenPipeError):  # it has ended, as its answers say
            os.write(self._states.fileno(), f"{state.value}\n".encode())
        self._behind += 1
        give_up_s = time.monotonic() + (_SHOWN_S if state is State.CAPTURING else 0.0)
        while self._behind and select.select([self._answers], [], [], max(give_up_s - time.monotonic(), 0.0))[0]:
            answers = os.read(self._answers.fileno(), 4_096)
            if not answers:
                raise OSError("the command failed")
            self._behind -= len(answers)
        if self._behind and state is State.CAPTURING:
            raise TimeoutError("the command does not answer")

    def close(self) -> None:
        """Run the command for the last time, and wait for it; not for ever: what it is behind with it shows by itself."""
        with suppress(OSError):  # it may have ended already
            self._states.close()
        with suppress(subprocess.TimeoutExpired):
            self._helper.wait(_MOST_S)
        self._answers.close()
