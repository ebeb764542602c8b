/* Losses on rows of scores, and their gradients.
 *
 * Labels: cross-entropy with label smoothing as in PyTorch, (1 - e) (-log p[t]) + e mean(-log p);
 * squared error for regression. Soft labels (Hinton, Vinyals, Dean 2015): T^2 KL(teacher ||
 * student) of both scores divided by the temperature T. Each counted row weighs 1 / (number of
 * counted rows in the whole batch), which the caller knows, so that parts of a batch add up to the
 * batch. */
#ifndef PARE_LEARN_LOSS_H
#define PARE_LEARN_LOSS_H

#include <stdbool.h>
#include <stdint.h>

#include "runtime/ops.h"

typedef struct {
    float label, soft; /* weights of the two terms */
    float temperature; /* of the soft labels */
    float smoothing;   /* of the labels */
} PareLossWeights;

/* The context of pare_loss_rows. The losses of rows are written, unweighted, for adding up in
 * order; rows that are not counted get 0. */
typedef struct {
    const PareKernels *kernels;
    const PareLossWeights *weights;
    const int32_t *targets; /* [rows]; < 0: the row is not counted. NULL: regression */
    const float *values;    /* [rows] of regression */
    bool soft_everywhere;   /* rows without a target still have the teacher's opinion */
    double row_weight;      /* 1 / counted rows of the whole batch */
    double *label, *soft;   /* [rows]; soft may be NULL without a teacher */
    float *best;            /* [rows]: the label with the highest score; of regression the score */
} PareRowLoss;

void pare_loss_rows(void *context, const PareLossRows *rows); /* a PareLogitsLoss */

/* weight * mean((a - b)^2) of two matrices of one shape, added in order; adds its gradient to da
 * (may be NULL). */
double pare_loss_squared(const float *a, const float *b, float *da, size_t rows, size_t cols,
                         double weight);

#endif
