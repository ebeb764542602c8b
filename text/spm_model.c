/* Sentencepiece models: the protocol buffer that spm_train writes (sentencepiece_model.proto),
 * read with every length checked. Only what encoding and decoding need is kept; unknown fields are
 * skipped, as protocol buffers ask. Models other than unigram are refused by name. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "text/tokenizer_impl.h"

/* ---- Protocol buffers -------------------------------------------------------------------------
 */

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

typedef struct {
    uint64_t field;
    unsigned wire;
    uint64_t number;      /* varint */
    const uint8_t *bytes; /* BYTES, 32, 64 */
    size_t size;
} Field;

/* The next field of a message; false at its end, or with in->bad set. */
static bool next_field(PareCursor *in, Field *f) {
    if (in->bad || pare_cursor_left(in) == 0) {
        return false;
    }
    uint64_t tag = pare_cursor_varint(in);
    *f = (Field){.field = tag >> 3, .wire = (unsigned)(tag & 7)};
    switch (f->wire) {
    case WIRE_VARINT:
        f->number = pare_cursor_varint(in);
        break;
    case WIRE_64:
        f->size = 8;
        f->bytes = pare_cursor_take(in, 8);
        break;
    case WIRE_32:
        f->size = 4;
        f->bytes = pare_cursor_take(in, 4);
        break;
    case WIRE_BYTES: {
        uint64_t size = pare_cursor_varint(in);
        if (size > pare_cursor_left(in)) {
            in->bad = true;
        } else {
            f->size = (size_t)size;
            f->bytes = pare_cursor_take(in, f->size);
        }
        break;
    }
    default:
        in->bad = true;
    }
    return !in->bad;
}

static bool is_field(const Field *f, uint64_t field, unsigned wire) {
    return f->field == field && f->wire == wire;
}

static float field_float(const Field *f) {
    PareCursor c = pare_cursor(f->bytes, 4);
    return pare_cursor_f32(&c);
}

/* ---- Messages ---------------------------------------------------------------------------------
 */

typedef struct {
    const char *name;
    PareSpm *model;
    PareVocabBuilder pieces;
    uint32_t capacity;
    uint64_t model_type;
    PareError *err;
} Parse;

static PareStatus damaged(Parse *p, const char *part) {
    return pare_error_set(p->err, PARE_E_FORMAT, "%s: not a sentencepiece model: its %s is damaged",
                          p->name, part);
}

static PareStatus reserve_piece(Parse *p, uint64_t index) {
    if (index < p->capacity) {
        return PARE_OK;
    }
    uint32_t capacity = p->capacity == 0 ? 4096 : p->capacity * 2;
    float *scores = pare_realloc(p->model->scores, capacity, sizeof *scores);
    if (scores == NULL) {
        return pare_memory_error(p->err, p->name);
    }
    p->model->scores = scores;
    uint8_t *types = pare_realloc(p->model->types, capacity, sizeof *types);
    if (types == NULL) {
        return pare_memory_error(p->err, p->name);
    }
    p->model->types = types;
    p->capacity = capacity;
    return PARE_OK;
}

/* message SentencePiece { string piece = 1; float score = 2; Type type = 3; } */
static PareStatus parse_piece(Parse *p, const Field *message) {
    PareCursor in = pare_cursor(message->bytes, message->size);
    Field f;
    const uint8_t *text = NULL;
    size_t size = 0;
    float score = 0;
    uint64_t type = PARE_SPM_NORMAL;
    uint64_t index = p->pieces.count;
    while (next_field(&in, &f)) {
        if (is_field(&f, 1, WIRE_BYTES)) {
            text = f.bytes;
            size = f.size;
        } else if (is_field(&f, 2, WIRE_32)) {
            score = field_float(&f);
        } else if (is_field(&f, 3, WIRE_VARINT)) {
            type = f.number;
        }
    }
    if (in.bad || index >= PARE_VOCAB_MAX) {
        return damaged(p, "list of pieces");
    }
    if (size == 0 || type < PARE_SPM_NORMAL || type > PARE_SPM_BYTE || !isfinite(score)) {
        return pare_error_set(p->err, PARE_E_FORMAT,
                              "%s: piece %llu has %zu bytes, type %llu and score %g; expected some "
                              "bytes, a type from 1 to 6 and a finite score",
                              p->name, (unsigned long long)index, size, (unsigned long long)type,
                              (double)score);
    }
    PareStatus status = reserve_piece(p, index);
    if (status == PARE_OK) {
        p->model->scores[index] = score;
        p->model->types[index] = (uint8_t)type;
        pare_vocab_builder_add(&p->pieces, index, (const char *)text, size);
    }
    return status;
}

