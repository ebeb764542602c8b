/* Generation settings as checkpoints state them: read, refuse what is not implemented, write. */
#include "runtime/generation.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

PareGeneration pare_generation_defaults(void) {
    return (PareGeneration){.num_beams = 1,
                            .length_penalty = 1.0F,
                            .repetition_penalty = 1.0F,
                            .bos = -1,
                            .pad = -1,
                            .decoder_start = -1,
                            .forced_bos = -1,
                            .forced_eos = -1};
}

/* Settings that change the result and are not implemented, each with the value that does nothing.
 * Sampling parameters (temperature, top_k, …) do nothing unless do_sample is true. */
static const struct {
    const char *name;
    double neutral;
} REFUSED[] = {
    {"do_sample", 0},
    {"num_beam_groups", 1},
    {"diversity_penalty", 0},
    {"penalty_alpha", 0},
    {"min_new_tokens", 0},
    {"num_return_sequences", 1},
    {"max_time", 0},
    {"encoder_no_repeat_ngram_size", 0},
    {"encoder_repetition_penalty", 1},
    {"guidance_scale", 1},
    {"dola_layers", 0},
    {"prompt_lookup_num_tokens", 0},
    {"exponential_decay_length_penalty", 0},
    {"suppress_tokens", 0},
    {"begin_suppress_tokens", 0},
    {"forced_decoder_ids", 0},
    {"sequence_bias", 0},
    {"force_words_ids", 0},
    {"constraints", 0},
    {"stop_strings", 0},
    {"watermarking_config", 0},
    {"remove_invalid_values", 0},
};

static bool is_neutral(const PareJson *n, double neutral) {
    if (pare_json_is_null(n))
        return true;
    if (pare_json_is_bool(n))
        return (pare_json_true(n) ? 1.0 : 0.0) == neutral;
    if (pare_json_is_number(n))
        return pare_json_number(n) == neutral;
    return (pare_json_is_array(n) || pare_json_is_object(n)) && pare_json_size(n) == 0;
}

static PareStatus refuse_unimplemented(const PareJson *object, const char *where, PareError *err) {
    for (size_t i = 0; i < sizeof REFUSED / sizeof *REFUSED; i++) {
        const PareJson *n = pare_json_get(object, REFUSED[i].name);
        if (!n || is_neutral(n, REFUSED[i].neutral))
            continue;
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: the generation setting \"%s\" is set, which changes the result "
                              "and is not supported; remove it from the file",
                              where, REFUSED[i].name);
    }
    return PARE_OK;
}

static PareStatus read_u32(const PareJson *o, const char *key, int64_t min, uint32_t *out,
                           const char *where, PareError *err) {
    int64_t v = *out;
    PareStatus st = pare_json_get_int(o, key, min, INT32_MAX, &v, where, err);
    *out = (uint32_t)v;
    return st;
}

static PareStatus read_id(const PareJson *o, const char *key, int32_t *out, const char *where,
                          PareError *err) {
    int64_t v = *out;
    PareStatus st = pare_json_get_int(o, key, 0, INT32_MAX, &v, where, err);
    *out = (int32_t)v;
    return st;
}

static PareStatus read_float(const PareJson *o, const char *key, float *out, const char *where,
                             PareError *err) {
    double v = (double)*out;
    PareStatus st = pare_json_get_float(o, key, &v, where, err);
    *out = (float)v;
    return st;
}

/* One id or a list of ids. */
static PareStatus read_ids(const PareJson *n, const char *key, PareIdList *out, const char *where,
                           PareArena *arena, PareError *err) {
    bool list = pare_json_is_array(n);
    size_t count = list ? pare_json_size(n) : 1;
    int32_t *ids = pare_arena_alloc(arena, count, sizeof *ids);
    if (!ids || count > UINT32_MAX)
        return pare_memory_error(err, "generation settings");
    const PareJson *at = list ? pare_json_first(n) : n;
    for (size_t i = 0; i < count; i++, at = list ? pare_json_next(at) : NULL) {
        if (!pare_json_is_integer(at) || pare_json_integer(at) < 0 ||
            pare_json_integer(at) > INT32_MAX)
            return pare_error_set(err, PARE_E_FORMAT, "%s: \"%s\" must hold token ids", where, key);
        ids[i] = (int32_t)pare_json_integer(at);
    }
    *out = (PareIdList){ids, (uint32_t)count};
    return PARE_OK;
}

