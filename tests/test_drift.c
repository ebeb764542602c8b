/* Distances between logits, and the statistics of scores. Expected figures were computed with exact
 * or 40-digit arithmetic in Python from the formulas of docs/verify.md. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "verify/drift.h"
#include "verify/statistics.h"

static void assert_near(double found, double expected, double tolerance) {
    if (!(fabs(found - expected) <= tolerance * (1 + fabs(expected))))
        fail_msg("found %.17g, expected %.17g", found, expected);
}

static const float reference[3][7] = {
    {7.375f, -4.375f, 11.1875f, -1.0625f, 9.5625f, 11.125f, 8.3125f},
    {4.4375f, -11.625f, 2.375f, 12.3125f, -4.5625f, 8.25f, -10.875f},
    {-7.5f, -8.9375f, -0.625f, 2.5f, -4.625f, -0.375f, 4.875f}};
static const float candidate[3][7] = {
    {7.15625f, -4.125f, 11.109375f, -1.375f, 9.453125f, 11.21875f, 8.265625f},
    {4.296875f, -11.5625f, 2.21875f, 12.0625f, -4.75f, 8.546875f, -10.578125f},
    {-7.375f, -9.125f, -0.8125f, 2.1875f, -4.9375f, -0.484375f, -15.234375f}};

static void test_figures(void **state) {
    (void)state;
    PareDrift d = {0};
    for (int i = 0; i < 3; i++)
        pare_drift_add(&d, reference[i], candidate[i], 7);
    PareDriftResult r = pare_drift_result(&d);
    assert_int_equal(r.rows, 3);
    assert_int_equal(r.values, 21);
    assert_int_equal(r.broken + r.undefined + r.broken_rows, 0);
    assert_true(r.max_abs == 20.109375);
    assert_near(r.mean_abs, 1.1354166666666667, 1e-15);
    assert_near(r.relative_l2, 0.5832111503577752, 1e-15);
    assert_near(r.cosine, 0.7778462405722744, 1e-15);
    assert_near(r.kl, 5.201237511821719, 1e-14);
    assert_near(r.top1_agreement, 1.0 / 3, 1e-15);
}

static void test_each_row(void **state) {
    (void)state;
    static const double kl[3] = {0.004018439763888845, 0.002986648280572561, 15.596707447420696};
    static const size_t best_a[3] = {2, 3, 6}, best_b[3] = {5, 3, 3};
    for (int i = 0; i < 3; i++) {
        PareDriftRow row;
        pare_drift_measure(reference[i], candidate[i], 7, &row);
        assert_near(row.kl, kl[i], 1e-14);
        assert_int_equal(row.agree, i == 1);
        double sum_a = 0, sum_b = 0;
        for (int k = 0; k < 7; k++) {
            sum_a += exp((double)reference[i][k]);
            sum_b += exp((double)candidate[i][k]);
        }
        assert_near(row.reference_log_sum, log(sum_a), 1e-14);
        assert_near(row.candidate_log_sum, log(sum_b), 1e-14);
        assert_int_equal(row.reference_best, best_a[i]);
        assert_int_equal(row.candidate_best, best_b[i]);
    }
}

/* More values than one block, and not a multiple of it. */
static void test_long_row(void **state) {
    (void)state;
    enum { N = 1000 };
    float a[N], b[N];
    for (int i = 0; i < N; i++) {
        a[i] = (float)((i * 37) % 101) / 8 - 6;
        b[i] = a[i] + (float)((i * 53) % 17 - 8) / 32;
    }
    PareDriftRow row;
    pare_drift_measure(a, b, N, &row);
    assert_near(row.kl, 0.011658522098914523, 1e-14);
    assert_near(row.cosine, 0.9991250897328325, 1e-14);
}

