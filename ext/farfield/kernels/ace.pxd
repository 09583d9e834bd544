# cython: language_level=3
"""The adaptive coherence estimator of many directions over a few bins: [SEARCHED] numbers a direction, and their sum."""

from farfield.kernels.fft cimport Read, Write

cdef enum:
    SEARCHED = 96
    PARTS = 16


cdef inline float total(Read x) noexcept nogil:
    """Sum of SEARCHED numbers in PARTS parts, which vectorise without reassociation."""
    cdef float part[PARTS]
    cdef float made = 0
    cdef Py_ssize_t t, j
    for j in range(PARTS):
        part[j] = 0
    for t in range(SEARCHED // PARTS):
        for j in range(PARTS):
            part[j] += x[PARTS * t + j]
    for j in range(PARTS):
        made += part[j]
    return made


cdef inline void add_few(Read dr, Read di, Read zr, Read zi, Write re, Write im) noexcept nogil:
    """(re, im) += d* z over the searched bins."""
    cdef Py_ssize_t k
    for k in range(SEARCHED):
        re[k] += dr[k] * zr[k] + di[k] * zi[k]
        im[k] += dr[k] * zi[k] - di[k] * zr[k]


cdef inline void add_quadratic(Read qr, Read qi, Read ar, Read ai, Read br, Read bi, Write out, float times) noexcept nogil:
    """out += times Re(a* q b)."""
    cdef Py_ssize_t k
    for k in range(SEARCHED):
        out[k] += times * (qr[k] * (ar[k] * br[k] + ai[k] * bi[k]) - qi[k] * (ar[k] * bi[k] - ai[k] * br[k]))


cdef inline void fit(Read re, Read im, Read inverse, Read weight, Write out) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(SEARCHED):
        out[k] = (re[k] * re[k] + im[k] * im[k]) * inverse[k] * weight[k]
