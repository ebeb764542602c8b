/* ROUGE (Lin 2004) as Google's rouge_score computes it: words are runs of [a-z0-9] in lower case,
 * with or without the Porter stemmer; n-grams are matched with clipped counts; L is the longest
 * common subsequence of the whole texts, Lsum the union of those of their lines. One reference for
 * each hypothesis; every score is computed for each pair and then averaged. */
#ifndef PARE_TEXT_ROUGE_H
#define PARE_TEXT_ROUGE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

typedef enum {
    PARE_ROUGE_1,
    PARE_ROUGE_2,
    PARE_ROUGE_3,
    PARE_ROUGE_L,
    PARE_ROUGE_LSUM, /* each line of a text is a sentence */
    PARE_ROUGE_KINDS
} PareRougeKind;

typedef struct {
    double precision, recall, f1; /* 0..1 */
} PareRougeScore;

typedef struct PareRouge PareRouge;         /* sums over pairs */
PareRouge *pare_rouge_create(bool stemmer); /* NULL when out of memory */
void pare_rouge_destroy(PareRouge *r);      /* NULL is allowed */
/* Adds a pair of UTF-8 texts; `scores` (may be NULL) gets those of this pair. */
PareStatus pare_rouge_add(PareRouge *r, const char *hypothesis, const char *reference,
                          PareRougeScore scores[PARE_ROUGE_KINDS], PareError *err);
/* The means over all pairs; 0 without any. The figure that papers print is 100 times the F1. */
PareRougeScore pare_rouge_mean(const PareRouge *r, PareRougeKind kind);
const char *pare_rouge_name(PareRougeKind kind); /* "rouge1", …, "rougeLsum" */

#endif
