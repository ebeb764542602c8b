/* Export: what is written converts back to the same tensors and the same description; what pruning
 * made uneven is refused, said in config.json, or filled up so that the results stay. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>

#include "core/json.h"
#include "core/random.h"
#include "runtime/session.h"
#include "tests/test_export_common.h"

/* Unscaled scores of random weights make these goldens' attention nearly discrete: they magnify
 * what rounding does, which is not the export's. */
#define MAGNIFIED 1e-5

enum { COUNT = 4, LENGTH = 12, VALUES_MAX = 1 << 16 };

static const char *const GOLDENS[] = {
    "bert-cls", "bert-mlm",  "bert-model", "bert-qa",   "bert-token-cls", "gpt2-lm",
    "bart",     "marian",    "t5",         "t5-v1_1",   "v5-bart",        "v5-bert-cls",
    "v5-t5",    "v5-marian", "v5-gpt2-lm", "v5-t5-v1_1"};

/* ---- Comparing models ---- */

static void compare_tensors(const PareModel *a, const PareModel *b) {
    const PareFile *f = pare_model_file(a), *g = pare_model_file(b);
    assert_int_equal(pare_file_count(f), pare_file_count(g));
    for (size_t i = 0; i < pare_file_count(f); i++) {
        const PareFileTensor *s = pare_file_tensor(f, i), *t = pare_file_tensor(g, i);
        assert_string_equal(s->name, t->name);
        assert_int_equal(s->dims, t->dims);
        assert_memory_equal(s->shape, t->shape, sizeof s->shape);
        assert_int_equal(s->dtype, t->dtype);
        assert_int_equal(s->bytes, t->bytes);
        if (memcmp(s->data, t->data, (size_t)s->bytes) != 0)
            fail_msg("%s differs", s->name);
        assert_int_equal(s->alias_of != NULL, t->alias_of != NULL);
        if (s->alias_of)
            assert_string_equal(s->alias_of, t->alias_of);
    }
}

static void compare_member(const PareModel *a, const PareModel *b, const char *key) {
    char *x = pare_json_print(pare_json_get(pare_model_metadata(a), key));
    char *y = pare_json_print(pare_json_get(pare_model_metadata(b), key));
    assert_string_equal(x, y);
    pare_free(x);
    pare_free(y);
}

static void compare_config(const PareModel *a, const PareModel *b, const char *key) {
    const PareJson *s = pare_json_get(pare_json_get(pare_model_metadata(a), "source"), key);
    const PareJson *t = pare_json_get(pare_json_get(pare_model_metadata(b), "source"), key);
    assert_int_equal(s != NULL, t != NULL);
    char *x = s ? pare_json_print(s) : NULL, *y = t ? pare_json_print(t) : NULL;
    if (s)
        assert_string_equal(x, y);
    pare_free(x);
    pare_free(y);
}

static void compare_models(const char *a, const char *b) {
    PareModel *m = open_model(a), *n = open_model(b);
    compare_tensors(m, n);
    compare_member(m, n, "description");
    compare_member(m, n, "generation");
    compare_member(m, n, "labels");
    compare_config(m, n, "config");
    compare_config(m, n, "generation_config");
    pare_model_close(m);
    pare_model_close(n);
}

/* ---- Round trips ---- */

static const PareSaveFormat FORMATS[] = {PARE_SAVE_SAFETENSORS, PARE_SAVE_PYTORCH, PARE_SAVE_HDF5};
enum { FORMAT_COUNT = sizeof FORMATS / sizeof *FORMATS };

static void test_round_trips(void **state) {
    (void)state;
    const char *first = path_of("a.pare"), *second = path_of("b.pare"), *folder = path_of("dir");
    for (size_t i = 0; i < sizeof GOLDENS / sizeof *GOLDENS; i++) {
        convert_golden(GOLDENS[i], first);
        for (size_t k = 0; k < FORMAT_COUNT; k++) {
            print_message("  %s, format %zu\n", GOLDENS[i], k);
            export_to((PareExportOptions){.model = first, .folder = folder, .format = FORMATS[k]});
            convert(folder, false, second);
            compare_models(first, second);
        }
    }
}

