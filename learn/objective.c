/* A batch through student and teacher, to its loss. */
#include "learn/objective.h"

#include <math.h>

#include "core/random.h"

/* One run of it. */
typedef struct {
    const PareObjective *o;
    PareRun *r;
    const PareExample *items;
    size_t count;
    const PareSequence *sequences;
    const PareBatchSize *whole;
    int32_t *targets; /* [rows of scores] */
    float *values;
    uint32_t *chosen; /* rows of the top stack that have a target; NULL: all */
    size_t rows;      /* rows of scores */
} Batch;

static bool is_sequence_head(const PareObjective *o) {
    return o->d->head.kind == PARE_HEAD_SEQUENCE;
}

/* Positions of the top stack of one item. */
static size_t positions(const PareObjective *o, const PareExample *item) {
    bool both = o->d->stacks[PARE_ENCODER].present && o->d->stacks[PARE_DECODER].present;
    return both ? item->sequence.decoder_count : item->sequence.count;
}

static bool is_counted(const PareObjective *o, const PareExample *item, size_t position) {
    return item->target_count ? item->targets[position] >= 0 : o->own != NULL;
}

static size_t count_targets(const PareObjective *o, const PareExample *items, size_t count) {
    size_t counted = 0;
    if (is_sequence_head(o))
        return count;
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < positions(o, &items[i]); k++)
            counted += is_counted(o, &items[i], k);
    return counted;
}

