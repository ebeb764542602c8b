/* Rules of names, read in either direction, and what all families have in common. */
#include "convert/family.h"

#include <stdio.h>
#include <string.h>

/* What the wild cards of a pattern matched: the number of the layer and "weight" or "bias". */
typedef struct {
    const char *layer, *word;
    int layer_size, word_size;
} Capture;

static bool match_digits(const char **at, Capture *c) {
    const char *from = *at;
    while (**at >= '0' && **at <= '9')
        ++*at;
    c->layer = from;
    c->layer_size = (int)(*at - from);
    return c->layer_size == 1 || (c->layer_size > 1 && c->layer_size <= 5 && *from != '0');
}

static bool match_word(const char **at, Capture *c) {
    static const char *const WORDS[] = {"weight", "bias"};
    for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++) {
        size_t size = strlen(WORDS[i]);
        if (strncmp(*at, WORDS[i], size) != 0)
            continue;
        c->word = *at;
        c->word_size = (int)size;
        *at += size;
        return true;
    }
    return false;
}

static bool match(const char *pattern, const char *name, Capture *c) {
    for (; *pattern; pattern++) {
        if (*pattern == '%' || *pattern == '*') {
            if (!(*pattern == '%' ? match_digits(&name, c) : match_word(&name, c)))
                return false;
        } else if (*pattern != *name++) {
            return false;
        }
    }
    return *name == 0;
}

bool pare_pattern_rewrite(const char *from, const char *to, const char *name, char *out,
                          size_t size) {
    Capture c = {0};
    size_t used = 0;
    if (!match(from, name, &c))
        return false;
    for (; *to; to++) {
        const char *piece = *to == '%' ? c.layer : *to == '*' ? c.word : to;
        int length = *to == '%' ? c.layer_size : *to == '*' ? c.word_size : 1;
        if (!piece || used + (size_t)length >= size)
            return false;
        memcpy(out + used, piece, (size_t)length);
        used += (size_t)length;
    }
    out[used] = 0;
    return true;
}

bool pare_rule_applies(const PareRule *rule, const PareFamilyModel *model) {
    const PareDescription *d = &model->description;
    bool gated = d->stacks[pare_description_top(d)].gated;
    if (rule->flags & (gated ? PARE_RULE_PLAIN : PARE_RULE_GATED))
        return false;
    return rule->heads == 0 || (rule->heads & PARE_FOR(d->head.kind)) != 0;
}

bool pare_rule_tensor_name(const PareFamily *family, const PareRule *rule, const char *slot,
                           bool prefixed, char *out, size_t size) {
    size_t prefix = prefixed && !(rule->flags & PARE_RULE_OUTER) ? strlen(family->prefix) : 0;
    if (prefix >= size)
        return false;
    memcpy(out, family->prefix, prefix);
    return pare_pattern_rewrite(rule->slot, rule->tensor, slot, out + prefix, size - prefix);
}

const PareTie *pare_family_tie(const PareFamilyModel *model, const char *slot, bool *active) {
    for (const PareTie *t = model->family->ties; t->slot; t++) {
        Capture c = {0};
        if (!match(t->slot, slot, &c) || strcmp(t->target, slot) == 0)
            continue;
        *active = t->when == PARE_TIE_ALWAYS ||
                  (t->when == PARE_TIE_OUTPUT && model->tied_output) ||
                  (t->when == PARE_TIE_STACKS && model->shared_stacks) ||
                  (t->when == PARE_TIE_LAYERS && model->shared_layers);
        return t;
    }
    return NULL;
}

bool pare_tie_target(const PareTie *tie, const char *slot, char *out, size_t size) {
    return pare_pattern_rewrite(tie->slot, tie->target, slot, out, size);
}

const PareFamily *pare_family_find(const char *model_type) {
    const PareFamily *f;
    for (size_t i = 0; (f = pare_family_at(i)); i++)
        if (strcmp(f->model_type, model_type) == 0)
            return f;
    return NULL;
}

static PareStatus find_architecture(PareConfig *c, PareFamilyModel *m) {
    char known[512] = "";
    size_t used = 0;
    for (const PareArchitecture *a = m->family->architectures; a->name; a++)
        used +=
            (size_t)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", a->name);
    const PareJson *list = pare_json_get_set(c->object, "architectures");
    const PareJson *first = pare_json_at(list, 0);
    if (!first || !pare_json_is_string(first) || pare_json_size(list) != 1) {
        pare_config_fail(c, PARE_E_FORMAT, "\"architectures\" must name one class; known are %s",
                         known);
        return c->status;
    }
    for (const PareArchitecture *a = m->family->architectures; a->name; a++)
        if (strcmp(a->name, pare_json_string(first)) == 0)
            m->architecture = a;
    if (!m->architecture)
        pare_config_fail(c, PARE_E_UNSUPPORTED,
                         "\"architectures\" is %.100s, which is not supported; known are %s",
                         pare_json_string(first), known);
    return c->status;
}

/* A default that applies when the field is absent; an explicit null means none. */
static void default_id(const PareConfig *c, const char *key, int32_t *id, int32_t fallback) {
    if (!pare_json_get(c->object, key))
        *id = fallback;
}

static PareStatus default_generation(PareConfig *c, PareFamilyModel *m) {
    const PareIdDefaults *ids = &m->family->ids;
    PareGeneration *g = &m->generation;
    *g = pare_generation_defaults();
    default_id(c, "bos_token_id", &g->bos, ids->bos);
    default_id(c, "pad_token_id", &g->pad, ids->pad);
    default_id(c, "decoder_start_token_id", &g->decoder_start, ids->decoder_start);
    default_id(c, "forced_eos_token_id", &g->forced_eos, ids->forced_eos);
    if (!pare_json_get(c->object, "eos_token_id") && ids->eos >= 0) {
        int32_t *eos = pare_arena_alloc(c->arena, 1, sizeof *eos);
        if (!eos)
            return pare_memory_error(c->err, "generation settings");
        *eos = ids->eos;
        g->eos = (PareIdList){eos, 1};
    }
    if (m->architecture->head != PARE_HEAD_LM)
        return PARE_OK;
    return pare_generation_read(g, c->object, c->where, c->arena, c->err);
}

/* Whether encoder and decoder may have their layers in common. */
static bool shares_layers(const PareFamily *f) {
    for (const PareTie *t = f->ties; t->slot; t++)
        if (t->when == PARE_TIE_LAYERS)
            return true;
    return false;
}

PareStatus pare_family_describe(PareConfig *c, PareFamilyModel *m) {
    static const PareNeutral COMMON[] = {{"quantization_config", "null"},
                                         {"auto_map", "null"},
                                         {"cross_attention_hidden_size", "null"},
                                         {NULL, NULL}};
    static const PareNeutral NOT_SHARED[] = {{"tie_encoder_decoder", "false"}, {NULL, NULL}};
    m->description.arena = c->arena;
    m->hints = m->family->hints;
    c->status = find_architecture(c, m);
    pare_config_neutral(c, COMMON);
    pare_config_neutral(c, m->family->neutral);
    if (!shares_layers(m->family))
        pare_config_neutral(c, NOT_SHARED);
    if (c->status)
        return c->status;
    m->description.head = (PareOutputHead){.kind = m->architecture->head, .scale = 1.0F};
    c->status = default_generation(c, m);
    if (!c->status)
        c->status = m->family->describe(c, m);
    return c->status ? c->status : pare_description_check(&m->description, c->where, c->err);
}
