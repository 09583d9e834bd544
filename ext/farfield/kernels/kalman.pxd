# cython: language_level=3
"""The echo canceller's arithmetic, one spectrum at a time; equations at the head of echo.pyx, whose names these are."""

from farfield.kernels.fft cimport Read, Write

cdef extern from *:
    """
    #define FARFIELD_PI_SQUARED 9.86960440108935861883
    """
    const double PI_SQUARED "FARFIELD_PI_SQUARED"

cdef enum:
    LEAKS_TO = 5  # neighbours that a bin's power is spread over


cdef inline void advance(
    Read xr, Read xi, Read nr, Read ni, Read gr, Read gi, Read inverse, Write wr, Write wi, Write c,
    Write yr, Write yi, Write er, Write ei, Write total, float a2, float change, float settled, float scale, Py_ssize_t n
) noexcept nogil:
    """One partition's Kalman step with the last hop (xr, xi); its share of that hop's echo, and of the next hop's (nr, ni)."""
    cdef Py_ssize_t k
    cdef float r, i, power, v
    for k in range(n):
        power = xr[k] * xr[k] + xi[k] * xi[k]
        r = wr[k] + c[k] * (xr[k] * gr[k] + xi[k] * gi[k])
        i = wi[k] + c[k] * (xr[k] * gi[k] - xi[k] * gr[k])
        v = scale * (a2 * (c[k] - 0.5 * c[k] * c[k] * power * inverse[k]) + change * (r * r + i * i) + settled)
        c[k] = v
        wr[k] = r
        wi[k] = i
        yr[k] += xr[k] * r - xi[k] * i
        yi[k] += xr[k] * i + xi[k] * r
        er[k] += nr[k] * r - ni[k] * i
        ei[k] += nr[k] * i + ni[k] * r
        total[k] += (nr[k] * nr[k] + ni[k] * ni[k]) * v


cdef inline void explain(Read xr, Read xi, Read wr, Read wi, Write yr, Write yi, Py_ssize_t n) noexcept nogil:
    """Adds one partition's share of the echo."""
    cdef Py_ssize_t k
    for k in range(n):
        yr[k] += xr[k] * wr[k] - xi[k] * wi[k]
        yi[k] += xr[k] * wi[k] + xi[k] * wr[k]


cdef inline void mirror(float *x, Py_ssize_t n, Py_ssize_t margin) noexcept nogil:
    """Fills `margin` places before x[0] and after x[n - 1] with what lies on the other side of these."""
    cdef Py_ssize_t j
    for j in range(1, margin + 1):
        x[-j] = x[j]
        x[n - 1 + j] = x[n - 1 - j]


cdef inline void leak(const float *t, Write out, Py_ssize_t n) noexcept nogil:
    """2 |G|^2 with t, as far as the fifth neighbour; t has a mirrored margin."""
    cdef Py_ssize_t k
    cdef const float *l1 = t - 1
    cdef const float *l3 = t - 3
    cdef const float *l5 = t - 5
    cdef const float *r1 = t + 1
    cdef const float *r3 = t + 3
    cdef const float *r5 = t + 5
    cdef float first = 2 / PI_SQUARED, third = 2 / (9 * PI_SQUARED), fifth = 2 / (25 * PI_SQUARED)
    for k in range(n):
        out[k] = <float> 0.5 * t[k] + first * (l1[k] + r1[k]) + third * (l3[k] + r3[k]) + fifth * (l5[k] + r5[k])


cdef inline void mean_of_bins(const float *x, Write out, Py_ssize_t width, Py_ssize_t n) noexcept nogil:
    """The mean over 2 width + 1 bins; x has a mirrored margin."""
    cdef Py_ssize_t k, j
    cdef const float *from_
    cdef float share = 1 / <float> (2 * width + 1)
    for k in range(n):
        out[k] = 0
    for j in range(-width, width + 1):
        from_ = x + j
        for k in range(n):
            out[k] += share * from_[k]


cdef inline void observe(
    Read er, Read ei, Write noise, Read power, Read total, Write gr, Write gi, Write inverse, float s,
    float least, float floor, Py_ssize_t n
) noexcept nogil:
    """Takes the error into the observation noise; leaves E / D in (gr, gi) and 1 / D in inverse."""
    cdef Py_ssize_t k
    cdef float q, near
    for k in range(n):
        near = 2 * noise[k] / (total[k] + 2 * noise[k] + floor)
        near = near if near > least else least
        noise[k] = s * noise[k] + (1 - s) * near * power[k] + floor
        q = 1 / (total[k] + 2 * noise[k])
        inverse[k] = q
        gr[k] = er[k] * q
        gi[k] = ei[k] * q


cdef inline void moved(Read taps, Write last, Write before, float *motion, Py_ssize_t n) noexcept nogil:
    """Adds to motion[0] the product of a filter's step since `last` and the step `before`, to motion[1] their mean square.

    `last` and `before` are then those of now. n: a multiple of 8.
    """
    cdef Py_ssize_t k, j
    cdef float d
    cdef float along[8]
    cdef float size[8]
    for j in range(8):
        along[j] = size[j] = 0
    for k in range(0, n, 8):
        for j in range(8):
            d = taps[k + j] - last[k + j]
            along[j] += d * before[k + j]
            size[j] += d * d + before[k + j] * before[k + j]
            last[k + j] = taps[k + j]
            before[k + j] = d
    for j in range(8):
        motion[0] += along[j]
        motion[1] += <float> 0.5 * size[j]


cdef inline bint clipped(Read x, float top, Py_ssize_t n) noexcept nogil:
    """Whether two samples in a row are equal, and no less than `top` from 0."""
    cdef Py_ssize_t t
    cdef int flat = 0
    for t in range(n - 1):
        flat += (x[t] == x[t + 1]) & ((x[t] >= top) | (x[t] <= -top))
    return flat > 0
