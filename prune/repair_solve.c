/* The normal equations, by tiles, and their Cholesky factorisation. */
#include "prune/repair_solve.h"

#include <math.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "runtime/blas.h"

/* Tiles and blocks of rows are the same at every number of threads, so that the sums are. */
enum { TILE = 256, BLOCK_ROWS = 512, RAISES = 6 };

static size_t min_size(size_t a, size_t b) {
    return a < b ? a : b;
}

static double *square(size_t rows, size_t cols) {
    size_t count;
    return pare_size_mul(rows, cols, &count) ? pare_alloc(count, sizeof(double)) : NULL;
}

PareStatus pare_normal_create(size_t inputs, size_t outputs, bool intercept, ParePool *pool,
                              PareNormal *out, PareError *err) {
    size_t A = inputs + (intercept ? 1 : 0);
    *out = (PareNormal){.K = inputs, .N = outputs, .A = A, .pool = pool};
    out->g = square(A, A);
    out->r = square(A, outputs);
    out->block_x = square(BLOCK_ROWS, A);
    out->block_e = square(BLOCK_ROWS, outputs);
    if (out->g && out->r && out->block_x && out->block_e)
        return PARE_OK;
    pare_normal_destroy(out);
    return pare_memory_error(err, "least squares");
}

void pare_normal_destroy(PareNormal *n) {
    pare_free(n->g);
    pare_free(n->r);
    pare_free(n->block_x);
    pare_free(n->block_e);
    *n = (PareNormal){0};
}

/* -- sums -- */

typedef struct {
    const PareNormal *n;
    const float *x, *e;
    size_t rows;
} Block;

static void widen(void *context, size_t begin, size_t end, size_t thread) {
    const Block *b = context;
    size_t K = b->n->K, N = b->n->N, A = b->n->A;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        for (size_t k = 0; k < K; k++)
            b->n->block_x[i * A + k] = (double)b->x[i * K + k];
        if (A > K)
            b->n->block_x[i * A + K] = 1;
        for (size_t k = 0; k < N; k++)
            b->n->block_e[i * N + k] = (double)b->e[i * N + k];
    }
}

static size_t tiles_of(size_t size) {
    return (size + TILE - 1) / TILE;
}

/* Row of tiles i of x^T x up to the diagonal, and of x^T e: jobs are numbered along both. */
static void add_tiles(void *context, size_t begin, size_t end, size_t thread) {
    const Block *b = context;
    const PareNormal *n = b->n;
    size_t A = n->A, N = n->N, columns = tiles_of(A) + tiles_of(N);
    (void)thread;
    for (size_t job = begin; job < end; job++) {
        size_t i = job / columns, j = job % columns, at = i * TILE, height = min_size(TILE, A - at);
        if (j < tiles_of(A)) {
            size_t left = j * TILE;
            if (j <= i)
                pare_blas_gram(n->g + at * A + left, A, n->block_x + at, A, n->block_x + left, A,
                               height, min_size(TILE, A - left), b->rows);
        } else {
            size_t left = (j - tiles_of(A)) * TILE;
            pare_blas_gram(n->r + at * N + left, N, n->block_x + at, A, n->block_e + left, N,
                           height, min_size(TILE, N - left), b->rows);
        }
    }
}

PareStatus pare_normal_add(PareNormal *n, const float *x, const float *e, size_t rows,
                           PareError *err) {
    size_t jobs = tiles_of(n->A) * (tiles_of(n->A) + tiles_of(n->N));
    for (size_t at = 0; at < rows; at += BLOCK_ROWS) {
        Block b = {n, x + at * n->K, e + at * n->N, min_size(BLOCK_ROWS, rows - at)};
        pare_pool_for(n->pool, b.rows, 16, widen, &b);
        pare_pool_for(n->pool, jobs, 1, add_tiles, &b);
        PareStatus st = pare_interrupt_check(err);
        if (st)
            return st;
    }
    return PARE_OK;
}

