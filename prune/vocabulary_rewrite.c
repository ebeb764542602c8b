/* The tokenizer and the metadata of a model whose token tables are cut. */
#include <string.h>

#include "prune/vocabulary_impl.h"
#include "text/tokenizer_subset.h"

typedef struct {
    const PareModel *model;
    const PareDescription *d;
    int32_t *maps[PARE_STACKS]; /* [rows]: the new id of each, or -1; NULL: no such stack */
    uint32_t kept[PARE_STACKS];
    PareGeneration generation; /* with new ids */
    PareTokenizer *tokenizer;  /* the smaller one; NULL: none */
    PareArena *arena;
    PareBuffer *out;
    PareError *err;
} Rewriter;

bool pare_vocabulary_is_id(const char *key) {
    static const char ENDING[] = "_token_id";
    size_t size = strlen(key), ending = sizeof ENDING - 1;
    return size > ending && strcmp(key + size - ending, ENDING) == 0;
}

int pare_vocabulary_nested(const PareJson *member) {
    if (!pare_json_is_object(member))
        return -1;
    return strcmp(pare_json_key(member), "encoder") == 0   ? (int)PARE_ENCODER
           : strcmp(pare_json_key(member), "decoder") == 0 ? (int)PARE_DECODER
                                                           : -1;
}

static int32_t map_id(const Rewriter *r, int stack, int64_t id) {
    return r->maps[stack] && id >= 0 && id < r->d->stacks[stack].vocabulary ? r->maps[stack][id]
                                                                            : -1;
}

static PareStatus make_maps(Rewriter *r, const ParePrunePlan *plan) {
    for (int s = 0; s < PARE_STACKS; s++) {
        const PareKeep *keep = &plan->stacks[s].vocabulary;
        uint32_t rows = r->d->stacks[s].vocabulary;
        if (!r->d->stacks[s].present)
            continue;
        r->maps[s] = pare_arena_alloc(r->arena, rows, sizeof *r->maps[s]);
        if (!r->maps[s])
            return pare_memory_error(r->err, "the vocabulary");
        r->kept[s] = keep->all ? rows : keep->count;
        for (uint32_t i = 0; i < rows; i++)
            r->maps[s][i] = keep->all ? (int32_t)i : -1;
        for (uint32_t i = 0; !keep->all && i < keep->count; i++)
            if (keep->units[i] < rows)
                r->maps[s][keep->units[i]] = (int32_t)i;
    }
    return PARE_OK;
}

/* -- the tokenizer -- */

static PareStatus check_same(const Rewriter *r) {
    const int32_t *a = r->maps[PARE_ENCODER], *b = r->maps[PARE_DECODER];
    for (uint32_t i = 0; a && b && i < r->d->stacks[PARE_ENCODER].vocabulary &&
                         i < r->d->stacks[PARE_DECODER].vocabulary;
         i++)
        if (a[i] != b[i])
            return pare_error_set(r->err, PARE_E_USAGE,
                                  "the plan's vocabularies differ at token %u; encoder and decoder "
                                  "have one tokenizer and must keep the same tokens",
                                  i);
    return PARE_OK;
}

static PareStatus reduce_tokenizer(Rewriter *r, const PareTokenizer *whole) {
    int s = r->d->stacks[PARE_ENCODER].present ? PARE_ENCODER : PARE_DECODER;
    size_t size = pare_tokenizer_size(whole); /* at most the rows of either stack */
    bool *keep = pare_arena_alloc(r->arena, size, sizeof *keep);
    if (!keep)
        return pare_memory_error(r->err, "the vocabulary");
    for (size_t i = 0; i < size; i++)
        keep[i] = r->maps[s][i] >= 0;
    PareStatus st = check_same(r);
    if (!st)
        st = pare_tokenizer_subset(whole, keep, size, &r->tokenizer, r->err);
    return st;
}

/* -- generation settings -- */

static PareStatus map_special(const Rewriter *r, const char *key, int32_t *id) {
    int32_t old = *id;
    if (old < 0)
        return PARE_OK;
    *id = map_id(r, (int)pare_description_top(r->d), old);
    return *id >= 0 ? PARE_OK
                    : pare_error_set(r->err, PARE_E_USAGE,
                                     "the vocabulary lacks token %d, which is \"%s\" of the "
                                     "generation settings",
                                     old, key);
}

/* A word one of whose tokens is gone cannot be generated anyway. */
static PareStatus map_bad_words(Rewriter *r) {
    PareGeneration *g = &r->generation;
    int top = (int)pare_description_top(r->d);
    uint32_t words = 0;
    PareIdList *list = pare_arena_alloc(r->arena, g->bad_word_count, sizeof *list);
    for (uint32_t i = 0; list && i < g->bad_word_count; i++) {
        const PareIdList *old = &g->bad_words[i];
        int32_t *ids = pare_arena_alloc(r->arena, old->count, sizeof *ids);
        uint32_t n = 0;
        if (!ids)
            return pare_memory_error(r->err, "generation settings");
        for (uint32_t k = 0; k < old->count; k++)
            if ((ids[n] = map_id(r, top, old->ids[k])) >= 0)
                n++;
        if (n == old->count)
            list[words++] = (PareIdList){ids, n};
    }
    g->bad_words = list;
    g->bad_word_count = words;
    return list ? PARE_OK : pare_memory_error(r->err, "generation settings");
}

