/* Smaller vocabularies: what a corpus chooses, that the smaller model computes the same for it, and
 * which ids of the metadata are rewritten how. */
#include <math.h>
#include <sys/stat.h>

#include "prune/slice.h"
#include "prune/vocabulary.h"
#include "runtime/metadata.h"
#include "runtime/session.h"
#include "tests/test_export_common.h"
#include "text/tokenizer.h"
#include "text/tokenizer_subset.h"

/* ---- Models, data, plans ------------------------------------------------------------------- */

typedef struct {
    PareModel *model;
    PareArena *arena;
    ParePrunePlan plan;
    PareVocabularyFacts facts;
} Case;

static void write_text(const char *path, const char *text) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

/* The metadata with one setting replaced. */
static void put_metadata(PareFileWriter *w, const PareFile *f, const char *setting,
                         const char *replacement) {
    const void *bytes;
    size_t size;
    PareBuffer out = {0};
    PareError err = {0};
    assert_true(pare_file_section(f, PARE_SECTION_METADATA, &bytes, &size));
    pare_buffer_append(&out, bytes, size);
    if (setting) {
        char *at = strstr(out.data, setting);
        assert_non_null(at);
        size_t before = (size_t)(at - out.data), behind = before + strlen(setting);
        pare_buffer_clear(&out);
        pare_buffer_append(&out, bytes, before);
        pare_buffer_puts(&out, replacement);
        pare_buffer_append(&out, (const char *)bytes + behind, size - behind);
    }
    ok(pare_file_writer_section(w, PARE_SECTION_METADATA, out.data, out.size, &err), &err);
    pare_buffer_free(&out);
}

/* The same file, with a tokenizer, or with another setting. */
static void change(const char *from, const PareTokenizer *t, const char *setting,
                   const char *replacement, const char *to) {
    PareFile *f;
    PareFileWriter *w;
    PareBuffer bytes = {0};
    PareError err = {0};
    ok(pare_file_open(from, &f, &err), &err);
    ok(pare_file_writer_open(to, true, &w, &err), &err);
    for (size_t i = 0; i < pare_file_count(f); i++) {
        const PareFileTensor *x = pare_file_tensor(f, i);
        ok(x->alias_of ? pare_file_writer_alias(w, x, x->alias_of, &err)
                       : pare_file_writer_tensor(w, x, x->data, &err),
           &err);
    }
    put_metadata(w, f, setting, replacement);
    if (t) {
        ok(pare_tokenizer_to_bytes(t, &bytes, &err), &err);
        ok(pare_file_writer_section(w, PARE_SECTION_TOKENIZER, bytes.data, bytes.size, &err), &err);
    }
    ok(pare_file_writer_commit(w, &err), &err);
    pare_buffer_free(&bytes);
    pare_file_close(f);
}

/* A tokenizer of a folder with these files. */
static PareTokenizer *load(const char *const (*files)[2], const PareTokenizerHints *hints) {
    PareTokenizer *t = NULL;
    PareError err = {0};
    char path[512];
    const char *folder = path_of("tokenizer");
    remove_folder(folder);
    assert_int_equal(mkdir(folder, 0700), 0);
    for (; (*files)[0]; files++) {
        snprintf(path, sizeof path, "%s/%s", folder, (*files)[0]);
        write_text(path, (*files)[1]);
    }
    ok(pare_tokenizer_load(folder, hints, &t, &err), &err);
    remove_folder(folder);
    return t;
}

static PareTokenizer *tokenizer_of(const PareModel *m) {
    const void *bytes;
    size_t size;
    PareTokenizer *t = NULL;
    PareError err = {0};
    assert_true(pare_file_section(pare_model_file(m), PARE_SECTION_TOKENIZER, &bytes, &size));
    ok(pare_tokenizer_from_bytes(bytes, size, "tokenizer", &t, &err), &err);
    return t;
}

static Case open_case(const char *path) {
    Case c = {.arena = pare_arena_create(0)};
    PareError err = {0};
    ok(pare_model_open(path, &c.model, &err), &err);
    ok(pare_prune_plan_whole(pare_model_description(c.model), c.arena, &c.plan, &err), &err);
    return c;
}

