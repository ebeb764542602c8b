/* Both models on the same data: the reference's logits are kept, the candidate's are measured
 * against them as they come. Batches are split so that what is kept stays small. Where vocabularies
 * differ, rows are compared in the columns of the tokens that both have. */
#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "verify/verify_parts.h"

enum {
    KEEP_VALUES = 1 << 24, /* 64 MiB of logits, unless a single sequence needs more */
    BLOCK_ROWS = 64        /* rows that are measured together, by all threads */
};

typedef struct {
    PareVerify *v;
    PareVerifyEach each;
    void *context;
    size_t first;      /* the number of the part's first sequence */
    size_t kept_rows;  /* of the reference */
    size_t measured;   /* of them, compared with the candidate's */
    size_t block_rows; /* of the candidate, not measured yet */
    PareVerifyPlace places[BLOCK_ROWS];
    PareVerifyLogits logits[BLOCK_ROWS][PARE_VERIFY_MODELS];
    PareDriftRow drifts[BLOCK_ROWS];
} Part;

/* How many rows of logits a sequence gives. */
static size_t rows_of(const PareVerify *v, const PareSequence *q) {
    const PareDescription *d = pare_model_description(v->models[PARE_VERIFY_REFERENCE]);
    if (d->head.kind == PARE_HEAD_SEQUENCE)
        return 1;
    return d->stacks[PARE_ENCODER].present && d->stacks[PARE_DECODER].present ? q->decoder_count
                                                                              : q->count;
}

static PareStatus check_columns(const PareVerify *v, int model, size_t n, PareError *err) {
    if (n == v->columns[model])
        return PARE_OK;
    return pare_error_set(err, PARE_E_FORMAT, "a row of logits has %zu values; expected %zu", n,
                          v->columns[model]);
}

static PareStatus keep_row(void *context, size_t sequence, size_t row, const float *values,
                           size_t n, PareError *err) {
    Part *p = context;
    (void)sequence, (void)row;
    PareStatus status = check_columns(p->v, PARE_VERIFY_REFERENCE, n, err);
    if (!status)
        memcpy(p->v->kept + p->kept_rows++ * n, values, n * sizeof *values);
    return status;
}

static void gather(const float *row, const uint32_t *places, size_t n, float *out) {
    for (size_t i = 0; i < n; i++)
        out[i] = row[places[i]];
}

/* Two rows of different vocabularies. What is no number must not hide in a column that is not
 * shared; and the best tokens agree only when they are the best of all, not of the shared ones. */
static void measure_shared(const PareVerify *v, PareVerifyLogits *l, float *scratch,
                           PareDriftRow *d) {
    const PareVerifyTokens *t = &v->tokens;
    float *shared[PARE_VERIFY_MODELS] = {scratch, scratch + t->shared};
    for (int m = 0; m < PARE_VERIFY_MODELS; m++)
        gather(l[m].logits, t->places[m], t->shared, shared[m]);
    pare_drift_measure(shared[0], shared[1], t->shared, d);
    l[0].log_sum = pare_drift_log_sum(l[0].logits, v->columns[0], &d->reference_best);
    l[1].log_sum = pare_drift_log_sum(l[1].logits, v->columns[1], &d->candidate_best);
    if (d->broken || d->undefined)
        return;
    if (!isfinite(l[0].log_sum))
        d->undefined = 1;
    else if (!isfinite(l[1].log_sum))
        d->broken = 1;
    size_t known = t->sizes[PARE_VERIFY_CANDIDATE], best = d->candidate_best;
    int32_t other = best < known ? t->other[PARE_VERIFY_CANDIDATE][best] : -1;
    d->agree = !d->broken && !d->undefined && other >= 0 && (size_t)other == d->reference_best;
}

