/* UTF-8 and Unicode properties: see unicode.h. The only file that includes utf8proc. */
#include "text/unicode.h"

#include <string.h>
#include <utf8proc.h>

/* The length of the character at `p`, or 0 when invalid; then `*bad` is the length of the maximal
 * part that began a character (The Unicode Standard 3.9, "U+FFFD substitution"). */
static size_t check_character(const uint8_t *p, size_t left, size_t *bad) {
    *bad = 1;
    if (p[0] < 0x80) {
        return 1;
    }
    if (p[0] < 0xC2 || p[0] > 0xF4) {
        return 0;
    }
    size_t length = p[0] < 0xE0 ? 2 : p[0] < 0xF0 ? 3 : 4;
    uint8_t low = p[0] == 0xE0 ? 0xA0 : p[0] == 0xF0 ? 0x90 : 0x80;
    uint8_t high = p[0] == 0xED ? 0x9F : p[0] == 0xF4 ? 0x8F : 0xBF;
    for (size_t i = 1; i < length; i++) {
        if (i >= left || p[i] < low || p[i] > high) {
            *bad = i;
            return 0;
        }
        low = 0x80;
        high = 0xBF;
    }
    return length;
}

bool pare_utf8_valid(const char *text, size_t size) {
    const uint8_t *p = (const uint8_t *)text;
    for (size_t i = 0; i < size;) {
        size_t bad;
        size_t length = check_character(p + i, size - i, &bad);
        if (length == 0) {
            return false;
        }
        i += length;
    }
    return true;
}

void pare_utf8_append_lossy(PareBuffer *out, const char *text, size_t size) {
    size_t done = 0;
    for (size_t i = 0; i < size;) {
        size_t bad;
        size_t length = check_character((const uint8_t *)text + i, size - i, &bad);
        if (length == 0) {
            pare_buffer_append(out, text + done, i - done);
            pare_utf8_append(out, PARE_REPLACEMENT);
            i += bad;
            done = i;
        } else {
            i += length;
        }
    }
    pare_buffer_append(out, text + done, size - done);
}

uint32_t pare_utf8_next(const char **at, const char *end) {
    const uint8_t *p = (const uint8_t *)*at;
    size_t bad;
    size_t length = check_character(p, (size_t)(end - *at), &bad);
    *at += length != 0 ? length : bad;
    switch (length) {
    case 1:
        return p[0];
    case 2:
        return (p[0] & 0x1Fu) << 6 | (p[1] & 0x3Fu);
    case 3:
        return (p[0] & 0x0Fu) << 12 | (p[1] & 0x3Fu) << 6 | (p[2] & 0x3Fu);
    case 4:
        return (p[0] & 0x07u) << 18 | (p[1] & 0x3Fu) << 12 | (p[2] & 0x3Fu) << 6 | (p[3] & 0x3Fu);
    default:
        return PARE_REPLACEMENT;
    }
}

uint32_t pare_utf8_previous(const char **at, const char *begin) {
    const char *end = *at;
    const char *p = end - 1;
    while (p > begin && end - p < 4 && ((uint8_t)*p & 0xC0) == 0x80) {
        p--;
    }
    *at = p;
    return pare_utf8_next(&p, end);
}

size_t pare_utf8_put(uint32_t c, char out[4]) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (char)(0xC0 | c >> 6);
        out[1] = (char)(0x80 | (c & 0x3F));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (char)(0xE0 | c >> 12);
        out[1] = (char)(0x80 | (c >> 6 & 0x3F));
        out[2] = (char)(0x80 | (c & 0x3F));
        return 3;
    }
    out[0] = (char)(0xF0 | c >> 18);
    out[1] = (char)(0x80 | (c >> 12 & 0x3F));
    out[2] = (char)(0x80 | (c >> 6 & 0x3F));
    out[3] = (char)(0x80 | (c & 0x3F));
    return 4;
}

void pare_utf8_append(PareBuffer *out, uint32_t c) {
    char bytes[4];
    pare_buffer_append(out, bytes, pare_utf8_put(c, bytes));
}

static utf8proc_category_t category(uint32_t c) {
    return utf8proc_category((utf8proc_int32_t)c);
}

bool pare_unicode_is_space(uint32_t c) {
    if (c < 0x80) {
        return c == ' ' || (c >= '\t' && c <= '\r');
    }
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 ||
           c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool pare_unicode_is_control(uint32_t c) {
    if (c < 0x80) {
        return c < 0x20 || c == 0x7F;
    }
    switch (category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CS:
        return true;
    default:
        return false;
    }
}

bool pare_unicode_is_punctuation(uint32_t c) {
    if (c < 0x80) {
        return (c >= 33 && c <= 47) || (c >= 58 && c <= 64) || (c >= 91 && c <= 96) ||
               (c >= 123 && c <= 126);
    }
    utf8proc_category_t k = category(c);
    return k >= UTF8PROC_CATEGORY_PC && k <= UTF8PROC_CATEGORY_PO;
}

bool pare_unicode_is_nonspacing(uint32_t c) {
    return c >= 0x300 && category(c) == UTF8PROC_CATEGORY_MN;
}

bool pare_unicode_is_word(uint32_t c) {
    utf8proc_category_t k = category(c);
    return (k >= UTF8PROC_CATEGORY_LU && k <= UTF8PROC_CATEGORY_ND) || k == UTF8PROC_CATEGORY_NL ||
           k == UTF8PROC_CATEGORY_PC;
}

bool pare_unicode_is_ideograph(uint32_t c) {
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) ||
           (c >= 0x20000 && c <= 0x2A6DF) || (c >= 0x2A700 && c <= 0x2B73F) ||
           (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

size_t pare_unicode_lower(uint32_t c, uint32_t out[2]) {
    if (c < 0x80) {
        out[0] = c >= 'A' && c <= 'Z' ? c + 32 : c;
        return 1;
    }
    if (c == 0x130) { /* the one entry of SpecialCasing.txt that grows without a locale */
        out[0] = 'i';
        out[1] = 0x307;
        return 2;
    }
    out[0] = (uint32_t)utf8proc_tolower((utf8proc_int32_t)c);
    return 1;
}

size_t pare_unicode_decompose(uint32_t c, uint32_t out[PARE_DECOMPOSITION_MAX]) {
    utf8proc_int32_t parts[PARE_DECOMPOSITION_MAX];
    if (c < 0xC0) {
        out[0] = c;
        return 1;
    }
    utf8proc_ssize_t n = utf8proc_decompose_char((utf8proc_int32_t)c, parts, PARE_DECOMPOSITION_MAX,
                                                 UTF8PROC_DECOMPOSE, NULL);
    if (n < 1 || n > PARE_DECOMPOSITION_MAX) {
        out[0] = c;
        return 1;
    }
    for (utf8proc_ssize_t i = 0; i < n; i++) {
        out[i] = (uint32_t)parts[i];
    }
    return (size_t)n;
}
