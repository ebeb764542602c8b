/* Files that are wrong, on purpose or by accident: every one ends in a sentence. */
#include "tests/test_formats_common.h"

#include <sys/stat.h>

#include "core/random.h"
#include "formats/checkpoint.h"
#include "formats/zip_directory.h"

static void refuse(const char *path, const char *wanted) {
    PareCheckpoint *c;
    PareError err = {PARE_OK, ""};
    PareStatus status = pare_checkpoint_open(path, NULL, &c, &err);
    if (status == PARE_OK)
        fail_msg("%s was not refused; wanted '%s'", path, wanted);
    assert_null(c);
    assert_int_equal(status, err.code);
    assert_says(&err, wanted);
}

static void refuse_bytes(const void *bytes, size_t size, const char *wanted) {
    const char *path = temporary("bytes");
    write_file(path, bytes, size);
    refuse(path, wanted);
    unlink(path);
}

#define REFUSE_TEXT(text, wanted) refuse_bytes(text, sizeof text - 1, wanted)
#define REFUSE_PICKLE(text, wanted) refuse(write_torch(text, sizeof text - 1), wanted)

/* ---- Sniffing ---- */

static void test_sniffing(void **state) {
    char tar[512] = "model.bin";
    (void)state;
    memcpy(tar + 257, "ustar", 5);
    refuse_bytes(tar, sizeof tar, "tar archive");
    REFUSE_TEXT("", "the file is empty");
    REFUSE_TEXT("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull");
    REFUSE_TEXT("\n <!DOCTYPE HTML><html>", "web page");
    REFUSE_TEXT("GGUF\3\0\0\0", "GGUF");
    REFUSE_TEXT("\x89HDF\r\n\x1a\n\0\0", "HDF5");
    REFUSE_TEXT("\x89PARE\r\n\x1a\1\0\0\0", ".pare file already");
    REFUSE_TEXT("\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e.",
                "the protocol: not a valid pickle");
    REFUSE_TEXT("\x80\x04N.", "bare pickle");
    REFUSE_TEXT("{\"model_type\": \"x\"}", "JSON");
    REFUSE_TEXT("\x08\x07\x12\x07pytorch", "ONNX");
    REFUSE_TEXT("\x1f\x8b\x08\0", "gzip");
    REFUSE_TEXT("hello", "no checkpoint that this program knows");
    REFUSE_TEXT("PK\5\6\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", "it is empty");
    refuse(DATA "no such file", "no such file");
}

static void test_foreign_zip(void **state) {
    Zip z = {0};
    const char *path = temporary("foreign.zip");
    (void)state;
    zip_add(&z, "word/document.xml", "x", 1);
    zip_write(&z, path);
    refuse(path, "word/document.xml");
    zip_add(&z, "x/data.pkl", "\x80\x02}.", 4);
    zip_add(&z, "x/constants.pkl", "\x80\x02).", 4);
    zip_write(&z, path);
    refuse(path, "holds no tensors");
    zip_add(&z, "x/data.pkl", "\x80\x02}.", 4);
    zip_add(&z, "x/byteorder", "big", 3);
    zip_write(&z, path);
    refuse(path, "byte order");
    zip_add(&z, "x/data.pkl", "\x80\x02}.", 4);
    zip_add(&z, "y/data.pkl", "\x80\x02}.", 4);
    zip_write(&z, path);
    refuse(path, "not the only data.pkl");
    zip_add(&z, "x/data.pkl", "\x80\x02}.", 4);
    zip_write(&z, path);
    refuse(path, "holds no tensors");
    unlink(path);
}

/* A folder that holds this one entry. */
static void refuse_folder(const char *name, const char *wanted) {
    char folder[512], file[700];
    snprintf(folder, sizeof folder, "%s", temporary("folder"));
    snprintf(file, sizeof file, "%s/%s", folder, name);
    assert_int_equal(mkdir(folder, 0700), 0);
    write_file(file, "x", 1);
    refuse(folder, wanted);
    unlink(file);
    rmdir(folder);
}

