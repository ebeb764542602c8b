/* Operators that work row by row or element by element. */
#include <string.h>

#include "runtime/ops_impl.h"

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

float *pare_op_renew(PareRun *r, const PareValue *x) {
    size_t count = x->rows * x->cols; /* fitted when x was made */
    float *data = pare_arena_alloc_raw(r->arena, count, sizeof *data);
    if (!data)
        r->status = pare_memory_error(r->err, "activations");
    return data;
}

/* Where an operator "in place" writes: new memory with a tape. */
static float *place_of(PareRun *r, const PareValue *x) {
    return r->tape ? pare_op_renew(r, x) : x->data;
}

/* The value is now `data`, and no longer what was quantized. */
static void changed(PareValue *x, float *data) {
    x->data = data;
    x->q = NULL;
    x->q_scale = NULL;
}

/* An operator of one value: its old data and gradient, and the new ones. */
typedef struct {
    PareNode node;
    const float *x, *y;
    size_t rows, cols;
    PareGrad *dx, *dy;
    bool own; /* for a sum: nothing before it has made dy */
} RowsNode;

/* Records that `x`, which was `old`, changed; the value gets a new gradient. NULL when nothing
 * before it is trained and `trained` is false. */
static void *record_change(PareRun *r, PareValue *x, const PareValue *old, size_t size,
                           bool trained, void (*backward)(PareRun *, PareNode *)) {
    RowsNode *n = old->grad || trained ? pare_tape_record(r, size, backward) : NULL;
    x->grad = NULL;
    if (!n)
        return NULL;
    n->x = old->data;
    n->y = x->data;
    n->rows = x->rows;
    n->cols = x->cols;
    n->dx = old->grad;
    n->dy = x->grad = pare_tape_grad(r, x->rows * x->cols);
    return n;
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

/* -- norms -- */

/* Rows whose sums for weight and bias are gathered by themselves, whatever the threads. */
enum { NORM_ROWS = 64 };

typedef struct {
    RowsNode rows;
    PareNormKind kind;
    const float *weight;
    float eps;
    float *dweight, *dbias; /* of the parameters */
} NormNode;

typedef struct {
    const PareKernels *kernels;
    const NormNode *n;
    float *dx;
    float *partial; /* [blocks, 2, cols]; NULL when weight and bias are frozen */
} NormJob;

static void norm_backward_blocks(void *context, size_t begin, size_t end, size_t thread) {
    const NormJob *j = context;
    const NormNode *n = j->n;
    size_t cols = n->rows.cols;
    (void)thread;
    for (size_t block = begin; block < end; block++) {
        size_t first = block * NORM_ROWS, left = n->rows.rows - first, at = first * cols;
        size_t rows = left < NORM_ROWS ? left : NORM_ROWS;
        float *dx = j->dx ? j->dx + at : NULL;
        float *dw = j->partial ? j->partial + block * 2 * cols : NULL;
        if (n->kind == PARE_NORM_LAYER)
            j->kernels->layer_norm_backward(dx, dw, dw ? dw + cols : NULL, n->rows.dy->data + at,
                                            n->rows.x + at, n->weight, n->eps, rows, cols);
        else
            j->kernels->rms_norm_backward(dx, dw, n->rows.dy->data + at, n->rows.x + at, n->weight,
                                          n->eps, rows, cols);
    }
}

static void norm_backward(PareRun *r, PareNode *node) {
    NormNode *n = (NormNode *)node;
    size_t blocks = (n->rows.rows + NORM_ROWS - 1) / NORM_ROWS, cols = n->rows.cols;
    NormJob job = {.kernels = r->kernels, .n = n};
    if (!n->rows.dy->data)
        return;
    PareArenaMark mark = pare_arena_mark(r->arena);
    job.dx = pare_grad_open(r, n->rows.dx, NULL);
    if (n->dweight || n->dbias) {
        job.partial = pare_arena_alloc(r->arena, blocks * 2 * cols, sizeof *job.partial);
        if (!job.partial && !r->status)
            r->status = pare_memory_error(r->err, "gradients of a norm");
    }
    if (!r->status)
        pare_pool_for(n->rows.rows * cols < SMALL ? NULL : r->pool, blocks, 1, norm_backward_blocks,
                      &job);
    for (size_t b = 0; job.partial && !r->status && b < blocks; b++) {
        if (n->dweight)
            r->kernels->add(n->dweight, n->dweight, job.partial + b * 2 * cols, cols);
        if (n->dbias)
            r->kernels->add(n->dbias, n->dbias, job.partial + (b * 2 + 1) * cols, cols);
    }
    pare_arena_release(r->arena, mark);
    pare_grad_close(r, n->rows.dy);
}

static void record_norm(PareRun *r, PareValue *y, const PareValue *x, PareNormKind kind,
                        const PareNorm *n, float eps) {
    float *dweight = pare_tape_param(r, n->weight), *dbias = pare_tape_param(r, n->bias);
    NormNode *node =
        record_change(r, y, x, sizeof *node, dweight != NULL || dbias != NULL, norm_backward);
    if (!node)
        return;
    node->kind = kind;
    node->weight = n->weight;
    node->eps = eps;
    node->dweight = dweight;
    node->dbias = dbias;
}

PareValue *pare_op_norm(PareRun *r, const PareValue *x, PareNormKind kind, const PareNorm *n,
                        float eps) {
    if (r->status || !x)
        return NULL;
    PareValue *y = pare_op_new(r, x->rows, x->cols);
    if (!y)
        return NULL;
    norm(r, y->data, x, kind, n, eps);
    record_norm(r, y, x, kind, n, eps);
    return y;
}

void pare_op_norm_in_place(PareRun *r, PareValue *x, PareNormKind kind, const PareNorm *n,
                           float eps) {
    if (r->status || !x)
        return;
    PareValue old = *x;
    float *y = place_of(r, x);
    if (!y)
        return;
    norm(r, y, x, kind, n, eps);
    changed(x, y);
    record_norm(r, x, &old, kind, n, eps);
}

/* -- element by element -- */

static void add_rows(void *context, size_t begin, size_t end, size_t thread) {
    const Rows *j = context;
    size_t at = begin * j->cols;
    (void)thread;
    j->kernels->add(j->y + at, j->x + at, j->other + at, (end - begin) * j->cols);
}

/* dst += src, both [rows, cols]. */
static void add_gradient(PareRun *r, PareGrad *dst, const float *src, size_t rows, size_t cols) {
    bool fresh;
    float *to = pare_grad_open(r, dst, &fresh);
    if (to && fresh)
        memcpy(to, src, rows * cols * sizeof *to);
    else if (to)
        run_rows(r, rows, add_rows, &(Rows){.y = to, .x = to, .other = src, .cols = cols});
}

/* x + y: the gradient of the sum is that of x (the slot stays) and of y. */
static void add_backward(PareRun *r, PareNode *node) {
    RowsNode *n = (RowsNode *)node;
    if (n->dy->data)
        add_gradient(r, n->dx, n->dy->data, n->rows, n->cols);
    if (n->own)
        pare_grad_close(r, n->dy);
}

void pare_op_add(PareRun *r, PareValue *x, const PareValue *y) {
    if (r->status || !x || !y)
        return;
    float *sum = place_of(r, x);
    if (!sum)
        return;
    Rows job = {.y = sum, .x = x->data, .other = y->data, .cols = x->cols};
    run_rows(r, x->rows, add_rows, &job);
    changed(x, sum);
    RowsNode *n = y->grad ? pare_tape_record(r, sizeof *n, add_backward) : NULL;
    if (!n)
        return;
    n->own = x->grad == NULL;
    if (n->own)
        x->grad = pare_tape_grad(r, x->rows * x->cols);
    n->rows = x->rows;
    n->cols = x->cols;
    n->dx = y->grad;
    n->dy = x->grad;
}

static void tap_backward(PareRun *r, PareNode *node) {
    RowsNode *n = (RowsNode *)node;
    if (n->dy->data)
        add_gradient(r, n->dx, n->dy->data, n->rows, n->cols);
    pare_grad_close(r, n->dy);
}

PareValue *pare_op_tap(PareRun *r, PareValue *x) {
    if (r->status || !x)
        return NULL;
    if (!r->tape) { /* x may change in place */
        PareValue *copy = pare_op_new(r, x->rows, x->cols);
        if (copy)
            memcpy(copy->data, x->data, x->rows * x->cols * sizeof *x->data);
        return copy;
    }
    PareValue *y = pare_op_view(r, x->data, x->rows, x->cols);
    if (y)
        record_change(r, y, x, sizeof(RowsNode), false, tap_backward);
    return y;
}

typedef struct {
    RowsNode rows;
    PareProbe probe;
} ProbeNode;

/* All readers of the value have added to its gradient; who made it has not used it yet. */
static void probe_backward(PareRun *r, PareNode *node) {
    ProbeNode *n = (ProbeNode *)node;
    (void)r;
    if (n->rows.dx->data)
        n->probe.see(n->probe.context, n->rows.x, n->rows.dx->data, n->rows.rows, n->rows.cols);
}

void pare_op_probe(PareRun *r, PareValue *x, const PareProbe *probe) {
    if (r->status || !x)
        return;
    probe->see(probe->context, x->data, NULL, x->rows, x->cols);
    ProbeNode *n = x->grad ? pare_tape_record(r, sizeof *n, probe_backward) : NULL;
    if (!n)
        return;
    n->probe = *probe;
    n->rows = (RowsNode){
        .node = n->rows.node, .x = x->data, .rows = x->rows, .cols = x->cols, .dx = x->grad};
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

typedef struct {
    RowsNode rows;
    const float *gate; /* NULL: not gated */
    PareGrad *dgate;
    PareActivation act;
} ActivateNode;

typedef struct {
    const PareKernels *kernels;
    const ActivateNode *n;
    float *dx, *dgate;
} ActivateJob;

static void activate_backward_rows(void *context, size_t begin, size_t end, size_t thread) {
    const ActivateJob *j = context;
    const ActivateNode *n = j->n;
    size_t at = begin * n->rows.cols, count = (end - begin) * n->rows.cols;
    const float *dy = n->rows.dy->data + at;
    (void)thread;
    if (n->gate)
        j->kernels->activate_gated_backward(n->act, j->dgate ? j->dgate + at : NULL,
                                            j->dx ? j->dx + at : NULL, dy, n->gate + at,
                                            n->rows.x + at, count);
    else
        j->kernels->activate_backward(n->act, j->dx + at, dy, n->rows.x + at, count);
}

static void activate_backward(PareRun *r, PareNode *node) {
    ActivateNode *n = (ActivateNode *)node;
    ActivateJob job = {.kernels = r->kernels, .n = n};
    if (!n->rows.dy->data)
        return;
    job.dx = pare_grad_open(r, n->rows.dx, NULL);
    job.dgate = pare_grad_open(r, n->dgate, NULL);
    bool small = n->rows.rows * n->rows.cols < SMALL;
    if (!r->status)
        pare_pool_for(small ? NULL : r->pool, n->rows.rows, 8, activate_backward_rows, &job);
    pare_grad_close(r, n->rows.dy);
}

void pare_op_gate(PareRun *r, PareValue *x, const PareValue *gate, PareActivation act) {
    if (r->status || !x || !gate)
        return;
    PareValue old = *x;
    float *y = place_of(r, x);
    if (!y)
        return;
    Rows job = {.y = y, .x = x->data, .other = gate->data, .cols = x->cols, .act = act};
    run_rows(r, x->rows, activate_rows, &job);
    changed(x, y);
    ActivateNode *n = record_change(r, x, &old, sizeof *n, gate->grad != NULL, activate_backward);
    if (!n)
        return;
    n->act = act;
    n->gate = gate->data;
    n->dgate = gate->grad;
}

void pare_op_activate(PareRun *r, PareValue *x, PareActivation act) {
    if (r->status || !x)
        return;
    PareValue old = *x;
    float *y = place_of(r, x);
    if (!y)
        return;
    Rows job = {.y = y, .x = x->data, .cols = x->cols, .act = act};
    run_rows(r, x->rows, activate_rows, &job);
    changed(x, y);
    ActivateNode *n = record_change(r, x, &old, sizeof *n, false, activate_backward);
    if (n)
        n->act = act;
}

static void scale_rows(void *context, size_t begin, size_t end, size_t thread) {
    const Rows *j = context;
    size_t at = begin * j->cols;
    (void)thread;
    j->kernels->scale(j->y + at, j->x + at, j->number, (end - begin) * j->cols);
}

typedef struct {
    RowsNode rows;
    float factor;
} ScaleNode;

static void scale_backward(PareRun *r, PareNode *node) {
    ScaleNode *n = (ScaleNode *)node;
    if (!n->rows.dy->data)
        return;
    r->kernels->scale(n->rows.dy->data, n->rows.dy->data, n->factor, n->rows.rows * n->rows.cols);
    pare_grad_move(r, n->rows.dy, n->rows.dx);
}

void pare_op_scale(PareRun *r, PareValue *x, float s) {
    if (r->status || !x || s == 1.0F)
        return;
    PareValue old = *x;
    float *y = place_of(r, x);
    if (!y)
        return;
    Rows job = {.y = y, .x = x->data, .cols = x->cols, .number = s};
    run_rows(r, x->rows, scale_rows, &job);
    changed(x, y);
    ScaleNode *n = record_change(r, x, &old, sizeof *n, false, scale_backward);
    if (n)
        n->factor = s;
}

/* -- dropout -- */

bool pare_noise_dropout(PareRun *r, float probability, PareDropout *out) {
    const double steps = 4294967296.0;
    if (!r->noise || probability <= 0)
        return false;
    *out = (PareDropout){.seed = r->noise->seed,
                         .stream = pare_noise_stream(r->noise),
                         .threshold = (uint32_t)((double)probability * steps + 0.5),
                         .keep = 1.0F / (1.0F - probability)};
    return true;
}

typedef struct {
    const PareKernels *kernels;
    const PareDropout *draw;
    float *y;
    const float *x;
    size_t cols, base;
} DropoutJob;

static void dropout_rows(void *context, size_t begin, size_t end, size_t thread) {
    const DropoutJob *j = context;
    (void)thread;
    j->kernels->dropout(j->y + begin * j->cols, j->x + begin * j->cols, j->draw,
                        (uint64_t)(j->base + begin) * j->cols, (end - begin) * j->cols);
}

static void drop(PareRun *r, const PareDropout *draw, size_t base, float *y, const float *x,
                 size_t rows, size_t cols) {
    DropoutJob job = {r->kernels, draw, y, x, cols, base};
    pare_pool_for(rows * cols < SMALL ? NULL : r->pool, rows, 8, dropout_rows, &job);
}

typedef struct {
    RowsNode rows;
    PareDropout draw;
    size_t base;
} DropoutNode;

static void dropout_backward(PareRun *r, PareNode *node) {
    DropoutNode *n = (DropoutNode *)node;
    float *dy = n->rows.dy->data;
    if (!dy)
        return;
    drop(r, &n->draw, n->base, dy, dy, n->rows.rows, n->rows.cols);
    pare_grad_move(r, n->rows.dy, n->rows.dx);
}

void pare_op_dropout(PareRun *r, PareValue *x, float probability) {
    PareDropout draw;
    if (r->status || !x || !pare_noise_dropout(r, probability, &draw))
        return;
    PareValue old = *x;
    float *y = place_of(r, x);
    if (!y)
        return;
    drop(r, &draw, r->noise->base, y, x->data, x->rows, x->cols);
    changed(x, y);
    DropoutNode *n = record_change(r, x, &old, sizeof *n, false, dropout_backward);
    if (!n)
        return;
    n->draw = draw;
    n->base = r->noise->base;
}

/* -- sums over rows -- */

typedef struct {
    const PareKernels *kernels;
    float *out;
    const float *x;
    size_t rows, cols;
} SumJob;

static void sum_columns(void *context, size_t begin, size_t end, size_t thread) {
    const SumJob *j = context;
    (void)thread;
    j->kernels->add_rows(j->out + begin, j->x + begin, j->cols, j->rows, end - begin);
}

void pare_sum_rows(PareRun *r, float *out, const float *x, size_t rows, size_t cols) {
    SumJob job = {r->kernels, out, x, rows, cols};
    pare_pool_for(rows * cols < SMALL ? NULL : r->pool, cols, 64, sum_columns, &job);
}

/* -- rows by number -- */

typedef struct {
    PareNode node;
    const uint32_t *rows;
    size_t count, cols;
    PareGrad *dx, *dy;
} GatherNode;

static void gather_backward(PareRun *r, PareNode *node) {
    GatherNode *n = (GatherNode *)node;
    float *dx = n->dy->data ? pare_grad_open(r, n->dx, NULL) : NULL;
    for (size_t i = 0; dx && i < n->count; i++) {
        float *to = dx + n->rows[i] * n->cols;
        r->kernels->add(to, to, n->dy->data + i * n->cols, n->cols);
    }
    pare_grad_close(r, n->dy);
}

PareValue *pare_op_gather(PareRun *r, const PareValue *x, const uint32_t *rows, size_t count) {
    if (r->status || !x)
        return NULL;
    PareValue *y = pare_op_new(r, count, x->cols);
    for (size_t i = 0; y && i < count; i++)
        memcpy(y->data + i * x->cols, x->data + rows[i] * x->cols, x->cols * sizeof *y->data);
    GatherNode *n = y && x->grad ? pare_tape_record(r, sizeof *n, gather_backward) : NULL;
    if (!n)
        return y;
    n->rows = rows;
    n->count = count;
    n->cols = x->cols;
    n->dx = x->grad;
    n->dy = y->grad = pare_tape_grad(r, count * x->cols);
    return y;
}
