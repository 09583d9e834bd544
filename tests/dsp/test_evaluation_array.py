"""`farfield eval array`: its figures against closed forms and known scenes, its methods, and what it prints."""

import json
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from farfield.cli import main
from farfield.evaluation import array as evaluation
from farfield.evaluation import talkers
from farfield.evaluation.array_methods import Fixed, Microphone, Scene, finders, methods
from farfield.geometry import Array
from farfield.profile import RATE, load_profile
from reference.beam import plane_wave

pytest.importorskip("pyroomacoustics")
CIRCLE = load_profile("respeaker-6mic")


def scene(noise_only=False):
    """A talker at 70 degrees as a plane wave, and noise of each microphone's own at 0 dB in place of an interferer."""
    random = np.random.default_rng(1)
    talker = plane_wave(random.standard_normal(2 * RATE), CIRCLE.positions_mm, 70.0)
    noise = random.standard_normal(talker.shape)
    silence = np.zeros_like(talker)
    heard = talkers.Heard(talker + noise, talker, silence, noise, plane_wave_at_first(talker), 0)
    return Scene(Array(CIRCLE.positions_mm), heard, 70.0, 200.0)


def plane_wave_at_first(talker):
    return talker[:, 0]


def test_delay_and_sum_gains_what_theory_says():
    """10 log10 M over noise that is independent between microphones: array gain, white noise gain, and SI-SDR."""
    found = evaluation._Sums()
    found.hear(scene(), [Microphone(), Fixed("delay and sum", False)])
    told = found.summed()["methods"]
    assert told["microphone"] == pytest.approx(
        dict.fromkeys(("si_sdr_db", "si_sdr_gain_db", "array_gain_db", "white_noise_gain_db", "directivity_db"), 0.0), abs=0.1
    )
    wanted = 10 * np.log10(6)
    for figure in ("si_sdr_db", "si_sdr_gain_db", "array_gain_db", "white_noise_gain_db"):
        assert told["delay and sum"][figure] == pytest.approx(wanted, abs=0.25), figure


def test_every_method_hears_the_talker():
    """In a room, with voices of bursts: all do better than the microphone, the one that is given the noise by most."""
    room = talkers.room(CIRCLE.positions, 0.2, 3)
    heard = talkers.heard(room, evaluation.syllables(2.5, 1), evaluation.syllables(2.5, 2))
    found = evaluation._Sums()
    found.hear(Scene(Array(CIRCLE.positions_mm), heard, room.talker_deg, room.interferer_deg), methods())
    gains = {name: figures["si_sdr_gain_db"] for name, figures in found.summed()["methods"].items()}
    assert len(gains) == 11 and gains.pop("microphone") == 0
    assert min(gains.values()) > 0.2 and gains["superdirective"] > 2
    assert gains["MVDR given the noise alone"] > gains["superdirective"]
    assert gains["adaptive, told the direction"] > gains["adaptive, told the direction, no postfilter"]
    assert gains["pyroomacoustics delay and sum"] == pytest.approx(gains["delay and sum"], abs=0.3)


def test_a_beam_that_looks_elsewhere_is_seen():
    """Planted: weights towards another direction."""
    given = scene()
    right, wrong = evaluation._Sums(), evaluation._Sums()
    right.hear(given, [Fixed("beam", True)])
    wrong.hear(Scene(given.array, given.heard, 250.0, 200.0), [Fixed("beam", True)])
    assert right.summed()["methods"]["beam"]["array_gain_db"] > wrong.summed()["methods"]["beam"]["array_gain_db"] + 3


@pytest.mark.parametrize("azimuth", [33.0, 201.0])
def test_finders_find_a_plane_wave(azimuth):
    sound = plane_wave(evaluation.syllables(3, 4), CIRCLE.positions_mm, azimuth) * 0.05
    sound = sound + 1e-3 * np.random.default_rng(2).standard_normal(sound.shape)
    found = evaluation._Sums()
    found.locate(sound, CIRCLE.positions_mm, Array(CIRCLE.positions_mm), azimuth)
    for name, figures in found.summed()["direction"].items():
        assert figures["mean_error_deg"] <= (1.0 if "MUSIC" not in name else 5.0) and figures["not_found"] == 0
    assert set(finders()) == set(found.summed()["direction"])


