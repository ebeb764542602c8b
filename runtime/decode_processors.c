/* Logits processors, with the meaning and the order of transformers' generate(). */
#include <math.h>
#include <string.h>

#include "runtime/decode_impl.h"

/* Keskar et al. 2019: scores of ids that have appeared are divided (or multiplied) once each. */
static void repetition_penalty(const PareGeneration *g, const PareHypothesis *h, float *scores) {
    if (g->repetition_penalty == 1.0F)
        return;
    for (size_t i = 0; i < h->length; i++) {
        bool seen = false;
        for (size_t k = 0; k < i && !seen; k++)
            seen = h->ids[k] == h->ids[i];
        float *x = &scores[h->ids[i]];
        if (!seen)
            *x = *x < 0 ? *x * g->repetition_penalty : *x / g->repetition_penalty;
    }
}

static void no_repeat_ngram(const PareGeneration *g, const PareHypothesis *h, float *scores) {
    size_t n = g->no_repeat_ngram_size;
    if (n == 0 || h->length + 1 < n)
        return;
    const int32_t *last = h->ids + h->length - (n - 1);
    for (size_t i = 0; i + n <= h->length; i++)
        if (memcmp(h->ids + i, last, (n - 1) * sizeof *last) == 0)
            scores[h->ids[i + n - 1]] = -INFINITY;
}

static void bad_words(const PareGeneration *g, const PareHypothesis *h, float *scores, size_t n) {
    for (uint32_t w = 0; w < g->bad_word_count; w++) {
        PareIdList word = g->bad_words[w];
        size_t prefix = word.count - 1;
        if (prefix == 0 && pare_decoder_is_eos(g, word.ids[0]))
            continue; /* the end token is never a bad word */
        if (prefix > 0 && word.count > h->length)
            continue;
        if (memcmp(h->ids + h->length - prefix, word.ids, prefix * sizeof *word.ids) == 0 &&
            (size_t)word.ids[prefix] < n)
            scores[word.ids[prefix]] = -INFINITY;
    }
}

static void force(float *scores, size_t n, int32_t id) {
    if (id < 0 || (size_t)id >= n)
        return;
    for (size_t i = 0; i < n; i++)
        scores[i] = -INFINITY;
    scores[id] = 0.0F;
}

void pare_decoder_process(const PareGeneration *g, const PareHypothesis *h, size_t limit,
                          float *scores, size_t n) {
    repetition_penalty(g, h, scores);
    no_repeat_ngram(g, h, scores);
    bad_words(g, h, scores, n);
    for (uint32_t i = 0; h->length < g->min_length && i < g->eos.count; i++)
        if ((size_t)g->eos.ids[i] < n)
            scores[g->eos.ids[i]] = -INFINITY;
    if (h->length == 1)
        force(scores, n, g->forced_bos);
    if (h->length + 1 == limit)
        force(scores, n, g->forced_eos);
    if (g->renormalize_logits)
        pare_decoder_log_softmax(scores, n);
}

bool pare_decoder_log_softmax(float *row, size_t n) {
    float max, logsum;
    pare_kernels()->log_sum_exp(row, n, &max, &logsum);
    if (!isfinite(max) || !isfinite(logsum))
        return false;
    for (size_t i = 0; i < n; i++)
        row[i] = row[i] - max - logsum;
    return true;
}

bool pare_decoder_is_eos(const PareGeneration *g, int32_t id) {
    for (uint32_t i = 0; i < g->eos.count; i++)
        if (g->eos.ids[i] == id)
            return true;
    return false;
}
