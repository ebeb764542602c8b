/* Sixteen lanes as two AVX2 registers: the same names as lanes_avx512.h, which comments on them.
 * Needs AVX2 and FMA. */
#ifndef PARE_RUNTIME_KERNELS_LANES_AVX2_H
#define PARE_RUNTIME_KERNELS_LANES_AVX2_H

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "runtime/kernels/kernels_math.h"

enum {
    LANES = 16,
    LANES_SCORE_ROWS = 1,
    LANES_OUT_ROWS = 2,
    LANES_OUT_GROUPS = 2,
    LANES_DOT_ROWS = 1,
    LANES_PRODUCT_ROWS = 4
};

typedef struct {
    __m256 lo, hi;
} Lanes;

static inline Lanes lanes_set1(float x) {
    return (Lanes){_mm256_set1_ps(x), _mm256_set1_ps(x)};
}

static inline Lanes lanes_load(const float *p) {
    return (Lanes){_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)};
}

static inline void lanes_store(float *p, Lanes v) {
    _mm256_storeu_ps(p, v.lo);
    _mm256_storeu_ps(p + 8, v.hi);
}

static const int32_t lanes_mask_words[32] = {-1, -1, -1, -1, -1, -1, -1, -1,
                                             -1, -1, -1, -1, -1, -1, -1, -1};

/* All ones in the first n <= 16 lanes. */
static inline __m256i lanes_mask_lo(size_t n) {
    return _mm256_loadu_si256((const __m256i *)(const void *)(lanes_mask_words + 16 - n));
}

static inline __m256i lanes_mask_hi(size_t n) {
    return _mm256_loadu_si256((const __m256i *)(const void *)(lanes_mask_words + 24 - n));
}

static inline Lanes lanes_blend(Lanes a, Lanes b, size_t n) {
    return (Lanes){_mm256_blendv_ps(b.lo, a.lo, _mm256_castsi256_ps(lanes_mask_lo(n))),
                   _mm256_blendv_ps(b.hi, a.hi, _mm256_castsi256_ps(lanes_mask_hi(n)))};
}

static inline Lanes lanes_load_part(const float *p, size_t n, Lanes fill) {
    Lanes v = {_mm256_maskload_ps(p, lanes_mask_lo(n)),
               n > 8 ? _mm256_maskload_ps(p + 8, lanes_mask_hi(n)) : _mm256_setzero_ps()};
    return lanes_blend(v, fill, n);
}

static inline void lanes_store_part(float *p, size_t n, Lanes v) {
    _mm256_maskstore_ps(p, lanes_mask_lo(n), v.lo);
    if (n > 8)
        _mm256_maskstore_ps(p + 8, lanes_mask_hi(n), v.hi);
}

static inline Lanes lanes_keep(Lanes v, size_t n) {
    return (Lanes){_mm256_and_ps(v.lo, _mm256_castsi256_ps(lanes_mask_lo(n))),
                   _mm256_and_ps(v.hi, _mm256_castsi256_ps(lanes_mask_hi(n)))};
}

static inline Lanes lanes_add(Lanes a, Lanes b) {
    return (Lanes){_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)};
}

static inline Lanes lanes_sub(Lanes a, Lanes b) {
    return (Lanes){_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)};
}

static inline Lanes lanes_mul(Lanes a, Lanes b) {
    return (Lanes){_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)};
}

static inline Lanes lanes_div(Lanes a, Lanes b) {
    return (Lanes){_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)};
}

static inline Lanes lanes_fma(Lanes a, Lanes b, Lanes c) {
    return (Lanes){_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
}

static inline Lanes lanes_max(Lanes a, Lanes b) {
    return (Lanes){_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)};
}

static inline Lanes lanes_min(Lanes a, Lanes b) {
    return (Lanes){_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)};
}

static inline Lanes lanes_and(Lanes a, Lanes b) {
    return (Lanes){_mm256_and_ps(a.lo, b.lo), _mm256_and_ps(a.hi, b.hi)};
}

static inline Lanes lanes_or(Lanes a, Lanes b) {
    return (Lanes){_mm256_or_ps(a.lo, b.lo), _mm256_or_ps(a.hi, b.hi)};
}

static inline Lanes lanes_xor(Lanes a, Lanes b) {
    return (Lanes){_mm256_xor_ps(a.lo, b.lo), _mm256_xor_ps(a.hi, b.hi)};
}

static inline Lanes lanes_if_negative(Lanes x, Lanes a, Lanes b) {
    __m256 zero = _mm256_setzero_ps();
    return (Lanes){_mm256_blendv_ps(b.lo, a.lo, _mm256_cmp_ps(x.lo, zero, _CMP_LT_OQ)),
                   _mm256_blendv_ps(b.hi, a.hi, _mm256_cmp_ps(x.hi, zero, _CMP_LT_OQ))};
}