static void test_folders(void **state) {
    (void)state;
    refuse_folder("README.md", "looked for model.safetensors, pytorch_model.bin, tf_model.h5");
    refuse_folder("tf_model.h5", "tf_model.h5: this is no checkpoint");
    refuse_folder("model.safetensors.index.json", "index.json: this is no checkpoint");
    refuse_folder("adapter_model.safetensors", "merge it into its base model");
    refuse_folder("adapter_model.bin", "merge it into its base model");
    refuse_folder("model.Q4_K_M.gguf", "it holds model.Q4_K_M.gguf, a GGUF file");
    refuse_folder("flax_model.msgpack", "a Flax checkpoint");
    refuse_folder("saved_model.pb", "SavedModel");
    refuse_folder("model.onnx", "an ONNX graph");
    refuse_folder("model.ckpt-1000.index", "TensorFlow checkpoint of variables");
    refuse_folder("variables.data-00000-of-00001", "TensorFlow checkpoint of variables");
    refuse_folder("model.tflite", "Lite graph");
    refuse_folder("model.fp16.safetensors.index.json", "give its path");
    refuse_folder("model-00001-of-00002.safetensors", "without the index of the shards");
    refuse_folder("pytorch_model-00001-of-00002.bin", "pytorch_model.bin.index.json as well");
    refuse_folder("weights.pt", "it holds weights.pt: this is no checkpoint that");
    refuse_folder("optimizer.pt", "the folder holds no checkpoint; looked for");
    refuse_folder("checkpoint-500", "give that folder");
}

/* Of several, the most telling one is named, and of equals the first. */
static void test_folder_order(void **state) {
    static const char *const names[] = {"a.onnx", "c.gguf", "b.gguf", "training_args.bin"};
    char folder[512], file[700];
    (void)state;
    snprintf(folder, sizeof folder, "%s", temporary("folder"));
    assert_int_equal(mkdir(folder, 0700), 0);
    for (size_t i = 0; i < 4; i++) {
        snprintf(file, sizeof file, "%s/%s", folder, names[i]);
        write_file(file, "x", 1);
    }
    refuse(folder, "it holds b.gguf");
    for (size_t i = 0; i < 4; i++) {
        snprintf(file, sizeof file, "%s/%s", folder, names[i]);
        unlink(file);
    }
    rmdir(folder);
}

/* ---- Pickles ---- */

static void test_pickle_calls(void **state) {
    (void)state;
    REFUSE_PICKLE("\x80\x02"
                  "cposix\nsystem\nX\4\0\0\0true\x85R.",
                  "data.pkl calls posix.system, which is not on the allow-list; nothing was "
                  "executed");
    REFUSE_PICKLE("\x80\x04\x8c\x08"
                  "builtins\x8c\x04"
                  "eval\x93\x8c\x01"
                  "1\x85R.",
                  "calls builtins.eval");
    REFUSE_PICKLE("\x80\x02"
                  "ctorch\nload\n.",
                  "calls torch.load");
    REFUSE_PICKLE("\x80\x02"
                  "ccollections\nOrderedDict\n}b.",
                  "given attributes");
    REFUSE_PICKLE("\x80\x02"
                  "ccollections\nOrderedDict",
                  "a line does not end");
    REFUSE_PICKLE("\x80\x02"
                  "cos\x1b[2J\nsystem\n.",
                  "calls os?[2J.system");
}

