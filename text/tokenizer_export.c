/* Writing a tokenizer's files: the vocabulary in the form of its kind, and tokenizer_config.json.
 */
#include "text/tokenizer_export.h"

#include <string.h>

#include "text/tokenizer_impl.h"

typedef struct {
    const PareTokenizer *t;
    const PareTokenizerHints *hints;
    uint32_t longest;
    PareTokenizerSink sink;
    void *context;
    PareError *err;
} Export;

static PareStatus give(const Export *x, const char *name, PareBuffer *bytes) {
    PareStatus st = pare_buffer_ok(bytes, name, x->err);
    if (!st)
        st = x->sink(x->context, name, bytes, x->err);
    pare_buffer_free(bytes);
    return st;
}

static void put_json(PareBuffer *out, const char *text) {
    pare_buffer_put_json_string(out, text, strlen(text));
}

/* ---- Vocabularies ---- */

/* {"piece": id, …} in order of id; an id without a piece is left out. */
static PareStatus put_vocab_json(const Export *x) {
    PareBuffer b = {0};
    const char *comma = "\n  ";
    pare_buffer_putc(&b, '{');
    for (uint32_t id = 0; id < x->t->vocab.count; id++) {
        size_t size;
        const char *piece = pare_vocab_piece(&x->t->vocab, id, &size);
        if (size == 0)
            continue;
        pare_buffer_puts(&b, comma);
        pare_buffer_put_json_string(&b, piece, size);
        pare_buffer_printf(&b, ": %u", id);
        comma = ",\n  ";
    }
    pare_buffer_puts(&b, "\n}\n");
    return give(x, "vocab.json", &b);
}

static PareStatus put_vocab_lines(const Export *x) {
    PareBuffer b = {0};
    for (uint32_t id = 0; id < x->t->vocab.count; id++) {
        size_t size;
        const char *piece = pare_vocab_piece(&x->t->vocab, id, &size);
        if (memchr(piece, '\n', size) || (size && piece[size - 1] == '\r')) {
            pare_buffer_free(&b);
            return pare_error_set(x->err, PARE_E_UNSUPPORTED,
                                  "vocab.txt: piece %u holds a line end, which the file cannot",
                                  id);
        }
        pare_buffer_append(&b, piece, size);
        pare_buffer_putc(&b, '\n');
    }
    return give(x, "vocab.txt", &b);
}

static PareStatus put_merges(const Export *x) {
    const PareBpe *bpe = &x->t->bpe;
    PareBuffer b = {0};
    pare_buffer_puts(&b, "#version: 0.2\n");
    for (size_t i = 0; i < bpe->count; i++) {
        const char *left = pare_vocab_piece(&x->t->vocab, bpe->pairs[2 * i], NULL);
        const char *right = pare_vocab_piece(&x->t->vocab, bpe->pairs[2 * i + 1], NULL);
        if (strpbrk(left, " \r\n") || strpbrk(right, " \r\n")) {
            pare_buffer_free(&b);
            return pare_error_set(x->err, PARE_E_UNSUPPORTED,
                                  "merges.txt: merge %zu has a piece with a blank, which the file "
                                  "cannot hold",
                                  i + 1);
        }
        pare_buffer_printf(&b, "%s %s\n", left, right);
    }
    return give(x, "merges.txt", &b);
}

/* ---- Sentencepiece models (sentencepiece_model.proto) ---- */

enum { WIRE_VARINT = 0, WIRE_BYTES = 2, WIRE_32 = 5 };

static void put_tag(PareBuffer *b, unsigned field, unsigned wire) {
    pare_buffer_put_varint(b, (uint64_t)field << 3 | wire);
}

static void put_number(PareBuffer *b, unsigned field, uint64_t v) {
    put_tag(b, field, WIRE_VARINT);
    pare_buffer_put_varint(b, v);
}

static void put_bytes(PareBuffer *b, unsigned field, const char *bytes, size_t size) {
    put_tag(b, field, WIRE_BYTES);
    pare_buffer_put_varint(b, size);
    pare_buffer_append(b, bytes, size);
}

