/* Repair: both models' residual streams side by side, one sublayer after the other.
 *
 * What a map should give is not only what it gave in the original. The target is the original
 * stream behind the sublayer (before the norm of post-norm models) less the pruned stream in front
 * of it, so that each map also takes back what those before it, and layers that are gone, left
 * wrong. */
#include "prune/repair.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "formats/pare_file.h"
#include "prune/repair_solve.h"
#include "prune/repair_streams.h"
#include "runtime/blas.h"

enum { NAME_SIZE = 128, NO_LAYER = UINT32_MAX };

struct PareRepair {
    PareArena *arena;
    size_t slots;
    float **values; /* [slots]: of the pruned model; slots that share values have the same */
    bool *solved;   /* [slots] */
    PareRepairLine *lines;
    size_t line_count;
};

typedef struct {
    PareRepair *repair;
    const PareRepairOptions *o;
    const PareWeights *original;
    const PareSlices *slices;
    const PareDescription *d; /* of the pruned model */
    PareParams params;        /* the same; bound to repair->values */
    ParePool *pool;
    PareRun run;
    PareCalibration calibration;
    PareStreams whole, cut; /* the original model's and the pruned one's */
    float *x, *y;           /* of one sublayer: inputs of its last map, outputs */
    float *target, *e;      /* what the outputs should be, and what is missing of that */
    PareProgress *progress;
    uint64_t done;
    PareError *err;
} Work;

/* -- the pruned model in memory -- */

static PareStatus read_values(Work *w) {
    PareRepair *r = w->repair;
    const PareSlots *slots = pare_slices_slots(w->slices);
    PareStatus st = PARE_OK;
    r->slots = slots->count;
    r->values = pare_arena_alloc(r->arena, slots->count, sizeof *r->values);
    r->solved = pare_arena_alloc(r->arena, slots->count, sizeof *r->solved);
    if (!r->values || !r->solved)
        return pare_memory_error(w->err, "the pruned model");
    for (size_t i = 0; i < slots->count && !st; i++) {
        const PareSlot *s = &slots->items[i];
        size_t shared = pare_slices_shared(w->slices, i);
        r->values[i] = shared == i ? pare_alloc(s->shape[0] * (s->dims == 2 ? s->shape[1] : 1),
                                                sizeof **r->values)
                                   : r->values[shared];
        if (!r->values[i])
            st = pare_memory_error(w->err, s->name);
        else if (shared == i)
            st = pare_slices_read(w->slices, i, r->values[i], w->err);
    }
    return st ? st : pare_params_bind_memory(w->d, slots, r->values, r->arena, &w->params, w->err);
}

static size_t find_slot(const Work *w, const char *format, const char *stack, uint32_t layer) {
    char name[NAME_SIZE];
    const PareSlots *slots = pare_slices_slots(w->slices);
    snprintf(name, sizeof name, format, stack, layer);
    const PareSlot *s = pare_slots_find(slots, name);
    return s ? (size_t)(s - slots->items) : SIZE_MAX;
}

static const char *const stack_names[PARE_STACKS] = {"encoder", "decoder"};

/* Calibration reads the original's token ids; a vocabulary that is cut has other numbers. Its stack
 * reads a table here that is cut along the width alone. */
static PareStatus widen_tables(Work *w) {
    const PareSlots *slots = pare_slices_slots(w->slices);
    for (int s = 0; s < PARE_STACKS; s++) {
        size_t slot = find_slot(w, "%s.embed.tokens", stack_names[s], 0);
        if (slot == SIZE_MAX || !pare_slices_kept(w->slices, slot, 0))
            continue;
        const PareWeight *from = &w->original->params.stacks[s].tokens;
        const PareKeep *kept = pare_slices_kept(w->slices, slot, 1);
        size_t K = (size_t)slots->items[slot].shape[1], count;
        PareWeight *to = &w->params.stacks[s].tokens;
        float *table = pare_size_mul(from->N, K, &count)
                           ? pare_arena_alloc(w->repair->arena, count, sizeof *table)
                           : NULL;
        if (!table)
            return pare_memory_error(w->err, "token embeddings");
        for (size_t i = 0; i < from->N; i++)
            for (size_t k = 0; k < K; k++)
                table[i * K + k] =
                    ((const float *)from->data)[i * from->K + (kept ? kept->units[k] : k)];
        to->data = table;
        to->N = from->N;
    }
    return PARE_OK;
}

/* -- one sublayer -- */

typedef struct {
    PareStackIndex stack;
    PareSublayer which;
    uint32_t old, layer; /* in the original; in the pruned model, NO_LAYER: it has none */
    size_t rows, width, cut_width;
    const PareKeep *kept; /* of the width; NULL: all */
} Place;

