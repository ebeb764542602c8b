/* What pare-bench found: a table for people, and JSON with every run. */
#ifndef PARE_PROGRAMS_BENCH_REPORT_H
#define PARE_PROGRAMS_BENCH_REPORT_H

#include "core/buffer.h"
#include "programs/bench_models.h"

/* Of a figure that every run has. */
typedef struct {
    double median, least, greatest;
} PareBenchSpread;

typedef struct {
    double clock, processor;                /* seconds of a pass, medians */
    double inputs_per_second;               /* by the clock */
    uint64_t tokens;                        /* of a pass: generated ones where that is the task */
    double tokens_per_second;               /* by the clock */
    PareBenchSpread ratio, processor_ratio; /* the first model's time / this one's, run by run */
} PareBenchFigures;

/* The figures of model `index`. */
PareStatus pare_bench_figures(const PareBench *b, size_t index, PareBenchFigures *out,
                              PareError *err);
/* Appends the report. */
PareStatus pare_bench_report(const PareBench *b, PareBuffer *out, PareError *err);

#endif
