/* Parameters in one block of memory. */
#include "learn/weights.h"

#include <stdio.h>
#include <string.h>

enum { ALIGN_FLOATS = 16, NAME_SIZE = 256 };

/* While a copy is made. */
typedef struct {
    const PareModel *model;
    const PareWeightsFrom *from;
    PareWeights *w;
    const PareFileTensor **sources; /* [slots.count]: NULL: none */
    bool *filled;                   /* [slots.count] */
    PareError *err;
} Builder;

/* The tensor in the file whose values another one may share. */
static const PareFileTensor *stored(const PareFile *f, const char *name) {
    const PareFileTensor *t = pare_file_find(f, name);
    return t && t->alias_of ? pare_file_find(f, t->alias_of) : t;
}

static PareStatus find_source(const Builder *b, size_t i) {
    const PareSlot *slot = &b->w->slots.items[i];
    const PareWeightsFrom *from = b->from;
    const PareModel *model = b->model;
    char name[NAME_SIZE], found[96], wanted[96];
    snprintf(name, sizeof name, "%s", slot->name);
    if (from && from->source)
        model = from->source(from->context, slot, name, sizeof name);
    b->filled[i] = !model || (from && from->fresh && from->fresh(from->context, slot));
    if (!model)
        return PARE_OK;
    const PareFile *f = pare_model_file(model);
    const PareFileTensor *t = b->sources[i] = stored(f, name);
    if (b->filled[i])
        return PARE_OK;
    if (!t)
        return pare_error_set(b->err, PARE_E_FORMAT,
                              "%s: has no tensor '%s', which the new '%s' "
                              "was to be made of",
                              pare_file_path(f), name, slot->name);
    if (t->dtype == PARE_I8)
        return pare_error_set(b->err, PARE_E_UNSUPPORTED,
                              "%s: tensor '%s' is INT8; training needs the model from before it "
                              "was quantized",
                              pare_file_path(f), name);
    PareTensorType have = {.dims = t->dims, .shape = {t->shape[0], t->shape[1]}};
    PareTensorType want = {.dims = slot->dims, .shape = {slot->shape[0], slot->shape[1]}};
    if (!pare_tensor_same_shape(&have, &want))
        return pare_error_set(
            b->err, PARE_E_FORMAT, "%s: tensor '%s' has shape %s; '%s' of the new model needs %s",
            pare_file_path(f), name, pare_tensor_shape_text(&have, found, sizeof found), slot->name,
            pare_tensor_shape_text(&want, wanted, sizeof wanted));
    return PARE_OK;
}

/* The first slot of those that share the source of slot i. The sources of filled slots may have
 * other shapes than they, and then be shared by slots that differ. */
static size_t first_sharing(const Builder *b, size_t i) {
    const PareSlot *s = b->w->slots.items;
    for (size_t k = 0; b->sources[i] && k < i; k++)
        if (b->sources[k] == b->sources[i] && b->filled[k] == b->filled[i] &&
            s[k].shape[0] == s[i].shape[0] && s[k].shape[1] == s[i].shape[1])
            return k;
    return i;
}

static void add_tensor(PareWeights *w, const char *name, size_t slot, uint64_t rows, uint64_t cols,
                       uint32_t dims) {
    size_t count = (size_t)(rows * cols); /* bounded by the description's check */
    w->tensors[w->tensor_count++] = (PareWeightTensor){.name = name,
                                                       .slot = slot,
                                                       .offset = w->count,
                                                       .count = count,
                                                       .rows = rows,
                                                       .cols = cols,
                                                       .dims = dims};
    w->count += (count + ALIGN_FLOATS - 1) / ALIGN_FLOATS * ALIGN_FLOATS;
}

/* Gives everything its place in the block. */
static void lay_out(const Builder *b) {
    PareWeights *w = b->w;
    for (size_t i = 0; i < w->slots.count; i++) {
        const PareSlot *s = &w->slots.items[i];
        size_t first = first_sharing(b, i);
        w->tensor_of[i] = first == i ? w->tensor_count : w->tensor_of[first];
        if (first == i)
            add_tensor(w, s->name, i, s->shape[0], s->dims == 2 ? s->shape[1] : 1, s->dims);
    }
    for (size_t i = 0; b->from && i < b->from->extra_count; i++) {
        const PareWeightExtra *e = &b->from->extras[i];
        add_tensor(w, e->name, SIZE_MAX, e->rows, e->cols, 2);
    }
}

