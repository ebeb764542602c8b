/* Number formats, their conversions, and shapes. */
#include "core/tensor.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensor bytes are used as they lie");

static const struct {
    const char *name;
    size_t size;
    bool is_float;
} dtypes[PARE_DTYPE_COUNT] = {
    [PARE_F32] = {"F32", 4, true},   [PARE_F16] = {"F16", 2, true},
    [PARE_BF16] = {"BF16", 2, true}, [PARE_I8] = {"I8", 1, false},
    [PARE_F64] = {"F64", 8, true},   [PARE_I64] = {"I64", 8, false},
    [PARE_I32] = {"I32", 4, false},  [PARE_I16] = {"I16", 2, false},
    [PARE_U8] = {"U8", 1, false},    [PARE_BOOL] = {"BOOL", 1, false},
};

const char *pare_dtype_name(PareDtype t) {
    return (unsigned)t < PARE_DTYPE_COUNT ? dtypes[t].name : "unknown";
}

bool pare_dtype_parse(const char *name, PareDtype *out) {
    for (unsigned i = 0; i < PARE_DTYPE_COUNT; i++) {
        if (strcmp(dtypes[i].name, name) == 0) {
            *out = (PareDtype)i;
            return true;
        }
    }
    return false;
}

size_t pare_dtype_size(PareDtype t) {
    return (unsigned)t < PARE_DTYPE_COUNT ? dtypes[t].size : 0;
}

bool pare_dtype_is_float(PareDtype t) {
    return (unsigned)t < PARE_DTYPE_COUNT && dtypes[t].is_float;
}

/* A zero makes the product zero, however large the other dimensions are. */
bool pare_tensor_elements(const PareTensorType *t, size_t *out) {
    size_t product = 1;
    bool empty = false, fits = true;
    if (t->dims > PARE_MAX_DIMS)
        return false;
    for (uint32_t i = 0; i < t->dims; i++) {
        empty = empty || t->shape[i] == 0;
        fits = fits && t->shape[i] <= SIZE_MAX &&
               pare_size_mul(product, (size_t)t->shape[i], &product);
    }
    if (!empty && !fits)
        return false;
    *out = empty ? 0 : product;
    return true;
}

bool pare_tensor_bytes(const PareTensorType *t, size_t *out) {
    size_t elements;
    return (unsigned)t->dtype < PARE_DTYPE_COUNT && pare_tensor_elements(t, &elements) &&
           pare_size_mul(elements, dtypes[t->dtype].size, out);
}

bool pare_tensor_same_shape(const PareTensorType *a, const PareTensorType *b) {
    if (a->dims != b->dims || a->dims > PARE_MAX_DIMS)
        return false;
    return memcmp(a->shape, b->shape, a->dims * sizeof *a->shape) == 0;
}

const char *pare_tensor_shape_text(const PareTensorType *t, char *out, size_t size) {
    char text[PARE_MAX_DIMS * 22 + 3];
    size_t at = 0;
    text[at++] = '[';
    for (uint32_t i = 0; i < t->dims && i < PARE_MAX_DIMS; i++)
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%llu", i ? ", " : "",
                               (unsigned long long)t->shape[i]);
    text[at++] = ']';
    text[at] = '\0';
    snprintf(out, size, "%s", text);
    if (at >= size && size >= sizeof "...")
        memcpy(out + size - sizeof "...", "...", sizeof "...");
    return out;
}

/* ---- Halves -------------------------------------------------------------------------------- */

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

/* Signalling NaNs become quiet ones, as vcvtph2ps and fcvt do it. Written without branches, so that
 * compilers can vectorise the loop over an array. */
static inline float f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, exponent = h & 0x7C00, fraction = h & 0x3FF;
    uint32_t normal = ((uint32_t)(h & 0x7FFF) << 13) + (112U << 23);
    uint32_t special = 0x7F800000 | fraction << 13 | (fraction ? 0x400000U : 0U);
    uint32_t denormal = to_bits((float)(int32_t)fraction * 0x1p-24F); /* exact */
    uint32_t magnitude = exponent == 0x7C00 ? special : exponent ? normal : denormal;
    return from_bits(sign | magnitude);
}

