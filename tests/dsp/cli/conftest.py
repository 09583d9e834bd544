"""The command as a test runs it, and a sound for it."""

import pytest
import soundfile

from farfield.cli import main
from reference.demo import MICS


@pytest.fixture
def run(capsys):
    """Run `farfield ARGUMENTS`: (status, lines on stdout, lines on stderr)."""

    def run_(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return left.value.code, said.out.splitlines(), said.err.splitlines()

    return run_


@pytest.fixture
def alone(tmp_path):
    """The room's first microphone before the music starts, as a 16 kHz WAV: one wake word and a question."""
    path = tmp_path / "alone.wav"
    samples, rate = soundfile.read(MICS, dtype="int16")
    soundfile.write(path, samples[: 3 * rate, 0], rate)
    return path
