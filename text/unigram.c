/* Sentencepiece unigram: the most probable cover of the normalized text by pieces, found as
 * sentencepiece 0.1.97 finds it (EncodeOptimized), down to its mixture of float and double.
 *
 * One model whose indices are the ids, or a model for each side whose pieces a common vocabulary
 * maps to ids (`two_sides`). */
#include <string.h>

#include "text/tokenizer_impl.h"
#include "text/unicode.h"

enum { FLAG_TWO_SIDES = 1, FLAG_LANGUAGE_CODE = 2, FLAG_SECOND_MODEL = 4 };
enum {
    MODEL_DUMMY_PREFIX = 1,
    MODEL_EXTRA_BLANKS = 2,
    MODEL_ESCAPE = 4,
    MODEL_SUFFIX = 8,
    MODEL_BYTES = 16,
    MODEL_SAME_CHARSMAP = 32,
    MODEL_FLAGS = 63
};
static const char blank_symbol[] = "\xE2\x96\x81";

static const PareSpm *model_of(const PareTokenizer *t, PareSide side) {
    const PareUnigram *u = &t->unigram;
    return side == PARE_SIDE_TARGET && u->models[1].pieces.count > 0 ? &u->models[1]
                                                                     : &u->models[0];
}

/* ---- Viterbi ----------------------------------------------------------------------------------
 */

/* The best path that ends at a byte of the text. */
typedef struct {
    float score;
    int32_t piece;
    uint32_t start;  /* of the last piece; NO_PATH: nothing ends here */
    uint32_t follow; /* filled at the end: where the next piece of the best path ends */
} Node;
static const uint32_t no_path = UINT32_MAX;

static size_t character_length(const char *text, size_t left) {
    size_t length = (size_t) "\1\1\1\1\1\1\1\1\1\1\1\1\2\2\3\4"[(uint8_t)*text >> 4];
    return length < left ? length : left;
}

/* The reference computes a piece's score as a double (its 0.1 makes it one), compares it so, and
 * keeps it as a float; the unknown piece's is a float throughout. */
static void offer(Node *node, double score, int32_t piece, size_t start) {
    if (node->start == no_path || score > (double)node->score) {
        node->score = (float)score;
        node->piece = piece;
        node->start = (uint32_t)start;
    }
}

static void extend_paths(const PareSpm *m, const char *text, size_t size, size_t start,
                         size_t length, Node *nodes) {
    float so_far = nodes[start].score;
    bool single = false;
    uint32_t node = 0;
    for (size_t i = start; i < size; i++) {
        node = pare_trie_step(&m->trie, node, (uint8_t)text[i]);
        if (node == 0) {
            break;
        }
        int32_t piece = pare_trie_value(&m->trie, node);
        if (piece < 0 || m->types[piece] == PARE_SPM_UNUSED) {
            continue;
        }
        double score = m->types[piece] == PARE_SPM_USER_DEFINED
                           ? (double)((float)(i + 1 - start) * m->max_score) - 0.1
                           : (double)m->scores[piece];
        offer(&nodes[i + 1], score + (double)so_far, piece, start);
        single = single || i + 1 - start == length;
    }
    if (!single) {
        float unknown = m->min_score - 10.0f;
        offer(&nodes[start + length], (double)(unknown + so_far), m->unknown, start);
    }
}

/* Fills nodes[0..size]; returns where the first piece of the best path ends. */
static size_t best_path(const PareSpm *m, const char *text, size_t size, Node *nodes) {
    for (size_t i = 0; i <= size; i++) {
        nodes[i] = (Node){0, -1, no_path, 0};
    }
    for (size_t at = 0; at < size;) {
        size_t length = character_length(text + at, size - at);
        extend_paths(m, text, size, at, length, nodes);
        at += length;
    }
    uint32_t follow = 0;
    for (uint32_t end = (uint32_t)size; end > 0; end = nodes[end].start) {
        nodes[end].follow = follow;
        follow = end;
    }
    return follow;
}

/* ---- Text to ids ------------------------------------------------------------------------------
 */

static int32_t id_of(const PareTokenizer *t, const PareSpm *m, int32_t piece) {
    int32_t id = m->ids[piece];
    return id >= 0 ? id : t->roles[PARE_ROLE_UNKNOWN];
}

