/* Optimizers against PyTorch's trajectories (data/optimizers/make.py), step by step; that threads,
 * frozen neighbours and a checkpoint in the middle change nothing; rules that name tensors; and
 * schedules against the values that transformers' own test expects. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/json.h"
#include "core/memory.h"
#include "core/random.h"
#include "distill/optimizer.h"
#include "distill/schedule.h"

enum { SMALL = 25, GAP = 16, PADDED = 64 };

static const char *const tied[] = {"decoder.embed.tokens", "head.output.weight", NULL};

/* The tensors of the trajectories, with gaps between them as the blocks of models have. */
static PareParamGroups small_groups(PareParamTensor tensors[3]) {
    tensors[0] = (PareParamTensor){.name = "encoder.embed.tokens",
                                   .aliases = tied,
                                   .offset = 0,
                                   .rows = 3,
                                   .cols = 5,
                                   .dims = 2};
    tensors[1] = (PareParamTensor){
        .name = "encoder.norm.bias", .offset = GAP, .rows = 4, .cols = 1, .dims = 1};
    tensors[2] = (PareParamTensor){
        .name = "head.pool.weight", .offset = (size_t)2 * GAP, .rows = 1, .cols = 6, .dims = 2};
    PareParamGroups g = {tensors, 3};
    pare_param_groups_reset(&g);
    return g;
}

static void read_floats(const PareJson *list, const PareParamGroups *g, float block[PADDED]) {
    const PareJson *n = pare_json_first(list);
    for (size_t i = 0; i < PADDED; i++)
        block[i] = 0;
    for (size_t t = 0; t < g->count; t++)
        for (size_t i = 0; i < g->tensors[t].rows * g->tensors[t].cols; i++) {
            assert_non_null(n);
            block[g->tensors[t].offset + i] = (float)pare_json_number(n);
            n = pare_json_next(n);
        }
    assert_null(n);
}

/* Relative, but for values near 0, which are small differences of larger ones. */
static void assert_near(double found, double expected, double tolerance, const char *what) {
    if (!(fabs(found - expected) <= tolerance * fmax(fabs(expected), 0.1)))
        fail_msg("%s: found %.9g, expected %.9g", what, found, expected);
}

static double number(const PareJson *c, const char *key, double otherwise) {
    const PareJson *n = pare_json_get(c, key);
    return n ? pare_json_number(n) : otherwise;
}

static bool flag(const PareJson *c, const char *key, bool otherwise) {
    const PareJson *n = pare_json_get(c, key);
    return n ? pare_json_true(n) : otherwise;
}

static PareOptimizerOptions options_of(const PareJson *c) {
    const char *kind = pare_json_string(pare_json_get(c, "kind"));
    PareOptimizerOptions o =
        pare_optimizer_defaults(strcmp(kind, "adamw") == 0 ? PARE_OPTIMIZER_ADAMW
                                : strcmp(kind, "sgd") == 0 ? PARE_OPTIMIZER_SGD
                                                           : PARE_OPTIMIZER_ADAFACTOR);
    o.weight_decay = number(c, "weight_decay", o.weight_decay);
    o.beta1 = number(c, "beta1", o.beta1);
    o.beta2 = number(c, "beta2", o.beta2);
    o.eps = number(c, "eps", o.eps);
    o.momentum = number(c, "momentum", o.momentum);
    o.nesterov = flag(c, "nesterov", o.nesterov);
    o.clip_threshold = number(c, "clip_threshold", o.clip_threshold);
    o.decay_rate = number(c, "decay_rate", o.decay_rate);
    o.scale_parameter = flag(c, "scale_parameter", o.scale_parameter);
    o.relative_step = flag(c, "relative_step", o.relative_step);
    o.warmup_init = flag(c, "warmup_init", o.warmup_init);
    o.average = 0.9;
    return o;
}

static PareOptimizer *create(const PareOptimizerOptions *options, const PareParamGroups *g,
                             const float *weights, size_t size) {
    PareOptimizer *o;
    PareError err;
    if (pare_optimizer_create(options, g, weights, size, &o, &err))
        fail_msg("%s", err.message);
    return o;
}

