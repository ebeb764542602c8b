/* How much worse a candidate may be: what the option says, and when it is exceeded. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "verify/verify.h"

static void test_limits(void **state) {
    (void)state;
    PareVerifyOptions o = {.candidate = "small.pare"};
    PareError err;
    assert_int_equal(pare_verify_limit_parse("accuracy=0.5", &o.limits, &err), PARE_OK);
    assert_int_equal(pare_verify_limit_parse("bleu=0", &o.limits, &err), PARE_OK);
    assert_int_equal(pare_verify_limit_parse("perplexity=1e1", &o.limits, &err), PARE_OK);
    assert_true(o.limits.drop[PARE_METRIC_PERPLEXITY] == 10);
    static const char *const wrong[] = {"accuracy",     "accuracy=", "accuracy=x", "accuracy=-1",
                                        "accuracy=nan", "f1=1",      "=1",         "",
                                        "accuracy=1",   "accurac=1", "accuracys=1"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(pare_verify_limit_parse(wrong[i], &o.limits, &err), PARE_E_USAGE);
    PareVerifyReport r = {.reference = {.value = {0.9, 40, 20}},
                          .candidate = {.value = {0.9, 40, 21.9}}};
    assert_int_equal(pare_verify_check(&o, &r, &err), PARE_OK);
    r.candidate.value[PARE_METRIC_ACCURACY] = 0.8949;
    assert_int_equal(pare_verify_check(&o, &r, &err), PARE_E_LIMIT);
    assert_string_equal(err.message,
                        "small.pare: accuracy went from 90 to 89.49, 0.51 points worse than the "
                        "reference; at most 0.5 points allowed");
    r.candidate.value[PARE_METRIC_ACCURACY] = 0.8951;
    assert_int_equal(pare_verify_check(&o, &r, &err), PARE_OK);
    r.candidate.value[PARE_METRIC_BLEU] = 39.99;
    r.candidate.value[PARE_METRIC_PERPLEXITY] = 22.1;
    assert_int_equal(pare_verify_check(&o, &r, &err), PARE_E_LIMIT);
    assert_non_null(strstr(err.message, "bleu went from 40 to 39.99, 0.01 points"));
    assert_non_null(strstr(err.message, "perplexity went from 20 to 22.1, 10.5 % worse"));
    r.candidate.value[PARE_METRIC_BLEU] = 41;
    r.candidate.value[PARE_METRIC_PERPLEXITY] = NAN;
    assert_int_equal(pare_verify_check(&o, &r, &err), PARE_E_LIMIT);
    assert_null(strstr(err.message, "bleu"));
    assert_int_equal(pare_error_exit_code(PARE_E_LIMIT), 3);
    r = (PareVerifyReport){.drift = {.broken = 2, .broken_rows = 1, .undefined = 3}};
    o.limits = (PareVerifyLimits){0};
    assert_int_equal(pare_verify_check(&o, &r, &err), PARE_E_LIMIT);
    assert_string_equal(err.message, "small.pare: 2 logits in 1 rows are NaN or infinite in the "
                                     "candidate alone; 3 logits are NaN or infinite in the "
                                     "reference already");
    r.drift.broken = 0;
    assert_int_equal(pare_verify_check(&o, &r, &err), PARE_E_LIMIT);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_limits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
