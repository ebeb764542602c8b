/* What is refused before anything is trained: options that contradict each other, files that would
 * be destroyed or cannot be written, and models that do not belong together. */
#include <string.h>

#include "core/file.h"
#include "distill/distill_impl.h"
#include "distill/ranks.h"
#include "distill/state.h"

/* -- options -- */

typedef struct {
    bool wrong;
    const char *message;
} Rule;

/* Which students there are, and what each needs. */
static PareStatus check_student(const PareDistill *j) {
    const PareDistillOptions *o = j->o;
    bool warm = o->encoder || o->decoder, random = o->fresh || o->student_config;
    const PareWarmIds *ids = &o->special;
    const Rule rules[] = {
        {!o->encoder != !o->decoder, "--encoder and --decoder belong together"},
        {warm && o->student, "--encoder and --decoder make a student; give no --student"},
        {warm && o->layers, "--layers chooses layers of a teacher, not of --encoder or --decoder"},
        {warm && o->student_config, "--student-config is for students of a teacher's kind"},
        {o->share && !warm, "--share is for --encoder and --decoder"},
        {(ids->decoder_start >= 0 || ids->eos >= 0 || ids->pad >= 0) && !warm,
         "--decoder-start, --eos and --pad are for --encoder and --decoder"},
        {o->fresh && o->student, "--fresh makes a student; give no --student"},
        {o->student_config && o->student,
         "--student-config describes a new student; give no --student"},
        {o->student_config && !o->teacher,
         "--student-config needs a --teacher, whose kind the student is of"},
        {o->student_config && o->layers, "--student-config and --layers contradict each other"},
        {o->copy_embeddings && (warm || !random),
         "--embeddings is for --fresh and --student-config"},
        {o->train_encoder && (warm || random),
         "--train-encoder is for students made of a teacher's layers; others are trained whole"},
        {(o->methods & PARE_METHOD_SFT) && (warm || random),
         "--method sft makes the student of the teacher's layers"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].wrong)
            return pare_error_set(j->err, PARE_E_USAGE, "%s", rules[i].message);
    return PARE_OK;
}

static PareStatus check_methods(const PareDistill *j) {
    const PareDistillOptions *o = j->o;
    unsigned of_teacher = PARE_METHOD_SFT | PARE_METHOD_KD | PARE_METHOD_PSEUDO;
    bool evaluates = o->metric || o->patience || o->evaluate_every;
    const Rule rules[] = {
        {(o->methods & of_teacher) && !o->teacher, "--method sft, kd and pseudo need a --teacher"},
        {!o->teacher && !o->student && !o->encoder,
         "give a --student, or a --teacher to make one of"},
        {(o->methods & PARE_METHOD_SFT) && o->student,
         "--method sft makes the student of the teacher; give no --student"},
        {(o->methods & PARE_METHOD_SFT) && !o->layers,
         "--method sft needs --layers: which of the teacher's the student takes"},
        {o->layers && o->student,
         "--layers chooses layers of the teacher; with a --student there is nothing to choose"},
        {o->train_encoder && o->student,
         "--train-encoder is for students made of a teacher; a --student is trained whole"},
        {o->teacher && (o->student || o->encoder) && !(o->methods & of_teacher),
         "--method finetune learns nothing from a --teacher beside a --student; kd and pseudo do"},
        {!(o->methods & PARE_METHOD_KD) &&
             (o->weights.soft > 0 || o->hidden > 0 || o->attention > 0),
         "weights for soft labels, hidden states and attention belong to --method kd"},
        {!(o->methods & PARE_METHOD_PSEUDO) && (o->pseudo.path || o->pseudo.mix),
         "--pseudo-labels and --mix belong to --method pseudo"},
        {evaluates && !o->validation,
         "--metric, --patience and --eval-every need a --validation file"},
    };
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].wrong)
            return pare_error_set(j->err, PARE_E_USAGE, "%s", rules[i].message);
    return PARE_OK;
}

/* -- files -- */

static PareStatus set_paths(PareDistill *j) {
    const PareDistillOptions *o = j->o;
    j->state = o->state ? pare_arena_strdup(j->arena, o->state)
                        : pare_arena_printf(j->arena, "%s.training", o->output);
    j->pseudo = o->pseudo.path ? pare_arena_strdup(j->arena, o->pseudo.path)
                               : pare_arena_printf(j->arena, "%s.pseudo.jsonl", o->output);
    return j->state && j->pseudo ? PARE_OK : pare_memory_error(j->err, "paths");
}

typedef struct {
    const char *option, *path; /* NULL: none */
} NamedFile;

enum { FILES = 10, WRITTEN = 7 }; /* from WRITTEN on they are written */

static void list_files(const PareDistill *j, NamedFile out[FILES]) {
    const PareDistillOptions *o = j->o;
    const NamedFile files[FILES] = {
        {"--student", o->student},
        {"--teacher", o->teacher},
        {"--encoder", o->encoder},
        {"--decoder", o->decoder},
        {"--student-config", o->student_config},
        {"--data", o->data},
        {"--validation", o->validation},
        {"--output", o->output},
        {"--checkpoint", j->state},
        {"--pseudo-labels", o->methods & PARE_METHOD_PSEUDO ? j->pseudo : NULL}};
    memcpy(out, files, sizeof files);
}

static PareStatus check_two(NamedFile a, NamedFile b, PareError *err) {
    if (!a.path || !b.path || (strcmp(a.path, b.path) != 0 && !pare_file_same(a.path, b.path)))
        return PARE_OK;
    return pare_error_set(err, PARE_E_USAGE, "%s and %s name the same file: %s", a.option, b.option,
                          b.path);
}