static void test_pickle_machine(void **state) {
    (void)state;
    REFUSE_PICKLE("\x80\x02", "cut off");
    REFUSE_PICKLE("\x80\x02.", "stack is empty");
    REFUSE_PICKLE("\x80\x02"
                  "0.",
                  "stack is empty");
    REFUSE_PICKLE("\x80\x02(0.", "stack is empty");
    REFUSE_PICKLE("\x80\x02t.", "no mark");
    REFUSE_PICKLE("\x80\x02h\1.", "memo entry is missing");
    REFUSE_PICKLE("\x80\x02Nr\xff\xff\xff\xff.", "memo index is too large");
    REFUSE_PICKLE("\x80\x02X\xff\xff\xff\xff"
                  "a.",
                  "text is cut off");
    REFUSE_PICKLE("\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xff.", "text is cut off");
    REFUSE_PICKLE("\x80\x02\x8b\xff\xff\xff\xff.", "an integer is cut off");
    REFUSE_PICKLE("\x80\x02\x8a\x08\1\2", "cut off");
    REFUSE_PICKLE("\x80\x02}(K\1u.", "key without a value");
    REFUSE_PICKLE("\x80\x02NNs.", "stack is empty");
    REFUSE_PICKLE("\x80\x02NNNs.", "added to something else");
    REFUSE_PICKLE("\x80\x02NN\x86R.", "stack is empty");
    REFUSE_PICKLE("\x80\x02N)R.", "no function");
    REFUSE_PICKLE("\x80\x07N.", "protocol");
    REFUSE_PICKLE("\x80\x02\x82\1.", "opcode 0x82");
    REFUSE_PICKLE("\x80\x04\x95\xff\0\0\0\0\0\0\0N.", "longer than the file");
    REFUSE_PICKLE("\x80\x02K\1.", "holds an integer");
    /* A dict that holds itself under "model": found, not followed for ever. */
    REFUSE_PICKLE("\x80\x02}q\0X\5\0\0\0modelh\0s.", "holds no tensors where");
}

/* Many cheap opcodes must not take much memory or time. */
static void test_pickle_bombs(void **state) {
    static const struct {
        char opcode;
        const char *wanted;
    } bombs[] = {{'(', "nested too deeply"},
                 {'N', "too deep"},
                 {'}', "too deep"},
                 {'2', "too deep"},
                 {'\x85', "too many"}};
    size_t size = 12 << 20;
    char *pickle = pare_alloc(size, 1);
    (void)state;
    for (size_t i = 0; i < sizeof bombs / sizeof *bombs; i++) {
        memset(pickle, bombs[i].opcode, size);
        memcpy(pickle, "\x80\x02N", 3);
        refuse(write_torch(pickle, size), bombs[i].wanted);
    }
    pare_free(pickle);
}

/* {"w": _rebuild_tensor_v2(storage 0 of `elements` floats, offset, (a, b), strides)}. */
static const char *write_view(uint64_t elements, uint64_t offset, const uint64_t shape[2],
                              const uint64_t strides[2]) {
    const uint64_t numbers[5] = {offset, shape[0], shape[1], strides[0], strides[1]};
    PareBuffer b = {0};
    pare_buffer_puts(&b, "\x80\x02}X");
    pare_buffer_append(&b, "\1\0\0\0w", 5);
    pare_buffer_puts(&b, "ctorch._utils\n_rebuild_tensor_v2\n((X");
    pare_buffer_append(&b, "\7\0\0\0storage", 11);
    pare_buffer_puts(&b, "ctorch\nFloatStorage\nX");
    pare_buffer_append(&b,
                       "\1\0\0\0"
                       "0X\3\0\0\0cpu",
                       13);
    pare_buffer_append(&b, "\x8a\x08", 2);
    pare_buffer_put_u64(&b, elements);
    pare_buffer_puts(&b, "tQ");
    for (size_t i = 0; i < 5; i++) {
        pare_buffer_append(&b, "\x8a\x08", 2);
        pare_buffer_put_u64(&b, numbers[i]);
        if (i == 2 || i == 4)
            pare_buffer_puts(&b, "\x86");
    }
    pare_buffer_puts(&b, "\x89}tRs.");
    const char *path = write_torch(b.data, b.size);
    pare_buffer_free(&b);
    return path;
}

#define REFUSE_VIEW(elements, offset, a, b, s, t, wanted)                                          \
    refuse(write_view(elements, offset, (uint64_t[]){a, b}, (uint64_t[]){s, t}), wanted)

