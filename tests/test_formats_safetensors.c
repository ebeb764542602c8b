/* safetensors, rule by rule of its format: what it allows is read, and everything else is refused
 * in one sentence. */
#include "tests/test_formats_corpus.h"

#define ENTRY(dtype, shape, begin, end)                                                            \
    "{\"dtype\":\"" dtype "\",\"shape\":[" shape "],\"data_offsets\":[" begin "," end "]}"
#define ONE(dtype, shape, begin, end) "{\"a\":" ENTRY(dtype, shape, begin, end) "}"
#define TWO(first, second) "{\"a\":" first ",\"b\":" second "}"
#define F32_AT_0 ENTRY("F32", "1", "0", "4")

/* A file of this header, whose length is stated as `length`, and `data` bytes 0, 1, 2, … */
static const char *write_stated(uint64_t length, const char *header, size_t data) {
    const char *path = temporary("model.safetensors");
    PareBuffer b = {0};
    pare_buffer_put_u64(&b, length);
    pare_buffer_puts(&b, header);
    for (size_t i = 0; i < data; i++)
        pare_buffer_put_u8(&b, (uint8_t)i);
    write_file(path, b.data, b.size);
    pare_buffer_free(&b);
    return path;
}

static const char *write_header(const char *header, size_t data) {
    return write_stated(strlen(header), header, data);
}

static void refuse_file(const char *path, const char *wanted) {
    PareCheckpoint *c;
    PareError err = {PARE_OK, ""};
    if (pare_checkpoint_open(path, NULL, &c, &err) == PARE_OK)
        fail_msg("not refused; wanted '%s'", wanted);
    assert_null(c);
    assert_says(&err, wanted);
    assert_says(&err, path);
    unlink(path);
}

static void refuse(const char *header, size_t data, const char *wanted) {
    refuse_file(write_header(header, data), wanted);
}

/* Opens, expects so many tensors; the caller closes. */
static PareCheckpoint *accept(const char *header, size_t data, size_t tensors) {
    PareCheckpoint *c;
    PareError err;
    const char *path = write_header(header, data);
    if (pare_checkpoint_open(path, NULL, &c, &err) != PARE_OK)
        fail_msg("%s", err.message);
    unlink(path);
    assert_int_equal(pare_checkpoint_count(c), tensors);
    return c;
}

static void accept_only(const char *header, size_t data, size_t tensors) {
    pare_checkpoint_close(accept(header, data, tensors));
}

static void test_header_length(void **state) {
    (void)state;
    refuse_file(write_stated(100000001, "{\"a\":", 0), "is 100000001 bytes; at most 100000000");
    refuse_file(write_stated(UINT64_MAX, "{\"a\":", 0), "at most 100000000 are allowed");
    refuse_file(write_stated((uint64_t)1 << 63, "{\"a\":", 0), "at most 100000000 are allowed");
    refuse_file(write_stated(100000000, "{}", 0), "impossible in a file of 10; the download may");
    refuse_file(write_stated(3, "{}", 0), "length of 3 bytes is impossible");
    refuse_file(write_stated(1, "{}", 0), "invalid JSON");
    refuse_file(write_stated(0, "{}", 0), "does not begin with '{'");
    accept_only("{}", 0, 0);
}

static void test_header_text(void **state) {
    (void)state;
    accept_only("{\"a\":" F32_AT_0 "}       ", 4, 1); /* padded for alignment */
    refuse(" {\"a\":" F32_AT_0 "}", 4, "does not begin with '{'");
    refuse("{\"a\":" F32_AT_0 "} x", 4, "something follows the end");
    refuse("{\"a\":" F32_AT_0, 4, "invalid JSON");
    refuse("{\"a\":" F32_AT_0 ",\"a\":" F32_AT_0 "}", 4, "the key \"a\" appears twice");
    refuse("{\"a\":" F32_AT_0 ",\"\\u0061\":" F32_AT_0 "}", 4, "appears twice");
    refuse("{\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4,
           "the key \"dtype\" appears twice");
    refuse("{\"\":" F32_AT_0 "}", 4, "tensor '' is empty");
    refuse("{\"a\\n\":" F32_AT_0 "}", 4, "control character");
    refuse("{\"\xff\":" F32_AT_0 "}", 4, "invalid UTF-8");
}

static void test_metadata(void **state) {
    (void)state;
    accept_only("{\"__metadata__\":{\"format\":\"pt\",\"x\":\"1.5e3\"},\"a\":" F32_AT_0 "}", 4, 1);
    accept_only("{\"a\":" F32_AT_0 ",\"__metadata__\":{}}", 4, 1);
    accept_only("{\"__metadata__\":null,\"a\":" F32_AT_0 "}", 4, 1);
    accept_only("{\"__metadata__\":{\"a\":\"b\"}}", 0, 0);
    refuse("{\"__metadata__\":{\"a\":1}}", 0, "__metadata__ is not a map from text to text");
    refuse("{\"__metadata__\":{\"a\":null}}", 0, "__metadata__ is not a map");
    refuse("{\"__metadata__\":[]}", 0, "__metadata__ is not a map");
    refuse("{\"__metadata__\":\"a\"}", 0, "__metadata__ is not a map");
    refuse("{\"__metadata__\":{},\"__metadata__\":{}}", 0, "appears twice");
}

