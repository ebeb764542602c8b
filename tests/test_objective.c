/* What a batch costs, and its gradient: losses against PyTorch's numbers, whole models of every
 * kind against differences, with dropout, dropped layers, frozen tensors, recomputed layers and
 * batches in parts; simulated INT8 against INT8; student and teacher; and a step during which
 * memory runs out. */
#include "core/blocks.h"
#include "formats/pare_file.h"
#include "tests/test_train_models.h"

/* -- rows of scores: numbers of PyTorch 1.13 -- */

static const float scores[3][4] = {
    {0.5F, -1.25F, 2.0F, 0.0F}, {1.5F, 0.25F, -0.75F, 3.0F}, {-2.0F, 0.5F, 0.125F, 1.0F}};
static const float teacher_scores[3][4] = {
    {1.0F, -0.5F, 0.75F, 0.25F}, {0.0F, 2.5F, -1.5F, 1.0F}, {0.5F, 0.5F, -1.0F, 2.0F}};

typedef struct {
    const char *name;
    PareLossWeights weights;
    bool teacher, everywhere;
    double loss;
    float gradient[3][4];
} LossCase;

static void assert_close(const char *what, double found, double expected, double limit) {
    if (!(fabs(found - expected) <= limit))
        fail_msg("%s: %.9g instead of %.9g", what, found, expected);
}

static void check_loss(const LossCase *c) {
    static const int32_t targets[] = {2, PARE_IGNORED, 1};
    float x[3][4], teacher[3][4], scratch[3][4], best[3];
    double label[3], soft[3], sum = 0, weight = c->everywhere ? 1.0 / 3 : 1.0 / 2;
    memcpy(x, scores, sizeof x);
    memcpy(teacher, teacher_scores, sizeof teacher);
    PareRowLoss loss = {.kernels = pare_kernels(),
                        .weights = &c->weights,
                        .targets = targets,
                        .soft_everywhere = c->everywhere,
                        .row_weight = weight,
                        .label = label,
                        .soft = soft,
                        .best = best};
    for (size_t i = 0; i < 3; i++) { /* row by row, as threads may take them */
        PareLossRows rows = {.first = i, .count = 1, .logits = x[i], .n = 4, .gradient = true};
        if (c->teacher) {
            rows.teacher = teacher[i];
            rows.scratch = scratch[i];
        }
        pare_loss_rows(&loss, &rows);
        sum += weight * (c->weights.label * label[i] + c->weights.soft * soft[i]);
    }
    assert_close(c->name, sum, c->loss, 3e-7);
    for (size_t i = 0; i < 12; i++)
        assert_close(c->name, (double)x[i / 4][i % 4], (double)c->gradient[i / 4][i % 4], 1e-7);
    assert_true(best[0] == 2 && best[1] == 3 && best[2] == 3);
}

