/* Names of tensors: which are allowed, and a hash table from name to number. */
#include "formats/tensor_names.h"

#include <string.h>

#include "core/hash.h"
#include "core/memory.h"

/* A run of occupied slots this long does not happen by chance in a table that is half full: it was
 * made to slow us down. */
enum { PROBES_MAX = 4096 };

/* The length of the well-formed UTF-8 sequence at `p` (Unicode 15, table 3-7), 0 when there is
 * none within `left` bytes. */
static size_t utf8_length(const uint8_t *p, size_t left) {
    uint8_t low = 0x80, high = 0xBF;
    size_t length = 0;
    if (p[0] < 0x80)
        return 1;
    if (p[0] >= 0xC2 && p[0] <= 0xDF)
        length = 2;
    else if (p[0] >= 0xE0 && p[0] <= 0xEF)
        length = 3;
    else if (p[0] >= 0xF0 && p[0] <= 0xF4)
        length = 4;
    if (p[0] == 0xE0)
        low = 0xA0;
    else if (p[0] == 0xED)
        high = 0x9F;
    else if (p[0] == 0xF0)
        low = 0x90;
    else if (p[0] == 0xF4)
        high = 0x8F;
    if (length == 0 || length > left || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if ((p[i] & 0xC0) != 0x80)
            return 0;
    return length;
}

const char *pare_name_fault(const void *bytes, size_t size) {
    const uint8_t *p = bytes;
    if (size == 0)
        return "is empty";
    if (size > PARE_NAME_MAX)
        return "is longer than 255 bytes";
    for (size_t i = 0; i < size;) {
        size_t length = utf8_length(p + i, size - i);
        if (length == 0)
            return "is not valid UTF-8";
        if (p[i] < 0x20 || p[i] == 0x7F)
            return "contains a control character";
        i += length;
    }
    return NULL;
}

const char *pare_name_show(const void *bytes, size_t size, char *out, size_t out_size) {
    const uint8_t *p = bytes;
    size_t shown = size < out_size ? size : out_size - 1;
    for (size_t i = 0; i < shown; i++)
        out[i] = p[i] >= 0x20 && p[i] < 0x7F ? (char)p[i] : '?';
    out[shown] = '\0';
    if (shown < size && shown >= 3)
        memcpy(out + shown - 3, "...", 3);
    return out;
}

/* The slot that holds `name`, or the empty one where it belongs; false when probing was too long.
 */
static bool find_slot(const PareNameIndex *index, const char *name, size_t *out) {
    size_t mask = index->slot_count - 1;
    size_t at = (size_t)pare_hash_xxh64(name, strlen(name)) & mask;
    for (size_t probes = 0; probes < PROBES_MAX; probes++, at = (at + 1) & mask) {
        uint32_t held = index->slots[at];
        if (held == 0 || strcmp(index->names[held - 1], name) == 0) {
            *out = at;
            return true;
        }
    }
    return false;
}

static PareStatus rehash(PareNameIndex *index, size_t slot_count, PareError *err) {
    uint32_t *slots = pare_alloc(slot_count, sizeof *slots);
    if (slots == NULL)
        return pare_memory_error(err, "the index of tensor names");
    pare_free(index->slots);
    index->slots = slots;
    index->slot_count = slot_count;
    for (size_t i = 0; i < index->count; i++) {
        size_t at;
        if (!find_slot(index, index->names[i], &at))
            return pare_error_set(err, PARE_E_FORMAT, "tensor names are made to collide");
        slots[at] = (uint32_t)(i + 1);
    }
    return PARE_OK;
}

static PareStatus grow(PareNameIndex *index, PareError *err) {
    size_t capacity = index->capacity == 0 ? 64 : index->capacity * 2;
    if (index->count >= PARE_TENSORS_MAX)
        return pare_error_set(err, PARE_E_FORMAT, "more than %zu tensors", PARE_TENSORS_MAX);
    const char **names = pare_realloc(index->names, capacity, sizeof *names);
    if (names == NULL)
        return pare_memory_error(err, "the index of tensor names");
    index->names = names;
    index->capacity = capacity;
    return rehash(index, capacity * 2, err);
}

PareStatus pare_name_index_add(PareNameIndex *index, const char *name, PareError *err) {
    size_t at;
    if (index->count == index->capacity || index->slot_count < index->capacity * 2) {
        PareStatus status = grow(index, err);
        if (status != PARE_OK)
            return status;
    }
    if (!find_slot(index, name, &at))
        return pare_error_set(err, PARE_E_FORMAT, "tensor names are made to collide");
    if (index->slots[at] != 0)
        return pare_error_set(err, PARE_E_FORMAT, "tensor '%s' occurs twice", name);
    index->names[index->count++] = name;
    index->slots[at] = (uint32_t)index->count;
    return PARE_OK;
}

bool pare_name_index_find(const PareNameIndex *index, const char *name, size_t *number) {
    size_t at;
    if (index->slot_count == 0 || !find_slot(index, name, &at) || index->slots[at] == 0)
        return false;
    *number = index->slots[at] - 1;
    return true;
}

void pare_name_index_free(PareNameIndex *index) {
    pare_free(index->names);
    pare_free(index->slots);
    *index = (PareNameIndex){0};
}
