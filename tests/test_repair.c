/* Repair: what can be mended exactly is (copies of units, heads that depend on each other, copies
 * of layers' work), the error on the calibration rows never grows, and neither threads nor a lack
 * of variation change what comes out. Scores by reconstruction: copies go first. */
#include <math.h>

#include "core/random.h"
#include "prune/reconstruct.h"
#include "prune/repair.h"
#include "prune/repair_solve.h"
#include "runtime/session.h"
#include "tests/test_export_common.h"

enum { ITEMS = 40, LONGEST = 12, WORDS = 96 };

/* -- a model, its calibration rows, and a cut -- */

typedef struct {
    PareModel *model;
    PareWeights *weights;
    ParePruneData data;
    ParePrunePlan plan;
    PareSlices *slices;
    PareRepair *repair;
    PareError err;
} Case;

typedef void (*Edit)(const char *name, float *values, size_t rows, size_t cols);

static int32_t word(uint64_t stream, uint64_t index) {
    return (int32_t)pare_random_below(5, stream, index, WORDS);
}

static void make_data(Case *c) {
    const PareDescription *d = pare_model_description(c->model);
    bool both = d->stacks[PARE_ENCODER].present && d->stacks[PARE_DECODER].present;
    int32_t ids[LONGEST], decoder_ids[LONGEST], targets[LONGEST];
    ok(pare_examples_create(NULL, &c->data.examples, &c->err), &c->err);
    for (size_t i = 0; i < ITEMS; i++) {
        for (size_t k = 0; k < LONGEST; k++) {
            ids[k] = word(1, i * LONGEST + k);
            decoder_ids[k] = targets[k] = word(2, i * LONGEST + k);
        }
        PareExample e = {.sequence = {.ids = ids, .count = i % LONGEST + 1}, .label = 0};
        if (both) {
            e.sequence.decoder_ids = decoder_ids;
            e.sequence.decoder_count = (i + 5) % LONGEST + 1;
            e.targets = targets;
            e.target_count = e.sequence.decoder_count;
        }
        ok(pare_examples_append(c->data.examples, &e, &c->err), &c->err);
    }
    ok(pare_examples_finish(c->data.examples, &c->err), &c->err);
}

/* The golden's model with values that `edit` changes (NULL: none). */
static void write_edited(const char *from, const char *to, Edit edit) {
    PareModel *m;
    PareFileWriter *w;
    PareError err = {0};
    const void *bytes;
    size_t size;
    ok(pare_model_open(from, &m, &err), &err);
    const PareFile *f = pare_model_file(m);
    ok(pare_file_writer_open(to, true, &w, &err), &err);
    for (size_t i = 0; i < pare_file_count(f); i++) {
        const PareFileTensor *t = pare_file_tensor(f, i);
        size_t rows = (size_t)t->shape[0], cols = t->dims == 2 ? (size_t)t->shape[1] : 1;
        if (t->alias_of) {
            ok(pare_file_writer_alias(w, t, t->alias_of, &err), &err);
            continue;
        }
        float *values = pare_alloc(rows * cols, sizeof *values);
        assert_non_null(values);
        pare_file_read_f32(t, values);
        if (edit)
            edit(t->name, values, rows, cols);
        ok(pare_file_writer_tensor(w, t, values, &err), &err);
        pare_free(values);
    }
    assert_true(pare_file_section(f, PARE_SECTION_METADATA, &bytes, &size));
    ok(pare_file_writer_section(w, PARE_SECTION_METADATA, bytes, size, &err), &err);
    ok(pare_file_writer_commit(w, &err), &err);
    pare_model_close(m);
}

static void begin(Case *c, const char *golden, Edit edit) {
    *c = (Case){0};
    convert_golden(golden, path_of("golden.pare"));
    write_edited(path_of("golden.pare"), path_of("edited.pare"), edit);
    ok(pare_model_open(path_of("edited.pare"), &c->model, &c->err), &c->err);
    ok(pare_weights_create(c->model, NULL, NULL, &c->weights, &c->err), &c->err);
    c->data.arena = pare_arena_create(0);
    assert_non_null(c->data.arena);
    make_data(c);
    ok(pare_prune_plan_whole(pare_model_description(c->model), c->data.arena, &c->plan, &c->err),
       &c->err);
}