static void assert_block(const PareParamGroups *g, const float found[PADDED],
                         const PareJson *expected, const char *what) {
    float wanted[PADDED];
    read_floats(expected, g, wanted);
    for (size_t i = 0; i < PADDED; i++)
        assert_near((double)found[i], (double)wanted[i], 1e-6, what);
}

/* Replaces the optimizer by one that got its state as a checkpoint would give it. */
static PareOptimizer *reborn(PareOptimizer *o, const PareOptimizerOptions *options,
                             const PareParamGroups *g, const float *weights) {
    PareOptimizerState old[PARE_OPTIMIZER_STATES], fresh[PARE_OPTIMIZER_STATES];
    PareOptimizer *n = create(options, g, weights, PADDED);
    size_t count = pare_optimizer_states(o, old);
    assert_int_equal(pare_optimizer_states(n, fresh), count);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(old[i].name, fresh[i].name);
        assert_int_equal(old[i].count, fresh[i].count);
        memcpy(fresh[i].values, old[i].values, old[i].count * sizeof *old[i].values);
    }
    pare_optimizer_set_steps(n, pare_optimizer_steps(o));
    pare_optimizer_destroy(o);
    return n;
}

static void follow(const PareJson *root, const PareJson *c) {
    PareParamTensor tensors[3];
    PareParamGroups g = small_groups(tensors);
    PareOptimizerOptions options = options_of(c);
    float weights[PADDED], gradients[PADDED], average[PADDED];
    read_floats(pare_json_get(root, "weights"), &g, weights);
    PareOptimizer *o = create(&options, &g, weights, PADDED);
    const PareJson *gradient = pare_json_first(pare_json_get(root, "gradients"));
    const PareJson *expected = pare_json_first(pare_json_get(c, "weights"));
    const PareJson *norm = pare_json_first(pare_json_get(c, "norms"));
    for (size_t step = 0; gradient; step++) {
        char what[64];
        snprintf(what, sizeof what, "%s, step %zu", pare_json_string(pare_json_get(c, "kind")),
                 step);
        read_floats(gradient, &g, gradients);
        double found = pare_optimizer_norm(o, gradients, NULL);
        assert_near(found, pare_json_number(norm), 1e-6, "norm");
        double scale = pare_optimizer_clip(found, number(c, "max_norm", 0));
        pare_optimizer_step(o, weights, gradients, scale, number(c, "rate", 0), NULL);
        assert_block(&g, weights, expected, what);
        if (step == 5)
            o = reborn(o, &options, &g, gradients);
        gradient = pare_json_next(gradient);
        expected = pare_json_next(expected);
        norm = pare_json_next(norm);
    }
    assert_int_equal(pare_optimizer_steps(o), 12);
    pare_optimizer_average(o, weights, average);
    assert_block(&g, average, pare_json_get(c, "average"), "average");
    pare_optimizer_destroy(o);
}

static void test_trajectories(void **state) {
    (void)state;
    PareJsonDoc *doc;
    PareError err;
    size_t cases = 0;
    assert_int_equal(pare_json_read("tests/data/optimizers/trajectories.json", &doc, &err), 0);
    const PareJson *root = pare_json_root(doc);
    const PareJson *c = pare_json_first(pare_json_get(root, "cases"));
    for (; c; c = pare_json_next(c), cases++)
        follow(root, c);
    assert_int_equal(cases, 9);
    pare_json_free(doc);
}

/* ---- Threads, frozen tensors, bad gradients -------------------------------------------------- */

enum { ROWS = 150, COLS = 333, LONG = 20000, LARGE = ROWS * COLS + LONG };

static PareParamGroups large_groups(PareParamTensor tensors[2]) {
    tensors[0] = (PareParamTensor){.name = "matrix", .rows = ROWS, .cols = COLS, .dims = 2};
    tensors[1] = (PareParamTensor){
        .name = "vector", .offset = (size_t)ROWS * COLS, .rows = LONG, .cols = 1, .dims = 1};
    PareParamGroups g = {tensors, 2};
    pare_param_groups_reset(&g);
    return g;
}

