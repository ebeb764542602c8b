/* A tokenizer's settings: see tokenizer_settings.h. */
#include "text/tokenizer_settings.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"

/* ---- Documents --------------------------------------------------------------------------------
 */

void pare_settings_used(PareTokenizerSettings *s, const char *name) {
    if (s->file_count < PARE_TOKENIZER_MAX_FILES) {
        s->files[s->file_count++] = name;
    }
}

PareStatus pare_settings_open(PareTokenizerSettings *s, const char *name, const PareJson **out,
                              PareError *err) {
    PareStatus status = PARE_OK;
    char *path = pare_file_join(s->folder, name);
    *out = NULL;
    if (path == NULL) {
        return pare_memory_error(err, "a path");
    }
    if (pare_file_exists(path)) {
        PareJsonDoc *doc = NULL;
        status = pare_json_read(path, &doc, err);
        if (status == PARE_OK && !pare_json_is_object(pare_json_root(doc))) {
            pare_json_free(doc);
            status = pare_error_set(err, PARE_E_FORMAT, "%s: must be a JSON object", path);
        } else if (status == PARE_OK) {
            s->docs[s->doc_count++] = doc;
            *out = pare_json_root(doc);
            pare_settings_used(s, name);
        }
    }
    pare_free(path);
    return status;
}

void pare_settings_free(PareTokenizerSettings *s) {
    for (size_t i = 0; i < s->doc_count; i++) {
        pare_json_free(s->docs[i]);
    }
    pare_free(s->tokens);
    *s = (PareTokenizerSettings){0};
}

/* ---- Tokens -----------------------------------------------------------------------------------
 */

PareStatus pare_settings_add(PareTokenizerSettings *s, const PareTokenSpec *token, PareError *err) {
    if (s->token_count == s->token_capacity) {
        size_t capacity = s->token_capacity == 0 ? 64 : s->token_capacity * 2;
        PareTokenSpec *grown = pare_realloc(s->tokens, capacity, sizeof *grown);
        if (grown == NULL) {
            return pare_memory_error(err, "added tokens");
        }
        s->tokens = grown;
        s->token_capacity = capacity;
    }
    s->tokens[s->token_count++] = *token;
    return PARE_OK;
}

PareStatus pare_settings_flags(const PareJson *object, uint8_t *flags, const char *where,
                               PareError *err) {
    static const struct {
        const char *key;
        uint8_t flag;
    } keys[] = {{"special", PARE_TOKEN_SPECIAL},
                {"lstrip", PARE_TOKEN_LSTRIP},
                {"rstrip", PARE_TOKEN_RSTRIP},
                {"single_word", PARE_TOKEN_SINGLE_WORD},
                {"normalized", PARE_TOKEN_NORMALIZED}};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        bool set = (*flags & keys[i].flag) != 0;
        PareStatus status = pare_json_get_bool(object, keys[i].key, &set, where, err);
        if (status != PARE_OK) {
            return status;
        }
        *flags = (uint8_t)(set ? *flags | keys[i].flag : *flags & ~keys[i].flag);
    }
    return PARE_OK;
}

/* A token as files write it: a string, or an object with its content and flags. */
static PareStatus read_token(const PareJson *n, const char *where, const char **content,
                             uint8_t *flags, PareError *err) {
    *content = NULL;
    if (pare_json_is_string(n)) {
        *content = pare_json_string(n);
        return PARE_OK;
    }
    PareStatus status = pare_json_get_string(n, "content", content, where, err);
    if (status == PARE_OK && *content == NULL) {
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: a token must be a string or an object with \"content\"", where);
    }
    return status == PARE_OK ? pare_settings_flags(n, flags, where, err) : status;
}

/* ---- tokenizer_config.json and special_tokens_map.json ----------------------------------------
 */

static const char *const role_keys[PARE_ROLE_COUNT] = {
    "unk_token", "pad_token", "bos_token", "eos_token", "cls_token", "sep_token", "mask_token"};