static PareStatus try_solve(Case *c, const PareRepairOptions *o) {
    PareRepairOptions options = *o;
    options.data = &c->data;
    options.threads = o->threads ? o->threads : 1;
    if (!c->slices)
        ok(pare_slices_create(c->model, &c->plan, &c->slices, &c->err), &c->err);
    return pare_repair_solve(c->weights, c->slices, &options, &c->repair, &c->err);
}

static void solve(Case *c, PareRepairOptions o) {
    ok(try_solve(c, &o), &c->err);
}

static void end(Case *c) {
    pare_repair_destroy(c->repair);
    pare_slices_destroy(c->slices);
    pare_examples_close(c->data.examples);
    pare_arena_destroy(c->data.arena);
    pare_weights_destroy(c->weights);
    pare_model_close(c->model);
    unlink(path_of("golden.pare"));
    unlink(path_of("edited.pare"));
}

static void drop_unit(Case *c, PareStackIndex s, uint32_t layer, uint32_t unit) {
    uint32_t of = pare_model_description(c->model)->stacks[s].layers[layer].ffn;
    ok(pare_prune_plan_drop(&c->plan, &c->plan.stacks[s].layers[layer].ffn, unit, of, "units",
                            &c->err),
       &c->err);
}

static void drop_head(Case *c, PareStackIndex s, uint32_t layer, int block, uint32_t head) {
    const PareLayerShape *l = &pare_model_description(c->model)->stacks[s].layers[layer];
    uint32_t of = (block == PARE_BLOCK_SELF ? l->self : l->cross).heads;
    ok(pare_prune_plan_drop(&c->plan, &c->plan.stacks[s].layers[layer].heads[block], head, of,
                            "heads", &c->err),
       &c->err);
}

/* -- what models give -- */

typedef struct {
    float *values;
    size_t count, capacity;
} Rows;

static PareStatus collect(void *context, size_t sequence, size_t row, const float *values, size_t n,
                          PareError *err) {
    Rows *r = context;
    (void)sequence, (void)row, (void)err;
    assert_true(r->count + n <= r->capacity);
    memcpy(r->values + r->count, values, n * sizeof *values);
    r->count += n;
    return PARE_OK;
}

/* Hidden states or scores of the top stack on the calibration rows. */
static Rows outputs(const Case *c, const PareModel *m, PareRowKind kind) {
    PareSequence sequences[ITEMS];
    PareSession *s;
    PareError err = {0};
    Rows r = {.capacity = (size_t)ITEMS * LONGEST * WORDS};
    r.values = pare_alloc(r.capacity, sizeof *r.values);
    assert_non_null(r.values);
    for (size_t i = 0; i < ITEMS; i++)
        sequences[i] = pare_examples_get(c->data.examples, i).sequence;
    ok(pare_session_create(m, 1, &s, &err), &err);
    ok(pare_session_run(s, sequences, ITEMS, kind, collect, &r, &err), &err);
    pare_session_destroy(s);
    return r;
}

/* The pruned model, with or without what repair found; its largest difference to the original,
 * relative to the original's largest value. */
static double difference(const Case *c, bool repaired, PareRowKind kind) {
    const PareSlots *slots = pare_slices_slots(c->slices);
    float **data = pare_arena_alloc(c->data.arena, slots->count, sizeof *data);
    PareModel *m;
    PareError err = {0};
    double worst = 0, largest = 0;
    for (size_t i = 0; i < slots->count; i++) {
        size_t count = slots->items[i].shape[0], shared = pare_slices_shared(c->slices, i);
        count *= slots->items[i].dims == 2 ? slots->items[i].shape[1] : 1;
        data[i] =
            shared == i ? pare_arena_alloc(c->data.arena, count, sizeof **data) : data[shared];
        if (shared == i)
            ok(pare_slices_read(c->slices, i, data[i], &err), &err);
        if (repaired && pare_repair_values(c->repair, i))
            memcpy(data[i], pare_repair_values(c->repair, i), count * sizeof **data);
    }
    ok(pare_model_create(c->model, pare_slices_description(c->slices), slots, data, &m, &err),
       &err);
    Rows a = outputs(c, c->model, kind), b = outputs(c, m, kind);
    assert_int_equal(a.count, b.count);
    for (size_t i = 0; i < a.count; i++) {
        worst = fmax(worst, fabs((double)a.values[i] - (double)b.values[i]));
        largest = fmax(largest, fabs((double)a.values[i]));
    }
    pare_free(a.values);
    pare_free(b.values);
    pare_model_close(m);
    return worst / largest;
}

