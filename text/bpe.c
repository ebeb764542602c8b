/* Byte-level BPE: text is split into words by a pattern, each byte of a word becomes a piece of one
 * character, and neighbours are merged, always the pair of the lowest rank, the leftmost first.
 *
 * Short words scan their ranks again after each merge; long ones keep a heap, so that a word of n
 * bytes costs O(n log n) however it is made. */
#include <string.h>

#include "text/tokenizer_impl.h"
#include "text/unicode.h"

enum { SHORT_WORD = 64 };
enum { FLAG_PREFIX_SPACE = 1, FLAG_SPLIT = 2 };
static const uint64_t empty_pair = UINT64_MAX;
static const uint32_t no_rank = UINT32_MAX;

/* ---- The alphabet -----------------------------------------------------------------------------
 */

static bool prints_itself(uint32_t c) {
    return (c >= 33 && c <= 126) || (c >= 161 && c <= 172) || (c >= 174 && c <= 255);
}

/* Bytes that print stand for themselves, the others are numbered from U+0100 on. */
uint32_t pare_byte_to_char(uint8_t byte) {
    if (prints_itself(byte)) {
        return byte;
    }
    uint32_t number = 0;
    for (uint32_t c = 0; c < byte; c++) {
        number += prints_itself(c) ? 0 : 1;
    }
    return 256 + number;
}

static int char_to_byte(uint32_t c) {
    if (c < 256) {
        return prints_itself(c) ? (int)c : -1;
    }
    if (c < 256 + 33) {
        return (int)(c - 256);
    }
    if (c < 256 + 33 + 34) {
        return (int)(c - 256 - 33 + 127);
    }
    return c == 256 + 33 + 34 ? 173 : -1;
}

/* ---- Merging ----------------------------------------------------------------------------------
 */

static uint32_t pair_slot(const PareBpe *b, uint64_t pair) {
    uint32_t at = (uint32_t)((pair * 0x9E3779B97F4A7C15u) >> 32) & b->mask;
    while (b->slots[at].pair != empty_pair && b->slots[at].pair != pair) {
        at = (at + 1) & b->mask;
    }
    return at;
}

/* The rank of a pair of neighbours, no_rank when they do not merge; the piece they make in *id. */
static uint32_t pair_rank(const PareBpe *b, int32_t left, int32_t right, int32_t *id) {
    const PareMerge *m = &b->slots[pair_slot(b, (uint64_t)(uint32_t)left << 32 | (uint32_t)right)];
    if (m->pair == empty_pair) {
        return no_rank;
    }
    *id = (int32_t)m->id;
    return m->rank;
}

static bool encode_short(const PareBpe *b, const char *word, size_t size, PareIds *out) {
    int32_t ids[SHORT_WORD], merged[SHORT_WORD];
    uint32_t ranks[SHORT_WORD]; /* of the pair (i, i + 1) */
    size_t n = size;
    for (size_t i = 0; i < n; i++) {
        ids[i] = b->byte_ids[(uint8_t)word[i]];
    }
    for (size_t i = 0; i + 1 < n; i++) {
        ranks[i] = pair_rank(b, ids[i], ids[i + 1], &merged[i]);
    }
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++) {
            best = ranks[i] < ranks[best] ? i : best;
        }
        if (ranks[best] == no_rank) {
            break;
        }
        ids[best] = merged[best];
        n--;
        for (size_t i = best + 1; i < n; i++) {
            ids[i] = ids[i + 1];
        }
        for (size_t i = best; i + 1 < n; i++) {
            ranks[i] = ranks[i + 1];
            merged[i] = merged[i + 1];
        }
        if (best + 1 < n) {
            ranks[best] = pair_rank(b, ids[best], ids[best + 1], &merged[best]);
        }
        if (best > 0) {
            ranks[best - 1] = pair_rank(b, ids[best - 1], ids[best], &merged[best - 1]);
        }
    }
    return pare_ids_append(out, ids, n);
}

/* A symbol of a long word: a list of neighbours in an array. */
typedef struct {
    int32_t id; /* -1: merged into its left neighbour */
    uint32_t previous, next;
} Symbol;

