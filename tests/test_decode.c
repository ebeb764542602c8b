/* Decoding against the definitions of transformers: the logits processors one by one on rows made
 * by hand, and whole searches on bigram models, whose scores are a table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/random.h"
#include "formats/pare_file.h"
#include "runtime/decode_impl.h"

enum { V = 6, FAR = 1000 };

static void ok(PareStatus st, const PareError *err) {
    if (st)
        print_error("%s\n", err->message);
    assert_int_equal(st, PARE_OK);
}

/* -- processors -- */

static const float ROW[V] = {1, 2, -1, -2, 0.5F, 3};
#define GONE (-INFINITY)
#define IDS(...) (const int32_t[]){__VA_ARGS__}, sizeof((const int32_t[]){__VA_ARGS__}) / 4

/* ROW after a text of `count` ids whose limit is `limit` must be `expected`. */
static void check(const PareGeneration *g, size_t limit, const int32_t *ids, size_t count,
                  const float *expected) {
    float row[V];
    int32_t copy[16];
    memcpy(row, ROW, sizeof row);
    memcpy(copy, ids, count * sizeof *ids);
    PareHypothesis h = {.ids = copy, .length = count};
    pare_decoder_process(g, &h, limit, row, V);
    for (size_t i = 0; i < V; i++)
        if (!(row[i] == expected[i]))
            fail_msg("score %zu is %g; expected %g", i, (double)row[i], (double)expected[i]);
}

#define EXPECT(...)                                                                                \
    (const float[V]) {                                                                             \
        __VA_ARGS__                                                                                \
    }

static void test_nothing_set(void **state) {
    (void)state;
    PareGeneration g = pare_generation_defaults();
    check(&g, FAR, IDS(1, 1, 1, 1), ROW);
}

/* Positive scores are divided and negative ones multiplied, once for each id that was seen, the
 * prompt's included. */
static void test_repetition_penalty(void **state) {
    (void)state;
    PareGeneration g = pare_generation_defaults();
    g.repetition_penalty = 2;
    check(&g, FAR, IDS(1, 3, 1), EXPECT(1, 1, -1, -4, 0.5F, 3));
    g.repetition_penalty = 0.5F;
    check(&g, FAR, IDS(5, 2, 2, 2), EXPECT(1, 2, -0.5F, -2, 0.5F, 6));
}

static void test_no_repeat_ngram(void **state) {
    (void)state;
    PareGeneration g = pare_generation_defaults();
    g.no_repeat_ngram_size = 3;
    check(&g, FAR, IDS(1, 2, 3, 1, 2), EXPECT(1, 2, -1, GONE, 0.5F, 3));
    check(&g, FAR, IDS(1, 2, 3, 2, 1), ROW);
    check(&g, FAR, IDS(4, 4, 4), EXPECT(1, 2, -1, -2, GONE, 3));
    check(&g, FAR, IDS(4, 4), ROW);
    check(&g, FAR, IDS(4), ROW);
    g.no_repeat_ngram_size = 2;
    check(&g, FAR, IDS(1, 2, 1, 3, 1), EXPECT(1, 2, GONE, GONE, 0.5F, 3));
    g.no_repeat_ngram_size = 1; /* nothing may come twice */
    check(&g, FAR, IDS(1, 2, 1), EXPECT(1, GONE, GONE, -2, 0.5F, 3));
    g.no_repeat_ngram_size = INT32_MAX;
    check(&g, FAR, IDS(1, 2, 1), ROW);
}

