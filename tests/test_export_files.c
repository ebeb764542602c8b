/* Exported files: number formats, PyTorch's and safetensors' containers, settings, tokenizers, and
 * folders that appear whole or not at all. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>

#include "core/json.h"
#include "formats/checkpoint.h"
#include "tests/test_export_common.h"

static const PareSaveFormat FORMATS[] = {PARE_SAVE_SAFETENSORS, PARE_SAVE_PYTORCH};

/* ---- Number formats ---- */

/* The converter's F32 values are the stored ones. */
static void compare_values(const char *a, const char *b) {
    PareModel *m = open_model(a), *n = open_model(b);
    const PareFile *f = pare_model_file(m), *g = pare_model_file(n);
    for (size_t i = 0; i < pare_file_count(f); i++) {
        const PareFileTensor *s = pare_file_tensor(f, i), *t = pare_file_find(g, s->name);
        size_t count = 1;
        for (uint32_t d = 0; d < s->dims; d++)
            count *= (size_t)s->shape[d];
        float *x = pare_alloc(count, sizeof *x), *y = pare_alloc(count, sizeof *y);
        assert_true(x && y && t);
        pare_file_read_f32(s, x);
        pare_file_read_f32(t, y);
        assert_memory_equal(x, y, count * sizeof *x);
        pare_free(x);
        pare_free(y);
    }
    pare_model_close(m);
    pare_model_close(n);
}

static PareDtype dtype_of(const char *folder, const char *name) {
    PareCheckpoint *c;
    PareError err = {0};
    ok(pare_checkpoint_open(folder, NULL, &c, &err), &err);
    const PareCheckpointTensor *t = pare_checkpoint_find(c, name);
    assert_non_null(t);
    PareDtype d = t->type.dtype;
    pare_checkpoint_close(c);
    return d;
}

static void test_dtypes(void **state) {
    (void)state;
    const char *whole = path_of("a.pare"), *small = path_of("p.pare"), *folder = path_of("dir");
    const char *again = path_of("b.pare"), *none = path_of("nothing");
    static const char query[] = "transformer.h.1.attn.c_attn.weight";
    static const char norm[] = "transformer.ln_f.weight";
    convert_golden("gpt2-lm", whole);
    quantize(whole, small, PARE_I8);
    refused((PareExportOptions){.model = small, .folder = none}, "--dequantize");
    for (size_t k = 0; k < 2; k++) {
        PareExportOptions o = {.model = small, .folder = folder, .format = FORMATS[k]};
        quantize(whole, small, PARE_I8);
        o.dequantize = true;
        export_to(o);
        assert_int_equal(dtype_of(folder, query), PARE_F32);
        convert(folder, false, again);
        compare_values(small, again);
        quantize(whole, small, PARE_F16);
        o.dequantize = false;
        export_to(o); /* matrices are halves, norms stay, and float32 holds both */
        assert_int_equal(dtype_of(folder, query), PARE_F16);
        assert_int_equal(dtype_of(folder, norm), PARE_F32);
        assert_string_equal(json_member(folder, "torch_dtype"), "\"float32\"");
        convert(folder, false, again);
        compare_values(small, again);
        o.change_dtype = true;
        o.dtype = PARE_BF16;
        export_to(o);
        assert_int_equal(dtype_of(folder, norm), PARE_BF16);
        assert_string_equal(json_member(folder, "torch_dtype"), "\"bfloat16\"");
    }
    PareSlice s = pare_slice_begin(whole);
    s.huge = "decoder.layers.1.ffn.in.weight";
    pare_slice_write(&s, small);
    refused(
        (PareExportOptions){
            .model = small, .folder = none, .change_dtype = true, .dtype = PARE_F16},
        "\"transformer.h.1.mlp.c_fc.weight\" holds 70000");
    export_to((PareExportOptions){
        .model = small, .folder = folder, .change_dtype = true, .dtype = PARE_BF16});
}

/* ---- Containers ---- */

static void read_file(const char *folder, const char *name, PareBuffer *out) {
    char path[300], *bytes;
    size_t size;
    PareError err = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    ok(pare_file_read(path, 1 << 28, &bytes, &size, &err), &err);
    pare_buffer_append(out, bytes, size);
    pare_free(bytes);
}