static inline __m256 lanes_half_max_bits(__m256 a, __m256 b) {
    return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)));
}

static inline Lanes lanes_max_bits(Lanes a, Lanes b) {
    return (Lanes){lanes_half_max_bits(a.lo, b.lo), lanes_half_max_bits(a.hi, b.hi)};
}

/* As the scalar exp: 2^n in two factors, of which only the second product can round. */
static inline __m256 lanes_half_scale_pow2(__m256 p, __m256 rounded) {
    const __m256i one = _mm256_set1_epi32(127);
    __m256i bias = _mm256_castps_si256(_mm256_set1_ps(PARE_ROUND));
    __m256i n = _mm256_sub_epi32(_mm256_castps_si256(rounded), bias);
    __m256i half = _mm256_srai_epi32(n, 1);
    __m256i s1 = _mm256_slli_epi32(_mm256_add_epi32(half, one), 23);
    __m256i s2 = _mm256_slli_epi32(_mm256_add_epi32(_mm256_sub_epi32(n, half), one), 23);
    p = _mm256_mul_ps(p, _mm256_castsi256_ps(s1));
    return _mm256_mul_ps(p, _mm256_castsi256_ps(s2));
}

static inline Lanes lanes_scale_pow2(Lanes p, Lanes rounded) {
    return (Lanes){lanes_half_scale_pow2(p.lo, rounded.lo),
                   lanes_half_scale_pow2(p.hi, rounded.hi)};
}

static inline __m256 lanes_half_pow2(__m256 rounded) {
    __m256i shifted = _mm256_slli_epi32(_mm256_castps_si256(rounded), 23);
    return _mm256_castsi256_ps(_mm256_add_epi32(shifted, _mm256_set1_epi32(0x3f800000)));
}

static inline Lanes lanes_pow2(Lanes rounded) {
    return (Lanes){lanes_half_pow2(rounded.lo), lanes_half_pow2(rounded.hi)};
}

static inline __m256 lanes_fold_half(Lanes v) {
    return _mm256_add_ps(v.lo, v.hi);
}

static inline __m256 lanes_fold_pair(Lanes a, Lanes b) {
    __m256 a8 = lanes_fold_half(a), b8 = lanes_fold_half(b);
    return _mm256_add_ps(_mm256_permute2f128_ps(a8, b8, 0x20),
                         _mm256_permute2f128_ps(a8, b8, 0x31));
}

static inline __m128 lanes_fold4(Lanes a, Lanes b, Lanes c, Lanes d) {
    __m256 ab = lanes_fold_pair(a, b), cd = lanes_fold_pair(c, d); /* a4 | b4 and c4 | d4 */
    __m256 s2 = _mm256_add_ps(_mm256_shuffle_ps(ab, cd, 0x44), _mm256_shuffle_ps(ab, cd, 0xee));
    __m256 s1 = _mm256_add_ps(s2, _mm256_movehdup_ps(s2)); /* a . c . | b . d . */
    __m128 bd = _mm256_extractf128_ps(s1, 1);
    return _mm_blend_ps(_mm256_castps256_ps128(s1), _mm_moveldup_ps(bd), 0xa);
}

static inline float lanes_fold_max(Lanes v) {
    __m256 m8 = _mm256_max_ps(v.lo, v.hi);
    __m128 m4 = _mm_max_ps(_mm256_castps256_ps128(m8), _mm256_extractf128_ps(m8, 1));
    __m128 m2 = _mm_max_ps(m4, _mm_movehl_ps(m4, m4));
    return _mm_cvtss_f32(_mm_max_ss(m2, _mm_movehdup_ps(m2)));
}

static inline uint32_t lanes_fold_max_bits(Lanes v) {
    __m256i m8 = _mm256_castps_si256(lanes_half_max_bits(v.lo, v.hi));
    __m128i m4 = _mm_max_epi32(_mm256_castsi256_si128(m8), _mm256_extracti128_si256(m8, 1));
    __m128i m2 = _mm_max_epi32(m4, _mm_shuffle_epi32(m4, 0x4e));
    return (uint32_t)_mm_cvtsi128_si32(_mm_max_epi32(m2, _mm_shuffle_epi32(m2, 0xb1)));
}

static inline __m128i lanes_to_i8(Lanes v) {
    __m256i words = _mm256_packs_epi32(_mm256_cvtps_epi32(v.lo), _mm256_cvtps_epi32(v.hi));
    words = _mm256_permute4x64_epi64(words, 0xd8);
    return _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
}

