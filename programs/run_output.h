/* Where pare-run's results go: standard output, or a file that appears whole when all is done. */
#ifndef PARE_PROGRAMS_RUN_OUTPUT_H
#define PARE_PROGRAMS_RUN_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/error.h"
#include "core/file.h"

typedef struct {
    PareBuffer text;  /* what is not written yet: append to it */
    PareOutput *file; /* NULL: standard output */
} PareRunOutput;

/* `path` NULL: standard output. */
PareStatus pare_run_output_open(PareRunOutput *o, const char *path, bool force, PareError *err);
/* Writes what has gathered; once a batch, so that a reader behind a pipe sees it. */
PareStatus pare_run_output_flush(PareRunOutput *o, PareError *err);
/* The same, but only when much has gathered: for results that are large in themselves. */
PareStatus pare_run_output_drain(PareRunOutput *o, PareError *err);
/* With `status` PARE_OK writes the rest and makes the file appear, otherwise nothing appears. */
PareStatus pare_run_output_close(PareRunOutput *o, PareStatus status, PareError *err);

/* Numbers, separated by `between`; floats read back as the same float. */
void pare_run_put_floats(PareBuffer *out, const float *values, size_t n, const char *between);
void pare_run_put_ids(PareBuffer *out, const int32_t *ids, size_t n, const char *between);

#endif
