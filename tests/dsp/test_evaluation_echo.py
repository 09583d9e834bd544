"""`farfield eval echo`: figures of planted cancellers whose answers are known, and the command on planted recordings."""

import json
import subprocess
import sys
from importlib.util import find_spec

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner
from scipy.signal import fftconvolve

from farfield.cli import cli
from farfield.errors import InputError
from farfield.evaluation import echo, speex
from farfield.evaluation.least_squares import bound_db

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
    left = echo.ours(echo.Recording("", recording.mic, 0 * recording.ref, None), 2048)
    assert (left.delay_ms, left.drift_ppm) == (None, 0)
    assert left.linear.tobytes() == recording.mic.tobytes()
    assert np.abs(left.suppressed - recording.mic).max() < 1e-5
    later = echo.ours(echo.Recording("", recording.mic, 0 * recording.ref, None), 2048, before=37)
    assert later.linear.tobytes() == recording.mic.tobytes() and later.ref.shape == left.ref.shape
    assert np.abs(later.suppressed - recording.mic).max() < 1e-5


@pytest.mark.parametrize("references", [1, 2])
@pytest.mark.parametrize("late", [0, 20, -5])
def test_the_bound_is_that_of_least_squares(references, late):
    """Against LAPACK's solution of the same few taps, over a stretch in the midst of a stream."""
    rng = np.random.default_rng(references)
    ref = rng.standard_normal((600, references)).astype(np.float32)
    echo = (np.roll(ref.sum(axis=1), 2) + 0.5 * rng.standard_normal(600)).astype(np.float32)
    taps, since = 12, 200
    delayed = np.zeros((600, references, taps))
    for tap in range(taps):
        at = np.arange(600) - late - tap
        inside = (at >= 0) & (at < 600)
        delayed[inside, :, tap] = ref[at[inside]]
    matrix, wanted = delayed.reshape(600, -1)[since:], echo[since:].astype(float)
    left = wanted - matrix @ np.linalg.lstsq(matrix, wanted)[0]
    got = bound_db(echo, ref, since, late, taps)
    assert got == pytest.approx(10 * np.log10((wanted @ wanted) / (left @ left)), abs=1e-4)


def test_the_bound_of_a_path_that_fits_is_what_is_no_echo():
    """Noise 30 dB below the echo, of which as many parts as there are taps are learnt by heart."""
    recording, heard = planted(3)
    noise = 10**-1.5 * heard.std() * np.random.default_rng(3).standard_normal(len(heard))
    got = bound_db(np.float32(heard + noise), recording.ref, RATE, -64, 900)
    assert got == pytest.approx(30 - 10 * np.log10(1 - 900 / (2 * RATE)), abs=0.2)
    assert bound_db(np.float32(noise), recording.ref, RATE, 0, 64) < 0.2, "planted: what is no echo at all"


def test_aecmos_tells_an_echo_from_what_is_left_of_it(recordings):
    if find_spec("speechmos") is None:
        pytest.skip("needs AECMOS: pip install 'farfield[aecmos]'")
    command = [sys.executable, "-W", "ignore", "-m", "farfield.cli", "eval", "echo", "--aecmos", "double", "--json",
               str(recordings / "echo" / "real_doubletalk_0")]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True)  # in a process of its own, for its imports warn
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert 3 < told["ours"]["aecmos_echo"] < told["suppressed"]["aecmos_echo"] <= 5
    assert 1 <= told["suppressed"]["aecmos_other"] <= 5


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


def test_figures_from_several_beginnings_are_means_and_tell_how_far_they_spread(tmp_path):
    """Two: with no silence before, and with half a hop of it. Planted: an equal pair would not spread."""
    recording, _ = planted(4)
    written(tmp_path / "one", recording)
    (both,) = echo.evaluate(tmp_path / "one", 2048, beginnings=2)
    first, second = (echo.measure(recording, echo.ours(recording, 2048, before=before).linear) for before in (0, 64))
    pair = first.pause_erle_db, second.pause_erle_db
    assert both["ours"]["pause_erle_db"] == pytest.approx(np.mean(pair))
    assert both["ours"]["spread"]["pause_erle_db"] == pytest.approx(abs(pair[0] - pair[1]) / 2) and pair[0] != pair[1]
    assert both["ours"]["erle_by_second_db"] == pytest.approx(
        np.mean([first.erle_by_second_db, second.erle_by_second_db], axis=0)
    )
    assert both["ours"]["reconverged_s"] is None and "reconverged_s" not in both["ours"]["spread"]
    (one,) = echo.evaluate(tmp_path / "one", 2048)
    assert one["ours"]["pause_erle_db"] == first.pause_erle_db and "spread" not in one["ours"]
    assert one["delay_ms"] == both["delay_ms"] and one["bound_settled_db"] == both["bound_settled_db"]
    table = run(tmp_path / "one", "--beginnings", 2)
    assert table.exit_code == 0 and "±" in table.output
    assert "±" not in run(tmp_path / "one").output
    assert run(tmp_path / "one", "--beginnings", 0).exit_code == 2


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
    assert told[0]["suppressed"]["pause_erle_db"] > told[0]["ours"]["pause_erle_db"]
    assert told[0]["bound_settled_db"] > 30
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
    written(tmp_path / "nan", recording)
    soundfile.write(
        tmp_path / "nan" / "mic.wav", np.where(np.arange(len(recording.mic)) == 9, np.nan, recording.mic), RATE, "FLOAT"
    )
    written(tmp_path / "silent", recording)
    soundfile.write(tmp_path / "silent" / "ref.wav", 0 * recording.ref, RATE)
    for folder, match in (
        ("none", "no such folder"),
        ("empty", "holds no recordings"),
        ("alone", "has a microphone and no reference"),
        ("slow", "got 8000 Hz, wanted 16000"),
        ("nan", "mic.wav: is not finite"),
        ("silent", "ref.wav: holds only silence"),
    ):
        error = run(tmp_path / folder).exception
        assert isinstance(error, InputError)
        assert match in str(error)


def test_a_model_is_still_evaluated_by_eval():
    assert "NAME_OR_PATH" in CliRunner().invoke(cli, ["eval", "--help"]).stdout
    assert "DIR" in run("--help").stdout
