# cython: language_level=3
"""Small Hermitian algebra in 16 bins side by side, one vector: what a group of bins needs stays in the nearest cache.

Vectors are [element][re, im][LANES], matrices their upper triangle row by row, [entry][re, im][LANES].
"""

from farfield.kernels.fft cimport Read, Write
from libc.string cimport memset

cdef enum:
    LANES = 16
    GROUPS = 16  # the 256 bins below the topmost


cdef inline void add_scaled(Read pr, Read br, Read bi, Write yr, Write yi) noexcept nogil:
    """y += p b, p real."""
    cdef Py_ssize_t k
    for k in range(LANES):
        yr[k] += pr[k] * br[k]
        yi[k] += pr[k] * bi[k]


cdef inline void add_both(Read pr, Read pi, Read ar, Read ai, Read br, Read bi, Write yr, Write yi, Write zr, Write zi) noexcept nogil:
    """y += p b, and z += p* a."""
    cdef Py_ssize_t k
    for k in range(LANES):
        yr[k] += pr[k] * br[k] - pi[k] * bi[k]
        yi[k] += pr[k] * bi[k] + pi[k] * br[k]
        zr[k] += pr[k] * ar[k] + pi[k] * ai[k]
        zi[k] += pr[k] * ai[k] - pi[k] * ar[k]


cdef inline void product(const float *p, const float *x, float *z, Py_ssize_t n) noexcept nogil:
    """z = P x."""
    cdef Py_ssize_t i, j
    cdef const float *a
    cdef const float *b
    cdef float *y
    cdef float *w
    memset(z, 0, 2 * n * LANES * sizeof(float))
    for i in range(n):
        a, y = x + 2 * i * LANES, z + 2 * i * LANES
        add_scaled(p, a, a + LANES, y, y + LANES)
        p += 2 * LANES
        for j in range(i + 1, n):
            b, w = x + 2 * j * LANES, z + 2 * j * LANES
            add_both(p, p + LANES, a, a + LANES, b, b + LANES, y, y + LANES, w, w + LANES)
            p += 2 * LANES


cdef inline void add_conjugate_product(Read ar, Read ai, Read br, Read bi, Write re, Write im) noexcept nogil:
    """(re, im) += a* b."""
    cdef Py_ssize_t k
    for k in range(LANES):
        re[k] += ar[k] * br[k] + ai[k] * bi[k]
        im[k] += ar[k] * bi[k] - ai[k] * br[k]


cdef inline void filtered(const float *g, const float *x, float *y, Py_ssize_t n) noexcept nogil:
    """y = g^H x, [re, im][LANES]."""
    cdef Py_ssize_t i
    memset(y, 0, 2 * LANES * sizeof(float))
    for i in range(n):
        add_conjugate_product(g, g + LANES, x, x + LANES, y, y + LANES)
        g += 2 * LANES
        x += 2 * LANES


cdef inline void add_inner(Read ar, Read ai, Read br, Read bi, Write out) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(LANES):
        out[k] += ar[k] * br[k] + ai[k] * bi[k]


cdef inline void quadratic(const float *a, const float *b, float *out, Py_ssize_t n) noexcept nogil:
    """Real part of a^H b."""
    cdef Py_ssize_t i
    memset(out, 0, LANES * sizeof(float))
    for i in range(n):
        add_inner(a + 2 * i * LANES, a + (2 * i + 1) * LANES, b + 2 * i * LANES, b + (2 * i + 1) * LANES, out)


cdef inline void norms(const float *a, float *out, Py_ssize_t n) noexcept nogil:
    """|a|^2."""
    quadratic(a, a, out, n)


cdef inline void add_scaled_product(Read f, Read ar, Read ai, Read br, Read bi, Write re, Write im) noexcept nogil:
    """(re, im) += f a b*."""
    cdef Py_ssize_t k
    for k in range(LANES):
        re[k] += f[k] * (ar[k] * br[k] + ai[k] * bi[k])
        im[k] += f[k] * (ai[k] * br[k] - ar[k] * bi[k])


cdef inline void add_outer(float *g, const float *f, const float *z, const float *y, Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    """G += f z y^H, G as m vectors of n."""
    cdef Py_ssize_t c, i
    for c in range(m):
        for i in range(n):
            add_scaled_product(f, z + 2 * i * LANES, z + (2 * i + 1) * LANES, y + 2 * c * LANES, y + (2 * c + 1) * LANES, g, g + LANES)
            g += 2 * LANES


cdef inline void take_outer(Read scale, Read f, Read ar, Read ai, Read br, Read bi, Write pr, Write pi) noexcept nogil:
    """p = scale p - f a b*."""
    cdef Py_ssize_t k
    for k in range(LANES):
        pr[k] = scale[k] * pr[k] - f[k] * (ar[k] * br[k] + ai[k] * bi[k])
        pi[k] = scale[k] * pi[k] - f[k] * (ai[k] * br[k] - ar[k] * bi[k])


cdef inline void take_square(Read scale, Read f, Read ar, Read ai, Write p) noexcept nogil:
    """p = scale p - f |a|^2."""
    cdef Py_ssize_t k
    for k in range(LANES):
        p[k] = scale[k] * p[k] - f[k] * (ar[k] * ar[k] + ai[k] * ai[k])


cdef inline void downdate(float *p, const float *scale, const float *f, const float *z, Py_ssize_t n) noexcept nogil:
    """P = scale P - f z z^H; scale and f per bin. The diagonal stays real: rounding would leave it an imaginary part that grows."""
    cdef Py_ssize_t i, j
    cdef const float *a
    cdef const float *b
    for i in range(n):
        a = z + 2 * i * LANES
        take_square(scale, f, a, a + LANES, p)
        p += 2 * LANES
        for j in range(i + 1, n):
            b = z + 2 * j * LANES
            take_outer(scale, f, a, a + LANES, b, b + LANES, p, p + LANES)
            p += 2 * LANES


cdef inline void take_column(const float *p, float *c, Py_ssize_t n, Py_ssize_t m) noexcept nogil:
    """Column m of P."""
    cdef Py_ssize_t i, k, at
    cdef const float *e
    for i in range(n):
        at = i * n - i * (i - 1) // 2 + m - i if i <= m else m * n - m * (m - 1) // 2 + i - m
        e = p + 2 * at * LANES
        for k in range(LANES):
            c[2 * i * LANES + k] = e[k]
            c[(2 * i + 1) * LANES + k] = e[LANES + k] if i <= m else -e[LANES + k]
