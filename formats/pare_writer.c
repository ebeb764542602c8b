/* Writing .pare files: tensors stream to disk as they come; sections, table and header follow at
 * the end. The arrangement is that of docs/FORMAT.md. */
#include <stdio.h>
#include <stdlib.h>

#include "core/buffer.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/memory.h"
#include "formats/pare_format.h"
#include "formats/tensor_names.h"

typedef struct {
    PareFileTensor t;
    uint64_t offset;
    uint32_t alias;
} Record;

typedef struct {
    uint32_t kind;
    void *bytes;
    size_t size;
    uint64_t offset;
} Section;

struct PareFileWriter {
    char *path;
    PareOutput *out;
    PareArena *arena;
    PareNameIndex names;
    Record *records; /* as many as `names` holds */
    size_t capacity, section_count;
    Section sections[PARE_SECTION_CERTIFICATE];
    /* The tensor whose blob is being written. */
    bool begun;
    Record current;
    uint64_t missing; /* bytes that are still to come */
    PareXxh64 *hash;  /* of those that came */
};

PareStatus pare_file_writer_open(const char *path, bool force, PareFileWriter **out,
                                 PareError *err) {
    static const uint8_t header[PARE_HEADER_SIZE];
    PareStatus status;
    *out = NULL;
    PareFileWriter *w = pare_alloc(1, sizeof *w);
    if (w == NULL)
        return pare_memory_error(err, path);
    w->arena = pare_arena_create(0);
    w->path = pare_strdup(path);
    w->hash = pare_xxh64_create();
    if (w->arena == NULL || w->path == NULL || w->hash == NULL) {
        status = pare_memory_error(err, path);
        goto done;
    }
    status = pare_output_open(path, force, &w->out, err);
    if (status == PARE_OK)
        status = pare_output_write(w->out, header, sizeof header, err);
done:
    if (status == PARE_OK)
        *out = w;
    else
        pare_file_writer_abort(w);
    return status;
}

/* Everything that can be wrong with a tensor besides its bytes. */
static PareStatus check_tensor(const PareFileWriter *w, PareFileTensor *t, PareError *err) {
    char shown[80], text[256];
    size_t length = strlen(t->name), ignored;
    const char *fault = pare_name_fault(t->name, length);
    if (fault != NULL)
        return pare_error_set(err, PARE_E_USAGE, "%s: the tensor name '%s' %s", w->path,
                              pare_name_show(t->name, length, shown, sizeof shown), fault);
    if (pare_name_index_find(&w->names, t->name, &ignored))
        return pare_error_set(err, PARE_E_USAGE, "%s: tensor '%s' is written twice", w->path,
                              t->name);
    if (pare_file_shape_fault(t, text, sizeof text) != NULL)
        return pare_error_set(err, PARE_E_USAGE, "%s: tensor '%s' %s", w->path, t->name, text);
    return PARE_OK;
}

/* Room for one more record, with its name in our own memory. */
static PareStatus reserve(PareFileWriter *w, PareFileTensor *t, PareError *err) {
    if (w->names.count == w->capacity) {
        size_t capacity = w->capacity == 0 ? 64 : w->capacity * 2;
        Record *records = pare_realloc(w->records, capacity, sizeof *records);
        if (records == NULL)
            return pare_memory_error(err, w->path);
        w->records = records;
        w->capacity = capacity;
    }
    t->name = pare_arena_strdup(w->arena, t->name);
    return t->name == NULL ? pare_memory_error(err, w->path) : PARE_OK;
}

static PareStatus append(PareFileWriter *w, const Record *record, PareError *err) {
    PareStatus status = pare_name_index_add(&w->names, record->t.name, err);
    if (status != PARE_OK)
        return pare_error_prefix(err, "%s", w->path);
    w->records[w->names.count - 1] = *record;
    return PARE_OK;
}

PareStatus pare_file_writer_begin(PareFileWriter *w, const PareFileTensor *t, PareError *err) {
    if (w->begun)
        return pare_error_set(err, PARE_E_USAGE, "%s: tensor '%s' is not complete yet", w->path,
                              w->current.t.name);
    w->current = (Record){.t = *t, .alias = PARE_FILE_NO_ALIAS};
    PareFileTensor *own = &w->current.t;
    PareStatus status = check_tensor(w, own, err);
    if (status == PARE_OK)
        status = reserve(w, own, err);
    if (status == PARE_OK)
        status = pare_output_align(w->out, PARE_FILE_ALIGN, err);
    if (status != PARE_OK)
        return status;
    own->alias_of = NULL;
    w->current.offset = pare_output_offset(w->out);
    w->missing = own->bytes;
    w->begun = true;
    pare_xxh64_reset(w->hash);
    return PARE_OK;
}

