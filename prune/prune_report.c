/* What is kept, for people and as JSON. */
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "formats/pare_file.h"
#include "prune/prune_impl.h"

static const char *const FORMATS[PARE_WEIGHTS_COUNT] = {"f32", "fp16", "int8"};

static uint64_t elements_of(const PareSlot *s) {
    return s->shape[0] * (s->dims == 2 ? s->shape[1] : 1);
}

typedef struct {
    unsigned long long before, after; /* parameters */
    uint64_t bytes[PARE_WEIGHTS_COUNT];
    double seconds_before, seconds_after; /* 0: not asked for */
} Totals;

static PareStatus sum_up(const ParePrune *p, Totals *t, PareError *err) {
    const PareFile *f = pare_model_file(p->model);
    const PareSlots *before = pare_model_slots(p->model), *after = pare_slices_slots(p->slices);
    PareStatus st = PARE_OK;
    *t = (Totals){0};
    for (size_t i = 0; i < before->count; i++)
        t->before +=
            pare_file_find(f, before->items[i].name)->alias_of ? 0 : elements_of(&before->items[i]);
    for (size_t i = 0; i < after->count; i++)
        t->after += pare_slices_shared(p->slices, i) == i ? elements_of(&after->items[i]) : 0;
    for (int k = 0; k < PARE_WEIGHTS_COUNT && !st; k++)
        st = pare_prune_size(p, p->slices, (PareWeightFormat)k, &t->bytes[k], err);
    if (p->cost) {
        t->seconds_before = pare_cost_seconds(p->cost, pare_model_description(p->model));
        t->seconds_after = pare_cost_seconds(p->cost, pare_slices_description(p->slices));
    }
    return st;
}

/* What repair did: medians, since sublayers that add next to nothing have large relative errors. */
typedef struct {
    double before, after;
    size_t count;
} Repaired;

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static PareStatus repaired(const ParePrune *p, Repaired *out, PareError *err) {
    const PareRepairLine *lines = pare_repair_lines(p->repair, &out->count);
    double *before = pare_alloc(2 * out->count, sizeof *before), *after = before + out->count;
    if (!before)
        return pare_memory_error(err, "the report");
    for (size_t i = 0; i < out->count; i++) {
        before[i] = lines[i].before;
        after[i] = lines[i].after;
    }
    qsort(before, out->count, sizeof *before, by_value);
    qsort(after, out->count, sizeof *after, by_value);
    out->before = out->count ? before[out->count / 2] : 0;
    out->after = out->count ? after[out->count / 2] : 0;
    pare_free(before);
    return PARE_OK;
}

/* -- for people -- */

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
    pare_buffer_printf(out, "%s: %u of %u layers, width %u/%u, vocabulary %u/%u", NAMES[s],
                       after->layer_count, before->layer_count, after->width, before->width,
                       after->vocabulary, before->vocabulary);
    if (after->positions != before->positions)
        pare_buffer_printf(out, ", positions %u/%u", after->positions, before->positions);
    pare_buffer_puts(out, "\n");
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

static void put_origin(const ParePrune *p, PareBuffer *out) {
    const PareImportance *i = &p->scores;
    if (!p->selects)
        return;
    pare_buffer_printf(out, "importance: %s", pare_criterion_name(i->criterion));
    if (p->from_file)
        pare_buffer_printf(out, ", from %s", p->o.importance);
    else if (i->criterion == PARE_CRITERION_RECONSTRUCT)
        pare_buffer_printf(out, ", of %llu examples", (unsigned long long)i->examples);
    else if (pare_criterion_needs_data(i->criterion))
        pare_buffer_printf(out, " against %s, %llu examples in %llu batches",
                           i->from_labels ? "labels" : "own outputs",
                           (unsigned long long)i->examples, (unsigned long long)i->batches);
    else
        pare_buffer_puts(out, " (without data)");
    if (p->o.iterations > 1)
        pare_buffer_printf(out, ", measured %u times", p->o.iterations);
    pare_buffer_puts(out, "\n");
    if (p->o.cut)
        pare_buffer_printf(out, "share found for the target: %.2f %%\n", 100 * p->target.share);
}

static void put_notes(const ParePrune *p, PareBuffer *out) {
    const PareSelectKept *k = &p->aligned;
    if (k->heads || k->units || k->width)
        pare_buffer_printf(out,
                           "kept for alignment: %llu heads, %llu feed-forward units, %llu of the "
                           "width\n",
                           (unsigned long long)k->heads, (unsigned long long)k->units,
                           (unsigned long long)k->width);
    if (p->o.vocabulary)
        pare_buffer_printf(out, "vocabulary: %u tokens used in %llu rows, %llu of %llu outside\n",
                           p->vocabulary.used, (unsigned long long)p->vocabulary.rows,
                           (unsigned long long)p->vocabulary.outside,
                           (unsigned long long)p->vocabulary.tokens);
}

