/* BART (Lewis et al. 2019): an encoder-decoder with norms behind the sublayers and behind the
 * embeddings; learned positions whose table has two unused rows in front. */
#include "convert/families/bart_common.h"
#include "convert/families/families.h"

static const PareArchitecture ARCHITECTURES[] = {{"BartForConditionalGeneration", PARE_HEAD_LM},
                                                 {NULL, PARE_HEAD_NONE}};

static const char *const FIELDS[] = {PARE_BART_FIELDS, "force_bos_token_to_be_generated", NULL};

/* Left by the programs that distilled some checkpoints. */
static const char *const HARMLESS[] = {"student_*", "replacing_rate", "save_step", NULL};

/* Written by old versions, which once shared this class with other families. */
static const PareNeutral NEUTRAL[] = {{"is_encoder_decoder", "true"},
                                      {"is_decoder", "false"},
                                      {"normalize_before", "false"},
                                      {"normalize_embedding", "true"},
                                      {"add_final_layer_norm", "false"},
                                      {"static_position_embeddings", "false"},
                                      {"extra_pos_embeddings", "2"},
                                      {"add_bias_logits", "false"},
                                      {"do_blenderbot_90_layernorm", "false"},
                                      {"pruned_heads", "{}"},
                                      {NULL, NULL}};

static const PareRule RULES[] = {
    PARE_BART_EMBEDDING_RULES,
    {.slot = "encoder.embed.positions", .tensor = "encoder.embed_positions.weight"},
    {.slot = "encoder.embed.norm.*", .tensor = "encoder.layernorm_embedding.*"},
    {.slot = "decoder.embed.positions", .tensor = "decoder.embed_positions.weight"},
    {.slot = "decoder.embed.norm.*", .tensor = "decoder.layernorm_embedding.*"},
    PARE_BART_LAYER_RULES,
    {0}};

static const char *const IGNORED[] = {"encoder.version", "decoder.version", NULL};

static PareStatus describe(PareConfig *c, PareFamilyModel *m) {
    static const PareBartDefaults DEFAULTS = {50265, 1024, 12, 16, 4096, 1024, "gelu"};
    PareStatus st = pare_bart_describe(c, m, &DEFAULTS);
    for (int s = 0; s < PARE_STACKS; s++) {
        m->description.stacks[s].embedding_norm = true;
        m->description.stacks[s].position_offset = 2;
    }
    /* The name that "forced_bos_token_id" had before 4.3 of transformers. */
    if (pare_config_bool(c, "force_bos_token_to_be_generated", false) &&
        m->generation.forced_bos < 0)
        m->generation.forced_bos = m->generation.bos;
    return st ? st : c->status;
}

static const PareFact FACTS[] = {PARE_BART_FACTS, {0}};

const PareFamily pare_family_bart = {
    .model_type = "bart",
    .title = "BART",
    .prefix = "model.",
    .architectures = ARCHITECTURES,
    .fields = FIELDS,
    .harmless = HARMLESS,
    .neutral = NEUTRAL,
    .rules = RULES,
    .ties = pare_bart_ties,
    .ignored = IGNORED,
    .ids = {.bos = 0, .eos = 2, .pad = 1, .decoder_start = 2, .forced_eos = 2},
    .fixed_padding = true,
    .hints = {.single = "<s> $A </s>",
              .pair = "<s> $A </s> </s> $B </s>",
              .unknown = "<unk>",
              .pad = "<pad>",
              .bos = "<s>",
              .eos = "</s>",
              .cls = "<s>",
              .sep = "</s>",
              .mask = "<mask>",
              .accept_bpe = true},
    .describe = describe,
    .facts = FACTS};
