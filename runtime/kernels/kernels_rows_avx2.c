/* Rows, elements and attention, forward and backward, for AVX2. */
#include "runtime/kernels/kernels_table.h"

#if defined(__AVX2__) && defined(__FMA__)
#include "runtime/kernels/lanes_avx2.h"

#include "runtime/kernels/lanes_attend_train.h"

void pare_kernels_rows_avx2(PareKernels *table) {
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
    table->layer_norm_backward = layer_norm_backward;
    table->rms_norm_backward = rms_norm_backward;
    table->activate_backward = activate_backward;
    table->activate_gated_backward = activate_gated_backward;
    table->attend_backward = attend_backward;
    table->dropout = dropout;
    table->add_rows = add_rows;
    table->add_scaled = add_scaled;
    table->simulate_i8_rows = simulate_i8_rows;
}
#endif
