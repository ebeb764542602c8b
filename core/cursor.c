/* Checked reading of untrusted bytes. */
#include <string.h>

#include "core/buffer.h"

PareCursor pare_cursor(const void *bytes, size_t size) {
    static const uint8_t nothing;
    const uint8_t *at = bytes ? bytes : &nothing;
    return (PareCursor){.at = at, .end = at + (bytes ? size : 0), .bad = false};
}

size_t pare_cursor_left(const PareCursor *c) {
    return c->bad ? 0 : (size_t)(c->end - c->at);
}

const uint8_t *pare_cursor_take(PareCursor *c, size_t size) {
    if (c->bad || size > (size_t)(c->end - c->at)) {
        c->bad = true;
        return NULL;
    }
    const uint8_t *bytes = c->at;
    c->at += size;
    return bytes;
}

static uint64_t read_little(PareCursor *c, size_t size) {
    const uint8_t *bytes = pare_cursor_take(c, size);
    uint64_t v = 0;
    for (size_t i = 0; bytes && i < size; i++)
        v |= (uint64_t)bytes[i] << (8 * i);
    return v;
}

uint8_t pare_cursor_u8(PareCursor *c) {
    return (uint8_t)read_little(c, 1);
}

uint16_t pare_cursor_u16(PareCursor *c) {
    return (uint16_t)read_little(c, 2);
}

uint32_t pare_cursor_u32(PareCursor *c) {
    return (uint32_t)read_little(c, 4);
}

uint64_t pare_cursor_u64(PareCursor *c) {
    return read_little(c, 8);
}

float pare_cursor_f32(PareCursor *c) {
    uint32_t bits = pare_cursor_u32(c);
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* At most ten bytes, of which the last holds one bit: more does not fit into 64. */
uint64_t pare_cursor_varint(PareCursor *c) {
    uint64_t v = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        uint8_t byte = pare_cursor_u8(c);
        if (c->bad || (shift == 63 && byte > 1))
            break;
        v |= (uint64_t)(byte & 0x7F) << shift;
        if (byte < 0x80)
            return v;
    }
    c->bad = true;
    return 0;
}
