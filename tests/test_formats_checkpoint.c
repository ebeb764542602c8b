/* Checkpoints that PyTorch wrote, against what PyTorch reads from them (tests/data/formats). */
#include "tests/test_formats_common.h"

#include "formats/checkpoint.h"

/* What a stream of a tensor's elements brings. */
typedef struct {
    const float *wanted;
    size_t count, pieces, refuse_after;
} Taken;

static PareStatus take(void *context, const float *values, size_t count, PareError *err) {
    Taken *t = context;
    assert_in_range(count, 1, PARE_STREAM_ELEMENTS);
    assert_memory_equal(values, t->wanted + t->count, count * sizeof *values);
    t->count += count;
    return ++t->pieces == t->refuse_after ? pare_error_set(err, PARE_E_IO, "no more") : PARE_OK;
}

/* All of it, and a part from the middle. */
static void check_stream(PareCheckpoint *c, const PareCheckpointTensor *t, const float *values,
                         size_t count) {
    PareError err = {0};
    Taken all = {.wanted = values}, part = {.wanted = values + count / 3};
    assert_int_equal(pare_checkpoint_stream_f32(c, t, 0, count, take, &all, &err), PARE_OK);
    assert_int_equal(all.count, count);
    assert_int_equal(pare_checkpoint_stream_f32(c, t, count / 3, count / 2, take, &part, &err),
                     PARE_OK);
    assert_int_equal(part.count, count / 2);
}

/* Every tensor of a checkpoint as lines; raw bytes are compared with float32 on the way. */
static void list_checkpoint(const char *path, const char *format, PareBuffer *out) {
    PareCheckpoint *c;
    PareError err;
    if (pare_checkpoint_open(path, NULL, &c, &err) != PARE_OK)
        fail_msg("%s", err.message);
    assert_string_equal(pare_checkpoint_format(c), format);
    for (size_t i = 0; i < pare_checkpoint_count(c); i++) {
        const PareCheckpointTensor *t = pare_checkpoint_tensor(c, i);
        size_t count, bytes;
        assert_ptr_equal(pare_checkpoint_find(c, t->name), t);
        assert_true(pare_tensor_elements(&t->type, &count));
        assert_true(pare_tensor_bytes(&t->type, &bytes));
        float *values = pare_alloc(count, sizeof *values),
              *again = pare_alloc(count, sizeof *again);
        uint8_t *raw = pare_alloc(bytes, 1);
        assert_int_equal(pare_checkpoint_read_f32(c, t, values, &err), PARE_OK);
        assert_int_equal(pare_checkpoint_read_raw(c, t, raw, &err), PARE_OK);
        pare_convert_to_f32(t->type.dtype, raw, again, count);
        assert_memory_equal(values, again, count * sizeof *values);
        check_stream(c, t, values, count);
        put_line(out, t->name, &t->type, values, count);
        pare_free(values);
        pare_free(again);
        pare_free(raw);
    }
    assert_null(pare_checkpoint_tensor(c, pare_checkpoint_count(c)));
    assert_null(pare_checkpoint_find(c, "no such tensor"));
    pare_checkpoint_close(c);
}

static void check(const char *path, const char *list, const char *format) {
    PareBuffer got = {0};
    size_t size;
    uint8_t *wanted = read_file(list, &size);
    list_checkpoint(path, format, &got);
    assert_same_text(got.data, (const char *)wanted);
    pare_buffer_free(&got);
    pare_free(wanted);
}

/* A tensor of many pieces that lies aligned, one of the same floats that does not, and halves. */
static void test_streams(void **state) {
    (void)state;
    enum { N = 5 * PARE_STREAM_ELEMENTS + 1000 };
    const char *path = temporary("stream.safetensors");
    char header[320];
    float *values = pare_alloc(N, sizeof *values), *halves = pare_alloc(N, sizeof *halves);
    uint16_t *half = pare_alloc(N, sizeof *half);
    for (size_t i = 0; i < N; i++) {
        values[i] = (float)i / 3;
        half[i] = pare_f32_to_bf16(values[i]);
        halves[i] = pare_bf16_to_f32(half[i]);
    }
    int length =
        snprintf(header, sizeof header,
                 "{\"a\":{\"dtype\":\"F32\",\"shape\":[%d],\"data_offsets\":[0,%d]},"
                 "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[%d,%d]},"
                 "\"c\":{\"dtype\":\"F32\",\"shape\":[%d],\"data_offsets\":[%d,%d]},"
                 "\"d\":{\"dtype\":\"BF16\",\"shape\":[%d],\"data_offsets\":[%d,%d]}}",
                 N, 4 * N, 4 * N, 4 * N + 1, N, 4 * N + 1, 8 * N + 1, N, 8 * N + 1, 10 * N + 1);
    while (length % 8)
        header[length++] = ' ';
    PareBuffer file = {0};
    pare_buffer_put_u64(&file, (uint64_t)length);
    pare_buffer_append(&file, header, (size_t)length);
    pare_buffer_append(&file, values, N * sizeof *values);
    pare_buffer_put_u8(&file, 1);
    pare_buffer_append(&file, values, N * sizeof *values);
    pare_buffer_append(&file, half, N * sizeof *half);
    write_file(path, file.data, file.size);
    PareCheckpoint *c;
    PareError err = {0};
    if (pare_checkpoint_open(path, NULL, &c, &err) != PARE_OK)
        fail_msg("%s", err.message);
    check_stream(c, pare_checkpoint_find(c, "a"), values, N);
    check_stream(c, pare_checkpoint_find(c, "c"), values, N);
    check_stream(c, pare_checkpoint_find(c, "d"), halves, N);
    pare_memory_fail_after(1); /* what lies there as it is needs none */
    Taken t = {.wanted = values};
    const PareCheckpointTensor *a = pare_checkpoint_find(c, "a"), *d = pare_checkpoint_find(c, "d");
    assert_int_equal(pare_checkpoint_stream_f32(c, a, 0, N, take, &t, &err), PARE_OK);
    assert_int_equal(pare_checkpoint_stream_f32(c, d, 0, N, take, &t, &err), PARE_E_MEMORY);
    pare_memory_fail_after(0);
    for (size_t i = 0; i < 2; i++) { /* the first refusal is the last piece */
        t = (Taken){.wanted = i ? halves : values, .refuse_after = 2};
        assert_int_equal(pare_checkpoint_stream_f32(c, i ? d : a, 0, N, take, &t, &err), PARE_E_IO);
        assert_string_equal(err.message, "no more");
        assert_int_equal(t.pieces, 2);
    }
    pare_checkpoint_close(c);
    pare_buffer_free(&file);
    pare_free(values);
    pare_free(halves);
    pare_free(half);
    unlink(path);
}

