/* Importance against differences: a mask of ones is put on every unit by hand, in the forward pass
 * of models of every kind; against PyTorch's number for heads; without labels; at several numbers
 * of threads; of every checkpoint that the tests have; as JSON, and without memory. */
#include <unistd.h>

#include "convert/convert.h"
#include "prune/importance.h"
#include "tests/test_train_models.h"

static const char *const STACKS[PARE_STACKS] = {"encoder", "decoder"};

/* There a pass takes a hundred times as long; what it looks for, it sees in few. */
static bool under_valgrind(void) {
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded && strstr(preloaded, "vgpreload");
}

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
    for (int kind = under_valgrind() ? RELATIVE : 0; kind < KINDS; kind++) {
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

/* -- the model's own outputs as labels -- */

static void assert_same_list(const char *what, const double *a, const double *b, size_t count,
                             double tolerance) {
    assert_true((a != NULL) == (b != NULL));
    for (size_t i = 0; a && i < count; i++)
        if (!(fabs(a[i] - b[i]) <= tolerance * fabs(a[i])))
            fail_msg("%s: number %zu is %.17g and %.17g", what, i, a[i], b[i]);
}

static void assert_same(const char *what, const PareDescription *d, const PareImportance *a,
                        const PareImportance *b, double tolerance) {
    for (int s = 0; s < PARE_STACKS; s++) {
        const PareStack *k = &d->stacks[s];
        const PareStackScores *x = &a->stacks[s], *y = &b->stacks[s];
        for (uint32_t l = 0; k->present && l < k->layer_count; l++) {
            const PareLayerScores *p = &x->layers[l], *q = &y->layers[l];
            assert_same_list(what, p->heads[0], q->heads[0], k->layers[l].self.heads, tolerance);
            assert_same_list(what, p->heads[1], q->heads[1], k->layers[l].cross.heads, tolerance);
            assert_same_list(what, p->ffn, q->ffn, k->layers[l].ffn, tolerance);
        }
        assert_same_list(what, x->layer, y->layer, k->layer_count, tolerance);
        assert_same_list(what, x->width, y->width, k->width, tolerance);
    }
}

typedef struct {
    double wanted[ITEMS * LONGEST], given[ITEMS * LONGEST];
    size_t count;
} Seen;

static void observe(void *context, double wanted, double given) {
    Seen *seen = context;
    assert_in_range(seen->count, 0, ITEMS * LONGEST - 1);
    seen->wanted[seen->count] = wanted;
    seen->given[seen->count++] = given;
}

/* All examples as one batch: their labels, and what the model says. */
static double run_labels(Bench *b, const PareOwnLabels *own, Seen *seen) {
    PareObjective o = {.d = &b->model.d,
                       .p = &b->model.params,
                       .weights = {.label = 1, .temperature = 1},
                       .regression = b->data.task == PARE_EXAMPLES_REGRESSION,
                       .observe = observe,
                       .observer = seen,
                       .own = own};
    PareBatchSize size = pare_objective_size(&o, b->examples.items, ITEMS);
    PareLossTerms terms = {0};
    PareRun r = block_run(&b->block, false);
    *seen = (Seen){.count = 0};
    no_error(pare_objective_run(&o, &r, b->examples.items, ITEMS, &size, &terms), &b->block.err);
    return terms.total;
}

/* Takes all labels away; then all positions count. */
static void remove_labels(Bench *b) {
    for (size_t i = 0; i < ITEMS; i++) {
        b->examples.items[i].label = PARE_IGNORED;
        b->examples.items[i].value = NAN;
        b->examples.items[i].targets = NULL;
        b->examples.items[i].target_count = 0;
    }
    set_data(b);
}

/* Gives the examples these labels, row by row. */
static void put_labels(Bench *b, const double *labels, double less) {
    size_t at = 0;
    for (size_t i = 0; i < ITEMS; i++) {
        PareExample *e = &b->examples.items[i];
        size_t rows = e->sequence.decoder_ids ? e->sequence.decoder_count : e->sequence.count;
        if (b->model.d.head.kind == PARE_HEAD_SEQUENCE) {
            e->label = (int32_t)labels[at];
            e->value = (float)labels[at++] - (float)less;
            continue;
        }
        for (size_t k = 0; k < rows; k++)
            b->examples.targets[i][k] = (int32_t)labels[at++];
        e->targets = b->examples.targets[i];
    }
    set_data(b);
}

/* Scores by the model's own labels are those by the same labels in the data. */
static void check_own(Kind kind, PareCriterion criterion) {
    const PareOwnLabels best = {.seed = 7}, drawn = {.sample = true, .seed = 7};
    bool sample = criterion == PARE_CRITERION_FISHER;
    Bench b;
    Seen seen;
    bench_open(&b, kind, 12);
    remove_labels(&b);
    b.options.own_outputs = true;
    b.options.seed = 7;
    measure(&b, criterion);
    assert_false(b.found.from_labels);
    PareImportance own = b.found;
    run_labels(&b, sample ? &drawn : &best, &seen);
    for (size_t i = 0; i < seen.count && !sample && kind != REGRESSION; i++)
        assert_true(seen.wanted[i] == seen.given[i]);
    bool value = kind == REGRESSION;
    put_labels(&b, value ? seen.given : seen.wanted, value ? 0.5 : 0);
    b.options.own_outputs = false;
    measure(&b, criterion);
    assert_true(b.found.from_labels);
    /* Scores themselves may differ in the last bit between batches of 2 and of 5. */
    assert_same(kind_names[kind], &b.model.d, &b.found, &own, value ? 1e-5 : 0);
    bench_close(&b);
}

static void test_own_outputs(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++)
        for (int c = PARE_CRITERION_GRADIENT; c <= PARE_CRITERION_FISHER; c++)
            check_own((Kind)kind, (PareCriterion)c);
}