static inline __m256 lanes_join2(const float *a, const float *b) {
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(a)), _mm_loadu_ps(b), 1);
}

static inline Lanes lanes_join4(const float *a, const float *b, const float *c, const float *d) {
    return (Lanes){lanes_join2(a, b), lanes_join2(c, d)};
}

static inline Lanes lanes_zip_low(Lanes a, Lanes b) {
    return (Lanes){_mm256_unpacklo_ps(a.lo, b.lo), _mm256_unpacklo_ps(a.hi, b.hi)};
}

static inline Lanes lanes_zip_high(Lanes a, Lanes b) {
    return (Lanes){_mm256_unpackhi_ps(a.lo, b.lo), _mm256_unpackhi_ps(a.hi, b.hi)};
}

static inline Lanes lanes_pair_low(Lanes a, Lanes b) {
    return (Lanes){_mm256_shuffle_ps(a.lo, b.lo, 0x44), _mm256_shuffle_ps(a.hi, b.hi, 0x44)};
}

static inline Lanes lanes_pair_high(Lanes a, Lanes b) {
    return (Lanes){_mm256_shuffle_ps(a.lo, b.lo, 0xee), _mm256_shuffle_ps(a.hi, b.hi, 0xee)};
}

/* Four blocks of Philox; lanes_random takes two of these, step by step, so that neither waits. */
typedef struct {
    __m256i c0, c1, c2, c3;
} LanesPhilox;

static inline LanesPhilox lanes_philox_open(uint64_t stream, uint64_t block) {
    LanesPhilox p;
    p.c0 = _mm256_add_epi64(_mm256_set1_epi64x((long long)block), _mm256_setr_epi64x(0, 2, 1, 3));
    p.c1 = _mm256_srli_epi64(p.c0, 32);
    p.c2 = _mm256_set1_epi64x((long long)stream);
    p.c3 = _mm256_srli_epi64(p.c2, 32);
    return p;
}

static inline LanesPhilox lanes_philox_round(LanesPhilox p, __m256i key0, __m256i key1) {
    __m256i a = _mm256_mul_epu32(p.c0, _mm256_set1_epi64x(0xD2511F53));
    __m256i b = _mm256_mul_epu32(p.c2, _mm256_set1_epi64x(0xCD9E8D57));
    return (LanesPhilox){
        _mm256_xor_si256(_mm256_srli_epi64(b, 32), _mm256_xor_si256(p.c1, key0)), b,
        _mm256_xor_si256(_mm256_srli_epi64(a, 32), _mm256_xor_si256(p.c3, key1)), a};
}

static inline Lanes lanes_philox_close(LanesPhilox p) {
    __m256i low = _mm256_blend_epi32(p.c0, _mm256_slli_epi64(p.c1, 32), 0xaa);
    __m256i high = _mm256_blend_epi32(p.c2, _mm256_slli_epi64(p.c3, 32), 0xaa);
    return (Lanes){_mm256_castsi256_ps(_mm256_unpacklo_epi64(low, high)),
                   _mm256_castsi256_ps(_mm256_unpackhi_epi64(low, high))};
}

static inline void lanes_random(uint64_t seed, uint64_t stream, uint64_t block, Lanes words[2]) {
    LanesPhilox p = lanes_philox_open(stream, block), q = lanes_philox_open(stream, block + 4);
    __m256i key0 = _mm256_set1_epi64x((long long)seed), key1 = _mm256_srli_epi64(key0, 32);
    for (int round = 0; round < 10; round++) {
        p = lanes_philox_round(p, key0, key1);
        q = lanes_philox_round(q, key0, key1);
        key0 = _mm256_add_epi64(key0, _mm256_set1_epi64x(0x9E3779B9));
        key1 = _mm256_add_epi64(key1, _mm256_set1_epi64x(0xBB67AE85));
    }
    words[0] = lanes_philox_close(p);
    words[1] = lanes_philox_close(q);
}

static inline __m256 lanes_half_if_kept(__m256 words, __m256i limit, __m256 v) {
    __m256i w = _mm256_castps_si256(words);
    __m256i kept = _mm256_cmpeq_epi32(_mm256_max_epu32(w, limit), w);
    return _mm256_and_ps(v, _mm256_castsi256_ps(kept));
}

static inline Lanes lanes_if_kept(Lanes words, uint32_t threshold, Lanes v) {
    __m256i limit = _mm256_set1_epi32((int)threshold);
    return (Lanes){lanes_half_if_kept(words.lo, limit, v.lo),
                   lanes_half_if_kept(words.hi, limit, v.hi)};
}

#endif
