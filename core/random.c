/* Philox4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", 2011).
 * The key is the seed; the counter is the block (low half) and the stream (high half). */
#include "core/random.h"

void pare_random_block(uint64_t seed, uint64_t stream, uint64_t block, uint32_t out[4]) {
    uint32_t c0 = (uint32_t)block, c1 = (uint32_t)(block >> 32);
    uint32_t c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        uint64_t a = (uint64_t)0xD2511F53U * c0, b = (uint64_t)0xCD9E8D57U * c2;
        c0 = (uint32_t)(b >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)b;
        c2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9U; /* the golden ratio, and the square root of three less one */
        k1 += 0xBB67AE85U;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

uint32_t pare_random_u32(uint64_t seed, uint64_t stream, uint64_t index) {
    uint32_t words[4];
    pare_random_block(seed, stream, index / 4, words);
    return words[index % 4];
}

float pare_random_float(uint64_t seed, uint64_t stream, uint64_t index) {
    return (float)(pare_random_u32(seed, stream, index) >> 8) * 0x1p-24F;
}

/* Each index has a block of its own. A draw that would favour some results is rejected (fewer than
 * n in 2^64 are); the next attempt uses a block that no sensible index reaches. */
uint64_t pare_random_below(uint64_t seed, uint64_t stream, uint64_t index, uint64_t n) {
    __extension__ typedef unsigned __int128 wide;
    for (uint64_t attempt = 0;; attempt++) {
        uint32_t words[4];
        pare_random_block(seed, stream, index ^ attempt << 56, words);
        uint64_t draw = (uint64_t)words[1] << 32 | words[0];
        wide product = (wide)draw * n;
        uint64_t rest = (uint64_t)product;
        /* 2^64 mod n results come once too often; the division is needed only near there. */
        if (rest >= n || rest >= (0 - n) % n)
            return (uint64_t)(product >> 64);
    }
}

void pare_random_permutation(uint64_t seed, uint64_t stream, uint32_t *out, size_t n) {
    for (size_t i = 0; i < n; i++)
        out[i] = (uint32_t)i;
    for (size_t i = n; i > 1; i--) {
        size_t other = (size_t)pare_random_below(seed, stream, i, i);
        uint32_t swap = out[i - 1];
        out[i - 1] = out[other];
        out[other] = swap;
    }
}
