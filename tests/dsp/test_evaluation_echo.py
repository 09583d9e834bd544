"""`farfield eval echo`: figures of planted cancellers whose answers are known, and the command on planted recordings."""

import json

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from scipy.signal import fftconvolve

from farfield.cli import cli
from farfield.errors import InputError
from farfield.evaluation import echo, speex

RATE = 16_000


def planted(seconds=8, seed=1):
    """A talker who pauses for every other second, an echo 6 dB louder, and the reference that the echo came of."""
    rng = np.random.default_rng(seed)
    ref = 0.1 * rng.standard_normal((seconds * RATE, 1))
    path = rng.standard_normal((800, 1)) * 10 ** (-3 * np.arange(800) / 800)[:, None]
    heard = fftconvolve(ref, path / np.sqrt(np.sum(path**2)))[: len(ref), 0]
    near = 0.05 * rng.standard_normal(len(ref)) * (np.arange(len(ref)) // RATE % 2)
    mic, ref, near = (np.float32(x) for x in (near + heard, ref, near))
    return echo.Recording("planted", mic, ref, near), mic - near


def test_what_is_planted_is_measured():
    """20 dB less echo from 2 s on, and the talker whole: each figure follows."""
    recording, heard = planted()
    left = heard * np.where(np.arange(len(heard)) < 2 * RATE, 1, 0.1).astype(np.float32)
    told = echo.measure(recording, recording.near + left)
    assert told.erle_by_second_db == pytest.approx([0, 0, *[20] * 6], abs=0.01)
    assert told.erle_settled_db == pytest.approx(20, abs=0.01)
    assert told.erle_db == pytest.approx(10 * np.log10(8 / (2 + 6 * 0.01)), abs=0.3)
    assert told.pause_erle_db == pytest.approx(10 * np.log10(4 / (1 + 3 * 0.01)), abs=0.3)
    signal, noise = np.sum(recording.near.astype(float) ** 2), np.sum(left.astype(float) ** 2)
    assert told.near_si_sdr_db == pytest.approx(10 * np.log10(signal / noise), abs=0.1)
    assert told.converged_s == pytest.approx(2.5, abs=0.2)
    assert told.reconverged_s is None


def test_reconvergence_is_counted_from_the_change():
    recording, heard = planted()
    at = np.arange(len(heard)) / RATE
    left = heard * np.where((at < 1) | ((at >= 4) & (at < 5.5)), 1, 0.1).astype(np.float32)
    told = echo.measure(recording, recording.near + left, change_s=4.0)
    assert told.converged_s == pytest.approx(1.5, abs=0.2)
    assert told.reconverged_s == pytest.approx(2.0, abs=0.2)


def test_without_the_talker_what_is_left_is_all_echo():
    recording, heard = planted()
    told = echo.measure(echo.Recording("", heard, recording.ref, None), 0.1 * heard)
    assert (told.near_si_sdr_db, told.pause_erle_db) == (None, None)
    assert told.erle_db == pytest.approx(20, abs=0.01)


def test_silence_has_figures_too():
    still = np.zeros(4 * RATE, np.float32)
    told = echo.measure(echo.Recording("", still, still[:, None], None), still)
    assert (told.erle_db, told.converged_s) == (0, None)


def test_our_canceller_comes_out_in_time_with_the_microphone():
    """Planted: a quiet reference, through which the microphone passes whole; one sample of delay would show."""
    recording, _ = planted(2)
    left, *found = echo.ours(echo.Recording("", recording.mic, 0 * recording.ref, None), 2048)
    assert found == [None, 0]
    assert left.tobytes() == recording.mic.tobytes()


def test_speex_comes_out_in_time_with_the_microphone():
    peer = speex.library()
    if peer is None:
        pytest.skip("needs Speex's library: sudo apt-get install libspeexdsp1")
    recording, _ = planted()
    told = echo.measure(recording, speex.cancel(peer, recording.mic, recording.ref, 2048))
    assert told.near_si_sdr_db > 5
    assert told.erle_settled_db > 5


def written(folder, recording, *, near=True):
    folder.mkdir(parents=True)
    for name, sound in (("mic", recording.mic), ("ref", recording.ref), ("near", recording.near if near else None)):
        if sound is not None:
            soundfile.write(folder / f"{name}.wav", sound, RATE, subtype="FLOAT")


def run(*arguments):
    return CliRunner().invoke(cli, ["eval", "echo", *map(str, arguments)])


def test_the_command_tells_of_each_recording(tmp_path):
    recording, _ = planted(4)
    written(tmp_path / "all" / "known", recording)
    written(tmp_path / "all" / "real", recording, near=False)
    found = run(tmp_path / "all", "--json", "--change-s", 2)
    told = [json.loads(line) for line in found.stdout.splitlines()]
    assert [one["recording"] for one in told] == ["known", "real"]
    assert [one["delay_ms"] for one in told] == pytest.approx([0, 0], abs=5)
    assert [one["drift_ppm"] for one in told] == pytest.approx([0, 0], abs=30)
    assert [one["seconds"] for one in told] == [4.0, 4.0]
    assert told[0]["ours"]["near_si_sdr_db"] > 8
    assert told[1]["ours"]["near_si_sdr_db"] is None
    assert told[0]["ours"]["reconverged_s"] is not None
    unaligned = json.loads(run(tmp_path / "all" / "known", "--json", "--no-align").stdout)
    assert (unaligned["delay_ms"], unaligned["drift_ppm"]) == (None, None)
    assert unaligned["ours"]["near_si_sdr_db"] > 8
    assert (told[0]["speex"] is None) == (speex.library() is None)
    table = run(tmp_path / "all" / "known", "--plot", tmp_path / "erle.png")
    assert table.exit_code == 0, table.output
    assert f"{json.loads(run(tmp_path / 'all', '--json').stdout.splitlines()[0])['ours']['near_si_sdr_db']:.1f}" in table.stdout
    assert (tmp_path / "erle.png").read_bytes()[:4] == b"\x89PNG"


def test_the_command_names_what_is_wrong(tmp_path):
    recording, _ = planted(2)
    written(tmp_path / "alone", recording)
    (tmp_path / "alone" / "ref.wav").unlink()
    (tmp_path / "empty").mkdir()
    written(tmp_path / "slow", recording)
    soundfile.write(tmp_path / "slow" / "mic.wav", recording.mic, 8_000)
    for folder, match in (
        ("none", "no such folder"),
        ("empty", "holds no recordings"),
        ("alone", "has a microphone and no reference"),
        ("slow", "got 8000 Hz, wanted 16000"),
    ):
        error = run(tmp_path / folder).exception
        assert isinstance(error, InputError)
        assert match in str(error)


def test_a_model_is_still_evaluated_by_eval():
    assert "NAME_OR_PATH" in CliRunner().invoke(cli, ["eval", "--help"]).stdout
    assert "DIR" in run("--help").stdout
