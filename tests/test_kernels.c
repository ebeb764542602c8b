/* Every row and element kernel of every variant against scalar, bit for bit, with guard bytes,
 * misaligned rows, special values and in-place use; and what the definitions promise. */
#include "tests/test_kernels.h"

#include <float.h>

enum { OFFSET = 4 }; /* floats that are not aligned to more than their type */

/* Fills as the case says: 0 ordinary, 1 special, 2 special with an infinity, 3 with a NaN, 4 tiny.
 */
enum { FILLS = 5 };
static void fill_case(float *x, size_t count, int fill, uint64_t seed) {
    if (fill == 0)
        fill_floats(x, count, 4.0f, seed);
    else if (fill == 4)
        fill_floats(x, count, 1e-39f, seed);
    else
        fill_special(x, count, seed);
    if (count > 0 && fill == 2)
        x[seed % count] = seed % 2 ? INFINITY : -INFINITY;
    if (count > 0 && fill == 3)
        x[seed % count] = NAN;
}

typedef struct {
    Guarded x, a, b, expected, got;
    size_t size;
} Rows;

static float *floats(Guarded *g) {
    return g->data;
}

static Rows rows_create(size_t count, int fill, uint64_t seed) {
    size_t bytes = count * sizeof(float);
    Rows r = {guarded_create(bytes, OFFSET),     guarded_create(bytes, 2 * OFFSET),
              guarded_create(bytes, 3 * OFFSET), guarded_create(bytes, OFFSET),
              guarded_create(bytes, 5 * OFFSET), count};
    fill_case(floats(&r.x), count, fill, seed);
    fill_case(floats(&r.a), count, fill == 1 ? 1 : 0, seed + 1);
    fill_case(floats(&r.b), count, 0, seed + 2);
    return r;
}

/* Compares what the variant wrote and clears it for the next one. */
static void rows_compare(Rows *r, const char *what, const char *variant) {
    assert_same_bits(what, variant, floats(&r->expected), floats(&r->got), r->size);
    memset(r->got.data, 0x77, r->size * sizeof(float));
}

static void rows_destroy(Rows *r) {
    guarded_destroy(&r->x);
    guarded_destroy(&r->a);
    guarded_destroy(&r->b);
    guarded_destroy(&r->expected);
    guarded_destroy(&r->got);
}

static void test_elements(void **state) {
    (void)state;
    for (size_t s = 0; s < ROW_SIZES; s++) {
        for (int fill = 0; fill < FILLS; fill++) {
            size_t n = row_sizes[s];
            Rows r = rows_create(n, fill, s + 1);
            float *x = floats(&r.x), *a = floats(&r.a), *e = floats(&r.expected),
                  *g = floats(&r.got);
            const PareKernels *k;
            for (VARIANTS(k)) {
                SCALAR->add(e, x, a, n);
                k->add(g, x, a, n);
                rows_compare(&r, "add", k->name);
                SCALAR->scale(e, x, -1.7f, n);
                k->scale(g, x, -1.7f, n);
                rows_compare(&r, "scale", k->name);
                for (int act = 0; act < PARE_ACT_COUNT; act++) {
                    char what[40];
                    snprintf(what, sizeof what, "activation %d", act);
                    SCALAR->activate((PareActivation)act, e, x, n);
                    k->activate((PareActivation)act, g, x, n);
                    rows_compare(&r, what, k->name);
                    SCALAR->activate_gated((PareActivation)act, e, x, a, n);
                    k->activate_gated((PareActivation)act, g, x, a, n);
                    rows_compare(&r, "gated activation", k->name);
                }
            }
            rows_destroy(&r);
        }
    }
}

