/* What config.json says about an exported model: the source's own settings, with the numbers that
 * pruning changed taken from the description. */
#include <stdio.h>
#include <string.h>

#include "convert/export_impl.h"

/* ---- Edits ---- */

static PareStatus set(PareExport *e, const char *key, const char *value, PareError *err) {
    size_t i = 0;
    while (i < e->edit_count && strcmp(e->edits[i].key, key) != 0)
        i++;
    if (!value)
        return pare_memory_error(err, "config.json");
    if (i == PARE_EXPORT_EDITS)
        return pare_error_set(err, PARE_E_UNSUPPORTED, "more than %d fields of config.json change",
                              PARE_EXPORT_EDITS);
    e->edit_count += i == e->edit_count;
    e->edits[i] = (PareExportEdit){key, value};
    return PARE_OK;
}

/* `source` with the edits: members stay where they are, new ones stand at the end. With `only_old`
 * no member is added. */
static void put_edited(const PareExport *e, PareJsonText source, bool only_old, PareBuffer *out) {
    PareJsonText key, value;
    bool used[PARE_EXPORT_EDITS] = {false};
    const char *comma = "";
    pare_buffer_putc(out, '{');
    while (pare_json_text_next(&source, &key, &value)) {
        pare_buffer_puts(out, comma);
        pare_buffer_putc(out, '"');
        pare_buffer_append(out, key.at, (size_t)(key.end - key.at));
        pare_buffer_puts(out, "\":");
        size_t i = 0;
        while (i < e->edit_count && !pare_json_text_is(key, e->edits[i].key))
            i++;
        if (i < e->edit_count)
            pare_buffer_puts(out, e->edits[i].value);
        else
            pare_buffer_append(out, value.at, (size_t)(value.end - value.at));
        used[i < e->edit_count ? i : 0] |= i < e->edit_count;
        comma = ",";
    }
    for (size_t i = 0; i < e->edit_count && !only_old; i++) {
        if (!used[i])
            pare_buffer_printf(out, "%s\"%s\":%s", comma, e->edits[i].key, e->edits[i].value);
        comma = ",";
    }
    pare_buffer_putc(out, '}');
}

static bool has(PareJsonText object, const char *key) {
    PareJsonText value;
    return pare_json_text_get(object, key, &value) && !pare_json_text_is(value, "null");
}

/* ---- Describing ---- */

/* Documents live as long as the export: the family model borrows from them. */
static PareStatus parse(PareExport *e, PareJsonText text, const char *where, const PareJson **out,
                        PareError *err) {
    PareJsonDoc *doc = NULL;
    PareStatus st = pare_json_parse(text.at, (size_t)(text.end - text.at), where, &doc, err);
    if (st)
        return st;
    e->docs[e->doc_count++] = doc;
    *out = pare_json_root(doc);
    return PARE_OK;
}

static PareStatus describe(PareExport *e, const PareJson *config, PareFamilyModel *out,
                           PareError *err) {
    PareConfig c = {.object = config,
                    .where = e->options.model,
                    .stored = &e->held,
                    .arena = e->arena,
                    .err = err};
    const PareFamily *family = out->family;
    *out = (PareFamilyModel){.family = family};
    return pare_family_describe(&c, out);
}

static PareStatus find_family(PareExport *e, const PareJson *config, PareError *err) {
    const char *path = e->options.model;
    const PareJson *type = pare_json_get(config, "model_type");
    char known[512] = "";
    size_t used = 0;
    const PareFamily *f;
    if (pare_json_is_string(type))
        e->theirs.family = pare_family_find(pare_json_string(type));
    if (e->theirs.family && e->theirs.family->facts)
        return PARE_OK;
    for (size_t i = 0; (f = pare_family_at(i)) && used < sizeof known; i++)
        if (f->facts)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "",
                                     f->model_type);
    return pare_error_set(err, PARE_E_UNSUPPORTED,
                          "%s: the metadata says that the model's type is \"%.100s\", which cannot "
                          "be exported; known ones are %s",
                          path, pare_json_is_string(type) ? pare_json_string(type) : "", known);
}

/* ---- Facts ---- */

static uint32_t larger(uint32_t a, uint32_t b) {
    return a > b ? a : b;
}

static bool has_fact(const PareFamily *f, PareFactKind kind) {
    for (const PareFact *t = f->facts; t->key; t++)
        if (t->kind == kind)
            return true;
    return false;
}

/* The number of heads that the framework must be told: that before pruning where the size of a head
 * follows from it, otherwise the largest. */
