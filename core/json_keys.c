/* Duplicate keys in O(n log n): decoded, sorted, neighbours compared. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/json_check.h"
#include "core/memory.h"

typedef struct {
    const char *text;
    size_t size;
} Key;

struct PareJsonKeys {
    Key *items;
    size_t count, capacity;
    PareArena *arena; /* decoded keys; those with escapes only */
};

PareJsonKeys *pare_json_keys_create(void) {
    PareJsonKeys *k = pare_alloc(1, sizeof *k);
    if (k && !(k->arena = pare_arena_create(0))) {
        pare_free(k);
        return NULL;
    }
    return k;
}

void pare_json_keys_destroy(PareJsonKeys *k) {
    if (!k)
        return;
    pare_arena_destroy(k->arena);
    pare_free(k->items);
    pare_free(k);
}

size_t pare_json_keys_mark(const PareJsonKeys *k) {
    return k->count;
}

static uint32_t hex4(const char *s) {
    char text[5] = {s[0], s[1], s[2], s[3], 0};
    return (uint32_t)strtoul(text, NULL, 16);
}

static size_t put_utf8(char *out, uint32_t c) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3F));
    out[0] = (char)((0xF00U >> n & 0xFF) | c);
    return n;
}

/* The text is valid JSON already; the result is never longer. */
static Key decode(PareArena *arena, const char *text, size_t size) {
    static const char FROM[] = "\"\\/bfnrt", TO[] = "\"\\/\b\f\n\r\t";
    char *out = pare_arena_alloc_raw(arena, size + 1, 1);
    size_t n = 0;
    for (size_t i = 0; out && i < size; i++) {
        if (text[i] != '\\') {
            out[n++] = text[i];
            continue;
        }
        i++;
        if (text[i] != 'u') {
            out[n++] = TO[strchr(FROM, text[i]) - FROM];
            continue;
        }
        uint32_t c = hex4(text + i + 1);
        i += 4;
        if (c >= 0xD800 && c < 0xDC00) {
            c = 0x10000 + ((c - 0xD800) << 10) + (hex4(text + i + 3) - 0xDC00);
            i += 6;
        }
        n += put_utf8(out + n, c);
    }
    return (Key){out, n};
}

bool pare_json_keys_push(PareJsonKeys *k, const char *text, size_t size) {
    if (k->count == k->capacity) {
        size_t capacity = k->capacity ? 2 * k->capacity : 64;
        Key *items = pare_realloc(k->items, capacity, sizeof *items);
        if (!items)
            return false;
        k->items = items;
        k->capacity = capacity;
    }
    Key key = {text, size};
    if (memchr(text, '\\', size))
        key = decode(k->arena, text, size);
    k->items[k->count++] = key;
    return key.text != NULL;
}

static int compare(const void *a, const void *b) {
    const Key *x = a, *y = b;
    size_t n = x->size < y->size ? x->size : y->size;
    int c = memcmp(x->text, y->text, n);
    return c ? c : (x->size > y->size) - (x->size < y->size);
}

PareStatus pare_json_keys_unique(PareJsonKeys *k, size_t mark, const char *name, PareError *err) {
    Key *keys = k->items + mark;
    size_t count = k->count - mark;
    if (count > 1)
        qsort(keys, count, sizeof *keys, compare);
    k->count = mark;
    for (size_t i = 1; i < count; i++)
        if (compare(&keys[i - 1], &keys[i]) == 0) {
            int shown = keys[i].size < 80 ? (int)keys[i].size : 80;
            return pare_error_set(err, PARE_E_FORMAT,
                                  "%s: invalid JSON: the key \"%.*s\" appears twice", name, shown,
                                  keys[i].text);
        }
    return PARE_OK;
}
