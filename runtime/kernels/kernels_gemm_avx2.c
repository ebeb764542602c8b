/* Matrix products with AVX2, FMA and F16C; kernels_gemm_avx512.c explains the arithmetic. A block
 * of 16 outputs is two registers, so a tile is one block and up to 6 (halves) or 4 (INT8) rows;
 * half products of one or two rows take more blocks to have enough sums in flight. */
#include "runtime/kernels/kernels_table.h"

#if defined(__AVX2__) && defined(__FMA__) && defined(__F16C__)
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "runtime/kernels/prefetch.h"
#include "runtime/kernels/unroll.h"

#define INLINE static inline __attribute__((always_inline))

/* STRIP_I8: columns whose weights stay in the cache while all rows pass. */
enum { BLOCK = 16, DEPTH = 4, ROWS = 6, WIDE_BLOCKS = 4, ROWS_I8 = 4, STRIP_I8 = 128 };

/* Rows of the next of `tiles` tiles over `left` rows: nearly the same for all.
 *
 *  */
INLINE size_t tile_height(size_t left, size_t tiles) {
    return (left + tiles - 1) / tiles;
}

/* Columns n and n + 8 of a block go out whole, or as many as exist before n1.
 *
 *  */
INLINE void store_columns(float *y, size_t n, size_t n1, __m256 lo, __m256 hi) {
    if (n + BLOCK <= n1) {
        _mm256_storeu_ps(y + n, lo);
        _mm256_storeu_ps(y + n + 8, hi);
        return;
    }
    float block[BLOCK];
    _mm256_storeu_ps(block, lo);
    _mm256_storeu_ps(block + 8, hi);
    memcpy(y + n, block, (n1 - n) * sizeof *y);
}

/* As much of a block's floats as exist, else zeros. */
INLINE void load_columns(const float *p, size_t n, size_t n1, float block[BLOCK]) {
    size_t count = !p ? 0 : n1 - n < BLOCK ? n1 - n : BLOCK;
    memset(block, 0, BLOCK * sizeof *block);
    if (count)
        memcpy(block, p + n, count * sizeof *block);
}

typedef struct {
    float *y;
    size_t ldy;
    const float *x;
    size_t ldx;
    const uint16_t *w;
    const float *bias;
    size_t M, K, n1;
} HalfProduct;

INLINE __m256 widen(const uint16_t *w, const bool brain) {
    __m128i half = _mm_loadu_si128((const __m128i *)(const void *)w);
    if (brain)
        return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(half), 16));
    return _mm256_cvtph_ps(half);
}

/* sum[r][2 b] and sum[r][2 b + 1] are the halves of block b. */
INLINE void half_tile(const HalfProduct *p, size_t m, size_t n, const size_t rows,
                      const size_t blocks, const bool brain) {
    const float *x = p->x + m * p->ldx;
    const uint16_t *w = p->w + n * p->K;
    __m256 sum[ROWS][2 * WIDE_BLOCKS];
    PARE_UNROLL
    for (size_t r = 0; r < rows; r++) {
        PARE_UNROLL
        for (size_t c = 0; c < 2 * blocks; c++)
            sum[r][c] = _mm256_setzero_ps();
    }
    for (size_t k = 0; k < p->K; k++) {
        __m256 column[2 * WIDE_BLOCKS];
        PARE_UNROLL
        for (size_t c = 0; c < 2 * blocks; c++)
            column[c] = widen(w + (c / 2 * p->K + k) * BLOCK + c % 2 * 8, brain);
        if (k % 2 == 0) /* two of a block's steps share a line */
            pare_prefetch_next(w + k * BLOCK, p->K * BLOCK * sizeof *w, blocks);
        PARE_UNROLL
        for (size_t r = 0; r < rows; r++) {
            __m256 row = _mm256_set1_ps(x[r * p->ldx + k]);
            PARE_UNROLL
            for (size_t c = 0; c < 2 * blocks; c++)
                sum[r][c] = _mm256_fmadd_ps(row, column[c], sum[r][c]);
        }
    }
    PARE_UNROLL
    for (size_t b = 0; b < blocks; b++) {
        float bias[BLOCK];
        load_columns(p->bias, n + b * BLOCK, p->n1, bias);
        PARE_UNROLL
        for (size_t r = 0; r < rows; r++) {
            __m256 lo = sum[r][2 * b], hi = sum[r][2 * b + 1];
            if (p->bias) {
                lo = _mm256_add_ps(lo, _mm256_loadu_ps(bias));
                hi = _mm256_add_ps(hi, _mm256_loadu_ps(bias + 8));
            }
            store_columns(p->y + (m + r) * p->ldy, n + b * BLOCK, p->n1, lo, hi);
        }
    }
}

