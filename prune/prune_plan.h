/* A pruning plan: which units of a model are kept.
 *
 * A plan belongs to one model (by the SHA-256 of its file) and can be written as JSON, edited, and
 * applied. Lists hold the numbers of the units of the original model that stay, ascending. What a
 * plan does not mention stays whole. Applying it is one operation: every tensor that carries an
 * axis is sliced by the axis's list (slice.h). docs/prune.md describes the JSON. */
#ifndef PARE_PRUNE_PRUNE_PLAN_H
#define PARE_PRUNE_PRUNE_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/axis.h"
#include "core/buffer.h"
#include "core/error.h"
#include "core/json.h"
#include "core/memory.h"
#include "runtime/description.h"

typedef struct {
    bool all;        /* everything is kept: `units` is NULL */
    uint32_t count;  /* how many are kept; 0: the sublayer is removed */
    uint32_t *units; /* [count] */
} PareKeep;

/* One layer that is kept. */
typedef struct {
    uint32_t layer;        /* its number in the original */
    PareKeep heads[2];     /* PARE_BLOCK_SELF, PARE_BLOCK_CROSS: query heads */
    PareKeep kv[2];        /* key/value heads, when they are chosen and not merged; else all */
    uint32_t kv_merged[2]; /* > 0: after the choice of heads, key/value heads are replaced by the
                              means of so many groups (Ainslie et al. 2023) */
    PareKeep ffn;
} ParePlannedLayer;

typedef struct {
    uint32_t layer_count;
    ParePlannedLayer *layers; /* ascending by `layer` */
    PareKeep width;           /* of the residual stream */
    PareKeep vocabulary;      /* rows of the token table, old ids */
    uint32_t positions;       /* how many are kept, from the first on; 0: all */
} ParePlannedStack;

typedef struct {
    ParePlannedStack stacks[PARE_STACKS];
    char model_sha256[65]; /* of the file that it is for; "" not known */
    const char *made_by;   /* how it was made, a JSON object as text; NULL: not told */
    PareArena *arena;      /* borrowed: owns the lists */
} ParePrunePlan;

/* A plan that keeps everything. */
PareStatus pare_prune_plan_whole(const PareDescription *d, PareArena *arena, ParePrunePlan *out,
                                 PareError *err);
/* Keeps exactly these units ([count], copied, ascending and below `of`; refused otherwise). */
PareStatus pare_prune_plan_keep(ParePrunePlan *p, PareKeep *keep, const uint32_t *units,
                                uint32_t count, uint32_t of, const char *what, PareError *err);
/* Leaves one unit of `of` out, which must be there; `what` is said before its number. */
PareStatus pare_prune_plan_drop(ParePrunePlan *p, PareKeep *keep, uint32_t unit, uint32_t of,
                                const char *what, PareError *err);
/* Refuses lists out of range or order, heads that do not divide among key/value heads, and an
 * encoder-decoder whose stacks share a table but keep different rows of it. */
PareStatus pare_prune_plan_check(const ParePrunePlan *p, const PareDescription *d, PareError *err);
/* Whether it keeps everything. */
bool pare_prune_plan_is_whole(const ParePrunePlan *p, const PareDescription *d);
/* The description of the pruned model; layer arrays in the plan's arena. */
PareStatus pare_prune_plan_describe(const ParePrunePlan *p, const PareDescription *d,
                                    PareDescription *out, PareError *err);

void pare_prune_plan_write(const ParePrunePlan *p, const PareDescription *d, PareBuffer *out);
PareStatus pare_prune_plan_read(const PareJson *object, const char *where, const PareDescription *d,
                                PareArena *arena, ParePrunePlan *out, PareError *err);

/* The list for an axis of the ORIGINAL model's tensors; NULL: all of it is kept. `layer` of the
 * axis is the original number. */
const PareKeep *pare_prune_plan_axis(const ParePrunePlan *p, const PareDescription *d,
                                     PareAxis axis);

#endif
