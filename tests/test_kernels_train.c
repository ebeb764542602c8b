/* The kernels of training, every variant against scalar bit for bit, with guard bytes, misaligned
 * rows, special values and gradients that are not wanted. (What the gradients must be is in
 * test_kernels_gradients.c.) */
#include "tests/test_kernels.h"

#include "core/random.h"

enum { GAP = 3, FILLS = 4 };

static float *floats(const Guarded *g) {
    return g->data;
}

/* 0 ordinary, 1 special, 2 with an infinity, 3 with a NaN. */
static Guarded filled(size_t count, size_t offset, int fill, uint64_t seed) {
    Guarded g = guarded_create(count * sizeof(float), offset);
    if (fill == 0)
        fill_floats(g.data, count, 2.0f, seed);
    else
        fill_special(g.data, count, seed);
    if (count > 0 && fill >= 2)
        floats(&g)[seed % count] = fill == 3 ? NAN : INFINITY;
    return g;
}

/* Three gradients as scalar and as a variant make them, over the same start. */
enum { GRADIENTS = 3 };
typedef struct {
    Guarded start[GRADIENTS], expected[GRADIENTS], got[GRADIENTS];
    size_t size[GRADIENTS];
    float *e[GRADIENTS], *g[GRADIENTS];
} Outputs;

static Outputs outputs_create(size_t a, size_t b, size_t c) {
    Outputs o = {.size = {a, b, c}};
    for (size_t i = 0; i < GRADIENTS; i++) {
        o.start[i] = filled(o.size[i], 0, 0, i + 11);
        o.expected[i] = guarded_create(o.size[i] * sizeof(float), 4);
        o.got[i] = guarded_create(o.size[i] * sizeof(float), 12);
    }
    return o;
}

/* Only the gradients in `wanted` (bits) are not NULL. */
static void outputs_reset(Outputs *o, int wanted) {
    for (size_t i = 0; i < GRADIENTS; i++) {
        memcpy(o->expected[i].data, o->start[i].data, o->size[i] * sizeof(float));
        memcpy(o->got[i].data, o->start[i].data, o->size[i] * sizeof(float));
        o->e[i] = wanted >> i & 1 ? o->expected[i].data : NULL;
        o->g[i] = wanted >> i & 1 ? o->got[i].data : NULL;
    }
}

static void outputs_compare(const Outputs *o, const char *what, const char *variant) {
    for (size_t i = 0; i < GRADIENTS; i++)
        assert_same_bits(what, variant, o->expected[i].data, o->got[i].data, o->size[i]);
}

static void outputs_destroy(Outputs *o) {
    for (size_t i = 0; i < GRADIENTS; i++) {
        guarded_destroy(&o->start[i]);
        guarded_destroy(&o->expected[i]);
        guarded_destroy(&o->got[i]);
    }
}

static void norms_at(size_t M, size_t N, int fill) {
    Guarded x = filled(M * N, 4, fill, N + 1), dy = filled(M * N, 8, fill == 1, N + 2);
    Guarded w = filled(N, 12, 0, N + 3);
    Outputs o = outputs_create(M * N, N, N);
    const PareKernels *k;
    for (VARIANTS(k))
        for (int wanted = 0; wanted < 8; wanted++) {
            outputs_reset(&o, wanted);
            SCALAR->layer_norm_backward(o.e[0], o.e[1], o.e[2], dy.data, x.data, w.data, 1e-5f, M,
                                        N);
            k->layer_norm_backward(o.g[0], o.g[1], o.g[2], dy.data, x.data, w.data, 1e-5f, M, N);
            outputs_compare(&o, "layer_norm_backward", k->name);
            outputs_reset(&o, wanted);
            SCALAR->rms_norm_backward(o.e[0], o.e[1], dy.data, x.data, w.data, 1e-6f, M, N);
            k->rms_norm_backward(o.g[0], o.g[1], dy.data, x.data, w.data, 1e-6f, M, N);
            outputs_compare(&o, "rms_norm_backward", k->name);
        }
    outputs_destroy(&o);
    guarded_destroy(&x);
    guarded_destroy(&dy);
    guarded_destroy(&w);
}

static void test_norms(void **state) {
    (void)state;
    for (size_t s = 0; s < ROW_SIZES; s++)
        for (int fill = 0; fill < FILLS; fill++)
            norms_at(3, row_sizes[s], fill);
}

