/* The only place that allocates. Sizes are checked for overflow; a test can make the n-th
 * allocation fail. Arenas own what lives as long as their object. */
#ifndef PARE_CORE_MEMORY_H
#define PARE_CORE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* Products and sums that say whether they fit; `*out` is untouched when they do not. */
bool pare_size_mul(size_t a, size_t b, size_t *out);
bool pare_size_add(size_t a, size_t b, size_t *out);

/* As malloc/calloc/realloc of `count` items of `size` bytes, 64-byte aligned for alloc; NULL on
 * overflow or lack of memory. A zero-byte request returns a valid pointer. alloc's memory is
 * zeroed (fresh pages are zero anyway, so that large blocks cost nothing extra). */
void *pare_alloc(size_t count, size_t size);
/* Not aligned beyond malloc's promise; new bytes are undefined. On failure the old block stands. */
void *pare_realloc(void *old, size_t count, size_t size);
void pare_free(void *p);
char *pare_strdup(const char *text);
/* Fills `err` with the standard out-of-memory message naming `what`; returns PARE_E_MEMORY. */
PareStatus pare_memory_error(PareError *err, const char *what);

/* Tests: the n-th allocation from now on (1 = next) and all later ones fail; 0 turns it off. */
void pare_memory_fail_after(uint64_t n);

/* A bump allocator in chunks; everything is freed together. Not thread-safe. */
typedef struct PareArena PareArena;
typedef struct {
    void *chunk;
    size_t used;
} PareArenaMark;

PareArena *pare_arena_create(size_t chunk_bytes); /* 0: a sensible default; NULL on failure */
void pare_arena_destroy(PareArena *arena);        /* NULL is allowed */
/* 64-byte aligned, zeroed; NULL on overflow or lack of memory. */
void *pare_arena_alloc(PareArena *arena, size_t count, size_t size);
/* The same, without zeroing memory that was released before: for buffers that are fully written. */
void *pare_arena_alloc_raw(PareArena *arena, size_t count, size_t size);
char *pare_arena_strdup(PareArena *arena, const char *text);
char *pare_arena_strndup(PareArena *arena, const char *text, size_t length);
char *pare_arena_printf(PareArena *arena, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Everything allocated after the mark is given back (kept for reuse) by release. */
PareArenaMark pare_arena_mark(const PareArena *arena);
void pare_arena_release(PareArena *arena, PareArenaMark mark);
/* The largest number of bytes that were in use at one time. */
size_t pare_arena_peak(const PareArena *arena);

#endif
