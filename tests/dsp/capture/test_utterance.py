"""Utterances against their definition, over any chunking, gaps and epochs; and a rejected candidate's way out of the ring."""

import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield import Block, Chain, load_profile
from farfield.capture import memory
from farfield.capture.endpoint import Endpointer
from farfield.capture.listener import Listener
from farfield.capture.ring import Ring
from farfield.capture.utterance import LONGEST_GAP, PAUSE
from farfield.source import SoundFile
from reference import utterance as reference
from reference.planted import known, random_model

long = pytest.mark.skipif(os.environ.get("FARFIELD_LONG") != "1", reason="more of the same; set FARFIELD_LONG=1 to run it")

RATE = 16_000
LONGEST_S = 3.0


def model(look_threshold, word_ms=400):
    """A network that finds its word now and then in noise, and a second look that agrees with some of it."""
    look = random_model(2, smoothing_steps=1, threshold=look_threshold, word="random")
    first = random_model(1, smoothing_steps=3, refractory_ms=1_500, word_ms=word_ms, end_lag_ms=30, threshold=0.5)
    return replace(first, second_look=look)


@pytest.fixture(autouse=True, scope="module")
def no_sweeping():
    """Searching the whole process for freed memory after each rejection is tested elsewhere, and takes its time."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(memory, "sweep", lambda: None)
        yield


class Recorder:
    """A consumer and a keeper, which keep plain what they are given."""

    why_not = None

    def __init__(self):
        self.heard, self.missing, self.openings, self.ended = [], [], [], []

    def begin(self, opening):
        self.openings.append(opening)
        self.heard.append(np.zeros(0, np.int16))
        self.missing.append(0)
        return None

    def write(self, samples):
        self.heard[-1] = np.concatenate([self.heard[-1], samples])

    def lost(self, samples):
        self.missing[-1] += samples

    def end(self, utterance):
        self.ended.append(utterance)


class Sealing:
    """Keeps plain what it is to seal."""

    why_not = None

    def __init__(self):
        self.samples, self.finished, self.missing = np.zeros(0, np.int16), None, 0

    def write(self, samples):
        self.samples = np.concatenate([self.samples, samples])

    def lost(self, samples):
        self.missing += samples

    def finish(self, end):
        self.finished = end
        return known("kept")

    def abort(self):
        self.finished = "aborted"


class PlainKeeper:
    """Keeps whatever it is asked to."""

    def __init__(self):
        self.why_not, self.sealings = None, []

    def begin(self, opening):
        self.sealings.append(Sealing())
        return self.sealings[-1]


def sound(parts, seed):
    """Noise at so many levels, each for so many milliseconds."""
    rng = np.random.default_rng(seed)
    made = [rng.normal(0, level, 16 * ms) for ms, level in parts]
    return np.clip(np.concatenate(made), -32_768, 32_767).astype(np.int16)


def run(stretches, cuts, made, preroll_ms):
    """The listener over (epoch, first, samples); what it told, kept and gave, and the chain's own decisions by stretch."""
    recorder, keeper = Recorder(), PlainKeeper()
    chain = Chain(load_profile("single"), [made])
    listener = Listener(chain, keeper, [recorder], preroll_ms=preroll_ms, longest_s=LONGEST_S)
    turn = 0
    for epoch, first, samples in stretches:
        at = 0
        while at < len(samples):
            part = samples[at : at + cuts[turn % len(cuts)], None].copy()
            listener.process(Block(part, first + at, epoch))
            at, turn = at + len(part), turn + 1
    capacity = listener._ring.capacity
    listener.close()
    return recorder, keeper, capacity, listener.settling


def decisions(stretches, made):
    """Events and rejections, by stretch, of a chain that hears each stretch in one piece, and bridges what it bridges.

    What is decided within a bridged gap is decided when there is sound again.
    """
    chain = Chain(load_profile("single"), [made])
    decided = []
    for epoch, first, samples in stretches:
        events = chain.process(Block(samples[:, None].copy(), first, epoch))
        rejected = [one.given_up for one in chain.detectors[0].rejected if one.epoch == epoch]
        decided.append(([(event.start, event.end, max(event.decision, first)) for event in events], rejected))
    return decided


gap_lengths = st.integers(1, 640) | st.integers(641, LONGEST_GAP) | st.integers(LONGEST_GAP + 1, 30_000)
levels = st.lists(st.tuples(st.integers(100, 2_000), st.sampled_from([0, 4, 60, 900, 9_000])), min_size=1, max_size=5)


