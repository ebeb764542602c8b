/* Putting an encoder and a decoder together. */
#include "distill/warm.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "distill/fresh.h"
#include "runtime/metadata.h"

static const char *path_of(const PareModel *m) {
    return pare_file_path(pare_model_file(m));
}

/* The stack that becomes the decoder. */
static PareStackIndex decoder_stack(const PareModel *m) {
    return pare_description_top(pare_model_description(m));
}

/* -- the description -- */

static PareStatus check_models(const PareWarmStart *w, PareError *err) {
    const PareDescription *e = pare_model_description(w->encoder);
    const PareDescription *d = pare_model_description(w->decoder);
    if (!e->stacks[PARE_ENCODER].present)
        return pare_error_set(err, PARE_E_USAGE,
                              "%s: has no encoder; each of its positions sees only those before it",
                              path_of(w->encoder));
    if (d->stacks[PARE_ENCODER].present && d->stacks[PARE_DECODER].present)
        return pare_error_set(err, PARE_E_USAGE,
                              "%s: is an encoder-decoder already; --decoder takes a model with one "
                              "stack",
                              path_of(w->decoder));
    const PareStack *stack = &d->stacks[decoder_stack(w->decoder)];
    if (d->stacks[PARE_ENCODER].present && stack->position == PARE_POSITION_RELATIVE)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: its relative positions look both ways; they cannot become a "
                              "decoder's",
                              path_of(w->decoder));
    return PARE_OK;
}

/* Attention to the encoder is as wide as self-attention at its widest; layers without any have one,
 * too. */
static PareStatus add_cross(const PareWarmStart *w, PareStack *s, PareError *err) {
    PareAttentionShape shape = {0};
    for (uint32_t l = 0; l < s->layer_count; l++)
        if (s->layers[l].self.heads > shape.heads)
            shape = s->layers[l].self;
    if (shape.heads == 0)
        return pare_error_set(err, PARE_E_USAGE,
                              "%s: no layer has attention left that cross-attention could be made "
                              "like",
                              path_of(w->decoder));
    shape.kv_heads = shape.heads;
    shape.window = 0;
    s->cross = true;
    for (uint32_t l = 0; l < s->layer_count; l++)
        s->layers[l].cross = shape;
    return PARE_OK;
}

static PareStatus copy_stack(const PareStack *from, PareArena *arena, PareStack *out,
                             PareError *err) {
    *out = *from;
    out->layers = pare_arena_alloc(arena, from->layer_count, sizeof *out->layers);
    if (!out->layers)
        return pare_memory_error(err, "a description");
    memcpy(out->layers, from->layers, from->layer_count * sizeof *out->layers);
    return PARE_OK;
}

static PareOutputHead make_head(const PareModel *m) {
    const PareOutputHead *old = &pare_model_description(m)->head;
    bool encoder = decoder_stack(m) == PARE_ENCODER;
    PareActivation activation = pare_model_description(m)->stacks[decoder_stack(m)].activation;
    if (old->kind != PARE_HEAD_LM)
        return (PareOutputHead){.kind = PARE_HEAD_LM,
                                .transform = encoder,
                                .transform_activation = encoder ? activation : PARE_ACT_IDENTITY,
                                .bias = encoder,
                                .scale = 1};
    PareOutputHead head = *old;
    head.pool = PARE_POOL_NONE;
    head.pool_dense = false;
    return head;
}

static bool same_attention(const PareAttentionShape *a, const PareAttentionShape *b) {
    return a->heads == b->heads && a->kv_heads == b->kv_heads && a->head_size == b->head_size;
}

static bool same_layers(const PareStack *a, const PareStack *b) {
    bool same = a->layer_count == b->layer_count && a->types == b->types &&
                a->position == b->position && a->positions == b->positions &&
                a->position_offset == b->position_offset &&
                a->embedding_norm == b->embedding_norm && a->final_norm == b->final_norm &&
                a->norm == b->norm && a->gated == b->gated &&
                a->attention_bias == b->attention_bias && a->ffn_bias == b->ffn_bias;
    for (uint32_t l = 0; same && l < a->layer_count; l++)
        same = same_attention(&a->layers[l].self, &b->layers[l].self) &&
               a->layers[l].ffn == b->layers[l].ffn;
    return same;
}

