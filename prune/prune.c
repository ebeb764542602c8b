/* The stage: open, plan, describe, write. */
#include "prune/prune.h"

#include <string.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "formats/pare_file.h"
#include "prune/prune_options.h"
#include "runtime/metadata.h"

struct ParePrune {
    ParePruneOptions o;
    PareArena *arena;
    PareModel *model;
    ParePrunePlan plan;
    PareSlices *slices;
};

static PareStatus read_plan(ParePrune *p, const char *hash, PareError *err) {
    const ParePruneOptions *o = &p->o;
    PareJsonDoc *doc = NULL;
    if (o->heads || o->units || o->layers || o->sublayers || o->kv_heads || o->positions)
        return pare_error_set(err, PARE_E_USAGE,
                              "--plan says all that is cut; give no other list with it");
    PareStatus st = pare_json_read(o->plan, &doc, err);
    const char *made_for = NULL;
    if (!st)
        st = pare_json_get_string(pare_json_root(doc), "model_sha256", &made_for, o->plan, err);
    if (!st && made_for && strcmp(made_for, hash) != 0)
        st = pare_error_set(err, PARE_E_USAGE,
                            "%s: the plan is for another model than %s (their SHA-256 differ); a "
                            "plan is applied once, to the model that it was made for",
                            o->plan, o->input);
    if (!st)
        st = pare_prune_plan_read(pare_json_root(doc), o->plan, pare_model_description(p->model),
                                  p->arena, &p->plan, err);
    pare_json_free(doc);
    return st;
}

static PareStatus make_plan(ParePrune *p, PareError *err) {
    char hash[PARE_SHA256_HEX_SIZE];
    uint64_t bytes;
    const PareDescription *d = pare_model_description(p->model);
    PareStatus st = pare_file_sha256(p->o.input, &bytes, hash, err);
    if (!st && p->o.plan)
        st = read_plan(p, hash, err);
    else if (!st)
        st = pare_prune_plan_whole(d, p->arena, &p->plan, err);
    if (!st && !p->o.plan)
        st = pare_prune_read_options(&p->o, d, &p->plan, err);
    memcpy(p->plan.model_sha256, hash, sizeof hash);
    for (int s = 0; s < PARE_STACKS && !st; s++)
        if (d->stacks[s].present && !p->plan.stacks[s].vocabulary.all)
            st = pare_error_set(err, PARE_E_UNSUPPORTED,
                                "%s: cuts the vocabulary; the tokenizer and special tokens would "
                                "no longer fit, and are not rewritten",
                                p->o.plan);
    return st ? st : pare_slices_create(p->model, &p->plan, &p->slices, err);
}

PareStatus pare_prune_open(const ParePruneOptions *o, ParePrune **out, PareError *err) {
    *out = NULL;
    ParePrune *p = pare_alloc(1, sizeof *p);
    if (!p || !(p->arena = pare_arena_create(0))) {
        pare_prune_close(p);
        return pare_memory_error(err, "pruning");
    }
    p->o = *o;
    PareStatus st = PARE_OK;
    if (o->output && pare_file_exists(o->output) && pare_file_same(o->input, o->output))
        st = pare_error_set(err, PARE_E_USAGE, "%s: the output is the input", o->output);
    else if (o->output && pare_file_exists(o->output) && !o->force)
        st = pare_error_set(err, PARE_E_IO, "%s: exists already; --force replaces it", o->output);
    if (!st)
        st = pare_model_open(o->input, &p->model, err);
    if (!st)
        st = make_plan(p, err);
    if (st)
        pare_prune_close(p);
    else
        *out = p;
    return st;
}

void pare_prune_close(ParePrune *p) {
    if (!p)
        return;
    pare_slices_destroy(p->slices);
    pare_model_close(p->model);
    pare_arena_destroy(p->arena);
    pare_free(p);
}

void pare_prune_write_plan(const ParePrune *p, PareBuffer *out) {
    pare_prune_plan_write(&p->plan, pare_model_description(p->model), out);
}

size_t pare_prune_tensors(const ParePrune *p) {
    return pare_slices_slots(p->slices)->count;
}

/* -- describing -- */

static uint64_t elements_of(const PareSlot *s) {
    return s->shape[0] * (s->dims == 2 ? s->shape[1] : 1);
}

static uint64_t parameters_after(const ParePrune *p) {
    const PareSlots *slots = pare_slices_slots(p->slices);
    uint64_t sum = 0;
    for (size_t i = 0; i < slots->count; i++)
        sum += pare_slices_shared(p->slices, i) == i ? elements_of(&slots->items[i]) : 0;
    return sum;
}

static uint64_t parameters_before(const ParePrune *p) {
    const PareFile *f = pare_model_file(p->model);
    const PareSlots *slots = pare_model_slots(p->model);
    uint64_t sum = 0;
    for (size_t i = 0; i < slots->count; i++)
        sum +=
            pare_file_find(f, slots->items[i].name)->alias_of ? 0 : elements_of(&slots->items[i]);
    return sum;
}

