/* Reading .pare files: everything is checked before any of it is believed. The order of the checks
 * and their names are those of docs/FORMAT.md. */
#include <stdio.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/memory.h"
#include "formats/checkpoint_sniff.h"
#include "formats/pare_format.h"
#include "formats/tensor_names.h"

typedef struct {
    uint32_t kind;
    const uint8_t *data;
    size_t size;
} Section;

struct PareFile {
    char *path;
    PareMapping map;
    PareFileTensor *tensors;
    const uint8_t *sorted; /* u32 per tensor, inside the mapping */
    size_t count, section_count;
    Section sections[PARE_FILE_SECTIONS_MAX];
};

/* The table's parts while the file is being opened. */
typedef struct {
    const uint8_t *records, *sections, *names;
    uint64_t offset, names_size, names_used;
    uint64_t end; /* of the parts walked so far; the next one begins at pare_align64(end) */
} Table;

static bool zero_bytes(const uint8_t *p, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (p[i] != 0)
            return false;
    return true;
}

static PareStatus check_size(const PareFile *f, PareError *err) {
    uint64_t declared = pare_le64(f->map.data + PARE_HEADER_FILE_SIZE);
    if (declared == f->map.size)
        return PARE_OK;
    return pare_error_set(err, PARE_E_FORMAT,
                          declared > f->map.size
                              ? "%s: truncated: it has %zu bytes, its header promises %llu"
                              : "%s: trailing bytes: it has %zu bytes, its header promises %llu",
                          f->path, f->map.size, (unsigned long long)declared);
}

/* Says what the file is instead, where that can be told. */
static PareStatus refuse_other(const PareFile *f, PareError *err) {
    const char *what = "";
    PareContent content = pare_content_sniff(&f->map, &what);
    if (content == PARE_CONTENT_UNKNOWN)
        return pare_error_set(err, PARE_E_FORMAT, "%s: not a .pare file", f->path);
    if (content != PARE_CONTENT_OTHER)
        what = "this is a checkpoint's weights file; pare-convert makes a .pare file of its folder";
    return pare_error_set(err, PARE_E_FORMAT, "%s: not a .pare file: %s", f->path, what);
}

static PareStatus check_header(const PareFile *f, PareError *err) {
    const uint8_t *h = f->map.data;
    if (f->map.size < PARE_FILE_MAGIC_SIZE || memcmp(h, PARE_FILE_MAGIC, PARE_FILE_MAGIC_SIZE) != 0)
        return refuse_other(f, err);
    if (f->map.size < PARE_HEADER_SIZE)
        return pare_error_set(err, PARE_E_FORMAT, "%s: truncated: %zu bytes hold no header",
                              f->path, f->map.size);
    uint32_t version = pare_le32(h + PARE_HEADER_VERSION);
    if (version != PARE_FILE_VERSION)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: the file format has version %u; this program reads version %d",
                              f->path, version, PARE_FILE_VERSION);
    if (pare_le32(h + PARE_HEADER_OWN_SIZE) != PARE_HEADER_SIZE)
        return pare_error_set(err, PARE_E_FORMAT, "%s: the header has %u bytes instead of %d",
                              f->path, pare_le32(h + PARE_HEADER_OWN_SIZE), PARE_HEADER_SIZE);
    if (pare_hash_xxh64(h, PARE_HEADER_CHECKSUM) != pare_le64(h + PARE_HEADER_CHECKSUM))
        return pare_error_set(err, PARE_E_FORMAT, "%s: the checksum of the header is wrong",
                              f->path);
    if (pare_le32(h + PARE_HEADER_REQUIRED) != 0)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: needs features that this program lacks (flags 0x%08x)", f->path,
                              pare_le32(h + PARE_HEADER_REQUIRED));
    if (!zero_bytes(h + PARE_HEADER_ZERO, PARE_HEADER_CHECKSUM - PARE_HEADER_ZERO))
        return pare_error_set(err, PARE_E_FORMAT, "%s: reserved bytes of the header are not zero",
                              f->path);
    return check_size(f, err);
}

