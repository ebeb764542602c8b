/* Timing steps of a model, and adding them up. */
#include "prune/cost.h"

#include <math.h>
#include <time.h>

#include "core/file.h"
#include "core/random.h"
#include "core/tensor.h"
#include "runtime/blas.h"
#include "runtime/ops.h"

/* The batch, and at how many sizes a step is timed: quarters of the largest. */
enum { SEQUENCES = 8, LENGTH = 32, ROWS = SEQUENCES * LENGTH, POINTS = 4 };
/* The best of so many times counts. Output matrices are timed in part. */
enum { REPEATS = 5, OUTPUT_ROWS = 8192 };

typedef enum {
    STEP_FROM_WIDTH, /* n heads: width -> n * head size */
    STEP_TO_WIDTH,   /* back */
    STEP_ATTEND,     /* n heads */
    STEP_IN,         /* n units: width -> n */
    STEP_OUT,        /* n -> width */
    STEP_ACTIVATE,   /* n units */
    STEP_NORM,       /* of the width, with the addition before it */
    STEP_COUNT
} Step;

/* Seconds at quarters of the largest size. */
typedef struct {
    double largest, seconds[POINTS];
} Curve;

typedef struct {
    Curve steps[STEP_COUNT];
    double width;
    uint32_t head_size;
} StackCost;

struct PareCost {
    StackCost stacks[PARE_STACKS];
    double output; /* seconds of the output layer, a row of it and a unit of its width */
};

typedef struct {
    PareWeightFormat format;
    PareRun *run;
    PareProgress *progress;
    uint64_t done;
} Timer;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* -- operands -- */

static void fill(float *values, size_t count) {
    for (size_t i = 0; i < count; i++)
        values[i] = pare_random_float(1, 2, i % 4096) - 0.5F;
}

static float *random_values(Timer *t, size_t count) {
    float *values = pare_arena_alloc_raw(t->run->arena, count, sizeof *values);
    if (values)
        fill(values, count);
    else
        t->run->status = pare_memory_error(t->run->err, "a prediction");
    return values;
}

/* A matrix in the format, with any values: what they are makes no difference to the time. */
static PareWeight random_weight(Timer *t, size_t N, size_t K) {
    size_t rows = (N + PARE_BLOCK_ROWS - 1) / PARE_BLOCK_ROWS * PARE_BLOCK_ROWS;
    size_t cols = (K + PARE_BLOCK_DEPTH - 1) / PARE_BLOCK_DEPTH * PARE_BLOCK_DEPTH;
    PareArena *arena = t->run->arena;
    PareWeight w = {.dtype = PARE_F32, .layout = PARE_LAYOUT_ROWS, .N = N, .K = K};
    if (t->format == PARE_WEIGHTS_F32) {
        w.data = random_values(t, N * K);
        return w;
    }
    bool i8 = t->format == PARE_WEIGHTS_I8;
    w.dtype = i8 ? PARE_I8 : PARE_F16;
    w.layout = i8 ? PARE_LAYOUT_BLOCK4 : PARE_LAYOUT_BLOCK1;
    uint8_t *data = pare_arena_alloc_raw(arena, rows * cols, i8 ? 1 : 2);
    for (size_t i = 0; data && i < rows * cols * (i8 ? 1 : 2); i++)
        data[i] = (uint8_t)(1 + i % 50); /* halves: small numbers */
    w.data = data;
    w.scales = random_values(t, rows);
    w.sums = pare_arena_alloc(arena, rows, sizeof *w.sums);
    if (!data || !w.sums)
        t->run->status = pare_memory_error(t->run->err, "a prediction");
    return w;
}

/* -- steps -- */

static void run_linear(Timer *t, size_t N, size_t K, double *seconds) {
    PareLinear l = {.weight = random_weight(t, N, K)};
    float *x = random_values(t, ROWS * K);
    for (int i = 0; i <= REPEATS && !t->run->status; i++) {
        PareArenaMark mark = pare_arena_mark(t->run->arena);
        PareValue *view = pare_op_view(t->run, x, ROWS, K);
        double begin = now();
        pare_op_linear(t->run, view, &l);
        double took = now() - begin;
        *seconds = i == 0 || took < *seconds ? took : *seconds;
        pare_arena_release(t->run->arena, mark);
    }
}

