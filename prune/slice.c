/* Cutting tensors along their axes. */
#include "prune/slice.h"

#include <stdio.h>
#include <string.h>

enum { NAME_SIZE = 256 };

/* How one dimension is cut. */
typedef struct {
    const PareKeep *keep; /* NULL: all */
    uint32_t group;       /* rows that make a unit */
    uint32_t merged;      /* > 0: kept units become so many means */
    uint64_t size;        /* of the result */
} Cut;

typedef struct {
    const PareFileTensor *from;
    Cut cuts[2];
    size_t shared;
} Piece;

struct PareSlices {
    const PareModel *model;
    const ParePrunePlan *plan;
    PareArena *arena;
    PareDescription description;
    PareSlots slots;
    Piece *pieces; /* [slots.count] */
    PareError *err;
};

/* The slot of the original that a slot of the pruned model is made of. */
static void original_name(const PareSlices *s, const char *name, char *out) {
    static const char *const PREFIXES[PARE_STACKS] = {"encoder.layers.", "decoder.layers."};
    snprintf(out, NAME_SIZE, "%s", name);
    for (int k = 0; k < PARE_STACKS; k++) {
        size_t length = strlen(PREFIXES[k]), layer = 0;
        if (strncmp(name, PREFIXES[k], length) != 0)
            continue;
        const char *at = name + length;
        for (; *at >= '0' && *at <= '9'; at++)
            layer = layer * 10 + (size_t)(*at - '0');
        snprintf(out, NAME_SIZE, "%s%u%s", PREFIXES[k], s->plan->stacks[k].layers[layer].layer, at);
    }
}

static uint32_t merged_of(const PareSlices *s, PareAxis axis) {
    const ParePlannedStack *stack = &s->plan->stacks[axis.stack];
    for (uint32_t l = 0; axis.kind == PARE_AXIS_KV && l < stack->layer_count; l++)
        if (stack->layers[l].layer == axis.layer)
            return stack->layers[l].kv_merged[axis.block];
    return 0;
}

static bool same_cut(const Cut *a, const Cut *b) {
    if (a->size != b->size || a->group != b->group || a->merged != b->merged)
        return false;
    if (a->keep == b->keep)
        return true;
    return a->keep && b->keep && a->keep->count == b->keep->count &&
           memcmp(a->keep->units, b->keep->units, a->keep->count * sizeof *a->keep->units) == 0;
}

static PareStatus lay_out(PareSlices *s, size_t i, const PareSlots *before) {
    const PareDescription *d = pare_model_description(s->model);
    const PareSlot *slot = &s->slots.items[i];
    const PareFile *f = pare_model_file(s->model);
    Piece *p = &s->pieces[i];
    char name[NAME_SIZE];
    original_name(s, slot->name, name);
    const PareSlot *old = pare_slots_find(before, name);
    p->from = pare_file_find(f, name);
    if (!old || !p->from)
        return pare_error_set(s->err, PARE_E_FORMAT, "%s: has no tensor '%s'", pare_file_path(f),
                              name);
    if (p->from->dtype == PARE_I8)
        return pare_error_set(s->err, PARE_E_UNSUPPORTED,
                              "%s: tensor '%s' is INT8; prune the model before it is quantized",
                              pare_file_path(f), name);
    for (uint32_t k = 0; k < old->dims; k++)
        p->cuts[k] = (Cut){.keep = pare_prune_plan_axis(s->plan, d, old->axes[k]),
                           .group = old->axes[k].group,
                           .merged = merged_of(s, old->axes[k]),
                           .size = slot->shape[k]};
    p->shared = i;
    const char *stored = p->from->alias_of ? p->from->alias_of : p->from->name;
    for (size_t k = 0; k < i && p->shared == i; k++) {
        const PareFileTensor *other = s->pieces[k].from;
        const char *owner = other->alias_of ? other->alias_of : other->name;
        if (strcmp(owner, stored) == 0 && same_cut(&s->pieces[k].cuts[0], &p->cuts[0]) &&
            same_cut(&s->pieces[k].cuts[1], &p->cuts[1]))
            p->shared = s->pieces[k].shared;
    }
    return PARE_OK;
}

