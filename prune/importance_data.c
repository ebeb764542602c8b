/* Importance by data: batches through the model, forwards and backwards, and what probes see.
 *
 * The mask of a unit multiplies the unit's values, so that the loss's derivative by it is the sum
 * of value * gradient over the rows and columns of the unit; the mask of a layer multiplies what
 * the layer adds to the stream. Sums are double and in the order of the rows, unit by unit,
 * whatever the threads. Of the parameters only one small table a stack is trained: gradients have
 * to reach the first layer, and no weight's gradient is wanted. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "learn/batches.h"
#include "learn/objective.h"
#include "prune/importance_impl.h"
#include "runtime/blas.h"

/* Elements below which waking other threads costs more than it brings. */
enum { SMALL = 1 << 14 };

struct Meter;

/* A point of a layer. */
typedef struct {
    PareProbe probe;
    struct Meter *m;
    PareStackIndex stack;
    uint32_t layer;
    ParePoint point;
    PareScoreList list; /* of SELF, CROSS and the feed-forward points */
} Spot;

/* Consecutive rows that belong to one loss, of which `weight` times the batch's gradient is the
 * gradient. */
typedef struct {
    size_t begin, end;
    double weight;
} Segment;

typedef struct Meter {
    const PareWeights *w;
    const PareImportanceOptions *o;
    PareImportance *out;
    Spot *spots[PARE_STACKS]; /* [layers, PARE_POINT_COUNT] */
    double *sums;             /* [the most units of a list, or the widest stream] */
    PareObjective objective;
    PareOwnLabels own;
    ParePool *pool;
    PareArena *arena, *batch_arena;
    PareTape *tape;
    PareTapeRange *ranges;
    float *grads;
    PareError *err;
    /* Of the batch: */
    PareExample *items;
    Segment *segments[PARE_STACKS];
    size_t segment_count;
    const float **entries[PARE_STACKS]; /* [layers]: what each layer read */
    float *copies[PARE_STACKS];         /* without a tape: its memory */
    /* So far: */
    uint64_t rows[PARE_STACKS];
} Meter;

static bool goes_backwards(const Meter *m) {
    return m->o->criterion != PARE_CRITERION_ACTIVATION;
}

/* -- sums -- */

/* What is summed: (x - minus) * dx, or without dx the absolute value of the first. */
typedef struct {
    const Meter *m;
    const float *x, *minus, *dx; /* minus and dx may be NULL */
    size_t rows, cols, group;    /* columns of a unit */
    const Segment *segment;
    double *sums; /* [cols / group] */
} Sum;

static double unit_of_row(const Sum *j, size_t at) {
    double sum = 0;
    for (size_t c = at; c < at + j->group; c++) {
        double value = j->minus ? (double)j->x[c] - j->minus[c] : (double)j->x[c];
        sum += j->dx ? value * j->dx[c] : fabs(value);
    }
    return sum;
}

static void sum_units(void *context, size_t begin, size_t end, size_t thread) {
    const Sum *j = context;
    (void)thread;
    for (size_t u = begin; u < end; u++)
        j->sums[u] = 0;
    for (size_t r = j->segment->begin; r < j->segment->end; r++)
        for (size_t u = begin; u < end; u++)
            j->sums[u] += unit_of_row(j, r * j->cols + u * j->group);
}

/* What one segment says about a unit. */
static double reading(const Meter *m, double sum, double weight) {
    switch (m->o->criterion) {
    case PARE_CRITERION_FISHER:
        return sum * weight * (sum * weight);
    case PARE_CRITERION_ACTIVATION:
        return sum;
    default:
        return fabs(sum);
    }
}

static void add_readings(Sum *j, PareStackIndex stack, double *scores) {
    const Meter *m = j->m;
    const Segment whole = {0, j->rows, 1};
    bool each = m->o->criterion == PARE_CRITERION_FISHER;
    size_t units = j->cols / j->group, grain = j->group < 64 ? 64 / j->group : 1;
    for (size_t i = 0; i < (each ? m->segment_count : 1); i++) {
        j->segment = each ? &m->segments[stack][i] : &whole;
        size_t work = (j->segment->end - j->segment->begin) * j->cols;
        pare_pool_for(work < SMALL ? NULL : m->pool, units, grain, sum_units, j);
        for (size_t u = 0; u < units; u++)
            scores[u] += reading(m, j->sums[u], j->segment->weight);
    }
}

/* -- probes -- */

/* A layer's input stays where it is as long as there is a tape; otherwise the layer overwrites it.
 */
