/* The stage's data: training and validation examples, references, and pseudo-labels. */
#include <string.h>

#include "distill/distill_impl.h"

static PareStatus find_tokenizer(PareDistill *j) {
    const void *bytes;
    size_t size;
    const PareFile *file = pare_model_file(j->like);
    if (!pare_file_section(file, PARE_SECTION_TOKENIZER, &bytes, &size))
        return PARE_OK;
    return pare_tokenizer_from_bytes(bytes, size, pare_file_path(file), &j->tokenizer, j->err);
}

static PareStatus task_of_sequence_head(PareDistill *j) {
    const PareJson *source = pare_json_get(pare_model_metadata(j->like), "source");
    const char *problem = NULL;
    PareStatus st = pare_json_get_string(source, "problem_type", &problem, "source", j->err);
    bool one = j->weights->description.head.labels == 1;
    if (problem && strcmp(problem, "multi_label_classification") == 0)
        return pare_error_set(j->err, PARE_E_UNSUPPORTED,
                              "%s: several labels at once (multi_label_classification) cannot be "
                              "trained",
                              pare_file_path(pare_model_file(j->like)));
    j->task = one || (problem && strcmp(problem, "regression") == 0) ? PARE_EXAMPLES_REGRESSION
                                                                     : PARE_EXAMPLES_CLASSIFICATION;
    return st;
}

/* What the head is made for. */
static PareStatus find_task(PareDistill *j) {
    const PareDescription *d = &j->weights->description;
    bool both = d->stacks[PARE_ENCODER].present && d->stacks[PARE_DECODER].present;
    switch (d->head.kind) {
    case PARE_HEAD_SEQUENCE:
        return task_of_sequence_head(j);
    case PARE_HEAD_TOKENS:
        j->task = PARE_EXAMPLES_TOKENS;
        return PARE_OK;
    case PARE_HEAD_LM:
        j->task = both ? PARE_EXAMPLES_SEQ2SEQ : PARE_EXAMPLES_LM;
        return PARE_OK;
    case PARE_HEAD_SPAN:
    case PARE_HEAD_NONE:
        break;
    }
    return pare_error_set(
        j->err, PARE_E_UNSUPPORTED,
        "%s: a %s head cannot be trained; labels, values, tokens, language models "
        "and text to text can",
        pare_file_path(pare_model_file(j->like)), pare_head_kind_name(d->head.kind));
}

static PareStatus open_examples(const PareDistill *j, const char *path, bool unlabelled,
                                PareExamples **out) {
    const PareDistillOptions *o = j->o;
    const PareDescription *d = &j->weights->description;
    const char **labels = NULL;
    if (j->task == PARE_EXAMPLES_CLASSIFICATION) {
        labels = pare_arena_alloc(j->arena, d->head.labels, sizeof *labels);
        if (!labels)
            return pare_memory_error(j->err, "labels");
        for (uint32_t i = 0; i < d->head.labels; i++)
            labels[i] = pare_model_label(j->like, i);
    }
    PareExamplesOptions options = {.path = path,
                                   .data = o->format,
                                   .task = j->task,
                                   .description = d,
                                   .tokenizer = j->tokenizer,
                                   .labels = labels,
                                   .max_source = o->max_source,
                                   .max_target = o->max_target,
                                   .truncate = o->truncate,
                                   .block = o->block,
                                   .decoder_start = j->generation.decoder_start,
                                   .pad = j->generation.pad,
                                   .unlabelled = unlabelled,
                                   .limit = o->limit};
    options.progress = o->progress ? o->progress("reading", 0) : NULL;
    PareStatus st = pare_examples_open(&options, out, j->err);
    pare_progress_finish(options.progress);
    return st;
}

/* True targets and the teacher's, one behind the other. */
static PareStatus mix(PareDistill *j, PareExamples *pseudo) {
    PareExamples *both = NULL;
    PareExamples *const parts[] = {j->examples, pseudo};
    PareStatus st = pare_examples_create(NULL, &both, j->err);
    for (int p = 0; p < 2 && !st; p++)
        for (size_t i = 0; i < pare_examples_count(parts[p]) && !st; i++) {
            PareExample e = pare_examples_get(parts[p], i);
            st = pare_examples_append(both, &e, j->err);
        }
    if (!st)
        st = pare_examples_finish(both, j->err);
    pare_examples_close(pseudo);
    if (st) {
        pare_examples_close(both);
        return st;
    }
    pare_examples_close(j->examples);
    j->examples = both;
    return PARE_OK;
}

static PareStatus use_pseudo_labels(PareDistill *j) {
    const PareDistillOptions *o = j->o;
    PareExamples *pseudo = NULL;
    char *path = o->pseudo.path ? pare_arena_strdup(j->arena, o->pseudo.path)
                                : pare_arena_printf(j->arena, "%s.pseudo.jsonl", o->output);
    if (!path)
        return pare_memory_error(j->err, "pseudo-labels");
    if (j->task != PARE_EXAMPLES_SEQ2SEQ)
        return pare_error_set(j->err, PARE_E_USAGE,
                              "pseudo-labels are texts; for other tasks --method kd learns from "
                              "the teacher");
    ParePseudoJob job = {.teacher = j->teacher,
                         .examples = j->examples,
                         .generation = &j->generation,
                         .path = path,
                         .threads = o->threads,
                         .progress = o->progress};
    PareStatus st = pare_pseudo_make(&job, j->err);
    if (!st)
        st = open_examples(j, path, false, &pseudo);
    if (!st && o->pseudo.mix)
        return mix(j, pseudo);
    if (st)
        return st;
    pare_examples_close(j->examples);
    j->examples = pseudo;
    return PARE_OK;
}

static PareStatus open_validation(PareDistill *j) {
    const PareDistillOptions *o = j->o;
    PareStatus st = PARE_OK;
    if (!o->validation)
        return PARE_OK;
    st = open_examples(j, o->validation, false, &j->validation);
    if (!st && j->task == PARE_EXAMPLES_SEQ2SEQ)
        st = pare_references_read(o->validation, &o->format, o->limit, &j->references, j->err);
    return st;
}

static void set_generation(PareDistill *j) {
    const PareDistillOptions *o = j->o;
    j->generation = *pare_model_generation(j->like);
    if (o->num_beams)
        j->generation.num_beams = o->num_beams;
    if (o->max_length) {
        j->generation.max_length = o->max_length;
        j->generation.max_new_tokens = 0; /* which would win */
    }
}

PareStatus pare_distill_open_data(PareDistill *j) {
    unsigned methods = j->o->methods;
    bool own_targets = !(methods & (PARE_METHOD_KD | PARE_METHOD_PSEUDO)) || j->o->pseudo.mix;
    PareStatus st = find_tokenizer(j);
    set_generation(j);
    if (!st)
        st = find_task(j);
    if (!st)
        st = open_examples(j, j->o->data, !own_targets, &j->examples);
    if (!st)
        st = open_validation(j);
    if (!st && (methods & PARE_METHOD_PSEUDO))
        st = use_pseudo_labels(j);
    return st;
}
