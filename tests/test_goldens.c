/* Small checkpoints with PyTorch's own outputs: converted, run, compared.
 *
 * Every folder of tests/data/goldens holds a model as save_pretrained left it and a golden.json
 * with inputs, float32 outputs and the ids of generate() under several settings. Logits must agree
 * within 1e-4 of the largest absolute value (2e-4 at least), ids exactly, beam scores within 1e-4.
 */
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
#include "core/json.h"
#include "core/memory.h"
#include "runtime/session.h"

enum { MAX_ROWS = 8 };

/* A {shape, data} object of the golden as floats. */
typedef struct {
    size_t rows, columns; /* the first dimension; the product of the others */
    double *data;
} Array;

typedef struct {
    PareJsonDoc *doc;
    const PareJson *root;
    PareModel *model;
    PareSession *session;
    PareArena *arena;
    size_t count;
    PareSequence sequences[MAX_ROWS];
    int32_t *kept[MAX_ROWS]; /* columns of the batch that the packed rows came from */
} Golden;

static void ok(PareStatus st, const PareError *err) {
    if (st)
        print_error("%s\n", err->message);
    assert_int_equal(st, PARE_OK);
}

static bool read_array(const Golden *g, const PareJson *parent, const char *key, Array *out) {
    const PareJson *n = pare_json_get(parent, key);
    if (!n)
        return false;
    const PareJson *shape = pare_json_get(n, "shape"), *data = pare_json_get(n, "data");
    size_t count = pare_json_size(data), i = 0;
    out->rows = (size_t)pare_json_integer(pare_json_first(shape));
    out->columns = count / out->rows;
    out->data = pare_arena_alloc(g->arena, count, sizeof *out->data);
    assert_non_null(out->data);
    for (const PareJson *v = pare_json_first(data); v; v = pare_json_next(v))
        out->data[i++] = pare_json_number(v);
    assert_int_equal(i, out->rows * out->columns);
    return true;
}

/* The row of `a` without masked columns. */
static int32_t *pick(const Golden *g, const Array *a, const Array *mask, size_t row, size_t *count,
                     int32_t **kept) {
    int32_t *ids = pare_arena_alloc(g->arena, a->columns, sizeof *ids);
    int32_t *columns = pare_arena_alloc(g->arena, a->columns, sizeof *columns);
    assert_true(ids && columns);
    size_t n = 0;
    for (size_t c = 0; c < a->columns; c++) {
        if (mask && mask->data[row * a->columns + c] == 0)
            continue;
        columns[n] = (int32_t)c;
        ids[n++] = (int32_t)a->data[row * a->columns + c];
    }
    *count = n;
    if (kept)
        *kept = columns;
    return ids;
}

static void read_inputs(Golden *g) {
    Array ids, mask, types, decoder;
    const PareJson *inputs = pare_json_get(g->root, "inputs");
    assert_true(read_array(g, inputs, "input_ids", &ids));
    bool masked = read_array(g, inputs, "attention_mask", &mask);
    bool typed = read_array(g, inputs, "token_type_ids", &types);
    bool decodes = read_array(g, inputs, "decoder_input_ids", &decoder);
    g->count = ids.rows;
    assert_in_range(g->count, 1, MAX_ROWS);
    for (size_t i = 0; i < g->count; i++) {
        PareSequence *q = &g->sequences[i];
        size_t same;
        q->ids = pick(g, &ids, masked ? &mask : NULL, i, &q->count, &g->kept[i]);
        if (typed)
            q->types = pick(g, &types, masked ? &mask : NULL, i, &same, NULL);
        if (decodes)
            q->decoder_ids = pick(g, &decoder, NULL, i, &q->decoder_count, NULL);
    }
}

static void open_golden(Golden *g, const char *name) {
    PareError err = {0};
    char folder[256], file[320], path[512];
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "tests/data/goldens/%s", name);
    snprintf(file, sizeof file, "%s/golden.json", folder);
    snprintf(path, sizeof path, "%s/golden-%ld.pare", tmp ? tmp : "/tmp", (long)getpid());
    PareConvertOptions o = {.folder = folder, .no_tokenizer = true};
    PareConvert *c;
    *g = (Golden){.arena = pare_arena_create(0)};
    ok(pare_convert_open(&o, &c, &err), &err);
    ok(pare_convert_write(c, path, true, NULL, &err), &err);
    pare_convert_close(c);
    ok(pare_model_open(path, &g->model, &err), &err);
    ok(pare_session_create(g->model, 2, &g->session, &err), &err);
    unlink(path);
    ok(pare_json_read(file, &g->doc, &err), &err);
    g->root = pare_json_root(g->doc);
    read_inputs(g);
}

static void close_golden(Golden *g) {
    pare_session_destroy(g->session);
    pare_model_close(g->model);
    pare_json_free(g->doc);
    pare_arena_destroy(g->arena);
}

/* -- outputs -- */

typedef struct {
    const Golden *g;
    const Array *expected;
    size_t part, parts; /* of span heads: start or end */
    bool per_sequence, columns_of_encoder;
    double largest, worst;
    size_t seen;
} Compare;

