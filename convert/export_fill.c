/* The elements of the checkpoint's tensors, row by row out of the mapped model: dequantized,
 * unblocked, put together, turned, filled up. Beside the tensor that is made, memory holds a row.
 */
#include <math.h>
#include <string.h>

#include "convert/export_impl.h"
#include "runtime/params.h"

enum { ELEMENT_MAX = 4 };
static const uint32_t nowhere = UINT32_MAX;

static const PareFileTensor *stored(const PareExport *e, const char *name) {
    return pare_file_find(pare_model_file(e->model), name);
}

/* ---- Where rows and columns come from ---- */

static const PareLayerShape *layer_of(const PareDescription *d, PareAxis a) {
    return &d->stacks[a.stack].layers[a.layer];
}

static const PareAttentionShape *block_of(const PareDescription *d, PareAxis a) {
    const PareLayerShape *l = layer_of(d, a);
    return a.block == PARE_BLOCK_SELF ? &l->self : &l->cross;
}

/* The stored head that stands at the framework's head `unit`. */
static uint32_t head_at(const PareExport *e, PareAxis a, uint32_t unit) {
    if (a.block == PARE_BLOCK_SELF && e->places[a.stack]) {
        const PareHeadPlaces *p = &e->places[a.stack][a.layer];
        return unit < p->count && p->from[unit] >= 0 ? (uint32_t)p->from[unit] : nowhere;
    }
    return unit < block_of(&e->held, a)->heads ? unit : nowhere;
}

/* The stored unit of an axis that becomes the framework's `unit`. */
static uint32_t unit_at(const PareExport *e, PareAxis a, uint32_t unit) {
    if (a.kind == PARE_AXIS_HEAD)
        return head_at(e, a, unit);
    if (a.kind == PARE_AXIS_FFN)
        return unit < layer_of(&e->held, a)->ffn ? unit : nowhere;
    if (a.kind != PARE_AXIS_KV)
        return unit;
    const PareAttentionShape *had = block_of(e->stored, a), *have = block_of(&e->held, a);
    if (have->kv_heads != have->heads)
        return unit; /* the framework groups heads as well */
    uint32_t head = head_at(e, a, unit);
    return head == nowhere ? nowhere : head * had->kv_heads / had->heads;
}

/* from[i] is the stored index of the framework's index i. */
static void map_axis(const PareExport *e, PareAxis a, uint32_t size, uint32_t *from) {
    uint32_t group = a.group ? a.group : 1;
    for (uint32_t i = 0; i < size; i++) {
        uint32_t unit = unit_at(e, a, i / group);
        from[i] = unit == nowhere ? nowhere : unit * group + i % group;
    }
}

/* ---- Rows ---- */

typedef struct {
    PareExport *e;
    const PareExportItem *item;
    const char *name;
    PareDtype dtype;
    size_t size;    /* of an element */
    size_t rows;    /* of all parts */
    size_t first;   /* row of the part that is being put */
    size_t columns; /* 1 for vectors */
    uint8_t *dst;
    float *read, *made;
    uint8_t *packed;
    uint32_t *row_from, *column_from;
    PareError *err;
} Fill;

static PareWeight as_weight(const PareFileTensor *t) {
    PareWeight w = {.dtype = t->dtype, .layout = t->layout, .data = t->data};
    w.N = t->dims == 2 ? (size_t)t->shape[0] : 1;
    w.K = (size_t)t->shape[t->dims == 2 ? 1 : 0];
    if (t->layout == PARE_LAYOUT_BLOCK4) {
        PareBlock4 b = pare_file_block4(t);
        w.data = b.values;
        w.scales = b.scales;
        w.sums = b.sums;
    }
    return w;
}

