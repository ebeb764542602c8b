/* The public header against PyTorch's answers: token ids with the goldens, text with the samples;
 * what is refused and in which words; handles side by side; every allocation failing in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/pare.h"
#include "convert/convert.h"
#include "core/json.h"
#include "core/memory.h"
#include "core/version.h"
#include "quantize/quantize.h"

enum { LONGEST = 64, ROOM = 1 << 13 };

/* -- models -- */

static const char *path_of(const char *what) {
    static char paths[4][256];
    static int next;
    char *path = paths[next++ % 4];
    const char *tmp = getenv("TMPDIR");
    snprintf(path, sizeof paths[0], "%s/api-%ld-%s.pare", tmp ? tmp : "/tmp", (long)getpid(), what);
    return path;
}

static void ok(PareStatus st, const PareError *err) {
    if (st)
        print_error("%s\n", err->message);
    assert_int_equal(st, PARE_OK);
}

static const char *convert(const char *folder, bool tokenizer) {
    const char *slash = strrchr(folder, '/'), *path = path_of(slash + 1);
    PareConvertOptions o = {.folder = folder, .no_tokenizer = !tokenizer};
    PareError err = {0};
    PareConvert *c;
    ok(pare_convert_open(&o, &c, &err), &err);
    ok(pare_convert_write(c, path, true, NULL, &err), &err);
    pare_convert_close(c);
    return path;
}

static const char *quantize(const char *f32, const char *name) {
    const char *path = path_of(name);
    PareQuantizeTotals totals;
    PareError err = {0};
    PareQuantizeOptions o = {.input = f32,
                             .output = path,
                             .to = PARE_I8,
                             .force = true,
                             .self_test = true,
                             .threads = 2};
    ok(pare_quantize(&o, &totals, &err), &err);
    return path;
}

static Pare *open_path(const char *path) {
    char message[512];
    Pare *p;
    int code = pare_open(path, 2, &p, message, sizeof message);
    if (code)
        print_error("%s\n", message);
    assert_int_equal(code, PARE_DONE);
    assert_string_equal(message, "");
    assert_string_equal(pare_message(p), "");
    return p;
}

static Pare *open_golden(const char *name) {
    char folder[256];
    snprintf(folder, sizeof folder, "tests/data/goldens/%s", name);
    const char *path = convert(folder, false);
    Pare *p = open_path(path);
    unlink(path); /* an open handle does not need the name */
    return p;
}

static void done(const Pare *p, int code) {
    if (code)
        print_error("%s\n", pare_message(p));
    assert_int_equal(code, PARE_DONE);
}

static void refused(const Pare *p, int code, int expected, const char *part) {
    if (code != expected || !strstr(pare_message(p), part))
        print_error("code %d, expected %d with '%s': %s\n", code, expected, part, pare_message(p));
    assert_int_equal(code, expected);
    assert_non_null(strstr(pare_message(p), part));
}

/* -- what PyTorch gave -- */

static PareJsonDoc *read_json(const char *format, const char *name) {
    char file[256];
    PareError err = {0};
    PareJsonDoc *doc;
    int n = snprintf(file, sizeof file, "%s%s%s", format, name,
                     strstr(format, "goldens") ? "/golden.json" : "/sample.json");
    assert_in_range(n, 1, sizeof file - 1);
    ok(pare_json_read(file, &doc, &err), &err);
    return doc;
}

/* Numbers of the first of `rows` rows: what an array of a golden holds of its first sequence. */
static size_t first_row(const PareJson *array, double *out, size_t room) {
    size_t rows = (size_t)pare_json_integer(pare_json_first(pare_json_get(array, "shape")));
    const PareJson *data = pare_json_get(array, "data");
    size_t count = pare_json_size(data) / rows, i = 0;
    assert_in_range(count, 1, room);
    for (const PareJson *n = pare_json_first(data); n && i < count; n = pare_json_next(n))
        out[i++] = pare_json_number(n);
    return count;
}

