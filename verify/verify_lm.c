/* Language models: perplexity on plain text. Every line with its newline is tokenized by itself,
 * the ids are put in a row and cut into windows without overlap; the first id of a window is not
 * predicted.
 *
 * Models with different vocabularies have such a row each. As long as both are the same tokens, so
 * are the windows, and logits are compared place by place. From the first line on that is cut into
 * other tokens each model has windows of its own. */
#include <string.h>

#include "core/file.h"
#include "verify/verify_parts.h"

typedef struct {
    PareVerify *v;
    PareIds ids[PARE_VERIFY_MODELS]; /* not predicted yet; by reader */
    size_t window;
    PareBuffer line;
} Text;

static bool is_apart(const Text *t) {
    return t->v->report->vocabularies.apart > 0;
}

static int32_t target_of(const Text *t, int model, PareVerifyPlace place) {
    int reader = pare_verify_reader(t->v, model);
    return t->ids[reader].data[place.sequence * t->window + place.row + 1];
}

static PareStatus add_lone(void *context, int model, PareVerifyPlace place,
                           const PareVerifyLogits *logits, PareError *err) {
    Text *t = context;
    return pare_verify_add_target(t->v, model, logits, target_of(t, model, place),
                                  t->v->options->data, err);
}

static PareStatus add_pair(void *context, PareVerifyPlace place, const PareVerifyLogits *models,
                           const PareDriftRow *drift, PareError *err) {
    Text *t = context;
    PareStatus status = PARE_OK;
    for (int m = 0; m < PARE_VERIFY_MODELS && !status; m++) {
        status = add_lone(t, m, place, &models[m], err);
        if (!status)
            pare_verify_scores(t->v, m)->shared_nll +=
                (m ? drift->candidate_log_sum : drift->reference_log_sum) -
                (double)models[m].logits[target_of(t, m, place)];
    }
    return status;
}

/* The first `count` ids as sequences; returns how many. */
static size_t cut_windows(Text *t, int reader, size_t count) {
    const PareIds *ids = &t->ids[reader];
    size_t n = 0;
    for (size_t at = 0; at < count; at += t->window) {
        size_t size = count - at < t->window ? count - at : t->window;
        if (size > 1) /* nothing reads the last id: it is only predicted */
            t->v->sequences[reader][n++] = (PareSequence){.ids = ids->data + at, .count = size - 1};
    }
    return n;
}

static void drop(PareIds *ids, size_t count) {
    if (ids->count > count)
        memmove(ids->data, ids->data + count, (ids->count - count) * sizeof *ids->data);
    ids->count -= count;
}

/* Predicts the first `count` ids, which are whole windows but for the last one of a text. */
static PareStatus predict_both(Text *t, size_t count, PareError *err) {
    int readers = t->v->tokens.differ ? PARE_VERIFY_MODELS : 1;
    size_t n = 0;
    for (int m = 0; m < readers; m++)
        n = cut_windows(t, m, count);
    PareStatus status = pare_verify_compare(t->v, 0, n, add_pair, t, err);
    for (int m = 0; m < readers; m++)
        drop(&t->ids[m], count);
    return status;
}

static PareStatus predict_apart(Text *t, int model, size_t count, PareError *err) {
    size_t n = cut_windows(t, model, count);
    PareStatus status = pare_verify_run_alone(t->v, model, 0, n, add_lone, t, err);
    drop(&t->ids[model], count);
    return status;
}

/* Batches of windows that are full; at the end of the text, the rest. */
static PareStatus predict(Text *t, bool end, PareError *err) {
    size_t full = t->window * t->v->batch;
    PareStatus status = PARE_OK;
    if (!is_apart(t)) {
        while (!status && t->ids[0].count >= full)
            status = predict_both(t, full, err);
        return status || !end ? status : predict_both(t, t->ids[0].count, err);
    }
    for (int m = 0; m < PARE_VERIFY_MODELS; m++) {
        while (!status && t->ids[m].count >= full)
            status = predict_apart(t, m, full, err);
        if (!status && end)
            status = predict_apart(t, m, t->ids[m].count, err);
    }
    return status;
}

static PareStatus encode_line(Text *t, PareError *err) {
    PareVerify *v = t->v;
    size_t before[PARE_VERIFY_MODELS] = {t->ids[0].count, t->ids[1].count};
    PareStatus status = PARE_OK;
    for (int m = 0; m < PARE_VERIFY_MODELS && !status; m++) {
        int reader = pare_verify_reader(v, m);
        if (reader == m)
            status = pare_tokenizer_encode(v->tokenizers[m], PARE_SIDE_SOURCE, t->line.data,
                                           t->line.size, false, &t->ids[m], err);
        pare_verify_scores(v, m)->tokens += t->ids[reader].count - before[reader];
    }
    if (status || !v->tokens.differ)
        return status;
    PareIds tails[PARE_VERIFY_MODELS];
    for (int m = 0; m < PARE_VERIFY_MODELS; m++)
        tails[m] = (PareIds){.data = t->ids[m].data ? t->ids[m].data + before[m] : NULL,
                             .count = t->ids[m].count - before[m]};
    bool same = pare_verify_same_tokens(v, &tails[0], &tails[1]);
    v->report->vocabularies.recut += !same;
    v->report->vocabularies.apart += !same;
    return PARE_OK;
}

static PareStatus read_line(Text *t, bool *end, PareError *err) {
    PareVerify *v = t->v;
    const PareDataRow *row;
    PareStatus status = pare_dataset_next(v->data, &row, err);
    *end = !row;
    if (status || !row)
        return status;
    pare_buffer_clear(&t->line);
    pare_buffer_append(&t->line, row->text, row->text_size);
    pare_buffer_putc(&t->line, '\n');
    status = pare_buffer_ok(&t->line, "a line", err);
    if (!status)
        status = encode_line(t, err);
    v->report->rows++;
    v->report->bytes += t->line.size;
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
    uint64_t limit = v->options->limit;
    bool end = false;
    PareStatus status = PARE_OK;
    while (!status && !end) {
        end = limit && v->report->rows >= limit;
        if (!end)
            status = read_line(t, &end, err);
        if (!status)
            status = predict(t, end, err);
        pare_progress_update(v->options->progress, v->report->rows, NULL);
        if (!status)
            status = pare_interrupt_check(err);
    }
    return status;
}

/* A drift of the lines before the first that is cut otherwise would say nothing of the text. What
 * is no number stays counted. */
static void leave_out_drift(PareDrift *d) {
    *d = (PareDrift){
        .rows = d->rows - d->clean_rows, .broken = d->broken, .undefined = d->undefined};
}

PareStatus pare_verify_lm(PareVerify *v, PareError *err) {
    PareVerifyReport *r = v->report;
    Text t = {.v = v};
    PareStatus status = PARE_OK;
    if (!v->tokenizers[PARE_VERIFY_REFERENCE])
        return pare_error_set(err, PARE_E_UNSUPPORTED, "%s: the model has no tokenizer",
                              v->options->reference);
    if (!(status = find_window(v, &t.window, err)))
        status = run(&t, err);
    if (!status && (r->reference.predicted == 0 || r->candidate.predicted == 0))
        status =
            pare_error_set(err, PARE_E_FORMAT, "%s: there is no text to predict", v->options->data);
    if (is_apart(&t))
        leave_out_drift(&v->drift);
    pare_verify_score_targets(v);
    pare_ids_free(&t.ids[0]);
    pare_ids_free(&t.ids[1]);
    pare_buffer_free(&t.line);
    return status;
}
