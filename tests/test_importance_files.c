/* Importance of models in files: heads against PyTorch's numbers; every checkpoint that the tests
 * have by every criterion; the data that a model's head wants, and what is said of others; JSON,
 * both ways. */
#include <unistd.h>

#include "convert/convert.h"
#include "prune/importance.h"
#include "tests/test_backward_common.h"

static char model_path[256], data_path[256];

static void write_text(const char *text) {
    FILE *f = fopen(data_path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    fclose(f);
}

/* -- a converted checkpoint, and data in a file -- */

typedef struct {
    PareModel *model;
    PareWeights *weights;
    ParePruneData data;
    PareArena *arena;
    PareImportance found;
    PareError err;
} Bench;

static void bench_open(Bench *b, const char *folder, bool tokenizer) {
    PareConvertOptions o = {.folder = folder, .no_tokenizer = !tokenizer};
    PareConvert *c;
    *b = (Bench){.arena = pare_arena_create(0)};
    assert_non_null(b->arena);
    no_error(pare_convert_open(&o, &c, &b->err), &b->err);
    no_error(pare_convert_write(c, model_path, true, NULL, &b->err), &b->err);
    pare_convert_close(c);
    no_error(pare_model_open(model_path, &b->model, &b->err), &b->err);
    no_error(pare_weights_create(b->model, NULL, NULL, &b->weights, &b->err), &b->err);
}

static PareStatus open_data(Bench *b, const char *text, bool unlabelled) {
    ParePruneDataOptions o = {.path = data_path, .unlabelled = unlabelled, .block = 8};
    write_text(text);
    pare_prune_data_close(&b->data);
    return pare_prune_data_open(b->model, &o, &b->data, &b->err);
}

static void bench_close(Bench *b) {
    pare_prune_data_close(&b->data);
    pare_weights_destroy(b->weights);
    pare_model_close(b->model);
    pare_arena_destroy(b->arena);
    unlink(model_path);
    unlink(data_path);
}

static PareStatus measure(Bench *b, PareCriterion criterion, bool own) {
    PareImportanceOptions o = {.criterion = criterion,
                               .data = &b->data,
                               .own_outputs = own,
                               .batch_size = 4,
                               .threads = 2};
    return pare_importance_measure(b->weights, &o, b->arena, &b->found, &b->err);
}

/* -- PyTorch -- */

static const PareJson *numbers(const PareJson *root, const char *key) {
    const PareJson *list = pare_json_get(pare_json_get(root, key), "data");
    assert_true(pare_json_is_array(list));
    return list;
}

/* The golden's inputs as JSON lines, with their masks. */
static char *as_lines(const PareJson *root) {
    const PareJson *inputs = pare_json_get(root, "inputs");
    const PareJson *ids = pare_json_first(numbers(inputs, "input_ids"));
    const PareJson *mask = pare_json_first(numbers(inputs, "attention_mask"));
    const PareJson *label = pare_json_first(numbers(root, "labels"));
    size_t rows = pare_json_size(numbers(root, "labels"));
    size_t columns = pare_json_size(numbers(inputs, "input_ids")) / rows;
    PareBuffer out = {0};
    for (size_t r = 0; r < rows; r++, label = pare_json_next(label)) {
        pare_buffer_printf(&out, "{\"label\":%d,\"input_ids\":[", (int)pare_json_integer(label));
        for (size_t c = 0; c < columns; c++, ids = pare_json_next(ids))
            pare_buffer_printf(&out, "%s%d", c ? "," : "", (int)pare_json_integer(ids));
        pare_buffer_puts(&out, "],\"attention_mask\":[");
        for (size_t c = 0; c < columns; c++, mask = pare_json_next(mask))
            pare_buffer_printf(&out, "%s%d", c ? "," : "", (int)pare_json_integer(mask));
        pare_buffer_puts(&out, "]}\n");
    }
    return pare_buffer_steal(&out, NULL);
}

static void test_heads(void **state) {
    (void)state;
    Bench b;
    PareJsonDoc *doc;
    bench_open(&b, "tests/data/prune/bert-heads", false);
    no_error(pare_json_read("tests/data/prune/bert-heads/golden.json", &doc, &b.err), &b.err);
    const PareJson *root = pare_json_root(doc);
    char *lines = as_lines(root);
    no_error(open_data(&b, lines, false), &b.err);
    pare_free(lines);
    assert_true(b.data.task == PARE_EXAMPLES_CLASSIFICATION);
    no_error(measure(&b, PARE_CRITERION_GRADIENT, false), &b.err);
    const PareJson *expected = pare_json_first(numbers(root, "head_importance"));
    for (uint32_t l = 0; l < 3; l++)
        for (size_t h = 0; h < 4; h++, expected = pare_json_next(expected)) {
            double found = b.found.stacks[PARE_ENCODER].layers[l].heads[PARE_BLOCK_SELF][h];
            double wanted = pare_json_number(expected);
            if (!(fabs(found - wanted) <= 1e-3 * wanted))
                fail_msg("layer %u, head %zu: %.9g instead of %.9g", l, h, found, wanted);
        }
    assert_null(expected);
    pare_json_free(doc);
    bench_close(&b);
}

/* -- every checkpoint -- */

static void put_ids(PareBuffer *out, const char *name, uint64_t stream, size_t count,
                    uint32_t below) {
    pare_buffer_printf(out, "\"%s\":[", name);
    for (size_t i = 0; i < count; i++)
        pare_buffer_printf(out, "%s%u", i ? "," : "",
                           (unsigned)pare_random_below(11, stream, i, below));
    pare_buffer_puts(out, "]");
}

/* Rows of random ids as the model's head wants them. */
static char *random_lines(const PareDescription *d) {
    PareStackIndex first = d->stacks[PARE_ENCODER].present ? PARE_ENCODER : PARE_DECODER;
    bool lm = d->head.kind == PARE_HEAD_LM;
    PareBuffer out = {0};
    for (uint64_t i = 0; i < 6; i++) {
        size_t count = 3 + (size_t)i;
        pare_buffer_puts(&out, "{");
        put_ids(&out, "input_ids", 2 * i, count, d->stacks[first].vocabulary);
        if (d->head.kind == PARE_HEAD_SEQUENCE)
            pare_buffer_printf(&out, ",\"label\":%u", (unsigned)(i % d->head.labels));
        if (lm || d->head.kind == PARE_HEAD_TOKENS) {
            uint32_t below = lm ? d->stacks[pare_description_top(d)].vocabulary : d->head.labels;
            pare_buffer_puts(&out, ",");
            put_ids(&out, "labels", 2 * i + 1, count, below);
        }
        pare_buffer_puts(&out, "}\n");
    }
    return pare_buffer_steal(&out, NULL);
}

/* Every list is there, and not all of its scores are 0. */
static void check_some(const double *scores, size_t count, const char *what) {
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += scores[i];
    if (count && !(sum > 0))
        fail_msg("%s: all scores are 0", what);
}

static void check_stacks(const Bench *b, const char *what) {
    const PareDescription *d = &b->weights->description;
    for (int s = 0; s < PARE_STACKS; s++) {
        const PareStack *k = &d->stacks[s];
        const PareStackScores *scores = &b->found.stacks[s];
        for (uint32_t l = 0; k->present && l < k->layer_count; l++) {
            check_some(scores->layers[l].heads[0], k->layers[l].self.heads, what);
            check_some(scores->layers[l].heads[1], k->layers[l].cross.heads, what);
            check_some(scores->layers[l].ffn, k->layers[l].ffn, what);
        }
        if (b->found.criterion == PARE_CRITERION_RECONSTRUCT)
            continue; /* only heads and units have such scores */
        check_some(scores->layer, k->present ? k->layer_count : 0, what);
        check_some(scores->width, k->present ? k->width : 0, what);
    }
}

static char *written(const Bench *b) {
    PareBuffer out = {0};
    pare_importance_write(&b->found, &b->weights->description, &out);
    no_error(pare_buffer_ok(&out, "a test", NULL), NULL);
    return pare_buffer_steal(&out, NULL);
}

static PareStatus read_back(Bench *b, const char *text) {
    PareJsonDoc *doc = NULL;
    PareStatus st = pare_json_parse(text, strlen(text), "i.json", &doc, &b->err);
    if (!st)
        st = pare_importance_read(pare_json_root(doc), "i.json", &b->weights->description, b->arena,
                                  &b->found, &b->err);
    pare_json_free(doc);
    return st;
}

/* What is read is what was written. */
static void check_json(Bench *b) {
    PareImportance before = b->found;
    char *first = written(b);
    no_error(read_back(b, first), &b->err);
    char *second = written(b);
    assert_string_equal(first, second);
    assert_true(before.criterion == b->found.criterion && before.seed == b->found.seed);
    assert_true(before.batches == b->found.batches && before.examples == b->found.examples);
    assert_true(before.from_labels == b->found.from_labels);
    assert_string_equal(before.model_sha256, b->found.model_sha256);
    pare_free(first);
    pare_free(second);
}

static void check_checkpoint(const char *folder) {
    Bench b;
    bench_open(&b, folder, false);
    const PareDescription *d = &b.weights->description;
    bool loss = d->head.kind != PARE_HEAD_SPAN && d->head.kind != PARE_HEAD_NONE;
    char *lines = random_lines(d);
    no_error(open_data(&b, lines, !loss), &b.err);
    pare_free(lines);
    for (int c = 0; c < PARE_CRITERION_COUNT; c++) {
        PareStatus st = measure(&b, (PareCriterion)c, !loss);
        if (!loss && c <= PARE_CRITERION_FISHER) {
            assert_int_equal(st, PARE_E_UNSUPPORTED);
            continue;
        }
        no_error(st, &b.err);
        check_stacks(&b, folder);
        check_json(&b);
    }
    bench_close(&b);
}

static void test_checkpoints(void **state) {
    (void)state;
    static const char *const names[] = {
        "bart",     "bert-cls",  "bert-mlm", "bert-model", "bert-qa", "bert-token-cls", "bert2bert",
        "bert2gpt", "bertshare", "gpt2-lm",  "marian",     "t5",      "t5-v1_1"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char folder[128];
        snprintf(folder, sizeof folder, "tests/data/goldens/%s", names[i]);
        check_checkpoint(folder);
    }
}

/* -- data -- */

static void refused(Bench *b, const char *text, const char *needs, const char *found) {
    if (!open_data(b, text, false))
        fail_msg("\"%s\" was taken", text);
    if (!strstr(b->err.message, needs) || !strstr(b->err.message, found) ||
        !strstr(b->err.message, model_path) || !strstr(b->err.message, data_path))
        fail_msg("\"%s\" instead of \"%s … %s\"", b->err.message, needs, found);
}

static void test_data(void **state) {
    (void)state;
    Bench b;
    bench_open(&b, "tests/data/goldens/bert-cls", false);
    refused(&b, "{\"input_ids\":[5,6]}\n", "with a label", "line 1: there is no label");
    refused(&b, "{\"input_ids\":[5,6],\"label\":77}\n", "with a label", "the label is \"77\"");
    no_error(open_data(&b, "{\"input_ids\":[5,6]}\n", true), &b.err);
    assert_int_equal(open_data(&b, "sentence\tlabel\na b\t1\n", false), PARE_E_UNSUPPORTED);
    assert_non_null(strstr(b.err.message, "the model has no tokenizer"));
    bench_close(&b);
    bench_open(&b, "tests/data/goldens/bert-token-cls", false);
    refused(&b, "{\"input_ids\":[5,6],\"label\":1}\n", "with a label for each",
            "line 1: there are no labels");
    bench_close(&b);
    bench_open(&b, "tests/data/goldens/t5", false);
    refused(&b, "{\"input_ids\":[5,6]}\n", "a target text", "line 1: there is no target");
    no_error(open_data(&b, "{\"input_ids\":[5,6],\"labels\":[3,4,1]}\n", false), &b.err);
    assert_int_equal(pare_examples_get(b.data.examples, 0).sequence.decoder_count, 3);
    bench_close(&b);
    bench_open(&b, "tests/data/goldens/bert-qa", false);
    assert_int_equal(open_data(&b, "{\"input_ids\":[5,6]}\n", false), PARE_E_UNSUPPORTED);
    assert_non_null(strstr(b.err.message, "span head"));
    bench_close(&b);
}

/* -- JSON -- */

/* `from` in the text becomes `to`; then it must be refused with these words. */
static void check_hostile(Bench *b, const char *text, const char *from, const char *to,
                          const char *words) {
    const char *at = strstr(text, from);
    PareBuffer changed = {0};
    if (!at)
        fail_msg("no \"%s\" in %s", from, text);
    pare_buffer_append(&changed, text, (size_t)(at - text));
    pare_buffer_puts(&changed, to);
    pare_buffer_puts(&changed, at + strlen(from));
    if (!read_back(b, changed.data))
        fail_msg("\"%s\" for \"%s\" was taken", to, from);
    if (!strstr(b->err.message, words) || !strstr(b->err.message, "i.json"))
        fail_msg("\"%s\" instead of \"%s\"", b->err.message, words);
    pare_buffer_free(&changed);
}

typedef struct {
    const char *from, *to, *words;
} Hostile;

/* Scores that a test can find in the text: 0.5, and a number for each first unit. */
static void set_scores(Bench *b) {
    const PareDescription *d = &b->weights->description;
    no_error(measure(b, PARE_CRITERION_RANDOM, false), &b->err);
    for (int s = 0; s < PARE_STACKS; s++)
        for (uint32_t l = 0; d->stacks[s].present && l < d->stacks[s].layer_count; l++)
            b->found.stacks[s].layers[l].heads[0][0] = 111 + 10.0 * s + l;
    b->found.criterion = PARE_CRITERION_FISHER;
    b->found.from_labels = true;
    b->found.seed = UINT64_MAX;
    b->found.batches = 3;
    b->found.examples = 12;
    memset(b->found.model_sha256, 'a', 64);
}

static void test_json(void **state) {
    (void)state;
    static const Hostile cases[] = {
        {"\"pare_importance\":1,", "", "\"pare_importance\" is missing"},
        {"\"pare_importance\":1,", "\"pare_importance\":2,", "pare_importance"},
        {"\"fisher\"", "\"fish\"", "\"criterion\" is \"fish\""},
        {"\"criterion\":\"fisher\",", "", "\"criterion\" is missing"},
        {"\"criterion\":\"fisher\"", "\"criterion\":\"random\"", "\"loss\" is \"labels\""},
        {",\"loss\":\"labels\"", "", "\"loss\" is missing"},
        {"\"loss\":\"labels\"", "\"loss\":\"label\"", "\"loss\" is \"label\""},
        {"aaaa\"", "aaa\"", "no SHA-256"},
        {"aaaa\"", "aaaA\"", "no SHA-256"},
        {"18446744073709551615", "18446744073709551616", "\"seed\""},
        {"18446744073709551615", "", "\"seed\""},
        {"18446744073709551615", "1x", "\"seed\""},
        {"\"batches\":3", "\"batches\":-3", "batches"},
        {"\"examples\":12", "\"examples\":1.5", "examples"},
        {"\"examples\":12", "\"examples\":12,\"more\":1", "unknown member \"more\""},
        {"\"heads\":", "\"head\":", "unknown member \"head\""},
        {"111", "-111", "number 0 is no score"},
        {"111", "NaN", "i.json"},
        {"111", "1e999", "i.json"},
        {"111", "null", "number 0 is no score"},
        {"111", "\"111\"", "number 0 is no score"},
        {"111", "[111]", "number 0 is no score"},
        {"[111,", "[", "\"heads\" of layer 0 of the encoder must be a list of as many"},
        {"[111,", "[111,111,", "\"heads\" of layer 0 of the encoder must be a list of as many"},
        {"[111,", "null,[111,", "must be a list of as many lists as it has layers"},
        {"\"layers\":[", "\"layers\":[1,", "\"layers\" of the encoder must be a list"},
        {"\"width\":[", "\"width\":[1,", "\"width\" of the encoder must be a list"},
        {"{\"pare_importance\":1,", "[{\"pare_importance\":1,", "i.json"},
    };
    Bench b;
    bench_open(&b, "tests/data/prune/bert-heads", false);
    set_scores(&b);
    check_json(&b);
    assert_true(b.found.seed == UINT64_MAX);
    char *text = written(&b);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_hostile(&b, text, cases[i].from, cases[i].to, cases[i].words);
    assert_int_equal(read_back(&b, "[]"), PARE_E_FORMAT);
    assert_int_equal(read_back(&b, "{\"pare_importance\":1}"), PARE_E_FORMAT);
    pare_free(text);
    bench_close(&b);
}

/* Two stacks; what one has not, the other may. */
static void test_json_pair(void **state) {
    (void)state;
    static const Hostile cases[] = {
        {"\"encoder\":{", "\"encoders\":{", "unknown member \"encoders\""},
        {"\"encoder\":{", "\"encoder\":[],\"width\":{", "unknown member \"width\""},
        {"\"encoder\":{", "\"encoder\":{\"cross\":[],", "unknown member \"cross\""},
        {"\"cross\":", "\"crosses\":", "unknown member \"crosses\""},
        {"\"cross\":[", "\"cross\":[null,", "\"cross\" of the decoder must be a list"},
    };
    Bench b;
    bench_open(&b, "tests/data/goldens/bart", false);
    set_scores(&b);
    check_json(&b);
    char *text = written(&b);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_hostile(&b, text, cases[i].from, cases[i].to, cases[i].words);
    pare_free(text);
    /* A layer without a sublayer has no scores for it. */
    b.weights->description.stacks[PARE_DECODER].layers[0].cross.heads = 0;
    b.weights->description.stacks[PARE_ENCODER].layers[1].ffn = 0;
    PareImportanceOptions o = {.criterion = PARE_CRITERION_RANDOM};
    no_error(pare_importance_measure(b.weights, &o, b.arena, &b.found, &b.err), &b.err);
    check_json(&b);
    assert_null(b.found.stacks[PARE_ENCODER].layers[1].ffn);
    text = written(&b);
    check_hostile(&b, text, "null", "[]", "must be null: the model has no such sublayer");
    /* And one that has the sublayer needs them. */
    b.weights->description.stacks[PARE_ENCODER].layers[1].ffn = 3;
    assert_int_equal(read_back(&b, text), PARE_E_FORMAT);
    assert_non_null(strstr(b.err.message, "\"ffn\" of layer 1 of the encoder must be a list"));
    pare_free(text);
    bench_close(&b);
}

static void test_names(void **state) {
    (void)state;
    PareCriterion found;
    for (int c = 0; c < PARE_CRITERION_COUNT; c++) {
        assert_true(pare_criterion_parse(pare_criterion_name((PareCriterion)c), &found));
        assert_int_equal(found, c);
        assert_true(pare_criterion_needs_data(found) ==
                    (c <= PARE_CRITERION_ACTIVATION || c == PARE_CRITERION_RECONSTRUCT));
    }
    assert_false(pare_criterion_parse("Gradient", &found));
}

/* -- no memory -- */

static void test_no_memory(void **state) {
    (void)state;
    Bench b;
    PareStatus st = PARE_E_MEMORY;
    size_t failures = 0;
    bench_open(&b, "tests/data/goldens/bart", false);
    write_text("{\"input_ids\":[5,6],\"labels\":[3,4,1]}\n");
    for (uint64_t n = 1; st; n++, failures++) {
        ParePruneDataOptions o = {.path = data_path};
        pare_memory_fail_after(n);
        st = pare_prune_data_open(b.model, &o, &b.data, &b.err);
        pare_memory_fail_after(0);
        assert_true(st == PARE_OK || (st == PARE_E_MEMORY && !b.data.examples && !b.data.arena));
    }
    assert_true(failures > 5 && pare_examples_count(b.data.examples) == 1);
    set_scores(&b);
    char *text = written(&b);
    PareJsonDoc *doc;
    no_error(pare_json_parse(text, strlen(text), "i.json", &doc, &b.err), &b.err);
    for (uint64_t n = 1; n == 1 || st; n++) {
        PareArena *arena = pare_arena_create(64);
        assert_non_null(arena);
        pare_memory_fail_after(n);
        st = pare_importance_read(pare_json_root(doc), "i.json", &b.weights->description, arena,
                                  &b.found, &b.err);
        pare_memory_fail_after(0);
        assert_true(st == PARE_OK || (st == PARE_E_MEMORY && n < 1000));
        pare_arena_destroy(arena);
    }
    pare_json_free(doc);
    pare_free(text);
    bench_close(&b);
}

int main(void) {
    const char *tmp = getenv("TMPDIR");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),       cmocka_unit_test(test_heads),
        cmocka_unit_test(test_checkpoints), cmocka_unit_test(test_data),
        cmocka_unit_test(test_json),        cmocka_unit_test(test_json_pair),
        cmocka_unit_test(test_no_memory),
    };
    snprintf(model_path, sizeof model_path, "%s/importance-%ld.pare", tmp ? tmp : "/tmp",
             (long)getpid());
    snprintf(data_path, sizeof data_path, "%s/importance-%ld.jsonl", tmp ? tmp : "/tmp",
             (long)getpid());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