static void copy_values(const Builder *b) {
    PareWeights *w = b->w;
    for (size_t i = 0; i < w->tensor_count; i++) {
        const PareWeightTensor *t = &w->tensors[i];
        float *values = w->values + t->offset;
        if (t->slot != SIZE_MAX && !b->filled[t->slot]) {
            pare_file_read_f32(b->sources[t->slot], values);
            continue;
        }
        b->from->fill(b->from->context, t->name, t->rows, t->cols, values);
        w->filled += t->slot == SIZE_MAX ? 0 : t->count;
    }
    for (size_t i = 0; i < w->slots.count; i++)
        w->data[i] = w->values + w->tensors[w->tensor_of[i]].offset;
}

/* The layer arrays are copied too, so that the description outlives its origin. */
static PareStatus copy_description(PareWeights *w, const PareDescription *d, PareError *err) {
    w->description = *d;
    w->description.arena = w->arena;
    for (int s = 0; s < PARE_STACKS; s++) {
        PareStack *stack = &w->description.stacks[s];
        if (!stack->layer_count)
            continue;
        PareLayerShape *layers = pare_arena_alloc(w->arena, stack->layer_count, sizeof *layers);
        if (!layers)
            return pare_memory_error(err, "a description");
        memcpy(layers, stack->layers, stack->layer_count * sizeof *layers);
        stack->layers = layers;
    }
    return PARE_OK;
}

static PareStatus build(Builder *b, const PareDescription *d) {
    PareWeights *w = b->w;
    PareStatus st = copy_description(w, d, b->err);
    if (!st)
        st = pare_slots_list(&w->description, w->arena, &w->slots, b->err);
    if (st)
        return st;
    size_t count = w->slots.count;
    b->sources = pare_arena_alloc(w->arena, count, sizeof *b->sources);
    b->filled = pare_arena_alloc(w->arena, count, sizeof *b->filled);
    size_t extra = b->from ? b->from->extra_count : 0;
    w->tensors = pare_arena_alloc(w->arena, count + extra, sizeof *w->tensors);
    w->tensor_of = pare_arena_alloc(w->arena, count, sizeof *w->tensor_of);
    w->data = pare_arena_alloc(w->arena, count, sizeof *w->data);
    if (!b->sources || !b->filled || !w->tensors || !w->tensor_of || !w->data)
        return pare_memory_error(b->err, "the parameters");
    for (size_t i = 0; i < count && !st; i++)
        st = find_source(b, i);
    if (st)
        return st;
    lay_out(b);
    w->values = pare_alloc(w->count, sizeof *w->values);
    if (!w->values)
        return pare_memory_error(b->err, "the parameters");
    copy_values(b);
    return pare_params_bind_memory(&w->description, &w->slots, w->data, w->arena, &w->params,
                                   b->err);
}

PareStatus pare_weights_create(const PareModel *m, const PareDescription *d,
                               const PareWeightsFrom *from, PareWeights **out, PareError *err) {
    *out = NULL;
    PareWeights *w = pare_alloc(1, sizeof *w);
    if (!w || !(w->arena = pare_arena_create(0))) {
        pare_weights_destroy(w);
        return pare_memory_error(err, "the parameters");
    }
    Builder b = {.model = m, .from = from, .w = w, .err = err};
    PareStatus st = build(&b, d ? d : pare_model_description(m));
    if (st)
        pare_weights_destroy(w);
    else
        *out = w;
    return st;
}

void pare_weights_destroy(PareWeights *w) {
    if (!w)
        return;
    pare_free(w->values);
    pare_arena_destroy(w->arena);
    pare_free(w);
}

const PareWeightTensor *pare_weights_tensor_at(const PareWeights *w, size_t offset) {
    for (size_t i = 0; i < w->tensor_count; i++)
        if (offset >= w->tensors[i].offset && offset - w->tensors[i].offset < w->tensors[i].count)
            return &w->tensors[i];
    return NULL;
}

float *pare_weights_extra(const PareWeights *w, const char *name) {
    for (size_t i = w->tensor_count; i-- > 0 && w->tensors[i].slot == SIZE_MAX;)
        if (strcmp(w->tensors[i].name, name) == 0)
            return w->values + w->tensors[i].offset;
    return NULL;
}
