"""Synthetic voices."""

import shutil

import numpy as np
import pytest

from farfield.errors import InputError
from farfield.training import clips, voices
from reference.sounds import RATE


def test_drawn_voices_are_the_same_again():
    one, other = (voices.voices(60, np.random.default_rng(3)) for _ in range(2))
    assert one == other and {voice.program for voice in one} == {"espeak-ng", "flite", "festival"}
    assert all(0.8 <= voice.speed <= 1.3 and 0.8 <= voice.pitch <= 1.25 for voice in one)


def test_a_missing_program_is_named_with_its_packages(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program: None)
    with pytest.raises(InputError, match="flite: not installed; install the voices with: apt-get install espeak-ng flite"):
        voices.speak("hello", voices.Voice("flite", "slt", 1, 1))


VOICES = [("espeak-ng", "en-us+f3"), ("flite", "slt"), ("festival", "kal_diphone")]


@pytest.mark.parametrize(("program", "name"), VOICES)
def test_a_voice_says_the_same_again_and_faster_if_asked(program, name):
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")
    slow, again, fast = (voices.speak("good morning", voices.Voice(program, name, speed, 1.0)) for speed in (0.8, 0.8, 1.3))
    assert slow.dtype == np.float32 and np.array_equal(slow, again)
    lengths = [np.subtract(*clips.word_span(spoken)[::-1]) for spoken in (slow, fast)]
    assert lengths[0] / lengths[1] == pytest.approx(1.3 / 0.8, rel=0.25)


@pytest.mark.parametrize(("program", "name"), VOICES)
def test_a_phrase_is_said_and_not_obeyed(program, name, tmp_path):
    """Quotes, brackets and dashes are no commands to the programs."""
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")
    planted = tmp_path / "planted"
    text = f'-w "one") (system "touch {planted}") (quit'
    assert len(voices.speak(text, voices.Voice(program, name, 1.0, 1.0))) > RATE // 2
    assert not planted.exists()


def test_a_voice_that_there_is_not():
    if shutil.which("espeak-ng") is None:
        pytest.skip("needs espeak-ng")
    with pytest.raises(InputError, match=r"espeak-ng: could not speak 'hello' as xx-nobody: .*does not exist") as caught:
        voices.speak("hello", voices.Voice("espeak-ng", "xx-nobody", 1.0, 1.0))
    assert str(caught.value).isprintable()
