/* Attention of every variant against scalar, bit for bit, against plain sums in double, and
 * against itself: the rows together or one by one, keys in order or in slots. */
#include "tests/test_kernels.h"

enum { GAP = 3 };

typedef struct {
    PareAttend a;
    Guarded q, k, v, bias, out, expected, scratch;
    int32_t *slots;
} Case;

static float *floats(const Guarded *g) {
    return g->data;
}

static Guarded guarded_floats(size_t count, size_t offset, uint64_t seed) {
    Guarded g = guarded_create(count * sizeof(float), offset);
    fill_floats(g.data, count, 1.5f, seed);
    return g;
}

/* `use` is a sum of these. */
enum { BIAS = 1, SLOTS = 2, CAUSAL = 4, WINDOW = 8, DROP = 16, USES = 32 };

static const PareDropout a_fifth = {7, 3, 0x33333333u, 1.25f};

static Case case_create(size_t rows, size_t keys, size_t D, int use, uint64_t seed) {
    Case c = {.slots = NULL};
    size_t stride = D + GAP, places = keys * 2;
    c.q = guarded_floats(rows * stride, 4, seed);
    c.k = guarded_floats(places * stride, 8, seed + 1);
    c.v = guarded_floats(places * stride, 12, seed + 2);
    c.bias = guarded_floats(rows * (keys + GAP), 4, seed + 3);
    c.out = guarded_floats(rows * stride, 4, seed + 4);
    c.expected = guarded_floats(rows * stride, 0, seed + 5);
    c.scratch = guarded_create(rows * keys * sizeof(float), 4);
    if (use & SLOTS) {
        c.slots = calloc(keys + 1, sizeof *c.slots);
        assert_non_null(c.slots);
        for (size_t j = 0; j < keys; j++)
            c.slots[j] = (int32_t)((j * 7 + 3) % places);
    }
    c.a = (PareAttend){.q = c.q.data,
                       .out = c.out.data,
                       .k = c.k.data,
                       .v = c.v.data,
                       .slots = c.slots,
                       .bias = use & BIAS ? c.bias.data : NULL,
                       .q_stride = stride,
                       .out_stride = stride,
                       .k_stride = stride,
                       .v_stride = stride,
                       .bias_stride = keys + GAP,
                       .rows = rows,
                       .keys = keys,
                       .D = D,
                       .causal = (use & CAUSAL) != 0,
                       .causal_offset = keys > rows ? keys - rows : 0,
                       .window = use & WINDOW ? 5 : 0,
                       .scale = 0.37f,
                       .scratch = c.scratch.data,
                       .dropout = use & DROP ? &a_fifth : NULL,
                       .dropout_index = seed,
                       .dropout_stride = keys + seed % 5};
    return c;
}

static void case_destroy(Case *c) {
    Guarded *all[] = {&c->q, &c->k, &c->v, &c->bias, &c->out, &c->expected, &c->scratch};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        guarded_destroy(all[i]);
    free(c->slots);
}

static void attend_to(const PareKernels *k, const Case *c, const Guarded *out) {
    PareAttend a = c->a;
    a.out = out->data;
    k->attend(&a);
}

/* Columns D .. stride of the outputs were filled alike, and nothing may write there. */
static void compare_rows(const Case *c, const char *variant, const char *what) {
    for (size_t r = 0; r < c->a.rows; r++)
        assert_same_bits(what, variant, floats(&c->expected) + r * c->a.out_stride,
                         floats(&c->out) + r * c->a.out_stride, c->a.D);
}

static const size_t sizes[] = {1, 2, 3, 4, 5, 15, 16, 17, 33, 70};
static const size_t head_sizes[] = {1, 3, 8, 15, 16, 17, 32, 40, 64, 80, 100, 128};
enum {
    SIZES = sizeof sizes / sizeof sizes[0],
    HEAD_SIZES = sizeof head_sizes / sizeof head_sizes[0]
};

static void test_variants(void **state) {
    (void)state;
    const PareKernels *k;
    for (size_t i = 0; i < SIZES; i++)
        for (size_t j = 0; j < SIZES; j++)
            for (size_t d = 0; d < HEAD_SIZES; d++) {
                int use = (int)((i + 5 * j + 3 * d) % USES);
                Case c = case_create(sizes[i], sizes[j], head_sizes[d], use, i + j + d + 1);
                attend_to(SCALAR, &c, &c.expected);
                for (VARIANTS(k)) {
                    attend_to(k, &c, &c.out);
                    compare_rows(&c, k->name, "attend");
                }
                case_destroy(&c);
            }
}

