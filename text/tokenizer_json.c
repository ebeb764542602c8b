/* tokenizer.json, the serialisation of the "tokenizers" library: WordPiece and byte-level BPE give
 * the same ids as from their vocabulary files. Every part of the pipeline that the file names must
 * be one that the kinds implement; anything else is refused by name, since skipping it would change
 * ids. "truncation" and "padding" are not part of a text's ids and are left to the caller. */
#include <string.h>

#include "text/tokenizer_json_names.h"
#include "text/tokenizer_settings.h"

static const char file_name[] = "tokenizer.json";

typedef enum {
    PART_NULL,
    PART_SEQUENCE,
    PART_FULL_NORMALIZER,
    PART_LOWERCASE,
    PART_NFD,
    PART_STRIP_ACCENTS,
    PART_WORD_SPLITTER,
    PART_BYTE_LEVEL,
    PART_TEMPLATE,
    PART_CLS_SEP,
    PART_CLS_SEP_SEP,
    PART_WORDPIECE,
    PART_BPE,
    PART_OTHER
} Part;
static const struct {
    const char *name;
    Part part;
} part_names[] = {
    {"Sequence", PART_SEQUENCE},          {PARE_JSON_FULL_NORMALIZER, PART_FULL_NORMALIZER},
    {"Lowercase", PART_LOWERCASE},        {"NFD", PART_NFD},
    {"StripAccents", PART_STRIP_ACCENTS}, {PARE_JSON_WORD_SPLITTER, PART_WORD_SPLITTER},
    {"ByteLevel", PART_BYTE_LEVEL},       {"TemplateProcessing", PART_TEMPLATE},
    {PARE_JSON_CLS_SEP, PART_CLS_SEP},    {PARE_JSON_CLS_SEP_SEP, PART_CLS_SEP_SEP},
    {"WordPiece", PART_WORDPIECE},        {"BPE", PART_BPE},
};

static Part part_of(const PareJson *n, const char **type) {
    *type = "null";
    if (n == NULL || pare_json_is_null(n)) {
        return PART_NULL;
    }
    const PareJson *name = pare_json_get(n, "type");
    *type = pare_json_is_string(name) ? pare_json_string(name) : "?";
    for (size_t i = 0; i < sizeof part_names / sizeof part_names[0]; i++) {
        if (strcmp(part_names[i].name, *type) == 0) {
            return part_names[i].part;
        }
    }
    return PART_OTHER;
}

static PareStatus refuse(const char *where, const char *type, const char *expected,
                         PareError *err) {
    return pare_error_set(err, PARE_E_UNSUPPORTED,
                          "%s: %s.type '%.80s' is not supported; expected "
                          "%s",
                          file_name, where, type, expected);
}

static PareStatus get_bool(const PareJson *n, const char *key, bool *out, PareError *err) {
    return pare_json_get_bool(n, key, out, file_name, err);
}

/* ---- The normalizer of WordPiece --------------------------------------------------------------
 */

typedef struct {
    PareWordPiece *w;
    bool nfd, strip;
} Normalizer;

static PareStatus read_full_normalizer(const PareJson *n, Normalizer *to, PareError *err) {
    bool clean = true, ideographs = true, lowercase = true;
    PareStatus status = get_bool(n, "clean_text", &clean, err);
    if (status == PARE_OK) {
        status = get_bool(n, "handle_chinese_chars", &ideographs, err);
    }
    if (status == PARE_OK) {
        status = get_bool(n, "lowercase", &lowercase, err);
    }
    bool strip = lowercase;
    if (status == PARE_OK) {
        status = get_bool(n, "strip_accents", &strip, err);
    }
    to->w->clean = to->w->clean || clean;
    to->w->ideographs = to->w->ideographs || ideographs;
    to->w->lowercase = to->w->lowercase || lowercase;
    to->nfd = to->nfd || strip;
    to->strip = to->strip || strip;
    return status;
}

static PareStatus read_normalizer_part(const PareJson *n, Normalizer *to, PareError *err) {
    const char *type;
    switch (part_of(n, &type)) {
    case PART_FULL_NORMALIZER:
        return read_full_normalizer(n, to, err);
    case PART_LOWERCASE:
        to->w->lowercase = true;
        return PARE_OK;
    case PART_NFD:
        to->nfd = true;
        return PARE_OK;
    case PART_STRIP_ACCENTS:
        to->strip = true;
        return PARE_OK;
    default:
        return refuse("normalizer", type,
                      PARE_JSON_FULL_NORMALIZER
                      ", Lowercase, NFD with StripAccents, or a Sequence of these",
                      err);
    }
}