static void test_losses(void **state) {
    (void)state;
    static const LossCase cases[] = {
        {"cross-entropy",
         {.label = 1, .temperature = 1},
         false,
         false,
         0.781791091,
         {{0.079846770F, 0.013875289F, -0.142151594F, 0.048429515F},
          {0, 0, 0, 0},
          {0.012007417F, -0.353719711F, 0.100536875F, 0.241175428F}}},
        {"smoothing",
         {.label = 1, .temperature = 1, .smoothing = 0.1F},
         false,
         false,
         0.895853579,
         {{0.067346767F, 0.001375288F, -0.104651593F, 0.035929512F},
          {0, 0, 0, 0},
          {-0.000492584F, -0.316219717F, 0.088036865F, 0.228675395F}}},
        {"soft labels of counted rows",
         {.soft = 1, .temperature = 2},
         true,
         false,
         0.462697923,
         {{-0.096839294F, -0.058613770F, 0.200790435F, -0.045337364F},
          {0, 0, 0, 0},
          {-0.133617923F, 0.076260790F, 0.140937388F, -0.083580218F}}},
        {"soft labels of all rows",
         {.soft = 1, .temperature = 2},
         true,
         true,
         0.903152287,
         {{-0.064559527F, -0.039075848F, 0.133860290F, -0.030224910F},
          {0.066798709F, -0.262222230F, 0.006791551F, 0.188631967F},
          {-0.089078620F, 0.050840527F, 0.093958251F, -0.055720165F}}},
        {"half of each",
         {.label = 0.5F, .soft = 0.5F, .temperature = 2},
         true,
         false,
         (0.781791091 + 0.462697923) / 2,
         {{-0.008496262F, -0.0223692405F, 0.0293194205F, 0.0015460755F},
          {0, 0, 0, 0},
          {-0.060805253F, -0.1387294605F, 0.1207371315F, 0.078797605F}}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_loss(&cases[i]);
}

/* Squared errors; a value that is not known does not count, but a teacher's opinion of it does. */
static void test_values(void **state) {
    (void)state;
    static const float values[] = {1.0F, -0.5F, 2.0F, NAN};
    float x[] = {0.25F, 0.5F, -1.0F, 3.0F}, teacher[] = {0.5F, 0.5F, 1.0F, 1.0F}, scratch[4];
    float best[4];
    double label[4], soft[4];
    const PareLossWeights weights = {.label = 1, .soft = 0.5F, .temperature = 1};
    PareRowLoss loss = {.kernels = pare_kernels(),
                        .weights = &weights,
                        .values = values,
                        .row_weight = 1.0 / 3,
                        .label = label,
                        .soft = soft,
                        .best = best};
    PareLossRows rows = {.count = 3, .logits = x, .n = 1, .gradient = true};
    pare_loss_rows(&loss, &rows);
    assert_close("mean squared error", (label[0] + label[1] + label[2]) / 3, 3.5208332538, 1e-7);
    assert_close("its gradient", (double)x[0], -0.5, 1e-7);
    assert_close("its gradient", (double)x[1], 0.666666687, 1e-7);
    assert_close("its gradient", (double)x[2], -2, 1e-7);
    assert_true(best[0] == 0.25F && best[1] == 0.5F && best[2] == -1.0F);
    rows = (PareLossRows){.first = 3,
                          .count = 1,
                          .logits = x + 3,
                          .teacher = teacher + 3,
                          .scratch = scratch,
                          .n = 1,
                          .gradient = true};
    pare_loss_rows(&loss, &rows);
    assert_true(label[3] == 0 && soft[3] == 4);
    assert_close("the teacher's part", (double)x[3], 2.0 / 3 * 0.5 * 2, 1e-7);
    float two[] = {0.25F, 7.0F}; /* a second score is not meant */
    rows = (PareLossRows){.count = 1, .logits = two, .n = 2, .gradient = true};
    pare_loss_rows(&loss, &rows);
    assert_true(two[0] == -0.5F && two[1] == 0);
}

/* -- whole models -- */

typedef struct {
    Block block;
    Model model, above; /* the student, and where there is one its teacher */
    Block teacher;
    Examples examples;
    PareObjective objective;
    PareNoise noise; /* seed 0: none */
    PareMatching matching;
    PareLinear projections[PARE_STACKS][4];
    uint32_t supervisors[PARE_STACKS][4];
    size_t parts; /* in which a batch is run; 0: 1 */
    PareLossTerms terms;
} Bench;

static PareStatus run_part(Bench *b, PareArena *arena, bool tape, size_t from, size_t to) {
    const PareObjective *o = &b->objective;
    PareNoise noise = b->noise;
    PareBatchSize whole = pare_objective_size(o, b->examples.items, ITEMS);
    PareBatchSize before = pare_objective_size(o, b->examples.items, from);
    PareRun r = block_run(&b->block, tape);
    r.arena = arena ? arena : r.arena;
    noise.sequence_base = from;
    for (int s = 0; s < PARE_STACKS; s++)
        noise.row_base[s] = before.rows[s];
    if (noise.seed)
        r.noise = &noise;
    PareStatus st =
        pare_objective_run(o, &r, b->examples.items + from, to - from, &whole, &b->terms);
    return st || !tape ? st : pare_tape_backward(&r);
}

static double run(Bench *b, bool tape) {
    size_t parts = b->parts ? b->parts : 1;
    b->terms = (PareLossTerms){0};
    for (size_t i = 0; i < parts; i++)
        no_error(run_part(b, NULL, tape, ITEMS * i / parts, ITEMS * (i + 1) / parts),
                 &b->block.err);
    return b->terms.total;
}

static double loss_of(void *context) {
    return run(context, false);
}

static void bench_open(Bench *b, Kind kind) {
    ModelShape shape = {kind, 12, 4, kind == TRANSLATOR || kind == LANGUAGE ? 3 : 2};
    *b = (Bench){0};
    model_begin(&b->model, &shape, &b->block);
    block_begin(&b->block, 0.3F);
    model_bind(&b->model, &b->block);
    fill_examples(&b->examples, &b->model.d);
    b->objective = (PareObjective){.d = &b->model.d,
                                   .p = &b->model.params,
                                   .weights = {.label = 1, .temperature = 1},
                                   .regression = kind == REGRESSION};
}

static void bench_close(Bench *b) {
    block_end(&b->block);
    model_end(&b->model);
    if (b->objective.teacher_d) {
        block_end(&b->teacher);
        model_end(&b->above);
    }
}

/* The gradient of the whole batch; the caller frees it. */
static float *gradient(Bench *b) {
    block_zero(&b->block);
    run(b, true);
    return block_copy(&b->block, b->block.grads);
}

/* There a pass takes a hundred times as long; what it looks for, it sees in one. */
static bool under_valgrind(void) {
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded && strstr(preloaded, "vgpreload");
}

static void check_differences(Bench *b, const char *what) {
    float *grads = gradient(b);
    size_t tensors = under_valgrind() ? 3 : b->block.tensor_count;
    Differences d = {.f = loss_of,
                     .context = b,
                     .b = &b->block,
                     .step = 0.01,
                     .tolerance = 3e-3,
                     .floor = 5e-5 * (1 + fabs(b->terms.total))};
    double plain = run(b, false);
    run(b, true);
    assert_true(plain == b->terms.total);
    for (size_t t = 0; t < tensors; t++)
        check_tensor(&d, what, t, grads);
    pare_free(grads);
}

static void test_models(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        Bench b;
        bench_open(&b, (Kind)kind);
        b.objective.weights.smoothing = kind % 2 ? 0 : 0.1F;
        check_differences(&b, kind_names[kind]);
        bench_close(&b);
    }
}

static const PareNoise all_noise = {.dropout = 0.2F,
                                    .attention = 0.15F,
                                    .activation = 0.1F,
                                    .layer_drop = 0.4F,
                                    .seed = 1,
                                    .step = 3};

/* With the seed the masks are the same in every run. */
static void test_noise(void **state) {
    uint64_t seeds = getenv("PARE_TEST_LONG") ? 10 : 1;
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        Bench b;
        bench_open(&b, (Kind)kind);
        double plain = run(&b, false);
        b.noise = all_noise;
        for (b.noise.seed = 1; b.noise.seed <= seeds; b.noise.seed++)
            check_differences(&b, kind_names[kind]);
        assert_true(fabs(run(&b, false) - plain) > 1e-3);
        bench_close(&b);
    }
}