static PareStatus read_bad_words(PareGeneration *g, const PareJson *object, const char *where,
                                 PareArena *arena, PareError *err) {
    const PareJson *n = pare_json_get_set(object, "bad_words_ids");
    if (!n)
        return PARE_OK;
    if (!pare_json_is_array(n))
        return pare_error_set(err, PARE_E_FORMAT, "%s: \"bad_words_ids\" must be a list of lists",
                              where);
    size_t count = pare_json_size(n), i = 0;
    PareIdList *words = pare_arena_alloc(arena, count, sizeof *words);
    if (!words || count > UINT32_MAX)
        return pare_memory_error(err, "generation settings");
    for (const PareJson *w = pare_json_first(n); w; w = pare_json_next(w), i++) {
        if (!pare_json_is_array(w) || pare_json_size(w) == 0)
            return pare_error_set(err, PARE_E_FORMAT,
                                  "%s: \"bad_words_ids\" must be a list of non-empty lists", where);
        PareStatus st = read_ids(w, "bad_words_ids", &words[i], where, arena, err);
        if (st)
            return st;
    }
    g->bad_words = words;
    g->bad_word_count = (uint32_t)count;
    return PARE_OK;
}

static PareStatus read_early_stopping(PareGeneration *g, const PareJson *object, const char *where,
                                      PareError *err) {
    const PareJson *n = pare_json_get_set(object, "early_stopping");
    if (!n)
        return PARE_OK;
    if (pare_json_is_bool(n))
        g->early_stopping = pare_json_true(n) ? PARE_STOP_EARLY_TRUE : PARE_STOP_EARLY_FALSE;
    else if (pare_json_is_string(n) && strcmp(pare_json_string(n), "never") == 0)
        g->early_stopping = PARE_STOP_EARLY_NEVER;
    else
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: \"early_stopping\" must be true, false or \"never\"", where);
    return PARE_OK;
}

PareStatus pare_generation_read(PareGeneration *g, const PareJson *o, const char *where,
                                PareArena *arena, PareError *err) {
    PareStatus st = refuse_unimplemented(o, where, err);
    const struct {
        const char *key;
        int64_t min;
        uint32_t *out;
    } numbers[] = {{"num_beams", 1, &g->num_beams},
                   {"max_length", 1, &g->max_length},
                   {"max_new_tokens", 1, &g->max_new_tokens},
                   {"min_length", 0, &g->min_length},
                   {"no_repeat_ngram_size", 0, &g->no_repeat_ngram_size}};
    const struct {
        const char *key;
        int32_t *out;
    } ids[] = {{"bos_token_id", &g->bos},
               {"pad_token_id", &g->pad},
               {"decoder_start_token_id", &g->decoder_start},
               {"forced_bos_token_id", &g->forced_bos},
               {"forced_eos_token_id", &g->forced_eos}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers && !st; i++)
        st = read_u32(o, numbers[i].key, numbers[i].min, numbers[i].out, where, err);
    for (size_t i = 0; i < sizeof ids / sizeof *ids && !st; i++)
        st = read_id(o, ids[i].key, ids[i].out, where, err);
    if (!st)
        st = read_float(o, "length_penalty", &g->length_penalty, where, err);
    if (!st)
        st = read_float(o, "repetition_penalty", &g->repetition_penalty, where, err);
    if (!st)
        st = pare_json_get_bool(o, "renormalize_logits", &g->renormalize_logits, where, err);
    if (!st)
        st = read_early_stopping(g, o, where, err);
    const PareJson *eos = pare_json_get_set(o, "eos_token_id");
    if (!st && eos)
        st = read_ids(eos, "eos_token_id", &g->eos, where, arena, err);
    if (!st)
        st = read_bad_words(g, o, where, arena, err);
    return st ? st : pare_generation_check(g, where, err);
}

