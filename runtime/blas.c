/* The only file that knows OpenBLAS. */
#include "runtime/blas.h"

#include <cblas.h>
#include <math.h>

/* LAPACK, which OpenBLAS brings along; its C header is that of another library. `uplo_length` is
 * what Fortran passes beside a text. */
void dpotrf_(const char *uplo, const blasint *n, double *a, const blasint *lda, blasint *info,
             size_t uplo_length);

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

/* -- least squares -- */

void pare_blas_gram(double *c, size_t ldc, const double *a, size_t lda, const double *b, size_t ldb,
                    size_t M, size_t N, size_t K) {
    if (M == 0 || N == 0 || K == 0)
        return;
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, (blasint)M, (blasint)N, (blasint)K, 1.0, a,
                (blasint)lda, b, (blasint)ldb, 1.0, c, (blasint)ldc);
}

bool pare_blas_cholesky(double *a, size_t N) {
    blasint n = (blasint)N, info = 0;
    if (N == 0)
        return true;
    dpotrf_("U", &n, a, &n, &info, 1); /* the upper triangle by columns is the lower one by rows */
    bool good = info == 0;
    for (size_t i = 0; i < N && good; i++) /* NaN compares as false with LAPACK's test, too */
        good = isfinite(a[i * N + i]) && a[i * N + i] > 0;
    return good;
}

void pare_blas_cholesky_solve(const double *l, size_t N, double *b, size_t ldb, size_t columns) {
    if (N == 0 || columns == 0)
        return;
    cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasNoTrans, CblasNonUnit, (blasint)N,
                (blasint)columns, 1.0, l, (blasint)N, b, (blasint)ldb);
    cblas_dtrsm(CblasRowMajor, CblasLeft, CblasLower, CblasTrans, CblasNonUnit, (blasint)N,
                (blasint)columns, 1.0, l, (blasint)N, b, (blasint)ldb);
}
