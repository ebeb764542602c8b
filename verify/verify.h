/* The verify stage: two models, the reference and the candidate that was made from it, on the same
 * data; what the step between them cost. docs/verify.md explains the figures. */
#ifndef PARE_VERIFY_VERIFY_H
#define PARE_VERIFY_VERIFY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/error.h"
#include "core/log.h"
#include "text/dataset.h"
#include "text/metrics.h"
#include "verify/drift.h"
#include "verify/statistics.h"

typedef enum {
    PARE_TASK_AUTO, /* what the model's head is made for */
    PARE_TASK_CLASSIFICATION,
    PARE_TASK_TRANSLATION, /* any text to text */
    PARE_TASK_LM
} PareVerifyTask;

typedef enum {
    PARE_METRIC_ACCURACY,   /* 0..1; limits and changes in percentage points */
    PARE_METRIC_BLEU,       /* 0..100; limits and changes in points */
    PARE_METRIC_PERPLEXITY, /* less is better; limits and changes in percent of the reference's */
    PARE_METRIC_BITS,       /* per byte of text, whatever the tokens; as perplexity */
    PARE_METRIC_COUNT
} PareVerifyMetric;

const char *pare_verify_metric_name(PareVerifyMetric m);

/* How much a metric may get worse. */
typedef struct {
    bool set[PARE_METRIC_COUNT];
    double drop[PARE_METRIC_COUNT];
} PareVerifyLimits;

/* Adds "accuracy=0.5" to `limits`. */
PareStatus pare_verify_limit_parse(const char *text, PareVerifyLimits *limits, PareError *err);

typedef struct {
    const char *reference, *candidate, *data; /* paths; data "-" is standard input */
    PareVerifyTask task;
    PareDataFormat format;
    const char *columns;            /* as PareDataOptions */
    uint64_t limit;                 /* rows (lines) at most; 0: all */
    size_t threads;                 /* 0: all that the process may use */
    size_t batch_size;              /* rows, or windows; 0: 32 */
    uint32_t num_beams, max_length; /* of translations; 0: as the model says */
    bool truncate;                  /* cut what is longer than the model reads */
    size_t window;                  /* lm; 0: the model's positions */
    size_t keep;                    /* logits of the reference that are kept at a time; 0: 2^24 */
    PareVerifyLimits limits;
    PareProgress *progress; /* counts rows; may be NULL */
} PareVerifyOptions;

typedef struct {
    double value[PARE_METRIC_COUNT];
    uint64_t correct;
    PareInterval interval; /* of the accuracy, 95 % */
    PareBleu bleu;
    double nll;         /* sum over predicted tokens, in nats */
    double shared_nll;  /* the same, if there were only the tokens that both models have */
    double perplexity;  /* lm and translation: among all tokens of this model; value[] has that
                           among the shared ones */
    uint64_t tokens;    /* lm and translation: of the text, as this model cuts it */
    uint64_t predicted; /* of these */
} PareVerifyScores;

/* Models whose vocabularies differ, because tokens were cut or they were never related. */
typedef struct {
    bool differ;
    uint32_t size[2]; /* rows of the token tables: of the reference, of the candidate */
    uint64_t shared;  /* tokens that both have */
    uint64_t recut;   /* rows with a text that the two cut into different tokens */
    uint64_t apart;   /* of these: where it is the text that is predicted; then there is no
                         perplexity, and no drift of such rows (of lm none at all) */
} PareVerifyVocabularies;

typedef struct {
    PareVerifyTask task;
    bool has[PARE_METRIC_COUNT];
    uint64_t rows;
    uint64_t cut;            /* rows that --truncate made shorter */
    uint64_t bytes;          /* lm and translation: of the text that is predicted */
    uint64_t only_reference; /* classification: right by one of the two alone */
    uint64_t only_candidate;
    uint64_t same_outputs; /* classification, translation: rows with the same label or text */
    PareVerifyScores reference, candidate;
    PareVerifyVocabularies vocabularies;
    PareDriftResult drift;
} PareVerifyReport;

/* Runs both models over the data. Limits are checked for making sense here, and for being met by
 * pare_verify_check. */
PareStatus pare_verify_run(const PareVerifyOptions *o, PareVerifyReport *out, PareError *err);
/* PARE_E_LIMIT with the figures of every limit that was exceeded. Logits that are NaN, or infinite
 * in one of the models alone, never pass: against a broken reference every candidate looks good. */
PareStatus pare_verify_check(const PareVerifyOptions *o, const PareVerifyReport *r, PareError *err);
/* By how much the candidate is worse, in the unit of limits; below 0 when it is better. */
double pare_verify_drop(const PareVerifyReport *r, PareVerifyMetric m);

/* For people, and one JSON object in a line. */
void pare_verify_write_table(const PareVerifyOptions *o, const PareVerifyReport *r,
                             PareBuffer *out);
void pare_verify_write_json(const PareVerifyOptions *o, const PareVerifyReport *r, PareBuffer *out);

#endif
