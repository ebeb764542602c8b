/* Random numbers and checksums, against published values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/hash.h"
#include "core/memory.h"
#include "core/random.h"

/* The known answers that come with the authors' Random123 library. */
static void philox_gives_the_known_answers(void **state) {
    (void)state;
    static const struct {
        uint64_t seed, stream, block;
        uint32_t out[4];
    } cases[] = {
        {0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
        {UINT64_MAX, UINT64_MAX, UINT64_MAX, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
        {UINT64_C(0x299f31d0a4093822),
         UINT64_C(0x0370734413198a2e),
         UINT64_C(0x85a308d3243f6a88),
         {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint32_t out[4];
        pare_random_block(cases[i].seed, cases[i].stream, cases[i].block, out);
        assert_memory_equal(out, cases[i].out, sizeof out);
    }
}

static void draws_are_words_of_the_blocks(void **state) {
    (void)state;
    for (uint64_t i = 0; i < 100; i++) {
        uint32_t block[4];
        pare_random_block(5, 6, i / 4, block);
        assert_int_equal(pare_random_u32(5, 6, i), block[i % 4]);
        float f = pare_random_float(5, 6, i);
        assert_true(f >= 0 && f < 1 && f == (float)(block[i % 4] >> 8) / 16777216);
    }
}

static void draws_below_are_even(void **state) {
    (void)state;
    unsigned counts[6] = {0};
    for (uint64_t i = 0; i < 60000; i++)
        counts[pare_random_below(1, 1, i, 6)]++;
    for (size_t i = 0; i < 6; i++)
        assert_in_range(counts[i], 9600, 10400); /* more than four standard deviations */
    unsigned residues[3] = {0};
    for (uint64_t i = 0; i < 30000; i++) {
        /* A quarter of the draws is rejected here; kept, they would all fall on one residue. */
        uint64_t v = pare_random_below(1, 1, i, UINT64_C(3) << 62);
        assert_true(v < UINT64_C(3) << 62);
        residues[v % 3]++;
        assert_int_equal(pare_random_below(1, 1, i, 1), 0);
        assert_true(pare_random_below(1, 1, i, UINT64_MAX) < UINT64_MAX);
    }
    for (size_t i = 0; i < 3; i++)
        assert_in_range(residues[i], 9600, 10400);
}

static void permutations_are_permutations(void **state) {
    (void)state;
    uint32_t p[1000], again[1000];
    bool seen[1000] = {0};
    pare_random_permutation(7, 8, p, 1000);
    pare_random_permutation(7, 8, again, 1000);
    assert_memory_equal(p, again, sizeof p);
    for (size_t i = 0; i < 1000; i++) {
        assert_true(p[i] < 1000 && !seen[p[i]]);
        seen[p[i]] = true;
    }
    pare_random_permutation(7, 9, again, 1000);
    assert_memory_not_equal(p, again, sizeof p);
    pare_random_permutation(7, 8, p, 1);
    assert_int_equal(p[0], 0);
    pare_random_permutation(7, 8, p, 0);
    unsigned orders[6] = {0}; /* all orders of three are as frequent */
    for (uint64_t s = 0; s < 12000; s++) {
        pare_random_permutation(s, 0, p, 3);
        orders[p[0] * 2 + (p[1] > p[2])]++;
    }
    for (size_t i = 0; i < 6; i++)
        assert_in_range(orders[i], 1820, 2180);
}

/* ---- Checksums ----------------------------------------------------------------------------- */

static void xxh64_is_xxh64(void **state) {
    (void)state;
    assert_true(pare_hash_xxh64("", 0) == UINT64_C(0xEF46DB3751D8E999));
    assert_true(pare_hash_xxh64("abc", 3) == UINT64_C(0x44BC2CF5AD770999));
    unsigned char bytes[1000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)(i * 31);
    for (size_t cut = 0; cut <= sizeof bytes; cut += 37) {
        PareXxh64 *h = pare_xxh64_create();
        pare_xxh64_update(h, bytes, cut);
        pare_xxh64_update(h, NULL, 0);
        pare_xxh64_update(h, bytes + cut, sizeof bytes - cut);
        assert_true(pare_xxh64_digest(h) == pare_hash_xxh64(bytes, sizeof bytes));
        pare_xxh64_destroy(h);
    }
    pare_xxh64_destroy(NULL);
}

static void sha256_is_sha256(void **state) {
    (void)state;
    char hex[PARE_SHA256_HEX_SIZE];
    PareSha256 *h = pare_sha256_create();
    pare_sha256_update(h, "ab", 2);
    pare_sha256_update(h, "c", 1);
    pare_sha256_hex(h, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    pare_sha256_hex(h, hex); /* afresh */
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    pare_sha256_destroy(h);
    pare_sha256_destroy(NULL);
}

static void files_have_checksums(void **state) {
    (void)state;
    char path[] = "/tmp/test_core_random.XXXXXX", hex[PARE_SHA256_HEX_SIZE];
    uint64_t bytes = 9;
    PareError err = {0};
    int fd = mkstemp(path);
    assert_int_equal(pare_file_sha256(path, &bytes, hex, &err), PARE_OK);
    assert_int_equal(bytes, 0);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_int_equal(write(fd, "abc", 3), 3);
    close(fd);
    assert_int_equal(pare_file_sha256(path, &bytes, hex, &err), PARE_OK);
    assert_int_equal(bytes, 3);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    pare_memory_fail_after(1); /* none is needed */
    assert_int_equal(pare_file_sha256(path, &bytes, hex, &err), PARE_OK);
    pare_memory_fail_after(0);
    atomic_bool stop = false;
    assert_int_equal(pare_file_sha256_until(path, &stop, &bytes, hex, &err), PARE_OK);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    stop = true;
    assert_int_equal(pare_file_sha256_until(path, &stop, &bytes, hex, &err), PARE_E_INTERRUPTED);
    unlink(path);
    assert_int_equal(pare_file_sha256(path, &bytes, hex, &err), PARE_E_IO);
}

static void checksums_survive_lack_of_memory(void **state) {
    (void)state;
    pare_memory_fail_after(1);
    assert_null(pare_xxh64_create());
    assert_null(pare_sha256_create());
    pare_memory_fail_after(0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(philox_gives_the_known_answers),
        cmocka_unit_test(draws_are_words_of_the_blocks),
        cmocka_unit_test(draws_below_are_even),
        cmocka_unit_test(permutations_are_permutations),
        cmocka_unit_test(xxh64_is_xxh64),
        cmocka_unit_test(sha256_is_sha256),
        cmocka_unit_test(files_have_checksums),
        cmocka_unit_test(checksums_survive_lack_of_memory),
    };
    return cmocka_run_group_tests_name("core: random numbers and checksums", tests, NULL, NULL);
}
