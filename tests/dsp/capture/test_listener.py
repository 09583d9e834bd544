"""The listener and lost frames: a word is still heard over a gap that is bridged, and nothing made up is captured.

And a keeper that takes its time.
"""

import threading
from concurrent.futures import Future

import numpy as np
import pytest

from farfield import Block, Chain, FileSource, load_model, load_profile
from farfield.capture.listener import Listener
from farfield.capture.ring import Ring
from farfield.hil import demo_room
from reference.planted import random_model

LOST = 6_000, 6_160  # a frame of a board, in the middle of the demo room's first word
SECONDS = 3


class Consumer:
    """Keeps what it is given."""

    def __init__(self):
        self.samples, self.missing, self.ended = np.zeros(0, np.int16), [], []

    def begin(self, opening):
        pass

    def write(self, samples):
        self.samples = np.concatenate([self.samples, samples])

    def lost(self, samples):
        self.missing.append((len(self.samples), samples))

    def end(self, utterance):
        self.ended.append(utterance)


def pieces(layout, frames, references):
    """The room's beginning with a frame lost: whole blocks, each of so many samples."""
    reference = demo_room() / "ref.flac" if references else None
    source = FileSource(demo_room() / "mics.flac", layout, reference, frames=frames)
    for block in source.blocks():
        if block.index >= SECONDS * 16_000:
            return
        for start, end in ((0, LOST[0]), (LOST[1], 1 << 40)):
            first, last = max(start, block.index), min(end, block.end)
            if first < last:
                yield Block(block.samples[first - block.index : last - block.index].copy(), first)


def heard(chain, blocks):
    """What a listener made of it: events, the utterances, and the sound of the last one."""
    consumer = Consumer()
    with Listener(chain, consumers=[consumer]) as listener:
        events = [event for block in blocks for event in listener.process(block)]
    return events, consumer


@pytest.mark.parametrize(("frames", "references"), [(160, 1), (4_000, 0)])
def test_a_lost_frame_costs_no_word_and_is_not_made_up(frames, references):
    """The word is heard where it is, and kept from its start less the pre-roll, with a gap as wide as anything owes to the loss.

    Without the bridge the same word is missed: what it is for.
    """
    layout, models = load_profile("respeaker-4mic"), [load_model("alexa")]

    def chain(**named):
        return Chain(layout, models, references=references, **named)

    events, consumer = heard(chain(), pieces(layout, frames, references))
    (utterance,), samples = consumer.ended, consumer.samples
    assert [event.word for event in events] == ["alexa"]
    late = chain().frontend.delay_samples
    opening, gap = utterance.opening, (LOST[0] - late, LOST[1] - LOST[0] + 2 * late)
    assert late > 0 and opening.word_start == events[0].start < LOST[0] < LOST[1] < opening.word_end
    assert opening.start == max(0, opening.word_start - 8_000) and utterance.gaps == (gap,)
    assert consumer.missing == [(gap[0] - opening.start, gap[1])]
    assert len(samples) == utterance.end - opening.start - gap[1] > 16_000
    assert heard(chain(bridges=False), pieces(layout, frames, references))[0] == []


