/* Distances between two models' logits. Everything is summed in double and in one order; the
 * exponential is our own, without calls and without fused operations, so that compilers can
 * vectorise it and every machine computes the same. */
#include "verify/drift.h"

#include <math.h>

enum { BLOCK = 256, LANES = 4, EXP_MIN = -708 };

typedef struct {
    float reference_max, candidate_max;
    double dot, candidate_squares;
} Scan;

/* e^x for EXP_MIN <= x <= 0, with a relative error below 1e-14. x = n ln 2 + r, |r| <= ln 2 / 2,
 * and a Taylor polynomial of degree 11 for e^r. */
static inline double exp_reduced(double x) {
    const double log2e = 0x1.71547652b82fep+0, magic = 0x1.8p+52;
    const double ln2_high = 0x1.62e42feep-1, ln2_low = 0x1.a39ef35793c76p-33;
    double rounded = x * log2e + magic, n = rounded - magic;
    double r = (x - n * ln2_high) - n * ln2_low;
    double p = 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 1.0 / 2;
    p = p * r + 1.0;
    p = p * r + 1.0;
    union {
        double value;
        uint64_t bits;
    } scale = {.value = rounded}; /* its low bits are n, in two's complement */
    scale.bits = (scale.bits + 1023) << 52;
    return p * scale.value;
}

/* Below EXP_MIN it stays at e^-708, which is nothing beside 1. */
static inline double exp_argument(double x) {
    return x > EXP_MIN ? x : EXP_MIN;
}

/* Differences, norms and the two largest values, in one pass. */
static void scan(const float *reference, const float *candidate, size_t n, PareDriftRow *row,
                 Scan *s) {
    *s = (Scan){.reference_max = -INFINITY, .candidate_max = -INFINITY};
    for (size_t i = 0; i < n; i++) {
        float a = reference[i], b = candidate[i];
        if (isfinite(a) && isfinite(b)) {
            double x = a, y = b, difference = fabs(y - x);
            row->values++;
            row->max_abs = difference > row->max_abs ? difference : row->max_abs;
            row->sum_abs += difference;
            row->sum_squares += difference * difference;
            row->reference_squares += x * x;
            s->candidate_squares += y * y;
            s->dot += x * y;
        } else if (isfinite(a)) {
            row->broken++;
        } else if (isnan(a) || a != b) {
            row->undefined++;
        }
        if (a > s->reference_max) {
            s->reference_max = a;
            row->reference_best = i;
        }
        if (b > s->candidate_max) {
            s->candidate_max = b;
            row->candidate_best = i;
        }
    }
}

/* A block of a row less its maximum. Values that are infinite (in both rows) have no probability.
 */
static void reduce(const float *row, const float *reference, size_t count, float max, double *x,
                   double *argument) {
    for (size_t i = 0; i < BLOCK; i++) {
        bool counts = i < count && isfinite(reference[i]);
        x[i] = counts ? (double)row[i] - (double)max : 0;
        argument[i] = counts ? exp_argument(x[i]) : EXP_MIN;
    }
}

/* Loops over whole blocks, without branches, so that compilers can vectorise them. */
static void exponentials(double *x) {
    for (size_t i = 0; i < BLOCK; i++)
        x[i] = exp_reduced(x[i]);
}

/* With a', b' the rows less their maxima: KL = sum e^a' (a' - b') / A - log A + log B, where A and
 * B are the sums of e^a' and e^b'. */
static void divergence(const float *reference, const float *candidate, size_t n, const Scan *s,
                       PareDriftRow *row) {
    double x[BLOCK], y[BLOCK], p[BLOCK], q[BLOCK];
    double sum_p[LANES] = {0}, sum_q[LANES] = {0}, weighted[LANES] = {0};
    for (size_t at = 0; at < n; at += BLOCK) {
        size_t count = n - at < BLOCK ? n - at : BLOCK;
        reduce(reference + at, reference + at, count, s->reference_max, x, p);
        reduce(candidate + at, reference + at, count, s->candidate_max, y, q);
        exponentials(p);
        exponentials(q);
        for (size_t i = 0; i < BLOCK; i += LANES)
            for (size_t lane = 0; lane < LANES; lane++) {
                sum_p[lane] += p[i + lane];
                sum_q[lane] += q[i + lane];
                weighted[lane] += p[i + lane] * (x[i + lane] - y[i + lane]);
            }
    }
    double total_p = (sum_p[0] + sum_p[2]) + (sum_p[1] + sum_p[3]);
    double total_q = (sum_q[0] + sum_q[2]) + (sum_q[1] + sum_q[3]);
    double total_w = (weighted[0] + weighted[2]) + (weighted[1] + weighted[3]);
    double log_p = log(total_p), log_q = log(total_q), kl = total_w / total_p - log_p + log_q;
    row->kl = kl > 0 ? kl : 0; /* rounding can leave it a little below */
    row->reference_log_sum = (double)s->reference_max + log_p;
    row->candidate_log_sum = (double)s->candidate_max + log_q;
}

