/* Tokenizers of fewer tokens: the corpus that chose the tokens is cut as before, id by id; other
 * texts stay readable; the smaller tokenizer survives its compact form and its exported files. */
#include "tests/test_tokenizer_common.h"
#include "text/tokenizer_export.h"
#include "text/tokenizer_subset.h"

typedef struct {
    const char *folder;
    const PareTokenizerHints *hints;
    size_t files;
} Case;

static const Case CASES[] = {{TOKENIZERS "wordpiece", &hints_wordpiece, 2},
                             {TOKENIZERS "cased", &hints_wordpiece, 2},
                             {TOKENIZERS "bpe", &hints_bpe, 3},
                             {TOKENIZERS "bpe", &hints_plain_bpe, 3},
                             {TOKENIZERS "unigram", &hints_unigram, 2},
                             {TOKENIZERS "bytes", &hints_unigram, 2},
                             {TOKENIZERS "suffix", &hints_unigram, 2},
                             {TOKENIZERS "pair", &hints_pair, 4}};
enum { CASE_COUNT = sizeof CASES / sizeof *CASES };

static PareIds encoded(const PareTokenizer *t, PareSide side, const char *text, size_t size) {
    PareIds ids = {0};
    PareError err = {0};
    if (pare_tokenizer_encode(t, side, text, size, true, &ids, &err))
        fail_msg("%s", err.message);
    return ids;
}

static void mark(const PareTokenizer *t, PareSide side, const char *text, size_t size, bool *keep) {
    PareIds ids = {0};
    PareError err = {0};
    if (pare_tokenizer_trace(t, side, text, size, &ids, &err))
        fail_msg("%s", err.message);
    for (size_t i = 0; i < ids.count; i++)
        keep[ids.data[i]] = true;
    pare_ids_free(&ids);
}

static size_t count_kept(const bool *keep, size_t size) {
    size_t n = 0;
    for (size_t i = 0; i < size; i++)
        n += keep[i];
    return n;
}

/* Lines of a file: each `every`-th from `first` on goes to `use`. */
typedef void Use(void *context, const char *text, size_t size);

static void each_line(const char *texts, size_t first, size_t every, Use *use, void *context) {
    const char *end = texts, *line;
    for (size_t i = 0; (line = take_line(&texts, &end)) != NULL; i++)
        if (i % every == first)
            use(context, line, (size_t)(end - line));
}

typedef struct {
    const PareTokenizer *whole, *part;
    PareSide side;
    bool *keep;
    int32_t *map;
    size_t checked, unknown;
} Check;

static void collect(void *context, const char *text, size_t size) {
    Check *c = context;
    mark(c->whole, c->side, text, size, c->keep);
}

static void same_ids(void *context, const char *text, size_t size) {
    Check *c = context;
    PareIds old = encoded(c->whole, c->side, text, size);
    PareIds new = encoded(c->part, c->side, text, size);
    bool same = old.count == new.count;
    for (size_t i = 0; i < old.count && same; i++)
        same = c->map[old.data[i]] == new.data[i];
    if (!same)
        fail_msg("'%.*s' is cut into %zu tokens; expected %zu, one to one", (int)size, text,
                 new.count, old.count);
    c->checked += old.count;
    pare_ids_free(&old);
    pare_ids_free(&new);
}

static bool has_unknown(const PareTokenizer *t, const PareIds *ids) {
    for (size_t i = 0; i < ids->count; i++)
        if (ids->data[i] == t->roles[PARE_ROLE_UNKNOWN])
            return true;
    return false;
}

