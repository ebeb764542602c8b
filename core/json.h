/* Strict JSON. Doorkeeper of cJSON, which is lax: the text is validated first (RFC 8259, UTF-8,
 * depth at most 128, no duplicate keys, no trailing bytes, no NUL in strings, finite numbers of at
 * most 63 characters), and keys are looked up case-sensitively. An integer beyond +-2^53 is refused
 * unless a double holds it exactly, as Python's int(1e30) in configurations; it is then a number,
 * but no integer to pare_json_is_integer. A leading byte order mark is skipped. */
#ifndef PARE_CORE_JSON_H
#define PARE_CORE_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef struct PareJsonDoc PareJsonDoc; /* owns the tree */
typedef struct cJSON PareJson;          /* a borrowed node */

/* `name` is used in messages (a path, or "line 3"). */
PareStatus pare_json_parse(const char *text, size_t size, const char *name, PareJsonDoc **out,
                           PareError *err);
/* Reads and parses a file of at most 256 MiB. */
PareStatus pare_json_read(const char *path, PareJsonDoc **out, PareError *err);
void pare_json_free(PareJsonDoc *doc); /* NULL is allowed */
const PareJson *pare_json_root(const PareJsonDoc *doc);

/* Kinds. A NULL node is none of them. */
bool pare_json_is_object(const PareJson *n);
bool pare_json_is_array(const PareJson *n);
bool pare_json_is_string(const PareJson *n);
bool pare_json_is_number(const PareJson *n);
bool pare_json_is_integer(const PareJson *n); /* without fraction, within +-2^53 */
bool pare_json_is_bool(const PareJson *n);
bool pare_json_is_null(const PareJson *n);

/* Values; callers check the kind first. */
const char *pare_json_string(const PareJson *n);
double pare_json_number(const PareJson *n);
int64_t pare_json_integer(const PareJson *n);
bool pare_json_true(const PareJson *n);

/* Children. `size` is linear in lists' length: iterate with first/next instead of indexing. */
size_t pare_json_size(const PareJson *n);
const PareJson *pare_json_first(const PareJson *n);
const PareJson *pare_json_next(const PareJson *n);
const char *pare_json_key(const PareJson *n); /* the member's own name inside an object */
const PareJson *pare_json_at(const PareJson *array, size_t index); /* NULL beyond the end */
/* Exact, case-sensitive, linear; NULL when absent or `object` is not one. */
const PareJson *pare_json_get(const PareJson *object, const char *key);
/* As get, but a member that is null counts as absent. */
const PareJson *pare_json_get_set(const PareJson *object, const char *key);

/* Typed members: an absent or null one leaves `*out` (its default); a wrong kind or a value out of
 * range is an error that names `where` and the key. */
PareStatus pare_json_get_int(const PareJson *object, const char *key, int64_t min, int64_t max,
                             int64_t *out, const char *where, PareError *err);
PareStatus pare_json_get_float(const PareJson *object, const char *key, double *out,
                               const char *where, PareError *err);
PareStatus pare_json_get_bool(const PareJson *object, const char *key, bool *out, const char *where,
                              PareError *err);
PareStatus pare_json_get_string(const PareJson *object, const char *key, const char **out,
                                const char *where, PareError *err);

/* The node's own text again, compact; caller pare_free()s; NULL when out of memory. */
char *pare_json_print(const PareJson *n);

#endif
