/* Reading a config.json. */
#include "convert/config.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/options.h"

void pare_config_fail(PareConfig *c, PareStatus code, const char *format, ...) {
    if (c->status)
        return;
    char text[PARE_ERROR_MESSAGE_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    c->status = pare_error_set(c->err, code, "%s: %s", c->where, text);
}

bool pare_config_has(const PareConfig *c, const char *key) {
    return pare_json_get_set(c->object, key) != NULL;
}

uint32_t pare_config_u32(PareConfig *c, const char *key, const char *alias, uint32_t fallback) {
    int64_t value = fallback, other = fallback;
    if (c->status)
        return fallback;
    c->status = pare_json_get_int(c->object, key, 0, UINT32_MAX, &value, c->where, c->err);
    if (alias && !c->status)
        c->status = pare_json_get_int(c->object, alias, 0, UINT32_MAX, &other, c->where, c->err);
    if (c->status || !alias || !pare_config_has(c, alias))
        return (uint32_t)value;
    if (!pare_config_has(c, key))
        return (uint32_t)other;
    if (value != other)
        pare_config_fail(c, PARE_E_FORMAT,
                         "\"%s\" is %lld but \"%s\", which means the same, is %lld", key,
                         (long long)value, alias, (long long)other);
    return (uint32_t)value;
}

double pare_config_float(PareConfig *c, const char *key, double fallback) {
    double value = fallback;
    if (!c->status)
        c->status = pare_json_get_float(c->object, key, &value, c->where, c->err);
    return value;
}

bool pare_config_bool(PareConfig *c, const char *key, bool fallback) {
    bool value = fallback;
    if (!c->status)
        c->status = pare_json_get_bool(c->object, key, &value, c->where, c->err);
    return value;
}

const char *pare_config_string(PareConfig *c, const char *key, const char *fallback) {
    const char *value = fallback;
    if (!c->status)
        c->status = pare_json_get_string(c->object, key, &value, c->where, c->err);
    return value;
}

PareActivation pare_activation_of(PareConfig *c, const char *key, const char *name) {
    static const struct {
        const char *name;
        PareActivation act;
    } NAMES[] = {
        {"gelu", PARE_ACT_GELU},
        {"gelu_python", PARE_ACT_GELU},
        {"gelu_new", PARE_ACT_GELU_TANH},
        {"gelu_fast", PARE_ACT_GELU_TANH},
        {"gelu_pytorch_tanh", PARE_ACT_GELU_TANH},
        {"gelu_python_tanh", PARE_ACT_GELU_TANH},
        {"gelu_accurate", PARE_ACT_GELU_TANH},
        {"quick_gelu", PARE_ACT_GELU_QUICK},
        {"relu", PARE_ACT_RELU},
        {"silu", PARE_ACT_SILU},
        {"swish", PARE_ACT_SILU},
        {"tanh", PARE_ACT_TANH},
        {"sigmoid", PARE_ACT_SIGMOID},
        {"linear", PARE_ACT_IDENTITY},
    };
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++)
        if (strcmp(name, NAMES[i].name) == 0)
            return NAMES[i].act;
    pare_config_fail(c, PARE_E_UNSUPPORTED,
                     "\"%s\" names the activation \"%s\"; supported are gelu, gelu_new, gelu_fast, "
                     "gelu_pytorch_tanh, quick_gelu, relu, silu, swish, tanh, sigmoid and linear",
                     key, name);
    return PARE_ACT_IDENTITY;
}

PareActivation pare_config_activation(PareConfig *c, const char *key, const char *fallback) {
    const char *name = pare_config_string(c, key, fallback);
    return c->status ? PARE_ACT_IDENTITY : pare_activation_of(c, key, name);
}

/* Whether `text` is one of the words of `list`, which '|' separates. */
static bool in_list(const char *list, const char *text) {
    size_t size = strlen(text);
    for (const char *at = list;; at++) {
        size_t word = strcspn(at, "|");
        if (word == size && memcmp(at, text, size) == 0)
            return true;
        at += word;
        if (!*at)
            return false;
    }
}

