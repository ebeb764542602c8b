/* Strict validation of JSON text before cJSON, which is lax, sees it. */
#include "core/json_check.h"

#include <stdlib.h>
#include <string.h>

#include "core/memory.h"

enum { MAX_DEPTH = 128 };

typedef struct {
    const char *text;
    size_t size, at;
    const char *name;
    PareError *err;
    PareJsonKeys *keys; /* of all objects that are open, a stack */
} Check;

static PareStatus fail(const Check *c, const char *what) {
    size_t line = 1, column = 1;
    for (size_t i = 0; i < c->at && i < c->size; i++) {
        column++;
        if (c->text[i] == '\n') {
            line++;
            column = 1;
        }
    }
    return pare_error_set(c->err, PARE_E_FORMAT, "%s: invalid JSON at line %zu, column %zu: %s",
                          c->name, line, column, what);
}

static int peek(const Check *c) {
    return c->at < c->size ? (unsigned char)c->text[c->at] : -1;
}

static void skip_blanks(Check *c) {
    while (c->at < c->size && strchr(" \t\r\n", c->text[c->at]) && c->text[c->at])
        c->at++;
}

static bool take(Check *c, char wanted) {
    if (peek(c) != (unsigned char)wanted)
        return false;
    c->at++;
    return true;
}

static PareStatus check_value(Check *c, int depth);

static int hex_digit(int ch) {
    if (ch >= '0' && ch <= '9')
        return ch - '0';
    ch |= 0x20;
    return ch >= 'a' && ch <= 'f' ? ch - 'a' + 10 : -1;
}

/* Four hexadecimal digits, or -1. */
static int32_t take_hex(Check *c) {
    int32_t v = 0;
    for (int i = 0; i < 4; i++) {
        int d = hex_digit(peek(c));
        if (d < 0)
            return -1;
        v = v * 16 + d;
        c->at++;
    }
    return v;
}

static PareStatus check_unicode_escape(Check *c) {
    int32_t v = take_hex(c);
    if (v < 0)
        return fail(c, "\\u needs four hexadecimal digits");
    if (v == 0)
        return fail(c, "a string holds a NUL character");
    if (v >= 0xDC00 && v < 0xE000)
        return fail(c, "a low surrogate without a high one");
    if (v < 0xD800 || v >= 0xDC00)
        return PARE_OK;
    if (!take(c, '\\') || !take(c, 'u'))
        return fail(c, "a high surrogate without a low one");
    v = take_hex(c);
    return v >= 0xDC00 && v < 0xE000 ? PARE_OK : fail(c, "a high surrogate without a low one");
}

/* One multi-byte UTF-8 character (RFC 3629). */
static PareStatus check_utf8(Check *c) {
    const unsigned char *s = (const unsigned char *)c->text + c->at;
    size_t left = c->size - c->at, n = s[0] >= 0xF0 ? 4 : s[0] >= 0xE0 ? 3 : 2;
    if (s[0] < 0xC2 || s[0] > 0xF4 || n > left)
        return fail(c, "invalid UTF-8");
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80)
            return fail(c, "invalid UTF-8");
    if ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) ||
        (s[0] == 0xF0 && s[1] < 0x90) || (s[0] == 0xF4 && s[1] > 0x8F))
        return fail(c, "invalid UTF-8");
    c->at += n;
    return PARE_OK;
}

static PareStatus check_string(Check *c) {
    if (!take(c, '"'))
        return fail(c, "expected a string");
    while (c->at < c->size) {
        unsigned char ch = (unsigned char)c->text[c->at];
        PareStatus st = PARE_OK;
        if (ch == '"') {
            c->at++;
            return PARE_OK;
        }
        if (ch < 0x20)
            return fail(c, "a control character inside a string");
        if (ch >= 0x80) {
            st = check_utf8(c);
        } else if (ch == '\\') {
            c->at++;
            int escape = peek(c);
            c->at++;
            if (escape == 'u')
                st = check_unicode_escape(c);
            else if (escape <= 0 || !strchr("\"\\/bfnrt", escape))
                return fail(c, "an unknown escape");
        } else {
            c->at++;
        }
        if (st)
            return st;
    }
    return fail(c, "the text ends inside a string");
}