static void put_message(PareBuffer *b, unsigned field, PareBuffer *message) {
    b->failed = b->failed || message->failed;
    put_bytes(b, field, message->data ? message->data : "", message->size);
    pare_buffer_clear(message);
}

/* SentencePiece: piece 1, score 2, type 3 */
static void put_pieces(const PareSpm *m, PareBuffer *b) {
    PareBuffer piece = {0};
    for (uint32_t i = 0; i < m->pieces.count; i++) {
        size_t size;
        const char *text = pare_vocab_piece(&m->pieces, i, &size);
        put_bytes(&piece, 1, text, size);
        put_tag(&piece, 2, WIRE_32);
        pare_buffer_put_f32(&piece, m->scores[i]);
        if (m->types[i] != PARE_SPM_NORMAL)
            put_number(&piece, 3, m->types[i]);
        put_message(b, 1, &piece);
    }
    pare_buffer_free(&piece);
}

/* The index of a control piece, or -1: readers ask the trainer's settings for these. */
static uint64_t control_index(const PareSpm *m, const char *text) {
    int32_t at = pare_vocab_find(&m->pieces, text, strlen(text));
    return at >= 0 && m->types[at] == PARE_SPM_CONTROL ? (uint64_t)at : UINT64_MAX;
}

/* TrainerSpec: model_type 3 (1 is unigram), vocab_size 4, treat_whitespace_as_suffix 24,
 * byte_fallback 35, unk_id 40, bos_id 41, eos_id 42, pad_id 43, unk_surface 44, unk_piece 45 */
static void put_trainer(const PareSpm *m, PareBuffer *b) {
    PareBuffer spec = {0};
    size_t size;
    const char *unknown = pare_vocab_piece(&m->pieces, m->unknown, &size);
    put_number(&spec, 3, 1);
    put_number(&spec, 4, m->pieces.count);
    put_number(&spec, 24, m->normalizer.whitespace_as_suffix);
    put_number(&spec, 35, m->byte_fallback);
    put_number(&spec, 40, (uint64_t)m->unknown);
    put_number(&spec, 41, control_index(m, "<s>"));
    put_number(&spec, 42, control_index(m, "</s>"));
    put_number(&spec, 43, control_index(m, "<pad>"));
    put_bytes(&spec, 44, m->unknown_surface, strlen(m->unknown_surface));
    put_bytes(&spec, 45, unknown, size);
    put_message(b, 2, &spec);
    pare_buffer_free(&spec);
}

/* NormalizerSpec: precompiled_charsmap 2, add_dummy_prefix 3, remove_extra_whitespaces 4,
 * escape_whitespaces 5 */
static void put_normalizer(const PareSpm *m, PareBuffer *b) {
    PareBuffer spec = {0};
    put_bytes(&spec, 2, m->charsmap ? m->charsmap : "", m->charsmap_size);
    put_number(&spec, 3, m->normalizer.add_dummy_prefix);
    put_number(&spec, 4, m->normalizer.remove_extra_whitespaces);
    put_number(&spec, 5, m->normalizer.escape_whitespaces);
    put_message(b, 3, &spec);
    pare_buffer_free(&spec);
}

static PareStatus put_model(const Export *x, const PareSpm *m, const char *name) {
    PareBuffer b = {0};
    put_pieces(m, &b);
    put_trainer(m, &b);
    put_normalizer(m, &b);
    return give(x, name, &b);
}

static PareStatus put_unigram(const Export *x) {
    const PareUnigram *u = &x->t->unigram;
    if (!u->two_sides)
        return put_model(x, &u->models[0], "spiece.model");
    PareStatus st = put_model(x, &u->models[0], "source.spm");
    if (!st)
        st = put_model(x, &u->models[u->models[1].pieces.count > 0], "target.spm");
    return st ? st : put_vocab_json(x);
}

/* ---- tokenizer_config.json ---- */