static void test_same_bytes(void **state) {
    (void)state;
    static const char *const FILES[] = {"model.safetensors", "pytorch_model.bin"};
    const char *model = path_of("a.pare"), *one = path_of("one"), *two = path_of("two");
    convert_golden("bart", model);
    for (size_t k = 0; k < 2; k++) {
        PareBuffer a = {0}, b = {0};
        export_to((PareExportOptions){.model = model, .folder = one, .format = FORMATS[k]});
        export_to((PareExportOptions){.model = model, .folder = two, .format = FORMATS[k]});
        read_file(one, FILES[k], &a);
        read_file(two, FILES[k], &b);
        assert_int_equal(a.size, b.size);
        assert_memory_equal(a.data, b.data, a.size);
        pare_buffer_free(&a);
        pare_buffer_free(&b);
    }
}

/* Tied names view one storage in PyTorch's file; the other format has the first of them. */
static void test_ties(void **state) {
    (void)state;
    static const char *const NAMES[] = {"model.shared.weight", "model.encoder.embed_tokens.weight",
                                        "model.decoder.embed_tokens.weight", "lm_head.weight"};
    const char *model = path_of("a.pare"), *folder = path_of("dir");
    PareCheckpoint *c;
    PareError err = {0};
    convert_golden("bart", model);
    export_to((PareExportOptions){.model = model, .folder = folder, .format = PARE_SAVE_PYTORCH});
    ok(pare_checkpoint_open(folder, NULL, &c, &err), &err);
    uint64_t view = pare_checkpoint_find(c, NAMES[0])->view_id;
    assert_int_not_equal(view, 0);
    for (size_t i = 1; i < 4; i++)
        assert_int_equal(pare_checkpoint_find(c, NAMES[i])->view_id, view);
    pare_checkpoint_close(c);
    export_to((PareExportOptions){.model = model, .folder = folder});
    ok(pare_checkpoint_open(folder, NULL, &c, &err), &err);
    assert_non_null(pare_checkpoint_find(c, NAMES[0]));
    for (size_t i = 1; i < 4; i++)
        assert_null(pare_checkpoint_find(c, NAMES[i]));
    pare_checkpoint_close(c);
}

/* TensorFlow's tied output layer would lie the other way round: it is left out all the same. */
static void test_ties_of_tensorflow(void **state) {
    (void)state;
    const char *model = path_of("a.pare"), *folder = path_of("dir");
    PareCheckpoint *c;
    PareError err = {0};
    convert_golden("gpt2-lm", model);
    export_to((PareExportOptions){.model = model, .folder = folder, .format = PARE_SAVE_HDF5});
    ok(pare_checkpoint_open(folder, NULL, &c, &err), &err);
    assert_non_null(pare_checkpoint_find(c, "transformer.wte.weight"));
    assert_null(pare_checkpoint_find(c, "lm_head.weight"));
    pare_checkpoint_close(c);
}

/* Tables that the framework computes itself are left out; others of that name are not. */
static void test_computed(void **state) {
    (void)state;
    static const char name[] = "model.encoder.embed_positions.weight";
    const char *model = path_of("a.pare"), *other = path_of("p.pare"), *folder = path_of("dir");
    PareCheckpoint *c;
    PareError err = {0};
    convert_golden("marian", model);
    export_to((PareExportOptions){.model = model, .folder = folder});
    ok(pare_checkpoint_open(folder, NULL, &c, &err), &err);
    assert_null(pare_checkpoint_find(c, name));
    pare_checkpoint_close(c);
    PareSlice s = pare_slice_begin(model);
    s.huge = "encoder.embed.positions";
    pare_slice_write(&s, other);
    export_to((PareExportOptions){.model = other, .folder = folder});
    ok(pare_checkpoint_open(folder, NULL, &c, &err), &err);
    assert_non_null(pare_checkpoint_find(c, name));
    pare_checkpoint_close(c);
}