static void test_bad_words(void **state) {
    (void)state;
    PareGeneration g = pare_generation_defaults();
    int32_t one[] = {5}, two[] = {1, 2}, three[] = {1, 2, 3}, eos[] = {5, 4};
    PareIdList words[] = {{one, 1}, {two, 2}, {three, 3}};
    g.bad_words = words;
    g.bad_word_count = 3;
    check(&g, FAR, IDS(0), EXPECT(1, 2, -1, -2, 0.5F, GONE));
    check(&g, FAR, IDS(0, 1), EXPECT(1, 2, GONE, -2, 0.5F, GONE));
    check(&g, FAR, IDS(0, 1, 2), EXPECT(1, 2, -1, GONE, 0.5F, GONE));
    /* A sequence longer than the text so far is not looked at, even when the text begins it. */
    check(&g, FAR, IDS(1, 2), EXPECT(1, 2, -1, -2, 0.5F, GONE));
    check(&g, FAR, IDS(1), EXPECT(1, 2, -1, -2, 0.5F, GONE));
    /* The end token alone cannot be a bad word; a sequence that it ends can. */
    g.eos = (PareIdList){eos, 2};
    check(&g, FAR, IDS(0), ROW);
    for (size_t i = 0; i < 2; i++) {
        g.eos = (PareIdList){two + i, 1};
        check(&g, FAR, IDS(0, 1), EXPECT(1, 2, GONE, -2, 0.5F, GONE));
    }
}

static void test_min_length(void **state) {
    (void)state;
    PareGeneration g = pare_generation_defaults();
    int32_t eos[] = {5, 2, 99}; /* an id beyond the row does no harm */
    g.min_length = 4;
    check(&g, FAR, IDS(0, 0, 0), ROW);
    g.eos = (PareIdList){eos, 3};
    check(&g, FAR, IDS(0, 0, 0), EXPECT(1, 2, GONE, -2, 0.5F, GONE));
    check(&g, FAR, IDS(0, 0, 0, 0), ROW);
}

static void test_forced(void **state) {
    (void)state;
    const float *first = EXPECT(GONE, GONE, GONE, 0, GONE, GONE);
    const float *last = EXPECT(GONE, GONE, 0, GONE, GONE, GONE);
    PareGeneration g = pare_generation_defaults();
    g.forced_bos = 3;
    check(&g, FAR, IDS(0), first);
    check(&g, FAR, IDS(0, 0), ROW);
    g.forced_eos = 2;
    check(&g, 4, IDS(0), first);
    check(&g, 4, IDS(0, 0), ROW);
    check(&g, 4, IDS(0, 0, 0), last);
    check(&g, 2, IDS(0), last); /* the later processor has the last word */
}

/* What is forced overrules what was forbidden before, and normalizing comes at the very end. */
static void test_order(void **state) {
    (void)state;
    PareGeneration g = pare_generation_defaults();
    int32_t eos[] = {2}, one[] = {4};
    PareIdList words[] = {{one, 1}};
    g.eos = (PareIdList){eos, 1};
    g.min_length = 50;
    g.forced_eos = 2;
    check(&g, 3, IDS(2, 2), EXPECT(GONE, GONE, 0, GONE, GONE, GONE));
    g.renormalize_logits = true;
    check(&g, 3, IDS(2, 2), EXPECT(GONE, GONE, 0, GONE, GONE, GONE));
    g.repetition_penalty = 2;
    g.bad_words = words;
    g.bad_word_count = 1;
    /* Penalty on 1 and 5, then 4 and 2 fall away: 1, 1, -2 and 1.5 remain to be normalized. */
    double sum = exp(1) + exp(1) + exp(-2) + exp(1.5);
    float row[V];
    int32_t ids[] = {1, 5};
    memcpy(row, ROW, sizeof row);
    pare_decoder_process(&g, &(PareHypothesis){.ids = ids, .length = 2}, FAR, row, V);
    const double expected[V] = {1, 1, -INFINITY, -2, -INFINITY, 1.5};
    for (size_t i = 0; i < V; i++)
        if (isfinite(expected[i]))
            assert_true(fabs((double)row[i] - (expected[i] - log(sum))) < 1e-5);
        else
            assert_true(row[i] == GONE);
}

