"""Utterances by their definition: whole stretches of sound at once, nothing streamed, no ring.

A stretch is sound without a gap: a list of samples, and the index of the first. What was decided in it is given: events, and
where candidates were rejected.
"""

from dataclasses import dataclass

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
    reason: str


def utterances(first, samples, events, rejected, preroll, longest, capacity, settling, last="gap"):
    """What should come of a stretch that ends for the reason `last`. events: (start, end, decision); rejected: indices."""
    stop, told, begun = first + len(samples), [], ()
    for start, end, decision in sorted(events, key=lambda event: event[2]):
        if told:
            until_then = captured(*begun, first, samples, decision, "word", longest, capacity)
            if until_then.reason == "word":
                if start < until_then.word_end:
                    continue  # the same sound
                told[-1] = until_then
        gone = [index for index in rejected if index <= decision and (index <= start or index + settling <= decision)]
        held = max([first, decision - capacity, *gone])
        begun = (max(start - preroll, held), start, end, decision, held)
        told.append(captured(*begun, first, samples, stop, last, longest, capacity))
    return told


def captured(start, word_start, word_end, decision, held, first, samples, stop, last, longest, capacity):
    """One utterance that begins at `start`; `stop` is where something else ends it, for the reason `last`."""
    limit = start + longest
    steps = endpoint.steps(samples[held - first : min(stop, limit) - first], held)
    looks = sorted({min(decision, limit), *(end for end, _ in steps if end > decision), min(stop, limit)})
    kept, judged, heard, taken = start, held, held, 0
    for at in looks:
        while taken < len(steps) and steps[taken][0] <= at:
            judged, speech = steps[taken]
            heard, taken = judged if speech else heard, taken + 1
        speech_end = max(heard, min(word_end, at))
        kept = max(kept, min(speech_end + AFTER_SPEECH, at), at - capacity + 2 * STEP)
        ended = judged - speech_end >= PAUSE and judged >= word_end + LEAST_AFTER_WORD
        reason = "longest" if at == limit else "pause" if ended else last
        if reason != last:
            break
    return Told(start, word_start, word_end, speech_end, at, kept, reason)
