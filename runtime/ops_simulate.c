/* What INT8 does to weights and activations, for training that is to see it: quantization-aware
 * training, and quantization noise (Fan et al. 2020). Gradients pass straight through. */
#include <string.h>

#include "core/random.h"
#include "runtime/ops_impl.h"

/* Consecutive inputs of a row that noise takes or leaves together. */
enum { NOISE_BLOCK = 16 };

void pare_simulate_row(const PareSimulation *s, const PareKernels *kernels, const float *from,
                       size_t row, size_t cols, float *to) {
    size_t blocks = (cols + NOISE_BLOCK - 1) / NOISE_BLOCK;
    kernels->simulate_i8_rows(to, from, 1, cols);
    if (s->share >= 1.0F)
        return;
    for (size_t b = 0; b < blocks; b++) {
        if (pare_random_float(s->seed, s->stream, row * blocks + b) < s->share)
            continue;
        size_t at = b * NOISE_BLOCK, left = cols - at;
        memcpy(to + at, from + at, (left < NOISE_BLOCK ? left : NOISE_BLOCK) * sizeof *to);
    }
}

typedef struct {
    const PareKernels *kernels;
    PareSimulation simulation;
    const float *from;
    float *to;
    size_t cols;
} Simulate;

static void simulate_rows(void *context, size_t begin, size_t end, size_t thread) {
    const Simulate *j = context;
    (void)thread;
    for (size_t row = begin; row < end; row++)
        pare_simulate_row(&j->simulation, j->kernels, j->from + row * j->cols, row, j->cols,
                          j->to + row * j->cols);
}

static const float *simulate(PareRun *r, const float *x, size_t rows, size_t cols, float share) {
    Simulate job = {.kernels = r->kernels, .from = x, .cols = cols};
    job.simulation = pare_noise_simulation(r->noise, share);
    job.to = pare_arena_alloc_raw(r->arena, rows * cols, sizeof *job.to);
    if (!job.to) {
        r->status = pare_memory_error(r->err, "simulated quantization");
        return x;
    }
    pare_pool_for(r->pool, rows, 64, simulate_rows, &job);
    return job.to;
}

PareSimulation pare_noise_simulation(PareNoise *n, float share) {
    return (PareSimulation){share, n->seed, pare_noise_stream(n)};
}

uint64_t pare_noise_stream(PareNoise *n) {
    enum { PLACES = 20 };
    return (n->step << PLACES) + n->place++;
}

const float *pare_simulate_weight(PareRun *r, const PareWeight *w) {
    if (!r->noise || r->noise->quantize <= 0 || w->dtype != PARE_F32)
        return w->data;
    return simulate(r, w->data, w->N, w->K, r->noise->quantize);
}

const float *pare_simulate_rows(PareRun *r, const PareValue *x) {
    if (!r->noise || !r->noise->quantize_rows)
        return x->data;
    return simulate(r, x->data, x->rows, x->cols, 1.0F);
}
