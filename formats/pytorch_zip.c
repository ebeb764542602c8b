/* PyTorch's zip checkpoints (torch 1.6 and later): PREFIX/data.pkl is the pickled state dict, and
 * PREFIX/data/KEY the bytes of each storage. Doorkeeper of libzip.
 *
 * Storages are stored without compression; where our own walk over the directory agrees with libzip
 * they are used from the mapping, otherwise libzip unpacks one at a time. */
#include <string.h>
#include <zip.h>

#include "formats/checkpoint_reader.h"
#include "formats/crc32.h"
#include "formats/pickle.h"
#include "formats/torch_tensors.h"
#include "formats/zip_directory.h"

enum {
    PICKLE_BYTES_MAX = 64 << 20,
    DEFLATE_RATIO_MAX = 1032, /* what the format can reach (zlib's documentation) */
    NOTHING_UNPACKED = -1
};

typedef struct {
    const char *name;
    uint64_t size;
    uint32_t crc;
    bool checked;          /* the CRC was compared */
    const uint8_t *stored; /* inside the mapping; NULL: must be unpacked */
} Record;

typedef struct {
    zip_t *zip;
    Record *records;
    PareNameIndex names; /* of the records, by number */
    size_t count;
    const char *prefix; /* "archive/", with its slash */
    PareTorchView *views;
    PareCrc32 crc;
    uint8_t *unpacked; /* the record that was unpacked last */
    int64_t unpacked_record;
    uint8_t *pickle; /* data.pkl, if it had to be unpacked */
} Archive;

static PareStatus zip_fault(const PareCheckpoint *c, const char *name, const char *what,
                            PareError *err) {
    char shown[128];
    return pare_error_set(err, PARE_E_FORMAT, "%s: the zip record %s %s", c->path,
                          pare_name_show(name, strlen(name), shown, sizeof shown), what);
}

static void archive_close(PareCheckpoint *c) {
    Archive *a = c->self;
    if (a->zip != NULL)
        zip_discard(a->zip);
    pare_name_index_free(&a->names);
    pare_free(a->records);
    pare_free(a->unpacked);
    pare_free(a->pickle);
    pare_free(a);
}

/* ---- The archive's directory ---- */

static PareStatus open_zip(PareCheckpoint *c, Archive *a, PareError *err) {
    zip_error_t error;
    zip_error_init(&error);
    zip_source_t *source = zip_source_buffer_create(c->map.data, c->map.size, 0, &error);
    if (source != NULL)
        a->zip = zip_open_from_source(source, ZIP_RDONLY, &error);
    if (source != NULL && a->zip == NULL)
        zip_source_free(source);
    if (a->zip == NULL)
        pare_error_set(err, PARE_E_FORMAT,
                       "%s: begins as a zip archive but cannot be read as one (%s); the download "
                       "may be incomplete",
                       c->path, zip_error_strerror(&error));
    zip_error_fini(&error);
    return a->zip == NULL ? PARE_E_FORMAT : PARE_OK;
}

static PareStatus read_record(PareCheckpoint *c, Archive *a, size_t i, PareError *err) {
    zip_stat_t stat;
    zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_COMP_SIZE | ZIP_STAT_CRC;
    if (zip_stat_index(a->zip, i, ZIP_FL_ENC_RAW, &stat) != 0 || (stat.valid & needed) != needed)
        return pare_error_set(err, PARE_E_FORMAT, "%s: zip entry %zu cannot be read", c->path, i);
    if (stat.comp_size > c->map.size || stat.size / DEFLATE_RATIO_MAX > stat.comp_size + 64)
        return zip_fault(c, stat.name, "declares a size that its bytes cannot have", err);
    a->records[i] = (Record){.name = stat.name, .size = stat.size, .crc = stat.crc};
    PareStatus status = pare_name_index_add(&a->names, stat.name, err);
    if (status == PARE_E_FORMAT)
        return zip_fault(c, stat.name, "occurs twice", err);
    return status;
}

/* Finds the bytes of stored records. Whatever is not exactly as libzip sees it is left to libzip.
 */
static void locate_records(PareCheckpoint *c, Archive *a) {
    PareCursor directory;
    PareZipEntry e;
    uint64_t count;
    if (!pare_zip_directory(&c->map, &directory, &count) || count != a->count)
        return;
    for (size_t i = 0; i < a->count && pare_zip_next(&directory, &e); i++) {
        Record *r = &a->records[i];
        if (e.name_size == strlen(r->name) && memcmp(e.name, r->name, e.name_size) == 0 &&
            e.size == r->size && e.crc == r->crc)
            r->stored = pare_zip_stored(&c->map, &e);
    }
}

