/* Packing into the blocked layouts against the formulas of docs/FORMAT.md, one element at a time.
 */
#include "tests/test_formats_common.h"

#include <math.h>

#include "core/blocks.h"
#include "core/random.h"
#include "formats/pare_file.h"
#include "formats/pare_format.h"

enum { GUARD = 64 };

static const size_t sizes[] = {0, 1, 3, 16, 17, 33, 255, 260};
enum { SIZES = sizeof sizes / sizeof *sizes };

/* A tensor with a blob between guard bytes; `block` must be freed. */
typedef struct {
    PareFileTensor t;
    uint8_t *block;
} Packed;

static Packed pack(PareDtype dtype, PareLayout layout, const float *w, size_t N, size_t K) {
    Packed p = {.t = {.dtype = dtype, .layout = layout, .dims = 2, .shape = {N, K}}};
    uint64_t bytes;
    assert_true(pare_file_blob_bytes(&p.t, &bytes));
    p.t.bytes = bytes;
    p.block = pare_alloc((size_t)bytes + 2 * GUARD, 1);
    memset(p.block, 0xA5, (size_t)bytes + 2 * GUARD);
    p.t.data = p.block + GUARD;
    if (layout == PARE_LAYOUT_BLOCK4)
        pare_blocks_pack_i8(w, N, K, p.block + GUARD);
    else
        pare_blocks_pack_half(dtype, w, N, K, p.block + GUARD);
    for (size_t i = 0; i < GUARD; i++) {
        assert_int_equal(p.block[i], 0xA5);
        assert_int_equal(p.block[GUARD + bytes + i], 0xA5);
    }
    assert_null(pare_file_content_fault(&p.t));
    return p;
}

static float *random_matrix(size_t count, uint64_t seed) {
    float *w = pare_alloc(count, sizeof *w);
    for (size_t i = 0; i < count; i++)
        w[i] = ldexpf(pare_random_float(seed, 0, i) - 0.5f, (int)(i % 11) - 5);
    return w;
}

static void check_i8(const float *w, size_t N, size_t K) {
    Packed p = pack(PARE_I8, PARE_LAYOUT_BLOCK4, w, N, K);
    PareBlock4 b = pare_file_block4(&p.t);
    for (size_t n = 0; n < N; n++) {
        float max = 0;
        int32_t sum = 0;
        for (size_t k = 0; k < K; k++)
            max = fmaxf(max, fabsf(w[n * K + k]));
        float scale = max / 127.0f;
        assert_memory_equal(&scale, &b.scales[n], sizeof scale);
        for (size_t k = 0; k < K; k++) {
            float q = scale > 0 ? rintf(w[n * K + k] / scale) : 0;
            q = fmaxf(-127, fminf(127, q));
            size_t at = n / 16 * b.cols_padded * 16 + k / 4 * 64 + n % 16 * 4 + k % 4;
            assert_int_equal(b.values[at], (int)q);
            sum += (int)q;
        }
        assert_int_equal(sum, b.sums[n]);
    }
    float *back = pare_alloc(N * K, sizeof *back);
    pare_file_read_f32(&p.t, back);
    for (size_t i = 0; i < N * K; i++)
        assert_true(fabsf(back[i] - w[i]) <= b.scales[i / K] * 0.5001f);
    float *rounded = pare_alloc(N * K, sizeof *rounded);
    for (size_t n = 0; n < N; n++)
        pare_blocks_round_i8(w + n * K, K, rounded + n * K);
    assert_memory_equal(rounded, back, N * K * sizeof *rounded);
    pare_free(rounded);
    pare_free(back);
    pare_free(p.block);
}

static void test_i8(void **state) {
    (void)state;
    for (size_t i = 0; i < SIZES; i++)
        for (size_t j = 0; j < SIZES; j++) {
            float *w = random_matrix(sizes[i] * sizes[j], i * 100 + j);
            check_i8(w, sizes[i], sizes[j]);
            pare_free(w);
        }
}

/* Ties go to even; the largest element is exactly 127. */
static void test_i8_ties(void **state) {
    const float w[8] = {127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -126.5f, -127};
    const int8_t wanted[8] = {127, 0, 2, 2, 0, -2, -126, -127};
    (void)state;
    Packed p = pack(PARE_I8, PARE_LAYOUT_BLOCK4, w, 1, 8);
    PareBlock4 b = pare_file_block4(&p.t);
    for (size_t k = 0; k < 8; k++)
        assert_int_equal(b.values[k / 4 * 64 + k % 4], wanted[k]);
    assert_int_equal(b.sums[0], -123 - 1);
    pare_free(p.block);
}

