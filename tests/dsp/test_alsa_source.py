"""The thread that owns a capture device: when it starts, what wakes it, who ends it, and a device that goes away and comes back.

Devices are in software, behind real descriptors; what a test waits for is an event, never a time that has gone by.
"""

import threading

import numpy as np
import pytest

from farfield.alsa import AlsaSource
from farfield.alsa import source as module
from farfield.alsa.stream import Counts
from farfield.profile import Profile
from reference.alsa import RATE, WAIT_S, Microphone, Shelf

PLACES = ((0.0, 0.0, 0.0), (10.0, 0.0, 0.0))
PROFILE = Profile("pair", "", RATE, 3, (2, 0), (1,), PLACES)  # the device's channels in another order


def sound(first, frames=160, channels=3):
    """Each sample tells where it belongs."""
    return (np.arange(first, first + frames)[:, None] * 4 + np.arange(channels)).astype(np.int16)


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(module, "_AGAIN_S", 0.001)


def test_it_starts_with_the_first_take_and_one_thread_alone_touches_the_device():
    device = Microphone(3)
    with AlsaSource("mic", PROFILE, opener=Shelf(device)) as source:
        device.say(sound(0))
        assert (device.started, device.touched) == (0, set()) and (source.microphones, source.references) == (2, 1)
        first = source.take(WAIT_S)
        device.say(sound(160, 37))
        second = source.take(WAIT_S)
        assert (first.index, second.index, second.end) == (0, 160, 197)
        assert np.array_equal(np.concatenate([first.samples, second.samples]), sound(0, 197)[:, [2, 0, 1]])
        assert first.samples.flags.c_contiguous and first.samples.dtype == np.int16
    assert len(device.touched) == 1 and threading.get_ident() not in device.touched
    assert device.is_closed and source.counts == Counts()


def test_it_sleeps_until_its_descriptor_is_ready():
    device = Microphone(3)
    with AlsaSource("mic", PROFILE, opener=Shelf(device)) as source:
        device.say(sound(0))
        source.take(WAIT_S)
        assert source.take(0.2) is None
        quiet = device.calls
        assert source.take(0.2) is None and device.calls == quiet, "nothing is asked of a device that has nothing"
        device.say(sound(160))
        assert source.take(WAIT_S).index == 160


def test_another_thread_may_close_it_while_somebody_waits():
    device = Microphone(3)
    source = AlsaSource("mic", PROFILE, opener=Shelf(device))
    device.say(sound(0))
    taken, first = [], threading.Event()

    def listen():
        for block in source.blocks():
            taken.append(block)
            first.set()

    thread = threading.Thread(target=listen)
    thread.start()
    assert first.wait(WAIT_S)
    source.close()
    thread.join(WAIT_S)
    assert not thread.is_alive() and len(taken) == 1 and device.is_closed and len(device.touched) == 1
    source.close()
    assert source.take(WAIT_S) is None


def test_one_that_was_never_asked_for_anything_lets_its_device_go():
    device = Microphone(3)
    AlsaSource("mic", PROFILE, opener=Shelf(device)).close()
    assert device.is_closed and device.started == 0


def test_a_device_that_is_unplugged_and_comes_back(quick):
    """Not there for three attempts: a new epoch, counted from 0, and the first device's last samples are not lost."""
    before, after = Microphone(3), Microphone(3)
    shelf = Shelf(before, None, None, None, after)
    with AlsaSource("mic", PROFILE, opener=shelf) as source:
        before.say(sound(0))
        assert source.take(WAIT_S).epoch == 0
        after.say(sound(5_000))
        before.unplug()
        block = source.take(WAIT_S)
        assert (block.epoch, block.index, int(block.samples[0, 1])) == (1, 0, 20_000)
        assert source.counts == Counts(epochs=1, reopened=1) and shelf.opened == 5
        assert before.is_closed and source.track is not None
    assert after.is_closed


def test_closing_while_the_device_is_away(quick, monkeypatch):
    monkeypatch.setattr(module, "_AGAIN_S", 60.0)
    device = Microphone(3)
    shelf = Shelf(device)
    source = AlsaSource("mic", PROFILE, opener=shelf)
    device.say(sound(0))
    source.take(WAIT_S)
    device.unplug()
    thread = threading.Thread(target=source.close)
    thread.start()
    thread.join(WAIT_S)
    assert not thread.is_alive() and device.is_closed


def test_a_device_that_falls_silent_is_opened_anew(quick, monkeypatch):
    """One that neither gives frames nor fails, as an array whose firmware hangs."""
    monkeypatch.setattr(module, "_QUIET_S", 0.5)
    dumb, other = Microphone(3), Microphone(3)
    other.say(sound(0))
    with AlsaSource("mic", PROFILE, opener=Shelf(dumb, other)) as source:
        block = source.take(WAIT_S)
        assert (block.epoch, dumb.is_closed) == (1, True)


def test_what_nobody_takes_is_a_gap_and_counted():
    device = Microphone(3)
    with AlsaSource("mic", PROFILE, opener=Shelf(device)) as source:
        device.say(sound(0))
        assert source.take(WAIT_S).end == 160
        for first in range(160, 160 + 250 * 160, 160):  # two and a half seconds
            device.say(sound(first))
        assert device.emptied(WAIT_S)
        taken = list(iter(lambda: source.take(0.2), None))
        device.say(sound(8, 1))  # the gap shows with what comes after it
        taken.append(source.take(WAIT_S))
        lost = source.counts.untaken_samples
    ends = [160, *(block.end for block in taken)]
    gaps = sum(block.index - end for block, end in zip(taken, ends, strict=False))
    assert lost > 0 and lost == gaps == source.counts.missing_samples
    assert sum(len(block.samples) for block in taken) + lost == 250 * 160 + 1


def test_what_fails_in_the_thread_is_raised_where_blocks_are_taken():
    device = Microphone(3)
    device.fails = ZeroDivisionError("planted")
    device.wake()
    with AlsaSource("mic", PROFILE, opener=Shelf(device)) as source, pytest.raises(ZeroDivisionError, match="planted"):
        source.take(WAIT_S)
    assert device.is_closed
