/* Training data: what becomes of the rows of a file for each task, what is refused and where; and
 * the order of training: batches that depend on seed and epoch alone, and the shares of processes.
 */
#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <sys/resource.h>

#include "learn/examples.h"
#include "tests/test_tokenizer_common.h"

static char path[256];
static const char *folder;

static void write_file(const char *content) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(content, 1, strlen(content), f), strlen(content));
    fclose(f);
}

static PareTokenizer *tokenizer(const char *name, const PareTokenizerHints *hints) {
    PareTokenizer *t;
    PareError err;
    if (pare_tokenizer_load(name, hints, &t, &err))
        fail_msg("%s", err.message);
    return t;
}

/* ---- Models, as far as data depend on them --------------------------------------------------- */

static PareStack stack(uint32_t vocabulary, uint32_t positions, uint32_t types) {
    return (PareStack){.present = true,
                       .vocabulary = vocabulary,
                       .types = types,
                       .position = positions ? PARE_POSITION_TABLE : PARE_POSITION_RELATIVE,
                       .positions = positions};
}

static PareDescription classifier(uint32_t labels) {
    PareDescription d = {.head = {.kind = PARE_HEAD_SEQUENCE, .labels = labels}};
    d.stacks[PARE_ENCODER] = stack(200, 12, 2);
    return d;
}

static PareDescription language_model(void) {
    PareDescription d = {.head = {.kind = PARE_HEAD_LM}};
    d.stacks[PARE_DECODER] = stack(1000, 8, 0);
    return d;
}

static PareDescription pair_of_stacks(void) {
    PareDescription d = {.head = {.kind = PARE_HEAD_LM}};
    d.stacks[PARE_ENCODER] = stack(200, 12, 0);
    d.stacks[PARE_DECODER] = stack(100, 6, 0);
    return d;
}

static PareExamplesOptions options(PareExamplesTask task, const PareDescription *d) {
    return (PareExamplesOptions){
        .path = path, .task = task, .description = d, .decoder_start = 2, .pad = 1};
}

static PareExamples *open_data(const PareExamplesOptions *o, const char *content) {
    PareExamples *x;
    PareError err;
    write_file(content);
    if (pare_examples_open(o, &x, &err))
        fail_msg("%s", err.message);
    return x;
}

/* ---- Examples as text ------------------------------------------------------------------------ */

static void show_list(PareBuffer *b, const char *name, const int32_t *list, size_t count) {
    if (!list)
        return;
    pare_buffer_printf(b, " %s", name);
    for (size_t i = 0; i < count; i++)
        pare_buffer_printf(b, "%c%d", i ? ',' : ':', list[i]);
}

static const char *show(const PareExamples *x, size_t index) {
    static PareBuffer b;
    PareExample e = pare_examples_get(x, index);
    size_t source, target;
    pare_examples_lengths(x, index, &source, &target);
    assert_true(source == e.sequence.count && target == e.sequence.decoder_count);
    pare_buffer_free(&b);
    pare_buffer_printf(&b, "%zu", e.line);
    show_list(&b, "ids", e.sequence.ids, e.sequence.count);
    show_list(&b, "types", e.sequence.types, e.sequence.count);
    show_list(&b, "decoder", e.sequence.decoder_ids, e.sequence.decoder_count);
    show_list(&b, "targets", e.targets, e.target_count);
    if (e.label != PARE_IGNORED)
        pare_buffer_printf(&b, " label:%d", e.label);
    if (!isnan(e.value))
        pare_buffer_printf(&b, " value:%g", (double)e.value);
    return b.data;
}

static void assert_examples(const PareExamplesOptions *o, const char *content,
                            const char *const *expected, size_t count) {
    PareExamples *x = open_data(o, content);
    for (size_t i = 0; i < pare_examples_count(x) && i < count; i++)
        assert_string_equal(show(x, i), expected[i]);
    assert_int_equal(pare_examples_count(x), count);
    pare_examples_close(x);
}

#define ASSERT_EXAMPLES(o, content, ...)                                                           \
    assert_examples(o, content, (const char *const[]){__VA_ARGS__},                                \
                    sizeof(const char *const[]){__VA_ARGS__} / sizeof(char *))

/* ---- The tasks ------------------------------------------------------------------------------- */