static void test_views(void **state) {
    const uint64_t huge = INT64_MAX;
    PareCheckpoint *c;
    PareError err;
    float values[6];
    (void)state;
    const char *path = write_view(6, 0, (uint64_t[]){2, 3}, (uint64_t[]){3, 1});
    assert_int_equal(pare_checkpoint_open(path, NULL, &c, &err), PARE_OK);
    assert_int_equal(pare_checkpoint_read_f32(c, pare_checkpoint_tensor(c, 0), values, &err), 0);
    for (int i = 0; i < 6; i++)
        assert_true(values[i] == (float)i);
    pare_checkpoint_close(c);
    REFUSE_VIEW(7, 0, 2, 3, 3, 1, "has 24 bytes; 7 elements of F32 were expected");
    REFUSE_VIEW(huge, 0, 2, 3, 3, 1, "were expected");
    REFUSE_VIEW(6, 1, 2, 3, 3, 1, "does not fit into its storage of 6 elements");
    REFUSE_VIEW(6, 6, 1, 1, 0, 0, "does not fit");
    REFUSE_VIEW(6, huge, 2, 3, 3, 1, "does not fit");
    REFUSE_VIEW(6, 0, 2, 3, huge, 1, "does not fit");
    REFUSE_VIEW(6, 0, 3, 3, huge, huge, "does not fit");
    REFUSE_VIEW(6, 0, huge, 1, 0, 1, "larger than memory");
    REFUSE_VIEW(6, 0, huge, huge, 0, 0, "larger than memory");
    REFUSE_VIEW(6, 0, UINT64_MAX, 1, 0, 1, "non-negative integers");
}

static void test_torch_shapes(void **state) {
    (void)state;
    REFUSE_PICKLE("\x80\x02}K\1K\2s.", "holds no tensors");
    REFUSE_PICKLE("\x80\x02}X\1\0\0\0w}s.", "of the outermost dictionary are w");
    REFUSE_PICKLE("\x80\x02}K\1}s.", "of the outermost dictionary are 1");
    REFUSE_PICKLE("\x80\x02}X\2\0\0\0\xff\xff"
                  "ctorch._utils\n_rebuild_tensor\n)Rs.",
                  "is not valid UTF-8");
    REFUSE_PICKLE("\x80\x02}X\1\0\0\0wctorch._utils\n_rebuild_tensor_v2\n)Rs.",
                  "not rebuilt as torch.save writes it");
    REFUSE_PICKLE("\x80\x02}X\1\0\0\0wctorch._utils\n_rebuild_parameter\n)Rs.",
                  "not rebuilt as torch.save writes it");
}

/* ---- Damage ---- */

/* Opens and, if that works, reads everything: whatever happens, nothing may crash. */
static bool survives(const char *path) {
    PareCheckpoint *c;
    PareError err = {PARE_OK, ""};
    bool good = pare_checkpoint_open(path, NULL, &c, &err) == PARE_OK;
    for (size_t i = 0; good && i < pare_checkpoint_count(c); i++) {
        const PareCheckpointTensor *t = pare_checkpoint_tensor(c, i);
        size_t count;
        if (!pare_tensor_elements(&t->type, &count) || count > 1 << 20)
            continue;
        float *values = pare_alloc(count, sizeof *values);
        good = pare_checkpoint_read_f32(c, t, values, &err) == PARE_OK;
        pare_free(values);
    }
    pare_checkpoint_close(c);
    assert_true(good || err.message[0] != '\0');
    return good;
}

static const char *const victims[] = {DATA "torch-views.bin", DATA "torch-wrapped.bin",
                                      DATA "torch-deflated.bin", DATA "every.safetensors"};

static void test_truncations(void **state) {
    const char *path = temporary("truncated");
    (void)state;
    for (size_t v = 0; v < sizeof victims / sizeof *victims; v++) {
        size_t size;
        uint8_t *bytes = read_file(victims[v], &size);
        for (size_t i = 0; i < 40; i++) {
            write_file(path, bytes, size * i / 40);
            assert_false(survives(path));
        }
        pare_free(bytes);
    }
    unlink(path);
}