static void measure(void *context, size_t begin, size_t end, size_t thread) {
    Part *p = context;
    PareVerify *v = p->v;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        PareVerifyLogits *l = p->logits[i];
        l[0].logits = v->kept + (p->measured + i) * v->columns[0];
        l[1].logits = v->block + i * v->columns[1];
        if (!v->by_place) {
            measure_shared(v, l, v->gathered + i * 2 * v->tokens.shared, &p->drifts[i]);
            continue;
        }
        pare_drift_measure(l[0].logits, l[1].logits, v->columns[0], &p->drifts[i]);
        l[0].log_sum = p->drifts[i].reference_log_sum;
        l[1].log_sum = p->drifts[i].candidate_log_sum;
    }
}

static PareStatus flush(Part *p, PareError *err) {
    PareVerify *v = p->v;
    PareStatus status = PARE_OK;
    pare_pool_for(v->pool, p->block_rows, 1, measure, p);
    for (size_t i = 0; i < p->block_rows && !status; i++) {
        PareVerifyPlace place = p->places[i];
        place.sequence += p->first;
        pare_drift_add_row(&v->drift, &p->drifts[i]);
        status = p->each(p->context, place, p->logits[i], &p->drifts[i], err);
    }
    p->measured += p->block_rows;
    p->block_rows = 0;
    return status;
}

static PareStatus compare_row(void *context, size_t sequence, size_t row, const float *values,
                              size_t n, PareError *err) {
    Part *p = context;
    PareStatus status = check_columns(p->v, PARE_VERIFY_CANDIDATE, n, err);
    if (!status && p->measured + p->block_rows == p->kept_rows)
        status = pare_error_set(err, PARE_E_FORMAT,
                                "the candidate gives more rows of logits than the reference");
    if (status)
        return status;
    memcpy(p->v->block + p->block_rows * n, values, n * sizeof *values);
    p->places[p->block_rows] = (PareVerifyPlace){sequence, row};
    return ++p->block_rows == BLOCK_ROWS ? flush(p, err) : PARE_OK;
}

static PareStatus reserve_block(PareVerify *v, PareError *err) {
    size_t block, gathered;
    if (v->block)
        return PARE_OK;
    if (!pare_size_mul(BLOCK_ROWS, v->columns[1], &block) ||
        !pare_size_mul(v->by_place ? 0 : BLOCK_ROWS * 2, v->tokens.shared, &gathered))
        return pare_memory_error(err, "logits");
    v->gathered = pare_alloc(gathered, sizeof *v->gathered);
    if (v->gathered)
        v->block = pare_alloc(block, sizeof *v->block);
    return v->block ? PARE_OK : pare_memory_error(err, "logits");
}

static PareStatus reserve(PareVerify *v, size_t rows, PareError *err) {
    size_t values;
    if (!pare_size_mul(rows, v->columns[0], &values))
        return pare_memory_error(err, "logits");
    PareStatus status = reserve_block(v, err);
    if (status || values <= v->kept_capacity)
        return status;
    pare_free(v->kept);
    v->kept = pare_alloc(values, sizeof *v->kept);
    v->kept_capacity = v->kept ? values : 0;
    return v->kept ? PARE_OK : pare_memory_error(err, "logits");
}

static const PareSequence *sequences_of(const PareVerify *v, int model) {
    return v->sequences[pare_verify_reader(v, model)];
}

static PareStatus compare_part(Part *p, size_t count, size_t rows, PareError *err) {
    PareVerify *v = p->v;
    const PareSequence *q[PARE_VERIFY_MODELS];
    PareStatus status = reserve(v, rows, err);
    for (int m = 0; m < PARE_VERIFY_MODELS; m++)
        q[m] = sequences_of(v, m) + p->first;
    p->kept_rows = p->measured = p->block_rows = 0;
    if (!status)
        status = pare_session_run(v->sessions[PARE_VERIFY_REFERENCE], q[PARE_VERIFY_REFERENCE],
                                  count, PARE_ROWS_LOGITS, keep_row, p, err);
    if (!status)
        status = pare_session_run(v->sessions[PARE_VERIFY_CANDIDATE], q[PARE_VERIFY_CANDIDATE],
                                  count, PARE_ROWS_LOGITS, compare_row, p, err);
    if (!status)
        status = flush(p, err);
    if (!status && p->measured != p->kept_rows)
        status = pare_error_set(err, PARE_E_FORMAT,
                                "the candidate gives fewer rows of logits than the reference");
    return status;
}

