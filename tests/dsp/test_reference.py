"""A reference of another clock beside the microphones: both clocks, the sound and when it was made are known."""

import numpy as np
import pytest

from farfield.block import Block
from farfield.errors import InputError
from farfield.reference import Referenced
from farfield.track import Track
from reference.alsa import HostClock

RATE = 16_000
PERIOD = 160
BORN_NS = 10**15
TONES_HZ = np.array([211.0, 523.0, 1_031.0, 2_003.0, 3_511.0])


def sound(seconds):
    """What the loudspeaker plays, at any moment."""
    return 4_000 * np.sin(2 * np.pi * TONES_HZ * np.asarray(seconds, np.float64)[..., None]).sum(axis=-1)


class Device:
    """Captures `sound` by a clock of its own from `begun_s` on; each period is noticed late, at random."""

    def __init__(self, clock, ppm, begun_s, seed, late_s=0.002):
        self.channels, self.microphones, self.references = 1, 1, 0
        self._clock, self._rate, self._begun_s = clock, RATE * (1 + ppm * 1e-6), begun_s
        self._random, self._late_s = np.random.default_rng(seed), late_s
        self.track, self.epoch, self._next = Track(RATE), 0, 0
        self.holes = []  # seconds from and to in which it captures nothing
        self._arrives_ns = 0

    def moment(self, index):
        return self._begun_s + index / self._rate

    def _due(self):
        return BORN_NS + int((self.moment(self._next + PERIOD) + self._random.exponential(self._late_s)) * 1e9)

    def next_block(self):
        self._arrives_ns = self._arrives_ns or self._due()
        self._clock.now_ns = max(self._clock.now_ns, self._arrives_ns)
        return self._made()

    def _made(self):
        index = np.arange(self._next, self._next + PERIOD)
        samples = np.rint(sound(self.moment(index))).astype(np.int16)[:, None]
        self._next += PERIOD
        self.track.add(self._next, self._arrives_ns)
        block = Block(samples, int(index[0]), self.epoch, self._arrives_ns)
        self._arrives_ns = 0
        for begin, end in self.holes:
            if begin <= self.moment(index[0]) < end:
                return None
        return block

    def blocks(self, stop=lambda: False):
        while not stop():
            block = self.next_block()
            if block is not None:
                yield block

    def take(self, timeout_s=0.0):
        """As a device's own thread would have it ready."""
        until = self._clock.now_ns + int(timeout_s * 1e9)
        while True:
            self._arrives_ns = self._arrives_ns or self._due()
            if self._arrives_ns > until:
                self._clock.now_ns = until
                return None
            before = self._clock.now_ns
            self._clock.now_ns = max(before, self._arrives_ns)
            block = self._made()
            if block is not None:
                return block


def heard(mic_ppm, reference_ppm, seconds, holes=(), late_s=0.002):
    clock = HostClock(BORN_NS)
    mics = Device(clock, mic_ppm, 0.0, 1, late_s)
    feed = Device(clock, reference_ppm, 0.7321, 2, late_s)
    feed.holes = list(holes)
    source = Referenced(mics, feed, clock)
    blocks = []
    for block in source.blocks():
        blocks.append(block)
        if block.end >= seconds * RATE:
            return blocks, source, mics


def late_by(blocks, mics, begin_s, end_s):
    """By how much the reference's sound is late against the microphones', s, and what of it no delay explains, dB."""
    index = np.arange(int(begin_s * RATE), int(end_s * RATE))
    at = {block.index: block for block in blocks}
    first = index[0] // PERIOD * PERIOD
    got = np.concatenate([at[n].samples for n in range(first, index[-1] + 1, PERIOD)]).astype(np.float64)
    got = got[index[0] - first :][: len(index)]
    wave = 2 * np.pi * TONES_HZ[None, :] * mics.moment(index)[:, None]
    parts = np.concatenate([np.sin(wave), np.cos(wave)], axis=1)
    fitted, *_ = np.linalg.lstsq(parts, got[:, 1], rcond=None)
    remains = got[:, 1] - parts @ fitted
    phase = np.arctan2(-fitted[len(TONES_HZ)], fitted[0])  # of the lowest tone, which no delay below 2 ms turns around
    return phase / (2 * np.pi * TONES_HZ[0]), 10 * np.log10(np.mean(remains**2) / np.mean(got[:, 1] ** 2))