static void test_entries(void **state) {
    static const char three[] = "is not described by dtype, shape and data_offsets";
    (void)state;
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4, three);
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1}}", 4, three);
    refuse("{\"a\":[]}", 0, three);
    refuse("{\"a\":null}", 0, three);
    refuse("{\"a\":1}", 0, three);
    refuse("{\"a\":{\"dtype\":1,\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "has no dtype");
    refuse("{\"a\":{\"Dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "has no dtype");
    refuse(ONE("X9", "1", "0", "4"), 4, "unknown dtype 'X9'");
    refuse(ONE("f32", "1", "0", "4"), 4, "unknown dtype 'f32'");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":1,\"data_offsets\":[0,4]}}", 4, "eight sizes");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":4}}", 4, "two positions");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4]}}", 4, "two positions");
    refuse("{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,2,4]}}", 4,
           "two positions");
}

static void test_numbers(void **state) {
    static const char sizes[] = "a list of up to eight sizes", whole[] = "not written as a whole";
    (void)state;
    refuse(ONE("F32", "-1", "0", "4"), 4, sizes);
    refuse(ONE("F32", "1.5", "0", "6"), 6, sizes);
    refuse(ONE("F32", "\"1\"", "0", "4"), 4, sizes);
    refuse(ONE("F32", "true", "0", "4"), 4, sizes);
    refuse(ONE("F32", "1,1,1,1,1,1,1,1,1", "0", "4"), 4, sizes);
    refuse(ONE("F32", "9223372036854775808", "0", "4"), 4, sizes);
    refuse(ONE("F32", "9223372036854775807", "0", "4"), 4, "beyond 2^53");
    refuse(ONE("F32", "1", "0", "18446744073709551616"), 4, "two positions");
    refuse(ONE("F32", "1", "-4", "0"), 4, "two positions");
    refuse(ONE("F32", "1.0", "0", "4"), 4, whole);
    refuse(ONE("F32", "1", "0.0", "4"), 4, whole);
    refuse(ONE("F32", "1", "-0", "4"), 4, whole);
    refuse(ONE("F32", "1", "0", "4e0"), 4, whole);
    refuse(ONE("F32", "1", "0", "0.4e1"), 4, whole);
    refuse(ONE("F32", "01", "0", "4"), 4, "begins with a zero");
    refuse(ONE("F32", "NaN", "0", "4"), 4, "invalid JSON");
    accept_only(ONE("F32", "1,1,1,1,1,1,1,1", "0", "4"), 4, 1);
}

static void test_sizes(void **state) {
    (void)state;
    refuse(ONE("F32", "2", "0", "4"), 4, "'a' of F32 [2] has 4 bytes; 8 were expected");
    refuse(ONE("F32", "", "0", "8"), 8, "'a' of F32 [] has 8 bytes; 4 were expected");
    refuse(ONE("F32", "0", "0", "4"), 4, "has 4 bytes; 0 were expected");
    refuse(ONE("F32", "4294967296,4294967296,4", "0", "4"), 4, "larger than memory");
    refuse(ONE("F64", "9007199254740992,256", "0", "0"), 0, "larger than memory");
    refuse(ONE("F4", "3", "0", "2"), 2, "ends inside of a byte");
    refuse(ONE("F6_E2M3", "2", "0", "2"), 2, "ends inside of a byte");
    accept_only(ONE("F32", "", "0", "4"), 4, 1);      /* a scalar */
    accept_only(ONE("F32", "9,0,9", "0", "0"), 0, 1); /* no elements */
    accept_only(ONE("F32", "4294967296,4294967296,0", "0", "0"), 0, 1);
}

/* The ranges cover the buffer exactly, in any order, with empty ones anywhere between. */
static void test_tiling(void **state) {
    (void)state;
    refuse(ONE("F32", "2", "0", "8"), 7,
           "ends at byte 8 of the tensors, of which the file has only "
           "7; the download may be incomplete");
    refuse(ONE("F32", "2", "0", "8"), 9, "the tensors end at byte 8, but 9 bytes are there");
    refuse("{}", 1, "the tensors end at byte 0, but 1 bytes are there");
    refuse(ONE("F32", "1", "4", "8"), 8,
           "'a' begins at byte 4, but the tensors before it end at 0");
    refuse(ONE("F32", "1", "4", "0"), 8, "end before they begin");
    refuse(TWO(F32_AT_0, ENTRY("F32", "1", "5", "9")), 9, "'b' begins at byte 5, but the tensors");
    refuse(TWO(F32_AT_0, ENTRY("F32", "1", "2", "6")), 6,
           "'b' begins at byte 2, inside of another");
    refuse(TWO(F32_AT_0, F32_AT_0), 4, "begins at byte 0, inside of another");
    refuse(TWO(ENTRY("F32", "1", "2", "6"), F32_AT_0), 6,
           "'a' begins at byte 2, inside of another");
    refuse(TWO(ENTRY("F32", "2", "0", "8"), ENTRY("F32", "0", "4", "4")), 8,
           "'b' begins at byte 4");
    accept_only(TWO(ENTRY("F32", "1", "4", "8"), F32_AT_0), 8, 2);
    accept_only(TWO(ENTRY("F32", "0", "4", "4"), F32_AT_0), 4, 2);
    accept_only(TWO(ENTRY("F32", "0", "0", "0"), F32_AT_0), 4, 2);
}

