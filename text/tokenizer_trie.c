/* Tries: see tokenizer_trie.h. */
#include "text/tokenizer_trie.h"

#include "core/memory.h"

enum { MAX_NODES = 1 << 24 }; /* a node's number and a byte share 32 bits */

static void put_edge(PareTrie *t, uint64_t edge) {
    uint32_t key = (uint32_t)(edge >> 32);
    uint32_t at = (key * 0x9E3779B1u) >> t->shift;
    while (t->slots[at] != 0) {
        at = (at + 1) & t->mask;
    }
    t->slots[at] = edge;
}

static bool reserve_edge(PareTrie *t) {
    if (t->slots != NULL && t->edges < t->mask / 2) {
        return true;
    }
    uint64_t *old = t->slots;
    uint32_t old_size = old == NULL ? 0 : t->mask + 1;
    uint32_t size = old == NULL ? 1024 : old_size * 2;
    uint64_t *slots = pare_alloc(size, sizeof *slots);
    if (slots == NULL) {
        return false;
    }
    t->slots = slots;
    t->mask = size - 1;
    t->shift = 33 - (unsigned)__builtin_ffs((int)size);
    for (uint32_t i = 0; i < old_size; i++) {
        if (old[i] != 0) {
            put_edge(t, old[i]);
        }
    }
    pare_free(old);
    return true;
}

static uint32_t new_node(PareTrie *t) {
    uint32_t node = t->nodes == 0 ? 1 : t->nodes;
    if (node >= MAX_NODES) {
        return 0;
    }
    if (node >= t->capacity) {
        uint32_t capacity = t->capacity == 0 ? 1024 : t->capacity * 2;
        int32_t *values = pare_realloc(t->values, capacity, sizeof *values);
        if (values == NULL) {
            return 0;
        }
        t->values = values;
        t->capacity = capacity;
    }
    t->values[node] = -1;
    t->nodes = node + 1;
    return node;
}

static uint32_t add_child(PareTrie *t, uint32_t node, uint8_t byte) {
    if (!reserve_edge(t)) {
        return 0;
    }
    uint32_t child = new_node(t);
    if (child == 0) {
        return 0;
    }
    if (node == 0) {
        t->root[byte] = child;
    } else {
        put_edge(t, (uint64_t)(node << 8 | byte) << 32 | child);
        t->edges++;
    }
    return child;
}

bool pare_trie_insert(PareTrie *t, const char *key, size_t size, int32_t value) {
    uint32_t node = 0;
    for (size_t i = 0; i < size; i++) {
        uint32_t child = pare_trie_step(t, node, (uint8_t)key[i]);
        if (child == 0) {
            child = add_child(t, node, (uint8_t)key[i]);
        }
        if (child == 0) {
            return false;
        }
        node = child;
    }
    if (node != 0) {
        t->values[node] = value;
    }
    return true;
}

void pare_trie_free(PareTrie *t) {
    pare_free(t->slots);
    pare_free(t->values);
    *t = (PareTrie){0};
}

uint32_t pare_trie_walk(const PareTrie *t, uint32_t node, const char *key, size_t size) {
    for (size_t i = 0; i < size; i++) {
        node = pare_trie_step(t, node, (uint8_t)key[i]);
        if (node == 0) {
            return 0;
        }
    }
    return node;
}
