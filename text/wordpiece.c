/* WordPiece: text is cleaned, split at blanks and punctuation, and each word is covered greedily by
 * the longest pieces, those behind the first with the prefix "##". Matches the reference's fast
 * tokenizer (normalizer, pre-tokenizer and model), whose character classes differ in details from
 * its slow one: unassigned characters stay, a final capital sigma becomes a plain small one. */
#include <string.h>

#include "text/tokenizer_impl.h"
#include "text/unicode.h"

enum { FLAG_CLEAN = 1, FLAG_IDEOGRAPHS = 2, FLAG_STRIP_ACCENTS = 4, FLAG_LOWERCASE = 8 };

/* ---- Normalizing ------------------------------------------------------------------------------
 */

static void put_lower(const PareWordPiece *w, uint32_t c, PareBuffer *out) {
    uint32_t lower[2];
    size_t n = w->lowercase ? pare_unicode_lower(c, lower) : 0;
    if (n == 0) {
        pare_utf8_append(out, c);
    }
    for (size_t i = 0; i < n; i++) {
        pare_utf8_append(out, lower[i]);
    }
}

/* Decomposes, drops nonspacing marks, lower-cases: in this order, as the reference. */
static void put_folded(const PareWordPiece *w, uint32_t c, PareBuffer *out) {
    if (!w->strip_accents) {
        put_lower(w, c, out);
        return;
    }
    uint32_t parts[PARE_DECOMPOSITION_MAX];
    size_t n = pare_unicode_decompose(c, parts);
    for (size_t i = 0; i < n; i++) {
        if (!pare_unicode_is_nonspacing(parts[i])) {
            put_lower(w, parts[i], out);
        }
    }
}

static void put_character(const PareWordPiece *w, uint32_t c, PareBuffer *out) {
    if (w->clean) {
        bool blank = c == '\t' || c == '\n' || c == '\r';
        if (c == 0 || c == PARE_REPLACEMENT || (!blank && pare_unicode_is_control(c))) {
            return;
        }
        if (blank || pare_unicode_is_space(c)) {
            c = ' ';
        }
    }
    if (w->ideographs && pare_unicode_is_ideograph(c)) {
        pare_buffer_putc(out, ' ');
        put_folded(w, c, out);
        pare_buffer_putc(out, ' ');
    } else {
        put_folded(w, c, out);
    }
}

static void normalize(const PareTokenizer *t, const char *text, size_t size, PareBuffer *out) {
    const PareWordPiece *w = &t->wordpiece;
    const char *at = text, *end = text + size;
    while (at < end) {
        uint8_t byte = (uint8_t)*at;
        if (byte >= 0x20 && byte < 0x7F) { /* nothing but its case can change */
            bool capital = w->lowercase && byte >= 'A' && byte <= 'Z';
            pare_buffer_putc(out, (char)(capital ? byte + 32 : byte));
            at++;
        } else {
            put_character(w, pare_utf8_next(&at, end), out);
        }
    }
}

/* ---- Words to pieces --------------------------------------------------------------------------
 */

/* `passed`: the pieces of a word that turns out to be unknown stay before the unknown token. */
static bool encode_word(const PareTokenizer *t, const char *word, size_t size, bool passed,
                        PareIds *out) {
    const PareTrie *trie = &t->wordpiece.trie;
    size_t before = out->count;
    for (size_t at = 0; at < size;) {
        int32_t id = -1;
        size_t end = at;
        uint32_t node = at == 0 ? 0 : t->wordpiece.inside;
        for (size_t i = at; i < size && (at == 0 || node != 0); i++) {
            node = pare_trie_step(trie, node, (uint8_t)word[i]);
            if (node == 0) {
                break;
            }
            if (pare_trie_value(trie, node) >= 0) {
                id = pare_trie_value(trie, node);
                end = i + 1;
            }
        }
        if (id < 0) { /* one part unknown: the whole word is */
            out->count = passed ? out->count : before;
            return pare_ids_push(out, t->roles[PARE_ROLE_UNKNOWN]);
        }
        if (!pare_ids_push(out, id)) {
            return false;
        }
        at = end;
    }
    return true;
}

static PareStatus encode_words(const PareTokenizer *t, const char *text, size_t size, bool passed,
                               PareIds *out, PareError *err) {
    const char *at = text, *end = text + size, *word = text;
    size_t chars = 0; /* of the word so far */
    bool ok = true;
    while (ok && at <= end) {
        const char *here = at;
        uint32_t c = at < end ? pare_utf8_next(&at, end) : ' ';
        bool mark = pare_unicode_is_punctuation(c);
        if (!mark && !pare_unicode_is_space(c)) {
            chars++;
            continue;
        }
        if (chars > t->wordpiece.max_chars) {
            ok = pare_ids_push(out, t->roles[PARE_ROLE_UNKNOWN]);
        } else if (chars > 0) {
            ok = encode_word(t, word, (size_t)(here - word), passed, out);
        }
        if (ok && mark) {
            ok = encode_word(t, here, (size_t)(at - here), passed, out);
        }
        word = at;
        chars = 0;
        if (here == end) {
            break;
        }
    }
    return ok ? PARE_OK : pare_memory_error(err, "token ids");
}

static PareStatus encode(const PareTokenizer *t, PareSide side, const char *text, size_t size,
                         PareIds *out, PareError *err) {
    (void)side;
    return encode_words(t, text, size, false, out, err);
}

/* ---- Pieces to text ---------------------------------------------------------------------------
 */