/* -- simulated INT8 -- */

static void pack_weight(PareArena *arena, PareWeight *w) {
    PareFileTensor t = {
        .dtype = PARE_I8, .layout = PARE_LAYOUT_BLOCK4, .dims = 2, .shape = {w->N, w->K}};
    uint64_t bytes;
    if (!w->data)
        return;
    assert_true(pare_file_blob_bytes(&t, &bytes));
    void *blob = pare_arena_alloc(arena, bytes, 1);
    pare_blocks_pack_i8(w->data, w->N, w->K, blob);
    t.data = blob;
    *w = pare_weight_of(&t);
}

static void pack_attention(PareArena *arena, PareAttentionParams *a) {
    pack_weight(arena, &a->query.weight);
    pack_weight(arena, &a->key.weight);
    pack_weight(arena, &a->value.weight);
    pack_weight(arena, &a->output.weight);
}

/* Every matrix and token table as pare-quantize writes them. */
static void pack_model(Model *m) {
    for (int s = 0; s < PARE_STACKS; s++) {
        PareStackParams *p = &m->params.stacks[s];
        pack_weight(m->arena, &p->tokens);
        pack_weight(m->arena, &p->projection.weight);
        for (uint32_t i = 0; i < m->d.stacks[s].layer_count; i++) {
            pack_attention(m->arena, &p->layers[i].self);
            pack_attention(m->arena, &p->layers[i].cross);
            pack_weight(m->arena, &p->layers[i].in.weight);
            pack_weight(m->arena, &p->layers[i].gate.weight);
            pack_weight(m->arena, &p->layers[i].out.weight);
        }
    }
    pack_weight(m->arena, &m->params.pool.weight);
    pack_weight(m->arena, &m->params.transform.weight);
    pack_weight(m->arena, &m->params.output.weight);
}

