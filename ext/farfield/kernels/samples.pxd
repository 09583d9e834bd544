# cython: language_level=3
"""What float samples pass at the door of a kernel, how loud they are, and memory for them."""

cimport numpy as cnp

from farfield.kernels.fft cimport Read, Write
from libc.stdint cimport int16_t
from libc.string cimport memset

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void **memory, size_t alignment, size_t size)


cdef inline float *zeros(Py_ssize_t n) noexcept nogil:
    """n floats of 0 on a cache line's border, where no vector straddles two lines; NULL where memory is short; ends with free."""
    cdef void *memory = NULL
    if posix_memalign(&memory, 64, max(n, 1) * sizeof(float)):
        return NULL
    memset(memory, 0, n * sizeof(float))
    return <float *> memory


cdef inline float clean(float x) noexcept nogil:
    """x within +-8 (18 dB over full scale), 0 where it is NaN or infinite: what follows stays finite."""
    if not (x - x == 0):
        return 0
    return 8 if x > 8 else (-8 if x < -8 else x)


cdef struct Sound:
    const float *real      # interleaved frames, full scale 1; or NULL, and
    const int16_t *whole   # full scale 32,768
    Py_ssize_t channels


cdef inline Sound sound_of(cnp.ndarray given) noexcept:
    """What boundary.sound() let in."""
    cdef Sound made
    made.real, made.whole = NULL, NULL
    made.channels = cnp.PyArray_DIM(given, 1)
    if cnp.PyArray_TYPE(given) == cnp.NPY_INT16:
        made.whole = <const int16_t *> cnp.PyArray_DATA(given)
    else:
        made.real = <const float *> cnp.PyArray_DATA(given)
    return made


cdef inline void take(const Sound *x, Py_ssize_t channel, Write out, Py_ssize_t n) noexcept nogil:
    """The next n samples of one channel, cleaned."""
    cdef Py_ssize_t t, step = x.channels
    cdef const float *real = x.real
    cdef const int16_t *whole = x.whole
    if real == NULL:
        for t in range(n):
            out[t] = whole[t * step + channel] * <float> (1.0 / 32768)
    elif step == 1:  # a loop of its own: gcc makes vectors of it
        for t in range(n):
            out[t] = clean(real[t])
    else:
        for t in range(n):
            out[t] = clean(real[t * step + channel])


cdef inline void skip(Sound *x, Py_ssize_t n) noexcept nogil:
    if x.real == NULL:
        x.whole += n * x.channels
    else:
        x.real += n * x.channels


cdef inline float energy(Read x, Py_ssize_t n) noexcept nogil:
    """Sum of n squares, n a multiple of 8: in eight parts, which vectorise without reassociation."""
    cdef float part[8]
    cdef Py_ssize_t t, j
    for j in range(8):
        part[j] = 0
    for t in range(0, n, 8):
        for j in range(8):
            part[j] += x[t + j] * x[t + j]
    return ((part[0] + part[4]) + (part[1] + part[5])) + ((part[2] + part[6]) + (part[3] + part[7]))