static void test_classification(void **state) {
    (void)state;
    static const char *const names[] = {"bad", NULL, "2"};
    PareDescription d = classifier(3);
    PareExamplesOptions o = options(PARE_EXAMPLES_CLASSIFICATION, &d);
    o.labels = names;
    ASSERT_EXAMPLES(&o,
                    "{\"input_ids\":[5,6,7],\"label\":1}\n\n"
                    "{\"input_ids\":[5,6,0,0],\"attention_mask\":[1,1,0,0],"
                    "\"token_type_ids\":[0,1,0,0],\"labels\":0}\n"
                    "{\"input_ids\":[199],\"label\":\"bad\"}\n"
                    "{\"input_ids\":[1],\"label\":\"2\"}\n",
                    "1 ids:5,6,7 label:1", "3 ids:5,6 types:0,1 label:0", "4 ids:199 label:0",
                    "5 ids:1 label:2");
    o.unlabelled = true;
    ASSERT_EXAMPLES(&o, "{\"input_ids\":[5]}\n{\"input_ids\":[6],\"label\":2}\n", "1 ids:5",
                    "2 ids:6 label:2");
}

static void test_texts(void **state) {
    (void)state;
    PareTokenizer *t = tokenizer(TOKENIZERS "wordpiece", &hints_wordpiece);
    PareDescription d = classifier(2);
    PareExamplesOptions o = options(PARE_EXAMPLES_CLASSIFICATION, &d);
    PareIds ids = {0}, types = {0};
    PareError err;
    o.tokenizer = t;
    PareExamples *x = open_data(&o, "sentence1\tsentence2\tlabel\na b\tc\t1\nb\ta\t0\n");
    PareExample e = pare_examples_get(x, 0);
    assert_int_equal(pare_tokenizer_encode_pair(t, "a b", 3, "c", 1, &ids, &types, &err), PARE_OK);
    assert_true(e.line == 2 && e.label == 1 && e.sequence.count == ids.count && ids.count == 6);
    assert_memory_equal(e.sequence.ids, ids.data, ids.count * sizeof *ids.data);
    assert_memory_equal(e.sequence.types, types.data, ids.count * sizeof *ids.data);
    assert_true(pare_examples_count(x) == 2 && pare_examples_cut(x) == 0);
    pare_examples_close(x);
    /* A model without token types gets none; what is too long is cut where that is asked for. */
    d.stacks[PARE_ENCODER].types = 0;
    o.truncate = true;
    o.max_source = 5;
    x = open_data(&o, "text\ttext_b\tlabel\na b\tc\t1\n");
    e = pare_examples_get(x, 0);
    assert_true(e.sequence.count == 5 && !e.sequence.types && pare_examples_cut(x) == 1);
    assert_true(e.sequence.ids[4] == ids.data[5]); /* the separator stays */
    pare_examples_close(x);
    pare_ids_free(&ids);
    pare_ids_free(&types);
    pare_tokenizer_free(t);
}

static void test_regression(void **state) {
    (void)state;
    PareDescription d = classifier(1);
    PareExamplesOptions o = options(PARE_EXAMPLES_REGRESSION, &d);
    ASSERT_EXAMPLES(&o, "{\"input_ids\":[5],\"label\":2.5}\n{\"input_ids\":[6],\"score\":-1e-3}\n",
                    "1 ids:5 value:2.5", "2 ids:6 value:-0.001");
}

static void test_tokens(void **state) {
    (void)state;
    PareDescription d = classifier(4);
    PareExamplesOptions o = options(PARE_EXAMPLES_TOKENS, &d);
    static const char content[] =
        "{\"input_ids\":[5,6,7],\"labels\":[-100,3,0]}\n"
        "{\"input_ids\":[0,8,0,9],\"attention_mask\":[0,1,0,1],\"labels\":[1,2,1,-100]}\n";
    ASSERT_EXAMPLES(&o, content, "1 ids:5,6,7 targets:-100,3,0", "2 ids:8,9 targets:2,-100");
    o.truncate = true;
    o.max_source = 2;
    ASSERT_EXAMPLES(&o, content, "1 ids:5,6 targets:-100,3", "2 ids:8,9 targets:2,-100");
}

