/* .pare files. Every byte is covered by a checksum, so a mutation makes them right again: otherwise
 * nothing behind the first check would ever be reached. */
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"
#include "formats/pare_file.h"
#include "runtime/selftest.h"
#include "runtime/session.h"
#include "tests/fuzz/fuzz.h"
#include "text/tokenizer.h"

const char *const fuzz_corpora[] = {"tests/fuzz/seeds/pare", "tests/fuzz/crashes/pare", NULL};

enum {
    HEADER = 128,
    HEADER_FILE_SIZE = 24,
    HEADER_TABLE = 32,
    HEADER_TABLE_SIZE = 40,
    HEADER_TABLE_SUM = 48,
    HEADER_TENSORS = 56,
    HEADER_SECTIONS = 60,
    HEADER_SUM = 120,
    RECORD = 128,
    RECORD_SUM = 16,
    SECTION = 32,
    SECTION_OFFSET = 8,
    SECTION_SUM = 24,
    READ_ELEMENTS = 1 << 20,
    SECTIONS_MAX = 8,
    CONTENT_MAX = 1 << 16,
    FILE_MAX = 1 << 17
};

static void read_tensors(const PareFile *f) {
    for (size_t i = 0; i < pare_file_count(f); i++) {
        const PareFileTensor *t = pare_file_tensor(f, i);
        uint64_t elements = 1;
        for (uint32_t d = 0; d < t->dims; d++)
            elements *= t->shape[d]; /* at most 2^40: opening has checked that */
        float *values =
            elements <= READ_ELEMENTS ? pare_alloc((size_t)elements, sizeof *values) : NULL;
        if (values)
            pare_file_read_f32(t, values);
        pare_free(values);
    }
}

static void read_tokenizer(const PareFile *f) {
    PareError err = {0};
    PareTokenizer *t = NULL;
    const void *bytes;
    size_t size;
    if (pare_file_section(f, PARE_SECTION_TOKENIZER, &bytes, &size))
        fuzz_check_error(pare_tokenizer_from_bytes(bytes, size, "input", &t, &err), &err);
    pare_tokenizer_free(t);
}

static PareStatus ignore(void *context, size_t sequence, size_t row, const float *values, size_t n,
                         PareError *err) {
    (void)context;
    (void)sequence;
    (void)row;
    (void)values;
    (void)n;
    (void)err;
    return PARE_OK;
}

/* A few ids with the file's own settings. */
static void generate(PareSession *s, const PareSequence *q) {
    PareError err = {0};
    PareGenerated out;
    PareGeneration g = *pare_model_generation(pare_session_model(s));
    g.max_new_tokens = 4;
    g.num_beams = g.num_beams > 4 ? 4 : g.num_beams;
    fuzz_check_error(pare_session_generate(s, q, 1, &g, &out, &err), &err);
}