static uint32_t heads_of(const PareExport *e, const PareDescription *d, int s, bool merged) {
    const PareStack *k = &d->stacks[s];
    uint32_t most = merged ? e->column_count[s] : 0, size = 0;
    for (uint32_t i = 0; i < k->layer_count; i++) {
        const PareLayerShape *l = &k->layers[i];
        const PareAttentionShape *a = l->self.heads ? &l->self : &l->cross;
        most = larger(most, larger(l->self.heads, l->cross.heads));
        size = a->heads && !size ? a->head_size : size;
    }
    if (has_fact(e->theirs.family, PARE_FACT_HEAD_SIZE) || !size)
        return most;
    return k->width / size;
}

static uint32_t layers_of(const PareStack *k, PareFactKind kind) {
    uint32_t most = 0;
    for (uint32_t i = 0; i < k->layer_count; i++) {
        const PareLayerShape *l = &k->layers[i];
        const PareAttentionShape *a = l->self.heads ? &l->self : &l->cross;
        if (kind == PARE_FACT_FFN)
            most = larger(most, l->ffn);
        else if (kind == PARE_FACT_KV_HEADS)
            most = larger(most, larger(l->self.kv_heads, l->cross.kv_heads));
        else
            most = larger(most, a->heads ? a->head_size : 0);
    }
    return most;
}

/* 0: the description says nothing about it, and the settings stay as they are. */
static uint32_t fact_of(const PareExport *e, const PareDescription *d, const PareFact *f, int s,
                        bool merged) {
    const PareStack *k = &d->stacks[s];
    switch (f->kind) {
    case PARE_FACT_WIDTH:
        return k->width;
    case PARE_FACT_VOCABULARY:
        return k->vocabulary;
    case PARE_FACT_POSITIONS:
        return k->positions;
    case PARE_FACT_TYPES:
        return k->types;
    case PARE_FACT_LAYERS:
        return k->layer_count;
    case PARE_FACT_HEADS:
        return heads_of(e, d, s, merged);
    case PARE_FACT_BUCKETS:
        return k->relative_buckets;
    case PARE_FACT_HEAD_SIZE:
    case PARE_FACT_KV_HEADS:
    case PARE_FACT_FFN:
        return layers_of(k, f->kind);
    case PARE_FACT_PRUNED_HEADS:
        break;
    }
    return 0;
}

static uint32_t fact(const PareExport *e, const PareDescription *d, const PareFact *f,
                     bool merged) {
    uint32_t value = 0;
    for (int s = 0; s < PARE_STACKS; s++)
        if (d->stacks[s].present && (f->stack == s || f->stack == PARE_STACKS))
            value = larger(value, fact_of(e, d, f, s, merged));
    return value;
}

/* {"1":[2,3]}: the last heads of layer 1 are gone. The stored ones come first whichever they were;
 * a head does not know its number. Layers without any head cannot be said so. */
static const char *pruned_heads(PareExport *e, const PareFact *f, uint32_t before, PareBuffer *b) {
    const PareStack *k = &e->held.stacks[f->stack];
    const char *comma = "";
    pare_buffer_clear(b);
    pare_buffer_putc(b, '{');
    for (uint32_t i = 0; i < k->layer_count && !e->options.pad_pruned; i++) {
        uint32_t heads = k->layers[i].self.heads;
        if (heads == 0 || heads >= before)
            continue;
        pare_buffer_printf(b, "%s\"%u\":[", comma, i);
        for (uint32_t h = heads; h < before; h++)
            pare_buffer_printf(b, h > heads ? ",%u" : "%u", h);
        pare_buffer_putc(b, ']');
        comma = ",";
    }
    pare_buffer_putc(b, '}');
    return b->failed ? NULL : pare_arena_strdup(e->arena, b->data);
}

static PareStatus set_pruned_heads(PareExport *e, const PareFact *f, PareError *err) {
    PareBuffer b = {0};
    uint32_t before = heads_of(e, &e->held, f->stack, true);
    const char *value = pruned_heads(e, f, before, &b);
    PareStatus st = PARE_OK;
    bool some = value && strcmp(value, "{}") != 0;
    if (!value || some || has(e->config, f->key))
        st = set(e, f->key, value, err);
    if (some)
        pare_buffer_printf(&e->notices,
                           "config.json lists the missing heads as \"%s\", which transformers 4 "
                           "reads and 5 no longer does; --pad-pruned suits both\n",
                           f->key);
    pare_buffer_free(&b);
    return st;
}

static PareStatus set_aliases(PareExport *e, const PareFact *f, const char *value, PareError *err) {
    PareStatus st = PARE_OK;
    for (const char *at = f->aliases; at && *at && !st;) {
        size_t size = strcspn(at, "|");
        const char *key = pare_arena_strndup(e->arena, at, size);
        if (!key)
            return pare_memory_error(err, "config.json");
        if (has(e->config, key))
            st = set(e, key, value, err);
        at += size + (at[size] == '|');
    }
    return st;
}

