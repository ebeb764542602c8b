/* What every kind of tokenizer shares: ids, added tokens in the text, templates, truncation,
 * decoding. See tokenizer.h and tokenizer_impl.h. */
#include "text/tokenizer.h"

#include <string.h>

#include "text/tokenizer_impl.h"
#include "text/unicode.h"

/* ---- Lists of ids -----------------------------------------------------------------------------
 */

static bool reserve_ids(PareIds *ids, size_t more) {
    size_t need;
    if (!pare_size_add(ids->count, more, &need)) {
        return false;
    }
    if (need <= ids->capacity) {
        return true;
    }
    size_t capacity = ids->capacity < 32 ? 32 : ids->capacity + ids->capacity / 2;
    capacity = capacity < need ? need : capacity;
    int32_t *grown = pare_realloc(ids->data, capacity, sizeof *grown);
    if (grown == NULL) {
        return false;
    }
    ids->data = grown;
    ids->capacity = capacity;
    return true;
}

bool pare_ids_push(PareIds *ids, int32_t id) {
    if (ids->count == ids->capacity && !reserve_ids(ids, 1)) {
        return false;
    }
    ids->data[ids->count++] = id;
    return true;
}

bool pare_ids_append(PareIds *ids, const int32_t *more, size_t count) {
    if (!reserve_ids(ids, count)) {
        return false;
    }
    if (count > 0) {
        memcpy(ids->data + ids->count, more, count * sizeof *more);
    }
    ids->count += count;
    return true;
}

void pare_ids_free(PareIds *ids) {
    pare_free(ids->data);
    *ids = (PareIds){0};
}

/* ---- Life -------------------------------------------------------------------------------------
 */

const PareTokenizerKind *pare_kind_by_code(uint64_t code) {
    static const PareTokenizerKind *const kinds[] = {&pare_kind_wordpiece, &pare_kind_bpe,
                                                     &pare_kind_unigram};
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (kinds[i]->code == code) {
            return kinds[i];
        }
    }
    return NULL;
}

PareTokenizer *pare_tokenizer_create(const PareTokenizerKind *kind) {
    PareTokenizer *t = pare_alloc(1, sizeof *t);
    if (t != NULL) {
        t->kind = kind;
        for (size_t i = 0; i < PARE_ROLE_COUNT; i++) {
            t->roles[i] = -1;
        }
    }
    return t;
}

void pare_tokenizer_free(PareTokenizer *t) {
    if (t == NULL) {
        return;
    }
    t->kind->free(t);
    pare_matcher_free(&t->raw);
    pare_matcher_free(&t->normalized);
    pare_vocab_free(&t->vocab);
    pare_free(t->added);
    pare_free(t);
}

static bool id_fits(const PareTokenizer *t, int32_t id) {
    return id >= 0 && (uint32_t)id < t->vocab.count;
}

static bool template_fits(const PareTokenizer *t, const PareTemplate *p, bool pair) {
    size_t first = 0, second = 0;
    for (size_t i = 0; i < p->count; i++) {
        first += p->items[i].id == PARE_TEMPLATE_A ? 1 : 0;
        second += p->items[i].id == PARE_TEMPLATE_B ? 1 : 0;
        if (p->items[i].id < PARE_TEMPLATE_B ||
            (p->items[i].id >= 0 && !id_fits(t, p->items[i].id))) {
            return false;
        }
    }
    return first == 1 && second == (pair ? 1 : 0);
}

PareStatus pare_tokenizer_finish(PareTokenizer *t, const char *name, PareError *err) {
    for (size_t i = 0; i < PARE_ROLE_COUNT; i++) {
        if (t->roles[i] != -1 && !id_fits(t, t->roles[i])) {
            return pare_error_set(err, PARE_E_FORMAT, "%s: special id %d of a vocabulary of %u",
                                  name, t->roles[i], t->vocab.count);
        }
    }
    for (size_t i = 0; i < t->added_count; i++) {
        if (!id_fits(t, t->added[i].id) || (i > 0 && t->added[i].id <= t->added[i - 1].id)) {
            return pare_error_set(err, PARE_E_FORMAT,
                                  "%s: added token %zu has id %d; ids must ascend and be below %u",
                                  name, i, t->added[i].id, t->vocab.count);
        }
    }
    if (!template_fits(t, &t->single, false) || !template_fits(t, &t->pair, true)) {
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: the templates must hold each text once, and known ids", name);
    }
    PareStatus status = t->kind->finish(t, name, err);
    return status == PARE_OK ? pare_matchers_build(t, err) : status;
}

