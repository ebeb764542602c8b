/* Strict numbers and patterns as users write them. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/options.h"

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

/* The factor that a unit stands for; 0 when it is none. */
static uint64_t unit_factor(const char *unit) {
    static const struct {
        const char *name;
        uint64_t factor;
    } units[] = {
        {"", 1},
        {"k", 1000},
        {"M", 1000000},
        {"G", 1000000000},
        {"Ki", 1ULL << 10},
        {"Mi", 1ULL << 20},
        {"Gi", 1ULL << 30},
    };
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcmp(unit, units[i].name) == 0)
            return units[i].factor;
    return 0;
}

bool pare_parse_int(const char *text, int64_t *out) {
    bool negative = *text == '-';
    uint64_t value = 0, limit = negative ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
    const char *at = text + (*text == '-' || *text == '+');
    if (!is_digit(*at))
        return false;
    for (; is_digit(*at); at++) {
        uint64_t digit = (uint64_t)(*at - '0');
        if (value > (limit - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    uint64_t factor = unit_factor(at);
    if (factor == 0 || value > limit / factor)
        return false;
    value *= factor;
    /* Negated as unsigned: the most negative number has no positive counterpart. */
    *out = negative ? (int64_t)(0 - value) : (int64_t)value;
    return true;
}

/* Whether `size` bytes are a decimal number: no blanks, hexadecimal, "inf" or "nan". */
static bool is_decimal(const char *text, size_t size) {
    const char *at = text, *end = text + size;
    size_t digits = 0;
    if (at < end && (*at == '-' || *at == '+'))
        at++;
    for (; at < end && is_digit(*at); at++)
        digits++;
    if (at < end && *at == '.')
        for (at++; at < end && is_digit(*at); at++)
            digits++;
    if (digits == 0)
        return false;
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (at < end && (*at == '-' || *at == '+'))
            at++;
        if (at == end)
            return false;
        while (at < end && is_digit(*at))
            at++;
    }
    return at == end;
}

/* Our programs never call setlocale, so that strtod reads a dot. Should a program that embeds us do
 * so, "0.5" is refused where a comma is expected; it is never misread. strtod stops at whatever
 * follows the number, a '%' included. */
static bool read_decimal(const char *text, size_t size, double *out) {
    char *end;
    if (!is_decimal(text, size))
        return false;
    double value = strtod(text, &end);
    if (end != text + size || !isfinite(value))
        return false;
    *out = value;
    return true;
}

bool pare_parse_float(const char *text, double *out) {
    return read_decimal(text, strlen(text), out);
}

bool pare_parse_share(const char *text, double *out) {
    size_t size = strlen(text);
    bool percent = size > 0 && text[size - 1] == '%';
    double value;
    if (!read_decimal(text, percent ? size - 1 : size, &value))
        return false;
    if (percent)
        value /= 100;
    if (!(value >= 0 && value <= 1))
        return false;
    *out = value;
    return true;
}

/* Matches one byte against "[...]" at *pattern and moves behind it. Without a closing bracket,
 * '[' stands for itself. A ']' right after the opening is a member, as in the shell. */
static bool match_set(const char **pattern, char c) {
    const char *at = *pattern + 1;
    bool negated = *at == '!' || *at == '^', found = false;
    if (negated)
        at++;
    const char *first = at;
    for (; *at && (*at != ']' || at == first); at++) {
        unsigned char low = (unsigned char)*at, high = low;
        if (at[1] == '-' && at[2] && at[2] != ']') {
            high = (unsigned char)at[2];
            at += 2;
        }
        found = found || ((unsigned char)c >= low && (unsigned char)c <= high);
    }
    if (!*at) {
        bool same = c == '[';
        ++*pattern;
        return same;
    }
    *pattern = at + 1;
    return found != negated;
}

/* Only the last star needs to be remembered: an earlier one could gain nothing by taking more. So
 * the time is at most the product of the lengths. */
bool pare_glob_match(const char *pattern, const char *text) {
    const char *star = NULL, *retry = NULL;
    while (*text) {
        const char *next = pattern;
        bool same = false;
        if (*pattern == '*') {
            star = ++pattern;
            retry = text;
            continue;
        }
        if (*pattern == '[') {
            same = match_set(&next, *text);
        } else if (*pattern) {
            same = *pattern == '?' || *pattern == *text;
            next = pattern + 1;
        }
        if (same) {
            pattern = next;
            text++;
        } else if (star) {
            pattern = star;
            text = ++retry;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}
