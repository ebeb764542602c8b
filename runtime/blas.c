/* The only file that knows OpenBLAS. */
#include "runtime/blas.h"

#include <cblas.h>

void pare_blas_init(void) {
    openblas_set_num_threads(1);
}

void pare_blas_linear(float *y, size_t ldy, const float *x, size_t ldx, const float *w, size_t ldw,
                      size_t M, size_t N, size_t K) {
    if (M == 0 || N == 0)
        return;
    if (M == 1) /* a matrix-vector product is what this is; sgemm packs w for nothing */
        cblas_sgemv(CblasRowMajor, CblasNoTrans, (blasint)N, (blasint)K, 1.0F, w, (blasint)ldw, x,
                    1, 0.0F, y, 1);
    else
        cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, (blasint)M, (blasint)N, (blasint)K,
                    1.0F, x, (blasint)ldx, w, (blasint)ldw, 0.0F, y, (blasint)ldy);
}

void pare_blas_linear_dx(float *dx, size_t ldx, const float *dy, size_t ldy, const float *w,
                         size_t ldw, size_t M, size_t N, size_t K, int fresh) {
    if (M == 0 || K == 0)
        return;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, (blasint)M, (blasint)K, (blasint)N, 1.0F,
                dy, (blasint)ldy, w, (blasint)ldw, fresh ? 0.0F : 1.0F, dx, (blasint)ldx);
}

void pare_blas_linear_dw(float *dw, size_t ldw, const float *dy, size_t ldy, const float *x,
                         size_t ldx, size_t M, size_t N, size_t K) {
    if (N == 0 || K == 0 || M == 0)
        return;
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (blasint)N, (blasint)K, (blasint)M, 1.0F,
                dy, (blasint)ldy, x, (blasint)ldx, 1.0F, dw, (blasint)ldw);
}
