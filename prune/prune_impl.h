/* What the parts of the stage share. Only prune/prune*.c include this. */
#ifndef PARE_PRUNE_PRUNE_IMPL_H
#define PARE_PRUNE_PRUNE_IMPL_H

#include "core/hash.h"
#include "prune/cost.h"
#include "prune/prune.h"
#include "prune/repair.h"
#include "prune/vocabulary.h"

struct ParePrune {
    ParePruneOptions o;
    PareArena *arena;
    PareModel *model;
    char sha256[PARE_SHA256_HEX_SIZE];
    ParePrunePlan plan;
    PareSlices *slices; /* of the final plan */
    PareTies ties;
    bool selects;          /* something goes by importance, or importance is asked for */
    PareImportance scores; /* of the first measurement */
    bool from_file;
    ParePruneData data, calibration; /* zeroed where there are none */
    PareWeights *original;           /* the whole model in memory, while somebody needs it */
    PareRepair *repair;
    PareCost *cost;
    uint64_t tokenizer_bytes; /* of the section in the output */
    /* For the report. */
    PareSelectKept aligned;
    PareTargetResult target;
    PareVocabularyFacts vocabulary;
    PareError *err; /* of the call that runs */
};

/* -- prune_lists.c: the lists, and what comes behind selection -- */

/* What names units: heads, units, sublayers, layers. Refuses positions that cannot be cut. */
PareStatus pare_prune_read_lists(const ParePruneOptions *o, const PareDescription *d,
                                 ParePrunePlan *plan, PareError *err);
/* Merged key/value heads and positions; checks the plan. */
PareStatus pare_prune_read_rest(const ParePruneOptions *o, const PareDescription *d,
                                ParePrunePlan *plan, PareError *err);

/* -- prune_measure.c: importance, repair, and what is cut by them -- */

bool pare_prune_repairs(const ParePrune *p);
/* Opens the data, once. */
PareStatus pare_prune_open_data(ParePrune *p);
/* Cuts p->plan by importance: rounds, layers, shares, targets. */
PareStatus pare_prune_cut(ParePrune *p);
/* Repairs the pruned model of `plan`; its vocabulary is left whole for this. */
PareStatus pare_prune_repair(ParePrune *p, const ParePrunePlan *plan, PareRepair **out);

/* -- prune_size.c -- */

/* Bytes of the file of a plan's model in a format. */
PareStatus pare_prune_size(const ParePrune *p, const PareSlices *s, PareWeightFormat format,
                           uint64_t *out, PareError *err);
/* Bytes by which the F32 file grows since tensors that shared their values no longer do. */
uint64_t pare_prune_unshared(const PareSlices *s);

/* -- prune_lengths.c: lengths of generation beyond the positions that are kept -- */

/* Warns of those that will be lowered. */
void pare_prune_warn_lengths(const ParePrune *p);
/* Lowers them in the metadata, which is replaced: in the settings and in the source's. */
PareStatus pare_prune_lower_lengths(const ParePrune *p, PareBuffer *metadata, PareError *err);

/* -- prune_say.c: to o.say, if that is wanted -- */

double pare_prune_clock(void); /* seconds */
/* How long a step took, of the file `of` (NULL: none). */
void pare_prune_say_step(const ParePrune *p, const char *what, const char *of, double begin);
void pare_prune_say_scores(const ParePrune *p);
void pare_prune_say_repair(const ParePrune *p, const PareRepair *r);

/* -- prune_how.c: what a plan says about its origin -- */

PareStatus pare_prune_tell_how(ParePrune *p);
/* The options of the provenance's entry: the plan's digest and origin, and what repair did. */
PareStatus pare_prune_provenance(const ParePrune *p, PareBuffer *out, PareError *err);
/* {"data": …, "sublayers": [{…, "before": …, "after": …}]} */
void pare_prune_put_repair(const ParePrune *p, PareBuffer *out);

#endif
