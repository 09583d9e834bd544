"""What a player hands to its device, what it says that it did, and what it does when the device runs dry or goes away."""

import threading

import numpy as np
import pytest

from farfield.alsa import Player
from farfield.alsa import player as module
from farfield.errors import InputError
from reference.alsa import WAIT_S, Shelf, Speaker


def ramp(frames, first=1):
    return np.arange(first, first + frames, dtype=np.int16)[:, None]


def test_what_is_given_is_played_in_order_and_silence_in_between():
    device = Speaker()
    with Player("speaker", opener=Shelf(device)) as player:
        assert device.given(device.buffer) and device.writes[0] == device.buffer, "full before it begins to play"
        assert not device.heard.any()
        player.play(ramp(100))
        player.play(ramp(200, 101))
        device.play_out(480)
        assert player.wait(WAIT_S) and device.given(device.buffer + 480)
    assert np.array_equal(device.heard[device.buffer :], np.concatenate([ramp(300), np.zeros((180, 1), np.int16)]))
    assert len(device.touched) == 1 and threading.get_ident() not in device.touched and device.is_closed


def test_its_record_is_what_the_device_got():
    device = Speaker(2)
    with Player("speaker", 2, opener=Shelf(device)) as player:
        assert device.given(device.buffer)
        assert player.take() is None, "the record begins with the first call"
        random = np.random.default_rng(0)
        samples = random.integers(-9_000, 9_000, (1_000, 2)).astype(np.int16)
        player.play(samples)
        taken = []
        for frames in (160, 7, 400, 333, 800):
            device.play_out(frames)
        while sum(len(block.samples) for block in taken) < 1_600:
            taken.append(player.take(WAIT_S))
        begin = taken[0].index
        assert [block.index for block in taken[1:]] == [block.end for block in taken[:-1]]
        record = np.concatenate([block.samples for block in taken])
        assert begin == device.buffer and np.array_equal(record, device.heard[begin : begin + len(record)])
        assert np.array_equal(record[:1_000], samples) and not record[1_000:].any()


def test_a_device_that_runs_dry_begins_an_epoch_and_loses_nothing_of_what_was_given():
    device = Speaker()
    with Player("speaker", opener=Shelf(device)) as player:
        assert device.given(device.buffer)
        player.take()
        player.play(ramp(300))
        device.runs_dry = True
        device.wake()
        block = player.take(WAIT_S)
        assert (player.underruns, player.epoch, block.epoch, block.index) == (1, 1, 1, 0)
        assert len(block.samples) == device.buffer and np.array_equal(block.samples[:300], ramp(300))


def test_a_device_that_goes_away_is_opened_again(monkeypatch):
    monkeypatch.setattr(module, "_AGAIN_S", 0.001)
    before, after = Speaker(), Speaker()
    with Player("speaker", opener=Shelf(before, None, after)) as player:
        assert before.given(before.buffer)
        before.unplug()
        assert after.given(after.buffer)
        assert before.is_closed and player.underruns == 1
        player.play(ramp(10))
        after.play_out(160)
        assert after.given(after.buffer + 160) and np.array_equal(after.heard[after.buffer :][:10], ramp(10))


def test_its_track_is_of_what_has_been_heard_not_of_what_was_written():
    device = Speaker()
    with Player("speaker", opener=Shelf(device)) as player:
        assert device.given(device.buffer) and not player.track.is_known
        for _ in range(3):
            written = len(device.heard)
            device.play_out(160)
            assert device.given(written + 160)
        player.play(ramp(1))
        device.play_out(160)
        assert player.wait(WAIT_S)
        assert player.track.is_known
        assert player.track.index(player.track.host_ns(320)) == pytest.approx(320)


def test_closing_ends_it_whoever_waits():
    device = Speaker()
    player = Player("speaker", opener=Shelf(device))
    assert device.given(device.buffer)
    player.play(ramp(100_000 % 30_000))
    waited = []
    thread = threading.Thread(target=lambda: waited.append(player.wait()))
    thread.start()
    player.close()
    thread.join(WAIT_S)
    assert waited == [False] and device.is_closed
    player.close()


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        (np.zeros((10, 1)), r"got float64 \(10, 1\), wanted int16 \(frames, 1\)"),
        (np.zeros((10, 2), np.int16), r"got int16 \(10, 2\)"),
        (np.zeros(10, np.int16), r"got int16 \(10,\)"),
    ],
)
def test_samples_of_another_kind_are_refused(samples, told):
    with Player("speaker", opener=Shelf(Speaker())) as player, pytest.raises(InputError, match=told):
        player.play(samples)


@pytest.mark.parametrize("channels", [0, 5])
def test_more_channels_than_a_chain_takes_are_refused(channels):
    with pytest.raises(InputError, match=f"got {channels} channels, wanted 1 to 4"):
        Player("speaker", channels, opener=Shelf(Speaker()))