/* What the map should give: original stream + y - pruned stream, by the kept columns; returns |y|^2
 * of those. */
static double find_target(const Work *w, const Place *p) {
    const float *whole = w->whole.x[p->stack], *cut = w->cut.x[p->stack];
    double sum = 0;
    for (size_t i = 0; i < p->rows; i++)
        for (size_t k = 0; k < p->cut_width; k++) {
            size_t from = i * p->width + (p->kept ? p->kept->units[k] : k);
            size_t to = i * p->cut_width + k;
            w->target[to] = w->y[from] + (whole[from] - cut[to]);
            sum += (double)w->y[from] * (double)w->y[from];
        }
    return sum;
}

/* What the map gives now, into y; what is missing, into e. Returns the square of that. */
static PareStatus compare(const Work *w, const Place *p, const PareLinear *map, double *error) {
    size_t count = p->rows * p->cut_width;
    PareStatus st = pare_streams_linear(&w->cut, p->stack, map, w->x, w->y);
    *error = 0;
    for (size_t i = 0; i < count && !st; i++) {
        w->e[i] = w->target[i] - w->y[i];
        *error += (double)w->e[i] * (double)w->e[i];
    }
    return st;
}

/* W += D^T and b += c, where the map has a bias. */
static void move(float *weight, float *bias, const PareNormal *n, const double *shift) {
    for (size_t i = 0; i < n->N; i++) {
        for (size_t k = 0; k < n->K; k++)
            weight[i * n->K + k] = (float)((double)weight[i * n->K + k] + n->r[k * n->N + i]);
        if (bias)
            bias[i] = (float)((double)bias[i] + shift[i]);
    }
}

static PareStatus fit(Work *w, const Place *p, const PareLinear *map, float *weight, float *bias,
                      const char *name) {
    PareNormal n;
    PareStatus st =
        pare_normal_create(map->weight.K, map->weight.N, bias != NULL, w->pool, &n, w->err);
    double *shift = st ? NULL : pare_alloc(map->weight.N, sizeof *shift);
    if (!st && !shift)
        st = pare_memory_error(w->err, "least squares");
    if (!st)
        st = pare_normal_add(&n, w->x, w->e, p->rows, w->err);
    if (!st) {
        double mean = pare_normal_centre(&n);
        st = pare_normal_solve(&n, mean * pare_repair_ridge(w->o), shift, name, w->err);
    }
    if (!st)
        move(weight, bias, &n, shift);
    pare_free(shift);
    pare_normal_destroy(&n);
    return st;
}

/* Whether other slots have their values from the same place: a map that several layers share is
 * left as it is, since each of them would need another one. */
static bool is_shared(const Work *w, size_t slot) {
    if (slot == SIZE_MAX)
        return false;
    for (size_t i = 0; i < w->repair->slots; i++)
        if (i != slot && w->repair->values[i] == w->repair->values[slot])
            return true;
    return false;
}

/* The last map's slots. */
typedef struct {
    size_t weight, bias;
    const char *name;
} Map;

static Map map_of(const Work *w, const Place *p) {
    static const char *const NAMES[PARE_SUBLAYERS][2] = {
        {"%s.layers.%u.self.output.weight", "%s.layers.%u.self.output.bias"},
        {"%s.layers.%u.cross.output.weight", "%s.layers.%u.cross.output.bias"},
        {"%s.layers.%u.ffn.out.weight", "%s.layers.%u.ffn.out.bias"}};
    const char *stack = stack_names[p->stack];
    Map m = {find_slot(w, NAMES[p->which][0], stack, p->layer),
             find_slot(w, NAMES[p->which][1], stack, p->layer), ""};
    m.name = pare_slices_slots(w->slices)->items[m.weight].name;
    return m;
}

static void add_line(const Work *w, const Place *p, double before, double after, double whole) {
    static const int KINDS[PARE_SUBLAYERS] = {PARE_REPAIRED_SELF, PARE_REPAIRED_CROSS,
                                              PARE_REPAIRED_FFN};
    PareRepairLine *l = &w->repair->lines[w->repair->line_count++];
    *l = (PareRepairLine){.stack = p->stack, .layer = p->old};
    l->sublayer = KINDS[p->which];
    l->before = whole > 0 ? before / whole : 0;
    l->after = whole > 0 ? after / whole : 0;
}

/* Fits the map, unless others share it. Values that would not be better (rounding, where nothing is
 * wrong) are not taken. */
