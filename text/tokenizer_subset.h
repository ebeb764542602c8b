/* A tokenizer that knows fewer tokens. */
#ifndef PARE_TEXT_TOKENIZER_SUBSET_H
#define PARE_TEXT_TOKENIZER_SUBSET_H

#include "text/tokenizer.h"

/* Marks in keep[size of the vocabulary] what must stay with the tokens that are marked already, for
 * texts in which only those occur to be cut as before, and any other text to be readable at all:
 * special and added tokens, the alphabet (bytes, single characters, word pieces of one character,
 * extra ids), and for BPE every token on the way to a marked one. */
PareStatus pare_tokenizer_close_subset(const PareTokenizer *t, bool *keep, size_t size,
                                       PareError *err);
/* The tokenizer of the kept tokens, renumbered in ascending order of their old ids. Refuses subsets
 * that are not closed. `size` is at least the tokenizer's vocabulary; rows of a model's table that
 * no token names are not its business. */
PareStatus pare_tokenizer_subset(const PareTokenizer *t, const bool *keep, size_t size,
                                 PareTokenizer **out, PareError *err);

#endif
