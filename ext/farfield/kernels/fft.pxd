# cython: language_level=3
"""Real FFT of N = 64 to 2048 points, float32, on split real and imaginary arrays.

    forward  X[k] = sum_n x[n] exp(-2 pi i k n / N), k = 0 .. N/2        inverse  x = the x that `forward` turns into X

The N real points are packed as M = N/2 complex ones z[n] = x[2n] + i x[2n+1]; a Stockham decimation in time (radix 4, one
radix 2 where log2 M is odd) transforms them, and X[k] = (Z[k] + Z*[M-k]) / 2 - i w^k (Z[k] - Z*[M-k]) / 2, w = exp(-2 pi i / N).
(Cooley and Tukey 1965; Stockham in Cochran et al., IEEE Trans. AU 15, 1967; Sorensen et al., IEEE Trans. ASSP 35, 1987.)

A stage joins sub-transforms of length m. While m is small the data lie [frequency][time], so that loops run over time;
then they are transposed once and lie [time][frequency]. So every inner loop is contiguous and at least 4 long, mostly 16.
About 2.1 N log2 N + 6 N operations; float32 leaves 125 dB or more to the exact transform at every size.

Indices are Py_ssize_t throughout: Python builds with -fwrapv, under which a 32-bit index keeps gcc from vectorising.
A plan is immutable and may be shared; work memory (4 M floats) belongs to the caller. Nothing need be aligned. Input and
output must not overlap. Include what is inline here in each kernel, so that each level compiles its own.
"""

from libc.math cimport cos, sin
from libc.stdlib cimport free, malloc

cdef extern from *:
    """
    typedef const float *restrict farfield_in;
    typedef float *restrict farfield_out;

    /* Four rows of four floats, `from` apart, into four columns `to` apart: gcc finds no shuffles for a loop that does this. */
    typedef float farfield_four __attribute__((vector_size(16), aligned(4), may_alias));
    static inline void farfield_turn4(const float *a, Py_ssize_t from, float *b, Py_ssize_t to)
    {
        farfield_four r0 = *(const farfield_four *) a, r1 = *(const farfield_four *) (a + from);
        farfield_four r2 = *(const farfield_four *) (a + 2 * from), r3 = *(const farfield_four *) (a + 3 * from);
        farfield_four low01 = __builtin_shufflevector(r0, r1, 0, 4, 1, 5), high01 = __builtin_shufflevector(r0, r1, 2, 6, 3, 7);
        farfield_four low23 = __builtin_shufflevector(r2, r3, 0, 4, 1, 5), high23 = __builtin_shufflevector(r2, r3, 2, 6, 3, 7);
        *(farfield_four *) b = __builtin_shufflevector(low01, low23, 0, 1, 4, 5);
        *(farfield_four *) (b + to) = __builtin_shufflevector(low01, low23, 2, 3, 6, 7);
        *(farfield_four *) (b + 2 * to) = __builtin_shufflevector(high01, high23, 0, 1, 4, 5);
        *(farfield_four *) (b + 3 * to) = __builtin_shufflevector(high01, high23, 2, 3, 6, 7);
    }
    """
    ctypedef const float *Read "farfield_in"  # points to memory that nothing else in the function writes
    ctypedef float *Write "farfield_out"
    void turn4 "farfield_turn4"(const float *a, Py_ssize_t from_, float *b, Py_ssize_t to) noexcept nogil

cdef enum:
    MOST_STAGES = 6

cdef struct Plan:
    int size         # N
    int points       # M = N / 2
    int stages
    int turn         # the stage before which the data are transposed
    int radix[MOST_STAGES]
    int length[MOST_STAGES]  # m: of the sub-transforms that the stage joins
    float *leg[MOST_STAGES]  # cosines then sines, m each, for each leg after the first
    float *split     # w^k: M cosines then M sines


cdef inline Plan *plan_new(int size) noexcept:
    """A plan for `size` real points (a power of two, 64 to 2048), or NULL where memory is short; end it with plan_free."""
    cdef Plan *plan = <Plan *> malloc(sizeof(Plan))
    cdef int m = 1, k, l, r, stage
    cdef double turn
    if plan == NULL:
        return NULL
    plan.size, plan.points, plan.stages = size, size // 2, 0
    plan.turn = -1
    plan.split = <float *> malloc(size * sizeof(float))
    if plan.split == NULL:
        plan_free(plan)
        return NULL
    for k in range(plan.points):
        turn = -2 * 3.14159265358979323846 * k / size
        plan.split[k] = <float> cos(turn)
        plan.split[plan.points + k] = <float> sin(turn)
    while m < plan.points:
        r = 4
        if m == 1 and (plan.points & 0x55555555) == 0:  # an odd power of two
            r = 2
        stage = plan.stages
        plan.radix[stage], plan.length[stage] = r, m
        plan.leg[stage] = <float *> malloc(2 * (r - 1) * m * sizeof(float))
        plan.stages += 1
        if plan.leg[stage] == NULL:
            plan_free(plan)
            return NULL
        for l in range(1, r):
            for k in range(m):
                turn = -2 * 3.14159265358979323846 * l * k / (r * m)
                plan.leg[stage][2 * (l - 1) * m + k] = <float> cos(turn)
                plan.leg[stage][(2 * l - 1) * m + k] = <float> sin(turn)
        if plan.turn < 0 and m * m >= plan.points // 4 and stage > 0:
            plan.turn = stage
        m *= r
    return plan


