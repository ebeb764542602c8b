/* Doorkeeper of xxhash and nettle. */
#include "core/hash.h"

#include <nettle/sha2.h>
#include <stdio.h>

/* The header alone: then the state's size is known here, and our own allocator makes it. */
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/file.h"
#include "core/memory.h"

uint64_t pare_hash_xxh64(const void *bytes, size_t size) {
    return XXH64(bytes, size, 0);
}

struct PareXxh64 {
    XXH64_state_t state;
};

PareXxh64 *pare_xxh64_create(void) {
    PareXxh64 *h = pare_alloc(1, sizeof *h);
    if (h)
        pare_xxh64_reset(h);
    return h;
}

void pare_xxh64_reset(PareXxh64 *h) {
    XXH64_reset(&h->state, 0);
}

void pare_xxh64_update(PareXxh64 *h, const void *bytes, size_t size) {
    if (size) /* an empty piece may come with a null pointer */
        XXH64_update(&h->state, bytes, size);
}

uint64_t pare_xxh64_digest(const PareXxh64 *h) {
    return XXH64_digest(&h->state);
}

void pare_xxh64_destroy(PareXxh64 *h) {
    pare_free(h);
}

struct PareSha256 {
    struct sha256_ctx context;
};

PareSha256 *pare_sha256_create(void) {
    PareSha256 *h = pare_alloc(1, sizeof *h);
    if (h)
        sha256_init(&h->context);
    return h;
}

void pare_sha256_update(PareSha256 *h, const void *bytes, size_t size) {
    if (size)
        sha256_update(&h->context, size, bytes);
}

void pare_sha256_hex(PareSha256 *h, char out[PARE_SHA256_HEX_SIZE]) {
    uint8_t digest[SHA256_DIGEST_SIZE];
    sha256_digest(&h->context, sizeof digest, digest);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

void pare_sha256_destroy(PareSha256 *h) {
    pare_free(h);
}

PareStatus pare_file_sha256_until(const char *path, const atomic_bool *stop, uint64_t *bytes,
                                  char hex[PARE_SHA256_HEX_SIZE], PareError *err) {
    enum { PIECE = 4 << 20 };
    PareMapping m;
    PareSha256 h;
    PareStatus st = pare_file_map(path, &m, err);
    if (st)
        return st;
    sha256_init(&h.context);
    for (size_t at = 0; at < m.size && !st; at += PIECE) {
        size_t size = m.size - at < PIECE ? m.size - at : PIECE;
        pare_sha256_update(&h, m.data + at, size);
        pare_file_drop(&m, at, size);
        st = pare_interrupt_check(err);
        if (!st && stop && atomic_load(stop))
            st = pare_error_set(err, PARE_E_INTERRUPTED, "%s: reading it was given up", path);
    }
    *bytes = m.size;
    if (!st)
        pare_sha256_hex(&h, hex);
    pare_file_unmap(&m);
    return st;
}

PareStatus pare_file_sha256(const char *path, uint64_t *bytes, char hex[PARE_SHA256_HEX_SIZE],
                            PareError *err) {
    return pare_file_sha256_until(path, NULL, bytes, hex, err);
}