/* All rows of one block. */
INLINE void half_panel(const HalfProduct *p, size_t n, const bool brain) {
    size_t tiles = (p->M + ROWS - 1) / ROWS;
    for (size_t m = 0, rows; m < p->M; m += rows, tiles--) {
        rows = tile_height(p->M - m, tiles);
        switch (rows) {
        case 1:
            half_tile(p, m, n, 1, 1, brain);
            break;
        case 2:
            half_tile(p, m, n, 2, 1, brain);
            break;
        case 3:
            half_tile(p, m, n, 3, 1, brain);
            break;
        case 4:
            half_tile(p, m, n, 4, 1, brain);
            break;
        case 5:
            half_tile(p, m, n, 5, 1, brain);
            break;
        default:
            half_tile(p, m, n, ROWS, 1, brain);
            break;
        }
    }
}

INLINE void gemm_half(const HalfProduct *p, size_t n, const bool brain) {
    for (; p->M == 1 && n + (WIDE_BLOCKS - 1) * BLOCK < p->n1; n += WIDE_BLOCKS * BLOCK)
        half_tile(p, 0, n, 1, WIDE_BLOCKS, brain);
    for (; p->M == 2 && n + BLOCK < p->n1; n += 2 * BLOCK)
        half_tile(p, 0, n, 2, 2, brain);
    for (; n < p->n1; n += BLOCK)
        half_panel(p, n, brain);
}

static void gemm_f16(float *y, size_t ldy, const float *x, size_t ldx, const uint16_t *w,
                     const float *bias, size_t M, size_t K, size_t n0, size_t n1) {
    const HalfProduct p = {y, ldy, x, ldx, w, bias, M, K, n1};
    gemm_half(&p, n0, false);
}

static void gemm_bf16(float *y, size_t ldy, const float *x, size_t ldx, const uint16_t *w,
                      const float *bias, size_t M, size_t K, size_t n0, size_t n1) {
    const HalfProduct p = {y, ldy, x, ldx, w, bias, M, K, n1};
    gemm_half(&p, n0, true);
}

typedef struct {
    float *y;
    size_t ldy;
    const int8_t *x;
    size_t ldx;
    const float *xscale;
    const int8_t *w;
    const float *wscale;
    const float *bias;
    size_t M, K4, n1;
} ByteProduct;

INLINE void store_block(const ByteProduct *p, size_t m, size_t n, const __m256i sum[2]) {
    float wscale[BLOCK], bias[BLOCK];
    load_columns(p->wscale, n, p->n1, wscale);
    load_columns(p->bias, n, p->n1, bias);
    __m256 xscale = _mm256_set1_ps(p->xscale[m]), y[2];
    PARE_UNROLL
    for (size_t h = 0; h < 2; h++) {
        __m256 factor = _mm256_mul_ps(xscale, _mm256_loadu_ps(wscale + 8 * h));
        y[h] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[h]), factor, _mm256_loadu_ps(bias + 8 * h));
    }
    store_columns(p->y + m * p->ldy, n, p->n1, y[0], y[1]);
}

/* The sum of -x over the negative x of a row: see byte_tile. */
static int32_t negative_sum(const int8_t *x, size_t K4) {
    const __m256i zero = _mm256_setzero_si256();
    __m256i sums = zero;
    size_t k = 0;
    for (; k + 32 <= K4; k += 32) {
        __m256i v = _mm256_loadu_si256((const __m256i *)(const void *)(x + k));
        v = _mm256_abs_epi8(_mm256_min_epi8(v, zero));
        sums = _mm256_add_epi64(sums, _mm256_sad_epu8(v, zero));
    }
    int64_t four[4];
    _mm256_storeu_si256((__m256i *)(void *)four, sums);
    int32_t sum = (int32_t)(four[0] + four[1] + four[2] + four[3]);
    for (; k < K4; k++)
        sum -= x[k] < 0 ? x[k] : 0;
    return sum;
}

