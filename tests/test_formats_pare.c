/* The .pare file: written, read back, and refused when any byte of it is wrong.
 *
 * tests/data/formats/all-v1.pare holds every dtype, layout and kind of entry; all-v1.txt is what
 * reading it gives (also checked by tests/read_pare.py). Both were made by
 *     PARE_TEST_WRITE_GOLDEN=1 make run-test T=test_formats_pare
 * and must not change while version 1 is readable. */
#include "tests/test_formats_common.h"

#include "core/blocks.h"
#include "core/random.h"
#include "formats/pare_file.h"
#include "formats/pare_format.h"

#define GOLDEN DATA "all-v1.pare"
#define GOLDEN_LIST DATA "all-v1.txt"

/* ---- Making files ---- */

static float value(size_t i) {
    return (float)((int)(i * 7919 % 2001) - 1000) / 64.0f; /* exact in float, not in halves */
}

static PareFileTensor describe(const char *name, PareDtype dtype, PareLayout layout, uint32_t dims,
                               uint64_t a, uint64_t b) {
    PareFileTensor t = {.name = name, .dtype = dtype, .layout = layout, .dims = dims};
    t.shape[0] = a;
    t.shape[1] = b;
    return t;
}

static void add(PareFileWriter *w, PareFileTensor t) {
    PareError err;
    uint64_t bytes;
    size_t count = 1;
    assert_true(pare_file_blob_bytes(&t, &bytes));
    for (uint32_t d = 0; d < t.dims; d++)
        count *= (size_t)t.shape[d];
    float *values = pare_alloc(count, sizeof *values);
    void *blob = pare_alloc((size_t)bytes, 1);
    for (size_t i = 0; i < count; i++)
        values[i] = value(i);
    if (t.layout == PARE_LAYOUT_BLOCK4)
        pare_blocks_pack_i8(values, (size_t)t.shape[0], (size_t)t.shape[1], blob);
    else if (t.layout == PARE_LAYOUT_BLOCK1)
        pare_blocks_pack_half(t.dtype, values, (size_t)t.shape[0], (size_t)t.shape[1], blob);
    else
        pare_convert_from_f32(t.dtype, values, blob, count);
    if (pare_file_writer_tensor(w, &t, blob, &err) != PARE_OK)
        fail_msg("%s", err.message);
    pare_free(values);
    pare_free(blob);
}

static void add_alias(PareFileWriter *w, const char *name, const char *target) {
    PareFileTensor t = {.name = name};
    PareError err;
    t.axes[0] = (PareAxis){.kind = PARE_AXIS_LABEL, .stack = 2, .group = 1};
    if (pare_file_writer_alias(w, &t, target, &err) != PARE_OK)
        fail_msg("%s", err.message);
}

/* Everything that the format can express, in about eight kilobytes. */
static void write_everything(const char *path) {
    PareFileWriter *w;
    PareError err;
    assert_int_equal(pare_file_writer_open(path, true, &w, &err), PARE_OK);
    PareFileTensor rows = describe("rows.f32", PARE_F32, PARE_LAYOUT_ROWS, 2, 6, 5);
    rows.axes[0] = (PareAxis){PARE_AXIS_HEAD, 1, PARE_BLOCK_CROSS, 0, 3, 2};
    rows.axes[1] = (PareAxis){PARE_AXIS_WIDTH, 1, 0, 0, 0, 1};
    add(w, rows);
    add(w, describe("rows.f16", PARE_F16, PARE_LAYOUT_ROWS, 1, 7, 0));
    PareFileTensor four = describe("rows.bf16", PARE_BF16, PARE_LAYOUT_ROWS, 4, 2, 3);
    four.shape[2] = 1;
    four.shape[3] = 2;
    add(w, four);
    add(w, describe("scalar", PARE_F32, PARE_LAYOUT_ROWS, 0, 0, 0));
    add(w, describe("empty", PARE_F32, PARE_LAYOUT_ROWS, 2, 0, 4));
    add(w, describe("block1.f16", PARE_F16, PARE_LAYOUT_BLOCK1, 2, 17, 3));
    add(w, describe("block1.bf16", PARE_BF16, PARE_LAYOUT_BLOCK1, 2, 16, 5));
    add(w, describe("block4", PARE_I8, PARE_LAYOUT_BLOCK4, 2, 19, 7));
    add(w, describe("block4.exact", PARE_I8, PARE_LAYOUT_BLOCK4, 2, 32, 8));
    add(w, describe("block4.no columns", PARE_I8, PARE_LAYOUT_BLOCK4, 2, 3, 0));
    add(w, describe("block4.no rows", PARE_I8, PARE_LAYOUT_BLOCK4, 2, 0, 3));
    add_alias(w, "alias.rows", "rows.f32");
    add_alias(w, "alias.block4", "block4");
    add_alias(w, "alias.alias", "alias.block4");
    add(w, describe("größe", PARE_F32, PARE_LAYOUT_ROWS, 1, 3, 0));
    assert_int_equal(pare_file_writer_section(w, PARE_SECTION_TOKENIZER, "tokens", 6, &err), 0);
    assert_int_equal(pare_file_writer_section(w, PARE_SECTION_METADATA, "{\"a\": 1}", 8, &err), 0);
    assert_int_equal(pare_file_writer_section(w, PARE_SECTION_CERTIFICATE, "", 0, &err), 0);
    if (pare_file_writer_commit(w, &err) != PARE_OK)
        fail_msg("%s", err.message);
}

