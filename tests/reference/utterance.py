"""Utterances by their definition: whole streams of sound at once, nothing streamed, no ring.

A stream is sound in pieces, each the index of its first sample and the samples; what lies between them is missing. What was
decided in it is given: events, and where candidates were rejected.
"""

from dataclasses import dataclass

import numpy as np

from reference import endpoint

RATE = 16_000
PAUSE, LEAST_AFTER_WORD, AFTER_SPEECH, STEP = 12_800, 32_000, 3_200, 160


@dataclass
class Told:
    """What should be told of an utterance, and up to where it is kept."""

    start: int
    word_start: int
    word_end: int
    speech_end: int
    end: int
    kept_end: int
    gaps: tuple
    reason: str


def utterances(pieces, events, rejected, preroll, longest, capacity, settling, last="gap"):
    """What should come of a stream that ends for the reason `last`. events: (start, end, decision); rejected: indices."""
    first, stop = pieces[0][0], pieces[-1][0] + len(pieces[-1][1])
    told, begun = [], ()
    for start, end, decision in sorted(events, key=lambda event: event[2]):
        if told:
            until_then = captured(*begun, pieces, decision, "word", longest, capacity)
            if until_then.reason == "word":
                if start < until_then.word_end:
                    continue  # the same sound
                told[-1] = until_then
        gone = [index for index in rejected if index <= decision and (index <= start or index + settling <= decision)]
        held = max([first, decision - capacity, *gone])
        opened = max(start - preroll, held)
        opened = next((after for before, after in gaps(pieces) if before <= opened < after), opened)
        begun = (opened, start, end, decision, held)
        told.append(captured(*begun, pieces, stop, last, longest, capacity))
    return told


def gaps(pieces):
    """From where to where samples are missing."""
    ends = [first + len(samples) for first, samples in pieces]
    return list(zip(ends, [first for first, _ in pieces[1:]], strict=False))


def between(pieces, start, end):
    """The pieces from `start` to `end`."""
    clipped = [(max(first, start), samples[max(0, start - first) : max(0, end - first)]) for first, samples in pieces]
    return [(first, samples) for first, samples in clipped if len(samples)]


def joined(pieces, start, end):
    """All the sound that there is from `start` to `end`."""
    return np.concatenate([np.zeros(0, np.int16), *(samples for _, samples in between(pieces, start, end))])


def missing(pieces, start, end):
    """How many samples are missing from `start` to `end`."""
    return sum(max(0, min(after, end) - max(before, start)) for before, after in gaps(pieces))


def captured(start, word_start, word_end, decision, held, pieces, stop, last, longest, capacity):
    """One utterance that begins at `start`; `stop` is where something else ends it, for the reason `last`."""
    limit = start + longest
    steps = endpoint.steps_over(between(pieces, held, min(stop, limit)), held)
    looks = sorted({min(decision, limit), *(end for end, _ in steps if end > decision), min(stop, limit),
                    *(min(after, limit) for _, after in gaps(pieces) if decision < after <= stop)})  # fmt: skip
    kept, judged, heard, taken = start, held, held, 0
    for at in looks:
        while taken < len(steps) and steps[taken][0] <= at:
            judged, speech = steps[taken]
            heard, taken = judged if speech else heard, taken + 1
        speech_end = max(heard, min(word_end, at))
        kept = max(kept, min(speech_end + AFTER_SPEECH, at), at - capacity + 2 * STEP)
        quiet = judged - speech_end - missing(pieces, speech_end, judged)
        ended = quiet >= PAUSE and judged >= word_end + LEAST_AFTER_WORD
        reason = "longest" if at == limit else "pause" if ended else last
        if reason != last:
            break
    lost = tuple((max(before, start), min(after, at) - max(before, start))
                 for before, after in gaps(pieces) if before < at and after > start)  # fmt: skip
    return Told(start, word_start, word_end, speech_end, at, kept, lost, reason)
