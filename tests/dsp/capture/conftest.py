"""The real listener on a board in software, in a process of its own."""

import os
import select
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from farfield.board.simulated import Faults, SimulatedBoard
from reference import marked
from reference.patience import PATIENCE_S
from reference.planted import random_model

DRIVER = Path(__file__).parents[2] / "capture_driver.py"


class Listening:
    """`farfield listen` as a process. Its stdout is read by the line; whatever it prints must come in time."""

    def __init__(self, process, errors):
        self.process, self.errors, self.lines = process, errors, []
        self._rest = b""

    def until(self, *texts):
        """Reads on to a line that holds all the texts, and gives it."""
        until_s = time.monotonic() + PATIENCE_S
        while time.monotonic() < until_s:
            while b"\n" in self._rest:
                line, _, self._rest = self._rest.partition(b"\n")
                self.lines.append(line.decode())
                if all(text in self.lines[-1] for text in texts):
                    return self.lines[-1]
            if select.select([self.process.stdout], [], [], 0.1)[0]:
                data = os.read(self.process.stdout.fileno(), 65_536)
                if not data:
                    break
                self._rest += data
        raise AssertionError(f"never said {texts}; said {self.lines[-5:]}, {self._rest!r}, status {self.process.poll()}")

    def heard_s(self, seconds):
        """Lets it hear so much more: the board's clock is the machine's."""
        time.sleep(seconds)

    def ended(self):
        """Lets it end, and gives its status and what it said on stderr."""
        self.until("over")
        self.go_on()
        self.process.wait(timeout=PATIENCE_S)
        self.errors.seek(0)
        return self.process.returncode, self.errors.read().decode()

    def send(self, number):
        os.kill(self.pid, number)

    def go_on(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    @property
    def pid(self):
        """Of the listener, also where it is run by strace."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0]) if self.process.args[0] == "strace" else self.process.pid

    def maps(self):
        """What the kernel says of its memory, by lines."""
        try:
            return Path(f"/proc/{self.pid}/maps").read_text().splitlines()
        except PermissionError:
            pytest.skip("the listener hides its memory from the user that runs it; looking into it takes root")

    def longest_ms(self, shape):
        """Of the marked sound in its memory, now, and where."""
        try:
            with open(f"/proc/{self.pid}/mem", "rb") as memory, open(f"/proc/{self.pid}/maps") as maps:
                return marked.longest_in_memory(memory, maps.read(), shape)
        except PermissionError:
            pytest.skip("the listener hides its memory from the user that runs it; looking into it takes root")

    def holding(self, texts):
        """Those of the texts, by name, that are in its memory now."""
        try:
            with open(f"/proc/{self.pid}/mem", "rb") as memory, open(f"/proc/{self.pid}/maps") as maps:
                pieces = marked.written(memory, maps.read())
                return {name for data, _ in pieces for name, text in texts.items() if text in data}
        except PermissionError:
            pytest.skip("the listener hides its memory from the user that runs it; looking into it takes root")


@contextmanager
def _listening(shape, *arguments, seconds=20, faults="none", before=(), frames=160, pace=1, sound=None):
    """pace: how much faster than real time the board's clocks run. sound: what it hears, else so many marked seconds."""
    sound = marked.sound(seconds, *shape) if sound is None else sound
    fast_ppm = 1e6 * (pace - 1)

    def chunks():
        return (sound[at : at + 1_000] for at in range(0, len(sound), 1_000))

    with (
        SimulatedBoard(chunks, *shape, frames=frames, faults=Faults(clock_ppm=fast_ppm, tick_ppm=fast_ppm)) as board,
        _driven("--serial", board.port, *arguments, faults=faults, before=before) as run,
    ):
        run.board = board
        yield run


@contextmanager
def _driven(*arguments, faults="none", before=()):
    """The listener with these arguments."""
    command = [*before, sys.executable, str(DRIVER), faults, "listen", "--json", *map(str, arguments)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FARFIELD_")}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        try:
            yield Listening(process, errors)
        finally:
            process.kill()
            process.communicate()


@pytest.fixture
def listening():
    """The listener on a board in software."""
    return _listening


@pytest.fixture
def driven():
    """The listener on whatever the arguments name."""
    return _driven


@pytest.fixture
def rejecting_model(tmp_path):
    """A model that finds its word, a short one that is soon zeroed, again and again, and a second look that never agrees."""
    path = tmp_path / "never.safetensors"
    random_model(1, smoothing_steps=3, refractory_ms=100, word_ms=10, threshold=0.6, word="never").save(path)
    random_model(1, smoothing_steps=1, threshold=0.9999, word="never").save(tmp_path / "never.look.safetensors")
    return path


@pytest.fixture
def waking_model(tmp_path):
    """A model that finds its word in anything, every few seconds."""
    path = tmp_path / "always.safetensors"
    random_model(1, smoothing_steps=3, refractory_ms=3_000, word_ms=300, threshold=0.4, word="always").save(path)
    return path


@pytest.fixture
def layout(tmp_path):
    """Makes a profile of so many microphones and references."""

    def made(microphones, references, more=""):
        table = f'name = "made"\ndescription = "for tests"\nrate = 16000\nchannels = {microphones + references}\n{more}'
        for n in range(microphones):
            table += f"[[microphone]]\nchannel = {n}\nposition_mm = [{40.0 * n}, 0.0, 0.0]\n"
        for n in range(references):
            table += f"[[reference]]\nchannel = {microphones + n}\n"
        (tmp_path / "made.toml").write_text(table)
        return tmp_path / "made.toml"

    return made