static PareStatus check_share(const PareWarmStart *w, const PareDescription *d, PareError *err) {
    const PareStack *e = &d->stacks[PARE_ENCODER], *k = &d->stacks[PARE_DECODER];
    const char *what = w->share == PARE_WARM_SHARE_LAYERS ? "layers" : "embeddings";
    if (w->share == PARE_WARM_SHARE_NONE)
        return PARE_OK;
    if (e->vocabulary != k->vocabulary || e->embedding_width != k->embedding_width ||
        e->width != k->width)
        return pare_error_set(err, PARE_E_USAGE,
                              "--share %s: %s has a token table of [%u, %u] and width %u, %s one "
                              "of [%u, %u] and width %u; they must be alike",
                              what, path_of(w->encoder), e->vocabulary, e->embedding_width,
                              e->width, path_of(w->decoder), k->vocabulary, k->embedding_width,
                              k->width);
    if (w->share == PARE_WARM_SHARE_LAYERS && !same_layers(e, k))
        return pare_error_set(err, PARE_E_USAGE,
                              "--share layers: the layers of %s and %s are not made alike",
                              path_of(w->encoder), path_of(w->decoder));
    return PARE_OK;
}

PareStatus pare_warm_describe(const PareWarmStart *w, PareArena *arena, PareDescription *out,
                              PareError *err) {
    PareStatus st = check_models(w, err);
    if (st)
        return st;
    const PareStack *encoder = &pare_model_description(w->encoder)->stacks[PARE_ENCODER];
    const PareStack *decoder =
        &pare_model_description(w->decoder)->stacks[decoder_stack(w->decoder)];
    *out = (PareDescription){.arena = arena, .head = make_head(w->decoder)};
    st = copy_stack(encoder, arena, &out->stacks[PARE_ENCODER], err);
    if (!st)
        st = copy_stack(decoder, arena, &out->stacks[PARE_DECODER], err);
    if (!st)
        st = add_cross(w, &out->stacks[PARE_DECODER], err);
    if (!st)
        st = check_share(w, out, err);
    return st ? st : pare_description_check(out, path_of(w->decoder), err);
}

/* -- the parameters -- */

typedef struct {
    const PareWarmStart *w;
    PareFreshValues values;
} Warm;

/* Whether the decoder's output layer is its token table, as in models without one. */
static bool output_is_table(const PareWarmStart *w) {
    const PareFile *f = pare_model_file(w->decoder);
    const PareFileTensor *output = pare_file_find(f, "head.output.weight");
    const PareFileTensor *table =
        pare_file_find(f, decoder_stack(w->decoder) == PARE_ENCODER ? "encoder.embed.tokens"
                                                                    : "decoder.embed.tokens");
    return pare_model_description(w->decoder)->head.kind != PARE_HEAD_LM ||
           (output && table && output->data == table->data);
}

static bool starts(const char *text, const char *with) {
    return strncmp(text, with, strlen(with)) == 0;
}

/* Of the decoder's stack and the head. `part` is what follows "decoder." */
static const PareModel *decoder_source(const PareWarmStart *w, const char *part, char *name,
                                       size_t size) {
    bool tokens = strcmp(part, "embed.tokens") == 0;
    bool shared =
        w->share == PARE_WARM_SHARE_LAYERS || (w->share == PARE_WARM_SHARE_EMBEDDINGS && tokens);
    bool encoder = shared || decoder_stack(w->decoder) == PARE_ENCODER;
    if (strstr(part, ".cross."))
        return NULL;
    snprintf(name, size, "%s.%s", encoder ? "encoder" : "decoder", part);
    return shared ? w->encoder : w->decoder;
}

static const PareModel *find_source(const PareWarmStart *w, const PareSlot *slot, char *name,
                                    size_t size) {
    snprintf(name, size, "%s", slot->name);
    if (starts(name, "encoder."))
        return w->encoder;
    if (starts(name, "decoder."))
        return decoder_source(w, slot->name + strlen("decoder."), name, size);
    if (strcmp(name, "head.output.weight") == 0 && output_is_table(w))
        return decoder_source(w, "embed.tokens", name, size);
    return pare_model_description(w->decoder)->head.kind == PARE_HEAD_LM ? w->decoder : NULL;
}

