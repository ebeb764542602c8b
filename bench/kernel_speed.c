/* How fast every kernel of every variant of this machine is, at the shapes of real models.
 *
 *   kernel_speed [WORD]    only the lines whose "entry shape" contains WORD
 *
 * One thread; the best of the repetitions that fit into a fifth of a second. Matrix products and
 * attention count a multiply-add as two operations (attention's backward pass has five products);
 * other backward passes and dropout count elements; everything else counts the bytes that it must
 * read and write. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "runtime/kernels/kernels.h"

enum { BLOCK = 16, SECONDS_SHARE = 5, REPEATS_MIN = 3 };

typedef enum {
    I8,
    F16,
    BF16,
    QUANTIZE,
    LAYER_NORM,
    RMS_NORM,
    GELU,
    GELU_TANH,
    SILU_GATED,
    TANH,
    ADD,
    SOFTMAX,
    LOG_SUM_EXP,
    ATTEND,
    ATTEND_CAUSAL,
    ATTEND_DROPOUT,
    ATTEND_BACK,
    ATTEND_BACK_CAUSAL,
    ATTEND_BACK_DROPOUT,
    LAYER_NORM_BACK,
    RMS_NORM_BACK,
    RELU_BACK,
    GELU_BACK,
    GELU_TANH_BACK,
    TANH_BACK,
    GATED_BACK,
    DROPOUT,
    ADD_ROWS,
    ADD_SCALED,
    SIMULATE
} Entry;

typedef struct {
    Entry entry;
    const char *name;
    size_t M, K, N; /* rows, inputs, outputs; for attention rows, head size, keys */
} Line;

static const Line lines[] = {
    {I8, "gemm_i8", 128, 768, 768},
    {I8, "gemm_i8", 128, 768, 3072},
    {I8, "gemm_i8", 128, 3072, 768},
    {I8, "gemm_i8", 1024, 768, 768},
    {I8, "gemm_i8", 128, 312, 1200},
    {I8, "gemm_i8", 8, 768, 3072},
    {I8, "gemm_i8", 4, 768, 3072},
    {I8, "gemm_i8", 1, 768, 3072},
    {I8, "gemm_i8", 1, 768, 50257},
    {I8, "gemm_i8", 4, 768, 50257},
    {F16, "gemm_f16", 128, 768, 768},
    {F16, "gemm_f16", 128, 3072, 768},
    {F16, "gemm_f16", 8, 768, 3072},
    {F16, "gemm_f16", 1, 768, 3072},
    {F16, "gemm_f16", 1, 768, 50257},
    {BF16, "gemm_bf16", 128, 768, 768},
    {BF16, "gemm_bf16", 1, 768, 50257},
    {QUANTIZE, "quantize_rows", 128, 768, 0},
    {LAYER_NORM, "layer_norm", 128, 768, 0},
    {RMS_NORM, "rms_norm", 128, 768, 0},
    {GELU, "activate gelu", 128, 3072, 0},
    {GELU_TANH, "activate gelu_tanh", 128, 3072, 0},
    {SILU_GATED, "activate_gated silu", 128, 3072, 0},
    {TANH, "activate tanh", 128, 3072, 0},
    {ADD, "add", 128, 768, 0},
    {SOFTMAX, "softmax", 1, 50257, 0},
    {LOG_SUM_EXP, "log_sum_exp", 1, 50257, 0},
    {ATTEND, "attend", 128, 64, 128},
    {ATTEND, "attend", 512, 64, 512},
    {ATTEND, "attend", 128, 26, 128},
    {ATTEND_CAUSAL, "attend causal", 512, 64, 512},
    {ATTEND_CAUSAL, "attend causal", 1, 64, 512},
    {ATTEND_DROPOUT, "attend dropout", 256, 64, 256},
    {ATTEND_BACK, "attend_backward", 15, 32, 15},
    {ATTEND_BACK, "attend_backward", 32, 64, 32},
    {ATTEND_BACK, "attend_backward", 60, 32, 60},
    {ATTEND_BACK, "attend_backward", 60, 64, 60},
    {ATTEND_BACK, "attend_backward", 256, 64, 256},
    {ATTEND_BACK, "attend_backward", 1024, 64, 1024},
    {ATTEND_BACK_CAUSAL, "attend_backward causal", 60, 64, 60},
    {ATTEND_BACK_CAUSAL, "attend_backward causal", 1024, 64, 1024},
    {ATTEND_BACK_DROPOUT, "attend_backward dropout", 60, 64, 60},
    {ATTEND_BACK_DROPOUT, "attend_backward dropout", 256, 64, 256},
    {LAYER_NORM_BACK, "layer_norm_backward", 128, 768, 0},
    {RMS_NORM_BACK, "rms_norm_backward", 128, 768, 0},
    {RELU_BACK, "activate_backward relu", 128, 3072, 0},
    {GELU_BACK, "activate_backward gelu", 128, 3072, 0},
    {GELU_TANH_BACK, "activate_backward gelu_tanh", 128, 3072, 0},
    {TANH_BACK, "activate_backward tanh", 128, 3072, 0},
    {GATED_BACK, "activate_gated_backward gelu_tanh", 128, 3072, 0},
    {DROPOUT, "dropout", 128, 768, 0},
    {DROPOUT, "dropout", 1, 60, 0},
    {ADD_ROWS, "add_rows", 128, 768, 0},
    {ADD_SCALED, "add_scaled", 128, 768, 0},
    {SIMULATE, "simulate_i8_rows", 128, 768, 0},
};