/* Every dtype and shape, integers of each size in the pickle, data at multiples of 64. */
static PareStatus fill_pattern(void *context, size_t index, void *dst, PareError *err) {
    const PareSavedTensor *t = context;
    size_t bytes = 0;
    (void)err;
    pare_tensor_bytes(&t[index].type, &bytes);
    for (size_t i = 0; i < bytes; i++)
        ((uint8_t *)dst)[i] = t[index].type.dtype == PARE_BOOL ? 1 : (uint8_t)(i * 7 + index);
    return PARE_OK;
}

/* Every tensor of a safetensors file begins at a multiple of its elements' size. */
static void check_aligned(const char *path) {
    char *bytes;
    size_t size, count = 0;
    PareJsonDoc *doc;
    PareError err = {0};
    ok(pare_file_read(path, 1 << 26, &bytes, &size, &err), &err);
    PareCursor in = pare_cursor(bytes, size);
    uint64_t header = pare_cursor_u64(&in);
    assert_int_equal(header % 8, 0);
    ok(pare_json_parse(bytes + 8, (size_t)header, path, &doc, &err), &err);
    for (const PareJson *n = pare_json_first(pare_json_root(doc)); n; n = pare_json_next(n)) {
        PareDtype d;
        const PareJson *range = pare_json_get(n, "data_offsets");
        if (!range)
            continue;
        assert_true(pare_dtype_parse(pare_json_string(pare_json_get(n, "dtype")), &d));
        assert_int_equal(pare_json_integer(pare_json_first(range)) % (int64_t)pare_dtype_size(d),
                         0);
        count++;
    }
    assert_true(count > 5);
    pare_json_free(doc);
    pare_free(bytes);
}

static void test_writers(void **state) {
    (void)state;
    const PareSavedTensor tensors[] = {{"a.scalar", NULL, {PARE_F32, 0, {0}}, SIZE_MAX},
                                       {"b.empty", NULL, {PARE_F32, 2, {0, 5}}, SIZE_MAX},
                                       {"c.half", NULL, {PARE_F16, 2, {300, 3}}, SIZE_MAX},
                                       {"d.same", NULL, {PARE_F16, 2, {300, 3}}, 2},
                                       {"e.long", NULL, {PARE_I64, 1, {70000}}, SIZE_MAX},
                                       {"f.int", NULL, {PARE_I32, 3, {2, 3, 4}}, SIZE_MAX},
                                       {"g.short", NULL, {PARE_I16, 1, {1}}, SIZE_MAX},
                                       {"h.byte", NULL, {PARE_U8, 1, {65}}, SIZE_MAX},
                                       {"i.bool", NULL, {PARE_BOOL, 1, {3}}, SIZE_MAX},
                                       {"j.char", NULL, {PARE_I8, 1, {3}}, SIZE_MAX},
                                       {"k.double", NULL, {PARE_F64, 1, {3}}, SIZE_MAX},
                                       {"l.bf16", NULL, {PARE_BF16, 4, {1, 1, 2, 2}}, SIZE_MAX},
                                       {"m.\xC3\xA4", NULL, {PARE_F32, 1, {1}}, SIZE_MAX}};
    enum { TENSORS = sizeof tensors / sizeof *tensors };
    const char *path = path_of("container");
    PareError err = {0};
    for (size_t k = 0; k < 2; k++) {
        PareCheckpoint *c;
        ok(pare_checkpoint_save(FORMATS[k], path, true, tensors, TENSORS, fill_pattern,
                                (void *)(uintptr_t)tensors, NULL, &err),
           &err);
        assert_int_equal(pare_checkpoint_save(FORMATS[k], path, false, tensors, TENSORS,
                                              fill_pattern, (void *)(uintptr_t)tensors, NULL, &err),
                         PARE_E_IO);
        ok(pare_checkpoint_open(path, NULL, &c, &err), &err);
        assert_int_equal(pare_checkpoint_count(c), TENSORS - (k == 0));
        if (k == 0)
            check_aligned(path);
        for (size_t i = 0; i < TENSORS; i++) {
            const PareCheckpointTensor *t = pare_checkpoint_find(c, tensors[i].name);
            size_t bytes = 0, root = tensors[i].same_as == SIZE_MAX ? i : tensors[i].same_as;
            if (!t && k == 0 && root != i)
                continue;
            assert_non_null(t);
            assert_int_equal(t->type.dtype, tensors[i].type.dtype);
            assert_true(pare_tensor_same_shape(&t->type, &tensors[i].type));
            pare_tensor_bytes(&t->type, &bytes);
            uint8_t *found = pare_alloc(bytes, 1), *want = pare_alloc(bytes, 1);
            assert_true(found && want);
            ok(pare_checkpoint_read_raw(c, t, found, &err), &err);
            fill_pattern((void *)(uintptr_t)tensors, root, want, &err);
            assert_memory_equal(found, want, bytes);
            pare_free(found);
            pare_free(want);
        }
        pare_checkpoint_close(c);
        unlink(path);
    }
}