static void test_windows_of_ids(void **state) {
    (void)state;
    PareDescription d = language_model();
    PareExamplesOptions o = options(PARE_EXAMPLES_LM, &d);
    ASSERT_EXAMPLES(&o,
                    "{\"input_ids\":[5,6,7]}\n{\"input_ids\":[5,6,7,0],"
                    "\"attention_mask\":[1,1,1,0],\"labels\":[-100,-100,9,-100]}\n",
                    "1 ids:5,6,7 targets:6,7,-100", "2 ids:5,6,7 targets:-100,9,-100");
    /* Where every position is seen, labels stand where they are to be predicted. */
    PareDescription masked = classifier(0);
    masked.head.kind = PARE_HEAD_LM;
    o.description = &masked;
    ASSERT_EXAMPLES(&o, "{\"input_ids\":[5,6,7],\"labels\":[-100,60,-100]}\n",
                    "1 ids:5,6,7 targets:-100,60,-100");
}

/* All ids of all windows in a row. */
static void flatten(const PareExamples *x, size_t block, PareIds *out) {
    for (size_t i = 0; i < pare_examples_count(x); i++) {
        PareExample e = pare_examples_get(x, i);
        bool last = i + 1 == pare_examples_count(x);
        assert_true(last ? e.sequence.count >= 2 && e.sequence.count <= block
                         : e.sequence.count == block);
        assert_int_equal(e.target_count, e.sequence.count);
        for (size_t k = 0; k < e.sequence.count; k++) {
            bool known = k + 1 < e.sequence.count;
            assert_int_equal(e.targets[k], known ? e.sequence.ids[k + 1] : PARE_IGNORED);
            assert_true(pare_ids_push(out, e.sequence.ids[k]));
        }
    }
}

static void test_windows_of_text(void **state) {
    (void)state;
    static const char *const lines[] = {" a bc\n", "\n", "b, c and some more of this text\n", "c"};
    PareTokenizer *t = tokenizer(TOKENIZERS "bpe", &hints_plain_bpe);
    PareDescription d = language_model();
    PareExamplesOptions o = options(PARE_EXAMPLES_LM, &d);
    PareIds all = {0}, expected = {0};
    PareError err;
    char content[256] = "";
    for (size_t i = 0; i < 4; i++) {
        char line[64];
        snprintf(line, sizeof line, "%s%s", lines[i], i == 3 ? "\n" : "");
        snprintf(content + strlen(content), sizeof content - strlen(content), "%s", lines[i]);
        assert_int_equal(
            pare_tokenizer_encode(t, PARE_SIDE_SOURCE, line, strlen(line), false, &expected, &err),
            PARE_OK);
    }
    o.tokenizer = t;
    o.data.format = PARE_DATA_TEXT;
    for (size_t block = 2; block <= 8; block++) {
        o.block = block == 8 ? 0 : block; /* 0: the model's positions, which are 8 */
        PareExamples *x = open_data(&o, content);
        all.count = 0;
        flatten(x, block, &all);
        /* One id that is left over predicts nothing. */
        assert_int_equal(all.count, expected.count - (expected.count % block == 1));
        assert_memory_equal(all.data, expected.data, all.count * sizeof *all.data);
        assert_int_equal(pare_examples_get(x, 0).line, 1);
        assert_in_range(pare_examples_get(x, pare_examples_count(x) - 1).line, 3, 4);
        pare_examples_close(x);
    }
    pare_ids_free(&all);
    pare_ids_free(&expected);
    pare_tokenizer_free(t);
}

