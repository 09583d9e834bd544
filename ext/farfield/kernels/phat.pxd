# cython: language_level=3
"""Cross spectra over their magnitude, hops of 512 samples; equations at the head of align.pyx, whose names these are."""

from farfield.kernels.fft cimport Read, Write
from libc.math cimport sqrtf

cdef extern from *:
    """
    #define FARFIELD_PHAT_FLOOR 1e-12f
    """
    const float FLOOR "FARFIELD_PHAT_FLOOR"

cdef enum:
    HOP = 512
    STRIDE = 520  # HOP + 1 bins, rounded up to a vector


cdef inline bint normalise(Write re, Write im, Write power, float pause) noexcept nogil:
    """A spectrum over its magnitude, more or less; whether it was louder than `pause` of the mean."""
    cdef Py_ssize_t k
    cdef float now, scale, total = 0, mean = 0
    for k in range(HOP + 1):
        now = re[k] * re[k] + im[k] * im[k]
        power[k] = <float> 0.97 * power[k] + <float> 0.03 * now + FLOOR
        total += now
        mean += power[k]
        scale = 1 / (sqrtf(now) + <float> 0.3 * sqrtf(power[k]) + <float> 1e-6)
        re[k] *= scale
        im[k] *= scale
    return total > pause * mean


cdef inline void correlate(Read yr, Read yi, Read xr, Read xi, Write sr, Write si, float share) noexcept nogil:
    """s += share (y x* - s)."""
    cdef Py_ssize_t k
    for k in range(HOP + 1):
        sr[k] += share * (yr[k] * xr[k] + yi[k] * xi[k] - sr[k])
        si[k] += share * (yi[k] * xr[k] - yr[k] * xi[k] - si[k])


cdef inline void accumulate(Read yr, Read yi, Read xr, Read xi, Write sr, Write si) noexcept nogil:
    """s += y x*."""
    cdef Py_ssize_t k
    for k in range(HOP + 1):
        sr[k] += yr[k] * xr[k] + yi[k] * xi[k]
        si[k] += yi[k] * xr[k] - yr[k] * xi[k]
