/* The tokenizer, the task and the labels of a model's file. */
#include "learn/model_data.h"

#include <string.h>

#include "core/json.h"

static const char *path_of(const PareModel *m) {
    return pare_file_path(pare_model_file(m));
}

PareStatus pare_model_data_tokenizer(const PareModel *m, PareTokenizer **out, PareError *err) {
    const void *bytes;
    size_t size;
    if (!pare_file_section(pare_model_file(m), PARE_SECTION_TOKENIZER, &bytes, &size))
        return PARE_OK;
    return pare_tokenizer_from_bytes(bytes, size, path_of(m), out, err);
}

static PareStatus task_of_sequence_head(const PareModel *m, const PareDescription *d,
                                        PareExamplesTask *out, PareError *err) {
    const PareJson *source = pare_json_get(pare_model_metadata(m), "source");
    const char *problem = NULL;
    PareStatus st = pare_json_get_string(source, "problem_type", &problem, "source", err);
    if (problem && strcmp(problem, "multi_label_classification") == 0)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: several labels at once (multi_label_classification) cannot be "
                              "trained",
                              path_of(m));
    bool regression = problem && strcmp(problem, "regression") == 0;
    if (!st && regression && d->head.labels > 1)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: regression of %u values at once cannot be trained; one can",
                              path_of(m), d->head.labels);
    *out =
        d->head.labels == 1 || regression ? PARE_EXAMPLES_REGRESSION : PARE_EXAMPLES_CLASSIFICATION;
    return st;
}

PareStatus pare_model_data_task(const PareModel *m, const PareDescription *d, PareExamplesTask *out,
                                PareError *err) {
    bool both = d->stacks[PARE_ENCODER].present && d->stacks[PARE_DECODER].present;
    switch (d->head.kind) {
    case PARE_HEAD_SEQUENCE:
        return task_of_sequence_head(m, d, out, err);
    case PARE_HEAD_TOKENS:
        *out = PARE_EXAMPLES_TOKENS;
        return PARE_OK;
    case PARE_HEAD_LM:
        *out = both ? PARE_EXAMPLES_SEQ2SEQ : PARE_EXAMPLES_LM;
        return PARE_OK;
    case PARE_HEAD_SPAN:
    case PARE_HEAD_NONE:
        break;
    }
    return pare_error_set(
        err, PARE_E_UNSUPPORTED,
        "%s: %s cannot be trained; labels, values, tokens, language "
        "models and text to text can",
        path_of(m), d->head.kind == PARE_HEAD_SPAN ? "a span head" : "a model without a head");
}

PareStatus pare_model_data_labels(const PareModel *m, const PareDescription *d, PareArena *arena,
                                  const char *const **out, PareError *err) {
    const char **labels = pare_arena_alloc(arena, d->head.labels, sizeof *labels);
    if (!labels)
        return pare_memory_error(err, "labels");
    for (uint32_t i = 0; i < d->head.labels; i++)
        labels[i] = pare_model_label(m, i);
    *out = labels;
    return PARE_OK;
}
