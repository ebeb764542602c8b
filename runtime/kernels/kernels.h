/* The kernel table: everything that costs time, as function pointers.
 *
 * The scalar variant is the definition; each instruction set overrides entries with functions that
 * give the SAME BITS (tests/test_kernels.c compares them). The written order of arithmetic:
 *
 *  - Fused multiply-add everywhere a product is added (fmaf in scalar code).
 *  - Reductions over a row use 16 lanes, which start at +0: lane l takes elements l, l+16, …, each
 *    lane in order; elements missing from the last group leave their lanes untouched; then the
 *    lanes are folded as l += l+8, l += l+4, l += l+2, l += l+1. Maxima are order-free: they start
 *    at -infinity, pass over NaN, and a maximum of zero is +0.
 *  - A matrix product accumulates k = 0, 1, … K-1 in order into one accumulator per output,
 *    starting from +0; then the bias, if any, is added. INT8 products accumulate exactly in int32
 *    (K is at most 131,072; operands lie in [-127, 127]).
 *  - exp, tanh, the activations and their derivatives are those of kernels_math.h, never libm's.
 *
 * Same bits means: where the result is NaN, every variant gives a NaN, but its sign and payload
 * are unspecified (processors differ there). No pointer needs more than its type's alignment.
 *
 * No entry allocates, and no entry depends on the number of threads: callers split rows or columns.
 * Sizes may be zero. NaN and infinity propagate as IEEE says, except where an entry says more. */
#ifndef PARE_RUNTIME_KERNELS_KERNELS_H
#define PARE_RUNTIME_KERNELS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef enum {
    PARE_ACT_IDENTITY,
    PARE_ACT_RELU,
    PARE_ACT_GELU,       /* x/2 (1 + erf(x / sqrt 2)): torch's "gelu" */
    PARE_ACT_GELU_TANH,  /* the tanh approximation: "gelu_new", "gelu_pytorch_tanh", "gelu_fast" */
    PARE_ACT_GELU_QUICK, /* x sigmoid(1.702 x) */
    PARE_ACT_SILU,       /* x sigmoid(x): "swish", "silu" */
    PARE_ACT_TANH,
    PARE_ACT_SIGMOID,
    PARE_ACT_COUNT
} PareActivation;

/* A block of attention for one head: `rows` queries of one sequence against `keys` keys.
 * out[r] = softmax(scale * q[r] . k[j] + bias[r][j]) v[j], j over the keys that row r sees.
 * Bit-exact per (row, head): it does not depend on how many rows are given together, on slots, or
 * on anything in the keys that a row does not see.
 *
 * Order: the dot product over D in 16 lanes, folded; then fma(dot, scale, bias), or dot * scale
 * without a bias; then softmax as the entry `softmax` does it, its lanes counted from the row's
 * first visible key; then out[d] = fma(p[j], v[j][d], out[d]) for j in order, starting from +0. A
 * row that sees no key gives +0. */
typedef struct {
    const float *q;       /* row r at q + r * q_stride, D floats */
    float *out;           /* row r at out + r * out_stride, D floats; may be q itself */
    const float *k, *v;   /* key j at k + s * k_stride, s = slots ? slots[j] : j */
    const int32_t *slots; /* NULL: keys lie in order; otherwise where each key's row is */
    const float *bias;    /* NULL, or row r at bias + r * bias_stride, one float a key */
    size_t q_stride, out_stride, k_stride, v_stride, bias_stride; /* in floats */
    size_t rows, keys, D;
    /* Row r sees keys first(r) <= j < last(r): last = causal ? min(keys, causal_offset + r + 1)
     * : keys; first = window && last > window ? last - window : 0 (window only with causal). */
    int causal;
    size_t causal_offset, window;
    float scale;
    float *scratch; /* rows * keys floats */
    /* NULL, or dropout (the entry `dropout`) of the probabilities after the softmax: key j of row r
     * is element dropout_index + r * dropout_stride + j of the draw. */
    const struct PareDropout *dropout;
    uint64_t dropout_index, dropout_stride;
} PareAttend;

/* Dropout (Srivastava et al. 2014) without a stored mask: element i of a draw is kept exactly when
 * word i % 4 of pare_random_block(seed, stream, i / 4) is not below `threshold`, and is then
 * multiplied by `keep`. threshold 0 with keep 1 keeps everything. */
