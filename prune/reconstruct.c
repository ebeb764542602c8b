/* Backward elimination of units: one inverse, and a downdate of it for every unit that goes. */
#include "prune/reconstruct.h"

#include <string.h>

#include "core/file.h"
#include "prune/repair_solve.h"
#include "prune/repair_streams.h"
#include "runtime/blas.h"

/* -- one map -- */

/* Units in the order in which they lie now: those that are left in front. */
typedef struct {
    size_t K, N, group; /* inputs, outputs, inputs of a unit */
    size_t left;        /* units */
    double *inverse;    /* [K, K]: of H of the units that are left */
    double *weight;     /* [K, N]: what they give, a row an input */
    double *cost;       /* [units]: of taking out the unit that lies here */
    uint32_t *unit;     /* [units]: which one that is */
    double *factor;     /* [K, group]: of the unit that goes */
    double *small;      /* [threads, group * (group + N)] */
    ParePool *pool;
} Elimination;

/* Cost of the unit at `place`: tr(w^T B^-1 w), B its block of the inverse. */
static double cost_of(const Elimination *e, size_t place, double *small) {
    size_t g = e->group, N = e->N, at = place * g;
    const double *w = e->weight + at * N;
    double sum = 0;
    if (g == 1) {
        for (size_t i = 0; i < N; i++)
            sum += w[i] * w[i];
        return sum / e->inverse[at * e->K + at];
    }
    double *solved = small + g * g;
    for (size_t i = 0; i < g; i++)
        memcpy(small + i * g, e->inverse + (at + i) * e->K + at, g * sizeof *small);
    memcpy(solved, w, g * N * sizeof *solved);
    if (!pare_blas_cholesky(small, g))
        return 0; /* rounding has eaten it: the others stand in for it exactly */
    pare_blas_cholesky_solve(small, g, solved, N, N);
    for (size_t i = 0; i < g * N; i++)
        sum += w[i] * solved[i];
    return sum > 0 ? sum : 0;
}

static void count_costs(void *context, size_t begin, size_t end, size_t thread) {
    const Elimination *e = context;
    for (size_t i = begin; i < end; i++)
        e->cost[i] = cost_of(e, i, e->small + thread * e->group * (e->group + e->N));
}

/* Changes two units' places. */
static void swap_doubles(double *a, double *b, size_t count) {
    for (size_t i = 0; i < count; i++) {
        double x = a[i];
        a[i] = b[i];
        b[i] = x;
    }
}

static void swap_units(const Elimination *e, size_t a, size_t b) {
    size_t g = e->group, K = e->K, N = e->N;
    uint32_t unit = e->unit[a];
    if (a == b)
        return;
    e->unit[a] = e->unit[b];
    e->unit[b] = unit;
    swap_doubles(e->weight + a * g * N, e->weight + b * g * N, g * N);
    swap_doubles(e->inverse + a * g * K, e->inverse + b * g * K, g * K);
    for (size_t i = 0; i < e->left * g; i++)
        swap_doubles(e->inverse + i * K + a * g, e->inverse + i * K + b * g, g);
}

/* Rows of the units that stay: less their share in the one behind them that goes. */
static void downdate(void *context, size_t begin, size_t end, size_t thread) {
    const Elimination *e = context;
    size_t g = e->group, K = e->K, N = e->N, stay = e->left * g;
    (void)thread;
    for (size_t i = begin * g; i < end * g; i++)
        for (size_t k = 0; k < g; k++) {
            double f = e->factor[i * g + k];
            const double *gone = e->inverse + (stay + k) * K, *w = e->weight + (stay + k) * N;
            for (size_t j = 0; j < stay; j++)
                e->inverse[i * K + j] -= f * gone[j];
            for (size_t j = 0; j < N; j++)
                e->weight[i * N + j] -= f * w[j];
        }
}

/* Takes the last unit out: the inverse and the weights of the rest become those without it. */
static void take_last(Elimination *e) {
    size_t g = e->group, K = e->K, stay = --e->left * g;
    double *block = e->small;
    for (size_t i = 0; i < g; i++)
        memcpy(block + i * g, e->inverse + (stay + i) * K + stay, g * sizeof *block);
    if (!pare_blas_cholesky(block, g))
        return;                         /* as in cost_of */
    for (size_t i = 0; i < stay; i++) { /* B^-1 times the columns of the inverse */
        memcpy(e->factor + i * g, e->inverse + i * K + stay, g * sizeof *block);
        pare_blas_cholesky_solve(block, g, e->factor + i * g, 1, 1);
    }
    pare_pool_for(e->pool, e->left, g > 1 ? 1 : 16, downdate, e);
}

