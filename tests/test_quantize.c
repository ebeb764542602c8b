/* Quantized models: what is written, what is refused, and that results are the same bits alone or
 * in a batch and at every thread count. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "convert/convert.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/random.h"
#include "quantize/quantize.h"
#include "runtime/selftest.h"
#include "runtime/session.h"

enum { COUNT = 5, LENGTH = 13, ROWS_MAX = 1 << 16 };

/* How much the model magnifies errors: the T5 golden's unscaled scores of random weights make its
 * attention nearly discrete, in every format alike. */
static const struct {
    const char *name;
    double magnifies;
} MODELS[] = {{"bert-cls", 1}, {"bert-token-cls", 1}, {"gpt2-lm", 1}, {"bart", 1}, {"t5", 14}};

static const char *path_of(const char *what) {
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];
    const char *tmp = getenv("TMPDIR");
    snprintf(path, sizeof paths[0], "%s/quantize-%ld-%s", tmp ? tmp : "/tmp", (long)getpid(), what);
    return path;
}

static void ok(PareStatus st, const PareError *err) {
    if (st)
        print_error("%s\n", err->message);
    assert_int_equal(st, PARE_OK);
}

static void convert(const char *name, const char *out) {
    char folder[256];
    PareError err = {0};
    PareConvert *c;
    snprintf(folder, sizeof folder, "tests/data/goldens/%s", name);
    PareConvertOptions o = {.folder = folder, .no_tokenizer = true};
    ok(pare_convert_open(&o, &c, &err), &err);
    ok(pare_convert_write(c, out, true, NULL, &err), &err);
    pare_convert_close(c);
}

static PareStatus quantize(const char *in, const char *out, PareDtype to, PareError *err) {
    PareQuantizeTotals totals;
    PareQuantizeOptions o = {
        .input = in, .output = out, .to = to, .force = true, .self_test = true, .threads = 2};
    return pare_quantize(&o, &totals, err);
}

/* -- logits of a few random sequences -- */

typedef struct {
    float *values; /* [ROWS_MAX] */
    size_t count;
} Logits;

static PareStatus keep_row(void *context, size_t sequence, size_t row, const float *values,
                           size_t n, PareError *err) {
    Logits *l = context;
    (void)sequence, (void)row, (void)err;
    assert_true(l->count + n <= ROWS_MAX);
    memcpy(l->values + l->count, values, n * sizeof *values);
    l->count += n;
    return PARE_OK;
}

/* All sequences at once, or one by one. */
static Logits run(const char *path, size_t threads, bool together) {
    PareError err = {0};
    PareModel *m;
    PareSession *s;
    int32_t ids[COUNT][LENGTH];
    PareSequence q[COUNT];
    Logits l = {pare_alloc(ROWS_MAX, sizeof(float)), 0};
    assert_non_null(l.values);
    ok(pare_model_open(path, &m, &err), &err);
    ok(pare_session_create(m, threads, &s, &err), &err);
    const PareDescription *d = pare_model_description(m);
    bool both = d->stacks[PARE_ENCODER].present && d->stacks[PARE_DECODER].present;
    for (size_t i = 0; i < COUNT; i++) {
        for (size_t k = 0; k < LENGTH; k++)
            ids[i][k] = (int32_t)pare_random_below(7, i, k, 90);
        q[i] = (PareSequence){.ids = ids[i], .count = 1 + 3 * i};
        if (both) {
            q[i].decoder_ids = ids[COUNT - 1 - i];
            q[i].decoder_count = 2 + i;
        }
    }
    for (size_t i = 0; i < COUNT; i += together ? COUNT : 1)
        ok(pare_session_run(s, q + i, together ? COUNT : 1, PARE_ROWS_LOGITS, keep_row, &l, &err),
           &err);
    pare_session_destroy(s);
    pare_model_close(m);
    return l;
}

static void assert_same(const Logits *a, const Logits *b) {
    assert_int_equal(a->count, b->count);
    assert_memory_equal(a->values, b->values, a->count * sizeof *a->values);
}

static double relative_l2(const Logits *a, const Logits *b) {
    double difference = 0, norm = 0;
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        double d = (double)a->values[i] - (double)b->values[i];
        difference += d * d;
        norm += (double)a->values[i] * (double)a->values[i];
    }
    return sqrt(difference / norm);
}