/* A text that was not asked for is cut otherwise, but reads the same. */
static void same_text(void *context, const char *text, size_t size) {
    Check *c = context;
    PareError err = {0};
    PareIds old = encoded(c->whole, c->side, text, size);
    PareIds new = encoded(c->part, c->side, text, size);
    PareBuffer a = {0}, b = {0};
    assert_int_equal(pare_tokenizer_decode(c->whole, c->side, old.data, old.count, false, &a, &err),
                     PARE_OK);
    assert_int_equal(pare_tokenizer_decode(c->part, c->side, new.data, new.count, false, &b, &err),
                     PARE_OK);
    if (has_unknown(c->whole, &old) || has_unknown(c->part, &new)) {
        c->unknown++;
    } else {
        assert_int_equal(a.size, b.size);
        if (a.size > 0)
            assert_memory_equal(a.data, b.data, a.size);
        c->checked++;
    }
    pare_buffer_free(&a);
    pare_buffer_free(&b);
    pare_ids_free(&old);
    pare_ids_free(&new);
}

static void number(const bool *keep, int32_t *map, size_t size) {
    int32_t n = 0;
    for (size_t i = 0; i < size; i++)
        map[i] = keep[i] ? n++ : -1;
}

static PareTokenizer *subset_or_fail(const PareTokenizer *t, bool *keep, size_t size) {
    PareTokenizer *out = NULL;
    PareError err = {0};
    if (pare_tokenizer_close_subset(t, keep, size, &err) ||
        pare_tokenizer_subset(t, keep, size, &out, &err))
        fail_msg("%s", err.message);
    assert_int_equal(pare_tokenizer_size(out), count_kept(keep, pare_tokenizer_size(t)));
    return out;
}

/* The tokenizer as its exported files say it. */
static PareTokenizer *through_files(const PareTokenizer *t, const Case *c) {
    PareError err = {0};
    PareBuffer differences = {0};
    Sink sink = {new_folder(), 0};
    if (pare_tokenizer_export(t, c->hints, 64, take, &sink, &err))
        fail_msg("%s", err.message);
    assert_int_equal(sink.files, c->files);
    PareTokenizer *again = load_or_fail(sink.folder, c->hints);
    remove_folder(sink.folder);
    pare_tokenizer_differences(t, again, &differences);
    if (differences.size > 0)
        fail_msg("%s: %s", c->folder, differences.data);
    pare_buffer_free(&differences);
    return again;
}

static void check_all(Check *c, const char *corpus, const char *others) {
    c->checked = 0;
    for (int side = 0; side < 2; side++) {
        c->side = (PareSide)side;
        each_line(corpus, 0, 3, same_ids, c);
    }
    assert_true(c->checked > 100);
    c->checked = c->unknown = 0;
    c->side = PARE_SIDE_SOURCE;
    each_line(others, 1, 3, same_text, c);
    each_line(corpus, 1, 3, same_text, c);
    assert_true(c->checked >= 8 && c->checked + c->unknown == 18);
}

static void check_case(const Case *k, const char *corpus, const char *others) {
    PareTokenizer *whole = load_or_fail(k->folder, k->hints);
    size_t size = pare_tokenizer_size(whole) + 5; /* rows that no token names */
    bool *keep = pare_alloc(size, sizeof *keep);
    int32_t *map = pare_alloc(size, sizeof *map);
    Check c = {.whole = whole, .keep = keep, .map = map};
    assert_true(keep != NULL && map != NULL);
    for (int side = 0; side < 2; side++) {
        c.side = (PareSide)side;
        each_line(corpus, 0, 3, collect, &c);
    }
    keep[size - 2] = true;
    PareTokenizer *part = subset_or_fail(whole, keep, size);
    number(keep, map, size);
    assert_true(pare_tokenizer_size(part) < pare_tokenizer_size(whole));
    part = through_bytes(part);
    c.part = part;
    check_all(&c, corpus, others);
    PareTokenizer *again = through_files(part, k);
    c.part = again;
    check_all(&c, corpus, others);
    pare_tokenizer_free(again);
    pare_tokenizer_free(part);
    pare_tokenizer_free(whole);
    pare_free(keep);
    pare_free(map);
}