static void assert_mended(const Case *c, PareRowKind kind) {
    double cut = difference(c, false, kind), repaired = difference(c, true, kind);
    if (!(cut > 1e-2) || !(repaired < 1e-4))
        fail_msg("cut %g, repaired %g", cut, repaired);
}

/* Errors of all sublayers: none grew; returns how many shrank. */
static size_t check_lines(const Case *c, size_t expected) {
    size_t count, better = 0;
    const PareRepairLine *l = pare_repair_lines(c->repair, &count);
    assert_int_equal(count, expected);
    for (size_t i = 0; i < count; i++) {
        if (!(l[i].after <= l[i].before))
            fail_msg("line %zu: %g became %g", i, l[i].before, l[i].after);
        better += l[i].after < 0.999 * l[i].before;
    }
    return better;
}

/* -- what can be mended exactly -- */

static bool is(const char *name, const char *wanted) {
    return strcmp(name, wanted) == 0;
}

/* Makes rows [to, to + count) those at `from`, times `by`. */
static void copy_rows(float *v, size_t cols, size_t from, size_t to, size_t count, float by) {
    for (size_t i = 0; i < count * cols; i++)
        v[to * cols + i] = by * v[from * cols + i];
}

static void larger(float *v, size_t count, float by) {
    for (size_t i = 0; i < count; i++)
        v[i] *= by;
}

/* Units 3 and 40 of layer 1 are copies, as large as the trained ones of a real model. */
static void copy_unit(const char *name, float *v, size_t rows, size_t cols) {
    if (is(name, "encoder.layers.1.ffn.out.weight") || is(name, "decoder.layers.1.ffn.out.weight"))
        larger(v, rows * cols, 4);
    if (strstr(name, "layers.1.ffn.in.") || strstr(name, "layers.1.ffn.gate."))
        copy_rows(v, cols, 3, 40, 1, 1);
}

static void check_copied_unit(const char *golden, PareStackIndex s, PareRowKind kind) {
    Case c;
    begin(&c, golden, copy_unit);
    drop_unit(&c, s, 1, 40);
    solve(&c, (PareRepairOptions){.ridge = 1e-9});
    assert_mended(&c, kind);
    end(&c);
}

static void test_copied_units(void **state) {
    (void)state;
    check_copied_unit("bert-cls", PARE_ENCODER, PARE_ROWS_HIDDEN);
    check_copied_unit("gpt2-lm", PARE_DECODER, PARE_ROWS_LOGITS);
    check_copied_unit("t5", PARE_ENCODER, PARE_ROWS_ENCODER);
    check_copied_unit("t5-v1_1", PARE_DECODER, PARE_ROWS_HIDDEN);
    check_copied_unit("bart", PARE_DECODER, PARE_ROWS_HIDDEN);
}

enum { HEAD_SIZE = 8 };

/* Head 2 of layer 0 looks where head 0 does, and sees -2 times its values. */
static void depend(const char *name, float *v, size_t rows, size_t cols, const char *place) {
    char want[64];
    snprintf(want, sizeof want, "%s.output.weight", place);
    if (is(name, want))
        larger(v, rows * cols, 8);
    snprintf(want, sizeof want, "%s.value", place);
    bool value = strncmp(name, want, strlen(want)) == 0;
    snprintf(want, sizeof want, "%s.query", place);
    bool query = strncmp(name, want, strlen(want)) == 0;
    snprintf(want, sizeof want, "%s.key", place);
    if (value || query || strncmp(name, want, strlen(want)) == 0)
        copy_rows(v, cols, 0, 2 * HEAD_SIZE, HEAD_SIZE, value ? -2 : 1);
}

