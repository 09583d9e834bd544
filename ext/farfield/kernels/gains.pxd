# cython: language_level=3
"""The suppressor's arithmetic, one spectrum at a time; equations at the head of suppress.pyx, whose names these are."""

from farfield.kernels.fft cimport Read, Write


cdef inline void add_power(Read re, Read im, Write power, float share, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(n):
        power[k] += share * (re[k] * re[k] + im[k] * im[k])


cdef inline float spread(const float *q, Write out, float floor, Py_ssize_t n) noexcept nogil:
    """q over its neighbours, as 1 2 4 2 1, and `floor`; q has a mirrored margin. The sum of q over its bins."""
    cdef Py_ssize_t k
    cdef const float *l1 = q - 1
    cdef const float *l2 = q - 2
    cdef const float *r1 = q + 1
    cdef const float *r2 = q + 2
    cdef float total = 0
    for k in range(n):
        out[k] = <float> 0.4 * q[k] + <float> 0.2 * (l1[k] + r1[k]) + <float> 0.1 * (l2[k] + r2[k]) + floor
    for k in range(n):
        total += q[k]
    return total


cdef inline void ring_on(Read q, Write u, float more, float release, Py_ssize_t n) noexcept nogil:
    """u falls no faster than `release` a hop."""
    cdef Py_ssize_t k
    cdef float now, before
    for k in range(n):
        now = q[k] + more
        before = release * u[k]
        u[k] = now if now > before else before


cdef inline void first_noise(Read p, Write noise, float share, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(n):
        noise[k] += share * (p[k] - noise[k])


cdef inline void track_noise(Read p, Write noise, Write present, float share, Py_ssize_t n) noexcept nogil:
    """One step of the noise tracker; present: the recent mean of the probability that there is more than noise."""
    cdef Py_ssize_t k, turn
    cdef float x, e, probable, most
    for k in range(n):
        x = <float> 0.969347 * p[k] / noise[k]
        x = 1 + (x if x < 60 else 60) / 32
        e = x * x
        e = e * e
        e = e * e
        e = e * e
        e = e * e  # x to the 32nd: nearly the exponential
        probable = e / (e + <float> 32.6228)
        present[k] += <float> 0.1 * (probable - present[k])
        most = present[k] - <float> 0.9
        most = 1 - <float> 0.1 * (most if most > 0 else 0)
        probable = probable if probable < most else most
        noise[k] += share * (1 - probable) * (p[k] - noise[k])


cdef inline void learn(
    Read p, Read noise, Read u1, Read u3, Write a1, Write a3, Write residual, float down, float up, float least, float most,
    Py_ssize_t n
) noexcept nogil:
    """One step of both coefficients, and the residual that they make of what the echo may have left."""
    cdef Py_ssize_t k
    cdef float r1, r3, x, share, total
    for k in range(n):
        r1 = a1[k] * u1[k]
        r3 = a3[k] * u3[k]
        total = r1 + r3 + noise[k]
        x = (p[k] - total) / (p[k] + total)
        x *= up if x > 0 else down
        share = r1 / (r1 + r3)
        r1 = a1[k] * (1 + x * share * u1[k] / (u1[k] + <float> 0.1 * noise[k]))
        r3 = a3[k] * (1 + x * (1 - share) * u3[k] / (u3[k] + <float> 0.1 * noise[k]))
        r1 = r1 if r1 > least else least
        a1[k] = r1 if r1 < most else most
        r3 = r3 if r3 > <float> 0.1 * least else <float> 0.1 * least
        a3[k] = r3 if r3 < most else most
        residual[k] = a1[k] * u1[k] + a3[k] * u3[k]


cdef inline float excess(Read p, Read residual, Read noise, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """The share of the power from bin `first` to `last` that is beyond eight times the residual and twice the noise."""
    cdef Py_ssize_t k
    cdef float beyond = 0, total = 0, x
    for k in range(first, last):
        x = p[k] - 8 * residual[k] - 2 * noise[k]
        beyond += x if x > 0 else 0
        total += p[k]
    return beyond / total


cdef inline void wiener(
    Read p, Read before, Read residual, Read noise, Write gain, float beta, float noisy, float least, float decision, float floor,
    Py_ssize_t n
) noexcept nogil:
    """The decision-directed gain; `gain` holds the last hop's."""
    cdef Py_ssize_t k
    cdef float unwanted, fresh, xi
    for k in range(n):
        unwanted = beta * residual[k] + noisy * noise[k] + floor
        fresh = p[k] / unwanted - 1
        fresh = fresh if fresh > 0 else 0
        xi = decision * gain[k] * gain[k] * before[k] / unwanted + (1 - decision) * fresh
        xi = xi / (1 + xi)
        gain[k] = xi if xi > least else least


cdef inline void smooth3(const float *gain, Write out, Py_ssize_t n) noexcept nogil:
    """The gain over its neighbours, as 1 2 1; it has a margin of one."""
    cdef Py_ssize_t k
    cdef const float *left = gain - 1
    cdef const float *right = gain + 1
    for k in range(n):
        out[k] = <float> 0.5 * gain[k] + <float> 0.25 * (left[k] + right[k])