static void test_log_softmax(void **state) {
    (void)state;
    float row[V], bad[] = {NAN, INFINITY};
    double sum = 0, total = 0;
    memcpy(row, ROW, sizeof row);
    for (size_t i = 0; i < V; i++)
        sum += exp((double)ROW[i]);
    assert_true(pare_decoder_log_softmax(row, V));
    for (size_t i = 0; i < V; i++) {
        assert_true(fabs((double)row[i] - ((double)ROW[i] - log(sum))) < 1e-5);
        total += exp((double)row[i]);
    }
    assert_true(fabs(total - 1) < 1e-5);
    for (size_t i = 0; i < 2; i++) {
        memcpy(row, ROW, sizeof row);
        row[3] = bad[i];
        assert_false(pare_decoder_log_softmax(row, V));
    }
    for (size_t i = 0; i < V; i++)
        row[i] = GONE;
    assert_false(pare_decoder_log_softmax(row, V));
}

/* -- bigram models: no layers, a table of ones, and the scores as the output matrix -- */

enum { WORDS = 16, BEAMS = 4, KEEP = 4 * BEAMS, LONGEST = 16, MODELS = 6, TRIALS = 150 };

typedef struct {
    float next[WORDS][WORDS]; /* [id][next id] */
    PareModel *model;
    PareSession *session;
} Bigram;

static PareDescription describe(PareArena *arena) {
    PareDescription d = {.arena = arena};
    d.stacks[PARE_DECODER] = (PareStack){.present = true,
                                         .width = WORDS,
                                         .embedding_width = WORDS,
                                         .vocabulary = WORDS,
                                         .embedding_scale = 1,
                                         .activation = PARE_ACT_GELU};
    d.head = (PareOutputHead){.kind = PARE_HEAD_LM, .scale = 1};
    return d;
}

static void write_bigram(const char *path, const Bigram *b) {
    PareError err = {0};
    PareArena *arena = pare_arena_create(0);
    PareFileWriter *w;
    PareSlots slots;
    PareBuffer text = {0};
    float table[WORDS][WORDS] = {{0}}, output[WORDS][WORDS];
    for (size_t i = 0; i < WORDS; i++) {
        table[i][i] = 1;
        for (size_t k = 0; k < WORDS; k++)
            output[k][i] = b->next[i][k];
    }
    assert_non_null(arena);
    PareDescription d = describe(arena);
    ok(pare_slots_list(&d, arena, &slots, &err), &err);
    assert_int_equal(slots.count, 2);
    ok(pare_file_writer_open(path, true, &w, &err), &err);
    for (size_t i = 0; i < slots.count; i++) {
        const PareSlot *s = &slots.items[i];
        PareFileTensor t = {.name = s->name, .dtype = PARE_F32, .dims = 2};
        memcpy(t.shape, s->shape, sizeof s->shape);
        memcpy(t.axes, s->axes, sizeof s->axes);
        assert_true(pare_file_blob_bytes(&t, &t.bytes));
        const void *blob = s->role == PARE_ROLE_EMBEDDING ? table : output;
        ok(pare_file_writer_tensor(w, &t, blob, &err), &err);
    }
    pare_buffer_puts(&text, "{\"description\":");
    pare_description_write(&d, &text);
    pare_buffer_puts(&text, "}");
    ok(pare_file_writer_section(w, PARE_SECTION_METADATA, text.data, text.size, &err), &err);
    ok(pare_file_writer_commit(w, &err), &err);
    pare_buffer_free(&text);
    pare_arena_destroy(arena);
}

static void open_bigram(Bigram *b) {
    PareError err = {0};
    char path[256];
    const char *tmp = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/decode-%ld.pare", tmp ? tmp : "/tmp", (long)getpid());
    write_bigram(path, b);
    ok(pare_model_open(path, &b->model, &err), &err);
    unlink(path);
    ok(pare_session_create(b->model, 2, &b->session, &err), &err);
}