static void fill(float *x, size_t count, uint64_t stream) {
    for (size_t i = 0; i < count; i++)
        x[i] = pare_random_float(7, stream, i) - 0.5F;
}

static double train(const PareOptimizerOptions *options, ParePool *pool, float *weights,
                    float *gradients) {
    PareParamTensor tensors[2];
    PareParamGroups g = large_groups(tensors);
    double norm = 0;
    fill(weights, LARGE, 0);
    PareOptimizer *o = create(options, &g, weights, LARGE);
    for (uint64_t step = 1; step <= 3; step++) {
        fill(gradients, LARGE, step);
        norm = pare_optimizer_norm(o, gradients, pool);
        pare_optimizer_step(o, weights, gradients, pare_optimizer_clip(norm, 1), 1e-2, pool);
    }
    pare_optimizer_average(o, weights, gradients);
    pare_optimizer_destroy(o);
    return norm;
}

static void test_threads_change_nothing(void **state) {
    (void)state;
    ParePool *pool;
    PareError err;
    float *a = pare_alloc(LARGE, sizeof *a), *b = pare_alloc(LARGE, sizeof *b);
    float *average_a = pare_alloc(LARGE, sizeof *a), *average_b = pare_alloc(LARGE, sizeof *b);
    assert_int_equal(pare_pool_create(3, &pool, &err), PARE_OK);
    for (int kind = PARE_OPTIMIZER_ADAMW; kind <= PARE_OPTIMIZER_SGD; kind++) {
        PareOptimizerOptions options = pare_optimizer_defaults((PareOptimizerKind)kind);
        options.average = 0.5;
        double one = train(&options, NULL, a, average_a),
               many = train(&options, pool, b, average_b);
        assert_true(one == many && isfinite(one));
        assert_memory_equal(a, b, LARGE * sizeof *a);
        assert_memory_equal(average_a, average_b, LARGE * sizeof *a);
        assert_true(memcmp(a, average_a, LARGE * sizeof *a) != 0);
    }
    pare_pool_destroy(pool);
    pare_free(a);
    pare_free(b);
    pare_free(average_a);
    pare_free(average_b);
}

static void test_frozen_tensors(void **state) {
    (void)state;
    PareParamTensor tensors[3];
    PareParamGroups g = small_groups(tensors);
    PareError err;
    float weights[PADDED], gradients[PADDED], before[PADDED];
    assert_int_equal(pare_param_groups_trained(&g), SMALL);
    assert_int_equal(pare_param_groups_freeze(&g, "encoder.norm.*", &err), PARE_OK);
    assert_int_equal(pare_param_groups_lr_factor(&g, "head.pool.*=10", &err), PARE_OK);
    assert_int_equal(pare_param_groups_trained(&g), SMALL - 4);
    for (int kind = PARE_OPTIMIZER_ADAMW; kind <= PARE_OPTIMIZER_SGD; kind++) {
        PareOptimizerOptions options = pare_optimizer_defaults((PareOptimizerKind)kind);
        options.average = 0.9;
        fill(weights, PADDED, 1);
        fill(gradients, PADDED, 2);
        memcpy(before, weights, sizeof before);
        gradients[GAP + 1] = NAN; /* of the frozen tensor: nobody looks at it */
        PareOptimizer *o = create(&options, &g, weights, PADDED);
        assert_null(pare_optimizer_nonfinite(o, gradients));
        assert_true(isfinite(pare_optimizer_norm(o, gradients, NULL)));
        pare_optimizer_step(o, weights, gradients, 1, 1e-3, NULL);
        assert_memory_equal(weights + GAP, before + GAP, 4 * sizeof *weights);
        assert_memory_equal(weights + 2 * GAP + 6, before + 2 * GAP + 6, 10 * sizeof *weights);
        double one = (double)(before[0] - weights[0]);
        double ten = (double)(before[2 * GAP] - weights[2 * GAP]);
        if (kind == PARE_OPTIMIZER_SGD) {
            assert_near(one * 1e3, (double)gradients[0], 1e-3, "rate");
            assert_near(ten * 1e2, (double)gradients[2 * GAP], 1e-3, "rate times factor");
        } else if (kind == PARE_OPTIMIZER_ADAMW) {
            assert_near(fabs(ten / one), 10, 1e-3, "rate times factor");
        }
        gradients[2 * GAP + 3] = INFINITY;
        assert_string_equal(pare_optimizer_nonfinite(o, gradients), "head.pool.weight");
        assert_true(!isfinite(pare_optimizer_norm(o, gradients, NULL)));
        pare_optimizer_destroy(o);
    }
}

