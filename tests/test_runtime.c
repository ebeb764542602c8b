/* Models and sessions under bad luck and bad will: failing allocations, descriptions and settings
 * that make no sense, neighbours in a batch, interruption. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "convert/convert.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/random.h"
#include "quantize/quantize.h"
#include "runtime/session_impl.h"

enum { VOCABULARY = 90, COUNT = 4, LENGTH = 11, ROOM = 64, KINDS = 4 };
enum { BERT, GPT2, BART, T5 };

static const char *const NAMES[KINDS] = {"bert-cls", "gpt2-lm", "bart", "t5"};

typedef struct {
    char f32[KINDS][256], i8[KINDS][256], scratch[256];
} Files;

static Files files;

static void ok(PareStatus st, const PareError *err) {
    if (st)
        print_error("%s\n", err->message);
    assert_int_equal(st, PARE_OK);
}

static void name_file(char *path, const char *what, const char *kind) {
    const char *tmp = getenv("TMPDIR");
    snprintf(path, sizeof files.scratch, "%s/runtime-%ld-%s-%s.pare", tmp ? tmp : "/tmp",
             (long)getpid(), what, kind);
}

static int make_files(void **state) {
    PareError err = {0};
    (void)state;
    name_file(files.scratch, "scratch", "file");
    for (int i = 0; i < KINDS; i++) {
        char folder[256];
        PareConvert *c;
        PareQuantizeTotals totals;
        snprintf(folder, sizeof folder, "tests/data/goldens/%s", NAMES[i]);
        name_file(files.f32[i], NAMES[i], "f32");
        name_file(files.i8[i], NAMES[i], "int8");
        PareConvertOptions o = {.folder = folder, .no_tokenizer = true};
        ok(pare_convert_open(&o, &c, &err), &err);
        ok(pare_convert_write(c, files.f32[i], true, NULL, &err), &err);
        pare_convert_close(c);
        PareQuantizeOptions q = {
            .input = files.f32[i], .output = files.i8[i], .to = PARE_I8, .force = true};
        ok(pare_quantize(&q, &totals, &err), &err);
    }
    return 0;
}

static int remove_files(void **state) {
    (void)state;
    for (int i = 0; i < KINDS; i++)
        unlink(files.f32[i]), unlink(files.i8[i]);
    unlink(files.scratch);
    return 0;
}

/* -- sequences and settings -- */

typedef struct {
    int32_t ids[COUNT][LENGTH];
    PareSequence q[COUNT];
} Input;

/* Random ids of several lengths; decoder ids for those models that read them. */
static void fill(Input *in, int kind) {
    for (size_t i = 0; i < COUNT; i++) {
        for (size_t k = 0; k < LENGTH; k++)
            in->ids[i][k] = (int32_t)(3 + pare_random_below(5, i, k, VOCABULARY - 3));
        in->q[i] = (PareSequence){.ids = in->ids[i], .count = 2 + 3 * i};
        if (kind >= BART) {
            in->q[i].decoder_ids = in->ids[COUNT - 1 - i];
            in->q[i].decoder_count = 1 + i;
        }
    }
}

static PareGeneration settings(const PareModel *m, uint32_t beams) {
    PareGeneration g = *pare_model_generation(m);
    g.num_beams = beams;
    g.max_new_tokens = 9;
    g.no_repeat_ngram_size = 3;
    g.length_penalty = 1.5F;
    return g;
}

static PareStatus ignore_row(void *context, size_t sequence, size_t row, const float *values,
                             size_t n, PareError *err) {
    (void)context, (void)sequence, (void)row, (void)values, (void)n, (void)err;
    return PARE_OK;
}

static bool generates(int kind) {
    return kind != BERT;
}

/* -- failing allocations -- */

/* Activations in arenas that ask for memory every time, so that each operator's request can fail.
 */
static PareStatus make_arenas_small(PareSession *s, PareError *err) {
    pare_arena_destroy(s->arena);
    pare_arena_destroy(s->result_arena);
    s->arena = pare_arena_create(1);
    s->result_arena = pare_arena_create(1);
    return s->arena && s->result_arena ? PARE_OK : pare_memory_error(err, "arenas");
}

