/* The activations against double precision, with the bounds that kernels_math.h states, and every
 * variant against scalar over a comb through all floats. */
#include "tests/test_kernels.h"

#include <float.h>

enum { CHUNK = 1 << 12 };

typedef struct {
    double ulp, absolute; /* the largest errors found, with where */
    float ulp_at, absolute_at;
} Errors;

static double ulp_of(double y) {
    if (fabs(y) < (double)FLT_MIN)
        return 0x1p-149;
    int exponent;
    frexp(y, &exponent);
    return ldexp(1.0, exponent - FLT_MANT_DIG);
}

/* Errors of act over [low, high], at a hundred thousand places. */
static Errors measure(PareActivation act, double (*exact)(double), double low, double high) {
    enum { PLACES = 100000 };
    static float x[CHUNK], y[CHUNK];
    Errors e = {0};
    for (size_t i = 0; i < PLACES; i += CHUNK) {
        size_t count = PLACES - i < CHUNK ? PLACES - i : CHUNK;
        for (size_t j = 0; j < count; j++)
            x[j] = (float)(low + (high - low) * (double)(i + j) / PLACES);
        pare_kernels()->activate(act, y, x, count);
        for (size_t j = 0; j < count; j++) {
            double want = exact((double)x[j]), error = fabs((double)y[j] - want);
            if (error > e.absolute) {
                e.absolute = error;
                e.absolute_at = x[j];
            }
            if (error / ulp_of(want) > e.ulp) {
                e.ulp = error / ulp_of(want);
                e.ulp_at = x[j];
            }
        }
    }
    return e;
}

static void check(const char *what, Errors e, double ulp, double absolute) {
    if (e.ulp > ulp)
        fail_msg("%s: %g ulp at %g, more than %g", what, e.ulp, (double)e.ulp_at, ulp);
    if (e.absolute > absolute)
        fail_msg("%s: off by %g at %g, more than %g", what, e.absolute, (double)e.absolute_at,
                 absolute);
}

static double exact_gelu(double x) {
    return 0.5 * x * erfc(-x / sqrt(2.0));
}

static double exact_gelu_tanh(double x) {
    double u = sqrt(2.0 / 3.14159265358979323846) * (x + 0.044715 * x * x * x);
    return x / (1.0 + exp(-2.0 * u));
}

static double exact_sigmoid(double x) {
    return 1.0 / (1.0 + exp(-x));
}

static double exact_silu(double x) {
    return x / (1.0 + exp(-x));
}

static double exact_quick(double x) {
    return x / (1.0 + exp(-1.702 * x));
}

static void test_tanh(void **state) {
    (void)state;
    check("tanh", measure(PARE_ACT_TANH, tanh, -10.0, 10.0), 2.6, 1.2e-7);
    check("tanh near 0", measure(PARE_ACT_TANH, tanh, -1e-3, 1e-3), 2.2, 1e-9);
    check("tanh of denormals", measure(PARE_ACT_TANH, tanh, -1e-38, 1e-38), 1.0, 1e-44);
    check("tanh saturated", measure(PARE_ACT_TANH, tanh, 9.02, 1e6), 0.5, 6e-8);
}

static void test_sigmoid(void **state) {
    (void)state;
    check("sigmoid", measure(PARE_ACT_SIGMOID, exact_sigmoid, -80.0, 80.0), 2.6, 1.2e-7);
    check("silu", measure(PARE_ACT_SILU, exact_silu, -80.0, 20.0), 2.6, 2e-6);
    check("gelu_quick", measure(PARE_ACT_GELU_QUICK, exact_quick, -5.0, 5.0), 12.0, 7e-7);
}

static void test_gelu(void **state) {
    (void)state;
    check("gelu above 0", measure(PARE_ACT_GELU, exact_gelu, 0.0, 10.0), 2.5, 5e-7);
    check("gelu from -1", measure(PARE_ACT_GELU, exact_gelu, -1.0, 0.0), 5.0, 6e-8);
    check("gelu from -3", measure(PARE_ACT_GELU, exact_gelu, -3.0, 0.0), 30.0, 6e-8);
    check("gelu from -6", measure(PARE_ACT_GELU, exact_gelu, -6.0, 0.0), 80.0, 6e-8);
    check("gelu far below", measure(PARE_ACT_GELU, exact_gelu, -30.0, -6.0), 1e30, 1e-12);
    check("gelu_tanh", measure(PARE_ACT_GELU_TANH, exact_gelu_tanh, -3.0, 10.0), 20.0, 6e-7);
    check("gelu_tanh below", measure(PARE_ACT_GELU_TANH, exact_gelu_tanh, -9.0, -3.0), 1e3, 5e-9);
}

/* exp is reached through softmax's row of two: exp(x - 0), times 1 / (1 + exp x). */
static void test_exp(void **state) {
    (void)state;
    for (double x = -104.5; x < 0.0; x += 0.00317) {
        float row[2] = {(float)x, 0.0f};
        pare_kernels()->softmax(row, row, 2);
        double e = exp((double)(float)x), want = e / (1.0 + e);
        assert_true(fabs((double)row[0] - want) <= 3.0 * ulp_of(want));
    }
}

static void test_limits(void **state) {
    (void)state;
    const PareKernels *k;
    for (size_t v = 0; (k = pare_kernels_variant(v)) != NULL; v++)
        for (int act = 0; act < PARE_ACT_COUNT; act++) {
            float y[6], x[6] = {NAN, INFINITY, -0.0f, 0.0f, -1e30f, 1e30f};
            k->activate((PareActivation)act, y, x, 6);
            assert_true(isnan(y[0]));
            if (act == PARE_ACT_TANH || act == PARE_ACT_SIGMOID) {
                assert_true(y[1] == 1.0f && y[5] == 1.0f);
                assert_true(y[4] == (act == PARE_ACT_TANH ? -1.0f : 0.0f));
            } else {
                assert_true(isinf(y[1]) && y[5] == 1e30f);
                assert_true(y[4] == (act == PARE_ACT_IDENTITY ? -1e30f : 0.0f));
            }
            if (act != PARE_ACT_SIGMOID) {
                assert_true(y[2] == 0.0f && signbit(y[2]));
                assert_true(y[3] == 0.0f && !signbit(y[3]));
            }
        }
}

/* Every 8,209th float, of every exponent and both signs. */
static void test_comb(void **state) {
    (void)state;
    static float x[CHUNK], expected[CHUNK], got[CHUNK];
    const uint64_t step = 8209, end = (uint64_t)1 << 32;
    for (uint64_t bits = 0; bits < end; bits += step * CHUNK) {
        size_t count = 0;
        for (; count < CHUNK && bits + count * step < end; count++) {
            uint32_t word = (uint32_t)(bits + count * step);
            memcpy(&x[count], &word, sizeof word);
        }
        for (int act = PARE_ACT_RELU; act < PARE_ACT_COUNT; act++) {
            const PareKernels *k;
            SCALAR->activate((PareActivation)act, expected, x, count);
            for (VARIANTS(k)) {
                k->activate((PareActivation)act, got, x, count);
                assert_same_bits("activation over all floats", k->name, expected, got, count);
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tanh), cmocka_unit_test(test_sigmoid), cmocka_unit_test(test_gelu),
        cmocka_unit_test(test_exp),  cmocka_unit_test(test_limits),  cmocka_unit_test(test_comb),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
