/* Ranks: several processes, perhaps on several machines, that train one model together.
 *
 * Each computes the gradient of its share of a batch; sums are taken in the order of ranks, so that
 * every rank has the same bits. Built with MPI=1 this is the doorkeeper of MPI; otherwise there is
 * one rank, and nothing here does anything. */
#ifndef PARE_DISTILL_RANKS_H
#define PARE_DISTILL_RANKS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

/* Once, at the start and the end of a program. A rank that fails ends all of them. */
PareStatus pare_ranks_start(int *argc, char ***argv, PareError *err);
void pare_ranks_finish(bool failed);

bool pare_ranks_built(void); /* with MPI */
size_t pare_ranks_count(void);
size_t pare_ranks_rank(void); /* 0 writes files and talks */

/* values[i] = the sum over ranks, on every rank. */
PareStatus pare_ranks_sum(float *values, size_t count, PareError *err);
PareStatus pare_ranks_sum_double(double *values, size_t count, PareError *err);
/* Rank 0's bytes, on every rank. */
PareStatus pare_ranks_share(void *bytes, size_t size, PareError *err);
/* Whether any rank says so. */
PareStatus pare_ranks_any(bool *flag, PareError *err);

#endif