static void test_every_use(void **state) {
    (void)state;
    const PareKernels *k;
    for (int use = 0; use < USES; use++)
        for (size_t rows = 1; rows < 14; rows++)
            for (size_t more = 0; more < 20; more += 19) {
                Case c = case_create(rows, rows + more, 72, use, rows + 1);
                attend_to(SCALAR, &c, &c.expected);
                for (VARIANTS(k)) {
                    attend_to(k, &c, &c.out);
                    compare_rows(&c, k->name, "attend");
                }
                case_destroy(&c);
            }
}

/* Values that no row or only some rows see may be anything: rows must not reach them. */
static void test_unseen_keys(void **state) {
    (void)state;
    const PareKernels *k;
    for (size_t v = 0; (k = pare_kernels_variant(v)) != NULL; v++)
        for (int use = CAUSAL; use < USES; use++) {
            if (!(use & CAUSAL) || (use & SLOTS))
                continue;
            Case c = case_create(9, 12, 20, use, 3);
            c.a.causal_offset = 2; /* row 8 sees keys up to 10: 11 is seen by none */
            attend_to(k, &c, &c.expected);
            for (size_t r = 0; r < c.a.rows; r++) {
                size_t last = r + 3, first = c.a.window && last > 5 ? last - 5 : 0;
                Case one = case_create(9, 12, 20, use, 3);
                one.a.causal_offset = 2;
                for (size_t j = 0; j < one.a.keys; j++)
                    for (size_t d = 0; d < one.a.D && (j < first || j >= last); d++) {
                        floats(&one.k)[j * one.a.k_stride + d] = d % 2 ? NAN : INFINITY;
                        floats(&one.v)[j * one.a.v_stride + d] = d % 2 ? -INFINITY : NAN;
                    }
                attend_to(k, &one, &one.out);
                assert_same_bits("attend with broken unseen keys", k->name,
                                 floats(&c.expected) + r * c.a.out_stride,
                                 floats(&one.out) + r * c.a.out_stride, c.a.D);
                case_destroy(&one);
            }
            case_destroy(&c);
        }
}

/* One row at a time, as decoding does it, and any other split: the same bits. */
static void test_rows_apart(void **state) {
    (void)state;
    const PareKernels *k;
    for (size_t v = 0; (k = pare_kernels_variant(v)) != NULL; v++)
        for (int use = 0; use < USES; use++)
            for (size_t step = 1; step < 8; step++) {
                Case c = case_create(13, 21, 48, use, 4);
                attend_to(k, &c, &c.expected);
                for (size_t r = 0; r < c.a.rows; r += step) {
                    PareAttend part = c.a;
                    part.rows = c.a.rows - r < step ? c.a.rows - r : step;
                    part.q += r * part.q_stride;
                    part.out += r * part.out_stride;
                    part.bias = part.bias ? part.bias + r * part.bias_stride : NULL;
                    part.causal_offset += r;
                    part.dropout_index += r * part.dropout_stride;
                    if (part.causal) /* decoding has only the keys up to now */
                        part.keys = part.causal_offset + part.rows;
                    k->attend(&part);
                }
                compare_rows(&c, k->name, "attend in parts");
                case_destroy(&c);
            }
}

/* The same keys wherever they lie. */
static void test_slots(void **state) {
    (void)state;
    const PareKernels *k;
    for (size_t v = 0; (k = pare_kernels_variant(v)) != NULL; v++) {
        Case c = case_create(6, 30, 64, SLOTS | CAUSAL, 8);
        attend_to(k, &c, &c.expected);
        Case plain = case_create(6, 30, 64, CAUSAL, 8);
        for (size_t j = 0; j < c.a.keys; j++) {
            size_t from = (size_t)c.slots[j] * c.a.k_stride, to = j * c.a.k_stride;
            memcpy(floats(&plain.k) + to, floats(&c.k) + from, c.a.D * sizeof(float));
            memcpy(floats(&plain.v) + to, floats(&c.v) + from, c.a.D * sizeof(float));
        }
        attend_to(k, &plain, &c.out);
        compare_rows(&c, k->name, "attend with slots");
        case_destroy(&plain);
        case_destroy(&c);
    }
}

