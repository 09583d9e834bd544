"""The chain: decisions that name exactly what had to be heard, from where, in order, and in constant memory."""

import functools
import gc
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield.block import Block
from farfield.chain import Chain
from farfield.profile import load_profile
from reference.planted import Planted, random_model

RATE = 16_000


def talk(seconds, channels, seed=0):
    """Noise of changing level, a little later at each channel: every stage has something to do, and scores move."""
    random = np.random.default_rng(seed)
    level = np.repeat(10.0 ** random.uniform(1, 4, seconds * 8), RATE // 8)
    source = level * random.normal(0, 1, len(level))
    columns = [np.roll(source, shift) + random.normal(0, 20, len(level)) for shift in range(channels)]
    return np.clip(np.stack(columns, axis=1), -32_768, 32_767).astype(np.int16)


def chain_of(name, references, models, **arguments):
    """Its references are noise and no loudspeaker's, so that a random model's words would seem to be played."""
    return Chain(replace(load_profile(name), ignore_own_words=False), models, references=references, **arguments)


def feed(chain, samples, cuts=(512,), index=0, epoch=0):
    events, at, turn = [], 0, 0
    while at < len(samples):
        size = cuts[turn % len(cuts)]
        events += chain.process(Block(samples[at : at + size], index + at, epoch))
        at, turn = at + size, turn + 1
    return events


def lively(name, references, samples, seed=0, **fields):
    """A random model with a threshold in the middle of what it says of these samples, so that it decides often."""
    model = random_model(seed, smoothing_steps=3, refractory_ms=100, word_ms=300, **fields)
    chain = chain_of(name, references, [model])
    seen = []
    for at in range(0, len(samples), 512):
        chain.process(Block(samples[at : at + 512], at))
        seen += chain.detectors[0].steps.p.tolist()
    return replace(model, threshold=float(np.median(seen)))


LAYOUTS = [("single", 0, 1), ("single", 1, 2), ("respeaker-2mic", 0, 2), ("respeaker-4mic", 1, 5), ("respeaker-6mic", 2, 8)]


@pytest.mark.parametrize(("name", "references", "channels"), LAYOUTS)
@pytest.mark.parametrize("end_lag_ms", [-200, 0, 150])
def test_a_decision_takes_what_was_heard_up_to_it_and_not_a_sample_less(name, references, channels, end_lag_ms):
    """Fed only up to its decision, the chain gives the same event, direction included; one sample less, it does not."""
    samples = talk(4, channels)
    model = lively(name, references, samples, end_lag_ms=end_lag_ms)
    events = feed(chain_of(name, references, [model]), samples, (2_000,))
    assert len(events) >= 4, "or this shows little"
    assert events[-1].decision <= len(samples)
    for number in (0, 1, len(events) - 1):
        event = events[number]
        assert feed(chain_of(name, references, [model]), samples[: event.decision]) == events[: number + 1]
        assert feed(chain_of(name, references, [model]), samples[: event.decision - 1]) == events[:number]
        if name == "single":
            assert event.direction_deg is None
        elif event.decision > RATE:
            assert 0 <= event.direction_deg < 360 and 0 <= event.direction_confidence <= 1


@functools.cache
def straight(name, references, channels, seed, end_lag_ms):
    samples = talk(2, channels, seed)
    model = lively(name, references, samples, seed, end_lag_ms=end_lag_ms)
    return samples, model, feed(chain_of(name, references, [model]), samples)


@given(
    layout=st.sampled_from(LAYOUTS),
    cuts=st.lists(st.integers(60, 4_000), min_size=1, max_size=6),
    seed=st.integers(0, 2),
    end_lag_ms=st.sampled_from([-300, 0, 400]),
)
def test_any_cutting_into_blocks_gives_the_same_events(layout, cuts, seed, end_lag_ms):
    name, references, channels = layout
    samples, model, wanted = straight(name, references, channels, seed, end_lag_ms)
    assert feed(chain_of(name, references, [model]), samples, cuts) == wanted


def test_a_long_word_s_direction_is_the_same_for_any_cutting():
    """A word that began 2.5 s before its decision is held against what was there 2 s before, as far as that is remembered."""
    samples = talk(7, 4)
    model = replace(lively("respeaker-4mic", 0, samples), word_ms=2_500)
    wanted = feed(chain_of("respeaker-4mic", 0, [model]), samples)
    assert feed(chain_of("respeaker-4mic", 0, [model]), samples, (len(samples),)) == wanted
    assert sum(event.decision > 5 * RATE for event in wanted) > 1


def test_the_decision_includes_the_stages_delay():
    """A score planted at a step: what the detector had consumed there, and what the stages hold back on top of it."""
    for name, references, channels in LAYOUTS:
        signals = chain_of(name, references, []).frontend.signals
        model = Planted(*[[0] * 20 + [255] + [0] * 20] * signals, stride=3, end_lag_ms=40, word_ms=200)
        chain = chain_of(name, references, [model])
        (event,) = feed(chain, talk(2, channels), index=5_000)
        heard = 5_000 + 320 + 160 * 3 * 21
        assert event.decision == heard + chain.frontend.delay_samples
        assert (event.start, event.end) == (heard - 640 - 3_200, heard - 640)


@pytest.mark.parametrize("planted_at", [0, 5])
def test_flush_gives_what_the_stages_still_hold(planted_at):
    """A decision that falls into the delay comes out at the end, as falling on the last sample that was heard."""
    name, references, channels = "respeaker-4mic", 1, 5
    chain = chain_of(name, references, [])
    delay, signals = chain.frontend.delay_samples, chain.frontend.signals
    track = [0] * 20 + [255] * 20
    model = Planted(*[track] * signals, stride=1, end_lag_ms=-50)
    chain = chain_of(name, references, [model])
    needed = 320 + 160 * 21
    samples = talk(1, channels)[: needed + planted_at]
    assert feed(chain, samples) == [], f"only {delay} samples later"
    (event,) = chain.flush()
    assert event.decision == event.end == len(samples)
    assert event.score == 255 / 256


def test_flush_with_silence_and_without_a_stream():
    model = Planted([0] * 20 + [255] * 20, stride=1)
    chain = chain_of("single", 0, [model])
    assert chain.flush() == []
    samples = talk(1, 1)[: 320 + 160 * 20]
    assert feed(chain, samples) == []
    assert chain.flush() == []
    chain.reset()
    assert feed(chain, samples) == []
    (event,) = chain.flush(silence=160)
    assert (event.decision, event.end) == (len(samples), len(samples))


def test_events_of_several_models_come_in_the_order_of_their_decisions():
    early, late = [0] * 30 + [255] + [0] * 9 + [255], [0] * 35 + [255] + [0] * 10
    models = [Planted(late, stride=1), Planted(early, stride=1)]
    models[0].word, models[1].word = "late", "early"
    events = feed(chain_of("single", 0, models), talk(1, 1), (RATE,))
    assert [event.word for event in events] == ["early", "late", "early"]
    assert [event.decision for event in events] == [320 + 160 * 31, 320 + 160 * 36, 320 + 160 * 41]


def test_two_models_decide_as_each_alone():
    samples = talk(3, 4)
    models = [lively("respeaker-4mic", 0, samples, seed) for seed in (1, 2)]
    alone = [feed(chain_of("respeaker-4mic", 0, [model]), samples) for model in models]
    both = feed(chain_of("respeaker-4mic", 0, models), samples)
    assert min(map(len, alone)) >= 2
    assert sorted(both, key=str) == sorted([*alone[0], *alone[1]], key=str)
    assert [event.decision for event in both] == sorted(event.decision for event in both)


@pytest.mark.parametrize(("name", "references", "channels"), LAYOUTS)
def test_reset_equals_new(name, references, channels):
    samples = talk(2, channels)
    model = lively(name, references, samples)
    chain = chain_of(name, references, [model])
    first = feed(chain, samples)
    chain.reset()
    assert chain.frame is None and chain.flush() == []
    assert feed(chain, samples) == first and first


@pytest.mark.parametrize(("jump", "epoch", "bridges"), [(641, 0, True), (8_000, 0, True), (0, 1, True), (400, 0, False)])
def test_a_gap_or_a_new_epoch_starts_anew(jump, epoch, bridges):
    name, references, channels = LAYOUTS[3]
    before, after = talk(2, channels, 8), talk(2, channels)
    model = lively(name, references, after)
    chain = chain_of(name, references, [model], bridges=bridges)
    feed(chain, before)
    at = len(before) + jump
    wanted = feed(chain_of(name, references, [model]), after, index=at, epoch=epoch)
    assert feed(chain, after, index=at, epoch=epoch) == wanted and len(wanted) >= 2
    assert all(event.epoch == epoch and event.start >= at for event in wanted)
    chain.reset()
    feed(chain, before)
    assert feed(chain, after, index=len(before)) != feed(chain_of(name, references, [model]), after, index=len(before))


def test_the_threshold_holds_for_every_model():
    models = [Planted([100] * 9, stride=1), Planted([200] * 9, stride=1)]
    assert [d.threshold for d in chain_of("single", 0, models).detectors] == [0.5, 0.5]
    models = [Planted([100] * 9, stride=1), Planted([200] * 9, stride=1)]
    assert len(feed(chain_of("single", 0, models, threshold=0.3), talk(1, 1))) == 2


def test_the_frame_of_the_last_block_is_kept():
    chain = chain_of("single", 0, [])
    samples = talk(1, 1)
    feed(chain, samples)
    assert chain.frame.consumed == len(samples) and chain.frame.beams.shape[1] == 1


def grown_bytes(step, warm, rounds):
    """What is allocated more after `rounds` calls of `step`, once `warm` calls have been seen."""
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(warm):
            step()
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(rounds):
            step()
        gc.collect()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


def test_memory_is_constant_while_streaming():
    """32 s after the first 48: what is kept does not grow. A list that keeps every block is caught."""
    name, references, channels = LAYOUTS[4]
    chain = chain_of(name, references, [lively(name, references, talk(2, channels))])
    samples = talk(8, channels)
    at, kept = 0, []

    def step(keep=False):
        nonlocal at
        where = at % (len(samples) - 512)
        block = Block(samples[where : where + 512].copy(), at)
        chain.process(block)
        at = block.end
        if keep:
            kept.append(block)

    # The health check's arrays are of many lengths, and numpy keeps a few small pieces of each: after 48 s it has nearly all.
    assert grown_bytes(step, 1_500, 1_000) < 15_000
    assert grown_bytes(lambda: step(keep=True), 1, 100) > 500_000
