/* What the kernel tests share: reproducible inputs, buffers with guard bytes, comparison of bits,
 * and a walk over the variants of this machine. */
#ifndef PARE_TESTS_TEST_KERNELS_H
#define PARE_TESTS_TEST_KERNELS_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "runtime/kernels/kernels.h"

enum { GUARD = 64, GUARD_BYTE = 0xa5 };

/* `size` usable bytes at `offset` (in bytes) behind a guard, and a guard after them. */
typedef struct {
    unsigned char *memory;
    size_t size, offset;
    void *data;
} Guarded;

static inline Guarded guarded_create(size_t size, size_t offset) {
    Guarded g = {.size = size, .offset = offset};
    g.memory = malloc(size + offset + 2 * GUARD);
    assert_non_null(g.memory);
    memset(g.memory, GUARD_BYTE, size + offset + 2 * GUARD);
    g.data = g.memory + GUARD + offset;
    return g;
}

/* Checks both guards and frees. */
static inline void guarded_destroy(Guarded *g) {
    const unsigned char *after = g->memory + GUARD + g->offset + g->size;
    for (size_t i = 0; i < GUARD + g->offset; i++)
        assert_int_equal(g->memory[i], GUARD_BYTE);
    for (size_t i = 0; i < GUARD; i++)
        assert_int_equal(after[i], GUARD_BYTE);
    free(g->memory);
}

/* xorshift64*, so that a failure shows again. */
static inline uint32_t random_word(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (uint32_t)((*state * 0x2545f4914f6cdd1dull) >> 32);
}

static inline float random_unit(uint64_t *state) { /* in [-1, 1) */
    return (float)(int32_t)random_word(state) * 0x1p-31f;
}

static inline void fill_floats(float *x, size_t count, float size, uint64_t seed) {
    uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
    for (size_t i = 0; i < count; i++)
        x[i] = size * random_unit(&state);
}

static inline void fill_bytes(int8_t *x, size_t count, uint64_t seed) { /* [-127, 127] */
    uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
    for (size_t i = 0; i < count; i++)
        x[i] = (int8_t)((int)(random_word(&state) % 255) - 127);
}

/* Values on which kernels differ when they are careless. */
static const float special_values[] = {
    0.0f,   -0.0f,     1e-45f,   -1e-45f, 1e-40f, -1e-40f, 1.17549435e-38f, 1.0f,    -1.0f,
    1e-20f, -1e-20f,   0.5f,     88.72f,  88.73f, -87.33f, -87.4f,          -103.9f, -104.5f,
    89.5f,  -0.34657f, 0.34657f, 9.01f,   -9.02f, 19.0f,   1e10f,           -1e10f,  3e38f,
    -3e38f, 1e-4f,     -1e-4f,   5.9f,    -6.1f,  -13.5f,  -20.0f,          12.5f,   3.4028235e38f,
};
enum { SPECIAL_COUNT = sizeof special_values / sizeof special_values[0] };

static inline void fill_special(float *x, size_t count, uint64_t seed) {
    uint64_t state = seed * 0x9e3779b97f4a7c15ull + 1;
    for (size_t i = 0; i < count; i++)
        x[i] = special_values[random_word(&state) % SPECIAL_COUNT];
}

/* The same bits; any NaN equals any other. */
static inline void assert_same_bits(const char *what, const char *variant, const float *expected,
                                    const float *got, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (!memcmp(&expected[i], &got[i], sizeof *got) || (isnan(expected[i]) && isnan(got[i])))
            continue;
        fail_msg("%s of %s: element %zu of %zu is %a (%g), scalar has %a (%g)", what, variant, i,
                 count, (double)got[i], (double)got[i], (double)expected[i], (double)expected[i]);
    }
}

/* for (VARIANTS(k)): every variant but scalar; SCALAR is the definition. */
#define VARIANTS(k)                                                                                \
    size_t k##_index = 1;                                                                          \
    (k = pare_kernels_variant(k##_index)) != NULL;                                                 \
    k##_index++
#define SCALAR (pare_kernels_variant(0))

static const size_t row_sizes[] = {0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 255, 768, 1023};
enum { ROW_SIZES = sizeof row_sizes / sizeof row_sizes[0] };

#endif