static void check_type(const char *f32, const Logits *reference, PareDtype to, double bound) {
    PareError err = {0};
    const char *out = path_of("out.pare");
    ok(quantize(f32, out, to, &err), &err);
    Logits alone = run(out, 1, false);
    double error = relative_l2(reference, &alone);
    print_message("  %-4s relative error of the logits %.1e\n", pare_dtype_name(to), error);
    assert_true(error > 0 && error < bound);
    for (size_t threads = 1; threads <= 3; threads++) {
        Logits together = run(out, threads, true);
        assert_same(&alone, &together);
        pare_free(together.values);
    }
    pare_free(alone.values);
    unlink(out);
}

static void test_bits(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof MODELS / sizeof *MODELS; i++) {
        const char *f32 = path_of("f32.pare");
        double by = MODELS[i].magnifies;
        print_message("%s\n", MODELS[i].name);
        convert(MODELS[i].name, f32);
        Logits reference = run(f32, 1, true);
        check_type(f32, &reference, PARE_I8, by * 0.05);
        check_type(f32, &reference, PARE_F16, by * 2e-3);
        check_type(f32, &reference, PARE_BF16, by * 2e-2);
        pare_free(reference.values);
        unlink(f32);
    }
}

/* -- files -- */

static void test_same_bytes_twice(void **state) {
    (void)state;
    PareError err = {0};
    const char *f32 = path_of("f32.pare"), *a = path_of("a.pare"), *b = path_of("b.pare");
    char *x, *y;
    size_t n, m;
    convert("bart", f32);
    ok(quantize(f32, a, PARE_I8, &err), &err);
    ok(quantize(f32, b, PARE_I8, &err), &err);
    ok(pare_file_read(a, SIZE_MAX, &x, &n, &err), &err);
    ok(pare_file_read(b, SIZE_MAX, &y, &m, &err), &err);
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
    pare_free(x);
    pare_free(y);
    unlink(f32), unlink(a), unlink(b);
}

static void test_self_test(void **state) {
    (void)state;
    PareError err = {0};
    PareModel *m;
    PareSelfTestReport report;
    const char *f32 = path_of("f32.pare"), *q = path_of("q.pare");
    convert("t5", f32);
    ok(quantize(f32, q, PARE_I8, &err), &err);
    ok(pare_model_open(q, &m, &err), &err);
    ok(pare_selftest_run(m, 2, &report, &err), &err);
    assert_int_equal(report.sequences, 4);
    assert_int_equal(report.failed, 0);
    pare_model_close(m);
    ok(pare_model_open(f32, &m, &err), &err);
    assert_int_equal(pare_selftest_run(m, 1, &report, &err), PARE_E_UNSUPPORTED);
    pare_model_close(m);
    unlink(f32), unlink(q);
}

static PareDtype dtype_of(const char *path, const char *tensor) {
    PareError err = {0};
    PareFile *f;
    ok(pare_file_open(path, &f, &err), &err);
    const PareFileTensor *t = pare_file_find(f, tensor);
    assert_non_null(t);
    PareDtype found = t->dtype;
    pare_file_close(f);
    return found;
}

static void test_keep(void **state) {
    (void)state;
    PareError err = {0};
    PareQuantizeTotals totals;
    const char *f32 = path_of("f32.pare"), *q = path_of("q.pare");
    const PareKeepRule rules[] = {{"encoder.layers.0.*", PARE_F16}, {"*.ffn.*", PARE_F32}};
    PareQuantizeOptions o = {.input = f32,
                             .output = q,
                             .to = PARE_I8,
                             .keep = rules,
                             .keep_count = 2,
                             .force = true,
                             .self_test = true};
    convert("bert-cls", f32);
    ok(pare_quantize(&o, &totals, &err), &err);
    assert_int_equal(dtype_of(q, "encoder.layers.0.ffn.in.weight"), PARE_F16);
    assert_int_equal(dtype_of(q, "encoder.layers.1.ffn.in.weight"), PARE_F32);
    assert_int_equal(dtype_of(q, "encoder.layers.1.self.query.weight"), PARE_I8);
    assert_int_equal(dtype_of(q, "encoder.layers.0.self.norm.weight"), PARE_F32);
    assert_int_equal(dtype_of(q, "encoder.embed.positions"), PARE_F32);
    assert_true(totals.tensor_bytes_after < totals.tensor_bytes_before);
    unlink(f32), unlink(q);
}

