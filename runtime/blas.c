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
