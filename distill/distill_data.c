/* The stage's data: training and validation examples, references, and pseudo-labels. */
#include <string.h>

#include "distill/distill_impl.h"
#include "distill/ranks.h"
#include "learn/model_data.h"

/* What differs between the files that are opened. */
typedef struct {
    const char *path;
    PareDataOptions format;
    const PareTokenizer *tokenizer;
    bool unlabelled;
    uint64_t limit;
    size_t source_positions, target_positions; /* as PareExamplesOptions */
} Source;

static size_t positions_of(const PareStack *s) {
    return s->present && s->position == PARE_POSITION_TABLE ? s->positions : 0;
}

/* The teacher reads the training inputs as well, and with kd the targets. */
static void limit_to_teacher(const PareDistill *j, Source *source) {
    const PareStack *stacks = j->teacher ? pare_model_description(j->teacher)->stacks : NULL;
    bool kd = j->o->methods & PARE_METHOD_KD;
    if (!kd && !(j->o->methods & PARE_METHOD_PSEUDO))
        return;
    source->source_positions =
        positions_of(&stacks[stacks[PARE_ENCODER].present ? PARE_ENCODER : PARE_DECODER]);
    if (kd)
        source->target_positions =
            positions_of(&stacks[stacks[PARE_DECODER].present ? PARE_DECODER : PARE_ENCODER]);
}

static PareStatus open_examples(const PareDistill *j, const Source *source, PareExamples **out) {
    const PareDistillOptions *o = j->o;
    PareExamplesOptions options = {.path = source->path,
                                   .data = source->format,
                                   .task = j->task,
                                   .description = &j->weights->description,
                                   .tokenizer = source->tokenizer,
                                   .max_source = o->max_source,
                                   .max_target = o->max_target,
                                   .source_positions = source->source_positions,
                                   .target_positions = source->target_positions,
                                   .truncate = o->truncate,
                                   .block = o->block,
                                   .decoder_start = j->generation.decoder_start,
                                   .pad = j->generation.pad,
                                   .unlabelled = source->unlabelled,
                                   .no_empty = true,
                                   .limit = source->limit};
    PareStatus st = PARE_OK;
    if (j->task == PARE_EXAMPLES_CLASSIFICATION)
        st =
            pare_model_data_labels(j->like, options.description, j->arena, &options.labels, j->err);
    if (st)
        return st;
    options.progress = o->progress ? o->progress("reading", 0) : NULL;
    st = pare_examples_open(&options, out, j->err);
    pare_progress_finish(options.progress);
    return st;
}

/* What --truncate cut must not go unnoticed. */
static void tell_cut(const PareDistill *j, const char *path, const PareExamples *x) {
    size_t cut = pare_examples_cut(x);
    char *text = NULL;
    if (cut && j->o->warn && pare_ranks_rank() == 0)
        text = pare_arena_printf(j->arena, "%s: %zu of %zu examples were too long and cut", path,
                                 cut, pare_examples_count(x));
    if (text)
        j->o->warn(j->o->talk, text);
}

/* -- pseudo-labels -- */

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

/* Training goes on with what the teacher wrote. */
static PareStatus take_pseudo_labels(PareDistill *j) {
    PareExamples *pseudo = NULL;
    Source source = {
        .path = j->pseudo, .format = {.format = PARE_DATA_JSONL}, .tokenizer = j->tokenizer};
    limit_to_teacher(j, &source);
    PareStatus st = open_examples(j, &source, &pseudo);
    if (st)
        return st;
    tell_cut(j, j->pseudo, pseudo);
    if (j->o->pseudo.mix)
        return mix(j, pseudo);
    pare_examples_close(j->examples);
    j->examples = pseudo;
    return PARE_OK;
}

static ParePseudoJob pseudo_job(const PareDistill *j) {
    return (ParePseudoJob){.teacher = j->teacher,
                           .examples = j->examples,
                           .generation = &j->writing,
                           .path = j->pseudo,
                           .threads = j->o->threads,
                           .progress = j->o->progress};
}

PareStatus pare_distill_pseudo_labels(PareDistill *j) {
    if (!(j->o->methods & PARE_METHOD_PSEUDO))
        return PARE_OK;
    ParePseudoJob job = pseudo_job(j);
    PareStatus st = pare_pseudo_make(&job, j->err);
    return st ? st : take_pseudo_labels(j);
}

/* -- opening -- */

static PareStatus open_validation(PareDistill *j) {
    const PareDistillOptions *o = j->o;
    Source source = {
        .path = o->validation, .format = o->format, .tokenizer = j->tokenizer, .limit = o->limit};
    if (!o->validation)
        return PARE_OK;
    PareStatus st = open_examples(j, &source, &j->validation);
    if (st)
        return st;
    tell_cut(j, o->validation, j->validation);
    if (j->task != PARE_EXAMPLES_SEQ2SEQ)
        return PARE_OK;
    return pare_references_read(o->validation, &o->format, o->limit, &j->references, j->err);
}

