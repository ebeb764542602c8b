/* Adafactor (Shazeer and Stern, "Adafactor: adaptive learning rates with sublinear memory cost",
 * 2018), in the arithmetic of transformers' optimizer of that name.
 *
 * A matrix keeps a mean of squared gradients for each row and each column, a vector one for each
 * value. What is added up is added within a line (a row; a block of a vector) and then over the
 * lines in order, so that threads may take any of them. */
#include <math.h>

#include "distill/optimizer_impl.h"

enum { COLUMNS = 64 }; /* that are summed together */

typedef struct {
    PareOptimizerJob j;
    float beta2, rest2; /* of this step */
    float divisor;      /* that limits the update's root mean square */
    float rate, decay;
} Step;

static size_t line_size(const PareTrained *t, size_t line) {
    size_t left = t->count - line * t->cols;
    return left < t->cols ? left : t->cols;
}

static float squared(const Step *s, size_t i) {
    float g = s->j.gradients[i] * s->j.scale;
    return g * g + (float)s->j.o->options.eps_square;
}

static float root(double sum, size_t count) {
    return (float)(sqrt(sum) / sqrt((double)count));
}

/* -- the moments -- */

/* The weights' squares of each line, and the second moment of each row or value. */
static void update_lines(void *context, size_t begin, size_t end, size_t thread) {
    const Step *s = context;
    const PareTrained *t = s->j.t;
    PareOptimizer *o = s->j.o;
    (void)thread;
    for (size_t line = begin; line < end; line++) {
        size_t at = line * t->cols, size = line_size(t, line);
        o->weight_sums[line] = pare_optimizer_sum_squares(s->j.weights + at, size, 1);
        if (t->factored) {
            double sum = 0;
            for (size_t i = 0; i < size; i++)
                sum += (double)squared(s, at + i);
            float *row = &o->rows[t->row_at + line];
            *row = *row * s->beta2 + s->rest2 * (float)(sum / (double)size);
        } else {
            float *squares = o->squares + t->square_at + at;
            for (size_t i = 0; i < size; i++)
                squares[i] = squares[i] * s->beta2 + s->rest2 * squared(s, at + i);
        }
    }
}

/* The second moment of each column, and its share of the update; row by row, as memory lies. */
static void update_some_columns(const Step *s, size_t begin, size_t count) {
    const PareTrained *t = s->j.t;
    PareOptimizer *o = s->j.o;
    double sums[COLUMNS] = {0};
    for (size_t row = 0; row < t->rows; row++)
        for (size_t i = 0; i < count; i++)
            sums[i] += (double)squared(s, row * t->cols + begin + i);
    for (size_t i = 0; i < count; i++) {
        float *mean = &o->columns[t->col_at + begin + i];
        *mean = *mean * s->beta2 + s->rest2 * (float)(sums[i] / (double)t->rows);
        o->column_factor[begin + i] = 1 / sqrtf(*mean);
    }
}

static void update_columns(void *context, size_t begin, size_t end, size_t thread) {
    (void)thread;
    for (; begin < end; begin += COLUMNS)
        update_some_columns(context, begin, end - begin < COLUMNS ? end - begin : COLUMNS);
}

static void find_row_factors(const Step *s) {
    const PareTrained *t = s->j.t;
    PareOptimizer *o = s->j.o;
    const float *rows = o->rows + t->row_at;
    double sum = 0;
    for (size_t i = 0; i < t->rows; i++)
        sum += (double)rows[i];
    float mean = (float)(sum / (double)t->rows);
    for (size_t i = 0; i < t->rows; i++)
        o->row_factor[i] = 1 / sqrtf(rows[i] / mean);
}

/* -- the update -- */

/* Before it is limited and multiplied by the rate. */
static float update_at(const Step *s, size_t line, size_t column) {
    const PareTrained *t = s->j.t;
    const PareOptimizer *o = s->j.o;
    size_t i = line * t->cols + column;
    float g = s->j.gradients[i] * s->j.scale;
    if (t->factored)
        return o->row_factor[line] * o->column_factor[column] * g;
    return 1 / sqrtf(o->squares[t->square_at + i]) * g;
}

static void sum_updates(void *context, size_t begin, size_t end, size_t thread) {
    const Step *s = context;
    (void)thread;
    for (size_t line = begin; line < end; line++) {
        double sum = 0;
        for (size_t i = 0, size = line_size(s->j.t, line); i < size; i++) {
            double u = (double)update_at(s, line, i);
            sum += u * u;
        }
        s->j.o->sums[line] = sum;
    }
}

static void apply_updates(void *context, size_t begin, size_t end, size_t thread) {
    const Step *s = context;
    const PareTrained *t = s->j.t;
    const PareOptimizer *o = s->j.o;
    float beta1 = (float)o->options.beta1, rest1 = (float)(1 - o->options.beta1);
    (void)thread;
    for (size_t line = begin; line < end; line++)
        for (size_t k = 0, size = line_size(t, line); k < size; k++) {
            size_t i = line * t->cols + k;
            float update = update_at(s, line, k) / s->divisor * s->rate;
            if (o->first) {
                float *first = &o->first[t->at + i];
                update = *first = *first * beta1 + rest1 * update;
            }
            float w = s->j.weights[i];
            s->j.weights[i] = w - s->decay * w - update;
        }
}

static double sum_lines(const double *sums, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += sums[i];
    return sum;
}

static double rate_of(const PareOptimizerJob *j, float weights_root) {
    const PareOptimizerOptions *p = &j->o->options;
    double rate = j->rate, step = (double)j->o->steps, scale = 1;
    if (p->relative_step) {
        double most = p->warmup_init ? 1e-6 * step : 1e-2;
        rate = fmin(most, 1 / sqrt(step)) * j->t->tensor->lr_factor;
    }
    if (p->scale_parameter)
        scale = fmax(p->eps_scale, (double)weights_root);
    return scale * rate;
}

void pare_optimizer_adafactor(const PareOptimizerJob *j) {
    const PareOptimizerOptions *p = &j->o->options;
    const PareTrained *t = j->t;
    double beta2 = 1 - pow((double)j->o->steps, p->decay_rate);
    Step s = {.j = *j, .beta2 = (float)beta2, .rest2 = (float)(1 - beta2)};
    size_t grain = 1 + PARE_OPTIMIZER_BLOCK / (t->cols + 1);
    if (t->count == 0)
        return;
    pare_pool_for(j->pool, t->rows, grain, update_lines, &s);
    if (t->factored) {
        pare_pool_for(j->pool, t->cols, COLUMNS, update_columns, &s);
        find_row_factors(&s);
    }
    pare_pool_for(j->pool, t->rows, grain, sum_updates, &s);
    double rate = rate_of(j, root(sum_lines(j->o->weight_sums, t->rows), t->count));
    float most = root(sum_lines(j->o->sums, t->rows), t->count) / (float)p->clip_threshold;
    s.divisor = most > 1 ? most : 1;
    s.rate = (float)rate;
    s.decay = t->tensor->decay ? (float)(p->weight_decay * rate) : 0;
    pare_pool_for(j->pool, t->rows, grain, apply_updates, &s);
}
