/* .pare files. Every byte is covered by a checksum, so a mutation makes them right again: otherwise
 * nothing behind the first check would ever be reached. */
#include <string.h>

#include "core/hash.h"
#include "core/memory.h"
#include "formats/pare_file.h"
#include "runtime/session.h"
#include "tests/fuzz/fuzz.h"

const char *const fuzz_corpora[] = {"tests/fuzz/seeds/pare", "tests/fuzz/crashes/pare", NULL};

enum {
    HEADER = 128,
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
    READ_BYTES = 1 << 22
};

static void read_tensors(const PareFile *f) {
    for (size_t i = 0; i < pare_file_count(f); i++) {
        const PareFileTensor *t = pare_file_tensor(f, i);
        uint64_t elements = 1;
        for (uint32_t d = 0; d < t->dims; d++)
            elements *= t->shape[d];
        float *values =
            elements <= READ_BYTES ? pare_alloc((size_t)elements, sizeof *values) : NULL;
        if (values)
            pare_file_read_f32(t, values);
        pare_free(values);
    }
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

/* A model that opens must run. */
static void run_model(const char *path) {
    static const int32_t IDS[] = {1, 0};
    PareError err = {0};
    PareModel *m = NULL;
    PareSession *s = NULL;
    if (pare_model_open(path, &m, &err) != PARE_OK)
        return;
    PareSequence q = {.ids = IDS, .count = 2, .decoder_ids = IDS, .decoder_count = 2};
    if (pare_session_create(m, 1, &s, &err) == PARE_OK)
        pare_session_run(s, &q, 1, PARE_ROWS_LOGITS, ignore, NULL, &err);
    pare_session_destroy(s);
    pare_model_close(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    PareError err = {0};
    PareFile *f = NULL;
    const char *path = fuzz_file(data, size);
    if (pare_file_open(path, &f, &err) != PARE_OK)
        return 0;
    read_tensors(f);
    pare_file_verify(f, &err);
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

/* Mostly the table and the sections, which say what the rest is. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
    uint64_t table = size >= HEADER ? get(data + HEADER_TABLE, 8) : size;
    if (seed % 4 && table < size) {
        size_t begin = seed % 4 == 1 ? (size_t)table : (size_t)table - (size_t)table / 4;
        LLVMFuzzerMutate(data + begin, size - begin, size - begin);
    } else {
        size = LLVMFuzzerMutate(data, size, max);
    }
    if (seed % 16)
        fix_checksums(data, size);
    return size;
}