/* The INT8 file has the loss that training with all of INT8 saw, to the last bit; that of the
 * weights alone is another. */
static void test_simulated_loss(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        Bench b;
        bench_open(&b, (Kind)kind);
        b.noise = (PareNoise){.seed = 1, .quantize = 1, .quantize_rows = true};
        double seen = run(&b, false);
        assert_true(run(&b, true) == seen);
        b.noise.quantize_rows = false;
        double weights_only = run(&b, true);
        b.noise = (PareNoise){0};
        pack_model(&b.model);
        if (run(&b, false) != seen || weights_only == seen)
            fail_msg("%s: %.17g in INT8, %.17g in training, %.17g of INT8 weights alone",
                     kind_names[kind], b.terms.total, seen, weights_only);
        bench_close(&b);
    }
}

static bool has_gradient(const Bench *b, const float *grads, const char *slot) {
    const PareTapeRange *r = &b->block.ranges[b->model.tensor[find_slot(&b->model.slots, slot)]];
    return norm_of(grads + r->offset, r->count) > 0;
}

/* Each layer is left out about as often as the probability says, and independently. */
static void test_layer_drop(void **state) {
    (void)state;
    enum { SEEDS = 200 };
    size_t kept[2] = {0, 0}, both = 0;
    Bench b;
    bench_open(&b, CLASSIFIER);
    b.noise.layer_drop = 0.3F;
    for (b.noise.seed = 1; b.noise.seed <= SEEDS; b.noise.seed++) {
        float *grads = gradient(&b);
        bool first = has_gradient(&b, grads, "encoder.layers.0.ffn.in.weight");
        bool second = has_gradient(&b, grads, "encoder.layers.1.ffn.in.weight");
        assert_int_equal(first, has_gradient(&b, grads, "encoder.layers.0.self.query.weight"));
        kept[0] += first;
        kept[1] += second;
        both += first && second;
        pare_free(grads);
    }
    assert_in_range(kept[0], 114, 166); /* 140, and 4 standard deviations */
    assert_in_range(kept[1], 114, 166);
    assert_in_range(both, 70, 126); /* 98 */
    bench_close(&b);
}

/* -- the same gradient by other ways -- */

static void assert_near(const Bench *b, const char *what, const float *expected, const float *found,
                        double tolerance) {
    for (size_t t = 0; t < b->block.tensor_count; t++) {
        const PareTapeRange *r = &b->block.ranges[t];
        double limit = tolerance * norm_of(expected + r->offset, r->count) + 1e-7;
        for (size_t i = r->offset; i < r->offset + r->count; i++)
            if (!(fabs((double)expected[i] - (double)found[i]) <= limit))
                fail_msg("%s: the gradient of %s is %.9g and %.9g", what, b->block.names[t],
                         (double)expected[i], (double)found[i]);
    }
}