static PareStatus compare_row(void *context, size_t sequence, size_t row, const float *values,
                              size_t n, PareError *err) {
    Compare *c = context;
    size_t column = c->columns_of_encoder ? (size_t)c->g->kept[sequence][row] : row;
    size_t width = c->parts > 1 ? 1 : n;
    const double *expected = c->expected->data + sequence * c->expected->columns +
                             (c->per_sequence ? 0 : column * width);
    (void)err;
    for (size_t i = 0; i < width; i++) {
        double d = fabs((double)values[c->parts > 1 ? c->part : i] - expected[i]);
        c->worst = d > c->worst || isnan(d) ? d : c->worst;
    }
    c->seen++;
    return PARE_OK;
}

static void compare(const Golden *g, const char *key, PareRowKind kind, size_t part, size_t parts) {
    Array expected;
    PareError err = {0};
    if (!read_array(g, pare_json_get(g->root, "expected"), key, &expected))
        return;
    const PareDescription *d = pare_model_description(g->model);
    bool decoder = d->stacks[PARE_DECODER].present && kind != PARE_ROWS_ENCODER;
    Compare c = {.g = g, .expected = &expected, .part = part, .parts = parts};
    c.per_sequence = kind == PARE_ROWS_POOLED ||
                     (kind == PARE_ROWS_LOGITS && d->head.kind == PARE_HEAD_SEQUENCE);
    c.columns_of_encoder = !c.per_sequence && (!decoder || !d->stacks[PARE_ENCODER].present);
    for (size_t i = 0; i < expected.rows * expected.columns; i++)
        c.largest = fmax(c.largest, fabs(expected.data[i]));
    ok(pare_session_run(g->session, g->sequences, g->count, kind, compare_row, &c, &err), &err);
    double limit = fmax(1e-4 * c.largest, 2e-4);
    print_message("  %-24s worst %.1e, limit %.1e, %zu rows\n", key, c.worst, limit, c.seen);
    assert_true(c.seen >= g->count);
    assert_true(c.worst <= limit);
}

/* -- generation -- */

/* Padded behind its end token; with that one where the reference did not find the pad token. */
static void compare_padding(int32_t found, const PareGeneration *s) {
    if (s->eos.count == 0 || found != s->eos.ids[0])
        assert_int_equal(found, s->pad);
}

static void compare_ids(const PareJson *row, const PareGenerated *found, const PareGeneration *s) {
    const PareJson *ids = pare_json_get(row, "ids");
    size_t i = 0;
    for (const PareJson *n = pare_json_first(ids); n; n = pare_json_next(n), i++) {
        int32_t expected = (int32_t)pare_json_integer(n);
        if (i < found->count)
            assert_int_equal(found->ids[i], expected);
        else
            compare_padding(expected, s);
    }
    assert_true(i >= found->count);
    const PareJson *score = pare_json_get_set(row, "score");
    if (score)
        assert_true(fabs(pare_json_number(score) - found->score) <= 1e-4);
}

static void compare_setting(const Golden *g, const PareJson *setting) {
    PareError err = {0};
    PareGeneration s = *pare_model_generation(g->model);
    PareSequence prompts[MAX_ROWS];
    PareGenerated out[MAX_ROWS];
    bool encoder = pare_model_description(g->model)->stacks[PARE_ENCODER].present;
    ok(pare_generation_read(&s, pare_json_get(setting, "settings"), "golden", g->arena, &err),
       &err);
    for (size_t i = 0; i < g->count; i++) {
        prompts[i] = g->sequences[i];
        if (!encoder)
            prompts[i].count = 5; /* decoder-only rows continue their first five columns */
    }
    ok(pare_session_generate(g->session, prompts, g->count, &s, out, &err), &err);
    size_t i = 0;
    for (const PareJson *r = pare_json_first(pare_json_get(setting, "rows")); r;
         r = pare_json_next(r))
        compare_ids(r, &out[i++], &s);
    assert_int_equal(i, g->count);
}

static void check_golden(void **state) {
    Golden g;
    open_golden(&g, *state);
    print_message("%s\n", (const char *)*state);
    compare(&g, "logits", PARE_ROWS_LOGITS, 0, 1);
    compare(&g, "start_logits", PARE_ROWS_LOGITS, 0, 2);
    compare(&g, "end_logits", PARE_ROWS_LOGITS, 1, 2);
    compare(&g, "pooler_output", PARE_ROWS_POOLED, 0, 1);
    compare(&g, "last_hidden_state", PARE_ROWS_HIDDEN, 0, 1);
    compare(&g, "encoder_last_hidden_state", PARE_ROWS_ENCODER, 0, 1);
    size_t settings = 0;
    const PareJson *list = pare_json_get(g.root, "generate");
    for (const PareJson *n = pare_json_first(list); n; n = pare_json_next(n), settings++)
        compare_setting(&g, n);
    print_message("  %zu settings of generate()\n", settings);
    close_golden(&g);
}

int main(void) {
    static const char *const NAMES[] = {
        "bert-cls",   "bert-mlm",  "bert-model", "bert-qa",   "bert-token-cls",
        "gpt2-lm",    "bart",      "marian",     "t5",        "t5-v1_1",
        "bert2bert",  "bert2gpt",  "bertshare",  "v5-bart",   "v5-bert-cls",
        "v5-gpt2-lm", "v5-marian", "v5-t5",      "v5-t5-v1_1"};
    enum { COUNT = sizeof NAMES / sizeof *NAMES };
    struct CMUnitTest tests[COUNT];
    for (size_t i = 0; i < COUNT; i++)
        tests[i] =
            (struct CMUnitTest){NAMES[i], check_golden, NULL, NULL, (void *)(uintptr_t)NAMES[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
