# cython: language_level=3
"""Reading sound between its samples: a sinc of 32 taps under a Kaiser window, 256 phases, linear between them."""

from libc.math cimport floor
from libc.stdint cimport int64_t

cdef enum:
    TAPS = 32
    PHASES = 256


cdef inline float between(const float *ring, int64_t size, double at, const float *table) noexcept nogil:
    """A ring's sound (each sample twice, `size` apart) at a place between its samples."""
    cdef double whole = floor(at)
    cdef float phase = <float> ((at - whole) * PHASES), part
    cdef int row = <int> phase
    cdef const float *x = ring + ((<int64_t> whole - (TAPS // 2 - 1)) & (size - 1))
    cdef const float *low
    cdef const float *high
    cdef float sums[8]
    cdef int j, k
    if at == whole:
        return x[TAPS // 2 - 1]
    row = min(row, PHASES - 1)
    part = phase - row
    low = table + row * TAPS
    high = low + TAPS
    for k in range(8):
        sums[k] = 0
    for j in range(0, TAPS, 8):
        for k in range(8):
            sums[k] += x[j + k] * (low[j + k] + part * (high[j + k] - low[j + k]))
    return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]))
