/* From a line of input to what a session reads: rows of a data set or lines of token ids,
 * tokenized, cut where that is asked for, and with what the decoder reads beside it. Streams: an
 * input's memory is used again for the next one. Which inputs are too long or outside the
 * vocabulary is told by pare_session_check, whose message begins with pare_inputs_where. */
#ifndef PARE_PROGRAMS_CLI_INPUTS_H
#define PARE_PROGRAMS_CLI_INPUTS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "runtime/model.h"
#include "runtime/session.h"
#include "text/dataset.h"
#include "text/tokenizer.h"

/* What is wanted beside the ids that the first stack reads. */
typedef enum {
    PARE_WANT_IDS,     /* nothing */
    PARE_WANT_DECODER, /* an encoder-decoder's decoder ids, from a target where they are not given
                        */
    PARE_WANT_TARGETS  /* also what the decoder should have predicted at each of its positions */
} PareInputWant;

typedef struct {
    const char *path; /* "-": standard input */
    bool ids;         /* JSON lines of token ids instead of text */
    bool truncate;
    PareDataOptions data; /* of text */
    PareInputWant want;
    size_t first_limit;    /* truncation of what the first stack reads; 0: none */
    size_t decoder_limit;  /* and of what an encoder-decoder's decoder reads; 0: none */
    int32_t decoder_start; /* -1: not set */
    int32_t pad;           /* what the decoder reads for a label of -100; -1: not set */
} PareInputOptions;

/* One input. `ids` and so on own what `sequence` borrows. */
typedef struct {
    size_t line;
    PareIds ids, types, decoder;
    PareIds targets; /* one for each position of the top stack; below 0: not counted */
    bool has_types, has_decoder, has_targets;
    PareSequence sequence;
} PareInput;

void pare_input_free(PareInput *in);

typedef struct PareInputs PareInputs;

/* `tokenizer` may be NULL when the input is token ids; both must outlive the object. */
PareStatus pare_inputs_open(const PareInputOptions *options, const PareModel *model,
                            const PareTokenizer *tokenizer, PareInputs **out, PareError *err);
/* Another model that reads the rows of `leader`, which must outlive it: for pare_inputs_encode. */
PareStatus pare_inputs_follow(PareInputs *leader, const PareInputOptions *options,
                              const PareModel *model, const PareTokenizer *tokenizer,
                              PareInputs **out, PareError *err);
/* The next input into `in`, whose memory is used again; *end at the end of the input. */
PareStatus pare_inputs_next(PareInputs *p, PareInput *in, bool *end, PareError *err);
/* Its two steps, where several models read the same rows: on to the next row, and that row as the
 * model of `p` reads it. */
PareStatus pare_inputs_step(PareInputs *leader, bool *end, PareError *err);
PareStatus pare_inputs_encode(PareInputs *p, PareInput *in, PareError *err);
/* "FILE: line 3" into `out`; returns `out`. */
const char *pare_inputs_where(const PareInputs *p, const PareInput *in, char *out, size_t size);
/* A session counts the inputs of a call ("input 2: …"), people count lines. Takes the number off
 * the message and returns it, from 1 to `count`; 0 where the message does not begin so. */
size_t pare_inputs_take_number(PareError *err, size_t count);
/* How many inputs were cut. */
size_t pare_inputs_cut(const PareInputs *p);
void pare_inputs_close(PareInputs *p); /* NULL is allowed */

/* The longest sequence that a stack's position table serves; 0: no limit. */
size_t pare_inputs_positions(const PareDescription *d, PareStackIndex stack);
/* The stack that reads the input: the encoder where there is one. */
PareStackIndex pare_inputs_first_stack(const PareDescription *d);
bool pare_inputs_is_pair_of_stacks(const PareDescription *d); /* an encoder and a decoder */

#endif
