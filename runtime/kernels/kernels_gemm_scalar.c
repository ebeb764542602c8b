/* The scalar matrix products: the definition. Blocks of 16 outputs, as the weights lie. */
#include <math.h>

#include "core/tensor.h"
#include "runtime/kernels/kernels_math.h"
#include "runtime/kernels/kernels_table.h"

enum { BLOCK = 16, DEPTH = 4 };

static void gemm_i8(float *y, size_t ldy, const int8_t *x, size_t ldx, const float *xscale,
                    const int8_t *w, const float *wscale, const int32_t *sums, const float *bias,
                    size_t M, size_t K4, size_t n0, size_t n1) {
    (void)sums; /* for variants whose multiplier wants an unsigned operand */
    for (size_t m = 0; m < M; m++) {
        for (size_t n = n0; n < n1; n++) {
            const int8_t *wn = w + n / BLOCK * BLOCK * K4 + n % BLOCK * DEPTH;
            const int8_t *xm = x + m * ldx;
            int32_t sum = 0;
            for (size_t k = 0; k < K4; k++)
                sum += xm[k] * wn[k / DEPTH * BLOCK * DEPTH + k % DEPTH];
            y[m * ldy + n] = fmaf((float)sum, xscale[m] * wscale[n], bias ? bias[n] : 0.0f);
        }
    }
}

/* One row times one block of 16 (or, at the end, fewer) outputs. */
static void half_block(float *y, const float *x, const uint16_t *w, const float *bias, size_t K,
                       size_t count, float (*widen)(uint16_t)) {
    float sum[BLOCK] = {0};
    for (size_t k = 0; k < K; k++)
        for (size_t l = 0; l < BLOCK; l++)
            sum[l] = fmaf(x[k], widen(w[k * BLOCK + l]), sum[l]);
    for (size_t l = 0; l < count; l++)
        y[l] = bias ? sum[l] + bias[l] : sum[l];
}

static void gemm_half(float *y, size_t ldy, const float *x, size_t ldx, const uint16_t *w,
                      const float *bias, size_t M, size_t K, size_t n0, size_t n1,
                      float (*widen)(uint16_t)) {
    for (size_t m = 0; m < M; m++) {
        for (size_t n = n0; n < n1; n += BLOCK) {
            size_t count = n1 - n < BLOCK ? n1 - n : BLOCK;
            half_block(y + m * ldy + n, x + m * ldx, w + n * K, bias ? bias + n : NULL, K, count,
                       widen);
        }
    }
}

static void gemm_f16(float *y, size_t ldy, const float *x, size_t ldx, const uint16_t *w,
                     const float *bias, size_t M, size_t K, size_t n0, size_t n1) {
    gemm_half(y, ldy, x, ldx, w, bias, M, K, n0, n1, pare_f16_to_f32);
}

static void gemm_bf16(float *y, size_t ldy, const float *x, size_t ldx, const uint16_t *w,
                      const float *bias, size_t M, size_t K, size_t n0, size_t n1) {
    gemm_half(y, ldy, x, ldx, w, bias, M, K, n0, n1, pare_bf16_to_f32);
}

void pare_kernels_gemm_scalar(PareKernels *table) {
    table->gemm_i8 = gemm_i8;
    table->gemm_f16 = gemm_f16;
    table->gemm_bf16 = gemm_bf16;
}
