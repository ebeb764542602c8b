/* Tokenizers on real vocabularies and data sets, too large to commit: compared with golden ids of
 * the reference implementations and with spm_encode. The folder is named by PARE_SHARED, with
 *
 *   data/tokenizers/{bert-base-uncased,gpt2,bart-base,t5-base,marian-en-pt,golden}
 *   data/{multi30k,wikitext2,sst2}, models/{sst2-bert,multi30k-marian,wikitext2-gpt2}
 *
 * Without it the same kinds are compared on the committed fixtures by test_tokenizer.c, and the one
 * check left here is that spm_encode, where installed, agrees on these fixtures now. */
#include "tests/test_tokenizer_common.h"

#include "core/json.h"

static const char *shared;

/* A path below PARE_SHARED; a few stay valid at a time. */
static const char *at(const char *name) {
    static char paths[8][512];
    static unsigned next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", shared, name);
    return path;
}

static bool absent(void) {
    if (shared == NULL)
        print_message("PARE_SHARED is not set: nothing large to compare\n");
    return shared == NULL;
}

static PareJsonDoc *read_json(const char *path) {
    PareJsonDoc *doc = NULL;
    PareError err = {0};
    if (pare_json_read(path, &doc, &err) != PARE_OK)
        fail_msg("%s", err.message);
    return doc;
}

static PareTokenizer *load_shared(const char *folder, const PareTokenizerHints *hints) {
    return through_bytes(load_or_fail(at(folder), hints));
}

static PareTokenizer *load_json_only(const char *file, const PareTokenizerHints *hints) {
    const char *folder = new_folder();
    copy_file(at(file), folder, "tokenizer.json");
    PareTokenizer *t = through_bytes(load_or_fail(folder, hints));
    remove_folder(folder);
    return t;
}

/* ---- Golden ids ---------------------------------------------------------------------------------
 */

static void assert_same_ids(const PareIds *got, const PareJson *wanted, const char *text) {
    size_t i = 0;
    for (const PareJson *n = pare_json_first(wanted); n != NULL; n = pare_json_next(n), i++) {
        if (i >= got->count || got->data[i] != pare_json_integer(n))
            fail_msg("'%.200s': id %zu differs", text, i);
    }
    if (i != got->count)
        fail_msg("'%.200s': %zu ids instead of %zu", text, got->count, i);
}

static void test_questions(void **state) {
    (void)state;
    if (absent())
        return;
    PareTokenizer *t = load_shared("data/tokenizers/bert-base-uncased", &hints_wordpiece);
    size_t size, questions = 0;
    char *file = read_all(at("data/tokenizers/golden/bert_questions.jsonl"), &size);
    const char *next = file, *end, *line;
    while ((line = take_line(&next, &end)) != NULL) {
        PareJsonDoc *doc;
        PareError err;
        PareIds ids = {0};
        if (end == line)
            continue;
        assert_int_equal(pare_json_parse(line, (size_t)(end - line), "line", &doc, &err), PARE_OK);
        const char *text = pare_json_string(pare_json_get(pare_json_root(doc), "text"));
        assert_int_equal(
            pare_tokenizer_encode(t, PARE_SIDE_SOURCE, text, strlen(text), false, &ids, &err),
            PARE_OK);
        assert_same_ids(&ids, pare_json_get(pare_json_root(doc), "ids"), text);
        pare_ids_free(&ids);
        pare_json_free(doc);
        questions++;
    }
    assert_int_equal(questions, 10570);
    pare_free(file);
    pare_tokenizer_free(t);
}