/* Once a third of plain sentences chooses, once a third of awkward texts. */
static void test_corpus(void **state) {
    (void)state;
    size_t size;
    char *sentences = read_all(TOKENIZERS "sentences.txt", &size);
    char *texts = read_all(TOKENIZERS "texts.txt", &size);
    for (size_t i = 0; i < CASE_COUNT; i++) {
        check_case(&CASES[i], sentences, texts);
        check_case(&CASES[i], texts, sentences);
    }
    pare_free(sentences);
    pare_free(texts);
}

/* Each text alone chooses a vocabulary that cuts it as before: with so few tokens around, anything
 * that is missing shows. */
static void check_alone(void *context, const char *text, size_t size) {
    Check *c = context;
    size_t count = pare_tokenizer_size(c->whole);
    memset(c->keep, 0, count * sizeof *c->keep);
    mark(c->whole, c->side, text, size, c->keep);
    PareTokenizer *part = subset_or_fail(c->whole, c->keep, count);
    number(c->keep, c->map, count);
    c->part = part;
    same_ids(c, text, size);
    pare_tokenizer_free(part);
}

static void test_texts_alone(void **state) {
    (void)state;
    size_t size;
    char *texts = read_all(TOKENIZERS "texts.txt", &size);
    for (size_t i = 0; i < CASE_COUNT; i++) {
        PareTokenizer *whole = load_or_fail(CASES[i].folder, CASES[i].hints);
        size_t count = pare_tokenizer_size(whole);
        Check c = {.whole = whole,
                   .keep = pare_alloc(count, sizeof *c.keep),
                   .map = pare_alloc(count, sizeof *c.map)};
        assert_true(c.keep != NULL && c.map != NULL);
        for (int side = 0; side < 2; side++) {
            c.side = (PareSide)side;
            each_line(texts, 0, 1, check_alone, &c);
        }
        pare_free(c.keep);
        pare_free(c.map);
        pare_tokenizer_free(whole);
    }
    pare_free(texts);
}

/* ---- What each kind needs ----------------------------------------------------------------- */

/* The subset that some texts choose, from files that are made here. */
static PareTokenizer *small(const PareTokenizer *t, const char *const *texts, bool *keep) {
    size_t size = pare_tokenizer_size(t);
    memset(keep, 0, size * sizeof *keep);
    for (; *texts != NULL; texts++)
        mark(t, PARE_SIDE_SOURCE, *texts, strlen(*texts), keep);
    return subset_or_fail(t, keep, size);
}

/* "abcd" is unknown, since behind "abc" nothing fits. Without "abc" it would be "ab", "##cd". */
static void test_unknown_word(void **state) {
    (void)state;
    static const char VOCAB[] =
        "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nabc\nab\n##cd\nother\na\n##b\n";
    bool keep[11];
    const char *folder = new_folder();
    put_file(folder, "vocab.txt", VOCAB, sizeof VOCAB - 1);
    PareTokenizer *t = load_or_fail(folder, &hints_wordpiece);
    remove_folder(folder);
    PareTokenizer *part = small(t, (const char *const[]){"abcd", "acd", "ab", NULL}, keep);
    static const bool WANTED[11] = {1, 1, 1, 1, 1, 1, 1, 1, 0, 1, 1};
    assert_memory_equal(keep, WANTED, sizeof keep);
    assert_pieces(part, PARE_SIDE_SOURCE, "abcd", "[CLS] [UNK] [SEP]");
    assert_pieces(part, PARE_SIDE_SOURCE, "acd", "[CLS] a ##cd [SEP]");
    assert_pieces(part, PARE_SIDE_SOURCE, "other", "[CLS] [UNK] [SEP]");
    pare_tokenizer_free(part);
    pare_tokenizer_free(t);
}