/* Every dtype of the format is listed with its name; one that we cannot hold fails when read. */
static void test_dtypes(void **state) {
    static const struct {
        const char *name, *shape;
        unsigned bytes;
        bool read;
    } dtypes[] = {
        {"BOOL", "3", 3, true},     {"U8", "3", 3, true},       {"I8", "3", 3, true},
        {"I16", "3", 6, true},      {"F16", "3", 6, true},      {"BF16", "3", 6, true},
        {"I32", "3", 12, true},     {"F32", "3", 12, true},     {"I64", "3", 24, true},
        {"F64", "3", 24, true},     {"U16", "3", 6, false},     {"U32", "3", 12, false},
        {"U64", "3", 24, false},    {"F8_E4M3", "3", 3, false}, {"F8_E5M2", "3", 3, false},
        {"F8_E8M0", "3", 3, false}, {"C64", "3", 24, false},    {"F4", "6", 3, false},
        {"F6_E2M3", "4", 3, false}, {"F6_E3M2", "4", 3, false}};
    float values[6];
    PareError err;
    (void)state;
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        char header[200], wanted[64];
        snprintf(header, sizeof header,
                 "{\"a\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[0,%u]}}",
                 dtypes[i].name, dtypes[i].shape, dtypes[i].bytes);
        PareCheckpoint *c = accept(header, dtypes[i].bytes, 1);
        const PareCheckpointTensor *t = pare_checkpoint_tensor(c, 0);
        assert_string_equal(pare_checkpoint_dtype_name(t), dtypes[i].name);
        assert_int_equal(t->foreign_dtype == NULL, dtypes[i].read);
        assert_int_equal(t->type.dtype == PARE_DTYPE_COUNT, !dtypes[i].read);
        PareStatus status = pare_checkpoint_read_f32(c, t, values, &err);
        assert_int_equal(status, dtypes[i].read ? PARE_OK : PARE_E_UNSUPPORTED);
        snprintf(wanted, sizeof wanted, "'a' has dtype %s, which", dtypes[i].name);
        if (!dtypes[i].read)
            assert_says(&err, wanted);
        pare_checkpoint_close(c);
    }
}

/* Little-endian, row-major, at any alignment; offsets count from the end of the header. */
static void test_values(void **state) {
    PareCheckpoint *c = accept(
        "{\"b\":" ENTRY("I16", "2,2", "1", "9") ",\"a\":" ENTRY("U8", "1", "0", "1") "}   ", 9, 2);
    float values[4];
    PareError err;
    (void)state;
    const PareCheckpointTensor *t = pare_checkpoint_find(c, "b");
    assert_ptr_equal(t, pare_checkpoint_tensor(c, 0)); /* in the order of the header */
    assert_int_equal(pare_checkpoint_read_f32(c, t, values, &err), PARE_OK);
    for (unsigned i = 0; i < 4; i++)
        assert_true(values[i] == (float)(1 + 2 * i + 256 * (2 + 2 * i)));
    pare_checkpoint_close(c);
}

/* There is nothing in which a root could be; it is not passed over. */
static void test_root(void **state) {
    PareCheckpoint *c;
    PareError err;
    const char *path = write_header("{\"a\":" F32_AT_0 "}", 4);
    (void)state;
    assert_int_equal(pare_checkpoint_open(path, "model", &c, &err), PARE_E_UNSUPPORTED);
    assert_says(&err, "--root does not apply");
    unlink(path);
}

static void test_corpus(void **state) {
    (void)state;
    assert_in_range(corpus_replay(CORPUS "safetensors/"), 50, 1000);
}

static void test_damage(void **state) {
    static const char *const names[] = {"every", "empty-tensors", "backwards", "escaped-name"};
    (void)state;
    corpus_damage_files(CORPUS "safetensors/", names, sizeof names / sizeof *names);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header_length), cmocka_unit_test(test_header_text),
        cmocka_unit_test(test_metadata),      cmocka_unit_test(test_entries),
        cmocka_unit_test(test_numbers),       cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_tiling),        cmocka_unit_test(test_dtypes),
        cmocka_unit_test(test_values),        cmocka_unit_test(test_corpus),
        cmocka_unit_test(test_damage),        cmocka_unit_test(test_root),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
