/* The description: the one Transformer as data.
 *
 * BERT, GPT, BART, T5 and their kin differ in nothing but the fields below; no code asks for a
 * family. A description is stored as JSON under "description" in a .pare file's metadata; every
 * field appears there under its own name. Heads, key/value heads and feed-forward units are kept
 * per layer, since pruned layers differ. A sublayer with zero heads or units has been removed: its
 * residual connection remains, its norm and tensors do not. */
#ifndef PARE_RUNTIME_DESCRIPTION_H
#define PARE_RUNTIME_DESCRIPTION_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/error.h"
#include "core/json.h"
#include "core/memory.h"
#include "runtime/kernels/kernels.h"

typedef enum { PARE_ENCODER, PARE_DECODER, PARE_STACKS } PareStackIndex;

typedef enum {
    PARE_NORM_LAYER, /* mean and variance, weight and bias */
    PARE_NORM_RMS    /* root mean square, weight only */
} PareNormKind;

typedef enum {
    PARE_POSITION_NONE,
    PARE_POSITION_TABLE,   /* a row added to the embedding: learned or sinusoidal */
    PARE_POSITION_RELATIVE /* a bias by bucketed distance, added to self-attention scores (T5) */
} ParePositionKind;

/* One attention block. Queries have heads x head_size rows, keys and values kv_heads x head_size;
 * query head h reads key/value head kv_of_head(h) = h * kv_heads / heads. */
typedef struct {
    uint32_t heads;    /* 0: the sublayer was removed */
    uint32_t kv_heads; /* heads is a multiple of it */
    uint32_t head_size;
    float scale;     /* multiplies the scores: 1/sqrt(head_size), or 1 (T5) */
    uint32_t window; /* causal self-attention sees this many latest positions; 0: all */
} PareAttentionShape;

typedef struct {
    PareAttentionShape self, cross; /* cross.heads is 0 without cross-attention */
    uint32_t ffn;                   /* units; 0: the sublayer was removed */
} PareLayerShape;

/* A stack of layers: the encoder (every position sees all) or the decoder (causal; with
 * cross-attention to the encoder when that is present and `cross` is set). */
typedef struct {
    bool present;
    uint32_t width;           /* of the residual stream */
    uint32_t embedding_width; /* of the tables; where it is not `width` a projection follows */
    uint32_t vocabulary;      /* rows of the token table */
    uint32_t types;           /* rows of the token-type table; 0: none */
    ParePositionKind position;
    uint32_t positions; /* how many positions the table serves; 0: no limit (RELATIVE, NONE) */
    uint32_t position_offset; /* the table has this many unused rows in front (BART: 2) */
    uint32_t relative_buckets, relative_max_distance;
    float embedding_scale; /* multiplies token embeddings: 1, or sqrt(width) */
    bool embedding_norm;   /* a norm after the sum of the embeddings */
    bool final_norm;       /* a norm after the last layer */
    bool pre_norm;         /* x + f(norm(x)) instead of norm(x + f(x)) */
    PareNormKind norm;
    float norm_eps;
    PareActivation activation;
    bool gated;          /* act(x Wgate) * (x Win) instead of act(x Win) */
    bool attention_bias; /* query, key, value and output have biases */
    bool ffn_bias;
    bool cross;
    uint32_t layer_count;
    PareLayerShape *layers;
} PareStack;

typedef enum {
    PARE_HEAD_NONE,     /* hidden states; with `pooled`, the pooled vector too */
    PARE_HEAD_LM,       /* a score for every vocabulary row at every position */
    PARE_HEAD_SEQUENCE, /* `labels` scores per sequence, from the pooled vector */
    PARE_HEAD_TOKENS,   /* `labels` scores per position */
    PARE_HEAD_SPAN      /* start and end scores per position: labels is 2 */
} PareHeadKind;

typedef enum { PARE_POOL_NONE, PARE_POOL_FIRST, PARE_POOL_LAST } ParePoolKind;

/* What stands on the last stack (the decoder where there is one). */
typedef struct {
    PareHeadKind kind;
    uint32_t labels;
    ParePoolKind pool; /* which position; then dense + pool_activation: "pooler" */
    bool pool_dense;
    PareActivation pool_activation;
    bool transform; /* LM: dense, activation and norm before the output (BERT) */
    PareActivation transform_activation;
    bool bias;   /* of the output layer */
    float scale; /* multiplies the hidden state before the output: 1, or
                    width^-0.5 (tied T5) */
} PareOutputHead;

typedef struct PareDescription {
    PareStack stacks[PARE_STACKS];
    PareOutputHead head;
    PareArena *arena; /* borrowed: owns the layer arrays */
} PareDescription;

/* The stack that the head stands on. */
PareStackIndex pare_description_top(const PareDescription *d);
/* A stack with `layers` equal layers; fills every shape with the given ones. */
PareStatus pare_stack_set_layers(PareDescription *d, PareStackIndex s, uint32_t layers,
                                 PareLayerShape shape, PareError *err);
/* Refuses what the runtime cannot do or what makes no sense, by field name; sizes are bounded
 * (width, heads, layers, vocabulary) so that products cannot overflow. */
PareStatus pare_description_check(const PareDescription *d, const char *where, PareError *err);

/* JSON, both ways. Reading is strict: unknown and missing fields are errors. */
void pare_description_write(const PareDescription *d, PareBuffer *out);
PareStatus pare_description_read(const PareJson *object, const char *where, PareArena *arena,
                                 PareDescription *out, PareError *err);

const char *pare_activation_name(PareActivation a); /* "gelu", "gelu_tanh", … */
const char *pare_head_kind_name(PareHeadKind k);    /* "none", "lm", "sequence", … */
enum { PARE_HEAD_TEXT = 48 };
/* For messages: "no head", "a language-model head", "a tokens head of 3 labels". Returns `out`. */
const char *pare_head_text(const PareOutputHead *h, char out[PARE_HEAD_TEXT]);

#endif
