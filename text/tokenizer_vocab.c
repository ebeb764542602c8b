/* Vocabularies: see tokenizer_vocab.h. */
#include "text/tokenizer_vocab.h"

#include <string.h>

#include "core/memory.h"

typedef struct PareVocabEntry {
    uint64_t id;
    size_t start, size;
} PareVocabEntry;

void pare_vocab_builder_add(PareVocabBuilder *b, uint64_t id, const char *piece, size_t size) {
    if (b->count == b->capacity) {
        size_t capacity = b->capacity == 0 ? 1024 : b->capacity * 2;
        PareVocabEntry *grown = pare_realloc(b->entries, capacity, sizeof *grown);
        if (grown == NULL) {
            b->failed = true;
            return;
        }
        b->entries = grown;
        b->capacity = capacity;
    }
    b->entries[b->count++] = (PareVocabEntry){id, b->text.size, size};
    pare_buffer_append(&b->text, piece, size);
}

void pare_vocab_builder_free(PareVocabBuilder *b) {
    pare_buffer_free(&b->text);
    pare_free(b->entries);
    *b = (PareVocabBuilder){0};
}

static uint32_t hash_piece(const char *piece, size_t size) {
    uint64_t h = size * 0x9E3779B97F4A7C15u;
    while (size >= 8) {
        uint64_t word;
        memcpy(&word, piece, 8);
        h = (h ^ word) * 0xD6E8FEB86659FD93u;
        h ^= h >> 32;
        piece += 8;
        size -= 8;
    }
    uint64_t rest = 0;
    for (size_t i = 0; i < size; i++) {
        rest = rest << 8 | (uint8_t)piece[i];
    }
    h = (h ^ rest) * 0xD6E8FEB86659FD93u;
    return (uint32_t)(h ^ h >> 32);
}

/* The slot that holds the piece, or the free one where it belongs. */
static uint32_t find_slot(const PareVocab *v, const char *piece, size_t size) {
    uint32_t at = hash_piece(piece, size) & v->mask;
    while (v->slots[at] != 0) {
        size_t other_size;
        const char *other = pare_vocab_piece(v, (int64_t)v->slots[at] - 1, &other_size);
        if (other_size == size && memcmp(other, piece, size) == 0) {
            break;
        }
        at = (at + 1) & v->mask;
    }
    return at;
}

static PareStatus index_pieces(PareVocab *v, PareError *err) {
    uint32_t slots = 16;
    while (slots < 2 * (uint64_t)v->count) {
        slots *= 2;
    }
    v->slots = pare_alloc(slots, sizeof *v->slots);
    if (v->slots == NULL) {
        return pare_memory_error(err, "a vocabulary's index");
    }
    v->mask = slots - 1;
    for (uint32_t id = 0; id < v->count; id++) {
        size_t size;
        const char *piece = pare_vocab_piece(v, id, &size);
        if (size != 0) {
            v->slots[find_slot(v, piece, size)] = id + 1;
        }
    }
    return PARE_OK;
}

PareStatus pare_vocab_from_text(const void *text, size_t size, uint64_t count, const char *name,
                                PareVocab *out, PareError *err) {
    *out = (PareVocab){0};
    if (count > PARE_VOCAB_MAX || size >= UINT32_MAX) {
        return pare_error_set(err, PARE_E_FORMAT, "%s: %llu pieces of %zu bytes; at most %d pieces",
                              name, (unsigned long long)count, size, PARE_VOCAB_MAX);
    }
    if (count > size) {
        return pare_error_set(err, PARE_E_FORMAT, "%s: %zu bytes cannot hold %llu pieces", name,
                              size, (unsigned long long)count);
    }
    PareStatus status = PARE_OK;
    out->count = (uint32_t)count;
    out->text_size = size;
    out->text = pare_alloc(size, 1);
    out->start = pare_alloc((size_t)count + 1, sizeof *out->start);
    if (out->text == NULL || out->start == NULL) {
        status = pare_memory_error(err, "a vocabulary");
        goto done;
    }
    if (size != 0) {
        memcpy(out->text, text, size);
    }
    size_t at = 0;
    for (uint32_t id = 0; id < out->count; id++) {
        const char *end = at < size ? memchr(out->text + at, 0, size - at) : NULL;
        if (end == NULL) {
            status = pare_error_set(err, PARE_E_FORMAT, "%s: the text ends inside piece %u of %u",
                                    name, id, out->count);
            goto done;
        }
        out->start[id] = (uint32_t)at;
        at = (size_t)(end - out->text) + 1;
    }
    out->start[out->count] = (uint32_t)at;
    if (at != size) {
        status = pare_error_set(err, PARE_E_FORMAT, "%s: %zu bytes behind the last of %u pieces",
                                name, size - at, out->count);
        goto done;
    }
    status = index_pieces(out, err);
done:
    if (status != PARE_OK) {
        pare_vocab_free(out);
    }
    return status;
}

