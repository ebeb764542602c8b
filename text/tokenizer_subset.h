/* A tokenizer that knows fewer tokens.
 *
 * For every text whose traced ids are kept, the subset of a closed list cuts as the whole tokenizer
 * does: WordPiece finds the same longest pieces; of BPE all the merges that the text takes stay, in
 * their order, and none is added; unigram finds the same best path among fewer, unknown characters
 * at the same score. Any other text becomes smaller pieces of the alphabet. */
#ifndef PARE_TEXT_TOKENIZER_SUBSET_H
#define PARE_TEXT_TOKENIZER_SUBSET_H

#include "text/tokenizer.h"

/* Appends the ids of one text without its template, and those that the tokenizer only passes
 * through: what merging makes on the way, the pieces of a word that turns out to be unknown. */
PareStatus pare_tokenizer_trace(const PareTokenizer *t, PareSide side, const char *text,
                                size_t size, PareIds *out, PareError *err);
/* Appends what must stay with one token that stays: for BPE every token on the way to it, and of
 * two tokens with the same text the one that texts lead to. `id` itself may be among them. */
PareStatus pare_tokenizer_parts(const PareTokenizer *t, int32_t id, PareIds *out, PareError *err);

/* Marks in keep[size] what must stay with the tokens that are marked already, for texts in which
 * only those occur to be cut as before, and any other text to be readable at all: special and added
 * tokens, the alphabet (bytes, single characters, word pieces of one character, extra ids, language
 * codes), and the parts of the marked ones. `size` is at least the tokenizer's vocabulary. */
PareStatus pare_tokenizer_close_subset(const PareTokenizer *t, bool *keep, size_t size,
                                       PareError *err);
/* The tokenizer of the kept tokens, renumbered in ascending order of their old ids. Refuses subsets
 * that are not closed, naming a token that is missing. Rows of a model's table that no token names
 * (keep[] behind the vocabulary) are not its business. */
PareStatus pare_tokenizer_subset(const PareTokenizer *t, const bool *keep, size_t size,
                                 PareTokenizer **out, PareError *err);

#endif