static void depend_self(const char *name, float *v, size_t rows, size_t cols) {
    depend(name, v, rows, cols, "encoder.layers.0.self");
}

static void depend_cross(const char *name, float *v, size_t rows, size_t cols) {
    depend(name, v, rows, cols, "decoder.layers.0.cross");
}

static void test_dependent_heads(void **state) {
    (void)state;
    Case c;
    begin(&c, "bert-cls", depend_self);
    drop_head(&c, PARE_ENCODER, 0, PARE_BLOCK_SELF, 2);
    solve(&c, (PareRepairOptions){.ridge = 1e-9});
    assert_mended(&c, PARE_ROWS_HIDDEN);
    assert_int_equal(check_lines(&c, 6) > 0, true);
    end(&c);
    begin(&c, "bart", depend_cross);
    drop_head(&c, PARE_DECODER, 0, PARE_BLOCK_CROSS, 2);
    solve(&c, (PareRepairOptions){.ridge = 1e-9});
    assert_mended(&c, PARE_ROWS_HIDDEN);
    end(&c);
}

/* The work of a layer that is gone is taken over by the next: its feed-forward matrix is zero, its
 * bias is not. The stream is not normed in between (pre-norm). */
static void constant_layer(const char *name, float *v, size_t rows, size_t cols) {
    if (is(name, "decoder.layers.1.ffn.out.weight") ||
        is(name, "decoder.layers.1.self.output.weight"))
        memset(v, 0, rows * cols * sizeof *v);
    for (size_t i = 0; is(name, "decoder.layers.1.ffn.out.bias") && i < rows; i++)
        v[i] = 0.05F * (float)(i + 1);
}

static void test_dropped_layer(void **state) {
    (void)state;
    Case c;
    begin(&c, "gpt2-lm", constant_layer);
    ParePlannedStack *stack = &c.plan.stacks[PARE_DECODER];
    stack->layers[1] = stack->layers[2];
    stack->layer_count = 2;
    solve(&c, (PareRepairOptions){0});
    size_t count;
    const PareRepairLine *l = pare_repair_lines(c.repair, &count);
    assert_int_equal(count, 4);
    assert_int_equal(l[2].layer, 2);
    if (!(l[2].before > 1e-3) || !(l[2].after < 0.1 * l[2].before))
        fail_msg("%g became %g", l[2].before, l[2].after);
    double cut = difference(&c, false, PARE_ROWS_HIDDEN);
    double repaired = difference(&c, true, PARE_ROWS_HIDDEN);
    if (!(repaired < 0.25 * cut))
        fail_msg("cut %g, repaired %g", cut, repaired);
    end(&c);
}

/* -- all kinds of models and cuts -- */

static void test_models(void **state) {
    (void)state;
    static const char *const GOLDENS[] = {"bert-cls", "bert-mlm", "gpt2-lm",  "bart", "marian",
                                          "t5",       "t5-v1_1",  "bert2gpt", "v5-t5"};
    for (size_t i = 0; i < sizeof GOLDENS / sizeof *GOLDENS; i++) {
        Case c;
        size_t expected = 0;
        begin(&c, GOLDENS[i], NULL);
        const PareDescription *d = pare_model_description(c.model);
        for (int s = 0; s < PARE_STACKS; s++)
            for (uint32_t l = 0; d->stacks[s].present && l < d->stacks[s].layer_count; l++) {
                drop_head(&c, (PareStackIndex)s, l, PARE_BLOCK_SELF, l % 4);
                if (d->stacks[s].layers[l].cross.heads)
                    drop_head(&c, (PareStackIndex)s, l, PARE_BLOCK_CROSS, 3 - l % 4);
                for (uint32_t k = 0; k < 30; k++)
                    drop_unit(&c, (PareStackIndex)s, l, 2 * k);
                expected += d->stacks[s].layers[l].cross.heads ? 3 : 2;
            }
        solve(&c, (PareRepairOptions){0});
        if (check_lines(&c, expected) != expected)
            fail_msg("%s: some sublayer did not get better", GOLDENS[i]);
        end(&c);
    }
}