static void compare_tokenizer(const PareModel *a, const PareModel *b) {
    const void *x, *y;
    size_t n, m;
    assert_true(pare_file_section(pare_model_file(a), PARE_SECTION_TOKENIZER, &x, &n));
    assert_true(pare_file_section(pare_model_file(b), PARE_SECTION_TOKENIZER, &y, &m));
    assert_int_equal(n, m);
    assert_memory_equal(x, y, n);
}

static void test_samples(void **state) {
    (void)state;
    static const char *const SAMPLES[] = {"samples/command-intent", "samples/number-words"};
    const char *first = path_of("a.pare"), *second = path_of("b.pare"), *folder = path_of("dir");
    for (size_t i = 0; i < 2; i++) {
        convert(SAMPLES[i], true, first);
        for (size_t k = 0; k < FORMAT_COUNT; k++) {
            export_to((PareExportOptions){.model = first, .folder = folder, .format = FORMATS[k]});
            convert(folder, true, second);
            compare_models(first, second);
            PareModel *m = open_model(first), *n = open_model(second);
            compare_tokenizer(m, n);
            pare_model_close(m);
            pare_model_close(n);
        }
    }
}

/* ---- Results ---- */

typedef struct {
    float values[VALUES_MAX];
    size_t count;
} Results;

static PareStatus keep_row(void *context, size_t sequence, size_t row, const float *values,
                           size_t n, PareError *err) {
    Results *r = context;
    (void)sequence, (void)row, (void)err;
    assert_true(r->count + n <= VALUES_MAX);
    memcpy(r->values + r->count, values, n * sizeof *values);
    r->count += n;
    return PARE_OK;
}

static void run(const char *path, Results *r) {
    PareError err = {0};
    PareSession *s;
    int32_t ids[COUNT][LENGTH];
    PareSequence q[COUNT];
    PareModel *m = open_model(path);
    const PareDescription *d = pare_model_description(m);
    bool both = d->stacks[PARE_ENCODER].present && d->stacks[PARE_DECODER].present;
    r->count = 0;
    ok(pare_session_create(m, 1, &s, &err), &err);
    for (size_t i = 0; i < COUNT; i++) {
        for (size_t k = 0; k < LENGTH; k++)
            ids[i][k] = (int32_t)pare_random_below(3, i, k, 90);
        q[i] = (PareSequence){.ids = ids[i], .count = 2 + 3 * i};
        if (both) {
            q[i].decoder_ids = ids[COUNT - 1 - i];
            q[i].decoder_count = 3 + i;
        }
    }
    ok(pare_session_run(s, q, COUNT, PARE_ROWS_LOGITS, keep_row, r, &err), &err);
    pare_session_destroy(s);
    pare_model_close(m);
}

/* Both models compute the same, within `limit` of the largest result (1 at least). */
static void compare_results(const char *a, const char *b, double limit) {
    static Results x, y;
    double worst = 0, most = 1;
    run(a, &x);
    run(b, &y);
    assert_int_equal(x.count, y.count);
    for (size_t i = 0; i < x.count; i++) {
        double d = fabs((double)x.values[i] - (double)y.values[i]);
        worst = d > worst || isnan(d) ? d : worst;
        most = fmax(most, fabs((double)x.values[i]));
    }
    print_message("    worst %.1e of %.1e, %zu values\n", worst, most, x.count);
    assert_true(worst <= limit * most);
}

/* ---- Pruned models ---- */

static void keep_first(PareSlice *s, int stack, uint32_t layer, uint32_t heads, uint32_t ffn) {
    PareLayerShape *l = &s->to.stacks[stack].layers[layer];
    l->self.heads = l->self.kv_heads = heads;
    l->ffn = ffn;
}

/* Ragged heads where the framework can say so: the shapes are those that it will make, and the
 * model is the same one. */
