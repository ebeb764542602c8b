/* Strict validation of a JSON text, before cJSON (which is lax) builds the tree.
 *
 * The check is iterative, with a stack of the open objects and arrays, so that no text can exhaust
 * the program's own stack. */
#include "core/json_check.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/utf8.h"

/* cJSON reads numbers of at most 63 characters. */
enum { MAX_DEPTH = 128, MAX_NUMBER = 63, KEY_SHOWN = 60 };

typedef struct {
    const uint8_t *start, *at, *end;
    const char *name;
    PareError *err;
    PareJsonKeys *keys;
    size_t depth;
    struct {
        bool object;
        size_t first_key;
    } open[MAX_DEPTH];
} Check;

/* Refuses the text because of what stands at c->at. Columns count characters. */
static PareStatus refuse(const Check *c, const char *why) {
    size_t line = 1, column = 1;
    for (const uint8_t *p = c->start; p < c->at; p++) {
        if (*p == '\n') {
            line++;
            column = 1;
        } else {
            column += (*p & 0xC0) != 0x80;
        }
    }
    return pare_error_set(c->err, PARE_E_FORMAT, "%s: invalid JSON at line %zu, column %zu: %s",
                          c->name, line, column, why);
}

static PareStatus refuse_at(Check *c, const uint8_t *at, const char *why) {
    c->at = at;
    return refuse(c, why);
}

static int peek(const Check *c) {
    return c->at < c->end ? *c->at : -1;
}

static bool take(Check *c, char wanted) {
    if (peek(c) != wanted)
        return false;
    c->at++;
    return true;
}

static void skip_blanks(Check *c) {
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\r' || *c->at == '\t'))
        c->at++;
}

/* ---- Strings ------------------------------------------------------------------------------- */

/* The value of four hexadecimal digits, or -1. */
static int32_t take_hexadecimal(Check *c) {
    int32_t value = 0;
    for (int i = 0; i < 4; i++, c->at++) {
        int ch = peek(c), letter = ch | 0x20;
        if (ch >= '0' && ch <= '9')
            value = value * 16 + (ch - '0');
        else if (ch > 0 && letter >= 'a' && letter <= 'f')
            value = value * 16 + (letter - 'a' + 10);
        else
            return -1;
    }
    return value;
}

static PareStatus check_unicode_escape(Check *c) {
    const uint8_t *begin = c->at - 2;
    int32_t code = take_hexadecimal(c);
    if (code < 0)
        return refuse(c, "\\u needs four hexadecimal digits");
    if (code == 0)
        return refuse_at(c, begin, "a string holds a NUL character");
    if (code < 0xD800 || code > 0xDFFF)
        return PARE_OK;
    bool pair = code < 0xDC00 && take(c, '\\') && take(c, 'u');
    int32_t low = pair ? take_hexadecimal(c) : -1;
    if (low < 0xDC00 || low > 0xDFFF)
        return refuse_at(c, begin, "half of a surrogate pair stands alone");
    return PARE_OK;
}

static PareStatus check_special(Check *c) {
    if (*c->at == '\\') {
        c->at++;
        int ch = peek(c);
        if (ch == 'u') {
            c->at++;
            return check_unicode_escape(c);
        }
        if (ch <= 0 || !strchr("\"\\/bfnrt", ch))
            return refuse(c, ch < 0 ? "the text ends inside of a string" : "unknown escape");
        c->at++;
        return PARE_OK;
    }
    if (*c->at < 0x20)
        return refuse(c, "a control character inside of a string must be escaped");
    size_t length = pare_utf8_sequence(c->at, (size_t)(c->end - c->at), NULL);
    if (length == 0)
        return refuse(c, "invalid UTF-8");
    c->at += length;
    return PARE_OK;
}

/* From the opening quote to behind the closing one. */
static PareStatus check_string(Check *c) {
    const uint8_t *begin = c->at++;
    for (;;) {
        while (c->at < c->end && *c->at >= 0x20 && *c->at < 0x80 && *c->at != '"' && *c->at != '\\')
            c->at++;
        if (c->at == c->end)
            return refuse_at(c, begin, "a string does not end");
        if (*c->at == '"') {
            c->at++;
            return PARE_OK;
        }
        PareStatus status = check_special(c);
        if (status)
            return status;
    }
}

/* ---- Numbers and words --------------------------------------------------------------------- */

static size_t take_digits(Check *c) {
    const uint8_t *begin = c->at;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9')
        c->at++;
    return (size_t)(c->at - begin);
}

/* Whether a double holds the number without changing its meaning. Python writes its largest sizes
 * as int(1e30), in full: such integers are exact and may pass. */
static const char *check_magnitude(const uint8_t *begin, size_t length, bool integer) {
    char text[MAX_NUMBER + 1], again[MAX_NUMBER + 8];
    if (length > MAX_NUMBER)
        return "a number has more than 63 characters";
    memcpy(text, begin, length);
    text[length] = '\0';
    double value = strtod(text, NULL);
    if (!isfinite(value))
        return "a number is too large";
    if (!integer || fabs(value) < 0x1p53)
        return NULL;
    snprintf(again, sizeof again, "%.0f", value);
    return strcmp(text, again) == 0 ? NULL : "an integer beyond 2^53 would lose digits";
}

