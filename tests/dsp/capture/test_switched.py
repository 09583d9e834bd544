"""Mute closes the capture device, before it says so, and nothing is heard until it is open again."""

import itertools
import os
import signal

import numpy as np
import pytest

from farfield import Block
from farfield.capture.switched import Switched
from farfield.errors import InputError

NEVER = "--model", "snowboy"


class Device:
    """A device that tells when it is opened and closed, and gives a block of so many each time."""

    def __init__(self, told, blocks=3, epochs=1):
        self.told, self._blocks, self._epochs = told, blocks, epochs

    def __enter__(self):
        self.told.append("open")
        return self

    def __exit__(self, *_):
        self.told.append("closed")

    def counts(self):
        return {"lost": 1}

    def blocks(self, stop):
        for number in range(self._blocks):
            if stop():
                return
            yield Block(np.full((4, 1), 7, np.int16), 4 * number, number * self._epochs // self._blocks)


def test_mute_closes_first_and_each_opening_is_an_epoch_of_its_own():
    told, given = [], []
    switched = Switched(lambda: Device(told, 4, 2), lambda: told.append("muted"), lambda: told.append("unmuted"))
    with switched as source:
        stops = itertools.count()

        def stop():
            if next(stops) > 40:
                return True
            if told[-1] == "muted":
                source.unmute()
            return False

        for block in source.blocks(stop):
            given.append(block)
            if len(given) in (2, 6):
                source.mute()
            assert told[-1] in ("open", "unmuted") and block.samples.any()
            if len(given) == 8:
                break
    assert told == ["open", "closed", "muted", "open", "unmuted", "closed", "muted", "open", "unmuted", "closed"]
    assert [block.epoch for block in given] == [0, 0, 1, 1, 2, 2, 3, 3], "two epochs of the device's own each time"
    assert not any(block.samples.any() for block in given[:-1]), "a block is zeroed when the next is asked for"


def test_who_is_unmuted_before_the_device_is_closed_was_muted_all_the_same():
    """At once, and while it is being closed: what was heard is forgotten, and it goes on."""
    told = []

    class Slow(Device):
        def __exit__(self, *_):
            super().__exit__()
            source.unmute()

    with Switched(lambda: Slow(told), lambda: told.append("muted"), lambda: told.append("unmuted")) as source:
        blocks = source.blocks()
        for unmutes in (True, False):
            assert [next(blocks).index, next(blocks).index] == [0, 4]
            source.mute()
            if unmutes:
                source.unmute()
        assert next(blocks).index == 0
        assert told == ["open", *["closed", "muted", "open", "unmuted"] * 2]


def test_what_went_wrong_is_counted_over_all_openings():
    with Switched(lambda: Device([]), lambda: None, lambda: None) as source:
        told = []
        for block in source.blocks(lambda: len(told) > 5):
            told.append(block)
            if len(told) == 2:
                source.mute()
                source._muted = source.unmute
        assert source.counts() == {"lost": 2}


def test_a_device_that_is_not_there_is_final_at_first_and_waited_for_after_a_mute():
    attempts = []

    def opened():
        attempts.append(None)
        if len(attempts) in (1, 3):
            raise InputError("no such device")
        return Device([])

    with pytest.raises(InputError, match="no such device"), Switched(opened, lambda: None, lambda: None):
        pass
    with Switched(opened, lambda: None, lambda: None) as source:
        source._muted = source.unmute
        heard = []
        for block in source.blocks(lambda: len(heard) > 4):
            heard.append(block)
            if len(heard) == 2:
                source.mute()
    assert len(attempts) == 4 and len(heard) == 5


@pytest.mark.parametrize("fault", ["none", "stays-open"])
def test_the_real_listener_holds_no_device_once_it_says_that_it_is_muted(listening, layout, fault):
    """The kernel's own list of what it has open, at the moment that `muted` is told. One that keeps it open is found."""
    shape = (1, 0)
    with listening(shape, "--profile", layout(*shape), *NEVER, "--preroll-ms", 0, faults=fault) as run:
        run.until('"type": "listening"')
        run.until('"state": "listening"')
        run.heard_s(0.3)
        assert has_open(run)
        run.send(signal.SIGUSR1)
        run.until('"muted"')
        assert has_open(run) == (fault != "none")
        if fault == "none":
            run.send(signal.SIGUSR2)
            run.until('"state": "listening"')
            assert has_open(run)


def has_open(run):
    """Whether the process has the board's line open."""
    try:
        held = os.listdir(f"/proc/{run.pid}/fd")
        return any(os.readlink(f"/proc/{run.pid}/fd/{number}") == run.board.port for number in held)
    except PermissionError:
        pytest.skip("the listener hides its files from the user that runs it; looking at them takes root")
