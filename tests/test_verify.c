/* The verify stage on small models: every figure once more, computed in the plainest way, one input
 * at a time; and what is refused. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "convert/convert.h"
#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"
#include "quantize/quantize.h"
#include "runtime/session.h"
#include "text/tokenizer.h"
#include "verify/verify.h"

static char root[128]; /* a folder of our own */

/* "ROOT/NAME", from a ring of buffers. */
static const char *in_root(const char *name) {
    static char paths[8][256];
    static int turn;
    char *path = paths[turn++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", root, name);
    return path;
}

static void ok(PareStatus status, const PareError *err) {
    if (status)
        fail_msg("%s", err->message);
}

static void write_file(const char *path, const void *bytes, size_t size) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    fclose(f);
}

static const char *data_file(const char *text) {
    write_file(in_root("data"), text, strlen(text));
    return in_root("data");
}

/* -- models -- */

static void convert(const char *folder, bool nonfinite, const char *out) {
    PareError err;
    PareConvert *c;
    PareConvertOptions o = {.folder = folder, .allow_nonfinite = nonfinite};
    ok(pare_convert_open(&o, &c, &err), &err);
    ok(pare_convert_write(c, out, true, NULL, &err), &err);
    pare_convert_close(c);
}

static void quantize(const char *name, PareDtype to, const char *out) {
    PareError err;
    PareQuantizeTotals totals;
    PareQuantizeOptions o = {
        .input = in_root(name), .output = in_root(out), .to = to, .force = true, .threads = 1};
    ok(pare_quantize(&o, &totals, &err), &err);
}

static void copy_file(const char *from, const char *to) {
    char *bytes;
    size_t size;
    PareError err;
    ok(pare_file_read(from, 1 << 24, &bytes, &size, &err), &err);
    write_file(to, bytes, size);
    pare_free(bytes);
}

/* A causal model with a tokenizer of single bytes: the 94 visible ones of ASCII, whose
 * ids are moved on by `shift`, blank, newline. */
static void make_lm(int shift, const char *out) {
    PareBuffer vocab = {0};
    mkdir(in_root("lm"), 0700);
    copy_file("tests/data/goldens/gpt2-lm/config.json", in_root("lm/config.json"));
    copy_file("tests/data/goldens/gpt2-lm/pytorch_model.bin", in_root("lm/pytorch_model.bin"));
    pare_buffer_puts(&vocab, "{");
    for (int c = 33; c < 127; c++) {
        pare_buffer_put_json_string(&vocab, (char[]){(char)c}, 1);
        pare_buffer_printf(&vocab, ":%d,", (c - 33 + shift) % 94);
    }
    pare_buffer_puts(&vocab, "\"\xC4\xA0\":94,\"\xC4\x8A\":95}");
    assert_false(vocab.failed);
    write_file(in_root("lm/vocab.json"), vocab.data, vocab.size);
    write_file(in_root("lm/merges.txt"), "#version: 0.2\n", 14);
    write_file(in_root("lm/tokenizer_config.json"), "{\"unk_token\": \"~\"}", 18);
    pare_buffer_free(&vocab);
    convert(in_root("lm"), false, out);
}

static void copy_classifier(const char *folder) {
    static const char *const names[] = {"config.json", "tokenizer_config.json", "vocab.txt",
                                        "model.safetensors"};
    char from[128], to[64];
    mkdir(in_root(folder), 0700);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(from, sizeof from, "samples/command-intent/%s", names[i]);
        snprintf(to, sizeof to, "%s/%s", folder, names[i]);
        copy_file(from, in_root(to));
    }
}

/* The classifier with a NaN in its last bias. */
static void make_broken(void) {
    char *bytes;
    size_t size;
    PareError err;
    uint64_t header;
    PareJsonDoc *doc;
    copy_classifier("broken");
    ok(pare_file_read("samples/command-intent/model.safetensors", 1 << 24, &bytes, &size, &err),
       &err);
    memcpy(&header, bytes, sizeof header);
    ok(pare_json_parse(bytes + 8, header, "header", &doc, &err), &err);
    const PareJson *bias = pare_json_get(pare_json_root(doc), "classifier.bias");
    const PareJson *offsets = pare_json_get(bias, "data_offsets");
    const float nan = NAN;
    memcpy(bytes + 8 + header + pare_json_integer(pare_json_at(offsets, 1)) - sizeof nan, &nan,
           sizeof nan);
    write_file(in_root("broken/model.safetensors"), bytes, size);
    pare_json_free(doc);
    pare_free(bytes);
    convert(in_root("broken"), true, in_root("broken.f32"));
}

