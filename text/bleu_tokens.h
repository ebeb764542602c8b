/* The words that BLEU counts: sacreBLEU's tokenizer "13a". Only text/bleu*.c include this. */
#ifndef PARE_TEXT_BLEU_TOKENS_H
#define PARE_TEXT_BLEU_TOKENS_H

#include <stddef.h>

#include "core/buffer.h"

/* Leaves in `out` the words of `text` with white space between them, as the reference does before
 * it splits. `scratch` is any other buffer. Lack of memory sets out->failed or scratch->failed. */
void pare_bleu_tokenize(const char *text, PareBuffer *out, PareBuffer *scratch);
/* The next word of [*at, end), NULL at the end; moves behind it. */
const char *pare_bleu_word(const char **at, const char *end, size_t *size);

#endif
