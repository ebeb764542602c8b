/* What the operators' files share; nobody else includes this. */
#ifndef PARE_RUNTIME_OPS_IMPL_H
#define PARE_RUNTIME_OPS_IMPL_H

#include "runtime/ops.h"

/* -- randomness: a stream of core/random.h for each random decision of a pass -- */

uint64_t pare_noise_stream(PareNoise *n);
/* The draw of the next dropout; false when there is none. */
bool pare_noise_dropout(PareRun *r, float probability, PareDropout *out);

/* -- simulated INT8: the values themselves where nothing is simulated, otherwise a copy -- */

typedef struct {
    float share; /* of the blocks that take INT8's values */
    uint64_t seed, stream;
} PareSimulation;

PareSimulation pare_noise_simulation(PareNoise *n, float share);
/* One row of a matrix: to[cols] from from[cols]. */
void pare_simulate_row(const PareSimulation *s, const float *from, size_t row, size_t cols,
                       float *to);
const float *pare_simulate_weight(PareRun *r, const PareWeight *w);
const float *pare_simulate_rows(PareRun *r, const PareValue *x);
/* Whether noise makes a product of `w` what INT8 makes of it: all weights, and the activations. */
bool pare_simulates_product(const PareRun *r, const PareWeight *w);
/* `w` in INT8, as the file would hold it, in the arena. */
PareWeight pare_simulate_pack(PareRun *r, const PareWeight *w);

/* -- products -- */

/* y = x W^T + bias by F32 rows that may be simulated; what a backward pass needs of it. */
typedef struct {
    const float *x, *w;
    size_t rows, N, K;
    float *dw, *db; /* of the parameters; NULL when frozen */
} PareProduct;

/* Adds the gradients of one product: `dx` (may be NULL) is [rows, K]. `fresh`: written over. */
void pare_product_backward(PareRun *r, const PareProduct *p, const float *dy, float *dx,
                           bool fresh);

/* New memory for a value that would change in place but must keep what it was. */
float *pare_op_renew(PareRun *r, const PareValue *x);
/* out[cols] += the sum of all rows, in an order that does not depend on threads. */
void pare_sum_rows(PareRun *r, float *out, const float *x, size_t rows, size_t cols);

#endif
