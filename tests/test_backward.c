/* The backward pass of every operator: against differences, on one and three threads, with every
 * input frozen in turn, added to what stands there, and without a buffer that nobody gives back. */
#include "tests/test_backward_common.h"

enum { MAX_SIZES = 6 };

typedef struct Bench Bench;

typedef struct {
    const char *name;
    /* The value whose weighted sum is differentiated; NULL after an operator that made
     * bench->direct. */
    PareValue *(*run)(Bench *bench, PareRun *r);
    size_t sizes[MAX_SIZES]; /* of the tensors of the block; 0 ends */
    size_t rows, cols, outs; /* as `run` understands them */
    int kind;
    float number;
    PareNoise noise; /* all zero: none */
} Case;

struct Bench {
    Block block;
    const Case *c;
    double direct;    /* a loss that an operator computed itself */
    PareValue *extra; /* a second output; NULL: none */
    double losses[400];
};

static float *tensor(Bench *b, size_t t) {
    return b->block.values + b->block.ranges[t].offset;
}

/* -- leaves: tensors of the block as values -- */

typedef struct {
    PareNode node;
    float *to;
    PareGrad *dy;
} LeafNode;

static void leaf_backward(PareRun *r, PareNode *node) {
    LeafNode *n = (LeafNode *)node;
    for (size_t i = 0; n->dy->data && i < n->dy->count; i++)
        n->to[i] += n->dy->data[i];
    pare_grad_close(r, n->dy);
}

/* A copy, since operators may work in place. */
static PareValue *leaf(Bench *b, PareRun *r, size_t t, size_t rows, size_t cols) {
    assert_int_equal(b->block.ranges[t].count, rows * cols);
    PareValue *x = pare_op_new(r, rows, cols);
    assert_non_null(x);
    memcpy(x->data, tensor(b, t), rows * cols * sizeof *x->data);
    float *to = pare_tape_param(r, tensor(b, t));
    LeafNode *n = to ? pare_tape_record(r, sizeof *n, leaf_backward) : NULL;
    if (n) {
        n->to = to;
        n->dy = x->grad = pare_tape_grad(r, rows * cols);
    }
    return x;
}

/* -- one run -- */

static float weight_of(size_t output, size_t i) {
    return normal(500 + output, i);
}

static double weighted(const PareValue *y, size_t output) {
    double sum = 0;
    for (size_t i = 0; y && i < y->rows * y->cols; i++)
        sum += (double)weight_of(output, i) * (double)y->data[i];
    return sum;
}

static void seed(PareRun *r, PareValue *y, size_t output) {
    float *dy = y ? pare_grad_open(r, y->grad, NULL) : NULL;
    for (size_t i = 0; dy && i < y->rows * y->cols; i++)
        dy[i] += weight_of(output, i);
}

static double run_case(Bench *b, bool tape) {
    PareNoise noise = b->c->noise;
    PareRun r = block_run(&b->block, tape);
    b->direct = 0;
    b->extra = NULL;
    if (noise.seed)
        r.noise = &noise;
    PareValue *y = b->c->run(b, &r);
    no_error(r.status, &b->block.err);
    double value = b->direct + weighted(y, 0) + weighted(b->extra, 1);
    if (tape) {
        seed(&r, y, 0);
        seed(&r, b->extra, 1);
        no_error(pare_tape_backward(&r), &b->block.err);
    }
    return value;
}

static double value_of(void *context) {
    return run_case(context, false);
}

/* -- what holds for every operator -- */

static void check_threads(Bench *b, double value, const float *grads) {
    block_threads(&b->block, 3);
    block_zero(&b->block);
    double again = run_case(b, true);
    block_threads(&b->block, 1);
    assert_bits(b->c->name, grads, b->block.grads, b->block.count);
    if (memcmp(&value, &again, sizeof value) != 0)
        fail_msg("%s: %.17g on one thread, %.17g on three", b->c->name, value, again);
}

