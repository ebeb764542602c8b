/* What the stage's files share; nobody else includes this. */
#ifndef PARE_DISTILL_DISTILL_IMPL_H
#define PARE_DISTILL_DISTILL_IMPL_H

#include "core/buffer.h"
#include "distill/distill.h"

typedef struct {
    const PareDistillOptions *o;
    PareArena *arena;
    PareModel *teacher,
        *origin; /* origin: the student as it was opened; NULL: made of the teacher */
    PareModel *encoder, *decoder;
    PareWarmStart warm;      /* of these two */
    const PareModel *like;   /* whose settings the output has */
    PareDescription planned; /* the student's, before it is made */
    PareWeightsFrom from;    /* the projections that are trained with the student */
    PareWeights *weights;
    PareMatching matching;
    PareParamGroups groups;
    PareTokenizer *tokenizer; /* NULL: ids only */
    PareExamplesTask task;
    PareExamples *examples, *validation;
    PareReferences references;
    PareGeneration own;        /* the student's, as it is written */
    PareGeneration generation; /* the student's, for validation */
    PareGeneration writing;    /* the teacher's, for pseudo-labels */
    PareTrainSetup setup;
    PareBuffer settings;
    const char *state, *pseudo; /* paths of the checkpoint and of the pseudo-labels */
    PareError *err;
} PareDistill;

/* -- distill_check.c -- */

/* Options and files, before anything is opened; sets the paths. */
PareStatus pare_distill_check_options(PareDistill *j);
/* Whether teacher and student belong together. */
PareStatus pare_distill_check_pair(const PareDistill *j);

/* -- distill_student.c -- */

PareStatus pare_distill_open_models(PareDistill *j);
PareStatus pare_distill_plan_student(PareDistill *j);
PareStatus pare_distill_make_student(PareDistill *j);
/* Whether the student began as layers of the teacher. */
bool pare_distill_copies_teacher(const PareDistill *j);
/* Whether a tensor is a constant, no parameter. */
bool pare_distill_is_fixed(const PareDistill *j, const char *name);
/* The token whose rows of embeddings are not trained where they are looked up; -1: none. */
int32_t pare_distill_padding(const PareDistill *j);
/* The student's own settings of generation, once its tokenizer is known. */
PareStatus pare_distill_set_generation(PareDistill *j);
/* The metadata section of the output. */
PareStatus pare_distill_metadata(const PareDistill *j, PareBuffer *out);

/* -- distill_match.c -- */

/* Lists the projections that hidden-state matching needs, before the student is made. */
PareStatus pare_distill_projections(PareDistill *j);
/* Pairs of layers, once the student is made. */
PareStatus pare_distill_match(PareDistill *j);

/* -- distill_data.c -- */
/* Opens both files; they are read, and everything in them is checked. */
PareStatus pare_distill_open_data(PareDistill *j);
/* Where the method wants it: has the teacher write the targets, and trains on those. */
PareStatus pare_distill_pseudo_labels(PareDistill *j);

/* -- distill_write.c -- */

/* What a resumed run must have, as JSON. */
PareStatus pare_distill_settings(PareDistill *j);
PareStatus pare_distill_write(PareDistill *j, PareDistillResult *out);

#endif
