/* Matrix products with AVX-512 F and BW: half weights, and INT8 without VNNI.
 *
 * Halves: lanes over the 16 outputs of a block; every output adds k = 0, 1, … in order. A tile of
 * up to 6 rows and 4 blocks keeps 24 accumulators and widens each weight once for its rows.
 *
 * INT8: vpmaddubsw multiplies unsigned by signed bytes and adds pairs in int16. With |x| and the
 * sign of x moved to w, both within 127, a pair is at most 32,258: nothing saturates. */
#include "runtime/kernels/kernels_table.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#include <immintrin.h>
#include <stdbool.h>
#include <string.h>

#include "runtime/kernels/prefetch.h"
#include "runtime/kernels/unroll.h"

#define INLINE static inline __attribute__((always_inline))

enum { BLOCK = 16, DEPTH = 4, ROWS = 6, BLOCKS = 4, ROWS_I8 = 4, BLOCKS_I8 = 2 };

INLINE __mmask16 columns_mask(size_t n, size_t n1) {
    size_t columns = n1 - n < BLOCK ? n1 - n : BLOCK;
    return (__mmask16)((1u << columns) - 1u);
}

/* Rows of the next of `tiles` tiles over `left` rows: nearly the same for all, so that 8 rows are 4
 * + 4 rather than 6 + 2. */
INLINE size_t tile_height(size_t left, size_t tiles) {
    return (left + tiles - 1) / tiles;
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

INLINE __m512 widen(const uint16_t *w, const bool brain) {
    __m256i half = _mm256_loadu_si256((const __m256i *)(const void *)w);
    if (brain)
        return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(half), 16));
    return _mm512_cvtph_ps(half);
}

INLINE void half_tile(const HalfProduct *p, size_t m, size_t n, const size_t rows,
                      const size_t blocks, const bool brain) {
    const float *x = p->x + m * p->ldx;
    const uint16_t *w = p->w + n * p->K;
    __m512 sum[ROWS][BLOCKS];
    PARE_UNROLL
    for (size_t r = 0; r < rows; r++) {
        PARE_UNROLL
        for (size_t b = 0; b < blocks; b++)
            sum[r][b] = _mm512_setzero_ps();
    }
    for (size_t k = 0; k < p->K; k++) {
        __m512 column[BLOCKS];
        PARE_UNROLL
        for (size_t b = 0; b < blocks; b++)
            column[b] = widen(w + (b * p->K + k) * BLOCK, brain);
        if (k % 2 == 0) /* two of a block's steps share a line */
            pare_prefetch_next(w + k * BLOCK, p->K * BLOCK * sizeof *w, blocks);
        PARE_UNROLL
        for (size_t r = 0; r < rows; r++) {
            __m512 row = _mm512_set1_ps(x[r * p->ldx + k]);
            PARE_UNROLL
            for (size_t b = 0; b < blocks; b++)
                sum[r][b] = _mm512_fmadd_ps(row, column[b], sum[r][b]);
        }
    }
    PARE_UNROLL
    for (size_t b = 0; b < blocks; b++) {
        __mmask16 mask = columns_mask(n + b * BLOCK, p->n1);
        PARE_UNROLL
        for (size_t r = 0; r < rows; r++) {
            if (p->bias)
                sum[r][b] =
                    _mm512_add_ps(sum[r][b], _mm512_maskz_loadu_ps(mask, p->bias + n + b * BLOCK));
            _mm512_mask_storeu_ps(p->y + (m + r) * p->ldy + n + b * BLOCK, mask, sum[r][b]);
        }
    }
}

/* All rows of `blocks` blocks. */
INLINE void half_panel(const HalfProduct *p, size_t n, const size_t blocks, const bool brain) {
    size_t tiles = (p->M + ROWS - 1) / ROWS;
    for (size_t m = 0, rows; m < p->M; m += rows, tiles--) {
        rows = tile_height(p->M - m, tiles);
        switch (rows) {
        case 1:
            half_tile(p, m, n, 1, blocks, brain);
            break;
        case 2:
            half_tile(p, m, n, 2, blocks, brain);
            break;
        case 3:
            half_tile(p, m, n, 3, blocks, brain);
            break;
        case 4:
            half_tile(p, m, n, 4, blocks, brain);
            break;
        case 5:
            half_tile(p, m, n, 5, blocks, brain);
            break;
        default:
            half_tile(p, m, n, ROWS, blocks, brain);
            break;
        }
    }
}

