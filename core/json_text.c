/* Walking over valid JSON text without building a tree. */
#include "core/json_text.h"

#include <string.h>

static const char *skip_blanks(const char *at, const char *end) {
    while (at < end && (*at == ' ' || *at == '\t' || *at == '\r' || *at == '\n'))
        at++;
    return at;
}

/* `at` stands on the opening quote; the result behind the closing one. */
static const char *skip_string(const char *at, const char *end) {
    for (at++; at < end && *at != '"'; at++)
        at += *at == '\\' && at + 1 < end;
    return at < end ? at + 1 : end;
}

static const char *skip_value(const char *at, const char *end) {
    size_t depth = 0;
    while (at < end) {
        if (*at == '"') {
            at = skip_string(at, end);
        } else if (*at == '{' || *at == '[') {
            depth++;
            at++;
        } else if (depth && (*at == '}' || *at == ']')) {
            depth--;
            at++;
        } else if (!depth && strchr(",}] \t\r\n", *at)) {
            return at;
        } else {
            at++;
            continue; /* inside a number, a word, or between members */
        }
        if (!depth)
            return at;
    }
    return end;
}

bool pare_json_text_next(PareJsonText *rest, PareJsonText *key, PareJsonText *value) {
    const char *at = skip_blanks(rest->at, rest->end), *end = rest->end;
    if (at < end && (*at == '{' || *at == ','))
        at = skip_blanks(at + 1, end);
    if (at >= end || *at != '"')
        return false;
    const char *close = skip_string(at, end);
    *key = (PareJsonText){at + 1, close > at + 1 ? close - 1 : at + 1};
    at = skip_blanks(close, end);
    if (at >= end || *at != ':')
        return false;
    at = skip_blanks(at + 1, end);
    *value = (PareJsonText){at, skip_value(at, end)};
    rest->at = skip_blanks(value->end, end);
    return value->end > value->at;
}

bool pare_json_text_is(PareJsonText key, const char *name) {
    size_t size = strlen(name);
    return (size_t)(key.end - key.at) == size && memcmp(key.at, name, size) == 0;
}

bool pare_json_text_get(PareJsonText object, const char *key, PareJsonText *value) {
    PareJsonText name;
    object.at = skip_blanks(object.at, object.end);
    if (object.at >= object.end || *object.at != '{')
        return false;
    while (pare_json_text_next(&object, &name, value))
        if (pare_json_text_is(name, key))
            return true;
    return false;
}

static void new_line(PareBuffer *out, size_t depth) {
    pare_buffer_putc(out, '\n');
    for (size_t i = 0; i < depth; i++)
        pare_buffer_puts(out, "  ");
}

void pare_json_text_pretty(PareJsonText value, PareBuffer *out) {
    const char *at = value.at, *end = value.end;
    size_t depth = 0;
    while ((at = skip_blanks(at, end)) < end) {
        if (*at == '"') {
            const char *close = skip_string(at, end);
            pare_buffer_append(out, at, (size_t)(close - at));
            at = close;
            continue;
        }
        char c = *at++;
        bool opens = c == '{' || c == '[', closes = c == '}' || c == ']';
        if (opens && (at = skip_blanks(at, end)) < end && (*at == '}' || *at == ']')) {
            pare_buffer_putc(out, c);
            pare_buffer_putc(out, *at++);
            continue;
        }
        depth -= closes && depth;
        if (closes)
            new_line(out, depth);
        pare_buffer_putc(out, c);
        depth += opens;
        if (opens || c == ',')
            new_line(out, depth);
        else if (c == ':')
            pare_buffer_putc(out, ' ');
    }
    pare_buffer_putc(out, '\n');
}
