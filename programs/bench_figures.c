/* From seconds to what is reported. Medians, since a run that something disturbed is far off. */
#include <stdlib.h>

#include "core/memory.h"
#include "programs/bench_report.h"

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Sorts `values`, of which there is at least one. */
static PareBenchSpread spread(double *values, size_t n) {
    qsort(values, n, sizeof *values, by_value);
    return (PareBenchSpread){.median = (values[(n - 1) / 2] + values[n / 2]) / 2,
                             .least = values[0],
                             .greatest = values[n - 1]};
}

PareStatus pare_bench_figures(const PareBench *b, size_t index, PareBenchFigures *out,
                              PareError *err) {
    const PareBenchModel *m = &b->models[index];
    const PareBenchRun *first = b->models->runs;
    size_t n = (size_t)b->options->runs;
    double *values = pare_alloc(4 * n, sizeof *values);
    if (!values)
        return pare_memory_error(err, "the report");
    for (size_t i = 0; i < n; i++) {
        const PareBenchRun *run = &m->runs[i];
        values[i] = run->clock;
        values[n + i] = run->processor;
        values[2 * n + i] = first[i].clock / run->clock;
        values[3 * n + i] = first[i].processor / run->processor;
    }
    *out = (PareBenchFigures){.clock = spread(values, n).median,
                              .processor = spread(values + n, n).median,
                              .ratio = spread(values + 2 * n, n),
                              .processor_ratio = spread(values + 3 * n, n)};
    out->tokens = b->task == PARE_BENCH_GENERATE ? m->generated : m->input_tokens;
    out->inputs_per_second = (double)b->input_count / out->clock;
    out->tokens_per_second = (double)out->tokens / out->clock;
    pare_free(values);
    return PARE_OK;
}
