"""What pyalsaaudio gives without being asked is refused, and what it does not tell is found out otherwise.

The library is in software here, as its documentation has it: a set-up that cannot be had is changed without a word.
"""

import select
import sys

import pytest

from farfield.alsa import pcm
from farfield.alsa.pcm import DeviceError, Pcm
from farfield.errors import InputError

ASKED = {"rate": 16_000, "channels": 4, "period": 160, "periods": 16}


class AlsaError(Exception):
    pass


class Library:
    """Stands for the module. changes: what is got otherwise than asked. stamps: whether the driver has timestamps."""

    PCM_CAPTURE, PCM_PLAYBACK, PCM_NONBLOCK, PCM_FORMAT_S16_LE = 1, 0, 1, 2
    PCM_TSTAMP_TYPE_MONOTONIC, PCM_TSTAMP_ENABLE = 1, 1
    ALSAAudioError = AlsaError

    def __init__(self, stamps=True, **changes):
        self.changes, self.stamps, self.opened = changes, stamps, []

    def PCM(self, direction, mode, **asked):
        made = Opened(self, asked)
        self.opened.append(made)
        return made


class Opened:
    def __init__(self, library, asked):
        self._library, self._asked, self.is_closed = library, asked, False
        self.stamped, self.available, self.told, self.fails = (0, 0, 0), 0, select.POLLIN, None
        self.is_monotonic = False

    def info(self):
        asked = self._asked
        got = {"rate": asked["rate"], "channels": asked["channels"], "format_name": "S16_LE", "period_size": asked["periodsize"]}
        return got | {"buffer_size": asked["periodsize"] * asked["periods"]} | self._library.changes

    def set_tstamp_type(self, kind):
        if not self._library.stamps:
            raise RuntimeError("no timestamps")
        self.is_monotonic = kind == 1

    def set_tstamp_mode(self, mode):
        pass

    def get_tstamp_type(self):
        return int(self.is_monotonic)

    def htimestamp(self):
        return self.stamped

    def avail(self):
        return self.available

    def read(self):
        if self.fails:
            raise AlsaError(self.fails)
        return 0, b""

    def polldescriptors(self):
        return [(7, select.POLLIN)]

    def polldescriptors_revents(self, events):
        return self.told

    def close(self):
        self.is_closed = True


@pytest.fixture
def library(monkeypatch):
    def made(**arguments):
        library = Library(**arguments)
        monkeypatch.setattr(pcm, "library", lambda: library)
        return library

    return made


def opened(clock=lambda: 5_000_000_000, capture=True):
    return Pcm("hw:1", capture=capture, clock=clock, **ASKED)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rate": 48_000}, "rate 48000 for 16000"),
        ({"channels": 2}, "channels 2 for 4"),
        ({"format_name": "S32_LE"}, "format S32_LE for S16_LE"),
        ({"period_size": 170}, "period_size 170 for 160"),
        ({"buffer_size": 320}, "buffer 320 for 2560"),
        ({"rate": 44_100, "channels": 6}, "rate 44100 for 16000, channels 6 for 4"),
    ],
)
def test_a_set_up_that_was_changed_without_a_word_is_refused(library, changes, told):
    made = library(**changes)
    with pytest.raises(InputError) as error:
        opened()
    assert str(error.value).startswith(f"hw:1: got {told}; wanted") and str(error.value).endswith("plug:hw:1")
    assert "\n" not in str(error.value) and made.opened[0].is_closed


def test_a_larger_memory_than_asked_for_is_no_reason_to_refuse(library):
    library(buffer_size=4_096)
    assert opened().buffer == 4_096


def test_a_stamp_is_the_drivers_where_it_can_be_one_and_ours_where_it_cannot(library):
    """Wall-clock time, a moment yet to come, one long gone and a count beyond the memory are arbitrary numbers."""
    made = library()
    device = opened()
    made.opened[0].available = 320
    for stamped, wanted in [
        ((4, 990_000_000, 160), (160, 4_990_000_000)),
        ((1_700_000_000, 0, 160), (320, 5_000_000_000)),
        ((5, 1, 160), (320, 5_000_000_000)),
        ((3, 0, 160), (320, 5_000_000_000)),
        ((4, 990_000_000, 2_561), (320, 5_000_000_000)),
        ((4, 990_000_000, -32), (320, 5_000_000_000)),
    ]:
        made.opened[0].stamped = stamped
        assert device.stamp() == wanted


def test_a_driver_without_timestamps_is_read_beside_the_hosts_clock(library):
    made = library(stamps=False)
    device = opened()
    made.opened[0].stamped, made.opened[0].available = (4, 0, 999), 7
    assert device.stamp() == (7, 5_000_000_000)
    made.opened[0].available = -32  # an overrun that the next read will tell of
    assert device.stamp() == (0, 5_000_000_000)
    made.opened[0].available = -19
    with pytest.raises(DeviceError, match="avail gives -19"):
        device.stamp()


def test_a_player_that_ran_dry_can_be_written_to(library):
    """Or nobody would: it plays again after a write alone."""
    made = library()
    device = opened(capture=False)
    made.opened[0].available = -32
    assert device.stamp() == (device.buffer, 5_000_000_000)


def test_a_device_that_fails_or_hangs_up_is_gone(library):
    made = library()
    device = opened()
    made.opened[0].fails = "No such device [hw:1]"
    with pytest.raises(DeviceError, match="No such device"):
        device.read()
    for told, gone in [
        (select.POLLIN, False),
        (select.POLLHUP, True),
        (select.POLLIN | select.POLLHUP, False),
        (select.POLLNVAL, True),
    ]:
        made.opened[0].told = told
        if gone:
            with pytest.raises(DeviceError, match="hung up"):
                device.woken([(7, told)])
        else:
            device.woken([(7, told)])


def test_no_such_device_and_no_library_are_one_line(monkeypatch):
    pytest.importorskip("alsaaudio")
    with pytest.raises(InputError, match=r"no-such-device: cannot be opened .*; wanted an ALSA capture device that is free"):
        Pcm("no-such-device", capture=True, **ASKED)
    monkeypatch.setitem(sys.modules, "alsaaudio", None)
    with pytest.raises(InputError, match=r"pyalsaaudio: not installed; .*pip install 'farfield\[alsa\]'"):
        Pcm("hw:1", capture=True, **ASKED)
