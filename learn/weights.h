/* A model in memory that is trained: all of its parameters as float32 in one block.
 *
 * The order in the block is that of the slots (runtime/slots.h); slots that share their values
 * (tied embeddings) share one place. Optimizer, checkpoints and the tape see the block; the
 * Transformer sees the parameters bound into it. */
#ifndef PARE_LEARN_WEIGHTS_H
#define PARE_LEARN_WEIGHTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/memory.h"
#include "runtime/model.h"
#include "runtime/params.h"
#include "runtime/slots.h"

/* One tensor with values of its own. */
typedef struct {
    const char *name;
    size_t slot;          /* the first slot that it fills; SIZE_MAX: an extra one */
    size_t offset, count; /* in the block, in floats */
    uint64_t rows, cols;  /* cols 1 for vectors */
    uint32_t dims;
} PareWeightTensor;

typedef struct {
    PareDescription description;
    PareSlots slots;
    float *values; /* [count] */
    size_t count;  /* with the gaps that align every tensor to 64 bytes (zeros) */
    PareWeightTensor *tensors;
    size_t tensor_count;
    size_t filled;     /* how many of the floats had no source, without the extra tensors */
    size_t *tensor_of; /* [slots.count] */
    float **data;      /* [slots.count]: a slot's values in the block */
    PareParams params; /* bound to the block */
    PareArena *arena;
} PareWeights;

/* A matrix that is trained with the model but is no part of it. */
typedef struct {
    const char *name; /* borrowed */
    uint64_t rows, cols;
} PareWeightExtra;

/* Where a slot of the new model gets its values from: the model that is returned, the slot there
 * into `name`; NULL: nowhere, the values are `fill`ed. NULL functions: every slot has its namesake
 * in the model that pare_weights_create is given. */
typedef struct {
    const PareModel *(*source)(void *context, const PareSlot *slot, char *name, size_t size);
    /* NULL, or whether a slot is filled although it has a source, which may then be missing or have
     * another shape: it only tells what shares its values with what. */
    bool (*fresh)(void *context, const PareSlot *slot);
    /* Values of what has no source, float32 [rows, cols] (vectors: cols 1), by its name. */
    void (*fill)(void *context, const char *name, uint64_t rows, uint64_t cols, float *values);
    void *context;
    const PareWeightExtra *extras; /* filled */
    size_t extra_count;
} PareWeightsFrom;

/* A copy of the parameters of `m`, for the description `d` (NULL: its own; otherwise copied).
 * `from` may be NULL. Slots share their values where their sources do. INT8 models are refused.
 * Shapes of a slot and its source must agree. */
PareStatus pare_weights_create(const PareModel *m, const PareDescription *d,
                               const PareWeightsFrom *from, PareWeights **out, PareError *err);
void pare_weights_destroy(PareWeights *w); /* NULL is allowed */
/* The tensor that holds the float at `offset`, or NULL. */
const PareWeightTensor *pare_weights_tensor_at(const PareWeights *w, size_t offset);
/* The values of an extra tensor, by name; NULL when there is none. */
float *pare_weights_extra(const PareWeights *w, const char *name);

#endif
