"""What `farfield listen` listens to: which devices that takes, and what becomes of files that cannot be played to their end."""

import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from farfield.alsa import Player
from farfield.cli import sources
from farfield.cli.sources import Choice
from farfield.profile import load_profile
from reference.alsa import WAIT_S, Shelf, Speaker

RATE = 16_000
NAMED = {"alsa": None, "port": None, "room": None, "reference_alsa": None, "play": None, "play_alsa": "default", "period_ms": 10}


@pytest.fixture
def room(tmp_path):
    """A second of a room with one microphone."""
    noise = np.random.default_rng(0).integers(-900, 900, RATE).astype(np.int16)
    soundfile.write(tmp_path / "mics.flac", noise, RATE)
    (tmp_path / "room.toml").write_text('profile = "single"\n')
    return tmp_path


@pytest.fixture
def speakers(monkeypatch):
    """What stands for the device that is played on, one for each time that it is opened, the first one first."""
    made = [Speaker(), Speaker()]
    shelf = Shelf(*made)
    monkeypatch.setattr(sources, "Player", lambda name, channels, period_ms: Player(name, channels, opener=shelf))
    return made


def cut_short(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("named", "wanted", "uses_alsa"),
    [
        ({"alsa": "hw:1"}, ["/dev/snd"], True),
        ({"port": "/dev/null"}, ["/dev"], False),
        ({"room": Path("room")}, ["/dev"], False),
        ({"port": "/dev/null", "reference_alsa": "hw:1"}, ["/dev/snd", "/dev"], True),
        ({"room": Path("room"), "play": Path("a.wav")}, ["/dev/snd", "/dev"], True),
        ({"alsa": "hw:1", "play": Path("a.wav")}, ["/dev/snd"], True),
    ],
)
def test_the_sandbox_is_told_of_every_device(named, wanted, uses_alsa):
    choice = Choice(**NAMED | named)
    assert (choice.devices, choice.uses_alsa) == ([Path(folder) for folder in wanted], uses_alsa)


def test_a_room_that_is_cut_short_is_one_line(run, room):
    cut_short(room / "mics.flac")
    status, _, err = run("listen", "--board-simulated", room, "--no-realtime", "--json")
    assert (status, len(err)) == (2, 1) and "mics.flac: truncated" in err[0]


def test_a_reference_that_is_cut_short_is_one_line(run, room, speakers):
    played = room / "played.flac"
    soundfile.write(played, np.random.default_rng(0).integers(-900, 900, RATE // 2).astype(np.int16), RATE)
    cut_short(played)
    speakers[0].play_out(RATE)
    status, _, err = run("listen", "--board-simulated", room, "--play", played, "--no-realtime", "--json")
    assert (status, len(err)) == (2, 1) and "played.flac: truncated" in err[0]


def test_what_is_played_goes_on_where_it_was(room, speakers):
    """Opened again after a mute: a file is played once."""
    played = room / "played.wav"
    soundfile.write(played, (1 + np.arange(10 * RATE) // 10).astype(np.int16), RATE)
    choice = Choice(**NAMED | {"room": room, "play": played})
    for speaker in speakers:
        with choice.opened(load_profile("single")):
            assert speaker.given(speaker.buffer)
            until_s = time.monotonic() + WAIT_S
            while not speaker.heard.any():  # silence, until the file has been read
                assert time.monotonic() < until_s
                speaker.play_out(speaker.period)
                with speaker.changed:
                    speaker.changed.wait(0.01)
    first, second = (speaker.heard[speaker.heard > 0] for speaker in speakers)
    assert first[0] == 1 and second[0] > first[-1]
