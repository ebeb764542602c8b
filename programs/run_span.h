/* Extractive answers: the best span of the second text. */
#ifndef PARE_PROGRAMS_RUN_SPAN_H
#define PARE_PROGRAMS_RUN_SPAN_H

#include <stdbool.h>
#include <stddef.h>

#include "programs/cli_inputs.h"
#include "text/tokenizer.h"

typedef struct {
    size_t start, end; /* positions of the first and the last token */
    float score;       /* p(start) p(end) */
} PareSpan;

/* Whether there is a second text (positions of token type 1 that are not special tokens, where
 * `tokenizer`, which may be NULL, knows them). */
bool pare_span_possible(const PareTokenizer *tokenizer, const PareInput *in);
/* `starts` and `ends` are the scores of every position; they become probabilities over the second
 * text and the first position, which stands for "no answer". The span lies in the second text, of
 * which there is one, and does not end before it starts. */
PareSpan pare_span_find(const PareTokenizer *tokenizer, const PareInput *in, float *starts,
                        float *ends);

#endif
