"""`farfield listen --alsa` as a user runs it, on the bench's own sound card in software: a word is played, and heard."""

import json
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile
import soxr

from farfield.alsa.pcm import Pcm
from farfield.errors import InputError
from farfield.hil import demo_room, load_room, of_room, pulse
from farfield.hil.pulse import PulseServer, Sink
from farfield.hil.rigs.alsa import Loudspeaker
from reference.patience import PATIENCE_S

RATE = 16_000
COMMAND = [sys.executable, "-m", "farfield.cli", "listen", "--no-realtime", "--json", "--model", "alexa"]
PROFILE = """
name = "array and loopback"
rate = 16000
channels = 5

[[reference]]
channel = 0

""" + "".join(
    f"[[microphone]]\nchannel = {1 + number}\nposition_mm = {place}\n"
    for number, place in enumerate([[-40.5, 0.0, 0.0], [0.0, 40.5, 0.0], [40.5, 0.0, 0.0], [0.0, -40.5, 0.0]])
)
ARRAY, ALONE, SPEAKER, FAST = Sink("array", 5), Sink("alone", 4), Sink("speaker", 1), Sink("fast", 5, rate=48_000)


@pytest.fixture(scope="module")
def card():
    pytest.importorskip("alsaaudio")
    try:
        pulse._installed()
    except InputError as error:
        pytest.skip(str(error))
    with PulseServer(ARRAY, ALONE, SPEAKER, FAST) as server:
        yield server


@pytest.fixture(scope="module")
def opening():
    """A second of silence, the demo room's first word over four microphones and a reference, and silence."""
    samples = of_room(load_room(demo_room())).samples[:24_000]
    return np.pad(samples, ((RATE, RATE), (0, 0)))


@contextmanager
def playing(sink, sound):
    """The sound on a sink, from when `begin` is called on what this gives."""
    device = Pcm(sink.playback, capture=False, rate=sink.rate, channels=sink.channels, period=160, periods=100)
    speaker = Loudspeaker(device, np.ascontiguousarray(sound))
    try:
        yield speaker
    finally:
        speaker.close()
    assert (speaker.underruns, speaker.failure) == (0, "")


