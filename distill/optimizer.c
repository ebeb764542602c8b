/* AdamW and SGD, the norm of the gradients, the moving average, and what all optimizers share. */
#include "distill/optimizer.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/tensor.h"
#include "distill/optimizer_impl.h"

enum { LANES = 8, GRAIN = 4 * PARE_OPTIMIZER_BLOCK };

PareOptimizerOptions pare_optimizer_defaults(PareOptimizerKind kind) {
    PareOptimizerOptions o = {.kind = kind,
                              .beta2 = 0.999,
                              .eps = 1e-8,
                              .eps_square = 1e-30,
                              .eps_scale = 1e-3,
                              .clip_threshold = 1,
                              .decay_rate = -0.8,
                              .scale_parameter = true,
                              .relative_step = true};
    if (kind == PARE_OPTIMIZER_ADAMW)
        o.beta1 = 0.9;
    return o;
}

/* ---- Creating -------------------------------------------------------------------------------- */

static PareStatus check_options(const PareOptimizerOptions *o, PareError *err) {
    const struct {
        const char *name;
        double value, from, below;
    } ranges[] = {{"weight decay", o->weight_decay, 0, INFINITY},
                  {"beta1", o->beta1, 0, 1},
                  {"beta2", o->beta2, 0, 1},
                  {"eps", o->eps, 0, INFINITY},
                  {"momentum", o->momentum, 0, 1},
                  {"decay of the average", o->average, 0, 1},
                  {"eps of squares", o->eps_square, 0, INFINITY},
                  {"eps of scales", o->eps_scale, 0, INFINITY},
                  {"clip threshold", o->clip_threshold, 0x1p-126, INFINITY},
                  {"decay rate", o->decay_rate, -INFINITY, 0}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (!(ranges[i].value >= ranges[i].from && ranges[i].value < ranges[i].below))
            return pare_error_set(err, PARE_E_USAGE,
                                  "the optimizer's %s is %g; expected at least %g and below %g",
                                  ranges[i].name, ranges[i].value, ranges[i].from, ranges[i].below);
    return PARE_OK;
}

static PareStatus check_tensor(const PareParamTensor *t, size_t before, size_t size,
                               PareError *err) {
    size_t count, end;
    if (!pare_size_mul(t->rows, t->cols, &count) || !pare_size_add(t->offset, count, &end) ||
        end > size || t->offset < before)
        return pare_error_set(err, PARE_E_USAGE,
                              "tensor '%s' of %zu x %zu values at %zu overlaps another one or the "
                              "end of the %zu parameters",
                              t->name, t->rows, t->cols, t->offset, size);
    return PARE_OK;
}

/* A vector is worked in lines of a block; a matrix in its rows. */
static void place_tensor(PareOptimizer *o, const PareParamTensor *t) {
    PareTrained *out = &o->tensors[o->tensor_count++];
    size_t count = t->rows * t->cols;
    *out = (PareTrained){.tensor = t, .count = count, .at = o->floats, .blocks_at = o->blocks};
    out->factored = t->dims >= 2;
    out->cols = out->factored ? t->cols : PARE_OPTIMIZER_BLOCK;
    out->rows = out->factored ? t->rows : (count + out->cols - 1) / out->cols;
    out->row_at = o->row_count;
    out->col_at = o->column_count;
    out->square_at = o->square_count;
    if (out->factored) {
        o->row_count += t->rows;
        o->column_count += t->cols;
        o->widest = t->cols > o->widest ? t->cols : o->widest;
    } else {
        o->square_count += count;
    }
    o->floats += count;
    o->blocks += (count + PARE_OPTIMIZER_BLOCK - 1) / PARE_OPTIMIZER_BLOCK;
    o->longest = out->rows > o->longest ? out->rows : o->longest;
}

static PareStatus place_tensors(PareOptimizer *o, const PareParamGroups *g, PareError *err) {
    size_t before = 0;
    for (size_t i = 0; i < g->count; i++) {
        const PareParamTensor *t = &g->tensors[i];
        PareStatus status = check_tensor(t, before, o->size, err);
        if (status)
            return status;
        before = t->offset + t->rows * t->cols;
        if (!t->frozen)
            place_tensor(o, t);
    }
    if (o->floats == 0)
        return pare_error_set(err, PARE_E_USAGE,
                              "every tensor is frozen: there is nothing to train");
    return PARE_OK;
}

static bool allocate_state(PareOptimizer *o) {
    const PareOptimizerOptions *p = &o->options;
    bool adam = p->kind == PARE_OPTIMIZER_ADAMW, factored = p->kind == PARE_OPTIMIZER_ADAFACTOR;
    bool first = adam || (factored && p->beta1 > 0) || (!factored && p->momentum > 0);
    size_t sums = o->blocks > o->longest ? o->blocks : o->longest;
    bool there = (o->sums = pare_alloc(sums, sizeof *o->sums)) != NULL;
    if (first)
        there = there && (o->first = pare_alloc(o->floats, sizeof *o->first));
    if (adam)
        there = there && (o->second = pare_alloc(o->floats, sizeof *o->second));
    if (factored)
        there = there && (o->rows = pare_alloc(o->row_count, sizeof *o->rows)) &&
                (o->columns = pare_alloc(o->column_count, sizeof *o->columns)) &&
                (o->squares = pare_alloc(o->square_count, sizeof *o->squares)) &&
                (o->row_factor = pare_alloc(o->longest, sizeof *o->row_factor)) &&
                (o->column_factor = pare_alloc(o->widest, sizeof *o->column_factor)) &&
                (o->weight_sums = pare_alloc(o->longest, sizeof *o->weight_sums));
    if (p->average > 0)
        there = there && (o->average = pare_alloc(o->floats, sizeof *o->average));
    return there;
}

PareStatus pare_optimizer_create(const PareOptimizerOptions *options, const PareParamGroups *groups,
                                 const float *weights, size_t size, PareOptimizer **out,
                                 PareError *err) {
    *out = NULL;
    PareStatus status = check_options(options, err);
    if (status)
        return status;
    PareOptimizer *o = pare_alloc(1, sizeof *o);
    if (!o)
        return pare_memory_error(err, "the optimizer");
    o->options = *options;
    o->size = size;
    o->tensors = pare_alloc(groups->count, sizeof *o->tensors);
    if (!o->tensors)
        status = pare_memory_error(err, "the optimizer");
    else if (!(status = place_tensors(o, groups, err)) && !allocate_state(o))
        status = pare_memory_error(err, "the optimizer's state");
    if (status) {
        pare_optimizer_destroy(o);
        return status;
    }
    for (size_t i = 0; i < o->tensor_count && o->average; i++)
        memcpy(o->average + o->tensors[i].at, weights + o->tensors[i].tensor->offset,
               o->tensors[i].count * sizeof *weights);
    *out = o;
    return PARE_OK;
}

void pare_optimizer_destroy(PareOptimizer *o) {
    if (!o)
        return;
    void *all[] = {o->tensors,       o->sums,        o->first,   o->second,
                   o->rows,          o->columns,     o->squares, o->row_factor,
                   o->column_factor, o->weight_sums, o->average};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        pare_free(all[i]);
    pare_free(o);
}

/* ---- Gradients ------------------------------------------------------------------------------- */

double pare_optimizer_sum_squares(const float *x, size_t count, float scale) {
    double lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= count; i += LANES)
        for (size_t k = 0; k < LANES; k++) {
            double v = (double)(x[i + k] * scale);
            lanes[k] += v * v;
        }
    for (size_t k = 0; i < count; i++, k++) {
        double v = (double)(x[i] * scale);
        lanes[k] += v * v;
    }
    for (size_t k = 1; k < LANES; k++)
        lanes[0] += lanes[k];
    return lanes[0];
}

