/* What the gradients must be: every backward kernel against central differences of its forward
 * function, written here once more in double precision. All variants give the bits of scalar
 * (test_kernels_train.c, test_kernels_attend_train.c), so that the best one speaks for all. */
#include "tests/test_kernels.h"

#include "core/random.h"

/* |got - want| <= 1e-4 of the largest gradient of its kind, and closer where that is possible. */
static const double RELATIVE = 1e-4;
static const double STEP = 1e-5;

/* `count` gradients, added to what stood in `before`. */
static void check(const char *what, const float *got, const float *before, const double *want,
                  size_t count) {
    double largest = 0.0;
    for (size_t i = 0; i < count; i++)
        largest = fmax(largest, fabs(want[i]));
    for (size_t i = 0; i < count; i++) {
        double found = (double)got[i] - (double)before[i];
        if (!(fabs(found - want[i]) <= RELATIVE * largest))
            fail_msg("%s: gradient %zu is %.9g, differences say %.9g", what, i, found, want[i]);
    }
}

/* A function of all inputs, whose gradient is asked for. */
typedef double (*Loss)(const void *context);

/* The derivative by `*x`, which the loss reads. */
static double difference(Loss loss, const void *context, double *x) {
    double at = *x;
    *x = at + STEP;
    double above = loss(context);
    *x = at - STEP;
    double below = loss(context);
    *x = at;
    return (above - below) / (2.0 * STEP);
}

static void differences(double *gradient, Loss loss, const void *context, double *x, size_t count) {
    for (size_t i = 0; i < count; i++)
        gradient[i] = difference(loss, context, &x[i]);
}

static void widen(double *to, const float *from, size_t count) {
    for (size_t i = 0; i < count; i++)
        to[i] = (double)from[i];
}

/* -- activations -- */

static double exact(PareActivation act, double x) {
    double u = sqrt(2.0 / 3.14159265358979323846) * (x + 0.044715 * x * x * x);
    switch (act) {
    case PARE_ACT_RELU:
        return x > 0 ? x : 0;
    case PARE_ACT_GELU:
        return 0.5 * x * erfc(-x / sqrt(2.0));
    case PARE_ACT_GELU_TANH:
        return 0.5 * x * (1.0 + tanh(u));
    case PARE_ACT_GELU_QUICK:
        return x / (1.0 + exp(-1.702 * x));
    case PARE_ACT_SILU:
        return x / (1.0 + exp(-x));
    case PARE_ACT_TANH:
        return tanh(x);
    case PARE_ACT_SIGMOID:
        return 1.0 / (1.0 + exp(-x));
    case PARE_ACT_IDENTITY:
    case PARE_ACT_COUNT:
        break;
    }
    return x;
}

/* The differences' own error is below 1e-10; RELU has no derivative at 0, where ours is 0. */
static double exact_slope(PareActivation act, double x) {
    if (act == PARE_ACT_RELU)
        return x > 0 ? 1.0 : 0.0;
    return (exact(act, x + STEP) - exact(act, x - STEP)) / (2.0 * STEP);
}

static void test_activations(void **state) {
    (void)state;
    enum { PLACES = 1601 }; /* -8 to 8 by hundredths, with 0 */
    static float x[PLACES], dx[PLACES], ones[PLACES];
    for (size_t i = 0; i < PLACES; i++) {
        x[i] = (float)((double)i - 800.0) / 100.0f;
        ones[i] = 1.0f;
    }
    assert_true(x[800] == 0.0f);
    for (int act = 0; act < PARE_ACT_COUNT; act++) {
        memset(dx, 0, sizeof dx);
        pare_kernels()->activate_backward((PareActivation)act, dx, ones, x, PLACES);
        for (size_t i = 0; i < PLACES; i++) {
            double want = exact_slope((PareActivation)act, (double)x[i]);
            if (fabs((double)dx[i] - want) > 1e-6 * fabs(want) + 3e-7)
                fail_msg("activation %d at %g: derivative %.9g instead of %.9g", act, (double)x[i],
                         (double)dx[i], want);
        }
    }
}

/* Where tanh and sigmoid are almost 1, their derivatives keep their digits. */
static void test_saturation(void **state) {
    (void)state;
    for (double x = -40.0; x < 40.0; x += 0.37) {
        const float at = (float)x, one = 1.0f;
        float tanh_slope = 0.0f, sigmoid_slope = 0.0f;
        double e = exp(-fabs((double)at)), e2 = e * e;
        double want = e / ((1 + e) * (1 + e)), want_tanh = 4 * e2 / ((1 + e2) * (1 + e2));
        pare_kernels()->activate_backward(PARE_ACT_SIGMOID, &sigmoid_slope, &one, &at, 1);
        pare_kernels()->activate_backward(PARE_ACT_TANH, &tanh_slope, &one, &at, 1);
        assert_true(fabs((double)sigmoid_slope - want) <= 1e-6 * want);
        assert_true(fabs((double)tanh_slope - want_tanh) <= 1e-6 * want_tanh);
    }
}

