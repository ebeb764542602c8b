/* Strict JSON. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/buffer.h"
#include "core/json.h"
#include "core/memory.h"

static PareJsonDoc *parse(const char *text) {
    PareJsonDoc *doc;
    PareError err = {0};
    if (pare_json_parse(text, strlen(text), "t", &doc, &err) != PARE_OK)
        fail_msg("%s: %s", text, err.message);
    return doc;
}

/* The text, from memory that ends with it, is refused with exactly this message. */
static void refused_size(const char *text, size_t size, const char *message) {
    PareJsonDoc *doc = NULL;
    PareError err = {0};
    char *copy = pare_realloc(NULL, size, 1);
    if (size)
        memcpy(copy, text, size);
    assert_int_equal(pare_json_parse(copy, size, "t", &doc, &err), PARE_E_FORMAT);
    pare_free(copy);
    assert_null(doc);
    static const char front[] = "t: invalid JSON at ";
    assert_memory_equal(err.message, front, sizeof front - 1);
    assert_string_equal(err.message + sizeof front - 1, message);
}

static void refused(const char *text, const char *message) {
    refused_size(text, strlen(text), message);
}

static void values_are_read(void **state) {
    (void)state;
    PareJsonDoc *doc = parse(" { \"a\" : [1, -2.5e-1 ,true,false,null,\"x\\u00e4\\ud83d\\ude00\\/"
                             "\\n\"], \"A\": {}, \"e\": [ ] } \r\n\t");
    const PareJson *root = pare_json_root(doc), *a = pare_json_get(root, "a");
    assert_true(pare_json_is_object(root) && pare_json_is_array(a));
    assert_int_equal(pare_json_size(root), 3);
    assert_int_equal(pare_json_size(a), 6);
    assert_int_equal(pare_json_integer(pare_json_at(a, 0)), 1);
    assert_true(pare_json_number(pare_json_at(a, 1)) == -0.25);
    assert_false(pare_json_is_integer(pare_json_at(a, 1)));
    assert_true(pare_json_true(pare_json_at(a, 2)) && pare_json_is_bool(pare_json_at(a, 3)));
    assert_true(pare_json_is_null(pare_json_at(a, 4)));
    assert_string_equal(pare_json_string(pare_json_at(a, 5)), "x\xC3\xA4\xF0\x9F\x98\x80/\n");
    assert_null(pare_json_at(a, 6));
    assert_true(pare_json_is_object(pare_json_get(root, "A"))); /* case matters */
    assert_null(pare_json_get(root, "E"));
    assert_null(pare_json_get(a, "a"));
    assert_string_equal(pare_json_key(pare_json_next(pare_json_first(root))), "A");
    pare_json_free(doc);
    pare_json_free(NULL);
    assert_false(pare_json_is_object(NULL) || pare_json_is_null(NULL) || pare_json_is_number(NULL));
    assert_null(pare_json_get(NULL, "a"));
    assert_null(pare_json_first(NULL));
}