static void test_pruned_heads(void **state) {
    (void)state;
    const char *whole = path_of("a.pare"), *pruned = path_of("p.pare"), *again = path_of("b.pare");
    const char *folder = path_of("dir");
    static const char *const NAMES[] = {"bert-cls", "gpt2-lm"};
    for (size_t i = 0; i < 2; i++) {
        int stack = i == 0 ? PARE_ENCODER : PARE_DECODER;
        convert_golden(NAMES[i], whole);
        PareSlice s = pare_slice_begin(whole);
        keep_first(&s, stack, 0, 3, s.to.stacks[stack].layers[0].ffn);
        keep_first(&s, stack, 2, 1, s.to.stacks[stack].layers[2].ffn);
        s.first_head[stack][0] = 1; /* head 0 goes, 1 to 3 stay */
        s.first_head[stack][2] = 2;
        pare_slice_write(&s, pruned);
        export_to((PareExportOptions){.model = pruned, .folder = folder});
        assert_string_equal(json_member(folder, "pruned_heads"), "{\"0\":[3],\"2\":[1,2,3]}");
        assert_string_equal(json_member(folder, i ? "n_head" : "num_attention_heads"), "4");
        convert(folder, false, again);
        PareModel *m = open_model(pruned), *n = open_model(again);
        compare_tensors(m, n);
        compare_member(m, n, "description");
        pare_model_close(m);
        pare_model_close(n);
        compare_results(pruned, again, 0);
        /* and once more: the settings now list heads already */
        export_to((PareExportOptions){.model = again, .folder = folder});
        assert_string_equal(json_member(folder, "pruned_heads"), "{\"0\":[3],\"2\":[1,2,3]}");
        export_to((PareExportOptions){.model = again, .folder = folder, .pad_pruned = true});
        assert_string_equal(json_member(folder, "pruned_heads"), "{}");
        convert(folder, false, again);
        compare_results(pruned, again, 1e-6);
    }
}

/* Kernels of halves add products one after the other, and adding zeros is exact: not a bit may
 * differ. In F32 the BLAS may add in another order, which `limit` allows for. */
static void pad_and_compare(const char *pruned, const char *folder, double limit,
                            const char *part) {
    const char *again = path_of("b.pare"), *half = path_of("half.pare");
    const char *half_again = path_of("half-b.pare");
    quantize(pruned, half, PARE_F16);
    refused((PareExportOptions){.model = pruned, .folder = path_of("nothing")}, part);
    refused((PareExportOptions){.model = pruned, .folder = path_of("nothing")}, "--pad-pruned");
    for (size_t k = 0; k < 2; k++) {
        export_to((PareExportOptions){
            .model = pruned, .folder = folder, .format = FORMATS[k], .pad_pruned = true});
        convert(folder, false, again);
        compare_results(pruned, again, limit);
        quantize(again, half_again, PARE_F16);
        compare_results(half, half_again, 0);
    }
}

static void test_padded_encoder(void **state) {
    (void)state;
    const char *whole = path_of("a.pare"), *pruned = path_of("p.pare"), *folder = path_of("dir");
    convert_golden("bert-cls", whole);
    PareSlice s = pare_slice_begin(whole);
    keep_first(&s, PARE_ENCODER, 0, 4, 48);
    keep_first(&s, PARE_ENCODER, 1, 2, 17);
    s.first_head[PARE_ENCODER][1] = 2;
    s.first_unit[PARE_ENCODER][1] = 30;
    pare_slice_write(&s, pruned);
    pad_and_compare(pruned, folder, 1e-6, "encoder layer 1 has 17 of 64 feed-forward units");
    assert_string_equal(json_member(folder, "intermediate_size"), "64");

    /* evenly pruned: no zeros are needed, a smaller number says it */
    s = pare_slice_begin(whole);
    for (uint32_t l = 0; l < 3; l++)
        keep_first(&s, PARE_ENCODER, l, 4, 40);
    pare_slice_write(&s, pruned);
    export_to((PareExportOptions){.model = pruned, .folder = folder});
    assert_string_equal(json_member(folder, "intermediate_size"), "40");
    convert(folder, false, whole);
    compare_results(pruned, whole, 0);

    convert_golden("bert-cls", whole);
    s = pare_slice_begin(whole);
    keep_first(&s, PARE_ENCODER, 1, 4, 0);
    pare_slice_write(&s, pruned);
    refused((PareExportOptions){.model = pruned, .folder = path_of("nothing"), .pad_pruned = true},
            "together with the norm");
}

static void test_padded_decoder(void **state) {
    (void)state;
    const char *whole = path_of("a.pare"), *pruned = path_of("p.pare"), *folder = path_of("dir");
    convert_golden("gpt2-lm", whole);
    PareSlice s = pare_slice_begin(whole);
    keep_first(&s, PARE_DECODER, 0, 0, 128); /* whole sublayers are gone */
    keep_first(&s, PARE_DECODER, 1, 3, 0);
    keep_first(&s, PARE_DECODER, 2, 2, 100);
    s.first_head[PARE_DECODER][1] = 1;
    pare_slice_write(&s, pruned);
    pad_and_compare(pruned, folder, 1e-6, "decoder layer 0 has 0 of 4 heads");
}