static PareStatus check_number(Check *c) {
    const uint8_t *begin = c->at;
    bool integer = true, exponent = false;
    take(c, '-');
    const uint8_t *digits = c->at;
    size_t whole = take_digits(c);
    if (whole == 0)
        return refuse_at(c, begin,
                         peek(c) == 'I' ? "-Infinity is not JSON (Python writes it)"
                                        : "expected a value");
    if (whole > 1 && *digits == '0')
        return refuse_at(c, begin, "a number begins with a zero");
    if (take(c, '.')) {
        integer = false;
        if (take_digits(c) == 0)
            return refuse(c, "expected digits behind the point of a number");
    }
    if (peek(c) == 'e' || peek(c) == 'E') {
        integer = false;
        exponent = true;
        c->at++;
        if (!take(c, '+'))
            take(c, '-');
        if (take_digits(c) == 0)
            return refuse(c, "expected digits in the exponent of a number");
    }
    size_t length = (size_t)(c->at - begin);
    /* Up to 15 digits are exact; so the slow way is for the few others. */
    const char *why = exponent || (integer ? whole > 15 : length > MAX_NUMBER)
                          ? check_magnitude(begin, length, integer)
                          : NULL;
    return why ? refuse_at(c, begin, why) : PARE_OK;
}

static bool take_word(Check *c, const char *word) {
    size_t length = strlen(word);
    if ((size_t)(c->end - c->at) < length || memcmp(c->at, word, length) != 0)
        return false;
    c->at += length;
    return true;
}

static PareStatus check_scalar(Check *c) {
    int ch = peek(c);
    if (ch == '"')
        return check_string(c);
    if (ch == '-' || (ch >= '0' && ch <= '9'))
        return check_number(c);
    if (take_word(c, "true") || take_word(c, "false") || take_word(c, "null"))
        return PARE_OK;
    const uint8_t *at = c->at;
    if (take_word(c, "NaN"))
        return refuse_at(c, at, "NaN is not JSON (Python writes it)");
    if (take_word(c, "Infinity"))
        return refuse_at(c, at, "Infinity is not JSON (Python writes it)");
    return refuse(c, ch < 0 ? "the text ends where a value is expected" : "expected a value");
}

/* ---- Objects and arrays -------------------------------------------------------------------- */

static PareStatus check_key(Check *c) {
    skip_blanks(c);
    if (peek(c) != '"')
        return refuse(c, "expected a key in double quotes");
    const uint8_t *begin = c->at + 1;
    PareStatus status = check_string(c);
    if (status)
        return status;
    if (!pare_json_keys_push(c->keys, (const char *)begin, (size_t)(c->at - 1 - begin)))
        return pare_memory_error(c->err, c->name);
    skip_blanks(c);
    return take(c, ':') ? PARE_OK : refuse(c, "expected ':' behind a key");
}

/* Opens an object or array that is not empty, up to where its first value is expected. */
static PareStatus check_opening(Check *c, bool *opened) {
    bool object = peek(c) == '{';
    *opened = false;
    if (!object && peek(c) != '[')
        return check_scalar(c);
    if (c->depth == MAX_DEPTH)
        return refuse(c, "objects and arrays are nested deeper than 128 levels");
    c->at++;
    skip_blanks(c);
    if (take(c, object ? '}' : ']'))
        return PARE_OK;
    c->open[c->depth].object = object;
    c->open[c->depth++].first_key = pare_json_keys_count(c->keys);
    *opened = true;
    return object ? check_key(c) : PARE_OK;
}

static PareStatus check_closing(Check *c) {
    const char *twice = pare_json_keys_pop(c->keys, c->open[--c->depth].first_key);
    if (!twice)
        return PARE_OK;
    char why[KEY_SHOWN + 40];
    const char *end = twice;
    while (*end != '"' && end - twice < KEY_SHOWN)
        end += *end == '\\' ? 2 : 1;
    while (((uint8_t)*end & 0xC0) == 0x80) /* not half of a character */
        end--;
    snprintf(why, sizeof why, "the key \"%.*s\" appears twice", (int)(end - twice), twice);
    return refuse_at(c, (const uint8_t *)twice - 1, why);
}

/* What follows a value: closing brackets, then a comma and what leads to the next value. */
static PareStatus check_after_value(Check *c) {
    PareStatus status = PARE_OK;
    while (c->depth > 0 && !status) {
        bool object = c->open[c->depth - 1].object;
        skip_blanks(c);
        if (take(c, ','))
            return object ? check_key(c) : PARE_OK;
        if (!take(c, object ? '}' : ']'))
            return refuse(c, object ? "expected ',' or '}'" : "expected ',' or ']'");
        status = check_closing(c);
    }
    return status;
}

static PareStatus check_text(Check *c) {
    bool opened;
    do {
        skip_blanks(c);
        PareStatus status = check_opening(c, &opened);
        if (!status && !opened)
            status = check_after_value(c);
        if (status)
            return status;
    } while (c->depth > 0);
    skip_blanks(c);
    return c->at == c->end ? PARE_OK : refuse(c, "something follows the end of the JSON text");
}

PareStatus pare_json_check(const char *text, size_t size, const char *name, PareError *err) {
    const uint8_t *start = (const uint8_t *)text;
    Check c = {.start = start, .at = start, .end = start + size, .name = name, .err = err};
    c.keys = pare_json_keys_create();
    if (!c.keys)
        return pare_memory_error(err, name);
    /* The standard lets readers skip a byte order mark, and editors on Windows leave one. */
    take_word(&c, "\xEF\xBB\xBF");
    c.start = c.at;
    PareStatus status = check_text(&c);
    pare_json_keys_destroy(c.keys);
    return status;
}
