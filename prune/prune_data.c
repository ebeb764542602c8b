/* Examples for pruning. */
#include "prune/prune_data.h"

#include "core/memory.h"
#include "learn/model_data.h"

/* What the head of a model wants of a row, for messages. */
static const char *needs(PareExamplesTask task) {
    switch (task) {
    case PARE_EXAMPLES_CLASSIFICATION:
        return "a text, two, or input_ids, with a label";
    case PARE_EXAMPLES_REGRESSION:
        return "a text, two, or input_ids, with a number as label";
    case PARE_EXAMPLES_TOKENS:
        return "input_ids with a label for each";
    case PARE_EXAMPLES_LM:
        return "a text or input_ids";
    case PARE_EXAMPLES_SEQ2SEQ:
        break;
    }
    return "a text with a target text, or input_ids with labels";
}

/* What a criterion without a loss, or the repair of a cut, can read for heads that nothing is
 * trained with: the same as without labels for each token. */
static PareStatus find_task(const PareModel *m, bool unlabelled, PareExamplesTask *out,
                            PareError *err) {
    PareHeadKind kind = pare_model_description(m)->head.kind;
    if (unlabelled && (kind == PARE_HEAD_SPAN || kind == PARE_HEAD_NONE)) {
        *out = PARE_EXAMPLES_TOKENS;
        return PARE_OK;
    }
    return pare_model_data_task(m, pare_model_description(m), out, err);
}

static PareStatus open_examples(const PareModel *m, const ParePruneDataOptions *o,
                                ParePruneData *out, PareError *err) {
    const PareGeneration *g = pare_model_generation(m);
    PareExamplesOptions options = {.path = o->path,
                                   .data = o->format,
                                   .task = out->task,
                                   .description = pare_model_description(m),
                                   .tokenizer = out->tokenizer,
                                   .max_source = o->max_source,
                                   .max_target = o->max_target,
                                   .truncate = o->truncate,
                                   .block = o->block,
                                   .decoder_start = g->decoder_start,
                                   .pad = g->pad,
                                   .unlabelled = o->unlabelled,
                                   .limit = o->limit,
                                   .progress = o->progress};
    PareStatus st = PARE_OK;
    if (out->task == PARE_EXAMPLES_CLASSIFICATION)
        st = pare_model_data_labels(m, options.description, out->arena, &options.labels, err);
    if (!st)
        st = pare_examples_open(&options, &out->examples, err);
    if (st == PARE_E_FORMAT)
        pare_error_prefix(err, "%s reads rows of %s", pare_file_path(pare_model_file(m)),
                          needs(out->task));
    return st;
}

PareStatus pare_prune_data_open(const PareModel *m, const ParePruneDataOptions *o,
                                ParePruneData *out, PareError *err) {
    *out = (ParePruneData){.arena = pare_arena_create(0)};
    PareStatus st =
        out->arena ? find_task(m, o->unlabelled, &out->task, err) : pare_memory_error(err, "data");
    if (!st)
        st = pare_model_data_tokenizer(m, &out->tokenizer, err);
    if (!st)
        st = open_examples(m, o, out, err);
    if (st)
        pare_prune_data_close(out);
    return st;
}

void pare_prune_data_close(ParePruneData *d) {
    pare_examples_close(d->examples);
    pare_tokenizer_free(d->tokenizer);
    pare_arena_destroy(d->arena);
    *d = (ParePruneData){0};
}