/* The ids under `key` of a golden's first sequence; 0 when there are none. */
static size_t first_ids(const PareJson *inputs, const char *key, int32_t *out) {
    double values[LONGEST];
    const PareJson *array = pare_json_get(inputs, key);
    size_t count = array ? first_row(array, values, LONGEST) : 0;
    for (size_t i = 0; i < count; i++)
        out[i] = (int32_t)values[i];
    return count;
}

static size_t read_ids(const PareJson *list, int32_t *out) {
    size_t count = 0;
    assert_in_range(pare_json_size(list), 1, LONGEST);
    for (const PareJson *n = pare_json_first(list); n; n = pare_json_next(n))
        out[count++] = (int32_t)pare_json_integer(n);
    return count;
}

static void assert_close(const float *found, const double *expected, size_t count, size_t stride) {
    double worst = 0;
    for (size_t i = 0; i < count; i++) {
        double d = fabs((double)found[i * stride] - expected[i]);
        worst = d > worst || isnan(d) ? d : worst;
    }
    assert_true(worst <= 2e-4);
}

/* -- logits of token ids -- */

typedef struct {
    const float *expected;
    size_t rows, stop_at;
} Rows;

static int compare_row(void *context, size_t row, const float *values, size_t n) {
    Rows *r = context;
    assert_int_equal(row, r->rows);
    assert_memory_equal(values, r->expected + row * n, n * sizeof *values);
    r->rows++;
    return row == r->stop_at;
}

static void check_logits(const char *name, const char *key, size_t rows, size_t columns) {
    static float found[ROOM];
    static double expected[ROOM];
    PareJsonDoc *doc = read_json("tests/data/goldens/", name);
    const PareJson *root = pare_json_root(doc), *inputs = pare_json_get(root, "inputs");
    int32_t ids[LONGEST], types[LONGEST], decoder[LONGEST];
    size_t count = first_ids(inputs, "input_ids", ids), got;
    const int32_t *t = first_ids(inputs, "token_type_ids", types) ? types : NULL;
    size_t decoder_count = first_ids(inputs, "decoder_input_ids", decoder);
    Pare *p = open_golden(name);
    size_t values = first_row(pare_json_get(pare_json_get(root, "expected"), key), expected, ROOM);
    assert_int_equal(pare_columns(p), columns);
    done(p, pare_logits_into(p, ids, t, count, decoder, decoder_count, found, ROOM, &got));
    assert_int_equal(got, rows);
    bool part = values != rows * columns; /* the starts of spans */
    assert_int_equal(values, part ? rows : rows * columns);
    assert_close(found, expected, values, part ? columns : 1);

    Rows r = {.expected = found, .stop_at = SIZE_MAX};
    done(p, pare_logits(p, ids, t, count, decoder, decoder_count, compare_row, &r));
    assert_int_equal(r.rows, rows);
    r = (Rows){.expected = found, .stop_at = rows - 1};
    refused(p, pare_logits(p, ids, t, count, decoder, decoder_count, compare_row, &r),
            PARE_ERROR_STOPPED, "stopped by the caller");
    size_t room = rows * columns;
    refused(p, pare_logits_into(p, ids, t, count, decoder, decoder_count, found, room - 1, &got),
            PARE_ERROR_USAGE, "room for");
    assert_int_equal(got, rows);
    done(p, pare_logits_into(p, ids, t, count, decoder, decoder_count, found, room, &got));
    pare_close(p);
    pare_json_free(doc);
}

static void test_logits(void **state) {
    (void)state;
    check_logits("bert-cls", "logits", 1, 3);
    check_logits("bert-token-cls", "logits", 11, 3);
    check_logits("bert-qa", "start_logits", 11, 2);
    check_logits("bert-model", "last_hidden_state", 11, 32);
    check_logits("gpt2-lm", "logits", 11, 96);
    check_logits("bart", "logits", 7, 96);
    check_logits("t5", "logits", 7, 96);
}