static PareStatus put_repair_text(const ParePrune *p, PareBuffer *out, PareError *err) {
    Repaired r;
    if (p->repair) {
        PareStatus st = repaired(p, &r, err);
        if (st)
            return st;
        pare_buffer_printf(out,
                           "repair: %zu sublayers; their relative error was %.4f and is %.4f "
                           "(medians)\n",
                           r.count, r.before, r.after);
    } else if (pare_prune_repairs(p)) {
        pare_buffer_puts(out, "repair: when the model is written\n");
    } else {
        pare_buffer_printf(out, "repair: none%s\n",
                           p->o.repair == PARE_REPAIR_NO ? "" : ", without data");
    }
    return PARE_OK;
}

static void put_totals(const Totals *t, PareWeightFormat format, PareBuffer *out) {
    pare_buffer_printf(out, "parameters: %llu of %llu (%.1f %%)\n", t->after, t->before,
                       t->before ? 100.0 * (double)t->after / (double)t->before : 0);
    for (int k = 0; k < PARE_WEIGHTS_COUNT; k++) {
        pare_buffer_puts(out, k ? ", " : "file: ");
        pare_buffer_put_size(out, t->bytes[k]);
        pare_buffer_printf(out, " as %s", FORMATS[k]);
    }
    pare_buffer_puts(out, "\n");
    if (t->seconds_after > 0)
        pare_buffer_printf(out, "predicted speed as %s: %.2fx (%.2f ms a batch instead of %.2f)\n",
                           FORMATS[format], t->seconds_before / t->seconds_after,
                           t->seconds_after * 1e3, t->seconds_before * 1e3);
}

/* -- as JSON -- */

static void put_json(const ParePrune *p, const Totals *t, PareBuffer *out) {
    pare_buffer_printf(out, "{\"parameters_before\":%llu,\"parameters_after\":%llu,\"bytes\":{",
                       t->before, t->after);
    for (int k = 0; k < PARE_WEIGHTS_COUNT; k++)
        pare_buffer_printf(out, "%s\"%s\":%llu", k ? "," : "", FORMATS[k],
                           (unsigned long long)t->bytes[k]);
    pare_buffer_puts(out, "}");
    if (p->selects)
        pare_buffer_printf(out, ",\"criterion\":\"%s\"", pare_criterion_name(p->scores.criterion));
    if (p->o.cut) {
        pare_buffer_puts(out, ",\"share\":");
        pare_buffer_put_json_double(out, p->target.share);
    }
    if (t->seconds_after > 0) {
        pare_buffer_puts(out, ",\"predicted_speedup\":");
        pare_buffer_put_json_double(out, t->seconds_before / t->seconds_after);
    }
    if (p->o.selection.align > 1 || p->o.kv_heads)
        pare_buffer_printf(out, ",\"aligned\":{\"heads\":%llu,\"ffn\":%llu,\"width\":%llu}",
                           (unsigned long long)p->aligned.heads,
                           (unsigned long long)p->aligned.units,
                           (unsigned long long)p->aligned.width);
    if (p->o.vocabulary)
        pare_buffer_printf(out, ",\"vocabulary\":{\"used\":%u,\"tokens\":%llu,\"outside\":%llu}",
                           p->vocabulary.used, (unsigned long long)p->vocabulary.tokens,
                           (unsigned long long)p->vocabulary.outside);
    pare_buffer_puts(out, ",\"repair\":");
    if (p->repair)
        pare_prune_put_repair(p, out);
    else
        pare_buffer_puts(out, "null");
    pare_buffer_puts(out, ",\"description\":");
    pare_description_write(pare_slices_description(p->slices), out);
    pare_buffer_puts(out, "}\n");
}

PareStatus pare_prune_describe(const ParePrune *p, bool json, PareBuffer *out, PareError *err) {
    Totals t;
    PareStatus st = sum_up(p, &t, err);
    if (st)
        return st;
    if (json) {
        put_json(p, &t, out);
        return pare_buffer_ok(out, "the plan", err);
    }
    put_origin(p, out);
    for (int s = 0; s < PARE_STACKS; s++)
        put_stack(p, s, out);
    put_notes(p, out);
    st = put_repair_text(p, out, err);
    put_totals(&t, p->o.format, out);
    return st ? st : pare_buffer_ok(out, "the plan", err);
}