/* Labels are drawn as often as the model's probabilities say. */
static void test_drawing(void **state) {
    (void)state;
    const uint64_t draws = under_valgrind() ? 50 : 600;
    Bench b;
    Seen seen;
    size_t counts[ITEMS][3] = {{0}};
    double probabilities[ITEMS][3], squares = 0;
    bench_open(&b, CLASSIFIER, 12);
    for (PareOwnLabels own = {.sample = true}; own.seed < draws; own.seed++) {
        run_labels(&b, &own, &seen);
        for (size_t i = 0; i < ITEMS; i++)
            counts[i][(size_t)seen.wanted[i]]++;
    }
    for (size_t i = 0; i < ITEMS; i++)
        for (int32_t label = 0; label < 3; label++) {
            Mask none = {.layer = 1000};
            b.examples.items[i].label = label;
            double p = exp(-masked_loss(&b, &none, i, i + 1, 1));
            double d = (double)counts[i][label] - (double)draws * p;
            probabilities[i][label] = p;
            squares += d * d / ((double)draws * p);
        }
    for (size_t i = 0; i < ITEMS; i++)
        assert_true(fabs(probabilities[i][0] + probabilities[i][1] + probabilities[i][2] - 1) <
                    1e-5);
    /* Chi-squared of 10 degrees: 99.99 % are below 35.6, and not all draws are the most likely. */
    assert_true(squares < 35.6);
    bench_close(&b);
}

/* What the seed and the cut into batches mean for the Fisher information. */
static void test_seeds(void **state) {
    (void)state;
    Bench b;
    bench_open(&b, LANGUAGE, 12);
    b.options.own_outputs = true;
    measure(&b, PARE_CRITERION_FISHER);
    PareImportance first = b.found;
    b.options.batch_size = 3;
    measure(&b, PARE_CRITERION_FISHER);
    assert_int_equal(b.found.batches, 2);
    assert_same("batches", &b.model.d, &first, &b.found, 1e-4);
    b.options.seed = 1;
    measure(&b, PARE_CRITERION_FISHER);
    double a = first.stacks[PARE_DECODER].layer[0], c = b.found.stacks[PARE_DECODER].layer[0];
    assert_true(fabs(a - c) > 1e-3 * a);
    bench_close(&b);
}

/* -- batches and threads -- */