static void test_writers_refuse(void **state) {
    (void)state;
    const PareSavedTensor twice[] = {{"a", NULL, {PARE_F32, 1, {2}}, SIZE_MAX},
                                     {"a", NULL, {PARE_F32, 1, {2}}, SIZE_MAX}};
    const PareSavedTensor other[] = {{"a", NULL, {PARE_F32, 1, {2}}, SIZE_MAX},
                                     {"b", NULL, {PARE_F32, 1, {3}}, 0}};
    const PareSavedTensor later[] = {{"a", NULL, {PARE_F32, 1, {2}}, 1},
                                     {"b", NULL, {PARE_F32, 1, {2}}, SIZE_MAX}};
    const PareSavedTensor *const cases[] = {twice, other, later};
    const char *path = path_of("container");
    for (size_t k = 0; k < 2; k++)
        for (size_t i = 0; i < 3; i++) {
            PareError err = {0};
            assert_int_not_equal(pare_checkpoint_save(FORMATS[k], path, false, cases[i], 2,
                                                      fill_pattern, (void *)(uintptr_t)cases[i],
                                                      NULL, &err),
                                 PARE_OK);
            assert_non_null(strstr(err.message, path));
            assert_false(pare_file_exists(path));
        }
}

/* ---- Settings ---- */

static void test_settings(void **state) {
    (void)state;
    const char *whole = path_of("a.pare"), *other = path_of("p.pare"), *none = path_of("nothing");
    static const struct {
        const char *from, *to, *part;
    } CASES[] = {
        {"\"config\":", "\"confit\":", "no \"source\" with the \"config\""},
        {"\"source\":", "\"sourde\":", "no \"source\" with the \"config\""},
        {"\"model_type\": \"bert\",\n  \"num", "\"model_type\": \"bird\",\n  \"num", "is \"bird\""},
        {"\"hidden_act\": \"gelu\"", "\"hidden_act\": \"relu\"", "activation is"},
        {"\"hidden_size\": 32", "\"hidden_size\": 31", "multiple of"},
        {"\"layer_norm_eps\": 1e-12", "\"layer_norm_eps\": 1e-11", "norm_eps is"},
        {"BertForSequenceClassification\"\n", "BertForSequenceClassificatioN\"\n",
         "not supported; known are"}};
    convert_golden("bert-cls", whole);
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        PareSlice s = pare_slice_begin(whole);
        s.replace = CASES[i].from;
        s.replacement = CASES[i].to;
        pare_slice_write(&s, other);
        refused((PareExportOptions){.model = other, .folder = none}, CASES[i].part);
    }
}

/* Text of settings stays as it was written: numbers, order, escapes. */
static void test_settings_text(void **state) {
    (void)state;
    static const char text[] = "{ \"a\\\"}\":[1.0, 2 ,{}],\n\"b\" : \"x\\\\\", \"c\":{\"d\": [ ] "
                               ",\"e\":-1E-05},\"f\":null }";
    PareJsonText all = {text, text + sizeof text - 1}, key, value;
    PareBuffer out = {0};
    assert_true(pare_json_text_get(all, "b", &value));
    assert_true(pare_json_text_is(value, "\"x\\\\\""));
    assert_true(pare_json_text_get(all, "c", &value));
    assert_true(pare_json_text_get(value, "e", &key));
    assert_true(pare_json_text_is(key, "-1E-05"));
    assert_false(pare_json_text_get(all, "e", &value));
    assert_false(pare_json_text_get(all, "a", &value));
    assert_true(pare_json_text_get(all, "f", &value));
    pare_json_text_pretty(all, &out);
    assert_string_equal(out.data, "{\n  \"a\\\"}\": [\n    1.0,\n    2,\n    {}\n  ],\n  \"b\": "
                                  "\"x\\\\\",\n  \"c\": {\n    \"d\": [],\n    \"e\": -1E-05\n  "
                                  "},\n  \"f\": null\n}\n");
    pare_buffer_free(&out);
}

