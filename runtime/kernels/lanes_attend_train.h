/* The backward pass of attention over sixteen lanes, shared like lanes_attend.h (included before
 * this).
 *
 * A tile of rows at a time, so that its probabilities and their gradients stay in the cache:
 *  1. scores and dP, for sixteen keys at once: the keys' elements are transposed, so that each lane
 *     is a key and nothing needs folding across lanes. Lane sums of the written order are then
 *     whole registers, folded by plain additions;
 *  2. softmax, dropout and dS, row by row;
 *  3. dv += P^T dout, dk += dS^T q and dq += dS k, several keys or rows at a time. */
#ifndef PARE_RUNTIME_KERNELS_LANES_ATTEND_TRAIN_H
#define PARE_RUNTIME_KERNELS_LANES_ATTEND_TRAIN_H

#include "runtime/kernels/lanes_attend.h"
#include "runtime/kernels/lanes_train.h"

/* The largest head size whose keys are transposed (on the stack, 16 KiB); beyond, plain steps. */
enum { COLUMNS_MAX = 256 };

/* columns[d][c] = x[c][d] for d < D and `count` keys x; a missing key repeats the last one. */
static void transpose_keys(float *columns, const float *x, size_t stride, size_t count, size_t D) {
    const float *key[LANES];
    for (size_t c = 0; c < LANES; c++)
        key[c] = x + (c < count ? c : count - 1) * stride;
    size_t d = 0;
    for (; d + 4 <= D; d += 4, columns += 4 * LANES) {
        Lanes z[4];
        PARE_UNROLL
        for (size_t c = 0; c < 4; c++)
            z[c] = lanes_join4(key[c] + d, key[4 + c] + d, key[8 + c] + d, key[12 + c] + d);
        Lanes low01 = lanes_zip_low(z[0], z[1]), high01 = lanes_zip_high(z[0], z[1]);
        Lanes low23 = lanes_zip_low(z[2], z[3]), high23 = lanes_zip_high(z[2], z[3]);
        lanes_store(columns, lanes_pair_low(low01, low23));
        lanes_store(columns + LANES, lanes_pair_high(low01, low23));
        lanes_store(columns + 2 * LANES, lanes_pair_low(high01, high23));
        lanes_store(columns + 3 * LANES, lanes_pair_high(high01, high23));
    }
    for (; d < D; d++, columns += LANES)
        for (size_t c = 0; c < LANES; c++)
            columns[c] = key[c][d];
}

/* `rows` rows of x against the sixteen keys in `columns`. */
typedef struct {
    const float *x, *columns;
    size_t stride, D;
} Dots;

typedef struct {
    Lanes of[LANES_DOT_ROWS];
} Sums;

LANES_INLINE void dots_add(Sums *sums, const Sums *more, const size_t rows) {
    PARE_UNROLL
    for (size_t i = 0; i < rows; i++)
        sums->of[i] = lanes_add(sums->of[i], more->of[i]);
}

/* The written order's lane l, and then the folds into it of the lanes that are added to it. */
LANES_INLINE Sums dots_lane(const Dots *t, size_t l, const size_t rows) {
    Sums sums;
    PARE_UNROLL
    for (size_t i = 0; i < rows; i++)
        sums.of[i] = lanes_set1(0.0f);
    for (size_t d = l; d < t->D; d += LANES) {
        Lanes key = lanes_load(t->columns + d * LANES);
        PARE_UNROLL
        for (size_t i = 0; i < rows; i++)
            sums.of[i] = lanes_fma(lanes_set1(t->x[i * t->stride + d]), key, sums.of[i]);
    }
    return sums;
}

LANES_INLINE Sums dots_fold8(const Dots *t, size_t l, const size_t rows) {
    Sums a = dots_lane(t, l, rows), b = dots_lane(t, l + 8, rows);
    dots_add(&a, &b, rows);
    return a;
}

LANES_INLINE Sums dots_fold4(const Dots *t, size_t l, const size_t rows) {
    Sums a = dots_fold8(t, l, rows), b = dots_fold8(t, l + 4, rows);
    dots_add(&a, &b, rows);
    return a;
}

LANES_INLINE Sums dots_fold2(const Dots *t, size_t l, const size_t rows) {
    Sums a = dots_fold4(t, l, rows), b = dots_fold4(t, l + 2, rows);
    dots_add(&a, &b, rows);
    return a;
}

