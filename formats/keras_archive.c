/* Keras archives (.keras): a zip archive with config.json, metadata.json and model.weights.h5. */
#include <string.h>

#include "formats/hdf5_reader.h"
#include "formats/zip_directory.h"

static const char member[] = "model.weights.h5";

static bool find_member(const PareMapping *map, PareZipEntry *out) {
    PareCursor directory;
    uint64_t count;
    if (!pare_zip_directory(map, &directory, &count))
        return false;
    for (uint64_t i = 0; i < count && pare_zip_next(&directory, out); i++)
        if (out->name_size == sizeof member - 1 && memcmp(out->name, member, out->name_size) == 0)
            return true;
    return false;
}

bool pare_keras_archive_is(const PareMapping *map) {
    PareZipEntry entry;
    return find_member(map, &entry);
}

PareStatus pare_keras_archive_open(PareCheckpoint *c, PareError *err) {
    PareZipEntry entry;
    const uint8_t *bytes = find_member(&c->map, &entry) ? pare_zip_stored(&c->map, &entry) : NULL;
    if (bytes == NULL)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: its model.weights.h5 is not stored as Keras stores it, without "
                              "compression; unpack the archive and give model.weights.h5",
                              c->path);
    PareStatus status = pare_hdf5_open_part(c, bytes, (size_t)entry.size, err);
    if (status == PARE_OK)
        c->format = "Keras archive";
    return status;
}
