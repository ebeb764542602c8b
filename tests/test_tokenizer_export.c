/* Tokenizers written as files: loading them gives the same tokenizer, byte for byte of its compact
 * form, and what files cannot say is named. */
#include "tests/test_tokenizer_common.h"
#include "text/tokenizer_export.h"

/* Writes `t`, reads it again, and returns what differs (the caller frees `out`). */
static void there_and_back(const PareTokenizer *t, const PareTokenizerHints *hints, size_t files,
                           PareBuffer *out) {
    PareError err = {0};
    PareBuffer a = {0}, b = {0};
    Sink sink = {new_folder(), 0};
    if (pare_tokenizer_export(t, hints, 64, take, &sink, &err))
        fail_msg("%s", err.message);
    assert_int_equal(sink.files, files);
    PareTokenizer *again = load_or_fail(sink.folder, hints);
    remove_folder(sink.folder);
    pare_tokenizer_differences(t, again, out);
    assert_int_equal(pare_tokenizer_to_bytes(t, &a, &err), PARE_OK);
    assert_int_equal(pare_tokenizer_to_bytes(again, &b, &err), PARE_OK);
    bool same = a.size == b.size && memcmp(a.data, b.data, a.size) == 0;
    assert_int_equal(same, out->size == 0); /* the words and the bytes agree */
    pare_tokenizer_free(again);
    pare_buffer_free(&a);
    pare_buffer_free(&b);
}

static void same(const char *from, const PareTokenizerHints *hints, size_t files) {
    PareBuffer differences = {0};
    PareTokenizer *t = load_or_fail(from, hints);
    there_and_back(t, hints, files, &differences);
    if (differences.size)
        fail_msg("%s: %s", from, differences.data);
    pare_buffer_free(&differences);
    pare_tokenizer_free(t);
}

static void test_kinds(void **state) {
    (void)state;
    same(TOKENIZERS "wordpiece", &hints_wordpiece, 2);
    same(TOKENIZERS "cased", &hints_wordpiece, 2);
    same(TOKENIZERS "bpe", &hints_bpe, 3);
    same(TOKENIZERS "bpe", &hints_plain_bpe, 3);
    same(TOKENIZERS "unigram", &hints_unigram, 2);
    same(TOKENIZERS "bytes", &hints_unigram, 2);
    same(TOKENIZERS "suffix", &hints_unigram, 2);
    same(TOKENIZERS "pair", &hints_pair, 4);
}

/* tokenizer.json can say more than the older files: what is lost is named. */
static void test_from_json(void **state) {
    (void)state;
    static const struct {
        const char *name;
        const PareTokenizerHints *hints;
        size_t files;
        const char *lost;
    } CASES[] = {{"wordpiece", &hints_wordpiece, 2, ""},
                 {"wordpiece_old", &hints_wordpiece, 2, ""},
                 {"bpe", &hints_bpe, 3, ""},
                 {"bpe_new", &hints_bpe, 3, "the template of one text, the template of a pair"}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        char path[300];
        PareBuffer differences = {0};
        const char *folder = new_folder();
        snprintf(path, sizeof path, TOKENIZERS "json/%s.json", CASES[i].name);
        copy_file(path, folder, "tokenizer.json");
        PareTokenizer *t = load_or_fail(folder, CASES[i].hints);
        remove_folder(folder);
        there_and_back(t, CASES[i].hints, CASES[i].files, &differences);
        assert_string_equal(differences.size ? differences.data : "", CASES[i].lost);
        pare_buffer_free(&differences);
        pare_tokenizer_free(t);
    }
}

/* Changes that only the memory knows: each is either kept or named. */
static void test_differences(void **state) {
    (void)state;
    PareBuffer out = {0};
    PareTokenizer *t = load_or_fail(TOKENIZERS "wordpiece", &hints_wordpiece);
    t->wordpiece.max_chars = 7;
    there_and_back(t, &hints_wordpiece, 2, &out);
    assert_string_equal(out.data, "how text is normalized, split or scored");
    t->wordpiece.max_chars = 100;
    t->single.items[0].id++;
    pare_buffer_clear(&out);
    there_and_back(t, &hints_wordpiece, 2, &out);
    assert_string_equal(out.data, "the template of one text");
    t->single.items[0].id--;
    t->cleanup = PARE_CLEANUP_NONE;
    pare_buffer_clear(&out);
    there_and_back(t, &hints_wordpiece, 2, &out);
    assert_string_equal(out.data, "the clean-up of decoded text");
    t->cleanup = PARE_CLEANUP_TEXT;
    t->roles[PARE_ROLE_MASK] = -1; /* must not come back from the family's usual names */
    t->added[0].flags ^= PARE_TOKEN_RSTRIP | PARE_TOKEN_SINGLE_WORD | PARE_TOKEN_NORMALIZED;
    t->wordpiece.lowercase = !t->wordpiece.lowercase;
    t->wordpiece.ideographs = !t->wordpiece.ideographs;
    pare_buffer_clear(&out);
    there_and_back(t, &hints_wordpiece, 2, &out);
    if (out.size)
        fail_msg("%s", out.data);
    pare_buffer_free(&out);
    pare_tokenizer_free(t);
}

/* The reference drops the first line of merges.txt whatever it is. */
static void test_merges(void **state) {
    (void)state;
    PareError err = {0};
    char path[600];
    size_t size;
    Sink sink = {new_folder(), 0};
    PareTokenizer *t = load_or_fail(TOKENIZERS "bpe", &hints_bpe);
    assert_int_equal(pare_tokenizer_export(t, &hints_bpe, 0, take, &sink, &err), PARE_OK);
    snprintf(path, sizeof path, "%s/merges.txt", sink.folder);
    char *text = read_all(path, &size);
    assert_int_equal(strncmp(text, "#version: 0.2\n", 14), 0);
    pare_free(text);
    pare_tokenizer_free(t);
    remove_folder(sink.folder);
}

/* Other numbers of <extra_id_n> than the family's usual one. */
static void test_extra_ids(void **state) {
    (void)state;
    PareTokenizerHints few = hints_unigram;
    for (uint32_t n = 0; n < 8; n += 7) {
        PareBuffer differences = {0};
        few.extra_ids = n;
        PareTokenizer *t = load_or_fail(TOKENIZERS "unigram", &few);
        there_and_back(t, &hints_unigram, 2, &differences);
        if (differences.size)
            fail_msg("%u: %s", n, differences.data);
        pare_tokenizer_free(t);
    }
}

static void test_refused(void **state) {
    (void)state;
    PareError err = {0};
    Sink sink = {new_folder(), 0};
    PareTokenizer *t = load_or_fail(TOKENIZERS "wordpiece", &hints_wordpiece);
    t->vocab.text[t->vocab.start[9]] = '\n';
    assert_int_equal(pare_tokenizer_export(t, &hints_wordpiece, 0, take, &sink, &err),
                     PARE_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "piece 9 holds a line end"));
    assert_int_equal(sink.files, 0);
    remove_folder(sink.folder);
    pare_tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kinds),       cmocka_unit_test(test_from_json),
        cmocka_unit_test(test_differences), cmocka_unit_test(test_merges),
        cmocka_unit_test(test_extra_ids),   cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