static void check_ways(Bench *b, const char *what) {
    float *grads = gradient(b), *other;
    double loss = b->terms.total;
    size_t peak = pare_tape_peak(b->block.tape), memory;
    block_threads(&b->block, 3);
    other = gradient(b);
    block_threads(&b->block, 1);
    assert_bits(what, grads, other, b->block.count);
    assert_true(loss == b->terms.total);
    assert_int_equal(pare_tape_peak(b->block.tape), peak);
    pare_free(other);
    memory = pare_arena_peak(b->block.arena);
    b->objective.recompute = true;
    other = gradient(b);
    assert_bits(what, grads, other, b->block.count);
    assert_true(loss == b->terms.total);
    assert_true(pare_arena_peak(b->block.arena) == memory); /* never more */
    b->objective.recompute = false;
    pare_free(other);
    b->parts = 3;
    other = gradient(b);
    assert_near(b, what, grads, other, 1e-5);
    assert_close(what, b->terms.total, loss, 1e-6 * fabs(loss));
    b->parts = 0;
    pare_free(other);
    pare_free(grads);
}

static void test_ways(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        Bench b;
        bench_open(&b, (Kind)kind);
        check_ways(&b, kind_names[kind]);
        b.noise = all_noise;
        b.noise.layer_drop = 0.1F;
        check_ways(&b, kind_names[kind]);
        b.noise.quantize = 0.5F;
        check_ways(&b, kind_names[kind]);
        b.noise.quantize = 1;
        b.noise.quantize_rows = true;
        check_ways(&b, kind_names[kind]);
        bench_close(&b);
    }
}

/* A recomputed layer keeps its input alone. */
static void test_recompute_memory(void **state) {
    (void)state;
    size_t peak[2];
    for (int i = 0; i < 2; i++) {
        Bench b;
        bench_open(&b, CLASSIFIER);
        b.objective.recompute = i;
        pare_free(gradient(&b));
        peak[i] = pare_arena_peak(b.block.arena);
        bench_close(&b);
    }
    print_message("%zu bytes, with recomputed layers %zu\n", peak[0], peak[1]);
    assert_true(peak[1] < peak[0] * 3 / 4);
}

/* Whatever is frozen has no gradient, changes nobody else's, and leaves nothing behind. */
static void check_frozen(Bench *b, const float *grads, const char *what) {
    Block *k = &b->block;
    float *found = gradient(b);
    for (size_t t = 0; t < k->tensor_count; t++) {
        const PareTapeRange *r = &k->ranges[t];
        if (r->trained)
            assert_bits(k->names[t], grads + r->offset, found + r->offset, r->count);
        else if (norm_of(found + r->offset, r->count) != 0)
            fail_msg("%s: %s is frozen and has a gradient", what, k->names[t]);
    }
    pare_free(found);
}

static void test_frozen(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        Bench b;
        bench_open(&b, (Kind)kind);
        float *grads = gradient(&b);
        for (uint64_t pattern = 0; pattern < 12; pattern++) {
            float share = pattern < 6 ? 0.5F : 0.05F; /* of the tensors that are trained */
            for (size_t t = 0; t < b.block.tensor_count; t++)
                b.block.ranges[t].trained = pare_random_float(8, pattern, t) < share;
            b.objective.recompute = pattern % 2;
            check_frozen(&b, grads, kind_names[kind]);
            size_t peak = pare_tape_peak(b.block.tape);
            for (int i = 0; i < 3; i++)
                run(&b, true);
            assert_int_equal(pare_tape_peak(b.block.tape), peak);
        }
        pare_free(grads);
        bench_close(&b);
    }
}

/* A frozen encoder may be run without a tape: the same gradient, in less memory. */
static void test_frozen_encoder(void **state) {
    (void)state;
    Bench b;
    bench_open(&b, RELATIVE);
    for (size_t t = 0; t < b.block.tensor_count; t++)
        b.block.ranges[t].trained = strncmp(b.block.names[t], "encoder.", 8) != 0;
    b.noise = all_noise;
    float *grads = gradient(&b);
    for (int i = 0; i < 2; i++) {
        b.objective.frozen_encoder = true;
        b.objective.recompute = i;
        float *found = gradient(&b);
        assert_bits("a frozen encoder", grads, found, b.block.count);
        pare_free(found);
    }
    pare_free(grads);
    bench_close(&b);
}

