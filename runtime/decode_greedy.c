/* Greedy search: the best next token, until the end token or the length limit. */
#include <math.h>

#include "runtime/decode_impl.h"

/* The first of the largest scores, or n when no score is above -infinity. */
static size_t argmax(const float *x, size_t n) {
    size_t best = n;
    float top = -INFINITY;
    for (size_t i = 0; i < n; i++)
        if (x[i] > top) {
            top = x[i];
            best = i;
        }
    return best;
}

/* Appends the next id to `h` and adds its log-probability; false when the scores are not finite. */
static bool extend(const PareDecoder *d, PareHypothesis *h, float *logits, float *score) {
    size_t n = d->vocabulary;
    float max, logsum;
    pare_decoder_process(d->g, h, d->limits[h->sentence], logits, n);
    size_t best = argmax(logits, n);
    pare_kernels()->log_sum_exp(logits, n, &max, &logsum);
    if (best == n || isnan(logsum))
        return false;
    *score += logits[best] - max - logsum;
    h->ids[h->length++] = (int32_t)best;
    return true;
}

static bool is_finished(const PareDecoder *d, const PareHypothesis *h) {
    return pare_decoder_is_eos(d->g, h->ids[h->length - 1]) || h->length == d->limits[h->sentence];
}

static PareStatus finish(PareDecoder *d, const PareHypothesis *h, float sum, PareGenerated *out) {
    double n = (double)(h->length - d->prompt[h->sentence]);
    float score = sum / (float)pow(n, (double)d->g->length_penalty);
    return pare_decoder_store(d, h->ids, h->length, score, &out[h->sentence]);
}

PareStatus pare_decoder_greedy(PareDecoder *d, PareHypothesis *hypotheses, PareGenerated *out) {
    PareArena *arena = d->run.arena;
    PareHypothesis **active = pare_arena_alloc(arena, d->sentences, sizeof(PareHypothesis *));
    float *scores = pare_arena_alloc(arena, d->sentences, sizeof *scores);
    if (!active || !scores)
        return pare_memory_error(d->run.err, "decoding");
    size_t count = d->sentences;
    for (size_t i = 0; i < count; i++)
        active[i] = &hypotheses[i];
    PareStatus st = PARE_OK;
    PareArenaMark mark = pare_arena_mark(arena);
    while (!st && count) {
        size_t left = 0;
        for (size_t i = 0; i < count && !st; i++) {
            PareHypothesis *h = active[i];
            if (!extend(d, h, d->logits + i * d->vocabulary, &scores[h->sentence]))
                st =
                    pare_error_set(d->run.err, PARE_E_FORMAT,
                                   "input %zu: the model's scores are not finite", h->sentence + 1);
            else if (is_finished(d, h))
                st = finish(d, h, scores[h->sentence], out);
            else
                active[left++] = h;
        }
        count = left;
        pare_arena_release(arena, mark);
        if (!st && count)
            st = pare_decoder_step(d, active, count);
    }
    return st;
}
