/* How a plan was made, for the plan itself and for the provenance of the model. */
#include <string.h>

#include "core/file.h"
#include "prune/prune_impl.h"

static void put_key(PareBuffer *out, const char *key) {
    pare_buffer_printf(out, "%s\"%s\":", out->data[out->size - 1] == '{' ? "" : ",", key);
}

static void put_text(PareBuffer *out, const char *key, const char *value) {
    put_key(out, key);
    pare_buffer_put_json_string(out, value, strlen(value));
}

static void put_real(PareBuffer *out, const char *key, double value) {
    put_key(out, key);
    pare_buffer_put_json_double(out, value);
}

static void put_count(PareBuffer *out, const char *key, uint64_t value) {
    put_key(out, key);
    pare_buffer_printf(out, "%llu", (unsigned long long)value);
}

/* An option that was given. */
static void put_option(PareBuffer *out, const char *key, const char *value) {
    if (value)
        put_text(out, key, value);
}

static void put_share(PareBuffer *out, const char *key, double value) {
    if (value > 0)
        put_real(out, key, value);
}

static void put_number(PareBuffer *out, const char *key, uint64_t value) {
    if (value > 0)
        put_count(out, key, value);
}

/* A data set by its name and the digest of its examples. */
static void put_data(PareBuffer *out, const char *path, const ParePruneData *data) {
    put_key(out, "data");
    pare_buffer_puts(out, "{");
    put_text(out, "file", pare_file_basename(path));
    put_count(out, "examples", pare_examples_count(data->examples));
    put_key(out, "digest");
    pare_buffer_printf(out, "\"%016llx\"}",
                       (unsigned long long)pare_examples_digest(data->examples));
}

static void put_measured(const ParePrune *p, PareBuffer *out) {
    const PareImportance *i = &p->scores;
    put_text(out, "criterion", pare_criterion_name(i->criterion));
    if (p->from_file)
        put_text(out, "importance", pare_file_basename(p->o.importance));
    else if (pare_criterion_needs_data(i->criterion))
        put_data(out, p->o.data, &p->data);
    if (i->batches) {
        put_text(out, "against", i->from_labels ? "labels" : "outputs");
        put_count(out, "batches", i->batches);
    }
    if (i->criterion == PARE_CRITERION_RANDOM)
        put_count(out, "seed", i->seed);
}

static void put_selection(const ParePrune *p, PareBuffer *out) {
    static const char *const FORMATS[PARE_WEIGHTS_COUNT] = {"f32", "fp16", "int8"};
    const PareSelection *s = &p->o.selection;
    put_measured(p, out);
    put_share(out, "heads", s->heads);
    put_share(out, "ffn", s->units);
    put_share(out, "width", s->width);
    put_option(out, "keep_layers", p->o.keep_layers);
    if (p->o.cut) {
        put_real(out, "share", p->target.share);
        put_number(out, "target_bytes", p->o.target_bytes);
        put_share(out, "target_speedup", p->o.target_speedup);
        put_text(out, "for", FORMATS[p->o.format]);
    }
    put_text(out, "scope", s->scope == PARE_SCOPE_GLOBAL ? "global" : "layer");
    if (s->scope == PARE_SCOPE_GLOBAL)
        put_text(out, "normalize", s->normalize ? "layer" : "none");
    put_share(out, "min_kept", s->min_kept);
    put_number(out, "align", s->align > 1 ? s->align : 0);
    put_number(out, "iterations", p->o.iterations > 1 ? p->o.iterations : 0);
}

/* What was named. */
static void put_lists(const ParePruneOptions *o, PareBuffer *out) {
    put_option(out, "heads_list", o->heads);
    put_option(out, "ffn_list", o->units);
    put_option(out, "drop_layers", o->layers);
    put_option(out, "drop_sublayers", o->sublayers);
    put_option(out, "kv_heads", o->kv_heads);
    put_number(out, "positions", o->positions);
    put_option(out, "vocabulary", o->vocabulary ? pare_file_basename(o->vocabulary) : NULL);
    put_number(out, "vocabulary_size", o->vocabulary_size);
}

PareStatus pare_prune_tell_how(ParePrune *p) {
    const ParePruneOptions *o = &p->o;
    const PareSelection *s = &o->selection;
    PareBuffer text = {0};
    PareJsonDoc *doc = NULL;
    pare_buffer_puts(&text, "{");
    put_lists(o, &text);
    if (s->heads > 0 || s->units > 0 || s->width > 0 || o->keep_layers || o->cut)
        put_selection(p, &text);
    pare_buffer_puts(&text, "}");
    PareStatus st = pare_buffer_ok(&text, "a plan", p->err);
    /* As it looks when it was read back: applying the plan again gives the same bytes. */
    if (!st)
        st = pare_json_parse(text.data, text.size, "the plan", &doc, p->err);
    char *same = st ? NULL : pare_json_print(pare_json_root(doc));
    p->plan.made_by = same ? pare_arena_strdup(p->arena, same) : NULL;
    if (!st && !p->plan.made_by)
        st = pare_memory_error(p->err, "a plan");
    pare_free(same);
    pare_json_free(doc);
    pare_buffer_free(&text);
    return st;
}

/* -- repair -- */

void pare_prune_put_repair(const ParePrune *p, PareBuffer *out) {
    static const char *const STACKS[PARE_STACKS] = {"encoder", "decoder"};
    static const char *const PARTS[] = {"self", "cross", "ffn"};
    size_t count;
    const PareRepairLine *lines = pare_repair_lines(p->repair, &count);
    bool own = p->o.calibration != NULL;
    pare_buffer_puts(out, "{");
    put_data(out, own ? p->o.calibration : p->o.data, own ? &p->calibration : &p->data);
    put_number(out, "rows", p->o.repair_rows);
    put_share(out, "ridge", p->o.ridge);
    put_key(out, "sublayers");
    pare_buffer_puts(out, "[");
    for (size_t i = 0; i < count; i++) {
        pare_buffer_printf(out, "%s{\"place\":\"%s.%u.%s\"", i ? "," : "", STACKS[lines[i].stack],
                           lines[i].layer, PARTS[lines[i].sublayer]);
        pare_buffer_printf(out, ",\"before\":%.6g,\"after\":%.6g}", lines[i].before,
                           lines[i].after);
    }
    pare_buffer_puts(out, "]}");
}

/* The plan's lists may be longer than all of the metadata: its digest tells whether it is the same
 * one. */
PareStatus pare_prune_provenance(const ParePrune *p, PareBuffer *out, PareError *err) {
    PareBuffer plan = {0};
    char hex[PARE_SHA256_HEX_SIZE];
    PareSha256 *h = pare_sha256_create();
    if (!h)
        return pare_memory_error(err, "the plan");
    pare_prune_plan_write(&p->plan, pare_model_description(p->model), &plan);
    pare_sha256_update(h, plan.data, plan.size);
    pare_sha256_hex(h, hex);
    PareStatus st = pare_buffer_ok(&plan, "the plan", err);
    pare_buffer_puts(out, "{");
    put_text(out, "plan_sha256", hex);
    if (p->plan.made_by)
        pare_buffer_printf(out, ",\"made_by\":%s", p->plan.made_by);
    if (p->repair) {
        pare_buffer_puts(out, ",\"repair\":");
        pare_prune_put_repair(p, out);
    }
    pare_buffer_puts(out, "}");
    pare_sha256_destroy(h);
    pare_buffer_free(&plan);
    return st ? st : pare_buffer_ok(out, "the plan", err);
}