static void test_classify_ids(void **state) {
    PareJsonDoc *doc = read_json("tests/data/goldens/", "bert-cls");
    const PareJson *inputs = pare_json_get(pare_json_root(doc), "inputs");
    int32_t ids[LONGEST], types[LONGEST];
    size_t count = first_ids(inputs, "input_ids", ids);
    PareLabel label;
    double logits[3], sum = 0;
    (void)state;
    first_ids(inputs, "token_type_ids", types);
    first_row(pare_json_get(pare_json_get(pare_json_root(doc), "expected"), "logits"), logits, 3);
    Pare *p = open_golden("bert-cls");
    done(p, pare_classify_ids(p, ids, types, count, &label));
    assert_int_equal(label.index, 0);
    assert_int_equal(label.count, 3);
    for (size_t i = 0; i < 3; i++)
        sum += exp(logits[i]);
    for (size_t i = 0; i < 3; i++)
        assert_true(fabs((double)label.probabilities[i] - exp(logits[i]) / sum) < 1e-4);
    pare_close(p);
    pare_json_free(doc);
}

/* -- generation from token ids -- */

static void set_options(const PareJson *settings, PareGenerateOptions *o) {
    const struct {
        const char *key;
        uint32_t *number;
        float *real;
    } options[] = {{"num_beams", &o->num_beams, NULL},
                   {"max_length", &o->max_length, NULL},
                   {"max_new_tokens", &o->max_new_tokens, NULL},
                   {"min_length", &o->min_length, NULL},
                   {"no_repeat_ngram_size", &o->no_repeat_ngram_size, NULL},
                   {"length_penalty", NULL, &o->length_penalty},
                   {"repetition_penalty", NULL, &o->repetition_penalty}};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        const PareJson *n = pare_json_get(settings, options[i].key);
        if (n && options[i].number)
            *options[i].number = (uint32_t)pare_json_integer(n);
        else if (n)
            *options[i].real = (float)pare_json_number(n);
    }
    const PareJson *early = pare_json_get(settings, "early_stopping");
    if (early)
        o->early_stopping = pare_json_is_bool(early) ? pare_json_true(early) : 2;
}

static void check_generation(const char *name, size_t prompt) {
    PareJsonDoc *doc = read_json("tests/data/goldens/", name);
    const PareJson *root = pare_json_root(doc);
    int32_t ids[LONGEST], expected[LONGEST];
    size_t count = first_ids(pare_json_get(root, "inputs"), "input_ids", ids);
    Pare *p = open_golden(name);
    for (const PareJson *n = pare_json_first(pare_json_get(root, "generate")); n;
         n = pare_json_next(n)) {
        const PareJson *settings = pare_json_get(n, "settings");
        const PareJson *row = pare_json_first(pare_json_get(n, "rows"));
        const PareJson *score = pare_json_get_set(row, "score");
        PareGenerateOptions o;
        const int32_t *found;
        size_t found_count;
        double found_score;
        pare_generate_options(p, &o);
        set_options(settings, &o);
        done(p, pare_generate_ids(p, ids, prompt ? prompt : count, &o, &found, &found_count,
                                  &found_score));
        assert_in_range(found_count, 2, read_ids(pare_json_get(row, "ids"), expected));
        assert_memory_equal(found, expected, found_count * sizeof *found);
        if (score)
            assert_true(fabs(pare_json_number(score) - found_score) <= 1e-4);
    }
    pare_close(p);
    pare_json_free(doc);
}

static void test_generate_ids(void **state) {
    (void)state;
    check_generation("gpt2-lm", 5);
    check_generation("bart", 0);
    check_generation("marian", 0);
}

/* -- likelihood of token ids, from the logits that the golden vouches for -- */

static double minus_log_p(const float *logits, size_t n, int32_t target) {
    double sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += exp((double)logits[i]);
    return log(sum) - (double)logits[target];
}