static void close_bigram(Bigram *b) {
    pare_session_destroy(b->session);
    pare_model_close(b->model);
}

static PareGenerated generate(const Bigram *b, const PareGeneration *g, const int32_t *prompt,
                              size_t count) {
    PareError err = {0};
    PareGenerated out;
    PareSequence q = {.ids = prompt, .count = count};
    ok(pare_session_generate(b->session, &q, 1, g, &out, &err), &err);
    return out;
}

/* -- greedy, by hand -- */

static void expect(const PareGenerated *out, const int32_t *ids, size_t count) {
    assert_int_equal(out->count, count);
    assert_memory_equal(out->ids, ids, count * sizeof *ids);
}

/* 1 leads to 2, 2 to 3, 3 to 1 or, less likely, to 5. */
static void test_greedy(void **state) {
    (void)state;
    Bigram b = {0};
    int32_t prompt[] = {1, 2}, two[] = {9, 5}, three[] = {3}, three_one[] = {3, 1};
    PareIdList words[] = {{three_one, 2}};
    b.next[1][2] = b.next[2][3] = b.next[3][1] = 5;
    b.next[3][5] = 4;
    open_bigram(&b);
    PareGeneration g = pare_generation_defaults();
    g.max_length = 8;
    PareGenerated out = generate(&b, &g, prompt, 2);
    expect(&out, IDS(1, 2, 3, 1, 2, 3, 1, 2));
    g.no_repeat_ngram_size = 2; /* after 3: 1 has come, 5 has not; then zeros, 0 first */
    g.eos = (PareIdList){two, 2};
    out = generate(&b, &g, prompt, 2);
    expect(&out, IDS(1, 2, 3, 1, 0, 0, 1, 1));
    g.no_repeat_ngram_size = 0;
    g.bad_words = words;
    g.bad_word_count = 1;
    out = generate(&b, &g, prompt, 2); /* the second end token ends as well */
    expect(&out, IDS(1, 2, 3, 5));
    double first = 5 - log(exp(5) + 15), second = 4 - log(exp(4) + 14); /* 3 to 1 is gone */
    assert_true(fabs(out.score - (first + second) / 2) < 1e-5);
    g.length_penalty = 2;
    out = generate(&b, &g, prompt, 2);
    assert_true(fabs(out.score - (first + second) / 4) < 1e-5);
    g.eos = (PareIdList){three, 1}; /* in the prompt it ends nothing */
    out = generate(&b, &g, (int32_t[]){3, 3, 2}, 3);
    expect(&out, IDS(3, 3, 2, 3));
    g.max_new_tokens = 1; /* wins over max_length */
    g.forced_eos = 7;
    out = generate(&b, &g, prompt, 2);
    expect(&out, IDS(1, 2, 7));
    close_bigram(&b);
}

/* -- beams: the definition in its plainest form, over dense lists -- */

typedef struct {
    int32_t ids[LONGEST];
    float score;
    bool done;
} Text;

typedef struct {
    const Bigram *b;
    const PareGeneration *g;
    size_t prompt, limit, length;
    Text running[BEAMS], finished[BEAMS];
    bool open; /* the running texts may still improve the finished ones */
} Plain;

static int by_score(const void *a, const void *b) {
    const Text *x = a, *y = b;
    return (x->score < y->score) - (x->score > y->score);
}

/* Every continuation of every running text, best first. */
static void plain_expand(const Plain *p, Text *all) {
    for (size_t b = 0; b < p->g->num_beams; b++) {
        float row[WORDS];
        double sum = 0;
        Text from = p->running[b];
        const float *next = p->b->next[from.ids[p->length - 1]];
        for (size_t i = 0; i < WORDS; i++)
            sum += exp((double)next[i]);
        for (size_t i = 0; i < WORDS; i++)
            row[i] = (float)((double)next[i] - log(sum));
        PareHypothesis h = {.ids = from.ids, .length = p->length};
        pare_decoder_process(p->g, &h, p->limit, row, WORDS);
        for (size_t i = 0; i < WORDS; i++) {
            Text *t = &all[b * WORDS + i];
            *t = from;
            t->ids[p->length] = (int32_t)i;
            t->score += row[i];
            t->done = pare_decoder_is_eos(p->g, (int32_t)i) || p->length + 1 == p->limit;
        }
    }
    qsort(all, p->g->num_beams * WORDS, sizeof *all, by_score);
}

