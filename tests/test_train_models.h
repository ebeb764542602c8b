/* Small models in memory for the tests of training: one of each kind that the description can make,
 * with odd sizes, layers that differ and sublayers that were removed. */
#ifndef PARE_TESTS_TEST_TRAIN_MODELS_H
#define PARE_TESTS_TEST_TRAIN_MODELS_H

#include "learn/objective.h"
#include "tests/test_backward_common.h"

typedef enum {
    CLASSIFIER, /* an encoder, post-norm, token types, pooled rows */
    REGRESSION, /* the same with one score */
    TAGGER,     /* an encoder, pre-norm, a score for each position */
    MASKED,     /* narrow tables, a transform before the tied output */
    LANGUAGE,   /* a decoder: shared keys, a window, removed sublayers */
    TRANSLATOR, /* two stacks, post-norm, everything tied */
    RELATIVE,   /* two stacks, RMS norms, gated, relative biases, no others */
    KINDS
} Kind;

static const char *const kind_names[KINDS] = {"classifier", "regression", "tagger",  "masked",
                                              "language",   "translator", "relative"};

typedef struct {
    Kind kind;
    uint32_t width, head_size, layers;
} ModelShape;

typedef struct {
    PareDescription d;
    PareSlots slots;
    PareParams params;
    float **data;
    size_t *tensor; /* [slots.count]: of the block */
    PareArena *arena;
} Model;

/* A slot whose name begins with `slot` shares the values of `with`; the first that holds counts. */
typedef struct {
    const char *slot, *with;
} Tie;

static const Tie ties[KINDS][4] = {
    [MASKED] = {{"head.output.weight", "encoder.embed.tokens"}},
    [LANGUAGE] = {{"head.output.weight", "decoder.embed.tokens"}},
    [TRANSLATOR] = {{"decoder.embed.tokens", "encoder.embed.tokens"},
                    {"head.output.weight", "encoder.embed.tokens"}},
    [RELATIVE] = {{"decoder.embed.tokens", "encoder.embed.tokens"},
                  {"head.output.weight", "encoder.embed.tokens"},
                  {"encoder.layers.1.self.relative", "encoder.layers.0.self.relative"}},
};

enum { WORDS = 17, LONGEST = 9 };

static inline PareStack stack_of(const ModelShape *s) {
    return (PareStack){.present = true,
                       .width = s->width,
                       .embedding_width = s->width,
                       .vocabulary = WORDS,
                       .position = PARE_POSITION_TABLE,
                       .positions = LONGEST,
                       .embedding_scale = 1,
                       .embedding_norm = true,
                       .norm_eps = 1e-5F,
                       .activation = PARE_ACT_GELU,
                       .attention_bias = true,
                       .ffn_bias = true};
}

static inline void describe_encoder(const ModelShape *s, PareDescription *d) {
    PareStack *k = &d->stacks[PARE_ENCODER];
    *k = stack_of(s);
    k->types = 2;
    d->head = (PareOutputHead){.kind = PARE_HEAD_SEQUENCE,
                               .labels = s->kind == REGRESSION ? 1 : 3,
                               .pool = s->kind == REGRESSION ? PARE_POOL_LAST : PARE_POOL_FIRST,
                               .pool_dense = true,
                               .pool_activation = PARE_ACT_TANH,
                               .bias = true,
                               .scale = 1};
    if (s->kind == TAGGER) {
        k->pre_norm = k->final_norm = true;
        k->types = 0;
        d->head = (PareOutputHead){.kind = PARE_HEAD_TOKENS, .labels = 4, .bias = true, .scale = 1};
    } else if (s->kind == MASKED) {
        k->embedding_width = 7;
        d->head = (PareOutputHead){.kind = PARE_HEAD_LM,
                                   .transform = true,
                                   .transform_activation = PARE_ACT_GELU,
                                   .bias = true,
                                   .scale = 1};
    }
}

static inline void describe_decoder(const ModelShape *s, PareDescription *d) {
    PareStack *k = &d->stacks[PARE_DECODER];
    d->head = (PareOutputHead){.kind = PARE_HEAD_LM, .scale = 1};
    *k = stack_of(s);
    k->pre_norm = k->final_norm = s->kind != TRANSLATOR;
    k->embedding_norm = s->kind == TRANSLATOR;
    k->activation = s->kind == LANGUAGE ? PARE_ACT_GELU_TANH : PARE_ACT_SILU;
    if (s->kind == LANGUAGE)
        return;
    k->cross = true;
    k->position_offset = 2;
    k->embedding_scale = 1.7F;
    if (s->kind == RELATIVE) {
        k->position = PARE_POSITION_RELATIVE;
        k->position_offset = k->positions = 0;
        k->relative_buckets = 6;
        k->relative_max_distance = 7;
        k->norm = PARE_NORM_RMS;
        k->gated = true;
        k->attention_bias = k->ffn_bias = false;
        d->head.scale = 0.8F;
    }
    d->stacks[PARE_ENCODER] = *k;
    d->stacks[PARE_ENCODER].cross = false;
}