static void test_batches(void **state) {
    (void)state;
    Bench b;
    bench_open(&b, CLASSIFIER, 12);
    b.options.limit_batches = 2;
    measure(&b, PARE_CRITERION_GRADIENT);
    assert_true(b.found.batches == 2 && b.found.examples == 4);
    b.options.limit_batches = 0;
    b.options.batch_size = 0;
    measure(&b, PARE_CRITERION_GRADIENT);
    assert_true(b.found.batches == 1 && b.found.examples == ITEMS);
    b.options.batch_tokens = 1; /* each example is more */
    measure(&b, PARE_CRITERION_GRADIENT);
    assert_true(b.found.batches == ITEMS && b.found.examples == ITEMS);
    bench_close(&b);
}

/* Wide enough that work is split. */
static void test_threads(void **state) {
    (void)state;
    static const Kind kinds[] = {CLASSIFIER, LANGUAGE, RELATIVE};
    for (size_t i = 0; i < (under_valgrind() ? 0 : sizeof kinds / sizeof *kinds); i++)
        for (int c = 0; c < PARE_CRITERION_COUNT; c++) {
            Bench b;
            bench_open(&b, kinds[i], 960);
            b.options.batch_size = 0;
            measure(&b, (PareCriterion)c);
            PareImportance one = b.found;
            b.options.threads = 3;
            measure(&b, (PareCriterion)c);
            assert_same("threads", &b.model.d, &one, &b.found, 0);
            bench_close(&b);
        }
}

/* -- weights, and random numbers -- */

/* The squares of a unit in a tensor of the block: rows or columns [unit * group, ...). */
static double squares_of(const Bench *b, const char *name, bool columns, size_t unit,
                         size_t group) {
    const PareSlot *slot = pare_slots_find(&b->model.slots, name);
    double sum = 0;
    if (!slot)
        return 0;
    const float *x = b->model.data[slot - b->model.slots.items];
    size_t cols = slot->dims == 2 ? slot->shape[1] : 1;
    for (size_t r = 0; r < slot->shape[0]; r++)
        for (size_t c = 0; c < cols; c++)
            if ((columns ? c : r) / group == unit)
                sum += (double)x[r * cols + c] * x[r * cols + c];
    return sum;
}

static double sum_names(const Bench *b, const char *prefix, const char *const *names, bool columns,
                        size_t unit, size_t group) {
    double sum = 0;
    for (; *names; names++) {
        char name[128];
        snprintf(name, sizeof name, "%s%s", prefix, *names);
        sum += squares_of(b, name, columns, unit, group);
    }
    return sum;
}

static void check_heads(const Bench *b, const char *block, const PareAttentionShape *a,
                        const double *scores) {
    static const char *const query[] = {"query.weight", "query.bias", NULL};
    static const char *const key[] = {"key.weight", "key.bias", "value.weight", "value.bias", NULL};
    static const char *const output[] = {"output.weight", NULL}, *const table[] = {"relative",
                                                                                   NULL};
    for (size_t h = 0; h < a->heads; h++) {
        double sum = sum_names(b, block, query, false, h, a->head_size) +
                     sum_names(b, block, output, true, h, a->head_size) +
                     sum_names(b, block, table, true, h, 1);
        if (a->heads == a->kv_heads)
            sum += sum_names(b, block, key, false, h, a->head_size);
        assert_true(sum > 0 && fabs(scores[h] - sqrt(sum)) <= 1e-9 * scores[h]);
    }
}

static void check_magnitudes(const Bench *b, int s, uint32_t l) {
    static const char *const in[] = {"ffn.in.weight", "ffn.in.bias", "ffn.gate.weight",
                                     "ffn.gate.bias", NULL};
    static const char *const out[] = {"ffn.out.weight", NULL};
    const PareLayerShape *shape = &b->model.d.stacks[s].layers[l];
    const PareLayerScores *scores = &b->found.stacks[s].layers[l];
    char layer[64], block[80];
    double sum = 0;
    snprintf(layer, sizeof layer, "%s.layers.%u.", STACKS[s], l);
    snprintf(block, sizeof block, "%sself.", layer);
    check_heads(b, block, &shape->self, scores->heads[PARE_BLOCK_SELF]);
    snprintf(block, sizeof block, "%scross.", layer);
    check_heads(b, block, &shape->cross, scores->heads[PARE_BLOCK_CROSS]);
    for (size_t u = 0; u < shape->ffn; u++) {
        double unit = sum_names(b, layer, in, false, u, 1) + sum_names(b, layer, out, true, u, 1);
        assert_true(unit > 0 && fabs(scores->ffn[u] - sqrt(unit)) <= 1e-9 * scores->ffn[u]);
    }
    for (size_t i = 0; i < b->model.slots.count; i++)
        if (strncmp(b->model.slots.items[i].name, layer, strlen(layer)) == 0)
            sum += squares_of(b, b->model.slots.items[i].name, false, 0, SIZE_MAX);
    double whole = b->found.stacks[s].layer[l];
    assert_true(fabs(whole - sqrt(sum)) <= 1e-9 * whole);
}

