/* A growable run of bytes, also used to build strings. Always NUL-terminated behind `size`.
 * An append that fails for lack of memory sets `failed` and leaves the content; callers check once
 * at the end with pare_buffer_ok. Zero-initialise with `= {0}`. */
#ifndef PARE_CORE_BUFFER_H
#define PARE_CORE_BUFFER_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef struct {
    char *data;
    size_t size, capacity;
    bool failed;
} PareBuffer;

void pare_buffer_free(PareBuffer *b);
void pare_buffer_clear(PareBuffer *b); /* keeps the memory, resets `failed` */
void pare_buffer_append(PareBuffer *b, const void *bytes, size_t size);
void pare_buffer_puts(PareBuffer *b, const char *text);
void pare_buffer_putc(PareBuffer *b, char c);
void pare_buffer_printf(PareBuffer *b, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void pare_buffer_put_u8(PareBuffer *b, uint8_t v);
void pare_buffer_put_u16(PareBuffer *b, uint16_t v); /* little-endian, as all of these */
void pare_buffer_put_u32(PareBuffer *b, uint32_t v);
void pare_buffer_put_u64(PareBuffer *b, uint64_t v);
void pare_buffer_put_f32(PareBuffer *b, float v);
/* LEB128: seven bits a byte, lowest first. */
void pare_buffer_put_varint(PareBuffer *b, uint64_t v);
/* Appends `text` as a JSON string with quotes, escaped; invalid UTF-8 becomes U+FFFD. */
void pare_buffer_put_json_string(PareBuffer *b, const char *text, size_t size);
/* `"key":` inside of a JSON object, behind a comma unless it is the first. */
void pare_buffer_put_json_key(PareBuffer *b, const char *key);
/* A member that is a string, or null where `text` is NULL. */
void pare_buffer_put_json_member(PareBuffer *b, const char *key, const char *text);
/* Shortest decimal that reads back as the same float/double; NaN and infinities as null. */
void pare_buffer_put_json_float(PareBuffer *b, float v);
void pare_buffer_put_json_double(PareBuffer *b, double v);
/* For people: "12.3 kB", "4567.8 MB". */
void pare_buffer_put_size(PareBuffer *b, uint64_t bytes);
/* PARE_OK, or PARE_E_MEMORY naming `what` when an append failed. */
PareStatus pare_buffer_ok(const PareBuffer *b, const char *what, PareError *err);
/* Gives the bytes to the caller (pare_free) and empties the buffer. Never NULL unless failed. */
char *pare_buffer_steal(PareBuffer *b, size_t *size);

/* A cursor over borrowed bytes for parsers of untrusted input. Every read is checked; after the
 * first short read `bad` stays set and reads return zero. */
typedef struct {
    const uint8_t *at, *end;
    bool bad;
} PareCursor;

PareCursor pare_cursor(const void *bytes, size_t size);
size_t pare_cursor_left(const PareCursor *c);
const uint8_t *pare_cursor_take(PareCursor *c, size_t size); /* NULL when short */
uint8_t pare_cursor_u8(PareCursor *c);
uint16_t pare_cursor_u16(PareCursor *c);
uint32_t pare_cursor_u32(PareCursor *c);
uint64_t pare_cursor_u64(PareCursor *c);
float pare_cursor_f32(PareCursor *c);
uint64_t pare_cursor_varint(PareCursor *c);

#endif
