/* Encoder-decoders of two checkpoints (Rothe, Narayan & Severyn 2020; transformers'
 * EncoderDecoderModel): the settings of each side are nested in config.json. The encoder is a BERT;
 * the decoder is a BERT that sees backwards only, or a GPT-2, each with a cross-attention block in
 * every layer. Two families in effect, which differ in the names of the decoder's tensors; the
 * settings choose. The encoder's pooler is saved, but nothing reads it. */
#include <string.h>

#include "convert/families/families.h"

static const PareArchitecture ARCHITECTURES[] = {{"EncoderDecoderModel", PARE_HEAD_LM},
                                                 {NULL, PARE_HEAD_NONE}};

static const char *const FIELDS[] = {"encoder", "decoder", "tie_encoder_decoder", NULL};

/* Written by its examples; what counts stands in the nested settings. */
static const char *const HARMLESS[] = {"vocab_size", NULL};

static const PareNeutral NEUTRAL[] = {
    {"is_encoder_decoder", "true"}, {"tie_word_embeddings", "false|true"}, {NULL, NULL}};

/* -- names -- */

#define BLOCK(slot_block, tensor_block, part)                                                      \
    {.slot = slot_block ".query.*", .tensor = tensor_block part "self.query.*"},                   \
        {.slot = slot_block ".key.*", .tensor = tensor_block part "self.key.*"},                   \
        {.slot = slot_block ".value.*", .tensor = tensor_block part "self.value.*"},               \
        {.slot = slot_block ".output.*", .tensor = tensor_block part "output.dense.*"}, {          \
        .slot = slot_block ".norm.*", .tensor = tensor_block part "output.LayerNorm.*"             \
    }

#define BERT_RULES(stack, theirs)                                                                  \
    {.slot = stack ".embed.tokens", .tensor = theirs "embeddings.word_embeddings.weight"},         \
        {.slot = stack ".embed.positions",                                                         \
         .tensor = theirs "embeddings.position_embeddings.weight"},                                \
        {.slot = stack ".embed.types",                                                             \
         .tensor = theirs "embeddings.token_type_embeddings.weight"},                              \
        {.slot = stack ".embed.norm.*", .tensor = theirs "embeddings.LayerNorm.*"},                \
        BLOCK(stack ".layers.%.self", theirs "encoder.layer.%.", "attention."),                    \
        {.slot = stack ".layers.%.ffn.in.*",                                                       \
         .tensor = theirs "encoder.layer.%.intermediate.dense.*"},                                 \
        {.slot = stack ".layers.%.ffn.out.*", .tensor = theirs "encoder.layer.%.output.dense.*"},  \
    {                                                                                              \
        .slot = stack ".layers.%.ffn.norm.*",                                                      \
        .tensor = theirs "encoder.layer.%.output.LayerNorm.*"                                      \
    }

static const PareRule BERT_DECODER[] = {
    BERT_RULES("encoder", "encoder."),
    BERT_RULES("decoder", "decoder.bert."),
    BLOCK("decoder.layers.%.cross", "decoder.bert.encoder.layer.%.", "crossattention."),
    {.slot = "head.transform.*", .tensor = "decoder.cls.predictions.transform.dense.*"},
    {.slot = "head.transform.norm.*", .tensor = "decoder.cls.predictions.transform.LayerNorm.*"},
    {.slot = "head.output.weight", .tensor = "decoder.cls.predictions.decoder.weight"},
    {.slot = "head.output.bias",
     .tensor = "decoder.cls.predictions.decoder.bias",
     .flags = PARE_RULE_ALTERNATIVE | PARE_RULE_TWIN},
    {.slot = "head.output.bias", .tensor = "decoder.cls.predictions.bias"},
    {0}};

#define H "decoder.transformer.h.%."
#define PART(slot_name, tensor_name, number, of)                                                   \
    {                                                                                              \
        .slot = "decoder.layers.%." slot_name ".*", .tensor = H tensor_name ".*",                  \
        .flags = PARE_RULE_TRANSPOSE, .part = number, .parts = of                                  \
    }

