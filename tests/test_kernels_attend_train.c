/* The backward pass of attention, every variant against scalar bit for bit: all shapes, gradients
 * that are not wanted, rows in parts, and keys that no row sees. (What the gradients must be is in
 * test_kernels_gradients.c.) */
#include "tests/test_kernels.h"

enum { GRADIENTS = 4 }; /* dq, dk, dv, dbias */
enum { BIAS = 1, CAUSAL = 2, WINDOW = 4, DROP = 8, USES = 16 };

static const char *const names[GRADIENTS] = {"dq", "dk", "dv", "dbias"};
static const PareDropout a_fifth = {7, 3, 0x33333333u, 1.25f};

typedef struct {
    PareAttendBackward b;
    Guarded q, k, v, bias, dout, scratch;
    Guarded start[GRADIENTS], expected[GRADIENTS], got[GRADIENTS];
} Case;

static float *floats(const Guarded *g) {
    return g->data;
}

static Guarded filled(size_t count, size_t offset, uint64_t seed) {
    Guarded g = guarded_create(count * sizeof(float), offset);
    fill_floats(g.data, count, 1.5f, seed);
    return g;
}

static void case_outputs(Case *c, uint64_t seed) {
    const PareAttend *a = &c->b.forward;
    const size_t sizes[GRADIENTS] = {a->rows * a->q_stride, a->keys * a->k_stride,
                                     a->keys * a->v_stride, a->rows * a->bias_stride};
    for (size_t i = 0; i < GRADIENTS; i++) {
        c->start[i] = filled(sizes[i], 0, seed + i);
        c->expected[i] = filled(sizes[i], 4, seed + i);
        c->got[i] = filled(sizes[i], 12, seed + i);
    }
}

static Case case_create(size_t rows, size_t keys, size_t D, int use, uint64_t seed) {
    Case c = {0};
    size_t tile = rows < PARE_ATTEND_BACKWARD_ROWS ? rows : PARE_ATTEND_BACKWARD_ROWS;
    PareAttend *a = &c.b.forward;
    *a = (PareAttend){.q_stride = D + 1,
                      .out_stride = D + 2,
                      .k_stride = D + 3,
                      .v_stride = D + 5,
                      .bias_stride = keys + 3,
                      .rows = rows,
                      .keys = keys,
                      .D = D,
                      .causal = (use & CAUSAL) != 0,
                      .causal_offset = keys > rows ? keys - rows : 0,
                      .window = use & WINDOW ? 5 + seed % 13 : 0,
                      .scale = 0.37f,
                      .dropout = use & DROP ? &a_fifth : NULL,
                      .dropout_index = seed,
                      .dropout_stride = keys + seed % 5};
    c.q = filled(rows * a->q_stride, 4, seed);
    c.k = filled(keys * a->k_stride, 8, seed + 1);
    c.v = filled(keys * a->v_stride, 12, seed + 2);
    c.bias = filled(rows * a->bias_stride, 4, seed + 3);
    c.dout = filled(rows * a->out_stride, 8, seed + 4);
    c.scratch = guarded_create(2 * tile * keys * sizeof(float), 4);
    case_outputs(&c, seed + 5);
    a->q = c.q.data;
    a->k = c.k.data;
    a->v = c.v.data;
    a->bias = use & BIAS ? c.bias.data : NULL;
    c.b.dout = c.dout.data;
    c.b.scratch = c.scratch.data;
    return c;
}

static void case_destroy(Case *c) {
    Guarded *all[] = {&c->q, &c->k, &c->v, &c->bias, &c->dout, &c->scratch};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        guarded_destroy(all[i]);
    for (size_t i = 0; i < GRADIENTS; i++) {
        guarded_destroy(&c->start[i]);
        guarded_destroy(&c->expected[i]);
        guarded_destroy(&c->got[i]);
    }
}

/* The call that adds the gradients in `wanted` (bits) to `to`, which begins as `start`. */
static PareAttendBackward call_to(const Case *c, Guarded *to, int wanted) {
    PareAttendBackward b = c->b;
    for (size_t i = 0; i < GRADIENTS; i++)
        memcpy(to[i].data, c->start[i].data, to[i].size);
    b.dq = wanted & 1 ? to[0].data : NULL;
    b.dk = wanted & 2 ? to[1].data : NULL;
    b.dv = wanted & 4 ? to[2].data : NULL;
    b.dbias = wanted & 8 ? to[3].data : NULL;
    return b;
}

static void run_to(const PareKernels *k, const Case *c, Guarded *to, int wanted) {
    PareAttendBackward b = call_to(c, to, wanted);
    k->attend_backward(&b);
}

/* Gaps between the rows are compared too: nothing may write there. */
static void compare(const Case *c, const char *variant) {
    for (size_t i = 0; i < GRADIENTS; i++)
        assert_same_bits(names[i], variant, c->expected[i].data, c->got[i].data,
                         c->got[i].size / sizeof(float));
}

static void variants_at(size_t rows, size_t keys, size_t D, int use, int wanted) {
    Case c = case_create(rows, keys, D, use, rows + keys + D + (size_t)use);
    const PareKernels *k;
    run_to(SCALAR, &c, c.expected, wanted);
    for (VARIANTS(k)) {
        run_to(k, &c, c.got, wanted);
        compare(&c, k->name);
    }
    case_destroy(&c);
}