static PareFile *open_good(const char *path) {
    PareFile *f;
    PareError err;
    if (pare_file_open(path, &f, &err) != PARE_OK || pare_file_verify(f, &err) != PARE_OK)
        fail_msg("%s", err.message);
    return f;
}

/* Pages of a file go back as soon as they are checked: no more than a tensor's are in memory. */
static void test_verify_memory(void **state) {
    enum { TENSORS = 8, ROWS = 1 << 20, KIB = ROWS * 4 / 1024 };
    const char *path = temporary("large.pare");
    PareFileWriter *w;
    PareFile *f;
    PareError err;
    (void)state;
    assert_int_equal(pare_file_writer_open(path, true, &w, &err), PARE_OK);
    for (char name[] = "0"; name[0] < '0' + TENSORS; name[0]++)
        add(w, describe(name, PARE_F32, PARE_LAYOUT_ROWS, 1, ROWS, 0));
    assert_int_equal(pare_file_writer_commit(w, &err), PARE_OK);
    assert_int_equal(pare_file_open(path, &f, &err), PARE_OK);
    long before = status_field("RssFile");
    assert_int_equal(pare_file_verify(f, &err), PARE_OK);
    assert_true(status_field("RssFile") - before < 2 * KIB);
    pare_file_close(f);
    unlink(path);
}

static char *list_file(const PareFile *f) {
    PareBuffer b = {0};
    for (size_t i = 0; i < pare_file_count(f); i++) {
        const PareFileTensor *t = pare_file_tensor(f, i);
        PareTensorType type = {.dtype = t->dtype, .dims = t->dims};
        size_t count;
        memcpy(type.shape, t->shape, sizeof t->shape);
        assert_ptr_equal(pare_file_find(f, t->name), t);
        assert_true(pare_tensor_elements(&type, &count));
        float *values = pare_alloc(count, sizeof *values);
        pare_file_read_f32(t, values);
        put_line(&b, t->name, &type, values, count);
        pare_free(values);
    }
    return pare_buffer_steal(&b, &(size_t){0});
}

/* ---- Good files ---- */

static void test_golden(void **state) {
    const char *path = temporary("all.pare");
    size_t size, wanted_size;
    (void)state;
    write_everything(path);
    if (getenv("PARE_TEST_WRITE_GOLDEN") != NULL) {
        write_everything(GOLDEN);
        PareFile *f = open_good(GOLDEN);
        char *list = list_file(f);
        write_file(GOLDEN_LIST, list, strlen(list));
        pare_free(list);
        pare_file_close(f);
    }
    uint8_t *got = read_file(path, &size), *wanted = read_file(GOLDEN, &wanted_size);
    assert_int_equal(size, wanted_size);
    assert_memory_equal(got, wanted, size);
    pare_free(got);
    pare_free(wanted);
    unlink(path);
}

static void test_reads_golden(void **state) {
    size_t size;
    (void)state;
    PareFile *f = open_good(GOLDEN);
    char *list = list_file(f);
    uint8_t *wanted = read_file(GOLDEN_LIST, &size);
    assert_same_text(list, (const char *)wanted);
    assert_true(pare_file_sniff(GOLDEN));
    assert_false(pare_file_sniff(GOLDEN_LIST));
    assert_string_equal(pare_file_path(f), GOLDEN);
    pare_free(list);
    pare_free(wanted);
    pare_file_close(f);
}

