/* Doorkeeper of BLAS: single-precision matrix products for F32 weights, and least squares in double
 * precision. */
#ifndef PARE_RUNTIME_BLAS_H
#define PARE_RUNTIME_BLAS_H

#include <stdbool.h>
#include <stddef.h>

/* Once, before the first product: BLAS itself runs on one thread; our pool splits the work, in
 * tiles that do not depend on the number of threads. */
void pare_blas_init(void);

/* y[M, N] = x[M, K] w[N, K]^T, all row-major with the given row strides in floats. */
void pare_blas_linear(float *y, size_t ldy, const float *x, size_t ldx, const float *w, size_t ldw,
                      size_t M, size_t N, size_t K);

/* The two products of its backward pass, each added to what stands there (or, with `fresh`, written
 * over it): dx[M, K] += dy[M, N] w[N, K] and dw[N, K] += dy[M, N]^T x[M, K]. */
void pare_blas_linear_dx(float *dx, size_t ldx, const float *dy, size_t ldy, const float *w,
                         size_t ldw, size_t M, size_t N, size_t K, int fresh);
void pare_blas_linear_dw(float *dw, size_t ldw, const float *dy, size_t ldy, const float *x,
                         size_t ldx, size_t M, size_t N, size_t K);

/* c[M, N] += a[K, M]^T b[K, N] in double precision. */
void pare_blas_gram(double *c, size_t ldc, const double *a, size_t lda, const double *b, size_t ldb,
                    size_t M, size_t N, size_t K);
/* The lower triangle of a[N, N], symmetric, becomes L with a = L L^T; false when it is not positive
 * definite, and then `a` is spoiled. */
bool pare_blas_cholesky(double *a, size_t N);
/* x of L L^T x = b, in the place of b[N, columns]. */
void pare_blas_cholesky_solve(const double *l, size_t N, double *b, size_t ldb, size_t columns);

#endif
