/* The metadata section of a converted model, and what is printed about a conversion. */
#include <string.h>

#include "convert/convert_impl.h"
#include "core/file.h"
#include "core/version.h"

PareStatus pare_convert_inputs(PareConvert *c, const char ***out, size_t *count, PareError *err) {
    size_t n = 0, tokens = 0, weights = pare_checkpoint_files(c->checkpoint);
    const char *const *names = c->tokenizer ? pare_tokenizer_files(c->tokenizer, &tokens) : NULL;
    const char **paths = pare_arena_alloc(c->arena, weights + 2 + tokens, sizeof *paths);
    if (!paths)
        return pare_memory_error(err, "the names of the inputs");
    while (n < weights) {
        paths[n] = pare_checkpoint_file(c->checkpoint, n);
        n++;
    }
    paths[n++] = c->config.path;
    if (c->generation.doc)
        paths[n++] = c->generation.path;
    for (size_t i = 0; i < tokens; i++) {
        paths[n] =
            pare_arena_printf(c->arena, "%s/%s", c->options.folder, pare_file_basename(names[i]));
        if (!paths[n++])
            return pare_memory_error(err, "the names of the inputs");
    }
    *out = paths;
    *count = n;
    return PARE_OK;
}

PareStatus pare_input_file_hash(const char *path, const atomic_bool *stop, PareInputFile *out,
                                PareError *err) {
    out->name = pare_file_basename(path);
    return pare_file_sha256_until(path, stop, &out->size, out->sha256, err);
}

/* A JSON file as it was, without the byte order mark and the white space around it. */
static void put_file(PareBuffer *out, const PareJsonFile *f) {
    static const char MARK[] = "\xef\xbb\xbf";
    const char *from = f->text, *to = f->text + f->size;
    if (f->size >= sizeof MARK - 1 && memcmp(from, MARK, sizeof MARK - 1) == 0)
        from += sizeof MARK - 1;
    while (from < to && strchr(" \t\r\n", *from))
        from++;
    while (to > from && strchr(" \t\r\n", to[-1]))
        to--;
    pare_buffer_append(out, from, (size_t)(to - from));
}

static void put_labels(PareConvert *c, PareBuffer *out) {
    uint32_t count = c->model.labels ? c->model.description.head.labels : 0;
    pare_buffer_puts(out, ",\"labels\":[");
    for (uint32_t i = 0; i < count; i++) {
        pare_buffer_puts(out, i ? "," : "");
        pare_buffer_put_json_string(out, c->model.labels[i], strlen(c->model.labels[i]));
    }
    pare_buffer_puts(out, "]");
}

/* Whether the framework computes a slot by itself, or keeps it as a constant. */
static bool is_fixed(const PareConvert *c, const PareSlot *slot) {
    char name[256];
    for (const PareRule *r = c->model.family->rules; r->slot; r++)
        if ((r->flags & (PARE_RULE_COMPUTED | PARE_RULE_ZERO)) && pare_rule_applies(r, &c->model) &&
            pare_pattern_rewrite(r->slot, r->slot, slot->name, name, sizeof name))
            return true;
    return false;
}

/* Tensors that are no parameters: training leaves them as they are. */
static void put_fixed(const PareConvert *c, PareBuffer *out) {
    size_t count = 0;
    for (size_t i = 0; i < c->plan.count; i++) {
        const PareSlot *slot = c->plan.items[i].slot;
        if (!is_fixed(c, slot))
            continue;
        pare_buffer_puts(out, count++ ? "," : ",\"fixed\":[");
        pare_buffer_put_json_string(out, slot->name, strlen(slot->name));
    }
    pare_buffer_puts(out, count ? "]" : "");
    if (c->model.family->fixed_padding && c->model.generation.pad >= 0)
        pare_buffer_puts(out, ",\"fixed_padding\":true");
}

static void put_source(PareConvert *c, PareBuffer *out) {
    const PareJson *problem = pare_json_get_set(pare_json_root(c->config.doc), "problem_type");
    pare_buffer_puts(out, ",\"source\":{");
    pare_buffer_put_json_member(out, "model_type", c->model.family->model_type);
    pare_buffer_put_json_member(out, "architecture", c->model.architecture->name);
    pare_buffer_put_json_member(out, "format", pare_checkpoint_format(c->checkpoint));
    if (pare_json_is_string(problem)) {
        pare_buffer_put_json_member(out, "problem_type", pare_json_string(problem));
    }
    pare_buffer_puts(out, ",\"config\":");
    put_file(out, &c->config);
    if (c->generation.doc) {
        pare_buffer_puts(out, ",\"generation_config\":");
        put_file(out, &c->generation);
    }
    pare_buffer_puts(out, "}");
}

