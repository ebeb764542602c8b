/* CRC-32. Short runs go by tables, sixteen bytes at a time (Kounavis and Berry, "A Systematic
 * Approach to Building High Performance Software-based CRC Generators", 2005). Long ones are made
 * short first, without tables, as Russell's Chorba does ("Chorba: A novel CRC32 implementation",
 * 2024); the multiple of the polynomial is another one, found by search. */
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

/* As it is inside: neither inverted before nor after. */
static uint32_t by_tables(const PareCrc32 *table, uint32_t crc, const uint8_t *p, size_t size) {
    for (; size >= 16; size -= 16, p += 16) {
        uint32_t word[4];
        memcpy(word, p, sizeof word); /* little-endian, as everything here */
        crc = four(table, word[0] ^ crc, 12) ^ four(table, word[1], 8) ^ four(table, word[2], 4) ^
              four(table, word[3], 0);
    }
    for (; size > 0; size--, p++)
        crc = crc >> 8 ^ table->of[0][(crc ^ *p) & 0xFF];
    return crc;
}

/* The generator divides x^274 + x^93 + x^75 + x^19 + x^11 + 1, and so its 128th power, which has
 * x^128 in place of x. Hence a unit of 128 bits may be struck out of a message when it is added
 * (without carries: xor) to the units 181, 199, 255, 263 and 274 behind it: the remainder stays the
 * same. Struck out so from the front, a message shrinks to its last 274 units. Below, in words. */
enum { BACK1 = 2 * 181, BACK2 = 2 * 199, BACK3 = 2 * 255, BACK4 = 2 * 263, BACK5 = 2 * 274 };
enum { STEP = 16, ROUND = 512, SHORT = 1 << 14 };

/* Strikes out `words` words in front, a multiple of STEP; the last BACK5 of them, with what was
 * added to each before it was struck out, are left in struck[0 .. BACK5 - 1]. */
static void strike_out(uint32_t crc, const uint8_t *p, size_t words, uint64_t *struck) {
    uint64_t w[BACK5 + ROUND];
    memset(w, 0, BACK5 * sizeof *w);
    for (size_t done = 0; done < words; done += ROUND) {
        size_t round = words - done < ROUND ? words - done : ROUND;
        memcpy(w + BACK5, p + done * sizeof *w, round * sizeof *w);
        w[BACK5] ^= done == 0 ? crc : 0; /* as if it stood there: it is added to the first bytes */
        for (uint64_t *at = w; at < w + round; at += STEP)
            for (size_t i = 0; i < STEP; i++) /* of fixed length, to be vectorised */
                at[BACK5 + i] ^= at[BACK5 - BACK1 + i] ^ at[BACK5 - BACK2 + i] ^
                                 at[BACK5 - BACK3 + i] ^ at[BACK5 - BACK4 + i] ^ at[i];
        memmove(w, w + round, BACK5 * sizeof *w);
    }
    memcpy(struck, w, BACK5 * sizeof *w);
}

static uint32_t by_striking_out(const PareCrc32 *table, uint32_t crc, const uint8_t *p,
                                size_t size) {
    static const size_t back[] = {BACK1, BACK2, BACK3, BACK4, BACK5};
    uint64_t struck[BACK5], last[BACK5];
    size_t words = (size / sizeof *last - BACK5) / STEP * STEP;
    strike_out(crc, p, words, struck);
    p += words * sizeof *last;
    size -= words * sizeof *last;
    memcpy(last, p, sizeof last);
    for (size_t k = 0; k < sizeof back / sizeof *back; k++)
        for (size_t i = 0; i < back[k]; i++)
            last[i] ^= struck[BACK5 - back[k] + i];
    crc = by_tables(table, 0, (const uint8_t *)last, sizeof last);
    return by_tables(table, crc, p + sizeof last, size - sizeof last);
}

uint32_t pare_crc32(const PareCrc32 *table, uint32_t before, const void *bytes, size_t size) {
    return ~(size < SHORT ? by_tables : by_striking_out)(table, ~before, bytes, size);
}
