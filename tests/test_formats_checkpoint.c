/* Checkpoints that PyTorch wrote, against what PyTorch reads from them (tests/data/formats). */
#include "tests/test_formats_common.h"

#include "formats/checkpoint.h"

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
        cmocka_unit_test(test_torch_dtypes),   cmocka_unit_test(test_torch_views),
        cmocka_unit_test(test_torch_wrapped),  cmocka_unit_test(test_torch_untyped),
        cmocka_unit_test(test_torch_deflated), cmocka_unit_test(test_safetensors),
        cmocka_unit_test(test_goldens),        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_tied),           cmocka_unit_test(test_failing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