/* A run of unknown characters is one id: its text may still be in the common vocabulary. */
static int32_t id_of_unknown(const PareTokenizer *t, const PareSpm *m, const char *text,
                             size_t size) {
    int32_t id = t->unigram.two_sides ? pare_vocab_find(&t->vocab, text, size) : -1;
    return id >= 0 ? id : id_of(t, m, m->unknown);
}

static bool push_bytes(const PareTokenizer *t, const PareSpm *m, const char *text, size_t size,
                       PareIds *out) {
    for (size_t i = 0; i < size; i++) {
        if (!pare_ids_push(out, id_of(t, m, m->bytes[(uint8_t)text[i]]))) {
            return false;
        }
    }
    return true;
}

static bool push_path(const PareTokenizer *t, const PareSpm *m, const char *text, size_t size,
                      const Node *nodes, size_t end, PareIds *out) {
    size_t start = 0;
    bool ok = true;
    while (ok && start < size) {
        int32_t piece = nodes[end].piece;
        if (piece != m->unknown) {
            ok = pare_ids_push(out, id_of(t, m, piece));
        } else if (m->byte_fallback) {
            ok = push_bytes(t, m, text + start, end - start, out);
        } else {
            while (end < size && nodes[nodes[end].follow].piece == m->unknown) {
                end = nodes[end].follow;
            }
            ok = pare_ids_push(out, id_of_unknown(t, m, text + start, end - start));
        }
        start = end;
        end = nodes[end].follow;
    }
    return ok;
}

static PareStatus encode_plain(const PareTokenizer *t, const PareSpm *m, const char *text,
                               size_t size, PareIds *out, PareError *err) {
    PareBuffer normalized = {0};
    Node *nodes = NULL;
    pare_spm_normalize(&m->normalizer, text, size, &normalized);
    PareStatus status = pare_buffer_ok(&normalized, "a normalized text", err);
    if (status != PARE_OK || normalized.size == 0) {
        goto done;
    }
    if (normalized.size >= no_path) {
        status = pare_error_set(err, PARE_E_UNSUPPORTED,
                                "a text of %zu bytes is too long to encode", normalized.size);
        goto done;
    }
    nodes = pare_alloc(normalized.size + 1, sizeof *nodes);
    if (nodes == NULL) {
        status = pare_memory_error(err, "a text's pieces");
        goto done;
    }
    size_t first = best_path(m, normalized.data, normalized.size, nodes);
    if (!push_path(t, m, normalized.data, normalized.size, nodes, first, out)) {
        status = pare_memory_error(err, "token ids");
    }
done:
    pare_free(nodes);
    pare_buffer_free(&normalized);
    return status;
}

/* A language code is what the reference's pattern ">>.+<<" finds: from the first ">>" to the last
 * "<<" of the same line, with something between. */
static bool find_code(const char *text, size_t size, size_t from, size_t *begin, size_t *end) {
    for (size_t at = from; at + 5 <= size; at++) {
        if (text[at] != '>' || text[at + 1] != '>') {
            continue;
        }
        const char *line_end = memchr(text + at, '\n', size - at);
        size_t stop = line_end != NULL ? (size_t)(line_end - text) : size;
        for (size_t last = stop; last >= at + 5; last--) {
            if (text[last - 1] == '<' && text[last - 2] == '<') {
                *begin = at;
                *end = last;
                return true;
            }
        }
        if (stop == size) {
            return false; /* no later start can find one either */
        }
        at = stop;
    }
    return false;
}

/* As the reference: a code that begins the text is a token, and every code leaves the text. */
static PareStatus encode_with_code(const PareTokenizer *t, const PareSpm *m, const char *text,
                                   size_t size, PareIds *out, PareError *err) {
    PareBuffer rest = {0};
    size_t at = 0, begin, end;
    bool ok = true;
    while (ok && find_code(text, size, at, &begin, &end)) {
        if (begin == 0) {
            int32_t id = pare_vocab_find(&t->vocab, text, end);
            ok = pare_ids_push(out, id >= 0 ? id : t->roles[PARE_ROLE_UNKNOWN]);
        }
        pare_buffer_append(&rest, text + at, begin - at);
        at = end;
    }
    pare_buffer_append(&rest, text + at, size - at);
    PareStatus status =
        ok ? pare_buffer_ok(&rest, "a text", err) : pare_memory_error(err, "token ids");
    if (status == PARE_OK) {
        status = encode_plain(t, m, rest.data, rest.size, out, err);
    }
    pare_buffer_free(&rest);
    return status;
}

