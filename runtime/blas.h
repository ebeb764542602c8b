/* Doorkeeper of BLAS: single-precision matrix products for F32 weights. */
#ifndef PARE_RUNTIME_BLAS_H
#define PARE_RUNTIME_BLAS_H

#include <stddef.h>

/* Once, before the first product: BLAS itself runs on one thread; our pool splits the work, in
 * tiles that do not depend on the number of threads. */
void pare_blas_init(void);

/* y[M, N] = x[M, K] w[N, K]^T, all row-major with the given row strides in floats. */
void pare_blas_linear(float *y, size_t ldy, const float *x, size_t ldx, const float *w, size_t ldw,
                      size_t M, size_t N, size_t K);

#endif
