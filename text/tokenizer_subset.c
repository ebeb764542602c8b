/* Subsets of tokenizers: what all kinds share. See tokenizer_subset.h. */
#include "text/tokenizer_subset.h"

#include <string.h>

#include "text/tokenizer_impl.h"
#include "text/unicode.h"

bool pare_piece_is_character(const char *piece, size_t size) {
    const char *at = piece;
    if (size == 0) {
        return false;
    }
    (void)pare_utf8_next(&at, piece + size);
    return at == piece + size;
}

/* The same tokenizer but for the kind's last step: a copy that owns nothing. */
PareStatus pare_tokenizer_trace(const PareTokenizer *t, PareSide side, const char *text,
                                size_t size, PareIds *out, PareError *err) {
    if (t->kind->trace == NULL) {
        return pare_tokenizer_encode(t, side, text, size, false, out, err);
    }
    PareTokenizerKind kind = *t->kind;
    PareTokenizer tracing = *t;
    kind.encode = kind.trace;
    tracing.kind = &kind;
    return pare_tokenizer_encode(&tracing, side, text, size, false, out, err);
}

PareStatus pare_tokenizer_parts(const PareTokenizer *t, int32_t id, PareIds *out, PareError *err) {
    size_t size;
    if (id < 0 || (uint32_t)id >= t->vocab.count) {
        return pare_error_set(err, PARE_E_USAGE, "id %d is not of a vocabulary of %u", id,
                              t->vocab.count);
    }
    const char *piece = pare_vocab_piece(&t->vocab, id, &size);
    int32_t twin = pare_vocab_find(&t->vocab, piece, size);
    if (twin >= 0 && twin != id && !pare_ids_push(out, twin)) {
        return pare_memory_error(err, "a token's parts");
    }
    return t->kind->parts != NULL ? t->kind->parts(t, id, out, err) : PARE_OK;
}

static void mark_template(const PareTemplate *p, bool *keep) {
    for (size_t i = 0; i < p->count; i++) {
        if (p->items[i].id >= 0) {
            keep[p->items[i].id] = true;
        }
    }
}

static void mark_specials(const PareTokenizer *t, bool *keep) {
    for (size_t i = 0; i < PARE_ROLE_COUNT; i++) {
        if (t->roles[i] >= 0) {
            keep[t->roles[i]] = true;
        }
    }
    for (size_t i = 0; i < t->added_count; i++) {
        keep[t->added[i].id] = true;
    }
    mark_template(&t->single, keep);
    mark_template(&t->pair, keep);
}

static PareStatus check_size(const PareTokenizer *t, size_t size, PareError *err) {
    if (size >= t->vocab.count) {
        return PARE_OK;
    }
    return pare_error_set(err, PARE_E_USAGE, "the tokenizer has %u ids but the table only %zu rows",
                          t->vocab.count, size);
}

PareStatus pare_tokenizer_close_subset(const PareTokenizer *t, bool *keep, size_t size,
                                       PareError *err) {
    PareIds parts = {0};
    PareStatus status = check_size(t, size, err);
    if (status != PARE_OK) {
        return status;
    }
    mark_specials(t, keep);
    t->kind->mark(t, keep);
    /* The parts of a part are parts of the whole, so one walk is enough, in whatever order. */
    for (uint32_t id = 0; id < t->vocab.count && status == PARE_OK; id++) {
        parts.count = 0;
        if (keep[id]) {
            status = pare_tokenizer_parts(t, (int32_t)id, &parts, err);
        }
        for (size_t i = 0; i < parts.count; i++) {
            keep[parts.data[i]] = true;
        }
    }
    pare_ids_free(&parts);
    return status;
}

/* ---- The smaller tokenizer --------------------------------------------------------------------
 */