/* A second pass adds the same again, and needs no memory that the first did not need. */
static void check_accumulation(Bench *b, const float *grads) {
    Block *k = &b->block;
    size_t peak = pare_tape_peak(k->tape);
    memcpy(k->grads, grads, k->count * sizeof *grads);
    for (int i = 0; i < 3; i++)
        run_case(b, true);
    if (pare_tape_peak(k->tape) != peak)
        fail_msg("%s: gradients are not given back: %zu bytes, then %zu", b->c->name, peak,
                 pare_tape_peak(k->tape));
    for (size_t t = 0; t < k->tensor_count; t++) {
        const float *once = grads + k->ranges[t].offset, *sum = k->grads + k->ranges[t].offset;
        double limit = 1e-5 * norm_of(once, k->ranges[t].count);
        for (size_t i = 0; i < k->ranges[t].count; i++)
            if (!(fabs((double)sum[i] - 4 * (double)once[i]) <= limit + 1e-6))
                fail_msg("%s: gradient %zu of tensor %zu is %.9g, and %.9g after four passes",
                         b->c->name, i, t, (double)once[i], (double)sum[i]);
    }
}

/* The others' gradients are the same, there is none of what is frozen, and no buffer is lost. */
static void check_some_frozen(Bench *b, const float *grads) {
    Block *k = &b->block;
    block_zero(k);
    run_case(b, true);
    for (size_t i = 0; i < k->tensor_count; i++) {
        const float *g = k->grads + k->ranges[i].offset;
        if (k->ranges[i].trained)
            assert_bits(b->c->name, grads + k->ranges[i].offset, g, k->ranges[i].count);
        else
            assert_true(norm_of(g, k->ranges[i].count) == 0);
    }
    size_t peak = pare_tape_peak(k->tape);
    for (int i = 0; i < 3; i++)
        run_case(b, true);
    if (pare_tape_peak(k->tape) != peak)
        fail_msg("%s: frozen tensors leave gradients behind", b->c->name);
}

/* Each tensor alone without gradient, then all. */
static void check_frozen(Bench *b, const float *grads) {
    Block *k = &b->block;
    for (size_t t = 0; t <= k->tensor_count; t++) {
        for (size_t i = 0; i < k->tensor_count; i++)
            k->ranges[i].trained = t < k->tensor_count && i != t;
        check_some_frozen(b, grads);
    }
    for (size_t i = 0; i < k->tensor_count; i++)
        k->ranges[i].trained = true;
    block_zero(k);
    run_case(b, true);
    assert_bits(b->c->name, grads, k->grads, k->count);
}

static void check_case(const Case *c, double step) {
    Bench b = {.c = c};
    for (size_t t = 0; t < MAX_SIZES && c->sizes[t]; t++)
        block_add(&b.block, NULL, c->sizes[t]);
    block_begin(&b.block, 1);
    for (size_t i = 0; i < b.block.count; i++) /* none near 0, where RELU has no derivative */
        b.block.values[i] += b.block.values[i] < 0 ? -0.3F : 0.3F;
    double plain = run_case(&b, false), value = run_case(&b, true);
    if (memcmp(&plain, &value, sizeof value) != 0)
        fail_msg("%s: %.17g without a tape, %.17g with one", c->name, plain, value);
    float *grads = block_copy(&b.block, b.block.grads);
    Differences d = {.f = value_of,
                     .context = &b,
                     .b = &b.block,
                     .step = step,
                     .tolerance = 1e-3,
                     .floor = 1e-6 * (1 + fabs(value)) / step};
    for (size_t t = 0; t < b.block.tensor_count; t++)
        check_tensor(&d, c->name, t, grads);
    check_threads(&b, value, grads);
    check_accumulation(&b, grads);
    check_frozen(&b, grads);
    pare_free(grads);
    block_end(&b.block);
}

static void check_cases(const Case *cases, size_t count) {
    for (size_t i = 0; i < count; i++)
        check_case(&cases[i], 0.02);
}

#define CHECK(cases) check_cases(cases, sizeof(cases) / sizeof *(cases))

/* -- products -- */