static PareStatus read_roles(PareTokenizerSettings *s, const PareJson *root, const char *name,
                             PareError *err) {
    PareStatus status = PARE_OK;
    for (size_t i = 0; i < PARE_ROLE_COUNT && status == PARE_OK; i++) {
        const PareJson *n = pare_json_get(root, role_keys[i]);
        if (n != NULL && pare_json_is_null(n)) {
            s->roles[i] = NULL;
        } else if (n != NULL) {
            status = read_token(n, name, &s->roles[i], &s->role_flags[i], err);
        }
    }
    static const char *const list_keys[] = {"additional_special_tokens", "extra_special_tokens"};
    for (size_t k = 0; k < 2 && status == PARE_OK; k++) {
        const PareJson *list = pare_json_get_set(root, list_keys[k]);
        for (const PareJson *n = pare_json_first(list); n != NULL && status == PARE_OK;
             n = pare_json_next(n)) {
            PareTokenSpec token = {NULL, -1, PARE_TOKEN_SPECIAL, !pare_json_is_string(n)};
            status = read_token(n, name, &token.content, &token.flags, err);
            token.flags |= PARE_TOKEN_SPECIAL;
            if (status == PARE_OK) {
                status = pare_settings_add(s, &token, err);
            }
        }
    }
    return status;
}

static PareStatus read_answer(const PareJson *root, const char *key, PareAnswer *out,
                              const char *name, PareError *err) {
    bool yes = false;
    if (pare_json_get_set(root, key) == NULL) {
        return PARE_OK;
    }
    PareStatus status = pare_json_get_bool(root, key, &yes, name, err);
    *out = yes ? PARE_SAYS_YES : PARE_SAYS_NO;
    return status;
}

/* Switches that would change the ids and that this program does not follow. */
static PareStatus refuse_others(const PareJson *root, const char *name, PareError *err) {
    bool basic = true, separate = false;
    const char *words = NULL;
    PareStatus status = pare_json_get_bool(root, "do_basic_tokenize", &basic, name, err);
    if (status == PARE_OK) {
        status = pare_json_get_bool(root, "separate_vocabs", &separate, name, err);
    }
    if (status == PARE_OK) {
        status = pare_json_get_string(root, "word_tokenizer_type", &words, name, err);
    }
    if (status == PARE_OK && !basic) {
        status = pare_error_set(err, PARE_E_UNSUPPORTED,
                                "%s: do_basic_tokenize false is not "
                                "supported; expected true",
                                name);
    }
    if (status == PARE_OK && separate) {
        status = pare_error_set(err, PARE_E_UNSUPPORTED,
                                "%s: separate_vocabs true is not "
                                "supported; expected one vocab.json for both sides",
                                name);
    }
    if (status == PARE_OK && words != NULL && strcmp(words, "basic") != 0) {
        status = pare_error_set(err, PARE_E_UNSUPPORTED,
                                "%s: word_tokenizer_type '%s' is not "
                                "supported; expected \"basic\"",
                                name, words);
    }
    return status;
}

/* "added_tokens_decoder": {"5": {"content": …, flags}} */
static PareStatus read_decoder(PareTokenizerSettings *s, const PareJson *root, const char *name,
                               PareError *err) {
    PareStatus status = PARE_OK;
    const PareJson *list = pare_json_get_set(root, "added_tokens_decoder");
    for (const PareJson *n = pare_json_first(list); n != NULL && status == PARE_OK;
         n = pare_json_next(n)) {
        int64_t id = 0;
        const char *key = pare_json_key(n);
        for (const char *p = key; *p != '\0' && id >= 0; p++) {
            bool digit = *p >= '0' && *p <= '9' && p - key < 9;
            id = digit ? id * 10 + (*p - '0') : -1;
        }
        if (id < 0 || *key == '\0') {
            return pare_error_set(err, PARE_E_FORMAT,
                                  "%s: added_tokens_decoder has the key '%.40s'; expected an id",
                                  name, key);
        }
        PareTokenSpec token = {NULL, id, 0, true};
        status = read_token(n, name, &token.content, &token.flags, err);
        if (status == PARE_OK) {
            status = pare_settings_add(s, &token, err);
        }
    }
    return status;
}

