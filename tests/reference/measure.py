"""Measures that the float kernels are held to, and streams cut into chunks."""

import itertools

import numpy as np


def snr_db(got, wanted):
    """Power of what was wanted over the power of the difference, in dB; infinite where they are the same."""
    wanted = np.asarray(wanted)
    error = np.sum(np.abs(np.asarray(got, np.result_type(wanted, np.float64)) - wanted) ** 2)
    if error == 0:
        return np.inf
    return 10 * np.log10(np.maximum(np.sum(np.abs(wanted) ** 2), 1e-300) / error)


def si_sdr_db(got, wanted):
    """Scale-invariant signal-to-distortion ratio (Le Roux et al., ICASSP 2019), in dB."""
    got, wanted = np.asarray(got, np.float64), np.asarray(wanted, np.float64)
    target = wanted * (got @ wanted) / (wanted @ wanted)
    return 10 * np.log10((target @ target) / np.sum((got - target) ** 2))


def power_db(x):
    """Mean power in dB."""
    return 10 * np.log10(np.mean(np.asarray(x, np.float64) ** 2))


def in_chunks(process, cuts, *streams):
    """What `process` gives for the streams cut at `cuts` (frames, any order, doubles give empty chunks), joined."""
    frames = len(streams[0])
    edges = [0, *sorted(min(cut, frames) for cut in cuts), frames]
    parts = [process(*(s[a:b] for s in streams)) for a, b in itertools.pairwise(edges)]
    return np.concatenate(parts)
