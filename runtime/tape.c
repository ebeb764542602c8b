/* The tape and the memory of gradients. */
#include "runtime/tape.h"

#include <string.h>

#include "runtime/ops.h"

/* Buffers that no gradient uses at the moment. A pass has few sizes, so that few are needed. */
enum { FREE_BUFFERS = 64 };

typedef struct {
    float *data;
    size_t count;
} Buffer;

struct PareTape {
    PareNode *last;
    const float *params;
    float *grads;
    const PareTapeRange *ranges;
    size_t range_count;
    int32_t padding;
    Buffer free[FREE_BUFFERS];
    size_t free_count;
    Buffer *used; /* what gradients hold now */
    size_t used_count, used_capacity;
    size_t bytes, peak;
};

PareStatus pare_tape_create(const float *params, float *grads, const PareTapeRange *ranges,
                            size_t count, PareTape **out, PareError *err) {
    PareTape *t = pare_alloc(1, sizeof *t);
    *out = t;
    if (!t)
        return pare_memory_error(err, "the tape");
    t->params = params;
    t->grads = grads;
    t->ranges = ranges;
    t->range_count = count;
    t->padding = -1;
    return PARE_OK;
}

void pare_tape_set_padding(PareTape *t, int32_t id) {
    t->padding = id;
}

void pare_tape_destroy(PareTape *t) {
    if (!t)
        return;
    for (size_t i = 0; i < t->free_count; i++)
        pare_free(t->free[i].data);
    for (size_t i = 0; i < t->used_count; i++)
        pare_free(t->used[i].data);
    pare_free(t->used);
    pare_free(t);
}

/* -- nodes -- */

void *pare_tape_record(PareRun *r, size_t size, void (*backward)(PareRun *r, PareNode *node)) {
    if (!r->tape || r->status)
        return NULL;
    PareNode *node = pare_arena_alloc(r->arena, 1, size);
    if (!node) {
        r->status = pare_memory_error(r->err, "the tape");
        return NULL;
    }
    node->before = r->tape->last;
    node->backward = backward;
    r->tape->last = node;
    return node;
}

PareGrad *pare_tape_grad(PareRun *r, size_t count) {
    if (!r->tape || r->status)
        return NULL;
    PareGrad *g = pare_arena_alloc(r->arena, 1, sizeof *g);
    if (!g)
        r->status = pare_memory_error(r->err, "the tape");
    else
        g->count = count;
    return g;
}

float *pare_tape_param(const PareRun *r, const float *p) {
    const PareTape *t = r->tape;
    if (!t || !p || t->range_count == 0 || p < t->params)
        return NULL;
    size_t offset = (size_t)(p - t->params), low = 0, high = t->range_count;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (t->ranges[middle].offset <= offset)
            low = middle;
        else
            high = middle;
    }
    const PareTapeRange *range = &t->ranges[low];
    bool inside = offset >= range->offset && offset - range->offset < range->count;
    return inside && range->trained ? t->grads + offset : NULL;
}

int32_t pare_tape_padding(const PareRun *r) {
    return r->tape->padding;
}

PareStatus pare_tape_backward(PareRun *r) {
    PareTape *t = r->tape;
    while (t->last && !r->status) {
        PareNode *node = t->last;
        t->last = node->before;
        node->backward(r, node);
    }
    t->last = NULL;
    return r->status;
}

PareNode *pare_tape_suspend(PareRun *r) {
    PareNode *nodes = r->tape->last;
    r->tape->last = NULL;
    return nodes;
}

void pare_tape_resume(PareRun *r, PareNode *nodes) {
    r->tape->last = nodes;
}

/* -- gradients' memory -- */

/* The smallest free buffer that is large enough, or else the largest, which is given up. */
static float *take_buffer(PareTape *t, size_t count, size_t *capacity) {
    size_t best = t->free_count, largest = 0;
    for (size_t i = 0; i < t->free_count; i++) {
        if (t->free[i].count >= count &&
            (best == t->free_count || t->free[i].count < t->free[best].count))
            best = i;
        if (t->free[i].count > t->free[largest].count)
            largest = i;
    }
    if (best < t->free_count) {
        Buffer found = t->free[best];
        t->free[best] = t->free[--t->free_count];
        *capacity = found.count;
        return found.data;
    }
    if (t->free_count > 0) {
        t->bytes -= t->free[largest].count * sizeof(float);
        pare_free(t->free[largest].data);
        t->free[largest] = t->free[--t->free_count];
    }
    float *data = pare_alloc(count, sizeof *data);
    *capacity = count;
    t->bytes += data ? count * sizeof *data : 0;
    t->peak = t->bytes > t->peak ? t->bytes : t->peak;
    return data;
}

static bool remember(PareTape *t, float *data, size_t count) {
    if (t->used_count == t->used_capacity) {
        size_t capacity = t->used_capacity ? 2 * t->used_capacity : 32;
        Buffer *used = pare_realloc(t->used, capacity, sizeof *used);
        if (!used)
            return false;
        t->used = used;
        t->used_capacity = capacity;
    }
    t->used[t->used_count++] = (Buffer){data, count};
    return true;
}

float *pare_grad_open(PareRun *r, PareGrad *g, bool *fresh) {
    if (fresh)
        *fresh = false;
    if (!g || r->status || g->data)
        return g && !r->status ? g->data : NULL;
    size_t capacity;
    float *data = take_buffer(r->tape, g->count, &capacity);
    if (!data || !remember(r->tape, data, capacity)) {
        pare_free(data);
        r->status = pare_memory_error(r->err, "gradients");
        return NULL;
    }
    g->data = data;
    if (fresh)
        *fresh = true;
    else
        memset(data, 0, g->count * sizeof *data);
    return data;
}

void pare_grad_close(PareRun *r, PareGrad *g) {
    PareTape *t = r->tape;
    if (!g || !g->data)
        return;
    size_t i = 0;
    while (t->used[i].data != g->data)
        i++;
    Buffer buffer = t->used[i];
    t->used[i] = t->used[--t->used_count];
    g->data = NULL;
    if (t->free_count < FREE_BUFFERS) {
        t->free[t->free_count++] = buffer;
    } else {
        t->bytes -= buffer.count * sizeof(float);
        pare_free(buffer.data);
    }
}

void pare_grad_move(PareRun *r, PareGrad *from, PareGrad *to) {
    if (!from || !from->data || from == to || r->status)
        return;
    if (to && !to->data) {
        to->data = from->data;
        from->data = NULL;
        return;
    }
    if (to)
        r->kernels->add(to->data, to->data, from->data, to->count);
    pare_grad_close(r, from);
}

size_t pare_tape_peak(const PareTape *t) {
    return t->peak;
}