PareBatchSize pare_objective_size(const PareObjective *o, const PareExample *items, size_t count) {
    PareBatchSize size = {.counted = count_targets(o, items, count)};
    bool encoder = o->d->stacks[PARE_ENCODER].present;
    for (size_t i = 0; i < count; i++) {
        size.rows[encoder ? PARE_ENCODER : PARE_DECODER] += items[i].sequence.count;
        size.rows[PARE_DECODER] += encoder ? items[i].sequence.decoder_count : 0;
    }
    return size;
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
    b->rows = count_targets(b->o, b->items, b->count);
    for (size_t i = 0; i < b->count; i++)
        all += positions(b->o, &b->items[i]);
    b->targets = pare_arena_alloc_raw(arena, b->rows, sizeof *b->targets);
    uint32_t *chosen = pare_arena_alloc_raw(arena, b->rows, sizeof *chosen);
    if (!b->targets || !chosen)
        return no_memory(b);
    size_t row = 0;
    for (size_t i = 0; i < b->count; i++)
        for (size_t k = 0; k < positions(b->o, &b->items[i]); k++, row++) {
            if (!is_counted(b->o, &b->items[i], k))
                continue;
            b->targets[at] = b->o->own ? 0 : b->items[i].targets[k];
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

/* A model's side of a batch. */
typedef struct {
    const PareDescription *d;
    const PareParams *p;
    PareTaps *taps[PARE_STACKS];
    PareForward f;
    PareValue *x; /* what the output layer reads: one row for each row of scores */
    bool watched; /* by the objective's taps and probes */
} Side;

static void watch(const PareObjective *o, PareForwardInput *in) {
    for (int s = 0; s < PARE_STACKS; s++)
        in->taps[s] = o->taps[s] ? o->taps[s] : in->taps[s];
    in->probes = o->probes;
    in->probes_context = o->probes_context;
}

static void run_side(const Batch *b, Side *side, bool frozen_encoder) {
    PareRun *r = b->r;
    const PareMatching *m = b->o->matching;
    PareForwardInput in = {.sequences = b->sequences,
                           .count = b->count,
                           .recompute = b->o->recompute,
                           .frozen_encoder = frozen_encoder};
    for (int s = 0; m && s < PARE_STACKS; s++)
        if (m->supervisors[s])
            in.taps[s] = side->taps[s] = pare_matching_taps(m, &side->d->stacks[s], r);
    if (side->watched)
        watch(b->o, &in);
    const PareTransformer *t = new_transformer(b, side->d, side->p);
    if (!t || r->status || pare_forward(r, t, &in, &side->f) || b->o->inside_only)
        return;
    if (is_sequence_head(b->o)) {
        side->x = pare_transformer_pool(r, t, side->f.top, side->f.rows, b->count);
        return;
    }
    side->x = b->chosen ? pare_op_gather(r, side->f.top, b->chosen, b->rows) : side->f.top;
    if (side->d->head.kind == PARE_HEAD_LM)
        side->x = pare_transformer_head_input(r, t, side->x);
}

/* The teacher runs without tape and noise. */
static void run_teacher(const Batch *b, Side *side) {
    PareRun *r = b->r;
    PareTape *tape = r->tape;
    PareNoise *noise = r->noise;
    r->tape = NULL;
    r->noise = NULL;
    run_side(b, side, false);
    r->tape = tape;
    r->noise = noise;
}

/* Losses on the inside of both. */
static void match_sides(const Batch *b, const Side *student, const Side *teacher,
                        PareLossTerms *terms) {
    const PareMatching *m = b->o->matching;
    double hidden = 0, attention = 0;
    size_t pairs = 0;
    for (int s = 0; s < PARE_STACKS; s++)
        pairs += m->supervisors[s] ? student->d->stacks[s].layer_count : 0;
    for (int s = 0; s < PARE_STACKS && !b->r->status; s++) {
        bool below = s == PARE_ENCODER && student->f.encoded;
        PareMatchedStack stack = {.student = &student->d->stacks[s],
                                  .teacher = &teacher->d->stacks[s],
                                  .student_taps = student->taps[s],
                                  .teacher_taps = teacher->taps[s],
                                  .rows = below ? student->f.encoded_rows : student->f.rows,
                                  .sequences = b->count,
                                  .index = (PareStackIndex)s,
                                  .pairs = pairs,
                                  .batch_rows = b->whole->rows[s]};
        if (m->supervisors[s])
            pare_matching_run(m, b->r, &stack, &hidden, &attention);
    }
    terms->hidden += hidden;
    terms->attention += attention;
    terms->total += hidden + attention;
}

static void observe(const Batch *b, const PareRowLoss *rows, size_t i, PareLossTerms *terms) {
    bool regression = b->o->regression;
    if (regression ? isnan(b->values[i]) : b->targets[i] < 0)
        return;
    double wanted = regression ? (double)b->values[i] : b->targets[i];
    terms->counted++;
    terms->hits += wanted == (double)rows->best[i];
    if (b->o->observe)
        b->o->observe(b->o->observer, wanted, (double)rows->best[i]);
}

static void add_terms(const Batch *b, const PareRowLoss *rows, PareLossTerms *terms) {
    const PareLossWeights *w = &b->o->weights;
    double label = 0, soft = 0;
    for (size_t i = 0; i < b->rows; i++) {
        label += rows->label[i];
        soft += rows->soft ? rows->soft[i] : 0;
        observe(b, rows, i, terms);
    }
    label *= w->label * rows->row_weight;
    soft *= w->soft * rows->row_weight;
    terms->label += label;
    terms->soft += soft;
    terms->total += label + soft;
    for (size_t i = 0; i < b->count; i++)
        terms->tokens += b->sequences[i].count + b->sequences[i].decoder_count;
}

/* -- the model's own labels -- */

/* By the inverse of the distribution function, added up in the order of the labels. */
static size_t draw_label(const PareOwnLabels *own, const float *scores, size_t n, uint64_t row) {
    static const uint64_t stream = UINT64_C(0x6F776E6C61626C);
    uint32_t words[4];
    double most = -INFINITY, sum = 0;
    pare_random_block(own->seed, stream, row, words);
    for (size_t i = 0; i < n; i++)
        most = fmax(most, (double)scores[i]);
    for (size_t i = 0; i < n; i++)
        sum += exp((double)scores[i] - most);
    double left = sum * (words[0] / 4294967296.0);
    size_t last = 0;
    for (size_t i = 0; i < n; i++) {
        double p = exp((double)scores[i] - most);
        if (p > 0)
            last = i;
        if (left < p)
            break;
        left -= p;
    }
    return last;
}

static size_t highest(const float *scores, size_t n) {
    size_t at = 0;
    for (size_t i = 1; i < n; i++)
        at = scores[i] > scores[at] ? i : at;
    return at;
}

/* The context of own_loss. */
typedef struct {
    const Batch *b;
    PareRowLoss *rows;
} OwnLoss;

/* A PareLogitsLoss: each row gets its label as soon as its scores are known. */
static void own_loss(void *context, const PareLossRows *rows) {
    const OwnLoss *j = context;
    const PareOwnLabels *own = j->b->o->own;
    for (size_t i = 0; i < rows->count; i++) {
        const float *scores = rows->logits + i * rows->n;
        size_t row = rows->first + i;
        if (j->b->o->regression)
            j->b->values[row] = scores[0] - 0.5F;
        else
            j->b->targets[row] =
                (int32_t)(own->sample ? draw_label(own, scores, rows->n, own->first + row)
                                      : highest(scores, rows->n));
    }
    pare_loss_rows(j->rows, rows);
}

static PareStatus run_head(Batch *b, PareValue *x, PareValue *teacher_x, PareLossTerms *terms) {
    const PareObjective *o = b->o;
    PareArena *arena = b->r->arena;
    PareRowLoss rows = {.kernels = b->r->kernels,
                        .weights = &o->weights,
                        .targets = o->regression ? NULL : b->targets,
                        .values = b->values,
                        .soft_everywhere = is_sequence_head(o),
                        .row_weight = 1.0 / (double)b->whole->counted};
    rows.label = pare_arena_alloc_raw(arena, b->rows, sizeof *rows.label);
    rows.soft = teacher_x ? pare_arena_alloc_raw(arena, b->rows, sizeof *rows.soft) : NULL;
    rows.best = pare_arena_alloc_raw(arena, b->rows, sizeof *rows.best);
    if (!rows.label || (teacher_x && !rows.soft) || !rows.best)
        return no_memory(b);
    PareOutputLoss loss = {.x = x, .output = &o->p->output, .teacher_x = teacher_x};
    if (teacher_x)
        loss.teacher_output = &o->teacher_p->output;
    if (o->own)
        pare_op_output_loss(b->r, &loss, own_loss, &(OwnLoss){b, &rows});
    else
        pare_op_output_loss(b->r, &loss, pare_loss_rows, &rows);
    if (!b->r->status)
        add_terms(b, &rows, terms);
    return b->r->status;
}

PareStatus pare_objective_run(const PareObjective *o, PareRun *r, const PareExample *items,
                              size_t count, const PareBatchSize *whole, PareLossTerms *terms) {
    Batch b = {.o = o, .r = r, .items = items, .count = count, .whole = whole};
    Side student = {.d = o->d, .p = o->p, .watched = true};
    Side teacher = {.d = o->teacher_d, .p = o->teacher_p};
    if (list_sequences(&b) || (is_sequence_head(o) ? sequence_targets(&b) : position_targets(&b)))
        return r->status;
    if (r->noise)
        r->noise->place = 0;
    if (teacher.d)
        run_teacher(&b, &teacher);
    run_side(&b, &student, o->frozen_encoder);
    if (teacher.d && o->matching && !r->status)
        match_sides(&b, &student, &teacher, terms);
    if (r->status || o->inside_only)
        return r->status;
    return run_head(&b, student.x, teacher.x, terms);
}
