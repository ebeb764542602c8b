/* The matrix products of every variant against scalar, bit for bit, and scalar against plain sums
 * in 64 bits: awkward shapes, guard bytes, extreme values, and any split into rows and columns. */
#include "tests/test_kernels.h"

#include "core/tensor.h"

enum { BLOCK = 16, DEPTH = 4, COLUMN_GAP = 5 };

static const size_t heights[] = {0, 1, 2, 3, 5, 6, 7, 17, 64};
static const size_t depths[] = {0, 1, 3, 4, 15, 16, 17, 33, 64, 130};
static const size_t widths[] = {1, 3, 15, 16, 17, 33, 64, 65, 100, 130};
enum {
    HEIGHTS = sizeof heights / sizeof heights[0],
    DEPTHS = sizeof depths / sizeof depths[0],
    WIDTHS = sizeof widths / sizeof widths[0]
};

static size_t round_up(size_t n, size_t step) {
    return (n + step - 1) / step * step;
}

/* One product y[M, N] = x[M, K] w[N, K]^T + bias: INT8 where `bytes` is set, else halves. */
typedef struct {
    size_t M, K, N, K4, Npad, ldx, ldy;
    Guarded x8, w8, xscale, wscale, sums; /* INT8; w8 blocked, plain8 as [N, K] */
    int8_t *plain8;
    Guarded x, w; /* halves */
    Guarded bias, expected, got;
} Case;

static float *floats(const Guarded *g) {
    return g->data;
}

typedef enum { RANDOM, ALL_127, ALTERNATING } ByteFill;

static int8_t extreme(ByteFill fill, size_t row, size_t column) {
    if (fill == ALL_127)
        return (int8_t)(row % 2 ? -127 : 127);
    return (int8_t)((row + column) % 2 ? -127 : 127);
}

static void fill_matrix8(int8_t *q, size_t rows, size_t cols, size_t stride, ByteFill fill,
                         uint64_t seed) {
    memset(q, 0, rows * stride);
    for (size_t r = 0; r < rows; r++) {
        fill_bytes(q + r * stride, cols, seed + r);
        for (size_t c = 0; fill != RANDOM && c < cols; c++)
            q[r * stride + c] = extreme(fill, r, c);
    }
}

static Case case_create(size_t M, size_t K, size_t N, uint64_t seed) {
    Case c = {.M = M, .K = K, .N = N, .K4 = round_up(K, DEPTH), .Npad = round_up(N, BLOCK)};
    c.ldy = N + COLUMN_GAP;
    c.bias = guarded_create(N * sizeof(float), 4);
    c.expected = guarded_create(M * c.ldy * sizeof(float), 4);
    c.got = guarded_create(M * c.ldy * sizeof(float), 8);
    fill_floats(floats(&c.bias), N, 2.0f, seed + 100);
    return c;
}

static Case case_create8(size_t M, size_t K, size_t N, ByteFill fill, uint64_t seed) {
    Case c = case_create(M, K, N, seed);
    c.x8 = guarded_create(M * c.K4, 1);
    c.w8 = guarded_create(c.Npad * c.K4, 0);
    c.xscale = guarded_create(M * sizeof(float), 4);
    c.wscale = guarded_create(c.Npad * sizeof(float), 4);
    c.sums = guarded_create(c.Npad * sizeof(int32_t), 4);
    c.plain8 = calloc(c.Npad * c.K4 + 1, 1);
    assert_non_null(c.plain8);
    fill_matrix8(c.x8.data, M, K, c.K4, fill, seed);
    fill_matrix8(c.plain8, N, K, c.K4, fill, seed + 1);
    fill_floats(floats(&c.xscale), M, 0.1f, seed + 2);
    fill_floats(floats(&c.wscale), c.Npad, 0.1f, seed + 3);
    int8_t *w = c.w8.data;
    int32_t *sums = c.sums.data;
    for (size_t n = 0; n < c.Npad; n++) {
        sums[n] = 0;
        for (size_t k = 0; k < c.K4; k++) {
            int8_t v = c.plain8[n * c.K4 + k];
            sums[n] += v;
            w[((n / BLOCK * (c.K4 / DEPTH) + k / DEPTH) * BLOCK + n % BLOCK) * DEPTH + k % DEPTH] =
                v;
        }
    }
    return c;
}

static void case_destroy(Case *c) {
    Guarded *all[] = {&c->x8, &c->w8, &c->xscale, &c->wscale,   &c->sums,
                      &c->x,  &c->w,  &c->bias,   &c->expected, &c->got};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (all[i]->memory)
            guarded_destroy(all[i]);
    free(c->plain8);
}

/* Everything between the columns and behind them must be as it was. */
static void compare_outputs(const Case *c, const char *what, const char *variant) {
    const float *e = floats(&c->expected), *g = floats(&c->got);
    unsigned char untouched[sizeof(float)];
    memset(untouched, GUARD_BYTE, sizeof untouched);
    for (size_t m = 0; m < c->M; m++) {
        assert_same_bits(what, variant, e + m * c->ldy, g + m * c->ldy, c->N);
        for (size_t n = c->N; n < c->ldy; n++)
            assert_memory_equal(g + m * c->ldy + n, untouched, sizeof untouched);
    }
    memset(c->got.data, GUARD_BYTE, c->got.size);
}