PareStatus pare_verify_compare(PareVerify *v, size_t first, size_t count, PareVerifyEach each,
                               void *context, PareError *err) {
    Part *p = pare_alloc(1, sizeof *p);
    if (!p)
        return pare_memory_error(err, "logits");
    *p = (Part){.v = v, .each = each, .context = context};
    PareStatus status = PARE_OK;
    const PareSequence *q = sequences_of(v, PARE_VERIFY_REFERENCE);
    size_t most = (v->options->keep ? v->options->keep : KEEP_VALUES) / v->columns[0];
    for (size_t begin = first; begin < first + count && !status;) {
        size_t end = begin, rows = 0;
        do
            rows += rows_of(v, &q[end++]);
        while (end < first + count && rows + rows_of(v, &q[end]) <= most);
        p->first = begin;
        status = compare_part(p, end - begin, rows, err);
        begin = end;
    }
    pare_free(p);
    return status;
}

/* -- one model by itself -- */

typedef struct {
    PareVerify *v;
    int model;
    size_t first;
    PareVerifyLone each;
    void *context;
} Alone;

static PareStatus lone_row(void *context, size_t sequence, size_t row, const float *values,
                           size_t n, PareError *err) {
    Alone *a = context;
    size_t best;
    PareStatus status = check_columns(a->v, a->model, n, err);
    if (status)
        return status;
    PareVerifyLogits logits = {values, pare_drift_log_sum(values, n, &best)};
    if (!isfinite(logits.log_sum))
        pare_drift_add_row(&a->v->drift,
                           &(PareDriftRow){.undefined = a->model == PARE_VERIFY_REFERENCE,
                                           .broken = a->model == PARE_VERIFY_CANDIDATE});
    return a->each(a->context, a->model, (PareVerifyPlace){a->first + sequence, row}, &logits, err);
}

PareStatus pare_verify_run_alone(PareVerify *v, int model, size_t first, size_t count,
                                 PareVerifyLone each, void *context, PareError *err) {
    Alone a = {v, model, first, each, context};
    return pare_session_run(v->sessions[model], sequences_of(v, model) + first, count,
                            PARE_ROWS_LOGITS, lone_row, &a, err);
}

/* -- what was to be predicted -- */

PareStatus pare_verify_add_target(PareVerify *v, int model, const PareVerifyLogits *logits,
                                  int32_t target, const char *where, PareError *err) {
    PareVerifyScores *s = pare_verify_scores(v, model);
    if (target < 0 || (size_t)target >= v->columns[model])
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: token id %d is outside the model's vocabulary of %zu", where,
                              target, v->columns[model]);
    s->nll += logits->log_sum - (double)logits->logits[target];
    s->predicted++;
    return PARE_OK;
}

void pare_verify_score_targets(PareVerify *v) {
    PareVerifyReport *r = v->report;
    bool same = r->vocabularies.apart == 0;
    for (int m = 0; m < PARE_VERIFY_MODELS; m++) {
        PareVerifyScores *s = pare_verify_scores(v, m);
        s->perplexity = pare_statistics_perplexity(s->nll, s->predicted);
        /* Fewer tokens to choose from are no merit: a candidate that lost tokens is held against
         * the reference without them. */
        s->value[PARE_METRIC_PERPLEXITY] =
            same ? pare_statistics_perplexity(s->shared_nll, s->predicted) : NAN;
        /* Tokens that no window predicts cost as much as the others: bits a token times tokens a
         * byte (Gao et al. 2020). */
        s->value[PARE_METRIC_BITS] = log2(s->perplexity) * ((double)s->tokens / (double)r->bytes);
    }
    r->has[PARE_METRIC_PERPLEXITY] = same;
}
