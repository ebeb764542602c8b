/* BERT (Devlin et al. 2018): an encoder with norms behind the sublayers, learned positions, token
 * types. transformers' classes for sequences, tokens, spans, masked words, and the bare model. */
#include <math.h>

#include "convert/families/families.h"

static const PareArchitecture ARCHITECTURES[] = {
    {"BertForSequenceClassification", PARE_HEAD_SEQUENCE},
    {"BertForTokenClassification", PARE_HEAD_TOKENS},
    {"BertForQuestionAnswering", PARE_HEAD_SPAN},
    {"BertForMaskedLM", PARE_HEAD_LM},
    {"BertModel", PARE_HEAD_NONE},
    {NULL, PARE_HEAD_NONE}};

static const char *const FIELDS[] = {"vocab_size",
                                     "hidden_size",
                                     "num_hidden_layers",
                                     "num_attention_heads",
                                     "intermediate_size",
                                     "hidden_act",
                                     "max_position_embeddings",
                                     "type_vocab_size",
                                     "layer_norm_eps",
                                     "tie_word_embeddings",
                                     "pruned_heads",
                                     NULL};

/* Left over from the program that the first checkpoints were trained with. */
static const char *const HARMLESS[] = {"pooler_*", NULL};

static const PareNeutral NEUTRAL[] = {{"is_decoder", "false"},
                                      {"is_encoder_decoder", "false"},
                                      {"add_cross_attention", "false"},
                                      {"position_embedding_type", "\"absolute\""},
                                      {NULL, NULL}};

#define LAYER "encoder.layers.%."
#define THEIRS "encoder.layer.%."
enum { LABELS = PARE_FOR(PARE_HEAD_SEQUENCE) | PARE_FOR(PARE_HEAD_TOKENS) };

static const PareRule RULES[] = {
    {.slot = "encoder.embed.tokens", .tensor = "embeddings.word_embeddings.weight"},
    {.slot = "encoder.embed.positions", .tensor = "embeddings.position_embeddings.weight"},
    {.slot = "encoder.embed.types", .tensor = "embeddings.token_type_embeddings.weight"},
    {.slot = "encoder.embed.norm.*", .tensor = "embeddings.LayerNorm.*"},
    {.slot = LAYER "self.query.*", .tensor = THEIRS "attention.self.query.*"},
    {.slot = LAYER "self.key.*", .tensor = THEIRS "attention.self.key.*"},
    {.slot = LAYER "self.value.*", .tensor = THEIRS "attention.self.value.*"},
    {.slot = LAYER "self.output.*", .tensor = THEIRS "attention.output.dense.*"},
    {.slot = LAYER "self.norm.*", .tensor = THEIRS "attention.output.LayerNorm.*"},
    {.slot = LAYER "ffn.in.*", .tensor = THEIRS "intermediate.dense.*"},
    {.slot = LAYER "ffn.out.*", .tensor = THEIRS "output.dense.*"},
    {.slot = LAYER "ffn.norm.*", .tensor = THEIRS "output.LayerNorm.*"},
    {.slot = "head.pool.*", .tensor = "pooler.dense.*"},
    {.slot = "head.transform.*",
     .tensor = "cls.predictions.transform.dense.*",
     .flags = PARE_RULE_OUTER},
    {.slot = "head.transform.norm.*",
     .tensor = "cls.predictions.transform.LayerNorm.*",
     .flags = PARE_RULE_OUTER},
    {.slot = "head.output.weight",
     .tensor = "cls.predictions.decoder.weight",
     .flags = PARE_RULE_OUTER,
     .heads = PARE_FOR(PARE_HEAD_LM)},
    /* The two names are one parameter; loading fills it from the second in the file, this one. */
    {.slot = "head.output.bias",
     .tensor = "cls.predictions.decoder.bias",
     .flags = PARE_RULE_OUTER | PARE_RULE_ALTERNATIVE | PARE_RULE_TWIN,
     .heads = PARE_FOR(PARE_HEAD_LM)},
    {.slot = "head.output.bias",
     .tensor = "cls.predictions.bias",
     .flags = PARE_RULE_OUTER,
     .heads = PARE_FOR(PARE_HEAD_LM)},
    {.slot = "head.output.*", .tensor = "classifier.*", .flags = PARE_RULE_OUTER, .heads = LABELS},
    {.slot = "head.output.*",
     .tensor = "qa_outputs.*",
     .flags = PARE_RULE_OUTER,
     .heads = PARE_FOR(PARE_HEAD_SPAN)},
    {0}};

static const PareTie TIES[] = {{"head.output.weight", "encoder.embed.tokens", PARE_TIE_OUTPUT},
                               {0}};
static const char *const IGNORED[] = {"embeddings.position_ids", "embeddings.token_type_ids", NULL};
static const PareOldEnding OLD[] = {
    {"LayerNorm.weight", "LayerNorm.gamma"}, {"LayerNorm.bias", "LayerNorm.beta"}, {0}};

