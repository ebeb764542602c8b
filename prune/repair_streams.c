/* Calibration rows, and the streams of a model on them. */
#include "prune/repair_streams.h"

#include <string.h>

#include "core/file.h"
#include "runtime/forward.h"

/* Rows of a batch, unless one sequence alone has more: what keeps attention's and the products'
 * memory small beside the streams. */
enum { BATCH_ROWS = 1024, DEFAULT_ROWS = 32768 };
static const double default_ridge = 1e-2;

size_t pare_repair_rows(const PareRepairOptions *o) {
    return o->rows ? (size_t)o->rows : DEFAULT_ROWS;
}

double pare_repair_ridge(const PareRepairOptions *o) {
    return o->ridge > 0 ? o->ridge : default_ridge;
}

/* -- which rows -- */

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

static size_t max_size(size_t a, size_t b) {
    return a > b ? a : b;
}

typedef struct {
    const PareExamples *x;
    const char *path;
    const PareDescription *d;
    size_t reach[PARE_STACKS]; /* positions of a sequence at most */
    bool both;                 /* an encoder and a decoder */
    size_t rows;
    PareCalibration *out;
    PareError *err;
} Chooser;

static size_t reach_of(const PareDescription *d, const PareDescription *pruned, int stack) {
    uint32_t a = d->stacks[stack].positions, b = pruned->stacks[stack].positions;
    a = a ? a : UINT32_MAX;
    return b && b < a ? b : a;
}

/* Rows of one example in each stack. */
static void lengths_of(const Chooser *c, size_t index, size_t rows[PARE_STACKS]) {
    size_t source, target;
    pare_examples_lengths(c->x, index, &source, &target);
    bool encoder = c->d->stacks[PARE_ENCODER].present;
    size_t decoded = encoder ? (c->both ? target : 0) : source;
    rows[PARE_ENCODER] = encoder ? min_size(source, c->reach[PARE_ENCODER]) : 0;
    rows[PARE_DECODER] = min_size(decoded, c->reach[PARE_DECODER]);
}

/* Both stacks are counted as one number: the larger, so that neither exceeds the limit. */
static size_t load_of(const Chooser *c, size_t index) {
    size_t rows[PARE_STACKS];
    lengths_of(c, index, rows);
    return max_size(rows[PARE_ENCODER], rows[PARE_DECODER]);
}

static PareStatus take(const Chooser *c, size_t index) {
    PareCalibration *out = c->out;
    PareExample e = pare_examples_get(c->x, index);
    PareSequence *q = &out->sequences[out->count++];
    *q = e.sequence;
    if (c->both && q->decoder_count == 0)
        return pare_error_set(c->err, PARE_E_USAGE,
                              "%s: line %zu has no target; repairing a decoder needs what it reads",
                              c->path, e.line);
    q->count = min_size(q->count,
                        c->reach[c->d->stacks[PARE_ENCODER].present ? PARE_ENCODER : PARE_DECODER]);
    q->decoder_count = c->both ? min_size(q->decoder_count, c->reach[PARE_DECODER]) : 0;
    out->longest = max_size(out->longest, max_size(q->count, q->decoder_count));
    return PARE_OK;
}

/* An example is taken when the share of rows that are taken falls behind the share that is due. */
static PareStatus choose(const Chooser *c) {
    size_t examples = pare_examples_count(c->x);
    double all = 0, seen = 0, taken = 0, limit = (double)c->rows;
    PareStatus st = PARE_OK;
    for (size_t i = 0; i < examples; i++)
        all += (double)load_of(c, i);
    for (size_t i = 0; i < examples && !st; i++) {
        double load = (double)load_of(c, i);
        seen += load;
        if (all > limit && (taken + load) * all > seen * limit)
            continue;
        taken += load;
        st = take(c, i);
    }
    if (!st && c->out->count == 0)
        st = take(c, 0);
    return st;
}

