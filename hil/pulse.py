"""A sound card in software: a private PulseAudio server whose null sinks give back what is played, behind real ALSA PCMs."""

import os
import shutil
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from farfield.errors import InputError

_READY_S = 20.0  # a server that is not ready by then never will be
_LEAVE_S = 5.0
_MARK = "end-of-answer"  # no command of the server's: that it is unknown is said after whatever came before it
_MOST_CHANNELS = 32
_PRIORITY = 20  # that of who listens in real time
_SLOWEST, _FASTEST = 1_000, 384_000
_PLUGIN = "libasound_module_pcm_pulse.so"
_PLUGIN_FOLDERS = ("/usr/lib/*/alsa-lib", "/usr/lib/alsa-lib", "/usr/lib64/alsa-lib")
# What alsa-lib's pulse plugin calls its channels; a sink of the same map gets each channel as it is, without a mix.
_MAPS = {
    1: ("mono",),
    2: ("front-left", "front-right"),
    4: ("front-left", "front-right", "rear-left", "rear-right"),
    5: ("front-left", "front-right", "rear-left", "rear-right", "front-center"),
    6: ("front-left", "front-right", "rear-left", "rear-right", "front-center", "lfe"),
    8: ("front-left", "front-right", "rear-left", "rear-right", "front-center", "lfe", "side-left", "side-right"),
}


@dataclass(frozen=True)
class Sink:
    """A null sink: what is played on the PCM `playback` can be captured, in step with the host's clock, from `capture`.

    name: letters, digits and underscores. channels: 1 to 32. rate: in Hz. Samples are int16.
    """

    name: str
    channels: int
    rate: int = 16_000

    @property
    def playback(self) -> str:
        """The ALSA PCM to play on."""
        return self.name

    @property
    def capture(self) -> str:
        """The ALSA PCM to capture from."""
        return f"{self.name}_monitor"


