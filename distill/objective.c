/* A batch through student and teacher, to its loss. */
#include "distill/objective.h"

/* One run of it. */
typedef struct {
    const PareObjective *o;
    PareRun *r;
    const PareTrainItem *items;
    size_t count;
    const PareSequence *sequences;
    size_t counted;   /* of the whole batch */
    int32_t *targets; /* [rows of scores] */
    float *values;
    uint32_t *chosen; /* rows of the top stack that have a target; NULL: all */
    size_t rows;      /* rows of scores */
} Batch;

static bool is_sequence_head(const PareObjective *o) {
    return o->d->head.kind == PARE_HEAD_SEQUENCE;
}

/* Positions of the top stack of one item. */
static size_t positions(const PareObjective *o, const PareTrainItem *item) {
    bool both = o->d->stacks[PARE_ENCODER].present && o->d->stacks[PARE_DECODER].present;
    return both ? item->sequence.decoder_count : item->sequence.count;
}

size_t pare_objective_count(const PareObjective *o, const PareTrainItem *items, size_t count) {
    size_t counted = 0;
    if (is_sequence_head(o))
        return count;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < positions(o, &items[i]); k++)
            counted += items[i].targets[k] >= 0;
    return counted;
}

static PareStatus no_memory(Batch *b) {
    return b->r->status = pare_memory_error(b->r->err, "a batch");
}

static PareStatus list_sequences(Batch *b) {
    PareSequence *list = pare_arena_alloc_raw(b->r->arena, b->count, sizeof *list);
    if (!list)
        return no_memory(b);
    for (size_t i = 0; i < b->count; i++)
        list[i] = b->items[i].sequence;
    b->sequences = list;
    return PARE_OK;
}

/* One row of scores for each item. */
static PareStatus sequence_targets(Batch *b) {
    PareArena *arena = b->r->arena;
    b->rows = b->count;
    b->targets = pare_arena_alloc_raw(arena, b->rows, sizeof *b->targets);
    b->values = pare_arena_alloc_raw(arena, b->rows, sizeof *b->values);
    if (!b->targets || !b->values)
        return no_memory(b);
    for (size_t i = 0; i < b->count; i++) {
        b->targets[i] = b->items[i].label;
        b->values[i] = b->items[i].value;
    }
    return PARE_OK;
}

/* One row for each position that has a target: scores of others are never computed. */
static PareStatus position_targets(Batch *b) {
    PareArena *arena = b->r->arena;
    size_t all = 0, at = 0;
    b->rows = pare_objective_count(b->o, b->items, b->count);
    for (size_t i = 0; i < b->count; i++)
        all += positions(b->o, &b->items[i]);
    b->targets = pare_arena_alloc_raw(arena, b->rows, sizeof *b->targets);
    uint32_t *chosen = pare_arena_alloc_raw(arena, b->rows, sizeof *chosen);
    if (!b->targets || !chosen)
        return no_memory(b);
    size_t row = 0;
    for (size_t i = 0; i < b->count; i++)
        for (size_t k = 0; k < positions(b->o, &b->items[i]); k++, row++) {
            if (b->items[i].targets[k] < 0)
                continue;
            b->targets[at] = b->items[i].targets[k];
            chosen[at++] = (uint32_t)row;
        }
    b->chosen = b->rows == all ? NULL : chosen;
    return PARE_OK;
}

/* The model as the pass sees it; it lives as long as the tape, which may compute layers again. */
static const PareTransformer *new_transformer(const Batch *b, const PareDescription *d,
                                              const PareParams *p) {
    PareRun *r = b->r;
    PareTransformer *t = pare_arena_alloc(r->arena, 1, sizeof *t);
    PareRelatives *relatives = pare_arena_alloc(r->arena, 1, sizeof *relatives);
    if (!t || !relatives) {
        r->status = pare_memory_error(r->err, "a batch");
        return NULL;
    }
    *t = (PareTransformer){d, p, relatives};
    size_t reach = pare_forward_longest(b->sequences, b->count);
    return pare_transformer_relatives(r, d, p, reach, relatives) ? NULL : t;
}

