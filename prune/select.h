/* Selection: from how much everything matters to which of it stays.
 *
 * A plan has lists that can be cut: the heads of an attention block, the units of a feed-forward
 * layer, the width of a stack. Lists whose tensors are the same ones (layers that the stacks of an
 * encoder-decoder or all layers of a stack share, a token table of two stacks) are tied: their
 * scores are added up and they are cut alike, since otherwise the sharing would end.
 *
 * Everything is decided in one order, so that the same scores give the same plan: lower scores go
 * first; of equal ones the higher number goes first, and the later list. */
#ifndef PARE_PRUNE_SELECT_H
#define PARE_PRUNE_SELECT_H

#include "core/memory.h"
#include "prune/importance.h"
#include "prune/prune_plan.h"
#include "prune/stack_counts.h"
#include "runtime/model.h"

/* -- lists and ties -- */

typedef enum { PARE_PLAN_SELF, PARE_PLAN_CROSS, PARE_PLAN_FFN, PARE_PLAN_WIDTH } ParePlanKind;

typedef struct {
    ParePlanKind kind;
    PareStackIndex stack;
    uint32_t layer; /* 0 for the width */
} ParePlanList;

/* Every list of a description has a number below `count`; `first` is that of the first list that
 * it is tied to, itself if there is none before. */
typedef struct {
    uint32_t count;
    uint32_t *first; /* [count] */
} PareTies;

uint32_t pare_plan_list_number(const PareDescription *d, ParePlanList list);
ParePlanList pare_plan_list_at(const PareDescription *d, uint32_t number);
/* Nothing is tied. */
PareStatus pare_ties_none(const PareDescription *d, PareArena *arena, PareTies *out,
                          PareError *err);
/* Ties two lists, and all that are tied to either. */
void pare_ties_join(PareTies *t, uint32_t a, uint32_t b);
/* What the shared tensors of the model's file call for. */
PareStatus pare_ties_read(const PareModel *m, PareArena *arena, PareTies *out, PareError *err);

/* -- shares -- */

typedef enum {
    PARE_SCOPE_LAYER, /* every list loses the same share */
    PARE_SCOPE_GLOBAL /* heads, and units, of all layers and both stacks are ranked together */
} PareScope;

typedef enum { PARE_CUT_HEADS = 1, PARE_CUT_UNITS = 2, PARE_CUT_WIDTH = 4 } PareCutKind;

typedef struct {
    double heads, units, width; /* to be cut, of what the layers that stay had at first; what is
                                   gone already counts; 0: nothing */
    PareScope scope;
    bool normalize;  /* GLOBAL: each list's scores are divided by their L2 norm first */
    double min_kept; /* share of every list that stays; one unit always does */
    uint32_t align;  /* > 1: the sizes that are kept are rounded up to a multiple of it */
    PareStackCounts head_multiple; /* > 1: and the number of a stack's heads to one of this */
} PareSelection;

/* What alignment kept that would have gone. */
typedef struct {
    uint64_t heads, units, width;
} PareSelectKept;

/* Cuts `plan` further. Where key/value heads are fewer than heads, whole groups of heads go or as
 * many of every group, whichever makes smaller steps. A share of 1 leaves what must stay. */
PareStatus pare_select(const PareDescription *d, const PareTies *ties, const PareImportance *scores,
                       const PareSelection *s, ParePrunePlan *plan, PareSelectKept *kept,
                       PareError *err);

/* Key/value heads that are fewer than heads stay where one of their heads does. */
PareStatus pare_select_follow_heads(const PareDescription *d, ParePrunePlan *plan, PareError *err);

/* -- rounds -- */

/* Scores of a model that was pruned by `plan`, as scores of the original `d`: what is gone has 0.
 */
PareStatus pare_select_map(const PareImportance *pruned, const ParePrunePlan *plan,
                           const PareDescription *d, PareArena *arena, PareImportance *out,
                           PareError *err);
/* A plan whose lists can be changed without changing `from`; in `arena`. */
PareStatus pare_select_copy(const ParePrunePlan *from, PareArena *arena, ParePrunePlan *out,
                            PareError *err);

/* -- layers -- */

/* How many layers of each stack are to stay: "4" for models with one stack, "enc=6,dec=3"; a stack
 * that is not named keeps all. */
PareStatus pare_layer_counts_parse(const char *text, const PareDescription *d, PareStackCounts *out,
                                   PareError *err);
/* Leaves the least important layers out until so many are left; refuses a plan that has fewer. */
PareStatus pare_select_layers(const PareDescription *d, const PareImportance *scores,
                              const PareStackCounts *counts, ParePrunePlan *plan, PareError *err);

/* -- targets -- */

/* What is to become small: bytes or seconds of a plan's model. The plan may be changed. */
typedef PareStatus (*PareMeasure)(void *context, ParePrunePlan *plan, double *out, PareError *err);

typedef struct {
    PareSelection selection; /* shares of kinds that are not searched stay */
    unsigned cut;            /* PareCutKind bits: the kinds that get the common share */
    double limit;            /* the measure must not be above */
    PareMeasure measure;
    void *context;
} PareTarget;

typedef struct {
    double share, reached;
    double least; /* what the largest cut would reach; set when the limit is out of reach */
    bool found;
} PareTargetResult;

/* The smallest share at which the limit is met, by bisection; `plan` is left as it was. Where even
 * the largest is not enough, found is false. */
PareStatus pare_select_target(const PareDescription *d, const PareTies *ties,
                              const PareImportance *scores, const PareTarget *t,
                              const ParePrunePlan *plan, PareTargetResult *out, PareError *err);
#endif