/* Finds the table and checks its place, size and checksum. */
static PareStatus open_table(PareFile *f, Table *table, PareError *err) {
    const uint8_t *h = f->map.data;
    uint64_t offset = pare_le64(h + PARE_HEADER_TABLE_OFFSET);
    uint64_t size = pare_le64(h + PARE_HEADER_TABLE_SIZE);
    uint64_t tensors = pare_le32(h + PARE_HEADER_TENSORS);
    uint64_t sections = pare_le32(h + PARE_HEADER_SECTIONS);
    uint64_t names = pare_le64(h + PARE_HEADER_NAMES_SIZE);
    if (tensors > PARE_TENSORS_MAX || sections > PARE_FILE_SECTIONS_MAX)
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: %llu tensors and %llu sections; at most %zu and %d are allowed",
                              f->path, (unsigned long long)tensors, (unsigned long long)sections,
                              PARE_TENSORS_MAX, PARE_FILE_SECTIONS_MAX);
    if (offset < PARE_HEADER_SIZE || offset > f->map.size || offset % PARE_FILE_ALIGN != 0 ||
        size != f->map.size - offset)
        return pare_error_set(err, PARE_E_FORMAT, "%s: the table does not end where the file ends",
                              f->path);
    uint64_t fixed = tensors * (PARE_RECORD_SIZE + 4) + sections * PARE_SECTION_SIZE;
    if (size < fixed || names != size - fixed)
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: the table has %llu bytes, which do not hold its %llu tensors, "
                              "%llu sections and %llu bytes of names",
                              f->path, (unsigned long long)size, (unsigned long long)tensors,
                              (unsigned long long)sections, (unsigned long long)names);
    const uint8_t *at = h + offset;
    if (pare_hash_xxh64(at, (size_t)size) != pare_le64(h + PARE_HEADER_TABLE_CHECKSUM))
        return pare_error_set(err, PARE_E_FORMAT, "%s: the checksum of the table is wrong",
                              f->path);
    table->offset = offset;
    table->records = at;
    table->sections = at + tensors * PARE_RECORD_SIZE;
    f->sorted = table->sections + sections * PARE_SECTION_SIZE;
    table->names = f->sorted + tensors * 4;
    table->names_size = names;
    table->end = PARE_HEADER_SIZE;
    f->count = (size_t)tensors;
    f->section_count = (size_t)sections;
    return PARE_OK;
}

/* A part must begin where the one before it ends, and end before the table. */
static bool take_part(Table *table, uint64_t offset, uint64_t size) {
    if (offset != pare_align64(table->end) || offset > table->offset ||
        size > table->offset - offset)
        return false;
    table->end = offset + size;
    return true;
}

static PareStatus read_name(const PareFile *f, Table *table, size_t i, PareFileTensor *t,
                            PareError *err) {
    const uint8_t *r = table->records + i * PARE_RECORD_SIZE;
    uint64_t at = pare_le32(r + PARE_RECORD_NAME), length = pare_le16(r + PARE_RECORD_NAME_LENGTH);
    const char *fault = "does not lie where it must";
    char shown[80] = "";
    if (at == table->names_used && length < table->names_size - at) {
        fault = pare_name_fault(table->names + at, (size_t)length);
        pare_name_show(table->names + at, (size_t)length, shown, sizeof shown);
        if (fault == NULL && table->names[at + length] != 0)
            fault = "is not followed by a zero byte";
    }
    if (fault != NULL)
        return pare_error_set(err, PARE_E_FORMAT, "%s: the name of tensor record %zu ('%s') %s",
                              f->path, i, shown, fault);
    t->name = (const char *)table->names + at;
    table->names_used = at + length + 1;
    return PARE_OK;
}