static int setup(void **state) {
    (void)state;
    const char *folder = getenv("TMPDIR");
    snprintf(root, sizeof root, "%s/pare-verify-XXXXXX", folder ? folder : "/tmp");
    if (!mkdtemp(root))
        return -1;
    convert("samples/command-intent", false, in_root("intent.f32"));
    convert("samples/number-words", false, in_root("words.f32"));
    make_lm(0, in_root("lm.f32"));
    make_lm(7, in_root("shifted.f32"));
    make_broken();
    static const char *const names[] = {"intent", "words", "lm"};
    for (size_t i = 0; i < 3; i++) {
        char from[32], to[32];
        snprintf(from, sizeof from, "%s.f32", names[i]);
        snprintf(to, sizeof to, "%s.int8", names[i]);
        quantize(from, PARE_I8, to);
        snprintf(to, sizeof to, "%s.bf16", names[i]);
        quantize(from, PARE_BF16, to);
    }
    return 0;
}

static int teardown(void **state) {
    (void)state;
    char command[160];
    snprintf(command, sizeof command, "rm -r '%s'", root);
    return system(command);
}

/* -- the plain recount -- */

typedef struct {
    PareModel *model;
    PareSession *session;
    PareTokenizer *tokenizer;
} Plain;

static Plain open_plain(const char *name) {
    Plain p;
    PareError err;
    const void *bytes;
    size_t size;
    ok(pare_model_open(in_root(name), &p.model, &err), &err);
    ok(pare_session_create(p.model, 1, &p.session, &err), &err);
    assert_true(pare_file_section(pare_model_file(p.model), PARE_SECTION_TOKENIZER, &bytes, &size));
    ok(pare_tokenizer_from_bytes(bytes, size, "plain", &p.tokenizer, &err), &err);
    return p;
}

static void close_plain(Plain *p) {
    pare_tokenizer_free(p->tokenizer);
    pare_session_destroy(p->session);
    pare_model_close(p->model);
}

typedef struct {
    float *values;
    size_t rows, columns, capacity;
} Logits;

static PareStatus keep(void *context, size_t sequence, size_t row, const float *values, size_t n,
                       PareError *err) {
    Logits *l = context;
    (void)sequence, (void)row, (void)err;
    if ((l->rows + 1) * n > l->capacity) {
        l->capacity = 2 * (l->rows + 1) * n;
        l->values = pare_realloc(l->values, l->capacity, sizeof *l->values);
        assert_non_null(l->values);
    }
    l->columns = n;
    memcpy(l->values + l->rows++ * n, values, n * sizeof *values);
    return PARE_OK;
}

static void run_plain(Plain *p, PareSequence q, Logits *out) {
    PareError err;
    ok(pare_session_run(p->session, &q, 1, PARE_ROWS_LOGITS, keep, out, &err), &err);
}

static double log_probability(const float *row, size_t n, size_t at) {
    double sum = 0, max = row[0];
    for (size_t i = 1; i < n; i++)
        max = row[i] > max ? row[i] : max;
    for (size_t i = 0; i < n; i++)
        sum += exp(row[i] - max);
    return row[at] - max - log(sum);
}

static size_t best(const float *row, size_t n) {
    size_t at = 0;
    for (size_t i = 1; i < n; i++)
        at = row[i] > row[at] ? i : at;
    return at;
}

/* F32 products may be summed in another order in another batch. */
static void assert_near(double found, double expected) {
    if (!(fabs(found - expected) <= 2e-5 * (1e-3 + fabs(expected))))
        fail_msg("found %.12g, expected %.12g", found, expected);
}