static void test_same_model(void **state) {
    (void)state;
    PareDrift d = {0};
    for (int i = 0; i < 3; i++)
        pare_drift_add(&d, reference[i], reference[i], 7);
    PareDriftResult r = pare_drift_result(&d);
    assert_true(r.max_abs == 0 && r.mean_abs == 0 && r.relative_l2 == 0 && r.kl == 0);
    assert_near(r.cosine, 1, 1e-15);
    assert_true(r.top1_agreement == 1);
}

/* The softmax of huge and of far apart values must neither overflow nor lose the divergence. */
static void test_extremes(void **state) {
    (void)state;
    const float a[3] = {3e38f, -3e38f, 0}, b[3] = {-3e38f, 3e38f, 0};
    PareDriftRow row;
    pare_drift_measure(a, a, 3, &row);
    assert_true(row.kl == 0 && row.agree);
    pare_drift_measure(a, b, 3, &row);
    assert_true(row.kl > 5.9e38 && row.kl < 6.1e38 && !row.agree);
    assert_near(row.cosine, -1, 1e-15);
    const float near[2] = {1000, 1000}, shifted[2] = {-1000, -1000};
    pare_drift_measure(near, shifted, 2, &row);
    assert_true(row.kl == 0 && row.max_abs == 2000);
}

/* A divergence is never negative, whatever rounding does to nearly equal rows. */
static void test_not_negative(void **state) {
    (void)state;
    uint32_t seed = 1;
    for (int i = 0; i < 1000; i++) {
        float a[3], b[3];
        for (int k = 0; k < 3; k++) {
            seed = seed * 1664525u + 1013904223u;
            a[k] = (float)(seed >> 24) / 16;
            b[k] = a[k] + 1.5f;
        }
        b[0] += 1e-6f;
        PareDriftRow row;
        pare_drift_measure(a, b, 3, &row);
        assert_true(row.kl >= 0 && row.kl < 1e-12);
    }
}

static void test_broken_candidate(void **state) {
    (void)state;
    float bad[7];
    PareDrift d = {0};
    memcpy(bad, candidate[1], sizeof bad);
    bad[0] = NAN;
    bad[4] = -INFINITY;
    pare_drift_add(&d, reference[0], candidate[0], 7);
    pare_drift_add(&d, reference[1], bad, 7);
    PareDriftResult r = pare_drift_result(&d);
    assert_int_equal(r.broken, 2);
    assert_int_equal(r.undefined, 0);
    assert_int_equal(r.broken_rows, 1);
    assert_int_equal(r.rows, 2);
    assert_int_equal(r.values, 12);
    assert_near(r.kl, 0.004018439763888845, 1e-14); /* the clean row alone */
    assert_true(r.top1_agreement == 0);             /* row 0 differs, row 1 is broken */
    PareDriftRow row;
    pare_drift_measure(reference[1], bad, 7, &row);
    assert_true(isnan(row.candidate_log_sum));
    assert_near(row.reference_log_sum, 12.3125 + log1p(exp(-4.0625) + exp(-7.875) + exp(-9.9375)),
                1e-6);
}

static void test_masked_values(void **state) {
    (void)state;
    /* -infinity in both: no probability, no difference. */
    const float a[3] = {1, -INFINITY, 2}, b[3] = {1, -INFINITY, 3};
    PareDriftRow row;
    pare_drift_measure(a, b, 3, &row);
    assert_int_equal(row.values, 2);
    assert_int_equal(row.broken + row.undefined, 0);
    double p = 1 / (1 + exp(-1.0)), q = 1 / (1 + exp(-2.0));
    assert_near(row.kl, p * log(p / q) + (1 - p) * log((1 - p) / (1 - q)), 1e-14);
    /* In one only, or NaN: not comparable. */
    const float one[3] = {1, 0, 2}, none[3] = {1, NAN, 2};
    pare_drift_measure(a, one, 3, &row);
    assert_int_equal(row.undefined, 1);
    assert_near(row.candidate_log_sum, log(exp(1) + 1 + exp(2)), 1e-14);
    assert_near(row.reference_log_sum, log(exp(1) + exp(2)), 1e-14);
    pare_drift_measure(none, none, 3, &row);
    assert_int_equal(row.undefined, 1);
    assert_false(row.agree);
}