static PareLinear linear_at(Bench *b, size_t weight, size_t bias, size_t N, size_t K) {
    return (PareLinear){.weight = {.dtype = PARE_F32,
                                   .layout = PARE_LAYOUT_ROWS,
                                   .N = N,
                                   .K = K,
                                   .data = tensor(b, weight)},
                        .bias = bias ? tensor(b, bias) : NULL};
}

static PareValue *run_linear(Bench *b, PareRun *r) {
    const Case *c = b->c;
    PareLinear l = linear_at(b, 1, c->sizes[2] ? 2 : 0, c->outs, c->cols);
    return pare_op_linear(r, leaf(b, r, 0, c->rows, c->cols), &l);
}

/* Three readers of one value, one of them twice through the same matrix. */
static PareValue *run_shared(Bench *b, PareRun *r) {
    const Case *c = b->c;
    PareLinear first = linear_at(b, 1, 2, c->cols, c->cols);
    PareLinear second = linear_at(b, 3, 0, c->cols, c->cols);
    PareValue *x = leaf(b, r, 0, c->rows, c->cols);
    PareValue *y = pare_op_linear(r, pare_op_linear(r, x, &first), &first);
    pare_op_scale(r, y, 0.1F);
    pare_op_add(r, y, pare_op_linear(r, x, &second));
    b->extra = pare_op_linear(r, x, &first);
    return y;
}

static void test_linear(void **state) {
    (void)state;
    static const Case cases[] = {
        {"linear 1x1", run_linear, {1, 1, 1}, .rows = 1, .cols = 1, .outs = 1},
        {"linear of a row", run_linear, {7, 35, 5}, .rows = 1, .cols = 7, .outs = 5},
        {"linear", run_linear, {4847, 1961, 53}, .rows = 131, .cols = 37, .outs = 53},
        {"linear without bias", run_linear, {4847, 1961}, .rows = 131, .cols = 37, .outs = 53},
        {"linear, many outputs", run_linear, {99, 1650, 550}, .rows = 33, .cols = 3, .outs = 550},
        {"linear, many inputs", run_linear, {1590, 3710, 7}, .rows = 3, .cols = 530, .outs = 7},
        {"linear, many rows", run_linear, {6162, 102, 17}, .rows = 1027, .cols = 6, .outs = 17},
        {"shared", run_shared, {420, 441, 21, 441}, .rows = 20, .cols = 21, .outs = 21},
    };
    CHECK(cases);
}

/* -- norms -- */

static PareValue *run_norm(Bench *b, PareRun *r) {
    const Case *c = b->c;
    PareNormKind kind = c->sizes[2] ? PARE_NORM_LAYER : PARE_NORM_RMS;
    PareNorm n = {tensor(b, 1), c->sizes[2] ? tensor(b, 2) : NULL};
    PareValue *x = leaf(b, r, 0, c->rows, c->cols);
    if (!c->kind)
        return pare_op_norm(r, x, kind, &n, c->number);
    pare_op_norm_in_place(r, x, kind, &n, c->number);
    return x;
}

/* The two residual connections: x + norm(x) W, and norm(x + x W) twice. */
static PareValue *run_residual(Bench *b, PareRun *r) {
    const Case *c = b->c;
    PareNorm n = {tensor(b, 1), tensor(b, 2)};
    PareLinear l = linear_at(b, 3, 0, c->cols, c->cols);
    PareValue *x = leaf(b, r, 0, c->rows, c->cols);
    for (int i = 0; i < 2; i++) {
        PareValue *in = c->kind ? pare_op_norm(r, x, PARE_NORM_LAYER, &n, 1e-5F) : x;
        pare_op_add(r, x, pare_op_linear(r, in, &l));
        if (!c->kind)
            pare_op_norm_in_place(r, x, PARE_NORM_LAYER, &n, 1e-5F);
    }
    return x;
}

