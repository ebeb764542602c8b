/* BLEU against sacreBLEU's own figures (data/metrics/bleu.json, sacreBLEU 2.5.1) and against a
 * plain recount over adversarial texts (data/metrics/make-words.py). */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/json.h"
#include "core/memory.h"
#include "text/bleu_tokens.h"
#include "text/metrics.h"

static PareJsonDoc *read_json(const char *path) {
    PareJsonDoc *doc;
    PareError err;
    if (pare_json_read(path, &doc, &err))
        fail_msg("%s", err.message);
    return doc;
}

static void assert_near(double found, double expected) {
    if (!(fabs(found - expected) <= 1e-10))
        fail_msg("found %.17g, expected %.17g", found, expected);
}

static void assert_bleu(const PareBleu *b, const PareJson *expected) {
    const PareJson *p = pare_json_get(expected, "precisions");
    assert_near(b->score, pare_json_number(pare_json_get(expected, "score")));
    assert_near(b->brevity_penalty, pare_json_number(pare_json_get(expected, "bp")));
    assert_int_equal(b->hypothesis_length, pare_json_integer(pare_json_get(expected, "sys_len")));
    assert_int_equal(b->reference_length, pare_json_integer(pare_json_get(expected, "ref_len")));
    for (size_t i = 0; i < 4; i++)
        assert_near(b->precisions[i], pare_json_number(pare_json_at(p, i)));
}

static void add(PareBleuStats *s, const char *hypothesis, const char *reference) {
    PareError err;
    if (pare_bleu_add(s, hypothesis, reference, &err))
        fail_msg("%s", err.message);
}

static void test_like_sacrebleu(void **state) {
    (void)state;
    PareJsonDoc *doc = read_json("tests/data/metrics/bleu.json");
    const PareJson *root = pare_json_root(doc);
    const PareJson *h = pare_json_first(pare_json_get(root, "hypotheses"));
    const PareJson *r = pare_json_first(pare_json_get(root, "references"));
    PareBleuStats *s = pare_bleu_create();
    assert_non_null(h);
    for (; h && r; h = pare_json_next(h), r = pare_json_next(r))
        add(s, pare_json_string(h), pare_json_string(r));
    assert_true(!h && !r);
    PareBleu b = pare_bleu_score(s);
    assert_bleu(&b, pare_json_get(root, "bleu"));
    pare_bleu_destroy(s);
    pare_json_free(doc);
}

static void assert_words(const char *text, const PareJson *expected, PareBuffer *a, PareBuffer *b) {
    pare_bleu_tokenize(text, a, b);
    const char *at = a->data, *end = at + a->size, *word;
    size_t size;
    const PareJson *w = pare_json_first(expected);
    while ((word = pare_bleu_word(&at, end, &size))) {
        const char *wanted = w ? pare_json_string(w) : "nothing";
        if (!w || strlen(wanted) != size || memcmp(word, wanted, size) != 0)
            fail_msg("\"%s\": found \"%.*s\", expected \"%s\"", text, (int)size, word, wanted);
        w = pare_json_next(w);
    }
    if (w)
        fail_msg("\"%s\": \"%s\" is missing", text, pare_json_string(w));
}

static void test_words(void **state) {
    (void)state;
    PareJsonDoc *doc = read_json("tests/data/metrics/words.json");
    const PareJson *root = pare_json_root(doc);
    const PareJson *t = pare_json_first(pare_json_get(root, "texts"));
    const PareJson *w = pare_json_first(pare_json_get(root, "words"));
    PareBuffer a = {0}, b = {0};
    size_t count = 0;
    for (; t && w; t = pare_json_next(t), w = pare_json_next(w), count++)
        assert_words(pare_json_string(t), w, &a, &b);
    assert_int_equal(count, 400);
    pare_buffer_free(&a);
    pare_buffer_free(&b);
    pare_json_free(doc);
}

static void test_counts(void **state) {
    (void)state;
    PareJsonDoc *doc = read_json("tests/data/metrics/words.json");
    const PareJson *root = pare_json_root(doc);
    const PareJson *t = pare_json_first(pare_json_get(root, "texts")), *next;
    PareBleuStats *s = pare_bleu_create();
    for (; (next = pare_json_next(t)); t = next)
        add(s, pare_json_string(t), pare_json_string(next));
    PareBleu b = pare_bleu_score(s);
    assert_bleu(&b, pare_json_get(root, "bleu"));
    pare_bleu_destroy(s);
    pare_json_free(doc);
}

static PareBleu one(const char *hypothesis, const char *reference) {
    PareBleuStats *s = pare_bleu_create();
    add(s, hypothesis, reference);
    PareBleu b = pare_bleu_score(s);
    pare_bleu_destroy(s);
    return b;
}

static void test_corners(void **state) {
    (void)state;
    PareBleuStats *s = pare_bleu_create();
    PareBleu b = pare_bleu_score(s);
    assert_true(b.score == 0 && b.brevity_penalty == 1 && b.hypothesis_length == 0);
    pare_bleu_destroy(s);
    b = one("", "a b c d");
    assert_true(b.score == 0 && b.brevity_penalty == 0);
    b = one("a b c d", "");
    assert_true(b.score == 0 && b.brevity_penalty == 1 && b.hypothesis_length == 4);
    assert_near(one("a b c d e", "a b c d e").score, 100);
    /* Three words have no run of four: 0, unlike with an effective order. */
    b = one("a b c", "a b c");
    assert_true(b.score == 0 && b.precisions[2] == 100 && b.precisions[3] == 0);
    /* A word that is repeated matches as often as the reference has it. */
    b = one("the the the the", "the cat");
    assert_near(b.precisions[0], 25);
    /* One matching word: orders 2, 3, 4 are smoothed by 2, 4, 8. */
    b = one("a x y z v", "a b c d e");
    assert_near(b.precisions[1], 100.0 / (2 * 4));
    assert_near(b.precisions[2], 100.0 / (4 * 3));
    assert_near(b.precisions[3], 100.0 / (8 * 2));
    assert_near(one("same case only", "Same case only").precisions[0], 200.0 / 3);
    /* Bytes that are no UTF-8 are words like others. */
    assert_near(one("\xff\xc3 b c \xe3\x80", "\xff\xc3 b c \xe3\x80").score, 100);
}

static void test_long_texts(void **state) {
    (void)state;
    enum { N = 100000 };
    char *text = pare_alloc(2 * N + 1, 1);
    for (size_t i = 0; i < N; i++)
        memcpy(text + 2 * i, i % 3 ? "a " : "b ", 2);
    assert_near(one(text, text).score, 100);
    pare_free(text);
}

static void test_no_memory(void **state) {
    (void)state;
    PareError err;
    for (uint64_t n = 1;; n++) {
        pare_memory_fail_after(n);
        PareBleuStats *s = pare_bleu_create();
        PareStatus status = s ? pare_bleu_add(s, "a, b &lt; c.", "a b -\n c", &err) : PARE_E_MEMORY;
        pare_memory_fail_after(0);
        pare_bleu_destroy(s);
        if (status == PARE_OK) {
            assert_true(n > 5);
            break;
        }
        assert_int_equal(status, PARE_E_MEMORY);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_like_sacrebleu), cmocka_unit_test(test_words),
        cmocka_unit_test(test_counts),         cmocka_unit_test(test_corners),
        cmocka_unit_test(test_long_texts),     cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
