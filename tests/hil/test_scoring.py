"""The count of hits, misses and false accepts, held to cases that can be counted by hand."""

from itertools import combinations, permutations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from farfield import WakeEvent
from farfield.hil import Spoken, match

RATE = 16_000


def word(start, end, text="alexa", direction=None):
    return Spoken(text, start, end, direction_deg=direction)


def event(decision, text="alexa", end=None, direction=None, ambiguous=None):
    end = decision if end is None else end
    return WakeEvent(text, 0.9, max(0, end - 8000), end, decision, direction_deg=direction, ambiguous_deg=ambiguous)


@pytest.mark.parametrize(
    ("decision", "is_hit"),
    [(15_999, False), (16_000, True), (24_000, True), (32_000, True), (32_001, False)],
    ids=["before its start", "at its start", "at its end", "half a second after", "a sample later"],
)
def test_the_edges_of_the_window(decision, is_hit):
    score = match([event(decision)], [word(16_000, 24_000)], RATE)
    assert (len(score.hits), len(score.missed), len(score.false_accepts)) == ((1, 0, 0) if is_hit else (0, 1, 1))
    assert score.is_clean == is_hit


def test_a_second_detection_of_one_word_is_a_false_accept():
    score = match([event(24_000), event(25_000)], [word(16_000, 24_000)], RATE)
    assert [hit.event.decision for hit in score.hits] == [24_000]
    assert [false.decision for false in score.false_accepts] == [25_000]


def test_one_detection_cannot_hit_two_words():
    score = match([event(24_500)], [word(16_000, 24_000), word(24_200, 30_000)], RATE)
    assert (len(score.hits), len(score.missed)) == (1, 1)
    assert score.hits[0].word.start == 16_000


def test_words_in_overlapping_windows_take_a_detection_each():
    score = match([event(29_000), event(24_500)], [word(24_200, 30_000), word(16_000, 24_000)], RATE)
    assert [(hit.word.start, hit.event.decision) for hit in score.hits] == [(16_000, 24_500), (24_200, 29_000)]
    assert score.is_clean


def test_another_models_word_is_no_hit_and_case_does_not_matter():
    assert match([event(24_000, "computer")], [word(16_000, 24_000)], RATE).hits == ()
    assert match([event(24_000, "Alexa")], [word(16_000, 24_000)], RATE).is_clean


def test_errors_are_heard_minus_true():
    (hit,) = match([event(27_200, end=23_200)], [word(16_000, 24_000)], RATE).hits
    assert (hit.latency_s, hit.end_error_s) == (0.2, -0.05)


@pytest.mark.parametrize(
    ("found", "mirror", "true", "error"),
    [
        (10.0, None, 350.0, 20.0),
        (350.0, None, 10.0, -20.0),
        (300.0, 60.0, 62.0, -2.0),
        (90.0, None, None, None),
        (None, None, 5.0, None),
    ],
)
def test_direction_errors_go_the_short_way_round(found, mirror, true, error):
    (hit,) = match([event(24_000, direction=found, ambiguous=mirror)], [word(16_000, 24_000, direction=true)], RATE).hits
    assert hit.direction_error_deg == error


@given(
    decisions=st.lists(st.integers(0, 400_000), max_size=12),
    starts=st.lists(st.integers(0, 400_000), max_size=12),
)
def test_every_word_and_every_event_is_counted_once(decisions, starts):
    words = [word(start, start + 9_000) for start in starts]
    events = [event(decision) for decision in decisions]
    score = match(events, words, RATE)
    assert sorted([h.word.start for h in score.hits] + [w.start for w in score.missed]) == sorted(starts)
    assert sorted([h.event.decision for h in score.hits] + [e.decision for e in score.false_accepts]) == sorted(decisions)
    for hit in score.hits:
        assert hit.word.start <= hit.event.decision <= hit.word.end + RATE // 2


@pytest.mark.parametrize("within_s", [0.0, 0.25, 1.0])
@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_the_edges_move_with_the_time_allowed_and_the_rate(within_s, rate):
    last = 9_000 + int(within_s * rate)
    found = [len(match([event(at)], [word(1_000, 9_000)], rate, within_s).hits) for at in (999, 1_000, last, last + 1)]
    assert found == [0, 1, 1, 0]


@given(within_ms=st.integers(0, 10_000), rate=st.sampled_from([8_000, 16_000, 48_000]))
@example(within_ms=1_001, rate=16_000)
def test_the_last_sample_of_the_time_allowed_is_not_lost_to_rounding(within_ms, rate):
    last = 9_000 + within_ms * rate // 1_000
    found = [len(match([event(at)], [word(1_000, 9_000)], rate, within_ms / 1_000).hits) for at in (last, last + 1)]
    assert found == [1, 0]


def test_the_shorter_of_two_that_overlap_is_not_robbed_by_the_longer():
    """Counted by hand: the first detection lies in both, the second in the longer alone; both words can be had."""
    score = match([event(1_500), event(60_000)], [word(0, 56_000), word(1_000, 2_000)], RATE)
    assert [(hit.word.start, hit.event.decision) for hit in score.hits] == [(0, 60_000), (1_000, 1_500)]
    assert score.is_clean


def test_nothing_said_and_nothing_heard():
    assert match([], [], RATE).is_clean
    assert len(match([event(1)], [], RATE).false_accepts) == 1 and len(match([], [word(0, 1)], RATE).missed) == 1


def most_hits(events, words, within):
    """By trying every way to give detections to words."""
    few, many = sorted((events, words), key=len)
    swapped = few is not events

    def fits(one, other):
        heard, said = (other, one) if swapped else (one, other)
        return heard.word.casefold() == said.text.casefold() and said.start <= heard.decision <= said.end + within

    for size in range(len(few), 0, -1):
        for chosen in combinations(few, size):
            for partners in permutations(many, size):
                if all(fits(one, other) for one, other in zip(chosen, partners, strict=True)):
                    return size
    return 0


TEXTS = st.sampled_from(["alexa", "computer"])


@given(
    events=st.lists(st.builds(event, st.integers(0, 40), TEXTS), max_size=5),
    spans=st.lists(st.tuples(st.integers(0, 40), st.integers(1, 15), TEXTS), max_size=5),
    within=st.integers(0, 8),
)
def test_no_other_choice_hits_more(events, spans, within):
    words = [word(start, start + length, text) for start, length, text in spans]
    score = match(events, words, 1, within)
    assert len(score.hits) == most_hits(events, words, within)
    assert len(score.false_accepts) == len(events) - len(score.hits) and len(score.missed) == len(words) - len(score.hits)
