/* Importance: how much each unit that can be cut matters.
 *
 * The mask of a unit is a 1 that multiplies what the unit gives: the attention of a head, the
 * activation of a feed-forward unit, what a whole layer adds to the stream (result - input, at the
 * layer's end), one unit of the stream at a layer's end. The criteria:
 *   gradient    mean over batches of |d loss / d mask|, the loss being the batch's mean (Michel,
 *               Levy, Neubig 2019). Of feed-forward units |sum over rows of z dL/dz| with z the
 *               value before the activation, which is |sum w dL/dw + b dL/db| (Kim, Hassan 2020).
 *   taylor      the same, and of feed-forward units behind the activation: |d loss / d mask|. Where
 *               they are gated, z is what the gate multiplies, and both are equal.
 *   fisher      mean over examples of (d loss / d mask)^2, each by its own loss (the mean over its
 *               targets): it does not depend on the batches.
 *   activation  mean of |value| over rows and columns of the unit; no loss, no labels.
 *   magnitude   L2 norm of the unit's weights in all tensors that carry its axis, each once; keys
 *               and values are their head's where every query head has its own. No data.
 *   random      a baseline in (0, 1), by the seed.
 *   reconstruct what the output of the sublayer loses when the others stand in (reconstruct.h); no
 *               loss, no labels. Layers and the stream's units have no such score: 0.
 * The stream's units have a mask at each layer's end: their scores are added up over the layers.
 * Where query heads share keys and values, query heads are scored.
 *
 * The loss is that of labels. Without labels (own_outputs) it cannot be the divergence from the
 * model's own outputs, whose first derivative is 0 where nothing is masked. Instead the model's
 * outputs are taken as labels: by gradient and taylor the label with the highest score, since what
 * is asked is what the model's decision hangs on (labels drawn at random have a mean gradient of 0,
 * and a batch's would be mostly noise); by fisher a label drawn by the model's probabilities and
 * the seed, which makes it the true Fisher information (Kunstner, Balles, Hennig 2019). For
 * regression the loss is the score itself, whose squared derivative is the Fisher information. */
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
    PARE_CRITERION_RECONSTRUCT,
    PARE_CRITERION_COUNT
} PareCriterion;

const char *pare_criterion_name(PareCriterion c);
bool pare_criterion_parse(const char *name, PareCriterion *out);
bool pare_criterion_needs_data(PareCriterion c);
bool pare_criterion_has_loss(PareCriterion c); /* of labels, or of the model's own outputs */

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
    bool from_labels; /* the loss was that of labels; false: own outputs, or there was no loss */
    uint64_t seed, batches, examples;    /* batches and examples: 0 without data */
    PareStackScores stacks[PARE_STACKS]; /* all NULL where a stack is absent */
    char model_sha256[65];               /* of the model's file; "" not known: the caller knows */
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
    uint64_t rows;          /* RECONSTRUCT: token positions at most, 0: a default */
    double ridge;           /* and as PareRepairOptions; 0: a default */
    PareProgress *progress; /* counts examples */
    PareProgress *(*start)(const char *what, uint64_t total); /* RECONSTRUCT: it makes its own */
} PareImportanceOptions;

/* Refuses a criterion that is that of a loss for heads that have none (span, none). */
PareStatus pare_importance_check_head(PareCriterion c, PareHeadKind head, PareError *err);
/* Measures the model whose weights are `w`. The lists are made in `arena`. The same bits at any
 * number of threads. Refused: what pare_importance_check_head refuses, examples without the
 * label that the loss needs or without anything for the decoder to read, and scores that are not
 * finite. Memory is that of training without weight gradients: the activations of one batch. Polls
 * for interruption. */
PareStatus pare_importance_measure(const PareWeights *w, const PareImportanceOptions *o,
                                   PareArena *arena, PareImportance *out, PareError *err);

/* JSON: {"pare_importance": 1, "criterion": .., "loss": .., "model_sha256": .., "seed": "..",
 * "batches": .., "examples": .., "heads": [[..], ..], "ffn": [[..], ..], "layers": [..], "width":
 * [..]}, a list a layer, null where the sublayer is absent; a decoder with cross-attention has
 * "cross", too. Models with two stacks have the lists in "encoder" and "decoder". docs/prune.md
 * describes it. Values as %.9g. */
void pare_importance_write(const PareImportance *i, const PareDescription *d, PareBuffer *out);
/* Strict: sizes must be those of `d`, numbers finite and not negative, and no other members. The
 * caller compares model_sha256. */
PareStatus pare_importance_read(const PareJson *object, const char *where, const PareDescription *d,
                                PareArena *arena, PareImportance *out, PareError *err);

#endif
