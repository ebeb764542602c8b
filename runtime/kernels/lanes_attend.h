/* Attention over sixteen lanes, shared like lanes_rows.h (included before this).
 *
 * Several query rows go over the same keys together, which loads each key and value once for all of
 * them; what happens to one row is the same whoever its neighbours are. A tile's rows see nearly
 * the same keys; what not all of them see is done row by row before and after, in order. */
#ifndef PARE_RUNTIME_KERNELS_LANES_ATTEND_H
#define PARE_RUNTIME_KERNELS_LANES_ATTEND_H

#include "runtime/kernels/lanes_random.h"
#include "runtime/kernels/lanes_rows.h"
#include "runtime/kernels/unroll.h"

enum { SCORE_KEYS = 4 };

LANES_INLINE const float *key_row(const PareAttend *a, const float *base, size_t stride, size_t j) {
    return base + (a->slots ? (size_t)a->slots[j] : j) * stride;
}

/* The dot products of `rows` queries from r on with 4 keys: dots[row] holds one for each key. Zeros
 * stand for missing elements: at most a zero's sign could tell, and softmax does not see that. */
LANES_INLINE void dot_tile(const PareAttend *a, size_t r, const float *const key[SCORE_KEYS],
                           __m128 *dots, const size_t rows) {
    const float *q = a->q + r * a->q_stride;
    Lanes sum[LANES_SCORE_ROWS][SCORE_KEYS];
    PARE_UNROLL
    for (size_t i = 0; i < rows; i++) {
        PARE_UNROLL
        for (size_t c = 0; c < SCORE_KEYS; c++)
            sum[i][c] = lanes_set1(0.0f);
    }
    size_t d = 0;
    for (; d + LANES <= a->D; d += LANES) {
        Lanes k[SCORE_KEYS];
        PARE_UNROLL
        for (size_t c = 0; c < SCORE_KEYS; c++)
            k[c] = lanes_load(key[c] + d);
        PARE_UNROLL
        for (size_t i = 0; i < rows; i++) {
            Lanes x = lanes_load(q + i * a->q_stride + d);
            PARE_UNROLL
            for (size_t c = 0; c < SCORE_KEYS; c++)
                sum[i][c] = lanes_fma(x, k[c], sum[i][c]);
        }
    }
    if (d < a->D) {
        const Lanes zero = lanes_set1(0.0f);
        size_t n = a->D - d;
        Lanes k[SCORE_KEYS];
        PARE_UNROLL
        for (size_t c = 0; c < SCORE_KEYS; c++)
            k[c] = lanes_load_part(key[c] + d, n, zero);
        PARE_UNROLL
        for (size_t i = 0; i < rows; i++) {
            Lanes x = lanes_load_part(q + i * a->q_stride + d, n, zero);
            PARE_UNROLL
            for (size_t c = 0; c < SCORE_KEYS; c++)
                sum[i][c] = lanes_fma(x, k[c], sum[i][c]);
        }
    }
    PARE_UNROLL
    for (size_t i = 0; i < rows; i++)
        dots[i] = lanes_fold4(sum[i][0], sum[i][1], sum[i][2], sum[i][3]);
}

LANES_INLINE void store_scores(float *p, __m128 dots, float factor, const float *bias,
                               size_t count) {
    if (count == SCORE_KEYS) {
        __m128 s = _mm_set1_ps(factor);
        _mm_storeu_ps(p, bias ? _mm_fmadd_ps(dots, s, _mm_loadu_ps(bias)) : _mm_mul_ps(dots, s));
        return;
    }
    float dot[SCORE_KEYS];
    _mm_storeu_ps(dot, dots);
    for (size_t c = 0; c < count; c++)
        p[c] = bias ? fmaf(dot[c], factor, bias[c]) : dot[c] * factor;
}

/* Scores of `rows` queries from r on against the keys first <= j < last, into the scratch. */
LANES_INLINE void score_rows(const PareAttend *a, size_t r, size_t first, size_t last,
                             const size_t rows) {
    for (size_t j = first; j < last; j += SCORE_KEYS) {
        size_t count = last - j < SCORE_KEYS ? last - j : SCORE_KEYS;
        const float *key[SCORE_KEYS];
        for (size_t c = 0; c < SCORE_KEYS; c++)
            key[c] = key_row(a, a->k, a->k_stride, c < count ? j + c : last - 1);
        __m128 dots[LANES_SCORE_ROWS];
        dot_tile(a, r, key, dots, rows);
        for (size_t i = 0; i < rows; i++) {
            float *p = a->scratch + (r + i) * a->keys + j;
            const float *bias = a->bias ? a->bias + (r + i) * a->bias_stride + j : NULL;
            store_scores(p, dots[i], a->scale, bias, count);
        }
    }
}

/* Adds p[j] v[j] to `groups` groups of 16 columns from d on of `rows` outputs from r on, for the
 * keys first <= j < last in order; `part` > 0: one group, of which only so many columns exist. */