/* Columns n0 .. n1, rows m0 .. m1. */
static void run8(const PareKernels *k, const Case *c, float *y, int with_bias, size_t m0, size_t m1,
                 size_t n0, size_t n1) {
    k->gemm_i8(y + m0 * c->ldy, c->ldy, (const int8_t *)c->x8.data + m0 * c->K4, c->K4,
               floats(&c->xscale) + m0, c->w8.data, floats(&c->wscale), c->sums.data,
               with_bias ? floats(&c->bias) : NULL, m1 - m0, c->K4, n0, n1);
}

static void check_case8(Case *c) {
    const PareKernels *k;
    for (int with_bias = 0; with_bias < 2; with_bias++) {
        run8(SCALAR, c, floats(&c->expected), with_bias, 0, c->M, 0, c->N);
        for (VARIANTS(k)) {
            run8(k, c, floats(&c->got), with_bias, 0, c->M, 0, c->N);
            compare_outputs(c, "gemm_i8", k->name);
        }
    }
}

static void test_bytes(void **state) {
    (void)state;
    for (size_t i = 0; i < HEIGHTS; i++)
        for (size_t j = 0; j < DEPTHS; j++)
            for (size_t l = 0; l < WIDTHS; l++) {
                Case c = case_create8(heights[i], depths[j], widths[l], RANDOM, i + j + l + 1);
                check_case8(&c);
                case_destroy(&c);
            }
}

/* Where an int16 sum could saturate and an int32 sum is largest, against sums in 64 bits. */
static void test_bytes_extremes(void **state) {
    (void)state;
    const size_t K[] = {4, 768, 4099};
    for (size_t i = 0; i < 3; i++)
        for (int fill = RANDOM; fill <= ALTERNATING; fill++) {
            Case c = case_create8(7, K[i], 81, (ByteFill)fill, i + 1);
            const int8_t *x = c.x8.data;
            const PareKernels *k;
            for (size_t v = 0; (k = pare_kernels_variant(v)) != NULL; v++) {
                run8(k, &c, floats(&c.got), 1, 0, c.M, 0, c.N);
                for (size_t m = 0; m < c.M; m++)
                    for (size_t n = 0; n < c.N; n++) {
                        int64_t sum = 0;
                        for (size_t j = 0; j < c.K4; j++)
                            sum += (int64_t)x[m * c.K4 + j] * c.plain8[n * c.K4 + j];
                        float scale = floats(&c.xscale)[m] * floats(&c.wscale)[n];
                        float y = fmaf((float)sum, scale, floats(&c.bias)[n]);
                        assert_same_bits("gemm_i8 against int64", k->name, &y,
                                         &floats(&c.got)[m * c.ldy + n], 1);
                    }
            }
            case_destroy(&c);
        }
}

static void test_bytes_nan_scale(void **state) {
    (void)state;
    const PareKernels *k;
    for (size_t v = 0; (k = pare_kernels_variant(v)) != NULL; v++) {
        Case c = case_create8(3, 20, 40, RANDOM, 9);
        memset(c.x8.data, 0, c.x8.size);
        floats(&c.xscale)[1] = NAN;
        run8(k, &c, floats(&c.got), 1, 0, c.M, 0, c.N);
        for (size_t m = 0; m < c.M; m++)
            for (size_t n = 0; n < c.N; n++)
                assert_int_equal(m == 1, isnan(floats(&c.got)[m * c.ldy + n]));
        case_destroy(&c);
    }
}

/* Halves of every kind (denormal, huge, -0) and floats to match. */
static Case case_create16(size_t M, size_t K, size_t N, int brain, int special, uint64_t seed) {
    Case c = case_create(M, K, N, seed);
    c.ldx = K + 3;
    c.x = guarded_create(M * c.ldx * sizeof(float), 4);
    c.w = guarded_create(c.Npad * K * sizeof(uint16_t), 2);
    if (special)
        fill_special(floats(&c.x), M * c.ldx, seed);
    else
        fill_floats(floats(&c.x), M * c.ldx, 1.0f, seed);
    uint16_t *w = c.w.data;
    uint64_t random = seed + 77;
    memset(w, 0, c.w.size);
    for (size_t n = 0; n < N; n++)
        for (size_t k = 0; k < K; k++) {
            float v = random_unit(&random);
            uint16_t half = brain ? pare_f32_to_bf16(v) : pare_f32_to_f16(v);
            if (special) /* any bits but NaN's and infinity's */
                half = (uint16_t)(random_word(&random) & (brain ? 0xff7f : 0xfbff));
            w[(n / BLOCK * K + k) * BLOCK + n % BLOCK] = half;
        }
    return c;
}

