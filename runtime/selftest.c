/* Creating and replaying the self-test section. */
#include "runtime/selftest.h"

#include <stdio.h>
#include <string.h>

#include "core/hash.h"
#include "core/random.h"
#include "runtime/session.h"

enum { SEQUENCES = 4, MAX_LENGTH = 24, SEED = 2026 };
static const size_t LENGTHS[SEQUENCES] = {1, 5, 17, MAX_LENGTH};

bool pare_selftest_applies(const PareModel *m) {
    const PareSlots *slots = pare_model_slots(m);
    for (size_t i = 0; i < slots->count; i++) {
        const PareSlot *s = &slots->items[i];
        bool matrix = s->role == PARE_ROLE_MATRIX || s->role == PARE_ROLE_EMBEDDING;
        if (matrix && pare_file_find(pare_model_file(m), s->name)->dtype == PARE_F32)
            return false;
    }
    return pare_model_description(m)->head.kind != PARE_HEAD_NONE;
}

/* XXH64 over the logits rows of every sequence. */
typedef struct {
    PareXxh64 *sums[SEQUENCES];
} Sums;

static PareStatus add_row(void *context, size_t sequence, size_t row, const float *values, size_t n,
                          PareError *err) {
    Sums *s = context;
    (void)row, (void)err;
    pare_xxh64_update(s->sums[sequence], values, n * sizeof *values);
    return PARE_OK;
}

/* Runs the sequences and gives each one's checksum. */
static PareStatus checksums(const PareModel *m, size_t threads, const PareSequence *q, size_t count,
                            uint64_t *out, PareError *err) {
    Sums sums = {{0}};
    PareSession *s = NULL;
    PareStatus st = pare_session_create(m, threads, &s, err);
    for (size_t i = 0; i < count && !st; i++)
        if (!(sums.sums[i] = pare_xxh64_create()))
            st = pare_memory_error(err, "a checksum");
    if (!st)
        st = pare_session_run(s, q, count, PARE_ROWS_LOGITS, add_row, &sums, err);
    for (size_t i = 0; i < count; i++) {
        if (!st)
            out[i] = pare_xxh64_digest(sums.sums[i]);
        pare_xxh64_destroy(sums.sums[i]);
    }
    pare_session_destroy(s);
    return st;
}

static void put_ids(PareBuffer *out, const char *key, const int32_t *ids, size_t count) {
    pare_buffer_printf(out, "\"%s\":[", key);
    for (size_t i = 0; i < count; i++)
        pare_buffer_printf(out, "%s%d", i ? "," : "", ids[i]);
    pare_buffer_puts(out, "],");
}

static size_t fill(int32_t *ids, size_t length, uint64_t stream, const PareStack *stack) {
    if (stack->position == PARE_POSITION_TABLE && stack->positions < length)
        length = stack->positions;
    for (size_t i = 0; i < length; i++)
        ids[i] = (int32_t)pare_random_below(SEED, stream, i, stack->vocabulary);
    return length;
}

PareStatus pare_selftest_create(const PareModel *m, size_t threads, PareBuffer *out,
                                PareError *err) {
    const PareDescription *d = pare_model_description(m);
    int32_t ids[SEQUENCES][MAX_LENGTH], decoder_ids[SEQUENCES][MAX_LENGTH];
    PareSequence q[SEQUENCES] = {{0}};
    uint64_t sums[SEQUENCES];
    bool both = d->stacks[PARE_ENCODER].present && d->stacks[PARE_DECODER].present;
    const PareStack *first =
        &d->stacks[d->stacks[PARE_ENCODER].present ? PARE_ENCODER : PARE_DECODER];
    for (size_t i = 0; i < SEQUENCES; i++) {
        q[i].ids = ids[i];
        q[i].count = fill(ids[i], LENGTHS[i], 2 * i, first);
        if (!both)
            continue;
        q[i].decoder_ids = decoder_ids[i];
        q[i].decoder_count =
            fill(decoder_ids[i], LENGTHS[SEQUENCES - 1 - i], 2 * i + 1, &d->stacks[PARE_DECODER]);
    }
    PareStatus st = checksums(m, threads, q, SEQUENCES, sums, err);
    if (st)
        return st;
    pare_buffer_puts(out, "{\"sequences\":[");
    for (size_t i = 0; i < SEQUENCES; i++) {
        pare_buffer_puts(out, i ? ",{" : "{");
        put_ids(out, "input_ids", q[i].ids, q[i].count);
        if (both)
            put_ids(out, "decoder_input_ids", q[i].decoder_ids, q[i].decoder_count);
        pare_buffer_printf(out, "\"logits_xxh64\":\"%016llx\"}", (unsigned long long)sums[i]);
    }
    pare_buffer_puts(out, "]}");
    return pare_buffer_ok(out, "the self-test", err);
}

/* -- replaying -- */

static PareStatus malformed(const PareModel *m, PareError *err) {
    return pare_error_set(err, PARE_E_FORMAT, "%s: the self-test section is malformed",
                          pare_file_path(pare_model_file(m)));
}

/* A list of at most MAX_LENGTH ids; false when it is not one. */
static bool read_ids(const PareJson *list, int32_t *ids, size_t *count) {
    *count = pare_json_size(list);
    if (!pare_json_is_array(list) || *count > MAX_LENGTH)
        return false;
    for (const PareJson *n = pare_json_first(list); n; n = pare_json_next(n)) {
        if (!pare_json_is_integer(n) || pare_json_integer(n) < 0 ||
            pare_json_integer(n) > INT32_MAX)
            return false;
        *ids++ = (int32_t)pare_json_integer(n);
    }
    return true;
}

static PareStatus replay(const PareModel *m, size_t threads, const PareJson *list,
                         PareSelfTestReport *report, PareError *err) {
    for (const PareJson *n = pare_json_first(list); n; n = pare_json_next(n)) {
        int32_t ids[MAX_LENGTH], decoder_ids[MAX_LENGTH];
        PareSequence q = {.ids = ids, .decoder_ids = decoder_ids};
        const PareJson *decoder = pare_json_get(n, "decoder_input_ids");
        const PareJson *sum = pare_json_get(n, "logits_xxh64");
        char found[17];
        uint64_t digest;
        if (!read_ids(pare_json_get(n, "input_ids"), ids, &q.count) ||
            (decoder && !read_ids(decoder, decoder_ids, &q.decoder_count)) ||
            !pare_json_is_string(sum))
            return malformed(m, err);
        PareStatus st = checksums(m, threads, &q, 1, &digest, err);
        if (st)
            return st;
        snprintf(found, sizeof found, "%016llx", (unsigned long long)digest);
        report->sequences++;
        report->failed += strcmp(found, pare_json_string(sum)) != 0;
    }
    return report->sequences ? PARE_OK : malformed(m, err);
}

PareStatus pare_selftest_run(const PareModel *m, size_t threads, PareSelfTestReport *out,
                             PareError *err) {
    const PareFile *f = pare_model_file(m);
    const void *bytes;
    size_t size;
    PareJsonDoc *doc = NULL;
    *out = (PareSelfTestReport){0};
    if (!pare_file_section(f, PARE_SECTION_SELFTEST, &bytes, &size))
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: has no self-test; pare-quantize writes one, and F32 models have "
                              "none since their last bits depend on BLAS",
                              pare_file_path(f));
    PareStatus st = pare_json_parse(bytes, size, pare_file_path(f), &doc, err);
    if (!st)
        st = replay(m, threads, pare_json_get(pare_json_root(doc), "sequences"), out, err);
    pare_json_free(doc);
    return st;
}
