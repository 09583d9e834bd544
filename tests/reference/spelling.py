"""Best path through a word's spelling, by recursion over every path: slow, and in Python integers."""

from functools import cache


def score(logits, spellings, within):
    """The best of all paths of all spellings, or None where none fits. logits: a list of lists, the last of each the blank's."""
    found = [path for spelling in spellings if (path := _one(logits, tuple(spelling), within)) is not None]
    return max(found, default=None)


def _one(logits, phones, within):
    blank = len(logits[0]) - 1 if logits else 0
    states = [phones[0]]
    for phone in phones[1:]:
        states += [blank, phone]

    @cache
    def until(t, s):
        """The best path that is in state s at step t; None where there is none."""
        here = logits[t][states[s]] - max(logits[t])
        before = [0] if s == 0 else []
        if t:
            from_ = [s, s - 1]
            if s % 2 == 0 and s >= 2 and states[s] != states[s - 2]:
                from_.append(s - 2)
            before += [got for one in from_ if one >= 0 and (got := until(t - 1, one)) is not None]
        return here + max(before) if before else None

    ends = [got for t in range(max(0, len(logits) - within), len(logits)) if (got := until(t, len(states) - 1)) is not None]
    return max(ends, default=None)
