/* PyTorch's training curves: checkpoints of every kind are converted and trained as PyTorch trained
 * them, and each step's loss, and the first step's gradient of every parameter, must agree.
 *
 * tests/data/train holds a checkpoint as save_pretrained left it, one batch, the losses and norms
 * of 20 steps of AdamW with dropout off, and in kd-bert a student of kd-teacher with ten steps of
 * distillation. */
#include <math.h>
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
#include "convert/family.h"
#include "core/json.h"
#include "core/memory.h"
#include "distill/optimizer.h"
#include "learn/objective.h"
#include "learn/weights.h"
#include "quantize/quantize.h"
#include "runtime/blas.h"

enum { MAX_ITEMS = 8, MAX_TENSORS = 160, MAX_NAMES = 160, NAME_SIZE = 256 };

static const double LOSS_LIMIT = 2e-4, NORM_LIMIT = 1e-3;

static void ok(PareStatus st, const PareError *err) {
    if (st)
        fail_msg("%s", err->message);
}

/* There every step takes seconds, and the second reads and writes what later ones do. */
static size_t steps_of(size_t all) {
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded && strstr(preloaded, "vgpreload") ? 2 : all;
}

typedef struct {
    PareModel *model;
    PareWeights *weights;
} Net;

typedef struct {
    PareJsonDoc *doc;
    const PareJson *golden;
    PareArena *arena; /* of the batch */
    PareArena *run;
    Net student, teacher; /* teacher.model NULL: none */
    PareExample items[MAX_ITEMS];
    size_t count;
    PareObjective objective;
    PareParamTensor tensors[MAX_TENSORS];
    PareTapeRange ranges[MAX_TENSORS];
    PareParamGroups groups;
    float *grads;
    PareTape *tape;
    ParePool *pool;
    PareOptimizer *optimizer;
    double clip, rate;
} Curve;

/* -- checkpoints -- */

static void convert(const char *name, const char *to) {
    char folder[256];
    PareError err = {0};
    PareConvert *c;
    snprintf(folder, sizeof folder, "tests/data/train/%s", name);
    PareConvertOptions o = {.folder = folder, .no_tokenizer = true};
    ok(pare_convert_open(&o, &c, &err), &err);
    ok(pare_convert_write(c, to, true, NULL, &err), &err);
    pare_convert_close(c);
}

static Net open_net(const char *name) {
    char path[512];
    const char *tmp = getenv("TMPDIR");
    PareError err = {0};
    Net n;
    snprintf(path, sizeof path, "%s/curve-%ld.pare", tmp ? tmp : "/tmp", (long)getpid());
    convert(name, path);
    ok(pare_model_open(path, &n.model, &err), &err);
    unlink(path);
    ok(pare_weights_create(n.model, NULL, NULL, &n.weights, &err), &err);
    return n;
}

static void close_net(Net *n) {
    pare_weights_destroy(n->weights);
    pare_model_close(n->model);
}

/* -- the batch -- */

/* Row `row` of a {shape, data} object, without the columns that `mask` (may be NULL) leaves out. */
static int32_t *row_of(const Curve *c, const PareJson *array, const PareJson *mask, size_t row,
                       size_t *count) {
    const PareJson *data = pare_json_get(array, "data"), *keep = pare_json_get(mask, "data");
    size_t columns = (size_t)pare_json_integer(pare_json_at(pare_json_get(array, "shape"), 1));
    int32_t *out = pare_arena_alloc(c->arena, columns + 1, sizeof *out);
    assert_non_null(out);
    *count = 0;
    for (size_t k = row * columns; k < (row + 1) * columns; k++)
        if (!keep || pare_json_integer(pare_json_at(keep, k)))
            out[(*count)++] = (int32_t)pare_json_integer(pare_json_at(data, k));
    return out;
}

/* The decoder reads what it is to write one position later. */
static void shift_right(const Curve *c, PareExample *e) {
    const PareGeneration *g = pare_model_generation(c->student.model);
    int32_t *ids = pare_arena_alloc(c->arena, e->target_count, sizeof *ids);
    assert_non_null(ids);
    ids[0] = g->decoder_start;
    for (size_t k = 1; k < e->target_count; k++)
        ids[k] = e->targets[k - 1] < 0 ? g->pad : e->targets[k - 1];
    e->sequence.decoder_ids = ids;
    e->sequence.decoder_count = e->target_count;
}

/* A language model's target is the next id. */
static void shift_left(PareExample *e, int32_t *targets) {
    memmove(targets, targets + 1, (e->target_count - 1) * sizeof *targets);
    targets[e->target_count - 1] = PARE_IGNORED;
}