/* -- student and teacher -- */

/* A wider teacher with twice the layers; `hidden` and `attention` weigh what is compared inside. */
static void add_teacher(Bench *b, Kind kind, float hidden, float attention) {
    const ModelShape student = {kind, 12, 4, 2}, above = {kind, 15, 5, 4};
    size_t at[PARE_STACKS][2] = {{0}};
    *b = (Bench){0};
    model_begin(&b->model, &student, &b->block);
    model_begin(&b->above, &above, &b->teacher);
    for (int s = 0; s < PARE_STACKS; s++)
        for (uint32_t l = 0; b->model.d.stacks[s].present && hidden > 0 && l < 2; l++)
            at[s][l] = block_add(&b->block, "projection", (size_t)15 * 12);
    block_begin(&b->block, 0.3F);
    block_begin(&b->teacher, 0.4F);
    model_bind(&b->model, &b->block);
    model_bind(&b->above, &b->teacher);
    fill_examples(&b->examples, &b->model.d);
    b->matching = (PareMatching){.hidden = hidden, .attention = attention};
    for (int s = 0; s < PARE_STACKS; s++) {
        if (!b->model.d.stacks[s].present)
            continue;
        b->supervisors[s][0] = 2;
        b->supervisors[s][1] = 3;
        b->matching.supervisors[s] = b->supervisors[s];
        for (uint32_t l = 0; l < 2; l++)
            b->projections[s][l].weight = (PareWeight){.dtype = PARE_F32,
                                                       .layout = PARE_LAYOUT_ROWS,
                                                       .N = 15,
                                                       .K = 12,
                                                       .data = b->block.values + at[s][l]};
        b->matching.projections[s] = hidden > 0 ? b->projections[s] : NULL;
    }
    b->objective = (PareObjective){.d = &b->model.d,
                                   .p = &b->model.params,
                                   .teacher_d = &b->above.d,
                                   .teacher_p = &b->above.params,
                                   .weights = {.label = 0.3F, .soft = 0.7F, .temperature = 2},
                                   .regression = kind == REGRESSION};
    if (hidden > 0 || attention > 0)
        b->objective.matching = &b->matching;
}

static void check_teacher(Kind kind, float hidden, float attention, bool differences) {
    Bench b;
    PareError err;
    add_teacher(&b, kind, hidden, attention);
    no_error(pare_matching_check(&b.matching, &b.model.d, &b.above.d, &err), &err);
    if (differences)
        check_differences(&b, kind_names[kind]);
    if (attention == 0) /* recomputed layers have no queries to compare */
        check_ways(&b, kind_names[kind]);
    run(&b, false);
    assert_int_equal(hidden > 0, b.terms.hidden > 0.01);
    assert_int_equal(attention > 0, b.terms.attention > 0.01);
    assert_true(b.terms.soft > 0.01 && b.terms.label > 0.01);
    assert_close("the total", b.terms.total,
                 b.terms.label + b.terms.soft + b.terms.hidden + b.terms.attention, 1e-9);
    bench_close(&b);
}

/* Differences take their time: once for each kind, with all that it can be compared by. */
static void test_teacher(void **state) {
    (void)state;
    for (int kind = 0; kind < KINDS; kind++) {
        bool attends = kind != RELATIVE && kind != LANGUAGE;
        check_teacher((Kind)kind, 0, 0, false);
        check_teacher((Kind)kind, 0.5F, 0, !attends);
        if (attends)
            check_teacher((Kind)kind, 0.5F, 2, true);
    }
}

