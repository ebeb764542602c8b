/* Opening a checkpoint's folder: settings, family, tokenizer, plan. */
#include "convert/convert.h"

#include <stdio.h>
#include <string.h>

#include "convert/convert_impl.h"
#include "core/file.h"

enum { MAX_SETTINGS_BYTES = 16 << 20 };

static PareStatus read_json(const char *folder, const char *name, bool required, PareJsonFile *out,
                            PareError *err) {
    out->path = pare_file_join(folder, name);
    if (!out->path)
        return pare_memory_error(err, name);
    if (!pare_file_exists(out->path)) {
        if (!required)
            return PARE_OK;
        return pare_error_set(err, PARE_E_IO,
                              "%s: there is no config.json; expected a folder as transformers' "
                              "save_pretrained leaves it",
                              folder);
    }
    PareStatus st = pare_file_read(out->path, MAX_SETTINGS_BYTES, &out->text, &out->size, err);
    if (!st)
        st = pare_json_parse(out->text, out->size, out->path, &out->doc, err);
    if (!st && !pare_json_is_object(pare_json_root(out->doc)))
        st = pare_error_set(err, PARE_E_FORMAT, "%s: the file must hold a JSON object", out->path);
    return st;
}

static void free_json(PareJsonFile *f) {
    pare_json_free(f->doc);
    pare_free(f->text);
    pare_free(f->path);
}

static PareStatus find_family(PareConvert *c, PareError *err) {
    const PareJson *root = pare_json_root(c->config.doc);
    const char *type = NULL;
    char known[256] = "";
    size_t used = 0;
    const PareFamily *f;
    PareStatus st = pare_json_get_string(root, "model_type", &type, c->config.path, err);
    if (st)
        return st;
    for (size_t i = 0; (f = pare_family_at(i)) && used < sizeof known; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "",
                                 f->model_type);
    c->model.family = type ? pare_family_find(type) : NULL;
    if (!type)
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: there is no \"model_type\"; known ones are %s", c->config.path,
                              known);
    if (!c->model.family)
        return pare_error_set(
            err, PARE_E_UNSUPPORTED,
            "%s: \"model_type\" is \"%.100s\", which is not supported; known ones "
            "are %s",
            c->config.path, type, known);
    return PARE_OK;
}

/* A generation_config.json replaces what config.json said (as in transformers); the special tokens
 * that it leaves out are still config.json's. */
static PareStatus read_generation(PareConvert *c, PareError *err) {
    if (!c->generation.doc || c->model.architecture->head != PARE_HEAD_LM ||
        !c->model.description.stacks[PARE_DECODER].present)
        return PARE_OK;
    PareGeneration old = c->model.generation, g = pare_generation_defaults();
    g.bos = old.bos;
    g.eos = old.eos;
    g.pad = old.pad;
    g.decoder_start = old.decoder_start;
    c->model.generation = g;
    return pare_generation_read(&c->model.generation, pare_json_root(c->generation.doc),
                                c->generation.path, c->arena, err);
}

/* A special token beyond the vocabulary can never be produced or read: left out, with a warning. */
static void drop_id(PareConvert *c, const char *what, int32_t *id, uint32_t vocabulary) {
    if (*id < 0 || (uint32_t)*id < vocabulary)
        return;
    pare_buffer_printf(&c->warnings,
                       "%s: \"%s\" is %d but the vocabulary has %u entries; it was left out\n",
                       pare_file_basename(c->config.path), what, *id, vocabulary);
    *id = -1;
}

static PareStatus check_ids(PareConvert *c) {
    const PareDescription *d = &c->model.description;
    PareGeneration *g = &c->model.generation;
    uint32_t vocabulary = d->stacks[pare_description_top(d)].vocabulary;
    drop_id(c, "bos_token_id", &g->bos, vocabulary);
    drop_id(c, "pad_token_id", &g->pad, vocabulary);
    drop_id(c, "decoder_start_token_id", &g->decoder_start, vocabulary);
    drop_id(c, "forced_bos_token_id", &g->forced_bos, vocabulary);
    drop_id(c, "forced_eos_token_id", &g->forced_eos, vocabulary);
    int32_t *kept = pare_arena_alloc(c->arena, g->eos.count, sizeof *kept);
    if (!kept)
        return PARE_E_MEMORY;
    uint32_t count = 0;
    for (uint32_t i = 0; i < g->eos.count; i++) {
        kept[count] = g->eos.ids[i];
        drop_id(c, "eos_token_id", &kept[count], vocabulary);
        count += kept[count] >= 0;
    }
    g->eos = (PareIdList){kept, count};
    return PARE_OK;
}

