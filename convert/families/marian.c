/* Marian (Junczys-Dowmunt et al. 2018, as transformers' MarianMTModel): BART's layers without a
 * norm behind the embeddings, sinusoidal positions, a bias on the output, one or two vocabularies.
 */
#include <math.h>

#include "convert/families/bart_common.h"
#include "convert/families/families.h"

static const PareArchitecture ARCHITECTURES[] = {{"MarianMTModel", PARE_HEAD_LM},
                                                 {NULL, PARE_HEAD_NONE}};

static const char *const FIELDS[] = {PARE_BART_FIELDS, "decoder_vocab_size",
                                     "share_encoder_decoder_embeddings", NULL};

static const PareNeutral NEUTRAL[] = {{"is_encoder_decoder", "true"},
                                      {"is_decoder", "false"},
                                      {"normalize_before", "false"},
                                      {"normalize_embedding", "false"},
                                      {"add_final_layer_norm", "false"},
                                      {"static_position_embeddings", "true"},
                                      {"extra_pos_embeddings", "0"},
                                      {"add_bias_logits", "false|true"},
                                      {"do_blenderbot_90_layernorm", "false"},
                                      {"pruned_heads", "{}"},
                                      {NULL, NULL}};

static const PareRule RULES[] = {PARE_BART_EMBEDDING_RULES,
                                 {.slot = "encoder.embed.positions",
                                  .tensor = "encoder.embed_positions.weight",
                                  .flags = PARE_RULE_COMPUTED},
                                 {.slot = "decoder.embed.positions",
                                  .tensor = "decoder.embed_positions.weight",
                                  .flags = PARE_RULE_COMPUTED},
                                 PARE_BART_LAYER_RULES,
                                 {0}};

/* Sinusoidal tables are the same in both stacks: stored once. */
static const PareTie TIES[] = {
    {"decoder.embed.tokens", "encoder.embed.tokens", PARE_TIE_STACKS},
    {"decoder.embed.positions", "encoder.embed.positions", PARE_TIE_ALWAYS},
    {"head.output.weight", "decoder.embed.tokens", PARE_TIE_OUTPUT},
    {0}};

static const char *const IGNORED[] = {"encoder.version", "decoder.version", NULL};

static PareStatus describe(PareConfig *c, PareFamilyModel *m) {
    static const PareBartDefaults DEFAULTS = {58101, 1024, 12, 16, 4096, 1024, "gelu"};
    PareStack *decoder = &m->description.stacks[PARE_DECODER];
    PareStatus st = pare_bart_describe(c, m, &DEFAULTS);
    uint32_t vocabulary = pare_config_u32(c, "decoder_vocab_size", NULL, decoder->vocabulary);
    m->shared_stacks = pare_config_bool(c, "share_encoder_decoder_embeddings", true);
    if (!m->shared_stacks)
        decoder->vocabulary = vocabulary;
    return st ? st : c->status;
}

/* Row p: sines of p / 10000^(2j/width) in the first half, cosines in the second (Vaswani et al.
 * 2017, not interleaved). The reference computes in double and rounds. */
static void compute(const PareFamilyModel *m, const PareSlot *slot, float *out) {
    (void)m;
    size_t N = (size_t)slot->shape[0], D = (size_t)slot->shape[1], half = (D + 1) / 2;
    for (size_t p = 0; p < N; p++)
        for (size_t d = 0; d < D; d++) {
            size_t j = d < half ? d : d - half;
            double angle = (double)p / pow(10000.0, 2.0 * (double)j / (double)D);
            out[p * D + d] = (float)(d < half ? sin(angle) : cos(angle));
        }
}

static const PareFact FACTS[] = {
    PARE_BART_FACTS, {"decoder_vocab_size", NULL, PARE_FACT_VOCABULARY, PARE_DECODER}, {0}};

const PareFamily pare_family_marian = {
    .model_type = "marian",
    .title = "Marian",
    .prefix = "model.",
    .architectures = ARCHITECTURES,
    .fields = FIELDS,
    .neutral = NEUTRAL,
    .rules = RULES,
    .ties = TIES,
    .ignored = IGNORED,
    .ids = {.bos = -1, .eos = 0, .pad = 58100, .decoder_start = 58100, .forced_eos = 0},
    .fixed_padding = true,
    .hints = {.single = "$A </s>",
              .pair = "$A $B </s>",
              .unknown = "<unk>",
              .pad = "<pad>",
              .eos = "</s>",
              .accept_unigram = true,
              .two_models = true,
              .language_code = true},
    .describe = describe,
    .compute = compute,
    .facts = FACTS};
