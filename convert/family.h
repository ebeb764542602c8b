/* A family of checkpoints: how its config.json becomes a description, and how its tensors are
 * named.
 *
 * A family is one file in convert/families/ and one line in its registry. The tables below are read
 * both ways: converting asks which checkpoint tensor fills a slot, exporting which name a slot
 * gets. Nothing outside convert/families/ knows what the families are called. */
#ifndef PARE_CONVERT_FAMILY_H
#define PARE_CONVERT_FAMILY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "convert/config.h"
#include "core/error.h"
#include "core/memory.h"
#include "formats/checkpoint.h"
#include "runtime/description.h"
#include "runtime/generation.h"
#include "runtime/slots.h"
#include "text/tokenizer.h"

/* One class of the family that checkpoints are saved from, and the head that it has. */
typedef struct {
    const char *name;
    PareHeadKind head;
} PareArchitecture;

enum {
    PARE_RULE_TRANSPOSE = 1,   /* stored as [in, out]; vectors are not affected */
    PARE_RULE_OUTER = 2,       /* stands outside the base model: never has the family's prefix */
    PARE_RULE_FLAT = 4,        /* stored with leading dimensions of 1 */
    PARE_RULE_ALTERNATIVE = 8, /* also read under this name; exporting uses another rule */
    PARE_RULE_ZERO = 16,       /* zeros when the checkpoint does not have it */
    PARE_RULE_COMPUTED = 32,   /* the family's `compute` when the checkpoint does not have it */
    PARE_RULE_GATED = 64,      /* only where the feed-forward part is gated */
    PARE_RULE_PLAIN = 128,     /* only where it is not */
    PARE_RULE_TWIN = 256 /* with ALTERNATIVE: the framework has the parameter under both names */
};

/* Which heads a rule is for; 0 is any. */
#define PARE_FOR(kind) ((uint8_t)(1U << (kind)))

/* A slot and its name in the checkpoint. '%' stands for the layer's number and '*' for "weight" or
 * "bias", the same in both. `parts` > 1: the tensor holds that many slots one behind the other
 * along the output dimension, and this one is number `part`. Earlier rules for a slot win. */
typedef struct {
    const char *slot, *tensor;
    uint16_t flags;
    uint8_t heads, part, parts;
} PareRule;

/* A slot that shares another one's elements, when `when` holds. '%' in `slot` is any layer; in
 * `target` the same one. */
typedef enum {
    PARE_TIE_ALWAYS,
    PARE_TIE_OUTPUT, /* the output layer is tied to the embedding */
    PARE_TIE_STACKS, /* encoder and decoder share their embedding */
    PARE_TIE_LAYERS  /* encoder and decoder share their layers, too */
} PareTieWhen;

typedef struct {
    const char *slot, *target;
    PareTieWhen when;
} PareTie;

/* A name's ending in old checkpoints. */
typedef struct {
    const char *ending, *old;
} PareOldEnding;

/* The token ids of config.json and what stands for an absent one; -1: none. */
typedef struct {
    int32_t bos, eos, pad, decoder_start, forced_eos;
} PareIdDefaults;

/* A number of the description that a field of config.json states; exporting writes it back. */
typedef enum {
    PARE_FACT_WIDTH,
    PARE_FACT_VOCABULARY,
    PARE_FACT_POSITIONS,
    PARE_FACT_TYPES,
    PARE_FACT_LAYERS,
    PARE_FACT_HEADS,     /* of the network before pruning, where PRUNED_HEADS takes some away */
    PARE_FACT_HEAD_SIZE, /* a family without this field divides the width by the heads */
    PARE_FACT_KV_HEADS,  /* a family without this field has as many as heads */
    PARE_FACT_FFN,
    PARE_FACT_BUCKETS,
    PARE_FACT_PRUNED_HEADS /* {"layer": [heads]}: self-attention may have fewer in some layers */
} PareFactKind;

/* `aliases` are other spellings, separated by '|', that get the same value where they are there.
 * A `stack` of PARE_STACKS stands for both. */
typedef struct {
    const char *key, *aliases;
    PareFactKind kind;
    int stack;
} PareFact;

typedef struct PareFamily PareFamily;

/* Settings nested in config.json, and the family whose they are. */
typedef struct {
    const char *key;
    const PareFamily *family;
} PareFamilyPart;

/* What a family makes of a config.json. `generation` holds the settings of config.json already. A
 * family whose settings choose between several tables of names puts another one in its place. */
typedef struct {
    const PareFamily *family;
    const PareArchitecture *architecture;
    PareDescription description;
    PareGeneration generation;
    PareTokenizerHints hints;
    const char **labels; /* names of the head's labels; NULL where it has none */
    bool tied_output, shared_stacks, shared_layers;
    PareFamilyPart parts[PARE_STACKS]; /* of models made of two; their family is NULL otherwise */
} PareFamilyModel;

struct PareFamily {
    const char *model_type; /* as config.json says */
    const char *title;      /* for people */
    const char *prefix;     /* of the base model's tensors inside a model with a head; may be "" */
    const PareArchitecture *architectures; /* ends with a NULL name */
    const char *const *fields;             /* of config.json, read by `describe`; NULL-terminated */
    const char *const *harmless;           /* patterns of fields that do not change the result */
    const PareNeutral *neutral;            /* fields that must have this value; ends with NULL */
    const PareRule *rules;                 /* ends with a NULL slot */
    const PareTie *ties;                   /* ends with a NULL slot */
    const char *const *ignored;            /* patterns of tensors that carry no information */
    const PareOldEnding *old_endings;      /* ends with a NULL ending; may be NULL */
    PareIdDefaults ids;
    PareTokenizerHints hints;
    /* Training gives the padding token's row no gradient where embeddings look it up (PyTorch's
     * "padding_idx"). */
    bool fixed_padding;
    /* Fills the description and whatever else differs from the defaults. */
    PareStatus (*describe)(PareConfig *config, PareFamilyModel *model);
    /* Values of a slot whose rule is COMPUTED; may be NULL. */
    void (*compute)(const PareFamilyModel *model, const PareSlot *slot, float *out);
    const PareFact *facts; /* ends with a NULL key; NULL: this family cannot be exported */
};

/* The families, in the order in which people are told of them; NULL behind the last. */
const PareFamily *pare_family_at(size_t index);
const PareFamily *pare_family_find(const char *model_type); /* NULL when unknown */

/* Rewrites `name` from one pattern to the other ('%' and '*' as in a rule). false when it does not
 * match, or when the result does not fit. */
bool pare_pattern_rewrite(const char *from, const char *to, const char *name, char *out,
                          size_t size);
/* Whether a rule speaks of a slot of this model. */
bool pare_rule_applies(const PareRule *rule, const PareFamilyModel *model);
/* The checkpoint's name for a slot by this rule, with the family's prefix where `prefixed`. */
bool pare_rule_tensor_name(const PareFamily *family, const PareRule *rule, const char *slot,
                           bool prefixed, char *out, size_t size);
/* The tie of a slot that holds in this model, or NULL. `active` tells whether the model's settings
 * switch it on; an inactive one still says where the slot's twin would be. */
const PareTie *pare_family_tie(const PareFamilyModel *model, const char *slot, bool *active);

/* The slot whose elements `slot` shares by this tie. */
bool pare_tie_target(const PareTie *tie, const char *slot, char *out, size_t size);

/* Reads what all families have in common and lets the family describe the model. */
PareStatus pare_family_describe(PareConfig *config, PareFamilyModel *model);

#endif
