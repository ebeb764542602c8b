/* The layouts of the .pare file: sizes, parts, checks, and the way back to plain float32. */
#include <stdio.h>

#include "core/memory.h"
#include "formats/pare_format.h"

static uint64_t round_up(uint64_t x, uint64_t unit) {
    return (x + unit - 1) / unit * unit;
}

/* The product of the shape, bounded so that no later sum or product can overflow. */
static bool count_elements(const PareFileTensor *t, uint64_t *out) {
    uint64_t shape[PARE_FILE_MAX_DIMS], n = 1;
    bool empty = false;
    if (t->dims > PARE_FILE_MAX_DIMS)
        return false;
    for (uint32_t d = 0; d < t->dims; d++) {
        if (t->shape[d] > PARE_FILE_ELEMENTS_MAX)
            return false;
        shape[d] = t->shape[d];
        if (t->layout != PARE_LAYOUT_ROWS && d == 0)
            shape[d] = round_up(shape[d], PARE_BLOCK_ROWS);
        else if (t->layout == PARE_LAYOUT_BLOCK4)
            shape[d] = round_up(shape[d], PARE_BLOCK_DEPTH);
        empty = empty || shape[d] == 0;
    }
    for (uint32_t d = 0; d < t->dims && !empty; d++) {
        if (shape[d] > PARE_FILE_ELEMENTS_MAX / n)
            return false;
        n *= shape[d];
    }
    *out = empty ? 0 : n;
    return true;
}

bool pare_file_blob_bytes(const PareFileTensor *t, uint64_t *out) {
    bool half = t->dtype == PARE_F16 || t->dtype == PARE_BF16;
    uint64_t elements;
    if (!count_elements(t, &elements))
        return false;
    if (t->layout == PARE_LAYOUT_ROWS && (half || t->dtype == PARE_F32))
        *out = elements * pare_dtype_size(t->dtype);
    else if (t->layout == PARE_LAYOUT_BLOCK1 && half && t->dims == 2)
        *out = round_up(t->shape[0], PARE_BLOCK_ROWS) * t->shape[1] * 2;
    else if (t->layout == PARE_LAYOUT_BLOCK4 && t->dtype == PARE_I8 && t->dims == 2 &&
             t->shape[1] <= PARE_FILE_BLOCK4_COLUMNS_MAX)
        *out = round_up(t->shape[0], PARE_BLOCK_ROWS) * 8 + elements;
    else
        return false;
    return true;
}

PareBlock4 pare_file_block4(const PareFileTensor *t) {
    PareBlock4 b = {.rows = (size_t)t->shape[0], .cols = (size_t)t->shape[1]};
    b.rows_padded = (size_t)round_up(t->shape[0], PARE_BLOCK_ROWS);
    b.cols_padded = (size_t)round_up(t->shape[1], PARE_BLOCK_DEPTH);
    const uint8_t *blob = t->data;
    b.scales = (const float *)(const void *)blob;
    b.sums = (const int32_t *)(const void *)(blob + b.rows_padded * 4);
    b.values = (const int8_t *)(blob + b.rows_padded * 8);
    return b;
}

static bool axis_valid(PareAxis a, uint64_t length) {
    bool block = a.kind == PARE_AXIS_HEAD || a.kind == PARE_AXIS_KV;
    bool layer = block || a.kind == PARE_AXIS_FFN;
    if (a.kind >= PARE_AXIS_COUNT || a.stack > 2 || a.zero != 0)
        return false;
    if (a.block > (block ? PARE_BLOCK_CROSS : 0) || (!layer && a.layer != 0))
        return false;
    if (a.kind == PARE_AXIS_NONE)
        return a.stack == 0 && a.group <= 1;
    return a.group >= 1 && length % a.group == 0;
}

static const char *axes_fault(const PareFileTensor *t, char *out, size_t size) {
    for (uint32_t d = 0; d < PARE_FILE_MAX_DIMS; d++) {
        static const PareAxis none;
        bool unused = d >= t->dims;
        if (unused && (t->shape[d] != 0 || memcmp(&t->axes[d], &none, sizeof none) != 0)) {
            snprintf(out, size, "has a shape or axis beyond its %u dimensions", t->dims);
            return out;
        }
        if (!unused && !axis_valid(t->axes[d], t->shape[d])) {
            char text[64];
            snprintf(out, size, "has an axis tag that cannot be on dimension %u: %s", d,
                     pare_axis_text(t->axes[d], text, sizeof text));
            return out;
        }
    }
    return NULL;
}

