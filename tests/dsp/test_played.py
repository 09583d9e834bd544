"""Words that the device itself plays wake nobody, and words that a talker says while it plays other things do."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile

from farfield import Chain, load_model, load_profile
from farfield.block import Block
from farfield.hil import demo_room, load_room

RATE = 16_000


@pytest.fixture(scope="module")
def word():
    """The wake word, from the room that ships, before its music starts; int16."""
    room = demo_room()
    samples, _ = soundfile.read(room / "mics.flac", dtype="int16")
    first = load_room(room).words[0]
    return samples[max(0, first.start - 1_600) : first.end + 1_600, 0]


def streams(word, said_at, played_at, echo_samples=9_000):
    """A microphone that hears a talker and, halved and late, what is played; and the reference; int16 (5 s, 2)."""
    mic, ref = np.zeros(5 * RATE), np.zeros(5 * RATE)
    for at in said_at:
        mic[at : at + len(word)] += word
    for at in played_at:
        ref[at : at + len(word)] += word
        mic[at + echo_samples : at + echo_samples + len(word)] += 0.5 * word
    return np.stack([mic, ref], axis=1).astype(np.int16)


PROFILE = load_profile("single")


def events(captured, cuts=(1_000,), profile=PROFILE):
    """What wakes the chain, and what it takes for its own; so late an echo is beyond the canceller until it is aligned."""
    chain = Chain(profile, [load_model("alexa")], references=1)
    woke, own, at = [], [], 0
    while at < len(captured):
        size = cuts[at % len(cuts)]
        woke += chain.process(Block(captured[at : at + size], at))
        own += chain.played
        at += size
    return woke, own


@pytest.mark.parametrize("echo_samples", [4_000, 9_000])
def test_a_word_that_the_device_plays_wakes_nobody(word, echo_samples):
    """Planted: a chain that does not heed what is played is woken by it."""
    captured = streams(word, [], [RATE], echo_samples)
    woke, own = events(captured)
    assert not woke and len(own) == 1
    woke, own = events(captured, profile=replace(PROFILE, ignore_own_words=False))
    assert len(woke) == 1 and not own


def test_a_talker_is_heard_well_after_the_device_has_said_the_word(word):
    woke, own = events(streams(word, [int(3.6 * RATE)], [RATE // 2]), cuts=(700, 3_000, 1))
    assert len(woke) == len(own) == 1
    assert woke[0].start > 3 * RATE > own[0].end


@pytest.mark.parametrize("behind_samples", [1_400, 1_800])
def test_a_reference_far_behind_its_echo_counts_alike_for_any_cutting(word, behind_samples):
    """What it holds after a decision has been heard by then where the block is long, and has not where it is short."""
    captured = streams(word, [RATE], [])
    captured[RATE + behind_samples : RATE + behind_samples + len(word), 1] = word
    profile = replace(PROFILE, patient_echo=False)
    wanted = events(captured, (160,), profile)
    assert events(captured, (len(captured),), profile) == wanted and sum(map(len, wanted)) == 1


def test_another_epoch_has_nothing_to_do_with_it(word):
    chain = Chain(PROFILE, [load_model("alexa")], references=1)
    chain.process(Block(streams(word, [], [2 * RATE])[: 3 * RATE], 0))
    said = streams(word, [RATE], [])
    assert len(chain.process(Block(said, 3 * RATE - 100, epoch=1))) == 1
    assert not chain.played


def test_reset_forgets_what_was_played(word):
    chain = Chain(PROFILE, [load_model("alexa")], references=1)
    chain.process(Block(streams(word, [], [RATE])[: 2 * RATE], 0))
    chain.reset()
    assert len(chain.process(Block(streams(word, [RATE], []), 0))) == 1