static void test_rows(void **state) {
    (void)state;
    for (size_t s = 0; s < ROW_SIZES; s++) {
        for (int fill = 0; fill < FILLS; fill++) {
            const size_t M = 3, N = row_sizes[s];
            Rows r = rows_create(M * N, fill, s + 1);
            float *x = floats(&r.x), *w = floats(&r.a), *b = floats(&r.b), *e = floats(&r.expected),
                  *g = floats(&r.got);
            const PareKernels *k;
            for (VARIANTS(k)) {
                SCALAR->layer_norm(e, x, w, b, 1e-5f, M, N);
                k->layer_norm(g, x, w, b, 1e-5f, M, N);
                rows_compare(&r, "layer_norm", k->name);
                SCALAR->layer_norm(e, x, w, NULL, 1e-12f, M, N);
                k->layer_norm(g, x, w, NULL, 1e-12f, M, N);
                rows_compare(&r, "layer_norm without bias", k->name);
                SCALAR->rms_norm(e, x, w, 1e-6f, M, N);
                k->rms_norm(g, x, w, 1e-6f, M, N);
                rows_compare(&r, "rms_norm", k->name);
                SCALAR->softmax(e, x, M * N);
                k->softmax(g, x, M * N);
                rows_compare(&r, "softmax", k->name);
                float expected[2], got[2];
                SCALAR->log_sum_exp(x, M * N, &expected[0], &expected[1]);
                k->log_sum_exp(x, M * N, &got[0], &got[1]);
                assert_same_bits("log_sum_exp", k->name, expected, got, 2);
            }
            rows_destroy(&r);
        }
    }
}

/* The same again with y == x (and up, and b): the result must not change. */
static void test_in_place(void **state) {
    (void)state;
    const PareKernels *k;
    for (size_t variant = 0; (k = pare_kernels_variant(variant)) != NULL; variant++) {
        for (size_t s = 0; s < ROW_SIZES; s++) {
            size_t n = row_sizes[s];
            Rows r = rows_create(n, 0, s + 7);
            float *x = floats(&r.x), *a = floats(&r.a), *b = floats(&r.b), *e = floats(&r.expected),
                  *g = floats(&r.got);
#define IN_PLACE(what, from, expect, inside)                                                       \
    do {                                                                                           \
        expect;                                                                                    \
        memcpy(g, from, n * sizeof *g);                                                            \
        inside;                                                                                    \
        rows_compare(&r, what " in place", k->name);                                               \
    } while (0)
            IN_PLACE("add", x, k->add(e, x, a, n), k->add(g, g, a, n));
            IN_PLACE("add", a, k->add(e, x, a, n), k->add(g, x, g, n));
            IN_PLACE("scale", x, k->scale(e, x, 3.0f, n), k->scale(g, g, 3.0f, n));
            IN_PLACE("softmax", x, k->softmax(e, x, n), k->softmax(g, g, n));
            IN_PLACE("gelu", x, k->activate(PARE_ACT_GELU, e, x, n),
                     k->activate(PARE_ACT_GELU, g, g, n));
            IN_PLACE("gate", x, k->activate_gated(PARE_ACT_SILU, e, x, a, n),
                     k->activate_gated(PARE_ACT_SILU, g, g, a, n));
            IN_PLACE("up", a, k->activate_gated(PARE_ACT_SILU, e, x, a, n),
                     k->activate_gated(PARE_ACT_SILU, g, x, g, n));
            IN_PLACE("layer_norm", x, k->layer_norm(e, x, a, b, 1e-5f, 1, n),
                     k->layer_norm(g, g, a, b, 1e-5f, 1, n));
            IN_PLACE("rms_norm", x, k->rms_norm(e, x, a, 1e-5f, 1, n),
                     k->rms_norm(g, g, a, 1e-5f, 1, n));
#undef IN_PLACE
            rows_destroy(&r);
        }
    }
}

static size_t round4(size_t k) {
    return (k + 3) / 4 * 4;
}

static void test_quantize_rows(void **state) {
    (void)state;
    for (size_t s = 0; s < ROW_SIZES; s++) {
        for (int fill = 0; fill < FILLS; fill++) {
            const size_t M = 4, K = row_sizes[s], ldq = round4(K), ldx = K + 3;
            Guarded x = guarded_create(M * ldx * sizeof(float), OFFSET);
            fill_case(floats(&x), M * ldx, fill, s + 1);
            Guarded e = guarded_create(M * ldq, 0), es = guarded_create(M * sizeof(float), 0);
            SCALAR->quantize_rows(e.data, ldq, floats(&es), floats(&x), ldx, M, K);
            const PareKernels *k;
            for (VARIANTS(k)) {
                Guarded q = guarded_create(M * ldq, 1), qs = guarded_create(M * sizeof(float), 4);
                k->quantize_rows(q.data, ldq, floats(&qs), floats(&x), ldx, M, K);
                assert_same_bits("quantize_rows' scale", k->name, floats(&es), floats(&qs), M);
                assert_memory_equal(e.data, q.data, M * ldq);
                guarded_destroy(&q);
                guarded_destroy(&qs);
            }
            guarded_destroy(&x);
            guarded_destroy(&e);
            guarded_destroy(&es);
        }
    }
}