/* Far out there are limits, no NaN; a NaN stays but in RELU. */
static void test_limits(void **state) {
    (void)state;
    const float x[6] = {-INFINITY, -3e38f, -200.0f, 200.0f, 3e38f, INFINITY}, nan = NAN, one = 1.0f;
    for (int act = 0; act < PARE_ACT_COUNT; act++) {
        float ends = act == PARE_ACT_TANH || act == PARE_ACT_SIGMOID ? 0.0f : 1.0f, slope = 0.0f;
        for (size_t i = 0; i < 6; i++) {
            float dx = 0.0f;
            pare_kernels()->activate_backward((PareActivation)act, &dx, &one, &x[i], 1);
            assert_true(dx == (i < 3 && act != PARE_ACT_IDENTITY ? 0.0f : ends));
        }
        pare_kernels()->activate_backward((PareActivation)act, &slope, &one, &nan, 1);
        assert_int_equal(isnan(slope), act != PARE_ACT_RELU && act != PARE_ACT_IDENTITY);
    }
}

static void test_gated(void **state) {
    (void)state;
    enum { N = 500 };
    static float gate[N], up[N], dy[N], dgate[N], dup[N], before[N];
    static double want_gate[N], want_up[N];
    fill_floats(gate, N, 6.0f, 1);
    fill_floats(up, N, 2.0f, 2);
    fill_floats(dy, N, 1.0f, 3);
    fill_floats(before, N, 1.0f, 4);
    for (int act = 0; act < PARE_ACT_COUNT; act++) {
        for (size_t i = 0; i < N; i++) {
            double x = (double)gate[i];
            want_gate[i] = (double)dy[i] * (double)up[i] * exact_slope((PareActivation)act, x);
            want_up[i] = (double)dy[i] * exact((PareActivation)act, x);
        }
        memcpy(dgate, before, sizeof before);
        memcpy(dup, before, sizeof before);
        pare_kernels()->activate_gated_backward((PareActivation)act, dgate, dup, dy, gate, up, N);
        check("gate", dgate, before, want_gate, N);
        check("up", dup, before, want_up, N);
    }
}

/* -- norms -- */

enum { NORM_ROWS = 4, NORM_WIDTH = 37, NORM_SIZE = NORM_ROWS * NORM_WIDTH };

typedef struct {
    double x[NORM_SIZE], dy[NORM_SIZE], weight[NORM_WIDTH], bias[NORM_WIDTH], eps;
    int centre;
} Norm;

/* sum dy * y, y the normed rows. */
static double norm_loss(const void *context) {
    const Norm *n = context;
    double loss = 0.0;
    for (size_t m = 0; m < NORM_ROWS; m++) {
        const double *x = n->x + m * NORM_WIDTH, *dy = n->dy + m * NORM_WIDTH;
        double mean = 0.0, var = 0.0;
        for (size_t i = 0; i < NORM_WIDTH && n->centre; i++)
            mean += x[i] / NORM_WIDTH;
        for (size_t i = 0; i < NORM_WIDTH; i++)
            var += (x[i] - mean) * (x[i] - mean) / NORM_WIDTH;
        for (size_t i = 0; i < NORM_WIDTH; i++)
            loss += dy[i] * ((x[i] - mean) / sqrt(var + n->eps) * n->weight[i] + n->bias[i]);
    }
    return loss;
}