static void close_case(Case *c) {
    pare_model_close(c->model);
    pare_arena_destroy(c->arena);
}

static PareStatus choose(Case *c, const char *data, uint32_t max_size, PareError *err) {
    PareVocabularyOptions o = {.path = path_of("data"), .max_size = max_size};
    if (data)
        write_text(o.path, data);
    return pare_vocabulary_choose(c->model, &o, &c->plan, &c->facts, err);
}

static void not_chosen(Case *c, const char *data, uint32_t max_size, const char *sentence) {
    PareError err = {0};
    assert_int_not_equal(choose(c, data, max_size, &err), PARE_OK);
    if (!strstr(err.message, sentence))
        fail_msg("'%s' does not say '%s'", err.message, sentence);
}

static const PareKeep *list_of(const Case *c) {
    return &c->plan.stacks[pare_description_top(pare_model_description(c->model))].vocabulary;
}

static void assert_list(const PareKeep *keep, const uint32_t *wanted, uint32_t count) {
    PareBuffer text = {0};
    for (uint32_t i = 0; i < keep->count; i++)
        pare_buffer_printf(&text, " %u", keep->units[i]);
    if (keep->all || keep->count != count ||
        memcmp(keep->units, wanted, count * sizeof *wanted) != 0)
        fail_msg("kept:%s", keep->all ? " all" : text.data);
    pare_buffer_free(&text);
}

#define LIST(...)                                                                                  \
    (const uint32_t[]){__VA_ARGS__}, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t)

/* Writes the pruned model as the stage does. */
static void write_slot(const PareSlices *s, PareFileWriter *w, size_t i) {
    const PareSlots *slots = pare_slices_slots(s);
    const PareSlot *slot = &slots->items[i];
    size_t shared = pare_slices_shared(s, i), n = (size_t)slot->shape[0];
    PareError err = {0};
    PareFileTensor t = {.name = slot->name,
                        .dims = slot->dims,
                        .shape = {slot->shape[0], slot->shape[1]},
                        .axes = {slot->axes[0], slot->axes[1]}};
    if (shared != i) {
        ok(pare_file_writer_alias(w, &t, slots->items[shared].name, &err), &err);
        return;
    }
    n *= slot->dims == 2 ? (size_t)slot->shape[1] : 1;
    float *values = pare_alloc(n, sizeof *values);
    assert_non_null(values);
    ok(pare_slices_read(s, i, values, &err), &err);
    ok(pare_file_writer_tensor(w, &t, values, &err), &err);
    pare_free(values);
}

static void prune(const Case *c, const char *to) {
    PareSlices *s;
    PareFileWriter *w;
    PareError err = {0};
    PareBuffer metadata = {0}, rewritten = {0}, tokenizer = {0};
    ok(pare_slices_create(c->model, &c->plan, &s, &err), &err);
    ok(pare_metadata_append(c->model, "prune", "{}", pare_slices_description(s), &metadata, &err),
       &err);
    ok(pare_vocabulary_rewrite(c->model, &c->plan, &metadata, &rewritten, &tokenizer, &err), &err);
    ok(pare_file_writer_open(to, true, &w, &err), &err);
    for (size_t i = 0; i < pare_slices_slots(s)->count; i++)
        write_slot(s, w, i);
    ok(pare_file_writer_section(w, PARE_SECTION_METADATA, rewritten.data, rewritten.size, &err),
       &err);
    if (tokenizer.size)
        ok(pare_file_writer_section(w, PARE_SECTION_TOKENIZER, tokenizer.data, tokenizer.size,
                                    &err),
           &err);
    ok(pare_file_writer_commit(w, &err), &err);
    pare_slices_destroy(s);
    pare_buffer_free(&metadata);
    pare_buffer_free(&rewritten);
    pare_buffer_free(&tokenizer);
}

/* ---- The same results ------------------------------------------------------------------------ */

typedef struct {
    float values[4096];
    size_t count, n;
} Rows;

static PareStatus take_row(void *context, size_t sequence, size_t row, const float *values,
                           size_t n, PareError *err) {
    Rows *r = context;
    (void)sequence;
    (void)row;
    (void)err;
    assert_true(r->count + n <= sizeof r->values / sizeof *r->values);
    memcpy(r->values + r->count, values, n * sizeof *values);
    r->count += n;
    r->n = n;
    return PARE_OK;
}

