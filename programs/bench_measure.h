/* Timing the models of pare-bench, in turns. */
#ifndef PARE_PROGRAMS_BENCH_MEASURE_H
#define PARE_PROGRAMS_BENCH_MEASURE_H

#include "core/log.h"
#include "programs/bench_models.h"

/* How many turns there are, for the progress. */
uint64_t pare_bench_turns(const PareBench *b);
/* A pass of each model that is not counted, then the runs in turns: A B C A B C …, so that a
 * machine that is busy for a while is busy for all of them. Fills `runs` and `generated`.
 * `progress` may be NULL. Polls for interruption between batches. */
PareStatus pare_bench_measure(PareBench *b, PareProgress *progress, PareError *err);

#endif
