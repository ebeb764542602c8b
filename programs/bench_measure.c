/* Timing: batches, passes over all inputs, runs of as many passes as make a figure. */
#include "programs/bench_measure.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "core/file.h"

/* Shorter runs tell more of the clock and the scheduler than of the model. */
static const double LEAST_SECONDS = 0.2;

static double now(clockid_t clock) {
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* -- a pass -- */

static PareStatus ignore(void *context, size_t sequence, size_t row, const float *values, size_t n,
                         PareError *err) {
    (void)context, (void)sequence, (void)row, (void)values, (void)n, (void)err;
    return PARE_OK;
}

static PareStatus generate(PareBenchModel *m, const PareSequence *sequences, size_t count,
                           PareError *err) {
    bool encoder = m->description->stacks[PARE_ENCODER].present;
    PareStatus st =
        pare_session_generate(m->session, sequences, count, &m->generation, m->results, err);
    for (size_t i = 0; i < count && !st; i++) /* behind the start token or the prompt */
        m->generated += m->results[i].count - (encoder ? 1 : sequences[i].count);
    return st;
}

/* Models without a head give hidden states. */
static PareStatus forward(PareBenchModel *m, const PareSequence *sequences, size_t count,
                          PareError *err) {
    PareRowKind kind =
        m->description->head.kind == PARE_HEAD_NONE ? PARE_ROWS_HIDDEN : PARE_ROWS_LOGITS;
    return pare_session_run(m->session, sequences, count, kind, ignore, NULL, err);
}

/* "MODEL: FILE: line 3: …", whatever the batches. Who interrupts knows what was running. */
static PareStatus name_input(const PareBenchModel *m, size_t first, size_t count, PareError *err) {
    char where[512];
    size_t number = pare_inputs_take_number(err, count);
    if (err->code == PARE_E_INTERRUPTED)
        return err->code;
    if (!number)
        return pare_error_prefix(err, "%s", m->path);
    if (m->reader)
        pare_inputs_where(m->reader, &m->inputs[first + number - 1], where, sizeof where);
    else
        snprintf(where, sizeof where, "random input %zu", first + number);
    return pare_error_prefix(err, "%s: %s", m->path, where);
}

static PareStatus pass(const PareBench *b, PareBenchModel *m, PareError *err) {
    size_t batch = (size_t)b->options->batch_size;
    PareStatus st = PARE_OK;
    m->generated = 0;
    for (size_t at = 0; at < b->input_count && !st; at += batch) {
        size_t count = b->input_count - at < batch ? b->input_count - at : batch;
        const PareSequence *sequences = m->sequences + at;
        st = b->task == PARE_BENCH_GENERATE ? generate(m, sequences, count, err)
                                            : forward(m, sequences, count, err);
        if (st)
            return name_input(m, at, count, err);
        st = pare_interrupt_check(err);
    }
    return st;
}

/* -- runs -- */

static PareStatus timed_run(const PareBench *b, PareBenchModel *m, PareBenchRun *run,
                            PareError *err) {
    double clock = now(CLOCK_MONOTONIC), processor = now(CLOCK_PROCESS_CPUTIME_ID), seconds = 0;
    PareStatus st = PARE_OK;
    for (run->passes = 0; seconds < LEAST_SECONDS && !st; run->passes++) {
        st = pass(b, m, err);
        seconds = now(CLOCK_MONOTONIC) - clock;
    }
    run->clock = seconds / (double)run->passes;
    run->processor = (now(CLOCK_PROCESS_CPUTIME_ID) - processor) / (double)run->passes;
    return st;
}

uint64_t pare_bench_turns(const PareBench *b) {
    return (uint64_t)b->model_count * (1 + (uint64_t)b->options->runs);
}

PareStatus pare_bench_measure(PareBench *b, PareProgress *progress, PareError *err) {
    PareStatus st = PARE_OK;
    for (uint64_t turn = 0; turn < pare_bench_turns(b) && !st; turn++) {
        PareBenchModel *m = &b->models[turn % b->model_count];
        uint64_t round = turn / b->model_count;
        PareBenchRun *run = round ? &m->runs[round - 1] : NULL;
        pare_progress_update(progress, turn, m->path);
        st = run ? timed_run(b, m, run, err) : pass(b, m, err);
        if (!st && run)
            pare_log_info("run %" PRIu64 " of %s: %zu passes, %.3f ms each", round, m->path,
                          run->passes, 1e3 * run->clock);
        else if (!st)
            pare_log_info("warmed up %s", m->path);
    }
    return st;
}