/* Moving x's sign to w as w ^ -1 = -w - 1 leaves each product of a negative x too small by -x, in
 * every column alike: the sums start with what will be missing. (vpsignb would be exact, but shares
 * its two ports with the multiplications.) Pairs lie between -32,512 and 32,258. */
INLINE void byte_tile(const ByteProduct *p, size_t m, size_t n, const int32_t *missing,
                      const size_t rows) {
    const int8_t *x = p->x + m * p->ldx, *w = p->w + n * p->K4;
    const __m256i ones = _mm256_set1_epi16(1), zero = _mm256_setzero_si256();
    __m256i sum[ROWS_I8][2];
    PARE_UNROLL
    for (size_t r = 0; r < rows; r++)
        sum[r][0] = sum[r][1] = _mm256_set1_epi32(missing[r]);
    for (size_t k = 0; k < p->K4; k += DEPTH) {
        const __m256i *at = (const __m256i *)(const void *)(w + k * BLOCK);
        __m256i column[2] = {_mm256_loadu_si256(at), _mm256_loadu_si256(at + 1)};
        PARE_UNROLL
        for (size_t r = 0; r < rows; r++) {
            int32_t four;
            memcpy(&four, x + r * p->ldx + k, sizeof four);
            __m256i row = _mm256_set1_epi32(four), size = _mm256_abs_epi8(row);
            __m256i sign = _mm256_cmpgt_epi8(zero, row);
            PARE_UNROLL
            for (size_t h = 0; h < 2; h++) {
                __m256i pairs = _mm256_maddubs_epi16(size, _mm256_xor_si256(column[h], sign));
                sum[r][h] = _mm256_add_epi32(sum[r][h], _mm256_madd_epi16(pairs, ones));
            }
        }
    }
    PARE_UNROLL
    for (size_t r = 0; r < rows; r++)
        store_block(p, m + r, n, sum[r]);
}

/* A tile's rows times the columns n to n_end. */
INLINE void byte_strip(const ByteProduct *p, size_t m, size_t n, size_t n_end, const size_t rows) {
    int32_t missing[ROWS_I8];
    for (size_t r = 0; r < rows; r++)
        missing[r] = negative_sum(p->x + (m + r) * p->ldx, p->K4);
    for (; n < n_end; n += BLOCK)
        byte_tile(p, m, n, missing, rows);
}

static void gemm_i8(float *y, size_t ldy, const int8_t *x, size_t ldx, const float *xscale,
                    const int8_t *w, const float *wscale, const int32_t *sums, const float *bias,
                    size_t M, size_t K4, size_t n0, size_t n1) {
    (void)sums;
    const ByteProduct p = {y, ldy, x, ldx, xscale, w, wscale, bias, M, K4, n1};
    const size_t strip = M > 1 ? STRIP_I8 : n1;
    for (size_t n = n0; n < n1; n += strip) {
        size_t n_end = n1 - n < strip ? n1 : n + strip, tiles = (M + ROWS_I8 - 1) / ROWS_I8;
        for (size_t m = 0, rows; m < M; m += rows, tiles--) {
            rows = tile_height(M - m, tiles);
            switch (rows) {
            case 1:
                byte_strip(&p, m, n, n_end, 1);
                break;
            case 2:
                byte_strip(&p, m, n, n_end, 2);
                break;
            case 3:
                byte_strip(&p, m, n, n_end, 3);
                break;
            default:
                byte_strip(&p, m, n, n_end, ROWS_I8);
                break;
            }
        }
    }
}

void pare_kernels_gemm_avx2(PareKernels *table) {
    table->gemm_i8 = gemm_i8;
    table->gemm_f16 = gemm_f16;
    table->gemm_bf16 = gemm_bf16;
}
#endif
