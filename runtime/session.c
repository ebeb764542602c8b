/* Sessions: packing sequences, running the Transformer, handing over rows. */
#include <stdio.h>

#include "core/file.h"
#include "runtime/blas.h"
#include "runtime/session_impl.h"

/* Rows of logits computed at a time; a multiple of what the products tile by. */
enum { HEAD_ROWS = 128 };

PareStatus pare_session_create(const PareModel *m, size_t threads, PareSession **out,
                               PareError *err) {
    *out = NULL;
    PareStatus st = pare_kernels_init(err);
    if (st)
        return st;
    pare_blas_init();
    PareSession *s = pare_alloc(1, sizeof *s);
    if (!s)
        return pare_memory_error(err, "a session");
    s->model = m;
    s->arena = pare_arena_create(0);
    s->result_arena = pare_arena_create(0);
    s->transformer =
        (PareTransformer){pare_model_description(m), pare_model_params(m), &s->relatives};
    st = s->arena && s->result_arena ? pare_pool_create(threads, &s->pool, err)
                                     : pare_memory_error(err, "a session");
    if (st) {
        pare_session_destroy(s);
        return st;
    }
    *out = s;
    return PARE_OK;
}

void pare_session_destroy(PareSession *s) {
    if (!s)
        return;
    pare_pool_destroy(s->pool);
    pare_arena_destroy(s->arena);
    pare_arena_destroy(s->relative_arena);
    pare_arena_destroy(s->result_arena);
    pare_free(s);
}

const PareModel *pare_session_model(const PareSession *s) {
    return s->model;
}

PareRun pare_session_begin(PareSession *s, PareError *err) {
    pare_arena_release(s->arena, (PareArenaMark){0});
    return (PareRun){.kernels = pare_kernels(),
                     .pool = s->pool,
                     .arena = s->arena,
                     .status = PARE_OK,
                     .err = err};
}

/* -- relative positions -- */

PareStatus pare_session_reach(PareSession *s, size_t positions, PareError *err) {
    if (positions <= s->relatives.reach)
        return PARE_OK;
    size_t reach = 64;
    while (reach < positions)
        reach *= 2;
    pare_arena_destroy(s->relative_arena);
    s->relatives = (PareRelatives){0};
    s->relative_arena = pare_arena_create(0);
    if (!s->relative_arena)
        return pare_memory_error(err, "relative positions");
    PareRun r = {.kernels = pare_kernels(), .arena = s->relative_arena, .err = err};
    PareStatus st =
        pare_transformer_relatives(&r, s->transformer.d, s->transformer.p, reach, &s->relatives);
    if (st)
        s->relatives.reach = 0;
    return st;
}

/* -- inputs -- */

size_t pare_session_max_positions(const PareSession *s, bool decoder) {
    const PareDescription *d = s->transformer.d;
    PareStackIndex i = decoder || !d->stacks[PARE_ENCODER].present ? PARE_DECODER : PARE_ENCODER;
    const PareStack *stack = &d->stacks[i];
    return stack->position == PARE_POSITION_TABLE ? stack->positions : 0;
}

static PareStatus check_ids(const PareStack *d, const int32_t *ids, size_t count, const char *what,
                            PareError *err) {
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || (uint32_t)ids[i] >= d->vocabulary)
            return pare_error_set(err, PARE_E_FORMAT,
                                  "%s: token id %d at position %zu is outside the model's "
                                  "vocabulary of %u",
                                  what, ids[i], i, d->vocabulary);
    if (d->position == PARE_POSITION_TABLE && count > d->positions)
        return pare_error_set(
            err, PARE_E_FORMAT,
            "%s: %zu tokens, but the model has positions for %u (--truncate cuts)", what, count,
            d->positions);
    if (count == 0)
        return pare_error_set(err, PARE_E_FORMAT, "%s: no tokens", what);
    return PARE_OK;
}

PareStatus pare_session_check(const PareSession *s, const PareSequence *q, const char *what,
                              PareError *err) {
    const PareDescription *d = s->transformer.d;
    const PareStack *first =
        &d->stacks[d->stacks[PARE_ENCODER].present ? PARE_ENCODER : PARE_DECODER];
    PareStatus st = check_ids(first, q->ids, q->count, what, err);
    for (size_t i = 0; q->types && i < q->count && !st; i++)
        if (q->types[i] < 0 || (uint32_t)q->types[i] >= (first->types ? first->types : 1))
            st = pare_error_set(err, PARE_E_FORMAT, "%s: token type %d; the model has %u", what,
                                q->types[i], first->types);
    if (!st && q->decoder_count)
        st = check_ids(&d->stacks[PARE_DECODER], q->decoder_ids, q->decoder_count, what, err);
    return st;
}

/* -- running -- */

static PareStatus check_sequences(const PareSession *s, const PareSequence *sequences, size_t count,
                                  bool decoder_ids, PareError *err) {
    for (size_t i = 0; i < count; i++) {
        char what[64];
        snprintf(what, sizeof what, "input %zu", i + 1);
        PareStatus st = pare_session_check(s, &sequences[i], what, err);
        if (!st && decoder_ids && sequences[i].decoder_count == 0)
            st = pare_error_set(err, PARE_E_FORMAT,
                                "%s: an encoder-decoder needs decoder_input_ids here", what);
        if (st)
            return st;
    }
    return PARE_OK;
}