static void test_bit_flips(void **state) {
    const char *path = temporary("flipped");
    size_t rounds = getenv("PARE_TEST_LONG") != NULL ? 20000 : 400;
    (void)state;
    for (size_t v = 0; v < sizeof victims / sizeof *victims; v++) {
        size_t size;
        uint8_t *bytes = read_file(victims[v], &size);
        for (size_t i = 0; i < rounds; i++) {
            uint8_t *copy = pare_alloc(size, 1);
            memcpy(copy, bytes, size);
            for (size_t flip = 0; flip <= i % 3; flip++) {
                uint64_t bit = pare_random_below(7, v, i * 3 + flip, size * 8);
                copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
            }
            write_file(path, copy, size);
            survives(path);
            pare_free(copy);
        }
        pare_free(bytes);
    }
    unlink(path);
}

/* Damage behind right CRCs: what somebody who means it would do. Changes bytes of data.pkl in an
 * archive that is otherwise a copy. */
static void write_changed_pickle(const char *from, const char *to, uint64_t round) {
    PareMapping map;
    PareCursor directory;
    PareZipEntry e;
    PareError err;
    uint64_t count;
    Zip z = {0};
    assert_int_equal(pare_file_map(from, &map, &err), PARE_OK);
    assert_true(pare_zip_directory(&map, &directory, &count));
    for (uint64_t i = 0; i < count; i++) {
        char name[128];
        assert_true(pare_zip_next(&directory, &e));
        const uint8_t *bytes = pare_zip_stored(&map, &e);
        assert_non_null(bytes);
        snprintf(name, sizeof name, "%.*s", (int)e.name_size, (const char *)e.name);
        uint8_t *copy = pare_alloc((size_t)e.size, 1);
        memcpy(copy, bytes, (size_t)e.size);
        for (uint64_t k = 0; k <= round % 4 && strstr(name, "data.pkl") != NULL; k++) {
            uint64_t at = pare_random_below(11, round, k, e.size);
            copy[at] = (uint8_t)pare_random_u32(12, round, k);
        }
        zip_add(&z, name, copy, (size_t)e.size);
        pare_free(copy);
    }
    zip_write(&z, to);
    pare_file_unmap(&map);
}

static void test_changed_pickles(void **state) {
    const char *path = temporary("pickle");
    size_t rounds = getenv("PARE_TEST_LONG") != NULL ? 20000 : 1000, survived = 0;
    (void)state;
    for (size_t i = 0; i < rounds; i++) {
        write_changed_pickle(i % 2 ? DATA "torch-views.bin" : DATA "torch-model.bin", path, i);
        survived += survives(path);
    }
    assert_in_range(survived, 1, rounds - 1);
    unlink(path);
}

/* A changed byte of a tensor is found by its CRC, stored or deflated. */
static void test_crc(void **state) {
    static const char *const paths[] = {DATA "torch-views.bin", DATA "torch-deflated.bin"};
    const char *path = temporary("crc");
    (void)state;
    for (size_t p = 0; p < 2; p++) {
        size_t size, at = 0;
        uint8_t *bytes = read_file(paths[p], &size);
        const uint8_t *name = memmem(bytes, size, "data/0", 6);
        assert_non_null(name);
        at = (size_t)(name - bytes) + 6 + 8;
        bytes[at] ^= 0x10;
        write_file(path, bytes, size);
        assert_false(survives(path));
        pare_free(bytes);
    }
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sniffing),        cmocka_unit_test(test_foreign_zip),
        cmocka_unit_test(test_folders),         cmocka_unit_test(test_folder_order),
        cmocka_unit_test(test_pickle_calls),    cmocka_unit_test(test_pickle_machine),
        cmocka_unit_test(test_pickle_bombs),    cmocka_unit_test(test_views),
        cmocka_unit_test(test_torch_shapes),    cmocka_unit_test(test_truncations),
        cmocka_unit_test(test_bit_flips),       cmocka_unit_test(test_crc),
        cmocka_unit_test(test_changed_pickles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