typedef struct {
    uint32_t rank, at; /* the pair that begins at symbol `at` */
    int32_t left, right, merged;
} Candidate;

typedef struct {
    Candidate *items;
    size_t count;
} Heap;

static bool before(const Candidate *a, const Candidate *b) {
    return a->rank != b->rank ? a->rank < b->rank : a->at < b->at;
}

static void heap_push(Heap *h, Candidate c) {
    size_t at = h->count++;
    while (at > 0 && before(&c, &h->items[(at - 1) / 2])) {
        h->items[at] = h->items[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    h->items[at] = c;
}

static Candidate heap_pop(Heap *h) {
    Candidate top = h->items[0], last = h->items[--h->count];
    size_t at = 0;
    for (;;) {
        size_t child = 2 * at + 1;
        if (child >= h->count) {
            break;
        }
        if (child + 1 < h->count && before(&h->items[child + 1], &h->items[child])) {
            child++;
        }
        if (!before(&h->items[child], &last)) {
            break;
        }
        h->items[at] = h->items[child];
        at = child;
    }
    h->items[at] = last;
    return top;
}

static void consider(const PareBpe *b, const Symbol *symbols, size_t size, uint32_t at, Heap *h) {
    uint32_t next = symbols[at].next;
    if (next >= size) {
        return;
    }
    Candidate c = {.at = at, .left = symbols[at].id, .right = symbols[next].id};
    c.rank = pair_rank(b, c.left, c.right, &c.merged);
    if (c.rank != no_rank) {
        heap_push(h, c);
    }
}

/* `made` (may be NULL) gets what every merge makes. False when out of memory. */
static bool merge_all(const PareBpe *b, Symbol *symbols, size_t size, Heap *h, PareIds *made) {
    for (uint32_t i = 0; i + 1 < size; i++) {
        consider(b, symbols, size, i, h);
    }
    while (h->count > 0) {
        Candidate c = heap_pop(h);
        Symbol *left = &symbols[c.at];
        if (left->id != c.left || left->next >= size || symbols[left->next].id != c.right) {
            continue; /* one of the two has been merged since */
        }
        Symbol *right = &symbols[left->next];
        if (made != NULL && !pare_ids_push(made, c.merged)) {
            return false;
        }
        left->id = c.merged;
        left->next = right->next;
        right->id = -1;
        if (left->next < size) {
            symbols[left->next].previous = c.at;
        }
        consider(b, symbols, size, c.at, h);
        if (c.at > 0) {
            consider(b, symbols, size, left->previous, h);
        }
    }
    return true;
}

static bool encode_long(const PareBpe *b, const char *word, size_t size, PareIds *made,
                        PareIds *out) {
    bool ok = false;
    Heap heap = {0};
    Symbol *symbols = NULL;
    if (size >= UINT32_MAX) {
        return false;
    }
    symbols = pare_alloc(size, sizeof *symbols);
    /* Each pair at the start and two for each merge, of which there are fewer than symbols. */
    heap.items = pare_alloc(size, 3 * sizeof *heap.items);
    if (symbols == NULL || heap.items == NULL) {
        goto done;
    }
    for (uint32_t i = 0; i < size; i++) {
        symbols[i] = (Symbol){b->byte_ids[(uint8_t)word[i]], i - 1, i + 1};
    }
    ok = merge_all(b, symbols, size, &heap, made);
    for (uint32_t i = 0; i < size && ok; i = symbols[i].next) {
        ok = pare_ids_push(out, symbols[i].id);
    }
done:
    pare_free(symbols);
    pare_free(heap.items);
    return ok;
}

/* `made`: as merge_all's. */
static bool encode_word(const PareBpe *b, const char *word, size_t size, PareIds *made,
                        PareIds *out) {
    return size <= SHORT_WORD && made == NULL ? encode_short(b, word, size, out)
                                              : encode_long(b, word, size, made, out);
}

/* ---- Text -------------------------------------------------------------------------------------
 */

static PareStatus encode_words(const PareBpe *b, const char *text, size_t size, PareIds *made,
                               PareIds *out, PareError *err) {
    PareSplit *walk = pare_split_begin(b->splitter, text, size);
    if (walk == NULL) {
        return pare_memory_error(err, "a text's words");
    }
    PareStatus status = PARE_OK;
    size_t begin, end;
    bool failed;
    while (pare_split_next(walk, &begin, &end, &failed)) {
        if (!encode_word(b, text + begin, end - begin, made, out)) {
            status = pare_memory_error(err, "token ids");
            goto done;
        }
    }
    if (failed) {
        status = pare_memory_error(err, "the split pattern's work");
    }
done:
    pare_split_end(walk);
    return status;
}

static PareStatus encode_text(const PareBpe *b, const char *text, size_t size, PareIds *made,
                              PareIds *out, PareError *err) {
    PareBuffer spaced = {0};
    PareStatus status = PARE_OK;
    if (b->add_prefix_space && size > 0 && text[0] != ' ') {
        pare_buffer_putc(&spaced, ' ');
        pare_buffer_append(&spaced, text, size);
        status = pare_buffer_ok(&spaced, "a text", err);
        if (status != PARE_OK) {
            goto done;
        }
        text = spaced.data;
        size = spaced.size;
    }
    if (b->split) {
        status = encode_words(b, text, size, made, out, err);
    } else if (size > 0 && !encode_word(b, text, size, made, out)) {
        status = pare_memory_error(err, "token ids");
    }
done:
    pare_buffer_free(&spaced);
    return status;
}

static PareStatus encode(const PareTokenizer *t, PareSide side, const char *text, size_t size,
                         PareIds *out, PareError *err) {
    (void)side;
    return encode_text(&t->bpe, text, size, NULL, out, err);
}

/* The characters of a piece back to bytes; false when it is not of the alphabet (an added token
 * with a blank, say). */
static bool append_bytes(const char *piece, size_t size, PareBuffer *out) {
    const char *at = piece, *end = piece + size;
    while (at < end) {
        int byte = char_to_byte(pare_utf8_next(&at, end));
        if (byte < 0) {
            return false;
        }
        pare_buffer_putc(out, (char)byte);
    }
    return true;
}

/* A piece that is not of the alphabet stands for itself. */
static void append_piece(const char *piece, size_t size, PareBuffer *out) {
    size_t before_piece = out->size;
    if (!append_bytes(piece, size, out) && !out->failed) {
        out->size = before_piece;
        pare_buffer_append(out, piece, size);
    }
}

static void decode(const PareTokenizer *t, PareSide side, const int32_t *ids, size_t count,
                   PareBuffer *out) {
    (void)side;
    PareBuffer bytes = {0};
    for (size_t i = 0; i < count; i++) {
        size_t size;
        const char *piece = pare_vocab_piece(&t->vocab, ids[i], &size);
        append_piece(piece, size, &bytes);
    }
    out->failed = out->failed || bytes.failed;
    if (bytes.size > 0) {
        pare_utf8_append_lossy(out, bytes.data, bytes.size);
    }
    pare_buffer_free(&bytes);
}

/* ---- The compact form, and building -----------------------------------------------------------
 */

static PareStatus add_pair(PareBpe *b, uint32_t left, uint32_t right, PareError *err) {
    if ((b->count & (b->count - 1)) == 0) { /* full at the powers of two */
        size_t capacity = b->count == 0 ? 1 : b->count * 2;
        uint32_t *grown = pare_realloc(b->pairs, capacity, 2 * sizeof *grown);
        if (grown == NULL) {
            return pare_memory_error(err, "merges");
        }
        b->pairs = grown;
    }
    b->pairs[2 * b->count] = left;
    b->pairs[2 * b->count + 1] = right;
    b->count++;
    return PARE_OK;
}

PareStatus pare_bpe_add_merge(PareTokenizer *t, const char *left, size_t left_size,
                              const char *right, size_t right_size, const char *name, size_t line,
                              PareError *err) {
    int32_t a = pare_vocab_find(&t->vocab, left, left_size);
    int32_t b = pare_vocab_find(&t->vocab, right, right_size);
    if (a < 0 || b < 0) {
        size_t size = a < 0 ? left_size : right_size;
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: merge %zu names '%.*s', which the vocabulary "
                              "does not have",
                              name, line, (int)(size < 80 ? size : 80), a < 0 ? left : right);
    }
    return add_pair(&t->bpe, (uint32_t)a, (uint32_t)b, err);
}

static void write_form(const PareTokenizer *t, PareBuffer *out) {
    const PareBpe *b = &t->bpe;
    pare_buffer_put_varint(out, (b->add_prefix_space ? FLAG_PREFIX_SPACE : 0u) |
                                    (b->split ? FLAG_SPLIT : 0u));
    pare_buffer_put_varint(out, b->count);
    for (size_t i = 0; i < 2 * b->count; i++) {
        pare_buffer_put_varint(out, b->pairs[i]);
    }
}

static PareStatus read_form(PareTokenizer *t, PareCursor *in, const char *name, PareError *err) {
    PareBpe *b = &t->bpe;
    uint64_t flags = pare_cursor_varint(in);
    uint64_t count = pare_cursor_varint(in);
    if (in->bad || flags > 3 || count > pare_cursor_left(in) / 2) {
        return pare_error_set(err, PARE_E_FORMAT, "%s: the merges' header is damaged", name);
    }
    b->add_prefix_space = (flags & FLAG_PREFIX_SPACE) != 0;
    b->split = (flags & FLAG_SPLIT) != 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t left = pare_cursor_varint(in);
        uint64_t right = pare_cursor_varint(in);
        if (in->bad || left >= t->vocab.count || right >= t->vocab.count) {
            return pare_error_set(err, PARE_E_FORMAT, "%s: merge %llu is not of two of %u pieces",
                                  name, (unsigned long long)i, t->vocab.count);
        }
        PareStatus status = add_pair(b, (uint32_t)left, (uint32_t)right, err);
        if (status != PARE_OK) {
            return status;
        }
    }
    return PARE_OK;
}

