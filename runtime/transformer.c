/* The one model function. */
#include "runtime/transformer.h"

/* What a sublayer needs to know. */
typedef struct {
    PareRun *r;
    const PareTransformer *t;
    const PareStack *stack;
    const PareStackParams *params;
    const ParePass *pass;
    PareStackIndex index;
    uint32_t layer;
} Place;

static PareValue *attend(const Place *p, PareValue *q, const PareAttentionShape *shape,
                         PareSpan *spans, bool causal, const float *relative) {
    PareAttention a = {.shape = *shape, .causal = causal, .relative = relative};
    if (relative)
        a.reach = p->t->relatives->reach;
    return pare_op_attention(p->r, q, spans, p->pass->sequence_count, &a);
}

static PareSpan *new_spans(const Place *p) {
    PareSpan *spans = pare_arena_alloc(p->r->arena, p->pass->sequence_count, sizeof *spans);
    if (!spans && !p->r->status)
        p->r->status = pare_memory_error(p->r->err, "attention");
    return spans;
}

/* Keys and values of this pass's rows: into the cache, or into values that live as long as the
 * layer. Every span's k and v point at slot 0 of the cache, or at the sequence's first row. */
static void project_keys(const Place *p, PareValue *x, const PareAttentionParams *a, size_t kv_cols,
                         PareSpan *spans) {
    const ParePass *pass = p->pass;
    float *k, *v;
    if (pass->cache) {
        k = pass->cache->k[p->layer];
        v = pass->cache->v[p->layer];
        pare_op_linear_into(p->r, x, &a->key, k + pass->cache_base * kv_cols);
        pare_op_linear_into(p->r, x, &a->value, v + pass->cache_base * kv_cols);
    } else {
        PareValue *key = pare_op_linear(p->r, x, &a->key);
        PareValue *value = pare_op_linear(p->r, x, &a->value);
        if (!key || !value)
            return;
        k = key->data;
        v = value->data;
    }
    for (size_t i = 0; i < pass->sequence_count; i++) {
        const PareRows *s = &pass->sequences[i];
        size_t first = pass->cache ? 0 : s->begin * kv_cols;
        spans[i] = (PareSpan){.q_begin = s->begin,
                              .q_count = s->count,
                              .k = k + first,
                              .v = v + first,
                              .slots = pass->cache ? s->slots : NULL,
                              .keys = pass->cache ? s->first_position + s->count : s->count,
                              .first_position = pass->cache ? s->first_position : 0};
    }
}

static PareValue *self_attention(const Place *p, PareValue *x) {
    const PareAttentionParams *a = &p->params->layers[p->layer].self;
    const PareAttentionShape *shape = &p->stack->layers[p->layer].self;
    PareSpan *spans = new_spans(p);
    if (!spans)
        return NULL;
    PareValue *q = pare_op_linear(p->r, x, &a->query);
    project_keys(p, x, a, (size_t)shape->kv_heads * shape->head_size, spans);
    const float *relative = p->stack->position == PARE_POSITION_RELATIVE
                                ? p->t->relatives->layers[p->index][p->layer]
                                : NULL;
    PareValue *y = attend(p, q, shape, spans, p->index == PARE_DECODER, relative);
    return pare_op_linear(p->r, y, &a->output);
}

static PareValue *cross_attention(const Place *p, PareValue *x) {
    const PareAttentionParams *a = &p->params->layers[p->layer].cross;
    const PareAttentionShape *shape = &p->stack->layers[p->layer].cross;
    size_t kv_cols = (size_t)shape->kv_heads * shape->head_size;
    PareSpan *spans = new_spans(p);
    if (!spans)
        return NULL;
    for (size_t i = 0; i < p->pass->sequence_count; i++) {
        const PareRows *s = &p->pass->sequences[i];
        spans[i] = (PareSpan){.q_begin = s->begin,
                              .q_count = s->count,
                              .k = p->pass->memory->k[p->layer] + s->memory_begin * kv_cols,
                              .v = p->pass->memory->v[p->layer] + s->memory_begin * kv_cols,
                              .keys = s->memory_count};
    }
    PareValue *q = pare_op_linear(p->r, x, &a->query);
    PareValue *y = attend(p, q, shape, spans, false, NULL);
    return pare_op_linear(p->r, y, &a->output);
}

static PareValue *feed_forward(const Place *p, PareValue *x) {
    const PareLayerParams *l = &p->params->layers[p->layer];
    PareValue *y = pare_op_linear(p->r, x, &l->in);
    if (p->stack->gated)
        pare_op_gate(p->r, y, pare_op_linear(p->r, x, &l->gate), p->stack->activation);
    else
        pare_op_activate(p->r, y, p->stack->activation);
    return pare_op_linear(p->r, y, &l->out);
}

