/* The texts in which pickle's protocols 0 and 1 write numbers and strings. */
#ifndef PARE_FORMATS_PICKLE_TEXT_H
#define PARE_FORMATS_PICKLE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    PARE_PICKLE_NUMBER_NONE,
    PARE_PICKLE_NUMBER,
    PARE_PICKLE_NUMBER_BIG /* a number beyond 64 bits; `*out` is untouched */
} ParePickleNumber;

/* Decimal digits, perhaps behind a '-'. */
ParePickleNumber pare_pickle_parse_int(const char *text, size_t size, int64_t *out);
/* As Python's repr writes them, "inf" and "nan" included. */
bool pare_pickle_parse_float(const char *text, size_t size, double *out);
/* To UTF-8. `quoted`: a Python string in quotes with its escapes; otherwise Latin-1 with \u and \U
 * escapes. `out` has room for twice the size. */
bool pare_pickle_unescape(const char *text, size_t size, bool quoted, char *out, size_t *out_size);

#endif
