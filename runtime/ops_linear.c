/* y = x W^T + b for weights of every format: BLAS for F32, our kernels for the rest. Backward for
 * F32, which is what training sees. */
#include <stdint.h>
#include <string.h>

#include "runtime/blas.h"
#include "runtime/ops_impl.h"

/* Tiles are the same at every thread count, so that F32 results are too. BLAS packs both operands
 * of every tile, which large tiles repay. */
enum { MANY_ROWS = 1024, LARGE_TILE = 512 };
enum { TILE_ROWS = 128, TILE_COLS = 128, GRADIENT_COLS = 512, INLINE_WORK = 1 << 16 };
/* Rows of scores that exist at one time. */
enum { LOSS_ROWS = 256 };

typedef struct {
    const PareKernels *kernels;
    const PareValue *x;
    const PareLinear *l;
    float *y;
    size_t row_tiles, tile_rows, tile_cols;
} Linear;

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

static void add_bias(const Linear *j, size_t m0, size_t m1, size_t n0, size_t n1) {
    size_t N = j->l->weight.N;
    for (size_t m = m0; j->l->bias && m < m1; m++)
        j->kernels->add(j->y + m * N + n0, j->y + m * N + n0, j->l->bias + n0, n1 - n0);
}

static void tile(const Linear *j, size_t m0, size_t m1, size_t n0, size_t n1) {
    const PareWeight *w = &j->l->weight;
    const PareKernels *k = j->kernels;
    size_t K = w->K, K4 = (K + PARE_BLOCK_DEPTH - 1) / PARE_BLOCK_DEPTH * PARE_BLOCK_DEPTH;
    const float *x = j->x->data + m0 * K;
    float *y = j->y + m0 * w->N;
    if (w->dtype == PARE_I8) {
        k->gemm_i8(y, w->N, j->x->q + m0 * K4, K4, j->x->q_scale + m0, w->data, w->scales, w->sums,
                   j->l->bias, m1 - m0, K4, n0, n1);
    } else if (w->dtype == PARE_F16) {
        k->gemm_f16(y, w->N, x, K, w->data, j->l->bias, m1 - m0, K, n0, n1);
    } else if (w->dtype == PARE_BF16) {
        k->gemm_bf16(y, w->N, x, K, w->data, j->l->bias, m1 - m0, K, n0, n1);
    } else {
        pare_blas_linear(y + n0, w->N, x, K, (const float *)w->data + n0 * K, K, m1 - m0, n1 - n0,
                         K);
        add_bias(j, m0, m1, n0, n1);
    }
}

static void tiles(void *context, size_t begin, size_t end, size_t thread) {
    const Linear *j = context;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        size_t m0 = i % j->row_tiles * j->tile_rows, n0 = i / j->row_tiles * j->tile_cols;
        tile(j, m0, min_size(m0 + j->tile_rows, j->x->rows), n0,
             min_size(n0 + j->tile_cols, j->l->weight.N));
    }
}

typedef struct {
    const PareKernels *kernels;
    PareValue *x;
    size_t K4;
} Quantize;

static void quantize_rows(void *context, size_t begin, size_t end, size_t thread) {
    const Quantize *j = context;
    size_t K = j->x->cols;
    (void)thread;
    j->kernels->quantize_rows(j->x->q + begin * j->K4, j->K4, j->x->q_scale + begin,
                              j->x->data + begin * K, K, end - begin, K);
}

/* Once per value, however many INT8 matrices read it (query, key and value do). */
static void quantize(PareRun *r, PareValue *x) {
    if (x->q)
        return;
    size_t K4 = (x->cols + PARE_BLOCK_DEPTH - 1) / PARE_BLOCK_DEPTH * PARE_BLOCK_DEPTH;
    x->q = pare_arena_alloc_raw(r->arena, x->rows, K4);
    x->q_scale = pare_arena_alloc_raw(r->arena, x->rows, sizeof *x->q_scale);
    if (!x->q || !x->q_scale) {
        r->status = pare_memory_error(r->err, "quantized activations");
        return;
    }
    Quantize job = {r->kernels, x, K4};
    pare_pool_for(r->pool, x->rows, 16, quantize_rows, &job);
}

/* Narrower tiles when there are few rows, so that every thread has some of the weights to read. */
static size_t pick_tile_cols(const PareWeight *w, size_t rows) {
    if (w->dtype == PARE_F32)
        return rows >= TILE_ROWS ? 512 : TILE_COLS * 2;
    return TILE_COLS;
}

static size_t pick_tile_rows(size_t rows) {
    return rows >= MANY_ROWS ? LARGE_TILE : TILE_ROWS;
}