static void assert_drift(const PareDriftResult *d, const Logits *a, const Logits *b) {
    double max = 0, sum = 0, squares = 0, norms = 0, cosines = 0, kl = 0, agree = 0;
    size_t n = a->columns, count = a->rows * n;
    assert_int_equal(a->rows, b->rows);
    for (size_t r = 0; r < a->rows; r++) {
        const float *x = a->values + r * n, *y = b->values + r * n;
        double dot = 0, xx = 0, yy = 0;
        for (size_t i = 0; i < n; i++) {
            double difference = fabs((double)x[i] - (double)y[i]);
            double p = log_probability(x, n, i);
            max = difference > max ? difference : max;
            sum += difference;
            squares += difference * difference;
            dot += (double)x[i] * y[i];
            xx += (double)x[i] * x[i];
            yy += (double)y[i] * y[i];
            kl += exp(p) * (p - log_probability(y, n, i));
        }
        norms += xx;
        cosines += dot / sqrt(xx * yy);
        agree += best(x, n) == best(y, n);
    }
    assert_int_equal(d->rows, a->rows);
    assert_int_equal(d->values, count);
    assert_near(d->max_abs, max);
    assert_near(d->mean_abs, sum / (double)count);
    assert_near(d->relative_l2, sqrt(squares / norms));
    assert_near(d->cosine, cosines / (double)a->rows);
    assert_near(d->kl, kl / (double)a->rows);
    assert_near(d->top1_agreement, agree / (double)a->rows);
}

/* The rows of a sample as lines "FIRST<tab>SECOND". */
static void write_sample(const char *file, const char *first, const char *second) {
    PareJsonDoc *doc;
    PareError err;
    PareBuffer text = {0};
    ok(pare_json_read(file, &doc, &err), &err);
    const PareJson *row = pare_json_first(pare_json_get(pare_json_root(doc), "rows"));
    for (; row; row = pare_json_next(row)) {
        const PareJson *b = pare_json_get(row, second);
        pare_buffer_printf(&text, "%s\t", pare_json_string(pare_json_get(row, first)));
        if (pare_json_is_string(b))
            pare_buffer_printf(&text, "%s\n", pare_json_string(b));
        else
            pare_buffer_printf(&text, "%d\n", (int)pare_json_integer(b));
    }
    assert_false(text.failed);
    write_file(in_root("data"), text.data, text.size);
    pare_buffer_free(&text);
    pare_json_free(doc);
}

static PareVerifyReport verify(PareVerifyOptions o, const char *reference, const char *candidate) {
    PareVerifyReport r;
    PareError err;
    o.reference = in_root(reference);
    o.candidate = in_root(candidate);
    o.data = in_root("data");
    ok(pare_verify_run(&o, &r, &err), &err);
    return r;
}

/* -- classification -- */

typedef struct {
    uint64_t rows, correct[2], only[2], same;
    Logits logits[2];
} Counted;

static Counted count_classes(const char *reference, const char *candidate) {
    Counted c = {0};
    Plain p[2] = {open_plain(reference), open_plain(candidate)};
    PareDataset *d;
    const PareDataRow *row;
    PareError err;
    ok(pare_dataset_open(in_root("data"), NULL, &d, &err), &err);
    while (!pare_dataset_next(d, &row, &err) && row) {
        bool right[2];
        size_t answers[2];
        for (int m = 0; m < 2; m++) {
            PareIds ids = {0};
            ok(pare_tokenizer_encode(p[m].tokenizer, PARE_SIDE_SOURCE, row->text, row->text_size,
                                     true, &ids, &err),
               &err);
            run_plain(&p[m], (PareSequence){.ids = ids.data, .count = ids.count}, &c.logits[m]);
            const Logits *l = &c.logits[m];
            answers[m] = best(l->values + (l->rows - 1) * l->columns, l->columns);
            right[m] = answers[m] == (size_t)row->label;
            c.correct[m] += right[m];
            pare_ids_free(&ids);
        }
        c.only[0] += right[0] && !right[1];
        c.only[1] += right[1] && !right[0];
        c.same += answers[0] == answers[1];
        c.rows++;
    }
    pare_dataset_close(d);
    close_plain(&p[0]);
    close_plain(&p[1]);
    return c;
}

static void test_classification(void **state) {
    (void)state;
    write_sample("samples/command-intent/sample.json", "sentence", "label");
    Counted c = count_classes("intent.f32", "intent.int8");
    PareVerifyReport r = verify((PareVerifyOptions){.batch_size = 7}, "intent.f32", "intent.int8");
    assert_int_equal(r.task, PARE_TASK_CLASSIFICATION);
    assert_int_equal(r.rows, c.rows);
    assert_int_equal(r.reference.correct, c.correct[0]);
    assert_int_equal(r.candidate.correct, c.correct[1]);
    assert_int_equal(r.only_reference, c.only[0]);
    assert_int_equal(r.only_candidate, c.only[1]);
    assert_int_equal(r.same_outputs, c.same);
    assert_near(r.reference.value[PARE_METRIC_ACCURACY], (double)c.correct[0] / (double)c.rows);
    assert_true(isnan(r.reference.value[PARE_METRIC_BLEU]));
    assert_drift(&r.drift, &c.logits[0], &c.logits[1]);
    assert_true(r.drift.max_abs > 0);
    pare_free(c.logits[0].values);
    pare_free(c.logits[1].values);
}