/* ---- Looking up -------------------------------------------------------------------------------
 */

const char *const *pare_tokenizer_files(const PareTokenizer *t, size_t *n) {
    *n = t->file_count;
    return t->files;
}

const char *pare_tokenizer_kind(const PareTokenizer *t) {
    return t->kind->name;
}

size_t pare_tokenizer_size(const PareTokenizer *t) {
    return t->vocab.count;
}

int32_t pare_tokenizer_id(const PareTokenizer *t, const char *piece) {
    return pare_vocab_find(&t->vocab, piece, strlen(piece));
}

const char *pare_tokenizer_piece(const PareTokenizer *t, int32_t id) {
    return pare_vocab_piece(&t->vocab, id, NULL);
}

bool pare_tokenizer_is_special(const PareTokenizer *t, int32_t id) {
    size_t low = 0, high = t->added_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (t->added[middle].id < id) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < t->added_count && t->added[low].id == id &&
           (t->added[low].flags & PARE_TOKEN_SPECIAL) != 0;
}

int32_t pare_tokenizer_eos(const PareTokenizer *t) {
    return t->roles[PARE_ROLE_EOS];
}

int32_t pare_tokenizer_pad(const PareTokenizer *t) {
    return t->roles[PARE_ROLE_PAD];
}

int32_t pare_tokenizer_bos(const PareTokenizer *t) {
    return t->roles[PARE_ROLE_BOS];
}

/* ---- Text to ids ------------------------------------------------------------------------------
 */

/* Ids of text[from..to) between added tokens of one matcher. */
typedef PareStatus (*EncodeSpan)(const PareTokenizer *t, PareSide side, const char *text,
                                 size_t size, PareIds *out, PareError *err);

static PareStatus encode_between(const PareTokenizer *t, const PareMatcher *m, EncodeSpan span,
                                 PareSide side, const char *text, size_t size, PareIds *out,
                                 PareError *err) {
    size_t at = 0;
    PareStatus status = PARE_OK;
    PareMatch match;
    while (pare_matcher_next(m, t, text, size, at, &match)) {
        if (match.begin > at) {
            status = span(t, side, text + at, match.begin - at, out, err);
        }
        if (status == PARE_OK && !pare_ids_push(out, match.id)) {
            status = pare_memory_error(err, "token ids");
        }
        if (status != PARE_OK) {
            return status;
        }
        at = match.end;
    }
    return at < size ? span(t, side, text + at, size - at, out, err) : PARE_OK;
}

/* Text without raw added tokens: normalize, look for the others. */
static PareStatus encode_span(const PareTokenizer *t, PareSide side, const char *text, size_t size,
                              PareIds *out, PareError *err) {
    if (t->kind->normalize == NULL) {
        return t->kind->encode(t, side, text, size, out, err);
    }
    PareBuffer normalized = {0};
    t->kind->normalize(t, text, size, &normalized);
    PareStatus status = pare_buffer_ok(&normalized, "a normalized text", err);
    if (status == PARE_OK && normalized.size > 0) {
        status = encode_between(t, &t->normalized, t->kind->encode, side, normalized.data,
                                normalized.size, out, err);
    }
    pare_buffer_free(&normalized);
    return status;
}

PareStatus pare_tokenizer_encode_plain(const PareTokenizer *t, PareSide side, const char *text,
                                       size_t size, PareIds *out, PareError *err) {
    return encode_span(t, side, text, size, out, err);
}

static PareStatus encode_text(const PareTokenizer *t, PareSide side, const char *text, size_t size,
                              PareIds *out, PareError *err) {
    if (pare_utf8_valid(text, size)) {
        return encode_between(t, &t->raw, encode_span, side, text, size, out, err);
    }
    PareBuffer valid = {0};
    pare_utf8_append_lossy(&valid, text, size);
    PareStatus status = pare_buffer_ok(&valid, "a text", err);
    if (status == PARE_OK) {
        status = encode_between(t, &t->raw, encode_span, side, valid.data, valid.size, out, err);
    }
    pare_buffer_free(&valid);
    return status;
}