/* What kernels.h says of scales, zeros, ties, NaN and infinity, for every variant. */
static void test_quantize_rules(void **state) {
    (void)state;
    const PareKernels *k;
    for (size_t variant = 0; (k = pare_kernels_variant(variant)) != NULL; variant++) {
        int8_t q[8];
        float s;
        const float ties[6] = {127.0f, 0.5f, 1.5f, 2.5f, -2.5f, -127.0f};
        k->quantize_rows(q, 8, &s, ties, 6, 1, 6);
        assert_true(s == 1.0f);
        const int8_t even[8] = {127, 0, 2, 2, -2, -127, 0, 0};
        assert_memory_equal(q, even, 8);
        const int8_t zeros[8] = {0};
        const float none[6] = {0.0f, -0.0f};
        k->quantize_rows(q, 8, &s, none, 6, 1, 6);
        assert_memory_equal(q, zeros, 8);
        assert_true(s == 0.0f);
        const float tiny[6] = {1e-38f, -3e-37f}; /* 127 / 3e-37 overflows */
        k->quantize_rows(q, 8, &s, tiny, 6, 1, 6);
        assert_memory_equal(q, zeros, 8);
        assert_true(s == 0.0f);
        const float huge[6] = {FLT_MAX, -FLT_MAX, 1.0f, -3e38f};
        const int8_t extremes[8] = {127, -127, 0, -112};
        k->quantize_rows(q, 8, &s, huge, 6, 1, 6);
        assert_memory_equal(q, extremes, 8);
        assert_true(s == FLT_MAX / 127.0f);
        const float broken[2][6] = {{1.0f, NAN, 2.0f}, {1.0f, 2.0f, -INFINITY}};
        for (size_t i = 0; i < 2; i++) {
            k->quantize_rows(q, 8, &s, broken[i], 6, 1, 6);
            assert_memory_equal(q, zeros, 8);
            assert_true(isnan(s));
        }
    }
}

/* Dequantized values are within half a step, and a row's largest value is met by +-127. */
static void test_quantize_accuracy(void **state) {
    (void)state;
    enum { K = 1000 };
    static float x[K];
    static int8_t q[K];
    for (uint64_t seed = 1; seed < 50; seed++) {
        float s;
        fill_floats(x, K, ldexpf(1.0f, (int)(seed % 40) - 20), seed);
        pare_kernels()->quantize_rows(q, K, &s, x, K, 1, K);
        int largest = 0;
        for (size_t i = 0; i < K; i++) {
            assert_true(fabs((double)x[i] - (double)s * q[i]) <= 0.50001 * (double)s);
            largest = abs(q[i]) > largest ? abs(q[i]) : largest;
        }
        assert_int_equal(largest, 127);
    }
}

static void test_norm_accuracy(void **state) {
    (void)state;
    enum { N = 768 };
    static float x[N], w[N], b[N], y[N];
    fill_floats(x, N, 3.0f, 1);
    fill_floats(w, N, 2.0f, 2);
    fill_floats(b, N, 1.0f, 3);
    double mean = 0, var = 0, square = 0;
    for (size_t i = 0; i < N; i++)
        mean += (double)(x[i] += 5.0f) / N;
    for (size_t i = 0; i < N; i++) {
        var += ((double)x[i] - mean) * ((double)x[i] - mean) / N;
        square += (double)x[i] * (double)x[i] / N;
    }
    pare_kernels()->layer_norm(y, x, w, b, 1e-5f, 1, N);
    for (size_t i = 0; i < N; i++)
        assert_true(fabs(((double)x[i] - mean) / sqrt(var + 1e-5) * (double)w[i] + (double)b[i] -
                         (double)y[i]) < 2e-6);
    pare_kernels()->rms_norm(y, x, w, 1e-6f, 1, N);
    for (size_t i = 0; i < N; i++)
        assert_true(fabs((double)x[i] / sqrt(square + 1e-6) * (double)w[i] - (double)y[i]) < 2e-6);
}