/* Labels by name, in any of the formats; every second one wrong. */
static void test_label_names(void **state) {
    (void)state;
    Plain p = open_plain("intent.f32");
    PareJsonDoc *doc;
    PareError err;
    PareBuffer text = {0};
    ok(pare_json_read("samples/command-intent/sample.json", &doc, &err), &err);
    const PareJson *row = pare_json_first(pare_json_get(pare_json_root(doc), "rows"));
    for (uint32_t i = 0; i < 6; i++, row = pare_json_next(row)) {
        uint32_t answer = (uint32_t)pare_json_integer(pare_json_get(row, "answer"));
        const char *sentence = pare_json_string(pare_json_get(row, "sentence"));
        const char *label = pare_model_label(p.model, i % 2 ? answer : (answer + 1) % 10);
        assert_non_null(label);
        pare_buffer_puts(&text, "{\"sentence\": ");
        pare_buffer_put_json_string(&text, sentence, strlen(sentence));
        pare_buffer_printf(&text, ", \"label\": \"%s\"}\n", label);
    }
    write_file(in_root("data"), text.data, text.size);
    PareVerifyReport r = verify((PareVerifyOptions){0}, "intent.f32", "intent.f32");
    assert_int_equal(r.rows, 6);
    assert_int_equal(r.reference.correct, 3);
    pare_buffer_free(&text);
    pare_json_free(doc);
    close_plain(&p);
}

static void test_same_model(void **state) {
    (void)state;
    write_sample("samples/command-intent/sample.json", "sentence", "label");
    PareVerifyReport r = verify((PareVerifyOptions){0}, "intent.f32", "intent.f32");
    assert_true(r.drift.max_abs == 0 && r.drift.kl == 0 && r.drift.top1_agreement == 1);
    assert_int_equal(r.same_outputs, r.rows);
    r = verify((PareVerifyOptions){.limit = 5}, "intent.f32", "intent.f32");
    assert_int_equal(r.rows, 5);
}

/* Whatever the batch and the threads: the same bits, for models that promise them. */
static void test_batches_and_threads(void **state) {
    (void)state;
    static const struct {
        const char *file, *first, *second, *reference, *candidate;
    } cases[] = {
        {"samples/command-intent/sample.json", "sentence", "label", "intent.bf16", "intent.int8"},
        {"samples/number-words/sample.json", "source", "target", "words.bf16", "words.int8"}};
    for (size_t i = 0; i < 2; i++) {
        write_sample(cases[i].file, cases[i].first, cases[i].second);
        PareVerifyReport first = {0};
        for (size_t batch = 1; batch < 40; batch += 12) {
            PareVerifyOptions o = {.batch_size = batch,
                                   .threads = batch % 3 + 1,
                                   .limit = 16,
                                   .keep = batch == 13 ? 1 : 0};
            PareVerifyReport r = verify(o, cases[i].reference, cases[i].candidate);
            if (batch == 1)
                first = r;
            assert_memory_equal(&r.drift, &first.drift, sizeof r.drift);
            assert_memory_equal(&r.candidate, &first.candidate, sizeof r.candidate);
            assert_memory_equal(&r.reference, &first.reference, sizeof r.reference);
            assert_int_equal(r.same_outputs, first.same_outputs);
        }
    }
}

static void test_broken_candidate(void **state) {
    (void)state;
    write_sample("samples/command-intent/sample.json", "sentence", "label");
    PareVerifyOptions o = {.reference = in_root("intent.f32"),
                           .candidate = in_root("broken.f32"),
                           .data = in_root("data"),
                           .limit = 4};
    PareVerifyReport r;
    PareError err;
    PareBuffer json = {0};
    ok(pare_verify_run(&o, &r, &err), &err);
    assert_int_equal(r.drift.broken, 4);
    assert_int_equal(r.drift.broken_rows, 4);
    assert_int_equal(r.candidate.correct, 0);
    assert_true(r.reference.correct > 0);
    assert_int_equal(r.same_outputs, 0);
    assert_int_equal(pare_verify_check(&o, &r, &err), PARE_E_LIMIT);
    assert_non_null(strstr(err.message, "4 logits in 4 rows are NaN or infinite"));
    pare_verify_write_json(&o, &r, &json);
    assert_non_null(strstr(json.data, "\"cosine\":null,\"kl\":null"));
    pare_buffer_free(&json);
    /* The other way round it is the reference that cannot be used: nothing to hold against. */
    r = verify((PareVerifyOptions){.limit = 4}, "broken.f32", "intent.f32");
    assert_int_equal(r.drift.undefined, 4);
    assert_int_equal(r.drift.broken, 0);
    assert_int_equal(r.reference.correct, 0);
    assert_true(r.candidate.correct > 0);
}