static void test_width_and_sublayers(void **state) {
    (void)state;
    Case c;
    uint32_t width[24];
    for (uint32_t i = 0; i < 24; i++)
        width[i] = i + i / 3;
    static const char *const GOLDENS[] = {"bert-cls", "gpt2-lm", "t5"};
    for (size_t i = 0; i < 3; i++) {
        begin(&c, GOLDENS[i], NULL);
        const PareDescription *d = pare_model_description(c.model);
        for (int s = 0; s < PARE_STACKS; s++)
            if (d->stacks[s].present)
                ok(pare_prune_plan_keep(&c.plan, &c.plan.stacks[s].width, width, 24, 32, "width",
                                        &c.err),
                   &c.err);
        PareStackIndex top = pare_description_top(d);
        c.plan.stacks[top].layers[1].ffn = (PareKeep){0};
        c.plan.stacks[top].layers[0].kv_merged[PARE_BLOCK_SELF] = 2;
        solve(&c, (PareRepairOptions){0});
        size_t count;
        const PareRepairLine *l = pare_repair_lines(c.repair, &count);
        assert_true(check_lines(&c, count) > 2);
        assert_true(l[0].before < 1); /* the columns that are kept, and not the first ones */
        end(&c);
    }
}

static void test_shared_maps(void **state) {
    (void)state;
    Case c;
    begin(&c, "bertshare", NULL);
    drop_unit(&c, PARE_ENCODER, 0, 5);
    drop_unit(&c, PARE_DECODER, 0, 5);
    solve(&c, (PareRepairOptions){0});
    const PareSlots *slots = pare_slices_slots(c.slices);
    size_t shared = 0;
    for (size_t i = 0; i < slots->count; i++) {
        if (pare_slices_shared(c.slices, i) == i)
            continue;
        shared++;
        assert_null(pare_repair_values(c.repair, i));
        assert_null(pare_repair_values(c.repair, pare_slices_shared(c.slices, i)));
    }
    assert_true(shared > 0);
    end(&c);
}

/* -- limits -- */

static const float *solved(const Case *c, const char *name) {
    const PareSlots *slots = pare_slices_slots(c->slices);
    const PareSlot *s = pare_slots_find(slots, name);
    assert_non_null(s);
    return pare_repair_values(c->repair, (size_t)(s - slots->items));
}

static void test_ridge(void **state) {
    (void)state;
    static const char *const NAME = "encoder.layers.1.ffn.out.weight";
    float sliced[32 * 64];
    double moved[2] = {0};
    for (int pass = 0; pass < 2; pass++) {
        Case c;
        begin(&c, "bert-cls", NULL);
        for (uint32_t k = 0; k < 20; k++)
            drop_unit(&c, PARE_ENCODER, 1, 3 * k);
        solve(&c, (PareRepairOptions){.ridge = pass ? 1e-3 : 1e12});
        const PareSlots *slots = pare_slices_slots(c.slices);
        size_t slot = (size_t)(pare_slots_find(slots, NAME) - slots->items);
        ok(pare_slices_read(c.slices, slot, sliced, &c.err), &c.err);
        const float *values = solved(&c, NAME);
        for (size_t i = 0; values && i < slots->items[slot].shape[0] * slots->items[slot].shape[1];
             i++)
            moved[pass] = fmax(moved[pass], fabs((double)values[i] - (double)sliced[i]));
        end(&c);
    }
    assert_true(moved[0] < 1e-7);
    assert_true(moved[1] > 1e-3);
}

/* Fewer rows than inputs, and inputs that are always zero. */
static void dead_units(const char *name, float *v, size_t rows, size_t cols) {
    (void)rows;
    if (strstr(name, "layers.0.ffn.in."))
        memset(v + 8 * cols, 0, 30 * cols * sizeof *v);
}

static void test_few_rows(void **state) {
    (void)state;
    static const uint64_t ROWS[] = {1, 7, 30};
    for (size_t i = 0; i < sizeof ROWS / sizeof *ROWS; i++) {
        Case c;
        begin(&c, "t5", dead_units);
        drop_unit(&c, PARE_ENCODER, 0, 2);
        drop_head(&c, PARE_DECODER, 1, PARE_BLOCK_SELF, 1);
        solve(&c, (PareRepairOptions){.rows = ROWS[i], .ridge = 1e-6});
        check_lines(&c, 13);
        end(&c);
    }
}