static PareStatus read_records(PareCheckpoint *c, Archive *a, PareError *err) {
    zip_int64_t entries = zip_get_num_entries(a->zip, 0);
    if (entries < 0 || (size_t)entries > PARE_TENSORS_MAX)
        return pare_error_set(err, PARE_E_FORMAT, "%s: more than %zu zip entries", c->path,
                              PARE_TENSORS_MAX);
    a->count = (size_t)entries;
    a->records = pare_alloc(a->count, sizeof *a->records);
    if (a->records == NULL)
        return pare_memory_error(err, c->path);
    for (size_t i = 0; i < a->count; i++) {
        PareStatus status = read_record(c, a, i, err);
        if (status != PARE_OK)
            return status;
    }
    locate_records(c, a);
    return PARE_OK;
}

/* ---- The bytes of a record ---- */

/* All of a record through libzip, which compares the CRC when it meets the end. */
static PareStatus unpack(PareCheckpoint *c, Archive *a, size_t index, uint8_t **out,
                         PareError *err) {
    const Record *r = &a->records[index];
    char beyond;
    uint64_t done = 0;
    PareStatus status = PARE_OK;
    uint8_t *bytes = pare_alloc((size_t)r->size, 1);
    if (bytes == NULL)
        return pare_memory_error(err, c->path);
    zip_file_t *file = zip_fopen_index(a->zip, index, 0);
    if (file == NULL) {
        status = zip_fault(c, r->name, zip_error_strerror(zip_get_error(a->zip)), err);
        goto done;
    }
    while (done < r->size) {
        zip_int64_t got = zip_fread(file, bytes + done, r->size - done);
        if (got <= 0) {
            status = zip_fault(c, r->name, "is damaged or ends early", err);
            goto done;
        }
        done += (uint64_t)got;
    }
    if (zip_fread(file, &beyond, 1) != 0)
        status = zip_fault(c, r->name, "is damaged: its CRC or size is wrong", err);
done:
    if (file != NULL)
        zip_fclose(file);
    if (status == PARE_OK)
        *out = bytes;
    else
        pare_free(bytes);
    return status;
}

/* In pieces whose pages are given back: a record may be larger than memory. */
enum { CRC_PIECE = 1 << 24 };

static PareStatus check_crc(PareCheckpoint *c, Archive *a, Record *r, PareError *err) {
    uint32_t crc = 0;
    for (size_t at = 0; !r->checked && at < r->size; at += CRC_PIECE) {
        size_t left = (size_t)r->size - at, piece = left < CRC_PIECE ? left : CRC_PIECE;
        crc = pare_crc32(&a->crc, crc, r->stored + at, piece);
        pare_checkpoint_drop(c, r->stored + at, piece);
    }
    if (!r->checked && crc != r->crc)
        return zip_fault(c, r->name, "is damaged: its CRC is wrong", err);
    r->checked = true;
    return PARE_OK;
}

/* Borrowed until the next call. */
static PareStatus record_bytes(PareCheckpoint *c, Archive *a, size_t index, const uint8_t **out,
                               PareError *err) {
    Record *r = &a->records[index];
    if (r->stored != NULL) {
        *out = r->stored;
        return check_crc(c, a, r, err);
    }
    if (a->unpacked_record != (int64_t)index) {
        pare_free(a->unpacked);
        a->unpacked = NULL;
        a->unpacked_record = NOTHING_UNPACKED;
        PareStatus status = unpack(c, a, index, &a->unpacked, err);
        if (status != PARE_OK)
            return status;
        a->unpacked_record = (int64_t)index;
    }
    *out = a->unpacked;
    return PARE_OK;
}

/* ---- What torch.save made of it ---- */

/* PREFIX of the one PREFIX/data.pkl; the archive's name inside is arbitrary. */
static PareStatus find_pickle(PareCheckpoint *c, Archive *a, size_t *out, PareError *err) {
    static const char wanted[] = "data.pkl";
    bool found = false;
    for (size_t i = 0; i < a->count; i++) {
        const char *name = a->records[i].name, *slash = strchr(name, '/');
        const char *rest = slash == NULL ? name : slash + 1;
        if (strcmp(rest, wanted) != 0)
            continue;
        if (found)
            return zip_fault(c, name, "is not the only data.pkl", err);
        found = true;
        *out = i;
        a->prefix = pare_arena_strndup(c->arena, name, (size_t)(rest - name));
        if (a->prefix == NULL)
            return pare_memory_error(err, c->path);
    }
    if (found)
        return PARE_OK;
    const char *first = a->count == 0 ? "" : a->records[0].name;
    char shown[128];
    return pare_error_set(err, PARE_E_FORMAT,
                          "%s: is a zip archive but no PyTorch checkpoint: it has no data.pkl; "
                          "%s%s",
                          c->path, a->count == 0 ? "it is empty" : "its first entry is ",
                          pare_name_show(first, strlen(first), shown, sizeof shown));
}

