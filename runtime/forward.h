/* Forward: a batch of sequences, packed, through the stacks that a model has. */
#ifndef PARE_RUNTIME_FORWARD_H
#define PARE_RUNTIME_FORWARD_H

#include "runtime/sequence.h"
#include "runtime/transformer.h"

typedef struct {
    const PareSequence *sequences;
    size_t count;
    bool encoder_only;                 /* of an encoder-decoder */
    bool frozen_encoder;               /* with a tape: the encoder is not recorded */
    bool recompute;                    /* as ParePass */
    const PareTaps *taps[PARE_STACKS]; /* NULL: none */
    PareProbes probes;                 /* as ParePass */
    void *probes_context;
} PareForwardInput;

/* In the run's arena. */
typedef struct {
    PareValue *encoded;     /* NULL without an encoder */
    PareRows *encoded_rows; /* one a sequence */
    PareValue *top;         /* of the last stack that ran */
    PareRows *rows;
} PareForward;

PareStatus pare_forward(PareRun *r, const PareTransformer *t, const PareForwardInput *in,
                        PareForward *out);

/* The packed tokens of all sequences, ids or decoder ids, and where each sequence lies. */
PareStatus pare_forward_pack(PareRun *r, const PareSequence *sequences, size_t count, bool decoder,
                             PareTokens *tokens, PareRows **rows);
/* The encoder alone. */
PareValue *pare_forward_encode(PareRun *r, const PareTransformer *t, const PareForwardInput *in,
                               PareRows **rows);
/* The length of the longest sequence, at least 1: how far relative positions must reach. */
size_t pare_forward_longest(const PareSequence *sequences, size_t count);

#endif
