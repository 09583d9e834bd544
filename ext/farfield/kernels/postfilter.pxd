# cython: language_level=3
"""The adaptive beam's postfilter: what lies along the target's direction against what lies across it (head of mvdr.pyx)."""

from farfield.kernels.fft cimport Read, Write
from farfield.kernels.stft cimport BINS, STRIDE


cdef inline void attenuate(Read re, Read im, Read dqd, Read xqx, Write along, Write across, Write gain, int others,
                           float lowest) noexcept nogil:
    """The gain of each bin, of d^H Q x = (re, im), d^H Q d and x^H Q x; along and across are what is kept from hop to hop.

    others: microphones less one. lowest: the gain's floor.
    """
    cdef Py_ssize_t k, below, above
    cdef float fits, p, n, made
    for k in range(STRIDE):
        fits = (re[k] * re[k] + im[k] * im[k]) / dqd[k]
        along[k] += <float> 0.4 * (fits - along[k])
        fits = xqx[k] - fits
        across[k] += <float> 0.4 * ((fits if fits > 0 else 0) - across[k])
    for k in range(BINS):
        below, above = k - 1 if k else 0, k + 1 if k < BINS - 1 else k
        p = along[below] + along[k] + along[above]
        n = across[below] + across[k] + across[above]
        made = 1 - n / (others * p + <float> 1e-30)
        gain[k] = made if made > lowest else lowest