static const PareModel *source(void *context, const PareSlot *slot, char *name, size_t size) {
    return find_source(((Warm *)context)->w, slot, name, size);
}

static bool listed(const PareModel *m, const char *name) {
    const PareJson *list = pare_json_get_set(pare_model_metadata(m), "fixed");
    for (const PareJson *n = pare_json_first(list); n; n = pare_json_next(n))
        if (pare_json_is_string(n) && strcmp(pare_json_string(n), name) == 0)
            return true;
    return false;
}

bool pare_warm_is_fixed(const PareWarmStart *w, const PareSlot *slot) {
    char name[256];
    const PareModel *m = find_source(w, slot, name, sizeof name);
    return m && listed(m, name);
}

static bool is_fresh(void *context, const PareSlot *slot) {
    const PareWarmStart *w = ((Warm *)context)->w;
    return w->fresh && !pare_warm_is_fixed(w, slot);
}

static void fill(void *context, const char *name, uint64_t rows, uint64_t cols, float *values) {
    pare_fresh_fill(&((Warm *)context)->values, name, rows, cols, values);
}

PareStatus pare_warm_create(const PareWarmStart *w, const PareDescription *d, PareWeights **out,
                            PareError *err) {
    PareArena *arena = pare_arena_create(0);
    Warm c = {.w = w, .values = {.d = d, .seed = w->seed, .extras = w->extras}};
    PareWeightsFrom from = {.source = source, .fresh = is_fresh, .fill = fill, .context = &c};
    if (w->extras) {
        from.extras = w->extras->extras;
        from.extra_count = w->extras->extra_count;
    }
    PareStatus st = arena ? pare_slots_list(d, arena, &c.values.slots, err)
                          : pare_memory_error(err, "a student");
    if (!st)
        st = pare_weights_create(w->decoder, d, &from, out, err);
    pare_arena_destroy(arena);
    return st;
}

/* -- tokenizer and settings -- */

PareStatus pare_warm_tokenizer(const PareWarmStart *w, const PareModel **out, PareError *err) {
    const void *bytes[2];
    size_t sizes[2];
    const PareModel *models[2] = {w->encoder, w->decoder};
    bool has[2];
    for (int i = 0; i < 2; i++)
        has[i] = pare_file_section(pare_model_file(models[i]), PARE_SECTION_TOKENIZER, &bytes[i],
                                   &sizes[i]);
    *out = has[1] ? w->decoder : has[0] ? w->encoder : NULL;
    const PareStack *e = &pare_model_description(w->encoder)->stacks[PARE_ENCODER];
    const PareStack *d = &pare_model_description(w->decoder)->stacks[decoder_stack(w->decoder)];
    if (has[0] && has[1] && (sizes[0] != sizes[1] || memcmp(bytes[0], bytes[1], sizes[0]) != 0))
        return pare_error_set(err, PARE_E_USAGE,
                              "%s and %s have different tokenizers, and a .pare file holds one; "
                              "convert both with --no-tokenizer and train on token ids",
                              path_of(w->encoder), path_of(w->decoder));
    if (has[0] != has[1] && e->vocabulary != d->vocabulary)
        return pare_error_set(err, PARE_E_USAGE,
                              "%s has a tokenizer and %s another vocabulary without one; convert "
                              "both with --no-tokenizer and train on token ids",
                              path_of(*out), path_of(has[0] ? w->decoder : w->encoder));
    return PARE_OK;
}

/* What the template puts around an empty text; -1: nothing. */
static PareStatus read_template(const PareTokenizer *t, int32_t *first, int32_t *last,
                                PareError *err) {
    PareIds ids = {0};
    PareStatus st = pare_tokenizer_encode(t, PARE_SIDE_TARGET, "", 0, true, &ids, err);
    *first = !st && ids.count > 1 ? ids.data[0] : -1;
    *last = !st && ids.count > 0 ? ids.data[ids.count - 1] : -1;
    pare_ids_free(&ids);
    return st;
}