static PareStatus encode(const PareTokenizer *t, PareSide side, const char *text, size_t size,
                         PareIds *out, PareError *err) {
    const PareSpm *m = model_of(t, side);
    return t->unigram.language_code ? encode_with_code(t, m, text, size, out, err)
                                    : encode_plain(t, m, text, size, out, err);
}

/* ---- Ids to text ------------------------------------------------------------------------------
 */

/* U+2581 becomes a blank, at the start of the first piece nothing. */
static void append_unescaped(const char *piece, size_t size, bool first, PareBuffer *out) {
    for (size_t i = 0; i < size;) {
        if (size - i >= 3 && memcmp(piece + i, blank_symbol, 3) == 0) {
            pare_buffer_puts(out, first ? "" : " ");
            i += 3;
        } else {
            pare_buffer_putc(out, piece[i]);
            first = false;
            i++;
        }
    }
}

static void flush_bytes(PareBuffer *bytes, PareBuffer *out) {
    if (bytes->size > 0) {
        pare_utf8_append_lossy(out, bytes->data, bytes->size);
    }
    out->failed = out->failed || bytes->failed;
    pare_buffer_clear(bytes);
}

/* One piece as SentencePieceProcessor::Decode writes it; *begun: a blank at the start was eaten. */
static void append_piece(const PareSpm *m, const char *piece, size_t size, int32_t index,
                         bool at_start, bool *begun, PareBuffer *out) {
    const PareSpmNormalizer *n = &m->normalizer;
    *begun = false;
    if (index >= 0 && m->types[index] == PARE_SPM_CONTROL) {
        return;
    }
    if (index < 0) { /* unknown to this model: the surface itself */
        pare_buffer_append(out, piece, size);
        return;
    }
    if (index == m->unknown) {
        pare_buffer_puts(out, m->unknown_surface);
        return;
    }
    if (at_start && (n->add_dummy_prefix || n->remove_extra_whitespaces) && size >= 3 &&
        memcmp(piece, blank_symbol, 3) == 0) {
        piece += 3;
        size -= 3;
        *begun = !n->remove_extra_whitespaces;
    }
    append_unescaped(piece, size, false, out);
}

static void decode_pieces(const PareTokenizer *t, const PareSpm *m, const int32_t *ids,
                          size_t count, PareBuffer *out) {
    PareBuffer bytes = {0};
    size_t from = out->size;
    bool at_start = true, begun = false;
    for (size_t i = 0; i < count; i++) {
        size_t size;
        const char *piece = pare_vocab_piece(&t->vocab, ids[i], &size);
        int32_t index = pare_vocab_find(&m->pieces, piece, size);
        if (index >= 0 && m->types[index] == PARE_SPM_BYTE) {
            for (unsigned byte = 0; byte < 256; byte++) {
                if (m->bytes[byte] == index) {
                    pare_buffer_putc(&bytes, (char)byte);
                }
            }
            continue;
        }
        flush_bytes(&bytes, out);
        at_start = at_start && !begun && out->size == from;
        append_piece(m, piece, size, index, at_start, &begun, out);
    }
    flush_bytes(&bytes, out);
    pare_buffer_free(&bytes);
}

static bool is_stripped(uint32_t c) {
    return pare_unicode_is_space(c) || (c >= 0x1C && c <= 0x1F);
}

/* Appends text without the blanks at its ends. */
static void append_stripped(const char *text, size_t size, PareBuffer *out) {
    const char *at = text, *end = text + size;
    while (at < end) {
        const char *next = at;
        if (!is_stripped(pare_utf8_next(&next, end))) {
            break;
        }
        at = next;
    }
    while (end > at) {
        const char *previous = end;
        if (!is_stripped(pare_utf8_previous(&previous, at))) {
            break;
        }
        end = previous;
    }
    pare_buffer_append(out, at, (size_t)(end - at));
}

/* The reference's convert_tokens_to_string of two-sided tokenizers: special tokens stand between
 * runs that sentencepiece decodes, each with a blank behind it. */
