/* Tensors as the formats and stages exchange them: a name, a type, a shape, and bytes that
 * somebody else owns. Number formats and their conversions. */
#ifndef PARE_CORE_TENSOR_H
#define PARE_CORE_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef enum {
    PARE_F32,
    PARE_F16,
    PARE_BF16,
    PARE_I8,
    PARE_F64,
    PARE_I64,
    PARE_I32,
    PARE_I16,
    PARE_U8,
    PARE_BOOL,
    PARE_DTYPE_COUNT
} PareDtype;

enum { PARE_MAX_DIMS = 8 };

typedef struct {
    PareDtype dtype;
    uint32_t dims; /* 0: a scalar */
    uint64_t shape[PARE_MAX_DIMS];
} PareTensorType;

const char *pare_dtype_name(PareDtype t); /* "F32", "BF16", … as safetensors writes them */
bool pare_dtype_parse(const char *name, PareDtype *out);
size_t pare_dtype_size(PareDtype t);
bool pare_dtype_is_float(PareDtype t);

/* Number of elements / bytes; false when it does not fit into size_t. */
bool pare_tensor_elements(const PareTensorType *t, size_t *out);
bool pare_tensor_bytes(const PareTensorType *t, size_t *out);
bool pare_tensor_same_shape(const PareTensorType *a, const PareTensorType *b);
/* "[8001, 256]" into `out`, truncated with "..." when it does not fit; returns `out`. */
const char *pare_tensor_shape_text(const PareTensorType *t, char *out, size_t size);

/* Round-to-nearest-even conversions, bit-exact on every machine (no library calls). NaN stays NaN,
 * overflow goes to infinity, halves' denormals are kept. */
float pare_f16_to_f32(uint16_t h);
uint16_t pare_f32_to_f16(float f);
float pare_bf16_to_f32(uint16_t h);
uint16_t pare_f32_to_bf16(float f);
/* `count` elements of any dtype (little-endian, any alignment) to float32. */
void pare_convert_to_f32(PareDtype from, const void *src, float *dst, size_t count);
void pare_convert_from_f32(PareDtype to, const float *src, void *dst,
                           size_t count); /* F16 BF16 F32 */
/* How many elements are NaN or infinite. */
size_t pare_count_nonfinite(const float *x, size_t count);

#endif