/* What lies along the stream, each tensor once: a table that two slots share counts once. */
static double stream_squares(const Bench *b, int s) {
    bool counted[MAX_TENSORS] = {false};
    double sum = 0;
    for (size_t i = 0; i < b->model.slots.count; i++) {
        const PareSlot *slot = &b->model.slots.items[i];
        for (uint32_t dim = 0; dim < slot->dims; dim++) {
            bool along = slot->axes[dim].kind == PARE_AXIS_WIDTH && slot->axes[dim].stack == s;
            if (along && !counted[b->model.tensor[i]])
                sum += squares_of(b, slot->name, false, 0, SIZE_MAX);
            counted[b->model.tensor[i]] |= along;
        }
    }
    return sum;
}

/* The scores add up, and one whose weights become 0 does, too. */
static void check_stream(Bench *b, int s) {
    const size_t none = 5;
    double sum = 0;
    for (size_t u = 0; u < b->model.d.stacks[s].width; u++)
        sum += b->found.stacks[s].width[u] * b->found.stacks[s].width[u];
    assert_true(fabs(sum - stream_squares(b, s)) <= 1e-9 * sum);
    for (size_t i = 0; i < b->model.slots.count; i++) {
        const PareSlot *slot = &b->model.slots.items[i];
        size_t cols = slot->dims == 2 ? slot->shape[1] : 1;
        for (size_t k = 0; k < slot->shape[0] * cols; k++)
            for (uint32_t dim = 0; dim < slot->dims; dim++)
                if (slot->axes[dim].kind == PARE_AXIS_WIDTH && slot->axes[dim].stack == s &&
                    (dim ? k % cols : k / cols) == none)
                    b->model.data[i][k] = 0;
    }
    measure(b, PARE_CRITERION_MAGNITUDE);
    for (size_t u = 0; u < b->model.d.stacks[s].width; u++)
        assert_true((b->found.stacks[s].width[u] == 0) == (u == none));
}

static void test_magnitude(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        Bench b;
        bench_open(&b, (Kind)kind, 12);
        b.options.data = NULL;
        measure(&b, PARE_CRITERION_MAGNITUDE);
        assert_true(b.found.batches == 0 && b.found.examples == 0);
        for (int s = 0; s < PARE_STACKS; s++) {
            const PareStack *k = &b.model.d.stacks[s];
            for (uint32_t l = 0; k->present && l < k->layer_count; l++)
                check_magnitudes(&b, s, l);
            if (k->present)
                check_stream(&b, s);
        }
        bench_close(&b);
    }
}

static void count_below(const double *scores, size_t count, size_t *all, size_t *below) {
    for (size_t i = 0; i < count; i++) {
        assert_true(scores[i] > 0 && scores[i] < 1);
        *below += scores[i] < 0.5;
    }
    *all += count;
}

static void test_random(void **state) {
    (void)state;
    Bench b;
    size_t all = 0, below = 0;
    bench_open(&b, TRANSLATOR, 100);
    b.options.data = NULL;
    b.options.seed = 3;
    measure(&b, PARE_CRITERION_RANDOM);
    PareImportance first = b.found;
    measure(&b, PARE_CRITERION_RANDOM);
    assert_same("random", &b.model.d, &first, &b.found, 0);
    for (int s = 0; s < PARE_STACKS; s++)
        count_below(first.stacks[s].width, 100, &all, &below);
    assert_in_range(below, all / 2 - 30, all / 2 + 30); /* 4 standard deviations */
    const double *one = first.stacks[0].width, *other = first.stacks[1].width;
    assert_true(one[0] != other[0] && one[0] != one[1]);
    assert_true(first.stacks[1].layers[0].ffn[0] != first.stacks[1].layers[2].ffn[0]);
    b.options.seed = 4;
    measure(&b, PARE_CRITERION_RANDOM);
    assert_true(one[0] != b.found.stacks[0].width[0]);
    bench_close(&b);
}