typedef struct {
    const float *x;
    size_t count;
    double *sums;
} BlockSums;

static void sum_blocks(void *context, size_t begin, size_t end, size_t thread) {
    const BlockSums *b = context;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        size_t at = i * PARE_OPTIMIZER_BLOCK, left = b->count - at;
        size_t size = left < PARE_OPTIMIZER_BLOCK ? left : PARE_OPTIMIZER_BLOCK;
        b->sums[i] = pare_optimizer_sum_squares(b->x + at, size, 1);
    }
}

double pare_optimizer_norm(PareOptimizer *o, const float *gradients, ParePool *pool) {
    double sum = 0;
    for (size_t i = 0; i < o->tensor_count; i++) {
        const PareTrained *t = &o->tensors[i];
        BlockSums b = {gradients + t->tensor->offset, t->count, o->sums + t->blocks_at};
        size_t blocks = (t->count + PARE_OPTIMIZER_BLOCK - 1) / PARE_OPTIMIZER_BLOCK;
        pare_pool_for(pool, blocks, GRAIN / PARE_OPTIMIZER_BLOCK, sum_blocks, &b);
    }
    for (size_t i = 0; i < o->blocks; i++)
        sum += o->sums[i];
    return sqrt(sum);
}

double pare_optimizer_clip(double norm, double max_norm) {
    double factor = max_norm / (norm + 1e-6);
    return max_norm > 0 && factor < 1 ? factor : 1;
}