static void test_score_ids(void **state) {
    static float logits[ROOM];
    static const int32_t IDS[] = {5, 17, 60, 2, 33}, TARGET[] = {8, 40, 12, 1};
    double nll, expected = 0;
    size_t rows, tokens;
    (void)state;
    Pare *p = open_golden("gpt2-lm");
    done(p, pare_logits_into(p, IDS, NULL, 5, NULL, 0, logits, ROOM, &rows));
    for (size_t i = 0; i < 4; i++)
        expected += minus_log_p(logits + i * 96, 96, IDS[i + 1]);
    done(p, pare_score_ids(p, IDS, 5, NULL, 0, &nll, &tokens));
    assert_int_equal(tokens, 4);
    assert_true(fabs(nll - expected) < 1e-4);
    done(p, pare_score_ids(p, IDS, 1, NULL, 0, &nll, &tokens));
    assert_true(nll == 0 && tokens == 0);
    refused(p, pare_score_ids(p, IDS, 5, TARGET, 4, &nll, &tokens), PARE_ERROR_USAGE, "a target");
    refused(p, pare_score_ids(p, IDS, 0, NULL, 0, &nll, &tokens), PARE_ERROR_FORMAT, "no tokens");
    pare_close(p);

    p = open_golden("bart");
    const int32_t *start;
    size_t count;
    done(p, pare_generate_ids(p, IDS, 5, NULL, &start, &count, NULL));
    int32_t read[] = {start[0], 8, 40, 12};
    done(p, pare_logits_into(p, IDS, NULL, 5, read, 4, logits, ROOM, &rows));
    expected = 0;
    for (size_t i = 0; i < 4; i++)
        expected += minus_log_p(logits + i * 96, 96, TARGET[i]);
    done(p, pare_score_ids(p, IDS, 5, TARGET, 4, &nll, &tokens));
    assert_int_equal(tokens, 4);
    assert_true(fabs(nll - expected) < 1e-4);
    refused(p, pare_score_ids(p, IDS, 5, NULL, 0, &nll, &tokens), PARE_ERROR_USAGE, "no target");
    refused(p, pare_score_ids(p, IDS, 5, TARGET, 0, &nll, &tokens), PARE_ERROR_FORMAT, "target");
    refused(p, pare_score_ids(p, IDS, 5, (int32_t[]){8, -1}, 2, &nll, &tokens), PARE_ERROR_FORMAT,
            "negative");
    refused(p, pare_score_ids(p, IDS, 5, (int32_t[]){8, 96}, 2, &nll, &tokens), PARE_ERROR_FORMAT,
            "96");
    pare_close(p);
}

/* -- text -- */

static void test_classify(void **state) {
    PareJsonDoc *doc = read_json("samples/", "command-intent");
    const PareJson *rows = pare_json_get(pare_json_root(doc), "rows");
    int32_t expected[LONGEST];
    (void)state;
    const char *f32 = convert("samples/command-intent", true);
    Pare *p = open_path(f32);
    assert_int_equal(pare_columns(p), 10);
    for (const PareJson *r = pare_json_first(rows); r; r = pare_json_next(r)) {
        const char *text = pare_json_string(pare_json_get(r, "sentence"));
        const int32_t *ids, *types;
        size_t count;
        PareLabel label, again;
        done(p, pare_tokenize(p, text, NULL, &ids, &types, &count));
        assert_int_equal(count, read_ids(pare_json_get(r, "input_ids"), expected));
        assert_memory_equal(ids, expected, count * sizeof *ids);
        assert_null(types);
        done(p, pare_classify_ids(p, ids, NULL, count, &label));
        float probability = label.probabilities[label.index];
        assert_int_equal(label.index, pare_json_integer(pare_json_get(r, "answer")));
        assert_string_equal(label.name, pare_label_name(p, label.index));
        done(p, pare_classify(p, text, NULL, &again));
        assert_int_equal(again.index, label.index);
        assert_true(again.probabilities[again.index] == probability);
    }
    pare_close(p);
    p = open_path(quantize(f32, "intent-i8"));
    PareLabel label;
    done(p, pare_classify(p, "turn off the lights", NULL, &label));
    assert_string_equal(label.name, "control_lights");
    assert_true(label.probabilities[label.index] == 0.9966273F); /* the same bits everywhere */
    done(p, pare_self_test(p));
    pare_close(p);
    pare_json_free(doc);
}

