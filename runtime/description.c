/* Descriptions: building them and refusing those that make no sense. */
#include "runtime/description.h"

#include <math.h>
#include <stddef.h>

/* Bounds keep every product of two dimensions far below overflow; real models stay well inside. */
enum {
    MAX_WIDTH = 1 << 16,
    MAX_FFN = 1 << 18,
    MAX_HEADS = 1 << 12,
    MAX_LAYERS = 1 << 12,
    MAX_VOCABULARY = 1 << 24,
    MAX_POSITIONS = 1 << 24,
    MAX_LABELS = 1 << 20
};

static const char *const STACK_NAMES[PARE_STACKS] = {"encoder", "decoder"};

PareStackIndex pare_description_top(const PareDescription *d) {
    return d->stacks[PARE_DECODER].present ? PARE_DECODER : PARE_ENCODER;
}

PareStatus pare_stack_set_layers(PareDescription *d, PareStackIndex s, uint32_t layers,
                                 PareLayerShape shape, PareError *err) {
    PareStack *stack = &d->stacks[s];
    if (layers > MAX_LAYERS)
        return pare_error_set(err, PARE_E_FORMAT, "%u layers in the %s; at most %d are supported",
                              layers, STACK_NAMES[s], MAX_LAYERS);
    stack->layers = pare_arena_alloc(d->arena, layers, sizeof *stack->layers);
    if (!stack->layers)
        return pare_memory_error(err, "the layers of a description");
    stack->layer_count = layers;
    for (uint32_t i = 0; i < layers; i++)
        stack->layers[i] = shape;
    return PARE_OK;
}

typedef struct {
    const char *where, *stack;
    PareError *err;
} Check;

static PareStatus refuse(const Check *c, const char *field, double found, const char *expected) {
    return pare_error_set(c->err, PARE_E_FORMAT, "%s: %s %s is %g; expected %s", c->where, c->stack,
                          field, found, expected);
}

static PareStatus check_range(const Check *c, const char *field, uint32_t v, uint32_t min,
                              uint32_t max) {
    if (v >= min && v <= max)
        return PARE_OK;
    return pare_error_set(c->err, PARE_E_FORMAT, "%s: %s %s is %u; expected %u to %u", c->where,
                          c->stack, field, v, min, max);
}

static PareStatus check_attention(const Check *c, const PareAttentionShape *a, const char *field) {
    if (a->heads == 0)
        return PARE_OK;
    PareStatus st = check_range(c, field, a->heads, 1, MAX_HEADS);
    if (!st)
        st = check_range(c, field, a->kv_heads, 1, a->heads);
    if (!st && a->heads % a->kv_heads != 0)
        st = refuse(c, field, a->kv_heads, "key/value heads that divide the heads");
    if (!st)
        st = check_range(c, "head_size", a->head_size, 1, 1024);
    if (!st)
        st = check_range(c, "heads x head_size", a->heads * a->head_size, 1, MAX_FFN);
    if (!st && (!isfinite(a->scale) || a->scale <= 0))
        st = refuse(c, "scale of the scores", (double)a->scale, "a positive number");
    return st;
}

static PareStatus check_layers(const Check *c, const PareStack *s, bool causal, bool can_cross) {
    PareStatus st = check_range(c, "layers", s->layer_count, 0, MAX_LAYERS);
    for (uint32_t i = 0; i < s->layer_count && !st; i++) {
        const PareLayerShape *l = &s->layers[i];
        st = check_attention(c, &l->self, "self heads");
        if (!st && l->self.window && !causal)
            st = refuse(c, "self window", l->self.window, "0: only causal attention has one");
        if (!st)
            st = check_attention(c, &l->cross, "cross heads");
        if (!st && l->cross.heads && !can_cross)
            st = refuse(c, "cross heads", l->cross.heads, "none without cross-attention");
        if (!st && l->cross.window)
            st = refuse(c, "cross window", l->cross.window, "0");
        if (!st)
            st = check_range(c, "feed-forward units", l->ffn, 0, MAX_FFN);
    }
    return st;
}