static void run(const PareModel *m, const PareIds *ids, const PareIds *decoder, Rows *out) {
    PareSession *s;
    PareError err = {0};
    PareSequence q = {.ids = ids->data,
                      .count = ids->count,
                      .decoder_ids = decoder ? decoder->data : NULL,
                      .decoder_count = decoder ? decoder->count : 0};
    out->count = 0;
    ok(pare_session_create(m, 1, &s, &err), &err);
    ok(pare_session_run(s, &q, 1, PARE_ROWS_LOGITS, take_row, out, &err), &err);
    pare_session_destroy(s);
}

/* Rows of labels are the same; of scores for tokens those that are left. */
static void same_rows(const Rows *old, const Rows *new, const PareKeep *keep) {
    assert_int_equal(old->count / old->n, new->count / new->n);
    assert_int_equal(new->n, old->n == new->n ? new->n : keep->count);
    for (size_t r = 0; r < new->count / new->n; r++)
        for (size_t k = 0; k < new->n; k++) {
            float a = old->values[r * old->n + (old->n == new->n ? k : keep->units[k])];
            float b = new->values[r * new->n + k];
            if (fabsf(a - b) > 1e-5f)
                fail_msg("row %zu, value %zu is %g; expected %g", r, k, (double)b, (double)a);
        }
}

static PareIds encode(const PareTokenizer *t, PareSide side, const char *text, bool specials) {
    PareIds ids = {0};
    PareError err = {0};
    ok(pare_tokenizer_encode(t, side, text, strlen(text), specials, &ids, &err), &err);
    return ids;
}

static void same_results(const Case *c, const PareModel *small, const char *source,
                         const char *target, bool specials) {
    static Rows old, new;
    PareTokenizer *a = tokenizer_of(c->model), *b = tokenizer_of(small);
    PareIds x = encode(a, PARE_SIDE_SOURCE, source, specials);
    PareIds y = encode(b, PARE_SIDE_SOURCE, source, specials);
    PareIds xt = encode(a, PARE_SIDE_TARGET, target ? target : "", true);
    PareIds yt = encode(b, PARE_SIDE_TARGET, target ? target : "", true);
    assert_int_equal(x.count, y.count);
    assert_int_equal(xt.count, yt.count);
    for (size_t i = 0; i < x.count; i++)
        assert_int_equal(list_of(c)->units[y.data[i]], x.data[i]);
    for (size_t i = 0; i < xt.count; i++)
        assert_int_equal(list_of(c)->units[yt.data[i]], xt.data[i]);
    run(c->model, &x, target ? &xt : NULL, &old);
    run(small, &y, target ? &yt : NULL, &new);
    same_rows(&old, &new, list_of(c));
    PareIds *all[] = {&x, &y, &xt, &yt};
    for (size_t i = 0; i < 4; i++)
        pare_ids_free(all[i]);
    pare_tokenizer_free(a);
    pare_tokenizer_free(b);
}

static const PareJson *source_of(const PareModel *m) {
    return pare_json_get(pare_json_get(pare_model_metadata(m), "source"), "config");
}

static void assert_number(const PareJson *object, const char *key, int64_t wanted) {
    const PareJson *n = pare_json_get(object, key);
    if (!pare_json_is_integer(n) || pare_json_integer(n) != wanted)
        fail_msg("\"%s\" is not %lld", key, (long long)wanted);
}

/* ---- Texts ------------------------------------------------------------------------------------
 */

static const char WORDS[] = "[PAD]\n[unused0]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nthe\nstone\nriver\n"
                            "runs\nfast\n##er\n##s\nf\nr\n##u\nold\n";
static const PareTokenizerHints WORDPIECE = {.single = "[CLS] $A [SEP]",
                                             .pair = "[CLS] $A [SEP] $B [SEP]",
                                             .unknown = "[UNK]",
                                             .pad = "[PAD]",
                                             .cls = "[CLS]",
                                             .sep = "[SEP]",
                                             .mask = "[MASK]",
                                             .lowercase = true,
                                             .accept_wordpiece = true};