static PareStatus index_bytes(PareTokenizer *t, const char *name, PareError *err) {
    if (pare_vocab_find(&t->vocab, "\xC4\xA0", 2) < 0) { /* "Ġ"; other kinds of BPE lack it */
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: not a byte-level vocabulary: it has no piece for the blank "
                              "(U+0120)",
                              name);
    }
    for (unsigned byte = 0; byte < 256; byte++) {
        char piece[4];
        size_t size = pare_utf8_put(pare_byte_to_char((uint8_t)byte), piece);
        int32_t id = pare_vocab_find(&t->vocab, piece, size);
        if (id < 0) {
            id = t->roles[PARE_ROLE_UNKNOWN];
        }
        if (id < 0) {
            return pare_error_set(err, PARE_E_FORMAT,
                                  "%s: the vocabulary has neither a piece for byte 0x%02x ('%.*s') "
                                  "nor an unknown token",
                                  name, byte, (int)size, piece);
        }
        t->bpe.byte_ids[byte] = id;
    }
    return PARE_OK;
}

/* A pair that is listed twice has its last rank, as in the reference. */
static PareStatus index_merges(PareTokenizer *t, const char *name, PareError *err) {
    PareBpe *b = &t->bpe;
    PareStatus status = PARE_OK;
    PareBuffer piece = {0};
    uint32_t slots = 16;
    if (b->count >= PARE_VOCAB_MAX) {
        return pare_error_set(err, PARE_E_FORMAT, "%s: %zu merges; at most %d", name, b->count,
                              PARE_VOCAB_MAX - 1);
    }
    while (slots < 2 * b->count) {
        slots *= 2;
    }
    b->slots = pare_alloc(slots, sizeof *b->slots);
    if (b->slots == NULL) {
        return pare_memory_error(err, "merges");
    }
    b->mask = slots - 1;
    memset(b->slots, 0xFF, slots * sizeof *b->slots);
    for (uint32_t rank = 0; rank < b->count; rank++) {
        uint32_t left = b->pairs[2 * rank], right = b->pairs[2 * rank + 1];
        size_t left_size, right_size;
        const char *left_text = pare_vocab_piece(&t->vocab, left, &left_size);
        const char *right_text = pare_vocab_piece(&t->vocab, right, &right_size);
        pare_buffer_clear(&piece);
        pare_buffer_append(&piece, left_text, left_size);
        pare_buffer_append(&piece, right_text, right_size);
        status = pare_buffer_ok(&piece, "merges", err);
        if (status != PARE_OK) {
            goto done;
        }
        int32_t id = pare_vocab_find(&t->vocab, piece.data, piece.size);
        if (id < 0) {
            status =
                pare_error_set(err, PARE_E_FORMAT,
                               "%s: merge %u makes '%.80s', which the vocabulary does not have",
                               name, rank + 1, piece.data);
            goto done;
        }
        uint64_t pair = (uint64_t)left << 32 | right;
        b->slots[pair_slot(b, pair)] = (PareMerge){pair, rank, (uint32_t)id};
    }
done:
    pare_buffer_free(&piece);
    return status;
}