static void test_norms(void **state) {
    (void)state;
    static const Case cases[] = {
        {"layer norm", run_norm, {35, 7, 7}, .rows = 5, .cols = 7, .number = 1e-5F},
        {"layer norm of 2", run_norm, {6, 2, 2}, .rows = 3, .cols = 2, .number = 1e-1F},
        {"layer norm in place",
         run_norm,
         {16950, 113, 113},
         .rows = 150,
         .cols = 113,
         .kind = 1,
         .number = 1e-5F},
        {"RMS norm", run_norm, {35, 7}, .rows = 5, .cols = 7, .number = 1e-6F},
        {"RMS norm in place",
         run_norm,
         {16950, 113},
         .rows = 150,
         .cols = 113,
         .kind = 1,
         .number = 1e-6F},
        {"post-norm residual", run_residual, {95, 19, 19, 361}, .rows = 5, .cols = 19},
        {"pre-norm residual", run_residual, {95, 19, 19, 361}, .rows = 5, .cols = 19, .kind = 1},
    };
    CHECK(cases);
}

/* -- element by element -- */

static PareValue *run_add(Bench *b, PareRun *r) {
    PareValue *x = leaf(b, r, 0, b->c->rows, b->c->cols);
    PareValue *y = leaf(b, r, 1, b->c->rows, b->c->cols);
    pare_op_add(r, x, y);
    pare_op_activate(r, y, PARE_ACT_TANH);
    pare_op_add(r, x, y);
    pare_op_add(r, x, y);
    return x;
}

static PareValue *run_activate(Bench *b, PareRun *r) {
    PareValue *x = leaf(b, r, 0, b->c->rows, b->c->cols);
    pare_op_activate(r, x, (PareActivation)b->c->kind);
    return x;
}

static PareValue *run_gate(Bench *b, PareRun *r) {
    PareValue *x = leaf(b, r, 0, b->c->rows, b->c->cols);
    pare_op_gate(r, x, leaf(b, r, 1, b->c->rows, b->c->cols), (PareActivation)b->c->kind);
    return x;
}

/* Both what was scaled and what it was made of are read. */
static PareValue *run_scale(Bench *b, PareRun *r) {
    PareValue *x = leaf(b, r, 0, b->c->rows, b->c->cols);
    PareValue *y = leaf(b, r, 1, b->c->rows, b->c->cols);
    pare_op_add(r, y, x);
    pare_op_scale(r, x, b->c->number);
    b->extra = x;
    return y;
}

static PareValue *run_gather(Bench *b, PareRun *r) {
    static const uint32_t rows[] = {4, 0, 4, 2, 4};
    PareValue *x = leaf(b, r, 0, b->c->rows, b->c->cols);
    PareValue *y = pare_op_gather(r, x, rows, 5);
    b->extra = pare_op_gather(r, x, rows + 1, 1);
    return y;
}

static PareValue *run_tap(Bench *b, PareRun *r) {
    PareLinear l = linear_at(b, 1, 0, b->c->cols, b->c->cols);
    PareValue *x = leaf(b, r, 0, b->c->rows, b->c->cols);
    PareValue *y = pare_op_linear(r, x, &l);
    b->extra = pare_op_tap(r, x);
    pare_op_add(r, x, y);
    pare_op_activate(r, x, PARE_ACT_SILU);
    return x;
}

static void test_elements(void **state) {
    (void)state;
    static const Case cases[] = {
        {"add", run_add, {15, 15}, .rows = 3, .cols = 5},
        {"add, large", run_add, {16950, 16950}, .rows = 150, .cols = 113},
        {"scale", run_scale, {15, 15}, .rows = 3, .cols = 5, .number = -2.5F},
        {"scale by 1", run_scale, {15, 15}, .rows = 3, .cols = 5, .number = 1},
        {"gather", run_gather, {35}, .rows = 5, .cols = 7},
        {"tap", run_tap, {95, 361}, .rows = 5, .cols = 19},
    };
    CHECK(cases);
}