/* ---- Templates --------------------------------------------------------------------------------
 */

static PareStatus fill_template(const PareTemplate *p, const PareIds *a, const PareIds *b,
                                PareIds *out, PareIds *types, PareError *err) {
    for (size_t i = 0; i < p->count; i++) {
        const PareTemplateItem *item = &p->items[i];
        const PareIds *text = item->id == PARE_TEMPLATE_A ? a : b;
        size_t n = item->id < 0 ? text->count : 1;
        bool ok = pare_ids_append(out, item->id < 0 ? text->data : &item->id, n);
        for (size_t k = 0; k < n && ok && types != NULL; k++) {
            ok = pare_ids_push(types, item->type);
        }
        if (!ok) {
            return pare_memory_error(err, "token ids");
        }
    }
    return PARE_OK;
}

size_t pare_tokenizer_template_size(const PareTokenizer *t, bool pair) {
    return pair ? t->pair.count - 2 : t->single.count - 1;
}

PareStatus pare_tokenizer_encode(const PareTokenizer *t, PareSide side, const char *text,
                                 size_t size, bool specials, PareIds *out, PareError *err) {
    bool cut;
    return specials ? pare_tokenizer_encode_limit(t, side, text, size, SIZE_MAX, &cut, out, err)
                    : encode_text(t, side, text, size, out, err);
}

PareStatus pare_tokenizer_encode_limit(const PareTokenizer *t, PareSide side, const char *text,
                                       size_t size, size_t limit, bool *cut, PareIds *out,
                                       PareError *err) {
    size_t extra = pare_tokenizer_template_size(t, false);
    *cut = false;
    if (limit < extra) {
        return pare_error_set(err, PARE_E_USAGE,
                              "a limit of %zu tokens leaves no room: the template alone has %zu",
                              limit, extra);
    }
    PareIds ids = {0};
    PareStatus status = encode_text(t, side, text, size, &ids, err);
    if (status == PARE_OK) {
        if (ids.count > limit - extra) {
            ids.count = limit - extra;
            *cut = true;
        }
        status = fill_template(&t->single, &ids, NULL, out, NULL, err);
    }
    pare_ids_free(&ids);
    return status;
}

PareStatus pare_tokenizer_encode_pair(const PareTokenizer *t, const char *a, size_t a_size,
                                      const char *b, size_t b_size, PareIds *out, PareIds *types,
                                      PareError *err) {
    PareIds first = {0}, second = {0};
    PareStatus status = encode_text(t, PARE_SIDE_SOURCE, a, a_size, &first, err);
    if (status == PARE_OK) {
        status = encode_text(t, PARE_SIDE_SOURCE, b, b_size, &second, err);
    }
    if (status == PARE_OK) {
        status = fill_template(&t->pair, &first, &second, out, types, err);
    }
    pare_ids_free(&first);
    pare_ids_free(&second);
    return status;
}

/* ---- Ids to text ------------------------------------------------------------------------------
 */

PareStatus pare_tokenizer_decode(const PareTokenizer *t, PareSide side, const int32_t *ids,
                                 size_t count, bool skip_special, PareBuffer *out, PareError *err) {
    PareIds kept = {0};
    PareStatus status = PARE_OK;
    size_t from = out->size;
    for (size_t i = 0; i < count; i++) {
        if (!id_fits(t, ids[i])) {
            status = pare_error_set(err, PARE_E_USAGE, "id %d is not of a vocabulary of %u", ids[i],
                                    t->vocab.count);
            goto done;
        }
        if (skip_special && pare_tokenizer_is_special(t, ids[i])) {
            continue;
        }
        if (!pare_ids_push(&kept, ids[i])) {
            status = pare_memory_error(err, "token ids");
            goto done;
        }
    }
    t->kind->decode(t, side, kept.data, kept.count, out);
    if (t->cleanup == PARE_CLEANUP_TEXT) {
        pare_clean_up(out, from);
    }
    status = pare_buffer_ok(out, "a decoded text", err);
done:
    pare_ids_free(&kept);
    return status;
}