cdef inline void plan_free(Plan *plan) noexcept nogil:
    cdef int stage
    if plan == NULL:
        return
    for stage in range(plan.stages):
        free(plan.leg[stage])
    free(plan.split)
    free(plan)


cdef inline void join2_by_time(Read re, Read im, Write to_re, Write to_im, Py_ssize_t s) noexcept nogil:
    """First stage of radix 2: sums and differences of the halves, `s` each."""
    cdef Py_ssize_t j
    for j in range(s):
        to_re[j] = re[j] + re[s + j]
        to_im[j] = im[j] + im[s + j]
        to_re[s + j] = re[j] - re[s + j]
        to_im[s + j] = im[j] - im[s + j]


cdef inline void join4_by_time(Read re, Read im, Write to_re, Write to_im, Read leg, Py_ssize_t m, Py_ssize_t q, Py_ssize_t s) noexcept nogil:
    """Frequency q of sub-transforms of length m joined by four, over `s` places in time."""
    cdef Py_ssize_t j, far = m * s
    cdef float c1 = leg[q], s1 = leg[m + q], c2 = leg[2 * m + q], s2 = leg[3 * m + q], c3 = leg[4 * m + q], s3 = leg[5 * m + q]
    cdef Read re1 = re + s, im1 = im + s, re2 = re + 2 * s, im2 = im + 2 * s, re3 = re + 3 * s, im3 = im + 3 * s
    cdef Write to_re1 = to_re + far, to_im1 = to_im + far, to_re2 = to_re + 2 * far, to_im2 = to_im + 2 * far
    cdef Write to_re3 = to_re + 3 * far, to_im3 = to_im + 3 * far
    cdef float br, bi, cr, ci, dr, di
    for j in range(s):
        br = re1[j] * c1 - im1[j] * s1
        bi = re1[j] * s1 + im1[j] * c1
        cr = re2[j] * c2 - im2[j] * s2
        ci = re2[j] * s2 + im2[j] * c2
        dr = re3[j] * c3 - im3[j] * s3
        di = re3[j] * s3 + im3[j] * c3
        to_re[j] = (re[j] + cr) + (br + dr)
        to_im[j] = (im[j] + ci) + (bi + di)
        to_re1[j] = (re[j] - cr) + (bi - di)
        to_im1[j] = (im[j] - ci) - (br - dr)
        to_re2[j] = (re[j] + cr) - (br + dr)
        to_im2[j] = (im[j] + ci) - (bi + di)
        to_re3[j] = (re[j] - cr) - (bi - di)
        to_im3[j] = (im[j] - ci) + (br - dr)


cdef inline void join4_by_frequency(Read re, Read im, Write to_re, Write to_im, Read leg, Py_ssize_t m, Py_ssize_t far) noexcept nogil:
    """All m frequencies of four sub-transforms that lie `far` apart, joined."""
    cdef Py_ssize_t q
    cdef Read c1 = leg, s1 = leg + m, c2 = leg + 2 * m, s2 = leg + 3 * m, c3 = leg + 4 * m, s3 = leg + 5 * m
    cdef Read re1 = re + far, im1 = im + far, re2 = re + 2 * far, im2 = im + 2 * far, re3 = re + 3 * far, im3 = im + 3 * far
    cdef Write to_re1 = to_re + m, to_im1 = to_im + m, to_re2 = to_re + 2 * m, to_im2 = to_im + 2 * m
    cdef Write to_re3 = to_re + 3 * m, to_im3 = to_im + 3 * m
    cdef float br, bi, cr, ci, dr, di
    for q in range(m):
        br = re1[q] * c1[q] - im1[q] * s1[q]
        bi = re1[q] * s1[q] + im1[q] * c1[q]
        cr = re2[q] * c2[q] - im2[q] * s2[q]
        ci = re2[q] * s2[q] + im2[q] * c2[q]
        dr = re3[q] * c3[q] - im3[q] * s3[q]
        di = re3[q] * s3[q] + im3[q] * c3[q]
        to_re[q] = (re[q] + cr) + (br + dr)
        to_im[q] = (im[q] + ci) + (bi + di)
        to_re1[q] = (re[q] - cr) + (bi - di)
        to_im1[q] = (im[q] - ci) - (br - dr)
        to_re2[q] = (re[q] + cr) - (br + dr)
        to_im2[q] = (im[q] + ci) - (bi + di)
        to_re3[q] = (re[q] - cr) - (bi - di)
        to_im3[q] = (im[q] - ci) + (br - dr)