/* Everything that a program does with a model. */
static PareStatus use(const char *path, int kind, const Input *in, PareError *err) {
    PareModel *m = NULL;
    PareSession *s = NULL;
    PareGenerated out[COUNT];
    PareStatus st = pare_model_open(path, &m, err);
    if (!st)
        st = pare_session_create(m, 2, &s, err);
    if (!st)
        st = make_arenas_small(s, err);
    if (!st)
        st = pare_session_run(s, in->q, COUNT, PARE_ROWS_LOGITS, ignore_row, NULL, err);
    for (uint32_t beams = 1; beams <= 3 && !st && generates(kind); beams += 2) {
        PareGeneration g = settings(m, beams);
        st = pare_session_generate(s, in->q, COUNT, &g, out, err);
    }
    pare_session_destroy(s);
    pare_model_close(m);
    return st;
}

static void check_failing(const char *path, int kind) {
    Input in;
    fill(&in, kind);
    PareStatus st = PARE_E_MEMORY;
    uint64_t n = 0;
    while (st) {
        PareError err = {0};
        pare_memory_fail_after(++n);
        st = use(path, kind, &in, &err);
        pare_memory_fail_after(0);
        if (st && st != PARE_E_MEMORY)
            print_error("allocation %llu: %s\n", (unsigned long long)n, err.message);
        assert_true(st == PARE_OK || (st == PARE_E_MEMORY && strstr(err.message, "memory")));
        assert_true(n < 100000);
    }
    print_message("  %s: %llu allocations\n", NAMES[kind], (unsigned long long)(n - 1));
    assert_true(n > 10);
}

static void test_failing_allocations(void **state) {
    (void)state;
    for (int i = 0; i < KINDS; i++) {
        check_failing(files.f32[i], i);
        check_failing(files.i8[i], i);
    }
}

/* A session that ran out of memory in the middle of something serves the next call as if nothing
 * had been. */
static void test_session_recovers(void **state) {
    (void)state;
    PareError err = {0};
    PareGenerated out[COUNT];
    for (int kind = GPT2; kind < KINDS; kind++) {
        Input in;
        PareModel *m;
        PareSession *s, *fresh;
        fill(&in, kind);
        ok(pare_model_open(files.i8[kind], &m, &err), &err);
        PareGeneration g = settings(m, 3);
        ok(pare_session_create(m, 1, &fresh, &err), &err);
        ok(pare_session_generate(fresh, in.q, COUNT, &g, out, &err), &err);
        for (uint64_t n = 1, done = 0; !done; n++) {
            PareGenerated again[COUNT];
            ok(pare_session_create(m, 1, &s, &err), &err);
            pare_memory_fail_after(n);
            done = pare_session_generate(s, in.q, COUNT, &g, again, &err) == PARE_OK;
            pare_memory_fail_after(0);
            ok(pare_session_generate(s, in.q, COUNT, &g, again, &err), &err);
            for (size_t i = 0; i < COUNT; i++) {
                assert_int_equal(again[i].count, out[i].count);
                assert_memory_equal(again[i].ids, out[i].ids, out[i].count * sizeof(int32_t));
                assert_memory_equal(&again[i].score, &out[i].score, sizeof out[i].score);
            }
            pare_session_destroy(s);
        }
        pare_session_destroy(fresh);
        pare_model_close(m);
    }
}

/* -- hostile metadata -- */

/* In the metadata of a valid file: behind `after`, `find` becomes `replace`. */
typedef struct {
    int kind;
    const char *after, *find, *replace;
    const char *words; /* of the refusal */
} Edit;

static void copy_tensors(const PareFile *f, PareFileWriter *w) {
    PareError err = {0};
    for (size_t i = 0; i < pare_file_count(f); i++) {
        const PareFileTensor *t = pare_file_tensor(f, i);
        if (t->alias_of)
            ok(pare_file_writer_alias(w, t, t->alias_of, &err), &err);
        else
            ok(pare_file_writer_tensor(w, t, t->data, &err), &err);
    }
}

