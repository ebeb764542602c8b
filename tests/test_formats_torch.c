/* Every kind of PyTorch checkpoint, right and wrong (tests/make_torch_corpus.py): what is read is
 * what PyTorch reads, what is refused is refused with a sentence, and no damage does harm. */
#include "tests/test_formats_corpus.h"

#define TORCH CORPUS "torch/"

/* ---- The corpus ---- */

static int compare_lines(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The SHA-256 of the sorted lines, as the corpus' script lists them. */
static void hash_lines(char **lines, size_t count, char hex[PARE_SHA256_HEX_SIZE]) {
    PareSha256 *h = pare_sha256_create();
    assert_non_null(h);
    if (count > 0)
        qsort(lines, count, sizeof *lines, compare_lines);
    for (size_t i = 0; i < count; i++)
        pare_sha256_update(h, lines[i], strlen(lines[i]));
    pare_sha256_hex(h, hex);
    pare_sha256_destroy(h);
}

/* One line of the list; false when the tensor was refused, with `err` filled. */
static bool list_tensor(PareCheckpoint *c, size_t i, char **line, PareError *err) {
    const PareCheckpointTensor *t = pare_checkpoint_tensor(c, i);
    PareBuffer out = {0};
    char shape[256];
    size_t elements;
    bool good = true;
    assert_true(pare_tensor_elements(&t->type, &elements));
    assert_in_range(elements, 0, 1 << 24);
    if (t->type.dtype == PARE_DTYPE_COUNT) {
        assert_int_equal(pare_checkpoint_read_f32(c, t, NULL, err), PARE_E_UNSUPPORTED);
        assert_says(err, t->foreign_dtype);

        pare_buffer_printf(&out, "%s\t%s\t%s\t-\n", t->name,
                           pare_tensor_shape_text(&t->type, shape, sizeof shape),
                           pare_checkpoint_dtype_name(t));
    } else {
        float *values = pare_alloc(elements, sizeof *values);
        assert_non_null(values);
        good = pare_checkpoint_read_f32(c, t, values, err) == PARE_OK;
        if (good)
            put_line(&out, t->name, &t->type, values, elements);
        pare_free(values);
    }
    *line = good ? pare_buffer_steal(&out, &elements) : NULL;
    return good;
}

/* Of this process: the machine may be busy with others. */
static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Opens and reads everything: the number of tensors and their hash, or -1 and `err`. */
static long list_file(const char *path, const char *root, char hex[PARE_SHA256_HEX_SIZE],
                      PareError *err) {
    PareCheckpoint *c;
    double begin = cpu_seconds();
    bool good = true;
    if (pare_checkpoint_open(path, root, &c, err) != PARE_OK)
        return -1;
    size_t count = pare_checkpoint_count(c), listed = 0;
    char **lines = pare_alloc(count, sizeof *lines);
    for (size_t i = 0; i < count && good; i++) {
        good = list_tensor(c, i, &lines[i], err);
        listed += good;
    }
    hash_lines(lines, listed, hex);
    for (size_t i = 0; i < listed; i++)
        pare_free(lines[i]);
    pare_free(lines);
    pare_checkpoint_close(c);
    if (cpu_seconds() - begin > 1)
        fail_msg("%s took %g seconds", path, cpu_seconds() - begin);
    return good ? (long)count : -1;
}

/* "NAME[@ROOT] ok TENSORS SHA256" or "NAME[@ROOT] refused WORDS". */
static void check_line(char *line) {
    char path[512], hex[PARE_SHA256_HEX_SIZE], got[128];
    PareError err = {PARE_OK, ""};
    char *words = strchr(line, ' '), *root;
    assert_non_null(words);
    *words++ = '\0';
    root = strchr(line, '@');
    if (root != NULL)
        *root++ = '\0';
    snprintf(path, sizeof path, TORCH "%s", line);
    long count = list_file(path, root, hex, &err);
    if (strncmp(words, "refused ", 8) == 0) {
        if (count >= 0)
            fail_msg("%s was not refused; wanted '%s'", path, words + 8);
        assert_says(&err, words + 8);
        assert_says(&err, path);
        return;
    }
    if (count < 0)
        fail_msg("%s", err.message);
    snprintf(got, sizeof got, "ok %ld %s", count, hex);
    if (strcmp(got, words) != 0)
        fail_msg("%s: got '%s', wanted '%s'", path, got, words);
}

typedef void OnLine(char *line);

static size_t for_each_line(OnLine *run) {
    size_t size, count = 0;
    char *text = (char *)read_file(TORCH "expected.txt", &size);
    for (char *line = text; *line != '\0'; count++) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        *end = '\0';
        run(line);
        line = end + 1;
    }
    pare_free(text);
    return count;
}

static void test_corpus(void **state) {
    (void)state;
    assert_in_range(for_each_line(check_line), 130, 1000);
}

