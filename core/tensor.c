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

/* All ones when a < b, otherwise zero: with masks rather than conditions, gcc 12 vectorises loops.
 */
static inline uint32_t less(uint32_t a, uint32_t b) { /* both below 2^31 */
    return 0U - ((a - b) >> 31);
}

static inline uint32_t choose(uint32_t mask, uint32_t yes, uint32_t no) {
    return (yes & mask) | (no & ~mask);
}

/* Signalling NaNs become quiet ones, as vcvtph2ps and fcvt do it. */
static inline float f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, magnitude = (uint32_t)(h & 0x7FFF) << 13;
    uint32_t special = ~less(magnitude, 31U << 23), nan = less(31U << 23, magnitude);
    uint32_t normal = (magnitude + (112U << 23) + (special & 112U << 23)) | (nan & 0x400000);
    /* 2^-14 and the fraction, less 2^-14: exact. */
    float denormal = from_bits(magnitude + (113U << 23)) - from_bits(113U << 23);
    uint32_t small = less(magnitude, 1U << 23);
    return from_bits(sign | choose(small, to_bits(denormal), normal));
}

/* Denormal halves are rounded by an addition: beside 0.5 the last bit of a float is worth 2^-24,
 * the step of the denormals, and sums round to the nearest, ties to even. */
static inline uint16_t f32_to_f16(float f) {
    uint32_t bits = to_bits(f), magnitude = bits & 0x7FFFFFFF, sign = bits >> 16 & 0x8000;
    uint32_t odd = magnitude >> 13 & 1; /* ties go to even */
    uint32_t normal =
        (magnitude - (112U << 23) + 0xFFF + odd) >> 13; /* carries go where they must */
    uint32_t denormal = to_bits(from_bits(magnitude) + 0.5F) - to_bits(0.5F);
    /* The payload's upper bits and the quiet bit, as vcvtps2ph. */
    uint32_t nan = 0x7E00 | (magnitude >> 13 & 0x3FF);
    uint32_t half = choose(less(magnitude, 0x38800000), denormal, normal); /* least normal: 2^-14 */
    half = choose(less(magnitude, 0x477FF000), half, 0x7C00); /* 65520 and more: infinity */
    half = choose(less(0x7F800000, magnitude), nan, half);
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

/* One loop for each type; elements are copied out, since `src` need not be aligned. Blocks of fixed
 * length are what compilers vectorise at -O2. */
enum { BLOCK = 16 };
#define DEFINE_CONVERSION(name, type, expression)                                                  \
    static void name(const unsigned char *src, float *dst, size_t count) {                         \
        size_t i = 0;                                                                              \
        for (; count - i >= BLOCK; i += BLOCK) {                                                   \
            type block[BLOCK];                                                                     \
            memcpy(block, src + i * sizeof *block, sizeof block);                                  \
            for (size_t j = 0; j < BLOCK; j++) {                                                   \
                type v = block[j];                                                                 \
                dst[i + j] = (expression);                                                         \
            }                                                                                      \
        }                                                                                          \
        for (; i < count; i++) {                                                                   \
            type v;                                                                                \
            memcpy(&v, src + i * sizeof v, sizeof v);                                              \
            dst[i] = (expression);                                                                 \
        }                                                                                          \
    }
DEFINE_CONVERSION(convert_f16, uint16_t, f16_to_f32(v))
DEFINE_CONVERSION(convert_bf16, uint16_t, from_bits((uint32_t)v << 16))
DEFINE_CONVERSION(convert_f64, double, (float)v)
DEFINE_CONVERSION(convert_i64, int64_t, (float)v)
DEFINE_CONVERSION(convert_i32, int32_t, (float)v)
DEFINE_CONVERSION(convert_i16, int16_t, (float)v)
DEFINE_CONVERSION(convert_i8, int8_t, (float)v)
DEFINE_CONVERSION(convert_u8, uint8_t, (float)v)
DEFINE_CONVERSION(convert_bool, uint8_t, v ? 1.0F : 0.0F)

static void convert_f32(const unsigned char *src, float *dst, size_t count) {
    if (count)
        memcpy(dst, src, count * sizeof *dst);
}

void pare_convert_to_f32(PareDtype from, const void *src, float *dst, size_t count) {
    static void (*const convert[PARE_DTYPE_COUNT])(const unsigned char *, float *, size_t) = {
        [PARE_F32] = convert_f32,   [PARE_F16] = convert_f16, [PARE_BF16] = convert_bf16,
        [PARE_F64] = convert_f64,   [PARE_I64] = convert_i64, [PARE_I32] = convert_i32,
        [PARE_I16] = convert_i16,   [PARE_I8] = convert_i8,   [PARE_U8] = convert_u8,
        [PARE_BOOL] = convert_bool,
    };
    convert[from](src, dst, count);
}

/* As above, the other way: `dst` need not be aligned. */
#define DEFINE_HALVING(name, function)                                                             \
    static void name(const float *src, unsigned char *dst, size_t count) {                         \
        size_t i = 0;                                                                              \
        for (; count - i >= BLOCK; i += BLOCK) {                                                   \
            uint16_t block[BLOCK];                                                                 \
            for (size_t j = 0; j < BLOCK; j++)                                                     \
                block[j] = function(src[i + j]);                                                   \
            memcpy(dst + i * sizeof *block, block, sizeof block);                                  \
        }                                                                                          \
        for (; i < count; i++) {                                                                   \
            uint16_t half = function(src[i]);                                                      \
            memcpy(dst + i * sizeof half, &half, sizeof half);                                     \
        }                                                                                          \
    }
DEFINE_HALVING(halve_f16, f32_to_f16)
DEFINE_HALVING(halve_bf16, f32_to_bf16)

void pare_convert_from_f32(PareDtype to, const float *src, void *dst, size_t count) {
    if (to == PARE_F32 && count)
        memcpy(dst, src, count * sizeof *src);
    if (to == PARE_F16)
        halve_f16(src, dst, count);
    if (to == PARE_BF16)
        halve_bf16(src, dst, count);
}

size_t pare_count_nonfinite(const float *x, size_t count) {
    size_t found = 0, i = 0;
    for (; count - i >= BLOCK; i += BLOCK) {
        uint32_t in_block = 0; /* of the lanes' own width */
        for (size_t j = 0; j < BLOCK; j++)
            in_block += (to_bits(x[i + j]) & 0x7F800000) == 0x7F800000;
        found += in_block;
    }
    for (; i < count; i++)
        found += (to_bits(x[i]) & 0x7F800000) == 0x7F800000;
    return found;
}
