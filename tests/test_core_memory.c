/* Errors, allocation and arenas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/error.h"
#include "core/memory.h"

/* ---- Errors -------------------------------------------------------------------------------- */

static void error_is_filled(void **state) {
    (void)state;
    PareError err = {0};
    assert_int_equal(pare_error_set(&err, PARE_E_FORMAT, "%s: %d", "file", 7), PARE_E_FORMAT);
    assert_int_equal(err.code, PARE_E_FORMAT);
    assert_string_equal(err.message, "file: 7");
    assert_int_equal(pare_error_prefix(&err, "tensor %s", "a"), PARE_E_FORMAT);
    assert_string_equal(err.message, "tensor a: file: 7");
    assert_int_equal(pare_error_set(NULL, PARE_E_IO, "x"), PARE_E_IO);
    pare_error_prefix(NULL, "x");
    pare_error_set(&err, PARE_E_IO, "again: %s", err.message); /* its own message as argument */
    assert_string_equal(err.message, "again: tensor a: file: 7");
}

static void error_is_cut_between_characters(void **state) {
    (void)state;
    static char text[4000];
    PareError err = {0};
    memset(text, 'a', sizeof text - 1);
    pare_error_set(&err, PARE_E_IO, "%s", text);
    assert_int_equal(strlen(err.message), PARE_ERROR_MESSAGE_SIZE - 1);
    assert_string_equal(err.message + PARE_ERROR_MESSAGE_SIZE - 5, "a...");
    for (size_t i = 0; i + 1 < sizeof text; i++)
        text[i] = i % 2 ? '\xA4' : '\xC3'; /* "ä" over and over */
    for (int shift = 0; shift < 2; shift++) {
        pare_error_set(&err, PARE_E_IO, "%s%s", shift ? "x" : "", text);
        size_t length = strlen(err.message);
        assert_string_equal(err.message + length - 3, "...");
        assert_int_equal((unsigned char)err.message[length - 4], 0xA4);
    }
    pare_error_prefix(&err, "%s", "in front");
    assert_memory_equal(err.message, "in front: ", 10);
    assert_string_equal(err.message + strlen(err.message) - 3, "...");
}

static void error_is_one_line(void **state) {
    (void)state;
    static const char *const cases[][2] = {{"a\nb\r\n", "a?b??"},
                                           {"\t\x1b[2J\x7f", "??[2J?"},
                                           {"\xc2\x85\xc2\xa0", "??\xc2\xa0"},
                                           {"\xc3", "?"},
                                           {"\xe4\xbd", "??"},
                                           {"\xff\xc3\xa4\xed\xa0\x80", "?\xc3\xa4???"},
                                           {"\xf0\x9f\x98\x80", "\xf0\x9f\x98\x80"}};
    PareError err = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        pare_error_set(&err, PARE_E_FORMAT, "%s", cases[i][0]);
        assert_string_equal(err.message, cases[i][1]);
        pare_error_set(&err, PARE_E_FORMAT, "x");
        pare_error_prefix(&err, "%s", cases[i][0]);
        err.message[strlen(cases[i][1])] = '\0';
        assert_string_equal(err.message, cases[i][1]);
    }
}

static void exit_codes(void **state) {
    (void)state;
    assert_int_equal(pare_error_exit_code(PARE_OK), 0);
    assert_int_equal(pare_error_exit_code(PARE_E_IO), 1);
    assert_int_equal(pare_error_exit_code(PARE_E_INTERRUPTED), 1);
    assert_int_equal(pare_error_exit_code(PARE_E_USAGE), 2);
    assert_int_equal(pare_error_exit_code(PARE_E_LIMIT), 3);
}

/* ---- Allocation ---------------------------------------------------------------------------- */