static PareStatus build(PareSlices *s) {
    const PareDescription *d = pare_model_description(s->model);
    PareSlots before;
    PareStatus st = pare_prune_plan_check(s->plan, d, s->err);
    if (!st)
        st = pare_prune_plan_describe(s->plan, d, &s->description, s->err);
    if (!st)
        st = pare_description_check(&s->description, "the pruned model", s->err);
    if (!st)
        st = pare_slots_list(&s->description, s->arena, &s->slots, s->err);
    if (!st)
        st = pare_slots_list(d, s->arena, &before, s->err);
    if (st)
        return st;
    s->pieces = pare_arena_alloc(s->arena, s->slots.count, sizeof *s->pieces);
    if (!s->pieces)
        return pare_memory_error(s->err, "the pruned model");
    for (size_t i = 0; i < s->slots.count && !st; i++)
        st = lay_out(s, i, &before);
    return st;
}

PareStatus pare_slices_create(const PareModel *m, const ParePrunePlan *p, PareSlices **out,
                              PareError *err) {
    *out = NULL;
    PareSlices *s = pare_alloc(1, sizeof *s);
    if (!s || !(s->arena = pare_arena_create(0))) {
        pare_slices_destroy(s);
        return pare_memory_error(err, "the pruned model");
    }
    s->model = m;
    s->plan = p;
    s->err = err;
    PareStatus st = build(s);
    if (st)
        pare_slices_destroy(s);
    else
        *out = s;
    return st;
}

void pare_slices_destroy(PareSlices *s) {
    if (!s)
        return;
    pare_arena_destroy(s->arena);
    pare_free(s);
}

const PareDescription *pare_slices_description(const PareSlices *s) {
    return &s->description;
}

const PareSlots *pare_slices_slots(const PareSlices *s) {
    return &s->slots;
}

size_t pare_slices_shared(const PareSlices *s, size_t index) {
    return s->pieces[index].shared;
}

const PareFileTensor *pare_slices_source(const PareSlices *s, size_t index) {
    return s->pieces[index].from;
}

const PareKeep *pare_slices_kept(const PareSlices *s, size_t index, uint32_t dim) {
    return s->pieces[index].cuts[dim].keep;
}

uint32_t pare_slices_layer(const PareSlices *s, PareStackIndex stack, uint32_t layer) {
    return s->plan->stacks[stack].layers[layer].layer;
}

/* -- values -- */

/* Where row (or column) `index` of the result comes from, when nothing is merged. */
static uint64_t source_of(const Cut *c, uint64_t index) {
    return c->keep ? (uint64_t)c->keep->units[index / c->group] * c->group + index % c->group
                   : index;
}

static void cut_row(const Piece *p, const float *from, float *to) {
    const Cut *c = &p->cuts[1];
    if (p->from->dims < 2)
        *to = *from;
    else if (!c->keep)
        memcpy(to, from, (size_t)c->size * sizeof *to);
    else
        for (uint64_t k = 0; k < c->size; k++)
            to[k] = from[source_of(c, k)];
}

/* Row `row` of a merged result: the mean of the same row of each unit in its group. */
static void mean_row(const Piece *p, const float *values, uint64_t row, uint64_t cols, float *to,
                     size_t to_cols) {
    const Cut *c = &p->cuts[0];
    uint64_t units = c->keep ? c->keep->count : p->from->shape[0] / c->group;
    uint64_t each = units / c->merged, first = row / c->group * each;
    for (size_t k = 0; k < to_cols; k++) {
        uint64_t col = p->from->dims < 2 ? 0 : source_of(&p->cuts[1], k);
        double sum = 0;
        for (uint64_t u = first; u < first + each; u++) {
            uint64_t unit = c->keep ? c->keep->units[u] : u;
            sum += (double)values[(unit * c->group + row % c->group) * cols + col];
        }
        to[k] = (float)(sum / (double)each);
    }
}

PareStatus pare_slices_read(const PareSlices *s, size_t index, float *out, PareError *err) {
    const Piece *p = &s->pieces[index];
    uint64_t cols = p->from->dims < 2 ? 1 : p->from->shape[1];
    size_t to_cols = p->from->dims < 2 ? 1 : (size_t)p->cuts[1].size;
    float *values = pare_alloc((size_t)(p->from->shape[0] * cols), sizeof *values);
    if (!values)
        return pare_memory_error(err, p->from->name);
    pare_file_read_f32(p->from, values);
    pare_file_release(pare_model_file(s->model), p->from);
    for (uint64_t row = 0; row < p->cuts[0].size; row++, out += to_cols) {
        if (p->cuts[0].merged)
            mean_row(p, values, row, cols, out, to_cols);
        else
            cut_row(p, values + source_of(&p->cuts[0], row) * cols, out);
    }
    pare_free(values);
    return PARE_OK;
}
