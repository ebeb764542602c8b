/* PyTorch's zip checkpoints (torch 1.6 and later) and TorchScript archives: PREFIX/data.pkl is the
 * pickled object, PREFIX/data/KEY the bytes of each storage. Of a TorchScript archive the code is
 * not looked at. Doorkeeper of libzip.
 *
 * Storages are stored without compression and used from the mapping; what somebody compressed
 * afterwards is unpacked by libzip, one record at a time. */
#include <string.h>
#include <zip.h>

#include "formats/checkpoint_reader.h"
#include "formats/crc32.h"
#include "formats/pickle.h"
#include "formats/torch_tensors.h"
#include "formats/zip_directory.h"

enum {
    PICKLE_BYTES_MAX = 64 << 20,
    /* Weights hardly shrink; a large record that shrank this much is made to fill the memory. */
    BOMB_BYTES = 16 << 20,
    BOMB_RATIO = 64,
    NOTHING_UNPACKED = -1
};

typedef struct {
    PareZipRecord *records;
    bool *checked; /* the CRC was compared */
    size_t count;
    zip_t *zip;          /* NULL until something must be unpacked */
    PareNameIndex names; /* of the records, by number */
    const char *prefix;  /* "archive/", with its slash, or "" */
    PareTorchTensors tensors;
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
    pare_torch_tensors_free(&a->tensors);
    pare_free(a->unpacked);
    pare_free(a->pickle);
    pare_free(a);
}

/* ---- The archive's directory ---- */

static PareStatus read_records(PareCheckpoint *c, Archive *a, PareError *err) {
    PareStatus status = pare_zip_read(&c->map, c->path, c->arena, &a->records, &a->count, err);
    if (status != PARE_OK)
        return status;
    a->checked = pare_arena_alloc(c->arena, a->count, sizeof *a->checked);
    if (a->checked == NULL)
        return pare_memory_error(err, c->path);
    for (size_t i = 0; i < a->count; i++) {
        const PareZipRecord *r = &a->records[i];
        if (r->deflated && r->size > BOMB_BYTES && r->size / BOMB_RATIO > r->packed)
            return zip_fault(c, r->name, "unpacks to far more than weights do", err);
        status = pare_name_index_add(&a->names, r->name, err);
        if (status == PARE_E_FORMAT)
            return zip_fault(c, r->name, "occurs twice", err);
        if (status != PARE_OK)
            return status;
    }
    return PARE_OK;
}

/* libzip's view of the archive, for unpacking only. */
static PareStatus open_zip(PareCheckpoint *c, Archive *a, PareError *err) {
    zip_error_t error;
    if (a->zip != NULL)
        return PARE_OK;
    zip_error_init(&error);
    zip_source_t *source = zip_source_buffer_create(c->map.data, c->map.size, 0, &error);
    if (source != NULL)
        a->zip = zip_open_from_source(source, ZIP_RDONLY, &error);
    if (source != NULL && a->zip == NULL)
        zip_source_free(source);
    if (a->zip == NULL)
        pare_error_set(err, PARE_E_FORMAT, "%s: cannot be read as a zip archive (%s)", c->path,
                       zip_error_strerror(&error));
    zip_error_fini(&error);
    return a->zip == NULL ? PARE_E_FORMAT : PARE_OK;
}

/* Both readers must mean the same record. */
static PareStatus check_agreement(PareCheckpoint *c, Archive *a, size_t index, PareError *err) {
    const PareZipRecord *r = &a->records[index];
    const zip_uint64_t needed = ZIP_STAT_NAME | ZIP_STAT_SIZE | ZIP_STAT_CRC;
    zip_stat_t stat;
    if (zip_stat_index(a->zip, index, ZIP_FL_ENC_RAW, &stat) == 0 &&
        (stat.valid & needed) == needed && strcmp(stat.name, r->name) == 0 &&
        stat.size == r->size && stat.crc == r->crc)
        return PARE_OK;
    return zip_fault(c, r->name, "is another one for libzip", err);
}

/* ---- The bytes of a record ---- */

