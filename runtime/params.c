/* Binding tensors to places: by name, with every shape and format checked against the slots. */
#include "runtime/params.h"

#include <stdio.h>
#include <string.h>

#include "runtime/slots.h"

/* Tensors of a file, or, where there is none, one a slot. */
typedef struct {
    const PareFile *file;
    const PareSlots *slots;
    const PareFileTensor *tensors;
    PareError *err;
} Binder;

static const PareFileTensor *find_named(const Binder *b, const char *name) {
    if (b->file)
        return pare_file_find(b->file, name);
    const PareSlot *slot = pare_slots_find(b->slots, name);
    return slot ? &b->tensors[slot - b->slots->items] : NULL;
}

static const PareFileTensor *find(const Binder *b, const char *format, const char *prefix,
                                  const char *part) {
    char name[256];
    snprintf(name, sizeof name, format, prefix, part);
    return find_named(b, name);
}

PareWeight pare_weight_of(const PareFileTensor *t) {
    PareWeight w = {.dtype = t->dtype,
                    .layout = t->layout,
                    .N = (size_t)t->shape[0],
                    .K = (size_t)t->shape[1],
                    .data = t->data};
    if (t->layout == PARE_LAYOUT_BLOCK4) {
        PareBlock4 v = pare_file_block4(t);
        w.data = v.values;
        w.scales = v.scales;
        w.sums = v.sums;
    }
    return w;
}

static void bind_weight(const Binder *b, const char *prefix, const char *part, PareWeight *out) {
    const PareFileTensor *t = find(b, "%s%s", prefix, part);
    if (t)
        *out = pare_weight_of(t);
}

static const float *bind_floats(const Binder *b, const char *prefix, const char *part) {
    const PareFileTensor *t = find(b, "%s%s", prefix, part);
    return t ? t->data : NULL;
}

static void bind_linear(const Binder *b, const char *prefix, const char *part, PareLinear *out) {
    char name[160];
    snprintf(name, sizeof name, "%s%s", prefix, part);
    bind_weight(b, name, ".weight", &out->weight);
    out->bias = bind_floats(b, name, ".bias");
}

static void bind_norm(const Binder *b, const char *prefix, const char *part, PareNorm *out) {
    char name[160];
    snprintf(name, sizeof name, "%s%s", prefix, part);
    out->weight = bind_floats(b, name, ".weight");
    out->bias = bind_floats(b, name, ".bias");
}

static void bind_attention(const Binder *b, const char *prefix, PareAttentionParams *out) {
    bind_linear(b, prefix, ".query", &out->query);
    bind_linear(b, prefix, ".key", &out->key);
    bind_linear(b, prefix, ".value", &out->value);
    bind_linear(b, prefix, ".output", &out->output);
    bind_norm(b, prefix, ".norm", &out->norm);
    out->relative = bind_floats(b, prefix, ".relative");
}

static void bind_layer(const Binder *b, const char *stack, uint32_t layer, PareLayerParams *out) {
    char prefix[128];
    snprintf(prefix, sizeof prefix, "%s.layers.%u.self", stack, layer);
    bind_attention(b, prefix, &out->self);
    snprintf(prefix, sizeof prefix, "%s.layers.%u.cross", stack, layer);
    bind_attention(b, prefix, &out->cross);
    snprintf(prefix, sizeof prefix, "%s.layers.%u.ffn", stack, layer);
    bind_linear(b, prefix, ".in", &out->in);
    bind_linear(b, prefix, ".gate", &out->gate);
    bind_linear(b, prefix, ".out", &out->out);
    bind_norm(b, prefix, ".norm", &out->ffn_norm);
}

static PareStatus bind_stack(const Binder *b, const char *stack, const PareStack *d,
                             PareArena *arena, PareStackParams *out) {
    bind_weight(b, stack, ".embed.tokens", &out->tokens);
    out->positions = bind_floats(b, stack, ".embed.positions");
    out->types = bind_floats(b, stack, ".embed.types");
    bind_norm(b, stack, ".embed.norm", &out->embed_norm);
    bind_linear(b, stack, ".embed.projection", &out->projection);
    bind_norm(b, stack, ".norm", &out->norm);
    out->layers = pare_arena_alloc(arena, d->layer_count, sizeof *out->layers);
    if (!out->layers)
        return pare_memory_error(b->err, "the layers of a model");
    for (uint32_t i = 0; i < d->layer_count; i++)
        bind_layer(b, stack, i, &out->layers[i]);
    return PARE_OK;
}

static bool role_allows(PareRole role, const PareFileTensor *t) {
    if (t->dtype == PARE_F32)
        return t->layout == PARE_LAYOUT_ROWS;
    bool matrix = role == PARE_ROLE_MATRIX || role == PARE_ROLE_EMBEDDING;
    return matrix && t->layout == (t->dtype == PARE_I8 ? PARE_LAYOUT_BLOCK4 : PARE_LAYOUT_BLOCK1);
}

static void shape_type(uint32_t dims, const uint64_t *shape, PareTensorType *out) {
    *out = (PareTensorType){.dtype = PARE_F32, .dims = dims};
    for (uint32_t i = 0; i < dims; i++)
        out->shape[i] = shape[i];
}