static const char SENTENCES[] = "text\tlabel\nthe river runs faster\t1\nThe rivers run\t0\n";

static void make_bert(const char *out) {
    PareTokenizer *t =
        load((const char *const[][2]){{"vocab.txt", WORDS}, {NULL, NULL}}, &WORDPIECE);
    convert_golden("bert-cls", path_of("plain.pare"));
    change(path_of("plain.pare"), t, NULL, NULL, out);
    pare_tokenizer_free(t);
}

/* "run" is "r" and "##u", but then nothing fits: both stay. Rows 17 to 95 have no token. */
static void test_words(void **state) {
    (void)state;
    PareError err = {0};
    make_bert(path_of("m.pare"));
    Case c = open_case(path_of("m.pare"));
    assert_false(pare_vocabulary_is_cut(&c.plan, pare_model_description(c.model)));
    ok(choose(&c, SENTENCES, 0, &err), &err);
    assert_true(pare_vocabulary_is_cut(&c.plan, pare_model_description(c.model)));
    assert_list(list_of(&c), LIST(0, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15));
    assert_int_equal(c.facts.rows, 2);
    assert_int_equal(c.facts.outside, 0);
    assert_int_equal(c.facts.used, 7);
    assert_int_equal(c.facts.tokens, 9);
    prune(&c, path_of("p.pare"));
    Case p = open_case(path_of("p.pare"));
    assert_int_equal(pare_model_description(p.model)->stacks[PARE_ENCODER].vocabulary, 14);
    assert_number(source_of(p.model), "vocab_size", 14);
    assert_number(source_of(p.model), "pad_token_id", 0);
    same_results(&c, p.model, "the river runs faster", NULL, true);
    same_results(&c, p.model, "The rivers run", NULL, true);
    ok(choose(&p, SENTENCES, 0, &err), &err); /* there is nothing more to cut */
    assert_true(list_of(&p)->all);
    close_case(&p);
    close_case(&c);
}

/* What is exported is a checkpoint of the smaller vocabulary, which converts again. */
static void test_export_again(void **state) {
    (void)state;
    PareError err = {0};
    make_bert(path_of("m.pare"));
    Case c = open_case(path_of("m.pare"));
    ok(choose(&c, SENTENCES, 0, &err), &err);
    prune(&c, path_of("p.pare"));
    PareExportOptions o = {.model = path_of("p.pare"), .folder = path_of("exported")};
    ok(try_export(o, NULL, &err), &err);
    convert(o.folder, true, path_of("again.pare"));
    Case again = open_case(path_of("again.pare"));
    same_results(&c, again.model, "the river runs faster", NULL, true);
    assert_number(source_of(again.model), "vocab_size", 14);
    remove_folder(o.folder);
    ok(choose(&again, "text\tlabel\nrivers\t1\n", 0, &err), &err);
    prune(&again, path_of("p.pare"));
    Case p = open_case(path_of("p.pare"));
    assert_number(pare_json_get(pare_model_metadata(p.model), "tokenizer"), "size", 10);
    close_case(&p);
    close_case(&again);
    close_case(&c);
}

/* Least are the specials and single characters (9); then the most frequent, as far as they fit. */
static void test_size(void **state) {
    (void)state;
    PareError err = {0};
    make_bert(path_of("m.pare"));
    Case c = open_case(path_of("m.pare"));
    const char *data = "old old old stone stone stone river\nriver runs old the\n";
    ok(choose(&c, data, 11, &err), &err);
    assert_int_equal(c.facts.least, 9);
    assert_list(list_of(&c), LIST(0, 2, 3, 4, 5, 7, 12, 13, 14, 15, 16));
    assert_int_equal(c.facts.tokens, 11);
    assert_int_equal(c.facts.outside, 4);
    ok(choose(&c, data, 13, &err), &err); /* "the" and "runs" are as frequent: by id */
    assert_list(list_of(&c), LIST(0, 2, 3, 4, 5, 6, 7, 8, 12, 13, 14, 15, 16));
    ok(choose(&c, data, 9, &err), &err);
    assert_int_equal(list_of(&c)->count, 9);
    not_chosen(&c, data, 8, "alone are 9");
    PareVocabularyOptions o = {.path = path_of("data"), .limit = 1};
    ok(pare_vocabulary_choose(c.model, &o, &c.plan, &c.facts, &err), &err);
    assert_int_equal(c.facts.rows, 1);
    assert_list(list_of(&c), LIST(0, 2, 3, 4, 5, 7, 8, 12, 13, 14, 15, 16));
    close_case(&c);
}

