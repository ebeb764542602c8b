/* Operators: what the Transformer is made of, over packed rows.
 *
 * A batch is packed: the token rows of all sequences laid end to end, [tokens, width]; there is no
 * padding. Operators run at once (eagerly) and take their memory from the run's arena. Errors are
 * sticky: after one, operators return NULL and accept NULL, and `status` and `err` tell what
 * happened; callers check once at the end.
 *
 * With a tape they also record how to go backwards (tape.h). What is said to happen in place then
 * happens in new memory that the value moves to, since the backward pass needs the old one. */
#ifndef PARE_RUNTIME_OPS_H
#define PARE_RUNTIME_OPS_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/memory.h"
#include "core/threads.h"
#include "runtime/kernels/kernels.h"
#include "runtime/params.h"
#include "runtime/tape.h"

/* What training adds to a forward pass. A random decision depends on the seed, the step, the place
 * in the network and the row's number in the whole batch, so that it is the same on any thread, in
 * a recomputed layer, and when several processes share a batch. */
typedef struct {
    float dropout;    /* of embeddings and of what a sublayer adds (Vaswani et al. 2017) */
    float attention;  /* of attention probabilities */
    float activation; /* of feed-forward units */
    float layer_drop; /* of whole layers (Fan, Grave, Joulin 2019) */
    /* Quantization noise (Fan et al. 2020): this share of the blocks of every matrix takes the
     * values that INT8 would give it; 1 is plain quantization-aware training. */
    float quantize;
    bool quantize_rows; /* activations too, as INT8 products read them */
    uint64_t seed, step;
    size_t row_base[2];   /* of this run's first row in the whole batch: encoder, decoder */
    size_t sequence_base; /* and of its first sequence */
    uint32_t place;       /* counts random decisions; 0 before a pass */
    size_t base;          /* row_base of what is running now */
} PareNoise;

typedef struct PareRun {
    const PareKernels *kernels;
    ParePool *pool;   /* borrowed; NULL: one thread */
    PareArena *arena; /* borrowed */
    PareTape *tape;   /* borrowed; NULL: nothing is recorded */
    PareNoise *noise; /* borrowed; NULL: none */
    PareStatus status;
    PareError *err;
} PareRun;

/* A matrix [rows, cols] of activations, row-major without gaps. */
typedef struct {
    float *data;
    size_t rows, cols;
    /* The rows quantized, made when an INT8 product first needs them: [rows, cols to 4], [rows]. */
    int8_t *q;
    float *q_scale;
    PareGrad *grad; /* NULL: nothing that is trained stands before it */
} PareValue;

PareValue *pare_op_new(PareRun *r, size_t rows, size_t cols);
/* A view of rows that somebody else owns. */
PareValue *pare_op_view(PareRun *r, float *data, size_t rows, size_t cols);

/* The same value for another reader whose gradient arrives before the backward pass begins (a loss
 * on hidden states). */
PareValue *pare_op_tap(PareRun *r, PareValue *x);
/* Shows a value to somebody: now, and with a tape once its gradient is complete (`dx`, NULL now and
 * where nothing before the value is trained). */
typedef struct {
    void (*see)(void *context, const float *x, const float *dx, size_t rows, size_t cols);
    void *context;
} PareProbe;
void pare_op_probe(PareRun *r, PareValue *x, const PareProbe *probe);
/* In place: Srivastava et al. 2014, scaled by 1 / (1 - probability); nothing without noise. */
void pare_op_dropout(PareRun *r, PareValue *x, float probability);

/* y[rows, N] = x W^T + bias (bias may be absent). */
PareValue *pare_op_linear(PareRun *r, PareValue *x, const PareLinear *l);
/* The same, into the first `rows` rows of memory that the caller owns (a cache). */
void pare_op_linear_into(PareRun *r, PareValue *x, const PareLinear *l, float *y);
/* Losses on scores: computes logits = x W^T + bias for pieces of rows, calls `loss` on them (rows
 * split over threads), and goes backwards through the product at once, so that the logits of all
 * rows never exist together. With a teacher, its logits of the same rows stand beside them. */
