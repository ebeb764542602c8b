/* Dropout over sixteen lanes (a lanes_*.h is included before this). The words come 32 at a time, as
 * they lie in the stream; a draw that begins inside a block skips the words before it. */
#ifndef PARE_RUNTIME_KERNELS_LANES_RANDOM_H
#define PARE_RUNTIME_KERNELS_LANES_RANDOM_H

#include "runtime/kernels/lanes_math.h"

/* The first n <= 16 of a group; none if n is 0. */
LANES_INLINE void dropout_group(float *y, const float *x, Lanes words, const PareDropout *d,
                                size_t n) {
    const Lanes keep = lanes_set1(d->keep);
    if (n >= LANES) {
        lanes_store(y, lanes_if_kept(words, d->threshold, lanes_mul(lanes_load(x), keep)));
    } else if (n > 0) {
        Lanes part = lanes_mul(lanes_load_part(x, n, keep), keep);
        lanes_store_part(y, n, lanes_if_kept(words, d->threshold, part));
    }
}

/* At most 32 - skip elements of 8 blocks, from word `skip` (1 to 3) on; returns how many. */
static inline size_t dropout_from(float *y, const float *x, const PareDropout *d, uint64_t block,
                                  size_t skip, size_t count) {
    float words[3 * LANES] = {0};
    Lanes drawn[2];
    lanes_random(d->seed, d->stream, block, drawn);
    lanes_store(words, drawn[0]);
    lanes_store(words + LANES, drawn[1]);
    size_t n = 2 * LANES - skip < count ? 2 * LANES - skip : count;
    for (size_t i = 0; i < n; i += LANES)
        dropout_group(y + i, x + i, lanes_load(words + skip + i), d, n - i);
    return n;
}

static void dropout(float *y, const float *x, const PareDropout *d, uint64_t first, size_t count) {
    uint64_t block = first / 4;
    size_t i = 0;
    if (first % 4) {
        i = dropout_from(y, x, d, block, (size_t)(first % 4), count);
        block += 2 * LANES / 4;
    }
    for (; i < count; i += 2 * LANES, block += 2 * LANES / 4) {
        Lanes words[2];
        lanes_random(d->seed, d->stream, block, words);
        dropout_group(y + i, x + i, words[0], d, count - i);
        if (count - i > LANES)
            dropout_group(y + i + LANES, x + i + LANES, words[1], d, count - i - LANES);
    }
}

#endif
