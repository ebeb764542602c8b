/* exp, tanh, the Gaussian's distribution function and the activations, one element at a time.
 *
 * This is the definition. The vector variants (lanes_math.h) repeat the same operations in the same
 * order with the constants below, so that every element has the same bits. Products are added with
 * fmaf only; no other contraction may happen (the build passes -ffp-contract=off).
 *
 * exp: x = n ln 2 + r with |r| <= ln 2 / 2, n rounded by adding and subtracting 1.5 * 2^23; a
 * minimax polynomial of degree 6 for e^r (relative error 2^-27.7); 2^n is multiplied in two halves,
 * so that denormal results are rounded once. Above 88.72 it gives infinity, below -103.97 zero. */
#ifndef PARE_RUNTIME_KERNELS_KERNELS_MATH_H
#define PARE_RUNTIME_KERNELS_KERNELS_MATH_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "runtime/kernels/kernels.h"

#define PARE_EXP_MAX 89.0f
#define PARE_EXP_MIN (-104.0f)
#define PARE_LOG2E 0x1.715476p+0f
#define PARE_ROUND 12582912.0f          /* 1.5 * 2^23 */
#define PARE_LN2_HIGH 0x1.63p-1f        /* n * high is exact */
#define PARE_LN2_LOW (-0x1.bd0106p-13f) /* ln 2 - high */
#define PARE_EXP_C2 0.4999999403953552f
#define PARE_EXP_C3 0.1666651964187622f
#define PARE_EXP_C4 0.04166839271783829f
#define PARE_EXP_C5 0.008368751034140587f
#define PARE_EXP_C6 0.0013814475387334824f

#define PARE_TANH_MAX 9.5f /* tanh rounds to 1 above 9.011 */

/* log(2 Phi(-a)) = a (C1 + C2 a + ... + C10 a^9), minimax on [0, 6] for the error of Phi. */
#define PARE_PHI_C1 (-0.797885537147522f)
#define PARE_PHI_C2 (-0.31829822063446045f)
#define PARE_PHI_C3 (-0.03638249263167381f)
#define PARE_PHI_C4 0.004869361873716116f
#define PARE_PHI_C5 (-4.811561666429043e-05f)
#define PARE_PHI_C6 (-0.00016903149662539363f)
#define PARE_PHI_C7 4.53791077771732e-05f
#define PARE_PHI_C8 (-6.234445208974648e-06f)
#define PARE_PHI_C9 4.6301119027702953e-07f
#define PARE_PHI_C10 (-1.4669781833731577e-08f)

#define PARE_GELU_ROOT 0x1.988454p-1f /* sqrt(2 / pi) */
#define PARE_GELU_CUBE 0.044715f
#define PARE_GELU_QUICK 1.702f