/* Room for the largest line; the values do not matter as long as they are ordinary. */
typedef struct {
    float *x, *y, *bias, *scales, *weights, *gradients;
    int8_t *bytes, *w;
    int32_t *sums;
} Data;

static void *allocate(size_t bytes) {
    void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!p) {
        fputs("kernel_speed: out of memory\n", stderr);
        exit(1);
    }
    return p;
}

static void fill(float *x, size_t count, float shift) {
    uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        x[i] = (float)(int32_t)state * 0x1p-30f + shift;
    }
}

static Data data_create(void) {
    enum { FLOATS = 3u << 20, COLUMNS = 50272 };
    const size_t weights = (size_t)COLUMNS * 768;
    Data d = {allocate(FLOATS * sizeof(float)),
              allocate(FLOATS * sizeof(float)),
              allocate(FLOATS * sizeof(float)),
              allocate(COLUMNS * sizeof(float)),
              allocate(weights * 2),
              allocate(FLOATS * sizeof(float)),
              allocate(FLOATS),
              allocate(weights),
              allocate(COLUMNS * sizeof(int32_t))};
    fill(d.x, FLOATS, 0.0f);
    fill(d.y, FLOATS, 0.0f);
    fill(d.bias, FLOATS, 0.5f);
    fill(d.gradients, FLOATS, 0.0f);
    fill(d.scales, COLUMNS, 2.0f);
    for (size_t i = 0; i < weights; i++) {
        d.w[i] = (int8_t)((int)(i * 7919 % 255) - 127);
        uint16_t half = (uint16_t)(0x3000u + i * 7919 % 0x0c00); /* 0.125 to 1, or as BF16 */
        memcpy((char *)d.weights + 2 * i, &half, sizeof half);
    }
    for (size_t i = 0; i < FLOATS; i++)
        d.bytes[i] = (int8_t)((int)(i * 104729 % 255) - 127);
    memset(d.sums, 0, COLUMNS * sizeof *d.sums);
    return d;
}

static void data_destroy(Data *d) {
    free(d->x);
    free(d->y);
    free(d->bias);
    free(d->scales);
    free(d->weights);
    free(d->gradients);
    free(d->bytes);
    free(d->w);
    free(d->sums);
}

static const PareDropout a_tenth = {1, 2, 0x1999999au, 1.0f / 0.9f};

