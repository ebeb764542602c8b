/* The summary of pare-info. Metadata is shown as it is there: a file that the runtime would refuse
 * can still be looked at, so nothing here insists on a field. */
#include "convert/info_text.h"

#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "runtime/description.h"

/* -- text -- */

static void put_row(PareBuffer *out, const char *name, const char *text) {
    pare_buffer_printf(out, "%-13s %s\n", name, text);
}

static const char *text_of(const PareJson *object, const char *key) {
    const PareJson *n = pare_json_get_set(object, key);
    return pare_json_is_string(n) ? pare_json_string(n) : "";
}

/* One number when all layers agree, otherwise all of them. */
static void put_layers(PareBuffer *out, const char *what, const PareStack *s,
                       uint32_t (*of)(const PareLayerShape *)) {
    bool equal = true;
    for (uint32_t i = 1; i < s->layer_count; i++)
        equal = equal && of(&s->layers[i]) == of(&s->layers[0]);
    pare_buffer_printf(out, ", %s", what);
    for (uint32_t i = 0; i < (equal ? s->layer_count > 0 : s->layer_count); i++)
        pare_buffer_printf(out, " %u", of(&s->layers[i]));
}

static uint32_t self_heads(const PareLayerShape *l) {
    return l->self.heads;
}

static uint32_t kv_heads(const PareLayerShape *l) {
    return l->self.kv_heads;
}

static uint32_t head_size(const PareLayerShape *l) {
    return l->self.head_size;
}

static uint32_t cross_heads(const PareLayerShape *l) {
    return l->cross.heads;
}

static uint32_t ffn_units(const PareLayerShape *l) {
    return l->ffn;
}

static void put_stack(PareBuffer *out, const char *name, const PareStack *s) {
    if (!s->present)
        return;
    pare_buffer_printf(out, "%-13s %u layers of width %u", name, s->layer_count, s->width);
    put_layers(out, "heads", s, self_heads);
    put_layers(out, "key/value heads", s, kv_heads);
    put_layers(out, "head size", s, head_size);
    if (s->cross)
        put_layers(out, "cross heads", s, cross_heads);
    put_layers(out, "feed-forward", s, ffn_units);
    pare_buffer_printf(out, "\n%-13s %s%s, %s norms %s the sublayers (eps %g)\n", "",
                       s->gated ? "gated " : "", pare_activation_name(s->activation),
                       s->norm == PARE_NORM_RMS ? "RMS" : "layer",
                       s->pre_norm ? "in front of" : "behind", (double)s->norm_eps);
    pare_buffer_printf(out, "%-13s vocabulary %u", "", s->vocabulary);
    if (s->position == PARE_POSITION_TABLE)
        pare_buffer_printf(out, ", %u positions", s->positions);
    if (s->position == PARE_POSITION_RELATIVE)
        pare_buffer_printf(out, ", relative positions in %u buckets up to %u", s->relative_buckets,
                           s->relative_max_distance);
    if (s->types)
        pare_buffer_printf(out, ", %u token types", s->types);
    pare_buffer_puts(out, "\n");
}

static PareStatus put_description(const PareInfoSubject *s, PareBuffer *out, PareError *err) {
    const PareJson *n = pare_json_get_set(s->metadata, "description");
    PareDescription d = {0};
    if (!n)
        return PARE_OK;
    d.arena = pare_arena_create(0);
    if (!d.arena)
        return pare_memory_error(err, "the description");
    PareArena *arena = d.arena;
    PareStatus st = pare_description_read(n, s->path, arena, &d, err);
    if (!st) {
        put_stack(out, "encoder", &d.stacks[PARE_ENCODER]);
        put_stack(out, "decoder", &d.stacks[PARE_DECODER]);
        pare_buffer_printf(out, "%-13s %s", "head", pare_head_kind_name(d.head.kind));
        if (d.head.labels)
            pare_buffer_printf(out, ", %u labels", d.head.labels);
        pare_buffer_puts(out, "\n");
    }
    pare_arena_destroy(arena);
    return st;
}

static void put_labels(const PareJson *metadata, PareBuffer *out) {
    enum { SHOWN = 12 };
    const PareJson *list = pare_json_get_set(metadata, "labels");
    size_t count = pare_json_is_array(list) ? pare_json_size(list) : 0, i = 0;
    if (count == 0)
        return;
    pare_buffer_printf(out, "%-13s", "labels");
    for (const PareJson *l = pare_json_first(list); l && i < SHOWN; l = pare_json_next(l), i++)
        pare_buffer_printf(out, "%s %s", i ? "," : "",
                           pare_json_is_string(l) ? pare_json_string(l) : "-");
    if (count > SHOWN)
        pare_buffer_printf(out, " and %zu more", count - SHOWN);
    pare_buffer_puts(out, "\n");
}