static const PareRule GPT2_DECODER[] = {
    BERT_RULES("encoder", "encoder."),
    {.slot = "decoder.embed.tokens", .tensor = "decoder.transformer.wte.weight"},
    {.slot = "decoder.embed.positions", .tensor = "decoder.transformer.wpe.weight"},
    PART("self.query", "attn.c_attn", 0, 3),
    PART("self.key", "attn.c_attn", 1, 3),
    PART("self.value", "attn.c_attn", 2, 3),
    PART("self.output", "attn.c_proj", 0, 1),
    {.slot = "decoder.layers.%.self.norm.*", .tensor = H "ln_1.*"},
    PART("cross.query", "crossattention.q_attn", 0, 1),
    PART("cross.key", "crossattention.c_attn", 0, 2),
    PART("cross.value", "crossattention.c_attn", 1, 2),
    PART("cross.output", "crossattention.c_proj", 0, 1),
    {.slot = "decoder.layers.%.cross.norm.*", .tensor = H "ln_cross_attn.*"},
    PART("ffn.in", "mlp.c_fc", 0, 1),
    PART("ffn.out", "mlp.c_proj", 0, 1),
    {.slot = "decoder.layers.%.ffn.norm.*", .tensor = H "ln_2.*"},
    {.slot = "decoder.norm.*", .tensor = "decoder.transformer.ln_f.*"},
    {.slot = "head.output.weight", .tensor = "decoder.lm_head.weight"},
    {0}};

#define SHARED(name)                                                                               \
    { "decoder." name, "encoder." name, PARE_TIE_LAYERS }

/* "tie_encoder_decoder" shares everything but cross-attention and the head. */
static const PareTie TIES[] = {{"head.output.weight", "decoder.embed.tokens", PARE_TIE_OUTPUT},
                               SHARED("embed.tokens"),
                               SHARED("embed.positions"),
                               SHARED("embed.types"),
                               SHARED("embed.norm.*"),
                               SHARED("layers.%.self.query.*"),
                               SHARED("layers.%.self.key.*"),
                               SHARED("layers.%.self.value.*"),
                               SHARED("layers.%.self.output.*"),
                               SHARED("layers.%.self.norm.*"),
                               SHARED("layers.%.ffn.in.*"),
                               SHARED("layers.%.ffn.out.*"),
                               SHARED("layers.%.ffn.norm.*"),
                               {0}};

static const char *const IGNORED[] = {"encoder.embeddings.position_ids",
                                      "encoder.pooler.dense.*",
                                      "decoder.bert.embeddings.position_ids",
                                      "decoder.transformer.h.*.attn.bias",
                                      "decoder.transformer.h.*.attn.masked_bias",
                                      "decoder.transformer.h.*.crossattention.bias",
                                      "decoder.transformer.h.*.crossattention.masked_bias",
                                      NULL};

static const PareOldEnding OLD[] = {
    {"LayerNorm.weight", "LayerNorm.gamma"}, {"LayerNorm.bias", "LayerNorm.beta"}, {0}};

/* -- settings -- */

static PareStatus describe(PareConfig *c, PareFamilyModel *m);

static const PareFamily WITH_GPT2 = {
    .model_type = "encoder-decoder",
    .title = "encoder-decoder of BERT and GPT-2",
    .prefix = "",
    .architectures = ARCHITECTURES,
    .fields = FIELDS,
    .harmless = HARMLESS,
    .neutral = NEUTRAL,
    .rules = GPT2_DECODER,
    .ties = TIES,
    .ignored = IGNORED,
    .old_endings = OLD,
    .ids = {.bos = -1, .eos = -1, .pad = -1, .decoder_start = -1, .forced_eos = -1},
    .describe = describe};

/* What a decoder must say is the opposite of what its family expects of a model by itself. */
static void check_decoder(PareConfig *c, const PareFamily *family) {
    bool encoder_class = family == &pare_family_bert;
    for (const PareNeutral *n = family->neutral; n->key; n++) {
        const PareNeutral one[] = {*n, {NULL, NULL}};
        if (strcmp(n->key, "is_decoder") != 0 && strcmp(n->key, "add_cross_attention") != 0)
            pare_config_neutral(c, one);
    }
    if (!pare_config_bool(c, "add_cross_attention", false) ||
        (encoder_class && !pare_config_bool(c, "is_decoder", false)))
        pare_config_fail(c, PARE_E_UNSUPPORTED,
                         "the decoder needs \"add_cross_attention\"%s to be true",
                         encoder_class ? " and \"is_decoder\"" : "");
}

/* One side, as its own family describes a model by itself: an encoder without a head, or a decoder
 * with the head of a language model. */
