/* Buffers and cursors. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/buffer.h"
#include "core/memory.h"
#include "core/random.h"

static void buffer_builds_text(void **state) {
    (void)state;
    PareBuffer b = {0};
    pare_buffer_puts(&b, "ab");
    pare_buffer_putc(&b, 'c');
    pare_buffer_append(&b, "", 0);
    pare_buffer_printf(&b, "%d", 42);
    assert_string_equal(b.data, "abc42");
    pare_buffer_printf(&b, "%0500d", 1); /* longer than any room on the stack */
    assert_int_equal(b.size, 505);
    assert_int_equal(strlen(b.data), 505);
    pare_buffer_clear(&b);
    assert_int_equal(b.size, 0);
    assert_string_equal(b.data, "");
    for (int i = 0; i < 100000; i++)
        pare_buffer_putc(&b, 'x');
    assert_int_equal(b.size, 100000);
    size_t size;
    char *stolen = pare_buffer_steal(&b, &size);
    assert_int_equal(size, 100000);
    assert_int_equal(strlen(stolen), size);
    assert_null(b.data);
    pare_free(stolen);
    stolen = pare_buffer_steal(&b, NULL); /* even an empty one gives a string */
    assert_string_equal(stolen, "");
    pare_free(stolen);
    pare_buffer_free(&b);
}

static void buffer_remembers_failure(void **state) {
    (void)state;
    PareBuffer b = {0};
    PareError err = {0};
    pare_buffer_puts(&b, "kept");
    pare_memory_fail_after(1);
    pare_buffer_printf(&b, "%0300d", 1);
    assert_true(b.failed);
    pare_memory_fail_after(0);
    pare_buffer_puts(&b, "no bytes after a gap");
    assert_string_equal(b.data, "kept");
    assert_int_equal(pare_buffer_ok(&b, "the text", &err), PARE_E_MEMORY);
    assert_string_equal(err.message, "out of memory for the text");
    assert_null(pare_buffer_steal(&b, NULL));
    pare_buffer_puts(&b, "usable again");
    assert_int_equal(pare_buffer_ok(&b, "x", &err), PARE_OK);
    pare_buffer_append(&b, "x", SIZE_MAX); /* cannot be added to the size */
    assert_true(b.failed);
    pare_buffer_free(&b);
}

static void numbers_round_trip(void **state) {
    (void)state;
    static const uint64_t values[] = {0, 1, 127, 128, 300, UINT32_MAX, UINT64_MAX - 1, UINT64_MAX};
    PareBuffer b = {0};
    pare_buffer_put_u8(&b, 0x12);
    pare_buffer_put_u16(&b, 0x3456);
    pare_buffer_put_u32(&b, 0x789ABCDE);
    pare_buffer_put_u64(&b, UINT64_C(0x0123456789ABCDEF));
    pare_buffer_put_f32(&b, -1.5F);
    assert_memory_equal(b.data, "\x12\x56\x34\xDE\xBC\x9A\x78\xEF\xCD\xAB\x89\x67\x45\x23\x01", 15);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        pare_buffer_put_varint(&b, values[i]);
    PareCursor c = pare_cursor(b.data, b.size);
    assert_int_equal(pare_cursor_u8(&c), 0x12);
    assert_int_equal(pare_cursor_u16(&c), 0x3456);
    assert_int_equal(pare_cursor_u32(&c), 0x789ABCDE);
    assert_true(pare_cursor_u64(&c) == UINT64_C(0x0123456789ABCDEF));
    assert_true(pare_cursor_f32(&c) == -1.5F);
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        assert_true(pare_cursor_varint(&c) == values[i]);
    assert_false(c.bad);
    assert_int_equal(pare_cursor_left(&c), 0);
    pare_buffer_free(&b);
}

static void cursor_stays_bad(void **state) {
    (void)state;
    PareCursor c = pare_cursor("abc", 3);
    assert_null(pare_cursor_take(&c, 4));
    assert_true(c.bad);
    assert_int_equal(pare_cursor_u8(&c), 0);
    assert_null(pare_cursor_take(&c, 1));
    assert_int_equal(pare_cursor_left(&c), 0);
    c = pare_cursor("abc", 3);
    assert_int_equal(pare_cursor_u32(&c), 0);
    assert_true(c.bad);
    c = pare_cursor("abc", 3);
    assert_null(pare_cursor_take(&c, SIZE_MAX));
    c = pare_cursor(NULL, 0);
    assert_non_null(pare_cursor_take(&c, 0));
    assert_int_equal(pare_cursor_left(&c), 0);
    pare_cursor_u8(&c);
    assert_true(c.bad);
}

