/* Tokenizers on the small fixtures: ids against second implementations (reference.py, spm_encode),
 * from the files and from the compact form; templates, limits, added tokens, decoding. */
#include "core/threads.h"
#include "tests/test_tokenizer_common.h"

static char *texts;

static void check_kind(const char *folder, const PareTokenizerHints *hints, PareSide side,
                       const char *expected) {
    char path[256];
    size_t size;
    snprintf(path, sizeof path, TOKENIZERS "%s", folder);
    PareTokenizer *t = load_or_fail(path, hints);
    snprintf(path, sizeof path, TOKENIZERS "expected/%s.ids", expected);
    char *ids = read_all(path, &size);
    assert_lines(t, side, true, texts, ids);
    t = through_bytes(t);
    assert_lines(t, side, true, texts, ids);
    pare_free(ids);
    pare_tokenizer_free(t);
}

static void test_ids(void **state) {
    (void)state;
    check_kind("wordpiece", &hints_wordpiece, PARE_SIDE_SOURCE, "wordpiece");
    check_kind("cased", &hints_wordpiece, PARE_SIDE_SOURCE, "cased");
    check_kind("bpe", &hints_bpe, PARE_SIDE_SOURCE, "bpe");
    check_kind("unigram", &hints_unigram, PARE_SIDE_SOURCE, "unigram");
    check_kind("bytes", &hints_unigram, PARE_SIDE_SOURCE, "bytes");
    check_kind("suffix", &hints_unigram, PARE_SIDE_SOURCE, "suffix");
    check_kind("pair", &hints_pair, PARE_SIDE_SOURCE, "source");
    check_kind("pair", &hints_pair, PARE_SIDE_TARGET, "target");
}

static void check_json(const char *name, const PareTokenizerHints *hints, const char *expected,
                       const char *single) {
    char path[256];
    size_t size;
    const char *folder = new_folder();
    snprintf(path, sizeof path, TOKENIZERS "json/%s.json", name);
    copy_file(path, folder, "tokenizer.json");
    PareTokenizer *t = through_bytes(load_or_fail(folder, hints));
    snprintf(path, sizeof path, TOKENIZERS "expected/%s.ids", expected);
    char *ids = read_all(path, &size);
    assert_lines(t, PARE_SIDE_SOURCE, true, texts, ids);
    assert_pieces(t, PARE_SIDE_SOURCE, "the", single);
    pare_free(ids);
    pare_tokenizer_free(t);
    remove_folder(folder);
}

static void test_json(void **state) {
    (void)state;
    check_json("wordpiece", &hints_wordpiece, "wordpiece", "[CLS] the [SEP]");
    check_json("wordpiece_old", &hints_wordpiece, "wordpiece", "[CLS] the [SEP]");
    check_json("bpe", &hints_bpe, "bpe", "<s> t he </s>");
    check_json("bpe_new", &hints_bpe, "bpe", "t he"); /* its post-processor wins over the hints */
}

static void test_lookup(void **state) {
    (void)state;
    size_t n;
    PareTokenizer *t = load_or_fail(TOKENIZERS "wordpiece", &hints_wordpiece);
    assert_string_equal(pare_tokenizer_kind(t), "WordPiece");
    assert_int_equal(pare_tokenizer_id(t, "[PAD]"), 0);
    assert_int_equal(pare_tokenizer_id(t, "no such piece"), -1);
    assert_int_equal(pare_tokenizer_id(t, ""), -1);
    assert_string_equal(pare_tokenizer_piece(t, 2), "[UNK]");
    assert_string_equal(pare_tokenizer_piece(t, -1), "");
    assert_string_equal(pare_tokenizer_piece(t, 1 << 30), "");
    assert_true(pare_tokenizer_is_special(t, 3));
    assert_false(pare_tokenizer_is_special(t, 1));
    assert_int_equal(pare_tokenizer_pad(t), 0);
    assert_int_equal(pare_tokenizer_eos(t), -1);
    assert_string_equal(pare_tokenizer_files(t, &n)[0], "tokenizer_config.json");
    assert_int_equal(n, 2);
    pare_tokenizer_free(t);
    t = load_or_fail(TOKENIZERS "bpe", &hints_bpe);
    assert_int_equal(pare_tokenizer_bos(t), 0);
    assert_int_equal(pare_tokenizer_eos(t), 2);
    pare_tokenizer_free(t);
    pare_tokenizer_free(NULL);
}

