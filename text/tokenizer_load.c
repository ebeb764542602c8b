/* Finding and reading the files of a tokenizer in a checkpoint's folder. */
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "text/tokenizer_settings.h"
#include "text/unicode.h"

static const size_t file_limit = (size_t)256 << 20;

/* ---- Vocabularies -----------------------------------------------------------------------------
 */

PareStatus pare_vocab_from_json(const PareJson *object, const char *name, PareVocab *out,
                                PareError *err) {
    PareVocabBuilder b = {0};
    if (!pare_json_is_object(object)) {
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: the vocabulary must be an object of pieces and ids", name);
    }
    for (const PareJson *n = pare_json_first(object); n != NULL; n = pare_json_next(n)) {
        if (!pare_json_is_integer(n) || pare_json_integer(n) < 0) {
            pare_vocab_builder_free(&b);
            return pare_error_set(err, PARE_E_FORMAT,
                                  "%s: the value of piece '%.80s' must be an id", name,
                                  pare_json_key(n));
        }
        const char *piece = pare_json_key(n);
        pare_vocab_builder_add(&b, (uint64_t)pare_json_integer(n), piece, strlen(piece));
    }
    return pare_vocab_build(&b, name, out, err);
}

static PareStatus read_text(const PareTokenizerSettings *s, const char *name, char **text,
                            size_t *size, PareError *err) {
    char *path = pare_file_join(s->folder, name);
    if (path == NULL) {
        return pare_memory_error(err, "a path");
    }
    PareStatus status = pare_file_read(path, file_limit, text, size, err);
    pare_free(path);
    return status;
}

/* The next line of a text, without its end; false at the end of the text. */
static bool next_line(const char **at, const char *end, const char **line, size_t *size) {
    if (*at >= end) {
        return false;
    }
    const char *stop = memchr(*at, '\n', (size_t)(end - *at));
    *line = *at;
    *size = (size_t)((stop != NULL ? stop : end) - *at);
    *at = stop != NULL ? stop + 1 : end;
    if (*size > 0 && (*line)[*size - 1] == '\r') {
        (*size)--;
    }
    return true;
}

/* One piece a line; its number is the id. */
static PareStatus read_vocab_lines(const PareTokenizerSettings *s, const char *name, PareVocab *out,
                                   PareError *err) {
    PareVocabBuilder b = {0};
    char *text = NULL;
    size_t size = 0, length;
    PareStatus status = read_text(s, name, &text, &size, err);
    if (status != PARE_OK) {
        return status;
    }
    const char *at = text, *line;
    for (uint64_t id = 0; next_line(&at, text + size, &line, &length); id++) {
        if (!pare_utf8_valid(line, length)) {
            status = pare_error_set(err, PARE_E_FORMAT, "%s: line %llu is not UTF-8", name,
                                    (unsigned long long)id + 1);
            goto done;
        }
        pare_vocab_builder_add(&b, id, line, length);
    }
    if (b.count == 0 && !b.failed) {
        status = pare_error_set(err, PARE_E_FORMAT, "%s: the file is empty", name);
        goto done;
    }
    status = pare_vocab_build(&b, name, out, err);
done:
    pare_vocab_builder_free(&b);
    pare_free(text);
    return status;
}

/* "left right" a line, in order of rank, behind an optional "#version" line. */
static PareStatus read_merges(const PareTokenizerSettings *s, const char *name, PareTokenizer *t,
                              PareError *err) {
    char *text = NULL;
    size_t size = 0, length;
    PareStatus status = read_text(s, name, &text, &size, err);
    const char *at = text, *line;
    for (size_t number = 1; status == PARE_OK && next_line(&at, text + size, &line, &length);
         number++) {
        bool version = number == 1 && length >= 8 && memcmp(line, "#version", 8) == 0;
        if (version || (length == 0 && at == text + size)) {
            continue;
        }
        const char *blank = memchr(line, ' ', length);
        size_t left = blank != NULL ? (size_t)(blank - line) : 0;
        if (left == 0 || left + 1 == length || memchr(blank + 1, ' ', length - left - 1) != NULL) {
            status = pare_error_set(err, PARE_E_FORMAT,
                                    "%s: line %zu must be two pieces with a blank between", name,
                                    number);
        } else {
            status =
                pare_bpe_add_merge(t, line, left, blank + 1, length - left - 1, name, number, err);
        }
    }
    pare_free(text);
    return status;
}

/* ---- The kinds --------------------------------------------------------------------------------
 */

