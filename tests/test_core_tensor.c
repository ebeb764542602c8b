/* Number formats, shapes and axis tags. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/axis.h"
#include "core/random.h"
#include "core/tensor.h"

static uint32_t bits_of(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

static float float_of(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

/* The value of a half by its definition. */
static double half_value(uint16_t h) {
    int exponent = h >> 10 & 31, fraction = h & 1023;
    double v = exponent ? ldexp(1024 + fraction, exponent - 25) : ldexp(fraction, -24);
    return h & 0x8000 ? -v : v;
}

/* The nearest half by trying all of one sign: slow, and independent of any trick with bits. */
static uint16_t nearest_half(float f) {
    double magnitude = fabs((double)f);
    uint16_t sign = signbit(f) ? 0x8000 : 0;
    uint16_t low = 0, high = 0x7C00; /* the largest half not above, by bisection */
    if (magnitude >= 65520)
        return (uint16_t)(sign | 0x7C00);
    while (high - low > 1) {
        uint16_t middle = (uint16_t)((low + high) / 2);
        if (half_value(middle) <= magnitude)
            low = middle;
        else
            high = middle;
    }
    double below = magnitude - half_value(low);
    double above = (high == 0x7C00 ? 65536 : half_value(high)) - magnitude;
    bool up = above < below || (above == below && (low & 1));
    return (uint16_t)(sign | (up ? high : low));
}

static void halves_round_trip(void **state) {
    (void)state;
    for (uint32_t i = 0; i < 65536; i++) {
        uint16_t h = (uint16_t)i;
        float f = pare_f16_to_f32(h), g = pare_bf16_to_f32(h);
        if ((h & 0x7FFF) > 0x7C00) {
            assert_true(isnan(f));
            assert_int_equal(pare_f32_to_f16(f), h | 0x200); /* quiet, with its payload */
        } else {
            assert_int_equal(pare_f32_to_f16(f), h);
            if ((h & 0x7FFF) == 0x7C00)
                assert_true(isinf(f));
            else
                assert_true((double)f == half_value(h) && !signbit(f) == !(h & 0x8000));
        }
        assert_int_equal(bits_of(g), i << 16);
        assert_int_equal(pare_f32_to_bf16(g), isnan(g) ? h | 0x40 : h);
    }
}

static void check_rounding(float f) {
    uint32_t bits = bits_of(f);
    uint16_t h = pare_f32_to_f16(f), b = pare_f32_to_bf16(f);
    if (isnan(f)) {
        assert_true(isnan(pare_f16_to_f32(h)) && isnan(pare_bf16_to_f32(b)));
        return;
    }
    assert_int_equal(h, nearest_half(f));
    uint32_t below = bits & 0xFFFF0000, above = below + 0x10000, rest = bits & 0xFFFF;
    bool up = rest > 0x8000 || (rest == 0x8000 && (below & 0x10000));
    assert_int_equal(b, (up ? above : below) >> 16);
}

static void rounding_is_to_nearest_even(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 300000; i++) {
        uint32_t bits = pare_random_u32(3, 1, i);
        check_rounding(float_of(bits));
        /* Around the halves' own range, where the rounding happens. */
        check_rounding(float_of((bits & 0x87FFFFFF) | 0x30000000));
    }
    for (uint32_t i = 0; i < 0x7C00; i++) { /* on each tie, and on both sides of it */
        double low = half_value((uint16_t)i);
        double high = i == 0x7BFF ? 65536 : half_value((uint16_t)(i + 1));
        uint32_t tie = bits_of((float)((low + high) / 2));
        for (uint32_t d = 0; d < 3; d++) {
            check_rounding(float_of(tie - 1 + d));
            check_rounding(float_of((tie - 1 + d) | 0x80000000));
        }
    }
    check_rounding(INFINITY);
    check_rounding(-INFINITY);
    check_rounding(float_of(1));
    check_rounding(3.4028235e38F);
    assert_int_equal(pare_f32_to_bf16(3.4028235e38F), 0x7F80);
    assert_int_equal(pare_f32_to_bf16(float_of(0x7F800001)), 0x7FC0); /* its payload is cut off */
    assert_int_equal(pare_f32_to_f16(float_of(0xFF800001)), 0xFE00);
}

#ifdef __FLT16_MAX__
static void halves_agree_with_the_compiler(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 500000; i++) {
        float f = float_of(pare_random_u32(4, 1, i));
        _Float16 h = (_Float16)f;
        uint16_t bits;
        memcpy(&bits, &h, sizeof bits);
        if (!isnan(f))
            assert_int_equal(pare_f32_to_f16(f), bits);
    }
}
#endif