static void test_pairs_of_ids(void **state) {
    (void)state;
    PareDescription d = pair_of_stacks();
    PareExamplesOptions o = options(PARE_EXAMPLES_SEQ2SEQ, &d);
    /* The decoder reads its start and the labels but the last, padding for what does not count;
     * padding at the end is nothing at all. */
    ASSERT_EXAMPLES(
        &o,
        "{\"input_ids\":[150,4],\"labels\":[7,8,9]}\n"
        "{\"input_ids\":[4,1],\"attention_mask\":[1,0],\"labels\":[7,-100,9,-100,-100]}\n"
        "{\"input_ids\":[4],\"decoder_input_ids\":[2,7,8],\"labels\":[7,8,3]}\n"
        "{\"input_ids\":[4],\"decoder_input_ids\":[2,7,8]}\n"
        "{\"input_ids\":[4],\"decoder_input_ids\":[2,7,1],\"decoder_attention_mask\":[1,1,0],"
        "\"labels\":[7,8,99]}\n",
        "1 ids:150,4 decoder:2,7,8 targets:7,8,9", "2 ids:4 decoder:2,7,1 targets:7,-100,9",
        "3 ids:4 decoder:2,7,8 targets:7,8,3", "4 ids:4 decoder:2,7 targets:7,8",
        "5 ids:4 decoder:2,7 targets:7,8");
    o.truncate = true;
    o.max_target = 2;
    ASSERT_EXAMPLES(&o, "{\"input_ids\":[4],\"labels\":[7,8,9]}\n",
                    "1 ids:4 decoder:2,7 targets:7,8");
    o.unlabelled = true;
    ASSERT_EXAMPLES(&o, "{\"input_ids\":[4]}\n", "1 ids:4");
}

static void test_pairs_of_texts(void **state) {
    (void)state;
    PareTokenizer *t = tokenizer(TOKENIZERS "pair", &hints_pair);
    PareDescription d = pair_of_stacks();
    PareExamplesOptions o = options(PARE_EXAMPLES_SEQ2SEQ, &d);
    PareIds source = {0}, target = {0};
    PareError err;
    bool cut;
    d.stacks[PARE_ENCODER] = stack(5000, 0, 0);
    d.stacks[PARE_DECODER] = stack(5000, 0, 0);
    o.tokenizer = t;
    PareExamples *x = open_data(&o, "source\ttarget\na b\tthe words\n");
    PareExample e = pare_examples_get(x, 0);
    assert_int_equal(
        pare_tokenizer_encode_limit(t, PARE_SIDE_SOURCE, "a b", 3, SIZE_MAX, &cut, &source, &err),
        PARE_OK);
    assert_int_equal(pare_tokenizer_encode_limit(t, PARE_SIDE_TARGET, "the words", 9, SIZE_MAX,
                                                 &cut, &target, &err),
                     PARE_OK);
    assert_true(e.sequence.count == source.count && e.target_count == target.count);
    assert_memory_equal(e.sequence.ids, source.data, source.count * sizeof *source.data);
    assert_memory_equal(e.targets, target.data, target.count * sizeof *target.data);
    assert_true(e.sequence.decoder_count == target.count && e.sequence.decoder_ids[0] == 2);
    assert_memory_equal(e.sequence.decoder_ids + 1, target.data,
                        (target.count - 1) * sizeof *target.data);
    pare_examples_close(x);
    pare_ids_free(&source);
    pare_ids_free(&target);
    pare_tokenizer_free(t);
}

/* ---- What is refused ------------------------------------------------------------------------- */

typedef struct {
    PareExamplesTask task;
    const char *content, *message;
} Refusal;