static PareStatus set_fact(PareExport *e, const PareFact *f, PareError *err) {
    if (f->kind == PARE_FACT_PRUNED_HEADS)
        return set_pruned_heads(e, f, err);
    uint32_t value = fact(e, &e->held, f, true);
    if (!value && f->kind != PARE_FACT_LAYERS && f->kind != PARE_FACT_TYPES)
        return PARE_OK;
    const char *text = pare_arena_printf(e->arena, "%u", value);
    PareStatus st = set(e, f->key, text, err);
    return st ? st : set_aliases(e, f, text, err);
}

static bool same_heads(const PareStack *a, const PareStack *b) {
    if (a->layer_count != b->layer_count)
        return false;
    for (uint32_t i = 0; i < a->layer_count; i++)
        if (a->layers[i].self.heads != b->layers[i].self.heads)
            return false;
    return true;
}

/* Whether the source's settings no longer say what the model is. */
static bool has_changed(const PareExport *e, const PareDescription *before) {
    for (const PareFact *f = e->theirs.family->facts; f->key; f++) {
        PareJsonText value;
        if (f->kind == PARE_FACT_PRUNED_HEADS) {
            bool listed = pare_json_text_get(e->config, f->key, &value) &&
                          !pare_json_text_is(value, "{}") && !pare_json_text_is(value, "null");
            if ((listed && e->options.pad_pruned) ||
                !same_heads(&e->held.stacks[f->stack], &before->stacks[f->stack]))
                return true;
        } else if (fact(e, &e->held, f, true) != fact(e, before, f, false)) {
            return true;
        }
    }
    return false;
}

/* ---- Special tokens ---- */

/* "null", 5, or [5,7] */
static const char *id_list(PareExport *e, const int32_t *ids, uint32_t count, bool list) {
    PareBuffer b = {0};
    pare_buffer_puts(&b, list ? "[" : count ? "" : "null");
    for (uint32_t i = 0; i < count; i++)
        pare_buffer_printf(&b, i ? ",%d" : "%d", ids[i]);
    pare_buffer_puts(&b, list ? "]" : "");
    const char *text = b.failed ? NULL : pare_arena_strdup(e->arena, b.data);
    pare_buffer_free(&b);
    return text;
}

static PareStatus set_bad_words(PareExport *e, const PareGeneration *g, PareError *err) {
    PareBuffer b = {0};
    for (uint32_t i = 0; i < g->bad_word_count; i++) {
        const char *word = id_list(e, g->bad_words[i].ids, g->bad_words[i].count, true);
        pare_buffer_printf(&b, "%s%s", i ? "," : "[", word ? word : "");
        b.failed = b.failed || !word;
    }
    pare_buffer_puts(&b, g->bad_word_count ? "]" : "null");
    PareStatus st = PARE_OK;
    if (g->bad_word_count || has(e->config, "bad_words_ids"))
        st = set(e, "bad_words_ids", b.failed ? NULL : pare_arena_strdup(e->arena, b.data), err);
    pare_buffer_free(&b);
    return st;
}

/* Where the vocabulary was pruned, ids are others: those of the model, or of its tokenizer. What
 * neither of them knows stays as it was, unless the model generates: then there is none. */
static PareStatus set_ids(PareExport *e, PareError *err) {
    const PareGeneration *g = pare_model_generation(e->model);
    const PareTokenizer *t = e->tokenizer;
    bool generates = e->held.head.kind == PARE_HEAD_LM && e->held.stacks[PARE_DECODER].present;
    int32_t eos = t ? pare_tokenizer_eos(t) : -1;
    const struct {
        const char *key;
        int32_t id;
    } ids[] = {{"bos_token_id", g->bos < 0 && t ? pare_tokenizer_bos(t) : g->bos},
               {"pad_token_id", g->pad < 0 && t ? pare_tokenizer_pad(t) : g->pad},
               {"decoder_start_token_id", g->decoder_start},
               {"forced_bos_token_id", g->forced_bos},
               {"forced_eos_token_id", g->forced_eos}};
    PareStatus st = PARE_OK;
    for (size_t i = 0; i < sizeof ids / sizeof *ids && !st; i++)
        if (ids[i].id >= 0 || generates)
            st = set(e, ids[i].key, id_list(e, &ids[i].id, ids[i].id >= 0, false), err);
    if (!st && g->eos.count)
        st = set(e, "eos_token_id", id_list(e, g->eos.ids, g->eos.count, g->eos.count > 1), err);
    else if (!st && (eos >= 0 || generates))
        st = set(e, "eos_token_id", id_list(e, &eos, eos >= 0, false), err);
    return st ? st : set_bad_words(e, g, err);
}

static bool same_vocabulary(const PareDescription *a, const PareDescription *b) {
    for (int s = 0; s < PARE_STACKS; s++)
        if (a->stacks[s].present && a->stacks[s].vocabulary != b->stacks[s].vocabulary)
            return false;
    return true;
}

/* ---- All of it ---- */