static void keep_entry(Meter *m, const Spot *p, const float *x, size_t count) {
    if (m->copies[p->stack])
        memcpy(m->copies[p->stack], x, count * sizeof *x);
    m->entries[p->stack][p->layer] = m->copies[p->stack] ? m->copies[p->stack] : x;
}

static void see(void *context, const float *x, const float *dx, size_t rows, size_t cols) {
    const Spot *p = context;
    Meter *m = p->m;
    PareStackScores *scores = &m->out->stacks[p->stack];
    if (!dx && p->point == PARE_POINT_LAYER_IN)
        keep_entry(m, p, x, rows * cols);
    if (goes_backwards(m) != (dx != NULL) || p->point == PARE_POINT_LAYER_IN)
        return;
    Sum j = {.m = m, .x = x, .dx = dx, .rows = rows, .cols = cols, .sums = m->sums};
    if (p->point != PARE_POINT_LAYER) {
        j.group = p->list.columns;
        add_readings(&j, p->stack, p->list.scores);
        return;
    }
    j.group = 1;
    add_readings(&j, p->stack, scores->width);
    j.group = cols;
    j.minus = m->entries[p->stack][p->layer];
    add_readings(&j, p->stack, &scores->layer[p->layer]);
}

/* Feed-forward units are seen at one of two places. */
static bool is_wanted(const Meter *m, ParePoint point) {
    bool before = m->o->criterion == PARE_CRITERION_GRADIENT;
    return point != (before ? PARE_POINT_FFN : PARE_POINT_FFN_IN);
}

static const PareProbe *find_probe(void *context, PareStackIndex stack, uint32_t layer,
                                   ParePoint point) {
    const Meter *m = context;
    const Spot *p = &m->spots[stack][(size_t)layer * PARE_POINT_COUNT + point];
    return is_wanted(m, point) ? &p->probe : NULL;
}

static void set_spot(Meter *m, PareStackIndex s, uint32_t layer, ParePoint point) {
    static const int LISTS[PARE_POINT_COUNT] = {[PARE_POINT_SELF] = PARE_BLOCK_SELF,
                                                [PARE_POINT_CROSS] = PARE_BLOCK_CROSS,
                                                [PARE_POINT_FFN_IN] = PARE_LIST_FFN,
                                                [PARE_POINT_FFN] = PARE_LIST_FFN};
    Spot *p = &m->spots[s][(size_t)layer * PARE_POINT_COUNT + point];
    *p = (Spot){.probe = {see, p}, .m = m, .stack = s, .layer = layer, .point = point};
    p->list = pare_importance_list(m->out, &m->w->description, (int)s, layer, LISTS[point]);
}

static PareStatus make_spots(Meter *m) {
    size_t most = 0;
    for (int s = 0; s < PARE_STACKS; s++) {
        const PareStack *k = &m->w->description.stacks[s];
        size_t count = k->present ? k->layer_count : 0;
        m->spots[s] = pare_arena_alloc(m->arena, count * PARE_POINT_COUNT, sizeof *m->spots[s]);
        m->entries[s] = pare_arena_alloc(m->arena, count, sizeof *m->entries[s]);
        if (!m->spots[s] || !m->entries[s])
            return pare_memory_error(m->err, "importance");
        for (uint32_t l = 0; l < count; l++)
            for (int point = 0; point < PARE_POINT_COUNT; point++) {
                set_spot(m, (PareStackIndex)s, l, (ParePoint)point);
                size_t units = m->spots[s][(size_t)l * PARE_POINT_COUNT + (size_t)point].list.units;
                most = units > most ? units : most;
            }
        most = k->present && k->width > most ? k->width : most;
    }
    m->sums = pare_arena_alloc(m->arena, most, sizeof *m->sums);
    return m->sums ? PARE_OK : pare_memory_error(m->err, "importance");
}

/* -- the tape -- */

/* The smallest of the tables that the stack's embeddings are the sum of. */
static const char *const TABLES[] = {"positions", "types", "tokens"};

static void train_one_table(Meter *m, int s) {
    for (size_t i = 0; i < sizeof TABLES / sizeof *TABLES; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.embed.%s", s == PARE_ENCODER ? "encoder" : "decoder",
                 TABLES[i]);
        const PareSlot *slot = pare_slots_find(&m->w->slots, name);
        if (slot) {
            m->ranges[m->w->tensor_of[slot - m->w->slots.items]].trained = true;
            return;
        }
    }
}