/* Texts are separated by a line; each has its ids on a line of the other file. */
static void check_separated(const char *folder, const PareTokenizerHints *hints, const char *name) {
    static const char separator[] = "\n__ggml_vocab_test__\n";
    char path[128];
    size_t size;
    PareTokenizer *t = load_shared(folder, hints);
    snprintf(path, sizeof path, "data/tokenizers/golden/%s.inp", name);
    char *texts = read_all(at(path), &size), *text = texts;
    snprintf(path, sizeof path, "data/tokenizers/golden/%s.out", name);
    char *lines = read_all(at(path), &size);
    const char *next = lines, *end;
    PareBuffer got = {0};
    for (char *stop = text; stop != NULL && *text != '\0';) {
        stop = strstr(text, separator);
        if (stop != NULL)
            *stop = '\0';
        const char *want = take_line(&next, &end);
        PareIds ids = {0};
        PareError err;
        assert_int_equal(
            pare_tokenizer_encode(t, PARE_SIDE_SOURCE, text, strlen(text), false, &ids, &err),
            PARE_OK);
        pare_buffer_clear(&got);
        put_ids(&got, ids.data, ids.count);
        while (want != NULL && *want == ' ')
            want++;
        if (want == NULL || got.size != (size_t)(end - want) ||
            (got.size > 0 && memcmp(got.data, want, got.size) != 0))
            fail_msg("'%s' gave %s, not %.*s", text, got.data, want != NULL ? (int)(end - want) : 0,
                     want);
        pare_ids_free(&ids);
        text = stop != NULL ? stop + strlen(separator) : text;
    }
    pare_buffer_free(&got);
    pare_free(texts);
    pare_free(lines);
    pare_tokenizer_free(t);
}

static void test_separated(void **state) {
    (void)state;
    if (absent())
        return;
    check_separated("data/tokenizers/gpt2", &hints_plain_bpe, "gpt-2");
    check_separated("data/tokenizers/bert-base-uncased", &hints_wordpiece, "bert-bge");
}

/* ---- Trained checkpoints ------------------------------------------------------------------------
 */

/* The first column of each line, blanks at its ends stripped, against lists of ids. */
static void check_columns(const PareTokenizer *t, const char *file, bool header,
                          const PareJson *wanted) {
    size_t size, compared = 0;
    char *text = read_all(at(file), &size);
    const char *next = text, *end = text, *line;
    if (header)
        (void)take_line(&next, &end);
    for (const PareJson *n = pare_json_first(wanted); n != NULL; n = pare_json_next(n)) {
        PareIds ids = {0};
        PareError err;
        line = take_line(&next, &end);
        assert_non_null(line);
        const char *stop = memchr(line, '\t', (size_t)(end - line));
        while (stop > line && stop[-1] == ' ')
            stop--;
        assert_int_equal(pare_tokenizer_encode(t, PARE_SIDE_SOURCE, line, (size_t)(stop - line),
                                               true, &ids, &err),
                         PARE_OK);
        assert_same_ids(&ids, n, line);
        pare_ids_free(&ids);
        compared++;
    }
    assert_int_equal(compared, 100);
    pare_free(text);
}

static void test_classifier(void **state) {
    (void)state;
    if (absent())
        return;
    PareJsonDoc *doc = read_json(at("models/sst2-bert/reference.json"));
    const PareJson *ids = pare_json_get(pare_json_root(doc), "token_ids_first_100");
    PareTokenizer *t = load_shared("models/sst2-bert", &hints_wordpiece);
    check_columns(t, "data/sst2/dev.tsv", true, ids);
    pare_tokenizer_free(t);
    t = load_json_only("models/sst2-bert/tokenizer.json", &hints_wordpiece);
    check_columns(t, "data/sst2/dev.tsv", true, ids);
    pare_tokenizer_free(t);
    pare_json_free(doc);
}

static void check_translations(const PareTokenizer *t, const PareJson *run) {
    size_t compared = 0;
    const PareJson *text = pare_json_first(pare_json_get(run, "translations"));
    for (const PareJson *n = pare_json_first(pare_json_get(run, "ids")); n != NULL;
         n = pare_json_next(n), text = pare_json_next(text)) {
        PareIds ids = {0};
        PareBuffer got = {0};
        PareError err;
        for (const PareJson *id = pare_json_first(n); id != NULL; id = pare_json_next(id))
            assert_true(pare_ids_push(&ids, (int32_t)pare_json_integer(id)));
        assert_int_equal(
            pare_tokenizer_decode(t, PARE_SIDE_TARGET, ids.data, ids.count, true, &got, &err),
            PARE_OK);
        assert_string_equal(got.data != NULL ? got.data : "", pare_json_string(text));
        pare_ids_free(&ids);
        pare_buffer_free(&got);
        compared++;
    }
    assert_int_equal(compared, 1000);
}

