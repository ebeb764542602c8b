/* Porter's stemmer (1980) with the changes that NLTK made to it, which rouge_score uses. */
#ifndef PARE_TEXT_ROUGE_STEM_H
#define PARE_TEXT_ROUGE_STEM_H

#include <stddef.h>

/* Stems a word of [a-z0-9] in place; returns its new size, which is never larger. */
size_t pare_rouge_stem(char *word, size_t size);

#endif