static PareStatus finish(PareTokenizer *t, const char *name, PareError *err) {
    PareStatus status = index_bytes(t, name, err);
    if (status == PARE_OK) {
        status = index_merges(t, name, err);
    }
    if (status == PARE_OK) {
        status = pare_splitter_create(&t->bpe.splitter, err);
    }
    return status;
}

static void free_model(PareTokenizer *t) {
    pare_free(t->bpe.pairs);
    pare_free(t->bpe.slots);
    pare_splitter_free(t->bpe.splitter);
}

/* ---- Subsets ----------------------------------------------------------------------------------
 */

static PareStatus trace(const PareTokenizer *t, PareSide side, const char *text, size_t size,
                        PareIds *out, PareError *err) {
    (void)side;
    return encode_text(&t->bpe, text, size, out, out, err);
}

static void mark(const PareTokenizer *t, bool *keep) {
    for (unsigned byte = 0; byte < 256; byte++) {
        keep[t->bpe.byte_ids[byte]] = true;
    }
}

/* What merging the token's own bytes makes on the way. No merge crosses the ends of a token in the
 * word where it stands, so that the merges inside are these, in this order. */
static PareStatus parts(const PareTokenizer *t, int32_t id, PareIds *out, PareError *err) {
    PareBuffer bytes = {0};
    size_t size;
    const char *piece = pare_vocab_piece(&t->vocab, id, &size);
    bool merged = append_bytes(piece, size, &bytes);
    PareStatus status = pare_buffer_ok(&bytes, "a token's bytes", err);
    if (status == PARE_OK && merged && bytes.size > 0 &&
        !encode_long(&t->bpe, bytes.data, bytes.size, out, out)) {
        status = pare_memory_error(err, "a token's parts");
    }
    pare_buffer_free(&bytes);
    return status;
}