static void test_padded_both(void **state) {
    (void)state;
    const char *whole = path_of("a.pare"), *pruned = path_of("p.pare"), *folder = path_of("dir");
    static const struct {
        const char *name;
        double limit;
    } CASES[] = {{"bart", 1e-6}, {"marian", 1e-6}, {"t5-v1_1", MAGNIFIED}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        print_message("  %s\n", CASES[i].name);
        convert_golden(CASES[i].name, whole);
        PareSlice s = pare_slice_begin(whole);
        keep_first(&s, PARE_ENCODER, 1, 2, 50);
        s.first_head[PARE_ENCODER][1] = 1;
        keep_first(&s, PARE_DECODER, 0, 3, 64);
        keep_first(&s, PARE_DECODER, 1, 3, 63);
        s.first_head[PARE_DECODER][1] = 1;
        s.to.stacks[PARE_DECODER].layers[1].cross.heads = 1;
        s.to.stacks[PARE_DECODER].layers[1].cross.kv_heads = 1;
        pare_slice_write(&s, pruned);
        pad_and_compare(pruned, folder, CASES[i].limit, "decoder layer 1 has 1 of 4 cross heads");
    }
}

/* Every layer has as many heads, but not the same ones: their columns of the one table differ. */
static void test_relative_biases(void **state) {
    (void)state;
    const char *whole = path_of("a.pare"), *pruned = path_of("p.pare"), *folder = path_of("dir");
    const char *again = path_of("b.pare");
    convert_golden("t5", whole);
    PareSlice s = pare_slice_begin(whole);
    for (int stack = 0; stack < PARE_STACKS; stack++)
        for (uint32_t l = 0; l < s.to.stacks[stack].layer_count; l++) {
            PareLayerShape *k = &s.to.stacks[stack].layers[l];
            k->self.heads = k->self.kv_heads = 2;
            if (stack == PARE_DECODER)
                k->cross.heads = k->cross.kv_heads = 2;
            s.first_head[stack][l] = l; /* 0 and 1, 1 and 2, 2 and 3 */
        }
    pare_slice_write(&s, pruned);
    pad_and_compare(pruned, folder, MAGNIFIED, "decoder layer 0 has 2 of 4 heads");

    /* the same heads everywhere: the framework is told a smaller number */
    s = pare_slice_begin(whole);
    for (int stack = 0; stack < PARE_STACKS; stack++)
        for (uint32_t l = 0; l < s.to.stacks[stack].layer_count; l++) {
            PareLayerShape *k = &s.to.stacks[stack].layers[l];
            k->self.heads = k->self.kv_heads = 3;
            if (stack == PARE_DECODER)
                k->cross.heads = k->cross.kv_heads = 3;
            s.first_head[stack][l] = 1;
        }
    pare_slice_write(&s, pruned);
    export_to((PareExportOptions){.model = pruned, .folder = folder});
    assert_string_equal(json_member(folder, "num_heads"), "3");
    convert(folder, false, again);
    compare_results(pruned, again, 0);
}

static void assert_count(const char *folder, const char *key, uint32_t count) {
    char text[16];
    snprintf(text, sizeof text, "%u", count);
    assert_string_equal(json_member(folder, key), text);
}

static void test_fewer_layers(void **state) {
    (void)state;
    const char *whole = path_of("a.pare"), *pruned = path_of("p.pare"), *folder = path_of("dir");
    const char *again = path_of("b.pare");
    static const struct {
        const char *name, *encoder, *decoder;
    } CASES[] = {{"bert-cls", "num_hidden_layers", NULL},
                 {"gpt2-lm", NULL, "n_layer"},
                 {"marian", "encoder_layers", "decoder_layers"},
                 {"t5", "num_layers", "num_decoder_layers"}};
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        convert_golden(CASES[i].name, whole);
        PareSlice s = pare_slice_begin(whole);
        for (int stack = 0; stack < PARE_STACKS; stack++)
            if (s.to.stacks[stack].present) {
                s.to.stacks[stack].layer_count--;
                s.first_layer[stack] = 1; /* the first one goes */
            }
        pare_slice_write(&s, pruned);
        export_to((PareExportOptions){.model = pruned, .folder = folder});
        if (CASES[i].encoder)
            assert_count(folder, CASES[i].encoder, s.to.stacks[PARE_ENCODER].layer_count);
        if (CASES[i].decoder)
            assert_count(folder, CASES[i].decoder, s.to.stacks[PARE_DECODER].layer_count);
        convert(folder, false, again);
        compare_results(pruned, again, 0);
    }
}

