/* Writing the .pare file of a planned conversion, one tensor at a time. */
#include <string.h>

#include "convert/convert_impl.h"
#include "core/file.h"
#include "formats/pare_file.h"

/* Buffers that grow to the largest tensor and are used again. */
typedef struct {
    float *data;
    size_t capacity;
} Room;

typedef struct {
    PareConvert *c;
    PareFileWriter *file;
    PareProgress *progress;
    uint64_t done;
    Room stored, turned;
    PareError *err;
} Writer;

static float *room_for(Room *room, size_t count) {
    if (count <= room->capacity && room->data)
        return room->data;
    pare_free(room->data);
    room->data = pare_alloc(count, sizeof *room->data);
    room->capacity = room->data ? count : 0;
    return room->data;
}

static size_t slot_elements(const PareSlot *s) {
    return (size_t)s->shape[0] * (s->dims == 2 ? (size_t)s->shape[1] : 1);
}

/* out[R, C] = columns first .. first + R - 1 of in[C, stride], turned; in tiles, for the cache. */
static void transpose(float *out, const float *in, size_t R, size_t C, size_t stride,
                      size_t first) {
    enum { TILE = 32 };
    for (size_t r0 = 0; r0 < R; r0 += TILE)
        for (size_t c0 = 0; c0 < C; c0 += TILE)
            for (size_t r = r0; r < R && r < r0 + TILE; r++)
                for (size_t c = c0; c < C && c < c0 + TILE; c++)
                    out[r * C + c] = in[c * stride + first + r];
}

/* The slot's values out of the checkpoint's: its part, turned where the rule says so. */
static PareStatus read_item(Writer *w, const ParePlanItem *item, const float **out) {
    const PareSlot *s = item->slot;
    const PareRule *r = item->rule;
    size_t stored = 0, count = slot_elements(s), parts = r->parts > 1 ? r->parts : 1;
    float *in =
        pare_tensor_elements(&item->tensor->type, &stored) ? room_for(&w->stored, stored) : NULL;
    if (!in)
        return pare_memory_error(w->err, item->tensor->name);
    PareStatus st = pare_checkpoint_read_f32(w->c->checkpoint, item->tensor, in, w->err);
    *out = in + count * r->part;
    if (st || !(r->flags & PARE_RULE_TRANSPOSE) || s->dims != 2)
        return st;
    float *turned = room_for(&w->turned, count);
    if (!turned)
        return pare_memory_error(w->err, item->tensor->name);
    size_t R = (size_t)s->shape[0], C = (size_t)s->shape[1];
    transpose(turned, in, R, C, R * parts, R * r->part);
    *out = turned;
    return PARE_OK;
}

static PareStatus make_item(Writer *w, const ParePlanItem *item, const float **out) {
    if (item->kind == PARE_FROM_TENSOR)
        return read_item(w, item, out);
    size_t count = slot_elements(item->slot);
    float *made = room_for(&w->stored, count);
    if (!made)
        return pare_memory_error(w->err, item->slot->name);
    if (item->kind == PARE_FROM_FAMILY)
        w->c->model.family->compute(&w->c->model, item->slot, made);
    else
        memset(made, 0, count * sizeof *made);
    *out = made;
    return PARE_OK;
}

static PareStatus check_finite(Writer *w, const ParePlanItem *item, const float *values) {
    size_t bad = pare_count_nonfinite(values, slot_elements(item->slot));
    w->c->summary.nonfinite += bad;
    if (bad == 0)
        return PARE_OK;
    const char *name = item->tensor ? item->tensor->name : item->slot->name;
    if (w->c->options.allow_nonfinite) {
        pare_buffer_printf(&w->c->warnings, "%s: tensor \"%s\" holds %zu NaN or infinite value%s\n",
                           w->c->summary.weights, name, bad, bad == 1 ? "" : "s");
        return PARE_OK;
    }
    return pare_error_set(w->err, PARE_E_FORMAT,
                          "%s: tensor \"%s\" holds %zu NaN or infinite value%s; --allow-nonfinite "
                          "keeps them",
                          w->c->summary.weights, name, bad, bad == 1 ? "" : "s");
}

static PareStatus write_item(Writer *w, const ParePlanItem *item) {
    const PareSlot *s = item->slot;
    const float *values = NULL;
    PareFileTensor t = {.name = s->name,
                        .dtype = PARE_F32,
                        .layout = PARE_LAYOUT_ROWS,
                        .dims = s->dims,
                        .shape = {s->shape[0], s->shape[1]},
                        .axes = {s->axes[0], s->axes[1]}};
    if (item->kind == PARE_FROM_ALIAS)
        return pare_file_writer_alias(w->file, &t, w->c->plan.items[item->target].slot->name,
                                      w->err);
    PareStatus st = make_item(w, item, &values);
    if (!st)
        st = check_finite(w, item, values);
    if (!st)
        st = pare_file_writer_tensor(w->file, &t, values, w->err);
    w->done += slot_elements(s) * sizeof *values;
    pare_progress_update(w->progress, w->done, s->name);
    return st ? st : pare_interrupt_check(w->err);
}

static PareStatus write_sections(Writer *w, const PareInputFile *inputs, size_t count) {
    PareBuffer metadata = {0};
    PareStatus st = pare_convert_metadata(w->c, inputs, count, &metadata, w->err);
    if (!st)
        st = pare_file_writer_section(w->file, PARE_SECTION_METADATA, metadata.data, metadata.size,
                                      w->err);
    if (!st && w->c->tokenizer)
        st = pare_file_writer_section(w->file, PARE_SECTION_TOKENIZER, w->c->tokenizer_bytes.data,
                                      w->c->tokenizer_bytes.size, w->err);
    pare_buffer_free(&metadata);
    return st;
}

static PareStatus check_output(const char *out, const char *const *paths, size_t count,
                               PareError *err) {
    for (size_t i = 0; i < count; i++)
        if (pare_file_exists(out) && pare_file_same(out, paths[i]))
            return pare_error_set(err, PARE_E_IO, "%s: the output is an input of the conversion",
                                  out);
    return PARE_OK;
}

PareStatus pare_convert_write(PareConvert *c, const char *out, bool force, PareProgress *progress,
                              PareError *err) {
    Writer w = {.c = c, .progress = progress, .err = err};
    const char **paths = NULL;
    size_t count = 0;
    PareStatus st = pare_convert_inputs(c, &paths, &count, err);
    PareInputFile *inputs = st ? NULL : pare_arena_alloc(c->arena, count, sizeof *inputs);
    if (!st && !inputs)
        st = pare_memory_error(err, "the names of the inputs");
    if (!st)
        st = check_output(out, paths, count, err);
    if (!st)
        st = pare_file_writer_open(out, force, &w.file, err);
    for (size_t i = 0; i < c->plan.count && !st; i++)
        st = write_item(&w, &c->plan.items[i]);
    for (size_t i = 0; i < count && !st; i++)
        st = pare_input_file_hash(paths[i], &inputs[i], err);
    if (!st)
        st = write_sections(&w, inputs, count);
    if (!st)
        st = pare_buffer_ok(&c->warnings, "the warnings", err);
    pare_free(w.stored.data);
    pare_free(w.turned.data);
    if (st) {
        pare_file_writer_abort(w.file);
        return st;
    }
    return pare_file_writer_commit(w.file, err);
}
