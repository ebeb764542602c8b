/* A trie over bytes: the longest match and every match from a place of a text.
 *
 * Node 0 is the root. Edges are kept in one open hash table keyed by (node, byte), those of the
 * root in a table of their own, so that building takes no sorting and loading stays fast. */
#ifndef PARE_TEXT_TOKENIZER_TRIE_H
#define PARE_TEXT_TOKENIZER_TRIE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t root[256]; /* children of the root, 0: none */
    uint64_t *slots;    /* (node << 8 | byte) << 32 | child; 0: free (a child is never 0) */
    uint32_t mask, edges;
    unsigned shift;  /* the upper bits of a key's product are its place: they depend on all of it */
    int32_t *values; /* by node; -1: no key ends here */
    uint32_t nodes, capacity;
} PareTrie; /* zero-initialise */

/* False when out of memory or beyond 2^24 nodes. The empty key is ignored. The last value of the
 * same key stays. */
bool pare_trie_insert(PareTrie *t, const char *key, size_t size, int32_t value);
void pare_trie_free(PareTrie *t);

/* The child of a node along a byte, or 0. */
static inline uint32_t pare_trie_step(const PareTrie *t, uint32_t node, uint8_t byte) {
    if (node == 0) {
        return t->root[byte];
    }
    if (t->slots == NULL) {
        return 0;
    }
    uint32_t key = node << 8 | byte;
    uint32_t at = (key * 0x9E3779B1u) >> t->shift;
    while (t->slots[at] != 0) {
        if ((uint32_t)(t->slots[at] >> 32) == key) {
            return (uint32_t)t->slots[at];
        }
        at = (at + 1) & t->mask;
    }
    return 0;
}

static inline int32_t pare_trie_value(const PareTrie *t, uint32_t node) {
    return node == 0 ? -1 : t->values[node];
}

/* The node that the whole key leads to, from `node` on; 0 when there is none. */
uint32_t pare_trie_walk(const PareTrie *t, uint32_t node, const char *key, size_t size);

#endif