static void read_batch(Curve *c) {
    const PareDescription *d = &c->student.weights->description;
    const PareJson *inputs = pare_json_get(c->golden, "inputs");
    const PareJson *ids = pare_json_get(inputs, "input_ids");
    const PareJson *mask = pare_json_get(inputs, "attention_mask");
    const PareJson *labels = pare_json_get(c->golden, "labels");
    c->count = (size_t)pare_json_integer(pare_json_at(pare_json_get(ids, "shape"), 0));
    assert_in_range(c->count, 1, MAX_ITEMS);
    for (size_t i = 0; i < c->count; i++) {
        PareExample *e = &c->items[i];
        e->sequence.ids = row_of(c, ids, mask, i, &e->sequence.count);
        if (d->head.kind == PARE_HEAD_SEQUENCE) {
            e->label = (int32_t)pare_json_integer(pare_json_at(pare_json_get(labels, "data"), i));
            continue;
        }
        int32_t *targets = row_of(c, labels, NULL, i, &e->target_count);
        e->targets = targets;
        if (d->stacks[PARE_ENCODER].present)
            shift_right(c, e);
        else
            shift_left(e, targets);
    }
}

/* -- training -- */

/* Constants and what the framework computes itself are no parameters. */
static bool is_fixed(const PareModel *m, const char *name) {
    const PareJson *list = pare_json_get_set(pare_model_metadata(m), "fixed");
    for (const PareJson *n = pare_json_first(list); n; n = pare_json_next(n))
        if (strcmp(pare_json_string(n), name) == 0)
            return true;
    return false;
}

static void group_tensors(Curve *c) {
    const PareWeights *w = c->student.weights;
    assert_true(w->tensor_count <= MAX_TENSORS);
    c->groups = (PareParamGroups){c->tensors, w->tensor_count};
    for (size_t i = 0; i < w->tensor_count; i++) {
        const PareWeightTensor *t = &w->tensors[i];
        c->tensors[i] = (PareParamTensor){.name = t->name,
                                          .offset = t->offset,
                                          .rows = (size_t)t->rows,
                                          .cols = (size_t)t->cols,
                                          .dims = t->dims};
    }
    pare_param_groups_reset(&c->groups);
    for (size_t i = 0; i < w->tensor_count; i++) {
        c->tensors[i].frozen = is_fixed(c->student.model, w->tensors[i].name);
        c->ranges[i] =
            (PareTapeRange){w->tensors[i].offset, w->tensors[i].count, !c->tensors[i].frozen};
    }
}

static void make_optimizer(Curve *c) {
    PareError err;
    const PareJson *o = pare_json_get(c->golden, "optimizer");
    const PareJson *clip = pare_json_get(o, "clip_norm");
    PareOptimizerOptions options = pare_optimizer_defaults(PARE_OPTIMIZER_ADAMW);
    assert_string_equal(pare_json_string(pare_json_get(o, "name")), "AdamW");
    options.weight_decay = pare_json_number(pare_json_get(o, "weight_decay"));
    c->rate = pare_json_number(pare_json_get(o, "lr"));
    c->clip = clip ? pare_json_number(clip) : 0;
    const PareWeights *w = c->student.weights;
    ok(pare_optimizer_create(&options, &c->groups, w->values, w->count, &c->optimizer, &err), &err);
}

static void begin(Curve *c, const char *name, const char *teacher, size_t threads) {
    char path[256];
    PareError err = {0};
    *c = (Curve){.arena = pare_arena_create(0), .run = pare_arena_create(0)};
    pare_blas_init();
    snprintf(path, sizeof path, "tests/data/train/%s/golden.json", name);
    ok(pare_json_read(path, &c->doc, &err), &err);
    c->golden = pare_json_root(c->doc);
    c->student = open_net(name);
    const PareWeights *w = c->student.weights;
    c->objective = (PareObjective){
        .d = &w->description, .p = &w->params, .weights = {.label = 1, .temperature = 1}};
    if (teacher) {
        c->teacher = open_net(teacher);
        c->objective.teacher_d = &c->teacher.weights->description;
        c->objective.teacher_p = &c->teacher.weights->params;
        c->objective.weights = (PareLossWeights){.label = 0.5F, .soft = 0.5F, .temperature = 2};
    }
    read_batch(c);
    group_tensors(c);
    make_optimizer(c);
    c->grads = pare_alloc(w->count, sizeof *c->grads);
    ok(pare_pool_create(threads, &c->pool, &err), &err);
    ok(pare_tape_create(w->values, c->grads, c->ranges, w->tensor_count, &c->tape, &err), &err);
}

static void end(Curve *c) {
    pare_optimizer_destroy(c->optimizer);
    pare_tape_destroy(c->tape);
    pare_pool_destroy(c->pool);
    pare_free(c->grads);
    close_net(&c->student);
    close_net(&c->teacher);
    pare_json_free(c->doc);
    pare_arena_destroy(c->run);
    pare_arena_destroy(c->arena);
}

