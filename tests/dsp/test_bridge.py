"""Short gaps: bridged within a chain, whatever the cut into blocks; longer ones are left as they are."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield.block import Block
from farfield.bridge import LONGEST, Bridge
from farfield.chain import Chain
from farfield.profile import load_profile
from reference.planted import Planted

SOUND = np.random.default_rng(5).integers(-9_000, 9_000, (8_000, 2)).astype(np.int16)


def over(bridge, pieces):
    """What comes out of pieces (start, end) of the sound; blocks must follow each other."""
    blocks = [bridge.over(Block(SOUND[start:end], start)) for start, end in pieces]
    assert all(first.end == second.index for first, second in pairwise(blocks))
    return np.concatenate([block.samples for block in blocks])


@given(gap=st.integers(1, LONGEST), cuts=st.lists(st.integers(1, 700), min_size=2, max_size=20))
def test_the_cut_into_blocks_changes_nothing_and_what_was_heard_stays(gap, cuts):
    ends = [LONGEST + 160, LONGEST + 160 + gap]
    whole = over(Bridge(), [(0, ends[0]), (ends[1], 8_000)])
    edges = sorted({0, ends[0], *np.cumsum(cuts).tolist()} - set(range(ends[0] + 1, ends[1] + 1)) | {ends[1], 8_000})
    pieces = [(a, b) for a, b in pairwise(edges) if a != ends[0] and a < b <= 8_000]
    bridge = Bridge()
    assert np.array_equal(over(bridge, pieces), whole) and bridge.bridged == gap
    assert np.array_equal(whole[: ends[0]], SOUND[: ends[0]]) and np.array_equal(whole[ends[1] :], SOUND[ends[1] :])


def test_a_constant_goes_on_as_it_is_and_a_step_is_a_straight_line():
    """Closed forms: the mirror of a constant is the constant; tilted to another, it rises by equal steps."""
    bridge = Bridge()
    bridge.over(Block(np.full((LONGEST, 1), 100, np.int16), 0))
    made = bridge.over(Block(np.full((50, 1), 100, np.int16), LONGEST + 40))
    assert made.index == LONGEST and (made.samples == 100).all() and len(made.samples) == 90
    bridge.reset()
    bridge.over(Block(np.zeros((LONGEST, 1), np.int16), 0))
    made = bridge.over(Block(np.full((5, 1), 500, np.int16), LONGEST + 4))
    assert made.samples[:, 0].tolist() == [100, 200, 300, 400, 500, 500, 500, 500, 500]


@pytest.mark.parametrize(("index", "epoch"), [(2 * LONGEST + 1, 0), (LONGEST, 1), (LONGEST + 10, 1), (LONGEST - 10, 0)])
def test_a_longer_gap_a_new_epoch_and_a_step_back_pass_as_they_are(index, epoch):
    bridge = Bridge()
    bridge.over(Block(SOUND[:LONGEST], 0))
    block = Block(SOUND[:200], index, epoch)
    assert bridge.over(block) is block and bridge.bridged == 0


def test_a_stream_too_young_to_know_its_sound_is_not_bridged():
    bridge = Bridge()
    bridge.over(Block(SOUND[: LONGEST - 1], 0))
    block = Block(SOUND[:200], LONGEST + 10)
    assert bridge.over(block) is block


def test_a_chain_goes_on_over_a_short_gap_and_keeps_its_place():
    """The planted network decides at its 40th step, at the same capture index with and without a lost frame before it."""

    def decided(pieces):
        chain = Chain(load_profile("single"), [Planted([0] * 39 + [255] + [0] * 9, stride=1)])
        return [event.decision for start, end in pieces for event in chain.process(Block(SOUND[start:end, :1], start))]

    whole = decided([(0, 8_000)])
    assert len(whole) == 1 and decided([(0, 3_200), (3_360, 8_000)]) == whole
    assert decided([(0, 3_200), (4_000, 8_000)]) == [], "started anew"