static PareStatus improve(Work *w, const Place *p, const Map *m, const PareLinear *map,
                          double before, double *after) {
    PareRepair *r = w->repair;
    size_t count = map->weight.N * map->weight.K, N = map->weight.N;
    float *weight = r->values[m->weight], *bias = m->bias == SIZE_MAX ? NULL : r->values[m->bias];
    *after = before;
    if (is_shared(w, m->weight) || is_shared(w, m->bias))
        return PARE_OK;
    float *old = pare_alloc(count + N, sizeof *old);
    if (!old)
        return pare_memory_error(w->err, m->name);
    memcpy(old, weight, count * sizeof *old);
    if (bias)
        memcpy(old + count, bias, N * sizeof *old);
    PareStatus st = fit(w, p, map, weight, bias, m->name);
    if (!st)
        st = compare(w, p, map, after);
    bool better = *after < before;
    r->solved[m->weight] = better;
    if (bias)
        r->solved[m->bias] = better;
    if (!st && !better) {
        memcpy(weight, old, count * sizeof *old);
        if (bias)
            memcpy(bias, old + count, N * sizeof *old);
        st = compare(w, p, map, after);
    }
    pare_free(old);
    return st;
}

static PareStatus solve(Work *w, const Place *p, double whole) {
    Map m = map_of(w, p);
    double before, after = 0;
    const PareLinear *map =
        pare_transformer_sublayer(&w->params.stacks[p->stack].layers[p->layer], p->which).output;
    PareStatus st = compare(w, p, map, &before);
    if (!st)
        st = improve(w, p, &m, map, before, &after);
    if (!st)
        add_line(w, p, before, after, whole);
    return st;
}

static PareStatus run_sublayer(Work *w, const Place *p) {
    const PareStack *stack = &w->original->description.stacks[p->stack];
    const PareLayerParams *l = &w->original->params.stacks[p->stack].layers[p->old];
    if (!pare_streams_has(&stack->layers[p->old], p->which))
        return PARE_OK;
    PareStatus st = pare_streams_inside(&w->whole, p->stack, p->old, p->which, w->x);
    if (!st)
        st = pare_streams_linear(&w->whole, p->stack, pare_transformer_sublayer(l, p->which).output,
                                 w->x, w->y);
    bool kept = p->layer != NO_LAYER &&
                pare_streams_has(&w->d->stacks[p->stack].layers[p->layer], p->which);
    double whole = st || !kept ? 0 : find_target(w, p);
    if (!st)
        st = pare_streams_advance(&w->whole, p->stack, p->old, p->which, w->y);
    if (!st && kept)
        st = pare_streams_inside(&w->cut, p->stack, p->layer, p->which, w->x);
    if (!st && kept)
        st = solve(w, p, whole);
    if (!st && kept)
        st = pare_streams_advance(&w->cut, p->stack, p->layer, p->which, w->y);
    pare_progress_update(w->progress, ++w->done, NULL);
    return st;
}

/* -- stacks -- */

static uint32_t pruned_layer(const Work *w, PareStackIndex stack, uint32_t old) {
    for (uint32_t l = 0; l < w->d->stacks[stack].layer_count; l++)
        if (pare_slices_layer(w->slices, stack, l) == old)
            return l;
    return NO_LAYER;
}

/* The columns of the stream that are kept: those of any matrix that adds to it. */
static const PareKeep *kept_width(const Work *w, PareStackIndex stack) {
    const PareSlots *slots = pare_slices_slots(w->slices);
    for (size_t i = 0; i < slots->count; i++)
        for (uint32_t k = 0; k < slots->items[i].dims; k++)
            if (slots->items[i].axes[k].kind == PARE_AXIS_WIDTH &&
                slots->items[i].axes[k].stack == stack)
                return pare_slices_kept(w->slices, i, k);
    return NULL;
}

static PareStatus run_stack(Work *w, PareStackIndex s) {
    const PareStack *before = &w->original->description.stacks[s];
    Place p = {.stack = s,
               .rows = w->calibration.rows[s],
               .width = before->width,
               .cut_width = w->d->stacks[s].width,
               .kept = kept_width(w, s)};
    PareStatus st = pare_streams_embed(&w->whole, s);
    if (!st)
        st = pare_streams_embed(&w->cut, s);
    for (uint32_t l = 0; l < before->layer_count && !st; l++) {
        p.old = l;
        p.layer = pruned_layer(w, s, l);
        for (int k = 0; k < PARE_SUBLAYERS && !st; k++) {
            p.which = (PareSublayer)k;
            st = run_sublayer(w, &p);
        }
    }
    if (!st)
        st = pare_streams_finish(&w->whole, s);
    return st ? st : pare_streams_finish(&w->cut, s);
}