static void test_activations(void **state) {
    (void)state;
    static const char *const names[PARE_ACT_COUNT] = {"identity",   "relu", "gelu", "gelu_tanh",
                                                      "gelu_quick", "silu", "tanh", "sigmoid"};
    for (int act = 0; act < PARE_ACT_COUNT; act++) {
        Case plain = {names[act], run_activate, {51}, .rows = 3, .cols = 17, .kind = act};
        Case gated = {names[act], run_gate, {51, 51}, .rows = 3, .cols = 17, .kind = act};
        check_case(&plain, 0.02);
        check_case(&gated, 0.02);
    }
    Case large[] = {
        {"gelu, large", run_activate, {16950}, .rows = 150, .cols = 113, .kind = PARE_ACT_GELU},
        {"gated silu, large",
         run_gate,
         {16950, 16950},
         .rows = 150,
         .cols = 113,
         .kind = PARE_ACT_SILU}};
    CHECK(large);
}

/* -- embeddings -- */

enum { VOCABULARY = 9, POSITIONS = 6, TYPES = 2, OFFSET = 2, TOKENS = 240 };

static PareValue *run_embed(Bench *b, PareRun *r) {
    static const int32_t ids[TOKENS] = {3, 8, 3, 0, 3, 1, 8}, types[TOKENS] = {0, 1, 1, 0, 1, 0, 1};
    static const uint32_t positions[TOKENS] = {0, 1, 2, 3, 0, 1, 2};
    const Case *c = b->c;
    PareTokens t = {ids, c->kind & 1 ? types : NULL, positions, c->rows};
    PareStackParams p = {.tokens = linear_at(b, 0, 0, VOCABULARY, c->cols).weight};
    p.positions = c->sizes[1] ? tensor(b, 1) : NULL;
    p.types = c->sizes[2] ? tensor(b, 2) : NULL;
    return pare_op_embed(r, &p, c->number, OFFSET, &t);
}

static void test_embed(void **state) {
    (void)state;
    static const Case cases[] = {
        {"tokens", run_embed, {VOCABULARY * 5}, .rows = 7, .cols = 5, .number = 1},
        {"tokens, scaled", run_embed, {VOCABULARY * 5}, .rows = 7, .cols = 5, .number = 2.2F},
        {"positions",
         run_embed,
         {VOCABULARY * 5, (POSITIONS + OFFSET) * 5},
         .rows = 7,
         .cols = 5,
         .number = 2.2F},
        {"types",
         run_embed,
         {VOCABULARY * 5, (POSITIONS + OFFSET) * 5, TYPES * 5},
         .rows = 7,
         .cols = 5,
         .kind = 1,
         .number = 0.5F},
        {"the first type",
         run_embed,
         {VOCABULARY * 70, (POSITIONS + OFFSET) * 70, TYPES * 70},
         .rows = TOKENS,
         .cols = 70,
         .number = 3},
    };
    CHECK(cases);
}

/* The padding token's row learns nothing, the others as without. */
static void test_embed_padding(void **state) {
    (void)state;
    enum { PADDING = 3, COLS = 5 };
    const Case c = {"padding", run_embed,    {VOCABULARY * COLS},
                    .rows = 7, .cols = COLS, .number = 1};
    Bench b = {.c = &c};
    block_add(&b.block, NULL, c.sizes[0]);
    block_begin(&b.block, 1);
    run_case(&b, true);
    float *all = block_copy(&b.block, b.block.grads);
    block_zero(&b.block);
    pare_tape_set_padding(b.block.tape, PADDING);
    run_case(&b, true);
    for (size_t i = 0; i < COLS; i++) {
        assert_true(all[PADDING * COLS + i] != 0);
        all[PADDING * COLS + i] = 0;
    }
    assert_bits("padding", all, b.block.grads, c.sizes[0]);
    pare_free(all);
    block_end(&b.block);
}

/* -- dropout -- */

static PareValue *run_dropout(Bench *b, PareRun *r) {
    PareLinear l = linear_at(b, 1, 0, b->c->cols, b->c->cols);
    PareValue *x = leaf(b, r, 0, b->c->rows, b->c->cols);
    r->noise->base = 11;
    pare_op_dropout(r, x, 0.4F);
    PareValue *y = pare_op_linear(r, x, &l);
    r->noise->base = 0; /* what later rows are numbered by is not what these were */
    pare_op_dropout(r, y, 0.1F);
    return y;
}

