/* Students: which layers of a teacher they take, that they get those tensors and no others, and
 * what cannot be trained; and checkpoints of a training run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "convert/convert.h"
#include "core/memory.h"
#include "distill/state.h"
#include "distill/student.h"
#include "quantize/quantize.h"

static char path[256], other[256]; /* scratch files */

static void ok(PareStatus st, const PareError *err) {
    if (st)
        fail_msg("%s", err->message);
}

static int make_paths(void **state) {
    const char *tmp = getenv("TMPDIR");
    (void)state;
    snprintf(path, sizeof path, "%s/student-%ld.pare", tmp ? tmp : "/tmp", (long)getpid());
    snprintf(other, sizeof other, "%s/student-%ld-other.pare", tmp ? tmp : "/tmp", (long)getpid());
    return 0;
}

static int remove_files(void **state) {
    (void)state;
    unlink(path);
    unlink(other);
    return 0;
}

/* -- which layers -- */

typedef struct {
    uint32_t of, count;
    const char *layers;
} Choice;

static const char *show(const uint32_t *layers, uint32_t count) {
    static char text[512];
    size_t used = 0;
    text[0] = 0;
    for (uint32_t i = 0; i < count; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, i ? " %u" : "%u", layers[i]);
    return text;
}

static void check_choices(const Choice *cases, size_t count,
                          void (*choose)(uint32_t of, uint32_t count, uint32_t *out)) {
    for (size_t i = 0; i < count; i++) {
        uint32_t layers[32];
        choose(cases[i].of, cases[i].count, layers);
        assert_string_equal(show(layers, cases[i].count), cases[i].layers);
    }
}

static void test_copied_layers(void **state) {
    (void)state;
    static const Choice cases[] = {
        /* of the paper's program */
        {6, 1, "0"},
        {6, 2, "0 5"},
        {6, 3, "0 2 5"},
        {6, 4, "0 1 3 5"},
        {6, 6, "0 1 2 3 4 5"},
        {12, 1, "0"},
        {12, 2, "0 6"},
        {12, 3, "0 6 11"},
        {12, 4, "0 4 8 11"},
        {12, 6, "0 2 4 7 9 11"},
        {12, 9, "0 1 2 4 5 7 9 10 11"},
        {12, 12, "0 1 2 3 4 5 6 7 8 9 10 11"},
        {16, 1, "0"},
        {16, 2, "0 15"},
        {16, 3, "0 8 15"},
        {16, 4, "0 5 10 15"},
        {16, 6, "0 3 6 9 12 15"},
        {16, 8, "0 2 4 6 8 10 12 15"},
        {16, 9, "0 1 3 5 7 9 11 13 15"},
        {16, 12, "0 1 2 3 4 5 6 7 9 11 13 15"},
        /* spread evenly */
        {1, 1, "0"},
        {2, 1, "0"},
        {3, 2, "0 2"},
        {5, 3, "0 2 4"},
        {6, 5, "0 1 3 4 5"},
        {12, 5, "0 3 6 8 11"},
        {24, 4, "0 8 15 23"},
        {24, 12, "0 2 4 6 8 10 13 15 17 19 21 23"},
    };
    check_choices(cases, sizeof cases / sizeof *cases, pare_student_spread);
    for (uint32_t of = 1; of <= 30; of++)
        for (uint32_t count = 1; count <= of; count++) {
            uint32_t layers[30];
            pare_student_spread(of, count, layers);
            assert_int_equal(layers[0], 0);
            assert_true(layers[count - 1] < of);
            for (uint32_t i = 1; i < count; i++)
                assert_true(layers[i] > layers[i - 1]);
        }
}

static void test_supervising_layers(void **state) {
    (void)state;
    static const Choice cases[] = {
        {6, 1, "5"},
        {6, 2, "3 5"},
        {6, 3, "1 4 5"},
        {6, 4, "1 2 4 5"},
        {12, 1, "11"},
        {12, 2, "5 11"},
        {12, 3, "3 7 11"},
        {12, 6, "1 3 5 8 10 11"},
        {16, 1, "15"},
        {16, 4, "4 9 12 15"},
        {16, 8, "1 3 5 7 9 11 13 15"},
        {16, 16, "0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15"},
        {4, 2, "1 3"},
        {5, 2, "1 4"},
        {24, 3, "7 15 23"},
    };
    check_choices(cases, sizeof cases / sizeof *cases, pare_student_supervisors);
}