static PareStatus copy_bytes(Parse *p, const Field *f, char **out) {
    pare_free(*out);
    *out = pare_alloc(f->size + 1, 1);
    if (*out == NULL) {
        return pare_memory_error(p->err, p->name);
    }
    memcpy(*out, f->bytes, f->size);
    return PARE_OK;
}

/* message TrainerSpec: model_type = 3, treat_whitespace_as_suffix = 24, byte_fallback = 35,
 * unk_surface = 44. */
static PareStatus parse_trainer(Parse *p, const Field *message) {
    PareCursor in = pare_cursor(message->bytes, message->size);
    Field f;
    PareStatus status = PARE_OK;
    while (status == PARE_OK && next_field(&in, &f)) {
        if (is_field(&f, 3, WIRE_VARINT)) {
            p->model_type = f.number;
        } else if (is_field(&f, 24, WIRE_VARINT)) {
            p->model->normalizer.whitespace_as_suffix = f.number != 0;
        } else if (is_field(&f, 35, WIRE_VARINT)) {
            p->model->byte_fallback = f.number != 0;
        } else if (is_field(&f, 44, WIRE_BYTES)) {
            if (memchr(f.bytes, 0, f.size) != NULL) {
                return damaged(p, "surface of the unknown piece");
            }
            status = copy_bytes(p, &f, &p->model->unknown_surface);
        }
    }
    return in.bad ? damaged(p, "trainer_spec") : status;
}

/* message NormalizerSpec: precompiled_charsmap = 2, add_dummy_prefix = 3,
 * remove_extra_whitespaces = 4, escape_whitespaces = 5. */
static PareStatus parse_normalizer(Parse *p, const Field *message) {
    PareCursor in = pare_cursor(message->bytes, message->size);
    PareSpmNormalizer *n = &p->model->normalizer;
    Field f;
    PareStatus status = PARE_OK;
    while (status == PARE_OK && next_field(&in, &f)) {
        if (is_field(&f, 2, WIRE_BYTES)) {
            status = copy_bytes(p, &f, &p->model->charsmap);
            p->model->charsmap_size = f.size;
        } else if (is_field(&f, 3, WIRE_VARINT)) {
            n->add_dummy_prefix = f.number != 0;
        } else if (is_field(&f, 4, WIRE_VARINT)) {
            n->remove_extra_whitespaces = f.number != 0;
        } else if (is_field(&f, 5, WIRE_VARINT)) {
            n->escape_whitespaces = f.number != 0;
        }
    }
    return in.bad ? damaged(p, "normalizer_spec") : status;
}

static PareStatus check_type(const Parse *p) {
    static const char *const names[] = {"?", "unigram", "BPE", "word", "character"};
    if (p->model_type == 1) {
        return PARE_OK;
    }
    return pare_error_set(p->err, PARE_E_UNSUPPORTED,
                          "%s: a sentencepiece model of type %llu (%s) is not supported; expected "
                          "a unigram model",
                          p->name, (unsigned long long)p->model_type,
                          p->model_type < 5 ? names[p->model_type] : "unknown");
}

PareStatus pare_spm_parse(const void *bytes, size_t size, const char *name, PareSpm *out,
                          PareError *err) {
    /* The defaults of the protocol buffer. */
    *out = (PareSpm){.normalizer = {.add_dummy_prefix = true,
                                    .remove_extra_whitespaces = true,
                                    .escape_whitespaces = true}};
    Parse p = {.name = name, .model = out, .model_type = 1, .err = err};
    PareCursor in = pare_cursor(bytes, size);
    Field f;
    PareStatus status = PARE_OK;
    while (status == PARE_OK && next_field(&in, &f)) {
        if (is_field(&f, 1, WIRE_BYTES)) {
            status = parse_piece(&p, &f);
        } else if (is_field(&f, 2, WIRE_BYTES)) {
            status = parse_trainer(&p, &f);
        } else if (is_field(&f, 3, WIRE_BYTES)) {
            status = parse_normalizer(&p, &f);
        }
    }
    if (status == PARE_OK && (in.bad || p.pieces.count == 0)) {
        status = damaged(&p, p.pieces.count == 0 ? "list of pieces" : "end");
    }
    if (status == PARE_OK) {
        status = check_type(&p);
    }
    if (status == PARE_OK) {
        status = pare_vocab_build(&p.pieces, name, &out->pieces, err);
    }
    if (status == PARE_OK && out->unknown_surface == NULL) {
        out->unknown_surface = pare_strdup(" \xE2\x81\x87 ");
        status = out->unknown_surface == NULL ? pare_memory_error(err, name) : PARE_OK;
    }
    pare_vocab_builder_free(&p.pieces);
    if (status != PARE_OK) {
        pare_spm_free(out);
    }
    return status;
}