static void sizes_are_checked(void **state) {
    (void)state;
    size_t out = 5;
    assert_false(pare_size_mul(SIZE_MAX / 2, 3, &out));
    assert_false(pare_size_add(SIZE_MAX, 1, &out));
    assert_int_equal(out, 5);
    assert_true(pare_size_mul(SIZE_MAX, 1, &out) && out == SIZE_MAX);
    assert_true(pare_size_mul(SIZE_MAX, 0, &out) && out == 0);
    assert_true(pare_size_add(SIZE_MAX - 1, 1, &out) && out == SIZE_MAX);
    assert_null(pare_alloc(SIZE_MAX / 2, 3));
    assert_null(pare_alloc(SIZE_MAX, 1)); /* the header does not fit any more */
    assert_null(pare_alloc(SIZE_MAX - 63, 1));
    assert_null(pare_realloc(NULL, SIZE_MAX - 15, 1));
    assert_null(pare_alloc((size_t)PTRDIFF_MAX, 1));
}

static void blocks_are_aligned_and_zero(void **state) {
    (void)state;
    void *blocks[300];
    for (size_t i = 0; i < 300; i++) {
        unsigned char *p = blocks[i] = pare_alloc(i, 1);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 64, 0);
        for (size_t k = 0; k < i; k++)
            assert_int_equal(p[k], 0);
        memset(p, 0xAB, i);
    }
    for (size_t i = 0; i < 300; i++)
        pare_free(blocks[i]);
    for (size_t i = 0; i < 300; i++) { /* recycled memory is zeroed as well */
        unsigned char *p = blocks[i] = pare_alloc(1, i);
        for (size_t k = 0; k < i; k++)
            assert_int_equal(p[k], 0);
    }
    for (size_t i = 0; i < 300; i++)
        pare_free(blocks[i]);
    pare_free(NULL);
}

/* Far more than the machine has may be asked for as long as it is not touched. */
static void large_blocks_cost_nothing(void **state) {
    (void)state;
    size_t size = (size_t)1 << 32;
    unsigned char *p = pare_alloc(size, 1);
    if (!p)
        skip(); /* overcommitting is forbidden here */
    assert_int_equal(p[size - 1], 0);
    p[size / 2] = 1;
    pare_free(p);
}

static void blocks_grow(void **state) {
    (void)state;
    for (int aligned = 0; aligned < 2; aligned++) {
        unsigned char *p = aligned ? pare_alloc(3, 1) : pare_realloc(NULL, 3, 1);
        memcpy(p, "abc", 3);
        for (size_t size = 4; size < 3000000; size = size * 3 / 2) {
            p = pare_realloc(p, size, 1);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % 16, 0);
            assert_memory_equal(p, "abc", 3);
            p[size - 1] = 'z';
        }
        assert_null(pare_realloc(p, SIZE_MAX, 2)); /* the old block stands */
        assert_memory_equal(p, "abc", 3);
        p = pare_realloc(p, 0, 8);
        assert_non_null(p);
        pare_free(p);
    }
    char *copy = pare_strdup("text");
    assert_string_equal(copy, "text");
    pare_free(copy);
}

static void allocations_can_be_made_to_fail(void **state) {
    (void)state;
    PareError err = {0};
    pare_memory_fail_after(2);
    void *p = pare_alloc(1, 1);
    assert_non_null(p);
    assert_null(pare_alloc(1, 1));
    assert_null(pare_realloc(p, 100, 1));
    assert_null(pare_strdup("x"));
    assert_null(pare_arena_create(0));
    pare_memory_fail_after(0);
    pare_free(p);
    p = pare_alloc(1, 1);
    assert_non_null(p);
    pare_free(p);
    assert_int_equal(pare_memory_error(&err, "the plan"), PARE_E_MEMORY);
    assert_string_equal(err.message, "out of memory for the plan");
}

/* ---- Arenas -------------------------------------------------------------------------------- */