/* A half holds less than a float: what becomes infinite there was not so here. */
static PareStatus pack(const Fill *f, const float *values, size_t count) {
    pare_convert_from_f32(f->dtype, values, f->packed, count);
    for (size_t i = 0; i < count && f->dtype != PARE_F32; i++) {
        uint16_t h;
        memcpy(&h, f->packed + 2 * i, sizeof h);
        float back = f->dtype == PARE_F16 ? pare_f16_to_f32(h) : pare_bf16_to_f32(h);
        if (isinf(back) && !isinf(values[i]))
            return pare_error_set(f->err, PARE_E_UNSUPPORTED,
                                  "%s: tensor \"%s\" holds %g, which %s cannot hold; another "
                                  "--dtype can",
                                  f->e->options.model, f->name, (double)values[i],
                                  pare_dtype_name(f->dtype));
    }
    return PARE_OK;
}

/* Row `r` of the matrix that the parts make together; a vector is one row. */
static PareStatus put_row(const Fill *f, size_t r, const float *values, size_t count) {
    PareStatus st = pack(f, values, count);
    if (!f->item->turned) {
        memcpy(f->dst + r * f->columns * f->size, f->packed, count * f->size);
        return st;
    }
    for (size_t c = 0; c < count; c++)
        memcpy(f->dst + (c * f->rows + r) * f->size, f->packed + c * f->size, f->size);
    return st;
}

static PareStatus put_matrix(Fill *f, const PareSlot *s, const PareFileTensor *t) {
    PareWeight w = as_weight(t);
    size_t R = (size_t)s->shape[0], C = (size_t)s->shape[1];
    PareStatus st = PARE_OK;
    map_axis(f->e, s->axes[0], (uint32_t)R, f->row_from);
    map_axis(f->e, s->axes[1], (uint32_t)C, f->column_from);
    for (size_t r = 0; r < R && !st; r++) {
        bool missing = f->row_from[r] == nowhere;
        if (!missing)
            pare_weight_row(&w, f->row_from[r], f->read);
        for (size_t c = 0; c < C; c++)
            f->made[c] =
                missing || f->column_from[c] == nowhere ? 0.0F : f->read[f->column_from[c]];
        st = put_row(f, f->first + r, f->made, C);
    }
    return st;
}

static PareStatus put_vector(Fill *f, const PareSlot *s, const PareFileTensor *t) {
    PareWeight w = as_weight(t);
    size_t R = (size_t)s->shape[0];
    map_axis(f->e, s->axes[0], (uint32_t)R, f->row_from);
    pare_weight_row(&w, 0, f->read);
    for (size_t r = 0; r < R; r++)
        f->made[r] = f->row_from[r] == nowhere ? 0.0F : f->read[f->row_from[r]];
    return put_row(f, f->first, f->made, R);
}

/* The framework's table: column u is that of the head that was placed there. */
static PareStatus put_biases(Fill *f, const PareSlot *s) {
    unsigned stack = s->axes[1].stack;
    size_t R = (size_t)s->shape[0], C = (size_t)s->shape[1];
    const PareLayerShape *layers = f->e->held.stacks[stack].layers;
    PareStatus st = PARE_OK;
    char name[96];
    for (size_t r = 0; r < R && !st; r++) {
        for (size_t c = 0; c < C; c++) {
            bool placed = c < f->e->column_count[stack];
            PareBiasColumn from = placed ? f->e->columns[stack][c] : (PareBiasColumn){0, nowhere};
            pare_export_bias_name(stack, from.layer, name, sizeof name);
            const PareFileTensor *t = placed ? stored(f->e, name) : NULL;
            const float *values = t ? t->data : NULL;
            f->made[c] = values ? values[r * layers[from.layer].self.heads + from.head] : 0.0F;
        }
        st = put_row(f, f->first + r, f->made, C);
    }
    return st;
}

/* A sublayer that was removed: zeros, and a norm that is one, as before training. */
static PareStatus put_missing(Fill *f, const PareSlot *s) {
    size_t R = (size_t)s->shape[0], size = strlen(s->name);
    bool scale = s->role == PARE_ROLE_NORM && size > 7 && !strcmp(s->name + size - 7, ".weight");
    for (size_t r = 0; r < R && s->dims == 1; r++)
        f->made[r] = scale ? 1.0F : 0.0F;
    return s->dims == 1 ? put_row(f, f->first, f->made, R) : PARE_OK;
}

