/* pare-run classify: one label an input, one a token, or the span of the second text that answers.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "programs/run_runner.h"
#include "programs/run_span.h"
#include "runtime/kernels/kernels.h"

typedef struct {
    PareRunner *r;
    float *scores;        /* [labels] */
    uint32_t *labels;     /* of the tokens of one input, [longest] */
    float *starts, *ends; /* of the positions of one input, [longest] */
} Classify;

static PareStatus check_classify(PareRunner *r, PareError *err) {
    const PareOutputHead *h = &r->description->head;
    if (h->kind == PARE_HEAD_NONE || h->kind == PARE_HEAD_LM)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: classify needs a model that gives labels or spans; this one %s",
                              r->options->model, pare_cli_model_head(r->description));
    if (h->kind == PARE_HEAD_SEQUENCE && h->labels == 1)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: the model gives one number and no labels; logits prints it",
                              r->options->model);
    return PARE_OK;
}

static PareStatus check_pair(const PareRunner *r, const PareInput *in, const char *where,
                             PareError *err) {
    if (r->description->head.kind != PARE_HEAD_SPAN || pare_span_possible(r->tokenizer, in))
        return PARE_OK;
    return pare_error_set(err, PARE_E_FORMAT,
                          "%s: there is no second text to find the answer in (%s)", where,
                          r->options->ids ? "token_type_ids of 1" : "text_b");
}

/* The label's name, or its index in digits. */
static const char *label_name(const PareRunner *r, uint32_t label, char digits[16]) {
    const char *name = pare_model_label(r->model, label);
    if (name)
        return name;
    snprintf(digits, 16, "%u", label);
    return digits;
}

static void put_label(const PareRunner *r, PareBuffer *out, uint32_t label) {
    char digits[16];
    const char *name = label_name(r, label, digits);
    pare_buffer_put_json_string(out, name, strlen(name));
}

/* The first of the largest scores; *finite tells whether they can be compared at all. */
static uint32_t best_label(const float *x, size_t n, bool *finite) {
    size_t best = 0;
    *finite = true;
    for (size_t i = 0; i < n; i++) {
        *finite = *finite && isfinite(x[i]);
        best = x[i] > x[best] ? i : best;
    }
    return (uint32_t)best;
}

static PareStatus not_finite(const Classify *j, size_t sequence, PareError *err) {
    char where[512];
    return pare_error_set(err, PARE_E_FORMAT, "%s: the model's scores are not finite",
                          pare_runner_where(j->r, sequence, where, sizeof where));
}

/* -- one label an input -- */

static PareStatus put_sequence(void *context, size_t sequence, size_t row, const float *values,
                               size_t n, PareError *err) {
    Classify *j = context;
    PareBuffer *out = &j->r->output.text;
    bool finite;
    uint32_t label = best_label(values, n, &finite);
    (void)row;
    if (!finite)
        return not_finite(j, sequence, err);
    pare_kernels()->softmax(j->scores, values, n);
    if (j->r->options->json) {
        pare_buffer_puts(out, "{\"label\":");
        put_label(j->r, out, label);
        pare_buffer_puts(out, ",\"scores\":[");
        pare_run_put_floats(out, j->scores, n, ",");
        pare_buffer_puts(out, "]}\n");
    } else {
        char digits[16];
        pare_buffer_printf(out, "%s\t", label_name(j->r, label, digits));
        pare_buffer_put_json_float(out, j->scores[label]);
        pare_buffer_putc(out, '\n');
    }
    return PARE_OK;
}

/* -- one label a token -- */

static void put_labels(Classify *j, const PareInput *in) {
    PareBuffer *out = &j->r->output.text;
    pare_buffer_puts(out, "{\"labels\":[");
    for (size_t i = 0; i < in->ids.count; i++) {
        pare_buffer_puts(out, i ? "," : "");
        put_label(j->r, out, j->labels[i]);
    }
    pare_buffer_puts(out, "],\"tokens\":");
    pare_runner_put_pieces(j->r, in->ids.data, in->ids.count);
    pare_buffer_puts(out, "}\n");
}