static void cut_batches(const Chooser *c) {
    PareCalibration *out = c->out;
    PareCalibrationBatch *b = NULL;
    bool encoder = c->d->stacks[PARE_ENCODER].present;
    for (size_t i = 0; i < out->count; i++) {
        const PareSequence *q = &out->sequences[i];
        size_t rows[PARE_STACKS] = {encoder ? q->count : 0, encoder ? q->decoder_count : q->count};
        if (!b || b->rows[PARE_ENCODER] + rows[PARE_ENCODER] > BATCH_ROWS ||
            b->rows[PARE_DECODER] + rows[PARE_DECODER] > BATCH_ROWS) {
            b = &out->batches[out->batch_count++];
            *b = (PareCalibrationBatch){.first = i};
            memcpy(b->row, out->rows, sizeof b->row);
        }
        b->count++;
        for (int s = 0; s < PARE_STACKS; s++) {
            b->rows[s] += rows[s];
            out->rows[s] += rows[s];
        }
    }
}

PareStatus pare_calibration_choose(const PareExamples *x, const char *path,
                                   const PareDescription *d, const PareDescription *pruned,
                                   size_t rows, PareArena *arena, PareCalibration *out,
                                   PareError *err) {
    *out = (PareCalibration){.arena = arena};
    Chooser c = {.x = x, .path = path, .d = d, .rows = rows, .out = out, .err = err};
    c.both = d->stacks[PARE_ENCODER].present && d->stacks[PARE_DECODER].present;
    for (int s = 0; s < PARE_STACKS; s++)
        c.reach[s] = reach_of(d, pruned, s);
    size_t most = min_size(pare_examples_count(x), max_size(rows, 1));
    if (pare_examples_count(x) == 0)
        return pare_error_set(err, PARE_E_USAGE, "%s: has no example to repair by", path);
    out->sequences = pare_arena_alloc(arena, most, sizeof *out->sequences);
    out->batches = pare_arena_alloc(arena, most, sizeof *out->batches);
    if (!out->sequences || !out->batches)
        return pare_memory_error(err, "calibration rows");
    PareStatus st = choose(&c);
    if (!st)
        cut_batches(&c);
    return st;
}

/* -- one model's streams -- */

PareStatus pare_streams_open(PareStreams *s, PareRun *r, const PareCalibration *c,
                             const PareDescription *d, const PareParams *p) {
    *s = (PareStreams){.r = r, .c = c, .t = {.d = d, .p = p}};
    s->t.relatives = &s->relatives;
    return pare_transformer_relatives(r, d, p, max_size(c->longest, 1), &s->relatives);
}

void pare_streams_close(PareStreams *s) {
    for (int i = 0; i < PARE_STACKS; i++)
        pare_free(s->x[i]);
    *s = (PareStreams){0};
}

bool pare_streams_has(const PareLayerShape *l, PareSublayer which) {
    if (which == PARE_SUBLAYER_FFN)
        return l->ffn > 0;
    return (which == PARE_SUBLAYER_SELF ? l->self : l->cross).heads > 0;
}

PareStatus pare_streams_buffers(const PareCalibration *c, const PareDescription *d, float **x,
                                float **y, size_t *sublayers, PareError *err) {
    size_t inputs = 1, outputs = 1, rows = 1, count;
    *sublayers = 0;
    for (int s = 0; s < PARE_STACKS; s++) {
        const PareStack *k = &d->stacks[s];
        for (uint32_t l = 0; k->present && l < k->layer_count; l++) {
            const PareLayerShape *shape = &k->layers[l];
            for (int i = 0; i < PARE_SUBLAYERS; i++)
                *sublayers += pare_streams_has(shape, (PareSublayer)i);
            inputs = max_size(inputs, (size_t)shape->self.heads * shape->self.head_size);
            inputs = max_size(inputs, (size_t)shape->cross.heads * shape->cross.head_size);
            inputs = max_size(inputs, shape->ffn);
        }
        outputs = max_size(outputs, k->present ? k->width : 0);
        rows = max_size(rows, c->rows[s]);
    }
    *x = pare_size_mul(rows, inputs, &count) ? pare_alloc(count, sizeof **x) : NULL;
    *y = pare_size_mul(rows, outputs, &count) ? pare_alloc(count, sizeof **y) : NULL;
    return *x && *y ? PARE_OK : pare_memory_error(err, "calibration rows");
}

