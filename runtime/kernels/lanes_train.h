/* The backward passes of rows and elements over sixteen lanes, shared like lanes_rows.h (included
 * before this). Each loop's step takes n, the lanes that exist: 16 is known when it is compiled. */
#ifndef PARE_RUNTIME_KERNELS_LANES_TRAIN_H
#define PARE_RUNTIME_KERNELS_LANES_TRAIN_H

#include "runtime/kernels/lanes_rows.h"

LANES_INLINE Lanes load_some(const float *p, size_t n) {
    return n == LANES ? lanes_load(p) : lanes_load_part(p, n, lanes_set1(0.0f));
}

LANES_INLINE void store_some(float *p, size_t n, Lanes v) {
    if (n == LANES)
        lanes_store(p, v);
    else
        lanes_store_part(p, n, v);
}

/* What the backward passes of layer_norm and rms_norm share; rms_norm has a mean of 0. */
typedef struct {
    float *dx, *dweight, *dbias; /* of this row; any may be NULL */
    const float *dy, *x, *weight;
    float mean, r;
} NormRow;

typedef struct {
    Lanes g, gh;
} NormSums;

LANES_INLINE NormSums norm_sums_step(const NormRow *row, size_t i, size_t n, NormSums sums) {
    Lanes h = lanes_sub(load_some(row->x + i, n), lanes_set1(row->mean));
    Lanes dy = load_some(row->dy + i, n), weight = load_some(row->weight + i, n);
    h = lanes_mul(h, lanes_set1(row->r));
    Lanes g = lanes_fma(dy, weight, sums.g), gh = lanes_fma(lanes_mul(dy, weight), h, sums.gh);
    if (row->dweight)
        store_some(row->dweight + i, n, lanes_fma(dy, h, load_some(row->dweight + i, n)));
    if (row->dbias)
        store_some(row->dbias + i, n, lanes_add(load_some(row->dbias + i, n), dy));
    if (n == LANES)
        return (NormSums){g, gh};
    return (NormSums){lanes_blend(g, sums.g, n), lanes_blend(gh, sums.gh, n)};
}

LANES_INLINE void norm_dx_step(const NormRow *row, size_t i, size_t n, Lanes mean_g,
                               Lanes minus_mean_gh) {
    Lanes h = lanes_sub(load_some(row->x + i, n), lanes_set1(row->mean));
    Lanes g = lanes_mul(load_some(row->dy + i, n), load_some(row->weight + i, n));
    h = lanes_mul(h, lanes_set1(row->r));
    Lanes d = lanes_fma(h, minus_mean_gh, lanes_sub(g, mean_g));
    store_some(row->dx + i, n, lanes_fma(lanes_set1(row->r), d, load_some(row->dx + i, n)));
}

LANES_INLINE void norm_row_backward(const NormRow *row, int centre, float share, size_t N) {
    NormSums sums = {lanes_set1(0.0f), lanes_set1(0.0f)};
    size_t i = 0;
    for (; i + LANES <= N; i += LANES)
        sums = norm_sums_step(row, i, LANES, sums);
    if (i < N)
        sums = norm_sums_step(row, i, N - i, sums);
    if (!row->dx)
        return;
    const Lanes mean_g = lanes_set1(centre ? lanes_fold(sums.g) * share : 0.0f);
    const Lanes minus_mean_gh = lanes_set1(-(lanes_fold(sums.gh) * share));
    for (i = 0; i + LANES <= N; i += LANES)
        norm_dx_step(row, i, LANES, mean_g, minus_mean_gh);
    if (i < N)
        norm_dx_step(row, i, N - i, mean_g, minus_mean_gh);
}

static void layer_norm_backward(float *dx, float *dweight, float *dbias, const float *dy,
                                const float *x, const float *weight, float eps, size_t M,
                                size_t N) {
    float share = 1.0f / (float)N;
    for (size_t m = 0; m < M; m++, x += N, dy += N) {
        float mean = row_sum(x, N) * share;
        float r = 1.0f / sqrtf(fmaf(row_squares(x, mean, N), share, eps));
        NormRow row = {dx ? dx + m * N : NULL, dweight, dbias, dy, x, weight, mean, r};
        norm_row_backward(&row, 1, share, N);
    }
}

static void rms_norm_backward(float *dx, float *dweight, const float *dy, const float *x,
                              const float *weight, float eps, size_t M, size_t N) {
    float share = 1.0f / (float)N;
    for (size_t m = 0; m < M; m++, x += N, dy += N) {
        float r = 1.0f / sqrtf(fmaf(row_squares(x, 0.0f, N), share, eps));
        NormRow row = {dx ? dx + m * N : NULL, dweight, NULL, dy, x, weight, 0.0f, r};
        norm_row_backward(&row, 0, share, N);
    }
}