static void test_clip(void **state) {
    (void)state;
    assert_true(pare_optimizer_clip(0.5, 1) == 1 && pare_optimizer_clip(1e30, 0) == 1);
    assert_near(pare_optimizer_clip(4, 1), 0.25, 1e-6, "clip");
    assert_true(pare_optimizer_clip(1, 1) < 1); /* 1 / (1 + 1e-6), as the reference's */
}

/* ---- What is refused ------------------------------------------------------------------------- */

static void refused(const PareOptimizerOptions *options, const PareParamGroups *g,
                    const char *message) {
    float weights[PADDED] = {0};
    PareOptimizer *o;
    PareError err;
    assert_int_equal(pare_optimizer_create(options, g, weights, PADDED, &o, &err), PARE_E_USAGE);
    assert_null(o);
    if (!strstr(err.message, message))
        fail_msg("found \"%s\", expected \"%s\"", err.message, message);
}

static void test_refused(void **state) {
    (void)state;
    PareParamTensor tensors[3];
    PareParamGroups g = small_groups(tensors);
    PareOptimizerOptions options = pare_optimizer_defaults(PARE_OPTIMIZER_ADAMW);
    PareError err;
    options.beta2 = 1;
    refused(&options, &g, "beta2 is 1");
    options = pare_optimizer_defaults(PARE_OPTIMIZER_SGD);
    options.weight_decay = NAN;
    refused(&options, &g, "weight decay is nan");
    options = pare_optimizer_defaults(PARE_OPTIMIZER_SGD);
    tensors[1].offset = 14;
    refused(&options, &g, "'encoder.norm.bias' of 4 x 1 values at 14 overlaps");
    tensors[1].offset = 16;
    tensors[2].rows = SIZE_MAX / 2;
    refused(&options, &g, "'head.pool.weight'");
    g = small_groups(tensors);
    assert_int_equal(pare_param_groups_freeze(&g, "*", &err), PARE_OK);
    refused(&options, &g, "every tensor is frozen");
}