/* What one batch needs; everything lives until the run's arena is released. */
typedef struct {
    const PareStreams *s;
    const PareCalibrationBatch *b;
    PareStackIndex stack;
    ParePass pass;
} Step;

static bool has_memory(const PareStreams *s, PareStackIndex stack) {
    return stack == PARE_DECODER && s->t.d->stacks[PARE_ENCODER].present;
}

static PareStatus begin_step(Step *step, const PareStreams *s, PareStackIndex stack,
                             const PareCalibrationBatch *b) {
    PareRows *rows;
    *step = (Step){.s = s, .b = b, .stack = stack, .pass = {.sequence_count = b->count}};
    if (!s->r->status)
        s->r->status = pare_interrupt_check(s->r->err);
    if (s->r->status)
        return s->r->status;
    const PareSequence *sequences = s->c->sequences + b->first;
    bool decodes = has_memory(s, stack);
    if (pare_forward_pack(s->r, sequences, b->count, decodes, &step->pass.tokens, &rows))
        return s->r->status;
    for (size_t i = 0, at = 0; decodes && i < b->count; at += sequences[i++].count) {
        rows[i].memory_begin = at;
        rows[i].memory_count = sequences[i].count;
    }
    step->pass.sequences = rows;
    return PARE_OK;
}

/* The stream's rows of the batch. */
static PareValue *stream_of(const Step *step, PareStackIndex stack) {
    const PareStreams *s = step->s;
    size_t width = s->t.d->stacks[stack].width;
    return pare_op_view(s->r, s->x[stack] + step->b->row[stack] * width, step->b->rows[stack],
                        width);
}

/* Keys and values of one layer's cross-attention. */
static void add_memory(Step *step, uint32_t layer) {
    PareRun *r = step->s->r;
    size_t layers = step->s->t.d->stacks[PARE_DECODER].layer_count;
    const PareAttentionParams *a = &step->s->t.p->stacks[PARE_DECODER].layers[layer].cross;
    PareKeyValues *m = pare_arena_alloc(r->arena, 1, sizeof *m);
    float **k = pare_arena_alloc(r->arena, layers, sizeof *k);
    float **v = pare_arena_alloc(r->arena, layers, sizeof *v);
    PareValue *encoded = stream_of(step, PARE_ENCODER);
    PareValue *key = pare_op_linear(r, encoded, &a->key);
    PareValue *value = pare_op_linear(r, encoded, &a->value);
    if (!m || !k || !v || !key || !value) {
        r->status = r->status ? r->status : pare_memory_error(r->err, "cross-attention");
        return;
    }
    k[layer] = key->data;
    v[layer] = value->data;
    *m = (PareKeyValues){.k = k, .v = v};
    step->pass.memory = m;
}

/* Calls `body` for every batch. */
typedef struct {
    uint32_t layer;
    PareSublayer which;
    const PareLinear *linear;
    const float *in;
    float *out;
} Work;

static PareStatus for_batches(const PareStreams *s, PareStackIndex stack, const Work *w,
                              void (*body)(Step *step, const Work *w)) {
    PareRun *r = s->r;
    for (size_t i = 0; i < s->c->batch_count && !r->status; i++) {
        Step step;
        PareArenaMark mark = pare_arena_mark(r->arena);
        if (s->c->batches[i].rows[stack] && !begin_step(&step, s, stack, &s->c->batches[i]))
            body(&step, w);
        pare_arena_release(r->arena, mark);
    }
    return r->status;
}

