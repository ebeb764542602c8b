/* Where the entries of a mapped zip archive lie (PKWARE's APPNOTE 6.3, sections 4.3 and 4.5). */
#include "formats/zip_directory.h"

#include <string.h>

enum {
    END_SIZE = 22,
    LOCATOR_SIZE = 20,
    END64_SIZE = 56,
    COMMENT_MAX = 65535,
    FLAG_ENCRYPTED = 1,
    METHOD_STORED = 0,
    EXTRA_ZIP64 = 1
};

static const uint8_t end_signature[4] = {'P', 'K', 5, 6};
static const uint8_t locator_signature[4] = {'P', 'K', 6, 7};
static const uint8_t end64_signature[4] = {'P', 'K', 6, 6};
static const uint8_t entry_signature[4] = {'P', 'K', 1, 2};
static const uint8_t local_signature[4] = {'P', 'K', 3, 4};

static bool take_signature(PareCursor *c, const uint8_t *signature) {
    const uint8_t *found = pare_cursor_take(c, 4);
    return found != NULL && memcmp(found, signature, 4) == 0;
}

/* The last end record whose comment ends where the file ends; `size` when there is none. */
static size_t find_end(const PareMapping *map) {
    for (size_t comment = 0; comment <= COMMENT_MAX && map->size >= END_SIZE + comment; comment++) {
        const uint8_t *p = map->data + map->size - END_SIZE - comment;
        if (memcmp(p, end_signature, 4) == 0 && (size_t)(p[20] | p[21] << 8) == comment)
            return (size_t)(p - map->data);
    }
    return map->size;
}

/* The zip64 end record that a locator in front of the ordinary one points at. */
static bool read_end64(const PareMapping *map, size_t end, uint64_t *count, uint64_t *size,
                       uint64_t *offset) {
    if (end < LOCATOR_SIZE)
        return false;
    PareCursor c = pare_cursor(map->data + end - LOCATOR_SIZE, LOCATOR_SIZE);
    if (!take_signature(&c, locator_signature))
        return false;
    pare_cursor_take(&c, 4);
    uint64_t at = pare_cursor_u64(&c);
    if (at > map->size || map->size - at < END64_SIZE)
        return false;
    c = pare_cursor(map->data + at, END64_SIZE);
    if (!take_signature(&c, end64_signature))
        return false;
    pare_cursor_take(&c, 28);
    *count = pare_cursor_u64(&c);
    *size = pare_cursor_u64(&c);
    *offset = pare_cursor_u64(&c);
    return !c.bad;
}

bool pare_zip_directory(const PareMapping *map, PareCursor *directory, uint64_t *count) {
    size_t end = find_end(map);
    if (end == map->size)
        return false;
    PareCursor c = pare_cursor(map->data + end, END_SIZE);
    pare_cursor_take(&c, 10);
    *count = pare_cursor_u16(&c);
    uint64_t size = pare_cursor_u32(&c), offset = pare_cursor_u32(&c);
    if (*count == UINT16_MAX || size == UINT32_MAX || offset == UINT32_MAX)
        if (!read_end64(map, end, count, &size, &offset))
            return false;
    if (offset > map->size || size > map->size - offset)
        return false;
    *directory = pare_cursor(map->data + offset, (size_t)size);
    return true;
}

/* Sizes and offset that did not fit into 32 bits stand in an extra field, in this order. */
static bool read_extra(PareCursor *extra, PareZipEntry *e) {
    uint64_t *const wanted[3] = {&e->size, &e->packed, &e->local};
    while (pare_cursor_left(extra) >= 4) {
        uint16_t id = pare_cursor_u16(extra), size = pare_cursor_u16(extra);
        const uint8_t *body = pare_cursor_take(extra, size);
        if (body == NULL)
            return false;
        if (id != EXTRA_ZIP64)
            continue;
        PareCursor c = pare_cursor(body, size);
        for (size_t i = 0; i < 3; i++)
            if (*wanted[i] == UINT32_MAX)
                *wanted[i] = pare_cursor_u64(&c);
        if (c.bad)
            return false;
    }
    return true;
}

bool pare_zip_next(PareCursor *directory, PareZipEntry *out) {
    if (!take_signature(directory, entry_signature))
        return false;
    pare_cursor_take(directory, 4); /* versions */
    out->flags = pare_cursor_u16(directory);
    out->method = pare_cursor_u16(directory);
    pare_cursor_take(directory, 4); /* time */
    out->crc = pare_cursor_u32(directory);
    out->packed = pare_cursor_u32(directory);
    out->size = pare_cursor_u32(directory);
    out->name_size = pare_cursor_u16(directory);
    size_t extra_size = pare_cursor_u16(directory), comment_size = pare_cursor_u16(directory);
    pare_cursor_take(directory, 8); /* disk, attributes */
    out->local = pare_cursor_u32(directory);
    out->name = pare_cursor_take(directory, out->name_size);
    const uint8_t *extra_bytes = pare_cursor_take(directory, extra_size);
    pare_cursor_take(directory, comment_size);
    if (directory->bad)
        return false;
    PareCursor extra = pare_cursor(extra_bytes, extra_size);
    return read_extra(&extra, out);
}

const uint8_t *pare_zip_stored(const PareMapping *map, const PareZipEntry *entry) {
    if (entry->method != METHOD_STORED || (entry->flags & FLAG_ENCRYPTED) != 0 ||
        entry->packed != entry->size || entry->local > map->size)
        return NULL;
    PareCursor c = pare_cursor(map->data + entry->local, map->size - (size_t)entry->local);
    if (!take_signature(&c, local_signature))
        return NULL;
    pare_cursor_take(&c, 4); /* version, flags */
    uint16_t method = pare_cursor_u16(&c);
    pare_cursor_take(&c, 16); /* time, CRC and sizes, which may stand behind the data instead */
    uint16_t name_size = pare_cursor_u16(&c), extra_size = pare_cursor_u16(&c);
    const uint8_t *name = pare_cursor_take(&c, name_size);
    pare_cursor_take(&c, extra_size);
    if (c.bad || method != METHOD_STORED || name_size != entry->name_size ||
        memcmp(name, entry->name, name_size) != 0 || entry->size > pare_cursor_left(&c))
        return NULL;
    return c.at;
}
