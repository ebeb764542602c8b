/* Importance: how much each unit that can be cut matters.
 *
 * Gradient: mean over batches of |d loss / d mask|, a mask of ones on each head's output (Michel,
 * Levy, Neubig 2019), which is |sum of output * gradient|; for feed-forward units |sum over rows of
 * z dL/dz|, z the value before the activation (Kim, Hassan 2020). Taylor: the same at the output of
 * the group, behind the activation. Fisher: mean of the squared gradient of the mask. Activation:
 * mean absolute output of the group. Magnitude: L2 norm of the group's weights in all tensors that
 * carry the axis. Random: a baseline, by a seed. The loss is that of labels or, without labels, the
 * KL divergence of the masked model from its own outputs (whose first derivative vanishes, so that
 * only Fisher-like criteria can tell anything: see pare_importance_measure).
 *
 * Of whole layers: |sum of (result - input) * gradient| at the layer's end; of the residual
 * stream's units: |sum of value * gradient|, summed over the layers' ends. The same reading of the
 * other criteria holds for both. */
#ifndef PARE_PRUNE_IMPORTANCE_H
#define PARE_PRUNE_IMPORTANCE_H

#include "core/axis.h"
#include "core/buffer.h"
#include "core/json.h"
#include "learn/weights.h"
#include "prune/prune_data.h"

typedef enum {
    PARE_CRITERION_GRADIENT,
    PARE_CRITERION_TAYLOR,
    PARE_CRITERION_FISHER,
    PARE_CRITERION_ACTIVATION,
    PARE_CRITERION_MAGNITUDE,
    PARE_CRITERION_RANDOM,
    PARE_CRITERION_COUNT
} PareCriterion;

const char *pare_criterion_name(PareCriterion c);
bool pare_criterion_parse(const char *name, PareCriterion *out);
bool pare_criterion_needs_data(PareCriterion c);

typedef struct {
    double *heads[2]; /* PARE_BLOCK_SELF, PARE_BLOCK_CROSS: [heads]; NULL: no such block */
    double *ffn;      /* [units]; NULL: no feed-forward sublayer */
} PareLayerScores;

typedef struct {
    PareLayerScores *layers; /* [layer_count of the description] */
    double *layer;           /* [layer_count]: of whole layers */
    double *width;           /* [width] */
} PareStackScores;

typedef struct {
    PareCriterion criterion;
    bool from_labels;                    /* or from the model's own outputs */
    uint64_t seed, batches, examples;    /* batches and examples: 0 without data */
    PareStackScores stacks[PARE_STACKS]; /* all NULL where a stack is absent */
    char model_sha256[65];               /* of the model that was measured; "" not known */
    PareArena *arena;                    /* borrowed: owns the lists */
} PareImportance;

typedef struct {
    PareCriterion criterion;
    const ParePruneData *data; /* NULL for criteria without data */
    bool own_outputs;          /* the loss: against the model's own outputs instead of labels */
    size_t batch_size, batch_tokens; /* as PareBatchesOptions; the file's order */
    uint64_t limit_batches;          /* 0: all */
    uint64_t seed;
    size_t threads;
    PareProgress *progress; /* counts examples */
} PareImportanceOptions;

/* Measures the model whose weights are `w`. The lists are made in `arena`. The same bits at any
 * number of threads. */
PareStatus pare_importance_measure(const PareWeights *w, const PareImportanceOptions *o,
                                   PareArena *arena, PareImportance *out, PareError *err);

/* JSON: {"criterion": .., "model_sha256": .., "heads": [[..], ..], "ffn": [[..], ..], "layers":
 * [..], "width": [..]}, a list a layer, null where the sublayer is absent; a decoder with
 * cross-attention has "cross", too. Models with two stacks have the lists in "encoder" and
 * "decoder". docs/prune.md describes it. Values as %.9g. */
void pare_importance_write(const PareImportance *i, const PareDescription *d, PareBuffer *out);
/* Strict: sizes must be those of `d`, numbers finite and not negative. */
PareStatus pare_importance_read(const PareJson *object, const char *where, const PareDescription *d,
                                PareArena *arena, PareImportance *out, PareError *err);

#endif
