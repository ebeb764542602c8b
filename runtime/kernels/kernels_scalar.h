/* What the scalar files share: the steps of the written order that inference and training both
 * take. Everything here is part of the definition (kernels.h). */
#ifndef PARE_RUNTIME_KERNELS_KERNELS_SCALAR_H
#define PARE_RUNTIME_KERNELS_KERNELS_SCALAR_H

#include <float.h>

#include "core/random.h"
#include "runtime/kernels/kernels_math.h"
#include "runtime/kernels/kernels_table.h"

enum { LANES = 16 };

static inline float fold_lanes(float *lane) {
    for (size_t half = LANES / 2; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            lane[l] += lane[l + half];
    return lane[0];
}

/* The largest value; a zero is +0, NaN is passed over, and of no values it is -infinity. */
static inline float row_max(const float *x, size_t N) {
    float max = -INFINITY;
    for (size_t i = 0; i < N; i++)
        max = x[i] > max ? x[i] : max;
    return max + 0.0f;
}

/* The INT8 scale of a row and what its elements are multiplied by, 127 / max |x|. That is 0 for a
 * row that counts as all zero (scale 0) or that has NaN or infinity (scale NaN). */
static inline float quantize_scale(const float *x, size_t K, float *inverse) {
    uint32_t largest = 0; /* the bits of |x| are ordered as integers, NaN above infinity */
    for (size_t k = 0; k < K; k++) {
        uint32_t bits = pare_math_bits(x[k]) & 0x7fffffffu;
        largest = bits > largest ? bits : largest;
    }
    float a = pare_math_from_bits(largest);
    *inverse = 0.0f;
    if (largest >= 0x7f800000u)
        return NAN;
    if (127.0f / a > FLT_MAX)
        return 0.0f;
    *inverse = 127.0f / a;
    return a / 127.0f;
}

/* Adding 1.5 * 2^23 rounds to nearest even. |x| * inverse rounds to at most 127: no clamp. */
static inline float quantize_step(float x, float inverse) {
    return x * inverse + PARE_ROUND - PARE_ROUND;
}

static inline float dot_lanes(const float *a, const float *b, size_t D) {
    float lane[LANES] = {0};
    for (size_t d = 0; d < D; d++)
        lane[d % LANES] = fmaf(a[d], b[d], lane[d % LANES]);
    return fold_lanes(lane);
}

static inline void softmax_row(float *y, const float *x, size_t N) {
    float max = row_max(x, N);
    float sum[LANES] = {0};
    for (size_t i = 0; i < N; i++) {
        y[i] = pare_math_exp(x[i] - max);
        sum[i % LANES] += y[i];
    }
    float share = 1.0f / fold_lanes(sum);
    for (size_t i = 0; i < N; i++)
        y[i] *= share;
}

static inline void dropout_row(float *y, const float *x, const PareDropout *d, uint64_t first,
                               size_t count) {
    uint32_t words[4];
    for (size_t i = 0; i < count; i++) {
        uint64_t index = first + i;
        if (i == 0 || index % 4 == 0)
            pare_random_block(d->seed, d->stream, index / 4, words);
        y[i] = words[index % 4] < d->threshold ? 0.0f : x[i] * d->keep;
    }
}

/* The dropout of what belongs to the keys first <= j < last of row r; none without a->dropout. */
static inline void dropout_keys(const PareAttend *a, size_t r, float *y, size_t first,
                                size_t last) {
    if (a->dropout)
        dropout_row(y + first, y + first, a->dropout,
                    a->dropout_index + r * a->dropout_stride + first, last - first);
}

/* p[j] for first <= j < last: the probabilities of row r before any dropout. */
static inline void attend_probabilities(const PareAttend *a, size_t r, float *p, size_t first,
                                        size_t last) {
    for (size_t j = first; j < last; j++) {
        size_t slot = a->slots ? (size_t)a->slots[j] : j;
        float s = dot_lanes(a->q + r * a->q_stride, a->k + slot * a->k_stride, a->D);
        p[j] = a->bias ? fmaf(s, a->scale, a->bias[r * a->bias_stride + j]) : s * a->scale;
    }
    softmax_row(p + first, p + first, last - first);
}

#endif