static void test_entries(void **state) {
    const void *bytes;
    size_t size;
    (void)state;
    PareFile *f = open_good(GOLDEN);
    const PareFileTensor *t = pare_file_find(f, "rows.f32");
    PareAxis head = {PARE_AXIS_HEAD, 1, PARE_BLOCK_CROSS, 0, 3, 2};
    assert_memory_equal(&t->axes[0], &head, sizeof head);
    assert_null(t->alias_of);
    assert_int_equal((uintptr_t)t->data % 64, 0);
    const PareFileTensor *alias = pare_file_find(f, "alias.alias");
    assert_string_equal(alias->alias_of, "block4");
    assert_ptr_equal(alias->data, pare_file_find(f, "block4")->data);
    assert_int_equal(alias->axes[0].kind, PARE_AXIS_LABEL);
    assert_null(pare_file_find(f, "rows.f3"));
    assert_null(pare_file_find(f, ""));
    assert_null(pare_file_find(f, "zzz"));
    assert_null(pare_file_tensor(f, pare_file_count(f)));
    assert_true(pare_file_section(f, PARE_SECTION_METADATA, &bytes, &size));
    assert_int_equal(size, 8);
    assert_memory_equal(bytes, "{\"a\": 1}", 8);
    assert_true(pare_file_section(f, PARE_SECTION_CERTIFICATE, &bytes, &size));
    assert_int_equal(size, 0);
    assert_false(pare_file_section(f, PARE_SECTION_SELFTEST, &bytes, &size));
    pare_file_close(f);
}

static void test_empty_file(void **state) {
    const char *path = temporary("empty.pare");
    PareFileWriter *w;
    PareError err;
    (void)state;
    assert_int_equal(pare_file_writer_open(path, false, &w, &err), PARE_OK);
    assert_int_equal(pare_file_writer_commit(w, &err), PARE_OK);
    PareFile *f = open_good(path);
    assert_int_equal(pare_file_size(f), 128);
    assert_null(pare_file_find(f, "x"));
    pare_file_close(f);
    assert_int_not_equal(pare_file_writer_open(path, false, &w, &err), PARE_OK); /* exists */
    unlink(path);
}

/* Enough names for the writer's table to grow several times. */
static void test_many_tensors(void **state) {
    const char *path = temporary("many.pare");
    PareFileWriter *w;
    PareError err;
    char name[32];
    (void)state;
    assert_int_equal(pare_file_writer_open(path, true, &w, &err), PARE_OK);
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "layer.%d", i);
        add(w, describe(name, PARE_F32, PARE_LAYOUT_ROWS, 1, (uint64_t)i % 5, 0));
    }
    assert_int_equal(pare_file_writer_commit(w, &err), PARE_OK);
    PareFile *f = open_good(path);
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "layer.%d", i);
        assert_ptr_equal(pare_file_find(f, name), pare_file_tensor(f, (size_t)i));
    }
    pare_file_close(f);
    unlink(path);
}

static void refuse_tensor(PareFileWriter *w, PareFileTensor t, const char *wanted) {
    PareError err = {PARE_OK, ""};
    assert_int_equal(pare_file_writer_tensor(w, &t, "", &err), PARE_E_USAGE);
    assert_says(&err, wanted);
}

/* Written in pieces of any size, a tensor is the same; too few and too many bytes are refused. */
static void test_writer_pieces(void **state) {
    (void)state;
    enum { COUNT = 300000, BYTES = COUNT * 4 };
    PareError err = {0};
    PareFileWriter *w;
    PareFile *f;
    const char *path = temporary("pieces.pare");
    float *values = pare_alloc(COUNT, sizeof *values);
    for (size_t i = 0; i < COUNT; i++)
        values[i] = value(i);
    static const size_t sizes[] = {BYTES, BYTES - 1, 1 << 18, 100001, 65536, 65535, 4096};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        PareFileTensor t = describe("t", PARE_F32, PARE_LAYOUT_ROWS, 1, COUNT, 0);
        assert_int_equal(pare_file_writer_open(path, true, &w, &err), PARE_OK);
        add(w, describe("before", PARE_F32, PARE_LAYOUT_ROWS, 1, 3, 0));
        assert_int_equal(pare_file_writer_piece(w, values, 4, &err), PARE_E_USAGE);
        assert_int_equal(pare_file_writer_begin(w, &t, &err), PARE_OK);
        for (size_t at = 0; at < BYTES; at += sizes[i]) {
            size_t left = BYTES - at, size = left < sizes[i] ? left : sizes[i];
            assert_int_equal(pare_file_writer_end(w, &err), PARE_E_USAGE);
            assert_int_equal(pare_file_writer_piece(w, (char *)values + at, size, &err), PARE_OK);
        }
        assert_int_equal(pare_file_writer_piece(w, values, 1, &err), PARE_E_USAGE);
        assert_int_equal(pare_file_writer_end(w, &err), PARE_OK);
        assert_int_equal(pare_file_writer_end(w, &err), PARE_E_USAGE);
        assert_int_equal(pare_file_writer_commit(w, &err), PARE_OK);
        assert_int_equal(pare_file_open(path, &f, &err), PARE_OK);
        assert_int_equal(pare_file_verify(f, &err), PARE_OK);
        const PareFileTensor *got = pare_file_find(f, "t");
        assert_true(got->checksum == pare_hash_xxh64(values, BYTES));
        assert_memory_equal(got->data, values, BYTES);
        pare_file_close(f);
    }
    PareFileTensor t = describe("t", PARE_F32, PARE_LAYOUT_ROWS, 1, 2, 0);
    unlink(path);
    assert_int_equal(pare_file_writer_open(path, false, &w, &err), PARE_OK);
    assert_int_equal(pare_file_writer_begin(w, &t, &err), PARE_OK);
    t.name = "u";
    assert_int_equal(pare_file_writer_begin(w, &t, &err), PARE_E_USAGE);
    assert_non_null(strstr(err.message, "'t' is not complete"));
    assert_int_equal(pare_file_writer_commit(w, &err), PARE_E_USAGE);
    assert_int_equal(access(path, F_OK), -1);
    pare_free(values);
}