static PareStatus make_tape(Meter *m) {
    const PareWeights *w = m->w;
    if (!goes_backwards(m))
        return PARE_OK;
    m->ranges = pare_arena_alloc(m->arena, w->tensor_count, sizeof *m->ranges);
    m->grads = pare_alloc(w->count, sizeof *m->grads);
    if (!m->ranges || !m->grads)
        return pare_memory_error(m->err, "importance");
    for (size_t i = 0; i < w->tensor_count; i++)
        m->ranges[i] = (PareTapeRange){w->tensors[i].offset, w->tensors[i].count, false};
    for (int s = 0; s < PARE_STACKS; s++)
        if (w->description.stacks[s].present)
            train_one_table(m, s);
    return pare_tape_create(w->values, m->grads, m->ranges, w->tensor_count, &m->tape, m->err);
}

/* -- a batch -- */

static bool is_pair(const PareDescription *d) {
    return d->stacks[PARE_ENCODER].present && d->stacks[PARE_DECODER].present;
}

/* An example needs what the decoder reads, and where its labels are asked for, labels. */
static PareStatus check_example(const Meter *m, const PareExample *e) {
    PareExamplesTask task = m->o->data->task;
    bool labelled = e->target_count > 0;
    if (task == PARE_EXAMPLES_CLASSIFICATION)
        labelled = e->label >= 0;
    if (task == PARE_EXAMPLES_REGRESSION)
        labelled = !isnan(e->value);
    if (is_pair(&m->w->description) && e->sequence.decoder_count == 0)
        return pare_error_set(m->err, PARE_E_FORMAT,
                              "the example of line %zu has no target, and the decoder needs one to "
                              "read",
                              e->line);
    if (m->out->from_labels && !labelled)
        return pare_error_set(m->err, PARE_E_FORMAT,
                              "the example of line %zu has no label, and importance by %s is that "
                              "of a loss; expected labels, or the model's own outputs in their "
                              "place",
                              e->line, pare_criterion_name(m->o->criterion));
    return PARE_OK;
}

static PareStatus load_batch(Meter *m, const uint32_t *indices, size_t count) {
    PareStatus st = PARE_OK;
    m->items = pare_arena_alloc_raw(m->batch_arena, count, sizeof *m->items);
    if (!m->items)
        return pare_memory_error(m->err, "a batch");
    for (size_t i = 0; i < count && !st; i++) {
        m->items[i] = pare_examples_get(m->o->data->examples, indices[i]);
        st = check_example(m, &m->items[i]);
    }
    return st;
}

/* The rows of each example; its own loss is the mean over its rows of scores, of which the batch's
 * loss has counted / `counted` times as little. */
static PareStatus make_segments(Meter *m, size_t count, const PareBatchSize *whole) {
    bool pair = is_pair(&m->w->description);
    m->segment_count = count;
    for (int s = 0; s < PARE_STACKS; s++) {
        size_t at = 0;
        m->segments[s] = pare_arena_alloc_raw(m->batch_arena, count, sizeof *m->segments[s]);
        if (!m->segments[s])
            return pare_memory_error(m->err, "a batch");
        for (size_t i = 0; i < count; i++) {
            const PareSequence *q = &m->items[i].sequence;
            size_t rows = s == PARE_DECODER && pair ? q->decoder_count : q->count;
            size_t own = pare_objective_size(&m->objective, &m->items[i], 1).counted;
            double weight = own ? (double)whole->counted / (double)own : 0;
            m->segments[s][i] = (Segment){at, at + rows, weight};
            at += rows;
        }
    }
    return PARE_OK;
}

static PareStatus make_copies(Meter *m, const PareBatchSize *whole) {
    for (int s = 0; s < PARE_STACKS && !goes_backwards(m); s++) {
        const PareStack *k = &m->w->description.stacks[s];
        size_t count;
        if (!k->present)
            continue;
        if (!pare_size_mul(whole->rows[s], k->width, &count) ||
            !(m->copies[s] = pare_arena_alloc_raw(m->batch_arena, count, sizeof(float))))
            return pare_memory_error(m->err, "a batch");
    }
    return PARE_OK;
}

static PareStatus run_batch(Meter *m, const uint32_t *indices, size_t count) {
    PareLossTerms terms = {0};
    PareRun r = {.kernels = pare_kernels(),
                 .pool = m->pool,
                 .arena = m->batch_arena,
                 .tape = m->tape,
                 .err = m->err};
    pare_arena_release(m->batch_arena, (PareArenaMark){0});
    PareStatus st = load_batch(m, indices, count);
    if (st)
        return st;
    PareBatchSize whole = pare_objective_size(&m->objective, m->items, count);
    st = make_segments(m, count, &whole);
    if (!st)
        st = make_copies(m, &whole);
    if (!st)
        st = pare_objective_run(&m->objective, &r, m->items, count, &whole, &terms);
    if (!st && m->tape)
        st = pare_tape_backward(&r);
    m->own.first += whole.counted;
    for (int s = 0; s < PARE_STACKS; s++)
        m->rows[s] += whole.rows[s];
    m->out->batches++;
    m->out->examples += count;
    return st;
}

