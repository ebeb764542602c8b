/* Generation settings from the command line. */
#include <stdint.h>
#include <string.h>

#include "core/json.h"
#include "programs/run_options.h"

static bool is_none(const char *text) {
    return strcmp(text, "none") == 0;
}

/* "--NAME": an id of the vocabulary, or none. */
static PareStatus parse_id(const char *option, const char *text, uint32_t vocabulary, int32_t *out,
                           PareError *err) {
    int64_t id = -1;
    if (!is_none(text) && (!pare_parse_int(text, &id) || id < 0 || id >= vocabulary))
        return pare_error_set(err, PARE_E_USAGE,
                              "%s '%s': expected a token id from 0 to %u, or none", option, text,
                              vocabulary - 1);
    *out = (int32_t)id;
    return PARE_OK;
}

static PareStatus check_ids(const char *option, PareIdList list, uint32_t vocabulary,
                            PareError *err) {
    for (uint32_t i = 0; i < list.count; i++)
        if ((uint32_t)list.ids[i] >= vocabulary)
            return pare_error_set(err, PARE_E_USAGE, "%s: %d is not a token id; expected 0 to %u",
                                  option, list.ids[i], vocabulary - 1);
    return PARE_OK;
}

/* Reads `text` as the JSON value of the generation setting `key`. It must be JSON by itself before
 * it is put between braces. */
static PareStatus read_setting(const char *option, const char *key, const char *text,
                               PareArena *arena, PareGeneration *g, PareError *err) {
    PareJsonDoc *alone = NULL, *object = NULL;
    PareBuffer braced = {0};
    PareStatus st = pare_json_parse(text, strlen(text), option, &alone, err);
    pare_buffer_printf(&braced, "{\"%s\":%s}", key, text);
    if (!st)
        st = pare_buffer_ok(&braced, "an option", err);
    if (!st)
        st = pare_json_parse(braced.data, braced.size, option, &object, err);
    if (!st)
        st = pare_generation_read(g, pare_json_root(object), option, arena, err);
    if (st && st != PARE_E_MEMORY && err)
        st = err->code = PARE_E_USAGE;
    pare_json_free(alone);
    pare_json_free(object);
    pare_buffer_free(&braced);
    return st;
}

static PareStatus parse_eos(const char *text, uint32_t vocabulary, PareArena *arena,
                            PareGeneration *g, PareError *err) {
    g->eos = (PareIdList){0};
    if (is_none(text))
        return PARE_OK;
    PareStatus st = read_setting("--eos-token-id", "eos_token_id", text, arena, g, err);
    return st ? st : check_ids("--eos-token-id", g->eos, vocabulary, err);
}

static PareStatus parse_bad_words(const char *text, uint32_t vocabulary, PareArena *arena,
                                  PareGeneration *g, PareError *err) {
    g->bad_words = NULL;
    g->bad_word_count = 0;
    if (is_none(text))
        return PARE_OK;
    PareStatus st = read_setting("--bad-words-ids", "bad_words_ids", text, arena, g, err);
    for (uint32_t i = 0; i < g->bad_word_count && !st; i++)
        st = check_ids("--bad-words-ids", g->bad_words[i], vocabulary, err);
    return st;
}

static void set_numbers(const PareRunOptions *o, PareGeneration *g) {
    if (o->given.num_beams)
        g->num_beams = (uint32_t)o->num_beams;
    if (o->given.max_length) {
        g->max_length = (uint32_t)o->max_length;
        g->max_new_tokens = 0; /* the file's would win over it */
    }
    if (o->given.max_new_tokens)
        g->max_new_tokens = (uint32_t)o->max_new_tokens;
    if (o->given.min_length)
        g->min_length = (uint32_t)o->min_length;
    if (o->given.no_repeat_ngram_size)
        g->no_repeat_ngram_size = (uint32_t)o->no_repeat_ngram_size;
    if (o->given.length_penalty)
        g->length_penalty = (float)o->length_penalty;
    if (o->given.repetition_penalty)
        g->repetition_penalty = (float)o->repetition_penalty;
    if (o->given.early_stopping)
        g->early_stopping = (PareEarlyStop)o->early_stopping;
}

PareStatus pare_run_options_generation(const PareRunOptions *o, const PareDescription *d,
                                       PareArena *arena, PareGeneration *g, PareError *err) {
    const PareStack *top = &d->stacks[pare_description_top(d)];
    const struct {
        const char *option, *text;
        int32_t *out;
    } ids[] = {{"--forced-bos-token-id", o->forced_bos, &g->forced_bos},
               {"--forced-eos-token-id", o->forced_eos, &g->forced_eos},
               {"--decoder-start-token-id", o->decoder_start, &g->decoder_start},
               {"--pad-token-id", o->pad, &g->pad}};
    PareStatus st = PARE_OK;
    set_numbers(o, g);
    for (size_t i = 0; i < sizeof ids / sizeof *ids && !st; i++)
        if (ids[i].text)
            st = parse_id(ids[i].option, ids[i].text, top->vocabulary, ids[i].out, err);
    if (!st && o->eos)
        st = parse_eos(o->eos, top->vocabulary, arena, g, err);
    if (!st && o->bad_words)
        st = parse_bad_words(o->bad_words, top->vocabulary, arena, g, err);
    return st ? st : pare_generation_check(g, "generation settings", err);
}