const char *pare_file_shape_fault(PareFileTensor *t, char *out, size_t size) {
    static const char *const layouts[] = {"ROWS", "BLOCK1", "BLOCK4"};
    if ((unsigned)t->dtype > PARE_I8)
        snprintf(out, size, "has dtype %u, which does not exist", (unsigned)t->dtype);
    else if ((unsigned)t->layout > PARE_LAYOUT_BLOCK4)
        snprintf(out, size, "has layout %u, which does not exist", (unsigned)t->layout);
    else if (t->dims > PARE_FILE_MAX_DIMS)
        snprintf(out, size, "has %u dimensions; at most 4 are allowed", t->dims);
    else if (!pare_file_blob_bytes(t, &t->bytes)) {
        PareTensorType type = {.dtype = t->dtype, .dims = t->dims};
        char shape[128];
        memcpy(type.shape, t->shape, sizeof t->shape);
        snprintf(out, size, "has dtype %s, layout %s and shape %s, which do not go together",
                 pare_dtype_name(t->dtype), layouts[t->layout],
                 pare_tensor_shape_text(&type, shape, sizeof shape));
    } else
        return axes_fault(t, out, size);
    return out;
}

static bool all_zero(const void *bytes, size_t size) {
    const uint8_t *p = bytes;
    uint8_t any = 0;
    for (size_t i = 0; i < size; i++)
        any |= p[i];
    return any == 0;
}

/* One block of 16 rows against its scales and sums. */
static const char *block4_fault(const PareBlock4 *b, size_t block) {
    const int8_t *values = b->values + block * PARE_BLOCK_ROWS * b->cols_padded;
    for (size_t r = 0; r < PARE_BLOCK_ROWS; r++) {
        size_t n = block * PARE_BLOCK_ROWS + r;
        int32_t sum = 0;
        bool any = false;
        for (size_t k = 0; k < b->cols_padded; k++) {
            int8_t q = values[k / 4 * 64 + r * 4 + k % 4];
            if (q == -128)
                return "holds -128, which does not occur in INT8 weights";
            if (q != 0 && (n >= b->rows || k >= b->cols))
                return "has padding that is not zero";
            sum += q;
            any = any || q != 0;
        }
        uint32_t bits;
        memcpy(&bits, &b->scales[n], sizeof bits);
        if (sum != b->sums[n])
            return "has row sums that are not the sums of its values";
        if (bits >= 0x7F800000u && (bits != 0x7FC00000u || any))
            return "has a scale that is negative or infinite";
        if (bits != 0 && n >= b->rows)
            return "has padding that is not zero";
    }
    return NULL;
}

const char *pare_file_content_fault(const PareFileTensor *t) {
    if (t->layout == PARE_LAYOUT_BLOCK4) {
        PareBlock4 b = pare_file_block4(t);
        const char *fault = NULL;
        for (size_t i = 0; i < b.rows_padded / PARE_BLOCK_ROWS && fault == NULL; i++)
            fault = block4_fault(&b, i);
        return fault;
    }
    if (t->layout == PARE_LAYOUT_BLOCK1 && t->shape[0] % PARE_BLOCK_ROWS != 0) {
        size_t K = (size_t)t->shape[1], used = (size_t)t->shape[0] % PARE_BLOCK_ROWS;
        const uint8_t *last = (const uint8_t *)t->data + t->bytes - K * PARE_BLOCK_ROWS * 2;
        for (size_t k = 0; k < K; k++)
            if (!all_zero(last + (k * PARE_BLOCK_ROWS + used) * 2, (PARE_BLOCK_ROWS - used) * 2))
                return "has padding that is not zero";
    }
    return NULL;
}

static void read_block4(const PareFileTensor *t, float *dst) {
    PareBlock4 b = pare_file_block4(t);
    for (size_t n = 0; n < b.rows; n++) {
        const int8_t *row = b.values + n / PARE_BLOCK_ROWS * PARE_BLOCK_ROWS * b.cols_padded +
                            n % PARE_BLOCK_ROWS * PARE_BLOCK_DEPTH;
        for (size_t k = 0; k < b.cols; k++)
            dst[n * b.cols + k] = b.scales[n] * (float)row[k / 4 * 64 + k % 4];
    }
}

/* Gathers pieces of a row so that the conversion works on runs. */
static void read_block1(const PareFileTensor *t, float *dst) {
    size_t N = (size_t)t->shape[0], K = (size_t)t->shape[1];
    for (size_t n = 0; n < N; n++) {
        const uint8_t *row =
            (const uint8_t *)t->data + (n / PARE_BLOCK_ROWS * K * PARE_BLOCK_ROWS + n % 16) * 2;
        for (size_t k = 0; k < K;) {
            uint8_t run[256];
            size_t length = K - k < 128 ? K - k : 128;
            for (size_t i = 0; i < length; i++)
                memcpy(run + i * 2, row + (k + i) * PARE_BLOCK_ROWS * 2, 2);
            pare_convert_to_f32(t->dtype, run, dst + n * K + k, length);
            k += length;
        }
    }
}

void pare_file_read_f32(const PareFileTensor *t, float *dst) {
    uint64_t elements;
    if (t->layout == PARE_LAYOUT_BLOCK4)
        read_block4(t, dst);
    else if (t->layout == PARE_LAYOUT_BLOCK1)
        read_block1(t, dst);
    else if (count_elements(t, &elements))
        pare_convert_to_f32(t->dtype, t->data, dst, (size_t)elements);
}
