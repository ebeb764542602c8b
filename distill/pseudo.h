/* Pseudo-labels (Shleifer & Rush 2020, Kim & Rush 2016): the teacher writes the targets.
 *
 * What it writes is kept in a file of JSON lines {"input_ids": [...], "labels": [...]}, one a
 * training example in order (which is training data like any other), beside FILE.provenance.json,
 * which says of which teacher, data and settings they are; a file of others is refused. Decoding is
 * resumed where it was interrupted. */
#ifndef PARE_DISTILL_PSEUDO_H
#define PARE_DISTILL_PSEUDO_H

#include "core/error.h"
#include "core/log.h"
#include "learn/examples.h"
#include "runtime/model.h"

typedef struct {
    const char *path; /* NULL: none are made */
    bool mix;         /* train on true targets too */
} ParePseudoOptions;

typedef struct {
    const PareModel *teacher;
    const PareExamples *examples; /* their targets are not read */
    const PareGeneration *generation;
    const char *path;
    size_t threads;
    PareProgress *(*progress)(const char *what, uint64_t total);
} ParePseudoJob;

/* Whether the teacher can write by these settings; `examples` may be NULL. */
PareStatus pare_pseudo_check(const ParePseudoJob *job, PareError *err);
/* Makes what is missing of the file. Every rank takes a part. */
PareStatus pare_pseudo_make(const ParePseudoJob *job, PareError *err);
#endif