static void test_writer_refuses(void **state) {
    const char *path = temporary("refused.pare");
    char longest[257];
    PareFileWriter *w;
    PareError err;
    (void)state;
    memset(longest, 'a', 256);
    longest[256] = '\0';
    assert_int_equal(pare_file_writer_open(path, true, &w, &err), PARE_OK);
    add(w, describe("a", PARE_F32, PARE_LAYOUT_ROWS, 0, 0, 0));
    refuse_tensor(w, describe("a", PARE_F32, PARE_LAYOUT_ROWS, 0, 0, 0), "'a' is written twice");
    refuse_tensor(w, describe("", PARE_F32, PARE_LAYOUT_ROWS, 0, 0, 0), "is empty");
    refuse_tensor(w, describe(longest, PARE_F32, PARE_LAYOUT_ROWS, 0, 0, 0), "255 bytes");
    refuse_tensor(w, describe("\xc3(", PARE_F32, PARE_LAYOUT_ROWS, 0, 0, 0), "UTF-8");
    refuse_tensor(w, describe("a\nb", PARE_F32, PARE_LAYOUT_ROWS, 0, 0, 0), "control");
    refuse_tensor(w, describe("b", PARE_I64, PARE_LAYOUT_ROWS, 0, 0, 0), "dtype");
    refuse_tensor(w, describe("b", PARE_I8, PARE_LAYOUT_ROWS, 1, 4, 0), "do not go together");
    refuse_tensor(w, describe("b", PARE_F32, PARE_LAYOUT_BLOCK1, 2, 4, 4), "do not go together");
    refuse_tensor(w, describe("b", PARE_F16, PARE_LAYOUT_BLOCK1, 1, 4, 0), "do not go together");
    refuse_tensor(w, describe("b", PARE_F16, PARE_LAYOUT_BLOCK4, 2, 4, 4), "do not go together");
    refuse_tensor(w, describe("b", PARE_F32, PARE_LAYOUT_ROWS, 5, 1, 1), "5 dimensions");
    refuse_tensor(w, describe("b", PARE_F32, PARE_LAYOUT_ROWS, 2, 1ull << 40, 2), "do not go");
    refuse_tensor(w, describe("b", PARE_F32, PARE_LAYOUT_ROWS, 1, UINT64_MAX, 0), "do not go");
    refuse_tensor(w, describe("b", PARE_F32, PARE_LAYOUT_ROWS, 1, 2, 2), "beyond its 1 dimensions");
    PareFileTensor t = describe("b", PARE_F32, PARE_LAYOUT_ROWS, 1, 6, 0);
    t.axes[0] = (PareAxis){PARE_AXIS_HEAD, 0, 0, 0, 0, 4};
    refuse_tensor(w, t, "head(encoder.0.self)x4");
    t.axes[0].group = 0;
    refuse_tensor(w, t, "axis");
    t.axes[0] = (PareAxis){PARE_AXIS_WIDTH, 0, 0, 0, 1, 1};
    refuse_tensor(w, t, "axis");
    t.axes[0] = (PareAxis){PARE_AXIS_COUNT, 0, 0, 0, 0, 1};
    refuse_tensor(w, t, "axis");
    assert_int_equal(pare_file_writer_alias(w, &t, "c", &err), PARE_E_USAGE);
    assert_says(&err, "'c', which is not written yet");
    assert_int_equal(pare_file_writer_section(w, (PareSectionKind)9, "", 0, &err), PARE_E_USAGE);
    assert_int_equal(pare_file_writer_section(w, PARE_SECTION_METADATA, "", 0, &err), PARE_OK);
    assert_int_equal(pare_file_writer_section(w, PARE_SECTION_METADATA, "", 0, &err), PARE_E_USAGE);
    pare_file_writer_abort(w);
    assert_false(pare_file_exists(path));
}