static void test_rules(void **state) {
    (void)state;
    PareParamTensor tensors[3];
    PareParamGroups g = small_groups(tensors);
    PareError err;
    assert_true(tensors[0].decay && !tensors[1].decay && tensors[2].decay);
    /* A tensor goes by all of its names. */
    assert_int_equal(pare_param_groups_lr_factor(&g, "head.*=0.5", &err), PARE_OK);
    assert_true(tensors[0].lr_factor == 0.5 && tensors[1].lr_factor == 1);
    assert_int_equal(pare_param_groups_lr_factor(&g, "*.tokens=2", &err), PARE_OK);
    assert_true(tensors[0].lr_factor == 2 && tensors[2].lr_factor == 0.5);
    assert_int_equal(pare_param_groups_no_decay(&g, "decoder.*", &err), PARE_OK);
    assert_true(!tensors[0].decay && tensors[2].decay);
    assert_int_equal(pare_param_groups_freeze(&g, "encoder", &err), PARE_E_USAGE);
    assert_string_equal(err.message, "--freeze 'encoder': no tensor of the model has such a name");
    assert_int_equal(pare_param_groups_no_decay(&g, "x*", &err), PARE_E_USAGE);
    static const char *const bad[] = {"head.*",    "=1",         "head.*=", "head.*=0",
                                      "head.*=-1", "head.*=nan", "x*=1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(pare_param_groups_lr_factor(&g, bad[i], &err), PARE_E_USAGE);
    assert_true(tensors[2].lr_factor == 0.5);
}

static void test_memory(void **state) {
    (void)state;
    PareParamTensor tensors[3];
    PareParamGroups g = small_groups(tensors);
    PareOptimizerOptions options = pare_optimizer_defaults(PARE_OPTIMIZER_ADAFACTOR);
    float weights[PADDED] = {0};
    PareOptimizer *o = NULL;
    PareError err;
    uint64_t n = 1;
    options.average = 0.9;
    for (; !o; n++) {
        pare_memory_fail_after(n);
        PareStatus status = pare_optimizer_create(&options, &g, weights, PADDED, &o, &err);
        pare_memory_fail_after(0);
        assert_true(status == (o ? PARE_OK : PARE_E_MEMORY));
    }
    assert_true(n > 5);
    pare_optimizer_destroy(o);
}

/* ---- Schedules ------------------------------------------------------------------------------- */

static void assert_schedule(const PareSchedule *s, const double expected[10]) {
    PareError err;
    assert_int_equal(pare_schedule_check(s, &err), PARE_OK);
    for (uint64_t i = 0; i < 10; i++)
        if (!(fabs(10 * pare_schedule_factor(s, i) - expected[i]) <= 0.011))
            fail_msg("step %d: found %g, expected %g", (int)i, 10 * pare_schedule_factor(s, i),
                     expected[i]);
}

static void test_schedules(void **state) {
    (void)state;
    static const double constant[] = {0, 2.5, 5, 7.5, 10, 10, 10, 10, 10, 10};
    static const double linear[] = {0, 5, 10, 8.75, 7.5, 6.25, 5, 3.75, 2.5, 1.25};
    static const double cosine[] = {0, 5, 10, 9.61, 8.53, 6.91, 5, 3.08, 1.46, 0.38};
    static const double least[] = {10, 9.55, 9.1, 8.65, 8.2, 7.75, 7.3, 6.85, 6.4, 5.95};
    PareSchedule s = {.kind = PARE_SCHEDULE_CONSTANT, .total = 10, .warmup_steps = 4};
    assert_schedule(&s, constant);
    s = (PareSchedule){.kind = PARE_SCHEDULE_LINEAR, .total = 10, .warmup_share = 0.15};
    assert_int_equal(pare_schedule_warmup(&s), 2); /* rounded up */
    assert_schedule(&s, linear);
    assert_true(pare_schedule_factor(&s, 10) == 0 && pare_schedule_factor(&s, 1000) == 0);
    s.kind = PARE_SCHEDULE_COSINE;
    assert_schedule(&s, cosine);
    s = (PareSchedule){.kind = PARE_SCHEDULE_LINEAR, .total = 10, .min_ratio = 0.55};
    assert_schedule(&s, least);
    assert_true(pare_schedule_factor(&s, 10) == 0.55);
}

static void test_bad_schedules(void **state) {
    (void)state;
    PareError err;
    PareSchedule s = {.total = 10, .warmup_steps = 11};
    assert_int_equal(pare_schedule_check(&s, &err), PARE_E_USAGE);
    s = (PareSchedule){.total = 10, .warmup_share = 1.5};
    assert_int_equal(pare_schedule_check(&s, &err), PARE_E_USAGE);
    s = (PareSchedule){.total = 10, .min_ratio = NAN};
    assert_int_equal(pare_schedule_check(&s, &err), PARE_E_USAGE);
    /* A run that is nothing but warm-up, and one of no steps, divide by nothing. */
    s = (PareSchedule){.kind = PARE_SCHEDULE_LINEAR, .total = 3, .warmup_steps = 3};
    assert_true(pare_schedule_factor(&s, 3) == 0);
    s = (PareSchedule){.kind = PARE_SCHEDULE_COSINE};
    assert_true(pare_schedule_factor(&s, 0) == 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_trajectories),   cmocka_unit_test(test_threads_change_nothing),
        cmocka_unit_test(test_frozen_tensors), cmocka_unit_test(test_clip),
        cmocka_unit_test(test_refused),        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_memory),         cmocka_unit_test(test_schedules),
        cmocka_unit_test(test_bad_schedules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
