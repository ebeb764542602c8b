/* The objective: what a batch costs, and its gradient.
 *
 * Runs the student over packed sequences, and a teacher where there is one, and adds up the terms
 * of the loss. With a tape in the run the gradient is added to that of the parameters. */
#ifndef PARE_LEARN_OBJECTIVE_H
#define PARE_LEARN_OBJECTIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "learn/examples.h"
#include "learn/loss.h"
#include "learn/matching.h"
#include "runtime/forward.h"
#include "runtime/model.h"

/* Sums over the batch; every term is weighted as in the total. */
typedef struct {
    double total, label, soft, hidden, attention;
    size_t counted; /* rows that have a target */
    size_t hits;    /* of them with the target's score highest */
    size_t tokens;  /* read, of all stacks */
} PareLossTerms;

/* What a row of scores was meant to say and says: labels (or, for regression, values). */
typedef void (*PareObserver)(void *context, double wanted, double given);

/* Labels that the model gives itself, in the place of the examples': the one with the highest score
 * or, with `sample`, one drawn with the probabilities that the scores mean. Drawing depends on the
 * seed and the number of the row of scores, counted from `first`. For regression the value is the
 * score less 1/2, so that the gradient of the squared error is that of the score itself. Examples
 * without targets then have them at all positions. */
typedef struct {
    bool sample;
    uint64_t seed, first;
} PareOwnLabels;

typedef struct {
    const PareDescription *d; /* of the student, with its parameters */
    const PareParams *p;
    const PareDescription *teacher_d; /* NULL: no teacher */
    const PareParams *teacher_p;
    PareLossWeights weights;
    const PareMatching *matching; /* of hidden states and attention; NULL: none */
    bool regression;
    bool recompute, frozen_encoder; /* as PareForwardInput */
    PareObserver observe;           /* NULL: nobody; called for rows with a target, in order */
    void *observer;
    const PareOwnLabels *own;          /* NULL: the examples' labels */
    const PareTaps *taps[PARE_STACKS]; /* somebody else's, of the student; not with `matching` */
    PareProbes probes;                 /* of the student; not with `recompute` */
    void *probes_context;
    bool inside_only; /* stop before the head: what taps and probes show is all that is wanted */
} PareObjective;

/* What means over a whole batch are divided by. */
typedef struct {
    size_t counted;           /* rows of scores that have a target */
    size_t rows[PARE_STACKS]; /* positions */
} PareBatchSize;

PareBatchSize pare_objective_size(const PareObjective *o, const PareExample *items, size_t count);
/* Runs a batch, or a part of one whose whole has the size `whole`; adds to `terms`. The caller goes
 * backwards (pare_tape_backward). */
PareStatus pare_objective_run(const PareObjective *o, PareRun *r, const PareExample *items,
                              size_t count, const PareBatchSize *whole, PareLossTerms *terms);

#endif