static PareAttend attention(const Line *l, const Data *d) {
    int causal = l->entry == ATTEND_CAUSAL || l->entry == ATTEND_BACK_CAUSAL;
    int drops = l->entry == ATTEND_DROPOUT || l->entry == ATTEND_BACK_DROPOUT;
    return (PareAttend){.q = d->x,
                        .out = d->y,
                        .k = d->bias,
                        .v = d->bias + (1u << 20),
                        .q_stride = 768,
                        .out_stride = 768,
                        .k_stride = 768,
                        .v_stride = 768,
                        .rows = l->M,
                        .keys = l->N,
                        .D = l->K,
                        .causal = causal,
                        .causal_offset = l->N - l->M,
                        .scale = 0.125f,
                        .scratch = d->y + (1u << 20),
                        .dropout = drops ? &a_tenth : NULL,
                        .dropout_stride = l->N};
}

/* The gradients grow with every call, slowly enough to stay ordinary. */
static void run_attend_backward(const PareKernels *k, const Line *l, const Data *d) {
    const PareAttendBackward b = {.forward = attention(l, d),
                                  .dout = d->x + (1u << 20),
                                  .dq = d->y,
                                  .dk = d->gradients,
                                  .dv = d->gradients + (1u << 20),
                                  .scratch = d->y + (1u << 20)};
    k->attend_backward(&b);
}

static void run_activate_backward(const PareKernels *k, PareActivation act, const Line *l,
                                  const Data *d) {
    k->activate_backward(act, d->y, d->x, d->bias, l->M * l->K);
}

static void run_training(const PareKernels *k, const Line *l, const Data *d) {
    const size_t M = l->M, K = l->K;
    switch (l->entry) {
    case LAYER_NORM_BACK:
        k->layer_norm_backward(d->y, d->gradients, d->gradients + K, d->x, d->bias, d->scales,
                               1e-5f, M, K);
        break;
    case RMS_NORM_BACK:
        k->rms_norm_backward(d->y, d->gradients, d->x, d->bias, d->scales, 1e-5f, M, K);
        break;
    case RELU_BACK:
        run_activate_backward(k, PARE_ACT_RELU, l, d);
        break;
    case GELU_BACK:
        run_activate_backward(k, PARE_ACT_GELU, l, d);
        break;
    case GELU_TANH_BACK:
        run_activate_backward(k, PARE_ACT_GELU_TANH, l, d);
        break;
    case TANH_BACK:
        run_activate_backward(k, PARE_ACT_TANH, l, d);
        break;
    case GATED_BACK:
        k->activate_gated_backward(PARE_ACT_GELU_TANH, d->y, d->gradients, d->x, d->bias,
                                   d->bias + M * K, M * K);
        break;
    case DROPOUT:
        k->dropout(d->y, d->x, &a_tenth, M == 1 ? 3 : 0, M * K);
        break;
    case ADD_ROWS:
        k->add_rows(d->gradients, d->x, K, M, K);
        break;
    case ADD_SCALED:
        k->add_scaled(d->y, d->x, 1e-6f, M * K);
        break;
    case SIMULATE:
        k->simulate_i8_rows(d->y, d->x, M, K);
        break;
    default:
        run_attend_backward(k, l, d);
        break;
    }
}

static void run(const PareKernels *k, const Line *l, const Data *d) {
    const size_t M = l->M, K = l->K, N = l->N;
    const uint16_t *halves = (const uint16_t *)(const void *)d->weights;
    float max, logsum;
    PareAttend attend;
    switch (l->entry) {
    case I8:
        k->gemm_i8(d->y, N, d->bytes, K, d->scales, d->w, d->scales, d->sums, d->bias, M, K, 0, N);
        break;
    case F16:
        k->gemm_f16(d->y, N, d->x, K, halves, d->bias, M, K, 0, N);
        break;
    case BF16:
        k->gemm_bf16(d->y, N, d->x, K, halves, d->bias, M, K, 0, N);
        break;
    case QUANTIZE:
        k->quantize_rows(d->bytes, K, d->scales, d->x, K, M, K);
        break;
    case LAYER_NORM:
        k->layer_norm(d->y, d->x, d->bias, d->bias, 1e-5f, M, K);
        break;
    case RMS_NORM:
        k->rms_norm(d->y, d->x, d->bias, 1e-5f, M, K);
        break;
    case GELU:
        k->activate(PARE_ACT_GELU, d->y, d->x, M * K);
        break;
    case GELU_TANH:
        k->activate(PARE_ACT_GELU_TANH, d->y, d->x, M * K);
        break;
    case SILU_GATED:
        k->activate_gated(PARE_ACT_SILU, d->y, d->x, d->bias, M * K);
        break;
    case TANH:
        k->activate(PARE_ACT_TANH, d->y, d->x, M * K);
        break;
    case ADD:
        k->add(d->y, d->x, d->bias, M * K);
        break;
    case SOFTMAX:
        k->softmax(d->y, d->x, M * K);
        break;
    case LOG_SUM_EXP:
        k->log_sum_exp(d->x, M * K, &max, &logsum);
        break;
    case ATTEND:
    case ATTEND_CAUSAL:
    case ATTEND_DROPOUT:
        attend = attention(l, d);
        k->attend(&attend);
        break;
    default:
        run_training(k, l, d);
        break;
    }
}

