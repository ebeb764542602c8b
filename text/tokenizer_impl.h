/* The inside of a tokenizer, for the files text/tokenizer_*.c and the kinds; nobody else includes
 * this but tests.
 *
 * A kind (wordpiece.c, bpe.c, unigram.c) turns plain text into ids and ids into text. What all
 * kinds share (added tokens that are recognised in the text, templates, special ids, truncation,
 * clean-up, the common part of the compact form) is in tokenizer*.c. */
#ifndef PARE_TEXT_TOKENIZER_IMPL_H
#define PARE_TEXT_TOKENIZER_IMPL_H

#include "core/memory.h"
#include "text/tokenizer.h"
#include "text/tokenizer_trie.h"
#include "text/tokenizer_vocab.h"

/* ---- Kinds ------------------------------------------------------------------------------------
 */

typedef struct {
    PareTrie trie;      /* all pieces; continuing ones are found below `inside` */
    uint32_t inside;    /* the node of `prefix`, 0 when no piece begins with it */
    char *prefix;       /* "##" */
    uint32_t max_chars; /* longer words become the unknown token */
    bool clean, ideographs, strip_accents, lowercase;
} PareWordPiece;

typedef struct {
    uint64_t pair; /* left << 32 | right; EMPTY_PAIR marks a free slot */
    uint32_t rank, id;
} PareMerge;

typedef struct PareSplitter PareSplitter; /* splitter.c */

typedef struct {
    uint32_t *pairs; /* left, right of each merge, by rank */
    size_t count;
    PareMerge *slots;
    uint32_t mask;
    int32_t byte_ids[256];
    bool add_prefix_space, split;
    PareSplitter *splitter;
} PareBpe;

typedef struct {
    const uint8_t *units; /* double-array trie, little-endian 32-bit units; may be unaligned */
    size_t unit_count;
    const char *strings; /* NUL-terminated replacements */
    size_t strings_size;
    bool add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces, whitespace_as_suffix;
    PareTrie user_defined; /* never normalized */
} PareSpmNormalizer;

/* The types of a sentencepiece piece as in its protocol buffer. */
enum {
    PARE_SPM_NORMAL = 1,
    PARE_SPM_UNKNOWN = 2,
    PARE_SPM_CONTROL = 3,
    PARE_SPM_USER_DEFINED = 4,
    PARE_SPM_UNUSED = 5,
    PARE_SPM_BYTE = 6
};

typedef struct {
    PareVocab pieces; /* by the model's own index */
    float *scores;
    uint8_t *types;
    int32_t *ids; /* index -> id of the tokenizer's vocabulary, -1: it has none */
    char *charsmap;
    size_t charsmap_size;
    PareSpmNormalizer normalizer;
    bool byte_fallback;
    char *unknown_surface;
    /* Derived by pare_spm_finish: */
    PareTrie trie; /* normal, user-defined and unused pieces */
    int32_t unknown;
    float min_score, max_score;
    int32_t bytes[256];
} PareSpm;

typedef struct {
    PareSpm models[2]; /* by side; the second is empty when both are the same */
    bool two_sides;    /* pieces are mapped to ids by text: vocab.json */
    bool language_code;
} PareUnigram;

/* ---- The shared part --------------------------------------------------------------------------
 */

enum {
    PARE_TOKEN_SPECIAL = 1,
    PARE_TOKEN_LSTRIP = 2,
    PARE_TOKEN_RSTRIP = 4,
    PARE_TOKEN_SINGLE_WORD = 8,
    PARE_TOKEN_NORMALIZED = 16,
    PARE_TOKEN_FLAGS = 31
};

typedef struct {
    int32_t id;
    uint8_t flags;
} PareAddedToken;

enum { PARE_TEMPLATE_A = -1, PARE_TEMPLATE_B = -2 };
enum { PARE_TEMPLATE_MAX = 64 };
typedef struct {
    int32_t id; /* or PARE_TEMPLATE_A, PARE_TEMPLATE_B */
    int32_t type;
} PareTemplateItem;
typedef struct {
    PareTemplateItem items[PARE_TEMPLATE_MAX];
    size_t count;
} PareTemplate;

typedef enum {
    PARE_ROLE_UNKNOWN,
    PARE_ROLE_PAD,
    PARE_ROLE_BOS,
    PARE_ROLE_EOS,
    PARE_ROLE_CLS,
    PARE_ROLE_SEP,
    PARE_ROLE_MASK,
    PARE_ROLE_COUNT
} PareRole;

/* How decode tidies "it ' s fine ." up. */
typedef enum {
    PARE_CLEANUP_NONE,
    PARE_CLEANUP_TOKENS, /* each token by itself, as the reference's WordPiece decoder */
    PARE_CLEANUP_TEXT,   /* the whole text: clean_up_tokenization_spaces */
    PARE_CLEANUP_COUNT
} PareCleanup;

/* Finds added tokens in a text: the leftmost, there the longest. */
typedef struct {
    PareTrie trie; /* values are indices into `added` */
    bool first[256];
    bool any;
} PareMatcher;