/* All of a record through libzip, which compares the CRC when it meets the end. */
static PareStatus unpack(PareCheckpoint *c, Archive *a, size_t index, uint8_t **out,
                         PareError *err) {
    const PareZipRecord *r = &a->records[index];
    char beyond;
    uint64_t done = 0;
    PareStatus status = open_zip(c, a, err);
    if (status == PARE_OK)
        status = check_agreement(c, a, index, err);
    if (status != PARE_OK)
        return status;
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

/* In pieces whose pages are given back, since a record may be larger than memory; but for the last,
 * so that most records are still mapped, and in a cache, when they are read. */
enum { CRC_PIECE = 1 << 24 };

static PareStatus check_crc(PareCheckpoint *c, Archive *a, size_t index, PareError *err) {
    const PareZipRecord *r = &a->records[index];
    uint32_t crc = 0;
    if (a->checked[index])
        return PARE_OK;
    for (size_t at = 0; at < r->size; at += CRC_PIECE) {
        size_t left = (size_t)r->size - at, piece = left < CRC_PIECE ? left : CRC_PIECE;
        crc = pare_crc32(&a->crc, crc, r->data + at, piece);
        if (piece < left)
            pare_checkpoint_drop(c, r->data + at, piece);
    }
    if (crc != r->crc)
        return zip_fault(c, r->name, "is damaged: its CRC is wrong", err);
    a->checked[index] = true;
    return PARE_OK;
}

/* Borrowed until the next call. */
static PareStatus archive_fetch(PareCheckpoint *c, uint32_t index, const uint8_t **out,
                                PareError *err) {
    Archive *a = c->self;
    const PareZipRecord *r = &a->records[index];
    if (!r->deflated) {
        *out = r->data;
        return check_crc(c, a, index, err);
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

/* ---- What PyTorch made of it ---- */

static size_t count_slashes(const char *text) {
    size_t count = 0;
    for (; *text != '\0'; text++)
        count += *text == '/';
    return count;
}

/* PREFIX of PREFIX/data.pkl: that of the outermost, for an archive may carry others as payload. */
static PareStatus find_pickle(PareCheckpoint *c, Archive *a, size_t *out, PareError *err) {
    static const char wanted[] = "data.pkl";
    size_t best = SIZE_MAX;
    bool several = false;
    for (size_t i = 0; i < a->count; i++) {
        const char *name = a->records[i].name, *slash = strrchr(name, '/');
        size_t depth = count_slashes(name);
        if (strcmp(slash == NULL ? name : slash + 1, wanted) != 0 || depth > best)
            continue;
        several = depth == best;
        best = depth;
        *out = i;
    }
    if (several)
        return zip_fault(c, a->records[*out].name, "is not the only data.pkl", err);
    if (best != SIZE_MAX) {
        const char *name = a->records[*out].name;
        a->prefix = pare_arena_strndup(c->arena, name, strlen(name) - (sizeof wanted - 1));
        return a->prefix == NULL ? pare_memory_error(err, c->path) : PARE_OK;
    }
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

static PareStatus check_byte_order(PareCheckpoint *c, Archive *a, PareError *err) {
    size_t index;
    const uint8_t *order;
    if (!find_named(a, "byteorder", &index))
        return PARE_OK;
    if (a->records[index].size == 6) {
        PareStatus status = archive_fetch(c, (uint32_t)index, &order, err);
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
    const PareZipRecord *r = &a->records[index];
    const uint8_t *bytes = r->deflated ? NULL : r->data;
    if (r->size > PICKLE_BYTES_MAX)
        return zip_fault(c, r->name, "is larger than 64 MiB", err);
    PareStatus status =
        bytes != NULL ? check_crc(c, a, index, err) : unpack(c, a, index, &a->pickle, err);
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
    return pare_torch_tensors_view(c, &a->tensors, index, out, err);
}

/* The pages of a record that was read need not stay in memory. */
static void archive_release(PareCheckpoint *c, size_t index) {
    const Archive *a = c->self;
    const PareZipRecord *r = &a->records[a->tensors.views[index].record];
    if (!r->deflated)
        pare_checkpoint_drop(c, r->data, (size_t)r->size);
}

static const PareCheckpointReader pytorch_zip = {"PyTorch zip", archive_view, archive_release,
                                                 archive_close};

PareStatus pare_pytorch_zip_open(PareCheckpoint *c, PareError *err) {
    const ParePickle *root = NULL;
    size_t pickle = 0, constants;
    Archive *a = pare_alloc(1, sizeof *a);
    if (a == NULL)
        return pare_memory_error(err, c->path);
    a->unpacked_record = NOTHING_UNPACKED;
    a->tensors.storages = (PareTorchStorages){a, find_storage, archive_fetch};
    pare_crc32_init(&a->crc);
    c->self = a;
    c->reader = &pytorch_zip;
    PareStatus status = read_records(c, a, err);
    if (status == PARE_OK)
        status = find_pickle(c, a, &pickle, err);
    if (status == PARE_OK)
        status = check_byte_order(c, a, err);
    if (status == PARE_OK)
        status = load_pickle(c, a, pickle, &root, err);
    if (status != PARE_OK)
        return status;
    if (find_named(a, "constants.pkl", &constants))
        c->format = "TorchScript";
    return pare_torch_tensors_build(c, root, &a->tensors, err);
}
