"""The bench's books: what was lost is counted to the sample, and each way to lose or invent a sample unnoticed is noticed."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield.hil.faults import Faults
from farfield.hil.ledger import Ledger, stopped_by
from farfield.hil.rigs import FileRig
from farfield.hil.rigs.alsa import AlsaStream
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


class Missized(FileRig):
    """A clock sizes its gap wrong by `off` samples; after it come `short` samples by themselves."""

    sizing_samples = 32

    def __init__(self, off, short, doubtful=0):
        super().__init__()
        self._off, self._short, self._doubtful = off, short, doubtful

    def play(self, scene, faults=NO_FAULTS):
        stream = super().play(scene, faults)
        whole = list(stream.blocks(lambda: False))
        first = whole[20]
        made = whole[:19]  # 160 samples are lost
        parts = (first.samples[: self._short], first.samples[self._short :])
        at = first.index + self._off
        made += [replace(first, samples=part, index=at + skipped) for part, skipped in zip(parts, (0, self._short), strict=True)]
        made += [replace(block, index=block.index + self._off) for block in whole[21:]]
        stream.blocks = lambda stop: iter([block for block in made if len(block.samples)])
        stream.near = partial(AlsaStream.near, stream)
        stream._missing = 160 + self._off
        counted = type(stream).counted.fget
        unsure = property(lambda stream: replace(counted(stream), doubtful=self._doubtful))
        stream.__class__ = type("Unsure", (type(stream),), {"counted": unsure})
        return stream


@pytest.mark.parametrize("short", [0, 1, 47, 100])
@pytest.mark.parametrize("off", [-32, -3, 0, 4, 32])
def test_a_gap_that_was_sized_by_a_clock_is_right_within_what_the_rig_promises(off, short):
    """A ring's end cuts what is read in two: the first part after a gap may be a sample long."""
    found, placed = books(Missized(off, short), scene=noise(1.0, 2, 1))
    assert found.unexplained == () and (found.lost, found.missized) == (160, abs(off))
    for block in placed:
        assert np.array_equal(block.samples, SCENE.samples[block.index : block.end])


def test_a_gap_that_was_sized_as_nothing_is_found_by_its_overrun():
    class Overrun(FileRig):
        sizing_samples = 32

        def play(self, scene, faults=NO_FAULTS):
            stream = super().play(scene, faults)
            whole = list(stream.blocks(lambda: False))
            later = [replace(block, index=block.index - 1) for block in whole[20:]]
            later[0] = replace(later[0], samples=later[0].samples[1:], index=whole[20].index)

            def blocks(stop):
                yield from whole[:20]
                stream._xruns = 1
                yield from later

            stream.blocks, stream.near = blocks, partial(AlsaStream.near, stream)
            return stream

    found, _ = books(Overrun(), scene=noise(1.0, 2, 1))
    assert found.unexplained == () and (found.lost, found.missized, found.counted.missing) == (1, 1, 0)


def test_a_gap_that_was_sized_worse_is_seen():
    found, _ = books(Missized(33, 0), scene=noise(1.0, 2, 1))
    assert any("its gap was sized wrong by -33 samples" in text for text in found.unexplained)


@pytest.mark.parametrize(("doubtful", "is_told"), [(67, True), (68, False), (200, False)])
def test_a_size_that_the_source_is_not_sure_of_may_be_wrong_by_as_much_as_it_says(doubtful, is_told):
    found, _ = books(Missized(100, 0, doubtful), scene=noise(1.0, 2, 1))
    assert found.missized == 100 and any("sized wrong by -100 samples" in text for text in found.unexplained) == is_told