static PareLossTerms compute(Curve *c) {
    PareError err;
    PareLossTerms terms = {0};
    PareBatchSize whole = pare_objective_size(&c->objective, c->items, c->count);
    PareRun r = {
        .kernels = pare_kernels(), .pool = c->pool, .arena = c->run, .tape = c->tape, .err = &err};
    pare_arena_release(c->run, (PareArenaMark){0});
    memset(c->grads, 0, c->student.weights->count * sizeof *c->grads);
    ok(pare_objective_run(&c->objective, &r, c->items, c->count, &whole, &terms), &err);
    ok(pare_tape_backward(&r), &err);
    return terms;
}

static void update(Curve *c, double norm) {
    pare_optimizer_step(c->optimizer, c->student.weights->values, c->grads,
                        pare_optimizer_clip(norm, c->clip), c->rate, c->pool);
}

static void assert_near(const char *name, const char *what, size_t step, double found,
                        const PareJson *expected, double limit) {
    double wanted = pare_json_number(expected);
    if (!(fabs(found - wanted) <= limit * fabs(wanted)))
        fail_msg("%s, step %zu: %s is %.9g, PyTorch has %.9g", name, step, what, found, wanted);
}

/* -- gradients by their names -- */

/* Squares of what the checkpoint keeps in one tensor. */
typedef struct {
    const PareJson *expected[MAX_NAMES];
    double squares[MAX_NAMES];
    size_t count;
} Norms;

static size_t norm_index(const Norms *n, const char *name) {
    for (size_t i = 0; i < n->count; i++)
        if (strcmp(pare_json_key(n->expected[i]), name) == 0)
            return i;
    return SIZE_MAX;
}

/* What the checkpoint calls a slot, if the reference has a gradient by that name. */
static size_t find_name(const Norms *n, const PareFamily *f, const PareFamilyModel *m,
                        const char *slot) {
    char name[NAME_SIZE];
    for (const PareRule *r = f->rules; r->slot; r++)
        for (int prefixed = 0; prefixed < 2; prefixed++)
            if (pare_rule_applies(r, m) &&
                pare_rule_tensor_name(f, r, slot, prefixed, name, sizeof name) &&
                norm_index(n, name) != SIZE_MAX)
                return norm_index(n, name);
    return SIZE_MAX;
}

static void add_tensor(const Curve *c, Norms *n, const PareFamilyModel *m, size_t tensor) {
    const PareWeights *w = c->student.weights;
    const PareWeightTensor *t = &w->tensors[tensor];
    size_t at = SIZE_MAX;
    for (size_t s = 0; s < w->slots.count && at == SIZE_MAX; s++)
        if (w->tensor_of[s] == tensor)
            at = find_name(n, m->family, m, w->slots.items[s].name);
    if (at == SIZE_MAX)
        fail_msg("PyTorch has no gradient for '%s'", t->name);
    for (size_t i = t->offset; i < t->offset + t->count; i++)
        n->squares[at] += (double)c->grads[i] * c->grads[i];
}

static void compare_gradients(const Curve *c, const char *name, double total) {
    static Norms n;
    const PareJson *source = pare_json_get(pare_model_metadata(c->student.model), "source");
    const char *type = pare_json_string(pare_json_get(source, "model_type"));
    const PareFamilyModel m = {.family = pare_family_find(type),
                               .description = c->student.weights->description};
    n = (Norms){.count = 0};
    assert_non_null(m.family);
    const PareJson *list = pare_json_get(c->golden, "first_step_grad_norm");
    for (const PareJson *v = pare_json_first(list); v; v = pare_json_next(v)) {
        assert_true(n.count < MAX_NAMES);
        n.expected[n.count++] = v;
    }
    for (size_t i = 0; i < c->groups.count; i++)
        if (c->ranges[i].trained)
            add_tensor(c, &n, &m, i);
    for (size_t i = 0; i < n.count; i++) {
        double found = sqrt(n.squares[i]), wanted = pare_json_number(n.expected[i]);
        if (!(fabs(found - wanted) <= NORM_LIMIT * wanted + 1e-8 * total))
            fail_msg("%s: the gradient of %s is %.9g, PyTorch has %.9g", name,
                     pare_json_key(n.expected[i]), found, wanted);
    }
    print_message("  %zu tensors\n", n.count);
    assert_true(n.count >= 30);
}