static void run_attend(Timer *t, size_t heads, uint32_t head_size, double *seconds) {
    size_t cols = heads * head_size;
    float *q = random_values(t, ROWS * cols), *k = random_values(t, ROWS * cols);
    PareSpan spans[SEQUENCES];
    PareAttention a = {.shape = {.heads = (uint32_t)heads,
                                 .kv_heads = (uint32_t)heads,
                                 .head_size = head_size,
                                 .scale = 1}};
    for (size_t s = 0; s < SEQUENCES && k; s++)
        spans[s] = (PareSpan){.q_begin = s * LENGTH,
                              .q_count = LENGTH,
                              .k = k + s * LENGTH * cols,
                              .v = k + s * LENGTH * cols,
                              .keys = LENGTH};
    for (int i = 0; i <= REPEATS && !t->run->status; i++) {
        PareArenaMark mark = pare_arena_mark(t->run->arena);
        PareValue *view = pare_op_view(t->run, q, ROWS, cols);
        double begin = now();
        pare_op_attention(t->run, view, spans, SEQUENCES, &a);
        double took = now() - begin;
        *seconds = i == 0 || took < *seconds ? took : *seconds;
        pare_arena_release(t->run->arena, mark);
    }
}

/* An activation, or a norm behind an addition. */
static void run_rows(Timer *t, const PareStack *k, bool norm, size_t cols, double *seconds) {
    float *x = random_values(t, ROWS * cols), *y = random_values(t, ROWS * cols);
    PareNorm weights = {.weight = y, .bias = k->norm == PARE_NORM_LAYER ? y : NULL};
    for (int i = 0; i <= REPEATS && !t->run->status; i++) {
        PareArenaMark mark = pare_arena_mark(t->run->arena);
        PareValue *a = pare_op_view(t->run, x, ROWS, cols);
        PareValue *b = pare_op_view(t->run, y, ROWS, cols);
        double begin = now();
        if (norm) {
            pare_op_add(t->run, a, b);
            pare_op_norm(t->run, a, k->norm, &weights, 1e-5F);
        } else {
            pare_op_activate(t->run, a, k->activation);
        }
        double took = now() - begin;
        *seconds = i == 0 || took < *seconds ? took : *seconds;
        pare_arena_release(t->run->arena, mark);
    }
}

static void run_step(Timer *t, const PareStack *k, const StackCost *c, Step step, size_t n,
                     double *seconds) {
    PareArenaMark mark = pare_arena_mark(t->run->arena);
    size_t heads = n * c->head_size;
    if (step == STEP_FROM_WIDTH)
        run_linear(t, heads, k->width, seconds);
    else if (step == STEP_TO_WIDTH)
        run_linear(t, k->width, heads, seconds);
    else if (step == STEP_ATTEND)
        run_attend(t, n, c->head_size, seconds);
    else if (step == STEP_IN)
        run_linear(t, n, k->width, seconds);
    else if (step == STEP_OUT)
        run_linear(t, k->width, n, seconds);
    else
        run_rows(t, k, step == STEP_NORM, step == STEP_NORM ? k->width : n, seconds);
    pare_arena_release(t->run->arena, mark);
    pare_progress_update(t->progress, ++t->done, NULL);
}

/* -- curves -- */

static double most(const PareStack *k, Step step) {
    uint32_t heads = 0, units = 0;
    for (uint32_t l = 0; l < k->layer_count; l++) {
        const PareLayerShape *s = &k->layers[l];
        heads = s->self.heads > heads ? s->self.heads : heads;
        heads = s->cross.heads > heads ? s->cross.heads : heads;
        units = s->ffn > units ? s->ffn : units;
    }
    return step == STEP_NORM ? k->width : step <= STEP_ATTEND ? heads : units;
}

/* Larger never counts as faster, whatever else the machine did meanwhile: targets are found by
 * bisection. */
static void measure_curve(Timer *t, const PareStack *k, StackCost *c, Step step) {
    Curve *curve = &c->steps[step];
    curve->largest = most(k, step);
    for (int i = POINTS; i-- > 0 && curve->largest > 0 && !t->run->status;) {
        if (step == STEP_NORM && i < POINTS - 1)
            break;
        size_t n = (size_t)ceil(curve->largest * (i + 1) / POINTS);
        run_step(t, k, c, step, n, &curve->seconds[i]);
        if (i < POINTS - 1 && curve->seconds[i] > curve->seconds[i + 1])
            curve->seconds[i] = curve->seconds[i + 1];
        if (!t->run->status)
            t->run->status = pare_interrupt_check(t->run->err);
    }
}

static void measure_stack(Timer *t, const PareStack *k, StackCost *c) {
    c->width = k->width;
    for (uint32_t l = 0; l < k->layer_count; l++)
        c->head_size = k->layers[l].self.heads    ? k->layers[l].self.head_size
                       : k->layers[l].cross.heads ? k->layers[l].cross.head_size
                                                  : c->head_size;
    for (int step = 0; step < STEP_COUNT; step++)
        measure_curve(t, k, c, (Step)step);
}