/* An alias repeats everything but name and axes of an earlier record. */
static bool take_alias(const PareFile *f, uint32_t target, size_t i, uint64_t offset,
                       uint64_t bytes, PareFileTensor *t) {
    if (target >= i || f->tensors[target].alias_of != NULL)
        return false;
    const PareFileTensor *o = &f->tensors[target];
    if (offset != (uint64_t)((const uint8_t *)o->data - f->map.data) || bytes != o->bytes ||
        t->checksum != o->checksum || t->dtype != o->dtype || t->layout != o->layout ||
        t->dims != o->dims || memcmp(t->shape, o->shape, sizeof t->shape) != 0)
        return false;
    t->alias_of = o->name;
    return true;
}

static PareStatus place_tensor(PareFile *f, Table *table, size_t i, PareFileTensor *t,
                               PareError *err) {
    const uint8_t *r = table->records + i * PARE_RECORD_SIZE;
    uint64_t offset = pare_le64(r + PARE_RECORD_OFFSET), bytes = pare_le64(r + PARE_RECORD_BYTES);
    uint32_t alias = pare_le32(r + PARE_RECORD_ALIAS);
    if (bytes != t->bytes)
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: tensor '%s' has %llu bytes; its dtype, layout and shape call "
                              "for %llu",
                              f->path, t->name, (unsigned long long)bytes,
                              (unsigned long long)t->bytes);
    if (alias != PARE_FILE_NO_ALIAS) {
        if (!take_alias(f, alias, i, offset, bytes, t))
            return pare_error_set(err, PARE_E_FORMAT,
                                  "%s: tensor '%s' is an alias of record %u, which it does not "
                                  "match",
                                  f->path, t->name, alias);
    } else if (!take_part(table, offset, bytes))
        return pare_error_set(
            err, PARE_E_FORMAT,
            "%s: tensor '%s' lies at byte %llu with %llu bytes; it must begin "
            "at %llu and end before the table at %llu",
            f->path, t->name, (unsigned long long)offset, (unsigned long long)bytes,
            (unsigned long long)pare_align64(table->end), (unsigned long long)table->offset);
    t->data = f->map.data + offset;
    return PARE_OK;
}

static PareStatus read_tensor(PareFile *f, Table *table, size_t i, PareError *err) {
    const uint8_t *r = table->records + i * PARE_RECORD_SIZE;
    PareFileTensor *t = &f->tensors[i];
    char fault[256];
    PareStatus status = read_name(f, table, i, t, err);
    if (status != PARE_OK)
        return status;
    t->dtype = (PareDtype)r[PARE_RECORD_DTYPE];
    t->layout = (PareLayout)r[PARE_RECORD_LAYOUT];
    t->dims = r[PARE_RECORD_DIMS];
    t->checksum = pare_le64(r + PARE_RECORD_CHECKSUM);
    memcpy(t->shape, r + PARE_RECORD_SHAPE, sizeof t->shape);
    memcpy(t->axes, r + PARE_RECORD_AXES, sizeof t->axes);
    if (pare_le32(r + PARE_RECORD_REQUIRED) != 0)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: tensor '%s' needs features that this program lacks (flags "
                              "0x%08x)",
                              f->path, t->name, pare_le32(r + PARE_RECORD_REQUIRED));
    if (!zero_bytes(r + PARE_RECORD_ZERO, PARE_RECORD_ALIAS - PARE_RECORD_ZERO) ||
        !zero_bytes(r + PARE_RECORD_ZERO2, PARE_RECORD_SIZE - PARE_RECORD_ZERO2))
        return pare_error_set(err, PARE_E_FORMAT, "%s: reserved bytes of tensor '%s' are not zero",
                              f->path, t->name);
    if (pare_file_shape_fault(t, fault, sizeof fault) != NULL)
        return pare_error_set(err, PARE_E_FORMAT, "%s: tensor '%s' %s", f->path, t->name, fault);
    return place_tensor(f, table, i, t, err);
}