static PareStatus load_wordpiece(PareTokenizerSettings *s, PareTokenizer **out, PareError *err) {
    PareTokenizer *t = pare_tokenizer_create(&pare_kind_wordpiece);
    if (t == NULL) {
        return pare_memory_error(err, "a tokenizer");
    }
    *out = t;
    PareWordPiece *w = &t->wordpiece;
    w->clean = true;
    w->ideographs = s->ideographs != PARE_SAYS_NO;
    w->lowercase =
        s->lowercase == PARE_SAYS_NOTHING ? s->hints.lowercase : s->lowercase == PARE_SAYS_YES;
    w->strip_accents =
        s->strip_accents == PARE_SAYS_NOTHING ? w->lowercase : s->strip_accents == PARE_SAYS_YES;
    w->max_chars = 100;
    w->prefix = pare_strdup("##");
    if (w->prefix == NULL) {
        return pare_memory_error(err, "a tokenizer");
    }
    pare_settings_used(s, "vocab.txt");
    PareStatus status = read_vocab_lines(s, "vocab.txt", &t->vocab, err);
    return status == PARE_OK ? pare_settings_apply(s, t, "vocab.txt", err) : status;
}

static PareStatus load_bpe(PareTokenizerSettings *s, PareTokenizer **out, PareError *err) {
    const PareJson *root;
    PareTokenizer *t = pare_tokenizer_create(&pare_kind_bpe);
    if (t == NULL) {
        return pare_memory_error(err, "a tokenizer");
    }
    *out = t;
    t->bpe.split = true;
    t->bpe.add_prefix_space = s->prefix_space == PARE_SAYS_NOTHING
                                  ? s->hints.add_prefix_space
                                  : s->prefix_space == PARE_SAYS_YES;
    PareStatus status = pare_settings_open(s, "vocab.json", &root, err);
    if (status == PARE_OK) {
        status = pare_vocab_from_json(root, "vocab.json", &t->vocab, err);
    }
    if (status == PARE_OK) {
        pare_settings_used(s, "merges.txt");
        status = read_merges(s, "merges.txt", t, err);
    }
    return status == PARE_OK ? pare_settings_apply(s, t, "vocab.json", err) : status;
}

/* Reads a model; its ids are its own indices until they are mapped. */
static PareStatus read_spm(PareTokenizerSettings *s, const char *name, PareSpm *out,
                           PareError *err) {
    char *bytes = NULL;
    size_t size = 0;
    PareStatus status = read_text(s, name, &bytes, &size, err);
    if (status == PARE_OK) {
        pare_settings_used(s, name);
        status = pare_spm_parse(bytes, size, name, out, err);
    }
    pare_free(bytes);
    if (status != PARE_OK) {
        return status;
    }
    out->ids = pare_alloc(out->pieces.count, sizeof *out->ids);
    if (out->ids == NULL) {
        return pare_memory_error(err, name);
    }
    for (uint32_t i = 0; i < out->pieces.count; i++) {
        out->ids[i] = (int32_t)i;
    }
    return PARE_OK;
}

static PareStatus load_one_side(PareTokenizerSettings *s, const char *name, PareTokenizer **out,
                                PareError *err) {
    PareTokenizer *t = pare_tokenizer_create(&pare_kind_unigram);
    if (t == NULL) {
        return pare_memory_error(err, "a tokenizer");
    }
    *out = t;
    PareSpm *m = &t->unigram.models[0];
    PareStatus status = read_spm(s, name, m, err);
    if (status == PARE_OK) {
        status = pare_vocab_from_text(m->pieces.text, m->pieces.text_size, m->pieces.count, name,
                                      &t->vocab, err);
    }
    t->unigram.language_code = s->hints.language_code;
    return status == PARE_OK ? pare_settings_apply(s, t, name, err) : status;
}

static void map_pieces(const PareVocab *vocab, PareSpm *m) {
    for (uint32_t i = 0; i < m->pieces.count; i++) {
        size_t size;
        const char *piece = pare_vocab_piece(&m->pieces, i, &size);
        m->ids[i] = pare_vocab_find(vocab, piece, size);
    }
}

static PareStatus same_content(const PareTokenizerSettings *s, const char *a, const char *b,
                               bool *same, PareError *err) {
    char *first = NULL, *second = NULL;
    size_t first_size = 0, second_size = 0;
    PareStatus status = read_text(s, a, &first, &first_size, err);
    if (status == PARE_OK) {
        status = read_text(s, b, &second, &second_size, err);
    }
    *same =
        status == PARE_OK && first_size == second_size && memcmp(first, second, first_size) == 0;
    pare_free(first);
    pare_free(second);
    return status;
}

static PareStatus load_two_sides(PareTokenizerSettings *s, PareTokenizer **out, PareError *err) {
    const PareJson *root;
    bool same = false;
    PareTokenizer *t = pare_tokenizer_create(&pare_kind_unigram);
    if (t == NULL) {
        return pare_memory_error(err, "a tokenizer");
    }
    *out = t;
    PareUnigram *u = &t->unigram;
    u->two_sides = true;
    u->language_code = s->hints.language_code;
    PareStatus status = pare_settings_open(s, "vocab.json", &root, err);
    if (status == PARE_OK) {
        status = pare_vocab_from_json(root, "vocab.json", &t->vocab, err);
    }
    if (status == PARE_OK) {
        status = read_spm(s, "source.spm", &u->models[0], err);
    }
    if (status == PARE_OK) {
        status = same_content(s, "source.spm", "target.spm", &same, err);
    }
    if (status == PARE_OK && same) {
        pare_settings_used(s, "target.spm");
    } else if (status == PARE_OK) {
        status = read_spm(s, "target.spm", &u->models[1], err);
    }
    if (status == PARE_OK) {
        map_pieces(&t->vocab, &u->models[0]);
        map_pieces(&t->vocab, &u->models[1]);
        status = pare_settings_apply(s, t, "vocab.json", err);
    }
    return status;
}