static void rewrite(const char *from, const char *to, const Edit *e) {
    PareError err = {0};
    PareFile *f;
    PareFileWriter *w;
    PareBuffer text = {0};
    const void *bytes;
    size_t size;
    ok(pare_file_open(from, &f, &err), &err);
    assert_true(pare_file_section(f, PARE_SECTION_METADATA, &bytes, &size));
    char *old = pare_alloc(size + 1, 1);
    assert_non_null(old);
    memcpy(old, bytes, size);
    const char *at = strstr(old, e->after);
    assert_non_null(at);
    at = strstr(at, e->find);
    assert_non_null(at);
    pare_buffer_printf(&text, "%.*s%s%s", (int)(at - old), old, e->replace, at + strlen(e->find));
    ok(pare_file_writer_open(to, true, &w, &err), &err);
    copy_tensors(f, w);
    ok(pare_file_writer_section(w, PARE_SECTION_METADATA, text.data, text.size, &err), &err);
    ok(pare_file_writer_commit(w, &err), &err);
    pare_buffer_free(&text);
    pare_free(old);
    pare_file_close(f);
}

static void check_refused(const Edit *e, size_t number) {
    PareError err = {0};
    PareModel *m = NULL;
    rewrite(files.f32[e->kind], files.scratch, e);
    PareStatus st = pare_model_open(files.scratch, &m, &err);
    pare_model_close(m);
    if (!st || !strstr(err.message, e->words) || !strstr(err.message, "scratch"))
        print_error("edit %zu (%s): \"%s\" instead of \"%s\"\n", number, e->replace, err.message,
                    e->words);
    assert_true(st == PARE_E_FORMAT || st == PARE_E_UNSUPPORTED);
    assert_non_null(strstr(err.message, e->words));
    assert_non_null(strstr(err.message, "scratch")); /* the file's name */
}

static void check_all_refused(const Edit *edits, size_t count) {
    for (size_t i = 0; i < count; i++)
        check_refused(&edits[i], i);
}

static void test_hostile_stack(void **state) {
    static const Edit EDITS[] = {
        {BART, "encoder", "\"width\":32", "\"width\":0", "encoder width is 0"},
        {BART, "encoder", "\"width\":32", "\"width\":2147483647", "encoder width"},
        {BART, "encoder", "\"width\":32", "\"width\":2147483648", "\"width\""},
        {BART, "encoder", "\"width\":32", "\"width\":-1", "\"width\""},
        {BART, "encoder", "\"width\":32", "\"width\":32.5", "\"width\""},
        {BART, "encoder", "\"width\":32", "\"width\":\"32\"", "\"width\""},
        {BART, "encoder", "\"width\":32", "\"Width\":32", "\"Width\""},
        {BART, "encoder", "\"width\":32,", "", "\"width\" is missing"},
        {BART, "encoder", "\"width\":32", "\"width\":32,\"width\":32", "width"},
        {BART, "encoder", "\"width\":32", "\"width\":48", "encoder.embed.tokens"},
        {BART, "decoder", "\"vocabulary\":96", "\"vocabulary\":97", "decoder.embed.tokens"},
        {BART, "decoder", "\"vocabulary\":96", "\"vocabulary\":0", "decoder vocabulary is 0"},
        {BART, "decoder", "\"vocabulary\":96", "\"vocabulary\":16777217", "decoder vocabulary"},
        {BART, "decoder", "\"positions\":64", "\"positions\":63", "decoder.embed.positions"},
        {BART, "decoder", "\"positions\":64", "\"positions\":0", "decoder positions is 0"},
        {BART, "decoder", "\"positions\":64", "\"positions\":2147483647", "decoder positions"},
        {BART, "decoder", "position_offset\":2", "position_offset\":2147483647",
         "decoder position_offset"},
        {BART, "decoder", "position_offset\":2", "position_offset\":3", "decoder.embed.positions"},
        {BART, "decoder", "\"types\":0", "\"types\":2", "decoder.embed.types"},
        {BART, "decoder", "\"types\":0", "\"types\":2147483647", "decoder types"},
        {BART, "decoder", "\"table\"", "\"none\"", "decoder.embed.positions"},
        {BART, "decoder", "\"table\"", "\"rotary\"", "\"position\""},
        {BART, "decoder", "\"table\"", "\"relative\"", "relative_buckets"},
        {BART, "decoder", "norm_eps\":1e-05", "norm_eps\":-1", "norm_eps"},
        {BART, "decoder", "norm_eps\":1e-05", "norm_eps\":1e39", "norm_eps"},
        {BART, "decoder", "embedding_scale\":1", "embedding_scale\":1e39", "embedding_scale"},
        {BART, "decoder", "\"layer\"", "\"rms\"", "no place"},
        {BART, "decoder", "\"gelu\"", "\"gelu2\"", "\"activation\""},
        {BART, "decoder", "\"gated\":false", "\"gated\":true", "ffn.gate"},
        {BART, "decoder", "\"gated\":false", "\"gated\":0", "\"gated\""},
        {BART, "decoder", "\"cross\":true", "\"cross\":false", "cross"},
        {BART, "encoder", "\"cross\":false", "\"cross\":true", "cross"},
        {BART, "description", "\"encoder\":{", "\"encoder\":7,\"other\":{", "other"},
        {BART, "description", "\"encoder\":", "\"encodes\":", "encodes"},
        {BERT, "description", "\"decoder\":null,", "", "decoder"},
        {BART, "decoder", "\"layers\":[", "\"layers\":7,\"more\":[", "more"},
    };
    (void)state;
    check_all_refused(EDITS, sizeof EDITS / sizeof *EDITS);
}