/* Strictly ascending numbers below `count` are all of them, and no name is there twice. */
static PareStatus check_sorted(const PareFile *f, PareError *err) {
    const char *before = NULL;
    for (size_t i = 0; i < f->count; i++) {
        uint32_t number = pare_le32(f->sorted + i * 4);
        if (number >= f->count)
            return pare_error_set(err, PARE_E_FORMAT, "%s: the sorted index names record %u of %zu",
                                  f->path, number, f->count);
        const char *name = f->tensors[number].name;
        int order = before == NULL ? -1 : strcmp(before, name);
        if (order >= 0)
            return pare_error_set(err, PARE_E_FORMAT,
                                  order == 0 ? "%s: tensor '%s' occurs twice"
                                             : "%s: the sorted index is not sorted at tensor '%s'",
                                  f->path, name);
        before = name;
    }
    return PARE_OK;
}

static const char *section_name(uint32_t kind) {
    static const char *const names[] = {"unknown", "metadata", "tokenizer", "self-test",
                                        "certificate"};
    return kind <= PARE_SECTION_CERTIFICATE ? names[kind] : names[0];
}

static PareStatus read_section(PareFile *f, Table *table, size_t i, PareError *err) {
    const uint8_t *r = table->sections + i * PARE_SECTION_SIZE;
    uint32_t kind = pare_le32(r + PARE_SECTION_AT_KIND),
             flags = pare_le32(r + PARE_SECTION_AT_FLAGS);
    uint64_t offset = pare_le64(r + PARE_SECTION_AT_OFFSET);
    uint64_t size = pare_le64(r + PARE_SECTION_AT_SIZE);
    bool known = kind >= PARE_SECTION_METADATA && kind <= PARE_SECTION_CERTIFICATE;
    if ((flags & ~PARE_SECTION_FLAGS_KNOWN_OR_OPTIONAL) != 0 ||
        (!known && (flags & PARE_SECTION_REQUIRED) != 0))
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: the %s section (kind %u, flags 0x%08x) needs features that "
                              "this program lacks",
                              f->path, section_name(kind), kind, flags);
    for (size_t j = 0; j < i; j++)
        if (f->sections[j].kind == kind)
            return pare_error_set(err, PARE_E_FORMAT, "%s: two %s sections (kind %u)", f->path,
                                  section_name(kind), kind);
    if (!take_part(table, offset, size))
        return pare_error_set(
            err, PARE_E_FORMAT,
            "%s: the %s section (kind %u) lies at byte %llu with %llu bytes; it "
            "must begin at %llu and end before the table at %llu",
            f->path, section_name(kind), kind, (unsigned long long)offset, (unsigned long long)size,
            (unsigned long long)pare_align64(table->end), (unsigned long long)table->offset);
    f->sections[i] = (Section){kind, f->map.data + offset, (size_t)size};
    if (pare_hash_xxh64(f->map.data + offset, (size_t)size) !=
        pare_le64(r + PARE_SECTION_AT_CHECKSUM))
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: the checksum of the %s section (kind %u) is wrong", f->path,
                              section_name(kind), kind);
    return PARE_OK;
}

static PareStatus read_table(PareFile *f, PareError *err) {
    Table table = {0};
    PareStatus status = open_table(f, &table, err);
    if (status != PARE_OK)
        return status;
    f->tensors = pare_alloc(f->count, sizeof *f->tensors);
    if (f->tensors == NULL)
        return pare_memory_error(err, "the table of tensors");
    for (size_t i = 0; i < f->count && status == PARE_OK; i++)
        status = read_tensor(f, &table, i, err);
    if (status == PARE_OK && table.names_used != table.names_size)
        status = pare_error_set(err, PARE_E_FORMAT, "%s: trailing bytes behind the names", f->path);
    if (status == PARE_OK)
        status = check_sorted(f, err);
    for (size_t i = 0; i < f->section_count && status == PARE_OK; i++)
        status = read_section(f, &table, i, err);
    if (status == PARE_OK && pare_align64(table.end) != table.offset)
        status = pare_error_set(
            err, PARE_E_FORMAT, "%s: the table lies at byte %llu; it must begin at %llu", f->path,
            (unsigned long long)table.offset, (unsigned long long)pare_align64(table.end));
    return status;
}