/* The best num_beams of the finished texts and of those that just finished. */
static void plain_finish(Plain *p, const Text *kept, size_t keep, bool all_done) {
    size_t beams = p->g->num_beams;
    Text merged[BEAMS + KEEP];
    float divisor = (float)pow((double)(p->length + 1 - p->prompt), (double)p->g->length_penalty);
    memcpy(merged, p->finished, beams * sizeof *merged);
    for (size_t i = 0; i < keep; i++) {
        Text *t = &merged[beams + i];
        *t = kept[i];
        t->score /= divisor;
        t->done = t->done && i < beams;
        if (!t->done || !p->open || (all_done && p->g->early_stopping == PARE_STOP_EARLY_TRUE))
            t->score -= 1e9F;
    }
    qsort(merged, beams + keep, sizeof *merged, by_score);
    memcpy(p->finished, merged, beams * sizeof *merged);
}

static bool plain_all_done(const Plain *p) {
    bool all = true;
    for (size_t i = 0; i < p->g->num_beams; i++)
        all = all && p->finished[i].done;
    return all;
}

static bool plain_step(Plain *p) {
    size_t beams = p->g->num_beams, keep = beams * (p->g->eos.count < 1 ? 2 : 1 + p->g->eos.count);
    Text all[BEAMS * WORDS], next[KEEP];
    bool every = true;
    plain_expand(p, all);
    for (size_t i = 0; i < keep; i++) {
        next[i] = all[i];
        next[i].score -= all[i].done ? 1e9F : 0;
        every = every && all[i].done;
    }
    qsort(next, keep, sizeof *next, by_score);
    plain_finish(p, all, keep, plain_all_done(p));
    memcpy(p->running, next, beams * sizeof *next);
    p->length++;
    size_t length = p->length;
    if (p->g->early_stopping == PARE_STOP_EARLY_NEVER && p->g->length_penalty > 0)
        length = p->limit;
    float best = p->running[0].score /
                 (float)pow((double)(length - p->prompt), (double)p->g->length_penalty);
    bool improves = !plain_all_done(p) || best > p->finished[beams - 1].score;
    p->open = p->open && improves;
    bool stop = plain_all_done(p) && p->g->early_stopping == PARE_STOP_EARLY_TRUE;
    return p->open && !stop && !every;
}

static size_t length_of(const Plain *p, const Text *t) {
    size_t n = p->prompt;
    while (n < p->limit && !pare_decoder_is_eos(p->g, t->ids[n]))
        n++;
    return n < p->limit ? n + 1 : n;
}

/* Two texts of the same pairs of words in another order have the same score but for rounding. */
static bool is_among_best(const Plain *p, const PareGenerated *out) {
    for (size_t i = 0; i < p->g->num_beams; i++) {
        const Text *t = &p->finished[i];
        if (p->finished[0].score - t->score < 1e-5F && out->count == length_of(p, t) &&
            memcmp(out->ids, t->ids, out->count * sizeof *t->ids) == 0)
            return true;
    }
    return false;
}

static void compare_beams(const Bigram *b, const PareGeneration *g, const int32_t *prompt,
                          size_t count) {
    Plain p = {.b = b, .g = g, .prompt = count, .limit = g->max_length, .length = count};
    p.open = true;
    for (size_t i = 0; i < g->num_beams; i++) {
        memcpy(p.running[i].ids, prompt, count * sizeof *prompt);
        p.running[i].score = i ? -1e9F : 0;
        p.finished[i].score = -1e9F;
    }
    while (plain_step(&p))
        ;
    PareGenerated out = generate(b, g, prompt, count);
    assert_true(is_among_best(&p, &out));
    assert_true(fabs(out.score - (double)p.finished[0].score) < 1e-4);
}