/* Bytes without a piece are the unknown token here, so that the table is small. "abc" is made of
 * "ab", which no text shows. */
static void make_gpt(const char *out) {
    static const char VOCAB[] = "{\"<|endoftext|>\": 0, \"\xC4\xA0\": 1, \"a\": 2, \"b\": 3, "
                                "\"c\": 4, \"ab\": 5, \"abc\": 6, \"\xC4\xA0\x61\": 7, \"bc\": 8, "
                                "\"\xC4\x8A\": 9, \"\xC4\xA0\xC4\x8A\": 10, \"ca\": 11}";
    static const char MERGES[] = "a b\nab c\n\xC4\xA0 a\nb c\n\xC4\xA0 \xC4\x8A\nc a\n";
    static const PareTokenizerHints BPE = {.single = "$A",
                                           .pair = "$A $B",
                                           .unknown = "<|endoftext|>",
                                           .bos = "<|endoftext|>",
                                           .eos = "<|endoftext|>",
                                           .accept_bpe = true};
    PareTokenizer *t =
        load((const char *const[][2]){{"vocab.json", VOCAB}, {"merges.txt", MERGES}, {NULL, NULL}},
             &BPE);
    convert_golden("gpt2-lm", path_of("plain.pare"));
    change(path_of("plain.pare"), t, NULL, NULL, out);
    pare_tokenizer_free(t);
}

static void test_lines(void **state) {
    (void)state;
    PareError err = {0};
    make_gpt(path_of("m.pare"));
    Case c = open_case(path_of("m.pare"));
    ok(choose(&c, "abc ca \n", 0, &err), &err);
    assert_list(list_of(&c), LIST(0, 1, 2, 3, 4, 5, 6, 9, 10, 11));
    prune(&c, path_of("p.pare"));
    Case p = open_case(path_of("p.pare"));
    same_results(&c, p.model, "abc ca \n", NULL, false);
    same_results(&c, p.model, "abc ca", NULL, false);
    PareTokenizer *small = tokenizer_of(p.model);
    PareIds ids = encode(small, PARE_SIDE_SOURCE, "bc ab", false);
    assert_int_equal(ids.count, 4); /* "b", "c", "\u0120", "ab": what is left of it */
    pare_ids_free(&ids);
    pare_tokenizer_free(small);
    close_case(&p);
    close_case(&c);
}

/* "abc" is the most frequent, but needs "ab" too, for which there is no room; "bc" fits. */
static void test_parts_fit(void **state) {
    (void)state;
    PareError err = {0};
    make_gpt(path_of("m.pare"));
    Case c = open_case(path_of("m.pare"));
    ok(choose(&c, "abc\nabc\nabc\nbc\nbc\nca\n", 7, &err), &err);
    assert_int_equal(c.facts.least, 6);
    assert_list(list_of(&c), LIST(0, 1, 2, 3, 4, 8, 9));
    ok(choose(&c, NULL, 8, &err), &err);
    assert_list(list_of(&c), LIST(0, 1, 2, 3, 4, 5, 6, 9));
    close_case(&c);
}

/* ---- Two sides --------------------------------------------------------------------------------
 */

static const PareTokenizerHints PAIR = {.single = "$A </s>",
                                        .pair = "$A $B </s>",
                                        .unknown = "<unk>",
                                        .pad = "<pad>",
                                        .eos = "</s>",
                                        .accept_unigram = true,
                                        .two_models = true,
                                        .language_code = true};
static const char TRANSLATIONS[] = "source\ttarget\nthe old stone\tder alte Stein\n"
                                   "a river\tein Fluss\n";