class PulseServer:
    """A PulseAudio server of one's own, with a null sink for each of `sinks`. A context manager: it runs while it is entered.

    Needs neither root nor a sound card, and touches no other server and no file outside its own temporary folder. While it is
    entered, `environment` (ALSA_CONFIG_PATH and where libpulse looks) is part of os.environ, so that this process and those that
    it starts find the sinks' PCMs, and none other. The server never outlives its owner: it reads its commands from a pipe, and
    leaves when that ends.
    InputError: pulseaudio or alsa-lib's pulse plugin is not installed, or the server does not start.
    """

    def __init__(self, *sinks: Sink) -> None:
        for sink in sinks:
            if not sink.name.isidentifier() or not sink.name.isascii():
                raise InputError(f"sink {sink.name!r}: wanted a name of letters, digits and underscores")
            if not 1 <= sink.channels <= _MOST_CHANNELS:
                raise InputError(f"sink {sink.name}: got {sink.channels} channels, wanted 1 to {_MOST_CHANNELS}")
            if not _SLOWEST <= sink.rate <= _FASTEST:
                raise InputError(f"sink {sink.name}: got {sink.rate} Hz, wanted {_SLOWEST} to {_FASTEST}")
        self.sinks = sinks
        self.environment: dict[str, str] = {}
        self._said: deque[str] = deque(maxlen=20)
        self._answers = threading.Lock()

    def __enter__(self) -> "PulseServer":
        program = _installed()
        self._folder = tempfile.TemporaryDirectory(prefix="farfield-pulse-")
        folder = Path(self._folder.name)
        self.environment = {
            "ALSA_CONFIG_PATH": str(folder / "alsa.conf"),
            "PULSE_SERVER": f"unix:{folder / 'socket'}",
            "PULSE_CLIENTCONFIG": str(folder / "client.conf"),
            "PULSE_RUNTIME_PATH": str(folder),
        }
        (folder / "alsa.conf").write_text("".join(map(self._pcms, self.sinks)))
        (folder / "client.conf").write_text(f"autospawn = no\nenable-shm = no\ncookie-file = {folder / 'cookie'}\n")
        (folder / "daemon.pa").write_text(
            "".join(f"{_loading(sink)}\n" for sink in self.sinks)
            + f"load-module module-native-protocol-unix socket={folder / 'socket'} auth-anonymous=1\n"
            + "load-module module-cli exit_on_eof=1\n"
        )
        options = ["--daemonize=no", "--system=no", "--use-pid-file=no", "--fail", "--exit-idle-time=-1", "--disable-shm=yes",
                   "--realtime=no", "--high-priority=no", "--log-target=stderr", "--log-level=error"]  # fmt: skip
        # What names a server or a folder of the user's own would lead this one there.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PULSE_", "XDG_", "DBUS_"))}
        own = {"HOME": str(folder), "XDG_RUNTIME_DIR": str(folder), "PULSE_RUNTIME_PATH": str(folder), "LC_ALL": "C"}
        self._process = subprocess.Popen(
            [program, "-n", "-F", str(folder / "daemon.pa"), *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
            env=inherited | own,
            cwd=folder,
        )
        self._log = threading.Thread(target=self._keep, args=(self._process.stderr,), name="pulseaudio's log", daemon=True)
        self._log.start()
        self._before = {name: os.environ.get(name) for name in self.environment}
        os.environ.update(self.environment)
        try:
            listed = self._ask("list-sinks")
            for sink in self.sinks:
                if f"name: <{sink.name}>" not in listed:
                    self._leave()  # so that its log is whole
                    raise InputError(f"pulseaudio: does not make sink {sink.name} ({'; '.join(self._said)[-500:]})")
            if not (folder / "socket").is_socket():  # a name that is too long for one is cut off without a word
                raise InputError(f"{folder / 'socket'}: pulseaudio does not make this socket; wanted a shorter TMPDIR")
            self._run_as_hardware()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._leave()

    def command(self, line: str) -> str:
        """What the server answers to a line of PulseAudio's own command line, such as `list-sinks`."""
        with self._answers:
            return self._ask(line)

    @contextmanager
    def unplugged(self, sink: Sink) -> Iterator[None]:
        """The sink is taken away from whoever uses it, and is there again afterwards."""
        listed = self.command("list-sinks")
        _, _, of_sink = listed.partition(f"name: <{sink.name}>")
        # Where there is another sink the server moves them to that, as no sound card would; lines that come together are done
        # together, so that none of them is back before its sink is gone.
        kills = [
            f"kill-{kind} {index}\n"
            for kind, used in (("sink-input", f"<{sink.name}>"), ("source-output", f"<{sink.name}.monitor>"))
            for index in _users(self.command(f"list-{kind}s"), used)
        ]
        self.command("".join(kills) + f"unload-module {int(of_sink.partition('module: ')[2].split()[0])}")
        try:
            yield
        finally:
            self.command(_loading(sink))

    def _run_as_hardware(self) -> None:
        """Before all programs, where the user may: a sound card's clock waits for none of them, whatever its listener does."""
        with suppress(PermissionError):
            for task in os.listdir(f"/proc/{self._process.pid}/task"):
                os.sched_setscheduler(int(task), os.SCHED_RR, os.sched_param(_PRIORITY))

    def _ask(self, line: str) -> str:
        """The answer to a line; InputError where the server leaves, or says nothing for too long."""
        assert self._process.stdin is not None and self._process.stdout is not None
        overdue = threading.Timer(_READY_S, self._process.kill)
        overdue.start()
        said = ""
        try:
            with suppress(BrokenPipeError):  # what the server said before it left tells more
                self._process.stdin.write(f"{line}\n{_MARK}\n")
            for heard in self._process.stdout:
                if _MARK in heard:
                    return said
                said += heard
        finally:
            overdue.cancel()
        self._log.join(_LEAVE_S)
        reason = "; ".join(self._said) or f"exit status {self._process.wait()}"
        raise InputError(f"pulseaudio: does not run ({reason[-500:]}); wanted a private server")

    def _leave(self) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        assert self._process.stdin is not None and self._process.stdout is not None and self._process.stderr is not None
        with suppress(BrokenPipeError):  # it may have left already, with a command unread
            self._process.stdin.close()
        try:
            self._process.wait(_LEAVE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.join()
        self._process.stdout.close()
        self._process.stderr.close()
        self._folder.cleanup()

    def _keep(self, log: IO[str]) -> None:
        """The last lines of the log; one that nobody reads would stop the server once the pipe is full."""
        for line in log:
            self._said.append(line.strip())

    def _pcms(self, sink: Sink) -> str:
        """alsa.conf for a sink: whoever opens its PCMs talks to this server."""
        made = ""
        for name, device, what in ((sink.playback, sink.name, "plays on"), (sink.capture, f"{sink.name}.monitor", "captures")):
            hint = f'hint {{ show on description "{what} null sink {sink.name}, {sink.channels} channels at {sink.rate} Hz" }}'
            made += f'pcm.{name} {{ type pulse server "{self.environment["PULSE_SERVER"]}" device "{device}" {hint} }}\n'
        return made


def _users(listed: str, used: str) -> list[int]:
    """Which of the streams that the server lists are on `used`."""
    streams = listed.split("index: ")[1:]
    of = [(int(stream.split()[0]), line) for stream in streams for line in stream.splitlines()]
    return [index for index, line in of if line.strip().startswith(("sink: ", "source: ")) and used in line]


def _loading(sink: Sink) -> str:
    known = max(count for count in _MAPS if count <= sink.channels)
    named = [*_MAPS[known], *(f"aux{number}" for number in range(sink.channels - known))]
    return (
        f"load-module module-null-sink sink_name={sink.name} rate={sink.rate} channels={sink.channels} format=s16le "
        f"channel_map={','.join(named)} norewinds=1"
    )


def _installed() -> str:
    """The program's path; InputError where it, or the plugin that leads to it, is missing."""
    program = shutil.which("pulseaudio")
    if program is None:
        raise InputError("pulseaudio: not installed; install it with: apt-get install pulseaudio libasound2-plugins")
    root = Path("/")
    if not any(list(root.glob(f"{folder[1:]}/{_PLUGIN}")) for folder in _PLUGIN_FOLDERS):
        raise InputError(f"{_PLUGIN}: alsa-lib's plugin is not installed; install it with: apt-get install libasound2-plugins")
    return program
