/* Both models on the same sequences: the reference's logits are kept, the candidate's are measured
 * against them as they come. Batches are split so that what is kept stays small. */
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
    size_t first;      /* the number of the part's first sequence in the whole call */
    size_t kept_rows;  /* of the reference */
    size_t measured;   /* of them, compared with the candidate's */
    size_t block_rows; /* of the candidate, not measured yet */
    struct {
        size_t sequence, row;
    } places[BLOCK_ROWS];
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

static PareStatus check_columns(const PareVerify *v, size_t n, PareError *err) {
    if (n == v->columns)
        return PARE_OK;
    return pare_error_set(err, PARE_E_FORMAT, "a row of logits has %zu values; expected %zu", n,
                          v->columns);
}

static PareStatus keep_row(void *context, size_t sequence, size_t row, const float *values,
                           size_t n, PareError *err) {
    Part *p = context;
    (void)sequence, (void)row;
    PareStatus status = check_columns(p->v, n, err);
    if (!status)
        memcpy(p->v->kept + p->kept_rows++ * n, values, n * sizeof *values);
    return status;
}

static void measure(void *context, size_t begin, size_t end, size_t thread) {
    Part *p = context;
    size_t n = p->v->columns;
    (void)thread;
    for (size_t i = begin; i < end; i++)
        pare_drift_measure(p->v->kept + (p->measured + i) * n, p->v->block + i * n, n,
                           &p->drifts[i]);
}

static PareStatus flush(Part *p, PareError *err) {
    PareVerify *v = p->v;
    PareStatus status = PARE_OK;
    pare_pool_for(v->pool, p->block_rows, 1, measure, p);
    for (size_t i = 0; i < p->block_rows && !status; i++) {
        pare_drift_add_row(&v->drift, &p->drifts[i]);
        status = p->each(p->context, p->first + p->places[i].sequence, p->places[i].row,
                         v->kept + (p->measured + i) * v->columns, v->block + i * v->columns,
                         &p->drifts[i], err);
    }
    p->measured += p->block_rows;
    p->block_rows = 0;
    return status;
}

static PareStatus compare_row(void *context, size_t sequence, size_t row, const float *values,
                              size_t n, PareError *err) {
    Part *p = context;
    PareStatus status = check_columns(p->v, n, err);
    if (!status && p->measured + p->block_rows == p->kept_rows)
        status = pare_error_set(err, PARE_E_FORMAT,
                                "the candidate gives more rows of logits than the reference");
    if (status)
        return status;
    memcpy(p->v->block + p->block_rows * n, values, n * sizeof *values);
    p->places[p->block_rows].sequence = sequence;
    p->places[p->block_rows].row = row;
    return ++p->block_rows == BLOCK_ROWS ? flush(p, err) : PARE_OK;
}

static PareStatus reserve(PareVerify *v, size_t rows, PareError *err) {
    size_t values, block;
    if (!pare_size_mul(rows, v->columns, &values) || !pare_size_mul(BLOCK_ROWS, v->columns, &block))
        return pare_memory_error(err, "logits");
    if (!v->block && !(v->block = pare_alloc(block, sizeof *v->block)))
        return pare_memory_error(err, "logits");
    if (values <= v->kept_capacity)
        return PARE_OK;
    pare_free(v->kept);
    v->kept = pare_alloc(values, sizeof *v->kept);
    v->kept_capacity = v->kept ? values : 0;
    return v->kept ? PARE_OK : pare_memory_error(err, "logits");
}

static PareStatus compare_part(Part *p, const PareSequence *q, size_t count, size_t rows,
                               PareError *err) {
    PareVerify *v = p->v;
    PareStatus status = reserve(v, rows, err);
    p->kept_rows = p->measured = p->block_rows = 0;
    if (!status)
        status = pare_session_run(v->sessions[PARE_VERIFY_REFERENCE], q, count, PARE_ROWS_LOGITS,
                                  keep_row, p, err);
    if (!status)
        status = pare_session_run(v->sessions[PARE_VERIFY_CANDIDATE], q, count, PARE_ROWS_LOGITS,
                                  compare_row, p, err);
    if (!status)
        status = flush(p, err);
    if (!status && p->measured != p->kept_rows)
        status = pare_error_set(err, PARE_E_FORMAT,
                                "the candidate gives fewer rows of logits than the reference");
    return status;
}

PareStatus pare_verify_compare(PareVerify *v, const PareSequence *sequences, size_t count,
                               PareVerifyEach each, void *context, PareError *err) {
    Part *p = pare_alloc(1, sizeof *p);
    if (!p)
        return pare_memory_error(err, "logits");
    *p = (Part){.v = v, .each = each, .context = context};
    PareStatus status = PARE_OK;
    size_t most = (v->options->keep ? v->options->keep : KEEP_VALUES) / v->columns;
    for (size_t begin = 0; begin < count && !status;) {
        size_t end = begin, rows = 0;
        do
            rows += rows_of(v, &sequences[end++]);
        while (end < count && rows + rows_of(v, &sequences[end]) <= most);
        p->first = begin;
        status = compare_part(p, sequences + begin, end - begin, rows, err);
        begin = end;
    }
    pare_free(p);
    return status;
}
