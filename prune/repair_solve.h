/* Least squares of a linear map: by how much its weights should move. Private to prune/.
 *
 * argmin over D, c of sum over rows of |x D + c - e|^2 + lambda |D|^2, with e what the map leaves.
 * Products are summed in double precision in one order, whatever the number of threads. */
#ifndef PARE_PRUNE_REPAIR_SOLVE_H
#define PARE_PRUNE_REPAIR_SOLVE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "core/threads.h"

/* The normal equations. With an intercept the last input is 1, and A = K + 1; otherwise A = K. */
typedef struct {
    size_t K, N, A;
    double *g; /* [A, A]: x^T x, whole tiles at and below the diagonal */
    double *r; /* [A, N]: x^T e */
    double *block_x, *block_e;
    ParePool *pool;
} PareNormal;

PareStatus pare_normal_create(size_t inputs, size_t outputs, bool intercept, ParePool *pool,
                              PareNormal *out, PareError *err);
void pare_normal_destroy(PareNormal *n); /* a zeroed one is allowed */
/* Adds rows: x[rows, K], e[rows, N]. Polls for interruption. */
PareStatus pare_normal_add(PareNormal *n, const float *x, const float *e, size_t rows,
                           PareError *err);
/* Takes the intercept out: g[0..K) and r[0..K) become those of centred inputs. Once, after all
 * rows. The mean of the diagonal is what lambda is measured by. */
double pare_normal_centre(PareNormal *n);
/* Cholesky: the lower triangle of l[K, K], l l^T = g + lambda I. `lambda` is raised tenfold where
 * that needs it, a few times, and then refused by the name `what`. */
PareStatus pare_normal_factor(const PareNormal *n, double lambda, double *l, const char *what,
                              PareError *err);
/* x of l l^T x = b, in the place of b[K, columns]. */
void pare_normal_substitute(const double *l, size_t K, double *b, size_t columns, ParePool *pool);
/* D over r[0..K), [K, N] with rows as inputs; c into `shift`[N] (0 without intercept). A lambda of
 * 0 moves nothing but c. After pare_normal_centre. */
PareStatus pare_normal_solve(PareNormal *n, double lambda, double *shift, const char *what,
                             PareError *err);

#endif