static void check_norm(int centre) {
    static float x[NORM_SIZE], dy[NORM_SIZE], weight[NORM_WIDTH];
    static float dx[NORM_SIZE], dweight[NORM_WIDTH], dbias[NORM_WIDTH], before[NORM_SIZE];
    static double want[NORM_SIZE];
    static Norm n;
    fill_floats(x, NORM_SIZE, 2.0f, 1);
    fill_floats(dy, NORM_SIZE, 1.0f, 2);
    fill_floats(weight, NORM_WIDTH, 2.0f, 3);
    fill_floats(before, NORM_SIZE, 1.0f, 4);
    for (size_t i = 0; i < NORM_WIDTH; i++)
        x[i] = x[i] * 0.01f + 3.0f; /* a row far from 0 with little variance */
    widen(n.x, x, NORM_SIZE);
    widen(n.dy, dy, NORM_SIZE);
    widen(n.weight, weight, NORM_WIDTH);
    n.centre = centre;
    n.eps = (double)1e-3f;
    memcpy(dx, before, sizeof dx);
    memcpy(dweight, before, sizeof dweight);
    memcpy(dbias, before, sizeof dbias);
    if (centre)
        pare_kernels()->layer_norm_backward(dx, dweight, dbias, dy, x, weight, 1e-3f, NORM_ROWS,
                                            NORM_WIDTH);
    else
        pare_kernels()->rms_norm_backward(dx, dweight, dy, x, weight, 1e-3f, NORM_ROWS, NORM_WIDTH);
    differences(want, norm_loss, &n, n.x, NORM_SIZE);
    check("dx of the first row", dx, before, want, NORM_WIDTH);
    check("dx", dx + NORM_WIDTH, before + NORM_WIDTH, want + NORM_WIDTH, NORM_SIZE - NORM_WIDTH);
    differences(want, norm_loss, &n, n.weight, NORM_WIDTH);
    check("dweight", dweight, before, want, NORM_WIDTH);
    differences(want, norm_loss, &n, n.bias, NORM_WIDTH);
    if (centre)
        check("dbias", dbias, before, want, NORM_WIDTH);
}

static void test_layer_norm(void **state) {
    (void)state;
    check_norm(1);
}

static void test_rms_norm(void **state) {
    (void)state;
    check_norm(0);
}

/* -- attention -- */

enum { BIAS = 1, CAUSAL = 2, WINDOW = 4, DROP = 8, USES = 16, ROWS_MAX = 40, KEYS_MAX = 45 };
enum { FLOATS_MAX = KEYS_MAX * 40, BIAS_MAX = ROWS_MAX * (KEYS_MAX + 1) };

static const PareDropout a_fifth = {9, 4, 0x33333333u, 1.25f};

/* The strides of q, k, v and out differ; `a` holds the shape. */
typedef struct {
    PareAttend a;
    double q[FLOATS_MAX], k[FLOATS_MAX], v[FLOATS_MAX], dout[FLOATS_MAX], bias[BIAS_MAX];
} Attention;

static int sees(const PareAttend *a, size_t r, size_t j) {
    if (!a->causal)
        return 1;
    size_t position = a->causal_offset + r; /* the row's own key */
    if (j > position)
        return 0;
    size_t last = position + 1 < a->keys ? position + 1 : a->keys;
    return !a->window || j + a->window >= last;
}

static double score(const Attention *t, size_t r, size_t j) {
    const PareAttend *a = &t->a;
    double dot = 0.0;
    for (size_t d = 0; d < a->D; d++)
        dot += t->q[r * a->q_stride + d] * t->k[j * a->k_stride + d];
    return dot * (double)a->scale + (a->bias ? t->bias[r * a->bias_stride + j] : 0.0);
}

static double mask(const PareAttend *a, size_t r, size_t j) {
    if (!a->dropout)
        return 1.0;
    uint64_t index = a->dropout_index + r * a->dropout_stride + j;
    uint32_t word = pare_random_u32(a->dropout->seed, a->dropout->stream, index);
    return word >= a->dropout->threshold ? (double)a->dropout->keep : 0.0;
}

/* sum dout * out of row r. */
static double row_loss(const Attention *t, size_t r) {
    const PareAttend *a = &t->a;
    double sum = 0.0, loss = 0.0;
    for (size_t j = 0; j < a->keys; j++) {
        if (!sees(a, r, j))
            continue;
        double e = exp(score(t, r, j)), product = 0.0;
        for (size_t d = 0; d < a->D; d++)
            product += t->dout[r * a->out_stride + d] * t->v[j * a->v_stride + d];
        sum += e;
        loss += e * mask(a, r, j) * product;
    }
    return sum > 0.0 ? loss / sum : 0.0;
}

static double attend_loss(const void *context) {
    const Attention *t = context;
    double loss = 0.0;
    for (size_t r = 0; r < t->a.rows; r++)
        loss += row_loss(t, r);
    return loss;
}

/* Every step-th gradient, all others are set to what was found. */
static void check_some(const char *what, Attention *t, double *x, const float *got,
                       const float *before, size_t count, size_t step) {
    static double want[FLOATS_MAX + BIAS_MAX];
    for (size_t i = 0; i < count; i++)
        want[i] =
            i % step == 0 ? difference(attend_loss, t, &x[i]) : (double)got[i] - (double)before[i];
    check(what, got, before, want, count);
}

