/* How good a model is on held-out data, while it is trained. */
#ifndef PARE_DISTILL_EVALUATE_H
#define PARE_DISTILL_EVALUATE_H

#include "learn/examples.h"
#include "learn/objective.h"
#include "runtime/model.h"
#include "text/tokenizer.h"

typedef enum {
    PARE_SCORE_LOSS, /* per counted row */
    PARE_SCORE_PERPLEXITY,
    PARE_SCORE_ACCURACY, /* of labels; of next tokens */
    PARE_SCORE_F1,       /* of label 1 where there are two, otherwise the mean over labels */
    PARE_SCORE_MATTHEWS,
    PARE_SCORE_PEARSON,
    PARE_SCORE_SPEARMAN,
    PARE_SCORE_BLEU, /* 0..100, as the next ones */
    PARE_SCORE_ROUGE1,
    PARE_SCORE_ROUGE2,
    PARE_SCORE_ROUGEL,
    PARE_SCORE_COUNT
} PareScoreKind;

typedef struct {
    bool has[PARE_SCORE_COUNT];
    double value[PARE_SCORE_COUNT];
} PareScores;

const char *pare_score_name(PareScoreKind kind); /* "loss", "bleu", … */
bool pare_score_parse(const char *name, PareScoreKind *out);
bool pare_score_falls(PareScoreKind kind); /* less is better */
/* Whether data of a task give it; `texts`: there are reference texts and a tokenizer. */
bool pare_score_applies(PareScoreKind kind, PareExamplesTask task, bool texts);

/* The texts that a model should write, one an example. */
typedef struct {
    char **texts;
    size_t count;
} PareReferences;

/* Reads the targets of a data file; none in it: *out is empty. `limit` rows (0: all). */
PareStatus pare_references_read(const char *path, const PareDataOptions *data, uint64_t limit,
                                PareReferences *out, PareError *err);
void pare_references_free(PareReferences *r);

typedef struct {
    const PareModel *model;
    const PareExamples *examples;
    PareExamplesTask task;
    size_t batch_tokens;
    size_t threads;
    bool generate;                    /* seq2seq: write texts, and score them */
    const PareReferences *references; /* for that */
    const PareTokenizer *tokenizer;
    const PareGeneration *generation;
    PareProgress *progress; /* counts examples: those judged, then those written */
} PareEvaluation;

/* Whether a model of this description can write the texts that are asked for (model may be NULL):
 * to be known before it is trained. */
PareStatus pare_evaluate_check(const PareEvaluation *e, const PareDescription *d, PareError *err);
PareStatus pare_evaluate(const PareEvaluation *e, PareScores *out, PareError *err);

#endif
