"""What the device shows of what it does: a state that gates the sound, and whoever follows it."""

import enum
import os
import subprocess
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

    hooks: called with the new state; OSError from one of them (a lamp that is gone, a command that ended) breaks the indicator:
    `broken` says why, and from then on CAPTURING cannot be entered, for nobody would see it.
    """

    def __init__(self, *hooks: Hook) -> None:
        self._hooks = hooks
        self.state = State.STOPPED
        self.broken: str | None = None

    def enter(self, state: State) -> bool:
        """Change to a state, if it is another one; False where it cannot be shown, and so is not entered."""
        if state is self.state:
            return True
        for hook in self._hooks:
            try:
                hook(state)
            except OSError as error:
                self.broken = self.broken or str(error.strerror or error)
        if state is State.CAPTURING and self.broken:
            return False
        self.state = state
        return True


# Reads a state a line and runs the command with it as its last argument; a command that fails ends it. At the end of its input,
# which comes however the listener ends, it says so.
_FOLLOW = """
while read -r state; do sh -c "$1 \\"\\$@\\"" farfield "$state" </dev/null || exit 1; done
exec sh -c "$1 \\"\\$@\\"" farfield stopped </dev/null
"""


class CommandHook:
    """A shell command, run with each state as its last argument, one after the other, by a process of its own.

    That process is started at once: before there is any sound, and outside the listener's sandbox. It is sent the states' names
    and nothing else, and its output goes to stderr. Where the listener is killed, it still runs the command with `stopped`.
    """

    def __init__(self, command: str) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in memory.ENVIRONMENT}
        self._helper = subprocess.Popen(
            ["/bin/sh", "-c", _FOLLOW, "farfield", command],
            stdin=subprocess.PIPE,
            stdout=2,
            env=environment,
            start_new_session=True,  # an interrupt from the terminal is the listener's to handle
        )
        assert self._helper.stdin is not None
        self._pipe = self._helper.stdin
        os.set_blocking(self._pipe.fileno(), False)

    def __call__(self, state: State) -> None:
        """OSError: the command failed, or is so far behind that the state cannot be told."""
        if state is not State.STOPPED:  # told by the end of the input
            os.write(self._pipe.fileno(), f"{state.value}\n".encode())

    def close(self) -> None:
        """Run the command for the last time, and wait for it."""
        with suppress(OSError):  # it may have ended already
            self._pipe.close()
        self._helper.wait()
