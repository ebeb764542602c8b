/* What BART and its descendants share: names of layers, fields, and most of the description. */
#ifndef PARE_CONVERT_FAMILIES_BART_COMMON_H
#define PARE_CONVERT_FAMILIES_BART_COMMON_H

#include "convert/family.h"

#define PARE_BART_ATTENTION(slot_block, tensor_block, norm)                                        \
    {.slot = slot_block ".query.*", .tensor = tensor_block ".q_proj.*"},                           \
        {.slot = slot_block ".key.*", .tensor = tensor_block ".k_proj.*"},                         \
        {.slot = slot_block ".value.*", .tensor = tensor_block ".v_proj.*"},                       \
        {.slot = slot_block ".output.*", .tensor = tensor_block ".out_proj.*"}, {                  \
        .slot = slot_block ".norm.*", .tensor = norm ".*"                                          \
    }
#define PARE_BART_FFN(stack)                                                                       \
    {.slot = stack ".layers.%.ffn.in.*", .tensor = stack ".layers.%.fc1.*"},                       \
        {.slot = stack ".layers.%.ffn.out.*", .tensor = stack ".layers.%.fc2.*"}, {                \
        .slot = stack ".layers.%.ffn.norm.*", .tensor = stack ".layers.%.final_layer_norm.*"       \
    }
#define PARE_BART_LAYER_RULES                                                                      \
    PARE_BART_ATTENTION("encoder.layers.%.self", "encoder.layers.%.self_attn",                     \
                        "encoder.layers.%.self_attn_layer_norm"),                                  \
        PARE_BART_FFN("encoder"),                                                                  \
        PARE_BART_ATTENTION("decoder.layers.%.self", "decoder.layers.%.self_attn",                 \
                            "decoder.layers.%.self_attn_layer_norm"),                              \
        PARE_BART_ATTENTION("decoder.layers.%.cross", "decoder.layers.%.encoder_attn",             \
                            "decoder.layers.%.encoder_attn_layer_norm"),                           \
        PARE_BART_FFN("decoder")

/* Whichever of the names a checkpoint has: transformers writes all that share, or only the first.
 */
#define PARE_BART_EMBEDDING_RULES                                                                  \
    {.slot = "encoder.embed.tokens",                                                               \
     .tensor = "encoder.embed_tokens.weight",                                                      \
     .flags = PARE_RULE_ALTERNATIVE | PARE_RULE_TWIN},                                             \
        {.slot = "encoder.embed.tokens", .tensor = "shared.weight"},                               \
        {.slot = "decoder.embed.tokens", .tensor = "decoder.embed_tokens.weight"},                 \
        {.slot = "head.output.weight", .tensor = "lm_head.weight", .flags = PARE_RULE_OUTER}, {    \
        .slot = "head.output.bias", .tensor = "final_logits_bias",                                 \
        .flags = PARE_RULE_OUTER | PARE_RULE_FLAT | PARE_RULE_ZERO                                 \
    }

#define PARE_BART_FIELDS                                                                           \
    "vocab_size", "d_model", "hidden_size", "encoder_layers", "decoder_layers",                    \
        "encoder_attention_heads", "num_attention_heads", "decoder_attention_heads",               \
        "encoder_ffn_dim", "decoder_ffn_dim", "activation_function", "max_position_embeddings",    \
        "scale_embedding", "tie_word_embeddings"

#define PARE_BART_FACTS                                                                            \
    {"d_model", "hidden_size", PARE_FACT_WIDTH, PARE_STACKS},                                      \
        {"vocab_size", NULL, PARE_FACT_VOCABULARY, PARE_ENCODER},                                  \
        {"max_position_embeddings", NULL, PARE_FACT_POSITIONS, PARE_STACKS},                       \
        {"encoder_layers", "num_hidden_layers", PARE_FACT_LAYERS, PARE_ENCODER},                   \
        {"decoder_layers", NULL, PARE_FACT_LAYERS, PARE_DECODER},                                  \
        {"encoder_attention_heads", "num_attention_heads", PARE_FACT_HEADS, PARE_ENCODER},         \
        {"decoder_attention_heads", NULL, PARE_FACT_HEADS, PARE_DECODER},                          \
        {"encoder_ffn_dim", NULL, PARE_FACT_FFN, PARE_ENCODER}, {                                  \
        "decoder_ffn_dim", NULL, PARE_FACT_FFN, PARE_DECODER                                       \
    }

extern const PareTie pare_bart_ties[];

/* Sizes that differ between the families when config.json is silent. */
typedef struct {
    uint32_t vocabulary, width, layers, heads, ffn, positions;
    const char *activation;
} PareBartDefaults;

/* Both stacks with norms behind the sublayers and the language-model head; the caller adjusts. */
PareStatus pare_bart_describe(PareConfig *c, PareFamilyModel *m, const PareBartDefaults *defaults);

#endif