/* Fields of the settings, and of those nested in them, that nobody reads. */
static PareStatus warn_unknown(PareConvert *c, PareConfig *config, PareError *err) {
    const char *file = config->where = pare_file_basename(c->config.path);
    pare_config_unknown(config, c->model.family->fields, c->model.family->harmless,
                        c->model.family->neutral, &c->warnings);
    for (int s = 0; s < PARE_STACKS; s++) {
        const PareFamilyPart *part = &c->model.parts[s];
        PareConfig nested = *config;
        if (!part->family)
            continue;
        nested.object = pare_json_get_set(config->object, part->key);
        nested.where = pare_arena_printf(c->arena, "%s, \"%s\"", file, part->key);
        if (!nested.where)
            return pare_memory_error(err, "settings");
        pare_config_unknown(&nested, part->family->fields, part->family->harmless,
                            part->family->neutral, &c->warnings);
    }
    return PARE_OK;
}

static PareStatus describe(PareConvert *c, PareError *err) {
    PareConfig config = {.object = pare_json_root(c->config.doc),
                         .where = c->config.path,
                         .checkpoint = c->checkpoint,
                         .arena = c->arena,
                         .err = err};
    PareStatus st = pare_family_describe(&config, &c->model);
    if (!st)
        st = read_generation(c, err);
    if (!st && check_ids(c))
        st = pare_memory_error(err, "generation settings");
    return st ? st : warn_unknown(c, &config, err);
}

static PareStatus no_tokenizer(const PareConvert *c, PareError *err) {
    const PareTokenizerHints *h = &c->model.hints;
    return pare_error_set(
        err, PARE_E_IO,
        "%s: no tokenizer there: looked for %s%s%s; --no-tokenizer converts without",
        c->options.folder, h->accept_wordpiece ? "vocab.txt, tokenizer.json" : "",
        h->accept_bpe ? "vocab.json with merges.txt, tokenizer.json" : "",
        !h->accept_unigram ? ""
        : h->two_models    ? "source.spm with target.spm and vocab.json"
                           : "spiece.model, sentencepiece.bpe.model, tokenizer.model");
}

static PareStatus read_tokenizer(PareConvert *c, PareError *err) {
    const PareFamilyPart *parts = c->model.parts;
    if (c->options.no_tokenizer)
        return PARE_OK;
    if (parts[PARE_ENCODER].family != parts[PARE_DECODER].family)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: encoder (%s) and decoder (%s) read different tokens, and a "
                              ".pare file holds one tokenizer; --no-tokenizer converts without",
                              c->options.folder, parts[PARE_ENCODER].family->title,
                              parts[PARE_DECODER].family->title);
    PareStatus st = pare_tokenizer_load(c->options.folder, &c->model.hints, &c->tokenizer, err);
    if (st)
        return st;
    if (!c->tokenizer)
        return no_tokenizer(c, err);
    const PareStack *s = c->model.description.stacks;
    uint32_t rows = s[PARE_ENCODER].present ? s[PARE_ENCODER].vocabulary : 0;
    if (s[PARE_DECODER].present && s[PARE_DECODER].vocabulary > rows)
        rows = s[PARE_DECODER].vocabulary;
    size_t size = pare_tokenizer_size(c->tokenizer);
    if (size > rows)
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: the tokenizer has %zu ids but the embedding only %u rows; they "
                              "do not belong together",
                              c->options.folder, size, rows);
    return pare_tokenizer_to_bytes(c->tokenizer, &c->tokenizer_bytes, err);
}

static uint64_t item_elements(const ParePlanItem *item) {
    return item->slot->shape[0] * (item->slot->dims == 2 ? item->slot->shape[1] : 1);
}

static bool needs_copy(const ParePlanItem *item) {
    return item->kind == PARE_FROM_TENSOR &&
           ((item->rule->flags & PARE_RULE_TRANSPOSE) || item->rule->parts > 1);
}