static void test_no_files(void **state) {
    (void)state;
    PareError err;
    PareTokenizer *t = (PareTokenizer *)&err;
    const char *folder = new_folder();
    assert_int_equal(pare_tokenizer_load(folder, &hints_bpe, &t, &err), PARE_OK);
    assert_null(t);
    remove_folder(folder);
}

static void test_special_tokens_in_text(void **state) {
    (void)state;
    PareTokenizer *t = load_or_fail(TOKENIZERS "wordpiece", &hints_wordpiece);
    assert_pieces(t, PARE_SIDE_SOURCE, "the [MASK][SEP] [mask]",
                  "[CLS] the [MASK] [SEP] [ m ##a ##s ##k ] [SEP]");
    assert_pieces(t, PARE_SIDE_SOURCE, "", "[CLS] [SEP]");
    pare_tokenizer_free(t);
    t = load_or_fail(TOKENIZERS "bpe", &hints_bpe);
    assert_pieces(t, PARE_SIDE_SOURCE, "the  <mask> the</s>", "<s> t he <mask> Ġthe </s> </s>");
    pare_tokenizer_free(t);
    t = load_or_fail(TOKENIZERS "unigram", &hints_unigram);
    assert_pieces(t, PARE_SIDE_SOURCE, "the<extra_id_0> the <extra_id_99>",
                  "▁the <extra_id_0> ▁the <extra_id_99> </s>");
    assert_int_equal(pare_tokenizer_id(t, "<extra_id_0>"), (int)pare_tokenizer_size(t) - 1);
    assert_int_equal(pare_tokenizer_id(t, "<extra_id_99>"), (int)pare_tokenizer_size(t) - 100);
    pare_tokenizer_free(t);
}

static void test_language_code(void **state) {
    (void)state;
    PareTokenizer *t = load_or_fail(TOKENIZERS "pair", &hints_pair);
    assert_pieces(t, PARE_SIDE_SOURCE, ">>xx<< the", ">>xx<< ▁the </s>");
    assert_pieces(t, PARE_SIDE_SOURCE, ">>zz<< the", "<unk> ▁the </s>");
    assert_pieces(t, PARE_SIDE_SOURCE, "the >>xx<<the", "▁the ▁the </s>");
    assert_pieces(t, PARE_SIDE_SOURCE, ">><<", "▁ <unk> </s>");
    pare_tokenizer_free(t);
}

static void test_added_tokens(void **state) {
    (void)state;
    const char *folder = new_folder();
    static const char added[] = "{\"<ent>\": 700, \"Foo\": 701, \"<pad>\": 1}";
    static const char config[] =
        "{\"added_tokens_decoder\": {\"700\": {\"content\": \"<ent>\", \"rstrip\": true, "
        "\"lstrip\": false, \"normalized\": false, \"single_word\": false, \"special\": true}, "
        "\"702\": {\"content\": \"word\", \"single_word\": true}}, \"add_prefix_space\": true, "
        "\"eos_token\": {\"content\": \"<|end|>\"}, \"bos_token\": null}";
    copy_file(TOKENIZERS "bpe/vocab.json", folder, "vocab.json");
    copy_file(TOKENIZERS "bpe/merges.txt", folder, "merges.txt");
    put_file(folder, "added_tokens.json", added, strlen(added));
    put_file(folder, "tokenizer_config.json", config, strlen(config));
    PareTokenizer *t = through_bytes(load_or_fail(folder, &hints_bpe));
    assert_int_equal(pare_tokenizer_size(t), 703);
    assert_string_equal(pare_tokenizer_piece(t, 600), "");
    assert_true(pare_tokenizer_is_special(t, 700));
    assert_false(pare_tokenizer_is_special(t, 701));
    assert_int_equal(pare_tokenizer_bos(t), -1);
    assert_string_equal(pare_tokenizer_piece(t, pare_tokenizer_eos(t)), "<|end|>");
    assert_pieces(t, PARE_SIDE_SOURCE, "the<ent>  the word", "<s> Ġthe <ent> Ġthe Ġ word </s>");
    assert_pieces(t, PARE_SIDE_SOURCE, "Foothe", "<s> Foo Ġthe </s>");
    assert_pieces(t, PARE_SIDE_SOURCE, "<|end|>wordy", "<s> <|end|> Ġw or d y </s>");
    pare_tokenizer_free(t);
    remove_folder(folder);
}