/* Scores of `rows` rows from r on against `count` <= 16 keys from j on. */
LANES_INLINE void score_columns(const PareAttend *a, const float *columns, size_t r, size_t j,
                                size_t count, const size_t rows) {
    Dots t = {a->q + r * a->q_stride, columns, a->q_stride, a->D};
    Sums sums = dots_fold2(&t, 0, rows), odd = dots_fold2(&t, 1, rows);
    dots_add(&sums, &odd, rows);
    const Lanes factor = lanes_set1(a->scale);
    for (size_t i = 0; i < rows; i++) {
        const float *bias = a->bias ? a->bias + (r + i) * a->bias_stride + j : NULL;
        Lanes s = bias ? lanes_fma(sums.of[i], factor, load_some(bias, count))
                       : lanes_mul(sums.of[i], factor);
        store_some(a->scratch + (r + i) * a->keys + j, count, s);
    }
}

/* dP, as far as the product dout . v goes. */
LANES_INLINE void product_columns(const PareAttendBackward *b, const float *columns, size_t r,
                                  size_t j, size_t count, const size_t rows) {
    const PareAttend *a = &b->forward;
    const float *x = b->dout + r * a->out_stride;
    Lanes sum[LANES_PRODUCT_ROWS];
    PARE_UNROLL
    for (size_t i = 0; i < rows; i++)
        sum[i] = lanes_set1(0.0f);
    for (size_t d = 0; d < a->D; d++) {
        Lanes value = lanes_load(columns + d * LANES);
        PARE_UNROLL
        for (size_t i = 0; i < rows; i++)
            sum[i] = lanes_fma(lanes_set1(x[i * a->out_stride + d]), value, sum[i]);
    }
    for (size_t i = 0; i < rows; i++)
        store_some(b->scratch + (r + i) * a->keys + j, count, sum[i]);
}

/* Whether some of the rows from r on see some of the sixteen keys from j on. */
static int rows_see(const PareAttend *a, size_t r, size_t rows, size_t j) {
    size_t first, last, unused;
    pare_attend_range(a, r, &first, &unused);
    pare_attend_range(a, r + rows - 1, &unused, &last);
    return j < last && first < j + LANES;
}

/* One block of keys against all rows. The last rows are done once more with some before them,
 * rather than one by one. */
static void scores_of_block(const PareAttendBackward *b, float *columns, size_t j, size_t count) {
    const PareAttend *a = &b->forward;
    transpose_keys(columns, a->k + j * a->k_stride, a->k_stride, count, a->D);
    if (a->rows < LANES_DOT_ROWS) {
        for (size_t r = 0; r < a->rows; r++)
            score_columns(a, columns, r, j, count, 1);
        return;
    }
    for (size_t r = 0; r < a->rows; r += LANES_DOT_ROWS) {
        size_t from = a->rows - r < LANES_DOT_ROWS ? a->rows - LANES_DOT_ROWS : r;
        if (!rows_see(a, from, LANES_DOT_ROWS, j))
            continue;
        if (count == LANES)
            score_columns(a, columns, from, j, LANES, LANES_DOT_ROWS);
        else
            score_columns(a, columns, from, j, count, LANES_DOT_ROWS);
    }
}

static void products_of_block(const PareAttendBackward *b, float *columns, size_t j, size_t count) {
    const PareAttend *a = &b->forward;
    transpose_keys(columns, a->v + j * a->v_stride, a->v_stride, count, a->D);
    if (a->rows < LANES_PRODUCT_ROWS) {
        for (size_t r = 0; r < a->rows; r++)
            product_columns(b, columns, r, j, count, 1);
        return;
    }
    for (size_t r = 0; r < a->rows; r += LANES_PRODUCT_ROWS) {
        size_t from = a->rows - r < LANES_PRODUCT_ROWS ? a->rows - LANES_PRODUCT_ROWS : r;
        if (rows_see(a, from, LANES_PRODUCT_ROWS, j))
            product_columns(b, columns, from, j, count, LANES_PRODUCT_ROWS);
    }
}

/* Scores and dP without transposing, for heads of any size. */
static void scores_plain(const PareAttendBackward *b, size_t first, size_t last) {
    const PareAttend *a = &b->forward;
    for (size_t r = 0; r < a->rows; r++) {
        score_rows(a, r, first, last, 1);
        const float *dout = b->dout + r * a->out_stride;
        for (size_t j = first; j < last; j++) {
            const float *v = a->v + j * a->v_stride;
            float sum = 0.0f;
            for (size_t d = 0; d < a->D; d++)
                sum = fmaf(dout[d], v[d], sum);
            b->scratch[r * a->keys + j] = sum;
        }
    }
}

LANES_INLINE Lanes delta_step(const float *p, const float *ds, size_t n, Lanes sum) {
    Lanes more = lanes_fma(load_some(p, n), load_some(ds, n), sum);
    return n == LANES ? more : lanes_blend(more, sum, n);
}

/* dP in t becomes dS * scale, and dS is added to dbias. */
LANES_INLINE void slope_of_score_step(const float *p, float *t, float *dbias, Lanes delta,
                                      Lanes factor, size_t n) {
    Lanes ds = lanes_mul(load_some(p, n), lanes_sub(load_some(t, n), delta));
    if (dbias)
        store_some(dbias, n, lanes_add(load_some(dbias, n), ds));
    store_some(t, n, lanes_mul(ds, factor));
}

