"""Bad input to any command: one line that names it, status 2, nothing written."""

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import soundfile


def bad_files(folder: Path):
    """name -> (arguments, what the one line must name)."""
    sound = (np.random.default_rng(1).normal(0, 3000, 16000)).astype(np.int16)
    soundfile.write(folder / "good.wav", sound, 16000)
    whole = (folder / "good.wav").read_bytes()
    (folder / "cut.wav").write_bytes(whole[:20000])
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("this is no sound")
    soundfile.write(folder / "slow.wav", sound, 4000)
    for name, value in (("nan", np.nan), ("inf", np.inf)):
        floats = sound.astype(np.float32) / 32768
        floats[777] = value
        soundfile.write(folder / f"{name}.wav", floats, 16000, "FLOAT")
    soundfile.write(folder / "one.wav", sound[:4].reshape(1, 4), 16000)
    (folder / "good.safetensors").write_bytes((resources.files("farfield") / "models" / "alexa.safetensors").read_bytes())
    (folder / "typo.toml").write_text('name = "x"\nchanels = 1\n[[microphone]]\nchannel = 0\nposition_mm = [0, 0, 0]\n')
    (folder / "bad.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(200))
    (folder / "bad.safetensors").write_bytes(b"\xff" * 100)
    good = folder / "good.wav"
    return {
        "missing": (("detect", folder / "none.wav"), ["none.wav", "no such file"]),
        "truncated": (("detect", folder / "cut.wav"), ["cut.wav", "truncated"]),
        "empty": (("detect", folder / "empty.wav"), ["empty.wav", "empty"]),
        "no sound": (("detect", folder / "text.wav"), ["text.wav", "wanted a WAV or FLAC file"]),
        "rate": (("detect", folder / "slow.wav"), ["slow.wav", "4000", "8000 to 192000"]),
        "nan": (("detect", folder / "nan.wav"), ["nan.wav", "777", "nan"]),
        "inf": (("detect", folder / "inf.wav"), ["inf.wav", "777", "inf"]),
        "channel": (("detect", good, "--profile", "respeaker-4mic"), ["good.wav", "channel 1", "respeaker-4mic"]),
        "profile": (("detect", good, "--profile", folder / "typo.toml"), ["typo.toml", "channels"]),
        "no profile": (("detect", good, "--profile", "respeker"), ["respeker", "respeaker-4mic"]),
        "reference": (("detect", good, "--ref", folder / "none.flac"), ["none.flac"]),
        "tflite": (("detect", good, "--model", folder / "bad.tflite"), ["bad.tflite"]),
        "safetensors": (("detect", good, "--model", folder / "bad.safetensors"), ["bad.safetensors", "header"]),
        "no model": (("detect", good, "--model", "alexandra"), ["alexandra", "alexa"]),
        "threshold": (("detect", good, "--threshold", 1.5), ["--threshold", "1.5"]),
        "threshold nan": (("detect", good, "--threshold", "nan"), ["--threshold", "nan"]),
        "scores of two": (("detect", good, good, "--scores", folder / "s.npz"), ["--scores", "2 files"]),
        "scores nowhere": (("detect", good, "--scores", folder / "no" / "s.npz"), ["s.npz", "cannot be written"]),
        "scores over the recording": (("detect", good, "--scores", good), ["good.wav", "is an input"]),
        "scores over the model": (
            ("detect", good, "--model", folder / "good.safetensors", "--scores", folder / "good.safetensors"),
            ["good.safetensors", "is an input"],
        ),
        "owner over the model": (
            (
                "owner",
                "fit",
                folder / "good.safetensors",
                "--owner",
                folder,
                "--others",
                folder,
                "-o",
                folder / "good.safetensors",
            ),
            ["good.safetensors", "is an input"],
        ),
        "calibrate one sample": (
            ("calibrate", folder / "one.wav", "--profile", "respeaker-2mic", "-o", folder / "o.toml"),
            ["one.wav", "0 bursts"],
        ),
        "option": (("detect", good, "--thresold", "1"), ["--thresold"]),
        "no file": (("detect",), ["FILE"]),
        "command": (("detekt", good), ["detekt"]),
        "enhance suffix": (("enhance", good, "-o", folder / "o.mp3"), ["o.mp3", ".wav"]),
        "enhance itself": (("enhance", good, "-o", good), ["good.wav", "is an input"]),
        "enhance nowhere": (("enhance", good, "-o", folder / "no" / "o.wav"), ["o.wav", "cannot be written"]),
        "enhance nan": (("enhance", folder / "nan.wav", "-o", folder / "o.wav"), ["nan.wav", "777"]),
        "enhance echo": (("enhance", good, "-o", folder / "o.wav", "--stage", "echo"), ["--ref"]),
        "enhance beam": (("enhance", good, "-o", folder / "o.wav", "--stage", "beam"), ["one microphone"]),
        "enhance direction": (("enhance", good, "-o", folder / "o.wav", "--direction", "9"), ["one microphone"]),
        "enhance suppress": (("enhance", good, "-o", folder / "o.wav", "--suppress", "echo"), ["--suppress echo", "--ref"]),
        "enhance stage": (("enhance", good, "-o", folder / "o.wav", "--stage", "bean"), ["bean"]),
        "locate one": (("locate", good), ["one microphone"]),
        "show": (("models", "show", folder / "bad.tflite"), ["bad.tflite"]),
        "import": (("models", "import", folder / "bad.tflite", "-o", folder / "o.safetensors"), ["bad.tflite"]),
        "import suffix": (("models", "import", good, "-o", folder / "o.safetensors"), ["good.wav", ".tflite"]),
        "train suffix": (("train", "w", "--positives", folder, "--negatives", folder, "-o", folder / "m.bin"), ["m.bin"]),
        "demo room": (("hil", "demo", "--room", folder), ["room.toml"]),
    }


@pytest.mark.parametrize("case", [
    "missing", "truncated", "empty", "no sound", "rate", "nan", "inf", "channel", "profile", "no profile", "reference", "tflite",
    "safetensors", "no model", "threshold", "threshold nan", "scores of two", "scores nowhere", "scores over the recording",
    "scores over the model", "owner over the model", "calibrate one sample", "option", "no file", "command",
    "enhance suffix", "enhance itself", "enhance nowhere", "enhance nan", "enhance echo", "enhance beam", "enhance direction",
    "enhance stage", "enhance suppress", "locate one", "show", "import", "import suffix", "train suffix", "demo room",
])  # fmt: skip
def test_bad_input_is_one_line_status_2_and_nothing_written(run, tmp_path, case):
    arguments, named = bad_files(tmp_path)[case]
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    status, out, err = run(*arguments)
    assert (status, out) == (2, []), err
    assert len(err) == 1 and err[0].startswith("farfield: ")
    assert all(text in err[0] for text in named), err[0]
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