static void test_hostile_layers(void **state) {
    static const Edit EDITS[] = {
        {BART, "decoder", "\"heads\":4", "\"heads\":2147483647", "decoder self heads"},
        {BART, "decoder", "\"heads\":4", "\"heads\":0", "no place"},
        {BART, "decoder", "\"heads\":4", "\"heads\":8", "decoder.layers.0.self"},
        {BART, "decoder", "kv_heads\":4", "kv_heads\":0", "decoder self heads"},
        {BART, "decoder", "kv_heads\":4", "kv_heads\":3", "divide"},
        {BART, "decoder", "kv_heads\":4", "kv_heads\":2", "decoder.layers.0.self.key"},
        {BART, "decoder", "head_size\":8", "head_size\":0", "head_size"},
        {BART, "decoder", "head_size\":8", "head_size\":2147483647", "head_size"},
        {BART, "decoder", "head_size\":8", "head_size\":1024", "decoder.layers.0.self"},
        {BART, "decoder", "scale\":0.35355338", "scale\":0", "scale"},
        {BART, "decoder", "scale\":0.35355338", "scale\":1e39", "scale"},
        {BART, "decoder", "scale\":0.35355338", "scale\":null", "\"scale\""},
        {BART, "encoder", "\"window\":0", "\"window\":4", "encoder self window is 4"},
        {BART, "\"cross\":{", "\"window\":0", "\"window\":4", "cross window"},
        {BART, "decoder", "\"ffn\":64", "\"ffn\":2147483647", "feed-forward"},
        {BART, "decoder", "\"ffn\":64", "\"ffn\":65", "decoder.layers.0.ffn"},
        {BART, "decoder", "\"ffn\":64", "\"ffn\":0", "no place"},
        {BART, "decoder", "\"self\":", "\"itself\":", "itself"},
        {T5, "decoder", "relative_buckets\":8", "relative_buckets\":9", "relative"},
        {T5, "decoder", "relative_buckets\":8", "relative_buckets\":3", "relative_buckets"},
        {T5, "decoder", "relative_buckets\":8", "relative_buckets\":2147483647",
         "relative_buckets"},
        {T5, "decoder", "relative_max_distance\":20", "relative_max_distance\":4",
         "relative_max_distance"},
        {T5, "decoder", "relative_max_distance\":20", "relative_max_distance\":2147483647",
         "relative_max_distance"},
    };
    (void)state;
    check_all_refused(EDITS, sizeof EDITS / sizeof *EDITS);
}

