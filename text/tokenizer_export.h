/* A tokenizer's files, as transformers' tokenizers write them.
 *
 * WordPiece: vocab.txt. Byte-level BPE: vocab.json, merges.txt. Sentencepiece: spiece.model, or
 * source.spm, target.spm and vocab.json. Always tokenizer_config.json with the settings, the
 * special tokens and the added ones. Loading the files with the same hints gives the same tokenizer
 * but for what these files cannot say, which is for the caller to compare. */
#ifndef PARE_TEXT_TOKENIZER_EXPORT_H
#define PARE_TEXT_TOKENIZER_EXPORT_H

#include <stdint.h>

#include "text/tokenizer.h"

/* Takes a file. `name` is a static string. */
typedef PareStatus (*PareTokenizerSink)(void *context, const char *name, const PareBuffer *bytes,
                                        PareError *err);

/* `longest` is the model's number of positions; 0: without limit. */
PareStatus pare_tokenizer_export(const PareTokenizer *t, const PareTokenizerHints *hints,
                                 uint32_t longest, PareTokenizerSink sink, void *context,
                                 PareError *err);
/* Appends what differs between two tokenizers as words of a sentence; nothing when they are equal.
 */
void pare_tokenizer_differences(const PareTokenizer *a, const PareTokenizer *b, PareBuffer *out);

#endif
