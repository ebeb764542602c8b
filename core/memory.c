/* The only file that calls malloc and its relatives.
 *
 * Every block carries a small header in front of it that tells where the block of the C library
 * begins, so that aligned and plain blocks are freed and resized alike. Memory is taken from
 * calloc, which knows that fresh pages are zero and leaves them untouched. */
#include "core/memory.h"

#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory_guard.h"

typedef struct {
    unsigned char *base; /* what the C library gave us */
    size_t size;         /* what the caller asked for */
} Header;

enum { ALIGNMENT = 64, HEADER_SIZE = 16 };
_Static_assert(sizeof(Header) <= HEADER_SIZE, "the header fits before a block");
_Static_assert(_Alignof(max_align_t) <= HEADER_SIZE, "the header keeps malloc's alignment");

/* 0: off. Otherwise the allocation with this number, and all that follow, fail. */
static atomic_uint_least64_t fail_from;
static atomic_uint_least64_t allocations;

bool pare_size_mul(size_t a, size_t b, size_t *out) {
    size_t product;
    if (__builtin_mul_overflow(a, b, &product))
        return false;
    *out = product;
    return true;
}

bool pare_size_add(size_t a, size_t b, size_t *out) {
    size_t sum;
    if (__builtin_add_overflow(a, b, &sum))
        return false;
    *out = sum;
    return true;
}

void pare_memory_fail_after(uint64_t n) {
    atomic_store(&fail_from, 0);
    atomic_store(&allocations, 0);
    atomic_store(&fail_from, n);
}

static bool must_fail(void) {
    uint64_t from = atomic_load_explicit(&fail_from, memory_order_relaxed);
    return from && atomic_fetch_add(&allocations, 1) + 1 >= from;
}

/* Bytes for `count` items and `extra`, at most PTRDIFF_MAX so that pointers can be subtracted. */
static bool total_size(size_t count, size_t size, size_t extra, size_t *bytes, size_t *total) {
    return pare_size_mul(count, size, bytes) && pare_size_add(*bytes, extra, total) &&
           *total <= PTRDIFF_MAX;
}

static Header *header_of(void *block) {
    return (Header *)(void *)((unsigned char *)block - HEADER_SIZE);
}

/* Sanitizers see the block as the caller does: what lies around it is out of bounds. */
static void *dress(unsigned char *base, size_t offset, size_t bytes, size_t total) {
    unsigned char *block = base + offset;
    *header_of(block) = (Header){.base = base, .size = bytes};
    pare_guard(base, offset);
    pare_guard(block + bytes, total - offset - bytes);
    return block;
}

static Header undress(void *block) {
    pare_unguard(header_of(block), HEADER_SIZE);
    return *header_of(block);
}

void *pare_alloc(size_t count, size_t size) {
    size_t bytes, total;
    /* The base is a multiple of 16, so the block begins 16, 32, 48 or 64 bytes after it. */
    if (must_fail() || !total_size(count, size, ALIGNMENT, &bytes, &total))
        return NULL;
    unsigned char *base = calloc(1, total);
    if (!base)
        return NULL;
    size_t offset = ALIGNMENT - ((uintptr_t)base & (ALIGNMENT - 1));
    return dress(base, offset, bytes, total);
}

void *pare_realloc(void *old, size_t count, size_t size) {
    size_t bytes, total, offset = HEADER_SIZE;
    Header header = {0};
    if (old) {
        header = undress(old);
        offset = (size_t)((unsigned char *)old - header.base);
    }
    unsigned char *base = NULL;
    if (!must_fail() && total_size(count, size, offset, &bytes, &total))
        base = realloc(header.base, total);
    if (base)
        return dress(base, offset, bytes, total);
    if (old)
        pare_guard(header_of(old), HEADER_SIZE);
    return NULL;
}

void pare_free(void *p) {
    if (p)
        free(undress(p).base);
}

char *pare_strdup(const char *text) {
    size_t size = strlen(text) + 1;
    char *copy = pare_realloc(NULL, size, 1);
    if (copy)
        memcpy(copy, text, size);
    return copy;
}

PareStatus pare_memory_error(PareError *err, const char *what) {
    return pare_error_set(err, PARE_E_MEMORY, "out of memory for %s", what);
}
