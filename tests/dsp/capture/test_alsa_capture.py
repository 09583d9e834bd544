"""The real listener on alsa-lib, through its plug-in to a private PulseAudio server: under the sandbox, muted, and searched."""

import json
import signal
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
import soundfile

from farfield import Block, load_profile
from farfield.alsa import AlsaSource
from farfield.errors import InputError
from farfield.hil import pulse
from farfield.hil.pulse import PulseServer, Sink
from reference import marked
from reference.alsa import FakeDevice

alsaaudio = pytest.importorskip("alsaaudio")
MOST_MS = 80


@contextmanager
def played(sink):
    """The marked sound, over and over, into a sink."""
    over = threading.Event()
    device = alsaaudio.PCM(alsaaudio.PCM_PLAYBACK, device=sink.playback, rate=16_000, channels=1, periodsize=320, periods=8)
    sound = marked.sound(0.1).tobytes()  # five marks: it goes on where it ends

    def play():
        while not over.is_set():
            device.write(sound)

    thread = threading.Thread(target=play, name="player")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        device.close()


def test_what_nobody_took_is_zeroed_when_the_device_is_closed():
    """A listener that is behind when it is muted: up to two seconds wait for it."""
    source = AlsaSource("fake", load_profile("single"), opener=lambda: FakeDevice(time.monotonic_ns, channels=1))
    waiting = [np.full((160, 1), 7, np.int16) for _ in range(20)]
    assert all(source._box.put(Block(samples, 160 * n)) for n, samples in enumerate(waiting))
    assert source._box.take(0.0).samples is waiting[0]
    source.close()
    assert waiting[0].all(), "what was taken is its taker's"
    assert not np.any(waiting[1:]) and source._box.take(0.0) is None


def test_a_board_may_have_its_reference_from_a_sound_server(driven, layout, tmp_path):
    """Under the sandbox, which lets the server's socket through."""
    try:
        pulse._installed()
    except InputError as error:
        pytest.skip(str(error))
    soundfile.write(tmp_path / "mics.flac", np.zeros(5 * 16_000, np.int16), 16_000)
    (tmp_path / "room.toml").write_text(f'profile = "{layout(1, 0).name}"\n')
    sink = Sink("speaker", 1)
    asked = "--board-simulated", tmp_path, "--reference-alsa", sink.capture, "--model", "snowboy", "--preroll-ms", 500
    with PulseServer(sink), driven(*asked) as run:
        told = json.loads(run.until('"type": "listening"'))
        run.send(signal.SIGTERM)
        assert run.ended()[0] == 0
    assert (told["microphones"], told["references"]) == (1, 1)


def test_nothing_is_left_in_the_audio_librarys_buffers(driven):
    """After mute: nothing in alsa-lib's, the plug-in's, and our own; and the same search finds it before."""
    try:
        pulse._installed()
    except InputError as error:
        pytest.skip(str(error))
    sink = Sink("marked", 1)
    asked = "--alsa", sink.capture, "--profile", "single", "--model", "snowboy", "--preroll-ms", 500
    with PulseServer(sink), played(sink), driven(*asked) as run:
        run.until('"state": "listening"')
        run.heard_s(1.5)
        heard = run.longest_ms((1, 0))
        run.send(signal.SIGUSR1)
        run.until('"muted"')
        muted = run.longest_ms((1, 0))
    assert heard[0] > MOST_MS, heard
    assert muted[0] == 0, muted
    print(f"heard {heard[0]:.0f} ms, after mute {muted[0]:.0f}")