static PareStatus read_normalizer(const PareJson *n, PareWordPiece *w, PareError *err) {
    const char *type;
    Normalizer to = {.w = w};
    PareStatus status = PARE_OK;
    Part part = part_of(n, &type);
    if (part == PART_SEQUENCE) {
        const PareJson *list = pare_json_get(n, "normalizers");
        for (const PareJson *i = pare_json_first(list); i != NULL && status == PARE_OK;
             i = pare_json_next(i)) {
            status = read_normalizer_part(i, &to, err);
        }
    } else if (part != PART_NULL) {
        status = read_normalizer_part(n, &to, err);
    }
    if (status == PARE_OK && to.nfd != to.strip) {
        status = refuse("normalizer", to.nfd ? "NFD" : "StripAccents",
                        "NFD and StripAccents together", err);
    }
    w->strip_accents = to.strip;
    return status;
}

/* ---- Templates --------------------------------------------------------------------------------
 */

static PareStatus bad_template(PareError *err) {
    return pare_error_set(err, PARE_E_FORMAT,
                          "%s: post_processor: a template is damaged or has "
                          "more than %d items",
                          file_name, PARE_TEMPLATE_MAX);
}

static PareStatus push_item(PareTemplate *p, int64_t id, int64_t type, PareError *err) {
    if (p->count == PARE_TEMPLATE_MAX || id > INT32_MAX) {
        return bad_template(err);
    }
    p->items[p->count++] = (PareTemplateItem){(int32_t)id, (int32_t)type};
    return PARE_OK;
}

/* {"SpecialToken": {"id": "[CLS]", "type_id": 0}}: its ids are in `specials`. */
static PareStatus push_special(const PareJson *token, const PareJson *specials, PareTemplate *p,
                               PareError *err) {
    int64_t type = 0;
    const char *name = NULL;
    PareStatus status = pare_json_get_int(token, "type_id", 0, INT32_MAX, &type, file_name, err);
    if (status == PARE_OK) {
        status = pare_json_get_string(token, "id", &name, file_name, err);
    }
    if (status != PARE_OK) {
        return status;
    }
    const PareJson *special = name != NULL ? pare_json_get(specials, name) : NULL;
    const PareJson *id = pare_json_first(pare_json_get(special, "ids"));
    if (id == NULL) {
        return bad_template(err);
    }
    for (; id != NULL && status == PARE_OK; id = pare_json_next(id)) {
        bool good = pare_json_is_integer(id) && pare_json_integer(id) >= 0;
        status = good ? push_item(p, pare_json_integer(id), type, err) : bad_template(err);
    }
    return status;
}

static PareStatus read_template(const PareJson *list, const PareJson *specials, PareTemplate *p,
                                PareError *err) {
    PareStatus status = PARE_OK;
    p->count = 0;
    for (const PareJson *n = pare_json_first(list); n != NULL && status == PARE_OK;
         n = pare_json_next(n)) {
        const PareJson *token = pare_json_get(n, "SpecialToken");
        const PareJson *text = pare_json_get(n, "Sequence");
        if (token != NULL) {
            status = push_special(token, specials, p, err);
            continue;
        }
        int64_t type = 0;
        const char *name = NULL;
        status = pare_json_get_string(text, "id", &name, file_name, err);
        if (status == PARE_OK) {
            status = pare_json_get_int(text, "type_id", 0, INT32_MAX, &type, file_name, err);
        }
        if (status == PARE_OK) {
            bool first = name != NULL && strcmp(name, "A") == 0;
            bool second = name != NULL && strcmp(name, "B") == 0;
            status = first || second
                         ? push_item(p, first ? PARE_TEMPLATE_A : PARE_TEMPLATE_B, type, err)
                         : bad_template(err);
        }
    }
    return status;
}

/* {"sep": ["[SEP]", 102], "cls": ["[CLS]", 101]}; `twice` has a second separator between the texts
 * and no token types. */
