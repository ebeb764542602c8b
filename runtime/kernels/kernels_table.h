/* What the files of this folder share besides the table itself: each variant's file fills in its
 * entries, in the order scalar, avx2, avx512, vnni, so that a later one overrides an earlier one.
 */
#ifndef PARE_RUNTIME_KERNELS_KERNELS_TABLE_H
#define PARE_RUNTIME_KERNELS_KERNELS_TABLE_H

#include "runtime/kernels/kernels.h"

void pare_kernels_rows_scalar(PareKernels *table);
void pare_kernels_gemm_scalar(PareKernels *table);
void pare_kernels_train_scalar(PareKernels *table);
void pare_kernels_rows_avx2(PareKernels *table);
void pare_kernels_gemm_avx2(PareKernels *table);
void pare_kernels_rows_avx512(PareKernels *table);
void pare_kernels_gemm_avx512(PareKernels *table);
void pare_kernels_gemm_vnni(PareKernels *table);

/* The keys that row `row` of a block of attention sees: first <= j < last. */
static inline void pare_attend_range(const PareAttend *a, size_t row, size_t *first, size_t *last) {
    *first = 0;
    *last = a->keys;
    if (!a->causal)
        return;
    size_t limit = a->causal_offset + row + 1;
    if (limit < *last)
        *last = limit;
    if (a->window && *last > a->window)
        *first = *last - a->window;
}

/* log(sum) for log_sum_exp, one function for every variant (kernels_scalar.c). */
float pare_kernels_log(float x);

#endif