static const Refusal refusals[] = {
    {PARE_EXAMPLES_CLASSIFICATION, "", "there are no examples"},
    {PARE_EXAMPLES_CLASSIFICATION, "{\"input_ids\":[5]}", "line 1: there is no label"},
    {PARE_EXAMPLES_CLASSIFICATION,
     "{\"input_ids\":[5],\"label\":1}\n{\"input_ids\":[5],\"label\":3}",
     "line 2: the label is \"3\"; expected a number from 0 to 2"},
    {PARE_EXAMPLES_CLASSIFICATION, "{\"input_ids\":[5],\"label\":0.5}", "the label is \"0.5\""},
    {PARE_EXAMPLES_CLASSIFICATION, "{\"input_ids\":[5],\"label\":-1}", "the label is \"-1\""},
    {PARE_EXAMPLES_CLASSIFICATION, "{\"input_ids\":[5],\"label\":\"good\"}", "\"good\""},
    {PARE_EXAMPLES_CLASSIFICATION, "{\"input_ids\":[],\"label\":1}", "the input has no tokens"},
    {PARE_EXAMPLES_CLASSIFICATION, "{\"input_ids\":[5,200],\"label\":1}",
     "line 1: input_ids[1] is 200; the model has 200"},
    {PARE_EXAMPLES_CLASSIFICATION, "{\"input_ids\":[5],\"token_type_ids\":[2],\"label\":1}",
     "token_type_ids[0] is 2; the model has 2"},
    {PARE_EXAMPLES_CLASSIFICATION, "{\"input_ids\":[0,0,0,0,0,0,0,0,0,0,0,0,0],\"label\":1}",
     "the input has 13 tokens; expected at most 12"},
    {PARE_EXAMPLES_CLASSIFICATION, "{\"text\":\"a\",\"label\":1}", "the model has no tokenizer"},
    {PARE_EXAMPLES_CLASSIFICATION, "{\"target\":\"a\",\"label\":1}",
     "neither a text nor input_ids"},
    {PARE_EXAMPLES_TOKENS, "{\"input_ids\":[5,6],\"labels\":[1]}",
     "labels has 1 numbers; expected 2"},
    {PARE_EXAMPLES_TOKENS, "{\"input_ids\":[5,6],\"labels\":[1,3]}",
     "labels[1] is 3; the model has 3"},
    {PARE_EXAMPLES_TOKENS, "{\"input_ids\":[5,6],\"labels\":[-100,-100]}", "every label is -100"},
    {PARE_EXAMPLES_TOKENS, "{\"input_ids\":[5,6],\"attention_mask\":[1,0],\"labels\":[1]}",
     "labels has 1 numbers; expected 2"},
    {PARE_EXAMPLES_TOKENS, "{\"input_ids\":[5,6]}", "there are no labels"},
    {PARE_EXAMPLES_SEQ2SEQ, "{\"input_ids\":[5]}", "line 1: there is no target"},
    {PARE_EXAMPLES_SEQ2SEQ, "{\"input_ids\":[5],\"labels\":[]}", "there are no labels"},
    {PARE_EXAMPLES_SEQ2SEQ, "{\"input_ids\":[5],\"labels\":[-100]}", "every label is -100"},
    {PARE_EXAMPLES_SEQ2SEQ, "{\"input_ids\":[5],\"labels\":[3,100]}",
     "labels[1] is 100; the model has 100"},
    {PARE_EXAMPLES_SEQ2SEQ, "{\"input_ids\":[5],\"labels\":[1,2,3,4,5,6,7]}",
     "the target has 7 tokens; expected at most 6"},
    {PARE_EXAMPLES_SEQ2SEQ, "{\"input_ids\":[5],\"labels\":[3],\"decoder_input_ids\":[2,3]}",
     "labels has 1 numbers; expected 2"},
    {PARE_EXAMPLES_SEQ2SEQ, "{\"input_ids\":[5],\"labels\":[3],\"decoder_input_ids\":[100]}",
     "decoder_input_ids[0] is 100"},
    {PARE_EXAMPLES_SEQ2SEQ, "{\"input_ids\":[5],\"target\":\"a\"}", "the model has no tokenizer"},
    {PARE_EXAMPLES_LM, "{\"input_ids\":[5]}", "every label is -100"},
    {PARE_EXAMPLES_LM, "{\"input_ids\":[5,1000]}", "input_ids[1] is 1000"},
    {PARE_EXAMPLES_LM, "{\"input_ids\":[5,6],\"labels\":[5,1000]}", "labels[0] is 1000"},
    {PARE_EXAMPLES_LM, "{\"input_ids\":[1,2,3,4,5,6,7,8,9]}", "has 9 tokens; expected at most 8"},
    {PARE_EXAMPLES_LM, "some text", "the model has no tokenizer"},
    {PARE_EXAMPLES_REGRESSION, "{\"input_ids\":[5],\"label\":\"x\"}", "expected a finite number"},
    {PARE_EXAMPLES_REGRESSION, "{\"input_ids\":[5],\"label\":1e39}", "expected a finite number"},
    {PARE_EXAMPLES_REGRESSION, "{\"input_ids\":[5]}", "there is no label"},
};

static void assert_refused(const PareExamplesOptions *o, const char *message) {
    PareExamples *x;
    PareError err = {0};
    PareStatus status = pare_examples_open(o, &x, &err);
    if (!status || x || !strstr(err.message, message))
        fail_msg("found %d \"%s\", expected \"%s\"", (int)status, err.message, message);
}

static void test_refusals(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        const Refusal *r = &refusals[i];
        PareDescription d = r->task == PARE_EXAMPLES_SEQ2SEQ      ? pair_of_stacks()
                            : r->task == PARE_EXAMPLES_LM         ? language_model()
                            : r->task == PARE_EXAMPLES_REGRESSION ? classifier(1)
                                                                  : classifier(3);
        PareExamplesOptions o = options(r->task, &d);
        write_file(r->content);
        assert_refused(&o, r->message);
    }
}