static void test_hostile_head(void **state) {
    static const Edit EDITS[] = {
        {BART, "\"head\":", "\"lm\"", "\"none\"", "no place"},
        {BART, "\"head\":", "\"lm\"", "\"tokens\"", "labels"},
        {BART, "\"head\":", "\"lm\"", "\"chess\"", "\"kind\""},
        {BART, "\"head\":", "\"labels\":0", "\"labels\":96", "labels"},
        {BERT, "\"head\":", "\"labels\":3", "\"labels\":2147483647", "labels"},
        {BERT, "\"head\":", "\"labels\":3", "\"labels\":4", "\"labels\""},
        {BERT, "\"head\":", "\"labels\":3", "\"labels\":0", "labels"},
        {BERT, "\"head\":", "\"sequence\"", "\"span\"", "labels"},
        {BERT, "\"head\":", "\"first\"", "\"none\"", "pool"},
        {BART, "\"head\":", "\"scale\":1", "\"scale\":-1", "scale"},
        {BART, "\"head\":", "\"transform\":false", "\"transform\":true", "head.transform"},
        /* An output as wide as the tables would read beyond the hidden state. */
        {GPT2, "decoder", "embedding_width\":32", "embedding_width\":64", "embedding_width is 64"},
        {BART, "generation", "num_beams\":1", "num_beams\":2147483647", "num_beams"},
        {BART, "generation", "num_beams\":1", "num_beams\":0", "num_beams"},
        {BART, "generation", "\"num_beams\":1", "\"num_return_sequences\":2", "num_return"},
        {BART, "generation", "\"num_beams\":1", "\"max_time\":3.5", "max_time"},
        {BART, "generation", "min_length\":0", "min_length\":-1", "min_length"},
        {BART, "generation", "min_length\":0", "min_length\":2147483648", "min_length"},
        {BART, "generation", "repetition_penalty\":1", "repetition_penalty\":0", "repetition"},
        {BART, "generation", "length_penalty\":1", "length_penalty\":1e39", "length_penalty"},
        {BART, "generation", "eos_token_id\":[2]", "eos_token_id\":[-2]", "eos_token_id"},
        {BART, "generation", "eos_token_id\":[2]", "eos_token_id\":[[2]]", "eos_token_id"},
        {BART, "generation", "\"min_length\":0", "\"bad_words_ids\":[[]]", "bad_words_ids"},
        {BART, "generation", "\"min_length\":0", "\"bad_words_ids\":[7]", "bad_words_ids"},
        {BART, "generation", "\"min_length\":0", "\"do_sample\":true", "do_sample"},
        {BART, "generation", "\"early_stopping\":false", "\"early_stopping\":\"maybe\"",
         "early_stopping"},
    };
    (void)state;
    check_all_refused(EDITS, sizeof EDITS / sizeof *EDITS);
}

/* What stands in the fields of a removed sublayer is nobody's size. */
static void test_removed_sublayer(void **state) {
    (void)state;
    PareError err = {0};
    PareModel *m;
    PareSession *s;
    PareGenerated out[COUNT];
    Input in;
    fill(&in, GPT2);
    ok(pare_model_open(files.i8[GPT2], &m, &err), &err);
    ok(pare_session_create(m, 1, &s, &err), &err);
    PareGeneration g = settings(m, 2);
    PareDescription d = *pare_model_description(m);
    PareStack *stack = &d.stacks[PARE_DECODER];
    PareLayerShape layers[8];
    assert_in_range(stack->layer_count, 1, 8);
    memcpy(layers, stack->layers, stack->layer_count * sizeof *layers);
    layers[1].self = (PareAttentionShape){.kv_heads = INT32_MAX, .head_size = INT32_MAX};
    stack->layers = layers;
    ok(pare_description_check(&d, "d", &err), &err);
    s->transformer.d = &d;
    ok(pare_session_generate(s, in.q, COUNT, &g, out, &err), &err);
    pare_session_destroy(s);
    pare_model_close(m);
}

/* -- hostile settings -- */

