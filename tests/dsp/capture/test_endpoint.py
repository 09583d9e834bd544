"""Endpointing against its definition in whole numbers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from farfield.capture.endpoint import Endpointer
from reference import endpoint as reference

RATE = 16_000


def levels_to_sound(levels, rng):
    """Stretches of noise of so many 10 ms and such a level."""
    parts = [rng.normal(0, 1, 160 * length) * level for length, level in levels]
    return np.clip(np.concatenate([*parts, np.zeros(0)]), -32_768, 32_767).astype(np.int16)


stretches = st.lists(st.tuples(st.integers(1, 60), st.sampled_from([0, 3, 9, 50, 400, 3_000, 40_000])), max_size=6)


@given(stretches, st.integers(0, 159), st.lists(st.integers(1, 4_000), min_size=1, max_size=5), st.integers(0, 2**40))
def test_every_step_is_what_the_definition_says(levels, more, cuts, index):
    """However it is cut, at every moment."""
    rng = np.random.default_rng(len(levels))
    samples = np.concatenate([levels_to_sound(levels, rng), rng.integers(-99, 99, more).astype(np.int16)])
    found = Endpointer()
    found.reset(index)
    wanted = reference.steps(samples, index)
    at = turn = 0
    while at < len(samples):
        part = samples[at : at + cuts[turn % len(cuts)]]
        at, turn = at + len(part), turn + 1
        found.process(part)
        judged = [(end, speech) for end, speech in wanted if end <= index + at]
        assert found.judged == (judged[-1][0] if judged else index)
        assert found.speech_end == max((end for end, speech in judged if speech), default=index)


@given(st.lists(st.tuples(stretches, st.integers(1, 20_000)), min_size=1, max_size=4), st.integers(0, 2**40))
def test_over_gaps_too(parts, index):
    """What is missing is not judged, and what came before is not forgotten."""
    found, pieces, at = Endpointer(), [], index
    found.reset(index)
    for number, (levels, gap) in enumerate(parts):
        samples = levels_to_sound(levels, np.random.default_rng(number))
        found.process(samples)
        pieces.append((at, samples))
        found.skip(gap)
        at += len(samples) + gap
    wanted = reference.steps_over([*pieces, (at, np.zeros(0, np.int16))], index)
    assert found.judged == wanted[-1][0] == at
    assert found.speech_end == max((end for end, speech in wanted if speech), default=index)


def test_the_quietest_is_forgotten_after_four_seconds():
    """Noise that begins and stays is speech until then, and no longer."""
    rng = np.random.default_rng(1)
    samples = levels_to_sound([(100, 20), (900, 300)], rng)
    found = Endpointer()
    found.process(samples)
    assert 4.9 * RATE < found.speech_end < 5.2 * RATE