static void test_shapes(void **state) {
    (void)state;
    const size_t sizes[] = {0, 1, 2, 3, 5, 8, 15, 16, 17, 33, 70};
    const size_t heads[] = {1, 3, 4, 8, 15, 16, 17, 32, 40, 64, 80, 100, 128, 255, 256, 260};
    enum { SIZES = sizeof sizes / sizeof sizes[0], HEADS = sizeof heads / sizeof heads[0] };
    for (size_t i = 0; i < SIZES; i++)
        for (size_t j = 0; j < SIZES; j++)
            for (size_t d = (i + j) % 2; d < HEADS; d += 2)
                variants_at(sizes[i], sizes[j], heads[d], (int)((i + 5 * j + 3 * d) % USES), 15);
}

static void test_every_use(void **state) {
    (void)state;
    for (int use = 0; use < USES; use++)
        for (size_t rows = 1; rows < 43; rows += rows < 12 ? 1 : 6)
            for (size_t more = 0; more < 40; more += 19)
                variants_at(rows, rows + more, 20, use, 15);
}

/* More rows than keys: with a causal mask the first rows see key 0 alone. */
static void test_more_rows(void **state) {
    (void)state;
    for (int use = 0; use < USES; use++)
        for (size_t keys = 1; keys < 30; keys += 4)
            variants_at(67, keys, 24, use, 15);
}

static void test_wanted(void **state) {
    (void)state;
    for (int wanted = 0; wanted < 16; wanted++)
        variants_at(14, 23, 48, wanted % 2 ? BIAS | DROP : CAUSAL, wanted);
}

/* Rows of one sequence in several calls, in order: the same bits as in one. */
static void test_rows_in_parts(void **state) {
    (void)state;
    const PareKernels *k;
    for (size_t v = 0; (k = pare_kernels_variant(v)) != NULL; v++)
        for (int use = 0; use < USES; use++)
            for (size_t step = 1; step < 60; step += 9) {
                Case c = case_create(71, 75, 20, use, 4);
                run_to(k, &c, c.expected, 15);
                PareAttendBackward all = call_to(&c, c.got, 15);
                for (size_t r = 0; r < all.forward.rows; r += step) {
                    PareAttendBackward b = all;
                    PareAttend *a = &b.forward;
                    a->rows = all.forward.rows - r < step ? all.forward.rows - r : step;
                    a->q += r * a->q_stride;
                    a->bias = a->bias ? a->bias + r * a->bias_stride : NULL;
                    a->causal_offset += r;
                    a->dropout_index += r * a->dropout_stride;
                    b.dout += r * a->out_stride;
                    b.dq += r * a->q_stride;
                    b.dbias += r * a->bias_stride;
                    k->attend_backward(&b);
                }
                compare(&c, k->name);
                case_destroy(&c);
            }
}

/* Keys that no row sees may hold anything, and their gradients keep their bits. */
static void test_unseen_keys(void **state) {
    (void)state;
    const PareKernels *k;
    for (size_t v = 0; (k = pare_kernels_variant(v)) != NULL; v++)
        for (int use = CAUSAL; use < USES; use++) {
            if (!(use & CAUSAL))
                continue;
            Case c = case_create(9, 60, 20, use, 3);
            PareAttend *a = &c.b.forward;
            a->causal_offset = 31; /* row 8 sees keys up to 39; row 0's window (8) begins at 24 */
            run_to(k, &c, c.expected, 15);
            for (size_t j = 0; j < a->keys; j++) {
                if (j < 40 && (!a->window || j >= 24))
                    continue;
                for (size_t d = 0; d < a->D; d++) {
                    floats(&c.k)[j * a->k_stride + d] = d % 2 ? NAN : INFINITY;
                    floats(&c.v)[j * a->v_stride + d] = d % 2 ? -INFINITY : NAN;
                }
                size_t at = j * a->k_stride;
                assert_memory_equal(floats(&c.expected[1]) + at, floats(&c.start[1]) + at,
                                    a->D * sizeof(float));
            }
            run_to(k, &c, c.got, 15);
            compare(&c, k->name);
            case_destroy(&c);
        }
}

/* NaN and infinity among what is seen: where scalar has NaN, every variant has. */
static void test_special(void **state) {
    (void)state;
    const PareKernels *k;
    for (uint64_t seed = 0; seed < 24; seed++) {
        Case c = case_create(19, 35, 24, (int)(seed % USES), seed + 1);
        Guarded *inputs[] = {&c.q, &c.k, &c.v, &c.dout};
        Guarded *input = inputs[seed % 4];
        size_t count = input->size / sizeof(float);
        if (seed < 8)
            fill_special(input->data, count, seed);
        floats(input)[seed * 31 % count] = seed % 2 ? NAN : INFINITY;
        run_to(SCALAR, &c, c.expected, 15);
        for (VARIANTS(k)) {
            run_to(k, &c, c.got, 15);
            compare(&c, k->name);
        }
        case_destroy(&c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_shapes),        cmocka_unit_test(test_every_use),
        cmocka_unit_test(test_more_rows),     cmocka_unit_test(test_wanted),
        cmocka_unit_test(test_rows_in_parts), cmocka_unit_test(test_unseen_keys),
        cmocka_unit_test(test_special),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