static PareStatus read_config(PareTokenizerSettings *s, const PareJson *root, const char *name,
                              PareError *err) {
    const struct {
        const char *key;
        PareAnswer *answer;
    } answers[] = {{"do_lower_case", &s->lowercase},
                   {"strip_accents", &s->strip_accents},
                   {"tokenize_chinese_chars", &s->ideographs},
                   {"add_prefix_space", &s->prefix_space},
                   {"clean_up_tokenization_spaces", &s->cleanup}};
    PareStatus status = refuse_others(root, name, err);
    for (size_t i = 0; i < sizeof answers / sizeof answers[0] && status == PARE_OK; i++) {
        status = read_answer(root, answers[i].key, answers[i].answer, name, err);
    }
    if (status == PARE_OK) {
        status = pare_json_get_int(root, "extra_ids", 0, 1000000, &s->extra_ids, name, err);
    }
    s->newer_config = pare_json_get(root, "backend") != NULL;
    if (status == PARE_OK) {
        status = read_roles(s, root, name, err);
    }
    return status == PARE_OK ? read_decoder(s, root, name, err) : status;
}

/* added_tokens.json: {"content": id} */
static PareStatus read_added(PareTokenizerSettings *s, const PareJson *root, const char *name,
                             PareError *err) {
    PareStatus status = PARE_OK;
    for (const PareJson *n = pare_json_first(root); n != NULL && status == PARE_OK;
         n = pare_json_next(n)) {
        if (!pare_json_is_integer(n) || pare_json_integer(n) < 0) {
            return pare_error_set(err, PARE_E_FORMAT, "%s: the value of '%.80s' must be an id",
                                  name, pare_json_key(n));
        }
        PareTokenSpec token = {pare_json_key(n), pare_json_integer(n), PARE_TOKEN_NORMALIZED,
                               false};
        status = pare_settings_add(s, &token, err);
    }
    return status;
}

PareStatus pare_settings_read(PareTokenizerSettings *s, const char *folder,
                              const PareTokenizerHints *hints, PareError *err) {
    const char *const defaults[PARE_ROLE_COUNT] = {
        hints->unknown, hints->pad, hints->bos, hints->eos, hints->cls, hints->sep, hints->mask};
    *s = (PareTokenizerSettings){.folder = folder,
                                 .hints = *hints,
                                 .lowercase = PARE_SAYS_NOTHING,
                                 .strip_accents = PARE_SAYS_NOTHING,
                                 .ideographs = PARE_SAYS_NOTHING,
                                 .prefix_space = PARE_SAYS_NOTHING,
                                 .cleanup = PARE_SAYS_NOTHING,
                                 .extra_ids = hints->extra_ids};
    for (size_t i = 0; i < PARE_ROLE_COUNT; i++) {
        s->roles[i] = defaults[i];
        s->role_flags[i] = PARE_TOKEN_SPECIAL;
    }
    /* Byte-level vocabularies' mask swallows the blank before it, where no file says otherwise. */
    if (hints->accept_bpe) {
        s->role_flags[PARE_ROLE_MASK] |= PARE_TOKEN_LSTRIP;
    }
    static const struct {
        const char *name;
        PareStatus (*read)(PareTokenizerSettings *, const PareJson *, const char *, PareError *);
    } files[] = {{"added_tokens.json", read_added},
                 {"special_tokens_map.json", read_roles},
                 {"tokenizer_config.json", read_config}};
    PareStatus status = PARE_OK;
    for (size_t i = 0; i < sizeof files / sizeof files[0] && status == PARE_OK; i++) {
        const PareJson *root;
        status = pare_settings_open(s, files[i].name, &root, err);
        if (status == PARE_OK && root != NULL) {
            status = files[i].read(s, root, files[i].name, err);
        }
    }
    return status;
}

/* ---- Applying ---------------------------------------------------------------------------------
 */