@pytest.mark.parametrize(("mic_ppm", "reference_ppm"), [(0.0, 0.0), (-250.0, 250.0), (100.0, -400.0), (37.0, 37.0)])
def test_two_clocks_become_one(mic_ppm, reference_ppm):
    """To 500 ppm, through 2 ms of jitter: after 60 s the reference lies within 0.5 ms and moves by less than 8 ppm."""
    blocks, source, mics = heard(mic_ppm, reference_ppm, 100)
    drift = ((1 + reference_ppm * 1e-6) / (1 + mic_ppm * 1e-6) - 1) * 1e6
    assert source.drift_ppm == pytest.approx(drift, abs=5)
    assert source.offset_samples == pytest.approx(-0.7321 * RATE * (1 + reference_ppm * 1e-6), abs=8)
    early, worst_db = late_by(blocks, mics, 60, 60.1)
    late, clean_db = late_by(blocks, mics, 98, 98.1)
    print(f"{mic_ppm}, {reference_ppm} ppm: {early * 1e3:.3f} to {late * 1e3:.3f} ms, {clean_db:.0f} dB")
    assert abs(early) < 5e-4 and abs(late) < 5e-4 and abs(late - early) / 38 < 8e-6
    assert max(worst_db, clean_db) < -40
    assert source.restarts <= 2 and source.missing_samples < RATE


def test_without_it_they_part():
    """The planted case: the same clocks, samples laid side by side as they come, part by 0.4 ms a second."""
    clock = HostClock(BORN_NS)
    mics, feed = Device(clock, -200.0, 0.0, 1), Device(clock, 200.0, 0.0, 2)
    mics._next = feed._next = 0
    blocks = []
    for block in mics.blocks():
        other = feed.next_block()
        blocks.append(Block(np.concatenate([block.samples, other.samples], axis=1), block.index))
        if block.end >= 4 * RATE:
            break
    first, last = late_by(blocks, mics, 0.5, 0.6)[0], late_by(blocks, mics, 3.5, 3.6)[0]
    assert (last - first) / 3.0 == pytest.approx(400e-6, rel=0.1)


def test_a_reference_that_stays_away_is_silence_and_counted_and_comes_back():
    blocks, source, mics = heard(0.0, 100.0, 30, holes=[(12.0, 15.0)])
    silent = [block.index / RATE for block in blocks[200:] if not block.samples[:, 1].any()]
    assert 12.0 - 0.8 < silent[0] < 12.1 and 14.9 < silent[-1] < 15.2 and len(silent) == pytest.approx(300, abs=15)
    assert source.missing_samples == pytest.approx(3.75 * RATE, rel=0.1) and source.restarts <= 3
    assert abs(late_by(blocks, mics, 28, 28.1)[0]) < 1e-3


def test_the_microphones_do_not_wait_for_a_reference_for_long():
    blocks, _, _ = heard(0.0, 0.0, 10, holes=[(5.0, 100.0)])
    assert [block.index for block in blocks] == list(range(0, 10 * RATE, PERIOD))


def test_microphones_come_through_bit_for_bit():
    blocks, _, mics = heard(50.0, -50.0, 3)
    index = np.arange(3 * RATE)
    got = np.concatenate([block.samples[:, 0] for block in blocks])
    assert np.array_equal(got, np.rint(sound(mics.moment(index))).astype(np.int16))


def test_references_of_ones_own_are_refused():
    clock = HostClock(BORN_NS)
    mics, feed = Device(clock, 0.0, 0.0, 1), Device(clock, 0.0, 0.0, 2)
    mics.references = 2
    with pytest.raises(InputError, match="got a source that has 2 of its own, wanted one that has none"):
        Referenced(mics, feed, clock)
    feed.channels = 5
    with pytest.raises(InputError, match="reference: got 5 channels, wanted 1 to 4"):
        Referenced(mics, feed, clock)
