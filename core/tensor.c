/* Number formats and shapes. */
#include "core/tensor.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"

static const struct {
    const char *name;
    size_t size;
    bool is_float;
} DTYPES[PARE_DTYPE_COUNT] = {
    [PARE_F32] = {"F32", 4, true},   [PARE_F16] = {"F16", 2, true},
    [PARE_BF16] = {"BF16", 2, true}, [PARE_I8] = {"I8", 1, false},
    [PARE_F64] = {"F64", 8, true},   [PARE_I64] = {"I64", 8, false},
    [PARE_I32] = {"I32", 4, false},  [PARE_I16] = {"I16", 2, false},
    [PARE_U8] = {"U8", 1, false},    [PARE_BOOL] = {"BOOL", 1, false},
};

const char *pare_dtype_name(PareDtype t) {
    return (unsigned)t < PARE_DTYPE_COUNT ? DTYPES[t].name : "unknown";
}

bool pare_dtype_parse(const char *name, PareDtype *out) {
    for (int i = 0; i < PARE_DTYPE_COUNT; i++)
        if (strcmp(DTYPES[i].name, name) == 0) {
            *out = (PareDtype)i;
            return true;
        }
    return false;
}

size_t pare_dtype_size(PareDtype t) {
    return (unsigned)t < PARE_DTYPE_COUNT ? DTYPES[t].size : 0;
}

bool pare_dtype_is_float(PareDtype t) {
    return (unsigned)t < PARE_DTYPE_COUNT && DTYPES[t].is_float;
}

bool pare_tensor_elements(const PareTensorType *t, size_t *out) {
    size_t n = 1;
    bool empty = false;
    for (uint32_t i = 0; i < t->dims; i++)
        empty = empty || t->shape[i] == 0;
    for (uint32_t i = 0; i < t->dims && !empty; i++)
        if (t->shape[i] > SIZE_MAX || !pare_size_mul(n, (size_t)t->shape[i], &n))
            return false;
    *out = empty ? 0 : n;
    return true;
}

bool pare_tensor_bytes(const PareTensorType *t, size_t *out) {
    size_t n;
    return pare_tensor_elements(t, &n) && pare_size_mul(n, pare_dtype_size(t->dtype), out);
}

bool pare_tensor_same_shape(const PareTensorType *a, const PareTensorType *b) {
    return a->dims == b->dims && memcmp(a->shape, b->shape, a->dims * sizeof *a->shape) == 0;
}

const char *pare_tensor_shape_text(const PareTensorType *t, char *out, size_t size) {
    char text[PARE_MAX_DIMS * 22 + 3];
    size_t at = 0;
    text[at++] = '[';
    for (uint32_t i = 0; i < t->dims && i < PARE_MAX_DIMS; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%llu", i ? ", " : "",
                               (unsigned long long)t->shape[i]);
    snprintf(text + at, sizeof text - at, "]");
    int wanted = snprintf(out, size, "%s", text);
    if (size >= 4 && (size_t)wanted >= size)
        memcpy(out + size - 4, "...", 4);
    return out;
}

/* -- halves -- */

static float from_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static uint32_t to_bits(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

float pare_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h >> 10 & 0x1F, fraction = h & 0x3FF;
    if (exponent == 0x1F)
        return from_bits(sign | 0x7F800000 | fraction << 13 | (fraction ? 0x400000 : 0));
    if (exponent)
        return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float magnitude = (float)fraction * 0x1p-24F; /* exact */
    return from_bits(sign | to_bits(magnitude));
}

uint16_t pare_f32_to_f16(float f) {
    uint32_t bits = to_bits(f), magnitude = bits & 0x7FFFFFFF;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    if (magnitude > 0x7F800000) /* the payload's top bits and the quiet bit, as vcvtps2ph */
        return (uint16_t)(sign | 0x7E00 | (magnitude >> 13 & 0x3FF));
    if (magnitude >= 0x477FF000) /* 65520 and more round to infinity */
        return (uint16_t)(sign | 0x7C00);
    if (magnitude < 0x33000001) /* 2^-25 and less round to zero */
        return sign;
    uint32_t shift = 13, mantissa = magnitude - 0x38000000; /* exponent rebiased by 112 */
    if (magnitude < 0x38800000) {                           /* below 2^-14: a denormal half */
        mantissa = (magnitude & 0x7FFFFF) | 0x800000;
        shift = 126 - (magnitude >> 23);
    }
    uint32_t half = mantissa >> shift, rest = mantissa & ((1U << shift) - 1),
             tie = 1U << (shift - 1);
    half += rest > tie || (rest == tie && (half & 1));
    return (uint16_t)(sign | half);
}

float pare_bf16_to_f32(uint16_t h) {
    return from_bits((uint32_t)h << 16);
}

uint16_t pare_f32_to_bf16(float f) {
    uint32_t bits = to_bits(f);
    if ((bits & 0x7FFFFFFF) > 0x7F800000)
        return (uint16_t)(bits >> 16 | 0x40);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

/* -- arrays -- */

#define CONVERT(type, expression)                                                                  \
    for (size_t i = 0; i < count; i++) {                                                           \
        type v;                                                                                    \
        memcpy(&v, (const char *)src + i * sizeof v, sizeof v);                                    \
        dst[i] = (expression);                                                                     \
    }                                                                                              \
    break

void pare_convert_to_f32(PareDtype from, const void *src, float *dst, size_t count) {
    switch (from) {
    case PARE_F32:
        if (count)
            memcpy(dst, src, count * sizeof *dst);
        break;
    case PARE_F16:
        CONVERT(uint16_t, pare_f16_to_f32(v));
    case PARE_BF16:
        CONVERT(uint16_t, pare_bf16_to_f32(v));
    case PARE_F64:
        CONVERT(double, (float)v);
    case PARE_I64:
        CONVERT(int64_t, (float)v);
    case PARE_I32:
        CONVERT(int32_t, (float)v);
    case PARE_I16:
        CONVERT(int16_t, (float)v);
    case PARE_I8:
        CONVERT(int8_t, (float)v);
    case PARE_U8:
        CONVERT(uint8_t, (float)v);
    case PARE_BOOL:
        CONVERT(uint8_t, v ? 1.0F : 0.0F);
    case PARE_DTYPE_COUNT:
        break;
    }
}

void pare_convert_from_f32(PareDtype to, const float *src, void *dst, size_t count) {
    if (to == PARE_F32 && count)
        memcpy(dst, src, count * sizeof *src);
    for (size_t i = 0; to != PARE_F32 && i < count; i++) {
        uint16_t h = to == PARE_F16 ? pare_f32_to_f16(src[i]) : pare_f32_to_bf16(src[i]);
        memcpy((char *)dst + i * sizeof h, &h, sizeof h);
    }
}

size_t pare_count_nonfinite(const float *x, size_t count) {
    size_t bad = 0;
    for (size_t i = 0; i < count; i++)
        bad += (to_bits(x[i]) & 0x7F800000) == 0x7F800000;
    return bad;
}
