/* Importance against differences: a mask of ones is put on every unit by hand, in the forward pass
 * of models of every kind; against PyTorch's number for heads; without labels; at several numbers
 * of threads; of every checkpoint that the tests have; as JSON, and without memory. */
#include <unistd.h>

#include "convert/convert.h"
#include "prune/importance.h"
#include "tests/test_train_models.h"

static const char *const STACKS[PARE_STACKS] = {"encoder", "decoder"};

/* -- a model in memory, and its examples -- */

typedef struct {
    Block block;
    Model model;
    Examples examples;
    PareWeights weights;
    ParePruneData data;
    PareArena *arena; /* of what is measured */
    PareImportanceOptions options;
    PareImportance found;
    PareError err;
} Bench;

static PareExamplesTask task_of(Kind kind) {
    static const PareExamplesTask tasks[KINDS] = {
        [CLASSIFIER] = PARE_EXAMPLES_CLASSIFICATION,
        [REGRESSION] = PARE_EXAMPLES_REGRESSION,
        [TAGGER] = PARE_EXAMPLES_TOKENS,
        [MASKED] = PARE_EXAMPLES_LM,
        [LANGUAGE] = PARE_EXAMPLES_LM,
        [TRANSLATOR] = PARE_EXAMPLES_SEQ2SEQ,
        [RELATIVE] = PARE_EXAMPLES_SEQ2SEQ,
    };
    return tasks[kind];
}

static void set_weights(Bench *b) {
    PareWeights *w = &b->weights;
    *w = (PareWeights){.description = b->model.d,
                       .slots = b->model.slots,
                       .values = b->block.values,
                       .count = b->block.count,
                       .tensor_count = b->block.tensor_count,
                       .tensor_of = b->model.tensor,
                       .data = b->model.data,
                       .params = b->model.params};
    w->tensors = pare_arena_alloc(b->arena, w->tensor_count, sizeof *w->tensors);
    assert_non_null(w->tensors);
    for (size_t i = 0; i < w->tensor_count; i++)
        w->tensors[i] = (PareWeightTensor){.name = b->block.names[i],
                                           .offset = b->block.ranges[i].offset,
                                           .count = b->block.ranges[i].count};
}

/* The examples as they are now. */
static void set_data(Bench *b) {
    pare_examples_close(b->data.examples);
    no_error(pare_examples_create(NULL, &b->data.examples, &b->err), &b->err);
    for (size_t i = 0; i < ITEMS; i++) {
        PareExample e = b->examples.items[i];
        bool pair = e.sequence.decoder_ids != NULL;
        if (b->data.task >= PARE_EXAMPLES_TOKENS && e.targets)
            e.target_count = pair ? e.sequence.decoder_count : e.sequence.count;
        e.line = i + 1;
        b->examples.items[i].target_count = e.target_count;
        no_error(pare_examples_append(b->data.examples, &e, &b->err), &b->err);
    }
    no_error(pare_examples_finish(b->data.examples, &b->err), &b->err);
}

static void bench_open(Bench *b, Kind kind, uint32_t width) {
    ModelShape shape = {kind, width, 4, 3};
    *b = (Bench){.arena = pare_arena_create(0)};
    assert_non_null(b->arena);
    model_begin(&b->model, &shape, &b->block);
    block_begin(&b->block, width > 100 ? 0.05F : 0.3F);
    model_bind(&b->model, &b->block);
    fill_examples(&b->examples, &b->model.d);
    set_weights(b);
    b->data.task = task_of(kind);
    set_data(b);
    b->options = (PareImportanceOptions){.data = &b->data, .batch_size = 2, .threads = 1};
}

static void bench_close(Bench *b) {
    pare_examples_close(b->data.examples);
    block_end(&b->block);
    model_end(&b->model);
    pare_arena_destroy(b->arena);
}

static void measure(Bench *b, PareCriterion criterion) {
    b->options.criterion = criterion;
    no_error(pare_importance_measure(&b->weights, &b->options, b->arena, &b->found, &b->err),
             &b->err);
    assert_int_equal(b->found.criterion, criterion);
}

