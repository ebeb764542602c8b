/* The one model function. */
#include "runtime/transformer.h"

#include <string.h>

#include "core/random.h"
#include "runtime/ops_impl.h"

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

/* Keys and values as a sublayer's attention reads them. */
typedef struct {
    PareValue *key, *value; /* NULL when they lie in a cache */
    PareSpan *spans;
} KeyValues;

static PareValue *attend(const Place *p, PareValue *q, const PareAttentionShape *shape,
                         const KeyValues *kv, bool causal, bool relative) {
    PareAttention a = {.shape = *shape, .causal = causal, .key = kv->key, .value = kv->value};
    const PareRelatives *relatives = p->t->relatives;
    if (relative) {
        a.relative = relatives->layers[p->index][p->layer];
        a.reach = relatives->reach;
        a.relative_grad = relatives->grads[p->index] ? relatives->grads[p->index][p->layer] : NULL;
    }
    return pare_op_attention(p->r, q, kv->spans, p->pass->sequence_count, &a);
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
                         KeyValues *kv) {
    const ParePass *pass = p->pass;
    float *k, *v;
    if (pass->cache) {
        k = pass->cache->k[p->layer];
        v = pass->cache->v[p->layer];
        pare_op_linear_into(p->r, x, &a->key, k + pass->cache_base * kv_cols);
        pare_op_linear_into(p->r, x, &a->value, v + pass->cache_base * kv_cols);
    } else {
        kv->key = pare_op_linear(p->r, x, &a->key);
        kv->value = pare_op_linear(p->r, x, &a->value);
        if (!kv->key || !kv->value)
            return;
        k = kv->key->data;
        v = kv->value->data;
    }
    for (size_t i = 0; i < pass->sequence_count; i++) {
        const PareRows *s = &pass->sequences[i];
        size_t first = pass->cache ? 0 : s->begin * kv_cols;
        kv->spans[i] = (PareSpan){.q_begin = s->begin,
                                  .q_count = s->count,
                                  .k = k + first,
                                  .v = v + first,
                                  .slots = pass->cache ? s->slots : NULL,
                                  .keys = pass->cache ? s->first_position + s->count : s->count,
                                  .first_position = pass->cache ? s->first_position : 0};
    }
}

/* Hands over a value of the inside, for a loss on it. */
static void tap(const Place *p, PareValue **list, size_t index, PareValue *x) {
    if (list)
        list[index] = pare_op_tap(p->r, x);
}

static void probe(const Place *p, ParePoint point, PareValue *x) {
    const ParePass *pass = p->pass;
    const PareProbe *wanted =
        pass->probes ? pass->probes(pass->probes_context, p->index, p->layer, point) : NULL;
    if (wanted)
        pare_op_probe(p->r, x, wanted);
}

static PareValue *self_attention(const Place *p, PareValue *x) {
    const PareAttentionParams *a = &p->params->layers[p->layer].self;
    const PareAttentionShape *shape = &p->stack->layers[p->layer].self;
    const PareTaps *taps = p->pass->taps;
    KeyValues kv = {.spans = new_spans(p)};
    if (!kv.spans)
        return NULL;
    PareValue *q = pare_op_linear(p->r, x, &a->query);
    project_keys(p, x, a, (size_t)shape->kv_heads * shape->head_size, &kv);
    tap(p, taps ? taps->query : NULL, p->layer, q);
    tap(p, taps ? taps->key : NULL, p->layer, kv.key);
    PareValue *y = attend(p, q, shape, &kv, p->index == PARE_DECODER,
                          p->stack->position == PARE_POSITION_RELATIVE);
    probe(p, PARE_POINT_SELF, y);
    return y;
}