size_t pare_generation_limit(const PareGeneration *g, size_t prompt, size_t positions) {
    enum { UNSET = 20 };
    if (g->max_new_tokens)
        return prompt + g->max_new_tokens;
    if (g->max_length)
        return g->max_length;
    return positions && prompt + UNSET > positions ? positions : prompt + UNSET;
}

PareStatus pare_generation_check(const PareGeneration *g, const char *where, PareError *err) {
    if (g->num_beams < 1 || g->num_beams > 1024)
        return pare_error_set(err, PARE_E_UNSUPPORTED, "%s: num_beams is %u; expected 1 to 1024",
                              where, g->num_beams);
    if (!isfinite(g->repetition_penalty) || g->repetition_penalty <= 0)
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: repetition_penalty is %g; expected a positive number", where,
                              (double)g->repetition_penalty);
    if (!isfinite(g->length_penalty))
        return pare_error_set(err, PARE_E_FORMAT, "%s: length_penalty must be a finite number",
                              where);
    for (uint32_t i = 0; i < g->bad_word_count; i++)
        if (g->bad_words[i].count == 0)
            return pare_error_set(err, PARE_E_FORMAT, "%s: bad_words_ids holds an empty list",
                                  where);
    return PARE_OK;
}

static void write_id(PareBuffer *out, const char *key, int32_t id) {
    if (id >= 0)
        pare_buffer_printf(out, ",\"%s\":%d", key, id);
}

static void write_ids(PareBuffer *out, PareIdList list) {
    pare_buffer_putc(out, '[');
    for (uint32_t i = 0; i < list.count; i++)
        pare_buffer_printf(out, "%s%d", i ? "," : "", list.ids[i]);
    pare_buffer_putc(out, ']');
}

void pare_generation_write(const PareGeneration *g, PareBuffer *out) {
    static const char *const STOP[] = {"false", "true", "\"never\""};
    pare_buffer_printf(out, "{\"num_beams\":%u", g->num_beams);
    if (g->max_length)
        pare_buffer_printf(out, ",\"max_length\":%u", g->max_length);
    if (g->max_new_tokens)
        pare_buffer_printf(out, ",\"max_new_tokens\":%u", g->max_new_tokens);
    pare_buffer_printf(out, ",\"min_length\":%u,\"length_penalty\":", g->min_length);
    pare_buffer_put_json_float(out, g->length_penalty);
    pare_buffer_printf(out, ",\"early_stopping\":%s,\"no_repeat_ngram_size\":%u",
                       STOP[g->early_stopping], g->no_repeat_ngram_size);
    pare_buffer_puts(out, ",\"repetition_penalty\":");
    pare_buffer_put_json_float(out, g->repetition_penalty);
    pare_buffer_printf(out, ",\"renormalize_logits\":%s", g->renormalize_logits ? "true" : "false");
    if (g->bad_word_count) {
        pare_buffer_puts(out, ",\"bad_words_ids\":[");
        for (uint32_t i = 0; i < g->bad_word_count; i++) {
            pare_buffer_puts(out, i ? "," : "");
            write_ids(out, g->bad_words[i]);
        }
        pare_buffer_putc(out, ']');
    }
    if (g->eos.count) {
        pare_buffer_puts(out, ",\"eos_token_id\":");
        write_ids(out, g->eos);
    }
    write_id(out, "bos_token_id", g->bos);
    write_id(out, "pad_token_id", g->pad);
    write_id(out, "decoder_start_token_id", g->decoder_start);
    write_id(out, "forced_bos_token_id", g->forced_bos);
    write_id(out, "forced_eos_token_id", g->forced_eos);
    pare_buffer_putc(out, '}');
}