/* ---- What is derived --------------------------------------------------------------------------
 */

/* "<0x41>" -> 0x41; -1 when it is not of this form. */
static int piece_to_byte(const char *piece, size_t size) {
    static const char digits[] = "0123456789ABCDEF";
    if (size != 6 || memcmp(piece, "<0x", 3) != 0 || piece[5] != '>') {
        return -1;
    }
    const char *high = memchr(digits, piece[3], 16), *low = memchr(digits, piece[4], 16);
    return high != NULL && low != NULL ? (int)((high - digits) * 16 + (low - digits)) : -1;
}

static PareStatus index_piece(PareSpm *m, uint32_t index, const char *name, PareError *err) {
    size_t size;
    const char *piece = pare_vocab_piece(&m->pieces, index, &size);
    bool ok = true;
    if (size == 0 || pare_vocab_find(&m->pieces, piece, size) != (int32_t)index) {
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: piece %u ('%.80s') is empty or defined twice", name, index,
                              piece);
    }
    switch (m->types[index]) {
    case PARE_SPM_UNKNOWN:
        if (m->unknown >= 0) {
            return pare_error_set(err, PARE_E_FORMAT, "%s: two unknown pieces, %d and %u", name,
                                  m->unknown, index);
        }
        m->unknown = (int32_t)index;
        break;
    case PARE_SPM_BYTE: {
        int byte = piece_to_byte(piece, size);
        if (byte < 0 || !m->byte_fallback) {
            return pare_error_set(err, PARE_E_FORMAT,
                                  "%s: byte piece '%.80s' is not <0x00> to <0xFF> in a model with "
                                  "byte_fallback",
                                  name, piece);
        }
        m->bytes[byte] = (int32_t)index;
        break;
    }
    case PARE_SPM_USER_DEFINED:
        ok = pare_trie_insert(&m->normalizer.user_defined, piece, size, (int32_t)index);
        break;
    case PARE_SPM_NORMAL:
        m->min_score = m->scores[index] < m->min_score ? m->scores[index] : m->min_score;
        m->max_score = m->scores[index] > m->max_score ? m->scores[index] : m->max_score;
        break;
    default:
        break;
    }
    bool matched = m->types[index] == PARE_SPM_NORMAL || m->types[index] == PARE_SPM_USER_DEFINED ||
                   m->types[index] == PARE_SPM_UNUSED;
    ok = ok && (!matched || pare_trie_insert(&m->trie, piece, size, (int32_t)index));
    return ok ? PARE_OK : pare_memory_error(err, "a sentencepiece model");
}

PareStatus pare_spm_finish(PareSpm *m, const char *name, PareError *err) {
    m->unknown = -1;
    m->min_score = FLT_MAX;
    m->max_score = FLT_MIN; /* the smallest positive number: as the reference has it */
    for (int byte = 0; byte < 256; byte++) {
        m->bytes[byte] = -1;
    }
    for (uint32_t i = 0; i < m->pieces.count; i++) {
        PareStatus status = index_piece(m, i, name, err);
        if (status != PARE_OK) {
            return status;
        }
    }
    if (m->unknown < 0) {
        return pare_error_set(err, PARE_E_FORMAT, "%s: the model has no unknown piece", name);
    }
    for (int byte = 0; byte < 256 && m->byte_fallback; byte++) {
        if (m->bytes[byte] < 0) {
            return pare_error_set(err, PARE_E_FORMAT,
                                  "%s: byte_fallback without the piece <0x%02X>", name,
                                  (unsigned)byte);
        }
    }
    return pare_spm_normalizer_open(&m->normalizer, m->charsmap, m->charsmap_size, name, err);
}

void pare_spm_free(PareSpm *m) {
    pare_vocab_free(&m->pieces);
    pare_trie_free(&m->trie);
    pare_trie_free(&m->normalizer.user_defined);
    pare_free(m->scores);
    pare_free(m->types);
    pare_free(m->ids);
    pare_free(m->charsmap);
    pare_free(m->unknown_surface);
    *m = (PareSpm){0};
}
