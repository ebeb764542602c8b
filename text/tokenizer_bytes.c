/* The compact form of a tokenizer: docs/FORMAT.md, "Tokenizer". What is read is untrusted. */
#include <string.h>

#include "text/tokenizer_impl.h"

static const char magic[4] = {'P', 'T', 'O', 'K'};
enum { VERSION = 1 };

/* ---- Writing ----------------------------------------------------------------------------------
 */

static void write_template(const PareTemplate *p, PareBuffer *out) {
    pare_buffer_put_varint(out, p->count);
    for (size_t i = 0; i < p->count; i++) {
        /* 0 and 1 are the texts, ids begin at 2. */
        int64_t code =
            p->items[i].id < 0 ? -1 - (int64_t)p->items[i].id : (int64_t)p->items[i].id + 2;
        pare_buffer_put_varint(out, (uint64_t)code);
        pare_buffer_put_varint(out, (uint64_t)p->items[i].type);
    }
}

PareStatus pare_tokenizer_to_bytes(const PareTokenizer *t, PareBuffer *out, PareError *err) {
    pare_buffer_append(out, magic, sizeof magic);
    pare_buffer_put_u8(out, VERSION);
    pare_buffer_put_u8(out, t->kind->code);
    pare_buffer_put_u8(out, (uint8_t)t->cleanup);
    pare_buffer_put_u8(out, 0);
    pare_buffer_put_varint(out, t->vocab.count);
    pare_buffer_put_varint(out, t->vocab.text_size);
    pare_buffer_append(out, t->vocab.text, t->vocab.text_size);
    for (size_t i = 0; i < PARE_ROLE_COUNT; i++) {
        pare_buffer_put_varint(out, (uint64_t)(t->roles[i] + 1));
    }
    pare_buffer_put_varint(out, t->added_count);
    for (size_t i = 0; i < t->added_count; i++) {
        pare_buffer_put_varint(out, (uint64_t)t->added[i].id);
        pare_buffer_put_u8(out, t->added[i].flags);
    }
    write_template(&t->single, out);
    write_template(&t->pair, out);
    t->kind->write(t, out);
    return pare_buffer_ok(out, "a tokenizer's compact form", err);
}

/* ---- Reading ----------------------------------------------------------------------------------
 */

static PareStatus read_vocab(PareTokenizer *t, PareCursor *in, const char *name, PareError *err) {
    uint64_t count = pare_cursor_varint(in);
    uint64_t size = pare_cursor_varint(in);
    const uint8_t *text = size <= pare_cursor_left(in) ? pare_cursor_take(in, (size_t)size) : NULL;
    if (in->bad || (text == NULL && size != 0)) {
        return pare_error_set(
            err, PARE_E_FORMAT,
            "%s: a vocabulary of %llu bytes does not fit into the %zu that follow", name,
            (unsigned long long)size, pare_cursor_left(in));
    }
    return pare_vocab_from_text(text, (size_t)size, count, name, &t->vocab, err);
}

static PareStatus read_tokens(PareTokenizer *t, PareCursor *in, const char *name, PareError *err) {
    bool ok = true;
    for (size_t i = 0; i < PARE_ROLE_COUNT; i++) {
        uint64_t role = pare_cursor_varint(in);
        ok = ok && role <= t->vocab.count;
        t->roles[i] = ok ? (int32_t)role - 1 : -1;
    }
    uint64_t count = pare_cursor_varint(in);
    if (!ok || in->bad || count > t->vocab.count || count > pare_cursor_left(in) / 2) {
        return pare_error_set(err, PARE_E_FORMAT, "%s: the special tokens are damaged", name);
    }
    t->added = pare_alloc((size_t)count, sizeof *t->added);
    if (t->added == NULL) {
        return pare_memory_error(err, name);
    }
    t->added_count = (size_t)count;
    for (size_t i = 0; i < count; i++) {
        uint64_t id = pare_cursor_varint(in);
        uint8_t flags = pare_cursor_u8(in);
        if (in->bad || id >= t->vocab.count || flags > PARE_TOKEN_FLAGS) {
            return pare_error_set(err, PARE_E_FORMAT, "%s: added token %zu is damaged", name, i);
        }
        t->added[i] = (PareAddedToken){(int32_t)id, flags};
    }
    return PARE_OK;
}

