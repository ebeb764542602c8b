/* The row and element kernels over sixteen lanes, shared by the AVX2 and the AVX-512 variant: each
 * includes its lanes_*.h, then this, and so compiles its own copy with its own flags. What the
 * steps must be is said in kernels.h and defined by kernels_scalar.c. */
#ifndef PARE_RUNTIME_KERNELS_LANES_ROWS_H
#define PARE_RUNTIME_KERNELS_LANES_ROWS_H

#include <float.h>
#include <math.h>
#include <string.h>

#include "runtime/kernels/kernels_table.h"
#include "runtime/kernels/lanes_math.h"

static inline float row_max(const float *x, size_t N) {
    Lanes max = lanes_set1(-INFINITY);
    size_t i = 0;
    for (; i + LANES <= N; i += LANES)
        max = lanes_max(lanes_load(x + i), max);
    if (i < N)
        max = lanes_max(lanes_load_part(x + i, N - i, lanes_set1(-INFINITY)), max);
    return lanes_fold_max(max) + 0.0f;
}

static inline float row_sum(const float *x, size_t N) {
    Lanes sum = lanes_set1(0.0f);
    size_t i = 0;
    for (; i + LANES <= N; i += LANES)
        sum = lanes_add(sum, lanes_load(x + i));
    if (i < N) /* a lane that began at +0 is never -0, so that adding +0 leaves it
                  untouched */
        sum = lanes_add(sum, lanes_load_part(x + i, N - i, lanes_set1(0.0f)));
    return lanes_fold(sum);
}

/* The sum of (x - mean)^2; no lane is ever -0 here either. Where the mean is not finite, what
 * stands for missing elements gives NaN, but so does the whole row. */
static inline float row_squares(const float *x, float mean, size_t N) {
    Lanes sum = lanes_set1(0.0f), shift = lanes_set1(mean);
    size_t i = 0;
    for (; i + LANES <= N; i += LANES) {
        Lanes d = lanes_sub(lanes_load(x + i), shift);
        sum = lanes_fma(d, d, sum);
    }
    if (i < N) {
        Lanes d = lanes_sub(lanes_load_part(x + i, N - i, shift), shift);
        sum = lanes_fma(d, d, sum);
    }
    return lanes_fold(sum);
}

LANES_INLINE Lanes norm_step(Lanes x, Lanes mean, Lanes r, Lanes weight) {
    return lanes_mul(lanes_mul(lanes_sub(x, mean), r), weight);
}

LANES_INLINE Lanes norm_bias_step(Lanes x, Lanes mean, Lanes r, Lanes weight, Lanes bias) {
    return lanes_fma(lanes_mul(lanes_sub(x, mean), r), weight, bias);
}

static inline void norm_row(float *y, const float *x, const float *weight, const float *bias,
                            float mean, float r, size_t N) {
    const Lanes zero = lanes_set1(0.0f), m = lanes_set1(mean), f = lanes_set1(r);
    size_t i = 0;
    if (bias) {
        for (; i + LANES <= N; i += LANES)
            lanes_store(y + i, norm_bias_step(lanes_load(x + i), m, f, lanes_load(weight + i),
                                              lanes_load(bias + i)));
    } else {
        for (; i + LANES <= N; i += LANES)
            lanes_store(y + i, norm_step(lanes_load(x + i), m, f, lanes_load(weight + i)));
    }
    if (i == N)
        return;
    size_t n = N - i;
    Lanes part = lanes_load_part(x + i, n, zero), w = lanes_load_part(weight + i, n, zero);
    lanes_store_part(y + i, n,
                     bias ? norm_bias_step(part, m, f, w, lanes_load_part(bias + i, n, zero))
                          : norm_step(part, m, f, w));
}

static void layer_norm(float *y, const float *x, const float *weight, const float *bias, float eps,
                       size_t M, size_t N) {
    float share = 1.0f / (float)N;
    for (size_t m = 0; m < M; m++, x += N, y += N) {
        float mean = row_sum(x, N) * share;
        float r = 1.0f / sqrtf(fmaf(row_squares(x, mean, N), share, eps));
        norm_row(y, x, weight, bias, mean, r, N);
    }
}

/* x - 0 is x, so that the steps are those of layer_norm with a mean of zero. */
static void rms_norm(float *y, const float *x, const float *weight, float eps, size_t M, size_t N) {
    float share = 1.0f / (float)N;
    for (size_t m = 0; m < M; m++, x += N, y += N) {
        float r = 1.0f / sqrtf(fmaf(row_squares(x, 0.0f, N), share, eps));
        norm_row(y, x, weight, NULL, 0.0f, r, N);
    }
}

/* y = act(x) or, with `up`, act(x) * up; `act` and whether there is an `up` are constants here. */
LANES_INLINE void activate_loop(PareActivation act, float *y, const float *x, const float *up,
                                size_t count) {
    size_t i = 0;
    for (; i + LANES <= count; i += LANES) {
        Lanes v = lanes_activate(act, lanes_load(x + i));
        lanes_store(y + i, up ? lanes_mul(v, lanes_load(up + i)) : v);
    }
    if (i < count) {
        size_t n = count - i;
        const Lanes zero = lanes_set1(0.0f);
        Lanes v = lanes_activate(act, lanes_load_part(x + i, n, zero));
        lanes_store_part(y + i, n, up ? lanes_mul(v, lanes_load_part(up + i, n, zero)) : v);
    }
}