static void describe_head(PareConfig *c, PareFamilyModel *m, PareActivation activation) {
    PareOutputHead *h = &m->description.head;
    /* A bare model may have been saved without its pooler. */
    bool pooler = c->stored ? c->stored->head.pool_dense
                            : pare_checkpoint_find(c->checkpoint, "pooler.dense.weight") ||
                                  pare_checkpoint_find(c->checkpoint, "bert.pooler.dense.weight");
    if (h->kind == PARE_HEAD_SEQUENCE || (h->kind == PARE_HEAD_NONE && pooler)) {
        h->pool = PARE_POOL_FIRST;
        h->pool_dense = true;
        h->pool_activation = PARE_ACT_TANH;
    }
    h->transform = h->kind == PARE_HEAD_LM;
    h->transform_activation = h->transform ? activation : PARE_ACT_IDENTITY;
    h->bias = h->kind != PARE_HEAD_NONE;
    m->tied_output = h->kind == PARE_HEAD_LM && pare_config_bool(c, "tie_word_embeddings", true);
    if (h->kind == PARE_HEAD_SEQUENCE || h->kind == PARE_HEAD_TOKENS)
        h->labels = pare_config_labels(c, &m->labels);
    if (h->kind == PARE_HEAD_SPAN) {
        const char **unused;
        h->labels = pare_config_labels(c, &unused);
        if (h->labels != 2)
            pare_config_fail(c, PARE_E_UNSUPPORTED,
                             "%u labels for question answering; expected 2 (start and end)",
                             h->labels);
    }
}

static PareStatus describe_layers(PareConfig *c, PareFamilyModel *m, uint32_t layers) {
    PareStack *s = &m->description.stacks[PARE_ENCODER];
    uint32_t heads = pare_config_u32(c, "num_attention_heads", NULL, 12);
    uint32_t ffn = pare_config_u32(c, "intermediate_size", NULL, 3072);
    if (!c->status && (heads == 0 || s->width % heads != 0))
        pare_config_fail(c, PARE_E_FORMAT,
                         "\"hidden_size\" %u is not a multiple of \"num_attention_heads\" %u",
                         s->width, heads);
    if (c->status)
        return c->status;
    uint32_t size = s->width / heads;
    float scale = (float)(1.0 / sqrt((double)size));
    PareLayerShape shape = {
        .self = {.heads = heads, .kv_heads = heads, .head_size = size, .scale = scale}, .ffn = ffn};
    if (pare_config_set_layers(c, &m->description, PARE_ENCODER, layers, shape))
        return c->status;
    uint32_t *kept = pare_arena_alloc(c->arena, layers, sizeof *kept);
    if (!kept)
        c->status = pare_memory_error(c->err, "the heads of the layers");
    for (uint32_t i = 0; i < layers && !c->status; i++)
        kept[i] = heads;
    pare_config_pruned_heads(c, kept, layers);
    for (uint32_t i = 0; i < layers && !c->status; i++)
        s->layers[i].self.heads = s->layers[i].self.kv_heads = kept[i];
    return c->status;
}

static PareStatus describe(PareConfig *c, PareFamilyModel *m) {
    PareStack *s = &m->description.stacks[PARE_ENCODER];
    uint32_t width = pare_config_u32(c, "hidden_size", NULL, 768);
    uint32_t layers = pare_config_u32(c, "num_hidden_layers", NULL, 12);
    PareActivation activation = pare_config_activation(c, "hidden_act", "gelu");
    *s = (PareStack){.present = true,
                     .width = width,
                     .embedding_width = width,
                     .vocabulary = pare_config_u32(c, "vocab_size", NULL, 30522),
                     .types = pare_config_u32(c, "type_vocab_size", NULL, 2),
                     .position = PARE_POSITION_TABLE,
                     .positions = pare_config_u32(c, "max_position_embeddings", NULL, 512),
                     .embedding_scale = 1.0F,
                     .embedding_norm = true,
                     .norm = PARE_NORM_LAYER,
                     .norm_eps = (float)pare_config_float(c, "layer_norm_eps", 1e-12),
                     .activation = activation,
                     .attention_bias = true,
                     .ffn_bias = true};
    if (!c->status)
        describe_head(c, m, activation);
    return c->status ? c->status : describe_layers(c, m, layers);
}

static const PareFact FACTS[] = {
    {"hidden_size", NULL, PARE_FACT_WIDTH, PARE_ENCODER},
    {"vocab_size", NULL, PARE_FACT_VOCABULARY, PARE_ENCODER},
    {"max_position_embeddings", NULL, PARE_FACT_POSITIONS, PARE_ENCODER},
    {"type_vocab_size", NULL, PARE_FACT_TYPES, PARE_ENCODER},
    {"num_hidden_layers", NULL, PARE_FACT_LAYERS, PARE_ENCODER},
    {"num_attention_heads", NULL, PARE_FACT_HEADS, PARE_ENCODER},
    {"intermediate_size", NULL, PARE_FACT_FFN, PARE_ENCODER},
    {"pruned_heads", NULL, PARE_FACT_PRUNED_HEADS, PARE_ENCODER},
    {0}};

const PareFamily pare_family_bert = {
    .model_type = "bert",
    .title = "BERT",
    .prefix = "bert.",
    .architectures = ARCHITECTURES,
    .fields = FIELDS,
    .harmless = HARMLESS,
    .neutral = NEUTRAL,
    .rules = RULES,
    .ties = TIES,
    .ignored = IGNORED,
    .old_endings = OLD,
    .ids = {.bos = -1, .eos = -1, .pad = 0, .decoder_start = -1, .forced_eos = -1},
    .fixed_padding = true,
    .hints = {.single = "[CLS] $A [SEP]",
              .pair = "[CLS] $A [SEP] $B [SEP]",
              .unknown = "[UNK]",
              .pad = "[PAD]",
              .cls = "[CLS]",
              .sep = "[SEP]",
              .mask = "[MASK]",
              .lowercase = true,
              .accept_wordpiece = true},
    .describe = describe,
    .facts = FACTS};
