/* The list of tensors that a description calls for. */
#include "runtime/slots.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const PareDescription *d;
    PareArena *arena;
    PareSlot *items; /* NULL on the counting pass */
    size_t count;
    bool failed;
} Builder;

static const char *const STACK_NAMES[PARE_STACKS] = {"encoder", "decoder"};

static PareAxis axis(PareAxisKind kind, unsigned stack) {
    return (PareAxis){.kind = (uint8_t)kind, .stack = (uint8_t)stack, .group = 1};
}

static PareAxis layer_axis(PareAxisKind kind, unsigned stack, uint32_t layer, unsigned block,
                           uint32_t group) {
    return (PareAxis){.kind = (uint8_t)kind,
                      .stack = (uint8_t)stack,
                      .block = (uint8_t)block,
                      .layer = (uint16_t)layer,
                      .group = (uint16_t)group};
}

/* A dimension: its axis and its length. */
typedef struct {
    PareAxis axis;
    uint64_t size;
} Dim;

__attribute__((format(printf, 5, 6))) static void add(Builder *b, PareRole role, Dim rows,
                                                      const Dim *cols, const char *format, ...) {
    size_t at = b->count++;
    if (!b->items)
        return;
    char name[256];
    va_list args;
    va_start(args, format);
    vsnprintf(name, sizeof name, format, args);
    va_end(args);
    PareSlot *s = &b->items[at];
    *s = (PareSlot){.name = pare_arena_strdup(b->arena, name),
                    .role = role,
                    .dims = cols ? 2 : 1,
                    .shape = {rows.size, cols ? cols->size : 0},
                    .axes = {rows.axis, cols ? cols->axis : (PareAxis){0}}};
    b->failed = b->failed || !s->name;
}

static void add_linear(Builder *b, const char *prefix, Dim rows, Dim cols, bool bias) {
    add(b, PARE_ROLE_MATRIX, rows, &cols, "%s.weight", prefix);
    if (bias)
        add(b, PARE_ROLE_BIAS, rows, NULL, "%s.bias", prefix);
}

static void add_norm(Builder *b, const char *prefix, PareNormKind kind, Dim width) {
    add(b, PARE_ROLE_NORM, width, NULL, "%s.weight", prefix);
    if (kind == PARE_NORM_LAYER)
        add(b, PARE_ROLE_NORM, width, NULL, "%s.bias", prefix);
}

static Dim stack_width(const PareDescription *d, unsigned s) {
    return (Dim){axis(PARE_AXIS_WIDTH, s), d->stacks[s].width};
}

/* The tables' own width: the stack's axis unless a projection separates them. */
static Dim table_width(const PareDescription *d, unsigned s) {
    const PareStack *k = &d->stacks[s];
    if (k->embedding_width == k->width)
        return stack_width(d, s);
    return (Dim){axis(PARE_AXIS_EMBEDDING, s), k->embedding_width};
}

static void add_embedding(Builder *b, unsigned s) {
    const PareStack *k = &b->d->stacks[s];
    const char *name = STACK_NAMES[s];
    Dim width = table_width(b->d, s);
    char prefix[64];
    add(b, PARE_ROLE_EMBEDDING, (Dim){axis(PARE_AXIS_VOCABULARY, s), k->vocabulary}, &width,
        "%s.embed.tokens", name);
    if (k->position == PARE_POSITION_TABLE)
        add(b, PARE_ROLE_TABLE,
            (Dim){axis(PARE_AXIS_POSITION, s), (uint64_t)k->positions + k->position_offset}, &width,
            "%s.embed.positions", name);
    if (k->types)
        add(b, PARE_ROLE_TABLE, (Dim){axis(PARE_AXIS_TYPE, s), k->types}, &width, "%s.embed.types",
            name);
    snprintf(prefix, sizeof prefix, "%s.embed.norm", name);
    if (k->embedding_norm)
        add_norm(b, prefix, k->norm, width);
    snprintf(prefix, sizeof prefix, "%s.embed.projection", name);
    if (k->embedding_width != k->width)
        add_linear(b, prefix, stack_width(b->d, s), width, k->attention_bias);
}