/* A choice of settings: every field that beams look at. */
static PareGeneration draw(uint64_t trial, int32_t *eos) {
    static const float PENALTIES[] = {1, 2, 0.6F, 0, -0.3F};
    PareGeneration g = pare_generation_defaults();
    uint64_t at = 0;
    g.num_beams = 2 + (uint32_t)pare_random_below(1, trial, at++, BEAMS - 1);
    g.max_length = 5 + (uint32_t)pare_random_below(1, trial, at++, LONGEST - 4);
    g.length_penalty = PENALTIES[pare_random_below(1, trial, at++, 5)];
    g.early_stopping = (PareEarlyStop)pare_random_below(1, trial, at++, 3);
    g.eos = (PareIdList){eos, (uint32_t)pare_random_below(1, trial, at++, 4)};
    g.min_length = (uint32_t)pare_random_below(1, trial, at++, 7);
    g.no_repeat_ngram_size = (uint32_t)pare_random_below(1, trial, at++, 4);
    if (pare_random_below(1, trial, at++, 2))
        g.repetition_penalty = 1.3F;
    if (pare_random_below(1, trial, at++, 4) == 0)
        g.forced_eos = eos[0];
    return g;
}

static void test_beams(void **state) {
    (void)state;
    int32_t eos[] = {2, 7, 11}, prompt[] = {1, 4, 9};
    for (uint64_t m = 0; m < MODELS; m++) {
        Bigram b = {0};
        for (uint64_t i = 0; i < WORDS * WORDS; i++) /* sharp and flat ones */
            b.next[i / WORDS][i % WORDS] =
                (float)pare_random_below(2, m, i, 1 << 20) / (float)(1 << 20) * (float)(1 + 2 * m);
        for (size_t i = 0; m % 2 && i < WORDS; i++) /* texts that end soon */
            b.next[i][eos[i % 3]] += (float)(1 + m);
        open_bigram(&b);
        for (uint64_t t = 0; t < TRIALS; t++) {
            PareGeneration g = draw(m * TRIALS + t, eos);
            if (g.no_repeat_ngram_size == 1)
                g.max_length = 8; /* before the words run out */
            compare_beams(&b, &g, prompt, 1 + t % 3);
        }
        close_bigram(&b);
    }
}

static int set_up(void **state) {
    PareError err = {0};
    (void)state;
    ok(pare_kernels_init(&err), &err);
    return 0;
}

/* As transformers 5: an unset length is 20 new ids, as far as the positions reach. */
static void test_limits(void **state) {
    (void)state;
    PareGeneration g = pare_generation_defaults();
    assert_int_equal(pare_generation_limit(&g, 1, 0), 21);
    assert_int_equal(pare_generation_limit(&g, 30, 64), 50);
    assert_int_equal(pare_generation_limit(&g, 50, 64), 64);
    g.max_length = 20;
    assert_int_equal(pare_generation_limit(&g, 1, 64), 20);
    assert_int_equal(pare_generation_limit(&g, 50, 64), 20); /* refused where it is used */
    g.max_new_tokens = 100;
    assert_int_equal(pare_generation_limit(&g, 7, 64), 107);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_nothing_set),
        cmocka_unit_test(test_repetition_penalty),
        cmocka_unit_test(test_no_repeat_ngram),
        cmocka_unit_test(test_bad_words),
        cmocka_unit_test(test_min_length),
        cmocka_unit_test(test_forced),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_log_softmax),
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_beams),
    };
    return cmocka_run_group_tests(tests, set_up, NULL);
}