double pare_normal_centre(PareNormal *n) {
    size_t K = n->K, A = n->A, N = n->N;
    double sum = 0;
    if (A > K && n->g[K * A + K] > 0) {
        const double *sums = n->g + K * A; /* of every input; the last is the number of rows */
        for (size_t i = 0; i < K; i++) {
            double mean = sums[i] / sums[K];
            for (size_t j = 0; j <= i; j++)
                n->g[i * A + j] -= mean * sums[j];
            for (size_t j = 0; j < N; j++)
                n->r[i * N + j] -= mean * n->r[K * N + j];
        }
    }
    for (size_t i = 0; i < K; i++)
        sum += n->g[i * A + i];
    return K ? sum / (double)K : 0;
}

/* -- solving -- */

static bool factor(const PareNormal *n, double lambda, double *l) {
    for (size_t i = 0; i < n->K; i++) {
        memcpy(l + i * n->K, n->g + i * n->A, n->K * sizeof *l);
        l[i * n->K + i] += lambda;
    }
    return pare_blas_cholesky(l, n->K);
}

static PareStatus refuse(const char *what, PareError *err) {
    return pare_error_set(err, PARE_E_FORMAT,
                          "'%s' cannot be repaired: what it reads on the calibration rows is not "
                          "finite, or has no positive definite products",
                          what);
}

PareStatus pare_normal_factor(const PareNormal *n, double lambda, double *l, const char *what,
                              PareError *err) {
    bool good = false;
    for (int i = 0; i <= RAISES && !good; i++, lambda *= 10)
        good = lambda > 0 && factor(n, lambda, l);
    return good ? PARE_OK : refuse(what, err);
}

typedef struct {
    const double *l;
    size_t K, columns;
    double *b;
} Solve;

static void solve_tiles(void *context, size_t begin, size_t end, size_t thread) {
    const Solve *s = context;
    (void)thread;
    for (size_t i = begin; i < end; i++)
        pare_blas_cholesky_solve(s->l, s->K, s->b + i * TILE, s->columns,
                                 min_size(TILE, s->columns - i * TILE));
}

void pare_normal_substitute(const double *l, size_t K, double *b, size_t columns, ParePool *pool) {
    pare_pool_for(pool, tiles_of(columns), 1, solve_tiles, &(Solve){l, K, columns, b});
}

static void find_shift(const PareNormal *n, double *shift) {
    size_t K = n->K, N = n->N;
    memset(shift, 0, N * sizeof *shift);
    if (n->A == K || !(n->g[K * n->A + K] > 0))
        return;
    const double *sums = n->g + K * n->A;
    memcpy(shift, n->r + K * N, N * sizeof *shift);
    for (size_t k = 0; k < K; k++)
        for (size_t i = 0; i < N; i++)
            shift[i] -= sums[k] * n->r[k * N + i];
    for (size_t i = 0; i < N; i++)
        shift[i] /= sums[K];
}

PareStatus pare_normal_solve(PareNormal *n, double lambda, double *shift, const char *what,
                             PareError *err) {
    size_t moves = n->K * n->N;
    double *l = lambda > 0 ? square(n->K, n->K) : NULL;
    if (lambda > 0 && !l)
        return pare_memory_error(err, "least squares");
    PareStatus st = PARE_OK;
    if (lambda > 0)
        st = pare_normal_factor(n, lambda, l, what, err);
    else if (lambda == 0) /* inputs that never vary: there is nothing to move */
        memset(n->r, 0, moves * sizeof *n->r);
    if (l && !st)
        pare_normal_substitute(l, n->K, n->r, n->N, n->pool);
    pare_free(l);
    if (st)
        return st;
    find_shift(n, shift);
    bool finite = true;
    for (size_t i = 0; i < n->N; i++)
        finite = finite && isfinite(shift[i]);
    for (size_t i = 0; i < moves; i++)
        finite = finite && isfinite(n->r[i]);
    return finite ? PARE_OK : refuse(what, err);
}