static void test_pair(void **state) {
    (void)state;
    PareIds ids = {0}, types = {0};
    PareError err;
    PareBuffer got = {0};
    PareTokenizer *t = through_bytes(load_or_fail(TOKENIZERS "wordpiece", &hints_wordpiece));
    assert_int_equal(pare_tokenizer_encode_pair(t, "the", 3, "the the", 7, &ids, &types, &err),
                     PARE_OK);
    put_ids(&got, types.data, types.count);
    assert_string_equal(got.data, "0 0 0 1 1 1");
    assert_int_equal(ids.count, 6);
    assert_int_equal(pare_tokenizer_template_size(t, false), 2);
    assert_int_equal(pare_tokenizer_template_size(t, true), 3);
    pare_ids_free(&ids);
    pare_ids_free(&types);
    pare_buffer_free(&got);
    pare_tokenizer_free(t);
}

static void test_limit(void **state) {
    (void)state;
    PareIds ids = {0};
    PareError err;
    bool cut;
    PareTokenizer *t = load_or_fail(TOKENIZERS "wordpiece", &hints_wordpiece);
    for (size_t limit = 0; limit < 8; limit++) {
        ids.count = 0;
        PareStatus status = pare_tokenizer_encode_limit(t, PARE_SIDE_SOURCE, "the the the the", 15,
                                                        limit, &cut, &ids, &err);
        assert_int_equal(status, limit < 2 ? PARE_E_USAGE : PARE_OK);
        if (limit >= 2) {
            assert_int_equal(ids.count, limit < 6 ? limit : 6);
            assert_int_equal(cut, limit < 6);
            assert_int_equal(ids.data[0], 3);
            assert_int_equal(ids.data[ids.count - 1], 4);
        }
    }
    pare_ids_free(&ids);
    pare_tokenizer_free(t);
}

/* ---- Decoding ---------------------------------------------------------------------------------
 */

static void decode(const PareTokenizer *t, PareSide side, const char *text, bool skip,
                   const char *wanted) {
    PareIds ids = {0};
    PareBuffer got = {0};
    PareError err;
    assert_int_equal(pare_tokenizer_encode(t, side, text, strlen(text), true, &ids, &err), PARE_OK);
    assert_int_equal(pare_tokenizer_decode(t, side, ids.data, ids.count, skip, &got, &err),
                     PARE_OK);
    assert_string_equal(got.data != NULL ? got.data : "", wanted);
    pare_buffer_free(&got);
    pare_ids_free(&ids);
}

