/* What BART and its descendants share. */
#include "convert/families/bart_common.h"

#include <math.h>

const PareTie pare_bart_ties[] = {{"decoder.embed.tokens", "encoder.embed.tokens", PARE_TIE_STACKS},
                                  {"head.output.weight", "decoder.embed.tokens", PARE_TIE_OUTPUT},
                                  {0}};

typedef struct {
    const char *layers, *heads, *heads_alias, *ffn;
} StackFields;

static PareStatus describe_layers(PareConfig *c, PareFamilyModel *m, PareStackIndex which,
                                  const PareBartDefaults *d) {
    static const StackFields FIELDS[PARE_STACKS] = {
        {"encoder_layers", "encoder_attention_heads", "num_attention_heads", "encoder_ffn_dim"},
        {"decoder_layers", "decoder_attention_heads", NULL, "decoder_ffn_dim"}};
    const StackFields *f = &FIELDS[which];
    uint32_t width = m->description.stacks[which].width;
    uint32_t layers = pare_config_u32(c, f->layers, NULL, d->layers);
    uint32_t heads = pare_config_u32(c, f->heads, f->heads_alias, d->heads);
    uint32_t ffn = pare_config_u32(c, f->ffn, NULL, d->ffn);
    if (!c->status && (heads == 0 || width % heads != 0))
        pare_config_fail(c, PARE_E_FORMAT, "\"d_model\" %u is not a multiple of \"%s\" %u", width,
                         f->heads, heads);
    if (c->status)
        return c->status;
    PareAttentionShape attention = {.heads = heads,
                                    .kv_heads = heads,
                                    .head_size = width / heads,
                                    .scale = (float)(1.0 / sqrt((double)(width / heads)))};
    PareLayerShape shape = {.self = attention, .ffn = ffn};
    if (which == PARE_DECODER)
        shape.cross = attention;
    return pare_config_set_layers(c, &m->description, which, layers, shape);
}

PareStatus pare_bart_describe(PareConfig *c, PareFamilyModel *m, const PareBartDefaults *d) {
    uint32_t width = pare_config_u32(c, "d_model", "hidden_size", d->width);
    bool scaled = pare_config_bool(c, "scale_embedding", false);
    PareStack stack = {
        .present = true,
        .width = width,
        .embedding_width = width,
        .vocabulary = pare_config_u32(c, "vocab_size", NULL, d->vocabulary),
        .position = PARE_POSITION_TABLE,
        .positions = pare_config_u32(c, "max_position_embeddings", NULL, d->positions),
        .embedding_scale = scaled ? (float)sqrt((double)width) : 1.0F,
        .norm = PARE_NORM_LAYER,
        .norm_eps = 1e-5F, /* torch's default: not in config.json */
        .activation = pare_config_activation(c, "activation_function", d->activation),
        .attention_bias = true,
        .ffn_bias = true};
    m->description.stacks[PARE_ENCODER] = stack;
    stack.cross = true;
    m->description.stacks[PARE_DECODER] = stack;
    m->description.head.bias = true;
    m->tied_output = pare_config_bool(c, "tie_word_embeddings", true);
    m->shared_stacks = true;
    for (int s = 0; s < PARE_STACKS && !c->status; s++)
        c->status = describe_layers(c, m, (PareStackIndex)s, d);
    return c->status;
}
