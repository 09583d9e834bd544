"""The real listener on alsa-lib, through its plug-in to a private PulseAudio server: under the sandbox, muted, and searched."""

import signal
import threading
from contextlib import contextmanager

import pytest

from farfield.errors import InputError
from farfield.hil import pulse
from farfield.hil.pulse import PulseServer, Sink
from reference import marked

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