static void test_refused_options(void **state) {
    (void)state;
    PareDescription one = language_model(), both = pair_of_stacks(), none = classifier(0);
    PareTokenizer *t = tokenizer(TOKENIZERS "bpe", &hints_plain_bpe);
    write_file("some text");
    PareExamplesOptions o = options(PARE_EXAMPLES_LM, &one);
    o.tokenizer = t;
    o.block = 9;
    assert_refused(&o, "line 1: windows of 9 ids");
    o.block = 1;
    assert_refused(&o, "windows of 1 ids");
    one.stacks[PARE_DECODER].position = PARE_POSITION_RELATIVE;
    o.block = 0;
    assert_refused(&o, "--block");
    o.description = &none;
    assert_refused(&o, "a model that sees all positions learns from JSON lines");
    o.description = &both;
    assert_refused(&o, "a language model has one stack");
    o.task = PARE_EXAMPLES_SEQ2SEQ;
    o.description = &one;
    assert_refused(&o, "need an encoder and a decoder");
    o = options(PARE_EXAMPLES_CLASSIFICATION, &none);
    assert_refused(&o, "the model has no labels");
    o.path = "-";
    assert_refused(&o, "standard input");
    /* A shift needs something to begin with, and something to stand for what does not count. */
    write_file("{\"input_ids\":[4],\"labels\":[7,-100,8]}");
    o = options(PARE_EXAMPLES_SEQ2SEQ, &both);
    o.pad = -1;
    assert_refused(&o, "labels[1] is -100, and the model has no pad_token_id");
    o.decoder_start = -1;
    assert_refused(&o, "no decoder_start_token_id");
    pare_tokenizer_free(t);
}

/* What a second model reads as well must fit into its positions, too. */
static void test_limits_of_another_model(void **state) {
    (void)state;
    PareDescription d = pair_of_stacks(), one = language_model();
    PareTokenizer *t = tokenizer(TOKENIZERS "bpe", &hints_plain_bpe);
    PareExamplesOptions o = options(PARE_EXAMPLES_SEQ2SEQ, &d);
    o.source_positions = 3;
    o.target_positions = 2;
    write_file("{\"input_ids\":[4,5,6,7],\"labels\":[7,8]}");
    assert_refused(&o, "line 1: the input has 4 tokens; expected at most 3");
    write_file("{\"input_ids\":[4,5,6],\"labels\":[7,8,9]}");
    assert_refused(&o, "line 1: the target has 3 tokens; expected at most 2");
    o.truncate = true;
    ASSERT_EXAMPLES(&o, "{\"input_ids\":[4,5,6,7],\"labels\":[7,8,9]}\n",
                    "1 ids:4,5,6 decoder:2,7 targets:7,8");
    o.max_source = 2; /* the smallest of all counts */
    o.target_positions = 100;
    ASSERT_EXAMPLES(&o, "{\"input_ids\":[4,5,6,7],\"labels\":[1,2,3,4,5,6,7]}\n",
                    "1 ids:4,5 decoder:2,1,2,3,4,5 targets:1,2,3,4,5,6");
    o = options(PARE_EXAMPLES_LM, &one);
    o.tokenizer = t;
    o.source_positions = 4;
    o.block = 5;
    write_file("some text");
    assert_refused(&o, "windows of 5 ids: expected at least 2, and no more than there are "
                       "positions (4; 0: any)");
    o.block = 0;
    PareExamples *x = open_data(&o, "some text that is longer than that\n");
    assert_int_equal(pare_examples_get(x, 0).sequence.count, 4);
    pare_examples_close(x);
    pare_tokenizer_free(t);
}