/* -- all of it -- */

/* Room for the largest sublayer. */
static PareStatus make_buffers(Work *w, size_t *sublayers) {
    const PareDescription *d = &w->original->description;
    PareStatus st = pare_streams_buffers(&w->calibration, d, &w->x, &w->y, sublayers, w->err);
    size_t most = 0;
    for (int s = 0; s < PARE_STACKS && !st; s++) {
        size_t count = w->calibration.rows[s] * w->d->stacks[s].width; /* less than y has */
        most = count > most ? count : most;
    }
    if (st)
        return st;
    w->e = pare_alloc(most, sizeof *w->e);
    w->target = pare_alloc(most, sizeof *w->target);
    w->repair->lines = pare_arena_alloc(w->repair->arena, *sublayers, sizeof *w->repair->lines);
    return w->e && w->target && w->repair->lines ? PARE_OK
                                                 : pare_memory_error(w->err, "calibration rows");
}

static PareStatus prepare(Work *w) {
    const PareRepairOptions *o = w->o;
    size_t sublayers = 0;
    if (!(o->ridge >= 0) || isinf(o->ridge))
        return pare_error_set(w->err, PARE_E_USAGE,
                              "the ridge of the repair is %g; it must be finite and not negative",
                              o->ridge);
    PareStatus st = read_values(w);
    if (!st)
        st = widen_tables(w);
    if (!st)
        st = pare_calibration_choose(o->data->examples, "calibration data",
                                     &w->original->description, w->d, pare_repair_rows(o),
                                     w->repair->arena, &w->calibration, w->err);
    if (!st)
        st = make_buffers(w, &sublayers);
    if (!st)
        st = pare_pool_create(o->threads, &w->pool, w->err);
    if (st)
        return st;
    pare_blas_init();
    w->run.pool = w->pool;
    if (!(w->run.arena = pare_arena_create(0)))
        return pare_memory_error(w->err, "repair");
    if (o->progress)
        w->progress = o->progress("repairing", sublayers);
    st = pare_streams_open(&w->whole, &w->run, &w->calibration, &w->original->description,
                           &w->original->params);
    return st ? st : pare_streams_open(&w->cut, &w->run, &w->calibration, w->d, &w->params);
}

static void end(Work *w) {
    pare_progress_finish(w->progress);
    pare_streams_close(&w->whole);
    pare_streams_close(&w->cut);
    pare_arena_destroy(w->run.arena);
    pare_pool_destroy(w->pool);
    pare_free(w->x);
    pare_free(w->y);
    pare_free(w->target);
    pare_free(w->e);
}

/* What was not solved is not needed any more. */
static void drop_unsolved(PareRepair *r, const PareSlices *slices) {
    for (size_t i = r->slots; i-- > 0;) {
        if (r->solved[i])
            continue;
        if (pare_slices_shared(slices, i) == i)
            pare_free(r->values[i]);
        r->values[i] = NULL;
    }
}

PareStatus pare_repair_solve(const PareWeights *original, const PareSlices *slices,
                             const PareRepairOptions *o, PareRepair **out, PareError *err) {
    *out = NULL;
    Work w = {.o = o,
              .original = original,
              .slices = slices,
              .d = pare_slices_description(slices),
              .run = {.kernels = pare_kernels(), .err = err},
              .err = err};
    PareStatus st = PARE_OK;
    if (!(w.repair = pare_alloc(1, sizeof *w.repair)) || !(w.repair->arena = pare_arena_create(0)))
        st = pare_memory_error(err, "repair");
    if (!st)
        st = prepare(&w);
    for (int s = 0; s < PARE_STACKS && !st; s++)
        if (w.d->stacks[s].present)
            st = run_stack(&w, (PareStackIndex)s);
    end(&w);
    if (w.repair && w.repair->solved)
        drop_unsolved(w.repair, slices);
    if (st)
        pare_repair_destroy(w.repair);
    else
        *out = w.repair;
    return st;
}

void pare_repair_destroy(PareRepair *r) {
    if (!r)
        return;
    for (size_t i = 0; r->values && i < r->slots; i++)
        pare_free(r->values[i]);
    pare_arena_destroy(r->arena);
    pare_free(r);
}

const float *pare_repair_values(const PareRepair *r, size_t slot) {
    return r->solved[slot] ? r->values[slot] : NULL;
}

const PareRepairLine *pare_repair_lines(const PareRepair *r, size_t *count) {
    *count = r->line_count;
    return r->lines;
}