static void decode_two_sides(const PareTokenizer *t, const PareSpm *m, const int32_t *ids,
                             size_t count, PareBuffer *out) {
    PareBuffer text = {0}, plain = {0};
    size_t from = 0;
    for (size_t i = 0; i <= count; i++) {
        bool special = i < count && pare_tokenizer_is_special(t, ids[i]);
        if (i == count || special) {
            decode_pieces(t, m, ids + from, i - from, &text);
            from = i + 1;
        }
        if (special) {
            pare_buffer_puts(&text, pare_vocab_piece(&t->vocab, ids[i], NULL));
            pare_buffer_putc(&text, ' ');
        }
    }
    if (text.size > 0) {
        append_unescaped(text.data, text.size, false, &plain);
    }
    if (plain.size > 0) {
        append_stripped(plain.data, plain.size, out);
    }
    out->failed = out->failed || text.failed || plain.failed;
    pare_buffer_free(&text);
    pare_buffer_free(&plain);
}

/* The reference's fast decoder of one model. */
static void decode_one_side(const PareTokenizer *t, const PareSpm *m, const int32_t *ids,
                            size_t count, PareBuffer *out) {
    PareBuffer bytes = {0};
    for (size_t i = 0; i < count; i++) {
        size_t size;
        const char *piece = pare_vocab_piece(&t->vocab, ids[i], &size);
        if ((uint32_t)ids[i] < m->pieces.count && m->types[ids[i]] == PARE_SPM_BYTE) {
            for (unsigned byte = 0; byte < 256; byte++) {
                if (m->bytes[byte] == ids[i]) {
                    pare_buffer_putc(&bytes, (char)byte);
                }
            }
            continue;
        }
        flush_bytes(&bytes, out);
        append_unescaped(piece, size, i == 0, out);
    }
    flush_bytes(&bytes, out);
    pare_buffer_free(&bytes);
}

static void decode(const PareTokenizer *t, PareSide side, const int32_t *ids, size_t count,
                   PareBuffer *out) {
    const PareSpm *m = model_of(t, side);
    if (t->unigram.two_sides) {
        decode_two_sides(t, m, ids, count, out);
    } else {
        decode_one_side(t, m, ids, count, out);
    }
}

/* ---- The compact form, and building -----------------------------------------------------------
 */

static uint64_t zigzag(int64_t v) {
    return v < 0 ? ((uint64_t)(-(v + 1)) << 1) + 1 : (uint64_t)v << 1;
}

static int64_t unzigzag(uint64_t v) {
    return (v & 1) != 0 ? -(int64_t)(v >> 1) - 1 : (int64_t)(v >> 1);
}

/* A piece: its place in the vocabulary, or its text where it is not there; type; score. */
static void write_pieces(const PareSpm *m, PareBuffer *out) {
    int64_t expected = 0;
    pare_buffer_put_varint(out, m->pieces.count);
    for (uint32_t i = 0; i < m->pieces.count; i++) {
        uint64_t place = m->ids[i] < 0 ? 0 : zigzag(m->ids[i] - expected) + 1;
        pare_buffer_put_varint(out, place << 3 | m->types[i]);
        if (place == 0) {
            size_t size;
            const char *piece = pare_vocab_piece(&m->pieces, i, &size);
            pare_buffer_put_varint(out, size);
            pare_buffer_append(out, piece, size);
        } else {
            expected = (int64_t)m->ids[i] + 1;
        }
        pare_buffer_put_f32(out, m->scores[i]);
    }
}

static void write_model(const PareSpm *m, const PareSpm *other, PareBuffer *out) {
    const PareSpmNormalizer *n = &m->normalizer;
    bool same =
        other != NULL && other->charsmap_size == m->charsmap_size &&
        (m->charsmap_size == 0 || memcmp(other->charsmap, m->charsmap, m->charsmap_size) == 0);
    pare_buffer_put_varint(out, (n->add_dummy_prefix ? MODEL_DUMMY_PREFIX : 0u) |
                                    (n->remove_extra_whitespaces ? MODEL_EXTRA_BLANKS : 0u) |
                                    (n->escape_whitespaces ? MODEL_ESCAPE : 0u) |
                                    (n->whitespace_as_suffix ? MODEL_SUFFIX : 0u) |
                                    (m->byte_fallback ? MODEL_BYTES : 0u) |
                                    (same ? MODEL_SAME_CHARSMAP : 0u));
    if (!same) {
        pare_buffer_put_varint(out, m->charsmap_size);
        pare_buffer_append(out, m->charsmap, m->charsmap_size);
    }
    pare_buffer_put_varint(out, strlen(m->unknown_surface));
    pare_buffer_puts(out, m->unknown_surface);
    write_pieces(m, out);
}