/* -- all of them -- */

static PareStatus run_batches(Meter *m, PareBatches *batches) {
    const PareImportanceOptions *o = m->o;
    size_t all;
    PareStatus st = pare_batches_in(batches, 0, &all, m->err);
    for (size_t i = 0; i < all && (!o->limit_batches || i < o->limit_batches) && !st; i++) {
        const uint32_t *indices;
        size_t count;
        st = pare_interrupt_check(m->err);
        if (!st)
            st =
                pare_batches_at(batches, (PareBatchPosition){.batch = i}, &indices, &count, m->err);
        if (!st)
            st = run_batch(m, indices, count);
        pare_progress_update(o->progress, m->out->examples, NULL);
    }
    return st;
}

static void divide(double *scores, size_t count, double by) {
    for (size_t i = 0; i < count; i++)
        scores[i] /= by;
}

/* From sums to means: over batches; of Fisher over examples; of activations over their number. */
static void take_means(Meter *m) {
    const PareDescription *d = &m->w->description;
    bool activation = m->o->criterion == PARE_CRITERION_ACTIVATION;
    double number =
        (double)(m->o->criterion == PARE_CRITERION_FISHER ? m->out->examples : m->out->batches);
    for (int s = 0; s < PARE_STACKS; s++) {
        const PareStack *k = &d->stacks[s];
        double by = activation ? (double)m->rows[s] : number;
        if (!k->present)
            continue;
        for (uint32_t l = 0; l < k->layer_count; l++)
            for (int list = 0; list < PARE_LISTS; list++) {
                PareScoreList scores = pare_importance_list(m->out, d, s, l, list);
                if (scores.scores)
                    divide(scores.scores, scores.units, activation ? by * scores.columns : by);
            }
        divide(m->out->stacks[s].layer, k->layer_count, activation ? by * k->width : by);
        divide(m->out->stacks[s].width, k->width, by);
    }
}

static PareStatus check_options(const Meter *m) {
    if (!m->o->data)
        return pare_error_set(m->err, PARE_E_USAGE, "importance by %s needs data",
                              pare_criterion_name(m->o->criterion));
    return pare_importance_check_head(m->o->criterion, m->w->description.head.kind, m->err);
}

static void set_objective(Meter *m) {
    bool loss = goes_backwards(m);
    m->out->from_labels = loss && !m->o->own_outputs;
    m->own =
        (PareOwnLabels){.sample = m->o->criterion == PARE_CRITERION_FISHER, .seed = m->o->seed};
    m->objective = (PareObjective){.d = &m->w->description,
                                   .p = &m->w->params,
                                   .weights = {.label = 1, .temperature = 1},
                                   .regression = m->o->data->task == PARE_EXAMPLES_REGRESSION,
                                   .own = m->out->from_labels ? NULL : &m->own,
                                   .probes = find_probe,
                                   .probes_context = m,
                                   .inside_only = !loss};
}

static PareStatus measure(Meter *m, PareBatches **batches) {
    const PareImportanceOptions *o = m->o;
    const PareBatchesOptions options = {.batch_size = o->batch_size,
                                        .batch_tokens = o->batch_tokens};
    m->arena = pare_arena_create(0);
    m->batch_arena = pare_arena_create(0);
    if (!m->arena || !m->batch_arena)
        return pare_memory_error(m->err, "importance");
    set_objective(m);
    PareStatus st = make_spots(m);
    if (!st)
        st = make_tape(m);
    if (!st)
        st = pare_pool_create(o->threads, &m->pool, m->err);
    if (!st)
        st = pare_batches_create(&options, o->data->examples, batches, m->err);
    if (!st)
        st = run_batches(m, *batches);
    if (!st)
        take_means(m);
    return st;
}

PareStatus pare_importance_from_data(const PareWeights *w, const PareImportanceOptions *o,
                                     PareImportance *out, PareError *err) {
    Meter m = {.w = w, .o = o, .out = out, .err = err};
    PareBatches *batches = NULL;
    PareStatus st = check_options(&m);
    pare_blas_init();
    if (!st)
        st = measure(&m, &batches);
    pare_batches_destroy(batches);
    pare_pool_destroy(m.pool);
    pare_tape_destroy(m.tape);
    pare_free(m.grads);
    pare_arena_destroy(m.batch_arena);
    pare_arena_destroy(m.arena);
    return st;
}