static void test_pair(void **state) {
    static const int32_t TYPES[] = {0, 0, 0, 0, 1, 1, 1};
    const int32_t *ids, *types;
    size_t count;
    char *text;
    PareLabel label;
    (void)state;
    Pare *p = open_path(convert("samples/command-intent", true));
    done(p, pare_tokenize(p, "turn off", "the lights", &ids, &types, &count));
    assert_int_equal(count, 7);
    if (types)
        assert_memory_equal(types, TYPES, sizeof TYPES);
    done(p, pare_detokenize(p, ids, count, &text));
    assert_string_equal(text, "turn off the lights");
    pare_text_free(text);
    done(p, pare_classify(p, "turn off", "the lights", &label));
    done(p, pare_tokenize(p, "turn off", NULL, &ids, NULL, &count));
    assert_int_equal(count, 4);
    done(p, pare_detokenize(p, NULL, 0, &text));
    assert_string_equal(text, "");
    pare_text_free(text);
    pare_text_free(NULL);
    refused(p, pare_detokenize(p, (int32_t[]){1 << 20}, 1, &text), PARE_ERROR_USAGE, "1048576");
    assert_null(text);
    pare_close(p);
}

static void test_truncate(void **state) {
    char text[2000] = "";
    const int32_t *ids;
    size_t count;
    PareLabel label;
    (void)state;
    for (size_t i = 0; i < 100; i++)
        memcpy(text + 9 * i, "lights on", 9); /* lights onlights on... */
    Pare *p = open_path(convert("samples/command-intent", true));
    assert_int_equal(pare_max_tokens(p, 0), 96);
    assert_int_equal(pare_max_tokens(p, 1), 0);
    done(p, pare_tokenize(p, text, NULL, &ids, NULL, &count));
    assert_true(count > 96);
    refused(p, pare_classify(p, text, NULL, &label), PARE_ERROR_FORMAT, "positions for 96");
    pare_set_truncate(p, 1);
    done(p, pare_tokenize(p, text, NULL, &ids, NULL, &count));
    assert_int_equal(count, 96);
    done(p, pare_classify(p, text, NULL, &label));
    done(p, pare_tokenize(p, text, "turn off", &ids, NULL, &count));
    assert_int_equal(count, 96);
    done(p, pare_classify(p, text, text, &label));
    pare_close(p);
}

static void test_generate(void **state) {
    PareJsonDoc *doc = read_json("samples/", "number-words");
    const PareJson *rows = pare_json_get(pare_json_root(doc), "rows");
    (void)state;
    Pare *p = open_path(convert("samples/number-words", true));
    PareGenerateOptions o;
    pare_generate_options(p, &o);
    o.num_beams = 1;
    for (const PareJson *r = pare_json_first(rows); r; r = pare_json_next(r)) {
        const char *source = pare_json_string(pare_json_get(r, "source"));
        int32_t ids[LONGEST];
        size_t count = read_ids(pare_json_get(r, "output_ids"), ids), tokens;
        double nll;
        char *text;
        done(p, pare_generate(p, source, &o, &text));
        assert_string_equal(text, pare_json_string(pare_json_get(r, "output")));
        done(p, pare_score(p, source, text, &nll, &tokens));
        assert_int_equal(tokens, count - 1);
        assert_true(nll >= 0 && nll < 5);
        pare_text_free(text);
        done(p, pare_detokenize(p, ids, count, &text));
        assert_string_equal(text, pare_json_string(pare_json_get(r, "output")));
        pare_text_free(text);
    }
    char *short_text;
    o.max_length = 0;
    o.max_new_tokens = 2;
    done(p, pare_generate(p, "16654", &o, &short_text));
    assert_true(strlen(short_text) < 20);
    pare_text_free(short_text);
    o.num_beams = 0;
    refused(p, pare_generate(p, "16654", &o, &short_text), PARE_ERROR_UNSUPPORTED, "num_beams");
    assert_null(short_text);
    o.num_beams = 1;
    o.early_stopping = 3;
    refused(p, pare_generate(p, "16654", &o, &short_text), PARE_ERROR_USAGE, "early_stopping");
    pare_close(p);
    pare_json_free(doc);
}