static void put_stage(const PareJson *stage, PareBuffer *out) {
    pare_buffer_printf(out, "%-13s %s by %s %s\n", "made by", text_of(stage, "stage"),
                       text_of(stage, "program"), text_of(stage, "version"));
    const PareJson *inputs = pare_json_get_set(stage, "inputs");
    const PareJson *options = pare_json_get_set(stage, "options");
    char *shown = options ? pare_json_print(options) : NULL;
    if (shown)
        pare_buffer_printf(out, "%-13s   with %s\n", "", shown);
    pare_free(shown);
    for (const PareJson *i = pare_json_first(inputs); i; i = pare_json_next(i)) {
        const PareJson *bytes = pare_json_get_set(i, "bytes");
        pare_buffer_printf(out, "%-13s   from %s", "", text_of(i, "file"));
        if (pare_json_is_integer(bytes))
            pare_buffer_printf(out, ", %lld bytes", (long long)pare_json_integer(bytes));
        pare_buffer_printf(out, ", sha256 %s\n", text_of(i, "sha256"));
    }
}

static void put_model(const PareInfoSubject *s, PareBuffer *out) {
    const PareJson *source = pare_json_get_set(s->metadata, "source");
    const PareJson *tokenizer = pare_json_get_set(s->metadata, "tokenizer");
    const PareJson *stages = pare_json_get_set(s->metadata, "provenance");
    if (*text_of(source, "architecture"))
        put_row(out, "architecture", text_of(source, "architecture"));
    put_labels(s->metadata, out);
    if (tokenizer) {
        const PareJson *size = pare_json_get_set(tokenizer, "size");
        pare_buffer_printf(out, "%-13s %s, %lld ids\n", "tokenizer", text_of(tokenizer, "kind"),
                           pare_json_is_integer(size) ? (long long)pare_json_integer(size) : 0);
    } else {
        put_row(out, "tokenizer", "none");
    }
    for (const PareJson *p = pare_json_first(stages); p; p = pare_json_next(p))
        put_stage(p, out);
}

static void put_formats(const PareInfoTally *t, PareBuffer *out) {
    for (int d = 0; d < PARE_DTYPE_COUNT; d++)
        if (t->of[d].tensors)
            pare_buffer_printf(out, "  %-11s %zu tensors, %llu values, %llu bytes\n",
                               pare_dtype_name((PareDtype)d), t->of[d].tensors,
                               (unsigned long long)t->of[d].values,
                               (unsigned long long)t->of[d].bytes);
    if (t->of[PARE_DTYPE_COUNT].tensors)
        pare_buffer_printf(out, "  %-11s %zu tensors, %llu values that cannot be read\n", "others",
                           t->of[PARE_DTYPE_COUNT].tensors,
                           (unsigned long long)t->of[PARE_DTYPE_COUNT].values);
}

static void put_warnings(const char *lines, PareBuffer *out) {
    while (*lines) {
        size_t length = strcspn(lines, "\n");
        pare_buffer_printf(out, "%-13s %.*s\n", "warning", (int)length, lines);
        lines += length + (lines[length] != '\0');
    }
}

static void put_checkpoint(const PareInfoSubject *s, PareBuffer *out) {
    const PareJson *classes = pare_json_get_set(s->metadata, "architectures");
    const PareJson *first = pare_json_at(classes, 0);
    if (strcmp(s->weights, s->path) != 0)
        put_row(out, "weights", pare_file_basename(s->weights));
    if (s->files > 1)
        pare_buffer_printf(out, "%-13s %zu: the index and %zu shard%s\n", "files", s->files,
                           s->files - 1, s->files == 2 ? "" : "s");
    put_warnings(s->warnings, out);
    if (!s->metadata)
        return;
    put_row(out, "model type", text_of(s->metadata, "model_type"));
    if (pare_json_is_string(first))
        put_row(out, "architecture", pare_json_string(first));
}

static const char *const SECTIONS[] = {"", "metadata", "tokenizer", "self-test", "certificate"};