static void test_out_is_q(void **state) {
    (void)state;
    const PareKernels *k;
    for (size_t v = 0; (k = pare_kernels_variant(v)) != NULL; v++) {
        Case c = case_create(7, 19, 50, BIAS, 8);
        attend_to(k, &c, &c.expected);
        memcpy(c.out.data, c.q.data, c.q.size);
        c.a.q = c.out.data;
        attend_to(k, &c, &c.out);
        compare_rows(&c, k->name, "attend in place");
        case_destroy(&c);
    }
}

static void test_no_keys(void **state) {
    (void)state;
    const PareKernels *k;
    for (size_t v = 0; (k = pare_kernels_variant(v)) != NULL; v++)
        for (int use = 0; use < USES; use++) {
            Case c = case_create(6, 0, 21, use, 8);
            memset(c.expected.data, 0, c.expected.size);
            attend_to(k, &c, &c.out);
            compare_rows(&c, k->name, "attend without keys");
            c.a.rows = 0;
            attend_to(k, &c, &c.out);
            case_destroy(&c);
        }
}

/* With one-hot values the output is the probabilities: dropped just as the entry `dropout` does. */
static void test_dropout(void **state) {
    (void)state;
    enum { KEYS = 37, ROWS = 11 };
    const PareKernels *k;
    for (size_t v = 0; (k = pare_kernels_variant(v)) != NULL; v++) {
        Case c = case_create(ROWS, KEYS, KEYS, DROP, 9);
        for (size_t j = 0; j < KEYS; j++)
            for (size_t d = 0; d < KEYS; d++)
                floats(&c.v)[j * c.a.v_stride + d] = j == d ? 1.0f : 0.0f;
        attend_to(k, &c, &c.out);
        c.a.dropout = NULL;
        attend_to(k, &c, &c.expected);
        size_t dropped = 0;
        for (size_t r = 0; r < ROWS; r++) {
            float *row = floats(&c.expected) + r * c.a.out_stride;
            k->dropout(row, row, &a_fifth, c.a.dropout_index + r * c.a.dropout_stride, KEYS);
            for (size_t j = 0; j < KEYS; j++)
                dropped += row[j] == 0.0f;
        }
        compare_rows(&c, k->name, "attend with dropout");
        assert_in_range(dropped, ROWS * KEYS / 8, ROWS * KEYS / 3);
        case_destroy(&c);
    }
}

/* Against double, with scores large enough that the maximum matters. */
static void test_accuracy(void **state) {
    (void)state;
    Case c = case_create(5, 40, 64, BIAS | CAUSAL, 2);
    c.a.scale = 3.0f;
    attend_to(pare_kernels(), &c, &c.out);
    for (size_t r = 0; r < c.a.rows; r++) {
        size_t last = c.a.causal_offset + r + 1;
        double score[40], max = -INFINITY, sum = 0;
        for (size_t j = 0; j < last; j++) {
            double dot = 0;
            for (size_t d = 0; d < c.a.D; d++)
                dot += (double)c.a.q[r * c.a.q_stride + d] * (double)c.a.k[j * c.a.k_stride + d];
            score[j] = dot * 3.0 + (double)c.a.bias[r * c.a.bias_stride + j];
            max = fmax(max, score[j]);
        }
        for (size_t j = 0; j < last; j++)
            sum += score[j] = exp(score[j] - max);
        for (size_t d = 0; d < c.a.D; d++) {
            double out = 0;
            for (size_t j = 0; j < last; j++)
                out += score[j] / sum * (double)c.a.v[j * c.a.v_stride + d];
            assert_true(fabs(out - (double)c.a.out[r * c.a.out_stride + d]) < 2e-5);
        }
    }
    case_destroy(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_variants),   cmocka_unit_test(test_every_use),
        cmocka_unit_test(test_rows_apart), cmocka_unit_test(test_unseen_keys),
        cmocka_unit_test(test_slots),      cmocka_unit_test(test_out_is_q),
        cmocka_unit_test(test_no_keys),    cmocka_unit_test(test_accuracy),
        cmocka_unit_test(test_dropout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