/* -- translation -- */

/* One row by one model: logits and likelihood of the target, and its own text. Returns how many ids
 * the target has. */
static size_t translate_plain(Plain *p, const PareDataRow *row, Logits *logits, double *nll,
                              PareBuffer *text) {
    PareIds source = {0}, target = {0}, decoder = {0};
    PareGenerated out;
    PareGeneration g = *pare_model_generation(p->model);
    PareError err;
    double part;
    ok(pare_tokenizer_encode(p->tokenizer, PARE_SIDE_SOURCE, row->text, row->text_size, true,
                             &source, &err),
       &err);
    ok(pare_tokenizer_encode(p->tokenizer, PARE_SIDE_TARGET, row->target, row->target_size, true,
                             &target, &err),
       &err);
    assert_true(pare_ids_push(&decoder, g.decoder_start));
    for (size_t i = 0; i + 1 < target.count; i++)
        assert_true(pare_ids_push(&decoder, target.data[i]));
    PareSequence q = {.ids = source.data,
                      .count = source.count,
                      .decoder_ids = decoder.data,
                      .decoder_count = decoder.count};
    run_plain(p, q, logits);
    ok(pare_session_nll(p->session, &q, 1, target.data, &part, &err), &err);
    *nll += part;
    g.num_beams = 2;
    g.max_length = 20;
    ok(pare_session_generate(p->session, &q, 1, &g, &out, &err), &err);
    ok(pare_tokenizer_decode(p->tokenizer, PARE_SIDE_TARGET, out.ids, out.count, true, text, &err),
       &err);
    size_t count = target.count;
    pare_ids_free(&source);
    pare_ids_free(&target);
    pare_ids_free(&decoder);
    return count;
}

static void test_translation(void **state) {
    (void)state;
    enum { ROWS = 7 };
    /* Texts of its kind, and one where two beams find what a greedy search does not. */
    data_file("12 March 2021\tthe twelfth of March twenty twenty-one\n"
              "1/2 3/4 99999999999\tone half and three million nine hundred thousand\n"
              "16654\tsixteen thousand six hundred fifty-four\n"
              "$4.50\tfour dollars and fifty cents\n"
              "hello world\tfrom the first of August\n"
              "907\tnine hundred and seven\n"
              "41\t\n"
              "42\tforty-two\n");
    PareVerifyOptions o = {.batch_size = 5, .limit = ROWS, .max_length = 20};
    PareVerifyReport greedy = verify(o, "words.f32", "words.f32");
    o.num_beams = 2;
    PareVerifyReport r = verify(o, "words.f32", "words.int8");
    assert_true(greedy.reference.value[PARE_METRIC_BLEU] != r.reference.value[PARE_METRIC_BLEU]);
    Plain p[2] = {open_plain("words.f32"), open_plain("words.int8")};
    Logits logits[2] = {{0}};
    PareBleuStats *bleu[2] = {pare_bleu_create(), pare_bleu_create()};
    double nll[2] = {0};
    uint64_t predicted = 0, same = 0;
    PareDataset *d;
    const PareDataRow *row;
    PareError err;
    ok(pare_dataset_open(in_root("data"), NULL, &d, &err), &err);
    for (int n = 0; n < ROWS && !pare_dataset_next(d, &row, &err) && row; n++) {
        PareBuffer texts[2] = {{0}};
        for (int m = 0; m < 2; m++) {
            size_t count = translate_plain(&p[m], row, &logits[m], &nll[m], &texts[m]);
            ok(pare_bleu_add(bleu[m], texts[m].data ? texts[m].data : "", row->target, &err), &err);
            predicted += m == 0 ? count : 0;
        }
        same += texts[0].size == texts[1].size &&
                memcmp(texts[0].data, texts[1].data, texts[0].size) == 0;
        pare_buffer_free(&texts[0]);
        pare_buffer_free(&texts[1]);
    }
    pare_dataset_close(d);
    assert_int_equal(r.task, PARE_TASK_TRANSLATION);
    assert_int_equal(r.rows, ROWS);
    assert_int_equal(r.reference.predicted, predicted);
    assert_int_equal(r.same_outputs, same);
    assert_drift(&r.drift, &logits[0], &logits[1]);
    const PareVerifyScores *scores[2] = {&r.reference, &r.candidate};
    for (int m = 0; m < 2; m++) {
        assert_near(scores[m]->value[PARE_METRIC_BLEU], pare_bleu_score(bleu[m]).score);
        assert_near(scores[m]->value[PARE_METRIC_PERPLEXITY], exp(nll[m] / (double)predicted));
        pare_bleu_destroy(bleu[m]);
        pare_free(logits[m].values);
        close_plain(&p[m]);
    }
    assert_true(r.reference.value[PARE_METRIC_BLEU] > 50);
}