/* -- the option -- */

typedef struct {
    uint32_t encoder, decoder; /* the teacher's layers; UINT32_MAX: it has no such stack */
    const char *text, *chosen, *refused;
} Option;

static PareDescription teacher_of(const Option *o) {
    PareDescription d = {.head = {.kind = PARE_HEAD_LM}};
    d.stacks[PARE_ENCODER].present = o->encoder != UINT32_MAX;
    d.stacks[PARE_ENCODER].layer_count = o->encoder != UINT32_MAX ? o->encoder : 0;
    d.stacks[PARE_DECODER].present = o->decoder != UINT32_MAX;
    d.stacks[PARE_DECODER].layer_count = o->decoder != UINT32_MAX ? o->decoder : 0;
    return d;
}

static void check_option(const Option *o) {
    PareError err;
    char chosen[1024];
    PareStudentLayers l;
    PareDescription d = teacher_of(o);
    PareArena *arena = pare_arena_create(0);
    PareStatus st = pare_student_layers_parse(o->text, &d, arena, &l, &err);
    if (o->refused) {
        assert_int_equal(st, PARE_E_USAGE);
        if (!strstr(err.message, o->refused))
            fail_msg("'%s': %s", o->text, err.message);
    } else {
        ok(st, &err);
        const PareLayerChoice *c = l.stacks;
        size_t used = (size_t)snprintf(chosen, sizeof chosen, "%s|",
                                       show(c[PARE_ENCODER].layers, c[PARE_ENCODER].count));
        snprintf(chosen + used, sizeof chosen - used, "%s",
                 show(c[PARE_DECODER].layers, c[PARE_DECODER].count));
        assert_string_equal(chosen, o->chosen);
    }
    pare_arena_destroy(arena);
}