static PareStatus eliminate(Elimination *e, double scale, double *score, PareError *err) {
    double error = 0;
    size_t units = e->left;
    for (size_t i = 0; i < units; i++)
        e->unit[i] = (uint32_t)i;
    while (e->left > 0) {
        size_t best = 0;
        pare_pool_for(e->pool, e->left, e->group > 1 ? 1 : 64, count_costs, e);
        for (size_t i = 1; i < e->left; i++)
            if (e->cost[i] < e->cost[best] ||
                (!(e->cost[i] > e->cost[best]) && e->unit[i] < e->unit[best]))
                best = i;
        error += e->cost[best];
        score[e->unit[best]] = error * scale;
        swap_units(e, best, e->left - 1);
        take_last(e);
        PareStatus st = pare_interrupt_check(err);
        if (st)
            return st;
    }
    return PARE_OK;
}

/* -- a model -- */

typedef struct {
    const PareWeights *w;
    const PareRepairOptions *o;
    PareStackScores *out;
    ParePool *pool;
    PareArena *arena; /* the scores' */
    PareRun run;
    PareCalibration calibration;
    PareStreams streams;
    float *x, *y;
    PareProgress *progress;
    uint64_t done;
    PareError *err;
} Work;

/* One sublayer's last map. */
typedef struct {
    PareStackIndex stack;
    uint32_t layer;
    PareSublayer which;
    const PareLinear *map;
    size_t rows, group;
    double *score;
} Place;

/* What the outputs vary by: with an intercept around their means. */
static double variation(const Work *w, const Place *p) {
    size_t N = p->map->weight.N;
    double sum = 0;
    for (size_t k = 0; k < N; k++) {
        double mean = 0, squares = 0;
        for (size_t i = 0; i < p->rows; i++) {
            double y = (double)w->y[i * N + k];
            mean += y / (double)p->rows;
            squares += y * y;
        }
        sum += squares - (p->map->bias ? (double)p->rows * mean * mean : 0);
    }
    return sum;
}

static void destroy(Elimination *e) {
    pare_free(e->inverse);
    pare_free(e->weight);
    pare_free(e->cost);
    pare_free(e->unit);
    pare_free(e->factor);
    pare_free(e->small);
}

static PareStatus create(const Work *w, const Place *p, Elimination *e) {
    size_t K = p->map->weight.K, N = p->map->weight.N, g = p->group, units = K / g;
    *e = (Elimination){.K = K, .N = N, .group = g, .left = units, .pool = w->pool};
    e->inverse = pare_alloc(K * K, sizeof *e->inverse); /* bounded by the description's check */
    e->weight = pare_alloc(K * N, sizeof *e->weight);
    e->cost = pare_alloc(units, sizeof *e->cost);
    e->unit = pare_alloc(units, sizeof *e->unit);
    e->factor = pare_alloc(K * g, sizeof *e->factor);
    e->small = pare_alloc(pare_pool_threads(w->pool) * g * (g + N), sizeof *e->small);
    if (!e->inverse || !e->weight || !e->cost || !e->unit || !e->factor || !e->small) {
        destroy(e);
        return pare_memory_error(w->err, "reconstruction");
    }
    for (size_t i = 0; i < K; i++) {
        e->inverse[i * K + i] = 1;
        for (size_t k = 0; k < N; k++)
            e->weight[i * N + k] = (double)((const float *)p->map->weight.data)[k * K + i];
    }
    return PARE_OK;
}

/* H^-1, by which the elimination begins. `ridge` 0: the inputs never vary. */
static PareStatus find_inverse(const Work *w, const Place *p, Elimination *e, bool *still) {
    PareNormal n;
    size_t K = e->K;
    PareStatus st = pare_normal_create(K, 0, p->map->bias != NULL, w->pool, &n, w->err);
    double *l = st ? NULL : pare_alloc(K * K, sizeof *l);
    if (!st && !l)
        st = pare_memory_error(w->err, "reconstruction");
    if (!st)
        st = pare_normal_add(&n, w->x, w->y, p->rows, w->err);
    if (!st) {
        double mean = pare_normal_centre(&n);
        *still = mean == 0;
        if (!*still)
            st = pare_normal_factor(&n, mean * pare_repair_ridge(w->o), l, "a sublayer", w->err);
    }
    if (!st && !*still)
        pare_normal_substitute(l, K, e->inverse, K, w->pool);
    pare_free(l);
    pare_normal_destroy(&n);
    return st;
}