PareStatus pare_file_open(const char *path, PareFile **out, PareError *err) {
    PareStatus status;
    *out = NULL;
    PareFile *f = pare_alloc(1, sizeof *f);
    if (f == NULL)
        return pare_memory_error(err, path);
    f->path = pare_strdup(path);
    if (f->path == NULL) {
        status = pare_memory_error(err, path);
        goto done;
    }
    status = pare_file_map(path, &f->map, err);
    if (status == PARE_OK)
        status = check_header(f, err);
    if (status == PARE_OK)
        status = read_table(f, err);
done:
    if (status == PARE_OK)
        *out = f;
    else
        pare_file_close(f);
    return status;
}

void pare_file_close(PareFile *f) {
    if (f == NULL)
        return;
    pare_file_unmap(&f->map);
    pare_free(f->tensors);
    pare_free(f->path);
    pare_free(f);
}

bool pare_file_sniff(const char *path) {
    PareMapping map;
    PareError ignored;
    if (pare_file_map(path, &map, &ignored) != PARE_OK)
        return false;
    bool is = map.size >= PARE_FILE_MAGIC_SIZE &&
              memcmp(map.data, PARE_FILE_MAGIC, PARE_FILE_MAGIC_SIZE) == 0;
    pare_file_unmap(&map);
    return is;
}

size_t pare_file_count(const PareFile *f) {
    return f->count;
}

const PareFileTensor *pare_file_tensor(const PareFile *f, size_t index) {
    return index < f->count ? &f->tensors[index] : NULL;
}

const PareFileTensor *pare_file_find(const PareFile *f, const char *name) {
    size_t low = 0, high = f->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const PareFileTensor *t = &f->tensors[pare_le32(f->sorted + middle * 4)];
        int order = strcmp(name, t->name);
        if (order == 0)
            return t;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

bool pare_file_section(const PareFile *f, PareSectionKind kind, const void **bytes, size_t *size) {
    for (size_t i = 0; i < f->section_count; i++)
        if (f->sections[i].kind == (uint32_t)kind) {
            *bytes = f->sections[i].data;
            *size = f->sections[i].size;
            return true;
        }
    return false;
}

const char *pare_file_path(const PareFile *f) {
    return f->path;
}

uint64_t pare_file_size(const PareFile *f) {
    return f->map.size;
}

void pare_file_release(const PareFile *f, const PareFileTensor *t) {
    pare_file_drop(&f->map, (size_t)((const uint8_t *)t->data - f->map.data), (size_t)t->bytes);
}

/* The bytes from `end` to the next part. */
static PareStatus check_padding(const PareFile *f, const char *what, uint64_t end, PareError *err) {
    if (zero_bytes(f->map.data + end, (size_t)(pare_align64(end) - end)))
        return PARE_OK;
    return pare_error_set(err, PARE_E_FORMAT, "%s: the padding behind %s is not zero", f->path,
                          what);
}

PareStatus pare_file_verify(const PareFile *f, PareError *err) {
    PareStatus status = PARE_OK;
    for (size_t i = 0; i < f->count && status == PARE_OK; i++) {
        const PareFileTensor *t = &f->tensors[i];
        if (t->alias_of != NULL)
            continue;
        if (pare_hash_xxh64(t->data, (size_t)t->bytes) != t->checksum)
            return pare_error_set(err, PARE_E_FORMAT, "%s: the checksum of tensor '%s' is wrong",
                                  f->path, t->name);
        const char *fault = pare_file_content_fault(t);
        if (fault != NULL)
            return pare_error_set(err, PARE_E_FORMAT, "%s: tensor '%s' %s", f->path, t->name,
                                  fault);
        uint64_t begin = (uint64_t)((const uint8_t *)t->data - f->map.data);
        status = check_padding(f, t->name, begin + t->bytes, err);
        pare_file_release(f, t); /* the whole of a large file need not stay in memory */
    }
    for (size_t i = 0; i < f->section_count && status == PARE_OK; i++) {
        const Section *s = &f->sections[i];
        uint64_t begin = (uint64_t)(s->data - f->map.data);
        status = check_padding(f, section_name(s->kind), begin + s->size, err);
    }
    return status;
}