/* Of two tokens with one text, texts lead to the later: the earlier does not stay without it. */
static void test_twins(void **state) {
    (void)state;
    static const char VOCAB[] = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nword\nother\nword\n";
    bool keep[8] = {[5] = true};
    const char *folder = new_folder();
    put_file(folder, "vocab.txt", VOCAB, sizeof VOCAB - 1);
    PareTokenizer *t = load_or_fail(folder, &hints_wordpiece);
    remove_folder(folder);
    PareTokenizer *part = subset_or_fail(t, keep, 8);
    assert_true(keep[7] && !keep[6]);
    assert_ids(part, "word", "2 6 3");
    pare_tokenizer_free(part);
    pare_tokenizer_free(t);
}

/* A long piece has all the pieces that it grew from, and no merge that leads elsewhere. */
static void test_merges(void **state) {
    (void)state;
    PareTokenizer *t = load_or_fail(TOKENIZERS "bpe", &hints_plain_bpe);
    size_t size = pare_tokenizer_size(t), longest = 0;
    bool *keep = pare_alloc(size, sizeof *keep);
    PareIds parts = {0};
    PareError err = {0};
    int32_t id = 0;
    assert_non_null(keep);
    for (size_t i = 0; i < t->bpe.count; i++) {
        const PareMerge *m = &t->bpe.slots[i];
        if (m->pair != UINT64_MAX && strlen(pare_tokenizer_piece(t, (int32_t)m->id)) > longest) {
            id = (int32_t)m->id;
            longest = strlen(pare_tokenizer_piece(t, id));
        }
    }
    assert_true(longest >= 4);
    assert_int_equal(pare_tokenizer_parts(t, id, &parts, &err), PARE_OK);
    assert_true(parts.count >= longest / 2);
    keep[id] = true;
    PareTokenizer *part = subset_or_fail(t, keep, size);
    assert_true(part->bpe.count >= 3 && part->bpe.count < parts.count + 1);
    for (size_t i = 0; i < parts.count; i++)
        assert_true(keep[parts.data[i]]);
    pare_ids_free(&parts);
    pare_free(keep);
    pare_tokenizer_free(part);
    pare_tokenizer_free(t);
}

/* Gives a score to a normal piece of several characters, the first or the second. */
static float set_score(PareSpm *m, size_t number, float score) {
    for (uint32_t i = 0; i < m->pieces.count; i++) {
        size_t size;
        const char *piece = pare_vocab_piece(&m->pieces, i, &size);
        if (m->types[i] == PARE_SPM_NORMAL && !pare_piece_is_character(piece, size) &&
            m->ids[i] >= 0 && number-- == 0) {
            m->scores[i] = score;
            return score;
        }
    }
    fail_msg("the model has no such piece");
    return 0;
}

/* What unknown characters and the user's own pieces score does not depend on the choice, also where
 * the extreme scores are those of pieces that nothing else needs. */
static void test_scores(void **state) {
    (void)state;
    static const char *const FOLDERS[] = {"unigram", "bytes", "suffix", "pair"};
    for (size_t i = 0; i < 4; i++) {
        char path[300];
        bool keep[2000];
        snprintf(path, sizeof path, TOKENIZERS "%s", FOLDERS[i]);
        PareTokenizer *t = load_or_fail(path, i == 3 ? &hints_pair : &hints_unigram);
        assert_true(pare_tokenizer_size(t) <= sizeof keep);
        for (int k = 0; k < 2 && t->unigram.models[k].pieces.count > 0; k++) {
            PareSpm *m = &t->unigram.models[k];
            m->min_score = set_score(m, 0, -50.0f);
            m->max_score = set_score(m, 1, 7.0f);
        }
        PareTokenizer *part = small(t, (const char *const[]){NULL}, keep);
        for (int k = 0; k < 2 && t->unigram.models[k].pieces.count > 0; k++) {
            const PareSpm *a = &t->unigram.models[k], *b = &part->unigram.models[k];
            assert_true(b->min_score <= -50.0f && b->max_score >= 7.0f);
            assert_true(b->pieces.count > 0 && b->pieces.count < a->pieces.count);
        }
        pare_tokenizer_free(part);
        pare_tokenizer_free(t);
    }
}