static void scalars_stand_alone(void **state) {
    (void)state;
    static const char *const texts[] = {"0",
                                        "-0",
                                        "1e5",
                                        "1E+5",
                                        "0.5",
                                        "true",
                                        "null",
                                        "\"\"",
                                        "\xEF\xBB\xBF 7",
                                        "9007199254740992",
                                        "1e-999",
                                        "-9007199254740992",
                                        "1000000000000000019884624838656"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        pare_json_free(parse(texts[i]));
}

static void grammar_is_enforced(void **state) {
    (void)state;
    refused("", "line 1, column 1: the text ends where a value is expected");
    refused(" \n ", "line 2, column 2: the text ends where a value is expected");
    refused("{} x", "line 1, column 4: something follows the end of the JSON text");
    refused("1 2", "line 1, column 3: something follows the end of the JSON text");
    refused_size("1\0", 2, "line 1, column 2: something follows the end of the JSON text");
    refused("[1,]", "line 1, column 4: expected a value");
    refused("[,1]", "line 1, column 2: expected a value");
    refused("[1 2]", "line 1, column 4: expected ',' or ']'");
    refused("[1", "line 1, column 3: expected ',' or ']'");
    refused("[1}", "line 1, column 3: expected ',' or ']'");
    refused("{\"a\":1]", "line 1, column 7: expected ',' or '}'");
    refused("{\"a\":1,}", "line 1, column 8: expected a key in double quotes");
    refused("{a:1}", "line 1, column 2: expected a key in double quotes");
    refused("{\"a\" 1}", "line 1, column 6: expected ':' behind a key");
    refused("{\"a\":}", "line 1, column 6: expected a value");
    refused("{", "line 1, column 2: expected a key in double quotes");
    refused("tru", "line 1, column 1: expected a value");
    refused("True", "line 1, column 1: expected a value");
    refused("// c\n1", "line 1, column 1: expected a value");
    refused("'a'", "line 1, column 1: expected a value");
    refused("[\"\xC3\xA4\", x]", "line 1, column 7: expected a value"); /* columns of characters */
    refused("nulll", "line 1, column 5: something follows the end of the JSON text");
    refused("\xEF\xBB\xBF[\n,]", "line 2, column 1: expected a value");
}

static void numbers_are_strict(void **state) {
    (void)state;
    refused("01", "line 1, column 1: a number begins with a zero");
    refused("-", "line 1, column 1: expected a value");
    refused("+1", "line 1, column 1: expected a value");
    refused(".5", "line 1, column 1: expected a value");
    refused("[1.]", "line 1, column 4: expected digits behind the point of a number");
    refused("1e", "line 1, column 3: expected digits in the exponent of a number");
    refused("1e+", "line 1, column 4: expected digits in the exponent of a number");
    refused("0x10", "line 1, column 2: something follows the end of the JSON text");
    refused("NaN", "line 1, column 1: NaN is not JSON (Python writes it)");
    refused("[1, Infinity]", "line 1, column 5: Infinity is not JSON (Python writes it)");
    refused("-Infinity", "line 1, column 1: -Infinity is not JSON (Python writes it)");
    refused("[1e999]", "line 1, column 2: a number is too large");
    refused("9007199254740993", "line 1, column 1: an integer beyond 2^53 would lose digits");
    refused("-9007199254740993", "line 1, column 1: an integer beyond 2^53 would lose digits");
    refused("18446744073709551615", "line 1, column 1: an integer beyond 2^53 would lose digits");
    char longest[80] = "0.";
    memset(longest + 2, '1', 61);
    pare_json_free(parse(longest));
    longest[63] = '1';
    refused(longest, "line 1, column 1: a number has more than 63 characters");
    memset(longest, '1', 70);
    refused(longest, "line 1, column 1: a number has more than 63 characters");
}

static void strings_are_strict(void **state) {
    (void)state;
    refused("\"a", "line 1, column 1: a string does not end");
    refused("\"a\\\"", "line 1, column 1: a string does not end");
    refused("\"\\", "line 1, column 3: the text ends inside of a string");
    refused("\"\\x41\"", "line 1, column 3: unknown escape");
    refused_size("\"\\\0\"", 4, "line 1, column 3: unknown escape");
    refused("\"a\nb\"", "line 1, column 3: a control character inside of a string must be escaped");
    refused_size("\"a\0b\"", 5,
                 "line 1, column 3: a control character inside of a string must be escaped");
    refused("\"\\u00g0\"", "line 1, column 6: \\u needs four hexadecimal digits");
    refused("\"\\u00", "line 1, column 6: \\u needs four hexadecimal digits");
    refused("\"\\u0000\"", "line 1, column 2: a string holds a NUL character");
    static const char *const halves[] = {"\"\\ud800\"",       "\"\\udc00\"", "\"\\ud800x\"",
                                         "\"\\ud800\\n\"",    "\"\\ud800",   "\"\\ud800\\ud800\"",
                                         "\"\\udbff\\u0041\""};
    for (size_t i = 0; i < sizeof halves / sizeof *halves; i++)
        refused(halves[i], "line 1, column 2: half of a surrogate pair stands alone");
    static const char *const bad[] = {"\"\x80\"",
                                      "\"\xC0\x80\"",
                                      "\"\xC1\xBF\"",
                                      "\"\xE0\x80\x80\"",
                                      "\"\xED\xA0\x80\"",
                                      "\"\xF0\x80\x80\x80\"",
                                      "\"\xF4\x90\x80\x80\"",
                                      "\"\xF5\x80\x80\x80\"",
                                      "\"\xC3\"",
                                      "\"\xC3",
                                      "\"\xE2\x82",
                                      "\"\xF0\x9F\x98"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refused(bad[i], "line 1, column 2: invalid UTF-8");
}

/* Every cut of a valid text is refused, and no read goes beyond its end. */
static void truncated_text_is_refused(void **state) {
    (void)state;
    static const char text[] =
        "{\"a\":[1.5e+3,\"\\u00e4\\ud83d\\ude00\xE2\x82\xAC\",{\"b\":null}],\"c\":-0.25}";
    for (size_t size = 0; size < sizeof text - 1; size++) {
        PareJsonDoc *doc;
        PareError err = {0};
        char *copy = pare_realloc(NULL, size, 1);
        memcpy(copy, text, size);
        assert_int_equal(pare_json_parse(copy, size, "t", &doc, &err), PARE_E_FORMAT);
        pare_free(copy);
    }
    pare_json_free(parse(text));
}

static void depth_is_limited(void **state) {
    (void)state;
    for (int objects = 0; objects < 2; objects++) {
        for (int depth = 127; depth <= 130; depth++) {
            PareBuffer b = {0};
            for (int i = 0; i < depth; i++)
                pare_buffer_puts(&b, !objects ? "[" : i + 1 < depth ? "{\"a\":" : "{");
            for (int i = 0; i < depth; i++)
                pare_buffer_putc(&b, objects ? '}' : ']');
            PareJsonDoc *doc;
            PareError err = {0};
            PareStatus st = pare_json_parse(b.data, b.size, "t", &doc, &err);
            assert_int_equal(st, depth <= 128 ? PARE_OK : PARE_E_FORMAT);
            if (st)
                assert_non_null(strstr(err.message, "nested deeper than 128 levels"));
            else
                pare_json_free(doc);
            pare_buffer_free(&b);
        }
    }
    PareBuffer b = {0};
    for (int i = 0; i < 1000000; i++)
        pare_buffer_putc(&b, '[');
    refused_size(b.data, b.size,
                 "line 1, column 129: objects and arrays are nested deeper than "
                 "128 levels");
    pare_buffer_free(&b);
}

static void duplicate_keys_are_refused(void **state) {
    (void)state;
    refused("{\"a\":1,\n \"a\":2}", "line 2, column 2: the key \"a\" appears twice");
    refused("{\"\":1,\"\":2}", "line 1, column 7: the key \"\" appears twice");
    refused("{\"a/\":1,\"\\u0061\\/\":2}",
            "line 1, column 9: the key \"\\u0061\\/\" appears twice");
    refused("{\"\\ud83d\\ude00\":1,\"\xF0\x9F\x98\x80\":2}",
            "line 1, column 19: the key \"\xF0\x9F\x98\x80\" appears twice");
    refused("[{\"x\":{\"b\":1,\"c\":2,\"b\":3}}]",
            "line 1, column 20: the key \"b\" appears twice");
    refused("{\"a\":{\"b\":1},\"b\":{\"a\":1},\"a\":0}",
            "line 1, column 26: the key \"a\" appears twice");
    pare_json_free(parse("{\"a\":{\"a\":{\"a\":1}},\"A\":[{\"a\":1},{\"a\":1}],\"aa\":2}"));
    pare_json_free(parse("{\"\\n\":1,\"n\":2,\"\\\\n\":3,\"\\u00E4\":4,\"\\u00e5\":5}"));
    /* More keys than are compared pair by pair; the duplicate is found wherever it is. */
    for (int twin = 0; twin < 40; twin += 13) {
        PareBuffer b = {0};
        for (int i = 0; i < 40; i++)
            pare_buffer_printf(&b, "%s\"key%d\":%d", i ? "," : "{", i, i);
        pare_buffer_printf(&b, ",\"key%d\":0}", twin);
        char message[80];
        snprintf(message, sizeof message, "line 1, column %zu: the key \"key%d\" appears twice",
                 b.size - (twin < 10 ? 8 : 9), twin);
        refused_size(b.data, b.size, message);
        pare_buffer_free(&b);
    }
}

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void large_objects_are_fast(void **state) {
    (void)state;
    PareBuffer b = {0};
    PareJsonDoc *doc;
    PareError err = {0};
    for (int i = 0; i < 500000; i++)
        pare_buffer_printf(&b, "%s\"token-%d\": %d", i ? "," : "{", i, i);
    pare_buffer_puts(&b, "}");
    double start = seconds();
    assert_int_equal(pare_json_parse(b.data, b.size, "t", &doc, &err), PARE_OK);
    double taken = seconds() - start;
    print_message("%zu bytes, 500000 keys: %.3f s\n", b.size, taken);
    assert_true(taken < 10); /* far above what it takes, far below what a quadratic search would */
    pare_json_free(doc);
    b.size--;
    pare_buffer_puts(&b, ",\"token-77\":0}");
    assert_int_equal(pare_json_parse(b.data, b.size, "t", &doc, &err), PARE_E_FORMAT);
    assert_non_null(strstr(err.message, "\"token-77\" appears twice"));
    pare_buffer_free(&b);
}

static void typed_members(void **state) {
    (void)state;
    PareJsonDoc *doc = parse("{\"i\":12,\"f\":1.5,\"s\":\"x\",\"b\":true,\"n\":null,\"big\":"
                             "1000000000000000019884624838656,\"l\":[1,2]}");
    const PareJson *o = pare_json_root(doc);
    PareError err = {0};
    int64_t i = 7;
    double f = 7;
    bool b = false;
    const char *s = "default";
    assert_int_equal(pare_json_get_int(o, "i", 12, 12, &i, "w", &err), PARE_OK);
    assert_int_equal(i, 12);
    i = 7;
    assert_int_equal(pare_json_get_int(o, "absent", 0, 1, &i, "w", &err), PARE_OK);
    assert_int_equal(pare_json_get_int(o, "n", 0, 1, &i, "w", &err), PARE_OK);
    assert_int_equal(pare_json_get_int(o, "i", 13, 20, &i, "w", &err), PARE_E_FORMAT);
    assert_string_equal(err.message, "w: \"i\" is 12, expected an integer from 13 to 20");
    assert_int_equal(pare_json_get_int(o, "f", 1, INT64_MAX, &i, "w", &err), PARE_E_FORMAT);
    assert_string_equal(err.message, "w: \"f\" is 1.5, expected an integer from 1");
    assert_int_equal(pare_json_get_int(o, "s", INT64_MIN, 9, &i, "w", &err), PARE_E_FORMAT);
    assert_string_equal(err.message, "w: \"s\" is \"x\", expected an integer up to 9");
    assert_int_equal(pare_json_get_int(o, "big", 0, INT64_MAX, &i, "w", &err), PARE_E_FORMAT);
    assert_int_equal(i, 7);
    assert_false(pare_json_is_integer(pare_json_get(o, "big")));
    assert_int_equal(pare_json_get_float(o, "i", &f, "w", &err), PARE_OK);
    assert_true(f == 12);
    assert_int_equal(pare_json_get_float(o, "b", &f, "w", &err), PARE_E_FORMAT);
    assert_string_equal(err.message, "w: \"b\" is true, expected a number");
    assert_int_equal(pare_json_get_bool(o, "b", &b, "w", &err), PARE_OK);
    assert_true(b);
    assert_int_equal(pare_json_get_bool(o, "i", &b, "w", &err), PARE_E_FORMAT);
    assert_int_equal(pare_json_get_string(o, "absent", &s, "w", &err), PARE_OK);
    assert_string_equal(s, "default");
    assert_int_equal(pare_json_get_string(o, "s", &s, "w", &err), PARE_OK);
    assert_string_equal(s, "x");
    assert_int_equal(pare_json_get_string(o, "l", &s, "w", &err), PARE_E_FORMAT);
    assert_string_equal(err.message, "w: \"l\" is [1,2], expected a string");
    assert_null(pare_json_get_set(o, "n"));
    assert_non_null(pare_json_get(o, "n"));
    pare_json_free(doc);
}

static void printing_gives_the_text_back(void **state) {
    (void)state;
    static const char text[] =
        "{\"a\":[1,-0,0.1,1e-05,9007199254740992,1000000000000000019884624838656,1.5e+300,{},[]],"
        "\"\xC3\xA4\\n\":{\"t\":true,\"f\":false,\"n\":null},\"s\":\"q\\\"\"}";
    PareJsonDoc *doc = parse(text);
    char *printed = pare_json_print(pare_json_root(doc));
    assert_string_equal(printed, text);
    pare_free(printed);
    pare_json_free(doc);
}

static void memory_may_run_out_anywhere(void **state) {
    (void)state;
    static const char text[] = "{\"a\":[1,{\"\\u0062\":\"text\",\"c\":[true,null]}],\"d\":2.5}";
    PareStatus st = PARE_E_MEMORY;
    int failures = 0;
    for (uint64_t n = 1; st == PARE_E_MEMORY; n++) {
        PareJsonDoc *doc = NULL;
        PareError err = {0};
        char *printed = NULL;
        pare_memory_fail_after(n);
        st = pare_json_parse(text, sizeof text - 1, "t", &doc, &err);
        if (!st && !(printed = pare_json_print(pare_json_root(doc))))
            st = pare_memory_error(&err, "t");
        pare_memory_fail_after(0);
        if (st)
            assert_string_equal(err.message, "out of memory for t");
        failures += st != PARE_OK;
        pare_free(printed);
        pare_json_free(doc);
    }
    assert_int_equal(st, PARE_OK);
    assert_true(failures > 15);
}

static void files_are_read(void **state) {
    (void)state;
    char path[] = "/tmp/test_core_json.XXXXXX";
    int fd = mkstemp(path);
    assert_int_equal(write(fd, "{\"a\":\n x}", 9), 9);
    close(fd);
    PareJsonDoc *doc;
    PareError err = {0};
    char expected[100];
    assert_int_equal(pare_json_read(path, &doc, &err), PARE_E_FORMAT);
    snprintf(expected, sizeof expected, "%s: invalid JSON at line 2, column 2: expected a value",
             path);
    assert_string_equal(err.message, expected);
    unlink(path);
    assert_int_equal(pare_json_read(path, &doc, &err), PARE_E_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_read),
        cmocka_unit_test(scalars_stand_alone),
        cmocka_unit_test(grammar_is_enforced),
        cmocka_unit_test(numbers_are_strict),
        cmocka_unit_test(strings_are_strict),
        cmocka_unit_test(truncated_text_is_refused),
        cmocka_unit_test(depth_is_limited),
        cmocka_unit_test(duplicate_keys_are_refused),
        cmocka_unit_test(large_objects_are_fast),
        cmocka_unit_test(typed_members),
        cmocka_unit_test(printing_gives_the_text_back),
        cmocka_unit_test(memory_may_run_out_anywhere),
        cmocka_unit_test(files_are_read),
    };
    return cmocka_run_group_tests_name("core: JSON", tests, NULL, NULL);
}