/* ---- Bad files ---- */

typedef struct {
    uint8_t *bytes;
    size_t size, table;
    size_t tensors, sections;
} Image;

static Image load_golden(void) {
    Image m;
    m.bytes = read_file(GOLDEN, &m.size);
    m.table = (size_t)pare_le64(m.bytes + PARE_HEADER_TABLE_OFFSET);
    m.tensors = pare_le32(m.bytes + PARE_HEADER_TENSORS);
    m.sections = pare_le32(m.bytes + PARE_HEADER_SECTIONS);
    return m;
}

static uint8_t *record(const Image *m, size_t i) {
    return m->bytes + m->table + i * PARE_RECORD_SIZE;
}

static uint8_t *section(const Image *m, size_t i) {
    return record(m, m->tensors) + i * PARE_SECTION_SIZE;
}

static uint8_t *sorted(const Image *m) {
    return section(m, m->sections);
}

static uint8_t *names(const Image *m) {
    return sorted(m) + 4 * m->tensors;
}

static void put64(uint8_t *p, uint64_t v) {
    memcpy(p, &v, sizeof v);
}

static void put32(uint8_t *p, uint32_t v) {
    memcpy(p, &v, sizeof v);
}

static PareStatus open_and_verify(const char *path, PareError *err) {
    PareFile *f;
    PareStatus status = pare_file_open(path, &f, err);
    if (status == PARE_OK)
        status = pare_file_verify(f, err);
    pare_file_close(f);
    return status;
}

/* Makes the checksums of table and header right again, so that the check behind them is met. */
static void refuse_image(Image *m, const char *wanted) {
    const char *path = temporary("image.pare");
    PareError err = {PARE_OK, ""};
    if (m->size >= PARE_HEADER_SIZE && m->table <= m->size) {
        put64(m->bytes + PARE_HEADER_TABLE_CHECKSUM,
              pare_hash_xxh64(m->bytes + m->table, m->size - m->table));
        put64(m->bytes + PARE_HEADER_CHECKSUM, pare_hash_xxh64(m->bytes, PARE_HEADER_CHECKSUM));
    }
    write_file(path, m->bytes, m->size);
    PareStatus status = open_and_verify(path, &err);
    if (status == PARE_OK)
        fail_msg("not refused; wanted '%s'", wanted);
    assert_says(&err, wanted);
    pare_free(m->bytes);
    unlink(path);
}

#define REFUSE(change, wanted)                                                                     \
    do {                                                                                           \
        Image m = load_golden();                                                                   \
        change;                                                                                    \
        refuse_image(&m, wanted);                                                                  \
    } while (0)

static void test_bad_header(void **state) {
    (void)state;
    REFUSE(m.bytes[0] = 'P', "not a .pare file");
    REFUSE(m.bytes[8] = 2, "version 2; this program reads version 1");
    REFUSE(m.bytes[12] = 64, "64 bytes instead of 128");
    REFUSE(m.bytes[17] = 1, "flags 0x00000100");
    REFUSE(m.bytes[80] = 1, "reserved bytes of the header");
    REFUSE(m.bytes[PARE_HEADER_FILE_SIZE]++, "truncated");
    REFUSE(m.bytes[PARE_HEADER_FILE_SIZE]--, "trailing bytes");
    REFUSE(m.bytes[PARE_HEADER_TENSORS]--, "do not hold");
    REFUSE(put32(m.bytes + PARE_HEADER_TENSORS, UINT32_MAX), "at most");
    REFUSE(put32(m.bytes + PARE_HEADER_SECTIONS, 65), "at most");
    REFUSE(put64(m.bytes + PARE_HEADER_NAMES_SIZE, UINT64_MAX), "do not hold");
    REFUSE(put64(m.bytes + PARE_HEADER_TABLE_OFFSET, UINT64_MAX), "does not end where");
    REFUSE(put64(m.bytes + PARE_HEADER_TABLE_SIZE, 1), "does not end where");
    REFUSE(m.size = 100, "hold no header");
    REFUSE(m.size = 3, "not a .pare file");
}