const char *pare_optimizer_nonfinite(const PareOptimizer *o, const float *gradients) {
    for (size_t i = 0; i < o->tensor_count; i++)
        if (pare_count_nonfinite(gradients + o->tensors[i].tensor->offset, o->tensors[i].count))
            return o->tensors[i].tensor->name;
    return NULL;
}

/* ---- Steps ----------------------------------------------------------------------------------- */

/* x to the n-th, by squaring: the same bits with every C library. */
static double power(double x, uint64_t n) {
    double result = 1;
    for (; n; n >>= 1, x *= x)
        if (n & 1)
            result *= x;
    return result;
}

typedef struct {
    float *weights, *first, *second;
    const float *gradients;
    float scale, keep; /* keep: 1 - rate * weight decay */
    float beta1, rest1, beta2, rest2, bias2, eps, step;
} AdamW;

/* In the reference's order: decay, moments, denominator, step. */
static void adamw_range(void *context, size_t begin, size_t end, size_t thread) {
    const AdamW *a = context;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        float g = a->gradients[i] * a->scale, w = a->weights[i] * a->keep;
        float first = a->first[i] * a->beta1 + a->rest1 * g;
        float second = a->second[i] * a->beta2 + a->rest2 * g * g;
        float denominator = sqrtf(second) / a->bias2 + a->eps;
        a->first[i] = first;
        a->second[i] = second;
        a->weights[i] = w - a->step * first / denominator;
    }
}

static void step_adamw(const PareOptimizerJob *j) {
    const PareOptimizerOptions *p = &j->o->options;
    double decay = j->t->tensor->decay ? p->weight_decay : 0;
    AdamW a = {.weights = j->weights,
               .first = j->o->first + j->t->at,
               .second = j->o->second + j->t->at,
               .gradients = j->gradients,
               .scale = j->scale,
               .keep = (float)(1 - j->rate * decay),
               .beta1 = (float)p->beta1,
               .rest1 = (float)(1 - p->beta1),
               .beta2 = (float)p->beta2,
               .rest2 = (float)(1 - p->beta2),
               .bias2 = (float)sqrt(1 - power(p->beta2, j->o->steps)),
               .eps = (float)p->eps,
               .step = (float)(j->rate / (1 - power(p->beta1, j->o->steps)))};
    pare_pool_for(j->pool, j->t->count, GRAIN, adamw_range, &a);
}

