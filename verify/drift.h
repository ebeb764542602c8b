/* How far a candidate's logits are from the reference's, row by row.
 *
 * A row is what one prediction is made from: the scores of all labels, or of the whole vocabulary
 * at one position. Rows are measured independently (in any thread) and added in order, in double,
 * so that the figures do not depend on the number of threads. docs/verify.md has the formulas. */
#ifndef PARE_VERIFY_DRIFT_H
#define PARE_VERIFY_DRIFT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One pair of rows. */
typedef struct {
    uint64_t values;          /* pairs of finite values, which the sums below are about */
    uint64_t broken;          /* reference finite, candidate NaN or infinite */
    uint64_t undefined;       /* reference NaN, or infinite where the candidate is not the same */
    double max_abs, sum_abs;  /* |candidate - reference| */
    double sum_squares;       /* (candidate - reference)^2 */
    double reference_squares; /* reference^2 */
    double cosine;            /* of the two rows */
    double kl;                /* KL(reference || candidate) of their softmaxes, in nats */
    double reference_log_sum; /* log(sum(e^x)): a value less it is its log-probability; */
    double candidate_log_sum; /* NaN where the row has a NaN */
    size_t reference_best;    /* the first of the largest values */
    size_t candidate_best;
    bool agree; /* the same best one, in a row that can be compared */
} PareDriftRow;

void pare_drift_measure(const float *reference, const float *candidate, size_t n,
                        PareDriftRow *out);

/* log(sum(e^x)) of one row, which is NaN where the row has a NaN; *best: the first of the largest.
 */
double pare_drift_log_sum(const float *row, size_t n, size_t *best);

/* Sums over rows; zero-initialise. */
typedef struct {
    uint64_t rows, values, broken, undefined;
    uint64_t clean_rows; /* without broken or undefined values */
    uint64_t agree;
    double max_abs, sum_abs, sum_squares, reference_squares, sum_cosine, sum_kl;
} PareDrift;

void pare_drift_add_row(PareDrift *d, const PareDriftRow *row);
void pare_drift_add(PareDrift *d, const float *reference, const float *candidate, size_t n);

/* max_abs, mean_abs and relative_l2 are over all pairs of finite values; cosine and kl are means
 * over clean rows; top1_agreement is a share of all rows, where a row that is not clean counts as
 * a disagreement. Without anything to average, a mean is NaN. */
typedef struct {
    uint64_t rows, values, broken, undefined, broken_rows;
    double max_abs, mean_abs, relative_l2, cosine, kl, top1_agreement;
} PareDriftResult;

PareDriftResult pare_drift_result(const PareDrift *d);

#endif