/* ---- Folders ---- */

static void put_text(const char *folder, const char *name, const char *text) {
    char path[300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    fclose(f);
}

static PareStatus export_again(const char *model, const char *folder, bool force, PareError *err) {
    PareExport *e;
    PareExportOptions o = {.model = model, .folder = folder, .force = force};
    ok(pare_export_open(&o, &e, err), err);
    PareStatus st = pare_export_write(e, NULL, err);
    pare_export_close(e);
    return st;
}

static void test_folders(void **state) {
    (void)state;
    const char *model = path_of("a.pare"), *folder = path_of("dir");
    PareError err = {0};
    PareBuffer text = {0};
    convert_golden("v5-bert-cls", model);
    remove_folder(folder);
    assert_int_equal(mkdir(folder, 0755), 0);
    ok(export_again(model, folder, false, &err), &err); /* an empty one is filled */
    assert_int_equal(export_again(model, folder, false, &err), PARE_E_IO);
    assert_non_null(strstr(err.message, "--force"));
    put_text(folder, "config.json", "{}");
    put_text(folder, "README.md", "mine");
    ok(export_again(model, folder, true, &err), &err);
    assert_string_equal(json_member(folder, "model_type"), "\"bert\"");
    read_file(folder, "README.md", &text);
    assert_string_equal(text.data, "mine");
    pare_buffer_clear(&text);
    put_text(folder, "config.json", "{}");
    put_text(folder, "tokenizer.json", "{}"); /* would be read with ours */
    assert_int_equal(export_again(model, folder, true, &err), PARE_E_IO);
    assert_non_null(strstr(err.message, "tokenizer.json"));
    read_file(folder, "config.json", &text);
    assert_string_equal(text.data, "{}");
    pare_buffer_free(&text);
    assert_int_equal(export_again(model, model, false, &err), PARE_E_IO);
    assert_non_null(strstr(err.message, "it is a file"));
}

/* The n-th allocation fails, for every n (every eleventh, unless there is time): the message says
 * so, nothing leaks, and nothing appears. */
static void test_no_memory(void **state) {
    (void)state;
    const char *model = path_of("a.pare"), *folder = path_of("dir");
    uint64_t step = getenv("PARE_TEST_LONG") ? 1 : 11;
    convert("samples/number-words", true, model);
    for (size_t k = 0; k < 2; k++) {
        PareStatus st = PARE_E_MEMORY;
        remove_folder(folder);
        for (uint64_t n = 1; st; n += step) {
            PareExport *e = NULL;
            PareError err = {0};
            PareExportOptions o = {.model = model, .folder = folder, .format = FORMATS[k]};
            pare_memory_fail_after(n);
            st = pare_export_open(&o, &e, &err);
            if (!st)
                st = pare_export_write(e, NULL, &err);
            pare_export_close(e);
            pare_memory_fail_after(0);
            if (st && st != PARE_E_MEMORY)
                fail_msg("allocation %llu: %s", (unsigned long long)n, err.message);
            assert_int_equal(pare_file_exists(folder), st == PARE_OK);
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_dtypes),
                                       cmocka_unit_test(test_same_bytes),
                                       cmocka_unit_test(test_ties),
                                       cmocka_unit_test(test_computed),
                                       cmocka_unit_test(test_ties_of_tensorflow),
                                       cmocka_unit_test(test_writers),
                                       cmocka_unit_test(test_writers_refuse),
                                       cmocka_unit_test(test_settings),
                                       cmocka_unit_test(test_settings_text),
                                       cmocka_unit_test(test_folders),
                                       cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
