/* Number formats that a pruned model is counted and timed in. Pruning itself writes F32. */
#ifndef PARE_PRUNE_WEIGHT_FORMAT_H
#define PARE_PRUNE_WEIGHT_FORMAT_H

typedef enum {
    PARE_WEIGHTS_F32,
    PARE_WEIGHTS_F16,
    PARE_WEIGHTS_I8,
    PARE_WEIGHTS_COUNT
} PareWeightFormat;

#endif
