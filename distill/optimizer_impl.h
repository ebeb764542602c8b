/* What the parts of the optimizer share. Only distill/optimizer*.c include this. */
#ifndef PARE_DISTILL_OPTIMIZER_IMPL_H
#define PARE_DISTILL_OPTIMIZER_IMPL_H

#include "distill/optimizer.h"

enum { PARE_OPTIMIZER_BLOCK = 4096 }; /* floats that are summed in one go */

/* Where a trained tensor's state lies. */
typedef struct {
    const PareParamTensor *tensor;
    size_t count;          /* rows x cols */
    size_t at;             /* in the arrays that have a float for every parameter */
    size_t blocks_at;      /* the first of its blocks */
    size_t rows, cols;     /* Adafactor: the lines that it is worked in */
    size_t row_at, col_at; /* in `rows` and `columns` (matrices) */
    size_t square_at;      /* in `squares` (vectors) */
    bool factored;
} PareTrained;

struct PareOptimizer {
    PareOptimizerOptions options;
    PareTrained *tensors;
    size_t tensor_count, size;
    size_t floats;  /* trained parameters */
    size_t blocks;  /* of all tensors */
    double *sums;   /* [blocks], or of one tensor's lines */
    size_t longest; /* the most lines that a tensor has */
    size_t widest;  /* and columns, of matrices */
    uint64_t steps;
    /* State; which of these there are depends on the kind. */
    float *first, *second, *rows, *columns, *squares, *average;
    size_t row_count, column_count, square_count;
    float *row_factor, *column_factor; /* Adafactor: of the tensor at hand */
    double *weight_sums;
};

/* One step of one tensor. */
typedef struct {
    PareOptimizer *o;
    const PareTrained *t;
    float *weights;         /* of the tensor */
    const float *gradients; /* of the tensor */
    float scale;            /* of the gradients */
    double rate;
    ParePool *pool;
} PareOptimizerJob;

void pare_optimizer_adafactor(const PareOptimizerJob *j);
/* The sum of x[i]^2 in double, in one order. */
double pare_optimizer_sum_squares(const float *x, size_t count, float scale);

#endif