/* Codes of languages and extra ids are asked for by users, not by texts. */
static void test_kept_anyway(void **state) {
    (void)state;
    bool keep[2000];
    PareTokenizer *t = load_or_fail(TOKENIZERS "unigram", &hints_unigram);
    PareTokenizer *part = small(t, (const char *const[]){NULL}, keep);
    for (int i = 0; i < 100; i++) {
        char piece[32];
        snprintf(piece, sizeof piece, "<extra_id_%d>", i);
        assert_int_equal(pare_tokenizer_id(part, piece),
                         (int32_t)pare_tokenizer_size(part) - 1 - i);
    }
    pare_tokenizer_free(part);
    pare_tokenizer_free(t);
    t = load_or_fail(TOKENIZERS "pair", &hints_pair);
    part = small(t, (const char *const[]){NULL}, keep);
    size_t codes = 0;
    for (size_t id = 0; id < pare_tokenizer_size(t); id++)
        if (strncmp(pare_tokenizer_piece(t, (int32_t)id), ">>", 2) == 0) {
            assert_true(keep[id]);
            codes++;
        }
    assert_true(codes > 0);
    pare_tokenizer_free(part);
    pare_tokenizer_free(t);
}

/* ---- Refusals ------------------------------------------------------------------------------ */

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < CASE_COUNT; i++) {
        PareTokenizer *t = load_or_fail(CASES[i].folder, CASES[i].hints), *part = NULL;
        size_t size = pare_tokenizer_size(t), needed = 0;
        bool *keep = pare_alloc(size, sizeof *keep);
        PareError err = {0};
        assert_non_null(keep);
        assert_int_equal(pare_tokenizer_close_subset(t, keep, size, &err), PARE_OK);
        for (size_t id = 0; id < size; id++) { /* every one of them is missed */
            if (!keep[id])
                continue;
            keep[id] = false;
            assert_int_equal(pare_tokenizer_subset(t, keep, size, &part, &err), PARE_E_USAGE);
            assert_null(part);
            assert_non_null(strstr(err.message, "lacks token"));
            keep[id] = true;
            needed++;
        }
        assert_true(needed > 3);
        assert_int_equal(pare_tokenizer_subset(t, keep, size - 1, &part, &err), PARE_E_USAGE);
        assert_int_equal(pare_tokenizer_parts(t, (int32_t)size, &(PareIds){0}, &err), PARE_E_USAGE);
        pare_free(keep);
        pare_tokenizer_free(t);
    }
}

/* Without memory there is an error, and nothing leaks. */
static void test_no_memory(void **state) {
    (void)state;
    for (size_t i = 0; i < CASE_COUNT; i += 2) {
        PareTokenizer *t = load_or_fail(CASES[i].folder, CASES[i].hints), *part = NULL;
        size_t size = pare_tokenizer_size(t);
        bool *keep = pare_alloc(size, sizeof *keep);
        PareError err = {0};
        PareStatus status = PARE_E_MEMORY;
        assert_non_null(keep);
        assert_int_equal(pare_tokenizer_close_subset(t, keep, size, &err), PARE_OK);
        for (uint64_t n = 1; status != PARE_OK && n < 5000; n++) {
            pare_memory_fail_after(n);
            status = pare_tokenizer_subset(t, keep, size, &part, &err);
            pare_memory_fail_after(0);
        }
        assert_int_equal(status, PARE_OK);
        pare_tokenizer_free(part);
        pare_tokenizer_free(t);
        pare_free(keep);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus),       cmocka_unit_test(test_texts_alone),
        cmocka_unit_test(test_unknown_word), cmocka_unit_test(test_twins),
        cmocka_unit_test(test_merges),       cmocka_unit_test(test_scores),
        cmocka_unit_test(test_kept_anyway),  cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
