/* The scalar variant of everything that works on rows and elements: the definition that the other
 * variants repeat bit for bit. Plain C; the only speed is what the compiler finds. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "runtime/kernels/kernels_scalar.h"

static void quantize_row(int8_t *q, size_t ldq, float *scale, const float *x, size_t K) {
    float inverse;
    *scale = quantize_scale(x, K, &inverse);
    memset(q, 0, ldq);
    for (size_t k = 0; k < K && inverse != 0.0f; k++)
        q[k] = (int8_t)quantize_step(x[k], inverse);
}

static void quantize_rows(int8_t *q, size_t ldq, float *scale, const float *x, size_t ldx, size_t M,
                          size_t K) {
    for (size_t m = 0; m < M; m++)
        quantize_row(q + m * ldq, ldq, &scale[m], x + m * ldx, K);
}

static void layer_norm(float *y, const float *x, const float *weight, const float *bias, float eps,
                       size_t M, size_t N) {
    float share = 1.0f / (float)N;
    for (size_t m = 0; m < M; m++, x += N, y += N) {
        float sum[LANES] = {0}, squares[LANES] = {0};
        for (size_t i = 0; i < N; i++)
            sum[i % LANES] += x[i];
        float mean = fold_lanes(sum) * share;
        for (size_t i = 0; i < N; i++) {
            float d = x[i] - mean;
            squares[i % LANES] = fmaf(d, d, squares[i % LANES]);
        }
        float r = 1.0f / sqrtf(fmaf(fold_lanes(squares), share, eps));
        for (size_t i = 0; i < N; i++) {
            float d = (x[i] - mean) * r;
            y[i] = bias ? fmaf(d, weight[i], bias[i]) : d * weight[i];
        }
    }
}

static void rms_norm(float *y, const float *x, const float *weight, float eps, size_t M, size_t N) {
    float share = 1.0f / (float)N;
    for (size_t m = 0; m < M; m++, x += N, y += N) {
        float squares[LANES] = {0};
        for (size_t i = 0; i < N; i++)
            squares[i % LANES] = fmaf(x[i], x[i], squares[i % LANES]);
        float r = 1.0f / sqrtf(fmaf(fold_lanes(squares), share, eps));
        for (size_t i = 0; i < N; i++)
            y[i] = x[i] * r * weight[i];
    }
}

static void activate(PareActivation act, float *y, const float *x, size_t count) {
    for (size_t i = 0; i < count; i++)
        y[i] = pare_math_activate(act, x[i]);
}

static void activate_gated(PareActivation act, float *y, const float *gate, const float *up,
                           size_t count) {
    for (size_t i = 0; i < count; i++)
        y[i] = pare_math_activate(act, gate[i]) * up[i];
}

static void add(float *y, const float *a, const float *b, size_t count) {
    for (size_t i = 0; i < count; i++)
        y[i] = a[i] + b[i];
}

static void scale(float *y, const float *a, float s, size_t count) {
    for (size_t i = 0; i < count; i++)
        y[i] = a[i] * s;
}

static void log_sum_exp(const float *x, size_t N, float *max, float *logsum) {
    *max = row_max(x, N);
    float sum[LANES] = {0};
    for (size_t i = 0; i < N; i++)
        sum[i % LANES] += pare_math_exp(x[i] - *max);
    *logsum = pare_kernels_log(fold_lanes(sum));
}

/* 2 atanh((m - 1) / (m + 1)) + e ln 2 in double; x is +0, a normal number, infinity or NaN. */
float pare_kernels_log(float x) {
    if (!(x > 0.0f))
        return x == 0.0f ? -INFINITY : NAN;
    if (x > FLT_MAX)
        return x;
    uint32_t bits = pare_math_bits(x);
    int e = (int)(bits >> 23) - 127;
    double m = (double)pare_math_from_bits((bits & 0x7fffffu) | 0x3f800000u);
    if (m > 1.4142135623730951) {
        m *= 0.5;
        e++;
    }
    double s = (m - 1.0) / (m + 1.0), s2 = s * s, sum = 0.0;
    for (int k = 15; k > 0; k -= 2)
        sum = sum * s2 + 1.0 / k;
    return (float)(e * 0.6931471805599453 + 2.0 * s * sum);
}

static void attend(const PareAttend *a) {
    for (size_t r = 0; r < a->rows; r++) {
        float *out = a->out + r * a->out_stride, *p = a->scratch + r * a->keys;
        size_t first, last;
        pare_attend_range(a, r, &first, &last);
        attend_probabilities(a, r, p, first, last);
        dropout_keys(a, r, p, first, last);
        for (size_t d = 0; d < a->D; d++)
            out[d] = 0.0f;
        for (size_t j = first; j < last; j++) {
            size_t slot = a->slots ? (size_t)a->slots[j] : j;
            const float *v = a->v + slot * a->v_stride;
            for (size_t d = 0; d < a->D; d++)
                out[d] = fmaf(p[j], v[d], out[d]);
        }
    }
}

void pare_kernels_rows_scalar(PareKernels *table) {
    table->name = "scalar";
    table->quantize_rows = quantize_rows;
    table->layer_norm = layer_norm;
    table->rms_norm = rms_norm;
    table->activate = activate;
    table->activate_gated = activate_gated;
    table->add = add;
    table->scale = scale;
    table->attend = attend;
    table->softmax = softmax_row;
    table->log_sum_exp = log_sum_exp;
}