static void huge_values(const char *name, float *v, size_t rows, size_t cols) {
    if (is(name, "encoder.layers.1.ffn.in.weight"))
        larger(v, rows * cols, 1e38F);
}

static void test_refusals(void **state) {
    (void)state;
    Case c;
    begin(&c, "bert-cls", huge_values);
    drop_unit(&c, PARE_ENCODER, 1, 2);
    assert_int_equal(try_solve(&c, &(PareRepairOptions){0}), PARE_E_FORMAT);
    assert_non_null(strstr(c.err.message, "'encoder.layers.1.ffn.out.weight' cannot be repaired"));
    assert_int_equal(try_solve(&c, &(PareRepairOptions){.ridge = -1}), PARE_E_USAGE);
    assert_null(c.repair);
    end(&c);
}

static void test_threads(void **state) {
    (void)state;
    static const char *const GOLDENS[] = {"bert-cls", "bart"};
    for (size_t g = 0; g < 2; g++) {
        Case c;
        begin(&c, GOLDENS[g], NULL);
        for (uint32_t k = 0; k < 30; k++)
            drop_unit(&c, PARE_ENCODER, 0, 2 * k);
        drop_head(&c, PARE_ENCODER, 1, PARE_BLOCK_SELF, 2);
        solve(&c, (PareRepairOptions){.threads = 1});
        PareRepair *one = c.repair;
        solve(&c, (PareRepairOptions){.threads = 3});
        const PareSlots *slots = pare_slices_slots(c.slices);
        size_t compared = 0;
        for (size_t i = 0; i < slots->count; i++) {
            const float *a = pare_repair_values(one, i), *b = pare_repair_values(c.repair, i);
            const PareSlot *s = &slots->items[i];
            assert_true(!a == !b);
            if (a)
                assert_memory_equal(a, b,
                                    s->shape[0] * (s->dims == 2 ? s->shape[1] : 1) * sizeof *a);
            compared += a != NULL;
        }
        assert_true(compared >= 8);
        pare_repair_destroy(one);
        end(&c);
    }
}

/* Every allocation may fail: refused as such, and nothing is lost. */
static void test_memory(void **state) {
    (void)state;
    PareStackScores scores[PARE_STACKS];
    PareStatus st[2] = {PARE_E_MEMORY, PARE_E_MEMORY};
    Case c;
    begin(&c, "bart", NULL);
    drop_unit(&c, PARE_ENCODER, 1, 2);
    ok(pare_slices_create(c.model, &c.plan, &c.slices, &c.err), &c.err);
    PareRepairOptions o = {.data = &c.data, .rows = 20, .threads = 1};
    for (uint64_t n = 1; st[0] || st[1]; n += n < 40 ? 1 : n / 20) {
        pare_memory_fail_after(st[0] ? n : 0);
        if (st[0])
            st[0] = try_solve(&c, &o);
        pare_memory_fail_after(st[1] ? n : 0);
        if (st[1])
            st[1] = pare_reconstruct_measure(c.weights, &o, c.data.arena, scores, &c.err);
        pare_memory_fail_after(0);
        for (int i = 0; i < 2; i++)
            assert_true(!st[i] || st[i] == PARE_E_MEMORY);
    }
    assert_non_null(c.repair);
    end(&c);
}