/* What is compared inside reaches queries and keys each by itself. */
static void test_frozen_students(void **state) {
    (void)state;
    static const char *const alone[] = {"layers.0.self.query.weight", "layers.0.self.key.weight",
                                        "projection", "embed.tokens", "layers.1.self.key.bias"};
    for (int kind = 0; kind < KINDS; kind++) {
        Bench b;
        if (kind == RELATIVE || kind == LANGUAGE)
            continue;
        add_teacher(&b, (Kind)kind, 0.5F, 2);
        float *grads = gradient(&b);
        for (size_t i = 0; i < sizeof alone / sizeof *alone; i++) {
            for (size_t t = 0; t < b.block.tensor_count; t++)
                b.block.ranges[t].trained = strstr(b.block.names[t], alone[i]) != NULL;
            check_frozen(&b, grads, kind_names[kind]);
        }
        pare_free(grads);
        bench_close(&b);
    }
}

/* -- attention and hidden states by themselves, against sums in double precision -- */

enum { SEQUENCES = 2, ROWS = 7, HEADS = 4 };
static const PareRows packed[SEQUENCES] = {{.begin = 0, .count = 3}, {.begin = 3, .count = 4}};

/* The probabilities of one row. */
static void probabilities(const PareAttentionShape *s, const float *q, const float *k, size_t begin,
                          size_t row, size_t keys, size_t head, double *out) {
    size_t D = s->head_size, kv = head * s->kv_heads / s->heads;
    double sum = 0;
    for (size_t j = 0; j < keys; j++) {
        double dot = 0;
        for (size_t i = 0; i < D; i++)
            dot += (double)q[((begin + row) * s->heads + head) * D + i] *
                   (double)k[((begin + j) * s->kv_heads + kv) * D + i];
        sum += out[j] = exp(dot * (double)s->scale);
    }
    for (size_t j = 0; j < keys; j++)
        out[j] /= sum;
}

static double expected_attention(const PareAttentionShape *a, const PareAttentionShape *b,
                                 float *const *x, bool causal) {
    double loss = 0, p[ROWS], q[ROWS];
    for (size_t i = 0; i < SEQUENCES; i++)
        for (size_t row = 0; row < packed[i].count; row++)
            for (size_t head = 0; head < HEADS; head++) {
                size_t keys = causal ? row + 1 : packed[i].count;
                probabilities(a, x[0], x[1], packed[i].begin, row, keys, head, q);
                probabilities(b, x[2], x[3], packed[i].begin, row, keys, head, p);
                for (size_t j = 0; j < keys; j++)
                    loss += p[j] * log(p[j] / q[j]);
            }
    return loss / HEADS;
}

static void check_matching(bool causal) {
    Block block = {0};
    const size_t cols[6] = {HEADS * 3, 2 * 3, HEADS * 5, HEADS * 5, 9, 9};
    float *x[6];
    PareValue values[6], *list[6][2];
    for (size_t i = 0; i < 6; i++)
        block_add(&block, NULL, ROWS * cols[i]);
    block_begin(&block, 1);
    for (size_t i = 0; i < 6; i++) {
        x[i] = block.values + block.ranges[i].offset;
        values[i] = (PareValue){.data = x[i], .rows = ROWS, .cols = cols[i]};
        list[i][0] = list[i][1] = &values[i];
    }
    PareLayerShape a = {.self = {HEADS, 2, 3, 0.7F, 0}}, b = {.self = {HEADS, HEADS, 5, 0.4F, 0}};
    PareStack student = {.layer_count = 1, .layers = &a},
              teacher = {.layer_count = 1, .layers = &b};
    PareTaps taps = {list[4], list[0], list[1]}, above = {list[5], list[2], list[3]};
    const uint32_t supervisors[1] = {0};
    PareStackIndex index = causal ? PARE_DECODER : PARE_ENCODER;
    PareMatching m = {.hidden = 3, .attention = 2};
    m.supervisors[index] = supervisors;
    const PareMatchedStack s = {.student = &student,
                                .teacher = &teacher,
                                .student_taps = &taps,
                                .teacher_taps = &above,
                                .rows = packed,
                                .sequences = SEQUENCES,
                                .index = index,
                                .pairs = 5,
                                .batch_rows = 10};
    double hidden = 0, attention = 0, squares = 0;
    PareRun r = block_run(&block, false);
    pare_matching_run(&m, &r, &s, &hidden, &attention);
    no_error(r.status, &block.err);
    for (size_t i = 0; i < ROWS * cols[4]; i++)
        squares += ((double)x[4][i] - (double)x[5][i]) * ((double)x[4][i] - (double)x[5][i]);
    assert_close("hidden states", hidden, 3.0 / 5 * squares / (10 * 9), 1e-6);
    double expected = 2.0 / 5 / 10 * expected_attention(&a.self, &b.self, x, causal);
    assert_close("attention", attention, expected, 1e-6);
    block_end(&block);
}

