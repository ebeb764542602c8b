/* Counter-based random numbers (Philox4x32-10, Salmon et al. 2011): the value depends only on
 * (seed, stream, index), so any thread may draw any part and the stream is the same. */
#ifndef PARE_CORE_RANDOM_H
#define PARE_CORE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Four 32-bit words for a counter. */
void pare_random_block(uint64_t seed, uint64_t stream, uint64_t block, uint32_t out[4]);
/* The index-th 32-bit word of a stream, and the same as a float in [0, 1) with 24 bits. */
uint32_t pare_random_u32(uint64_t seed, uint64_t stream, uint64_t index);
float pare_random_float(uint64_t seed, uint64_t stream, uint64_t index);
/* Uniform in [0, n), unbiased (Lemire's multiplication on 64 bits of the stream). n > 0. */
uint64_t pare_random_below(uint64_t seed, uint64_t stream, uint64_t index, uint64_t n);
/* A permutation of 0..n-1 (Fisher-Yates), the same for the same (seed, stream, n). */
void pare_random_permutation(uint64_t seed, uint64_t stream, uint32_t *out, size_t n);

#endif