static void test_decode(void **state) {
    (void)state;
    PareTokenizer *t = through_bytes(load_or_fail(TOKENIZERS "wordpiece", &hints_wordpiece));
    decode(t, PARE_SIDE_SOURCE, "It's unaffordable , isn't it ?", true,
           "it's unaffordable, isn't it?");
    decode(t, PARE_SIDE_SOURCE, "the [MASK].", false, "[CLS] the [MASK]. [SEP]");
    pare_tokenizer_free(t);
    t = through_bytes(load_or_fail(TOKENIZERS "bpe", &hints_bpe));
    decode(t, PARE_SIDE_SOURCE, " Zwölf  Boxkämpfer , 漢字 👩‍👩‍👧\n\t", true,
           " Zwölf  Boxkämpfer , 漢字 👩‍👩‍👧\n\t");
    decode(t, PARE_SIDE_SOURCE,
           "\xff"
           "a\xe4\xb8",
           true,
           "\xEF\xBF\xBD"
           "a\xEF\xBF\xBD");
    decode(t, PARE_SIDE_SOURCE, "the", false, "<s>the</s>");
    PareBuffer out = {0};
    PareError err;
    int32_t half = pare_tokenizer_id(t, "ä"); /* the byte 0xE4 alone */
    assert_true(half >= 0);
    assert_int_equal(pare_tokenizer_decode(t, PARE_SIDE_SOURCE, &half, 1, true, &out, &err),
                     PARE_OK);
    assert_string_equal(out.data, "\xEF\xBF\xBD");
    half = 1 << 20;
    assert_int_equal(pare_tokenizer_decode(t, PARE_SIDE_SOURCE, &half, 1, true, &out, &err),
                     PARE_E_USAGE);
    pare_buffer_free(&out);
    pare_tokenizer_free(t);
    t = through_bytes(load_or_fail(TOKENIZERS "unigram", &hints_unigram));
    decode(t, PARE_SIDE_SOURCE, " the  bridge is there.", true, "the bridge is there.");
    decode(t, PARE_SIDE_SOURCE, "the <extra_id_0> cat", false, "the<extra_id_0> cat</s>");
    pare_tokenizer_free(t);
    t = through_bytes(load_or_fail(TOKENIZERS "bytes", &hints_unigram));
    decode(t, PARE_SIDE_SOURCE, "漢字 <tag> ü 👩‍👩‍👧", true,
           "漢字 <tag> ü 👩‍👩‍👧");
    pare_tokenizer_free(t);
    t = through_bytes(load_or_fail(TOKENIZERS "pair", &hints_pair));
    decode(t, PARE_SIDE_TARGET, " the cat  and the dog.", true, "the cat and the dog.");
    decode(t, PARE_SIDE_TARGET, "the cat", false, "the cat</s>");
    pare_tokenizer_free(t);
}

/* Every line that has no unknown character decodes as spm_decode does. */
static void check_decode(const char *folder, const PareTokenizerHints *hints, PareSide side,
                         const char *expected) {
    char path[256];
    size_t size, compared = 0;
    PareBuffer got = {0};
    PareError err;
    snprintf(path, sizeof path, TOKENIZERS "%s", folder);
    PareTokenizer *t = load_or_fail(path, hints);
    snprintf(path, sizeof path, TOKENIZERS "expected/%s.ids", expected);
    char *ids = read_all(path, &size), *line = ids;
    snprintf(path, sizeof path, TOKENIZERS "expected/%s.text", expected);
    char *wanted = read_all(path, &size);
    const char *want_at = wanted, *want_end, *want;
    while ((want = take_line(&want_at, &want_end)) != NULL) {
        PareIds list = {0};
        bool known = memmem(want, (size_t)(want_end - want), "⁇", 3) == NULL;
        char *end = strchr(line, '\n');
        *end = '\0';
        for (char *p = line, *q; strtol(p, &q, 10), q != p; p = q) {
            int32_t id = (int32_t)strtol(p, NULL, 10);
            known = known && id != t->roles[PARE_ROLE_UNKNOWN];
            assert_true(pare_ids_push(&list, id));
        }
        line = end + 1;
        pare_buffer_clear(&got);
        assert_int_equal(pare_tokenizer_decode(t, side, list.data, list.count, true, &got, &err),
                         PARE_OK);
        known = known && list.count > 0;
        pare_ids_free(&list);
        if (!known)
            continue;
        while (want_end > want && want_end[-1] == ' ')
            want_end--;
        while (want < want_end && *want == ' ')
            want++;
        while (got.size > 0 && got.data[got.size - 1] == ' ')
            got.size--;
        size_t skip = got.size > 0 ? strspn(got.data, " ") : 0;
        assert_int_equal(got.size - skip, want_end - want);
        assert_memory_equal(got.data + skip, want, got.size - skip);
        compared++;
    }
    if (compared < 3)
        fail_msg("%s: only %zu lines without unknown characters", expected, compared);
    pare_free(ids);
    pare_free(wanted);
    pare_buffer_free(&got);
    pare_tokenizer_free(t);
}