static void activations_at(size_t n, int fill) {
    Guarded x = filled(n, 4, fill, n + 1), dy = filled(n, 8, fill == 1, n + 2);
    Guarded up = filled(n, 12, 0, n + 3);
    Outputs o = outputs_create(n, n, 0);
    const PareKernels *k;
    for (VARIANTS(k))
        for (int act = 0; act < PARE_ACT_COUNT; act++) {
            char what[40];
            snprintf(what, sizeof what, "derivative of activation %d", act);
            outputs_reset(&o, 1);
            SCALAR->activate_backward((PareActivation)act, o.e[0], dy.data, x.data, n);
            k->activate_backward((PareActivation)act, o.g[0], dy.data, x.data, n);
            outputs_compare(&o, what, k->name);
            for (int wanted = 0; wanted < 4; wanted++) {
                outputs_reset(&o, wanted);
                SCALAR->activate_gated_backward((PareActivation)act, o.e[0], o.e[1], dy.data,
                                                x.data, up.data, n);
                k->activate_gated_backward((PareActivation)act, o.g[0], o.g[1], dy.data, x.data,
                                           up.data, n);
                outputs_compare(&o, what, k->name);
            }
        }
    outputs_destroy(&o);
    guarded_destroy(&x);
    guarded_destroy(&dy);
    guarded_destroy(&up);
}

static void test_activations(void **state) {
    (void)state;
    for (size_t s = 0; s < ROW_SIZES; s++)
        for (int fill = 0; fill < FILLS; fill++)
            activations_at(row_sizes[s], fill);
}

/* Every 65,537th float, of every exponent and both signs. */
static void test_derivatives_comb(void **state) {
    (void)state;
    enum { CHUNK = 1 << 12 };
    static float x[CHUNK], dy[CHUNK], expected[CHUNK], got[CHUNK];
    const uint64_t step = 65537, end = (uint64_t)1 << 32;
    fill_floats(dy, CHUNK, 3.0f, 5);
    for (uint64_t bits = 0; bits < end; bits += step * CHUNK) {
        size_t count = 0;
        for (; count < CHUNK && bits + count * step < end; count++) {
            uint32_t word = (uint32_t)(bits + count * step);
            memcpy(&x[count], &word, sizeof word);
        }
        for (int act = 0; act < PARE_ACT_COUNT; act++) {
            const PareKernels *k;
            memset(expected, 0, sizeof expected);
            SCALAR->activate_backward((PareActivation)act, expected, dy, x, count);
            for (VARIANTS(k)) {
                memset(got, 0, sizeof got);
                k->activate_backward((PareActivation)act, got, dy, x, count);
                assert_same_bits("derivative over all floats", k->name, expected, got, count);
            }
        }
    }
}

static void dropout_at(size_t n, int fill, uint64_t first, uint32_t threshold) {
    const PareDropout d = {0x123456789abcdef0u + first, 0xfedcba9876543210u, threshold, 1.5f};
    Guarded x = filled(n, 4, fill, n + 1);
    Outputs o = outputs_create(n, 0, 0);
    const PareKernels *k;
    SCALAR->dropout(o.expected[0].data, x.data, &d, first, n);
    for (size_t i = 0; i < n && fill == 0; i++) {
        int kept = pare_random_u32(d.seed, d.stream, first + i) >= threshold;
        assert_true(floats(&o.expected[0])[i] == (kept ? floats(&x)[i] * 1.5f : 0.0f));
    }
    for (VARIANTS(k)) {
        k->dropout(o.got[0].data, x.data, &d, first, n);
        outputs_compare(&o, "dropout", k->name);
        memcpy(o.got[0].data, x.data, n * sizeof(float));
        k->dropout(o.got[0].data, o.got[0].data, &d, first, n);
        outputs_compare(&o, "dropout in place", k->name);
    }
    outputs_destroy(&o);
    guarded_destroy(&x);
}

/* From anywhere in a block, across the 32-bit halves of the index, and around every threshold. */
static void test_dropout(void **state) {
    (void)state;
    const uint64_t firsts[] = {0, 1, 2, 3, 4, 29, (1ull << 34) - 7, (1ull << 62) + 1};
    const uint32_t thresholds[] = {0, 1, 0x1999999au, 0x7fffffffu, 0x80000000u, 0xffffffffu};
    for (size_t s = 0; s < ROW_SIZES; s++)
        for (size_t f = 0; f < sizeof firsts / sizeof firsts[0]; f++)
            dropout_at(row_sizes[s], (int)((s + f) % FILLS), firsts[f], thresholds[(s + f) % 6]);
    for (size_t t = 0; t < 6; t++)
        dropout_at(255, 0, t, thresholds[t]);
}