static void test_curve(void **state) {
    Curve c;
    const char *name = *state;
    begin(&c, name, NULL, 2);
    const PareJson *losses = pare_json_get(c.golden, "loss");
    const PareJson *norms = pare_json_get(c.golden, "grad_norm_before_clipping");
    size_t steps = pare_json_size(losses);
    assert_int_equal(steps, 20);
    for (size_t i = 0; i < steps_of(steps); i++) {
        PareLossTerms terms = compute(&c);
        double norm = pare_optimizer_norm(c.optimizer, c.grads, c.pool);
        assert_near(name, "the loss", i + 1, terms.total, pare_json_at(losses, i), LOSS_LIMIT);
        /* Later small differences grow where a unit is just switched on or off. */
        if (i < 10)
            assert_near(name, "the norm", i + 1, norm, pare_json_at(norms, i), NORM_LIMIT);
        if (i == 0)
            compare_gradients(&c, name, norm);
        update(&c, norm);
    }
    end(&c);
}

static void test_distillation(void **state) {
    Curve c;
    (void)state;
    begin(&c, "kd-bert", "kd-teacher", 2);
    const PareJson *steps = pare_json_get(c.golden, "steps");
    assert_int_equal(pare_json_size(steps), 10);
    for (size_t i = 0; i < steps_of(10); i++) {
        const PareJson *s = pare_json_at(steps, i);
        PareLossTerms t = compute(&c);
        assert_near("kd-bert", "the loss", i + 1, t.total, pare_json_get(s, "loss"), LOSS_LIMIT);
        assert_near("kd-bert", "the labels' part", i + 1, 2 * t.label, pare_json_get(s, "ce"),
                    LOSS_LIMIT);
        assert_near("kd-bert", "the teacher's part", i + 1, 2 * t.soft, pare_json_get(s, "kl"),
                    LOSS_LIMIT);
        update(&c, pare_optimizer_norm(c.optimizer, c.grads, c.pool));
    }
    end(&c);
}

/* A teacher may be INT8: it says nearly the same, and the student learns nearly as fast. */
static void test_quantized_teacher(void **state) {
    Curve c;
    PareError err = {0};
    PareQuantizeTotals totals;
    PareModel *teacher;
    char from[512], to[512];
    const char *tmp = getenv("TMPDIR");
    (void)state;
    begin(&c, "kd-bert", "kd-teacher", 2);
    snprintf(from, sizeof from, "%s/curve-%ld-f32.pare", tmp ? tmp : "/tmp", (long)getpid());
    snprintf(to, sizeof to, "%s/curve-%ld-int8.pare", tmp ? tmp : "/tmp", (long)getpid());
    convert("kd-teacher", from);
    PareQuantizeOptions q = {.input = from, .output = to, .to = PARE_I8, .force = true};
    ok(pare_quantize(&q, &totals, &err), &err);
    ok(pare_model_open(to, &teacher, &err), &err);
    unlink(from);
    unlink(to);
    c.objective.teacher_d = pare_model_description(teacher);
    c.objective.teacher_p = pare_model_params(teacher);
    const PareJson *steps = pare_json_get(c.golden, "steps");
    for (size_t i = 0; i < steps_of(10); i++) {
        const PareJson *s = pare_json_at(steps, i);
        PareLossTerms t = compute(&c);
        assert_near("INT8", "the loss", i + 1, t.total, pare_json_get(s, "loss"), 0.02);
        assert_true(fabs(2 * t.soft - pare_json_number(pare_json_get(s, "kl"))) > 1e-6);
        update(&c, pare_optimizer_norm(c.optimizer, c.grads, c.pool));
    }
    pare_model_close(teacher);
    end(&c);
}

/* Twenty steps on other numbers of threads end with the same bits. */
static void test_threads(void **state) {
    float *first = NULL;
    (void)state;
    for (size_t threads = 1; threads <= 3; threads += 2) {
        Curve c;
        begin(&c, "t5", NULL, threads);
        for (size_t i = 0; i < steps_of(20); i++) {
            compute(&c);
            update(&c, pare_optimizer_norm(c.optimizer, c.grads, c.pool));
        }
        size_t size = c.student.weights->count * sizeof(float);
        if (!first) {
            first = pare_alloc(size, 1);
            assert_non_null(first);
            memcpy(first, c.student.weights->values, size);
        } else {
            assert_memory_equal(first, c.student.weights->values, size);
        }
        end(&c);
    }
    pare_free(first);
}

int main(void) {
    static const char *const names[] = {"bert-cls", "gpt2-lm", "bart", "marian", "t5"};
    enum { COUNT = sizeof names / sizeof *names };
    struct CMUnitTest tests[COUNT + 3];
    for (size_t i = 0; i < COUNT; i++)
        tests[i] =
            (struct CMUnitTest){names[i], test_curve, NULL, NULL, (void *)(uintptr_t)names[i]};
    tests[COUNT] = (struct CMUnitTest)cmocka_unit_test(test_distillation);
    tests[COUNT + 1] = (struct CMUnitTest)cmocka_unit_test(test_quantized_teacher);
    tests[COUNT + 2] = (struct CMUnitTest)cmocka_unit_test(test_threads);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
