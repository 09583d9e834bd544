"""`farfield enhance` and `locate`: what is written lies where its input does, and says where sound came from."""

import json

import numpy as np
import pytest
import soundfile

from reference.demo import ARRAY, MICS


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