typedef struct {
    float *weights, *velocity; /* velocity NULL: without momentum */
    const float *gradients;
    float scale, decay, momentum, rate;
    bool nesterov;
} Sgd;

static void sgd_range(void *context, size_t begin, size_t end, size_t thread) {
    const Sgd *s = context;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        float g = s->gradients[i] * s->scale + s->decay * s->weights[i];
        if (s->velocity) {
            float v = s->velocity[i] = s->velocity[i] * s->momentum + g;
            g = s->nesterov ? g + s->momentum * v : v;
        }
        s->weights[i] -= s->rate * g;
    }
}

static void step_sgd(const PareOptimizerJob *j) {
    const PareOptimizerOptions *p = &j->o->options;
    Sgd s = {.weights = j->weights,
             .velocity = j->o->first ? j->o->first + j->t->at : NULL,
             .gradients = j->gradients,
             .scale = j->scale,
             .decay = j->t->tensor->decay ? (float)p->weight_decay : 0,
             .momentum = (float)p->momentum,
             .rate = (float)j->rate,
             .nesterov = p->nesterov};
    pare_pool_for(j->pool, j->t->count, GRAIN, sgd_range, &s);
}

typedef struct {
    const float *weights;
    float *average;
    float take;
} Average;

/* Not as a * decay + w * (1 - decay): rounded, the two would not add up to 1. */
static void average_range(void *context, size_t begin, size_t end, size_t thread) {
    const Average *a = context;
    (void)thread;
    for (size_t i = begin; i < end; i++)
        a->average[i] += a->take * (a->weights[i] - a->average[i]);
}

static void follow(const PareOptimizerJob *j) {
    Average a = {j->weights, j->o->average + j->t->at, (float)(1 - j->o->options.average)};
    pare_pool_for(j->pool, j->t->count, GRAIN, average_range, &a);
}

void pare_optimizer_step(PareOptimizer *o, float *weights, const float *gradients, double scale,
                         double rate, ParePool *pool) {
    o->steps++;
    for (size_t i = 0; i < o->tensor_count; i++) {
        const PareTrained *t = &o->tensors[i];
        PareOptimizerJob j = {.o = o,
                              .t = t,
                              .weights = weights + t->tensor->offset,
                              .gradients = gradients + t->tensor->offset,
                              .scale = (float)scale,
                              .rate = rate * t->tensor->lr_factor,
                              .pool = pool};
        if (o->options.kind == PARE_OPTIMIZER_ADAMW)
            step_adamw(&j);
        else if (o->options.kind == PARE_OPTIMIZER_SGD)
            step_sgd(&j);
        else
            pare_optimizer_adafactor(&j);
        if (o->average)
            follow(&j);
    }
}

void pare_optimizer_average(const PareOptimizer *o, const float *weights, float *out) {
    if (out != weights)
        memcpy(out, weights, o->size * sizeof *out);
    for (size_t i = 0; i < o->tensor_count && o->average; i++)
        memcpy(out + o->tensors[i].tensor->offset, o->average + o->tensors[i].at,
               o->tensors[i].count * sizeof *out);
}

/* ---- State ----------------------------------------------------------------------------------- */

size_t pare_optimizer_states(PareOptimizer *o, PareOptimizerState out[PARE_OPTIMIZER_STATES]) {
    bool sgd = o->options.kind == PARE_OPTIMIZER_SGD;
    const PareOptimizerState all[] = {{sgd ? "momentum" : "first", o->first, o->floats},
                                      {"second", o->second, o->floats},
                                      {"rows", o->rows, o->row_count},
                                      {"columns", o->columns, o->column_count},
                                      {"squares", o->squares, o->square_count},
                                      {"average", o->average, o->floats}};
    size_t count = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].values)
            out[count++] = all[i];
    return count;
}

uint64_t pare_optimizer_steps(const PareOptimizer *o) {
    return o->steps;
}

void pare_optimizer_set_steps(PareOptimizer *o, uint64_t steps) {
    o->steps = steps;
}