/* Layers differ from each other as pruned ones do; the first and the last are whole. */
static inline void set_layers(const ModelShape *s, PareDescription *d) {
    for (int i = 0; i < PARE_STACKS; i++) {
        PareStack *k = &d->stacks[i];
        PareLayerShape shape = {.self = {3, 3, s->head_size, 0.5F, 0}, .ffn = 10};
        PareError err;
        if (k->cross)
            shape.cross = (PareAttentionShape){2, 1, 5, 0.4F, 0};
        if (s->kind == LANGUAGE)
            shape.self.kv_heads = 1;
        if (!k->present)
            continue;
        no_error(pare_stack_set_layers(d, (PareStackIndex)i, s->layers, shape, &err), &err);
        if (s->kind == LANGUAGE)
            k->layers[0].self.window = 3;
        if (s->layers > 2) {
            k->layers[1].ffn = s->kind == LANGUAGE ? 0 : 3;
            k->layers[1].cross.heads = 0;
            k->layers[1].self.heads = s->kind == TRANSLATOR && i == PARE_DECODER ? 0 : 3;
        }
    }
}

static inline size_t find_slot(const PareSlots *slots, const char *name) {
    const PareSlot *s = pare_slots_find(slots, name);
    if (!s)
        fail_msg("no slot '%s'", name);
    return (size_t)(s - slots->items);
}

/* The description, and a tensor of the block for every slot that shares with nobody. */
static inline void model_begin(Model *m, const ModelShape *s, Block *b) {
    PareError err;
    *m = (Model){.arena = pare_arena_create(0)};
    m->d.arena = m->arena;
    if (s->kind <= MASKED)
        describe_encoder(s, &m->d);
    else
        describe_decoder(s, &m->d);
    set_layers(s, &m->d);
    no_error(pare_description_check(&m->d, kind_names[s->kind], &err), &err);
    no_error(pare_slots_list(&m->d, m->arena, &m->slots, &err), &err);
    m->tensor = pare_arena_alloc(m->arena, m->slots.count, sizeof *m->tensor);
    m->data = pare_arena_alloc(m->arena, m->slots.count, sizeof *m->data);
    assert_true(m->tensor && m->data);
    for (size_t i = 0; i < m->slots.count; i++) {
        const PareSlot *slot = &m->slots.items[i];
        const Tie *tie = ties[s->kind];
        while (tie->slot && strcmp(tie->slot, slot->name) != 0)
            tie++;
        size_t count = slot->shape[0] * (slot->dims == 2 ? slot->shape[1] : 1);
        m->tensor[i] = tie->slot ? m->tensor[find_slot(&m->slots, tie->with)] : b->tensor_count;
        if (!tie->slot)
            block_add(b, slot->name, count);
    }
}

/* After block_begin: norms are made like norms, and the parameters bound. */
static inline void model_bind(Model *m, Block *b) {
    PareError err;
    for (size_t i = 0; i < m->slots.count; i++) {
        const PareTapeRange *r = &b->ranges[m->tensor[i]];
        const char *name = m->slots.items[i].name;
        m->data[i] = b->values + r->offset;
        if (m->slots.items[i].role == PARE_ROLE_NORM && strstr(name, ".weight"))
            for (size_t k = 0; k < r->count; k++)
                m->data[i][k] += 1;
    }
    no_error(pare_params_bind_memory(&m->d, &m->slots, m->data, m->arena, &m->params, &err), &err);
}

static inline void model_end(Model *m) {
    pare_arena_destroy(m->arena);
}

/* -- examples -- */

enum { ITEMS = 5 };

typedef struct {
    PareExample items[ITEMS];
    int32_t ids[ITEMS][LONGEST], types[ITEMS][LONGEST];
    int32_t decoder_ids[ITEMS][LONGEST], targets[ITEMS][LONGEST];
} Examples;

static inline int32_t draw(uint64_t stream, uint64_t index, uint64_t below) {
    return (int32_t)pare_random_below(31, stream, index, below);
}

/* Sequences of several lengths; a third of all targets does not count. */
static inline void fill_examples(Examples *e, const PareDescription *d) {
    bool decodes = d->stacks[PARE_ENCODER].present && d->stacks[PARE_DECODER].present;
    uint32_t labels = d->head.kind == PARE_HEAD_LM ? WORDS : d->head.labels;
    for (size_t i = 0; i < ITEMS; i++) {
        size_t counts[2] = {(size_t)(i * 4 % LONGEST + 1), (size_t)((i + 2) * 5 % LONGEST + 1)};
        for (size_t k = 0; k < LONGEST; k++) {
            e->ids[i][k] = draw(1, LONGEST * i + k, WORDS);
            e->decoder_ids[i][k] = draw(2, LONGEST * i + k, WORDS);
            e->types[i][k] = draw(3, LONGEST * i + k, 2);
            e->targets[i][k] = (i + k) % 3 == 1 ? PARE_IGNORED : draw(4, LONGEST * i + k, labels);
        }
        e->items[i] = (PareExample){
            .sequence = {.ids = e->ids[i], .count = counts[0], .types = i % 2 ? e->types[i] : NULL},
            .targets = e->targets[i],
            .target_count = counts[decodes],
            .label = (int32_t)(i % labels),
            .value = normal(900, i)};
        if (decodes) {
            e->items[i].sequence.decoder_ids = e->decoder_ids[i];
            e->items[i].sequence.decoder_count = counts[1];
        }
    }
}

#endif