/* What is written must be nothing that is read, nor anything else that is written. */
static PareStatus check_distinct(const PareDistill *j) {
    NamedFile files[FILES];
    PareStatus st = PARE_OK;
    list_files(j, files);
    for (size_t i = WRITTEN; i < FILES; i++)
        for (size_t k = 0; k < i && !st; k++)
            st = check_two(files[k], files[i], j->err);
    return st;
}

PareStatus pare_distill_check_log(const PareDistillOptions *o, const char *path, PareError *err) {
    PareDistill j = {.o = o, .err = err, .arena = pare_arena_create(0)};
    NamedFile files[FILES];
    PareStatus st = j.arena ? set_paths(&j) : pare_memory_error(err, "paths");
    if (!st)
        list_files(&j, files);
    for (size_t i = 0; i < FILES && !st; i++)
        st = check_two((NamedFile){"--log-json", path}, files[i], err);
    pare_arena_destroy(j.arena);
    return st;
}

/* The output's place is tried now, and not when hours have gone by. */
static PareStatus try_output(const PareDistill *j) {
    PareOutput *output = NULL;
    if (pare_ranks_rank() != 0)
        return PARE_OK;
    PareStatus st = pare_output_open(j->o->output, j->o->force, &output, j->err);
    pare_output_abort(output);
    return st;
}

/* An earlier run's checkpoint is worth hours, and another file is none of ours. */
static PareStatus check_state(const PareDistill *j) {
    PareState *state = NULL;
    if (!pare_file_exists(j->state))
        return PARE_OK;
    PareStatus st = pare_state_open(j->state, &state, j->err);
    pare_state_close(state);
    if (st)
        return pare_error_prefix(j->err, "--checkpoint");
    if (!j->o->resume && !j->o->force)
        return pare_error_set(j->err, PARE_E_IO,
                              "%s: is the checkpoint of an earlier run; --resume goes on with it, "
                              "--force begins anew",
                              j->state);
    return PARE_OK;
}

PareStatus pare_distill_check_options(PareDistill *j) {
    PareStatus st = check_student(j);
    if (!st)
        st = check_methods(j);
    if (!st)
        st = set_paths(j);
    if (!st)
        st = check_distinct(j);
    if (!st)
        st = try_output(j);
    return st ? st : check_state(j);
}

/* -- two models -- */

static const char *name_student(const PareDistill *j) {
    return j->origin ? j->o->student : "the student";
}

/* The student reads the ids that the teacher reads and writes. */
static PareStatus check_vocabularies(const PareDistill *j) {
    const PareDescription *a = &j->planned, *b = pare_model_description(j->teacher);
    const char *method = j->o->methods & PARE_METHOD_KD ? "kd" : "pseudo";
    for (int s = 0; s < PARE_STACKS; s++) {
        const PareStack *ours = &a->stacks[s], *theirs = &b->stacks[s];
        if (ours->present && theirs->present && ours->vocabulary != theirs->vocabulary)
            return pare_error_set(j->err, PARE_E_USAGE,
                                  "%s has a vocabulary of %u and %s one of %u; %s needs the same: "
                                  "a vocabulary is cut afterwards, or the teacher's as well",
                                  name_student(j), ours->vocabulary, j->o->teacher,
                                  theirs->vocabulary, method);
    }
    return PARE_OK;
}

/* The teacher reads the student's token types; a model without any reads one, 0. */
static PareStatus check_types(const PareDistill *j) {
    const PareStack *a = j->planned.stacks, *b = pare_model_description(j->teacher)->stacks;
    PareStackIndex first = a[PARE_ENCODER].present ? PARE_ENCODER : PARE_DECODER;
    uint32_t ours = a[first].types, theirs = b[first].types ? b[first].types : 1;
    if (ours <= theirs)
        return PARE_OK;
    return pare_error_set(j->err, PARE_E_USAGE,
                          "%s has %u token types and %s has %u; a teacher must know all that its "
                          "student reads",
                          name_student(j), ours, j->o->teacher, b[first].types);
}

/* Scores can be compared when they are about the same things. */
static PareStatus check_scores(const PareDistill *j) {
    const PareDescription *a = &j->planned, *b = pare_model_description(j->teacher);
    const char *student = name_student(j), *teacher = j->o->teacher;
    char ours[PARE_HEAD_TEXT], theirs[PARE_HEAD_TEXT];
    for (int s = 0; s < PARE_STACKS; s++)
        if (a->stacks[s].present != b->stacks[s].present)
            return pare_error_set(
                j->err, PARE_E_USAGE,
                "%s and %s have different stacks; kd needs two models of one kind", student,
                teacher);
    if (a->head.kind != b->head.kind || a->head.labels != b->head.labels)
        return pare_error_set(j->err, PARE_E_USAGE, "%s has %s and %s %s; kd needs the same",
                              student, pare_head_text(&a->head, ours), teacher,
                              pare_head_text(&b->head, theirs));
    return PARE_OK;
}

PareStatus pare_distill_check_pair(const PareDistill *j) {
    if (j->o->methods & PARE_METHOD_PSEUDO) {
        const PareDescription *d = pare_model_description(j->teacher);
        if (!d->stacks[PARE_ENCODER].present || !d->stacks[PARE_DECODER].present ||
            d->head.kind != PARE_HEAD_LM)
            return pare_error_set(j->err, PARE_E_USAGE,
                                  "%s: writes no texts from texts, so that it gives no "
                                  "pseudo-labels; --method kd learns from other teachers",
                                  j->o->teacher);
    }
    PareStatus st = (j->o->methods & PARE_METHOD_KD) ? check_scores(j) : PARE_OK;
    bool learns = j->o->methods & (PARE_METHOD_KD | PARE_METHOD_PSEUDO);
    if (!st && learns)
        st = check_vocabularies(j);
    return st || !learns ? st : check_types(j);
}