typedef PareValue *(*Sublayer)(const Place *p, PareValue *x);

/* x + f(norm(x)), or norm(x + f(x)); what f allocated is given back. */
static void residual(const Place *p, PareValue *x, const PareNorm *norm, Sublayer f) {
    const PareStack *s = p->stack;
    PareArenaMark mark = pare_arena_mark(p->r->arena);
    PareValue *in = s->pre_norm ? pare_op_norm(p->r, x, s->norm, norm, s->norm_eps) : x;
    pare_op_add(p->r, x, f(p, in));
    if (!s->pre_norm)
        pare_op_norm_in_place(p->r, x, s->norm, norm, s->norm_eps);
    pare_arena_release(p->r->arena, mark);
}

static PareValue *embed(const Place *p) {
    const PareStack *s = p->stack;
    PareValue *x =
        pare_op_embed(p->r, p->params, s->embedding_scale, s->position_offset, &p->pass->tokens);
    if (s->embedding_norm)
        pare_op_norm_in_place(p->r, x, s->norm, &p->params->embed_norm, s->norm_eps);
    if (s->embedding_width != s->width)
        x = pare_op_linear(p->r, x, &p->params->projection);
    return x;
}

PareValue *pare_transformer_stack(PareRun *r, const PareTransformer *t, PareStackIndex s,
                                  const ParePass *pass) {
    const PareStack *stack = &t->d->stacks[s];
    Place p = {
        .r = r, .t = t, .stack = stack, .params = &t->p->stacks[s], .pass = pass, .index = s};
    PareValue *x = embed(&p);
    for (p.layer = 0; p.layer < stack->layer_count && !r->status; p.layer++) {
        const PareLayerShape *shape = &stack->layers[p.layer];
        const PareLayerParams *l = &p.params->layers[p.layer];
        if (shape->self.heads)
            residual(&p, x, &l->self.norm, self_attention);
        if (shape->cross.heads)
            residual(&p, x, &l->cross.norm, cross_attention);
        if (shape->ffn)
            residual(&p, x, &l->ffn_norm, feed_forward);
    }
    if (stack->final_norm)
        pare_op_norm_in_place(r, x, stack->norm, &p.params->norm, stack->norm_eps);
    return r->status ? NULL : x;
}

PareStatus pare_transformer_memory(PareRun *r, const PareTransformer *t, PareValue *encoded,
                                   PareKeyValues *out) {
    const PareStack *s = &t->d->stacks[PARE_DECODER];
    out->k = pare_arena_alloc(r->arena, s->layer_count, sizeof *out->k);
    out->v = pare_arena_alloc(r->arena, s->layer_count, sizeof *out->v);
    if (!out->k || !out->v)
        return r->status = pare_memory_error(r->err, "cross-attention");
    for (uint32_t l = 0; l < s->layer_count && !r->status; l++) {
        const PareAttentionParams *a = &t->p->stacks[PARE_DECODER].layers[l].cross;
        if (s->layers[l].cross.heads == 0)
            continue;
        PareValue *k = pare_op_linear(r, encoded, &a->key);
        PareValue *v = pare_op_linear(r, encoded, &a->value);
        if (k && v) {
            out->k[l] = k->data;
            out->v[l] = v->data;
        }
    }
    return r->status;
}

PareValue *pare_transformer_head(PareRun *r, const PareTransformer *t, PareValue *hidden) {
    const PareOutputHead *h = &t->d->head;
    const PareStack *top = &t->d->stacks[pare_description_top(t->d)];
    if (h->transform) {
        hidden = pare_op_linear(r, hidden, &t->p->transform);
        pare_op_activate(r, hidden, h->transform_activation);
        pare_op_norm_in_place(r, hidden, top->norm, &t->p->transform_norm, top->norm_eps);
    }
    pare_op_scale(r, hidden, h->scale);
    return pare_op_linear(r, hidden, &t->p->output);
}

PareValue *pare_transformer_pool(PareRun *r, const PareTransformer *t, const PareValue *hidden,
                                 const PareRows *sequences, size_t count) {
    const PareOutputHead *h = &t->d->head;
    uint32_t *rows = pare_arena_alloc_raw(r->arena, count, sizeof *rows);
    if (!rows) {
        r->status = pare_memory_error(r->err, "pooled rows");
        return NULL;
    }
    for (size_t i = 0; i < count; i++) {
        size_t last = h->pool == PARE_POOL_LAST ? sequences[i].count - 1 : 0;
        rows[i] = (uint32_t)(sequences[i].begin + last);
    }
    PareValue *x = pare_op_gather(r, hidden, rows, count);
    if (h->pool_dense) {
        x = pare_op_linear(r, x, &t->p->pool);
        pare_op_activate(r, x, h->pool_activation);
    }
    return x;
}