void pare_op_linear_into(PareRun *r, PareValue *x, const PareLinear *l, float *y) {
    if (r->status || !x)
        return;
    if (l->weight.dtype == PARE_I8)
        quantize(r, x);
    if (r->status)
        return;
    Linear job = {.kernels = r->kernels, .x = x, .l = l, .y = y};
    job.tile_rows = l->weight.dtype == PARE_F32 ? pick_tile_rows(x->rows) : TILE_ROWS;
    job.tile_cols = pick_tile_cols(&l->weight, x->rows);
    job.row_tiles = (x->rows + job.tile_rows - 1) / job.tile_rows;
    size_t col_tiles = (l->weight.N + job.tile_cols - 1) / job.tile_cols;
    size_t count = job.row_tiles * col_tiles;
    bool small = x->rows * l->weight.N * l->weight.K < INLINE_WORK;
    pare_pool_for(small ? NULL : r->pool, count, 1, tiles, &job);
}

/* -- backward -- */

typedef struct {
    const PareProduct *p;
    const float *dy;
    float *dx;
    bool fresh;
    size_t tile_rows, row_tiles;
} ProductJob;

static void dx_tiles(void *context, size_t begin, size_t end, size_t thread) {
    const ProductJob *j = context;
    const PareProduct *p = j->p;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        size_t m = i * j->tile_rows, rows = min_size(j->tile_rows, p->rows - m);
        pare_blas_linear_dx(j->dx + m * p->K, p->K, j->dy + m * p->N, p->N, p->w, p->K, rows, p->N,
                            p->K, j->fresh);
    }
}

static void dw_tiles(void *context, size_t begin, size_t end, size_t thread) {
    const ProductJob *j = context;
    const PareProduct *p = j->p;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        size_t n = i % j->row_tiles * j->tile_rows, k = i / j->row_tiles * GRADIENT_COLS;
        pare_blas_linear_dw(p->dw + n * p->K + k, p->K, j->dy + n, p->N, p->x + k, p->K, p->rows,
                            min_size(j->tile_rows, p->N - n), min_size(GRADIENT_COLS, p->K - k));
    }
}

void pare_product_backward(PareRun *r, const PareProduct *p, const float *dy, float *dx,
                           bool fresh) {
    ProductJob job = {.p = p, .dy = dy, .dx = dx, .fresh = fresh};
    ParePool *pool = p->rows * p->N * p->K < INLINE_WORK ? NULL : r->pool;
    job.tile_rows = pick_tile_rows(p->rows);
    if (dx)
        pare_pool_for(pool, (p->rows + job.tile_rows - 1) / job.tile_rows, 1, dx_tiles, &job);
    job.tile_rows = pick_tile_rows(p->N);
    job.row_tiles = (p->N + job.tile_rows - 1) / job.tile_rows;
    if (p->dw)
        pare_pool_for(pool, job.row_tiles * ((p->K + GRADIENT_COLS - 1) / GRADIENT_COLS), 1,
                      dw_tiles, &job);
    if (p->db)
        pare_sum_rows(r, p->db, dy, p->rows, p->N);
}

typedef struct {
    PareNode node;
    PareProduct product;
    PareGrad *dx, *dy;
} LinearNode;

static void linear_backward(PareRun *r, PareNode *node) {
    LinearNode *n = (LinearNode *)node;
    bool fresh;
    if (!n->dy->data)
        return;
    float *dx = pare_grad_open(r, n->dx, &fresh);
    if (!r->status)
        pare_product_backward(r, &n->product, n->dy->data, dx, fresh);
    pare_grad_close(r, n->dy);
}

static PareProduct product_of(const PareRun *r, const PareValue *x, const PareLinear *l) {
    return (PareProduct){.x = x->data,
                         .w = l->weight.data,
                         .rows = x->rows,
                         .N = l->weight.N,
                         .K = l->weight.K,
                         .dw = pare_tape_param(r, l->weight.data),
                         .db = pare_tape_param(r, l->bias)};
}

/* Where noise leaves nothing in F32, the product is INT8's own, to the bit: the same sums in
 * another order would round some activations of the next layer to the other side. */
static void product_i8(PareRun *r, PareValue *x, const PareLinear *l, float *y) {
    quantize(r, x);
    PareArenaMark mark = pare_arena_mark(r->arena);
    PareLinear packed = {.weight = pare_simulate_pack(r, &l->weight), .bias = l->bias};
    pare_op_linear_into(r, x, &packed, y);
    pare_arena_release(r->arena, mark);
}

