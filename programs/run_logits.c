/* pare-run logits: the raw scores, written as they come, since a vocabulary at every position is
 * more than memory should hold. And score: how probable a language model finds a text. */
#include <string.h>

#include "programs/run_runner.h"

typedef struct {
    PareRunner *r;
    bool flat;          /* one row an input */
    const char *name;   /* the JSON key */
    const char *pooled; /* floats [count, width] in bytes: also written, or NULL */
    size_t width;
} Logits;

static size_t rows_of(const PareRunner *r, size_t sequence) {
    const PareSequence *q = &r->sequences[sequence];
    return pare_inputs_is_pair_of_stacks(r->description) ? q->decoder_count : q->count;
}

static void put_end(Logits *j, size_t sequence) {
    PareBuffer *out = &j->r->output.text;
    pare_buffer_puts(out, j->flat ? "]" : "]]");
    if (j->pooled) {
        pare_buffer_puts(out, ",\"pooled\":[");
        for (size_t i = 0; i < j->width; i++) {
            float value;
            memcpy(&value, j->pooled + (sequence * j->width + i) * sizeof value, sizeof value);
            pare_run_put_floats(out, &value, 1, "");
            pare_buffer_puts(out, i + 1 < j->width ? "," : "");
        }
        pare_buffer_putc(out, ']');
    }
    pare_buffer_puts(out, "}\n");
}

static PareStatus put_row(void *context, size_t sequence, size_t row, const float *values, size_t n,
                          PareError *err) {
    Logits *j = context;
    PareBuffer *out = &j->r->output.text;
    bool last = j->flat || row + 1 == rows_of(j->r, sequence);
    if (j->r->options->json) {
        if (row == 0)
            pare_buffer_printf(out, "{\"%s\":%s", j->name, j->flat ? "[" : "[[");
        else
            pare_buffer_puts(out, "],[");
        pare_run_put_floats(out, values, n, ",");
        if (last)
            put_end(j, sequence);
    } else {
        pare_run_put_floats(out, values, n, " ");
        pare_buffer_puts(out, last && !j->flat ? "\n\n" : "\n");
    }
    return pare_run_output_drain(&j->r->output, err);
}

typedef struct {
    PareBuffer values; /* of all inputs */
    size_t width;      /* of each */
} Pooled;

static PareStatus keep_row(void *context, size_t sequence, size_t row, const float *values,
                           size_t n, PareError *err) {
    Pooled *pooled = context;
    (void)sequence, (void)row;
    pooled->width = n;
    pare_buffer_append(&pooled->values, values, n * sizeof *values);
    return pare_buffer_ok(&pooled->values, "pooled rows", err);
}

/* Models without a head: hidden states, and the pooled vector beside them. */
static PareStatus run_hidden(PareRunner *r, PareError *err) {
    Logits job = {.r = r, .name = "hidden"};
    Pooled pooled = {0};
    PareStatus st = PARE_OK;
    if (r->options->json && r->description->head.pool != PARE_POOL_NONE) {
        st = pare_session_run(r->session, r->sequences, r->count, PARE_ROWS_POOLED, keep_row,
                              &pooled, err);
        job.pooled = pooled.values.data;
        job.width = pooled.width;
    }
    if (!st)
        st = pare_session_run(r->session, r->sequences, r->count, PARE_ROWS_HIDDEN, put_row, &job,
                              err);
    pare_buffer_free(&pooled.values);
    return st;
}

static PareStatus run_logits(PareRunner *r, PareError *err) {
    PareHeadKind head = r->description->head.kind;
    Logits job = {.r = r, .flat = head == PARE_HEAD_SEQUENCE, .name = "logits"};
    if (head == PARE_HEAD_NONE)
        return run_hidden(r, err);
    return pare_session_run(r->session, r->sequences, r->count, PARE_ROWS_LOGITS, put_row, &job,
                            err);
}

const PareRunAction PARE_RUN_ACTION_LOGITS = {
    .want = PARE_WANT_DECODER, .session = true, .run = run_logits};

/* -- score -- */

static PareStatus check_score(PareRunner *r, PareError *err) {
    const PareDescription *d = r->description;
    if (pare_cli_model_generates(d))
        return PARE_OK;
    if (d->head.kind == PARE_HEAD_LM)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: score needs a model that predicts each token from those before "
                              "it; this one fills masks, and gives no text a likelihood",
                              r->options->model);
    return pare_error_set(err, PARE_E_UNSUPPORTED,
                          "%s: score needs a model that predicts tokens; this one %s",
                          r->options->model, pare_cli_model_head(r->description));
}

static void put_score(PareRunner *r, double nll, const PareIds *targets) {
    PareBuffer *out = &r->output.text;
    size_t tokens = 0;
    for (size_t i = 0; i < targets->count; i++)
        tokens += targets->data[i] >= 0;
    pare_buffer_puts(out, r->options->json ? "{\"nll\":" : "");
    pare_buffer_put_json_double(out, nll);
    pare_buffer_printf(out, r->options->json ? ",\"tokens\":%zu}\n" : "\t%zu\n", tokens);
}

static PareStatus run_score(PareRunner *r, PareError *err) {
    size_t total = 0;
    for (size_t i = 0; i < r->count; i++)
        total += r->batch[i].targets.count;
    int32_t *targets = pare_arena_alloc(r->arena, total, sizeof *targets);
    double *nll = pare_arena_alloc(r->arena, r->count, sizeof *nll);
    if (!targets || !nll)
        return pare_memory_error(err, "targets");
    total = 0;
    for (size_t i = 0; i < r->count; i++) {
        const PareIds *one = &r->batch[i].targets;
        if (one->count)
            memcpy(targets + total, one->data, one->count * sizeof *targets);
        total += one->count;
    }
    PareStatus st = pare_session_nll(r->session, r->sequences, r->count, targets, nll, err);
    for (size_t i = 0; i < r->count && !st; i++)
        put_score(r, nll[i], &r->batch[i].targets);
    return st;
}

const PareRunAction PARE_RUN_ACTION_SCORE = {
    .want = PARE_WANT_TARGETS, .session = true, .check = check_score, .run = run_score};