@given(
    st.lists(st.tuples(st.sampled_from([False, False, True]), gap_lengths, levels), min_size=1, max_size=4),
    st.lists(st.integers(100, 6_000), min_size=1, max_size=5),
    st.sampled_from([0.01, 0.5, 0.65, 0.9]),
    st.sampled_from([0, 500, 2_000]),
    st.integers(0, 2**40),
)
def test_utterances_are_what_the_definition_says(plan, cuts, look_threshold, preroll_ms, origin):
    """Borders, reasons, and each sample that consumers and the keeper got, for any cut, over gaps, bridged or not, and epochs."""
    made = model(look_threshold)
    stretches, epoch, at = [], 0, origin
    for number, (new_epoch, gap, parts) in enumerate(plan):
        epoch, at = (epoch + 1, 0) if new_epoch else (epoch, at + gap)
        stretches.append((epoch, at, sound(parts, number)))
        at += len(stretches[-1][2])
    recorder, keeper, capacity, settling = run(stretches, cuts, made, preroll_ms)
    wanted, pieces = [], []
    streams = []  # of pieces, with what was decided in them
    for (epoch, first, samples), decided in zip(stretches, decisions(stretches, made), strict=True):
        goes_on = streams and streams[-1][0] == epoch and first - end_of(*streams[-1][1][-1]) <= LONGEST_GAP
        if not goes_on:
            streams.append((epoch, [], [], []))
        for held, more in zip(streams[-1][1:], ([(first, samples)], *decided), strict=True):
            held += more
    for number, (epoch, stream, events, rejected) in enumerate(streams):
        last = "gap" if number + 1 < len(streams) else "stopped"
        for told in reference.utterances(stream, events, rejected, preroll_ms * 16, round(LONGEST_S * RATE), capacity, settling,
                                         last):  # fmt: skip
            wanted.append((epoch, told))
            pieces.append(stream)
    found = [
        (one.opening.epoch, reference.Told(one.opening.start, one.opening.word_start, one.opening.word_end, one.speech_end,
                                           one.end, one.kept_end, one.gaps, one.reason))
        for one in recorder.ended
    ]  # fmt: skip
    assert found == wanted
    for (_, told), stream, heard, missing, sealing in zip(
        wanted, pieces, recorder.heard, recorder.missing, keeper.sealings, strict=True
    ):
        assert np.array_equal(heard, reference.joined(stream, told.start, told.end))
        assert missing == reference.missing(stream, told.start, told.end) == sum(length for _, length in told.gaps)
        assert np.array_equal(sealing.samples, reference.joined(stream, told.start, told.kept_end))
        assert sealing.missing == reference.missing(stream, told.start, told.kept_end)
    assert [sealing.finished for sealing in keeper.sealings] == [told.kept_end for _, told in wanted]


def end_of(first, samples):
    return first + len(samples)


def test_the_examples_hold_what_the_property_is_about():
    """Words accepted and rejected, rejected within an accepted word, and each reason to end."""
    reasons, rejections, within = set(), 0, 0
    for seed in range(6):
        made = model(0.65)
        samples = sound([(1_500, 900), (2_500, 4), (2_000, 9_000), (3_000, 60)], seed)
        ((events, rejected),) = decisions([(0, 0, samples)], made)
        rejections += len(rejected)
        within += sum(start < index <= end for start, end, _ in events for index in rejected)
        recorder, *_ = run([(0, 0, samples), (0, len(samples) + LONGEST_GAP + 1, samples)], [512], made, 500)
        reasons |= {one.reason for one in recorder.ended}
    print(f"{rejections} rejections, {within} within an accepted word, {reasons}")
    assert rejections > 20 and within and reasons >= {"pause", "longest", "word", "gap", "stopped"}


@given(st.integers(1, 300), st.integers(0, 400), st.integers(-50, 500), st.integers(0, 2**40))
def test_the_ring_forgets_what_lies_before_a_sample_alone(capacity, written, before, origin):
    ring = Ring(capacity, 2)
    ring.restart(origin)
    samples = np.random.default_rng(written).integers(1, 32_768, (written, 2)).astype(np.int16)
    ring.write(samples)
    start = ring.start
    ring.forget(origin + before)
    assert ring.end == origin + written and ring.start == max(start, min(origin + before, ring.end))
    left = ring.end - ring.start
    for signal in range(2):
        pieces = [piece.copy() for piece in ring.read(ring.start, ring.end, signal)]
        assert np.array_equal(np.concatenate([*pieces, np.zeros(0, np.int16)]), samples[written - left :, signal])
    assert np.count_nonzero(ring._samples) == 2 * left, "what is forgotten is zeroed"
    ring.close()


