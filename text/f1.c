/* Accuracy, F1 and Matthews' coefficient from counts; correlations of Pearson and Spearman. */
#include "text/f1.h"

#include <math.h>
#include <stdlib.h>

#include "core/memory.h"

enum { MAX_LABELS = 1 << 16 };

struct PareConfusion {
    size_t labels;
    uint64_t counts[]; /* [label][prediction] */
};

PareConfusion *pare_confusion_create(size_t labels) {
    size_t cells, bytes;
    PareConfusion *c = NULL;
    if (labels <= MAX_LABELS && pare_size_mul(labels, labels, &cells) &&
        pare_size_mul(cells, sizeof c->counts[0], &bytes) &&
        pare_size_add(bytes, sizeof *c, &bytes))
        c = pare_alloc(bytes, 1);
    if (c)
        c->labels = labels;
    return c;
}

void pare_confusion_destroy(PareConfusion *c) {
    pare_free(c);
}

PareStatus pare_confusion_add(PareConfusion *c, int64_t label, int64_t prediction, PareError *err) {
    int64_t n = (int64_t)c->labels;
    if (label < 0 || label >= n || prediction < 0 || prediction >= n)
        return pare_error_set(err, PARE_E_FORMAT,
                              "label %lld and prediction %lld: expected numbers below %lld",
                              (long long)label, (long long)prediction, (long long)n);
    c->counts[(size_t)label * c->labels + (size_t)prediction]++;
    return PARE_OK;
}

uint64_t pare_confusion_count(const PareConfusion *c, size_t label, size_t prediction) {
    return c->counts[label * c->labels + prediction];
}

/* What the scores are made of. */
typedef struct {
    double total, right;
    double f1_sum, f1_weighted, classes, last_f1;
    double both, occurs2, predicted2; /* sums of products of the marginals */
} Sums;

static void add_label(const PareConfusion *c, size_t label, Sums *s) {
    double occurs = 0, predicted = 0;
    double right = (double)pare_confusion_count(c, label, label);
    for (size_t i = 0; i < c->labels; i++) {
        occurs += (double)pare_confusion_count(c, label, i);
        predicted += (double)pare_confusion_count(c, i, label);
    }
    s->last_f1 = occurs + predicted > 0 ? 2 * right / (occurs + predicted) : 0;
    s->total += occurs;
    s->right += right;
    s->f1_sum += s->last_f1;
    s->f1_weighted += s->last_f1 * occurs;
    s->classes += occurs + predicted > 0;
    s->both += occurs * predicted;
    s->occurs2 += occurs * occurs;
    s->predicted2 += predicted * predicted;
}

PareLabelScores pare_confusion_scores(const PareConfusion *c) {
    Sums s = {0};
    PareLabelScores out = {0};
    for (size_t i = 0; i < c->labels; i++)
        add_label(c, i, &s);
    out.f1_binary = c->labels == 2 ? s.last_f1 : NAN; /* the last label is label 1 */
    if (s.total == 0)
        return out;
    out.accuracy = s.right / s.total;
    out.f1_macro = s.f1_sum / s.classes;
    out.f1_weighted = s.f1_weighted / s.total;
    double spread = (s.total * s.total - s.occurs2) * (s.total * s.total - s.predicted2);
    out.matthews = spread > 0 ? (s.right * s.total - s.both) / sqrt(spread) : 0;
    return out;
}

/* ---- Correlations ---------------------------------------------------------------------------- */

static double mean(const double *x, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += x[i];
    return sum / (double)count;
}

double pare_pearson(const double *a, const double *b, size_t count) {
    if (count < 2)
        return NAN;
    double mean_a = mean(a, count), mean_b = mean(b, count), ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < count; i++) {
        double x = a[i] - mean_a, y = b[i] - mean_b;
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    if (!(aa > 0 && bb > 0))
        return NAN;
    double r = ab / sqrt(aa) / sqrt(bb);
    return r > 1 ? 1 : r < -1 ? -1 : r;
}

typedef struct {
    double value;
    size_t at;
} Ranked;

static int compare_values(const void *a, const void *b) {
    const Ranked *x = a, *y = b;
    return (x->value > y->value) - (x->value < y->value);
}

static void rank(const double *x, size_t count, Ranked *sorted, double *ranks) {
    for (size_t i = 0; i < count; i++)
        sorted[i] = (Ranked){x[i], i};
    qsort(sorted, count, sizeof *sorted, compare_values);
    for (size_t i = 0, end; i < count; i = end) {
        for (end = i + 1; end < count && sorted[end].value == sorted[i].value;)
            end++;
        for (size_t k = i; k < end; k++)
            ranks[sorted[k].at] = ((double)i + (double)end - 1) / 2;
    }
}

PareStatus pare_spearman(const double *a, const double *b, size_t count, double *out,
                         PareError *err) {
    *out = NAN;
    for (size_t i = 0; i < count; i++)
        if (isnan(a[i]) || isnan(b[i]))
            return PARE_OK; /* NaN has no rank */
    PareStatus status = PARE_OK;
    Ranked *sorted = pare_alloc(count, sizeof *sorted);
    double *ranks_a = pare_alloc(count, sizeof *ranks_a);
    double *ranks_b = pare_alloc(count, sizeof *ranks_b);
    if (!sorted || !ranks_a || !ranks_b) {
        status = pare_memory_error(err, "ranks");
        goto done;
    }
    rank(a, count, sorted, ranks_a);
    rank(b, count, sorted, ranks_b);
    *out = pare_pearson(ranks_a, ranks_b, count);
done:
    pare_free(sorted);
    pare_free(ranks_a);
    pare_free(ranks_b);
    return status;
}