static void copy_rows(const Step *step, const PareValue *x, float *to) {
    if (x)
        memcpy(to + step->b->row[step->stack] * x->cols, x->data, x->rows * x->cols * sizeof *to);
}

static void embed_batch(Step *step, const Work *w) {
    const PareStreams *s = step->s;
    copy_rows(step, pare_transformer_embed(s->r, &s->t, step->stack, &step->pass), w->out);
}

PareStatus pare_streams_embed(PareStreams *s, PareStackIndex stack) {
    size_t count;
    if (!pare_size_mul(s->c->rows[stack], s->t.d->stacks[stack].width, &count) ||
        !(s->x[stack] = pare_alloc(count, sizeof *s->x[stack])))
        return s->r->status = pare_memory_error(s->r->err, "the residual stream");
    return for_batches(s, stack, &(Work){.out = s->x[stack]}, embed_batch);
}

static void inside_batch(Step *step, const Work *w) {
    const PareStreams *s = step->s;
    if (w->which == PARE_SUBLAYER_CROSS)
        add_memory(step, w->layer);
    PareValue *x = stream_of(step, step->stack);
    if (!s->r->status)
        x = pare_transformer_inside(s->r, &s->t, step->stack, &step->pass, w->layer, w->which, x);
    copy_rows(step, s->r->status ? NULL : x, w->out);
}

PareStatus pare_streams_inside(const PareStreams *s, PareStackIndex stack, uint32_t layer,
                               PareSublayer which, float *out) {
    return for_batches(s, stack, &(Work){.layer = layer, .which = which, .out = out}, inside_batch);
}

static void linear_batch(Step *step, const Work *w) {
    size_t row = step->b->row[step->stack], K = w->linear->weight.K, N = w->linear->weight.N;
    PareValue x = {.rows = step->b->rows[step->stack], .cols = K};
    x.data = (float *)(uintptr_t)(w->in + row * K); /* is only read */
    pare_op_linear_into(step->s->r, &x, w->linear, w->out + row * N);
}

PareStatus pare_streams_linear(const PareStreams *s, PareStackIndex stack, const PareLinear *l,
                               const float *x, float *y) {
    return for_batches(s, stack, &(Work){.linear = l, .in = x, .out = y}, linear_batch);
}

static void advance_batch(Step *step, const Work *w) {
    const PareStreams *s = step->s;
    const PareStack *stack = &s->t.d->stacks[step->stack];
    const PareLayerParams *l = &s->t.p->stacks[step->stack].layers[w->layer];
    PareValue *x = stream_of(step, step->stack);
    if (!x)
        return;
    const float *y = w->in + step->b->row[step->stack] * x->cols;
    s->r->kernels->add(x->data, x->data, y, x->rows * x->cols);
    if (!stack->pre_norm)
        pare_op_norm_in_place(s->r, x, stack->norm, pare_transformer_sublayer(l, w->which).norm,
                              stack->norm_eps);
}

PareStatus pare_streams_advance(const PareStreams *s, PareStackIndex stack, uint32_t layer,
                                PareSublayer which, const float *y) {
    return for_batches(s, stack, &(Work){.layer = layer, .which = which, .in = y}, advance_batch);
}

static void finish_batch(Step *step, const Work *w) {
    const PareStreams *s = step->s;
    const PareStack *stack = &s->t.d->stacks[step->stack];
    (void)w;
    pare_op_norm_in_place(s->r, stream_of(step, step->stack), stack->norm,
                          &s->t.p->stacks[step->stack].norm, stack->norm_eps);
}

PareStatus pare_streams_finish(const PareStreams *s, PareStackIndex stack) {
    if (!s->t.d->stacks[stack].final_norm)
        return s->r->status;
    return for_batches(s, stack, &(Work){0}, finish_batch);
}