/* Several tiles and blocks of rows: a map that is known comes out again. */
static void test_least_squares(void **state) {
    (void)state;
    enum { K = 300, N = 270, R = 700 };
    PareNormal one, three;
    ParePool *pool;
    PareError err = {0};
    float *x = pare_alloc((size_t)R * K, sizeof *x), *e = pare_alloc((size_t)R * N, sizeof *e);
    double *d = pare_alloc((size_t)K * N, sizeof *d), shift[N], again[N];
    assert_true(x && e && d);
    for (size_t i = 0; i < (size_t)R * K; i++)
        x[i] = pare_random_float(9, 1, i) + 0.25F;
    for (size_t i = 0; i < (size_t)K * N; i++)
        d[i] = (double)pare_random_float(9, 2, i) - 0.5;
    for (size_t r = 0; r < R; r++)
        for (size_t n = 0; n < N; n++) {
            double sum = (double)n / 10;
            for (size_t k = 0; k < K; k++)
                sum += (double)x[r * K + k] * d[k * N + n];
            e[r * N + n] = (float)sum;
        }
    ok(pare_pool_create(3, &pool, &err), &err);
    ok(pare_normal_create(K, N, true, NULL, &one, &err), &err);
    ok(pare_normal_create(K, N, true, pool, &three, &err), &err);
    ok(pare_normal_add(&one, x, e, R, &err), &err);
    ok(pare_normal_add(&three, x, e, R, &err), &err);
    double mean = pare_normal_centre(&one);
    assert_true(mean == pare_normal_centre(&three));
    ok(pare_normal_solve(&one, 1e-9 * mean, shift, "map", &err), &err);
    ok(pare_normal_solve(&three, 1e-9 * mean, again, "map", &err), &err);
    for (size_t i = 0; i < (size_t)K * N; i++)
        assert_true(fabs(one.r[i] - d[i]) < 1e-5);
    for (size_t n = 0; n < N; n++)
        assert_true(fabs(shift[n] - (double)n / 10) < 1e-4);
    assert_memory_equal(one.r, three.r, (size_t)K * N * sizeof *d);
    assert_memory_equal(shift, again, sizeof shift);
    pare_normal_destroy(&one);
    pare_normal_destroy(&three);
    pare_pool_destroy(pool);
    pare_free(x);
    pare_free(e);
    pare_free(d);
}

/* -- scores by reconstruction -- */

static void test_reconstruct(void **state) {
    (void)state;
    PareStackScores scores[PARE_STACKS], again[PARE_STACKS];
    Case c;
    begin(&c, "bert-cls", copy_unit);
    PareRepairOptions o = {.data = &c.data, .ridge = 1e-7, .threads = 1};
    ok(pare_reconstruct_measure(c.weights, &o, c.data.arena, scores, &c.err), &c.err);
    o.threads = 3;
    ok(pare_reconstruct_measure(c.weights, &o, c.data.arena, again, &c.err), &c.err);
    const double *ffn = scores[PARE_ENCODER].layers[1].ffn;
    size_t cheapest = 0;
    double last = 0;
    for (size_t i = 0; i < 64; i++) {
        cheapest = ffn[i] < ffn[cheapest] ? i : cheapest;
        last = fmax(last, ffn[i]);
    }
    assert_true(cheapest == 3 || cheapest == 40); /* a copy goes first, at no cost; */
    assert_true(ffn[cheapest] < 1e-5);
    assert_true(ffn[43 - cheapest] > 1e-3);  /* then the other is needed */
    assert_true(last > 0.99 && last < 1.01); /* nothing is left: all variation is gone */
    for (int l = 0; l < 3; l++) {
        const PareLayerScores *a = &scores[0].layers[l], *b = &again[0].layers[l];
        assert_memory_equal(a->ffn, b->ffn, 64 * sizeof *a->ffn);
        assert_memory_equal(a->heads[0], b->heads[0], 4 * sizeof(double));
        assert_null(a->heads[1]);
    }
    end(&c);
    begin(&c, "bart", depend_cross);
    o.data = &c.data;
    ok(pare_reconstruct_measure(c.weights, &o, c.data.arena, scores, &c.err), &c.err);
    const double *heads = scores[PARE_DECODER].layers[0].heads[PARE_BLOCK_CROSS];
    assert_true(fmin(heads[0], heads[2]) < 1e-5 && fmax(heads[0], heads[2]) > 1e-3);
    end(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copied_units),
        cmocka_unit_test(test_dependent_heads),
        cmocka_unit_test(test_dropped_layer),
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_width_and_sublayers),
        cmocka_unit_test(test_shared_maps),
        cmocka_unit_test(test_ridge),
        cmocka_unit_test(test_few_rows),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_least_squares),
        cmocka_unit_test(test_reconstruct),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
