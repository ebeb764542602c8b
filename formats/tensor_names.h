/* Names of tensors: which are allowed, and a hash table from name to number. */
#ifndef PARE_FORMATS_TENSOR_NAMES_H
#define PARE_FORMATS_TENSOR_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum { PARE_NAME_MAX = 255 };
#define PARE_TENSORS_MAX ((size_t)1 << 20)

/* NULL when the `size` bytes are a name: 1 to 255 bytes of valid UTF-8 without control characters.
 * Otherwise what is wrong with them, as the end of a sentence ("is not valid UTF-8"). */
const char *pare_name_fault(const void *bytes, size_t size);
/* The bytes as text for a message: what is not printable ASCII becomes '?', long ones end in "...".
 * Returns `out`. */
const char *pare_name_show(const void *bytes, size_t size, char *out, size_t out_size);

/* Numbers 0, 1, 2 … in the order of adding. Names are borrowed. Zero-initialise. */
typedef struct {
    const char **names;
    uint32_t *slots; /* number + 1, or 0; a power of two of them, at most half full */
    size_t count, capacity, slot_count;
} PareNameIndex;

/* Refuses a name that is there already with the message "tensor 'NAME' occurs twice". */
PareStatus pare_name_index_add(PareNameIndex *index, const char *name, PareError *err);
/* false when absent. */
bool pare_name_index_find(const PareNameIndex *index, const char *name, size_t *number);
void pare_name_index_free(PareNameIndex *index);

#endif
