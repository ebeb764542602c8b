/* The trainer: epochs of batches, gradients, steps, evaluations and checkpoints.
 *
 * A run's result depends on its settings, its data and its seed, on nothing else: not on the number
 * of threads, nor on whether it was interrupted and went on. Several processes (ranks.h) share
 * every batch; each has all parameters, and they stay the same everywhere. */
#ifndef PARE_DISTILL_TRAINER_H
#define PARE_DISTILL_TRAINER_H

#include "distill/evaluate.h"
#include "distill/optimizer.h"
#include "distill/schedule.h"
#include "learn/batches.h"
#include "learn/objective.h"
#include "learn/weights.h"

/* Called with one line (without line end): for the log, a warning, or a detail. */
typedef void (*PareTrainTalk)(void *context, const char *line);

/* What an evaluation came to. */
typedef struct {
    uint64_t step, steps; /* of the run */
    PareScores scores;
    PareScoreKind metric; /* that picks the best */
    bool has_best;        /* this one included */
    double best;
    uint64_t best_step;
} PareTrainJudgement;

typedef void (*PareTrainJudged)(void *context, const PareTrainJudgement *j);

typedef struct {
    PareWeights *weights;    /* trained in place */
    const PareModel *like;   /* gives the student its labels and generation settings */
    PareObjective objective; /* of the student: d and p are the weights' */
    const PareExamples *examples;
    PareBatchesOptions batches;
    uint64_t steps, epochs; /* how long; one of them is 0. A step is `accumulate` batches */
    uint64_t accumulate;
    PareParamGroups *groups; /* of weights->tensors, in their order */
    int32_t padding;         /* the token whose embedding gets no gradient; -1: none */
    PareOptimizerOptions optimizer;
    PareSchedule schedule; /* its total is filled in */
    double rate, clip;     /* clip 0: no clipping */
    PareNoise noise;       /* shares and seed */
    size_t threads;

    PareEvaluation evaluation; /* examples NULL: none; model is filled in */
    uint64_t evaluate_every;   /* steps; 0: at the end of every epoch */
    PareScoreKind metric;      /* that picks the best */
    uint64_t patience;         /* evaluations without a better one that end the run; 0: never */
    bool keep_last;            /* end with the last parameters instead of the best */

    const char *state;    /* path of the checkpoint; NULL: none */
    uint64_t save_every;  /* steps; 0: at the end of every epoch */
    bool resume;          /* go on where the checkpoint stands, if there is one */
    const char *settings; /* JSON object of what a resumed run must have, too */

    PareTrainTalk log, warn, detail; /* log: JSON lines; any may be NULL */
    PareTrainJudged judged;          /* may be NULL */
    void *talk;
    bool log_gradients; /* the first step's norms of every tensor */
    PareProgress *(*progress)(const char *what, uint64_t total); /* NULL: none is shown */
} PareTrainSetup;

typedef struct {
    uint64_t steps;   /* done, of all runs together */
    uint64_t tokens;  /* read in this run, of both sides */
    double seconds;   /* of training in this run, without evaluations */
    double last_loss; /* NaN: this run did no step */
    bool evaluated, stopped_early;
    PareScores scores; /* of the last evaluation */
    bool has_best;
    double best; /* of the metric */
    uint64_t best_step;
} PareTrainResult;

/* Trains. An interruption saves a checkpoint, where there is a path for one, and returns
 * PARE_E_INTERRUPTED. A loss or gradient that is not finite ends the run with the step and, where
 * it is known, the tensor named. */
PareStatus pare_train(const PareTrainSetup *setup, PareTrainResult *out, PareError *err);

#endif