static inline uint16_t f32_to_f16(float f) {
    uint32_t bits = to_bits(f), magnitude = bits & 0x7FFFFFFF, sign = bits >> 16 & 0x8000;
    if (magnitude > 0x7F800000) /* the payload's upper bits and the quiet bit, as vcvtps2ph */
        return (uint16_t)(sign | 0x7E00 | (magnitude >> 13 & 0x3FF));
    if (magnitude >= 0x477FF000) /* 65520 and more round to infinity */
        return (uint16_t)(sign | 0x7C00);
    if (magnitude <= 0x33000000) /* 2^-25 is half of the least denormal: it ties to even, to zero */
        return (uint16_t)sign;
    uint32_t shift = 13, mantissa = magnitude - (112U << 23);
    if (magnitude < 0x38800000) { /* below 2^-14, a denormal half: the leading bit is explicit */
        shift = 126 - (magnitude >> 23);
        mantissa = (magnitude & 0x7FFFFF) | 0x800000;
    }
    uint32_t half = mantissa >> shift, rest = mantissa & ((1U << shift) - 1);
    uint32_t tie = 1U << (shift - 1);
    half += rest > tie || (rest == tie && (half & 1)); /* a carry runs into the exponent rightly */
    return (uint16_t)(sign | half);
}

static inline uint16_t f32_to_bf16(float f) {
    uint32_t bits = to_bits(f);
    uint32_t rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16;
    bool nan = (bits & 0x7FFFFFFF) > 0x7F800000;
    return (uint16_t)(nan ? bits >> 16 | 0x40 : rounded);
}

float pare_f16_to_f32(uint16_t h) {
    return f16_to_f32(h);
}

uint16_t pare_f32_to_f16(float f) {
    return f32_to_f16(f);
}

float pare_bf16_to_f32(uint16_t h) {
    return from_bits((uint32_t)h << 16);
}

uint16_t pare_f32_to_bf16(float f) {
    return f32_to_bf16(f);
}

/* ---- Arrays -------------------------------------------------------------------------------- */

/* One loop for each type; elements are copied out, since `src` need not be aligned. */
#define DEFINE_CONVERSION(name, type, expression)                                                  \
    static void name(const unsigned char *src, float *dst, size_t count) {                         \
        for (size_t i = 0; i < count; i++) {                                                       \
            type v;                                                                                \
            memcpy(&v, src + i * sizeof v, sizeof v);                                              \
            dst[i] = (expression);                                                                 \
        }                                                                                          \
    }
DEFINE_CONVERSION(convert_f32, float, v)
DEFINE_CONVERSION(convert_f16, uint16_t, f16_to_f32(v))
DEFINE_CONVERSION(convert_bf16, uint16_t, from_bits((uint32_t)v << 16))
DEFINE_CONVERSION(convert_f64, double, (float)v)
DEFINE_CONVERSION(convert_i64, int64_t, (float)v)
DEFINE_CONVERSION(convert_i32, int32_t, (float)v)
DEFINE_CONVERSION(convert_i16, int16_t, (float)v)
DEFINE_CONVERSION(convert_i8, int8_t, (float)v)
DEFINE_CONVERSION(convert_u8, uint8_t, (float)v)
DEFINE_CONVERSION(convert_bool, uint8_t, v ? 1.0F : 0.0F)

void pare_convert_to_f32(PareDtype from, const void *src, float *dst, size_t count) {
    static void (*const convert[PARE_DTYPE_COUNT])(const unsigned char *, float *, size_t) = {
        [PARE_F32] = convert_f32,   [PARE_F16] = convert_f16, [PARE_BF16] = convert_bf16,
        [PARE_F64] = convert_f64,   [PARE_I64] = convert_i64, [PARE_I32] = convert_i32,
        [PARE_I16] = convert_i16,   [PARE_I8] = convert_i8,   [PARE_U8] = convert_u8,
        [PARE_BOOL] = convert_bool,
    };
    convert[from](src, dst, count);
}

void pare_convert_from_f32(PareDtype to, const float *src, void *dst, size_t count) {
    unsigned char *out = dst;
    for (size_t i = 0; i < count && to == PARE_F32; i++)
        memcpy(out + i * sizeof *src, &src[i], sizeof *src);
    for (size_t i = 0; i < count && to == PARE_F16; i++) {
        uint16_t h = f32_to_f16(src[i]);
        memcpy(out + i * sizeof h, &h, sizeof h);
    }
    for (size_t i = 0; i < count && to == PARE_BF16; i++) {
        uint16_t h = f32_to_bf16(src[i]);
        memcpy(out + i * sizeof h, &h, sizeof h);
    }
}

size_t pare_count_nonfinite(const float *x, size_t count) {
    size_t found = 0;
    for (size_t i = 0; i < count; i++)
        found += (to_bits(x[i]) & 0x7F800000) == 0x7F800000;
    return found;
}
