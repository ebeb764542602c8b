/* Sixteen lanes as one AVX-512 register. See lanes_rows.h for what uses them; lanes_avx2.h offers
 * the same names. Needs F, BW, VL, DQ and FMA. */
#ifndef PARE_RUNTIME_KERNELS_LANES_AVX512_H
#define PARE_RUNTIME_KERNELS_LANES_AVX512_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/kernels/kernels_math.h"

/* How many rows attention takes together: for the scores (times 4 keys) and for the output (times
 * LANES_OUT_GROUPS groups of 16 columns); and its backward pass for the scores and for dP, both
 * times 16 keys. */
enum {
    LANES = 16,
    LANES_SCORE_ROWS = 6,
    LANES_OUT_ROWS = 6,
    LANES_OUT_GROUPS = 4,
    LANES_DOT_ROWS = 4,
    LANES_PRODUCT_ROWS = 8
};

typedef __m512 Lanes;

static inline Lanes lanes_set1(float x) {
    return _mm512_set1_ps(x);
}

static inline Lanes lanes_load(const float *p) {
    return _mm512_loadu_ps(p);
}

static inline void lanes_store(float *p, Lanes v) {
    _mm512_storeu_ps(p, v);
}

static inline __mmask16 lanes_mask(size_t n) {
    return (__mmask16)((1u << n) - 1u);
}

/* The first n < 16 lanes; the others have the value of `fill`, and their memory is not touched. */
static inline Lanes lanes_load_part(const float *p, size_t n, Lanes fill) {
    return _mm512_mask_loadu_ps(fill, lanes_mask(n), p);
}

static inline void lanes_store_part(float *p, size_t n, Lanes v) {
    _mm512_mask_storeu_ps(p, lanes_mask(n), v);
}

/* The first n lanes of a, the others of b. */
static inline Lanes lanes_blend(Lanes a, Lanes b, size_t n) {
    return _mm512_mask_mov_ps(b, lanes_mask(n), a);
}

/* Lanes n and up become +0. */
static inline Lanes lanes_keep(Lanes v, size_t n) {
    return _mm512_maskz_mov_ps(lanes_mask(n), v);
}

static inline Lanes lanes_add(Lanes a, Lanes b) {
    return _mm512_add_ps(a, b);
}

static inline Lanes lanes_sub(Lanes a, Lanes b) {
    return _mm512_sub_ps(a, b);
}

static inline Lanes lanes_mul(Lanes a, Lanes b) {
    return _mm512_mul_ps(a, b);
}

static inline Lanes lanes_div(Lanes a, Lanes b) {
    return _mm512_div_ps(a, b);
}

static inline Lanes lanes_fma(Lanes a, Lanes b, Lanes c) {
    return _mm512_fmadd_ps(a, b, c);
}

/* a > b ? a : b, and a < b ? a : b. */
static inline Lanes lanes_max(Lanes a, Lanes b) {
    return _mm512_max_ps(a, b);
}

static inline Lanes lanes_min(Lanes a, Lanes b) {
    return _mm512_min_ps(a, b);
}

static inline Lanes lanes_and(Lanes a, Lanes b) {
    return _mm512_and_ps(a, b);
}

static inline Lanes lanes_or(Lanes a, Lanes b) {
    return _mm512_or_ps(a, b);
}

static inline Lanes lanes_xor(Lanes a, Lanes b) {
    return _mm512_xor_ps(a, b);
}

/* x < 0 ? a : b */
static inline Lanes lanes_if_negative(Lanes x, Lanes a, Lanes b) {
    __mmask16 negative = _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ);
    return _mm512_mask_mov_ps(b, negative, a);
}

/* The larger as integers: for magnitudes, with NaN above infinity. */
static inline Lanes lanes_max_bits(Lanes a, Lanes b) {
    return _mm512_castsi512_ps(_mm512_max_epi32(_mm512_castps_si512(a), _mm512_castps_si512(b)));
}

/* p 2^n, rounded once, and 2^n, where rounded = n + PARE_ROUND. */
static inline Lanes lanes_scale_pow2(Lanes p, Lanes rounded) {
    return _mm512_scalef_ps(p, _mm512_sub_ps(rounded, _mm512_set1_ps(PARE_ROUND)));
}

static inline Lanes lanes_pow2(Lanes rounded) {
    __m512i shifted = _mm512_slli_epi32(_mm512_castps_si512(rounded), 23);
    return _mm512_castsi512_ps(_mm512_add_epi32(shifted, _mm512_set1_epi32(0x3f800000)));
}

/* The first step of the fold: l += l+8. */
static inline __m256 lanes_fold_half(Lanes v) {
    return _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
}