static void bad_varints_are_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"\x80", "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x02",
                                      "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x81\x01",
                                      "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        PareCursor c = pare_cursor(bad[i], strlen(bad[i]));
        assert_true(pare_cursor_varint(&c) == 0);
        assert_true(c.bad);
    }
    PareCursor c = pare_cursor("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\x01", 10);
    assert_true(pare_cursor_varint(&c) == UINT64_MAX);
}

static void expect_json(const char *text, size_t size, const char *expected) {
    PareBuffer b = {0};
    pare_buffer_put_json_string(&b, text, size);
    assert_string_equal(b.data, expected);
    pare_buffer_free(&b);
}

static void members_have_commas_between(void **state) {
    (void)state;
    PareBuffer b = {0};
    pare_buffer_put_json_member(&b, "a", "1\"");
    pare_buffer_put_json_key(&b, "b\n");
    pare_buffer_puts(&b, "{");
    pare_buffer_put_json_member(&b, "c", NULL);
    pare_buffer_puts(&b, "}");
    pare_buffer_put_json_member(&b, "d", "{");
    pare_buffer_put_json_member(&b, "e", "");
    assert_string_equal(b.data, "\"a\":\"1\\\"\",\"b\\n\":{\"c\":null},\"d\":\"{\",\"e\":\"\"");
    pare_buffer_clear(&b);
    pare_buffer_put_size(&b, 999949);
    pare_buffer_put_size(&b, 1234567);
    assert_string_equal(b.data, "999.9 kB1.2 MB");
    pare_buffer_free(&b);
}

static void strings_are_escaped(void **state) {
    (void)state;
#define CASE(text, expected) expect_json(text, sizeof text - 1, expected)
    CASE("", "\"\"");
    CASE("a\"b\\c", "\"a\\\"b\\\\c\"");
    CASE("\b\f\n\r\t\x01\x1F", "\"\\b\\f\\n\\r\\t\\u0001\\u001f\"");
    CASE("a\0b", "\"a\\u0000b\"");
    CASE("\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\x7F",
         "\"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\x7F\"");
#define BAD "\xEF\xBF\xBD"
    CASE("\xFF", "\"" BAD "\"");
    CASE("\xC0\x80", "\"" BAD BAD "\"");         /* overlong */
    CASE("\xED\xA0\x80", "\"" BAD BAD BAD "\""); /* a surrogate */
    CASE("\xF4\x90\x80\x80", "\"" BAD BAD BAD BAD "\"");
    CASE("\xE2\x82", "\"" BAD "\""); /* cut short: one mark for what could have been one */
    CASE("\xE2\x82x", "\"" BAD "x\"");
    CASE("\xF0\x9F\x98\"", "\"" BAD "\\\"\"");
    CASE("a\x80z", "\"a" BAD "z\"");
#undef CASE
}

static void expect_float(float v, const char *expected) {
    PareBuffer b = {0};
    pare_buffer_put_json_float(&b, v);
    assert_string_equal(b.data, expected);
    pare_buffer_free(&b);
}

static void floats_are_short_and_exact(void **state) {
    (void)state;
    expect_float(0, "0");
    expect_float(-0.0F, "-0");
    expect_float(0.1F, "0.1");
    expect_float(1.0F / 3, "0.33333334");
    expect_float(16777216, "16777216");
    expect_float(1e-5F, "1e-05");
    expect_float(1e-45F, "1e-45"); /* the least denormal */
    expect_float(3.4028235e38F, "3.4028235e+38");
    expect_float(NAN, "null");
    expect_float(-INFINITY, "null");
    PareBuffer b = {0};
    for (uint64_t i = 0; i < 200000; i++) {
        uint32_t words[4];
        float v;
        double d;
        pare_random_block(1, 2, i, words);
        memcpy(&v, words, sizeof v);
        memcpy(&d, words + 2, sizeof d);
        if (isfinite(v)) {
            pare_buffer_clear(&b);
            pare_buffer_put_json_float(&b, v);
            assert_true(strtof(b.data, NULL) == v);
        }
        if (isfinite(d)) {
            pare_buffer_clear(&b);
            pare_buffer_put_json_double(&b, d);
            assert_true(strtod(b.data, NULL) == d);
        }
    }
    pare_buffer_clear(&b);
    pare_buffer_put_json_double(&b, 0.1);
    assert_string_equal(b.data, "0.1");
    pare_buffer_free(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buffer_builds_text),          cmocka_unit_test(buffer_remembers_failure),
        cmocka_unit_test(numbers_round_trip),          cmocka_unit_test(cursor_stays_bad),
        cmocka_unit_test(bad_varints_are_refused),     cmocka_unit_test(strings_are_escaped),
        cmocka_unit_test(members_have_commas_between), cmocka_unit_test(floats_are_short_and_exact),
    };
    return cmocka_run_group_tests_name("core: buffers and cursors", tests, NULL, NULL);
}
