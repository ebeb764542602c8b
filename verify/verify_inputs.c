/* Rows of the data as both models read them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "text/encode_input.h"
#include "verify/verify_parts.h"

const char *pare_verify_where(const PareVerify *v, size_t line, char *out, size_t size) {
    bool is_input = strcmp(v->options->data, "-") == 0;
    snprintf(out, size, "%.400s: line %zu", is_input ? "standard input" : v->options->data, line);
    return out;
}

size_t pare_verify_positions(const PareVerify *v, bool decoder) {
    size_t least = 0;
    for (int m = 0; m < PARE_VERIFY_MODELS; m++) {
        size_t n = pare_session_max_positions(v->sessions[m], decoder);
        if (n && (!least || n < least))
            least = n;
    }
    return least;
}

static const PareDescription *description(const PareVerify *v) {
    return pare_model_description(v->models[PARE_VERIFY_REFERENCE]);
}

/* -- token ids -- */

static PareStatus copy_ids(const int32_t *ids, size_t count, PareIds *out, PareError *err) {
    for (size_t i = 0; i < count; i++)
        if (!pare_ids_push(out, ids[i]))
            return pare_memory_error(err, "token ids");
    return PARE_OK;
}

static PareStatus take_ids(PareVerify *v, const PareDataRow *data, PareVerifyRow *row,
                           PareError *err) {
    size_t limit = v->options->truncate ? pare_verify_positions(v, false) : 0;
    size_t count = limit && data->input_count > limit ? limit : data->input_count;
    PareStatus status = copy_ids(data->input_ids, count, &row->ids, err);
    v->report->cut += count < data->input_count;
    row->has_types = data->type_ids != NULL;
    if (!status && row->has_types)
        status = copy_ids(data->type_ids, count, &row->types, err);
    return status;
}

/* How long a text may become; 0: as long as it is, to be refused later. */
static size_t limit_of(const PareVerify *v, bool decoder) {
    return v->options->truncate ? pare_verify_positions(v, decoder) : 0;
}

static PareStatus encode_source(PareVerify *v, const PareDataRow *data, PareVerifyRow *row,
                                bool *cut, PareError *err) {
    if (!v->tokenizer)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "the models have no tokenizer; expected JSON lines with input_ids");
    if (!data->text)
        return pare_error_set(err, PARE_E_FORMAT, "there is no text");
    PareText text = {data->text, data->text_size}, other = {data->text_b, data->text_b_size};
    size_t limit = limit_of(v, false);
    if (!data->text_b)
        return pare_encode_text(v->tokenizer, PARE_SIDE_SOURCE, text, limit, cut, &row->ids, err);
    const PareDescription *d = description(v);
    row->has_types = d->stacks[PARE_ENCODER].present && d->stacks[PARE_ENCODER].types > 0;
    return pare_encode_pair(v->tokenizer, text, other, limit, cut, &row->ids, &row->types, err);
}

/* -- labels and targets -- */

static PareStatus find_label(const PareVerify *v, const PareDataRow *data, uint32_t *out,
                             PareError *err) {
    uint32_t labels = description(v)->head.labels;
    if (!data->label_text)
        return pare_error_set(err, PARE_E_FORMAT, "there is no label");
    for (uint32_t i = 0; i < labels; i++) {
        const char *name = pare_model_label(v->models[PARE_VERIFY_REFERENCE], i);
        if (name && strcmp(name, data->label_text) == 0) {
            *out = i;
            return PARE_OK;
        }
    }
    if (data->has_label && data->label >= 0 && data->label < labels &&
        floor(data->label) == data->label) {
        *out = (uint32_t)data->label;
        return PARE_OK;
    }
    return pare_error_set(err, PARE_E_FORMAT,
                          "the label is \"%.80s\"; expected the name of one of the model's %u "
                          "labels, or its number from 0 to %u",
                          data->label_text, labels, labels - 1);
}

/* The ids of the target, and what the decoder reads to predict them: its start, then all but the
 * last of them. */
static PareStatus encode_target(PareVerify *v, const PareDataRow *data, PareVerifyRow *row,
                                bool *cut, PareError *err) {
    int32_t start = pare_model_generation(v->models[PARE_VERIFY_REFERENCE])->decoder_start;
    if (!data->target)
        return pare_error_set(err, PARE_E_FORMAT,
                              "there is no target; expected two columns, or members \"source\" and "
                              "\"target\"");
    if (!v->tokenizer)
        return pare_error_set(err, PARE_E_UNSUPPORTED, "the models have no tokenizer");
    if (start < 0)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "the reference has no decoder_start_token_id");
    pare_buffer_clear(&row->target);
    PareText target = {data->target, data->target_size};
    pare_buffer_append(&row->target, target.data, target.size);
    PareStatus status = pare_buffer_ok(&row->target, "a target", err);
    if (!status)
        status = pare_encode_text(v->tokenizer, PARE_SIDE_TARGET, target, limit_of(v, true), cut,
                                  &row->targets, err);
    if (!status && row->targets.count == 0)
        return pare_error_set(err, PARE_E_FORMAT, "the target has no tokens");
    if (!status)
        status = copy_ids(&start, 1, &row->decoder, err);
    return status ? status
                  : copy_ids(row->targets.data, row->targets.count - 1, &row->decoder, err);
}

/* -- batches -- */

static PareStatus fill_row(PareVerify *v, const PareDataRow *data, PareVerifyRow *row,
                           PareError *err) {
    bool cut = false;
    row->line = data->line;
    row->ids.count = row->types.count = row->decoder.count = row->targets.count = 0;
    row->has_types = false;
    PareStatus status =
        data->input_ids ? take_ids(v, data, row, err) : encode_source(v, data, row, &cut, err);
    if (!status && v->report->task == PARE_TASK_CLASSIFICATION)
        status = find_label(v, data, &row->label, err);
    if (!status && v->report->task == PARE_TASK_TRANSLATION)
        status = encode_target(v, data, row, &cut, err);
    v->report->cut += cut;
    return status;
}

static PareStatus add_row(PareVerify *v, const PareDataRow *data, size_t at, PareError *err) {
    PareVerifyRow *row = &v->rows[at];
    PareSequence *q = &v->sequences[at];
    char where[512];
    pare_verify_where(v, data->line, where, sizeof where);
    PareStatus status = fill_row(v, data, row, err);
    if (status)
        return pare_error_prefix(err, "%s", where);
    *q = (PareSequence){.ids = row->ids.data,
                        .count = row->ids.count,
                        .types = row->has_types ? row->types.data : NULL,
                        .decoder_ids = row->decoder.count ? row->decoder.data : NULL,
                        .decoder_count = row->decoder.count};
    for (int m = 0; m < PARE_VERIFY_MODELS && !status; m++)
        status = pare_session_check(v->sessions[m], q, where, err);
    return status;
}

PareStatus pare_verify_read_batch(PareVerify *v, size_t *count, PareError *err) {
    const PareDataRow *data;
    uint64_t limit = v->options->limit;
    PareStatus status = pare_interrupt_check(err);
    *count = 0;
    while (!status && *count < v->batch && (!limit || v->report->rows < limit)) {
        if ((status = pare_dataset_next(v->data, &data, err)) || !data)
            break;
        status = add_row(v, data, *count, err);
        ++*count;
        v->report->rows++;
    }
    return status;
}
