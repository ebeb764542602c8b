/* Sentencepiece's normalizer (0.1.97): the precompiled map of characters, blanks to U+2581, a blank
 * before the text, none twice and none at the ends.
 *
 * The map is a Darts double array over UTF-8 (Darts-clone's layout: a 32-bit unit holds a label, an
 * offset and a leaf flag; the unit of a leaf holds a place in `strings`) behind its size, and then
 * the replacements, each NUL-terminated. It comes from a file, so that every step is checked. */
#include <string.h>

#include "text/tokenizer_impl.h"
#include "text/unicode.h"

enum { MAX_MATCHES = 32 }; /* the reference looks at no more prefixes */

PareStatus pare_spm_normalizer_open(PareSpmNormalizer *n, const char *charsmap, size_t size,
                                    const char *name, PareError *err) {
    n->units = NULL;
    n->unit_count = 0;
    if (size == 0) {
        return PARE_OK;
    }
    PareCursor in = pare_cursor(charsmap, size);
    uint32_t trie_size = pare_cursor_u32(&in);
    const uint8_t *units =
        trie_size <= pare_cursor_left(&in) ? pare_cursor_take(&in, trie_size) : NULL;
    size_t rest = pare_cursor_left(&in);
    if (in.bad || units == NULL || trie_size < 4 || trie_size % 4 != 0 || rest == 0 ||
        charsmap[size - 1] != '\0') {
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: the precompiled character map of %zu bytes is damaged", name,
                              size);
    }
    n->units = units;
    n->unit_count = trie_size / 4;
    n->strings = charsmap + (size - rest);
    n->strings_size = rest;
    return PARE_OK;
}

static uint32_t read_unit(const PareSpmNormalizer *n, size_t at) {
    const uint8_t *p = n->units + 4 * at;
    return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static size_t unit_offset(uint32_t unit) {
    return (size_t)(unit >> 10) << ((unit & 1u << 9) >> 6);
}

/* The longest key that begins the text: its length (0: none) and its replacement. */
static size_t longest_key(const PareSpmNormalizer *n, const char *text, size_t size,
                          const char **replacement) {
    size_t length = 0;
    int matches = 0;
    if (n->unit_count == 0) {
        return 0;
    }
    size_t at = unit_offset(read_unit(n, 0));
    for (size_t i = 0; i < size; i++) {
        uint8_t byte = (uint8_t)text[i];
        at ^= byte;
        if (at >= n->unit_count) {
            break;
        }
        uint32_t unit = read_unit(n, at);
        if ((unit & (1u << 31 | 0xFF)) != byte) {
            break;
        }
        at ^= unit_offset(unit);
        if ((unit >> 8 & 1) != 0 && at < n->unit_count && matches++ < MAX_MATCHES) {
            size_t place = read_unit(n, at) & 0x7FFFFFFF;
            if (place < n->strings_size) { /* NUL-terminated: checked when opened */
                *replacement = n->strings + place;
                length = i + 1;
            }
        }
    }
    return length;
}

static size_t longest_user_defined(const PareSpmNormalizer *n, const char *text, size_t size) {
    size_t length = 0;
    uint32_t node = 0;
    for (size_t i = 0; i < size; i++) {
        node = pare_trie_step(&n->user_defined, node, (uint8_t)text[i]);
        if (node == 0) {
            break;
        }
        length = pare_trie_value(&n->user_defined, node) >= 0 ? i + 1 : length;
    }
    return length;
}

/* What the beginning of the text becomes, and how much of it that uses up. */
static size_t normalize_prefix(const PareSpmNormalizer *n, const char *text, size_t size,
                               const char **out, size_t *out_size) {
    size_t used = longest_user_defined(n, text, size);
    if (used == 0) {
        used = longest_key(n, text, size, out);
        if (used != 0) {
            *out_size = strlen(*out);
            return used;
        }
        const char *end = text;
        (void)pare_utf8_next(&end, text + size);
        used = (size_t)(end - text);
    }
    *out = text;
    *out_size = used;
    return used;
}

static void append_escaped(const PareSpmNormalizer *n, const char *text, size_t size,
                           PareBuffer *out) {
    for (size_t i = 0; i < size; i++) {
        if (text[i] == ' ' && n->escape_whitespaces) {
            pare_buffer_append(out, "\xE2\x96\x81", 3);
        } else {
            pare_buffer_putc(out, text[i]);
        }
    }
}

static void strip_end(const PareSpmNormalizer *n, PareBuffer *out, size_t from) {
    const char *blank = n->escape_whitespaces ? "\xE2\x96\x81" : " ";
    size_t size = strlen(blank);
    while (out->size - from >= size && memcmp(out->data + out->size - size, blank, size) == 0) {
        out->size -= size;
    }
}

void pare_spm_normalize(const PareSpmNormalizer *n, const char *text, size_t size,
                        PareBuffer *out) {
    size_t at = 0, from = out->size, part_size;
    const char *part;
    while (n->remove_extra_whitespaces && at < size) {
        size_t used = normalize_prefix(n, text + at, size - at, &part, &part_size);
        if (part_size != 1 || part[0] != ' ') {
            break;
        }
        at += used;
    }
    if (at == size) {
        return;
    }
    if (n->add_dummy_prefix && !n->whitespace_as_suffix) {
        append_escaped(n, " ", 1, out);
    }
    bool after_blank = n->remove_extra_whitespaces;
    while (at < size) {
        at += normalize_prefix(n, text + at, size - at, &part, &part_size);
        while (after_blank && part_size > 0 && part[0] == ' ') {
            part++;
            part_size--;
        }
        if (part_size > 0) {
            append_escaped(n, part, part_size, out);
            after_blank = part[part_size - 1] == ' ';
        }
        after_blank = after_blank && n->remove_extra_whitespaces;
    }
    if (n->remove_extra_whitespaces && !out->failed) {
        strip_end(n, out, from);
    }
    if (n->add_dummy_prefix && n->whitespace_as_suffix) {
        append_escaped(n, " ", 1, out);
    }
}
