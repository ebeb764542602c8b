/* The distill stage: a student is made or opened, trained on data, and written.
 *
 * Methods (Shleifer & Rush 2020): fine-tuning on labels; shrink and fine-tune, where the student is
 * made of a teacher's layers; knowledge distillation, where it also learns from the teacher's
 * scores, hidden states and attention; pseudo-labels, where it learns what the teacher writes. They
 * combine. */
#ifndef PARE_DISTILL_DISTILL_H
#define PARE_DISTILL_DISTILL_H

#include "core/options.h"
#include "distill/pseudo.h"
#include "distill/trainer.h"
#include "distill/warm.h"

typedef enum {
    PARE_METHOD_FINETUNE = 1, /* labels */
    PARE_METHOD_SFT = 2,      /* labels, of a student made of the teacher's layers */
    PARE_METHOD_KD = 4,       /* the teacher's scores */
    PARE_METHOD_PSEUDO = 8    /* the teacher's texts */
} PareMethod;

typedef struct {
    unsigned methods;                       /* PareMethod bits */
    const char *student, *teacher, *output; /* paths; without a student it is made of the teacher */
    const char *layers;                     /* as pare_student_layers_parse */
    const char *encoder, *decoder;          /* paths; a student that is put together, warm.h */
    PareWarmShare share;
    PareWarmIds special;
    bool fresh;                 /* random values instead of theirs, fresh.h */
    const char *student_config; /* path; a description of the student's own, with random values */
    bool copy_embeddings;       /* of the teacher, in such a student */
    bool force;

    const char *data, *validation; /* validation NULL: none */
    PareDataOptions format;
    size_t max_source, max_target, block;
    uint64_t limit;
    bool truncate;

    PareBatchesOptions batches;
    uint64_t steps, epochs, accumulate;
    PareOptimizerOptions optimizer;
    PareSchedule schedule;
    double rate, clip;
    PareNoise noise;
    PareLossWeights weights;  /* label and soft < 0: as the methods say */
    double hidden, attention; /* weights of matching */
    bool recompute;
    bool train_encoder; /* of an encoder that the student took over whole */
    PareStringList freeze, lr_factor, no_decay;

    uint64_t evaluate_every, patience, save_every;
    const char *metric; /* NULL: the task's usual one */
    bool keep_last;
    uint32_t num_beams, max_length; /* of generation in evaluations and pseudo-labels; 0: as the
                                       model says */
    ParePseudoOptions pseudo;

    const char *state; /* NULL: OUT.training */
    bool resume;
    size_t threads;
    PareTrainTalk log, warn, detail; /* as PareTrainSetup */
    PareTrainJudged judged;
    void *talk;
    bool log_gradients;
    PareProgress *(*progress)(const char *what, uint64_t total);
} PareDistillOptions;

/* The defaults of every field. */
PareDistillOptions pare_distill_defaults(void);

typedef struct {
    PareTrainResult train;
    uint64_t parameters, teacher_parameters; /* distinct; 0 without a teacher */
    uint64_t random;                         /* of the parameters, those that began at random */
    uint64_t examples;
    PareScoreKind metric;
} PareDistillResult;

/* Whether a log at `path` would be a file that the run reads or writes, which is refused. */
PareStatus pare_distill_check_log(const PareDistillOptions *o, const char *path, PareError *err);
/* Refuses options that contradict each other, and models and data that do not fit; then trains and
 * writes the output, whole or not at all. The checkpoint is removed once the output is there.
 * `force` replaces an existing output, and a checkpoint that is not resumed. */
PareStatus pare_distill(const PareDistillOptions *o, PareDistillResult *out, PareError *err);

#endif