static int32_t choose(int32_t a, int32_t b, int32_t c, int32_t d) {
    return a >= 0 ? a : b >= 0 ? b : c >= 0 ? c : d;
}

static PareStatus check_id(const PareWarmStart *w, const char *option, const char *what, int32_t id,
                           PareError *err) {
    const PareStack *s = &pare_model_description(w->decoder)->stacks[decoder_stack(w->decoder)];
    if (id >= 0 && (uint32_t)id < s->vocabulary)
        return PARE_OK;
    if (id >= 0)
        return pare_error_set(err, PARE_E_USAGE,
                              "--%s %d: %s, whose vocabulary is %u, has no such token id", option,
                              id, path_of(w->decoder), s->vocabulary);
    return pare_error_set(err, PARE_E_USAGE,
                          "no tokenizer and no setting of %s says %s; give --%s ID",
                          path_of(w->decoder), what, option);
}

PareStatus pare_warm_generation(const PareWarmStart *w, const PareTokenizer *tokenizer,
                                const PareWarmIds *given, PareArena *arena, PareGeneration *out,
                                PareError *err) {
    const PareGeneration *own = pare_model_generation(w->decoder);
    int32_t first = -1, last = -1, bos = -1, eos = -1, pad = -1;
    int32_t *list = pare_arena_alloc(arena, 1, sizeof *list);
    if (!list)
        return pare_memory_error(err, "generation settings");
    PareStatus st = tokenizer ? read_template(tokenizer, &first, &last, err) : PARE_OK;
    if (tokenizer) {
        bos = pare_tokenizer_bos(tokenizer);
        eos = pare_tokenizer_eos(tokenizer);
        pad = pare_tokenizer_pad(tokenizer);
    }
    PareGeneration g = pare_generation_defaults();
    g.decoder_start = choose(given->decoder_start, first, bos, own->bos);
    *list = choose(given->eos, last, eos, own->eos.count ? own->eos.ids[0] : -1);
    g.pad = choose(given->pad, pad, own->pad, *list);
    g.bos = bos >= 0 ? bos : own->bos;
    g.eos = (PareIdList){list, 1};
    if (!st)
        st = check_id(w, "decoder-start", "what a text begins with", g.decoder_start, err);
    if (!st)
        st = check_id(w, "eos", "what ends a text", *list, err);
    if (!st)
        st = check_id(w, "pad", "what fills a batch", g.pad, err);
    *out = g;
    return st;
}

/* -- the metadata -- */

static void put_fixed(const PareWarmStart *w, const PareSlots *slots, PareBuffer *out) {
    size_t count = 0;
    for (size_t i = 0; i < slots->count; i++) {
        const PareSlot *s = &slots->items[i];
        if (!pare_warm_is_fixed(w, s))
            continue;
        pare_buffer_puts(out, count++ ? "," : ",\"fixed\":[");
        pare_buffer_put_json_string(out, s->name, strlen(s->name));
    }
    pare_buffer_puts(out, count ? "]" : "");
}

PareStatus pare_warm_metadata(const PareWarmStart *w, const PareWeights *weights,
                              const PareGeneration *generation, const PareTokenizer *tokenizer,
                              const char *options, PareBuffer *out, PareError *err) {
    const PareModel *models[] = {w->encoder, w->decoder};
    pare_buffer_puts(out, "{\"description\":");
    pare_description_write(&weights->description, out);
    pare_buffer_puts(out, ",\"generation\":");
    pare_generation_write(generation, out);
    pare_buffer_puts(out, ",\"labels\":[]");
    put_fixed(w, &weights->slots, out);
    if (tokenizer) {
        const char *kind = pare_tokenizer_kind(tokenizer);
        pare_buffer_puts(out, ",\"tokenizer\":{\"kind\":");
        pare_buffer_put_json_string(out, kind, strlen(kind));
        pare_buffer_printf(out, ",\"size\":%zu}", pare_tokenizer_size(tokenizer));
    }
    PareStatus st = pare_metadata_provenance(models, 2, "distill", options, out, err);
    pare_buffer_putc(out, '}');
    return st ? st : pare_buffer_ok(out, "the metadata", err);
}
