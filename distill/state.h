/* Checkpoints of training: all that a run needs to go on to the same bits.
 *
 * A checkpoint is a .pare container that holds arrays of floats instead of a model, and metadata
 * {"training": {"settings": {…}, "progress": {…}}}. Settings are what must not change between
 * the runs; progress is where the run stands. Nothing else is state: the order of the data and
 * every random decision follow from the seed and the step. */
#ifndef PARE_DISTILL_STATE_H
#define PARE_DISTILL_STATE_H

#include <stddef.h>

#include "core/error.h"
#include "core/json.h"

typedef struct {
    const char *name; /* unique */
    float *values;    /* [count] */
    size_t count;
} PareStateArray;

/* Replaces the file at `path` whole or not at all. `settings` and `progress` are JSON objects. */
PareStatus pare_state_save(const char *path, const char *settings, const char *progress,
                           const PareStateArray *arrays, size_t count, PareError *err);

typedef struct PareState PareState;
/* Opens and checks every checksum. */
PareStatus pare_state_open(const char *path, PareState **out, PareError *err);
void pare_state_close(PareState *s); /* NULL is allowed */
const PareJson *pare_state_progress(const PareState *s);
/* Refuses settings that differ from the checkpoint's, and names the first that does. */
PareStatus pare_state_compare(const PareState *s, const char *settings, PareError *err);
/* Fills all arrays; names and sizes must be the checkpoint's. */
PareStatus pare_state_read(const PareState *s, const PareStateArray *arrays, size_t count,
                           PareError *err);

#endif