class Listening:
    """The command, and what it has said so far. It is ended by a signal."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._overdue = threading.Timer(PATIENCE_S, self.process.kill)
        self._overdue.start()
        self.said = []

    def until(self, kind):
        """The next line of this type."""
        for line in self.process.stdout:
            self.said.append(json.loads(line))
            if self.said[-1]["type"] == kind:
                return self.said[-1]
        raise AssertionError(f"no {kind!r} came: {self.said}, {self.process.stderr.read()}")

    def end(self, number):
        """Its last line, and its exit status."""
        self.process.send_signal(number)
        last = self.until("end")
        status = self.process.wait(PATIENCE_S)
        self._overdue.cancel()
        self.process.stdout.close()
        self.process.stderr.close()
        return last, status


NOTHING_WRONG = ("overruns", "unannounced", "missing_samples", "untaken_samples", "doubtful_samples", "epochs", "reopened")


def test_a_word_with_its_reference_on_the_same_device(card, opening, tmp_path):
    """In another order of channels than the scene has them, as the profile says; ended by SIGINT."""
    (tmp_path / "array.toml").write_text(PROFILE)
    with playing(ARRAY, opening[:, [4, 0, 1, 2, 3]]) as speaker:
        listening = Listening("--alsa", ARRAY.capture, "--profile", tmp_path / "array.toml")
        begun = listening.until("listening")
        assert (begun["source"], begun["microphones"], begun["references"]) == (ARRAY.capture, 4, 1)
        speaker.begin()
        heard = listening.until("heard")
        end, status = listening.end(signal.SIGINT)
    assert (heard["word"], status) == ("alexa", 0) and abs(heard["direction_deg"] - 40) < 20
    assert {name: end[name] for name in NOTHING_WRONG} == dict.fromkeys(NOTHING_WRONG, 0)
    assert end["seconds"] > 1.5 and [line["type"] for line in listening.said if line["type"] not in ("clocks",)] == [
        "listening", "heard", "end",
    ]  # fmt: skip


def test_a_word_from_a_device_at_48_khz(card, opening, tmp_path):
    (tmp_path / "fast.toml").write_text(PROFILE.replace("16000", "48000"))
    played = soxr.resample(opening[:, [4, 0, 1, 2, 3]].astype(np.float32), RATE, FAST.rate)
    with playing(FAST, np.clip(np.rint(played), -32_768, 32_767).astype(np.int16)) as speaker:
        listening = Listening("--alsa", FAST.capture, "--profile", tmp_path / "fast.toml")
        listening.until("listening")
        speaker.begin()
        heard = listening.until("heard")
        end, status = listening.end(signal.SIGINT)
    assert (heard["word"], status, end["missing_samples"]) == ("alexa", 0, 0) and abs(heard["direction_deg"] - 40) < 20


def test_a_word_while_the_program_plays_a_file(card, opening, tmp_path):
    """What is played is the reference, on a clock of its own; ended by SIGTERM."""
    soundfile.write(tmp_path / "played.wav", opening[:, 4], RATE)
    with playing(ALONE, opening[:, :4]) as speaker:
        listening = Listening(
            "--alsa", ALONE.capture, "--profile", "respeaker-4mic", "--play", tmp_path / "played.wav", "--play-alsa",
            SPEAKER.playback,
        )  # fmt: skip
        assert listening.until("listening")["references"] == 1
        speaker.begin()
        heard = listening.until("heard")
        end, status = listening.end(signal.SIGTERM)
    assert (heard["word"], status, end["missing_samples"]) == ("alexa", 0, 0)
    assert {"reference_missing_samples", "reference_restarts", "reference_offset_samples"} <= end.keys()
    missing = end["reference_missing_samples"]
    assert end["reference_restarts"] >= 1 and missing < max(RATE, heard["start"]), "the player takes a moment to begin"


def test_a_word_with_a_second_device_for_the_reference(card, opening):
    with playing(ALONE, opening[:, :4]) as speaker, playing(SPEAKER, opening[:, 4:]) as reference:
        listening = Listening(
            "--alsa", ALONE.capture, "--profile", "respeaker-4mic", "--reference-alsa", SPEAKER.capture, "--period-ms", "20"
        )
        assert listening.until("listening")["references"] == 1
        reference.begin()
        speaker.begin()
        assert listening.until("heard")["word"] == "alexa"
        end, status = listening.end(signal.SIGTERM)
    assert status == 0 and end["missing_samples"] == 0


@pytest.mark.parametrize("is_capturing", [True, False])
def test_a_device_that_is_unplugged_and_comes_back_is_heard_again(card, opening, is_capturing):
    """It goes away while it captures, or before its first block could be taken; the word comes in the epoch after it."""
    listening = Listening("--alsa", ALONE.capture, "--profile", "respeaker-4mic")
    listening.until("listening")
    begun_ns = time.monotonic_ns()
    if is_capturing:
        with playing(ALONE, opening[:, :4]) as speaker:
            speaker.begin()
            assert listening.until("heard")["epoch"] == 0
    with card.unplugged(ALONE):
        pass
    while (lost := listening.until("lost"))["epoch"] == 0:
        pass  # as a listener beside busy programs may
    assert (lost["epoch"], lost["samples"]) == (1, None) and 0 < lost["seconds"] < (time.monotonic_ns() - begun_ns) / 1e9
    with playing(ALONE, opening[:, :4]) as speaker:
        speaker.begin()
        heard = listening.until("heard")
    end, status = listening.end(signal.SIGTERM)
    assert (heard["word"], heard["epoch"], status) == ("alexa", 1, 0)
    assert (end["reopened"], end["epochs"], end["missing_samples"]) == (1, 1, 0)


def test_a_device_that_is_not_there_is_one_line(card):
    ran = subprocess.run([*COMMAND, "--alsa", "nobody"], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("farfield: nobody: cannot be opened (") and ran.stderr.count("\n") == 1


def test_devices_lists_what_can_be_captured_with_its_description_and_nothing_that_only_plays(card):
    command = [sys.executable, "-m", "farfield.cli", "devices", "--json"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=True)
    listed = [one for one in map(json.loads, ran.stdout.splitlines()) if one["kind"] == "alsa"]
    assert [one["name"] for one in listed] == [sink.capture for sink in (ARRAY, ALONE, SPEAKER, FAST)]
    assert listed[0]["description"] == "captures null sink array, 5 channels at 16000 Hz"
    assert ran.stderr == "cannot be captured from: array, alone, speaker, fast\n"