static PareStatus read_cls_sep(const PareJson *n, bool twice, PareTokenizer *t, PareError *err) {
    const PareJson *cls = pare_json_at(pare_json_get(n, "cls"), 1);
    const PareJson *sep = pare_json_at(pare_json_get(n, "sep"), 1);
    if (!pare_json_is_integer(cls) || !pare_json_is_integer(sep) || pare_json_integer(cls) < 0 ||
        pare_json_integer(sep) < 0) {
        return bad_template(err);
    }
    int64_t begin = pare_json_integer(cls), end = pare_json_integer(sep), type = twice ? 0 : 1;
    const int64_t items[][2] = {{begin, 0}, {PARE_TEMPLATE_A, 0},    {end, 0},
                                {end, 0},   {PARE_TEMPLATE_B, type}, {end, type}};
    PareStatus status = PARE_OK;
    t->single.count = t->pair.count = 0;
    for (size_t i = 0; i < 6 && status == PARE_OK; i++) {
        if (i < 3) {
            status = push_item(&t->single, items[i][0], items[i][1], err);
        }
        if (status == PARE_OK && (i != 3 || twice)) {
            status = push_item(&t->pair, items[i][0], items[i][1], err);
        }
    }
    return status;
}

static PareStatus read_processor_part(const PareJson *n, PareTokenizer *t, PareError *err) {
    const char *type;
    switch (part_of(n, &type)) {
    case PART_BYTE_LEVEL: /* offsets only */
        return PARE_OK;
    case PART_CLS_SEP:
        return read_cls_sep(n, false, t, err);
    case PART_CLS_SEP_SEP:
        return read_cls_sep(n, true, t, err);
    case PART_TEMPLATE: {
        const PareJson *specials = pare_json_get(n, "special_tokens");
        PareStatus status = read_template(pare_json_get(n, "single"), specials, &t->single, err);
        if (status == PARE_OK) {
            status = read_template(pare_json_get(n, "pair"), specials, &t->pair, err);
        }
        return status;
    }
    default:
        return refuse("post_processor", type,
                      "TemplateProcessing, " PARE_JSON_CLS_SEP ", " PARE_JSON_CLS_SEP_SEP
                      " or ByteLevel",
                      err);
    }
}

/* What the file has wins over the hints; ByteLevel alone means the plain text. */
static PareStatus read_processor(const PareJson *n, PareTokenizer *t, PareError *err) {
    const char *type;
    Part part = part_of(n, &type);
    if (part == PART_NULL) {
        return PARE_OK;
    }
    t->single = (PareTemplate){.items = {{PARE_TEMPLATE_A, 0}}, .count = 1};
    t->pair = (PareTemplate){.items = {{PARE_TEMPLATE_A, 0}, {PARE_TEMPLATE_B, 1}}, .count = 2};
    if (part != PART_SEQUENCE) {
        return read_processor_part(n, t, err);
    }
    PareStatus status = PARE_OK;
    const PareJson *list = pare_json_get(n, "processors");
    for (const PareJson *i = pare_json_first(list); i != NULL && status == PARE_OK;
         i = pare_json_next(i)) {
        status = read_processor_part(i, t, err);
    }
    return status;
}

/* ---- Models -----------------------------------------------------------------------------------
 */

static PareStatus read_wordpiece(PareTokenizerSettings *s, const PareJson *root,
                                 const PareJson *model, PareTokenizer *t, PareError *err) {
    const char *type, *prefix = "##", *unknown = "[UNK]";
    int64_t max_chars = 100;
    const PareJson *splitter = pare_json_get(root, "pre_tokenizer");
    const PareJson *decoder = pare_json_get(root, "decoder");
    if (part_of(splitter, &type) != PART_WORD_SPLITTER) {
        return refuse("pre_tokenizer", type, PARE_JSON_WORD_SPLITTER " for a WordPiece model", err);
    }
    Part part = part_of(decoder, &type);
    if (part != PART_NULL && part != PART_WORDPIECE) {
        return refuse("decoder", type, "WordPiece for a WordPiece model", err);
    }
    bool tidy = true;
    PareStatus status = part == PART_NULL ? PARE_OK : get_bool(decoder, "cleanup", &tidy, err);
    s->plain_decoder = !tidy;
    if (status == PARE_OK) {
        status = read_normalizer(pare_json_get(root, "normalizer"), &t->wordpiece, err);
    }
    if (status == PARE_OK) {
        status = pare_json_get_string(model, "continuing_subword_prefix", &prefix, file_name, err);
    }
    if (status == PARE_OK) {
        status = pare_json_get_string(model, "unk_token", &unknown, file_name, err);
    }
    if (status == PARE_OK) {
        status = pare_json_get_int(model, "max_input_chars_per_word", 0, UINT32_MAX, &max_chars,
                                   file_name, err);
    }
    if (status != PARE_OK) {
        return status;
    }
    s->roles[PARE_ROLE_UNKNOWN] = unknown;
    t->wordpiece.max_chars = (uint32_t)max_chars;
    t->wordpiece.prefix = pare_strdup(prefix);
    return t->wordpiece.prefix != NULL ? PARE_OK : pare_memory_error(err, file_name);
}