LANES_INLINE void out_tile(const PareAttend *a, size_t r, size_t first, size_t last, size_t d,
                           size_t part, const size_t rows, const size_t groups) {
    const Lanes zero = lanes_set1(0.0f);
    float *out = a->out + r * a->out_stride + d;
    const float *p = a->scratch + r * a->keys;
    Lanes sum[LANES_OUT_ROWS][LANES_OUT_GROUPS];
    PARE_UNROLL
    for (size_t i = 0; i < rows; i++) {
        PARE_UNROLL
        for (size_t g = 0; g < groups; g++)
            sum[i][g] = part ? lanes_load_part(out + i * a->out_stride, part, zero)
                             : lanes_load(out + i * a->out_stride + g * LANES);
    }
    for (size_t j = first; j < last; j++) {
        const float *v = key_row(a, a->v, a->v_stride, j) + d;
        Lanes value[LANES_OUT_GROUPS];
        PARE_UNROLL
        for (size_t g = 0; g < groups; g++)
            value[g] = part ? lanes_load_part(v, part, zero) : lanes_load(v + g * LANES);
        PARE_UNROLL
        for (size_t i = 0; i < rows; i++) {
            Lanes weight = lanes_set1(p[i * a->keys + j]);
            PARE_UNROLL
            for (size_t g = 0; g < groups; g++)
                sum[i][g] = lanes_fma(weight, value[g], sum[i][g]);
        }
    }
    PARE_UNROLL
    for (size_t i = 0; i < rows; i++) {
        PARE_UNROLL
        for (size_t g = 0; g < groups; g++)
            if (part)
                lanes_store_part(out + i * a->out_stride, part, sum[i][g]);
            else
                lanes_store(out + i * a->out_stride + g * LANES, sum[i][g]);
    }
}

LANES_INLINE void out_rows(const PareAttend *a, size_t r, size_t first, size_t last,
                           const size_t rows) {
    if (first >= last)
        return;
    size_t d = 0;
    for (; d + LANES_OUT_GROUPS * LANES <= a->D; d += LANES_OUT_GROUPS * LANES)
        out_tile(a, r, first, last, d, 0, rows, LANES_OUT_GROUPS);
    for (; d + 2 * LANES <= a->D; d += 2 * LANES)
        out_tile(a, r, first, last, d, 0, rows, 2);
    for (; d + LANES <= a->D; d += LANES)
        out_tile(a, r, first, last, d, 0, rows, 1);
    if (d < a->D)
        out_tile(a, r, first, last, d, a->D - d, rows, 1);
}

/* Adds the values to the outputs of `rows` rows from r on, at most LANES_OUT_ROWS. The keys that
 * all of them see are those with common_first <= j < common_last, for first and last never decrease
 * from row to row. */
static void add_values(const PareAttend *a, size_t r, size_t rows) {
    size_t first, last, common_first, common_last;
    pare_attend_range(a, r, &first, &common_last);
    pare_attend_range(a, r + rows - 1, &common_first, &last);
    if (rows < LANES_OUT_ROWS || common_first >= common_last)
        common_first = common_last = last; /* nothing is worth doing together */
    for (size_t i = 0; i < rows; i++) {
        pare_attend_range(a, r + i, &first, &last);
        out_rows(a, r + i, first, last < common_first ? last : common_first, 1);
    }
    if (common_first == common_last)
        return;
    out_rows(a, r, common_first, common_last, LANES_OUT_ROWS);
    for (size_t i = 0; i < rows; i++) {
        pare_attend_range(a, r + i, &first, &last);
        out_rows(a, r + i, common_last, last, 1);
    }
}

static void attend_tile(const PareAttend *a, size_t r, size_t rows) {
    size_t first, last, unused;
    pare_attend_range(a, r, &first, &unused);
    pare_attend_range(a, r + rows - 1, &unused, &last);
    size_t i = 0;
    for (; i + LANES_SCORE_ROWS <= rows; i += LANES_SCORE_ROWS)
        score_rows(a, r + i, first, last, LANES_SCORE_ROWS);
    for (; i < rows; i++)
        score_rows(a, r + i, first, last, 1);
    for (i = 0; i < rows; i++) {
        pare_attend_range(a, r + i, &first, &last);
        float *p = a->scratch + (r + i) * a->keys + first;
        softmax(p, p, last - first);
        if (a->dropout)
            dropout(p, p, a->dropout, a->dropout_index + (r + i) * a->dropout_stride + first,
                    last - first);
        memset(a->out + (r + i) * a->out_stride, 0, a->D * sizeof *a->out);
    }
    add_values(a, r, rows);
}

static void attend(const PareAttend *a) {
    for (size_t r = 0; r < a->rows; r += LANES_OUT_ROWS)
        attend_tile(a, r, a->rows - r < LANES_OUT_ROWS ? a->rows - r : LANES_OUT_ROWS);
}

#endif
