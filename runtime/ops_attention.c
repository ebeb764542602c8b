/* Attention over packed rows: every (span, head, tile of query rows) is one piece of work. */
#include <string.h>

#include "runtime/ops_impl.h"

enum { TILE = 32, INLINE_WORK = 1 << 14 };

typedef struct {
    const PareKernels *kernels;
    const PareValue *q;
    float *out;
    const PareSpan *spans;
    const uint32_t *tile_span;  /* which span a tile belongs to */
    const uint32_t *tile_first; /* its first query row within the span */
    const PareAttention *a;
    float *scratch; /* per thread: TILE * longest scores, then as much for the biases */
    size_t longest;
    const PareDropout *dropout; /* of the probabilities; NULL: none */
    size_t base;                /* of the first row in the whole batch */
} Job;

/* A row of probabilities has this many places in a draw, more than any sequence has keys. */
enum { DROPOUT_KEYS_LOG2 = 20 };

/* Biases depend on the distance alone: row r, key j reads distance j - (first_position + r). */
static void fill_bias(const Job *j, const PareSpan *s, size_t head, size_t first, size_t rows,
                      float *bias) {
    const float *middle = j->a->relative + head * (2 * j->a->reach + 1) + j->a->reach;
    for (size_t r = 0; r < rows; r++)
        memcpy(bias + r * s->keys, middle - (s->first_position + first + r),
               s->keys * sizeof *bias);
}

/* The call for `rows` query rows of a span from row `first` of it on, and one head. */
static PareAttend attend_call(const Job *j, const PareSpan *s, size_t first, size_t rows,
                              size_t head, float *scratch) {
    const PareAttentionShape *shape = &j->a->shape;
    size_t D = shape->head_size, kv = head * shape->kv_heads / shape->heads;
    size_t q_cols = (size_t)shape->heads * D, kv_cols = (size_t)shape->kv_heads * D;
    PareAttend call = {.q = j->q->data + (s->q_begin + first) * q_cols + head * D,
                       .k = s->k + kv * D,
                       .v = s->v + kv * D,
                       .slots = s->slots,
                       .q_stride = q_cols,
                       .out_stride = q_cols,
                       .k_stride = kv_cols,
                       .v_stride = kv_cols,
                       .rows = rows,
                       .keys = s->keys,
                       .D = D,
                       .causal = j->a->causal,
                       .causal_offset = s->first_position + first,
                       .window = shape->window,
                       .scale = shape->scale,
                       .scratch = scratch};
    if (j->dropout) {
        size_t row = j->base + s->q_begin + first;
        call.dropout = j->dropout;
        call.dropout_index = (uint64_t)(row * shape->heads + head) << DROPOUT_KEYS_LOG2;
        call.dropout_stride = (uint64_t)shape->heads << DROPOUT_KEYS_LOG2;
    }
    return call;
}

static size_t tile_rows(const PareSpan *s, size_t first) {
    return s->q_count - first < TILE ? s->q_count - first : TILE;
}

static void attend_tile(const Job *j, size_t tile, size_t head, float *scratch) {
    const PareSpan *s = &j->spans[j->tile_span[tile]];
    size_t first = j->tile_first[tile], rows = tile_rows(s, first);
    PareAttend call = attend_call(j, s, first, rows, head, scratch);
    call.out = j->out + (call.q - j->q->data);
    if (j->a->relative) {
        float *bias = scratch + TILE * j->longest;
        fill_bias(j, s, head, first, rows, bias);
        call.bias = bias;
        call.bias_stride = s->keys;
    }
    j->kernels->attend(&call);
}

static void attend(void *context, size_t begin, size_t end, size_t thread) {
    const Job *j = context;
    size_t heads = j->a->shape.heads;
    float *scratch = j->scratch + thread * 2 * TILE * j->longest;
    for (size_t i = begin; i < end; i++)
        attend_tile(j, i / heads, i % heads, scratch);
}