static void test_spm_decode(void **state) {
    (void)state;
    check_decode("unigram", &hints_unigram, PARE_SIDE_SOURCE, "unigram");
    check_decode("bytes", &hints_unigram, PARE_SIDE_SOURCE, "bytes");
    check_decode("suffix", &hints_unigram, PARE_SIDE_SOURCE, "suffix");
    check_decode("pair", &hints_pair, PARE_SIDE_SOURCE, "source");
    check_decode("pair", &hints_pair, PARE_SIDE_TARGET, "target");
}

static void test_cleanup_choices(void **state) {
    (void)state;
    static const struct {
        const char *config, *wanted;
    } cases[] = {{"{}", "it's the cat."},
                 {"{\"clean_up_tokenization_spaces\": false}", "it ' s the cat."},
                 {"{\"backend\": \"tokenizers\"}", "it ' s the cat."}};
    for (size_t i = 0; i < 3; i++) {
        const char *folder = new_folder();
        copy_file(TOKENIZERS "wordpiece/vocab.txt", folder, "vocab.txt");
        put_file(folder, "tokenizer_config.json", cases[i].config, strlen(cases[i].config));
        PareTokenizer *t = through_bytes(load_or_fail(folder, &hints_wordpiece));
        decode(t, PARE_SIDE_SOURCE, "It's the cat .", true, cases[i].wanted);
        pare_tokenizer_free(t);
        remove_folder(folder);
    }
}

/* Two models of the same bytes are stored once. */
static void test_same_models(void **state) {
    (void)state;
    PareBuffer two = {0}, one = {0};
    PareError err;
    PareTokenizer *t = load_or_fail(TOKENIZERS "pair", &hints_pair);
    assert_int_equal(pare_tokenizer_to_bytes(t, &two, &err), PARE_OK);
    pare_tokenizer_free(t);
    const char *folder = new_folder();
    copy_file(TOKENIZERS "pair/vocab.json", folder, "vocab.json");
    copy_file(TOKENIZERS "pair/source.spm", folder, "source.spm");
    copy_file(TOKENIZERS "pair/source.spm", folder, "target.spm");
    t = through_bytes(load_or_fail(folder, &hints_pair));
    assert_int_equal(pare_tokenizer_to_bytes(t, &one, &err), PARE_OK);
    assert_true(one.size + 500 < two.size);
    assert_pieces(t, PARE_SIDE_TARGET, "the", "▁the </s>");
    pare_buffer_free(&one);
    pare_buffer_free(&two);
    pare_tokenizer_free(t);
    remove_folder(folder);
}

/* Words beyond what short merging handles give what the pieces of a short word give, repeated. */
static void test_long_words(void **state) {
    (void)state;
    PareTokenizer *t = load_or_fail(TOKENIZERS "bpe", &hints_bpe);
    PareIds small = {0}, large = {0};
    PareError err;
    enum { REPEATS = 200000 };
    char *text = pare_alloc(REPEATS, 5);
    for (size_t i = 0; i < REPEATS; i++)
        memcpy(text + 5 * i, "zzqzz", 5);
    assert_int_equal(pare_tokenizer_encode(t, PARE_SIDE_SOURCE, text, 5, false, &small, &err),
                     PARE_OK);
    assert_int_equal(
        pare_tokenizer_encode(t, PARE_SIDE_SOURCE, text, 5 * (size_t)REPEATS, false, &large, &err),
        PARE_OK);
    assert_int_equal(large.count, small.count * REPEATS);
    assert_memory_equal(large.data + small.count * (REPEATS - 1), small.data,
                        small.count * sizeof *small.data);
    pare_ids_free(&small);
    pare_ids_free(&large);
    pare_free(text);
    pare_tokenizer_free(t);
}