/* -- refusals -- */

static void refused(Bench *b, PareCriterion criterion, PareStatus status, const char *part) {
    b->options.criterion = criterion;
    assert_int_equal(
        pare_importance_measure(&b->weights, &b->options, b->arena, &b->found, &b->err), status);
    if (!strstr(b->err.message, part))
        fail_msg("\"%s\" instead of \"%s\"", b->err.message, part);
}

static void test_refusals(void **state) {
    (void)state;
    static const Kind kinds[] = {CLASSIFIER, REGRESSION, TAGGER};
    Bench b;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        bench_open(&b, kinds[i], 12);
        b.examples.items[3].label = PARE_IGNORED;
        b.examples.items[3].value = NAN;
        b.examples.items[3].targets = NULL;
        b.examples.items[3].target_count = 0;
        set_data(&b);
        refused(&b, PARE_CRITERION_GRADIENT, PARE_E_FORMAT, "line 4 has no label");
        measure(&b, PARE_CRITERION_ACTIVATION);
        bench_close(&b);
    }
    bench_open(&b, TRANSLATOR, 12);
    b.examples.items[1].sequence.decoder_count = 0;
    set_data(&b);
    refused(&b, PARE_CRITERION_ACTIVATION, PARE_E_FORMAT, "line 2 has no target");
    b.options.data = NULL;
    refused(&b, PARE_CRITERION_FISHER, PARE_E_USAGE, "by fisher needs data");
    bench_close(&b);
    bench_open(&b, TAGGER, 12);
    b.weights.description.head.kind = PARE_HEAD_SPAN;
    refused(&b, PARE_CRITERION_TAYLOR, PARE_E_UNSUPPORTED, "a span head has none");
    measure(&b, PARE_CRITERION_ACTIVATION);
    b.weights.description.head.kind = PARE_HEAD_TOKENS;
    b.model.data[find_slot(&b.model.slots, "encoder.layers.1.ffn.in.bias")][0] = INFINITY;
    refused(&b, PARE_CRITERION_MAGNITUDE, PARE_E_FORMAT, "layer 1 of the encoder is not a finite");
    bench_close(&b);
}

/* -- no memory -- */

static void check_no_memory(PareCriterion criterion) {
    Bench b;
    PareStatus st = PARE_E_MEMORY;
    size_t failures = 0;
    bench_open(&b, TRANSLATOR, 12);
    measure(&b, criterion);
    PareImportance first = b.found;
    for (uint64_t n = 1; st; n += n < 100 ? 1 : 5, failures++) {
        PareArena *arena = pare_arena_create(64);
        assert_non_null(arena);
        pare_memory_fail_after(n);
        st = pare_importance_measure(&b.weights, &b.options, arena, &b.found, &b.err);
        pare_memory_fail_after(0);
        if (st && (st != PARE_E_MEMORY || !strstr(b.err.message, "out of memory")))
            fail_msg("allocation %llu: %s", (unsigned long long)n, b.err.message);
        if (!st)
            assert_same("after failures", &b.model.d, &first, &b.found, 0);
        pare_arena_destroy(arena);
    }
    assert_true(failures > (criterion == PARE_CRITERION_MAGNITUDE ? 5 : 20));
    bench_close(&b);
}

static void test_no_memory(void **state) {
    (void)state;
    check_no_memory(PARE_CRITERION_FISHER);
    check_no_memory(PARE_CRITERION_ACTIVATION);
    check_no_memory(PARE_CRITERION_MAGNITUDE);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_differences), cmocka_unit_test(test_own_outputs),
        cmocka_unit_test(test_drawing),     cmocka_unit_test(test_seeds),
        cmocka_unit_test(test_batches),     cmocka_unit_test(test_threads),
        cmocka_unit_test(test_magnitude),   cmocka_unit_test(test_random),
        cmocka_unit_test(test_refusals),    cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
