/* T5 and T5 v1.1 (Raffel et al. 2019): an encoder-decoder with RMS norms in front of the sublayers,
 * no biases, unscaled attention with a bias by bucketed distance that the first layer of a stack
 * holds for all, and a feed-forward part that may be gated. */
#include <math.h>
#include <string.h>

#include "convert/families/families.h"

static const PareArchitecture ARCHITECTURES[] = {{"T5ForConditionalGeneration", PARE_HEAD_LM},
                                                 {NULL, PARE_HEAD_NONE}};

static const char *const FIELDS[] = {"vocab_size",
                                     "d_model",
                                     "hidden_size",
                                     "d_kv",
                                     "head_dim",
                                     "d_ff",
                                     "num_layers",
                                     "num_decoder_layers",
                                     "num_heads",
                                     "num_attention_heads",
                                     "relative_attention_num_buckets",
                                     "relative_attention_max_distance",
                                     "layer_norm_epsilon",
                                     "feed_forward_proj",
                                     "dense_act_fn",
                                     "is_gated_act",
                                     "tie_word_embeddings",
                                     "scale_decoder_outputs",
                                     NULL};

/* n_positions only told the tokenizer where to cut. */
static const char *const HARMLESS[] = {"n_positions", NULL};

static const PareNeutral NEUTRAL[] = {
    {"is_encoder_decoder", "true"}, {"is_decoder", "false"}, {"pruned_heads", "{}"}, {NULL, NULL}};

#define ATTENTION(slot_block, tensor_block)                                                        \
    {.slot = slot_block ".query.*", .tensor = tensor_block ".q.*"},                                \
        {.slot = slot_block ".key.*", .tensor = tensor_block ".k.*"},                              \
        {.slot = slot_block ".value.*", .tensor = tensor_block ".v.*"}, {                          \
        .slot = slot_block ".output.*", .tensor = tensor_block ".o.*"                              \
    }
/* wi_0 goes through the activation, wi_1 does not. */
#define FFN(slot_block, tensor_block)                                                              \
    {.slot = slot_block ".in.*", .tensor = tensor_block ".wi.*", .flags = PARE_RULE_PLAIN},        \
        {.slot = slot_block ".in.*", .tensor = tensor_block ".wi_1.*", .flags = PARE_RULE_GATED},  \
        {.slot = slot_block ".gate.*", .tensor = tensor_block ".wi_0.*"}, {                        \
        .slot = slot_block ".out.*", .tensor = tensor_block ".wo.*"                                \
    }

static const PareRule RULES[] = {
    {.slot = "encoder.embed.tokens",
     .tensor = "encoder.embed_tokens.weight",
     .flags = PARE_RULE_ALTERNATIVE | PARE_RULE_TWIN},
    {.slot = "encoder.embed.tokens", .tensor = "shared.weight"},
    {.slot = "decoder.embed.tokens", .tensor = "decoder.embed_tokens.weight"},
    {.slot = "head.output.weight", .tensor = "lm_head.weight"},
    {.slot = "encoder.layers.0.self.relative",
     .tensor = "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"},
    {.slot = "decoder.layers.0.self.relative",
     .tensor = "decoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"},
    ATTENTION("encoder.layers.%.self", "encoder.block.%.layer.0.SelfAttention"),
    {.slot = "encoder.layers.%.self.norm.*", .tensor = "encoder.block.%.layer.0.layer_norm.*"},
    FFN("encoder.layers.%.ffn", "encoder.block.%.layer.1.DenseReluDense"),
    {.slot = "encoder.layers.%.ffn.norm.*", .tensor = "encoder.block.%.layer.1.layer_norm.*"},
    {.slot = "encoder.norm.*", .tensor = "encoder.final_layer_norm.*"},
    ATTENTION("decoder.layers.%.self", "decoder.block.%.layer.0.SelfAttention"),
    {.slot = "decoder.layers.%.self.norm.*", .tensor = "decoder.block.%.layer.0.layer_norm.*"},
    ATTENTION("decoder.layers.%.cross", "decoder.block.%.layer.1.EncDecAttention"),
    {.slot = "decoder.layers.%.cross.norm.*", .tensor = "decoder.block.%.layer.1.layer_norm.*"},
    FFN("decoder.layers.%.ffn", "decoder.block.%.layer.2.DenseReluDense"),
    {.slot = "decoder.layers.%.ffn.norm.*", .tensor = "decoder.block.%.layer.2.layer_norm.*"},
    {.slot = "decoder.norm.*", .tensor = "decoder.final_layer_norm.*"},
    {0}};

static const PareTie TIES[] = {
    {"encoder.layers.%.self.relative", "encoder.layers.0.self.relative", PARE_TIE_ALWAYS},
    {"decoder.layers.%.self.relative", "decoder.layers.0.self.relative", PARE_TIE_ALWAYS},
    {"decoder.embed.tokens", "encoder.embed.tokens", PARE_TIE_STACKS},
    {"head.output.weight", "decoder.embed.tokens", PARE_TIE_OUTPUT},
    {0}};

/* In checkpoints of the first release; the reference does not read it either. */
static const char *const IGNORED[] = {
    "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight", NULL};

/* "relu", "gated-gelu", "gated-silu", …: "gated-gelu" means the tanh approximation. The two derived
 * fields, where present, have the last word as they do in the reference. */
