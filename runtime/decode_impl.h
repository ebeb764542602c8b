/* What greedy and beam search share; nobody else includes this. */
#ifndef PARE_RUNTIME_DECODE_IMPL_H
#define PARE_RUNTIME_DECODE_IMPL_H

#include "runtime/session_impl.h"

/* One text that is being generated. Reordering beams copies these indices, never keys or values. */
typedef struct {
    int32_t *ids;   /* [limit]: prompt first */
    int32_t *slots; /* [limit]: where each position's keys and values are */
    size_t length;
    size_t sentence;
} PareHypothesis;

/* The state of decoding one packed batch. */
typedef struct {
    PareSession *s;
    PareRun run;
    const PareGeneration *g;
    size_t vocabulary;
    size_t sentences;
    size_t limit;            /* the longest text, prompt included */
    size_t *prompt, *limits; /* per sentence */
    PareKeyValues cache, memory;
    PareRows *encoded; /* NULL without an encoder */
    size_t slots_used, slots_total;
    float *logits; /* of the last step, [rows, vocabulary] */
} PareDecoder;

/* Encodes, and decodes the prompts: hypotheses[sentence] hold them, logits have a row each. `beams`
 * is how many hypotheses a sentence may have later. */
PareStatus pare_decoder_start(PareDecoder *d, PareSession *s, const PareSequence *sequences,
                              size_t count, const PareGeneration *g, size_t beams,
                              PareHypothesis *hypotheses, PareError *err);
/* Feeds the last id of every hypothesis; d->logits then has a row for each. */
PareStatus pare_decoder_step(PareDecoder *d, PareHypothesis **rows, size_t count);
void pare_decoder_end(PareDecoder *d);
/* A hypothesis with room for `limit` ids in the session's arena. */
PareStatus pare_decoder_new_hypothesis(PareDecoder *d, PareHypothesis *h);
void pare_decoder_copy(PareHypothesis *to, const PareHypothesis *from);
bool pare_decoder_is_eos(const PareGeneration *g, int32_t id);
/* Stores the result of one sentence. */
PareStatus pare_decoder_store(PareDecoder *d, const int32_t *ids, size_t count, float score,
                              PareGenerated *out);

/* The logits processors of transformers, in its order, on one row of scores: raw logits for greedy
 * search, log-probabilities for beams. `limit` is the sentence's own longest length. */
void pare_decoder_process(const PareGeneration *g, const PareHypothesis *h, size_t limit,
                          float *scores, size_t n);
/* Turns logits into log-probabilities in place; false when they are not finite. */
bool pare_decoder_log_softmax(float *row, size_t n);

PareStatus pare_decoder_greedy(PareDecoder *d, PareHypothesis *hypotheses, PareGenerated *out);
PareStatus pare_decoder_beam(PareDecoder *d, PareHypothesis *prompts, PareGenerated *out);

/* What settings ask of a model (decode_check.c): whatever the prompts are, */
PareStatus pare_decoder_check_settings(const PareDescription *d, const PareGeneration *g,
                                       PareError *err);
/* what an encoder-decoder's decoder begins with, */
PareStatus pare_decoder_start_token(const PareDescription *d, const PareGeneration *g, int32_t *out,
                                    PareError *err);
/* the longest text behind a prompt, prompt included, */
PareStatus pare_decoder_limit(const PareDescription *d, const PareGeneration *g, size_t prompt,
                              size_t *out, PareError *err);
/* and slots of the cache, which are counted in 32 bits. */
PareStatus pare_decoder_check_slots(size_t slots, PareError *err);

#endif