typedef struct {
    size_t first, count; /* rows of x */
    float *logits;       /* [count, n]; overwritten with d loss / d logits where that is wanted */
    float *teacher;      /* [count, n] or NULL; may be overwritten */
    float *scratch;      /* with a teacher: [count, n] */
    size_t n;
    bool gradient;
} PareLossRows;
typedef void (*PareLogitsLoss)(void *context, const PareLossRows *rows);
typedef struct {
    PareValue *x;
    const PareLinear *output;
    PareValue *teacher_x;             /* NULL: no teacher; as many rows as x */
    const PareLinear *teacher_output; /* as many outputs */
} PareOutputLoss;
void pare_op_output_loss(PareRun *r, const PareOutputLoss *o, PareLogitsLoss loss, void *context);
PareValue *pare_op_norm(PareRun *r, const PareValue *x, PareNormKind kind, const PareNorm *n,
                        float eps);
/* In place: x = x + y; x = norm(x); x = act(x); x = act(gate) * x; x = x * s. */
void pare_op_add(PareRun *r, PareValue *x, const PareValue *y);
void pare_op_norm_in_place(PareRun *r, PareValue *x, PareNormKind kind, const PareNorm *n,
                           float eps);
void pare_op_activate(PareRun *r, PareValue *x, PareActivation act);
void pare_op_gate(PareRun *r, PareValue *x, const PareValue *gate, PareActivation act);
void pare_op_scale(PareRun *r, PareValue *x, float s);

/* The given rows of x, in that order. */
PareValue *pare_op_gather(PareRun *r, const PareValue *x, const uint32_t *rows, size_t count);

/* Token embeddings: table[id] * scale + types[type] + positions[offset + position]. */
typedef struct {
    const int32_t *ids;
    const int32_t *types; /* NULL: all 0 */
    const uint32_t *positions;
    size_t count;
} PareTokens;
PareValue *pare_op_embed(PareRun *r, const PareStackParams *p, float scale, size_t position_offset,
                         const PareTokens *tokens);

/* One run of query rows that see the same keys. */
typedef struct {
    size_t q_begin, q_count; /* rows of q and of the result */
    const float *k, *v;      /* the keys' and values' first row (or slot 0) */
    const int32_t *slots;    /* NULL: in order */
    size_t keys;
    size_t first_position; /* of the first query row, for causality and relative positions */
} PareSpan;

typedef struct {
    PareAttentionShape shape;
    bool causal;
    const float *relative; /* [heads, 2 * reach + 1]: bias by key - query position, or NULL */
    size_t reach;
    /* With a tape: the values that the spans' keys and values lie in, and where the gradient of
     * `relative` gathers. */
    PareValue *key, *value;
    PareGrad *relative_grad;
} PareAttention;

/* softmax(scale q k^T + bias) v for every span and head: [rows of q, heads * head_size]. */
PareValue *pare_op_attention(PareRun *r, const PareValue *q, const PareSpan *spans, size_t count,
                             const PareAttention *a);

/* T5's buckets: out[h * (2 * reach + 1) + d + reach] = table[bucket(d)][h] for every distance
 * d = key - query in [-reach, reach] (Raffel et al. 2020). */
PareStatus pare_relative_expand(const float *table, uint32_t buckets, uint32_t max_distance,
                                bool bidirectional, uint32_t heads, size_t reach, PareArena *arena,
                                const float **out, PareError *err);
/* The same as an operator: `*grad` is where the gradient of the result gathers (NULL: none). */
const float *pare_op_relative(PareRun *r, const float *table, uint32_t buckets,
                              uint32_t max_distance, bool bidirectional, uint32_t heads,
                              size_t reach, PareGrad **grad);

#endif
