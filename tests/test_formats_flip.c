/* A .pare file with any one byte changed, cut anywhere, or with bytes behind it is refused, and the
 * message names the header, the table, the section or the tensor to which the byte belongs.
 *
 * Proved on the models of a golden checkpoint, F32 and INT8, with tokenizer and self-test: every
 * byte of header, table and sections, and thousands of those of the tensors (PARE_TEST_LONG=1:
 * all). */
#include "tests/test_formats_common.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "convert/convert.h"
#include "core/random.h"
#include "formats/pare_file.h"
#include "formats/pare_format.h"
#include "quantize/quantize.h"

#define GOLDEN "tests/data/goldens/bert-cls/"

static char folder[512], f32_path[600], int8_path[600];

static void ok(PareStatus status, const PareError *err) {
    if (status != PARE_OK)
        fail_msg("%s", err->message);
}

static void copy_into_folder(const char *name) {
    char from[256], to[700];
    size_t size;
    snprintf(from, sizeof from, GOLDEN "%s", name);
    snprintf(to, sizeof to, "%s/%s", folder, name);
    uint8_t *bytes = read_file(from, &size);
    write_file(to, bytes, size);
    pare_free(bytes);
}

/* A word piece vocabulary that fits the checkpoint's 96 rows. */
static void write_vocabulary(void) {
    char path[700];
    PareBuffer b = {0};
    pare_buffer_puts(&b, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n");
    for (char c = 'a'; c <= 'z'; c++)
        pare_buffer_printf(&b, "%c\n##%c\n", c, c);
    snprintf(path, sizeof path, "%s/vocab.txt", folder);
    write_file(path, b.data, b.size);
    pare_buffer_free(&b);
}

static int make_models(void **state) {
    PareConvert *c;
    PareError err;
    PareQuantizeTotals totals;
    (void)state;
    snprintf(folder, sizeof folder, "%s", temporary("flip"));
    snprintf(f32_path, sizeof f32_path, "%s/f32.pare", folder);
    snprintf(int8_path, sizeof int8_path, "%s/int8.pare", folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    copy_into_folder("config.json");
    copy_into_folder("pytorch_model.bin");
    write_vocabulary();
    ok(pare_convert_open(&(PareConvertOptions){.folder = folder}, &c, &err), &err);
    ok(pare_convert_write(c, f32_path, false, NULL, &err), &err);
    pare_convert_close(c);
    PareQuantizeOptions o = {
        .input = f32_path, .output = int8_path, .to = PARE_I8, .self_test = true, .threads = 1};
    ok(pare_quantize(&o, &totals, &err), &err);
    return 0;
}

static int remove_models(void **state) {
    char command[600];
    (void)state;
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command);
}

/* ---- What lies where ---- */

typedef enum { HEADER, TABLE, SECTION, BLOB, PADDING } Kind;

/* A run of bytes and the words by which a change of one of them must be refused. */
typedef struct {
    uint64_t begin, end;
    Kind kind;
    char words[320];
} Part;

typedef struct {
    uint8_t *bytes;
    size_t size, count;
    Part parts[512];
} Image;

static void add_part(Image *m, uint64_t begin, uint64_t end, Kind kind, const char *before,
                     const char *name, const char *after) {
    if (begin == end)
        return;
    assert_true(m->count < sizeof m->parts / sizeof *m->parts);
    Part *p = &m->parts[m->count++];
    *p = (Part){.begin = begin, .end = end, .kind = kind};
    snprintf(p->words, sizeof p->words, "%s%s%s", before, name, after);
}

static void add_padding(Image *m, const char *name) {
    uint64_t begin = m->parts[m->count - 1].end;
    add_part(m, begin, pare_align64(begin), PADDING, "the padding behind ", name, " is not zero");
}

static void add_header(Image *m) {
    add_part(m, 0, PARE_HEADER_VERSION, HEADER, "not a .pare file", "", "");
    add_part(m, PARE_HEADER_VERSION, PARE_HEADER_OWN_SIZE, HEADER, "the file format has version",
             "", "");
    add_part(m, PARE_HEADER_OWN_SIZE, PARE_HEADER_REQUIRED, HEADER, "the header has ", "", "");
    add_part(m, PARE_HEADER_REQUIRED, PARE_HEADER_SIZE, HEADER,
             "the checksum of the header is wrong", "", "");
}

/* Read from the bytes themselves: together the parts are the whole file. */
static Image load(const char *path) {
    static const char *const kinds[] = {"", "metadata", "tokenizer", "self-test", "certificate"};
    Image m = {0};
    m.bytes = read_file(path, &m.size);
    size_t table = (size_t)pare_le64(m.bytes + PARE_HEADER_TABLE_OFFSET);
    size_t tensors = pare_le32(m.bytes + PARE_HEADER_TENSORS);
    const char *names =
        (const char *)m.bytes + m.size - pare_le64(m.bytes + PARE_HEADER_NAMES_SIZE);
    add_header(&m);
    for (size_t i = 0; i < tensors; i++) {
        const uint8_t *r = m.bytes + table + i * PARE_RECORD_SIZE;
        const char *name = names + pare_le32(r + PARE_RECORD_NAME);
        uint64_t at = pare_le64(r + PARE_RECORD_OFFSET);
        if (pare_le32(r + PARE_RECORD_ALIAS) != PARE_FILE_NO_ALIAS)
            continue;
        add_part(&m, at, at + pare_le64(r + PARE_RECORD_BYTES), BLOB, "the checksum of tensor '",
                 name, "' is wrong");
        add_padding(&m, name);
    }
    for (size_t i = 0; i < pare_le32(m.bytes + PARE_HEADER_SECTIONS); i++) {
        const uint8_t *r = m.bytes + table + tensors * PARE_RECORD_SIZE + i * PARE_SECTION_SIZE;
        const char *kind = kinds[pare_le32(r + PARE_SECTION_AT_KIND)];
        uint64_t at = pare_le64(r + PARE_SECTION_AT_OFFSET);
        add_part(&m, at, at + pare_le64(r + PARE_SECTION_AT_SIZE), SECTION, "the checksum of the ",
                 kind, " section");
        add_padding(&m, kind);
    }
    add_part(&m, table, m.size, TABLE, "the checksum of the table is wrong", "", "");
    for (size_t i = 0; i < m.count; i++)
        assert_int_equal(m.parts[i].begin, i == 0 ? 0 : m.parts[i - 1].end);
    assert_int_equal(m.parts[m.count - 1].end, m.size);
    return m;
}

static bool has_part(const Image *m, const char *words) {
    bool found = false;
    for (size_t i = 0; i < m->count; i++)
        found = found || strstr(m->parts[i].words, words) != NULL;
    return found;
}

/* ---- Flipping ---- */

/* What pare-info --verify does. */
static PareStatus open_and_verify(const char *path, bool *opened, PareError *err) {
    PareFile *f;
    *err = (PareError){PARE_OK, ""};
    PareStatus status = pare_file_open(path, &f, err);
    *opened = status == PARE_OK;
    if (status == PARE_OK)
        status = pare_file_verify(f, err);
    pare_file_close(f);
    return status;
}

/* Changes the byte in the file by `change`, expects the refusal, and restores it. */
static void flip(int fd, const char *path, const Image *m, const Part *p, uint64_t at,
                 uint8_t change) {
    PareError err;
    bool opened;
    uint8_t byte = m->bytes[at] ^ change;
    assert_int_equal(pwrite(fd, &byte, 1, (off_t)at), 1);
    if (open_and_verify(path, &opened, &err) == PARE_OK)
        fail_msg("a change of byte %llu by 0x%02x goes unnoticed; it is where '%s' is expected",
                 (unsigned long long)at, change, p->words);
    if (strstr(err.message, p->words) == NULL)
        fail_msg("byte %llu by 0x%02x: '%s' does not say '%s'", (unsigned long long)at, change,
                 err.message, p->words);
    assert_says(&err, path);
    /* Only what is read when it is used waits for verify. */
    assert_int_equal(opened, p->kind == BLOB || p->kind == PADDING);
    assert_int_equal(pwrite(fd, &m->bytes[at], 1, (off_t)at), 1);
}

/* All bytes but those of blobs; of a blob its first, its last, and every `step`-th. Returns how
 * many were changed. */
static size_t flip_all(const char *path, const Image *m, uint64_t step) {
    size_t count = 0;
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    for (size_t i = 0; i < m->count; i++) {
        const Part *p = &m->parts[i];
        uint64_t width = p->kind == BLOB ? step : 1;
        for (uint64_t at = p->begin; at < p->end; at += width) {
            /* somewhere in the next `width` bytes, but first at the very begin */
            uint64_t room = p->end - at < width ? p->end - at : width;
            uint64_t shift = at == p->begin ? 0 : pare_random_below(23, at, 0, room);
            flip(fd, path, m, p, at + shift, (uint8_t)(1u << at % 8));
            count++;
        }
        flip(fd, path, m, p, p->end - 1, 0xFF);
        count++;
    }
    close(fd);
    return count;
}

static void check_flips(const char *path) {
    bool opened;
    PareError err;
    Image m = load(path);
    uint64_t step = getenv("PARE_TEST_LONG") != NULL ? 1 : 23;
    size_t count = flip_all(path, &m, step);
    print_message("%zu bytes, %zu changes, each refused by name\n", m.size, count);
    assert_true(count > 3000);
    assert_int_equal(open_and_verify(path, &opened, &err), PARE_OK); /* restored */
    pare_free(m.bytes);
}

static void test_f32(void **state) {
    (void)state;
    Image m = load(f32_path);
    assert_true(has_part(&m, "metadata") && has_part(&m, "tokenizer"));
    pare_free(m.bytes);
    check_flips(f32_path);
}

static void test_int8(void **state) {
    (void)state;
    Image m = load(int8_path);
    assert_true(has_part(&m, "metadata") && has_part(&m, "tokenizer") && has_part(&m, "self-test"));
    pare_free(m.bytes);
    check_flips(int8_path);
}

/* Two bytes changed so that their sum stays: a checksum is no sum. */
static void test_swapped(void **state) {
    Image m = load(int8_path);
    const char *path = temporary("swapped.pare");
    PareError err;
    bool opened;
    (void)state;
    for (size_t i = 0; i < m.count; i++) {
        const Part *p = &m.parts[i];
        uint64_t at = p->begin;
        while (at + 1 < p->end && m.bytes[at] == m.bytes[at + 1])
            at++;
        if (at + 1 >= p->end)
            continue;
        uint8_t byte = m.bytes[at];
        m.bytes[at] = m.bytes[at + 1];
        m.bytes[at + 1] = byte;
        write_file(path, m.bytes, m.size);
        assert_int_not_equal(open_and_verify(path, &opened, &err), PARE_OK);
        assert_says(&err, p->words);
        m.bytes[at + 1] = m.bytes[at];
        m.bytes[at] = byte;
    }
    unlink(path);
    pare_free(m.bytes);
}

static void test_cut(void **state) {
    Image m = load(int8_path);
    const char *path = temporary("cut.pare");
    PareError err;
    bool opened;
    (void)state;
    for (size_t i = 0; i <= 40 + m.count; i++) {
        size_t length = i <= 40 ? (m.size - 1) * i / 40 : (size_t)m.parts[i - 41].begin;
        write_file(path, m.bytes, length);
        assert_int_not_equal(open_and_verify(path, &opened, &err), PARE_OK);
        assert_false(opened);
        assert_says(&err, length == 0                     ? "the file is empty"
                          : length < PARE_FILE_MAGIC_SIZE ? "not a .pare file"
                                                          : "truncated");
    }
    unlink(path);
    pare_free(m.bytes);
}

static void test_appended(void **state) {
    static const size_t sizes[] = {1, 2, 63, 64, 4096};
    Image m = load(f32_path);
    const char *path = temporary("long.pare");
    uint8_t *longer = pare_alloc(m.size + 4096, 1);
    PareError err;
    bool opened;
    (void)state;
    memcpy(longer, m.bytes, m.size);
    for (size_t i = 0; i < 2 * sizeof sizes / sizeof *sizes; i++) {
        memset(longer + m.size, i % 2 ? 'x' : 0, 4096);
        write_file(path, longer, m.size + sizes[i / 2]);
        assert_int_not_equal(open_and_verify(path, &opened, &err), PARE_OK);
        assert_false(opened);
        assert_says(&err, "trailing bytes: it has ");
    }
    unlink(path);
    pare_free(longer);
    pare_free(m.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_f32), cmocka_unit_test(test_int8),     cmocka_unit_test(test_swapped),
        cmocka_unit_test(test_cut), cmocka_unit_test(test_appended),
    };
    return cmocka_run_group_tests(tests, make_models, remove_models);
}
