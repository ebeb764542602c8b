/* What the parts of the verify stage share. Only verify/verify*.c include this. */
#ifndef PARE_VERIFY_VERIFY_PARTS_H
#define PARE_VERIFY_VERIFY_PARTS_H

#include "core/threads.h"
#include "runtime/model.h"
#include "runtime/session.h"
#include "text/tokenizer.h"
#include "verify/verify.h"

enum { PARE_VERIFY_REFERENCE, PARE_VERIFY_CANDIDATE, PARE_VERIFY_MODELS };

/* One row of the data as token ids. */
typedef struct {
    PareIds ids, types, decoder, targets;
    bool has_types;
} PareVerifyInput;

/* One row of the data as the models read it; its memory is used again for later rows. */
typedef struct {
    size_t line;
    PareVerifyInput inputs[PARE_VERIFY_MODELS]; /* the candidate's only where tokens differ */
    bool apart;                                 /* the target is cut into different tokens */
    PareBuffer target;                          /* translation: the text that is wanted */
    PareBuffer outputs[PARE_VERIFY_MODELS];     /* and what the models say */
    uint32_t label;                             /* classification */
} PareVerifyRow;

/* Which tokens of two vocabularies are the same. All empty when the vocabularies do not differ. */
typedef struct {
    bool differ;
    size_t sizes[PARE_VERIFY_MODELS];     /* ids that have an entry in `other` */
    int32_t *other[PARE_VERIFY_MODELS];   /* by id: the other model's id of that token, or -1 */
    size_t shared;                        /* tokens that both have */
    uint32_t *places[PARE_VERIFY_MODELS]; /* [shared]: where they are in a row of logits */
} PareVerifyTokens;

typedef struct {
    const PareVerifyOptions *options;
    PareVerifyReport *report;
    PareModel *models[PARE_VERIFY_MODELS];
    PareSession *sessions[PARE_VERIFY_MODELS];
    PareTokenizer *tokenizers[PARE_VERIFY_MODELS]; /* NULL: none; the candidate's only where they
                                                      differ: pare_verify_reader */
    PareVerifyTokens tokens;
    PareDataset *data;
    ParePool *pool;
    size_t batch;
    PareVerifyRow *rows;                         /* [batch] */
    PareSequence *sequences[PARE_VERIFY_MODELS]; /* [batch]; by reader */
    size_t columns[PARE_VERIFY_MODELS];          /* of a row of logits: labels or vocabulary */
    bool by_place;                               /* the same column is the same thing in both */
    float *kept;                                 /* the reference's logits of a part of a batch */
    size_t kept_capacity;                        /* in values */
    float *block;                                /* the candidate's, a few rows at a time */
    float *gathered;                             /* the shared columns of both, of as many rows */
    PareDrift drift;
} PareVerify;

/* Whose tokenizer, inputs and sequences a model uses: its own, or the reference's where the
 * vocabularies do not differ. */
static inline int pare_verify_reader(const PareVerify *v, int model) {
    return v->tokens.differ ? model : PARE_VERIFY_REFERENCE;
}

static inline PareVerifyScores *pare_verify_scores(PareVerify *v, int model) {
    return model == PARE_VERIFY_REFERENCE ? &v->report->reference : &v->report->candidate;
}

/* -- verify_tokens.c: two vocabularies -- */

/* Loads the tokenizers, and finds the tokens that both models have. Refuses vocabularies that
 * differ where no tokenizer says what their ids mean. */
PareStatus pare_verify_match_tokens(PareVerify *v, PareError *err);
void pare_verify_free_tokens(PareVerify *v);
/* Whether ids of the reference and of the candidate are the same tokens. */
bool pare_verify_same_tokens(const PareVerify *v, const PareIds *reference,
                             const PareIds *candidate);
/* Appends the candidate's ids for ids of the reference; refuses tokens that it lacks. */
PareStatus pare_verify_translate_ids(const PareVerify *v, const int32_t *ids, size_t count,
                                     PareIds *out, PareError *err);

/* -- verify_pair.c: both models on the same data -- */

/* Where a row of logits belongs. */
typedef struct {
    size_t sequence, row; /* `row` counts within the sequence */
} PareVerifyPlace;

/* One row of one model. */
typedef struct {
    const float *logits;
    double log_sum; /* log(sum(e^x)) of all of them */
} PareVerifyLogits;

typedef PareStatus (*PareVerifyEach)(void *context, PareVerifyPlace place,
                                     const PareVerifyLogits *models, const PareDriftRow *drift,
                                     PareError *err);
/* Runs both models on v->sequences[first...], adds to v->drift, and calls `each` for every pair of
 * rows in order. */
PareStatus pare_verify_compare(PareVerify *v, size_t first, size_t count, PareVerifyEach each,
                               void *context, PareError *err);

typedef PareStatus (*PareVerifyLone)(void *context, int model, PareVerifyPlace place,
                                     const PareVerifyLogits *logits, PareError *err);
/* Runs one model by itself. Values that are no numbers are counted in v->drift, as broken or
 * undefined. */
PareStatus pare_verify_run_alone(PareVerify *v, int model, size_t first, size_t count,
                                 PareVerifyLone each, void *context, PareError *err);

/* What was written to predict `target`: adds to the model's scores. */
PareStatus pare_verify_add_target(PareVerify *v, int model, const PareVerifyLogits *logits,
                                  int32_t target, const char *where, PareError *err);
/* Perplexity and bits per byte of both models from their sums. */
void pare_verify_score_targets(PareVerify *v);

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