/* -- masks -- */

/* One unit at one point, or the values seen there. */
typedef struct {
    PareStackIndex stack;
    uint32_t layer;
    ParePoint point; /* PARE_POINT_LAYER with whole: of the whole layer */
    bool whole;
    size_t group, unit; /* columns [unit * group, (unit + 1) * group) */
    double factor;
    PareProbe probe;
    float entry[ITEMS * LONGEST * 16];
    double seen; /* the sum of |value| without a mask */
    size_t rows;
} Mask;

static void apply_whole(Mask *m, float *x, size_t count) {
    for (size_t i = 0; i < count; i++) {
        double added = (double)x[i] - m->entry[i];
        m->seen += fabs(added);
        x[i] = (float)(m->entry[i] + m->factor * added);
    }
}

static void apply(void *context, const float *shown, const float *dx, size_t rows, size_t cols) {
    Mask *m = context;
    float *x = (float *)shown; /* the values themselves, whatever the promise */
    assert_null(dx);
    m->rows = rows;
    if (m->whole) {
        apply_whole(m, x, rows * cols);
        return;
    }
    assert_true((m->unit + 1) * m->group <= cols);
    for (size_t r = 0; r < rows; r++)
        for (size_t c = m->unit * m->group; c < (m->unit + 1) * m->group; c++) {
            m->seen += fabs((double)x[r * cols + c]);
            x[r * cols + c] *= (float)m->factor;
        }
}

static void enter(void *context, const float *x, const float *dx, size_t rows, size_t cols) {
    Mask *m = context;
    assert_true(dx == NULL && rows * cols <= sizeof m->entry / sizeof *m->entry);
    memcpy(m->entry, x, rows * cols * sizeof *x);
}

static const PareProbe *find(void *context, PareStackIndex stack, uint32_t layer, ParePoint point) {
    Mask *m = context;
    bool entry = m->whole && point == PARE_POINT_LAYER_IN;
    m->probe = (PareProbe){entry ? enter : apply, m};
    return stack == m->stack && layer == m->layer && (point == m->point || entry) ? &m->probe
                                                                                  : NULL;
}

/* The mean loss of examples [from, to) under a mask. */
static double masked_loss(Bench *b, Mask *m, size_t from, size_t to, double factor) {
    PareObjective o = {.d = &b->model.d,
                       .p = &b->model.params,
                       .weights = {.label = 1, .temperature = 1},
                       .regression = b->data.task == PARE_EXAMPLES_REGRESSION,
                       .probes = find,
                       .probes_context = m};
    const PareExample *items = b->examples.items + from;
    PareBatchSize size = pare_objective_size(&o, items, to - from);
    PareLossTerms terms = {0};
    PareRun r = block_run(&b->block, false);
    m->factor = factor;
    m->seen = 0;
    no_error(pare_objective_run(&o, &r, items, to - from, &size, &terms), &b->block.err);
    return terms.total;
}

static double derivative(Bench *b, Mask *m, size_t from, size_t to) {
    const double h = 0.02;
    double near = masked_loss(b, m, from, to, 1 + h) - masked_loss(b, m, from, to, 1 - h);
    double far = masked_loss(b, m, from, to, 1 + 2 * h) - masked_loss(b, m, from, to, 1 - 2 * h);
    return (8 * near - far) / (12 * h);
}

/* What a criterion says of one mask. */
static double expected(Bench *b, Mask *m) {
    PareCriterion criterion = b->options.criterion;
    size_t size = criterion == PARE_CRITERION_FISHER ? 1 : b->options.batch_size;
    double sum = 0;
    size_t batches = 0;
    if (criterion == PARE_CRITERION_ACTIVATION) {
        masked_loss(b, m, 0, ITEMS, 1);
        size_t columns = m->whole ? b->model.d.stacks[m->stack].width : m->group;
        return m->seen / (double)(m->rows * columns);
    }
    for (size_t at = 0; at < ITEMS; at += size, batches++) {
        double d = derivative(b, m, at, at + size < ITEMS ? at + size : ITEMS);
        sum += criterion == PARE_CRITERION_FISHER ? d * d : fabs(d);
    }
    return sum / (double)batches;
}

