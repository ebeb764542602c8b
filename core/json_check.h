/* Inside of json.c: strict validation, and the search for duplicate keys. */
#ifndef PARE_CORE_JSON_CHECK_H
#define PARE_CORE_JSON_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

/* See json.h for what is refused. A leading byte-order mark is accepted. */
PareStatus pare_json_check(const char *text, size_t size, const char *name, PareError *err);

/* Keys of the objects that are being read, as they stand in the text (borrowed). Two spellings of
 * one key ("a" and "\u0061") are told apart by decoding before they are compared. */
typedef struct PareJsonKeys PareJsonKeys;
PareJsonKeys *pare_json_keys_create(void);
void pare_json_keys_destroy(PareJsonKeys *k);
size_t pare_json_keys_mark(const PareJsonKeys *k);
bool pare_json_keys_push(PareJsonKeys *k, const char *text, size_t size);
/* Refuses duplicates among the keys since `mark` and forgets them. */
PareStatus pare_json_keys_unique(PareJsonKeys *k, size_t mark, const char *name, PareError *err);

#endif
