/* What the parts of the verify stage share. Only verify/verify*.c include this. */
#ifndef PARE_VERIFY_VERIFY_PARTS_H
#define PARE_VERIFY_VERIFY_PARTS_H

#include "core/threads.h"
#include "runtime/model.h"
#include "runtime/session.h"
#include "text/tokenizer.h"
#include "verify/verify.h"

enum { PARE_VERIFY_REFERENCE, PARE_VERIFY_CANDIDATE, PARE_VERIFY_MODELS };

/* One row of the data as the models read it; its memory is used again for later rows. */
typedef struct {
    size_t line;
    PareIds ids, types, decoder, targets;
    bool has_types;
    PareBuffer target;                      /* translation: the text that is wanted */
    PareBuffer outputs[PARE_VERIFY_MODELS]; /* and what the models say */
    uint32_t label;                         /* classification */
} PareVerifyRow;

typedef struct {
    const PareVerifyOptions *options;
    PareVerifyReport *report;
    PareModel *models[PARE_VERIFY_MODELS];
    PareSession *sessions[PARE_VERIFY_MODELS];
    PareTokenizer *tokenizer; /* NULL: the data must be token ids */
    PareDataset *data;
    ParePool *pool;
    size_t batch;
    PareVerifyRow *rows;     /* [batch] */
    PareSequence *sequences; /* [batch] */
    size_t columns;          /* of a row of logits: labels or vocabulary */
    float *kept;             /* the reference's logits of a part of a batch */
    size_t kept_capacity;    /* in values */
    float *block;            /* the candidate's, a few rows at a time */
    PareDrift drift;
} PareVerify;

/* -- verify_pair.c: both models on the same sequences -- */

/* Called for every row of logits in order; `sequence` counts within the call. */
typedef PareStatus (*PareVerifyEach)(void *context, size_t sequence, size_t row,
                                     const float *reference, const float *candidate,
                                     const PareDriftRow *drift, PareError *err);
/* Runs both models, adds to v->drift, and calls `each`. */
PareStatus pare_verify_compare(PareVerify *v, const PareSequence *sequences, size_t count,
                               PareVerifyEach each, void *context, PareError *err);

/* -- verify_inputs.c -- */

/* Reads up to v->batch rows; *count 0 at the end. Fills v->rows and v->sequences. */
PareStatus pare_verify_read_batch(PareVerify *v, size_t *count, PareError *err);
/* "FILE: line 3" */
const char *pare_verify_where(const PareVerify *v, size_t line, char *out, size_t size);
/* The most ids that both models read with this stack; 0: no limit. */
size_t pare_verify_positions(const PareVerify *v, bool decoder);

/* -- the tasks: everything from the first row to the scores -- */

PareStatus pare_verify_classification(PareVerify *v, PareError *err);
PareStatus pare_verify_translation(PareVerify *v, PareError *err);
PareStatus pare_verify_lm(PareVerify *v, PareError *err);

#endif
