/* Attention over packed rows: every (span, head, tile of query rows) is one piece of work. */
#include <math.h>
#include <string.h>

#include "runtime/ops.h"

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
} Job;

/* Biases depend on the distance alone: row r, key j reads distance j - (first_position + r). */
static void fill_bias(const Job *j, const PareSpan *s, size_t head, size_t first, size_t rows,
                      float *bias) {
    const float *middle = j->a->relative + head * (2 * j->a->reach + 1) + j->a->reach;
    for (size_t r = 0; r < rows; r++)
        memcpy(bias + r * s->keys, middle - (s->first_position + first + r),
               s->keys * sizeof *bias);
}

static void attend_tile(const Job *j, size_t tile, size_t head, float *scratch) {
    const PareAttentionShape *shape = &j->a->shape;
    const PareSpan *s = &j->spans[j->tile_span[tile]];
    size_t first = j->tile_first[tile], rows = s->q_count - first, D = shape->head_size;
    size_t q_cols = (size_t)shape->heads * D, kv_cols = (size_t)shape->kv_heads * D;
    size_t kv = head * shape->kv_heads / shape->heads;
    rows = rows < TILE ? rows : TILE;
    PareAttend call = {.q = j->q->data + (s->q_begin + first) * q_cols + head * D,
                       .out = j->out + (s->q_begin + first) * q_cols + head * D,
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

PareValue *pare_op_attention(PareRun *r, const PareValue *q, const PareSpan *spans, size_t count,
                             const PareAttention *a) {
    if (r->status || !q)
        return NULL;
    Job job = {.kernels = r->kernels, .q = q, .spans = spans, .a = a};
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
    return y;
}

/* The bucket of a distance, float arithmetic as in the reference implementation. */
static uint32_t bucket_of(int64_t distance, uint32_t buckets, uint32_t max_distance,
                          bool bidirectional) {
    uint32_t base = 0;
    uint64_t n;
    if (bidirectional) {
        buckets /= 2;
        base = distance > 0 ? buckets : 0;
        n = (uint64_t)(distance < 0 ? -distance : distance);
    } else {
        n = distance < 0 ? (uint64_t)-distance : 0;
    }
    uint32_t exact = buckets / 2;
    if (n < exact)
        return base + (uint32_t)n;
    float ratio = (float)log((double)((float)n / (float)exact)) /
                  (float)log((double)max_distance / (double)exact);
    float steps = ratio * (float)(buckets - exact); /* compared first: it may exceed any integer */
    uint32_t last = buckets - 1;
    return base + (steps < (float)(last - exact) ? exact + (uint32_t)steps : last);
}

PareStatus pare_relative_expand(const float *table, uint32_t buckets, uint32_t max_distance,
                                bool bidirectional, uint32_t heads, size_t reach, PareArena *arena,
                                const float **out, PareError *err) {
    float *expanded = pare_arena_alloc_raw(arena, (2 * reach + 1) * heads, sizeof *expanded);
    if (!expanded)
        return pare_memory_error(err, "relative positions");
    for (size_t i = 0; i <= 2 * reach; i++) {
        uint32_t b = bucket_of((int64_t)i - (int64_t)reach, buckets, max_distance, bidirectional);
        for (uint32_t h = 0; h < heads; h++)
            expanded[h * (2 * reach + 1) + i] = table[(size_t)b * heads + h];
    }
    *out = expanded;
    return PARE_OK;
}
