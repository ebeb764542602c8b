/* Settings of text generation, with the names and meaning of transformers 5's generate(). */
#ifndef PARE_RUNTIME_GENERATION_H
#define PARE_RUNTIME_GENERATION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/error.h"
#include "core/json.h"
#include "core/memory.h"

typedef enum { PARE_STOP_EARLY_FALSE, PARE_STOP_EARLY_TRUE, PARE_STOP_EARLY_NEVER } PareEarlyStop;

typedef struct {
    const int32_t *ids;
    uint32_t count;
} PareIdList; /* owned by an arena */

typedef struct {
    uint32_t num_beams;      /* 1: greedy */
    uint32_t max_length;     /* with the prompt or the decoder's start token; 0: not set */
    uint32_t max_new_tokens; /* 0: not set; wins over max_length */
    uint32_t min_length;
    float length_penalty; /* score = sum log p / n^penalty */
    PareEarlyStop early_stopping;
    uint32_t no_repeat_ngram_size; /* 0: off */
    float repetition_penalty;      /* 1: off */
    PareIdList *bad_words;         /* sequences that must not be generated */
    uint32_t bad_word_count;
    PareIdList eos; /* any of these ends a hypothesis; empty: none */
    int32_t bos, pad, decoder_start, forced_bos, forced_eos; /* -1: not set */
    bool renormalize_logits;
} PareGeneration;

/* transformers' own defaults: greedy, no length set, penalty 1, nothing else. */
PareGeneration pare_generation_defaults(void);
/* Reads the members that are present of a config.json or generation_config.json object (both use
 * the same names) over what `g` holds. A setting that would change the result and that is not
 * implemented (do_sample true, num_beam_groups > 1, penalty_alpha, …) is refused by name. Lists are
 * allocated in `arena`. */
PareStatus pare_generation_read(PareGeneration *g, const PareJson *object, const char *where,
                                PareArena *arena, PareError *err);
/* The JSON object that generation_read reads back. */
void pare_generation_write(const PareGeneration *g, PareBuffer *out);
/* The longest text behind a prompt of `prompt` ids, prompt included: max_new_tokens, else
 * max_length, else 20 new ids as far as the decoder's `positions` (0: no limit) reach. */
size_t pare_generation_limit(const PareGeneration *g, size_t prompt, size_t positions);
PareStatus pare_generation_check(const PareGeneration *g, const char *where, PareError *err);

#endif