static void softmax_backward(const float *p, float *t, float *dbias, float factor, size_t N) {
    Lanes sum = lanes_set1(0.0f);
    size_t j = 0;
    for (; j + LANES <= N; j += LANES)
        sum = delta_step(p + j, t + j, LANES, sum);
    if (j < N)
        sum = delta_step(p + j, t + j, N - j, sum);
    const Lanes delta = lanes_set1(lanes_fold(sum)), by = lanes_set1(factor);
    for (j = 0; j + LANES <= N; j += LANES)
        slope_of_score_step(p + j, t + j, dbias ? dbias + j : NULL, delta, by, LANES);
    if (j < N)
        slope_of_score_step(p + j, t + j, dbias ? dbias + j : NULL, delta, by, N - j);
}

/* Row r of the tile: from scores and dP to the dropped probabilities and dS * scale. */
static void probabilities_backward(const PareAttendBackward *b, size_t r) {
    const PareAttend *a = &b->forward;
    size_t first, last;
    pare_attend_range(a, r, &first, &last);
    float *p = a->scratch + r * a->keys + first, *t = b->scratch + r * a->keys + first;
    float *dbias = b->dbias ? b->dbias + r * a->bias_stride + first : NULL;
    uint64_t index = a->dropout_index + r * a->dropout_stride + first;
    softmax(p, p, last - first);
    if (a->dropout)
        dropout(t, t, a->dropout, index, last - first);
    softmax_backward(p, t, dbias, a->scale, last - first);
    if (a->dropout)
        dropout(p, p, a->dropout, index, last - first);
}

/* A sum over rows for each key: out[j] += w[r][j] x[r], rows in order. */
typedef struct {
    float *out;
    const float *w, *x;
    size_t out_stride, w_stride, x_stride, D;
} KeySums;

/* `keys` keys from j on, `groups` groups of 16 columns from d on (part > 0: one, of which only so
 * many columns exist), rows begin <= r < end. */
LANES_INLINE void key_tile(const KeySums *s, size_t j, size_t begin, size_t end, size_t d,
                           size_t part, const size_t keys, const size_t groups) {
    const Lanes zero = lanes_set1(0.0f);
    float *out = s->out + j * s->out_stride + d;
    Lanes sum[LANES_OUT_ROWS][LANES_OUT_GROUPS];
    PARE_UNROLL
    for (size_t i = 0; i < keys; i++) {
        PARE_UNROLL
        for (size_t g = 0; g < groups; g++)
            sum[i][g] = part ? lanes_load_part(out + i * s->out_stride, part, zero)
                             : lanes_load(out + i * s->out_stride + g * LANES);
    }
    for (size_t r = begin; r < end; r++) {
        const float *x = s->x + r * s->x_stride + d, *w = s->w + r * s->w_stride + j;
        Lanes value[LANES_OUT_GROUPS];
        PARE_UNROLL
        for (size_t g = 0; g < groups; g++)
            value[g] = part ? lanes_load_part(x, part, zero) : lanes_load(x + g * LANES);
        PARE_UNROLL
        for (size_t i = 0; i < keys; i++) {
            Lanes weight = lanes_set1(w[i]);
            PARE_UNROLL
            for (size_t g = 0; g < groups; g++)
                sum[i][g] = lanes_fma(weight, value[g], sum[i][g]);
        }
    }
    PARE_UNROLL
    for (size_t i = 0; i < keys; i++) {
        PARE_UNROLL
        for (size_t g = 0; g < groups; g++)
            if (part)
                lanes_store_part(out + i * s->out_stride, part, sum[i][g]);
            else
                lanes_store(out + i * s->out_stride + g * LANES, sum[i][g]);
    }
}

LANES_INLINE void key_sums(const KeySums *s, size_t j, size_t begin, size_t end,
                           const size_t keys) {
    if (begin >= end)
        return;
    size_t d = 0;
    for (; d + LANES_OUT_GROUPS * LANES <= s->D; d += LANES_OUT_GROUPS * LANES)
        key_tile(s, j, begin, end, d, 0, keys, LANES_OUT_GROUPS);
    for (; d + 2 * LANES <= s->D; d += 2 * LANES)
        key_tile(s, j, begin, end, d, 0, keys, 2);
    for (; d + LANES <= s->D; d += LANES)
        key_tile(s, j, begin, end, d, 0, keys, 1);
    if (d < s->D)
        key_tile(s, j, begin, end, d, s->D - d, keys, 1);
}

static void one_key_sum(const KeySums *s, size_t j, size_t begin, size_t end) {
    key_sums(s, j, begin, end, 1);
}

