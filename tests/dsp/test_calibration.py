"""Calibration: planted gains and delays are measured, used, and refused where a recording cannot tell them."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from farfield import Block, Frontend, load_profile
from farfield.calibration import calibrate
from farfield.cli import main
from farfield.direction import separation_deg
from farfield.errors import InputError
from farfield.profile import RATE, as_toml
from reference import fields
from reference.beam import plane_wave
from reference.measure import si_sdr_db

CIRCLE, SQUARE = load_profile("respeaker-6mic"), load_profile("respeaker-4mic")
AROUND = (7, 48, 93, 131, 185, 222, 268, 315)


def claps(profile, azimuths_deg, seed=0):
    """Bursts of noise that die away, half a second apart, as plane waves over a little noise."""
    random = np.random.default_rng([seed, 12])
    parts = []
    for azimuth in azimuths_deg:
        burst = np.zeros(RATE // 2)
        burst[3000:4600] = random.standard_normal(1600) * np.exp(-np.arange(1600) / 300)
        parts.append(0.1 * plane_wave(burst, profile.positions_mm, azimuth))
    heard = np.concatenate(parts)
    return heard + 1e-4 * random.standard_normal(heard.shape)


def miscalibrated(x, gains_db, delays_us):
    """Each channel louder and later; exact, the stream a circle."""
    hertz = np.fft.rfftfreq(len(x), 1 / RATE)
    turned = np.fft.rfft(x, axis=0) * np.exp(-2j * np.pi * hertz[:, None] * np.asarray(delays_us) / 1e6)
    return np.fft.irfft(turned, len(x), axis=0) * 10 ** (np.asarray(gains_db) / 20)


@pytest.mark.parametrize("profile", [SQUARE, CIRCLE], ids=["4mic", "6mic"])
@given(seed=st.integers(0, 999), samples=st.floats(0, 8))
@settings(max_examples=6)
def test_planted_gains_and_delays_are_measured(profile, seed, samples):
    random = np.random.default_rng(seed)
    count = len(profile.microphones)
    gains_db, delays_us = random.uniform(-6, 6, count), random.uniform(-1, 1, count) * samples / RATE * 1e6
    found = calibrate(miscalibrated(claps(profile, AROUND, seed), gains_db, delays_us), profile.positions_mm)
    assert found.gains_db == pytest.approx(gains_db - np.median(gains_db), abs=0.2)
    assert found.delays_us == pytest.approx(delays_us - delays_us.mean(), abs=3.0)
    assert found.bursts == len(AROUND) and found.delay_error_us < 3 and found.gain_error_db < 0.2
    for wanted, azimuth in zip(AROUND, found.azimuths_deg, strict=True):
        assert separation_deg(wanted, azimuth) < 2


@pytest.mark.parametrize(
    ("sound", "match"),
    [
        (lambda: claps(CIRCLE, AROUND[:4]), "holds 4 bursts"),
        (lambda: 0.1 * np.random.default_rng(1).standard_normal((4 * RATE, 6)), "holds 0 bursts"),
        (lambda: np.zeros((4 * RATE, 6)), "holds 0 bursts"),
        (lambda: claps(CIRCLE, [40.0] * 10), "too few directions"),
        (lambda: claps(CIRCLE, AROUND)[:, [0, 3, 1, 4, 2, 5]], "fit the positions|too few directions"),
    ],
    ids=["few", "noise", "silence", "one direction", "channels mixed up"],
)
def test_a_recording_that_cannot_tell_is_refused(sound, match):
    with pytest.raises(InputError, match=match):
        calibrate(sound(), CIRCLE.positions_mm)


def test_what_was_measured_is_made_up_for():
    """Beam and direction with the calibrated profile are those of a perfect array; planted: without it they are not."""
    gains_db, delays_us = (0, 4, -3, 2, 0, -2), (0.0, 90.0, -60.0, 120.0, 0.0, -150.0)
    spoilt = miscalibrated(claps(CIRCLE, AROUND), gains_db, delays_us)
    found = calibrate(spoilt, CIRCLE.positions_mm)
    calibrated = replace(CIRCLE, gains=tuple(found.gains_db), delays=tuple(found.delays_us))
    x = fields.talker(CIRCLE.positions_mm, 6, 70.0, 3)

    def heard(profile, sound):
        frontend = Frontend(profile, 0, azimuths_deg=(70.0,))
        beam = frontend.process(Block(fields.int16(sound), 0)).beams[2 * RATE :, 0].astype(float)
        return beam, frontend.direction(3 * RATE, 6 * RATE), frontend.faults

    wanted, _, _ = heard(CIRCLE, x)
    beam, direction, faults = heard(calibrated, miscalibrated(x, gains_db, delays_us))
    # the mean delay, which cannot be told, stays in the beam
    turn = np.exp(-2j * np.pi * np.fft.rfftfreq(len(wanted)) * np.mean(delays_us) * RATE / 1e6)
    late = np.fft.irfft(np.fft.rfft(wanted) * turn, len(wanted))
    assert si_sdr_db(beam, late) > 15 and separation_deg(direction.azimuth_deg, 70) < 2 and faults == ()
    unaware, off, _ = heard(CIRCLE, miscalibrated(x, gains_db, delays_us))
    assert si_sdr_db(unaware, late) < 8 and off.confidence < direction.confidence - 0.2


def calibrated(capsys, recording, profile, output):
    with pytest.raises(SystemExit) as left:
        main(["calibrate", str(recording), "--profile", profile, "-o", str(output)])
    told = capsys.readouterr()
    return left.value.code, told.out, told.err


def test_the_command_writes_a_profile_that_loads(tmp_path, capsys):
    sound = miscalibrated(claps(SQUARE, AROUND), (0, 3, 0, 0), (0, 0, 50, 0))
    soundfile.write(tmp_path / "claps.wav", sound, RATE)
    status, out, err = calibrated(capsys, tmp_path / "claps.wav", "respeaker-4mic", tmp_path / "mine.toml")
    assert (status, err) == (0, "") and "microphone 1: +3." in out and "from 8 bursts" in out
    made = load_profile(tmp_path / "mine.toml")
    assert made.gains_db == pytest.approx([0, 3, 0, 0], abs=0.3)
    assert made.delays_us == pytest.approx([-12.5, -12.5, 37.5, -12.5], abs=3)
    assert replace(made, gains=(), delays=()) == replace(SQUARE)


def test_the_command_refuses_in_one_line_and_writes_nothing(tmp_path, capsys):
    soundfile.write(tmp_path / "one.wav", claps(SQUARE, [40.0] * 9), RATE)
    status, out, err = calibrated(capsys, tmp_path / "one.wav", "respeaker-4mic", tmp_path / "mine.toml")
    assert (status, out) == (2, "") and err.count("\n") == 1 and "too few directions" in err
    assert not (tmp_path / "mine.toml").exists()
    for profile, output in (("single", "m.toml"), ("respeaker-4mic", "m.txt")):
        status, _, err = calibrated(capsys, tmp_path / "one.wav", profile, tmp_path / output)
        assert status == 2 and err.count("\n") == 1


def test_the_command_refuses_a_microphone_that_is_hardly_connected(tmp_path, capsys):
    """Farther off than a profile takes; as far as one takes is written, and loads."""
    for gain_db, wanted in ((-34, 2), (-29, 0)):
        soundfile.write(
            tmp_path / "claps.wav", miscalibrated(claps(SQUARE, AROUND), (0, 0, gain_db, 0), np.zeros(4)), RATE, "FLOAT"
        )
        status, _, err = calibrated(capsys, tmp_path / "claps.wav", "respeaker-4mic", tmp_path / "mine.toml")
        assert status == wanted and (tmp_path / "mine.toml").exists() == (wanted == 0)
        assert not wanted or (err.count("\n") == 1 and "microphone 2 is -34 dB off" in err)
    assert load_profile(tmp_path / "mine.toml").gains_db[2] == pytest.approx(-29, abs=0.3)


@given(
    gains=st.lists(st.floats(-30, 30), min_size=4, max_size=4),
    delays=st.lists(st.floats(-5000, 5000), min_size=4, max_size=4),
    name=st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20),
)
def test_a_profile_that_is_written_is_the_one_that_is_read(tmp_path_factory, gains, delays, name):
    measured = {"gains": tuple(gains) if any(gains) else (), "delays": tuple(delays) if any(delays) else ()}
    profile = replace(SQUARE, name=name, words=("a", 'b"\\'), adaptive=True, reference_late_ms=20, **measured)
    path = tmp_path_factory.mktemp("profile") / "written.toml"
    path.write_text(as_toml(profile), "utf-8")
    assert load_profile(path) == profile


@pytest.mark.parametrize("field", ["gain_db = 31", "delay_us = 5001", "gain_db = true", 'delay_us = "1"', "gain_db = nan"])
def test_a_profile_with_such_a_field_is_refused(tmp_path, field):
    path = tmp_path / "bad.toml"
    path.write_text(f'name = "bad"\nchannels = 1\n[[microphone]]\nchannel = 0\nposition_mm = [0, 0, 0]\n{field}\n')
    with pytest.raises(InputError, match=r"field microphone\[0\]\.(gain_db|delay_us): got .* wanted a number within"):
        load_profile(path)