static void test_zeros_and_nothing(void **state) {
    (void)state;
    const float zero[2] = {0, 0}, one[2] = {1, 0};
    PareDriftRow row;
    pare_drift_measure(zero, zero, 2, &row);
    assert_true(row.cosine == 1);
    pare_drift_measure(zero, one, 2, &row);
    assert_true(row.cosine == 0);
    PareDrift d = {0};
    PareDriftResult r = pare_drift_result(&d);
    assert_true(isnan(r.mean_abs) && isnan(r.cosine) && isnan(r.kl) && isnan(r.max_abs) &&
                isnan(r.relative_l2) && isnan(r.top1_agreement));
    pare_drift_add(&d, zero, one, 2);
    assert_true(isinf(pare_drift_result(&d).relative_l2));
}

/* The first of equal values counts in both rows. */
static void test_ties(void **state) {
    (void)state;
    const float a[3] = {1, 2, 2}, b[3] = {2, 2, 1}, c[3] = {0, 5, 5};
    PareDriftRow row;
    pare_drift_measure(a, b, 3, &row);
    assert_false(row.agree);
    pare_drift_measure(a, c, 3, &row);
    assert_true(row.agree);
}

static void test_wilson(void **state) {
    (void)state;
    static const struct {
        uint64_t hits, total;
        double low, high;
    } cases[] = {
        {745, 872, 0.829390534534803965, 0.876216620477162085},
        {0, 10, 0, 0.277532799862889253},
        {10, 10, 0.722467200137110747, 1},
        {1, 2, 0.094531205734230713, 0.905468794265769287},
        {83, 100, 0.744519952323988736, 0.891064338859400712},
        {500000, 1000000, 0.499020019890004784, 0.500979980109995216},
        {0, 0, 0, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        PareInterval w = pare_statistics_wilson(cases[i].hits, cases[i].total);
        assert_near(w.low, cases[i].low, 1e-15);
        assert_near(w.high, cases[i].high, 1e-15);
    }
}

static void test_mcnemar(void **state) {
    (void)state;
    static const struct {
        uint64_t a, b;
        double p;
    } cases[] = {
        {0, 0, 1},
        {0, 1, 1},
        {0, 6, 0.03125},
        {1, 9, 0.021484375},
        {9, 1, 0.021484375},
        {5, 15, 0.04138946533203125},
        {30, 12, 0.007915897334896727},
        {500, 600, 0.0028195449914364275},
        {10, 10, 1},
        {3, 2, 1},
        {1000, 1001, 1},
        {2000, 1700, 8.738822275817884e-07},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        double p = pare_statistics_mcnemar(cases[i].a, cases[i].b);
        assert_true(p <= 1);
        if (!(fabs(p - cases[i].p) <= (cases[i].p < 1 ? 1e-10 * cases[i].p : 0)))
            fail_msg("%d, %d: %.17g", (int)cases[i].a, (int)cases[i].b, p);
    }
}

static void test_perplexity(void **state) {
    (void)state;
    assert_near(pare_statistics_perplexity(4 * log(46.5), 4), 46.5, 1e-14);
    assert_true(isnan(pare_statistics_perplexity(0, 0)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_figures),
        cmocka_unit_test(test_each_row),
        cmocka_unit_test(test_long_row),
        cmocka_unit_test(test_same_model),
        cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_not_negative),
        cmocka_unit_test(test_broken_candidate),
        cmocka_unit_test(test_masked_values),
        cmocka_unit_test(test_zeros_and_nothing),
        cmocka_unit_test(test_ties),
        cmocka_unit_test(test_wilson),
        cmocka_unit_test(test_mcnemar),
        cmocka_unit_test(test_perplexity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