typedef struct {
    const char *name; /* for people */
    uint8_t code;     /* in the compact form */
    /* The text as the model sees it; NULL: as it is. */
    void (*normalize)(const PareTokenizer *t, const char *text, size_t size, PareBuffer *out);
    PareStatus (*encode)(const PareTokenizer *t, PareSide side, const char *text, size_t size,
                         PareIds *out, PareError *err);
    /* Every id has a piece range: 0 <= id < size. */
    void (*decode)(const PareTokenizer *t, PareSide side, const int32_t *ids, size_t count,
                   PareBuffer *out);
    void (*write)(const PareTokenizer *t, PareBuffer *out);
    PareStatus (*read)(PareTokenizer *t, PareCursor *in, const char *name, PareError *err);
    /* Builds what is derived, checks that the model is whole. After load and after read. */
    PareStatus (*finish)(PareTokenizer *t, const char *name, PareError *err);
    void (*free)(PareTokenizer *t);
    /* For subsets. As encode, with the ids that encoding only passes through; NULL: there are none.
     */
    PareStatus (*trace)(const PareTokenizer *t, PareSide side, const char *text, size_t size,
                        PareIds *out, PareError *err);
    /* What every subset has beside special and added tokens: keep[size of the vocabulary]. */
    void (*mark)(const PareTokenizer *t, bool *keep);
    /* Appends the tokens that one is made of; NULL: of none. */
    PareStatus (*parts)(const PareTokenizer *t, int32_t id, PareIds *out, PareError *err);
    /* Fills in the model of `to`, which has its vocabulary. map[old id]: the new one, or -1. */
    PareStatus (*reduce)(const PareTokenizer *t, const int32_t *map, PareTokenizer *to,
                         PareError *err);
} PareTokenizerKind;

extern const PareTokenizerKind pare_kind_wordpiece, pare_kind_bpe, pare_kind_unigram;
/* NULL for an unknown code. */
const PareTokenizerKind *pare_kind_by_code(uint64_t code);

enum { PARE_TOKENIZER_MAX_FILES = 12 };

struct PareTokenizer {
    const PareTokenizerKind *kind;
    PareVocab vocab;
    PareAddedToken *added; /* in order of id, each id once */
    size_t added_count;
    PareMatcher raw, normalized;
    int32_t roles[PARE_ROLE_COUNT]; /* -1: none */
    PareTemplate single, pair;
    PareCleanup cleanup;
    const char *files[PARE_TOKENIZER_MAX_FILES]; /* static strings */
    size_t file_count;
    PareWordPiece wordpiece; /* the one of `kind` is used */
    PareBpe bpe;
    PareUnigram unigram;
};

/* tokenizer.c */
PareTokenizer *pare_tokenizer_create(const PareTokenizerKind *kind); /* NULL: out of memory */
/* kind->finish, the matchers, checks of ids. Call when everything else is filled in. */
PareStatus pare_tokenizer_finish(PareTokenizer *t, const char *name, PareError *err);
bool pare_ids_append(PareIds *ids, const int32_t *more, size_t count);
/* Text without looking for added tokens and without template. */
PareStatus pare_tokenizer_encode_plain(const PareTokenizer *t, PareSide side, const char *text,
                                       size_t size, PareIds *out, PareError *err);

/* tokenizer_match.c */
PareStatus pare_matchers_build(PareTokenizer *t, PareError *err);
void pare_matcher_free(PareMatcher *m);
typedef struct {
    size_t begin, end; /* what the token takes of the text, stripped blanks included */
    int32_t id;
} PareMatch;
/* The first added token at or behind `from`; false: none. */
bool pare_matcher_next(const PareMatcher *m, const PareTokenizer *t, const char *text, size_t size,
                       size_t from, PareMatch *out);

/* tokenizer_subset.c: whether a piece is one character. */
bool pare_piece_is_character(const char *piece, size_t size);

/* tokenizer_clean.c: tidies text[from..] of the buffer. */
void pare_clean_up(PareBuffer *text, size_t from);

/* splitter.c */
PareStatus pare_splitter_create(PareSplitter **out, PareError *err);
void pare_splitter_free(PareSplitter *s);
typedef struct PareSplit PareSplit; /* one walk over one text, of one thread */
PareSplit *pare_split_begin(const PareSplitter *s, const char *text, size_t size);
/* The next word, [*begin, *end); false at the end, or with *failed set. */
bool pare_split_next(PareSplit *w, size_t *begin, size_t *end, bool *failed);
void pare_split_end(PareSplit *w);

/* bpe.c: the two alphabets of byte-level pieces. */
uint32_t pare_byte_to_char(uint8_t byte);
/* `left` and `right` exist; the merged piece must too. */
PareStatus pare_bpe_add_merge(PareTokenizer *t, const char *left, size_t left_size,
                              const char *right, size_t right_size, const char *name, size_t line,
                              PareError *err);

/* spm_model.c */
PareStatus pare_spm_parse(const void *bytes, size_t size, const char *name, PareSpm *out,
                          PareError *err);
PareStatus pare_spm_finish(PareSpm *m, const char *name, PareError *err);
void pare_spm_free(PareSpm *m);

/* spm_normalizer.c */
PareStatus pare_spm_normalizer_open(PareSpmNormalizer *n, const char *charsmap, size_t size,
                                    const char *name, PareError *err);
void pare_spm_normalize(const PareSpmNormalizer *n, const char *text, size_t size, PareBuffer *out);

#endif