/* -- refusals -- */

static void test_open(void **state) {
    char message[256], small[8];
    Pare *p;
    (void)state;
    assert_string_equal(pare_version(), PARE_VERSION);
    assert_int_equal(pare_open("no-such.pare", 1, &p, message, sizeof message), PARE_ERROR_IO);
    assert_null(p);
    assert_non_null(strstr(message, "no-such.pare"));
    assert_int_equal(pare_open("no-such.pare", 1, &p, small, sizeof small), PARE_ERROR_IO);
    assert_int_equal(strlen(small), sizeof small - 1);
    assert_int_equal(pare_open("no-such.pare", 1, &p, NULL, 0), PARE_ERROR_IO);
    assert_int_equal(pare_open("Makefile", 1, &p, message, sizeof message), PARE_ERROR_FORMAT);
    assert_int_equal(pare_open(NULL, 1, &p, message, sizeof message), PARE_ERROR_USAGE);
    assert_string_equal(message, "no path is given");
    const char *path = convert("tests/data/goldens/gpt2-lm", false);
    assert_int_not_equal(pare_open(path, 100000, &p, message, sizeof message), PARE_DONE);
    assert_null(p);
    assert_int_not_equal(message[0], '\0');
    pare_close(NULL);
}

static void test_without_tokenizer(void **state) {
    const int32_t *ids;
    size_t count, tokens;
    double nll;
    char *text;
    (void)state;
    Pare *p = open_golden("gpt2-lm");
    refused(p, pare_tokenize(p, "a", NULL, &ids, NULL, &count), PARE_ERROR_UNSUPPORTED,
            "no tokenizer");
    refused(p, pare_detokenize(p, (int32_t[]){1}, 1, &text), PARE_ERROR_UNSUPPORTED, "tokenizer");
    refused(p, pare_generate(p, "a", NULL, &text), PARE_ERROR_UNSUPPORTED, "no tokenizer");
    assert_null(text);
    refused(p, pare_score(p, "a", NULL, &nll, &tokens), PARE_ERROR_UNSUPPORTED, "no tokenizer");
    refused(p, pare_self_test(p), PARE_ERROR_UNSUPPORTED, "no self-test");
    pare_close(p);
}

static void test_wrong_model(void **state) {
    static const int32_t IDS[] = {5, 17, 60};
    float out[ROOM];
    const int32_t *ids;
    size_t count;
    double nll;
    PareLabel label;
    (void)state;
    Pare *p = open_golden("gpt2-lm");
    refused(p, pare_classify_ids(p, IDS, NULL, 3, &label), PARE_ERROR_UNSUPPORTED, "label");
    refused(p, pare_logits_into(p, IDS, NULL, 3, IDS, 3, out, ROOM, &count), PARE_ERROR_USAGE,
            "decoder_ids");
    refused(p, pare_logits_into(p, (int32_t[]){5, 96}, NULL, 2, NULL, 0, out, ROOM, &count),
            PARE_ERROR_FORMAT, "96");
    refused(p, pare_logits_into(p, IDS, NULL, 0, NULL, 0, out, ROOM, &count), PARE_ERROR_FORMAT,
            "no tokens");
    done(p, pare_logits_into(p, IDS, NULL, 3, NULL, 0, out, ROOM, &count)); /* still usable */
    pare_close(p);
    p = open_golden("bert-cls");
    refused(p, pare_generate_ids(p, IDS, 3, NULL, &ids, &count, NULL), PARE_ERROR_UNSUPPORTED,
            "generate");
    assert_null(ids);
    refused(p, pare_score_ids(p, IDS, 3, NULL, 0, &nll, &count), PARE_ERROR_UNSUPPORTED, "score");
    assert_null(pare_label_name(p, 3));
    pare_close(p);
    p = open_golden("bart");
    refused(p, pare_logits_into(p, IDS, NULL, 3, NULL, 0, out, ROOM, &count), PARE_ERROR_FORMAT,
            "decoder_input_ids");
    pare_close(p);
}

