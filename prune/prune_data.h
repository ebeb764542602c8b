/* The examples that pruning looks at: labelled data for importance, any for calibration. */
#ifndef PARE_PRUNE_PRUNE_DATA_H
#define PARE_PRUNE_PRUNE_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/log.h"
#include "learn/examples.h"
#include "runtime/model.h"

typedef struct {
    const char *path;
    PareDataOptions format;
    size_t max_source, max_target, block; /* as PareExamplesOptions */
    uint64_t limit;                       /* rows; 0: all */
    bool truncate, unlabelled;
    PareProgress *progress;
} ParePruneDataOptions;

typedef struct {
    PareExamplesTask task;
    PareTokenizer *tokenizer; /* NULL: ids only */
    PareExamples *examples;
    PareArena *arena;
} ParePruneData;

/* Opens `o->path` for the task of the model's head; data of another task are refused, with what
 * was found and expected. Heads that nothing is trained with (span, none) have data without labels
 * only: texts or token ids, for criteria without a loss and for repair. The pruned versions of `m`
 * read the same examples. */
PareStatus pare_prune_data_open(const PareModel *m, const ParePruneDataOptions *o,
                                ParePruneData *out, PareError *err);
void pare_prune_data_close(ParePruneData *d); /* a zeroed one is allowed */

#endif