static PareValue *cross_attention(const Place *p, PareValue *x) {
    const PareAttentionParams *a = &p->params->layers[p->layer].cross;
    const PareAttentionShape *shape = &p->stack->layers[p->layer].cross;
    const PareKeyValues *memory = p->pass->memory;
    size_t kv_cols = (size_t)shape->kv_heads * shape->head_size;
    KeyValues kv = {.spans = new_spans(p)};
    if (!kv.spans)
        return NULL;
    if (memory->key) {
        kv.key = memory->key[p->layer];
        kv.value = memory->value[p->layer];
    }
    for (size_t i = 0; i < p->pass->sequence_count; i++) {
        const PareRows *s = &p->pass->sequences[i];
        kv.spans[i] = (PareSpan){.q_begin = s->begin,
                                 .q_count = s->count,
                                 .k = memory->k[p->layer] + s->memory_begin * kv_cols,
                                 .v = memory->v[p->layer] + s->memory_begin * kv_cols,
                                 .keys = s->memory_count};
    }
    PareValue *q = pare_op_linear(p->r, x, &a->query);
    PareValue *y = attend(p, q, shape, &kv, false, false);
    probe(p, PARE_POINT_CROSS, y);
    return y;
}

static float dropout_of(const PareRun *r) {
    return r->noise ? r->noise->dropout : 0;
}

static PareValue *feed_forward(const Place *p, PareValue *x) {
    const PareLayerParams *l = &p->params->layers[p->layer];
    PareValue *y = pare_op_linear(p->r, x, &l->in);
    probe(p, PARE_POINT_FFN_IN, y);
    if (p->stack->gated)
        pare_op_gate(p->r, y, pare_op_linear(p->r, x, &l->gate), p->stack->activation);
    else
        pare_op_activate(p->r, y, p->stack->activation);
    probe(p, PARE_POINT_FFN, y);
    pare_op_dropout(p->r, y, p->r->noise ? p->r->noise->activation : 0);
    return y;
}

/* Each gives what the sublayer's last matrix reads. */
typedef PareValue *(*Inside)(const Place *p, PareValue *x);
static const Inside insides[PARE_SUBLAYERS] = {self_attention, cross_attention, feed_forward};

PareSublayerParams pare_transformer_sublayer(const PareLayerParams *l, PareSublayer which) {
    switch (which) {
    case PARE_SUBLAYER_SELF:
        return (PareSublayerParams){&l->self.norm, &l->self.output};
    case PARE_SUBLAYER_CROSS:
        return (PareSublayerParams){&l->cross.norm, &l->cross.output};
    case PARE_SUBLAYER_FFN:
    case PARE_SUBLAYERS:
        break;
    }
    return (PareSublayerParams){&l->ffn_norm, &l->out};
}

static PareValue *inside(const Place *p, PareSublayer which, PareValue *x) {
    const PareStack *s = p->stack;
    const PareNorm *norm = pare_transformer_sublayer(&p->params->layers[p->layer], which).norm;
    return insides[which](p, s->pre_norm ? pare_op_norm(p->r, x, s->norm, norm, s->norm_eps) : x);
}

/* x + f(norm(x)), or norm(x + f(x)); what f allocated is given back, unless somebody needs it. */
static void residual(const Place *p, PareSublayer which, PareValue *x) {
    const PareStack *s = p->stack;
    PareArenaMark mark = pare_arena_mark(p->r->arena);
    PareSublayerParams params = pare_transformer_sublayer(&p->params->layers[p->layer], which);
    PareValue *y = pare_op_linear(p->r, inside(p, which, x), params.output);
    pare_op_dropout(p->r, y, dropout_of(p->r));
    pare_op_add(p->r, x, y);
    if (!s->pre_norm)
        pare_op_norm_in_place(p->r, x, s->norm, params.norm, s->norm_eps);
    bool tapped = which == PARE_SUBLAYER_SELF && p->pass->taps && p->pass->taps->query;
    if (!p->r->tape && !tapped)
        pare_arena_release(p->r->arena, mark);
}

static void run_layer(const Place *p, PareValue *x) {
    const PareLayerShape *shape = &p->stack->layers[p->layer];
    if (shape->self.heads)
        residual(p, PARE_SUBLAYER_SELF, x);
    if (shape->cross.heads)
        residual(p, PARE_SUBLAYER_CROSS, x);
    if (shape->ffn)
        residual(p, PARE_SUBLAYER_FFN, x);
}

