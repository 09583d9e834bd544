# cython: language_level=3
"""Short-time spectra of a stream: frames of 512 samples, hop 256, sine (root-Hann) window, and back by overlap-add.

The window's squares at a distance of one hop add to one, so that analysis and synthesis with it reproduce the stream.
"""

from farfield.kernels.fft cimport Plan, Read, Write, real_forward, real_inverse
from libc.math cimport sin

cdef enum:
    SIZE = 512
    HOP = 256
    BINS = 257
    STRIDE = 272  # BINS rounded up to whole vectors


cdef inline void sine_window(float *window) noexcept nogil:
    cdef Py_ssize_t n
    for n in range(SIZE):
        window[n] = <float> sin(3.14159265358979323846 * (n + 0.5) / SIZE)


cdef inline void analyse(const Plan *plan, Read window, Read held, Write re, Write im, float *scratch) noexcept nogil:
    """Spectrum (BINS) of the last SIZE samples; scratch: SIZE + 2 SIZE floats."""
    cdef Py_ssize_t n
    for n in range(SIZE):
        scratch[n] = window[n] * held[n]
    real_forward(plan, scratch, re, im, scratch + SIZE)


cdef inline void synthesise(
    const Plan *plan, Read window, float *re, float *im, Write tail, Write out, Py_ssize_t step, float *scratch
) noexcept nogil:
    """Adds a frame to what the last one left in `tail` (HOP); the finished hop goes to out[n * step]."""
    cdef Py_ssize_t n
    im[0] = im[HOP] = 0
    real_inverse(plan, re, im, scratch, scratch + SIZE)
    for n in range(HOP):
        out[n * step] = tail[n] + window[n] * scratch[n]
    for n in range(HOP):
        tail[n] = window[HOP + n] * scratch[HOP + n]