static void test_translator(void **state) {
    (void)state;
    if (absent())
        return;
    PareJsonDoc *doc = read_json(at("models/multi30k-marian/reference.json"));
    const PareJson *root = pare_json_root(doc);
    PareTokenizer *t = load_shared("models/multi30k-marian", &hints_pair);
    check_columns(t, "data/multi30k/test_2016_flickr.tsv", false,
                  pare_json_get(root, "source_ids_first_100"));
    check_translations(t, pare_json_get(pare_json_get(root, "test_2016_flickr"), "greedy"));
    check_translations(t, pare_json_get(pare_json_get(root, "test_2016_flickr"), "beam4"));
    check_translations(t, pare_json_get(pare_json_get(root, "test_2017_flickr"), "beam4"));
    pare_tokenizer_free(t);
    pare_json_free(doc);
}

/* Each line with its newline by itself. */
static void encode_file(const PareTokenizer *t, const char *path, PareIds *out) {
    size_t size;
    char *text = read_all(path, &size);
    PareError err;
    for (char *line = text, *end; *line != '\0'; line = end) {
        end = strchrnul(line, '\n');
        end += *end == '\n' ? 1 : 0;
        assert_int_equal(
            pare_tokenizer_encode(t, PARE_SIDE_SOURCE, line, (size_t)(end - line), true, out, &err),
            PARE_OK);
    }
    pare_free(text);
}

static void test_writer(void **state) {
    (void)state;
    if (absent())
        return;
    static const struct {
        const char *folder, *json;
        const PareTokenizerHints *hints;
    } cases[] = {
        {"models/wikitext2-gpt2", "models/wikitext2-gpt2/tokenizer.json", &hints_plain_bpe},
        {"data/tokenizers/bart-base", "data/tokenizers/bart-base/tokenizer.json", &hints_bpe},
        {"models/sst2-bert", "models/sst2-bert/tokenizer.json", &hints_wordpiece}};
    for (size_t i = 0; i < 3; i++) {
        PareIds files = {0}, json = {0};
        PareTokenizer *t = load_shared(cases[i].folder, cases[i].hints);
        encode_file(t, at("data/wikitext2/test.txt"), &files);
        pare_tokenizer_free(t);
        t = load_json_only(cases[i].json, cases[i].hints);
        encode_file(t, at("data/wikitext2/test.txt"), &json);
        pare_tokenizer_free(t);
        assert_int_equal(files.count, json.count);
        assert_memory_equal(files.data, json.data, json.count * sizeof *json.data);
        if (i == 0) {
            PareJsonDoc *doc = read_json(at("models/wikitext2-gpt2/reference.json"));
            const PareJson *first = pare_json_get(pare_json_root(doc), "first_ids");
            assert_int_equal(files.count,
                             pare_json_integer(pare_json_get(pare_json_root(doc), "tokens")));
            files.count = pare_json_size(first);
            assert_same_ids(&files, first, "test.txt");
            pare_json_free(doc);
        }
        pare_ids_free(&files);
        pare_ids_free(&json);
    }
}

/* ---- spm_encode ---------------------------------------------------------------------------------
 */

/* One column (0: the whole line) of each line of a file, written to a new file. */
static void cut_column(const char *path, int column, FILE *out) {
    size_t size;
    char *text = read_all(path, &size);
    const char *next = text, *end = text, *line;
    while ((line = take_line(&next, &end)) != NULL) {
        const char *begin = line, *stop = end;
        for (int i = 1; i < column; i++) {
            const char *tab = memchr(begin, '\t', (size_t)(end - begin));
            begin = tab != NULL ? tab + 1 : end;
        }
        if (column > 0 && memchr(begin, '\t', (size_t)(end - begin)) != NULL)
            stop = memchr(begin, '\t', (size_t)(end - begin));
        fprintf(out, "%.*s\n", (int)(stop - begin), begin);
    }
    pare_free(text);
}