/* A narrower network with fewer words and positions: every number of the settings follows. */
static void test_narrower(void **state) {
    (void)state;
    const char *whole = path_of("a.pare"), *pruned = path_of("p.pare"), *folder = path_of("dir");
    const char *again = path_of("b.pare");
    convert_golden("bert-cls", whole);
    PareSlice s = pare_slice_begin(whole);
    PareStack *k = &s.to.stacks[PARE_ENCODER];
    k->width = k->embedding_width = 24;
    k->vocabulary = 90;
    k->positions = 20;
    k->types = 1;
    for (uint32_t l = 0; l < 3; l++)
        keep_first(&s, PARE_ENCODER, l, 3, 64);
    pare_slice_write(&s, pruned);
    export_to((PareExportOptions){.model = pruned, .folder = folder});
    assert_string_equal(json_member(folder, "hidden_size"), "24");
    assert_string_equal(json_member(folder, "vocab_size"), "90");
    assert_string_equal(json_member(folder, "num_attention_heads"), "3");
    assert_string_equal(json_member(folder, "max_position_embeddings"), "20");
    assert_string_equal(json_member(folder, "type_vocab_size"), "1");
    assert_string_equal(json_member(folder, "pad_token_id"), "0");
    convert(folder, false, again);
    compare_results(pruned, again, 0);

    convert_golden("marian", whole); /* its padding and its start are id 95 */
    s = pare_slice_begin(whole);
    s.to.stacks[PARE_ENCODER].vocabulary = s.to.stacks[PARE_DECODER].vocabulary = 90;
    s.replace = "\"pad_token_id\":95,\"decoder_start_token_id\":95";
    s.replacement = "\"pad_token_id\":89,\"decoder_start_token_id\":89";
    pare_slice_write(&s, pruned);
    export_to((PareExportOptions){.model = pruned, .folder = folder});
    assert_string_equal(json_member(folder, "vocab_size"), "90");
    assert_string_equal(json_member(folder, "decoder_vocab_size"), "90");
    assert_string_equal(json_member(folder, "pad_token_id"), "89");
    assert_string_equal(json_member(folder, "eos_token_id"), "0");
    convert(folder, false, again);
    PareModel *m = open_model(pruned), *n = open_model(again);
    compare_member(m, n, "generation");
    compare_member(m, n, "description");
    pare_model_close(m);
    pare_model_close(n);
    compare_results(pruned, again, 0);
}

static void test_shared_keys(void **state) {
    (void)state;
    const char *whole = path_of("a.pare"), *pruned = path_of("p.pare"), *folder = path_of("dir");
    const char *again = path_of("b.pare");
    PareBuffer notices = {0};
    PareError err = {0};
    convert_golden("gpt2-lm", whole);
    PareSlice s = pare_slice_begin(whole);
    for (uint32_t l = 0; l < 3; l++)
        s.to.stacks[PARE_DECODER].layers[l].self.kv_heads = l == 1 ? 1 : 2;
    pare_slice_write(&s, pruned);
    ok(try_export((PareExportOptions){.model = pruned, .folder = folder}, &notices, &err), &err);
    assert_non_null(strstr(notices.data, "repeated for each head"));
    pare_buffer_free(&notices);
    convert(folder, false, again);
    compare_results(pruned, again, 1e-6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trips),     cmocka_unit_test(test_samples),
        cmocka_unit_test(test_pruned_heads),    cmocka_unit_test(test_padded_encoder),
        cmocka_unit_test(test_padded_decoder),  cmocka_unit_test(test_padded_both),
        cmocka_unit_test(test_relative_biases), cmocka_unit_test(test_fewer_layers),
        cmocka_unit_test(test_narrower),        cmocka_unit_test(test_shared_keys)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
