/* GPT-2 (Radford et al. 2019): a decoder with norms in front of the sublayers and learned
 * positions. Its matrices are stored transposed ("Conv1D"), query, key and value in one. */
#include <math.h>

#include "convert/families/families.h"

static const PareArchitecture ARCHITECTURES[] = {
    {"GPT2LMHeadModel", PARE_HEAD_LM}, {"GPT2Model", PARE_HEAD_NONE}, {NULL, PARE_HEAD_NONE}};

static const char *const FIELDS[] = {"vocab_size",
                                     "n_positions",
                                     "max_position_embeddings",
                                     "n_embd",
                                     "hidden_size",
                                     "n_layer",
                                     "n_head",
                                     "num_attention_heads",
                                     "n_inner",
                                     "activation_function",
                                     "layer_norm_epsilon",
                                     "scale_attn_weights",
                                     "scale_attn_by_inverse_layer_idx",
                                     "tie_word_embeddings",
                                     "pruned_heads",
                                     NULL};

/* reorder_and_upcast_attn only concerns half precision; n_ctx is not read since 4.0 of the
 * reference. */
static const char *const HARMLESS[] = {"reorder_and_upcast_attn", "n_ctx", "is_decoder", NULL};

static const PareNeutral NEUTRAL[] = {
    {"is_encoder_decoder", "false"}, {"add_cross_attention", "false"}, {NULL, NULL}};

#define LAYER "decoder.layers.%."

static const PareRule RULES[] = {
    {.slot = "decoder.embed.tokens", .tensor = "wte.weight"},
    {.slot = "decoder.embed.positions", .tensor = "wpe.weight"},
    {.slot = LAYER "self.query.*",
     .tensor = "h.%.attn.c_attn.*",
     .flags = PARE_RULE_TRANSPOSE,
     .part = 0,
     .parts = 3},
    {.slot = LAYER "self.key.*",
     .tensor = "h.%.attn.c_attn.*",
     .flags = PARE_RULE_TRANSPOSE,
     .part = 1,
     .parts = 3},
    {.slot = LAYER "self.value.*",
     .tensor = "h.%.attn.c_attn.*",
     .flags = PARE_RULE_TRANSPOSE,
     .part = 2,
     .parts = 3},
    {.slot = LAYER "self.output.*", .tensor = "h.%.attn.c_proj.*", .flags = PARE_RULE_TRANSPOSE},
    {.slot = LAYER "self.norm.*", .tensor = "h.%.ln_1.*"},
    {.slot = LAYER "ffn.in.*", .tensor = "h.%.mlp.c_fc.*", .flags = PARE_RULE_TRANSPOSE},
    {.slot = LAYER "ffn.out.*", .tensor = "h.%.mlp.c_proj.*", .flags = PARE_RULE_TRANSPOSE},
    {.slot = LAYER "ffn.norm.*", .tensor = "h.%.ln_2.*"},
    {.slot = "decoder.norm.*", .tensor = "ln_f.*"},
    {.slot = "head.output.weight", .tensor = "lm_head.weight", .flags = PARE_RULE_OUTER},
    {0}};

static const PareTie TIES[] = {{"head.output.weight", "decoder.embed.tokens", PARE_TIE_OUTPUT},
                               {0}};
/* The causal mask and its constant. */
static const char *const IGNORED[] = {"h.*.attn.bias", "h.*.attn.masked_bias", NULL};

