/* pare-distill: reads options, runs the distill stage, writes its log, prints its report. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/log.h"
#include "distill/distill.h"
#include "distill/ranks.h"
#include "programs/cli_main.h"
#include "programs/distill_options.h"

typedef struct {
    PareDistillCommand command;
    FILE *log;
    bool fresh;      /* what an earlier run left in the log goes with our first line */
    bool made, used; /* there was no log before; it has a line */
} Job;

/* -- the log -- */

static void write_log(void *context, const char *line) {
    Job *job = context;
    if (!job->log)
        return;
    if (job->fresh && ftruncate(fileno(job->log), 0) != 0)
        pare_log_warn("%s: %s", job->command.log_path, strerror(errno));
    job->fresh = false;
    job->used = true;
    fprintf(job->log, "%s\n", line);
}

static void warn(void *context, const char *line) {
    (void)context;
    pare_log_warn("%s", line);
}

static void tell(void *context, const char *line) {
    (void)context;
    pare_log_info("%s", line);
}

/* "step 20 of 60: bleu 31.4159, the best so far", and for --verbose the other scores. */
static void tell_scores(void *context, const PareTrainJudgement *r) {
    const Job *job = context;
    const PareScores *s = &r->scores;
    PareBuffer text = {0};
    const char *comma = ";";
    pare_buffer_printf(&text, "step %llu of %llu: %s %.4f", (unsigned long long)r->step,
                       (unsigned long long)r->steps, pare_score_name(r->metric),
                       s->value[r->metric]);
    if (r->has_best && r->best_step == r->step)
        pare_buffer_puts(&text, ", the best so far");
    else if (r->has_best)
        pare_buffer_printf(&text, " (best: %.4f at step %llu)", r->best,
                           (unsigned long long)r->best_step);
    for (int i = 0; i < PARE_SCORE_COUNT && job->command.common.verbose; i++)
        if (s->has[i] && i != (int)r->metric) {
            pare_buffer_printf(&text, "%s %s %.4f", comma, pare_score_name((PareScoreKind)i),
                               s->value[i]);
            comma = ",";
        }
    if (!text.failed)
        pare_log_note("%s", text.data);
    pare_buffer_free(&text);
}

/* An earlier log is added to when the run is gone on with, and otherwise kept, unless --force. */
static PareStatus open_log(Job *job, PareError *err) {
    PareDistillOptions *o = &job->command.o;
    const char *path = job->command.log_path;
    o->log = write_log;
    o->warn = warn;
    o->detail = tell;
    o->judged = tell_scores;
    o->talk = job;
    if (!path || pare_ranks_rank() != 0)
        return PARE_OK;
    PareStatus st = pare_distill_check_log(o, path, err);
    if (st)
        return st;
    bool exists = pare_file_exists(path);
    if (exists && !o->resume && !o->force)
        return pare_error_set(err, PARE_E_IO,
                              "%s: exists already; --force replaces it, --resume adds to it", path);
    job->fresh = !o->resume;
    job->made = !exists;
    job->log = fopen(path, "a");
    if (!job->log)
        return pare_error_set(err, PARE_E_IO, "%s: cannot be written: %s", path, strerror(errno));
    setvbuf(job->log, NULL, _IOLBF, 0);
    /* Now that it exists it is known by any way of writing its path. */
    return pare_distill_check_log(o, path, err);
}

/* A log that is not whole fails a run that went well otherwise: its output is there. The empty one
 * of a run that was refused would stand in the way of the next. */
static PareStatus close_log(Job *job, PareStatus st, PareError *err) {
    if (!job->log)
        return st;
    bool failed = ferror(job->log) != 0;
    failed = fclose(job->log) != 0 || failed;
    if (st && job->made && !job->used)
        unlink(job->command.log_path);
    if (failed && !st)
        return pare_error_set(err, PARE_E_IO, "%s: the log could not be written whole; %s was",
                              job->command.log_path, job->command.o.output);
    return st;
}

/* -- the report -- */

static void report_json(const PareDistillResult *r, double speed, PareBuffer *b) {
    const PareTrainResult *t = &r->train;
    pare_buffer_printf(
        b,
        "{\"steps\":%llu,\"stopped_early\":%s,\"parameters\":%llu,"
        "\"random_parameters\":%llu,\"teacher_parameters\":%llu,\"examples\":%llu,\"seconds\":%.3f,"
        "\"tokens_per_s\":%.1f,\"loss\":",
        (unsigned long long)t->steps, t->stopped_early ? "true" : "false",
        (unsigned long long)r->parameters, (unsigned long long)r->random,
        (unsigned long long)r->teacher_parameters, (unsigned long long)r->examples, t->seconds,
        speed);
    pare_buffer_put_json_double(b, t->last_loss);
    if (t->has_best) {
        pare_buffer_printf(b, ",\"best_step\":%llu,\"%s\":", (unsigned long long)t->best_step,
                           pare_score_name(r->metric));
        pare_buffer_put_json_double(b, t->best);
    }
    pare_buffer_puts(b, "}\n");
}

static void report_text(const PareDistillResult *r, double speed, PareBuffer *b) {
    const PareTrainResult *t = &r->train;
    pare_buffer_printf(b, "steps        %llu%s\n", (unsigned long long)t->steps,
                       t->stopped_early ? " (stopped early)" : "");
    pare_buffer_printf(b, "parameters   %llu", (unsigned long long)r->parameters);
    if (r->random)
        pare_buffer_printf(b, ", %llu of them began at random", (unsigned long long)r->random);
    if (r->teacher_parameters)
        pare_buffer_printf(b, ", the teacher's %llu", (unsigned long long)r->teacher_parameters);
    pare_buffer_printf(b, "\nexamples     %llu\n", (unsigned long long)r->examples);
    if (t->tokens) /* a run that was gone on with may have had nothing left to do */
        pare_buffer_printf(b, "time         %.1f s, %.0f tokens/s\nloss         %.6g\n", t->seconds,
                           speed, t->last_loss);
    if (t->has_best)
        pare_buffer_printf(b, "%-12s %.4f at step %llu\n", pare_score_name(r->metric), t->best,
                           (unsigned long long)t->best_step);
}

static void report(const Job *job, const PareDistillResult *r) {
    PareBuffer text = {0};
    const PareTrainResult *t = &r->train;
    double speed = t->seconds > 0 ? (double)t->tokens / t->seconds : 0;
    if (job->command.json)
        report_json(r, speed, &text);
    else if (!job->command.common.quiet)
        report_text(r, speed, &text);
    pare_cli_print(&text);
    pare_buffer_free(&text);
}

static PareStatus run(Job *job, PareError *err) {
    PareDistillResult result;
    PareStatus st = open_log(job, err);
    if (!st)
        st = pare_distill(&job->command.o, &result, err);
    st = close_log(job, st, err);
    if (!st && pare_ranks_rank() == 0)
        report(job, &result);
    return st;
}

int main(int argc, char **argv) {
    Job job = {.command = pare_distill_command()};
    PareError err = {0};
    PareOptionsNext next = PARE_OPTIONS_RUN;
    pare_cli_start("pare-distill");
    PareStatus st = pare_ranks_start(&argc, &argv, &err);
    if (!st)
        st = pare_distill_command_parse(&job.command, argc, argv, &next, &err);
    if (!st && next == PARE_OPTIONS_RUN) {
        pare_cli_apply(&job.command.common);
        st = run(&job, &err);
    }
    pare_distill_command_free(&job.command);
    int code = pare_cli_end(st, &err);
    pare_ranks_finish(st != PARE_OK);
    return code;
}
