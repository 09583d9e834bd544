"""Where speech ends, by the definition: whole numbers, all steps at once, nothing kept from one to the next."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

SPAN, REMEMBERED, LEAST = 5, 400, 64 * 800


def energies(samples):
    """Of each whole 10 ms: all of it, and the Haar wavelet's four bands, from 4 to 8 kHz down to 0 to 1 kHz; (steps, 5)."""
    whole = np.asarray(samples[: len(samples) // 160 * 160], np.int64).reshape(-1, 160)
    summed = np.concatenate([np.zeros((len(whole), 1), np.int64), np.cumsum(whole, axis=1)], axis=1)
    found = [(whole**2).sum(axis=1)]
    for half in (1, 2, 4):
        first, middle, last = (
            summed[:, : -2 * half : 2 * half],
            summed[:, half : -half : 2 * half],
            summed[:, 2 * half :: 2 * half],
        )
        found.append(((2 * middle - first - last) ** 2).sum(axis=1))
    found.append((np.diff(summed[:, ::8], axis=1) ** 2).sum(axis=1))
    return np.stack(found, axis=1)


def steps_over(pieces, index):
    """(index after it, whether it was speech) of each whole step, and of each gap, which is none.

    pieces: (index of the first sample, samples), in order; what lies between them is missing. index: from where it is listened.
    """
    ends, all_of_them, is_gap = [], [], []
    for first, samples in pieces:
        if first > index:
            ends.append(first)
            is_gap.append(True)
        made = energies(samples)
        all_of_them.append(made)
        ends += [first + 160 * (n + 1) for n in range(len(made))]
        is_gap += [False] * len(made)
        index = first + len(samples)
    levels = np.concatenate([*all_of_them, np.zeros((0, 5), np.int64)])
    speech = np.zeros(len(levels), bool)
    if len(levels) >= SPAN:
        spans = sliding_window_view(levels, SPAN, axis=0).sum(axis=2)
        before = np.full((REMEMBERED - 1, 5), 1 << 60)
        quietest = sliding_window_view(np.concatenate([before, spans]), REMEMBERED, axis=0).min(axis=2)
        stands_out, is_loud = spans > np.array([4, 6, 6, 6, 6]) * quietest, spans > LEAST * np.array([1, 2, 4, 8, 8])
        speech[SPAN - 1 :] = (stands_out & is_loud).any(axis=1)
    told = iter(speech.tolist())
    return [(end, False if gap else next(told)) for end, gap in zip(ends, is_gap, strict=True)]


def steps(samples, index):
    """The same of samples without a gap."""
    return steps_over([(index, samples)], index)