static void refused(PareSession *s, const Input *in, const PareGeneration *g, const char *words) {
    PareError err = {0};
    PareGenerated out[COUNT];
    PareStatus st = pare_session_generate(s, in->q, COUNT, g, out, &err);
    if (!strstr(err.message, words))
        print_error("\"%s\" instead of \"%s\"\n", err.message, words);
    assert_int_not_equal(st, PARE_OK);
    assert_non_null(strstr(err.message, words));
    err = (PareError){0}; /* known beforehand as well */
    assert_int_equal(pare_session_check_generation(s->transformer.d, g, COUNT, &err), st);
    assert_non_null(strstr(err.message, words));
}

static void test_hostile_settings(void **state) {
    (void)state;
    PareError err = {0};
    PareModel *m;
    PareSession *s;
    PareGenerated out[COUNT];
    Input in;
    int32_t ids[] = {5, 1 << 20};
    PareIdList words[] = {{ids, 2}}, empty[] = {{ids, 0}}, last[] = {{ids + 1, 1}};
    fill(&in, BART);
    ok(pare_model_open(files.i8[BART], &m, &err), &err);
    ok(pare_session_create(m, 1, &s, &err), &err);
    const PareGeneration good = settings(m, 2);
    PareGeneration g = good;
    g.decoder_start = 96;
    refused(s, &in, &g, "decoder_start_token_id");
    g = good, g.forced_bos = 96;
    refused(s, &in, &g, "forced_bos_token_id");
    g = good, g.forced_eos = INT32_MAX;
    refused(s, &in, &g, "forced_eos_token_id");
    g = good, g.bad_words = words, g.bad_word_count = 1;
    refused(s, &in, &g, "bad_words_ids");
    g.bad_words = last;
    refused(s, &in, &g, "bad_words_ids");
    g.bad_words = empty;
    refused(s, &in, &g, "bad_words_ids");
    g = good, g.num_beams = 1025;
    refused(s, &in, &g, "num_beams");
    g = good, g.max_new_tokens = INT32_MAX;
    refused(s, &in, &g, "64 positions");
    g = good, g.max_new_tokens = 0, g.max_length = 1;
    refused(s, &in, &g, "max_length 1");
    g = good, g.eos = (PareIdList){ids, 2}, g.min_length = 5; /* an id that cannot come: no end */
    ok(pare_session_check_generation(pare_model_description(m), &g, COUNT, &err), &err);
    ok(pare_session_generate(s, in.q, COUNT, &g, out, &err), &err);
    pare_session_destroy(s);
    pare_model_close(m);
}

/* Biases by distance are expanded as far as the text has come, not as far as it might. */
static void test_long_limit(void **state) {
    (void)state;
    PareError err = {0};
    PareModel *m;
    PareSession *s;
    PareGenerated out[COUNT];
    Input in;
    int32_t all[96];
    for (int32_t i = 0; i < 96; i++)
        all[i] = i;
    fill(&in, T5);
    ok(pare_model_open(files.i8[T5], &m, &err), &err);
    ok(pare_session_create(m, 1, &s, &err), &err);
    PareGeneration g = settings(m, 1);
    g.max_new_tokens = 1 << 16;
    g.eos = (PareIdList){all, 96};
    ok(pare_session_generate(s, in.q, COUNT, &g, out, &err), &err);
    assert_true(s->relatives.reach <= 1 << 8);
    g.max_new_tokens = 300; /* beyond the first reach, with the same bits as a session that knew */
    g.eos = (PareIdList){0};
    ok(pare_session_generate(s, in.q, 1, &g, out, &err), &err);
    assert_int_equal(out[0].count, 301);
    g.max_new_tokens = 1 << 30;
    assert_int_equal(pare_session_check_generation(pare_model_description(m), &g, 2, &err),
                     PARE_E_UNSUPPORTED); /* places of keys are counted in 32 bits */
    assert_non_null(strstr(err.message, "positions to decode at once"));
    g.max_new_tokens = 300;
    PareSession *knows;
    PareGenerated expected;
    ok(pare_session_create(m, 1, &knows, &err), &err);
    ok(pare_session_reach(knows, 1 << 10, &err), &err);
    ok(pare_session_generate(knows, in.q, 1, &g, &expected, &err), &err);
    assert_memory_equal(out[0].ids, expected.ids, 301 * sizeof(int32_t));
    assert_memory_equal(&out[0].score, &expected.score, sizeof(double));
    pare_session_destroy(knows);
    pare_session_destroy(s);
    pare_model_close(m);
}

