"""The bench's books: what was lost is counted to the sample, and each way to lose or invent a sample unnoticed is noticed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield.hil.faults import Faults
from farfield.hil.ledger import Ledger, stopped_by
from farfield.hil.rigs import FileRig
from farfield.hil.rigs.base import NO_FAULTS
from reference.scenes import Spoilt, altered, cut_short, doubled, left_out, noise, silenced, silently_lost

SCENE = noise(1.0, 2, 1)


def books(rig, faults=NO_FAULTS, scene=SCENE):
    """The books of a pass, and the samples that the ledger placed, with where."""
    stream = rig.play(scene, faults)
    ledger = Ledger(stream, rig)
    placed = [block for raw in stream.blocks(stopped_by(ledger, lambda: False)) if (block := ledger.place(raw)) is not None]
    return ledger.close(), placed


def test_what_goes_in_comes_out():
    found, placed = books(FileRig())
    assert (found.lost, found.unexplained) == (0, ())
    assert np.array_equal(np.concatenate([block.samples for block in placed]), SCENE.samples)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (silently_lost(3_200), "sample 3200: got"),
        (left_out(3_200), "160 samples are missing from the stream, its source counted 0"),
        (altered(3_333), "sample 3333: got"),
        (doubled(3_200), "samples came twice"),
        (cut_short(3_200), "the stream ended at sample 3200 of 16000"),
        (silenced(3_200), "sample 3200: got"),
        (left_out(0), "160 samples are missing from the stream, its source counted 0"),
        (cut_short(15_840), "the stream ended at sample 15840 of 16000"),
    ],
    ids=["lost without a trace", "not counted", "one bit", "twice", "short", "silence for sound", "the first", "the last"],
)
def test_what_is_not_accounted_for_is_seen(spoil, told):
    found, _ = books(Spoilt(FileRig(), spoil))
    assert any(told in text for text in found.unexplained), found.unexplained


@given(
    lost=st.sampled_from([0.0, 0.02, 0.3]),
    stall_s=st.sampled_from([0.0, 0.2, 0.4]),
    unplug_s=st.sampled_from([0.0, 0.1, 3.0]),
    seed=st.integers(0, 1_000),
)
def test_losses_that_were_asked_for_are_counted_to_the_sample(lost, stall_s, unplug_s, seed):
    found, placed = books(FileRig(seed), Faults(lost=lost, stall_s=stall_s, unplug_s=unplug_s))
    heard = sum(len(block.samples) for block in placed)
    assert found.lost == SCENE.frames - heard
    assert found.unexplained == ()
    for block in placed:
        assert np.array_equal(block.samples, SCENE.samples[block.index : block.end])
    if not unplug_s:
        assert found.counted.missing - found.beyond == found.lost, "and the source knows of each"


def test_a_stall_loses_what_the_buffer_does_not_hold_and_unplugging_what_was_said_meanwhile():
    assert books(FileRig(), Faults(stall_s=0.3))[0].lost == round(0.05 * 16_000)
    found = books(FileRig(), Faults(unplug_s=0.2))[0]
    assert (found.lost, found.counted.epochs) == (3_200, 1)