/* The source's settings where convert put them in the metadata. */
static PareStatus find_source(PareExport *e, PareError *err) {
    const void *bytes = NULL;
    size_t size = 0;
    PareJsonText source, root;
    const PareJson *tree = pare_json_get(pare_model_metadata(e->model), "source");
    pare_file_section(pare_model_file(e->model), PARE_SECTION_METADATA, &bytes, &size);
    root = (PareJsonText){bytes, (const char *)bytes + size};
    if (!pare_json_is_object(pare_json_get(tree, "config")) ||
        !pare_json_text_get(root, "source", &source) ||
        !pare_json_text_get(source, "config", &e->config))
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: the metadata has no \"source\" with the \"config\" that the "
                              "model was converted with; without it there is nothing to export to",
                              e->options.model);
    if (!pare_json_is_object(pare_json_get(tree, "generation_config")) ||
        !pare_json_text_get(source, "generation_config", &e->generation))
        e->generation = (PareJsonText){NULL, NULL};
    return PARE_OK;
}

/* Heads of keys and values as many as heads, where the framework knows nothing else. */
static PareStatus hold(PareExport *e, PareError *err) {
    bool grouped = has_fact(e->theirs.family, PARE_FACT_KV_HEADS), repeated = false;
    for (int s = 0; s < PARE_STACKS; s++) {
        const PareStack *k = &e->stored->stacks[s];
        PareLayerShape *layers = pare_arena_alloc(e->arena, k->layer_count, sizeof *layers);
        if (!layers)
            return pare_memory_error(err, "the layers of a model");
        for (uint32_t i = 0; i < k->layer_count; i++) {
            layers[i] = k->layers[i];
            PareAttentionShape *blocks[] = {&layers[i].self, &layers[i].cross};
            for (int b = 0; b < 2 && !grouped; b++) {
                repeated = repeated || blocks[b]->kv_heads != blocks[b]->heads;
                blocks[b]->kv_heads = blocks[b]->heads;
            }
        }
        e->held.stacks[s].layers = layers;
    }
    if (repeated)
        pare_buffer_puts(&e->notices, "several heads share keys and values, which the framework "
                                      "does not know here: these are repeated for each head\n");
    return PARE_OK;
}

PareStatus pare_export_settings(PareExport *e, PareError *err) {
    const PareJson *config = NULL;
    PareBuffer text = {0};
    PareStatus st = find_source(e, err);
    if (!st)
        st = parse(e, e->config, e->options.model, &config, err);
    if (!st)
        st = find_family(e, config, err);
    e->held = *e->stored;
    if (!st)
        st = hold(e, err);
    if (!st)
        st = pare_export_places(e, err);
    if (!st)
        st = describe(e, config, &e->theirs, err);
    if (st || !has_changed(e, &e->theirs.description))
        return st;
    bool renumbered = !same_vocabulary(&e->held, &e->theirs.description);
    for (const PareFact *f = e->theirs.family->facts; f->key && !st; f++)
        st = set_fact(e, f, err);
    if (!st && renumbered)
        st = set_ids(e, err);
    put_edited(e, e->config, false, &text);
    if (!st)
        st = pare_buffer_ok(&text, "config.json", err);
    if (!st)
        st = parse(e, (PareJsonText){text.data, text.data + text.size}, e->options.model, &config,
                   err);
    if (!st)
        st = describe(e, config, &e->theirs, err);
    pare_buffer_free(&text);
    return st;
}

/* The dtype under the name that the source's settings use for it. */
static PareStatus set_dtype(PareExport *e, PareError *err) {
    const char *key = has(e->config, "dtype") ? "dtype" : "torch_dtype";
    bool said = has(e->config, key);
    if (!said && strcmp(e->summary.dtype, "float32") == 0)
        return PARE_OK;
    return set(e, key, pare_arena_printf(e->arena, "\"%s\"", e->summary.dtype), err);
}

PareStatus pare_export_texts(PareExport *e, PareError *err) {
    PareBuffer text = {0};
    PareStatus st = set_dtype(e, err);
    put_edited(e, e->config, false, &text);
    if (!st)
        st = pare_buffer_ok(&text, "config.json", err);
    if (!st)
        pare_json_text_pretty((PareJsonText){text.data, text.data + text.size}, &e->config_text);
    if (!st && e->generation.at) {
        pare_buffer_clear(&text);
        put_edited(e, e->generation, true, &text);
        st = pare_buffer_ok(&text, "generation_config.json", err);
        if (!st)
            pare_json_text_pretty((PareJsonText){text.data, text.data + text.size},
                                  &e->generation_text);
    }
    pare_buffer_free(&text);
    if (!st)
        st = pare_buffer_ok(&e->config_text, "config.json", err);
    return st ? st : pare_buffer_ok(&e->generation_text, "generation_config.json", err);
}