typedef struct PareDropout {
    uint64_t seed, stream;
    uint32_t threshold; /* probability * 2^32, rounded */
    float keep;         /* 1 / (1 - probability) */
} PareDropout;

/* The gradient of a block of attention for one head: adds to dq, dk and dv (and dbias) what `dout`,
 * the gradient of `out`, says. The probabilities are computed again from q and k (Dao et al. 2022),
 * as `attend` computes them; dS = P * (dP - sum_j P dP), dP = (dout . v) * mask. The strides, the
 * shape and the meaning of every field of `forward` are those of the call that made `out` (whose
 * own `out` and scratch are not used); slots must be NULL. dbias (may be NULL) has bias's stride.
 * Nothing that a gradient is written to may overlap anything else.
 *
 * Order: row by row, with p as `attend` computes it before dropout. For each key j that the row
 * sees: dP[j] accumulates dout[d] * v[j][d] over d in order, from +0, and goes through `dropout`.
 * delta sums p[j] * dP[j] in 16 lanes counted from the row's first visible key, folded. Then, with
 * dS = p[j] * (dP[j] - delta) and t = dS * scale, for j in order:
 *   dbias[r][j] += dS; dq[r][d] = fma(t, k[j][d], dq[r][d]); dk[j][d] = fma(t, q[r][d], dk[j][d]);
 *   dv[j][d] = fma(p after dropout, dout[r][d], dv[j][d]).
 * So one call for all rows of a sequence does not depend on threads. */
enum { PARE_ATTEND_BACKWARD_ROWS = 32 };
typedef struct {
    PareAttend forward;
    const float *dout;   /* row r at dout + r * out_stride */
    float *dq, *dk, *dv; /* laid out as q, k, v; any may be NULL */
    float *dbias;
    float *scratch; /* 2 * min(rows, PARE_ATTEND_BACKWARD_ROWS) * keys floats */
} PareAttendBackward;

