/* What a program tells its user while it works. Everything here writes to stderr; results go to
 * stdout from the programs themselves. Libraries only call progress objects they were given. */
#ifndef PARE_CORE_LOG_H
#define PARE_CORE_LOG_H

#include <stdint.h>

#include "core/error.h"

typedef enum { PARE_LOG_QUIET, PARE_LOG_NORMAL, PARE_LOG_VERBOSE } PareLogLevel;
void pare_log_set_level(PareLogLevel level);
/* One line: "program: warning: …", "program: …", and the same for those who want to know more. */
void pare_log_warn(const char *format, ...) __attribute__((format(printf, 1, 2)));
void pare_log_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
void pare_log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void pare_log_set_program(const char *name); /* borrowed */
/* Prints "program: message" for `err` and returns the exit code of its status. */
int pare_log_fail(const PareError *err);

/* A progress line on stderr, only when that is a terminal and the level is not quiet; redrawn at
 * most ten times a second; removed when done. What is left is reckoned from the first update, so
 * that it may begin at any number. NULL is allowed everywhere (no progress). */
typedef struct PareProgress PareProgress;
PareProgress *pare_progress_start(const char *what, uint64_t total);         /* total 0: unknown */
void pare_progress_update(PareProgress *p, uint64_t done, const char *note); /* note may be NULL */
void pare_progress_finish(PareProgress *p);                                  /* frees */

#endif
