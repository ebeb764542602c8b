/* What a file is, told by its content: every kind that somebody may hand over by mistake. */
#include "tests/test_formats_corpus.h"

#include "formats/checkpoint_sniff.h"

static void test_corpus(void **state) {
    (void)state;
    assert_in_range(corpus_replay(CORPUS "sniff/"), 60, 1000);
}

static void test_damage(void **state) {
    static const char *const names[] = {"torch",  "tar-torch",     "onnx",    "saved-model",
                                        "flax",   "ctranslate",    "html",    "absent-json",
                                        "tflite", "sentencepiece", "tf-index"};
    (void)state;
    corpus_damage_files(CORPUS "sniff/", names, sizeof names / sizeof *names);
}

/* Space that was reserved for a download: recognised without reading all of it. */
static void test_sparse(void **state) {
    const char *path = temporary("sparse");
    PareError err;
    (void)state;
    write_file(path, "", 0);
    assert_int_equal(truncate(path, (off_t)1 << 40), 0);
    assert_int_equal(corpus_open(path, &err), -1);
    assert_says(&err, "begins with a million zeros");
    unlink(path);
}

/* Every prefix of the first bytes of every kind: nothing is read beyond the end. The mapping is a
 * copy of exactly that size, so that the sanitizer sees it. */
static void test_short_files(void **state) {
    static const char *const names[] = {"torch",         "npz",       "onnx", "core-ml",
                                        "flax",          "lfs",       "html", "flax-many",
                                        "sentencepiece", "ctranslate"};
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char from[128];
        size_t size;
        snprintf(from, sizeof from, CORPUS "sniff/%s", names[i]);
        uint8_t *bytes = read_file(from, &size);
        for (size_t length = 0; length < size && length < 80; length++) {
            const char *advice = NULL;
            uint8_t *copy = pare_alloc(length, 1);
            memcpy(copy, bytes, length);
            pare_content_sniff(&(PareMapping){copy, length}, &advice);
            assert_non_null(advice);
            pare_free(copy);
        }
        pare_free(bytes);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_sparse),
        cmocka_unit_test(test_short_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