def test_direction_in_rooms_keeps_the_bar():
    """Six rooms of 0.4 s: 1.0 degree in the mean, none over 5; the whole table is `farfield eval array`."""
    found = evaluation._Sums()
    for seed in range(6):
        room = talkers.room(CIRCLE.positions, 0.4, 100 + seed)
        heard = talkers.heard(room, evaluation.syllables(3, seed), evaluation.syllables(3, 50 + seed))
        found.locate(heard.talker + heard.noise, CIRCLE.positions_mm, Array(CIRCLE.positions_mm), room.talker_deg)
    ours = found.summed()["direction"]["SRP-PHAT of onsets"]
    assert ours["mean_error_deg"] <= 1.0 and ours["largest_error_deg"] <= 5.0


def test_dereverberation_gains_where_there_is_a_room_and_the_talker_is_who_is_wanted():
    """Planted: where what is wanted is the reverberant sound itself, taking its reverberation off loses."""
    pytest.importorskip("pyroomacoustics")
    heard = talkers.alone(talkers.room(CIRCLE.positions, 0.7, 3), evaluation.syllables(7, 3))
    assert talkers.si_sdr_db(heard.talker[:, 0], heard.noise[:, 0] + heard.talker[:, 0]) > 25
    found, planted = evaluation._Sums(), evaluation._Sums()
    found.dereverberate(heard)
    planted.dereverberate(replace(heard, wanted=heard.talker[:, 0]))
    assert found.summed()["dereverberation"]["si_sdr_gain_db"] > 1.5
    assert planted.summed()["dereverberation"]["si_sdr_gain_db"] < -5


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        main(["eval", "array", *[str(argument) for argument in arguments]])
    told = capsys.readouterr()
    return left.value.code, told.out, told.err


def test_the_command(tmp_path, capsys):
    sound = plane_wave(evaluation.syllables(3, 4), CIRCLE.positions_mm, 50.0) * 0.05
    soundfile.write(tmp_path / "talker.wav", sound, RATE)
    picture = tmp_path / "polar.png"
    status, out, _ = run(capsys, "--rooms", 1, "--rt60", 0.2, "--recording", tmp_path / "talker.wav", "--azimuth", 50,
                         "--plot", picture, "--json")  # fmt: skip
    assert status == 0 and picture.stat().st_size > 10_000
    rooms, recording = map(json.loads, out.splitlines())
    assert rooms["rt60_s"] == 0.2 and {"adaptive, told the direction", "adaptive, told nothing"} < set(rooms["methods"])
    assert {"dereverberated microphone", "dereverberated adaptive, told nothing"} < set(rooms["methods"])
    assert rooms["dereverberation"]["microphone_si_sdr_db"] > 3 and recording["dereverberation"] is None
    assert recording["where"] == "talker.wav" and recording["direction"]["SRP-PHAT of onsets"]["mean_error_deg"] < 1
    status, out, _ = run(capsys, "--rooms", 0, "--recording", tmp_path / "talker.wav", "--azimuth", 50)
    assert status == 0 and "SRP-PHAT of onsets" in out


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (("--profile", "single"), "one microphone"),
        (("--recording", "x.wav"), "--azimuth"),
        (("--rooms", 0, "--recording", "missing.wav", "--azimuth", 1), "missing.wav: cannot be read"),
        (("--speech", "nowhere"), "nowhere: holds no sound clips"),
        (("--rooms", 0, "--responses", "missing.wav"), "missing.wav: cannot be read"),
        (("--recording", "one.wav", "--azimuth", 1), "one.wav: holds 1 samples, wanted 32 ms or more"),
        (("--responses", "silent.wav"), "silent.wav: has a channel that is silent or not finite"),
        (("--responses", "nan.wav"), "nan.wav: has a channel that is silent or not finite"),
        (("--azimuth", "nan"), "wanted a finite number"),
        (("--plot", "nowhere/p.png"), "nowhere/p.png: cannot be written"),
    ],
)
def test_wrong_use_is_one_line(capsys, tmp_path, monkeypatch, arguments, match):
    """Before any room is simulated."""
    monkeypatch.chdir(tmp_path)
    sound = np.random.default_rng(1).normal(0, 0.1, (600, 6))
    soundfile.write("one.wav", sound[:1], RATE)
    soundfile.write("silent.wav", sound * (np.arange(6) != 2), RATE)
    soundfile.write("nan.wav", np.where(np.arange(600)[:, None] == 9, np.nan, sound), RATE, "FLOAT")
    status, out, err = run(capsys, *arguments)
    assert (status, out) == (2, "") and err.count("\n") == 1 and match in err