static void test_matching(void **state) {
    (void)state;
    check_matching(false);
    check_matching(true);
}

static void test_matching_refusals(void **state) {
    (void)state;
    static const struct {
        Kind kind;
        uint32_t teacher_heads;
        const char *message;
    } cases[] = {{RELATIVE, 3, "relative positions"},
                 {LANGUAGE, 3, "a window only"},
                 {TAGGER, 2, "layer 1 of the student has 3 heads, layer 3 of the teacher 2"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Bench b;
        PareError err;
        add_teacher(&b, cases[i].kind, 0.5F, 0);
        PareStackIndex top = pare_description_top(&b.above.d);
        b.above.d.stacks[top].layers[3].self.heads = cases[i].teacher_heads;
        no_error(pare_matching_check(&b.matching, &b.model.d, &b.above.d, &err), &err);
        b.matching.attention = 1;
        assert_int_equal(pare_matching_check(&b.matching, &b.model.d, &b.above.d, &err),
                         PARE_E_UNSUPPORTED);
        assert_non_null(strstr(err.message, cases[i].message));
        bench_close(&b);
    }
}

/* -- no memory -- */

/* One step with a tape and an arena of its own while the n-th allocation fails. */
static PareStatus step_without_memory(Bench *b, uint64_t n) {
    Block *k = &b->block;
    block_zero(k);
    pare_tape_destroy(k->tape);
    b->terms = (PareLossTerms){0};
    pare_memory_fail_after(n);
    PareStatus st =
        pare_tape_create(k->values, k->grads, k->ranges, k->tensor_count, &k->tape, &k->err);
    PareArena *arena = st ? NULL : pare_arena_create(64);
    if (!st && !arena)
        st = pare_memory_error(&k->err, "a test");
    if (!st)
        st = run_part(b, arena, true, 0, ITEMS);
    pare_memory_fail_after(0);
    pare_arena_destroy(arena);
    return st;
}

/* A step of all that there is: an error, and the next step is as if nothing had been. */
static void check_no_memory(bool recompute, float hidden, float attention) {
    Bench b;
    PareStatus st;
    size_t failures = 0;
    add_teacher(&b, TRANSLATOR, hidden, attention);
    b.noise = all_noise;
    b.noise.layer_drop = 0;
    b.noise.quantize = 1;
    b.noise.quantize_rows = true;
    b.objective.recompute = recompute;
    float *grads = gradient(&b);
    for (uint64_t n = 1; (st = step_without_memory(&b, n)); n += n < 150 ? 1 : 7, failures++) {
        assert_int_equal(st, PARE_E_MEMORY);
        assert_non_null(strstr(b.block.err.message, "out of memory"));
    }
    assert_bits("after failures", grads, b.block.grads, b.block.count);
    assert_true(failures > 100);
    pare_free(grads);
    bench_close(&b);
}

static void test_no_memory(void **state) {
    (void)state;
    check_no_memory(false, 0.5F, 2);
    check_no_memory(true, 0.5F, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_losses),         cmocka_unit_test(test_values),
        cmocka_unit_test(test_models),         cmocka_unit_test(test_noise),
        cmocka_unit_test(test_simulated_loss), cmocka_unit_test(test_layer_drop),
        cmocka_unit_test(test_ways),           cmocka_unit_test(test_recompute_memory),
        cmocka_unit_test(test_frozen),         cmocka_unit_test(test_frozen_encoder),
        cmocka_unit_test(test_teacher),        cmocka_unit_test(test_frozen_students),
        cmocka_unit_test(test_matching),       cmocka_unit_test(test_matching_refusals),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