/* The merges of which all three pieces stay, in their order. Where the merges that a word takes all
 * stay, none that is left comes before one of them that did not before. */
static PareStatus reduce(const PareTokenizer *t, const int32_t *map, PareTokenizer *to,
                         PareError *err) {
    const PareBpe *from = &t->bpe;
    PareStatus status = PARE_OK;
    to->bpe.add_prefix_space = from->add_prefix_space;
    to->bpe.split = from->split;
    for (size_t i = 0; i < from->count && status == PARE_OK; i++) {
        int32_t left = (int32_t)from->pairs[2 * i], right = (int32_t)from->pairs[2 * i + 1], made;
        bool known = pair_rank(from, left, right, &made) != no_rank;
        if (known && map[left] >= 0 && map[right] >= 0 && map[made] >= 0) {
            status = add_pair(&to->bpe, (uint32_t)map[left], (uint32_t)map[right], err);
        }
    }
    return status;
}

const PareTokenizerKind pare_kind_bpe = {
    .name = "byte-level BPE",
    .code = 2,
    .normalize = NULL,
    .encode = encode,
    .decode = decode,
    .write = write_form,
    .read = read_form,
    .finish = finish,
    .free = free_model,
    .trace = trace,
    .mark = mark,
    .parts = parts,
    .reduce = reduce,
};
