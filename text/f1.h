/* Scores of predicted labels and values, as scikit-learn and scipy define them. */
#ifndef PARE_TEXT_F1_H
#define PARE_TEXT_F1_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef struct PareConfusion PareConfusion; /* counts of (label, prediction) */
/* NULL when out of memory. At most 65,536 labels. */
PareConfusion *pare_confusion_create(size_t labels);
void pare_confusion_destroy(PareConfusion *c); /* NULL is allowed */
/* Refuses a label or prediction that is not below the number of labels. */
PareStatus pare_confusion_add(PareConfusion *c, int64_t label, int64_t prediction, PareError *err);
uint64_t pare_confusion_count(const PareConfusion *c, size_t label, size_t prediction);

typedef struct {
    double accuracy;    /* also F1 with micro averaging */
    double f1_macro;    /* mean over the labels that occur or are predicted */
    double f1_weighted; /* weighted by how often a label occurs */
    double f1_binary;   /* of label 1, where there are two; otherwise NaN */
    double matthews;    /* of any number of labels (Gorodkin 2004); 0 where it is undefined */
} PareLabelScores;

PareLabelScores pare_confusion_scores(const PareConfusion *c); /* all 0 without any prediction */

/* Correlation of two lists; NaN where it is undefined (fewer than two values, or a constant). */
double pare_pearson(const double *a, const double *b, size_t count);
/* The same of their ranks, ties sharing the mean of theirs. */
PareStatus pare_spearman(const double *a, const double *b, size_t count, double *out,
                         PareError *err);

#endif