/* A tokenizer of two models with few enough tokens for the 96 rows of the fixture. */
static void make_pair(const char *out) {
    PareTokenizer *whole = NULL, *t = NULL;
    PareError err = {0};
    bool keep[200] = {false};
    size_t kept = 0;
    ok(pare_tokenizer_load("tests/data/tokenizers/pair", &PAIR, &whole, &err), &err);
    ok(pare_tokenizer_close_subset(whole, keep, pare_tokenizer_size(whole), &err), &err);
    for (size_t i = 0; i < pare_tokenizer_size(whole); i++)
        kept += keep[i];
    for (size_t i = 0; i < pare_tokenizer_size(whole) && kept < 92; i++) {
        kept += !keep[i];
        keep[i] = true;
    }
    ok(pare_tokenizer_subset(whole, keep, pare_tokenizer_size(whole), &t, &err), &err);
    assert_int_equal(pare_tokenizer_size(t), 92);
    convert_golden("marian", path_of("plain.pare"));
    change(path_of("plain.pare"), t, NULL, NULL, out);
    pare_tokenizer_free(whole);
    pare_tokenizer_free(t);
}

/* The settings' start and padding is row 95, which no token names: it stays. */
static void test_pairs(void **state) {
    (void)state;
    PareError err = {0};
    make_pair(path_of("m.pare"));
    Case c = open_case(path_of("m.pare"));
    ok(choose(&c, TRANSLATIONS, 0, &err), &err);
    uint32_t n = list_of(&c)->count;
    assert_true(n > 60 && n < 92);
    assert_int_equal(list_of(&c)->units[n - 1], 95);
    assert_int_equal(c.plan.stacks[PARE_ENCODER].vocabulary.count, n);
    prune(&c, path_of("p.pare"));
    Case p = open_case(path_of("p.pare"));
    const PareGeneration *g = pare_model_generation(p.model);
    assert_int_equal(g->decoder_start, n - 1);
    assert_int_equal(g->pad, n - 1);
    assert_number(source_of(p.model), "vocab_size", n);
    assert_number(source_of(p.model), "decoder_vocab_size", n);
    assert_number(source_of(p.model), "pad_token_id", n - 1);
    assert_number(source_of(p.model), "decoder_start_token_id", n - 1);
    same_results(&c, p.model, "the old stone", "der alte Stein", true);
    same_results(&c, p.model, "a river", "ein Fluss", true);
    close_case(&p);
    close_case(&c);
}

/* ---- Token ids --------------------------------------------------------------------------------
 */

static void test_ids(void **state) {
    (void)state;
    PareError err = {0};
    convert_golden("gpt2-lm", path_of("m.pare"));
    Case c = open_case(path_of("m.pare"));
    ok(choose(&c, "{\"input_ids\": [7, 9, 95], \"labels\": [-100, 9, 30]}\n", 0, &err), &err);
    assert_list(list_of(&c), LIST(2, 7, 9, 30, 95)); /* 2: begin and end */
    prune(&c, path_of("p.pare"));
    Case p = open_case(path_of("p.pare"));
    assert_int_equal(pare_model_generation(p.model)->bos, 0);
    assert_number(source_of(p.model), "eos_token_id", 0);
    static Rows old, new;
    int32_t a[] = {7, 9, 95}, b[] = {1, 2, 4};
    run(c.model, &(PareIds){a, 3, 3}, NULL, &old);
    run(p.model, &(PareIds){b, 3, 3}, NULL, &new);
    same_rows(&old, &new, list_of(&c));
    not_chosen(&c, "{\"input_ids\": [96]}\n", 0, "line 1: input_ids[0] is 96; the model has 96");
    not_chosen(&c, "some text\n", 0, "no tokenizer");
    not_chosen(&c, "{\"target\": \"x\"}\n", 0, "neither a text nor input_ids");
    not_chosen(&c, "", 0, "not a single row");

    close_case(&p);
    close_case(&c);
}

/* Labels of tokens are no tokens. */
static void test_labels(void **state) {
    (void)state;
    PareError err = {0};
    convert_golden("bert-token-cls", path_of("m.pare"));
    Case c = open_case(path_of("m.pare"));
    ok(choose(&c, "{\"input_ids\": [7, 9], \"labels\": [-100, 1]}\n", 0, &err), &err);
    assert_list(list_of(&c), LIST(0, 7, 9));
    close_case(&c);
}

