/* Writing PyTorch checkpoints as torch.save does since 1.6: a zip archive without compression with
 * the pickled OrderedDict of tensors (archive/data.pkl) and a record for each storage
 * (archive/data/N), each of which begins at a multiple of 64 so that it can be mapped.
 *
 * The order and the padding ("FB" in the local header's extra field) are PyTorch's. Dates are zip's
 * earliest: the same tensors give the same bytes. Sizes and offsets beyond 32 bits are zip64. */
#include <stdio.h>
#include <string.h>

#include "core/buffer.h"
#include "core/file.h"
#include "core/memory.h"
#include "formats/checkpoint_writer.h"
#include "formats/crc32.h"

enum {
    ALIGN = 64,
    LOCAL_BYTES = 30,
    ZIP64_LOCAL_BYTES = 20, /* id, size, two sizes of eight bytes */
    VERSION_PLAIN = 20,
    VERSION_ZIP64 = 45,
    EARLIEST_DATE = 0x21, /* 1 January 1980 */
    NAME_BYTES = 48
};
static const uint32_t beyond = UINT32_MAX; /* stands where zip64 has the number */

typedef struct {
    char name[NAME_BYTES];
    uint64_t size, offset;
    uint32_t crc;
} Record;

typedef struct {
    const PareSaveJob *job;
    PareOutput *out;
    Record *records;
    size_t count;
    PareCrc32 crc;
    PareBuffer bytes; /* of headers */
    PareError *err;
} Zip;

/* ---- The archive ---- */

static PareStatus flush(Zip *z) {
    PareStatus st = pare_buffer_ok(&z->bytes, "the archive's directory", z->err);
    if (!st)
        st = pare_output_write(z->out, z->bytes.data, z->bytes.size, z->err);
    pare_buffer_clear(&z->bytes);
    return st;
}

/* Version, method, date, CRC and both sizes: what the two kinds of headers have in common. */
static void put_common(PareBuffer *b, const Record *r, bool big) {
    uint32_t size = big ? beyond : (uint32_t)r->size;
    pare_buffer_put_u16(b, 0); /* flags */
    pare_buffer_put_u16(b, 0); /* stored */
    pare_buffer_put_u16(b, 0); /* midnight */
    pare_buffer_put_u16(b, EARLIEST_DATE);
    pare_buffer_put_u32(b, r->crc);
    pare_buffer_put_u32(b, size);
    pare_buffer_put_u32(b, size);
    pare_buffer_put_u16(b, (uint16_t)strlen(r->name));
}

static void put_local(Zip *z, const Record *r) {
    PareBuffer *b = &z->bytes;
    bool big = r->size >= beyond;
    size_t extra = big ? ZIP64_LOCAL_BYTES : 0;
    uint64_t end = r->offset + LOCAL_BYTES + strlen(r->name) + extra + 4;
    size_t padding = (size_t)((ALIGN - end % ALIGN) % ALIGN);
    pare_buffer_put_u32(b, 0x04034B50);
    pare_buffer_put_u16(b, big ? VERSION_ZIP64 : VERSION_PLAIN);
    put_common(b, r, big);
    pare_buffer_put_u16(b, (uint16_t)(extra + 4 + padding));
    pare_buffer_puts(b, r->name);
    if (big) {
        pare_buffer_put_u16(b, 1);
        pare_buffer_put_u16(b, ZIP64_LOCAL_BYTES - 4);
        pare_buffer_put_u64(b, r->size);
        pare_buffer_put_u64(b, r->size);
    }
    pare_buffer_puts(b, "FB");
    pare_buffer_put_u16(b, (uint16_t)padding);
    for (size_t i = 0; i < padding; i++)
        pare_buffer_putc(b, 'Z');
}

static void put_central(Zip *z, const Record *r) {
    PareBuffer *b = &z->bytes;
    bool big = r->size >= beyond, far = r->offset >= beyond;
    unsigned fields = (big ? 16u : 0u) + (far ? 8u : 0u);
    unsigned version = fields ? VERSION_ZIP64 : VERSION_PLAIN;
    pare_buffer_put_u32(b, 0x02014B50);
    pare_buffer_put_u16(b, (uint16_t)version);
    pare_buffer_put_u16(b, (uint16_t)version);
    put_common(b, r, big);
    pare_buffer_put_u16(b, (uint16_t)(fields ? fields + 4 : 0));
    pare_buffer_put_u16(b, 0); /* comment */
    pare_buffer_put_u16(b, 0); /* disk */
    pare_buffer_put_u16(b, 0); /* attributes */
    pare_buffer_put_u32(b, 0);
    pare_buffer_put_u32(b, far ? beyond : (uint32_t)r->offset);
    pare_buffer_puts(b, r->name);
    if (fields) {
        pare_buffer_put_u16(b, 1);
        pare_buffer_put_u16(b, (uint16_t)fields);
    }
    if (big) {
        pare_buffer_put_u64(b, r->size);
        pare_buffer_put_u64(b, r->size);
    }
    if (far)
        pare_buffer_put_u64(b, r->offset);
}

