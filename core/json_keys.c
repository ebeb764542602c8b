/* Finding duplicate keys in O(n log n), whatever an adversary chooses: keys are sorted by a hash
 * and compared as bytes only where hashes are equal. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/hash.h"
#include "core/json_check.h"
#include "core/memory.h"
#include "core/utf8.h"

typedef struct {
    uint64_t hash;
    const char *text; /* decoded */
    const char *raw;  /* where it stands in the text */
    size_t size;
} Key;

struct PareJsonKeys {
    Key *items;
    size_t count, capacity;
    PareArena *decoded; /* the keys that hold escapes */
};

PareJsonKeys *pare_json_keys_create(void) {
    PareJsonKeys *keys = pare_alloc(1, sizeof *keys);
    if (keys && !(keys->decoded = pare_arena_create(0))) {
        pare_free(keys);
        return NULL;
    }
    return keys;
}

void pare_json_keys_destroy(PareJsonKeys *keys) {
    if (!keys)
        return;
    pare_arena_destroy(keys->decoded);
    pare_free(keys->items);
    pare_free(keys);
}

size_t pare_json_keys_count(const PareJsonKeys *keys) {
    return keys->count;
}

static uint32_t hexadecimal(const char *digits) {
    uint32_t value = 0;
    for (int i = 0; i < 4; i++) {
        uint32_t digit = (uint32_t)digits[i] & 0x1F; /* of a letter: 1 to 6 */
        value = value << 4 | (digits[i] >= 'A' ? digit + 9 : digit - 0x10);
    }
    return value;
}

/* One escape behind its backslash; returns its length. The text was validated. */
static size_t decode_escape(const char *at, uint8_t out[4], size_t *length) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (*at != 'u') {
        out[0] = (uint8_t)to[strchr(from, *at) - from];
        *length = 1;
        return 1;
    }
    uint32_t code = hexadecimal(at + 1);
    bool pair = code >= 0xD800 && code < 0xDC00;
    if (pair)
        code = 0x10000 + ((code - 0xD800) << 10) + (hexadecimal(at + 7) - 0xDC00);
    *length = pare_utf8_put(code, out);
    return pair ? 11 : 5;
}

/* Decoded text is never longer than its escapes. */
static bool decode(PareArena *arena, const char *raw, Key *key) {
    uint8_t *text = pare_arena_alloc_raw(arena, key->size, 1);
    size_t used = 0, length;
    if (!text)
        return false;
    for (const char *at = raw, *end = raw + key->size; at < end;) {
        if (*at != '\\') {
            text[used++] = (uint8_t)*at++;
            continue;
        }
        uint8_t bytes[4];
        at += 1 + decode_escape(at + 1, bytes, &length);
        memcpy(text + used, bytes, length);
        used += length;
    }
    key->text = (const char *)text;
    key->size = used;
    return true;
}

bool pare_json_keys_push(PareJsonKeys *keys, const char *raw, size_t size) {
    if (keys->count == keys->capacity) {
        size_t capacity = keys->capacity ? 2 * keys->capacity : 64;
        Key *items = pare_realloc(keys->items, capacity, sizeof *items);
        if (!items)
            return false;
        keys->items = items;
        keys->capacity = capacity;
    }
    Key key = {.text = raw, .raw = raw, .size = size};
    if (memchr(raw, '\\', size) && !decode(keys->decoded, raw, &key))
        return false;
    key.hash = pare_hash_xxh64(key.text, key.size);
    keys->items[keys->count++] = key;
    return true;
}

static int compare(const void *a, const void *b) {
    const Key *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    if (x->size != y->size)
        return x->size < y->size ? -1 : 1;
    return memcmp(x->text, y->text, x->size);
}

/* Most objects are small: comparing each pair is faster than sorting them. */
static const char *find_among_few(const Key *keys, size_t count) {
    for (size_t later = 1; later < count; later++)
        for (size_t i = 0; i < later; i++)
            if (keys[i].hash == keys[later].hash && compare(&keys[i], &keys[later]) == 0)
                return keys[later].raw;
    return NULL;
}

const char *pare_json_keys_pop(PareJsonKeys *keys, size_t first) {
    size_t count = keys->count - first;
    keys->count = first;
    if (count < 2)
        return NULL; /* perhaps no key was ever entered, and there are no items */
    Key *items = keys->items + first;
    if (count <= 16)
        return find_among_few(items, count);
    qsort(items, count, sizeof *items, compare);
    for (size_t i = 1; i < count; i++)
        if (items[i].hash == items[i - 1].hash && compare(&items[i], &items[i - 1]) == 0)
            return items[i].raw > items[i - 1].raw ? items[i].raw : items[i - 1].raw;
    return NULL;
}