static void test_dropout(void **state) {
    (void)state;
    static const Case cases[] = {
        {"dropout", run_dropout, {95, 361}, .rows = 5, .cols = 19, .noise = {.seed = 3, .step = 2}},
        {"dropout, large",
         run_dropout,
         {16950, 12769},
         .rows = 150,
         .cols = 113,
         .noise = {.seed = 4}},
    };
    CHECK(cases);
    Bench b = {.c = &cases[1]};
    block_add(&b.block, NULL, 16950);
    block_add(&b.block, NULL, 12769);
    block_begin(&b.block, 1);
    PareNoise noise = {.seed = 9};
    PareRun r = block_run(&b.block, false);
    r.noise = &noise;
    PareValue *x = leaf(&b, &r, 0, 150, 113);
    pare_op_dropout(&r, x, 0.25F);
    size_t kept = 0;
    for (size_t i = 0; i < 16950; i++) {
        kept += x->data[i] != 0;
        float whole = tensor(&b, 0)[i] / 0.75F;
        if (x->data[i] != 0)
            assert_true(fabsf(x->data[i] - whole) <= 1e-6F * fabsf(whole));
    }
    assert_in_range(kept, 12400, 13025); /* 12712, and 5.5 standard deviations */
    block_end(&b.block);
}

/* -- attention -- */

enum { MAX_SPANS = 3 };

typedef struct {
    const char *name;
    size_t queries[MAX_SPANS], keys[MAX_SPANS]; /* keys 0: those of the queries */
    uint32_t heads, kv_heads, head_size, window;
    bool causal, relative;
    float dropout;
} Attention;

static const Attention *attention;

static size_t sum_of(const size_t *list) {
    return list[0] + list[1] + list[2];
}

/* Tensors: queries, keys, values, and the table of biases. */
static PareValue *run_attention(Bench *b, PareRun *r) {
    enum { BUCKETS = 6, FAR = 9, REACH = 70 };
    const Attention *c = attention;
    const size_t *keys = sum_of(c->keys) ? c->keys : c->queries;
    size_t D = c->head_size, kv = c->kv_heads * D;
    PareValue *q = leaf(b, r, 0, sum_of(c->queries), c->heads * D);
    PareAttention a = {.shape = {c->heads, c->kv_heads, c->head_size, 0.6F, c->window},
                       .causal = c->causal,
                       .key = leaf(b, r, 1, sum_of(keys), kv),
                       .value = leaf(b, r, 2, sum_of(keys), kv),
                       .reach = REACH};
    if (c->relative)
        a.relative = pare_op_relative(r, tensor(b, 3), BUCKETS, FAR, !c->causal, c->heads, REACH,
                                      &a.relative_grad);
    PareSpan *spans = pare_arena_alloc(r->arena, MAX_SPANS, sizeof *spans);
    size_t count = 0;
    for (size_t i = 0, row = 0, key = 0; i < MAX_SPANS; row += c->queries[i], key += keys[i], i++)
        if (c->queries[i])
            spans[count++] = (PareSpan){.q_begin = row,
                                        .q_count = c->queries[i],
                                        .k = a.key->data + key * kv,
                                        .v = a.value->data + key * kv,
                                        .keys = keys[i]};
    if (r->noise)
        r->noise->base = 5;
    return pare_op_attention(r, q, spans, count, &a);
}

static void check_attention(const Attention *c) {
    enum { BUCKETS = 6 };
    size_t queries = sum_of(c->queries), keys = sum_of(c->keys) ? sum_of(c->keys) : queries;
    Case k = {.name = c->name, .run = run_attention};
    k.sizes[0] = queries * c->heads * c->head_size;
    k.sizes[1] = k.sizes[2] = keys * c->kv_heads * c->head_size;
    if (c->relative)
        k.sizes[3] = (size_t)BUCKETS * c->heads;
    if (c->dropout > 0)
        k.noise = (PareNoise){.seed = 21, .attention = c->dropout};
    attention = c;
    check_case(&k, 0.01);
}