/* What is drawn does not depend on how it is cut, and as many are dropped as should be. */
static void test_dropout_rules(void **state) {
    (void)state;
    enum { N = 40000 };
    static float x[N], whole[N], parts[N];
    const PareDropout tenth = {1, 2, 0x1999999au, 1.0f / 0.9f}, none = {1, 2, 0, 1.0f};
    const PareKernels *k;
    fill_floats(x, N, 1.0f, 3);
    for (size_t v = 0; (k = pare_kernels_variant(v)) != NULL; v++) {
        k->dropout(whole, x, &none, 5, N);
        assert_memory_equal(whole, x, sizeof x);
        k->dropout(whole, x, &tenth, 5, N);
        size_t dropped = 0;
        for (size_t i = 0; i < N; i++)
            dropped += whole[i] == 0.0f && !signbit(whole[i]);
        assert_in_range(dropped, N / 10 - 300, N / 10 + 300);
        for (size_t i = 0, step = 1; i < N; i += step, step = step % 70 + 1) {
            step = N - i < step ? N - i : step;
            k->dropout(parts + i, x + i, &tenth, 5 + i, step);
        }
        assert_same_bits("dropout in parts", k->name, whole, parts, N);
    }
}

static void sums_at(size_t M, size_t N, int fill) {
    size_t ldx = N + GAP;
    Guarded x = filled(M * ldx, 4, fill, N + 1);
    Outputs o = outputs_create(N, M * ldx, M * N);
    const PareKernels *k;
    for (VARIANTS(k)) {
        outputs_reset(&o, 7);
        SCALAR->add_rows(o.e[0], x.data, ldx, M, N);
        SCALAR->add_scaled(o.e[1], x.data, -1.7f, M * ldx);
        SCALAR->simulate_i8_rows(o.e[2], x.data, M, N);
        k->add_rows(o.g[0], x.data, ldx, M, N);
        k->add_scaled(o.g[1], x.data, -1.7f, M * ldx);
        k->simulate_i8_rows(o.g[2], x.data, M, N);
        outputs_compare(&o, "add_rows, add_scaled or simulate_i8_rows", k->name);
        memcpy(o.g[2], x.data, M * N * sizeof(float));
        k->simulate_i8_rows(o.g[2], o.g[2], M, N);
        outputs_compare(&o, "simulate_i8_rows in place", k->name);
    }
    outputs_destroy(&o);
    guarded_destroy(&x);
}

static void test_sums(void **state) {
    (void)state;
    for (size_t s = 0; s < ROW_SIZES; s++)
        for (int fill = 0; fill < FILLS; fill++)
            for (size_t M = 0; M < 7; M++)
                sums_at(M, row_sizes[s], fill);
}

/* scale * q of quantize_rows, bit for bit, whatever the row holds. */
static void test_simulate_is_quantize(void **state) {
    (void)state;
    enum { M = 6, K = 40 };
    static float x[M * K], y[M * K], expected[M * K];
    const PareKernels *k;
    fill_floats(x, M * K, 2.0f, 3);
    fill_special(x + K, K, 4);               /* up to the largest float */
    memset(x + 2 * K, 0, K * sizeof(float)); /* zero */
    fill_floats(x + 3 * K, K, 1e-39f, 5);    /* 127 / largest overflows */
    x[4 * K + 7] = NAN;
    x[5 * K + 39] = -INFINITY;
    for (size_t v = 0; (k = pare_kernels_variant(v)) != NULL; v++) {
        int8_t q[M * K];
        float scale[M];
        k->quantize_rows(q, K, scale, x, K, M, K);
        for (size_t i = 0; i < M * K; i++)
            expected[i] = scale[i / K] * (float)q[i];
        k->simulate_i8_rows(y, x, M, K);
        assert_same_bits("simulate_i8_rows", k->name, expected, y, M * K);
        assert_true(isnan(y[4 * K]) && isnan(y[5 * K]) && y[2 * K] == 0.0f && y[0] != 0.0f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_derivatives_comb),
        cmocka_unit_test(test_dropout),
        cmocka_unit_test(test_dropout_rules),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_simulate_is_quantize),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