static void test_bad_records(void **state) {
    (void)state;
    REFUSE(record(&m, 0)[PARE_RECORD_OFFSET] += 64, "tensor 'rows.f32' lies at byte");
    REFUSE(record(&m, 1)[PARE_RECORD_OFFSET] -= 64, "tensor 'rows.f16' lies at byte");
    REFUSE(record(&m, 1)[PARE_RECORD_OFFSET] += 1, "tensor 'rows.f16' lies at byte");
    REFUSE(put64(record(&m, 0) + PARE_RECORD_OFFSET, UINT64_MAX), "lies at byte");
    REFUSE(record(&m, 0)[PARE_RECORD_BYTES]++, "tensor 'rows.f32' has 121 bytes");
    REFUSE(record(&m, 0)[PARE_RECORD_SHAPE + 8]++, "call for 144");
    REFUSE(put64(record(&m, 0) + PARE_RECORD_SHAPE, UINT64_MAX), "do not go together");
    REFUSE(record(&m, 0)[PARE_RECORD_DTYPE] = 4, "has dtype 4");
    REFUSE(record(&m, 0)[PARE_RECORD_LAYOUT] = 3, "has layout 3");
    REFUSE(record(&m, 0)[PARE_RECORD_DIMS] = 200, "200 dimensions");
    REFUSE(record(&m, 0)[PARE_RECORD_DIMS] = 1, "'rows.f32'");
    REFUSE(record(&m, 0)[PARE_RECORD_ZERO] = 1, "reserved bytes of tensor 'rows.f32'");
    REFUSE(record(&m, 0)[PARE_RECORD_SIZE - 1] = 1, "reserved bytes of tensor 'rows.f32'");
    REFUSE(record(&m, 0)[PARE_RECORD_REQUIRED] = 1, "needs features");
    REFUSE(record(&m, 0)[PARE_RECORD_AXES] = PARE_AXIS_COUNT, "axis tag");
    REFUSE(record(&m, 0)[PARE_RECORD_AXES + 16] = 1, "beyond its 2 dimensions");
    REFUSE(record(&m, 1)[PARE_RECORD_CHECKSUM]++, "checksum of tensor 'rows.f16' is wrong");
}

static void test_bad_names(void **state) {
    (void)state;
    REFUSE(record(&m, 1)[PARE_RECORD_NAME]++, "tensor record 1");
    REFUSE(record(&m, 0)[PARE_RECORD_NAME_LENGTH]--, "zero byte");
    REFUSE(put32(record(&m, 0) + PARE_RECORD_NAME, UINT32_MAX), "tensor record 0");
    REFUSE(names(&m)[0] = 0xFF, "is not valid UTF-8");
    REFUSE(names(&m)[0] = '\n', "control character");
    REFUSE(names(&m)[0] = 0, "control character");
    REFUSE(memcpy(names(&m) + 9, names(&m), 8), "'rows.f32' occurs twice");
    REFUSE(put32(sorted(&m), 99), "names record 99");
    REFUSE(memcpy(sorted(&m), sorted(&m) + 4, 4), "occurs twice");
    REFUSE(names(&m)[0] = 'z', "is not sorted");
}

static void test_bad_aliases(void **state) {
    (void)state;
    REFUSE(record(&m, 11)[PARE_RECORD_SHAPE]--, "'alias.rows' has 120 bytes");
    REFUSE(put32(record(&m, 11) + PARE_RECORD_ALIAS, 11), "'alias.rows' is an alias of record 11");
    REFUSE(put32(record(&m, 11) + PARE_RECORD_ALIAS, 14), "alias of record 14");
    REFUSE(put32(record(&m, 11) + PARE_RECORD_ALIAS, 1), "does not match");
    REFUSE(put32(record(&m, 13) + PARE_RECORD_ALIAS, 12), "does not match");
    REFUSE(record(&m, 11)[PARE_RECORD_OFFSET] += 64, "does not match");
    REFUSE(record(&m, 11)[PARE_RECORD_CHECKSUM]++, "does not match");
    REFUSE(put32(record(&m, 11) + PARE_RECORD_ALIAS, UINT32_MAX), "'alias.rows' lies at byte");
    REFUSE(put32(record(&m, 1) + PARE_RECORD_ALIAS, 0), "'rows.f16' is an alias of record 0");
}

static void test_bad_sections(void **state) {
    (void)state;
    REFUSE(section(&m, 0)[0] = 9, "kind 9");
    REFUSE(section(&m, 0)[0] = 1, "two metadata sections");
    REFUSE(section(&m, 0)[4] |= 2, "needs features");
    REFUSE(section(&m, 0)[8] += 64, "the tokenizer section (kind 2) lies at byte");
    REFUSE(section(&m, 0)[16]--, "checksum of the tokenizer section");
    REFUSE(section(&m, 0)[24]++, "checksum of the tokenizer section");
    REFUSE(put64(section(&m, 0) + 16, UINT64_MAX), "must begin at");
}

