/* Packing matrices into the blocked layouts, and quantizing them on the way. Every step is exact or
 * rounded once as IEEE says, so the bytes are the same on every machine; the loops are plain enough
 * for a compiler to vectorize. */
#include "core/blocks.h"

#include <string.h>

enum {
    RUN = 256, /* columns that are converted before they are dealt out; a multiple of STEP */
    STEP = 16  /* elements that the inner loops work on: a constant, so that they become vectors */
};

/* Adding and subtracting 1.5 * 2^23 rounds to the nearest integer, ties to even. */
#define ROUND_MAGIC 12582912.0f

static size_t round_up(size_t x, size_t unit) {
    return (x + unit - 1) / unit * unit;
}

/* The bits of the largest |x|; as integers these are ordered like the numbers, with infinity and
 * then NaN above everything. */
static uint32_t max_bits(const float *x, size_t count) {
    int32_t lanes[STEP] = {0}, max = 0;
    size_t i = 0;
    for (; i + STEP <= count; i += STEP) {
        int32_t bits[STEP];
        memcpy(bits, x + i, sizeof bits);
        for (size_t j = 0; j < STEP; j++) {
            int32_t b = bits[j] & 0x7FFFFFFF;
            lanes[j] = b > lanes[j] ? b : lanes[j];
        }
    }
    for (size_t j = 0; i < count; i++, j++) {
        int32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        bits &= 0x7FFFFFFF;
        lanes[j] = bits > lanes[j] ? bits : lanes[j];
    }
    for (size_t j = 0; j < STEP; j++)
        max = lanes[j] > max ? lanes[j] : max;
    return (uint32_t)max;
}

/* Zero for a row that has nothing to say, NaN for one that holds NaN or infinity. */
static float row_scale(const float *row, size_t K) {
    uint32_t bits = max_bits(row, K);
    float max;
    if (bits >= 0x7F800000u)
        bits = 0x7FC00000u;
    memcpy(&max, &bits, sizeof max);
    return bits == 0x7FC00000u ? max : max / 127.0f;
}

/* q = clamp(round(x / scale)) of STEP elements; returns the sum of q. Only a denormal scale is so
 * coarse that the quotient leaves the range, and then it stays below 254. */
static int32_t quantize_step(int8_t *q, const float *x, float scale) {
    int32_t rounded[STEP], sum = 0;
    for (size_t i = 0; i < STEP; i++)
        rounded[i] = (int32_t)((x[i] / scale + ROUND_MAGIC) - ROUND_MAGIC);
    for (size_t i = 0; i < STEP; i++) {
        int32_t r = rounded[i] > 127 ? 127 : rounded[i];
        rounded[i] = r < -127 ? -127 : r;
    }
    for (size_t i = 0; i < STEP; i++)
        sum += rounded[i];
    for (size_t i = 0; i < STEP; i++)
        q[i] = (int8_t)rounded[i];
    return sum;
}

static int32_t quantize_run(int8_t *q, const float *x, size_t count, float scale) {
    int32_t sum = 0;
    size_t i = 0;
    for (; i + STEP <= count; i += STEP)
        sum += quantize_step(q + i, x + i, scale);
    if (i < count) {
        float rest[STEP] = {0};
        memcpy(rest, x + i, (count - i) * sizeof *rest);
        sum += quantize_step(q + i, rest, scale);
    }
    return sum;
}

/* One row into its place in its block: four bytes at every 64th. */
static int32_t pack_row_i8(int8_t *out, const float *row, size_t K, float scale) {
    int32_t sum = 0;
    for (size_t k = 0; k < K; k += RUN) {
        int8_t q[RUN];
        size_t count = K - k < RUN ? K - k : RUN;
        sum += quantize_run(q, row + k, count, scale);
        for (size_t i = 0; i < count; i += PARE_BLOCK_DEPTH)
            memcpy(out + (k + i) * PARE_BLOCK_ROWS, q + i, PARE_BLOCK_DEPTH);
    }
    return sum;
}

void pare_blocks_pack_i8_part(const float *w, size_t N, size_t K, size_t begin, size_t end,
                              void *blob) {
    size_t P = round_up(N, PARE_BLOCK_ROWS), C = round_up(K, PARE_BLOCK_DEPTH);
    uint8_t *bytes = blob;
    for (size_t n = begin * PARE_BLOCK_ROWS; n < end * PARE_BLOCK_ROWS; n++) {
        int8_t *block = (int8_t *)bytes + P * 8 + n / PARE_BLOCK_ROWS * PARE_BLOCK_ROWS * C;
        float scale = n < N ? row_scale(w + n * K, K) : 0.0f;
        int32_t sum = 0;
        if (n % PARE_BLOCK_ROWS == 0)
            memset(block, 0, PARE_BLOCK_ROWS * C);
        if (scale > 0.0f)
            sum = pack_row_i8(block + n % PARE_BLOCK_ROWS * PARE_BLOCK_DEPTH, w + n * K, K, scale);
        memcpy(bytes + n * 4, &scale, sizeof scale);
        memcpy(bytes + P * 4 + n * 4, &sum, sizeof sum);
    }
}

void pare_blocks_pack_i8(const float *w, size_t N, size_t K, void *blob) {
    pare_blocks_pack_i8_part(w, N, K, 0, round_up(N, PARE_BLOCK_ROWS) / PARE_BLOCK_ROWS, blob);
}

void pare_blocks_round_i8(const float *row, size_t K, float *out) {
    float scale = row_scale(row, K);
    for (size_t k = 0; k < K; k += RUN) {
        int8_t q[RUN] = {0};
        size_t count = K - k < RUN ? K - k : RUN;
        if (scale > 0.0f)
            quantize_run(q, row + k, count, scale);
        for (size_t i = 0; i < count; i++)
            out[k + i] = scale * (float)q[i];
    }
}

void pare_blocks_pack_half(PareDtype dtype, const float *w, size_t N, size_t K, void *blob) {
    uint8_t *bytes = blob;
    for (size_t n = 0; n < N; n++) {
        uint8_t *block = bytes + n / PARE_BLOCK_ROWS * PARE_BLOCK_ROWS * K * 2;
        if (n % PARE_BLOCK_ROWS == 0 && N - n < PARE_BLOCK_ROWS)
            memset(block, 0, PARE_BLOCK_ROWS * K * 2);
        for (size_t k = 0; k < K; k += RUN) {
            uint16_t run[RUN];
            size_t count = K - k < RUN ? K - k : RUN;
            pare_convert_from_f32(dtype, w + n * K + k, run, count);
            for (size_t i = 0; i < count; i++)
                memcpy(block + ((k + i) * PARE_BLOCK_ROWS + n % PARE_BLOCK_ROWS) * 2, &run[i], 2);
        }
    }
}
