/* The strict reading of one UTF-8 sequence (RFC 3629): no overlong forms, no surrogates. */
#ifndef PARE_CORE_UTF8_H
#define PARE_CORE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/* The length of the valid sequence that begins at `s`, of which `left` > 0 bytes remain; 0 when
 * there is none. `*bad` (may be NULL) then tells how many bytes one U+FFFD stands for: the longest
 * part that could have begun a sequence, or one byte. */
static inline size_t pare_utf8_sequence(const uint8_t *s, size_t left, size_t *bad) {
    uint8_t lead = s[0], low = 0x80, high = 0xBF;
    size_t length = lead < 0x80                    ? 1
                    : lead >= 0xC2 && lead <= 0xDF ? 2
                    : lead >= 0xE0 && lead <= 0xEF ? 3
                    : lead >= 0xF0 && lead <= 0xF4 ? 4
                                                   : 0;
    if (lead == 0xE0)
        low = 0xA0; /* overlong below */
    else if (lead == 0xED)
        high = 0x9F; /* surrogates above */
    else if (lead == 0xF0)
        low = 0x90; /* overlong below */
    else if (lead == 0xF4)
        high = 0x8F; /* beyond U+10FFFF above */
    size_t at = 1;
    while (at < length && at < left && s[at] >= low && s[at] <= high) {
        low = 0x80, high = 0xBF;
        at++;
    }
    if (bad)
        *bad = at;
    return at == length ? length : 0;
}

/* Writes a code point below 0x110000; returns the number of bytes. */
static inline size_t pare_utf8_put(uint32_t code, uint8_t out[4]) {
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--, code >>= 6)
        out[i] = (uint8_t)(0x80 | (code & 0x3F));
    out[0] = (uint8_t)((0xF00u >> length) | code);
    return length;
}

#endif
