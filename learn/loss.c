/* Losses on rows of scores. */
#include "learn/loss.h"

#include <math.h>
#include <string.h>

/* One row. */
typedef struct {
    const PareRowLoss *j;
    float *x; /* the student's scores, then the gradient */
    float *teacher, *scratch;
    size_t row, n;
} Row;

static double dot(const float *a, const float *b, size_t n) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (double)a[i] * b[i];
    return sum;
}

static double log_sum(const PareKernels *k, const float *x, size_t n) {
    float max, log;
    k->log_sum_exp(x, n, &max, &log);
    return (double)max + log;
}

static size_t best(const float *x, size_t n) {
    size_t at = 0;
    for (size_t i = 1; i < n; i++)
        if (x[i] > x[at])
            at = i;
    return at;
}

static void label_loss(const Row *r) {
    const PareRowLoss *j = r->j;
    float smoothing = j->weights->smoothing;
    size_t target = (size_t)j->targets[r->row];
    double all = log_sum(j->kernels, r->x, r->n);
    double loss = all - r->x[target];
    if (smoothing > 0) {
        double sum = 0;
        for (size_t i = 0; i < r->n; i++)
            sum += r->x[i];
        loss = (1 - smoothing) * loss + smoothing * (all - sum / (double)r->n);
    }
    j->label[r->row] = loss;
}

/* x = weight * d loss / d x. */
static void label_gradient(const Row *r) {
    const PareRowLoss *j = r->j;
    double weight = j->row_weight * j->weights->label;
    float smoothing = j->weights->smoothing;
    j->kernels->softmax(r->x, r->x, r->n);
    j->kernels->scale(r->x, r->x, (float)weight, r->n);
    if (smoothing > 0) {
        float share = (float)(weight * smoothing / (double)r->n);
        for (size_t i = 0; i < r->n; i++)
            r->x[i] -= share;
    }
    r->x[j->targets[r->row]] -= (float)(weight * (1 - smoothing));
}

/* KL(teacher || student) at a temperature; leaves the two distributions in teacher and scratch. */
static void soft_loss(const Row *r) {
    const PareRowLoss *j = r->j;
    const PareKernels *k = j->kernels;
    float T = j->weights->temperature;
    k->scale(r->teacher, r->teacher, 1 / T, r->n);
    k->scale(r->scratch, r->x, 1 / T, r->n);
    double between = log_sum(k, r->teacher, r->n) - log_sum(k, r->scratch, r->n);
    for (size_t i = 0; i < r->n; i++)
        r->scratch[i] = r->teacher[i] - r->scratch[i];
    k->softmax(r->teacher, r->teacher, r->n);
    j->soft[r->row] = (dot(r->teacher, r->scratch, r->n) - between) * T * T;
    k->scale(r->scratch, r->x, 1 / T, r->n);
    k->softmax(r->scratch, r->scratch, r->n);
}

/* Adds d/dx of T^2 KL = T (student - teacher). */
static void soft_gradient(const Row *r) {
    const PareLossWeights *w = r->j->weights;
    float weight = (float)(r->j->row_weight * w->soft * w->temperature);
    for (size_t i = 0; i < r->n; i++)
        r->x[i] += weight * (r->scratch[i] - r->teacher[i]);
}

static void class_row(const Row *r, bool gradient) {
    const PareRowLoss *j = r->j;
    bool labelled = j->targets[r->row] >= 0;
    bool soft = r->teacher && (labelled || j->soft_everywhere);
    j->label[r->row] = 0;
    j->best[r->row] = (float)best(r->x, r->n);
    if (j->soft)
        j->soft[r->row] = 0;
    if (labelled)
        label_loss(r);
    if (soft)
        soft_loss(r);
    if (!gradient)
        return;
    if (labelled)
        label_gradient(r);
    else
        memset(r->x, 0, r->n * sizeof *r->x);
    if (soft)
        soft_gradient(r);
}

/* The first score alone; soft labels are the teacher's score. */
static void value_row(const Row *r, bool gradient) {
    const PareRowLoss *j = r->j;
    bool labelled = !isnan(j->values[r->row]);
    double d = labelled ? (double)r->x[0] - j->values[r->row] : 0;
    double soft = r->teacher ? (double)r->x[0] - r->teacher[0] : 0;
    j->label[r->row] = d * d;
    j->best[r->row] = r->x[0];
    if (r->teacher)
        j->soft[r->row] = soft * soft;
    if (!gradient)
        return;
    memset(r->x, 0, r->n * sizeof *r->x);
    r->x[0] = (float)(2 * j->row_weight *
                      (j->weights->label * d + (r->teacher ? j->weights->soft * soft : 0)));
}

void pare_loss_rows(void *context, const PareLossRows *rows) {
    const PareRowLoss *j = context;
    for (size_t i = 0; i < rows->count; i++) {
        Row r = {.j = j,
                 .x = rows->logits + i * rows->n,
                 .teacher = rows->teacher ? rows->teacher + i * rows->n : NULL,
                 .scratch = rows->teacher ? rows->scratch + i * rows->n : NULL,
                 .row = rows->first + i,
                 .n = rows->n};
        if (j->targets)
            class_row(&r, rows->gradient);
        else
            value_row(&r, rows->gradient);
    }
}

double pare_loss_squared(const float *a, const float *b, float *da, size_t rows, size_t cols,
                         double weight) {
    double sum = 0, factor = weight / ((double)rows * (double)cols);
    for (size_t i = 0; i < rows * cols; i++) {
        double d = (double)a[i] - b[i];
        sum += d * d;
        if (da)
            da[i] += (float)(2 * factor * d);
    }
    return sum * factor;
}