typedef struct {
    const char *name; /* "scalar", "avx2", "avx512", "vnni", "neon" */

    /* q[m][k] = rint(x[m][k] * (127 / a)), a = max |x[m][:]|, scale[m] = a / 127; clamped to
     * [-127, 127]; columns K .. ldq-1 are zeroed (ldq = K rounded up to a multiple of 4).
     * a == 0: all zeros, scale 0. A row with NaN or infinity: zeros and scale NaN, so that
     * everything computed from it is NaN. A row whose 127/a overflows counts as all zero. */
    void (*quantize_rows)(int8_t *q, size_t ldq, float *scale, const float *x, size_t ldx, size_t M,
                          size_t K);
    /* y[m][n] = fma((float)acc, xscale[m] * wscale[n], bias[n] or 0), acc = sum_k x[m][k] w[n][k]
     * exactly, for columns n0 <= n < n1. w: [Npad/16][K4/4][16][4] (PARE_LAYOUT_BLOCK4), sums[n] =
     * sum of w[n][:]; ldx = K4. n0 is a multiple of 16. bias may be NULL. y is [M, ldy]. */
    void (*gemm_i8)(float *y, size_t ldy, const int8_t *x, size_t ldx, const float *xscale,
                    const int8_t *w, const float *wscale, const int32_t *sums, const float *bias,
                    size_t M, size_t K4, size_t n0, size_t n1);
    /* y[m][n] = sum_k x[m][k] w[n][k] + bias[n], w: [Npad/16][K][16] halves (PARE_LAYOUT_BLOCK1).
     */
    void (*gemm_f16)(float *y, size_t ldy, const float *x, size_t ldx, const uint16_t *w,
                     const float *bias, size_t M, size_t K, size_t n0, size_t n1);
    void (*gemm_bf16)(float *y, size_t ldy, const float *x, size_t ldx, const uint16_t *w,
                      const float *bias, size_t M, size_t K, size_t n0, size_t n1);

    /* y[m] = (x[m] - mean) / sqrt(var + eps) * weight + bias; var of the differences, /N. bias may
     * be NULL. In place (y == x) is allowed. mean = sum * (1/N); r = 1 / sqrtf(var * (1/N) + eps)
     * with IEEE sqrt and division; y = fma((x - mean) * r, weight, bias). */
    void (*layer_norm)(float *y, const float *x, const float *weight, const float *bias, float eps,
                       size_t M, size_t N);
    /* y[m] = x[m] * (1 / sqrtf(sum x^2 * (1/N) + eps)) * weight (Zhang & Sennrich 2019, T5). */
    void (*rms_norm)(float *y, const float *x, const float *weight, float eps, size_t M, size_t N);

    /* y = act(x); y = act(gate) * up; y = a + b; y = a * s; all elementwise, in place allowed. */
    void (*activate)(PareActivation act, float *y, const float *x, size_t count);
    void (*activate_gated)(PareActivation act, float *y, const float *gate, const float *up,
                           size_t count);
    void (*add)(float *y, const float *a, const float *b, size_t count);
    void (*scale)(float *y, const float *a, float s, size_t count);

    void (*attend)(const PareAttend *a);
    /* Softmax of one row: exp(x - max), summed in 16 lanes, then times 1/sum. In place (y == x) is
     * allowed; N = 0 does nothing. */
    void (*softmax)(float *y, const float *x, size_t N);
    /* The largest value and log(sum exp(x - max)), so that log p[i] = x[i] - max - logsum. N = 0
     * gives -infinity for both. */
    void (*log_sum_exp)(const float *x, size_t N, float *max, float *logsum);

    /* -- training: gradients are added to what stands there, unless an entry says otherwise -- */

    /* For M rows: dx += d loss / dx, and dweight[N], dbias[N] += their sums over the rows in order.
     * dx, dweight and dbias may be NULL; x and dy are not written. mean and r are computed again
     * from x as layer_norm does. h = (x - mean) * r; in 16 lanes sg adds dy * weight (fma) and sgh
     * adds g * h (fma), g = dy * weight; then with mean_g = sg * (1/N), mean_gh = sgh * (1/N):
     * dx = fma(r, fma(-h, mean_gh, g - mean_g), dx); dweight = fma(dy, h, dweight); dbias += dy.
     * rms_norm: h = x * r, and mean_g is 0. */
    void (*layer_norm_backward)(float *dx, float *dweight, float *dbias, const float *dy,
                                const float *x, const float *weight, float eps, size_t M, size_t N);
    void (*rms_norm_backward)(float *dx, float *dweight, const float *dy, const float *x,
                              const float *weight, float eps, size_t M, size_t N);
    /* dx = fma(dy, act'(x), dx), the exact derivative of what `activate` computes, by the steps of
     * kernels_math.h (RELU at 0: 0). */
    void (*activate_backward)(PareActivation act, float *dx, const float *dy, const float *x,
                              size_t count);
    /* y = act(gate) * up: dgate = fma(dy * up, act'(gate), dgate), dup = fma(dy, act(gate), dup).
     * Either may be NULL. */
    void (*activate_gated_backward)(PareActivation act, float *dgate, float *dup, const float *dy,
                                    const float *gate, const float *up, size_t count);
    void (*attend_backward)(const PareAttendBackward *a);
    /* y[i] = kept(first + i) ? x[i] * keep : +0; in place allowed. The same call on a gradient is
     * the backward pass. */
    void (*dropout)(float *y, const float *x, const PareDropout *d, uint64_t first, size_t count);
    /* out[n] += x[m][n] for m = 0, 1, ... in order. */
    void (*add_rows)(float *out, const float *x, size_t ldx, size_t M, size_t N);
    /* y = fma(s, x, y) */
    void (*add_scaled)(float *y, const float *x, float s, size_t count);
    /* y[m] = the values that quantize_rows stands for: scale * q. In place allowed. Rows with NaN
     * or infinity are NaN. This is what INT8 does to activations; weights: core/blocks.h. */
    void (*simulate_i8_rows)(float *y, const float *x, size_t M, size_t K);
} PareKernels;

/* The table of this machine, chosen once: the best that the CPU has, or what the environment's
 * PARE_CPU names (scalar, avx2, avx512, vnni, neon). A name that is unknown or that this CPU lacks
 * is an error (pare_kernels_init), never a silent fallback. */
PareStatus pare_kernels_init(PareError *err);
const PareKernels *pare_kernels(void); /* the best one when init was not called */
/* Every variant that this machine can run, scalar first; NULL beyond the last. */
const PareKernels *pare_kernels_variant(size_t index);

#endif