static bool find_named(const Archive *a, const char *name, size_t *out) {
    char path[512];
    size_t prefix = strlen(a->prefix), length = strlen(name);
    if (prefix + length >= sizeof path)
        return false;
    memcpy(path, a->prefix, prefix);
    memcpy(path + prefix, name, length + 1);
    return pare_name_index_find(&a->names, path, out);
}

static bool find_storage(void *container, const char *key, uint32_t *record, uint64_t *bytes) {
    const Archive *a = container;
    char name[128] = "data/";
    size_t length = strlen(key), index;
    if (length + 6 > sizeof name)
        return false;
    memcpy(name + 5, key, length + 1);
    if (!find_named(a, name, &index))
        return false;
    *record = (uint32_t)index;
    *bytes = a->records[index].size;
    return true;
}

static PareStatus refuse_foreign(PareCheckpoint *c, Archive *a, PareError *err) {
    size_t index;
    const uint8_t *order;
    if (find_named(a, "constants.pkl", &index))
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: is a TorchScript archive, which this version does not read; "
                              "save the model's state_dict() instead",
                              c->path);
    if (!find_named(a, "byteorder", &index))
        return PARE_OK;
    if (a->records[index].size == 6) {
        PareStatus status = record_bytes(c, a, index, &order, err);
        if (status != PARE_OK || memcmp(order, "little", 6) == 0)
            return status;
    }
    return pare_error_set(err, PARE_E_UNSUPPORTED,
                          "%s: was saved on a machine whose byte order is not little-endian; load "
                          "and save it with PyTorch on an ordinary machine",
                          c->path);
}

static PareStatus load_pickle(PareCheckpoint *c, Archive *a, size_t index, const ParePickle **root,
                              PareError *err) {
    Record *r = &a->records[index];
    const uint8_t *bytes = r->stored;
    if (r->size > PICKLE_BYTES_MAX)
        return zip_fault(c, r->name, "is larger than 64 MiB", err);
    PareStatus status =
        bytes != NULL ? check_crc(c, a, r, err) : unpack(c, a, index, &a->pickle, err);
    if (status != PARE_OK)
        return status;
    char *where = pare_arena_printf(c->arena, "%s: data.pkl", c->path);
    if (where == NULL)
        return pare_memory_error(err, c->path);
    return pare_pickle_load(bytes != NULL ? bytes : a->pickle, (size_t)r->size, where,
                            &pare_torch_allow_list, c->arena, root, NULL, err);
}

static PareStatus archive_view(PareCheckpoint *c, size_t index, PareTensorView *out,
                               PareError *err) {
    Archive *a = c->self;
    const PareTorchView *view = &a->views[index];
    const uint8_t *bytes;
    PareStatus status = record_bytes(c, a, view->record, &bytes, err);
    if (status != PARE_OK)
        return status;
    out->data = bytes + view->offset;
    memcpy(out->strides, view->strides, sizeof out->strides);
    return PARE_OK;
}

/* The pages of a record that was read need not stay in memory. */
static void archive_release(PareCheckpoint *c, size_t index) {
    const Archive *a = c->self;
    const Record *r = &a->records[a->views[index].record];
    if (r->stored != NULL)
        pare_checkpoint_drop(c, r->stored, (size_t)r->size);
}

static const PareCheckpointReader pytorch_zip = {"PyTorch zip", archive_view, archive_release,
                                                 archive_close};

PareStatus pare_pytorch_zip_open(PareCheckpoint *c, PareError *err) {
    const ParePickle *root = NULL;
    size_t pickle = 0;
    Archive *a = pare_alloc(1, sizeof *a);
    if (a == NULL)
        return pare_memory_error(err, c->path);
    a->unpacked_record = NOTHING_UNPACKED;
    pare_crc32_init(&a->crc);
    c->self = a;
    c->reader = &pytorch_zip;
    PareStatus status = open_zip(c, a, err);
    if (status == PARE_OK)
        status = read_records(c, a, err);
    if (status == PARE_OK)
        status = find_pickle(c, a, &pickle, err);
    if (status == PARE_OK)
        status = refuse_foreign(c, a, err);
    if (status == PARE_OK)
        status = load_pickle(c, a, pickle, &root, err);
    if (status != PARE_OK)
        return status;
    PareTorchStorages storages = {a, find_storage};
    return pare_torch_tensors_build(c, root, &storages, &a->views, err);
}
