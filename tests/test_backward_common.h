/* What the tests of gradients share: a block of tensors with a tape over it, and the comparison of
 * its gradients with differences.
 *
 * A gradient is compared along directions: d/dt f(x + t v) by central differences of fourth order
 * against <gradient, v>, for one tensor of the block at a time. Half of v points where the gradient
 * does, which makes the derivative large; the other half is random, so that whatever is missing
 * from the gradient shows. */
#ifndef PARE_TESTS_TEST_BACKWARD_COMMON_H
#define PARE_TESTS_TEST_BACKWARD_COMMON_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "core/random.h"
#include "runtime/blas.h"
#include "runtime/ops.h"

enum { MAX_TENSORS = 160, BLOCK_ALIGN = 16 };

typedef struct {
    size_t count, tensor_count; /* floats, with the gaps between tensors; tensors */
    PareTapeRange ranges[MAX_TENSORS];
    const char *names[MAX_TENSORS]; /* NULL: no name */
    float *values, *grads;
    PareTape *tape;
    PareArena *arena;
    ParePool *pool; /* NULL: one thread */
    PareError err;
} Block;

static inline void no_error(PareStatus st, const PareError *err) {
    if (st)
        fail_msg("%s", err->message);
}

/* A standard normal number, or nearly: the sum of twelve uniform ones. */
static inline float normal(uint64_t stream, uint64_t index) {
    double sum = -6;
    for (uint64_t i = 0; i < 3; i++) {
        uint32_t words[4];
        pare_random_block(77, stream, 3 * index + i, words);
        for (size_t k = 0; k < 4; k++)
            sum += (double)words[k] / 4294967296.0;
    }
    return (float)sum;
}

static inline size_t block_add(Block *b, const char *name, size_t count) {
    assert_true(b->tensor_count < MAX_TENSORS);
    size_t offset = b->count;
    b->names[b->tensor_count] = name;
    b->ranges[b->tensor_count++] = (PareTapeRange){offset, count, true};
    b->count += (count + BLOCK_ALIGN - 1) / BLOCK_ALIGN * BLOCK_ALIGN;
    return offset;
}

/* After all tensors were added: their values are normal times `size`. */
static inline void block_begin(Block *b, float size) {
    pare_blas_init();
    b->values = pare_alloc(b->count, sizeof *b->values);
    b->grads = pare_alloc(b->count, sizeof *b->grads);
    b->arena = pare_arena_create(1 << 16);
    assert_true(b->values && b->grads && b->arena);
    for (size_t t = 0; t < b->tensor_count; t++)
        for (size_t i = 0; i < b->ranges[t].count; i++)
            b->values[b->ranges[t].offset + i] = size * normal(t, i);
    no_error(pare_tape_create(b->values, b->grads, b->ranges, b->tensor_count, &b->tape, &b->err),
             &b->err);
}

static inline void block_end(Block *b) {
    pare_tape_destroy(b->tape);
    pare_arena_destroy(b->arena);
    pare_pool_destroy(b->pool);
    pare_free(b->values);
    pare_free(b->grads);
}

static inline void block_threads(Block *b, size_t threads) {
    pare_pool_destroy(b->pool);
    b->pool = NULL;
    if (threads > 1)
        no_error(pare_pool_create(threads, &b->pool, &b->err), &b->err);
}

static inline PareRun block_run(Block *b, bool tape) {
    pare_arena_release(b->arena, (PareArenaMark){0});
    return (PareRun){.kernels = pare_kernels(),
                     .pool = b->pool,
                     .arena = b->arena,
                     .tape = tape ? b->tape : NULL,
                     .err = &b->err};
}

static inline void block_zero(Block *b) {
    memset(b->grads, 0, b->count * sizeof *b->grads);
}

static inline float *block_copy(const Block *b, const float *from) {
    float *copy = pare_alloc(b->count, sizeof *copy);
    assert_non_null(copy);
    memcpy(copy, from, b->count * sizeof *copy);
    return copy;
}

static inline void assert_bits(const char *what, const float *a, const float *b, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (memcmp(&a[i], &b[i], sizeof *a) != 0)
            fail_msg("%s: number %zu of %zu is %.9g and %.9g", what, i, count, (double)a[i],
                     (double)b[i]);
}

static inline double norm_of(const float *x, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += (double)x[i] * x[i];
    return sqrt(sum);
}

/* What is differentiated: the function's value at the block's values, without a tape. */
typedef double (*Function)(void *context);

typedef struct {
    Function f;
    void *context;
    Block *b;
    double step;      /* the length of the smaller difference */
    double tolerance; /* relative to the gradient of the tensor */
    double floor;     /* what rounding may do to a derivative along a vector of length 1 */
} Differences;

static inline double along(const Differences *d, size_t t, const float *at, const float *v,
                           double step) {
    const PareTapeRange *r = &d->b->ranges[t];
    for (size_t i = 0; i < r->count; i++)
        d->b->values[r->offset + i] = (float)((double)at[i] + step * (double)v[i]);
    double value = d->f(d->context);
    memcpy(d->b->values + r->offset, at, r->count * sizeof *at);
    return value;
}

/* A vector of length 1 between the gradient's direction and a random one. */
static inline void direction(const float *grad, size_t count, uint64_t stream, float *v) {
    double size = norm_of(grad, count), dot = 0;
    for (size_t i = 0; i < count; i++) {
        v[i] = normal(stream, i);
        dot += (double)v[i] * grad[i];
    }
    double length = dot < 0 ? -norm_of(v, count) : norm_of(v, count);
    for (size_t i = 0; i < count; i++)
        v[i] = (float)((double)v[i] / length + (size > 0 ? (double)grad[i] / size : 0));
    length = norm_of(v, count);
    for (size_t i = 0; i < count; i++)
        v[i] = (float)((double)v[i] / length);
}

/* `grads` of tensor t against differences along two vectors. */
static inline void check_tensor(const Differences *d, const char *what, size_t t,
                                const float *grads) {
    const PareTapeRange *r = &d->b->ranges[t];
    const float *g = grads + r->offset;
    float *at = block_copy(d->b, d->b->values), *v = pare_alloc(r->count, sizeof *v);
    assert_non_null(v);
    for (uint64_t k = 0; k < 2; k++) {
        direction(g, r->count, 1000 * (t + 1) + k, v);
        double dot = 0, h = d->step;
        for (size_t i = 0; i < r->count; i++)
            dot += (double)g[i] * v[i];
        double near = along(d, t, at + r->offset, v, h) - along(d, t, at + r->offset, v, -h);
        double far = along(d, t, at + r->offset, v, 2 * h) - along(d, t, at + r->offset, v, -2 * h);
        double slope = (8 * near - far) / (12 * h);
        double limit = d->tolerance * norm_of(g, r->count) + d->floor;
        if (!(fabs(slope - dot) <= limit))
            fail_msg("%s, tensor %zu %s: differences say %.9g, the gradient %.9g (limit %.1e)",
                     what, t, d->b->names[t] ? d->b->names[t] : "", slope, dot, limit);
    }
    pare_free(at);
    pare_free(v);
}

#endif
