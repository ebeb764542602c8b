/* Text <-> token ids.
 *
 * One object for every kind: WordPiece, byte-level BPE, sentencepiece unigram. It is loaded from
 * the files of a checkpoint's folder, written compactly into the .pare file (docs/FORMAT.md,
 * "Tokenizer"), and read back from there. Immutable after creation: many threads may share one. */
#ifndef PARE_TEXT_TOKENIZER_H
#define PARE_TEXT_TOKENIZER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/error.h"

typedef struct PareTokenizer PareTokenizer;

typedef struct {
    int32_t *data;
    size_t count, capacity;
} PareIds;                                    /* zero-initialise; pare_ids_free */
bool pare_ids_push(PareIds *ids, int32_t id); /* false when out of memory */
void pare_ids_free(PareIds *ids);

/* Which vocabulary side a text belongs to: translation models may have two. */
typedef enum { PARE_SIDE_SOURCE, PARE_SIDE_TARGET } PareSide;

/* What the family knows and the files may not say. Token templates are words separated by blanks:
 * special tokens as text, $A and $B for the texts: "[CLS] $A [SEP]", "$A </s>", "$A". A pair's
 * token types are 0 up to the first separator included, 1 after it, for WordPiece. */
typedef struct {
    const char *single, *pair; /* defaults; tokenizer.json's own post-processor wins */
    const char *unknown, *pad, *bos, *eos, *cls, *sep, *mask; /* defaults; tokenizer_config wins */
    bool lowercase; /* WordPiece's default when no file says */
    bool accept_wordpiece, accept_bpe, accept_unigram;
    bool add_prefix_space; /* byte-level BPE's default */
    uint32_t extra_ids;    /* sentencepiece: <extra_id_0> .. appended behind the pieces, in
                              descending order as the reference does */
    bool two_models;       /* source.spm, target.spm and vocab.json instead of one model */
    bool language_code;    /* a leading >>xx<< is one token of the source text */
} PareTokenizerHints;

/* Looks in `folder` for (in this order) vocab.txt; vocab.json + merges.txt; source.spm + target.spm
 * + vocab.json; spiece.model / tokenizer.model; tokenizer.json; reads tokenizer_config.json (which
 * wins over special_tokens_map.json, and that over the hints), special_tokens_map.json and
 * added_tokens.json where present. Kinds that the hints do not accept are passed over; hints that
 * accept none (or NULL) accept all. No tokenizer file at all: PARE_OK with *out = NULL (the caller
 * decides). Refused by name: sentencepiece.bpe.model, whose readers shift its ids; sentencepiece
 * models that are not unigram; separate_vocabs; parts of tokenizer.json that the kinds do not have.
 *
 * A special token that the vocabulary lacks is none (-1), unless a template needs it: then the load
 * fails. Tokens of added_tokens.json and added_tokens_decoder extend the vocabulary. */
PareStatus pare_tokenizer_load(const char *folder, const PareTokenizerHints *hints,
                               PareTokenizer **out, PareError *err);
/* The names of the files that load used, for provenance: count in *n, borrowed. */
const char *const *pare_tokenizer_files(const PareTokenizer *t, size_t *n);
/* The compact form: what from_bytes reads. Deterministic. */
PareStatus pare_tokenizer_to_bytes(const PareTokenizer *t, PareBuffer *out, PareError *err);
/* Bytes are untrusted; they are copied or indexed, and need not outlive the tokenizer. `name` is
 * for messages. */
PareStatus pare_tokenizer_from_bytes(const void *bytes, size_t size, const char *name,
                                     PareTokenizer **out, PareError *err);
void pare_tokenizer_free(PareTokenizer *t); /* NULL is allowed */

const char *pare_tokenizer_kind(const PareTokenizer *t); /* "WordPiece", "byte-level BPE", … */
size_t pare_tokenizer_size(const PareTokenizer *t);      /* the largest id + 1 */
/* The id of a piece given as text; -1 when there is none. */
int32_t pare_tokenizer_id(const PareTokenizer *t, const char *piece);
/* The piece as stored ("##ing", "Ġthe", "▁the"), NUL-terminated and borrowed; "" for a hole. */
const char *pare_tokenizer_piece(const PareTokenizer *t, int32_t id);
bool pare_tokenizer_is_special(const PareTokenizer *t, int32_t id);
int32_t pare_tokenizer_eos(const PareTokenizer *t); /* -1 when the tokenizer has none */
int32_t pare_tokenizer_pad(const PareTokenizer *t);
int32_t pare_tokenizer_bos(const PareTokenizer *t);

/* Appends the ids of one text (UTF-8; invalid bytes become U+FFFD). Special tokens that stand in
 * the text are recognised as Hugging Face's tokenizers do. `specials` adds the template. */
PareStatus pare_tokenizer_encode(const PareTokenizer *t, PareSide side, const char *text,
                                 size_t size, bool specials, PareIds *out, PareError *err);
/* A pair of texts with the pair template; `types` (may be NULL) gets one token type per id. */
PareStatus pare_tokenizer_encode_pair(const PareTokenizer *t, const char *a, size_t a_size,
                                      const char *b, size_t b_size, PareIds *out, PareIds *types,
                                      PareError *err);
/* How many ids the single template adds (for truncation). */
size_t pare_tokenizer_template_size(const PareTokenizer *t, bool pair);
/* As encode, cut to `limit` ids as Hugging Face truncates: the text is cut, the template stays. */
PareStatus pare_tokenizer_encode_limit(const PareTokenizer *t, PareSide side, const char *text,
                                       size_t size, size_t limit, bool *cut, PareIds *out,
                                       PareError *err);
/* Appends the text of ids as Hugging Face's decode does (skip_special_tokens as told,
 * clean_up_tokenization_spaces as tokenizer_config says). Where it says nothing: WordPiece cleans
 * up, as transformers 4 did for the vocabularies that come without the key; a configuration of
 * transformers 5 (it has the key "backend"), and a plain false, leave only what the WordPiece
 * decoder itself does, which drops blanks before . , ? ! but keeps "it ' s". The other kinds do not
 * clean up, as transformers since 4.45 and 5: byte-level text stays lossless. Sentencepiece: one
 * model drops the blank before the text; two models decode as their slow tokenizer does, blanks at
 * the ends stripped, a special token that is not skipped followed by a blank. Invalid UTF-8 becomes
 * U+FFFD. An id beyond the vocabulary is PARE_E_USAGE. */
PareStatus pare_tokenizer_decode(const PareTokenizer *t, PareSide side, const int32_t *ids,
                                 size_t count, bool skip_special, PareBuffer *out, PareError *err);

#endif
