"""The other commands, what each says of itself, and what it leaves behind."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import farfield
from farfield.cli import cli
from reference.demo import ARRAY, MICS, events
from reference.patience import PATIENCE_S


def test_a_missing_extra_names_its_pip_command(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "alsaaudio", None)
    status, _, err = run("devices")
    assert status == 0 and any("pip install 'farfield[alsa]'" in line for line in err)
    monkeypatch.setitem(sys.modules, "torch", None)
    status, _, err = run("train", "w", "--positives", tmp_path, "--negatives", tmp_path, "-o", tmp_path / "m.safetensors")
    assert status == 2 and "pip install 'farfield[train]'" in err[0]


def test_devices_are_listed_with_their_kind(run, monkeypatch):
    """A device that plays only, or whose server is not there, is told apart from one that somebody else has."""
    from farfield.alsa import listing

    answers = {"hw:CARD=ArrayUAC10,DEV=0": None, "hw:CARD=HDMI": "Invalid argument [hw:CARD=HDMI]",
               "hw:CARD=Used": "Device or resource busy [hw:CARD=Used]"}  # fmt: skip

    class Library:
        PCM_CAPTURE, PCM_NONBLOCK, ALSAAudioError = 1, 2, OSError

        @staticmethod
        def pcms(kind):
            return list(answers)

        @staticmethod
        def PCM(kind, mode, device):
            if answers[device]:
                raise OSError(answers[device])
            return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(listing, "library", lambda: Library)
    monkeypatch.setattr(listing, "_descriptions", lambda: {"hw:CARD=ArrayUAC10,DEV=0": "ReSpeaker, USB", "hw:CARD=HDMI": "no"})
    status, out, err = run("devices", "--json")
    assert status == 0 and err == ["cannot be captured from: hw:CARD=HDMI"]
    assert [event for event in events(out) if event["kind"] == "alsa"] == [
        {"kind": "alsa", "name": "hw:CARD=ArrayUAC10,DEV=0", "description": "ReSpeaker, USB"},
        {"kind": "alsa", "name": "hw:CARD=Used", "description": "(in use)"},
    ]


def test_models_are_listed_shown_and_imported(run, tmp_path):
    pymicro_wakeword = pytest.importorskip("pymicro_wakeword")
    published = Path(pymicro_wakeword.__file__).parent / "models" / "alexa.tflite"
    assert "alexa" in [event["name"] for event in events(run("models", "list", "--json")[1])]
    status, out, _ = run("models", "import", published, "-o", tmp_path / "m.safetensors")
    assert status == 0 and "m.safetensors" in out[0]
    shown = [json.loads(run("models", "show", path, "--json")[1][0]) for path in (published, tmp_path / "m.safetensors")]
    assert shown[0] == shown[1]
    both = [events(run("detect", MICS, *ARRAY, "--model", path, "--json")[1]) for path in (published, tmp_path / "m.safetensors")]
    assert both[0] == both[1] and len(both[0]) > 0
    assert any("licence" in line for line in run("models", "show", "alexa")[1])


def test_two_models_listen_at_once(run, tmp_path):
    pymicro_wakeword = pytest.importorskip("pymicro_wakeword")
    published = Path(pymicro_wakeword.__file__).parent / "models" / "alexa.tflite"
    _, out, _ = run("detect", MICS, *ARRAY, "--model", "alexa", "--model", published, "--json")
    assert {event["word"] for event in events(out)} == {"alexa", "Alexa"}


def commands(group=cli, path=()):
    for name, command in group.commands.items():
        yield (*path, name)
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("path", list(commands()), ids=" ".join)
def test_every_command_explains_itself(run, path):
    status, out, err = run(*path, "--help")
    assert (status, err) == (0, [])
    assert out[0].startswith(f"Usage: farfield {' '.join(path)}") and len(out) > 4


def test_a_reader_that_leaves_early_hears_no_complaint(alone):
    command = f"{sys.executable} -m farfield.cli detect {' '.join([str(alone)] * 3)} --json | true; exit ${{PIPESTATUS[0]}}"
    left = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=PATIENCE_S)
    assert (left.returncode, left.stderr) == (1, "")  # not everything that was found could be said


def test_the_version_is_the_packages(run):
    assert run("--version")[1] == [f"farfield, version {farfield.__version__}"]