static void add_attention(Builder *b, unsigned s, uint32_t layer, unsigned block) {
    static const char *const BLOCKS[] = {"self", "cross"};
    const PareStack *k = &b->d->stacks[s];
    const PareLayerShape *l = &k->layers[layer];
    const PareAttentionShape *a = block == PARE_BLOCK_SELF ? &l->self : &l->cross;
    if (a->heads == 0)
        return;
    Dim width = stack_width(b->d, s);
    Dim source = block == PARE_BLOCK_CROSS ? stack_width(b->d, PARE_ENCODER) : width;
    uint32_t size = a->head_size;
    Dim heads = {layer_axis(PARE_AXIS_HEAD, s, layer, block, size), (uint64_t)a->heads * size};
    Dim kv = {layer_axis(PARE_AXIS_KV, s, layer, block, size), (uint64_t)a->kv_heads * size};
    char prefix[64], name[96];
    snprintf(prefix, sizeof prefix, "%s.layers.%u.%s", STACK_NAMES[s], layer, BLOCKS[block]);
    snprintf(name, sizeof name, "%s.query", prefix);
    add_linear(b, name, heads, width, k->attention_bias);
    snprintf(name, sizeof name, "%s.key", prefix);
    add_linear(b, name, kv, source, k->attention_bias);
    snprintf(name, sizeof name, "%s.value", prefix);
    add_linear(b, name, kv, source, k->attention_bias);
    snprintf(name, sizeof name, "%s.output", prefix);
    add_linear(b, name, width, heads, k->attention_bias);
    if (block == PARE_BLOCK_SELF && k->position == PARE_POSITION_RELATIVE) {
        Dim one = {layer_axis(PARE_AXIS_HEAD, s, layer, block, 1), a->heads};
        add(b, PARE_ROLE_TABLE, (Dim){axis(PARE_AXIS_BUCKET, s), k->relative_buckets}, &one,
            "%s.relative", prefix);
    }
    snprintf(name, sizeof name, "%s.norm", prefix);
    add_norm(b, name, k->norm, width);
}

static void add_ffn(Builder *b, unsigned s, uint32_t layer) {
    const PareStack *k = &b->d->stacks[s];
    uint32_t units = k->layers[layer].ffn;
    if (units == 0)
        return;
    Dim width = stack_width(b->d, s);
    Dim ffn = {layer_axis(PARE_AXIS_FFN, s, layer, 0, 1), units};
    char prefix[64], name[96];
    snprintf(prefix, sizeof prefix, "%s.layers.%u.ffn", STACK_NAMES[s], layer);
    snprintf(name, sizeof name, "%s.in", prefix);
    add_linear(b, name, ffn, width, k->ffn_bias);
    snprintf(name, sizeof name, "%s.gate", prefix);
    if (k->gated)
        add_linear(b, name, ffn, width, k->ffn_bias);
    snprintf(name, sizeof name, "%s.out", prefix);
    add_linear(b, name, width, ffn, k->ffn_bias);
    snprintf(name, sizeof name, "%s.norm", prefix);
    add_norm(b, name, k->norm, width);
}

static void add_stack(Builder *b, unsigned s) {
    const PareStack *k = &b->d->stacks[s];
    char prefix[64];
    add_embedding(b, s);
    for (uint32_t l = 0; l < k->layer_count; l++) {
        add_attention(b, s, l, PARE_BLOCK_SELF);
        add_attention(b, s, l, PARE_BLOCK_CROSS);
        add_ffn(b, s, l);
    }
    snprintf(prefix, sizeof prefix, "%s.norm", STACK_NAMES[s]);
    if (k->final_norm)
        add_norm(b, prefix, k->norm, stack_width(b->d, s));
}

/* The axes of the head's own hidden layers belong to nobody else: stack 2. */
static void add_head(Builder *b) {
    enum { HEAD_STACK = 2 };
    const PareOutputHead *h = &b->d->head;
    unsigned top = (unsigned)pare_description_top(b->d);
    const PareStack *k = &b->d->stacks[top];
    Dim width = stack_width(b->d, top), in = width;
    if (h->pool_dense) {
        in = (Dim){axis(PARE_AXIS_HIDDEN, HEAD_STACK), k->width};
        add_linear(b, "head.pool", in, width, true);
    }
    if (h->transform) {
        in = table_width(b->d, top);
        add_linear(b, "head.transform", in, width, true);
        add_norm(b, "head.transform.norm", k->norm, in);
    }
    if (h->kind == PARE_HEAD_NONE)
        return;
    bool lm = h->kind == PARE_HEAD_LM;
    Dim out = lm ? (Dim){axis(PARE_AXIS_VOCABULARY, top), k->vocabulary}
                 : (Dim){axis(PARE_AXIS_LABEL, HEAD_STACK), h->labels};
    if (lm && !h->transform)
        in = table_width(b->d, top);
    add_linear(b, "head.output", out, in, h->bias);
}

static void add_all(Builder *b) {
    b->count = 0;
    for (unsigned s = 0; s < PARE_STACKS; s++)
        if (b->d->stacks[s].present)
            add_stack(b, s);
    add_head(b);
}

PareStatus pare_slots_list(const PareDescription *d, PareArena *arena, PareSlots *out,
                           PareError *err) {
    Builder b = {.d = d, .arena = arena};
    add_all(&b);
    b.items = pare_arena_alloc(arena, b.count, sizeof *b.items);
    if (!b.items)
        return pare_memory_error(err, "the list of tensors");
    add_all(&b);
    if (b.failed)
        return pare_memory_error(err, "the names of tensors");
    *out = (PareSlots){b.items, b.count};
    return PARE_OK;
}

const PareSlot *pare_slots_find(const PareSlots *slots, const char *name) {
    for (size_t i = 0; i < slots->count; i++)
        if (strcmp(slots->items[i].name, name) == 0)
            return &slots->items[i];
    return NULL;
}
