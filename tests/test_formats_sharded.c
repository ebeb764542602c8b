/* Sharded checkpoints: an index and files that must agree. */
#include "tests/test_formats_corpus.h"

#include <sys/resource.h>
#include <sys/stat.h>

#define SHARDED CORPUS "sharded/"

static PareCheckpoint *open_good(const char *path) {
    PareCheckpoint *c;
    PareError err;
    if (pare_checkpoint_open(path, NULL, &c, &err) != PARE_OK)
        fail_msg("%s", err.message);
    return c;
}

static void refuse(const char *path, const char *wanted) {
    PareCheckpoint *c;
    PareError err = {PARE_OK, ""};
    if (pare_checkpoint_open(path, NULL, &c, &err) == PARE_OK)
        fail_msg("%s was not refused; wanted '%s'", path, wanted);
    assert_null(c);
    assert_says(&err, wanted);
}

/* The values of the two, which may be the same tensor by two ways. */
static void assert_same_values(PareCheckpoint *a, const PareCheckpointTensor *x, PareCheckpoint *b,
                               const PareCheckpointTensor *y) {
    size_t count = 0, bytes = 0;
    PareError err;
    assert_string_equal(x->name, y->name);
    assert_int_equal(x->type.dtype, y->type.dtype);
    assert_true(pare_tensor_same_shape(&x->type, &y->type));
    assert_true(pare_tensor_elements(&x->type, &count) && pare_tensor_bytes(&x->type, &bytes));
    float *v = pare_alloc(count, sizeof *v), *w = pare_alloc(count, sizeof *w);
    assert_int_equal(pare_checkpoint_read_f32(a, x, v, &err), PARE_OK);
    assert_int_equal(pare_checkpoint_read_f32(b, y, w, &err), PARE_OK);
    assert_memory_equal(v, w, count * sizeof *v);
    assert_int_equal(pare_checkpoint_read_raw(a, x, v, &err), PARE_OK);
    assert_int_equal(pare_checkpoint_read_raw(b, y, w, &err), PARE_OK);
    assert_memory_equal(v, w, bytes);
    pare_free(v);
    pare_free(w);
}

static void test_corpus(void **state) {
    (void)state;
    assert_in_range(corpus_replay(SHARDED), 50, 1000);
}

/* TensorFlow's index names variables with a scope that the shards leave out, and the reader makes
 * PyTorch's names of them. */
static void test_tensorflow(void **state) {
    float values[16];
    PareError err;
    (void)state;
    assert_int_equal(corpus_replay(CORPUS "sharded-tf/"), 4);
    PareCheckpoint *c = open_good(CORPUS "sharded-tf");
    assert_non_null(strstr(pare_checkpoint_format(c), "sharded TensorFlow HDF5"));
    const PareCheckpointTensor *t = pare_checkpoint_find(c, "net.pooler.dense.weight");
    assert_non_null(t);
    assert_int_equal(pare_checkpoint_read_f32(c, t, values, &err), PARE_OK);
    assert_true(values[15] == 17);
    pare_checkpoint_close(c);
}

/* Every tensor is the one of its shard opened alone; shards come by name. */
static void test_values(void **state) {
    static const char *const shards[] = {"eight.safetensors", "four.bin", "one.safetensors",
                                         "three.bin", "two.safetensors"};
    PareCheckpoint *c = open_good(SHARDED "mixed.index.json");
    size_t next = 0;
    (void)state;
    assert_string_equal(pare_checkpoint_path(c), SHARDED "mixed.index.json");
    assert_string_equal(pare_checkpoint_format(c), "sharded several formats");
    assert_int_equal(pare_checkpoint_files(c), 6);
    assert_string_equal(pare_checkpoint_file(c, 0), SHARDED "mixed.index.json");
    assert_null(pare_checkpoint_file(c, 6));
    for (size_t s = 0; s < 5; s++) {
        char path[128];
        snprintf(path, sizeof path, SHARDED "%s", shards[s]);
        assert_string_equal(pare_checkpoint_file(c, s + 1), path);
        PareCheckpoint *shard = open_good(path);
        for (size_t i = 0; i < pare_checkpoint_count(shard); i++, next++) {
            const PareCheckpointTensor *t = pare_checkpoint_tensor(c, next);
            if (strcmp(t->name, "q") == 0)
                assert_string_equal(pare_checkpoint_dtype_name(t), "F8_E4M3");
            else
                assert_same_values(c, t, shard, pare_checkpoint_tensor(shard, i));
        }
        pare_checkpoint_close(shard);
    }
    assert_int_equal(next, pare_checkpoint_count(c));
    pare_checkpoint_close(c);
}

