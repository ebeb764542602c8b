/* Arenas: memory in chunks that is given back together.
 *
 * Chunks form a list; those after the current one are free for reuse. Each chunk remembers how far
 * it was ever used (`dirty`): what lies beyond is still zero from the allocator, so handing it out
 * zeroed costs nothing, and untouched pages of a large arena stay unbacked. */
#include "core/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/memory_guard.h"

enum { ALIGNMENT = 64, DEFAULT_CHUNK = 256 * 1024 };

typedef struct Chunk {
    struct Chunk *next;
    size_t size, used, dirty;
    size_t before; /* bytes in use in earlier chunks while this one is in use */
} Chunk;

struct PareArena {
    Chunk *first, *current; /* current NULL: nothing is in use */
    size_t chunk_bytes, peak;
};

/* A chunk's bytes begin behind its header, aligned as the chunk itself is. */
_Static_assert(sizeof(Chunk) <= ALIGNMENT, "the header of a chunk fits before its bytes");

static unsigned char *bytes_of(Chunk *chunk) {
    return (unsigned char *)chunk + ALIGNMENT;
}

PareArena *pare_arena_create(size_t chunk_bytes) {
    PareArena *arena = pare_alloc(1, sizeof *arena);
    if (arena)
        arena->chunk_bytes = chunk_bytes ? chunk_bytes : DEFAULT_CHUNK;
    return arena;
}

void pare_arena_destroy(PareArena *arena) {
    if (!arena)
        return;
    for (Chunk *chunk = arena->first, *next; chunk; chunk = next) {
        next = chunk->next;
        pare_free(chunk);
    }
    pare_free(arena);
}

/* Where the link to the next free chunk is kept. */
static Chunk **free_list(PareArena *arena) {
    return arena->current ? &arena->current->next : &arena->first;
}

/* Brings the smallest free chunk of at least `need` bytes to the front of the free ones. With the
 * smallest, a sequence of allocations that was made once always finds its chunks again. */
static bool find_free(PareArena *arena, size_t need) {
    Chunk **head = free_list(arena), **best = NULL;
    for (Chunk **link = head; *link; link = &(*link)->next)
        if ((*link)->size >= need && (!best || (*link)->size < (*best)->size))
            best = link;
    if (!best)
        return false;
    Chunk *chunk = *best;
    *best = chunk->next;
    chunk->next = *head;
    *head = chunk;
    return true;
}

static bool add_chunk(PareArena *arena, size_t need) {
    size_t size = need > arena->chunk_bytes ? need : arena->chunk_bytes, total;
    if (!pare_size_add(size, ALIGNMENT, &total))
        return false;
    Chunk *chunk = pare_alloc(1, total);
    if (!chunk)
        return false;
    chunk->size = size;
    pare_guard(bytes_of(chunk), size);
    Chunk **head = free_list(arena);
    chunk->next = *head;
    *head = chunk;
    return true;
}

/* Makes a chunk with `need` free bytes the current one. */
static bool next_chunk(PareArena *arena, size_t need) {
    if (!find_free(arena, need) && !add_chunk(arena, need))
        return false;
    Chunk *chunk = *free_list(arena);
    chunk->before = arena->current ? arena->current->before + arena->current->used : 0;
    chunk->used = 0;
    arena->current = chunk;
    return true;
}

static void *take(PareArena *arena, size_t count, size_t size, bool zero) {
    size_t bytes, room;
    /* Room is rounded up to the alignment, so that `used` always is a multiple of it. */
    if (!pare_size_mul(count, size, &bytes) ||
        !pare_size_add(bytes, ALIGNMENT - 1 + PARE_GUARD_GAP, &room))
        return NULL;
    room &= ~(size_t)(ALIGNMENT - 1);
    if (room == 0) /* an empty block still has an address of its own */
        room = ALIGNMENT;
    Chunk *chunk = arena->current;
    if (!chunk || chunk->size - chunk->used < room) {
        if (!next_chunk(arena, room))
            return NULL;
        chunk = arena->current;
    }
    unsigned char *block = bytes_of(chunk) + chunk->used;
    pare_unguard(block, bytes);
    if (zero && chunk->used < chunk->dirty) {
        size_t stale = chunk->dirty - chunk->used;
        memset(block, 0, stale < bytes ? stale : bytes);
    }
    chunk->used += room;
    if (chunk->dirty < chunk->used)
        chunk->dirty = chunk->used;
    if (arena->peak < chunk->before + chunk->used)
        arena->peak = chunk->before + chunk->used;
    return block;
}

void *pare_arena_alloc(PareArena *arena, size_t count, size_t size) {
    return take(arena, count, size, true);
}

void *pare_arena_alloc_raw(PareArena *arena, size_t count, size_t size) {
    return take(arena, count, size, false);
}

char *pare_arena_strndup(PareArena *arena, const char *text, size_t length) {
    size_t size;
    if (!pare_size_add(length, 1, &size))
        return NULL;
    char *copy = take(arena, size, 1, false);
    if (!copy)
        return NULL;
    memcpy(copy, text, length);
    copy[length] = '\0';
    return copy;
}

char *pare_arena_strdup(PareArena *arena, const char *text) {
    return pare_arena_strndup(arena, text, strlen(text));
}

char *pare_arena_printf(PareArena *arena, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length < 0)
        return NULL;
    char *text = take(arena, (size_t)length + 1, 1, false);
    if (!text)
        return NULL;
    va_start(args, format);
    vsnprintf(text, (size_t)length + 1, format, args);
    va_end(args);
    return text;
}

PareArenaMark pare_arena_mark(const PareArena *arena) {
    Chunk *chunk = arena->current;
    return (PareArenaMark){.chunk = chunk, .used = chunk ? chunk->used : 0};
}

void pare_arena_release(PareArena *arena, PareArenaMark mark) {
    Chunk *kept = mark.chunk;
    for (Chunk *chunk = kept ? kept->next : arena->first; chunk; chunk = chunk->next)
        pare_guard(bytes_of(chunk), chunk->size);
    if (kept) {
        kept->used = mark.used;
        pare_guard(bytes_of(kept) + kept->used, kept->size - kept->used);
    }
    arena->current = kept;
}

size_t pare_arena_peak(const PareArena *arena) {
    return arena->peak;
}
