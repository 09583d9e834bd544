"""A device at another rate than 16 kHz: the same samples as a file would give, each at its exact place, after gaps too."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from farfield.alsa import AlsaSource
from farfield.alsa.resampled import Resampled, TrackAt16k
from farfield.block import Block
from farfield.profile import Profile
from farfield.track import Track
from reference.alsa import RATE, WAIT_S, Microphone, Shelf

RATES = [8_000, 32_000, 44_100, 48_000, 96_000]
TONES_HZ = (440.0, 1_234.5, 2_800.0)


def captured(first, frames, rate):
    """Tones as a device captures them whose sample 0 is at time 0."""
    seconds = (first + np.arange(frames)) / rate
    return np.rint(sum(5_000 * np.sin(2 * np.pi * hz * seconds) for hz in TONES_HZ)).astype(np.int16)[:, None]


def given_out(rate, spans):
    """What comes out of blocks of (first, frames), the end of the stream included."""
    resampled = Resampled(rate, 1)
    made = []
    for first, frames in spans:
        made += resampled.take(Block(captured(first, frames, rate), first, 0, first + frames))
    return made + resampled.finish(0)


def runs(blocks):
    """Blocks that follow each other without a gap, joined: first index and samples."""
    joined = []
    for block in blocks:
        if joined and joined[-1][0] + sum(map(len, joined[-1][1])) == block.index:
            joined[-1][1].append(block.samples)
        else:
            joined.append((block.index, [block.samples]))
    return [(first, np.concatenate(parts)) for first, parts in joined]


@given(st.sampled_from(RATES), st.lists(st.integers(1, 1_000), min_size=1, max_size=40))
def test_it_is_what_a_file_of_the_same_sound_gives_for_any_cut_into_blocks(rate, lengths):
    ends = np.cumsum(lengths).tolist()
    made = runs(given_out(rate, zip([0, *ends[:-1]], lengths, strict=True)))
    whole = soxr.resample(captured(0, ends[-1], rate).astype(np.float32), rate, RATE, quality="HQ")
    expected = np.clip(np.rint(whole), -32_768, 32_767).astype(np.int16)[: ends[-1] * RATE // rate]
    if len(expected) == 0:
        assert made == []
        return
    [(first, samples)] = made
    assert first == 0 and np.array_equal(samples, expected)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("lost", [1, 2, 3, 441, 4_801, 100_003])
def test_after_a_gap_each_sample_lies_where_it_was_captured(rate, lost):
    """By closed form: away from the gap's edges the tones are what they were at the moment that the index says."""
    half = rate // 2
    spans = [(first, 480) for first in range(0, half, 480)]
    begin = spans[-1][0] + 480 + lost
    spans += [(first, 480) for first in range(begin, begin + half, 480)]
    (first, before), (second, after) = runs(given_out(rate, spans))
    end = first + len(before)
    assert first == 0 and end == (begin - lost) * RATE // rate
    least = Fraction(begin * RATE, rate)
    assert end <= second and least <= second < least + Fraction(RATE, 100) + 1, "a part of 10 ms is given up at most"
    for index, samples in ((first, before), (second, after)):
        inner = slice(400, len(samples) - 400)
        wanted = captured(index, len(samples), RATE)
        error = samples[inner].astype(float) - wanted[inner]
        assert np.sqrt(np.mean(error**2)) < 1.0, "rounding, twice"


def test_every_lost_sample_is_one_that_a_jump_shows():
    """Random gaps: what comes out and what is missing between are the whole, in 16 kHz samples."""
    random = np.random.default_rng(0)
    at, spans = 0, []
    for _ in range(400):
        frames = int(random.integers(1, 700))
        spans.append((at, frames))
        at += frames + (int(random.integers(1, 5_000)) if random.random() < 0.1 else 0)
    made = given_out(48_000, spans)
    ends = [0] + [block.end for block in made]
    gaps = [block.index - end for block, end in zip(made, ends, strict=False)]
    assert min(gaps) >= 0 and ends[-1] == (spans[-1][0] + spans[-1][1]) // 3
    lost = sum(b[0] - a[0] - a[1] for a, b in pairwise(spans))
    assert sum(gaps) == pytest.approx(lost / 3, abs=2 * sum(gap > 0 for gap in gaps))


def test_a_new_epoch_begins_at_zero():
    resampled = Resampled(48_000, 1)
    blocks = resampled.take(Block(captured(0, 4_800, 48_000), 0, 0, 1))
    blocks += resampled.take(Block(captured(0, 4_800, 48_000), 0, 1, 2)) + resampled.finish(3)
    assert {block.epoch: sum(len(b.samples) for b in blocks if b.epoch == block.epoch) for block in blocks} == {
        0: 1_600,
        1: 1_600,
    }
    assert next(block.index for block in blocks if block.epoch == 1) == 0


def test_a_sample_leaves_within_the_delay_that_is_told():
    """40 ms at 48 kHz, in blocks of 10 ms."""
    resampled = Resampled(48_000, 1)
    out, late = 0, []
    for first in range(0, 96_000, 480):
        out += sum(len(block.samples) for block in resampled.take(Block(captured(first, 480, 48_000), first)))
        late.append((first + 480) / 3 - out)
    assert max(late) <= 0.037 * RATE


def test_its_track_is_the_devices_in_other_samples():
    own = Track(48_000)
    for second in range(10):
        own.add(480_000 + second * 48_000, second * 1_000_000_000)
    track = TrackAt16k(own)
    assert (track.is_known, track.is_steady, track.drift_ppm) == (True, True, own.drift_ppm)
    assert track.host_ns(160_000) == own.host_ns(480_000) and track.index(own.host_ns(480_000)) == pytest.approx(160_000)


def test_a_source_of_another_rate():
    """The whole of it: the profile's rate, its columns, and 16 kHz out."""
    device = Microphone(2)
    device.rate = 48_000
    profile = Profile("fast", "", 48_000, 2, (1,), (0,), ((0.0, 0.0, 0.0),))
    sound = np.concatenate([captured(0, 24_000, 48_000), -captured(0, 24_000, 48_000)], axis=1)
    taken = []
    with AlsaSource("mic", profile, opener=Shelf(device)) as source:
        for first in range(0, 24_000, 480):
            device.say(sound[first : first + 480])
        while sum(len(block.samples) for block in taken) < 7_000:
            taken.append(source.take(WAIT_S))
        assert source.counts.missing_samples == 0 and isinstance(source.track, TrackAt16k)
    [(first, samples)] = runs(taken)
    wanted = soxr.resample(sound[:, ::-1].astype(np.float32), 48_000, RATE, quality="HQ")
    assert first == 0 and np.array_equal(samples, np.rint(wanted[: len(samples)]).astype(np.int16))
