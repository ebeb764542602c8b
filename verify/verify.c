/* The verify stage: opens both models, makes sure that they can be compared, and runs the task. */
#include "verify/verify.h"

#include <math.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "verify/verify_parts.h"

enum { BATCH = 32, BATCH_MAX = 4096 };

/* -- the two models -- */

static PareStatus open_models(PareVerify *v, PareError *err) {
    const PareVerifyOptions *o = v->options;
    const char *paths[PARE_VERIFY_MODELS] = {o->reference, o->candidate};
    PareStatus status = PARE_OK;
    for (int m = 0; m < PARE_VERIFY_MODELS && !status; m++) {
        status = pare_model_open(paths[m], &v->models[m], err);
        if (!status)
            status = pare_session_create(v->models[m], o->threads, &v->sessions[m], err);
    }
    return status ? status : pare_pool_create(o->threads, &v->pool, err);
}

static PareStatus differ(const PareVerify *v, PareError *err, const char *what, const char *ours,
                         const char *theirs) {
    return pare_error_set(err, PARE_E_UNSUPPORTED,
                          "the models cannot be compared: %s of %s is %s, and of %s %s", what,
                          v->options->reference, ours, v->options->candidate, theirs);
}

static PareStatus differ_in_number(const PareVerify *v, PareError *err, const char *what,
                                   uint32_t ours, uint32_t theirs) {
    PareBuffer a = {0}, b = {0};
    pare_buffer_printf(&a, "%u", ours);
    pare_buffer_printf(&b, "%u", theirs);
    PareStatus status = pare_buffer_ok(&a, "a message", err);
    if (!status)
        status = pare_buffer_ok(&b, "a message", err);
    if (!status)
        status = differ(v, err, what, a.data, b.data);
    pare_buffer_free(&a);
    pare_buffer_free(&b);
    return status;
}

static PareStatus check_labels(const PareVerify *v, uint32_t labels, PareError *err) {
    for (uint32_t i = 0; i < labels; i++) {
        const char *ours = pare_model_label(v->models[PARE_VERIFY_REFERENCE], i);
        const char *theirs = pare_model_label(v->models[PARE_VERIFY_CANDIDATE], i);
        if (ours && theirs && strcmp(ours, theirs) != 0)
            return differ(v, err, "a label", ours, theirs);
    }
    return PARE_OK;
}

/* Figures of two models mean something side by side only when both answer the same question. How
 * they read it, in which tokens, is theirs. */
static PareStatus check_same(const PareVerify *v, PareError *err) {
    const PareDescription *a = pare_model_description(v->models[PARE_VERIFY_REFERENCE]);
    const PareDescription *b = pare_model_description(v->models[PARE_VERIFY_CANDIDATE]);
    static const char *const names[PARE_STACKS] = {"the encoder", "the decoder"};
    if (a->head.kind != b->head.kind)
        return differ(v, err, "the head", pare_head_kind_name(a->head.kind),
                      pare_head_kind_name(b->head.kind));
    for (int s = 0; s < PARE_STACKS; s++) {
        const PareStack *x = &a->stacks[s], *y = &b->stacks[s];
        if (x->present != y->present)
            return differ(v, err, names[s], x->present ? "there" : "missing",
                          y->present ? "there" : "missing");
    }
    if (a->head.kind != PARE_HEAD_LM && a->head.labels != b->head.labels)
        return differ_in_number(v, err, "the number of labels", a->head.labels, b->head.labels);
    return a->head.kind == PARE_HEAD_LM ? PARE_OK : check_labels(v, a->head.labels, err);
}

/* -- the task -- */

static const char *const task_names[] = {"auto", "classification", "translation", "lm"};

/* What the head is made for; AUTO when this stage has no figure for it. */
static PareVerifyTask task_of(const PareDescription *d) {
    bool encoder = d->stacks[PARE_ENCODER].present, decoder = d->stacks[PARE_DECODER].present;
    if (d->head.kind == PARE_HEAD_SEQUENCE && d->head.labels > 1)
        return PARE_TASK_CLASSIFICATION;
    if (d->head.kind == PARE_HEAD_LM && decoder)
        return encoder ? PARE_TASK_TRANSLATION : PARE_TASK_LM;
    return PARE_TASK_AUTO;
}

