/* Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011: "Parallel random numbers: as easy as 1, 2,
 * 3"). */
#include "core/random.h"

void pare_random_block(uint64_t seed, uint64_t stream, uint64_t block, uint32_t out[4]) {
    uint32_t c[4] = {(uint32_t)block, (uint32_t)(block >> 32), (uint32_t)stream,
                     (uint32_t)(stream >> 32)};
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53U * c[0], b = (uint64_t)0xCD9E8D57U * c[2];
        uint32_t next[4] = {(uint32_t)(b >> 32) ^ c[1] ^ k0, (uint32_t)b,
                            (uint32_t)(a >> 32) ^ c[3] ^ k1, (uint32_t)a};
        for (int i = 0; i < 4; i++)
            c[i] = next[i];
        k0 += 0x9E3779B9U;
        k1 += 0xBB67AE85U;
    }
    for (int i = 0; i < 4; i++)
        out[i] = c[i];
}

uint32_t pare_random_u32(uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t words[4];
    pare_random_block(seed, stream, index / 4, words);
    return words[index % 4];
}

float pare_random_float(uint64_t seed, uint64_t stream, uint64_t index) {
    return (float)(pare_random_u32(seed, stream, index) >> 8) * 0x1p-24F;
}

uint64_t pare_random_below(uint64_t seed, uint64_t stream, uint64_t index, uint64_t n) {
    uint64_t threshold = (0 - n) % n;
    /* Rejected draws (rare: fewer than n in 2^64) go on in blocks that no index reaches. */
    for (uint64_t attempt = 0;; attempt++) {
        uint32_t w[4];
        pare_random_block(seed, stream, index | attempt << 56, w);
        uint64_t x = (uint64_t)w[1] << 32 | w[0];
        __extension__ unsigned __int128 product = (unsigned __int128)x * n;
        if ((uint64_t)product >= threshold)
            return (uint64_t)(product >> 64);
    }
}

void pare_random_permutation(uint64_t seed, uint64_t stream, uint32_t *out, size_t n) {
    for (size_t i = 0; i < n; i++)
        out[i] = (uint32_t)i;
    for (size_t i = n; i > 1; i--) {
        size_t k = (size_t)pare_random_below(seed, stream, i, i);
        uint32_t swap = out[i - 1];
        out[i - 1] = out[k];
        out[k] = swap;
    }
}
