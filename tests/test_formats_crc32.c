/* CRC-32 against its definition. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "core/random.h"
#include "formats/crc32.h"

enum { MOST = 70000 };

/* Bit by bit. */
static uint32_t definition(uint32_t before, const uint8_t *bytes, size_t size) {
    uint32_t crc = ~before;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
    }
    return ~crc;
}

static uint8_t *random_bytes(void) {
    uint8_t *bytes = pare_alloc(MOST, 1);
    for (size_t i = 0; i < MOST; i++)
        bytes[i] = (uint8_t)pare_random_u32(1, 2, i);
    return bytes;
}

static void known_answers(void **state) {
    (void)state;
    PareCrc32 table;
    pare_crc32_init(&table);
    assert_int_equal(pare_crc32(&table, 0, "123456789", 9), 0xCBF43926);
    assert_int_equal(pare_crc32(&table, 0, NULL, 0), 0);
    uint8_t *zeros = pare_alloc(MOST, 1);
    assert_int_equal(pare_crc32(&table, 0, zeros, 65536), 0xD7978EEB);
    pare_free(zeros);
}

/* Every size up to some, sizes around those where the method changes, from any address. */
static void every_size_is_right(void **state) {
    (void)state;
    static const size_t around[] = {4384, 8192, 16384, 16384 + 128, 20480, 65536};
    PareCrc32 table;
    pare_crc32_init(&table);
    uint8_t *bytes = random_bytes();
    for (size_t size = 0; size < 300; size++) {
        uint32_t before = pare_random_u32(1, 3, size);
        assert_int_equal(pare_crc32(&table, before, bytes + size % 17, size),
                         definition(before, bytes + size % 17, size));
    }
    for (size_t i = 0; i < sizeof around / sizeof *around; i++)
        for (size_t size = around[i] - 40; size < around[i] + 40; size++)
            assert_int_equal(pare_crc32(&table, (uint32_t)size, bytes + size % 9, size),
                             definition((uint32_t)size, bytes + size % 9, size));
    pare_free(bytes);
}

static void pieces_make_the_whole(void **state) {
    (void)state;
    PareCrc32 table;
    pare_crc32_init(&table);
    uint8_t *bytes = random_bytes();
    uint32_t whole = definition(0, bytes, MOST);
    for (size_t cut = 0; cut <= MOST; cut += 1111) {
        uint32_t crc = pare_crc32(&table, 0, bytes, cut);
        assert_int_equal(pare_crc32(&table, crc, bytes + cut, MOST - cut), whole);
    }
    pare_free(bytes);
}

/* Wherever it is, one bit makes a difference. */
static void every_bit_counts(void **state) {
    (void)state;
    PareCrc32 table;
    pare_crc32_init(&table);
    uint8_t *bytes = random_bytes();
    uint32_t whole = pare_crc32(&table, 0, bytes, MOST);
    for (size_t i = 0; i < MOST; i += 97) {
        bytes[i] ^= (uint8_t)(1 << i % 8);
        assert_int_not_equal(pare_crc32(&table, 0, bytes, MOST), whole);
        bytes[i] ^= (uint8_t)(1 << i % 8);
    }
    pare_free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_answers),
        cmocka_unit_test(every_size_is_right),
        cmocka_unit_test(pieces_make_the_whole),
        cmocka_unit_test(every_bit_counts),
    };
    return cmocka_run_group_tests_name("formats: CRC-32", tests, NULL, NULL);
}
