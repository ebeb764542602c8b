/* UTF-8 and the Unicode properties that tokenizers ask for. Doorkeeper of utf8proc.
 *
 * Categories are those of the utf8proc that is linked; no other file may know where they come
 * from. Functions that walk text expect valid UTF-8 (pare_utf8_append_lossy makes it so), yet never
 * read beyond `end` whatever they are given. */
#ifndef PARE_TEXT_UNICODE_H
#define PARE_TEXT_UNICODE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"

enum { PARE_REPLACEMENT = 0xFFFD };

bool pare_utf8_valid(const char *text, size_t size);
/* Appends `text`; each maximal invalid part becomes one U+FFFD, as in other programs' "replace". */
void pare_utf8_append_lossy(PareBuffer *out, const char *text, size_t size);
/* Reads one character and moves on; an invalid byte reads as U+FFFD. `*at` must be below `end`. */
uint32_t pare_utf8_next(const char **at, const char *end);
/* The character that ends right before `at`, which must be above `begin`; moves back to its start.
 */
uint32_t pare_utf8_previous(const char **at, const char *begin);
size_t pare_utf8_put(uint32_t c, char out[4]);
void pare_utf8_append(PareBuffer *out, uint32_t c);

bool pare_unicode_is_space(uint32_t c);       /* the property White_Space */
bool pare_unicode_is_control(uint32_t c);     /* Cc, Cf, Co, Cs: not the unassigned */
bool pare_unicode_is_punctuation(uint32_t c); /* P*, and every ASCII character that is a symbol */
bool pare_unicode_is_nonspacing(uint32_t c);  /* Mn */
bool pare_unicode_is_word(uint32_t c);        /* letters, marks, numbers, connectors: \w */
bool pare_unicode_is_ideograph(uint32_t c);   /* the CJK blocks that are split by character */

/* The lower-case form of one character: at most 2 characters (only U+0130 has two). */
size_t pare_unicode_lower(uint32_t c, uint32_t out[2]);
enum { PARE_DECOMPOSITION_MAX = 32 };
/* The full canonical decomposition of one character. */
size_t pare_unicode_decompose(uint32_t c, uint32_t out[PARE_DECOMPOSITION_MAX]);

#endif