static size_t count_tiles(const PareSpan *spans, size_t count, size_t *longest, size_t *work) {
    size_t tiles = 0;
    *longest = 1;
    *work = 0;
    for (size_t i = 0; i < count; i++) {
        tiles += (spans[i].q_count + TILE - 1) / TILE;
        *longest = spans[i].keys > *longest ? spans[i].keys : *longest;
        *work += spans[i].q_count * spans[i].keys;
    }
    return tiles;
}

/* -- backward: every (span, key/value head) is one piece of work, so that each gradient has one
 * writer who adds in order -- */

typedef struct {
    PareNode node;
    PareValue q;
    const float *k, *v; /* the first rows of the values that keys and values lie in */
    const PareSpan *spans;
    size_t span_count, longest;
    PareAttention a;
    PareDropout dropout;
    bool drops;
    size_t base;
    PareGrad *dq, *dk, *dv, *dy;
} AttentionNode;

typedef struct {
    Job forward;
    const AttentionNode *n;
    float *dq, *dk, *dv;
    float *relative; /* [spans, heads, 2 * reach + 1]: each span's gradient of the biases */
} BackwardJob;

/* What a tile says about biases, by distance. */
static void gather_bias(const BackwardJob *j, size_t span, size_t head, size_t first, size_t rows,
                        const float *dbias) {
    const PareSpan *s = &j->n->spans[span];
    size_t distances = 2 * j->n->a.reach + 1;
    float *out = j->relative + (span * j->n->a.shape.heads + head) * distances + j->n->a.reach;
    for (size_t r = 0; r < rows; r++) {
        float *to = out - (s->first_position + first + r);
        for (size_t k = 0; k < s->keys; k++)
            to[k] += dbias[r * s->keys + k];
    }
}

static void backward_tile(const BackwardJob *j, size_t span, size_t head, size_t first,
                          float *scratch) {
    const AttentionNode *n = j->n;
    const PareSpan *s = &n->spans[span];
    size_t rows = tile_rows(s, first), area = TILE * n->longest;
    PareAttendBackward b = {.forward = attend_call(&j->forward, s, first, rows, head, NULL),
                            .scratch = scratch};
    size_t q = (size_t)(b.forward.q - n->q.data);
    b.dout = n->dy->data + q;
    b.dq = j->dq ? j->dq + q : NULL;
    b.dk = j->dk ? j->dk + (b.forward.k - n->k) : NULL;
    b.dv = j->dv ? j->dv + (b.forward.v - n->v) : NULL;
    if (n->a.relative) {
        float *bias = scratch + 2 * area;
        fill_bias(&j->forward, s, head, first, rows, bias);
        b.forward.bias = bias;
        b.forward.bias_stride = s->keys;
        b.dbias = j->relative ? bias + area : NULL;
    }
    if (b.dbias)
        memset(b.dbias, 0, rows * s->keys * sizeof *b.dbias);
    j->forward.kernels->attend_backward(&b);
    if (b.dbias)
        gather_bias(j, span, head, first, rows, b.dbias);
}

static void attend_backward(void *context, size_t begin, size_t end, size_t thread) {
    const BackwardJob *j = context;
    const PareAttentionShape *shape = &j->n->a.shape;
    size_t group = shape->heads / shape->kv_heads;
    float *scratch = j->forward.scratch + thread * 4 * TILE * j->n->longest;
    for (size_t i = begin; i < end; i++) {
        size_t span = i / shape->kv_heads, kv = i % shape->kv_heads;
        for (size_t head = kv * group; head < (kv + 1) * group; head++)
            for (size_t at = 0; at < j->n->spans[span].q_count; at += TILE)
                backward_tile(j, span, head, at, scratch);
    }
}

static void fold_relative(PareRun *r, const AttentionNode *n, const float *parts) {
    size_t size = n->a.shape.heads * (2 * n->a.reach + 1);
    float *out = pare_grad_open(r, n->a.relative_grad, NULL);
    for (size_t i = 0; out && i < n->span_count; i++)
        r->kernels->add(out, out, parts + i * size, size);
}