static void check_attention(size_t rows, size_t keys, size_t D, int use, size_t step) {
    static Attention t;
    static float q[FLOATS_MAX], k[FLOATS_MAX], v[FLOATS_MAX], dout[FLOATS_MAX], bias[BIAS_MAX];
    static float dq[FLOATS_MAX], dk[FLOATS_MAX], dv[FLOATS_MAX], dbias[BIAS_MAX],
        before[FLOATS_MAX];
    static float scratch[2 * BIAS_MAX];
    PareAttend *a = &t.a;
    *a = (PareAttend){.q = q,
                      .k = k,
                      .v = v,
                      .bias = use & BIAS ? bias : NULL,
                      .q_stride = D + 1,
                      .out_stride = D + 2,
                      .k_stride = D + 3,
                      .v_stride = D,
                      .bias_stride = keys + 1,
                      .rows = rows,
                      .keys = keys,
                      .D = D,
                      .causal = (use & CAUSAL) != 0,
                      .causal_offset = keys - rows,
                      .window = use & WINDOW ? 4 : 0,
                      .scale = 0.7f,
                      .dropout = use & DROP ? &a_fifth : NULL,
                      .dropout_index = 5,
                      .dropout_stride = keys + 2};
    float *inputs[] = {q, k, v, dout, dq, dk, dv, before};
    for (size_t i = 0; i < 8; i++)
        fill_floats(inputs[i], FLOATS_MAX, 1.0f, i < 4 ? i + 1 : 9);
    fill_floats(bias, BIAS_MAX, 1.0f, 8);
    fill_floats(dbias, BIAS_MAX, 1.0f, 9);
    widen(t.q, q, FLOATS_MAX);
    widen(t.k, k, FLOATS_MAX);
    widen(t.v, v, FLOATS_MAX);
    widen(t.dout, dout, FLOATS_MAX);
    widen(t.bias, bias, BIAS_MAX);
    const PareAttendBackward b = {*a, dout, dq, dk, dv, use & BIAS ? dbias : NULL, scratch};
    pare_kernels()->attend_backward(&b);
    check_some("dq", &t, t.q, dq, before, rows * a->q_stride, step);
    check_some("dk", &t, t.k, dk, before, keys * a->k_stride, step);
    check_some("dv", &t, t.v, dv, before, keys * a->v_stride, step);
    if (use & BIAS)
        check_some("dbias", &t, t.bias, dbias, before, rows * a->bias_stride - 1, step);
}

static void test_attention(void **state) {
    (void)state;
    for (int use = 0; use < USES; use++) {
        check_attention(5, 7, 6, use, 1);
        check_attention(6, 6, 17, use, 1);
        check_attention(38, 43, 33, use, 97);
    }
}

/* The forward pass with dropout is the function whose gradient that is. */
static void test_attention_forward(void **state) {
    (void)state;
    enum { ROWS = 12, KEYS = 21, D = 5 };
    static float q[ROWS * D], k[KEYS * D], v[KEYS * D], out[ROWS * D], scratch[ROWS * KEYS];
    static Attention t;
    fill_floats(q, ROWS * D, 1.0f, 1);
    fill_floats(k, KEYS * D, 1.0f, 2);
    fill_floats(v, KEYS * D, 1.0f, 3);
    t.a = (PareAttend){q,
                       out,
                       k,
                       v,
                       NULL,
                       NULL,
                       D,
                       D,
                       D,
                       D,
                       0,
                       ROWS,
                       KEYS,
                       D,
                       .causal = 1,
                       .causal_offset = 9,
                       .window = 8,
                       .scale = 0.9f,
                       .scratch = scratch,
                       .dropout = &a_fifth,
                       .dropout_stride = KEYS};
    pare_kernels()->attend(&t.a);
    widen(t.q, q, ROWS * D);
    widen(t.k, k, KEYS * D);
    widen(t.v, v, KEYS * D);
    for (size_t i = 0; i < ROWS * D; i++) {
        memset(t.dout, 0, sizeof t.dout);
        t.dout[i] = 1.0;
        assert_true(fabs(attend_loss(&t) - (double)out[i]) < 1e-6);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_activations), cmocka_unit_test(test_saturation),
        cmocka_unit_test(test_limits),      cmocka_unit_test(test_gated),
        cmocka_unit_test(test_layer_norm),  cmocka_unit_test(test_rms_norm),
        cmocka_unit_test(test_attention),   cmocka_unit_test(test_attention_forward),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