PareStatus pare_config_set_layers(PareConfig *c, PareDescription *d, PareStackIndex stack,
                                  uint32_t layers, PareLayerShape shape) {
    if (!c->status && (c->status = pare_stack_set_layers(d, stack, layers, shape, c->err)))
        pare_error_prefix(c->err, "%s", c->where);
    return c->status;
}

void pare_config_neutral(PareConfig *c, const PareNeutral *table) {
    for (; table->key && !c->status; table++) {
        const PareJson *n = pare_json_get_set(c->object, table->key);
        if (!n)
            continue;
        char *text = pare_json_print(n);
        if (!text) {
            c->status = pare_memory_error(c->err, "a field of config.json");
            return;
        }
        if (!in_list(table->values, text))
            pare_config_fail(c, PARE_E_UNSUPPORTED,
                             "\"%s\" is %.200s, which is not supported; expected %s", table->key,
                             text, table->values);
        pare_free(text);
    }
}

static void prune_layer(PareConfig *c, const PareJson *list, uint32_t *heads) {
    uint32_t before = *heads, gone = 0;
    if (!pare_json_is_array(list)) {
        pare_config_fail(c, PARE_E_FORMAT, "\"pruned_heads\" must hold lists of heads");
        return;
    }
    for (const PareJson *h = pare_json_first(list); h; h = pare_json_next(h), gone++) {
        bool fits = pare_json_is_integer(h) && pare_json_integer(h) >= 0 &&
                    pare_json_integer(h) < (int64_t)before;
        for (const PareJson *o = pare_json_first(list); fits && o != h; o = pare_json_next(o))
            fits = pare_json_integer(o) != pare_json_integer(h);
        if (!fits)
            pare_config_fail(c, PARE_E_FORMAT,
                             "\"pruned_heads\" must hold different heads from 0 to %u", before - 1);
        if (c->status)
            return;
    }
    if (gone >= before)
        pare_config_fail(c, PARE_E_UNSUPPORTED,
                         "\"pruned_heads\" leaves layer %s no head, which is not supported",
                         pare_json_key(list));
    else
        *heads = before - gone;
}

void pare_config_pruned_heads(PareConfig *c, uint32_t *heads, uint32_t layers) {
    const PareJson *n = pare_json_get_set(c->object, "pruned_heads");
    if (c->status || !n)
        return;
    if (!pare_json_is_object(n)) {
        pare_config_fail(c, PARE_E_FORMAT, "\"pruned_heads\" must be an object");
        return;
    }
    for (const PareJson *l = pare_json_first(n); l && !c->status; l = pare_json_next(l)) {
        int64_t layer;
        if (!pare_parse_int(pare_json_key(l), &layer) || layer < 0 || layer >= (int64_t)layers)
            pare_config_fail(c, PARE_E_FORMAT, "\"pruned_heads\" names layer \"%s\" of %u layers",
                             pare_json_key(l), layers);
        else
            prune_layer(c, l, &heads[layer]);
    }
}

static void read_label(PareConfig *c, const PareJson *n, const char **names, uint32_t count) {
    int64_t index;
    if (!pare_parse_int(pare_json_key(n), &index) || index < 0 || index >= (int64_t)count ||
        names[index])
        pare_config_fail(c, PARE_E_FORMAT,
                         "\"id2label\" has the key \"%s\"; expected the numbers 0 to %u, once each",
                         pare_json_key(n), count - 1);
    else if (!pare_json_is_string(n))
        pare_config_fail(c, PARE_E_FORMAT, "\"id2label\" must hold names, and \"%s\" is none",
                         pare_json_key(n));
    else
        names[index] = pare_arena_strdup(c->arena, pare_json_string(n));
    if (!c->status && !names[index])
        c->status = pare_memory_error(c->err, "the labels");
}

/* transformers leaves both fields out when there are two labels without names; when both are there,
 * id2label decides. */
