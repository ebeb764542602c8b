/* Growable byte buffers. */
#include "core/buffer.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "core/utf8.h"

enum { FIRST_CAPACITY = 64 };

void pare_buffer_free(PareBuffer *b) {
    pare_free(b->data);
    *b = (PareBuffer){0};
}

void pare_buffer_clear(PareBuffer *b) {
    b->size = 0;
    b->failed = false;
    if (b->data)
        b->data[0] = '\0';
}

/* Room for `more` bytes and the NUL behind them. Once failed, stays failed: bytes that follow a gap
 * would be worse than none. */
static bool reserve(PareBuffer *b, size_t more) {
    size_t need;
    if (b->failed)
        return false;
    if (b->data && more < b->capacity - b->size)
        return true;
    if (pare_size_add(b->size, more, &need) && pare_size_add(need, 1, &need)) {
        size_t doubled = b->capacity <= SIZE_MAX / 2 ? b->capacity * 2 : need;
        size_t capacity = doubled > need ? doubled : need;
        if (capacity < FIRST_CAPACITY)
            capacity = FIRST_CAPACITY;
        char *data = pare_realloc(b->data, capacity, 1);
        if (data) {
            b->data = data;
            b->capacity = capacity;
            return true;
        }
    }
    b->failed = true;
    return false;
}

void pare_buffer_append(PareBuffer *b, const void *bytes, size_t size) {
    if (!reserve(b, size))
        return;
    if (size)
        memcpy(b->data + b->size, bytes, size);
    b->size += size;
    b->data[b->size] = '\0';
}

void pare_buffer_puts(PareBuffer *b, const char *text) {
    pare_buffer_append(b, text, strlen(text));
}

void pare_buffer_putc(PareBuffer *b, char c) {
    pare_buffer_append(b, &c, 1);
}

void pare_buffer_printf(PareBuffer *b, const char *format, ...) {
    char small[256];
    va_list args;
    va_start(args, format);
    int length = vsnprintf(small, sizeof small, format, args);
    va_end(args);
    if (length < 0) {
        b->failed = true;
    } else if ((size_t)length < sizeof small) {
        pare_buffer_append(b, small, (size_t)length);
    } else if (reserve(b, (size_t)length)) {
        va_start(args, format);
        vsnprintf(b->data + b->size, (size_t)length + 1, format, args);
        va_end(args);
        b->size += (size_t)length;
    }
}

static void put_little(PareBuffer *b, uint64_t v, size_t size) {
    uint8_t bytes[8];
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(v >> (8 * i));
    pare_buffer_append(b, bytes, size);
}

void pare_buffer_put_u8(PareBuffer *b, uint8_t v) {
    pare_buffer_append(b, &v, 1);
}

void pare_buffer_put_u16(PareBuffer *b, uint16_t v) {
    put_little(b, v, 2);
}

void pare_buffer_put_u32(PareBuffer *b, uint32_t v) {
    put_little(b, v, 4);
}

void pare_buffer_put_u64(PareBuffer *b, uint64_t v) {
    put_little(b, v, 8);
}

void pare_buffer_put_f32(PareBuffer *b, float v) {
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    put_little(b, bits, 4);
}

void pare_buffer_put_varint(PareBuffer *b, uint64_t v) {
    uint8_t bytes[10];
    size_t size = 0;
    for (; v >= 0x80; v >>= 7)
        bytes[size++] = (uint8_t)(v | 0x80);
    bytes[size++] = (uint8_t)v;
    pare_buffer_append(b, bytes, size);
}

static void put_escape(PareBuffer *b, uint8_t c) {
    static const char named[] = "\"\"\\\\\bb\ff\nn\rr\tt"; /* a byte, and its letter */
    for (size_t i = 0; named[i]; i += 2) {
        if (c == (uint8_t)named[i]) {
            char pair[2] = {'\\', named[i + 1]};
            pare_buffer_append(b, pair, 2);
            return;
        }
    }
    pare_buffer_printf(b, "\\u%04x", c);
}

void pare_buffer_put_json_string(PareBuffer *b, const char *text, size_t size) {
    const uint8_t *at = (const uint8_t *)text, *end = at + size, *run = at;
    pare_buffer_putc(b, '"');
    while (at < end) {
        size_t bad = 1;
        if (*at >= 0x20 && *at < 0x80 && *at != '"' && *at != '\\') {
            at++;
            continue;
        }
        size_t length = pare_utf8_sequence(at, (size_t)(end - at), &bad);
        if (length > 1) {
            at += length;
            continue;
        }
        pare_buffer_append(b, run, (size_t)(at - run));
        if (length)
            put_escape(b, *at);
        else
            pare_buffer_puts(b, "\xEF\xBF\xBD");
        at += bad;
        run = at;
    }
    pare_buffer_append(b, run, (size_t)(at - run));
    pare_buffer_putc(b, '"');
}

void pare_buffer_put_json_key(PareBuffer *b, const char *key) {
    char last = b->size > 0 ? b->data[b->size - 1] : '{';
    pare_buffer_puts(b, last == '{' ? "" : ",");
    pare_buffer_put_json_string(b, key, strlen(key));
    pare_buffer_putc(b, ':');
}

void pare_buffer_put_json_member(PareBuffer *b, const char *key, const char *text) {
    pare_buffer_put_json_key(b, key);
    if (text == NULL)
        pare_buffer_puts(b, "null");
    else
        pare_buffer_put_json_string(b, text, strlen(text));
}

/* A program that embeds us may have set a locale whose decimal point is not a dot: whatever stands
 * between the digits becomes one. */
static void put_number(PareBuffer *b, const char *text) {
    bool point = false;
    for (; *text; text++) {
        bool plain = (*text >= '0' && *text <= '9') || *text == '-' || *text == '+' || *text == 'e';
        if (plain || !point)
            pare_buffer_putc(b, plain ? *text : '.');
        point = !plain;
    }
}

/* A normal float whose shortest form has at most 6 digits shows it at %.6g, as %g drops trailing
 * zeros; only denormals, which hold fewer digits, must be tried from 1. */
void pare_buffer_put_json_float(PareBuffer *b, float v) {
    char text[64] = "null";
    if (!isfinite(v)) {
        pare_buffer_puts(b, text);
        return;
    }
    for (int digits = fabsf(v) < FLT_MIN ? 1 : 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)v);
        if (strtof(text, NULL) == v) /* in the locale that printed it */
            break;
    }
    put_number(b, text);
}

void pare_buffer_put_json_double(PareBuffer *b, double v) {
    char text[64] = "null";
    if (!isfinite(v)) {
        pare_buffer_puts(b, text);
        return;
    }
    for (int digits = fabs(v) < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, v);
        if (strtod(text, NULL) == v)
            break;
    }
    put_number(b, text);
}

void pare_buffer_put_size(PareBuffer *b, uint64_t bytes) {
    bool small = bytes < 1000000;
    pare_buffer_printf(b, "%.1f %s", (double)bytes / (small ? 1e3 : 1e6), small ? "kB" : "MB");
}

PareStatus pare_buffer_ok(const PareBuffer *b, const char *what, PareError *err) {
    return b->failed ? pare_memory_error(err, what) : PARE_OK;
}

char *pare_buffer_steal(PareBuffer *b, size_t *size) {
    pare_buffer_append(b, "", 0); /* an empty buffer still becomes an empty string */
    if (b->failed) {
        pare_buffer_free(b);
        if (size)
            *size = 0;
        return NULL;
    }
    char *data = b->data;
    if (size)
        *size = b->size;
    *b = (PareBuffer){0};
    return data;
}
