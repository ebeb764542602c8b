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

/* `starts` and `ends` are the scores of every position; they become probabilities over the second
 * text and the first position, which stands for "no answer". The span lies in the second text
 * (token type 1), without special tokens where `tokenizer` (may be NULL) knows them, and does not
 * end before it starts. False when there is no second text. */
bool pare_span_find(const PareTokenizer *tokenizer, const PareInput *in, float *starts, float *ends,
                    PareSpan *out);

#endif