static void test_i8_specials(void **state) {
    const float tiny = 1e-45f;
    const float w[6 * 2] = {0,    -0.0f, 1,       NAN,      INFINITY, 1,
                            tiny, -tiny, 3.4e38f, -3.4e38f, 1e-40f,   -5e-41f};
    float back[12], rounded[12];
    (void)state;
    Packed p = pack(PARE_I8, PARE_LAYOUT_BLOCK4, w, 6, 2);
    PareBlock4 b = pare_file_block4(&p.t);
    uint32_t bits;
    assert_true(b.scales[0] == 0);
    memcpy(&bits, &b.scales[1], sizeof bits);
    assert_int_equal(bits, 0x7FC00000);
    memcpy(&bits, &b.scales[2], sizeof bits);
    assert_int_equal(bits, 0x7FC00000);
    assert_true(b.scales[3] == 0); /* too small for a scale: zeros */
    assert_int_equal(b.values[4 * 4], 127);
    assert_int_equal(b.values[4 * 4 + 1], -127);
    pare_file_read_f32(&p.t, back);
    for (size_t n = 0; n < 6; n++)
        pare_blocks_round_i8(w + n * 2, 2, rounded + n * 2);
    assert_memory_equal(rounded, back, sizeof back);
    assert_true(back[0] == 0 && isnan(back[2]) && isnan(back[5]) && back[6] == 0);
    assert_true(fabsf(back[10] - 1e-40f) < 1e-42f && fabsf(back[11] + 5e-41f) < 1e-42f);
    pare_free(p.block);
}

static void test_halves(void **state) {
    static const PareDtype dtypes[] = {PARE_F16, PARE_BF16};
    (void)state;
    for (size_t i = 0; i < SIZES * SIZES * 2; i++) {
        size_t N = sizes[i / SIZES % SIZES], K = sizes[i % SIZES];
        PareDtype dtype = dtypes[i / (SIZES * SIZES)];
        float *w = random_matrix(N * K, i), *back = pare_alloc(N * K, sizeof *back);
        Packed p = pack(dtype, PARE_LAYOUT_BLOCK1, w, N, K);
        pare_file_read_f32(&p.t, back);
        for (size_t n = 0; n < N; n++)
            for (size_t k = 0; k < K; k++) {
                float x = w[n * K + k];
                uint16_t h = dtype == PARE_F16 ? pare_f32_to_f16(x) : pare_f32_to_bf16(x), got;
                memcpy(&got, (const uint8_t *)p.t.data + 2 * (n / 16 * K * 16 + k * 16 + n % 16),
                       2);
                assert_int_equal(got, h);
                float f = dtype == PARE_F16 ? pare_f16_to_f32(h) : pare_bf16_to_f32(h);
                assert_memory_equal(&f, &back[n * K + k], sizeof f);
            }
        pare_free(w);
        pare_free(back);
        pare_free(p.block);
    }
}

static void test_blob_bytes(void **state) {
    PareFileTensor t = {
        .dtype = PARE_I8, .layout = PARE_LAYOUT_BLOCK4, .dims = 2, .shape = {17, 5}};
    uint64_t bytes;
    (void)state;
    assert_true(pare_file_blob_bytes(&t, &bytes));
    assert_int_equal(bytes, 32 * 8 + 32 * 8);
    t.shape[1] = (1 << 24) + 1;
    assert_false(pare_file_blob_bytes(&t, &bytes));
    t = (PareFileTensor){.dtype = PARE_F32, .dims = 3, .shape = {1 << 20, 1 << 20, 0}};
    assert_true(pare_file_blob_bytes(&t, &bytes));
    assert_int_equal(bytes, 0);
    t.shape[2] = 2;
    assert_false(pare_file_blob_bytes(&t, &bytes));
    t.shape[2] = 1;
    assert_true(pare_file_blob_bytes(&t, &bytes));
    assert_true(bytes == 4ull << 40);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_i8),          cmocka_unit_test(test_i8_ties),
        cmocka_unit_test(test_i8_specials), cmocka_unit_test(test_halves),
        cmocka_unit_test(test_blob_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