static PareStatus find_task(PareVerify *v, PareError *err) {
    const PareDescription *d = pare_model_description(v->models[PARE_VERIFY_REFERENCE]);
    const PareVerifyOptions *o = v->options;
    PareVerifyTask task = task_of(d);
    char head[PARE_HEAD_TEXT];
    if (task == PARE_TASK_AUTO)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s has %s; expected a classifier of sequences, a text-to-text "
                              "model or a causal language model",
                              o->reference, pare_head_text(&d->head, head));
    if (o->task != PARE_TASK_AUTO && o->task != task)
        return pare_error_set(err, PARE_E_USAGE, "--task is %s, but %s is a model for %s",
                              task_names[o->task], o->reference, task_names[task]);
    if (task != PARE_TASK_LM && o->window)
        return pare_error_set(err, PARE_E_USAGE, "--window is for the task lm; this is %s",
                              task_names[task]);
    if (task != PARE_TASK_TRANSLATION && (o->num_beams || o->max_length))
        return pare_error_set(err, PARE_E_USAGE,
                              "--num-beams and --max-length are for the task translation; this is "
                              "%s",
                              task_names[task]);
    v->report->task = task;
    v->report->has[PARE_METRIC_ACCURACY] = task == PARE_TASK_CLASSIFICATION;
    v->report->has[PARE_METRIC_BLEU] = task == PARE_TASK_TRANSLATION;
    v->report->has[PARE_METRIC_PERPLEXITY] = task != PARE_TASK_CLASSIFICATION;
    v->report->has[PARE_METRIC_BITS] =
        task != PARE_TASK_CLASSIFICATION && (v->tokens.differ || o->limits.set[PARE_METRIC_BITS]);
    v->by_place = task == PARE_TASK_CLASSIFICATION || !v->tokens.differ;
    for (int m = 0; m < PARE_VERIFY_MODELS; m++) {
        d = pare_model_description(v->models[m]);
        v->columns[m] =
            task == PARE_TASK_CLASSIFICATION ? d->head.labels : d->stacks[PARE_DECODER].vocabulary;
    }
    for (int m = 0; m < PARE_METRIC_COUNT; m++)
        if (o->limits.set[m] && !v->report->has[m])
            return pare_error_set(err, PARE_E_USAGE,
                                  "--max-drop %s: the task %s has no such figure",
                                  pare_verify_metric_name((PareVerifyMetric)m), task_names[task]);
    return PARE_OK;
}

static PareStatus open_data(PareVerify *v, PareError *err) {
    const PareVerifyOptions *o = v->options;
    PareDataOptions options = {.format = o->format, .columns = o->columns};
    v->batch = o->batch_size ? o->batch_size : BATCH;
    if (v->batch > BATCH_MAX)
        return pare_error_set(err, PARE_E_USAGE, "--batch-size is %zu; expected at most %d",
                              v->batch, BATCH_MAX);
    if (v->report->task == PARE_TASK_LM) {
        if (o->columns || (o->format != PARE_DATA_AUTO && o->format != PARE_DATA_TEXT))
            return pare_error_set(err, PARE_E_USAGE, "the task lm reads plain text, not columns");
        options = (PareDataOptions){.format = PARE_DATA_TEXT, .keep_blanks = true};
    }
    v->rows = pare_alloc(v->batch, sizeof *v->rows);
    for (int m = 0; m < PARE_VERIFY_MODELS; m++)
        v->sequences[m] = pare_alloc(v->batch, sizeof *v->sequences[m]);
    if (!v->rows || !v->sequences[0] || !v->sequences[1])
        return pare_memory_error(err, "a batch");
    return pare_dataset_open(o->data, &options, &v->data, err);
}

static void free_input(PareVerifyInput *in) {
    pare_ids_free(&in->ids);
    pare_ids_free(&in->types);
    pare_ids_free(&in->decoder);
    pare_ids_free(&in->targets);
}

static void close_all(PareVerify *v) {
    for (size_t i = 0; v->rows && i < v->batch; i++) {
        PareVerifyRow *row = &v->rows[i];
        pare_buffer_free(&row->target);
        for (int m = 0; m < PARE_VERIFY_MODELS; m++) {
            free_input(&row->inputs[m]);
            pare_buffer_free(&row->outputs[m]);
        }
    }
    pare_free(v->rows);
    pare_free(v->kept);
    pare_free(v->block);
    pare_free(v->gathered);
    pare_dataset_close(v->data);
    pare_verify_free_tokens(v);
    pare_pool_destroy(v->pool);
    for (int m = 0; m < PARE_VERIFY_MODELS; m++) {
        pare_free(v->sequences[m]);
        pare_session_destroy(v->sessions[m]);
        pare_model_close(v->models[m]);
    }
}

static PareStatus run_task(PareVerify *v, PareError *err) {
    PareStatus status;
    if (v->report->task == PARE_TASK_CLASSIFICATION)
        status = pare_verify_classification(v, err);
    else if (v->report->task == PARE_TASK_TRANSLATION)
        status = pare_verify_translation(v, err);
    else
        status = pare_verify_lm(v, err);
    if (!status && v->report->rows == 0)
        status = pare_error_set(err, PARE_E_FORMAT, "%s: there are no rows", v->options->data);
    return status;
}

PareStatus pare_verify_run(const PareVerifyOptions *o, PareVerifyReport *out, PareError *err) {
    PareVerify v = {.options = o, .report = out};
    PareStatus status;
    *out = (PareVerifyReport){0};
    for (int m = 0; m < PARE_METRIC_COUNT; m++)
        out->reference.value[m] = out->candidate.value[m] = NAN;
    if ((status = open_models(&v, err)) || (status = check_same(&v, err)) ||
        (status = pare_verify_match_tokens(&v, err)) || (status = find_task(&v, err)) ||
        (status = open_data(&v, err)))
        goto done;
    status = run_task(&v, err);
    out->drift = pare_drift_result(&v.drift);
done:
    close_all(&v);
    return status;
}