static void write_form(const PareTokenizer *t, PareBuffer *out) {
    const PareUnigram *u = &t->unigram;
    bool second = u->models[1].pieces.count > 0;
    pare_buffer_put_varint(out, (u->two_sides ? FLAG_TWO_SIDES : 0u) |
                                    (u->language_code ? FLAG_LANGUAGE_CODE : 0u) |
                                    (second ? FLAG_SECOND_MODEL : 0u));
    write_model(&u->models[0], NULL, out);
    if (second) {
        write_model(&u->models[1], &u->models[0], out);
    }
}

/* Copies the bytes that follow their length, NUL-terminated. */
static PareStatus read_bytes(PareCursor *in, const char *name, char **out, size_t *size,
                             PareError *err) {
    uint64_t length = pare_cursor_varint(in);
    const uint8_t *bytes =
        length <= pare_cursor_left(in) ? pare_cursor_take(in, (size_t)length) : NULL;
    if (in->bad || bytes == NULL) {
        return pare_error_set(err, PARE_E_FORMAT, "%s: the head of a unigram model is damaged",
                              name);
    }
    *size = (size_t)length;
    *out = pare_alloc(*size + 1, 1);
    if (*out == NULL) {
        return pare_memory_error(err, name);
    }
    memcpy(*out, bytes, *size);
    return PARE_OK;
}

static bool read_piece(const PareTokenizer *t, PareSpm *m, PareCursor *in, uint32_t i,
                       int64_t *expected, PareVocabBuilder *pieces) {
    uint64_t code = pare_cursor_varint(in);
    m->types[i] = (uint8_t)(code & 7);
    m->ids[i] = -1;
    if (code >> 3 == 0) {
        uint64_t size = pare_cursor_varint(in);
        const uint8_t *text =
            size <= pare_cursor_left(in) ? pare_cursor_take(in, (size_t)size) : NULL;
        if (text == NULL) {
            return false;
        }
        pare_vocab_builder_add(pieces, i, (const char *)text, (size_t)size);
    } else {
        int64_t id = *expected + unzigzag((code >> 3) - 1);
        if (id < 0 || id >= t->vocab.count) {
            return false;
        }
        size_t size;
        const char *text = pare_vocab_piece(&t->vocab, id, &size);
        pare_vocab_builder_add(pieces, i, text, size);
        m->ids[i] = (int32_t)id;
        *expected = id + 1;
    }
    m->scores[i] = pare_cursor_f32(in);
    return !in->bad && m->types[i] >= PARE_SPM_NORMAL && m->types[i] <= PARE_SPM_BYTE &&
           m->scores[i] - m->scores[i] == 0.0f; /* finite */
}

static PareStatus read_pieces(const PareTokenizer *t, PareSpm *m, PareCursor *in, const char *name,
                              PareError *err) {
    PareVocabBuilder pieces = {0};
    uint64_t count = pare_cursor_varint(in);
    if (in->bad || count == 0 || count > pare_cursor_left(in) / 5 || count > PARE_VOCAB_MAX) {
        return pare_error_set(err, PARE_E_FORMAT, "%s: a unigram model of %llu pieces", name,
                              (unsigned long long)count);
    }
    PareStatus status = PARE_OK;
    m->scores = pare_alloc((size_t)count, sizeof *m->scores);
    m->types = pare_alloc((size_t)count, sizeof *m->types);
    m->ids = pare_alloc((size_t)count, sizeof *m->ids);
    if (m->scores == NULL || m->types == NULL || m->ids == NULL) {
        return pare_memory_error(err, name);
    }
    int64_t expected = 0;
    for (uint32_t i = 0; i < count && status == PARE_OK; i++) {
        if (!read_piece(t, m, in, i, &expected, &pieces)) {
            status =
                pare_error_set(err, PARE_E_FORMAT, "%s: piece %u of the model is damaged", name, i);
        }
    }
    if (status == PARE_OK) {
        status = pare_vocab_build(&pieces, name, &m->pieces, err);
    }
    pare_vocab_builder_free(&pieces);
    return status;
}