/* Four sums at once, each folded in the written order. */
static inline __m128 lanes_fold4(Lanes a, Lanes b, Lanes c, Lanes d) {
    __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x44), _mm512_shuffle_f32x4(a, b, 0xee));
    __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(c, d, 0x44), _mm512_shuffle_f32x4(c, d, 0xee));
    __m512 s4 =
        _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
    __m512 s2 = _mm512_add_ps(s4, _mm512_permute_ps(s4, 0x4e));
    __m512 s1 = _mm512_add_ps(s2, _mm512_permute_ps(s2, 0xb1));
    const __m512i heads = _mm512_setr_epi32(0, 4, 8, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
    return _mm512_castps512_ps128(_mm512_permutexvar_ps(heads, s1));
}

static inline float lanes_fold_max(Lanes v) {
    return _mm512_reduce_max_ps(v);
}

static inline uint32_t lanes_fold_max_bits(Lanes v) {
    return (uint32_t)_mm512_reduce_max_epi32(_mm512_castps_si512(v));
}

/* Rounded to nearest even, to 16 bytes; every lane is within [-127, 127]. */
static inline __m128i lanes_to_i8(Lanes v) {
    return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v));
}

/* Lanes 0-3 from a, 4-7 from b, 8-11 from c, 12-15 from d. */
static inline Lanes lanes_join4(const float *a, const float *b, const float *c, const float *d) {
    __m256 ab = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(a)), _mm_loadu_ps(b), 1);
    __m256 cd = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(c)), _mm_loadu_ps(d), 1);
    return _mm512_insertf32x8(_mm512_castps256_ps512(ab), cd, 1);
}

/* In each four lanes: a0 b0 a1 b1; a2 b2 a3 b3; a0 a1 b0 b1; a2 a3 b2 b3. */
static inline Lanes lanes_zip_low(Lanes a, Lanes b) {
    return _mm512_unpacklo_ps(a, b);
}

static inline Lanes lanes_zip_high(Lanes a, Lanes b) {
    return _mm512_unpackhi_ps(a, b);
}

static inline Lanes lanes_pair_low(Lanes a, Lanes b) {
    return _mm512_shuffle_ps(a, b, 0x44);
}

static inline Lanes lanes_pair_high(Lanes a, Lanes b) {
    return _mm512_shuffle_ps(a, b, 0xee);
}

/* The 32 words of blocks block .. block + 7 of pare_random_block, in order, as bits. Each 64-bit
 * lane carries a block's word in its low half, where the multiplication reads it; what gathers in
 * the high half never comes down. The order of the blocks puts the result in order. */
static inline void lanes_random(uint64_t seed, uint64_t stream, uint64_t block, Lanes words[2]) {
    const __m512i m0 = _mm512_set1_epi64(0xD2511F53), m2 = _mm512_set1_epi64(0xCD9E8D57);
    __m512i c0 = _mm512_add_epi64(_mm512_set1_epi64((long long)block),
                                  _mm512_setr_epi64(0, 4, 1, 5, 2, 6, 3, 7));
    __m512i c1 = _mm512_srli_epi64(c0, 32), c2 = _mm512_set1_epi64((long long)stream);
    __m512i c3 = _mm512_srli_epi64(c2, 32);
    __m512i key0 = _mm512_set1_epi64((long long)seed), key1 = _mm512_srli_epi64(key0, 32);
    const __m512i step0 = _mm512_set1_epi64(0x9E3779B9), step1 = _mm512_set1_epi64(0xBB67AE85);
    for (int round = 0; round < 10; round++) {
        __m512i a = _mm512_mul_epu32(c0, m0), b = _mm512_mul_epu32(c2, m2);
        c0 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(b, 32), c1, key0, 0x96); /* xor */
        c1 = b;
        c2 = _mm512_ternarylogic_epi64(_mm512_srli_epi64(a, 32), c3, key1, 0x96);
        c3 = a;
        key0 = _mm512_add_epi64(key0, step0);
        key1 = _mm512_add_epi64(key1, step1);
    }
    __m512i low = _mm512_mask_blend_epi32(0xaaaa, c0, _mm512_slli_epi64(c1, 32));
    __m512i high = _mm512_mask_blend_epi32(0xaaaa, c2, _mm512_slli_epi64(c3, 32));
    words[0] = _mm512_castsi512_ps(_mm512_unpacklo_epi64(low, high));
    words[1] = _mm512_castsi512_ps(_mm512_unpackhi_epi64(low, high));
}

/* v where the bits of `words`, as an unsigned integer, are not below the threshold; +0 elsewhere.
 */
static inline Lanes lanes_if_kept(Lanes words, uint32_t threshold, Lanes v) {
    __m512i limit = _mm512_set1_epi32((int)threshold);
    return _mm512_maskz_mov_ps(_mm512_cmpge_epu32_mask(_mm512_castps_si512(words), limit), v);
}

#endif