static PareStatus measure(const Work *w, const Place *p) {
    Elimination e;
    bool still = false;
    double whole = variation(w, p);
    PareStatus st = create(w, p, &e);
    if (st)
        return st;
    st = find_inverse(w, p, &e, &still);
    if (!st && !still)
        st = eliminate(&e, whole > 0 ? 1 / whole : 0, p->score, w->err);
    destroy(&e);
    return st;
}

static PareStatus run_sublayer(Work *w, Place *p) {
    const PareStack *stack = &w->w->description.stacks[p->stack];
    const PareLayerShape *l = &stack->layers[p->layer];
    PareLayerScores *scores = &w->out[p->stack].layers[p->layer];
    bool ffn = p->which == PARE_SUBLAYER_FFN;
    int block = p->which == PARE_SUBLAYER_CROSS ? PARE_BLOCK_CROSS : PARE_BLOCK_SELF;
    if (!pare_streams_has(l, p->which))
        return PARE_OK;
    p->group = ffn ? 1 : (block == PARE_BLOCK_SELF ? l->self : l->cross).head_size;
    p->map =
        pare_transformer_sublayer(&w->w->params.stacks[p->stack].layers[p->layer], p->which).output;
    p->score = pare_arena_alloc(w->arena, p->map->weight.K / p->group, sizeof *p->score);
    if (!p->score)
        return pare_memory_error(w->err, "scores");
    *(ffn ? &scores->ffn : &scores->heads[block]) = p->score;
    PareStatus st = pare_streams_inside(&w->streams, p->stack, p->layer, p->which, w->x);
    if (!st)
        st = pare_streams_linear(&w->streams, p->stack, p->map, w->x, w->y);
    if (!st)
        st = measure(w, p);
    pare_progress_update(w->progress, ++w->done, NULL);
    return st ? st : pare_streams_advance(&w->streams, p->stack, p->layer, p->which, w->y);
}

static PareStatus run_stack(Work *w, PareStackIndex s) {
    uint32_t layers = w->w->description.stacks[s].layer_count;
    Place p = {.stack = s, .rows = w->calibration.rows[s]};
    w->out[s].layers = pare_arena_alloc(w->arena, layers, sizeof *w->out[s].layers);
    if (!w->out[s].layers)
        return pare_memory_error(w->err, "scores");
    PareStatus st = pare_streams_embed(&w->streams, s);
    for (p.layer = 0; p.layer < layers && !st; p.layer++)
        for (int k = 0; k < PARE_SUBLAYERS && !st; k++) {
            p.which = (PareSublayer)k;
            st = run_sublayer(w, &p);
        }
    return st ? st : pare_streams_finish(&w->streams, s);
}

static PareStatus run(Work *w, PareArena *scratch) {
    const PareDescription *d = &w->w->description;
    size_t sublayers;
    PareStatus st =
        pare_calibration_choose(w->o->data->examples, "calibration data", d, d,
                                pare_repair_rows(w->o), scratch, &w->calibration, w->err);
    if (!st)
        st = pare_streams_buffers(&w->calibration, d, &w->x, &w->y, &sublayers, w->err);
    if (!st)
        st = pare_pool_create(w->o->threads, &w->pool, w->err);
    if (st)
        return st;
    pare_blas_init();
    w->run.pool = w->pool;
    if (w->o->progress)
        w->progress = w->o->progress("reconstructing", sublayers);
    st = pare_streams_open(&w->streams, &w->run, &w->calibration, d, &w->w->params);
    for (int s = 0; s < PARE_STACKS && !st; s++)
        if (d->stacks[s].present)
            st = run_stack(w, (PareStackIndex)s);
    return st;
}

PareStatus pare_reconstruct_measure(const PareWeights *original, const PareRepairOptions *o,
                                    PareArena *arena, PareStackScores out[PARE_STACKS],
                                    PareError *err) {
    PareArena *scratch = pare_arena_create(0);
    Work w = {.w = original,
              .o = o,
              .out = out,
              .arena = arena,
              .run = {.kernels = pare_kernels(), .arena = scratch, .err = err},
              .err = err};
    memset(out, 0, PARE_STACKS * sizeof *out);
    PareStatus st = scratch ? run(&w, scratch) : pare_memory_error(err, "reconstruction");
    pare_progress_finish(w.progress);
    pare_streams_close(&w.streams);
    pare_pool_destroy(w.pool);
    pare_free(w.x);
    pare_free(w.y);
    pare_arena_destroy(scratch);
    return st;
}
