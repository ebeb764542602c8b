/* What pare-bench measures: models side by side, each with the same inputs in its own token ids. */
#ifndef PARE_PROGRAMS_BENCH_MODELS_H
#define PARE_PROGRAMS_BENCH_MODELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/options.h"
#include "programs/cli_inputs.h"
#include "programs/cli_main.h"
#include "runtime/generation.h"
#include "runtime/session.h"
#include "text/tokenizer.h"

typedef enum { PARE_BENCH_AUTO, PARE_BENCH_FORWARD, PARE_BENCH_GENERATE } PareBenchTask;

/* The options as they were given. */
typedef struct {
    PareCliCommon common;
    const char *data, *columns; /* data NULL: random token ids */
    int task, format;           /* PareBenchTask, PareDataFormat */
    int64_t limit, length, inputs, batch_size, runs;
    int64_t num_beams, max_length, max_new_tokens;
    bool ids, truncate, json;
    struct {
        bool format, length, inputs, num_beams, max_length, max_new_tokens;
    } given;
} PareBenchOptions;

/* Seconds of one pass over all inputs, mean of the run's passes. */
typedef struct {
    size_t passes;
    double clock, processor;
} PareBenchRun;

typedef struct {
    const char *path;
    PareModel *model;
    const PareDescription *description;
    PareGeneration generation;
    PareTokenizer *tokenizer; /* NULL for token ids */
    PareSession *session;
    PareInputs *reader; /* NULL for random token ids */
    PareInput *inputs;  /* [input_count], with room for more */
    size_t capacity;
    PareSequence *sequences; /* [input_count]: what the inputs own */
    PareGenerated *results;  /* [batch]: of the latest batch */
    uint64_t input_tokens;   /* of a pass */
    uint64_t generated;      /* tokens of the latest pass */
    PareBenchRun *runs;      /* [options->runs] */
} PareBenchModel;

typedef struct {
    const PareBenchOptions *options;
    PareBenchTask task; /* never AUTO */
    PareBenchModel *models;
    size_t model_count, input_count;
} PareBench;

/* Opens the models, finds the task, and reads all inputs. `paths` are borrowed. */
PareStatus pare_bench_open(PareBench *b, const PareBenchOptions *options, PareStringList paths,
                           PareError *err);
void pare_bench_close(PareBench *b); /* also after a failed open */

/* -- bench_inputs.c -- */

/* Fills every model's inputs from the data, or with random ids. The models are open. */
PareStatus pare_bench_read_inputs(PareBench *b, PareError *err);

#endif
