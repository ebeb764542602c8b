/* The report of pare-bench. */
#include "programs/bench_report.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/threads.h"
#include "runtime/kernels/kernels.h"

static const char *const TASKS[] = {"auto", "forward", "generate"};

static size_t threads_of(const PareBench *b) {
    size_t asked = (size_t)b->options->common.threads;
    return asked ? asked : pare_threads_available();
}

static uint64_t bytes_of(const PareBenchModel *m) {
    return pare_file_size(pare_model_file(m->model));
}

/* -- for people -- */

/* Beams, where all models have as many. */
static void put_beams(const PareBench *b, PareBuffer *out) {
    uint32_t beams = b->models->generation.num_beams;
    bool same = true;
    for (size_t i = 0; i < b->model_count; i++)
        same = same && b->models[i].generation.num_beams == beams;
    if (!same)
        pare_buffer_puts(out, ", each model's own beams");
    else if (beams > 1)
        pare_buffer_printf(out, ", %" PRIu32 " beams", beams);
    else
        pare_buffer_puts(out, ", greedy");
}

static bool same_tokens(const PareBench *b) {
    bool same = true;
    for (size_t i = 0; i < b->model_count; i++)
        same = same && b->models[i].input_tokens == b->models->input_tokens;
    return same;
}

static void put_conditions(const PareBench *b, PareBuffer *out) {
    const PareBenchOptions *o = b->options;
    size_t threads = threads_of(b);
    pare_buffer_printf(out, "%s", TASKS[b->task]);
    if (b->task == PARE_BENCH_GENERATE)
        put_beams(b, out);
    pare_buffer_printf(out, "; %zu %s%s, %" PRIu64 " input tokens%s", b->input_count,
                       o->data ? "" : "random ", b->input_count == 1 ? "input" : "inputs",
                       b->models->input_tokens, same_tokens(b) ? "" : " for the first model");
    pare_buffer_printf(out,
                       "; batch %" PRId64 ", %zu %s, kernels %s; %" PRId64 " %s of each model\n\n",
                       o->batch_size, threads, threads == 1 ? "thread" : "threads",
                       pare_kernels()->name, o->runs, o->runs == 1 ? "run" : "runs");
}

static void put_spread(const PareBenchSpread *s, PareBuffer *out) {
    char range[64];
    snprintf(range, sizeof range, "(%.2f..%.2f)", s->least, s->greatest);
    pare_buffer_printf(out, "  %6.2f %-14s", s->median, range);
}

static int name_width(const PareBench *b) {
    size_t width = strlen("model");
    for (size_t i = 0; i < b->model_count; i++)
        width = strlen(b->models[i].path) > width ? strlen(b->models[i].path) : width;
    return (int)width;
}

static void put_row(const PareBench *b, size_t index, const PareBenchFigures *f, PareBuffer *out) {
    const PareBenchModel *m = &b->models[index];
    pare_buffer_printf(out, "%-*s  %8.2f  %10" PRIu64 "  %9.2f  %9.1f  %9.0f", name_width(b),
                       m->path, 1e-6 * (double)bytes_of(m), f->tokens, 1e3 * f->clock,
                       f->inputs_per_second, f->tokens_per_second);
    put_spread(&f->ratio, out);
    put_spread(&f->processor_ratio, out);
    while (out->size && out->data[out->size - 1] == ' ')
        out->data[--out->size] = '\0';
    pare_buffer_putc(out, '\n');
}

static PareStatus put_table(const PareBench *b, PareBuffer *out, PareError *err) {
    PareStatus st = PARE_OK;
    put_conditions(b, out);
    pare_buffer_printf(out, "%-*s  %8s  %10s  %9s  %9s  %9s  %-21s  %s\n", name_width(b), "model",
                       "MB", b->task == PARE_BENCH_GENERATE ? "new tokens" : "tokens", "ms a pass",
                       "inputs/s", "tokens/s", "  x as fast, clock", "  x as fast, processor");
    for (size_t i = 0; i < b->model_count && !st; i++) {
        PareBenchFigures f;
        st = pare_bench_figures(b, i, &f, err);
        if (!st)
            put_row(b, i, &f, out);
    }
    return st;
}

