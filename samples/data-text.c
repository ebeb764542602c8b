/*
 * Random numbers, hashes and lines of text: what both jobs of make-data are written with.
 */
#include "make-data.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- random numbers ------------------------------------------------------------------------ */

/* Steele, Lea and Flood's SplitMix64: one addition, then a mixing function. */
uint64_t hash_mix(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint32_t rng_below(struct rng *rng, uint32_t limit) {
    rng->state += UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(((hash_mix(rng->state) >> 32) * limit) >> 32);
}

uint32_t rng_between(struct rng *rng, uint32_t low, uint32_t high) {
    return low + rng_below(rng, high - low + 1);
}

bool rng_chance(struct rng *rng, uint32_t percent) {
    return rng_below(rng, 100) < percent;
}

/* ---- lines of text ------------------------------------------------------------------------- */

void line_clear(struct line *line) {
    line->text[0] = '\0';
    line->used = 0;
}

/* The grammars are finite, so a line that does not fit is a mistake in them. */
void line_add(struct line *line, const char *format, ...) {
    size_t room = sizeof line->text - line->used;
    va_list args;
    va_start(args, format);
    int wrote = vsnprintf(line->text + line->used, room, format, args);
    va_end(args);
    if (wrote < 0 || (size_t)wrote >= room) {
        fprintf(stderr, "make-data: a generated line is longer than %zu bytes\n",
                sizeof line->text);
        exit(1);
    }
    line->used += (size_t)wrote;
}

/* Adds a word, and the space before it that it needs. */
void line_say(struct line *line, const char *word) {
    line_add(line, "%s%s", line->used > 0 ? " " : "", word);
}

uint64_t hash_text(const char *text) {
    uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a, then mixed for its low bits */
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return hash_mix(hash);
}