uint32_t pare_config_labels(PareConfig *c, const char ***names) {
    enum { DEFAULT_LABELS = 2, MAX_LABELS = 1 << 20 };
    const PareJson *n = pare_json_get_set(c->object, "id2label");
    uint32_t count = pare_config_u32(c, "num_labels", NULL, DEFAULT_LABELS);
    if (!c->status && n && !pare_json_is_object(n))
        pare_config_fail(c, PARE_E_FORMAT, "\"id2label\" must be an object");
    if (n && !c->status)
        count = (uint32_t)pare_json_size(n);
    if (!c->status && (count < 1 || count > MAX_LABELS))
        pare_config_fail(c, PARE_E_FORMAT, "%u labels; expected 1 to %d", count, MAX_LABELS);
    if (c->status)
        return DEFAULT_LABELS;
    *names = pare_arena_alloc(c->arena, count, sizeof **names);
    if (!*names) {
        c->status = pare_memory_error(c->err, "the labels");
        return count;
    }
    for (const PareJson *l = pare_json_first(n); l && !c->status; l = pare_json_next(l))
        read_label(c, l, *names, count);
    for (uint32_t i = 0; i < count && !n && !c->status; i++)
        if (!((*names)[i] = pare_arena_printf(c->arena, "LABEL_%u", i)))
            c->status = pare_memory_error(c->err, "the labels");
    return count;
}

/* Fields that change nothing about what a trained model computes, whatever the family. */
static const char *const HARMLESS[] = {
    "architectures", "model_type", "_name_or_path", "name_or_path", "transformers_version",
    "adapters", "adapter_fusion_models", "task_specific_params", "output_*", "return_dict*",
    "use_return_dict", "torch_dtype", "dtype", "use_cache", "id2label", "label2id", "_num_labels",
    "num_labels", "problem_type", "finetuning_task", "tokenizer_class", "prefix",
    "gradient_checkpointing", "chunk_size_feed_forward", "torchscript", "use_bfloat16",
    "tf_legacy_loss", "sep_token_id", "cls_token_id", "mask_token_id", "unk_token_id",
    "initializer_*", "init_std", "init_xavier_std", "*dropout*", "*_pdrop", "*layerdrop",
    "_attn_implementation*", "attn_implementation", "_commit_hash", "directionality", "summary_*",
    "num_hidden_layers", "keys_to_ignore_at_inference", "_from_model_config",
    /* judged when the generation settings are read */
    "do_sample", "num_beams", "num_beam_groups", "diversity_penalty", "max_length", "min_length",
    "max_new_tokens", "min_new_tokens", "length_penalty", "early_stopping", "no_repeat_ngram_size",
    "encoder_no_repeat_ngram_size", "encoder_repetition_penalty", "repetition_penalty",
    "bad_words_ids", "temperature", "top_k", "top_p", "top_h", "typical_p", "epsilon_cutoff",
    "eta_cutoff", "min_p", "penalty_alpha", "num_return_sequences", "remove_invalid_values",
    "exponential_decay_length_penalty", "suppress_tokens", "begin_suppress_tokens",
    "forced_decoder_ids", "renormalize_logits", "guidance_scale", "max_time", "stop_strings",
    "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "forced_bos_token_id",
    "forced_eos_token_id", "use_model_defaults",
    /* judged for the model as a whole */
    "tie_encoder_decoder", NULL};

static bool matches_any(const char *const *patterns, const char *name) {
    for (; patterns && *patterns; patterns++)
        if (pare_glob_match(*patterns, name))
            return true;
    return false;
}

void pare_config_unknown(const PareConfig *c, const char *const *known, const char *const *harmless,
                         const PareNeutral *neutral, PareBuffer *warnings) {
    for (const PareJson *n = pare_json_first(c->object); n; n = pare_json_next(n)) {
        const char *key = pare_json_key(n);
        bool judged =
            matches_any(known, key) || matches_any(harmless, key) || matches_any(HARMLESS, key);
        for (const PareNeutral *t = neutral; t->key && !judged; t++)
            judged = strcmp(t->key, key) == 0;
        if (judged || pare_json_is_null(n))
            continue;
        pare_buffer_printf(warnings, "%s: the field ", c->where);
        pare_buffer_put_json_string(warnings, key, strlen(key)); /* it may hold a line end */
        pare_buffer_puts(warnings, " is not known here and was not acted upon\n");
    }
}
