"""The `farfield` command as its user meets it: what it prints, where, with which status, and what it leaves behind."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import soxr

import farfield
from farfield.cli import cli, main
from farfield.hil import demo_room, load_room
from reference.patience import PATIENCE_S

ROOM = demo_room()
MICS, REF = str(ROOM / "mics.flac"), str(ROOM / "ref.flac")
ARRAY = ("--profile", "respeaker-4mic", "--ref", REF)
FIELDS = ["file", "word", "score", "start", "end", "decision", "direction", "ambiguous"]


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


def events(lines):
    return [json.loads(line) for line in lines]


def test_json_gives_one_object_a_line_with_the_promised_fields(run):
    status, out, err = run("detect", MICS, *ARRAY, "--json")
    found = events(out)
    assert (status, err) == (0, [])
    words = load_room(ROOM).words
    assert len(found) == len(words)
    for event, word in zip(found, words, strict=True):
        assert list(event)[: len(FIELDS)] == FIELDS
        assert (event["file"], event["word"], event["ambiguous"]) == (MICS, "alexa", None)
        assert word.start <= event["decision"] <= word.end + 8000
        assert 0 <= event["start"] < event["end"] <= event["decision"]
        assert 0 <= event["direction"] < 360
        assert 0 < event["score"] <= 1


def test_one_microphone_has_no_direction(run, alone):
    status, out, _ = run("detect", alone, "--json")
    assert status == 0
    assert [event["direction"] for event in events(out)] == [None]


@pytest.mark.parametrize("rate", [22050, 32000, 44100, 48000, 96000])
def test_positions_count_the_files_own_samples(run, alone, tmp_path, rate):
    (here,) = events(run("detect", alone, "--json")[1])
    samples, _ = soundfile.read(alone, dtype="float32")
    soundfile.write(tmp_path / "other.flac", soxr.resample(samples, 16000, rate), rate)
    (there,) = events(run("detect", tmp_path / "other.flac", "--json")[1])
    for name in ("start", "end", "decision"):  # resampling may move a decision by a step of the scorer, 30 ms
        assert there[name] / rate == pytest.approx(here[name] / 16000, abs=0.031)


def test_scores_are_those_the_detector_decides_by(run, alone, tmp_path):
    _, out, _ = run("detect", alone, "--json", "--no-second-look", "--scores", tmp_path / "s.npz")
    (event,) = events(out)
    with np.load(tmp_path / "s.npz") as held:
        t, p = held["t"], held["p"]
    model = farfield.load_model("alexa", second_look=False)
    assert t.shape == p.shape and np.allclose(np.diff(t), model.stride * 0.01)
    assert p.min() >= 0 and p.max() <= 1
    first = int(np.argmax(p > model.threshold))
    assert round(t[first] * 16000) == event["decision"]
    assert round(p[first], 4) == event["score"]


def test_a_threshold_above_every_score_finds_nothing_and_one_below_finds_more(run, alone, tmp_path):
    run("detect", alone, "--no-second-look", "--scores", tmp_path / "s.npz")
    with np.load(tmp_path / "s.npz") as held:
        top = float(held["p"].max())
    assert run("detect", alone, "--json", "--no-second-look", "--threshold", top)[:2] == (0, [])
    assert len(run("detect", alone, "--json", "--no-second-look", "--threshold", top - 1e-6)[1]) == 1


def test_a_threshold_is_asked_for_in_false_accepts_an_hour(run, alone, tmp_path):
    model = farfield.load_model("alexa")
    quiet = replace(model, card={**model.card, "calibration": [[0.5, 9.0], [0.9999, 0.1]]})
    quiet.save(tmp_path / "quiet.safetensors")
    assert run("detect", alone, "--json", "--model", tmp_path / "quiet.safetensors", "--fa-per-hour", "0.1")[:2] == (0, [])
    assert len(run("detect", alone, "--json", "--model", tmp_path / "quiet.safetensors", "--fa-per-hour", "9")[1]) == 1
    for options, told in (
        (["--fa-per-hour", "0.01"], "alexa: got 0.01 false accepts an hour, wanted at least 0.1"),
        (["--fa-per-hour", "1", "--threshold", "0.5"], "--fa-per-hour: got --threshold too"),
    ):
        status, out, err = run("detect", alone, "--model", tmp_path / "quiet.safetensors", *options)
        assert (status, out) == (2, []) and told in err[0]


def with_second_look(folder, threshold):
    """The shipped model, and beside it its own network as a second look that says yes above `threshold`."""
    model = farfield.load_model("alexa", second_look=False)
    model.save(folder / "two.safetensors")
    replace(model, threshold=threshold, smoothing_steps=3).save(folder / "two.look.safetensors")
    return folder / "two.safetensors"


def test_a_second_look_must_agree_unless_it_is_left_out(run, alone, tmp_path):
    (plain,) = events(run("detect", alone, "--json", "--no-second-look")[1])
    model = with_second_look(tmp_path, 0.5)
    (event,) = events(run("detect", alone, "--json", "--model", model)[1])
    assert list(event) == [*FIELDS, "second_look"] and event["second_look"] > 0.5
    assert event["score"] == event["second_look"] and {name: event[name] for name in FIELDS} == plain | {"score": event["score"]}
    assert f"second look {event['second_look']}" in run("detect", alone, "--model", model)[1][0]
    assert "second_look" in json.loads(run("models", "show", model, "--json")[1][0])
    with_second_look(tmp_path, 1.0)  # which no probability exceeds
    assert run("detect", alone, "--json", "--model", model)[:2] == (0, [])
    assert events(run("detect", alone, "--json", "--model", model, "--no-second-look")[1]) == [plain]
    left = [json.loads(run("hil", "demo", "--model", model, "--json", "--picture", tmp_path / "p.png", *how)[1][0])
            for how in ((), ("--no-second-look",))]  # fmt: skip
    assert not left[0]["hits"] and left[1]["hits"]


def test_a_word_that_ends_with_the_file_is_found(run, tmp_path):
    word = load_room(ROOM).words[0]
    samples, rate = soundfile.read(MICS, dtype="int16")
    soundfile.write(tmp_path / "cut.wav", samples[: word.end + 800, 0], rate)
    _, out, _ = run("detect", tmp_path / "cut.wav", "--json")
    assert [event["decision"] <= word.end + 800 for event in events(out)] == [True]


@pytest.mark.parametrize("frames", [1, 479, 480, 5000])
def test_sound_too_short_for_a_word_is_quiet(run, tmp_path, frames):
    soundfile.write(tmp_path / "short.wav", np.full(frames, 900, np.int16), 16000)
    status, out, err = run("detect", tmp_path / "short.wav")
    assert (status, err) == (0, []) and "no wake word" in out[0]


def test_a_bad_file_among_good_ones_is_named_and_the_others_are_heard(run, alone, tmp_path):
    (tmp_path / "empty.wav").touch()
    status, out, err = run("detect", alone, tmp_path / "empty.wav", alone, "--json")
    assert (status, len(out), len(err)) == (2, 2, 1)
    assert "empty.wav" in err[0]


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
    "safetensors", "no model", "threshold", "threshold nan", "scores of two", "scores nowhere", "option", "no file", "command",
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


def test_one_microphone_without_reference_passes_bit_for_bit(run, alone, tmp_path):
    status, out, _ = run("enhance", alone, "-o", tmp_path / "o.wav", "--json")
    assert status == 0
    assert json.loads(out[0]) | {"file": "", "output": ""} == {
        "file": "", "output": "", "rate": 16000, "delay_samples": 0, "delay_ms": 0.0, "direction": None, "echo_removed_db": None,
    }  # fmt: skip
    assert np.array_equal(soundfile.read(tmp_path / "o.wav", dtype="int16")[0], soundfile.read(alone, dtype="int16")[0])


@pytest.mark.parametrize("stage", ["echo", "beam", "all"])
def test_enhanced_sound_is_aligned_with_its_input(run, tmp_path, stage):
    """Ada speaks before the music starts: every stage passes her on, when the array hears her."""
    status, out, _ = run("enhance", MICS, *ARRAY, "--stage", stage, "-o", tmp_path / "o.wav", "--json", *(
        () if stage == "echo" else ("--direction", "40")))  # fmt: skip
    report = json.loads(out[0])
    held = (320 if stage in ("echo", "all") else 0) + (512 if stage in ("beam", "all") else 0)
    assert (status, report["delay_samples"], report["delay_ms"]) == (0, held, held / 16)
    made, rate = soundfile.read(tmp_path / "o.wav", dtype="float64")
    mics, _ = soundfile.read(MICS, dtype="float64")
    assert (rate, made.shape) == (16000, (len(mics),))
    wanted = mics[: 2 * rate, 0] if stage == "echo" else mics[: 2 * rate].mean(axis=1)  # the array's centre
    lags = [float(np.dot(made[100 : 2 * rate - 100], np.roll(wanted, lag)[100:-100])) for lag in range(-100, 101)]
    assert abs(int(np.argmax(lags)) - 100) <= 1  # in a room that rings, the beam's sound differs from the microphones'


def test_the_echo_stage_removes_the_music(run, tmp_path):
    run("enhance", MICS, *ARRAY, "--stage", "echo", "-o", tmp_path / "o.wav")
    made, rate = soundfile.read(tmp_path / "o.wav")
    mics, _ = soundfile.read(MICS)
    alone = slice(round(8.3 * rate), round(8.9 * rate))  # nobody speaks
    assert 10 * np.log10(np.mean(mics[alone, 0] ** 2) / np.mean(made[alone] ** 2)) > 12


def test_the_beam_looks_where_the_sound_comes_from(run, tmp_path):
    samples, rate = soundfile.read(MICS, dtype="int16")
    soundfile.write(tmp_path / "ada.wav", samples[: 2 * rate], rate)
    _, out, _ = run("enhance", tmp_path / "ada.wav", "--profile", "respeaker-4mic", "-o", tmp_path / "o.wav", "--json")
    assert json.loads(out[0])["direction"] == pytest.approx(40, abs=4)


def test_locate_finds_the_talker_and_names_what_it_cannot_tell(run, tmp_path):
    samples, rate = soundfile.read(MICS, dtype="int16")
    soundfile.write(tmp_path / "ada.wav", samples[: 2 * rate], rate)
    status, out, _ = run("locate", tmp_path / "ada.wav", "--profile", "respeaker-4mic", "--json")
    found = json.loads(out[0])
    assert status == 0 and found["direction"] == pytest.approx(40, abs=4)
    assert 0 < found["confidence"] <= 1 and found["ambiguous"] is None
    soundfile.write(tmp_path / "line.wav", samples[: 2 * rate, [0, 2]], rate)  # on the x axis, 81 mm apart
    (tmp_path / "line.toml").write_text(
        'name = "line"\nchannels = 2\n[[microphone]]\nchannel = 0\nposition_mm = [-40.5, 0, 0]\n'
        "[[microphone]]\nchannel = 1\nposition_mm = [40.5, 0, 0]\n"
    )
    _, out, _ = run("locate", tmp_path / "line.wav", "--profile", tmp_path / "line.toml", "--json")
    found = json.loads(out[0])
    assert found["direction"] == pytest.approx(40, abs=6)
    assert found["ambiguous"] == pytest.approx(360 - found["direction"], abs=0.1)


def test_locate_in_silence_has_nothing_to_say(run, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros((16000, 4), np.int16), 16000)
    status, out, err = run("locate", tmp_path / "silence.wav", "--profile", "respeaker-4mic", "--json")
    assert (status, len(err)) == (1, 1)
    assert json.loads(out[0])["direction"] is None


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