/* A kind that nobody knows yet, without the required bit, is passed over. */
static void test_future_section(void **state) {
    const char *path = temporary("future.pare");
    const void *bytes;
    size_t size;
    (void)state;
    Image m = load_golden();
    put32(section(&m, 0), 77);
    put32(section(&m, 0) + 4, 0xABCD0000u);
    put64(m.bytes + PARE_HEADER_TABLE_CHECKSUM,
          pare_hash_xxh64(m.bytes + m.table, m.size - m.table));
    m.bytes[20] = 1; /* an optional flag */
    put64(m.bytes + PARE_HEADER_CHECKSUM, pare_hash_xxh64(m.bytes, PARE_HEADER_CHECKSUM));
    write_file(path, m.bytes, m.size);
    PareFile *f = open_good(path);
    assert_false(pare_file_section(f, PARE_SECTION_TOKENIZER, &bytes, &size));
    assert_true(pare_file_section(f, PARE_SECTION_METADATA, &bytes, &size));
    pare_file_close(f);
    pare_free(m.bytes);
    unlink(path);
}

/* Blobs with a right checksum whose content breaks the layout. */
static void refuse_content(const char *name, size_t at, uint8_t change, const char *wanted) {
    PareFile *f = open_good(GOLDEN);
    const PareFileTensor *t = pare_file_find(f, name);
    size_t index = (size_t)(t - pare_file_tensor(f, 0));
    Image m = load_golden();
    uint64_t offset = pare_le64(record(&m, index) + PARE_RECORD_OFFSET);
    m.bytes[offset + at] = change;
    uint64_t checksum = pare_hash_xxh64(m.bytes + offset, (size_t)t->bytes);
    for (size_t i = 0; i < m.tensors; i++)
        if (pare_le64(record(&m, i) + PARE_RECORD_OFFSET) == offset &&
            pare_le64(record(&m, i) + PARE_RECORD_BYTES) == t->bytes)
            put64(record(&m, i) + PARE_RECORD_CHECKSUM, checksum);
    pare_file_close(f);
    refuse_image(&m, wanted);
}

static void test_bad_content(void **state) {
    const size_t P = 32; /* padded rows of "block4", 19 x 7 */
    (void)state;
    refuse_content("block4", 8 * P, 0x80, "holds -128");
    refuse_content("block4", 8 * P + 3, 99, "row sums");
    refuse_content("block4", 4 * P, 99, "row sums");
    refuse_content("block4", 3, 0x80, "negative");
    refuse_content("block4", 8 * P + 64 + 3, 1, "padding");         /* column 7 */
    refuse_content("block4", 8 * P + 16 * 8 + 3 * 4, 1, "padding"); /* row 19 */
    refuse_content("block4", 4 * 20, 1, "padding");                 /* the scale of row 20 */
    refuse_content("block1.f16", 16 * 3 * 2 + 2, 1, "padding");     /* row 17 */
}

/* Whatever single byte is changed: open or verify says so. */
static void test_every_byte(void **state) {
    const char *path = temporary("byte.pare");
    size_t size;
    uint8_t *bytes = read_file(GOLDEN, &size);
    (void)state;
    for (size_t i = 0; i < size; i++) {
        PareError err = {PARE_OK, ""};
        bytes[i] ^= (uint8_t)(1u << i % 8);
        write_file(path, bytes, size);
        bytes[i] ^= (uint8_t)(1u << i % 8);
        if (open_and_verify(path, &err) == PARE_OK)
            fail_msg("a change of byte %zu goes unnoticed", i);
        assert_int_not_equal(err.message[0], '\0');
    }
    pare_free(bytes);
    unlink(path);
}

