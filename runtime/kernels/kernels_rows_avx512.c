/* Rows, elements and attention for AVX-512. */
#include "runtime/kernels/kernels_table.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512VL__) && defined(__AVX512DQ__)
#include "runtime/kernels/lanes_avx512.h"

#include "runtime/kernels/lanes_attend.h"

void pare_kernels_rows_avx512(PareKernels *table) {
    table->quantize_rows = quantize_rows;
    table->layer_norm = layer_norm;
    table->rms_norm = rms_norm;
    table->activate = activate;
    table->activate_gated = activate_gated;
    table->add = add;
    table->scale = scale;
    table->attend = attend;
    table->softmax = softmax;
    table->log_sum_exp = log_sum_exp;
}
#endif