static size_t take_digits(Check *c) {
    size_t begin = c->at;
    while (peek(c) >= '0' && peek(c) <= '9')
        c->at++;
    return c->at - begin;
}

/* Integers that a double cannot hold exactly are refused. */
static PareStatus check_magnitude(const Check *c, size_t begin, size_t digits) {
    char text[24];
    if (digits > 16)
        return fail(c, "an integer beyond 2^53");
    memcpy(text, c->text + begin, digits);
    text[digits] = '\0';
    return strtoull(text, NULL, 10) > (1ULL << 53) ? fail(c, "an integer beyond 2^53") : PARE_OK;
}

static PareStatus check_number(Check *c) {
    take(c, '-');
    size_t begin = c->at, digits = take_digits(c);
    bool integer = true;
    if (digits == 0)
        return fail(c, peek(c) == 'I' || peek(c) == 'N'
                           ? "NaN and Infinity, which Python writes, are not JSON"
                           : "expected a value");
    if (digits > 1 && c->text[begin] == '0')
        return fail(c, "a number with leading zeros");
    if (take(c, '.')) {
        integer = false;
        if (take_digits(c) == 0)
            return fail(c, "a number ends in its point");
    }
    if (peek(c) == 'e' || peek(c) == 'E') {
        integer = false;
        c->at++;
        if (!take(c, '+'))
            take(c, '-');
        if (take_digits(c) == 0)
            return fail(c, "a number without digits in its exponent");
    }
    return integer ? check_magnitude(c, begin, digits) : PARE_OK;
}

static PareStatus check_word(Check *c, const char *word) {
    size_t n = strlen(word);
    if (c->size - c->at < n || memcmp(c->text + c->at, word, n) != 0)
        return fail(c, "expected a value");
    c->at += n;
    return PARE_OK;
}

static PareStatus check_member(Check *c, int depth) {
    skip_blanks(c);
    size_t begin = c->at;
    PareStatus st = check_string(c);
    if (!st && !pare_json_keys_push(c->keys, c->text + begin + 1, c->at - begin - 2))
        st = pare_memory_error(c->err, c->name);
    skip_blanks(c);
    if (!st && !take(c, ':'))
        st = fail(c, "expected ':' after a key");
    return st ? st : check_value(c, depth + 1);
}

static PareStatus check_object(Check *c, int depth) {
    size_t mark = pare_json_keys_mark(c->keys);
    c->at++;
    skip_blanks(c);
    if (take(c, '}'))
        return PARE_OK;
    for (;;) {
        PareStatus st = check_member(c, depth);
        skip_blanks(c);
        if (st)
            return st;
        if (take(c, '}'))
            break;
        if (!take(c, ','))
            return fail(c, "expected ',' or '}'");
    }
    return pare_json_keys_unique(c->keys, mark, c->name, c->err);
}

static PareStatus check_array(Check *c, int depth) {
    c->at++;
    skip_blanks(c);
    if (take(c, ']'))
        return PARE_OK;
    for (;;) {
        PareStatus st = check_value(c, depth + 1);
        skip_blanks(c);
        if (st || take(c, ']'))
            return st;
        if (!take(c, ','))
            return fail(c, "expected ',' or ']'");
    }
}

static PareStatus check_value(Check *c, int depth) {
    if (depth > MAX_DEPTH)
        return fail(c, "nested deeper than 128 levels");
    skip_blanks(c);
    switch (peek(c)) {
    case '{':
        return check_object(c, depth);
    case '[':
        return check_array(c, depth);
    case '"':
        return check_string(c);
    case 't':
        return check_word(c, "true");
    case 'f':
        return check_word(c, "false");
    case 'n':
        return check_word(c, "null");
    case -1:
        return fail(c, "the text ends where a value was expected");
    default:
        return check_number(c);
    }
}

PareStatus pare_json_check(const char *text, size_t size, const char *name, PareError *err) {
    PareJsonKeys *keys = pare_json_keys_create();
    if (!keys)
        return pare_memory_error(err, name);
    Check c = {.text = text, .size = size, .name = name, .err = err, .keys = keys};
    if (size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0)
        c.at = 3;
    PareStatus st = check_value(&c, 0);
    skip_blanks(&c);
    if (!st && c.at != size)
        st = fail(&c, "something follows the value");
    pare_json_keys_destroy(keys);
    return st;
}