/* A model that opens must run. */
static void run_model(const char *path) {
    static const int32_t IDS[] = {1, 0};
    PareError err = {0};
    PareModel *m = NULL;
    PareSelfTestReport report;
    PareSession *s = NULL;
    PareStatus status = pare_model_open(path, &m, &err);
    fuzz_check_named(status, &err, path);
    if (status != PARE_OK)
        return;
    PareSequence q = {.ids = IDS, .count = 2};
    const PareDescription *d = pare_model_description(m);
    if (d->stacks[PARE_ENCODER].present && d->stacks[PARE_DECODER].present) {
        q.decoder_ids = IDS;
        q.decoder_count = 2;
    }
    status = pare_session_create(m, 1, &s, &err);
    if (status == PARE_OK)
        status = pare_session_check(s, &q, "input", &err);
    if (status == PARE_OK) {
        status = pare_session_run(s, &q, 1, PARE_ROWS_LOGITS, ignore, NULL, &err);
        fuzz_check_error(status, &err);
        if (d->head.kind == PARE_HEAD_LM)
            generate(s, &q);
    } else {
        fuzz_check_error(status, &err);
    }
    if (pare_selftest_applies(m))
        fuzz_check_error(pare_selftest_run(m, 1, &report, &err), &err);
    pare_session_destroy(s);
    pare_model_close(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    PareError err = {0};
    PareFile *f = NULL;
    const char *path = fuzz_file(data, size);
    PareStatus status = pare_file_open(path, &f, &err);
    fuzz_check_named(status, &err, path);
    if (status != PARE_OK)
        return 0;
    read_tensors(f);
    fuzz_check_named(pare_file_verify(f, &err), &err, path);
    read_tokenizer(f);
    pare_file_close(f);
    run_model(path);
    return 0;
}

static uint64_t get(const uint8_t *at, int bytes) {
    uint64_t v = 0;
    for (int i = bytes; i-- > 0;)
        v = v << 8 | at[i];
    return v;
}

static void put(uint8_t *at, uint64_t v) {
    for (int i = 0; i < 8; i++)
        at[i] = (uint8_t)(v >> 8 * i);
}

/* Checksums of the ranges that tensor and section records name, where they lie inside. */
static void fix_records(uint8_t *data, size_t size, uint8_t *at, uint64_t count, size_t step,
                        size_t offset, size_t sum) {
    for (uint64_t i = 0; i < count; i++, at += step) {
        uint64_t begin = get(at + offset, 8), length = get(at + offset + 8, 8);
        if (begin <= size && length <= size - begin)
            put(at + sum, pare_hash_xxh64(data + begin, (size_t)length));
    }
}

static void fix_checksums(uint8_t *data, size_t size) {
    if (size < HEADER)
        return;
    uint64_t table = get(data + HEADER_TABLE, 8), length = get(data + HEADER_TABLE_SIZE, 8);
    uint64_t tensors = get(data + HEADER_TENSORS, 4), sections = get(data + HEADER_SECTIONS, 4);
    if (table <= size && length <= size - table &&
        tensors * RECORD + sections * SECTION <= length) {
        uint8_t *at = data + table;
        fix_records(data, size, at, tensors, RECORD, 0, RECORD_SUM);
        fix_records(data, size, at + tensors * RECORD, sections, SECTION, SECTION_OFFSET,
                    SECTION_SUM);
        put(data + HEADER_TABLE_SUM, pare_hash_xxh64(at, (size_t)length));
    }
    put(data + HEADER_SUM, pare_hash_xxh64(data, HEADER_SUM));
}

static size_t align64(size_t at) {
    return (at + 63) & ~(size_t)63;
}

/* The sections of a file whose records make sense. */
typedef struct {
    uint64_t table, records, count; /* `records`: where the section records begin */
} Sections;

static bool find_sections(const uint8_t *data, size_t size, Sections *s) {
    s->table = get(data + HEADER_TABLE, 8);
    s->records = s->table + get(data + HEADER_TENSORS, 4) * RECORD;
    s->count = get(data + HEADER_SECTIONS, 4);
    if (s->count == 0 || s->count > SECTIONS_MAX || s->table > size || s->records > size ||
        s->count * SECTION > size - s->records)
        return false;
    for (uint64_t i = 0; i < s->count; i++) {
        const uint8_t *r = data + s->records + i * SECTION + SECTION_OFFSET;
        if (get(r, 8) > s->table || get(r + 8, 8) > s->table - get(r, 8) ||
            get(r + 8, 8) > CONTENT_MAX / 2)
            return false;
    }
    return true;
}

/* The file with other bytes in its n-th section, whose size may change: what lies behind is moved
 * and the table follows. 0 when the file is not whole, or becomes too large. */
static size_t rebuild(uint8_t *data, size_t size, unsigned n, uint8_t *out, size_t max) {
    static uint8_t content[CONTENT_MAX];
    Sections s;
    if (!find_sections(data, size, &s))
        return 0;
    size_t at = (size_t)get(data + s.records + SECTION_OFFSET, 8);
    if (at > max)
        return 0;
    memcpy(out, data, at);
    for (uint64_t i = 0; i < s.count; i++) {
        uint8_t *r = data + s.records + i * SECTION + SECTION_OFFSET;
        size_t length = (size_t)get(r + 8, 8);
        memcpy(content, data + get(r, 8), length);
        if (i == n % s.count)
            length = LLVMFuzzerMutate(content, length, CONTENT_MAX);
        size_t end = align64(at + length);
        if (end > max)
            return 0;
        memcpy(out + at, content, length);
        memset(out + at + length, 0, end - at - length);
        put(r, at);
        put(r + 8, length);
        at = end;
    }
    size_t table_size = size - (size_t)s.table;
    if (table_size > max - at)
        return 0;
    memcpy(out + at, data + s.table, table_size);
    put(out + HEADER_TABLE, at);
    put(out + HEADER_FILE_SIZE, at + table_size);
    return at + table_size;
}

/* The sections and the table say what the rest is: mostly these are changed. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
    static uint8_t built[FILE_MAX];
    uint64_t table = size >= HEADER ? get(data + HEADER_TABLE, 8) : size;
    size_t other = 0;
    if (seed % 4 < 2 && size >= HEADER)
        other = rebuild(data, size, seed / 4, built, max < FILE_MAX ? max : FILE_MAX);
    if (other > 0) {
        memcpy(data, built, other);
        size = other;
    } else if (seed % 4 == 2 && table < size) {
        LLVMFuzzerMutate(data + table, size - (size_t)table, size - (size_t)table);
    } else {
        size = LLVMFuzzerMutate(data, size, max);
    }
    if (seed % 16)
        fix_checksums(data, size);
    return size;
}