static PareStatus load_json(PareTokenizerSettings *s, PareTokenizer **out, PareError *err) {
    const PareJson *root;
    PareStatus status = pare_settings_open(s, "tokenizer.json", &root, err);
    if (status == PARE_OK) {
        status = pare_tokenizer_from_json(s, root, out, err);
    }
    return status == PARE_OK ? pare_settings_apply(s, *out, "tokenizer.json", err) : status;
}

/* ---- Choosing ---------------------------------------------------------------------------------
 */

static bool has(const PareTokenizerSettings *s, const char *name, bool *failed) {
    char *path = pare_file_join(s->folder, name);
    bool found = path != NULL && pare_file_exists(path);
    *failed = *failed || path == NULL;
    pare_free(path);
    return found;
}

/* The pieces of a file of this name do not keep their indices: its readers insert ids of their own
 * before them. Guessing would give wrong ids without a word. */
static PareStatus refuse_shifted(PareError *err) {
    return pare_error_set(err, PARE_E_UNSUPPORTED,
                          "sentencepiece.bpe.model: not supported, since the ids of models with a "
                          "file of this name are shifted; expected spiece.model");
}

static PareStatus load_found(PareTokenizerSettings *s, PareTokenizer **out, PareError *err) {
    const PareTokenizerHints *h = &s->hints;
    bool failed = false;
    bool any = !h->accept_wordpiece && !h->accept_bpe && !h->accept_unigram;
    bool lines = has(s, "vocab.txt", &failed), vocab = has(s, "vocab.json", &failed);
    bool merges = has(s, "merges.txt", &failed), source = has(s, "source.spm", &failed);
    bool piece = has(s, "spiece.model", &failed), model = has(s, "tokenizer.model", &failed);
    bool shifted = has(s, "sentencepiece.bpe.model", &failed);
    bool json = has(s, "tokenizer.json", &failed);
    if (failed) {
        return pare_memory_error(err, "a path");
    }
    if (lines && (any || h->accept_wordpiece)) {
        return load_wordpiece(s, out, err);
    }
    if (vocab && merges && (any || h->accept_bpe)) {
        return load_bpe(s, out, err);
    }
    if (source && (h->two_models || any)) {
        return load_two_sides(s, out, err);
    }
    if ((piece || model || shifted) && !h->two_models && (any || h->accept_unigram)) {
        return piece     ? load_one_side(s, "spiece.model", out, err)
               : shifted ? refuse_shifted(err)
                         : load_one_side(s, "tokenizer.model", out, err);
    }
    if (json) {
        return load_json(s, out, err);
    }
    if (!lines && !vocab && !merges && !source && !piece && !shifted && !model) {
        return PARE_OK;
    }
    const char *found = lines    ? "vocab.txt"
                        : source ? "source.spm"
                        : piece  ? "spiece.model"
                        : vocab  ? "vocab.json"
                        : merges ? "merges.txt"
                        : model  ? "tokenizer.model"
                                 : "sentencepiece.bpe.model";
    const char *expected = h->two_models         ? "source.spm with target.spm and vocab.json"
                           : h->accept_wordpiece ? "vocab.txt or tokenizer.json"
                           : h->accept_bpe       ? "vocab.json with merges.txt, or tokenizer.json"
                           : h->accept_unigram   ? "spiece.model"
                                                 : "merges.txt beside it, or tokenizer.json";
    return pare_error_set(err, PARE_E_UNSUPPORTED,
                          "%s alone does not make this model's tokenizer; expected %s", found,
                          expected);
}

PareStatus pare_tokenizer_load(const char *folder, const PareTokenizerHints *hints,
                               PareTokenizer **out, PareError *err) {
    static const PareTokenizerHints no_hints;
    PareTokenizerSettings s;
    *out = NULL;
    PareStatus status = pare_settings_read(&s, folder, hints != NULL ? hints : &no_hints, err);
    if (status == PARE_OK) {
        status = load_found(&s, out, err);
    }
    if (status != PARE_OK) {
        pare_tokenizer_free(*out);
        *out = NULL;
        /* Errors of reading a file already name its whole path. */
        if (err != NULL && strncmp(err->message, folder, strlen(folder)) != 0) {
            (void)pare_error_prefix(err, "%s", folder);
        }
    }
    pare_settings_free(&s);
    return status;
}