static PareStatus check_closed(const PareTokenizer *t, const bool *keep, PareError *err) {
    size_t size = t->vocab.count;
    bool *closed = pare_alloc(size, sizeof *closed);
    if (closed == NULL) {
        return pare_memory_error(err, "a vocabulary");
    }
    memcpy(closed, keep, size * sizeof *closed);
    PareStatus status = pare_tokenizer_close_subset(t, closed, size, err);
    for (size_t id = 0; id < size && status == PARE_OK; id++) {
        if (closed[id] && !keep[id]) {
            status = pare_error_set(
                err, PARE_E_USAGE,
                "the vocabulary lacks token %zu ('%.80s'), which the tokenizer cannot do without",
                id, pare_tokenizer_piece(t, (int32_t)id));
        }
    }
    pare_free(closed);
    return status;
}

static PareStatus reduce_vocab(const PareTokenizer *t, const int32_t *map, PareTokenizer *to,
                               PareError *err) {
    PareBuffer text = {0};
    uint64_t count = 0;
    for (uint32_t id = 0; id < t->vocab.count; id++) {
        if (map[id] >= 0) {
            size_t size;
            const char *piece = pare_vocab_piece(&t->vocab, id, &size);
            pare_buffer_append(&text, piece, size + 1);
            count++;
        }
    }
    PareStatus status = pare_buffer_ok(&text, "a vocabulary", err);
    if (status == PARE_OK) {
        status = pare_vocab_from_text(text.data, text.size, count, "the smaller vocabulary",
                                      &to->vocab, err);
    }
    pare_buffer_free(&text);
    return status;
}

static PareTemplate reduce_template(const PareTemplate *p, const int32_t *map) {
    PareTemplate out = *p;
    for (size_t i = 0; i < p->count; i++) {
        out.items[i].id = p->items[i].id >= 0 ? map[p->items[i].id] : p->items[i].id;
    }
    return out;
}

static PareStatus reduce_specials(const PareTokenizer *t, const int32_t *map, PareTokenizer *to,
                                  PareError *err) {
    for (size_t i = 0; i < PARE_ROLE_COUNT; i++) {
        to->roles[i] = t->roles[i] >= 0 ? map[t->roles[i]] : -1;
    }
    to->single = reduce_template(&t->single, map);
    to->pair = reduce_template(&t->pair, map);
    to->cleanup = t->cleanup;
    memcpy(to->files, t->files, sizeof to->files);
    to->file_count = t->file_count;
    to->added = pare_alloc(t->added_count, sizeof *to->added);
    if (to->added == NULL) {
        return pare_memory_error(err, "added tokens");
    }
    for (size_t i = 0; i < t->added_count; i++) {
        to->added[i] = (PareAddedToken){map[t->added[i].id], t->added[i].flags};
    }
    to->added_count = t->added_count;
    return PARE_OK;
}

PareStatus pare_tokenizer_subset(const PareTokenizer *t, const bool *keep, size_t size,
                                 PareTokenizer **out, PareError *err) {
    PareTokenizer *to = NULL;
    int32_t *map = NULL, count = 0;
    *out = NULL;
    PareStatus status = check_size(t, size, err);
    if (status == PARE_OK) {
        status = check_closed(t, keep, err);
    }
    if (status != PARE_OK) {
        return status;
    }
    to = pare_tokenizer_create(t->kind);
    map = pare_alloc(t->vocab.count, sizeof *map);
    if (to == NULL || map == NULL) {
        status = pare_memory_error(err, "a tokenizer");
        goto done;
    }
    for (uint32_t id = 0; id < t->vocab.count; id++) {
        map[id] = keep[id] ? count++ : -1;
    }
    status = reduce_vocab(t, map, to, err);
    if (status == PARE_OK) {
        status = reduce_specials(t, map, to, err);
    }
    if (status == PARE_OK) {
        status = t->kind->reduce(t, map, to, err);
    }
    if (status == PARE_OK) {
        status = pare_tokenizer_finish(to, "the smaller tokenizer", err);
    }
done:
    pare_free(map);
    if (status == PARE_OK) {
        *out = to;
    } else {
        pare_tokenizer_free(to);
    }
    return status;
}
