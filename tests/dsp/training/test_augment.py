"""What rooms, codecs, cancellers and levels do to a clip."""

import numpy as np
import pytest

pytest.importorskip("pyroomacoustics")

from farfield.training import augment
from reference.sounds import RATE, quiet, tone


def test_rooms_begin_with_their_direct_sound_and_are_the_same_again():
    made = augment.rooms(3, 4)
    for room, again in zip(made, augment.rooms(3, 4), strict=True):
        assert room.dtype == np.float32 and np.array_equal(room, again)
        assert np.argmax(np.abs(room)) == 8 and np.abs(room).max() == 1.0
        energy = np.cumsum(room[::-1] ** 2)[::-1]
        assert energy[len(energy) // 2] < 0.1 * energy[0]


@pytest.mark.parametrize("slope", [0.0, 1.0, 2.0])
def test_the_colour_of_noise(slope):
    """Power an octave falls by 3 dB times slope; RMS 1."""
    noise = augment.colored(1 << 17, slope, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(noise)) ** 2
    octaves = [power[1 << n : 2 << n].mean() for n in range(10, 16)]
    assert np.diff(10 * np.log10(octaves)) == pytest.approx(-3.01 * slope, abs=0.6)
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.25])
def test_speed_changes_length_and_pitch_together(factor):
    faster = augment.speed(tone(1_000, 1.0), factor)
    assert len(faster) == pytest.approx(RATE / factor, abs=2)
    peak = np.argmax(np.abs(np.fft.rfft(faster * np.hanning(len(faster)), RATE)))
    assert peak == pytest.approx(1_000 * factor, abs=2)


def test_a_codec_leaves_the_sound_where_it_is():
    """Opus and MP3: as long as before, and in step with it."""
    sound = np.concatenate([quiet(0.4), tone(700, 0.3), quiet(0.5)])
    random = np.random.default_rng(0)
    for _ in range(8):
        back = augment.codec(sound, random)
        assert back.shape == sound.shape
        lag = np.argmax(np.correlate(np.abs(back[::8]), np.abs(sound[::8]), "full")) - (len(sound[::8]) - 1)
        assert abs(lag) * 8 <= 80


def test_speech_level_is_that_of_the_louder_half():
    assert augment.speech_level(np.concatenate([tone(500, 1.0), quiet(1.0)])) == pytest.approx(0.3 / np.sqrt(2), rel=1e-3)
    assert augment.speech_level(np.zeros(100, np.float32)) == 1e-9
    assert augment.to_int16(np.array([-2, -1, 0, 0.6 / 32_768, 1], np.float32)).tolist() == [-32_768, -32_768, 0, 1, 32_767]
    room = np.zeros(100, np.float32)
    room[[0, 50]] = 1.0, 0.5
    assert augment.in_room(np.eye(1, 200, dtype=np.float32)[0], room)[[0, 50]] == pytest.approx([1, 0.5], abs=1e-6)


@pytest.mark.parametrize("drive_db", [-30, 0])
def test_a_canceller_leaves_what_a_loudspeaker_distorts(drive_db):
    """Noise through a simple path: little is left of it once the filters have learnt; more, the more the loudspeaker distorts."""
    played = augment.colored(6 * RATE, 1.0, np.random.default_rng(0))
    room = np.zeros(800, np.float32)
    room[[8, 300]] = 1.0, 0.4

    class Drawn:
        """Draws the given distortion, the least noise and the longest tail."""

        def uniform(self, low, high):
            return {0.2: 10 ** (drive_db / 20) * 3, -60: -60}[low]

        def choice(self, values):
            return values[-1]

        def standard_normal(self, count):
            return np.random.default_rng(1).standard_normal(count)

    left = augment.residual_echo(played, room, Drawn())
    echo = augment.in_room(played / np.abs(played).max(), room)
    removed_db = 10 * np.log10(np.mean(echo[-RATE:] ** 2) / np.mean(left[-RATE:] ** 2))
    assert left.shape == played.shape and left.dtype == np.float32
    assert removed_db > 25 if drive_db == -30 else 0 < removed_db < 25


def test_knocks_come_and_go_and_those_in_time_keep_it():
    """Of many, each as loud as it may be; more than half of their 20 ms are 40 dB below that; some come at even intervals."""
    in_time = 0
    quiet = []
    for seed in range(60):
        sound = augment.knocks(2 * RATE, np.random.default_rng(seed))
        assert sound.dtype == np.float32 and np.abs(sound).max() == pytest.approx(1) and np.isfinite(sound).all()
        loud = np.abs(sound).reshape(-1, 320).max(1)
        quiet.append((loud < 0.01).mean())
        starts = np.flatnonzero((loud[1:] > 0.1) & (loud[:-1] < 0.01))
        in_time += len(starts) >= 4 and np.ptp(np.diff(starts)) <= 1
    assert np.median(quiet) > 0.5 and min(quiet) < 0.2
    assert 5 <= in_time <= 40
    assert np.array_equal(augment.knocks(RATE, np.random.default_rng(3)), augment.knocks(RATE, np.random.default_rng(3)))