/* Switches of the BPE model that would change ids. */
static PareStatus check_bpe(const PareJson *model, PareError *err) {
    static const char *const off[] = {"byte_fallback", "ignore_merges"};
    static const char *const empty[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    double dropout = 0;
    PareStatus status = pare_json_get_float(model, "dropout", &dropout, file_name, err);
    const char *found = dropout != 0 ? "dropout" : NULL;
    for (size_t i = 0; i < 2 && status == PARE_OK; i++) {
        bool on = false;
        const char *text = "";
        status = get_bool(model, off[i], &on, err);
        found = on ? off[i] : found;
        if (status == PARE_OK) {
            status = pare_json_get_string(model, empty[i], &text, file_name, err);
            found = text[0] != '\0' ? empty[i] : found;
        }
    }
    if (status == PARE_OK && found != NULL) {
        status = pare_error_set(err, PARE_E_UNSUPPORTED,
                                "%s: model.%s is set, which is not "
                                "supported; expected plain byte-level BPE",
                                file_name, found);
    }
    return status;
}

/* The only member of a Sequence stands for it. */
static const PareJson *only_part(const PareJson *n, const char *key) {
    const char *type;
    if (part_of(n, &type) == PART_SEQUENCE && pare_json_size(pare_json_get(n, key)) == 1) {
        return pare_json_first(pare_json_get(n, key));
    }
    return n;
}

static PareStatus read_bpe(PareTokenizerSettings *s, const PareJson *root, const PareJson *model,
                           PareTokenizer *t, PareError *err) {
    const char *type, *unknown = NULL;
    const PareJson *splitter = only_part(pare_json_get(root, "pre_tokenizer"), "pretokenizers");
    const PareJson *decoder = only_part(pare_json_get(root, "decoder"), "decoders");
    if (part_of(pare_json_get(root, "normalizer"), &type) != PART_NULL) {
        return refuse("normalizer", type, "null for a BPE model", err);
    }
    if (part_of(splitter, &type) != PART_BYTE_LEVEL) {
        return refuse("pre_tokenizer", type, "ByteLevel for a BPE model", err);
    }
    Part part = part_of(decoder, &type);
    if (part != PART_NULL && part != PART_BYTE_LEVEL) {
        return refuse("decoder", type, "ByteLevel for a BPE model", err);
    }
    t->bpe.add_prefix_space = true;
    t->bpe.split = true;
    PareStatus status = get_bool(splitter, "add_prefix_space", &t->bpe.add_prefix_space, err);
    if (status == PARE_OK) {
        status = get_bool(splitter, "use_regex", &t->bpe.split, err);
    }
    if (status == PARE_OK) {
        status = check_bpe(model, err);
    }
    if (status == PARE_OK) {
        status = pare_json_get_string(model, "unk_token", &unknown, file_name, err);
    }
    if (unknown != NULL) {
        s->roles[PARE_ROLE_UNKNOWN] = unknown;
    }
    return status;
}

/* A merge is "left right" or, in later files, ["left", "right"]. */
static PareStatus read_merge(const PareJson *n, size_t number, PareTokenizer *t, PareError *err) {
    const char *left = NULL, *right = NULL;
    size_t left_size = 0;
    if (pare_json_is_string(n)) {
        left = pare_json_string(n);
        right = strchr(left, ' ');
        left_size = right != NULL ? (size_t)(right - left) : 0;
        right = right != NULL && strchr(right + 1, ' ') == NULL ? right + 1 : NULL;
    } else if (pare_json_size(n) == 2 && pare_json_is_string(pare_json_at(n, 0)) &&
               pare_json_is_string(pare_json_at(n, 1))) {
        left = pare_json_string(pare_json_at(n, 0));
        right = pare_json_string(pare_json_at(n, 1));
        left_size = strlen(left);
    }
    if (left_size == 0 || right == NULL || *right == '\0') {
        return pare_error_set(err, PARE_E_FORMAT, "%s: merge %zu must be two pieces", file_name,
                              number);
    }
    return pare_bpe_add_merge(t, left, left_size, right, strlen(right), file_name, number, err);
}

static PareStatus read_merges(const PareJson *model, PareTokenizer *t, PareError *err) {
    PareStatus status = PARE_OK;
    const PareJson *list = pare_json_get(model, "merges");
    size_t number = 1;
    if (!pare_json_is_array(list)) {
        return pare_error_set(err, PARE_E_FORMAT, "%s: model.merges must be a list", file_name);
    }
    for (const PareJson *n = pare_json_first(list); n != NULL && status == PARE_OK;
         n = pare_json_next(n)) {
        status = read_merge(n, number++, t, err);
    }
    return status;
}

/* Old files do not name the type of their model; its members tell. */
static Part model_part(const PareJson *model, const char **type) {
    if (pare_json_get_set(model, "type") != NULL) {
        return part_of(model, type);
    }
    if (pare_json_get(model, "merges") != NULL) {
        return PART_BPE;
    }
    *type = pare_json_is_array(pare_json_get(model, "vocab")) ? "Unigram" : "?";
    return pare_json_get(model, "max_input_chars_per_word") != NULL ? PART_WORDPIECE : PART_OTHER;
}

static PareStatus read_added(PareTokenizerSettings *s, const PareJson *root, PareError *err) {
    PareStatus status = PARE_OK;
    const PareJson *list = pare_json_get_set(root, "added_tokens");
    for (const PareJson *n = pare_json_first(list); n != NULL && status == PARE_OK;
         n = pare_json_next(n)) {
        PareTokenSpec token = {NULL, -1, PARE_TOKEN_NORMALIZED, true};
        status = pare_json_get_string(n, "content", &token.content, file_name, err);
        if (status == PARE_OK) {
            status = pare_json_get_int(n, "id", 0, PARE_VOCAB_MAX - 1, &token.id, file_name, err);
        }
        if (status == PARE_OK) {
            status = pare_settings_flags(n, &token.flags, file_name, err);
        }
        if (status == PARE_OK && (token.content == NULL || token.id < 0)) {
            status =
                pare_error_set(err, PARE_E_FORMAT,
                               "%s: an added token must have an id and its content", file_name);
        }
        if (status == PARE_OK) {
            status = pare_settings_add(s, &token, err);
        }
    }
    return status;
}

PareStatus pare_tokenizer_from_json(PareTokenizerSettings *s, const PareJson *root,
                                    PareTokenizer **out, PareError *err) {
    const PareTokenizerHints *h = &s->hints;
    const PareJson *model = pare_json_get(root, "model");
    const char *type = "?";
    Part part = model_part(model, &type);
    bool any = !h->accept_wordpiece && !h->accept_bpe && !h->accept_unigram;
    bool wordpiece = part == PART_WORDPIECE && (any || h->accept_wordpiece);
    if (!wordpiece && !(part == PART_BPE && (any || h->accept_bpe))) {
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: model.type '%.80s' is not supported; expected %s", file_name,
                              part == PART_WORDPIECE ? "WordPiece"
                              : part == PART_BPE     ? "BPE"
                                                     : type,
                              any                   ? "WordPiece or byte-level BPE"
                              : h->accept_wordpiece ? "WordPiece"
                              : h->accept_bpe       ? "byte-level BPE"
                                                    : "the sentencepiece model beside it");
    }
    PareTokenizer *t = pare_tokenizer_create(wordpiece ? &pare_kind_wordpiece : &pare_kind_bpe);
    if (t == NULL) {
        return pare_memory_error(err, file_name);
    }
    *out = t;
    PareStatus status =
        wordpiece ? read_wordpiece(s, root, model, t, err) : read_bpe(s, root, model, t, err);
    if (status == PARE_OK) {
        status = pare_vocab_from_json(pare_json_get(model, "vocab"), file_name, &t->vocab, err);
    }
    if (status == PARE_OK && !wordpiece) {
        status = read_merges(model, t, err);
    }
    if (status == PARE_OK) {
        status = read_processor(pare_json_get(root, "post_processor"), t, err);
    }
    return status == PARE_OK ? read_added(s, root, err) : status;
}