/* -- language models -- */

static const char lm_text[] =
    "A line of text.\n\n  blanks around \nand more, to fill a few windows: "
    "0123456789 0123456789 0123456789 0123456789 0123456789\nlast\n";

static void check_lm(size_t window, size_t batch) {
    size_t size = sizeof lm_text - 1;
    data_file(lm_text);
    PareVerifyReport r =
        verify((PareVerifyOptions){.window = window, .batch_size = batch}, "lm.f32", "lm.int8");
    Plain p[2] = {open_plain("lm.f32"), open_plain("lm.int8")};
    Logits logits[2] = {{0}};
    double nll[2] = {0};
    uint64_t predicted = 0;
    if (!window)
        window = 64;
    for (size_t at = 0; at < size; at += window) {
        int32_t ids[64];
        size_t n = size - at < window ? size - at : window;
        for (size_t i = 0; i < n; i++) {
            char c = lm_text[at + i];
            ids[i] = c == ' ' ? 94 : c == '\n' ? 95 : c - 33;
        }
        predicted += n - 1;
        for (int m = 0; m < 2 && n > 1; m++) {
            size_t first = logits[m].rows;
            run_plain(&p[m], (PareSequence){.ids = ids, .count = n}, &logits[m]);
            logits[m].rows--; /* what follows the last id is unknown */
            for (size_t i = 0; i + 1 < n; i++)
                nll[m] -=
                    log_probability(logits[m].values + (first + i) * 96, 96, (size_t)ids[i + 1]);
        }
    }
    assert_int_equal(r.task, PARE_TASK_LM);
    assert_int_equal(r.rows, 5);
    assert_int_equal(r.reference.tokens, size);
    assert_int_equal(r.reference.predicted, predicted);
    assert_drift(&r.drift, &logits[0], &logits[1]);
    assert_near(r.reference.value[PARE_METRIC_PERPLEXITY], exp(nll[0] / (double)predicted));
    assert_near(r.candidate.value[PARE_METRIC_PERPLEXITY], exp(nll[1] / (double)predicted));
    for (int m = 0; m < 2; m++) {
        pare_free(logits[m].values);
        close_plain(&p[m]);
    }
}

static void test_lm(void **state) {
    (void)state;
    check_lm(0, 0);
    check_lm(0, 1);
    check_lm(16, 3);
    check_lm(7, 2);
    check_lm(sizeof lm_text - 2 > 64 ? 63 : 2, 1);
    check_lm(2, 4);
}

/* The same tokens under other ids: each model reads its own, and nothing else changes. */
static void test_other_ids(void **state) {
    (void)state;
    data_file(lm_text);
    PareVerifyReport same = verify((PareVerifyOptions){.window = 9}, "lm.f32", "lm.f32");
    PareVerifyReport r = verify((PareVerifyOptions){.window = 9}, "lm.f32", "shifted.f32");
    assert_true(r.vocabularies.differ && r.vocabularies.shared == 96 && !r.vocabularies.recut);
    assert_near(r.reference.value[PARE_METRIC_PERPLEXITY], same.reference.perplexity);
    assert_near(r.reference.perplexity, same.reference.perplexity);
    assert_true(r.candidate.perplexity != same.reference.perplexity && r.drift.max_abs > 0);
    assert_int_equal(r.drift.values, r.drift.rows * 96);
}

/* -- refusals -- */