static PareStatus describe_side(PareConfig *c, PareFamilyModel *m, PareStackIndex s,
                                PareFamilyModel *out) {
    static const char *const KEYS[PARE_STACKS] = {"encoder", "decoder"};
    static const PareNeutral COMMON[] = {
        {"quantization_config", "null"}, {"cross_attention_hidden_size", "null"}, {NULL, NULL}};
    const char *type = NULL;
    PareConfig side = *c;
    side.object = pare_json_get_set(c->object, KEYS[s]);
    side.where = pare_arena_printf(c->arena, "%s, \"%s\"", c->where, KEYS[s]);
    if (!side.where)
        return pare_memory_error(c->err, "settings");
    if (!pare_json_is_object(side.object))
        return pare_error_set(c->err, PARE_E_FORMAT, "%s must be an object of settings",
                              side.where);
    type = pare_config_string(&side, "model_type", NULL);
    out->family = type ? pare_family_find(type) : NULL;
    bool fits =
        out->family == &pare_family_bert || (s == PARE_DECODER && out->family == &pare_family_gpt2);
    if (!fits)
        pare_config_fail(&side, PARE_E_UNSUPPORTED, "\"model_type\" is \"%.100s\"; supported is %s",
                         type ? type : "", s == PARE_DECODER ? "bert or gpt2" : "bert");
    else if (s == PARE_DECODER)
        check_decoder(&side, out->family);
    else
        pare_config_neutral(&side, out->family->neutral);
    pare_config_neutral(&side, COMMON);
    out->description.arena = c->arena;
    out->description.head =
        (PareOutputHead){.kind = s == PARE_DECODER ? PARE_HEAD_LM : PARE_HEAD_NONE, .scale = 1.0F};
    m->parts[s] = (PareFamilyPart){KEYS[s], out->family};
    return side.status ? side.status : out->family->describe(&side, out);
}

/* Cross-attention is made like self-attention before any head was pruned. */
static void add_cross(PareStack *s) {
    s->cross = true;
    for (uint32_t i = 0; i < s->layer_count; i++) {
        PareLayerShape *l = &s->layers[i];
        l->cross = l->self;
        l->cross.heads = l->cross.kv_heads = l->self.head_size ? s->width / l->self.head_size : 0;
    }
}

/* What the settings themselves do not say about generating, the decoder's may (as in transformers).
 */
static PareStatus read_generation(PareConfig *c, PareFamilyModel *m) {
    PareGeneration *g = &m->generation;
    *g = pare_generation_defaults();
    PareStatus st = pare_generation_read(g, pare_json_get_set(c->object, "decoder"), c->where,
                                         c->arena, c->err);
    return st ? st : pare_generation_read(g, c->object, c->where, c->arena, c->err);
}

static PareStatus describe(PareConfig *c, PareFamilyModel *m) {
    PareFamilyModel encoder = {0}, decoder = {0};
    PareStack *stacks = m->description.stacks;
    PareStatus st = describe_side(c, m, PARE_ENCODER, &encoder);
    if (!st)
        st = describe_side(c, m, PARE_DECODER, &decoder);
    if (st)
        return st;
    bool gpt2 = decoder.family == &pare_family_gpt2;
    if (gpt2)
        m->family = &WITH_GPT2;
    stacks[PARE_ENCODER] = encoder.description.stacks[PARE_ENCODER];
    stacks[PARE_DECODER] = decoder.description.stacks[gpt2 ? PARE_DECODER : PARE_ENCODER];
    add_cross(&stacks[PARE_DECODER]);
    if (stacks[PARE_ENCODER].width != stacks[PARE_DECODER].width)
        pare_config_fail(c, PARE_E_UNSUPPORTED,
                         "the encoder is %u wide and the decoder %u; the projection between them "
                         "is not supported",
                         stacks[PARE_ENCODER].width, stacks[PARE_DECODER].width);
    m->description.head = decoder.description.head;
    m->tied_output = decoder.tied_output;
    m->shared_layers = pare_config_bool(c, "tie_encoder_decoder", false);
    m->hints = encoder.family->hints;
    return c->status ? c->status : read_generation(c, m);
}

const PareFamily pare_family_encoder_decoder = {
    .model_type = "encoder-decoder",
    .title = "encoder-decoder of two BERTs",
    .prefix = "",
    .architectures = ARCHITECTURES,
    .fields = FIELDS,
    .harmless = HARMLESS,
    .neutral = NEUTRAL,
    .rules = BERT_DECODER,
    .ties = TIES,
    .ignored = IGNORED,
    .old_endings = OLD,
    .ids = {.bos = -1, .eos = -1, .pad = -1, .decoder_start = -1, .forced_eos = -1},
    .describe = describe};