static void test_formats(void **state) {
    (void)state;
    PareCheckpoint *c = open_good(SHARDED "good.index.json");
    assert_string_equal(pare_checkpoint_format(c), "sharded safetensors");
    pare_checkpoint_close(c);
    c = open_good(SHARDED "bins.index.json");
    assert_string_equal(pare_checkpoint_format(c), "sharded PyTorch zip");
    pare_checkpoint_close(c);
    c = open_good(SHARDED "one.safetensors");
    assert_int_equal(pare_checkpoint_files(c), 1);
    assert_string_equal(pare_checkpoint_file(c, 0), SHARDED "one.safetensors");
    assert_null(pare_checkpoint_file(c, 1));
    pare_checkpoint_close(c);
}

/* Tied tensors stay so within a shard, and those of two shards are never taken for tied. */
static void test_tied(void **state) {
    PareCheckpoint *c = open_good(SHARDED "bins.index.json");
    (void)state;
    uint64_t x = pare_checkpoint_find(c, "x")->view_id, u = pare_checkpoint_find(c, "u")->view_id;
    assert_int_not_equal(x, 0);
    assert_int_not_equal(u, 0);
    assert_int_equal(pare_checkpoint_find(c, "y")->view_id, x);
    assert_int_equal(pare_checkpoint_find(c, "v")->view_id, u);
    assert_int_not_equal(x, u);
    assert_int_not_equal(pare_checkpoint_find(c, "z")->view_id, x);
    assert_int_not_equal(pare_checkpoint_find(c, "z")->view_id, u);
    pare_checkpoint_close(c);
}

/* The total is told when it is wrong, whether or not tied tensors count. */
static void test_total(void **state) {
    static const struct {
        const char *name, *warning;
    } cases[] = {{"good", NULL},
                 {"bins", NULL},
                 {"bins-tied-once", NULL},
                 {"no-metadata", NULL},
                 {"metadata-odd", NULL},
                 {"one", NULL},
                 {"total-wrong", "total-wrong.index.json: metadata.total_size is 57, but the "
                                 "tensors of the shards have 56 bytes\n"},
                 {"total-text", "total_size is \"big\", but"},
                 {"total-huge", "total_size is 1e+300, but"}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[128];
        snprintf(path, sizeof path, SHARDED "%s.index.json", cases[i].name);
        PareCheckpoint *c = open_good(path);
        const char *found = pare_checkpoint_warnings(c);
        if (cases[i].warning == NULL ? *found != '\0' : strstr(found, cases[i].warning) == NULL)
            fail_msg("%s: '%s'", path, found);
        pare_checkpoint_close(c);
    }
}

/* ---- Checkpoints made here ---- */

static char folder[512], file_path[700];

static const char *in_folder(const char *name) {
    snprintf(file_path, sizeof file_path, "%s/%s", folder, name);
    return file_path;
}

static void make_folder(void) {
    snprintf(folder, sizeof folder, "%s", temporary("sharded"));
    assert_int_equal(mkdir(folder, 0700), 0);
}

static void remove_folder(void) {
    char command[600];
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    assert_int_equal(system(command), 0);
}

/* A safetensors file with one tensor of `count` float32, all `value`, or a hole of zeros. */
static void write_shard(const char *name, const char *tensor, size_t count, float value) {
    char header[200];
    PareBuffer b = {0};
    snprintf(header, sizeof header,
             "{\"%s\":{\"dtype\":\"F32\",\"shape\":[%zu],\"data_offsets\":[0,%zu]}}", tensor, count,
             count * sizeof value);
    pare_buffer_put_u64(&b, strlen(header));
    pare_buffer_puts(&b, header);
    size_t begin = b.size;
    for (size_t i = 0; value != 0 && i < count; i++)
        pare_buffer_put_f32(&b, value);
    write_file(in_folder(name), b.data, b.size);
    pare_buffer_free(&b);
    assert_int_equal(truncate(in_folder(name), (off_t)(begin + count * sizeof value)), 0);
}