def test_what_is_captured_beside_a_gap_owes_nothing_to_what_was_made_up():
    """Before it: what the chain made without any loss. After it: what a chain makes that begins anew, to two roundings.

    Without references, for what the echo canceller has learnt before differs. Within the margins they do differ.
    """
    layout, models = load_profile("respeaker-4mic"), [load_model("alexa")]
    _, consumer = heard(Chain(layout, models, references=0), pieces(layout, 512, 0))
    (utterance,), samples = consumer.ended, consumer.samples
    ((begins, length),) = utterance.gaps
    first, resumes = utterance.opening.start, begins + length
    blocks = list(pieces(layout, 512, 0))
    bridged = beams(Chain(layout, models, references=0), blocks)
    anew = beams(Chain(layout, models, references=0, bridges=False), [block for block in blocks if block.index >= LOST[1]])
    after = samples[begins - first :]
    apart = np.abs(anew[resumes : resumes + len(after)].astype(np.int32) - after[: len(anew) - resumes, None]).max(axis=0)
    assert apart.min() <= 2, apart
    signal = int(np.argmin(apart))
    source = FileSource(demo_room() / "mics.flac", layout, None, frames=512)
    whole = beams(Chain(layout, models, references=0), [block for block in source.blocks() if block.end <= SECONDS * 16_000])
    assert np.array_equal(samples[: begins - first], whole[first:begins, signal])
    late = resumes - LOST[1]
    assert np.array_equal(bridged[begins - late : begins, signal], whole[begins - late : begins, signal])
    tainted = np.abs(anew[LOST[1] : resumes, signal].astype(np.int32) - bridged[LOST[1] : resumes, signal])
    assert tainted.max() > 50, "or the margin is for nothing"


def test_silence_in_place_of_what_was_lost_is_found(monkeypatch):
    """The same checks, on a ring that takes the empty places for sound."""
    monkeypatch.setattr(Ring, "stretches", lambda self, start, end: iter([(start, end, True)] if start < end else []))
    with pytest.raises(AssertionError):
        test_a_lost_frame_costs_no_word_and_is_not_made_up(160, 1)


def beams(chain, blocks):
    """All that a chain makes of blocks, each sample at its place on the capture clock; zeros before the first."""
    made = np.zeros((blocks[-1].end, chain.frontend.signals), np.int16)
    for block in blocks:
        chain.process(block)
        made[chain.frame.index : chain.frame.index + len(chain.frame.beams)] = chain.frame.beams
    return made


class Late:
    """A keeper that is done when it is told so."""

    why_not = None

    def __init__(self):
        self.results, self.why_nots = [], []

    def begin(self, opening):
        return LateSealing(self)


class LateSealing:
    why_not = None

    def lost(self, samples):
        pass

    def __init__(self, keeper):
        self.keeper = keeper

    def write(self, samples):
        pass

    def finish(self, end):
        self.keeper.results.append(Future())
        if len(self.keeper.results) == 2:
            self.why_not = "the disk is full"
        return self.keeper.results[-1]


def test_who_listens_does_not_wait_for_the_keeper_and_tells_what_became_of_each():
    """In their order, when it is known; consumers are told the end at once; who closes waits."""
    keeper, consumer, told, notes = Late(), Consumer(), [], []
    model = random_model(1, smoothing_steps=3, refractory_ms=700, word_ms=300, threshold=0.5)
    chain = Chain(load_profile("single"), [model])
    listener = Listener(chain, keeper, [consumer], ended=told.append, note=notes.append)
    noise = np.random.default_rng(1).normal(0, 900, (200 * 160, 1)).astype(np.int16)
    at = 0
    while len(keeper.results) < 3:
        listener.process(Block(noise.copy(), at))
        at += len(noise)
    assert told == [] and [one.kept for one in consumer.ended[:3]] == [None] * 3
    keeper.results[1].set_result("")
    listener.process(Block(noise[:160].copy(), at))
    assert told == [], "the first is not done"
    keeper.results[0].set_result("first")
    listener.process(Block(noise[:160].copy(), at + 160))
    assert [one.kept for one in told] == ["first", ""] and notes == ["the disk is full"]
    assert told[0].kept_end > told[0].opening.start and told[1].kept_end == told[1].opening.start
    ending = threading.Thread(target=listener.close)
    ending.start()
    ending.join(0.2)
    assert ending.is_alive() and len(told) == 2, "closing waits"
    while ending.is_alive():
        for result in keeper.results[2:]:
            if not result.done():
                result.set_result("more")
        ending.join(0.01)
    assert [one.opening for one in told] == [one.opening for one in consumer.ended]
    assert {one.kept for one in told[2:]} == {"more"} and notes == ["the disk is full"]
