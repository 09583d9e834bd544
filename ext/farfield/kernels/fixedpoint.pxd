# cython: language_level=3
"""Named fixed-point operations. Each says how it rounds, when it wraps, and what is undefined."""

from libc.math cimport sqrt
from libc.stdint cimport int16_t, int32_t, int64_t, uint32_t, uint64_t

cdef extern from *:
    """
    #include <stdint.h>
    static inline int farfield_bit_length32(uint32_t x) { return x ? 32 - __builtin_clz(x) : 0; }
    """
    int bit_length32 "farfield_bit_length32"(uint32_t x) noexcept nogil


cdef inline int16_t q15_mul(int16_t a, int16_t b) noexcept nogil:
    """a * b in Q15. Rounds half up. Wraps for -1 * -1 alone. Written as a doubled shift, which compilers map to pmulhrsw."""
    return <int16_t> (((<int32_t> a * b >> 14) + 1) >> 1)


cdef inline int16_t q15_round(int32_t product) noexcept nogil:
    """A sum of Q30 products in Q15. Rounds half up. Wraps to int16. Undefined within 2**14 of the int32 limit."""
    return <int16_t> ((product + (1 << 14)) >> 15)


cdef inline uint64_t rounded_sqrt(uint64_t x) noexcept nogil:
    """The whole number nearest to the square root; x below 2**48, else the last place is undefined.

    Exact: x fits a double, its root lies at least 0.37 / sqrt(x) > 2**-26 from a half, and a double near 2**24 resolves
    2**-28. Below 2**32 the result stays within 16 bits, as in the published front end.
    """
    cdef uint64_t root = <uint64_t> (sqrt(<double> <int64_t> x) + 0.5)
    if root == 65536 and x < (<uint64_t> 1 << 32):
        return 65535
    return root