/* Two tokenizers may differ in their files and read texts alike: the first rows tell. */
static PareStatus compare_tokenizers(const PareDistill *j, const Source *source,
                                     const PareTokenizer *teacher) {
    enum { ROWS = 1000 };
    PareExamples *mine = NULL, *theirs = NULL;
    Source first = *source, second;
    first.limit = source->limit && source->limit < ROWS ? source->limit : ROWS;
    second = first;
    second.tokenizer = teacher;
    PareStatus st = open_examples(j, &first, &mine);
    if (!st)
        st = open_examples(j, &second, &theirs);
    if (!st && pare_examples_digest(mine) != pare_examples_digest(theirs))
        st = pare_error_set(j->err, PARE_E_USAGE,
                            "the tokenizers of %s and %s give different token ids for the texts of "
                            "%s; a teacher needs a student with the same tokenizer",
                            pare_file_path(pare_model_file(j->like)), j->o->teacher, source->path);
    pare_examples_close(mine);
    pare_examples_close(theirs);
    return st;
}

/* The teacher reads the student's ids. */
static PareStatus check_tokenizers(const PareDistill *j, const Source *source) {
    const void *mine, *theirs;
    size_t size, other;
    PareTokenizer *teacher = NULL;
    bool learns = j->o->methods & (PARE_METHOD_KD | PARE_METHOD_PSEUDO);
    if (!learns || j->like == j->teacher ||
        !pare_file_section(pare_model_file(j->like), PARE_SECTION_TOKENIZER, &mine, &size) ||
        !pare_file_section(pare_model_file(j->teacher), PARE_SECTION_TOKENIZER, &theirs, &other) ||
        (size == other && memcmp(mine, theirs, size) == 0))
        return PARE_OK;
    PareStatus st = pare_tokenizer_from_bytes(theirs, other, j->o->teacher, &teacher, j->err);
    if (!st)
        st = compare_tokenizers(j, source, teacher);
    pare_tokenizer_free(teacher);
    return st;
}

static void apply_generation(const PareDistillOptions *o, PareGeneration *g) {
    if (o->num_beams)
        g->num_beams = o->num_beams;
    if (o->max_length) {
        g->max_length = o->max_length;
        g->max_new_tokens = 0; /* which would win */
    }
}

static PareStatus check_pseudo(const PareDistill *j) {
    ParePseudoJob job = pseudo_job(j);
    if (!(j->o->methods & PARE_METHOD_PSEUDO))
        return PARE_OK;
    if (j->task != PARE_EXAMPLES_SEQ2SEQ)
        return pare_error_set(j->err, PARE_E_USAGE,
                              "pseudo-labels are texts; for other tasks --method kd learns from "
                              "the teacher");
    PareStatus st = pare_pseudo_check(&job, j->err);
    return st ? pare_error_prefix(j->err, "pseudo-labels of %s", j->o->teacher) : PARE_OK;
}

/* A length that would be ignored is a mistake of the user's. */
static PareStatus check_lengths(const PareDistill *j) {
    const PareStack *stacks = j->weights->description.stacks;
    const char *student = pare_file_path(pare_model_file(j->like));
    if (j->o->block && j->task != PARE_EXAMPLES_LM)
        return pare_error_set(j->err, PARE_E_USAGE,
                              "--block is for language models, which read windows of text; %s is "
                              "none",
                              student);
    if (j->o->max_target && !(stacks[PARE_ENCODER].present && stacks[PARE_DECODER].present))
        return pare_error_set(j->err, PARE_E_USAGE,
                              "--max-target is for encoder-decoders; %s is none, and --max-source "
                              "limits what it reads",
                              student);
    return PARE_OK;
}

/* A teacher can take the place of labels, and write targets; but what a decoder is to read, or
 * which positions count, only targets tell. */
static bool needs_no_targets(const PareDistill *j) {
    bool one_score = j->task == PARE_EXAMPLES_CLASSIFICATION || j->task == PARE_EXAMPLES_REGRESSION;
    if (j->o->methods & PARE_METHOD_PSEUDO)
        return !j->o->pseudo.mix;
    return (j->o->methods & PARE_METHOD_KD) && one_score;
}

PareStatus pare_distill_open_data(PareDistill *j) {
    const PareDistillOptions *o = j->o;
    PareStatus st = pare_model_data_tokenizer(j->like, &j->tokenizer, j->err);
    if (!st)
        st = pare_distill_set_generation(j);
    j->generation = j->own;
    j->writing = *pare_model_generation(j->teacher ? j->teacher : j->like);
    apply_generation(o, &j->generation);
    apply_generation(o, &j->writing);
    if (!st)
        st = pare_model_data_task(j->like, &j->weights->description, &j->task, j->err);
    if (!st)
        st = check_lengths(j);
    if (!st)
        st = check_pseudo(j);
    if (!st) /* the smaller one first: what is wrong with it is soon known */
        st = open_validation(j);
    Source source = {.path = o->data,
                     .format = o->format,
                     .tokenizer = j->tokenizer,
                     .unlabelled = needs_no_targets(j),
                     .limit = o->limit};
    limit_to_teacher(j, &source);
    if (!st)
        st = check_tokenizers(j, &source);
    if (!st)
        st = open_examples(j, &source, &j->examples);
    if (!st)
        tell_cut(j, o->data, j->examples);
    return st;
}