PareStatus pare_file_writer_piece(PareFileWriter *w, const void *bytes, size_t size,
                                  PareError *err) {
    enum { STEP = 1 << 18 }; /* what was hashed is still in the cache when it is written */
    const uint8_t *at = bytes;
    PareStatus status = PARE_OK;
    if (!w->begun || size > w->missing)
        return pare_error_set(err, PARE_E_USAGE, "%s: more bytes than belong to tensor '%s'",
                              w->path, w->begun ? w->current.t.name : "");
    w->missing -= size;
    while (size > 0 && status == PARE_OK) {
        size_t step = size < STEP ? size : STEP;
        pare_xxh64_update(w->hash, at, step);
        status = pare_output_write(w->out, at, step, err);
        at += step;
        size -= step;
    }
    return status;
}

PareStatus pare_file_writer_end(PareFileWriter *w, PareError *err) {
    if (!w->begun || w->missing > 0)
        return pare_error_set(err, PARE_E_USAGE, "%s: tensor '%s' lacks %llu bytes", w->path,
                              w->begun ? w->current.t.name : "", (unsigned long long)w->missing);
    w->begun = false;
    w->current.t.checksum = pare_xxh64_digest(w->hash);
    return append(w, &w->current, err);
}

PareStatus pare_file_writer_tensor(PareFileWriter *w, const PareFileTensor *t, const void *blob,
                                   PareError *err) {
    PareStatus status = pare_file_writer_begin(w, t, err);
    if (status == PARE_OK)
        status = pare_file_writer_piece(w, blob, (size_t)w->missing, err);
    return status == PARE_OK ? pare_file_writer_end(w, err) : status;
}

PareStatus pare_file_writer_alias(PareFileWriter *w, const PareFileTensor *t, const char *target,
                                  PareError *err) {
    size_t number;
    if (!pare_name_index_find(&w->names, target, &number))
        return pare_error_set(err, PARE_E_USAGE,
                              "%s: tensor '%s' is to share '%s', which is not written yet", w->path,
                              t->name, target);
    if (w->records[number].alias != PARE_FILE_NO_ALIAS)
        number = w->records[number].alias;
    Record r = w->records[number];
    r.alias = (uint32_t)number;
    r.t.name = t->name;
    memcpy(r.t.axes, t->axes, sizeof r.t.axes);
    PareStatus status = check_tensor(w, &r.t, err);
    if (status == PARE_OK)
        status = reserve(w, &r.t, err);
    return status == PARE_OK ? append(w, &r, err) : status;
}

PareStatus pare_file_writer_section(PareFileWriter *w, PareSectionKind kind, const void *bytes,
                                    size_t size, PareError *err) {
    if (kind < PARE_SECTION_METADATA || kind > PARE_SECTION_CERTIFICATE)
        return pare_error_set(err, PARE_E_USAGE, "%s: there is no section kind %d", w->path,
                              (int)kind);
    for (size_t i = 0; i < w->section_count; i++)
        if (w->sections[i].kind == (uint32_t)kind)
            return pare_error_set(err, PARE_E_USAGE, "%s: section kind %d is written twice",
                                  w->path, (int)kind);
    void *copy = pare_arena_alloc_raw(w->arena, size, 1);
    if (copy == NULL)
        return pare_memory_error(err, w->path);
    if (size > 0)
        memcpy(copy, bytes, size);
    w->sections[w->section_count++] = (Section){(uint32_t)kind, copy, size, 0};
    return PARE_OK;
}

static PareStatus write_sections(PareFileWriter *w, PareError *err) {
    PareStatus status = PARE_OK;
    for (size_t i = 0; i < w->section_count && status == PARE_OK; i++) {
        Section *s = &w->sections[i];
        status = pare_output_align(w->out, PARE_FILE_ALIGN, err);
        s->offset = pare_output_offset(w->out);
        if (status == PARE_OK)
            status = pare_output_write(w->out, s->bytes, s->size, err);
    }
    return status == PARE_OK ? pare_output_align(w->out, PARE_FILE_ALIGN, err) : status;
}

static void put_zeros(PareBuffer *b, size_t count) {
    for (size_t i = 0; i < count; i++)
        pare_buffer_put_u8(b, 0);
}

static void put_record(PareBuffer *b, const Record *r, uint32_t name_at) {
    pare_buffer_put_u64(b, r->offset);
    pare_buffer_put_u64(b, r->t.bytes);
    pare_buffer_put_u64(b, r->t.checksum);
    pare_buffer_put_u32(b, name_at);
    pare_buffer_put_u16(b, (uint16_t)strlen(r->t.name));
    pare_buffer_put_u8(b, (uint8_t)r->t.dtype);
    pare_buffer_put_u8(b, (uint8_t)r->t.layout);
    pare_buffer_put_u8(b, (uint8_t)r->t.dims);
    put_zeros(b, PARE_RECORD_ALIAS - PARE_RECORD_ZERO);
    pare_buffer_put_u32(b, r->alias);
    for (size_t d = 0; d < PARE_FILE_MAX_DIMS; d++)
        pare_buffer_put_u64(b, r->t.shape[d]);
    pare_buffer_append(b, r->t.axes, sizeof r->t.axes);
    put_zeros(b, PARE_RECORD_SIZE - PARE_RECORD_REQUIRED);
}

