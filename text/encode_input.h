/* Texts to token ids for a model's input, cut to a limit where that is asked for. */
#ifndef PARE_TEXT_ENCODE_INPUT_H
#define PARE_TEXT_ENCODE_INPUT_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "text/tokenizer.h"

typedef struct {
    const char *data;
    size_t size;
} PareText;

/* Appends the ids of one text with its special tokens; `limit` 0: as long as it is. */
PareStatus pare_encode_text(const PareTokenizer *t, PareSide side, PareText text, size_t limit,
                            bool *cut, PareIds *out, PareError *err);
/* The ids and token types of two texts. What is longer than `limit` is taken off the end of the
 * longer text, token by token, as "longest_first" does elsewhere; special tokens stay. */
PareStatus pare_encode_pair(const PareTokenizer *t, PareText a, PareText b, size_t limit, bool *cut,
                            PareIds *out, PareIds *types, PareError *err);

#endif
