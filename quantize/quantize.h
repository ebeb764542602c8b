/* The quantize stage: an F32 .pare file becomes one with INT8, F16 or BF16 matrices.
 *
 * INT8 is symmetric per output row ([-127, 127], scale = max|w| / 127); activations are quantized
 * per token row at run time. Norms, biases and position tables stay F32; an embedding is quantized
 * per row and stored once when the output layer shares it. */
#ifndef PARE_QUANTIZE_QUANTIZE_H
#define PARE_QUANTIZE_QUANTIZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/log.h"
#include "core/tensor.h"

/* Tensors whose name matches `glob` get this format instead, and so do tensors that share their
 * values with such a one. */
typedef struct {
    const char *glob;
    PareDtype dtype; /* F32, F16, BF16 or I8 */
} PareKeepRule;

/* "GLOB=f32" and so on; `text` is borrowed by the rule's glob from `storage` (a copy of the text
 * that the caller owns). */
PareStatus pare_keep_parse(char *storage, PareKeepRule *out, PareError *err);
/* "int8", "fp16", "bf16", "f32" and their usual spellings. */
bool pare_quantize_parse_type(const char *text, PareDtype *out);

/* One line of the report; an alias shares the bytes of another tensor. */
typedef struct {
    const char *name, *alias_of;
    PareDtype from, to;
    uint64_t bytes_before, bytes_after;
    double relative_error; /* Frobenius norm of the difference over that of the original */
} PareQuantizeLine;

typedef void (*PareQuantizeReport)(void *context, const PareQuantizeLine *line);

typedef struct {
    const char *input, *output;
    PareDtype to;
    const PareKeepRule *keep; /* the first that matches counts */
    size_t keep_count;
    bool force;
    bool self_test; /* write a self-test section where the result allows one */
    size_t threads;
    PareQuantizeReport report; /* called for every tensor in file order */
    void *context;
} PareQuantizeOptions;

typedef struct {
    uint64_t tensor_bytes_before, tensor_bytes_after; /* every blob once */
    uint64_t file_bytes_before, file_bytes_after;
} PareQuantizeTotals;

PareStatus pare_quantize(const PareQuantizeOptions *o, PareQuantizeTotals *totals, PareError *err);

#endif
