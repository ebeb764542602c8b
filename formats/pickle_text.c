/* The texts of pickle's protocols 0 and 1: see pickle_text.h. */
#include "formats/pickle_text.h"

#include <stdlib.h>
#include <string.h>

ParePickleNumber pare_pickle_parse_int(const char *text, size_t size, int64_t *out) {
    bool negative = size > 0 && text[0] == '-', big = false;
    uint64_t value = 0, limit = negative ? (uint64_t)INT64_MAX + 1 : INT64_MAX;
    size_t i = negative ? 1 : 0;
    if (i == size)
        return PARE_PICKLE_NUMBER_NONE;
    for (; i < size; i++) {
        if (text[i] < '0' || text[i] > '9')
            return PARE_PICKLE_NUMBER_NONE;
        uint64_t digit = (uint64_t)(text[i] - '0');
        big = big || value > (limit - digit) / 10;
        value = big ? 0 : value * 10 + digit;
    }
    if (big)
        return PARE_PICKLE_NUMBER_BIG;
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return PARE_PICKLE_NUMBER;
}

bool pare_pickle_parse_float(const char *text, size_t size, double *out) {
    char copy[64], *end;
    if (size == 0 || size >= sizeof copy || memchr(text, '\0', size) != NULL ||
        strchr(" \t\r\v\f", text[0]) != NULL)
        return false;
    memcpy(copy, text, size);
    copy[size] = '\0';
    *out = strtod(copy, &end);
    return *end == '\0';
}

static size_t put_utf8(char *out, uint32_t c) {
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned char lead[] = {0, 0xC0, 0xE0, 0xF0};
    out[0] = (char)(lead[more] | c >> (6 * more));
    for (size_t i = 1; i <= more; i++)
        out[i] = (char)(0x80 | (c >> (6 * (more - i)) & 0x3F));
    return more + 1;
}

static bool parse_hex(const char *text, size_t digits, uint32_t *out) {
    *out = 0;
    for (size_t i = 0; i < digits; i++) {
        char c = text[i];
        uint32_t digit = c >= '0' && c <= '9'   ? (uint32_t)(c - '0')
                         : c >= 'a' && c <= 'f' ? (uint32_t)(c - 'a') + 10
                         : c >= 'A' && c <= 'F' ? (uint32_t)(c - 'A') + 10
                                                : 16;
        if (digit == 16)
            return false;
        *out = *out << 4 | digit;
    }
    return *out <= 0x10FFFF;
}

/* The escape behind a backslash: `*used` of its `size` bytes, 0 when it is none. */
static uint32_t unescape_one(const char *text, size_t size, bool quoted, size_t *used) {
    static const char plain[] = "\\\\''\"\"n\nr\rt\ta\ab\bf\fv\v";
    uint32_t c = 0;
    size_t digits = size == 0 ? 0 : text[0] == 'u' ? 4 : text[0] == 'U' ? 8 : 0;
    if (quoted)
        digits = size > 0 && text[0] == 'x' ? 2 : 0;
    *used = 0;
    if (digits > 0 && size > digits && parse_hex(text + 1, digits, &c))
        *used = digits + 1;
    for (size_t i = 0; quoted && size > 0 && i + 1 < sizeof plain; i += 2)
        if (*used == 0 && plain[i] == text[0]) {
            c = (unsigned char)plain[i + 1];
            *used = 1;
        }
    return c;
}

bool pare_pickle_unescape(const char *text, size_t size, bool quoted, char *out, size_t *out_size) {
    size_t at = 0;
    if (quoted) {
        if (size < 2 || text[0] != text[size - 1] || (text[0] != '\'' && text[0] != '"'))
            return false;
        text++;
        size -= 2;
    }
    for (size_t i = 0; i < size;) {
        size_t used = 0;
        uint32_t c = (unsigned char)text[i++];
        if (c == '\\') {
            uint32_t escaped = unescape_one(text + i, size - i, quoted, &used);
            if (used == 0 && quoted)
                return false;
            c = used == 0 ? c : escaped;
        }
        i += used;
        at += put_utf8(out + at, c);
    }
    *out_size = at;
    return true;
}
