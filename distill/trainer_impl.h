/* What the trainer's files share; nobody else includes this. */
#ifndef PARE_DISTILL_TRAINER_IMPL_H
#define PARE_DISTILL_TRAINER_IMPL_H

#include "core/buffer.h"
#include "distill/trainer.h"

/* Where a run stands: what a checkpoint holds beside arrays. */
typedef struct {
    uint64_t step; /* done */
    PareBatchPosition position;
    bool pending; /* the evaluation that is due has not been done */
    bool has_best;
    double best;
    uint64_t best_step, since_best; /* evaluations */
} PareTrainProgress;

typedef struct {
    const PareTrainSetup *s;
    PareTrainResult *result;
    PareTrainProgress at;
    uint64_t total; /* steps of the run */
    PareObjective objective;
    float *grads;
    PareTapeRange *ranges;
    PareTape *tape;
    ParePool *pool;
    PareArena *arena;
    PareOptimizer *optimizer;
    PareBatches *batches;
    float *best; /* [weights->count]; NULL without an evaluation */
    PareModel *model;
    PareExample *items; /* of one batch */
    size_t item_capacity;
    PareBuffer line;
    PareProgress *progress;
    PareError *err;
} PareTrainer;

/* What one step saw, over all ranks. */
typedef struct {
    PareLossTerms terms;
    double grad_norm, rate, seconds;
    uint64_t epoch;
} PareStepReport;

/* -- trainer_step.c: the batches of one step, their gradient, and the update -- */
PareStatus pare_trainer_step(PareTrainer *t, PareStepReport *out);

/* -- trainer_state.c -- */
PareStatus pare_trainer_save(PareTrainer *t);
/* Nothing happens where there is no checkpoint. */
PareStatus pare_trainer_resume(PareTrainer *t);

/* -- trainer_log.c -- */
void pare_trainer_log_step(PareTrainer *t, const PareStepReport *r);
void pare_trainer_tell_scores(PareTrainer *t); /* of the last evaluation; to the user, too */
void pare_trainer_log_gradients(PareTrainer *t);
void pare_trainer_warn(PareTrainer *t, const char *text);
/* What is going to be done, and where it is saved, for those who want to know more. */
void pare_trainer_tell_plan(PareTrainer *t);
void pare_trainer_tell_saved(PareTrainer *t);

double pare_trainer_clock(void); /* seconds, for differences */

#endif