/* Everything up to the hidden states that the rows are computed from. */
static PareStatus forward(PareSession *s, PareRun *r, const PareSequence *sequences, size_t count,
                          bool encoder_only, PareForward *f) {
    const PareStack *stacks = s->transformer.d->stacks;
    PareForwardInput in = {.sequences = sequences, .count = count, .encoder_only = encoder_only};
    bool both = stacks[PARE_ENCODER].present && stacks[PARE_DECODER].present && !encoder_only;
    PareStatus st = check_sequences(s, sequences, count, both, r->err);
    if (!st)
        st = pare_session_reach(s, pare_forward_longest(sequences, count), r->err);
    return r->status = st ? st : pare_forward(r, &s->transformer, &in, f);
}

/* Hands rows [begin, begin + v->rows) of the packed batch over, given the sequence of the first. */
typedef struct {
    const PareRows *rows;
    size_t sequence, row;
    PareRowSink sink;
    void *context;
} Handover;

static PareStatus hand_over(Handover *h, const PareValue *v, PareError *err) {
    for (size_t i = 0; i < v->rows; i++) {
        while (h->row >= h->rows[h->sequence].count) {
            h->sequence++;
            h->row = 0;
        }
        PareStatus st =
            h->sink(h->context, h->sequence, h->row++, v->data + i * v->cols, v->cols, err);
        if (st)
            return st;
    }
    return PARE_OK;
}

static PareStatus give_logits(PareSession *s, PareRun *r, const PareValue *hidden, Handover *h) {
    for (size_t at = 0; at < hidden->rows && !r->status; at += HEAD_ROWS) {
        size_t rows = hidden->rows - at < HEAD_ROWS ? hidden->rows - at : HEAD_ROWS;
        PareArenaMark mark = pare_arena_mark(r->arena);
        PareValue *part = pare_op_view(r, hidden->data + at * hidden->cols, rows, hidden->cols);
        PareValue *logits = pare_transformer_head(r, &s->transformer, part);
        if (logits)
            r->status = hand_over(h, logits, r->err);
        pare_arena_release(r->arena, mark);
        if (!r->status)
            r->status = pare_interrupt_check(r->err);
    }
    return r->status;
}

/* One row a sequence: the row counter of the handover must step by sequence. */
static PareStatus give_pooled(PareSession *s, PareRun *r, const PareForward *f, size_t count,
                              bool logits, Handover *h) {
    PareValue *x = pare_transformer_pool(r, &s->transformer, f->top, f->rows, count);
    if (logits && x)
        x = pare_transformer_head(r, &s->transformer, x);
    for (size_t i = 0; x && i < count && !r->status; i++)
        r->status = h->sink(h->context, i, 0, x->data + i * x->cols, x->cols, r->err);
    return r->status;
}

static PareStatus check_kind(const PareSession *s, PareRowKind kind, PareError *err) {
    const PareOutputHead *h = &s->transformer.d->head;
    if (kind == PARE_ROWS_LOGITS && h->kind == PARE_HEAD_NONE)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "the model has no output head, so no logits");
    if (kind == PARE_ROWS_POOLED && h->pool == PARE_POOL_NONE)
        return pare_error_set(err, PARE_E_UNSUPPORTED, "the model has no pooled output");
    if (kind == PARE_ROWS_ENCODER && !s->transformer.d->stacks[PARE_ENCODER].present)
        return pare_error_set(err, PARE_E_UNSUPPORTED, "the model has no encoder");
    return PARE_OK;
}

PareStatus pare_session_run(PareSession *s, const PareSequence *sequences, size_t count,
                            PareRowKind kind, PareRowSink sink, void *context, PareError *err) {
    PareStatus st = check_kind(s, kind, err);
    if (st || count == 0)
        return st;
    PareRun r = pare_session_begin(s, err);
    PareForward f = {0};
    Handover h = {.sink = sink, .context = context};
    bool pooled_head = s->transformer.d->head.kind == PARE_HEAD_SEQUENCE;
    if (forward(s, &r, sequences, count, kind == PARE_ROWS_ENCODER, &f))
        return r.status;
    h.rows = f.rows;
    if (kind == PARE_ROWS_POOLED || (kind == PARE_ROWS_LOGITS && pooled_head))
        return give_pooled(s, &r, &f, count, kind == PARE_ROWS_LOGITS, &h);
    if (kind == PARE_ROWS_LOGITS)
        return give_logits(s, &r, f.top, &h);
    return hand_over(&h, f.top, err);
}

/* -- likelihood -- */

typedef struct {
    const int32_t *targets;
    size_t at;
    double *nll;
} Nll;

static PareStatus add_nll(void *context, size_t sequence, size_t row, const float *values, size_t n,
                          PareError *err) {
    Nll *j = context;
    int32_t target = j->targets[j->at++];
    float max, logsum;
    (void)row;
    if (target < 0)
        return PARE_OK;
    if ((size_t)target >= n)
        return pare_error_set(err, PARE_E_FORMAT, "label %d is outside the vocabulary of %zu",
                              target, n);
    pare_kernels()->log_sum_exp(values, n, &max, &logsum);
    j->nll[sequence] += (double)max + (double)logsum - (double)values[target];
    return PARE_OK;
}

PareStatus pare_session_nll(PareSession *s, const PareSequence *sequences, size_t count,
                            const int32_t *targets, double *nll, PareError *err) {
    if (s->transformer.d->head.kind != PARE_HEAD_LM)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "the model has no language-model head, so no likelihood");
    Nll job = {.targets = targets, .nll = nll};
    for (size_t i = 0; i < count; i++)
        nll[i] = 0;
    return pare_session_run(s, sequences, count, PARE_ROWS_LOGITS, add_nll, &job, err);
}
