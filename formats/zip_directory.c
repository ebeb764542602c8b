/* Where the entries of a mapped zip archive lie (PKWARE's APPNOTE 6.3, sections 4.3 and 4.5). */
#include "formats/zip_directory.h"

#include <stdlib.h>
#include <string.h>

#include "formats/tensor_names.h"

enum {
    END_SIZE = 22,
    LOCATOR_SIZE = 20,
    END64_SIZE = 56,
    COMMENT_MAX = 65535,
    FLAG_ENCRYPTED = 1,
    FLAG_DESCRIPTOR = 8, /* CRC and sizes stand behind the data */
    METHOD_STORED = 0,
    METHOD_DEFLATED = 8,
    DEFLATE_RATIO_MAX = 1032, /* what the format can reach (zlib's documentation) */
    NAME_MAX_BYTES = 1024,
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

/* What the local header says, and the bytes behind it; false when there is none of this name. */
static bool read_local(const PareMapping *map, const PareZipEntry *e, PareZipEntry *out,
                       PareCursor *behind) {
    if (e->local > map->size)
        return false;
    PareCursor c = pare_cursor(map->data + e->local, map->size - (size_t)e->local);
    if (!take_signature(&c, local_signature))
        return false;
    pare_cursor_take(&c, 2); /* version */
    *out = (PareZipEntry){0};
    out->flags = pare_cursor_u16(&c);
    out->method = pare_cursor_u16(&c);
    pare_cursor_take(&c, 4); /* time */
    out->crc = pare_cursor_u32(&c);
    out->packed = pare_cursor_u32(&c);
    out->size = pare_cursor_u32(&c);
    out->name_size = pare_cursor_u16(&c);
    size_t extra_size = pare_cursor_u16(&c);
    out->name = pare_cursor_take(&c, out->name_size);
    const uint8_t *extra_bytes = pare_cursor_take(&c, extra_size);
    if (c.bad || out->method != e->method || out->name_size != e->name_size ||
        memcmp(out->name, e->name, e->name_size) != 0)
        return false;
    *behind = c;
    PareCursor extra = pare_cursor(extra_bytes, extra_size);
    return read_extra(&extra, out);
}

const uint8_t *pare_zip_stored(const PareMapping *map, const PareZipEntry *entry) {
    PareZipEntry local;
    PareCursor behind;
    if (entry->method != METHOD_STORED || (entry->flags & FLAG_ENCRYPTED) != 0 ||
        entry->packed != entry->size || !read_local(map, entry, &local, &behind) ||
        entry->size > pare_cursor_left(&behind))
        return NULL;
    return behind.at;
}

/* ---- All entries, checked ---- */

typedef struct {
    const PareMapping *map;
    const char *path;
    PareCursor directory;
    const uint8_t *directory_begin;
    PareError *err;
} Walk;

static PareStatus fault(const Walk *w, const PareZipEntry *e, PareStatus status, const char *what) {
    char shown[128];
    return pare_error_set(w->err, status, "%s: the zip entry %s %s", w->path,
                          pare_name_show(e->name, e->name_size, shown, sizeof shown), what);
}

/* Names that would leave the folder into which somebody unpacks the archive. */
static bool is_harmless(const PareZipEntry *e) {
    const char *name = (const char *)e->name, *end = name + e->name_size;
    if (e->name_size == 0 || e->name_size > NAME_MAX_BYTES || name[0] == '/' ||
        memchr(name, 0, e->name_size) != NULL)
        return false;
    while (name < end) {
        const char *slash = memchr(name, '/', (size_t)(end - name));
        size_t length = (size_t)((slash == NULL ? end : slash) - name);
        if (length == 2 && memcmp(name, "..", 2) == 0)
            return false;
        name += length + 1;
    }
    return true;
}

/* What the directory says about an entry by itself. */
static PareStatus check_entry(const Walk *w, const PareZipEntry *e) {
    if (!is_harmless(e))
        return fault(w, e, PARE_E_FORMAT, "has a name with '..', or one that is empty or absolute");
    if ((e->flags & FLAG_ENCRYPTED) != 0)
        return fault(w, e, PARE_E_UNSUPPORTED, "is encrypted");
    if (e->method != METHOD_STORED && e->method != METHOD_DEFLATED)
        return fault(w, e, PARE_E_UNSUPPORTED,
                     "is compressed by another method than deflate; save the file again");
    if (e->method == METHOD_STORED && e->packed != e->size)
        return fault(w, e, PARE_E_FORMAT, "declares another size than the bytes that it has");
    if (e->size / DEFLATE_RATIO_MAX > e->packed + 64)
        return fault(w, e, PARE_E_FORMAT, "declares a size that its bytes cannot have");
    return PARE_OK;
}

static PareStatus read_record(Walk *w, PareArena *arena, PareZipRecord *r) {
    PareZipEntry e = {0}, local;
    PareCursor behind;
    if (!pare_zip_next(&w->directory, &e))
        return pare_error_set(w->err, PARE_E_FORMAT,
                              "%s: the archive's directory is damaged; the download may be "
                              "incomplete",
                              w->path);
    PareStatus status = check_entry(w, &e);
    if (status != PARE_OK)
        return status;
    if (!read_local(w->map, &e, &local, &behind))
        return fault(w, &e, PARE_E_FORMAT, "is not where the directory says, or is another one");
    if ((local.flags & FLAG_DESCRIPTOR) == 0 &&
        (local.crc != e.crc || local.size != e.size || local.packed != e.packed))
        return fault(w, &e, PARE_E_FORMAT, "has other sizes or another CRC in front of its bytes");
    if (behind.at > w->directory_begin || e.packed > (uint64_t)(w->directory_begin - behind.at))
        return fault(w, &e, PARE_E_FORMAT, "reaches beyond the entries");
    r->name = pare_arena_strndup(arena, (const char *)e.name, e.name_size);
    r->data = behind.at;
    r->packed = e.packed;
    r->size = e.size;
    r->local = e.local;
    r->crc = e.crc;
    r->deflated = e.method == METHOD_DEFLATED;
    return r->name == NULL ? pare_memory_error(w->err, w->path) : PARE_OK;
}

static int compare_records(const void *a, const void *b) {
    const PareZipRecord *x = *(const PareZipRecord *const *)a,
                        *y = *(const PareZipRecord *const *)b;
    return x->local < y->local ? -1 : x->local > y->local;
}

/* Entries that share bytes unpack to more than the archive holds (D. Fifield, "A better zip bomb",
 * WOOT 2019), and two programs may not agree on what they are. */
static PareStatus check_overlaps(const Walk *w, const PareZipRecord *records, size_t count) {
    PareStatus status = PARE_OK;
    char a[80], b[80];
    const PareZipRecord **sorted = pare_alloc(count, sizeof *sorted);
    if (sorted == NULL)
        return pare_memory_error(w->err, w->path);
    for (size_t i = 0; i < count; i++)
        sorted[i] = &records[i];
    if (count > 0)
        qsort(sorted, count, sizeof *sorted, compare_records);
    for (size_t i = 1; i < count && status == PARE_OK; i++) {
        const PareZipRecord *x = sorted[i - 1], *y = sorted[i];
        if (x->data + x->packed > w->map->data + y->local)
            status = pare_error_set(w->err, PARE_E_FORMAT, "%s: the zip entries %s and %s overlap",
                                    w->path, pare_name_show(x->name, strlen(x->name), a, sizeof a),
                                    pare_name_show(y->name, strlen(y->name), b, sizeof b));
    }
    pare_free(sorted);
    return status;
}

PareStatus pare_zip_read(const PareMapping *map, const char *path, PareArena *arena,
                         PareZipRecord **out, size_t *count, PareError *err) {
    Walk w = {.map = map, .path = path, .err = err};
    uint64_t entries = 0;
    if (!pare_zip_directory(map, &w.directory, &entries))
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: begins as a zip archive but has no directory at its end; the "
                              "download may be incomplete",
                              path);
    if (entries > PARE_TENSORS_MAX)
        return pare_error_set(err, PARE_E_FORMAT, "%s: more than %zu zip entries", path,
                              PARE_TENSORS_MAX);
    w.directory_begin = w.directory.at;
    *count = (size_t)entries;
    *out = pare_arena_alloc(arena, *count, sizeof **out);
    if (*out == NULL)
        return pare_memory_error(err, path);
    for (size_t i = 0; i < *count; i++) {
        PareStatus status = read_record(&w, arena, &(*out)[i]);
        if (status != PARE_OK)
            return status;
    }
    if (pare_cursor_left(&w.directory) > 0)
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: the archive's directory has more entries than it counts", path);
    return check_overlaps(&w, *out, *count);
}