/* What the output layer reads: one row of it for each row of scores. */
static PareValue *head_rows(const Batch *b, const PareDescription *d, const PareParams *p,
                            bool frozen_encoder) {
    PareRun *r = b->r;
    PareForward f;
    PareForwardInput in = {.sequences = b->sequences,
                           .count = b->count,
                           .recompute = b->o->recompute,
                           .frozen_encoder = frozen_encoder};
    const PareTransformer *t = new_transformer(b, d, p);
    if (!t || pare_forward(r, t, &in, &f))
        return NULL;
    if (is_sequence_head(b->o))
        return pare_transformer_pool(r, t, f.top, f.rows, b->count);
    PareValue *x = b->chosen ? pare_op_gather(r, f.top, b->chosen, b->rows) : f.top;
    return d->head.kind == PARE_HEAD_LM ? pare_transformer_head_input(r, t, x) : x;
}

/* The teacher runs without tape and noise. */
static PareValue *teacher_rows(const Batch *b) {
    PareRun *r = b->r;
    PareTape *tape = r->tape;
    PareNoise *noise = r->noise;
    r->tape = NULL;
    r->noise = NULL;
    PareValue *x = head_rows(b, b->o->teacher_d, b->o->teacher_p, false);
    r->tape = tape;
    r->noise = noise;
    return x;
}

static void add_terms(const Batch *b, const PareRowLoss *rows, PareLossTerms *terms) {
    const PareLossWeights *w = &b->o->weights;
    double label = 0, soft = 0;
    for (size_t i = 0; i < b->rows; i++) {
        label += rows->label[i];
        soft += rows->soft ? rows->soft[i] : 0;
        terms->hits += rows->hit[i];
    }
    label *= w->label * rows->row_weight;
    soft *= w->soft * rows->row_weight;
    terms->label += label;
    terms->soft += soft;
    terms->total += label + soft;
    terms->counted += b->rows;
    for (size_t i = 0; i < b->count; i++)
        terms->tokens += b->sequences[i].count + b->sequences[i].decoder_count;
}

static PareStatus run_head(Batch *b, PareValue *x, PareValue *teacher_x, PareLossTerms *terms) {
    const PareObjective *o = b->o;
    PareArena *arena = b->r->arena;
    PareRowLoss rows = {.kernels = b->r->kernels,
                        .weights = &o->weights,
                        .targets = o->regression ? NULL : b->targets,
                        .values = b->values,
                        .row_weight = 1.0 / (double)b->counted};
    rows.label = pare_arena_alloc_raw(arena, b->rows, sizeof *rows.label);
    rows.soft = teacher_x ? pare_arena_alloc_raw(arena, b->rows, sizeof *rows.soft) : NULL;
    rows.hit = pare_arena_alloc_raw(arena, b->rows, 1);
    if (!rows.label || (teacher_x && !rows.soft) || !rows.hit)
        return no_memory(b);
    PareOutputLoss loss = {.x = x, .output = &o->p->output, .teacher_x = teacher_x};
    if (teacher_x)
        loss.teacher_output = &o->teacher_p->output;
    pare_op_output_loss(b->r, &loss, pare_loss_rows, &rows);
    if (!b->r->status)
        add_terms(b, &rows, terms);
    return b->r->status;
}

PareStatus pare_objective_run(const PareObjective *o, PareRun *r, const PareTrainItem *items,
                              size_t count, size_t counted, PareLossTerms *terms) {
    Batch b = {.o = o, .r = r, .items = items, .count = count, .counted = counted};
    if (list_sequences(&b) || (is_sequence_head(o) ? sequence_targets(&b) : position_targets(&b)))
        return r->status;
    PareValue *teacher_x = o->teacher_d ? teacher_rows(&b) : NULL;
    PareValue *x = head_rows(&b, o->d, o->p, o->frozen_encoder);
    return r->status ? r->status : run_head(&b, x, teacher_x, terms);
}