static PareStatus read_template(const PareTokenizer *t, PareTemplate *p, PareCursor *in,
                                const char *name, PareError *err) {
    uint64_t count = pare_cursor_varint(in);
    bool ok = count <= PARE_TEMPLATE_MAX;
    for (size_t i = 0; ok && i < count; i++) {
        uint64_t code = pare_cursor_varint(in);
        uint64_t type = pare_cursor_varint(in);
        ok = !in->bad && code < 2 + (uint64_t)t->vocab.count && type <= INT32_MAX;
        if (ok) {
            p->items[i].id = (int32_t)(code < 2 ? -1 - (int64_t)code : (int64_t)code - 2);
            p->items[i].type = (int32_t)type;
        }
    }
    if (!ok || in->bad) {
        return pare_error_set(err, PARE_E_FORMAT, "%s: a template is damaged", name);
    }
    p->count = (size_t)count;
    return PARE_OK;
}

static PareStatus read_header(PareCursor *in, const char *name, const PareTokenizerKind **kind,
                              uint8_t *cleanup, PareError *err) {
    const uint8_t *head = pare_cursor_take(in, sizeof magic);
    uint8_t version = pare_cursor_u8(in);
    uint8_t code = pare_cursor_u8(in);
    *cleanup = pare_cursor_u8(in);
    uint8_t zero = pare_cursor_u8(in);
    if (in->bad || memcmp(head, magic, sizeof magic) != 0) {
        return pare_error_set(err, PARE_E_FORMAT, "%s: not a tokenizer: it must begin with PTOK",
                              name);
    }
    if (version != VERSION) {
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: a tokenizer of version %u; this program reads version %d", name,
                              version, VERSION);
    }
    *kind = pare_kind_by_code(code);
    if (*kind == NULL || *cleanup >= PARE_CLEANUP_COUNT || zero != 0) {
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: kind %u, clean-up %u, reserved byte %u are not of version %d",
                              name, code, *cleanup, zero, VERSION);
    }
    return PARE_OK;
}

static PareStatus read_body(PareTokenizer *t, PareCursor *in, const char *name, PareError *err) {
    PareStatus status = read_vocab(t, in, name, err);
    if (status == PARE_OK) {
        status = read_tokens(t, in, name, err);
    }
    if (status == PARE_OK) {
        status = read_template(t, &t->single, in, name, err);
    }
    if (status == PARE_OK) {
        status = read_template(t, &t->pair, in, name, err);
    }
    if (status == PARE_OK) {
        status = t->kind->read(t, in, name, err);
    }
    if (status == PARE_OK && (in->bad || pare_cursor_left(in) != 0)) {
        status = pare_error_set(err, PARE_E_FORMAT, "%s: %zu bytes behind the tokenizer", name,
                                pare_cursor_left(in));
    }
    return status == PARE_OK ? pare_tokenizer_finish(t, name, err) : status;
}

PareStatus pare_tokenizer_from_bytes(const void *bytes, size_t size, const char *name,
                                     PareTokenizer **out, PareError *err) {
    PareCursor in = pare_cursor(bytes, size);
    const PareTokenizerKind *kind = NULL;
    uint8_t cleanup;
    *out = NULL;
    PareStatus status = read_header(&in, name, &kind, &cleanup, err);
    if (status != PARE_OK) {
        return status;
    }
    PareTokenizer *t = pare_tokenizer_create(kind);
    if (t == NULL) {
        return pare_memory_error(err, name);
    }
    t->cleanup = (PareCleanup)cleanup;
    status = read_body(t, &in, name, err);
    if (status != PARE_OK) {
        pare_tokenizer_free(t);
        return status;
    }
    *out = t;
    return PARE_OK;
}
