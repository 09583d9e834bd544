# cython: language_level=3
"""Sums of int16 products two at a time, a vector of sums each: x86's pmaddwd, by name.

A compiler forms that instruction where a loop's products end in one sum, not where each lane keeps a sum of its own, which is
what saves a layer's horizontal additions. Elsewhere, and in checked builds, the same sums in plain C. Both: exact in int32,
the caller bounds every partial sum below 2^31; any alignment.
"""

from libc.stdint cimport int16_t, int32_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>
    #if defined(__SSE2__) && !defined(FARFIELD_CHECKED)
    #include <immintrin.h>
    #if defined(__AVX2__)
    typedef __m256i farfield_vector;
    #define FARFIELD_VECTOR(name) _mm256_##name
    #define FARFIELD_SI(name) _mm256_##name##_si256
    #else
    typedef __m128i farfield_vector;
    #define FARFIELD_VECTOR(name) _mm_##name
    #define FARFIELD_SI(name) _mm_##name##_si128
    #endif
    enum { farfield_lanes = sizeof(farfield_vector) / 4 };

    static inline farfield_vector farfield_load(const void *at) { return FARFIELD_SI(loadu)((const farfield_vector *) at); }
    static inline void farfield_store(void *at, farfield_vector v) { FARFIELD_SI(storeu)((farfield_vector *) at, v); }

    static inline void farfield_spread(int32_t *acc, const int16_t *x, const int16_t *w, int pairs) {
        farfield_vector sums[32 / farfield_lanes];
        for (int j = 0; j < 32 / farfield_lanes; j++) sums[j] = farfield_load(acc + j * farfield_lanes);
        for (int i = 0; i < pairs; i++, w += 64) {
            int32_t pair;
            memcpy(&pair, x + 2 * i, sizeof pair);
            farfield_vector both = FARFIELD_VECTOR(set1_epi32)(pair);
            for (int j = 0; j < 32 / farfield_lanes; j++)
                sums[j] = FARFIELD_VECTOR(add_epi32)(
                    sums[j], FARFIELD_VECTOR(madd_epi16)(both, farfield_load(w + 2 * j * farfield_lanes)));
        }
        for (int j = 0; j < 32 / farfield_lanes; j++) farfield_store(acc + j * farfield_lanes, sums[j]);
    }

    static inline void farfield_columns(
        int32_t *acc, const int16_t *x, int step, const int16_t *w, int width, int frames) {
        for (int c = 0; c < width; c += 2 * farfield_lanes) {
            farfield_vector low = FARFIELD_SI(setzero)(), high = low;
            for (int t = 0; t < frames; t += 2) {
                const int16_t *first = x + t * step + c, *second = t + 1 < frames ? first + step : first;
                farfield_vector x0 = farfield_load(first), w0 = farfield_load(w + t * width + c);
                farfield_vector x1 = farfield_load(second), w1 = farfield_load(w + (t + 1) * width + c);
                low = FARFIELD_VECTOR(add_epi32)(low, FARFIELD_VECTOR(madd_epi16)(
                    FARFIELD_VECTOR(unpacklo_epi16)(x0, x1), FARFIELD_VECTOR(unpacklo_epi16)(w0, w1)));
                high = FARFIELD_VECTOR(add_epi32)(high, FARFIELD_VECTOR(madd_epi16)(
                    FARFIELD_VECTOR(unpackhi_epi16)(x0, x1), FARFIELD_VECTOR(unpackhi_epi16)(w0, w1)));
            }
    #if defined(__AVX2__)
            // 256-bit unpacking works in halves: low holds channels 0 to 3 and 8 to 11, high the others.
            farfield_vector mixed = low;
            low = _mm256_permute2x128_si256(mixed, high, 0x20);
            high = _mm256_permute2x128_si256(mixed, high, 0x31);
    #endif
            farfield_store(acc + c, FARFIELD_VECTOR(add_epi32)(farfield_load(acc + c), low));
            int32_t *rest = acc + c + farfield_lanes;
            farfield_store(rest, FARFIELD_VECTOR(add_epi32)(farfield_load(rest), high));
        }
    }
    #else
    static inline void farfield_columns(
        int32_t *acc, const int16_t *x, int step, const int16_t *w, int width, int frames) {
        for (int t = 0; t < frames; t++)
            for (int c = 0; c < width; c++) acc[c] += x[t * step + c] * w[t * width + c];
    }

    static inline void farfield_spread(int32_t *acc, const int16_t *x, const int16_t *w, int pairs) {
        for (int i = 0; i < pairs; i++, w += 64)
            for (int o = 0; o < 32; o++) acc[o] += x[2 * i] * w[2 * o] + x[2 * i + 1] * w[2 * o + 1];
    }
    #endif
    """
    # acc[o] += sum over i of x[2i] w[i, o, 0] + x[2i + 1] w[i, o, 1], for 32 sums
    void spread "farfield_spread"(int32_t *acc, const int16_t *x, const int16_t *w, int pairs) noexcept nogil
    # acc[c] += sum over t of x[t step + c] w[t width + c]; width a multiple of 16, a row of zero weights after an odd last one
    void columns "farfield_columns"(
        int32_t *acc, const int16_t *x, int step, const int16_t *w, int width, int frames) noexcept nogil