typedef struct {
    Bench *b;
    const char *what;
    size_t checked;
    double largest;
} Check;

static void compare(Check *c, const Mask *m, const char *list, double found, double wanted) {
    double limit = 5e-3 * fabs(wanted) + 1e-5;
    if (!(fabs(found - wanted) <= limit))
        fail_msg("%s by %s: %s %zu of layer %u of the %s: %.9g instead of %.9g", c->what,
                 pare_criterion_name(c->b->options.criterion), list, m->unit, m->layer,
                 STACKS[m->stack], found, wanted);
    c->checked++;
    c->largest = fmax(c->largest, wanted);
}

static void check_list(Check *c, Mask m, const char *list, const double *scores, size_t count) {
    assert_true((scores != NULL) == (count > 0));
    for (m.unit = 0; m.unit < count; m.unit++)
        compare(c, &m, list, scores[m.unit], expected(c->b, &m));
}

static void check_layer(Check *c, int s, uint32_t l) {
    const PareLayerShape *shape = &c->b->model.d.stacks[s].layers[l];
    const PareStackScores *scores = &c->b->found.stacks[s];
    bool before = c->b->options.criterion == PARE_CRITERION_GRADIENT;
    Mask m = {.stack = (PareStackIndex)s, .layer = l, .point = PARE_POINT_SELF};
    m.group = shape->self.head_size;
    check_list(c, m, "head", scores->layers[l].heads[PARE_BLOCK_SELF], shape->self.heads);
    m.point = PARE_POINT_CROSS;
    m.group = shape->cross.head_size;
    check_list(c, m, "cross head", scores->layers[l].heads[PARE_BLOCK_CROSS], shape->cross.heads);
    m.point = before ? PARE_POINT_FFN_IN : PARE_POINT_FFN;
    m.group = 1;
    check_list(c, m, "unit", scores->layers[l].ffn, shape->ffn);
    m.point = PARE_POINT_LAYER;
    m.whole = true;
    check_list(c, m, "all", &scores->layer[l], 1);
}

static void check_width(Check *c, int s) {
    const PareStack *k = &c->b->model.d.stacks[s];
    Mask m = {.stack = (PareStackIndex)s, .point = PARE_POINT_LAYER, .group = 1};
    for (m.unit = 0; m.unit < k->width; m.unit++) {
        double sum = 0;
        for (m.layer = 0; m.layer < k->layer_count; m.layer++)
            sum += expected(c->b, &m);
        compare(c, &m, "width", c->b->found.stacks[s].width[m.unit], sum);
    }
}

static void check_scores(Bench *b, const char *what) {
    Check c = {b, what, 0, 0};
    for (int s = 0; s < PARE_STACKS; s++) {
        const PareStack *k = &b->model.d.stacks[s];
        assert_true(k->present == (b->found.stacks[s].layers != NULL));
        for (uint32_t l = 0; k->present && l < k->layer_count; l++)
            check_layer(&c, s, l);
        if (k->present)
            check_width(&c, s);
    }
    assert_true(c.checked > 40 && c.largest > 1e-3);
}

static void test_differences(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        Bench b;
        bench_open(&b, (Kind)kind, 12);
        for (int c = PARE_CRITERION_GRADIENT; c <= PARE_CRITERION_ACTIVATION; c++) {
            measure(&b, (PareCriterion)c);
            assert_true(b.found.from_labels == (c != PARE_CRITERION_ACTIVATION));
            assert_true(b.found.batches == 3 && b.found.examples == ITEMS);
            check_scores(&b, kind_names[kind]);
        }
        bench_close(&b);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_differences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