static void arena_blocks_are_zero_and_apart(void **state) {
    (void)state;
    PareArena *arena = pare_arena_create(1000);
    unsigned char *blocks[200];
    for (int round = 0; round < 3; round++) {
        PareArenaMark mark = pare_arena_mark(arena);
        for (size_t i = 0; i < 200; i++) {
            unsigned char *p = blocks[i] = pare_arena_alloc(arena, i, 7);
            assert_int_equal((uintptr_t)p % 64, 0);
            for (size_t k = 0; k < 7 * i; k++)
                assert_int_equal(p[k], 0);
            memset(p, (int)i, 7 * i);
        }
        for (size_t i = 0; i < 200; i++)
            for (size_t k = 0; k < 7 * i; k++)
                assert_int_equal(blocks[i][k], i);
        pare_arena_release(arena, mark);
    }
    assert_null(pare_arena_alloc(arena, SIZE_MAX / 2, 3));
    assert_null(pare_arena_alloc(arena, SIZE_MAX - 10, 1));
    assert_null(pare_arena_alloc_raw(arena, SIZE_MAX - 100, 1));
    pare_arena_destroy(arena);
    pare_arena_destroy(NULL);
}

static void arena_reuses_what_is_released(void **state) {
    (void)state;
    PareArena *arena = pare_arena_create(4096);
    pare_arena_strdup(arena, "kept");
    PareArenaMark mark = pare_arena_mark(arena);
    size_t peak = 0;
    for (int round = 0; round < 50; round++) { /* large and small ones */
        for (int i = 0; i < 20; i++)
            assert_non_null(pare_arena_alloc_raw(arena, (size_t)(i * 7 % 20) * 1000, 1));
        pare_arena_release(arena, mark);
        if (round == 0)
            peak = pare_arena_peak(arena);
        assert_int_equal(pare_arena_peak(arena), peak);
        pare_memory_fail_after(1); /* from now on everything is there */
    }
    pare_memory_fail_after(0);
    assert_true(peak >= 190000);
    pare_arena_destroy(arena);
}

static void arena_marks_nest(void **state) {
    (void)state;
    PareArena *arena = pare_arena_create(256);
    PareArenaMark empty = pare_arena_mark(arena);
    char *outer = pare_arena_strdup(arena, "outer");
    PareArenaMark mark = pare_arena_mark(arena);
    char *inner = pare_arena_strndup(arena, "inner and more", 5);
    assert_string_equal(inner, "inner");
    pare_arena_alloc(arena, 1000, 1);
    pare_arena_release(arena, mark);
    assert_string_equal(outer, "outer");
    char *again = pare_arena_printf(arena, "%s-%03d", "n", 7);
    assert_ptr_equal(again, inner);
    assert_string_equal(again, "n-007");
    pare_arena_release(arena, empty);
    assert_ptr_equal(pare_arena_alloc(arena, 1, 1), outer);
    assert_int_equal(*outer, 0);
    pare_arena_destroy(arena);
}

static void arena_survives_lack_of_memory(void **state) {
    (void)state;
    PareArena *arena = pare_arena_create(128);
    char *text = pare_arena_strdup(arena, "stays");
    pare_memory_fail_after(1);
    assert_null(pare_arena_alloc(arena, 500, 1));
    assert_null(pare_arena_printf(arena, "%0300d", 1));
    pare_memory_fail_after(0);
    assert_non_null(pare_arena_alloc(arena, 500, 1));
    assert_string_equal(text, "stays");
    pare_arena_destroy(arena);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_is_filled),
        cmocka_unit_test(error_is_cut_between_characters),
        cmocka_unit_test(error_is_one_line),
        cmocka_unit_test(exit_codes),
        cmocka_unit_test(sizes_are_checked),
        cmocka_unit_test(blocks_are_aligned_and_zero),
        cmocka_unit_test(large_blocks_cost_nothing),
        cmocka_unit_test(blocks_grow),
        cmocka_unit_test(allocations_can_be_made_to_fail),
        cmocka_unit_test(arena_blocks_are_zero_and_apart),
        cmocka_unit_test(arena_reuses_what_is_released),
        cmocka_unit_test(arena_marks_nest),
        cmocka_unit_test(arena_survives_lack_of_memory),
    };
    return cmocka_run_group_tests_name("core: errors and memory", tests, NULL, NULL);
}
