/* kernels_math.h for sixteen lanes: the same operations in the same order, over the names that
 * lanes_avx2.h or lanes_avx512.h (included before this) gives. */
#ifndef PARE_RUNTIME_KERNELS_LANES_MATH_H
#define PARE_RUNTIME_KERNELS_LANES_MATH_H

#include "runtime/kernels/kernels_math.h"

/* Always: a call would pass sixteen lanes through memory. */
#define LANES_INLINE static inline __attribute__((always_inline))

/* The sum of the lanes in the written order: l += l+8, l += l+4, l += l+2, l += l+1. */
LANES_INLINE float lanes_fold(Lanes v) {
    __m256 s8 = lanes_fold_half(v);
    __m128 s4 = _mm_add_ps(_mm256_castps256_ps128(s8), _mm256_extractf128_ps(s8, 1));
    __m128 s2 = _mm_add_ps(s4, _mm_movehl_ps(s4, s4));
    return _mm_cvtss_f32(_mm_add_ss(s2, _mm_movehdup_ps(s2)));
}

LANES_INLINE Lanes lanes_abs(Lanes x) {
    return lanes_xor(x, lanes_and(x, lanes_set1(-0.0f)));
}

LANES_INLINE Lanes lanes_exp_reduce(Lanes x, Lanes *r, Lanes *rounded) {
    *rounded = lanes_fma(x, lanes_set1(PARE_LOG2E), lanes_set1(PARE_ROUND));
    Lanes n = lanes_sub(*rounded, lanes_set1(PARE_ROUND));
    *r = lanes_fma(n, lanes_set1(-PARE_LN2_HIGH), x);
    *r = lanes_fma(n, lanes_set1(-PARE_LN2_LOW), *r);
    Lanes q = lanes_fma(lanes_set1(PARE_EXP_C6), *r, lanes_set1(PARE_EXP_C5));
    q = lanes_fma(q, *r, lanes_set1(PARE_EXP_C4));
    q = lanes_fma(q, *r, lanes_set1(PARE_EXP_C3));
    return lanes_fma(q, *r, lanes_set1(PARE_EXP_C2));
}

LANES_INLINE Lanes lanes_exp(Lanes x) {
    const Lanes one = lanes_set1(1.0f);
    x = lanes_max(lanes_set1(PARE_EXP_MIN), x);
    x = lanes_min(lanes_set1(PARE_EXP_MAX), x);
    Lanes r, rounded;
    Lanes q = lanes_exp_reduce(x, &r, &rounded);
    Lanes p = lanes_fma(lanes_fma(q, r, one), r, one);
    return lanes_scale_pow2(p, rounded);
}

LANES_INLINE Lanes lanes_tanh(Lanes x) {
    Lanes sign = lanes_and(x, lanes_set1(-0.0f));
    Lanes a = lanes_min(lanes_set1(PARE_TANH_MAX), lanes_xor(x, sign));
    Lanes r, rounded;
    Lanes q = lanes_exp_reduce(lanes_add(a, a), &r, &rounded);
    Lanes p = lanes_fma(lanes_mul(q, r), r, r);
    Lanes s = lanes_pow2(rounded);
    Lanes e = lanes_fma(p, s, lanes_sub(s, lanes_set1(1.0f)));
    return lanes_or(lanes_div(e, lanes_add(e, lanes_set1(2.0f))), sign);
}

LANES_INLINE Lanes lanes_logistic(Lanes x, Lanes u) {
    Lanes e = lanes_exp(lanes_xor(u, lanes_set1(-0.0f)));
    return lanes_div(x, lanes_add(lanes_set1(1.0f), e));
}

LANES_INLINE Lanes lanes_phi(Lanes x) {
    Lanes a = lanes_abs(x);
    Lanes q = lanes_fma(lanes_set1(PARE_PHI_C10), a, lanes_set1(PARE_PHI_C9));
    q = lanes_fma(q, a, lanes_set1(PARE_PHI_C8));
    q = lanes_fma(q, a, lanes_set1(PARE_PHI_C7));
    q = lanes_fma(q, a, lanes_set1(PARE_PHI_C6));
    q = lanes_fma(q, a, lanes_set1(PARE_PHI_C5));
    q = lanes_fma(q, a, lanes_set1(PARE_PHI_C4));
    q = lanes_fma(q, a, lanes_set1(PARE_PHI_C3));
    q = lanes_fma(q, a, lanes_set1(PARE_PHI_C2));
    q = lanes_fma(q, a, lanes_set1(PARE_PHI_C1));
    Lanes e = lanes_exp(lanes_mul(q, a));
    Lanes below = lanes_mul(lanes_set1(0.5f), e);
    Lanes above = lanes_fma(lanes_set1(-0.5f), e, lanes_set1(1.0f));
    return lanes_if_negative(x, below, above);
}