static void assert_refused(PareVerifyOptions o, const char *reference, const char *candidate,
                           PareStatus code, const char *message) {
    PareVerifyReport r;
    PareError err = {0};
    o.reference = in_root(reference);
    o.candidate = in_root(candidate);
    o.data = in_root("data");
    PareStatus status = pare_verify_run(&o, &r, &err);
    if (status != code || !strstr(err.message, message))
        fail_msg("status %d, \"%s\"; expected %d, \"%s\"", (int)status, err.message, (int)code,
                 message);
}

static void test_models_refused(void **state) {
    (void)state;
    PareVerifyOptions o = {0};
    data_file("turn it off\t1\n");
    assert_refused(o, "intent.f32", "words.f32", PARE_E_UNSUPPORTED,
                   "cannot be compared: the head");
    assert_refused(o, "words.f32", "lm.f32", PARE_E_UNSUPPORTED, "the encoder of");
    assert_refused(o, "intent.f32", "none.f32", PARE_E_IO, "none.f32");
    o.task = PARE_TASK_LM;
    assert_refused(o, "intent.f32", "intent.f32", PARE_E_USAGE, "--task is lm, but");
    o = (PareVerifyOptions){.window = 5};
    assert_refused(o, "intent.f32", "intent.f32", PARE_E_USAGE, "--window is for the task lm");
    o = (PareVerifyOptions){.num_beams = 5};
    assert_refused(o, "intent.f32", "intent.f32", PARE_E_USAGE, "for the task translation");
    o = (PareVerifyOptions){.limits = {.set = {[PARE_METRIC_BLEU] = true}}};
    assert_refused(o, "intent.f32", "intent.f32", PARE_E_USAGE, "--max-drop bleu: the task");
    o = (PareVerifyOptions){.window = 65};
    assert_refused(o, "lm.f32", "lm.int8", PARE_E_USAGE, "--window is 65; the models have");
    o = (PareVerifyOptions){.columns = "text"};
    assert_refused(o, "lm.f32", "lm.int8", PARE_E_USAGE, "reads plain text, not columns");
}

/* Same shapes, other labels. */
static void test_other_labels_refused(void **state) {
    (void)state;
    char *config;
    size_t size;
    PareError err;
    copy_classifier("other");
    ok(pare_file_read("samples/command-intent/config.json", 1 << 20, &config, &size, &err), &err);
    Plain p = open_plain("intent.f32");
    char *name = strstr(config, pare_model_label(p.model, 3));
    assert_non_null(name);
    char *copy = pare_strdup(pare_model_label(p.model, 3));
    for (; (name = strstr(config, copy)); name++)
        *name = '#';
    write_file(in_root("other/config.json"), config, size);
    convert(in_root("other"), false, in_root("other.f32"));
    data_file("turn it off\t1\n");
    assert_refused((PareVerifyOptions){0}, "intent.f32", "other.f32", PARE_E_UNSUPPORTED,
                   "cannot be compared: a label");
    pare_free(copy);
    pare_free(config);
    close_plain(&p);
}

static void test_data_refused(void **state) {
    (void)state;
    PareVerifyOptions o = {0};
    data_file("");
    assert_refused(o, "intent.f32", "intent.f32", PARE_E_FORMAT, "there are no rows");
    assert_refused(o, "words.f32", "words.f32", PARE_E_FORMAT, "there are no rows");
    assert_refused(o, "lm.f32", "lm.f32", PARE_E_FORMAT, "there is no text to predict");
    data_file("turn it off\t1\nturn it on\t10\n");
    assert_refused(o, "intent.f32", "intent.f32", PARE_E_FORMAT, "line 2: the label is \"10\"");
    data_file("turn it off\tup and away\n");
    assert_refused(o, "intent.f32", "intent.f32", PARE_E_FORMAT, "line 1: there is no label");
    data_file("turn it off\t1.5\n");
    o.columns = "text,label";
    assert_refused(o, "intent.f32", "intent.f32", PARE_E_FORMAT, "the label is \"1.5\"");
    o.columns = NULL;
    data_file("12\n");
    assert_refused(o, "words.f32", "words.f32", PARE_E_FORMAT, "line 1: there is no target");
    data_file("{\"input_ids\": [2, 999999, 3], \"label\": 1}\n");
    assert_refused(o, "intent.f32", "intent.f32", PARE_E_FORMAT, "line 1: token id 999999");
}