/* The rows of the tile that see key j are those with begin <= r < end; neither decreases with j. */
static void rows_of_key(const PareAttend *a, size_t j, size_t *begin, size_t *end) {
    *begin = 0;
    *end = a->rows;
    if (!a->causal)
        return;
    if (j > a->causal_offset)
        *begin = j - a->causal_offset < a->rows ? j - a->causal_offset : a->rows;
    if (!a->window || a->window >= a->keys || j + a->window >= a->keys)
        return;
    size_t limit = j + a->window > a->causal_offset ? j + a->window - a->causal_offset : 0;
    *end = limit < a->rows ? limit : a->rows;
}

/* Keys together for the rows that see all of them; what only some of them are seen by is done key
 * by key before and after, in order. */
static void sums_of_keys(const PareAttend *a, const KeySums *s, size_t j, size_t keys) {
    size_t begin, end, common_begin, common_end;
    rows_of_key(a, j, &begin, &common_end);
    rows_of_key(a, j + keys - 1, &common_begin, &end);
    if (keys < LANES_OUT_ROWS || common_begin >= common_end)
        common_begin = common_end = end; /* nothing is worth doing together */
    for (size_t i = 0; i < keys; i++) {
        rows_of_key(a, j + i, &begin, &end);
        one_key_sum(s, j + i, begin, end < common_begin ? end : common_begin);
    }
    if (common_begin == common_end)
        return;
    key_sums(s, j, common_begin, common_end, LANES_OUT_ROWS);
    for (size_t i = 0; i < keys; i++) {
        rows_of_key(a, j + i, &begin, &end);
        one_key_sum(s, j + i, common_end, end);
    }
}

static void sums_over_rows(const PareAttend *a, const KeySums *s, size_t first, size_t last) {
    for (size_t j = first; j < last; j += LANES_OUT_ROWS)
        sums_of_keys(a, s, j, last - j < LANES_OUT_ROWS ? last - j : LANES_OUT_ROWS);
}

static void sums_over_keys(const PareAttendBackward *b) {
    PareAttend a = b->forward;
    a.out = b->dq;
    a.out_stride = a.q_stride;
    a.v = a.k;
    a.v_stride = a.k_stride;
    a.scratch = b->scratch;
    for (size_t r = 0; r < a.rows; r += LANES_OUT_ROWS)
        add_values(&a, r, a.rows - r < LANES_OUT_ROWS ? a.rows - r : LANES_OUT_ROWS);
}

/* At most PARE_ATTEND_BACKWARD_ROWS rows; probabilities in the forward scratch, dS in the other. */
static void attend_backward_tile(const PareAttendBackward *b) {
    const PareAttend *a = &b->forward;
    float columns[COLUMNS_MAX * LANES];
    size_t first, last, unused;
    pare_attend_range(a, 0, &first, &unused);
    pare_attend_range(a, a->rows - 1, &unused, &last);
    if (a->D > COLUMNS_MAX)
        scores_plain(b, first, last);
    for (size_t j = first; j < last && a->D <= COLUMNS_MAX; j += LANES) {
        size_t count = last - j < LANES ? last - j : LANES;
        scores_of_block(b, columns, j, count);
        products_of_block(b, columns, j, count);
    }
    for (size_t r = 0; r < a->rows; r++)
        probabilities_backward(b, r);
    KeySums dv = {b->dv, a->scratch, b->dout, a->v_stride, a->keys, a->out_stride, a->D};
    KeySums dk = {b->dk, b->scratch, a->q, a->k_stride, a->keys, a->q_stride, a->D};
    if (b->dv)
        sums_over_rows(a, &dv, first, last);
    if (b->dk)
        sums_over_rows(a, &dk, first, last);
    if (b->dq)
        sums_over_keys(b);
}

static void attend_backward(const PareAttendBackward *b) {
    for (size_t r = 0; r < b->forward.rows; r += PARE_ATTEND_BACKWARD_ROWS) {
        PareAttendBackward tile = *b;
        PareAttend *a = &tile.forward;
        a->rows = b->forward.rows - r;
        if (a->rows > PARE_ATTEND_BACKWARD_ROWS)
            a->rows = PARE_ATTEND_BACKWARD_ROWS;
        a->scratch = b->scratch;
        tile.scratch = b->scratch + a->rows * a->keys;
        a->q += r * a->q_stride;
        a->bias = a->bias ? a->bias + r * a->bias_stride : NULL;
        a->causal_offset += r;
        a->dropout_index += r * a->dropout_stride;
        tile.dout += r * a->out_stride;
        tile.dq = b->dq ? b->dq + r * a->q_stride : NULL;
        tile.dbias = b->dbias ? b->dbias + r * a->bias_stride : NULL;
        attend_backward_tile(&tile);
    }
}

#endif
