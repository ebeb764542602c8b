/* The plan of a conversion: where every slot's values come from, checked before anything is
 * written.
 */
#ifndef PARE_CONVERT_PLAN_H
#define PARE_CONVERT_PLAN_H

#include "convert/family.h"
#include "core/buffer.h"
#include "core/options.h"

typedef enum {
    PARE_FROM_NOTHING, /* only while planning */
    PARE_FROM_TENSOR,
    PARE_FROM_ALIAS, /* shares the values of `target` */
    PARE_FROM_ZEROS,
    PARE_FROM_FAMILY /* computed */
} PareSourceKind;

typedef struct {
    const PareSlot *slot;
    PareSourceKind kind;
    const PareRule *rule;               /* for TENSOR */
    const PareCheckpointTensor *tensor; /* for TENSOR */
    size_t target;                      /* for ALIAS: an earlier item that is none */
} ParePlanItem;

typedef struct {
    PareSlots slots;
    ParePlanItem *items; /* one for each slot, in order */
    size_t count;
    size_t largest; /* elements of the largest tensor that is read or written */
} ParePlan;

/* `unused` are patterns of tensors that may be left over. Lines for people go to `warnings`. */
PareStatus pare_plan_make(const PareFamilyModel *model, PareCheckpoint *checkpoint,
                          const PareStringList *unused, PareArena *arena, ParePlan *out,
                          PareBuffer *warnings, PareError *err);

#endif
