/* Checksums: XXH64 guards sections and tensors, SHA-256 names contents to people.
 * Doorkeeper of xxhash and nettle. */
#ifndef PARE_CORE_HASH_H
#define PARE_CORE_HASH_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* XXH64 with seed 0 (the xxHash specification, version 0.1.1). */
uint64_t pare_hash_xxh64(const void *bytes, size_t size);

typedef struct PareXxh64 PareXxh64;
PareXxh64 *pare_xxh64_create(void);  /* NULL when out of memory */
void pare_xxh64_reset(PareXxh64 *h); /* to the beginning, to be used afresh */
void pare_xxh64_update(PareXxh64 *h, const void *bytes, size_t size);
uint64_t pare_xxh64_digest(const PareXxh64 *h);
void pare_xxh64_destroy(PareXxh64 *h);

enum { PARE_SHA256_HEX_SIZE = 65 };
typedef struct PareSha256 PareSha256;
PareSha256 *pare_sha256_create(void); /* NULL when out of memory */
void pare_sha256_update(PareSha256 *h, const void *bytes, size_t size);
/* Writes 64 hexadecimal digits and a NUL; the object can then be used afresh. */
void pare_sha256_hex(PareSha256 *h, char out[PARE_SHA256_HEX_SIZE]);
void pare_sha256_destroy(PareSha256 *h);

/* Size and SHA-256 of a whole file, read in pieces; can be interrupted. Allocates nothing. */
PareStatus pare_file_sha256(const char *path, uint64_t *bytes, char hex[PARE_SHA256_HEX_SIZE],
                            PareError *err);
/* Until another thread sets `stop`: then the rest is not read, and it is PARE_E_INTERRUPTED. */
PareStatus pare_file_sha256_until(const char *path, const atomic_bool *stop, uint64_t *bytes,
                                  char hex[PARE_SHA256_HEX_SIZE], PareError *err);

#endif