/* Nothing can be learned from nothing; where no label is needed, blank lines may be. */
static void test_empty_texts(void **state) {
    (void)state;
    PareTokenizer *one = tokenizer(TOKENIZERS "wordpiece", &hints_wordpiece);
    PareTokenizer *two = tokenizer(TOKENIZERS "pair", &hints_pair);
    PareDescription d = classifier(2), both = pair_of_stacks();
    both.stacks[PARE_ENCODER] = both.stacks[PARE_DECODER] = stack(5000, 0, 0);
    PareExamplesOptions o = options(PARE_EXAMPLES_CLASSIFICATION, &d);
    o.tokenizer = one;
    write_file("text\tlabel\na\t1\n \t1\n");
    assert_refused(&o, "line 3: the text is empty");
    write_file("text\ttext_b\tlabel\n\tb\t1\n\t\t1\n"); /* one of two may be missing */
    assert_refused(&o, "line 3: the text is empty");
    o.data.format = PARE_DATA_TEXT;
    o.unlabelled = true;
    PareExamples *x = open_data(&o, "a\n\nb\n");
    assert_int_equal(pare_examples_count(x), 3);
    pare_examples_close(x);
    o.no_empty = true;
    assert_refused(&o, "line 2: the text is empty");
    o = options(PARE_EXAMPLES_SEQ2SEQ, &both);
    o.tokenizer = two;
    write_file("source\ttarget\na\tb\na\t\n");
    assert_refused(&o, "line 3: the target is empty");
    write_file("source\ttarget\n\tb\n");
    assert_refused(&o, "line 2: the text is empty");
    write_file("{\"source\":\"a\",\"target\":\" \"}");
    assert_refused(&o, "line 1: the target is empty");
    o.unlabelled = o.no_empty = true; /* such targets are not read */
    x = open_data(&o, "source\ttarget\na\tb\na\t\n");
    assert_int_equal(pare_examples_count(x), 2);
    pare_examples_close(x);
    pare_tokenizer_free(one);
    pare_tokenizer_free(two);
}

/* ---- The cache ------------------------------------------------------------------------------- */

static size_t files_in(const char *name) {
    DIR *dir = opendir(name);
    size_t count = 0;
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count;
}

static PareExample made(int32_t ids[64], size_t index) {
    size_t source = 1 + index % 30, target = index % 3 ? index % 17 : 0;
    for (size_t i = 0; i < 64; i++)
        ids[i] = (int32_t)(index * 64 + i);
    return (PareExample){.line = index + 1,
                         .sequence = {.ids = ids,
                                      .count = source,
                                      .types = index % 2 ? ids + 1 : NULL,
                                      .decoder_ids = ids + 2,
                                      .decoder_count = target},
                         .targets = ids + 3,
                         .target_count = target,
                         .label = (int32_t)index,
                         .value = NAN};
}

static PareExamples *make(size_t count) {
    PareExamples *x;
    PareError err;
    int32_t ids[64];
    assert_int_equal(pare_examples_create(folder, &x, &err), PARE_OK);
    for (size_t i = 0; i < count; i++) {
        PareExample e = made(ids, i);
        assert_int_equal(pare_examples_append(x, &e, &err), PARE_OK);
    }
    assert_int_equal(pare_examples_finish(x, &err), PARE_OK);
    return x;
}

static void assert_list(const int32_t *found, const int32_t *expected, size_t count) {
    if (count)
        assert_memory_equal(found, expected, count * sizeof *found);
}

static void test_many_examples(void **state) {
    (void)state;
    enum { MANY = 20000 };
    int32_t ids[64];
    size_t before = files_in(folder);
    PareExamples *x = make(MANY);
    assert_int_equal(files_in(folder), before); /* the cache has no name */
    assert_int_equal(pare_examples_count(x), MANY);
    for (size_t i = MANY; i-- > 0;) {
        PareExample e = made(ids, i), found = pare_examples_get(x, i);
        assert_true(found.line == e.line && found.label == e.label && isnan(found.value));
        assert_true(found.sequence.count == e.sequence.count);
        assert_true(found.sequence.decoder_count == e.sequence.decoder_count);
        assert_true(found.target_count == e.target_count);
        assert_true(!found.sequence.types == !e.sequence.types);
        assert_list(found.sequence.ids, e.sequence.ids, e.sequence.count);
        if (e.sequence.types)
            assert_list(found.sequence.types, e.sequence.types, e.sequence.count);
        assert_list(found.sequence.decoder_ids, e.sequence.decoder_ids, e.sequence.decoder_count);
        assert_list(found.targets, e.targets, e.target_count);
    }
    pare_examples_close(x);
}

