# cython: language_level=3
"""What float samples pass at the door of a kernel, and how loud they are."""

from farfield.kernels.fft cimport Read, Write


cdef inline float clean(float x) noexcept nogil:
    """x within +-8 (18 dB over full scale), 0 where it is NaN or infinite: what follows stays finite."""
    if not (x - x == 0):
        return 0
    return 8 if x > 8 else (-8 if x < -8 else x)


cdef inline void take(Read x, Py_ssize_t step, Write out, Py_ssize_t n) noexcept nogil:
    """One channel of n interleaved frames, cleaned."""
    cdef Py_ssize_t t
    if step == 1:  # a loop of its own: gcc makes vectors of it
        for t in range(n):
            out[t] = clean(x[t])
    else:
        for t in range(n):
            out[t] = clean(x[t * step])


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
