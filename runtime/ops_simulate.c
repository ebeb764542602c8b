/* What INT8 does to weights and activations, for training that is to see it: quantization-aware
 * training, and quantization noise (Fan et al. 2020). Gradients pass straight through. */
#include <string.h>

#include "core/blocks.h"
#include "core/random.h"
#include "formats/pare_file.h"
#include "runtime/ops_impl.h"

/* Consecutive inputs of a row that noise takes or leaves together. */
enum { NOISE_BLOCK = 16 };

void pare_simulate_row(const PareSimulation *s, const float *from, size_t row, size_t cols,
                       float *to) {
    size_t blocks = (cols + NOISE_BLOCK - 1) / NOISE_BLOCK;
    pare_blocks_round_i8(from, cols, to);
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
    size_t rows, cols;
    void *blob;
} Simulate;

static void simulate_weights(void *context, size_t begin, size_t end, size_t thread) {
    const Simulate *j = context;
    (void)thread;
    for (size_t row = begin; row < end; row++)
        pare_simulate_row(&j->simulation, j->from + row * j->cols, row, j->cols,
                          j->to + row * j->cols);
}

static void simulate_activations(void *context, size_t begin, size_t end, size_t thread) {
    const Simulate *j = context;
    (void)thread;
    j->kernels->simulate_i8_rows(j->to + begin * j->cols, j->from + begin * j->cols, end - begin,
                                 j->cols);
}

static const float *simulate(PareRun *r, Simulate *job, PareBody body) {
    job->to = pare_arena_alloc_raw(r->arena, job->rows * job->cols, sizeof *job->to);
    if (!job->to) {
        r->status = pare_memory_error(r->err, "simulated quantization");
        return job->from;
    }
    pare_pool_for(r->pool, job->rows, 64, body, job);
    return job->to;
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
    Simulate job = {.from = w->data, .rows = w->N, .cols = w->K};
    job.simulation = pare_noise_simulation(r->noise, r->noise->quantize);
    return simulate(r, &job, simulate_weights);
}

const float *pare_simulate_rows(PareRun *r, const PareValue *x) {
    if (!r->noise || !r->noise->quantize_rows)
        return x->data;
    Simulate job = {.kernels = r->kernels, .from = x->data, .rows = x->rows, .cols = x->cols};
    return simulate(r, &job, simulate_activations);
}

bool pare_simulates_product(const PareRun *r, const PareWeight *w) {
    return r->noise && r->noise->quantize >= 1.0F && r->noise->quantize_rows &&
           w->dtype == PARE_F32;
}

static void pack_blocks(void *context, size_t begin, size_t end, size_t thread) {
    const Simulate *j = context;
    (void)thread;
    pare_blocks_pack_i8_part(j->from, j->rows, j->cols, begin, end, j->blob);
}

PareWeight pare_simulate_pack(PareRun *r, const PareWeight *w) {
    PareFileTensor t = {
        .dtype = PARE_I8, .layout = PARE_LAYOUT_BLOCK4, .dims = 2, .shape = {w->N, w->K}};
    Simulate job = {.from = w->data, .rows = w->N, .cols = w->K};
    uint64_t bytes;
    if (pare_file_blob_bytes(&t, &bytes))
        t.data = job.blob = pare_arena_alloc_raw(r->arena, bytes, 1);
    if (!job.blob) {
        r->status = pare_memory_error(r->err, "quantized weights");
        return *w;
    }
    pare_pool_for(r->pool, (w->N + PARE_BLOCK_ROWS - 1) / PARE_BLOCK_ROWS, 4, pack_blocks, &job);
    return pare_weight_of(&t);
}