static void decode(const PareTokenizer *t, PareSide side, const int32_t *ids, size_t count,
                   PareBuffer *out) {
    (void)side;
    size_t prefix = strlen(t->wordpiece.prefix);
    for (size_t i = 0; i < count; i++) {
        size_t size, from = out->size;
        const char *piece = pare_vocab_piece(&t->vocab, ids[i], &size);
        if (i > 0 && prefix > 0 && strncmp(piece, t->wordpiece.prefix, prefix) == 0) {
            pare_buffer_append(out, piece + prefix, size - prefix);
        } else {
            pare_buffer_puts(out, i > 0 ? " " : "");
            pare_buffer_append(out, piece, size);
        }
        if (t->cleanup == PARE_CLEANUP_TOKENS) {
            pare_clean_up(out, from);
        }
    }
}

/* ---- The compact form, and building -----------------------------------------------------------
 */

static void write_form(const PareTokenizer *t, PareBuffer *out) {
    const PareWordPiece *w = &t->wordpiece;
    unsigned flags = (w->clean ? FLAG_CLEAN : 0u) | (w->ideographs ? FLAG_IDEOGRAPHS : 0u) |
                     (w->strip_accents ? FLAG_STRIP_ACCENTS : 0u) |
                     (w->lowercase ? FLAG_LOWERCASE : 0u);
    pare_buffer_put_varint(out, flags);
    pare_buffer_put_varint(out, w->max_chars);
    pare_buffer_put_varint(out, strlen(w->prefix));
    pare_buffer_puts(out, w->prefix);
}

static PareStatus read_form(PareTokenizer *t, PareCursor *in, const char *name, PareError *err) {
    PareWordPiece *w = &t->wordpiece;
    uint64_t flags = pare_cursor_varint(in);
    uint64_t max_chars = pare_cursor_varint(in);
    uint64_t size = pare_cursor_varint(in);
    const uint8_t *prefix = size <= pare_cursor_left(in) ? pare_cursor_take(in, size) : NULL;
    if (in->bad || flags > 15 || max_chars > UINT32_MAX || prefix == NULL ||
        memchr(prefix, 0, size) != NULL) {
        return pare_error_set(err, PARE_E_FORMAT, "%s: the WordPiece part is damaged", name);
    }
    w->clean = (flags & FLAG_CLEAN) != 0;
    w->ideographs = (flags & FLAG_IDEOGRAPHS) != 0;
    w->strip_accents = (flags & FLAG_STRIP_ACCENTS) != 0;
    w->lowercase = (flags & FLAG_LOWERCASE) != 0;
    w->max_chars = (uint32_t)max_chars;
    w->prefix = pare_alloc(size + 1, 1);
    if (w->prefix == NULL) {
        return pare_memory_error(err, name);
    }
    memcpy(w->prefix, prefix, size);
    return PARE_OK;
}

static PareStatus finish(PareTokenizer *t, const char *name, PareError *err) {
    PareWordPiece *w = &t->wordpiece;
    if (t->roles[PARE_ROLE_UNKNOWN] < 0) {
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: the WordPiece vocabulary lacks its unknown token", name);
    }
    for (uint32_t id = 0; id < t->vocab.count; id++) {
        size_t size;
        const char *piece = pare_vocab_piece(&t->vocab, id, &size);
        if (!pare_trie_insert(&w->trie, piece, size, (int32_t)id)) {
            return pare_memory_error(err, "a vocabulary's trie");
        }
    }
    w->inside = pare_trie_walk(&w->trie, 0, w->prefix, strlen(w->prefix));
    return PARE_OK;
}

static void free_model(PareTokenizer *t) {
    pare_trie_free(&t->wordpiece.trie);
    pare_free(t->wordpiece.prefix);
}

/* ---- Subsets ----------------------------------------------------------------------------------
 */

/* A word stays unknown only where the longest pieces lead to the place at which nothing fits: a
 * shorter first piece could lead around it. */
static PareStatus trace(const PareTokenizer *t, PareSide side, const char *text, size_t size,
                        PareIds *out, PareError *err) {
    (void)side;
    return encode_words(t, text, size, true, out, err);
}

static void mark(const PareTokenizer *t, bool *keep) {
    size_t prefix = strlen(t->wordpiece.prefix);
    for (uint32_t id = 0; id < t->vocab.count; id++) {
        size_t size;
        const char *piece = pare_vocab_piece(&t->vocab, id, &size);
        if (size > prefix && memcmp(piece, t->wordpiece.prefix, prefix) == 0) {
            keep[id] = keep[id] || pare_piece_is_character(piece + prefix, size - prefix);
        }
        keep[id] = keep[id] || pare_piece_is_character(piece, size);
    }
}

static PareStatus reduce(const PareTokenizer *t, const int32_t *map, PareTokenizer *to,
                         PareError *err) {
    (void)map;
    const PareWordPiece *from = &t->wordpiece;
    to->wordpiece = (PareWordPiece){.max_chars = from->max_chars,
                                    .clean = from->clean,
                                    .ideographs = from->ideographs,
                                    .strip_accents = from->strip_accents,
                                    .lowercase = from->lowercase,
                                    .prefix = pare_strdup(from->prefix)};
    return to->wordpiece.prefix != NULL ? PARE_OK : pare_memory_error(err, "a tokenizer");
}

const PareTokenizerKind pare_kind_wordpiece = {
    .name = "WordPiece",
    .code = 1,
    .normalize = normalize,
    .encode = encode,
    .decode = decode,
    .write = write_form,
    .read = read_form,
    .finish = finish,
    .free = free_model,
    .trace = trace,
    .mark = mark,
    .reduce = reduce,
};
