/* Relative positions: a learned bias by bucketed distance (Raffel et al. 2020), expanded to one by
 * distance. */
#include <math.h>

#include "runtime/ops_impl.h"

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

typedef struct {
    PareNode node;
    float *dtable; /* of the parameters: [buckets, heads] */
    uint32_t buckets, max_distance, heads;
    bool bidirectional;
    size_t reach;
    PareGrad *dy;
} RelativeNode;

static void relative_backward(PareRun *r, PareNode *node) {
    RelativeNode *n = (RelativeNode *)node;
    size_t distances = 2 * n->reach + 1;
    for (size_t i = 0; n->dy->data && i < distances; i++) {
        uint32_t b = bucket_of((int64_t)i - (int64_t)n->reach, n->buckets, n->max_distance,
                               n->bidirectional);
        for (uint32_t h = 0; h < n->heads; h++)
            n->dtable[(size_t)b * n->heads + h] += n->dy->data[h * distances + i];
    }
    pare_grad_close(r, n->dy);
}

const float *pare_op_relative(PareRun *r, const float *table, uint32_t buckets,
                              uint32_t max_distance, bool bidirectional, uint32_t heads,
                              size_t reach, PareGrad **grad) {
    const float *expanded = NULL;
    *grad = NULL;
    if (r->status)
        return NULL;
    r->status = pare_relative_expand(table, buckets, max_distance, bidirectional, heads, reach,
                                     r->arena, &expanded, r->err);
    float *dtable = pare_tape_param(r, table);
    RelativeNode *n = dtable ? pare_tape_record(r, sizeof *n, relative_backward) : NULL;
    if (!n)
        return expanded;
    n->dtable = dtable;
    n->buckets = buckets;
    n->max_distance = max_distance;
    n->bidirectional = bidirectional;
    n->heads = heads;
    n->reach = reach;
    n->dy = *grad = pare_tape_grad(r, heads * (2 * reach + 1));
    return expanded;
}