static inline uint32_t pare_math_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static inline float pare_math_from_bits(uint32_t bits) {
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Splits x = n ln 2 + r; returns q = (e^r - 1 - r) / r^2. `*rounded` is n + 1.5 * 2^23, whose low
 * bits are n. */
static inline float pare_math_exp_reduce(float x, float *r, float *rounded) {
    *rounded = fmaf(x, PARE_LOG2E, PARE_ROUND);
    float n = *rounded - PARE_ROUND;
    *r = fmaf(n, -PARE_LN2_LOW, fmaf(n, -PARE_LN2_HIGH, x));
    float q = fmaf(PARE_EXP_C6, *r, PARE_EXP_C5);
    q = fmaf(q, *r, PARE_EXP_C4);
    q = fmaf(q, *r, PARE_EXP_C3);
    return fmaf(q, *r, PARE_EXP_C2);
}

static inline float pare_math_exp(float x) {
    x = PARE_EXP_MIN > x ? PARE_EXP_MIN : x; /* a NaN stays */
    x = PARE_EXP_MAX < x ? PARE_EXP_MAX : x;
    float r, rounded;
    float q = pare_math_exp_reduce(x, &r, &rounded);
    float p = fmaf(fmaf(q, r, 1.0f), r, 1.0f);
    uint32_t n = pare_math_bits(rounded) - pare_math_bits(PARE_ROUND); /* two's complement */
    uint32_t half = (n + 256) / 2 - 128;
    float s1 = pare_math_from_bits((half + 127) << 23);
    float s2 = pare_math_from_bits((n - half + 127) << 23);
    return p * s1 * s2;
}

/* (e^2a - 1) / (e^2a + 1) for a = |x|, through e^2a - 1, which is exact near zero. */
static inline float pare_math_tanh(float x) {
    uint32_t sign = pare_math_bits(x) & 0x80000000u;
    float a = pare_math_from_bits(pare_math_bits(x) ^ sign);
    a = PARE_TANH_MAX < a ? PARE_TANH_MAX : a;
    float r, rounded;
    float q = pare_math_exp_reduce(a + a, &r, &rounded);
    float p = fmaf(q * r, r, r);
    float s = pare_math_from_bits((pare_math_bits(rounded) << 23) + 0x3f800000u);
    float e = fmaf(p, s, s - 1.0f);
    return pare_math_from_bits(pare_math_bits(e / (e + 2.0f)) | sign);
}

/* x / (1 + e^-u), that is x sigmoid(u). */
static inline float pare_math_logistic(float x, float u) {
    return x / (1.0f + pare_math_exp(-u));
}

/* Phi(x), where 2 Phi(-|x|) = e^polynomial, so that nothing cancels for negative x as it would in
 * (1 + erf(x / sqrt 2)) / 2. */
static inline float pare_math_phi(float x) {
    float a = fabsf(x);
    float q = fmaf(PARE_PHI_C10, a, PARE_PHI_C9);
    q = fmaf(q, a, PARE_PHI_C8);
    q = fmaf(q, a, PARE_PHI_C7);
    q = fmaf(q, a, PARE_PHI_C6);
    q = fmaf(q, a, PARE_PHI_C5);
    q = fmaf(q, a, PARE_PHI_C4);
    q = fmaf(q, a, PARE_PHI_C3);
    q = fmaf(q, a, PARE_PHI_C2);
    q = fmaf(q, a, PARE_PHI_C1);
    float e = pare_math_exp(q * a);
    return x < 0.0f ? 0.5f * e : fmaf(-0.5f, e, 1.0f);
}

/* x Phi(x): 2 ulp for x > 0, 4e-8 and (down to -6) 60 ulp for x < 0. */
static inline float pare_math_gelu(float x) {
    return x * pare_math_phi(x);
}

/* x/2 (1 + tanh u) = x sigmoid(2u), u = sqrt(2/pi) (x + 0.044715 x^3). */
static inline float pare_math_gelu_tanh(float x) {
    float cubic = fmaf(PARE_GELU_CUBE, x * x, 1.0f) * x;
    return pare_math_logistic(x, 2.0f * PARE_GELU_ROOT * cubic);
}

static inline float pare_math_activate(PareActivation act, float x) {
    switch (act) {
    case PARE_ACT_RELU:
        return 0.0f > x ? 0.0f : x; /* a NaN and -0 stay */
    case PARE_ACT_GELU:
        return pare_math_gelu(x);
    case PARE_ACT_GELU_TANH:
        return pare_math_gelu_tanh(x);
    case PARE_ACT_GELU_QUICK:
        return pare_math_logistic(x, PARE_GELU_QUICK * x);
    case PARE_ACT_SILU:
        return pare_math_logistic(x, x);
    case PARE_ACT_TANH:
        return pare_math_tanh(x);
    case PARE_ACT_SIGMOID:
        return pare_math_logistic(1.0f, x);
    case PARE_ACT_IDENTITY:
    case PARE_ACT_COUNT:
        break;
    }
    return x;
}

/* -- derivatives ------------------------------------------------------------------------------ */

/* Beyond 128 every derivative has reached its limit; staying there keeps infinity out of products
 * with zero. */
#define PARE_SLOPE_MAX 128.0f
#define PARE_PHI_ROOT 0x1.988454p-2f /* 1 / sqrt(2 pi) */

/* sigmoid(u) and sigmoid'(u), with e = e^-|u|, which lose nothing where sigmoid is almost 1. */
static inline float pare_math_sigmoid_slope(float u, float *sigmoid) {
    float e = pare_math_exp(-fabsf(u));
    float t = 1.0f / (1.0f + e);
    float below = e * t; /* sigmoid(-|u|) */
    *sigmoid = u < 0.0f ? below : t;
    return below * t;
}

/* (x sigmoid(u))' = sigmoid(u) + x sigmoid'(u) u'. */
static inline float pare_math_logistic_slope(float x, float u, float du) {
    float s, slope = pare_math_sigmoid_slope(u, &s);
    return fmaf(x * du, slope, s);
}

/* Phi(x) + x phi(x), with the Phi of pare_math_gelu. */
static inline float pare_math_gelu_slope(float x) {
    float density = PARE_PHI_ROOT * pare_math_exp(x * x * -0.5f);
    return fmaf(x, density, pare_math_phi(x));
}

static inline float pare_math_gelu_tanh_slope(float x) {
    float square = x * x;
    float cubic = fmaf(PARE_GELU_CUBE, square, 1.0f) * x;
    float slope = fmaf(3.0f * PARE_GELU_CUBE, square, 1.0f);
    return pare_math_logistic_slope(x, 2.0f * PARE_GELU_ROOT * cubic,
                                    2.0f * PARE_GELU_ROOT * slope);
}

/* act'(x). RELU: 1 above 0, otherwise 0 (also for NaN); for all others a NaN stays. */
static inline float pare_math_slope(PareActivation act, float x) {
    float unused;
    x = -PARE_SLOPE_MAX > x ? -PARE_SLOPE_MAX : x;
    x = PARE_SLOPE_MAX < x ? PARE_SLOPE_MAX : x;
    switch (act) {
    case PARE_ACT_RELU:
        return x > 0.0f ? 1.0f : 0.0f;
    case PARE_ACT_GELU:
        return pare_math_gelu_slope(x);
    case PARE_ACT_GELU_TANH:
        return pare_math_gelu_tanh_slope(x);
    case PARE_ACT_GELU_QUICK:
        return pare_math_logistic_slope(x, PARE_GELU_QUICK * x, PARE_GELU_QUICK);
    case PARE_ACT_SILU:
        return pare_math_logistic_slope(x, x, 1.0f);
    case PARE_ACT_TANH:
        return 4.0f * pare_math_sigmoid_slope(x + x, &unused);
    case PARE_ACT_SIGMOID:
        return pare_math_sigmoid_slope(x, &unused);
    case PARE_ACT_IDENTITY:
    case PARE_ACT_COUNT:
        break;
    }
    return 1.0f;
}

#endif