/* ---- Damage ---- */

/* Every file cut at 40 places, and with bits flipped; each once. */
static void damage_line(char *line) {
    char from[512];
    size_t size;
    PareError err;
    const char *path = temporary("torch-damaged");
    size_t rounds = getenv("PARE_TEST_LONG") != NULL ? 2000 : 60;
    line[strcspn(line, " ")] = '\0';
    if (strchr(line, '@') != NULL) /* the same file under another root */
        return;
    snprintf(from, sizeof from, TORCH "%s", line);
    uint8_t *bytes = read_file(from, &size);
    for (size_t i = 0; i < 40; i++) {
        write_file(path, bytes, size * i / 40);
        assert_int_equal(corpus_open(path, &err), -1);
    }
    for (size_t i = 0; i < rounds && size > 0; i++) {
        uint64_t bit = pare_random_below(19, i, size, size * 8);
        bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
        write_file(path, bytes, size);
        corpus_open(path, &err);
        if (i % 3 == 2) /* up to three together, then from the original again */
            for (size_t k = i - 2; k <= i; k++) {
                bit = pare_random_below(19, k, size, size * 8);
                bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
            }
    }
    pare_free(bytes);
    unlink(path);
}

static void test_damage(void **state) {
    (void)state;
    for_each_line(damage_line);
}

/* Whichever allocation fails, the error says so and nothing leaks (the sanitizers watch). */
static void test_failing_memory(void **state) {
    static const char *const names[] = {"stream-views",      "script",    "quantized-lists",
                                        "training-zip-p4",   "lightning", "zip-quantized",
                                        "zip-deflated",      "several",   "packed-linear",
                                        "stream-count-other"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[512], hex[PARE_SHA256_HEX_SIZE];
        PareStatus status = PARE_E_MEMORY;
        snprintf(path, sizeof path, TORCH "%s", names[i]);
        for (uint64_t n = 1; status == PARE_E_MEMORY && n < 5000; n++) {
            PareCheckpoint *c = NULL;
            PareError err = {PARE_OK, ""};
            pare_memory_fail_after(n);
            status = pare_checkpoint_open(path, NULL, &c, &err);
            pare_memory_fail_after(0);
            assert_true(status == PARE_OK || err.message[0] != '\0');
            pare_checkpoint_close(c);
        }
        assert_int_not_equal(status, PARE_E_MEMORY);
        PareError ignored;
        list_file(path, NULL, hex, &ignored);
    }
}

/* ---- What the list does not show ---- */

static PareCheckpoint *open_torch(const char *name) {
    char path[512];
    PareCheckpoint *c;
    PareError err;
    snprintf(path, sizeof path, TORCH "%s", name);
    if (pare_checkpoint_open(path, NULL, &c, &err) != PARE_OK)
        fail_msg("%s", err.message);
    return c;
}

static uint64_t view_of(const PareCheckpoint *c, const char *name) {
    const PareCheckpointTensor *t = pare_checkpoint_find(c, name);
    assert_non_null(t);
    return t->view_id;
}

static void test_ties(void **state) {
    static const char *const names[] = {"zip-views", "stream-views"};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        PareCheckpoint *c = open_torch(names[i]);
        assert_int_not_equal(view_of(c, "matrix"), 0);
        assert_int_equal(view_of(c, "matrix"), view_of(c, "tied"));
        assert_int_not_equal(view_of(c, "matrix"), view_of(c, "base"));
        assert_int_not_equal(view_of(c, "matrix"), view_of(c, "transposed"));
        assert_int_equal(view_of(c, "empty"), 0);
        pare_checkpoint_close(c);
    }
    PareCheckpoint *c = open_torch("script");
    assert_int_equal(view_of(c, "tied.weight"), view_of(c, "linear.weight"));
    pare_checkpoint_close(c);
}

static void test_formats(void **state) {
    static const char *const names[][2] = {
        {"zip-p2", "PyTorch zip"}, {"stream-p2", "PyTorch legacy"}, {"script", "TorchScript"}};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        PareCheckpoint *c = open_torch(names[i][0]);
        assert_string_equal(pare_checkpoint_format(c), names[i][1]);
        assert_string_equal(pare_checkpoint_warnings(c), "");
        pare_checkpoint_close(c);
    }
}

/* Weights that a quantized layer packs into a tuple are no entries of the state dict. */
static void test_warnings(void **state) {
    (void)state;
    PareCheckpoint *c = open_torch("packed-linear");
    assert_string_equal(
        pare_checkpoint_warnings(c),
        "'_packed_params._packed_params' is a tuple with tensors inside, which are not read\n");
    pare_checkpoint_close(c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus),         cmocka_unit_test(test_ties),
        cmocka_unit_test(test_formats),        cmocka_unit_test(test_warnings),
        cmocka_unit_test(test_failing_memory), cmocka_unit_test(test_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