/* Tables of different sizes, each with its own list. */
static void test_two_tables(void **state) {
    (void)state;
    PareError err = {0};
    uint32_t first[90];
    convert_golden("bert2gpt", path_of("m.pare"));
    Case c = open_case(path_of("m.pare"));
    for (uint32_t i = 0; i < 90; i++)
        first[i] = i;
    ok(pare_prune_plan_keep(&c.plan, &c.plan.stacks[PARE_DECODER].vocabulary, first, 90, 96, "rows",
                            &err),
       &err);
    prune(&c, path_of("p.pare"));
    Case p = open_case(path_of("p.pare"));
    ok(choose(&p, "{\"input_ids\": [95, 20], \"labels\": [21, 20]}\n", 0, &err), &err);
    assert_list(&p.plan.stacks[PARE_ENCODER].vocabulary, LIST(0, 20, 95));
    assert_list(&p.plan.stacks[PARE_DECODER].vocabulary, LIST(0, 2, 3, 20, 21));
    prune(&p, path_of("pp.pare"));
    Case pp = open_case(path_of("pp.pare"));
    const PareJson *config = source_of(pp.model);
    assert_number(config, "decoder_start_token_id", 1);
    assert_number(pare_json_get(config, "encoder"), "vocab_size", 3);
    assert_number(pare_json_get(config, "decoder"), "vocab_size", 5);
    assert_int_equal(pare_model_generation(pp.model)->eos.ids[0], 2);
    not_chosen(&p, "{\"input_ids\": [1], \"labels\": [90]}\n", 0, "labels[0] is 90");
    close_case(&pp);
    close_case(&p);
    close_case(&c);
}

/* Words that cannot be generated any more need not be forbidden. */
static void test_bad_words(void **state) {
    (void)state;
    PareError err = {0};
    convert_golden("marian", path_of("plain.pare"));
    change(path_of("plain.pare"), NULL, "\"generation\":{",
           "\"generation\":{\"bad_words_ids\":[[95],[8,95],[95,7]],", path_of("m.pare"));
    Case c = open_case(path_of("m.pare"));
    ok(choose(&c, "{\"input_ids\": [7], \"labels\": [6]}\n", 0, &err), &err);
    assert_list(list_of(&c), LIST(0, 6, 7, 95));
    prune(&c, path_of("p.pare"));
    Case p = open_case(path_of("p.pare"));
    const PareGeneration *g = pare_model_generation(p.model);
    assert_int_equal(g->bad_word_count, 2);
    assert_int_equal(g->bad_words[0].ids[0], 3);
    assert_int_equal(g->bad_words[1].count, 2);
    assert_int_equal(g->bad_words[1].ids[0], 3);
    assert_int_equal(g->bad_words[1].ids[1], 2);
    close_case(&p);
    close_case(&c);
}

/* ---- Metadata ---------------------------------------------------------------------------------
 */

static void put(PareBuffer *b, const char *text) {
    pare_buffer_clear(b);
    pare_buffer_puts(b, text);
}

static void test_metadata(void **state) {
    (void)state;
    PareError err = {0};
    PareBuffer before = {0}, after = {0}, tokenizer = {0};
    convert_golden("gpt2-lm", path_of("m.pare"));
    Case c = open_case(path_of("m.pare"));
    ok(choose(&c, "{\"input_ids\": [7, 9, 95]}\n", 0, &err), &err); /* 2 7 9 95 */
    put(&before,
        "{\"other\":{\"pad_token_id\":9},\"source\":{\"model_type\":\"x\",\"config\":{"
        "\"vocab_size\":96,\"n\":96,\"sep_token_id\":9,\"cls_token_id\":8,\"eos_token_id\":[9,8,7],"
        "\"pad_token_id\":null,\"bad_words_ids\":[[9],[8,9],[9,95]],\"suppress_tokens\":[8,95],"
        "\"encoder\":{\"vocab_size\":96,\"pad_token_id\":2}},"
        "\"generation_config\":{\"bos_token_id\":95,\"begin_suppress_tokens\":null}}}");
    ok(pare_vocabulary_rewrite(c.model, &c.plan, &before, &after, &tokenizer, &err), &err);
    /* The encoder's own settings name no table of this model; a bos was absent. */
    assert_string_equal(
        after.data,
        "{\"other\":{\"pad_token_id\":9},\"source\":{\"model_type\":\"x\",\"config\":{"
        "\"vocab_size\":4,\"n\":96,\"sep_token_id\":2,\"cls_token_id\":null,\"eos_token_id\":[2,1],"
        "\"pad_token_id\":null,\"bad_words_ids\":[[2],[2,3]],\"suppress_tokens\":[3],"
        "\"encoder\":{\"vocab_size\":96,\"pad_token_id\":null},\"bos_token_id\":0},"
        "\"generation_config\":{\"bos_token_id\":3,\"begin_suppress_tokens\":null}}}");
    assert_int_equal(tokenizer.size, 0);
    pare_buffer_free(&before);
    pare_buffer_free(&after);
    close_case(&c);
}