static void put_zip64_end(PareBuffer *b, uint64_t count, uint64_t start, uint64_t size) {
    pare_buffer_put_u32(b, 0x06064B50);
    pare_buffer_put_u64(b, 44); /* what follows */
    pare_buffer_put_u16(b, VERSION_ZIP64);
    pare_buffer_put_u16(b, VERSION_ZIP64);
    pare_buffer_put_u32(b, 0);
    pare_buffer_put_u32(b, 0);
    pare_buffer_put_u64(b, count);
    pare_buffer_put_u64(b, count);
    pare_buffer_put_u64(b, size);
    pare_buffer_put_u64(b, start);
    pare_buffer_put_u32(b, 0x07064B50); /* where that is */
    pare_buffer_put_u32(b, 0);
    pare_buffer_put_u64(b, start + size);
    pare_buffer_put_u32(b, 1);
}

static PareStatus put_directory(Zip *z) {
    PareBuffer *b = &z->bytes;
    uint64_t start = pare_output_offset(z->out);
    PareStatus st = PARE_OK;
    for (size_t i = 0; i < z->count && !st; i++) {
        put_central(z, &z->records[i]);
        st = flush(z);
    }
    uint64_t size = pare_output_offset(z->out) - start;
    bool many = z->count >= UINT16_MAX, far = start >= beyond || size >= beyond;
    if (many || far)
        put_zip64_end(b, z->count, start, size);
    pare_buffer_put_u32(b, 0x06054B50);
    pare_buffer_put_u32(b, 0); /* disks */
    for (int i = 0; i < 2; i++)
        pare_buffer_put_u16(b, many ? UINT16_MAX : (uint16_t)z->count);
    pare_buffer_put_u32(b, size >= beyond ? beyond : (uint32_t)size);
    pare_buffer_put_u32(b, start >= beyond ? beyond : (uint32_t)start);
    pare_buffer_put_u16(b, 0); /* comment */
    return st ? st : flush(z);
}

static PareStatus put_record(Zip *z, const char *name, const void *bytes, size_t size) {
    Record *r = &z->records[z->count++];
    snprintf(r->name, sizeof r->name, "%s", name);
    r->size = size;
    r->offset = pare_output_offset(z->out);
    r->crc = pare_crc32(&z->crc, 0, bytes, size);
    put_local(z, r);
    PareStatus st = flush(z);
    return st ? st : pare_output_write(z->out, bytes, size, z->err);
}

/* ---- The pickle (protocol 2) ---- */

static void put_text(PareBuffer *b, const char *text) {
    size_t size = strlen(text);
    pare_buffer_putc(b, 'X');
    pare_buffer_put_u32(b, (uint32_t)size);
    pare_buffer_append(b, text, size);
}

/* As Python writes integers: the shortest of four forms. */
static void put_integer(PareBuffer *b, uint64_t v) {
    if (v <= UINT8_MAX) {
        pare_buffer_putc(b, 'K');
        pare_buffer_put_u8(b, (uint8_t)v);
    } else if (v <= UINT16_MAX) {
        pare_buffer_putc(b, 'M');
        pare_buffer_put_u16(b, (uint16_t)v);
    } else if (v <= INT32_MAX) {
        pare_buffer_putc(b, 'J');
        pare_buffer_put_u32(b, (uint32_t)v);
    } else {
        unsigned size = 5; /* two's complement: room for a sign bit */
        while (size < 8 && v >> (8 * size - 1))
            size++;
        pare_buffer_puts(b, "\x8A");
        pare_buffer_put_u8(b, (uint8_t)size);
        for (unsigned i = 0; i < size; i++)
            pare_buffer_put_u8(b, (uint8_t)(v >> (8 * i)));
    }
}

static void put_tuple(PareBuffer *b, const uint64_t *v, uint32_t count) {
    pare_buffer_putc(b, '(');
    for (uint32_t i = 0; i < count; i++)
        put_integer(b, v[i]);
    pare_buffer_putc(b, 't');
}