static PareStatus read_model(const PareTokenizer *t, PareSpm *m, const PareSpm *other,
                             PareCursor *in, const char *name, PareError *err) {
    PareSpmNormalizer *n = &m->normalizer;
    uint64_t flags = pare_cursor_varint(in);
    bool same = (flags & MODEL_SAME_CHARSMAP) != 0;
    size_t surface_size = 0;
    PareStatus status = PARE_OK;
    if (in->bad || flags > MODEL_FLAGS || (same && other == NULL)) {
        return pare_error_set(err, PARE_E_FORMAT, "%s: the head of a unigram model is damaged",
                              name);
    }
    if (same) {
        m->charsmap_size = other->charsmap_size;
        m->charsmap = pare_alloc(m->charsmap_size + 1, 1);
        if (m->charsmap == NULL) {
            return pare_memory_error(err, name);
        }
        memcpy(m->charsmap, other->charsmap, m->charsmap_size);
    } else {
        status = read_bytes(in, name, &m->charsmap, &m->charsmap_size, err);
    }
    if (status == PARE_OK) {
        status = read_bytes(in, name, &m->unknown_surface, &surface_size, err);
    }
    if (status == PARE_OK && strlen(m->unknown_surface) != surface_size) {
        status =
            pare_error_set(err, PARE_E_FORMAT, "%s: the unknown surface holds a zero byte", name);
    }
    n->add_dummy_prefix = (flags & MODEL_DUMMY_PREFIX) != 0;
    n->remove_extra_whitespaces = (flags & MODEL_EXTRA_BLANKS) != 0;
    n->escape_whitespaces = (flags & MODEL_ESCAPE) != 0;
    n->whitespace_as_suffix = (flags & MODEL_SUFFIX) != 0;
    m->byte_fallback = (flags & MODEL_BYTES) != 0;
    return status == PARE_OK ? read_pieces(t, m, in, name, err) : status;
}

static PareStatus read_form(PareTokenizer *t, PareCursor *in, const char *name, PareError *err) {
    PareUnigram *u = &t->unigram;
    uint64_t flags = pare_cursor_varint(in);
    if (in->bad || flags > 7) {
        return pare_error_set(err, PARE_E_FORMAT, "%s: the unigram part is damaged", name);
    }
    u->two_sides = (flags & FLAG_TWO_SIDES) != 0;
    u->language_code = (flags & FLAG_LANGUAGE_CODE) != 0;
    PareStatus status = read_model(t, &u->models[0], NULL, in, name, err);
    if (status == PARE_OK && (flags & FLAG_SECOND_MODEL) != 0) {
        status = read_model(t, &u->models[1], &u->models[0], in, name, err);
    }
    return status;
}

static PareStatus finish(PareTokenizer *t, const char *name, PareError *err) {
    PareUnigram *u = &t->unigram;
    for (int i = 0; i < 2 && u->models[i].pieces.count > 0; i++) {
        PareStatus status = pare_spm_finish(&u->models[i], name, err);
        if (status != PARE_OK) {
            return status;
        }
    }
    if (t->roles[PARE_ROLE_UNKNOWN] < 0) {
        t->roles[PARE_ROLE_UNKNOWN] = u->models[0].ids[u->models[0].unknown];
    }
    if (t->roles[PARE_ROLE_UNKNOWN] < 0) {
        return pare_error_set(err, PARE_E_FORMAT, "%s: the vocabulary lacks its unknown token",
                              name);
    }
    return PARE_OK;
}

static void free_model(PareTokenizer *t) {
    pare_spm_free(&t->unigram.models[0]);
    pare_spm_free(&t->unigram.models[1]);
}

/* ---- Subsets ----------------------------------------------------------------------------------
 */

/* Without these texts would be normalized otherwise, characters become unknown, or the unknown
 * piece's and the user's pieces' scores change: they are those of the extreme pieces. */