/* Blobs and table as docs/FORMAT.md lays them out; the metadata is counted without the inputs. */
static void summarize_sizes(PareConvert *c) {
    enum { HEADER = 128, RECORD = 132, ALIGN = 64 };
    PareConvertSummary *s = &c->summary;
    uint64_t bytes = HEADER, largest = 0, copied = 0;
    for (size_t i = 0; i < c->plan.count; i++) {
        const ParePlanItem *item = &c->plan.items[i];
        uint64_t elements = item_elements(item);
        bytes += RECORD + strlen(item->slot->name) + 1;
        s->shared += item->kind == PARE_FROM_ALIAS;
        if (item->kind == PARE_FROM_ALIAS)
            continue;
        s->tensors++;
        s->parameters += elements;
        bytes += (elements * sizeof(float) + ALIGN - 1) / ALIGN * ALIGN;
        if (elements > largest) {
            largest = elements;
            s->largest = item->slot->name;
        }
        if (needs_copy(item) && elements > copied)
            copied = elements;
    }
    s->memory_bytes = (c->plan.largest + copied) * sizeof(float);
    s->output_bytes = bytes + c->tokenizer_bytes.size;
}

static PareStatus summarize(PareConvert *c, PareError *err) {
    PareConvertSummary *s = &c->summary;
    s->family = c->model.family->title;
    s->architecture = c->model.architecture->name;
    s->head = pare_head_kind_name(c->model.description.head.kind);
    s->weights = pare_file_basename(pare_checkpoint_path(c->checkpoint));
    s->format = pare_checkpoint_format(c->checkpoint);
    s->tokenizer = c->tokenizer ? pare_tokenizer_kind(c->tokenizer) : NULL;
    s->tokenizer_size = c->tokenizer ? pare_tokenizer_size(c->tokenizer) : 0;
    summarize_sizes(c);
    PareBuffer metadata = {0};
    PareStatus st = pare_convert_metadata(c, NULL, 0, &metadata, err);
    s->output_bytes += metadata.size;
    pare_buffer_free(&metadata);
    return st;
}

static PareStatus open_parts(PareConvert *c, PareError *err) {
    const char *folder = c->options.folder;
    if (!pare_file_exists(folder))
        return pare_error_set(err, PARE_E_IO, "%s: no such folder", folder);
    if (!pare_file_is_folder(folder))
        return pare_error_set(err, PARE_E_IO,
                              "%s: this is a file; expected the checkpoint's folder, with "
                              "config.json in it",
                              folder);
    PareStatus st = read_json(folder, "config.json", true, &c->config, err);
    if (!st)
        st = read_json(folder, "generation_config.json", false, &c->generation, err);
    if (!st)
        st = find_family(c, err);
    if (!st)
        st = pare_checkpoint_open(folder, c->options.root, &c->checkpoint, err);
    if (!st)
        pare_buffer_puts(&c->warnings, pare_checkpoint_warnings(c->checkpoint));
    if (!st)
        st = describe(c, err);
    if (!st)
        st = pare_plan_make(&c->model, c->checkpoint, &c->options.allow_unused, c->arena, &c->plan,
                            &c->warnings, err);
    if (!st)
        st = read_tokenizer(c, err);
    if (!st)
        st = pare_buffer_ok(&c->warnings, "the warnings", err);
    return st ? st : summarize(c, err);
}

PareStatus pare_convert_open(const PareConvertOptions *options, PareConvert **out, PareError *err) {
    PareConvert *c = pare_alloc(1, sizeof *c);
    *out = NULL;
    if (!c)
        return pare_memory_error(err, "the conversion");
    c->options = *options;
    c->arena = pare_arena_create(0);
    PareStatus st = c->arena ? open_parts(c, err) : pare_memory_error(err, "the conversion");
    if (st)
        pare_convert_close(c);
    else
        *out = c;
    return st;
}

void pare_convert_close(PareConvert *c) {
    if (!c)
        return;
    pare_checkpoint_close(c->checkpoint);
    pare_tokenizer_free(c->tokenizer);
    pare_buffer_free(&c->tokenizer_bytes);
    pare_buffer_free(&c->warnings);
    free_json(&c->config);
    free_json(&c->generation);
    pare_arena_destroy(c->arena);
    pare_free(c);
}

const PareConvertSummary *pare_convert_summary(PareConvert *c) {
    c->summary.warnings = c->warnings.data ? c->warnings.data : "";
    return &c->summary;
}