/* For rows that cannot be compared with their partner. */
static double log_sum(const float *row, size_t n, float max) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        if (isnan(row[i]))
            return NAN;
        if (isfinite(max))
            sum += exp_reduced(exp_argument((double)row[i] - (double)max));
    }
    return isfinite(max) ? (double)max + log(sum) : (double)max;
}

double pare_drift_log_sum(const float *row, size_t n, size_t *best) {
    float max = -INFINITY;
    *best = 0;
    for (size_t i = 0; i < n; i++)
        if (row[i] > max) {
            max = row[i];
            *best = i;
        }
    return log_sum(row, n, max);
}

/* 1 for two rows of zeros, 0 when only one of them is. */
static double cosine(const PareDriftRow *row, const Scan *s) {
    double product = sqrt(row->reference_squares) * sqrt(s->candidate_squares);
    if (product > 0)
        return s->dot / product;
    return row->reference_squares == s->candidate_squares ? 1 : 0;
}

void pare_drift_measure(const float *reference, const float *candidate, size_t n,
                        PareDriftRow *out) {
    Scan s;
    *out = (PareDriftRow){0};
    scan(reference, candidate, n, out, &s);
    /* An infinity is comparable only as the same in both rows, where a probability is 0 or all. */
    if (out->broken || out->undefined || !out->values || !isfinite(s.reference_max)) {
        out->reference_log_sum = log_sum(reference, n, s.reference_max);
        out->candidate_log_sum = log_sum(candidate, n, s.candidate_max);
    } else {
        divergence(reference, candidate, n, &s, out);
    }
    if (out->broken || out->undefined || !out->values)
        return;
    out->agree = out->reference_best == out->candidate_best;
    out->cosine = cosine(out, &s);
}

void pare_drift_add_row(PareDrift *d, const PareDriftRow *row) {
    d->rows++;
    d->values += row->values;
    d->broken += row->broken;
    d->undefined += row->undefined;
    d->max_abs = row->max_abs > d->max_abs ? row->max_abs : d->max_abs;
    d->sum_abs += row->sum_abs;
    d->sum_squares += row->sum_squares;
    d->reference_squares += row->reference_squares;
    d->agree += row->agree;
    if (row->broken || row->undefined || !row->values)
        return;
    d->clean_rows++;
    d->sum_cosine += row->cosine;
    d->sum_kl += row->kl;
}

void pare_drift_add(PareDrift *d, const float *reference, const float *candidate, size_t n) {
    PareDriftRow row;
    pare_drift_measure(reference, candidate, n, &row);
    pare_drift_add_row(d, &row);
}

static double mean(double sum, uint64_t count) {
    return count ? sum / (double)count : NAN;
}

PareDriftResult pare_drift_result(const PareDrift *d) {
    PareDriftResult r = {.rows = d->rows,
                         .values = d->values,
                         .broken = d->broken,
                         .undefined = d->undefined,
                         .broken_rows = d->rows - d->clean_rows,
                         .max_abs = d->values ? d->max_abs : NAN,
                         .mean_abs = mean(d->sum_abs, d->values),
                         .cosine = mean(d->sum_cosine, d->clean_rows),
                         .kl = mean(d->sum_kl, d->clean_rows),
                         .top1_agreement = mean((double)d->agree, d->rows)};
    if (!d->values)
        r.relative_l2 = NAN;
    else if (d->sum_squares > 0)
        r.relative_l2 = sqrt(d->sum_squares) / sqrt(d->reference_squares); /* infinite over zeros */
    return r;
}
