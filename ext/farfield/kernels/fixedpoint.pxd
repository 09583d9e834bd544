# cython: language_level=3
"""Named fixed-point operations. Each says how it rounds, when it wraps, and what is undefined."""

from libc.math cimport sqrt
from libc.stdint cimport int16_t, int32_t, uint32_t

cdef extern from *:
    """
    #include <stdint.h>
    static inline int farfield_bit_length32(uint32_t x) { return x ? 32 - __builtin_clz(x) : 0; }
    /* x as a float32: (127 + whole log2) << 23 | mantissa, of which the first 19 bits are cut and never rounded; 0 for 0.
       Clearing x >> 20 from x leaves the 20 leading bits and stops there the carry of a conversion that rounds up. */
    static inline uint32_t farfield_float_bits(uint32_t x)
    {
        union { float value; uint32_t bits; } f;
        f.value = (float) (x & ~(x >> 20));
        return f.bits;
    }
    """
    uint32_t float_bits "farfield_float_bits"(uint32_t x) noexcept nogil
    int bit_length32 "farfield_bit_length32"(uint32_t x) noexcept nogil


cdef inline int16_t q15_mul(int16_t a, int16_t b) noexcept nogil:
    """a * b in Q15. Rounds half up. Wraps for -1 * -1 alone. Written as a doubled shift, which compilers map to pmulhrsw."""
    return <int16_t> (((<int32_t> a * b >> 14) + 1) >> 1)


cdef inline int16_t q15_round(int32_t product) noexcept nogil:
    """A sum of Q30 products in Q15. Rounds half up. Wraps to int16. Undefined within 2**14 of the int32 limit."""
    return <int16_t> ((product + (1 << 14)) >> 15)


cdef inline int16_t half_sum(int16_t a, int16_t b) noexcept nogil:
    """(a + b) >> 1: rounds down, never wraps, and stays within 16 bits on the way."""
    return <int16_t> ((a & b) + ((a ^ b) >> 1))


cdef inline int16_t half_difference(int16_t a, int16_t b) noexcept nogil:
    """(a - b) >> 1: rounds down, never wraps, and stays within 16 bits on the way."""
    return <int16_t> (((a ^ b) >> 1) - (~a & b))


cdef inline uint32_t rounded_sqrt(double x) noexcept nogil:
    """The whole number nearest to the square root of a whole x below 2**48; from there on the last place is undefined.

    Exact: the root of a whole x lies at least 0.37 / sqrt(x) > 2**-26 from a half, and a double near 2**24 resolves
    2**-28. Below 2**32 the result stays within 16 bits, as in the published front end.
    """
    cdef double root = sqrt(x) + 0.5
    cdef double most = 65535.0 if x < 4294967296.0 else 16777216.0
    return <uint32_t> <int32_t> (root if root < most else most)