INLINE void gemm_half(const HalfProduct *p, size_t n, const bool brain) {
    for (; n + (BLOCKS - 1) * BLOCK < p->n1; n += BLOCKS * BLOCK)
        half_panel(p, n, BLOCKS, brain);
    for (; n < p->n1; n += BLOCK)
        half_panel(p, n, 1, brain);
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

INLINE void store_block(const ByteProduct *p, size_t m, size_t n, __m512i sum) {
    __mmask16 mask = columns_mask(n, p->n1);
    __m512 wscale = _mm512_maskz_loadu_ps(mask, p->wscale + n);
    __m512 bias = p->bias ? _mm512_maskz_loadu_ps(mask, p->bias + n) : _mm512_setzero_ps();
    __m512 factor = _mm512_mul_ps(_mm512_set1_ps(p->xscale[m]), wscale);
    __m512 y = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), factor, bias);
    _mm512_mask_storeu_ps(p->y + m * p->ldy + n, mask, y);
}

INLINE void byte_tile(const ByteProduct *p, size_t m, size_t n, const size_t rows,
                      const size_t blocks) {
    const int8_t *x = p->x + m * p->ldx, *w = p->w + n * p->K4;
    const __m512i ones = _mm512_set1_epi16(1), zero = _mm512_setzero_si512();
    __m512i sum[ROWS_I8][BLOCKS_I8];
    PARE_UNROLL
    for (size_t r = 0; r < rows; r++) {
        PARE_UNROLL
        for (size_t b = 0; b < blocks; b++)
            sum[r][b] = zero;
    }
    for (size_t k = 0; k < p->K4; k += DEPTH) {
        __m512i column[BLOCKS_I8];
        PARE_UNROLL
        for (size_t b = 0; b < blocks; b++)
            column[b] = _mm512_loadu_si512(w + (b * p->K4 + k) * BLOCK);
        pare_prefetch_next(w + k * BLOCK, p->K4 * BLOCK, blocks);
        PARE_UNROLL
        for (size_t r = 0; r < rows; r++) {
            int32_t four;
            memcpy(&four, x + r * p->ldx + k, sizeof four);
            __m512i row = _mm512_set1_epi32(four), size = _mm512_abs_epi8(row);
            __mmask64 negative = _mm512_movepi8_mask(row);
            PARE_UNROLL
            for (size_t b = 0; b < blocks; b++) {
                __m512i with_sign = _mm512_mask_sub_epi8(column[b], negative, zero, column[b]);
                __m512i pairs = _mm512_maddubs_epi16(size, with_sign);
                sum[r][b] = _mm512_add_epi32(sum[r][b], _mm512_madd_epi16(pairs, ones));
            }
        }
    }
    PARE_UNROLL
    for (size_t r = 0; r < rows; r++) {
        PARE_UNROLL
        for (size_t b = 0; b < blocks; b++)
            store_block(p, m + r, n + b * BLOCK, sum[r][b]);
    }
}

INLINE void byte_panel(const ByteProduct *p, size_t n, const size_t blocks) {
    size_t tiles = (p->M + ROWS_I8 - 1) / ROWS_I8;
    for (size_t m = 0, rows; m < p->M; m += rows, tiles--) {
        rows = tile_height(p->M - m, tiles);
        switch (rows) {
        case 1:
            byte_tile(p, m, n, 1, blocks);
            break;
        case 2:
            byte_tile(p, m, n, 2, blocks);
            break;
        case 3:
            byte_tile(p, m, n, 3, blocks);
            break;
        default:
            byte_tile(p, m, n, ROWS_I8, blocks);
            break;
        }
    }
}

static void gemm_i8(float *y, size_t ldy, const int8_t *x, size_t ldx, const float *xscale,
                    const int8_t *w, const float *wscale, const int32_t *sums, const float *bias,
                    size_t M, size_t K4, size_t n0, size_t n1) {
    (void)sums;
    const ByteProduct p = {y, ldy, x, ldx, xscale, w, wscale, bias, M, K4, n1};
    size_t n = n0;
    for (; n + BLOCK < n1; n += BLOCKS_I8 * BLOCK)
        byte_panel(&p, n, BLOCKS_I8);
    for (; n < n1; n += BLOCK)
        byte_panel(&p, n, 1);
}

void pare_kernels_gemm_avx512(PareKernels *table) {
    table->gemm_i8 = gemm_i8;
    table->gemm_f16 = gemm_f16;
    table->gemm_bf16 = gemm_bf16;
}
#endif