static void test_attention(void **state) {
    (void)state;
    static const Attention cases[] = {
        {"one key", {1}, {0}, 1, 1, 3, 0, false, false, 0},
        {"encoder", {5, 1, 7}, {0}, 2, 2, 5, 0, false, false, 0},
        {"causal", {5, 1, 7}, {0}, 2, 2, 5, 0, true, false, 0},
        {"window", {9, 2}, {0}, 2, 2, 3, 3, true, false, 0},
        {"window of 1", {4}, {0}, 2, 1, 3, 1, true, false, 0},
        {"cross", {5, 1, 3}, {2, 7, 4}, 2, 2, 5, 0, false, false, 0},
        {"shared keys", {5, 4}, {0}, 6, 2, 3, 0, false, false, 0},
        {"one key head", {5, 4}, {0}, 4, 1, 3, 0, true, false, 0},
        {"shared keys, cross", {3, 2}, {5, 1}, 4, 2, 3, 0, false, false, 0},
        {"biases of both sides", {13, 1, 6}, {0}, 3, 3, 4, 0, false, true, 0},
        {"causal biases", {13, 1, 6}, {0}, 3, 3, 4, 0, true, true, 0},
        {"biases, shared keys", {12, 4}, {0}, 4, 2, 3, 0, true, true, 0},
        {"dropout", {5, 7}, {0}, 2, 2, 5, 0, false, false, 0.3F},
        {"dropout, causal, shared keys", {5, 7}, {0}, 4, 2, 5, 4, true, false, 0.3F},
        {"dropout with biases", {5, 7}, {0}, 2, 2, 5, 0, false, true, 0.3F},
        {"several tiles", {67, 33, 5}, {0}, 4, 2, 17, 0, false, true, 0.1F},
        {"several tiles, causal", {70, 32, 31}, {0}, 3, 3, 16, 40, true, false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check_attention(&cases[i]);
}

/* -- losses on scores -- */

typedef struct {
    Bench *b;
    bool backward;
} RowsContext;

/* sum over rows of w . x + x . x / 2, or, with a teacher, of |x - teacher|^2 / 2. */
static void quadratic(void *context, const PareLossRows *rows) {
    Bench *b = context;
    for (size_t i = 0; i < rows->count; i++) {
        float *x = rows->logits + i * rows->n;
        double sum = 0;
        for (size_t n = 0; n < rows->n; n++) {
            float w = weight_of(3, (rows->first + i) * rows->n + n);
            double d = rows->teacher ? (double)x[n] - rows->teacher[i * rows->n + n] : (double)x[n];
            sum += d * d / 2 + (rows->teacher ? 0 : (double)w * x[n]);
            if (rows->scratch)
                rows->scratch[i * rows->n + n] = 1e30F; /* is this row's own */
            if (rows->gradient)
                x[n] = (float)d + (rows->teacher ? 0 : w);
        }
        b->losses[rows->first + i] = sum;
    }
}

/* Tensors: x, W, bias, and where there is a teacher, its x. */
static PareValue *run_output_loss(Bench *b, PareRun *r) {
    const Case *c = b->c;
    PareLinear l = linear_at(b, 1, 2, c->outs, c->cols);
    PareLinear own = l;
    PareTape *tape = r->tape;
    PareOutputLoss o = {.x = leaf(b, r, 0, c->rows, c->cols), .output = &l};
    if (c->kind) {
        static float teacher[2][400];
        for (size_t i = 0; i < 400; i++)
            teacher[0][i] = normal(90, i), teacher[1][i] = normal(91, i);
        own.weight.K = 1;
        own.weight.data = teacher[0];
        own.bias = NULL;
        r->tape = NULL;
        o.teacher_x = pare_op_view(r, teacher[1], c->rows, 1);
        o.teacher_output = &own;
        r->tape = tape;
    }
    pare_op_activate(r, o.x, PARE_ACT_TANH);
    pare_op_output_loss(r, &o, quadratic, b);
    for (size_t i = 0; i < c->rows; i++)
        b->direct += b->losses[i];
    return NULL;
}

static void test_output_loss(void **state) {
    (void)state;
    static const Case cases[] = {
        {"a row", run_output_loss, {5, 35, 7}, .rows = 1, .cols = 5, .outs = 7},
        {"two pieces of rows", run_output_loss, {1285, 35, 7}, .rows = 257, .cols = 5, .outs = 7},
        {"many scores", run_output_loss, {930, 906, 302}, .rows = 310, .cols = 3, .outs = 302},
        {"a teacher",
         run_output_loss,
         {1500, 105, 21},
         .rows = 300,
         .cols = 5,
         .outs = 21,
         .kind = 1},
    };
    CHECK(cases);
}

/* -- simulated INT8: straight through -- */

/* The gradient is that of the product of what the product sees: the simulated values. */
static void check_straight_through(PareNoise noise) {
    enum { ROWS = 33, K = 37, N = 53 };
    const Case c = {"straight through", run_linear, {ROWS * K, N * K, N}, .rows = ROWS,
                    .cols = K,          .outs = N,  .noise = noise};
    Bench a = {.c = &c};
    for (size_t t = 0; t < 3; t++)
        block_add(&a.block, NULL, c.sizes[t]);
    block_begin(&a.block, 1);
    double value = run_case(&a, true);
    float *grads = block_copy(&a.block, a.block.grads), seen[N * K], identity[K * K] = {0};
    for (size_t i = 0; i < K; i++)
        identity[i * K + i] = 1;
    PareNoise again = noise; /* the same draws, with rows that show the matrix */
    PareRun r = block_run(&a.block, false);
    r.noise = &again;
    again.quantize_rows = false;
    PareLinear l = linear_at(&a, 1, 0, N, K);
    PareValue *w = pare_op_linear(&r, pare_op_view(&r, identity, K, K), &l);
    assert_non_null(w);
    size_t changed = 0;
    for (size_t n = 0; n < N; n++)
        for (size_t k = 0; k < K; k++) {
            seen[n * K + k] = w->data[k * N + n];
            changed += seen[n * K + k] != tensor(&a, 1)[n * K + k];
        }
    if (noise.quantize >= 1)
        assert_true(changed > N * K * 9 / 10);
    else
        assert_in_range(changed, N * K / 4, N * K * 3 / 4);
    memcpy(tensor(&a, 1), seen, sizeof seen);
    if (noise.quantize_rows)
        pare_kernels()->simulate_i8_rows(tensor(&a, 0), tensor(&a, 0), ROWS, K);
    Case plain = c;
    plain.noise = (PareNoise){0};
    a.c = &plain;
    block_zero(&a.block);
    double expected = run_case(&a, true);
    /* All of INT8 is summed in integers. */
    double limit = noise.quantize >= 1 && noise.quantize_rows ? 1e-5 * fabs(expected) : 0;
    assert_true(fabs(value - expected) <= limit);
    assert_bits("straight through", grads, a.block.grads, a.block.count);
    pare_free(grads);
    block_end(&a.block);
}

static void test_straight_through(void **state) {
    (void)state;
    check_straight_through((PareNoise){.seed = 5, .quantize = 1});
    check_straight_through((PareNoise){.seed = 5, .quantize = 1, .quantize_rows = true});
    check_straight_through((PareNoise){.seed = 5, .step = 3, .quantize = 0.5F});
    check_straight_through((PareNoise){.seed = 6, .quantize = 0.5F, .quantize_rows = true});
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_linear),      cmocka_unit_test(test_norms),
        cmocka_unit_test(test_elements),    cmocka_unit_test(test_activations),
        cmocka_unit_test(test_embed),       cmocka_unit_test(test_embed_padding),
        cmocka_unit_test(test_dropout),     cmocka_unit_test(test_attention),
        cmocka_unit_test(test_output_loss), cmocka_unit_test(test_straight_through),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