static void attention_backward(PareRun *r, PareNode *node) {
    AttentionNode *n = (AttentionNode *)node;
    const PareAttentionShape *shape = &n->a.shape;
    BackwardJob job = {.n = n};
    if (!n->dy->data)
        return;
    PareArenaMark mark = pare_arena_mark(r->arena);
    job.forward = (Job){.kernels = r->kernels,
                        .q = &n->q,
                        .spans = n->spans,
                        .a = &n->a,
                        .dropout = n->drops ? &n->dropout : NULL,
                        .base = n->base};
    job.dq = pare_grad_open(r, n->dq, NULL);
    job.dk = pare_grad_open(r, n->dk, NULL);
    job.dv = pare_grad_open(r, n->dv, NULL);
    job.forward.scratch = pare_arena_alloc_raw(
        r->arena, 4 * TILE * pare_pool_threads(r->pool) * n->longest, sizeof(float));
    if (n->a.relative_grad)
        job.relative = pare_arena_alloc(
            r->arena, n->span_count * shape->heads * (2 * n->a.reach + 1), sizeof(float));
    if (!job.forward.scratch || (n->a.relative_grad && !job.relative))
        r->status = r->status ? r->status : pare_memory_error(r->err, "gradients of attention");
    if (!r->status)
        pare_pool_for(r->pool, n->span_count * shape->kv_heads, 1, attend_backward, &job);
    if (job.relative && !r->status)
        fold_relative(r, n, job.relative);
    pare_arena_release(r->arena, mark);
    pare_grad_close(r, n->dy);
}

static void record_attention(PareRun *r, const Job *job, PareValue *y, size_t count) {
    const PareAttention *a = job->a;
    bool wanted = job->q->grad || (a->key && a->key->grad) || (a->value && a->value->grad) ||
                  a->relative_grad;
    AttentionNode *n = wanted ? pare_tape_record(r, sizeof *n, attention_backward) : NULL;
    if (!n)
        return;
    n->q = *job->q;
    n->k = a->key->data;
    n->v = a->value->data;
    n->spans = job->spans;
    n->span_count = count;
    n->longest = job->longest;
    n->a = *a;
    n->drops = job->dropout != NULL;
    if (n->drops)
        n->dropout = *job->dropout;
    n->base = job->base;
    n->dq = job->q->grad;
    n->dk = a->key->grad;
    n->dv = a->value->grad;
    n->dy = y->grad = pare_tape_grad(r, y->rows * y->cols);
}

PareValue *pare_op_attention(PareRun *r, const PareValue *q, const PareSpan *spans, size_t count,
                             const PareAttention *a) {
    if (r->status || !q)
        return NULL;
    Job job = {.kernels = r->kernels, .q = q, .spans = spans, .a = a};
    PareDropout draw;
    if (r->noise && pare_noise_dropout(r, r->noise->attention, &draw)) {
        job.dropout = &draw;
        job.base = r->noise->base;
    }
    size_t work, tiles = count_tiles(spans, count, &job.longest, &work);
    PareValue *y = pare_op_new(r, q->rows, q->cols);
    PareArenaMark mark = pare_arena_mark(r->arena);
    uint32_t *span = pare_arena_alloc_raw(r->arena, tiles, sizeof *span);
    uint32_t *first = pare_arena_alloc_raw(r->arena, tiles, sizeof *first);
    size_t threads = pare_pool_threads(r->pool), floats;
    if (!pare_size_mul(2 * TILE * threads, job.longest, &floats))
        floats = SIZE_MAX;
    job.scratch = pare_arena_alloc_raw(r->arena, floats, sizeof *job.scratch);
    if (!y || !span || !first || !job.scratch) {
        r->status = r->status ? r->status : pare_memory_error(r->err, "attention scores");
        return NULL;
    }
    size_t t = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t at = 0; at < spans[i].q_count; at += TILE, t++) {
            span[t] = (uint32_t)i;
            first[t] = (uint32_t)at;
        }
    job.tile_span = span;
    job.tile_first = first;
    job.out = y->data;
    bool small = work * q->cols < INLINE_WORK;
    pare_pool_for(small ? NULL : r->pool, tiles * a->shape.heads, 1, attend, &job);
    pare_arena_release(r->arena, mark);
    record_attention(r, &job, y, count);
    return y;
}
