/* Tokenizers from damaged files: nothing may crash, and refusals name what was found. */
#include "tests/test_tokenizer_common.h"

/* A small generator, so that every run damages the same bytes. */
static uint32_t next_random(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

static const char sample[] =
    "the [MASK] cat's <mask> Äpfel\t漢 <extra_id_3> >>xx<< 12  \xff\xc3 ü.";

/* Whatever was accepted must also work. */
static void use(PareTokenizer *t) {
    PareIds ids = {0}, types = {0};
    PareBuffer text = {0};
    PareError err;
    bool cut;
    if (pare_tokenizer_encode(t, PARE_SIDE_TARGET, sample, sizeof sample - 1, true, &ids, &err) ==
        0)
        assert_int_equal(
            pare_tokenizer_decode(t, PARE_SIDE_TARGET, ids.data, ids.count, false, &text, &err),
            PARE_OK);
    (void)pare_tokenizer_encode_limit(t, PARE_SIDE_SOURCE, sample, 20, 9, &cut, &ids, &err);
    (void)pare_tokenizer_encode_pair(t, sample, 9, sample, 30, &ids, &types, &err);
    pare_ids_free(&ids);
    pare_ids_free(&types);
    pare_buffer_free(&text);
}

static void damage(const char *bytes, size_t size, uint32_t seed, char *out) {
    uint32_t state = seed;
    memcpy(out, bytes, size);
    for (uint32_t i = next_random(&state) % 4 + 1; i > 0; i--) {
        uint32_t how = next_random(&state) % 3, at = next_random(&state) % (uint32_t)size;
        out[at] = how == 0 ? (char)next_random(&state)
                           : (char)(out[at] ^ (how == 1 ? 1 << next_random(&state) % 8 : 0x80));
    }
}

static void damage_form(const char *folder, const PareTokenizerHints *hints, uint32_t rounds) {
    PareBuffer form = {0};
    PareError err = {0};
    PareTokenizer *t = load_or_fail(folder, hints);
    assert_int_equal(pare_tokenizer_to_bytes(t, &form, &err), PARE_OK);
    pare_tokenizer_free(t);
    char *copy = pare_alloc(form.size + 1, 1);
    for (size_t size = 0; size < form.size;
         size += size < 600 ? 1 : 97) {            /* every prefix is refused */
        char *exact = malloc(size > 0 ? size : 1); /* its own block: reads behind it are found */
        memcpy(exact, form.data, size);
        assert_int_not_equal(pare_tokenizer_from_bytes(exact, size, "x", &t, &err), PARE_OK);
        assert_null(t);
        free(exact);
    }
    memcpy(copy, form.data, form.size);
    assert_int_equal(pare_tokenizer_from_bytes(copy, form.size + 1, "x", &t, &err), PARE_E_FORMAT);
    for (uint32_t round = 0; round < rounds; round++) {
        damage(form.data, form.size, round, copy);
        if (pare_tokenizer_from_bytes(copy, form.size, "x", &t, &err) == PARE_OK)
            use(t);
        pare_tokenizer_free(t);
    }
    pare_free(copy);
    pare_buffer_free(&form);
}

static void test_damaged_forms(void **state) {
    (void)state;
    uint32_t rounds = getenv("PARE_TEST_LONG") != NULL ? 50000 : 700;
    damage_form(TOKENIZERS "wordpiece", &hints_wordpiece, rounds);
    damage_form(TOKENIZERS "bpe", &hints_bpe, rounds);
    damage_form(TOKENIZERS "unigram", &hints_unigram, rounds);
    damage_form(TOKENIZERS "bytes", &hints_unigram, rounds);
    damage_form(TOKENIZERS "pair", &hints_pair, rounds);
}

static void damage_file(const char *from, const char *name, const PareTokenizerHints *hints,
                        const char *folder, uint32_t rounds) {
    size_t size;
    char *bytes = read_all(from, &size), *copy = pare_alloc(size, 1);
    PareTokenizer *t;
    PareError err;
    for (uint32_t round = 0; round < rounds; round++) {
        damage(bytes, size, round, copy);
        put_file(folder, name, copy, round % 5 == 4 ? round * 7919u % size : size);
        if (pare_tokenizer_load(folder, hints, &t, &err) == PARE_OK && t != NULL)
            use(t);
        pare_tokenizer_free(t);
    }
    pare_free(bytes);
    pare_free(copy);
}

static void test_damaged_files(void **state) {
    (void)state;
    uint32_t rounds = getenv("PARE_TEST_LONG") != NULL ? 5000 : 200;
    const char *folder = new_folder();
    damage_file(TOKENIZERS "unigram/spiece.model", "spiece.model", &hints_unigram, folder, rounds);
    damage_file(TOKENIZERS "bytes/spiece.model", "spiece.model", &hints_unigram, folder, rounds);
    remove_folder(folder);
    folder = new_folder();
    damage_file(TOKENIZERS "json/wordpiece.json", "tokenizer.json", &hints_wordpiece, folder,
                rounds);
    damage_file(TOKENIZERS "json/bpe_new.json", "tokenizer.json", &hints_bpe, folder, rounds);
    copy_file(TOKENIZERS "bpe/vocab.json", folder, "vocab.json");
    damage_file(TOKENIZERS "bpe/merges.txt", "merges.txt", &hints_bpe, folder, rounds);
    remove_folder(folder);
}

/* ---- Refusals ----------------------------------------------------------------------------------
 */

static void refused(const PareTokenizerHints *hints, const char *name, const char *content,
                    const char *name2, const char *content2, const char *wanted) {
    PareTokenizer *t;
    PareError err = {0};
    const char *folder = new_folder();
    put_file(folder, name, content, strlen(content));
    if (name2 != NULL)
        put_file(folder, name2, content2, strlen(content2));
    assert_int_not_equal(pare_tokenizer_load(folder, hints, &t, &err), PARE_OK);
    assert_null(t);
    if (strstr(err.message, wanted) == NULL || strncmp(err.message, folder, strlen(folder)) != 0)
        fail_msg("'%s' does not say '%s'", err.message, wanted);
    remove_folder(folder);
}

/* Puts `to` for `from` in a fixture's tokenizer.json. */
static void json_refused(const char *fixture, const PareTokenizerHints *hints, const char *from,
                         const char *to, const char *wanted) {
    char path[256];
    size_t size;
    PareBuffer changed = {0};
    snprintf(path, sizeof path, TOKENIZERS "json/%s.json", fixture);
    char *text = read_all(path, &size);
    char *at = strstr(text, from);
    assert_non_null(at);
    pare_buffer_append(&changed, text, (size_t)(at - text));
    pare_buffer_puts(&changed, to);
    pare_buffer_puts(&changed, at + strlen(from));
    refused(hints, "tokenizer.json", changed.data, NULL, NULL, wanted);
    pare_buffer_free(&changed);
    pare_free(text);
}

static void test_json_refusals(void **state) {
    (void)state;
    const PareTokenizerHints *w = &hints_wordpiece, *b = &hints_bpe;
    json_refused("wordpiece", w, "\"type\": \"WordPiece\", \"unk", "\"type\": \"Unigram\", \"unk",
                 "model.type 'Unigram' is not supported");
    json_refused("wordpiece", b, "{", "{", "model.type 'WordPiece' is not supported");
    json_refused("wordpiece", w, "BertNormalizer", "Replace", "normalizer.type 'Replace'");
    json_refused("wordpiece", w, "BertPreTokenizer", "Whitespace",
                 "pre_tokenizer.type 'Whitespace'");
    json_refused("wordpiece", w, "TemplateProcessing", "Other", "post_processor.type 'Other'");
    json_refused("wordpiece", w, "\"decoder\": {\"type\": \"WordPiece\"",
                 "\"decoder\": {\"type\": \"CTC\"", "decoder.type 'CTC'");
    json_refused("wordpiece", w, "\"unk_token\": \"[UNK]\"", "\"unk_token\": \"[no]\"",
                 "lacks its unknown token");
    json_refused("wordpiece", w, "\"ids\": [3]", "\"ids\": [3000]", "templates");
    json_refused("wordpiece", w, "\"id\": 0, \"content\": \"[PAD]\"",
                 "\"id\": 1, \"content\": \"[PAD]\"", "'[PAD]' has id 1, which is '[unused0]'");
    json_refused("bpe", b, "\"normalizer\": null", "\"normalizer\": {\"type\": \"NFC\"}",
                 "normalizer.type 'NFC'");
    json_refused("bpe", b, "\"type\": \"ByteLevel\"", "\"type\": \"Metaspace\"",
                 "pre_tokenizer.type 'Metaspace'");
    json_refused("bpe", b, "\"dropout\": null", "\"dropout\": 0.1", "model.dropout is set");
    json_refused("bpe_new", b, "\"byte_fallback\": false", "\"byte_fallback\": true",
                 "model.byte_fallback is set");
    json_refused("bpe", b, "\"end_of_word_suffix\": \"\"", "\"end_of_word_suffix\": \"</w>\"",
                 "model.end_of_word_suffix is set");
    json_refused("bpe", b, "\"merges\": [\"", "\"merges\": [\"xyz q\", \"", "merge 1 names 'xyz'");
}

static void test_refusals(void **state) {
    (void)state;
    refused(&hints_wordpiece, "vocab.txt", "[UNK]\na\xff\n", NULL, NULL, "line 2 is not UTF-8");
    refused(&hints_wordpiece, "vocab.txt", "", NULL, NULL, "empty");
    refused(&hints_wordpiece, "vocab.txt", "[CLS]\n[SEP]\n", NULL, NULL, "unknown token");
    refused(&hints_wordpiece, "vocab.txt", "[UNK]\na\n", NULL, NULL,
            "lacks the special token '[CLS]'");
    refused(&hints_bpe, "vocab.txt", "a\nb\n", NULL, NULL, "vocab.txt alone does not make");
    refused(&hints_bpe, "vocab.json", "{}", NULL, NULL, "vocab.json alone does not make");
    refused(&hints_bpe, "vocab.json", "{\"a\": 0, \"b\": 0}", "merges.txt", "",
            "id 0 is given twice");
    refused(&hints_bpe, "vocab.json", "{\"a\": 99999999}", "merges.txt", "", "above the limit");
    refused(&hints_bpe, "vocab.json", "{\"a\": -1}", "merges.txt", "", "must be an id");
    refused(&hints_bpe, "vocab.json", "{\"a\": 0}", "merges.txt", "a b c\n", "line 1 must be two");
    refused(&hints_bpe, "vocab.json", "{\"a\": 0}", "merges.txt", "a b\n", "names 'b'");
    refused(&hints_plain_bpe, "vocab.json", "{\"a\": 0}", "merges.txt", "a a\n",
            "not a byte-level");
    refused(&hints_plain_bpe, "vocab.json", "{\"a\": 0, \"Ġ\": 1}", "merges.txt", "",
            "neither a piece for byte 0x00");
    refused(&hints_unigram, "spiece.model", "\x0a\x7f", NULL, NULL, "not a sentencepiece model");
    refused(&hints_unigram, "spiece.model", "plain text", NULL, NULL, "not a sentencepiece model");
    refused(&hints_unigram, "sentencepiece.bpe.model", "", NULL, NULL, "shifted");
    refused(&hints_pair, "source.spm", "x", "vocab.json", "{}", "not a sentencepiece model");
    refused(&hints_pair, "vocab.json", "{}", NULL, NULL, "expected source.spm");
    refused(&hints_pair, "vocab.json", "{}", "tokenizer_config.json", "{\"separate_vocabs\": true}",
            "separate_vocabs");
    refused(&hints_wordpiece, "vocab.txt", "[UNK]\n", "tokenizer_config.json", "[]", "JSON object");
    refused(&hints_wordpiece, "vocab.txt", "[UNK]\n", "tokenizer_config.json",
            "{\"do_lower_case\": 3}", "do_lower_case");
    refused(&hints_wordpiece, "vocab.txt", "[UNK]\n", "tokenizer_config.json",
            "{\"added_tokens_decoder\": {\"x\": {\"content\": \"a\"}}}", "expected an id");
    refused(&hints_wordpiece, "vocab.txt", "[UNK]\n[CLS]\n[SEP]\n", "added_tokens.json",
            "{\"[X]\": 1}", "'[X]' has id 1, which is '[CLS]'");
    PareTokenizer *t;
    PareError err = {0};
    assert_int_equal(pare_tokenizer_load(TOKENIZERS "bpe_model", &hints_unigram, &t, &err),
                     PARE_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, "type 2 (BPE) is not supported"));
}