/* Elementwise backward passes. up NULL: y = act(x), and only dx; otherwise y = act(x) * up. */
typedef struct {
    float *dx, *dup; /* either may be NULL */
    const float *dy, *x, *up;
} Gradients;

LANES_INLINE void slope_step(PareActivation act, const Gradients *g, size_t i, size_t n) {
    Lanes x = load_some(g->x + i, n), dy = load_some(g->dy + i, n);
    if (g->dup)
        store_some(g->dup + i, n, lanes_fma(dy, lanes_activate(act, x), load_some(g->dup + i, n)));
    if (!g->dx)
        return;
    if (g->up)
        dy = lanes_mul(dy, load_some(g->up + i, n));
    store_some(g->dx + i, n, lanes_fma(dy, lanes_slope(act, x), load_some(g->dx + i, n)));
}

/* `act` is a constant here. */
LANES_INLINE void slope_loop(PareActivation act, const Gradients *g, size_t count) {
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        slope_step(act, g, i, LANES);
    if (i < count)
        slope_step(act, g, i, count - i);
}

LANES_INLINE void slope_any(PareActivation act, Gradients g, size_t count) {
    switch (act) {
    case PARE_ACT_RELU:
        slope_loop(PARE_ACT_RELU, &g, count);
        return;
    case PARE_ACT_GELU:
        slope_loop(PARE_ACT_GELU, &g, count);
        return;
    case PARE_ACT_GELU_TANH:
        slope_loop(PARE_ACT_GELU_TANH, &g, count);
        return;
    case PARE_ACT_GELU_QUICK:
        slope_loop(PARE_ACT_GELU_QUICK, &g, count);
        return;
    case PARE_ACT_SILU:
        slope_loop(PARE_ACT_SILU, &g, count);
        return;
    case PARE_ACT_TANH:
        slope_loop(PARE_ACT_TANH, &g, count);
        return;
    case PARE_ACT_SIGMOID:
        slope_loop(PARE_ACT_SIGMOID, &g, count);
        return;
    case PARE_ACT_IDENTITY:
    case PARE_ACT_COUNT:
        break;
    }
    slope_loop(PARE_ACT_IDENTITY, &g, count);
}

static void activate_backward(PareActivation act, float *dx, const float *dy, const float *x,
                              size_t count) {
    slope_any(act, (Gradients){dx, NULL, dy, x, NULL}, count);
}

static void activate_gated_backward(PareActivation act, float *dgate, float *dup, const float *dy,
                                    const float *gate, const float *up, size_t count) {
    slope_any(act, (Gradients){dgate, dup, dy, gate, up}, count);
}

/* Four rows at a time go over the sums once, and are added one after the other. */
LANES_INLINE void add_rows_step(float *out, const float *x, size_t ldx, const size_t rows,
                                size_t n) {
    Lanes sum = load_some(out, n);
    for (size_t m = 0; m < rows; m++)
        sum = lanes_add(sum, load_some(x + m * ldx, n));
    store_some(out, n, sum);
}

LANES_INLINE void add_some_rows(float *out, const float *x, size_t ldx, const size_t rows,
                                size_t N) {
    size_t i = 0;
    for (; i + LANES <= N; i += LANES)
        add_rows_step(out + i, x + i, ldx, rows, LANES);
    if (i < N)
        add_rows_step(out + i, x + i, ldx, rows, N - i);
}

static void add_rows(float *out, const float *x, size_t ldx, size_t M, size_t N) {
    size_t m = 0;
    for (; m + 4 <= M; m += 4)
        add_some_rows(out, x + m * ldx, ldx, 4, N);
    for (; m < M; m++)
        add_some_rows(out, x + m * ldx, ldx, 1, N);
}

static void add_scaled(float *y, const float *x, float s, size_t count) {
    const Lanes factor = lanes_set1(s);
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        lanes_store(y + i, lanes_fma(factor, lanes_load(x + i), lanes_load(y + i)));
    if (i < count) {
        size_t n = count - i;
        store_some(y + i, n, lanes_fma(factor, load_some(x + i, n), load_some(y + i, n)));
    }
}

LANES_INLINE Lanes simulate_step(Lanes x, Lanes inverse, Lanes scale) {
    const Lanes round = lanes_set1(PARE_ROUND);
    Lanes q = lanes_sub(lanes_add(lanes_mul(x, inverse), round), round);
    return lanes_mul(scale, q);
}

static void simulate_i8_rows(float *y, const float *x, size_t M, size_t K) {
    for (size_t m = 0; m < M; m++, x += K, y += K) {
        float inverse, s = quantize_scale(x, K, &inverse);
        size_t i = 0;
        for (; i + LANES <= K; i += LANES)
            lanes_store(y + i,
                        simulate_step(lanes_load(x + i), lanes_set1(inverse), lanes_set1(s)));
        if (i < K)
            store_some(y + i, K - i,
                       simulate_step(load_some(x + i, K - i), lanes_set1(inverse), lanes_set1(s)));
    }
}

#endif
