/* Messages and the progress line, on stderr. */
#include "core/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "core/memory.h"

enum { LINE_SIZE = 2048, WHAT_SIZE = 64 };

static const char *program = "pare";
static atomic_int level = PARE_LOG_NORMAL;
static atomic_bool line_is_drawn; /* a progress line stands on the terminal */

void pare_log_set_level(PareLogLevel new_level) {
    atomic_store(&level, (int)new_level);
}

void pare_log_set_program(const char *name) {
    program = name;
}

/* ---- Messages ------------------------------------------------------------------------------ */

/* Names of tensors and files come from strangers: no byte of them may command the terminal. */
static void make_printable(char *text) {
    for (unsigned char *at = (unsigned char *)text; *at; at++) {
        bool c1 = at[0] == 0xC2 && at[1] >= 0x80 && at[1] < 0xA0;
        if ((*at < 0x20 && *at != '\n' && *at != '\t') || *at == 0x7F || c1)
            *at = '?';
        if (c1)
            *++at = '?';
    }
}

static void clear_line(void) {
    if (atomic_exchange(&line_is_drawn, false))
        fputs("\r\033[K", stderr);
}

/* In one call, so that lines of several threads or processes stay whole. */
static void print_line(const char *kind, const char *text) {
    char line[LINE_SIZE];
    int length = snprintf(line, sizeof line, "%s: %s%s", program, kind, text);
    if (length >= LINE_SIZE)
        memcpy(line + LINE_SIZE - sizeof "...", "...", sizeof "...");
    make_printable(line);
    clear_line();
    fprintf(stderr, "%s\n", line);
}

static void print_formatted(const char *kind, const char *format, va_list args) {
    char text[LINE_SIZE];
    vsnprintf(text, sizeof text, format, args);
    print_line(kind, text);
}

void pare_log_warn(const char *format, ...) {
    va_list args;
    if (atomic_load(&level) < PARE_LOG_NORMAL)
        return;
    va_start(args, format);
    print_formatted("warning: ", format, args);
    va_end(args);
}

void pare_log_note(const char *format, ...) {
    va_list args;
    if (atomic_load(&level) < PARE_LOG_NORMAL)
        return;
    va_start(args, format);
    print_formatted("", format, args);
    va_end(args);
}

void pare_log_info(const char *format, ...) {
    va_list args;
    if (atomic_load(&level) < PARE_LOG_VERBOSE)
        return;
    va_start(args, format);
    print_formatted("", format, args);
    va_end(args);
}

int pare_log_fail(const PareError *err) {
    print_line("", err->message);
    if (err->code == PARE_E_USAGE)
        fprintf(stderr, "Try '%s --help'.\n", program);
    return pare_error_exit_code(err->code);
}

/* ---- Progress ------------------------------------------------------------------------------ */

struct PareProgress {
    char what[WHAT_SIZE];
    uint64_t total;
    uint64_t first, last;  /* what was done when it was looked at first, and last */
    double started, drawn; /* started: when `first` was seen; 0: not yet */
};

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static bool terminal_can_redraw(void) {
    const char *term = getenv("TERM");
    return isatty(STDERR_FILENO) && term && strcmp(term, "dumb") != 0;
}

PareProgress *pare_progress_start(const char *what, uint64_t total) {
    if (atomic_load(&level) < PARE_LOG_NORMAL || !terminal_can_redraw())
        return NULL;
    PareProgress *p = pare_alloc(1, sizeof *p);
    if (!p) /* no reason to fail: the work goes on unseen */
        return NULL;
    snprintf(p->what, sizeof p->what, "%s", what);
    p->total = total;
    return p;
}

/* "convert: 45 % of 1200, 00:12 left", as far as it is known. */
static int describe(const PareProgress *p, uint64_t done, double elapsed, char *out, size_t size) {
    if (p->total == 0)
        return snprintf(out, size, "%s: %llu", p->what, (unsigned long long)done);
    double share = done < p->total ? (double)done / (double)p->total : 1;
    int length = snprintf(out, size, "%s: %3.0f %% of %llu", p->what, 100 * share,
                          (unsigned long long)p->total);
    double seen = done > p->first ? (double)(done - p->first) : 0;
    double left = seen > 0 && done < p->total ? elapsed * (double)(p->total - done) / seen : 0;
    if (elapsed < 2 || left < 1 || left > 359999)
        return length;
    unsigned seconds = (unsigned)left, hours = seconds / 3600;
    size_t used = (size_t)length;
    if (hours)
        length += snprintf(out + used, size - used, ", %u:%02u:%02u left", hours, seconds / 60 % 60,
                           seconds % 60);
    else
        length += snprintf(out + used, size - used, ", %02u:%02u left", seconds / 60, seconds % 60);
    return length;
}

/* A line that wraps could not be removed again: it is cut (between characters) at the width. */
static void cut_to_width(char *line) {
    struct winsize window;
    size_t width = 80, columns = 0;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0)
        width = window.ws_col;
    for (char *at = line; *at; at++) {
        columns += ((unsigned char)*at & 0xC0) != 0x80;
        if (columns >= width) {
            *at = '\0';
            return;
        }
    }
}

/* Work may go on where another run stopped, and a second part of it begin at nothing again: how
 * long it takes follows from what was seen of it. */
static void count_from(PareProgress *p, uint64_t done, double time) {
    if (p->started == 0 || done < p->last) {
        p->first = done;
        p->started = time;
    }
    p->last = done;
}

void pare_progress_update(PareProgress *p, uint64_t done, const char *note) {
    if (!p)
        return;
    double time = now();
    count_from(p, done, time);
    if (time - p->drawn < 0.1)
        return;
    p->drawn = time;
    char line[512];
    size_t used = (size_t)describe(p, done, time - p->started, line, sizeof line);
    if (note)
        snprintf(line + used, sizeof line - used, "  %.256s", note);
    make_printable(line);
    cut_to_width(line);
    fprintf(stderr, "\r%s\033[K", line);
    fflush(stderr);
    atomic_store(&line_is_drawn, true);
}

void pare_progress_finish(PareProgress *p) {
    if (p)
        clear_line();
    pare_free(p);
}
