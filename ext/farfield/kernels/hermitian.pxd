# cython: language_level=3
"""Hermitian matrices of order n, one for each bin, of which the upper triangle is kept, row by row: [entry][re, im][STRIDE].

Vectors are [element][re, im][STRIDE]. Every loop runs over the bins, which makes vectors of it without reassociation.
"""

from farfield.kernels.fft cimport Read, Write
from farfield.kernels.stft cimport STRIDE
from libc.string cimport memset


cdef inline Py_ssize_t entries(Py_ssize_t n) noexcept nogil:
    return n * (n + 1) // 2


cdef inline Py_ssize_t entry(Py_ssize_t n, Py_ssize_t i, Py_ssize_t j) noexcept nogil:
    """Number of the entry in row i and column j, i <= j."""
    return i * n - i * (i - 1) // 2 + j - i


cdef inline void on_diagonal(Read p, Read xr, Read xi, Write zr, Write zi) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(STRIDE):
        zr[k] += p[k] * xr[k]
        zi[k] += p[k] * xi[k]


cdef inline void off_diagonal(
    Read pr, Read pi, Read ar, Read ai, Read br, Read bi, Write yr, Write yi, Write zr, Write zi
) noexcept nogil:
    """y += p b for the entry and z += p* a for the one across the diagonal."""
    cdef Py_ssize_t k
    for k in range(STRIDE):
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
    memset(z, 0, 2 * n * STRIDE * sizeof(float))
    for i in range(n):
        a, y = x + 2 * i * STRIDE, z + 2 * i * STRIDE
        on_diagonal(p, a, a + STRIDE, y, y + STRIDE)
        p += 2 * STRIDE
        for j in range(i + 1, n):
            b, w = x + 2 * j * STRIDE, z + 2 * j * STRIDE
            off_diagonal(p, p + STRIDE, a, a + STRIDE, b, b + STRIDE, y, y + STRIDE, w, w + STRIDE)
            p += 2 * STRIDE


cdef inline void add_inner(Read ar, Read ai, Read br, Read bi, Write re) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(STRIDE):
        re[k] += ar[k] * br[k] + ai[k] * bi[k]


cdef inline void inner(const float *a, const float *b, float *re, Py_ssize_t n) noexcept nogil:
    """Real part of a^H b."""
    cdef Py_ssize_t i
    memset(re, 0, STRIDE * sizeof(float))
    for i in range(n):
        add_inner(a + 2 * i * STRIDE, a + (2 * i + 1) * STRIDE, b + 2 * i * STRIDE, b + (2 * i + 1) * STRIDE, re)


cdef inline void add_conjugate_product(Read ar, Read ai, Read br, Read bi, Write re, Write im) noexcept nogil:
    """(re, im) += a* b."""
    cdef Py_ssize_t k
    for k in range(STRIDE):
        re[k] += ar[k] * br[k] + ai[k] * bi[k]
        im[k] += ar[k] * bi[k] - ai[k] * br[k]


cdef inline void filtered(const float *w, const float *x, float *re, float *im, Py_ssize_t n) noexcept nogil:
    """w^H x."""
    cdef Py_ssize_t i
    memset(re, 0, STRIDE * sizeof(float))
    memset(im, 0, STRIDE * sizeof(float))
    for i in range(n):
        add_conjugate_product(
            w + 2 * i * STRIDE, w + (2 * i + 1) * STRIDE, x + 2 * i * STRIDE, x + (2 * i + 1) * STRIDE, re, im)


cdef inline void take_outer(Read scale, Read f, Read ar, Read ai, Read br, Read bi, Write pr, Write pi) noexcept nogil:
    """p = scale p - f a b*."""
    cdef Py_ssize_t k
    for k in range(STRIDE):
        pr[k] = scale[k] * pr[k] - f[k] * (ar[k] * br[k] + ai[k] * bi[k])
        pi[k] = scale[k] * pi[k] - f[k] * (ai[k] * br[k] - ar[k] * bi[k])


cdef inline void take_square(Read scale, Read f, Read ar, Read ai, Write p) noexcept nogil:
    """p = scale p - f |a|^2."""
    cdef Py_ssize_t k
    for k in range(STRIDE):
        p[k] = scale[k] * p[k] - f[k] * (ar[k] * ar[k] + ai[k] * ai[k])


cdef inline void downdate(float *p, const float *scale, const float *f, const float *z, Py_ssize_t n) noexcept nogil:
    """P = scale P - f z z^H; scale and f per bin. The diagonal stays real: rounding would leave it an imaginary part that grows."""
    cdef Py_ssize_t i, j
    cdef const float *a
    cdef const float *b
    for i in range(n):
        a = z + 2 * i * STRIDE
        take_square(scale, f, a, a + STRIDE, p)
        p += 2 * STRIDE
        for j in range(i + 1, n):
            b = z + 2 * j * STRIDE
            take_outer(scale, f, a, a + STRIDE, b, b + STRIDE, p, p + STRIDE)
            p += 2 * STRIDE


cdef inline void column(const float *p, float *c, Py_ssize_t n, Py_ssize_t m) noexcept nogil:
    """Column m of P."""
    cdef Py_ssize_t i, k
    cdef const float *e
    for i in range(n):
        e = p + 2 * (entry(n, i, m) if i <= m else entry(n, m, i)) * STRIDE
        for k in range(STRIDE):
            c[2 * i * STRIDE + k] = e[k]
            c[(2 * i + 1) * STRIDE + k] = e[STRIDE + k] if i <= m else -e[STRIDE + k]
