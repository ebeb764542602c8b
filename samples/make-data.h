/*
 * The parts of make-data: data-text.c (random numbers and lines of text), data-words.c and
 * data-intent.c (the two jobs), make-data.c (splits and the command line).
 */
#ifndef SAMPLES_MAKE_DATA_H
#define SAMPLES_MAKE_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof((array)[0])))

struct rng {
    uint64_t state;
};

uint32_t rng_below(struct rng *rng, uint32_t limit);                /* 0 .. limit - 1 */
uint32_t rng_between(struct rng *rng, uint32_t low, uint32_t high); /* both included */
bool rng_chance(struct rng *rng, uint32_t percent);

enum { LINE_BYTES = 320 };

/* A text that grows; too long a text ends the program, since the grammars are finite. */
struct line {
    char text[LINE_BYTES];
    size_t used;
};

void line_clear(struct line *line);
void line_add(struct line *line, const char *format, ...);
void line_say(struct line *line, const char *word); /* adds a word, and a space before it */

uint64_t hash_mix(uint64_t z);
uint64_t hash_text(const char *text);

struct words_row {
    struct line source, target;
};

void words_make_row(struct rng *rng, struct words_row *row);

struct intent_command {
    struct line clean; /* as the grammar gives it */
    struct line noisy; /* as the user says it */
    uint32_t label;
};

void intent_make_command(struct rng *rng, struct intent_command *command);
const char *intent_name(uint32_t label); /* NULL after the last */

#endif
