/* Language models: perplexity on plain text. Every line with its newline is tokenized by itself,
 * the ids are put in a row and cut into windows without overlap; the first id of a window is not
 * predicted. */
#include <string.h>

#include "core/file.h"
#include "verify/verify_parts.h"

typedef struct {
    PareVerify *v;
    PareIds ids; /* not predicted yet */
    size_t window;
    PareBuffer line;
} Text;

static PareStatus add_nll(void *context, size_t sequence, size_t row, const float *reference,
                          const float *candidate, const PareDriftRow *drift, PareError *err) {
    Text *t = context;
    PareVerify *v = t->v;
    size_t target = (size_t)t->ids.data[sequence * t->window + row + 1];
    if (target >= v->columns)
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: token id %zu is outside the models' vocabulary of %zu",
                              v->options->data, target, v->columns);
    v->report->reference.nll += drift->reference_log_sum - (double)reference[target];
    v->report->candidate.nll += drift->candidate_log_sum - (double)candidate[target];
    v->report->predicted++;
    return PARE_OK;
}

/* Predicts the first `count` ids, which are whole windows but for the last one of a text. */
static PareStatus predict(Text *t, size_t count, PareError *err) {
    PareVerify *v = t->v;
    size_t sequences = 0;
    for (size_t at = 0; at < count; at += t->window) {
        size_t size = count - at < t->window ? count - at : t->window;
        if (size > 1) /* nothing reads the last id: it is only predicted */
            v->sequences[sequences++] = (PareSequence){.ids = t->ids.data + at, .count = size - 1};
    }
    PareStatus status = pare_verify_compare(v, v->sequences, sequences, add_nll, t, err);
    if (t->ids.count > count)
        memmove(t->ids.data, t->ids.data + count, (t->ids.count - count) * sizeof *t->ids.data);
    t->ids.count -= count;
    return status;
}

static PareStatus read_line(Text *t, bool *end, PareError *err) {
    PareVerify *v = t->v;
    const PareDataRow *row;
    size_t before = t->ids.count;
    PareStatus status = pare_dataset_next(v->data, &row, err);
    *end = !row;
    if (status || !row)
        return status;
    pare_buffer_clear(&t->line);
    pare_buffer_append(&t->line, row->text, row->text_size);
    pare_buffer_putc(&t->line, '\n');
    status = pare_buffer_ok(&t->line, "a line", err);
    if (!status)
        status = pare_tokenizer_encode(v->tokenizer, PARE_SIDE_SOURCE, t->line.data, t->line.size,
                                       false, &t->ids, err);
    v->report->rows++;
    v->report->tokens += t->ids.count - before;
    return status;
}

static PareStatus find_window(const PareVerify *v, size_t *window, PareError *err) {
    size_t positions = pare_verify_positions(v, true);
    *window = v->options->window ? v->options->window : positions;
    if (*window == 0)
        return pare_error_set(err, PARE_E_USAGE,
                              "the models have no limit of positions; give --window");
    if (positions && *window > positions)
        return pare_error_set(err, PARE_E_USAGE,
                              "--window is %zu; the models have positions for %zu", *window,
                              positions);
    if (*window < 2)
        return pare_error_set(err, PARE_E_USAGE, "--window is %zu; expected at least 2", *window);
    return PARE_OK;
}

static PareStatus run(Text *t, PareError *err) {
    PareVerify *v = t->v;
    size_t full = t->window * v->batch;
    uint64_t limit = v->options->limit;
    bool end = false;
    PareStatus status = PARE_OK;
    while (!status && !end) {
        end = limit && v->report->rows >= limit;
        if (!end)
            status = read_line(t, &end, err);
        while (!status && t->ids.count >= full) {
            status = predict(t, full, err);
            pare_progress_update(v->options->progress, v->report->rows, NULL);
        }
        if (!status)
            status = pare_interrupt_check(err);
    }
    return status ? status : predict(t, t->ids.count, err);
}

PareStatus pare_verify_lm(PareVerify *v, PareError *err) {
    PareVerifyReport *r = v->report;
    Text t = {.v = v};
    PareStatus status = PARE_OK;
    if (!v->tokenizer)
        return pare_error_set(err, PARE_E_UNSUPPORTED, "%s: the model has no tokenizer",
                              v->options->reference);
    if (!(status = find_window(v, &t.window, err)))
        status = run(&t, err);
    if (!status && r->predicted == 0)
        status =
            pare_error_set(err, PARE_E_FORMAT, "%s: there is no text to predict", v->options->data);
    r->reference.value[PARE_METRIC_PERPLEXITY] =
        pare_statistics_perplexity(r->reference.nll, r->predicted);
    r->candidate.value[PARE_METRIC_PERPLEXITY] =
        pare_statistics_perplexity(r->candidate.nll, r->predicted);
    pare_ids_free(&t.ids);
    pare_buffer_free(&t.line);
    return status;
}