cdef inline void transpose(Read a, Write b, Py_ssize_t rows, Py_ssize_t columns) noexcept nogil:
    """Rows and columns are multiples of 4."""
    cdef Py_ssize_t i, j
    for i in range(0, rows, 4):
        for j in range(0, columns, 4):
            turn4(a + i * columns + j, columns, b + j * rows + i, rows)


cdef inline int complex_fft(const Plan *plan, float *re, float *im, float *other_re, float *other_im) noexcept nogil:
    """Transforms (re, im), M each, using (other_re, other_im) in turn; 1 where the result lies in the others, else 0."""
    cdef Py_ssize_t q, j, m, s
    cdef int stage, swapped = 0
    for stage in range(plan.stages):
        m = plan.length[stage]
        if stage == plan.turn:
            s = plan.points // m
            transpose(re, other_re, m, s)
            transpose(im, other_im, m, s)
            re, other_re = other_re, re
            im, other_im = other_im, im
            swapped ^= 1
        s = plan.points // (m * plan.radix[stage])
        if plan.radix[stage] == 2:
            join2_by_time(re, im, other_re, other_im, s)
        elif plan.turn < 0 or stage < plan.turn:
            for q in range(m):
                join4_by_time(
                    re + 4 * s * q, im + 4 * s * q, other_re + s * q, other_im + s * q, plan.leg[stage], m, q, s)
        else:
            for j in range(s):
                join4_by_frequency(
                    re + j * m, im + j * m, other_re + 4 * m * j, other_im + 4 * m * j, plan.leg[stage], m, s * m)
        re, other_re = other_re, re
        im, other_im = other_im, im
        swapped ^= 1
    return swapped


cdef inline void unpack(const Plan *plan, Read zr, Read zi, Write re, Write im) noexcept nogil:
    """The spectrum of N real points, k = 0 .. M, from that of M packed ones."""
    cdef Py_ssize_t k, n = plan.points
    cdef Read c = plan.split
    cdef Read s = plan.split + n
    cdef float er, ei, dr, di
    re[0], im[0] = zr[0] + zi[0], 0
    re[n], im[n] = zr[0] - zi[0], 0
    for k in range(1, n):
        er, ei = 0.5 * (zr[k] + zr[n - k]), 0.5 * (zi[k] - zi[n - k])
        dr, di = 0.5 * (zr[k] - zr[n - k]), 0.5 * (zi[k] + zi[n - k])
        re[k] = er + c[k] * di + s[k] * dr
        im[k] = ei + s[k] * di - c[k] * dr


cdef inline void pack(const Plan *plan, Read re, Read im, Write zr, Write zi) noexcept nogil:
    """What `unpack` undoes, scaled by 1/M."""
    cdef Py_ssize_t k, n = plan.points
    cdef Read c = plan.split
    cdef Read s = plan.split + n
    cdef float scale = 0.5 / n, er, ei, dr, di
    for k in range(n):
        er, ei = scale * (re[k] + re[n - k]), scale * (im[k] - im[n - k])
        dr, di = scale * (re[k] - re[n - k]), scale * (im[k] + im[n - k])
        zr[k] = er - (c[k] * di - s[k] * dr)
        zi[k] = ei + c[k] * dr + s[k] * di


cdef inline void real_forward(const Plan *plan, const float *x, float *re, float *im, float *work) noexcept nogil:
    """x (N) into re, im (M + 1 each); work: 4 M floats."""
    cdef Py_ssize_t i, n = plan.points
    cdef float *a = work
    cdef float *b = work + 2 * n
    for i in range(n):
        a[i] = x[2 * i]
        a[n + i] = x[2 * i + 1]
    if complex_fft(plan, a, a + n, b, b + n):
        unpack(plan, b, b + n, re, im)
    else:
        unpack(plan, a, a + n, re, im)


cdef inline void real_inverse(const Plan *plan, const float *re, const float *im, float *x, float *work) noexcept nogil:
    """re, im (M + 1 each; im[0] and im[M] must be 0) into x (N); work: 4 M floats."""
    cdef Py_ssize_t i, n = plan.points
    cdef float *a = work
    cdef float *b = work + 2 * n
    pack(plan, re, im, a, a + n)
    # Swapping real and imaginary parts before and after turns the forward transform into the inverse.
    if complex_fft(plan, a + n, a, b + n, b):
        a = b
    for i in range(n):
        x[2 * i] = a[i]
        x[2 * i + 1] = a[n + i]
