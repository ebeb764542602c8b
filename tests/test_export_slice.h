/* Pruned models for tests, made by hand: every tensor is sliced along its axes, heads and units
 * that follow each other are kept. No stage is asked, so that the tests of one do not depend on
 * another. */
#ifndef PARE_TESTS_TEST_EXPORT_SLICE_H
#define PARE_TESTS_TEST_EXPORT_SLICE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "runtime/model.h"

enum { SLICE_LAYERS = 8 };

typedef struct {
    PareModel *from;
    PareArena *arena;
    PareDescription to; /* to be made smaller by the caller */
    uint32_t first_head[PARE_STACKS][SLICE_LAYERS], first_unit[PARE_STACKS][SLICE_LAYERS];
    uint32_t first_layer[PARE_STACKS]; /* layers in front of it are gone */
    const char *huge;                  /* a tensor whose first value becomes 70000; or NULL */
    const char *replace, *replacement; /* in the metadata, of one length; or NULL */
} PareSlice;

__attribute__((unused)) static PareSlice pare_slice_begin(const char *path) {
    PareSlice s = {.arena = pare_arena_create(0)};
    PareError err = {0};
    assert_int_equal(pare_model_open(path, &s.from, &err), PARE_OK);
    s.to = *pare_model_description(s.from);
    for (int k = 0; k < PARE_STACKS; k++) {
        const PareStack *old = &s.to.stacks[k];
        PareLayerShape *layers = pare_arena_alloc(s.arena, old->layer_count, sizeof *layers);
        assert_non_null(layers);
        if (old->layer_count)
            memcpy(layers, old->layers, old->layer_count * sizeof *layers);
        s.to.stacks[k].layers = layers;
    }
    return s;
}

/* Where index i of an axis of the new model lies in the old one. */
static uint64_t slice_index(const PareSlice *s, PareAxis a, uint64_t i) {
    if (a.kind != PARE_AXIS_HEAD && a.kind != PARE_AXIS_KV && a.kind != PARE_AXIS_FFN)
        return i;
    const PareLayerShape *l = &s->to.stacks[a.stack].layers[a.layer];
    if (a.kind == PARE_AXIS_FFN)
        return i + s->first_unit[a.stack][a.layer];
    bool fewer = l->self.kv_heads != l->self.heads; /* groups keep the first */
    uint32_t first = a.block == PARE_BLOCK_SELF && !fewer ? s->first_head[a.stack][a.layer] : 0;
    return i + (uint64_t)first * (a.group ? a.group : 1);
}

/* The old name: its layer is counted from the first that is kept. */
static void slice_old_name(const PareSlice *s, const char *name, char *out, size_t size) {
    static const char *const STACKS[PARE_STACKS] = {"encoder", "decoder"};
    char part[128];
    unsigned layer;
    for (int k = 0; k < PARE_STACKS; k++) {
        char pattern[32];
        snprintf(pattern, sizeof pattern, "%s.layers.%%u.%%127s", STACKS[k]);
        if (sscanf(name, pattern, &layer, part) == 2) {
            snprintf(out, size, "%s.layers.%u.%s", STACKS[k], layer + s->first_layer[k], part);
            return;
        }
    }
    snprintf(out, size, "%s", name);
}

static void slice_tensor(const PareSlice *s, const PareSlot *slot, PareFileWriter *w) {
    char name[256];
    PareError err = {0};
    slice_old_name(s, slot->name, name, sizeof name);
    const PareFileTensor *old = pare_file_find(pare_model_file(s->from), name);
    assert_non_null(old);
    size_t R = (size_t)slot->shape[0], C = slot->dims == 2 ? (size_t)slot->shape[1] : 1;
    size_t K = slot->dims == 2 ? (size_t)old->shape[1] : 1;
    PareFileTensor t = {.name = slot->name,
                        .dtype = PARE_F32,
                        .dims = slot->dims,
                        .shape = {slot->shape[0], slot->shape[1]},
                        .axes = {slot->axes[0], slot->axes[1]}};
    bool whole = old->shape[0] == R && (slot->dims == 1 || old->shape[1] == C);
    bool table = slot->axes[1].kind == PARE_AXIS_HEAD && slot->axes[0].kind == PARE_AXIS_BUCKET;
    if (old->alias_of && whole && !table) {
        assert_int_equal(pare_file_writer_alias(w, &t, old->alias_of, &err), PARE_OK);
        return;
    }
    float *values = pare_alloc(R * C, sizeof *values);
    assert_non_null(values);
    for (size_t r = 0; r < R; r++)
        for (size_t c = 0; c < C; c++) {
            size_t from = (size_t)slice_index(s, slot->axes[0], r) * K;
            from += slot->dims == 2 ? (size_t)slice_index(s, slot->axes[1], c) : 0;
            values[r * C + c] = ((const float *)old->data)[from];
        }
    if (s->huge && strcmp(s->huge, slot->name) == 0)
        values[0] = 70000;
    assert_int_equal(pare_file_writer_tensor(w, &t, values, &err), PARE_OK);
    pare_free(values);
}

static void slice_metadata(const PareSlice *s, PareFileWriter *w) {
    const void *bytes;
    size_t size;
    PareError err = {0};
    PareBuffer out = {0};
    assert_true(pare_file_section(pare_model_file(s->from), PARE_SECTION_METADATA, &bytes, &size));
    const char *text = bytes, *rest = strstr(text, ",\"generation\":");
    assert_non_null(rest);
    pare_buffer_puts(&out, "{\"description\":");
    pare_description_write(&s->to, &out);
    pare_buffer_append(&out, rest, size - (size_t)(rest - text));
    if (s->replace) {
        char *at = strstr(out.data, s->replace);
        assert_non_null(at);
        assert_int_equal(strlen(s->replace), strlen(s->replacement));
        memcpy(at, s->replacement, strlen(s->replacement));
    }
    assert_int_equal(pare_file_writer_section(w, PARE_SECTION_METADATA, out.data, out.size, &err),
                     PARE_OK);
    pare_buffer_free(&out);
}

/* Writes the smaller model and ends the slice. */
__attribute__((unused)) static void pare_slice_write(PareSlice *s, const char *path) {
    PareFileWriter *w;
    PareSlots slots;
    PareError err = {0};
    assert_int_equal(pare_slots_list(&s->to, s->arena, &slots, &err), PARE_OK);
    assert_int_equal(pare_file_writer_open(path, true, &w, &err), PARE_OK);
    for (size_t i = 0; i < slots.count; i++)
        slice_tensor(s, &slots.items[i], w);
    slice_metadata(s, w);
    if (pare_file_writer_commit(w, &err))
        fail_msg("%s", err.message);
    pare_model_close(s->from);
    pare_arena_destroy(s->arena);
}

#endif