/* Only a language model's output layer costs time to speak of. */
static void measure_output(Timer *t, const PareDescription *d, PareCost *c) {
    const PareStack *k = &d->stacks[pare_description_top(d)];
    size_t rows = k->vocabulary < OUTPUT_ROWS ? k->vocabulary : OUTPUT_ROWS;
    PareArenaMark mark = pare_arena_mark(t->run->arena);
    double seconds = 0;
    if (d->head.kind == PARE_HEAD_LM)
        run_linear(t, rows, k->embedding_width, &seconds);
    c->output = seconds / (double)rows / k->embedding_width;
    pare_arena_release(t->run->arena, mark);
    pare_progress_update(t->progress, ++t->done, NULL);
}

size_t pare_cost_steps(const PareDescription *d) {
    size_t stacks = 0;
    for (int s = 0; s < PARE_STACKS; s++)
        stacks += d->stacks[s].present;
    return stacks * ((STEP_COUNT - 1) * POINTS + 1) + 1;
}

PareStatus pare_cost_measure(const PareDescription *d, PareWeightFormat format, size_t threads,
                             PareProgress *progress, PareCost **out, PareError *err) {
    PareRun run = {.err = err};
    ParePool *pool = NULL;
    PareCost *c = pare_alloc(1, sizeof *c);
    *out = NULL;
    run.arena = pare_arena_create(0);
    if (!c || !run.arena)
        run.status = pare_memory_error(err, "a prediction");
    if (!run.status)
        run.status = pare_kernels_init(err);
    if (!run.status)
        run.status = pare_pool_create(threads, &pool, err);
    pare_blas_init();
    run.kernels = pare_kernels();
    run.pool = pool;
    Timer t = {format, &run, progress, 0};
    for (int s = 0; s < PARE_STACKS && !run.status; s++)
        if (d->stacks[s].present)
            measure_stack(&t, &d->stacks[s], &c->stacks[s]);
    if (!run.status)
        measure_output(&t, d, c);
    pare_pool_destroy(pool);
    pare_arena_destroy(run.arena);
    if (run.status)
        pare_cost_destroy(c);
    else
        *out = c;
    return run.status;
}

void pare_cost_destroy(PareCost *c) {
    pare_free(c);
}

/* -- sums -- */

/* Between two quarters straight on; below the first, as the first two go on, but not below 0. */
static double at(const Curve *c, double n) {
    if (c->largest <= 0 || n <= 0)
        return 0;
    double x = n / c->largest * POINTS - 1;
    int i = x < 0 ? 0 : x >= POINTS - 1 ? POINTS - 2 : (int)x;
    double value = c->seconds[i] + (x - i) * (c->seconds[i + 1] - c->seconds[i]);
    return value > 0 ? value : 0;
}

static double block_seconds(const StackCost *c, const PareAttentionShape *a, double width) {
    const Curve *steps = c->steps;
    if (a->heads == 0)
        return 0;
    double products = at(&steps[STEP_FROM_WIDTH], a->heads) +
                      2 * at(&steps[STEP_FROM_WIDTH], a->kv_heads) +
                      at(&steps[STEP_TO_WIDTH], a->heads);
    return products * width + at(&steps[STEP_ATTEND], a->heads) +
           steps[STEP_NORM].seconds[POINTS - 1] * width;
}

static double layer_seconds(const StackCost *c, const PareStack *k, const PareLayerShape *l,
                            double width) {
    const Curve *steps = c->steps;
    double sum = block_seconds(c, &l->self, width) + block_seconds(c, &l->cross, width);
    if (l->ffn == 0)
        return sum;
    double products =
        (k->gated ? 2 : 1) * at(&steps[STEP_IN], l->ffn) + at(&steps[STEP_OUT], l->ffn);
    return sum + products * width + at(&steps[STEP_ACTIVATE], l->ffn) +
           steps[STEP_NORM].seconds[POINTS - 1] * width;
}

double pare_cost_seconds(const PareCost *c, const PareDescription *pruned) {
    const PareStack *top = &pruned->stacks[pare_description_top(pruned)];
    double sum = c->output * top->vocabulary * top->embedding_width;
    for (int s = 0; s < PARE_STACKS; s++) {
        const PareStack *k = &pruned->stacks[s];
        const StackCost *cost = &c->stacks[s];
        double width = k->present ? k->width / cost->width : 0;
        if (k->present)
            sum += cost->steps[STEP_NORM].seconds[POINTS - 1] * width; /* the embedding's */
        for (uint32_t l = 0; k->present && l < k->layer_count; l++)
            sum += layer_seconds(cost, k, &k->layers[l], width);
    }
    return sum;
}
