/* Rows of the data as the models read them: in the same ids, or each in those of its own
 * vocabulary. */
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

static const PareDescription *description(const PareVerify *v, int model) {
    return pare_model_description(v->models[model]);
}

/* -- token ids -- */

static PareStatus copy_ids(const int32_t *ids, size_t count, PareIds *out, PareError *err) {
    for (size_t i = 0; i < count; i++)
        if (!pare_ids_push(out, ids[i]))
            return pare_memory_error(err, "token ids");
    return PARE_OK;
}

/* The ids of data are the reference's. */
static PareStatus take_ids(PareVerify *v, int model, const PareDataRow *data, PareVerifyInput *in,
                           bool *cut, PareError *err) {
    size_t limit = v->options->truncate ? pare_verify_positions(v, false) : 0;
    size_t count = limit && data->input_count > limit ? limit : data->input_count;
    PareStatus status = model == PARE_VERIFY_REFERENCE
                            ? copy_ids(data->input_ids, count, &in->ids, err)
                            : pare_verify_translate_ids(v, data->input_ids, count, &in->ids, err);
    *cut = *cut || count < data->input_count;
    in->has_types = data->type_ids != NULL;
    if (!status && in->has_types)
        status = copy_ids(data->type_ids, count, &in->types, err);
    return status;
}

/* How long a text may become; 0: as long as it is, to be refused later. */
static size_t limit_of(const PareVerify *v, bool decoder) {
    return v->options->truncate ? pare_verify_positions(v, decoder) : 0;
}

static PareStatus encode_source(PareVerify *v, int model, const PareDataRow *data,
                                PareVerifyInput *in, bool *cut, PareError *err) {
    const PareTokenizer *tokenizer = v->tokenizers[model];
    if (!tokenizer)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "the models have no tokenizer; expected JSON lines with input_ids");
    if (!data->text)
        return pare_error_set(err, PARE_E_FORMAT, "there is no text");
    PareText text = {data->text, data->text_size}, other = {data->text_b, data->text_b_size};
    size_t limit = limit_of(v, false);
    if (!data->text_b)
        return pare_encode_text(tokenizer, PARE_SIDE_SOURCE, text, limit, cut, &in->ids, err);
    const PareDescription *d = description(v, model);
    in->has_types = d->stacks[PARE_ENCODER].present && d->stacks[PARE_ENCODER].types > 0;
    return pare_encode_pair(tokenizer, text, other, limit, cut, &in->ids, &in->types, err);
}

/* -- labels and targets -- */

static PareStatus find_label(const PareVerify *v, const PareDataRow *data, uint32_t *out,
                             PareError *err) {
    uint32_t labels = description(v, PARE_VERIFY_REFERENCE)->head.labels;
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
static PareStatus encode_target(PareVerify *v, int model, const PareDataRow *data,
                                PareVerifyInput *in, bool *cut, PareError *err) {
    int32_t start = pare_model_generation(v->models[model])->decoder_start;
    if (!data->target)
        return pare_error_set(err, PARE_E_FORMAT,
                              "there is no target; expected two columns, or members \"source\" and "
                              "\"target\"");
    if (!v->tokenizers[model])
        return pare_error_set(err, PARE_E_UNSUPPORTED, "the models have no tokenizer");
    if (start < 0)
        return pare_error_set(err, PARE_E_UNSUPPORTED, "the %s has no decoder_start_token_id",
                              model == PARE_VERIFY_REFERENCE ? "reference" : "candidate");
    PareText target = {data->target, data->target_size};
    PareStatus status = pare_encode_text(v->tokenizers[model], PARE_SIDE_TARGET, target,
                                         limit_of(v, true), cut, &in->targets, err);
    if (!status && in->targets.count == 0)
        return pare_error_set(err, PARE_E_FORMAT, "the target has no tokens");
    if (!status)
        status = copy_ids(&start, 1, &in->decoder, err);
    return status ? status : copy_ids(in->targets.data, in->targets.count - 1, &in->decoder, err);
}

static PareStatus take_target(PareVerify *v, const PareDataRow *data, PareVerifyRow *row,
                              PareError *err) {
    pare_buffer_clear(&row->target);
    pare_buffer_append(&row->target, data->target, data->target_size);
    v->report->bytes += data->target_size;
    return pare_buffer_ok(&row->target, "a target", err);
}

/* -- batches -- */

static PareStatus fill_input(PareVerify *v, int model, const PareDataRow *data, PareVerifyInput *in,
                             bool *cut, bool *target_cut, PareError *err) {
    in->ids.count = in->types.count = in->decoder.count = in->targets.count = 0;
    in->has_types = false;
    PareStatus status = data->input_ids ? take_ids(v, model, data, in, cut, err)
                                        : encode_source(v, model, data, in, cut, err);
    if (!status && v->report->task == PARE_TASK_TRANSLATION)
        status = encode_target(v, model, data, in, target_cut, err);
    return status;
}

/* Whether the two vocabularies give the same tokens. What is left of a target that was cut short
 * would be two different texts otherwise. */
static PareStatus compare_inputs(PareVerify *v, PareVerifyRow *row, bool target_cut,
                                 PareError *err) {
    PareVerifyVocabularies *r = &v->report->vocabularies;
    const PareVerifyInput *a = &row->inputs[0], *b = &row->inputs[1];
    row->apart = v->tokens.differ && !pare_verify_same_tokens(v, &a->targets, &b->targets);
    if (row->apart && target_cut)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "the target is longer than the models read, and the two would be "
                              "asked for different parts of it: they cut it into other tokens");
    r->apart += row->apart;
    r->recut += v->tokens.differ && (row->apart || !pare_verify_same_tokens(v, &a->ids, &b->ids));
    return PARE_OK;
}

static PareStatus fill_row(PareVerify *v, const PareDataRow *data, PareVerifyRow *row,
                           PareError *err) {
    int readers = v->tokens.differ ? PARE_VERIFY_MODELS : 1;
    bool cut = false, target_cut = false;
    PareStatus status = PARE_OK;
    row->line = data->line;
    for (int m = 0; m < readers && !status; m++)
        status = fill_input(v, m, data, &row->inputs[m], &cut, &target_cut, err);
    if (!status && v->report->task == PARE_TASK_CLASSIFICATION)
        status = find_label(v, data, &row->label, err);
    if (!status && v->report->task == PARE_TASK_TRANSLATION)
        status = take_target(v, data, row, err);
    if (!status)
        status = compare_inputs(v, row, target_cut, err);
    v->report->cut += cut || target_cut;
    return status;
}

static PareSequence sequence_of(const PareVerifyInput *in) {
    return (PareSequence){.ids = in->ids.data,
                          .count = in->ids.count,
                          .types = in->has_types ? in->types.data : NULL,
                          .decoder_ids = in->decoder.count ? in->decoder.data : NULL,
                          .decoder_count = in->decoder.count};
}

static PareStatus add_row(PareVerify *v, const PareDataRow *data, size_t at, PareError *err) {
    PareVerifyRow *row = &v->rows[at];
    char where[512];
    pare_verify_where(v, data->line, where, sizeof where);
    PareStatus status = fill_row(v, data, row, err);
    if (status)
        return pare_error_prefix(err, "%s", where);
    for (int m = 0; m < PARE_VERIFY_MODELS && !status; m++) {
        PareSequence *q = &v->sequences[m][at];
        *q = sequence_of(&row->inputs[pare_verify_reader(v, m)]);
        status = pare_session_check(v->sessions[m], q, where, err);
    }
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