static PareStatus put_token(void *context, size_t sequence, size_t row, const float *values,
                            size_t n, PareError *err) {
    Classify *j = context;
    PareBuffer *out = &j->r->output.text;
    const PareInput *in = &j->r->batch[sequence];
    bool finite, last = row + 1 == in->ids.count;
    j->labels[row] = best_label(values, n, &finite);
    if (!finite)
        return not_finite(j, sequence, err);
    if (!j->r->options->json) {
        char digits[16], label_digits[16];
        pare_kernels()->softmax(j->scores, values, n);
        pare_buffer_printf(out, "%s\t%s\t", pare_runner_piece(j->r, in->ids.data[row], digits),
                           label_name(j->r, j->labels[row], label_digits));
        pare_buffer_put_json_float(out, j->scores[j->labels[row]]);
        pare_buffer_puts(out, last ? "\n\n" : "\n");
    } else if (last) {
        put_labels(j, in);
    }
    return PARE_OK;
}

/* -- spans -- */

static PareStatus put_answer(Classify *j, const PareInput *in, const PareSpan *span,
                             PareError *err) {
    PareRunner *r = j->r;
    PareBuffer *out = &r->output.text, text = {0};
    const int32_t *ids = in->ids.data + span->start;
    size_t count = span->end - span->start + 1;
    PareStatus st = r->tokenizer ? pare_runner_decode(r, ids, count, &text, err) : PARE_OK;
    if (r->options->json) {
        pare_buffer_printf(out, "{\"start\":%zu,\"end\":%zu,\"text\":", span->start, span->end);
        if (r->tokenizer)
            pare_buffer_put_json_string(out, text.size ? text.data : "", text.size);
        else
            pare_buffer_puts(out, "null");
        pare_buffer_puts(out, ",\"score\":");
    } else {
        if (r->tokenizer)
            pare_buffer_append(out, text.data, text.size);
        else
            pare_run_put_ids(out, ids, count, " ");
        pare_buffer_putc(out, '\t');
    }
    pare_buffer_put_json_float(out, span->score);
    pare_buffer_puts(out, r->options->json ? "}\n" : "\n");
    pare_buffer_free(&text);
    return st;
}

static PareStatus put_span(void *context, size_t sequence, size_t row, const float *values,
                           size_t n, PareError *err) {
    Classify *j = context;
    const PareInput *in = &j->r->batch[sequence];
    if (n != 2 || !isfinite(values[0]) || !isfinite(values[1]))
        return not_finite(j, sequence, err);
    j->starts[row] = values[0];
    j->ends[row] = values[1];
    if (row + 1 < in->ids.count)
        return PARE_OK;
    PareSpan span = pare_span_find(j->r->tokenizer, in, j->starts, j->ends);
    return put_answer(j, in, &span, err);
}

/* -- all -- */

static PareStatus run_classify(PareRunner *r, PareError *err) {
    PareRowSink sink = put_sequence;
    size_t longest = 1, labels = r->description->head.labels;
    for (size_t i = 0; i < r->count; i++)
        longest = r->batch[i].ids.count > longest ? r->batch[i].ids.count : longest;
    Classify job = {.r = r,
                    .scores = pare_arena_alloc(r->arena, labels, sizeof(float)),
                    .labels = pare_arena_alloc(r->arena, longest, sizeof(uint32_t)),
                    .starts = pare_arena_alloc(r->arena, longest, sizeof(float)),
                    .ends = pare_arena_alloc(r->arena, longest, sizeof(float))};
    if (!job.scores || !job.labels || !job.starts || !job.ends)
        return pare_memory_error(err, "labels");
    if (r->description->head.kind == PARE_HEAD_TOKENS)
        sink = put_token;
    else if (r->description->head.kind == PARE_HEAD_SPAN)
        sink = put_span;
    return pare_session_run(r->session, r->sequences, r->count, PARE_ROWS_LOGITS, sink, &job, err);
}

const PareRunAction PARE_RUN_ACTION_CLASSIFY = {.want = PARE_WANT_DECODER,
                                                .session = true,
                                                .check = check_classify,
                                                .check_input = check_pair,
                                                .run = run_classify};