/* Compares line by line with what spm_encode prints. */
static void check_spm_encode(const PareTokenizer *t, PareSide side, const char *model,
                             const char *input) {
    char command[2048];
    char *line = NULL;
    size_t capacity = 0, size, number = 0;
    snprintf(command, sizeof command, "spm_encode --model='%s' --output_format=piece <'%s'", model,
             input);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    char *text = read_all(input, &size);
    const char *next = text, *end, *from;
    PareBuffer got = {0}, want = {0};
    while ((from = take_line(&next, &end)) != NULL) {
        ssize_t length = getline(&line, &capacity, pipe);
        if (length <= 0)
            fail_msg("spm_encode ended at line %zu", number);
        line[length - 1] = '\0';
        pare_buffer_clear(&want);
        for (char *save, *piece = strtok_r(line, " ", &save); piece != NULL;
             piece = strtok_r(NULL, " ", &save)) {
            int32_t id = pare_tokenizer_id(t, piece);
            id = id < 0 ? t->roles[PARE_ROLE_UNKNOWN] : id;
            pare_buffer_printf(&want, want.size > 0 ? " %d" : "%d", id);
        }
        pare_buffer_clear(&got);
        encode_line(t, side, from, (size_t)(end - from), true, &got);
        if (got.size != want.size || (got.size > 0 && memcmp(got.data, want.data, got.size) != 0))
            fail_msg("line %zu: '%.*s'\n  gave %s\n  not  %s", number, (int)(end - from), from,
                     got.data, want.data);
        number++;
    }
    assert_int_equal(pclose(pipe), 0);
    print_message("%s: %zu lines\n", model, number);
    pare_buffer_free(&got);
    pare_buffer_free(&want);
    pare_free(text);
    free(line);
}

static void check_models(const char *input) {
    PareTokenizer *t = load_shared("data/tokenizers/t5-base", &hints_unigram);
    check_spm_encode(t, PARE_SIDE_SOURCE, at("data/tokenizers/t5-base/spiece.model"), input);
    pare_tokenizer_free(t);
    static const char *const pairs[] = {"data/tokenizers/marian-en-pt", "models/multi30k-marian"};
    for (size_t i = 0; i < 2; i++) {
        char path[256];
        t = load_shared(pairs[i], &hints_pair);
        snprintf(path, sizeof path, "%s/source.spm", pairs[i]);
        check_spm_encode(t, PARE_SIDE_SOURCE, at(path), input);
        snprintf(path, sizeof path, "%s/target.spm", pairs[i]);
        check_spm_encode(t, PARE_SIDE_TARGET, at(path), input);
        pare_tokenizer_free(t);
    }
}

static void test_spm_encode(void **state) {
    (void)state;
    if (absent())
        return;
    static const struct {
        const char *file;
        int column;
    } inputs[] = {{"data/multi30k/train.tsv", 1},
                  {"data/multi30k/train.tsv", 2},
                  {"data/multi30k/val.tsv", 1},
                  {"data/multi30k/val.tsv", 2},
                  {"data/multi30k/test_2016_flickr.tsv", 1},
                  {"data/multi30k/test_2016_flickr.tsv", 2},
                  {"data/multi30k/test_2017_flickr.tsv", 1},
                  {"data/multi30k/test_2017_flickr.tsv", 2},
                  {"data/wikitext2/train.txt", 0},
                  {"data/wikitext2/valid.txt", 0},
                  {"data/wikitext2/test.txt", 0},
                  {"data/sst2/train.tsv", 1},
                  {"data/sst2/dev.tsv", 1},
                  {"data/sst2/test_labelled.tsv", 1}};
    if (system("command -v spm_encode >/dev/null") != 0)
        fail_msg("spm_encode (package sentencepiece) is needed with PARE_SHARED");
    char folder[512], input[600];
    snprintf(folder, sizeof folder, "%s", new_folder());
    snprintf(input, sizeof input, "%s/tokenizer.json", folder); /* a name that is removed below */
    FILE *f = fopen(input, "wb");
    assert_non_null(f);
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++)
        cut_column(at(inputs[i].file), inputs[i].column, f);
    assert_int_equal(fclose(f), 0);
    check_models(input);
    remove_folder(folder);
}

static void test_spm_encode_fixtures(void **state) {
    (void)state;
    if (system("command -v spm_encode >/dev/null") != 0) {
        print_message("spm_encode is not installed: its committed output stands\n");
        return;
    }
    PareTokenizer *t = load_or_fail(TOKENIZERS "unigram", &hints_unigram);
    check_spm_encode(t, PARE_SIDE_SOURCE, TOKENIZERS "unigram/spiece.model",
                     TOKENIZERS "texts.txt");
    check_spm_encode(t, PARE_SIDE_SOURCE, TOKENIZERS "unigram/spiece.model",
                     TOKENIZERS "sentences.txt");
    pare_tokenizer_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_questions),  cmocka_unit_test(test_separated),
        cmocka_unit_test(test_classifier), cmocka_unit_test(test_translator),
        cmocka_unit_test(test_writer),     cmocka_unit_test(test_spm_encode_fixtures),
        cmocka_unit_test(test_spm_encode),
    };
    shared = getenv("PARE_SHARED");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