static PareStatus check_slot(const Binder *b, const PareSlot *s) {
    const char *path = pare_file_path(b->file);
    const PareFileTensor *t = pare_file_find(b->file, s->name);
    if (!t)
        return pare_error_set(b->err, PARE_E_FORMAT, "%s: tensor '%s' is missing", path, s->name);
    PareTensorType found, expected;
    char found_text[96], expected_text[96];
    shape_type(t->dims, t->shape, &found);
    shape_type(s->dims, s->shape, &expected);
    if (!pare_tensor_same_shape(&found, &expected))
        return pare_error_set(
            b->err, PARE_E_FORMAT, "%s: tensor '%s' has shape %s; the description calls for %s",
            path, s->name, pare_tensor_shape_text(&found, found_text, sizeof found_text),
            pare_tensor_shape_text(&expected, expected_text, sizeof expected_text));
    if (!role_allows(s->role, t))
        return pare_error_set(b->err, PARE_E_FORMAT,
                              "%s: tensor '%s' is stored as %s in a layout that its role cannot "
                              "have",
                              path, s->name, pare_dtype_name(t->dtype));
    for (uint32_t i = 0; i < s->dims; i++)
        if (!pare_axis_equal(t->axes[i], s->axes[i]) && !t->alias_of)
            return pare_error_set(b->err, PARE_E_FORMAT,
                                  "%s: dimension %u of tensor '%s' carries the wrong axis tag",
                                  path, i, s->name);
    return PARE_OK;
}

/* Superfluous tensors: as many tensors as slots, and every slot found, leaves no room for any. */
static PareStatus check_all(const Binder *b) {
    for (size_t i = 0; i < b->slots->count; i++) {
        PareStatus st = check_slot(b, &b->slots->items[i]);
        if (st)
            return st;
    }
    for (size_t i = 0; pare_file_count(b->file) != b->slots->count && i < pare_file_count(b->file);
         i++) {
        const PareFileTensor *t = pare_file_tensor(b->file, i);
        if (!pare_slots_find(b->slots, t->name))
            return pare_error_set(b->err, PARE_E_FORMAT,
                                  "%s: tensor '%s' has no place in the description",
                                  pare_file_path(b->file), t->name);
    }
    return PARE_OK;
}

static PareStatus bind_all(const Binder *b, const PareDescription *d, PareArena *arena,
                           PareParams *out) {
    static const char *const STACKS[PARE_STACKS] = {"encoder", "decoder"};
    PareStatus st = PARE_OK;
    *out = (PareParams){0};
    for (int s = 0; s < PARE_STACKS && !st; s++)
        if (d->stacks[s].present)
            st = bind_stack(b, STACKS[s], &d->stacks[s], arena, &out->stacks[s]);
    if (st)
        return st;
    bind_linear(b, "head", ".pool", &out->pool);
    bind_linear(b, "head", ".transform", &out->transform);
    bind_norm(b, "head", ".transform.norm", &out->transform_norm);
    bind_linear(b, "head", ".output", &out->output);
    return PARE_OK;
}

PareStatus pare_params_bind(const PareDescription *d, const PareFile *f, PareArena *arena,
                            PareParams *out, PareError *err) {
    PareSlots slots;
    PareStatus st = pare_slots_list(d, arena, &slots, err);
    Binder b = {.file = f, .slots = &slots, .err = err};
    if (!st)
        st = check_all(&b);
    return st ? st : bind_all(&b, d, arena, out);
}

PareStatus pare_params_bind_memory(const PareDescription *d, const PareSlots *slots,
                                   float *const *data, PareArena *arena, PareParams *out,
                                   PareError *err) {
    PareFileTensor *tensors = pare_arena_alloc(arena, slots->count, sizeof *tensors);
    if (!tensors)
        return pare_memory_error(err, "a model's tensors");
    for (size_t i = 0; i < slots->count; i++) {
        const PareSlot *s = &slots->items[i];
        tensors[i] = (PareFileTensor){.name = s->name,
                                      .dtype = PARE_F32,
                                      .layout = PARE_LAYOUT_ROWS,
                                      .dims = s->dims,
                                      .shape = {s->shape[0], s->shape[1]},
                                      .data = data[i]};
    }
    Binder b = {.slots = slots, .tensors = tensors, .err = err};
    return bind_all(&b, d, arena, out);
}

/* -- rows -- */

static void row_i8(const PareWeight *w, size_t row, float *out) {
    size_t groups = (w->K + PARE_BLOCK_DEPTH - 1) / PARE_BLOCK_DEPTH;
    const int8_t *at = (const int8_t *)w->data +
                       row / PARE_BLOCK_ROWS * groups * PARE_BLOCK_ROWS * PARE_BLOCK_DEPTH +
                       row % PARE_BLOCK_ROWS * PARE_BLOCK_DEPTH;
    float scale = w->scales[row];
    for (size_t k = 0; k < w->K; k++)
        out[k] = scale * (float)at[k / PARE_BLOCK_DEPTH * PARE_BLOCK_ROWS * PARE_BLOCK_DEPTH +
                                   k % PARE_BLOCK_DEPTH];
}

static void row_half(const PareWeight *w, size_t row, float *out) {
    const uint16_t *at = (const uint16_t *)w->data +
                         row / PARE_BLOCK_ROWS * w->K * PARE_BLOCK_ROWS + row % PARE_BLOCK_ROWS;
    bool f16 = w->dtype == PARE_F16;
    for (size_t k = 0; k < w->K; k++) {
        uint16_t h = at[k * PARE_BLOCK_ROWS];
        out[k] = f16 ? pare_f16_to_f32(h) : pare_bf16_to_f32(h);
    }
}

void pare_weight_row(const PareWeight *w, size_t row, float *out) {
    if (w->layout == PARE_LAYOUT_BLOCK4)
        row_i8(w, row, out);
    else if (w->layout == PARE_LAYOUT_BLOCK1)
        row_half(w, row, out);
    else
        memcpy(out, (const float *)w->data + row * w->K, w->K * sizeof *out);
}