/* Plans that people edited. */
static void refuse_plan(Case *c, const char *sentence) {
    PareBuffer before = {0}, after = {0}, tokenizer = {0};
    PareError err = {0};
    put(&before, "{}");
    assert_int_equal(pare_vocabulary_rewrite(c->model, &c->plan, &before, &after, &tokenizer, &err),
                     PARE_E_USAGE);
    if (!strstr(err.message, sentence))
        fail_msg("'%s' does not say '%s'", err.message, sentence);
    pare_buffer_free(&before);
    pare_buffer_free(&after);
    pare_buffer_free(&tokenizer);
}

static void drop(Case *c, int stack, uint32_t unit) {
    PareError err = {0};
    ok(pare_prune_plan_drop(&c->plan, &c->plan.stacks[stack].vocabulary, unit, 96, "rows", &err),
       &err);
}

static void test_edited_plans(void **state) {
    (void)state;
    make_pair(path_of("m.pare"));
    Case c = open_case(path_of("m.pare"));
    drop(&c, PARE_ENCODER, 93);
    refuse_plan(&c, "differ at token 93");
    drop(&c, PARE_DECODER, 95);
    refuse_plan(&c, "lacks token 95, which is \"pad_token_id\"");
    close_case(&c);
    make_bert(path_of("m.pare"));
    c = open_case(path_of("m.pare"));
    drop(&c, PARE_ENCODER, 12);
    refuse_plan(&c, "lacks token 12 ('##s')");
    close_case(&c);
}

/* Without memory there is an error, and nothing leaks. */
static void test_no_memory(void **state) {
    (void)state;
    PareError err = {0};
    PareStatus status = PARE_E_MEMORY;
    PareBuffer before = {0}, after = {0}, tokenizer = {0};
    make_bert(path_of("m.pare"));
    Case c = open_case(path_of("m.pare"));
    put(&before, "{\"generation\":{},\"source\":{\"config\":{\"bad_words_ids\":[[2]]}}}");
    ok(choose(&c, SENTENCES, 12, &err), &err);
    for (uint64_t n = 1; status && n < 5000; n++) {
        pare_buffer_free(&after);
        pare_buffer_free(&tokenizer);
        PareVocabularyOptions o = {.path = path_of("data"), .max_size = 12};
        pare_memory_fail_after(n);
        status = pare_vocabulary_choose(c.model, &o, &c.plan, &c.facts, &err);
        if (!status)
            status = pare_vocabulary_rewrite(c.model, &c.plan, &before, &after, &tokenizer, &err);
        pare_memory_fail_after(0);
        if (status)
            assert_int_equal(status, PARE_E_MEMORY);
    }
    assert_int_equal(status, PARE_OK);
    pare_buffer_free(&before);
    pare_buffer_free(&after);
    pare_buffer_free(&tokenizer);
    close_case(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_words),     cmocka_unit_test(test_export_again),
        cmocka_unit_test(test_size),      cmocka_unit_test(test_lines),
        cmocka_unit_test(test_pairs),     cmocka_unit_test(test_parts_fit),
        cmocka_unit_test(test_bad_words), cmocka_unit_test(test_ids),
        cmocka_unit_test(test_labels),    cmocka_unit_test(test_two_tables),
        cmocka_unit_test(test_metadata),  cmocka_unit_test(test_edited_plans),
        cmocka_unit_test(test_no_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