/* The product of training: F32, with INT8 simulated where the noise says so. */
static void train_linear(PareRun *r, PareValue *x, const PareLinear *l, PareValue *y) {
    PareProduct p = product_of(r, x, l);
    PareValue seen = *x;
    PareLinear simulated = *l;
    seen.data = (float *)(uintptr_t)(p.x = pare_simulate_rows(r, x));
    simulated.weight.data = p.w = pare_simulate_weight(r, &l->weight);
    if (pare_simulates_product(r, &l->weight))
        product_i8(r, x, l, y->data);
    else
        pare_op_linear_into(r, &seen, &simulated, y->data);
    LinearNode *n = NULL;
    if (x->grad || p.dw || p.db)
        n = pare_tape_record(r, sizeof *n, linear_backward);
    if (!n)
        return;
    n->product = p;
    n->dx = x->grad;
    n->dy = y->grad = pare_tape_grad(r, y->rows * y->cols);
}

PareValue *pare_op_linear(PareRun *r, PareValue *x, const PareLinear *l) {
    if (r->status || !x)
        return NULL;
    PareValue *y = pare_op_new(r, x->rows, l->weight.N);
    if (y && (r->tape || r->noise))
        train_linear(r, x, l, y);
    else if (y)
        pare_op_linear_into(r, x, l, y->data);
    return r->status ? NULL : y;
}

/* -- losses on scores -- */

typedef struct {
    PareLogitsLoss loss;
    void *context;
    PareLossRows rows; /* of the piece */
} LossJob;

static void loss_rows(void *context, size_t begin, size_t end, size_t thread) {
    const LossJob *j = context;
    PareLossRows rows = j->rows;
    (void)thread;
    rows.first += begin;
    rows.count = end - begin;
    rows.logits += begin * rows.n;
    if (rows.teacher) {
        rows.teacher += begin * rows.n;
        rows.scratch += begin * rows.n;
    }
    j->loss(j->context, &rows);
}

static void rows_of(PareRun *r, const PareValue *x, size_t first, size_t count, const PareLinear *l,
                    float *logits) {
    PareValue piece = {.data = x->data + first * x->cols, .rows = count, .cols = x->cols};
    pare_op_linear_into(r, &piece, l, logits);
}

/* One piece of rows: the logits, the loss, and the gradients at once. `x`: what the backward pass
 * reads, and unless `output` is INT8 the product, too. */
static void loss_piece(PareRun *r, const PareOutputLoss *o, const PareLinear *output, LossJob *job,
                       PareProduct *p, const float *x, float *dx) {
    size_t at = job->rows.first, count = job->rows.count;
    PareValue seen = *o->x;
    if (output->weight.dtype == PARE_F32)
        seen.data = (float *)(uintptr_t)x;
    rows_of(r, &seen, at, count, output, job->rows.logits);
    if (o->teacher_x)
        rows_of(r, o->teacher_x, at, count, o->teacher_output, job->rows.teacher);
    if (r->status)
        return;
    pare_pool_for(r->pool, count, 4, loss_rows, job);
    p->x = x + at * o->x->cols;
    p->rows = count;
    if (job->rows.gradient)
        pare_product_backward(r, p, job->rows.logits, dx ? dx + at * o->x->cols : NULL, false);
}

void pare_op_output_loss(PareRun *r, const PareOutputLoss *o, PareLogitsLoss loss, void *context) {
    if (r->status || !o->x)
        return;
    PareArenaMark mark = pare_arena_mark(r->arena);
    PareProduct p = product_of(r, o->x, o->output);
    const float *x = pare_simulate_rows(r, o->x);
    LossJob job = {.loss = loss, .context = context};
    size_t n = job.rows.n = o->output->weight.N;
    PareLinear output = *o->output;
    output.weight.data = p.w = pare_simulate_weight(r, &o->output->weight);
    if (pare_simulates_product(r, &o->output->weight))
        output.weight = pare_simulate_pack(r, &o->output->weight);
    job.rows.logits = pare_arena_alloc_raw(r->arena, LOSS_ROWS * n, sizeof(float));
    if (o->teacher_x) {
        job.rows.teacher = pare_arena_alloc_raw(r->arena, LOSS_ROWS * n, sizeof(float));
        job.rows.scratch = pare_arena_alloc_raw(r->arena, LOSS_ROWS * n, sizeof(float));
    }
    bool short_of = o->teacher_x && (!job.rows.teacher || !job.rows.scratch);
    if ((!job.rows.logits || short_of) && !r->status)
        r->status = pare_memory_error(r->err, "logits");
    job.rows.gradient = r->tape != NULL;
    float *dx = pare_grad_open(r, r->tape ? o->x->grad : NULL, NULL);
    for (size_t at = 0; at < o->x->rows && !r->status; at += LOSS_ROWS) {
        job.rows.first = at;
        job.rows.count = min_size(LOSS_ROWS, o->x->rows - at);
        loss_piece(r, o, &output, &job, &p, x, dx);
    }
    pare_arena_release(r->arena, mark);
}
