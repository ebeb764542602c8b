/* Warm-started encoder-decoders (Rothe, Narayan & Severyn 2020): the encoder's stack of one model,
 * the only stack of another as decoder, and new cross-attention in every layer of it.
 *
 * A decoder that is made of an encoder sees backwards only from now on. It keeps its language-model
 * head; without one it gets a new head on its own token table: the transform and bias of a masked
 * language model for what was an encoder, the bare product for what was a decoder. What is new has
 * random values (fresh.h). */
#ifndef PARE_DISTILL_WARM_H
#define PARE_DISTILL_WARM_H

#include "core/buffer.h"
#include "core/error.h"
#include "learn/weights.h"
#include "runtime/model.h"
#include "text/tokenizer.h"

typedef enum {
    PARE_WARM_SHARE_NONE,
    PARE_WARM_SHARE_EMBEDDINGS, /* one token table, the encoder's */
    PARE_WARM_SHARE_LAYERS      /* that, and all layers but cross-attention; the encoder's */
} PareWarmShare;

typedef struct {
    const PareModel *encoder, *decoder;
    PareWarmShare share;
    bool fresh; /* random values all over, of the same description */
    uint64_t seed;
    const PareWeightsFrom *extras; /* may be NULL */
} PareWarmStart;

/* The description; refuses models that cannot be put together. Layer arrays lie in `arena`. */
PareStatus pare_warm_describe(const PareWarmStart *w, PareArena *arena, PareDescription *out,
                              PareError *err);
PareStatus pare_warm_create(const PareWarmStart *w, const PareDescription *d, PareWeights **out,
                            PareError *err);

/* The model whose tokenizer the result has, or NULL when neither has one. A .pare file holds one,
 * so that two that differ are refused, and one that only half of the model was trained with. */
PareStatus pare_warm_tokenizer(const PareWarmStart *w, const PareModel **out, PareError *err);

/* Where a special id was not given. */
enum { PARE_WARM_UNSET = -1 };
typedef struct {
    int32_t decoder_start, eos, pad;
} PareWarmIds;

/* Settings of generation. Ids that are not given come from the tokenizer (may be NULL): what its
 * template puts in front of a text and behind it, otherwise its beginning and its end; and from the
 * decoder's own settings. Lists lie in `arena`. */
PareStatus pare_warm_generation(const PareWarmStart *w, const PareTokenizer *tokenizer,
                                const PareWarmIds *given, PareArena *arena, PareGeneration *out,
                                PareError *err);

/* Whether a tensor of the new model is a constant of the one that it comes from. */
bool pare_warm_is_fixed(const PareWarmStart *w, const PareSlot *slot);

/* The metadata of the result: both provenances, and the stage with both models as its inputs. */
PareStatus pare_warm_metadata(const PareWarmStart *w, const PareWeights *weights,
                              const PareGeneration *generation, const PareTokenizer *tokenizer,
                              const char *options, PareBuffer *out, PareError *err);

#endif