static const char *storage_class(PareDtype t) {
    static const char *const NAMES[PARE_DTYPE_COUNT] = {
        [PARE_F32] = "Float",  [PARE_F16] = "Half", [PARE_BF16] = "BFloat16", [PARE_I8] = "Char",
        [PARE_F64] = "Double", [PARE_I64] = "Long", [PARE_I32] = "Int",       [PARE_I16] = "Short",
        [PARE_U8] = "Byte",    [PARE_BOOL] = "Bool"};
    return NAMES[t];
}

/* _rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks) */
static void put_tensor(PareBuffer *b, const PareTensorType *t, size_t storage) {
    uint64_t strides[PARE_MAX_DIMS] = {0}, stride = 1;
    size_t elements = 0;
    char key[24];
    pare_tensor_elements(t, &elements);
    for (uint32_t d = t->dims; d-- > 0;) {
        strides[d] = stride;
        stride *= t->shape[d] ? t->shape[d] : 1;
    }
    snprintf(key, sizeof key, "%zu", storage);
    pare_buffer_puts(b, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_text(b, "storage");
    pare_buffer_printf(b, "ctorch\n%sStorage\n", storage_class(t->dtype));
    put_text(b, key);
    put_text(b, "cpu");
    put_integer(b, elements);
    pare_buffer_puts(b, "tQ");
    put_integer(b, 0);
    put_tuple(b, t->shape, t->dims);
    put_tuple(b, strides, t->dims);
    pare_buffer_puts(b, "\x89"
                        "ccollections\nOrderedDict\n)RtR");
}

static size_t storage_of(const PareSaveJob *job, size_t i) {
    return job->tensors[i].same_as == SIZE_MAX ? i : job->tensors[i].same_as;
}

/* Storages are numbered in the order of the tensors that own them. */
static PareStatus put_pickle(const PareSaveJob *job, const size_t *numbers, PareBuffer *b,
                             PareError *err) {
    pare_buffer_append(b, "\x80\x02", 2);
    pare_buffer_puts(b, "ccollections\nOrderedDict\n)R(");
    for (size_t i = 0; i < job->count; i++) {
        put_text(b, job->tensors[i].name);
        put_tensor(b, &job->tensors[i].type, numbers[storage_of(job, i)]);
    }
    pare_buffer_puts(b, "u.");
    return pare_buffer_ok(b, "the pickle", err);
}

/* ---- All of it ---- */

static PareStatus put_storages(Zip *z, const size_t *numbers) {
    PareSaveRoom room = {0};
    PareStatus st = PARE_OK;
    for (size_t i = 0; i < z->job->count && !st; i++) {
        if (z->job->tensors[i].same_as != SIZE_MAX)
            continue;
        char name[NAME_BYTES];
        snprintf(name, sizeof name, "archive/data/%zu", numbers[i]);
        st = pare_save_fetch(z->job, i, &room, z->err);
        if (!st)
            st = put_record(z, name, room.data, room.bytes);
    }
    pare_save_room_free(&room);
    return st;
}

static PareStatus put_all(Zip *z, const size_t *numbers) {
    PareBuffer pickle = {0};
    PareStatus st = put_pickle(z->job, numbers, &pickle, z->err);
    if (!st)
        st = put_record(z, "archive/data.pkl", pickle.data, pickle.size);
    pare_buffer_free(&pickle);
    if (!st)
        st = put_record(z, "archive/byteorder", "little", 6);
    if (!st)
        st = put_storages(z, numbers);
    if (!st)
        st = put_record(z, "archive/version", "3\n", 2);
    return st ? st : put_directory(z);
}

PareStatus pare_pytorch_save(const PareSaveJob *job, PareError *err) {
    enum { OTHER_RECORDS = 3 };
    size_t storages = 0;
    Zip *z = pare_alloc(1, sizeof *z);
    size_t *numbers = pare_alloc(job->count, sizeof *numbers);
    PareStatus st = z && numbers ? PARE_OK : pare_memory_error(err, "the archive");
    if (st)
        goto done;
    *z = (Zip){.job = job, .err = err};
    for (size_t i = 0; i < job->count; i++)
        if (job->tensors[i].same_as == SIZE_MAX)
            numbers[i] = storages++;
    pare_crc32_init(&z->crc);
    z->records = pare_alloc(storages + OTHER_RECORDS, sizeof *z->records);
    st = z->records ? pare_output_open(job->path, job->force, &z->out, err)
                    : pare_memory_error(err, "the archive");
    if (!st)
        st = put_all(z, numbers);
    if (!st)
        st = pare_output_commit(z->out, err);
    else
        pare_output_abort(z->out);
done:
    if (z) {
        pare_buffer_free(&z->bytes);
        pare_free(z->records);
    }
    pare_free(numbers);
    pare_free(z);
    return st;
}