static void run16(const PareKernels *k, const Case *c, float *y, int brain, int with_bias,
                  size_t m0, size_t m1, size_t n0, size_t n1) {
    (brain ? k->gemm_bf16 : k->gemm_f16)(y + m0 * c->ldy, c->ldy, floats(&c->x) + m0 * c->ldx,
                                         c->ldx, c->w.data, with_bias ? floats(&c->bias) : NULL,
                                         m1 - m0, c->K, n0, n1);
}

static void check_case16(Case *c, int brain) {
    const PareKernels *k;
    for (int with_bias = 0; with_bias < 2; with_bias++) {
        run16(SCALAR, c, floats(&c->expected), brain, with_bias, 0, c->M, 0, c->N);
        for (VARIANTS(k)) {
            run16(k, c, floats(&c->got), brain, with_bias, 0, c->M, 0, c->N);
            compare_outputs(c, brain ? "gemm_bf16" : "gemm_f16", k->name);
        }
    }
}

static void test_halves(void **state) {
    (void)state;
    for (size_t i = 0; i < HEIGHTS; i++)
        for (size_t j = 0; j < DEPTHS; j++)
            for (size_t l = 0; l < WIDTHS; l++) {
                int brain = (int)((i + j + l) % 2), special = (int)(l % 3 == 0);
                Case c =
                    case_create16(heights[i], depths[j], widths[l], brain, special, i + j + l + 1);
                check_case16(&c, brain);
                case_destroy(&c);
            }
}

/* Every half, times one: the conversion of each variant, NaN and infinity included. */
static void test_every_half(void **state) {
    (void)state;
    enum { N = 65536 };
    Case c = case_create(1, 1, N, 1);
    c.ldx = 1;
    c.x = guarded_create(sizeof(float), 0);
    c.w = guarded_create(N * sizeof(uint16_t), 0);
    floats(&c.x)[0] = 1.0f;
    for (size_t i = 0; i < N; i++)
        ((uint16_t *)c.w.data)[i] = (uint16_t)i;
    check_case16(&c, 0);
    check_case16(&c, 1);
    run16(pare_kernels(), &c, floats(&c.got), 0, 0, 0, 1, 0, N);
    for (size_t i = 0; i < N; i++) {
        float expected = pare_f16_to_f32((uint16_t)i) + 0.0f; /* sums start at +0 */
        assert_same_bits("gemm_f16 of one", pare_kernels()->name, &expected, &floats(&c.got)[i], 1);
    }
    case_destroy(&c);
}

static void test_halves_accuracy(void **state) {
    (void)state;
    for (int brain = 0; brain < 2; brain++) {
        Case c = case_create16(5, 768, 70, brain, 0, 3);
        run16(pare_kernels(), &c, floats(&c.got), brain, 1, 0, c.M, 0, c.N);
        const uint16_t *w = c.w.data;
        for (size_t m = 0; m < c.M; m++)
            for (size_t n = 0; n < c.N; n++) {
                double sum = (double)floats(&c.bias)[n];
                for (size_t k = 0; k < c.K; k++) {
                    uint16_t half = w[(n / BLOCK * c.K + k) * BLOCK + n % BLOCK];
                    sum += (double)floats(&c.x)[m * c.ldx + k] *
                           (double)(brain ? pare_bf16_to_f32(half) : pare_f16_to_f32(half));
                }
                assert_true(fabs(sum - (double)floats(&c.got)[m * c.ldy + n]) < 1e-4);
            }
        case_destroy(&c);
    }
}

/* Callers split rows and columns among threads: no split may change a bit. */
static void test_splits(void **state) {
    (void)state;
    const PareKernels *k;
    Case c = case_create8(23, 77, 150, RANDOM, 5), h = case_create16(23, 77, 150, 0, 0, 5);
    for (size_t v = 0; (k = pare_kernels_variant(v)) != NULL; v++) {
        run8(k, &c, floats(&c.expected), 1, 0, c.M, 0, c.N);
        run16(k, &h, floats(&h.expected), 0, 1, 0, h.M, 0, h.N);
        for (size_t step = BLOCK; step < 160; step += 3 * BLOCK)
            for (size_t rows = 1; rows < 24; rows += 5) {
                for (size_t n = 0; n < c.N; n += step)
                    for (size_t m = 0; m < c.M; m += rows) {
                        size_t n1 = n + step < c.N ? n + step : c.N;
                        size_t m1 = m + rows < c.M ? m + rows : c.M;
                        run8(k, &c, floats(&c.got), 1, m, m1, n, n1);
                        run16(k, &h, floats(&h.got), 0, 1, m, m1, n, n1);
                    }
                compare_outputs(&c, "split gemm_i8", k->name);
                compare_outputs(&h, "split gemm_f16", k->name);
            }
    }
    case_destroy(&c);
    case_destroy(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),           cmocka_unit_test(test_bytes_extremes),
        cmocka_unit_test(test_bytes_nan_scale), cmocka_unit_test(test_halves),
        cmocka_unit_test(test_every_half),      cmocka_unit_test(test_halves_accuracy),
        cmocka_unit_test(test_splits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