/* Shards model-I.safetensors with a tensor tI each, and their index. */
static void write_shards(size_t shards, size_t count) {
    PareBuffer b = {0};
    pare_buffer_puts(&b, "{\"weight_map\":{");
    for (size_t i = 0; i < shards; i++) {
        char name[64], tensor[32];
        snprintf(name, sizeof name, "model-%zu.safetensors", i);
        snprintf(tensor, sizeof tensor, "t%zu", i);
        write_shard(name, tensor, count, count < 10 ? (float)i + 1 : 0);
        pare_buffer_printf(&b, "%s\"%s\":\"%s\"", i > 0 ? "," : "", tensor, name);
    }
    pare_buffer_puts(&b, "}}");
    write_file(in_folder("model.safetensors.index.json"), b.data, b.size);
    pare_buffer_free(&b);
}

static size_t count_mapped(void) {
    char line[1024];
    size_t count = 0;
    FILE *f = fopen("/proc/self/maps", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        count += strstr(line, folder) != NULL;
    fclose(f);
    return count;
}

/* A thousand shards under a limit of 40 descriptors, read in a jumbled order: a handful of mappings
 * at any time. */
static void test_thousand(void **state) {
    enum { SHARDS = 1000 };
    struct rlimit old, low = {40, 40};
    PareError err;
    (void)state;
    make_folder();
    write_shards(SHARDS, 2);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    PareCheckpoint *c = open_good(folder);
    assert_int_equal(pare_checkpoint_count(c), SHARDS);
    assert_int_equal(pare_checkpoint_files(c), SHARDS + 1);
    for (size_t i = 0; i < SHARDS; i++) {
        char name[32];
        float values[2] = {0, 0};
        size_t wanted = i * 377 % SHARDS;
        snprintf(name, sizeof name, "t%zu", wanted);
        const PareCheckpointTensor *t = pare_checkpoint_find(c, name);
        assert_non_null(t);
        assert_int_equal(pare_checkpoint_read_f32(c, t, values, &err), PARE_OK);
        assert_true(values[0] == (float)wanted + 1 && values[1] == values[0]);
        if (i % 100 == 0)
            assert_in_range(count_mapped(), 1, 8);
    }
    pare_checkpoint_close(c);
    assert_int_equal(count_mapped(), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    remove_folder();
}

/* While a large tensor is read its pages are given back, though the mapping is a shard's: beside
 * the destination only a piece of it is in memory. */
static void test_memory(void **state) {
    enum { VALUES = 24 << 20, KIB = VALUES / 256 };
    PareError err;
    (void)state;
    make_folder();
    write_shards(2, VALUES);
    PareCheckpoint *c = open_good(folder);
    float *values = pare_alloc(VALUES, sizeof *values);
    memset(values, 1, VALUES * sizeof *values);
    for (size_t i = 0; i < 2; i++) {
        FILE *f = fopen("/proc/self/clear_refs", "w"); /* the peak begins anew */
        assert_non_null(f);
        fputs("5", f);
        fclose(f);
        long before = status_field("VmRSS");
        const PareCheckpointTensor *t = pare_checkpoint_tensor(c, i);
        assert_int_equal(pare_checkpoint_read_f32(c, t, values, &err), PARE_OK);
        assert_true(values[VALUES - 1] == 0);
        assert_true(status_field("VmHWM") - before < KIB / 2);
        assert_true(status_field("VmRSS") - before < KIB / 8);
    }
    pare_free(values);
    pare_checkpoint_close(c);
    remove_folder();
}

/* As in a download cache: names in one folder are links to files elsewhere, called otherwise. */
static void test_links(void **state) {
    char target[800], link[800];
    (void)state;
    make_folder();
    write_shards(2, 2);
    const char *const names[] = {"model-0.safetensors", "model-1.safetensors",
                                 "model.safetensors.index.json"};
    assert_int_equal(mkdir(in_folder("snapshot"), 0700), 0);
    for (size_t i = 0; i < 3; i++) {
        char blob[16];
        snprintf(blob, sizeof blob, "blob%zu", i);
        snprintf(target, sizeof target, "%s", in_folder(names[i]));
        assert_int_equal(rename(target, in_folder(blob)), 0);
        snprintf(target, sizeof target, "../%s", blob);
        snprintf(link, sizeof link, "%s/snapshot/%s", folder, names[i]);
        assert_int_equal(symlink(target, link), 0);
    }
    PareCheckpoint *c = open_good(in_folder("snapshot"));
    assert_int_equal(pare_checkpoint_count(c), 2);
    pare_checkpoint_close(c);
    unlink(in_folder("blob1"));
    refuse(in_folder("snapshot"), "1 of its 2 shards is missing: model-1.safetensors");
    assert_int_equal(symlink(names[2], in_folder("snapshot/model-9.safetensors")), 0);
    write_file(in_folder("blob2"), "{\"weight_map\":{\"a\":\"model-9.safetensors\"}}", 42);
    refuse(in_folder("snapshot"), "model-9.safetensors: is the index of a sharded checkpoint");
    remove_folder();
}

static void test_odd_shards(void **state) {
    (void)state;
    make_folder();
    write_shards(2, 2);
    unlink(in_folder("model-1.safetensors"));
    assert_int_equal(mkdir(in_folder("model-1.safetensors"), 0700), 0);
    refuse(folder, "model-1.safetensors: cannot map: it is a folder");
    rmdir(in_folder("model-1.safetensors"));
    assert_int_equal(mkfifo(in_folder("model-1.safetensors"), 0600), 0);
    refuse(folder, "it is not a regular file");
    remove_folder();
}

/* A shard that is replaced while the checkpoint is open is noticed when it is opened again. */
static void test_changed(void **state) {
    PareError err;
    float values[4];
    (void)state;
    make_folder();
    write_shards(8, 2);
    PareCheckpoint *c = open_good(folder);
    unlink(in_folder("model-0.safetensors"));
    write_shard("model-0.safetensors", "t0", 3, 1);
    const PareCheckpointTensor *t = pare_checkpoint_find(c, "t0");
    assert_int_equal(pare_checkpoint_read_f32(c, t, values, &err), PARE_E_FORMAT);
    assert_says(&err, "model-0.safetensors: changed while it was read");
    unlink(in_folder("model-2.safetensors"));
    t = pare_checkpoint_find(c, "t2");
    assert_int_equal(pare_checkpoint_read_f32(c, t, values, &err), PARE_E_IO);
    t = pare_checkpoint_find(c, "t1");
    assert_int_equal(pare_checkpoint_read_f32(c, t, values, &err), PARE_OK);
    pare_checkpoint_close(c);
    remove_folder();
}

/* ---- Damage ---- */

static void test_damage(void **state) {
    static const char *const names[] = {"mixed.index.json", "one.safetensors", "two.safetensors",
                                        "three.bin",        "four.bin",        "eight.safetensors"};
    char opened[700];
    (void)state;
    make_folder();
    for (int pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            char from[128];
            size_t size;
            snprintf(from, sizeof from, SHARDED "%s", names[i]);
            uint8_t *bytes = read_file(from, &size);
            snprintf(opened, sizeof opened, "%s", in_folder(names[0]));
            if (pass == 0)
                write_file(in_folder(names[i]), bytes, size);
            else
                corpus_damage(in_folder(names[i]), bytes, size, opened);
            pare_free(bytes);
        }
    PareCheckpoint *c = open_good(opened); /* all is as it was */
    pare_checkpoint_close(c);
    remove_folder();
}

/* Whichever allocation fails, the error says so and nothing leaks (the sanitizers watch). */
static void test_failing_memory(void **state) {
    static const char *const names[] = {SHARDED "mixed.index.json", SHARDED "in-two.index.json",
                                        SHARDED "total-wrong.index.json"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        PareStatus status = PARE_E_MEMORY;
        for (uint64_t n = 1; status == PARE_E_MEMORY && n < 10000; n++) {
            PareCheckpoint *c = NULL;
            PareError err = {PARE_OK, ""};
            pare_memory_fail_after(n);
            status = pare_checkpoint_open(names[i], NULL, &c, &err);
            pare_memory_fail_after(0);
            assert_int_equal(status == PARE_OK, err.message[0] == '\0');
            pare_checkpoint_close(c);
        }
        assert_int_equal(status, i == 1 ? PARE_E_FORMAT : PARE_OK);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus),         cmocka_unit_test(test_values),
        cmocka_unit_test(test_formats),        cmocka_unit_test(test_tied),
        cmocka_unit_test(test_tensorflow),     cmocka_unit_test(test_total),
        cmocka_unit_test(test_thousand),       cmocka_unit_test(test_memory),
        cmocka_unit_test(test_links),          cmocka_unit_test(test_changed),
        cmocka_unit_test(test_odd_shards),     cmocka_unit_test(test_damage),
        cmocka_unit_test(test_failing_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
