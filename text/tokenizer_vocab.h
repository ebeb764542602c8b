/* A vocabulary: ids 0..count-1 with their pieces, and the way back from piece to id.
 *
 * An id without a piece (a hole in vocab.json) has the empty piece. Where two ids have the same
 * piece, the text leads to the later one, as when a reference reads such a file. */
#ifndef PARE_TEXT_TOKENIZER_VOCAB_H
#define PARE_TEXT_TOKENIZER_VOCAB_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/error.h"

/* Ids at and above this are refused, so that a hostile file cannot ask for much memory. */
enum { PARE_VOCAB_MAX = 1 << 24 };

typedef struct {
    char *text; /* the pieces in order of id, each followed by a NUL */
    size_t text_size;
    uint32_t *start; /* count + 1 offsets into text */
    uint32_t count;
    uint32_t *slots; /* open addressing; id + 1, or 0 */
    uint32_t mask;
} PareVocab;

/* Collects pieces in any order. */
typedef struct {
    PareBuffer text;
    struct PareVocabEntry *entries;
    size_t count, capacity;
    bool failed;
} PareVocabBuilder;

/* Ids must be below PARE_VOCAB_MAX (checked by build). */
void pare_vocab_builder_add(PareVocabBuilder *b, uint64_t id, const char *piece, size_t size);
/* Makes the vocabulary and empties the builder whatever happens. `name` is for messages. */
PareStatus pare_vocab_build(PareVocabBuilder *b, const char *name, PareVocab *out, PareError *err);
void pare_vocab_builder_free(PareVocabBuilder *b);
/* Makes it from the text that `text` of another holds: `count` pieces with their NULs. */
PareStatus pare_vocab_from_text(const void *text, size_t size, uint64_t count, const char *name,
                                PareVocab *out, PareError *err);
void pare_vocab_free(PareVocab *v);

int32_t pare_vocab_find(const PareVocab *v, const char *piece, size_t size); /* -1: none */
/* Borrowed, NUL-terminated; "" for holes and ids out of range. `size` may be NULL. */
const char *pare_vocab_piece(const PareVocab *v, int64_t id, size_t *size);

#endif