/* What one call does, in `*unit`s. Few rows are bound by reading weights. */
static double work(const Line *l, const char **unit) {
    const double M = (double)l->M, K = (double)l->K, N = (double)l->N;
    *unit = "GB/s";
    switch (l->entry) {
    case I8:
    case F16:
    case BF16:
        if (l->M == 1 || N > 10000)
            return K * N * (l->entry == I8 ? 1 : 2);
        *unit = "GOP/s";
        return 2 * M * K * N;
    case ATTEND:
    case ATTEND_DROPOUT:
        *unit = "GOP/s";
        return 4 * M * K * N;
    case ATTEND_CAUSAL:
        *unit = "GOP/s";
        return 4 * M * K * (N - (M - 1) / 2);
    case ATTEND_BACK:
    case ATTEND_BACK_DROPOUT:
        *unit = "GOP/s";
        return 10 * M * K * N;
    case ATTEND_BACK_CAUSAL:
        *unit = "GOP/s";
        return 10 * M * K * (N - (M - 1) / 2);
    case QUANTIZE:
        return M * K * 5;
    case LOG_SUM_EXP:
        return M * K * 4;
    case SILU_GATED:
    case ADD:
        return M * K * 12;
    default:
        if (l->entry > ATTEND_BACK_DROPOUT)
            *unit = "el/ns";
        return l->entry > ATTEND_BACK_DROPOUT ? M * K : M * K * 8;
    }
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Short calls are repeated inside one measurement. */
static double best_seconds(const PareKernels *k, const Line *l, const Data *d) {
    double start = now(), best = 1e30, first;
    run(k, l, d);
    first = now() - start;
    size_t inside = first < 5e-5 ? (size_t)(1e-4 / (first + 1e-8)) + 1 : 1;
    for (int i = 0; i < REPEATS_MIN || now() - start < 1.0 / SECONDS_SHARE; i++) {
        double before = now();
        for (size_t j = 0; j < inside; j++)
            run(k, l, d);
        double took = (now() - before) / (double)inside;
        best = took < best ? took : best;
        if (first > 1.0 / SECONDS_SHARE)
            break;
    }
    return best;
}

int main(int argc, char **argv) {
    Data d = data_create();
    printf("%-42s %-7s %12s %14s %9s\n", "entry and shape", "kernels", "microseconds", "rate",
           "x scalar");
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        const Line *l = &lines[i];
        char label[80];
        if (l->N)
            snprintf(label, sizeof label, "%s %zux%zux%zu", l->name, l->M, l->K, l->N);
        else
            snprintf(label, sizeof label, "%s %zux%zu", l->name, l->M, l->K);
        if (argc > 1 && !strstr(label, argv[1]))
            continue;
        double scalar = 0.0;
        const PareKernels *k;
        for (size_t v = 0; (k = pare_kernels_variant(v)) != NULL; v++) {
            const char *unit;
            double amount = work(l, &unit), seconds = best_seconds(k, l, &d);
            scalar = v == 0 ? seconds : scalar;
            printf("%-42s %-7s %12.1f %8.1f %-5s %9.1f\n", label, k->name, seconds * 1e6,
                   amount / seconds * 1e-9, unit, scalar / seconds);
        }
    }
    data_destroy(&d);
    return 0;
}