static void test_option(void **state) {
    (void)state;
    static const uint32_t none = UINT32_MAX;
    const Option cases[] = {
        {6, 6, "enc=6,dec=3", "0 1 2 3 4 5|0 2 5", NULL},
        {6, 6, "dec=3", "0 1 2 3 4 5|0 2 5", NULL},
        {3, 6, "dec=0+2+5,enc=2", "0 2|0 2 5", NULL},
        {3, 6, "dec=4+", "0 1 2|4", NULL},
        {3, 2, NULL, "0 1 2|0 1", NULL},
        {12, none, "4", "0 4 8 11|", NULL},
        {12, none, "enc=4", "0 4 8 11|", NULL},
        {none, 4, "1+3", "|1 3", NULL},
        {none, 4, "0+", "|0", NULL},
        {0, 4, "dec=2", "|0 3", NULL},
        {6, 6, "3", NULL, "the model has two stacks; say enc=N,dec=N"},
        {6, 6, "dec=0", NULL, "write 0+"},
        {6, 6, "dec=7", NULL, "'7' is no number up to 6"},
        {6, 6, "dec=6+", NULL, "'6' is no number up to 5"},
        {6, 6, "dec=1+6", NULL, "'6' is no number up to 5"},
        {6, 6, "dec=2+2", NULL, "ascending order, each once"},
        {6, 6, "dec=3+1", NULL, "ascending order, each once"},
        {6, 6, "dec=1++3", NULL, "'' is no number"},
        {6, 6, "dec=+", NULL, "'' is no number"},
        {6, 6, "dec=-1", NULL, "'-1' is no number"},
        {6, 6, "dec=2x", NULL, "'2x' is no number"},
        {6, 6, "dec=99999999999999999999", NULL, "a number is too long"},
        {6, 6, "dec=1+99999999999999999999", NULL, "a number is too long"},
        {6, 6, "dec=2,dec=3", NULL, "a stack is named twice"},
        {6, 6, "dec=2,", NULL, "a part between commas is empty"},
        {6, none, "3,", NULL, "a part between commas is empty"},
        {6, none, ",3", NULL, "a part between commas is empty"},
        {6, 6, "", NULL, "a number is missing"},
        {6, none, "", NULL, "a number is missing"},
        {6, none, "dec=2", NULL, "the model has no decoder"},
        {none, 6, "enc=2", NULL, "the model has no encoder"},
        {0, 4, "enc=0+", NULL, "has no layers"},
        {0, none, "1", NULL, "has no layers"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_option(&cases[i]);
}

/* -- models -- */

static PareModel *convert(const char *name, const char *to) {
    char folder[256];
    PareError err = {0};
    PareConvert *c;
    PareModel *m;
    snprintf(folder, sizeof folder, "tests/data/train/%s", name);
    PareConvertOptions o = {.folder = folder, .no_tokenizer = true};
    ok(pare_convert_open(&o, &c, &err), &err);
    ok(pare_convert_write(c, to, true, NULL, &err), &err);
    pare_convert_close(c);
    ok(pare_model_open(to, &m, &err), &err);
    return m;
}

static const PareFileTensor *stored(const PareModel *m, const char *name) {
    const PareFileTensor *t = pare_file_find(pare_model_file(m), name);
    if (!t)
        fail_msg("no tensor '%s'", name);
    return t->alias_of ? pare_file_find(pare_model_file(m), t->alias_of) : t;
}

/* The student's name with the teacher's layer in it. */
static void teacher_name(const char *slot, const PareStudentLayers *l, char name[128]) {
    const char *at = strstr(slot, ".layers.");
    snprintf(name, 128, "%s", slot);
    if (!at)
        return;
    uint32_t layer = (uint32_t)strtoul(at + 8, NULL, 10);
    int stack = strncmp(slot, "decoder", 7) == 0;
    snprintf(name, 128, "%s.layers.%u%s", stack ? "decoder" : "encoder",
             l->stacks[stack].layers[layer], strchr(at + 8, '.'));
}

/* The same values, and the same sharing, as the tensors that it was made of. */
static void compare_student(const PareModel *m, const PareWeights *w, const PareStudentLayers *l) {
    const PareFileTensor *from[256];
    assert_in_range(w->slots.count, 1, 256);
    for (size_t i = 0; i < w->slots.count; i++) {
        char name[128];
        teacher_name(w->slots.items[i].name, l, name);
        from[i] = stored(m, name);
        const PareWeightTensor *t = &w->tensors[w->tensor_of[i]];
        assert_memory_equal(w->data[i], from[i]->data, t->count * sizeof(float));
        assert_ptr_equal(w->data[i], w->values + t->offset);
        for (size_t k = 0; k < i; k++)
            assert_int_equal(from[k] == from[i], w->data[k] == w->data[i]);
    }
}

static void check_student(const char *name, const char *option, size_t shared) {
    PareError err;
    PareStudentLayers l;
    PareWeights *w;
    PareArena *arena = pare_arena_create(0);
    PareModel *m = convert(name, path);
    const PareDescription *d = pare_model_description(m);
    ok(pare_student_layers_parse(option, d, arena, &l, &err), &err);
    ok(pare_student_create(m, &l, NULL, &w, &err), &err);
    for (int s = 0; s < PARE_STACKS; s++)
        assert_int_equal(w->description.stacks[s].layer_count, l.stacks[s].count);
    compare_student(m, w, &l);
    assert_int_equal(w->slots.count - w->tensor_count, shared);
    for (size_t i = 0; i < w->tensor_count; i++) {
        const PareWeightTensor *t = &w->tensors[i];
        assert_int_equal(t->offset % 16, 0);
        assert_ptr_equal(pare_weights_tensor_at(w, t->offset), t);
        assert_ptr_equal(pare_weights_tensor_at(w, t->offset + t->count - 1), t);
    }
    assert_null(pare_weights_tensor_at(w, w->count));
    pare_weights_destroy(w);
    pare_model_close(m);
    pare_arena_destroy(arena);
}

static void test_students(void **state) {
    (void)state;
    check_student("bart", "enc=1,dec=0+2", 2); /* the decoder's table and the output */
    check_student("bart", "dec=1+", 2);
    check_student("bart", NULL, 2);
    check_student("t5", "enc=1+,dec=1+", 2); /* layer 1 shares the first one's biases */
    check_student("t5", NULL, 4);
    check_student("gpt2-lm", "0+2", 1);
    check_student("bert-cls", "2", 0);
}

/* -- what is trained beside the model -- */

static void fill(void *context, const char *name, uint64_t rows, uint64_t cols, float *values) {
    size_t *calls = context;
    for (uint64_t i = 0; i < rows * cols; i++)
        values[i] = (float)(name[0] == 'a' ? 1 : 2);
    ++*calls;
}

static void test_extras(void **state) {
    (void)state;
    static const PareWeightExtra extras[] = {{"a.weight", 3, 5}, {"b.weight", 7, 1}};
    size_t calls = 0;
    PareError err;
    PareStudentLayers l;
    PareWeights *w;
    PareArena *arena = pare_arena_create(0);
    PareModel *m = convert("bert-cls", path);
    const PareWeightsFrom from = {
        .fill = fill, .context = &calls, .extras = extras, .extra_count = 2};
    ok(pare_student_layers_parse("1", pare_model_description(m), arena, &l, &err), &err);
    ok(pare_student_create(m, &l, &from, &w, &err), &err);
    const float *a = pare_weights_extra(w, "a.weight"), *b = pare_weights_extra(w, "b.weight");
    assert_true(calls == 2 && a && b);
    assert_true(a[0] == 1 && a[14] == 1 && a[15] == 0 && b[0] == 2 && b[6] == 2);
    assert_null(pare_weights_extra(w, "c.weight"));
    assert_null(pare_weights_extra(w, "head.output.weight"));
    const PareWeightTensor *t = pare_weights_tensor_at(w, (size_t)(a - w->values));
    assert_string_equal(t->name, "a.weight");
    assert_true(t->slot == SIZE_MAX && t->rows == 3 && t->cols == 5 && t->dims == 2);
    compare_student(m, w, &l);
    pare_weights_destroy(w);
    pare_model_close(m);
    pare_arena_destroy(arena);
}

/* -- what cannot be trained -- */

static PareModel *quantized(const char *name, PareDtype to) {
    PareError err = {0};
    PareQuantizeTotals totals;
    PareModel *m;
    pare_model_close(convert(name, path));
    PareQuantizeOptions q = {.input = path, .output = other, .to = to, .force = true};
    ok(pare_quantize(&q, &totals, &err), &err);
    ok(pare_model_open(other, &m, &err), &err);
    return m;
}

static void assert_refused(PareStatus st, PareStatus expected, const PareError *err,
                           const char *part) {
    assert_int_equal(st, expected);
    if (!strstr(err->message, part))
        fail_msg("'%s' is not in: %s", part, err->message);
}

static void test_formats(void **state) {
    (void)state;
    PareError err;
    PareWeights *w;
    PareModel *m = quantized("bart", PARE_I8);
    assert_refused(pare_weights_create(m, NULL, NULL, &w, &err), PARE_E_UNSUPPORTED, &err,
                   "'encoder.embed.tokens' is INT8; training needs the model from before");
    assert_non_null(strstr(err.message, other));
    assert_null(w);
    pare_model_close(m);
    m = quantized("bart", PARE_BF16);
    ok(pare_weights_create(m, NULL, NULL, &w, &err), &err);
    PareModel *exact;
    ok(pare_model_open(path, &exact, &err), &err);
    for (size_t i = 0; i < w->slots.count; i++) {
        const float *values = stored(exact, w->slots.items[i].name)->data;
        for (size_t k = 0; k < w->tensors[w->tensor_of[i]].count; k++) {
            double off = (double)w->data[i][k] - (double)values[k];
            assert_true(off * off <= 1.6e-5 * (double)values[k] * (double)values[k]);
        }
    }
    pare_weights_destroy(w);
    pare_model_close(exact);
    pare_model_close(m);
}

static void test_refusals(void **state) {
    (void)state;
    PareError err;
    PareWeights *w;
    PareModel *m = convert("bert-cls", path);
    PareDescription d = *pare_model_description(m);
    d.stacks[PARE_ENCODER].gated = true;
    assert_refused(pare_weights_create(m, &d, NULL, &w, &err), PARE_E_FORMAT, &err,
                   "has no tensor 'encoder.layers.0.ffn.gate.weight', which the new");
    assert_null(w);
    d.stacks[PARE_ENCODER].gated = false;
    d.head.labels = 5;
    assert_refused(pare_weights_create(m, &d, NULL, &w, &err), PARE_E_FORMAT, &err,
                   "'head.output.weight' has shape [3, 32]; 'head.output.weight' of the new model "
                   "needs [5, 32]");
    for (uint64_t n = 1, failed = 1; failed; n++) {
        pare_memory_fail_after(n);
        failed = pare_weights_create(m, NULL, NULL, &w, &err) != PARE_OK;
        pare_memory_fail_after(0);
        assert_int_equal(failed, w == NULL);
        pare_weights_destroy(w);
    }
    pare_model_close(m);
}

/* -- checkpoints of a run -- */

enum { FIRST = 1000, SECOND = 3 };
static const char settings[] = "{\"lr\":0.001,\"layers\":[1,2],\"name\":\"a\"}";
static const char progress[] = "{\"step\":7,\"best\":null}";

typedef struct {
    float first[FIRST], second[SECOND];
    PareStateArray arrays[2];
} Arrays;

static void make_arrays(Arrays *a, float value) {
    for (size_t i = 0; i < FIRST; i++)
        a->first[i] = value * (float)(i + 1);
    for (size_t i = 0; i < SECOND; i++)
        a->second[i] = -value * (float)(i + 1);
    a->arrays[0] = (PareStateArray){"weights", a->first, FIRST};
    a->arrays[1] = (PareStateArray){"second", a->second, SECOND};
}

static PareState *saved(Arrays *a) {
    PareError err;
    PareState *s;
    make_arrays(a, 0.1F);
    ok(pare_state_save(path, settings, progress, a->arrays, 2, &err), &err);
    ok(pare_state_open(path, &s, &err), &err);
    return s;
}

static void test_state(void **state) {
    (void)state;
    PareError err;
    Arrays a, b;
    PareState *s = saved(&a);
    make_arrays(&b, 0);
    ok(pare_state_read(s, b.arrays, 2, &err), &err);
    assert_memory_equal(a.first, b.first, sizeof a.first);
    assert_memory_equal(a.second, b.second, sizeof a.second);
    assert_int_equal(pare_json_integer(pare_json_get(pare_state_progress(s), "step")), 7);
    ok(pare_state_compare(s, settings, &err), &err);
    ok(pare_state_compare(s, "{ \"name\":\"a\", \"lr\":0.001, \"layers\":[1, 2] }", &err), &err);
    pare_state_close(s);
    make_arrays(&a, 5); /* the next checkpoint takes its place */
    ok(pare_state_save(path, settings, "{\"step\":8}", a.arrays, 2, &err), &err);
    ok(pare_state_open(path, &s, &err), &err);
    ok(pare_state_read(s, b.arrays, 2, &err), &err);
    assert_memory_equal(a.first, b.first, sizeof a.first);
    pare_state_close(s);
}

static void test_state_settings(void **state) {
    (void)state;
    static const struct {
        const char *settings, *message;
    } cases[] = {
        {"{\"lr\":0.002,\"layers\":[1,2],\"name\":\"a\"}", "another lr (0.001 then, 0.002 now)"},
        {"{\"lr\":0.001,\"layers\":[1,3],\"name\":\"a\"}",
         "another layers ([1,2] then, [1,3] now)"},
        {"{\"lr\":0.001,\"layers\":[1,2]}", "another name (\"a\" then, not set now)"},
        {"{\"lr\":0.001,\"layers\":[1,2],\"name\":\"a\",\"seed\":1}",
         "another seed (not set then, 1 now)"},
    };
    Arrays a;
    PareError err;
    PareState *s = saved(&a);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_refused(pare_state_compare(s, cases[i].settings, &err), PARE_E_USAGE, &err,
                       cases[i].message);
    pare_state_close(s);
}

static void test_state_arrays(void **state) {
    (void)state;
    Arrays a, b;
    PareError err;
    PareState *s = saved(&a);
    make_arrays(&b, 1);
    assert_refused(pare_state_read(s, b.arrays, 1, &err), PARE_E_FORMAT, &err,
                   "holds 2 arrays; this run has 1");
    b.arrays[1].count = 2;
    assert_refused(pare_state_read(s, b.arrays, 2, &err), PARE_E_FORMAT, &err,
                   "has no array 'second' of 2 values");
    b.arrays[1] = (PareStateArray){"third", b.second, SECOND};
    assert_refused(pare_state_read(s, b.arrays, 2, &err), PARE_E_FORMAT, &err,
                   "has no array 'third' of 3 values");
    pare_state_close(s);
}

static size_t read_bytes(const char *from, unsigned char *bytes, size_t size) {
    FILE *f = fopen(from, "rb");
    assert_non_null(f);
    size_t count = fread(bytes, 1, size, f);
    fclose(f);
    return count;
}

static void write_bytes(const char *to, const unsigned char *bytes, size_t size) {
    FILE *f = fopen(to, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    fclose(f);
}

/* No byte can change, and none be missing, without that opening tells. */
static void test_state_damage(void **state) {
    (void)state;
    static unsigned char bytes[1 << 16];
    Arrays a;
    PareError err;
    PareState *s = saved(&a);
    pare_state_close(s);
    size_t size = read_bytes(path, bytes, sizeof bytes);
    assert_in_range(size, FIRST * sizeof(float), sizeof bytes - 1);
    for (size_t i = 0; i < size; i += i < 256 ? 1 : 37) {
        bytes[i] ^= 0x10;
        write_bytes(other, bytes, size);
        if (pare_state_open(other, &s, &err) == PARE_OK)
            fail_msg("byte %zu may be anything", i);
        assert_null(s);
        bytes[i] ^= 0x10;
    }
    for (size_t i = 0; i < size; i += 97) {
        write_bytes(other, bytes, i);
        assert_int_not_equal(pare_state_open(other, &s, &err), PARE_OK);
    }
    write_bytes(other, bytes, size);
    ok(pare_state_open(other, &s, &err), &err);
    pare_state_close(s);
}

static void test_state_refusals(void **state) {
    (void)state;
    Arrays a;
    PareError err;
    PareState *s = saved(&a);
    pare_state_close(s);
    unlink(other);
    assert_int_equal(pare_state_open(other, &s, &err), PARE_E_IO);
    assert_non_null(strstr(err.message, other));
    pare_model_close(convert("gpt2-lm", other));
    assert_refused(pare_state_open(other, &s, &err), PARE_E_FORMAT, &err,
                   "this is no checkpoint of a training run");
    assert_int_equal(pare_state_save("nowhere/at/all.pare", settings, progress, a.arrays, 2, &err),
                     PARE_E_IO);
    assert_int_not_equal(pare_state_save(path, "{\"broken\":", progress, a.arrays, 2, &err) ||
                             pare_state_open(path, &s, &err),
                         PARE_OK);
    ok(pare_state_save(path, settings, progress, a.arrays, 2, &err), &err);
    for (uint64_t n = 1, failed = 1; failed; n++) {
        pare_memory_fail_after(n);
        failed = pare_state_save(other, settings, progress, a.arrays, 2, &err) != PARE_OK ||
                 pare_state_open(other, &s, &err) != PARE_OK ||
                 pare_state_compare(s, settings, &err) != PARE_OK;
        pare_memory_fail_after(0);
        if (failed)
            assert_int_equal(err.code, PARE_E_MEMORY);
        pare_state_close(s);
        s = NULL;
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copied_layers),  cmocka_unit_test(test_supervising_layers),
        cmocka_unit_test(test_option),         cmocka_unit_test(test_students),
        cmocka_unit_test(test_extras),         cmocka_unit_test(test_formats),
        cmocka_unit_test(test_refusals),       cmocka_unit_test(test_state),
        cmocka_unit_test(test_state_settings), cmocka_unit_test(test_state_arrays),
        cmocka_unit_test(test_state_damage),   cmocka_unit_test(test_state_refusals),
    };
    return cmocka_run_group_tests(tests, make_paths, remove_files);
}