static void test_long_texts(void **state) {
    (void)state;
    PareBuffer text = {0};
    for (int i = 0; i < 400; i++)
        pare_buffer_puts(&text, "turn it off ");
    pare_buffer_puts(&text, "\t1\nturn it off\t1\n");
    write_file(in_root("data"), text.data, text.size);
    assert_refused((PareVerifyOptions){0}, "intent.f32", "intent.f32", PARE_E_FORMAT,
                   "line 1: 1202 tokens");
    PareVerifyReport r = verify((PareVerifyOptions){.truncate = true}, "intent.f32", "intent.f32");
    assert_int_equal(r.rows, 2);
    assert_int_equal(r.cut, 1);
    pare_buffer_free(&text);
}

/* -- the report -- */

static const PareJson *member(const PareJson *object, const char *key) {
    const PareJson *n = pare_json_get(object, key);
    if (!n)
        fail_msg("no member \"%s\"", key);
    return n;
}

static void test_json(void **state) {
    (void)state;
    write_sample("samples/number-words/sample.json", "source", "target");
    PareVerifyOptions o = {.reference = in_root("words.bf16"),
                           .candidate = in_root("words.int8"),
                           .data = in_root("data"),
                           .limit = 3};
    PareVerifyReport r;
    PareError err;
    PareBuffer text = {0};
    PareJsonDoc *doc;
    assert_int_equal(pare_verify_limit_parse("bleu=0.5", &o.limits, &err), PARE_OK);
    ok(pare_verify_run(&o, &r, &err), &err);
    pare_verify_write_json(&o, &r, &text);
    ok(pare_buffer_ok(&text, "json", &err), &err);
    ok(pare_json_parse(text.data, text.size, "report", &doc, &err), &err);
    const PareJson *j = pare_json_root(doc), *c = member(j, "candidate"), *d = member(j, "drift");
    assert_string_equal(pare_json_string(member(j, "task")), "translation");
    assert_int_equal(pare_json_integer(member(j, "rows")), 3);
    assert_string_equal(pare_json_string(member(c, "file")), "words.int8");
    assert_near(pare_json_number(member(c, "bleu")), r.candidate.value[PARE_METRIC_BLEU]);
    assert_near(pare_json_number(member(c, "perplexity")),
                r.candidate.value[PARE_METRIC_PERPLEXITY]);
    assert_null(pare_json_get(c, "accuracy"));
    static const char *const keys[] = {"max_abs",        "mean_abs", "relative_l2", "cosine", "kl",
                                       "top1_agreement", "rows",     "values",      "broken"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_true(pare_json_is_number(member(d, keys[i])));
    assert_near(pare_json_number(member(d, "kl")), r.drift.kl);
    const PareJson *limit = member(member(j, "limits"), "bleu");
    assert_true(pare_json_number(member(limit, "limit")) == 0.5);
    assert_true(pare_json_is_bool(member(limit, "met")));
    pare_json_free(doc);
    pare_buffer_free(&text);
}

static void assert_no_memory(const char *reference, const char *candidate) {
    PareVerifyOptions o = {in_root(reference), in_root(candidate), in_root("data"), .threads = 1};
    for (uint64_t n = 1;; n += getenv("PARE_TEST_LONG") ? 1 : 17) {
        PareVerifyReport r;
        PareError err = {0};
        pare_memory_fail_after(n);
        PareStatus status = pare_verify_run(&o, &r, &err);
        pare_memory_fail_after(0);
        if (status == PARE_OK && n > 20)
            return;
        if (status != PARE_E_MEMORY)
            fail_msg("allocation %d: status %d, %s", (int)n, (int)status, err.message);
    }
}

static void test_no_memory(void **state) {
    (void)state;
    data_file("turn it off\t1\nplay a song\t2\n");
    assert_no_memory("intent.bf16", "intent.int8");
    assert_no_memory("lm.f32", "shifted.f32");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_classification),
        cmocka_unit_test(test_label_names),
        cmocka_unit_test(test_same_model),
        cmocka_unit_test(test_batches_and_threads),
        cmocka_unit_test(test_broken_candidate),
        cmocka_unit_test(test_translation),
        cmocka_unit_test(test_lm),
        cmocka_unit_test(test_other_ids),
        cmocka_unit_test(test_models_refused),
        cmocka_unit_test(test_other_labels_refused),
        cmocka_unit_test(test_data_refused),
        cmocka_unit_test(test_long_texts),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