/* ---- Failing allocations ------------------------------------------------------------------------
 */

static void fail_each(const char *folder, const PareTokenizerHints *hints) {
    PareTokenizer *t = NULL, *copy = NULL;
    PareError err;
    for (uint64_t n = 1;; n += n < 120 ? 1 : n / 16) {
        PareBuffer form = {0}, text = {0};
        PareIds ids = {0};
        pare_memory_fail_after(n);
        PareStatus status = pare_tokenizer_load(folder, hints, &t, &err);
        if (status == PARE_OK)
            status = pare_tokenizer_to_bytes(t, &form, &err);
        if (status == PARE_OK)
            status = pare_tokenizer_from_bytes(form.data, form.size, "x", &copy, &err);
        if (status == PARE_OK)
            status = pare_tokenizer_encode(copy, PARE_SIDE_SOURCE, sample, sizeof sample - 1, true,
                                           &ids, &err);
        if (status == PARE_OK)
            status = pare_tokenizer_decode(copy, PARE_SIDE_SOURCE, ids.data, ids.count, true, &text,
                                           &err);
        pare_memory_fail_after(0);
        pare_tokenizer_free(t);
        pare_tokenizer_free(copy);
        copy = NULL;
        pare_ids_free(&ids);
        pare_buffer_free(&form);
        pare_buffer_free(&text);
        if (status == PARE_OK)
            break;
        if (status != PARE_E_MEMORY)
            fail_msg("allocation %llu of %s: %s", (unsigned long long)n, folder, err.message);
    }
}

static void test_failing_allocations(void **state) {
    (void)state;
    fail_each(TOKENIZERS "wordpiece", &hints_wordpiece);
    fail_each(TOKENIZERS "bpe", &hints_bpe);
    fail_each(TOKENIZERS "unigram", &hints_unigram);
    fail_each(TOKENIZERS "pair", &hints_pair);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_damaged_forms),       cmocka_unit_test(test_damaged_files),
        cmocka_unit_test(test_json_refusals),       cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_failing_allocations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
