/* INT8 matrix products with AVX-512 VNNI.
 *
 * vpdpbusd multiplies unsigned by signed bytes and adds four products to an int32 exactly. x + 128
 * is the unsigned operand, so the accumulators start at -128 sums[n]. Integers wrap, hence only the
 * true sum must fit. A tile of up to 6 rows and 4 blocks of 16 columns keeps 24 accumulators; its
 * weights (64 columns) stay in the cache while all rows pass. One row alone is bound by memory: it
 * reads one block after the other as one stream. */
#include "runtime/kernels/kernels_table.h"

#if defined(__AVX512F__) && defined(__AVX512VNNI__)
#include <immintrin.h>
#include <string.h>

#include "runtime/kernels/prefetch.h"
#include "runtime/kernels/unroll.h"

enum { BLOCK = 16, DEPTH = 4, ROWS = 6, BLOCKS = 4 };

typedef struct {
    float *y;
    size_t ldy;
    const int8_t *x;
    size_t ldx;
    const float *xscale;
    const int8_t *w;
    const float *wscale;
    const int32_t *sums;
    const float *bias;
    size_t K4, n1;
} Product;

/* Four bytes of x, plus 128 each, in every lane. */
static inline __m512i load_x(const int8_t *x) {
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm512_xor_si512(_mm512_set1_epi32(four), _mm512_set1_epi8(-128));
}

/* sum + row * column by fours of bytes. Not the intrinsic: with 24 sums GCC 12 keeps two copies of
 * each and spills them in the innermost loop, at half the speed. */
static inline __m512i multiply_add(__m512i sum, __m512i row, __m512i column) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(row), "v"(column));
    return sum;
}

static inline __mmask16 columns_mask(const Product *p, size_t n) {
    size_t columns = p->n1 - n < BLOCK ? p->n1 - n : BLOCK;
    return (__mmask16)((1u << columns) - 1u);
}

static inline __m512i start_sum(const Product *p, size_t n) {
    __m512i sums = _mm512_maskz_loadu_epi32(columns_mask(p, n), p->sums + n);
    return _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(sums, 7));
}

static inline void store_block(const Product *p, size_t m, size_t n, __m512i sum) {
    __mmask16 mask = columns_mask(p, n);
    __m512 wscale = _mm512_maskz_loadu_ps(mask, p->wscale + n);
    __m512 bias = p->bias ? _mm512_maskz_loadu_ps(mask, p->bias + n) : _mm512_setzero_ps();
    __m512 factor = _mm512_mul_ps(_mm512_set1_ps(p->xscale[m]), wscale);
    __m512 y = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), factor, bias);
    _mm512_mask_storeu_ps(p->y + m * p->ldy + n, mask, y);
}

static inline __attribute__((always_inline)) void tile(const Product *p, size_t m, size_t n,
                                                       const size_t rows, const size_t blocks) {
    const int8_t *x = p->x + m * p->ldx, *w = p->w + n * p->K4;
    __m512i sum[ROWS][BLOCKS];
    PARE_UNROLL
    for (size_t b = 0; b < blocks; b++) {
        __m512i start = start_sum(p, n + b * BLOCK);
        PARE_UNROLL
        for (size_t r = 0; r < rows; r++)
            sum[r][b] = start;
    }
    for (size_t k = 0; k < p->K4; k += DEPTH) {
        __m512i column[BLOCKS];
        PARE_UNROLL
        for (size_t b = 0; b < blocks; b++)
            column[b] = _mm512_loadu_si512(w + (b * p->K4 + k) * BLOCK);
        pare_prefetch_next(w + k * BLOCK, p->K4 * BLOCK, blocks);
        PARE_UNROLL
        for (size_t r = 0; r < rows; r++) {
            __m512i row = load_x(x + r * p->ldx + k);
            PARE_UNROLL
            for (size_t b = 0; b < blocks; b++)
                sum[r][b] = multiply_add(sum[r][b], row, column[b]);
        }
    }
    PARE_UNROLL
    for (size_t r = 0; r < rows; r++) {
        PARE_UNROLL
        for (size_t b = 0; b < blocks; b++)
            store_block(p, m + r, n + b * BLOCK, sum[r][b]);
    }
}

static inline __attribute__((always_inline)) void tile_rows(const Product *p, size_t m, size_t n,
                                                            size_t rows, const size_t blocks) {
    switch (rows) {
    case 1:
        tile(p, m, n, 1, blocks);
        break;
    case 2:
        tile(p, m, n, 2, blocks);
        break;
    case 3:
        tile(p, m, n, 3, blocks);
        break;
    case 4:
        tile(p, m, n, 4, blocks);
        break;
    case 5:
        tile(p, m, n, 5, blocks);
        break;
    default:
        tile(p, m, n, ROWS, blocks);
        break;
    }
}

/* One row and one block: four accumulators, since the sum is exact in any order. */
static void single_row(const Product *p, size_t n) {
    const int8_t *x = p->x, *w = p->w + n * p->K4;
    __m512i sum[4] = {start_sum(p, n), _mm512_setzero_si512(), _mm512_setzero_si512(),
                      _mm512_setzero_si512()};
    size_t k = 0;
    for (; k + 4 * DEPTH <= p->K4; k += 4 * DEPTH) {
        PARE_UNROLL
        for (size_t i = 0; i < 4; i++)
            sum[i] = multiply_add(sum[i], load_x(x + k + i * DEPTH),
                                  _mm512_loadu_si512(w + (k + i * DEPTH) * BLOCK));
    }
    for (; k < p->K4; k += DEPTH)
        sum[0] = multiply_add(sum[0], load_x(x + k), _mm512_loadu_si512(w + k * BLOCK));
    __m512i even = _mm512_add_epi32(sum[0], sum[2]), odd = _mm512_add_epi32(sum[1], sum[3]);
    store_block(p, 0, n, _mm512_add_epi32(even, odd));
}

/* Rows of the next of `tiles` tiles over `left` rows: nearly the same for all, so that 8 rows are
 * 4 + 4 rather than 6 + 2. */
static size_t tile_height(size_t left, size_t tiles) {
    return (left + tiles - 1) / tiles;
}

static void gemm_i8(float *y, size_t ldy, const int8_t *x, size_t ldx, const float *xscale,
                    const int8_t *w, const float *wscale, const int32_t *sums, const float *bias,
                    size_t M, size_t K4, size_t n0, size_t n1) {
    const Product p = {y, ldy, x, ldx, xscale, w, wscale, sums, bias, K4, n1};
    size_t n = n0;
    for (; M == 1 && n < n1; n += BLOCK)
        single_row(&p, n);
    for (size_t blocks; n < n1; n += blocks * BLOCK) {
        blocks = n1 - n > (BLOCKS - 1) * BLOCK ? BLOCKS : 1;
        size_t tiles = (M + ROWS - 1) / ROWS;
        for (size_t m = 0, rows; m < M; m += rows, tiles--) {
            rows = tile_height(M - m, tiles);
            if (blocks == BLOCKS)
                tile_rows(&p, m, n, rows, BLOCKS);
            else
                tile_rows(&p, m, n, rows, 1);
        }
    }
}

void pare_kernels_gemm_vnni(PareKernels *table) {
    table->gemm_i8 = gemm_i8;
}
#endif
