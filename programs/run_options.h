/* pare-run's options: what each command takes, and the generation settings that they change. */
#ifndef PARE_PROGRAMS_RUN_OPTIONS_H
#define PARE_PROGRAMS_RUN_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/memory.h"
#include "core/options.h"
#include "programs/cli_main.h"
#include "runtime/description.h"
#include "runtime/generation.h"

/* Bits, so that a set of commands is a number. */
typedef enum {
    PARE_RUN_CLASSIFY = 1,
    PARE_RUN_GENERATE = 2,
    PARE_RUN_SCORE = 4,
    PARE_RUN_LOGITS = 8,
    PARE_RUN_TOKENIZE = 16,
    PARE_RUN_SELF_TEST = 32
} PareRunCommand;

enum { PARE_RUN_FORMAT_TEXT, PARE_RUN_FORMAT_TSV, PARE_RUN_FORMAT_JSONL, PARE_RUN_FORMAT_AUTO };

/* The options as they were given. Ids and lists stay text until the model is known. */
typedef struct {
    PareRunCommand command;
    const char *model;
    PareCliCommon common;
    bool self_test, json, ids, truncate, force;
    const char *input, *output, *columns;
    int format; /* PARE_RUN_FORMAT_… */
    int64_t batch_size, limit;
    int64_t num_beams, max_length, max_new_tokens, min_length, no_repeat_ngram_size;
    double length_penalty, repetition_penalty;
    int early_stopping;
    const char *bad_words, *eos, *forced_bos, *forced_eos, *decoder_start, *pad;
    struct {
        bool self_test, json, input, ids, format, columns, truncate, limit, output, force, batch;
        bool num_beams, max_length, max_new_tokens, min_length, no_repeat_ngram_size;
        bool length_penalty, repetition_penalty, early_stopping, bad_words, eos, forced_bos;
        bool forced_eos, decoder_start, pad;
    } given;
} PareRunOptions;

/* Defaults. */
PareRunOptions pare_run_options(void);
/* Parses the command line; *next as pare_options_parse gives it. What the options point to is
 * borrowed from argv. */
PareStatus pare_run_options_parse(PareRunOptions *o, int argc, char **argv, PareOptionsNext *next,
                                  PareError *err);
/* Changes `g`, the model's defaults, by what was given; lists are allocated in `arena`. */
PareStatus pare_run_options_generation(const PareRunOptions *o, const PareDescription *d,
                                       PareArena *arena, PareGeneration *g, PareError *err);

#endif
