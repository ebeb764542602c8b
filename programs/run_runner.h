/* pare-run's loop: opens what a command needs, reads inputs batch by batch, and lets the command
 * append its results, in input order. Memory is that of one batch, however long the input. */
#ifndef PARE_PROGRAMS_RUN_RUNNER_H
#define PARE_PROGRAMS_RUN_RUNNER_H

#include "core/error.h"
#include "core/memory.h"
#include "programs/cli_inputs.h"
#include "programs/cli_model.h"
#include "programs/run_options.h"
#include "programs/run_output.h"
#include "runtime/session.h"
#include "text/tokenizer.h"

typedef struct {
    const PareRunOptions *options;
    PareArena *arena; /* released behind every batch */
    PareModel *model;
    const PareDescription *description;
    PareGeneration generation;
    PareTokenizer *tokenizer; /* NULL when the file has none */
    PareSession *session;     /* NULL for commands that run nothing */
    PareInputs *inputs;
    PareInput *batch; /* [capacity], the first `count` are this batch's */
    PareSequence *sequences;
    size_t count, capacity;
    PareRunOutput output;
} PareRunner;

/* What a command is made of. */
typedef struct {
    PareInputWant want;
    bool session;                                       /* whether it runs the model */
    PareStatus (*check)(PareRunner *r, PareError *err); /* that the model can do it; may be NULL */
    /* What is to be refused about one input that the model could read; may be NULL. */
    PareStatus (*check_input)(const PareRunner *r, const PareInput *in, const char *where,
                              PareError *err);
    PareStatus (*run)(PareRunner *r, PareError *err); /* appends the batch's results */
} PareRunAction;

extern const PareRunAction PARE_RUN_ACTION_CLASSIFY, PARE_RUN_ACTION_GENERATE,
    PARE_RUN_ACTION_SCORE, PARE_RUN_ACTION_LOGITS, PARE_RUN_ACTION_TOKENIZE;

PareStatus pare_runner_run(const PareRunOptions *options, PareError *err);

/* -- for the actions -- */

/* "FILE: line 3" of the batch's input `i`. */
const char *pare_runner_where(const PareRunner *r, size_t i, char *out, size_t size);
/* A token as people read it: its piece, or the id's digits where there is none; kept in `digits` or
 * borrowed from the tokenizer. */
const char *pare_runner_piece(const PareRunner *r, int32_t id, char digits[16]);
void pare_runner_put_pieces(PareRunner *r, const int32_t *ids, size_t count); /* a JSON list */
/* Appends the text of `ids` without special tokens; ids that the tokenizer does not know are left
 * out, as they stand for padding of the vocabulary. */
PareStatus pare_runner_decode(PareRunner *r, const int32_t *ids, size_t count, PareBuffer *out,
                              PareError *err);

#endif
