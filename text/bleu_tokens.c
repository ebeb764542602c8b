/* sacreBLEU's tokenizer "13a" (that of WMT's mteval-v13a.pl), as hand-written passes.
 *
 * Each regular expression of the reference is one pass here, since the passes see each other's
 * blanks. Matches of one pass do not overlap: a character that a match took is not looked at again.
 * Working on bytes is exact: all that matters is ASCII, and the last or first byte of a longer
 * character is as little a digit as the character. */
#include "text/bleu_tokens.h"

#include <stdbool.h>
#include <string.h>

/* How many bytes of white space, as Python's str.split() knows it, begin at `at`; 0 for none. */
static size_t white(const char *at, const char *end) {
    const unsigned char *p = (const unsigned char *)at;
    size_t left = (size_t)(end - at);
    if (p[0] == ' ' || (p[0] >= 0x09 && p[0] <= 0x0D) || (p[0] >= 0x1C && p[0] <= 0x1F))
        return 1;
    if (left >= 2 && p[0] == 0xC2 && (p[1] == 0x85 || p[1] == 0xA0))
        return 2;
    if (left < 3)
        return 0;
    bool is = (p[0] == 0xE1 && p[1] == 0x9A && p[2] == 0x80) ||                 /* U+1680 */
              (p[0] == 0xE2 && p[1] == 0x80 && p[2] >= 0x80 && p[2] <= 0x8A) || /* U+2000.. */
              (p[0] == 0xE2 && p[1] == 0x80 && (p[2] == 0xA8 || p[2] == 0xA9 || p[2] == 0xAF)) ||
              (p[0] == 0xE2 && p[1] == 0x81 && p[2] == 0x9F) || /* U+205F */
              (p[0] == 0xE3 && p[1] == 0x80 && p[2] == 0x80);   /* U+3000 */
    return is ? 3 : 0;
}

static size_t size_without_trailing_white(const char *text) {
    const char *end = text + strlen(text), *last = text;
    for (const char *at = text; at < end;) {
        size_t n = white(at, end);
        at += n ? n : 1;
        if (!n)
            last = at;
    }
    return (size_t)(last - text);
}

static void swap(PareBuffer *a, PareBuffer *b) {
    PareBuffer keep = *a;
    *a = *b;
    *b = keep;
    pare_buffer_clear(b);
}

/* Python's text.replace(from, to), in place. */
static void replace(PareBuffer *text, PareBuffer *scratch, const char *from, const char *to) {
    size_t size = strlen(from);
    const char *at = text->data, *end = at + text->size, *hit;
    if (!memmem(at, text->size, from, size))
        return;
    while ((hit = memmem(at, (size_t)(end - at), from, size))) {
        pare_buffer_append(scratch, at, (size_t)(hit - at));
        pare_buffer_puts(scratch, to);
        at = hit + size;
    }
    pare_buffer_append(scratch, at, (size_t)(end - at));
    swap(text, scratch);
}

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_stop(char c) {
    return c == '.' || c == ',';
}

/* [\{-\~\[-\` -\&\(-\+\:-\@\/]: ASCII punctuation but for ' , - . */
static bool is_symbol(char c) {
    return (c >= '{' && c <= '~') || (c >= '[' && c <= '`') || (c >= ' ' && c <= '&') ||
           (c >= '(' && c <= '+') || (c >= ':' && c <= '@') || c == '/';
}

static void put_spaced(PareBuffer *out, char c) {
    char spaced[3] = {' ', c, ' '};
    pare_buffer_append(out, spaced, sizeof spaced);
}

/* ([symbol]) -> " \1 " */
static void split_symbols(PareBuffer *text, PareBuffer *scratch) {
    for (size_t i = 0; i < text->size; i++) {
        if (is_symbol(text->data[i]))
            put_spaced(scratch, text->data[i]);
        else
            pare_buffer_putc(scratch, text->data[i]);
    }
    swap(text, scratch);
}

/* ([^0-9])([\.,]) -> "\1 \2 " */
static void split_stops_after_text(PareBuffer *text, PareBuffer *scratch) {
    for (size_t i = 0; i < text->size; i++) {
        pare_buffer_putc(scratch, text->data[i]);
        if (!is_digit(text->data[i]) && i + 1 < text->size && is_stop(text->data[i + 1]))
            put_spaced(scratch, text->data[++i]);
    }
    swap(text, scratch);
}

/* ([\.,])([^0-9]) -> " \1 \2" */
static void split_stops_before_text(PareBuffer *text, PareBuffer *scratch) {
    for (size_t i = 0; i < text->size; i++) {
        if (is_stop(text->data[i]) && i + 1 < text->size && !is_digit(text->data[i + 1]))
            put_spaced(scratch, text->data[i++]);
        pare_buffer_putc(scratch, text->data[i]);
    }
    swap(text, scratch);
}

/* ([0-9])(-) -> "\1 \2 " */
static void split_dashes_after_digits(PareBuffer *text, PareBuffer *scratch) {
    for (size_t i = 0; i < text->size; i++) {
        pare_buffer_putc(scratch, text->data[i]);
        if (is_digit(text->data[i]) && i + 1 < text->size && text->data[i + 1] == '-')
            put_spaced(scratch, text->data[++i]);
    }
    swap(text, scratch);
}

void pare_bleu_tokenize(const char *text, PareBuffer *out, PareBuffer *scratch) {
    static const char *const replacements[][2] = {
        {"<skipped>", ""}, {"-\n", ""},   {"\n", " "},   {"&quot;", "\""},
        {"&amp;", "&"},    {"&lt;", "<"}, {"&gt;", ">"},
    };
    pare_buffer_clear(out);
    pare_buffer_clear(scratch);
    pare_buffer_putc(out, ' ');
    pare_buffer_append(out, text, size_without_trailing_white(text));
    for (size_t i = 0; i < sizeof replacements / sizeof replacements[0] && !out->failed; i++)
        replace(out, scratch, replacements[i][0], replacements[i][1]);
    pare_buffer_putc(out, ' ');
    if (out->failed)
        return;
    split_symbols(out, scratch);
    split_stops_after_text(out, scratch);
    split_stops_before_text(out, scratch);
    split_dashes_after_digits(out, scratch);
}

const char *pare_bleu_word(const char **at, const char *end, size_t *size) {
    size_t n;
    while (*at < end && (n = white(*at, end)))
        *at += n;
    const char *word = *at;
    while (*at < end && !white(*at, end))
        (*at)++;
    *size = (size_t)(*at - word);
    return *size ? word : NULL;
}
