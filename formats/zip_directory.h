/* Where the entries of a mapped zip archive lie.
 *
 * libzip reads archives but does not say where an entry's bytes are. Tensors are stored without
 * compression, so knowing that lets us use the mapping itself. The walk is strict: an archive whose
 * entries overlap, or whose local headers say something else than its directory, is refused. */
#ifndef PARE_FORMATS_ZIP_DIRECTORY_H
#define PARE_FORMATS_ZIP_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/file.h"
#include "core/memory.h"

typedef struct {
    const uint8_t *name;
    size_t name_size;
    uint32_t crc;
    uint16_t method, flags;
    uint64_t packed, size, local; /* `local`: offset of the local header */
} PareZipEntry;

/* The central directory and how many entries it has (ordinary or zip64). */
bool pare_zip_directory(const PareMapping *map, PareCursor *directory, uint64_t *count);
/* The next entry; false when the directory is malformed. */
bool pare_zip_next(PareCursor *directory, PareZipEntry *out);
/* The bytes of an entry that is stored as it is; NULL when it is not, or lies elsewhere than the
 * directory says. */
const uint8_t *pare_zip_stored(const PareMapping *map, const PareZipEntry *entry);

/* An entry whose bytes lie inside of the archive, beside those of all others. */
typedef struct {
    const char *name;    /* terminated; without ".." and not absolute */
    const uint8_t *data; /* `packed` bytes; stored as they are if that is `size` and !deflated */
    uint64_t packed, size, local;
    uint32_t crc;
    bool deflated;
} PareZipRecord;

/* All entries in the directory's order, in `arena`. `path` names the archive in messages. */
PareStatus pare_zip_read(const PareMapping *map, const char *path, PareArena *arena,
                         PareZipRecord **out, size_t *count, PareError *err);

#endif