static uint64_t digest(const PareExamplesOptions *o, const char *content) {
    PareExamples *x = open_data(o, content);
    uint64_t d = pare_examples_digest(x);
    pare_examples_close(x);
    return d;
}

static void test_digest(void **state) {
    (void)state;
    PareDescription d = classifier(3);
    PareExamplesOptions o = options(PARE_EXAMPLES_CLASSIFICATION, &d);
    uint64_t a = digest(&o, "{\"input_ids\":[5,6],\"label\":1}\n{\"input_ids\":[7],\"label\":1}\n");
    assert_true(a == digest(&o, "\n{\"label\":1,\"input_ids\":[5,6]}\n\n"
                                "{\"input_ids\":[7],\"label\":1}"));
    assert_true(a != digest(&o, "{\"input_ids\":[5,6],\"label\":1}\n"));
    assert_true(a != digest(&o, "{\"input_ids\":[5,6],\"label\":1}\n"
                                "{\"input_ids\":[7],\"label\":2}\n"));
    assert_true(a != digest(&o, "{\"input_ids\":[5],\"label\":1}\n"
                                "{\"input_ids\":[6,7],\"label\":1}\n"));
    o.limit = 1;
    assert_true(digest(&o, "{\"input_ids\":[5,6],\"label\":1}\n{\"oops\":1}\n") ==
                digest(&o, "{\"input_ids\":[5,6],\"label\":1}\n"));
}

static void test_bad_luck(void **state) {
    (void)state;
    PareDescription d = pair_of_stacks();
    PareExamplesOptions o = options(PARE_EXAMPLES_SEQ2SEQ, &d);
    PareExamples *x = NULL;
    PareError err;
    uint64_t n = 1;
    write_file("{\"input_ids\":[4],\"labels\":[7,8,9]}\n");
    for (; !x; n++) {
        pare_memory_fail_after(n);
        PareStatus status = pare_examples_open(&o, &x, &err);
        pare_memory_fail_after(0);
        assert_true(status == (x ? PARE_OK : PARE_E_MEMORY));
    }
    assert_true(n > 10);
    pare_examples_close(x);
    char *old = pare_strdup(folder);
    setenv("TMPDIR", "/dev/null/nowhere", 1);
    assert_refused(&o, "/dev/null/nowhere: cannot create the cache of training data");
    setenv("TMPDIR", old, 1);
    pare_free(old);
    folder = getenv("TMPDIR");
}

/* A disk that is full, and a user who has had enough: both last, since the latter stays. */
static void test_stopped(void **state) {
    (void)state;
    PareDescription d = classifier(3);
    PareExamplesOptions o = options(PARE_EXAMPLES_CLASSIFICATION, &d);
    struct rlimit old, small = {.rlim_cur = 1 << 16};
    PareExamples *x;
    PareError err;
    int32_t ids[64];
    write_file("{\"input_ids\":[5],\"label\":1}");
    pare_interrupt_install(); /* also turns the signal of a limit into an error */
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    small.rlim_max = old.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_int_equal(pare_examples_create(folder, &x, &err), PARE_OK);
    PareStatus status = PARE_OK;
    for (size_t i = 0; i < 20000 && !status; i++) {
        PareExample e = made(ids, i);
        status = pare_examples_append(x, &e, &err);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(status, PARE_E_IO);
    assert_non_null(strstr(err.message, "cannot write the cache of training data"));
    pare_examples_close(x);
    raise(SIGINT);
    assert_int_equal(pare_examples_open(&o, &x, &err), PARE_E_INTERRUPTED);
    assert_null(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classification),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_regression),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_windows_of_ids),
        cmocka_unit_test(test_windows_of_text),
        cmocka_unit_test(test_pairs_of_ids),
        cmocka_unit_test(test_pairs_of_texts),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_refused_options),
        cmocka_unit_test(test_limits_of_another_model),
        cmocka_unit_test(test_empty_texts),
        cmocka_unit_test(test_many_examples),
        cmocka_unit_test(test_digest),
        cmocka_unit_test(test_bad_luck),
        cmocka_unit_test(test_stopped),
    };
    folder = getenv("TMPDIR");
    folder = folder ? folder : "/tmp";
    setenv("TMPDIR", folder, 1);
    snprintf(path, sizeof path, "%s/distill-data-%ld", folder, (long)getpid());
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