/* One value of each type, from an address that is not aligned. */
static float converted(PareDtype type, const void *value) {
    unsigned char bytes[17];
    float out[2];
    memcpy(bytes + 1, value, pare_dtype_size(type));
    memcpy(bytes + 1 + pare_dtype_size(type), value, pare_dtype_size(type));
    pare_convert_to_f32(type, bytes + 1, out, 2);
    assert_int_equal(bits_of(out[0]), bits_of(out[1]));
    return out[0];
}

static void every_type_converts(void **state) {
    (void)state;
    assert_true(converted(PARE_F32, &(float){-2.5F}) == -2.5F);
    assert_true(converted(PARE_F16, &(uint16_t){0xC100}) == -2.5F);
    assert_true(converted(PARE_BF16, &(uint16_t){0xC020}) == -2.5F);
    assert_true(converted(PARE_F64, &(double){0.1}) == 0.1F);
    assert_true(isinf(converted(PARE_F64, &(double){1e300})));
    assert_true(converted(PARE_I64, &(int64_t){-16777217}) == -16777216);
    assert_true(converted(PARE_I32, &(int32_t){INT32_MIN}) == -2147483648.0F);
    assert_true(converted(PARE_I16, &(int16_t){-300}) == -300);
    assert_true(converted(PARE_I8, &(int8_t){-128}) == -128);
    assert_true(converted(PARE_U8, &(uint8_t){255}) == 255);
    assert_true(converted(PARE_BOOL, &(uint8_t){7}) == 1);
    assert_true(converted(PARE_BOOL, &(uint8_t){0}) == 0);
    float in[3] = {1, -0.1F, NAN}, out[3];
    static const PareDtype types[] = {PARE_F32, PARE_F16, PARE_BF16};
    for (size_t i = 0; i < 3; i++) {
        unsigned char bytes[13];
        pare_convert_from_f32(types[i], in, bytes + 1, 3);
        pare_convert_to_f32(types[i], bytes + 1, out, 3);
        assert_true(out[0] == 1 && fabsf(out[1] + 0.1F) < 0.001F && isnan(out[2]));
    }
    pare_convert_to_f32(PARE_F16, in, out, 0);
    float odd[] = {0, NAN, 1, INFINITY, -INFINITY, 3e38F};
    assert_int_equal(pare_count_nonfinite(odd, 6), 3);
    assert_int_equal(pare_count_nonfinite(odd, 0), 0);
}

/* Arrays go in blocks: at every length around a block, and from addresses that are not aligned, the
 * values are those of the single conversions, and nothing beyond is written. */
static void arrays_convert_as_single_values_do(void **state) {
    (void)state;
    enum { MOST = 70, GUARD = 0x5A };
    for (size_t count = 0; count <= MOST; count++) {
        uint16_t in[MOST + 1] = {0};
        float out[MOST + 1];
        unsigned char bytes[1 + 2 * MOST + 1];
        for (size_t i = 0; i < count; i++)
            in[i] = (uint16_t)pare_random_u32(5, count, i);
        memcpy(bytes + 1, in, count * sizeof *in);
        out[count] = 7;
        pare_convert_to_f32(PARE_F16, bytes + 1, out, count);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(bits_of(out[i]), bits_of(pare_f16_to_f32(in[i])));
        pare_convert_to_f32(PARE_BF16, bytes + 1, out, count);
        for (size_t i = 0; i < count; i++)
            assert_int_equal(bits_of(out[i]), bits_of(pare_bf16_to_f32(in[i])));
        assert_true(out[count] == 7);
        for (size_t i = 0; i < count; i++)
            out[i] = float_of(pare_random_u32(6, count, i));
        for (int half = 0; half < 2; half++) {
            memset(bytes, GUARD, sizeof bytes);
            pare_convert_from_f32(half ? PARE_F16 : PARE_BF16, out, bytes + 1, count);
            memcpy(in, bytes + 1, count * sizeof *in);
            for (size_t i = 0; i < count; i++)
                assert_int_equal(in[i], half ? pare_f32_to_f16(out[i]) : pare_f32_to_bf16(out[i]));
            assert_int_equal(bytes[1 + 2 * count], GUARD);
        }
        for (size_t i = 0; i < count; i++)
            out[i] = 3e38F;
        out[count] = INFINITY;
        for (size_t i = 0; i < count; i++) {
            out[i] = i % 2 ? INFINITY : NAN;
            assert_int_equal(pare_count_nonfinite(out, count), 1);
            out[i] = -3e38F;
        }
    }
}