static void test_softmax_accuracy(void **state) {
    (void)state;
    enum { N = 5003 };
    static float x[N], y[N];
    fill_floats(x, N, 10.0f, 5);
    double max = -INFINITY, sum = 0;
    for (size_t i = 0; i < N; i++)
        max = fmax(max, (double)x[i]);
    for (size_t i = 0; i < N; i++)
        sum += exp((double)x[i] - max);
    pare_kernels()->softmax(y, x, N);
    for (size_t i = 0; i < N; i++) {
        double p = exp((double)x[i] - max) / sum;
        assert_true(fabs((double)y[i] - p) < 3e-6 * p);
    }
    float m, logsum;
    pare_kernels()->log_sum_exp(x, N, &m, &logsum);
    assert_true((double)m == max);
    assert_true(fabs((double)logsum - log(sum)) < 1e-6);
}

/* Signs of zero in maxima, empty rows, rows of infinities. */
static void test_max_rules(void **state) {
    (void)state;
    const PareKernels *k;
    for (size_t variant = 0; (k = pare_kernels_variant(variant)) != NULL; variant++) {
        float max, logsum, x[20];
        for (size_t i = 0; i < 20; i++)
            x[i] = -0.0f;
        k->log_sum_exp(x, 20, &max, &logsum);
        assert_true(max == 0.0f && !signbit(max));
        k->log_sum_exp(x, 0, &max, &logsum);
        assert_true(isinf(max) && max < 0.0f && isinf(logsum) && logsum < 0.0f);
        x[3] = -INFINITY;
        k->softmax(x, x, 20);
        assert_true(x[3] == 0.0f && fabsf(x[4] - 1.0f / 19.0f) < 1e-7f);
        k->log_sum_exp(x + 4, 1, &max, &logsum);
        assert_true(max == x[4] && logsum == 0.0f);
        x[0] = NAN;
        k->softmax(x, x, 20);
        for (size_t i = 0; i < 20; i++)
            assert_true(isnan(x[i]));
    }
}

/* PARE_CPU forces a variant; what it cannot give is an error and changes nothing. */
static void test_choice(void **state) {
    (void)state;
    PareError err;
    const PareKernels *k, *best = pare_kernels();
    for (size_t i = 0; (k = pare_kernels_variant(i)) != NULL; i++) {
        assert_int_equal(setenv("PARE_CPU", k->name, 1), 0);
        assert_int_equal(pare_kernels_init(&err), PARE_OK);
        assert_ptr_equal(pare_kernels(), k);
        assert_string_equal(pare_kernels()->name, k->name);
    }
    static const char *const bad[] = {"", "sse9", "AVX2", "neon"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (pare_kernels_variant(1) && !strcmp(pare_kernels_variant(1)->name, bad[i]))
            continue;
        assert_int_equal(setenv("PARE_CPU", bad[i], 1), 0);
        const PareKernels *before = pare_kernels();
        PareStatus status = pare_kernels_init(&err);
        assert_int_equal(status, strcmp(bad[i], "neon") ? PARE_E_USAGE : PARE_E_UNSUPPORTED);
        assert_non_null(strstr(err.message, "PARE_CPU"));
        assert_ptr_equal(pare_kernels(), before);
    }
    assert_int_equal(unsetenv("PARE_CPU"), 0);
    assert_int_equal(pare_kernels_init(&err), PARE_OK);
    assert_ptr_equal(pare_kernels(), best);
    assert_string_equal(SCALAR->name, "scalar");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_choice),
        cmocka_unit_test(test_elements),
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_in_place),
        cmocka_unit_test(test_quantize_rows),
        cmocka_unit_test(test_quantize_rules),
        cmocka_unit_test(test_quantize_accuracy),
        cmocka_unit_test(test_norm_accuracy),
        cmocka_unit_test(test_softmax_accuracy),
        cmocka_unit_test(test_max_rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