static PareStatus put_part(Fill *f, const PareSlot *s) {
    const PareFileTensor *t = stored(f->e, s->name);
    PareStatus st;
    if (s->axes[1].kind == PARE_AXIS_HEAD && s->axes[0].kind == PARE_AXIS_BUCKET)
        return put_biases(f, s);
    if (!t)
        return put_missing(f, s);
    st = s->dims == 2 ? put_matrix(f, s, t) : put_vector(f, s, t);
    pare_file_release(pare_model_file(f->e->model), t);
    return st;
}

/* ---- A tensor ---- */

static size_t largest(const PareExport *e, const PareExportItem *item) {
    size_t most = 1;
    for (uint32_t i = 0; i < item->part_count; i++) {
        const PareFileTensor *t = stored(e, item->parts[i]->name);
        for (uint32_t d = 0; d < item->parts[i]->dims; d++) {
            size_t size = (size_t)item->parts[i]->shape[d];
            size_t had = t ? (size_t)t->shape[d] : 0;
            most = size > most ? size : most;
            most = had > most ? had : most;
        }
    }
    return most;
}

static bool make_room(Fill *f) {
    size_t most = largest(f->e, f->item);
    f->read = pare_alloc(most, sizeof *f->read);
    f->made = pare_alloc(most, sizeof *f->made);
    f->packed = pare_alloc(most, ELEMENT_MAX);
    f->row_from = pare_alloc(most, sizeof *f->row_from);
    f->column_from = pare_alloc(most, sizeof *f->column_from);
    return f->read && f->made && f->packed && f->row_from && f->column_from;
}

PareStatus pare_export_fill(void *context, size_t index, void *dst, PareError *err) {
    PareExport *e = context;
    const PareExportItem *item = &e->items[index];
    const PareSavedTensor *saved = &e->tensors[index];
    const PareSlot *s = item->parts[0];
    Fill f = {.e = e, .item = item, .name = item->name, .dtype = saved->type.dtype, .err = err};
    size_t bytes = 0;
    f.dst = dst;
    f.size = pare_dtype_size(f.dtype);
    f.columns = s->dims == 2 ? (size_t)s->shape[1] : 1;
    for (uint32_t i = 0; i < item->part_count; i++)
        f.rows += (size_t)item->parts[i]->shape[0];
    PareStatus st = make_room(&f) && pare_tensor_bytes(&saved->type, &bytes)
                        ? PARE_OK
                        : pare_memory_error(err, item->name);
    memset(dst, 0, bytes);
    for (uint32_t i = 0; i < item->part_count && !st; i++) {
        st = put_part(&f, item->parts[i]);
        f.first += (size_t)item->parts[i]->shape[0];
    }
    pare_free(f.read);
    pare_free(f.made);
    pare_free(f.packed);
    pare_free(f.row_from);
    pare_free(f.column_from);
    return st;
}

PareStatus pare_export_is_computed(PareExport *e, const PareSlot *slot, bool *same,
                                   PareError *err) {
    const PareFileTensor *t = stored(e, slot->name);
    size_t count = (size_t)slot->shape[0] * (size_t)slot->shape[1];
    *same = false;
    if (!e->theirs.family->compute || !t || t->dtype != PARE_F32 || slot->dims != 2 ||
        t->bytes != count * sizeof(float))
        return PARE_OK;
    float *values = pare_alloc(count, sizeof *values);
    if (!values)
        return pare_memory_error(err, slot->name);
    e->theirs.family->compute(&e->theirs, slot, values);
    *same = memcmp(values, t->data, count * sizeof *values) == 0;
    pare_free(values);
    return PARE_OK;
}