/* Random changes of header and table behind right checksums: refused, or safe to use. */
static void test_changed_tables(void **state) {
    const char *path = temporary("table.pare");
    size_t rounds = getenv("PARE_TEST_LONG") != NULL ? 20000 : 1000, good = 0;
    (void)state;
    for (uint64_t round = 0; round < rounds; round++) {
        Image m = load_golden();
        PareFile *f;
        PareError err = {PARE_OK, ""};
        for (uint64_t k = 0; k <= round % 3; k++) {
            uint64_t at = pare_random_below(5, round, k, m.size - m.table + 48);
            at = at < 48 ? at + 24 : m.table + at - 48;
            m.bytes[at] = (uint8_t)(pare_random_u32(6, round, k) >> (round % 8));
        }
        put64(m.bytes + PARE_HEADER_TABLE_CHECKSUM,
              pare_hash_xxh64(m.bytes + m.table, m.size - m.table));
        put64(m.bytes + PARE_HEADER_CHECKSUM, pare_hash_xxh64(m.bytes, PARE_HEADER_CHECKSUM));
        write_file(path, m.bytes, m.size);
        if (pare_file_open(path, &f, &err) == PARE_OK) {
            pare_free(list_file(f));
            pare_file_verify(f, &err);
            pare_file_close(f);
            good++;
        } else
            assert_int_not_equal(err.message[0], '\0');
        pare_free(m.bytes);
    }
    assert_in_range(good, 1, rounds - 1);
    unlink(path);
}

static void test_truncations(void **state) {
    const char *path = temporary("short.pare");
    size_t size;
    uint8_t *bytes = read_file(GOLDEN, &size);
    (void)state;
    for (size_t length = 0; length < size; length += length < 200 ? 1 : 97) {
        PareError err = {PARE_OK, ""};
        write_file(path, bytes, length);
        assert_int_not_equal(open_and_verify(path, &err), PARE_OK);
    }
    pare_free(bytes);
    unlink(path);
}

static void test_failing_memory(void **state) {
    const char *path = temporary("memory.pare");
    PareStatus status = PARE_E_MEMORY;
    (void)state;
    for (uint64_t n = 1; status != PARE_OK && n < 1000; n++) {
        PareFileWriter *w = NULL;
        PareFileTensor t = describe("a", PARE_F32, PARE_LAYOUT_ROWS, 0, 0, 0);
        PareError err = {PARE_OK, ""};
        float one = 1;
        pare_memory_fail_after(n);
        status = pare_file_writer_open(path, true, &w, &err);
        if (status == PARE_OK)
            status = pare_file_writer_tensor(w, &t, &one, &err);
        if (status == PARE_OK)
            status = pare_file_writer_section(w, PARE_SECTION_METADATA, "{}", 2, &err);
        if (status == PARE_OK)
            status = pare_file_writer_commit(w, &err);
        else
            pare_file_writer_abort(w);
        if (status == PARE_OK)
            status = open_and_verify(path, &err);
        pare_memory_fail_after(0);
        assert_true(status == PARE_OK || (status == PARE_E_MEMORY && err.message[0] != '\0'));
    }
    assert_int_equal(status, PARE_OK);
    unlink(path);
}

static void test_axis_text(void **state) {
    char text[64];
    (void)state;
    PareAxis head = {PARE_AXIS_HEAD, 1, PARE_BLOCK_CROSS, 0, 3, 64}, one = head;
    assert_string_equal(pare_axis_text(head, text, sizeof text), "head(decoder.3.cross)x64");
    assert_string_equal(pare_axis_text((PareAxis){PARE_AXIS_WIDTH, 0, 0, 0, 0, 1}, text, 64),
                        "width(encoder)");
    assert_string_equal(pare_axis_text((PareAxis){PARE_AXIS_LABEL, 2, 0, 0, 0, 1}, text, 64),
                        "label");
    assert_string_equal(pare_axis_text((PareAxis){PARE_AXIS_FFN, 0, 0, 0, 11, 1}, text, 64),
                        "ffn(encoder.11)");
    assert_string_equal(pare_axis_text((PareAxis){0}, text, 64), "none");
    assert_string_equal(pare_axis_text((PareAxis){99, 0, 0, 0, 0, 1}, text, 5), "unkn");
    one.group = 1;
    assert_true(pare_axis_equal(head, one));
    one.layer = 4;
    assert_false(pare_axis_equal(head, one));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),         cmocka_unit_test(test_reads_golden),
        cmocka_unit_test(test_entries),        cmocka_unit_test(test_empty_file),
        cmocka_unit_test(test_many_tensors),   cmocka_unit_test(test_writer_refuses),
        cmocka_unit_test(test_bad_header),     cmocka_unit_test(test_bad_records),
        cmocka_unit_test(test_bad_names),      cmocka_unit_test(test_bad_aliases),
        cmocka_unit_test(test_bad_sections),   cmocka_unit_test(test_future_section),
        cmocka_unit_test(test_bad_content),    cmocka_unit_test(test_every_byte),
        cmocka_unit_test(test_truncations),    cmocka_unit_test(test_failing_memory),
        cmocka_unit_test(test_axis_text),      cmocka_unit_test(test_writer_pieces),
        cmocka_unit_test(test_changed_tables), cmocka_unit_test(test_verify_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