static PareStatus describe_layers(PareConfig *c, PareFamilyModel *m) {
    PareStack *s = &m->description.stacks[PARE_DECODER];
    uint32_t layers = pare_config_u32(c, "n_layer", "num_hidden_layers", 12);
    uint32_t heads = pare_config_u32(c, "n_head", "num_attention_heads", 12);
    uint32_t ffn = pare_config_u32(c, "n_inner", NULL, 4 * s->width);
    bool scaled = pare_config_bool(c, "scale_attn_weights", true);
    bool by_layer = pare_config_bool(c, "scale_attn_by_inverse_layer_idx", false);
    if (!c->status && (heads == 0 || s->width % heads != 0))
        pare_config_fail(c, PARE_E_FORMAT, "\"n_embd\" %u is not a multiple of \"n_head\" %u",
                         s->width, heads);
    if (c->status)
        return c->status;
    PareLayerShape shape = {
        .self = {.heads = heads, .kv_heads = heads, .head_size = s->width / heads}, .ffn = ffn};
    if (pare_config_set_layers(c, &m->description, PARE_DECODER, layers, shape))
        return c->status;
    uint32_t *kept = pare_arena_alloc(c->arena, layers, sizeof *kept);
    if (!kept)
        c->status = pare_memory_error(c->err, "the heads of the layers");
    for (uint32_t i = 0; i < layers && !c->status; i++)
        kept[i] = heads;
    pare_config_pruned_heads(c, kept, layers);
    for (uint32_t i = 0; i < layers && !c->status; i++) {
        double scale = scaled ? 1.0 / sqrt((double)shape.self.head_size) : 1.0;
        s->layers[i].self.scale = (float)(by_layer ? scale / (double)(i + 1) : scale);
        s->layers[i].self.heads = s->layers[i].self.kv_heads = kept[i];
    }
    return c->status;
}

static PareStatus describe(PareConfig *c, PareFamilyModel *m) {
    PareStack *s = &m->description.stacks[PARE_DECODER];
    uint32_t width = pare_config_u32(c, "n_embd", "hidden_size", 768);
    *s =
        (PareStack){.present = true,
                    .width = width,
                    .embedding_width = width,
                    .vocabulary = pare_config_u32(c, "vocab_size", NULL, 50257),
                    .position = PARE_POSITION_TABLE,
                    .positions = pare_config_u32(c, "n_positions", "max_position_embeddings", 1024),
                    .embedding_scale = 1.0F,
                    .final_norm = true,
                    .pre_norm = true,
                    .norm = PARE_NORM_LAYER,
                    .norm_eps = (float)pare_config_float(c, "layer_norm_epsilon", 1e-5),
                    .activation = pare_config_activation(c, "activation_function", "gelu_new"),
                    .attention_bias = true,
                    .ffn_bias = true};
    m->tied_output = m->description.head.kind == PARE_HEAD_LM &&
                     pare_config_bool(c, "tie_word_embeddings", true);
    return c->status ? c->status : describe_layers(c, m);
}

static const PareFact FACTS[] = {
    {"n_embd", "hidden_size", PARE_FACT_WIDTH, PARE_DECODER},
    {"vocab_size", NULL, PARE_FACT_VOCABULARY, PARE_DECODER},
    {"n_positions", "max_position_embeddings|n_ctx", PARE_FACT_POSITIONS, PARE_DECODER},
    {"n_layer", "num_hidden_layers", PARE_FACT_LAYERS, PARE_DECODER},
    {"n_head", "num_attention_heads", PARE_FACT_HEADS, PARE_DECODER},
    {"n_inner", NULL, PARE_FACT_FFN, PARE_DECODER},
    {"pruned_heads", NULL, PARE_FACT_PRUNED_HEADS, PARE_DECODER},
    {0}};

const PareFamily pare_family_gpt2 = {
    .model_type = "gpt2",
    .title = "GPT-2",
    .prefix = "transformer.",
    .architectures = ARCHITECTURES,
    .fields = FIELDS,
    .harmless = HARMLESS,
    .neutral = NEUTRAL,
    .rules = RULES,
    .ties = TIES,
    .ignored = IGNORED,
    .ids = {.bos = 50256, .eos = 50256, .pad = -1, .decoder_start = -1, .forced_eos = -1},
    .hints = {.single = "$A",
              .pair = "$A $B",
              .unknown = "<|endoftext|>",
              .bos = "<|endoftext|>",
              .eos = "<|endoftext|>",
              .accept_bpe = true},
    .describe = describe,
    .facts = FACTS};
