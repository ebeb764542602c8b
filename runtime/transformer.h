/* The Transformer: one function for every family, driven by the description.
 *
 * Vaswani et al. 2017, with the variations that the description names. It works on packed rows and
 * on the operators of ops.h; who calls it decides where keys and values live. */
#ifndef PARE_RUNTIME_TRANSFORMER_H
#define PARE_RUNTIME_TRANSFORMER_H

#include "runtime/description.h"
#include "runtime/ops.h"

/* T5's relative biases, expanded by distance once for all passes up to `reach`. */
typedef struct {
    size_t reach;
    const float **layers[PARE_STACKS]; /* [layer]: as PareAttention.relative, or NULL */
    PareGrad **grads[PARE_STACKS]; /* [layer]: where their gradients gather; NULL without tape */
} PareRelatives;

typedef struct {
    const PareDescription *d;
    const PareParams *p;
    const PareRelatives *relatives;
} PareTransformer;

/* One sequence (or one hypothesis of beam search) of a packed pass. */
typedef struct {
    size_t begin, count;   /* its rows in the pass */
    size_t first_position; /* of its first row */
    /* With a cache: where the keys of all its positions up to its last row are. */
    const int32_t *slots;
    size_t memory_begin, memory_count; /* the rows of the encoder's result that it attends to */
} PareRows;

/* Keys and values of one attention block a layer: row s of layer l at k[l] + s * kv columns. */
typedef struct {
    float **k, **v;
    PareValue **key, **value; /* with a tape: the values that they lie in */
} PareKeyValues;

/* Points of a layer whose values (and gradients) somebody wants to see. */
typedef enum {
    PARE_POINT_SELF,     /* what self-attention's output matrix reads: [rows, heads * head size] */
    PARE_POINT_CROSS,    /* the same of cross-attention */
    PARE_POINT_FFN_IN,   /* feed-forward units before the activation */
    PARE_POINT_FFN,      /* what the second feed-forward matrix reads */
    PARE_POINT_LAYER_IN, /* what the layer reads: [rows, width] */
    PARE_POINT_LAYER,    /* the layer's result */
    PARE_POINT_COUNT
} ParePoint;

/* NULL: nobody wants this one. Asked for every layer and point of a pass. */
typedef const PareProbe *(*PareProbes)(void *context, PareStackIndex stack, uint32_t layer,
                                       ParePoint point);

/* What a loss on the inside of a stack reads (distillation); all arrays are the caller's. With
 * queries and keys what self-attention allocates is not given back to the arena. */
typedef struct {
    PareValue **hidden;       /* NULL, or [layers + 1]: the embeddings, then each layer's result */
    PareValue **query, **key; /* NULL, or [layers]: of self-attention, before the product */
} PareTaps;

typedef struct {
    PareTokens tokens;
    const PareRows *sequences;
    size_t sequence_count;
    /* NULL: keys and values live as long as the pass needs them. Otherwise the rows of this pass
     * are written to the slots from cache_base on, and attention reads by PareRows.slots. */
    const PareKeyValues *cache;
    size_t cache_base;
    const PareKeyValues *memory; /* cross-attention; NULL without an encoder */
    const PareTaps *taps;        /* NULL: none */
    PareProbes probes;           /* NULL: none; not with `recompute` */
    void *probes_context;
    /* With a tape: keep each layer's input alone and compute the layer again when going backwards
     * (Chen et al. 2016). The pass must live until then. */
    bool recompute;
} ParePass;

/* Relative biases of all stacks that have them, expanded in the run's arena. */
PareStatus pare_transformer_relatives(PareRun *r, const PareDescription *d, const PareParams *p,
                                      size_t reach, PareRelatives *out);
/* The stack's result [tokens, width], in the run's arena; NULL on error (r->status). */
PareValue *pare_transformer_stack(PareRun *r, const PareTransformer *t, PareStackIndex s,
                                  const ParePass *pass);
/* The stack in steps, for who stands between them: the embeddings; then sublayer by sublayer what
 * its last matrix reads, [rows, heads * head size] or [rows, units], for the stream `x`, which
 * stays as it is. The sublayer must exist. What then happens to the stream (`x` + `output` of that,
 * with post-norm `norm` of the sum; at the end the final norm) is left to the caller. */
typedef enum {
    PARE_SUBLAYER_SELF,
    PARE_SUBLAYER_CROSS,
    PARE_SUBLAYER_FFN,
    PARE_SUBLAYERS
} PareSublayer;
typedef struct {
    const PareNorm *norm;
    const PareLinear *output; /* its last matrix */
} PareSublayerParams;
PareSublayerParams pare_transformer_sublayer(const PareLayerParams *l, PareSublayer which);
PareValue *pare_transformer_embed(PareRun *r, const PareTransformer *t, PareStackIndex s,
                                  const ParePass *pass);
PareValue *pare_transformer_inside(PareRun *r, const PareTransformer *t, PareStackIndex s,
                                   const ParePass *pass, uint32_t layer, PareSublayer which,
                                   PareValue *x);
/* Cross-attention keys and values of every decoder layer from the encoder's result, once. */
PareStatus pare_transformer_memory(PareRun *r, const PareTransformer *t, PareValue *encoded,
                                   PareKeyValues *out);
/* What the output layer t->p->output reads: `hidden`, or for LM heads what the head makes of it
 * first. May change `hidden`. */
PareValue *pare_transformer_head_input(PareRun *r, const PareTransformer *t, PareValue *hidden);
/* The output layer on rows of the top stack's result. LM and token heads take any rows, the
 * sequence head takes pooled rows. Changes `hidden`. */
PareValue *pare_transformer_head(PareRun *r, const PareTransformer *t, PareValue *hidden);
/* One pooled row per sequence: gather, dense and activation as the head says. */
PareValue *pare_transformer_pool(PareRun *r, const PareTransformer *t, const PareValue *hidden,
                                 const PareRows *sequences, size_t count);

#endif
