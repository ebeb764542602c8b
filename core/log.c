/* Messages and progress on stderr. */
#include "core/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/memory.h"

static PareLogLevel level = PARE_LOG_NORMAL;
static const char *program = "pare";
static bool line_open; /* a progress line stands on the terminal */

void pare_log_set_level(PareLogLevel l) {
    level = l;
}

void pare_log_set_program(const char *name) {
    program = name;
}

static void clear_line(void) {
    if (line_open)
        fputs("\r\033[K", stderr);
    line_open = false;
}

static void say(const char *kind, const char *format, va_list args) {
    clear_line();
    fprintf(stderr, "%s: %s", program, kind);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

void pare_log_warn(const char *format, ...) {
    va_list args;
    va_start(args, format);
    if (level > PARE_LOG_QUIET)
        say("warning: ", format, args);
    va_end(args);
}

void pare_log_info(const char *format, ...) {
    va_list args;
    va_start(args, format);
    if (level == PARE_LOG_VERBOSE)
        say("", format, args);
    va_end(args);
}

int pare_log_fail(const PareError *err) {
    clear_line();
    fprintf(stderr, "%s: %s\n", program, err->message);
    if (err->code == PARE_E_USAGE)
        fprintf(stderr, "Try '%s --help'.\n", program);
    return pare_error_exit_code(err->code);
}

struct PareProgress {
    char what[64];
    uint64_t total;
    double started, drawn;
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

PareProgress *pare_progress_start(const char *what, uint64_t total) {
    if (level == PARE_LOG_QUIET || !isatty(STDERR_FILENO))
        return NULL;
    PareProgress *p = pare_alloc(1, sizeof *p);
    if (!p)
        return NULL; /* work goes on without a progress line */
    snprintf(p->what, sizeof p->what, "%s", what);
    p->total = total;
    p->started = p->drawn = now();
    return p;
}

void pare_progress_update(PareProgress *p, uint64_t done, const char *note) {
    double t = p ? now() : 0;
    if (!p || t - p->drawn < 0.1)
        return;
    p->drawn = t;
    fprintf(stderr, "\r\033[K%s: %llu", p->what, (unsigned long long)done);
    if (p->total) {
        double share = (double)done / (double)p->total;
        fprintf(stderr, " of %llu (%.0f %%)", (unsigned long long)p->total, 100 * share);
        if (share > 0 && t - p->started > 2)
            fprintf(stderr, ", %.0f s left", (t - p->started) * (1 - share) / share);
    }
    if (note)
        fprintf(stderr, "  %.60s", note);
    fflush(stderr);
    line_open = true;
}

void pare_progress_finish(PareProgress *p) {
    if (p)
        clear_line();
    pare_free(p);
}
