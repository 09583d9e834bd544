"""The command as a test runs it, and a sound for it."""

from functools import partial

import pytest
import soundfile

from reference.command import said_by
from reference.demo import MICS


@pytest.fixture
def run(capsys):
    """Run `farfield ARGUMENTS`: (status, lines on stdout, lines on stderr)."""
    return partial(said_by, capsys)


@pytest.fixture
def alone(tmp_path):
    """The room's first microphone before the music starts, as a 16 kHz WAV: one wake word and a question."""
    path = tmp_path / "alone.wav"
    samples, rate = soundfile.read(MICS, dtype="int16")
    soundfile.write(path, samples[: 3 * rate, 0], rate)
    return path