static void put_block(PareBuffer *out, const char *name, const PareAttentionShape *a,
                      const PareAttentionShape *before) {
    if (before->heads)
        pare_buffer_printf(out, "  %s %u/%u heads, %u/%u key/value", name, a->heads, before->heads,
                           a->kv_heads, before->kv_heads);
}

static void put_stack(const ParePrune *p, int s, PareBuffer *out) {
    static const char *const NAMES[PARE_STACKS] = {"encoder", "decoder"};
    const PareStack *before = &pare_model_description(p->model)->stacks[s];
    const PareStack *after = &pare_slices_description(p->slices)->stacks[s];
    if (!before->present)
        return;
    pare_buffer_printf(out, "%s: %u of %u layers, width %u/%u, vocabulary %u/%u\n", NAMES[s],
                       after->layer_count, before->layer_count, after->width, before->width,
                       after->vocabulary, before->vocabulary);
    for (uint32_t l = 0; l < after->layer_count; l++) {
        uint32_t number = p->plan.stacks[s].layers[l].layer;
        const PareLayerShape *old = &before->layers[number], *new = &after->layers[l];
        pare_buffer_printf(out, "  layer %-3u", number);
        put_block(out, "self", &new->self, &old->self);
        put_block(out, "cross", &new->cross, &old->cross);
        if (old->ffn)
            pare_buffer_printf(out, "  ffn %u/%u", new->ffn, old->ffn);
        pare_buffer_puts(out, "\n");
    }
}

PareStatus pare_prune_describe(const ParePrune *p, bool json, PareBuffer *out, PareError *err) {
    unsigned long long before = parameters_before(p), after = parameters_after(p);
    if (json) {
        pare_buffer_printf(out, "{\"parameters_before\":%llu,\"parameters_after\":%llu,", before,
                           after);
        pare_buffer_puts(out, "\"description\":");
        pare_description_write(pare_slices_description(p->slices), out);
        pare_buffer_puts(out, "}\n");
        return pare_buffer_ok(out, "the plan", err);
    }
    for (int s = 0; s < PARE_STACKS; s++)
        put_stack(p, s, out);
    pare_buffer_printf(out, "parameters: %llu of %llu (%.1f %%), %.1f MB as F32\n", after, before,
                       before ? 100.0 * (double)after / (double)before : 0,
                       (double)after * sizeof(float) / 1e6);
    return pare_buffer_ok(out, "the plan", err);
}

/* -- writing -- */

static PareStatus write_slot(const ParePrune *p, PareFileWriter *w, size_t i, PareError *err) {
    const PareSlots *slots = pare_slices_slots(p->slices);
    const PareSlot *s = &slots->items[i];
    size_t shared = pare_slices_shared(p->slices, i);
    PareFileTensor t = {.name = s->name,
                        .dtype = PARE_F32,
                        .layout = PARE_LAYOUT_ROWS,
                        .dims = s->dims,
                        .shape = {s->shape[0], s->shape[1]},
                        .axes = {s->axes[0], s->axes[1]}};
    if (shared != i)
        return pare_file_writer_alias(w, &t, slots->items[shared].name, err);
    float *values = pare_alloc((size_t)elements_of(s), sizeof *values);
    if (!values)
        return pare_memory_error(err, s->name);
    PareStatus st = pare_slices_read(p->slices, i, values, err);
    if (!st)
        st = pare_file_writer_tensor(w, &t, values, err);
    pare_free(values);
    return st;
}

static PareStatus write_sections(const ParePrune *p, PareFileWriter *w, PareError *err) {
    PareBuffer plan = {0}, metadata = {0};
    const void *bytes;
    size_t size;
    pare_buffer_puts(&plan, "{\"plan\":");
    pare_prune_write_plan(p, &plan);
    pare_buffer_puts(&plan, "}");
    PareStatus st = pare_buffer_ok(&plan, "the plan", err);
    if (!st)
        st = pare_metadata_append(p->model, "prune", plan.data, pare_slices_description(p->slices),
                                  &metadata, err);
    if (!st)
        st = pare_file_writer_section(w, PARE_SECTION_METADATA, metadata.data, metadata.size, err);
    if (!st && pare_file_section(pare_model_file(p->model), PARE_SECTION_TOKENIZER, &bytes, &size))
        st = pare_file_writer_section(w, PARE_SECTION_TOKENIZER, bytes, size, err);
    pare_buffer_free(&plan);
    pare_buffer_free(&metadata);
    return st;
}

PareStatus pare_prune_apply(ParePrune *p, PareProgress *progress, PareError *err) {
    PareFileWriter *w = NULL;
    PareStatus st = pare_file_writer_open(p->o.output, p->o.force, &w, err);
    for (size_t i = 0; i < pare_prune_tensors(p) && !st; i++) {
        st = write_slot(p, w, i, err);
        pare_progress_update(progress, i + 1, NULL);
        if (!st)
            st = pare_interrupt_check(err);
    }
    if (!st)
        st = write_sections(p, w, err);
    if (st) {
        pare_file_writer_abort(w);
        return st;
    }
    return pare_file_writer_commit(w, err);
}