static void put_provenance(PareConvert *c, const PareInputFile *inputs, size_t count,
                           PareBuffer *out) {
    const PareConvertOptions *o = &c->options;
    pare_buffer_puts(out, ",\"provenance\":[{\"stage\":\"convert\"");
    pare_buffer_put_json_member(out, "program", "pare-convert");
    pare_buffer_put_json_member(out, "version", PARE_VERSION);
    pare_buffer_puts(out, ",\"options\":{\"allow_unused\":[");
    for (size_t i = 0; i < o->allow_unused.count; i++) {
        pare_buffer_puts(out, i ? "," : "");
        pare_buffer_put_json_string(out, o->allow_unused.items[i],
                                    strlen(o->allow_unused.items[i]));
    }
    pare_buffer_printf(out, "],\"allow_nonfinite\":%s,\"no_tokenizer\":%s",
                       o->allow_nonfinite ? "true" : "false", o->no_tokenizer ? "true" : "false");
    if (o->root) {
        pare_buffer_put_json_member(out, "root", o->root);
    }
    pare_buffer_puts(out, "},\"inputs\":[");
    for (size_t i = 0; i < count; i++) {
        pare_buffer_puts(out, i ? ",{" : "{");
        pare_buffer_put_json_member(out, "file", inputs[i].name);
        pare_buffer_printf(out, ",\"bytes\":%llu", (unsigned long long)inputs[i].size);
        pare_buffer_put_json_member(out, "sha256", inputs[i].sha256);
        pare_buffer_puts(out, "}");
    }
    pare_buffer_puts(out, "]}]");
}

PareStatus pare_convert_metadata(PareConvert *c, const PareInputFile *inputs, size_t count,
                                 PareBuffer *out, PareError *err) {
    pare_buffer_puts(out, "{\"description\":");
    pare_description_write(&c->model.description, out);
    pare_buffer_puts(out, ",\"generation\":");
    pare_generation_write(&c->model.generation, out);
    put_labels(c, out);
    put_fixed(c, out);
    if (c->tokenizer) {
        pare_buffer_puts(out, ",\"tokenizer\":{");
        pare_buffer_put_json_member(out, "kind", pare_tokenizer_kind(c->tokenizer));
        pare_buffer_printf(out, ",\"size\":%zu}", pare_tokenizer_size(c->tokenizer));
    }
    put_source(c, out);
    put_provenance(c, inputs, count, out);
    pare_buffer_puts(out, "}");
    return pare_buffer_ok(out, "the metadata", err);
}

static void describe_json(const PareConvertSummary *s, PareBuffer *out) {
    pare_buffer_puts(out, "{");
    pare_buffer_put_json_member(out, "family", s->family);
    pare_buffer_put_json_member(out, "architecture", s->architecture);
    pare_buffer_put_json_member(out, "head", s->head);
    pare_buffer_put_json_member(out, "weights", s->weights);
    pare_buffer_put_json_member(out, "format", s->format);
    pare_buffer_puts(out, ",\"tokenizer\":");
    if (s->tokenizer) {
        pare_buffer_puts(out, "{");
        pare_buffer_put_json_member(out, "kind", s->tokenizer);
        pare_buffer_printf(out, ",\"size\":%zu}", s->tokenizer_size);
    } else {
        pare_buffer_puts(out, "null");
    }
    pare_buffer_printf(out,
                       ",\"tensors\":%zu,\"shared\":%zu,\"parameters\":%llu,\"memory_bytes\":%llu,"
                       "\"output_bytes\":%llu,\"nonfinite\":%llu}\n",
                       s->tensors, s->shared, (unsigned long long)s->parameters,
                       (unsigned long long)s->memory_bytes, (unsigned long long)s->output_bytes,
                       (unsigned long long)s->nonfinite);
}

void pare_convert_describe(PareConvert *c, bool json, PareBuffer *out) {
    const PareConvertSummary *s = &c->summary;
    if (json) {
        describe_json(s, out);
        return;
    }
    pare_buffer_printf(out, "family        %s\n", s->family);
    pare_buffer_printf(out, "architecture  %s (head: %s)\n", s->architecture, s->head);
    pare_buffer_printf(out, "weights       %s (%s)\n", s->weights, s->format);
    if (s->tokenizer)
        pare_buffer_printf(out, "tokenizer     %s, %zu ids\n", s->tokenizer, s->tokenizer_size);
    else
        pare_buffer_puts(out, "tokenizer     none\n");
    pare_buffer_printf(out, "tensors       %zu, and %zu that share one of them\n", s->tensors,
                       s->shared);
    pare_buffer_printf(out, "parameters    %llu\n", (unsigned long long)s->parameters);
    pare_buffer_puts(out, "memory        ");
    pare_buffer_put_size(out, s->memory_bytes);
    pare_buffer_printf(out, " to convert; the largest tensor is %s\noutput        about ",
                       s->largest ? s->largest : "none");
    pare_buffer_put_size(out, s->output_bytes);
    pare_buffer_puts(out, "\n");
}
