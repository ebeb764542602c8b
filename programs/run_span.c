/* Finding the span in one pass: the best end so far goes with the best start before it. */
#include "programs/run_span.h"

#include <math.h>

#include "runtime/kernels/kernels.h"

static bool is_answer(const PareTokenizer *t, const PareInput *in, size_t i) {
    int32_t id = in->ids.data[i];
    bool known = t && id >= 0 && (size_t)id < pare_tokenizer_size(t);
    return i < in->types.count && in->types.data[i] == 1 &&
           !(known && pare_tokenizer_is_special(t, id));
}

/* Probabilities over the positions that are allowed; the others get 0. */
static void normalize(const PareTokenizer *t, const PareInput *in, float *x) {
    for (size_t i = 1; i < in->ids.count; i++)
        if (!is_answer(t, in, i))
            x[i] = -INFINITY;
    pare_kernels()->softmax(x, x, in->ids.count);
}

bool pare_span_possible(const PareTokenizer *tokenizer, const PareInput *in) {
    bool possible = false;
    for (size_t i = 0; i < in->ids.count; i++)
        possible = possible || is_answer(tokenizer, in, i);
    return possible;
}

PareSpan pare_span_find(const PareTokenizer *tokenizer, const PareInput *in, float *starts,
                        float *ends) {
    size_t start = SIZE_MAX;
    PareSpan best = {.score = -1};
    normalize(tokenizer, in, starts);
    normalize(tokenizer, in, ends);
    for (size_t i = 0; i < in->ids.count; i++) {
        if (!is_answer(tokenizer, in, i))
            continue;
        if (start == SIZE_MAX || starts[i] > starts[start])
            start = i;
        float score = starts[start] * ends[i];
        if (score > best.score)
            best = (PareSpan){.start = start, .end = i, .score = score};
    }
    return best;
}
