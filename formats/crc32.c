/* CRC-32, sixteen bytes at a time (Kounavis and Berry, "A Systematic Approach to Building High
 * Performance Software-based CRC Generators", 2005). */
#include "formats/crc32.h"

#include <string.h>

void pare_crc32_init(PareCrc32 *table) {
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t crc = b;
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
        table->of[0][b] = crc;
    }
    for (uint32_t b = 0; b < 256; b++)
        for (size_t n = 1; n < 16; n++)
            table->of[n][b] = table->of[n - 1][b] >> 8 ^ table->of[0][table->of[n - 1][b] & 0xFF];
}

/* Four bytes of which `behind` bytes of the sixteen follow. */
static uint32_t four(const PareCrc32 *table, uint32_t word, size_t behind) {
    return table->of[behind + 3][word & 0xFF] ^ table->of[behind + 2][word >> 8 & 0xFF] ^
           table->of[behind + 1][word >> 16 & 0xFF] ^ table->of[behind][word >> 24];
}

uint32_t pare_crc32(const PareCrc32 *table, uint32_t before, const void *bytes, size_t size) {
    const uint8_t *p = bytes;
    uint32_t crc = ~before;
    for (; size >= 16; size -= 16, p += 16) {
        uint32_t word[4];
        memcpy(word, p, sizeof word); /* little-endian, as everything here */
        crc = four(table, word[0] ^ crc, 12) ^ four(table, word[1], 8) ^ four(table, word[2], 4) ^
              four(table, word[3], 0);
    }
    for (; size > 0; size--, p++)
        crc = crc >> 8 ^ table->of[0][(crc ^ *p) & 0xFF];
    return ~crc;
}