static PareStatus map_generation(Rewriter *r) {
    PareGeneration *g = &r->generation;
    *g = *pare_model_generation(r->model);
    int32_t *eos = pare_arena_alloc(r->arena, g->eos.count, sizeof *eos);
    PareStatus st = eos ? PARE_OK : pare_memory_error(r->err, "generation settings");
    for (uint32_t i = 0; i < g->eos.count && !st; i++) {
        eos[i] = g->eos.ids[i];
        st = map_special(r, "eos_token_id", &eos[i]);
    }
    g->eos.ids = eos;
    const struct {
        const char *key;
        int32_t *id;
    } ids[] = {{"bos_token_id", &g->bos},
               {"pad_token_id", &g->pad},
               {"decoder_start_token_id", &g->decoder_start},
               {"forced_bos_token_id", &g->forced_bos},
               {"forced_eos_token_id", &g->forced_eos}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids && !st; i++)
        st = map_special(r, ids[i].key, ids[i].id);
    return st ? st : map_bad_words(r);
}

/* -- the source's settings -- */

static PareStatus put_value(Rewriter *r, const PareJson *n) {
    char *text = pare_json_print(n);
    if (!text)
        return pare_memory_error(r->err, "metadata");
    pare_buffer_puts(r->out, text);
    pare_free(text);
    return PARE_OK;
}

static void put_key(Rewriter *r, const char *key, const char **comma) {
    pare_buffer_puts(r->out, *comma);
    pare_buffer_put_json_string(r->out, key, strlen(key));
    pare_buffer_putc(r->out, ':');
    *comma = ",";
}

/* An id that is gone is none. */
static void put_id(Rewriter *r, int stack, int64_t id) {
    int32_t mapped = map_id(r, stack, id);
    if (mapped >= 0)
        pare_buffer_printf(r->out, "%d", mapped);
    else
        pare_buffer_puts(r->out, "null");
}

/* [1,2], without those that are gone; false, and nothing is written, when `whole` and one is. */
static bool put_list(Rewriter *r, int stack, const PareJson *list, bool whole) {
    const char *comma = "";
    for (const PareJson *n = pare_json_first(list); n && whole; n = pare_json_next(n))
        if (!pare_json_is_integer(n) || map_id(r, stack, pare_json_integer(n)) < 0)
            return false;
    pare_buffer_putc(r->out, '[');
    for (const PareJson *n = pare_json_first(list); n; n = pare_json_next(n))
        if (pare_json_is_integer(n) && map_id(r, stack, pare_json_integer(n)) >= 0) {
            pare_buffer_printf(r->out, "%s%d", comma, map_id(r, stack, pare_json_integer(n)));
            comma = ",";
        }
    pare_buffer_putc(r->out, ']');
    return true;
}

static void put_words(Rewriter *r, int stack, const PareJson *words) {
    bool any = false;
    pare_buffer_putc(r->out, '[');
    for (const PareJson *n = pare_json_first(words); n; n = pare_json_next(n)) {
        size_t before = r->out->size;
        pare_buffer_puts(r->out, any ? "," : "");
        if (put_list(r, stack, n, true))
            any = true;
        else if (!r->out->failed)
            r->out->size = before;
    }
    pare_buffer_putc(r->out, ']');
}

static bool is_size(const Rewriter *r, int stack, const PareJson *n) {
    const char *key = pare_json_key(n);
    return (strcmp(key, "vocab_size") == 0 || strcmp(key, "decoder_vocab_size") == 0) &&
           pare_json_is_integer(n) &&
           pare_json_integer(n) == (int64_t)r->d->stacks[stack].vocabulary;
}

static bool is_suppressed(const char *key) {
    return strcmp(key, "suppress_tokens") == 0 || strcmp(key, "begin_suppress_tokens") == 0;
}

static PareStatus put_settings(Rewriter *r, const PareJson *object, int stack, bool complete);

static PareStatus put_setting(Rewriter *r, const PareJson *n, int stack) {
    const char *key = pare_json_key(n);
    int nested = pare_vocabulary_nested(n);
    bool list = pare_json_is_array(n);
    if (nested >= 0)
        return put_settings(r, n, nested, false);
    if (pare_vocabulary_is_id(key) && pare_json_is_integer(n))
        put_id(r, stack, pare_json_integer(n));
    else if (list && (pare_vocabulary_is_id(key) || is_suppressed(key)))
        (void)put_list(r, stack, n, false);
    else if (list && strcmp(key, "bad_words_ids") == 0)
        put_words(r, stack, n);
    else if (is_size(r, stack, n))
        pare_buffer_printf(r->out, "%u", r->kept[stack]);
    else
        return put_value(r, n);
    return PARE_OK;
}