LANES_INLINE Lanes lanes_gelu(Lanes x) {
    return lanes_mul(x, lanes_phi(x));
}

LANES_INLINE Lanes lanes_gelu_tanh(Lanes x) {
    Lanes cubic = lanes_fma(lanes_set1(PARE_GELU_CUBE), lanes_mul(x, x), lanes_set1(1.0f));
    cubic = lanes_mul(cubic, x);
    return lanes_logistic(x, lanes_mul(lanes_set1(2.0f * PARE_GELU_ROOT), cubic));
}

LANES_INLINE Lanes lanes_activate(PareActivation act, Lanes x) {
    switch (act) {
    case PARE_ACT_RELU:
        return lanes_max(lanes_set1(0.0f), x);
    case PARE_ACT_GELU:
        return lanes_gelu(x);
    case PARE_ACT_GELU_TANH:
        return lanes_gelu_tanh(x);
    case PARE_ACT_GELU_QUICK:
        return lanes_logistic(x, lanes_mul(lanes_set1(PARE_GELU_QUICK), x));
    case PARE_ACT_SILU:
        return lanes_logistic(x, x);
    case PARE_ACT_TANH:
        return lanes_tanh(x);
    case PARE_ACT_SIGMOID:
        return lanes_logistic(lanes_set1(1.0f), x);
    case PARE_ACT_IDENTITY:
    case PARE_ACT_COUNT:
        break;
    }
    return x;
}

LANES_INLINE Lanes lanes_sigmoid_slope(Lanes u, Lanes *sigmoid) {
    Lanes e = lanes_exp(lanes_or(u, lanes_set1(-0.0f)));
    Lanes t = lanes_div(lanes_set1(1.0f), lanes_add(lanes_set1(1.0f), e));
    Lanes below = lanes_mul(e, t);
    *sigmoid = lanes_if_negative(u, below, t);
    return lanes_mul(below, t);
}

LANES_INLINE Lanes lanes_logistic_slope(Lanes x, Lanes u, Lanes du) {
    Lanes s, slope = lanes_sigmoid_slope(u, &s);
    return lanes_fma(lanes_mul(x, du), slope, s);
}

LANES_INLINE Lanes lanes_gelu_slope(Lanes x) {
    Lanes e = lanes_exp(lanes_mul(lanes_mul(x, x), lanes_set1(-0.5f)));
    return lanes_fma(x, lanes_mul(lanes_set1(PARE_PHI_ROOT), e), lanes_phi(x));
}

LANES_INLINE Lanes lanes_gelu_tanh_slope(Lanes x) {
    const Lanes one = lanes_set1(1.0f), twice = lanes_set1(2.0f * PARE_GELU_ROOT);
    Lanes square = lanes_mul(x, x);
    Lanes cubic = lanes_mul(lanes_fma(lanes_set1(PARE_GELU_CUBE), square, one), x);
    Lanes slope = lanes_fma(lanes_set1(3.0f * PARE_GELU_CUBE), square, one);
    return lanes_logistic_slope(x, lanes_mul(twice, cubic), lanes_mul(twice, slope));
}

LANES_INLINE Lanes lanes_slope(PareActivation act, Lanes x) {
    const Lanes one = lanes_set1(1.0f);
    Lanes unused;
    x = lanes_max(lanes_set1(-PARE_SLOPE_MAX), x);
    x = lanes_min(lanes_set1(PARE_SLOPE_MAX), x);
    switch (act) {
    case PARE_ACT_RELU:
        return lanes_if_negative(lanes_xor(x, lanes_set1(-0.0f)), one, lanes_set1(0.0f));
    case PARE_ACT_GELU:
        return lanes_gelu_slope(x);
    case PARE_ACT_GELU_TANH:
        return lanes_gelu_tanh_slope(x);
    case PARE_ACT_GELU_QUICK: {
        const Lanes factor = lanes_set1(PARE_GELU_QUICK);
        return lanes_logistic_slope(x, lanes_mul(factor, x), factor);
    }
    case PARE_ACT_SILU:
        return lanes_logistic_slope(x, x, one);
    case PARE_ACT_TANH:
        return lanes_mul(lanes_set1(4.0f), lanes_sigmoid_slope(lanes_add(x, x), &unused));
    case PARE_ACT_SIGMOID:
        return lanes_sigmoid_slope(x, &unused);
    case PARE_ACT_IDENTITY:
    case PARE_ACT_COUNT:
        break;
    }
    return one;
}

#endif