/* -- layers that are computed again instead of stored -- */

typedef struct {
    PareNode node;
    Place place;
    PareValue x; /* the layer's input */
    PareGrad *dy;
    uint32_t noise_place;
    size_t noise_base;
} LayerNode;

static void layer_backward(PareRun *r, PareNode *node) {
    LayerNode *n = (LayerNode *)node;
    if (!n->dy->data)
        return;
    PareArenaMark mark = pare_arena_mark(r->arena);
    PareNode *outer = pare_tape_suspend(r);
    PareValue x = n->x;
    PareGrad *dx = x.grad = pare_tape_grad(r, x.rows * x.cols);
    n->place.r = r;
    if (r->noise) {
        r->noise->place = n->noise_place;
        r->noise->base = n->noise_base;
    }
    run_layer(&n->place, &x);
    pare_grad_move(r, n->dy, x.grad);
    pare_tape_backward(r);
    pare_grad_move(r, dx, n->x.grad);
    pare_tape_resume(r, outer);
    pare_arena_release(r->arena, mark);
}

static void run_layer_lightly(const Place *p, PareValue *x) {
    PareRun *r = p->r;
    PareTape *tape = r->tape;
    LayerNode *n = pare_tape_record(r, sizeof *n, layer_backward);
    PareGrad *dy = pare_tape_grad(r, x->rows * x->cols);
    float *y = r->status ? NULL : pare_op_renew(r, x);
    if (!n || !dy || !y)
        return;
    *n = (LayerNode){.node = n->node, .place = *p, .x = *x, .dy = dy};
    if (r->noise) {
        n->noise_place = r->noise->place;
        n->noise_base = r->noise->base;
    }
    memcpy(y, x->data, x->rows * x->cols * sizeof *y);
    *x = (PareValue){.data = y, .rows = x->rows, .cols = x->cols};
    r->tape = NULL;
    run_layer(p, x);
    r->tape = tape;
    x->grad = dy;
}

/* LayerDrop: in training a layer is left out with some probability. */
static bool layer_dropped(PareRun *r) {
    PareNoise *n = r->noise;
    return n && n->layer_drop > 0 &&
           pare_random_float(n->seed, pare_noise_stream(n), 0) < n->layer_drop;
}

static PareValue *embed(const Place *p) {
    const PareStack *s = p->stack;
    PareValue *x =
        pare_op_embed(p->r, p->params, s->embedding_scale, s->position_offset, &p->pass->tokens);
    if (s->embedding_norm)
        pare_op_norm_in_place(p->r, x, s->norm, &p->params->embed_norm, s->norm_eps);
    pare_op_dropout(p->r, x, dropout_of(p->r));
    if (s->embedding_width != s->width)
        x = pare_op_linear(p->r, x, &p->params->projection);
    return x;
}

static Place place_of(PareRun *r, const PareTransformer *t, PareStackIndex s,
                      const ParePass *pass) {
    return (Place){.r = r,
                   .t = t,
                   .stack = &t->d->stacks[s],
                   .params = &t->p->stacks[s],
                   .pass = pass,
                   .index = s};
}

PareValue *pare_transformer_embed(PareRun *r, const PareTransformer *t, PareStackIndex s,
                                  const ParePass *pass) {
    Place p = place_of(r, t, s, pass);
    return embed(&p);
}

PareValue *pare_transformer_inside(PareRun *r, const PareTransformer *t, PareStackIndex s,
                                   const ParePass *pass, uint32_t layer, PareSublayer which,
                                   PareValue *x) {
    Place p = place_of(r, t, s, pass);
    p.layer = layer;
    return inside(&p, which, x);
}

