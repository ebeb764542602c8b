/* The order of training: which examples are in which batch of which epoch.
 *
 * An epoch's batches depend on the options, the lengths of the examples and the epoch's number, on
 * nothing that happened before: a run goes on anywhere, and every process of several finds the same
 * batches. Memory is some 12 bytes an example. */
#ifndef PARE_LEARN_BATCHES_H
#define PARE_LEARN_BATCHES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "learn/examples.h"

typedef struct {
    uint64_t seed;
    bool shuffle;
    /* A batch ends before the example with which it would exceed either (0: no such limit; both 0:
     * an epoch is one batch). Tokens are the larger of the sums of both sides, what the first stack
     * reads and what the decoder of an encoder-decoder reads. One example alone may be more. */
    size_t batch_size, batch_tokens;
    bool buckets;         /* batches of examples of like length; then batches are shuffled, too */
    size_t bucket_window; /* examples of the order that are sorted together; 0: 4096 */
    bool drop_last;       /* leave out the batch that the end of the data left incomplete */
} PareBatchesOptions;

typedef struct PareBatches PareBatches;

/* `examples` is borrowed. Data for less than one batch make one smaller batch; with drop_last, and
 * without any example, that is an error. */
PareStatus pare_batches_create(const PareBatchesOptions *options, const PareExamples *examples,
                               PareBatches **out, PareError *err);
void pare_batches_destroy(PareBatches *b); /* NULL is allowed */

typedef struct {
    uint64_t epoch;
    size_t batch; /* within the epoch */
} PareBatchPosition;

/* How many batches an epoch has; by tokens and shuffled, epochs may differ. At least 1. */
PareStatus pare_batches_in(PareBatches *b, uint64_t epoch, size_t *count, PareError *err);
/* The examples of a batch; valid until another epoch is asked for. A position behind the epoch's
 * end is an error. */
PareStatus pare_batches_at(PareBatches *b, PareBatchPosition p, const uint32_t **indices,
                           size_t *count, PareError *err);
/* To the next batch, or the first of the next epoch. */
PareStatus pare_batches_advance(PareBatches *b, PareBatchPosition *p, PareError *err);

typedef struct {
    size_t begin, end; /* of the batch's indices */
} PareBatchShare;

/* The part of a batch that process `rank` of `ranks` works on: parts of about as many tokens, one
 * behind the other, which together are the batch. None is empty where there are enough examples. */
PareBatchShare pare_batches_share(const PareBatches *b, const uint32_t *indices, size_t count,
                                  size_t rank, size_t ranks);

#endif