@given(st.integers(1, 200), st.lists(st.tuples(st.integers(1, 150), st.integers(1, 260)), max_size=6), st.integers(0, 2**40))
def test_the_ring_holds_what_is_there_and_tells_what_is_missing(capacity, parts, origin):
    ring, there, at = Ring(capacity, 2), {}, origin
    ring.restart(origin)
    rng = np.random.default_rng(len(parts))
    for written, skipped in parts:
        samples = rng.integers(1, 32_768, (written, 2)).astype(np.int16)
        ring.write(samples)
        there |= {at + n: sample for n, sample in enumerate(samples)}
        at += written
        ring.skip(skipped)
        at += skipped
    assert (ring.start, ring.end) == (max(origin, at - capacity), at)
    told = {}
    for start, end, is_there in ring.stretches(ring.start, ring.end):
        assert start < end
        told |= dict.fromkeys(range(start, end), is_there)
        pieces = np.concatenate([piece.copy() for piece in ring.read(start, end, 1)])
        assert pieces.tolist() == [int(there[n][1]) if is_there else 0 for n in range(start, end)]
    assert told == {n: n in there for n in range(ring.start, ring.end)}
    for index in range(ring.start, ring.end):
        assert ring.first(index) == next((n for n in range(index, at) if n in there), at)
    ring.close()


def test_a_rejected_candidate_is_zeroed_a_words_length_later():
    """Not a sample sooner or later; and at once where a word is accepted that began after it."""
    made = model(0.999)
    samples = sound([(4_000, 900)], 3)
    ((_, rejected),) = decisions([(0, 0, samples)], made)
    listener = Listener(Chain(load_profile("single"), [made]))
    zeroed = []
    reject = listener._reject
    listener._reject = lambda index: (reject(index), zeroed.append((index, listener._ring.end, listener._ring.start)))
    for at in range(0, len(samples), 100):
        listener.process(Block(samples[at : at + 100, None].copy(), at))
    assert len(rejected) > 3 and zeroed[0] == (rejected[0], rejected[0] + listener.settling, rejected[0])
    assert [index for index, _, _ in zeroed] == [index for index in rejected if index + listener.settling <= len(samples)]
    assert all(end == index + listener.settling and start >= index for index, end, start in zeroed)
    listener.close()


@pytest.mark.parametrize(
    ("noise_db", "may_be_cut"), [(None, 0), pytest.param(20, 0.04, marks=long), pytest.param(10, 0.1, marks=long)]
)
def test_speech_is_not_taken_for_over_before_it_is(recordings, noise_db, may_be_cut):
    """Read sentences whose own pauses are shorter than the one that ends an utterance: how many end over 0.3 s early.

    As they are; and over white noise so far below, where weak sounds beside a pause are not heard, and it becomes longer.
    """
    rng, early = np.random.default_rng(7), {}
    for path in sorted((recordings / "speech" / "train-clean").glob("*.flac"))[:150]:
        samples = np.concatenate(list(SoundFile(path).chunks(RATE)))[:, 0].astype(np.float64)
        steps = samples[: len(samples) // 160 * 160].reshape(-1, 160)
        level_db = 10 * np.log10(np.convolve((steps**2).mean(axis=1), np.ones(3) / 3, "same") + 1e-3)
        spoken = np.flatnonzero(level_db > max(level_db.max() - 35, np.percentile(level_db, 5) + 10))
        if len(spoken) < 50 or np.diff(spoken).max() * 160 >= (PAUSE if noise_db is None else 0.75 * PAUSE):
            continue
        end = 160 * (int(spoken[-1]) + 1)
        if noise_db is not None:
            samples[end:] = 0
            samples += rng.normal(0, samples.std() * 10 ** (-noise_db / 20), len(samples))
        heard = np.clip(samples, -32_768, 32_767).astype(np.int16)
        endpointer = Endpointer()
        for at in range(0, end - 160, 160):
            endpointer.process(heard[at : at + 160])
            if endpointer.judged > 2 * RATE and endpointer.judged - endpointer.speech_end >= PAUSE:
                break
        early[path.stem] = (end - endpointer.speech_end) / RATE
    cut = [name for name, seconds in early.items() if seconds > 0.6]
    soon = sum(seconds > 0.3 for seconds in early.values())
    print(f"{len(early)} sentences, noise at {noise_db} dB: {len(cut)} cut, {soon} end over 0.3 s early; cut: {cut}")
    assert len(early) >= 50 and len(cut) <= may_be_cut * len(early)


@pytest.mark.parametrize("preroll_ms", [0, 2_000])
def test_what_lies_before_the_stream_is_not_made_up(preroll_ms):
    """A word that began before there was sound: its true place is told, and the sound begins where it does."""
    made = model(0.01, word_ms=3_000)
    samples = sound([(4_000, 900)], 3)
    recorder, *_ = run([(0, 50_000, samples)], [512], made, preroll_ms)
    first = recorder.ended[0].opening
    assert first.start >= 50_000 and first.word_start >= 50_000
    assert np.array_equal(recorder.heard[0], samples[first.start - 50_000 : recorder.ended[0].end - 50_000])