static void put_section(PareBuffer *b, const Section *s) {
    bool required = s->kind == PARE_SECTION_METADATA || s->kind == PARE_SECTION_TOKENIZER;
    pare_buffer_put_u32(b, s->kind);
    pare_buffer_put_u32(b, required ? PARE_SECTION_REQUIRED : 0);
    pare_buffer_put_u64(b, s->offset);
    pare_buffer_put_u64(b, s->size);
    pare_buffer_put_u64(b, pare_hash_xxh64(s->bytes, s->size));
}

typedef struct {
    const char *name;
    uint32_t number;
} Named;

static int compare_named(const void *a, const void *b) {
    return strcmp(((const Named *)a)->name, ((const Named *)b)->name);
}

static PareStatus put_sorted(const PareFileWriter *w, PareBuffer *b, PareError *err) {
    size_t count = w->names.count;
    Named *named = pare_alloc(count, sizeof *named);
    if (named == NULL)
        return pare_memory_error(err, w->path);
    for (size_t i = 0; i < count; i++)
        named[i] = (Named){w->names.names[i], (uint32_t)i};
    if (count > 0)
        qsort(named, count, sizeof *named, compare_named);
    for (size_t i = 0; i < count; i++)
        pare_buffer_put_u32(b, named[i].number);
    pare_free(named);
    return PARE_OK;
}

static PareStatus make_table(const PareFileWriter *w, PareBuffer *b, size_t *names_size,
                             PareError *err) {
    size_t at = 0;
    for (size_t i = 0; i < w->names.count; i++) {
        put_record(b, &w->records[i], (uint32_t)at);
        at += strlen(w->records[i].t.name) + 1;
    }
    for (size_t i = 0; i < w->section_count; i++)
        put_section(b, &w->sections[i]);
    PareStatus status = put_sorted(w, b, err);
    if (status != PARE_OK)
        return status;
    for (size_t i = 0; i < w->names.count; i++)
        pare_buffer_append(b, w->records[i].t.name, strlen(w->records[i].t.name) + 1);
    *names_size = at;
    return pare_buffer_ok(b, w->path, err);
}

static void make_header(const PareFileWriter *w, PareBuffer *h, const PareBuffer *table,
                        uint64_t table_offset, size_t names_size) {
    pare_buffer_append(h, PARE_FILE_MAGIC, PARE_FILE_MAGIC_SIZE);
    pare_buffer_put_u32(h, PARE_FILE_VERSION);
    pare_buffer_put_u32(h, PARE_HEADER_SIZE);
    put_zeros(h, PARE_HEADER_FILE_SIZE - PARE_HEADER_REQUIRED);
    pare_buffer_put_u64(h, table_offset + table->size);
    pare_buffer_put_u64(h, table_offset);
    pare_buffer_put_u64(h, table->size);
    pare_buffer_put_u64(h, pare_hash_xxh64(table->data, table->size));
    pare_buffer_put_u32(h, (uint32_t)w->names.count);
    pare_buffer_put_u32(h, (uint32_t)w->section_count);
    pare_buffer_put_u64(h, names_size);
    put_zeros(h, PARE_HEADER_CHECKSUM - PARE_HEADER_ZERO);
    pare_buffer_put_u64(h, pare_hash_xxh64(h->data, h->size));
}

PareStatus pare_file_writer_commit(PareFileWriter *w, PareError *err) {
    PareBuffer table = {0}, header = {0};
    size_t names_size = 0;
    PareStatus status = PARE_OK;
    if (w->begun)
        status = pare_error_set(err, PARE_E_USAGE, "%s: tensor '%s' is not complete yet", w->path,
                                w->current.t.name);
    if (status == PARE_OK)
        status = write_sections(w, err);
    if (status != PARE_OK)
        goto done;
    uint64_t table_offset = pare_output_offset(w->out);
    status = make_table(w, &table, &names_size, err);
    if (status != PARE_OK)
        goto done;
    if (table.size > 0)
        status = pare_output_write(w->out, table.data, table.size, err);
    if (status != PARE_OK)
        goto done;
    make_header(w, &header, &table, table_offset, names_size);
    status = pare_buffer_ok(&header, w->path, err);
    if (status == PARE_OK)
        status = pare_output_patch(w->out, 0, header.data, header.size, err);
    if (status == PARE_OK) {
        status = pare_output_commit(w->out, err);
        w->out = NULL; /* freed whatever happened */
    }
done:
    pare_buffer_free(&table);
    pare_buffer_free(&header);
    pare_file_writer_abort(w);
    return status;
}

void pare_file_writer_abort(PareFileWriter *w) {
    if (w == NULL)
        return;
    pare_output_abort(w->out);
    pare_name_index_free(&w->names);
    pare_arena_destroy(w->arena);
    pare_xxh64_destroy(w->hash);
    pare_free(w->records);
    pare_free(w->path);
    pare_free(w);
}