static void type_names(void **state) {
    (void)state;
    for (unsigned i = 0; i < PARE_DTYPE_COUNT; i++) {
        PareDtype back;
        assert_true(pare_dtype_parse(pare_dtype_name((PareDtype)i), &back) && back == i);
    }
    PareDtype untouched = PARE_U8;
    assert_false(pare_dtype_parse("f32", &untouched));
    assert_false(pare_dtype_parse("", &untouched));
    assert_int_equal(untouched, PARE_U8);
    assert_int_equal(pare_dtype_size(PARE_F64), 8);
    assert_int_equal(pare_dtype_size((PareDtype)99), 0);
    assert_true(pare_dtype_is_float(PARE_BF16) && !pare_dtype_is_float(PARE_I8));
}

static void sizes_do_not_overflow(void **state) {
    (void)state;
    size_t out = 9;
    PareTensorType t = {.dtype = PARE_F32, .dims = 0};
    assert_true(pare_tensor_elements(&t, &out) && out == 1);
    t = (PareTensorType){PARE_F32, 3, {2, 3, 4}};
    assert_true(pare_tensor_bytes(&t, &out) && out == 96);
    t = (PareTensorType){PARE_F32, 2, {UINT64_C(1) << 32, UINT64_C(1) << 32}};
    out = 9;
    assert_false(pare_tensor_elements(&t, &out));
    assert_int_equal(out, 9);
    t = (PareTensorType){PARE_F32, 3, {UINT64_MAX, UINT64_MAX, 0}};
    assert_true(pare_tensor_elements(&t, &out) && out == 0);
    t = (PareTensorType){PARE_F32, 1, {UINT64_C(1) << 62}};
    assert_true(pare_tensor_elements(&t, &out));
    assert_false(pare_tensor_bytes(&t, &out));
    t.dims = PARE_MAX_DIMS + 1;
    assert_false(pare_tensor_elements(&t, &out));
    PareTensorType a = {PARE_F32, 2, {2, 3}}, b = {PARE_I8, 2, {2, 3}}, c = {PARE_F32, 1, {2}};
    assert_true(pare_tensor_same_shape(&a, &b));
    assert_false(pare_tensor_same_shape(&a, &c));
}

static void shapes_as_text(void **state) {
    (void)state;
    char text[64], tiny[8], full[PARE_MAX_DIMS * 22 + 2];
    PareTensorType t = {PARE_F32, 2, {8001, 256}}, scalar = {PARE_F32, 0, {0}};
    assert_string_equal(pare_tensor_shape_text(&t, text, sizeof text), "[8001, 256]");
    assert_string_equal(pare_tensor_shape_text(&scalar, text, sizeof text), "[]");
    assert_string_equal(pare_tensor_shape_text(&t, tiny, sizeof tiny), "[800...");
    assert_string_equal(pare_tensor_shape_text(&t, text, 12), "[8001, 256]");
    assert_string_equal(pare_tensor_shape_text(&t, text, 11), "[8001, ...");
    t.dims = PARE_MAX_DIMS;
    for (size_t i = 0; i < PARE_MAX_DIMS; i++)
        t.shape[i] = UINT64_MAX;
    assert_int_equal(strlen(pare_tensor_shape_text(&t, full, sizeof full)), PARE_MAX_DIMS * 22);
}

static void axes(void **state) {
    (void)state;
    char text[64];
    PareAxis head = {.kind = PARE_AXIS_HEAD, .stack = 1, .block = PARE_BLOCK_CROSS, .layer = 3};
    PareAxis rows = head;
    rows.group = 64;
    assert_true(pare_axis_equal(head, rows));
    assert_string_equal(pare_axis_text(rows, text, sizeof text), "head(decoder.3.cross)x64");
    rows.layer = 4;
    assert_false(pare_axis_equal(head, rows));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(halves_round_trip),
        cmocka_unit_test(rounding_is_to_nearest_even),
#ifdef __FLT16_MAX__
        cmocka_unit_test(halves_agree_with_the_compiler),
#endif
        cmocka_unit_test(every_type_converts),
        cmocka_unit_test(arrays_convert_as_single_values_do),
        cmocka_unit_test(type_names),
        cmocka_unit_test(sizes_do_not_overflow),
        cmocka_unit_test(shapes_as_text),
        cmocka_unit_test(axes),
    };
    return cmocka_run_group_tests_name("core: tensors", tests, NULL, NULL);
}