LANES_INLINE void activate_any(PareActivation act, float *y, const float *x, const float *up,
                               size_t count) {
    switch (act) {
    case PARE_ACT_RELU:
        activate_loop(PARE_ACT_RELU, y, x, up, count);
        return;
    case PARE_ACT_GELU:
        activate_loop(PARE_ACT_GELU, y, x, up, count);
        return;
    case PARE_ACT_GELU_TANH:
        activate_loop(PARE_ACT_GELU_TANH, y, x, up, count);
        return;
    case PARE_ACT_GELU_QUICK:
        activate_loop(PARE_ACT_GELU_QUICK, y, x, up, count);
        return;
    case PARE_ACT_SILU:
        activate_loop(PARE_ACT_SILU, y, x, up, count);
        return;
    case PARE_ACT_TANH:
        activate_loop(PARE_ACT_TANH, y, x, up, count);
        return;
    case PARE_ACT_SIGMOID:
        activate_loop(PARE_ACT_SIGMOID, y, x, up, count);
        return;
    case PARE_ACT_IDENTITY:
    case PARE_ACT_COUNT:
        break;
    }
    activate_loop(PARE_ACT_IDENTITY, y, x, up, count);
}

static void activate(PareActivation act, float *y, const float *x, size_t count) {
    activate_any(act, y, x, NULL, count);
}

static void activate_gated(PareActivation act, float *y, const float *gate, const float *up,
                           size_t count) {
    if (count) /* so that the compiler may take `up` for given */
        activate_any(act, y, gate, up, count);
}

static void add(float *y, const float *a, const float *b, size_t count) {
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        lanes_store(y + i, lanes_add(lanes_load(a + i), lanes_load(b + i)));
    if (i < count) {
        size_t n = count - i;
        const Lanes zero = lanes_set1(0.0f);
        lanes_store_part(
            y + i, n, lanes_add(lanes_load_part(a + i, n, zero), lanes_load_part(b + i, n, zero)));
    }
}

static void scale(float *y, const float *a, float s, size_t count) {
    const Lanes factor = lanes_set1(s);
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        lanes_store(y + i, lanes_mul(lanes_load(a + i), factor));
    if (i < count) {
        Lanes part = lanes_load_part(a + i, count - i, factor);
        lanes_store_part(y + i, count - i, lanes_mul(part, factor));
    }
}

/* The sum of exp(x - max), whose terms go to y unless it is NULL. */
LANES_INLINE float exp_row(float *y, const float *x, float max, size_t N) {
    const Lanes shift = lanes_set1(max);
    Lanes sum = lanes_set1(0.0f);
    size_t i = 0;
    for (; i + LANES <= N; i += LANES) {
        Lanes e = lanes_exp(lanes_sub(lanes_load(x + i), shift));
        if (y)
            lanes_store(y + i, e);
        sum = lanes_add(sum, e);
    }
    if (i < N) {
        Lanes e = lanes_exp(lanes_sub(lanes_load_part(x + i, N - i, shift), shift));
        if (y)
            lanes_store_part(y + i, N - i, e);
        sum = lanes_add(sum, lanes_keep(e, N - i));
    }
    return lanes_fold(sum);
}

static void softmax(float *y, const float *x, size_t N) {
    float sum = exp_row(y, x, row_max(x, N), N);
    scale(y, y, 1.0f / sum, N);
}

static void log_sum_exp(const float *x, size_t N, float *max, float *logsum) {
    *max = row_max(x, N);
    *logsum = pare_kernels_log(exp_row(NULL, x, *max, N));
}

/* The bits of max |x|: ordered as integers, NaN above infinity. */
static inline uint32_t largest_bits(const float *x, size_t K) {
    const Lanes sign = lanes_set1(-0.0f);
    Lanes max = lanes_set1(0.0f);
    size_t i = 0;
    for (; i + LANES <= K; i += LANES) {
        Lanes v = lanes_load(x + i);
        max = lanes_max_bits(max, lanes_xor(v, lanes_and(v, sign)));
    }
    if (i < K) {
        Lanes v = lanes_load_part(x + i, K - i, max);
        max = lanes_max_bits(max, lanes_xor(v, lanes_and(v, sign)));
    }
    return lanes_fold_max_bits(max);
}

/* The scale of a row; `*inverse` is what its elements are multiplied by, 0 if all of them count as
 * zero (scale 0) or one is no number (scale NaN). */
static inline float quantize_scale(const float *x, size_t K, float *inverse) {
    uint32_t largest = largest_bits(x, K);
    float a = pare_math_from_bits(largest), factor = 127.0f / a;
    int ordinary = largest < 0x7f800000u && factor <= FLT_MAX;
    *inverse = ordinary ? factor : 0.0f;
    if (ordinary)
        return a / 127.0f;
    return largest >= 0x7f800000u ? NAN : 0.0f;
}

static inline void quantize_row(int8_t *q, size_t ldq, float *scale_out, const float *x, size_t K) {
    float inverse;
    *scale_out = quantize_scale(x, K, &inverse);
    if (inverse == 0.0f) {
        memset(q, 0, ldq);
        return;
    }
    const Lanes factor = lanes_set1(inverse);
    size_t i = 0;
    for (; i + LANES <= K; i += LANES) {
        __m128i bytes = lanes_to_i8(lanes_mul(lanes_load(x + i), factor));
        _mm_storeu_si128((__m128i *)(void *)(q + i), bytes);
    }
    int8_t last[LANES] = {0};
    if (i < K) {
        Lanes part = lanes_load_part(x + i, K - i, lanes_set1(0.0f));
        _mm_storeu_si128((__m128i *)(void *)last, lanes_to_i8(lanes_mul(part, factor)));
        memcpy(q + i, last, K - i);
    }
    memset(q + K, 0, ldq - K);
}

static void quantize_rows(int8_t *q, size_t ldq, float *scale_out, const float *x, size_t ldx,
                          size_t M, size_t K) {
    for (size_t m = 0; m < M; m++)
        quantize_row(q + m * ldq, ldq, &scale_out[m], x + m * ldx, K);
}

#endif
