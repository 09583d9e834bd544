"""The private PulseAudio server: what is played comes back bit for bit, and nothing of it is left behind."""

import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest

from farfield.errors import InputError
from farfield.hil import pulse
from farfield.hil.pulse import PulseServer, Sink

alsaaudio = pytest.importorskip("alsaaudio")


@pytest.fixture(autouse=True)
def installed():
    try:
        pulse._installed()
    except InputError as error:
        pytest.skip(str(error))


def opened(sink, direction, name):
    return alsaaudio.PCM(
        direction, alsaaudio.PCM_NONBLOCK, device=name, rate=sink.rate, channels=sink.channels, periodsize=160, periods=16
    )


@pytest.mark.parametrize("channels", [3, 8])
def test_what_is_played_comes_back_bit_for_bit(channels):
    """Each channel on its own, whether or not PulseAudio has a name for the layout."""
    sink = Sink("back", channels)
    sound = np.random.default_rng(0).integers(-32_768, 32_768, (8_000, channels)).astype(np.int16)
    with PulseServer(sink):
        assert alsaaudio.pcms(alsaaudio.PCM_CAPTURE) == [sink.playback, sink.capture]
        capture = opened(sink, alsaaudio.PCM_CAPTURE, sink.capture)
        playback = opened(sink, alsaaudio.PCM_PLAYBACK, sink.playback)
        waiting = select.poll()
        for descriptor, events in capture.polldescriptors():
            waiting.register(descriptor, events)
        heard, sent, until = b"", 0, time.monotonic() + 20
        capture.read()
        while len(heard) < 2 * channels * 40_000 and time.monotonic() < until:
            capture.polldescriptors_revents(waiting.poll(1_000))
            heard += capture.read()[1]
            # A second of what was captured has gone by: the sink is at its pace.
            while len(heard) > 2 * channels * 16_000 and sent < len(sound):
                taken = playback.write(sound[sent : sent + 160].tobytes())
                if taken <= 0:
                    break
                sent += taken
        capture.close()
        playback.close()
    # The server fades a stream in over its first 96 frames.
    assert sound[200:7_000].tobytes() in heard


def test_nothing_is_left_behind():
    before = dict(os.environ)
    with PulseServer(Sink("gone", 1)) as server:
        folder, process = Path(server._folder.name), server._process
        assert folder.is_dir() and os.environ["ALSA_CONFIG_PATH"] == str(folder / "alsa.conf")
    assert os.environ == before and not folder.exists() and process.returncode == 0


def test_the_server_leaves_with_an_owner_that_was_killed(tmp_path):
    program = (
        "import signal\nfrom farfield.hil.pulse import PulseServer, Sink\n"
        "with PulseServer(Sink('left', 1)) as server:\n print(server._process.pid, flush=True)\n signal.pause()"
    )
    # Its folder stays: nobody is left to take it away. It is the test's own.
    owner = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)}
    )
    handle = os.pidfd_open(int(owner.stdout.readline()))
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    assert select.select([handle], [], [], 10)[0], "pulseaudio still runs"
    os.close(handle)


def test_a_sink_can_be_taken_away_and_given_back():
    sink = Sink("away", 2)
    with PulseServer(sink, Sink("stays", 1)) as server:
        with server.unplugged(sink):
            assert "<away>" not in (listed := server.command("list-sinks")) and "<stays>" in listed
        assert "<away>" in server.command("list-sinks")


def test_what_cannot_be_is_one_line(monkeypatch, tmp_path):
    with pytest.raises(InputError, match="sink 'a b': wanted a name of letters"):
        PulseServer(Sink("a b", 1))
    with pytest.raises(InputError, match="got 33 channels, wanted 1 to 32"):
        PulseServer(Sink("a", 33))
    with pytest.raises(InputError, match="got 500000 Hz, wanted 1000 to 384000"):
        PulseServer(Sink("a", 1, rate=500_000))
    deep = tmp_path / ("deep" * 40)  # deeper than a socket's name may be
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with pytest.raises(InputError, match="pulseaudio does not make this socket; wanted a shorter TMPDIR"), PulseServer():
        pass
    assert list(deep.iterdir()) == []
    monkeypatch.setattr(tempfile, "tempdir", None)
    with monkeypatch.context() as changed:
        changed.setattr(pulse, "_loading", lambda sink: "load-module module-nothing")
        with pytest.raises(InputError, match=r"does not make sink a \(.*module-nothing"), PulseServer(Sink("a", 1)):
            pass
    (tmp_path / "pulseaudio").write_text("#!/bin/sh\necho none today >&2\nexit 1\n")
    (tmp_path / "pulseaudio").chmod(0o755)
    with monkeypatch.context() as changed:
        changed.setenv("PATH", str(tmp_path))
        with pytest.raises(InputError, match=r"pulseaudio: does not run \(none today\)"), PulseServer():
            pass
    monkeypatch.setattr(pulse, "_PLUGIN", "nothing.so")
    with pytest.raises(InputError, match=r"nothing\.so: alsa-lib's plugin is not installed; .*libasound2-plugins"), PulseServer():
        pass
    monkeypatch.setenv("PATH", str(deep))
    with pytest.raises(InputError, match="pulseaudio: not installed; install it with: apt-get install pulseaudio"), PulseServer():
        pass