/* The heap of long words and the scan of short ones merge alike. */
static void test_heap_and_scan(void **state) {
    (void)state;
    PareTokenizer *t = load_or_fail(TOKENIZERS "bpe", &hints_bpe);
    PareError err;
    char text[200];
    for (uint32_t round = 0; round < 200; round++) {
        PareIds whole = {0}, half = {0};
        uint32_t seed = round * 2654435761u + 12345;
        for (size_t i = 0; i < 60; i++) {
            seed = seed * 1664525u + 1013904223u;
            text[i] = "etaoinshrd"[seed >> 24 & 7];
        }
        /* "漢" cannot merge with what is left of it: the second half is as it is alone. */
        memcpy(text + 60, "\xE6\xBC\xA2", 3);
        memcpy(text + 63, text, 60);
        assert_int_equal(pare_tokenizer_encode(t, PARE_SIDE_SOURCE, text, 60, false, &half, &err),
                         0);
        assert_int_equal(pare_tokenizer_encode(t, PARE_SIDE_SOURCE, text, 123, false, &whole, &err),
                         0);
        assert_int_equal(whole.count, 2 * half.count + 3);
        assert_memory_equal(whole.data, half.data, half.count * sizeof *half.data);
        pare_ids_free(&whole);
        pare_ids_free(&half);
    }
    pare_tokenizer_free(t);
}

/* Threads share one tokenizer: each encodes everything and must find the same. */
typedef struct {
    const PareTokenizer *tokenizer;
    uint64_t sums[16];
} Shared;

static void encode_everything(void *context, size_t begin, size_t end, size_t thread) {
    Shared *s = context;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        PareIds ids = {0};
        PareError err;
        uint64_t sum = 0;
        if (pare_tokenizer_encode(s->tokenizer, PARE_SIDE_SOURCE, texts, strlen(texts), true, &ids,
                                  &err) == PARE_OK) {
            for (size_t k = 0; k < ids.count; k++)
                sum = sum * 31 + (uint64_t)ids.data[k];
        }
        pare_ids_free(&ids);
        s->sums[i] = sum;
    }
}

static void test_threads(void **state) {
    (void)state;
    static const char *const folders[] = {TOKENIZERS "wordpiece", TOKENIZERS "bpe",
                                          TOKENIZERS "unigram"};
    const PareTokenizerHints *const hints[] = {&hints_wordpiece, &hints_bpe, &hints_unigram};
    ParePool *pool;
    PareError err;
    assert_int_equal(pare_pool_create(4, &pool, &err), PARE_OK);
    for (size_t i = 0; i < 3; i++) {
        PareTokenizer *t = load_or_fail(folders[i], hints[i]);
        Shared s = {.tokenizer = t};
        pare_pool_for(pool, 16, 1, encode_everything, &s);
        for (size_t k = 0; k < 16; k++)
            assert_true(s.sums[k] == s.sums[0] && s.sums[0] != 0);
        pare_tokenizer_free(t);
    }
    pare_pool_destroy(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ids),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_lookup),
        cmocka_unit_test(test_no_files),
        cmocka_unit_test(test_special_tokens_in_text),
        cmocka_unit_test(test_language_code),
        cmocka_unit_test(test_added_tokens),
        cmocka_unit_test(test_pair),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_spm_decode),
        cmocka_unit_test(test_cleanup_choices),
        cmocka_unit_test(test_same_models),
        cmocka_unit_test(test_long_words),
        cmocka_unit_test(test_heap_and_scan),
        cmocka_unit_test(test_threads),
    };
    size_t size;
    texts = read_all(TOKENIZERS "texts.txt", &size);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    pare_free(texts);
    return failed;
}