/* Puts the entries' numbers in order of id: order[id] = number of the entry + 1. */
static PareStatus order_entries(const PareVocabBuilder *b, const char *name, uint32_t *order,
                                PareError *err) {
    for (size_t i = 0; i < b->count; i++) {
        const PareVocabEntry *e = &b->entries[i];
        const char *piece = b->text.data + e->start;
        if (memchr(piece, 0, e->size) != NULL) {
            return pare_error_set(err, PARE_E_FORMAT, "%s: the piece of id %llu holds a zero byte",
                                  name, (unsigned long long)e->id);
        }
        if (order[e->id] != 0) {
            return pare_error_set(err, PARE_E_FORMAT, "%s: id %llu is given twice, last to '%.*s'",
                                  name, (unsigned long long)e->id,
                                  (int)(e->size < 80 ? e->size : 80), piece);
        }
        order[e->id] = (uint32_t)i + 1;
    }
    return PARE_OK;
}

PareStatus pare_vocab_build(PareVocabBuilder *b, const char *name, PareVocab *out, PareError *err) {
    PareStatus status = PARE_OK;
    PareBuffer text = {0};
    uint32_t *order = NULL;
    uint64_t count = 0;
    *out = (PareVocab){0};
    if (b->failed || pare_buffer_ok(&b->text, "a vocabulary", err) != PARE_OK) {
        status = pare_memory_error(err, "a vocabulary");
        goto done;
    }
    for (size_t i = 0; i < b->count; i++) {
        if (b->entries[i].id >= PARE_VOCAB_MAX) {
            status = pare_error_set(err, PARE_E_FORMAT, "%s: id %llu is above the limit of %d",
                                    name, (unsigned long long)b->entries[i].id, PARE_VOCAB_MAX - 1);
            goto done;
        }
        count = b->entries[i].id >= count ? b->entries[i].id + 1 : count;
    }
    order = pare_alloc((size_t)count, sizeof *order);
    if (order == NULL) {
        status = pare_memory_error(err, "a vocabulary");
        goto done;
    }
    status = order_entries(b, name, order, err);
    if (status != PARE_OK) {
        goto done;
    }
    for (uint64_t id = 0; id < count; id++) {
        if (order[id] != 0) {
            const PareVocabEntry *e = &b->entries[order[id] - 1];
            pare_buffer_append(&text, b->text.data + e->start, e->size);
        }
        pare_buffer_putc(&text, 0);
    }
    status = pare_buffer_ok(&text, "a vocabulary", err);
    if (status == PARE_OK) {
        status = pare_vocab_from_text(text.data, text.size, count, name, out, err);
    }
done:
    pare_free(order);
    pare_buffer_free(&text);
    pare_vocab_builder_free(b);
    return status;
}

void pare_vocab_free(PareVocab *v) {
    pare_free(v->text);
    pare_free(v->start);
    pare_free(v->slots);
    *v = (PareVocab){0};
}

int32_t pare_vocab_find(const PareVocab *v, const char *piece, size_t size) {
    if (v->slots == NULL || size == 0) {
        return -1;
    }
    return (int32_t)v->slots[find_slot(v, piece, size)] - 1;
}

const char *pare_vocab_piece(const PareVocab *v, int64_t id, size_t *size) {
    bool known = id >= 0 && id < v->count;
    if (size != NULL) {
        *size = known ? v->start[id + 1] - v->start[id] - 1 : 0;
    }
    return known ? v->text + v->start[id] : "";
}