/* A rule that names one of several tensors with the same values keeps the values, whichever of them
 * the file stores: BART's output matrix is its decoder's and its encoder's table. */
static void test_keep_shared(void **state) {
    static const char *const NAMES[] = {"head.output.*", "encoder.embed.*", "decoder.embed.*"};
    (void)state;
    PareError err = {0};
    PareQuantizeTotals totals;
    const char *f32 = path_of("f32.pare"), *q = path_of("q.pare");
    convert("bart", f32);
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        for (int self_test = 0; self_test <= 1; self_test++) {
            const PareKeepRule rule = {NAMES[i], PARE_F32};
            PareQuantizeOptions o = {.input = f32,
                                     .output = q,
                                     .to = PARE_I8,
                                     .keep = &rule,
                                     .keep_count = 1,
                                     .force = true,
                                     .self_test = self_test};
            ok(pare_quantize(&o, &totals, &err), &err);
            assert_int_equal(dtype_of(q, "head.output.weight"), PARE_F32);
            assert_int_equal(dtype_of(q, "encoder.embed.tokens"), PARE_F32);
            assert_int_equal(dtype_of(q, "decoder.layers.0.ffn.in.weight"), PARE_I8);
        }
    /* The first rule counts for all that share; the second one is left without a tensor. */
    const PareKeepRule rules[] = {{"encoder.embed.*", PARE_F16}, {"head.output.*", PARE_F32}};
    PareQuantizeOptions o = {.input = f32,
                             .output = q,
                             .to = PARE_I8,
                             .keep = rules,
                             .keep_count = 2,
                             .force = true,
                             .self_test = true};
    assert_int_equal(pare_quantize(&o, &totals, &err), PARE_E_USAGE);
    assert_non_null(strstr(err.message, "head.output.*"));
    unlink(f32), unlink(q);
}

static void refused(const PareQuantizeOptions *o, PareStatus status, const char *words) {
    PareError err = {0};
    PareQuantizeTotals totals;
    assert_int_equal(pare_quantize(o, &totals, &err), status);
    if (!strstr(err.message, words))
        print_error("message: %s\n", err.message);
    assert_non_null(strstr(err.message, words));
}

static void test_refusals(void **state) {
    (void)state;
    PareError err = {0};
    const char *f32 = path_of("f32.pare"), *q = path_of("q.pare"), *out = path_of("out.pare");
    const PareKeepRule nothing[] = {{"no.such.*", PARE_F32}};
    convert("bert-cls", f32);
    ok(quantize(f32, q, PARE_I8, &err), &err);
    PareQuantizeOptions o = {.input = q, .output = out, .to = PARE_F16};
    refused(&o, PARE_E_UNSUPPORTED, "already");
    o = (PareQuantizeOptions){.input = f32, .output = f32, .to = PARE_I8, .force = true};
    refused(&o, PARE_E_IO, "is the input");
    o = (PareQuantizeOptions){.input = f32, .output = q, .to = PARE_I8};
    refused(&o, PARE_E_IO, "exists");
    o = (PareQuantizeOptions){
        .input = f32, .output = out, .to = PARE_I8, .keep = nothing, .keep_count = 1};
    refused(&o, PARE_E_USAGE, "no.such.*");
    assert_false(pare_file_exists(out));
    unlink(f32), unlink(q);
}

static void test_keep_parse(void **state) {
    (void)state;
    PareError err = {0};
    PareKeepRule rule;
    char good[] = "head.*=fp16", bad[] = "head.*=fp17", empty[] = "=f32", none[] = "head";
    ok(pare_keep_parse(good, &rule, &err), &err);
    assert_string_equal(rule.glob, "head.*");
    assert_int_equal(rule.dtype, PARE_F16);
    assert_int_equal(pare_keep_parse(bad, &rule, &err), PARE_E_USAGE);
    assert_int_equal(pare_keep_parse(empty, &rule, &err), PARE_E_USAGE);
    assert_int_equal(pare_keep_parse(none, &rule, &err), PARE_E_USAGE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits),        cmocka_unit_test(test_same_bytes_twice),
        cmocka_unit_test(test_self_test),   cmocka_unit_test(test_keep),
        cmocka_unit_test(test_refusals),    cmocka_unit_test(test_keep_parse),
        cmocka_unit_test(test_keep_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