/* -- side by side -- */

enum { HANDLES = 6, ROUNDS = 20 };

typedef struct {
    const char *path, *text;
    float probability;
    size_t wrong;
} Worker;

static void *work(void *context) {
    Worker *w = context;
    Pare *p;
    PareLabel label;
    if (pare_open(w->path, 2, &p, NULL, 0)) {
        w->wrong = ROUNDS;
        return NULL;
    }
    for (size_t i = 0; i < ROUNDS; i++)
        w->wrong += pare_classify(p, w->text, NULL, &label) != 0 ||
                    label.probabilities[label.index] != w->probability;
    pare_close(p);
    return NULL;
}

static void check_threads(const char *path) {
    static const char *const TEXTS[] = {"turn off the lights", "wake me at seven", "call anna"};
    pthread_t threads[HANDLES];
    Worker workers[HANDLES];
    PareLabel label;
    Pare *p = open_path(path);
    for (size_t i = 0; i < HANDLES; i++) {
        done(p, pare_classify(p, TEXTS[i % 3], NULL, &label));
        workers[i] = (Worker){path, TEXTS[i % 3], label.probabilities[label.index], 0};
    }
    for (size_t i = 0; i < HANDLES; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    for (size_t i = 0; i < HANDLES; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(workers[i].wrong, 0);
    }
    pare_close(p);
}

static void test_threads(void **state) {
    (void)state;
    const char *f32 = convert("samples/command-intent", true);
    check_threads(f32);
    check_threads(quantize(f32, "intent-i8"));
}

/* -- memory -- */

/* Opens and uses a model; the first error ends it. */
static int use(const char *path, bool writes) {
    char *text = NULL;
    PareLabel label;
    double nll;
    size_t tokens;
    Pare *p;
    int code = pare_open(path, 1, &p, NULL, 0);
    if (code)
        return code;
    code = writes ? pare_generate(p, "12", NULL, &text) : pare_classify(p, "go", "on", &label);
    if (!code && writes)
        code = pare_score(p, "12", "twelve", &nll, &tokens);
    pare_text_free(text);
    pare_close(p);
    return code;
}

static void check_memory(const char *path, bool writes) {
    int code = PARE_ERROR_MEMORY;
    uint64_t n = 0;
    assert_int_equal(use(path, writes), PARE_DONE);
    while (code == PARE_ERROR_MEMORY) {
        pare_memory_fail_after(++n);
        code = use(path, writes);
        pare_memory_fail_after(0);
    }
    assert_int_equal(code, PARE_DONE);
    assert_true(n > 20);
}

static void test_memory(void **state) {
    (void)state;
    check_memory(convert("samples/command-intent", true), false);
    check_memory(convert("samples/number-words", true), true);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),       cmocka_unit_test(test_classify_ids),
        cmocka_unit_test(test_generate_ids), cmocka_unit_test(test_score_ids),
        cmocka_unit_test(test_classify),     cmocka_unit_test(test_pair),
        cmocka_unit_test(test_truncate),     cmocka_unit_test(test_generate),
        cmocka_unit_test(test_open),         cmocka_unit_test(test_without_tokenizer),
        cmocka_unit_test(test_wrong_model),  cmocka_unit_test(test_threads),
        cmocka_unit_test(test_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