static void test_torch_dtypes(void **state) {
    (void)state;
    check(DATA "torch-dtypes.bin", DATA "torch-dtypes.txt", "PyTorch zip");
}

static void test_torch_views(void **state) {
    (void)state;
    check(DATA "torch-views.bin", DATA "torch-views.txt", "PyTorch zip");
}

static void test_torch_wrapped(void **state) {
    (void)state;
    check(DATA "torch-wrapped.bin", DATA "torch-wrapped.txt", "PyTorch zip");
    check(DATA "torch-model.bin", DATA "torch-model.txt", "PyTorch zip");
}

static void test_torch_untyped(void **state) {
    (void)state;
    check(DATA "torch-untyped.bin", DATA "torch-untyped.txt", "PyTorch zip");
}

static void test_torch_deflated(void **state) {
    (void)state;
    check(DATA "torch-deflated.bin", DATA "torch-deflated.txt", "PyTorch zip");
}

static void test_safetensors(void **state) {
    (void)state;
    check(DATA "every.safetensors", DATA "every.txt", "safetensors");
}

static void test_goldens(void **state) {
    (void)state;
    check("tests/data/goldens/bert-cls/pytorch_model.bin", DATA "golden-torch.txt", "PyTorch zip");
    check("tests/data/goldens/v5-t5/model.safetensors", DATA "golden-safetensors.txt",
          "safetensors");
}

static void test_folder(void **state) {
    (void)state;
    check("tests/data/goldens/bert-cls", DATA "golden-torch.txt", "PyTorch zip");
    check("tests/data/goldens/v5-t5/", DATA "golden-safetensors.txt", "safetensors");
}

/* Equal views share an id; views that merely overlap do not. */
static void test_tied(void **state) {
    PareCheckpoint *c;
    PareError err;
    (void)state;
    assert_int_equal(pare_checkpoint_open(DATA "torch-views.bin", NULL, &c, &err), PARE_OK);
    uint64_t matrix = pare_checkpoint_find(c, "matrix")->view_id;
    assert_int_not_equal(matrix, 0);
    assert_int_equal(matrix, pare_checkpoint_find(c, "tied")->view_id);
    assert_int_not_equal(matrix, pare_checkpoint_find(c, "base")->view_id);
    assert_int_not_equal(matrix, pare_checkpoint_find(c, "transposed")->view_id);
    assert_int_equal(pare_checkpoint_find(c, "empty")->view_id, 0);
    pare_checkpoint_close(c);
}

/* Whichever allocation fails, the error says so and nothing leaks (the sanitizers watch). */
static void test_failing_memory(void **state) {
    static const char *const paths[] = {DATA "torch-deflated.bin", DATA "torch-wrapped.bin",
                                        DATA "every.safetensors", "tests/data/goldens/v5-t5"};
    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        PareStatus status = PARE_E_MEMORY;
        for (uint64_t n = 1; status != PARE_OK && n < 10000; n++) {
            PareCheckpoint *c = NULL;
            PareError err = {PARE_OK, ""};
            pare_memory_fail_after(n);
            status = pare_checkpoint_open(paths[i], NULL, &c, &err);
            pare_memory_fail_after(0);
            assert_true(status == PARE_OK || (status == PARE_E_MEMORY && err.message[0] != '\0'));
            pare_checkpoint_close(c);
        }
        assert_int_equal(status, PARE_OK);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_streams),        cmocka_unit_test(test_torch_dtypes),
        cmocka_unit_test(test_torch_views),    cmocka_unit_test(test_torch_wrapped),
        cmocka_unit_test(test_torch_untyped),  cmocka_unit_test(test_torch_deflated),
        cmocka_unit_test(test_safetensors),    cmocka_unit_test(test_goldens),
        cmocka_unit_test(test_folder),         cmocka_unit_test(test_tied),
        cmocka_unit_test(test_failing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