static void mark_model(const PareSpm *m, bool *keep) {
    bool least = false, greatest = false;
    for (uint32_t i = 0; i < m->pieces.count; i++) {
        size_t size;
        const char *piece = pare_vocab_piece(&m->pieces, i, &size);
        bool normal = m->types[i] == PARE_SPM_NORMAL;
        bool needed = (!normal && m->types[i] != PARE_SPM_UNUSED) ||
                      (normal && pare_piece_is_character(piece, size)) ||
                      (normal && !least && m->scores[i] <= m->min_score) ||
                      (normal && !greatest && m->scores[i] >= m->max_score);
        if (needed && m->ids[i] >= 0) {
            keep[m->ids[i]] = true;
        }
        least = least || (normal && m->scores[i] <= m->min_score);
        greatest = greatest || (normal && m->scores[i] >= m->max_score);
    }
}

static void mark(const PareTokenizer *t, bool *keep) {
    mark_model(&t->unigram.models[0], keep);
    mark_model(&t->unigram.models[1], keep);
    for (uint32_t id = 0; id < t->vocab.count && t->unigram.language_code; id++) {
        size_t size;
        const char *piece = pare_vocab_piece(&t->vocab, id, &size);
        bool code =
            size >= 5 && memcmp(piece, ">>", 2) == 0 && memcmp(piece + size - 2, "<<", 2) == 0;
        keep[id] = keep[id] || code;
    }
}

static PareStatus copy_head(const PareSpm *m, PareSpm *to, PareError *err) {
    const PareSpmNormalizer *n = &m->normalizer;
    *to = (PareSpm){.normalizer = {.add_dummy_prefix = n->add_dummy_prefix,
                                   .remove_extra_whitespaces = n->remove_extra_whitespaces,
                                   .escape_whitespaces = n->escape_whitespaces,
                                   .whitespace_as_suffix = n->whitespace_as_suffix},
                    .byte_fallback = m->byte_fallback,
                    .charsmap = pare_alloc(m->charsmap_size + 1, 1),
                    .charsmap_size = m->charsmap_size,
                    .unknown_surface = pare_strdup(m->unknown_surface),
                    .scores = pare_alloc(m->pieces.count, sizeof *to->scores),
                    .types = pare_alloc(m->pieces.count, sizeof *to->types),
                    .ids = pare_alloc(m->pieces.count, sizeof *to->ids)};
    if (to->charsmap == NULL || to->unknown_surface == NULL || to->scores == NULL ||
        to->types == NULL || to->ids == NULL) {
        return pare_memory_error(err, "a sentencepiece model");
    }
    if (m->charsmap_size > 0) {
        memcpy(to->charsmap, m->charsmap, m->charsmap_size);
    }
    return PARE_OK;
}

/* Pieces that the vocabulary does not have stay: a text's best path may go through them. */
static PareStatus reduce_model(const PareSpm *m, const int32_t *map, PareSpm *to, PareError *err) {
    PareVocabBuilder pieces = {0};
    uint32_t count = 0;
    PareStatus status = copy_head(m, to, err);
    for (uint32_t i = 0; i < m->pieces.count && status == PARE_OK; i++) {
        int32_t id = m->ids[i] >= 0 ? map[m->ids[i]] : -1;
        size_t size;
        const char *piece = pare_vocab_piece(&m->pieces, i, &size);
        if (m->ids[i] >= 0 && id < 0) {
            continue;
        }
        to->scores[count] = m->scores[i];
        to->types[count] = m->types[i];
        to->ids[count] = id;
        pare_vocab_builder_add(&pieces, count++, piece, size);
    }
    if (status == PARE_OK) {
        status = pare_vocab_build(&pieces, "a sentencepiece model", &to->pieces, err);
    }
    pare_vocab_builder_free(&pieces);
    return status;
}

static PareStatus reduce(const PareTokenizer *t, const int32_t *map, PareTokenizer *to,
                         PareError *err) {
    const PareUnigram *from = &t->unigram;
    PareStatus status = PARE_OK;
    to->unigram.two_sides = from->two_sides;
    to->unigram.language_code = from->language_code;
    for (int i = 0; i < 2 && from->models[i].pieces.count > 0 && status == PARE_OK; i++) {
        status = reduce_model(&from->models[i], map, &to->unigram.models[i], err);
    }
    return status;
}

const PareTokenizerKind pare_kind_unigram = {
    .name = "sentencepiece unigram",
    .code = 3,
    .normalize = NULL,
    .encode = encode,
    .decode = decode,
    .write = write_form,
    .read = read_form,
    .finish = finish,
    .free = free_model,
    .mark = mark,
    .reduce = reduce,
};
