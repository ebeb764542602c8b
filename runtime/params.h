/* A model's tensors bound to the places where the Transformer uses them. */
#ifndef PARE_RUNTIME_PARAMS_H
#define PARE_RUNTIME_PARAMS_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/memory.h"
#include "formats/pare_file.h"
#include "runtime/description.h"
#include "runtime/slots.h"

/* A matrix [N, K] in any of the layouts that the kernels consume; everything is borrowed. */
typedef struct {
    PareDtype dtype;
    PareLayout layout;
    size_t N, K;
    const void *data;    /* F32 rows, BLOCK1 halves, or BLOCK4 values */
    const float *scales; /* BLOCK4: [Npad] */
    const int32_t *sums; /* BLOCK4: [Npad] */
} PareWeight;

typedef struct {
    PareWeight weight;
    const float *bias; /* [N] or NULL */
} PareLinear;

typedef struct {
    const float *weight, *bias; /* [N]; bias is NULL for RMS norms */
} PareNorm;

typedef struct {
    PareLinear query, key, value, output;
    const float *relative; /* [buckets, heads] or NULL */
    PareNorm norm;
} PareAttentionParams;

typedef struct {
    PareAttentionParams self, cross;
    PareLinear in, gate, out;
    PareNorm ffn_norm;
} PareLayerParams;

typedef struct {
    PareWeight tokens;
    const float *positions, *types; /* tables or NULL */
    PareNorm embed_norm;
    PareLinear projection;
    PareLayerParams *layers;
    PareNorm norm;
} PareStackParams;

typedef struct {
    PareStackParams stacks[PARE_STACKS];
    PareLinear pool, transform, output;
    PareNorm transform_norm;
} PareParams;

/* Binds every slot of `d` to the tensor of that name in `f`; refuses missing and superfluous
 * tensors, other shapes, and formats that a role cannot have (norms, biases and tables are F32).
 * The layer arrays are allocated in `arena`. */
PareStatus pare_params_bind(const PareDescription *d, const PareFile *f, PareArena *arena,
                            PareParams *out, PareError *err);

/* The same to tensors in memory: data[i] are the row-major values of slot i of this description;
 * slots that share their values have the same pointer. */
PareStatus pare_params_bind_memory(const PareDescription *d, const PareSlots *slots,
                                   float *const *data, PareArena *arena, PareParams *out,
                                   PareError *err);

/* A matrix (two dimensions) where it lies. */
PareWeight pare_weight_of(const PareFileTensor *t);
/* Row `row` of a matrix as float32, dequantized: out[K]. */
void pare_weight_row(const PareWeight *w, size_t row, float *out);

#endif
