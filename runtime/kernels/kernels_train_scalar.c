/* The scalar variant of the kernels that only training needs: the definition of each. The order of
 * every sum is written in kernels.h; the other variants repeat it bit for bit. */
#include <float.h>
#include <math.h>

#include "runtime/kernels/kernels_scalar.h"

/* r = 1 / sqrt(mean of (x - mean)^2 + eps), by the steps of layer_norm. */
static float row_norm(const float *x, float mean, float eps, size_t N) {
    float squares[LANES] = {0};
    for (size_t i = 0; i < N; i++) {
        float d = x[i] - mean;
        squares[i % LANES] = fmaf(d, d, squares[i % LANES]);
    }
    return 1.0f / sqrtf(fmaf(fold_lanes(squares), 1.0f / (float)N, eps));
}

static float row_mean(const float *x, size_t N) {
    float sum[LANES] = {0};
    for (size_t i = 0; i < N; i++)
        sum[i % LANES] += x[i];
    return fold_lanes(sum) * (1.0f / (float)N);
}

/* One row; `centre` is 1 for layer_norm and 0 for rms_norm, whose mean is 0. */
static void norm_row_backward(float *dx, float *dweight, float *dbias, const float *dy,
                              const float *x, const float *weight, float mean, float r, int centre,
                              size_t N) {
    float share = 1.0f / (float)N, sum_g[LANES] = {0}, sum_gh[LANES] = {0};
    for (size_t i = 0; i < N; i++) {
        float h = (x[i] - mean) * r;
        sum_g[i % LANES] = fmaf(dy[i], weight[i], sum_g[i % LANES]);
        sum_gh[i % LANES] = fmaf(dy[i] * weight[i], h, sum_gh[i % LANES]);
        if (dweight)
            dweight[i] = fmaf(dy[i], h, dweight[i]);
        if (dbias)
            dbias[i] += dy[i];
    }
    float mean_g = centre ? fold_lanes(sum_g) * share : 0.0f;
    float mean_gh = fold_lanes(sum_gh) * share;
    for (size_t i = 0; i < N && dx; i++) {
        float h = (x[i] - mean) * r;
        dx[i] = fmaf(r, fmaf(-h, mean_gh, dy[i] * weight[i] - mean_g), dx[i]);
    }
}

static void layer_norm_backward(float *dx, float *dweight, float *dbias, const float *dy,
                                const float *x, const float *weight, float eps, size_t M,
                                size_t N) {
    for (size_t m = 0; m < M; m++, x += N, dy += N) {
        float mean = row_mean(x, N), r = row_norm(x, mean, eps, N);
        norm_row_backward(dx ? dx + m * N : NULL, dweight, dbias, dy, x, weight, mean, r, 1, N);
    }
}

static void rms_norm_backward(float *dx, float *dweight, const float *dy, const float *x,
                              const float *weight, float eps, size_t M, size_t N) {
    for (size_t m = 0; m < M; m++, x += N, dy += N) {
        float r = row_norm(x, 0.0f, eps, N);
        norm_row_backward(dx ? dx + m * N : NULL, dweight, NULL, dy, x, weight, 0.0f, r, 0, N);
    }
}

static void activate_backward(PareActivation act, float *dx, const float *dy, const float *x,
                              size_t count) {
    for (size_t i = 0; i < count; i++)
        dx[i] = fmaf(dy[i], pare_math_slope(act, x[i]), dx[i]);
}

static void activate_gated_backward(PareActivation act, float *dgate, float *dup, const float *dy,
                                    const float *gate, const float *up, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (dgate)
            dgate[i] = fmaf(dy[i] * up[i], pare_math_slope(act, gate[i]), dgate[i]);
        if (dup)
            dup[i] = fmaf(dy[i], pare_math_activate(act, gate[i]), dup[i]);
    }
}

/* ds[j] = p[j] * (dP[j] - sum p dP) for first <= j < last; ds holds dP before. */
static void softmax_backward(float *ds, const float *p, size_t first, size_t last) {
    float lane[LANES] = {0};
    for (size_t j = first; j < last; j++)
        lane[(j - first) % LANES] = fmaf(p[j], ds[j], lane[(j - first) % LANES]);
    float delta = fold_lanes(lane);
    for (size_t j = first; j < last; j++)
        ds[j] = p[j] * (ds[j] - delta);
}

/* out[d] = fma(s, x[d], out[d]), unless out is NULL. */
static void add_multiple(float *out, float s, const float *x, size_t D) {
    for (size_t d = 0; d < D && out; d++)
        out[d] = fmaf(s, x[d], out[d]);
}

static void attend_backward_row(const PareAttendBackward *b, size_t r) {
    const PareAttend *a = &b->forward;
    const float *q = a->q + r * a->q_stride, *dout = b->dout + r * a->out_stride;
    float *p = b->scratch, *ds = b->scratch + a->keys;
    size_t first, last;
    pare_attend_range(a, r, &first, &last);
    attend_probabilities(a, r, p, first, last);
    for (size_t j = first; j < last; j++) {
        ds[j] = 0.0f;
        for (size_t d = 0; d < a->D; d++)
            ds[j] = fmaf(dout[d], a->v[j * a->v_stride + d], ds[j]);
    }
    dropout_keys(a, r, ds, first, last);
    softmax_backward(ds, p, first, last);
    dropout_keys(a, r, p, first, last);
    for (size_t j = first; j < last; j++) {
        if (b->dbias)
            b->dbias[r * a->bias_stride + j] += ds[j];
        float t = ds[j] * a->scale;
        add_multiple(b->dq ? b->dq + r * a->q_stride : NULL, t, a->k + j * a->k_stride, a->D);
        add_multiple(b->dk ? b->dk + j * a->k_stride : NULL, t, q, a->D);
        add_multiple(b->dv ? b->dv + j * a->v_stride : NULL, p[j], dout, a->D);
    }
}

static void attend_backward(const PareAttendBackward *b) {
    for (size_t r = 0; r < b->forward.rows; r++)
        attend_backward_row(b, r);
}

static void add_rows(float *out, const float *x, size_t ldx, size_t M, size_t N) {
    for (size_t m = 0; m < M; m++)
        for (size_t n = 0; n < N; n++)
            out[n] += x[m * ldx + n];
}

static void add_scaled(float *y, const float *x, float s, size_t count) {
    for (size_t i = 0; i < count; i++)
        y[i] = fmaf(s, x[i], y[i]);
}

static void simulate_i8_rows(float *y, const float *x, size_t M, size_t K) {
    for (size_t m = 0; m < M; m++, x += K, y += K) {
        float inverse, scale = quantize_scale(x, K, &inverse);
        for (size_t k = 0; k < K; k++)
            y[k] = scale * quantize_step(x[k], inverse);
    }
}

void pare_kernels_train_scalar(PareKernels *table) {
    table->layer_norm_backward = layer_norm_backward;
    table->rms_norm_backward = rms_norm_backward;
    table->activate_backward = activate_backward;
    table->activate_gated_backward = activate_gated_backward;
    table->attend_backward = attend_backward;
    table->dropout = dropout_row;
    table->add_rows = add_rows;
    table->add_scaled = add_scaled;
    table->simulate_i8_rows = simulate_i8_rows;
}