/* A setting that is absent means its usual id, which is another token now. */
static void put_absent(Rewriter *r, const PareJson *object, const char **comma) {
    const PareGeneration *g = &r->generation;
    const struct {
        const char *key;
        int32_t id;
    } ids[] = {{"bos_token_id", g->bos},
               {"pad_token_id", g->pad},
               {"eos_token_id", g->eos.count ? g->eos.ids[0] : -1},
               {"decoder_start_token_id", g->decoder_start},
               {"forced_bos_token_id", g->forced_bos},
               {"forced_eos_token_id", g->forced_eos}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        if (ids[i].id >= 0 && !pare_json_get(object, ids[i].key)) {
            put_key(r, ids[i].key, comma);
            pare_buffer_printf(r->out, "%d", ids[i].id);
        }
}

static PareStatus put_settings(Rewriter *r, const PareJson *object, int stack, bool complete) {
    const char *comma = "";
    PareStatus st = PARE_OK;
    pare_buffer_putc(r->out, '{');
    for (const PareJson *n = pare_json_first(object); n && !st; n = pare_json_next(n)) {
        put_key(r, pare_json_key(n), &comma);
        st = put_setting(r, n, stack);
    }
    if (complete)
        put_absent(r, object, &comma);
    pare_buffer_putc(r->out, '}');
    return st;
}

static PareStatus put_source(Rewriter *r, const PareJson *source) {
    const char *comma = "";
    int top = (int)pare_description_top(r->d);
    PareStatus st = PARE_OK;
    pare_buffer_putc(r->out, '{');
    for (const PareJson *n = pare_json_first(source); n && !st; n = pare_json_next(n)) {
        bool config = strcmp(pare_json_key(n), "config") == 0;
        bool generation = strcmp(pare_json_key(n), "generation_config") == 0;
        put_key(r, pare_json_key(n), &comma);
        st = (config || generation) && pare_json_is_object(n) ? put_settings(r, n, top, config)
                                                              : put_value(r, n);
    }
    pare_buffer_putc(r->out, '}');
    return st;
}

/* -- all of it -- */

static void put_tokenizer(Rewriter *r) {
    const char *kind = pare_tokenizer_kind(r->tokenizer);
    pare_buffer_puts(r->out, "{\"kind\":");
    pare_buffer_put_json_string(r->out, kind, strlen(kind));
    pare_buffer_printf(r->out, ",\"size\":%zu}", pare_tokenizer_size(r->tokenizer));
}

static PareStatus put_metadata(Rewriter *r, const PareJson *root) {
    const char *comma = "";
    PareStatus st = PARE_OK;
    pare_buffer_putc(r->out, '{');
    for (const PareJson *n = pare_json_first(root); n && !st; n = pare_json_next(n)) {
        const char *key = pare_json_key(n);
        put_key(r, key, &comma);
        if (strcmp(key, "generation") == 0 && pare_json_is_object(n))
            pare_generation_write(&r->generation, r->out);
        else if (strcmp(key, "tokenizer") == 0 && r->tokenizer)
            put_tokenizer(r);
        else if (strcmp(key, "source") == 0 && pare_json_is_object(n))
            st = put_source(r, n);
        else
            st = put_value(r, n);
    }
    pare_buffer_putc(r->out, '}');
    return st ? st : pare_buffer_ok(r->out, "metadata", r->err);
}

static PareStatus rewrite(Rewriter *r, const ParePrunePlan *plan, const PareTokenizer *whole,
                          const PareBuffer *metadata, PareBuffer *tokenizer) {
    PareJsonDoc *doc = NULL;
    PareStatus st = make_maps(r, plan);
    if (!st)
        st = map_generation(r);
    if (!st && whole)
        st = reduce_tokenizer(r, whole);
    if (!st && whole)
        st = pare_tokenizer_to_bytes(r->tokenizer, tokenizer, r->err);
    if (!st)
        st = pare_json_parse(metadata->data, metadata->size, "the metadata", &doc, r->err);
    if (!st)
        st = put_metadata(r, pare_json_root(doc));
    pare_json_free(doc);
    return st;
}

PareStatus pare_vocabulary_rewrite(const PareModel *m, const ParePrunePlan *plan,
                                   const PareBuffer *metadata, PareBuffer *rewritten,
                                   PareBuffer *tokenizer, PareError *err) {
    Rewriter r = {.model = m,
                  .d = pare_model_description(m),
                  .arena = pare_arena_create(0),
                  .out = rewritten,
                  .err = err};
    PareTokenizer *whole = NULL;
    PareStatus st = r.arena ? pare_vocabulary_tokenizer(m, &whole, err)
                            : pare_memory_error(err, "the vocabulary");
    if (!st)
        st = rewrite(&r, plan, whole, metadata, tokenizer);
    pare_tokenizer_free(whole);
    pare_tokenizer_free(r.tokenizer);
    pare_arena_destroy(r.arena);
    return st;
}
