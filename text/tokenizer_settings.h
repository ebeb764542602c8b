/* What tokenizer_config.json, special_tokens_map.json, added_tokens.json and the caller's hints say
 * about a tokenizer, gathered before and applied after its vocabulary is read. */
#ifndef PARE_TEXT_TOKENIZER_SETTINGS_H
#define PARE_TEXT_TOKENIZER_SETTINGS_H

#include "core/json.h"
#include "text/tokenizer_impl.h"

/* A token that is recognised in the text. */
typedef struct {
    const char *content; /* borrowed from a document or the hints */
    int64_t id;          /* -1: wherever the vocabulary has it, if anywhere */
    uint8_t flags;       /* PARE_TOKEN_… */
    bool exact;          /* the flags are the file's, not a default: they win */
} PareTokenSpec;

typedef enum { PARE_SAYS_NOTHING = -1, PARE_SAYS_NO, PARE_SAYS_YES } PareAnswer;

typedef struct {
    const char *folder;
    PareTokenizerHints hints;
    PareJsonDoc *docs[4]; /* own the strings */
    size_t doc_count;
    const char *files[PARE_TOKENIZER_MAX_FILES];
    size_t file_count;

    const char *roles[PARE_ROLE_COUNT]; /* NULL: none */
    uint8_t role_flags[PARE_ROLE_COUNT];
    PareTokenSpec *tokens; /* later ones override earlier ones of the same id */
    size_t token_count, token_capacity;
    PareAnswer lowercase, strip_accents, ideographs, prefix_space, cleanup;
    bool newer_config;  /* written by a version whose decode does not clean up by default */
    bool plain_decoder; /* tokenizer.json: its WordPiece decoder does not tidy tokens */
    int64_t extra_ids;
} PareTokenizerSettings;

PareStatus pare_settings_read(PareTokenizerSettings *s, const char *folder,
                              const PareTokenizerHints *hints, PareError *err);
void pare_settings_free(PareTokenizerSettings *s);

/* Reads folder/name as JSON and keeps the document; *out is NULL when there is no such file. */
PareStatus pare_settings_open(PareTokenizerSettings *s, const char *name, const PareJson **out,
                              PareError *err);
/* Notes that a file was used; `name` is a static string. */
void pare_settings_used(PareTokenizerSettings *s, const char *name);
PareStatus pare_settings_add(PareTokenizerSettings *s, const PareTokenSpec *token, PareError *err);
/* The flags lstrip, rstrip, single_word, normalized, special of an object; absent ones stay. */
PareStatus pare_settings_flags(const PareJson *object, uint8_t *flags, const char *where,
                               PareError *err);

/* Gives a tokenizer whose vocabulary and kind are filled in its added tokens, special ids,
 * templates (unless it has them) and clean-up, and finishes it. `name` is for messages. */
PareStatus pare_settings_apply(const PareTokenizerSettings *s, PareTokenizer *t, const char *name,
                               PareError *err);

/* tokenizer_json.c: a tokenizer from a parsed tokenizer.json; its added tokens go to `s`. */
PareStatus pare_tokenizer_from_json(PareTokenizerSettings *s, const PareJson *root,
                                    PareTokenizer **out, PareError *err);
/* tokenizer_load.c: {"piece": id, …} */
PareStatus pare_vocab_from_json(const PareJson *object, const char *name, PareVocab *out,
                                PareError *err);

#endif