static PareStatus check_positions(const Check *c, const PareStack *s) {
    PareStatus st = check_range(c, "position_offset", s->position_offset, 0, 1024);
    if (!st && s->position == PARE_POSITION_TABLE)
        st = check_range(c, "positions", s->positions, 1, MAX_POSITIONS);
    if (!st && s->position == PARE_POSITION_RELATIVE) {
        st = check_range(c, "relative_buckets", s->relative_buckets, 4, 1 << 16);
        if (!st)
            st = check_range(c, "relative_max_distance", s->relative_max_distance,
                             s->relative_buckets / 2 + 1, 1 << 24);
    }
    return st;
}

static PareStatus check_stack(const Check *c, const PareStack *s, bool causal, bool can_cross) {
    PareStatus st = check_range(c, "width", s->width, 1, MAX_WIDTH);
    if (!st)
        st = check_range(c, "embedding_width", s->embedding_width, 1, MAX_WIDTH);
    if (!st)
        st = check_range(c, "vocabulary", s->vocabulary, 1, MAX_VOCABULARY);
    if (!st)
        st = check_range(c, "types", s->types, 0, 1 << 16);
    if (!st)
        st = check_positions(c, s);
    if (!st && !(isfinite(s->norm_eps) && s->norm_eps >= 0))
        st = refuse(c, "norm_eps", (double)s->norm_eps, "a small number, zero or more");
    if (!st && !isfinite(s->embedding_scale))
        st = refuse(c, "embedding_scale", (double)s->embedding_scale, "a finite number");
    return st ? st : check_layers(c, s, causal, can_cross);
}

/* A language-model head multiplies with a matrix as wide as the tables; without a transform the
 * hidden state itself must be that wide. */
static PareStatus check_output_width(const Check *c, const PareDescription *d) {
    const PareStack *top = &d->stacks[pare_description_top(d)];
    if (d->head.kind != PARE_HEAD_LM || d->head.transform || top->embedding_width == top->width)
        return PARE_OK;
    return pare_error_set(c->err, PARE_E_FORMAT,
                          "%s: embedding_width is %u and width %u; a language-model head without "
                          "a transform needs both to be equal",
                          c->where, top->embedding_width, top->width);
}

static PareStatus check_head(const Check *c, const PareDescription *d) {
    const PareOutputHead *h = &d->head;
    bool labels = h->kind != PARE_HEAD_NONE && h->kind != PARE_HEAD_LM;
    PareStatus st = check_range(c, "labels", h->labels, labels ? 1 : 0, labels ? MAX_LABELS : 0);
    if (!st && h->kind == PARE_HEAD_SPAN && h->labels != 2)
        st = refuse(c, "labels", h->labels, "2 (start and end) for a span head");
    if (!st && h->kind == PARE_HEAD_SEQUENCE && h->pool == PARE_POOL_NONE)
        st = refuse(c, "pool", 0, "a pooled position for a sequence head");
    if (!st && (!isfinite(h->scale) || h->scale <= 0))
        st = refuse(c, "scale", (double)h->scale, "a positive number");
    return st ? st : check_output_width(c, d);
}

PareStatus pare_description_check(const PareDescription *d, const char *where, PareError *err) {
    bool encoder = d->stacks[PARE_ENCODER].present, decoder = d->stacks[PARE_DECODER].present;
    if (!encoder && !decoder)
        return pare_error_set(err, PARE_E_FORMAT, "%s: neither an encoder nor a decoder", where);
    for (int s = 0; s < PARE_STACKS; s++) {
        const PareStack *stack = &d->stacks[s];
        Check c = {where, STACK_NAMES[s], err};
        bool can_cross = s == PARE_DECODER && encoder && stack->cross;
        if (!stack->present)
            continue;
        if (stack->cross && !can_cross)
            return refuse(&c, "cross", 1, "false without an encoder to attend to");
        PareStatus st = check_stack(&c, stack, s == PARE_DECODER, can_cross);
        if (st)
            return st;
    }
    if (encoder && decoder && !d->stacks[PARE_DECODER].cross)
        return pare_error_set(err, PARE_E_FORMAT, "%s: the decoder does not attend to the encoder",
                              where);
    return check_head(&(Check){where, "head", err}, d);
}