/* -- for programs -- */

static void put_number(PareBuffer *out, const char *key, double v) {
    pare_buffer_put_json_key(out, key);
    pare_buffer_put_json_double(out, v);
}

static void put_count(PareBuffer *out, const char *key, uint64_t v) {
    pare_buffer_put_json_key(out, key);
    pare_buffer_printf(out, "%" PRIu64, v);
}

static void put_json_spread(PareBuffer *out, const char *key, const PareBenchSpread *s) {
    pare_buffer_put_json_key(out, key);
    pare_buffer_putc(out, '{');
    put_number(out, "median", s->median);
    put_number(out, "least", s->least);
    put_number(out, "greatest", s->greatest);
    pare_buffer_putc(out, '}');
}

static void put_runs(const PareBench *b, const PareBenchModel *m, PareBuffer *out) {
    pare_buffer_put_json_key(out, "runs");
    pare_buffer_putc(out, '[');
    for (int64_t i = 0; i < b->options->runs; i++) {
        pare_buffer_puts(out, i ? ",{" : "{");
        put_count(out, "passes", m->runs[i].passes);
        put_number(out, "seconds", m->runs[i].clock);
        put_number(out, "cpu_seconds", m->runs[i].processor);
        pare_buffer_putc(out, '}');
    }
    pare_buffer_putc(out, ']');
}

static void put_json_model(const PareBench *b, const PareBenchModel *m, const PareBenchFigures *f,
                           PareBuffer *out) {
    pare_buffer_putc(out, '{');
    pare_buffer_put_json_member(out, "file", m->path);
    put_count(out, "bytes", bytes_of(m));
    pare_buffer_put_json_member(out, "precision", pare_model_precision(m->model));
    put_count(out, "input_tokens", m->input_tokens);
    if (b->task == PARE_BENCH_GENERATE) {
        put_count(out, "generated_tokens", m->generated);
        put_count(out, "num_beams", m->generation.num_beams);
    }
    put_number(out, "seconds", f->clock);
    put_number(out, "cpu_seconds", f->processor);
    put_number(out, "inputs_per_second", f->inputs_per_second);
    put_number(out, "tokens_per_second", f->tokens_per_second);
    put_json_spread(out, "ratio", &f->ratio);
    put_json_spread(out, "cpu_ratio", &f->processor_ratio);
    put_runs(b, m, out);
    pare_buffer_putc(out, '}');
}

static PareStatus put_json(const PareBench *b, PareBuffer *out, PareError *err) {
    const PareBenchOptions *o = b->options;
    PareStatus st = PARE_OK;
    pare_buffer_putc(out, '{');
    pare_buffer_put_json_member(out, "task", TASKS[b->task]);
    pare_buffer_put_json_member(out, "data", o->data);
    put_count(out, "inputs", b->input_count);
    put_count(out, "batch_size", (uint64_t)o->batch_size);
    put_count(out, "threads", threads_of(b));
    pare_buffer_put_json_member(out, "kernels", pare_kernels()->name);
    put_count(out, "runs", (uint64_t)o->runs);
    pare_buffer_put_json_key(out, "models");
    pare_buffer_putc(out, '[');
    for (size_t i = 0; i < b->model_count && !st; i++) {
        PareBenchFigures f;
        if (i)
            pare_buffer_putc(out, ',');
        st = pare_bench_figures(b, i, &f, err);
        if (!st)
            put_json_model(b, &b->models[i], &f, out);
    }
    pare_buffer_puts(out, "]}\n");
    return st;
}

PareStatus pare_bench_report(const PareBench *b, PareBuffer *out, PareError *err) {
    PareStatus st = b->options->json ? put_json(b, out, err) : put_table(b, out, err);
    return st ? st : pare_buffer_ok(out, "the report", err);
}