PareStatus pare_info_text(const PareInfoSubject *s, const PareInfoTally *t, PareBuffer *out,
                          PareError *err) {
    PareStatus st = PARE_OK;
    put_row(out, s->is_model ? "model" : "checkpoint", s->path);
    put_row(out, "format", s->format);
    if (s->is_model) {
        pare_buffer_printf(out, "%-13s %llu bytes\n", "size", (unsigned long long)s->file_bytes);
        st = put_description(s, out, err);
        put_model(s, out);
        for (int k = PARE_SECTION_METADATA; k <= PARE_SECTION_CERTIFICATE; k++)
            if (s->has_section[k])
                pare_buffer_printf(out, "%-13s %s, %zu bytes\n", "section", SECTIONS[k],
                                   s->section_bytes[k]);
    } else {
        put_checkpoint(s, out);
    }
    pare_buffer_printf(out, "%-13s %zu, of which %zu share another's values\n", "tensors",
                       t->tensors, t->shared);
    pare_buffer_printf(out, "%-13s %llu in %llu bytes\n", "values", (unsigned long long)t->values,
                       (unsigned long long)t->bytes);
    put_formats(t, out);
    return st ? st : pare_buffer_ok(out, "the summary", err);
}

/* -- JSON -- */

static PareStatus put_metadata(const PareInfoSubject *s, PareBuffer *out, PareError *err) {
    if (!s->metadata)
        return PARE_OK;
    char *text = pare_json_print(s->metadata);
    if (!text)
        return pare_memory_error(err, "the metadata");
    pare_buffer_put_json_key(out, s->is_model ? "metadata" : "config");
    pare_buffer_puts(out, text);
    pare_free(text);
    return PARE_OK;
}

static void put_json_files(const PareInfoSubject *s, PareBuffer *out) {
    const char *at = s->warnings;
    pare_buffer_printf(out, ",\"files\":%zu,\"warnings\":[", s->files);
    while (*at) {
        size_t length = strcspn(at, "\n");
        pare_buffer_puts(out, at == s->warnings ? "" : ",");
        pare_buffer_put_json_string(out, at, length);
        at += length + (at[length] != '\0');
    }
    pare_buffer_puts(out, "]");
}

static void put_json_formats(const PareInfoTally *t, PareBuffer *out) {
    const char *comma = "";
    pare_buffer_puts(out, "\"dtypes\":{");
    for (int d = 0; d <= PARE_DTYPE_COUNT; d++) {
        if (!t->of[d].tensors)
            continue;
        pare_buffer_printf(out, "%s\"%s\":{\"tensors\":%zu,\"values\":%llu,\"bytes\":%llu}", comma,
                           d == PARE_DTYPE_COUNT ? "others" : pare_dtype_name((PareDtype)d),
                           t->of[d].tensors, (unsigned long long)t->of[d].values,
                           (unsigned long long)t->of[d].bytes);
        comma = ",";
    }
    pare_buffer_puts(out, "}");
}

PareStatus pare_info_json(const PareInfoSubject *s, const PareInfoTally *t, PareBuffer *out,
                          PareError *err) {
    pare_buffer_puts(out, "{");
    pare_buffer_put_json_member(out, "path", s->path);
    pare_buffer_put_json_member(out, "kind", s->is_model ? "model" : "checkpoint");
    pare_buffer_put_json_member(out, "format", s->format);
    pare_buffer_put_json_member(out, "weights", pare_file_basename(s->weights));
    if (s->is_model)
        pare_buffer_printf(out, ",\"file_bytes\":%llu", (unsigned long long)s->file_bytes);
    else
        put_json_files(s, out);
    PareStatus st = put_metadata(s, out, err);
    pare_buffer_printf(out, ",\"tensors\":%zu,\"shared\":%zu,\"values\":%llu,\"bytes\":%llu,",
                       t->tensors, t->shared, (unsigned long long)t->values,
                       (unsigned long long)t->bytes);
    put_json_formats(t, out);
    const char *comma = "";
    pare_buffer_puts(out, ",\"sections\":{");
    for (int k = PARE_SECTION_METADATA; k <= PARE_SECTION_CERTIFICATE; k++) {
        if (!s->has_section[k])
            continue;
        pare_buffer_printf(out, "%s\"%s\":%zu", comma, SECTIONS[k], s->section_bytes[k]);
        comma = ",";
    }
    pare_buffer_puts(out, "}}\n");
    return st ? st : pare_buffer_ok(out, "the summary", err);
}
