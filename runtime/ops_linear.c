/* y = x W^T + b for weights of every format: BLAS for F32, our kernels for the rest. */
#include <stdint.h>

#include "runtime/blas.h"
#include "runtime/ops.h"

/* Tiles are the same at every thread count, so that F32 results are too. */
enum { TILE_ROWS = 128, TILE_COLS = 128, INLINE_WORK = 1 << 16 };

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

void pare_op_linear_into(PareRun *r, PareValue *x, const PareLinear *l, float *y) {
    if (r->status || !x)
        return;
    if (l->weight.dtype == PARE_I8)
        quantize(r, x);
    if (r->status)
        return;
    Linear job = {.kernels = r->kernels, .x = x, .l = l, .y = y, .tile_rows = TILE_ROWS};
    job.tile_cols = pick_tile_cols(&l->weight, x->rows);
    job.row_tiles = (x->rows + TILE_ROWS - 1) / TILE_ROWS;
    size_t col_tiles = (l->weight.N + job.tile_cols - 1) / job.tile_cols;
    size_t count = job.row_tiles * col_tiles;
    bool small = x->rows * l->weight.N * l->weight.K < INLINE_WORK;
    pare_pool_for(small ? NULL : r->pool, count, 1, tiles, &job);
}

PareValue *pare_op_linear(PareRun *r, PareValue *x, const PareLinear *l) {
    if (r->status || !x)
        return NULL;
    PareValue *y = pare_op_new(r, x->rows, l->weight.N);
    if (y)
        pare_op_linear_into(r, x, l, y->data);
    return r->status ? NULL : y;
}