/* <extra_id_99> … <extra_id_0>, where the vocabulary has none of its own. */
static uint32_t add_extra_ids(const PareTokenizerSettings *s, const PareTokenizer *t,
                              PareVocabBuilder *b) {
    if (t->kind != &pare_kind_unigram || t->unigram.two_sides ||
        pare_vocab_find(&t->vocab, "<extra_id_0>", 12) >= 0) {
        return 0;
    }
    uint32_t count = (uint32_t)s->extra_ids;
    for (uint32_t i = 0; i < count; i++) {
        char piece[32];
        int size = snprintf(piece, sizeof piece, "<extra_id_%u>", count - 1 - i);
        pare_vocab_builder_add(b, t->vocab.count + i, piece, (size_t)size);
    }
    return count;
}

/* The pieces that there are, the extra ids, and added tokens behind them or in holes. What an added
 * token's id finds taken is checked later, by resolve. */
static PareStatus extend_vocab(const PareTokenizerSettings *s, PareTokenizer *t, const char *name,
                               PareError *err) {
    PareVocabBuilder b = {0};
    PareVocab extended;
    PareStatus status = PARE_OK;
    bool *taken = pare_alloc(PARE_VOCAB_MAX, sizeof *taken); /* untouched pages cost nothing */
    if (taken == NULL) {
        return pare_memory_error(err, "a vocabulary");
    }
    for (uint32_t id = 0; id < t->vocab.count; id++) {
        size_t size;
        const char *piece = pare_vocab_piece(&t->vocab, id, &size);
        if (size != 0) {
            pare_vocab_builder_add(&b, id, piece, size);
            taken[id] = true;
        }
    }
    uint32_t extra = add_extra_ids(s, t, &b);
    for (uint32_t i = 0; i < extra && t->vocab.count + i < PARE_VOCAB_MAX; i++) {
        taken[t->vocab.count + i] = true;
    }
    for (size_t i = 0; i < s->token_count; i++) {
        const PareTokenSpec *token = &s->tokens[i];
        if (token->id >= PARE_VOCAB_MAX || (token->id >= 0 && !taken[token->id])) {
            pare_vocab_builder_add(&b, (uint64_t)token->id, token->content, strlen(token->content));
        }
        if (token->id >= 0 && token->id < PARE_VOCAB_MAX) {
            taken[token->id] = true;
        }
    }
    status = pare_vocab_build(&b, name, &extended, err);
    if (status == PARE_OK) {
        pare_vocab_free(&t->vocab);
        t->vocab = extended;
    }
    pare_free(taken);
    return status;
}

static PareStatus resolve(const PareTokenizer *t, const PareTokenSpec *token, const char *name,
                          int32_t *id, PareError *err) {
    if (token->id < 0) {
        *id = pare_vocab_find(&t->vocab, token->content, strlen(token->content));
        return PARE_OK;
    }
    const char *piece = pare_vocab_piece(&t->vocab, token->id, NULL);
    if (strcmp(piece, token->content) != 0) {
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: added token '%.80s' has id %lld, which is '%.80s'", name,
                              token->content, (long long)token->id, piece);
    }
    *id = (int32_t)token->id;
    return PARE_OK;
}

static PareStatus fill_added(const PareTokenizerSettings *s, PareTokenizer *t, const char *name,
                             PareError *err) {
    PareStatus status = PARE_OK;
    uint8_t *flags = pare_alloc(t->vocab.count, 1); /* by id; bit 7: it is an added token */
    size_t count = 0;
    if (flags == NULL) {
        return pare_memory_error(err, "added tokens");
    }
    for (size_t i = 0; i < PARE_ROLE_COUNT; i++) {
        const char *content = s->roles[i];
        int32_t id = content != NULL ? pare_vocab_find(&t->vocab, content, strlen(content)) : -1;
        t->roles[i] = id;
        if (id >= 0) {
            flags[id] |= (uint8_t)(s->role_flags[i] | 0x80);
        }
    }
    for (uint32_t i = 0; i < t->vocab.count && t->kind == &pare_kind_unigram; i++) {
        const char *piece = pare_vocab_piece(&t->vocab, i, NULL);
        if (s->extra_ids > 0 && strncmp(piece, "<extra_id_", 10) == 0) {
            flags[i] = PARE_TOKEN_SPECIAL | 0x80;
        }
    }
    for (size_t i = 0; i < s->token_count; i++) {
        const PareTokenSpec *token = &s->tokens[i];
        int32_t id = -1;
        status = resolve(t, token, name, &id, err);
        if (status != PARE_OK) {
            goto done;
        }
        if (id >= 0 && (token->exact || (flags[id] & 0x80) == 0)) {
            flags[id] = (uint8_t)((flags[id] & PARE_TOKEN_SPECIAL) | token->flags | 0x80);
        }
    }
    for (uint32_t id = 0; id < t->vocab.count; id++) {
        count += flags[id] >> 7;
    }
    t->added = pare_alloc(count, sizeof *t->added);
    if (t->added == NULL) {
        status = pare_memory_error(err, "added tokens");
        goto done;
    }
    for (uint32_t id = 0; id < t->vocab.count; id++) {
        if ((flags[id] & 0x80) != 0) {
            t->added[t->added_count++] = (PareAddedToken){(int32_t)id, flags[id] & 0x7F};
        }
    }
done:
    pare_free(flags);
    return status;
}