static const char *const ROLE_KEYS[PARE_ROLE_COUNT] = {
    "unk_token", "pad_token", "bos_token", "eos_token", "cls_token", "sep_token", "mask_token"};

/* A member on a line of its own. */
static void put_key(PareBuffer *b, const char *key) {
    pare_buffer_printf(b, "%s\n  \"%s\": ", b->size > 1 ? "," : "", key);
}

static void put_flag(PareBuffer *b, const char *key, bool yes) {
    put_key(b, key);
    pare_buffer_puts(b, yes ? "true" : "false");
}

/* A token that a reader would assume and that is none here must be said to be none. */
static void put_roles(const Export *x, PareBuffer *b) {
    const PareTokenizerHints *h = x->hints;
    const char *const assumed[PARE_ROLE_COUNT] = {h->unknown, h->pad, h->bos, h->eos,
                                                  h->cls,     h->sep, h->mask};
    for (int i = 0; i < PARE_ROLE_COUNT; i++) {
        int32_t id = x->t->roles[i];
        if (id < 0 && !assumed[i])
            continue;
        put_key(b, ROLE_KEYS[i]);
        if (id < 0)
            pare_buffer_puts(b, "null");
        else
            put_json(b, pare_vocab_piece(&x->t->vocab, id, NULL));
    }
}

static bool is_role(const PareTokenizer *t, int32_t id) {
    for (int i = 0; i < PARE_ROLE_COUNT; i++)
        if (t->roles[i] == id)
            return true;
    return false;
}

static void put_added(const Export *x, PareBuffer *b) {
    static const struct {
        const char *key;
        unsigned flag;
    } FLAGS[] = {{"lstrip", PARE_TOKEN_LSTRIP},
                 {"normalized", PARE_TOKEN_NORMALIZED},
                 {"rstrip", PARE_TOKEN_RSTRIP},
                 {"single_word", PARE_TOKEN_SINGLE_WORD},
                 {"special", PARE_TOKEN_SPECIAL}};
    const PareTokenizer *t = x->t;
    put_key(b, "added_tokens_decoder");
    pare_buffer_putc(b, '{');
    for (size_t i = 0; i < t->added_count; i++) {
        pare_buffer_printf(b, "%s\n    \"%d\": {\n      \"content\": ", i ? "," : "",
                           t->added[i].id);
        put_json(b, pare_vocab_piece(&t->vocab, t->added[i].id, NULL));
        for (size_t k = 0; k < sizeof FLAGS / sizeof *FLAGS; k++)
            pare_buffer_printf(b, ",\n      \"%s\": %s", FLAGS[k].key,
                               t->added[i].flags & FLAGS[k].flag ? "true" : "false");
        pare_buffer_puts(b, "\n    }");
    }
    pare_buffer_puts(b, t->added_count ? "\n  }" : "}");
    const char *comma = "[";
    for (size_t i = 0; i < t->added_count; i++) {
        if (!(t->added[i].flags & PARE_TOKEN_SPECIAL) || is_role(t, t->added[i].id))
            continue;
        if (*comma == '[')
            put_key(b, "additional_special_tokens");
        pare_buffer_printf(b, "%s\n    ", comma);
        put_json(b, pare_vocab_piece(&t->vocab, t->added[i].id, NULL));
        comma = ",";
    }
    pare_buffer_puts(b, *comma == '[' ? "" : "\n  ]");
}

/* How many of the pieces behind a sentencepiece model's own are <extra_id_n>. */
static uint32_t count_extra(const PareTokenizer *t) {
    uint32_t count = 0;
    for (uint32_t id = t->unigram.models[0].pieces.count; id < t->vocab.count; id++)
        count += strncmp(pare_vocab_piece(&t->vocab, id, NULL), "<extra_id_", 10) == 0;
    return count;
}

