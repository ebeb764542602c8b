/* What a model reads. */
#ifndef PARE_RUNTIME_SEQUENCE_H
#define PARE_RUNTIME_SEQUENCE_H

#include <stddef.h>
#include <stdint.h>

/* Token ids of one input; borrowed. */
typedef struct {
    const int32_t *ids; /* of the encoder; of the decoder where there is no encoder */
    size_t count;
    const int32_t *types;       /* NULL: all 0 */
    const int32_t *decoder_ids; /* encoder-decoders: what the decoder reads, its start included */
    size_t decoder_count;
} PareSequence;

#endif