/* -- neighbours -- */

typedef struct {
    int32_t ids[COUNT][ROOM];
    size_t counts[COUNT];
    double scores[COUNT];
} Texts;

static void generate(const PareModel *m, const Input *in, size_t threads, size_t batch,
                     uint32_t beams, Texts *texts) {
    PareError err = {0};
    PareSession *s;
    PareGenerated out[COUNT];
    PareGeneration g = settings(m, beams);
    memset(texts, 0, sizeof *texts);
    ok(pare_session_create(m, threads, &s, &err), &err);
    for (size_t i = 0; i < COUNT; i += batch) {
        ok(pare_session_generate(s, in->q + i, batch, &g, out, &err), &err);
        for (size_t k = 0; k < batch; k++) {
            assert_true(out[k].count <= ROOM);
            memcpy(texts->ids[i + k], out[k].ids, out[k].count * sizeof(int32_t));
            texts->counts[i + k] = out[k].count;
            texts->scores[i + k] = out[k].score;
        }
    }
    pare_session_destroy(s);
}

static void test_neighbours(void **state) {
    (void)state;
    PareError err = {0};
    for (int kind = GPT2; kind < KINDS; kind++) {
        Input in;
        PareModel *m;
        Texts alone, together;
        fill(&in, kind);
        ok(pare_model_open(files.i8[kind], &m, &err), &err);
        for (uint32_t beams = 1; beams <= 4; beams += 3) {
            generate(m, &in, 1, 1, beams, &alone);
            for (size_t threads = 1; threads <= 3; threads++)
                for (size_t batch = 2; batch <= COUNT; batch *= 2) {
                    generate(m, &in, threads, batch, beams, &together);
                    assert_memory_equal(&alone, &together, sizeof alone);
                }
        }
        pare_model_close(m);
    }
}

/* -- interruption: the flag stays set, so this comes last -- */

static PareStatus raise_once(void *context, size_t sequence, size_t row, const float *values,
                             size_t n, PareError *err) {
    size_t *rows = context;
    (void)sequence, (void)row, (void)values, (void)n, (void)err;
    if ((*rows)++ == 0)
        raise(SIGTERM);
    return PARE_OK;
}

static void test_interrupted(void **state) {
    (void)state;
    PareError err = {0};
    PareModel *m;
    PareSession *s;
    PareGenerated out[COUNT];
    Input in;
    size_t rows = 0;
    fill(&in, BART);
    ok(pare_model_open(files.i8[BART], &m, &err), &err);
    ok(pare_session_create(m, 2, &s, &err), &err);
    pare_interrupt_install();
    PareStatus st = pare_session_run(s, in.q, COUNT, PARE_ROWS_LOGITS, raise_once, &rows, &err);
    assert_int_equal(st, PARE_E_INTERRUPTED);
    assert_true(rows > 0);
    for (uint32_t beams = 1; beams <= 3; beams += 2) {
        PareGeneration g = settings(m, beams);
        g.min_length = 8; /* more than one step */
        err = (PareError){0};
        st = pare_session_generate(s, in.q, COUNT, &g, out, &err);
        assert_int_equal(st, PARE_E_INTERRUPTED);
        assert_int_equal(err.code, PARE_E_INTERRUPTED);
    }
    pare_session_destroy(s);
    pare_model_close(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failing_allocations), cmocka_unit_test(test_session_recovers),
        cmocka_unit_test(test_hostile_stack),       cmocka_unit_test(test_hostile_layers),
        cmocka_unit_test(test_hostile_head),        cmocka_unit_test(test_removed_sublayer),
        cmocka_unit_test(test_hostile_settings),    cmocka_unit_test(test_long_limit),
        cmocka_unit_test(test_neighbours),          cmocka_unit_test(test_interrupted),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
