/* Operators that work row by row or element by element. */
#include <string.h>

#include "runtime/ops.h"

/* Elements below which waking other threads costs more than it brings. */
enum { SMALL = 1 << 14 };

PareValue *pare_op_view(PareRun *r, float *data, size_t rows, size_t cols) {
    if (r->status)
        return NULL;
    PareValue *v = pare_arena_alloc(r->arena, 1, sizeof *v);
    if (!v || !data) {
        r->status = pare_memory_error(r->err, "activations");
        return NULL;
    }
    *v = (PareValue){.data = data, .rows = rows, .cols = cols};
    return v;
}

PareValue *pare_op_new(PareRun *r, size_t rows, size_t cols) {
    size_t count;
    if (r->status)
        return NULL;
    if (!pare_size_mul(rows, cols, &count))
        count = SIZE_MAX; /* refused by the arena */
    return pare_op_view(r, pare_arena_alloc_raw(r->arena, count, sizeof(float)), rows, cols);
}

typedef struct {
    const PareKernels *kernels;
    float *y;
    const float *x, *other;
    size_t cols;
    PareNormKind kind;
    const PareNorm *norm;
    float number;
    PareActivation act;
} Rows;

static void run_rows(const PareRun *r, size_t rows, PareBody body, Rows *job) {
    bool small = rows * job->cols < SMALL;
    job->kernels = r->kernels;
    pare_pool_for(small ? NULL : r->pool, rows, 8, body, job);
}

static void norm_rows(void *context, size_t begin, size_t end, size_t thread) {
    const Rows *j = context;
    size_t at = begin * j->cols;
    (void)thread;
    if (j->kind == PARE_NORM_LAYER)
        j->kernels->layer_norm(j->y + at, j->x + at, j->norm->weight, j->norm->bias, j->number,
                               end - begin, j->cols);
    else
        j->kernels->rms_norm(j->y + at, j->x + at, j->norm->weight, j->number, end - begin,
                             j->cols);
}

static void norm(PareRun *r, float *y, const PareValue *x, PareNormKind kind, const PareNorm *n,
                 float eps) {
    Rows job = {.y = y, .x = x->data, .cols = x->cols, .kind = kind, .norm = n, .number = eps};
    run_rows(r, x->rows, norm_rows, &job);
}

PareValue *pare_op_norm(PareRun *r, const PareValue *x, PareNormKind kind, const PareNorm *n,
                        float eps) {
    if (r->status || !x)
        return NULL;
    PareValue *y = pare_op_new(r, x->rows, x->cols);
    if (y)
        norm(r, y->data, x, kind, n, eps);
    return y;
}

/* A value that changes is no longer what was quantized. */
static void changed(PareValue *x) {
    x->q = NULL;
    x->q_scale = NULL;
}

void pare_op_norm_in_place(PareRun *r, PareValue *x, PareNormKind kind, const PareNorm *n,
                           float eps) {
    if (r->status || !x)
        return;
    norm(r, x->data, x, kind, n, eps);
    changed(x);
}

static void add_rows(void *context, size_t begin, size_t end, size_t thread) {
    const Rows *j = context;
    size_t at = begin * j->cols;
    (void)thread;
    j->kernels->add(j->y + at, j->x + at, j->other + at, (end - begin) * j->cols);
}

void pare_op_add(PareRun *r, PareValue *x, const PareValue *y) {
    if (r->status || !x || !y)
        return;
    Rows job = {.y = x->data, .x = x->data, .other = y->data, .cols = x->cols};
    run_rows(r, x->rows, add_rows, &job);
    changed(x);
}

static void activate_rows(void *context, size_t begin, size_t end, size_t thread) {
    const Rows *j = context;
    size_t at = begin * j->cols, count = (end - begin) * j->cols;
    (void)thread;
    if (j->other)
        j->kernels->activate_gated(j->act, j->y + at, j->other + at, j->x + at, count);
    else
        j->kernels->activate(j->act, j->y + at, j->x + at, count);
}

void pare_op_gate(PareRun *r, PareValue *x, const PareValue *gate, PareActivation act) {
    if (r->status || !x || !gate)
        return;
    Rows job = {.y = x->data, .x = x->data, .other = gate->data, .cols = x->cols, .act = act};
    run_rows(r, x->rows, activate_rows, &job);
    changed(x);
}

void pare_op_activate(PareRun *r, PareValue *x, PareActivation act) {
    if (r->status || !x)
        return;
    Rows job = {.y = x->data, .x = x->data, .cols = x->cols, .act = act};
    run_rows(r, x->rows, activate_rows, &job);
    changed(x);
}

static void scale_rows(void *context, size_t begin, size_t end, size_t thread) {
    const Rows *j = context;
    size_t at = begin * j->cols;
    (void)thread;
    j->kernels->scale(j->y + at, j->x + at, j->number, (end - begin) * j->cols);
}

void pare_op_scale(PareRun *r, PareValue *x, float s) {
    if (r->status || !x || s == 1.0F)
        return;
    Rows job = {.y = x->data, .x = x->data, .cols = x->cols, .number = s};
    run_rows(r, x->rows, scale_rows, &job);
    changed(x);
}

PareValue *pare_op_gather(PareRun *r, const PareValue *x, const uint32_t *rows, size_t count) {
    if (r->status || !x)
        return NULL;
    PareValue *y = pare_op_new(r, count, x->cols);
    for (size_t i = 0; y && i < count; i++)
        memcpy(y->data + i * x->cols, x->data + rows[i] * x->cols, x->cols * sizeof *y->data);
    return y;
}

typedef struct {
    const PareKernels *kernels;
    const PareStackParams *p;
    const PareTokens *tokens;
    float *y;
    float scale;
    size_t offset;
} Embed;

static void embed_rows(void *context, size_t begin, size_t end, size_t thread) {
    const Embed *j = context;
    size_t K = j->p->tokens.K;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        float *y = j->y + i * K;
        pare_weight_row(&j->p->tokens, (size_t)j->tokens->ids[i], y);
        if (j->scale != 1.0F)
            j->kernels->scale(y, y, j->scale, K);
        if (j->p->types) {
            size_t type = j->tokens->types ? (size_t)j->tokens->types[i] : 0;
            j->kernels->add(y, y, j->p->types + type * K, K);
        }
        if (j->p->positions)
            j->kernels->add(y, y, j->p->positions + (j->offset + j->tokens->positions[i]) * K, K);
    }
}

PareValue *pare_op_embed(PareRun *r, const PareStackParams *p, float scale, size_t position_offset,
                         const PareTokens *tokens) {
    PareValue *y = pare_op_new(r, tokens->count, p->tokens.K);
    if (!y)
        return NULL;
    Embed job = {r->kernels, p, tokens, y->data, scale, position_offset};
    bool small = y->rows * y->cols < SMALL;
    pare_pool_for(small ? NULL : r->pool, y->rows, 8, embed_rows, &job);
    return y;
}