PareValue *pare_transformer_stack(PareRun *r, const PareTransformer *t, PareStackIndex s,
                                  const ParePass *pass) {
    const PareStack *stack = &t->d->stacks[s];
    PareValue **hidden = pass->taps ? pass->taps->hidden : NULL;
    Place p = place_of(r, t, s, pass);
    if (r->noise)
        r->noise->base = r->noise->row_base[s];
    PareValue *x = embed(&p);
    tap(&p, hidden, 0, x);
    for (p.layer = 0; p.layer < stack->layer_count && !r->status; p.layer++) {
        probe(&p, PARE_POINT_LAYER_IN, x);
        if (!layer_dropped(r)) {
            if (r->tape && pass->recompute)
                run_layer_lightly(&p, x);
            else
                run_layer(&p, x);
        }
        probe(&p, PARE_POINT_LAYER, x);
        tap(&p, hidden, p.layer + 1, x);
    }
    if (stack->final_norm)
        pare_op_norm_in_place(r, x, stack->norm, &p.params->norm, stack->norm_eps);
    return r->status ? NULL : x;
}

/* Layers that share a table share what is made of it. */
static void stack_relatives(PareRun *r, const PareStack *d, const PareStackParams *p, bool encoder,
                            const float **layers, PareGrad **grads, size_t reach) {
    for (uint32_t l = 0; l < d->layer_count && !r->status; l++) {
        const float *table = p->layers[l].self.relative;
        if (l > 0 && table == p->layers[l - 1].self.relative) {
            layers[l] = layers[l - 1];
            grads[l] = grads[l - 1];
        } else if (table) {
            layers[l] = pare_op_relative(r, table, d->relative_buckets, d->relative_max_distance,
                                         encoder, d->layers[l].self.heads, reach, &grads[l]);
        }
    }
}

PareStatus pare_transformer_relatives(PareRun *r, const PareDescription *d, const PareParams *p,
                                      size_t reach, PareRelatives *out) {
    *out = (PareRelatives){.reach = reach};
    for (int s = 0; s < PARE_STACKS && !r->status; s++) {
        const PareStack *stack = &d->stacks[s];
        if (!stack->present || stack->position != PARE_POSITION_RELATIVE)
            continue;
        out->layers[s] = pare_arena_alloc(r->arena, stack->layer_count, sizeof *out->layers[s]);
        out->grads[s] = pare_arena_alloc(r->arena, stack->layer_count, sizeof *out->grads[s]);
        if (!out->layers[s] || !out->grads[s])
            r->status = pare_memory_error(r->err, "relative positions");
        else
            stack_relatives(r, stack, &p->stacks[s], s == PARE_ENCODER, out->layers[s],
                            out->grads[s], reach);
    }
    return r->status;
}

PareStatus pare_transformer_memory(PareRun *r, const PareTransformer *t, PareValue *encoded,
                                   PareKeyValues *out) {
    const PareStack *s = &t->d->stacks[PARE_DECODER];
    out->k = pare_arena_alloc(r->arena, s->layer_count, sizeof *out->k);
    out->v = pare_arena_alloc(r->arena, s->layer_count, sizeof *out->v);
    out->key = pare_arena_alloc(r->arena, s->layer_count, sizeof *out->key);
    out->value = pare_arena_alloc(r->arena, s->layer_count, sizeof *out->value);
    if (!out->k || !out->v || !out->key || !out->value)
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
            out->key[l] = k;
            out->value[l] = v;
        }
    }
    return r->status;
}

PareValue *pare_transformer_head_input(PareRun *r, const PareTransformer *t, PareValue *hidden) {
    const PareOutputHead *h = &t->d->head;
    const PareStack *top = &t->d->stacks[pare_description_top(t->d)];
    if (h->transform) {
        hidden = pare_op_linear(r, hidden, &t->p->transform);
        pare_op_activate(r, hidden, h->transform_activation);
        pare_op_norm_in_place(r, hidden, top->norm, &t->p->transform_norm, top->norm_eps);
    }
    pare_op_scale(r, hidden, h->scale);
    return hidden;
}

PareValue *pare_transformer_head(PareRun *r, const PareTransformer *t, PareValue *hidden) {
    return pare_op_linear(r, pare_transformer_head_input(r, t, hidden), &t->p->output);
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
    if (r->noise)
        r->noise->base = r->noise->sequence_base;
    pare_op_dropout(r, x, dropout_of(r));
    return x;
}