static void describe_activation(PareConfig *c, PareStack *s) {
    const char *text = pare_config_string(c, "feed_forward_proj", "relu");
    bool gated = strncmp(text, "gated-", 6) == 0;
    const char *name = gated ? text + 6 : text;
    if (strcmp(text, "gated-gelu") == 0)
        name = "gelu_new";
    if (strchr(name, '-'))
        pare_config_fail(c, PARE_E_UNSUPPORTED,
                         "\"feed_forward_proj\" is \"%.100s\"; expected the name of an activation "
                         "or \"gated-\" and one",
                         text);
    bool derived = pare_config_has(c, "dense_act_fn");
    name = pare_config_string(c, "dense_act_fn", name);
    s->gated = pare_config_bool(c, "is_gated_act", gated);
    if (!c->status)
        s->activation = pare_activation_of(c, derived ? "dense_act_fn" : "feed_forward_proj", name);
}

static PareStatus describe_layers(PareConfig *c, PareFamilyModel *m) {
    uint32_t layers = pare_config_u32(c, "num_layers", "num_hidden_layers", 6);
    uint32_t decoder_layers = pare_config_u32(c, "num_decoder_layers", NULL, layers);
    uint32_t heads = pare_config_u32(c, "num_heads", "num_attention_heads", 8);
    uint32_t ffn = pare_config_u32(c, "d_ff", NULL, 2048);
    PareAttentionShape attention = {.heads = heads,
                                    .kv_heads = heads,
                                    .head_size = pare_config_u32(c, "d_kv", "head_dim", 64),
                                    .scale = 1.0F};
    PareLayerShape shape = {.self = attention, .ffn = ffn};
    if (!c->status && heads == 0)
        pare_config_fail(c, PARE_E_FORMAT, "\"num_heads\" is 0; expected 1 or more");
    pare_config_set_layers(c, &m->description, PARE_ENCODER, layers, shape);
    shape.cross = attention;
    return pare_config_set_layers(c, &m->description, PARE_DECODER, decoder_layers, shape);
}

static PareStatus describe(PareConfig *c, PareFamilyModel *m) {
    uint32_t width = pare_config_u32(c, "d_model", "hidden_size", 512);
    PareStack stack = {
        .present = true,
        .width = width,
        .embedding_width = width,
        .vocabulary = pare_config_u32(c, "vocab_size", NULL, 32128),
        .position = PARE_POSITION_RELATIVE,
        .relative_buckets = pare_config_u32(c, "relative_attention_num_buckets", NULL, 32),
        .relative_max_distance = pare_config_u32(c, "relative_attention_max_distance", NULL, 128),
        .embedding_scale = 1.0F,
        .final_norm = true,
        .pre_norm = true,
        .norm = PARE_NORM_RMS,
        .norm_eps = (float)pare_config_float(c, "layer_norm_epsilon", 1e-6)};
    describe_activation(c, &stack);
    m->description.stacks[PARE_ENCODER] = stack;
    stack.cross = true;
    m->description.stacks[PARE_DECODER] = stack;
    m->tied_output = pare_config_bool(c, "tie_word_embeddings", true);
    m->shared_stacks = true;
    /* Version 4 scales exactly when tied; version 5 writes the answer down. */
    if (pare_config_bool(c, "scale_decoder_outputs", m->tied_output) && width)
        m->description.head.scale = (float)(1.0 / sqrt((double)width));
    if (!pare_config_has(c, "decoder_start_token_id"))
        m->generation.decoder_start = m->generation.pad;
    return c->status ? c->status : describe_layers(c, m);
}

static const PareFact FACTS[] = {
    {"d_model", "hidden_size", PARE_FACT_WIDTH, PARE_STACKS},
    {"vocab_size", NULL, PARE_FACT_VOCABULARY, PARE_ENCODER},
    {"num_layers", "num_hidden_layers", PARE_FACT_LAYERS, PARE_ENCODER},
    {"num_decoder_layers", NULL, PARE_FACT_LAYERS, PARE_DECODER},
    {"num_heads", "num_attention_heads", PARE_FACT_HEADS, PARE_STACKS},
    {"d_kv", "head_dim", PARE_FACT_HEAD_SIZE, PARE_STACKS},
    {"d_ff", NULL, PARE_FACT_FFN, PARE_STACKS},
    {"relative_attention_num_buckets", NULL, PARE_FACT_BUCKETS, PARE_STACKS},
    {0}};

const PareFamily pare_family_t5 = {
    .model_type = "t5",
    .title = "T5",
    .prefix = "",
    .architectures = ARCHITECTURES,
    .fields = FIELDS,
    .harmless = HARMLESS,
    .neutral = NEUTRAL,
    .rules = RULES,
    .ties = TIES,
    .ignored = IGNORED,
    .ids = {.bos = -1, .eos = 1, .pad = 0, .decoder_start = 0, .forced_eos = -1},
    .hints = {.single = "$A </s>",
              .pair = "$A </s> $B </s>",
              .unknown = "<unk>",
              .pad = "<pad>",
              .eos = "</s>",
              .accept_unigram = true,
              .extra_ids = 100},
    .describe = describe,
    .facts = FACTS};