static PareStatus put_config(const Export *x) {
    const PareTokenizer *t = x->t;
    PareBuffer b = {0};
    pare_buffer_putc(&b, '{');
    put_added(x, &b);
    put_flag(&b, "clean_up_tokenization_spaces", t->cleanup == PARE_CLEANUP_TEXT);
    if (t->kind == &pare_kind_wordpiece) {
        put_flag(&b, "do_lower_case", t->wordpiece.lowercase);
        put_flag(&b, "strip_accents", t->wordpiece.strip_accents);
        put_flag(&b, "tokenize_chinese_chars", t->wordpiece.ideographs);
    }
    if (t->kind == &pare_kind_bpe)
        put_flag(&b, "add_prefix_space", t->bpe.add_prefix_space);
    if (t->kind == &pare_kind_unigram && !t->unigram.two_sides &&
        count_extra(t) != x->hints->extra_ids) {
        put_key(&b, "extra_ids");
        pare_buffer_printf(&b, "%u", count_extra(t));
    }
    if (x->longest) {
        put_key(&b, "model_max_length");
        pare_buffer_printf(&b, "%u", x->longest);
    }
    put_roles(x, &b);
    pare_buffer_puts(&b, "\n}\n");
    return give(x, "tokenizer_config.json", &b);
}

PareStatus pare_tokenizer_export(const PareTokenizer *t, const PareTokenizerHints *hints,
                                 uint32_t longest, PareTokenizerSink sink, void *context,
                                 PareError *err) {
    Export x = {t, hints, longest, sink, context, err};
    PareStatus st;
    if (t->kind == &pare_kind_wordpiece) {
        st = put_vocab_lines(&x);
    } else if (t->kind == &pare_kind_bpe) {
        st = put_vocab_json(&x);
        st = st ? st : put_merges(&x);
    } else if (t->kind == &pare_kind_unigram) {
        st = put_unigram(&x);
    } else {
        st = pare_error_set(err, PARE_E_UNSUPPORTED, "a tokenizer of the kind %s has no files",
                            t->kind->name);
    }
    return st ? st : put_config(&x);
}

/* ---- Comparing ---- */

static bool same_text(const PareVocab *a, const PareVocab *b) {
    return a->count == b->count && a->text_size == b->text_size &&
           memcmp(a->text, b->text, a->text_size) == 0;
}

static bool same_added(const PareTokenizer *a, const PareTokenizer *b) {
    if (a->added_count != b->added_count)
        return false;
    for (size_t i = 0; i < a->added_count; i++)
        if (a->added[i].id != b->added[i].id || a->added[i].flags != b->added[i].flags)
            return false;
    return true;
}

static bool same_template(const PareTemplate *a, const PareTemplate *b) {
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (a->items[i].id != b->items[i].id || a->items[i].type != b->items[i].type)
            return false;
    return true;
}

/* The part that only the kind knows, by its compact form. */
static bool same_model(const PareTokenizer *a, const PareTokenizer *b) {
    PareBuffer x = {0}, y = {0};
    a->kind->write(a, &x);
    b->kind->write(b, &y);
    bool same = x.size == y.size && (x.size == 0 || memcmp(x.data, y.data, x.size) == 0);
    pare_buffer_free(&x);
    pare_buffer_free(&y);
    return same;
}

void pare_tokenizer_differences(const PareTokenizer *a, const PareTokenizer *b, PareBuffer *out) {
    const struct {
        const char *what;
        bool same;
    } parts[] = {
        {"the kind", a->kind == b->kind},
        {"the clean-up of decoded text", a->cleanup == b->cleanup},
        {"the vocabulary", same_text(&a->vocab, &b->vocab)},
        {"the special tokens", memcmp(a->roles, b->roles, sizeof a->roles) == 0},
        {"the added tokens", same_added(a, b)},
        {"the template of one text", same_template(&a->single, &b->single)},
        {"the template of a pair", same_template(&a->pair, &b->pair)},
        {"how text is normalized, split or scored", a->kind != b->kind || same_model(a, b)}};
    const char *comma = "";
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!parts[i].same) {
            pare_buffer_printf(out, "%s%s", comma, parts[i].what);
            comma = ", ";
        }
}
