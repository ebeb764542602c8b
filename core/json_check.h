/* Inside of json.c: strict validation, and the search for duplicate keys. */
#ifndef PARE_CORE_JSON_CHECK_H
#define PARE_CORE_JSON_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

/* See json.h for what is refused. */
PareStatus pare_json_check(const char *text, size_t size, const char *name, PareError *err);

/* The keys of the objects that are open at one time, as a stack. Spellings of one key ("a" and
 * "\u0061") are one key: keys are compared decoded. */
typedef struct PareJsonKeys PareJsonKeys;
PareJsonKeys *pare_json_keys_create(void); /* NULL when out of memory */
void pare_json_keys_destroy(PareJsonKeys *keys);
size_t pare_json_keys_count(const PareJsonKeys *keys);
/* Enters a valid key as it stands between its quotes; false when out of memory. */
bool pare_json_keys_push(PareJsonKeys *keys, const char *raw, size_t size);
/* Forgets the keys from the `first` on. If two are equal, returns the later one in the text. */
const char *pare_json_keys_pop(PareJsonKeys *keys, size_t first);

#endif