/* "[CLS] $A [SEP] $B [SEP]". With `types`, what stands behind the separator after $A has type 1. */
static PareStatus parse_template(const PareTokenizer *t, const char *text, bool types,
                                 const char *name, PareTemplate *out, PareError *err) {
    int32_t type = 0;
    bool after_first = false;
    for (const char *p = text; *p != '\0';) {
        size_t size = strcspn(p, " ");
        if (size > 0 && out->count == PARE_TEMPLATE_MAX) {
            return pare_error_set(err, PARE_E_USAGE, "%s: the template '%s' is too long", name,
                                  text);
        }
        if (size > 0) {
            int32_t id = pare_vocab_find(&t->vocab, p, size);
            bool first = size == 2 && memcmp(p, "$A", 2) == 0;
            bool second = size == 2 && memcmp(p, "$B", 2) == 0;
            if (!first && !second && id < 0) {
                return pare_error_set(
                    err, PARE_E_FORMAT,
                    "%s: the vocabulary lacks the special token '%.*s', which the "
                    "template '%s' needs",
                    name, (int)size, p, text);
            }
            id = first ? PARE_TEMPLATE_A : second ? PARE_TEMPLATE_B : id;
            out->items[out->count++] = (PareTemplateItem){id, type};
            type = types && after_first && !second ? 1 : type;
            after_first = after_first || first;
        }
        p += size;
        p += strspn(p, " ");
    }
    return PARE_OK;
}

static PareCleanup choose_cleanup(const PareTokenizerSettings *s, const PareTokenizer *t) {
    if (s->cleanup == PARE_SAYS_YES) {
        return PARE_CLEANUP_TEXT;
    }
    if (t->kind != &pare_kind_wordpiece) {
        return PARE_CLEANUP_NONE;
    }
    /* The reference's WordPiece decoder tidies each token even when told not to clean up. */
    if (s->cleanup == PARE_SAYS_NOTHING && !s->newer_config) {
        return PARE_CLEANUP_TEXT;
    }
    return s->plain_decoder ? PARE_CLEANUP_NONE : PARE_CLEANUP_TOKENS;
}

PareStatus pare_settings_apply(const PareTokenizerSettings *s, PareTokenizer *t, const char *name,
                               PareError *err) {
    PareStatus status = extend_vocab(s, t, name, err);
    if (status == PARE_OK) {
        status = fill_added(s, t, name, err);
    }
    if (status == PARE_OK && t->single.count == 0) {
        const char *text = s->hints.single != NULL ? s->hints.single : "$A";
        status = parse_template(t, text, false, name, &t->single, err);
    }
    if (status == PARE_OK && t->pair.count == 0) {
        const char *text = s->hints.pair != NULL ? s->hints.pair : "$A $B";
        status = parse_template(t, text, t->kind == &pare_kind_wordpiece, name, &t->pair, err);
    }
    t->cleanup = choose_cleanup(s, t);
    memcpy(t->files, s->files, sizeof t->files);
    t->file_count = s->file_count;
    return status == PARE_OK ? pare_tokenizer_finish(t, name, err) : status;
}
